"""The frames of a drag, and how far a point lies from the encoded images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vae import (
    NEIGHBORS,
    ModelConfig,
    anchored_steps,
    build_model,
    decode_images,
    filmstrip,
    filmstrip_points,
    generator_for,
    nearest,
    off_manifold,
    place,
    place_among,
    typical_distances,
)

MODEL = build_model(ModelConfig(channels=3, height=8, width=12, latent=5, widths=(4,), blocks=0, hidden=8), 0).eval()
numbers = st.floats(-6, 6, width=32)


# --- steps ---------------------------------------------------------------------------------------------------------


@given(numbers, numbers, numbers, st.integers(2, 61))
def test_the_anchors_are_among_the_steps_to_the_bit_and_the_steps_rise(
    current: float, encoded: float, edge: float, steps: int
) -> None:
    low, high = min(current, encoded, edge) - 0.5, max(current, encoded, edge) + 0.5
    values = anchored_steps(low, high, steps, [current, encoded])
    assert values.shape == (steps,)
    assert values.dtype == np.float32
    assert np.float32(current) in values
    assert (np.diff(values) >= 0).all()
    assert values[0] >= np.float32(low)
    assert values[-1] <= np.float32(high)
    # No step is farther from where an even spacing would have it than half a step.
    even = np.linspace(low, high, steps)
    assert np.abs(values - even).max() <= 0.5 * (high - low) / (steps - 1) + 1e-5


def test_steps_without_anchors_are_even_and_include_both_ends() -> None:
    np.testing.assert_array_equal(anchored_steps(-1.0, 1.0, 5, []), np.float32([-1, -0.5, 0, 0.5, 1]))


def test_the_first_of_two_anchors_at_one_step_has_it() -> None:
    np.testing.assert_array_equal(anchored_steps(0.0, 4.0, 5, [1.25, 0.875, 3.5]), np.float32([0, 1.25, 2, 3, 3.5]))


@pytest.mark.parametrize(
    ("low", "high", "steps", "anchors"),
    [(0.0, 1.0, 1, []), (1.0, 1.0, 5, []), (0.0, 1.0, 5, [1.5]), (0.0, 1.0, 5, [float("nan")]), (float("nan"), 1.0, 5, [])],
)
def test_steps_that_cannot_be(low: float, high: float, steps: int, anchors: list[float]) -> None:
    with pytest.raises(ValueError, match="must"):
        anchored_steps(low, high, steps, anchors)


# --- frames --------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True), st.integers(2, 6), st.integers(0, 99))
def test_a_point_of_a_strip_differs_from_the_base_in_its_one_dimension(dimensions: list[int], steps: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    z, values = random.normal(size=5).astype(np.float32), random.normal(size=(len(dimensions), steps)).astype(np.float32)
    before = z.copy()
    points = filmstrip_points(z, np.array(dimensions), values).reshape(len(dimensions), steps, 5)
    np.testing.assert_array_equal(z, before)
    for row, dimension in enumerate(dimensions):
        np.testing.assert_array_equal(points[row, :, dimension], values[row])
        others = [index for index in range(5) if index != dimension]
        np.testing.assert_array_equal(points[row][:, others], np.broadcast_to(z[others], (steps, 4)))


def test_every_frame_is_what_its_point_decodes_to() -> None:
    random = np.random.default_rng(0)
    z, values = random.normal(size=5).astype(np.float32), 4 * random.normal(size=(2, 7)).astype(np.float32)
    dimensions = np.array([3, 0])
    frames = filmstrip(MODEL, z, dimensions, values)
    assert frames.dtype == np.uint8
    assert frames.shape == (2, 7, 3, 8, 12)
    expected = np.rint(decode_images(MODEL, filmstrip_points(z, dimensions, values)) * 255).reshape(frames.shape)
    assert np.abs(frames - expected).max() <= 1
    assert (frames == expected).mean() > 0.99
    # One by one, instead of all at once.
    alone = np.stack([decode_images(MODEL, point[None])[0] for point in filmstrip_points(z, dimensions, values)])
    assert np.abs(frames - 255 * alone.reshape(frames.shape)).max() <= 1


def test_the_frame_at_the_current_value_is_the_current_picture() -> None:
    z = np.random.default_rng(1).normal(size=5).astype(np.float32)
    values = np.stack([anchored_steps(-5.0, 5.0, 9, [float(z[dimension])]) for dimension in range(5)])
    frames = filmstrip(MODEL, z, np.arange(5), values)
    now = decode_images(MODEL, z[None])[0] * 255
    for dimension in range(5):
        at = np.flatnonzero(values[dimension] == z[dimension])
        assert len(at) == 1
        assert np.abs(frames[dimension, at[0]] - now).max() <= 1


def test_frames_in_the_serving_layout_and_precision_are_what_their_points_decode_to_there() -> None:
    config = ModelConfig(channels=1, height=8, width=12, latent=5, widths=(8, 16), blocks=1, hidden=16)
    model = build_model(config, 0).eval()
    random = np.random.default_rng(2)
    z, values = random.normal(size=5).astype(np.float32), 3 * random.normal(size=(2, 7)).astype(np.float32)
    points = filmstrip_points(z, np.array([3, 0]), values)
    plain = decode_images(model, points)
    served = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as a run gives it
    np.testing.assert_allclose(decode_images(served, points), plain, atol=1e-5)
    reduced = decode_images(served, points, "bf16")
    assert np.abs(reduced - plain).max() < 0.05  # equal where the machine gains nothing by bf16
    frames = filmstrip(served, z, np.array([3, 0]), values, precision="bf16")
    alone = np.stack([decode_images(served, point[None], "bf16")[0] for point in points])
    assert np.abs(frames.reshape(reduced.shape) - 255 * reduced).max() <= 1
    assert np.abs(frames.reshape(alone.shape) - 255 * alone).max() <= 1


@pytest.mark.parametrize("block", [2, 3, 5, 50])
def test_a_preview_averages_squares_of_pixels(block: int) -> None:
    z, values = np.zeros(5, dtype=np.float32), np.float32([[-2, 0, 2]])
    preview = filmstrip(MODEL, z, np.array([1]), values, block)
    whole = decode_images(MODEL, filmstrip_points(z, np.array([1]), values)) * 255
    rows, columns = -(-8 // block), -(-12 // block)
    assert preview.shape == (1, 3, 3, rows, columns)
    for row in range(rows):
        for column in range(columns):
            square = whole[..., row * block : (row + 1) * block, column * block : (column + 1) * block]
            np.testing.assert_allclose(preview[0, ..., row, column], square.mean(axis=(-1, -2)), atol=0.51)


def test_what_is_no_strip() -> None:
    z = np.zeros(5, dtype=np.float32)
    assert filmstrip(MODEL, z, np.array([], dtype=np.int64), np.zeros((0, 4), np.float32), 2).shape == (0, 4, 3, 4, 6)
    for dimension in (-1, 5):
        with pytest.raises(ValueError, match="dimensions must be from 0 to 4"):
            filmstrip(MODEL, z, np.array([dimension]), np.zeros((1, 4), np.float32))
    with pytest.raises(ValueError, match="z must be finite"):
        filmstrip(MODEL, z, np.array([0]), np.float32([[0, np.nan]]))


# --- off the manifold ----------------------------------------------------------------------------------------------

POINTS = np.random.default_rng(2).normal(size=(400, 3)).astype(np.float32)
LOGVAR = np.full_like(POINTS, -3.0)
TYPICAL = typical_distances(POINTS, LOGVAR, generator_for(0, "view"), 500)


def percentiles(queries: np.ndarray) -> np.ndarray:
    return off_manifold(nearest(queries, POINTS, NEIGHBORS)[1], TYPICAL)


def test_samples_of_the_aggregate_posterior_are_spread_evenly_over_the_percentiles() -> None:
    random = np.random.default_rng(3)
    rows = random.integers(0, len(POINTS), 4000)
    drawn = POINTS[rows] + np.exp(-1.5) * random.normal(size=(4000, 3))
    found = np.sort(percentiles(drawn.astype(np.float32)))
    # The largest gap to the uniform distribution (Kolmogorov-Smirnov), for 500 reference samples at the 0.1% level.
    assert np.abs(found / 100 - (np.arange(4000) + 0.5) / 4000).max() < 1.95 / np.sqrt(500)


def test_the_reference_is_the_mean_distance_to_the_nearest_means_by_brute_force() -> None:
    assert TYPICAL.shape == (500,)
    assert (np.diff(TYPICAL) >= 0).all()
    again = typical_distances(POINTS, LOGVAR, generator_for(0, "view"), 500)
    np.testing.assert_array_equal(TYPICAL, again)
    exact = typical_distances(POINTS, np.full_like(POINTS, -40.0), generator_for(0, "view"), 500)
    own = np.sort(np.linalg.norm(POINTS[:, None] - POINTS[None], axis=2), axis=1)[:, :NEIGHBORS].mean(axis=1)
    assert np.abs(exact[:, None] - own[None]).min(axis=1).max() < 1e-5  # samples without noise are the means themselves


@given(st.floats(0, 1), st.integers(0, 99))
def test_a_percentile_lies_from_0_to_100_and_rises_with_the_distance(share: float, seed: int) -> None:
    near = np.random.default_rng(seed).uniform(0, 3, (1, NEIGHBORS)).astype(np.float32)
    low, high = off_manifold(near, TYPICAL), off_manifold(near + np.float32(share), TYPICAL)
    assert 0 <= low[0] <= high[0] <= 100


def test_far_away_is_the_hundredth_percentile_and_a_tie_counts_half() -> None:
    assert percentiles(np.full((1, 3), 50, dtype=np.float32))[0] == 100
    distances = np.full((1, NEIGHBORS), 2.0, dtype=np.float32)
    assert off_manifold(distances, np.float32([1, 2, 2, 3]))[0] == 50
    assert off_manifold(distances, np.float32([3, 4]))[0] == 0


def test_fewer_images_than_neighbours() -> None:
    found = typical_distances(POINTS[:3], LOGVAR[:3], generator_for(0, "view"), 10)
    assert found.shape == (10,)
    assert np.isfinite(found).all()


def test_placing_among_known_neighbours_is_placing() -> None:
    coordinates = POINTS[:, :2].copy()
    queries = np.concatenate([POINTS[:5], np.random.default_rng(4).normal(size=(20, 3)).astype(np.float32)])
    rows, distances = nearest(queries, POINTS, NEIGHBORS)
    placed = place_among(rows, distances, coordinates)
    np.testing.assert_allclose(placed, place(queries, POINTS, coordinates), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(placed[:5], coordinates[:5], atol=1e-4)
    assert torch.isfinite(torch.tensor(placed)).all()
