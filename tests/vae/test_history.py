"""Histories and summaries of runs: arrays from files that may hold anything, and a timing that is a real one."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from vae.config import ConfigError, ModelConfig, to_json
from vae.device import choose_device, list_devices
from vae.history import read_history
from vae.model import build_model
from vae.runs import Run, RunError
from vae.summary import summarise
from vae.timing import training_speed


def test_a_history_is_what_the_training_wrote(tiny_run: Run) -> None:
    history, lines = read_history(tiny_run), tiny_run.metrics()
    assert history.epoch.tolist() == [1, 2]
    last = lines[-1]
    np.testing.assert_allclose(
        history.validation[-1],
        [-last["validation"]["elbo"], -last["validation"]["reconstruction"], last["validation"]["kl"]],
    )
    np.testing.assert_allclose(history.train[:, 0], history.train[:, 1] + history.train[:, 2])
    np.testing.assert_allclose(history.kl_per_dimension.sum(axis=1), history.validation[:, 2], rtol=1e-5)
    assert history.seconds[1] == pytest.approx(lines[0]["seconds"] + lines[1]["seconds"])
    assert history.best == int(np.argmin(history.validation[:, 0]))


def test_a_collapse_is_told_by_kl_or_active_units(tiny_run: Run) -> None:
    history = dataclasses.replace(
        read_history(tiny_run), active_units=np.array([0, 3]), validation=np.array([[9.0, 8.95, 0.05], [9.0, 4.0, 5.0]])
    )
    assert not history.is_collapsed
    still = dataclasses.replace(history, active_units=np.array([3, 0]))
    near = dataclasses.replace(history, validation=np.array([[9.0, 4.0, 5.0], [9.0, 8.95, 0.05]]))
    assert still.is_collapsed
    assert near.is_collapsed


@pytest.mark.parametrize(
    "damage",
    [
        {"seconds": "soon"},
        {"seconds": math.inf},
        {"train": []},
        {"kl_per_dimension": [1.0]},
        {"kl_per_dimension": None},
        {"active_units": 99},
        {"epoch": -3},
        {"epoch": 2**40},
        {"learning_rate": 10**400},
    ],
)
def test_lines_that_make_no_sense_are_passed_over(tiny_run: Run, damage: dict[str, object]) -> None:
    first = tiny_run.metrics()[0]
    with (tiny_run.path / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({**first, "epoch": 3} | damage) + "\n" + json.dumps(first) + "\n")
    assert read_history(tiny_run).epoch.tolist() == [1, 2]


def test_a_run_without_epochs_has_an_empty_history(tiny_run: Run) -> None:
    (tiny_run.path / "metrics.jsonl").unlink()
    history = read_history(tiny_run)
    assert len(history) == 0
    assert history.kl_per_dimension.shape == (0, 3)
    assert not history.is_collapsed


def test_a_summary_says_what_the_files_say(tiny_run: Run) -> None:
    summary, report = summarise(tiny_run), tiny_run.reports()["samples=1,seed=0"]
    assert (summary.name, summary.state, summary.dataset, summary.preset) == ("tiny-run", "finished", "tiny", "fast")
    assert (summary.latent, summary.epoch, summary.epochs) == (3, 2, 2)
    assert summary.parameters == build_model(tiny_run.config.model, 0).parameter_count()
    assert (summary.negative_elbo, summary.active_units) == (-report["elbo"], report["active_units"])
    assert summary.negative_elbo == pytest.approx((summary.reconstruction or 0) + (summary.kl or 0))
    assert summary.size == sum(file.stat().st_size for file in tiny_run.path.rglob("*") if file.is_file())


def test_a_summary_of_a_damaged_run_leaves_out_what_is_damaged(tiny_run: Run) -> None:
    (tiny_run.path / "status.json").write_text('{"state": "happy"}')
    (tiny_run.path / "evaluation.json").write_text('{"samples=1,seed=0": {"elbo": "good"}}')
    (tiny_run.path / "metrics.jsonl").write_text("[]\n{")
    summary = summarise(tiny_run)
    assert (summary.state, summary.negative_elbo, summary.active_units, summary.epoch) == (None, None, None, 0)


def test_a_report_of_other_weights_is_not_told(tiny_run: Run) -> None:
    report = tiny_run.reports()["samples=1,seed=0"]
    tiny_run.save_report("samples=1,seed=0", report | {"weights_digest": "0" * 16})
    assert summarise(tiny_run).negative_elbo is None


@pytest.mark.parametrize(
    "wrong",
    [{"pid": "7"}, {"epoch": -1}, {"epochs": 1.5}, {"state": "happy"}, {"error": []}, {"updated": "now"}, {"device": 3}],
)
def test_a_status_of_other_types_is_none(tiny_run: Run, wrong: dict[str, object]) -> None:
    status = json.loads((tiny_run.path / "status.json").read_text())
    (tiny_run.path / "status.json").write_text(json.dumps(status | wrong))
    assert tiny_run.status() is None


def test_previews_are_read_back(tiny_run: Run) -> None:
    assert tiny_run.preview_epochs() == [1, 2]
    reconstructions, samples = tiny_run.load_preview(2)
    assert reconstructions.shape[1:] == samples.shape[1:] == (1, 8, 8)
    (tiny_run.path / "previews" / "epoch-00002.npz").write_bytes(b"not a zip")
    with pytest.raises(RunError, match=r"epoch-00002\.npz: expected a whole \.npz file"):
        tiny_run.load_preview(2)
    tiny_run.save_preview(2, np.zeros((1, 1, 4, 8), np.uint8), np.zeros((1, 1, 4, 8), np.uint8))
    with pytest.raises(RunError, match="pictures of another shape than the model's"):
        tiny_run.load_preview(2)


def test_the_last_lines_of_a_log(tiny_run: Run) -> None:
    assert tiny_run.log_lines(1)[0].endswith("preparing verdicts")
    assert len(tiny_run.log_lines(3)) == 3
    (tiny_run.path / "train.log").unlink()
    assert tiny_run.log_lines(3) == []


def test_devices_are_named_and_can_be_chosen() -> None:
    devices = list_devices()
    assert choose_device(next(iter(devices))).type == choose_device().type
    assert all(name for name in devices.values())
    assert "cpu" in devices


def test_training_is_timed_in_images_a_second(tiny_run: Run) -> None:
    config = tiny_run.config
    assert training_speed(config.model, config.train, torch.device("cpu"), seconds=0.05) > 0
    large = ModelConfig(height=1024, width=1024, widths=(4,) * 6), dataclasses.replace(config.train, batch_size=4096)
    with pytest.raises(ConfigError, match="batch_size must be smaller to be timed"):
        training_speed(*large, torch.device("cpu"))


@pytest.mark.long
def test_the_timing_process_answers_or_says_why_not(tiny_run: Run) -> None:
    def ask(train: dict[str, object]) -> tuple[int, dict[str, object]]:
        config = tiny_run.config
        asked = json.dumps({"model": to_json(config.model), "train": to_json(config.train) | train, "device": "cpu"})
        done = subprocess.run(
            [sys.executable, "-m", "vae.timing"], input=asked, capture_output=True, text=True, check=False, timeout=120
        )
        return done.returncode, json.loads(done.stdout)

    code, answer = ask({})
    assert code == 0
    assert float(str(answer["images_per_second"])) > 0
    code, answer = ask({"epochs": -1})
    assert (code, answer) == (2, {"error": "epochs must be a whole number from 1 to 100,000, got -1"})
