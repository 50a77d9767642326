"""Inference for one image: draws against torch.distributions and exact values, refinement against what it must reach."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vae import (
    VAE,
    ModelConfig,
    Posterior,
    build_model,
    draw_posterior,
    elbo,
    generator_for,
    mean_of,
    pixel_spread,
    refine_image,
)
from vae.device import to_unit
from vae.single_image import STARTS

LATENT = 3
LIKELIHOODS = ["bernoulli", "continuous-bernoulli", "gaussian"]


def tiny(likelihood: str = "bernoulli", channels: int = 1) -> VAE:
    size = {"channels": channels, "height": 8, "width": 8, "latent": LATENT, "widths": (4,), "blocks": 1, "hidden": 8}
    return build_model(ModelConfig(**size, likelihood=likelihood), 0).eval()  # type: ignore[arg-type]


def an_image(channels: int = 1) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (channels, 8, 8)).astype(np.uint8)


def some_q(count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    return random.normal(size=(count, LATENT)).astype(np.float32), random.normal(-1, 0.5, (count, LATENT)).astype(np.float32)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_each_draw_says_what_the_densities_say(likelihood: str) -> None:
    model, image, (mean, logvar) = tiny(likelihood), an_image(), some_q(2)
    found = draw_posterior(model, image, mean, logvar, generator_for(0, "view"), 7)
    q = torch.distributions.Normal(torch.tensor(mean), torch.tensor(np.exp(logvar / 2)))
    prior, z = torch.distributions.Normal(0.0, 1.0), torch.tensor(found.z)
    ratio = (q.log_prob(z) - prior.log_prob(z)).sum(dim=-1)
    np.testing.assert_allclose(found.log_ratio, ratio, atol=1e-4)
    exact = torch.distributions.kl_divergence(q, prior)
    np.testing.assert_allclose(found.kl_per_dimension, exact, atol=1e-5)
    np.testing.assert_allclose(found.kl, exact.sum(dim=-1), atol=1e-5)
    x = to_unit(torch.tensor(image[None]))
    with torch.no_grad():
        said = [[model.likelihood.log_prob(model.decode(one[None]), x).item() for one in row] for row in z]
    np.testing.assert_allclose(found.reconstruction, said, rtol=1e-5)
    np.testing.assert_allclose(found.elbo, np.array(said) - exact.sum(dim=-1).numpy(), rtol=1e-4)
    np.testing.assert_allclose(found.elbo_monte_carlo, np.array(said) - ratio.numpy(), rtol=1e-4)


def test_all_q_get_the_same_noise() -> None:
    mean, logvar = some_q(3)
    found = draw_posterior(tiny(), an_image(), mean, logvar, generator_for(0, "view"), 5)
    noise = (found.z - mean) / np.exp(logvar / 2)
    np.testing.assert_allclose(noise, np.broadcast_to(noise[:, :1], noise.shape), atol=1e-4)
    assert len(np.unique(noise[:, 0].round(3))) == 5 * LATENT


def test_the_mean_over_draws_is_the_elbo_and_both_estimators_of_the_kl_agree() -> None:
    model, image, (mean, logvar) = tiny(), an_image(), some_q()
    found = draw_posterior(model, image, mean, logvar, generator_for(1, "view"), 4000)
    with torch.no_grad():
        q, x = Posterior(torch.tensor(mean), torch.tensor(logvar)), to_unit(torch.tensor(image[None]))
        other = elbo(q, model.decode, model.likelihood, x, generator_for(2, "view"), 4000)
    spread = mean_of(found.elbo[:, 0]).standard_error  # the other's, too: it has as many draws
    for values, expected, error in (
        (found.elbo[:, 0], other.value.item(), spread),
        (found.elbo_monte_carlo[:, 0], other.value.item(), spread),
        (found.log_ratio[:, 0], float(found.kl[0]), 0.0),
    ):
        estimate = mean_of(values)
        assert estimate.samples == 4000
        assert abs(estimate.value - expected) < 3 * np.hypot(estimate.standard_error, error)


def test_a_standard_error_shrinks_with_the_root_of_the_draws_and_covers_the_mean() -> None:
    random = np.random.default_rng(0)
    estimates = [mean_of(random.normal(2, 3, 100)) for _ in range(400)]
    assert np.mean([estimate.standard_error for estimate in estimates]) == pytest.approx(0.3, rel=0.05)
    share = np.mean([abs(estimate.value - 2) < estimate.standard_error for estimate in estimates])
    assert share == pytest.approx(0.68, abs=0.08)
    with pytest.raises(ValueError, match="at least 2 draws, got 1"):
        mean_of(np.zeros(1))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_refinement_from_both_starts_raises_the_elbo(likelihood: str) -> None:
    model, image = tiny(likelihood, channels=3), an_image(channels=3)
    with torch.no_grad():
        q = model.encode(to_unit(torch.tensor(image[None])))
    mean, logvar = q.mean[0].numpy(), q.logvar[0].numpy()
    points = list(refine_image(model, image, mean, logvar, seed=0, steps=60))
    assert [point.step for point in points] == list(range(0, 61, 2))
    assert {point.end for point in points} == {60}
    assert STARTS == ("the encoder", "the prior")
    first, last = points[0].posterior, points[-1].posterior
    np.testing.assert_array_equal(first.mean, np.stack([mean, np.zeros(LATENT)]))
    np.testing.assert_array_equal(first.logvar, np.stack([logvar, np.zeros(LATENT)]))
    ends = np.concatenate([first.mean, last.mean]), np.concatenate([first.logvar, last.logvar])
    found = draw_posterior(model, image, *ends, generator_for(9, "evaluation"), 2000)
    for start in (0, 1):
        gain = mean_of(found.elbo[:, 2 + start] - found.elbo[:, start])
        assert gain.value > 3 * gain.standard_error
    apart = mean_of(found.elbo[:, 3] - found.elbo[:, 2])
    assert abs(apart.value) < 0.5, "both starts lead to the same optimum"


def test_paired_differences_are_surer_than_unpaired_ones() -> None:
    model, image, (mean, logvar) = tiny(), an_image(), some_q()
    near = np.concatenate([mean, mean + np.float32(0.01)]), np.concatenate([logvar, logvar])
    found = draw_posterior(model, image, *near, generator_for(0, "view"), 500)
    paired = mean_of(found.elbo[:, 1] - found.elbo[:, 0]).standard_error
    assert paired < 0.2 * mean_of(found.elbo[:, 0]).standard_error


def test_the_spread_of_pixels_is_their_standard_deviation() -> None:
    random = np.random.default_rng(1)
    scale = random.uniform(0.05, 0.2, (3, 4, 5))
    pictures = (0.5 + scale * random.normal(size=(3000, 3, 4, 5))).astype(np.float32)
    image, whole = pixel_spread(pictures)
    np.testing.assert_allclose(image, np.sqrt(pictures.var(axis=0, ddof=1).mean(axis=0)), rtol=1e-4)
    assert abs(whole.value - np.sqrt(np.square(scale).mean())) < 3 * whole.standard_error
    again = [pixel_spread(pictures[start : start + 30])[1] for start in range(0, 3000, 30)]
    assert np.mean([one.standard_error for one in again]) == pytest.approx(np.std([one.value for one in again]), rel=0.25)
    same, none = pixel_spread(np.full((4, 1, 2, 2), 0.3, np.float32))
    assert not same.any()
    assert (none.value, none.standard_error) == (0.0, 0.0)
    with pytest.raises(ValueError, match="at least 2 pictures, got 1"):
        pixel_spread(pictures[:1])
