"""Traversal: one dimension of an image's mean moved step by step, and all active dimensions at a glance."""

from __future__ import annotations

import math

import numpy as np
import streamlit as st
from jaxtyping import Float32, Int64

from dashboard.components.picture_grid import picture_grid
from dashboard.generate.downloads import offer_pictures
from dashboard.generate.shared import choose_row, decoded, keep, open_in_explore, remember, session_key
from dashboard.markdown import plain
from dashboard.resources import LoadedRun
from dashboard.state import Visit
from vae import Encodings, filmstrip_points

RANGES = {"offsets": "The offsets above", "std": "±2σ of all images", "extremes": "Min to max"}
RANGE_TITLES = {
    "offsets": "offsets {low} to {high} added to its own values",
    "std": "within two standard deviations of the aggregate posterior, whose ends stand at each row",
    "extremes": "from the lowest to the highest encoded mean, which stand at each row",
}
RANGE_HELP = (
    "The offsets are added to this image's own mean. ±2σ: two standard deviations of the aggregate posterior about its mean. "
    "Min to max: the lowest and highest encoded mean of all test images."
)
MAX_STEPS = 25
MAX_PIXELS = 8_000_000
"""How many pixels are decoded for the overview: of large images it shows fewer dimensions."""


def traversal(loaded: LoadedRun, visit: Visit) -> None:
    """Draw the section."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        row = choose_row(loaded, visit, "traversal-row", "Test image")
        dimension = _choose_dimension(loaded)
        steps, low, high = _choose_offsets(loaded)
    if low >= high:
        st.warning("The lowest offset must be below the highest one.")
        return
    offsets = np.linspace(low, high, steps).astype(np.float32)
    left, right = st.columns([2, 3], gap="large")
    with left:
        _one(loaded, visit, row, dimension, offsets)
    with right:
        _all(loaded, visit, row, offsets)


def _choose_dimension(loaded: LoadedRun) -> int:
    encodings = loaded.encodings
    order = encodings.order.tolist()
    key = keep(loaded, "traversal-dimension", order[0], order)
    name = "Dimension, the strongest KL first"
    st.selectbox(name, order, format_func=lambda dimension: _dimension_name(encodings, dimension), key=key, width=250)
    return int(st.session_state[key])


def _dimension_name(encodings: Encodings, dimension: int) -> str:
    inactive = "" if encodings.active[dimension] else ", inactive"
    return f"Dimension {dimension} (KL {encodings.kl_per_dimension[dimension]:.2f} nats{inactive})"


def _choose_offsets(loaded: LoadedRun) -> tuple[int, float, float]:
    """How many, the lowest, the highest."""
    steps, low, high = keep(loaded, "steps", 9), keep(loaded, "low", -1.0), keep(loaded, "high", 1.0)
    st.number_input("Steps", 2, MAX_STEPS, step=1, key=steps, width=130)
    st.number_input("Lowest offset", -10.0, 10.0, step=0.5, key=low, width=125)
    st.number_input("Highest offset", -10.0, 10.0, step=0.5, key=high, width=125)
    return int(st.session_state[steps]), float(st.session_state[low]), float(st.session_state[high])


def _one(loaded: LoadedRun, visit: Visit, row: int, dimension: int, offsets: Float32[np.ndarray, " steps"]) -> None:
    mean = loaded.encodings.mean[row]

    def make() -> tuple[np.ndarray, np.ndarray]:
        z = filmstrip_points(mean, np.array([dimension]), (mean[dimension] + offsets)[None])
        return z, decoded(loaded, z)

    z, pictures = remember(loaded, "traversal", (row, dimension, offsets.tobytes()), make)
    st.markdown(
        f"Offsets added to dimension {dimension} of the mean of {plain(loaded.subject(row).title)}, which is "
        f"{mean[dimension]:+.2f} there. Click one to open it in Explore."
    )
    captions = [_signed(offset) for offset in offsets]
    columns = math.ceil(math.sqrt(len(offsets)))
    subject = loaded.subject(row).title
    title = f"z[{dimension}] of the posterior mean of {subject}, offsets {captions[0]} to {captions[-1]}"
    chosen = picture_grid(
        pictures,
        key=session_key(loaded, "traversal-grid"),
        label=f"Traversal of dimension {dimension}",
        names=[f"Open offset {caption} of dimension {dimension} in Explore" for caption in captions],
        captions=captions,
        columns=columns,
        size=140,
    )
    name = f"traversal-{row}-dimension{dimension}"
    offer_pictures(loaded, name, z, captions, title=title, columns=columns, moves=True)
    if chosen is not None:
        open_in_explore(visit, row, z[chosen], "moved")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


# --- all of them ---------------------------------------------------------------------------------------------------


def _all(loaded: LoadedRun, visit: Visit, row: int, offsets: Float32[np.ndarray, " steps"]) -> None:
    encodings, mean = loaded.encodings, loaded.encodings.mean[row]
    key = keep(loaded, "traversal-range", "offsets", list(RANGES))
    st.segmented_control(
        "Range of the overview", list(RANGES), format_func=RANGES.__getitem__, required=True, key=key, help=RANGE_HELP
    )
    choice = st.session_state[key]
    channels, height, width = loaded.data.image_shape
    most = max(1, MAX_PIXELS // (channels * height * width * len(offsets)))
    every = encodings.map_dimensions
    dimensions = every[:most]
    values = traversal_values(encodings, mean, dimensions, offsets, choice)

    def make() -> tuple[np.ndarray, np.ndarray]:
        z = filmstrip_points(mean, dimensions, values)
        return z, decoded(loaded, z)

    z, pictures = remember(loaded, "overview", (row, values.tobytes()), make)
    which = (
        f"{len(dimensions)} active dimensions" if encodings.active.any() else f"{len(dimensions)} dimensions (none is active)"
    )
    which += f" of {len(every)}" if len(dimensions) < len(every) else ""
    st.markdown(f"**{which}**, the strongest KL first, {len(offsets)} values each; the others stay at the image's mean.")
    names = [f"dimension {d} at {_signed(value)}" for d, row_of in zip(dimensions, values, strict=True) for value in row_of]
    signed = tuple(_signed(offset) for offset in offsets)
    told = RANGE_TITLES[choice].format(low=signed[0], high=signed[-1])
    title = f"traversals of the posterior mean of {loaded.subject(row).title}, {told}"
    chosen = picture_grid(
        pictures,
        key=session_key(loaded, "overview-grid"),
        label="Traversals of the active dimensions",
        names=[f"Open {name} in Explore" for name in names],
        columns=len(offsets),
        row_titles=[f"dim {d}\n{encodings.kl_per_dimension[d]:.2f} nats" for d in dimensions],
        size=64,
    )
    offer_pictures(
        loaded,
        f"traversals-{row}-{choice}",
        z,
        names,
        title=title,
        columns=len(offsets),
        column_labels=signed if choice == "offsets" else (),
        row_labels=row_labels(encodings, dimensions, values, choice),
    )
    if chosen is not None:
        open_in_explore(visit, row, z[chosen], "moved")


def row_labels(
    encodings: Encodings, dimensions: Int64[np.ndarray, " count"], values: Float32[np.ndarray, "count steps"], choice: str
) -> tuple[str, ...]:
    """What stands at each row of the sheet: dimension, KL, and where each row has a range of its own, its ends."""
    labels = [f"{d} ({encodings.kl_per_dimension[d]:.2f} nats)" for d in dimensions]
    if choice == "offsets":
        return tuple(labels)
    return tuple(f"{label} {_signed(low)} to {_signed(high)}" for label, (low, *_, high) in zip(labels, values, strict=True))


def traversal_values(
    encodings: Encodings,
    mean: Float32[np.ndarray, " latent"],
    dimensions: Int64[np.ndarray, " count"],
    offsets: Float32[np.ndarray, " steps"],
    choice: str,
) -> Float32[np.ndarray, "count steps"]:
    """The values that each dimension takes: the offsets added to the mean, or as many even steps over a range of its own."""
    if choice == "offsets":
        return np.asarray(mean[dimensions, None] + offsets)
    if choice == "std":
        middle, reach = encodings.aggregate_mean[dimensions], 2 * encodings.aggregate_std[dimensions]
        low, high = middle - reach, middle + reach
    else:
        low, high = encodings.mean[:, dimensions].min(axis=0), encodings.mean[:, dimensions].max(axis=0)
    return np.linspace(low, high, len(offsets), axis=1).astype(np.float32)
