"""Generate: samples, traversals, interpolations, directions and arithmetic in latent space."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from dashboard.generate.arithmetic import latent_arithmetic
from dashboard.generate.directions import directions
from dashboard.generate.interpolation import interpolation
from dashboard.generate.samples import samples
from dashboard.generate.shared import keep
from dashboard.generate.traversal import traversal
from dashboard.links import begin_page
from dashboard.resources import LoadedRun
from dashboard.state import Visit

SECTIONS: dict[str, Callable[[LoadedRun, Visit], None]] = {
    "Samples": samples,
    "Traversal": traversal,
    "Interpolation": interpolation,
    "Directions": directions,
    "Arithmetic": latent_arithmetic,
}


def page() -> None:
    """Draw the page: the section that is chosen and no other."""
    begun = begin_page()
    if begun is None:
        return
    visit, loaded = begun
    names = list(SECTIONS)
    key = keep(loaded, "section", names[0], names)
    st.segmented_control("Generate", names, required=True, key=key)
    SECTIONS[st.session_state[key]](loaded, visit)


if __name__ == "__main__":
    page()
