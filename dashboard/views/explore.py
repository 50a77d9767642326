"""Explore: the map of the test set beside the image that is looked at, and sliders that decode while they are dragged.

The map's points stand outside the inspector's fragment, so that a click or a move of a slider reruns the inspector alone and
sends neither points nor pictures again. A lasso changes what stands below the map, so it runs the whole page.
"""

from __future__ import annotations

import numpy as np
import streamlit as st

from dashboard.colourings import colouring_names, colouring_title, find_colouring
from dashboard.components.latent_map import (
    Clear,
    Empty,
    MapCommit,
    Mark,
    Select,
    View,
    latent_map_marks,
    latent_map_points,
)
from dashboard.components.latent_map_3d import MOST_TURNED, latent_map_3d
from dashboard.components.latent_sliders import (
    SlidersCommit,
    Strips,
    build_strips,
    latent_sliders,
    open_dimensions,
    read_commit,
    slider_ranges,
    steps_in_a_crowd,
)
from dashboard.downloads import offer_downloads, offer_run
from dashboard.image_search import choose_image, find_image
from dashboard.links import begin_page, write_url
from dashboard.markdown import plain
from dashboard.pictures import difference
from dashboard.projection_panel import map_words, no_map, projection_panel
from dashboard.resources import SERVING_PRECISION, LoadedRun, ShownMap, find_map
from dashboard.selection import selection_panel
from dashboard.state import Visit
from vae import generator_for, sample_prior

MAP_HEIGHT = 478
NEIGHBOURS = 8
ORIGINS = {
    "mean": "the posterior mean of {title}",
    "posterior": "a sample of the posterior of {title}",
    "prior": "a sample of the prior N(0, I)",
    "moved": "a point you moved to",
    "map": "a place on the map, estimated from the 8 images nearest to it",
    "selection": "the mean of the selected images' encodings",
    "link": "the point of the link",
}


def page() -> None:
    """Draw the page."""
    begun = begin_page()
    if begun is None:
        return
    visit, loaded = begun
    visit.summed_up = visit.selection_rows
    shown, problem = find_map(loaded, visit.map)
    left, right = st.columns([58, 42], gap="small")
    with left:
        if shown is None:
            no_map(loaded.run, problem or "", visit.open_map)
        else:
            _map(loaded, visit, shown)
    with right:
        _inspector(loaded, visit, shown)


# --- the map -------------------------------------------------------------------------------------------------------


def _map(loaded: LoadedRun, visit: Visit, shown: ShownMap) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if shown.is_flat:
            _colour_by(loaded, visit)
        with st.popover("Maps", icon=":material/map:", help="Other maps of this run, and new ones: UMAP, t-SNE, PCA."):
            projection_panel(loaded.run, shown.map.config, visit.open_map)
        offer_run(loaded, shown)
    part = f", {shown.map.part_words}" if shown.map.part_words else ""
    about = (
        f"{map_words(shown.map.config)}, of the posterior means of all {len(loaded.data):,} test images in the "
        f"{len(loaded.encodings.map_dimensions)} active dimensions{part}."
    )
    if not shown.is_flat and len(loaded.data) > MOST_TURNED:
        st.info(f"A 3-D map of {len(loaded.data):,} images is more than a browser can turn: open a flat one under Maps.")
        return
    if not shown.is_flat:
        current = visit.row if visit.outside is None else None
        latent_map_3d(shown.points, key=f"map-{visit.instance}", on_select=visit.select, height=MAP_HEIGHT, current=current)
        st.caption(about)
        return
    latent_map_points(
        shown.points, key=f"map-{visit.instance}", colouring=find_colouring(loaded, visit.colouring), height=MAP_HEIGHT
    )
    st.caption(f"{about} Click an image to look at it, an empty place to decode what may lie there.")
    selection_panel(loaded, visit, shown)


def _colour_by(loaded: LoadedRun, visit: Visit) -> None:
    def colour() -> None:
        visit.colouring = st.session_state["colouring"]

    st.session_state["colouring"] = visit.colouring
    st.selectbox(
        "Colour by",
        colouring_names(loaded),
        format_func=lambda name: colouring_title(name, loaded.encodings),
        key="colouring",
        on_change=colour,
        width=250,
    )


def _follow_map(loaded: LoadedRun, visit: Visit, shown: ShownMap, commit: MapCommit) -> None:
    """Do what was asked for on the map."""
    if isinstance(commit, Select):
        visit.selection = commit
        if commit.primary is not None and (commit.primary != visit.row or visit.outside is not None):
            visit.select(commit.primary)
    elif isinstance(commit, Clear):
        visit.selection = None
    elif isinstance(commit, Empty):
        visit.go(shown.walk_back(commit.x, commit.y, loaded.encodings, visit.point(loaded)), "map")
    elif isinstance(commit, View):
        visit.view = commit if commit.ranges is not None else None
        write_url(visit, loaded)


# --- the inspector -------------------------------------------------------------------------------------------------


@st.fragment
def _inspector(loaded: LoadedRun, visit: Visit, shown: ShownMap | None) -> None:
    with st.container(gap="xsmall"):
        _inspect(loaded, visit, shown)


def _inspect(loaded: LoadedRun, visit: Visit, shown: ShownMap | None) -> None:
    key = f"sliders-{visit.instance}"
    _follow_sliders(loaded, visit, key)
    find_image(loaded, visit)
    if shown is not None and shown.is_flat:
        _marks(loaded, visit, shown)
    _numbers(loaded, visit)
    subject, strips = visit.subject(loaded), strips_of(loaded, visit, shown)
    latent_sliders(
        strips,
        loaded.encodings,
        key=key,
        instance=f"map-{visit.instance}",
        run=loaded.weights_digest,
        subject=subject.title,
        original=subject.pixels,
        row=subject.row,
        answers=visit.answers,
        can_undo=visit.history.can_undo,
        can_redo=visit.history.can_redo,
    )
    _neighbours(loaded, visit)
    point, decoded = visit.point(loaded), strips.settled
    images = {"original": subject.pixels, "decoded": decoded, "difference": difference(subject.pixels, decoded)}
    offer_downloads(visit.run, subject, point, images)
    if subject.row is None:
        st.caption("The link in the address bar carries the run and the point; your picture itself is not part of it.")
    write_url(visit, loaded)
    if visit.selection_rows != visit.summed_up:
        st.rerun()  # what stands below the map is about another selection


def _marks(loaded: LoadedRun, visit: Visit, shown: ShownMap) -> None:
    cursor, outside = shown.place(visit.point(loaded)[None], loaded.encodings)[0], visit.outside
    marks = []
    if outside is not None:
        x, y = shown.place(outside.mean[None], loaded.encodings)[0]
        marks = [Mark(float(x), float(y), "your image")]
    latent_map_marks(
        shown.points,
        key=f"map-{visit.instance}",
        selection=visit.selection,
        current=visit.row if outside is None else None,
        cursor=(float(cursor[0]), float(cursor[1])),
        marks=marks,
        view=visit.view,
        on_commit=lambda commit: _follow_map(loaded, visit, shown, commit),
    )


def _numbers(loaded: LoadedRun, visit: Visit) -> None:
    subject = visit.subject(loaded)
    elbo = subject.reconstruction - subject.kl
    st.caption(
        f"−ELBO **{-elbo:.1f}** = reconstruction {-subject.reconstruction:.1f} + KL {subject.kl:.1f} nats.  \n"
        f"Decoded: {ORIGINS[visit.origin].format(title=plain(subject.title))}.",
        help="The numbers are of the image itself, in nats, from one sample of its posterior; lower is better. "
        "reconstruction is −log p(x|z) summed over pixels, KL is from q(z|x) to the prior N(0, I).",
    )


def _neighbours(loaded: LoadedRun, visit: Visit) -> None:
    subject = visit.subject(loaded)
    rows = loaded.nearest_rows(subject.mean, NEIGHBOURS, without=subject.row)
    if rows:
        st.caption(
            f"Nearest to {plain(subject.title)}:",
            help="The test images whose posterior means lie nearest to this image's, in the active dimensions, nearest first.",
        )
        choose_image(loaded, visit, rows, "neighbours", "Nearest images")


# --- the sliders ---------------------------------------------------------------------------------------------------


def strips_of(loaded: LoadedRun, visit: Visit, shown: ShownMap | None) -> Strips:
    """The filmstrips of the current place, made once for each generation."""
    if visit.strips is None:
        subject = visit.subject(loaded)

        def build(crowd: int) -> Strips:
            return build_strips(
                loaded.model,
                loaded.encodings,
                visit.point(loaded),
                open_dimensions(loaded.encodings, visit.unfolded),
                generation=visit.generation,
                typical=loaded.typical,
                encoded=subject.mean,
                coordinates=shown.map.coordinates if shown is not None and shown.is_flat else None,
                most_steps=steps_in_a_crowd(crowd),
                precision=SERVING_PRECISION,
            )

        visit.strips = loaded.in_turn(build)
    return visit.strips


def _follow_sliders(loaded: LoadedRun, visit: Visit, key: str) -> None:
    """Do what was asked for with the sliders since their last strips, if anything was."""
    point, subject = visit.point(loaded), visit.subject(loaded)
    commit = read_commit(key, visit.generation, *slider_ranges(loaded.encodings, point, subject.mean))
    if commit is None:
        return
    _carry_out(loaded, visit, commit)
    visit.unfolded = commit.unfolded
    visit.renew(commit.sequence)


def _carry_out(loaded: LoadedRun, visit: Visit, commit: SlidersCommit) -> None:
    subject = visit.subject(loaded)
    if commit.action == "drag":
        visit.go(commit.moved(visit.point(loaded)), "moved")
    elif commit.action == "undo":
        visit.undo()
    elif commit.action == "redo":
        visit.redo()
    elif commit.action == "reset":
        visit.go(None, "mean")
    elif commit.action in ("prior", "posterior"):
        visit.seed += 1
        noise = np.asarray(sample_prior(1, loaded.latent, generator_for(visit.seed, "view")))[0]
        from_prior = commit.action == "prior"
        visit.go(noise if from_prior else subject.mean + np.exp(subject.logvar / 2) * noise, commit.action)


if __name__ == "__main__":
    page()
