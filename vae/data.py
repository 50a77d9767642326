"""Image data sets and their splits: the only reader of ``data/``.

A data set is a folder ``data/<name>/`` that holds either ``packed/``, which an import made of anything else (`vae.pack`):
an ``.npy`` file of images for each split, memory-mapped; or a training and a test file of images, as IDX (``.gz`` or not) or
as CSV in the form ``label,pixel1,pixel2,...``; which of the two is recognised by content. The CSV pair may also lie in
``data/`` itself as ``<name>_train.csv`` and ``<name>_test.csv``. An optional ``classes.txt`` names the classes, one a line.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int64, UInt8

Split = Literal["train", "validation", "test"]
Images = UInt8[np.ndarray, "n channels height width"]
Labels = Int64[np.ndarray, " n"]

DATA_VARIABLE = "LATENT_EXPLORER_DATA"
"""The environment variable that says where ``data/`` lies; unset, it is the repository's own."""

VALIDATION_FRACTION = 1 / 12  # 5,000 of 60,000
VALIDATION_SEED = 20_170_825
MAX_VALUES = 2**33  # pixels in one file; a header that promises more is not believed
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
PACKED = "packed"
_HASHED = 2**26  # bytes that are hashed in one piece
_IDX_UINT8 = b"\x00\x00\x08"
_PARTS = {"train": "train", "test": "test", "t10k": "test"}


class DataError(ValueError):
    """A data file or data set that cannot be used; the message names the file, what was expected and what was found."""


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images of one split, with their labels where there are any.

    ``images`` are ``uint8 (n, channels, height, width)``, read-only; ``labels`` are ``int64 (n,)`` indices into
    ``class_names``, or None. ``digest`` identifies the content: same pixels, labels and order, same digest.
    """

    images: Images
    labels: Labels | None
    class_names: tuple[str, ...]
    name: str
    digest: str

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(channels, height, width)``."""
        _, channels, height, width = self.images.shape
        return (channels, height, width)

    def rows(self, which: slice | Int64[np.ndarray, " rows"]) -> UInt8[np.ndarray, "rows channels height width"]:
        """Some of the images, read from the disk where they are memory-mapped.

        Raises:
            DataError: their file has gone or been cut since it was opened.
        """
        if isinstance(self.images, np.memmap) and not self._whole_on_disk():
            raise DataError(
                f"{self.images.filename}: the images of data set {self.name} have gone or been cut while they were in use: "
                "restore the file, then go on"
            )
        return self.images[which]

    def _whole_on_disk(self) -> bool:
        """NOTE: reading what a mapped file no longer has ends the process on the spot, so it is asked before."""
        try:
            return Path(self.images.filename).stat().st_size >= self.images.nbytes  # type: ignore[attr-defined]
        except OSError:
            return False

    def class_name(self, row: int) -> str | None:
        """The name of one image's class, or None in a data set without labels."""
        return None if self.labels is None else self.class_names[int(self.labels[row])]


def data_root() -> Path:
    """The folder that holds the data sets."""
    return Path(os.environ.get(DATA_VARIABLE) or Path(__file__).resolve().parent.parent / "data")


def list_datasets() -> list[str]:
    """The names of the data sets under ``data/``, sorted."""
    root = data_root()
    names = {folder.name for folder in root.glob("*") if folder.is_dir() and NAME.fullmatch(folder.name)}
    names |= {file.name.removesuffix("_train.csv") for file in root.glob("*_train.csv")}
    return sorted(names)


def make_dataset(
    images: np.ndarray, labels: np.ndarray | None = None, class_names: tuple[str, ...] = (), name: str = "unnamed"
) -> ImageDataset:
    """A checked `ImageDataset` from arrays; class names default to the label numbers.

    Raises:
        DataError: wrong type or shape, or labels that don't fit the images or the class names.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or 0 in images.shape:
        raise DataError(f"{name}: images must be uint8 (n, channels, height, width), got {images.dtype} {images.shape}")
    if labels is None:
        return _sealed(images, None, (), name)
    labels = np.asarray(labels)
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{name}: {len(images):,} images need as many whole-number labels, got {labels.dtype} {labels.shape}")
    labels = labels.astype(np.int64)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= 100_000:
        raise DataError(f"{name}: labels must count from 0, got values from {low} to {high}")
    class_names = class_names or tuple(str(label) for label in range(high + 1))
    if high >= len(class_names):
        raise DataError(f"{name}: a label {high} was found, but classes.txt names only {len(class_names)} classes, from 0")
    return _sealed(images, labels, class_names, name)


def _sealed(images: Images, labels: Labels | None, class_names: tuple[str, ...], name: str) -> ImageDataset:
    hasher = hashlib.blake2b(repr(images.shape).encode(), digest_size=8)
    for array in (images, labels):
        if array is not None:
            step = max(1, _HASHED // array[:1].nbytes)
            for start in range(0, len(array), step):  # a piece at a time: the array may be larger than the memory
                hasher.update(np.ascontiguousarray(array[start : start + step]).data)
            array.flags.writeable = False
    return ImageDataset(images, labels, class_names, name, hasher.hexdigest())


def load_dataset(name: str, split: Split, validation_fraction: float | None = None) -> ImageDataset:
    """One split of ``data/<name>``.

    Of an imported data set the splits are those that the import made. Else the test split is the test file.
    ``validation_fraction`` of the training file (None: a twelfth, 5,000 of Fashion-MNIST's 60,000), drawn with a fixed seed, is
    held out for validation; ``train`` is the rest, in file order.

    Raises:
        DataError: no such data set, a file that is missing, cut, mislabelled or of the wrong shape, or a
            ``validation_fraction`` where the splits are those of an import.
    """
    check_name(name)
    packed = data_root() / name / PACKED
    if packed.is_dir():
        if validation_fraction is not None:
            raise DataError(
                f"{packed}: an imported data set has the splits that its import made: leave validation_fraction out, or "
                f"import it again with --validation-fraction {validation_fraction:g}"
            )
        files = [packed / f"{split}-{what}.npy" for what in ("images", "labels")] + [packed / "classes.txt"]
        return _load_packed(name, *((file, file.stat().st_mtime_ns if file.is_file() else 0) for file in files))
    part = "test" if split == "test" else "train"
    images, labels, source = _read_part(name, part)
    class_names = class_names_in(data_root() / name / "classes.txt")
    try:
        if split != "test":
            rows = split_rows(len(images), split, validation_fraction)
            images, labels = images[rows], None if labels is None else labels[rows]
        return make_dataset(images, labels, class_names, name)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


def check_name(name: str) -> None:
    """Refuse what is no name of a data set.

    Raises:
        DataError: other letters, or more than 64.
    """
    if not NAME.fullmatch(name):
        raise DataError(f"a data set is named by lower-case letters, digits, '.', '_' and '-' (at most 64), got {name[:80]!r}")


@lru_cache(maxsize=16)  # a data set larger than the memory is hashed once, not at each look; its pixels stay on the disk
def _load_packed(name: str, images: tuple[Path, int], labels: tuple[Path, int], classes: tuple[Path, int]) -> ImageDataset:
    """One split of an import. The times of the files are there to make the cache see a change."""
    pixels = _packed_array(images[0], mapped=True)
    numbers = _packed_array(labels[0], mapped=False) if labels[1] else None
    try:
        return make_dataset(pixels, numbers, class_names_in(classes[0]), name)
    except DataError as error:
        raise DataError(f"{images[0]}: {error}: delete {images[0].parent} and import the data set again") from None


def _packed_array(path: Path, mapped: bool) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except Exception as error:  # NOTE: on a damaged header numpy raises its own errors and those of Python's parser
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path}: expected a whole array of an imported data set, it is missing, cut or foreign ({reason}): "
            f"delete {path.parent} and import the data set again"
        ) from None
    return array


def split_rows(count: int, split: Split, validation_fraction: float | None = None) -> Int64[np.ndarray, " rows"]:
    """The rows of a training file of ``count`` images that belong to ``train`` or ``validation``, ascending.

    ``validation_fraction`` of them, rounded, but one at least, are for validation; None: a twelfth.

    Raises:
        DataError: too few images for at least one in each.
    """
    if count < 2:
        raise DataError(f"at least 2 training images are needed, one of them for validation, got {count}")
    held = max(1, round(count * (VALIDATION_FRACTION if validation_fraction is None else validation_fraction)))
    if held >= count:
        raise DataError(f"a validation_fraction of {validation_fraction} leaves none of {count} images to train on: lower it")
    order = np.random.default_rng(VALIDATION_SEED).permutation(count)
    return np.sort(order[:held] if split == "validation" else order[held:]).astype(np.int64)


def class_names_in(path: Path) -> tuple[str, ...]:
    """The class names in a ``classes.txt``, or none where there is no such file.

    Raises:
        DataError: it isn't UTF-8.
    """
    if not path.is_file():
        return ()
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected class names, one a line, in UTF-8; found other bytes") from None
    return tuple(line.strip()[:80] for line in lines if line.strip())


def _read_part(name: str, part: str) -> tuple[Images, Labels | None, Path]:
    root = data_root()
    candidates = _candidates(root / name, part)
    loose = root / f"{name}_{part}.csv"
    labels_file = next((path for path in candidates if _holds_labels(path)), None)
    images_file = next((path for path in candidates if not _holds_labels(path)), loose if loose.is_file() else None)
    if images_file is None:
        known = ", ".join(list_datasets()) or "none"
        raise DataError(
            f"{root / name}: no {part} images there. Expected {part}-images-idx3-ubyte.gz or {name}_{part}.csv; "
            f"data sets found under {root}: {known}. Pictures, NPZ, NPY, Parquet or a single file are imported first: "
            f"python -m vae import {root / name} --name {name}"
        )
    head = first_bytes(images_file, 4)
    if head.startswith((b"PK", b"\x93NUM", b"PAR1")):
        raise DataError(
            f"{images_file}: expected IDX or CSV, found NPZ, NPY or Parquet, which is imported first: "
            f"python -m vae import {root / name} --name {name}"
        )
    if not _is_idx(head):
        return (*read_csv(images_file), images_file)
    images = read_idx(images_file)
    if images.ndim not in (3, 4):
        raise DataError(f"{images_file}: expected images (n, h, w) or (n, c, h, w), found an IDX array of shape {images.shape}")
    labels = None
    if labels_file is not None:
        labels = read_idx(labels_file)
        if labels.ndim != 1 or len(labels) != len(images):
            raise DataError(
                f"{labels_file}: expected {len(images):,} labels for {images_file.name}, found an array of shape {labels.shape}"
            )
    labels = None if labels is None else labels.astype(np.int64)
    return images[:, None] if images.ndim == 3 else images, labels, images_file


def _candidates(folder: Path, part: str) -> list[Path]:
    """The files of a data set's folder that hold one part, plain files before compressed ones.

    NOTE: the last word of the kind says which: ``train-small_test.csv`` is the test file of ``train-small``.
    """
    found = []
    for path in folder.glob("[!.]*") if folder.is_dir() else []:
        parts = [_PARTS[word] for word in _words(path) if word in _PARTS]
        if path.is_file() and parts[-1:] == [part]:
            found.append(path)
    return sorted(found, key=lambda path: (len(path.suffixes), path.name))


def _holds_labels(path: Path) -> bool:
    return not {"label", "labels"}.isdisjoint(_words(path))


def _words(path: Path) -> list[str]:
    return re.split(r"[-_.]", path.name.lower())


def first_bytes(path: Path, count: int) -> bytes:
    """The first bytes of a file's content, decompressed if it is gzip.

    Raises:
        DataError: it can't be read.
    """
    try:
        with _opened(path) as file:
            return file.read(count)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: expected a file of images, could not read its first bytes ({error})") from None


def _opened(path: Path) -> gzip.GzipFile | BufferedReader:
    """A reader of a file's content, decompressed if it is gzip (told by its first two bytes, not by its name)."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.GzipFile(path) if compressed else path.open("rb")


def _is_idx(head: bytes) -> bool:
    return len(head) == 4 and head[:2] == b"\x00\x00"


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of an IDX file (LeCun's format), of whatever shape its header states.

    Raises:
        DataError: not IDX, not unsigned bytes, or more or fewer bytes than the header promises.
    """
    try:
        with _opened(path) as file:
            head = file.read(4)
            if len(head) < 4 or head[:3] != _IDX_UINT8 or not 1 <= head[3] <= 4:
                raise DataError(
                    f"{path}: expected an IDX file of unsigned bytes (00 00 08 ..), found it begins with {head.hex(' ')}"
                )
            sizes = file.read(4 * head[3])
            if len(sizes) < 4 * head[3]:
                raise DataError(f"{path}: expected {head[3]} sizes in the IDX header, the file ends inside it")
            shape = struct.unpack(f">{head[3]}I", sizes)
            expected = math.prod(shape)
            if not 0 < expected <= MAX_VALUES:
                raise DataError(f"{path}: expected 1 to {MAX_VALUES:,} values, the IDX header says {shape}")
            body = file.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: expected a whole IDX file, it is cut or damaged ({error}): fetch it again") from None
    if len(body) != expected:
        found = f"{len(body):,}" if len(body) < expected else "more"
        raise DataError(f"{path}: expected {expected:,} bytes of data for shape {shape}, found {found}: fetch it again")
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def read_csv(path: Path) -> tuple[Images, Labels]:
    """Square grey images and labels from a CSV with the header ``label,pixel1,...``.

    Raises:
        DataError: another header, a number of pixels that is not a square, values that are not whole numbers
            from 0 to 255, or rows of unequal length.
    """
    expectation = "expected a CSV with the header label,pixel1,pixel2,... and whole numbers from 0 to 255"
    try:
        # NOTE: pandas would take a field that the header doesn't name for an index, or drop it with a warning.
        with _opened(path) as file, warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table = pd.read_csv(file, index_col=False)
        columns = list(table.columns)
        pixels = len(columns) - 1
        side = math.isqrt(max(pixels, 0))
        if columns[0] != "label" or columns[1:] != [f"pixel{number}" for number in range(1, pixels + 1)]:
            raise DataError(f"{path}: {expectation}, found columns {', '.join(map(str, columns[:3]))}, ...")
        if side < 1 or side * side != pixels:
            raise DataError(f"{path}: expected square images, found {pixels} pixel columns")
    except (OSError, EOFError, zlib.error, ValueError, pd.errors.ParserWarning) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: {expectation}, found {str(error).strip().splitlines()[0]}") from None
    wrong = [column for column, kind in table.dtypes.items() if kind != np.int64]
    if wrong:
        raise DataError(f"{path}: {expectation}, column {wrong[0]} holds something else or a row is cut")
    values = table.to_numpy()
    if len(values) == 0 or values.min() < 0 or values.max() > 255:
        raise DataError(f"{path}: {expectation}, found {len(values):,} rows with values outside that range or none at all")
    images = values[:, 1:].astype(np.uint8).reshape(len(values), 1, side, side)
    return images, values[:, 0].astype(np.int64)
