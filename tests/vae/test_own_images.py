"""From somebody's files to a run, its evaluation and its map, by the command line alone."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from own_images import TREES, digits, trees
from PIL import Image

import vae.__main__
from vae import MapConfig, load_dataset, load_test_data, open_run
from vae.__main__ import main
from vae.data import DATA_VARIABLE
from vae.runs import CHECKPOINTS_VARIABLE

TINY = ["--latent", "3", "--hidden", "8", "--epochs", "1", "--batch-size", "64", "--device", "cpu"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ``data/`` beside empty ``checkpoints/``."""
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(tmp_path / "checkpoints"))
    (tmp_path / "data").mkdir()
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("kind", "shape", "classes", "counts", "widths"),
    [
        ("digits", (1, 16, 16), tuple("0123456789"), (1_412, 128, 257), ("4", "6")),
        ("labelled", (3, 64, 64), TREES, (393, 36, 71), ("2", "3", "4")),
        ("unlabelled", (3, 64, 64), (), (393, 36, 71), ("2", "3", "4")),
    ],
)
def test_from_files_to_a_run_and_its_map(
    root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    shape: tuple[int, int, int],
    classes: tuple[str, ...],
    counts: tuple[int, int, int],
    widths: tuple[str, ...],
) -> None:
    source = digits(tmp_path) if kind == "digits" else trees(tmp_path, kind == "labelled")
    assert main(["import", str(source), "--name", "own"]) == 0
    printed = capsys.readouterr()
    assert f"{'RGB' if shape[0] == 3 else 'grey'}, {shape[2]} x {shape[1]}, " in printed.out
    assert f"{len(classes)} classes" if classes else "no labels" in printed.out
    assert "images: {:,} train, {:,} validation, {:,} test".format(*counts) in printed.out
    assert printed.out.endswith("train on it: python -m vae train --dataset own --run own\n")
    assert main(["train", "--dataset", "own", "--run", "own", *TINY, "--blocks", "0", "--widths", *widths]) == 0
    run = open_run("own")
    data, encodings = load_test_data(run), run.load_encodings()
    assert run.config.model.image_shape == data.image_shape == shape
    assert data.class_names == classes
    assert (data.labels is None) == (not classes)
    assert encodings.mean.shape == (counts[2], 3)
    assert np.isfinite(encodings.elbo).all()
    assert run.load_map(MapConfig()).coordinates.shape == (counts[2], 2)
    assert run.reports()["samples=1,seed=0"]["examples"] == counts[2]
    assert run.status().state == "finished"  # type: ignore[union-attr]
    take_away(tmp_path / "out", shape, classes)
    picture = tmp_path / "picture.png"
    pixels = data.images[0]
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(picture)
    capsys.readouterr()
    assert main(["verdict", "own", str(picture), "--device", "cpu"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert re.match(re.escape(f"{picture}: ") + r"(Like what it was trained on|Unusual|Unlike anything|No verdict)", line), line


def take_away(out: Path, shape: tuple[int, int, int], classes: tuple[str, ...]) -> None:
    """All exports of the run: the pictures in the images' colours, the table with classes only where there are any."""
    assert main(["export", "own", "--out", str(out)]) == 0
    for end in ("gif", "webp", "png"):
        found = sorted(out.glob(f"*.{end}"))
        assert found
        for path in found:
            with Image.open(path) as picture:
                middle = np.asarray(picture.convert("RGB"))[picture.height // 3 :].astype(int)
            assert (np.ptp(middle, axis=-1).max() > 3) == (shape[0] == 3), path
    table = pd.read_csv(next(out.glob("*.csv")), dtype={"class": str})
    data = load_dataset("own", "test")
    assert len(table) == len(data)
    assert ("class" in table) == bool(classes)
    if classes:
        assert table["class"].tolist() == [data.class_name(row) for row in range(len(data))]
    page = next(out.glob("*.html")).read_text("utf-8")
    assert all(name in page for name in classes)
    assert len(list(out.glob("*.onnx"))) == 2


def test_a_digit_lies_unchanged_in_the_middle_of_its_sixteen_pixels(root: Path, tmp_path: Path) -> None:
    source = digits(tmp_path)
    assert main(["import", str(source), "--name", "own"]) == 0
    originals = {image.tobytes() for image in np.load(source)["images"]}
    images = load_dataset("own", "train").images
    assert {image[0, 4:12, 4:12].tobytes() for image in images} <= originals
    assert (images[:, :, :4] == images[:, :, :1, :1]).all()


def test_the_preset_gets_the_stages_that_the_images_ask_for(root: Path, tmp_path: Path) -> None:
    """Without any width on the command line: three stages for 64 x 64, as many as an option says otherwise."""
    assert main(["import", str(trees(tmp_path, labelled=False)), "--name", "own"]) == 0
    for preset, widths in (("fast", (16, 32, 64)), ("large", (32, 64, 128))):
        assert vae.__main__._train_defaults(preset, "own", None).model.widths == widths
    assert vae.__main__._train_defaults("fast", None, None).model.widths == (16, 32)
    assert vae.__main__._train_defaults("fast", "gone", None).model.widths == (16, 32)


def test_a_hundred_bad_files_are_told_in_short_and_all_kept(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    buffer = io.BytesIO()
    Image.new("L", (20, 24), 9).save(buffer, "PNG")
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as archive:
        for number in range(30):
            archive.writestr(f"own/{number:03}.png", buffer.getvalue())
            archive.writestr(f"own/text {number:03}.png", b"hello")
    assert main(["import", str(tmp_path / "own.zip"), "--name", "own", "--size", "16"]) == 0
    printed = capsys.readouterr()
    assert "30 left out, each named in" in printed.out
    assert printed.out.count("found text: save the picture") == 5
    assert "and 25 more" in printed.out
    assert len((root / "own" / "packed" / "left-out.txt").read_text().splitlines()) == 30
    assert load_dataset("own", "test").image_shape == (1, 16, 16)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["import"], "SOURCE|PATH"),
        (["import", "gone"], "--name"),
        (["import", "gone", "--name", "own"], "error: gone: nothing there. Expected a folder or a zip file of pictures"),
        (["import", "gone", "--name", "../own"], "a data set is named by lower-case letters"),
        (["import", ".", "--name", "own", "--size", "twelve"], "error: .*--size: .*twelve"),
        (["import", "own.txt", "--name", "own"], "own.txt: expected .*, found text"),
        (["train", "--dataset", "thirty", "--run", "x"], "height must be divisible by 4 .* --size (28|32)"),
    ],
)
def test_what_is_wrong_is_one_line(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.txt").write_text("hello, world, this is no picture")
    header = ",".join(["label", *(f"pixel{number}" for number in range(1, 901))])
    for part in ("train", "test"):
        (root / f"thirty_{part}.csv").write_text("\n".join([header, *[",".join(["0"] * 901)] * 3]) + "\n")
    before = sorted(tmp_path.rglob("*"))
    assert main(arguments) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert re.search(reason, line), line
    assert printed.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_ctrl_c_stops_and_the_same_command_goes_on(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = trees(tmp_path, labelled=True)
    real = vae.pack.fit_image
    fitted = []

    def pressed(*arguments: object) -> np.ndarray:
        fitted.append(1)
        if len(fitted) == 250:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(vae.pack, "fit_image", pressed)
    monkeypatch.setattr(vae.pack, "COMMIT_SECONDS", 0.1)
    assert main(["import", str(source), "--name", "own"]) == 130
    assert capsys.readouterr().err.endswith("stopped; the same command goes on from here\n")
    assert (root / ".importing-own" / "packed").is_dir()
    assert main(["import", str(source), "--name", "own"]) == 0
    assert len(load_dataset("own", "train")) == 393
    assert [path.name for path in root.iterdir()] == ["own"]
