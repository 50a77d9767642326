"""What a visitor has chosen, typed, and its mirror in the URL: run, image, latent point.

The URL carries ``run``, ``row`` (a test image), ``z`` (the dimensions in which the point differs from that image's mean,
rounded, as ``3:1.25,7:-0.4``) and ``w`` (the digest of the weights that they belong to). A value that makes no sense is
dropped and named in a note. An image from outside never gets into the URL.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import streamlit as st
from jaxtyping import Float32

from dashboard.resources import LoadedRun, Subject
from vae import list_runs

Origin = Literal["mean", "posterior", "prior", "moved", "link"]
MAX_ABS_Z = 20.0
DIGEST_LENGTH = 8
DECIMALS = 2


@dataclass
class Visit:
    """The state that pages share, one per visitor."""

    run: str
    row: int = 0
    outside: Subject | None = None
    """An image from outside that is looked at instead of ``row``."""
    z: Float32[np.ndarray, " latent"] | None = None
    """The current latent point; None stands for the posterior mean of the image that is looked at."""
    origin: Origin = "mean"
    start: tuple[Float32[np.ndarray, " latent"] | None, Origin] = (None, "mean")
    """Where dimensions were first moved from: what a reset returns to."""
    seed: int = 0
    """Counts the samples drawn, so that each is another and can be drawn again."""
    weights: str = ""
    """The weights that ``row`` and ``z`` belong to."""
    notes: list[str] = field(default_factory=list)
    """Sentences to show once."""

    def point(self, loaded: LoadedRun) -> Float32[np.ndarray, " latent"]:
        """The current latent point itself."""
        return self.subject(loaded).mean if self.z is None else self.z

    def subject(self, loaded: LoadedRun) -> Subject:
        """The image that is looked at."""
        return loaded.subject(self.row) if self.outside is None else self.outside

    def select(self, row: int) -> None:
        """Go to a test image, at its posterior mean."""
        self.row, self.outside = row, None
        self.go(None, "mean")

    def show(self, outside: Subject) -> None:
        """Go to an image from outside, at its posterior mean."""
        self.outside = outside
        self.go(None, "mean")

    def go(self, z: Float32[np.ndarray, " latent"] | None, origin: Origin) -> None:
        """Go to a point of latent space (None: the posterior mean), to which a reset will return."""
        self.z, self.origin = None if z is None else z.astype(np.float32), origin
        self.start = (self.z, self.origin)

    def move(self, z: Float32[np.ndarray, " latent"]) -> None:
        """Change dimensions of the current point."""
        self.z, self.origin = z.astype(np.float32), "moved"

    def reset(self) -> None:
        """Undo the changes of dimensions."""
        self.z, self.origin = self.start


def current_visit() -> Visit | None:
    """The visitor's state, read from the URL the first time; None where there is no run at all."""
    if "visit" not in st.session_state:
        names = list_runs()
        if not names:
            return None
        asked = st.query_params.get("run", "")
        preferred = "fashion-mnist" if "fashion-mnist" in names else names[0]
        visit = Visit(run=asked if asked in names else preferred)
        if asked and asked not in names:
            visit.notes.append(f"The link names a run that isn't here; showing {visit.run} instead.")
        st.session_state["visit"] = visit
    kept: Visit = st.session_state["visit"]
    return kept


def fit_to_run(visit: Visit, loaded: LoadedRun) -> None:
    """Make row and z fit the loaded run: taken from the URL on the first visit, from the start after a change of run."""
    if visit.weights == loaded.weights_digest:
        return
    first = not visit.weights
    visit.weights = loaded.weights_digest
    visit.select(0)
    if first:
        _read_url(visit, loaded)


def _read_url(visit: Visit, loaded: LoadedRun) -> None:
    row, z, weights = (st.query_params.get(key, "") for key in ("row", "z", "w"))
    if st.query_params.get("run", visit.run) != visit.run or not (row or z):
        return
    if weights and weights != loaded.weights_digest[:DIGEST_LENGTH]:
        visit.notes.append("The link was made with other weights of this run, so its image and point were dropped.")
        return
    if row:
        if row.isascii() and row.isdigit() and int(row[:12]) < len(loaded.data):
            visit.select(int(row))
        else:
            visit.notes.append(f"The link names an image that isn't there: rows go from 0 to {len(loaded.data) - 1:,}.")
    if z:
        point = _parse_point(z, loaded.encodings.mean[visit.row])
        if point is None:
            visit.notes.append("The link holds a latent point that doesn't fit this model, so it was dropped.")
        else:
            visit.go(point, "link")


def _parse_point(text: str, base: Float32[np.ndarray, " latent"]) -> Float32[np.ndarray, " latent"] | None:
    """``base`` with the dimensions that ``text`` names changed, or None if it isn't such a text."""
    point = base.astype(np.float32).copy()
    parts = text.split(",")
    if len(parts) > len(base):
        return None
    for part in parts:
        dimension, _, number = part.partition(":")
        try:
            value = float(number)
        except ValueError:
            return None
        known = dimension.isascii() and dimension.isdigit() and int(dimension[:6]) < len(base)
        if not known or not math.isfinite(value) or abs(value) > MAX_ABS_Z:
            return None
        point[int(dimension)] = value
    return point


def format_point(z: Float32[np.ndarray, " latent"], base: Float32[np.ndarray, " latent"]) -> str:
    """The dimensions in which ``z`` differs from ``base``, as the URL carries them."""
    changed = np.flatnonzero(np.abs(z - base) >= 0.5 * 10**-DECIMALS)
    return ",".join(f"{dimension}:{round(float(z[dimension]), DECIMALS):g}" for dimension in changed)


def write_url(visit: Visit, loaded: LoadedRun) -> None:
    """Mirror the state in the URL, so that a reload or a copied link opens the same view."""
    params = {"run": visit.run, "row": str(visit.row), "w": loaded.weights_digest[:DIGEST_LENGTH]}
    changed = format_point(visit.point(loaded), loaded.encodings.mean[visit.row])
    if changed:
        params["z"] = changed
    if st.query_params.to_dict() != params:
        st.query_params.from_dict(params)
