"""What a model says of an image before anybody judges it: seven numbers, the same for every image that is the same.

The noise of z is common to all images (one fixed set of `SAMPLES` draws), so an image's numbers depend on nothing but its
pixels and the weights, and a percentile among other images can be had again. Validation images, test images and uploads go
through this one function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor

from vae.device import generator_for, images_at_once, to_unit
from vae.model import VAE
from vae.projection import NEIGHBORS, nearest

SAMPLES = 4
"""Draws of z behind each of the numbers that need one."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Signal:
    """One of the numbers: what it is called, in which unit, and whether too little of it is odd as well as too much."""

    name: str
    title: str
    unit: str
    two_sided: bool
    about: str


SIGNALS = (
    Signal("negative_elbo", "−ELBO", "nats", True, "reconstruction + KL. Too low is odd too: a blank picture is easy to draw."),
    Signal("reconstruction", "reconstruction", "nats", True, "−E[log p(x|z)], summed over pixels; z drawn from q(z|x)."),
    Signal("kl", "KL", "nats", True, "KL(q(z|x) || p(z)): what the encoder says of the image beyond the prior."),
    Signal(
        "squared_error", "squared error", "[0, 1]² per pixel", False, "between the image and the mean of its reconstructions."
    ),
    Signal("unexplained", "unexplained share", "of the image's variance", False, "squared error ÷ the image's own variance."),
    Signal(
        "reencoding", "re-encoding shift", "q's σ, squared", False, "how far the encoding of the reconstruction lies from q."
    ),
    Signal(
        "distance",
        "distance",
        "in latent space",
        False,
        f"mean, to the {NEIGHBORS} nearest training images, active dimensions.",
    ),
)
"""The signals of a verdict, in the order of the columns of every array of them."""


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """The encoded training images that distances are measured to."""

    rows: Int64[np.ndarray, " n"]
    """Their rows in the training split."""
    means: Float32[np.ndarray, "n used"]
    """Their posterior means in ``dimensions``."""
    dimensions: Int64[np.ndarray, " used"]
    """The latent dimensions that are active among them, or all where none is."""

    def nearest(self, mean: Float32[np.ndarray, "m latent"]) -> tuple[np.ndarray, np.ndarray]:
        """The training rows nearest to each posterior mean, nearest first, and their distances: `NEIGHBORS` of them, or all
        there are."""
        found, distances = nearest(mean[:, self.dimensions], self.means, min(NEIGHBORS, len(self.means)))
        return self.rows[found], distances


@dataclass(frozen=True, eq=False)
class Measured:
    """Images through the model."""

    values: Float32[np.ndarray, "n signals"]
    """A column for each of `SIGNALS`."""
    mean: Float32[np.ndarray, "n latent"]
    logvar: Float32[np.ndarray, "n latent"]
    reconstruction: Float32[np.ndarray, "n channels height width"]
    """The mean of the `SAMPLES` decoded images, in [0, 1]."""


class SignalError(ValueError):
    """An image for which the model gives no finite numbers."""


@torch.no_grad()
def encode_means(
    model: VAE, rows: Callable[[slice], UInt8[np.ndarray, "n channels height width"]], count: int, progress: Progress | None
) -> Float32[np.ndarray, "n latent"]:
    """The posterior mean of each of ``count`` images, which ``rows`` reads a batch at a time."""
    device, size = next(model.parameters()).device, _batch(model)
    found = []
    for start in range(0, count, size):
        x = to_unit(torch.tensor(rows(slice(start, min(start + size, count))), device=device))
        found.append(model.encode(x).mean.cpu())
        if progress:
            progress(min(start + size, count), count)
    return np.asarray(torch.cat(found))


def _batch(model: VAE) -> int:
    """How many images are taken at once, each decoded `SAMPLES` times."""
    return images_at_once(500, (SAMPLES, *model.config.image_shape))


def measure(
    model: VAE,
    images: UInt8[np.ndarray, "n channels height width"],
    around: Neighbourhood,
    progress: Progress | None = None,
) -> Measured:
    """The signals of each image, by the model in evaluation mode on the device it is on.

    Raises:
        SignalError: the model's answer to an image isn't finite.
    """
    size, parts = _batch(model), []
    for start in range(0, len(images), size):
        parts.append(_measure(model, images[start : start + size], around))
        if progress:
            progress(min(start + size, len(images)), len(images))
    values, mean, logvar, pictures = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Measured(values, mean, logvar, pictures)


@torch.no_grad()
def _measure(model: VAE, images: np.ndarray, around: Neighbourhood) -> tuple[np.ndarray, ...]:
    device = next(model.parameters()).device
    x = to_unit(torch.tensor(images, device=device))
    q = model.encode(x)
    noise = torch.randn(SAMPLES, 1, model.config.latent, generator=generator_for(0, "verdict")).to(device)
    logits = [model.decode(q.mean + q.std * eps) for eps in noise]
    reconstruction = torch.stack([model.likelihood.log_prob(one, x) for one in logits]).mean(dim=0)
    picture = torch.stack([model.likelihood.mean(one) for one in logits]).mean(dim=0)
    error = (x - picture).square().flatten(1).mean(dim=1)
    kl = q.kl()
    columns = [kl - reconstruction, -reconstruction, kl, error, error / _variance(x)]
    if not all(bool(torch.isfinite(column).all()) for column in columns):
        raise SignalError(
            "The model's answer to this picture isn't finite, so there is nothing to judge: expected numbers, found NaN or "
            "infinity. Another picture may do; if none does, the run's weights are of no use."
        )
    dimensions = torch.tensor(around.dimensions, device=device)
    shift = (model.encode(picture).mean - q.mean).square() / torch.exp(q.logvar)
    columns.append(shift[:, dimensions].mean(dim=1))
    mean = np.asarray(q.mean.cpu())
    _, distances = around.nearest(mean)
    values = np.column_stack([np.asarray(torch.stack(columns, dim=1).cpu()), distances.mean(axis=1)]).astype(np.float32)
    return values, mean, np.asarray(q.logvar.cpu()), np.asarray(picture.cpu())


def _variance(x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, " batch"]:
    """Each image's variance over its values, at least that of one grey level: an even picture has none."""
    return x.flatten(1).var(dim=1, unbiased=False).clamp_min(1 / 255**2)
