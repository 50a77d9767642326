"""An encoded data set: q(z|x) of every image, its ELBO terms, and what they say of each latent dimension."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64

from vae.device import generator_for

ACTIVE_VARIANCE = 0.01
"""A latent dimension is active if the variance of its posterior mean over the data is above this (Burda et al. 2016)."""

MOST_COMPARED = 50_000
"""Of more images a part, drawn at random once and for all, stands for all of them where each point is compared with every one:
maps are fitted to it, and points are placed among it. Such work grows with the square of the number."""
_AT_ONCE = 2**16
Terms = Callable[[Float64[np.ndarray, "part latent"], Float64[np.ndarray, "part latent"]], Float64[np.ndarray, "part latent"]]


@dataclass(frozen=True, eq=False)
class Encodings:
    """The test set through a model: q(z|x) of every image and its ELBO terms (one sample of z, in nats per image)."""

    mean: Float32[np.ndarray, "n latent"]
    logvar: Float32[np.ndarray, "n latent"]
    reconstruction: Float32[np.ndarray, " n"]
    kl: Float32[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.mean)

    @property
    def elbo(self) -> Float32[np.ndarray, " n"]:
        """The ELBO of each image, ``reconstruction - kl``."""
        return np.asarray(self.reconstruction - self.kl)

    @cached_property
    def kl_per_dimension(self) -> Float64[np.ndarray, " latent"]:
        """The mean over images of ``KL(q(z_j|x) || N(0, 1))``, in nats."""
        return self._mean_of(lambda mean, logvar: 0.5 * (np.expm1(logvar) - logvar + mean**2))

    @cached_property
    def active(self) -> Bool[np.ndarray, " latent"]:
        """The active units: latent dimensions whose posterior mean varies, ``Var[mean] > 0.01`` (Burda et al. 2016)."""
        return np.asarray(self._variance > ACTIVE_VARIANCE)

    @cached_property
    def order(self) -> Int64[np.ndarray, " latent"]:
        """All latent dimensions by KL, the strongest first."""
        return np.argsort(-self.kl_per_dimension, kind="stable")

    @cached_property
    def active_dimensions(self) -> Int64[np.ndarray, " active"]:
        """The active dimensions by KL, the strongest first."""
        return np.asarray(self.order[self.active[self.order]])

    @property
    def map_dimensions(self) -> Int64[np.ndarray, " used"]:
        """The dimensions that distances are measured in: the active ones, or all if none is (a collapsed posterior)."""
        return self.active_dimensions if self.active.any() else self.order

    @cached_property
    def reference(self) -> Int64[np.ndarray, " part"]:
        """The rows, ascending, that stand for all: every one, or `MOST_COMPARED` drawn at random."""
        if len(self) <= MOST_COMPARED:
            return np.arange(len(self))
        drawn = torch.randperm(len(self), generator=generator_for(0, "subset"))[:MOST_COMPARED]
        return np.sort(drawn.numpy())

    @cached_property
    def reference_means(self) -> Float32[np.ndarray, "part used"]:
        """The posterior means of `reference` in `map_dimensions`."""
        return np.ascontiguousarray(self.mean[self.reference][:, self.map_dimensions])

    @cached_property
    def aggregate_mean(self) -> Float64[np.ndarray, " latent"]:
        """The mean of the aggregate posterior, of each dimension."""
        return self._mean_of(lambda mean, logvar: mean)

    @cached_property
    def aggregate_std(self) -> Float64[np.ndarray, " latent"]:
        """The standard deviation of the aggregate posterior: its variance is ``Var[mean] + E[sigma^2]``."""
        return np.asarray(np.sqrt(self._variance + self._mean_of(lambda mean, logvar: np.exp(logvar))))

    @cached_property
    def _variance(self) -> Float64[np.ndarray, " latent"]:
        """``Var[mean]`` of each dimension."""
        return self._mean_of(lambda mean, logvar: (mean - self.aggregate_mean) ** 2)

    def _mean_of(self, terms: Terms) -> Float64[np.ndarray, " latent"]:
        """The mean over images of terms made of their means and log-variances, in double precision, a part at a time: of a
        million images the double-precision copies would take gigabytes."""
        sums = np.zeros(self.mean.shape[1])
        for start in range(0, len(self), _AT_ONCE):
            part = (array[start : start + _AT_ONCE].astype(np.float64) for array in (self.mean, self.logvar))
            sums += terms(*part).sum(axis=0)
        return np.asarray(sums / len(self))
