"""Filmstrips for the sliders: every frame that one drag could ask for, where it lies on the map, how far off the manifold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from vae import (
    NEIGHBORS,
    VAE,
    Encodings,
    anchored_steps,
    decode_images,
    filmstrip,
    filmstrip_points,
    nearest,
    off_manifold,
    place_among,
)

Group = Literal["more", "inactive"]
GROUPS: tuple[Group, ...] = get_args(Group)
"""What can be unfolded below the first sliders: further active dimensions, inactive ones."""
FIRST = 8
"""How many dimensions are open from the start."""
RANGE_STDS = 4.0
"""How far a slider reaches from the aggregate posterior's mean, in its standard deviations."""

STEPS = 61
STEPS_IN_A_CROWD = 21
"""What is left of them, at least, where many visitors ask at once."""
AT_ONCE = 4
"""How many sets of strips a second are made in full."""
MIN_STEPS = 17
"""Before a strip gets fewer steps than this, its frames get smaller."""
BUDGET_BYTES = 1_000_000
"""What the frames of all strips together may take."""
BUDGET_PIXELS = 4_000_000
"""How many pixels are decoded for one set of strips, as long as there are `MIN_STEPS`."""


@dataclass(frozen=True, eq=False)
class Strips:
    """What the sliders need to answer a drag without the server. The current point is one of the steps of every strip."""

    generation: int
    """Counts the sets of strips: a later set has a higher number."""
    z: Float32[np.ndarray, " latent"]
    encoded: Float32[np.ndarray, " latent"] | None
    """The posterior mean of the image that is looked at; None without one."""
    low: Float32[np.ndarray, " latent"]
    high: Float32[np.ndarray, " latent"]
    dimensions: Int64[np.ndarray, " count"]
    """The dimensions that have a strip."""
    values: Float32[np.ndarray, "count steps"]
    frames: UInt8[np.ndarray, "count steps channels rows columns"]
    positions: Float32[np.ndarray, "count steps 2"] | None
    """Where each step lies on the map, approximately; None without a map."""
    percentiles: Float32[np.ndarray, "count steps"]
    """How far off the manifold each step is: `vae.off_manifold`."""
    settled: UInt8[np.ndarray, "channels height width"]
    """The current point's picture in full size."""


def slider_groups(encodings: Encodings) -> dict[Literal["first"] | Group, Int64[np.ndarray, " count"]]:
    """All dimensions, the strongest KL first, by where they stand: open from the start, further active ones, inactive ones.

    Where none is active (a collapsed posterior) the first ones are the strongest of all.
    """
    main = encodings.map_dimensions
    rest = [dimension for dimension in encodings.order.tolist() if dimension not in set(main.tolist())]
    return {"first": main[:FIRST], "more": main[FIRST:], "inactive": np.array(rest, dtype=np.int64)}


def open_dimensions(encodings: Encodings, unfolded: frozenset[Group]) -> Int64[np.ndarray, " count"]:
    """The dimensions that need a strip when these groups are unfolded."""
    groups = slider_groups(encodings)
    return np.concatenate([groups["first"], *(groups[name] for name in GROUPS if name in unfolded)])


def slider_ranges(
    encodings: Encodings, z: Float32[np.ndarray, " latent"], encoded: Float32[np.ndarray, " latent"] | None
) -> tuple[Float32[np.ndarray, " latent"], Float32[np.ndarray, " latent"]]:
    """The lowest and highest value of each slider: `RANGE_STDS` about the aggregate posterior's mean, wider where the
    current or the encoded value lies outside."""
    middle, reach = encodings.aggregate_mean, RANGE_STDS * encodings.aggregate_std
    inside = z if encoded is None else np.stack([z, encoded])
    inside = np.atleast_2d(inside).astype(np.float32)
    low = np.minimum((middle - reach).astype(np.float32), inside.min(axis=0))
    return low, np.maximum((middle + reach).astype(np.float32), inside.max(axis=0))


def steps_in_a_crowd(crowd: int) -> int:
    """How many steps a strip may have where so many sets of strips are asked for in a second: the time for `AT_ONCE` of them is
    shared, down to `STEPS_IN_A_CROWD`."""
    return max(STEPS_IN_A_CROWD, STEPS * AT_ONCE // max(AT_ONCE, crowd))


def plan_strips(
    image_shape: tuple[int, int, int], count: int, budget_bytes: int = BUDGET_BYTES, most: int = STEPS
) -> tuple[int, int]:
    """How many steps each of ``count`` strips has, and the side of the square of pixels that becomes one in a frame.

    As many steps as the budget allows, ``most`` at most; below `MIN_STEPS` the frames shrink instead.
    """
    channels, height, width = image_shape
    affordable = max(MIN_STEPS, BUDGET_PIXELS // (height * width * count))
    for block in (1, 2, 4, 8, 16, 32, 64):
        frame = channels * -(-height // block) * -(-width // block)
        steps = min(most, affordable, budget_bytes // (count * frame))
        if steps >= MIN_STEPS:
            return steps, block
    return max(2, steps), block


def build_strips(
    model: VAE,
    encodings: Encodings,
    z: Float32[np.ndarray, " latent"],
    dimensions: Int64[np.ndarray, " count"],
    *,
    generation: int,
    typical: Float32[np.ndarray, " samples"],
    encoded: Float32[np.ndarray, " latent"] | None = None,
    coordinates: Float32[np.ndarray, "n 2"] | None = None,
    budget_bytes: int = BUDGET_BYTES,
    most_steps: int = STEPS,
    precision: str = "fp32",
) -> Strips:
    """The strips of ``dimensions`` about ``z``, decoded in one batch and placed among the encoded images in one search.

    ``typical`` is `vae.typical_distances` of the run in its ``map_dimensions``; ``coordinates`` is its map, if it has one;
    ``most_steps`` is how many a strip may have, ``precision`` that of `vae.decode_images`.
    NOTE: hold the model's lock around this where visitors share the model.

    Raises:
        ValueError: a point that isn't finite, or a dimension that isn't there.
    """
    low, high = slider_ranges(encodings, z, encoded)
    steps, block = plan_strips(model.config.image_shape, len(dimensions), budget_bytes, most_steps)
    anchors = [z] if encoded is None else [z, encoded]
    values = np.stack(
        [anchored_steps(float(low[d]), float(high[d]), steps, [float(point[d]) for point in anchors]) for d in dimensions]
    )
    frames = filmstrip(model, z, dimensions, values, block, precision)
    if block == 1:
        settled = frames[0, int(np.flatnonzero(values[0] == z[dimensions[0]])[0])]
    else:
        settled = np.rint(decode_images(model, z[None], precision)[0] * 255).astype(np.uint8)
    used = encodings.map_dimensions
    points = filmstrip_points(z, dimensions, values)[:, used]
    among = encodings.reference_means
    rows, distances = nearest(points, among, min(NEIGHBORS, len(among)))
    places = None if coordinates is None else coordinates[encodings.reference]
    positions = None if places is None else place_among(rows, distances, places).reshape(*values.shape, 2)
    percentiles = off_manifold(distances, typical).reshape(values.shape)
    return Strips(generation, z, encoded, low, high, dimensions, values, frames, positions, percentiles, settled)
