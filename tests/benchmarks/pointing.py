"""How live the map of an open Explore page is: hovering, clicking, zooming, and the first map that a visitor sees."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager

from drag import POLLING, quantile
from playwright.sync_api import BrowserContext, Page, WebSocket

LOADS = 5
STAY = 2000  # ms that a visitor stays at least: the browser keeps what it translated a moment after it ran
HOVERS = 300
CLICKS = 12
WHEELS = 40

# Records in the page: a pointer's move and the frame that shows the picture for it; a click, the picture at hand for it
# and the server's answer; every frame. Times are the browser's own, from the event's to after the frame is painted.
WATCH = """() => {
    const root = document.querySelector(".latent-map");
    const seen = window.__map = {hovers: [], selects: [], answers: [], strips: [], frames: []};
    const painted = (then) => requestAnimationFrame(() => setTimeout(then));
    let moved = null, released = null, last = null;
    document.addEventListener("pointermove", (event) => { moved = event.timeStamp; }, true);
    document.addEventListener("pointerup", (event) => { released = event.timeStamp; }, true);
    document.addEventListener("latent:hover", ({detail}) => {
        const since = moved;
        if (detail.image) painted(() => seen.hovers.push(performance.now() - since));
    });
    document.addEventListener("latent:select", ({detail}) => {
        if (detail.image) seen.selects.push(performance.now() - released);
    });
    new MutationObserver(() => {
        if (!root.hasAttribute("data-waiting")) painted(() => seen.answers.push(performance.now() - released));
    }).observe(root, {attributes: true, attributeFilter: ["data-waiting"]});
    let generation = Object.values(window.__latent)[0]["latent:preview"].generation;
    document.addEventListener("latent:preview", ({detail}) => {
        if (detail.generation === generation) return;
        generation = detail.generation;
        painted(() => seen.strips.push(performance.now() - released));
    });
    const tick = (now) => { if (last !== null) seen.frames.push(now - last); last = now; requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
}"""
# Notes in the page when the frame after the points' first drawing is out, and that after plotly.js has taken them over.
FIRST_PAINT = """() => {
    const painted = window.__painted = {};
    new MutationObserver((_, observer) => {
        for (const [name, mark] of [["points", "renderer"], ["whole", "ready"]]) {
            if (name in painted || !document.querySelector(`.latent-map[data-${mark}]`)) continue;
            painted[name] = null;
            requestAnimationFrame(() => setTimeout(() => { painted[name] = performance.now(); }));
            if (name === "whole") observer.disconnect();
        }
    }).observe(document, {subtree: true, childList: true, attributes: true, attributeFilter: ["data-renderer", "data-ready"]});
}"""
BEFORE = 3  # visits after which a browser keeps a script in translated form


def first_paint(contexts: Callable[[], AbstractContextManager[BrowserContext]], address: str, visits: int) -> dict[str, float]:
    """From the request of the page to the first frame with the points, and to that in which plotly.js draws them, in ms:
    medians of `LOADS`, each by a browser of its own that was there ``visits`` times before."""
    found: dict[str, list[float]] = {"points": [], "whole": []}
    for _ in range(LOADS):
        with contexts() as context:
            for visit in range(visits + 1):
                painted = _visit(context, address)
                if visit == visits:
                    for name, taken in found.items():
                        taken.append(painted[name])
    return {name: statistics.median(taken) for name, taken in found.items()}


def _visit(context: BrowserContext, address: str) -> dict[str, float]:
    page = context.new_page()
    page.add_init_script(f"({FIRST_PAINT})()")
    page.goto(address)
    page.wait_for_function("window.__painted.whole", polling=POLLING, timeout=60_000)
    page.wait_for_timeout(STAY)
    painted: dict[str, float] = page.evaluate("window.__painted")
    page.close()
    return painted


def measure(page: Page, address: str) -> dict[str, float]:
    """Figures of the Explore page at ``address``, times in ms. The page is opened, and its selection changes."""
    sockets: list[WebSocket] = []
    page.on("websocket", lambda socket: sockets.append(socket))
    page.goto(address)
    page.wait_for_selector(".latent-map[data-ready][data-sprites=ready]", timeout=60_000)
    page.wait_for_selector("[data-test-script-state=notRunning]", state="attached")
    page.evaluate(WATCH)
    spots = _hover(page)
    received = _click(page, spots[:: max(1, len(spots) // CLICKS)][:CLICKS], sockets)
    _wheel(page, spots[len(spots) // 2])
    seen: dict[str, list[float]] = page.evaluate("window.__map")
    return {
        "hover to picture, p95": quantile(seen["hovers"], 0.95),
        "click to original at hand, p95": quantile(seen["selects"], 0.95),
        "click to numbers, p95": quantile(seen["answers"], 0.95),
        "click to new strips, p95": quantile(seen["strips"], 0.95),
        "bytes received on a click, most": max(received),
        "frame while zooming, p95": quantile(seen["frames"], 0.95),
    }


def _hover(page: Page) -> list[tuple[float, float]]:
    """Move the pointer over the map in a raster; returns where an image was met."""
    box = page.locator(".latent-map-stage").bounding_box()
    if box is None:
        raise ValueError("the map is not on the screen")
    side, spots = math.ceil(math.sqrt(HOVERS)), []
    for i in range(side * side):
        x = box["x"] + box["width"] * (i % side + 0.5) / side
        y = box["y"] + box["height"] * (i // side + 0.5) / side
        page.mouse.move(x, y)
        if page.locator(".latent-map").get_attribute("data-hover"):
            spots.append((x, y))
    if not spots:
        raise ValueError("the pointer met no image")
    return spots


def _click(page: Page, spots: list[tuple[float, float]], sockets: list[WebSocket]) -> list[int]:
    """Click on images, one after the other; returns the bytes that arrived for each."""
    received: list[int] = []
    for socket in sockets:
        socket.on("framereceived", lambda frame: received.append(len(frame)))
    sums = []
    for spot in spots:
        received.clear()
        page.mouse.click(*spot)
        page.wait_for_selector(".latent-map:not([data-waiting])")
        page.wait_for_function("(count) => window.__map.strips.length === count", arg=len(sums) + 1, polling=POLLING)
        page.wait_for_selector("[data-test-script-state=notRunning]", state="attached")
        sums.append(sum(received))
    return sums


def _wheel(page: Page, spot: tuple[float, float]) -> None:
    page.mouse.move(*spot)
    page.evaluate("window.__map.frames.length = 0")
    for i in range(WHEELS):
        page.mouse.wheel(0, -40 if i < WHEELS / 2 else 40)
