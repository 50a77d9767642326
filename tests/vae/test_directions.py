"""Directions between groups, against closed forms, brute force and scikit-learn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from vae import (
    Probe,
    arithmetic,
    bootstrap_cosines,
    fit_probe,
    generator_for,
    interpolate,
    interpolate_through,
    mean_difference,
    percentile_along,
    project,
    separation,
)
from vae.directions import best_threshold

AXIS = np.array([3.0, 4.0, 0.0, 0.0]) / 5


def gaussians(count: int, apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of two Gaussians N(0, I) and N(apart * AXIS, I), and the rows of either."""
    points = np.random.default_rng(seed).normal(size=(2 * count, 4))
    points[count:] += apart * AXIS
    return points.astype(np.float32), np.arange(count), np.arange(count, 2 * count)


def test_the_mean_difference_is_the_one_by_hand_and_turns_with_the_groups() -> None:
    points = np.array([[0, 0], [2, 0], [5, 4], [9, 9]], np.float32)
    np.testing.assert_array_equal(mean_difference(points, np.array([0, 1]), np.array([2])), [4.0, 4.0])
    np.testing.assert_array_equal(mean_difference(points, np.array([2]), np.array([1, 0])), [-4.0, -4.0])


def test_between_gaussians_it_points_from_mean_to_mean() -> None:
    points, first, second = gaussians(4000, 2.0)
    np.testing.assert_allclose(mean_difference(points, first, second), 2 * AXIS, atol=4 * np.sqrt(2 / 4000))


def test_a_projection_is_a_length() -> None:
    assert project(np.array([[3.0, 4.0]]), np.array([6.0, 8.0]))[0] == pytest.approx(5.0)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9), st.integers(-5, 5))
def test_a_percentile_counts_what_lies_below_and_half_of_what_ties(values: list[int], query: int) -> None:
    points, queries = np.array(values, np.float32)[:, None], np.array([[query]], np.float32)
    expected = 100 * np.mean([(value < query) + 0.5 * (value == query) for value in values])
    assert percentile_along(queries, points, np.array([2.0]))[0] == pytest.approx(expected, abs=1e-4)
    assert percentile_along(queries, points, np.array([-1.0]))[0] == pytest.approx(100 - expected, abs=1e-4)


def test_resampled_directions_spread_as_theory_says() -> None:
    """The resampled difference is the whole one plus a Gaussian of the means' variance: 1 - cos is near
    (variance across the direction) / (2 length^2)."""
    count, apart = 400, 1.0
    points, first, second = gaussians(count, apart)
    cosines = bootstrap_cosines(points, first, second, generator_for(0, "view"), 2000)
    assert (np.diff(cosines) >= 0).all()
    length = np.linalg.norm(mean_difference(points, first, second))
    assert 1 - cosines.mean() == pytest.approx(3 * (2 / count) / (2 * length**2), rel=0.15)
    same = bootstrap_cosines(points, first, second, generator_for(0, "view"), 2000)
    np.testing.assert_array_equal(cosines, same)
    assert not np.array_equal(cosines, bootstrap_cosines(points, first, second, generator_for(1, "view"), 2000))


def test_fewer_or_nearer_images_make_a_direction_less_sure() -> None:
    def lowest(count: int, apart: float) -> float:
        points, first, second = gaussians(count, apart)
        return float(np.quantile(bootstrap_cosines(points, first, second, generator_for(0, "view")), 0.05))

    assert lowest(400, 2.0) > lowest(40, 2.0) > lowest(40, 0.5)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=7), st.lists(st.integers(0, 6), min_size=1, max_size=7))
def test_no_cut_is_better_than_the_best(low: list[int], high: list[int]) -> None:
    def score(cut: float) -> float:
        return float(np.mean(np.array(low) <= cut) + np.mean(np.array(high) > cut))

    found = best_threshold(np.array(low, float), np.array(high, float))
    assert score(found) == max(score(cut) for cut in np.arange(-1.5, 8, 0.5))


def test_separation_of_gaussians_is_the_closed_form() -> None:
    points, first, second = gaussians(6000, 2.0)
    found = separation(points, first, second, generator_for(0, "view"))
    assert found.tested == (3000, 3000)
    assert found.auc == pytest.approx(norm.cdf(2 / np.sqrt(2)), abs=0.012)
    assert found.accuracy == pytest.approx(norm.cdf(1.0), abs=0.015)
    assert found.probe_accuracy == pytest.approx(norm.cdf(1.0), abs=0.015)


def test_separation_is_that_of_scikit_learn_on_the_held_out_half() -> None:
    points, first, second = gaussians(40, 1.0)
    first = first[:25]  # unequal sizes
    found = separation(points, first, second, generator_for(3, "view"))
    stream, parts = generator_for(3, "view"), []
    import torch

    for group in (first, second):
        mixed = group[torch.randperm(len(group), generator=stream).numpy()]
        parts.append((mixed[: (len(mixed) + 1) // 2], mixed[(len(mixed) + 1) // 2 :]))
    direction = points[parts[1][0]].mean(axis=0) - points[parts[0][0]].mean(axis=0)
    tested = np.concatenate([parts[0][1], parts[1][1]])
    truth = np.isin(tested, second)
    assert found.tested == (12, 20)
    assert found.auc == pytest.approx(roc_auc_score(truth, points[tested] @ direction))
    fitted = np.concatenate([parts[0][0], parts[1][0]])
    model = LogisticRegression(class_weight="balanced").fit(points[fitted].astype(float), np.isin(fitted, second))
    assert found.probe_accuracy == pytest.approx(balanced_accuracy_score(truth, model.predict(points[tested])))


def test_groups_alike_are_told_apart_no_better_than_by_guessing() -> None:
    """In 60 dimensions a direction fitted to the images it is judged on would look good."""
    points = np.random.default_rng(0).normal(size=(80, 60))
    runs = [separation(points, np.arange(40), np.arange(40, 80), generator_for(seed, "view")) for seed in range(30)]
    for name in ("accuracy", "auc", "probe_accuracy"):
        assert np.mean([getattr(run, name) for run in runs]) == pytest.approx(0.5, abs=0.06)


def test_a_probe_is_that_of_scikit_learn_and_near_the_posterior() -> None:
    points, first, second = gaussians(5000, 2.0)
    probe = fit_probe(points, first, second[:500])
    rows = np.concatenate([first, second[:500]])
    model = LogisticRegression(class_weight="balanced").fit(points[rows].astype(float), rows >= 5000)
    np.testing.assert_allclose(probe.probability(points[:50]), model.predict_proba(points[:50].astype(float))[:, 1], atol=1e-9)
    exact = 1 / (1 + np.exp(-(2.0 * (points[:200] @ AXIS) - 2.0)))  # log N(z; 2u, I) - log N(z; 0, I) = 2 uz - 2
    assert np.abs(probe.probability(points[:200]) - exact).mean() < 0.03


def test_a_probability_far_out_is_0_or_1() -> None:
    np.testing.assert_array_equal(Probe(np.array([1.0]), 0.0).probability(np.array([[-1e6], [0.0], [1e6]])), [0, 0.5, 1])


def test_arithmetic() -> None:
    a, b, c = (np.array(values, np.float32) for values in ([1, 2], [3, 5], [10, 20]))
    np.testing.assert_array_equal(arithmetic(a, b, c), [8, 17])
    np.testing.assert_array_equal(arithmetic(a, a, c), c)
    with pytest.raises(ValueError, match="a, b and c must be finite"):
        arithmetic(a, np.array([np.nan, 0], np.float32), c)


FUNCTIONS = {
    "mean_difference": mean_difference,
    "fit_probe": fit_probe,
    "bootstrap_cosines": lambda *groups: bootstrap_cosines(*groups, generator_for(0, "view")),
    "separation": lambda *groups: separation(*groups, generator_for(0, "view")),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        ([], range(5, 10), r"the first group needs at least (an image|\d images), got 0: choose a larger one"),
        (range(5), [], r"the second group needs at least (an image|\d images), got 0: choose a larger one"),
        (range(5), range(4, 10), "the groups share 1 image, row 4 among them: choose groups that share none"),
        (range(5), range(6, 11), "the second group must hold different rows from 0 to 9"),
        (range(-1, 4), range(5, 10), "the first group must hold different rows from 0 to 9"),
        ([0, 1, 1, 2, 3], range(5, 10), "the first group must hold different rows from 0 to 9"),
    ],
)
def test_groups_that_make_no_sense_are_refused(name: str, first: list[int], second: list[int], sentence: str) -> None:
    points = np.random.default_rng(0).normal(size=(10, 3))
    with pytest.raises(ValueError, match=sentence):
        FUNCTIONS[name](points, np.array(first, np.int64), np.array(second, np.int64))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_points_that_are_not_finite_are_refused(name: str) -> None:
    for bad, row in itertools.product((np.nan, np.inf), (2, 7)):
        points = np.random.default_rng(0).normal(size=(10, 3))
        points[row, 1] = bad
        with pytest.raises(ValueError, match=f"the {'first' if row < 5 else 'second'} group holds points that aren't finite"):
            FUNCTIONS[name](points, np.arange(5), np.arange(5, 10))


def test_small_groups_have_a_direction_but_no_spread() -> None:
    points = np.eye(4)
    one, other = np.array([0]), np.array([1])
    assert mean_difference(points, one, other).tolist() == [-1, 1, 0, 0]
    with pytest.raises(ValueError, match="the first group needs at least 2 images, got 1"):
        bootstrap_cosines(points, one, other, generator_for(0, "view"))
    with pytest.raises(ValueError, match="the first group needs at least 4 images, got 2"):
        separation(points, np.array([0, 2]), np.array([1, 3]), generator_for(0, "view"))
    with pytest.raises(ValueError, match="the two groups have the same mean"):
        mean_difference(np.ones((4, 2)), one, other)


# --- a path through several points ---------------------------------------------------------------------------------


@given(st.integers(2, 5), st.integers(2, 7), st.sampled_from(["linear", "spherical"]))
def test_a_path_goes_through_every_stop(count: int, steps: int, path: str) -> None:
    import torch

    stops = np.random.default_rng(count).normal(size=(count, 6)).astype(np.float32)
    points = interpolate_through(stops, steps, path)  # type: ignore[arg-type]
    assert points.shape == ((count - 1) * (steps - 1) + 1, 6)
    np.testing.assert_array_equal(points[:: steps - 1], stops)
    leg = interpolate(torch.tensor(stops[0]), torch.tensor(stops[1]), steps, path)  # type: ignore[arg-type]
    np.testing.assert_array_equal(points[:steps], leg.numpy())


def test_a_path_needs_two_finite_stops() -> None:
    for stops in (np.zeros((1, 3), np.float32), np.full((2, 3), np.nan, np.float32)):
        with pytest.raises(ValueError, match="an interpolation needs at least two stops, all finite"):
            interpolate_through(stops, 5)
