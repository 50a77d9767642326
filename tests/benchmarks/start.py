"""From nothing to Explore in the browser: where the time goes in a fresh process, the first visitor, the next one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import AbstractContextManager

import plain
from figures import Figure, measured
from live import PATIENCE, POLLING, ROOT, dashboard, new_browser, served
from playwright.sync_api import BrowserContext

STARTS = 2  # of each kind
BEFORE = 3  # visits after which a browser keeps a script in translated form
STAY = 2000  # ms that a visitor stays at least: the browser keeps what it translated a moment after it ran
FIRST_SECONDS, NEXT_SECONDS = 3.0, 1.0  # what they should take at most

POINTS = "document.querySelector('.latent-map[data-renderer]')"
STRIPS = "Object.values(window.__latent ?? {}).some((kept) => kept['latent:preview'])"
EXPLORE = {"usable": f"{POINTS} && {STRIPS}", "whole": "document.querySelector('.latent-map[data-ready]')"}
"""Usable: the points are seen and answer, and the sliders have their strips. Whole: what draws
the points from then on has drawn them: plotly.js, if there are no more than it can."""
PLAIN = {"usable": plain.READY}
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
    ours, theirs = [], []
    for _ in range(STARTS):
        ours.append(_cold(dashboard(), EXPLORE))
        theirs.append(_cold(served(plain.APP), PLAIN))
    cold = "`make app` to Explore usable, a new browser"
    figures.append(measured(cold, "s", ours, "median", ("a page of plain widgets", theirs), target=FIRST_SECONDS))
    with dashboard() as explore, served(plain.APP) as address:
        return figures + next_visitors(explore, "", NEXT_SECONDS, address)


def next_visitors(explore: str, where: str, most: float, plain_address: str | None = None) -> list[Figure]:
    """What visitors of a warm server wait for: those with a new browser, and those whose browser was there before."""
    figures = []
    for who, looks in (("a new browser", new_visitors), ("a browser that was there before", returning_visitors)):
        seen = looks(explore, EXPLORE)
        beside = ("a page of plain widgets", looks(plain_address, PLAIN)["usable"]) if plain_address else None
        name = f"{where}next visitor, {who}"
        figures += [
            measured(f"{name}: Explore usable", "s", seen["usable"], "median", beside, target=most),
            measured(f"{name}: drawn in full", "s", seen["whole"]),
        ]
    return figures


Looks = dict[str, list[float]]


def new_visitors(address: str, conditions: dict[str, str]) -> Looks:
    """Seconds from the request of a page until each condition holds, in `STARTS` new browsers, after one to warm the server."""
    seen = []
    for _ in range(STARTS + 1):
        with new_browser() as context:
            seen.append(visit(context, address, conditions)[1])
    return {name: [look[name] for look in seen[1:]] for name in conditions}


def returning_visitors(address: str, conditions: dict[str, str]) -> Looks:
    """The same of `STARTS` visits in one browser, after `BEFORE` others."""
    with new_browser() as context:
        for _ in range(BEFORE):
            visit(context, address, conditions, STAY)
        seen = [visit(context, address, conditions)[1] for _ in range(STARTS)]
    return {name: [look[name] for look in seen] for name in conditions}


def visit(context: BrowserContext, address: str, conditions: dict[str, str], stay: float = 0) -> tuple[float, dict[str, float]]:
    """When a page was asked for (seconds since 1970), and the seconds from there until each condition held; it is left after
    ``stay`` ms more."""
    page = context.new_page()
    functions = ", ".join(f"{name}: () => {condition}" for name, condition in conditions.items())
    page.add_init_script(RECORD % f"{{{functions}}}")
    page.goto(address)
    count = f"Object.values(window.__first ?? {{}}).filter(Boolean).length === {len(conditions)}"
    page.wait_for_function(count, polling=POLLING, timeout=PATIENCE)
    page.wait_for_timeout(stay)
    asked, seen = page.evaluate("[performance.timeOrigin, window.__first]")
    page.close()
    return asked / 1000, {name: value / 1000 for name, value in seen.items()}


def _cold(server: AbstractContextManager[str], conditions: dict[str, str]) -> float:
    """Seconds from the start of a server's process until the page of its first visitor, in a new browser, is usable."""
    with new_browser() as context:
        started = time.time()
        with server as address:
            asked, seen = visit(context, address, conditions)
    return asked + seen["usable"] - started


def _steps() -> dict[str, float]:
    """How long each of `STEPS` takes in a process of its own, in seconds."""
    command = [sys.executable, "-W", "ignore", "-c", STEPS]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))
