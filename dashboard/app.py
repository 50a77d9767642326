"""The dashboard's entry: page settings, the choice of the run, navigation. ``streamlit run dashboard/app.py``."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard.markdown import plain
from dashboard.resources import load_run
from dashboard.state import current_visit
from vae import DataError, RunError, list_runs

ICON = Path(__file__).with_name("icon.svg")
NEED_NO_RUN = ("Dataset", "Train", "Runs")  # the pages that are there before the first run
SIDEBAR = 210  # pixels: what it doesn't need goes to the map
STYLE = """
[data-testid=stHeader] { height: 2.5rem; min-height: 2.5rem; }
.stMainBlockContainer { padding: 2.6rem 1.25rem 1.5rem; }
[data-testid=stSidebarUserContent] { padding-top: 0; }
/* the theme's first colour is pale in the dark, and Streamlit writes on it in white */
[data-testid=stBaseButton-primary]:enabled, .stMultiSelect [data-tag] {
  color: light-dark(#ffffff, #11141d);
}
[data-testid=stCaptionContainer] { color: inherit; opacity: 0.82; } /* fainter, small text is hard to read */
"""


def main() -> None:
    """Draw what all pages share, then the page."""
    st.set_page_config(page_title="Latent Explorer", page_icon=ICON, layout="wide", initial_sidebar_state=SIDEBAR)
    st.html(f"<style>{STYLE}</style>")
    page = st.navigation(
        [
            st.Page("views/explore.py", title="Explore", icon=":material/scatter_plot:", default=True),
            st.Page("views/generate.py", title="Generate", icon=":material/auto_awesome:"),
            st.Page("views/reconstruct.py", title="Reconstruct", icon=":material/add_photo_alternate:"),
            st.Page("views/inference.py", title="Inference", icon=":material/query_stats:"),
            st.Page("views/dataset.py", title="Dataset", icon=":material/photo_library:"),
            st.Page("views/train.py", title="Train", icon=":material/model_training:"),
            st.Page("views/runs.py", title="Runs", icon=":material/list:"),
        ]
    )
    needs_no_run = page.title in NEED_NO_RUN
    if _choose_run(silent=needs_no_run) or needs_no_run:
        page.run()


def _choose_run(silent: bool) -> bool:
    """The run's selector in the sidebar; False if there is no run to show, with a sentence that says why unless ``silent``."""
    visit = current_visit()
    if visit is None:
        if not silent:
            st.info(
                "There is no run yet. Train one on the page Train, or with `python -m vae train --run NAME`. "
                "Images of your own come in on the page Dataset."
            )
        return False
    names = list_runs()
    if not names:
        del st.session_state["visit"]  # the last run is gone: the next one begins anew
        return _choose_run(silent)
    if visit.run not in names:
        visit.notes.append(f"Run {visit.run} is no longer there.")
        visit.run = names[0]

    def choose() -> None:
        visit.run = st.session_state["chosen-run"]

    st.session_state["chosen-run"] = visit.run
    with st.sidebar:
        help_text = "One training and its folder under checkpoints/."
        st.selectbox("Run", names, key="chosen-run", on_change=choose, help=help_text)
        try:
            loaded = load_run(visit.run)
        except (RunError, DataError) as error:
            loaded, problem = None, str(error)
    if loaded is None:
        if not silent:
            st.error(f"Run {visit.run} can't be shown. {plain(problem)}")
        return False
    config = loaded.run.config
    with st.sidebar:
        st.caption(
            f"{config.dataset}, {len(loaded.data):,} test images  \n"
            f"{config.model.likelihood} likelihood, {config.model.latent} latent dimensions, "
            f"{int(loaded.encodings.active.sum())} active  \n"
            f"test −ELBO {-loaded.encodings.elbo.mean():.1f} nats per image (mean, one sample of z; lower is better)"
        )
    return True


main()
