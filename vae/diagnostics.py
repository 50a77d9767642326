"""What an encoded test set says of a model beside its ELBO: aggregate posterior, reconstruction error, spread of q."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, UInt8
from torch import Tensor

from vae.device import generator_for, to_unit
from vae.encodings import Encodings
from vae.model import VAE
from vae.posterior import Posterior

BATCH = 500
MMD_BLOCK = 500


@dataclass(frozen=True)
class Distance:
    """The squared maximum mean discrepancy between draws and N(0, I), and its standard error."""

    value: float
    standard_error: float | None
    """None if there are too few draws for two blocks."""


@torch.no_grad()
def mmd_to_prior(z: Float[Tensor, "n latent"], generator: torch.Generator) -> Distance:
    """The squared maximum mean discrepancy (Gretton et al. 2012) between the rows of ``z`` and as many draws of N(0, I).

    The kernel is ``exp(-|a - b|^2 / (2 latent))``. The mean of the unbiased estimates of blocks of `MMD_BLOCK` rows
    (Zaremba et al. 2013), whose spread gives the standard error: 0 on average if both are alike, and so at times negative.
    """
    if len(z) < 2:
        raise ValueError(f"a distance needs at least 2 points, got {len(z)}")
    size = min(MMD_BLOCK, len(z))
    blocks = [block for block in torch.split(z.double(), size) if len(block) == size]
    prior = torch.randn(sum(map(len, blocks)), z.shape[1], generator=generator, device=z.device, dtype=torch.float64)
    pairs = zip(blocks, torch.split(prior, size), strict=True)
    values = torch.stack([_unbiased_mmd(first, second) for first, second in pairs])
    error = float(values.std() / math.sqrt(len(values))) if len(values) > 1 else None
    return Distance(float(values.mean()), error)


def _unbiased_mmd(first: Tensor, second: Tensor) -> Tensor:
    count, latent = first.shape

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(a, b).square() / (2 * latent))

    within = sum((kernel(a, a).sum() - count) / (count * (count - 1)) for a in (first, second))
    return within - 2 * kernel(first, second).mean()


def aggregate_draws(encodings: Encodings, seed: int) -> Float32[np.ndarray, "n latent"]:
    """One draw of q(z|x) for each image: as many draws of the aggregate posterior."""
    q = Posterior(torch.tensor(encodings.mean), torch.tensor(encodings.logvar))
    return np.asarray(q.sample(generator_for(seed, "aggregate", 0)))


@dataclass(frozen=True, eq=False)
class RoundTrip:
    """Images encoded, a draw of q decoded, and what it decodes to encoded again, per image."""

    squared_error: Float64[np.ndarray, " n"]
    """``(x - E[x|z])^2`` at one draw of z, mean over pixels in [0, 1]."""
    squared_error_at_mean: Float64[np.ndarray, " n"]
    """The same at the posterior mean."""
    residual: Float32[np.ndarray, "n latent"]
    """``(z - mean') / std'`` with q' = q(.|E[x|z]): how far the decoded z is read back from where it was, in q's own std."""


@torch.no_grad()
def round_trip(
    model: VAE,
    images: UInt8[np.ndarray, "n channels height width"],
    encodings: Encodings,
    z: Float32[np.ndarray, "n latent"],
) -> RoundTrip:
    """x -> q(z|x) -> z -> E[x|z] -> q(z|E[x|z]) for each image, ``z`` being draws of its q."""
    device = next(model.parameters()).device
    parts: list[tuple[Tensor, ...]] = []
    for start in range(0, len(images), BATCH):
        some = slice(start, start + BATCH)
        x, points = to_unit(torch.tensor(images[some], device=device)), torch.tensor(z[some], device=device)
        seen = model.likelihood.mean(model.decode(points))
        at_mean = model.likelihood.mean(model.decode(torch.tensor(encodings.mean[some], device=device)))
        again = model.encode(seen)
        errors = [(x - picture).double().square().flatten(1).mean(dim=1) for picture in (seen, at_mean)]
        parts.append((*errors, (points - again.mean) / again.std))
    return RoundTrip(*[np.asarray(torch.cat(tensors).cpu()) for tensors in zip(*parts, strict=True)])
