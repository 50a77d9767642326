"""The Explore page as a browser test drives it: what it shows is told by the components' own attributes and events."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page, expect

MAP = ".latent-map"
CONTENT = "(canvas) => Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).join()"


class Explore:
    """An open Explore page, and what it sent over the WebSockets that it opened; without an address it is open already."""

    def __init__(self, page: Page, address: str | None, query: str = "") -> None:
        self.page = page
        self.sent: list[Any] = []
        page.on("websocket", lambda socket: socket.on("framesent", lambda frame: self.sent.append(frame)))
        if address is not None:
            page.goto(address + query)
        self.wait()

    def wait(self) -> None:
        """Until map, pictures and sliders are there and the server is done."""
        self.page.wait_for_selector(f"{MAP}[data-ready][data-sprites=ready]", timeout=60_000)
        expect(self.page.get_by_role("slider").first).to_be_visible(timeout=30_000)
        self.settle()

    def settle(self) -> None:
        """Until what was asked of the server is answered and shown."""
        self.page.wait_for_selector(f"{MAP}:not([data-waiting])")
        self.page.wait_for_selector("[data-test-script-state=notRunning]", state="attached")
        expect(self.page.get_by_role("img", name="Decoded image")).to_have_attribute("aria-busy", "false")

    def map(self, name: str) -> str | None:
        """What the map tells of itself: selected, current, cursor, shown, hover, colouring."""
        return self.page.locator(MAP).get_attribute(f"data-{name}")

    def view(self) -> str | None:
        """The part of the map that is shown."""
        return self.page.locator(f"{MAP}-stage").get_attribute("data-view")

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a place of the map lies on the screen."""
        box = self.page.locator(f"{MAP}-stage").bounding_box()
        assert box is not None
        left, right, bottom, top = map(float, str(self.view()).split(","))
        # NOTE: the canvas lies inside a border of one pixel.
        width, height = box["width"] - 2, box["height"] - 2
        across, down = (x - left) / (right - left), (top - y) / (top - bottom)
        return float(box["x"] + 1 + across * width), float(box["y"] + 1 + down * height)

    def picture(self, name: str) -> str:
        """The pixels of one of the inspector's pictures."""
        return str(self.page.get_by_role("img", name=name, exact=True).evaluate(CONTENT))
