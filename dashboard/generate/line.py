"""A line through latent space under a scrubber, and its path on the map: for interpolations and directions alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import streamlit as st

from dashboard.colourings import find_colouring
from dashboard.components.latent_map import MapCommit, MapPath, Mark, Select, latent_map_marks, latent_map_points
from dashboard.components.scrubber import Frames, read_step, scrubber
from dashboard.generate.downloads import offer_pictures
from dashboard.generate.shared import decoded, flat_map, instance_of, open_in_explore, session_key
from dashboard.markdown import plain
from dashboard.pictures import original_size
from dashboard.resources import LoadedRun, ShownMap, Subject
from dashboard.state import Visit
from vae.shapes import spread

ON_SHEET = 13
"""How many frames of a line a sheet shows, at most, evenly spread."""
FAR = 95.0
"""Percentile of `vae.off_manifold` above which no encoded image is near."""


def path_of(frames: Frames) -> MapPath | None:
    """The frames' way across the map, with what of it is far from all images; None without a map."""
    if frames.positions is None:
        return None
    places = tuple((float(x), float(y)) for x, y in frames.positions)
    return MapPath(places, tuple((frames.percentiles > FAR).tolist()))


def marks_of(loaded: LoadedRun, shown: ShownMap | None, images: Sequence[int | Subject]) -> tuple[Mark, ...]:
    """Those of the images that are from outside, where they lie on the map."""
    outside = [image for image in images if isinstance(image, Subject)]
    if not outside or shown is None:
        return ()
    positions = shown.place(np.stack([image.mean for image in outside]), loaded.encodings)
    return tuple(Mark(float(x), float(y), "your image") for x, y in positions)


def line_map(
    loaded: LoadedRun,
    visit: Visit,
    section: str,
    frames: Frames | None,
    on_commit: Callable[[MapCommit], None],
    *,
    rows: tuple[int, ...] = (),
    current: int | None = None,
    marks: tuple[Mark, ...] = (),
) -> None:
    """The map with the path, the images it goes through (``rows``) or the one it starts from (``current``)."""
    shown, problem = flat_map(loaded, visit)
    if shown is None:
        st.info(f"There is no map in two dimensions to draw the path on. {plain(problem)}")
        return
    points = shown.points
    key = instance_of(loaded, section)
    latent_map_points(points, key=key, colouring=find_colouring(loaded, visit.colouring), height=360)
    latent_map_marks(
        points,
        key=key,
        selection=Select(tuple(sorted(rows)), clicked=rows) if rows else None,
        current=current,
        marks=marks,
        path=None if frames is None else path_of(frames),
        on_commit=on_commit,
    )


@st.fragment
def line_panel(
    loaded: LoadedRun,
    visit: Visit,
    section: str,
    frames: Frames,
    bases: tuple[int | Subject, ...],
    *,
    name: str,
    title: str,
    ticks: Sequence[str],
) -> None:
    """The scrubber and what can be done with its frame. ``bases`` are the images along the line, evenly spaced; ``title`` and
    ``ticks``, a word for each frame, label what is taken away."""
    key = session_key(loaded, f"{section}-scrubber")
    scrubber(frames, key=key, instance=instance_of(loaded, section), run=loaded.weights_digest, name=name)
    step = read_step(key, frames)
    base = bases[round(step / (len(frames.points) - 1) * (len(bases) - 1))]
    st.caption(f"The buttons take frame {step + 1} of {len(frames.points)}: {plain(frames.labels[step])}")
    with st.container(horizontal=True):
        if st.button("Open in Explore", icon=":material/scatter_plot:", key=f"{key}-open"):
            open_in_explore(visit, base, frames.points[step], "moved")
        picture = original_size(decoded(loaded, frames.points[step : step + 1])[0])
        file = f"{visit.run}-{section}-frame{step + 1}.png"
        st.download_button("This frame (PNG)", picture, file, "image/png", on_click="ignore", key=f"{key}-png")
        on_sheet = spread(len(frames.points), ON_SHEET)
        offer_pictures(
            loaded,
            section,
            frames.points,
            frames.labels,
            title=title,
            columns=len(on_sheet),
            column_labels=tuple(ticks[step] for step in on_sheet),
            on_sheet=on_sheet,
            moves=True,
        )
