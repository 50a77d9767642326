"""A page around the map alone, for the browser tests and the measurements: ``?case=`` says which images it shows."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import streamlit as st
from crowd import crowd

from dashboard.components.latent_map import (
    Clear,
    Colouring,
    Empty,
    MapCommit,
    MapPath,
    MapPoints,
    Mark,
    Select,
    View,
    latent_map_marks,
    latent_map_points,
    make_selection,
    make_sprites,
    parse_polygon,
    parse_view,
    polygon_text,
    view_text,
)
from vae import MapConfig, load_test_data, open_run

PATH = MapPath(((-3.0, -2.0), (0.0, -2.0), (0.0, 1.0), (3.0, 1.0)), (False, False, False, True))
COLOURINGS = ("class", "ELBO", "KL", "dimension 0")


@st.cache_resource
def shipped() -> tuple[MapPoints, dict[str, Colouring]]:
    """The map of a finished run."""
    run = open_run(os.environ.get("LATENT_TEST_RUN", "fashion-mnist"))
    data, encodings = load_test_data(run), run.load_encodings()
    coordinates = run.load_map(MapConfig()).coordinates
    points = MapPoints(run.weights_digest(), coordinates, data.images, data.labels, data.class_names, "test images")
    elbo, kl = (np.asarray(values, dtype=np.float32) for values in (encodings.elbo, encodings.kl))
    colourings = {
        "ELBO": Colouring("ELBO", "nats", elbo),
        "KL": Colouring("KL", "nats", kl),
        "dimension 0": Colouring("mean of dimension 0", "", encodings.mean[:, 0]),
    }
    return points, colourings


@st.cache_resource
def made_up(count: int, shape: tuple[int, int, int], classes: int) -> tuple[MapPoints, dict[str, Colouring]]:
    """Random images around as many middles as there are classes; 0 classes: no labels."""
    random = np.random.default_rng(1)
    kinds = random.integers(0, classes or 7, count)
    middles = random.uniform(-12, 12, (classes or 7, 2))
    coordinates = (middles[kinds] + random.normal(0, 1, (count, 2))).astype(np.float32)
    images = random.integers(0, 60, (count, *shape), dtype=np.uint8)
    images += (kinds * 25 % 190).astype(np.uint8)[:, None, None, None]
    labels, names = (kinds, tuple(f"kind <b>{kind}</b>" for kind in range(classes))) if classes else (None, ())
    values = Colouring("ELBO", "nats", random.normal(-240, 40, count).astype(np.float32))
    return MapPoints("made-up", coordinates, images, labels, names), {"ELBO": values, "KL": values, "dimension 0": values}


@st.cache_resource
def many(without_thumbnails: bool) -> tuple[MapPoints, dict[str, Colouring]]:
    """A crowd; ``without_thumbnails`` as if it were too large for any."""
    coordinates, images, labels = crowd()
    points = MapPoints("crowd", coordinates, images, labels, ("many", "few", "one"))
    if without_thumbnails:
        points.__dict__["sprites"] = make_sprites(images, byte_budget=1000)
    across = Colouring("KL, across", "", coordinates[:, 0])
    return points, dict.fromkeys(("ELBO", "KL", "dimension 0"), across)


def subject() -> tuple[MapPoints, dict[str, Colouring]]:
    """What the address asks for."""
    case = st.query_params.get("case", "shipped")
    if case == "rgb":
        return made_up(600, (3, 32, 32), 0)
    if case == "many":
        return made_up(3000, (1, 12, 16), 75)
    if case.startswith("crowd"):
        return many(case == "crowd-without-thumbnails")
    if case == "large":
        return made_up(70_000, (1, 28, 28), 10)
    return shipped()


@st.cache_resource
def turned(_points: MapPoints, digest: str) -> MapPoints:
    """The same images on another map."""
    del digest  # the cache's key
    places = np.ascontiguousarray(_points.coordinates[:, ::-1] * 2)
    return MapPoints(_points.run, places, _points.images, _points.labels, _points.class_names, _points.noun)


def receive(points: MapPoints, commit: MapCommit) -> None:
    """Keep what was done on the map, and mirror what belongs in a link."""
    state = st.session_state
    state.commits = state.get("commits", 0) + 1
    if isinstance(commit, Select):
        state.selection = commit
        state.current = state.current if commit.primary is None else commit.primary
        if commit.polygon:
            st.query_params["lasso"] = polygon_text(commit.polygon)
    elif isinstance(commit, Clear):
        state.selection = None
        st.query_params.pop("lasso", None)
    elif isinstance(commit, Empty):
        state.cursor, state.empty = (commit.x, commit.y), f"{commit.x:.2f}, {commit.y:.2f}"
    elif isinstance(commit, View):
        state.view = commit
        st.query_params["view"] = view_text(commit)


def start_over() -> None:
    """A new visit without a new page, which tests are glad of: widgets and map get other keys, so nothing is left."""
    life = st.session_state.get("life", 0) + 1
    st.session_state.clear()
    st.session_state.life = life
    for name in ("view", "lasso"):
        st.query_params.pop(name, None)


def key(name: str) -> str:
    """The key of a widget in this visit."""
    return f"{name}-{st.session_state.get('life', 0)}"


def start(points: MapPoints) -> None:
    """The state that the address asks for."""
    state = st.session_state
    if "view" in state:
        return
    state.view = parse_view(st.query_params.get("view", ""))
    state.current, state.cursor, state.empty, state.selection = None, None, "none", None
    polygon = parse_polygon(st.query_params.get("lasso", ""))
    if polygon:
        state.selection = make_selection(points.coordinates, points.labels, polygon=polygon)


@st.fragment
def inspector(points: MapPoints, marks: tuple[Mark, ...], path: MapPath | None) -> None:
    """What the server knows of the map."""
    state = st.session_state
    state.fragment_runs = state.get("fragment_runs", 0) + 1
    latent_map_marks(
        points,
        key=key("map"),
        selection=state.selection,
        current=state.current,
        cursor=state.cursor,
        marks=marks,
        path=path,
        view=state.view,
        on_commit=lambda commit: receive(points, commit),
    )
    rows = state.selection.rows if state.selection else ()
    st.text(f"current: {state.current}")
    st.text(f"selected: {len(rows)} {rows[:6]}")
    st.text(f"empty: {state.empty}")
    st.text(f"inspector runs: {state.fragment_runs}")


def page() -> None:
    """Draw the page."""
    st.set_page_config(layout="wide")
    points, colourings = subject()
    start(points)
    if st.session_state.get(key("other")):
        points = turned(points, points.digest)
    left, right = st.columns([3, 2])
    with left:
        choice = st.session_state.get(key("colouring"), "ELBO" if points.labels is None else "class")
        folder = Path(__file__).resolve().parent
        latent_map_points(points, key=key("map"), colouring=colourings.get(choice), height=480, static_folder=folder)
    with right:
        st.selectbox("Colour by", COLOURINGS, index=COLOURINGS.index(choice), key=key("colouring"))
        st.checkbox("Other map", key=key("other"), on_change=lambda: st.session_state.update(view=None))
        outside = st.checkbox("Mark from outside", key=key("outside"))
        with st.container(horizontal=True):
            st.button("Run again")
            st.button("Start over", on_click=start_over)
        across = PATH if st.checkbox("Draw a path", key=key("path")) else None
        st.session_state.runs = st.session_state.get("runs", 0) + 1
        st.text(f"visit: {st.session_state.get('life', 0)}, runs: {st.session_state.runs}")
        st.text_input("Words", key=key("words"))
        inspector(
            points, (Mark(*points.coordinates[:60].mean(axis=0).tolist(), "your <i>image</i>"),) if outside else (), across
        )


page()
