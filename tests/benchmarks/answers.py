"""How soon a page answers to what a visitor asks of one image: the verdict on an upload, a refinement."""

from __future__ import annotations

import io

from figures import Figure, measured
from live import EXPLORE, POLLING, browser, served, window
from PIL import Image
from playwright.sync_api import Page

from vae import load_dataset

UPLOADS = 8
REFINEMENTS = 3

# Records when a file was chosen or a button pressed, and when words that answer it were first painted.
WATCH = """(pattern) => {
    const seen = window.__answer = {};
    const ask = (event) => { seen.asked ??= event.timeStamp; };
    window.addEventListener("change", ask, true);
    window.addEventListener("click", ask, true);
    const words = new RegExp(pattern);
    const look = () => {
        const shown = Array.from(document.querySelectorAll("[data-testid=stMarkdownContainer]"));
        if (!shown.some((element) => words.test(element.textContent))) setTimeout(look, 5);
        else requestAnimationFrame(() => setTimeout(() => { seen.answered = performance.now(); }));
    };
    look();
}"""


def _wait(page: Page) -> float:
    """Milliseconds from the question to its answer."""
    page.wait_for_function("window.__answer.answered", polling=POLLING, timeout=120_000)
    seen = page.evaluate("window.__answer")
    return float(seen["answered"] - seen["asked"])


def _verdict(page: Page, address: str, picture: bytes) -> float:
    page.goto(f"{address}/reconstruct")
    page.get_by_text("No picture yet.").wait_for(timeout=60_000)
    page.wait_for_selector("[data-test-script-state=notRunning]", state="attached")
    page.evaluate(WATCH, "^.{0,30}(Like the training data|Unusual|Unlike anything)")
    page.locator("input[type=file]").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": picture})
    return _wait(page)


def _refinement(page: Page, address: str, row: int) -> float:
    page.goto(f"{address}/inference?run=fashion-mnist&row={row}")
    button = page.get_by_role("button", name="Refine, 100 steps")
    button.wait_for(timeout=60_000)
    page.wait_for_selector("[data-test-script-state=notRunning]", state="attached")
    page.evaluate(WATCH, "^Amortization gap, at least")
    button.click()
    return _wait(page)


def answers() -> list[Figure]:
    """Uploads of test images and refinements of test images, after one of each to warm up."""
    pictures = []
    for pixels in load_dataset("fashion-mnist", "test").images[: UPLOADS + 1, 0]:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        pictures.append(buffer.getvalue())
    with browser() as chromium, served(EXPLORE) as address:
        page = window(chromium).new_page()
        verdicts = [_verdict(page, address, picture) for picture in pictures][1:]
        refinements = [_refinement(page, address, row) for row in range(REFINEMENTS + 1)][1:]
    return [
        measured("upload to verdict on Reconstruct", "ms", verdicts, "median", target=500),
        measured("refine one image on Inference, 100 steps", "ms", refinements, "median", target=1500),
    ]
