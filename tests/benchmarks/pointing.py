"""How live the map on Explore is: hovering, clicking, zooming; clicks beside a plain `st.plotly_chart`'s."""

from __future__ import annotations

import math

import plain
from figures import Figure, measured
from live import EXPLORE, POLLING, browser, open_watched, served, window
from many import seventy_thousand
from playwright.sync_api import Page, WebSocket
from start import next_visitors

HOVERS = 300
CLICKS = 12
WHEELS = 40

# Records in the page: a pointer's move and the frame that shows the picture for it; a click, the picture at hand for it
# and the server's answer; every frame. Times are the browser's own, from the event's to after the frame is painted.
WATCH = """() => {
    const root = document.querySelector(".latent-map");
    const seen = window.__map = {hovers: [], selects: [], answers: [], strips: [], frames: []};
    const isBare = () => document.querySelector(".latent-map-card canvas").hidden; // too many for thumbnails
    const painted = (then) => requestAnimationFrame(() => setTimeout(then));
    let moved = null, released = null, last = null;
    document.addEventListener("pointermove", (event) => { moved = event.timeStamp; }, true);
    document.addEventListener("pointerup", (event) => { released = event.timeStamp; }, true);
    document.addEventListener("latent:hover", ({detail}) => {
        const since = moved;
        if (detail.row !== null && (detail.image || isBare())) painted(() => seen.hovers.push(performance.now() - since));
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
Values = dict[str, list[float]]


def pointing() -> list[Figure]:
    """The map of the shipped run: 10,000 images; clicks beside those on a plain chart."""
    with browser() as chromium, served(EXPLORE) as explore, served(plain.APP) as address:
        seen = measure(window(chromium).new_page(), explore)
        page = window(chromium).new_page()
        plain.open_plain(page, address)
        original, decoded = plain.measure_clicks(page, CLICKS)
    figures = _figures("", seen)
    beside = {"selects": ("a plain `st.plotly_chart`", original), "strips": ("a plain `st.plotly_chart`, one picture", decoded)}
    return [*_clicks("", seen, beside), *figures]


def pointing_at_many() -> list[Figure]:
    """The same with 70,000 images, and the first map that a visitor sees."""
    with seventy_thousand() as environment, served(EXPLORE, environment) as explore:
        first = next_visitors(explore, "70,000 images: ", 3.0)
        with browser() as chromium:
            seen = measure(window(chromium).new_page(), explore)
    return [*first, *_clicks("70,000 images: ", seen, {}), *_figures("70,000 images: ", seen)]


def _clicks(where: str, seen: Values, beside: dict[str, tuple[str, list[float]]]) -> list[Figure]:
    parts = (("selects", "click to original"), ("answers", "click to numbers"), ("strips", "click to new strips"))
    return [measured(where + what, "ms", seen[key], "p95", beside.get(key)) for key, what in parts]


def _figures(where: str, seen: Values) -> list[Figure]:
    return [
        measured(f"{where}hover to thumbnail", "ms", seen["hovers"], "p95"),
        measured(f"{where}received on a click", "bytes", seen["received"], "most"),
        measured(f"{where}frame while zooming", "ms", seen["frames"], "p95"),
    ]


def measure(page: Page, address: str) -> Values:
    """What happens on the Explore page at ``address``, in ms and bytes. Its selection changes."""
    sockets: list[WebSocket] = []
    page.on("websocket", lambda socket: sockets.append(socket))
    open_watched(page, address)
    page.evaluate(WATCH)
    spots = _hover(page)
    received = _click(page, spots[:: max(1, len(spots) // CLICKS)][:CLICKS], sockets)
    _wheel(page, spots[len(spots) // 2])
    seen: Values = page.evaluate("window.__map")
    return seen | {"received": [float(count) for count in received]}


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
    sums: list[int] = []
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
