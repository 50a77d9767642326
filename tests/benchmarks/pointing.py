"""How live the map of an open Explore page is: hovering, clicking, zooming, and the first map that a visitor sees."""

from __future__ import annotations

import math
import statistics

from drag import POLLING, quantile
from playwright.sync_api import BrowserContext, Page, WebSocket

LOADS = 5
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
FIRST_PAINT = """() => {
    new MutationObserver((_, observer) => {
        if (!document.querySelector(".latent-map[data-ready]")) return;
        observer.disconnect();
        requestAnimationFrame(() => setTimeout(() => { window.__firstPaint = performance.now(); }));
    }).observe(document, {subtree: true, childList: true, attributes: true, attributeFilter: ["data-ready"]});
}"""


def first_paint(context: BrowserContext, address: str) -> float:
    """From the request of the page to the first frame with the points, in ms; the median of `LOADS` after one to warm up."""
    taken = []
    for _ in range(LOADS + 1):
        page = context.new_page()
        page.add_init_script(f"({FIRST_PAINT})()")
        page.goto(address)
        taken.append(float(page.wait_for_function("window.__firstPaint", polling=POLLING, timeout=60_000).json_value()))
        page.close()
    return statistics.median(taken[1:])


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
