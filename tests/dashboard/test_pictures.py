"""What a page shows and offers for download."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pandas as pd
from PIL import Image

from dashboard.charts import PETROFF, map_figure
from dashboard.pictures import difference, enlarged, numbers_json, original_size, point_csv, point_npy, to_uint8, zip_of
from dashboard.views.explore import selected_row
from vae import make_dataset


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


def test_bytes_are_rounded_to_the_nearest() -> None:
    assert to_uint8(np.array([[[0.0, 0.5, 1.0, 1.5, -1.0, 0.0019]]], np.float32)).tolist() == [[[0, 128, 255, 255, 0, 0]]]


def test_the_difference_is_absolute() -> None:
    first, second = np.array([[[10, 250]]], np.uint8), np.array([[[30, 0]]], np.uint8)
    assert difference(first, second).tolist() == difference(second, first).tolist() == [[[20, 250]]]


def test_pictures_are_saved_as_they_are_and_shown_with_square_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 4, 6)).astype(np.uint8)
    assert np.array_equal(opened(original_size(image)), image.transpose(1, 2, 0))
    scale = 224 // 6
    assert np.array_equal(opened(enlarged(image)), image.transpose(1, 2, 0).repeat(scale, axis=0).repeat(scale, axis=1))


def test_a_point_as_table_and_array() -> None:
    z, mean, logvar = (np.arange(4, dtype=np.float32) + shift for shift in (0, 1, 2))
    table = pd.read_csv(io.BytesIO(point_csv(z, mean, logvar)))
    assert table.columns.tolist() == ["dimension", "z", "posterior_mean", "posterior_std"]
    np.testing.assert_allclose(table["posterior_std"], np.exp(logvar / 2), rtol=1e-6)
    assert np.array_equal(np.load(io.BytesIO(point_npy(z)), allow_pickle=False), z)


def test_numbers_say_their_unit_sign_and_count() -> None:
    assert json.loads(numbers_json(-218.5, 15.5)) == {
        "elbo": -234.0,
        "reconstruction": -218.5,
        "kl": 15.5,
        "unit": "nats",
        "samples": 1,
    }


def test_a_zip_holds_its_files() -> None:
    with zipfile.ZipFile(io.BytesIO(zip_of({"a.png": b"1", "b.png": b"22"}))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"a.png": b"1", "b.png": b"22"}


def test_the_map_carries_every_row_once_in_its_class() -> None:
    labels = np.arange(40) % 12  # more classes than colours, one of them without images
    labels[labels == 3] = 4
    names = tuple(f"<b>class {label}" for label in range(12))
    data = make_dataset(np.zeros((40, 1, 8, 8), np.uint8), labels, names)
    coordinates = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    figure = map_figure(coordinates, data, np.zeros(40, np.float32))
    assert len(figure.data) == 11
    assert sorted(np.concatenate([trace.customdata for trace in figure.data]).tolist()) == list(range(40))
    for trace in figure.data:
        assert np.array_equal(np.column_stack([trace.x, trace.y]), coordinates[trace.customdata])
        assert len(set(labels[trace.customdata])) == 1
        assert trace.name.startswith("&lt;b&gt;class ")  # a class's name is text, not markup
    assert figure.data[0].marker.color == PETROFF[0]
    assert figure.data[-1].marker.color == PETROFF[1]
    assert figure.data[-1].marker.symbol != figure.data[1].marker.symbol


def test_without_labels_the_map_is_coloured_by_the_elbo() -> None:
    data = make_dataset(np.zeros((5, 3, 8, 8), np.uint8))
    values = np.arange(5, dtype=np.float32)
    figure = map_figure(np.zeros((5, 2), np.float32), data, values)
    assert np.array_equal(figure.data[0].marker.color, values)
    assert "ELBO (nats)" in figure.data[0].marker.colorbar.title.text


def test_a_selection_from_a_browser_is_checked() -> None:
    def event(value: object) -> object:
        return {"selection": {"points": [{"customdata": value}]}}

    assert selected_row(event([7]), 10) == 7
    assert selected_row(event(0), 10) == 0
    refused = [None, "x", [], -1, 10, 3.5, float("nan"), float("inf"), True, {"0": 1}, [[1]], "3"]
    assert [selected_row(event(value), 10) for value in refused] == [None] * len(refused)
    for odd in (None, {}, {"selection": {}}, {"selection": {"points": []}}, 5, "text"):
        assert selected_row(odd, 10) is None
