"""What a page gives away: of an image its pictures, its latent point and its numbers; of a run its tables, map and networks."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import streamlit as st
from jaxtyping import Float32, UInt8

from dashboard.pictures import numbers_json, original_size, point_csv, point_npy, zip_of
from dashboard.resources import LoadedRun, ShownMap, Subject
from vae import (
    OnnxError,
    arrays_npz,
    encodings_table,
    map_html,
    table_bytes,
)
from vae.onnx_export import require_onnx
from vae.tables import TableFormat

BINARY = "application/octet-stream"
PARTS = ("encoder", "decoder")
_exporting = threading.Lock()


def offer_downloads(
    run: str,
    subject: Subject,
    z: Float32[np.ndarray, " latent"],
    images: dict[str, UInt8[np.ndarray, "channels height width"]],
    steps: Callable[[], dict[str, bytes]] | None = None,
) -> None:
    """Draw the button. ``images`` are offered under their names; ``steps`` makes PNG files when they are asked for."""
    name = f"{run}-{'picture' if subject.row is None else subject.row}"
    with st.popover("Download", icon=":material/download:"):
        for title, image in images.items():
            st.download_button(
                f"{title} (PNG)", partial(original_size, image), f"{name}-{title}.png", "image/png", on_click="ignore"
            )
        if steps is not None:
            make, kind = partial(_zipped, steps), "application/zip"
            st.download_button("all steps (ZIP of PNG)", make, f"{name}-steps.zip", kind, on_click="ignore")
        # NOTE: made when they are asked for: this runs again at every release of a slider.
        table, array = partial(point_csv, z, subject.mean, subject.logvar), partial(point_npy, z)
        numbers = partial(numbers_json, subject.reconstruction, subject.kl)
        st.download_button("latent point (CSV)", table, f"{name}-z.csv", "text/csv", on_click="ignore")
        st.download_button("latent point (NPY)", array, f"{name}-z.npy", BINARY, on_click="ignore")
        st.download_button("ELBO terms (JSON)", numbers, f"{name}-elbo.json", "application/json", on_click="ignore")


def _zipped(steps: Callable[[], dict[str, bytes]]) -> bytes:
    return zip_of({f"{step}.png": png for step, png in steps().items()})


def offer_run(loaded: LoadedRun, shown: ShownMap) -> None:
    """Draw the button for a whole run: each file is made when it is asked for."""
    run, digest, found = loaded.run, loaded.weights_digest, shown.map

    def table(kind: TableFormat) -> bytes:
        return table_bytes(encodings_table(loaded.encodings, loaded.data, found), kind)

    files: dict[str, tuple[str, Callable[[], bytes], str]] = {
        "Table of all test images (CSV)": (f"{run.name}.csv", lambda: table("csv"), "text/csv"),
        "Table of all test images (Parquet)": (f"{run.name}.parquet", lambda: table("parquet"), BINARY),
        "Means and kept maps (NPZ)": (f"{run.name}.npz", lambda: _arrays(loaded), BINARY),
    }
    if shown.is_flat:
        page = partial(map_html, run.name, loaded.encodings, loaded.data, found, digest)
        files["Map that opens by itself (HTML)"] = (f"{run.name}-map.html", page, "text/html")
    with st.popover("Export", icon=":material/download:", help="This run as tables, a page, and networks."):
        st.caption("Tables hold row, class, ELBO terms (nats, one sample of z), posterior means and log-variances, map places.")
        try:
            require_onnx()
            for part in PARTS:
                make = partial(_network, run.path.resolve(), digest, part)
                files[f"The {part} as a network (ONNX)"] = (f"{run.name}-{part}.onnx", make, BINARY)
        except OnnxError as error:
            st.caption(f"{error}")
        for title, (name, content, kind) in files.items():
            st.download_button(title, content, name, kind, on_click="ignore", width="stretch")


def _network(run: Path, digest: str, part: str) -> bytes:
    """A part of the run as ONNX. One at a time is made, whoever asks."""
    with _exporting:
        return _networks(run, digest)[part]


@lru_cache(maxsize=2)
def _networks(run: Path, digest: str) -> dict[str, bytes]:
    """The parts of a run as ONNX, made in a process of its own: it takes long, and while torch's exporter is at work it changes
    how modules are called in its whole process, so that all visitors would have to wait for it."""
    del digest  # the cache's key
    with tempfile.TemporaryDirectory(prefix="latent-explorer-") as folder:
        command = [sys.executable, "-m", "vae", "export", str(run), "--what", "onnx", "--out", folder]
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if ended.returncode:
            told = ended.stderr.decode("utf-8", "replace").strip().rpartition("error: ")[2]
            raise OnnxError(f"{run}: it could not be written as ONNX: {told}")
        return {part: (Path(folder) / f"{run.name}-{part}.onnx").read_bytes() for part in PARTS}


def _arrays(loaded: LoadedRun) -> bytes:
    maps = [loaded.run.load_map(config) for config in loaded.run.list_maps()]
    return arrays_npz(loaded.encodings, loaded.data, maps, loaded.run.name, loaded.weights_digest)
