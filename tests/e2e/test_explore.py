"""What Explore promises a person, on the shipped run, with map and sliders on one page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from explore_page import Explore
from playwright.sync_api import BrowserContext, Page, expect

from dashboard.components.latent_map import parse_polygon, rows_inside
from vae import MapConfig, load_dataset, open_run

pytestmark = pytest.mark.browser
APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
RUN = "fashion-mnist"
COORDINATES = open_run(RUN).load_map(MapConfig()).coordinates
PREVIEWS = """() => {
    window.previews = [];
    document.addEventListener("latent:preview", ({detail}) => previews.push([detail.x, detail.y]));
}"""


@pytest.fixture(scope="module")
def address(serve_app: Callable[..., str]) -> str:
    return serve_app(APP)


@pytest.fixture
def explore(page: Page, address: str) -> Iterator[Explore]:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield Explore(page, address)
    assert not errors


def a_clear_row() -> int:
    """An image that no other lies near on the map, so that a click means it."""
    rows = np.random.default_rng(0).choice(len(COORDINATES), 400, replace=False)
    apart = np.sort(np.linalg.norm(COORDINATES[rows, None] - COORDINATES[None], axis=2), axis=1)[:, 1]
    return int(rows[apart.argmax()])


def choose(explore: Explore, row: int) -> None:
    explore.page.mouse.click(*explore.at(*COORDINATES[row]))
    expect(explore.page.locator(".latent-map")).to_have_attribute("data-current", str(row))
    explore.settle()


def lasso(explore: Explore, rows: list[int], margin: float = 0.5) -> None:
    explore.page.get_by_role("button", name="Lasso select").click()
    (left, bottom), (right, top) = COORDINATES[rows].min(axis=0) - margin, COORDINATES[rows].max(axis=0) + margin
    corners = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom + 0.01)]
    explore.page.mouse.move(*explore.at(*corners[0]))
    explore.page.mouse.down()
    for corner in corners[1:]:
        explore.page.mouse.move(*explore.at(*corner), steps=4)
    explore.page.mouse.up()
    expect(explore.page.get_by_text(re.compile(r"images selected of 10,000"))).to_be_visible(timeout=15_000)
    explore.settle()


def test_click_a_point_and_see_its_reconstruction(explore: Explore) -> None:
    row = a_clear_row()
    before = explore.picture("Original image"), explore.picture("Decoded image")
    choose(explore, row)
    name = load_dataset(RUN, "test").class_name(row)
    expect(explore.page.get_by_text(f"the posterior mean of test image {row}, {name}")).to_be_visible()
    assert explore.picture("Original image") != before[0]
    assert explore.picture("Decoded image") != before[1]
    expect(explore.page).to_have_url(re.compile(f"row={row}"))


def test_the_picture_and_the_cursor_move_with_the_pointer_and_nothing_is_sent(explore: Explore) -> None:
    page, thumb = explore.page, explore.page.get_by_role("slider").first
    box = thumb.bounding_box()
    assert box is not None
    seen, cursors = {explore.picture("Decoded image")}, {explore.map("cursor")}
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    page.mouse.down()
    page.evaluate(PREVIEWS)
    before = len(explore.sent)
    for part in range(1, 9):
        page.mouse.move(box["x"] + box["width"] * (0.5 + part / 20), box["y"] + 10)
        seen.add(explore.picture("Decoded image"))
        cursors.add(explore.map("cursor"))
    assert len(explore.sent) == before
    page.mouse.up()
    assert len(seen) >= 7
    assert len(cursors) >= 7
    assert page.evaluate("previews.length") >= 7
    explore.settle()
    last = explore.picture("Decoded image")
    expect(page.get_by_text("a point you moved to")).to_be_visible()
    expect(page).to_have_url(re.compile(r"z=\d+%3A"))
    value = float(thumb.input_value())
    page.reload()
    explore.wait()
    expect(page.get_by_text("the point of the link")).to_be_visible(timeout=30_000)
    assert float(page.get_by_role("slider").first.input_value()) == pytest.approx(value, abs=0.006)
    assert explore.picture("Decoded image") != ""
    assert last != ""


def test_click_an_empty_place_and_see_what_may_lie_there(explore: Explore) -> None:
    left, right, bottom, top = map(float, str(explore.view()).split(","))
    places = np.random.default_rng(1).uniform([left, bottom], [right, top], (300, 2))
    inside = places[(np.abs(places - [(left + right) / 2, (bottom + top) / 2]) < 0.3 * (right - left)).all(axis=1)]
    apart = np.linalg.norm(inside[:, None] - COORDINATES[None], axis=2).min(axis=1)
    spot = inside[apart.argmax()]
    before = explore.picture("Decoded image"), explore.picture("Original image")
    explore.page.mouse.click(*explore.at(*spot))
    expect(explore.page.get_by_text("a place on the map, estimated from the 8 images nearest to it")).to_be_visible()
    explore.settle()
    assert explore.picture("Decoded image") != before[0]
    assert explore.picture("Original image") == before[1]
    expect(explore.page.get_by_text("✛ current latent point: approximate placement")).to_be_visible()


def test_zoom_and_selection_survive_all_else(explore: Explore, page: Page) -> None:
    whole = explore.view()
    lasso(explore, [5, 11, 20])
    chosen = explore.map("selected")
    page.get_by_role("button", name="Zoom in").click()
    page.wait_for_function("(whole) => document.querySelector('[data-view]').dataset.view != whole", arg=whole)
    expect(page).to_have_url(re.compile("view="))
    explore.settle()
    zoomed = explore.view()
    page.get_by_role("combobox", name="Colour by").click()
    page.get_by_role("option", name="−ELBO").click()
    expect(page.locator(".latent-map")).to_have_attribute("data-colouring", "−ELBO")
    page.get_by_role("slider").nth(2).press("End")
    expect(page.get_by_text("a point you moved to")).to_be_visible()
    explore.settle()
    page.get_by_role("button", name="Sample prior").click()
    expect(page.get_by_text("a sample of the prior")).to_be_visible()
    explore.settle()
    assert (explore.view(), explore.map("selected")) == (zoomed, chosen)
    page.reload()
    explore.wait()
    assert explore.map("selected") == chosen
    assert explore.map("colouring") == "−ELBO"
    assert np.allclose(*([float(part) for part in str(view).split(",")] for view in (explore.view(), zoomed)), atol=0.05)


def test_a_lasso_is_summed_up_and_taken_away(explore: Explore, page: Page) -> None:
    lasso(explore, [3, 5, 11])
    expect(page).to_have_url(re.compile("lasso="))
    text = page.evaluate("new URL(location).searchParams.get('lasso')")
    polygon = parse_polygon(text)
    assert polygon is not None
    rows = rows_inside(COORDINATES, polygon).tolist()
    expect(page.get_by_text(f"{len(rows):,} images selected of 10,000")).to_be_visible()
    for picture in ("Mean of the selected images", "Mean encoding, decoded"):
        expect(page.get_by_role("img", name=picture)).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV", exact=True).click()
    assert pd.read_csv(download.value.path())["row"].tolist() == rows
    page.keyboard.press("Escape")
    expect(page.get_by_text(re.compile("images selected of"))).to_have_count(0)
    expect(page).not_to_have_url(re.compile("lasso="))


def test_search_and_neighbours(explore: Explore, page: Page) -> None:
    encodings, labels = open_run(RUN).load_encodings(), load_dataset(RUN, "test").labels
    shirts = np.flatnonzero(labels == 6)
    hardest = int(shirts[encodings.elbo[shirts].argmin()])
    page.get_by_role("textbox", name="Find test images").fill("hardest shirt")
    page.keyboard.press("Enter")
    page.get_by_role("button", name=f"Test image {hardest}, Shirt").click()
    expect(page.get_by_text(f"the posterior mean of test image {hardest}, Shirt")).to_be_visible()
    used = encodings.map_dimensions
    apart = np.square(encodings.mean[:, used] - encodings.mean[hardest, used]).sum(axis=1)
    nearest = int(np.argsort(apart)[1])
    page.get_by_role("button", name=re.compile(f"^Test image {nearest}(,|$)")).last.click()
    expect(page.get_by_text(re.compile(f"the posterior mean of test image {nearest}, "))).to_be_visible()
    expect(page.locator(".latent-map")).to_have_attribute("data-current", str(nearest))


def test_hover_previews_and_leaving_restores(explore: Explore, page: Page) -> None:
    row, before = a_clear_row(), explore.picture("Original image")
    sent = len(explore.sent)
    page.mouse.move(*explore.at(*COORDINATES[row]))
    expect(page.get_by_text(re.compile(f"Preview: image {row}, "))).to_be_visible()
    assert explore.picture("Original image") != before
    page.mouse.move(5, 5)
    expect(page.get_by_text("Original: test image 0, Ankle boot")).to_be_visible()
    assert explore.picture("Original image") == before
    assert len(explore.sent) == sent


def test_the_keys(explore: Explore, page: Page) -> None:
    page.keyboard.press("]")
    expect(page.get_by_text("the posterior mean of test image 1, ")).to_be_visible()
    page.keyboard.press("]")
    expect(page.get_by_text("the posterior mean of test image 2, ")).to_be_visible()
    page.keyboard.press("[")
    expect(page.get_by_text("the posterior mean of test image 1, ")).to_be_visible()
    explore.settle()
    page.keyboard.press("s")
    expect(page.get_by_text("a sample of the posterior of test image 1, ")).to_be_visible()
    explore.settle()
    page.keyboard.press("r")
    expect(page.get_by_text("the posterior mean of test image 1, ")).to_be_visible()
    page.keyboard.press("?")
    for key in ("previous, next image", "reset to the encoded mean", "sample the posterior", "clear the selection"):
        expect(page.get_by_role("dialog", name="Keys").get_by_text(key)).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_have_count(0)
    page.get_by_role("textbox", name="Find test images").press("]")
    expect(page.get_by_text("the posterior mean of test image 1, ")).to_be_visible()


def test_a_copied_link_opens_the_same_view_elsewhere(explore: Explore, context: BrowserContext, address: str) -> None:
    choose(explore, a_clear_row())
    explore.page.get_by_role("slider").first.press("PageUp")
    expect(explore.page.get_by_text("a point you moved to")).to_be_visible()
    explore.settle()
    expect(explore.page).to_have_url(re.compile("z="))
    url = explore.page.url
    other = Explore(context.new_page(), address, url.removeprefix(address))
    assert other.picture("Original image") == explore.picture("Original image")
    assert other.map("current") == explore.map("current")
    first, second = (one.page.get_by_role("slider").first.input_value() for one in (explore, other))
    assert float(first) == pytest.approx(float(second), abs=0.006)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_mend(page: Page, address: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    Explore(page, address)
    results = Axe().run(page, options={"resultTypes": ["violations"]})
    found = [(one["id"], node["html"][:200]) for one in results.response["violations"] for node in one["nodes"]]
    assert found == []


def test_map_and_sliders_are_in_view_together(explore: Explore, page: Page) -> None:
    assert page.viewport_size == {"width": 1280, "height": 800}
    for element in (
        page.locator(".latent-map-stage"),
        page.get_by_role("slider").nth(7),
        page.get_by_role("img", name="Decoded image"),
    ):
        box = element.bounding_box()
        assert box is not None
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 800


def test_a_run_is_taken_away_as_table_and_as_a_page(explore: Explore, page: Page) -> None:
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Table of all test images (Parquet)").click()
    table = pd.read_parquet(download.value.path())
    encodings = open_run(RUN).load_encodings()
    np.testing.assert_array_equal(table["elbo_nats"], encodings.elbo)
    np.testing.assert_array_equal(table[["umap_x", "umap_y"]].to_numpy(), COORDINATES)
    with page.expect_download() as download:
        page.get_by_role("button", name="Map that opens by itself (HTML)").click()
    assert Path(download.value.path()).read_text("utf-8").lstrip().lower().startswith("<!doctype html>")
