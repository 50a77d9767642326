"""The exported map in a real browser: a file, opened alone, without a network."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from vae import MapConfig, Run, load_test_data, make_dataset, map_html

pytestmark = pytest.mark.browser
NAMES = ("<b>left</b><img src=x onerror='window.hit = 1'>", "</script><script>window.hit = 1</script>", "whole")
SPOT = """row => {
    const trace = plot.data.find((trace) => trace.customdata.includes(row));
    const at = trace.customdata.indexOf(row), {xaxis, yaxis, _size} = plot._fullLayout, box = plot.getBoundingClientRect();
    return [box.left + _size.l + xaxis.l2p(trace.x[at]), box.top + _size.t + yaxis.l2p(trace.y[at])];
}"""
PIXELS = """() => {
    const {data, width, height} = thumbnail.getContext("2d").getImageData(0, 0, thumbnail.width, thumbnail.height);
    return {width, height, red: Array.from(data).filter((_, index) => index % 4 == 0)};
}"""
SEND = """async (address) => {
    const image = new Image();
    const drawn = new Promise((done) => { image.onload = image.onerror = done; });
    image.src = address + "/picture.png";
    await drawn;
    return fetch(address).then(() => "sent", () => "refused");
}"""


class Alone:
    """A page opened from a file by a browser that is offline, and whatever it asked for or complained of."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page, self.file = page, file
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        page.context.set_offline(True)
        page.goto(file.as_uri())
        expect(page.locator("body[data-ready]")).to_be_attached(timeout=30_000)

    def hover(self, row: int) -> None:
        self.page.mouse.move(*self.page.evaluate(SPOT, row))
        expect(self.page.get_by_role("status")).to_contain_text(f"test image {row}:")

    def thumbnail(self) -> np.ndarray:
        pixels = self.page.evaluate(PIXELS)
        return np.array(pixels["red"], np.uint8).reshape(pixels["height"], pixels["width"])


@pytest.fixture
def spread(tiny_run: Run) -> Run:
    """The tiny run with a map on which no image hides another."""
    places = np.stack(np.divmod(np.arange(24), 6), axis=1).astype(np.float32)
    tiny_run.save_map(places, MapConfig(method="pca"))
    return tiny_run


@pytest.fixture
def alone(spread: Run, page: Page, tmp_path: Path) -> Iterator[Alone]:
    data = load_test_data(spread)
    named = make_dataset(data.images, data.labels, NAMES, data.name)
    file = tmp_path / "map.html"
    file.write_bytes(map_html("<i>run</i>", spread.load_encodings(), named, spread.load_map(MapConfig(method="pca"))))
    opened = Alone(page, file)
    yield opened
    requested = [url for url in opened.asked if not url.startswith(("data:", "blob:"))]
    assert requested == [file.as_uri()], "the page asked for more than itself"


def test_under_the_pointer_is_the_thumbnail_of_that_very_image(alone: Alone, spread: Run) -> None:
    data, encodings = load_test_data(spread), spread.load_encodings()
    card = alone.page.get_by_role("status")
    expect(card).to_be_hidden()
    for row in (0, 13, 23):
        alone.hover(row)
        expect(card).to_be_visible()
        assert data.labels is not None
        said = f"test image {row}: {NAMES[data.labels[row]]}, ELBO {encodings.elbo[row]:.2f} nats"
        expect(card).to_have_text(said)
        shown = alone.thumbnail()
        scale = 112 // 8
        assert np.array_equal(shown, data.images[row, 0].repeat(scale, axis=0).repeat(scale, axis=1))
    box = card.bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 1280
    assert box["y"] + box["height"] <= 800
    alone.page.mouse.move(5, 5)
    expect(card).to_be_hidden()
    assert alone.complaints == []


def test_names_from_files_are_shown_and_not_run(alone: Alone) -> None:
    page = alone.page
    expect(page.get_by_role("heading")).to_have_text("<i>run</i>: map of latent space")
    for name in NAMES:
        expect(page.locator(".legendtext").filter(has_text=name)).to_have_count(1)
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 1
    expect(page.get_by_text("24 of 24 test images of tiny shown; PCA")).to_be_visible()
    assert alone.complaints == []


def test_the_page_cannot_send_anything(alone: Alone) -> None:
    alone.page.context.set_offline(False)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert alone.page.evaluate(SEND, address) == "refused"
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    for directive in ("img-src data:", "default-src 'none'"):
        assert any(address in text and directive in text for text in alone.complaints), alone.complaints
    alone.asked[:] = [url for url in alone.asked if not url.startswith(address)]  # what the test itself tried


@pytest.mark.parametrize(("scheme", "paper", "ink"), [("light", (255, 255, 255), 60), ("dark", (18, 21, 29), 200)])
@pytest.mark.long
def test_light_and_dark_follow_the_system(
    spread: Run, browser: Browser, tmp_path: Path, scheme: str, paper: tuple[int, int, int], ink: int
) -> None:
    file = tmp_path / "map.html"
    found = spread.load_map(MapConfig(method="pca"))
    file.write_bytes(map_html("tiny-run", spread.load_encodings(), load_test_data(spread), found))
    other = {"light": "dark", "dark": "light"}[scheme]
    with browser.new_context(color_scheme=other) as context:  # type: ignore[arg-type]
        page = Alone(context.new_page(), file).page
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        expect(page.locator("body")).to_have_css("background-color", f"rgb{paper}".replace("'", ""))
        expect(page.locator("#plot .main-svg").first).to_have_css("background-color", f"rgb{paper}")
        fill = page.locator(".legendtext").first.evaluate("(text) => getComputedStyle(text).fill")
        levels = [int(part) for part in re.findall(r"\d+", fill)[:3]]
        assert max(levels) <= ink if scheme == "light" else min(levels) >= ink


def test_without_webgl_the_points_are_still_there(spread: Run, page: Page, tmp_path: Path) -> None:
    page.add_init_script(
        "const context = HTMLCanvasElement.prototype.getContext;"
        "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
        "return String(kind).includes('webgl') ? null : context.call(this, kind, ...rest); };"
    )
    file = tmp_path / "map.html"
    bare = make_dataset(load_test_data(spread).images, name="bare")
    file.write_bytes(map_html("tiny-run", spread.load_encodings(), bare, spread.load_map(MapConfig(method="pca"))))
    alone = Alone(page, file)
    expect(page.locator(".scatterlayer .point")).to_have_count(24)
    expect(page.get_by_text("ELBO (nats)")).to_be_visible()
    alone.hover(7)
    expect(page.get_by_role("status")).to_contain_text("test image 7: ELBO")
