"""Verdicts in a browser: of an upload, of a drawing at a stroke's end, of what is pasted, of several files."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page, expect

from vae import load_dataset

pytestmark = pytest.mark.browser
APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"


@pytest.fixture(scope="module")
def address(serve_app: Callable[..., str]) -> str:
    return serve_app(APP)


def garment(row: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(load_dataset("fashion-mnist", "test").images[row, 0]).save(buffer, "PNG")
    return buffer.getvalue()


def noise() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28)).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def opened(page: Page, address: str) -> None:
    page.goto(f"{address}/reconstruct")
    expect(page.get_by_text("No picture yet.")).to_be_visible(timeout=60_000)


def upload(page: Page, **files: bytes) -> None:
    given = [{"name": f"{name}.png", "mimeType": "image/png", "buffer": data} for name, data in files.items()]
    page.locator("input[type=file]").set_input_files(given)  # type: ignore[arg-type]


def test_an_upload_is_judged_and_matched(page: Page, address: str) -> None:
    opened(page, address)
    upload(page, noise=noise())
    expect(page.get_by_text("Unlike anything it was trained on: its")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("img", name="Variance image")).to_be_visible()
    expect(page.get_by_text("The 8 nearest training images", exact=True)).to_be_visible()
    expect(page.locator("[data-testid=stPlotlyChart]").get_by_text("100 samples of q(z|x)")).to_be_visible()
    page.get_by_role("button", name="Match", exact=True).click()
    expect(page.get_by_text("The decoder fails:")).to_be_visible(timeout=60_000)


def test_several_files_make_a_table_to_take_away(page: Page, address: str) -> None:
    opened(page, address)
    upload(page, shirt=garment(3), noise=noise(), text=b"none")
    expect(page.get_by_text("1 like the training data, 0 unusual, 1 unlike anything, 1 can't be read.")).to_be_visible()
    expect(page.get_by_text("text.png: Expected a PNG")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Table (CSV)").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("file,verdict,p,sentence,negative_elbo,")
    with page.expect_download() as download:
        page.get_by_role("button", name="Sheet (PNG)").click()
    assert download.value.path().read_bytes().startswith(b"\x89PNG")


def stroke(page: Page, *points: tuple[float, float]) -> None:
    """Draw a line through places given as shares of the canvas."""
    canvas = page.get_by_role("application", name="Drawing")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for place in at[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def test_a_drawing_answers_at_every_strokes_end(page: Page, address: str) -> None:
    opened(page, address)
    page.get_by_text("Draw", exact=True).click()
    stroke(page, (0.3, 0.2), (0.3, 0.8))
    value = page.locator("[data-testid=stMetricValue]").first
    expect(value).to_be_visible()
    first = value.inner_text()
    stroke(page, (0.7, 0.2), (0.7, 0.8))
    expect(value).not_to_have_text(first)
    second = value.inner_text()
    page.get_by_role("button", name="Undo").click()
    expect(value).to_have_text(first)
    canvas = page.get_by_role("application", name="Drawing")
    canvas.focus()
    page.keyboard.press("Space")  # the keyboard paints where the last stroke ended
    expect(value).not_to_have_text(first)
    page.get_by_role("button", name="All black").click()
    expect(page.get_by_text("No picture yet.")).to_be_visible()
    assert first != second


def test_an_upload_is_edited_with_a_brush(page: Page, address: str) -> None:
    opened(page, address)
    upload(page, shirt=garment(3))
    expect(page.get_by_text("Like the training data:")).to_be_visible(timeout=60_000)
    page.get_by_text("Edit with a brush").click()
    page.get_by_label("Brush size").fill("8")
    stroke(page, (0.05, 0.05), (0.95, 0.95), (0.05, 0.95), (0.95, 0.05))
    expect(page.get_by_text("Like the training data:")).to_have_count(0)
    page.get_by_role("button", name="Start over").click()
    expect(page.get_by_text("Like the training data:")).to_be_visible()


PASTE = """async text => {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([bytes], "image.png", {type: "image/png"}));
  document.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true}));
}"""


def test_a_picture_is_pasted_by_the_keys(page: Page, address: str) -> None:
    opened(page, address)
    expect(page.get_by_role("button", name="Paste a picture")).to_be_visible()
    page.evaluate(PASTE, base64.b64encode(garment(3)).decode())
    expect(page.get_by_text("Like the training data:")).to_be_visible(timeout=60_000)


def test_a_picture_is_pasted_by_the_button(page: Page, address: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    opened(page, address)
    write = """async text => {
      const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
      await navigator.clipboard.write([new ClipboardItem({"image/png": new Blob([bytes], {type: "image/png"})})]);
    }"""
    page.bring_to_front()
    page.evaluate(write, base64.b64encode(noise()).decode())
    page.get_by_role("button", name="Paste a picture").click()
    expect(page.get_by_text("Unlike anything it was trained on: its")).to_be_visible(timeout=60_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_of_ours_to_mend(page: Page, address: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    opened(page, address)
    upload(page, shirt=garment(3))
    page.get_by_text("Edit with a brush").click()
    expect(page.get_by_role("application", name="Drawing")).to_be_visible()
    expect(page.get_by_text("The 8 nearest training images", exact=True)).to_be_visible(timeout=60_000)
    expect(page.locator("[data-testid=stStatusWidget]")).to_have_count(0)
    found = Axe().run(page).response["violations"]
    # NOTE: Streamlit's own drop zone has the role presentation and a tabindex.
    assert not [violation["id"] for violation in found if violation["id"] != "presentation-role-conflict"], found
