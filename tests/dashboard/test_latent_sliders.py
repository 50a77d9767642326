"""The sliders' Python face: what goes out, what may come back, and the strips in between."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from dashboard.components import latent_sliders as face
from dashboard.components.frames import array_frame
from dashboard.components.latent_sliders import History, Strips, build_strips, open_dimensions, slider_groups, slider_ranges
from dashboard.components.latent_sliders.commit import parse_commit
from dashboard.components.latent_sliders.strips import BUDGET_BYTES, MIN_STEPS, STEPS, plan_strips
from vae import (
    VAE,
    Encodings,
    ModelConfig,
    Run,
    build_model,
    decode_images,
    encode_images,
    filmstrip_points,
    generator_for,
    place,
    typical_distances,
)

APP = Path(__file__).resolve().parents[1] / "e2e" / "apps" / "sliders_app.py"
LOW, HIGH = np.full(4, -2.0, np.float32), np.full(4, 2.0, np.float32)


def commit(**changed: Any) -> dict[str, Any]:
    return {"generation": 7, "sequence": 1_790_000_000_000, "action": "drag", "changes": [[2, 1.5]], "unfolded": []} | changed


# --- what comes back -----------------------------------------------------------------------------------------------


def test_a_drag_moves_a_copy() -> None:
    found = parse_commit(commit(changes=[[2, 1.5], [0, -2]], unfolded=["more"]), 7, LOW, HIGH)
    assert found is not None
    assert found.unfolded == {"more"}
    z = np.zeros(4, np.float32)
    np.testing.assert_array_equal(found.moved(z), np.float32([-2, 0, 1.5, 0]))
    assert not z.any()


@pytest.mark.parametrize("action", ["reset", "prior", "posterior", "undo", "redo", "unfold"])
def test_other_actions_change_no_dimension(action: str) -> None:
    found = parse_commit(commit(action=action, changes=[]), 7, LOW, HIGH)
    assert found is not None
    assert found.action == action
    assert parse_commit(commit(action=action), 7, LOW, HIGH) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"generation": 6},
        {"generation": 8},
        {"generation": True},
        {"generation": 7.0},
        {"sequence": -1},
        {"sequence": 2**60},
        {"sequence": None},
        {"action": "delete"},
        {"action": ["drag"]},
        {"changes": []},
        {"changes": {"2": 1.5}},
        {"changes": [[2]]},
        {"changes": [[4, 0.0]]},
        {"changes": [[-1, 0.0]]},
        {"changes": [[2.0, 0.0]]},
        {"changes": [[True, 0.0]]},
        {"changes": [[2, "1.5"]]},
        {"changes": [[2, True]]},
        {"changes": [[2, None]]},
        {"changes": [[2, math.nan]]},
        {"changes": [[2, math.inf]]},
        {"changes": [[2, 10**400]]},
        {"changes": [[2, 2.01]]},
        {"changes": [[2, -2.01]]},
        {"changes": [[2, 1.0], [2, 1.1]]},
        {"changes": [[0, 0.0]] * 5},
        {"unfolded": ["first"]},
        {"unfolded": "more"},
        {"unfolded": [[]]},
        {"unfolded": ["more"] * 9},
        {"more": 1},
    ],
)
def test_what_makes_no_sense_is_not_followed(changed: dict[str, Any]) -> None:
    assert parse_commit(commit(), 7, LOW, HIGH) is not None
    assert parse_commit(commit(**changed), 7, LOW, HIGH) is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["drag", "undo", "more"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(list(commit())) | st.text(max_size=3), inner),
    max_leaves=12,
)


@given(anything)
def test_nothing_from_outside_raises(value: object) -> None:
    assert parse_commit(value, 7, LOW, HIGH) is None


@given(st.sampled_from(list(commit())), anything)
def test_nothing_in_a_commit_raises(name: str, value: object) -> None:
    found = parse_commit(commit(**{name: value}), 7, LOW, HIGH)
    if found is not None and found.action == "drag":
        assert found.generation == 7
        assert all(dimension in range(4) and -2 <= number <= 2 for dimension, number in found.changes.items())


# --- undo and redo -------------------------------------------------------------------------------------------------


def test_undo_and_redo_walk_what_was_visited() -> None:
    history = History(("a",)).go("b").go("c")
    assert (history.current, history.can_undo, history.can_redo) == ("c", True, False)
    assert history.undo().current == "b"
    assert history.undo().undo().undo().current == "a"
    assert history.undo().redo().redo().current == "c"
    turned = history.undo().go("d")
    assert (turned.things, turned.can_redo) == (("a", "b", "d"), False)


def test_the_history_is_bounded() -> None:
    history: History[int] = History((0,))
    for number in range(1, 1000):
        history = history.go(number)
    assert len(history.things) == 100
    assert history.current == 999


# --- the plan ------------------------------------------------------------------------------------------------------


def test_the_first_eight_of_28_pixels_have_all_steps() -> None:
    assert plan_strips((1, 28, 28), 8) == (STEPS, 1)


@given(st.tuples(st.sampled_from([1, 3, 16]), st.integers(8, 1024), st.integers(8, 1024)), st.integers(1, 64), st.booleans())
def test_frames_stay_within_the_budget_and_fit_the_image(shape: tuple[int, int, int], count: int, small: bool) -> None:
    budget = BUDGET_BYTES if not small else 100_000
    steps, block = plan_strips(shape, count, budget)
    frame = shape[0] * -(-shape[1] // block) * -(-shape[2] // block)
    assert 2 <= steps <= STEPS
    assert steps * frame * count <= budget or block == 64
    assert steps >= MIN_STEPS or block == 64


# --- the strips ----------------------------------------------------------------------------------------------------


def made(model: VAE, encodings: Encodings, z: np.ndarray, **more: Any) -> Strips:
    used = encodings.map_dimensions
    typical = typical_distances(encodings.mean[:, used], encodings.logvar[:, used], generator_for(0, "view"))
    return build_strips(model, encodings, z, open_dimensions(encodings, frozenset()), generation=3, typical=typical, **more)


def test_strips_of_a_run(tiny_run: Run) -> None:
    model, encodings = tiny_run.load_model(), tiny_run.load_encodings()
    coordinates = tiny_run.load_map(tiny_run.list_maps()[0]).coordinates
    encoded = encodings.mean[0]
    z = encoded + np.float32([0.5, 9.0, -0.25])
    strips = made(model, encodings, z, encoded=encoded, coordinates=coordinates)
    points = filmstrip_points(z, strips.dimensions, strips.values)
    for values, dimension in zip(strips.values, strips.dimensions, strict=True):
        assert z[dimension] in values
        assert strips.low[dimension] <= values[0]
        assert values[-1] <= strips.high[dimension]
    assert encoded[1] in strips.values[strips.dimensions.tolist().index(1)]
    expected = decode_images(model, points).reshape(strips.frames.shape) * 255
    assert np.abs(strips.frames - expected).max() <= 1
    assert np.abs(strips.settled - decode_images(model, z[None])[0] * 255).max() <= 1
    used = encodings.map_dimensions
    assert strips.positions is not None
    placed = place(points[:, used], encodings.mean[:, used], coordinates).reshape(strips.positions.shape)
    np.testing.assert_allclose(strips.positions, placed, atol=1e-4)
    assert strips.percentiles.shape == strips.values.shape
    assert ((strips.percentiles >= 0) & (strips.percentiles <= 100)).all()


def test_a_large_image_is_previewed_and_settles_in_full_size() -> None:
    config = ModelConfig(channels=3, height=96, width=128, latent=5, widths=(4,), blocks=0, hidden=8)
    model = build_model(config, 0).eval()
    images = np.random.default_rng(0).integers(0, 255, (20, 3, 96, 128), dtype=np.uint8)
    strips = made(model, encode_images(model, images), np.zeros(5, np.float32), budget_bytes=200_000)
    assert strips.settled.shape == (3, 96, 128)
    assert strips.frames.shape[2:] != strips.settled.shape
    assert strips.frames.nbytes <= 200_000
    assert strips.positions is None
    assert strips.encoded is None


def test_every_dimension_stands_in_one_group(tiny_run: Run) -> None:
    encodings = tiny_run.load_encodings()
    found = np.concatenate(list(slider_groups(encodings).values()))
    assert sorted(found.tolist()) == [0, 1, 2]
    np.testing.assert_array_equal(open_dimensions(encodings, frozenset(["more", "inactive"])), found)


def test_a_collapsed_posterior_still_has_sliders() -> None:
    still = Encodings(
        np.zeros((9, 12), np.float32), np.zeros((9, 12), np.float32), np.zeros(9, np.float32), np.zeros(9, np.float32)
    )
    groups = slider_groups(still)
    assert [len(groups[name]) for name in ("first", "more", "inactive")] == [8, 4, 0]  # type: ignore[index]
    low, high = slider_ranges(still, np.zeros(12, np.float32), None)
    assert (low < high).all()


# --- what goes out -------------------------------------------------------------------------------------------------


def unpacked(message: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    start = 4 + int.from_bytes(message[:4], "little")
    header = json.loads(message[4:start])
    arrays = {
        name: np.frombuffer(message, np.dtype(kind), count, start + offset)
        for name, (kind, offset, count) in header.pop("arrays").items()
    }
    return header, arrays


@given(st.lists(st.integers(0, 9), max_size=4), st.text(max_size=9))
def test_a_message_is_taken_apart_again(sizes: list[int], text: str) -> None:
    random = np.random.default_rng(0)
    kinds = (np.float32, np.uint8)
    arrays = {str(at): random.integers(0, 255, size).astype(kinds[at % 2]) for at, size in enumerate(sizes)}
    message = array_frame({"text": text}, arrays)
    header, found = unpacked(message)
    assert header == {"text": text}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_the_first_eight_dimensions_of_28_pixels_travel_in_400_kilobytes(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(ModelConfig(latent=64), 0).eval()
    random = np.random.default_rng(0)
    mean, zeros = random.normal(size=(50, 64)).astype(np.float32), np.zeros(50, np.float32)
    encodings = Encodings(mean, np.full_like(mean, -2), zeros, zeros)
    strips = made(model, encodings, mean[0], encoded=mean[0], coordinates=mean[:, :2].copy())
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(face, "_component", lambda **arguments: sent.append(arguments))
    original = random.integers(0, 255, (1, 28, 28), dtype=np.uint8)
    face.latent_sliders(strips, encodings, key="k", instance="i", run="r", subject="s" * 40, original=original, row=1)
    assert len(sent[0]["data"]) <= 400_000
    header, arrays = unpacked(sent[0]["data"])
    assert header["steps"] == 61
    assert arrays["frames"].size == 8 * 61 * 784
    np.testing.assert_array_equal(arrays["original"], original.ravel())
    assert "settled" not in arrays  # it is one of the frames


# --- on a page -----------------------------------------------------------------------------------------------------


@pytest.fixture
def page(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("LATENT_TEST_RUN", "tiny-run")
    return AppTest.from_file(str(APP), default_timeout=60).run()


def shown(page: AppTest) -> dict[str, Any]:
    assert not page.exception
    values: dict[str, Any] = json.loads(page.code[0].value)
    return values


def test_a_page_follows_a_commit_once(page: AppTest) -> None:
    before = shown(page)
    page.session_state["sliders"] = {"commit": commit(generation=1, changes=[[1, before["z"][1] + 0.01]])}
    after = shown(page.run())
    assert (after["generation"], after["commits"]) == (2, 1)
    assert after["z"][1] == pytest.approx(before["z"][1] + 0.01)
    assert shown(page.run()) == after | {"runs": after["runs"] + 1}


def test_a_page_passes_over_what_makes_no_sense(page: AppTest) -> None:
    before = shown(page)
    for state in ({"commit": commit(generation=1, changes=[[99, 0.0]])}, {"commit": "x"}, {}, {"other": 1}):
        page.session_state["sliders"] = state
        assert shown(page.run())["z"] == before["z"]
