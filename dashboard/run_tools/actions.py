"""What can be done to a run: rename, duplicate its settings, download, delete; and import one."""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path

import streamlit as st

from dashboard.markdown import plain
from dashboard.permissions import changes_allowed, may_change
from dashboard.training.form import duplicate_settings
from vae import Run, RunError, delete_run, import_run, open_run, pack_run, rename_run
from vae.run_archive import MAX_PACKED_BYTES

MAX_MEGABYTES = 200
TOLD = "runs-told"
"""The session key of what to say once, after what was done."""


def run_actions(names: list[str]) -> None:
    """Draw the choice of a run and what can be done to it."""
    told = st.session_state.pop(TOLD, None)
    if told:
        st.success(told)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Run to work with", names, key="runs-chosen", width=280)
        try:
            run = open_run(name)
        except RunError as error:
            st.error(plain(str(error)))
            return
        if st.button("New run with these settings", icon=":material/content_copy:", disabled=not may_change()[0]):
            duplicate_settings(name)
            st.switch_page("views/train.py")
        _download(run)
    if may_change()[0]:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            _rename(name)
        _delete(name)


def _download(run: Run) -> None:
    size = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file() and not path.is_symlink())
    st.download_button(
        "Download (ZIP)",
        data=lambda: _packed(run),
        file_name=f"{run.name}.zip",
        mime="application/zip",
        on_click="ignore",
        icon=":material/download:",
        disabled=size > MAX_PACKED_BYTES,
        help="Its configuration, weights, curves, encodings, maps and pictures; what a resume needs, unless it is finished.",
    )


def _packed(run: Run) -> bytes:
    buffer = io.BytesIO()
    pack_run(run, buffer)
    return buffer.getvalue()


def _rename(name: str) -> None:
    new = st.text_input("New name", name, max_chars=64, key=f"runs-new-name-{name}", width=280)
    if st.button("Rename", icon=":material/edit:", disabled=new == name):
        try:
            rename_run(name, new)
        except RunError as error:
            st.error(plain(str(error)))
            return
        _done(f"Run {name} is now called {new}.", new)


def _delete(name: str) -> None:
    """Asked twice: the second button names the run, and is there only after the first."""
    asked = "runs-delete-asked"
    if st.session_state.get(asked) != name:
        if st.button("Delete …", icon=":material/delete:"):
            st.session_state[asked] = name
            st.rerun()
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"Delete run **{name}** with its weights, curves and maps? It can't be undone.")
        confirmed = st.button(f"Delete {name} for good", type="primary", icon=":material/delete_forever:")
        if st.button("Keep it"):
            st.session_state[asked] = None
            st.rerun()
    if confirmed:
        try:
            delete_run(name)
        except RunError as error:
            st.error(plain(str(error)))
            return
        st.session_state[asked] = None
        _done(f"Run {name} is deleted.", None)


def _done(sentence: str, chosen: str | None) -> None:
    st.session_state[TOLD] = sentence
    st.session_state.pop("runs-chosen", None)
    if chosen:
        st.session_state["runs-chosen"] = chosen
    st.rerun()


def import_panel() -> None:
    """Draw the uploader of a run's zip file, and the button that takes it in."""
    if not changes_allowed():
        return
    file = st.file_uploader(
        f"A run's zip file, at most {MAX_MEGABYTES} MB", type="zip", max_upload_size=MAX_MEGABYTES, key="runs-upload"
    )
    st.caption("As Download gives it. It is checked file by file before it is kept; nothing in it is executed.")
    if file is None:
        return
    stem = re.sub(r"[^a-z0-9._-]+", "-", Path(file.name).stem.lower()).strip("-._")[:60] or "imported"
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name it", stem, max_chars=64, key=f"runs-import-name-{stem}", width=280)
        pressed = st.button("Import", type="primary", icon=":material/upload:")
    if not pressed:
        return
    try:
        with st.spinner("Checking and unpacking"), tempfile.TemporaryDirectory(prefix="latent-explorer-") as folder:
            path = Path(folder) / "upload.zip"
            path.write_bytes(file.getbuffer())
            import_run(path, name)
    except (RunError, OSError) as error:
        st.error(f"Not imported. {plain(str(error))}")
        return
    _done(f"Run {name} is imported.", name)
