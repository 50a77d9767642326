"""The downloads of a section of the page Generate, made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import streamlit as st
from jaxtyping import Float32, UInt8

from dashboard.generate.shared import decoded
from dashboard.pictures import original_size, point_npy, zip_of
from dashboard.resources import LoadedRun
from vae import Sheet, draw_animation, draw_sheet
from vae.drawing import AnimationFormat, SheetFormat
from vae.sheets import decoded as sheet_pictures


def offer_pictures(
    loaded: LoadedRun,
    name: str,
    points: Float32[np.ndarray, "count latent"],
    captions: Sequence[str],
    *,
    title: str,
    columns: int,
    column_labels: tuple[str, ...] = (),
    row_labels: tuple[str, ...] = (),
    on_sheet: Sequence[int] | None = None,
    moves: bool = False,
) -> None:
    """The downloads of a section, made when they are asked for: a sheet of all points or of those ``on_sheet``; an animation
    there and back where they lie along a path (``moves``); the pictures in full size; the points that they are decoded from."""
    stem = f"{loaded.run.path.name}-{name}"
    caption = f"{loaded.run.path.name}: {title}"

    def pictures(some: Float32[np.ndarray, "some latent"] = points) -> UInt8[np.ndarray, "some channels height width"]:
        with loaded.lock:
            return sheet_pictures(loaded.model, some)[0]

    def sheet(kind: SheetFormat) -> bytes:
        shown = pictures(points if on_sheet is None else points[list(on_sheet)])
        return draw_sheet(Sheet(caption, shown, columns, column_labels, row_labels), kind)

    def animation(kind: AnimationFormat) -> bytes:
        return draw_animation(pictures(), kind, caption=caption)

    def archive() -> bytes:
        titles = [f"{number:03d} {_file_name(text)}".strip() for number, text in enumerate(captions, 1)]
        return zip_of({f"{title}.png": original_size(one) for title, one in zip(titles, decoded(loaded, points), strict=True)})

    files: dict[str, tuple[Callable[[], bytes], str, str]] = {
        "Sheet (PNG)": (partial(sheet, "png"), "png", "image/png"),
        "Sheet (SVG)": (partial(sheet, "svg"), "svg", "image/svg+xml"),
    }
    if moves:
        files["Animation (GIF)"] = partial(animation, "gif"), "gif", "image/gif"
        files["Animation (WebP)"] = partial(animation, "webp"), "webp", "image/webp"
    files["Pictures (ZIP of PNG)"] = archive, "zip", "application/zip"
    files["Latent points (NPY)"] = partial(point_npy, points), "npy", "application/octet-stream"
    with st.popover("Download", icon=":material/download:", key=f"{stem}-downloads"):
        for label, (content, end, kind) in files.items():
            st.download_button(label, content, f"{stem}.{end}", kind, on_click="ignore", key=f"{stem}-{end}", width="stretch")


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in " +-.,%" else "_" for letter in text)[:60]
