"""A map in three dimensions, to look at: turn, zoom, hover, click. Lasso, clicks on empty places and the cursor are the flat
map's alone, and the view says so.

Two mounts, as with the flat map: *points* (places, labels, small pictures) is large and constant, *current* (the image that
is looked at) small and changing. The view tells the page ``latent:hover`` and ``latent:select`` as the flat map does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from dashboard.components import latent_map
from dashboard.components.frames import frame
from dashboard.components.latent_map import MapPoints, Select, ensure_plotly_js, parse_commit
from dashboard.components.latent_map.commits import commit_id

__all__ = ["MOST_TURNED", "latent_map_3d"]

MOST_TURNED = 100_000
"""Images that the view is offered for: it draws every one of them at every turn."""

HERE = Path(__file__).parent
SHARED = ("../frames", "feed", "geometry", "groups", "sprites", "theme", "figure", "marks", "card", "legend")
"""Scripts of the flat map that this view is built on."""


def _shared(*names: str) -> str:
    return "\n".join((Path(latent_map.__file__).parent / name).read_text("utf-8") for name in names)


def _own(*names: str) -> str:
    return "\n".join((HERE / name).read_text("utf-8") for name in names)


_points = st.components.v2.component(
    "latent_map_3d",
    html='<div class="latent-map latent-map-3d"></div>',
    css=_shared("latent_map.css") + _own("latent_map_3d.css"),
    js=_shared(*(f"{name}.js" for name in SHARED)) + _own("scene.js", "latent_map_3d.js"),
    isolate_styles=False,
)
_feed = st.components.v2.component(
    "latent_map_3d_feed",
    js=_shared("../frames.js", "feed.js", "feed_mount.js"),
    css=_shared("latent_map.css"),
    isolate_styles=False,
)


def latent_map_3d(
    points3d: MapPoints,
    *,
    key: str,
    on_select: Callable[[int], None],
    height: int = 520,
    current: int | None = None,
    static_folder: Path | None = None,
) -> None:
    """Draw the view.

    Args:
        points3d: places in three dimensions; the same object at every run of the page.
        on_select: called with the row of an image that was clicked, before the page's run that the click causes.
        height: in pixels, in a window 800 pixels high; it grows with the window.
        current: the row of the image that is looked at.
        static_folder: where the app's main script lies, if it isn't the dashboard's own (see `ensure_plotly_js`).

    Raises:
        ValueError: places that are flat.
    """
    if points3d.is_flat:
        raise ValueError("latent_map_3d needs places in three dimensions; for a flat map there is latent_map_points")
    mount, handled = f"{key}-map-3d", f"{key}-handled-3d"

    def receive() -> None:
        state = st.session_state.get(mount)
        raw = state.get("commit") if isinstance(state, dict) else None
        mark = commit_id(raw)
        if mark is None or st.session_state.get(handled) == mark:
            return
        st.session_state[handled] = mark
        commit = parse_commit(raw, points3d.coordinates, points3d.labels)
        if isinstance(commit, Select) and commit.primary is not None:
            on_select(commit.primary)

    receive()
    head = {"instance": key, "plotly": ensure_plotly_js(static_folder), "height": height, "base": len(points3d.base)}
    _points(key=mount, data=frame(head, points3d.base + points3d.sprites), on_commit_change=receive)
    current_head = frame({"current": current})
    _feed(key=f"{key}-latent-map-feed-current", data=frame({"instance": key, "feed": "current"}, current_head))
