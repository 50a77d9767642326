"""Uploads on their way to data sets: gone when the import has ended, however it ended; and no other file ever is."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

import vae.pack
from vae import DataError, list_datasets, load_dataset
from vae.__main__ import main
from vae.data import DATA_VARIABLE
from vae.jobs import LOCK_FILE, STATUS_FILE, JobStatus, job_status, run_job
from vae.staged import clear_upload, list_uploads, stage_upload, upload_folder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ``data/``."""
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def images(count: int = 30) -> bytes:
    """An NPY file of grey images."""
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(0).integers(0, 256, (count, 16, 16)).astype(np.uint8))
    return buffer.getvalue()


def ended(name: str) -> JobStatus:
    """How an import ended, after which nothing but its status is left."""
    folder = upload_folder(name)
    assert sorted(path.name for path in folder.iterdir()) == [STATUS_FILE, LOCK_FILE]
    assert not (folder.parent / f".importing-{name}").exists()
    status = job_status(folder)
    assert status is not None
    return status


def test_an_upload_becomes_a_data_set_and_is_gone(root: Path) -> None:
    before = tempfile.gettempdir()
    path = stage_upload("own", "x.npy", images())
    assert list_datasets() == []
    assert list_uploads() == ["own"]
    assert main(["import", str(path), "--name", "own"]) == 0
    status = ended("own")
    assert (status.state, status.done, status.total) == ("finished", 30, 30)
    assert status.subject == {"name": "own", "size": None, "grey": False}
    assert len(load_dataset("own", "train")) == 24
    assert list_datasets() == ["own"]
    assert tempfile.gettempdir() == before


def test_a_refused_and_a_stopped_import_leave_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(stage_upload("text", "x.npy", b"hello, world")), "--name", "text"]) == 2
    assert (ended("text").state, ended("text").error) == ("failed", capsys.readouterr().err.strip().removeprefix("error: "))
    real, path = vae.pack.fit_image, stage_upload("own", "x.npy", images())

    def stopped(*arguments: object) -> np.ndarray:
        assert (root / ".importing-own" / "packed").is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(vae.pack, "fit_image", stopped)
    assert main(["import", str(path), "--name", "own"]) == 130
    assert ended("own").state == "stopped"
    assert capsys.readouterr().err.endswith("stopped; nothing was kept\n")
    monkeypatch.setattr(vae.pack, "fit_image", real)
    assert list_datasets() == []


def test_two_imports_under_one_name(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = stage_upload("own", "x.npy", images()), stage_upload("own", "x.npy", images())
    with run_job(upload_folder("own"), {}):
        assert main(["import", str(second), "--name", "own"]) == 2
        assert "another process is at work here: wait for it, or stop it" in capsys.readouterr().err
        assert not second.exists()
        clear_upload("own", has_ended=True)
        assert first.exists()  # its import runs
    clear_upload("own", has_ended=True)
    assert not first.exists()


def test_only_an_upload_of_that_name_is_taken_away(root: Path, tmp_path: Path) -> None:
    own = tmp_path / "x.npy"
    own.write_bytes(images())
    assert main(["import", str(own), "--name", "own"]) == 0
    other = stage_upload("other", "x.npy", images())
    assert main(["import", str(other), "--name", "third"]) == 0
    assert own.exists()
    assert other.exists()
    assert list_uploads() == ["other"]


def test_an_upload_that_cannot_be_staged(root: Path, tmp_path: Path) -> None:
    for name in ("../evil", "", "A"):
        with pytest.raises(DataError, match="a data set is named by lower-case letters"):
            stage_upload(name, "x.npy", b"")
    with pytest.raises(DataError, match="the upload can't be written .*: check the disk and its permissions"):
        stage_upload("own", "x" * 300, b"")
    assert list((root / ".upload-own").iterdir()) == []
    (root / ".upload-Evil").mkdir()
    assert list_uploads() == ["own"]
    clear_upload("own", has_ended=False)
    assert list_uploads() == ["own"]  # something may be about to begin there
    os.utime(root / ".upload-own", (1e9, 1e9))
    clear_upload("own", has_ended=False)
    assert list_uploads() == []
