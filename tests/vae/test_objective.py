"""The ELBO: closed form against Monte Carlo, both against `torch.distributions`, and below the exact evidence."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from vae import Elbo, ModelConfig, Posterior, build_model, elbo, elbo_monte_carlo, generator_for
from vae.likelihood import Bernoulli, Likelihood

CONFIG = ModelConfig(height=8, width=8, latent=3, widths=(4,), blocks=0, hidden=8)


def setting() -> tuple[object, torch.Tensor]:
    model = build_model(CONFIG, 0).eval().requires_grad_(False)
    return model, torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_the_value_is_reconstruction_less_kl() -> None:
    terms = Elbo(torch.tensor([-5.0, -1.0]), torch.tensor([2.0, 0.5]))
    assert terms.value.tolist() == [-7.0, -1.5]


def test_one_sample_against_torch_distributions() -> None:
    model, x = setting()
    posterior = model.encode(x)
    terms = elbo_monte_carlo(posterior, model.decode, model.likelihood, x, generator_for(0, "noise"))
    z = posterior.sample(generator_for(0, "noise"))
    q = Independent(Normal(posterior.mean, posterior.std), 1)
    p = Independent(Normal(torch.zeros_like(z), torch.ones_like(z)), 1)
    log_px = Bernoulli().log_prob(model.decode(z), x)
    torch.testing.assert_close(terms.value, log_px + p.log_prob(z) - q.log_prob(z), rtol=1e-5, atol=1e-4)
    closed = elbo(posterior, model.decode, model.likelihood, x, generator_for(0, "noise"))
    torch.testing.assert_close(closed.reconstruction, terms.reconstruction)


def test_samples_are_averaged() -> None:
    model, x = setting()
    posterior, stream = model.encode(x), generator_for(3, "noise")
    by_hand = [model.likelihood.log_prob(model.decode(posterior.sample(stream)), x) for _ in range(4)]
    terms = elbo(posterior, model.decode, model.likelihood, x, generator_for(3, "noise"), samples=4)
    torch.testing.assert_close(terms.reconstruction, sum(by_hand) / 4)
    torch.testing.assert_close(terms.kl, posterior.kl())


def test_both_forms_have_the_same_expectation() -> None:
    model, x = setting()
    posterior = model.encode(x[:1])
    many = Posterior(posterior.mean.expand(3000, -1), posterior.logvar.expand(3000, -1))
    images = x[:1].expand(3000, -1, -1, -1)
    estimates = elbo_monte_carlo(many, model.decode, model.likelihood, images, generator_for(0, "noise")).kl
    assert abs(estimates.mean() - posterior.kl()).item() < 5 * estimates.std().item() / 3000**0.5
    assert estimates.std().item() > 0


@pytest.mark.parametrize("form", [elbo, elbo_monte_carlo])
def test_no_samples_are_refused(form: object) -> None:
    model, x = setting()
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        form(model.encode(x), model.decode, model.likelihood, x, generator_for(0, "noise"), samples=0)  # type: ignore[operator]


class UnitGaussian(Likelihood):
    """N(x; x_logits, I), for a model whose evidence is known."""

    def log_prob(self, x_logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return Independent(Normal(x_logits, torch.ones_like(x_logits)), 3).log_prob(x)

    def mean(self, x_logits: torch.Tensor) -> torch.Tensor:
        return x_logits


def test_on_a_linear_gaussian_model_the_bound_is_tight_at_the_exact_posterior_and_lower_elsewhere() -> None:
    stream = torch.Generator().manual_seed(0)
    columns, _ = torch.linalg.qr(torch.randn(4, 2, generator=stream).double())
    weights = columns * torch.tensor([2.0, 0.7]).double()  # orthogonal columns: the exact posterior is diagonal
    x = torch.randn(1, 4, generator=stream).double()
    precision = 1 + (weights**2).sum(dim=0)
    mean = (x @ weights) / precision
    exact = MultivariateNormal(torch.zeros(4).double(), torch.eye(4).double() + weights @ weights.T).log_prob(x)
    image = x.reshape(1, 1, 2, 2)

    def decode(z: torch.Tensor) -> torch.Tensor:
        return (z @ weights.T).reshape(-1, 1, 2, 2)

    best = Posterior(mean, -torch.log(precision)[None])
    tight = elbo_monte_carlo(best, decode, UnitGaussian(), image, generator_for(0, "noise"))
    torch.testing.assert_close(tight.value, exact)  # every single sample gives log p(x) there
    off = Posterior(mean + 0.3, -torch.log(precision)[None] + 0.5)
    loose = elbo(off, decode, UnitGaussian(), image, generator_for(0, "noise"), samples=4000)
    gap = torch.distributions.kl_divergence(
        Independent(Normal(off.mean, off.std), 1), Independent(Normal(best.mean, best.std), 1)
    )
    assert float(loose.value) < float(exact)
    assert float(exact - loose.value) == pytest.approx(float(gap), abs=0.15)
