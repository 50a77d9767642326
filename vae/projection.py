"""Maps of latent space in two or three dimensions: arrays in, arrays out.

NOTE: give these functions active dimensions only. The others carry prior noise that drowns every distance.
scikit-learn is imported when a t-SNE is asked for and never before: it takes seconds. UMAP is in `vae.umap`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

Progress = Callable[[int, int], None]
"""Is told how many steps of how many are done; what it raises ends the work."""

LEAST_DIMENSIONS = {"euclidean": 1, "cosine": 2, "correlation": 3}
"""Each metric, and in how many dimensions it tells points apart: two numbers have a correlation of 1 or -1."""
_QUERY_BATCH = 128  # a few megabytes of distances at a time, which stay in the cache
_FEW = 4  # queries that need no preparation of the points
_SCORES = 2**24  # distances held at once, at most: 64 MB
_SPARE = 8  # candidates beyond those asked for
NEIGHBORS = 8
"""The nearest points that a placement, or a distance to the encoded images, is made from."""


def nearest(
    queries: Float[np.ndarray, "m latent"], points: Float[np.ndarray, "n latent"], count: int
) -> tuple[Int64[np.ndarray, "m count"], Float32[np.ndarray, "m count"]]:
    """The rows of the ``count`` nearest points to each query, nearest first, and their Euclidean distances; exact.

    A matrix product finds a few candidates more than asked for, by ``|q - p|^2 / 2 = |q|^2 / 2 - (q.p - |p|^2 / 2)``; the
    distances themselves are then computed and decide. A query whose candidates could, by rounding, miss one of the nearest
    is compared with every point, as a few queries are at once.
    """
    if not 1 <= count <= len(points):
        raise ValueError(f"count must be from 1 to the number of points, {len(points)}, got {count}")
    base = torch.tensor(points, dtype=torch.float32)
    if len(queries) <= _FEW:
        all_compared = _compared(torch.tensor(queries, dtype=torch.float32), base, count)
        return all_compared.indices.numpy(), all_compared.values.numpy()
    middle = base.mean(dim=0)
    centred = base - middle
    halves = centred.square().sum(dim=1) / 2
    rounding = base.shape[1] * torch.finfo(torch.float32).eps
    rows, distances = [], []
    at_once = min(_QUERY_BATCH, max(1, _SCORES // len(base)))
    for batch in torch.split(torch.tensor(queries, dtype=torch.float32), at_once):
        moved = batch - middle
        likely = torch.addmm(-halves, moved, centred.T).topk(min(count + _SPARE, len(base)))
        found = (batch[:, None] - base[likely.indices]).norm(dim=2).topk(count, largest=False)
        near, far = likely.indices.gather(1, found.indices), found.values
        error = rounding * (moved.norm(dim=1) + (2 * halves.max()).sqrt()).square()
        left_out = moved.square().sum(dim=1) / 2 - likely.values[:, -1] - error
        unsure = (far[:, -1].square() / 2 >= left_out).nonzero()[:, 0]
        if len(unsure) and count + _SPARE < len(base):
            exact = _compared(batch[unsure], base, count)
            near[unsure], far[unsure] = exact.indices, exact.values
        rows.append(near)
        distances.append(far)
    return torch.cat(rows).numpy(), torch.cat(distances).numpy()


def _compared(queries: Float32[Tensor, "m latent"], base: Float32[Tensor, "n latent"], count: int) -> torch.return_types.topk:
    """The nearest by every single difference."""
    return torch.cdist(queries, base, compute_mode="donot_use_mm_for_euclid_dist").topk(count, largest=False)


def nearest_by(
    metric: str, points: Float[np.ndarray, "n latent"], count: int
) -> tuple[Int64[np.ndarray, "n count"], Float32[np.ndarray, "n count"]]:
    """`nearest` of the points among themselves (each is its own first), by the Euclidean, cosine or correlation distance.

    Raises:
        ValueError: another metric, or points in too few dimensions for it.
    """
    vectors = comparable(metric, points)
    rows, distances = nearest(vectors, vectors, count)
    return rows, distances if metric == "euclidean" else np.asarray(distances**2 / 2, dtype=np.float32)


def comparable(metric: str, points: Float[np.ndarray, "n latent"]) -> Float[np.ndarray, "n latent"]:
    """The points, or vectors that are near each other by the Euclidean distance where the points are by the metric.

    The cosine distance, one minus the cosine of the angle at the origin, is half the squared Euclidean distance of the
    vectors scaled to length one; the correlation distance is that of the vectors with their own mean taken away.

    Raises:
        ValueError: another metric, or points in too few dimensions for it.
    """
    if metric not in LEAST_DIMENSIONS:
        raise ValueError(f"the metric must be one of {', '.join(LEAST_DIMENSIONS)}, got {metric!r}")
    if points.shape[1] < LEAST_DIMENSIONS[metric]:
        raise ValueError(f"the {metric} distance needs at least {LEAST_DIMENSIONS[metric]} dimensions, got {points.shape[1]}")
    if metric == "euclidean":
        return points
    vectors = points.astype(np.float64)
    if metric == "correlation":
        vectors = vectors - vectors.mean(axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def fit_tsne(
    points: Float[np.ndarray, "n latent"],
    perplexity: float = 30.0,
    seed: int = 0,
    components: int = 2,
    progress: Progress = lambda *_: None,
) -> Float32[np.ndarray, "n components"]:
    """A t-SNE layout (van der Maaten & Hinton 2008; Barnes-Hut: van der Maaten 2014), begun at the principal components;
    the same seed gives the same layout.

    Args:
        progress: told of the iterations, every fifty; it may end before the last one, where nothing improves any more.

    Raises:
        ValueError: not more points than the perplexity.
    """
    if len(points) <= max(perplexity, 3):
        least = max(perplexity, 3)
        raise ValueError(f"a t-SNE of perplexity {perplexity:g} needs more than {least:g} points, got {len(points)}")
    iterations = 1000
    progress(0, iterations)
    told = _Told(r"Iteration (\d+):", lambda done: progress(done, iterations))
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    start = fit_pca(points, components)
    start *= 1e-4 / max(float(start[:, 0].std()), 1e-12)  # small, as t-SNE needs it, and the same on every machine
    layout = TSNE(n_components=components, perplexity=perplexity, init=start, max_iter=iterations, random_state=seed, verbose=2)
    # NOTE: two threads at most. They add up partial sums in any order, which for more than two changes the last digit, and
    # with it, in the end, the layout. Verbose, because what it prints is all that scikit-learn says of its progress.
    with threadpool_limits(2, user_api="openmp"), contextlib.redirect_stdout(told):
        return np.asarray(layout.fit_transform(np.asarray(points, dtype=np.float32)), dtype=np.float32)


class _Told:
    """A stream that takes what a library prints of its progress and passes the number on."""

    def __init__(self, pattern: str, tell: Callable[[int], None]) -> None:
        self._pattern, self._tell = re.compile(pattern), tell

    def write(self, text: str) -> int:
        """Look for the number; what else is printed goes nowhere."""
        found = self._pattern.search(text)
        if found:
            self._tell(int(found[1]))
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def fit_pca(points: Float[np.ndarray, "n latent"], components: int = 2) -> Float32[np.ndarray, "n components"]:
    """The first principal components; signs fixed so that the largest loading of each is positive.

    Too few dimensions, or points all alike, leave the components that aren't there at 0.
    """
    centred = np.asarray(points, dtype=np.float64) - points.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, np.argsort(values)[::-1][:components]]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])] < 0, -1.0, 1.0)
    layout = np.zeros((len(points), components), dtype=np.float32)
    layout[:, : axes.shape[1]] = centred @ axes
    return layout


def place(
    queries: Float[np.ndarray, "m latent"],
    points: Float[np.ndarray, "n latent"],
    coordinates: Float32[np.ndarray, "n 2"],
    count: int = NEIGHBORS,
) -> Float32[np.ndarray, "m 2"]:
    """An approximate position on an existing map for each query: `place_among` its nearest points."""
    rows, distances = nearest(queries, points, min(count, len(points)))
    return place_among(rows, distances, coordinates, 1e-6 * max(1.0, float(np.abs(points).max())))


def place_among(
    rows: Int64[np.ndarray, "m count"],
    distances: Float32[np.ndarray, "m count"],
    values: Float32[np.ndarray, "n width"],
    floor: float = 1e-6,
) -> Float32[np.ndarray, "m width"]:
    """The mean of what each query's `nearest` points have (their position on a map, say), weighted by the inverse of their
    squared distance. A query that coincides with a point (is nearer than ``floor``) gets that point's."""
    scale = np.maximum(distances, np.float32(floor))
    weights = (scale[:, :1] / scale) ** 2
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("mk,mkd->md", weights, values[rows]), dtype=np.float32)


def walk_back(
    places: Float[np.ndarray, "m 2"],
    coordinates: Float32[np.ndarray, "n 2"],
    points: Float32[np.ndarray, "n latent"],
    count: int = NEIGHBORS,
) -> Float32[np.ndarray, "m latent"]:
    """An estimate of the latent point at each place of a map: `place_among` the ``count`` points nearest to it there.

    NOTE: a map has no inverse. Between clusters this averages points that lie far from each other.
    """
    rows, distances = nearest(places, coordinates, min(count, len(points)))
    return place_among(rows, distances, points, 1e-6 * max(1.0, float(np.abs(coordinates).max())))


# --- how far from the encoded images -------------------------------------------------------------------------------


def typical_distances(
    mean: Float32[np.ndarray, "n latent"],
    logvar: Float32[np.ndarray, "n latent"],
    generator: torch.Generator,
    samples: int = 1000,
    among: Float32[np.ndarray, "part latent"] | None = None,
) -> Float32[np.ndarray, " samples"]:
    """How far samples of the aggregate posterior, ``q(z) = mean over images of q(z|x)``, lie from the encoded images: the
    mean distance to the nearest `NEIGHBORS` posterior means (of those in ``among``, if it is given), rising. The reference for
    `off_manifold`; made once for a run."""
    rows = torch.randint(len(mean), (samples,), generator=generator).numpy()
    noise = torch.randn(samples, mean.shape[1], generator=generator).numpy()
    drawn = mean[rows] + np.exp(logvar[rows] / 2) * noise
    among = mean if among is None else among
    _, distances = nearest(drawn, among, min(NEIGHBORS, len(among)))
    return np.sort(distances.mean(axis=1))


def typical_mean_distances(
    mean: Float32[np.ndarray, "n latent"], generator: torch.Generator, samples: int = 1000
) -> Float32[np.ndarray, " samples"]:
    """How far encoded images lie from each other: the mean distance from posterior means, drawn without replacement, to the
    nearest `NEIGHBORS` others, rising; at most one for each image. The reference for `off_manifold` of points that carry no
    noise, such as those between two means: against `typical_distances` they would all seem near.

    Raises:
        ValueError: fewer than two images.
    """
    if len(mean) < 2:
        raise ValueError(f"distances between images need at least two of them, got {len(mean)}")
    rows = torch.randperm(len(mean), generator=generator)[:samples].numpy()
    _, distances = nearest(mean[rows], mean, min(NEIGHBORS + 1, len(mean)))
    return np.sort(distances[:, 1:].mean(axis=1))


def off_manifold(
    distances: Float32[np.ndarray, "m count"], typical: Float32[np.ndarray, " samples"]
) -> Float32[np.ndarray, " m"]:
    """How far each point lies from the encoded images, as a percentile (0 to 100) of `typical_distances` (or of
    `typical_mean_distances`): 50 is as far as the middle one of the model's own samples, 100 is farther than all.
    ``distances`` are those to the point's nearest `NEIGHBORS` posterior means; a tie counts half."""
    own = distances.mean(axis=1)
    below, upto = np.searchsorted(typical, own, "left"), np.searchsorted(typical, own, "right")
    return np.asarray((below + upto) * (50.0 / len(typical)), dtype=np.float32)
