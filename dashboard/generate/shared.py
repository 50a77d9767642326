"""What the sections of the page Generate share: kept choices, the map, how points are read, opening something in Explore."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import streamlit as st
from jaxtyping import Float32, UInt8

from dashboard.pictures import to_uint8
from dashboard.resources import LoadedRun, ShownMap, Subject, find_map
from dashboard.state import Origin, Visit
from vae import (
    NEIGHBORS,
    generator_for,
    nearest,
    off_manifold,
    place_among,
    typical_mean_distances,
)

Thing = TypeVar("Thing")
EXPLORE = "views/explore.py"


def session_key(loaded: LoadedRun, name: str) -> str:
    """A key of this page in the session; each run has its own."""
    return f"generate-{loaded.weights_digest[:8]}-{name}"


def keep(loaded: LoadedRun, name: str, default: Any, options: Sequence[Any] | None = None) -> str:
    """The key for a widget, with its value in place: what it had when it was shown last, or ``default`` if it never was or
    had what is no longer one of ``options``. (Streamlit forgets the value of a widget that isn't drawn.)"""
    key = session_key(loaded, name)
    values = st.session_state.setdefault("generate-kept", {})
    value = st.session_state[key] if key in st.session_state else values.get(key, default)
    if options is not None and value not in options:
        value = default
    st.session_state[key] = values[key] = value
    return key


def remember(loaded: LoadedRun, name: str, question: Hashable, make: Callable[[], Thing]) -> Thing:
    """What ``make`` gives, made again only when the question changes; one answer is kept for each name."""
    key = session_key(loaded, f"made-{name}")
    if key not in st.session_state or st.session_state[key][0] != question:
        st.session_state[key] = (question, make())
    made: Thing = st.session_state[key][1]
    return made


def next_generation() -> int:
    """A number above all that this session had before."""
    st.session_state["generate-generation"] = st.session_state.get("generate-generation", 0) + 1
    return int(st.session_state["generate-generation"])


def instance_of(loaded: LoadedRun, section: str) -> str:
    """The key of a section's map, another for each session: generations start anew with a session."""
    life = st.session_state.setdefault("generate-life", time.time_ns())
    return session_key(loaded, f"map-{section}-{life}")


# --- how points are read -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Placed:
    """Points of latent space beside the encoded images."""

    positions: Float32[np.ndarray, "count 2"] | None
    """Where they lie on the map, approximately; None without a map."""
    percentiles: Float32[np.ndarray, " count"]
    """How far off the manifold they are (`vae.off_manifold`)."""


Reference = Literal["samples", "means"]
"""What a point's distance from the encoded images is compared with: that of samples of the aggregate posterior, for points
with noise in them, or that of encoded images from each other, for points without."""


def placed(loaded: LoadedRun, shown: ShownMap | None, z: Float32[np.ndarray, "count latent"], reference: Reference) -> Placed:
    """Place the points and tell how far off the manifold they are, from one search for their nearest encoded images."""
    encodings = loaded.encodings
    among = encodings.reference_means
    rows, distances = nearest(z[:, encodings.map_dimensions], among, min(NEIGHBORS, len(among)))
    positions = None if shown is None else place_among(rows, distances, shown.map.coordinates[encodings.reference])
    return Placed(positions, off_manifold(distances, _typical(loaded, reference)))


def flat_map(loaded: LoadedRun, visit: Visit) -> tuple[ShownMap | None, str]:
    """The map that is chosen on Explore, or the run's default where that one isn't flat; else None and why."""
    problem: str | None = None
    for asked in dict.fromkeys((visit.map, None)):
        shown, problem = find_map(loaded, asked)
        if shown is not None and shown.is_flat:
            return shown, ""
    return None, problem or "Make one in two dimensions."


def _typical(loaded: LoadedRun, reference: Reference) -> Float32[np.ndarray, " samples"]:
    return loaded.typical if reference == "samples" else _typical_means(loaded.run.path, loaded.weights_digest, loaded)


@st.cache_resource(max_entries=8, show_spinner=False)
def _typical_means(path: Path, weights_digest: str, _loaded: LoadedRun) -> Float32[np.ndarray, " samples"]:
    del path, weights_digest  # the cache's key
    return typical_mean_distances(_loaded.encodings.reference_means, generator_for(0, "view"))


def decoded(loaded: LoadedRun, z: Float32[np.ndarray, "count latent"]) -> UInt8[np.ndarray, "count channels height width"]:
    """The pictures of the points, as bytes."""
    return to_uint8(loaded.decode(z))


# --- widgets -------------------------------------------------------------------------------------------------------


def choose_row(loaded: LoadedRun, visit: Visit, name: str, label: str, help_text: str | None = None) -> int:
    """A test image, by its row or at random; at first the one that is looked at on Explore."""
    last = len(loaded.data) - 1
    key = keep(loaded, name, min(visit.row, last))

    def random() -> None:
        st.session_state[key] = int(np.random.default_rng().integers(last + 1))

    with st.container(horizontal=True, vertical_alignment="bottom", width="content"):
        st.number_input(f"{label} (row 0 to {last})", 0, last, step=1, key=key, width=235 if help_text else 205, help=help_text)
        st.button("Random", on_click=random, key=f"{key}-random", icon=":material/shuffle:")
    return int(st.session_state[key])


def open_in_explore(visit: Visit, base: int | Subject, z: Float32[np.ndarray, " latent"] | None, origin: Origin) -> None:
    """Leave for Explore, to an image at its posterior mean, or to a point beside that image."""
    if isinstance(base, Subject):
        visit.show(base)
    else:
        visit.select(base)
    if z is not None:
        visit.go(z, origin)
    st.switch_page(EXPLORE)


def sentence(error: ValueError) -> str:
    """What an error says, as a sentence on the page."""
    text = str(error)
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
