"""A look at somebody's images before they are imported: what they are, and some of them as a model would read them.

It is taken in a process of its own, ``python -m vae.preview FILE LOOK``, with bounded memory and time: a decoder that a hostile
file brings down takes nobody with it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vae.data import DataError
from vae.readers import open_source
from vae.shapes import Target, fit_image, look, target_of
from vae.sources import Image, Source, printable

SIZES = (16, 28, 32, 48, 64, 96, 128)
"""The squares that images are shown fitted into."""
SHOWN = 16
MOST_LINES = 100
MOST_CLASSES = 30
MOST_MEMORY = 4 * 2**30
MOST_SECONDS = 120.0
MOST_LOOK_BYTES = 16 * 2**20
MOST_TOLD_BYTES = 2**16


@dataclass(frozen=True, eq=False)
class Look:
    """What a file of images is, from a look at some of them."""

    kind: str
    count: int
    looked_at: int
    classes: int
    """0 without labels."""
    class_counts: dict[str, int]
    """Of the first `MOST_CLASSES`."""
    sizes: str
    colour: bool
    own: Target | None
    """The shape that the images have by themselves, None where they must be brought to one."""
    left_out: int
    left_out_lines: tuple[str, ...]
    """The first `MOST_LINES`."""
    captions: dict[str, list[str]]
    """What each of the samples is: the class, else the file."""
    samples: dict[str, np.ndarray] = field(default_factory=dict)
    """``uint8 (n, channels, height, width)`` by `sample_key`."""


def sample_key(size: int | None, channels: int) -> str:
    """Which samples are those that were fitted into a square of this size (None: that keep their own)."""
    return f"{size or 'own'}-{channels}"


def take_look(path: Path) -> Look:
    """Look at the images of a file (see `vae.readers`), in this process.

    Raises:
        DataError: nothing there is read, or none of the images looked at can be used.
    """
    with open_source(path) as source:
        found, bad = look(source)
        if not found:
            raise DataError(f"None of the {len(bad):,} images looked at can be used. The first: {bad[0]}")
        try:
            own = target_of(source.kind, found, None, grey=False)
        except DataError:
            own = None
        colour = any(len(shape) == 3 for _, shape in found)
        sizes = Counter(f"{shape[1]} × {shape[0]}" for _, shape in found)
        samples, captions = _samples(source, [row for row, _ in found], own, colour)
        numbers = [] if source.labels is None else np.bincount(source.labels, minlength=len(source.class_names)).tolist()
        left_out = (*source.left_out, *bad)
        return Look(
            kind=source.kind,
            count=source.count,
            looked_at=len(found) + len(bad),
            classes=len(source.class_names),
            class_counts=dict(list(zip(source.class_names, numbers, strict=False))[:MOST_CLASSES]),
            sizes=", ".join(size for size, _ in sizes.most_common(4)) + (" and others" if len(sizes) > 4 else ""),
            colour=colour,
            own=own,
            left_out=len(left_out),
            left_out_lines=tuple(line[:1000] for line in left_out[:MOST_LINES]),
            captions=captions,
            samples=samples,
        )


def _samples(
    source: Source, rows: list[int], own: Target | None, colour: bool
) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Some of the images, drawn with a fixed seed, in each shape that they can be kept in, and what each is."""
    targets: dict[str, Target] = {}
    for channels in (1, 3) if colour else (1,):
        targets |= {sample_key(size, channels): Target((channels, size, size), None) for size in SIZES}
        if own is not None:
            targets[sample_key(None, channels)] = Target((channels, *own.shape[1:]), own.own)
    pictures: dict[str, list[np.ndarray]] = {key: [] for key in targets}
    captions: dict[str, list[str]] = {key: [] for key in targets}
    for row in sorted(np.random.default_rng(0).permutation(rows)[:SHOWN].tolist()):
        image: Image = source.read(row)
        name = source.name(row) if source.labels is None else source.class_names[int(source.labels[row])]
        for key, target in targets.items():
            with suppress(DataError):  # of another size than the rest: it will be named among what is left out
                pictures[key].append(fit_image(image, target))
                captions[key].append(printable(name, 40))
    return {key: np.stack(some) for key, some in pictures.items() if some}, captions


# --- from one process to the other ---------------------------------------------------------------------------------


def write_look(seen: Look, path: Path) -> None:
    """Write a look as an NPZ file."""
    text = json.dumps({one.name: getattr(seen, one.name) for one in dataclasses.fields(seen) if one.name != "samples"} | {
        "own": seen.own and [seen.own.shape, seen.own.own]
    })  # fmt: skip
    arrays = {"look": np.frombuffer(text.encode(), np.uint8), **seen.samples}
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_look(path: Path) -> Look:
    """Read what `write_look` wrote.

    Raises:
        DataError: it isn't there, too large, or something else.
    """
    try:
        if path.stat().st_size > MOST_LOOK_BYTES:
            raise ValueError("too large")
        with np.load(path, allow_pickle=False) as file:
            values = json.loads(file["look"].tobytes())
            samples = {key: file[key] for key in file.files if key != "look"}
        own = values["own"] and Target(tuple(values["own"][0]), values["own"][1] and tuple(values["own"][1]))
        return Look(**(values | {"own": own, "left_out_lines": tuple(values["left_out_lines"]), "samples": samples}))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"the file could not be read: what was seen of it is no look ({error})") from None


def look_apart(path: Path) -> Look:
    """Look at the images of a file in a process of its own; nothing is left of it.

    Raises:
        DataError: as `take_look`, or it took too long or too much memory, or the process came down.
    """
    with tempfile.TemporaryDirectory(prefix="latent-explorer-") as folder:
        out, log = Path(folder) / "look.npz", Path(folder) / "log"
        # What it unpacks is gone with the rest, even if it is killed. Threads would only take memory.
        environment = os.environ | {"TMPDIR": folder, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "vae.preview", str(path.resolve()), str(out)]
        try:
            with log.open("wb") as told:
                ended = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, env=environment, timeout=MOST_SECONDS
                )
        except subprocess.TimeoutExpired:
            raise DataError(
                f"the file could not be read: it was looked at for {MOST_SECONDS:,.0f} seconds without an end"
            ) from None
        except OSError as error:
            raise DataError(f"the file could not be looked at: no process can be started ({error.strerror})") from None
        if ended.returncode:
            raise DataError(_complaint(log, ended.returncode))
        return read_look(out)


def _complaint(log: Path, code: int) -> str:
    with log.open("rb") as file:
        lines = file.read(MOST_TOLD_BYTES).decode("utf-8", "replace").splitlines()
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if told:
        return told[-1]
    how = f"signal {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"status {code}"
    return (
        f"the file could not be read: the process that looked at it came down ({how}). It may be damaged, or made to do harm: "
        "write it again with another program"
    )


def main(source: Path, out: Path) -> int:
    """Take a look with bounded memory and write it; what is refused is told on stderr, after ``error:``. The exit status."""
    for kind, most in ((resource.RLIMIT_DATA, MOST_MEMORY), (resource.RLIMIT_CORE, 0)):
        with suppress(OSError, ValueError):  # where the system has no such limit
            resource.setrlimit(kind, (most, most))
    try:
        write_look(take_look(source), out)
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except MemoryError:
        gib = MOST_MEMORY // 2**30
        print(f"error: the file could not be read: looking at it takes more than {gib} GiB of memory", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
