"""The 3-D view in a real browser, on a page of its own: turn, hover, click, hide; and without WebGL."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.browser
APP = Path(__file__).with_name("apps") / "map_3d_app.py"
NO_WEBGL = """
const original = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
    return String(kind).includes("webgl") ? null : original.call(this, kind, ...rest);
};
"""
SELECTED = "document.addEventListener('latent:select', ({detail}) => (window.told = detail.row))"


SERVER = {
    "STREAMLIT_SERVER_ENABLE_STATIC_SERVING": "true",
    "STREAMLIT_SERVER_ADDRESS": "127.0.0.1",
    "STREAMLIT_SERVER_FILE_WATCHER_TYPE": "none",
    "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
}


@pytest.fixture(scope="module")
def address(serve_app: Callable[..., str]) -> str:
    return serve_app(APP, SERVER)


def root(page: Page) -> Locator:
    return page.locator(".latent-map-3d")


def stage(page: Page) -> Locator:
    return page.get_by_role("application", name=re.compile(r"^3-D view of [\d,]+ test images$"))


def open_view(page: Page, address: str, case: str = "ten") -> None:
    page.goto(f"{address}/?case={case}")
    expect(root(page)).to_have_attribute("data-ready", re.compile("."), timeout=30_000)
    expect(root(page)).to_have_attribute("data-sprites", "ready")
    expect(page.locator("[data-test-script-state=notRunning]")).to_be_attached()


def middle(page: Page) -> tuple[float, float]:
    """Where the first image is on the screen: it lies in the middle of all, which the camera looks at."""
    box = stage(page).bounding_box()
    assert box
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def hover_first(page: Page) -> None:
    x, y = middle(page)
    page.mouse.move(x - 30, y - 30)
    page.mouse.move(x, y, steps=4)
    expect(root(page)).to_have_attribute("data-hover", "0")


def camera(page: Page) -> list[float]:
    return [float(part) for part in (root(page).get_attribute("data-camera") or "").split(",")]


def turn(page: Page, dx: float, dy: float) -> None:
    before, (x, y) = root(page).get_attribute("data-camera"), middle(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy, steps=6)
    page.mouse.up()
    expect(root(page)).not_to_have_attribute("data-camera", str(before))
    rest(page)


# Resolves when the view has been the same for so many frames: frames, not seconds, for plotly.js follows a pointer by frames.
REST = """(root) => new Promise((resolve) => {
    let [last, same] = [null, 0];
    const look = () => {
        same = root.dataset.camera === last ? same + 1 : 0;
        last = root.dataset.camera;
        same < 30 ? requestAnimationFrame(look) : resolve();
    };
    look();
})"""


def rest(page: Page) -> None:
    """Wait until the view has come to rest: plotly.js follows a pointer some frames after it."""
    root(page).evaluate(REST)


def test_it_is_turned_hovered_and_clicked(page: Page, address: str) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    open_view(page, address)
    expect(root(page)).to_contain_text("600 shown of 600 test images")
    expect(root(page)).to_contain_text("Lasso, clicks on empty places and the cursor exist on the flat (2-D) map only.")
    page.evaluate(SELECTED)
    start = camera(page)
    turn(page, 160, 40)
    turned = camera(page)
    assert sum(value**2 for value in turned) == pytest.approx(sum(value**2 for value in start), rel=0.02)  # as far away
    expect(page.get_by_text("current: None, selections: 0, runs: 1")).to_be_visible()  # a turn is no click, and told to nobody

    hover_first(page)
    card = root(page).locator(".latent-map-card")
    expect(card).to_be_visible()
    expect(card).to_contain_text("row 0")
    expect(card.locator("b")).to_have_text(re.compile(r"^kind <b>\d</b>$"))  # a name is text, whatever is in it
    expect(card.locator("canvas")).to_have_attribute("data-state", "ready")
    expect(page.get_by_text("runs: 1")).to_be_visible()

    rest(page)  # a press that comes before the moves are followed would turn by them
    page.mouse.down()
    page.mouse.up()
    expect(page.get_by_text("current: 0, selections: 1, runs: 2")).to_be_visible()
    expect(root(page)).to_have_attribute("data-current", "0")
    assert page.evaluate("window.told") == 0
    assert camera(page) == turned  # the page's run leaves the view as it is
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_text("current: 0, selections: 1, runs: 3")).to_be_visible()
    page.get_by_role("button", name="Look at 7").click()
    expect(root(page)).to_have_attribute("data-current", "7")
    assert camera(page) == turned
    assert errors == []


@pytest.mark.long
def test_keys_turn_zoom_and_reset_it(page: Page, address: str) -> None:
    open_view(page, address, "plain")
    expect(root(page).get_by_role("group", name="Classes")).to_be_hidden()
    start = camera(page)
    stage(page).focus()
    for key in ("ArrowLeft", "ArrowUp", "+"):
        before = camera(page)
        page.keyboard.press(key)
        expect(root(page)).not_to_have_attribute("data-camera", ",".join(f"{value:.4f}" for value in before))
    rest(page)
    assert sum(value**2 for value in camera(page)) < 0.7 * sum(value**2 for value in start)
    page.keyboard.press("0")
    expect(root(page)).to_have_attribute("data-camera", ",".join(f"{value:.4f}" for value in start))
    page.keyboard.press("ArrowRight")
    expect(root(page)).not_to_have_attribute("data-camera", ",".join(f"{value:.4f}" for value in start))
    page.get_by_role("button", name="Reset view").click()
    expect(root(page)).to_have_attribute("data-camera", ",".join(f"{value:.4f}" for value in start))


@pytest.mark.long
def test_a_class_is_hidden_and_its_images_are_not_hovered(page: Page, address: str) -> None:
    open_view(page, address)
    hover_first(page)
    name = root(page).locator(".latent-map-card b").inner_text()
    chip = root(page).get_by_role("button", name=name)
    count = int(chip.locator(".latent-map-count").inner_text())
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "false")
    expect(root(page)).to_contain_text(f"{600 - count} shown of 600 test images")
    x, y = middle(page)
    page.mouse.move(x - 30, y - 30)
    page.mouse.move(x, y, steps=4)
    expect(root(page)).not_to_have_attribute("data-hover", "0")
    root(page).get_by_role("button", name="Show all").click()
    expect(root(page)).to_contain_text("600 shown of 600 test images")


def test_without_webgl_it_says_so(page: Page, address: str) -> None:
    page.add_init_script(NO_WEBGL)
    page.goto(f"{address}/?case=ten")
    expect(root(page).get_by_text("This browser offers no WebGL, so the 3-D view can't be drawn.")).to_be_visible()
    expect(page.locator(".latent-map-3d .latent-map-stage")).to_be_hidden()
