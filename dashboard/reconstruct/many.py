"""Several pictures at once: a table of verdicts with thumbnails, to sort and to take away."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from jaxtyping import UInt8

from dashboard.markdown import plain
from dashboard.pictures import enlarged, to_uint8
from dashboard.reconstruct.judge import Judge
from dashboard.resources import LoadedRun
from vae import Sheet, draw_png
from vae.images import ImageError, prepare, read_picture
from vae.signals import SIGNALS, SignalError, measure
from vae.tables import plain_cell
from vae.verdict import Verdict

MOST_FILES = 100
SHORT = {"like": "like the training data", "unusual": "unusual", "unlike": "unlike anything", "none": "no verdict"}


@dataclass(frozen=True, eq=False)
class Judged:
    """One of the files: its verdict, or why there is none."""

    name: str
    pixels: UInt8[np.ndarray, "channels height width"] | None
    reconstruction: UInt8[np.ndarray, "channels height width"] | None
    verdict: Verdict | None
    sentence: str


def judge_files(loaded: LoadedRun, judge: Judge, files: list[Any]) -> list[Judged]:
    """Each file through the automatic steps, then judged. A file that can't be used doesn't stop the rest."""
    found = []
    for file in files:
        data = file.getvalue()
        try:
            pixels = _prepared(hashlib.sha256(data).hexdigest(), loaded.data.image_shape, data)
            with loaded.lock:
                measured = measure(loaded.model, pixels[None], judge.reference.around)
        except (ImageError, SignalError) as error:
            found.append(Judged(file.name, None, None, None, str(error)))
            continue
        verdict = judge.reference.judge(measured.values[0])
        found.append(Judged(file.name, pixels, to_uint8(measured.reconstruction[0]), verdict, verdict.sentence))
    return found


@st.cache_resource(max_entries=4 * MOST_FILES, show_spinner=False)
def _prepared(digest: str, shape: tuple[int, int, int], _data: bytes) -> np.ndarray:
    del digest  # the cache's key
    return prepare(read_picture(_data), shape).pixels


def show_many(loaded: LoadedRun, judge: Judge, files: list[Any]) -> None:
    """The table, and the buttons to take it away."""
    if len(files) > MOST_FILES:
        st.error(f"Expected at most {MOST_FILES} pictures at once, found {len(files)}: the first {MOST_FILES} are shown.")
    with st.spinner("Reading the pictures"):
        found = judge_files(loaded, judge, files[:MOST_FILES])
    judged = [one for one in found if one.verdict is not None]
    counts = {level: sum(one.verdict.level == level for one in judged if one.verdict) for level in SHORT}
    parts = [f"{count} {SHORT[level]}" for level, count in counts.items() if count or level != "none"]
    parts.append(f"{len(found) - len(judged)} can't be read")
    st.markdown(
        f"**{len(found)} pictures**: {', '.join(parts)}. Each was fitted automatically; upload one alone to adjust its steps."
    )
    st.dataframe(
        table_of(found, thumbnails=True),
        hide_index=True,
        row_height=64,
        column_config={
            "input": st.column_config.ImageColumn("input", width="small"),
            "reconstructed": st.column_config.ImageColumn("reconstructed", width="small"),
            "p": st.column_config.NumberColumn("p", format="%.4f", help="Of all signals together; small is odd."),
            "sentence": st.column_config.TextColumn("sentence", width="large"),
        },
    )
    for one in found:
        if one.verdict is None:
            st.error(f"{plain(one.name)}: {one.sentence}")
    with st.container(horizontal=True):
        name = f"{loaded.run.name}-verdicts"
        csv = table_of(found, thumbnails=False).to_csv(index=False).encode()
        st.download_button("Table (CSV)", csv, f"{name}.csv", "text/csv", on_click="ignore", icon=":material/download:")
        if judged:
            st.download_button(
                "Sheet (PNG)",
                lambda: draw_png(sheet_of(loaded.run.name, judged)),
                f"{name}.png",
                "image/png",
                on_click="ignore",
                icon=":material/download:",
            )


def table_of(found: list[Judged], thumbnails: bool) -> pd.DataFrame:
    """A row for each file: verdict, p, every signal and its percentile, the sentence. Numbers of files that can't be read are
    missing. Thumbnails are data URIs."""
    rows = []
    for one in found:
        row: dict[str, object] = {"file": plain_cell(one.name)}
        if thumbnails:
            row |= {"input": _uri(one.pixels), "reconstructed": _uri(one.reconstruction)}
        row |= {"verdict": "can't be read" if one.verdict is None else SHORT[one.verdict.level]}
        row |= {"p": np.nan if one.verdict is None else one.verdict.p, "sentence": one.sentence}
        for index, signal in enumerate(SIGNALS):
            row[signal.name] = np.nan if one.verdict is None else float(one.verdict.values[index])
            row[f"{signal.name}_percentile"] = np.nan if one.verdict is None else float(one.verdict.percentiles[index])
        rows.append(row)
    return pd.DataFrame(rows)


def _uri(image: np.ndarray | None) -> str | None:
    return None if image is None else "data:image/png;base64," + base64.b64encode(enlarged(image)).decode()


def sheet_of(run: str, judged: list[Judged]) -> Sheet:
    """Every input with its reconstruction and its verdict, a row for each."""
    pictures = [picture for one in judged for picture in (one.pixels, one.reconstruction) if picture is not None]
    words = [f"{one.name[:32]}: {SHORT[one.verdict.level]}, p = {one.verdict.p:.2g}" for one in judged if one.verdict]
    title = f"Verdicts of run {run}: {len(judged)} pictures"
    return Sheet(title, np.stack(pictures), 2, ("input", "reconstruction"), tuple(words))
