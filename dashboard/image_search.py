"""Which image is looked at, chosen in words, at random or among pictures: the same on every page about one image."""

from __future__ import annotations

import numpy as np
import streamlit as st

from dashboard.components.picture_grid import picture_grid
from dashboard.markdown import plain
from dashboard.resources import LoadedRun
from dashboard.search import search_hint, search_images
from dashboard.state import Visit

PER_ROW = 8


def find_image(loaded: LoadedRun, visit: Visit) -> None:
    """A field for a few words (`dashboard.search`), with what they find, and a button for a random test image."""

    def random() -> None:
        visit.selection = None
        visit.select(int(np.random.default_rng().integers(len(loaded.data))))

    def search() -> None:
        rows, _ = search_images(st.session_state["search"], loaded.data, loaded.encodings.elbo)
        if len(rows) == 1:
            _look_at(visit, rows[0])

    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Find test images",
            key="search",
            on_change=search,
            placeholder=search_hint(loaded.data),
            max_chars=100,
            label_visibility="collapsed",
        )
        st.button("Random", on_click=random, icon=":material/shuffle:", help="A random test image.")
    if not text or not text.strip():
        return
    rows, sentence = search_images(text, loaded.data, loaded.encodings.elbo)
    if len(rows) > 1:
        choose_image(loaded, visit, rows, "search-results", "Images found")
    if len(rows) != 1:
        st.caption(plain(sentence))


def choose_image(loaded: LoadedRun, visit: Visit, rows: list[int], key: str, label: str) -> None:
    """Pictures of test images to go to."""
    names = [loaded.subject(row).title for row in rows]
    picture_grid(
        loaded.data.images[rows],
        key=f"{key}-{visit.instance}",
        label=label,
        names=[name[0].upper() + name[1:] for name in names],
        captions=[str(row) for row in rows],
        columns=PER_ROW,
        size=64,
        on_choice=lambda index: _look_at(visit, rows[index]),
    )


def _look_at(visit: Visit, row: int) -> None:
    """Go to an image that was picked beside the map: a selection of several stays."""
    if not visit.selection_rows:
        visit.selection = None
    visit.select(row)
