"""Training by stochastic variational inference: every image has its own q, and the decoder learns from those alone.

It knows no files. It is for small data sets: each image is decoded several times a step, and its q is kept in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from vae.config import ConfigError
from vae.device import generator_for, to_unit
from vae.inference import refine
from vae.model import VAE
from vae.objective import elbo
from vae.posterior import Posterior


@dataclass(frozen=True)
class SviConfig:
    """How a decoder is trained by stochastic variational inference.

    Raises:
        ConfigError: a field is out of range.
    """

    epochs: int = 20
    """Passes over the images."""
    batch_size: int = 64
    """Images in one gradient step of the decoder."""
    svi_steps: int = 10
    """Gradient steps of each image's own mean and log-variance before each step of the decoder."""
    svi_rate: float = 0.1
    """Adam's learning rate of those; both rates fall linearly to 0 over the training."""
    learning_rate: float = 4e-3
    """Adam's learning rate of decoder and encoder."""
    seed: int = 0
    """Seeds the initial weights, the order of the images and the noise."""

    def __post_init__(self) -> None:
        limits = {"epochs": 100_000, "batch_size": 65_536, "svi_steps": 10_000, "seed": 2**32 - 1}
        for name, high in limits.items():
            value, low = getattr(self, name), 0 if name == "seed" else 1
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(f"{name} must be a whole number from {low} to {high:,}, got {value!r}")
        for name in ("svi_rate", "learning_rate"):
            value = getattr(self, name)
            if not 1e-8 <= value <= 10:
                raise ConfigError(f"{name} must be a number from 1e-08 to 10, got {value!r}")


@dataclass(frozen=True)
class SviEpoch:
    """One pass is done. Means over the training images in nats per image, one draw of z each."""

    epoch: int
    elbo: float
    """``reconstruction - kl`` of the images' own q, each when its turn came."""
    reconstruction: float
    kl: float
    encoder_elbo: float
    """The same of the encoder's q: what it is behind is its amortization gap on these images."""
    posterior: Posterior
    """Every image's own q as it stands, ``(n, latent)``."""


def train_svi(
    model: VAE,
    images: UInt8[np.ndarray, "n channels height width"],
    config: SviConfig,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[SviEpoch]:
    """Train ``model`` in place, on the device it is on, one event an epoch.

    Stochastic variational inference (Hoffman et al. 2013): every image's q starts at the prior. Of each batch, first the
    q climb the ELBO for some steps, the decoder fixed; then the decoder takes one step along ``E_q[grad log p(x, z)]``. The
    encoder takes a step on its own ELBO with the decoder fixed, so that the model can be used on other images: the decoder
    never sees a gradient through it. ``progress`` counts gradient steps of the decoder.

    Raises:
        FloatingPointError: the loss is no longer finite.
    """
    device = next(model.parameters()).device
    kept = torch.tensor(images, device=device)
    count = len(kept)
    own = Posterior(*(torch.zeros(count, model.config.latent, device=device) for _ in range(2)))
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    batches, step = math.ceil(count / config.batch_size), 0
    for epoch in range(config.epochs):
        order = torch.randperm(count, generator=generator_for(config.seed, "order", epoch)).to(device)
        sums = torch.zeros(3, dtype=torch.float64, device=device)
        for rows in torch.split(order, config.batch_size):
            left = 1 - step / (batches * config.epochs)
            optimizer.param_groups[0]["lr"] = config.learning_rate * left
            sums += _step(model, optimizer, own, rows, to_unit(kept[rows]), config, step, left) * len(rows)
            step += 1
            if progress:
                progress(step, batches * config.epochs)
        reconstruction, kl, encoder = (sums / count).tolist()
        snapshot = Posterior(own.mean.clone(), own.logvar.clone())
        model.eval()
        yield SviEpoch(epoch + 1, reconstruction - kl, reconstruction, kl, encoder, snapshot)


def _step(
    model: VAE,
    optimizer: torch.optim.Optimizer,
    own: Posterior,
    rows: torch.Tensor,
    x: torch.Tensor,
    config: SviConfig,
    step: int,
    left: float,
) -> torch.Tensor:
    """The batch's q, then decoder and encoder; ``(reconstruction, kl, ELBO of the encoder)`` before the step."""
    noise = generator_for(config.seed, "refinement", step, x.device)
    model.eval()
    q = refine(
        Posterior(own.mean[rows], own.logvar[rows]),
        *(model.decode, model.likelihood, x, noise, config.svi_steps),
        samples=1,
        rate=config.svi_rate * left,
        tolerance=0.0,
        every=config.svi_steps,
    ).posterior
    own.mean[rows], own.logvar[rows] = q.mean, q.logvar
    model.train()
    optimizer.zero_grad(set_to_none=True)
    terms = elbo(q, model.decode, model.likelihood, x, noise)
    model.decoder.eval()  # its running statistics are those of the images' own q
    encoder_value = elbo(model.encode(x), model.decode, model.likelihood, x, noise).value.mean()
    encoder = list(model.encoder.parameters())
    # NOTE: the encoder's ELBO also reaches the decoder's weights; only the encoder's part of its gradient is taken.
    gradients = torch.autograd.grad(-encoder_value, encoder, retain_graph=True)
    (-terms.value.mean()).backward()  # type: ignore[no-untyped-call]
    for parameter, gradient in zip(encoder, gradients, strict=True):
        parameter.grad = gradient
    found = torch.stack([terms.reconstruction.mean(), terms.kl.mean(), encoder_value]).detach().double()
    if not bool(torch.isfinite(found).all()):
        raise FloatingPointError(f"the loss is no longer finite at step {step + 1}: lower its rates")
    optimizer.step()
    return found
