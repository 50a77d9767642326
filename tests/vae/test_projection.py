"""Maps and placements, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vae import fit_pca, fit_umap, nearest, place


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


@pytest.mark.parametrize("count", [0, 41])
def test_more_neighbours_than_points(count: int) -> None:
    with pytest.raises(ValueError, match="count must be from 1 to the number of points, 40"):
        nearest(cloud(), cloud(), count)


def test_pca_is_that_of_the_singular_value_decomposition() -> None:
    points = cloud(50) * np.array([5, 3, 1, 0.5, 0.1], dtype=np.float32)
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * values[:2]
    np.testing.assert_allclose(np.abs(fit_pca(points)), np.abs(expected), atol=1e-3)


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


def test_umap_is_seeded_and_keeps_groups_apart() -> None:
    centres = np.repeat(np.eye(3, dtype=np.float32) * 20, 30, axis=0)
    points = centres + cloud(90, 3)
    layout = fit_umap(points, neighbors=10, seed=3)
    assert np.array_equal(layout, fit_umap(points, neighbors=10, seed=3))
    assert not np.array_equal(layout, fit_umap(points, neighbors=10, seed=4))
    rows, _ = nearest(layout, layout, 6)
    assert (rows // 30 == np.arange(90)[:, None] // 30).mean() > 0.98
    with pytest.raises(ValueError, match="needs more than 15 points, got 15"):
        fit_umap(points[:15])


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
