"""Inference for one image, arrays in and arrays out: draws of its q(z|x) and what each says, and q refined step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8

from vae.device import generator_for, to_unit
from vae.inference import Waypoint, log_likelihood, refining, standard_posterior
from vae.model import VAE, frozen_decoder
from vae.posterior import Posterior, gaussian_log_prob, prior_log_prob

REFINEMENT_STEPS = 100
REFINEMENT_SAMPLES = 4
REFINEMENT_EVERY = 2
"""Every how many steps a point is recorded: what a record costs is a third of a step."""
ENCODER_RATE, PRIOR_RATE = 0.05, 0.2
"""Learning rates: the encoder's answer has little way to go and needs a quiet end, the prior is far off."""
STARTS = ("the encoder", "the prior")


@dataclass(frozen=True)
class Estimate:
    """A mean over draws, with its standard error: the draws' standard deviation over the root of their number."""

    value: float
    standard_error: float
    samples: int
    """How many draws it is the mean of."""


def mean_of(values: Float64[np.ndarray, " samples"]) -> Estimate:
    """The mean of independent draws.

    Raises:
        ValueError: fewer than two, of which no error can be told.
    """
    if len(values) < 2:
        raise ValueError(f"a standard error needs at least 2 draws, got {len(values)}")
    return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))), len(values))


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws of z from one q or several, for one image. All q are given the same noise: differences between them are paired."""

    z: Float32[np.ndarray, "samples count latent"]
    reconstruction: Float64[np.ndarray, "samples count"]
    """``log p(x|z_s)`` in nats, summed over pixels: its mean estimates the reconstruction term."""
    log_ratio: Float64[np.ndarray, "samples count"]
    """``log q(z_s|x) - log p(z_s)`` in nats: its mean estimates the KL."""
    kl_per_dimension: Float64[np.ndarray, "count latent"]
    """``KL(q(z_j|x) || N(0, 1))`` in nats, closed form."""

    @property
    def kl(self) -> Float64[np.ndarray, " count"]:
        """``KL(q(z|x) || p(z))`` in nats, closed form."""
        return np.asarray(self.kl_per_dimension.sum(axis=-1))

    @property
    def elbo(self) -> Float64[np.ndarray, "samples count"]:
        """What each draw alone says of the ELBO, the KL in closed form: ``log p(x|z_s) - KL``."""
        return np.asarray(self.reconstruction - self.kl)

    @property
    def elbo_monte_carlo(self) -> Float64[np.ndarray, "samples count"]:
        """The same with both terms from the draw: ``log p(x, z_s) - log q(z_s|x)``."""
        return np.asarray(self.reconstruction - self.log_ratio)


@torch.no_grad()
def draw_posterior(
    model: VAE,
    image: UInt8[np.ndarray, "channels height width"],
    mean: Float32[np.ndarray, "count latent"],
    logvar: Float32[np.ndarray, "count latent"],
    generator: torch.Generator,
    samples: int,
) -> Draws:
    """Draw ``samples`` z from each ``N(mean, exp(logvar))`` and ask the model, in evaluation mode, about the image.

    ``generator`` must live on the model's device.
    """
    device = next(model.parameters()).device
    q = Posterior(torch.tensor(mean, device=device), torch.tensor(logvar, device=device))
    noise = torch.randn(samples, 1, q.mean.shape[1], generator=generator, device=device)
    z = q.mean + q.std * noise
    x = to_unit(torch.tensor(image[None], device=device)).expand(len(mean), -1, -1, -1)
    ratio = gaussian_log_prob(z.double(), q.mean.double(), q.logvar.double()) - prior_log_prob(z.double())
    exact = Posterior(q.mean.double(), q.logvar.double()).kl_per_dimension()
    said = log_likelihood(model.decode, model.likelihood, x, z).double()
    return Draws(*(np.asarray(value.cpu()) for value in (z, said, ratio, exact)))


def refine_image(
    model: VAE,
    image: UInt8[np.ndarray, "channels height width"],
    mean: Float32[np.ndarray, " latent"],
    logvar: Float32[np.ndarray, " latent"],
    seed: int,
    steps: int = REFINEMENT_STEPS,
    samples: int = REFINEMENT_SAMPLES,
    rates: Sequence[float] = (ENCODER_RATE, PRIOR_RATE),
) -> Iterator[Waypoint]:
    """`refining` of one image from both `STARTS` at once: the encoder's ``mean`` and ``logvar``, and the prior's.

    All ``steps`` are taken, and every `REFINEMENT_EVERY`-th is recorded, the last in any case. It works only while the next
    point is asked for.
    """
    device = next(model.parameters()).device
    encoder = Posterior(*(torch.tensor(value[None], device=device) for value in (mean, logvar)))
    prior = standard_posterior(encoder)
    start = Posterior(torch.cat([encoder.mean, prior.mean]), torch.cat([encoder.logvar, prior.logvar]))
    x = to_unit(torch.tensor(image[None], device=device)).expand(len(STARTS), -1, -1, -1)
    noise = generator_for(seed, "refinement", 0, device)
    # NOTE: the stopping rule needs patience; longer than the ascent itself, it never ends it early.
    decode, options = frozen_decoder(model), (steps, samples, rates)
    return refining(start, decode, model.likelihood, x, noise, *options, patience=steps + 1, every=REFINEMENT_EVERY)


def pixel_spread(
    pictures: Float32[np.ndarray, "draws channels height width"],
) -> tuple[Float64[np.ndarray, "height width"], Estimate]:
    """The standard deviation of each pixel over decoded draws (the root mean square of the channels'), and of all pixels.

    The latter is the root of the mean variance over pixels; its standard error is that of the draws' mean squared distances
    from their mean, by the delta method.

    Raises:
        ValueError: fewer than two pictures.
    """
    count = len(pictures)
    if count < 2:
        raise ValueError(f"a standard deviation needs at least 2 pictures, got {count}")
    exact = pictures.astype(np.float64)
    squared = np.square(exact - exact.mean(axis=0)) * (count / (count - 1))
    variance = mean_of(squared.mean(axis=(1, 2, 3)))
    deviation = float(np.sqrt(variance.value))
    error = variance.standard_error / (2 * deviation) if deviation else 0.0
    return np.sqrt(squared.mean(axis=(0, 1))), Estimate(deviation, error, count)
