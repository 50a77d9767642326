"""Kill a training with -9 at random moments, resume each, and compare the weights with those of an uninterrupted one.

``make soak``. Works on a small data set that it makes itself, in a folder of its own that it removes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

OPTIONS = ["--dataset", "shapes", "--preset", "fast", "--widths", "4", "8", "--hidden", "16", "--latent", "4"]
OPTIONS += ["--epochs", "12", "--batch-size", "32", "--device", "cpu"]


def write_data(folder: Path, test: int = 300) -> None:
    """Two thousand training images of 16 x 16, and so many test images, blobs of three kinds, as IDX."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for part, count in (("train", 2000), ("test", test)):
        images = noise.integers(0, 60, (count, 16, 16)).astype(np.uint8)
        for number, image in enumerate(images):
            image[4 * (number % 3) : 4 * (number % 3) + 8] += 150
        header = b"\x00\x00\x08\x03" + struct.pack(">3I", *images.shape)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())


@contextlib.contextmanager
def sandbox(test: int = 300) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with the data and room for runs, removed in the end, and the environment in which they are found."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "checkpoints"
        root.mkdir()
        write_data(Path(folder) / "data" / "shapes", test)
        found = {"LATENT_EXPLORER_DATA": f"{folder}/data", "LATENT_EXPLORER_CHECKPOINTS": str(root)}
        yield Path(folder), os.environ | found


def main(soak: Callable[[int, int], int], about: str | None) -> int:
    """The command line of a soak, which is told how many kills and a seed and says how many went wrong."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the folder is removed then too
    return 1 if soak(options.kills, options.seed) else 0


def start(run: str, resume: bool, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """``python -m vae train`` in a process of its own."""
    command = [sys.executable, "-m", "vae", "train", "--run", run, *(["--resume"] if resume else OPTIONS)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(run: str, environment: dict[str, str]) -> tuple[bool, str]:
    """Resume a run to its end, or start it where nothing of it was written; whether it ended well, and what it said."""
    known = (Path(environment["LATENT_EXPLORER_CHECKPOINTS"]) / run / "config.json").exists()
    process = start(run, known, environment)
    try:
        said = process.communicate(timeout=300)[1].decode(errors="replace")
    finally:
        process.kill()  # no child outlives a soak that is stopped or gives up; one that has ended doesn't notice
        process.wait()
    return process.returncode == 0, said.strip().splitlines()[-1] if said.strip() else ""


def digest(root: Path, run: str) -> str:
    """The digest of a run's weights."""
    return hashlib.sha256((root / run / "weights.safetensors").read_bytes()).hexdigest()[:16]


def soak(kills: int, seed: int) -> int:
    """Print a line a kill and a summary; the number of runs that did not end in the expected weights."""
    moments = random.Random(seed)
    wrong = 0
    with sandbox() as (folder, environment):
        root = folder / "checkpoints"
        started = time.monotonic()
        ended, said = finish("whole", environment)
        whole = time.monotonic() - started
        if not ended:
            print(f"the uninterrupted training failed: {said}")
            return kills
        expected = digest(root, "whole")
        print(f"uninterrupted: {whole:.1f} s, weights {expected}")
        for number in range(kills):
            run, after = f"killed-{number}", moments.uniform(0.0, whole)
            process = start(run, False, environment)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=after)
            process.kill()
            process.communicate()
            ended, said = finish(run, environment)
            same = ended and digest(root, run) == expected
            wrong += not same
            print(f"killed after {after:5.1f} s: {'the same weights' if same else f'NOT the same weights: {said}'}", flush=True)
    print(f"{kills - wrong} passed, {wrong} failed")
    return wrong


if __name__ == "__main__":
    sys.exit(main(soak, __doc__))
