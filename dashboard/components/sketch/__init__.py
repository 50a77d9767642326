"""Two ways for a picture to come in without a file: a canvas of the model's own size to draw on, and the clipboard.

What the browser sends is input from outside: a drawing is bytes of exactly the model's shape, a pasted picture at most
`MAX_BYTES`, or it is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import streamlit as st
from jaxtyping import UInt8

from dashboard.components.frames import array_frame
from vae.images import MAX_BYTES

__all__ = ["parse_drawing", "parse_paste", "paste_button", "sketch"]

_HERE = Path(__file__).parent
_SLIDERS = _HERE.parent / "latent_sliders"
_CSS = (_HERE / "sketch.css").read_text("utf-8")
_SHARED = "\n".join(path.read_text("utf-8") for path in (_SLIDERS / "../frames.js", _SLIDERS / "dom.js", _HERE / "base64.js"))
_sketch = st.components.v2.component("sketch", css=_CSS, js=f"{_SHARED}\n{(_HERE / 'sketch.js').read_text('utf-8')}")
_paste = st.components.v2.component("paste", css=_CSS, js=f"{_SHARED}\n{(_HERE / 'paste.js').read_text('utf-8')}")


def sketch(base: UInt8[np.ndarray, "channels height width"], *, key: str) -> UInt8[np.ndarray, "channels height width"]:
    """A canvas that begins as ``base``, and what has been drawn there by the last stroke's end. Another base starts over."""
    name = hashlib.blake2b(repr(base.shape).encode() + base.tobytes(), digest_size=8).hexdigest()
    head = {"base": name, "channels": base.shape[0], "height": base.shape[1], "width": base.shape[2]}
    _sketch(key=key, data=array_frame(head, {"pixels": base}), on_drawing_change=lambda: None)
    state = st.session_state.get(key)
    drawn = parse_drawing(state.get("drawing") if isinstance(state, Mapping) else None, name, base.shape)
    return base if drawn is None else drawn


def parse_drawing(value: object, base: str, shape: tuple[int, ...]) -> UInt8[np.ndarray, "channels height width"] | None:
    """The pixels that a browser sent for a canvas that began as ``base``, or None for anything else."""
    if not isinstance(value, Mapping) or value.get("base") != base:
        return None
    data = _decoded(value.get("pixels"), int(np.prod(shape)))
    return None if data is None or len(data) != np.prod(shape) else np.frombuffer(data, dtype=np.uint8).reshape(shape)


def paste_button(*, key: str) -> bytes | None:
    """A button that takes the picture in the clipboard, as the keys for paste do anywhere on the page; the bytes of the last
    one, or None."""
    _paste(key=key, data={"most": MAX_BYTES}, on_pasted_change=lambda: None)
    state = st.session_state.get(key)
    return parse_paste(state.get("pasted") if isinstance(state, Mapping) else None)


def parse_paste(value: object) -> bytes | None:
    """The bytes of a pasted picture, which may be any; None where there is none, or more than `MAX_BYTES`."""
    return _decoded(value, MAX_BYTES) if value else None


def _decoded(text: object, most: int) -> bytes | None:
    if not isinstance(text, str) or len(text) > 4 * (most + 2) // 3 + 4:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
