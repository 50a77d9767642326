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

        def terms(part: slice) -> np.ndarray:
            mean, logvar = self.mean[part].astype(np.float64), self.logvar[part].astype(np.float64)
            return np.asarray(0.5 * (np.expm1(logvar) - logvar + mean**2))

        return self._mean_of(terms)

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
    def map_means(self) -> Float32[np.ndarray, "n used"]:
        """The posterior means in `map_dimensions`: copied once, not at every search."""
        return np.ascontiguousarray(self.mean[:, self.map_dimensions])

    @cached_property
    def reference_means(self) -> Float32[np.ndarray, "part used"]:
        """Those of `reference`."""
        return self.map_means if len(self.reference) == len(self) else self.map_means[self.reference]

    @cached_property
    def aggregate_mean(self) -> Float64[np.ndarray, " latent"]:
        """The mean of the aggregate posterior, of each dimension."""
        return self._mean_of(lambda part: self.mean[part].astype(np.float64))

    @cached_property
    def aggregate_std(self) -> Float64[np.ndarray, " latent"]:
        """The standard deviation of the aggregate posterior: its variance is ``Var[mean] + E[sigma^2]``."""
        noise = self._mean_of(lambda part: np.exp(self.logvar[part].astype(np.float64)))
        return np.asarray(np.sqrt(self._variance + noise))

    @cached_property
    def _variance(self) -> Float64[np.ndarray, " latent"]:
        """``Var[mean]`` of each dimension."""
        return self._mean_of(lambda part: np.asarray((self.mean[part].astype(np.float64) - self.aggregate_mean) ** 2))

    def _mean_of(self, terms: Callable[[slice], Float64[np.ndarray, "part latent"]]) -> Float64[np.ndarray, " latent"]:
        """The mean over images of what ``terms`` makes of a part of the rows: of a million images, double-precision copies of
        the whole would take gigabytes."""
        parts = (terms(slice(start, start + _AT_ONCE)) for start in range(0, len(self), _AT_ONCE))
        return np.asarray(sum(part.sum(axis=0) for part in parts) / len(self))
