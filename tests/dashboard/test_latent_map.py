"""The map's Python side: what it sends, what it makes of what comes back. No browser."""

from __future__ import annotations

import json
import math
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from dashboard.components.frames import ALIGNMENT, frame, pack
from dashboard.components.latent_map import (
    Clear,
    Colouring,
    Empty,
    MapPath,
    MapPoints,
    Select,
    View,
    commit_key,
    ensure_plotly_js,
    make_selection,
    make_sprites,
    parse_commit,
    parse_polygon,
    parse_view,
    polygon_text,
    rows_inside,
    view_text,
)
from dashboard.components.latent_map.sprites import quantise, shrink

RANDOM = np.random.default_rng(5)
PLACES = RANDOM.normal(0, 3, (400, 2)).astype(np.float32)
LABELS = RANDOM.integers(0, 4, 400)
SQUARE = ((-1.0, -1.0), (2.0, -1.0), (2.0, 3.0), (-1.0, 3.0))
STAR = ((0.0, 4.0), (2.4, -3.2), (-3.8, 1.2), (3.8, 1.2), (-2.4, -3.2))
"""Crosses itself: the middle is outside."""


def read_frame(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(content[:4], "little")
    return json.loads(content[4 : 4 + length]), content[4 + length :]


# --- what lies inside ----------------------------------------------------------------------------------------------


def crossings_above(x: float, y: float, polygon: tuple[tuple[float, float], ...]) -> int:
    """How many edges a ray straight up from a point meets."""
    count = 0
    for (x0, y0), (x1, y1) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        if min(x0, x1) <= x < max(x0, x1):
            count += y0 + (y1 - y0) * (x - x0) / (x1 - x0) > y
    return count


@pytest.mark.parametrize("polygon", [SQUARE, STAR, tuple(map(tuple, RANDOM.normal(0, 3, (40, 2)).tolist()))])
def test_rows_inside_are_those_with_an_odd_number_of_edges_above(polygon: tuple[tuple[float, float], ...]) -> None:
    expected = [row for row, (x, y) in enumerate(PLACES.tolist()) if crossings_above(x, y, polygon) % 2]
    assert 0 < len(expected) < len(PLACES)
    assert rows_inside(PLACES, polygon).tolist() == expected


def test_a_selection_is_the_polygon_without_hidden_classes_and_the_clicked_rows() -> None:
    inside = rows_inside(PLACES, SQUARE)
    outside = int(np.setdiff1d(np.arange(400), inside)[0])
    chosen = make_selection(PLACES, LABELS, clicked=(outside,), polygon=SQUARE, hidden=(1, 2), primary=outside)
    assert chosen.rows == tuple(sorted([outside, *(row for row in inside.tolist() if LABELS[row] in (0, 3))]))
    assert make_selection(PLACES, None, polygon=SQUARE, hidden=(1,)).rows == tuple(inside.tolist())
    assert make_selection(PLACES, None, clicked=(7, 3)).rows == (3, 7)


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=3, max_size=60))
def test_a_polygon_comes_back_from_its_text(corners: list[tuple[float, float]]) -> None:
    back = parse_polygon(polygon_text(tuple(corners)))
    assert back is not None
    np.testing.assert_allclose(back, corners, rtol=1e-8, atol=1e-30)


@pytest.mark.parametrize("text", ["", "1,2,3,4", "1,2,3,4,5", "1,2,x,4,5,6", "1,2,nan,4,5,6", "1,2,1e99,4,5,6", "1," * 10_000])
def test_a_text_that_is_no_polygon_is_refused(text: str) -> None:
    assert parse_polygon(text) is None


def test_a_view_comes_back_from_its_text() -> None:
    assert parse_view(view_text(View((-1.25, 3.0, 0.5, 2.75)))) == View((-1.25, 3.0, 0.5, 2.75))
    assert parse_view(view_text(View(None))) == View(None)
    for text in ("1", "3,1,0,1", "0,1,nan,2", "0,1,2,3,4", "a,b,c,d", "0,0,1,2"):
        assert parse_view(text) is None


# --- what the browser sends ----------------------------------------------------------------------------------------


def test_commits_are_read() -> None:
    corners = [list(corner) for corner in SQUARE]
    lasso = {"kind": "select", "clicked": [], "polygon": corners, "hidden": [2], "primary": None}
    assert parse_commit(lasso, PLACES, LABELS) == make_selection(PLACES, LABELS, polygon=SQUARE, hidden=(2,))
    click = {"kind": "select", "clicked": [9, 4], "polygon": None, "hidden": [], "primary": 4}
    assert parse_commit(click, PLACES, None) == Select((4, 9), 4, (9, 4))
    assert parse_commit({"kind": "empty", "x": 1, "y": -2.5}, PLACES, LABELS) == Empty(1.0, -2.5)
    assert parse_commit({"kind": "clear"}, PLACES, LABELS) == Clear()
    assert parse_commit({"kind": "view", "ranges": [0, 1, 2, 3.5]}, PLACES, LABELS) == View((0.0, 1.0, 2.0, 3.5))
    assert parse_commit({"kind": "view", "ranges": None}, PLACES, LABELS) == View(None)


GOOD: dict[str, Any] = {"kind": "select", "clicked": [1], "polygon": None, "hidden": [], "primary": 1}
WRONG: list[object] = [
    *(GOOD | {"clicked": value} for value in (None, [], [400], [-1], [1.0], [True], ["1"], [1, 1], 1, list(range(400)) * 4)),
    *(GOOD | {"primary": value} for value in (400, -1, 1.5, True, "1", [1])),
    *(GOOD | {"hidden": value} for value in ([4], [-1], [0, 0], "0", None)),
    *(GOOD | {"polygon": value} for value in ([], [[0, 0], [1, 1]], [[0, 0]] * 1000, [[0, 0], [1, 1], [2]], "abc")),
    *(GOOD | {"polygon": [[0, 0], [1, 1], [2, value]]} for value in (float("nan"), float("inf"), "1", None, True, 10**400)),
    *({"kind": "empty", "x": value, "y": 0} for value in (float("nan"), float("-inf"), "0", None, 1e300, [0])),
    *({"kind": "view", "ranges": value} for value in ([0, 1, 2], [1, 0, 0, 1], [0, 1, 1, 1], "0123", [0, 1, 0, float("nan")])),
    *({"kind": value} for value in ("view", "select", "empty", "other", None, [], {})),
    *(None, [], "select", 3, {}),
]


@pytest.mark.parametrize("raw", WRONG, ids=lambda raw: str(raw)[:60])
def test_nonsense_is_refused(raw: object) -> None:
    assert parse_commit(GOOD, PLACES, LABELS) is not None
    assert parse_commit(raw, PLACES, LABELS) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)
FIELDS = ("clicked", "polygon", "hidden", "primary", "x", "y", "ranges")


@given(st.sampled_from(["select", "empty", "view", "clear", "?"]), st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_whatever_comes_never_raises(kind: str, fields: dict[str, object]) -> None:
    commit = parse_commit({"kind": kind, **fields}, PLACES, LABELS)
    assert commit is None or isinstance(commit, (Select, Empty, Clear, View))
    if isinstance(commit, Select):
        assert set(commit.rows) <= set(range(len(PLACES)))


# --- what the browser gets -----------------------------------------------------------------------------------------


def test_arrays_lie_where_the_table_says_and_aligned() -> None:
    arrays = {"a": np.arange(3, dtype=np.uint8), "b": np.array([[1.5, -2], [0, 7]], dtype=np.float32)}
    table, body = pack(arrays)
    head, after = read_frame(frame({"arrays": table, "name": "é"}, body))
    assert (len(frame({"arrays": table, "name": "é"}, body)) - len(after)) % ALIGNMENT == 0
    for name, array in arrays.items():
        kind, start, count = head["arrays"][name]
        assert start % ALIGNMENT == 0
        assert np.frombuffer(after, kind, count, start).tolist() == array.ravel().tolist()
    with pytest.raises(ValueError, match="float64"):
        pack({"c": np.zeros(2)})


def unpack_sprites(content: bytes) -> tuple[dict[str, Any], np.ndarray]:
    head, body = read_frame(content)
    tiles, start = [], 0
    for size in head["sizes"]:
        tiles.append(zlib.decompress(body[start : start + size]))
        start += size
    return head, np.frombuffer(b"".join(tiles), np.uint8).reshape(-1, head["channels"], head["height"], head["width"])


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 12, 17)])
def test_pictures_within_the_budget_are_exact_over_all_tiles(shape: tuple[int, int, int]) -> None:
    images = RANDOM.integers(0, 256, (3000, *shape), dtype=np.uint8)
    head, back = unpack_sprites(make_sprites(images))
    assert head["exact"]
    assert head["bits"] == 8
    assert len(head["sizes"]) == -(-3000 // head["perTile"])
    np.testing.assert_array_equal(back, images)


def test_other_numbers_of_channels_show_their_first_or_first_three() -> None:
    images = RANDOM.integers(0, 256, (5, 4, 6, 6), dtype=np.uint8)
    np.testing.assert_array_equal(unpack_sprites(make_sprites(images))[1], images[:, :3])
    np.testing.assert_array_equal(unpack_sprites(make_sprites(images[:, :2]))[1], images[:, :1])


@pytest.mark.parametrize("budget", [450_000, 120_000, 60_000])
def test_pictures_beyond_the_budget_lose_levels_first_then_pixels(budget: int) -> None:
    images = RANDOM.integers(0, 256, (800, 1, 30, 30), dtype=np.uint8)
    content = make_sprites(images, byte_budget=budget)
    head, _ = unpack_sprites(content)
    assert len(content) <= budget * 1.05
    assert not head["exact"]
    assert (head["height"] == 30) == (head["bits"] < 8 and budget == 450_000)


@pytest.mark.parametrize(("side", "shown"), [(10, True), (9, False)])
def test_pictures_that_would_become_too_small_to_be_told_apart_are_left_out(side: int, shown: bool) -> None:
    images = RANDOM.integers(0, 256, (800, 1, 30, 2), dtype=np.uint8)
    head, back = unpack_sprites(make_sprites(images, memory_budget=800 * side))
    assert (head["height"] == 10) == shown
    assert len(back) == (800 if shown else 0)
    assert bool(head["sizes"]) == shown


def test_small_pictures_are_shown_as_they_are() -> None:
    images = RANDOM.integers(0, 256, (800, 1, 8, 8), dtype=np.uint8)
    assert len(unpack_sprites(make_sprites(images))[1]) == 800


@pytest.mark.parametrize(("classes", "kind"), [(256, "uint8"), (257, "uint16"), (65_537, "int32")])
def test_labels_travel_in_as_few_bytes_as_the_classes_need(classes: int, kind: str) -> None:
    labels = np.array([0, classes - 1, 3])
    names = tuple(str(label) for label in range(classes))
    head, body = read_frame(MapPoints("run", PLACES[:3], np.zeros((3, 1, 2, 2), np.uint8), labels, names).base)
    found, start, count = head["arrays"]["labels"]
    assert found == kind
    assert np.frombuffer(body, kind, count, start).tolist() == labels.tolist()


def test_pictures_fit_into_the_browsers_memory() -> None:
    images = np.zeros((500, 3, 40, 40), dtype=np.uint8)
    head, _ = unpack_sprites(make_sprites(images, memory_budget=700_000))
    assert 500 * head["channels"] * head["height"] * head["width"] <= 700_000
    assert head["height"] == 20


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_a_smaller_picture_is_made_of_means(factor: int) -> None:
    images = RANDOM.integers(0, 256, (2, 3, 10, 7), dtype=np.uint8)
    small = shrink(images, factor)
    for index in np.ndindex(small.shape):
        square = images[index[0], index[1], factor * index[2] :, factor * index[3] :][:factor, :factor]
        assert abs(float(small[index]) - square.mean()) <= 0.5


def test_levels_are_the_nearest() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    for bits in (4, 6):
        shown = quantise(values, bits).astype(float) * 255 / (2**bits - 1)
        assert np.abs(shown - values).max() <= 255 / (2**bits - 1) / 2


def test_points_and_colourings_are_checked() -> None:
    images = np.zeros((400, 1, 4, 4), dtype=np.uint8)
    names = ("a", "b", "c", "d")
    points = MapPoints("digest", PLACES, images, LABELS, names)
    head, body = read_frame(points.base)
    assert (head["run"], head["count"], head["classNames"]) == ("digest", 400, list(names))
    kind, start, count = head["arrays"]["xy"]
    np.testing.assert_array_equal(np.frombuffer(body, kind, count, start).reshape(-1, 2), PLACES)
    assert head["images"] == read_frame(points.sprites)[0]["images"]
    assert points.digest != MapPoints("digest", PLACES * 2, images).digest
    nan = PLACES.copy()
    nan[3, 0] = np.nan
    for wrong in (PLACES[:-1], nan):
        with pytest.raises(ValueError, match="finite places"):
            MapPoints("digest", wrong, images)
    for labels in (LABELS[:-1], LABELS + 1, LABELS - 1):
        with pytest.raises(ValueError, match="labels from 0 to under 4"):
            MapPoints("digest", PLACES, images, labels, names)
    with pytest.raises(ValueError, match="ELBO: expected a finite number"):
        Colouring("ELBO", "nats", np.array([1, np.inf], dtype=np.float32))


def test_a_piece_of_a_path_is_far_if_one_of_its_ends_is() -> None:
    path = MapPath(((0.0, 0.0), (1.0, 0.0), (2.0, 0.5), (3.0, 1.0)), (False, False, True, False))
    assert path.parts == {"places": [[0.0, 0.0], [1.0, 0.0], [2.0, 0.5], [3.0, 1.0]], "far": [1, 2]}


@pytest.mark.parametrize(
    ("places", "far", "sentence"),
    [
        (((0.0, 0.0),), (False,), "a path has 2 to 1000 places and a flag for each, got 1, 1"),
        (((0.0, 0.0),) * 1001, (False,) * 1001, "got 1001, 1001"),
        (((0.0, 0.0), (1.0, 1.0)), (False,), "got 2, 1"),
        (((0.0, 0.0), (math.nan, 1.0)), (False, True), "must be finite"),
    ],
)
def test_a_path_is_checked(places: tuple[tuple[float, float], ...], far: tuple[bool, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        MapPath(places, far)


def test_a_few_extreme_values_do_not_take_the_colour_scale() -> None:
    values = np.concatenate([np.linspace(-300, -200, 995), np.full(5, -1e6)]).astype(np.float32)
    head, _ = read_frame(Colouring("ELBO", "nats", values).frame)
    assert -310 < head["low"] < head["high"] < -199
    assert head["clippedLow"]


# --- plotly.js -----------------------------------------------------------------------------------------------------


def test_plotly_is_put_beside_the_script_once_even_by_two_at_a_time(tmp_path: Path) -> None:
    threads = [threading.Thread(target=ensure_plotly_js, args=(tmp_path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    address = ensure_plotly_js(tmp_path)
    file = tmp_path / address.removeprefix("app/")
    assert address.startswith("app/static/plotly-")
    assert [path.name for path in (tmp_path / "static").iterdir()] == [file.name]
    assert file.read_text("utf-8").startswith("/**\n* plotly.js")
    written = file.stat().st_mtime_ns
    assert ensure_plotly_js(tmp_path) == address
    assert file.stat().st_mtime_ns == written


# --- on a page -----------------------------------------------------------------------------------------------------


def page_with_callback(folder: str, with_callback: bool) -> None:
    from pathlib import Path

    import numpy as np
    import streamlit as st

    from dashboard.components.latent_map import MapPoints, latent_map

    points = MapPoints("digest", np.eye(2, dtype=np.float32).repeat(10, axis=0), np.zeros((20, 1, 4, 4), dtype=np.uint8))
    heard = st.session_state.setdefault("heard", [])
    callback = heard.append if with_callback else None
    commit = latent_map(points, key="map", on_commit=callback, static_folder=Path(folder))
    if commit is not None:
        heard.append(commit)


@pytest.mark.parametrize("with_callback", [True, False])
def test_a_commit_is_told_once_and_nonsense_never(tmp_path: Path, with_callback: bool) -> None:
    app = AppTest.from_function(page_with_callback, args=(str(tmp_path), with_callback)).run()
    assert not app.exception

    def send(**commit: object) -> list[object]:
        app.session_state[commit_key("map")] = {"commit": commit}
        app.run()
        assert not app.exception
        return list(app.session_state["heard"])

    click = {"kind": "select", "clicked": [3], "polygon": None, "hidden": [], "primary": 3}
    assert send(**click, id="abc-1") == [Select((3,), 3, (3,))]
    assert send(**click, id="abc-1") == [Select((3,), 3, (3,))]
    assert send(**click) == [Select((3,), 3, (3,))]
    assert send(kind="select", clicked=[20], id="abc-2") == [Select((3,), 3, (3,))]
    assert send(kind="clear", id="abc-3") == [Select((3,), 3, (3,)), Clear()]
