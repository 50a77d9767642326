"""Arrays of images with their labels: NPZ, NPY, IDX and CSV, told by content. Nothing of them is ever unpickled."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vae.archives import FREE_BYTES, MAX_RATIO, ZIP_ERRORS, opened_zip
from vae.data import DataError, first_bytes, read_csv, read_idx
from vae.sources import UNSAID, Image, Source, numbered, printable, split_of, words_of

CHUNK = 2**24  # values looked at in one piece
MAX_CSV_PIXELS = 2**18
MAX_CSV_HEADER = 2**22
_IMAGES = "images (n, h, w), (n, h, w, 1 or 3) or (n, 1 or 3, h, w)"


@dataclass(frozen=True, eq=False)
class Named:
    """An array and where it was found."""

    name: str
    values: np.ndarray

    @property
    def holds_images(self) -> bool:
        """Images are told by their rank."""
        return self.values.ndim in (3, 4) and 0 not in self.values.shape

    @property
    def holds_labels(self) -> bool:
        """So are labels: a number or a word for each image."""
        return self.values.ndim == 1 or (self.values.ndim == 2 and self.values.shape[1] == 1)

    @property
    def names_classes(self) -> bool:
        """Text under a name that speaks of names or classes."""
        words = {word.rstrip("s") for word in words_of(self.name.rpartition("/")[2])}
        return self.values.ndim == 1 and self.values.dtype.kind == "U" and not words.isdisjoint({"name", "classe", "class"})


# --- files to arrays -----------------------------------------------------------------------------------------------


def read_npy(path: Path) -> list[Named]:
    """The array of an ``.npy`` file, memory-mapped.

    Raises:
        DataError: pickled objects, or a file that is cut or foreign.
    """
    try:
        return [Named(path.name, np.load(path, mmap_mode="r", allow_pickle=False))]
    except Exception as error:  # NOTE: on a hostile header numpy raises its own errors and those of Python's parser
        raise _refused(path.name, error) from None


def read_npz(path: Path) -> list[Named]:
    """The arrays of an ``.npz`` file. What a header promises is held against the file before anything is allocated.

    Raises:
        DataError: pickled objects, a cut or foreign file, or more than a quarter of this machine's memory.
    """
    with opened_zip(path) as (archive, entries):
        arrays = [entry for entry in entries if entry.filename.endswith(".npy")]
        total = sum(_promised(path, archive, entry) for entry in arrays)
        _check_memory(path, total)
        return [_member(path, archive, entry) for entry in arrays]


def _promised(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    where = f"{path.name}/{printable(entry.filename, 80)}"
    try:
        with archive.open(entry) as file:
            version = np.lib.format.read_magic(file)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = reader(file)
    except Exception as error:  # NOTE: as above
        raise _refused(where, error) from None
    if dtype.hasobject:
        raise _refused(where, ValueError("Python objects, which only unpickling could read"))
    size = math.prod(shape) * dtype.itemsize
    if size > entry.file_size or (size > FREE_BYTES and size > MAX_RATIO * entry.compress_size):
        raise DataError(
            f"{where}: its header promises {size:,} bytes, the file holds {entry.compress_size:,}: it is cut or hostile, "
            "save it again"
        )
    return size


def _member(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Named:
    where = f"{path.name}/{printable(entry.filename.removesuffix('.npy'), 80)}"
    try:
        with archive.open(entry) as file:
            return Named(where, np.lib.format.read_array(file, allow_pickle=False))
    except (*ZIP_ERRORS, MemoryError) as error:
        raise _refused(where, error) from None


def _refused(where: str, error: Exception) -> DataError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "pickle" in reason or "Python objects" in reason:
        reason = "pickled Python objects, which are never loaded"
    return DataError(f"{where}: expected an array of numbers, found {reason}: save it again with numpy.save or numpy.savez")


def read_idx_file(path: Path) -> list[Named]:
    """The array of an IDX file.

    Raises:
        DataError: cut or foreign, or it would take too much memory.
    """
    _check_memory(path, _unpacked_size(path))
    return [Named(path.name, read_idx(path))]


def read_csv_file(path: Path) -> list[Named]:
    """The images and labels of a CSV file in the form ``label,pixel1,...``.

    Raises:
        DataError: cut or foreign, or it would take too much memory.
    """
    _check_memory(path, 4 * _unpacked_size(path))  # two characters, "0,", become a number of eight bytes
    columns = first_bytes(path, MAX_CSV_HEADER).partition(b"\n")
    if not columns[1] or columns[0].count(b",") > MAX_CSV_PIXELS:
        raise DataError(f"{path.name}: expected a first line of label,pixel1,... with at most {MAX_CSV_PIXELS:,} pixels")
    images, labels = read_csv(path)
    return [Named(path.name, images), Named(f"{path.name} labels", labels)]


def _check_memory(path: Path, needed: int) -> None:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > memory // 4:
        raise DataError(
            f"{path.name}: it would take {needed / 2**30:,.1f} GiB of this machine's {memory / 2**30:,.1f}: save the images as "
            "an .npy file, which is read from the disk"
        )


def _unpacked_size(path: Path) -> int:
    """The size of a file's content: of gzip, counted, and no further than is believed.

    Raises:
        DataError: it is damaged, or unpacks to more than an honest file does.
    """
    packed = path.stat().st_size
    with path.open("rb") as file:
        if file.read(2) != b"\x1f\x8b":
            return packed
    size, most = 0, max(FREE_BYTES, MAX_RATIO * packed)
    try:
        with gzip.open(path) as content:
            while piece := content.read(2**20):
                size += len(piece)
                if size > most:
                    raise DataError(
                        f"{path.name}: it unpacks to more than {MAX_RATIO} times its size: unpack it and import that"
                    )
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name}: expected a whole gzip file, it is cut or damaged ({error}): fetch it again") from None
    return size


# --- arrays to a source --------------------------------------------------------------------------------------------


def array_source(kind: str, arrays: Sequence[Named], class_names: tuple[str, ...] = ()) -> Source:
    """The images of these arrays one after another, those of each split with the labels of that split.

    Raises:
        DataError: no images, labels that don't fit them, or values that are no pixels.
    """
    images = [array for array in arrays if array.holds_images]
    if not images:
        found = "; ".join(f"{array.name} {array.values.dtype} {array.values.shape}" for array in arrays[:5]) or "no array"
        raise DataError(f"{kind}: expected {_IMAGES}, found {found}")
    for array in arrays:
        if array.names_classes:
            class_names = tuple(str(name) for name in array.values)
    told = [array for array in arrays if array.holds_labels and not array.names_classes and not array.holds_images]
    images.sort(key=lambda array: split_of(array.name))
    splits = np.concatenate([np.full(len(array.values), split_of(array.name), np.int8) for array in images])
    labels = _labels_beside(images, told)
    names: tuple[str, ...] = ()
    if labels is not None:
        labels, names = numbered(labels, class_names, kind)
    pixels = [_pixel_reader(array) for array in images]
    ends = np.cumsum([len(array.values) for array in images])

    def place(row: int) -> tuple[int, int]:
        number = int(np.searchsorted(ends, row, side="right"))
        return number, row - int(ends[number]) + len(images[number].values)

    def read(row: int) -> Image:
        number, inside = place(row)
        return pixels[number](inside)

    def name(row: int) -> str:
        number, inside = place(row)
        return f"{images[number].name}, row {inside:,}"

    return Source(
        kind=kind,
        count=int(ends[-1]),
        read=read,
        name=name,
        fingerprint=_fingerprint(arrays),
        labels=labels,
        class_names=names,
        splits=splits if (splits != UNSAID).any() else None,
        left_out=tuple(_unused(arrays, [*images, *told])),
    )


def _labels_beside(images: list[Named], told: list[Named]) -> np.ndarray | None:
    """The labels in the order of the images, or None where there are none at all."""
    if not told:
        return None
    parts = []
    for split in dict.fromkeys(split_of(array.name) for array in images):
        own = [array for array in told if split_of(array.name) == split]
        expected = sum(len(array.values) for array in images if split_of(array.name) == split)
        found = sum(len(array.values) for array in own)
        if found != expected:
            pictures = ", ".join(array.name for array in images if split_of(array.name) == split)
            raise DataError(
                f"{pictures}: expected a label for each of {expected:,} images, found {found:,} in "
                f"{', '.join(array.name for array in own) or 'no array of that split'}: give each image one, or remove them"
            )
        parts += [array.values.reshape(-1) for array in own]
    return np.concatenate(parts)


def _unused(arrays: Sequence[Named], used: list[Named]) -> Iterator[str]:
    for array in arrays:
        if array not in used and not array.names_classes:
            yield f"{array.name}: neither {_IMAGES} nor labels (n,), but {array.values.shape}"


def _pixel_reader(array: Named) -> Callable[[int], Image]:
    """How a row of an array becomes an image.

    Raises:
        DataError: channels or values that are no pixels.
    """
    values = array.values
    if values.ndim == 4:
        first, last = values.shape[1] in (1, 3), values.shape[3] in (1, 3)
        if not first and not last:
            raise DataError(f"{array.name}: expected {_IMAGES}, found {values.shape}")
        values = values.transpose(0, 2, 3, 1) if first and not last else values
    scale = _scale(array)

    def read(row: int) -> Image:
        image = values[row]
        image = np.rint(image * 255.0).astype(np.uint8) if scale else image.astype(np.uint8)
        image = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
        return np.ascontiguousarray(image)

    return read


def _scale(array: Named) -> bool:
    """Whether the values are from 0 to 1 and not bytes. All of them are looked at, a piece at a time."""
    values = array.values
    if values.dtype == np.uint8:
        return False
    if values.dtype.kind not in "iufb":
        raise DataError(f"{array.name}: expected pixels as bytes or numbers from 0 to 1, found {values.dtype}")
    if values.dtype.kind == "b":
        return True
    step = max(1, CHUNK // max(1, math.prod(values.shape[1:])))
    pieces = [values[start : start + step] for start in range(0, len(values), step)]
    low, high = min(float(piece.min()) for piece in pieces), max(float(piece.max()) for piece in pieces)
    whole = values.dtype.kind in "iu"
    if not (low >= 0 and high <= (255 if whole else 1)):  # written so that NaN is refused
        raise DataError(
            f"{array.name}: expected whole numbers from 0 to 255 or fractions from 0 to 1, found {values.dtype} from {low:g} "
            f"to {high:g}: scale them to 0 to 255 and save them as uint8"
        )
    return not whole


def _fingerprint(arrays: Sequence[Named]) -> str:
    """Names, types and shapes, and some of each array's content."""
    hasher = hashlib.blake2b(digest_size=8)
    for array in arrays:
        hasher.update(f"{array.name} {array.values.dtype} {array.values.shape}".encode("utf-8", "surrogateescape"))
        if len(array.values.shape) and len(array.values):
            rows = np.linspace(0, len(array.values) - 1, 16).astype(int)
            hasher.update(np.ascontiguousarray(array.values[rows]).tobytes())
    return hasher.hexdigest()
