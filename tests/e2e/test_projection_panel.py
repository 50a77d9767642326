"""The projection panel in a real browser: what its timer brings without a click."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from vae import MapConfig, Run

pytestmark = pytest.mark.browser
APP = Path(__file__).with_name("apps") / "panel_app.py"


@pytest.mark.long
def test_a_map_opens_by_itself_when_it_is_made_and_outlives_a_reload(
    page: Page, serve_app: Callable[..., str], tiny_run: Run
) -> None:
    folders = {"LATENT_EXPLORER_CHECKPOINTS": str(tiny_run.path.parent), "STREAMLIT_SERVER_ADDRESS": "127.0.0.1"}
    page.goto(serve_app(APP, folders | {"STREAMLIT_SERVER_FILE_WATCHER_TYPE": "none"}))
    expect(page.get_by_role("button", name="Open, it is kept already")).to_be_visible(timeout=30_000)
    page.get_by_text("PCA", exact=True).click()
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("button", name="PCA 2-D (shown)")).to_be_visible(timeout=60_000)

    page.get_by_text("3-D", exact=True).click()
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name=re.compile(r"^PCA 3-D"))).to_be_visible(timeout=60_000)
    assert MapConfig(method="pca", components=3) in tiny_run.list_maps()
