"""A look at somebody's images: what it says is what the import makes; what is hostile gets a sentence, in a process or not."""

from __future__ import annotations

import io
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vae import DataError, import_dataset, load_dataset
from vae.__main__ import main as command_line
from vae.data import DATA_VARIABLE
from vae.pack import imported_from
from vae.preview import SIZES, look_apart, main, read_look, sample_key, take_look, write_look
from vae.shapes import LOOKED_AT, spread


def archive(path: Path, count: int = 30, bad: int = 1, odd: int = 0, hostile: bool = False) -> Path:
    """A zip file of pictures of 20 x 24 pixels in three folders, some of them bad, some of another size."""
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as made:
        for number in range(count):
            picture = io.BytesIO()
            shape = (24, 21 if number < odd else 20, 3)
            Image.fromarray(random.integers(0, 256, shape).astype(np.uint8)).save(picture, "PNG")
            made.writestr(f"pets/{('cat', 'dog', 'eel*')[number % 3]}/{number:02}.png", picture.getvalue())
        for number in range(bad):
            made.writestr(f"pets/cat/bad {number}.png", b"hello")
        if hostile:
            made.writestr("../../evil.png", b"hello")
    return path


def test_what_is_shown_is_what_an_import_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    source = archive(tmp_path / "pets.zip", odd=2)
    look = take_look(source)
    assert (look.kind, look.count, look.looked_at, look.classes) == ("a zip file of pictures", 31, 31, 3)
    assert (look.class_counts, look.colour, look.left_out) == ({"cat": 11, "dog": 10, "eel*": 10}, True, 1)
    assert look.sizes == "20 × 24, 21 × 24"
    assert look.left_out_lines[0].startswith("pets/cat/bad 0.png: Expected a PNG")
    assert set(look.samples) == {sample_key(size, channels) for size in (None, *SIZES) for channels in (1, 3)}
    for size, grey in ((None, False), (32, True)):
        made = import_dataset(source, f"own-{size or 0}", size, grey)
        sets = [load_dataset(made.name, split) for split in ("train", "validation", "test")]
        kept = {(one.images[row].tobytes(), one.class_name(row)) for one in sets for row in range(len(one))}
        key = sample_key(size, 1 if grey else 3)
        shown = [(image.tobytes(), name) for image, name in zip(look.samples[key], look.captions[key], strict=True)]
        assert len(shown) == 16 if size else 14 <= len(shown) <= 16  # those of another size aren't kept as they are
        assert set(shown) <= kept


def one_in_colour(folder: Path, count: int, seen: set[int]) -> Path:
    """A folder of grey pictures, but for the first that isn't among those ``seen``."""
    folder.mkdir()
    coloured = next(row for row in range(count) if row not in seen)
    for row in range(count):
        pixels = np.full((16, 16, 3), row % 256, np.uint8)
        pixels[..., 0] = 255 if row == coloured else pixels[..., 0]
        Image.fromarray(pixels).save(folder / f"{row:04}.png")
    return folder


@pytest.mark.parametrize(("count", "seen", "channels"), [(150, 64, 3), (250, LOOKED_AT, 1)])
def test_an_import_sees_the_colours_that_a_look_sees_and_counts_those_it_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], count: int, seen: int, channels: int
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    source = one_in_colour(tmp_path / "own", count, set(spread(count, seen)))
    assert take_look(source).colour == (channels == 3)
    made = import_dataset(source, "own")
    assert (made.image_shape[0], made.greyed) == (channels, channels == 1)
    assert imported_from("own") == made
    assert command_line(["import", str(source), "--name", "again"]) == 0
    assert ("1 colour images were turned grey" in capsys.readouterr().out) == (channels == 1)


@pytest.mark.parametrize("odd", [0, 15])
def test_a_look_is_written_and_read(tmp_path: Path, odd: int) -> None:
    look = take_look(archive(tmp_path / "pets.zip", odd=odd))
    assert (look.own is None) == bool(odd)
    write_look(look, tmp_path / "look.npz")
    read = read_look(tmp_path / "look.npz")
    assert {**vars(read), "samples": None} == {**vars(look), "samples": None}
    assert all(np.array_equal(read.samples[key], look.samples[key]) for key in look.samples)
    (tmp_path / "look.npz").write_bytes(b"torn")
    with pytest.raises(DataError, match="the file could not be read"):
        read_look(tmp_path / "look.npz")


def test_what_is_hostile_is_refused(tmp_path: Path) -> None:
    cut = tmp_path / "cut.zip"
    cut.write_bytes(archive(tmp_path / "whole.zip").read_bytes()[:-40])
    text = tmp_path / "text.zip"
    text.write_bytes(b"hello, this is text")
    for path, reason in (
        (archive(tmp_path / "evil.zip", hostile=True), "which leads out of it: refused"),
        (cut, "expected a whole zip file, it is cut or damaged"),
        (text, "text.zip: expected a folder or a zip file of pictures"),
        (archive(tmp_path / "bad.zip", 0, bad=5), r"None of the 5 images looked at can be used. The first: pets/cat/bad 0.png"),
    ):
        with pytest.raises(DataError, match=reason):
            take_look(path)


def test_a_process_that_comes_down_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    source = archive(tmp_path / "pets.zip")
    with pytest.raises(DataError, match="gone.zip: nothing there. Expected a folder or a zip"):
        look_apart(tmp_path / "gone.zip")
    fake = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(fake))
    for script, reason in (
        ('echo left > "$TMPDIR/left"; kill -ABRT $$', r"could not be read: the process .* came down \(signal SIGABRT\)"),
        ("exit 3", r"could not be read: the process .* came down \(status 3\)"),
        ("exit 0", "could not be read: what was seen of it is no look"),
    ):
        fake.write_text(f"#!/bin/sh\n{script}\n")
        fake.chmod(0o755)
        with pytest.raises(DataError, match=reason):
            look_apart(source)
    fake.unlink()
    with pytest.raises(DataError, match="no process can be started"):
        look_apart(source)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_too_much_memory_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = []
    monkeypatch.setattr("vae.preview.resource.setrlimit", lambda kind, most: limits.append((kind, most)))  # not this process

    def greedy(path: Path) -> None:
        raise MemoryError

    monkeypatch.setattr("vae.preview.take_look", greedy)
    assert main(tmp_path, tmp_path / "look") == 2
    assert len(limits) == 2
    assert capsys.readouterr().err == "error: the file could not be read: looking at it takes more than 4 GiB of memory\n"
