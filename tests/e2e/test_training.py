"""A training in a real browser: started, followed, reloaded, stopped in another tab, resumed, finished, explored."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from vae import list_runs, load_dataset, open_run
from vae.data import DATA_VARIABLE, Split
from vae.runs import CHECKPOINTS_VARIABLE

pytestmark = pytest.mark.browser
REPOSITORY = Path(__file__).resolve().parents[2]
APP = REPOSITORY / "dashboard" / "app.py"
LONG = 600_000
"""Milliseconds: a training goes as fast as the machine lets it."""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """No run yet, and a data set of the first images of Fashion-MNIST."""
    data = tmp_path / "data" / "garments"
    data.mkdir(parents=True)
    counts: dict[Split, int] = {"train": 6000, "test": 600}
    for split, count in counts.items():
        whole = load_dataset("fashion-mnist", split)
        assert whole.labels is not None
        labels = whole.labels[:count].astype(np.uint8)
        for kind, array in (("images-idx3", whole.images[:count, 0]), ("labels-idx1", labels)):
            head = b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (data / f"{split}-{kind}-ubyte").write_bytes(head + array.tobytes())
    found = {CHECKPOINTS_VARIABLE: str(tmp_path / "checkpoints"), DATA_VARIABLE: str(data.parent)}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    yield found
    for name in list_runs():  # nothing is left running if the test fails midway
        status = open_run(name).status()
        if status is not None and status.state == "running":
            os.kill(status.pid, 9)


def fill(page: Page, label: str, value: str) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Tab")


@pytest.mark.long
def test_a_short_training_of_real_data(page: Page, serve_app: Callable[..., str], folders: dict[str, str]) -> None:
    address = serve_app(APP, folders)
    page.goto(f"{address}/train")
    expect(page.get_by_role("button", name="Start training")).to_be_visible(timeout=LONG)
    page.get_by_text("Advanced: every setting").click()
    fill(page, "Latent (dimensions)", "8")
    fill(page, "Epochs", "16")
    fill(page, "Batch size (images)", "256")
    expect(page.get_by_text("16 epochs of 22 steps on 5,500 training images")).to_be_visible()
    fill(page, "Name of the run", "small")
    page.get_by_role("button", name="Start training").click()

    pictures = page.locator(".epoch-pictures")
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=LONG)
    seen = int(pictures.get_attribute("data-epoch", timeout=LONG) or 0)
    expect(pictures).not_to_have_attribute("data-epoch", str(seen), timeout=LONG)  # it grows without a click

    page.reload()
    expect(page.get_by_text("Run small is being trained")).to_be_visible(timeout=LONG)
    second = page.context.new_page()
    second.goto(f"{address}/train")  # finds the one that runs
    second.get_by_role("button", name="Stop and save").click(timeout=LONG)
    stopped = "Run small was stopped; its last step is saved"
    expect(second.get_by_text(stopped)).to_be_visible(timeout=LONG)
    expect(page.get_by_text(stopped)).to_be_visible(timeout=LONG)  # the first tab sees it too
    status = open_run("small").status()
    assert status is not None
    assert 0 < status.step < 16 * 22

    slider = page.get_by_label("Epoch", exact=True)
    slider.press("Home")
    expect(page.locator(".epoch-pictures")).to_have_attribute("data-epoch", "1")
    slider.press("End")

    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Run small is finished")).to_be_visible(timeout=LONG)
    expect(page.locator(".epoch-pictures")).to_have_attribute("data-epoch", "16")
    assert len(open_run("small").metrics()) == 16

    page.get_by_role("link", name="Explore").click()
    page.get_by_role("combobox", name="Run").click()
    page.get_by_role("option", name="small").click()
    expect(page.get_by_text("8 latent dimensions").first).to_be_visible(timeout=LONG)
