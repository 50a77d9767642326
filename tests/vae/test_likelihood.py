"""p(x|z) against `torch.distributions` in float64, at the nasty ends too."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from torch import Tensor
from torch.distributions import ContinuousBernoulli as Reference
from torch.distributions import Normal

from vae.config import LikelihoodName
from vae.likelihood import LIKELIHOODS, Bernoulli, ContinuousBernoulli, Gaussian

LOGITS = [-100.0, -30.0, -5.0, -1.0, -0.11, -0.0999, -1e-2, -1e-4, -1e-8, 0.0, 1e-8, 1e-3, 0.0999, 0.11, 0.5, 2.0, 30.0, 100.0]
PIXELS = [0.0, 1e-6, 0.25, 0.5, 0.75, 1.0]


def grid() -> tuple[Tensor, Tensor]:
    """Every logit with every pixel value, one pixel an image."""
    logits, pixels = torch.meshgrid(torch.tensor(LOGITS), torch.tensor(PIXELS), indexing="ij")
    return logits.reshape(-1, 1, 1, 1), pixels.reshape(-1, 1, 1, 1)


def test_every_named_likelihood_exists() -> None:
    assert set(LIKELIHOODS) == set(get_args(LikelihoodName))


def test_bernoulli_is_the_cross_entropy_in_float64() -> None:
    logits, x = grid()
    wide = logits.double()
    expected = x.double() * torch.nn.functional.logsigmoid(wide) + (1 - x.double()) * torch.nn.functional.logsigmoid(-wide)
    torch.testing.assert_close(Bernoulli().log_prob(logits, x).double(), expected.flatten(), rtol=1e-6, atol=1e-6)


def test_bernoulli_sums_over_pixels_and_not_over_the_batch() -> None:
    logits, x = torch.randn(4, 3, 5, 5), torch.rand(4, 3, 5, 5)
    expected = -torch.nn.functional.binary_cross_entropy(torch.sigmoid(logits), x, reduction="none").sum(dim=(1, 2, 3))
    torch.testing.assert_close(Bernoulli().log_prob(logits, x), expected)


@given(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), st.lists(st.floats(-20, 20), min_size=4, max_size=4))
def test_nothing_beats_the_entropy_floor(pixels: list[float], logits: list[float]) -> None:
    x = torch.tensor(pixels).reshape(1, 1, 2, 2)
    negative = -Bernoulli().log_prob(torch.tensor(logits, dtype=torch.float32).reshape(1, 1, 2, 2), x)
    assert float(negative) >= float(Bernoulli.entropy(x)) - 1e-5


def test_the_floor_is_reached_where_the_mean_is_the_pixel() -> None:
    x = torch.tensor([0.1, 0.5, 0.9, 0.3]).reshape(1, 1, 2, 2)
    torch.testing.assert_close(-Bernoulli().log_prob(torch.logit(x), x), Bernoulli.entropy(x))
    assert Bernoulli.entropy(torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)).item() == 0.0


def test_continuous_bernoulli_is_that_of_torch_distributions() -> None:
    logits, x = grid()
    expected = Reference(logits=logits.double(), lims=(0.49999, 0.50001)).log_prob(x.double()).flatten()
    moderate = logits.flatten().abs() <= 5  # beyond, the reference clamps its own probabilities
    torch.testing.assert_close(
        ContinuousBernoulli().log_prob(logits, x).double()[moderate], expected[moderate], rtol=2e-6, atol=2e-6
    )


@pytest.mark.parametrize("logit", [-100.0, 100.0])
def test_continuous_bernoulli_at_extreme_logits_has_its_exponential_limit(logit: float) -> None:
    x = torch.tensor([0.0, 0.3, 1.0]).reshape(3, 1, 1, 1)
    distance = x.flatten() if logit < 0 else 1 - x.flatten()
    expected = np.log(100.0) - 100.0 * distance  # an exponential density of rate |logit| from the near end
    torch.testing.assert_close(ContinuousBernoulli().log_prob(torch.full_like(x, logit), x), expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("logit", [-8.0, -0.2, -0.05, 0.0, 0.05, 3.0])
def test_continuous_bernoulli_is_a_density_with_its_mean(logit: float) -> None:
    likelihood = ContinuousBernoulli()

    def density(x: float) -> float:
        shape = (1, 1, 1, 1)
        value = likelihood.log_prob(torch.full(shape, logit).double(), torch.full(shape, x).double())
        return float(torch.exp(value))

    total, mean = integrate.quad(density, 0, 1)[0], integrate.quad(lambda x: x * density(x), 0, 1)[0]
    assert total == pytest.approx(1.0, abs=1e-6)
    assert float(likelihood.mean(torch.full((1, 1, 1, 1), logit))) == pytest.approx(mean, abs=1e-5)


def test_gaussian_is_that_of_torch_distributions() -> None:
    likelihood, logits, x = Gaussian(), torch.randn(3, 2, 4, 4), torch.rand(3, 2, 4, 4)
    with torch.no_grad():
        likelihood.logvar.fill_(-1.3)
    expected = Normal(logits.double(), np.exp(-0.65)).log_prob(x.double()).sum(dim=(1, 2, 3))
    torch.testing.assert_close(likelihood.log_prob(logits, x).double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", sorted(LIKELIHOODS))
def test_values_and_gradients_are_finite_everywhere(name: str) -> None:
    logits, x = grid()
    logits.requires_grad_()
    value = LIKELIHOODS[name]().log_prob(logits, x)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", sorted(LIKELIHOODS))
def test_means_are_pictures(name: str) -> None:
    mean = LIKELIHOODS[name]().mean(grid()[0])
    assert float(mean.min()) >= 0.0
    assert float(mean.max()) <= 1.0
    assert bool((mean.flatten()[6:] - mean.flatten()[:-6] >= -1e-6).all())  # rises with the logit


def test_bernoulli_mean_is_the_sigmoid() -> None:
    torch.testing.assert_close(Bernoulli().mean(torch.zeros(1, 1, 2, 2)), torch.full((1, 1, 2, 2), 0.5))
