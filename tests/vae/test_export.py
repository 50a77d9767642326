"""Exporting a run into a folder, from Python and from the command line."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from vae import ExportConfig, ExportError, MapConfig, OnnxError, Run, RunError, export_run, make_map
from vae.__main__ import main
from vae.export import What


@pytest.fixture
def mapped(tiny_run: Run) -> Run:
    """The tiny run with two maps: its own and a PCA."""
    make_map(tiny_run, MapConfig(method="pca"))
    return tiny_run


def written(run: Run, folder: Path, **options: Any) -> dict[str, bytes]:
    """What an export writes, by name; the sizes it tells are checked."""
    told = dict(export_run(run, ExportConfig(**options), folder))
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {path.name: size for path, size in told.items()} == {name: len(content) for name, content in files.items()}
    return files


def test_all_is_every_kind_in_every_format(mapped: Run, tmp_path: Path) -> None:
    strongest = int(mapped.load_encodings().order[0])
    files = written(mapped, tmp_path / "deep" / "out", samples=4, steps=3, frames=3)
    assert set(files) == {
        f"tiny-run-{end}"
        for end in (
            *("prior-seed0.png", "prior-seed0.svg", "grid-row0.png", "grid-row0.svg"),
            *(f"traversal-z{strongest}-row0.{kind}" for kind in ("png", "svg", "gif", "webp")),
            *(f"interpolation-linear-rows0-1.{kind}" for kind in ("png", "svg", "gif", "webp")),
            *("encodings.csv", "encodings.parquet", "encodings.npz", "map.html", "encoder.onnx", "decoder.onnx"),
        )
    }
    signatures = {"png": b"\x89PNG", "svg": b"<svg", "gif": b"GIF8", "webp": b"RIFF", "parquet": b"PAR1", "npz": b"PK"}
    for name, content in files.items():
        assert content.startswith(signatures.get(name.rpartition(".")[2], b"")), name
    assert Image.open(io.BytesIO(files[f"tiny-run-traversal-z{strongest}-row0.gif"])).info["loop"] == 0
    assert {"umap_x", "umap_y"} <= set(pd.read_csv(io.BytesIO(files["tiny-run-encodings.csv"])).columns), "the default map"
    with np.load(io.BytesIO(files["tiny-run-encodings.npz"]), allow_pickle=False) as archive:
        assert {"map_0", "map_1"} <= set(archive.files)
        assert json.loads(str(archive["info"]))["weights_digest"] == mapped.weights_digest()


@pytest.mark.parametrize("what", [what for what in get_args(What) if what not in ("all", "onnx")])
def test_one_kind_is_one_file_of_the_first_format(mapped: Run, tmp_path: Path, what: Any) -> None:
    (name,) = written(mapped, tmp_path / "out", what=what, samples=4, steps=3, frames=3)
    kinds = {"sheet": "png", "animation": "gif", "table": "csv"}
    assert name.rpartition(".")[2] == kinds.get(what.split("-")[0], what)


def test_options_reach_the_picture_and_its_caption(mapped: Run, tmp_path: Path) -> None:
    options = {"what": "sheet-traversal", "format": "svg", "dimension": 1, "range": (-1.5, 2.0), "steps": 8, "row": 5}
    ((name, content),) = written(mapped, tmp_path / "out", **options).items()
    assert name == "tiny-run-traversal-z1-row5.svg"
    texts = re.findall(r"<text [^>]*>([^<]*)</text>", content.decode())
    title = " ".join(text for text in texts if not re.fullmatch(r"-?\d\.\d\d", text))
    assert re.fullmatch(
        r"tiny-run: traversal of z\[1\] from -1\.5 to 2, from the posterior mean of test image 5 \((left|right|whole)\); "
        r"pictures are E\[x\|z\]",
        title,
    )
    assert [text for text in texts if text not in title] == [f"{value:.2f}" for value in np.linspace(-1.5, 2, 8)]
    options = {"what": "sheet-interpolation", "format": "svg", "rows": (3, 9), "path": "spherical"}
    ((name, content),) = written(mapped, tmp_path / "two", **options).items()
    assert name == "tiny-run-interpolation-spherical-rows3-9.svg"
    assert "spherical interpolation between the posterior means of test image 3" in content.decode()


def test_files_that_are_there_are_kept(mapped: Run, tmp_path: Path) -> None:
    config = ExportConfig(what="onnx")
    kept = tmp_path / "tiny-run-decoder.onnx"
    kept.write_bytes(b"mine")
    message = "tiny-run-decoder.onnx: already there: choose another folder with --out, or replace it with --overwrite"
    with pytest.raises(ExportError, match=message):
        list(export_run(mapped, config, tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.onnx")} == {"tiny-run-decoder.onnx": b"mine"}
    old = tmp_path / "tiny-run-encodings.npz"
    old.write_bytes(b"old")
    list(export_run(mapped, ExportConfig(what="npz"), tmp_path, overwrite=True))
    assert old.read_bytes().startswith(b"PK")


def test_without_a_map(tiny_run: Run, tmp_path: Path) -> None:
    shutil.rmtree(tiny_run.path / "maps")
    for what in ("html", "all"):
        with pytest.raises(RunError, match="no flat map that fits the run: make one with 'python -m vae map tiny-run'"):
            list(export_run(tiny_run, ExportConfig(what=what), tmp_path / "out"))  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    (content,) = written(tiny_run, tmp_path / "out", what="table").values()
    assert "umap_x" not in content.decode().partition("\n")[0]


def test_without_the_onnx_packages_nothing_is_written(mapped: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else find(name))
    with pytest.raises(OnnxError, match="pip install onnx onnxscript"):
        list(export_run(mapped, ExportConfig(), tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_command(mapped: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", "tiny-run", "--what", "sheet-traversal", "--range", "-2", "-0.5", "--dimension", "0"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    file = tmp_path / "out" / "tiny-run-traversal-z0-row0.png"
    assert re.fullmatch(re.escape(str(file)) + r"  \d+ kB\n", capsys.readouterr().out)
    before = file.read_bytes()
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    assert "already there" in capsys.readouterr().err
    assert main([*arguments, "--out", str(tmp_path / "out"), "--overwrite"]) == 0
    assert file.read_bytes() == before


def test_a_run_given_by_its_path_is_called_by_its_folder(mapped: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = mapped.path.rename(tmp_path / "My Run")
    monkeypatch.chdir(elsewhere)
    assert main(["export", ".", "--what", "npz", "--out", str(tmp_path / "out")]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["My Run-encodings.npz"]


BAD = [
    ([], "RUN|STR"),
    (["gone"], "no run there"),
    (["tiny-run", "--what", "video"], "what"),
    (["tiny-run", "--format", "png"], "format goes with a sheet, an animation or the table, not with all"),
    (["tiny-run", "--what", "npz", "--format", "csv"], "format goes with .* not with npz"),
    (["tiny-run", "--what", "table", "--format", "svg"], "format of table must be csv or parquet, got svg"),
    (["tiny-run", "--what", "sheet-grid", "--format", "gif"], "format of sheet-grid must be png or svg, got gif"),
    (["tiny-run", "--dimension", "3"], "dimension must be from 0 to 2, got 3"),
    (["tiny-run", "--dimension", "-1"], "dimension must be from 0 to 2, got -1"),
    (["tiny-run", "--row", "24"], "a row must be from 0 to 23, got 24"),
    (["tiny-run", "--rows", "0", "-1"], "a row must be from 0 to 23, got -1"),
    (["tiny-run", "--range", "2", "-2"], "range must rise, got 2 to -2"),
    (["tiny-run", "--range", "nan", "2"], "range must be from -100 to 100, got nan"),
    (["tiny-run", "--range", "1", "1e9"], "range must be from -100 to 100, got 1000000000"),
    (["tiny-run", "--steps", "1"], "steps must be from 2 to 50, got 1"),
    (["tiny-run", "--frames", "100000"], "frames must be from 2 to 500, got 100000"),
    (["tiny-run", "--duration", "25"], "duration must be a multiple of 10 ms"),
    (["tiny-run", "--samples", "0"], "samples must be from 1 to 1,024, got 0"),
    (["tiny-run", "--seed", "-1"], "seed must be from 0 to 4,294,967,295, got -1"),
    (["tiny-run", "--path", "round"], "path"),
]


@pytest.mark.parametrize(("arguments", "reason"), BAD)
def test_bad_input_is_one_line_and_status_2(
    tiny_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    assert main(["export", *arguments, "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    assert re.search(reason, line), line
    assert printed.out == ""
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file_is_one_line(mapped: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("mine")
    assert main(["export", "tiny-run", "--what", "npz", "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"error: {re.escape(str(tmp_path / 'out'))}.*: (File exists|Not a directory)", line), line
    assert (tmp_path / "out").read_text() == "mine"


def test_every_option_is_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    printed = capsys.readouterr().out
    for field in dataclasses.fields(ExportConfig):
        assert f"--{field.name} " in printed


def test_a_map_in_three_dimensions_goes_into_the_npz_only(mapped: Run, tmp_path: Path) -> None:
    deep = make_map(mapped, MapConfig(method="pca", components=3))
    (content,) = written(mapped, tmp_path / "npz", what="npz").values()
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        shapes = sorted(archive[name].shape for name in archive.files if name.startswith("map_"))
    assert shapes == [(24, 2), (24, 2), (24, 3)]
    for parameters in mapped.list_maps():
        if parameters != deep.config:
            mapped._map_file(parameters).unlink()
    (content,) = written(mapped, tmp_path / "table", what="table").values()
    assert b"pca_" not in content.splitlines()[0]
    with pytest.raises(RunError, match="no flat map that fits the run: make one with 'python -m vae map tiny-run'"):
        list(export_run(mapped, ExportConfig(what="html"), tmp_path / "html"))
