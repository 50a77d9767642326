"""Inference: what the model believes of one image, how sure it is, and what its encoder costs."""

from __future__ import annotations

import streamlit as st

from dashboard.image_search import find_image
from dashboard.inference_page.panels import estimate_panel, kl_panel, samples_panel, sum_panel
from dashboard.inference_page.refinement import refinement_panel
from dashboard.inference_page.shared import Question, draws_of
from dashboard.links import begin_page
from dashboard.markdown import plain
from dashboard.pictures import enlarged, to_uint8
from dashboard.resources import LoadedRun
from dashboard.state import Visit

SEED = "inference-seed"
GREY = " Bernoulli on grey pixels is a cross-entropy: compare the ELBO with others of its kind only."


def page() -> None:
    """Draw the page."""
    begun = begin_page()
    if begun is None:
        return
    visit, loaded = begun
    question = _head(loaded, visit)
    with st.spinner("Drawing from the posterior"):
        draws_of(loaded, question)
    left, right = st.columns(2, gap="small")
    with left, st.container(border=True, height="stretch"):
        sum_panel(loaded, question)
    with right, st.container(border=True, height="stretch"):
        estimate_panel(loaded, question)
    left, right = st.columns(2, gap="small")
    with left, st.container(border=True, height="stretch"):
        kl_panel(loaded, question)
    with right, st.container(border=True, height="stretch"):
        samples_panel(loaded, visit, question)
    with st.container(border=True):
        refinement_panel(loaded, question)


def _head(loaded: LoadedRun, visit: Visit) -> Question:
    """Which image it is about, and which draws."""

    def draw_anew() -> None:
        st.session_state[SEED] = st.session_state.get(SEED, 0) + 1

    subject, seed = visit.subject(loaded), st.session_state.get(SEED, 0)
    pictures, words, search = st.columns([3, 6, 6], gap="medium", vertical_alignment="center")
    with pictures, st.container(horizontal=True, gap="xsmall"):
        st.image(enlarged(subject.pixels), width=80, alt="Original")
        st.image(enlarged(to_uint8(loaded.decode(subject.mean[None])[0])), width=80, alt="Decoded from the posterior mean")
    with words:
        title = plain(subject.title[0].upper() + subject.title[1:])
        told = "The image, and its reconstruction from the mean of q(z|x). All terms are in nats, summed over pixels."
        st.markdown(f"#### {title}\n{told}{GREY if loaded.run.config.model.likelihood == 'bernoulli' else ''}")
    with search:
        find_image(loaded, visit)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button("New draws", on_click=draw_anew, icon=":material/casino:", help="All random numbers of the page anew.")
            st.page_link(
                "views/reconstruct.py",
                label="An image of your own",
                icon=":material/add_photo_alternate:",
                help="Bring it in there, choose Open in Explore, then come back here.",
            )
    return Question(subject, seed)


if __name__ == "__main__":
    page()
