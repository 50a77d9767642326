"""What the plain page (plain_app.py) takes for what Explore does: a change of a slider, a click on the chart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from playwright.sync_api import Page
from scipy.spatial import cKDTree

APP = Path(__file__).with_name("plain_app.py")
POLLING = 20
READY = "document.querySelector('.js-plotly-plot .gl-container') && document.querySelector('.st-key-decoded img')?.complete"

# Records in the page when a key or the pointer asked for something, and when the image that answers it was on the screen.
WATCH = """() => {
    const seen = window.__plain = {asked: [], decoded: [], original: []};
    window.addEventListener("keydown", (event) => seen.asked.push(event.timeStamp), true);
    window.addEventListener("pointerup", (event) => seen.asked.push(event.timeStamp), true);
    const last = {};
    const look = () => ["decoded", "original"].forEach((name) => {
        const image = document.querySelector(`.st-key-${name} img`);
        if (!image || image.src === last[name]) return;
        const first = !(name in last);
        last[name] = image.src;
        if (first) return;
        image.decode().then(() => requestAnimationFrame(() => setTimeout(() => seen[name].push(performance.now()))));
    });
    look();
    const all = {subtree: true, childList: true, attributes: true, attributeFilter: ["src"]};
    new MutationObserver(look).observe(document.body, all);
}"""

# Where the points lie on the screen.
PLACES = """() => {
    const chart = document.querySelector(".js-plotly-plot"), {xaxis, yaxis, _size} = chart._fullLayout;
    const box = chart.getBoundingClientRect(), {x, y} = chart._fullData[0];
    return Array.from(x, (value, row) => [box.x + _size.l + xaxis.l2p(value), box.y + _size.t + yaxis.l2p(y[row])]);
}"""


def open_plain(page: Page, address: str) -> None:
    """Open the page, and wait until it is whole and watched."""
    page.goto(address)
    page.wait_for_function(READY, polling=POLLING, timeout=60_000)
    page.wait_for_selector("[data-test-script-state=notRunning]", state="attached")
    page.evaluate(WATCH)


def measure_changes(page: Page, changes: int) -> list[float]:
    """Milliseconds from a key on a slider to the new image."""
    thumb = page.get_by_role("slider").first
    page.evaluate("window.__plain.asked.length = window.__plain.decoded.length = 0")
    for turn in range(changes):
        thumb.press("ArrowRight" if turn % 2 else "ArrowLeft")
        page.wait_for_function("(count) => window.__plain.decoded.length === count", arg=turn + 1, polling=POLLING)
    seen = page.evaluate("window.__plain")
    return [shown - asked for asked, shown in zip(seen["asked"], seen["decoded"], strict=True)]


def measure_clicks(page: Page, clicks: int) -> tuple[list[float], list[float]]:
    """Milliseconds from a click on the chart to the image that was clicked, and to its decoded mean. The points
    clicked are those with the most room around them, so that a click meets none but them."""
    places = np.array(page.evaluate(PLACES))
    inside = (places[:, 0] > 40) & (places[:, 1] > 100) & (places[:, 1] < 520)
    page.evaluate("window.__plain.asked.length = window.__plain.decoded.length = window.__plain.original.length = 0")
    room = np.where(inside, cKDTree(places).query(places, 2)[0][:, 1], 0.0)
    for turn, (x, y) in enumerate(places[np.argsort(room)[: -clicks - 1 : -1]]):
        page.mouse.move(x, y)
        page.mouse.click(x, y)
        for name in ("original", "decoded"):
            page.wait_for_function(f"(count) => window.__plain.{name}.length === count", arg=turn + 1, polling=POLLING)
        page.wait_for_selector("[data-test-script-state=notRunning]", state="attached")
    seen = page.evaluate("window.__plain")
    original, decoded = (
        [shown - asked for asked, shown in zip(seen["asked"], seen[name], strict=True)] for name in ("original", "decoded")
    )
    return original, decoded
