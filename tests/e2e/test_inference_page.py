"""The page Inference in a real browser: a refinement that is seen to grow, and then goes under a slider without a message."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from dashboard.resources import SERVING_PRECISION
from vae import (
    Waypoint,
    decode_images,
    draw_posterior,
    generator_for,
    load_test_data,
    mean_of,
    open_run,
    refine_image,
)

pytestmark = pytest.mark.browser
APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"
ROW = 1
WATCH = """() => {
  window.seen = [];
  const look = () => {
    const hosts = Array.from(document.querySelectorAll('*')).map((one) => one.shadowRoot?.querySelector('.refinement'));
    const view = hosts.find(Boolean);
    if (view && window.seen.at(-1) !== Number(view.dataset.points)) window.seen.push(Number(view.dataset.points));
    setTimeout(look, 15);
  };
  look();
}"""


class Inference:
    """The page, and how many messages it sent."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.sent = page, 0
        page.on("websocket", lambda socket: socket.on("framesent", lambda _: self._count()))
        page.goto(f"{address}/inference?run=fashion-mnist&row={ROW}")
        expect(page.get_by_role("button", name="Refine, 100 steps")).to_be_visible(timeout=60_000)
        expect(page.locator("[data-test-script-state=notRunning]")).to_be_attached(timeout=60_000)

    def _count(self) -> None:
        self.sent += 1

    def picture(self, name: str) -> np.ndarray:
        canvas = self.page.get_by_role("img", name=name, exact=True)
        width, values = canvas.evaluate(
            "(c) => [c.width, Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)]"
        )
        return np.array(values, np.int16).reshape(-1, width, 4)[..., 0]


@pytest.fixture(scope="module")
def inference(browser: Browser, serve_app: Callable[..., str], browser_context_args: dict[str, Any]) -> Iterator[Inference]:
    """One page for all tests here, in their order."""
    context = browser.new_context(**browser_context_args)
    yield Inference(context.new_page(), serve_app(APP))
    context.close()


@pytest.fixture(scope="module")
def path() -> list[Waypoint]:
    """The same refinement, by the package alone."""
    run = open_run("fashion-mnist")
    encodings, image = run.load_encodings(), load_test_data(run).images[ROW]
    return list(refine_image(run.load_model(), image, encodings.mean[ROW], encodings.logvar[ROW], 0))


def test_a_refinement_is_seen_to_grow_and_its_gap_is_the_package_s(inference: Inference, path: list[Waypoint]) -> None:
    page = inference.page
    page.evaluate(WATCH)
    page.get_by_role("button", name="Refine, 100 steps").click()
    caption = page.get_by_text(re.compile(r"^Amortization gap, at least"))
    expect(caption).to_be_visible(timeout=120_000)
    seen = page.evaluate("window.seen")
    assert seen == sorted(seen)
    assert len(seen) >= 3, "it is shown while it runs"
    assert seen[-1] == 51
    run = open_run("fashion-mnist")
    encodings, image = run.load_encodings(), load_test_data(run).images[ROW]
    last = path[-1].posterior
    mean = np.stack([encodings.mean[ROW], np.asarray(last.mean[0])])
    logvar = np.stack([encodings.logvar[ROW], np.asarray(last.logvar[0])])
    draws = draw_posterior(run.load_model(), image, mean, logvar, generator_for(7, "evaluation"), 4000)
    own = mean_of(draws.elbo[:, 1] - draws.elbo[:, 0])
    shown = re.search(r"at least (−?[\d.]+) ± ([\d.]+) nats", caption.inner_text())
    assert shown
    gap, error = float(shown[1].replace("−", "-")), float(shown[2])
    assert abs(gap - own.value) < 4 * np.hypot(error, own.standard_error) + 0.01  # other draws, the same gap
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_hidden()


def test_every_step_is_under_the_slider_without_a_message(inference: Inference, path: list[Waypoint]) -> None:
    page, model = inference.page, open_run("fashion-mnist").load_model()
    slider = page.get_by_role("slider", name="Gradient step")
    slider.scroll_into_view_if_needed()
    expect(page.locator("[data-test-script-state=notRunning]")).to_be_attached()
    before, box = inference.sent, slider.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + box["height"] / 2)
    page.mouse.down()
    steps = set()
    for share in (0.7, 0.4, 0.1, 0.02):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        point = path[int(slider.input_value())]
        steps.add(point.step)
        means = np.asarray(point.posterior.mean)
        decoded = 255 * decode_images(model, means, SERVING_PRECISION)
        for name, picture in zip(("From the encoder", "From the prior"), decoded, strict=True):
            assert np.abs(inference.picture(name) - picture[0]).max() <= 2
        expect(page.get_by_text(f"Step {point.step} of 100", exact=True)).to_be_visible()
        value = f"{point.terms.value[1].item():.1f}".replace("-", "−")
        expect(page.get_by_text(f"From the prior: ELBO {value} nats (4 draws)")).to_be_visible()
    page.mouse.up()
    slider.press("End")
    slider.press("ArrowLeft")
    expect(page.get_by_text("Step 98 of 100", exact=True)).to_be_visible()
    assert len(steps) == 4
    page.get_by_label("Close-up of the encoder's curve").check()
    page.get_by_role("button", name="Play", exact=True).click()  # from here to the end
    expect(page.get_by_text("Step 100 of 100", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    assert inference.sent == before


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_axe_finds_nothing_to_mend(inference: Inference, scheme: str) -> None:
    inference.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    results = Axe().run(inference.page, options={"resultTypes": ["violations"]})
    found = [(one["id"], node["html"][:200]) for one in results.response["violations"] for node in one["nodes"]]
    assert found == []


def test_a_sample_opens_in_explore(inference: Inference) -> None:
    page = inference.page
    page.get_by_role("button", name="Open posterior sample 3 in Explore").click()
    expect(page.get_by_text("a sample of the posterior of test image 1, Pullover")).to_be_visible(timeout=60_000)
