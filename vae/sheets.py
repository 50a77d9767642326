"""What a sheet or an animation shows of a model: prior samples, traversals, interpolations, decoded and captioned.

Every picture is ``E[x|z]``, the mean of p(x|z). Captions name the run, the dimension and its range, and where z came from.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch.nn import functional as F

from vae.device import generator_for
from vae.drawing import AnimationFormat, Sheet, draw_animation
from vae.encodings import Encodings
from vae.latent import Path, decode_images, filmstrip_points, interpolate, sample_prior
from vae.model import VAE

MAX_PIXELS = 24_000_000
"""How many pixels the pictures of one sheet or animation hold together; larger ones are shrunk, and the caption says so."""
_BATCH_PIXELS = 2**22

Points = Float32[np.ndarray, "count latent"]
Images = UInt8[np.ndarray, "count channels height width"]


def decoded(model: VAE, z: Points, most: int = MAX_PIXELS) -> tuple[Images, int]:
    """``E[x|z]`` of each point as bytes rounded to the nearest, and the whole factor that each side had to be divided by
    so that all together hold at most ``most`` pixels (each pixel is then the mean of a square).

    Raises:
        ValueError: points that aren't finite or aren't ``(count, latent)``.
    """
    _, height, width = model.config.image_shape
    factor = 1
    while len(z) * math.ceil(height / factor) * math.ceil(width / factor) > most and factor < max(height, width):
        factor += 1
    parts = []
    for batch in np.array_split(z, max(1, math.ceil(len(z) * height * width / _BATCH_PIXELS))):
        images = torch.from_numpy(decode_images(model, batch))
        small = F.avg_pool2d(images, factor, ceil_mode=True) if factor > 1 else images
        parts.append((small * 255).round().to(torch.uint8).numpy())
    return np.concatenate(parts), factor


def prior_sheet(run: str, model: VAE, count: int = 64, seed: int = 0) -> Sheet:
    """Decoded draws of ``z ~ N(0, I)`` in a grid as square as it can be."""
    z = sample_prior(count, model.config.latent, generator_for(seed, "view")).numpy()
    pictures, factor = decoded(model, z)
    title = f"{run}: {count} samples of the prior, z ~ N(0, I), seed {seed}; pictures are E[x|z]"
    return Sheet(title + _notes(model, factor), pictures, math.ceil(math.sqrt(count)))


def traversal_points(z: Float32[np.ndarray, " latent"], dimension: int, low: float, high: float, steps: int) -> Points:
    """Copies of ``z`` in which one dimension takes ``steps`` even values from ``low`` to ``high``, both included.

    Raises:
        ValueError: a dimension that isn't there.
    """
    return filmstrip_points(z, np.array([dimension]), _values(low, high, steps)[None])


def traversal_title(run: str, dimension: int, low: float, high: float, subject: str) -> str:
    """The caption of a traversal. ``subject`` says where z came from: "test image 12 (Bag)"."""
    return f"{run}: traversal of z[{dimension}] from {low:g} to {high:g}, from the posterior mean of {subject}"


def traversal_sheet(
    run: str,
    model: VAE,
    z: Float32[np.ndarray, " latent"],
    dimension: int,
    low: float,
    high: float,
    steps: int,
    subject: str,
) -> Sheet:
    """One dimension of ``z`` in even steps from ``low`` to ``high``, the others as they are.

    Raises:
        ValueError: a dimension that isn't there, or a z that isn't finite.
    """
    pictures, factor = decoded(model, traversal_points(z, dimension, low, high, steps))
    title = f"{traversal_title(run, dimension, low, high, subject)}; pictures are E[x|z]{_notes(model, factor)}"
    return Sheet(title, pictures, steps, _labels(low, high, steps))


def traversal_animation(
    run: str,
    model: VAE,
    z: Float32[np.ndarray, " latent"],
    dimension: int,
    low: float,
    high: float,
    frames: int,
    subject: str,
    kind: AnimationFormat = "gif",
    duration: int = 80,
) -> bytes:
    """One dimension of ``z`` from ``low`` to ``high`` and back, for ever, each frame ``duration`` ms (see `draw_animation`).

    Raises:
        ValueError: a dimension that isn't there, a z that isn't finite, fewer than two frames, or another duration.
    """
    pictures, _ = decoded(model, traversal_points(z, dimension, low, high, frames))
    return draw_animation(pictures, kind, duration, traversal_title(run, dimension, low, high, subject))


def grid_sheet(
    run: str,
    model: VAE,
    encodings: Encodings,
    z: Float32[np.ndarray, " latent"],
    low: float,
    high: float,
    steps: int,
    subject: str,
) -> Sheet:
    """A traversal of every active dimension, a row each, the strongest first (of all dimensions where none is active).

    Raises:
        ValueError: a z that isn't finite.
    """
    dimensions = encodings.map_dimensions
    values = np.broadcast_to(_values(low, high, steps), (len(dimensions), steps))
    pictures, factor = decoded(model, filmstrip_points(z, dimensions, values))
    which = (
        f"{len(dimensions)} active dimensions" if encodings.active.any() else f"all {len(dimensions)} dimensions, none active,"
    )
    title = (
        f"{run}: traversals of the {which} by KL (nats, mean over {len(encodings):,} test images), "
        f"from {low:g} to {high:g}, from the posterior mean of {subject}; pictures are E[x|z]{_notes(model, factor)}"
    )
    sides = tuple(f"z[{dimension}]  KL {encodings.kl_per_dimension[dimension]:.2f}" for dimension in dimensions)
    return Sheet(title, pictures, steps, _labels(low, high, steps), sides)


def interpolation_points(
    start: Float32[np.ndarray, " latent"], end: Float32[np.ndarray, " latent"], steps: int, path: Path
) -> Points:
    """``steps`` points from ``start`` to ``end``, both included."""
    return interpolate(torch.tensor(start), torch.tensor(end), steps, path).numpy()


def interpolation_title(run: str, path: Path, subjects: tuple[str, str]) -> str:
    """The caption of an interpolation between two subjects."""
    return f"{run}: {path} interpolation between the posterior means of {subjects[0]} and {subjects[1]}"


def interpolation_sheet(
    run: str,
    model: VAE,
    start: Float32[np.ndarray, " latent"],
    end: Float32[np.ndarray, " latent"],
    steps: int,
    path: Path,
    subjects: tuple[str, str],
) -> Sheet:
    """The way from one point to another; the columns are labelled with t, 0 at the start and 1 at the end.

    Raises:
        ValueError: a point that isn't finite.
    """
    pictures, factor = decoded(model, interpolation_points(start, end, steps, path))
    title = f"{interpolation_title(run, path, subjects)}; pictures are E[x|z]{_notes(model, factor)}"
    return Sheet(title, pictures, steps, tuple(f"t = {t:.2f}" for t in np.linspace(0, 1, steps)))


def interpolation_animation(
    run: str,
    model: VAE,
    start: Float32[np.ndarray, " latent"],
    end: Float32[np.ndarray, " latent"],
    frames: int,
    path: Path,
    subjects: tuple[str, str],
    kind: AnimationFormat = "gif",
    duration: int = 80,
) -> bytes:
    """The way from one point to another and back, for ever, each frame ``duration`` ms (see `draw_animation`).

    Raises:
        ValueError: a point that isn't finite, fewer than two frames, or another duration.
    """
    pictures, _ = decoded(model, interpolation_points(start, end, frames, path))
    return draw_animation(pictures, kind, duration, interpolation_title(run, path, subjects))


def _values(low: float, high: float, steps: int) -> Float32[np.ndarray, " steps"]:
    return np.linspace(low, high, steps).astype(np.float32)


def _labels(low: float, high: float, steps: int) -> tuple[str, ...]:
    return tuple(f"{value:.2f}" for value in np.linspace(low, high, steps) + 0.0)


def _notes(model: VAE, factor: int) -> str:
    """What a caption says where the pictures aren't the decoder's whole output."""
    channels = model.config.channels
    shown = 3 if channels >= 3 else 1
    notes = f" (sides divided by {factor})" if factor > 1 else ""
    return notes + (f" (the first {shown} of {channels} channels)" if shown < channels else "")
