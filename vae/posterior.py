"""The approximate posterior q(z|x): a diagonal Gaussian, its samples, density and KL divergences."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Posterior:
    """``q(z|x) = N(mean, diag(exp(logvar)))`` for a batch.

    ``logvar`` is the log of the *variance*: the standard deviation is ``exp(logvar / 2)``.
    """

    mean: Float[Tensor, "batch latent"]
    logvar: Float[Tensor, "batch latent"]

    @property
    def std(self) -> Float[Tensor, "batch latent"]:
        """The standard deviation, ``exp(logvar / 2)``."""
        return torch.exp(0.5 * self.logvar)

    def sample(self, generator: torch.Generator) -> Float[Tensor, "batch latent"]:
        """One reparameterized sample per row: ``z = mean + std * eps`` with ``eps ~ N(0, I)`` (Kingma & Welling 2014).

        ``generator`` must live on the device of ``mean``.
        """
        return self.at(torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype))

    def at(self, noise: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch latent"]:
        """The sample that ``noise``, a draw of eps, makes: ``mean + std * noise``."""
        return self.mean + self.std * noise

    def log_prob(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, " batch"]:
        """``log q(z|x)`` in nats, summed over the latent dimensions."""
        return gaussian_log_prob(z, self.mean, self.logvar)

    def kl_per_dimension(self) -> Float[Tensor, "batch latent"]:
        """``KL(q(z_j|x) || N(0, 1))`` in nats, closed form: ``(exp(logvar) + mean^2 - 1 - logvar) / 2``.

        NOTE: written with ``expm1``, so that it is exactly 0 at the prior and loses no digits near it.
        """
        return 0.5 * (torch.expm1(self.logvar) - self.logvar + self.mean.square())

    def kl(self) -> Float[Tensor, " batch"]:
        """``KL(q(z|x) || N(0, I))`` in nats, summed over the latent dimensions."""
        return self.kl_per_dimension().sum(dim=-1)


def gaussian_log_prob(
    z: Float[Tensor, "... latent"], mean: Float[Tensor, "... latent"], logvar: Float[Tensor, "... latent"]
) -> Float[Tensor, "..."]:
    """``log N(z; mean, diag(exp(logvar)))`` in nats, summed over the last dimension."""
    squared = (z - mean).square() * torch.exp(-logvar)
    return -0.5 * (squared + logvar + math.log(2 * math.pi)).sum(dim=-1)


def prior_log_prob(z: Float[Tensor, "... latent"]) -> Float[Tensor, "..."]:
    """``log N(z; 0, I)`` in nats, summed over the last dimension."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=-1)


def gaussian_kl(mean_q: Tensor, std_q: Tensor, mean_p: Tensor, std_p: Tensor) -> Tensor:
    """``KL(N(mean_q, std_q^2) || N(mean_p, std_p^2))`` in nats, elementwise, any broadcastable shapes.

    ``log(std_p / std_q) + (std_q^2 + (mean_q - mean_p)^2) / (2 std_p^2) - 1/2``.
    """
    return torch.log(std_p / std_q) + (std_q.square() + (mean_q - mean_p).square()) / (2 * std_p.square()) - 0.5
