"""A run's folder: whole files or none, and a sentence for every file that is cut, foreign or of another time."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vae import MapConfig, ModelConfig, Run, RunError, Status, build_model, list_runs, open_run
from vae.files import write_atomic
from vae.runs import create_run, lock_run, run_path

READERS: dict[str, Callable[[Run], object]] = {
    "config.json": lambda run: open_run(run.name),
    "weights.safetensors": lambda run: run.load_model(),
    "state/state.safetensors": lambda run: run.load_state(),
    "encodings.npz": lambda run: run.load_encodings(),
    "maps": lambda run: run.load_map(MapConfig()),
    "evaluation.json": lambda run: run.reports(),
}


SILENT: dict[str, Callable[[Run], object]] = {
    "status.json": lambda run: run.status(),
    "metrics.jsonl": lambda run: run.metrics(),
}
OLD_PARAMETERS = ("method", "neighbors", "min_dist", "seed")
REMEDY = "restore|retrain|remake|start over|start a new run|python -m vae"
FORMAT_2 = {"format": "2", "progress": "{}"}


def file_of(run: Run, name: str) -> Path:
    return next((run.path / "maps").glob("*.npz")) if name == "maps" else run.path / name


# --- the folder ----------------------------------------------------------------------------------------------------


def test_a_finished_run_holds_what_it_should(tiny_run: Run) -> None:
    found = {str(path.relative_to(tiny_run.path)) for path in tiny_run.path.rglob("*") if path.is_file()}
    expected = {"config.json", "weights.safetensors", "metrics.jsonl", "status.json", "state/state.safetensors"}
    expected |= {"encodings.npz", "evaluation.json", "reference.npz", "train.log", ".lock"}
    expected |= {"previews/epoch-00001.npz", "previews/epoch-00002.npz"}
    maps = {name for name in found if name.startswith("maps/")}
    assert found - maps == expected
    assert len(maps) == 1
    status = tiny_run.status()
    assert status is not None
    assert (status.state, status.epoch, status.epochs, status.error) == ("finished", 2, 2, None)
    assert [line["epoch"] for line in tiny_run.metrics()] == [1, 2]


def test_a_run_says_how_it_was_made(tiny_run: Run) -> None:
    values = json.loads((tiny_run.path / "config.json").read_text())
    assert values["format"] == 1
    assert values["dataset"] == "tiny"
    assert set(values["data_digests"]) == {"train", "validation", "test"}
    assert values["versions"]["torch"] == torch.__version__


def test_the_weights_that_serve_are_those_of_the_best_epoch(tiny_run: Run) -> None:
    model, stored = tiny_run.load_model(), safetensors.torch.load_file(tiny_run.path / "weights.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(value, stored[name])
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "A", "../x", "/x", "x/y", ".x", "x" * 65, "ä", "x\n"])
def test_a_name_is_no_path(workspace: object, name: str) -> None:
    with pytest.raises(RunError, match="a run is named by lower-case letters"):
        run_path(name)


def test_the_longest_name_is_a_name(workspace: object) -> None:
    assert run_path("0" + "x._-" * 15 + "xyz").name == "0" + "x._-" * 15 + "xyz"


def test_only_folders_with_a_configuration_are_runs(tiny_run: Run) -> None:
    (tiny_run.path.parent / "empty").mkdir()
    (tiny_run.path.parent / "Odd").mkdir()
    (tiny_run.path.parent / "Odd" / "config.json").write_text("{}")
    assert list_runs() == ["tiny-run"]
    with pytest.raises(RunError, match=r"empty: no run there \(no config.json\). Runs under .*: tiny-run"):
        open_run("empty")


def test_a_name_is_taken_once(tiny_run: Run) -> None:
    with pytest.raises(RunError, match="a run of that name exists: choose another name, or continue it with --resume"):
        create_run("tiny-run", tiny_run.config)


# --- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(READERS))
@pytest.mark.parametrize("damage", [b"", b"rubbish", b"\x00" * 64, b"[" * 100_000, b"[]", None])
def test_a_damaged_file_is_named_and_other_runs_stay_usable(tiny_run: Run, name: str, damage: bytes | None) -> None:
    other = create_run("other", tiny_run.config)
    file = file_of(tiny_run, name)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] if damage is None else damage)
    with pytest.raises(RunError) as caught:
        READERS[name](tiny_run)
    assert re.fullmatch(f"{re.escape(str(file))}: expected .*(found|cut|foreign|state).*({REMEDY}).*", str(caught.value))
    assert open_run("other") == other
    assert list_runs().count("other") == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120)
@given(name=st.sampled_from(sorted(READERS | SILENT)), place=st.integers(0, 10**6), flip=st.integers(1, 255), cut=st.booleans())
def test_any_flipped_byte_gives_a_sentence_or_a_value(tiny_run: Run, name: str, place: int, flip: int, cut: bool) -> None:
    file = file_of(tiny_run, name)
    before = file.read_bytes()
    content = bytearray(before)
    place %= len(content)
    content[place] ^= flip
    file.write_bytes(bytes(content[:place] if cut else content))
    try:
        (READERS | SILENT)[name](tiny_run)
    except RunError as error:
        assert name in READERS
        assert str(error).startswith(str(file))
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize(
    ("field", "value"), [("format", 2), ("format", None), ("model", {"depth": 3}), ("train", []), ("versions", 3)]
)
def test_a_configuration_of_another_time_is_refused(tiny_run: Run, field: str, value: object) -> None:
    file = tiny_run.path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    with pytest.raises(RunError, match=f"config.json: expected .*({REMEDY})"):
        open_run("tiny-run")


@pytest.mark.parametrize("name", ["weights.safetensors", "state/state.safetensors"])
def test_tensors_of_a_newer_format_are_refused(tiny_run: Run, name: str) -> None:
    tensors = safetensors.torch.load_file(tiny_run.path / name)
    safetensors.torch.save_file(tensors, tiny_run.path / name, FORMAT_2)
    with pytest.raises(RunError, match=f"{file_of(tiny_run, name)}: expected .*'2'.*({REMEDY})"):
        READERS[name](tiny_run)


def test_a_number_beyond_all_bounds_is_refused(tiny_run: Run) -> None:
    file = tiny_run.path / "config.json"
    values = json.loads(file.read_text())
    values["train"]["learning_rate"] = 10**400
    file.write_text(json.dumps(values))
    with pytest.raises(RunError, match=r"config.json: expected .*restore it or start a new run"):
        open_run("tiny-run")


def test_encodings_that_are_not_finite_are_refused(tiny_run: Run) -> None:
    encodings = tiny_run.load_encodings()
    encodings.kl[3] = np.nan
    tiny_run.save_encodings(encodings)
    with pytest.raises(RunError, match="values that are not finite: remake it with 'python -m vae evaluate tiny-run'"):
        tiny_run.load_encodings()


def test_a_foreign_report_is_refused_and_not_written_over(tiny_run: Run) -> None:
    file = tiny_run.path / "evaluation.json"
    file.write_text('{"samples=1,seed=0": 5}')
    for use in (tiny_run.reports, lambda: tiny_run.save_report("x", {})):
        with pytest.raises(RunError, match="expected a report for each setting, .* delete it and run 'python -m vae evaluate"):
            use()
    assert file.read_text() == '{"samples=1,seed=0": 5}'


def test_a_configured_size_is_checked_before_anything_is_made(tiny_run: Run) -> None:
    file = tiny_run.path / "config.json"
    values = json.loads(file.read_text())
    values["model"] |= {"height": 1024, "width": 1024, "widths": [1024], "hidden": 4096, "latent": 1024}
    file.write_text(json.dumps(values))
    with pytest.raises(RunError, match=r"config.json: the model would have [\d,]+ parameters"):
        open_run("tiny-run").load_model()


def test_weights_of_another_model_are_refused_unread(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    other = build_model(ModelConfig(height=8, width=8, latent=4, widths=(4,), blocks=1, hidden=8), 0)
    tiny_run.save_weights(other)
    monkeypatch.setattr(safetensors.torch, "load_file", lambda *_: pytest.fail("tensors were read"))
    with pytest.raises(
        RunError, match="expected the weights of the model in config.json, .* doesn't fit: it is another model's"
    ):
        tiny_run.load_model()


@pytest.mark.parametrize(("spoil", "reason"), [("nan", "expected finite weights"), ("half", "expected the number types")])
def test_weights_that_cannot_serve_are_refused(tiny_run: Run, spoil: str, reason: str) -> None:
    tensors = safetensors.torch.load_file(tiny_run.path / "weights.safetensors")
    name = "encoder.mean.weight"
    tensors[name] = tensors[name] * float("nan") if spoil == "nan" else tensors[name].half()
    safetensors.torch.save_file(tensors, tiny_run.path / "weights.safetensors")
    with pytest.raises(RunError, match=reason):
        tiny_run.load_model()


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path(os.environ["BOMB"]),))  # type: ignore[return-value]


def test_nothing_is_unpickled(tiny_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "executed"))
    buffer = io.BytesIO()
    np.savez(buffer, mean=np.array([Bomb()], dtype=object), allow_pickle=True)
    for name in ("encodings.npz", "maps"):
        file_of(tiny_run, name).write_bytes(buffer.getvalue())
        with pytest.raises(RunError, match=r"expected a whole .npz file"):
            READERS[name](tiny_run)
    for name in ("weights.safetensors", "state/state.safetensors"):
        (tiny_run.path / name).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(RunError, match="expected a"):
            READERS[name](tiny_run)
    assert not (tmp_path / "executed").exists()


def test_what_was_made_from_other_weights_or_data_is_refused(tiny_run: Run) -> None:
    tiny_run.load_encodings()
    tiny_run.load_map(MapConfig())
    changed = dataclasses.replace(tiny_run.config, data_digests=tiny_run.config.data_digests | {"test": "0" * 16})
    for run in (Run(tiny_run.path, changed), tiny_run):
        for name in ("encodings.npz", "maps"):
            with pytest.raises(RunError, match="made from other weights or test data than this run's: remake it with"):
                READERS[name](run)
        tiny_run.save_weights(build_model(tiny_run.config.model, 99))


# --- metrics, status, maps, reports --------------------------------------------------------------------------------


def test_a_torn_last_line_is_passed_over_and_truncation_forgets_later_epochs(tiny_run: Run) -> None:
    with (tiny_run.path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"epoch": 3, "tra')
    assert [line["epoch"] for line in tiny_run.metrics()] == [1, 2]
    tiny_run.truncate_metrics(1)
    assert [line["epoch"] for line in tiny_run.metrics()] == [1]
    assert (tiny_run.path / "metrics.jsonl").read_bytes().count(b"\n") == 1


def test_maps_are_kept_under_their_parameters(tiny_run: Run) -> None:
    config = MapConfig(method="pca")
    coordinates = np.random.default_rng(0).normal(size=(24, 2)).astype(np.float32)
    tiny_run.save_map(coordinates, config)
    assert np.array_equal(tiny_run.load_map(config).coordinates, coordinates)
    assert set(tiny_run.list_maps()) == {config, MapConfig()}
    with pytest.raises(RunError, match="not there: make it with 'python -m vae map tiny-run'"):
        tiny_run.load_map(MapConfig(seed=7))
    (tiny_run.path / "maps" / "cut.npz").write_bytes(b"PK")
    assert set(tiny_run.list_maps()) == {config, MapConfig()}


def test_a_map_in_three_dimensions_is_kept_beside_the_flat_ones(tiny_run: Run) -> None:
    config = MapConfig(method="pca", components=3)
    coordinates = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
    tiny_run.save_map(coordinates, config)
    assert np.array_equal(tiny_run.load_map(config).coordinates, coordinates)
    assert tiny_run.list_maps() == [config, MapConfig()]
    tiny_run.save_map(coordinates[:, :2], MapConfig(method="tsne"))
    flat = next(file for file, kept in tiny_run._kept_maps() if kept.method == "tsne")
    flat.replace(tiny_run._map_file(config))
    with pytest.raises(RunError, match="expected a map of this run, found coordinates .* or other parameters: remake it with"):
        tiny_run.load_map(config)


def test_a_map_from_when_there_were_fewer_parameters_is_found(tiny_run: Run) -> None:
    written = tiny_run._map_file(MapConfig())
    with np.load(written, allow_pickle=False) as archive:
        arrays = dict(archive)
    old = {name: value for name, value in json.loads(str(arrays["config"])).items() if name in OLD_PARAMETERS}
    assert set(old) == set(OLD_PARAMETERS)
    elsewhere = written.with_name("fed6a6259cd9.npz")
    with elsewhere.open("wb") as file:
        np.savez_compressed(file, **(arrays | {"config": np.array(json.dumps(old))}), allow_pickle=False)
    written.unlink()
    assert np.array_equal(tiny_run.load_map(MapConfig()).coordinates, arrays["coordinates"])
    assert tiny_run.list_maps() == [MapConfig()]
    tiny_run.save_map(arrays["coordinates"] + 1, MapConfig())  # takes the old one's place
    assert [file.name for file in tiny_run.maps_folder.glob("*.npz")] == [elsewhere.name]
    assert tiny_run.list_maps() == [MapConfig()]


def test_maps_of_other_weights_are_told_apart(tiny_run: Run) -> None:
    assert tiny_run.list_old_maps() == []
    tiny_run.save_weights(build_model(tiny_run.config.model, 99))
    assert (tiny_run.list_maps(), tiny_run.list_old_maps()) == ([], [MapConfig()])
    tiny_run.save_map(np.zeros((24, 2), np.float32), MapConfig())
    assert (tiny_run.list_maps(), tiny_run.list_old_maps()) == ([MapConfig()], [])


def test_the_shipped_map_is_the_default_one() -> None:
    run = open_run(Path(__file__).parents[2] / "checkpoints" / "fashion-mnist")
    shipped = run.load_map(MapConfig())
    assert shipped.coordinates.shape == (10_000, 2)
    assert (run.maps_folder / "02abb232d3ed.npz").samefile(run._map_file(MapConfig()))


def test_a_report_does_not_replace_those_of_other_settings(tiny_run: Run) -> None:
    before = tiny_run.reports()
    tiny_run.save_report("samples=5,seed=1", {"elbo": -1.0})
    assert tiny_run.reports() == before | {"samples=5,seed=1": {"elbo": -1.0}}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"state": "running"}'])
def test_a_status_that_cannot_be_read_is_none(tiny_run: Run, content: str) -> None:
    (tiny_run.path / "status.json").write_text(content)
    assert tiny_run.status() is None


HOLD = "import sys; from vae.runs import lock_run\nwith lock_run('tiny-run'): print('held', flush=True); sys.stdin.read()"


def test_a_run_is_held_by_one_process_and_let_go_when_it_is_killed(tiny_run: Run) -> None:
    tiny_run.save_status(Status("running", 1, 0.0, 0.0))
    interrupted = tiny_run.status()
    assert interrupted is not None
    assert interrupted.state == "interrupted"
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdin is not None
    with holder, holder.stdout, holder.stdin:
        assert holder.stdout.readline() == b"held\n"
        running = tiny_run.status()
        assert running is not None
        assert running.state == "running"
        with pytest.raises(RunError, match="this run is being trained by another process"), lock_run("tiny-run"):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    assert not tiny_run.is_locked()
    with lock_run("tiny-run"):
        assert tiny_run.is_locked()
    assert not tiny_run.is_locked()


def test_digests_tell_weights_apart(tiny_run: Run) -> None:
    before = tiny_run.weights_digest()
    assert re.fullmatch("[0-9a-f]{16}", before)
    tiny_run.save_weights(build_model(tiny_run.config.model, 99))
    assert tiny_run.weights_digest() != before
    (tiny_run.path / "weights.safetensors").unlink()
    with pytest.raises(RunError, match="not there: the run has not finished its first epoch"):
        tiny_run.weights_digest()
