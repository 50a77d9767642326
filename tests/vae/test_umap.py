"""UMAP: its graph and its curve against umap-learn's, its layouts by what they keep."""

from __future__ import annotations

import sys
import types
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vae import fit_umap, nearest
from vae.umap import EPOCHS, fit_curve, fuzzy_graph

pytestmark = pytest.mark.filterwarnings("ignore:Tensorflow not installed")  # umap-learn, when first imported


def cloud(count: int = 40, latent: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, latent)).astype(np.float32)


def groups() -> np.ndarray:
    """Three groups of thirty points, far apart."""
    return np.repeat(np.eye(3, 6, dtype=np.float32) * 20, 30, axis=0) + cloud(90, 6)


def keeps(points: np.ndarray, layout: np.ndarray, metric: str = "euclidean", count: int = 10) -> float:
    """How well neighbours are kept: 1 is perfectly, about a half is chance (Venna & Kaski 2001)."""
    from sklearn.manifold import trustworthiness

    return float(trustworthiness(points.astype(np.float64), layout, n_neighbors=count, metric=metric))


# --- against umap-learn --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copies", [1, 3, 20])
@pytest.mark.parametrize("count", [2, 15])
def test_the_graph_is_that_of_umap_learn(copies: int, count: int) -> None:
    from umap.umap_ import fuzzy_simplicial_set

    points = np.repeat(cloud(60), copies, axis=0)  # duplicates: of twenty alike, a point's neighbours are all at distance 0
    rows, distances = nearest(points, points, count)
    known = {"knn_indices": rows.astype(np.int32), "knn_dists": distances}
    expected, _, _ = fuzzy_simplicial_set(points, count, np.random.RandomState(0), "euclidean", **known)
    graph = fuzzy_graph(rows, distances)
    np.testing.assert_allclose(graph.toarray(), expected.toarray(), atol=2e-5)
    assert (graph != graph.T).nnz == 0
    assert graph.diagonal().max() == 0


@pytest.mark.parametrize("min_dist", [0.0, 0.1, 0.5, 0.99])
def test_the_curve_is_that_of_umap_learn(min_dist: float) -> None:
    from umap.umap_ import find_ab_params

    np.testing.assert_allclose(fit_curve(min_dist), find_ab_params(1.0, min_dist), rtol=1e-6)


def test_it_keeps_neighbours_as_umap_learn_does() -> None:
    random = np.random.default_rng(0)
    points = (random.normal(size=(12, 16)) * 3)[random.integers(12, size=800)] + random.normal(size=(800, 16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed means one thread
        from umap import UMAP

        theirs = [keeps(points, UMAP(random_state=seed).fit_transform(points), count=15) for seed in range(2)]
    ours = [keeps(points, fit_umap(points, seed=seed), count=15) for seed in range(2)]
    assert min(ours) > min(theirs) - 0.005
    assert max(ours) < 0.999


# --- layouts -------------------------------------------------------------------------------------------------------


def test_umap_is_seeded_and_keeps_groups_apart() -> None:
    points, told = groups(), []
    layout = fit_umap(points, neighbors=10, seed=3, progress=lambda done, total: told.append((done, total)))
    assert np.array_equal(layout, fit_umap(points, neighbors=10, seed=3))
    assert not np.array_equal(layout, fit_umap(points, neighbors=10, seed=4))
    rows, _ = nearest(layout, layout, 6)
    assert (rows // 30 == np.arange(90)[:, None] // 30).mean() > 0.98
    assert keeps(points, layout) > 0.85
    assert keeps(points, layout[np.random.default_rng(0).permutation(90)]) < 0.6
    assert told == [(done, EPOCHS) for done in range(EPOCHS + 1)]


@pytest.mark.parametrize("metric", ["cosine", "correlation"])
def test_umap_keeps_the_neighbours_of_its_metric_in_three_dimensions(metric: str) -> None:
    points = cloud(90, 6) * np.random.default_rng(1).uniform(0.1, 10, (90, 1)).astype(np.float32)  # the lengths say nothing
    layout = fit_umap(points, neighbors=10, metric=metric, components=3)
    assert layout.shape == (90, 3)
    assert keeps(points, layout, metric) > 0.75
    assert keeps(points, layout, metric) > keeps(points, layout, "euclidean") + 0.05


def test_a_larger_min_dist_spreads_neighbours() -> None:
    points = groups()
    near = [np.median(nearest(layout, layout, 2)[1][:, 1]) for layout in (fit_umap(points, 10, d) for d in (0.0, 0.5, 0.99))]
    assert near[0] < near[1] < near[2]


def test_neither_the_unit_nor_the_number_of_threads_changes_the_layout() -> None:
    points, before = groups(), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = fit_umap(points)
        torch.set_num_threads(2)
        assert np.array_equal(alone, fit_umap(points))
        assert np.array_equal(alone, fit_umap(points * np.float32(2**40)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_threads_are_as_before_when_it_is_stopped() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(KeyboardInterrupt):
            fit_umap(cloud(), progress=_interrupt)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def _interrupt(done: int, total: int) -> None:
    if done == 5:
        raise KeyboardInterrupt


# --- hostile input -------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(
    st.integers(6, 30),
    st.integers(1, 4),
    st.integers(2, 5),
    st.sampled_from([2, 3]),
    st.sampled_from([0.0, 1e-38, 1.0, 1e30]),
    st.integers(1, 30),
    st.integers(0, 2**32 - 1),
)
def test_any_finite_points_get_finite_places(
    count: int, latent: int, neighbors: int, components: int, scale: float, distinct: int, seed: int
) -> None:
    points = (cloud(distinct, latent, seed) * np.float32(scale))[np.arange(count) % distinct]
    layout = fit_umap(points, neighbors, seed=seed, components=components)
    assert layout.shape == (count, components)
    assert layout.dtype == np.float32
    assert np.isfinite(layout).all()
    assert len(np.unique(layout, axis=0)) == count


def test_what_is_refused() -> None:
    points = groups()
    with pytest.raises(ValueError, match="needs more than 15 points, got 15"):
        fit_umap(points[:15])
    with pytest.raises(ValueError, match="a UMAP in 3 dimensions needs at least 5 points, got 4"):
        fit_umap(points[:4], neighbors=2, components=3)
    with pytest.raises(ValueError, match="at least 2 neighbours .* got 1"):
        fit_umap(points, neighbors=1)
    with pytest.raises(ValueError, match="the correlation distance needs at least 3 dimensions, got 2"):
        fit_umap(cloud(40, 2), metric="correlation")
    points[3, 2], points[4] = np.nan, np.inf
    with pytest.raises(ValueError, match="a UMAP needs finite numbers, got 7 that aren't"):
        fit_umap(points)


# --- cuML ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cuml(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """A module in cuML's place on a machine that says it has a GPU; what its UMAP is asked for."""
    asked: list[dict[str, object]] = []

    class FakeUMAP:
        def __init__(self, **options: object) -> None:
            asked.append(options)

        def fit_transform(self, points: np.ndarray) -> np.ndarray:
            return points[:, :2] * 7

    package, manifold = types.ModuleType("cuml"), types.ModuleType("cuml.manifold")
    package.__spec__, package.__path__ = types.SimpleNamespace(name="cuml"), []  # type: ignore[assignment]
    manifold.UMAP = FakeUMAP  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuml", package)
    monkeypatch.setitem(sys.modules, "cuml.manifold", manifold)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return asked


def test_cuml_makes_the_map_where_there_is_a_gpu(cuml: list[dict[str, object]]) -> None:
    points, told = groups(), []
    layout = fit_umap(points, 10, 0.2, 3, "cosine", 2, progress=lambda done, total: told.append((done, total)))
    np.testing.assert_allclose(layout, points[:, :2] / np.abs(points).max() * 7, rtol=1e-6)
    wanted = {"n_neighbors": 10, "min_dist": 0.2, "metric": "cosine", "n_components": 2, "random_state": 3}
    assert cuml == [wanted | {"output_type": "numpy"}]
    assert told == [(0, EPOCHS), (EPOCHS, EPOCHS)]


def test_cuml_without_a_gpu_is_left_alone(cuml: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    fit_umap(groups())
    assert cuml == []
