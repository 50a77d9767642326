"""Images of a visitor's own as a data set: upload, see what was recognised, keep it under a name.

Both the look and the import are taken in processes of their own: what is uploaded is never decoded in the server.
"""

from __future__ import annotations

import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from dashboard import jobs
from dashboard.markdown import plain
from dashboard.permissions import changes_allowed, may_change
from dashboard.pictures import enlarged
from dashboard.projection_panel import duration_words
from dashboard.training.form import train_on
from vae import DataError
from vae.data import data_root
from vae.jobs import JobError, JobStatus
from vae.pack import imported_from
from vae.preview import SIZES, Look, look_apart, sample_key
from vae.shapes import LOOKED_AT, SIDES
from vae.staged import upload_folder

MAX_MEGABYTES = 200
POLL_SECONDS = 0.5
SHOWN_LEFT_OUT = 100
OWN_SIZE = 0
LOOKED = "dataset-look"
"""Where the session holds the look at its upload, or why there is none, with the upload's id."""
CANCELLED = "dataset-cancelled"
"""Where the session holds the names of the imports that it has asked to stop."""


@st.fragment
def offer_upload() -> None:
    """Draw the imports that run or have ended, the uploader, the preview and the Keep button."""
    _imports()
    st.markdown(
        "**Add images of your own.** A zip file of pictures (PNG, JPEG, WebP, BMP, GIF), one folder per class or none; or "
        "an NPZ, NPY, IDX, CSV (`label,pixel1,…`) or Parquet file. It is never executed, and kept only when you say so."
    )
    file = st.file_uploader(f"Images, at most {MAX_MEGABYTES} MB", max_upload_size=MAX_MEGABYTES, key="dataset-upload")
    if file is None:
        st.session_state.pop(LOOKED, None)
        return
    seen = _look(file)
    if isinstance(seen, str):
        st.error(plain(seen))  # it names what it found in the file
        return
    _show(seen)
    if changes_allowed():
        _keep(seen, file)


# --- the imports ---------------------------------------------------------------------------------------------------


def _imports() -> None:
    """How the imports that have ended did, and how far the others are."""
    found = jobs.imports()
    running = [name for name, status in found.items() if status.state == "running"]
    for name, status in found.items():
        if status.state != "running":
            _tell_end(name, status)
    if running:
        _follow(running)


@st.fragment(run_every=POLL_SECONDS)
def _follow(names: list[str]) -> None:
    found = {name: status for name, status in jobs.imports().items() if status.state == "running"}
    if list(found) != names:
        st.rerun()
    cancelled: set[str] = st.session_state.setdefault(CANCELLED, set())
    for name, status in found.items():
        st.markdown(f"Importing **{plain(name)}**")
        share = min(status.done / status.total, 1.0) if status.total else 0.0
        st.progress(share, "Cancelling" if name in cancelled else progress_words(status))
        if may_change()[0] and st.button("Cancel", key=f"dataset-{name}-cancel", icon=":material/close:"):
            cancelled.add(name)
            jobs.stop(upload_folder(name))
    st.caption("It goes on in a process of its own: this page may be left, reloaded or closed.")


def progress_words(status: JobStatus) -> str:
    """How far a running import is: images, rate and the time left."""
    if not status.total:
        return status.stage[:1].upper() + status.stage[1:]
    text, left = f"{status.done:,} of {status.total:,} images", status.seconds_left
    rate = f"{status.rate:,.{0 if status.rate >= 10 else 1}f}"
    return text if left is None else f"{text}, {rate} a second, {duration_words(left)} left"


def _tell_end(name: str, status: JobStatus) -> None:
    """How an import ended, until it is dismissed or the next one begins under its name."""
    st.session_state.get(CANCELLED, set()).discard(name)
    made = imported_from(name)
    is_kept = made is not None and status.state != "failed"  # "stopped", then, was too late
    if made is not None and is_kept:
        counts = ", ".join(f"{count:,} {split}" for split, count in made.counts.items())
        st.success(
            f"Kept as **{plain(name)}**: {counts} images of {made.image_shape[2]} × {made.image_shape[1]} pixels. "
            f"Train on it here, or with `python -m vae train --dataset {name} --run {name}`"
        )
        with suppress(OSError):  # of a data set that is deleted at this moment
            if made.greyed:
                st.caption(f"{made.greyed:,} colour images were turned grey.")
            lines = tuple(made.left_out_lines(SHOWN_LEFT_OUT)) if made.left_out else ()
            if lines:
                _left_out(f"{made.left_out:,} left out", lines, made.left_out)
    elif status.state == "failed":
        st.error(f"**{plain(name)}** could not be imported; nothing of it was kept.")
        st.text(status.error or "")  # as text: it comes out of a file
    elif status.state in ("stopped", "interrupted"):
        # Of a folder under data/ nothing need be kept: it is still there.
        kept = "started again, it goes on" if (data_root() / name).is_dir() else "nothing of it was kept"
        if status.state == "stopped":
            st.info(f"The import of **{plain(name)}** was cancelled; {kept}.")
        else:
            st.warning(f"The import of **{plain(name)}** was not finished; {kept}. Its process came down or was killed.")
    else:
        st.info(f"**{plain(name)}** was imported, and has been deleted since.")
    with st.container(horizontal=True):
        if is_kept and st.button("Train on it", key=f"dataset-{name}-train", icon=":material/model_training:", type="primary"):
            train_on(name)
            st.switch_page("views/train.py")
        if may_change()[0] and st.button("Dismiss", key=f"dataset-{name}-dismiss"):
            jobs.discard(upload_folder(name))
            st.rerun()


# --- the upload ----------------------------------------------------------------------------------------------------


def _look(file: Any) -> Look | str:
    """The look at an upload, taken once; or why there is none."""
    held = st.session_state.get(LOOKED)
    if held is None or held[0] != file.file_id:
        with (
            st.spinner(f"Looking at up to {LOOKED_AT} of the images"),
            tempfile.TemporaryDirectory(prefix="latent-explorer-") as folder,
        ):
            path = Path(folder) / _plain_name(file.name)
            path.write_bytes(file.getbuffer())
            try:
                seen: Look | str = look_apart(path)
            except DataError as error:
                seen = str(error)
        held = st.session_state[LOOKED] = (file.file_id, seen)
    return held[1]


def _plain_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-80:].lstrip(".") or "upload"


def _show(seen: Look) -> None:
    classes = f"{seen.classes:,} classes" if seen.classes else "no labels"
    all_of_them = seen.looked_at == seen.count
    looked = "all were looked at" if all_of_them else f"{seen.looked_at:,} of them were looked at"
    st.markdown(
        f"Recognised: **{seen.kind}**, {seen.count:,} images, {classes}, {'colour' if seen.colour else 'grey'}, "
        f"{seen.sizes} pixels ({looked})."
    )
    if seen.class_counts:
        more = ", …" if seen.classes > len(seen.class_counts) else ""
        st.caption(", ".join(f"{plain(name)} {count:,}" for name, count in seen.class_counts.items()) + more)
    if seen.left_out:
        _left_out(f"{seen.left_out:,} can't be used{'' if all_of_them else ' so far'}", seen.left_out_lines, seen.left_out)


def _left_out(title: str, lines: tuple[str, ...], count: int) -> None:
    with st.expander(f"{title}: which, and why"):
        st.code("\n".join(lines), language=None, wrap_lines=True)
        if count > len(lines):
            st.caption(f"The first {len(lines):,} of {count:,}.")


def _keep(seen: Look, file: Any) -> None:
    """The choices, the pictures as they will be, and the button."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name of the data set", _suggestion(file.name), max_chars=64, key="dataset-name-new", width=240)
        sizes = [*([OWN_SIZE] if seen.own else []), *SIZES]
        side = st.selectbox(
            "Size in pixels",
            sizes,
            index=0 if seen.own else sizes.index(64),
            format_func=lambda side: _own_size(seen) if side == OWN_SIZE else f"{side} × {side}",
            key="dataset-size",
            help=f"A model takes {SIDES[0]} to {SIDES[1]} pixels a side. Resizing averages and keeps the proportions.",
            width=240,
        )
        grey = seen.colour and st.checkbox("Make them grey", key="dataset-grey")
        pressed = st.button("Keep", icon=":material/save:")
    size = None if side == OWN_SIZE else side
    _samples(seen, sample_key(size, 3 if seen.colour and not grey else 1))
    if pressed:
        try:
            with st.spinner("Starting the import"):
                jobs.start_import(name, _plain_name(file.name), file.getbuffer(), size, grey)
        except (DataError, JobError) as error:
            st.error(plain(str(error)))
        else:
            st.rerun()


def _own_size(seen: Look) -> str:
    if seen.own is None or seen.own.own is None:
        return "as they are"
    padded = seen.own.shape[1:] != seen.own.own
    return f"as they are, padded to {seen.own.shape[2]} × {seen.own.shape[1]}" if padded else "as they are"


def _samples(seen: Look, key: str) -> None:
    pictures: list[np.ndarray] = list(seen.samples.get(key, ()))
    st.caption(f"{len(pictures)} of them as the model will read them")
    for column, pixels, name in zip(st.columns(8) * 2, pictures, seen.captions.get(key, ()), strict=False):
        column.image(enlarged(pixels), caption=plain(name), width="stretch", alt=f"Uploaded image, {name}")


def _suggestion(file_name: str) -> str:
    """A name that the rules allow, from the file's."""
    return re.sub(r"[^a-z0-9._-]+", "-", Path(file_name).stem.lower()).strip("-._")[:40] or "mine"
