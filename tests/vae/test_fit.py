"""From first step to map, and what a kill, a stop or a full disk leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vae import (
    DataError,
    Epoch,
    MapConfig,
    ModelConfig,
    Run,
    RunError,
    Step,
    Stopped,
    TrainConfig,
    fit,
    make_map,
    open_run,
    resume,
)
from vae.__main__ import main

MODEL = ModelConfig(height=8, width=8, latent=3, widths=(4,), blocks=0, hidden=8)
CONFIG = TrainConfig(epochs=3, batch_size=16, learning_rate=1e-2, precision="fp32")
CPU = torch.device("cpu")
TRAIN = ["train", "--dataset", "tiny", "--latent", "3", "--widths", "4", "--hidden", "8", "--epochs", "3", "--batch-size", "16"]


def weights(name: str) -> bytes:
    return (open_run(name).path / "weights.safetensors").read_bytes()


def train(name: str, report: Callable[[object], None] = lambda _: None) -> Run:
    return fit(name, "tiny", MODEL, CONFIG, "fast", CPU, report)


class Cut(Exception):
    """Stands in for whatever ends a process in the middle of things."""


def cut_at(step: int) -> Callable[[object], None]:
    def report(event: object) -> None:
        if isinstance(event, Step) and event.step == step:
            raise Cut

    return report


# --- interruptions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 4, 5, 12])
def test_a_training_cut_anywhere_resumes_to_the_same_weights(workspace: object, step: int) -> None:
    train("whole")
    with pytest.raises(Cut):
        train("cut", cut_at(step))
    resume("cut", CPU)
    assert weights("cut") == weights("whole")
    whole, cut = open_run("whole").metrics(), open_run("cut").metrics()
    assert [line["epoch"] for line in cut] == [1, 2, 3]
    for first, second in zip(whole, cut, strict=True):
        assert first["train"] == second["train"]
        assert first["validation"] == second["validation"]
    status = open_run("cut").status()
    assert status is not None
    assert status.state == "finished"


def test_state_is_saved_within_an_epoch_too(workspace: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["vae.fit"], "STATE_SECONDS", 0.0)  # vae.fit itself is the function
    train("whole")
    with pytest.raises(Cut):
        train("cut", cut_at(3))
    stored = open_run("cut").load_state()
    assert stored is not None
    assert stored[1]["step"] == 2  # the report of step 3 came before its state was saved
    resume("cut", CPU)
    assert weights("cut") == weights("whole")


def test_killed_for_good_and_resumed_by_the_command_line(workspace: object) -> None:
    """kill -9 of the real process in its first epochs, as soon as it has saved a state."""
    train("whole")
    command = [sys.executable, "-m", "vae", *TRAIN, "--run", "killed", "--learning-rate", "0.01", "--precision", "fp32"]
    command += ["--blocks", "0", "--weight-decay", "0", "--schedule", "one-cycle"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        saved = Path(os.environ["LATENT_EXPLORER_CHECKPOINTS"]) / "killed" / "state" / "state.safetensors"
        while not saved.exists() and process.poll() is None:
            pass
        os.kill(process.pid, signal.SIGKILL)
    assert main(["train", "--run", "killed", "--resume", "--device", "cpu"]) == 0
    # NOTE: bit-equality is tested above within one process, and across processes by the soak test.
    assert [line["epoch"] for line in open_run("killed").metrics()] == [1, 2, 3]
    assert -open_run("killed").reports()["samples=1,seed=0"]["elbo"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_stops_and_says_how_to_go_on(
    workspace: object, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    train("whole")

    def interrupt(event: object) -> None:
        if isinstance(event, Step) and event.step == 6:
            os.kill(os.getpid(), number)

    with pytest.raises(Stopped):
        train("stopped", interrupt)
    run = open_run("stopped")
    status, stored = run.status(), run.load_state()
    assert status is not None
    assert stored is not None
    assert (status.state, stored[1]["step"]) == ("stopped", 6)
    assert not run.is_locked()
    assert main(["train", "--run", "stopped", "--resume"]) == 0
    assert weights("stopped") == weights("whole")


def test_the_command_line_says_that_it_stopped(
    workspace: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> Run:
        raise Stopped

    monkeypatch.setattr("vae.__main__.fit", stopped)
    assert main([*TRAIN, "--run", "x"]) == 130
    assert "stopped and saved; continue with: python -m vae train --run x --resume" in capsys.readouterr().err


# --- what goes wrong -----------------------------------------------------------------------------------------------


def test_a_full_disk_is_told_and_leaves_the_earlier_state(workspace: object, monkeypatch: pytest.MonkeyPatch) -> None:
    import vae.runs

    write = vae.runs.write_atomic
    seen = {"states": 0}

    def fill_up(path: Path, content: bytes) -> None:
        if path.name == "state.safetensors":
            seen["states"] += 1
            if seen["states"] == 2:
                raise OSError(28, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(vae.runs, "write_atomic", fill_up)
    with pytest.raises(OSError, match="No space left on device"):
        train("full")
    run = open_run("full")
    status, stored = run.status(), run.load_state()
    assert status is not None
    assert status.state == "failed"
    assert "No space left on device" in str(status.error)
    assert stored is not None
    assert stored[1]["epoch"] == 1
    resume("full", CPU)
    monkeypatch.undo()


def test_data_that_changed_is_refused_on_resume(workspace: object, write_idx: Callable[[Path, np.ndarray], None]) -> None:
    with pytest.raises(Cut):
        train("cut", cut_at(5))
    folder = Path(os.environ["LATENT_EXPLORER_DATA"]) / "tiny"
    images = np.zeros((60, 8, 8), np.uint8)
    write_idx(folder / "train-images-idx3-ubyte.gz", images)
    with pytest.raises(
        DataError, match="its train images are not those this run was trained on .* restore them, or start a new run"
    ):
        resume("cut", CPU)


def test_a_state_that_cannot_be_read_is_named(workspace: object) -> None:
    with pytest.raises(Cut):
        train("cut", cut_at(5))
    file = open_run("cut").path / "state" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RunError, match="state.safetensors: expected a saved training state .* delete state/ to start over"):
        resume("cut", CPU)


def test_a_loss_that_is_not_finite_fails_with_a_sentence(workspace: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["vae.train"], "learning_rate_at", lambda *_: 1e30)
    with pytest.raises(FloatingPointError, match="lower the learning rate") as caught:
        train("wild")
    status = open_run("wild").status()
    assert status is not None
    assert (status.state, status.error) == ("failed", str(caught.value))


def test_a_name_in_use_is_refused_and_nothing_is_touched(tiny_run: Run) -> None:
    before = weights("tiny-run")
    with pytest.raises(RunError, match="a run of that name exists"):
        train("tiny-run")
    assert weights("tiny-run") == before


# --- a finished run ------------------------------------------------------------------------------------------------


def test_events_come_in_order(workspace: object) -> None:
    events: list[object] = []
    train("told", events.append)
    names = [event if isinstance(event, str) else type(event).__name__ for event in events]
    assert names == ["training", *(["Step"] * 4 + ["Epoch"]) * 3, "evaluating", "making the map"]
    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, 13))


def test_the_weights_are_kept_of_the_best_epoch_only(workspace: object) -> None:
    saved: list[bytes] = []

    def watch(event: object) -> None:
        if isinstance(event, Epoch) and event.best:
            saved.append(weights("best"))

    train("best", watch)
    assert saved[-1] == weights("best")


def test_previews_show_the_fixed_images(tiny_run: Run) -> None:
    with np.load(tiny_run.path / "previews" / "epoch-00002.npz") as stored:
        assert stored["reconstructions"].shape == (5, 1, 8, 8)  # all of the 5 validation images, up to 16
        assert stored["samples"].shape == (16, 1, 8, 8)
        assert stored["samples"].dtype == np.uint8


def test_a_map_of_each_kind(tiny_run: Run) -> None:
    assert make_map(tiny_run, MapConfig(method="pca")).coordinates.shape == (24, 2)
    again = make_map(tiny_run, MapConfig(neighbors=5, seed=1))
    assert np.array_equal(make_map(tiny_run, MapConfig(neighbors=5, seed=1)).coordinates, again.coordinates)
    with pytest.raises(RunError, match="a UMAP with 50 neighbours needs more than 50 points, got 24"):
        make_map(tiny_run, MapConfig(neighbors=50))


def test_the_log_tells_the_story(tiny_run: Run) -> None:
    log = (tiny_run.path / "train.log").read_text()
    for phrase in ("training on cpu from epoch 1, step 1", "epoch 2: -ELBO train", "nats per image", "making the map"):
        assert phrase in log


def test_the_configuration_is_that_of_the_training(tiny_run: Run) -> None:
    values = json.loads((tiny_run.path / "config.json").read_text())
    assert values["train"]["epochs"] == 2
    assert values["model"]["widths"] == [4]
