"""p(x|z) against `torch.distributions` in float64, at the nasty ends too."""

from __future__ import annotations

from typing import get_args

import mpmath
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
    stream = torch.Generator().manual_seed(0)
    logits, x = torch.randn(4, 3, 5, 5, generator=stream), torch.rand(4, 3, 5, 5, generator=stream)
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


def test_continuous_bernoulli_is_smooth_where_its_series_ends() -> None:
    """At x = 1/2 the slope of the log density in the logit is 1/2 less the mean, whichever formula gives either."""
    likelihood = ContinuousBernoulli()
    sizes = [0.0, 1e-8, 1e-6, 1e-4, 1e-2, 0.05, 0.099, 0.0999999, 0.1, 0.1000001, 0.101, 0.2, 0.5, 1.0]
    logits = torch.tensor([sign * size for size in sizes for sign in (-1, 1)]).reshape(-1, 1, 1, 1).requires_grad_()
    value = likelihood.log_prob(logits, torch.full_like(logits, 0.5))
    slopes, means = torch.autograd.grad(value.sum(), logits)[0], likelihood.mean(logits.detach())
    with mpmath.workdps(50):
        for logit, found, slope, mean in zip(
            logits.flatten().tolist(), value.tolist(), slopes.flatten().tolist(), means.flatten().tolist(), strict=True
        ):
            exact = mpmath.mpf(logit)
            normaliser = mpmath.log(exact / mpmath.tanh(exact / 2)) if logit else mpmath.log(2)
            expected = (1 / (1 - mpmath.exp(-exact)) - 1 / exact) if logit else mpmath.mpf("0.5")
            cross_entropy = mpmath.log(1 + mpmath.exp(exact)) - exact / 2
            assert found == pytest.approx(float(normaliser - cross_entropy), abs=3e-7)
            assert slope == pytest.approx(float(mpmath.mpf("0.5") - expected), abs=3e-6)
            assert mean == pytest.approx(float(expected), abs=3e-6)


@pytest.mark.parametrize(("logvar", "held"), [(-100.0, -14.0), (100.0, 4.0)])
def test_the_gaussians_variance_is_held_in_its_range(logvar: float, held: float) -> None:
    likelihood, logits, x = Gaussian(), torch.zeros(1, 1, 2, 2), torch.full((1, 1, 2, 2), 1e-3)
    with torch.no_grad():
        likelihood.logvar.fill_(logvar)
    expected = Normal(0.0, np.exp(held / 2)).log_prob(x.double()).sum()
    assert likelihood.log_prob(logits, x).item() == pytest.approx(float(expected), rel=1e-5)


def test_gaussian_is_that_of_torch_distributions() -> None:
    stream = torch.Generator().manual_seed(0)
    likelihood, logits, x = Gaussian(), torch.randn(3, 2, 4, 4, generator=stream), torch.rand(3, 2, 4, 4, generator=stream)
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
