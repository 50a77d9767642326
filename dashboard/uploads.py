"""Images of a visitor's own as a data set: upload, see what was recognised, keep it under a name."""

from __future__ import annotations

import hashlib
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from dashboard.markdown import plain
from dashboard.pictures import enlarged
from vae import DataError, Imported, import_dataset
from vae.readers import open_source
from vae.shapes import SIDES, Target, choose_target, fit_image, look
from vae.sources import printable

MAX_MEGABYTES = 200
LOOKED_AT = 200
TOLD_SECONDS = 0.2
SHOWN = 16
SHOWN_LEFT_OUT = 100
SIZES = (16, 28, 32, 48, 64, 96, 128)
KEPT = "dataset-kept"
"""Where the session holds what was imported last."""


@dataclass(frozen=True, eq=False)
class Preview:
    """What an upload is, from a look at some of its images."""

    kind: str
    count: int
    looked_at: int
    class_counts: dict[str, int]
    """Empty without labels."""
    sizes: str
    colour: bool
    own: Target | None
    """The shape that the images have by themselves, None where they must be brought to one."""
    left_out: tuple[str, ...]
    samples: tuple[tuple[np.ndarray, str], ...]
    """Some images and what they are: the class, else the file."""


@st.fragment
def offer_upload() -> None:
    """Draw the uploader, the preview and the Keep button."""
    st.markdown(
        "**Add images of your own.** A zip file of pictures (PNG, JPEG, WebP, BMP, GIF), one folder per class or none; or "
        "an NPZ, NPY, IDX, CSV (`label,pixel1,…`) or Parquet file. It is never executed, and kept only when you say so."
    )
    file = st.file_uploader(f"Images, at most {MAX_MEGABYTES} MB", max_upload_size=MAX_MEGABYTES, key="dataset-upload")
    kept: Imported | None = st.session_state.get(KEPT)
    if kept is not None:
        _tell(kept)
    if file is None:
        return
    try:
        with st.spinner(f"Looking at up to {LOOKED_AT} of the images"):
            preview = _preview(file.name, hashlib.sha256(file.getbuffer()).hexdigest(), file)
        _show(preview)
        _keep(preview, file)
    except DataError as error:
        st.error(f"{error}")


@contextmanager
def _on_disk(file: Any) -> Iterator[Path]:
    """The upload as a file in a temporary folder of its own, which is gone afterwards, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="latent-explorer-") as folder:
        path = Path(folder) / (re.sub(r"[^A-Za-z0-9._-]", "_", file.name)[-80:].lstrip(".") or "upload")
        path.write_bytes(file.getbuffer())
        yield path


@st.cache_resource(max_entries=4, show_spinner=False)
def _preview(name: str, digest: str, _file: Any) -> Preview:
    del name, digest  # the cache's key
    with _on_disk(_file) as path, open_source(path) as source:
        found, bad = look(source, LOOKED_AT)
        if not found:
            raise DataError(f"None of the {len(bad):,} images looked at can be used. The first: {bad[0]}")
        try:
            own = choose_target(source, None, grey=False)
        except DataError:
            own = None
        sizes = Counter(f"{image.shape[1]} × {image.shape[0]}" for _, image in found)
        counts: dict[str, int] = {}
        names = [printable(source.name(row), 40) for row, _ in found]
        if source.labels is not None:
            numbers = np.bincount(source.labels, minlength=len(source.class_names)).tolist()
            counts = dict(zip(source.class_names, numbers, strict=True))
            names = [source.class_names[int(source.labels[row])] for row, _ in found]
        shown = sorted(np.random.default_rng(0).permutation(len(found))[:SHOWN].tolist())
        return Preview(
            kind=source.kind,
            count=source.count,
            looked_at=len(found) + len(bad),
            class_counts=counts,
            sizes=", ".join(size for size, _ in sizes.most_common(4)) + (" and others" if len(sizes) > 4 else ""),
            colour=any(image.ndim == 3 for _, image in found),
            own=own,
            left_out=(*source.left_out, *bad),
            samples=tuple((found[number][1], names[number]) for number in shown),
        )


def _show(preview: Preview) -> None:
    classes = f"{len(preview.class_counts)} classes" if preview.class_counts else "no labels"
    all_of_them = preview.looked_at == preview.count
    seen = "all were looked at" if all_of_them else f"{preview.looked_at:,} of them were looked at"
    st.markdown(
        f"Recognised: **{preview.kind}**, {preview.count:,} images, {classes}, {'colour' if preview.colour else 'grey'}, "
        f"{preview.sizes} pixels ({seen})."
    )
    if preview.class_counts:
        st.caption(", ".join(f"{plain(name)} {count:,}" for name, count in list(preview.class_counts.items())[:30]))
    if preview.left_out:
        _left_out(f"{len(preview.left_out):,} can't be used{'' if all_of_them else ' so far'}", preview.left_out)


def _left_out(title: str, lines: tuple[str, ...]) -> None:
    with st.expander(f"{title}: which, and why"):
        st.code("\n".join(lines[:SHOWN_LEFT_OUT]), language=None, wrap_lines=True)
        if len(lines) > SHOWN_LEFT_OUT:
            st.caption(f"The first {SHOWN_LEFT_OUT} of {len(lines):,}.")


def _keep(preview: Preview, file: Any) -> None:
    """The choices, the pictures as they will be, and the button."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name of the data set", _suggestion(file.name), max_chars=64, key="dataset-name-new", width=240)
        sizes: list[int | None] = [*([None] if preview.own else []), *SIZES]
        size = st.selectbox(
            "Size in pixels",
            sizes,
            index=0 if preview.own else sizes.index(64),
            format_func=lambda side: _own_size(preview) if side is None else f"{side} × {side}",
            key="dataset-size",
            help=f"A model takes {SIDES[0]} to {SIDES[1]} pixels a side. Resizing averages and keeps the proportions.",
            width=240,
        )
        grey = preview.colour and st.checkbox("Make them grey", key="dataset-grey")
        pressed = st.button("Keep", icon=":material/save:")
    channels = 3 if preview.colour and not grey else 1
    own = preview.own
    target = Target((channels, size, size), None) if size else Target((channels, *own.shape[1:]), own.own) if own else None
    if target is not None:
        _samples(preview, target)
    if pressed:
        bar = st.progress(0.0, "Importing")
        told = [time.monotonic()]

        def show(done: int, total: int) -> None:
            if time.monotonic() - told[0] > TOLD_SECONDS:
                told[0] = time.monotonic()
                bar.progress(done / total, f"Importing: {done:,} of {total:,} images")

        with _on_disk(file) as path:
            st.session_state[KEPT] = import_dataset(path, name, size, grey, show, resumable=False)
        st.rerun()


def _own_size(preview: Preview) -> str:
    if preview.own is None or preview.own.own is None:
        return "as they are"
    padded = preview.own.shape[1:] != preview.own.own
    return f"as they are, padded to {preview.own.shape[2]} × {preview.own.shape[1]}" if padded else "as they are"


def _samples(preview: Preview, target: Target) -> None:
    st.caption(f"{len(preview.samples)} of them as the model will read them")
    shown = []
    for image, name in preview.samples:
        try:
            shown.append((fit_image(image, target), name))
        except DataError:  # of another size than the rest: it will be named among what is left out
            continue
    for column, (pixels, name) in zip(st.columns(8) * 2, shown, strict=False):
        column.image(enlarged(pixels), caption=plain(name), width="stretch", alt=f"Uploaded image, {name}")


def _suggestion(file_name: str) -> str:
    """A name that the rules allow, from the file's."""
    return re.sub(r"[^a-z0-9._-]+", "-", Path(file_name).stem.lower()).strip("-._")[:40] or "mine"


def _tell(kept: Imported) -> None:
    counts = ", ".join(f"{count:,} {split}" for split, count in kept.counts.items())
    st.success(
        f"Kept as **{kept.name}**: {counts} images of {kept.image_shape[2]} × {kept.image_shape[1]} pixels. "
        f"Train on it: `python -m vae train --dataset {kept.name} --run {kept.name}`"
    )
    if kept.left_out:
        try:
            lines = tuple(kept.left_out_lines(kept.left_out))
        except OSError:  # the data set has been deleted since
            return
        _left_out(f"{kept.left_out:,} left out", lines)
