"""What a person does on the map, as the server is told of it. All that comes from the browser is checked like any input."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

Polygon = tuple[tuple[float, float], ...]

MAX_CLICKED = 1000
"""Rows that can be added one by one."""
MAX_CORNERS = 200
MAX_COORDINATE = 1e9
_ID = re.compile(r"[a-z0-9]{1,20}-[0-9]{1,12}")
_DIGITS = 9


@dataclass(frozen=True)
class Select:
    """Images chosen on the map: one by one, by a polygon (a lasso or a box), or both.

    ``rows`` are all of them, ascending. ``primary`` is the one clicked last, None after a lasso. ``polygon`` (corners in map
    coordinates, closed by itself) holds the images inside it that are of no class in ``hidden``; ``clicked`` are the others.
    """

    rows: tuple[int, ...]
    primary: int | None = None
    clicked: tuple[int, ...] = ()
    polygon: Polygon | None = None
    hidden: tuple[int, ...] = ()


@dataclass(frozen=True)
class Empty:
    """A click where there is no image: a place on the map, in its coordinates."""

    x: float
    y: float


@dataclass(frozen=True)
class Clear:
    """The selection was given up."""


@dataclass(frozen=True)
class View:
    """What part of the map is shown, once it has come to rest: ``(left, right, bottom, top)``; None is the whole map."""

    ranges: tuple[float, float, float, float] | None


MapCommit = Select | Empty | Clear | View


def rows_inside(coordinates: Float32[np.ndarray, "n 2"], polygon: Polygon) -> Int64[np.ndarray, " inside"]:
    """The rows of the points inside a polygon, ascending; by the even-odd rule, so a loop within a loop is outside.

    The browser draws the same selection by the same comparisons in the same precision (``geometry.js``).
    """
    x, y = coordinates[:, 0].astype(np.float64), coordinates[:, 1].astype(np.float64)
    inside = np.zeros(len(coordinates), dtype=bool)
    corners = np.asarray(polygon, dtype=np.float64)
    for (x0, y0), (x1, y1) in zip(np.roll(corners, 1, axis=0), corners, strict=True):
        if y0 == y1:
            continue
        crosses = (y0 > y) != (y1 > y)
        inside ^= crosses & (x < (x1 - x0) * ((y - y0) / (y1 - y0)) + x0)
    return np.flatnonzero(inside)


def make_selection(
    coordinates: Float32[np.ndarray, "n 2"],
    labels: Int64[np.ndarray, " n"] | None,
    clicked: tuple[int, ...] = (),
    polygon: Polygon | None = None,
    hidden: tuple[int, ...] = (),
    primary: int | None = None,
) -> Select:
    """The selection that its parts stand for: what a link needs to carry is ``clicked``, ``polygon`` and ``hidden``."""
    rows = set(clicked)
    if polygon is not None:
        found = rows_inside(coordinates, polygon)
        if labels is not None and hidden:
            found = found[~np.isin(labels[found], hidden)]
        rows |= set(found.tolist())
    return Select(tuple(sorted(rows)), primary, clicked, polygon, hidden)


def polygon_text(polygon: Polygon) -> str:
    """A polygon as a link carries it: ``x,y,x,y,...``; the map rounds its corners to a pixel's worth, so it isn't long."""
    return ",".join(f"{value:.{_DIGITS}g}" for corner in polygon for value in corner)


def parse_polygon(text: str) -> Polygon | None:
    """The polygon of `polygon_text`, or None if it isn't one."""
    numbers = _numbers(text, 2 * MAX_CORNERS)
    if numbers is None or len(numbers) < 6 or len(numbers) % 2:
        return None
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def view_text(view: View) -> str:
    """A view as a link carries it: ``left,right,bottom,top``; the whole map is an empty text."""
    return "" if view.ranges is None else ",".join(f"{value:.{_DIGITS}g}" for value in view.ranges)


def parse_view(text: str) -> View | None:
    """The view of `view_text`, or None if it isn't one."""
    return _view(_numbers(text, 4) or ()) if text else View(None)


def parse_commit(
    raw: object, coordinates: Float32[np.ndarray, "n 2"], labels: Int64[np.ndarray, " n"] | None
) -> MapCommit | None:
    """What the browser sent, checked against the map it was sent from; None if it makes no sense."""
    if not isinstance(raw, dict):
        return None
    kind = raw.get("kind")
    if kind == "clear":
        return Clear()
    if kind == "empty":
        x, y = _coordinate(raw.get("x")), _coordinate(raw.get("y"))
        return None if x is None or y is None else Empty(x, y)
    if kind == "view":
        return _view(raw.get("ranges", ()))
    if kind == "select":
        return _select(raw, coordinates, labels)
    return None


def commit_id(raw: object) -> str | None:
    """The mark by which the browser knows its commit again, None if there is none."""
    mark = raw.get("id") if isinstance(raw, dict) else None
    return mark if isinstance(mark, str) and _ID.fullmatch(mark) else None


def _select(
    raw: dict[object, object], coordinates: Float32[np.ndarray, "n 2"], labels: Int64[np.ndarray, " n"] | None
) -> Select | None:
    count = len(coordinates)
    classes = 0 if labels is None else int(labels.max(initial=-1)) + 1
    clicked, hidden = _indices(raw.get("clicked"), count, MAX_CLICKED), _indices(raw.get("hidden", []), classes, classes)
    corners, primary = raw.get("polygon"), raw.get("primary")
    polygon = None if corners is None else _polygon(corners)
    if clicked is None or hidden is None or (corners is not None and polygon is None):
        return None
    if primary is not None and _indices([primary], count, 1) is None:
        return None
    if not clicked and polygon is None:
        return None
    return make_selection(coordinates, labels, clicked, polygon, hidden, primary if isinstance(primary, int) else None)


def _view(ranges: object) -> View | None:
    if ranges is None:
        return View(None)
    if not isinstance(ranges, list) or len(ranges) != 4:
        return None
    left, right, bottom, top = (_coordinate(value) for value in ranges)
    if left is None or right is None or bottom is None or top is None or left >= right or bottom >= top:
        return None
    return View((left, right, bottom, top))


def _polygon(raw: object) -> Polygon | None:
    if not isinstance(raw, list) or not 3 <= len(raw) <= MAX_CORNERS:
        return None
    corners = []
    for corner in raw:
        if not isinstance(corner, list) or len(corner) != 2:
            return None
        x, y = _coordinate(corner[0]), _coordinate(corner[1])
        if x is None or y is None:
            return None
        corners.append((x, y))
    return tuple(corners)


def _indices(raw: object, below: int, most: int) -> tuple[int, ...] | None:
    """Different whole numbers from 0 to under ``below``, or None."""
    if not isinstance(raw, list) or len(raw) > most:
        return None
    for value in raw:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < below:
            return None
    return tuple(raw) if len(set(raw)) == len(raw) else None


def _coordinate(raw: object) -> float | None:
    if not isinstance(raw, (int, float)) or isinstance(raw, bool) or not -MAX_COORDINATE <= raw <= MAX_COORDINATE:
        return None
    return float(raw)


def _numbers(text: str, most: int) -> list[float] | None:
    parts = text.split(",", most)
    if len(parts) > most:
        return None
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        return None
    return numbers if all(math.isfinite(number) and abs(number) <= MAX_COORDINATE for number in numbers) else None
