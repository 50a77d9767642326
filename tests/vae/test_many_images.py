"""More images than can all be compared with each other: what stands for them, and that it is said."""

from __future__ import annotations

import numpy as np
import pytest

from vae import MapConfig, Run, fit_pca, fit_umap, generator_for, load_test_data, make_map, nearest, place
from vae.__main__ import main
from vae.encodings import Encodings
from vae.html_map import map_html
from vae.jobs import job_status
from vae.projection import comparable, typical_distances

PART = 16
"""How many of the tiny run's 24 images stand for all in these tests."""


@pytest.fixture
def few_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vae.encodings.MOST_COMPARED", PART)


def made_up(count: int, seed: int = 0) -> Encodings:
    random = np.random.default_rng(seed)
    mean, logvar = (random.normal(size=(count, 5)).astype(np.float32) for _ in range(2))
    mean[:, 2] *= 0.01  # no active unit
    return Encodings(mean, logvar, np.zeros(count, np.float32), np.zeros(count, np.float32))


def test_all_images_stand_for_themselves_up_to_the_limit(few_compared: None) -> None:
    encodings = made_up(PART)
    assert encodings.reference.tolist() == list(range(PART))
    assert np.array_equal(encodings.reference_means, encodings.mean[:, encodings.map_dimensions])


def test_of_more_a_part_is_drawn_once_and_for_all(few_compared: None) -> None:
    encodings = made_up(200)
    rows = encodings.reference
    assert len(rows) == PART
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() != list(range(PART))
    assert rows.max() > 100  # not only the first ones
    assert np.array_equal(made_up(200, seed=1).reference, rows)
    assert encodings.map_dimensions.tolist().count(2) == 0
    assert np.array_equal(encodings.reference_means, encodings.mean[rows][:, encodings.map_dimensions])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_map_of_more_is_fitted_to_a_part_and_the_others_are_placed_among_it(
    tiny_run: Run, few_compared: None, metric: str
) -> None:
    config = MapConfig(neighbors=5, metric=metric)  # type: ignore[arg-type]
    told: list[tuple[int, int]] = []
    made = make_map(tiny_run, config, lambda done, total: told.append((done, total)))
    encodings = tiny_run.load_encodings()
    part, rows = encodings.reference_means, encodings.reference
    assert np.array_equal(made.coordinates[rows], fit_umap(part, neighbors=5, metric=metric))
    others = np.setdiff1d(np.arange(24), rows)
    wanted, known = (comparable(metric, points) for points in (encodings.mean[others][:, encodings.map_dimensions], part))
    np.testing.assert_allclose(made.coordinates[others], place(wanted, known, made.coordinates[rows]), atol=1e-5)
    assert told[-1] == (24, 24)
    assert made.fitted == PART
    again = tiny_run.load_map(config)
    assert again.fitted == PART
    assert (
        again.part_words
        == f"fitted to {PART} of them drawn at random, the others placed at their nearest neighbours among those"
    )
    page = map_html("tiny-run", encodings, load_test_data(tiny_run), again).decode()
    assert again.part_words in page


def test_a_pca_is_that_of_all_images_however_many(tiny_run: Run, few_compared: None) -> None:
    made = make_map(tiny_run, MapConfig(method="pca"))
    encodings = tiny_run.load_encodings()
    assert np.array_equal(made.coordinates, fit_pca(encodings.mean[:, encodings.map_dimensions]))
    assert (made.fitted, made.part_words) == (None, "")


def test_a_map_of_fewer_is_fitted_to_all_and_says_nothing(tiny_run: Run) -> None:
    made = make_map(tiny_run, MapConfig(neighbors=5))
    assert (made.fitted, made.part_words) == (None, "")


def test_the_command_line_says_that_a_map_is_of_a_part(
    tiny_run: Run, few_compared: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["map", "tiny-run", "--neighbors", "5"]) == 0
    printed = capsys.readouterr()
    assert printed.out == (
        f"umap map of 24 test images, fitted to {PART} of them drawn at random, the others placed at their nearest neighbours "
        f"among those, kept in {tiny_run.maps_folder}\n"
    )
    assert "24/24" in printed.err
    status = job_status(tiny_run.maps_folder)
    assert status is not None
    assert (status.state, status.stage, status.total) == ("finished", "placing the other images", 24)


def test_typical_distances_are_taken_to_what_is_named() -> None:
    encodings = made_up(300)
    part = encodings.mean[::10]
    to_all = typical_distances(encodings.mean, encodings.logvar, generator_for(0, "view"))
    to_part = typical_distances(encodings.mean, encodings.logvar, generator_for(0, "view"), among=part)
    assert (to_part > to_all).all()  # the same samples, of which fewer images are near
    unchanged = typical_distances(encodings.mean, encodings.logvar, generator_for(0, "view"), among=encodings.mean)
    assert np.array_equal(unchanged, to_all)


def test_a_few_queries_find_what_many_find() -> None:
    points, queries = made_up(500).mean, made_up(40, seed=2).mean
    rows, distances = nearest(queries, points, 8)
    for start in range(0, 40, 4):
        few = slice(start, start + 4)
        assert np.array_equal(nearest(queries[few], points, 8)[0], rows[few])
        np.testing.assert_allclose(nearest(queries[few], points, 8)[1], distances[few], rtol=1e-5)


def test_many_points_are_searched_a_few_queries_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    points, queries = made_up(500).mean, made_up(40, seed=2).mean
    whole = nearest(queries, points, 8)
    monkeypatch.setattr("vae.projection._SCORES", 700)
    pieces = nearest(queries, points, 8)
    assert np.array_equal(pieces[0], whole[0])
    np.testing.assert_allclose(pieces[1], whole[1], rtol=1e-6)


def test_what_is_said_of_dimensions_is_the_same_in_parts_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parted = made_up(500)
    mean, logvar = parted.mean.astype(np.float64), parted.logvar.astype(np.float64)
    monkeypatch.setattr("vae.encodings._AT_ONCE", 64)
    np.testing.assert_allclose(parted.aggregate_mean, mean.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(parted.aggregate_std, np.sqrt(mean.var(axis=0) + np.exp(logvar).mean(axis=0)), rtol=1e-12)
    np.testing.assert_allclose(
        parted.kl_per_dimension, (0.5 * (np.exp(logvar) - 1 - logvar + mean**2)).mean(axis=0), rtol=1e-12
    )
    assert parted.active.tolist() == (mean.var(axis=0) > 0.01).tolist()
