"""Interpolation: a path through two or more images."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import streamlit as st

from dashboard.components.latent_map import MapCommit, Select
from dashboard.components.picture_grid import picture_grid
from dashboard.components.scrubber import Frames, make_frames, plan_frames
from dashboard.generate.line import line_map, line_panel, marks_of
from dashboard.generate.shared import decoded, flat_map, keep, next_generation, placed, remember, session_key
from dashboard.markdown import plain
from dashboard.pictures import enlarged
from dashboard.resources import LoadedRun, ShownMap, Subject
from dashboard.search import FOUND, search_hint, search_images
from dashboard.state import Visit
from vae import interpolate_through
from vae.images import ImageError, prepare, read_picture

Stop = int | Subject
MAX_STOPS = 6
PATHS: dict[Literal["linear", "spherical"], str] = {"linear": "Linear", "spherical": "Spherical"}
PATH_HELP = (
    "Linear: the straight line. Spherical: the direction turns at a constant rate and the length changes evenly, so that the "
    "path keeps clear of the origin, where samples of the prior are rare in many dimensions."
)


def interpolation(loaded: LoadedRun, visit: Visit) -> None:
    """Draw the section."""
    stops = _stops(loaded, visit)
    _choose(loaded, visit, stops)
    left, right = st.columns(2, gap="medium")
    shown, _ = flat_map(loaded, visit)
    frames = _frames(loaded, shown, stops) if len(stops) >= 2 else None

    def add_from_map(commit: MapCommit) -> None:
        if isinstance(commit, Select):
            clicked = (commit.primary,) if commit.primary is not None else commit.rows
            _add(loaded, stops, clicked)

    with left:
        rows = tuple(dict.fromkeys(stop for stop in stops if isinstance(stop, int)))
        line_map(loaded, visit, "interpolation", frames, add_from_map, rows=rows, marks=marks_of(loaded, shown, stops))
    with right:
        if frames is None:
            st.info(
                "An interpolation needs at least two images. Search for one, click one on the map, or upload a picture."
                if stops
                else "No image yet. Add two or more: by a search, by a click on the map, or upload your own."
            )
        else:
            line_panel(
                loaded,
                visit,
                "interpolation",
                frames,
                tuple(stops),
                name="Position along the interpolation",
                title=f"{frames.labels[0]} to {frames.labels[-1]}",
                ticks=[f"{share:.0%}" for share in np.linspace(0, 1, len(frames.points))],
            )


def _stops(loaded: LoadedRun, visit: Visit) -> list[Stop]:
    """The images, in order; at first the one that is looked at on Explore."""
    first: Stop = visit.row if visit.outside is None else visit.outside
    stops: list[Stop] = st.session_state.setdefault(session_key(loaded, "stops"), [first])
    return stops


def _add(loaded: LoadedRun, stops: list[Stop], more: tuple[Stop, ...]) -> None:
    """Add those that aren't there yet, as many as there is room for."""
    known = [stop for stop in more if isinstance(stop, Subject) or 0 <= stop < len(loaded.data)]
    new = [stop for stop in dict.fromkeys(known) if stop not in stops]
    room = MAX_STOPS - len(stops)
    stops.extend(new[:room])
    if len(new) > room:
        st.session_state[session_key(loaded, "stops-note")] = (
            f"An interpolation takes at most {MAX_STOPS} images: {len(new) - room:,} more were left out."
        )


def _subject(loaded: LoadedRun, stop: Stop) -> Subject:
    return loaded.subject(stop) if isinstance(stop, int) else stop


def _name(loaded: LoadedRun, stop: Stop) -> str:
    return _subject(loaded, stop).title


# --- choosing ------------------------------------------------------------------------------------------------------


def _choose(loaded: LoadedRun, visit: Visit, stops: list[Stop]) -> None:
    is_full = len(stops) >= MAX_STOPS

    def add_random() -> None:
        _add(loaded, stops, (int(np.random.default_rng().integers(len(loaded.data))),))

    with st.container(horizontal=True, vertical_alignment="bottom"):
        text = _search_box(loaded, stops)
        st.button("Add a random one", on_click=add_random, icon=":material/shuffle:", disabled=is_full)
        _upload(loaded, stops)
        chosen = visit.selection_rows
        if chosen:
            count = f"{len(chosen):,} image{'s' if len(chosen) > 1 else ''}"
            st.button(f"Add the {count} chosen on Explore", on_click=lambda: _add(loaded, stops, chosen), disabled=is_full)
    _found(loaded, stops, text)
    note = st.session_state.pop(session_key(loaded, "stops-note"), None)
    if note:
        st.warning(note)
    order, kind = st.columns([3, 1], gap="medium")
    with order:
        _order(loaded, stops)
    path = keep(loaded, "path", "linear", list(PATHS))
    with kind:
        st.segmented_control("Path", list(PATHS), format_func=PATHS.__getitem__, required=True, key=path, help=PATH_HELP)


def _search_box(loaded: LoadedRun, stops: list[Stop]) -> str:
    """What is looked for. A search that finds a single image adds it, and is done."""
    key = keep(loaded, "stop-search", "")

    def search() -> None:
        rows, _ = search_images(st.session_state[key], loaded.data, loaded.encodings.elbo)
        if len(rows) == 1:
            _add(loaded, stops, tuple(rows))
            st.session_state[key] = ""

    is_full = len(stops) >= MAX_STOPS
    hint = search_hint(loaded.data)
    st.text_input("Find test images", key=key, on_change=search, placeholder=hint, max_chars=100, width=300, disabled=is_full)
    return "" if is_full else str(st.session_state[key]).strip()


def _found(loaded: LoadedRun, stops: list[Stop], text: str) -> None:
    """What a search found: a click adds an image."""
    if not text:
        return
    rows, told = search_images(text, loaded.data, loaded.encodings.elbo)
    if rows:
        choice = picture_grid(
            loaded.data.images[rows],
            key=session_key(loaded, "stops-found"),
            label="Images found",
            names=[f"Add {loaded.subject(row).title}" for row in rows],
            captions=[str(row) for row in rows],
            columns=FOUND,
            size=56,
        )
        if choice is not None and rows[choice] not in stops:
            _add(loaded, stops, (rows[choice],))
            st.rerun()  # what stands above knows how much room is left
    st.caption(f"{plain(told)} A click adds one." if rows else plain(told))


def _order(loaded: LoadedRun, stops: list[Stop]) -> None:
    """The images as a list from which each can be taken out."""
    names = [f"{number}. {_name(loaded, stop).replace('test image', 'row', 1)}" for number, stop in enumerate(stops, 1)]
    key = session_key(loaded, "stops-shown")

    def take_out() -> None:
        left = [stop for name, stop in zip(names, stops, strict=True) if name in st.session_state[key]]
        stops[:] = left

    label = f"Images along the path, in order, at most {MAX_STOPS}: a click on one takes it out, a click on the map adds one"
    if stops:
        st.session_state[key] = names
        st.pills(label, names, format_func=plain, selection_mode="multi", key=key, on_change=take_out)


def _upload(loaded: LoadedRun, stops: list[Stop]) -> None:
    with st.popover("Upload", icon=":material/upload:", disabled=len(stops) >= MAX_STOPS):
        file = st.file_uploader("A PNG, JPEG, WebP, BMP or GIF picture, at most 20 MB", key=session_key(loaded, "upload"))
        if file is None:
            st.caption(
                "It is brought into the model's form as on the page Reconstruct, read in memory and never written to disk."
            )
            return
        try:
            subject = _encoded(loaded.weights_digest, hashlib.sha256(file.getvalue()).hexdigest(), loaded, file.getvalue())
        except ImageError as error:
            st.error(f"{error}")
            return
        st.image(enlarged(subject.pixels), caption="What the model reads", width=112)
        st.button("Add this picture", on_click=lambda: _add(loaded, stops, (subject,)), type="primary")


@st.cache_resource(max_entries=16, show_spinner=False)
def _encoded(weights_digest: str, digest: str, _loaded: LoadedRun, _data: bytes) -> Subject:
    del weights_digest, digest  # the cache's key
    return _loaded.subject_from_outside(prepare(read_picture(_data), _loaded.data.image_shape).pixels)


# --- the path ------------------------------------------------------------------------------------------------------


def _frames(loaded: LoadedRun, shown: ShownMap | None, stops: list[Stop]) -> Frames:
    path = st.session_state[session_key(loaded, "path")]
    question = (
        path,
        shown and shown.points.digest,
        tuple(stop if isinstance(stop, int) else stop.pixels.tobytes() for stop in stops),
    )
    return remember(loaded, "interpolation", question, lambda: make_interpolation(loaded, shown, stops, path))


def make_interpolation(
    loaded: LoadedRun, shown: ShownMap | None, stops: list[Stop], path: Literal["linear", "spherical"]
) -> Frames:
    """The frames from the posterior mean of each image to the next one's, both included."""
    count, block = plan_frames(loaded.data.image_shape)
    legs = len(stops) - 1
    steps = max(2, (count - 1) // legs + 1)
    points = interpolate_through(np.stack([_subject(loaded, stop).mean for stop in stops]), steps, path)
    names = [_name(loaded, stop) for stop in stops]
    labels = []
    for index in range(len(points)):
        leg, step = divmod(index, steps - 1)
        share = step / (steps - 1)
        labels.append(f"{share:.0%} from {names[leg]} to {names[leg + 1]}" if step else f"{names[leg]}")
    found = placed(loaded, shown, points, "means")
    short = [f"row {stop}" if isinstance(stop, int) else "yours" for stop in stops]
    marks = tuple((number * (steps - 1), name) for number, name in enumerate(short))
    pictures = decoded(loaded, points)
    made = found.positions, found.percentiles, tuple(labels), marks
    return make_frames(next_generation(), points, pictures, *made, block=block)
