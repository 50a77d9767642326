"""How live a drag is: `measure` works on any page with the latent sliders, `measure_plain` asks plain sliders the same."""

from __future__ import annotations

import math
import time

from playwright.sync_api import Locator, Page

POLLING = 20
"""Milliseconds between two looks at a condition: the default, every frame, makes the browser draw and keeps a core busy."""
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

WATCH_PLAIN = """() => {
    const seen = window.__plain = {asked: [], shown: []};
    window.addEventListener("keydown", (event) => seen.asked.push(event.timeStamp), true);
    const watch = new MutationObserver(() => {
        const image = document.querySelector("[data-testid=stImage] img");
        if (!image || image.src === watch.last) return;
        watch.last = image.src;
        image.decode().then(() => requestAnimationFrame(() => setTimeout(() => seen.shown.push(performance.now()))));
    });
    watch.last = document.querySelector("[data-testid=stImage] img").src;
    watch.observe(document.body, {subtree: true, childList: true, attributes: true, attributeFilter: ["src"]});
}"""


def quantile(values: list[float], share: float) -> float:
    """The value that ``share`` of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


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


def measure(page: Page, sent: list[object], seconds: float = 3.0, releases: int = 20) -> dict[str, float]:
    """Drag the first slider of an open page, then let go of it many times.

    Args:
        page: shows the sliders, with no commit under way.
        sent: what the page's WebSocket has sent so far, appended to as it sends (`open_watched`).
        seconds: the length of the drag.
        releases: how often the thumb is let go for the second part.

    Returns:
        Times in milliseconds; messages from the client during the drag; cursor events per drawn picture.
    """
    thumb, before = page.get_by_role("slider").first, len(sent)
    figures = measure_drag(page, seconds)
    messages = len(sent) - before
    page.mouse.up()
    page.wait_for_function("() => window.__drag.answered.length === 1", polling=POLLING)
    page.evaluate("() => { window.__drag.answered = []; window.__drag.released = []; }")
    box = thumb.bounding_box() or {"x": 0.0, "y": 0.0, "width": 0.0, "height": 0.0}
    for turn in range(releases):
        page.mouse.move(
            box["x"] + box["width"] * (0.2 + 0.6 * ((7 * turn) % releases) / releases), box["y"] + box["height"] / 2
        )
        page.mouse.down()
        page.mouse.up()
        page.wait_for_function("(count) => window.__drag.answered.length === count", arg=turn + 1, polling=POLLING)
    after = page.evaluate("() => window.__drag")
    waits = [shown - let for let, shown in zip(after["released"], after["answered"], strict=True)]
    return figures | {
        "client_messages_during_drag": messages,
        "release_to_strips_p50_ms": quantile(waits, 0.5),
        "release_to_strips_p95_ms": quantile(waits, 0.95),
    }


def measure_drag(page: Page, seconds: float = 3.0) -> dict[str, float]:
    """The first part of `measure`; the button is still down when it returns. Times in milliseconds."""
    thumb = page.get_by_role("slider").first
    page.get_by_role("img", name="Decoded image").evaluate(WATCH)
    thumb.scroll_into_view_if_needed()
    taken = _travel(page, thumb, seconds)
    drag = page.evaluate("() => ({...window.__drag})")
    return {
        "move_to_drawn_p50_ms": quantile(drag["latencies"], 0.5),
        "move_to_drawn_p95_ms": quantile(drag["latencies"], 0.95),
        "browser_frames_per_second": drag["frames"] / taken,
        "pictures_per_second": drag["draws"] / taken,
        "cursor_events_per_picture": drag["previews"] / max(1, drag["draws"]),
    }


def measure_plain(page: Page, changes: int = 20) -> dict[str, float]:
    """How long a plain slider takes from a key to the new image, in milliseconds."""
    thumb = page.get_by_role("slider").first
    page.evaluate(WATCH_PLAIN)
    for turn in range(changes):
        thumb.press("ArrowRight" if turn % 2 else "ArrowLeft")
        page.wait_for_function("(count) => window.__plain.shown.length === count", arg=turn + 1, polling=POLLING)
    seen = page.evaluate("() => window.__plain")
    waits = [shown - asked for asked, shown in zip(seen["asked"], seen["shown"], strict=True)]
    return {"plain_change_to_image_p50_ms": quantile(waits, 0.5), "plain_change_to_image_p95_ms": quantile(waits, 0.95)}


def open_watched(page: Page, url: str) -> list[object]:
    """Open a page; returns the list to which every message that it sends is added."""
    sent: list[object] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    page.goto(url)
    page.get_by_role("slider").first.wait_for(timeout=60_000)
    return sent
