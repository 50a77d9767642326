"""The map in a real browser, on a page of its own: what a person sees, what the page is told, what travels."""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, WebSocket, WebSocketRoute, expect

from dashboard.components.latent_map import parse_polygon, rows_inside
from vae import MapConfig, load_test_data, open_run
from vae.palette import PETROFF

pytestmark = pytest.mark.browser
APP = Path(__file__).with_name("apps") / "map_app.py"
RUN = os.environ.get("LATENT_TEST_RUN", "fashion-mnist")
ON_A_CLICK = 20_000
"""Bytes that may arrive for a click: the points and the small pictures are far more."""
NO_WEBGL = """
const original = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
    return String(kind).includes("webgl") ? null : original.call(this, kind, ...rest);
};
"""
CONTEXTS = "[...document.querySelectorAll('.latent-map-plot canvas')].map((canvas) => canvas.getContext('webgl'))"
LISTEN = """() => {
    window.heard = [];
    if (window.keepsHeard) return;
    window.keepsHeard = true;
    const keep = ({type, detail}) =>
        heard.push({...detail, name: type, pixels: detail.image && Array.from(detail.image.data)});
    for (const name of ["latent:hover", "latent:select"]) document.addEventListener(name, keep);
}"""
MOVED = "before => document.querySelector('[data-view]').dataset.view != before"
ZOOMED = """width => {
    const [left, right] = document.querySelector("[data-view]").dataset.view.split(",").map(Number);
    return right - left < width;
}"""
COLOURS = """([[x0, y0], [x1, y1]]) => {
    const canvas = [...document.querySelectorAll(".latent-map-stage > canvas")][0];
    const pen = canvas.getContext("2d"), ratio = canvas.width / canvas.clientWidth, found = [];
    for (let step = 0; step <= 60; step++) {
        const at = [x0 + (step / 60) * (x1 - x0), y0 + (step / 60) * (y1 - y0)];
        const [red, green, blue, alpha] = pen.getImageData(at[0] * ratio, at[1] * ratio, 1, 1).data;
        found.push(alpha > 250 ? [red, green, blue].join() : "none");
    }
    return found;
}"""
THEME = """(name) => {
    const pen = Object.assign(document.createElement("canvas"), {width: 1, height: 1}).getContext("2d");
    pen.fillStyle = getComputedStyle(document.querySelector(".latent-map")).getPropertyValue(name);
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data.slice(0, 3)].join();
}"""
PREVIEW = """async ([run, places]) => {
    const instance = document.querySelector("[data-instance]").dataset.instance;
    for (const [generation, x, y] of places) {
        document.dispatchEvent(new CustomEvent("latent:preview", {detail: {instance, run, generation, x, y}}));
        await new Promise(requestAnimationFrame);
    }
}"""


class MapPage:
    """A page with a map, and what went over its WebSockets."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.sockets: list[WebSocket] = []
        self.sent: list[int] = []
        self.asked: list[str] = []
        page.on("websocket", self._watch)
        page.on("request", lambda request: self.asked.append(request.url))

    def _watch(self, socket: WebSocket) -> None:
        self.sockets.append(socket)
        socket.on("framesent", lambda frame: self.sent.append(len(frame)))

    def open(self, case: str = "shipped", query: str = "") -> MapPage:
        self.page.goto(f"{self.address}/?case={case}{query}")
        self.wait()
        own = (self.address, self.address.replace("http", "ws"), "data:", "blob:")
        assert any("plotly" in url for url in self.asked)
        assert not [url for url in self.asked if not url.startswith(own)], "something was fetched from another machine"
        return self

    def wait(self) -> None:
        """Wait until the one map on the page is complete."""
        expect(self.root).to_have_attribute("data-ready", re.compile("."), timeout=30_000)
        expect(self.root).to_have_attribute("data-sprites", "ready", timeout=30_000)
        self.settle()

    def settle(self) -> None:
        """Wait until the page is neither running nor waiting to."""
        expect(self.page.locator("[data-test-script-state=notRunning]")).to_be_attached()

    def count_received(self) -> list[int]:
        """The sizes of what arrives from now on. (Megabytes at the start would pass through the test's process too.)"""
        received: list[int] = []
        for socket in self.sockets:
            socket.on("framereceived", lambda frame: received.append(len(frame)))
        return received

    @property
    def root(self) -> Locator:
        return self.page.locator(".latent-map")

    @property
    def plot(self) -> Locator:
        return self.page.get_by_role("application", name=re.compile(r"^Map of [\d,]+ "))

    @property
    def view(self) -> list[float]:
        return [float(part) for part in (self.plot.get_attribute("data-view") or "").split(",")]

    def spot(self, x: float, y: float) -> tuple[float, float]:
        """Where on the screen a place on the map is."""
        left, right, bottom, top = self.view
        box = self.plot.bounding_box()
        assert box
        inner = box["width"] - 2, box["height"] - 2  # within its border
        return box["x"] + 1 + (x - left) / (right - left) * inner[0], box["y"] + 1 + (top - y) / (top - bottom) * inner[1]

    def point(self, row: int) -> tuple[float, float]:
        return self.spot(*coordinates()[row].tolist())

    def says(self, text: str) -> None:
        """The server knows this."""
        expect(self.page.get_by_text(text)).to_be_visible()

    def draw(self, tool: str, corners: list[tuple[float, float]]) -> None:
        self.page.get_by_role("button", name=tool).click()
        self.page.mouse.move(*corners[0])
        self.page.mouse.down()
        for corner in corners:
            self.page.mouse.move(*corner)
        self.page.mouse.up()


@functools.cache
def coordinates() -> np.ndarray:
    return open_run(RUN).load_map(MapConfig()).coordinates


def lonely(count: int) -> list[int]:
    """Rows whose points stand apart from all others, so that a click can't mean another."""
    return _lonely()[:count]


@functools.cache
def _lonely() -> list[int]:
    places = coordinates().astype(np.float64)
    candidates = np.random.default_rng(3).choice(len(places), 1500, replace=False)
    apart = [np.partition(((places - places[row]) ** 2).sum(axis=1), 1)[1] for row in candidates]
    return [int(row) for row in candidates[np.argsort(apart)[::-1]]]


SERVER = {
    "STREAMLIT_SERVER_ENABLE_STATIC_SERVING": "true",
    "STREAMLIT_SERVER_ADDRESS": "127.0.0.1",
    "STREAMLIT_SERVER_FILE_WATCHER_TYPE": "none",
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
}


@pytest.fixture(scope="module")
def address(serve_app: Callable[..., str]) -> str:
    return serve_app(APP, SERVER)


@pytest.fixture(scope="module")
def shared_context(browser: Browser, browser_context_args: dict[str, Any]) -> Iterator[BrowserContext]:
    """One for all tests here, so that each needn't load the scripts of Streamlit and plotly anew; pages are their own."""
    context = browser.new_context(**browser_context_args)
    yield context
    context.close()


@pytest.fixture
def page(shared_context: BrowserContext) -> Iterator[Page]:
    page = shared_context.new_page()
    yield page
    page.close()


@pytest.fixture(scope="module")
def opened(shared_context: BrowserContext, address: str) -> MapPage:
    """A page that stays open: starting over in it is much quicker than loading it again."""
    return MapPage(shared_context.new_page(), address).open()


@pytest.fixture
def latent_map(opened: MapPage) -> MapPage:
    """A map as if just opened."""
    opened.page.keyboard.up("Shift")
    opened.page.mouse.move(2, 2)
    opened.page.emulate_media(color_scheme="light")
    before = opened.page.get_by_text("visit: ").inner_text().split(",")[0]
    opened.page.get_by_role("button", name="Start over").click()
    expect(opened.page.get_by_text(re.compile(rf"(?!{before},)visit: \d+, runs: 1$"))).to_be_visible()
    opened.wait()
    expect(opened.root).not_to_have_attribute("data-current", re.compile("."))
    return opened


DRAFT = """([[x, y], [r, g, b]]) => {
    const canvas = document.querySelector(".latent-map-draft"), box = canvas.getBoundingClientRect();
    const scale = canvas.width / box.width;
    const [red, green, blue, alpha] = canvas.getContext("2d").getImageData((x - box.x) * scale, (y - box.y) * scale, 1, 1).data;
    return alpha > 60 && Math.hypot(red - r, green - g, blue - b) < 40;
}"""


def test_the_points_are_there_and_answer_before_plotly_is(page: Page, address: str) -> None:
    """The drawing library is held back, then let go: the draft of the map shows its points where they will be."""
    held: list[Route] = []
    page.route(re.compile("plotly.*js"), lambda route: held.append(route))
    page.goto(f"{address}/?case=shipped")
    latent_map = MapPage(page, address)
    expect(latent_map.root).to_have_attribute("data-renderer", "canvas", timeout=30_000)
    expect(latent_map.root).to_have_attribute("data-sprites", "ready")
    data, row = load_test_data(open_run(RUN)), lonely(1)[0]
    assert data.labels is not None
    colour = [int(PETROFF[data.labels[row]][i : i + 2], 16) for i in (1, 3, 5)]
    assert page.evaluate(DRAFT, [latent_map.point(row), colour])
    assert not page.evaluate(DRAFT, [latent_map.spot(*latent_map.view[::3]), colour])  # a corner of the view

    page.mouse.move(*latent_map.point(row))
    expect(latent_map.root).to_have_attribute("data-hover", str(row))
    before = latent_map.view
    page.mouse.wheel(0, -240)
    page.wait_for_function(MOVED, arg=",".join(map(str, before)))
    page.mouse.click(*latent_map.point(row))
    expect(latent_map.root).to_have_attribute("data-current", str(row))

    zoomed = latent_map.view
    page.wait_for_timeout(300)  # what came late would come now
    assert len(held) == 1
    held[0].continue_()
    expect(latent_map.root).to_have_attribute("data-renderer", "webgl", timeout=30_000)
    expect(page.locator(".latent-map-draft")).to_have_count(0)
    assert latent_map.view == zoomed
    expect(latent_map.root).to_have_attribute("data-current", str(row))


def test_without_the_drawing_library_the_map_says_so_and_still_answers(page: Page, address: str) -> None:
    page.route(re.compile("plotly.*js"), lambda route: route.fulfill(status=404, body="no"))
    page.goto(f"{address}/?case=shipped")
    latent_map = MapPage(page, address)
    expect(latent_map.root).to_contain_text("The drawing library could not be loaded", timeout=30_000)
    expect(latent_map.root).to_have_attribute("data-renderer", "canvas")
    page.mouse.move(*latent_map.point(lonely(1)[0]))
    expect(latent_map.root).to_have_attribute("data-hover", str(lonely(1)[0]))


def test_hover_shows_the_image_and_asks_the_server_for_nothing(latent_map: MapPage) -> None:
    page, row = latent_map.page, lonely(1)[0]
    data = load_test_data(open_run(RUN))
    page.evaluate(LISTEN)
    before = len(latent_map.sent)
    page.mouse.move(*latent_map.point(row))
    card = page.locator(".latent-map-card")
    expect(card).to_contain_text(f"row {row}")
    expect(card).to_contain_text(data.class_name(row) or "")
    expect(card.locator("canvas[data-state=ready]")).to_be_visible()
    told = page.evaluate("heard.at(-1)")
    assert (told["name"], told["row"], told["label"]) == ("latent:hover", row, data.class_name(row))
    assert told["instance"] == latent_map.root.get_attribute("data-instance")
    assert told["run"] == open_run(RUN).weights_digest()
    assert told["pixels"][::4] == data.images[row, 0].ravel().tolist()
    page.mouse.move(2, 2)
    expect(card).to_be_hidden()
    assert page.evaluate("heard.at(-1).row") is None
    assert page.evaluate("name => window.__latent[name]['latent:hover'].row", told["instance"]) is None
    assert len(latent_map.sent) == before


def test_click_selects_shift_adds_escape_clears_and_nothing_large_is_sent_again(latent_map: MapPage) -> None:
    page, (row, other) = latent_map.page, lonely(2)
    page.evaluate(LISTEN)
    page.mouse.click(*latent_map.point(row))
    assert page.evaluate("heard.filter(({name}) => name == 'latent:select').at(-1).row") == row
    latent_map.says(f"current: {row}")
    latent_map.settle()
    received = latent_map.count_received()
    page.mouse.click(*latent_map.point(other))
    latent_map.says(f"current: {other}")
    latent_map.says(f"selected: 1 ({other},)")
    latent_map.settle()
    assert 0 < sum(received) < ON_A_CLICK
    expect(page.get_by_text(re.compile("visit: .*, runs: 1$"))).to_be_visible()
    page.keyboard.down("Shift")
    page.mouse.click(*latent_map.point(row))
    latent_map.says(f"selected: 2 {tuple(sorted([row, other]))}")
    page.mouse.click(*latent_map.point(row))
    latent_map.says(f"selected: 1 ({other},)")
    page.keyboard.up("Shift")
    page.keyboard.press("Escape")
    latent_map.says("selected: 0 ()")
    expect(latent_map.root).to_have_attribute("data-selected", "0")


def test_lasso_selects_what_the_server_finds_inside_and_a_link_opens_it_again(latent_map: MapPage) -> None:
    page = latent_map.page
    middle = latent_map.spot(*np.median(coordinates(), axis=0).tolist())
    circle = [(middle[0] + 130 * math.cos(i / 5), middle[1] + 110 * math.sin(i / 5)) for i in range(30)]
    latent_map.draw("Lasso select", circle)
    expect(page).to_have_url(re.compile("lasso="))
    polygon = parse_polygon(page.evaluate("new URLSearchParams(location.search).get('lasso')"))
    assert polygon
    rows = rows_inside(coordinates(), polygon)
    assert len(rows) > 100
    expect(latent_map.root).to_have_attribute("data-selected", str(len(rows)))
    latent_map.says(f"selected: {len(rows)} {tuple(rows[:6].tolist())}")
    page.reload()
    expect(latent_map.root).to_have_attribute("data-selected", str(len(rows)), timeout=30_000)


def test_box_selects_and_leaves_hidden_classes_out(latent_map: MapPage) -> None:
    page = latent_map.page
    box = latent_map.plot.bounding_box()
    assert box
    page.get_by_role("button", name=re.compile("^Sneaker")).click()
    corners = [(box["x"] + 3, box["y"] + 3), (box["x"] + box["width"] - 3, box["y"] + box["height"] - 3)]
    latent_map.draw("Box select", corners)
    labels = load_test_data(open_run(RUN)).labels
    assert labels is not None
    seen = int((labels != 7).sum())
    expect(page.get_by_text(f"{seen:,} shown of {len(labels):,} test images · {seen:,} selected")).to_be_visible()
    latent_map.says(f"selected: {seen} ")


def test_zoom_survives_reruns_selections_and_colours_and_is_in_the_link(latent_map: MapPage) -> None:
    page, row = latent_map.page, lonely(1)[0]
    page.mouse.move(*latent_map.point(row))
    whole, before = latent_map.view, latent_map.plot.get_attribute("data-view")
    page.mouse.wheel(0, -400)
    page.wait_for_function(MOVED, arg=before)
    expect(page).to_have_url(re.compile("view="))
    latent_map.says("inspector runs: 1")  # the inspector didn't run for it
    zoomed = latent_map.view
    assert zoomed[1] - zoomed[0] < 0.7 * (whole[1] - whole[0])
    page.mouse.click(*latent_map.point(row))
    latent_map.says(f"current: {row}")
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_text(re.compile("visit: .*, runs: 2$"))).to_be_visible()
    choose_colour(page, "ELBO")
    assert latent_map.view == zoomed
    page.emulate_media(color_scheme="dark")
    expect(page.locator(".stApp")).to_have_css("background-color", re.compile(r"rgb\((\d|[1-3]\d), "))
    assert latent_map.view == zoomed
    expect(latent_map.root).to_have_attribute("data-current", str(row))
    page.reload()
    expect(latent_map.root).to_have_attribute("data-ready", re.compile("."), timeout=30_000)
    opened = "left => Math.abs(parseFloat(document.querySelector('[data-view]').dataset.view) - left) < 0.05"
    page.wait_for_function(opened, arg=zoomed[0])
    assert latent_map.view == pytest.approx(zoomed, abs=0.05)
    page.get_by_role("button", name="Whole map").click()
    expect(page).not_to_have_url(re.compile("view=[^&]"))


def choose_colour(page: Page, name: str) -> None:
    page.get_by_label("Colour by").click()
    page.get_by_role("option", name=name, exact=True).click()
    expect(page.locator(".latent-map")).to_have_attribute("data-colouring", re.compile(name if name != "class" else "^class$"))


def test_colours_come_with_their_scale_and_its_unit(latent_map: MapPage) -> None:
    page = latent_map.page
    scale = page.locator(".latent-map-scale")
    expect(scale).to_be_hidden()
    choose_colour(page, "KL")
    expect(scale).to_contain_text("KL (nats)")
    choose_colour(page, "dimension 0")
    expect(scale).to_contain_text("mean of dimension 0")
    choose_colour(page, "class")
    expect(scale).to_be_hidden()


def test_the_legend_hides_and_isolates(latent_map: MapPage) -> None:
    page, total = latent_map.page, len(coordinates())
    shown = page.get_by_role("status").first
    bags = page.get_by_role("button", name=re.compile("^Bag"))
    expect(shown).to_have_text(f"{total:,} shown of {total:,} test images")
    bags.click()
    expect(bags).to_have_attribute("aria-pressed", "false")
    expect(shown).to_have_text(f"{total - 1000:,} shown of {total:,} test images")
    page.get_by_role("button", name="Show all").click()
    expect(shown).to_have_text(f"{total:,} shown of {total:,} test images")
    bags.dblclick()
    expect(shown).to_have_text(f"1,000 shown of {total:,} test images")
    expect(page.get_by_role("button", name=re.compile("^Coat"))).to_have_attribute("aria-pressed", "false")
    bags.dblclick()
    expect(shown).to_have_text(f"{total:,} shown of {total:,} test images")


def test_click_on_an_empty_place_says_where_and_marks_are_called_approximate(latent_map: MapPage) -> None:
    left, _, bottom, _ = latent_map.view
    place = left + 0.4, bottom + 0.4
    latent_map.page.mouse.click(*latent_map.spot(*place))
    told = latent_map.page.get_by_text("empty: ")
    expect(told).not_to_have_text("empty: none")
    assert [float(part) for part in told.inner_text().removeprefix("empty: ").split(", ")] == pytest.approx(place, abs=0.1)
    latent_map.says("current: None")
    expect(latent_map.page.get_by_text("✛ current latent point: approximate placement")).to_be_visible()
    latent_map.page.get_by_text("Mark from outside").click()  # its name is text, whatever it looks like
    both = "✛ current latent point · ◇ your <i>image</i>: approximate placement"
    expect(latent_map.page.get_by_text(both)).to_be_visible()


def test_the_cursor_follows_previews(latent_map: MapPage) -> None:
    page, run = latent_map.page, open_run(RUN).weights_digest()
    cursor = page.locator(".latent-map-cursor")
    expect(cursor).to_be_hidden()
    before = len(latent_map.sent)
    for place in ((-1.0, 0.0), (-0.5, 0.5)):
        page.evaluate(PREVIEW, [run, [[2, *place]]])
        box, (x, y) = cursor.bounding_box(), latent_map.spot(*place)
        assert box
        assert (box["x"], box["y"]) == pytest.approx((x, y), abs=1)
    page.evaluate(PREVIEW, [run, [[1, 0.0, 0.0]]])  # an older one, come late
    page.evaluate(PREVIEW, ["other weights", [[3, 0.0, 0.0]]])
    expect(latent_map.root).to_have_attribute("data-cursor", "-0.5,0.5")
    expect(page.get_by_text("✛ current latent point: approximate placement")).to_be_visible()
    page.mouse.move(*latent_map.spot(0.5, 1.5))
    before_zoom = latent_map.plot.get_attribute("data-view")
    page.mouse.wheel(0, -200)
    page.wait_for_function(MOVED, arg=before_zoom)
    box, (x, y) = cursor.bounding_box(), latent_map.spot(-0.5, 0.5)
    assert box
    assert (box["x"], box["y"]) == pytest.approx((x, y), abs=1)
    page.evaluate(PREVIEW, [run, [[3, None, None]]])
    expect(cursor).to_be_hidden()
    assert len(latent_map.sent) == before


def test_a_path_is_drawn_over_the_figure_and_dashed_where_it_is_far(latent_map: MapPage) -> None:
    page = latent_map.page
    received = latent_map.count_received()
    figure = page.evaluate(f"{CONTEXTS}.length")
    page.get_by_text("Draw a path").click()
    expect(latent_map.root).to_have_attribute("data-path", "4 places, 1 pieces far")
    caption = "path (dashed: far from all images): approximate placement"
    expect(page.get_by_text(caption)).to_be_visible()
    latent_map.settle()
    assert sum(received) < ON_A_CLICK
    assert page.evaluate(f"{CONTEXTS}.length") == figure

    def along(start: tuple[float, float], end: tuple[float, float]) -> list[str]:
        """The colours of what lies above the points, between two places."""
        box = latent_map.plot.bounding_box()
        assert box
        ends = [(x - box["x"] - 1, y - box["y"] - 1) for x, y in (latent_map.spot(*start), latent_map.spot(*end))]
        found: list[str] = page.evaluate(COLOURS, ends)
        return found

    primary, warning = (page.evaluate(THEME, name) for name in ("--st-primary-color", "--st-orange-color"))
    assert primary != warning
    assert set(along((-2.0, -2.0), (-0.5, -2.0))) == {primary}
    dashed = along((0.5, 1.0), (2.5, 1.0))
    assert 0.3 < np.mean([colour == warning for colour in dashed]) < 0.8, set(dashed)
    assert primary not in dashed
    page.get_by_text("Draw a path").click()
    expect(page.get_by_text(caption)).to_be_hidden()
    assert latent_map.root.get_attribute("data-path") is None


def test_keys_step_through_images_and_leave_text_fields_alone(latent_map: MapPage) -> None:
    page = latent_map.page
    page.evaluate(LISTEN)
    for key, row in (("]", 0), ("]", 1), ("]", 2), ("[", 1)):
        page.keyboard.press(key)
        expect(latent_map.root).to_have_attribute("data-current", str(row))
    assert page.evaluate("heard.map(({name, row}) => name + row)") == [f"latent:select{row}" for row in (0, 1, 2, 1)]
    latent_map.says("current: 1")
    page.get_by_label("Words").press("]")
    page.get_by_label("Words").press("?")
    expect(latent_map.root).to_have_attribute("data-current", "1")
    expect(page.get_by_role("dialog")).to_be_hidden()
    latent_map.plot.focus()
    page.keyboard.press("?")
    card = page.get_by_role("dialog", name="Keys")
    for words in ("previous, next image", "reset to the encoded mean", "sample the posterior", "clear the selection"):
        expect(card).to_contain_text(words)
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()
    expect(latent_map.root).to_have_attribute("data-selected", "1")  # that Escape was the card's
    latent_map.plot.focus()
    left, right, _, _ = latent_map.view
    for key in ("+", "ArrowRight"):
        before = latent_map.plot.get_attribute("data-view")
        page.keyboard.press(key)
        expect(latent_map.plot).not_to_have_attribute("data-view", before or "")
    moved = latent_map.view
    assert moved[1] - moved[0] < right - left
    assert moved[0] + moved[1] > left + right
    page.keyboard.press("0")
    expect(latent_map.plot).to_have_attribute("data-view", re.compile(rf"^{re.escape(str(left)[:8])}"))


def test_another_map_of_the_same_images_keeps_what_is_chosen(latent_map: MapPage) -> None:
    page, row = latent_map.page, lonely(1)[0]
    page.mouse.click(*latent_map.point(row))
    latent_map.says(f"current: {row}")
    page.get_by_role("button", name="Zoom in").click()
    before = latent_map.root.get_attribute("data-ready") or ""
    expect(page).to_have_url(re.compile("view="))
    received = latent_map.count_received()
    page.get_by_text("Other map").click()
    expect(latent_map.root).not_to_have_attribute("data-ready", before)
    expect(latent_map.root).to_have_attribute("data-ready", re.compile("."))
    left, right, bottom, top = latent_map.view
    places = coordinates()[:, ::-1] * 2
    assert left < places[:, 0].min() < places[:, 0].max() < right
    assert bottom < places[:, 1].min() < places[:, 1].max() < top
    page.mouse.move(*latent_map.spot(*places[row].tolist()))
    expect(page.locator(".latent-map-card")).to_contain_text(f"row {row}")
    expect(latent_map.root).to_have_attribute("data-current", str(row))
    assert sum(received) < 300_000  # places, not pictures


def test_a_lost_webgl_context_is_replaced(latent_map: MapPage) -> None:
    page = latent_map.page
    page.evaluate(f"({CONTEXTS}).forEach((context) => context.getExtension('WEBGL_lose_context').loseContext())")
    page.wait_for_function(f"(({CONTEXTS}).length > 0) && !({CONTEXTS}).some((context) => context.isContextLost())")
    expect(latent_map.root).to_have_attribute("data-renderer", "webgl")
    row = lonely(1)[0]
    page.mouse.move(*latent_map.point(row))
    expect(page.locator(".latent-map-card")).to_contain_text(f"row {row}")


def test_a_click_left_unanswered_is_said(page: Page, address: str) -> None:
    gone = False

    def pass_on(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        socket.on_message(lambda message: None if gone else server.send(message))
        server.on_message(lambda message: socket.send(message))

    page.route_web_socket(re.compile("_stcore/stream"), pass_on)
    latent_map = MapPage(page, address).open()
    gone = True
    row = lonely(1)[0]
    page.mouse.click(*latent_map.point(row))
    expect(latent_map.root).to_have_attribute("data-current", str(row))
    expect(page.get_by_text("the server is slow or gone: looking around still works")).to_be_visible(timeout=15_000)
    page.mouse.move(*latent_map.point(lonely(2)[1]))
    expect(page.locator(".latent-map-card")).to_be_visible()


def test_touch_chooses_and_zooms(browser: Browser, address: str, browser_context_args: dict[str, Any]) -> None:
    context = browser.new_context(**browser_context_args, has_touch=True)
    page = context.new_page()
    latent_map, row = MapPage(page, address).open(), lonely(1)[0]
    page.touchscreen.tap(*latent_map.point(row))
    latent_map.says(f"current: {row}")
    before, fingers = latent_map.view, context.new_cdp_session(page)
    x, y = latent_map.spot((before[0] + before[1]) / 2, (before[2] + before[3]) / 2)
    for kind, apart in (("touchStart", 40), ("touchMove", 60), ("touchMove", 80), ("touchEnd", None)):
        points = [] if apart is None else [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.wait_for_function(ZOOMED, arg=0.55 * (before[1] - before[0]))
    after = latent_map.view
    assert (after[0] + after[1]) / 2 == pytest.approx((before[0] + before[1]) / 2, abs=0.1)
    context.close()


def test_without_webgl_it_says_so_and_draws_another_way(page: Page, address: str) -> None:
    page.add_init_script(NO_WEBGL)
    latent_map = MapPage(page, address).open()
    expect(page.get_by_text("This browser offers no WebGL")).to_be_visible()
    expect(latent_map.root).to_have_attribute("data-shown", "5000")
    expect(page.get_by_text("5,000 shown of 10,000 test images")).to_be_visible()
    row = next(row for row in lonely(40) if row % 2 == 0)
    page.mouse.move(*latent_map.point(row))
    expect(page.locator(".latent-map-card")).to_contain_text(f"row {row}")
    assert page.locator(".latent-map-plot .scatterlayer path.point").count() == 5000


def test_colour_images_without_labels(page: Page, address: str) -> None:
    page.emulate_media(color_scheme="dark")
    latent_map = MapPage(page, address).open("rgb")
    expect(page.get_by_text("600 shown of 600 images")).to_be_visible()
    expect(page.locator(".latent-map-scale")).to_contain_text("ELBO (nats)")
    expect(page.get_by_role("group", name="Classes")).to_be_hidden()
    page.evaluate(LISTEN)
    page.keyboard.press("]")
    latent_map.says("current: 0")
    told = page.evaluate("heard.at(-1)")
    assert told["label"] is None
    red, green = told["pixels"][0::4], told["pixels"][1::4]
    assert len(red) == 32 * 32
    assert red != green


def test_more_classes_than_colours_and_shapes(page: Page, address: str) -> None:
    latent_map = MapPage(page, address).open("many")
    chips = page.get_by_role("group", name="Classes").get_by_role("button")
    expect(chips.last).to_contain_text("16 other classes")
    expect(chips.first).to_contain_text("kind <b>")
    chips.last.click()
    expect(latent_map.root).not_to_have_attribute("data-shown", "3000")
