"""Somebody's images, brought to one shape and packed once into ``data/<name>/packed/``: an ``.npy`` file for each split.

An import is written beside the data sets, in ``data/.importing-<name>/``, and moved into place when it is whole. Cut at any
moment, it goes on where it stood: what was written is noted in ``progress.json`` about once a second.

The splits: those that the source tells, else a seventh of the images, at most 10,000, drawn with a fixed seed, is the test
split. Of what is left for training a twelfth, drawn like that of Fashion-MNIST, is the validation split.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Int8

from vae.data import PACKED, VALIDATION_SEED, DataError, Split, check_name, data_root, list_datasets, split_rows
from vae.files import write_atomic
from vae.images import ImageError
from vae.readers import open_source
from vae.shapes import Shape, Target, choose_target, fit_image
from vae.sources import SPLITS, UNSAID, Source

TEST_FRACTION = 1 / 7  # 10,000 of Fashion-MNIST's 70,000
MAX_TEST = 10_000
COMMIT_SECONDS = 1.0
LEFT_OUT_FILE = "left-out.txt"
PROGRESS_FILE = "progress.json"
_HEADER_BYTES = 128  # of every .npy file written here: numpy leaves room in it for any number of rows

Progress = Callable[[int, int], None]
"""Told how many images are done, of how many."""


@dataclass(frozen=True)
class Imported:
    """What an import made. ``counts`` are images by split; ``left_out`` is how many files or rows could not be used."""

    name: str
    kind: str
    image_shape: Shape
    counts: dict[str, int]
    classes: int
    left_out: int

    @property
    def left_out_file(self) -> Path:
        """Names each of what was left out, with the reason, a line each."""
        return data_root() / self.name / PACKED / LEFT_OUT_FILE

    def left_out_lines(self, most: int) -> list[str]:
        """The first of those lines."""
        with self.left_out_file.open(encoding="utf-8") as file:
            return [line.rstrip("\n") for line, _ in zip(file, range(most), strict=False)]


def import_dataset(
    source: Path,
    name: str,
    size: int | None = None,
    grey: bool = False,
    progress: Progress = lambda _done, _total: None,
    resumable: bool = True,
) -> Imported:
    """Read the images at a path (see `vae.readers`) into a data set of that name.

    ``size`` is the side of the square that images are fitted into, with antialiasing; without it they keep their size, padded
    to sides that are divisible by 4. Colour stays unless ``grey``. An image that can't be used is named in ``left-out.txt``
    and doesn't stop the rest. Stopped by an interrupt or a full disk, the same call goes on; if not ``resumable``, nothing is
    left then.

    Raises:
        DataError: the name is taken, the source is refused, or no usable images are in it. Nothing is left behind.
    """
    check_name(name)
    _check_free(name, source)
    staging = data_root() / f".importing-{name}"
    with _locked(staging, name):
        try:
            with open_source(source) as opened:
                made = _pack(opened, name, staging, size, grey, progress)
            target = data_root() / name
            target.mkdir(exist_ok=True)
            (staging / PACKED).rename(target / PACKED)
        except BaseException as error:
            if isinstance(error, DataError) or not resumable:
                shutil.rmtree(staging, ignore_errors=True)
            raise
        shutil.rmtree(staging, ignore_errors=True)
    return made


def imported_from(name: str) -> Imported | None:
    """What the import of a data set made, or None for one that wasn't imported."""
    try:
        values = json.loads((data_root() / name / PACKED / "source.json").read_text("utf-8"))
        return Imported(**(values | {"image_shape": tuple(values["image_shape"])}))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _check_free(name: str, source: Path) -> None:
    """A name is free if nothing bears it, but for the source itself: a folder under ``data/`` is packed where it lies."""
    folder = data_root() / name
    if (folder / PACKED).exists():
        raise DataError(f"{folder}: a data set of that name is there already: choose another name, or delete {folder / PACKED}")
    in_place = source.resolve() == folder.resolve()
    empty = folder.is_dir() and not any(folder.iterdir())
    if name in list_datasets() and not in_place and not empty:
        raise DataError(f"{folder}: a data set of that name is there already: choose another name")


@contextmanager
def _locked(staging: Path, name: str) -> Iterator[None]:
    """Hold the import of a name. The operating system lets go when the process ends, however it ends."""
    staging.mkdir(parents=True, exist_ok=True)
    with (staging / ".lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(f"{name}: another process is importing a data set of that name: wait for it, or stop it") from None
        yield


# --- packing -------------------------------------------------------------------------------------------------------


def _pack(source: Source, name: str, staging: Path, size: int | None, grey: bool, progress: Progress) -> Imported:
    target = choose_target(source, size, grey)
    shape = target.shape
    splits = draw_splits(source)
    folder = staging / PACKED
    recipe = {"fingerprint": _digest(source, splits), "target": [list(shape), list(target.own or ())]}
    with _Package(folder, recipe, source, shape) as package:
        counts, left_out = _write(source, splits, target, package, progress)
    for split in SPLITS:
        if not counts[split]:
            first = (folder / LEFT_OUT_FILE).read_text("utf-8").splitlines()[:1]
            reason = f" The first left out: {first[0]}" if first else ""
            raise DataError(f"{name}: no usable image for the {split} split, expected at least one in each.{reason}")
    made = Imported(name, source.kind, shape, counts, len(source.class_names), left_out)
    if source.labels is not None:
        write_atomic(folder / "classes.txt", "".join(f"{line}\n" for line in source.class_names).encode())
    write_atomic(folder / "source.json", (json.dumps(dataclasses.asdict(made), indent=2) + "\n").encode())
    (folder / PROGRESS_FILE).unlink()
    return made


def draw_splits(source: Source) -> Int8[np.ndarray, " count"]:
    """The split of each image, an index into `SPLITS`: what the source says, the rest drawn as the module's text says.

    Raises:
        DataError: fewer than three images.
    """
    if source.count < 3:
        raise DataError(f"{source.kind}: expected at least 3 images (training, validation, test), found {source.count}")
    said = np.full(source.count, UNSAID, np.int8) if source.splits is None else source.splits.copy()
    said[said == UNSAID] = SPLITS.index("train")
    if not (said == SPLITS.index("test")).any():
        rows = np.flatnonzero(said == SPLITS.index("train"))
        held = min(MAX_TEST, max(1, round(len(rows) * TEST_FRACTION)))
        order = np.random.default_rng(VALIDATION_SEED + 1).permutation(len(rows))
        said[rows[order[:held]]] = SPLITS.index("test")
    if not (said == SPLITS.index("validation")).any():
        rows = np.flatnonzero(said == SPLITS.index("train"))
        said[rows[split_rows(len(rows), "validation")]] = SPLITS.index("validation")
    return said


def _digest(source: Source, splits: np.ndarray) -> str:
    parts = [source.kind, source.fingerprint, repr(source.count), repr(source.class_names)]
    hasher = hashlib.blake2b("\n".join(parts).encode("utf-8", "surrogateescape"), digest_size=16)
    hasher.update(splits.tobytes())
    hasher.update(b"" if source.labels is None else source.labels.tobytes())
    return hasher.hexdigest()


def _write(
    source: Source, splits: np.ndarray, target: Target, package: _Package, progress: Progress
) -> tuple[dict[str, int], int]:
    """Append every image that can be used to its split; returns the counts by split and how many were left out."""
    committed = time.monotonic()
    for row in range(package.done, source.count):
        try:
            pixels = fit_image(source.read(row), target)
        except (ImageError, DataError) as error:
            package.leave_out(f"{source.name(row)}: {error}")
        else:
            package.add(SPLITS[splits[row]], pixels, None if source.labels is None else int(source.labels[row]))
        package.done = row + 1
        if time.monotonic() - committed > COMMIT_SECONDS:
            package.commit()
            committed = time.monotonic()
        progress(row + 1, source.count)
    package.finish()
    return package.rows, package.left_out


class _Package:
    """The files of an import as they grow. A context that closes them."""

    def __init__(self, folder: Path, recipe: dict[str, Any], source: Source, shape: Shape) -> None:
        self._folder, self._recipe, self._stack = folder, recipe, ExitStack()
        noted = _noted(folder, recipe)
        if noted is None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _check_disk(folder, source.count, shape)
            noted = {"done": 0, "rows": dict.fromkeys(SPLITS, 0), "left_out": 0, "note_bytes": 0}
        self.done: int = noted["done"]
        self.rows: dict[str, int] = noted["rows"]
        self.left_out: int = noted["left_out"]
        self._notes = self._stack.enter_context(_appending(folder / LEFT_OUT_FILE, noted["note_bytes"]))
        self._images = {split: self._open(f"{split}-images.npy", "|u1", shape, split) for split in SPLITS}
        labelled = SPLITS if source.labels is not None else ()
        self._labels = {split: self._open(f"{split}-labels.npy", "<i8", (), split) for split in labelled}
        for line in source.left_out if not self.done else ():
            self.leave_out(line)

    def _open(self, name: str, kind: str, shape: tuple[int, ...], split: str) -> _Rows:
        return self._stack.enter_context(_Rows(self._folder / name, kind, shape, self.rows[split]))

    def __enter__(self) -> _Package:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, split: Split, pixels: np.ndarray, label: int | None) -> None:
        """Append an image, and its label where there are any."""
        self._images[split].append(pixels)
        if label is not None:
            self._labels[split].append(np.array(label))
        self.rows[split] += 1

    def leave_out(self, line: str) -> None:
        """Note what can't be used, and why."""
        self._notes.write(" ".join(line.split()).encode("utf-8", "replace") + b"\n")
        self.left_out += 1

    def commit(self) -> None:
        """See to it that all so far is on the disk, then note how far that is."""
        for file in (*self._images.values(), *self._labels.values()):
            file.flush()
        self._notes.flush()
        state = {"recipe": self._recipe, "done": self.done, "rows": self.rows, "left_out": self.left_out}
        state["note_bytes"] = self._notes.tell()
        write_atomic(self._folder / PROGRESS_FILE, json.dumps(state).encode())

    def finish(self) -> None:
        """Note the end and write the headers."""
        self.commit()
        for file in (*self._images.values(), *self._labels.values()):
            file.finish()


def _noted(folder: Path, recipe: dict[str, Any]) -> dict[str, Any] | None:
    """What an earlier import of the same images to the same shape has written, or None."""
    try:
        values: dict[str, Any] = json.loads((folder / PROGRESS_FILE).read_text("utf-8"))
        return values if values["recipe"] == recipe else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _check_disk(folder: Path, count: int, shape: Shape) -> None:
    needed, free = count * (int(np.prod(shape)) + 8), shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder.parent}: expected {needed / 2**30:,.1f} GiB of free disk for {count:,} images of {shape}, "
            f"found {free / 2**30:,.1f} GiB: make room, or import at a smaller size"
        )


@contextmanager
def _appending(path: Path, size: int) -> Iterator[IO[bytes]]:
    """A file open for writing at its end, which is at ``size`` bytes: what lies behind was written after the last note."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(size)
        file.seek(size)
        yield file


class _Rows:
    """An ``.npy`` file that grows by rows; its header is written when it is finished. A context that closes it."""

    def __init__(self, path: Path, kind: str, row_shape: tuple[int, ...], rows: int) -> None:
        self._kind, self._shape, self._rows = np.dtype(kind), row_shape, rows
        self._stack = ExitStack()
        size = _HEADER_BYTES + rows * int(np.prod(row_shape, dtype=np.int64)) * self._kind.itemsize
        self._file = self._stack.enter_context(_appending(path, size))

    def __enter__(self) -> _Rows:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def append(self, row: np.ndarray) -> None:
        """Add a row."""
        self._file.write(np.ascontiguousarray(row, dtype=self._kind).tobytes())
        self._rows += 1

    def flush(self) -> None:
        """See to it that what was added is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Write the header."""
        header = BytesIO()
        fields = {"descr": self._kind.str, "fortran_order": False, "shape": (self._rows, *self._shape)}
        np.lib.format.write_array_header_1_0(header, fields)
        if len(header.getvalue()) != _HEADER_BYTES:
            raise AssertionError(f"numpy made a header of {len(header.getvalue())} bytes where {_HEADER_BYTES} are kept")
        self._file.seek(0)
        self._file.write(header.getvalue())
        self.flush()
