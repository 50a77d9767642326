"""Pictures in a grid, each a button with a name of its own: one message for all of them, and no picture is a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import streamlit as st
from jaxtyping import UInt8

from dashboard.components.frames import array_frame
from dashboard.components.latent_map.sprites import shrink

__all__ = ["BUDGET_BYTES", "parse_choice", "picture_grid"]

BUDGET_BYTES = 4_000_000
"""What the pictures of a grid may take: above it they are shown smaller."""

_HERE = Path(__file__).parent
_SLIDERS = _HERE.parent / "latent_sliders"
_SCRIPTS = (*(_SLIDERS / name for name in ("../frames.js", "dom.js", "strips.js", "paint.js")), _HERE / "picture_grid.js")

_component = st.components.v2.component(
    "picture_grid",
    css=(_HERE / "picture_grid.css").read_text("utf-8"),
    js="\n".join(path.read_text("utf-8") for path in _SCRIPTS),
)


def picture_grid(
    images: UInt8[np.ndarray, "count channels height width"],
    *,
    key: str,
    label: str,
    names: Sequence[str],
    captions: Sequence[str] = (),
    columns: int,
    row_titles: Sequence[str] = (),
    size: int = 112,
    on_choice: Callable[[int], None] | None = None,
) -> int | None:
    """Show the pictures, row by row.

    Args:
        label: of the grid as a whole.
        names: what a click on each does ("Open sample 3 in Explore"): read aloud, and shown under the pointer.
        captions: a few words under each, or none at all.
        columns: how many stand in a row.
        row_titles: a few words before each row, or none at all.
        size: how wide a picture is at most, in pixels.
        on_choice: called with the picture that was clicked, before the page's or fragment's run that the click causes.

    Returns:
        The picture that was clicked, once; else None.

    Raises:
        ValueError: another number of names, captions or row titles than pictures or rows.
    """
    count = len(images)
    rows = -(-count // columns)
    if len(names) != count or len(captions) not in (0, count) or len(row_titles) not in (0, rows):
        raise ValueError(f"{count} pictures in {rows} rows, got {len(names)} names, {len(captions)} captions")
    small = np.ascontiguousarray(shrink(images, preview_block(images.shape)))
    header = {
        "label": label,
        "names": list(names),
        "captions": list(captions),
        "columns": columns,
        "rowTitles": list(row_titles),
        "size": size,
        "dimensions": [],
        "image": list(images.shape[1:]),
        "preview": list(small.shape[1:]),
    }

    def chosen() -> int | None:
        state = st.session_state.get(key)
        return parse_choice(state.get("choice") if isinstance(state, Mapping) else None, count)

    def tell() -> None:
        choice = chosen()
        if choice is not None and on_choice is not None:
            on_choice(choice)

    _component(key=key, data=array_frame(header, {"frames": small}), on_choice_change=tell)
    return chosen()


def preview_block(shape: tuple[int, ...]) -> int:
    """The side of the square of pixels that becomes one, so that the pictures fit `BUDGET_BYTES`."""
    count, channels, height, width = shape
    for block in (1, 2, 4, 8, 16, 32):
        if count * channels * -(-height // block) * -(-width // block) <= BUDGET_BYTES:
            return block
    return 64


def parse_choice(value: object, count: int) -> int | None:
    """The number of a picture, or None: what a browser sends is checked like any input."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < count:
        return None
    return value
