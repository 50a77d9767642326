"""The frames of a scrubber: pictures along a line in latent space, with what is known of each. No Streamlit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from dashboard.components.latent_map.sprites import shrink
from dashboard.components.latent_sliders.strips import plan_strips

BUDGET_BYTES = 4_000_000
"""What the frames may take: there is one strip of them, so more than a slider's."""
OFF_MANIFOLD_HELP = (
    "Farther from the encoded images than this share of them lies from its own neighbours (mean distance to the 8 nearest, "
    "active dimensions). Trust the picture less above 95%."
)


@dataclass(frozen=True, eq=False)
class Reading:
    """A number between 0 and 100 for each frame, shown with a meter."""

    name: str
    values: Float32[np.ndarray, " steps"]
    help: str
    """What it means, in a sentence."""
    limited: bool = False
    """Whether the meter warns above 95."""


@dataclass(frozen=True, eq=False)
class Frames:
    """What the scrubber needs. The frames may be smaller than the model's images (`plan_frames`)."""

    generation: int
    """Counts the sets of frames: a later set has a higher number."""
    points: Float32[np.ndarray, "steps latent"]
    """What the frames are decoded from; stays on the server."""
    frames: UInt8[np.ndarray, "steps channels rows columns"]
    positions: Float32[np.ndarray, "steps 2"] | None
    """Where each frame lies on the map, approximately; None without a map."""
    percentiles: Float32[np.ndarray, " steps"]
    """How far off the manifold each is: `vae.off_manifold`."""
    labels: tuple[str, ...]
    """What each frame is, in words."""
    stops: tuple[tuple[int, str], ...]
    """Frames that have a name of their own, marked on the track; rising."""
    readings: tuple[Reading, ...]
    start: int = 0
    """Where the thumb stands at first."""


def plan_frames(image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """How many frames there are, and the side of the square of pixels that becomes one in a frame."""
    return plan_strips(image_shape, 1, BUDGET_BYTES)


def make_frames(
    generation: int,
    points: Float32[np.ndarray, "steps latent"],
    pictures: UInt8[np.ndarray, "steps channels height width"],
    positions: Float32[np.ndarray, "steps 2"] | None,
    percentiles: Float32[np.ndarray, " steps"],
    labels: tuple[str, ...],
    stops: tuple[tuple[int, str], ...],
    readings: tuple[Reading, ...] = (),
    start: int = 0,
    block: int = 1,
) -> Frames:
    """The frames of decoded ``pictures``, made smaller by ``block``; the first reading is how far off the manifold they are.

    Raises:
        ValueError: fewer than two frames, parts of different lengths, or stops and a start that aren't among them.
    """
    count = len(points)
    lengths = [len(pictures), len(percentiles), len(labels), *(len(reading.values) for reading in readings)]
    lengths += [] if positions is None else [len(positions)]
    if count < 2 or set(lengths) != {count}:
        raise ValueError(f"{count} points (at least 2) need as many pictures, numbers and labels, got {lengths}")
    if not all(0 <= step < count for step in (start, *(step for step, _ in stops))):
        raise ValueError(f"stops and start must be frames from 0 to {count - 1}")
    first = Reading("Off-manifold", percentiles, OFF_MANIFOLD_HELP, limited=True)
    small = np.ascontiguousarray(shrink(pictures, block))
    return Frames(generation, points, small, positions, percentiles, labels, stops, (first, *readings), start)
