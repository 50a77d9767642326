"""What a page shows and offers for download."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pandas as pd
from PIL import Image

from dashboard.pictures import difference, enlarged, numbers_json, original_size, point_csv, point_npy, to_uint8, zip_of


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
