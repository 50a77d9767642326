"""Moving in latent space: the prior, traversals, interpolations, and the pictures that points decode to.

Pure functions: nothing here changes its arguments, keeps state or draws from a random stream that isn't given to it.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from vae.model import VAE

Path = Literal["linear", "spherical"]
DECODE_BATCH = 1024


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


@torch.no_grad()
def decode_images(model: VAE, z: Float32[np.ndarray, "count latent"]) -> Float32[np.ndarray, "count channels height width"]:
    """``E[x|z]`` of each point, in [0, 1], by the model in evaluation mode on the device it is on.

    Raises:
        ValueError: points that aren't finite or aren't ``(count, latent)``.
    """
    if z.ndim != 2 or z.shape[1] != model.config.latent or not np.isfinite(z).all():
        raise ValueError(f"z must be finite and of shape (count, {model.config.latent}), got shape {z.shape}")
    device = next(model.parameters()).device
    points = torch.tensor(z, dtype=torch.float32, device=device)
    decoded = [model.likelihood.mean(model.decode(batch)).cpu() for batch in torch.split(points, DECODE_BATCH)]
    empty = torch.empty(0, *model.config.image_shape)
    return np.asarray(torch.cat(decoded) if decoded else empty)
