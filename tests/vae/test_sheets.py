"""What sheets and animations show, against points made by hand."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from vae import (
    VAE,
    Encodings,
    ModelConfig,
    build_model,
    decode_images,
    generator_for,
    grid_sheet,
    interpolation_animation,
    interpolation_sheet,
    prior_sheet,
    traversal_animation,
    traversal_sheet,
)
from vae.sheets import decoded

CONFIG = ModelConfig(channels=3, height=8, width=12, latent=3, widths=(4,), blocks=0, hidden=8)
Z = np.array([0.5, -1.0, 2.0], np.float32)


@pytest.fixture(scope="module")
def model() -> VAE:
    return build_model(CONFIG, 0).eval().requires_grad_(False)


def pictures(model: VAE, points: list[np.ndarray]) -> np.ndarray:
    return np.rint(decode_images(model, np.stack(points).astype(np.float32)) * 255).astype(np.uint8)


def replaced(dimension: int, value: float) -> np.ndarray:
    point = Z.copy()
    point[dimension] = value
    return point


def test_prior_samples_are_standard_normal_and_seeded(model: VAE) -> None:
    import torch

    sheet = prior_sheet("tiny", model, 10, seed=3)
    z = torch.randn(10, 3, generator=generator_for(3, "view")).numpy()
    assert np.array_equal(sheet.pictures, pictures(model, list(z)))
    assert (sheet.columns, sheet.rows) == (4, 3)
    assert sheet.title == "tiny: 10 samples of the prior, z ~ N(0, I), seed 3; pictures are E[x|z]"
    assert not np.array_equal(sheet.pictures, prior_sheet("tiny", model, 10, seed=4).pictures)


def test_a_traversal_moves_one_dimension_over_its_range(model: VAE) -> None:
    sheet = traversal_sheet("tiny", model, Z, 1, -2.0, 2.0, 5, "test image 7 (Bag)")
    assert np.array_equal(sheet.pictures, pictures(model, [replaced(1, value) for value in (-2, -1, 0, 1, 2)]))
    assert sheet.column_labels == ("-2.00", "-1.00", "0.00", "1.00", "2.00")
    expected = "tiny: traversal of z[1] from -2 to 2, from the posterior mean of test image 7 (Bag); pictures are E[x|z]"
    assert sheet.title == expected


def test_the_grid_has_a_row_for_each_active_dimension_by_kl(model: VAE) -> None:
    mean = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) * np.array([0.5, 0.0, 3.0], np.float32)
    encodings = Encodings(mean, np.zeros_like(mean), np.zeros(50, np.float32), np.zeros(50, np.float32))
    sheet = grid_sheet("tiny", model, encodings, Z, -1.0, 1.0, 3, "test image 0")
    points = [replaced(dimension, value) for dimension in (2, 0) for value in (-1, 0, 1)]
    assert np.array_equal(sheet.pictures, pictures(model, points))
    kl = (mean.astype(float) ** 2).mean(axis=0) / 2  # variance 1: what is left of the closed form
    assert sheet.row_labels == (f"z[2]  KL {kl[2]:.2f}", f"z[0]  KL {kl[0]:.2f}")
    assert "the 2 active dimensions by KL (nats, mean over 50 test images), from -1 to 1" in sheet.title
    none = Encodings(0 * mean, np.zeros_like(mean), np.zeros(50, np.float32), np.zeros(50, np.float32))
    collapsed = grid_sheet("tiny", model, none, Z, -1.0, 1.0, 3, "test image 0")
    assert collapsed.rows == 3
    assert "all 3 dimensions, none active," in collapsed.title


def test_an_interpolation_joins_two_points(model: VAE) -> None:
    end = np.array([-1.0, 0.0, 1.0], np.float32)
    sheet = interpolation_sheet("tiny", model, Z, end, 3, "linear", ("test image 1", "test image 2"))
    assert np.array_equal(sheet.pictures, pictures(model, [Z, (Z + end) / 2, end]))
    assert sheet.column_labels == ("t = 0.00", "t = 0.50", "t = 1.00")
    assert sheet.title.startswith("tiny: linear interpolation between the posterior means of test image 1 and test image 2;")
    round_way = interpolation_sheet("tiny", model, Z, end, 3, "spherical", ("a", "b"))
    assert np.array_equal(round_way.pictures[[0, -1]], sheet.pictures[[0, -1]])
    assert not np.array_equal(round_way.pictures[1], sheet.pictures[1])


def first_and_turn(content: bytes, turn: int) -> list[np.ndarray]:
    frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(Image.open(io.BytesIO(content)))]
    assert len(frames) == 2 * turn
    scale = 280 // 12
    return [frames[index][::scale, ::scale].transpose(2, 0, 1) for index in (0, turn)]


def test_animations_show_the_same_points(model: VAE) -> None:
    end = np.array([-1.0, 0.0, 1.0], np.float32)
    content = traversal_animation("tiny", model, Z, 0, -30.0, 30.0, 4, "test image 1", "webp")
    for frame, point in zip(first_and_turn(content, 3), (replaced(0, -30), replaced(0, 30)), strict=True):
        assert np.array_equal(frame, pictures(model, [point])[0])
    content = interpolation_animation("tiny", model, 20 * Z, 20 * end, 4, "linear", ("a", "b"), "webp")
    for frame, point in zip(first_and_turn(content, 3), (20 * Z, 20 * end), strict=True):
        assert np.array_equal(frame, pictures(model, [point])[0])
    gif = Image.open(io.BytesIO(traversal_animation("tiny", model, Z, 0, -3.0, 3.0, 4, "test image 1")))
    assert gif.info["comment"] == b"tiny: traversal of z[0] from -3 to 3, from the posterior mean of test image 1"


def test_too_many_pixels_are_shrunk_to_means_of_squares_and_the_caption_says_so(
    model: VAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, factor = decoded(model, Z[None], most=30)
    whole = decode_images(model, Z[None])[0]
    expected = whole.reshape(3, 4, 2, 6, 2).mean(axis=(2, 4)) * 255
    assert factor == 2
    assert np.abs(small[0] - expected).max() <= 0.501
    assert decoded(model, Z[None], most=96)[1] == 1
    five = build_model(ModelConfig(channels=5, height=8, width=12, latent=3, widths=(4,), blocks=0, hidden=8), 0).eval()
    assert prior_sheet("tiny", five, 1).title.endswith("E[x|z] (the first 3 of 5 channels)")
    monkeypatch.setattr("vae.sheets.decoded", lambda model, z: (np.zeros((len(z), 3, 4, 6), np.uint8), 2))
    assert prior_sheet("tiny", model, 1).title.endswith("E[x|z] (sides divided by 2)")


def test_a_dimension_that_is_not_there(model: VAE) -> None:
    with pytest.raises(ValueError, match="dimensions must be from 0 to 2, got"):
        traversal_sheet("tiny", model, Z, 3, -1.0, 1.0, 3, "x")
