"""From nothing to Explore in the browser: where the time goes in a fresh process, the first visitor, the next one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import AbstractContextManager

import plain
from figures import Figure, measured
from live import POLLING, ROOT, browser, dashboard, served, window
from playwright.sync_api import Browser

STARTS = 3
LOADS = 5
FIRST_SECONDS, NEXT_SECONDS = 3.0, 1.0  # what they should take at most

EXPLORE_SHOWS = "document.querySelector('.latent-map[data-ready]')"
EXPLORE_IS_USABLE = f"{EXPLORE_SHOWS} && Object.values(window.__latent ?? {{}}).some((kept) => kept['latent:preview'])"
# Records when a condition first holds, in ms since the page was asked for, once the frame with it is painted.
RECORD = """(() => {
    const seen = window.__first = {}, conditions = %s;
    const look = () => {
        for (const [name, holds] of Object.entries(conditions)) {
            if (name in seen || !holds()) continue;
            seen[name] = 0;
            requestAnimationFrame(() => setTimeout(() => { seen[name] = performance.now(); }));
        }
        if (!Object.keys(conditions).every((name) => seen[name])) setTimeout(look, 10);
    };
    look();
})()"""

# What a server does before it can draw Explore, each step timed where it is first needed.
STEPS = """
import json, time
taken, last = {}, time.perf_counter()
def done(step):
    global last
    taken[step] = time.perf_counter() - last
    last = time.perf_counter()
import torch; done("import torch")
import vae; done("import vae, torch imported")
import dashboard.views.explore; done("import Explore and Streamlit, vae imported")
run = vae.open_run("fashion-mnist"); run.load_model(vae.choose_device()); done("weights")
data = vae.load_test_data(run); done("test images")
run.load_encodings(); done("encodings")
from dashboard.components.latent_map import MapPoints
found = run.load_map(vae.MapConfig())
points = MapPoints(run.weights_digest(), found.coordinates, data.images, data.labels, data.class_names, "test images")
points.base, points.sprites
done("map: points and sprites packed")
print(json.dumps(taken))
"""


def start_up() -> list[Figure]:
    """The steps in a fresh process, then the first visitor of a fresh server and the next of a warm one."""
    steps = [_steps() for _ in range(STARTS)]
    figures = [measured(f"start-up: {step}", "s", [taken[step] for taken in steps]) for step in steps[0]]
    with browser() as chromium:
        ours, theirs = [], []
        for _ in range(STARTS):
            ours.append(_cold(chromium, dashboard(), EXPLORE_IS_USABLE))
            theirs.append(_cold(chromium, served(plain.APP), plain.READY))
        beside = ("a page of plain widgets", theirs)
        figures.append(
            measured("`make app` to Explore usable, files cached", "s", ours, "median", beside, target=FIRST_SECONDS)
        )
        with dashboard() as explore:
            with served(plain.APP) as address:
                theirs = first_looks(chromium, address, {"usable": plain.READY})["usable"]
            figures += first_figures(chromium, explore, "", NEXT_SECONDS, ("a page of plain widgets", theirs))
    return figures


def first_figures(
    chromium: Browser, address: str, where: str, most: float, beside: tuple[str, list[float]] | None = None
) -> list[Figure]:
    """What a visitor of a warm server with an empty cache waits for."""
    seen = first_looks(chromium, address, {"map": EXPLORE_SHOWS, "usable": EXPLORE_IS_USABLE})
    return [
        measured(f"{where}next visitor: first map", "s", seen["map"]),
        measured(f"{where}next visitor: Explore usable", "s", seen["usable"], "median", beside, target=most),
    ]


def first_looks(chromium: Browser, address: str, conditions: dict[str, str]) -> dict[str, list[float]]:
    """Seconds from the request of a page until each condition holds: of `LOADS` visitors, after one to warm up."""
    seen = [_look(chromium, address, conditions)[1] for _ in range(LOADS + 1)][1:]
    return {name: [look[name] / 1000 for look in seen] for name in conditions}


def _look(chromium: Browser, address: str, conditions: dict[str, str]) -> tuple[float, dict[str, float]]:
    """When the page was asked for (ms since 1970), and the ms from there until each condition held."""
    with window(chromium) as context:
        page = context.new_page()
        functions = ", ".join(f"{name}: () => {condition}" for name, condition in conditions.items())
        page.add_init_script(RECORD % f"{{{functions}}}")
        page.goto(address)
        count = f"window.__first && Object.values(window.__first).filter(Boolean).length === {len(conditions)}"
        page.wait_for_function(count, polling=POLLING, timeout=60_000)
        return float(page.evaluate("performance.timeOrigin")), dict(page.evaluate("window.__first"))


def _cold(chromium: Browser, server: AbstractContextManager[str], condition: str) -> float:
    """Seconds from the start of a server's process until its first visitor's page fulfils the condition."""
    started = time.time()
    with server as address:
        asked, seen = _look(chromium, address, {"usable": condition})
        return (asked + seen["usable"]) / 1000 - started


def _steps() -> dict[str, float]:
    """How long each of `STEPS` takes in a process of its own, in seconds."""
    command = [sys.executable, "-W", "ignore", "-c", STEPS]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))
