"""The pages Train and Runs in a browser, without a training: when they ask for news, and what axe finds."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, TimeoutError, expect

from vae.files import take_lock
from vae.runs import CHECKPOINTS_VARIABLE

pytestmark = pytest.mark.browser
REPOSITORY = Path(__file__).resolve().parents[2]
APP = REPOSITORY / "dashboard" / "app.py"
EPOCHS = 7


class Site:
    """A page of an app with the shipped run, ``finished``, and ``learning``, the same run as it was after some epochs."""

    def __init__(self, page: Page, address: str, checkpoints: Path) -> None:
        self.page, self.address, self.sent = page, address, 0
        self.learning = checkpoints / "learning"
        page.on("websocket", lambda socket: socket.on("framesent", lambda _: self._count()))

    def _count(self) -> None:
        self.sent += 1

    def say(self, state: str) -> None:
        """Change what the status of ``learning`` says."""
        file = self.learning / "status.json"
        status = json.loads(file.read_text()) | {"state": state, "updated": time.time()}
        file.write_text(json.dumps(status | {"epoch": EPOCHS, "step": 1600, "total_steps": 6450}))

    def rest(self) -> None:
        """Wait until the script has run."""
        expect(self.page.locator("[data-test-script-state=notRunning]")).to_be_attached(timeout=60_000)

    def violations(self) -> list[tuple[str, str]]:
        """What axe finds, in the light and in the dark."""
        found = []
        for scheme in ("light", "dark"):
            self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            self.page.wait_for_timeout(500)  # tables are drawn anew, and have no headings meanwhile
            results = Axe().run(self.page, options={"resultTypes": ["violations"]})
            found += [
                (f"{scheme}: {one['id']}", node["html"][:200])
                for one in results.response["violations"]
                for node in one["nodes"]
            ]
        return found


@pytest.fixture(scope="module")
def site(
    browser: Browser,
    serve_app: Callable[..., str],
    browser_context_args: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """One page for all tests here, in their order."""
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    for name in ("finished", "learning"):
        shutil.copytree(REPOSITORY / "checkpoints" / "fashion-mnist", checkpoints / name)
    metrics = checkpoints / "learning" / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:EPOCHS]))
    context = browser.new_context(**browser_context_args)
    page = context.new_page()
    page.clock.install()
    yield Site(page, serve_app(APP, {CHECKPOINTS_VARIABLE: str(checkpoints)}), checkpoints)
    context.close()


def test_it_asks_for_news_twice_a_second_while_a_training_runs_and_not_at_all_otherwise(site: Site) -> None:
    page = site.page
    site.say("running")
    with take_lock(site.learning / ".lock"):  # as its process would
        page.goto(f"{site.address}/train?training=learning")
        expect(page.get_by_text("Run learning is being trained")).to_be_visible(timeout=60_000)
        expect(page.get_by_text("KL on the validation images")).to_be_visible(timeout=60_000)
        site.rest()
        before = site.sent
        page.clock.run_for(5_000)
        assert site.sent - before >= 10
        assert site.violations() == []
        site.say("finished")
        news = page.get_by_text("Run learning is finished")
        for _ in range(20):  # on a busy machine the first question may go out before the answer to the last is there
            page.clock.run_for(1_000)
            with contextlib.suppress(TimeoutError):
                news.wait_for(timeout=1_000)
                break
        expect(news).to_be_visible()
    site.rest()
    before = site.sent
    page.clock.run_for(30_000)
    assert site.sent == before


def test_axe_finds_nothing_to_mend_on_the_form(site: Site) -> None:
    page = site.page
    page.get_by_role("combobox", name="Train or watch").click()
    page.get_by_role("option", name="A new run").click()
    page.get_by_text("Advanced: every setting").click()
    expect(page.get_by_label("Free bits (nats a dimension)", exact=True)).to_be_visible()
    site.rest()
    assert site.violations() == []


def test_axe_finds_nothing_to_mend_on_runs_beside_each_other(site: Site) -> None:
    page = site.page
    page.goto(f"{site.address}/runs")
    for name in ("finished", "learning"):
        page.get_by_role("combobox", name="Runs to compare").click(timeout=60_000)
        page.get_by_role("option", name=name, exact=True).click()
    page.keyboard.press("Escape")
    for section, sign in (
        ("Curves", "On each run's own validation images"),
        ("Numbers", "Test images, means"),
        ("Pictures", "12 test images, evenly"),
        ("Maps", "Choose images on one map"),
    ):
        page.get_by_role("radio", name=section).or_(page.get_by_role("button", name=section, exact=True)).first.click()
        expect(page.get_by_text(sign)).to_be_visible(timeout=60_000)
        site.rest()
        assert site.violations() == []
