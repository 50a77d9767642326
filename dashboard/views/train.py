"""Train: a short form for a new run, and what there is to see while one learns."""

from __future__ import annotations

import streamlit as st

from dashboard.permissions import changes_allowed
from dashboard.training.form import WATCHED, training_form
from dashboard.training.monitor import training_monitor
from dashboard.training.process import list_trainings, watch_training

NEW = "A new run"
PARAMETER = "training"


def page() -> None:
    """Draw the page."""
    names = list_trainings()
    watched = _choose(names)
    if watched is None:
        if changes_allowed():
            training_form()
        return
    training_monitor(watched)


def _choose(names: list[str]) -> str | None:
    """The training to watch, or None for the form. A reload, or another tab, finds the one that runs."""
    if WATCHED not in st.session_state:
        asked = st.query_params.get(PARAMETER)
        running = (name for name in names if (status := watch_training(name)) is not None and status.state == "running")
        st.session_state[WATCHED] = asked if asked in names else next(running, None)
    if st.session_state[WATCHED] not in names:
        st.session_state[WATCHED] = None

    def choose() -> None:
        chosen = st.session_state["train-choice"]
        st.session_state[WATCHED] = None if chosen == NEW else chosen

    st.session_state["train-choice"] = st.session_state[WATCHED] or NEW
    st.selectbox(
        "Train or watch",
        [NEW, *names],
        key="train-choice",
        on_change=choose,
        help="A form for a new run, or the curves and pictures of one that is being trained or was.",
        width=320,
    )
    watched: str | None = st.session_state[WATCHED]
    if watched is None:
        st.query_params.pop(PARAMETER, None)
    elif st.query_params.get(PARAMETER) != watched:
        st.query_params[PARAMETER] = watched
    return watched


if __name__ == "__main__":
    page()
