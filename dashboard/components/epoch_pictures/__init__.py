"""The pictures of every epoch under one slider: originals, their reconstructions, and prior samples, as the model learns.

The browser holds all epochs, so moving the slider asks the server for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st
from jaxtyping import UInt8

from dashboard.components.frames import array_frame
from dashboard.components.latent_map.sprites import shrink

__all__ = ["BUDGET_BYTES", "MAX_EPOCHS", "EpochPictures", "choose_epochs", "epoch_pictures"]

BUDGET_BYTES = 4_000_000
"""What all pictures together may take: above it they are shown smaller."""
MAX_EPOCHS = 60

_HERE = Path(__file__).parent
_SLIDERS = _HERE.parent / "latent_sliders"
_SCRIPTS = (
    *(_SLIDERS / name for name in ("../frames.js", "dom.js", "strips.js", "paint.js", "../player.js")),
    _HERE / "epoch_pictures.js",
)

_component = st.components.v2.component(
    "epoch_pictures",
    css="\n".join((_HERE / name).read_text("utf-8") for name in ("../picture.css", "../player.css", "epoch_pictures.css")),
    js="\n".join(path.read_text("utf-8") for path in _SCRIPTS),
)


@dataclass(frozen=True, eq=False)
class EpochPictures:
    """What the component shows. The pictures of an epoch are the same images and the same prior samples in every epoch."""

    epochs: tuple[int, ...]
    captions: tuple[str, ...]
    """What is said of each epoch."""
    originals: UInt8[np.ndarray, "n channels height width"] | None
    """The images that are reconstructed; None where they can't be had."""
    reconstructions: UInt8[np.ndarray, "epochs n channels height width"]
    samples: UInt8[np.ndarray, "epochs m channels height width"]

    @property
    def block(self) -> int:
        """The side of the square of pixels that becomes one, so that all of them fit `BUDGET_BYTES`."""
        *_, height, width = self.samples.shape
        area = (self.reconstructions.size + self.samples.size) // (height * width)
        blocks = (1, 2, 4, 8, 16, 32)
        return next((b for b in blocks if area * -(-height // b) * -(-width // b) <= BUDGET_BYTES), 64)


def choose_epochs(epochs: list[int], most: int = MAX_EPOCHS) -> list[int]:
    """At most so many of the epochs, evenly apart, with the first and the last."""
    if len(epochs) <= most:
        return epochs
    return [epochs[index] for index in np.unique(np.linspace(0, len(epochs) - 1, most).round().astype(int))]


def epoch_pictures(pictures: EpochPictures, *, key: str, run: str) -> None:
    """Show the pictures, at the last epoch until the slider is moved.

    Args:
        run: the run's name: the slider's place belongs to it.
    """
    block, rows = pictures.block, len(pictures.epochs)

    def small(images: np.ndarray) -> np.ndarray:
        flat = images.reshape(-1, *images.shape[-3:])
        return np.ascontiguousarray(shrink(flat, block))

    originals = np.zeros((0, *pictures.samples.shape[2:]), np.uint8) if pictures.originals is None else pictures.originals
    samples = small(pictures.samples)
    shape = list(samples.shape[1:])
    header = {
        "run": run,
        "epochs": list(pictures.epochs),
        "captions": list(pictures.captions),
        "counts": [len(originals), pictures.reconstructions.shape[1], pictures.samples.shape[1]],
        "dimensions": [],
        "steps": rows,
        "image": shape,
        "preview": shape,
    }
    arrays = {"reconstructions": small(pictures.reconstructions), "samples": samples}
    if len(originals):
        arrays["originals"] = small(originals)
    _component(key=key, data=array_frame(header, arrays))
