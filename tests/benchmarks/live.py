"""The dashboard in headless Chromium: a drag, a release, a hover, a click, a first map; each beside what plain widgets do."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from drag import measure, measure_drag, measure_plain, open_watched
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from pointing import BEFORE, first_paint
from pointing import measure as measure_map

from vae import MapConfig, RunConfig, evaluate, load_dataset, make_map, open_run
from vae.data import DATA_VARIABLE
from vae.runs import CHECKPOINTS_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
EXPLORE = ROOT / "dashboard" / "app.py"
PLAIN = ROOT / "tests" / "e2e" / "apps" / "plain_slider_app.py"
BROWSER_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WINDOW = {"width": 1280, "height": 800}

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
from conftest import find_browser, serve  # noqa: E402


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=find_browser(), args=BROWSER_ARGUMENTS)


@contextlib.contextmanager
def fresh_browser() -> Iterator[BrowserContext]:
    """A headless Chromium with a new profile on the disk, as an installed browser has one."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        context = playwright.chromium.launch_persistent_context(
            folder,
            executable_path=find_browser(),
            args=BROWSER_ARGUMENTS,
            viewport=WINDOW,  # type: ignore[arg-type]
        )
        yield context
        context.close()


@contextlib.contextmanager
def served(script: Path, environment: dict[str, str] | None = None) -> Iterator[str]:
    """The address of an app while it runs."""
    process, address = serve(script, Path(os.devnull), environment)
    try:
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


def drags() -> dict[str, float]:
    """A drag on Explore, and a change of a plain slider, in one run of one browser; times in ms."""
    with browser() as chromium, served(EXPLORE) as explore, served(PLAIN) as plain:
        page = chromium.new_page(viewport=WINDOW)  # type: ignore[arg-type]
        sent = open_watched(page, explore)
        page.wait_for_selector(".latent-map[data-ready][data-sprites=ready]", timeout=60_000)
        page.wait_for_selector("[data-test-script-state=notRunning]", state="attached")
        figures = measure(page, sent)
        page.close()
        page = chromium.new_page(viewport=WINDOW)  # type: ignore[arg-type]
        open_watched(page, plain)
        page.get_by_test_id("stImage").locator("img").wait_for()
        return figures | measure_plain(page)


def drags_beside_a_training() -> tuple[dict[str, float], dict[str, float]]:
    """A drag on Explore without and with a training that was started as the page Train does; the same page, in turn: of three
    drags each, the one with the median frame rate."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(open_run("fashion-mnist").path, Path(folder) / "fashion-mnist")
        environment = os.environ | {CHECKPOINTS_VARIABLE: folder}
        found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
        with browser() as chromium, served(EXPLORE, environment) as explore:
            for turn in range(6):
                with _training(f"bench-{turn}", environment) if turn % 2 else contextlib.nullcontext():
                    page = chromium.new_page(viewport=WINDOW)  # type: ignore[arg-type]
                    open_watched(page, f"{explore}/?run=fashion-mnist")
                    page.wait_for_selector(".latent-map[data-ready][data-sprites=ready]", timeout=60_000)
                    page.wait_for_selector("[data-test-script-state=notRunning]", state="attached")
                    found[bool(turn % 2)].append(measure_drag(page))
                    page.close()
    alone, beside = (
        sorted(found[is_on], key=lambda figures: figures["browser_frames_per_second"])[1] for is_on in (False, True)
    )
    return alone, beside


@contextlib.contextmanager
def _training(name: str, environment: dict[str, str]) -> Iterator[None]:
    """A training of the preset fast in the background, past its first step, while it lasts."""
    command = [sys.executable, "-m", "vae", "train", "--run", name, "--epochs", "1000", "--background"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            status = Path(environment[CHECKPOINTS_VARIABLE]) / name / "status.json"
            while not status.exists() or json.loads(status.read_bytes())["step"] < 3:
                if process.poll() is not None:
                    raise ValueError(f"the training ended with status {process.returncode}")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait()


def maps(environment: dict[str, str] | None = None) -> dict[str, float]:
    """The map on Explore; times in ms."""
    with served(EXPLORE, environment) as explore:
        with fresh_browser() as context:
            open_watched(context.new_page(), explore)  # the server is warm from here on
        figures = {}
        for who, visits in (("never there before", 0), (f"there {BEFORE} times before", BEFORE)):
            taken = first_paint(fresh_browser, explore, visits)
            figures[f"first map, warm server, browser {who}: points seen, median"] = taken["points"]
            figures[f"first map, warm server, browser {who}: drawn by plotly.js, median"] = taken["whole"]
        with browser() as chromium:
            page = chromium.new_page(viewport=WINDOW)  # type: ignore[arg-type]
            return figures | measure_map(page, explore)


@contextlib.contextmanager
def seventy_thousand() -> Iterator[dict[str, str]]:
    """An environment in which the shipped model is shown on all 70,000 images of its data set, laid out by PCA."""
    with tempfile.TemporaryDirectory() as folder:
        data, runs = Path(folder) / "data" / "all", Path(folder) / "checkpoints"
        data.mkdir(parents=True)
        shipped = open_run("fashion-mnist")
        splits = [load_dataset("fashion-mnist", split) for split in ("train", "validation", "test")]
        images = np.concatenate([split.images for split in splits])[:, 0]
        labels = np.concatenate([split.labels for split in splits if split.labels is not None]).astype(np.uint8)
        for part, count in (("test", len(images)), ("train", 100)):
            _write_idx(data / f"{part}-images-idx3-ubyte.gz", images[:count])
            _write_idx(data / f"{part}-labels-idx1-ubyte.gz", labels[:count])
        (data / "classes.txt").write_text("\n".join(splits[0].class_names))
        environment = {DATA_VARIABLE: str(data.parent), CHECKPOINTS_VARIABLE: str(runs)}
        before = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        try:
            _adopt(shipped.path, shipped.config, runs / "all")
            yield environment
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


def _adopt(weights: Path, config: RunConfig, folder: Path) -> None:
    folder.mkdir(parents=True)
    shutil.copy(weights / "weights.safetensors", folder)
    digests = {split: load_dataset("all", split).digest for split in ("train", "validation", "test")}  # type: ignore[arg-type]
    values = dataclasses.asdict(config) | {"format": 1, "dataset": "all", "data_digests": digests}
    (folder / "config.json").write_text(json.dumps(values))
    run = open_run("all")
    evaluate(run)
    make_map(run, MapConfig(method="pca"))


def _write_idx(path: Path, array: np.ndarray) -> None:
    head = b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(head + array.tobytes())
