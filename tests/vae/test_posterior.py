"""q(z|x) against `torch.distributions`, and what must hold of any KL."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.distributions import Independent, Normal, kl_divergence

from vae import Posterior, gaussian_kl, generator_for
from vae.posterior import prior_log_prob

values = st.floats(-6, 6, allow_nan=False, width=32)


def some_posterior(seed: int = 0, batch: int = 5, latent: int = 7) -> Posterior:
    noise = torch.Generator().manual_seed(seed)
    mean = torch.randn(batch, latent, generator=noise, dtype=torch.float64)
    logvar = torch.randn(batch, latent, generator=noise, dtype=torch.float64)
    return Posterior(mean, logvar)


def as_distribution(posterior: Posterior) -> Independent:
    return Independent(Normal(posterior.mean, torch.exp(posterior.logvar).sqrt()), 1)


def test_kl_to_the_prior_is_that_of_torch_distributions() -> None:
    posterior = some_posterior()
    prior = Independent(Normal(torch.zeros_like(posterior.mean), torch.ones_like(posterior.mean)), 1)
    torch.testing.assert_close(posterior.kl(), kl_divergence(as_distribution(posterior), prior))
    torch.testing.assert_close(posterior.kl_per_dimension().sum(dim=1), posterior.kl())


@given(values, st.floats(0.01, 50), values, st.floats(0.01, 50))
def test_general_kl_is_that_of_torch_distributions(mean_q: float, std_q: float, mean_p: float, std_p: float) -> None:
    q, p = [torch.tensor(v, dtype=torch.float64) for v in (mean_q, std_q)], [torch.tensor(v).double() for v in (mean_p, std_p)]
    torch.testing.assert_close(gaussian_kl(*q, *p), kl_divergence(Normal(*q), Normal(*p)), rtol=1e-9, atol=1e-9)


def test_the_two_closed_forms_agree() -> None:
    posterior = some_posterior(3)
    zero, one = torch.zeros(()).double(), torch.ones(()).double()
    torch.testing.assert_close(posterior.kl_per_dimension(), gaussian_kl(posterior.mean, posterior.std, zero, one))


@given(values, st.floats(-14, 4, width=32))
def test_kl_is_never_negative(mean: float, logvar: float) -> None:
    kl = Posterior(torch.tensor([[mean]]), torch.tensor([[logvar]])).kl()
    assert float(kl) >= 0.0


def test_kl_is_exactly_zero_at_the_prior_only() -> None:
    assert Posterior(torch.zeros(1, 4), torch.zeros(1, 4)).kl().item() == 0.0
    assert Posterior(torch.full((1, 4), 1e-3), torch.zeros(1, 4)).kl().item() > 0.0


def test_log_densities_are_those_of_torch_distributions() -> None:
    posterior, z = some_posterior(1), some_posterior(2).mean
    torch.testing.assert_close(posterior.log_prob(z), as_distribution(posterior).log_prob(z))
    standard = Independent(Normal(torch.zeros_like(z), torch.ones_like(z)), 1)
    torch.testing.assert_close(prior_log_prob(z), standard.log_prob(z))


def test_noise_is_gaussian_and_the_standard_deviation_is_exp_of_half_logvar() -> None:
    mean, logvar = torch.full((20_000, 1), 2.0), torch.full((20_000, 1), 2 * np.log(3.0), dtype=torch.float32)
    z = Posterior(mean, logvar).sample(generator_for(0, "noise"))
    standardised = ((z - 2) / 3).flatten().numpy()
    assert stats.kstest(standardised, "norm").pvalue > 0.01
    uniform = np.random.default_rng(0).uniform(-np.sqrt(3), np.sqrt(3), 20_000)  # the same mean and variance
    assert stats.kstest(uniform, "norm").pvalue < 1e-6


def test_gradients_reach_mean_and_logvar_through_a_sample() -> None:
    mean, logvar = torch.zeros(3, 2, requires_grad=True), torch.zeros(3, 2, requires_grad=True)
    z = Posterior(mean, logvar).sample(generator_for(0, "noise"))
    z.sum().backward()
    torch.testing.assert_close(mean.grad, torch.ones(3, 2))
    torch.testing.assert_close(logvar.grad, 0.5 * z.detach())  # d/dlogvar exp(logvar / 2) eps at logvar = 0


def test_the_same_generator_gives_the_same_sample() -> None:
    posterior = some_posterior()
    first, second = (posterior.sample(generator_for(4, "noise", 2)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, posterior.sample(generator_for(4, "noise", 3)))


@pytest.mark.parametrize("seed", range(3))
def test_the_mean_of_log_ratios_is_the_kl(seed: int) -> None:
    posterior = some_posterior(seed, batch=1)
    wide = Posterior(posterior.mean.expand(50_000, -1), posterior.logvar.expand(50_000, -1))
    z = wide.sample(generator_for(seed, "noise"))
    ratios = wide.log_prob(z) - prior_log_prob(z)
    assert abs(ratios.mean() - posterior.kl()).item() < 5 * ratios.std().item() / 50_000**0.5
