"""A page around the 3-D view alone: ``?case=`` says what it shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import streamlit as st

from dashboard.components.latent_map import MapPoints
from dashboard.components.latent_map_3d import latent_map_3d


@st.cache_resource
def made_up(count: int, classes: int) -> MapPoints:
    """Images around as many middles as there are classes; the first lies alone, in the middle of all; 0: no labels."""
    random = np.random.default_rng(1)
    kinds = random.integers(0, classes or 3, count)
    middles = random.normal(0, 1, (classes or 3, 3))
    middles *= 8 / np.linalg.norm(middles, axis=1, keepdims=True)
    places = (middles[kinds] + random.normal(0, 0.6, (count, 3))).astype(np.float32)
    places[0] = (places[1:].min(axis=0) + places[1:].max(axis=0)) / 2
    images = random.integers(0, 60, (count, 1, 12, 12), dtype=np.uint8)
    labels, names = (kinds, tuple(f"kind <b>{kind}</b>" for kind in range(classes))) if classes else (None, ())
    return MapPoints("made-up", places, images, labels, names, "test images")


def page() -> None:
    """Draw the page."""
    st.set_page_config(layout="wide")
    case = st.query_params.get("case", "ten")
    points = made_up(*{"ten": (600, 10), "plain": (200, 0), "large": (10_000, 10)}[case])
    state = st.session_state
    state.setdefault("current", None)
    state.runs = state.get("runs", 0) + 1

    def select(row: int) -> None:
        state.current = row
        state.selections = state.get("selections", 0) + 1

    folder = Path(__file__).resolve().parent
    latent_map_3d(points, key="map", on_select=select, height=480, current=state.current, static_folder=folder)
    st.button("Run again")
    st.button("Look at 7", on_click=lambda: state.update(current=7))
    st.text(f"current: {state.current}, selections: {state.get('selections', 0)}, runs: {state.runs}")


page()
