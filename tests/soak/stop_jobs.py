"""Stop imports and map making, as the dashboard's buttons do, at random moments, and tell how long each took to end.

``make soak``. Everything happens in a folder of its own that is removed. A stop that takes longer than `MOST_SECONDS`, or that
leaves something half-made, counts as failed.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from kill_training import main
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MOST_SECONDS = 5.0


@contextmanager
def sandbox() -> Iterator[None]:
    """A folder for data and one with a copy of the shipped run."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "data").mkdir()
        shutil.copytree(ROOT / "checkpoints" / "fashion-mnist", Path(folder) / "checkpoints" / "shipped")
        os.environ |= {"LATENT_EXPLORER_DATA": f"{folder}/data", "LATENT_EXPLORER_CHECKPOINTS": f"{folder}/checkpoints"}
        yield


def arrays() -> bytes:
    """Two hundred megabytes of colour images in an NPY file."""
    buffer = io.BytesIO()
    np.save(buffer, np.random.default_rng(0).integers(0, 256, (16_000, 64, 64, 3)).astype(np.uint8))
    return buffer.getvalue()


def pictures() -> bytes:
    """A zip file of three thousand JPEG pictures."""
    buffer, noise = io.BytesIO(), np.random.default_rng(0)
    with zipfile.ZipFile(buffer, "w") as file:
        one = io.BytesIO()
        Image.fromarray(noise.integers(0, 256, (300, 400, 3)).astype(np.uint8)).save(one, "JPEG")
        for number in range(3000):
            file.writestr(f"kind-{number % 3}/{number}.jpg", one.getvalue())
    return buffer.getvalue()


def made(maps: Path) -> set[Path]:
    """The maps and whatever lies among the data, but for what is known of the last import."""
    data = Path(os.environ["LATENT_EXPLORER_DATA"])
    staged = {path for path in data.glob(".upload-*/*") if not path.name.startswith(".job.")}
    return {*maps.glob("*.npz"), *(path for path in data.iterdir() if not path.name.startswith(".upload-")), *staged}


def stopped_after(begin: Callable[[], Path], wait: float) -> tuple[float, float, str, str]:
    """Start a job, stop it after so many seconds: how long until it was told as stopped, and until its process was gone; how it
    ended, and in which stage it was."""
    from dashboard import jobs

    folder = begin()
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline and (status := jobs.watch(folder)) is not None and status.state == "running":
        time.sleep(0.02)
    before = jobs.watch(folder)
    pressed = time.monotonic()
    jobs.stop(folder)
    while (status := jobs.watch(folder)) is not None and status.state == "running":
        time.sleep(0.01)
    told = time.monotonic() - pressed
    while jobs.is_held(folder):
        time.sleep(0.01)
    gone = time.monotonic() - pressed
    jobs.imports()  # what the page Dataset looks at: what one left that had not begun is taken away
    jobs.forget(folder)
    return told, gone, status.state if status else "unknown", before.stage if before else ""


def soak(stops: int, seed: int) -> int:
    """Print a line a stop and the longest of each kind; the number of stops that went wrong."""
    sys.path.insert(0, str(ROOT))
    with sandbox():
        from dashboard import jobs
        from vae import MapConfig, open_run
        from vae.staged import upload_folder

        run, moments, wrong = open_run("shipped"), random.Random(seed), 0

        def importing(name: str, content: bytes) -> Callable[[], Path]:
            return lambda: jobs.start_import("own", name, content, 64, False) or upload_folder("own")

        def mapping(config: MapConfig) -> Callable[[], Path]:
            return lambda: jobs.start_map(run, config) or run.maps_folder

        kinds = {
            "an import of an NPY file": (importing("own.npy", arrays()), 6.0),
            "an import of a zip file": (importing("own.zip", pictures()), 12.0),
            "a UMAP": (mapping(MapConfig(seed=1)), 25.0),
            "a t-SNE": (mapping(MapConfig(method="tsne", seed=1)), 40.0),
        }
        for kind, (begin, most) in kinds.items():
            longest = 0.0
            for _ in range(max(1, stops // len(kinds))):
                before, wait = made(run.maps_folder), moments.uniform(0.0, most)
                told, gone, state, stage = stopped_after(begin, wait)
                fresh = made(run.maps_folder) - before
                wrong += gone > MOST_SECONDS or state not in ("stopped", "finished") or (state == "stopped" and bool(fresh))
                print(f"{kind} after {wait:4.1f} s ({stage}): {state} {told:.2f} s later, gone {gone:.2f} s later", flush=True)
                longest = max(longest, gone)
                for path in fresh:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            print(f"{kind}: gone {longest:.2f} s after the stop, at most", flush=True)
    print(f"{wrong} failed")
    return wrong


if __name__ == "__main__":
    sys.exit(main(soak, __doc__))
