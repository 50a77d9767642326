"""The point that decodes closest to an image, found without the encoder: does the encoder fail on it, or the decoder?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from vae.device import to_unit
from vae.likelihood import Likelihood
from vae.objective import Decode

STEPS, RATE = 150, 0.1
Fault = Literal["neither", "encoder", "decoder"]


@dataclass(frozen=True, eq=False)
class Match:
    """The best point found for one image, and the encoder's mean beside it. Errors are squared, in [0, 1]² per pixel."""

    z: Float32[np.ndarray, " latent"]
    picture: Float32[np.ndarray, "channels height width"]
    """``E[x|z]`` at it."""
    log_prob: float
    """``log p(x|z)`` at it, in nats."""
    encoder_log_prob: float
    """The same at the encoder's mean."""
    squared_error: float
    encoder_squared_error: float
    distance: float
    """From the encoder's mean to it, in standard deviations of q(z|x), root mean square over the latent dimensions given."""

    def fault(self, limit: float) -> Fault:
        """What fails, where a squared error above ``limit`` is too much: the encoder if only its own point misses the image,
        the decoder if no point that was found draws it."""
        if self.encoder_squared_error <= limit:
            return "neither"
        return "encoder" if self.squared_error <= limit else "decoder"


def find_match(
    decode: Decode,
    likelihood: Likelihood,
    image: UInt8[np.ndarray, "channels height width"],
    starts: Float32[np.ndarray, "starts latent"],
    std: Float32[np.ndarray, " latent"],
    dimensions: np.ndarray,
    steps: int = STEPS,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Match:
    """Climb ``log p(x|z)`` in z from several starts at once (Adam; the rate falls linearly to 0 over the last half) and keep
    the best point met. The prior has no say: the question is what the decoder can draw.

    Args:
        starts: the first is the encoder's posterior mean; others keep a poor one from being the only way in.
        std: the encoder's standard deviations, for `Match.distance`, which is taken over ``dimensions``.

    Raises:
        FloatingPointError: ``log p(x|z)`` is not finite at the encoder's mean.
    """
    x = to_unit(torch.tensor(image[None], device=device)).expand(len(starts), -1, -1, -1)
    z = torch.tensor(starts, device=device, requires_grad=True)
    optimizer = torch.optim.Adam([z], lr=RATE, betas=(0.9, 0.99))
    best, at, first = -np.inf, starts[0], np.nan
    for step in range(steps + 1):
        with torch.enable_grad():
            value = likelihood.log_prob(decode(z), x)
            (z.grad,) = torch.autograd.grad(-value.sum(), [z])
        found = value.detach().nan_to_num(-np.inf)
        if step == 0:
            first = float(value.detach()[0])
            if not np.isfinite(first):
                raise FloatingPointError("log p(x|z) is not finite at the encoder's mean: there is nothing to climb")
        row = int(found.argmax())
        if float(found[row]) > best:
            best, at = float(found[row]), np.asarray(z[row].detach().cpu()).copy()
        optimizer.param_groups[0]["lr"] = RATE * min(1.0, 2 * (1 - step / steps))
        optimizer.step()
        if progress:
            progress(step, steps)
    pictures = _pictures(decode, likelihood, np.stack([starts[0], at]), device)
    errors = np.square(pictures - image / np.float32(255)).mean(axis=(1, 2, 3))
    apart = np.square((at - starts[0])[dimensions] / std[dimensions]).mean()
    return Match(at, pictures[1], best, first, float(errors[1]), float(errors[0]), float(np.sqrt(apart)))


@torch.no_grad()
def _pictures(decode: Decode, likelihood: Likelihood, z: np.ndarray, device: torch.device | str) -> np.ndarray:
    found: Tensor = likelihood.mean(decode(torch.tensor(z, device=device)))
    return np.asarray(found.cpu())
