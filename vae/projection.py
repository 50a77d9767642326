"""Maps of latent space in two dimensions: arrays in, arrays out.

NOTE: give these functions active dimensions only. The others carry prior noise that drowns every distance.
umap (and numba under it) are imported when a UMAP is asked for and never before: they take seconds.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64

_QUERY_BATCH = 128  # a few megabytes of distances at a time, which stay in the cache
NEIGHBORS = 8
"""The nearest points that a placement, or a distance to the encoded images, is made from."""


def nearest(
    queries: Float[np.ndarray, "m latent"], points: Float[np.ndarray, "n latent"], count: int
) -> tuple[Int64[np.ndarray, "m count"], Float32[np.ndarray, "m count"]]:
    """The rows of the ``count`` nearest points to each query, nearest first, and their Euclidean distances; exact."""
    if not 1 <= count <= len(points):
        raise ValueError(f"count must be from 1 to the number of points, {len(points)}, got {count}")
    base = torch.tensor(points, dtype=torch.float32)
    rows, distances = [], []
    for batch in torch.split(torch.tensor(queries, dtype=torch.float32), _QUERY_BATCH):
        found = torch.cdist(batch, base, compute_mode="donot_use_mm_for_euclid_dist").topk(count, largest=False, sorted=True)
        rows.append(found.indices)
        distances.append(found.values)
    return torch.cat(rows).numpy(), torch.cat(distances).numpy()


def fit_umap(
    points: Float[np.ndarray, "n latent"], neighbors: int = 15, min_dist: float = 0.1, seed: int = 0
) -> Float32[np.ndarray, "n 2"]:
    """A UMAP layout (McInnes, Healy & Melville 2018) from exact neighbours; the same seed gives the same layout.

    Raises:
        ValueError: fewer points than neighbours.
    """
    if len(points) <= neighbors:
        raise ValueError(f"a UMAP with {neighbors} neighbours needs more than {neighbors} points, got {len(points)}")
    rows, distances = nearest(points, points, neighbors)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed means one thread, and that no search index comes with given neighbours
        import umap

        reducer = umap.UMAP(
            n_neighbors=neighbors,
            min_dist=min_dist,
            random_state=seed,
            precomputed_knn=(rows.astype(np.int32), distances, None),
            n_jobs=1,
        )
        layout = reducer.fit_transform(np.asarray(points, dtype=np.float32))
    return np.asarray(layout, dtype=np.float32)


def fit_pca(points: Float[np.ndarray, "n latent"]) -> Float32[np.ndarray, "n 2"]:
    """The two principal components; signs fixed so that the largest loading of each is positive.

    A single dimension, or points all alike, leave the components that aren't there at 0.
    """
    centred = np.asarray(points, dtype=np.float64) - points.mean(axis=0, dtype=np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, np.argsort(values)[::-1][:2]]
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])] < 0, -1.0, 1.0)
    layout = np.zeros((len(points), 2), dtype=np.float32)
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
) -> Float32[np.ndarray, " samples"]:
    """How far samples of the aggregate posterior, ``q(z) = mean over images of q(z|x)``, lie from the encoded images: the
    mean distance to the nearest `NEIGHBORS` posterior means, rising. The reference for `off_manifold`; made once for a run."""
    rows = torch.randint(len(mean), (samples,), generator=generator).numpy()
    noise = torch.randn(samples, mean.shape[1], generator=generator).numpy()
    drawn = mean[rows] + np.exp(logvar[rows] / 2) * noise
    _, distances = nearest(drawn, mean, min(NEIGHBORS, len(mean)))
    return np.sort(distances.mean(axis=1))


def off_manifold(
    distances: Float32[np.ndarray, "m count"], typical: Float32[np.ndarray, " samples"]
) -> Float32[np.ndarray, " m"]:
    """How far each point lies from the encoded images, as a percentile (0 to 100) of `typical_distances`: 50 is as far
    as the middle one of the model's own samples, 100 is farther than all. ``distances`` are those to the point's nearest
    `NEIGHBORS` posterior means; a tie counts half."""
    own = distances.mean(axis=1)
    below, upto = np.searchsorted(typical, own, "left"), np.searchsorted(typical, own, "right")
    return np.asarray((below + upto) * (50.0 / len(typical)), dtype=np.float32)
