"""Moving in latent space: the prior, traversals, interpolations, and the pictures that points decode to.

Pure functions: nothing here changes its arguments, keeps state or draws from a random stream that isn't given to it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from vae.device import precision_context
from vae.model import VAE

Path = Literal["linear", "spherical"]
DECODE_PIXELS = 2**22
"""How many pixels are decoded at once on an accelerator, so that large images don't fill its memory."""
DECODE_PIXELS_CPU = 2**19
"""The same on a processor. Measured on two cores with 28 x 28 pixels: the strips of eight sliders take as long in one batch as
in three alone on the machine, and a tenth less beside a browser, since threads wait for each other a third as often."""


def sample_prior(count: int, latent: int, generator: torch.Generator) -> Float[Tensor, "count latent"]:
    """``count`` draws of ``z ~ N(0, I)``."""
    return torch.randn(count, latent, generator=generator)


def traverse(z: Float[Tensor, " latent"], dimension: int, values: Float[Tensor, " steps"]) -> Float[Tensor, "steps latent"]:
    """Copies of ``z`` in which one dimension takes each of ``values``; ``z`` itself is left as it is."""
    if not 0 <= dimension < len(z):
        raise ValueError(f"dimension must be from 0 to {len(z) - 1}, got {dimension}")
    points = z.repeat(len(values), 1)
    points[:, dimension] = values
    return points


def interpolate(
    start: Float[Tensor, " latent"], end: Float[Tensor, " latent"], steps: int, path: Path = "linear"
) -> Float[Tensor, "steps latent"]:
    """``steps`` points from ``start`` to ``end``, both included.

    ``spherical`` turns the direction at a constant rate and moves the length linearly (after Shoemake 1985; White 2016);
    where the two point the same way, or exactly opposite ways, or one is zero, there is no such turn and the path is linear.
    """
    if steps < 2:
        raise ValueError(f"steps must be at least 2, to hit both ends, got {steps}")
    t = torch.linspace(0, 1, steps, dtype=start.dtype, device=start.device)[:, None]
    straight: Tensor = (1 - t) * start + t * end
    if path == "linear":
        return straight
    lengths = start.norm(), end.norm()
    if min(lengths) == 0:
        return straight
    first, last = start / lengths[0], end / lengths[1]
    # NOTE: atan2 of difference and sum keeps its digits where acos of the dot product loses them: near 0 and pi.
    angle = 2 * torch.atan2((first - last).norm(), (first + last).norm())
    if torch.sin(angle) < 1e-4:
        return straight
    direction = (torch.sin((1 - t) * angle) * first + torch.sin(t * angle) * last) / torch.sin(angle)
    points: Tensor = direction * ((1 - t) * lengths[0] + t * lengths[1])
    points[0], points[-1] = start, end
    return points


def interpolate_through(
    stops: Float32[np.ndarray, "stops latent"], steps: int, path: Path = "linear"
) -> Float32[np.ndarray, "points latent"]:
    """A path from stop to stop: `interpolate` with ``steps`` points on each leg, a stop between two legs counted once.

    Point ``(steps - 1) * i`` is stop ``i``, to the bit.

    Raises:
        ValueError: fewer than two stops, one that isn't finite, or fewer than two steps.
    """
    if len(stops) < 2 or not np.isfinite(stops).all():
        raise ValueError(f"an interpolation needs at least two stops, all finite, got {len(stops)}")
    ends = torch.tensor(stops)
    legs = [interpolate(start, end, steps, path)[:-1] for start, end in itertools.pairwise(ends)]
    return np.asarray(torch.cat([*legs, ends[-1:]]))


# --- pictures ------------------------------------------------------------------------------------------------------


def _points(model: VAE, z: Float32[np.ndarray, "count latent"]) -> tuple[Tensor, ...]:
    """The points on the model's device, in batches.

    Raises:
        ValueError: points that aren't finite or aren't ``(count, latent)``.
    """
    if z.ndim != 2 or z.shape[1] != model.config.latent or not np.isfinite(z).all():
        raise ValueError(f"z must be finite and of shape (count, {model.config.latent}), got shape {z.shape}")
    device = next(model.parameters()).device
    points = torch.tensor(z, dtype=torch.float32, device=device)
    pixels = DECODE_PIXELS_CPU if device.type == "cpu" else DECODE_PIXELS
    return torch.split(points, max(1, pixels // (model.config.height * model.config.width))) if len(points) else ()


def _means(model: VAE, z: Float32[np.ndarray, "count latent"], precision: str) -> Iterator[Tensor]:
    """``E[x|z]`` in fp32, batch by batch; the decoder runs in ``precision``."""
    for batch in _points(model, z):
        with precision_context(precision, batch.device):
            logits = model.decode(batch)
        yield model.likelihood.mean(logits)


@torch.no_grad()
def decode_images(
    model: VAE, z: Float32[np.ndarray, "count latent"], precision: str = "fp32"
) -> Float32[np.ndarray, "count channels height width"]:
    """``E[x|z]`` of each point, in [0, 1], by the model in evaluation mode on the device it is on.

    ``precision`` is that of the decoder: ``bf16`` where the device gains by it (`vae.device.precision_context`), else ``fp32``.

    Raises:
        ValueError: points that aren't finite or aren't ``(count, latent)``.
    """
    decoded = [pictures.cpu() for pictures in _means(model, z, precision)]
    empty = torch.empty(0, *model.config.image_shape)
    return np.asarray(torch.cat(decoded) if decoded else empty)


# --- filmstrips ----------------------------------------------------------------------------------------------------


def anchored_steps(low: float, high: float, steps: int, anchors: Sequence[float]) -> Float32[np.ndarray, " steps"]:
    """Rising values from ``low`` to ``high``, evenly spaced, but for the anchors: each takes the place of the value
    nearest to it, to the bit, so that it is one of the steps. Of two anchors nearest to the same value the first has it.

    Raises:
        ValueError: fewer than two steps, an empty range, or an anchor outside it.
    """
    if steps < 2 or not low < high:
        raise ValueError(f"steps must be at least 2 and low below high, got {steps} steps from {low} to {high}")
    if not all(low <= anchor <= high for anchor in anchors):
        raise ValueError(f"anchors must lie from {low} to {high}, got {list(anchors)}")
    values = np.linspace(low, high, steps).astype(np.float32)
    taken: set[int] = set()
    for anchor in anchors:
        step = round((anchor - low) / (high - low) * (steps - 1))
        if step not in taken:
            values[step] = anchor
            taken.add(step)
    return values


def filmstrip_points(
    z: Float32[np.ndarray, " latent"], dimensions: Int64[np.ndarray, " count"], values: Float32[np.ndarray, "count steps"]
) -> Float32[np.ndarray, "points latent"]:
    """Every point that a move of ``z`` along one of ``dimensions`` can reach: a row for each step of each, in order."""
    if len(dimensions) and not 0 <= dimensions.min() <= dimensions.max() < len(z):
        raise ValueError(f"dimensions must be from 0 to {len(z) - 1}, got {dimensions.tolist()}")
    points = np.broadcast_to(z, (*values.shape, len(z))).copy()
    points[np.arange(len(dimensions)), :, dimensions] = values
    return points.reshape(-1, len(z))


@torch.no_grad()
def filmstrip(
    model: VAE,
    z: Float32[np.ndarray, " latent"],
    dimensions: Int64[np.ndarray, " count"],
    values: Float32[np.ndarray, "count steps"],
    block: int = 1,
    precision: str = "fp32",
) -> UInt8[np.ndarray, "count steps channels rows columns"]:
    """The pictures that a move of ``z`` along one of ``dimensions`` can show, decoded at once: ``E[x|z]`` of every
    `filmstrip_points`, as bytes rounded to the nearest. ``block`` averages squares of that side into one pixel
    (those at the lower and right edges may be narrower). ``precision`` is that of `decode_images`.

    Raises:
        ValueError: a point that isn't finite, or a dimension that isn't there.
    """
    frames = []
    for pictures in _means(model, filmstrip_points(z, dimensions, values), precision):
        if block > 1:
            pictures = F.avg_pool2d(pictures, block, ceil_mode=True)
        frames.append((pictures * 255).round().to(torch.uint8).cpu())
    channels, height, width = model.config.image_shape
    shape = (*values.shape, channels, -(-height // block), -(-width // block))
    return np.asarray(torch.cat(frames).reshape(shape)) if frames else np.zeros(shape, dtype=np.uint8)
