"""The files of an import as they grow: appended to, noted about once a second, cut back to the last note when it goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from vae.data import DataError, Split
from vae.files import write_atomic
from vae.shapes import Shape
from vae.sources import SPLITS, Source

LEFT_OUT_FILE = "left-out.txt"
PROGRESS_FILE = "progress.json"
_HEADER_BYTES = 128  # of every .npy file written here: numpy leaves room in it for any number of rows


class Package:
    """The files of an import as they grow. A context that closes them."""

    def __init__(self, folder: Path, recipe: dict[str, Any], source: Source, shape: Shape) -> None:
        self._folder, self._recipe, self._stack = folder, recipe, ExitStack()
        noted = _noted(folder, recipe)
        if noted is None:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _check_disk(folder, source.count, shape)
            noted = {"done": 0, "rows": dict.fromkeys(SPLITS, 0), "left_out": 0, "greyed": 0, "note_bytes": 0}
        self.done: int = noted["done"]
        self.rows: dict[str, int] = noted["rows"]
        self.left_out: int = noted["left_out"]
        self.greyed: int = noted.get("greyed", 0)
        self._notes = self._stack.enter_context(_appending(folder / LEFT_OUT_FILE, noted["note_bytes"]))
        self._images = {split: self._open(f"{split}-images.npy", "|u1", shape, split) for split in SPLITS}
        labelled = SPLITS if source.labels is not None else ()
        self._labels = {split: self._open(f"{split}-labels.npy", "<i8", (), split) for split in labelled}
        for line in source.left_out if not self.done else ():
            self.leave_out(line)

    def _open(self, name: str, kind: str, shape: tuple[int, ...], split: str) -> _Rows:
        return self._stack.enter_context(_Rows(self._folder / name, kind, shape, self.rows[split]))

    def __enter__(self) -> Package:
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
        state["greyed"] = self.greyed
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
