"""Reading data sets: IDX and CSV, whatever they are called, and a sentence for whatever is wrong with them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vae.data import DATA_VARIABLE, DataError, list_datasets, load_dataset, make_dataset, read_csv, read_idx, split_rows

WriteIdx = Callable[[Path, np.ndarray], None]


def pixels(count: int = 6, side: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side)).astype(np.uint8)


def write_csv(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    columns = ["label", *(f"pixel{number}" for number in range(1, images[0].size + 1))]
    table = np.column_stack([labels, images.reshape(len(images), -1)])
    pd.DataFrame(table, columns=columns).to_csv(path, index=False)


# --- Fashion-MNIST itself ------------------------------------------------------------------------------------------


def test_the_real_splits_have_their_sizes_and_share_no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    train, validation, test = (load_dataset("fashion-mnist", split) for split in ("train", "validation", "test"))
    assert [len(train), len(validation), len(test)] == [55_000, 5_000, 10_000]
    assert train.image_shape == test.image_shape == (1, 28, 28)
    assert train.class_names == validation.class_names == test.class_names
    garments = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
    assert test.class_names == tuple(garments.split(","))
    assert test.class_name(0) == "Ankle boot"
    assert np.bincount(test.labels).tolist() == [1_000] * 10
    digests = [train.digest, validation.digest, test.digest]
    assert digests == ["50c41b5f445c6c13", "335ccf9eda7b626a", "ab13b48aa39ffe6b"]
    rows = np.concatenate([split_rows(60_000, "train"), split_rows(60_000, "validation")])
    assert np.array_equal(np.sort(rows), np.arange(60_000))


def test_the_held_out_images_are_spread_over_the_file() -> None:
    held = split_rows(60_000, "validation")
    assert abs(held.mean() - 30_000) < 1_000
    assert np.array_equal(held, split_rows(60_000, "validation"))


def test_too_few_images_to_hold_one_out() -> None:
    with pytest.raises(DataError, match="at least 2 training images are needed"):
        split_rows(1, "train")


# --- formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 3, 4, 6), (7,)])
@pytest.mark.parametrize("name", ["a-ubyte", "a-ubyte.gz"])
def test_idx_of_any_rank_plain_or_compressed(tmp_path: Path, write_idx: WriteIdx, shape: tuple[int, ...], name: str) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    write_idx(tmp_path / name, array)
    assert np.array_equal(read_idx(tmp_path / name), array)


def test_content_and_not_the_name_says_what_a_file_is(tmp_path: Path, write_idx: WriteIdx) -> None:
    write_idx(tmp_path / "a.gz", pixels())
    (tmp_path / "a.gz").rename(tmp_path / "a.csv")
    assert np.array_equal(read_idx(tmp_path / "a.csv"), pixels())
    write_csv(tmp_path / "b.csv", pixels(), np.arange(6))
    (tmp_path / "b").write_bytes(gzip.compress((tmp_path / "b.csv").read_bytes()))
    images, labels = read_csv(tmp_path / "b")
    assert np.array_equal(images[:, 0], pixels())
    assert labels.tolist() == list(range(6))


def test_csv_and_idx_of_the_same_images_are_the_same_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_idx: WriteIdx
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    labels = np.array([0, 1, 2, 0, 1, 2])
    (tmp_path / "one").mkdir()
    write_idx(tmp_path / "one" / "t10k-images-idx3-ubyte.gz", pixels())
    write_idx(tmp_path / "one" / "t10k-labels-idx1-ubyte.gz", labels.astype(np.uint8))
    write_csv(tmp_path / "two_test.csv", pixels(), labels)
    write_csv(tmp_path / "two_train.csv", pixels(seed=1), labels)
    first, second = load_dataset("one", "test"), load_dataset("two", "test")
    assert first.digest == second.digest
    assert np.array_equal(first.images, second.images)
    assert np.array_equal(first.labels, second.labels)
    assert list_datasets() == ["one", "two"]


@pytest.mark.parametrize("name", ["train-small", "my-test-set", "labelled", "v1.2", "train"])
@pytest.mark.parametrize("folder", ["", "own"])
def test_words_in_a_data_sets_name_do_not_mix_up_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, folder: str
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    place = tmp_path / name if folder else tmp_path
    place.mkdir(exist_ok=True)
    write_csv(place / f"{name}_train.csv", np.full((24, 3, 3), 7, np.uint8), np.zeros(24, int))
    write_csv(place / f"{name}_test.csv", np.full((9, 3, 3), 9, np.uint8), np.zeros(9, int))
    (place / f"._{name}_train.csv").write_bytes(b"what a file manager leaves behind")
    train, test = load_dataset(name, "train"), load_dataset(name, "test")
    assert (len(train), len(test)) == (22, 9)
    assert (np.unique(train.images), np.unique(test.images)) == ([7], [9])


def test_labels_are_found_whatever_the_case_of_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_idx: WriteIdx
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    (tmp_path / "shouted").mkdir()
    write_idx(tmp_path / "shouted" / "T10K-IMAGES-IDX3-UBYTE", pixels())
    write_idx(tmp_path / "shouted" / "T10K-LABELS-IDX1-UBYTE", np.arange(6, dtype=np.uint8))
    labels = load_dataset("shouted", "test").labels
    assert labels is not None
    assert labels.tolist() == list(range(6))


def test_colour_and_no_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_idx: WriteIdx) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    (tmp_path / "photos").mkdir()
    array = np.random.default_rng(0).integers(0, 256, (24, 3, 8, 12)).astype(np.uint8)
    write_idx(tmp_path / "photos" / "train-images", array)
    data = load_dataset("photos", "train")
    assert data.image_shape == (3, 8, 12)
    assert len(data) == 22
    assert data.labels is None
    assert data.class_name(0) is None
    assert data.class_names == ()


def test_images_are_read_only_and_the_digest_tells_content_and_order() -> None:
    data = make_dataset(pixels()[:, None], np.zeros(6, np.int64))
    with pytest.raises(ValueError, match="read-only"):
        data.images[0] = 0
    assert data.digest != make_dataset(pixels()[::-1, None], np.zeros(6, np.int64)).digest
    assert data.digest != make_dataset(pixels()[:, None], np.ones(6, np.int64)).digest
    assert data.digest != make_dataset(pixels()[:, None]).digest
    assert data.digest == make_dataset(pixels()[:, None].copy(), np.zeros(6, np.uint8), name="other").digest


@pytest.mark.parametrize(
    ("images", "labels", "names", "reason"),
    [
        (np.zeros((3, 1, 4, 4)), None, (), "images must be uint8 .* got float64"),
        (np.zeros((3, 4, 4), np.uint8), None, (), r"got uint8 \(3, 4, 4\)"),
        (np.zeros((0, 1, 4, 4), np.uint8), None, (), "images must be uint8"),
        (np.zeros((3, 1, 4, 4), np.uint8), np.zeros(2, int), (), "3 images need as many"),
        (np.zeros((3, 1, 4, 4), np.uint8), np.zeros(3), (), "whole-number labels, got float64"),
        (np.zeros((3, 1, 4, 4), np.uint8), np.array([0, -1, 2]), (), "labels must count from 0, got values from -1 to 2"),
        (
            np.zeros((3, 1, 4, 4), np.uint8),
            np.array([0, 1, 2]),
            ("a", "b"),
            "a label 2 was found, but classes.txt names only 2",
        ),
    ],
)
def test_arrays_that_are_no_data_set(
    images: np.ndarray, labels: np.ndarray | None, names: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        make_dataset(images, labels, names)


# --- what can be wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../fashion-mnist", "/etc", "", "A", "a/b", "." * 3])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(DataError, match="a data set is named by"):
        load_dataset(name, "test")


def test_a_data_set_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    (tmp_path / "here").mkdir()
    with pytest.raises(DataError, match="no test images there. Expected test-images-idx3-ubyte.gz or gone_test.csv; .* here"):
        load_dataset("gone", "test")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "found it begins with"),
        (b"\x00\x00\x08", "found it begins with 00 00 08"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00", "unsigned bytes .* begins with 00 00 0d 01"),
        (b"\x00\x00\x08\x03\x00\x00", "the file ends inside it"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x05abc", "expected 5 bytes of data .* found 3"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x02abc", "expected 2 bytes of data .* found more"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "expected 1 to 8,589,934,592 values"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x00", "expected 1 to"),
        (b"\x1f\x8b\x08rubbish", "it is cut or damaged|could not read"),
        (gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x05abcde", mtime=0)[:-9], "it is cut or damaged"),
    ],
)
def test_a_bad_idx_file_is_named_with_what_was_expected_and_found(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bad-idx"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"bad-idx: expected.*({reason})|bad-idx.*({reason})"):
        read_idx(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "No columns"),
        ("label,pixel1,pixel2\n0,1,2\n", "square images, found 2 pixel columns"),
        ("class,pixel1\n0,1\n", "found columns class, pixel1"),
        ("label,pixel1,pixel3,pixel2,pixel4\n0,1,2,3,4\n", "found columns label"),
        ("label,pixel1\n0,256\n", "values outside that range"),
        ("label,pixel1\n0,-1\n", "values outside that range"),
        ("label,pixel1\n0,1.5\n", "column pixel1 holds something else"),
        ("label,pixel1\n0,\n", "column pixel1 holds something else or a row is cut"),
        ("label,pixel1\n0,dark\n", "column pixel1 holds something else"),
        ("label,pixel1\n", "0 rows|holds something else"),
        ("label,pixel1\n0,1\n0,1,2,3\n", "Expected 2 fields"),
        ("label,pixel1\n0,1,2\n1,3,4\n", "found Length of header or names does not match length of data"),
        ("label,pixel1\n0,18446744073709551615\n", "column pixel1 holds something else"),
        ("label,pixel1\n\xff\xfe", "holds something else|codec"),
    ],
)
def test_a_bad_csv_file_is_named_with_what_was_expected_and_found(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=f"bad.csv: expected .*?({reason})"):
        read_csv(path)


def test_files_that_do_not_belong_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_idx: WriteIdx) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    folder = tmp_path / "odd"
    folder.mkdir()
    write_idx(folder / "test-images", pixels())
    write_idx(folder / "test-labels", np.zeros(5, np.uint8))
    with pytest.raises(DataError, match=r"test-labels: expected 6 labels for test-images, found an array of shape \(5,\)"):
        load_dataset("odd", "test")
    write_idx(folder / "test-labels", np.full(6, 4, np.uint8))
    (folder / "classes.txt").write_text("a\nb\n")
    with pytest.raises(DataError, match="test-images: odd: a label 4 was found, but classes.txt names only 2 classes"):
        load_dataset("odd", "test")
    (folder / "classes.txt").write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match="classes.txt: expected class names, one a line, in UTF-8"):
        load_dataset("odd", "test")
    write_idx(folder / "test-images", np.zeros(5, np.uint8))
    with pytest.raises(DataError, match=r"test-images: expected images \(n, h, w\)"):
        load_dataset("odd", "test")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120, deadline=None)
@given(cut=st.integers(0, 500), place=st.integers(0, 499), flip=st.integers(0, 255), kind=st.sampled_from(["idx", "gz", "csv"]))
def test_damage_anywhere_gives_a_sentence_or_data(tmp_path: Path, cut: int, place: int, flip: int, kind: str) -> None:
    path = tmp_path / "damaged"
    if kind == "csv":
        write_csv(path, pixels(), np.arange(6))
        content = bytearray(path.read_bytes())
    else:
        raw = b"\x00\x00\x08\x03" + b"".join(int(n).to_bytes(4, "big") for n in (6, 3, 3)) + pixels().tobytes()
        content = bytearray(raw if kind == "idx" else gzip.compress(raw, mtime=0))
    content[place % len(content)] ^= flip
    path.write_bytes(bytes(content[: max(0, len(content) - cut)] if cut % 3 else content))
    try:
        found = read_csv(path)[0] if kind == "csv" else read_idx(path)
    except DataError as error:
        assert "damaged" in str(error)
    else:
        assert found.dtype == np.uint8
