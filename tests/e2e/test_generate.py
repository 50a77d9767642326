"""The page Generate in a real browser, on the shipped run: what its scrubbers show and send, and that its pictures open."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from dashboard.resources import SERVING_PRECISION
from vae import VAE, Encodings, MapConfig, decode_images, interpolate_through, nearest, open_run

pytestmark = pytest.mark.browser
APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
SNEAKER, ANKLE_BOOT = 9, 0


@functools.cache
def model_and_encodings() -> tuple[VAE, Encodings]:
    run = open_run("fashion-mnist")
    return run.load_model(), run.load_encodings()


class Generate:
    """The page, and how many messages it sent."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.sent = page, 0
        page.on("websocket", lambda socket: socket.on("framesent", lambda _: self._count()))
        page.goto(f"{address}/generate?run=fashion-mnist&row={SNEAKER}")
        expect(self.tab("Samples")).to_be_visible(timeout=30_000)

    def _count(self) -> None:
        self.sent += 1

    def tab(self, name: str) -> Locator:
        return self.page.get_by_role("radio", name=name, exact=True)

    def show(self, section: str) -> None:
        self.tab(section).click()
        self.settle()

    def settle(self) -> None:
        expect(self.page.locator("[data-test-script-state=notRunning]")).to_be_attached()

    def fill(self, label: str, value: int) -> None:
        field = self.page.get_by_label(re.compile(f"^{label}"))
        field.fill(str(value))
        field.press("Enter")
        self.settle()

    def choose(self, label: str, option: str) -> None:
        self.page.get_by_role("combobox", name=re.compile(label)).click()
        self.page.get_by_role("option", name=option, exact=True).click()
        self.settle()

    @property
    def thumb(self) -> Locator:
        return self.page.locator(".scrubber input[type=range]")

    @property
    def map(self) -> Locator:
        return self.page.locator(".latent-map")

    @property
    def step(self) -> int:
        return int(self.thumb.input_value())

    def reading(self, name: str) -> int:
        return int(self.page.get_by_role("meter", name=name, exact=True).get_attribute("aria-valuenow") or -1)

    def at(self, share: float) -> tuple[float, float]:
        """Where the thumb stands at a share of its way."""
        box = self.thumb.bounding_box()
        assert box
        return box["x"] + 5 + share * (box["width"] - 10), box["y"] + box["height"] / 2

    def picture(self) -> np.ndarray:
        """The decoded image that is shown, ``(height, width)``."""
        canvas = self.page.get_by_role("img", name="Decoded image")
        width, values = canvas.evaluate(
            "(c) => [c.width, Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)]"
        )
        return np.array(values, np.int16).reshape(-1, width, 4)[..., 0]

    def click_a_point(self) -> int:
        """Click the point on the map that stands most apart; returns its row."""
        places = open_run("fashion-mnist").load_map(MapConfig()).coordinates
        rows, distances = nearest(places[::10], places, 2)
        row = int(rows[distances[:, 1].argmax(), 0])
        stage = self.page.get_by_role("application", name=re.compile("^Map of "))
        left, right, bottom, top = (float(part) for part in (stage.get_attribute("data-view") or "").split(","))
        box, (x, y) = stage.bounding_box(), places[row].tolist()
        assert box
        across, down = (x - left) / (right - left), (top - y) / (top - bottom)
        self.page.mouse.click(box["x"] + 1 + across * (box["width"] - 2), box["y"] + 1 + down * (box["height"] - 2))
        return row

    def assert_shows(self, z: np.ndarray) -> None:
        assert (
            np.abs(self.picture() - 255 * decode_images(model_and_encodings()[0], z[None], SERVING_PRECISION)[0, 0]).max() <= 1
        )


@pytest.fixture(scope="module")
def address(serve_app: Callable[..., str]) -> str:
    return serve_app(APP)


@pytest.fixture(scope="module")
def generate(browser: Browser, address: str, browser_context_args: dict[str, Any]) -> Iterator[Generate]:
    """One page for all tests here: each goes to the section it needs."""
    context = browser.new_context(**browser_context_args)
    yield Generate(context.new_page(), address)
    context.close()


def test_an_interpolation_scrubs_without_a_message_and_its_path_is_on_the_map(generate: Generate) -> None:
    page = generate.page
    generate.show("Interpolation")
    expect(page.get_by_text("An interpolation needs at least two images.")).to_be_visible()
    search = page.get_by_role("textbox", name="Find test images")
    search.fill("hardest ankle")
    search.press("Enter")
    expect(page.get_by_text("16 of 1,000 of Ankle boot, by −ELBO, the highest first. A click adds one.")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile(r"^Add test image \d+, Ankle boot$"))).to_have_count(16)
    search.fill(str(ANKLE_BOOT))
    search.press("Enter")
    expect(page.get_by_text(re.compile("The buttons take frame 1 of 61"))).to_be_visible()
    expect(generate.map).to_have_attribute("data-path", re.compile(r"^61 places, \d+ pieces far$"))
    expect(generate.map).to_have_attribute("data-sprites", "ready")
    generate.settle()
    points = interpolate_through(model_and_encodings()[1].mean[[SNEAKER, ANKLE_BOOT]], 61)
    generate.assert_shows(points[0])
    page.mouse.move(*generate.at(0))
    page.mouse.down()
    before, cursors, far = generate.sent, set(), set()
    for share in np.linspace(0.05, 0.8, 12):
        page.mouse.move(*generate.at(share))
        assert generate.step == pytest.approx(60 * share, abs=1)
        generate.assert_shows(points[generate.step])
        cursors.add(generate.map.get_attribute("data-cursor"))
        far.add(generate.reading("Off-manifold"))
    assert generate.sent == before  # not one message between press and release
    assert len(cursors) >= 6
    assert len(far) >= 4
    step = generate.step
    page.mouse.up()
    expect(page.get_by_text(f"The buttons take frame {step + 1} of 61")).to_be_visible()
    assert generate.sent == before + 1
    assert generate.step == step


def test_keys_play_and_calm_move_the_thumb(generate: Generate) -> None:
    page = generate.page
    generate.show("Samples")
    generate.show("Interpolation")  # what was made is still there, and where the thumb stood
    assert generate.step > 40
    generate.thumb.press("Home")
    generate.thumb.press("PageUp")
    assert generate.step == 6
    generate.thumb.press("ArrowLeft")
    assert generate.step == 5
    expect(page.get_by_text("The buttons take frame 6 of 61")).to_be_visible()
    assert re.fullmatch(
        r"8% from test image 9, Sneaker to test image 0, Ankle boot", str(generate.thumb.get_attribute("aria-valuetext"))
    )
    page.get_by_role("button", name="Play the frames").click()
    expect(generate.thumb).not_to_have_value("5")
    page.get_by_role("button", name="Pause").click()
    assert 5 < generate.step <= 60
    expect(page.get_by_text(f"The buttons take frame {generate.step + 1} of 61")).to_be_visible()
    page.emulate_media(reduced_motion="reduce")
    page.get_by_role("button", name="Go to the next stop").click()
    assert generate.step == 60
    page.emulate_media(reduced_motion="no-preference")
    expect(page.get_by_role("button", name="Play the frames")).to_be_visible()


def test_a_direction_from_sneaker_to_ankle_boot_changes_what_a_linear_probe_says(generate: Generate) -> None:
    page = generate.page
    generate.show("Directions")
    generate.choose("To group", "Ankle boot")
    expect(page.get_by_text("How sure is Sneaker → Ankle boot?")).to_be_visible()
    generate.settle()
    expect(generate.map).to_have_attribute("data-path", re.compile(r"^61 places, [1-9]\d* pieces far$"))
    expect(page.get_by_text("far from all encoded images (above 95%)")).to_be_visible()
    assert generate.step == 30
    generate.assert_shows(model_and_encodings()[1].mean[SNEAKER])
    names = ("P(Ankle boot | z)", "P(Ankle boot | picture)")
    assert [generate.reading(name) < 10 for name in names] == [True, True]
    strength, shown = generate.reading("Strength"), generate.picture()
    page.mouse.move(*generate.at(0.5))
    page.mouse.down()
    before = generate.sent
    for share in (0.6, 0.75, 0.9):
        page.mouse.move(*generate.at(share))
    assert generate.sent == before
    assert [generate.reading(name) > 90 for name in names] == [True, True]
    assert generate.reading("Strength") > strength + 20
    assert np.abs(generate.picture() - shown).max() > 60
    expect(page.locator(".where")).to_have_text(re.compile(r"^\+1\.\d\d × \(Sneaker → Ankle boot\)$"))
    page.mouse.up()
    row = generate.click_a_point()
    expect(page.locator(".where")).to_have_text(re.compile(rf"^test image {row}, .*, as encoded$"))
    expect(generate.map).to_have_attribute("data-current", str(row))


def test_a_traversal_is_taken_away_as_a_moving_picture(generate: Generate) -> None:
    generate.show("Traversal")
    expect(generate.page.get_by_label(re.compile("^Lowest offset")).first).to_be_visible()  # its run has begun
    generate.settle()
    animation = generate.page.get_by_role("button", name="Animation (GIF)")
    generate.page.get_by_role("button", name="Download").first.click()
    expect(animation).to_be_visible()
    with generate.page.expect_download() as download:
        animation.click()
    with Image.open(download.value.path()) as picture:
        assert (picture.format, picture.n_frames) == ("GIF", 16)  # nine there, seven back
        first = np.asarray(picture.convert("L")).copy()
        picture.seek(8)
        assert np.abs(first.astype(int) - np.asarray(picture.convert("L"))).max() > 30


def test_a_frame_opens_in_explore_and_the_page_is_as_it_was_left(generate: Generate) -> None:
    page = generate.page
    generate.show("Directions")
    where = page.locator(".where")
    generate.thumb.press("End")
    expect(page.get_by_text("The buttons take frame 61 of 61")).to_be_visible()
    text = where.inner_text()
    page.get_by_role("button", name="Open in Explore").click()
    expect(page).to_have_url(re.compile(r"/(explore)?\?.*z=\d+%3A"))
    page.get_by_role("link", name="Generate").click()
    expect(generate.tab("Directions")).to_be_checked()
    expect(where).to_have_text(text)


@pytest.mark.parametrize(
    ("scheme", "sections"), [("light", ("Directions", "Traversal")), ("dark", ("Interpolation", "Samples"))]
)
def test_axe_finds_nothing_to_mend(generate: Generate, scheme: str, sections: tuple[str, ...]) -> None:
    generate.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for section in sections:
        generate.show(section)
        results = Axe().run(generate.page, options={"resultTypes": ["violations"]})
        found = [(one["id"], node["html"][:200]) for one in results.response["violations"] for node in one["nodes"]]
        assert found == []
    generate.page.emulate_media(color_scheme="light")


def test_a_sample_opens_in_explore(generate: Generate) -> None:
    page = generate.page
    generate.show("Samples")
    expect(page.get_by_role("button", name=re.compile(r"Open sample \d+ in Explore"))).to_have_count(16)
    page.get_by_role("button", name="Open sample 3 in Explore").click()
    expect(page).to_have_url(re.compile(r"/(explore)?\?.*z=\d+%3A"))
    expect(page.get_by_text("a sample of the prior N(0, I)")).to_be_visible()
