"""The map of more images than it draws one by one, in a real browser: how densely they lie, and they themselves zoomed in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from apps.crowd import ALONE, COUNT, FEW, MIDDLES, crowd
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect
from test_latent_map import APP, MOVED, SERVER, MapPage, choose_colour

from vae.palette import PETROFF

pytestmark = pytest.mark.browser
PIXEL = """([selector, [x, y]]) => {
    const canvas = document.querySelector(selector), box = canvas.getBoundingClientRect();
    const at = [(x - box.x) * canvas.width / box.width, (y - box.y) * canvas.height / box.height];
    return [...canvas.getContext("2d").getImageData(...at, 1, 1).data];
}"""
PICTURE = """() => {
    const canvas = document.querySelector(".latent-map-card canvas");
    return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 === 0);
}"""
DENSITY, CHOSEN = ".latent-map-density", ".latent-map-stage > canvas"
OF_MANY, OF_FEW = "in view: their density (log scale)", "in view, each drawn"


@pytest.fixture(scope="module")
def context(browser: Browser, browser_context_args: dict[str, Any]) -> Iterator[BrowserContext]:
    context = browser.new_context(**browser_context_args)
    yield context
    context.close()


@pytest.fixture(scope="module")
def address(serve_app: Callable[..., str]) -> str:
    return serve_app(APP, SERVER)


def opened(context: BrowserContext, address: str, case: str = "crowd") -> tuple[MapPage, Page]:
    page = context.new_page()
    latent_map = MapPage(page, address)
    page.goto(f"{address}/?case={case}")
    expect(latent_map.root).to_have_attribute("data-ready", re.compile("."), timeout=90_000)
    latent_map.wait()
    return latent_map, page


@pytest.fixture
def crowded(context: BrowserContext, address: str) -> Iterator[MapPage]:
    latent_map, page = opened(context, address)
    yield latent_map
    page.close()


def kind(page: Page) -> Locator:
    """What the map says of the way it is drawn."""
    return page.locator(".latent-map-kind")


def colour(label: int) -> list[int]:
    return [int(PETROFF[label][i : i + 2], 16) for i in (1, 3, 5)]


def zoom_to(latent_map: MapPage, place: tuple[float, float], width: float) -> None:
    """Zoom with the wheel until the view is that many map units wide; what lies under the pointer stays there."""
    page = latent_map.page
    page.mouse.move(*latent_map.spot(*place))
    while (view := latent_map.view)[1] - view[0] > width:
        page.mouse.wheel(0, -200)
        page.wait_for_function(MOVED, arg=",".join(map(str, view)))


def test_density_is_shown_by_colour_and_strength_without_the_drawing_library(crowded: MapPage) -> None:
    page = crowded.page
    expect(crowded.root).to_have_attribute("data-renderer", "density")
    expect(kind(page)).to_have_text(
        f"{COUNT:,} images in view: their density (log scale). Zoom in: {FEW:,} or fewer are drawn."
    )
    expect(page.get_by_text(f"{COUNT:,} shown of {COUNT:,} images")).to_be_visible()
    assert not [url for url in crowded.asked if "plotly" in url]
    for label, place in enumerate(MIDDLES[:2]):
        assert page.evaluate(PIXEL, [DENSITY, crowded.spot(*place)])[:3] == pytest.approx(colour(label), abs=2)
    strengths = [page.evaluate(PIXEL, [DENSITY, crowded.spot(x, 0)])[3] for x in (0.0, 2.0)]
    assert strengths[0] > strengths[1] + 30
    assert page.evaluate(PIXEL, [DENSITY, crowded.spot(4.0, -3.0)])[3] == 0


def test_zoomed_in_the_images_themselves_are_drawn_and_hover_and_click_mean_the_one_under_the_pointer(
    crowded: MapPage,
) -> None:
    page, (places, images, labels) = crowded.page, crowd()
    near = np.flatnonzero((labels == 0) & (np.abs(places - [0.8, 0.3]).max(axis=1) < 0.3))
    apart = [np.partition(np.square(places - places[row]).sum(axis=1), 1)[1] for row in near[:300]]
    row = int(near[np.argmax(apart)])
    zoom_to(crowded, tuple(places[row].tolist()), 1.0)
    left, right, bottom, top = crowded.view
    inside = int(((places >= [left, bottom]) & (places <= [right, top])).all(axis=1).sum())
    assert 0 < inside <= FEW
    expect(kind(page)).to_have_text(f"{inside:,} images {OF_FEW}. Zoom out: of more than {FEW:,} the density.")
    seen = page.evaluate(PIXEL, [DENSITY, crowded.spot(*places[row].tolist())])
    assert seen[:3] == pytest.approx(colour(0), abs=4)
    assert seen[3] > 100

    page.mouse.move(*crowded.spot(*places[row].tolist()))
    expect(crowded.root).to_have_attribute("data-hover", str(row))
    expect(page.locator(".latent-map-card")).to_contain_text(f"row {row}")
    assert page.evaluate(PICTURE) == images[row].ravel().tolist()
    page.mouse.click(*crowded.spot(*places[row].tolist()))
    crowded.says(f"current: {row}")
    page.get_by_role("button", name="Whole map").click()
    expect(kind(page)).to_contain_text(f"{COUNT:,} images {OF_MANY}")
    expect(crowded.root).to_have_attribute("data-current", str(row))


def test_in_the_picture_of_density_hover_click_and_empty_places_mean_what_they_always_do(crowded: MapPage) -> None:
    page = crowded.page
    page.mouse.move(*crowded.spot(*MIDDLES[2]))
    expect(crowded.root).to_have_attribute("data-hover", str(ALONE))
    assert page.evaluate(PICTURE)[:3] == [ALONE >> 16, ALONE >> 8 & 255, ALONE & 255]
    page.mouse.click(*crowded.spot(*MIDDLES[2]))
    crowded.says(f"current: {ALONE}")
    page.mouse.click(*crowded.spot(4.0, -3.0))
    told = page.get_by_text("empty: ")
    expect(told).not_to_have_text("empty: none")
    assert [float(part) for part in told.inner_text().removeprefix("empty: ").split(", ")] == pytest.approx([4, -3], abs=0.1)


def test_hidden_classes_leave_the_picture(crowded: MapPage) -> None:
    page = crowded.page
    page.get_by_role("button", name=re.compile("^many")).click()
    page.get_by_role("button", name=re.compile("^one")).click()
    expect(kind(page)).to_contain_text(f"{FEW:,} images {OF_FEW}")
    assert page.evaluate(PIXEL, [DENSITY, crowded.spot(*MIDDLES[0])])[3] == 0
    page.get_by_role("button", name="Show all").click()
    expect(kind(page)).to_contain_text(f"{COUNT:,} images {OF_MANY}")
    assert page.evaluate(PIXEL, [DENSITY, crowded.spot(*MIDDLES[0])])[3] > 200


def test_a_colouring_colours_the_density(crowded: MapPage) -> None:
    page = crowded.page
    choose_colour(page, "KL")
    expect(page.locator(".latent-map-scale")).to_contain_text("KL, across")
    low, high = (page.evaluate(PIXEL, [DENSITY, crowded.spot(x, 0)])[:3] for x in (0.0, 8.0))
    assert sum(high) > sum(low) + 150
    choose_colour(page, "class")
    assert page.evaluate(PIXEL, [DENSITY, crowded.spot(*MIDDLES[1])])[:3] == pytest.approx(colour(1), abs=2)


def test_a_selection_of_many_is_seen_above_the_faded_rest(crowded: MapPage) -> None:
    page, (places, _, _) = crowded.page, crowd()
    crowded.draw("Box select", [crowded.spot(-3.0, 3.0), crowded.spot(2.0, -3.0)])
    chosen = int(((np.abs(places - [-0.5, 0]) < [2.5, 3]).all(axis=1)).sum())
    expect(crowded.root).to_have_attribute("data-selected", re.compile(r"\d{5}"))
    selected = int(crowded.root.get_attribute("data-selected") or 0)
    assert selected == pytest.approx(chosen, rel=0.01)
    crowded.says(f"selected: {selected} ")
    expect(page.locator(".latent-map-plot")).to_have_attribute("data-faded", "")
    crowded.settle()
    assert page.evaluate(PIXEL, [CHOSEN, crowded.spot(0.0, 0.0)])[:3] == pytest.approx(colour(0), abs=20)
    assert page.evaluate(PIXEL, [CHOSEN, crowded.spot(8.0, 0.0)])[3] == 0


def test_without_thumbnails_the_card_says_so_and_a_click_still_chooses(context: BrowserContext, address: str) -> None:
    latent_map, page = opened(context, address, "crowd-without-thumbnails")
    page.mouse.move(*latent_map.spot(*MIDDLES[2]))
    card = page.locator(".latent-map-card")
    expect(card).to_contain_text("too many for thumbnails: click to see it")
    expect(card.locator("canvas")).to_be_hidden()
    page.mouse.click(*latent_map.spot(*MIDDLES[2]))
    latent_map.says(f"current: {ALONE}")
    page.close()
