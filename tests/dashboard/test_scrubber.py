"""The Python faces of the scrubber and the grid of pictures: what goes out and what may come back."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.components import picture_grid as grid_face
from dashboard.components import scrubber as face
from dashboard.components.picture_grid import BUDGET_BYTES, parse_choice, preview_block
from dashboard.components.scrubber import Frames, Reading, make_frames, parse_step, plan_frames

RANDOM = np.random.default_rng(4)
STEPS = 5


def frames(**changed: Any) -> Frames:
    parts: dict[str, Any] = {
        "generation": 7,
        "points": RANDOM.normal(size=(STEPS, 3)).astype(np.float32),
        "pictures": RANDOM.integers(0, 256, (STEPS, 1, 4, 6), dtype=np.uint8),
        "positions": RANDOM.normal(size=(STEPS, 2)).astype(np.float32),
        "percentiles": np.linspace(0, 100, STEPS).astype(np.float32),
        "labels": tuple(f"frame {step}" for step in range(STEPS)),
        "stops": ((0, "a"), (4, "b")),
        "readings": (Reading("P", np.linspace(100, 0, STEPS).astype(np.float32), "chance"),),
        "start": 2,
    }
    return make_frames(**(parts | changed))


# --- what comes back -----------------------------------------------------------------------------------------------


def test_a_commit_names_a_frame() -> None:
    assert parse_step({"generation": 7, "step": 4}, frames()) == 4
    assert parse_step(None, frames()) == 2  # nothing was done yet


@pytest.mark.parametrize(
    "commit",
    [
        {"generation": 6, "step": 4},
        {"generation": 7, "step": 5},
        {"generation": 7, "step": -1},
        {"generation": 7, "step": 4.0},
        {"generation": 7, "step": True},
        {"generation": True, "step": 4},
        {"generation": 7},
        {"generation": 7, "step": 4, "more": 1},
        [7, 4],
        "4",
    ],
)
def test_what_makes_no_sense_leaves_the_thumb_where_it_began(commit: object) -> None:
    assert parse_step(commit, frames()) == 2


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["generation", "step"]), inner),
    max_leaves=6,
)
SOME = frames()


@given(anything, st.integers(1, 9))
def test_nothing_from_outside_raises(value: object, count: int) -> None:
    assert parse_step(value, SOME) in range(STEPS)
    choice = parse_choice(value, count)
    assert choice is None or choice in range(count)


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (8, 8), (9, None), (-1, None), (True, None), (1.0, None), ("1", None)])
def test_a_choice_is_one_of_the_pictures(value: object, expected: int | None) -> None:
    assert parse_choice(value, 9) == expected


# --- what goes out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"labels": ("one",)}, "5 points .* got \\[5, 5, 1, 5, 5\\]"),
        ({"percentiles": np.zeros(4, np.float32)}, "need as many pictures, numbers and labels"),
        ({"positions": np.zeros((6, 2), np.float32)}, "need as many pictures, numbers and labels"),
        ({"readings": (Reading("P", np.zeros(3, np.float32), ""),)}, "need as many pictures, numbers and labels"),
        ({"stops": ((5, "a"),)}, "stops and start must be frames from 0 to 4"),
        ({"start": -1}, "stops and start must be frames from 0 to 4"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        frames(**changed)


def test_large_images_travel_as_small_frames_and_small_ones_whole() -> None:
    assert plan_frames((1, 28, 28)) == (61, 1)
    assert plan_frames((3, 128, 128)) == (61, 1)
    for shape in ((3, 1024, 1024), (16, 512, 512)):
        steps, block = plan_frames(shape)
        assert steps >= 17
        assert steps * shape[0] * -(-shape[1] // block) * -(-shape[2] // block) <= 4_000_000
    small = frames(block=2).frames
    assert small.shape == (STEPS, 1, 2, 3)
    assert preview_block((100, 1, 28, 28)) == 1
    block = preview_block((64, 3, 512, 512))
    assert 64 * 3 * (512 // block) ** 2 <= BUDGET_BYTES < 64 * 3 * (512 // (block // 2)) ** 2


def unpacked(message: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    start = 4 + int.from_bytes(message[:4], "little")
    header = json.loads(message[4:start])
    table = header.pop("arrays").items()
    arrays = {name: np.frombuffer(message, kind, count, start + offset) for name, (kind, offset, count) in table}
    return header, arrays


def test_the_browser_gets_the_frames_with_their_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(face, "_component", lambda **arguments: sent.append(arguments))
    made = frames()
    face.scrubber(made, key="k", instance="i", run="r", name="Position")
    header, arrays = unpacked(sent[0]["data"])
    assert (header["generation"], header["start"], header["steps"], header["name"]) == (7, 2, STEPS, "Position")
    assert [(one["name"], one["limited"]) for one in header["readings"]] == [("Off-manifold", True), ("P", False)]
    np.testing.assert_array_equal(arrays["reading0"], made.percentiles)
    np.testing.assert_array_equal(arrays["reading1"], made.readings[1].values)
    np.testing.assert_array_equal(arrays["frames"], made.frames.ravel())
    np.testing.assert_array_equal(arrays["positions"], made.positions.ravel())  # type: ignore[union-attr]
    assert "points" not in arrays
    face.scrubber(frames(positions=None), key="k", instance="i", run="r", name="Position")
    assert "positions" not in unpacked(sent[1]["data"])[1]
    face.scrubber(made, key="k", instance="i", run="r", name="Position")
    assert sent[2]["data"] == sent[0]["data"]  # the same frames are not sent again


def test_a_grid_is_checked_and_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(grid_face, "_component", lambda **arguments: sent.append(arguments))
    images = RANDOM.integers(0, 256, (5, 1, 4, 4), dtype=np.uint8)
    names = [f"Open {number}" for number in range(5)]
    assert grid_face.picture_grid(images, key="g", label="five", names=names, columns=3) is None
    header, arrays = unpacked(sent[0]["data"])
    assert (header["names"], header["columns"], header["captions"]) == (names, 3, [])
    np.testing.assert_array_equal(arrays["frames"], images.ravel())
    for wrong in ({"names": names[:4]}, {"captions": ["a"]}, {"row_titles": ["only one of two"]}):
        with pytest.raises(ValueError, match="5 pictures in 2 rows"):
            grid_face.picture_grid(images, **({"key": "g", "label": "five", "names": names, "columns": 3} | wrong))  # type: ignore[arg-type]
