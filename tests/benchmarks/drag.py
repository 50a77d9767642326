"""How live a drag on Explore is, beside a plain slider, and beside a training on the same cores."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import plain
from figures import Figure, measured
from live import EXPLORE, POLLING, browser, copied_run, open_watched, served, window
from playwright.sync_api import Locator, Page

from vae.runs import CHECKPOINTS_VARIABLE

SECONDS = 3.0
RELEASES = 20
PERIOD = 1.3
"""Seconds in which the thumb goes to and fro once."""

# Records in the page: when the pointer moved (the event's own time) and when the picture that answers it was drawn.
WATCH = """(decoded) => {
    const seen = window.__drag = {latencies: [], draws: 0, frames: 0, previews: 0, answered: [], released: []};
    const context = decoded.getContext("2d");
    const draw = context.putImageData.bind(context);
    let moved = null, isDown = false;
    context.putImageData = (...rest) => {
        draw(...rest);
        if (!isDown) return;
        seen.draws += 1;
        if (moved !== null) seen.latencies.push(performance.now() - moved);
        moved = null;
    };
    const listen = (name, call) => window.addEventListener(name, call, true);
    const tick = () => { // only while it is dragged: a page that asks for frames keeps a core busy
        if (!isDown) return;
        seen.frames += 1;
        requestAnimationFrame(tick);
    };
    listen("pointerdown", () => { isDown = true; requestAnimationFrame(tick); });
    listen("pointermove", (event) => { if (isDown) moved = event.timeStamp; });
    listen("pointerup", (event) => { isDown = false; seen.released.push(event.timeStamp); });
    let generation = null;
    document.addEventListener("latent:preview", ({detail}) => {
        if (isDown) seen.previews += 1;
        if (generation !== null && detail.generation !== generation) {
            requestAnimationFrame(() => setTimeout(() => seen.answered.push(performance.now())));
        }
        generation = detail.generation;
    });
    generation = Object.values(window.__latent)[0]["latent:preview"].generation;
}"""


def _travel(page: Page, thumb: Locator, seconds: float) -> float:
    """Drag to and fro over most of the track for that long, then let go; returns how long it took."""
    box = thumb.bounding_box()
    if box is None:
        raise ValueError("the slider is not on the screen")
    middle, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(middle, y)
    page.mouse.down()
    started = time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        share = abs(2 * ((passed / PERIOD + 0.25) % 1) - 1) - 0.5  # to and fro at a constant speed: a new picture every frame
        page.mouse.move(middle + 0.9 * box["width"] * share, y)
    return passed


@dataclass(frozen=True)
class Drag:
    """One drag of `SECONDS`: milliseconds from each move to its picture, and rates."""

    latencies: list[float]
    frames_a_second: float
    pictures_a_second: float
    moves_of_the_cursor: float
    """Of the map's, for each picture."""


def measure_drag(page: Page) -> Drag:
    """Drag the first slider of an open page; the button is still down when it returns."""
    thumb = page.get_by_role("slider").first
    page.get_by_role("img", name="Decoded image").evaluate(WATCH)
    thumb.scroll_into_view_if_needed()
    taken = _travel(page, thumb, SECONDS)
    seen = page.evaluate("() => ({...window.__drag})")
    cursor = seen["previews"] / max(1, seen["draws"])
    return Drag(seen["latencies"], seen["frames"] / taken, seen["draws"] / taken, cursor)


def measure_releases(page: Page, count: int) -> list[float]:
    """After `measure_drag`: let go, then take hold and let go again so many times. Milliseconds from each release to the
    frame with the new strips."""
    page.mouse.up()
    page.wait_for_function("() => window.__drag.answered.length === 1", polling=POLLING)
    page.evaluate("() => { window.__drag.answered = []; window.__drag.released = []; }")
    box = page.get_by_role("slider").first.bounding_box()
    if box is None:
        raise ValueError("the slider is not on the screen")
    for turn in range(count):
        share = 0.2 + 0.6 * ((7 * turn) % count) / count
        page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.up()
        page.wait_for_function("(count) => window.__drag.answered.length === count", arg=turn + 1, polling=POLLING)
    after = page.evaluate("() => window.__drag")
    return [shown - let for let, shown in zip(after["released"], after["answered"], strict=True)]


def dragging() -> list[Figure]:
    """A drag and releases on Explore, beside changes of a plain slider, in one run of one browser."""
    with browser() as chromium, served(EXPLORE) as explore, served(plain.APP) as address:
        page = window(chromium).new_page()
        sent = open_watched(page, explore)
        before = len(sent)
        drag = measure_drag(page)
        messages = len(sent) - before
        releases = measure_releases(page, RELEASES)
        page.context.close()
        page = window(chromium).new_page()
        plain.open_plain(page, address)
        changes = plain.measure_changes(page, RELEASES)
    beside = ("a plain `st.slider`, change to picture", changes)
    return [
        measured("drag: pointer to decoded picture", "ms", drag.latencies, "p95", beside),
        Figure("drag: frames", "frames/s", drag.frames_a_second, better="higher"),
        Figure("drag: pictures", "pictures/s", drag.pictures_a_second, better="higher"),
        Figure("drag: moves of the map's cursor for a picture", "moves", drag.moves_of_the_cursor, better="higher"),
        Figure("drag: messages from the client", "messages", messages, target=0),
        measured("release to new strips", "ms", releases, "median", ("the plain slider's one picture", changes)),
        measured("release to new strips", "ms", releases, "p95", ("the plain slider's one picture", changes), target=200),
    ]


def dragging_beside_a_training() -> list[Figure]:
    """The same drag without and with a training that was started as the page Train does; in turn, three of each."""
    found: dict[bool, list[Drag]] = {False: [], True: []}
    with copied_run() as environment, browser() as chromium, served(EXPLORE, environment) as explore:
        for turn in range(6):
            with _training(f"bench-{turn}", environment) if turn % 2 else contextlib.nullcontext():
                page = window(chromium).new_page()
                open_watched(page, f"{explore}/?run=fashion-mnist")
                found[bool(turn % 2)].append(measure_drag(page))
                page.context.close()
    alone, beside = found[False], found[True]

    def rates(drags: list[Drag]) -> list[float]:
        return [drag.frames_a_second for drag in drags]

    def latencies(drags: list[Drag]) -> list[float]:
        return [latency for drag in drags for latency in drag.latencies]

    name = "drag beside a training on the same cores"
    return [
        measured(f"{name}: frames", "frames/s", rates(beside), "median", ("without it", rates(alone)), better="higher"),
        measured(f"{name}: pointer to picture", "ms", latencies(beside), "p95", ("without it", latencies(alone))),
    ]


@contextlib.contextmanager
def _training(name: str, environment: dict[str, str]) -> Iterator[None]:
    """A training of the preset fast in the background, past its third step, while it lasts."""
    command = [sys.executable, "-m", "vae", "train", "--run", name, "--epochs", "1000", "--background"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
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
