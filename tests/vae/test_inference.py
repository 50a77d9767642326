"""Refinement and importance weights on a linear-Gaussian model, where posterior and log p(x) are known exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, Normal

from vae import (
    Elbo,
    ModelConfig,
    Posterior,
    Trajectory,
    annealed_importance,
    build_model,
    climb,
    elbo,
    generator_for,
    importance_bound,
    log_likelihood,
    refine,
    refining,
    standard_posterior,
)
from vae.likelihood import Bernoulli, Likelihood

PIXELS, LATENT, BATCH = 6, 3, 4


class UnitGaussian(Likelihood):
    """N(x; x_logits, I)."""

    def log_prob(self, x_logits: Tensor, x: Tensor) -> Tensor:
        return Independent(Normal(x_logits, torch.ones_like(x_logits)), 3).log_prob(x)

    def mean(self, x_logits: Tensor) -> Tensor:
        return x_logits


@dataclass(frozen=True)
class Linear:
    """x = W z + noise: everything about it in closed form."""

    weights: Tensor
    x: Tensor

    @property
    def images(self) -> Tensor:
        return self.x.reshape(-1, 1, 2, PIXELS // 2)

    def decode(self, z: Tensor) -> Tensor:
        return (z @ self.weights.T).reshape(-1, 1, 2, PIXELS // 2)

    @property
    def log_evidence(self) -> Tensor:
        covariance = torch.eye(PIXELS).double() + self.weights @ self.weights.T
        return MultivariateNormal(torch.zeros(PIXELS).double(), covariance).log_prob(self.x)

    @property
    def precision(self) -> Tensor:
        return torch.eye(LATENT).double() + self.weights.T @ self.weights

    @property
    def mean(self) -> Tensor:
        return torch.linalg.solve(self.precision, self.weights.T @ self.x.T).T

    @property
    def best(self) -> Posterior:
        """The optimum among diagonal Gaussians: the exact mean, and one over the diagonal of the precision."""
        return Posterior(self.mean, -self.precision.diagonal().log().expand(len(self.x), -1))

    def exact_elbo(self, q: Posterior) -> Elbo:
        """E_q[log p(x|z)] in closed form: at the mean, less half of what the spread of z adds to the squared error."""
        at_mean = UnitGaussian().log_prob(self.decode(q.mean), self.images)
        spread = (q.logvar.exp() * self.weights.square().sum(dim=0)).sum(dim=1)
        return Elbo(at_mean - 0.5 * spread, q.kl())


def linear(orthogonal: bool, seed: int = 0) -> Linear:
    stream = torch.Generator().manual_seed(seed)
    weights = torch.randn(PIXELS, LATENT, generator=stream).double()
    if orthogonal:
        weights = torch.linalg.qr(weights)[0] * torch.tensor([3.0, 1.0, 0.3]).double()
    z = torch.randn(BATCH, LATENT, generator=stream).double()
    return Linear(weights, z @ weights.T + torch.randn(BATCH, PIXELS, generator=stream).double())


def some_q(model: Linear, offset: float) -> Posterior:
    """A q that is off in both parameters."""
    stream = torch.Generator().manual_seed(9)
    noise = torch.randn(2, *model.mean.shape, generator=stream).double()
    return Posterior(model.best.mean + offset * noise[0], model.best.logvar + offset * noise[1])


def starts(model: Linear) -> dict[str, Posterior]:
    return {"the prior": standard_posterior(model.best), "an encoder": some_q(model, 0.5), "far off": some_q(model, 3.0)}


@pytest.mark.parametrize("orthogonal", [True, False])
@pytest.mark.parametrize("start", ["the prior", "an encoder", "far off"])
def test_the_exact_elbo_is_climbed_to_the_mean_field_optimum_from_any_start(orthogonal: bool, start: str) -> None:
    model = linear(orthogonal)
    objective = model.exact_elbo
    path = climb(starts(model)[start], objective, objective, 2000 if start == "far off" else 700, tolerance=0.0)
    torch.testing.assert_close(path.posterior.mean, model.mean, atol=1e-3, rtol=0)
    torch.testing.assert_close(path.posterior.logvar, model.best.logvar, atol=1e-3, rtol=0)
    exact = torch.linalg.inv(model.precision)
    diagonal = torch.allclose(exact, torch.diag(exact.diagonal()), atol=1e-9)
    assert diagonal == orthogonal
    gap = model.log_evidence - path.elbo[-1]
    if orthogonal:
        torch.testing.assert_close(path.posterior.logvar.exp(), exact.diagonal().expand(BATCH, -1), atol=1e-3, rtol=0)
        assert gap.abs().max() < 1e-3  # q is the posterior: the bound is tight
    else:  # KL(q || p(z|x)) between two Gaussians of the same mean: half the log of a ratio of determinants
        expected = 0.5 * (model.precision.diagonal().log().sum() - torch.logdet(model.precision))
        assert expected > 0.05
        torch.testing.assert_close(gap, expected.expand(BATCH), atol=1e-3, rtol=0)


@pytest.mark.parametrize("start", ["the prior", "an encoder"])
def test_stochastic_refinement_reaches_it_too_within_its_noise(start: str) -> None:
    model = linear(orthogonal=False)
    noise = generator_for(0, "refinement")
    path = refine(starts(model)[start], model.decode, UnitGaussian(), model.images, noise, steps=400, samples=16, tolerance=0.0)
    best = model.best
    assert ((path.posterior.mean - best.mean).abs() < 0.15 * best.std).all()
    assert ((path.posterior.logvar - best.logvar).abs() < 0.2).all()
    reached, most = model.exact_elbo(path.posterior).value, model.exact_elbo(best).value
    assert (reached <= most + 1e-9).all()
    assert ((most - reached) < 0.05).all()


def test_a_path_has_its_start_its_steps_and_the_same_noise_at_every_point() -> None:
    model, start = linear(False), some_q(linear(False), 0.5)
    noise = generator_for(1, "refinement")
    path = refine(start, model.decode, UnitGaussian(), model.images, noise, steps=25, samples=3, every=10)
    assert path.steps.tolist() == [0, 10, 20, 25]
    assert torch.equal(path.mean[0], start.mean)
    assert torch.equal(path.logvar[0], start.logvar)
    assert path.mean.shape == path.logvar.shape == (4, BATCH, LATENT)
    eps = torch.randn(3, BATCH, LATENT, generator=generator_for(1, "refinement"), dtype=torch.float64)
    for point in range(4):
        q = Posterior(path.mean[point], path.logvar[point])
        by_hand = [UnitGaussian().log_prob(model.decode(q.mean + q.std * e), model.images) for e in eps]
        torch.testing.assert_close(path.reconstruction[point], torch.stack(by_hand).mean(dim=0))
        torch.testing.assert_close(path.kl[point], q.kl())
    torch.testing.assert_close(path.elbo, path.reconstruction - path.kl)


def test_its_points_come_one_by_one_and_are_those_of_the_path() -> None:
    model = linear(False)
    given = some_q(model, 0.5), model.decode, UnitGaussian(), model.images
    path = refine(*given, generator_for(1, "refinement"), steps=25, samples=3, every=10)
    asked = 0

    def decode(z: torch.Tensor) -> torch.Tensor:
        nonlocal asked
        asked += 1
        return model.decode(z)

    points = refining(given[0], decode, *given[2:], generator_for(1, "refinement"), steps=25, samples=3, every=10)
    assert asked == 0
    assert next(points).step == 0
    assert asked == 1
    for number, point in enumerate(points, 1):
        assert (point.step, point.end) == (int(path.steps[number]), 25)
        assert torch.equal(point.posterior.mean, path.mean[number])
        assert torch.equal(point.terms.value, path.elbo[number])


def test_each_image_may_have_a_rate_of_its_own() -> None:
    model = linear(False)
    objective, start = model.exact_elbo, some_q(model, 0.5)
    rates = [0.01 * (1 + number) for number in range(BATCH)]
    own = climb(start, objective, objective, steps=20, rate=rates)
    for number, rate in enumerate(rates):
        alone = climb(start, objective, objective, steps=20, rate=rate)
        torch.testing.assert_close(own.mean[:, number], alone.mean[:, number])
        torch.testing.assert_close(own.logvar[:, number], alone.logvar[:, number])
    with pytest.raises(ValueError, match=f"one rate, or one for each of {BATCH} images, is needed, got 0"):
        climb(start, objective, objective, rate=[])


def test_the_stopping_rule_ends_it_once_every_image_has_settled() -> None:
    model = linear(True)
    objective = model.exact_elbo
    path = climb(some_q(model, 0.5), objective, objective, steps=2000, tolerance=1e-3, patience=20)
    assert path.settled
    assert int(path.steps[-1]) > 500  # the fall of the rate, a quarter of all steps, is still gone through
    assert int(path.steps[-1]) < 1500
    assert (model.exact_elbo(model.best).value - path.elbo[-1] < 1e-3).all()
    assert not climb(some_q(model, 3.0), objective, objective, steps=30, patience=20).settled


def test_images_of_a_batch_do_not_touch_each_other() -> None:
    model = linear(False)
    objective = model.exact_elbo
    alone = Linear(model.weights, model.x[:1])
    together = climb(standard_posterior(model.best), objective, objective, steps=20)
    single = climb(standard_posterior(alone.best), alone.exact_elbo, alone.exact_elbo, steps=20)
    torch.testing.assert_close(together.mean[:, :1], single.mean)


def test_refinement_raises_the_elbo_of_a_network_and_leaves_it_alone() -> None:
    config = ModelConfig(height=8, width=8, latent=3, widths=(4,), blocks=1, hidden=8)
    model = build_model(config, 0).eval()
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        q = model.encode(x)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    path = refine(q, model.decode, model.likelihood, x, generator_for(0, "refinement"), steps=40)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not path.posterior.mean.requires_grad
    with torch.no_grad():
        first, last = (
            elbo(part, model.decode, model.likelihood, x, generator_for(5, "view"), 200).value for part in (q, path.posterior)
        )
    assert (last > first).all()


def test_a_decoder_that_breaks_down_is_told() -> None:
    model = linear(True)

    def broken(q: Posterior) -> Elbo:
        return Elbo(q.kl() * math.nan, q.kl())

    with pytest.raises(FloatingPointError, match="no longer finite after 0 steps of refinement: lower the rate"):
        climb(model.best, model.exact_elbo, broken)


@pytest.mark.parametrize("option", ["samples", "every", "patience"])
def test_nothing_of_something_is_refused(option: str) -> None:
    model = linear(True)
    with pytest.raises(ValueError, match=f"{option} must be at least 1, got 0"):
        refine(model.best, model.decode, UnitGaussian(), model.images, generator_for(0, "view"), **{option: 0})


# --- importance weights --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_importance_bound_is_log_p_within_three_standard_errors(seed: int) -> None:
    model = linear(False, seed)
    bound = importance_bound(
        some_q(model, 0.2), model.decode, UnitGaussian(), model.images, generator_for(seed, "importance"), (2, 50_000)
    )
    assert (bound.standard_error[-1] < 0.2).all()
    assert ((bound.value[-1] - model.log_evidence).abs() < 3 * bound.standard_error[-1]).all()


def test_at_the_exact_posterior_every_weight_is_the_evidence() -> None:
    model = linear(True)
    bound = importance_bound(model.best, model.decode, UnitGaussian(), model.images, generator_for(0, "importance"), (1, 2, 7))
    torch.testing.assert_close(bound.value, model.log_evidence.expand(3, -1), atol=1e-9, rtol=0)
    assert bound.standard_error[0].isinf().all()
    torch.testing.assert_close(bound.standard_error[1:], torch.zeros(2, BATCH).double(), atol=1e-6, rtol=0)


def test_the_bound_grows_with_k_from_the_elbo_to_the_evidence() -> None:
    one = linear(False)
    copies = Linear(one.weights, one.x[:1].expand(2000, -1))
    q = some_q(one, 0.6)
    wide = Posterior(q.mean[:1].expand(2000, -1), q.logvar[:1].expand(2000, -1))
    bound = importance_bound(
        wide, copies.decode, UnitGaussian(), copies.images, generator_for(0, "importance"), (1, 3, 10, 100)
    )
    means, errors = bound.value.mean(dim=1), bound.value.std(dim=1) / 2000**0.5
    exact = float(one.exact_elbo(q).value[0])
    assert abs(float(means[0]) - exact) < 4 * float(errors[0])
    differences = bound.value.diff(dim=0)
    assert (differences.mean(dim=1) > 3 * differences.std(dim=1) / 2000**0.5).all()
    assert float(means[-1]) < float(one.log_evidence[0]) + 3 * float(errors[-1])


def test_the_bound_is_that_of_the_weights_by_hand_however_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    model, q = linear(False), some_q(linear(False), 0.5)
    for pixels, counts in ((1, [1] * 10), (3 * model.images.numel(), [3, 1, 3, 3]), (10**6, [4, 6])):
        noise = generator_for(3, "importance")
        eps = torch.cat([torch.randn(n, BATCH, LATENT, generator=noise, dtype=torch.float64) for n in counts])
        z = q.mean + q.std * eps
        joint = MultivariateNormal(torch.zeros(LATENT).double(), torch.eye(LATENT).double()).log_prob(z)
        joint = joint + torch.stack([UnitGaussian().log_prob(model.decode(part), model.images) for part in z])
        weights = torch.exp(joint - Independent(Normal(q.mean, q.std), 1).log_prob(z))
        monkeypatch.setattr("vae.inference.PIXELS_AT_ONCE", pixels)
        bound = importance_bound(q, model.decode, UnitGaussian(), model.images, generator_for(3, "importance"), (4, 10))
        torch.testing.assert_close(bound.value, torch.stack([weights[:4].mean(dim=0), weights.mean(dim=0)]).log())
        torch.testing.assert_close(bound.standard_error[-1], weights.std(dim=0) / 10**0.5 / weights.mean(dim=0))


@pytest.mark.parametrize("ks", [(), (0, 1), (5, 2), (3, 3)])
def test_ks_rise(ks: tuple[int, ...]) -> None:
    model = linear(True)
    with pytest.raises(ValueError, match="ks must be rising whole numbers from 1"):
        importance_bound(model.best, model.decode, UnitGaussian(), model.images, generator_for(0, "importance"), ks)


def test_log_likelihood_decodes_no_more_at_once_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = linear(False), []
    monkeypatch.setattr("vae.inference.PIXELS_AT_ONCE", 5 * PIXELS)

    def decode(z: Tensor) -> Tensor:
        sizes.append(len(z))
        return model.decode(z)

    z = torch.randn(4, BATCH, LATENT, generator=generator_for(0, "view"), dtype=torch.float64)
    found = log_likelihood(decode, UnitGaussian(), model.images, z)
    torch.testing.assert_close(found, torch.stack([UnitGaussian().log_prob(model.decode(part), model.images) for part in z]))
    assert sizes == [5, 5, 5, 1]


# --- annealing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["the prior", "an encoder"])
def test_annealing_finds_log_p_within_three_standard_errors(start: str) -> None:
    model = linear(False, 1)
    found = annealed_importance(
        starts(model)[start], model.decode, UnitGaussian(), model.images, generator_for(2, "annealing"), 256, 60
    )
    assert (found.standard_error < 0.15).all()
    assert ((found.log_evidence - model.log_evidence).abs() < 3 * found.standard_error).all()
    assert ((found.acceptance > 0.4) & (found.acceptance <= 1)).all()


def test_its_chains_end_in_the_posterior() -> None:
    model = linear(False, 1)
    found = annealed_importance(
        standard_posterior(model.best), model.decode, UnitGaussian(), model.images, generator_for(0, "annealing"), 2000, 20
    )
    weights = found.normalised_weights[..., None]
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(BATCH, 1).double())
    mean = (weights * found.z).sum(dim=0)
    centred = (found.z - model.mean)[..., None] * (found.z - model.mean)[..., None, :]
    covariance = (weights[..., None] * centred).sum(dim=0)
    exact = torch.linalg.inv(model.precision)
    assert ((mean - model.mean).abs() < 0.25 * exact.diagonal().sqrt()).all()
    assert ((covariance - exact).abs() < 0.25 * exact.diagonal().max()).all()


def test_annealing_is_stronger_than_importance_weights_from_the_same_start() -> None:
    model = linear(False, 1)
    start = standard_posterior(model.best)
    bound = importance_bound(start, model.decode, UnitGaussian(), model.images, generator_for(0, "importance"), (64,))
    found = annealed_importance(start, model.decode, UnitGaussian(), model.images, generator_for(0, "annealing"), 64, 40)
    assert (found.standard_error < bound.standard_error[0]).all()


def test_one_temperature_is_plain_importance_sampling() -> None:
    model, q = linear(False), some_q(linear(False), 0.3)
    found = annealed_importance(q, model.decode, UnitGaussian(), model.images, generator_for(0, "annealing"), 5, 1)
    joint = log_likelihood(model.decode, UnitGaussian(), model.images, found.z)
    joint = joint + Independent(Normal(torch.zeros_like(found.z), torch.ones_like(found.z)), 1).log_prob(found.z)
    torch.testing.assert_close(found.log_weights, joint - Independent(Normal(q.mean, q.std), 1).log_prob(found.z))


@pytest.mark.parametrize("option", ["chains", "temperatures", "leapfrog"])
def test_annealing_with_nothing_is_refused(option: str) -> None:
    model = linear(True)
    run = partial(annealed_importance, model.best, model.decode, UnitGaussian(), model.images, generator_for(0, "annealing"))
    with pytest.raises(ValueError, match="chains must be at least 2, temperatures and leapfrog at least 1, got "):
        run(**{option: 0})


def test_both_work_on_a_network_of_bernoulli_pixels() -> None:
    """One latent dimension: log p(x) by summing over a fine grid of z."""
    model = (
        build_model(ModelConfig(height=8, width=8, latent=1, widths=(4,), blocks=0, hidden=8), 3).eval().requires_grad_(False)
    )
    x = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    grid = torch.linspace(-8, 8, 1001)[:, None]
    inside = Bernoulli().log_prob(model.decode(grid).repeat(2, 1, 1, 1), x.repeat_interleave(1001, 0)).reshape(2, -1).double()
    prior = Normal(0.0, 1.0).log_prob(grid[:, 0]).double()
    exact = torch.logsumexp(inside + prior, dim=1) + math.log(16 / 1000)
    q = model.encode(x)
    bound = importance_bound(q, model.decode, model.likelihood, x, generator_for(0, "importance"), (1000,))
    assert ((bound.value[0] - exact).abs() < 3 * bound.standard_error[0] + 1e-3).all()
    found = annealed_importance(q, model.decode, model.likelihood, x, generator_for(0, "annealing"), 32, 12)
    assert ((found.log_evidence - exact).abs() < 3 * found.standard_error + 1e-3).all()


def test_a_trajectory_is_read_at_its_end() -> None:
    zeros = torch.zeros(2, 1)
    path = Trajectory(torch.tensor([0, 1]), torch.tensor([[[0.0]], [[1.0]]]), torch.zeros(2, 1, 1), zeros, zeros, False)
    assert path.posterior.mean.tolist() == [[1.0]]
