"""Runs renamed, deleted, packed and imported; and what is refused: hostile zips, links, runs at work."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from vae.files import take_lock
from vae.jobs import LOCK_FILE
from vae.run_archive import delete_run, import_run, pack_run, rename_run
from vae.runs import Run, RunError, list_runs, open_run

Change = Callable[[dict[str, bytes]], None]


def packed(run: Run) -> bytes:
    buffer = io.BytesIO()
    pack_run(run, buffer)
    return buffer.getvalue()


def changed(run: Run, path: Path, change: Change) -> Path:
    """The zip file of a run with its entries changed."""
    with zipfile.ZipFile(io.BytesIO(packed(run))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def config_with(run: Run, **model: object) -> bytes:
    config = json.loads((run.path / "config.json").read_text())
    config["model"] |= model
    return json.dumps(config).encode()


def test_a_run_goes_out_and_comes_back_the_same(tiny_run: Run, tmp_path: Path) -> None:
    (tmp_path / "run.zip").write_bytes(packed(tiny_run))
    run = import_run(tmp_path / "run.zip", "copy")
    assert list_runs() == ["copy", "tiny-run"] or list_runs() == ["tiny-run", "copy"]
    assert run.config == tiny_run.config
    assert run.weights_digest() == tiny_run.weights_digest()
    assert run.list_maps() == tiny_run.list_maps()
    assert run.metrics() == tiny_run.metrics()
    assert run.preview_epochs() == [1, 2]
    assert not (run.path / "state").exists()  # finished: nothing to resume
    assert sorted(path.name for path in run.path.parent.iterdir()) == ["copy", "tiny-run"]


def test_a_run_at_work_elsewhere_is_imported_as_stopped_with_its_state(tiny_run: Run, tmp_path: Path) -> None:
    status = json.loads((tiny_run.path / "status.json").read_text())
    (tiny_run.path / "status.json").write_text(json.dumps(status | {"state": "running", "pid": 4242}))
    (tmp_path / "run.zip").write_bytes(packed(tiny_run))
    imported = import_run(tmp_path / "run.zip", "copy").status()
    assert imported is not None
    assert (imported.state, imported.pid) == ("stopped", 0)
    assert open_run("copy").load_state() is not None


def test_rename_and_delete(tiny_run: Run) -> None:
    assert rename_run("tiny-run", "other").name == "other"
    assert list_runs() == ["other"]
    delete_run("other")
    assert list_runs() == []
    assert list(tiny_run.path.parent.iterdir()) == []


def test_names_that_are_none_and_names_that_are_taken(tiny_run: Run, tmp_path: Path) -> None:
    shutil.copytree(tiny_run.path, tiny_run.path.parent / "second")
    (tmp_path / "run.zip").write_bytes(packed(tiny_run))
    for name in ("../up", "a/b", "", "UP", ".hidden", "x" * 65):
        for act in (lambda n: rename_run("tiny-run", n), delete_run, lambda n: import_run(tmp_path / "run.zip", n)):
            with pytest.raises(RunError, match="a run is named by lower-case letters"):
                act(name)
    for act in (lambda: rename_run("tiny-run", "second"), lambda: import_run(tmp_path / "run.zip", "second")):
        with pytest.raises(RunError, match="second: a run or a folder of that name exists: choose another name"):
            act()
    with pytest.raises(RunError, match="expected a run's own folder"):
        delete_run("third")
    assert sorted(list_runs()) == ["second", "tiny-run"]


def test_a_run_at_work_is_neither_deleted_nor_renamed(tiny_run: Run) -> None:
    for lock, words in ((tiny_run.path / ".lock", "being trained"), (tiny_run.maps_folder / LOCK_FILE, "a map of this run")):
        with take_lock(lock):
            for act in (lambda: delete_run("tiny-run"), lambda: rename_run("tiny-run", "other")):
                with pytest.raises(RunError, match=words):
                    act()
    assert list_runs() == ["tiny-run"]


def test_links_are_not_followed(tiny_run: Run, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(tiny_run.path, outside)
    (tiny_run.path.parent / "linked").symlink_to(outside)
    with pytest.raises(RunError, match="expected a run's own folder"):
        delete_run("linked")
    (tiny_run.path / "previews" / "epoch-00003.npz").symlink_to(outside / "weights.safetensors")
    (tiny_run.path / "state").rename(tmp_path / "state")
    (tiny_run.path / "state").symlink_to(tmp_path / "state")
    assert "tiny-run/previews/epoch-00003.npz" not in zipfile.ZipFile(io.BytesIO(packed(tiny_run))).namelist()
    delete_run("tiny-run")
    assert (outside / "weights.safetensors").exists()
    assert (tmp_path / "state" / "state.safetensors").exists()


def bomb() -> bytes:
    """An array whose header promises a terabyte."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f4", "fortran_order": False, "shape": (2**38,)})
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("reconstructions", "samples", "mean", "logvar", "kl", "reconstruction", "made_from"):
            archive.writestr(f"{name}.npy", content.getvalue())
    return packed.getvalue()


def other_weights() -> bytes:
    return safetensors.torch.save({"a": torch.zeros(3)}, {"format": "1"})


def pickled() -> bytes:
    content = io.BytesIO()
    np.savez(content, mean=np.array([{"a": 1}], dtype=object))
    return content.getvalue()


HOSTILE: dict[str, tuple[Callable[[Run, dict[str, bytes]], object], str]] = {
    "a path out": (lambda run, files: files.update({"tiny-run/../../evil": b"x"}), "which leads out of it"),
    "an absolute path": (lambda run, files: files.update({"/etc/evil": b"x"}), "which leads out of it"),
    "another file": (lambda run, files: files.update({"tiny-run/run.py": b"x"}), "expected the files of one run, each once"),
    "a lock": (lambda run, files: files.update({"tiny-run/.lock": b""}), "expected the files of one run, each once"),
    "two runs": (lambda run, files: files.update({"b/config.json": b"{}"}), "expected the files of one run, each once"),
    "no config": (lambda run, files: files.pop("tiny-run/config.json"), "found no config.json in it"),
    "no JSON": (lambda run, files: files.update({"tiny-run/config.json": b"{"}), "config.json: expected a JSON file"),
    "a huge config": (
        lambda run, files: files.update({"tiny-run/config.json": b" " * 2**21}),
        "config.json: expected at most 1,048,576 bytes",
    ),
    "a size beyond the caps": (
        lambda run, files: files.update({"tiny-run/config.json": config_with(run, latent=10**9)}),
        "latent must be a whole number from 1 to 1,024",
    ),
    "too many parameters": (
        lambda run, files: files.update(
            {"tiny-run/config.json": config_with(run, height=1024, width=1024, widths=[1024], hidden=4096)}
        ),
        "parameters, at most 300,000,000 are allowed",
    ),
    "weights too large": (
        lambda run, files: files.update({"tiny-run/weights.safetensors": bytes(2**22)}),
        r"weights.safetensors: expected at most [0-9,]+ bytes, its entry says 4,194,304",
    ),
    "weights of another model": (
        lambda run, files: files.update({"tiny-run/weights.safetensors": other_weights()}),
        "weights.safetensors: expected",
    ),
    "no weights at all": (
        lambda run, files: files.update({"tiny-run/weights.safetensors": b"cos\nsystem\n"}),
        "weights.safetensors: expected a whole safetensors file",
    ),
    "a preview that promises a terabyte": (
        lambda run, files: files.update({"tiny-run/previews/epoch-00001.npz": bomb()}),
        "its header promises 1,099,511,627,776 bytes",
    ),
    "encodings that promise a terabyte": (
        lambda run, files: files.update({"tiny-run/encodings.npz": bomb()}),
        "its header promises 1,099,511,627,776 bytes",
    ),
    "pickles": (lambda run, files: files.update({"tiny-run/encodings.npz": pickled()}), "pickled Python objects"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_zip_is_refused_and_leaves_nothing(tiny_run: Run, tmp_path: Path, case: str) -> None:
    change, words = HOSTILE[case]
    source = changed(tiny_run, tmp_path / "run.zip", lambda files: change(tiny_run, files) and None)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RunError, match=words):
        import_run(source, "copy")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_cut_zip_and_one_with_a_name_twice(tiny_run: Run, tmp_path: Path) -> None:
    whole = packed(tiny_run)
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    # NOTE: the end of an inner, stored archive can pass for the end of the outer one.
    with pytest.raises(RunError, match="expected a whole zip file|expected the files of one run"):
        import_run(tmp_path / "cut.zip", "copy")
    twice = tmp_path / "twice.zip"
    twice.write_bytes(whole)
    with zipfile.ZipFile(twice, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("tiny-run/config.json", config_with(tiny_run, latent=10**9))
    with pytest.raises(RunError, match="each once"):
        import_run(twice, "copy")
    damaged = tmp_path / "damaged.zip"
    at = whole.index(b"weights.safetensors") + 2000
    damaged.write_bytes(whole[:at] + bytes(50) + whole[at + 50 :])
    with pytest.raises(RunError, match="damaged inside the zip file"):
        import_run(damaged, "copy")
    assert list_runs() == ["tiny-run"]
