"""The map of encoded images, live in the browser: hover, choose, lasso, colour, and a cursor that follows the sliders.

Four mounts make one map, because a mount's data is sent again whenever a part of it changes: *points* (places and labels)
and *sprites* (small pictures) are large and constant; *colours* changes with the colouring; *marks* (selection, cursor) is
small and changes at every click. In the browser they find each other by ``key``. The first three come from
`latent_map_points`, the last from `latent_map_marks`, which may stand in a fragment: then a click reruns that alone.

Points are drawn by plotly.js (``figure.js``; until it runs, ``draft.js``); of more than it can follow a zoom of, the density is
shown, and those of the view where they are few (``density.js``, which says how many). All else is the same.

In the browser the map sends ``latent:hover`` and ``latent:select`` and follows ``latent:preview``, events on ``document``
with ``detail.instance`` (the key) and ``detail.run``; the last of each is kept in ``window.__latent[instance][name]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import streamlit as st

from dashboard.components.frames import frame
from dashboard.components.latent_map.commits import (
    Clear,
    Empty,
    MapCommit,
    Polygon,
    Select,
    View,
    commit_id,
    make_selection,
    parse_commit,
    parse_polygon,
    parse_view,
    polygon_text,
    rows_inside,
    view_text,
)
from dashboard.components.latent_map.plotly_js import ensure_plotly_js
from dashboard.components.latent_map.points import NO_COLOURING, Colouring, MapPath, MapPoints, Mark
from dashboard.components.latent_map.sprites import make_sprites

__all__ = [
    "Clear",
    "Colouring",
    "Empty",
    "MapCommit",
    "MapPath",
    "MapPoints",
    "Mark",
    "Polygon",
    "Select",
    "View",
    "commit_key",
    "ensure_plotly_js",
    "latent_map",
    "latent_map_marks",
    "latent_map_points",
    "make_selection",
    "make_sprites",
    "parse_commit",
    "parse_polygon",
    "parse_view",
    "polygon_text",
    "rows_inside",
    "view_text",
]

HERE = Path(__file__).parent
SCRIPTS = (
    *(
        "../frames",
        "feed",
        "geometry",
        "groups",
        "sprites",
        "theme",
        "figure",
        "painted",
        "draft",
        "density",
        "marks",
        "camera",
        "choice",
        "outbox",
        "gestures",
    ),
    *("card", "legend", "panel", "latent_map"),
)
"""In this order they make one module: what a browser imports has one address."""


def commit_key(key: str) -> str:
    """The key in the session state under which the commits of the map of that ``key`` lie."""
    return _feed_key(key, "marks")


def _feed_key(key: str, feed: str) -> str:
    return f"{key}-latent-map-feed-{feed}"  # the style sheet knows it: these mounts take no room


def _feed_of(key: str, feed: str, content: bytes, **more: object) -> bytes:
    return frame({"instance": key, "feed": feed, **more}, content)


def _read(*names: str) -> str:
    return "\n".join((HERE / name).read_text("utf-8") for name in names)


_points = st.components.v2.component(
    "latent_map_points",
    html='<div class="latent-map"></div>',
    css=_read("latent_map.css"),
    js=_read(*(f"{name}.js" for name in SCRIPTS)),
    isolate_styles=False,
)
# NOTE: its own short script: a mount's script travels with its data, and marks change at every click.
_feed = st.components.v2.component(
    "latent_map_feed", js=_read("../frames.js", "feed.js", "feed_mount.js"), isolate_styles=False
)

OnCommit = Callable[[MapCommit], None]


def latent_map(
    points: MapPoints,
    *,
    key: str,
    colouring: Colouring | None = None,
    selection: Select | None = None,
    current: int | None = None,
    cursor: tuple[float, float] | None = None,
    marks: Sequence[Mark] = (),
    path: MapPath | None = None,
    view: View | None = None,
    height: int = 520,
    on_commit: OnCommit | None = None,
    static_folder: Path | None = None,
) -> MapCommit | None:
    """`latent_map_points` and `latent_map_marks` in one place."""
    latent_map_points(points, key=key, colouring=colouring, height=height, static_folder=static_folder)
    return latent_map_marks(
        points,
        key=key,
        selection=selection,
        current=current,
        cursor=cursor,
        marks=marks,
        path=path,
        view=view,
        on_commit=on_commit,
    )


def latent_map_points(
    points: MapPoints,
    *,
    key: str,
    colouring: Colouring | None = None,
    height: int = 520,
    static_folder: Path | None = None,
) -> None:
    """Draw the map, coloured by class or by ``colouring``.

    Args:
        height: of the map without its legend, in pixels, in a window 800 pixels high; it grows with the window.
        points: the same object at every run of the page; what is sent is made of it once.
        static_folder: where the app's main script lies, if it isn't the dashboard's own (see `ensure_plotly_js`).

    Raises:
        ValueError: points in three dimensions, or a colouring of another number of images.
    """
    if not points.is_flat:
        raise ValueError("a map of three dimensions is for latent_map_3d; this one is flat")
    if colouring is not None and len(colouring.values) != len(points):
        raise ValueError(f"{colouring.name}: {len(colouring.values):,} numbers for {len(points):,} images")
    plotly = ensure_plotly_js(static_folder)
    _points(key=f"{key}-map", data=_feed_of(key, "points", points.base, plotly=plotly, height=height))
    colours = NO_COLOURING if colouring is None else colouring.frame
    _feed(key=_feed_key(key, "colours"), data=_feed_of(key, "colours", colours, map=points.digest))
    _feed(key=_feed_key(key, "sprites"), data=_feed_of(key, "sprites", points.sprites))


def latent_map_marks(
    points: MapPoints,
    *,
    key: str,
    selection: Select | None = None,
    current: int | None = None,
    cursor: tuple[float, float] | None = None,
    marks: Sequence[Mark] = (),
    path: MapPath | None = None,
    view: View | None = None,
    on_commit: OnCommit | None = None,
) -> MapCommit | None:
    """Mark things on the map of that ``key``, and learn what a person did there. Takes no room on the page.

    Args:
        selection: the chosen images; after a `Select`, pass it back.
        current: the row of the image that is looked at.
        cursor: the approximate placement of the current latent point.
        marks: approximate placements of things from outside the map.
        path: a line across the map, dashed in the warning colour where it is far from all images.
        view: what to show when the map opens; from then on the person's zoom holds, whatever the page does.
        on_commit: called once for each commit, before the page's or fragment's run that it causes. Only with it are views
            told; they rerun nothing but a fragment of their own.

    Returns:
        Without ``on_commit``: the commit that caused this run, once; else None.
    """
    name, handled = commit_key(key), f"{key}-handled"

    def receive(mount: str) -> MapCommit | None:
        raw = _state(mount)
        mark = commit_id(raw)
        if mark is None or st.session_state.get(f"{handled}-{mount}") == mark:
            return None
        st.session_state[f"{handled}-{mount}"] = mark
        return parse_commit(raw, points.coordinates, points.labels)

    def tell(mount: str) -> None:
        commit = receive(mount)
        if commit is not None and on_commit is not None:
            on_commit(commit)

    answered = st.session_state.get(f"{handled}-{name}")
    commit = None
    if on_commit is None:
        commit = receive(name)
    else:
        tell(name)
    head = {
        "selection": _selection_parts(selection),
        "current": current,
        "cursor": cursor,
        "marks": [[mark.x, mark.y, mark.label] for mark in marks],
        "path": None if path is None else path.parts,
        "view": None if view is None else view.ranges,
        "tellsViews": on_commit is not None,
        "received": st.session_state.get(f"{handled}-{name}"),
        "answered": answered,
    }
    _feed(key=name, data=_feed_of(key, "marks", frame(head), map=points.digest), on_commit_change=lambda: tell(name))
    if on_commit is not None:
        _view_mount(key, tell)
    return commit


@st.fragment
def _view_mount(key: str, tell: Callable[[str], None]) -> None:
    name = _feed_key(key, "view")
    _feed(key=name, data=_feed_of(key, "view", frame({})), on_commit_change=lambda: tell(name))


def _state(mount: str) -> object:
    state = st.session_state.get(mount)
    return state.get("commit") if isinstance(state, dict) else None


def _selection_parts(selection: Select | None) -> dict[str, object]:
    """What the browser makes the selection of: a polygon's rows it finds itself."""
    if selection is None:
        return {"clicked": [], "polygon": None, "hidden": [], "primary": None}
    clicked = selection.clicked if selection.polygon is not None or selection.clicked else selection.rows
    polygon, hidden = selection.polygon, selection.hidden
    return {"clicked": list(clicked), "polygon": polygon, "hidden": list(hidden), "primary": selection.primary}
