"""ELBO curves that grow while q is refined, and the reconstructions under one slider once it is done.

The browser holds all steps, so moving the slider asks the server for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st
from jaxtyping import Float32, UInt8

from dashboard.components.frames import array_frame
from dashboard.components.latent_map.sprites import shrink
from vae.palette import PETROFF
from vae.single_image import STARTS

__all__ = ["BUDGET_BYTES", "Climb", "refinement_view"]

BUDGET_BYTES = 4_000_000
"""What all pictures together may take: above it they are shown smaller."""
COLOURS = (PETROFF[0], PETROFF[6])

_HERE = Path(__file__).parent
_SLIDERS = _HERE.parent / "latent_sliders"
# NOTE: one script in the end, so these files share their names and import nothing; the last one has the entry.
_SCRIPTS = (
    *(_SLIDERS / name for name in ("../frames.js", "dom.js", "strips.js", "paint.js", "../player.js")),
    *(_HERE / name for name in ("curve.js", "refinement.js")),
)

_component = st.components.v2.component(
    "refinement",
    css="\n".join((_HERE / name).read_text("utf-8") for name in ("../picture.css", "../player.css", "refinement.css")),
    js="\n".join(path.read_text("utf-8") for path in _SCRIPTS),
)


@dataclass(frozen=True, eq=False)
class Climb:
    """What the component shows: one curve and one row of pictures for each of `vae.single_image.STARTS`."""

    generation: int
    """Counts the refinements: a later one has a higher number."""
    steps: tuple[int, ...]
    """The steps of the curves' points, rising from 0."""
    end: int
    """The last step that there will be."""
    draws: int
    """How many draws of z each point of the curves is a mean of."""
    elbo: Float32[np.ndarray, "starts points"]
    """In nats."""
    pictured: tuple[int, ...]
    """The steps that have pictures, rising; while it runs the last one alone."""
    pictures: UInt8[np.ndarray, "pictured starts channels height width"]
    original: UInt8[np.ndarray, "channels height width"]

    @property
    def block(self) -> int:
        """The side of the square of pixels that becomes one, so that the pictures fit `BUDGET_BYTES`."""
        *counts, height, width = self.pictures.shape
        planes = int(np.prod(counts))
        return next((b for b in (1, 2, 4, 8, 16, 32) if planes * -(-height // b) * -(-width // b) <= BUDGET_BYTES), 64)


def refinement_view(climb: Climb, *, key: str) -> None:
    """Show the refinement, as far as it has come, at its last step until the slider is moved."""
    flat = climb.pictures.reshape(-1, *climb.pictures.shape[2:])
    small = np.ascontiguousarray(shrink(flat, climb.block))
    original = np.ascontiguousarray(shrink(climb.original[None], climb.block))
    header = {
        "generation": climb.generation,
        "names": [f"from {start}" for start in STARTS],
        "colours": list(COLOURS),
        "steps": list(climb.steps),
        "end": climb.end,
        "draws": climb.draws,
        "pictured": list(climb.pictured),
        "dimensions": [],
        "image": list(original.shape[1:]),
        "preview": list(small.shape[1:]),
    }
    _component(key=key, data=array_frame(header, {"elbo": climb.elbo, "pictures": small, "original": original}))
