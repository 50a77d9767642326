"""Sliders that decode while they are dragged: all that moves during a drag lives in this one component.

The server sends filmstrips (`build_strips`); the browser draws the frame under the thumb and sends nothing until the
thumb is let go. Then one commit comes (`read_commit`), and the page answers it with strips of a higher generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import streamlit as st
from jaxtyping import Float32, UInt8

from dashboard.components.frames import array_frame
from dashboard.components.latent_sliders.commit import Action, SlidersCommit, parse_commit
from dashboard.components.latent_sliders.history import History
from dashboard.components.latent_sliders.strips import (
    BUDGET_BYTES,
    GROUPS,
    Group,
    Strips,
    build_strips,
    open_dimensions,
    slider_groups,
    slider_ranges,
    steps_in_a_crowd,
)
from vae import Encodings

__all__ = [
    "BUDGET_BYTES",
    "GROUPS",
    "Action",
    "Group",
    "History",
    "SlidersCommit",
    "Strips",
    "build_strips",
    "latent_sliders",
    "open_dimensions",
    "read_commit",
    "slider_groups",
    "slider_ranges",
    "steps_in_a_crowd",
]

_HERE = Path(__file__).parent
# NOTE: one script in the end, so these files share their names and import nothing; the last one has the entry.
_SCRIPTS = ("../frames.js", "dom.js", "strips.js", "paint.js", "commits.js", "slider.js", "view.js", "latent_sliders.js")

_component = st.components.v2.component(
    "latent_sliders",
    css="\n".join((_HERE / name).read_text("utf-8") for name in ("../picture.css", "latent_sliders.css")),
    js="\n".join((_HERE / name).read_text("utf-8") for name in _SCRIPTS),
)


def read_commit(
    key: str, generation: int, low: Float32[np.ndarray, " latent"], high: Float32[np.ndarray, " latent"]
) -> SlidersCommit | None:
    """What was done with the sliders of that key since the strips of ``generation`` went out, or None.

    Call it before new strips are built. ``low`` and ``high`` are those of the strips, or `slider_ranges` of the same point.
    A commit is read once: its answer has another generation. Each must be answered, even if the point stays as it is.
    """
    state = st.session_state.get(key)
    value = state.get("commit") if isinstance(state, Mapping) else None
    return parse_commit(value, generation, low, high)


def latent_sliders(
    strips: Strips,
    encodings: Encodings,
    *,
    key: str,
    instance: str,
    run: str,
    subject: str,
    original: UInt8[np.ndarray, "channels height width"] | None,
    row: int | None = None,
    answers: int | None = None,
    can_undo: bool = False,
    can_redo: bool = False,
) -> None:
    """Show the sliders with their pictures, meter and buttons.

    Args:
        strips: what the browser needs to answer a drag.
        encodings: of the run: the sliders' order, their KL and the aggregate posterior come from it.
        key: the component's own, for `read_commit`.
        instance: names the map and the sliders that belong together; another for each session, because generations
            start anew with a session.
        run: the digest of the weights.
        subject: a few words that name the image that is looked at.
        original: that image; None where the point belongs to none.
        row: its row in the test set, if it has one.
        answers: the ``sequence`` of the commit that these strips answer; None where they answer none.
        can_undo: whether there is something to undo.
        can_redo: whether there is something to redo.
    """
    groups = slider_groups(encodings)
    header = {
        "instance": instance,
        "run": run,
        "generation": strips.generation,
        "answers": answers,
        "subject": subject,
        "row": row,
        "canUndo": can_undo,
        "canRedo": can_redo,
        "groups": {name: dimensions.tolist() for name, dimensions in groups.items()},
        "anyActive": bool(encodings.active.any()),
        "dimensions": strips.dimensions.tolist(),
        "steps": strips.values.shape[1],
        "image": list(strips.settled.shape),
        "preview": list(strips.frames.shape[2:]),
    }
    arrays = {
        "z": strips.z,
        "low": strips.low,
        "high": strips.high,
        "kl": encodings.kl_per_dimension.astype(np.float32),
        "mean": encodings.aggregate_mean.astype(np.float32),
        "std": encodings.aggregate_std.astype(np.float32),
        "values": strips.values,
        "percentiles": strips.percentiles,
        "frames": strips.frames,
    }
    optional = {"encoded": strips.encoded, "positions": strips.positions, "original": original}
    arrays |= {name: array for name, array in optional.items() if array is not None}
    if strips.frames.shape[2:] != strips.settled.shape:
        arrays["settled"] = strips.settled
    _component(key=key, data=array_frame(header, arrays), on_commit_change=_nothing)


def _nothing() -> None:
    """Declares the state ``commit``; the page reads it with `read_commit`."""
