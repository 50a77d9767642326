"""Moves in latent space."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vae import ModelConfig, build_model, decode_images, generator_for, interpolate, sample_prior, traverse

vectors = st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3).map(torch.tensor)


@given(vectors, st.integers(0, 2), st.lists(st.floats(-3, 3, width=32), min_size=1, max_size=5))
def test_a_traversal_changes_one_dimension_and_leaves_its_base_untouched(
    z: torch.Tensor, dimension: int, steps: list[float]
) -> None:
    before = z.clone()
    points = traverse(z, dimension, torch.tensor(steps))
    assert torch.equal(z, before)
    assert torch.equal(points[:, dimension], torch.tensor(steps))
    others = [index for index in range(3) if index != dimension]
    assert torch.equal(points[:, others], before[others].expand(len(steps), -1))


@pytest.mark.parametrize("dimension", [-1, 3])
def test_a_dimension_that_is_not_there(dimension: int) -> None:
    with pytest.raises(ValueError, match="dimension must be from 0 to 2"):
        traverse(torch.zeros(3), dimension, torch.zeros(1))


@given(vectors, vectors, st.integers(2, 9), st.sampled_from(["linear", "spherical"]))
def test_both_ends_of_an_interpolation_are_hit(start: torch.Tensor, end: torch.Tensor, steps: int, path: str) -> None:
    points = interpolate(start, end, steps, path)  # type: ignore[arg-type]
    assert points.shape == (steps, 3)
    assert torch.equal(points[0], start)
    assert torch.equal(points[-1], end)
    assert torch.isfinite(points).all()


def test_a_linear_path_has_equal_steps() -> None:
    points = interpolate(torch.tensor([0.0, 2.0]), torch.tensor([4.0, -2.0]), 5)
    torch.testing.assert_close(points, torch.tensor([[0.0, 2], [1, 1], [2, 0], [3, -1], [4, -2]]))


def test_a_spherical_path_turns_at_a_constant_rate_and_moves_its_length_linearly() -> None:
    stream = generator_for(0, "view")
    start, end = torch.randn(8, generator=stream).double(), 2 * torch.randn(8, generator=stream).double()
    points = interpolate(start, end, 9, "spherical")
    lengths = points.norm(dim=1)
    torch.testing.assert_close(
        lengths, torch.linspace(float(start.norm()), float(end.norm()), 9).double(), rtol=1e-6, atol=1e-6
    )
    directions = points / lengths[:, None]
    cosines = (directions[1:] * directions[:-1]).sum(dim=1)
    torch.testing.assert_close(cosines, cosines[:1].expand(8), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("end", [[3.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
def test_where_there_is_no_turn_the_path_is_straight(end: list[float]) -> None:
    start, last = torch.tensor([1.0, 0.0]), torch.tensor(end)
    torch.testing.assert_close(interpolate(start, last, 5, "spherical"), interpolate(start, last, 5))


def test_one_step_is_no_interpolation() -> None:
    with pytest.raises(ValueError, match="steps must be at least 2"):
        interpolate(torch.zeros(2), torch.ones(2), 1)


def test_prior_samples_are_standard_normal_and_reproducible() -> None:
    z = sample_prior(5_000, 4, generator_for(1, "view"))
    assert torch.equal(z, sample_prior(5_000, 4, generator_for(1, "view")))
    assert z.mean(dim=0).abs().max() < 0.06
    assert (z.var(dim=0) - 1).abs().max() < 0.08
    assert (z**4).mean().item() == pytest.approx(3.0, abs=0.25)  # a uniform of variance 1 has 1.8


def test_decoding_is_the_likelihoods_mean_and_its_input_is_checked() -> None:
    model = build_model(ModelConfig(channels=3, height=8, width=12, latent=3, widths=(4,), blocks=0, hidden=8), 0).eval()
    z = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    with torch.no_grad():
        expected = torch.sigmoid(model.decode(torch.tensor(z)))
    np.testing.assert_allclose(decode_images(model, z), expected.numpy(), atol=1e-6)
    assert decode_images(model, z[:0]).shape == (0, 3, 8, 12)
    for bad in (z[:, :2], np.full_like(z, np.nan), np.full_like(z, np.inf)):
        with pytest.raises(ValueError, match=r"z must be finite and of shape \(count, 3\)"):
            decode_images(model, bad)
