"""Somebody's images, brought to one shape and packed once into ``data/<name>/packed/``: an ``.npy`` file for each split.

An import is written beside the data sets, in ``data/.importing-<name>/``, and moved into place when it is whole. Cut at any
moment, it goes on where it stood: what was written is noted in ``progress.json`` about once a second.

The splits: those that the source tells, else a seventh of the images, at most 10,000, drawn with a fixed seed, is the test
split. Of what is left for training a twelfth, or the share asked for, is the validation split, drawn like that of
Fashion-MNIST.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int8

from vae.data import PACKED, VALIDATION_SEED, DataError, check_name, data_root, list_datasets, split_rows
from vae.files import write_atomic
from vae.images import ImageError
from vae.package import LEFT_OUT_FILE, PROGRESS_FILE, Package
from vae.readers import open_source
from vae.shapes import Shape, Target, choose_target, fit_image
from vae.sources import SPLITS, UNSAID, Source

TEST_FRACTION = 1 / 7  # 10,000 of Fashion-MNIST's 70,000
MAX_TEST = 10_000
COMMIT_SECONDS = 1.0

Progress = Callable[[int, int], None]
"""Told how many images are done, of how many."""


@dataclass(frozen=True)
class Imported:
    """What an import made. ``counts`` are images by split; ``left_out`` is how many files or rows could not be used,
    ``greyed`` how many images of those kept had colours and lost them."""

    name: str
    kind: str
    image_shape: Shape
    counts: dict[str, int]
    classes: int
    left_out: int
    greyed: int = 0

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
    validation_fraction: float | None = None,
) -> Imported:
    """Read the images at a path (see `vae.readers`) into a data set of that name.

    ``size`` is the side of the square that images are fitted into, with antialiasing; without it they keep their size, padded
    to sides that are divisible by 4. Colour stays unless ``grey``. An image that can't be used is named in ``left-out.txt``
    and doesn't stop the rest. Stopped by an interrupt or a full disk, the same call goes on; if not ``resumable``, nothing is
    left then. ``validation_fraction`` of the training images are held out, if the source doesn't say which are.

    Raises:
        DataError: the name is taken, the source is refused, or no usable images are in it. Nothing is left behind.
    """
    check_free(name, source)
    staging = _staging(name)
    with _locked(staging, name):
        try:
            with open_source(source) as opened:
                made = _pack(opened, name, staging, choose_target(opened, size, grey), validation_fraction, progress)
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


def check_free(name: str, source: Path | None = None) -> None:
    """A name is free if nothing bears it, but for the source itself: a folder under ``data/`` is packed where it lies.

    Raises:
        DataError: it is no name, or taken.
    """
    check_name(name)
    folder = data_root() / name
    if (folder / PACKED).exists():
        raise DataError(f"{folder}: a data set of that name is there already: choose another name, or delete {folder / PACKED}")
    in_place = source is not None and source.resolve() == folder.resolve()
    empty = folder.is_dir() and not any(folder.iterdir())
    if name in list_datasets() and not in_place and not empty:
        raise DataError(f"{folder}: a data set of that name is there already: choose another name")


def discard_import(name: str) -> None:
    """Take away what a cut import left, unless a process is at work on it."""
    staging = _staging(name)
    if staging.is_dir():
        with suppress(DataError), _locked(staging, name):
            shutil.rmtree(staging, ignore_errors=True)


def _staging(name: str) -> Path:
    return data_root() / f".importing-{name}"


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


def _pack(
    source: Source, name: str, staging: Path, target: Target, validation_fraction: float | None, progress: Progress
) -> Imported:
    shape = target.shape
    splits = draw_splits(source, validation_fraction)
    folder = staging / PACKED
    recipe = {"fingerprint": _digest(source, splits), "target": [list(shape), list(target.own or ())]}
    with Package(folder, recipe, source, shape) as package:
        _write(source, splits, target, package, progress)
    counts = package.rows
    for split in SPLITS:
        if not counts[split]:
            first = (folder / LEFT_OUT_FILE).read_text("utf-8").splitlines()[:1]
            reason = f" The first left out: {first[0]}" if first else ""
            raise DataError(f"{name}: no usable image for the {split} split, expected at least one in each.{reason}")
    made = Imported(name, source.kind, shape, counts, len(source.class_names), package.left_out, package.greyed)
    if source.labels is not None:
        write_atomic(folder / "classes.txt", "".join(f"{line}\n" for line in source.class_names).encode())
    write_atomic(folder / "source.json", (json.dumps(dataclasses.asdict(made), indent=2) + "\n").encode())
    (folder / PROGRESS_FILE).unlink()
    return made


def draw_splits(source: Source, validation_fraction: float | None = None) -> Int8[np.ndarray, " count"]:
    """The split of each image, an index into `SPLITS`: what the source says, the rest drawn as the module's text says.

    Raises:
        DataError: fewer than three images, or a ``validation_fraction`` that leaves none to train on or contradicts the source.
    """
    if validation_fraction is not None and not 0 < validation_fraction < 1:
        raise DataError(f"validation_fraction must be between 0 and 1, got {validation_fraction!r}")
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
        said[rows[split_rows(len(rows), "validation", validation_fraction)]] = SPLITS.index("validation")
    elif validation_fraction is not None:
        raise DataError(f"{source.kind}: it says itself which images are for validation: leave validation_fraction out")
    return said


def _digest(source: Source, splits: np.ndarray) -> str:
    parts = [source.kind, source.fingerprint, repr(source.count), repr(source.class_names)]
    hasher = hashlib.blake2b("\n".join(parts).encode("utf-8", "surrogateescape"), digest_size=16)
    hasher.update(splits.tobytes())
    hasher.update(b"" if source.labels is None else source.labels.tobytes())
    return hasher.hexdigest()


def _write(source: Source, splits: np.ndarray, target: Target, package: Package, progress: Progress) -> None:
    """Append every image that can be used to its split."""
    committed = time.monotonic()
    for row in range(package.done, source.count):
        try:
            image = source.read(row)
            pixels = fit_image(image, target)
        except (ImageError, DataError) as error:
            package.leave_out(f"{source.name(row)}: {error}")
        else:
            package.greyed += image.ndim == 3 and target.shape[0] == 1
            package.add(SPLITS[splits[row]], pixels, None if source.labels is None else int(source.labels[row]))
        package.done = row + 1
        if time.monotonic() - committed > COMMIT_SECONDS:
            package.commit()
            committed = time.monotonic()
        progress(row + 1, source.count)
    package.finish()
