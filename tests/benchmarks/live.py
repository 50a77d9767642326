"""A headless Chromium, and the apps that it looks at, on runs and data that a benchmark may change."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

from vae import open_run
from vae.runs import CHECKPOINTS_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
EXPLORE = ROOT / "dashboard" / "app.py"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WINDOW: ViewportSize = {"width": 1280, "height": 800}
PATIENCE = 300_000
"""Milliseconds that a page of a million images may take to be there."""
POLLING = 20
"""Milliseconds between two looks at a condition: the default, every frame, makes the browser draw and keeps a core busy."""

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
from conftest import find_browser, free_port, serve  # noqa: E402


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=find_browser(), args=ARGUMENTS)


@contextlib.contextmanager
def new_browser() -> Iterator[BrowserContext]:
    """A headless Chromium with a new profile on the disk, as an installed browser has one."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        context = playwright.chromium.launch_persistent_context(
            folder, executable_path=find_browser(), args=ARGUMENTS, viewport=WINDOW
        )
        yield context
        context.close()


def window(chromium: Browser) -> BrowserContext:
    """A visitor's window, with a cache of its own."""
    return chromium.new_context(viewport=WINDOW)


@contextlib.contextmanager
def served(script: Path, environment: dict[str, str] | None = None) -> Iterator[str]:
    """The address of an app while it runs."""
    process, address = serve(script, Path(os.devnull), environment)
    try:
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


@contextlib.contextmanager
def dashboard() -> Iterator[str]:
    """The address of the dashboard while it runs, started as `make app` does; given as soon as it answers."""
    port = free_port()
    command = [sys.executable, "-m", "dashboard", "--port", str(port)]
    environment = os.environ | {"STREAMLIT_SERVER_HEADLESS": "true"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
            return
        time.sleep(0.02)
    raise ValueError(f"the dashboard ended with status {process.returncode}")


def open_watched(page: Page, url: str) -> list[object]:
    """Open Explore and wait until nothing is under way; returns the list to which every message that it sends is added."""
    sent: list[object] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    page.goto(url)
    page.get_by_role("slider").first.wait_for(timeout=PATIENCE)
    page.wait_for_selector(".latent-map[data-ready][data-sprites=ready]", timeout=PATIENCE)
    page.wait_for_selector("[data-test-script-state=notRunning]", state="attached")
    return sent


@contextlib.contextmanager
def folders(**variables: str) -> Iterator[dict[str, str]]:
    """Environment variables of this process, set for a while; given back as a mapping for others."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield variables
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextlib.contextmanager
def copied_run() -> Iterator[dict[str, str]]:
    """An environment, this process's too, whose runs are a copy of the shipped one, so that more can be written beside it."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(open_run("fashion-mnist").path, Path(folder) / "fashion-mnist")
        with folders(**{CHECKPOINTS_VARIABLE: folder}) as environment:
            yield environment
