"""What `fit` makes of the options, and what it says and leaves when a disk or a data set fails it."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import vae.fit
from vae import (
    DataError,
    Epoch,
    ModelConfig,
    Run,
    RunError,
    Step,
    TrainConfig,
    fit,
    import_dataset,
    load_dataset,
    load_run_data,
    open_run,
    resume,
)
from vae.__main__ import main
from vae.data import split_rows
from vae.device import give_way
from vae.runs import CHECKPOINTS_VARIABLE

MODEL = ModelConfig(height=8, width=8, latent=3, widths=(4,), blocks=0, hidden=8)
CONFIG = TrainConfig(epochs=3, batch_size=16, learning_rate=1e-2, precision="fp32")
CPU = torch.device("cpu")
TRAIN = ["train", "--dataset", "tiny", "--device", "cpu", "--latent", "3", "--widths", "4", "--hidden", "8", "--epochs", "3"]
TRAIN += ["--batch-size", "16", "--run"]


@pytest.fixture(autouse=True)
def few(workspace: object, tmp_path: Path, write_idx: Callable[[Path, np.ndarray], None]) -> Path:
    """The folder of a workspace with 12 test images in ``tiny``: too few for a UMAP, which would only take time here."""
    for path in (tmp_path / "data" / "tiny").glob("t10k-*"):
        path.unlink()
    images = np.random.default_rng(3).integers(0, 256, (12, 8, 8)).astype(np.uint8)
    write_idx(tmp_path / "data" / "tiny" / "t10k-images-idx3-ubyte", images)
    return tmp_path


def trained(name: str, report: Callable[[object], None] = lambda _: None, **options: object) -> Run:
    return fit(name, "tiny", MODEL, dataclasses.replace(CONFIG, **options), "fast", CPU, report)  # type: ignore[arg-type]


def weights(name: str) -> bytes:
    return (open_run(name).path / "weights.safetensors").read_bytes()


@cache
def whole_weights() -> bytes:
    """Those of the plain training that nothing has interrupted: the data are the same in every test."""
    trained("whole")
    return weights("whole")


class Cut(Exception):
    """Stands in for whatever ends a process in the middle of things."""


def at_step(number: int, action: Callable[[], None]) -> Callable[[object], None]:
    return lambda event: action() if isinstance(event, Step) and event.step == number else None


def cut() -> None:
    raise Cut


# --- options -------------------------------------------------------------------------------------------------------


def test_the_averaged_weights_are_kept_and_served_and_the_state_has_both(few: Path) -> None:
    run = trained("averaged", ema_decay=0.7, epochs=1)
    stored = run.load_state()
    assert stored is not None
    kept = safetensors.torch.load_file(run.path / "weights.safetensors")
    for name, value in kept.items():
        assert torch.equal(value, stored[0][f"average.{name}"])
    assert any(not torch.equal(value, stored[0][f"model.{name}"]) for name, value in kept.items())
    with np.load(run.path / "previews" / "epoch-00001.npz") as previews:
        model, x = run.load_model(), torch.tensor(load_run_data(run, "validation").images).float() / 255
        shown = model.likelihood.mean(model.decode(model.encode(x).mean))
        np.testing.assert_allclose(previews["reconstructions"], np.rint(shown.numpy() * 255), atol=1)


def test_a_cut_training_with_options_ends_in_the_same_weights(few: Path) -> None:
    options = {"ema_decay": 0.9, "beta": 2.0, "warmup_epochs": 2, "free_bits": 0.05, "clip_norm": 1.0, "patience": 2}
    trained("whole", **options)
    with pytest.raises(Cut):
        trained("cut", at_step(6, cut), **options)
    resume("cut", CPU)
    assert weights("cut") == weights("whole")
    for key in ("train", "validation", "beta", "gradient_norm", "epochs_since_best"):
        assert [line[key] for line in open_run("cut").metrics()] == [line[key] for line in open_run("whole").metrics()]


def test_early_stopping_is_told_and_is_an_end(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure, told = sys.modules["vae.train"].validate, iter([-50.0, -60.0, -70.0])
    pretend = lambda *given: (dataclasses.replace(measure(*given)[0], elbo=next(told)), *measure(*given)[1:])  # noqa: E731
    monkeypatch.setattr(sys.modules["vae.train"], "validate", pretend)
    run = trained("tired", epochs=50, patience=2)
    status = run.status()
    assert status is not None
    assert (status.state, status.epoch, status.epochs) == ("finished", 3, 50)
    assert [line["best"] for line in run.metrics()] == [True, False, False]
    assert "stopped early: 2 epochs without a better validation ELBO" in (run.path / "train.log").read_text()
    before = weights("tired")
    resume("tired", CPU)
    assert (weights("tired"), len(run.metrics())) == (before, 3)


def test_a_note_is_printed_and_logged(few: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["vae.train"], "COMPILER", "no-such-compiler")
    assert main([*TRAIN, "note", "--compile", "--precision", "fp32"]) == 0
    assert "note: torch.compile doesn't work here (" in capsys.readouterr().err
    assert "torch.compile doesn't work here (" in (open_run("note").path / "train.log").read_text()


def test_the_validation_split_has_the_size_asked_for_everywhere(few: Path) -> None:
    run = trained("quarter", validation_fraction=0.25, epochs=1)
    assert [len(load_run_data(run, split)) for split in ("train", "validation", "test")] == [45, 15, 12]  # type: ignore[arg-type]
    assert load_run_data(run, "validation").digest == load_dataset("tiny", "validation", 0.25).digest
    both = np.concatenate([split_rows(60, "train", 0.25), split_rows(60, "validation", 0.25)])
    assert sorted(both) == list(range(60))
    assert set(split_rows(60, "validation")) <= set(split_rows(60, "validation", 0.25))  # the same drawing, cut elsewhere
    assert np.array_equal(split_rows(60_000, "validation", 1 / 12), split_rows(60_000, "validation"))
    plain = trained("plain", epochs=1)
    assert [len(load_run_data(plain, split)) for split in ("train", "validation")] == [55, 5]  # type: ignore[arg-type]
    steps: list[int] = []
    resume("quarter", CPU, lambda event: steps.append(event.step) if isinstance(event, Epoch) else None)
    assert steps == []  # done, and its data are those that it had
    with pytest.raises(DataError, match="a validation_fraction of 0.9 leaves none of 3 images to train on: lower it"):
        split_rows(3, "train", 0.9)


def test_an_import_has_the_validation_split_that_it_was_asked_for(few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (70, 16, 16)).astype(np.uint8)
    np.save(few / "own.npy", images)
    assert main(["import", str(few / "own.npy"), "--name", "own", "--validation-fraction", "0.25"]) == 0
    assert [len(load_dataset("own", split)) for split in ("train", "validation", "test")] == [45, 15, 10]  # type: ignore[arg-type]
    with pytest.raises(DataError, match="has the splits that its import made: leave validation_fraction out, or import"):
        load_dataset("own", "train", 0.1)
    capsys.readouterr()
    assert main(["import", str(few / "own.npy"), "--name", "other", "--validation-fraction", "1.5"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "error: validation_fraction must be between 0 and 1, got 1.5"


def test_older_lines_of_metrics_are_kept(few: Path) -> None:
    with pytest.raises(Cut):
        trained("old", at_step(6, cut))
    run = open_run("old")
    (line,) = run.metrics()
    older = {name: value for name, value in line.items() if name not in ("beta", "gradient_norm", "epochs_since_best")}
    (run.path / "metrics.jsonl").write_text(json.dumps(older) + "\n")
    config = json.loads((run.path / "config.json").read_text())
    for name in ("beta", "ema_decay", "free_bits", "clip_norm", "patience", "warmup_epochs", "validation_fraction", "compile"):
        del config["train"][name]
    (run.path / "config.json").write_text(json.dumps(config))
    resume("old", CPU)
    assert [line["epoch"] for line in run.metrics()] == [1, 2, 3]
    assert weights("old") == whole_weights()


# --- TensorBoard, and giving way -----------------------------------------------------------------------------------


def test_the_curves_are_in_tensorboard_once_after_a_cut_too(few: Path) -> None:
    with pytest.raises(Cut):
        fit("curves", "tiny", MODEL, CONFIG, "fast", CPU, at_step(6, cut), tensorboard=True)
    resume("curves", CPU, tensorboard=True)
    run = open_run("curves")
    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    lines = run.metrics()
    found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    for tag, values in {
        "negative_elbo/train": [-line["train"]["elbo"] for line in lines],
        "negative_elbo/validation": [-line["validation"]["elbo"] for line in lines],
        "reconstruction/validation": [-line["validation"]["reconstruction"] for line in lines],
        "kl/validation": [line["validation"]["kl"] for line in lines],
        "learning_rate": [line["learning_rate"] for line in lines],
        "gradient_norm": [line["gradient_norm"] for line in lines],
    }.items():
        assert [step for step, _ in found[tag]] == [4, 8, 12]
        assert [value for _, value in found[tag]] == pytest.approx(values, rel=1e-5)
    assert [step for step, _ in found["negative_elbo/batch"]] == list(range(1, 13))


def test_without_tensorboard_a_sentence_and_no_folder(
    few: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # what Python does for a module that isn't there
    assert main([*TRAIN, "x", "--tensorboard"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said == ["error: --tensorboard needs TensorBoard, which isn't installed: python -m pip install tensorboard"]
    assert list((few / "checkpoints").iterdir()) == []


PRIORITY = """
import json, os, sys
from pathlib import Path
from vae import Step
from vae.__main__ import _Progress, main
import torch
show, seen = _Progress._show, {}
def look(self, event):
    show(self, event)
    if isinstance(event, Step):
        seen["niceness"] = os.getpriority(os.PRIO_PROCESS, 0)
        seen["threads"] = torch.get_num_threads()
_Progress._show = look
before = torch.get_num_threads()
assert main(sys.argv[1:]) == 0
print(json.dumps(seen | {"before": before, "cores": len(os.sched_getaffinity(0))}))
"""


def test_in_the_background_it_gives_way(few: Path) -> None:
    now = os.getpriority(os.PRIO_PROCESS, 0)
    command = [sys.executable, "-c", PRIORITY, *TRAIN, "x", "--background", "--epochs", "1"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    seen = json.loads(ended.stdout.splitlines()[-1])
    assert seen["niceness"] == max(10, now)
    assert seen["threads"] == max(1, min(seen["before"], seen["cores"] - 1))


@pytest.mark.parametrize(("before", "after"), [(0, 10), (10, 10), (15, 15)])
def test_whoever_gives_way_already_gives_no_less(monkeypatch: pytest.MonkeyPatch, before: int, after: int) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "getpriority", lambda *_: before)
    monkeypatch.setattr(os, "setpriority", lambda which, who, niceness: asked.append(niceness))
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    give_way()
    assert asked == [after, 5]


# --- what fails ----------------------------------------------------------------------------------------------------


def failing(error: int) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise OSError(error, os.strerror(error))

    return fail


@pytest.mark.parametrize("what", ["metrics.jsonl", "weights.safetensors", "train.log"])
def test_a_disk_that_is_full_at_any_file_leaves_a_state_to_go_on_from(
    few: Path, what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = whole_weights()
    monkeypatch.setattr(sys.modules["vae.fit"], "STATUS_SECONDS", 0.0)
    full: list[bool] = []
    write, opened, descriptor = vae.runs.write_atomic, Path.open, os.fsync

    def write_or_fail(path: Path, content: bytes) -> None:
        if full and path.name == what:
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", failing(errno.ENOSPC))
                write(path, content)
        write(path, content)

    def open_or_fail(self: Path, mode: str = "r", *given: object, **how: object) -> io.IOBase:
        if full and self.name == what and mode[0] == "a":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return opened(self, mode, *given, **how)  # type: ignore[call-overload,no-any-return]

    with monkeypatch.context() as patch:
        patch.setattr(vae.runs, "write_atomic", write_or_fail)
        patch.setattr(Path, "open", open_or_fail)
        with pytest.raises(OSError, match="No space left on device"):
            trained("full", at_step(6, lambda: full.append(True)))
    assert os.fsync is descriptor
    run = open_run("full")
    stored = run.load_state()
    assert stored is not None
    assert stored[1]["epoch"] == 1
    assert run.load_model()
    resume("full", CPU)
    assert weights("full") == expected
    assert [line["epoch"] for line in run.metrics()] == [1, 2, 3]


def test_a_checkpoints_folder_that_cannot_be_written_is_a_sentence(
    few: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (few / "file").write_text("no folder")
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(few / "file"))
    assert main([*TRAIN, "x"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"error: {few / 'file' / 'x'}: the run's folder can't be written (")
    assert said.endswith("): check the disk and its permissions")


def test_a_folder_that_has_become_read_only_is_a_sentence_and_stays_as_it_is(
    few: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Cut):
        trained("cut", at_step(6, cut))
    state = (open_run("cut").path / "state" / "state.safetensors").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", failing(errno.EROFS))
        assert main(["train", "--run", "cut", "--resume", "--device", "cpu"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"error: {open_run('cut').path / 'status.json'}: Read-only file system"
    assert (open_run("cut").path / "state" / "state.safetensors").read_bytes() == state
    resume("cut", CPU)


def test_a_data_set_that_vanishes_is_a_sentence_at_the_next_look(few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, away = few / "data" / "tiny", few / "away"
    expected = whole_weights()
    with pytest.raises(DataError, match="no test images there"):  # the images are in memory: it is missed when evaluating
        trained("bereft", at_step(6, lambda: folder.rename(away) and None))
    run = open_run("bereft")
    status = run.status()
    assert status is not None
    assert status.state == "failed"
    assert "no test images there" in str(status.error)
    assert main(["train", "--run", "bereft", "--resume", "--device", "cpu"]) == 2
    assert "no train images there" in capsys.readouterr().err.splitlines()[-1]
    away.rename(folder)
    resume("bereft", CPU)
    assert weights("bereft") == expected


@pytest.mark.parametrize(("split", "how"), [("train", "cut"), ("validation", "gone")])
def test_mapped_images_that_vanish_are_a_sentence_and_the_state_stays(
    few: Path, split: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["vae.train"], "MEMORY_SHARE", 0.0)
    np.save(few / "own.npy", np.random.default_rng(0).integers(0, 256, (82, 16, 16)).astype(np.uint8))
    import_dataset(few / "own.npy", "own")
    file = few / "data" / "own" / "packed" / f"{split}-images.npy"
    content = file.read_bytes()

    def spoil() -> None:
        file.unlink() if how == "gone" else os.truncate(file, 200)

    model = dataclasses.replace(MODEL, height=16, width=16)
    with pytest.raises(DataError, match=f"{split}-images.npy: the images of data set own have gone or been cut .* restore"):
        fit("bereft", "own", model, CONFIG, "fast", CPU, at_step(6, spoil))
    run = open_run("bereft")
    status, stored = run.status(), run.load_state()
    assert status is not None
    assert stored is not None
    assert (status.state, stored[1]["epoch"]) == ("failed", 1)
    file.write_bytes(content)
    resume("bereft", CPU)
    fit("whole", "own", model, CONFIG, "fast", CPU)
    assert weights("bereft") == weights("whole")


def test_a_run_whose_data_were_split_otherwise_is_refused(few: Path) -> None:
    with pytest.raises(Cut):
        trained("cut", at_step(6, cut))
    file = open_run("cut").path / "config.json"
    values = json.loads(file.read_text())
    values["train"]["validation_fraction"] = 0.3
    file.write_text(json.dumps(values))
    with pytest.raises(DataError, match="its train images are not those that run cut was made with"):
        resume("cut", CPU)
    values["train"]["validation_fraction"] = 3
    file.write_text(json.dumps(values))
    with pytest.raises(RunError, match="validation_fraction must be from 0.0001 to 0.9, got 3"):
        resume("cut", CPU)
