"""Packing: splits, shapes, what is left out, what happens when it is cut, and how large data stay on the disk."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import vae.pack
from vae import DataError, import_dataset, list_datasets, load_dataset
from vae.__main__ import main
from vae.config import PRESETS, ConfigError, ModelConfig, TrainConfig
from vae.data import DATA_VARIABLE, split_rows
from vae.pack import draw_splits, imported_from
from vae.runs import CHECKPOINTS_VARIABLE
from vae.shapes import Target, fit_image
from vae.sources import Source

TRAINING = sys.modules["vae.train"]  # the attribute of that name is the function
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ``data/``."""
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    monkeypatch.setenv(CHECKPOINTS_VARIABLE, str(tmp_path / "checkpoints"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def pictures(folder: Path, count: int = 42, side: int = 20, colour: bool = True) -> Path:
    """A folder of pictures in three classes, no two alike."""
    random = np.random.default_rng(7)
    for number in range(count):
        shape = (side, side, 3) if colour else (side, side)
        path = folder / f"kind {number % 3}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, shape).astype(np.uint8)).save(path)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def whole(name: str) -> dict[bytes, str | None]:
    """Every image of a data set with the name of its class."""
    found = {}
    for split in ("train", "validation", "test"):
        data = load_dataset(name, split)  # type: ignore[arg-type]
        found |= {data.images[row].tobytes(): data.class_name(row) for row in range(len(data))}
    return found


# --- splits and shapes ---------------------------------------------------------------------------------------------


def test_every_picture_is_in_one_split_with_its_class(root: Path, tmp_path: Path) -> None:
    source = pictures(tmp_path / "own")
    made = import_dataset(source, "own")
    assert made.image_shape == (3, 20, 20)
    assert made.counts == {"train": 33, "validation": 3, "test": 6}  # a seventh of 42, then a twelfth of 36
    expected = {}
    for path in source.rglob("*.png"):
        expected[np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes()] = path.parent.name
    assert whole("own") == expected
    assert isinstance(load_dataset("own", "train").images, np.memmap)
    assert not load_dataset("own", "train").images.flags.writeable
    assert list_datasets() == ["own"]
    assert imported_from("own") == made
    assert sorted(path.name for path in root.iterdir()) == ["own"]


def of_count(count: int, splits: np.ndarray | None = None) -> Source:
    return Source("made up", count, lambda _: np.zeros((16, 16), np.uint8), str, "", splits=splits)


@given(count=st.integers(3, 5000))
def test_the_drawn_splits_have_their_sizes(count: int) -> None:
    splits = draw_splits(of_count(count))
    test = max(1, round(count / 7))
    sizes = [count - test - max(1, round((count - test) / 12)), max(1, round((count - test) / 12)), test]
    assert np.bincount(splits, minlength=3).tolist() == sizes
    assert np.array_equal(splits, draw_splits(of_count(count)))


def test_no_more_than_ten_thousand_are_tested_and_the_draw_is_spread_over_all() -> None:
    splits = draw_splits(of_count(200_000))
    rows = np.flatnonzero(splits == 2)
    assert len(rows) == 10_000
    assert abs(rows.mean() - 100_000) < 2_000


def test_splits_that_the_source_tells_are_kept() -> None:
    told = np.array([0] * 120 + [2] * 7, np.int8)
    splits = draw_splits(of_count(127, told))
    assert np.array_equal(splits == 2, told == 2)
    assert np.array_equal(np.flatnonzero(splits == 1), split_rows(120, "validation"))
    told[:9] = 1
    assert np.array_equal(draw_splits(of_count(127, told)), told)
    with pytest.raises(DataError, match="expected at least 3 images .*, found 2"):
        draw_splits(of_count(2))


def test_an_image_is_padded_around_its_middle_with_the_level_of_its_border() -> None:
    image = np.full((8, 6), 200, np.uint8)
    image[2:6, 2:4] = 50
    (padded,) = fit_image(image, Target((1, 16, 16), (8, 6)))
    assert np.array_equal(padded[4:12, 5:11], image)
    padded[4:12, 5:11] = 200
    assert (padded == 200).all()


def test_images_of_odd_sides_are_padded_to_the_next_sides_that_fit(root: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(5).integers(0, 256, (12, 27, 30)).astype(np.uint8)
    np.save(tmp_path / "own.npy", images)
    made = import_dataset(tmp_path / "own.npy", "own")
    assert made.image_shape == (1, 28, 32)
    kept = [image[0] for split in ("train", "validation", "test") for image in load_dataset("own", split).images]  # type: ignore[arg-type]
    assert {image[:27, 1:31].tobytes() for image in kept} == {image.tobytes() for image in images}


def test_resizing_averages_and_keeps_proportions() -> None:
    stripes = np.zeros((64, 128, 3), np.uint8)
    stripes[:, ::2] = 255
    resized = fit_image(stripes, Target((3, 32, 32), None))
    assert resized.shape == (3, 32, 32)
    assert np.abs(resized[:, 9:23, 1:-1].astype(int) - 127).max() < 16  # a filter that picks pixels would give 0 or 255
    assert len(np.unique(resized[:, :8])) == 1  # above and below: padding


def test_grey_and_colour_are_converted() -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    three = fit_image(grey, Target((3, 16, 16), (16, 16)))
    assert all(np.array_equal(channel, grey) for channel in three)
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    assert (fit_image(red, Target((1, 16, 16), (16, 16))) == 76).all()  # ITU-R 601-2: 299/1000 of 255


def test_presets_keep_the_innermost_grid_at_seven_or_eight_pixels() -> None:
    for side, stages in {8: 2, 16: 2, 28: 2, 32: 2, 36: 2, 56: 3, 64: 3, 128: 4}.items():
        for preset in ("fast", "large"):
            first, second = PRESETS[preset].model.widths  # type: ignore[index]
            expected = (first, second, 2 * second, 4 * second)[:stages]
            assert PRESETS[preset].model_for((3, side, side)).widths == expected  # type: ignore[index]
    assert PRESETS["large"].model_for((1, 28, 28)) == PRESETS["large"].model
    assert PRESETS["fast"].model_for((1, 28, 128)).widths == (16, 32)
    assert PRESETS["notes"].model_for((3, 64, 64)).widths == (16, 64)
    with pytest.raises(ConfigError, match=r"got 30: .* python -m vae import SOURCE --name NAME --size (28|32)"):
        ModelConfig(height=30)


# --- what is left out, and what is refused -------------------------------------------------------------------------


def test_a_few_bad_files_are_named_and_do_not_stop_the_rest(root: Path, tmp_path: Path) -> None:
    source = pictures(tmp_path / "own")
    (source / "kind 0" / "broken.png").write_bytes(b"\x89PNG broken")
    Image.new("RGB", (21, 20)).save(source / "kind 1" / "wide.png")
    made = import_dataset(source, "own")
    assert sum(made.counts.values()) == 42
    assert made.left_out == 2
    lines = made.left_out_file.read_text().splitlines()
    assert lines == made.left_out_lines(10)
    assert lines[0].startswith("kind 0/broken.png: The PNG file is cut or damaged")
    assert (
        lines[1]
        == "kind 1/wide.png: expected 20 x 20 pixels like the others, found 21 x 20 pixels: import with --size to fit it"
    )
    assert import_dataset(source, "fitted", size=16).left_out == 1


@pytest.mark.parametrize(
    ("make", "arguments", "reason"),
    [
        ("various", {}, "expected images of one size, at most 128 pixels a side, found 16 x 16 and 24 x 24: .* --size 64"),
        ("large", {}, "found 200 x 200: say which size"),
        ("plain", {"size": 30}, "size must be from 16 to 128 and divisible by 4, got 30"),
        ("plain", {"size": 256}, "size must be from 16 to 128 and divisible by 4, got 256"),
        ("bad", {}, "none of the 3 images looked at can be used; the first: 0.png: Expected a PNG"),
        ("two", {}, r"expected at least 3 images \(training, validation, test\), found 2"),
        ("gone", {}, "nothing there"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(
    root: Path, tmp_path: Path, make: str, arguments: dict[str, int], reason: str
) -> None:
    source = tmp_path / "own"
    if make != "gone":
        source.mkdir()
    sides = {"various": [16, 24, 20], "large": [200] * 3, "plain": [20] * 3, "two": [20] * 2}.get(make, [])
    for number, side in enumerate(sides):
        Image.new("RGB", (side, side)).save(source / f"{number}.png")
    for number in range(3 if make == "bad" else 0):
        (source / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=reason):
        import_dataset(source, "own", **arguments)  # type: ignore[arg-type]
    assert list(root.iterdir()) == []


def test_a_name_is_free_or_refused(root: Path, tmp_path: Path) -> None:
    source = pictures(tmp_path / "own")
    import_dataset(source, "own")
    before = contents(root)
    with pytest.raises(DataError, match="a data set of that name is there already: choose another name"):
        import_dataset(source, "own")
    for name in ("../own", "A", "", "x" * 65, ".importing-own", "a/b"):
        with pytest.raises(DataError, match="a data set is named by"):
            import_dataset(source, name)
    (root / "loose_train.csv").write_text("label,pixel1\n0,1\n")
    with pytest.raises(DataError, match="is there already"):
        import_dataset(source, "loose")
    assert {name: content for name, content in contents(root).items() if name != "loose_train.csv"} == before


def test_a_folder_under_data_is_packed_where_it_lies(root: Path) -> None:
    pictures(root / "own")
    with pytest.raises(DataError, match=r"python -m vae import .*own --name own"):
        load_dataset("own", "train")
    with pytest.raises(DataError, match="is there already"):
        import_dataset(root.parent, "own")
    import_dataset(root / "own", "own")
    assert len(load_dataset("own", "train")) == 33
    assert sorted(path.name for path in (root / "own").iterdir()) == ["kind 0", "kind 1", "kind 2", "packed"]


def test_files_that_must_be_imported_say_so(root: Path) -> None:
    (root / "own").mkdir()
    np.savez(root / "own" / "train.npz", images=np.zeros((9, 8, 8), np.uint8))
    with pytest.raises(DataError, match="expected IDX or CSV, found NPZ, NPY or Parquet.* python -m vae import .* --name own"):
        load_dataset("own", "train")


@pytest.mark.parametrize("damage", ["cut", "gone", "pickled", "foreign", "labels"])
def test_a_damaged_import_says_which_file_and_what_to_do(root: Path, tmp_path: Path, damage: str) -> None:
    import_dataset(pictures(tmp_path / "own"), "own")
    file = root / "own" / "packed" / f"train-{'labels' if damage == 'labels' else 'images'}.npy"
    content = file.read_bytes()
    if damage in ("cut", "labels"):
        file.write_bytes(content[: len(content) // 2])
    elif damage == "gone":
        file.unlink()
    elif damage == "pickled":
        np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    else:
        np.save(file, np.zeros(3))
    with pytest.raises(DataError, match=f"{file}: .*delete .*packed and import the data set again"):
        load_dataset("own", "train")
    assert len(load_dataset("own", "test")) == 6


def test_a_disk_that_is_too_small(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="GiB of free disk for 42 images"):
        import_dataset(pictures(tmp_path / "own"), "own")
    assert list(root.iterdir()) == []


# --- cut and taken up again ----------------------------------------------------------------------------------------


class Cut(BaseException):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("at", [1, 17, 21])
def test_cut_anywhere_it_goes_on_and_ends_in_the_same_bytes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(vae.pack, "COMMIT_SECONDS", -1.0)
    source = pictures(tmp_path / "own", 20)
    (source / "kind 0" / "bad.png").write_bytes(b"no picture")
    import_dataset(source, "uncut")

    def cut(done: int, total: int) -> None:
        if done == at:
            # What was added after the last note is thrown away: as if the process had died in the middle of a write.
            with (root / ".importing-own" / "packed" / "train-images.npy").open("ab") as file:
                file.write(b"half an image")
            raise Cut

    with pytest.raises(Cut):
        import_dataset(source, "own", progress=cut)
    assert list_datasets() == ["uncut"]
    seen: list[int] = []
    import_dataset(source, "own", progress=lambda done, total: seen.append(done))
    assert seen == list(range(at + 1, 22))  # not from the beginning
    first, second = contents(root / "uncut"), contents(root / "own")
    assert first.pop("packed/source.json") == second.pop("packed/source.json").replace(b'"own"', b'"uncut"')
    assert first == second


def test_after_a_change_of_the_source_or_the_size_it_starts_over(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vae.pack, "COMMIT_SECONDS", -1.0)
    source = pictures(tmp_path / "own")

    def cut(done: int, total: int) -> None:
        if done == 20:
            raise Cut

    for _ in range(2):
        with pytest.raises(Cut):
            import_dataset(source, "own", progress=cut)
        (source / "kind 0" / "000.png").unlink(missing_ok=True)
        (source / "kind 0" / "more.png").write_bytes((source / "kind 1" / "001.png").read_bytes())
    seen: list[int] = []
    import_dataset(source, "own", size=16, progress=lambda done, total: seen.append(done))
    assert seen == list(range(1, 43))


def test_what_cannot_go_on_leaves_nothing(root: Path, tmp_path: Path) -> None:
    def cut(done: int, total: int) -> None:
        raise Cut

    with pytest.raises(Cut):
        import_dataset(pictures(tmp_path / "own"), "own", progress=cut, resumable=False)
    assert list(root.iterdir()) == []


def test_two_imports_of_one_name(root: Path, tmp_path: Path) -> None:
    source = pictures(tmp_path / "own")

    def again(done: int, total: int) -> None:
        if done == 5:
            with pytest.raises(DataError, match="another process is importing a data set of that name"):
                import_dataset(source, "own")

    assert sum(import_dataset(source, "own", progress=again).counts.values()) == 42


KILLED = """
import os, signal, sys
import vae.pack
vae.pack.COMMIT_SECONDS = -1.0
from pathlib import Path
def progress(done, total):
    if done == 20:
        os.kill(os.getpid(), signal.SIGKILL)
vae.pack.import_dataset(Path(sys.argv[1]), "own", progress=progress)
"""


def test_killed_in_its_own_process_the_command_goes_on(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = pictures(tmp_path / "own")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(source)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert json.loads((root / ".importing-own" / "packed" / "progress.json").read_text())["done"] == 20
    assert main(["import", str(source), "--name", "own"]) == 0
    assert "data set own: a folder of pictures; RGB, 20 x 20, 3 classes" in capsys.readouterr().out
    import_dataset(source, "uncut")
    assert whole("own") == whole("uncut")
    assert (root / "own/packed/train-images.npy").read_bytes() == (root / "uncut/packed/train-images.npy").read_bytes()


# --- larger than memory --------------------------------------------------------------------------------------------


def test_images_that_stay_on_the_disk_give_the_same_training_bit_for_bit(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_dataset(pictures(tmp_path / "own", side=16, colour=False), "own")
    data, held = load_dataset("own", "train"), load_dataset("own", "validation")
    model = ModelConfig(height=16, width=16, latent=3, widths=(4,), hidden=8)
    ended, taken = [], []
    rows_of = TRAINING._rows_of
    for share in (1.0, 0.0):
        monkeypatch.setattr(TRAINING, "MEMORY_SHARE", share)
        taken.append(rows_of(data, torch.device("cpu")))
        state = TRAINING.new_state(model, TrainConfig(epochs=1, batch_size=16, precision="fp32"), torch.device("cpu"))
        for _ in TRAINING.train(state, data, held):
            pass
        ended.append(state.tensors())
    assert all(torch.equal(ended[0][name], ended[1][name]) for name in ended[0])
    rows = torch.tensor([5, 0, 31])
    assert torch.equal(taken[0](rows), taken[1](rows))
    # The second reads from the disk: it holds no copy of the images.
    held_by = [cell.cell_contents for cell in taken[1].__closure__ or ()]
    assert not any(isinstance(thing, torch.Tensor) for thing in held_by)


def test_the_digest_tells_content_of_packed_data_too(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_dataset(pictures(tmp_path / "own"), "own")
    data = load_dataset("own", "train")
    in_memory = vae.data.make_dataset(np.array(data.images), data.labels, data.class_names)
    assert in_memory.digest == data.digest
    monkeypatch.setattr(vae.data, "_HASHED", 1000)
    assert vae.data.make_dataset(np.array(data.images), data.labels, data.class_names).digest == data.digest
    file = root / "own" / "packed" / "train-images.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert load_dataset("own", "train").digest != data.digest


def test_a_large_array_is_never_read_whole(root: Path, tmp_path: Path) -> None:
    """A sparse file of 64 GiB, more than the memory: its header and a few rows can be had all the same."""
    from vae.readers import open_source

    path = tmp_path / "images.npy"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**22, 128, 128)})
    path.write_bytes(header.getvalue())
    os.truncate(path, len(header.getvalue()) + 2**36)
    with open_source(path) as source:
        assert source.count == 2**22
        assert source.read(2**22 - 1).shape == (128, 128)
