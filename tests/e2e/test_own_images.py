"""Images of one's own, in a real browser: from files to a data set, a run, its map, its sliders, a picture, an export."""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from explore_page import Explore
from own_images import TREES, digits, trees, zipped
from PIL import Image
from playwright.sync_api import Page, expect

from vae import Run, load_dataset, open_run
from vae.data import DATA_VARIABLE
from vae.runs import CHECKPOINTS_VARIABLE

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


def upload(page: Page, content: bytes, name: str = "Fruit.zip") -> None:
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": content}
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


# --- from files to everything, starting with neither data nor runs ---------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """Somebody's images, and what is to come of them."""

    file: str
    content: bytes
    recognised: str
    kept: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    widths: str
    epochs: int


def kind_of(name: str, folder: Path) -> Kind:
    if name == "digits":
        content = digits(folder).read_bytes()
        recognised, kept = (
            "1,797 images, 10 classes, grey, 8 × 8 pixels",
            "1,412 train, 128 validation, 257 test images of 16 × 16",
        )
        return Kind("Digits.npz", content, recognised, kept, tuple("0123456789"), (1, 16, 16), "4, 8", 4)
    content, classes = zipped(trees(folder, name == "labelled")), TREES if name == "labelled" else ()
    recognised = f"500 images, {'5 classes' if classes else 'no labels'}, colour, 64 × 64 pixels"
    kept = "393 train, 36 validation, 71 test images of 64 × 64"
    return Kind("Discs.zip", content, recognised, kept, classes, (3, 64, 64), "4, 8, 16", 12)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Folders for data and runs with nothing in them."""
    found = {DATA_VARIABLE: str(tmp_path / "data"), CHECKPOINTS_VARIABLE: str(tmp_path / "checkpoints")}
    for name, value in found.items():
        Path(value).mkdir()
        monkeypatch.setenv(name, value)
    yield found
    for path in (tmp_path / "checkpoints").glob("*/config.json"):  # nothing is left running if the test fails midway
        status = open_run(path.parent.name).status()
        if status is not None and status.state == "running":
            os.kill(status.pid, 9)


def keep(page: Page, address: str, kind: Kind) -> None:
    """Upload the file, look at what was recognised, keep it, and go on to the form of a training."""
    page.goto(f"{address}/dataset")
    expect(page.get_by_role("tab", name="Add your own")).to_have_attribute("aria-selected", "true", timeout=30_000)
    upload(page, kind.content, kind.file)
    expect(page.get_by_text(kind.recognised)).to_be_visible(timeout=60_000)
    label = kind.classes[0] if kind.classes else ""
    expect(page.get_by_role("img", name=f"Uploaded image, {label}").first).to_be_visible()
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_text(f"Kept as {kind.file[:-4].lower()}: {kind.kept}")).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Train on it").click()
    expect(page.get_by_role("combobox", name="Data set", exact=True)).to_have_value(kind.file[:-4].lower(), timeout=60_000)


def fill(page: Page, label: str, value: str) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Tab")


def train(page: Page, kind: Kind) -> None:
    """Start a small training, wait for its end and open it in Explore."""
    page.get_by_text("Advanced: every setting").click()
    for label, value in {"Widths (channels)": kind.widths, "Latent (dimensions)": "4", "Hidden (units)": "32"}.items():
        fill(page, label, value)
    for label, value in {"Batch size (images)": "32", "Epochs": str(kind.epochs)}.items():
        fill(page, label, value)
    expect(page.get_by_text(f"{kind.epochs} epochs of")).to_be_visible()
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("button", name="Open in Explore").click(timeout=300_000)


def colours(pixels: np.ndarray) -> int:
    """How far apart the channels of a picture, ``(..., 3)``, are at most: 0 where all is grey."""
    return int(np.ptp(pixels[..., :3].astype(int), axis=-1).max())


def canvas_pixels(picture: str) -> np.ndarray:
    """What `Explore.picture` gives, as ``(pixels, 4)``."""
    return np.array(picture.split(","), dtype=np.uint8).reshape(-1, 4)


def explore(page: Page, kind: Kind) -> None:
    """The map with its colours, and a slider that moves the decoded image."""
    shown = Explore(page, None)
    colouring = "Class" if kind.classes else "−ELBO"
    expect(page.get_by_role("combobox", name="Colour by")).to_have_value(colouring)
    assert shown.map("colouring") == ("class" if kind.classes else "−ELBO")
    for name in kind.classes:
        expect(page.get_by_role("button", name=re.compile(f"{name}\\b.*")).first).to_be_visible()
    box = page.get_by_role("slider").first.bounding_box()
    assert box is not None
    seen, cursors = {shown.picture("Decoded image")}, {shown.map("cursor")}
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    page.mouse.down()
    for part in range(1, 7):
        page.mouse.move(box["x"] + box["width"] * (0.5 + part / 13), box["y"] + 10)
        seen.add(shown.picture("Decoded image"))
        cursors.add(shown.map("cursor"))
    page.mouse.up()
    assert len(seen) >= 5
    assert len(cursors) >= 4
    in_colour = [colours(canvas_pixels(picture)) for picture in (shown.picture("Original image"), *seen)]
    assert min(in_colour) > 30 if kind.image_shape[0] == 3 else max(in_colour) == 0
    shown.settle()
    expect(page.get_by_text("a point you moved to")).to_be_visible()


def take_away(page: Page, kind: Kind) -> None:
    """The table of the run, and a sheet of samples."""
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Table of all test images (CSV)").click()
    table = pd.read_csv(download.value.path(), dtype={"class": str})
    data = load_dataset(kind.file[:-4].lower(), "test")
    assert len(table) == len(data)
    if kind.classes:
        assert table["class"].tolist() == [data.class_name(row) for row in range(len(data))]
    else:
        assert "class" not in table
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Generate").click()
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Sheet (PNG)").click()
    with Image.open(download.value.path()) as sheet:
        assert (colours(np.asarray(sheet.convert("RGB"))) > 30) == (kind.image_shape[0] == 3)
    page.keyboard.press("Escape")


def reconstruct(page: Page, kind: Kind) -> None:
    """A picture of the same kind: what the model makes of it, and where it lies on the map."""
    pixels = load_dataset(kind.file[:-4].lower(), "test").images[3]
    buffer = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(buffer, "PNG")
    page.get_by_role("link", name="Reconstruct").click()
    expect(page.get_by_text("No picture yet.")).to_be_visible()
    upload(page, buffer.getvalue(), "mine.png")
    # The first verdict of a run takes up to a minute: its validation images are measured.
    expect(page.get_by_role("img", name="Reconstruction", exact=True)).to_be_visible(timeout=120_000)
    page.get_by_role("button", name="Open in Explore").click()
    expect(page.get_by_text("the posterior mean of your image")).to_be_visible(timeout=30_000)
    expect(page.get_by_text("◇ your image: approximate placement")).to_be_visible()


def test_a_file_is_kept_and_ready_to_train_on_before_there_is_any_run(
    page: Page, serve_app: Callable[..., str], bare: dict[str, str], tmp_path: Path
) -> None:
    kind = kind_of("digits", tmp_path)
    keep(page, serve_app(APP, bare), kind)
    expect(page.get_by_text("for images of 16 × 16 × 1; 10 epochs of 6 steps on 1,412 training images")).to_be_visible(
        timeout=60_000
    )
    page.get_by_role("link", name="Dataset").click()
    page.get_by_role("tab", name="Almost the same").click()
    expect(page.get_by_role("tabpanel").get_by_text("This needs a run of digits").last).to_be_visible()


LONG = pytest.mark.long


@pytest.mark.parametrize("name", ["digits", pytest.param("labelled", marks=LONG), pytest.param("unlabelled", marks=LONG)])
def test_from_files_to_a_run_its_map_its_sliders_and_a_picture(
    page: Page, serve_app: Callable[..., str], bare: dict[str, str], tmp_path: Path, name: str
) -> None:
    kind = kind_of(name, tmp_path)
    keep(page, serve_app(APP, bare), kind)
    train(page, kind)
    explore(page, kind)
    take_away(page, kind)
    reconstruct(page, kind)
    expect(page.get_by_text("Traceback")).to_have_count(0)
