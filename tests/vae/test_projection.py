"""Maps and placements, against brute force."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae import fit_pca, fit_tsne, fit_umap, generator_for, nearest, place, typical_mean_distances
from vae.projection import nearest_by


def cloud(count: int = 40, latent: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, latent)).astype(np.float32)


def test_nearest_is_that_of_brute_force() -> None:
    points, queries = cloud(60), cloud(7, seed=1)
    rows, distances = nearest(queries, points, 5)
    expected = np.linalg.norm(queries[:, None].astype(np.float64) - points[None], axis=2)
    assert np.array_equal(rows, np.argsort(expected, axis=1)[:, :5])
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :5], rtol=1e-5)


def test_a_point_is_its_own_nearest_even_far_from_the_origin() -> None:
    points = cloud() + 1000
    rows, distances = nearest(points, points, 2)
    assert np.array_equal(rows[:, 0], np.arange(40))
    assert distances[:, 0].max() == 0.0


@pytest.mark.parametrize("scale", [1e-3, 1e-5])
def test_nearest_among_tight_clusters_far_apart_where_a_product_of_matrices_cannot_tell(scale: float) -> None:
    random = np.random.default_rng(0)
    points = (np.repeat(cloud(20) * 5, 100, axis=0) + scale * random.normal(size=(2_000, 5))).astype(np.float32)
    queries = points[::40]
    rows, distances = nearest(queries, points, 9)
    expected = np.linalg.norm(queries[:, None].astype(np.float64) - points[None], axis=2)
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :9], rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(np.take_along_axis(expected, rows, axis=1), distances, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("count", [0, 41])
def test_more_neighbours_than_points(count: int) -> None:
    with pytest.raises(ValueError, match="count must be from 1 to the number of points, 40"):
        nearest(cloud(), cloud(), count)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "correlation"])
def test_neighbours_by_each_metric_are_those_of_scipy(metric: str) -> None:
    from scipy.spatial.distance import cdist

    points = cloud(60) + np.linspace(-1, 2, 5, dtype=np.float32)
    expected = cdist(points.astype(np.float64), points.astype(np.float64), metric)
    rows, distances = nearest_by(metric, points, 7)
    assert np.array_equal(rows, np.argsort(expected, axis=1)[:, :7])
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :7], atol=1e-6)


def test_a_metric_that_the_points_are_too_few_dimensions_for() -> None:
    with pytest.raises(ValueError, match="the cosine distance needs at least 2 dimensions, got 1"):
        nearest_by("cosine", cloud(40, 1), 5)
    with pytest.raises(ValueError, match="the correlation distance needs at least 3 dimensions, got 2"):
        nearest_by("correlation", cloud(40, 2), 5)
    with pytest.raises(ValueError, match="the metric must be one of euclidean, cosine, correlation, got 'taxi'"):
        nearest_by("taxi", cloud(), 5)


@pytest.mark.parametrize("components", [2, 3])
def test_pca_is_that_of_the_singular_value_decomposition(components: int) -> None:
    points = cloud(50) * np.array([5, 3, 1, 0.5, 0.1], dtype=np.float32)
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :components] * values[:components]
    np.testing.assert_allclose(np.abs(fit_pca(points, components)), np.abs(expected), atol=1e-3)


def test_the_largest_loading_of_each_component_is_positive() -> None:
    for seed in range(8):
        points = cloud(50, seed=seed) * np.array([5, 3, 1, 0.5, 0.1], dtype=np.float32)
        loadings = (points - points.mean(axis=0)).T @ fit_pca(points)
        assert (loadings[np.abs(loadings).argmax(axis=0), [0, 1]] > 0).all()


@pytest.mark.parametrize("points", [cloud(10, 1), np.ones((10, 3), np.float32)])
def test_pca_of_less_than_a_plane(points: np.ndarray) -> None:
    layout = fit_pca(points)
    assert layout.shape == (10, 2)
    assert np.isfinite(layout).all()
    assert np.allclose(layout[:, 1], 0, atol=1e-6)


def groups() -> np.ndarray:
    """Three groups of thirty points, far apart."""
    return np.repeat(np.eye(3, 6, dtype=np.float32) * 20, 30, axis=0) + cloud(90, 6)


def keeps(points: np.ndarray, layout: np.ndarray, metric: str = "euclidean") -> float:
    """How well neighbours are kept: 1 is perfectly, about a half is chance (Venna & Kaski 2001)."""
    from sklearn.manifold import trustworthiness

    return float(trustworthiness(points.astype(np.float64), layout, n_neighbors=10, metric=metric))


@pytest.mark.parametrize("components", [2, 3])
def test_tsne_is_seeded_and_keeps_neighbours(components: int) -> None:
    points, told = groups(), []
    layout = fit_tsne(points, 10.0, 3, components, lambda done, total: told.append((done, total)))
    assert layout.shape == (90, components)
    assert np.array_equal(layout, fit_tsne(points, 10.0, 3, components))
    assert keeps(points, layout) > 0.85
    assert told[0] == (0, 1000)
    assert len(told) > 5
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_tsne_of_too_few_points() -> None:
    with pytest.raises(ValueError, match="a t-SNE of perplexity 30 needs more than 30 points, got 30"):
        fit_tsne(cloud(30))
    with pytest.raises(ValueError, match="needs more than 3 points, got 3"):
        fit_tsne(cloud(3), 1.0)


class Enough(Exception):
    """What a test stops a fit with."""


@pytest.mark.parametrize("fit", [fit_umap, fit_tsne])
def test_what_the_progress_raises_ends_the_fit(fit: Callable[..., np.ndarray]) -> None:
    heard = []

    def stop(done: int, total: int) -> None:
        heard.append(done)
        if done >= 50:
            raise Enough

    with pytest.raises(Enough):
        fit(groups(), progress=stop)
    assert 50 <= max(heard) < 150


@given(st.integers(0, 2**32 - 1))
def test_a_placement_lies_among_its_neighbours(seed: int) -> None:
    points, coordinates = cloud(30, 4, seed), cloud(30, 2, seed + 1)
    query = cloud(3, 4, seed + 2)
    positions = place(query, points, coordinates, count=5)
    rows, _ = nearest(query, points, 5)
    assert (positions >= coordinates[rows].min(axis=1) - 1e-4).all()
    assert (positions <= coordinates[rows].max(axis=1) + 1e-4).all()


def test_a_query_on_a_point_gets_its_position() -> None:
    points, coordinates = cloud(), cloud(40, 2, 1)
    np.testing.assert_allclose(place(points[7:9], points, coordinates), coordinates[7:9], atol=1e-4)


def test_a_nearer_point_weighs_more() -> None:
    points, coordinates = np.array([[0.0], [1.0]], np.float32), np.array([[0.0, 0.0], [1.0, 0.0]], np.float32)
    x = place(np.array([[0.25]], np.float32), points, coordinates)[0, 0]
    assert x == pytest.approx((1 / 0.75**2) / (1 / 0.25**2 + 1 / 0.75**2), abs=1e-5)


def test_one_known_point_is_the_place_of_all() -> None:
    positions = place(cloud(3), cloud(1), np.array([[2.0, -1.0]], np.float32))
    np.testing.assert_allclose(positions, [[2.0, -1.0]] * 3)


def test_distances_among_images_are_those_of_brute_force_without_the_image_itself() -> None:
    points = cloud(50)
    every = np.sort(np.linalg.norm(points[:, None].astype(np.float64) - points[None], axis=2), axis=1)
    expected = np.sort(every[:, 1:9].mean(axis=1))
    np.testing.assert_allclose(typical_mean_distances(points, generator_for(0, "view")), expected, rtol=1e-5)
    some = typical_mean_distances(points, generator_for(0, "view"), samples=20)
    assert len(some) == 20
    assert np.isin(some.round(4), expected.astype(np.float32).round(4)).all()
    with pytest.raises(ValueError, match="distances between images need at least two of them, got 1"):
        typical_mean_distances(points[:1], generator_for(0, "view"))
