"""The page of plain widgets that Explore is measured beside does what Explore does, so that there is something to compare."""

from __future__ import annotations

from collections.abc import Callable

import plain
import pytest
from playwright.sync_api import Page

pytestmark = pytest.mark.browser


def test_a_slider_and_a_click_each_change_the_pictures(page: Page, serve_app: Callable[..., str]) -> None:
    plain.open_plain(page, serve_app(plain.APP))
    original, decoded = plain.measure_clicks(page, 2)
    assert len(original) == len(decoded) == 2
    assert len(plain.measure_changes(page, 3)) == 3
    assert page.locator("[data-testid=stException]").count() == 0
