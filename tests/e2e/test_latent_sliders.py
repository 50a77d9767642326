"""The sliders in a real browser: what a drag shows, what it sends, and the bad days."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from dashboard.resources import SERVING_PRECISION
from vae import VAE, Encodings, ModelConfig, build_model, decode_images, open_run

pytestmark = pytest.mark.browser
APP = Path(__file__).resolve().parent / "apps" / "sliders_app.py"
RUN = os.environ.get("LATENT_TEST_RUN", "fashion-mnist")
PRIVATE = {"STREAMLIT_SERVER_ADDRESS": "127.0.0.1", "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false"}


@pytest.fixture(scope="module")
def address(serve_app: Callable[..., str]) -> str:
    return serve_app(APP, PRIVATE | {"LATENT_TEST_RUN": RUN})


@functools.cache
def model_and_encodings() -> tuple[VAE, Encodings]:
    run = open_run(RUN)
    return run.load_model(), run.load_encodings()


def visit(page: Page, address: str, delay: str = "0") -> None:
    page.goto(f"{address}/?delay={delay}")
    expect(decoded(page)).to_have_attribute("aria-busy", "false")
    expect(page.get_by_test_id("stCode")).to_contain_text('"generation": 1')


def decoded(page: Page) -> Locator:
    return page.get_by_role("img", name="Decoded image")


def slider(page: Page, rank: int) -> tuple[Locator, int]:
    """The slider of that rank and its dimension."""
    found = page.get_by_role("slider").nth(rank)
    name = found.get_attribute("aria-label") or ""
    assert re.fullmatch(r"Dimension \d+", name)
    return found, int(name.split()[1])


def state(page: Page) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(page.get_by_test_id("stCode").inner_text())
    return values


def expect_generation(page: Page, generation: int) -> dict[str, Any]:
    """The server has made these strips and the browser has them: nothing is pending."""
    expect(page.get_by_test_id("stCode")).to_contain_text(f'"generation": {generation},')
    page.wait_for_function(
        "(g) => window.__latent && Object.values(window.__latent)[0]['latent:preview'].generation === g", arg=generation
    )
    return state(page)


def pixels(canvas: Locator) -> np.ndarray:
    """A canvas' colours, ``(height, width, 3)``."""
    width, height, values = canvas.evaluate(
        "(c) => [c.width, c.height, Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)]"
    )
    image = np.array(values, dtype=np.int16).reshape(height, width, 4)
    assert (image[..., 3] == 255).all()
    return image[..., :3]


def picture_of(z: np.ndarray, model: VAE | None = None) -> np.ndarray:
    """What the server decodes for a point, ``(height, width, 3)`` from 0 to 255."""
    image = decode_images(model or model_and_encodings()[0], z[None].astype(np.float32), SERVING_PRECISION)[0] * 255
    return np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)


def assert_shows(page: Page, z: np.ndarray, model: VAE | None = None) -> None:
    assert np.abs(pixels(decoded(page)) - picture_of(z, model)).max() <= 1


def value_of(thumb: Locator) -> float:
    """The slider's value; the browser writes it with fewer digits than it has, but enough for 32 bits."""
    return float(np.float32(thumb.input_value()))


def thumb_at(thumb: Locator) -> tuple[float, float]:
    """Where the middle of the thumb is on the screen."""
    box = thumb.bounding_box()
    assert box is not None
    low, high = float(thumb.get_attribute("min") or 0), float(thumb.get_attribute("max") or 0)
    share = (value_of(thumb) - low) / (high - low)
    return box["x"] + 5 + share * (box["width"] - 10), box["y"] + box["height"] / 2


def press(page: Page, thumb: Locator) -> tuple[float, float]:
    x, y = thumb_at(thumb)
    page.mouse.move(x, y)
    page.mouse.down()
    return x, y


def listen_to_previews(page: Page) -> None:
    page.evaluate("() => { window.seen = []; document.addEventListener('latent:preview', (e) => window.seen.push(e.detail)); }")


# --- dragging ------------------------------------------------------------------------------------------------------


def test_a_drag_shows_what_the_server_would_decode_and_sends_nothing(page: Page, address: str) -> None:
    sent: list[object] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    visit(page, address)
    listen_to_previews(page)
    difference, meter = page.get_by_role("img", name="Difference"), page.get_by_role("meter", name="Off-manifold")
    apart, far = pixels(difference), int(meter.get_attribute("aria-valuenow") or -1)
    thumb, dimension = slider(page, 0)
    z = np.array(state(page)["z"], dtype=np.float32)
    assert_shows(page, z)
    x, y = press(page, thumb)
    assert value_of(thumb) == z[dimension]  # nothing jumps when the thumb is touched
    before, shown = len(sent), set()
    for offset in range(4, 84, 8):
        page.mouse.move(x + offset, y)
        z[dimension] = value_of(thumb)
        assert_shows(page, z)
        shown.add(pixels(decoded(page)).tobytes())
    assert len(shown) >= 5
    assert len(sent) == before  # not one message between press and release
    seen = page.evaluate("window.seen")
    assert len(seen) >= len(shown)
    assert {detail["generation"] for detail in seen} == {1}
    assert len({(detail["x"], detail["y"]) for detail in seen}) >= 5
    assert not np.array_equal(pixels(difference), apart)
    assert int(meter.get_attribute("aria-valuenow") or -1) > far
    expect(page.get_by_text("of the model's own samples")).to_be_visible()
    last = pixels(decoded(page))
    page.mouse.up()
    after = expect_generation(page, 2)
    assert len(sent) == before + 1
    assert after["commits"] == 1
    np.testing.assert_array_equal(np.float32(after["z"]), z)
    assert value_of(thumb) == z[dimension]
    np.testing.assert_array_equal(pixels(decoded(page)), last)
    assert page.evaluate("window.seen.at(-1).generation") == 2


def test_keys_move_a_slider_and_double_click_returns_to_the_encoded_value(page: Page, address: str) -> None:
    visit(page, address)
    thumb, dimension = slider(page, 1)
    low, high = (float(thumb.get_attribute(name) or 0) for name in ("min", "max"))
    step = (high - low) / 60
    encoded = value_of(thumb)
    thumb.focus()
    generation, value = 1, encoded
    for key, steps in (("ArrowRight", 1), ("ArrowLeft", -1), ("PageDown", -6), ("ArrowUp", 1), ("ArrowDown", -1)):
        thumb.press(key)
        generation += 1
        z = expect_generation(page, generation)["z"]
        assert z[dimension] == value_of(thumb)
        assert value_of(thumb) == pytest.approx(value + steps * step, abs=0.51 * step)
        value = value_of(thumb)
        expect(thumb).to_be_focused()
    for key, end in (("Home", low), ("End", high)):
        thumb.press(key)
        generation += 1
        assert expect_generation(page, generation)["z"][dimension] == pytest.approx(end)
    thumb.press("Delete")
    assert expect_generation(page, generation + 1)["z"][dimension] == encoded
    thumb.press("Home")
    after = expect_generation(page, generation + 2)
    thumb.dblclick()
    text = json.dumps(after["z"]).replace(str(after["z"][dimension]), str(encoded))
    expect(page.get_by_test_id("stCode")).to_contain_text(text)
    assert value_of(thumb) == encoded


# --- pending, late, gone -------------------------------------------------------------------------------------------


def test_a_drag_on_old_strips_holds_the_picture_and_catches_up(page: Page, address: str) -> None:
    visit(page, address, delay="1.5,0")
    (first, one), (second, two) = slider(page, 0), slider(page, 1)
    first.focus()
    first.press("PageUp")
    z = np.array(state(page)["z"], dtype=np.float32)
    z[one] = value_of(first)
    assert_shows(page, z)
    x, y = press(page, second)
    page.mouse.move(x - 40, y)
    expect(decoded(page)).to_have_attribute("aria-busy", "true")
    expect(page.get_by_text("Decoded, pending")).to_be_visible()
    assert_shows(page, z)  # held: not a picture of another point
    expect(decoded(page)).to_have_attribute("aria-busy", "false")  # while the thumb is still held
    assert value_of(first) == z[one]
    z[two] = value_of(second)
    assert_shows(page, z)
    expect(page.get_by_test_id("stCode")).to_contain_text('"commits": 1,')
    page.mouse.up()
    np.testing.assert_array_equal(np.float32(expect_generation(page, 3)["z"]), z)
    assert_shows(page, z)


def test_what_is_let_go_before_the_answer_is_not_lost(page: Page, address: str) -> None:
    visit(page, address, delay="0.7,0")
    moved = [slider(page, rank) for rank in range(3)]
    for thumb, _ in moved:
        thumb.focus()
        thumb.press("PageUp")
    moved[2][0].press("ArrowUp")
    values = {dimension: value_of(thumb) for thumb, dimension in moved}
    after = expect_generation(page, 3)  # two commits: what waited went together
    for dimension, value in values.items():
        assert np.float32(after["z"][dimension]) == np.float32(value)
    assert after["commits"] == 2
    assert_shows(page, np.float32(after["z"]))


def test_older_strips_that_come_late_are_dropped(page: Page, address: str) -> None:
    visit(page, address)
    thumb, _ = slider(page, 0)
    thumb.focus()
    thumb.press("PageUp")
    after = expect_generation(page, 2)
    page.get_by_role("button", name="Old strips").click()
    expect(page.get_by_test_id("stCode")).to_contain_text(f'"runs": {after["runs"] + 1}')
    assert_shows(page, np.float32(after["z"]))
    assert np.float32(value_of(thumb)) == np.float32(after["z"][slider(page, 0)[1]])


def test_a_slow_server_is_told_and_the_frames_go_on(page: Page, address: str) -> None:
    visit(page, address, delay="4,0")
    (first, one), (second, _) = slider(page, 0), slider(page, 1)
    note = page.get_by_text("Server slow or gone (no answer for 3 s)")
    first.focus()
    first.press("PageUp")
    expect(note).to_have_count(0)
    expect(note).to_be_visible()
    before = pixels(decoded(page))
    _, y = press(page, second)
    page.mouse.move(thumb_at(second)[0] - 60, y)
    assert not np.array_equal(pixels(decoded(page)), before)
    expect(note).to_have_count(0)  # it answered
    page.mouse.up()
    assert np.float32(expect_generation(page, 3)["z"][one]) == np.float32(value_of(first))


@pytest.mark.long
def test_a_server_that_is_gone_leaves_the_frames_at_hand(page: Page, serve_app: Callable[..., str]) -> None:
    address = serve_app(APP, PRIVATE | {"LATENT_TEST_RUN": RUN})
    visit(page, address)
    page.get_by_role("button", name="Stop the server").click()
    thumb, _ = slider(page, 0)
    thumb.focus()
    thumb.press("PageUp")
    expect(page.get_by_text("Server slow or gone")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Close").click()  # Streamlit says so as well, more loudly
    before = pixels(decoded(page))
    thumb.press("PageUp")
    assert not np.array_equal(pixels(decoded(page)), before)


# --- buttons and keys ----------------------------------------------------------------------------------------------


def test_undo_redo_reset_and_samples(page: Page, address: str) -> None:
    visit(page, address)
    points = [state(page)["z"]]
    undo, redo = page.get_by_role("button", name="Undo"), page.get_by_role("button", name="Redo")
    expect(undo).to_have_attribute("aria-disabled", "true")
    expect(redo).to_have_attribute("aria-disabled", "true")

    def after(generation: int) -> list[float]:
        found = expect_generation(page, generation)
        assert found["commits"] == generation - 1
        assert_shows(page, np.float32(found["z"]))
        point: list[float] = found["z"]
        return point

    page.get_by_role("button", name="Sample prior").click()
    points.append(after(2))
    page.get_by_role("button", name="Sample posterior").click()
    points.append(after(3))
    assert len({tuple(point) for point in points}) == 3
    undo.click()
    assert after(4) == points[1]
    undo.click()
    assert after(5) == points[0]
    expect(undo).to_have_attribute("aria-disabled", "true")
    redo.click()
    assert after(6) == points[1]
    page.get_by_role("button", name="Reset to the encoded mean").click()
    assert after(7) == points[0]
    runs = state(page)["runs"]
    page.keyboard.press("s")
    assert after(8) != points[0]
    page.keyboard.press("r")
    assert after(9) == points[0]
    assert state(page)["runs"] == runs + 2  # the page around did not run again
    page.get_by_label("Words").fill("r")
    page.get_by_label("Words").press("s")
    page.get_by_label("Words").press("Enter")
    expect(page.get_by_test_id("stCode")).to_contain_text(f'"runs": {runs + 3}')
    assert state(page)["commits"] == 8


@pytest.mark.long
def test_two_undos_at_once_both_count(page: Page, address: str) -> None:
    visit(page, address, delay="0,0,0.4")
    start = state(page)["z"]
    page.keyboard.press("s")
    expect_generation(page, 2)
    page.keyboard.press("s")
    expect_generation(page, 3)
    undo = page.get_by_role("button", name="Undo")
    undo.click()
    undo.click()
    assert expect_generation(page, 5)["z"] == start


# --- folds ---------------------------------------------------------------------------------------------------------


def test_further_dimensions_unfold_with_their_strips(page: Page, address: str) -> None:
    visit(page, address)
    encodings = model_and_encodings()[1]
    active = len(encodings.active_dimensions)
    names = [one.get_attribute("aria-label") for one in page.get_by_role("slider").all()]
    assert names == [f"Dimension {dimension}" for dimension in encodings.order[: min(8, active)]]
    inactive = page.get_by_role("button", name=f"{64 - active} inactive dimensions")
    expect(page.get_by_text("The model doesn't use them")).to_be_visible()
    expect(inactive).to_have_attribute("aria-expanded", "false")
    more = page.get_by_role("button", name=f"{active - 8} more active dimensions")
    more.click()
    expect(more).to_have_attribute("aria-expanded", "true")
    z = np.array(expect_generation(page, 2)["z"], dtype=np.float32)
    expect(page.get_by_role("slider")).to_have_count(active)
    thumb, dimension = slider(page, 8)
    thumb.focus()
    page.keyboard.down("PageUp")
    z[dimension] = value_of(thumb)
    assert_shows(page, z)
    page.keyboard.up("PageUp")
    expect_generation(page, 3)
    more.click()
    expect(page.get_by_role("slider")).to_have_count(8)
    inactive.click()
    expect(page.get_by_role("slider")).to_have_count(64 - active + 8)
    expect_generation(page, 4)


# --- the map beside it ---------------------------------------------------------------------------------------------

EVENT = """([name, row, grey]) => {
    const [[instance, kept]] = Object.entries(window.__latent);
    const image = row === null ? null : new ImageData(new Uint8ClampedArray(28 * 28 * 4).fill(255), 28, 28);
    if (image) for (let i = 0; i < image.data.length; i += 1) if (i % 4 < 3) image.data[i] = grey;
    const detail = {instance, run: kept["latent:preview"].run, row, label: "Bag", image};
    document.dispatchEvent(new CustomEvent(name, {detail}));
}"""


def test_a_hover_on_the_map_previews_and_a_click_waits_for_the_server(page: Page, address: str) -> None:
    visit(page, address)
    original = page.get_by_role("img", name="Original image")
    before, picture = pixels(original), pixels(decoded(page))
    page.evaluate(EVENT, ["latent:hover", 5, 77])
    expect(page.get_by_text("Preview: image 5, Bag")).to_be_visible()
    assert (pixels(original) == 77).all()
    np.testing.assert_array_equal(pixels(decoded(page)), picture)
    page.evaluate(EVENT, ["latent:hover", None, 0])
    np.testing.assert_array_equal(pixels(original), before)
    page.evaluate(EVENT, ["latent:select", 1, 99])
    assert (pixels(original) == 99).all()
    expect(decoded(page)).to_have_attribute("aria-busy", "true")
    page.get_by_role("button", name="Next image").click()
    after = expect_generation(page, 2)
    expect(decoded(page)).to_have_attribute("aria-busy", "false")
    assert_shows(page, np.float32(after["z"]))
    assert not (pixels(original) == 99).all()
    page.evaluate(EVENT.replace("instance, run:", "instance: 'another', run:"), ["latent:hover", 5, 77])
    assert not (pixels(original) == 77).all()


def test_without_a_picture_at_hand_none_stands_under_the_name_of_another_image(page: Page, address: str) -> None:
    visit(page, address)
    original, bare = page.get_by_role("img", name="Original image"), EVENT.replace("row === null ? null", "true ? null")
    before = pixels(original)
    assert before.any()
    page.evaluate(bare, ["latent:hover", 5, 77])
    np.testing.assert_array_equal(pixels(original), before)
    expect(page.get_by_text("Preview: image 5, Bag")).to_be_hidden()
    page.evaluate(bare, ["latent:select", 1, 99])
    expect(page.get_by_text("Original: image 1, Bag")).to_be_visible()
    assert original.evaluate(
        "(c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.every((value) => value === 0)"
    )


# --- other shapes, and what everybody needs ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["3x32x32", "3x64x48"])
@pytest.mark.long
def test_colours_and_large_images(page: Page, serve_app: Callable[..., str], shape: str) -> None:
    visit(page, serve_app(APP, PRIVATE | {"LATENT_TEST_SHAPE": shape}))
    channels, height, width = map(int, shape.split("x"))
    config = ModelConfig(channels=channels, height=height, width=width, latent=12, widths=(8, 8), blocks=0, hidden=16)
    model = build_model(config, 0).eval()
    z = np.array(state(page)["z"], dtype=np.float32)
    assert_shows(page, z, model)
    thumb, dimension = slider(page, 0)
    thumb.focus()
    page.keyboard.down("PageUp")
    z[dimension] = value_of(thumb)
    preview = pixels(decoded(page))
    block = height // preview.shape[0]
    whole = picture_of(z, model).reshape(height // block, block, width // block, block, 3).mean(axis=(1, 3))
    assert np.abs(preview - whole).max() <= 1
    page.keyboard.up("PageUp")
    expect_generation(page, 2)
    assert_shows(page, z, model)  # let go: full size
    assert (block > 1) == (shape == "3x64x48")


def test_names_roles_and_room(page: Page, address: str) -> None:
    visit(page, address)
    for name in ("Original image", "Decoded image", "Difference"):
        expect(page.get_by_role("img", name=name, exact=True)).to_be_visible()
    names = ("Undo", "Redo", "Reset to the encoded mean", "Sample prior", "Sample posterior")
    for name in names:
        expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()
    thumb, _ = slider(page, 7)
    box, top = thumb.bounding_box(), page.get_by_role("img", name="Original image").bounding_box()
    assert box is not None
    assert top is not None
    assert box["y"] + box["height"] - top["y"] <= 640  # pictures and eight sliders, without scrolling
    for rank in range(8):
        thumb, _ = slider(page, rank)
        value = round(value_of(thumb), 2) + 0.0  # no sign before a zero
        assert thumb.get_attribute("aria-valuetext") == f"{value:.2f}".replace("-", "−")
    assert thumb.evaluate("(thumb) => getComputedStyle(thumb).touchAction") == "pan-y"  # up and down scrolls the page
    page.keyboard.press("Tab")
    thumb.focus()
    assert thumb.evaluate("(thumb) => getComputedStyle(thumb).outlineStyle") == "solid"
