"""What stands below the map: the images chosen there, in numbers and pictures, to keep and to take away."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st
from jaxtyping import Float64, UInt8

from dashboard.markdown import plain
from dashboard.pictures import enlarged, to_uint8
from dashboard.resources import LoadedRun, ShownMap
from dashboard.state import Visit
from vae import encodings_table, table_bytes

MAX_GROUPS = 12
MAX_NAME = 40
READ_AT_ONCE = 10_000
"""Images of a selection that are in the memory at once."""


def selection_panel(loaded: LoadedRun, visit: Visit, shown: ShownMap) -> None:
    """Count, class mix, mean image and decoded mean of the selected images; nothing where fewer than two are selected."""
    rows = visit.selection_rows
    if not rows:
        _kept_groups(visit)
        return
    with st.container(border=True):
        st.markdown(f"**{len(rows):,} images selected** of {len(loaded.data):,}")
        mix, pictures = st.columns([3, 2])
        with mix:
            _class_mix(loaded, rows)
        with pictures:
            _means(loaded, visit, rows)
        _keep_and_take(loaded, visit, shown, rows)
    _kept_groups(visit)


def _class_mix(loaded: LoadedRun, rows: Sequence[int]) -> None:
    elbo = loaded.encodings.elbo[list(rows)]
    st.caption(f"−ELBO {-elbo.mean():.1f} nats on average (one sample of z each), from {-elbo.max():.1f} to {-elbo.min():.1f}.")
    if loaded.data.labels is None:
        return
    labels = loaded.data.labels[list(rows)]
    counts = np.bincount(labels, minlength=len(loaded.data.class_names))
    order = [label for label in np.argsort(-counts, kind="stable") if counts[label]]
    table = pd.DataFrame(
        {
            "class": [loaded.data.class_names[label] for label in order],
            "images": counts[order],
            "share": 100 * counts[order] / len(rows),
        }
    )
    share = st.column_config.ProgressColumn("share", format="%.0f %%", min_value=0, max_value=100)
    st.dataframe(table, hide_index=True, column_config={"share": share}, height=min(246, 37 + 35 * len(order)))


def _means(loaded: LoadedRun, visit: Visit, rows: Sequence[int]) -> None:
    encodings = loaded.encodings
    centre = encodings.mean[list(rows)].mean(axis=0)
    average = np.rint(_mean_image(loaded.data.images, rows)).astype(np.uint8)
    first, second = st.columns(2)
    first.image(enlarged(average), caption="mean of the images", width="stretch", alt="Mean of the selected images")
    decoded = to_uint8(loaded.decode(centre[None])[0])
    second.image(enlarged(decoded), caption="their mean z, decoded", width="stretch", alt="Mean encoding, decoded")
    st.button(
        "Go to their mean z",
        on_click=lambda: visit.go(centre, "selection"),
        help="Make the mean of their posterior means the current latent point.",
    )


def _mean_image(images: UInt8[np.ndarray, "n c h w"], rows: Sequence[int]) -> Float64[np.ndarray, "c h w"]:
    """The mean of some images, read a part at a time: a lasso may hold hundreds of thousands."""
    parts = (images[list(rows[start : start + READ_AT_ONCE])] for start in range(0, len(rows), READ_AT_ONCE))
    return np.asarray(sum(part.sum(axis=0, dtype=np.float64) for part in parts) / len(rows))


def _keep_and_take(loaded: LoadedRun, visit: Visit, shown: ShownMap, rows: Sequence[int]) -> None:
    def keep() -> None:
        name = str(st.session_state.get("group-name", "")).strip()[:MAX_NAME] or f"group {len(visit.groups) + 1}"
        if name in visit.groups or len(visit.groups) < MAX_GROUPS:
            visit.groups[name] = tuple(rows)
        else:
            visit.notes.append(f"At most {MAX_GROUPS} groups are kept: forget one first.")

    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("Name of the group", key="group-name", placeholder=f"group {len(visit.groups) + 1}", width=170)
        st.button("Keep as a group", on_click=keep, help="Keep these images under a name for this visit.")
        name = f"{visit.run}-selection"
        st.download_button(
            "CSV",
            data=lambda: table_csv(loaded, shown, rows),
            file_name=f"{name}.csv",
            mime="text/csv",
            on_click="ignore",
            icon=":material/download:",
            help="Row, class, map coordinates and ELBO terms (nats, one sample of z).",
        )
        st.download_button(
            "NPZ",
            data=lambda: means_npz(loaded, rows),
            file_name=f"{name}.npz",
            mime="application/octet-stream",
            on_click="ignore",
            icon=":material/download:",
            help="Rows, posterior means and log-variances of the selected images.",
        )


def _kept_groups(visit: Visit) -> None:
    if not visit.groups:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("Groups kept: " + ", ".join(f"{plain(name)} ({len(rows):,})" for name, rows in visit.groups.items()))
        st.button("Forget them", on_click=visit.groups.clear, type="tertiary")


def table_csv(loaded: LoadedRun, shown: ShownMap, rows: Sequence[int]) -> bytes:
    """A table of test images: row, class where there are classes, ELBO terms in nats (one sample of z), map coordinates."""
    table = encodings_table(loaded.encodings, loaded.data, shown.map)
    posterior = [name for name in table.columns if name.startswith(("mean_", "logvar_"))]
    return table_bytes(table.drop(columns=posterior).iloc[list(rows)], "csv")


def means_npz(loaded: LoadedRun, rows: Sequence[int]) -> bytes:
    """Rows, posterior means and log-variances of test images as ``.npz``."""
    buffer, chosen = io.BytesIO(), list(rows)
    arrays = {"rows": np.array(chosen), "mean": loaded.encodings.mean[chosen], "logvar": loaded.encodings.logvar[chosen]}
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
