"""A page around the projection panel alone."""

from __future__ import annotations

import streamlit as st

from dashboard.projection_panel import projection_panel
from vae import MapConfig, open_run


def page() -> None:
    """Draw the page."""
    shown = st.session_state.get("shown", MapConfig())
    projection_panel(open_run("tiny-run"), shown, lambda config: st.session_state.update(shown=config))


page()
