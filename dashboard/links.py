"""The URL as the mirror of a visit: a reload, or a copied link, opens the same view.

It carries ``run``, ``row`` (a test image), ``z`` (the dimensions in which the point differs from that image's mean, rounded, as
``3:1.25,7:-0.4``), ``w`` (the digest of the weights that they belong to), ``colour``, ``map`` (the parameters of a map),
``view`` (the part of it that is shown), and the selection: ``lasso`` (a polygon in map coordinates), ``without`` (the classes
hidden when it was drawn), ``chosen`` (rows added one by one). A value that makes no sense is dropped and named in a note. An
image from outside never gets into the URL.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import streamlit as st
from jaxtyping import Float32

from dashboard.colourings import colouring_names
from dashboard.components.latent_map import make_selection, parse_polygon, parse_view, polygon_text, view_text
from dashboard.resources import LoadedRun, ShownMap, find_map, load_run
from dashboard.state import Place, Visit, current_visit
from vae import MapConfig

MAX_ABS_Z = 20.0
DIGEST_LENGTH = 8
DECIMALS = 2
MAX_CHOSEN = 1000


def begin_page() -> tuple[Visit, LoadedRun] | None:
    """What each page about a run begins with: the visit and its run, made to fit each other and mirrored in the URL, and what
    is to be noted told. None where there is no run.

    Raises:
        RunError, DataError: the run, or the data it was trained on, can't be used.
    """
    visit = current_visit()
    if visit is None:
        return None
    loaded = load_run(visit.run)
    fit_to_run(visit, loaded)
    write_url(visit, loaded)
    while visit.notes:
        st.info(visit.notes.pop(0))
    return visit, loaded


def fit_to_run(visit: Visit, loaded: LoadedRun) -> None:
    """Make the visit fit the loaded run: taken from the URL on the first visit, from the start after a change of run."""
    if visit.weights == loaded.weights_digest:
        return
    first = not visit.weights
    visit.weights = loaded.weights_digest
    visit.begin(Place())
    if visit.colouring not in colouring_names(loaded):
        visit.colouring = colouring_names(loaded)[0]
    if first:
        _read_url(visit, loaded)


def map_text(config: MapConfig) -> str:
    """A map's parameters as a link carries them, such as ``umap-15-0.1-0``."""
    return "-".join(str(value) for value in dataclasses.asdict(config).values())


# --- reading -------------------------------------------------------------------------------------------------------


def _read_url(visit: Visit, loaded: LoadedRun) -> None:
    params = st.query_params.to_dict()
    if params.get("run", visit.run) != visit.run:
        return
    weights = params.get("w", "")
    if weights and weights != loaded.weights_digest[:DIGEST_LENGTH]:
        visit.notes.append("The link was made with other weights of this run, so its image, point and selection were dropped.")
        return
    _read_place(visit, loaded, params.get("row", ""), params.get("z", ""))
    colour = params.get("colour", visit.colouring)
    if colour in colouring_names(loaded):
        visit.colouring = colour
    else:
        visit.notes.append("The link names a colouring that this run doesn't have, so it was dropped.")
    shown = _read_map(visit, loaded, params.get("map", ""))
    if shown is not None and shown.is_flat:
        _read_view(visit, params.get("view", ""))
        _read_selection(visit, loaded, shown, params)


def _read_place(visit: Visit, loaded: LoadedRun, row: str, z: str) -> None:
    place = visit.place
    if row:
        if row.isascii() and row.isdigit() and int(row[:12]) < len(loaded.data):
            place = Place(int(row))
        else:
            visit.notes.append(f"The link names an image that isn't there: rows go from 0 to {len(loaded.data) - 1:,}.")
    if z:
        point = _parse_point(z, loaded.encodings.mean[place.row])
        if point is None:
            visit.notes.append("The link holds a latent point that doesn't fit this model, so it was dropped.")
        else:
            place = dataclasses.replace(place, z=point, origin="link")
    visit.begin(place)


def _read_map(visit: Visit, loaded: LoadedRun, text: str) -> ShownMap | None:
    if text:
        asked = next((config for config in loaded.run.list_maps() if map_text(config) == text), None)
        if asked is None:
            visit.notes.append("The link names a map that isn't kept here; showing another. The Maps panel can make it.")
            return None
        visit.map = asked
    return find_map(loaded, visit.map)[0]


def _read_view(visit: Visit, text: str) -> None:
    visit.view = parse_view(text)
    if text and visit.view is None:
        visit.notes.append("The link holds a part of the map that makes no sense, so the whole map is shown.")


def _read_selection(visit: Visit, loaded: LoadedRun, shown: ShownMap, params: dict[str, str]) -> None:
    if not (params.get("lasso") or params.get("chosen")):
        return
    polygon = parse_polygon(params["lasso"]) if params.get("lasso") else None
    chosen = _parse_rows(params.get("chosen", ""), len(loaded.data))
    hidden = _parse_rows(params.get("without", ""), len(loaded.data.class_names))
    if chosen is None or hidden is None or (params.get("lasso") and polygon is None):
        visit.notes.append("The link holds a selection that doesn't fit this map, so it was dropped.")
        return
    primary = chosen[-1] if chosen else None
    visit.selection = make_selection(shown.points.coordinates, loaded.data.labels, chosen, polygon, hidden, primary)


def _parse_rows(text: str, count: int) -> tuple[int, ...] | None:
    """Different whole numbers from 0 to under ``count``, or None."""
    parts = text.split(".", MAX_CHOSEN) if text else []
    if len(parts) > MAX_CHOSEN or not all(part.isascii() and part.isdigit() and int(part[:12]) < count for part in parts):
        return None
    return tuple(dict.fromkeys(int(part) for part in parts))


def _parse_point(text: str, base: Float32[np.ndarray, " latent"]) -> Float32[np.ndarray, " latent"] | None:
    """``base`` with the dimensions that ``text`` names changed, or None if it isn't such a text."""
    point = base.astype(np.float32).copy()
    parts = text.split(",")
    if len(parts) > len(base):
        return None
    for part in parts:
        dimension, _, number = part.partition(":")
        try:
            value = float(number)
        except ValueError:
            return None
        known = dimension.isascii() and dimension.isdigit() and int(dimension[:6]) < len(base)
        if not known or not math.isfinite(value) or abs(value) > MAX_ABS_Z:
            return None
        point[int(dimension)] = value
    return point


# --- writing -------------------------------------------------------------------------------------------------------


def format_point(z: Float32[np.ndarray, " latent"], base: Float32[np.ndarray, " latent"]) -> str:
    """The dimensions in which ``z`` differs from ``base``, as the URL carries them."""
    changed = np.flatnonzero(np.abs(z - base) >= 0.5 * 10**-DECIMALS)
    return ",".join(f"{dimension}:{round(float(z[dimension]), DECIMALS) + 0.0:g}" for dimension in changed)


def write_url(visit: Visit, loaded: LoadedRun) -> None:
    """Mirror the visit in the URL."""
    params = {"run": visit.run, "row": str(visit.row), "w": loaded.weights_digest[:DIGEST_LENGTH]}
    params["z"] = format_point(visit.point(loaded), loaded.encodings.mean[visit.row])
    params["colour"] = visit.colouring if visit.colouring != colouring_names(loaded)[0] else ""
    params["map"] = "" if visit.map is None else map_text(visit.map)
    params["view"] = "" if visit.view is None else view_text(visit.view)
    selection = visit.selection
    if selection is not None:
        params["lasso"] = "" if selection.polygon is None else polygon_text(selection.polygon)
        params["without"] = ".".join(map(str, selection.hidden))
        params["chosen"] = ".".join(map(str, selection.clicked)) if visit.selection_rows else ""
    params = {name: value for name, value in params.items() if value}
    if st.query_params.to_dict() != params:
        st.query_params.from_dict(params)
