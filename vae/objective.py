"""The evidence lower bound: a reconstruction term less a KL term, per example, in nats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from vae.likelihood import Likelihood
from vae.posterior import Posterior, prior_log_prob

Decode = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Elbo:
    """The two terms of ``ELBO(x) = E_q[log p(x|z)] - KL(q(z|x) || p(z))``, in nats, per example."""

    reconstruction: Float[Tensor, " batch"]
    """``E_q[log p(x|z)]``, summed over pixels: negative for Bernoulli pixels."""
    kl: Float[Tensor, " batch"]
    """``KL(q(z|x) || p(z))``, summed over latent dimensions."""

    @property
    def value(self) -> Float[Tensor, " batch"]:
        """``reconstruction - kl``: the bound itself; training minimises its negative."""
        return self.reconstruction - self.kl


def elbo(
    posterior: Posterior,
    decode: Decode,
    likelihood: Likelihood,
    x: Float[Tensor, "batch channels height width"],
    generator: torch.Generator,
    samples: int = 1,
) -> Elbo:
    """The ELBO with the KL in closed form and ``E_q[log p(x|z)]`` estimated from ``samples`` draws of z (their mean)."""
    drawn = [likelihood.log_prob(decode(posterior.sample(generator)), x) for _ in range(_counted(samples))]
    return Elbo(reconstruction=torch.stack(drawn).mean(dim=0), kl=posterior.kl())


def elbo_at(
    posterior: Posterior,
    noise: Float[Tensor, "batch latent"],
    decode: Decode,
    likelihood: Likelihood,
    x: Float[Tensor, "batch channels height width"],
) -> Elbo:
    """`elbo` from one draw of z, that of a given ``noise``."""
    return Elbo(reconstruction=likelihood.log_prob(decode(posterior.at(noise)), x), kl=posterior.kl())


def kl_beyond(
    kl_per_dimension: Float[Tensor, "batch latent"], mean_kl: Float[Tensor, " latent"], free_bits: float
) -> Float[Tensor, " batch"]:
    """The KL of the dimensions whose mean over the whole batch, ``mean_kl``, is above ``free_bits`` nats, summed over them.

    Its batch mean has the gradient of ``sum_j max(free_bits, mean_kl_j)``, the free bits of Kingma et al. (2016, eq. 15).
    """
    return (kl_per_dimension * (mean_kl > free_bits)).sum(dim=1)


def elbo_monte_carlo(
    posterior: Posterior,
    decode: Decode,
    likelihood: Likelihood,
    x: Float[Tensor, "batch channels height width"],
    generator: torch.Generator,
    samples: int = 1,
) -> Elbo:
    """The ELBO with both terms estimated: ``1/S sum_s [log p(x|z_s) + log p(z_s) - log q(z_s|x)]``.

    Needs only that p and q can be evaluated and q sampled. Its expectation is that of `elbo`; its spread may be larger or
    smaller: the nearer q is to p(z|x), the smaller, and there it has none (Roeder et al. 2017).
    """
    reconstruction, kl = [], []
    for _ in range(_counted(samples)):
        z = posterior.sample(generator)
        reconstruction.append(likelihood.log_prob(decode(z), x))
        kl.append(posterior.log_prob(z) - prior_log_prob(z))
    return Elbo(reconstruction=torch.stack(reconstruction).mean(dim=0), kl=torch.stack(kl).mean(dim=0))


def _counted(samples: int) -> int:
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    return samples
