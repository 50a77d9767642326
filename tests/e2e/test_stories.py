"""The promises to a person, in a real browser, on the shipped run."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from explore_page import Explore
from PIL import Image
from playwright.sync_api import Page, expect

from vae import load_dataset

pytestmark = pytest.mark.browser
APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"


@pytest.fixture(scope="module")
def address(serve_app: Callable[..., str]) -> str:
    return serve_app(APP)


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
    expect(page.get_by_text("◇ your image: approximate placement")).to_be_visible()
    expect(page).to_have_url(re.compile(r"/\?run=|/explore"), timeout=30_000)


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
    Explore(page, address)
    page.goto(f"{address}/reconstruct")
    expect(page.get_by_text("No picture yet.")).to_be_visible(timeout=30_000)
    foreign = [url for url in asked if not url.startswith((address, address.replace("http", "ws"), "data:", "blob:"))]
    assert asked
    assert not foreign
