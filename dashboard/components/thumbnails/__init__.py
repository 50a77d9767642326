"""Pictures to choose from: a row of small images, each a button that a click, a key or a finger presses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import streamlit as st
from jaxtyping import UInt8

from dashboard.components.latent_map.frames import frame, pack

__all__ = ["picked_index", "thumbnails"]

_HERE = Path(__file__).parent
_SCRIPTS = (_HERE.parent / "latent_map" / "feed.js", _HERE.parent / "latent_map" / "geometry.js", _HERE / "thumbnails.js")

_component = st.components.v2.component(
    "thumbnails",
    css=(_HERE / "thumbnails.css").read_text("utf-8"),
    js="\n".join(path.read_text("utf-8") for path in _SCRIPTS),
)


def thumbnails(
    images: UInt8[np.ndarray, "count channels height width"],
    captions: Sequence[str],
    *,
    key: str,
    names: Sequence[str],
    on_pick: Callable[[int], None],
    size: int = 48,
) -> None:
    """A row of pictures that wraps where it has no room.

    Args:
        images: what to show: grey, or the first three channels as red, green and blue.
        captions: a few characters below each picture.
        key: the component's own.
        names: what each button is called for those who don't see it, such as "Image 12, Coat".
        on_pick: called with the index of the picture that was pressed, before the page or fragment runs again.
        size: the width of a picture in pixels.

    Raises:
        ValueError: not as many captions or names as images.
    """
    if not len(images) == len(captions) == len(names):
        raise ValueError(f"{len(images)} images need as many captions and names, got {len(captions)} and {len(names)}")
    table, body = pack({"pixels": images})
    head = {"shape": list(images.shape), "captions": list(captions), "names": list(names), "size": size, "arrays": table}

    def pick() -> None:
        index = picked_index(st.session_state.get(key), len(images))
        if index is not None:
            on_pick(index)

    _component(key=key, data=frame(head, body), on_picked_change=pick)


def picked_index(state: object, count: int) -> int | None:
    """The index of the picture that was pressed, or None: what a browser sends is checked like any input."""
    index = state.get("picked") if isinstance(state, Mapping) else None
    whole = isinstance(index, int) and not isinstance(index, bool)
    return index if whole and 0 <= index < count else None  # type: ignore[operator]
