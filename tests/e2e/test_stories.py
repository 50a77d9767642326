"""The promises to a person, in a real browser, on the shipped run."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from vae import load_dataset

pytestmark = pytest.mark.browser
APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"


@pytest.fixture(scope="module")
def address(serve_app: Callable[..., str]) -> str:
    return serve_app(APP)


def source_of(page: Page, name: str) -> str:
    """The address of a picture's content: another content, another address."""
    return page.get_by_role("img", name=re.compile(f"^{re.escape(name)}")).first.get_attribute("src") or ""


def wait_for_change(page: Page, name: str, before: str) -> None:
    locator = page.get_by_role("img", name=re.compile(f"^{re.escape(name)}")).first
    expect(locator).not_to_have_attribute("src", before)


def open_explore(page: Page, address: str, query: str = "") -> None:
    page.goto(address + query)
    expect(page.get_by_role("slider").first).to_be_visible(timeout=30_000)
    expect(page.locator(".js-plotly-plot .plot-container canvas").first).to_be_visible()


def test_click_a_point_and_see_its_reconstruction(page: Page, address: str) -> None:
    open_explore(page, address)
    before = source_of(page, "Original:"), source_of(page, "Decoded:")
    spot = page.evaluate(
        """() => {
            const plot = document.querySelector('.js-plotly-plot');
            const {xaxis, yaxis} = plot._fullLayout;
            const box = plot.getBoundingClientRect();
            const trace = plot.data.find((one) => one.name.startsWith('Trouser'));
            const values = (v) => Array.from(v._inputArray ?? v);
            const x = values(trace.x), y = values(trace.y);
            return {x: box.left + xaxis._offset + xaxis.l2p(x[7]), y: box.top + yaxis._offset + yaxis.l2p(y[7])};
        }"""
    )
    page.mouse.click(spot["x"], spot["y"])
    wait_for_change(page, "Original:", before[0])
    wait_for_change(page, "Decoded:", before[1])
    expect(page.get_by_text(re.compile(r"the posterior mean of test image \d+, "))).to_be_visible()
    expect(page).to_have_url(re.compile(r"row=[1-9]"))


def test_move_a_slider_and_see_the_decoded_image_change(page: Page, address: str) -> None:
    open_explore(page, address)
    before = source_of(page, "Original:"), source_of(page, "Decoded:")
    slider = page.get_by_role("slider").first
    slider.focus()
    slider.press("End")
    wait_for_change(page, "Decoded:", before[1])
    assert source_of(page, "Original:") == before[0]
    expect(page.get_by_text("a point you moved to")).to_be_visible()
    expect(page).to_have_url(re.compile(r"z=\d+%3A"))
    page.reload()
    expect(page.get_by_text("the point of the link")).to_be_visible(timeout=30_000)
    expect(page.get_by_role("slider").first).to_have_value("5")


def photo_of(row: int) -> bytes:
    """A test garment as somebody might photograph it: dark on a bright ground, ten times as large, off centre."""
    image = load_dataset("fashion-mnist", "test").images[row, 0]
    large = Image.fromarray(255 - image).resize((280, 280), Image.Resampling.BICUBIC)
    sheet = Image.new("L", (420, 360), 235)
    sheet.paste(Image.fromarray(np.minimum(np.asarray(large), 235)), (90, 30))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def test_upload_a_photo_and_see_its_reconstruction_then_open_it_in_explore(page: Page, address: str) -> None:
    page.goto(f"{address}/reconstruct")
    expect(page.get_by_text("No picture yet.")).to_be_visible(timeout=30_000)
    upload = {"name": "boot.jpg", "mimeType": "image/jpeg", "buffer": photo_of(0)}
    page.locator("input[type=file]").set_input_files(upload)  # type: ignore[arg-type]
    expect(page.get_by_text("What the model makes of it")).to_be_visible(timeout=30_000)
    for name in ("Step 1: Picture", "Input", "Reconstruction", "|Difference|"):
        expect(page.get_by_role("img", name=name, exact=True)).to_be_visible()
    page.get_by_role("button", name="Open in Explore").click()
    expect(page.get_by_text("the posterior mean of your image")).to_be_visible(timeout=30_000)
    expect(page).to_have_url(re.compile(r"/\?run=|/explore"))


def test_a_file_that_is_no_picture_gets_a_sentence(page: Page, address: str) -> None:
    page.goto(f"{address}/reconstruct")
    expect(page.get_by_text("No picture yet.")).to_be_visible(timeout=30_000)
    upload = {"name": "a.png", "mimeType": "image/png", "buffer": b"not a png"}
    page.locator("input[type=file]").set_input_files(upload)  # type: ignore[arg-type]
    expect(page.get_by_text("found text: save the picture as PNG or JPEG")).to_be_visible()
    expect(page.get_by_text("Traceback")).to_have_count(0)


def test_nothing_is_fetched_from_another_machine(page: Page, address: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_explore(page, address)
    page.goto(f"{address}/reconstruct")
    expect(page.get_by_text("No picture yet.")).to_be_visible(timeout=30_000)
    foreign = [url for url in asked if not url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))]
    assert asked
    assert not foreign
