"""From first step to map, and what a kill, a stop or a full disk leaves behind."""

from __future__ import annotations

import dataclasses
import hashlib
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

import vae.runs
from vae import (
    ConfigError,
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
from vae.__main__ import _Progress, main

MODEL = ModelConfig(height=8, width=8, latent=3, widths=(4,), blocks=0, hidden=8)
CONFIG = TrainConfig(epochs=3, batch_size=16, learning_rate=1e-2, precision="fp32")
CPU = torch.device("cpu")


def options(*configs: ModelConfig | TrainConfig) -> list[str]:
    """Every field of the configurations as options: what a preset says must not matter here."""
    found: list[str] = []
    for name, value in ((name, value) for config in configs for name, value in dataclasses.asdict(config).items()):
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            found.append(flag if value else flag.replace("--", "--no-", 1))
        elif name not in ("channels", "height", "width"):
            found += [flag, *(str(part) for part in (value if isinstance(value, tuple) else (value,)))]
    return found


TRAIN = ["train", "--dataset", "tiny", "--device", "cpu", *options(MODEL, CONFIG)]


@pytest.fixture
def few(workspace: object, tmp_path: Path, write_idx: Callable[[Path, np.ndarray], None]) -> Path:
    """The folder of a workspace with 12 test images in ``tiny``: too few for a UMAP, which would only take time here."""
    for path in (tmp_path / "data" / "tiny").glob("t10k-*"):
        path.unlink()
    random = np.random.default_rng(3)
    write_idx(tmp_path / "data" / "tiny" / "t10k-images-idx3-ubyte", random.integers(0, 256, (12, 8, 8)).astype(np.uint8))
    write_idx(tmp_path / "data" / "tiny" / "t10k-labels-idx1-ubyte", random.integers(0, 3, 12).astype(np.uint8))
    return tmp_path


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
def test_a_training_cut_anywhere_resumes_to_the_same_weights(few: Path, step: int) -> None:
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


def test_state_is_saved_within_an_epoch_too(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["vae.fit"], "STATE_SECONDS", 0.0)  # vae.fit itself is the function
    train("whole")
    with pytest.raises(Cut):
        train("cut", cut_at(3))
    stored = open_run("cut").load_state()
    assert stored is not None
    assert stored[1]["step"] == 2  # the report of step 3 came before its state was saved
    resume("cut", CPU)
    assert weights("cut") == weights("whole")


def story(name: str) -> dict[str, object]:
    """What two trainings of one recipe must have alike: the weights and the epochs, each once."""
    told = [(line["epoch"], line["train"], line["validation"]) for line in open_run(name).metrics()]
    return {"epochs": told, "weights": hashlib.sha256(weights(name)).hexdigest()}


def assert_same_story(first: str, second: str) -> None:
    one, other = story(first), story(second)
    assert [line[0] for line in other["epochs"]] == [1, 2, 3]  # type: ignore[attr-defined]
    assert other == one, f"{torch.get_num_threads()} threads in this process"


DIE = """
import dataclasses, json, os, signal, sys
import torch
from vae import ModelConfig, Step, TrainConfig, fit
moment, model, config = sys.argv[1], *map(json.loads, sys.argv[2:])
def report(event):
    name = event if isinstance(event, str) else f"{type(event).__name__} {event.step}"
    if name == moment:
        os.kill(os.getpid(), signal.SIGKILL)
model["widths"] = tuple(model["widths"])
fit("killed", "tiny", ModelConfig(**model), TrainConfig(**config), "fast", torch.device("cpu"), report)
"""


@pytest.mark.parametrize(
    ("moment", "state_epoch", "epochs_told"),
    [
        ("Step 2", None, []),  # before the first state
        ("Step 6", 1, [1]),  # within the second epoch
        ("Epoch 8", 1, [1, 2]),  # the second epoch is told, its state not yet saved
        ("making the map", 3, [1, 2, 3]),  # while finishing
    ],
)
def test_killed_for_good_and_resumed(few: Path, moment: str, state_epoch: int | None, epochs_told: list[int]) -> None:
    """kill -9 of a process that trains, at a moment that is known."""
    train("whole")
    arguments = [moment, *(json.dumps(dataclasses.asdict(config)) for config in (MODEL, CONFIG))]
    ended = subprocess.run([sys.executable, "-c", DIE, *arguments], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    run = open_run("killed")
    stored, status = run.load_state(), run.status()
    assert (stored and stored[1]["epoch"]) == state_epoch
    assert [line["epoch"] for line in run.metrics()] == epochs_told
    assert status is not None
    assert status.state == "interrupted"
    resume("killed", CPU)
    assert_same_story("whole", "killed")
    assert run.reports()
    assert run.list_maps() == [MapConfig(method="pca")]


def test_the_command_killed_and_resumed(few: Path) -> None:
    """kill -9 of ``python -m vae train`` as soon as it has saved a state, then ``--resume``."""
    train("whole")
    command = [sys.executable, "-m", "vae", *TRAIN, "--run", "killed"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        saved = few / "checkpoints" / "killed" / "state" / "state.safetensors"
        while not saved.exists():
            assert process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
    assert main(["train", "--run", "killed", "--resume", "--device", "cpu"]) == 0
    assert_same_story("whole", "killed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_stops_and_says_how_to_go_on(
    few: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
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


def test_the_command_line_stops_at_ctrl_c_and_says_how_to_go_on(
    few: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train("whole")
    show = _Progress._show

    def interrupt(self: _Progress, event: object) -> None:
        show(self, event)  # type: ignore[arg-type]
        if isinstance(event, Step) and event.step == 6:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(_Progress, "_show", interrupt)
        assert main([*TRAIN, "--run", "x"]) == 130
    hint = "stopped and saved; continue with: python -m vae train --run x --resume"
    assert capsys.readouterr().err.splitlines()[-1] == hint
    assert signal.getsignal(signal.SIGINT) == before
    assert main(hint.split(" vae ")[1].split()) == 0
    assert_same_story("whole", "x")


@pytest.mark.parametrize("stage", ["evaluate", "make_map", "load_run_data"])
def test_a_signal_ends_every_other_stage_too(few: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    train("whole")

    def wait_for_ever(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the signal came to nothing")

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["vae.fit"], stage, wait_for_ever)
        with pytest.raises(Stopped):
            train("stopped")
    run = open_run("stopped")
    status = run.status()
    assert status is not None
    assert (status.state, status.step) == ("stopped", 0 if stage == "load_run_data" else 12)
    assert not run.is_locked()
    resume("stopped", CPU)
    assert_same_story("whole", "stopped")
    assert run.list_maps() == [MapConfig(method="pca")]


def test_a_step_that_takes_too_long_is_given_up(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train("whole")
    monkeypatch.setattr(sys.modules["vae.stopping"], "GRACE_SECONDS", 0.01)

    def hang(event: object) -> None:
        if isinstance(event, Step) and event.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    with pytest.raises(Stopped):
        train("stopped", hang)
    status = open_run("stopped").status()
    assert status is not None
    assert (status.state, status.epoch, status.step) == ("stopped", 1, 4)  # what is saved
    resume("stopped", CPU)
    assert_same_story("whole", "stopped")


def test_a_process_killed_before_its_first_word_is_told_as_interrupted(few: Path) -> None:
    config = train("whole").config
    run = vae.runs.create_run("early", config)
    status = run.status()
    assert status is not None
    assert status.state == "interrupted"
    resume("early", CPU)
    assert_same_story("whole", "early")


# --- what goes wrong -----------------------------------------------------------------------------------------------


def test_a_full_disk_is_told_and_leaves_the_earlier_state(
    few: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train("whole")
    write, states = vae.runs.write_atomic, []

    def no_space(handle: int) -> None:
        raise OSError(28, "No space left on device")  # as the kernel says it: without a file's name

    def fill_up(path: Path, content: bytes) -> None:
        states.append(path) if path.name == "state.safetensors" else None
        with monkeypatch.context() as patch:
            if len(states) == 2 and path == states[-1]:
                patch.setattr(os, "fsync", no_space)
            write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(vae.runs, "write_atomic", fill_up)
        assert main([*TRAIN, "--run", "full"]) == 2
    run = open_run("full")
    status, stored = run.status(), run.load_state()
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {states[-1]}: No space left on device"
    assert status is not None
    assert status.state == "failed"
    assert "No space left on device" in str(status.error)
    assert stored is not None
    assert stored[1]["epoch"] == 1
    assert [path.name for path in states[-1].parent.iterdir()] == ["state.safetensors"]
    resume("full", CPU)
    assert_same_story("whole", "full")


def test_a_model_too_large_is_refused_before_there_is_a_folder(few: Path) -> None:
    with pytest.raises(ConfigError, match="the model would have .* at most 300,000,000 are allowed: make it smaller"):
        fit("huge", "tiny", dataclasses.replace(MODEL, widths=(1024, 1024), hidden=4096, blocks=8), CONFIG, "fast", CPU)
    assert list((few / "checkpoints").iterdir()) == []


def test_data_that_changed_is_refused_on_resume(few: Path, write_idx: Callable[[Path, np.ndarray], None]) -> None:
    with pytest.raises(Cut):
        train("cut", cut_at(5))
    folder = few / "data" / "tiny"
    images = np.zeros((60, 8, 8), np.uint8)
    write_idx(folder / "train-images-idx3-ubyte.gz", images)
    with pytest.raises(
        DataError, match="its train images are not those that run cut was made with .* restore them, or start a new run"
    ):
        resume("cut", CPU)


def test_a_state_that_cannot_be_read_is_named(few: Path) -> None:
    with pytest.raises(Cut):
        train("cut", cut_at(5))
    file = open_run("cut").path / "state" / "state.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RunError, match="state.safetensors: expected a saved training state .* delete state/ to start over"):
        resume("cut", CPU)


def test_a_loss_that_is_not_finite_fails_with_a_sentence(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_events_come_in_order(few: Path) -> None:
    events: list[object] = []
    train("told", events.append)
    names = [event if isinstance(event, str) else type(event).__name__ for event in events]
    assert names == ["training", *(["Step"] * 4 + ["Epoch"]) * 3, "evaluating", "making the map", "preparing verdicts"]
    assert [event.step for event in events if isinstance(event, Step)] == list(range(1, 13))


def test_the_weights_are_kept_of_the_best_epoch_only(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = sys.modules["vae.train"]
    measure, told = training.validate, iter([-50.0, -40.0, -60.0])

    def pretend(*arguments: object) -> tuple[object, ...]:
        means, *rest = measure(*arguments)
        return dataclasses.replace(means, elbo=next(told)), *rest

    monkeypatch.setattr(training, "validate", pretend)
    kept: list[tuple[bool, bytes]] = []
    train("best", lambda event: kept.append((event.best, weights("best"))) if isinstance(event, Epoch) else None)
    assert [best for best, _ in kept] == [True, True, False]
    assert kept[0][1] != kept[1][1]
    assert kept[1][1] == kept[2][1] == weights("best")


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


def test_too_few_images_for_a_umap_get_a_pca(few: Path) -> None:
    run = train("few")
    assert run.list_maps() == [MapConfig(method="pca")]
    assert run.load_map(MapConfig(method="pca")).coordinates.shape == (12, 2)


def test_the_log_tells_the_story(tiny_run: Run) -> None:
    log = (tiny_run.path / "train.log").read_text()
    for phrase in ("training on cpu from epoch 1, step 1", "epoch 2: -ELBO train", "nats per image", "making the map"):
        assert phrase in log


def test_the_configuration_is_that_of_the_training(tiny_run: Run) -> None:
    values = json.loads((tiny_run.path / "config.json").read_text())
    assert values["train"]["epochs"] == 2
    assert values["model"]["widths"] == [4]
