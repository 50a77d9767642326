"""Images of one's own, in a real browser: a zip file becomes a data set that can be looked at."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from vae import Run, load_dataset

pytestmark = pytest.mark.browser
APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"


def archive(evil: bool = False) -> bytes:
    """Twenty-four pictures in two folders, and a text among them; or a file that leads out of the archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for number in range(24):
            picture = io.BytesIO()
            colour = (240, 10 * number, 40) if number % 2 else (20, 60, 10 * number)
            Image.new("RGB", (40, 30), colour).save(picture, "PNG")
            made.writestr(f"fruit/{('plum', 'pear')[number % 2]}/{number}.png", picture.getvalue())
        made.writestr("fruit/pear/note.png", b"not a picture")
        if evil:
            made.writestr("../evil.png", b"x")
    return buffer.getvalue()


def upload(page: Page, content: bytes) -> None:
    file = {"name": "Fruit.zip", "mimeType": "application/zip", "buffer": content}
    page.locator("input[type=file]").set_input_files(file)  # type: ignore[arg-type]


@pytest.mark.long
def test_a_zip_file_becomes_a_data_set(page: Page, serve_app: Callable[..., str], tiny_run: Run) -> None:
    root = tiny_run.path.parents[1] / "data"
    page.goto(f"{serve_app(APP)}/dataset")  # the server reads this test's own folders: it inherits the environment
    page.get_by_role("tab", name="Add your own").click(timeout=30_000)
    upload(page, archive(evil=True))
    expect(page.get_by_text("which leads out of it: refused")).to_be_visible(timeout=30_000)
    assert [path.name for path in root.iterdir()] == ["tiny"]

    page.get_by_role("button", name=re.compile("Remove|Delete")).click()
    upload(page, archive())
    expect(page.get_by_text("25 images, 2 classes, colour, 40 × 30 pixels")).to_be_visible(timeout=30_000)
    page.get_by_text("1 can't be used: which, and why").click()
    expect(page.get_by_text("fruit/pear/note.png: Expected a PNG")).to_be_visible()
    page.get_by_role("combobox", name="Size in pixels").click()
    page.get_by_role("option", name="32 × 32").click()
    expect(page.get_by_role("img", name="Uploaded image, pear").first).to_be_visible()
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_text("python -m vae train --dataset fruit --run fruit")).to_be_visible(timeout=30_000)

    data = load_dataset("fruit", "train")
    assert data.image_shape == (3, 32, 32)
    assert data.class_names == ("pear", "plum")
    assert len(np.unique(data.labels)) == 2
    page.get_by_role("combobox", name="Data set", exact=True).click()
    page.get_by_role("option", name="fruit").click()
    page.get_by_role("tab", name="Images").click()
    expect(page.get_by_role("img", name=re.compile(r"fruit image \d, (pear|plum)")).first).to_be_visible()
    expect(page.get_by_text("Traceback")).to_have_count(0)
