"""A slider over one filmstrip: the decoded frame, what is known of it and its place on the map follow the thumb.

The browser holds all frames, so a drag asks the server for nothing. When the thumb is let go, one commit names the frame
(`read_step`); the frames stay the same, so nothing is sent back. On ``document`` the scrubber tells the map where the frame
lies, as the sliders do: ``latent:preview``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import streamlit as st

from dashboard.components.frames import array_frame
from dashboard.components.scrubber.frames import Frames, Reading, make_frames, plan_frames

__all__ = ["Frames", "Reading", "make_frames", "plan_frames", "read_step", "scrubber"]

_HERE = Path(__file__).parent
_SLIDERS = _HERE.parent / "latent_sliders"
# NOTE: one script in the end, so these files share their names and import nothing; the last one has the entry.
_SCRIPTS = (*(_SLIDERS / name for name in ("../frames.js", "dom.js", "strips.js", "paint.js")), _HERE / "scrubber.js")
_STYLES = (_SLIDERS / "../picture.css", _SLIDERS / "latent_sliders.css", _HERE / "scrubber.css")

_component = st.components.v2.component(
    "scrubber",
    css="\n".join(path.read_text("utf-8") for path in _STYLES),
    js="\n".join(path.read_text("utf-8") for path in _SCRIPTS),
)


def read_step(key: str, frames: Frames) -> int:
    """The frame at which the thumb of the scrubber of that key was let go last; where it began, if that makes no sense or
    is about other frames."""
    state = st.session_state.get(key)
    commit = state.get("commit") if isinstance(state, Mapping) else None
    return parse_step(commit, frames)


def parse_step(commit: object, frames: Frames) -> int:
    """The frame that a commit names; where the thumb began, if it names none of these frames."""
    if not isinstance(commit, Mapping) or set(commit) != {"generation", "step"}:
        return frames.start
    generation, step = commit["generation"], commit["step"]
    if not _is_whole(generation) or generation != frames.generation or not _is_whole(step):
        return frames.start
    return int(step) if 0 <= step < len(frames.frames) else frames.start


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def scrubber(frames: Frames, *, key: str, instance: str, run: str, name: str) -> None:
    """Show the frames.

    Args:
        frames: the same object at every run, until there are others: their ``generation`` must then be higher.
        key: the component's own, for `read_step`.
        instance: the key of the map that follows, if there is one.
        run: the digest of the weights.
        name: of the slider, for those who don't see what it moves.
    """
    header = {
        "instance": instance,
        "run": run,
        "generation": frames.generation,
        "name": name,
        "start": frames.start,
        "labels": list(frames.labels),
        "stops": [list(stop) for stop in frames.stops],
        "readings": [
            {"name": reading.name, "help": reading.help, "limited": reading.limited, "array": f"reading{number}"}
            for number, reading in enumerate(frames.readings)
        ],
        "dimensions": [0],
        "steps": len(frames.frames),
        "image": list(frames.frames.shape[1:]),
        "preview": list(frames.frames.shape[1:]),
    }
    arrays: dict[str, np.ndarray] = {"percentiles": frames.percentiles, "frames": frames.frames}
    arrays |= {f"reading{number}": reading.values for number, reading in enumerate(frames.readings)}
    if frames.positions is not None:
        arrays["positions"] = frames.positions
    _component(key=key, data=array_frame(header, arrays), on_commit_change=_nothing)


def _nothing() -> None:
    """Declares the state ``commit``; the page reads it with `read_step`."""
