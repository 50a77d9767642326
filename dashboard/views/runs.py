"""Runs: all of them in a table, what can be done to one, and several beside each other."""

from __future__ import annotations

import streamlit as st

from dashboard.markdown import plain
from dashboard.permissions import may_change
from dashboard.run_tools.actions import import_panel, run_actions
from dashboard.run_tools.compare import compare_runs
from dashboard.run_tools.table import show_table, summaries
from vae import list_runs


def page() -> None:
    """Draw the page."""
    names = list_runs()
    rows, problems = summaries(names)
    for problem in problems:
        st.warning(plain(problem))
    if names:
        show_table(rows)
        with st.container(border=True):
            run_actions(names)
    else:
        st.info("There is no run yet: train one on the page Train, or import one.")
    with st.expander("Import a run", icon=":material/upload:", expanded=not names and may_change()[0]):
        import_panel()
    if len(rows) > 1:
        st.subheader("Compare")
        compare_runs(rows)


if __name__ == "__main__":
    page()
