"""UMAP (McInnes, Healy & Melville 2018) in batches: its graph, its curve and its forces, followed by every point at once.

Nothing is compiled and nothing of umap-learn is imported, so the first map on a machine takes no longer than the next. The
graph and the curve are umap-learn's numbers; its stochastic descent, one edge at a time, is replaced: see `_follow_forces`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from vae.device import generator_for
from vae.projection import Progress, comparable, fit_pca, nearest_by

if TYPE_CHECKING:
    from scipy.sparse import csr_array

EPOCHS = 300
_STEP, _MOMENTUM = 0.5, 0.5
_OTHERS = 16
"""Random points that push each point, an epoch. Their mean push counts as that of `_PUSHES`."""
_PUSHES = 5  # for each pull of an edge: umap-learn's negative_sample_rate
_EXTENT = 10.0  # of the beginning, as umap-learn's


def fit_umap(
    points: Float[np.ndarray, "n latent"],
    neighbors: int = 15,
    min_dist: float = 0.1,
    seed: int = 0,
    metric: str = "euclidean",
    components: int = 2,
    progress: Progress = lambda *_: None,
) -> Float32[np.ndarray, "n components"]:
    """A UMAP layout from exact neighbours, begun at the principal components; the same seed gives the same layout.

    Where RAPIDS cuML is installed and finds an NVIDIA GPU it makes the layout: that of one seed agrees to three digits or so.

    Args:
        metric: the distance of `nearest_by`.
        progress: told of the epochs (cuML: of the beginning and the end).

    Raises:
        ValueError: fewer points than neighbours, too few dimensions for the metric, or numbers that aren't finite.
    """
    if neighbors < 2:
        raise ValueError(f"a UMAP needs at least 2 neighbours (a point is its own first), got {neighbors}")
    if len(points) <= neighbors:
        raise ValueError(f"a UMAP with {neighbors} neighbours needs more than {neighbors} points, got {len(points)}")
    if len(points) < components + 2:
        raise ValueError(f"a UMAP in {components} dimensions needs at least {components + 2} points, got {len(points)}")
    if not np.isfinite(points).all():
        raise ValueError(f"a UMAP needs finite numbers, got {int((~np.isfinite(points)).sum())} that aren't")
    points = points.astype(np.float64) / max(float(np.abs(points).max()), 1e-300)  # it has no unit, and so nothing overflows
    cuml = _find_cuml()
    if cuml is not None:
        progress(0, EPOCHS)
        options = {"n_neighbors": neighbors, "min_dist": min_dist, "metric": metric, "n_components": components}
        layout = cuml.UMAP(**options, random_state=seed, output_type="numpy").fit_transform(points.astype(np.float32))
        progress(EPOCHS, EPOCHS)
        return np.asarray(layout, dtype=np.float32)
    rows, distances = nearest_by(metric, points, neighbors)
    start = fit_pca(comparable(metric, points), components)
    start *= _EXTENT / max(float(np.abs(start).max()), 1e-12)
    with _one_thread():
        return _follow_forces(fuzzy_graph(rows, distances), torch.tensor(start.T), *fit_curve(min_dist), seed, progress)


def fuzzy_graph(rows: Int64[np.ndarray, "n count"], distances: Float32[np.ndarray, "n count"]) -> csr_array:
    """The weights, (n, n) and symmetric, of the edges between each point and its nearest `count` (itself among them).

    An edge's weight falls with the distance beyond the point's nearest other, ``exp(-(d - rho) / sigma)``, where sigma makes
    a point's weights sum to ``log2(count)``; of two directions the probabilistic union is taken, ``u + v - uv``.
    """
    from scipy.sparse import csr_array

    n, count = rows.shape
    far = torch.tensor(distances)
    rho = torch.where(far > 0, far, torch.inf).amin(dim=1, keepdim=True)
    rho = torch.where(rho.isinf(), 0.0, rho)  # where all are duplicates
    beyond = (far - rho).clamp_(min=0)
    low, sigma, high = torch.zeros(n, 1), torch.ones(n, 1), torch.full((n, 1), torch.inf)
    for _ in range(64):
        is_wide = torch.exp(-beyond[:, 1:] / sigma).sum(dim=1, keepdim=True) > math.log2(count)
        low, high = torch.where(is_wide, low, sigma), torch.where(is_wide, sigma, high)
        sigma = torch.where(high.isinf(), 2 * sigma, (low + high) / 2)
    least = 1e-3 * torch.where(rho > 0, far.mean(dim=1, keepdim=True), far.mean())
    weights = torch.exp(-beyond / torch.maximum(sigma, least))
    weights[torch.tensor(rows) == torch.arange(n)[:, None]] = 0  # a point is no neighbour of its own
    one_way = csr_array((weights.numpy().ravel(), (np.repeat(np.arange(n), count), rows.ravel())), shape=(n, n))
    other_way = one_way.T.tocsr()
    graph = (one_way + other_way - one_way * other_way).tocsr()
    graph.eliminate_zeros()
    return graph


def fit_curve(min_dist: float) -> tuple[float, float]:
    """The ``a`` and ``b`` by which ``1 / (1 + a d^(2b))`` comes nearest to 1 up to the distance ``min_dist`` and
    ``exp(min_dist - d)`` beyond it: how much of a neighbour a point at that distance on the map is."""
    from scipy.optimize import curve_fit

    d = np.linspace(0, 3, 300)
    wanted = np.where(d < min_dist, 1.0, np.exp(min_dist - d))
    (a, b), _ = curve_fit(lambda d, a, b: 1 / (1 + a * d ** (2 * b)), d, wanted)
    return float(a), float(b)


def _follow_forces(
    graph: csr_array, start: Float32[Tensor, "components n"], a: float, b: float, seed: int, progress: Progress
) -> Float32[np.ndarray, "n components"]:
    """Every point's pull towards its neighbours, exact, and push from a few random points, `EPOCHS` times.

    Both are the gradients of UMAP's cross entropy in the proportion that umap-learn's sampling gives them, divided by the
    sum of the point's weights: a step is a mean over its edges, of a length that suits points with few and with many.
    Steps shorten with the square of what is left, which lets the noise of the random points settle.
    """
    n, generator = graph.shape[0], generator_for(seed, "map")
    starts, ends = torch.tensor(graph.indptr, dtype=torch.int64), torch.tensor(graph.indices, dtype=torch.int64)
    begins = torch.repeat_interleave(torch.arange(n), starts.diff())
    shares = torch.tensor(graph.data / np.maximum(graph.sum(axis=1), 1e-12).repeat(np.diff(graph.indptr)), dtype=torch.float32)
    layout = start + 1e-4 * torch.randn(start.shape, generator=generator)
    velocity, ones = torch.zeros_like(layout), torch.ones(1, n)
    progress(0, EPOCHS)
    for epoch in range(EPOCHS):
        square = (layout.index_select(1, ends) - layout.index_select(1, begins)).square_().sum(0).clamp_(min=1e-8)
        power = square.pow(b).mul_(a)
        # Twice, because an edge pulls at both its ends and stands in the graph in both directions.
        pull = _sparse(starts, ends, shares * (4 * b) * power / (square * (power + 1))) @ torch.cat([layout, ones]).T
        force = pull[:, :-1].T - pull[:, -1] * layout
        others = torch.randint(n, (_OTHERS * n,), generator=generator)
        apart = layout[:, None] - layout.index_select(1, others).view(-1, _OTHERS, n)
        square = apart.square().sum(0)
        push = 2 * b / ((square + 1e-3) * (square.pow(b).mul_(a) + 1))
        force += (apart * push).clamp_(-4, 4).mean(1) * _PUSHES
        velocity = _MOMENTUM * velocity + force
        layout = layout + _STEP * (1 - epoch / EPOCHS) ** 2 * velocity
        progress(epoch + 1, EPOCHS)
    return np.ascontiguousarray(layout.T.numpy())


def _sparse(starts: Int64[Tensor, " rows"], ends: Int64[Tensor, " edges"], values: Float32[Tensor, " edges"]) -> Tensor:
    n = len(starts) - 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that PyTorch calls this layout a beta
        return torch.sparse_csr_tensor(starts, ends, values, size=(n, n))


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Steps this small gain little by threads, and lose a lot where other programs have the cores; and a layout's last digits
    are the same on any number of them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _find_cuml() -> Any | None:
    """RAPIDS cuML's maps, where it is installed and there is an NVIDIA GPU."""
    if torch.cuda.is_available() and importlib.util.find_spec("cuml") is not None:
        return importlib.import_module("cuml.manifold")
    return None
