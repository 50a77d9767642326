"""Figures and the pictures of epochs: what is in them is what was given."""

from __future__ import annotations

import numpy as np
import pytest

from dashboard.charts import Curve, Level, curves, kl_heat_map, kl_spectra, posterior_cloud
from dashboard.components.epoch_pictures import BUDGET_BYTES, EpochPictures, choose_epochs


def test_curves_carry_their_numbers_units_and_levels() -> None:
    x = np.arange(1.0, 21.0)
    y = np.concatenate([[900.0, 500.0, 400.0], np.linspace(260, 240, 17)])
    figure = curves("−ELBO", "epoch", "nats per image", [Curve("a<b", x, y)], [Level("entropy floor", 190.0)])
    (line,) = figure.data
    np.testing.assert_array_equal(line.y, y)
    assert figure.layout.xaxis.title.text == "epoch"
    assert figure.layout.yaxis.title.text == "nats per image"
    assert "a&lt;b" in line.hovertemplate
    low, high = figure.layout.yaxis.range
    assert low < 190 < 260 < high < 400  # the first epochs don't stretch the scale
    assert figure.layout.annotations[0].text == "entropy floor: 190.0"
    assert curves("", "", "", [Curve("a", x[:4], y[:4])]).layout.yaxis.range is None


def test_the_heat_map_has_the_strongest_dimension_on_top() -> None:
    kl = np.zeros((3, 100))
    kl[:, 7], kl[:, 50] = (1.0, 2.0, 3.0), (5.0, 1.0, 2.0)
    figure = kl_heat_map([1, 2, 3], kl)
    (heat,) = figure.data
    assert heat.y[:2] == ("z7", "z50")
    assert heat.z.shape == (64, 3)
    assert figure.layout.title.text == "KL per latent dimension, the strongest 64 of 100"


def test_the_axis_of_few_epochs_has_whole_numbers_only() -> None:
    for count, step in ((3, 1), (8, 1), (30, None)):
        x = np.arange(1.0, count + 1)
        assert curves("", "epoch", "", [Curve("a", x, x)]).layout.xaxis.dtick == step
        assert kl_heat_map(list(range(1, count + 1)), np.ones((count, 2))).layout.xaxis.dtick == step
    assert curves("", "minutes", "", [Curve("a", x / 60, x)]).layout.xaxis.dtick is None


def test_a_posterior_cloud_lies_above_all_encoded_images() -> None:
    noise = np.random.default_rng(0)
    places, labels = noise.normal(size=(50, 2)).astype(np.float32), noise.integers(0, 2, 50)
    cloud = noise.normal(size=(7, 2)).astype(np.float32)
    for given, names, parts in ((labels, ("a", "b"), 2), (None, (), 1)):
        traces = posterior_cloud(places, given, names, cloud, cloud[0]).data
        base = np.concatenate([np.column_stack([trace.x, trace.y]) for trace in traces[:parts]])
        np.testing.assert_array_equal(np.sort(base, axis=0), np.sort(places, axis=0))
        np.testing.assert_array_equal(np.column_stack([traces[parts].x, traces[parts].y]), cloud)
        assert traces[parts].name == "7 samples of q(z|x)"


def test_spectra_are_sorted() -> None:
    figure = kl_spectra({"a": np.array([0.1, 3.0, 1.0]), "b": np.array([2.0])})
    assert figure.data[0].y.tolist() == [3.0, 1.0, 0.1]
    assert figure.data[1].name == "b"


@pytest.mark.parametrize("count", [1, 2, 60, 61, 500, 100_000])
def test_few_epochs_are_all_shown_and_of_many_some_with_both_ends(count: int) -> None:
    chosen = choose_epochs(list(range(1, count + 1)))
    assert len(chosen) == min(count, 60)
    assert (chosen[0], chosen[-1]) == (1, count)
    assert chosen == sorted(set(chosen))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 128, 128), (3, 1024, 1024)])
def test_pictures_fit_their_budget(shape: tuple[int, int, int]) -> None:
    images = np.broadcast_to(np.uint8(7), (60, 16, *shape))
    pictures = EpochPictures(tuple(range(60)), ("",) * 60, None, images, images)
    block = pictures.block
    channels, height, width = shape
    assert 2 * 60 * 16 * channels * -(-height // block) * -(-width // block) <= BUDGET_BYTES
    assert (block == 1) == (shape == (1, 28, 28))
