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
from vae import Sheet, draw_animation, draw_png
from vae.sheets import decoded as sheet_pictures


def offer_pictures(
    loaded: LoadedRun,
    name: str,
    points: Float32[np.ndarray, "count latent"],
    captions: Sequence[str],
    *,
    title: str,
    columns: int | None = None,
    row_labels: tuple[str, ...] = (),
) -> None:
    """The downloads of a section, made when they are asked for: a sheet where there are ``columns``, else an animation there
    and back; the pictures in full size; the points that they are decoded from."""
    stem = f"{loaded.run.path.name}-{name}"
    caption = f"{loaded.run.path.name}: {title}"

    def pictures() -> UInt8[np.ndarray, "count channels height width"]:
        with loaded.lock:
            return sheet_pictures(loaded.model, points)[0]

    def archive() -> bytes:
        titles = [f"{number:03d} {_file_name(text)}".strip() for number, text in enumerate(captions, 1)]
        return zip_of({f"{title}.png": original_size(one) for title, one in zip(titles, decoded(loaded, points), strict=True)})

    with st.popover("Download", icon=":material/download:"):
        if columns is None:
            animation = partial(_animation, pictures, caption)
            st.download_button("Animation (GIF)", animation, f"{stem}.gif", "image/gif", on_click="ignore", key=f"{stem}-gif")
        else:
            sheet = partial(_sheet, pictures, caption, columns, row_labels)
            st.download_button("Sheet (PNG)", sheet, f"{stem}.png", "image/png", on_click="ignore", key=f"{stem}-sheet")
        zipped = f"{stem}.zip"
        st.download_button("Pictures (ZIP of PNG)", archive, zipped, "application/zip", on_click="ignore", key=f"{stem}-zip")
        data = point_npy(points)
        st.download_button("Latent points (NPY)", data, f"{stem}-z.npy", on_click="ignore", key=f"{stem}-npy")


def _sheet(
    pictures: Callable[[], UInt8[np.ndarray, "count channels height width"]],
    caption: str,
    columns: int,
    row_labels: tuple[str, ...],
) -> bytes:
    return draw_png(Sheet(caption, pictures(), columns, row_labels=row_labels))


def _animation(pictures: Callable[[], UInt8[np.ndarray, "count channels height width"]], caption: str) -> bytes:
    return draw_animation(pictures(), "gif", caption=caption)


def _file_name(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in " +-.,%" else "_" for letter in text)[:60]
