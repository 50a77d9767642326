"""What is loaded before the first visitor comes, and what is left for the page to tell."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard.preload import preload
from vae import VAE, Run, open_run
from vae.runs import CHECKPOINTS_VARIABLE

ROOT = Path(__file__).resolve().parents[2]


def test_the_first_page_finds_its_run_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    st.cache_resource.clear()
    preload()

    def load_model(*_: object) -> VAE:
        raise AssertionError("loaded again")

    def load_map(*_: object) -> None:
        raise AssertionError("loaded again")

    monkeypatch.setattr(Run, "load_model", load_model)
    monkeypatch.setattr(Run, "load_map", load_map)
    app = AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=60).run()
    assert not app.exception
    assert app.session_state["visit"].strips is not None


def test_a_run_that_cannot_be_shown_is_left_to_the_page(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shipped = open_run("fashion-mnist").path
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(tmp_path / "none"))
    preload()  # no run at all
    broken = tmp_path / "runs" / "fashion-mnist"
    shutil.copytree(shipped, broken)
    (broken / "weights.safetensors").write_bytes(b"no weights")
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(broken.parent))
    preload()
    app = AppTest.from_file(str(ROOT / "dashboard" / "app.py"), default_timeout=60).run()
    assert "Run fashion-mnist can't be shown" in app.error[0].value


# The server sets its loggers' levels while the run is being loaded.
STARTED = """
import vae
from streamlit.logger import set_log_level
from dashboard.preload import preload
listed = vae.list_runs
vae.list_runs = lambda: (set_log_level("info"), listed())[1]
preload()
"""


def test_nothing_is_said_of_it() -> None:
    """Streamlit complains of cached functions outside of a page; a person who starts the app sees none of that."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", STARTED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
