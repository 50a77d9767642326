"""What every reader of somebody's images gives: a `Source`, one image at a time, with its labels and what it says of splits."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int8, Int64, UInt8

from vae.data import DataError, Split

Image = UInt8[np.ndarray, "height width"] | UInt8[np.ndarray, "height width 3"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SPLIT_WORDS = {"train": 0, "training": 0, "validation": 1, "valid": 1, "val": 1, "test": 2, "testing": 2, "t10k": 2}
"""Words in the name of a file, an array or a folder that say which split it is, as an index into `SPLITS`."""
UNSAID = -1
MAX_LABEL = 100_000


@dataclass(frozen=True, eq=False)
class Source:
    """Images somewhere, not yet read. Valid while the `open_source` that made it is open."""

    kind: str
    """What was recognised, in a few words."""
    count: int
    read: Callable[[int], Image]
    """One image; raises `ImageError` or `DataError` with the reason where it can't be used."""
    name: Callable[[int], str]
    """What to call it: its path, or its row in an array."""
    fingerprint: str
    """Changes when the images do: what an import that goes on checks first."""
    labels: Int64[np.ndarray, " count"] | None = None
    class_names: tuple[str, ...] = ()
    splits: Int8[np.ndarray, " count"] | None = None
    """Indices into `SPLITS` (`UNSAID` where nothing says), or None where the source doesn't tell splits."""
    left_out: tuple[str, ...] = ()
    """What was passed over when the source was listed, a sentence each."""


def printable(text: str, most: int = 200) -> str:
    """A name from outside on one line: what can't be printed becomes ``?``, what is too long is cut."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:most])


def words_of(name: str) -> list[str]:
    """The words of a file's or an array's name, in lower case."""
    return [word for word in re.split(r"[-_. /]", name.lower()) if word]


def split_of(name: str) -> int:
    """The split that a name speaks of: an index into `SPLITS`, or `UNSAID`. The last such word counts."""
    found = [SPLIT_WORDS[word] for word in words_of(name) if word in SPLIT_WORDS]
    return found[-1] if found else UNSAID


def numbered(values: np.ndarray, class_names: Sequence[str], where: str) -> tuple[Int64[np.ndarray, " n"], tuple[str, ...]]:
    """Labels as indices into class names. Without names, the distinct values, sorted, are the classes.

    Raises:
        DataError: labels that are neither text nor whole numbers, or that the names don't cover.
    """
    if values.dtype.kind == "f" and np.isfinite(values).all() and (values == np.rint(values)).all():
        values = values.astype(np.int64)
    if values.dtype.kind not in "iuUb":
        raise DataError(f"{where}: expected labels that are whole numbers or text, found {values.dtype}")
    if class_names and values.dtype.kind != "U":
        if values.min() < 0 or values.max() >= len(class_names):
            found = f"{values.min()} to {values.max()}"
            raise DataError(f"{where}: expected labels from 0 to {len(class_names) - 1} for its class names, found {found}")
        return values.astype(np.int64), tuple(class_line(name) for name in class_names)
    distinct, labels = np.unique(values, return_inverse=True)
    if len(distinct) > MAX_LABEL:
        raise DataError(f"{where}: expected at most {MAX_LABEL:,} classes, found {len(distinct):,} different labels")
    return labels.reshape(-1).astype(np.int64), tuple(class_line(str(value)) for value in distinct)


def class_line(name: str) -> str:
    """A class name as a line of ``classes.txt``: printable, not empty, at most 80 characters."""
    return printable(name.strip(), 80).strip() or "unnamed"
