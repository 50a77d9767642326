"""How cost grows with the number of images: 10,000, 100,000 and a million of them, through the shipped model to the page.

The images are Fashion-MNIST's, shifted by up to two pixels with noise on them, memory-mapped in a folder of their own. What is
not measured is extrapolated, and says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from conftest import serve
from figures import Figure, Statistic, measured, statistic_of
from live import EXPLORE, browser, folders, window
from pointing import measure
from start import EXPLORE as CONDITIONS
from start import new_visitors, visit

from dashboard.components.latent_map import MapPoints
from vae import MapConfig, Run, evaluate, load_dataset, load_test_data, make_map, open_run
from vae.data import DATA_VARIABLE
from vae.runs import CHECKPOINTS_VARIABLE

SIZES, MILLION = (10_000, 100_000), 1_000_000
SHIFT, NOISE = 2, 8  # pixels, grey levels
AT_ONCE = 10_000  # images made at once
SEED = 0
Costs = dict[str, tuple[str, list[float], Statistic]]
"""What is measured of a size: its unit, the values, and which statistic of them counts."""

EXTRAPOLATED = ("encode and score", "map (UMAP)", "places and labels sent", "memory of the server, mapped images not counted")
"""What goes on growing. The rest is bounded (thumbnails have a budget, what is drawn a limit) or hardly grows."""


def growth() -> list[Figure]:
    """10,000 and 100,000 images beside each other, and what a million would cost if it went on like that."""
    small, large = (costs(count) for count in SIZES)
    figures = [measured(f"{SIZES[0]:,} images: {name}", unit, values, kind) for name, (unit, values, kind) in small.items()]
    for name, (unit, values, kind) in large.items():
        times = ratio(values, small[name][1], kind)
        note = f"{times:.2g} times that of {SIZES[0]:,}"
        figures.append(measured(f"{SIZES[1]:,} images: {name}", unit, values, kind, note=note))
        if name in EXTRAPOLATED:
            figures.append(extrapolated(name, unit, statistic_of(values, kind), times))
    return figures


def growth_to_a_million() -> list[Figure]:
    """A million images."""
    return [
        measured(f"{MILLION:,} images: {name}", unit, values, kind) for name, (unit, values, kind) in costs(MILLION).items()
    ]


def ratio(values: list[float], before: list[float], kind: Statistic) -> float:
    """How many times as much a size costs as the one before it."""
    return statistic_of(values, kind) / max(statistic_of(before, kind), 1e-9)


def extrapolated(name: str, unit: str, value: float, times: float) -> Figure:
    """What a million would cost if the next step, as long as the last one, grew by as much: a power law through two sizes."""
    steps = math.log(MILLION / SIZES[1]) / math.log(SIZES[1] / SIZES[0])
    note = f"not measured: extrapolated from {SIZES[0]:,} and {SIZES[1]:,} by the power law through both"
    return Figure(f"{MILLION:,} images, extrapolated: {name}", unit, value * times**steps, note=note)


# --- one size ------------------------------------------------------------------------------------------------------


def costs(count: int) -> Costs:
    """Everything that is measured of so many images."""
    with made_run(count) as environment:
        found = package_costs(open_run("many"))
        with served_process(environment) as (address, process):
            found |= first_visit(address)
            found["memory of the server, mapped images not counted"] = ("MB", [anonymous_memory(process)], "once")
            usable = new_visitors(address, CONDITIONS)["usable"]
            found["next visitor: points seen, and they answer"] = ("s", usable, "median")
            return found | page_costs(address)


def package_costs(run: Run) -> Costs:
    """Encoding, the default map, and what the browser gets, in this process."""
    encoding = seconds(lambda: evaluate(run))
    mapping = seconds(lambda: make_map(run, MapConfig()))
    data = load_test_data(run)
    points = MapPoints(run.weights_digest(), run.load_map(MapConfig()).coordinates, data.images, data.labels, data.class_names)
    packing = seconds(lambda: points.sprites)
    return {
        "encode and score": ("s", [encoding], "once"),
        "map (UMAP)": ("s", [mapping], "once"),
        "thumbnails packed": ("s", [packing], "once"),
        "thumbnails sent": ("MB", [len(points.sprites) / 1e6], "once"),
        "places and labels sent": ("MB", [len(points.base) / 1e6], "once"),
    }


def first_visit(address: str) -> Costs:
    """The first page of a fresh server, which loads the run for it."""
    with browser() as chromium:
        _, seen = visit(window(chromium), address, CONDITIONS)
    return {"first visitor of a fresh server: points seen, and they answer": ("s", [seen["usable"]], "once")}


def page_costs(address: str) -> Costs:
    """Hovering, clicking and zooming on Explore, and what the browser holds for it."""
    with browser() as chromium:
        page = window(chromium).new_page()
        seen = measure(page, address)
        heap = float(page.evaluate("performance.memory.usedJSHeapSize")) / 1e6
        held = renderer_memory()
    return {
        "memory of the page's process in the browser": ("MB", [held], "once"),
        "JavaScript heap, typed arrays not counted": ("MB", [heap], "once"),
        "hover to card": ("ms", seen["hovers"], "p95"),
        "click to numbers": ("ms", seen["answers"], "p95"),
        "click to new strips": ("ms", seen["strips"], "p95"),
        "frame while zooming": ("ms", seen["frames"], "p95"),
    }


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextlib.contextmanager
def served_process(environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    """The address of Explore while it runs, and its process."""
    process, address = serve(EXPLORE, Path(os.devnull), environment)
    try:
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(timeout=20)


def anonymous_memory(pid: int) -> float:
    """What a process holds for itself, in MB; pages of mapped files are the system's to take back. Linux only."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    if found is None:
        raise ValueError(f"process {pid} says nothing of its memory")
    return int(found[1]) * 1024 / 1e6


def renderer_memory() -> float:
    """The same of the largest process that draws pages for a browser that was started from here."""
    return max(anonymous_memory(pid) for pid in _descendants(os.getpid()) if "--type=renderer" in _command(pid))


def _descendants(pid: int) -> list[int]:
    parents = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # one that has ended meanwhile
            found = re.search(r"PPid:\s+(\d+)", status.read_text())
            if found:
                parents[int(status.parent.name)] = int(found[1])
    children = [child for child, parent in parents.items() if parent == pid]
    return [*children, *(other for child in children for other in _descendants(child))]


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


# --- the images ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def made_run(count: int) -> Iterator[dict[str, str]]:
    """An environment, this process's too, in which the shipped model has ``count`` test images, as the run ``many``."""
    with tempfile.TemporaryDirectory() as folder:
        data, runs = Path(folder) / "data" / "many", Path(folder) / "checkpoints"
        shipped = open_run("fashion-mnist")
        write_images(data / "packed", count)
        with folders(**{DATA_VARIABLE: str(data.parent), CHECKPOINTS_VARIABLE: str(runs)}) as environment:
            (runs / "many").mkdir(parents=True)
            shutil.copy(shipped.path / "weights.safetensors", runs / "many")
            digests = {split: load_dataset("many", split).digest for split in ("train", "validation", "test")}
            values = dataclasses.asdict(shipped.config) | {"format": 1, "dataset": "many", "data_digests": digests}
            (runs / "many" / "config.json").write_text(json.dumps(values))
            yield environment


def write_images(packed: Path, count: int) -> None:
    """Three splits as an import writes them, the test split of ``count`` images, the others of a hundred."""
    packed.mkdir(parents=True)
    source = load_dataset("fashion-mnist", "train")
    if source.labels is None:
        raise ValueError("the shipped data set has labels")
    random = np.random.default_rng(SEED)
    for split, size in (("train", 100), ("validation", 100), ("test", count)):
        shape = (size, *source.image_shape)
        images = np.lib.format.open_memmap(packed / f"{split}-images.npy", mode="w+", dtype=np.uint8, shape=shape)
        rows = random.integers(0, len(source), size)
        for start in range(0, size, AT_ONCE):
            images[start : start + AT_ONCE] = varied(source.images[rows[start : start + AT_ONCE]], random)
        images.flush()
        np.save(packed / f"{split}-labels.npy", source.labels[rows])
    (packed / "classes.txt").write_text("\n".join(source.class_names))


def varied(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each image shifted by up to `SHIFT` pixels, with noise of up to `NOISE` levels where it isn't black."""
    height, width = images.shape[2:]
    padded = np.pad(images, ((0, 0), (0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    down, across = random.integers(0, 2 * SHIFT + 1, (2, len(images)))
    shifted = windows[np.arange(len(images)), :, down, across].astype(np.int16)
    noise = random.integers(-NOISE, NOISE + 1, shifted.shape, dtype=np.int16)
    return np.clip(np.where(shifted > 0, shifted + noise, 0), 0, 255).astype(np.uint8)
