"""p(x|z): what the decoder's output says about the pixels. Everything in nats, summed over pixels, per example."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_SERIES = 0.1  # below this |logit| the exact formulas lose digits, and three terms of the Taylor series are exact in fp32


class Likelihood(nn.Module, ABC):
    """A factorised distribution over the pixels of ``x`` in [0, 1], given the decoder's output ``x_logits``."""

    @abstractmethod
    def log_prob(
        self, x_logits: Float[Tensor, "batch channels height width"], x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, " batch"]:
        """``log p(x|z)`` in nats, summed over pixels, per example."""

    @abstractmethod
    def mean(self, x_logits: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """``E[x|z]``, limited to [0, 1], to look at."""


def _sum_pixels(terms: Tensor) -> Tensor:
    return terms.flatten(1).sum(dim=1)


class Bernoulli(Likelihood):
    """``x log p + (1 - x) log(1 - p)`` with ``p = sigmoid(x_logits)``.

    NOTE: for grey pixels (x strictly between 0 and 1) this is a cross-entropy and not a normalised density. It never
    exceeds minus the pixels' entropy (`entropy`), so -ELBO has a floor above zero.
    """

    def log_prob(self, x_logits: Tensor, x: Tensor) -> Tensor:
        return -_sum_pixels(F.binary_cross_entropy_with_logits(x_logits, x, reduction="none"))

    def mean(self, x_logits: Tensor) -> Tensor:
        return torch.sigmoid(x_logits)

    @staticmethod
    def entropy(x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, " batch"]:
        """The pixels' Bernoulli entropy in nats, summed: the least that ``-log p(x|z)`` can be for this ``x``."""
        return -_sum_pixels(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x))


class ContinuousBernoulli(Likelihood):
    """The Bernoulli form normalised over [0, 1] (Loaiza-Ganem & Cunningham 2019).

    With logit ``l`` the normaliser is ``log C = log(l / tanh(l / 2))`` and the mean ``1 / (1 - exp(-l)) - 1 / l``;
    both have removable singularities at ``l = 0``, where their Taylor series stand in.
    """

    def log_prob(self, x_logits: Tensor, x: Tensor) -> Tensor:
        cross_entropy = F.binary_cross_entropy_with_logits(x_logits, x, reduction="none")
        return _sum_pixels(self._log_normaliser(x_logits) - cross_entropy)

    @staticmethod
    def _log_normaliser(x_logits: Tensor) -> Tensor:
        small = x_logits.abs() < _SERIES
        size = torch.where(small, torch.ones_like(x_logits), x_logits.abs())
        exact = torch.log(size) - torch.log(torch.tanh(size / 2))
        squared = x_logits.square()
        series = math.log(2.0) + squared / 12 - 7 * squared.square() / 1440
        return torch.where(small, series, exact)

    def mean(self, x_logits: Tensor) -> Tensor:
        small = x_logits.abs() < _SERIES
        logits = torch.where(small, torch.ones_like(x_logits), x_logits)
        exact = -1 / torch.expm1(-logits) - 1 / logits
        series = 0.5 + x_logits / 12 - x_logits**3 / 720
        return torch.where(small, series, exact).clamp(0.0, 1.0)


class Gaussian(Likelihood):
    """``N(x; x_logits, exp(logvar))``: the decoder gives the mean itself; one learned variance serves all pixels.

    The shared variance is the sigma-VAE of Rybkin, Daniilidis & Levine (2021); it is held between ``exp(-14)`` and ``exp(4)``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.logvar = nn.Parameter(torch.tensor(-2.0))

    def log_prob(self, x_logits: Tensor, x: Tensor) -> Tensor:
        logvar = self.logvar.clamp(-14.0, 4.0)
        squared = (x - x_logits).square() * torch.exp(-logvar)
        return -0.5 * _sum_pixels(squared + logvar + math.log(2 * math.pi))

    def mean(self, x_logits: Tensor) -> Tensor:
        return x_logits.clamp(0.0, 1.0)


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "continuous-bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
}
"""Every likelihood by the name a `ModelConfig` gives it."""
