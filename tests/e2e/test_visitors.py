"""Several visitors of one server at once, without browsers: each gets his own point, selection and picture, never another's."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from visitor import Visitor

APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"


@pytest.fixture(scope="module")
def address(serve_app: Callable[..., str]) -> str:
    return serve_app(APP)


def play(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it in a thread of its own: in this one a browser of other tests may have its event loop."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(story())).result()


def picture(seed: int) -> bytes:
    """A PNG like no other."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (28, 28), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


async def wander(visitor: Visitor, number: int, turns: int) -> None:
    """Drag and click, and look whether each answer is one's own."""
    choice = random.Random(number)
    for turn in range(turns):
        before = visitor.sliders
        assert before is not None
        if turn % 3 == 2:
            row = 100 * number + turn
            await visitor.click(row)
            assert visitor.marks["current"] == row
            assert visitor.marks["selection"]["clicked"] == [row]
            continue
        dimension, expected = choice.choice(before.dimensions), before.z.copy()
        low, high = float(before.low[dimension]), float(before.high[dimension])
        expected[dimension] = np.float32(low + (high - low) * choice.uniform(0.1, 0.9))
        await visitor.drag(dimension, float(expected[dimension]))
        now = visitor.sliders
        assert now is not None
        assert now.row == before.row
        np.testing.assert_array_equal(now.z, expected)
        assert visitor.marks["selection"]["clicked"] == ([before.row] if turn > 2 else [])


async def six(address: str) -> list[Visitor]:
    visitors = [await Visitor.open(address, f"run=fashion-mnist&row={number}") for number in range(6)]
    await asyncio.gather(*(wander(visitor, number, 9) for number, visitor in enumerate(visitors)))
    return visitors


def test_points_and_selections_of_visitors_never_mix(address: str) -> None:
    async def story() -> None:
        visitors = await six(address)
        points = [visitor.sliders.z.tobytes() for visitor in visitors if visitor.sliders is not None]
        assert len(set(points)) == len(visitors)
        for visitor in visitors:
            await visitor.close()

    play(story)


def test_a_picture_is_seen_by_who_brought_it_alone(address: str) -> None:
    async def bring(visitor: Visitor, seed: int) -> np.ndarray:
        await visitor.go_to("reconstruct")
        await visitor.upload(f"{seed}.png", picture(seed))
        await visitor.press("Open in Explore")
        assert visitor.sliders is not None
        assert visitor.sliders.subject == "your image"
        return visitor.sliders.z

    async def story() -> None:
        first, second, third = [await Visitor.open(address, f"run=fashion-mnist&row={row}") for row in (3, 4, 5)]
        ours, theirs = await asyncio.gather(bring(first, 1), bring(second, 2))
        assert np.abs(ours - theirs).max() > 0.1
        again = await Visitor.open(address, "run=fashion-mnist&row=3")
        np.testing.assert_array_equal(await bring(again, 1), ours)  # the same picture is the same point, whoever brings it
        await third.drag_somewhere(random.Random(0))
        assert third.sliders is not None
        assert third.sliders.subject.startswith("test image 5")
        for visitor in (first, second, third, again):
            await visitor.close()

    play(story)
