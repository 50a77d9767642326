"""The command line: what it prints, and one line with status 2 for whatever is wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vae import MapConfig, ModelConfig, Run, TrainConfig
from vae.__main__ import COMMANDS, main
from vae.config import to_json
from vae.jobs import job_status

TINY = ["--dataset", "tiny", "--latent", "3", "--widths", "4", "--hidden", "8", "--epochs", "1", "--batch-size", "16"]


def test_train_evaluate_and_map(workspace: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--preset", "fast", "--run", "try", *TINY]) == 0
    printed = capsys.readouterr()
    assert "epoch   1  -ELBO train" in printed.err
    table = r"""
tiny, test split: means over 24 images, 1 sample\(s\) of z, nats per image, bernoulli likelihood
  -ELBO \(lower is better\) +[\d.]+ ± [\d.]+
  reconstruction, -E\[log p\(x\|z\)\] +[\d.]+
  KL\(q\(z\|x\) \|\| p\(z\)\) +[\d.]+
  entropy floor of -ELBO +[\d.]+
  active units +\d of 3
"""
    assert re.search(table, printed.out), printed.out
    assert main(["evaluate", "try", "--samples", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    needed = {
        "elbo",
        "reconstruction",
        "kl",
        "kl_per_dimension",
        "active_units",
        "entropy_floor",
        "examples",
        "samples",
        "unit",
    }
    assert needed <= set(report)
    assert (report["examples"], report["samples"], report["unit"]) == (24, 2, "nats per image")
    assert report["elbo"] == pytest.approx(report["reconstruction"] - report["kl"])
    assert -report["elbo"] > report["entropy_floor"] > 0
    assert len(report["kl_per_dimension"]) == 3
    assert main(["map", "try", "--method", "pca"]) == 0
    assert "pca map of 24 test images kept in" in capsys.readouterr().out


def test_a_run_may_be_a_path(tiny_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = tiny_run.path.rename(tmp_path / "Elsewhere")
    assert main(["evaluate", str(elsewhere)]) == 0
    assert "entropy floor of -ELBO" in capsys.readouterr().out


def test_resume_of_a_finished_run_gives_the_same_weights(tiny_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = tiny_run.weights_digest()
    assert main(["train", "--run", "tiny-run", "--resume"]) == 0
    assert tiny_run.weights_digest() == before
    assert main(["train", "--preset", "fast", "--run", "tiny-run", "--resume", "--epochs", "2", "--dataset", "tiny"]) == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["fly"], "expected one of the commands train, .*got 'fly'"),
        (["train"], "--run"),
        (["train", "--run", "x", "--epochs", "0"], "epochs must be a whole number from 1"),
        (["train", "--run", "x", "--epochs", "ten"], "--epochs: invalid literal"),
        (["train", "--run", "x", "--preset", "slow"], "preset"),
        (["train", "--run", "x", "--learning-rate", "nan"], "learning_rate must be from"),
        (["train", "--run", "x", "--height", "8"], "Unrecognized options: --height"),
        (
            ["train", "--run", "x", "--dataset", "tiny", "--device", "abacus"],
            "device must be auto or one that this machine has",
        ),
        (["train", "--run", "x", "--dataset", "gone"], "data sets found under .*: tiny"),
        (["train", "--run", "x", "--dataset", "../tiny"], "a data set is named by"),
        (["train", "--run", "../x", "--dataset", "tiny"], "a run is named by"),
        (["train", "--run", "x", "--dataset", "tiny", "--widths", "4", "4", "4", "4"], "height must be divisible by 16"),
        (["train", "--run", "A", "--dataset", "tiny"], "a run is named by"),
        (["train", "--run", "", "--dataset", "tiny"], "a run is named by"),
        (["train", "--run", "x" * 65, "--dataset", "tiny"], "a run is named by"),
        (
            ["train", "--run", "x", "--dataset", "tiny", "--widths", "1024", "1024", "--hidden", "4096", "--blocks", "8"],
            "the model would have .* parameters, at most 300,000,000 are allowed: make it smaller",
        ),
        (["train", "--run", "gone", "--resume"], "no run there"),
        (["train", "--run", "../x", "--resume"], "a run is named by"),
        (["train", "--resume"], "--run"),
        (["evaluate"], "RUN|STR"),
        (["evaluate", "gone"], "no run there"),
        (["evaluate", "../../etc"], "no run there|is named by"),
        (["evaluate", "tiny-run", "--samples", "0"], "--samples must be from 1"),
        (["evaluate", "tiny-run", "--seed", "-1"], "--seed must be from 0"),
        (["map", "tiny-run", "--neighbors", "1"], "neighbors must be"),
        (["map", "gone"], "no run there"),
        (["map", "tiny-run", "--method", "tarot"], "method"),
        (["map", "tiny-run", "--metric", "taxi"], "metric"),
        (["map", "tiny-run", "--components", "4"], "components"),
        (["map", "tiny-run", "--method", "tsne", "--perplexity", "many"], "--perplexity: invalid literal|could not convert"),
        (["map", "tiny-run", "--perplexity", "1000"], "perplexity must be from 1 to 200, got 1000"),
        (["evaluate", "tiny-run", "--samples", "many"], "--samples: invalid literal"),
        (["evaluate", "tiny-run", "--frobnicate"], "Unrecognized options: --frobnicate"),
        (["evaluate", "tiny-run", "--device", "abacus"], "device must be auto or one that this machine has"),
        (["train", "--run", "tiny-run", *TINY], "a run of that name exists"),
        (["train", "--run", "tiny-run", "--resume", "--epochs", "9"], "its epochs is 2, not 9; start a new run to change it"),
        (["train", "--run", "tiny-run", "--resume", "--preset", "notes"], "its preset is 'fast', not 'notes'"),
        (["train", "--run", "tiny-run", "--resume", "--latent", "4"], "its latent is 3, not 4"),
        (["train", "--run", "tiny-run", "--resume", "--dataset", "other"], "its dataset is 'tiny', not 'other'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    tiny_run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    before = contents(tiny_run.path.parent)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert len(lines) == 1, printed.err
    assert lines[0].startswith("error: ")
    assert re.search(reason, lines[0]), lines[0]
    assert printed.out == ""
    assert contents(tiny_run.path.parent) == before


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--neighbors", "100"], "a UMAP with 100 neighbours needs more than 100 points, got 24"),
        (["--method", "tsne"], "a t-SNE of perplexity 30 needs more than 30 points, got 24"),
    ],
)
def test_a_map_that_cannot_be_made(tiny_run: Run, capsys: pytest.CaptureFixture[str], options: list[str], reason: str) -> None:
    before = contents(tiny_run.path)
    assert main(["map", "tiny-run", *options]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert error == f"error: {tiny_run.path}: {reason}"
    after = contents(tiny_run.path)
    assert {name for name in after if before.get(name) != after[name]} == {"maps/.job.json", "maps/.job.lock"}
    status = job_status(tiny_run.maps_folder)
    assert status is not None
    assert (status.state, status.error) == ("failed", f"{tiny_run.path}: {reason}")


def test_a_map_shows_its_progress_and_is_kept(tiny_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    config = MapConfig(method="tsne", perplexity=5.0, components=3, seed=2)
    options = ["--method", "tsne", "--perplexity", "5", "--components", "3", "--seed", "2"]
    assert main(["map", "tiny-run", *options]) == 0
    printed = capsys.readouterr()
    assert re.search(r"tsne map of run tiny-run: .*\d+/1000 \[\d+:\d+<.*step/s\]", printed.err)
    assert printed.out == f"tsne map of 24 test images kept in {tiny_run.maps_folder}\n"
    assert tiny_run.load_map(config).coordinates.shape == (24, 3)
    assert tiny_run.list_maps() == [config, MapConfig()]
    status = job_status(tiny_run.maps_folder)
    assert status is not None
    assert (status.state, status.subject, status.error) == ("finished", to_json(config), None)


def test_a_damaged_run_is_one_line_too(tiny_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    file = tiny_run.path / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    assert main(["evaluate", "tiny-run"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {file}: expected a whole safetensors file")


def test_the_real_process_ends_with_status_2_and_no_traceback(workspace: object) -> None:
    command = [sys.executable, "-m", "vae", "evaluate", "gone"]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ.copy(), check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", [[], *[[name] for name in COMMANDS]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = main([*command, "--help"])
    except SystemExit as stop:
        status = int(stop.code or 0)
    assert status == 0
    assert "usage: python -m vae" in capsys.readouterr().out


@pytest.mark.parametrize(("command", "kinds"), [("train", (ModelConfig, TrainConfig)), ("map", (MapConfig,))])
def test_every_field_of_a_configuration_is_an_option(
    command: str, kinds: tuple[type, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    printed = capsys.readouterr().out
    for kind in kinds:
        for field in dataclasses.fields(kind):
            shown = f"--{field.name.replace('_', '-')} " in printed or f"--{field.name.replace('_', '-')}," in printed
            assert shown == (field.name not in ("channels", "height", "width")), field.name
