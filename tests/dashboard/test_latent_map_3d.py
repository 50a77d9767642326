"""The 3-D view without a browser: what it takes, and what it makes of what a browser sends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.components.latent_map import MapPoints, latent_map_points
from dashboard.components.latent_map_3d import latent_map_3d


def made(components: int, count: int = 12) -> MapPoints:
    random = np.random.default_rng(0)
    places = random.normal(size=(count, components)).astype(np.float32)
    return MapPoints("run", places, random.integers(0, 256, (count, 1, 8, 8), dtype=np.uint8))


def test_each_view_takes_places_of_its_own_dimensions() -> None:
    assert (made(2).is_flat, made(3).is_flat) == (True, False)
    assert b'"xyz":["float32",0,36]' in made(3).base
    assert b'"xy":["float32",0,24]' in made(2).base
    with pytest.raises(ValueError, match="12 images need as many finite places, got \\(12, 4\\)"):
        made(4)
    with pytest.raises(ValueError, match="a map of three dimensions is for latent_map_3d"):
        latent_map_points(made(3), key="map")
    with pytest.raises(ValueError, match="latent_map_3d needs places in three dimensions"):
        latent_map_3d(made(2), key="map", on_select=print)


def page(folder: str) -> None:
    from pathlib import Path

    import numpy as np
    import streamlit as st

    from dashboard.components.latent_map import MapPoints
    from dashboard.components.latent_map_3d import latent_map_3d

    points = MapPoints("run", np.eye(12, 3, dtype=np.float32), np.zeros((12, 1, 8, 8), np.uint8))
    heard = st.session_state.setdefault("heard", [])
    latent_map_3d(points, key="map", on_select=heard.append, current=2, static_folder=Path(folder))


def test_a_click_is_told_once_and_nonsense_never(tmp_path: Path) -> None:
    app = AppTest.from_function(page, args=(str(tmp_path),)).run()
    assert not app.exception

    def send(commit: object) -> list[int]:
        app.session_state["map-map-3d"] = {"commit": commit}
        app.run()
        assert not app.exception
        return list(app.session_state["heard"])

    click: dict[str, Any] = {"kind": "select", "clicked": [3], "polygon": None, "hidden": [], "primary": 3}
    assert send(click | {"id": "abc-1"}) == [3]
    assert send(click | {"id": "abc-1"}) == [3]
    corners = [[0, 0], [1, 0], [1, 1]]
    wrong = [{"primary": 12, "clicked": [12]}, {"primary": -1}, {"primary": "3"}, {"primary": True}, {"primary": None}]
    wrong += [{"clicked": [99]}, {"polygon": corners, "primary": None}, {"kind": "empty", "x": 0, "y": 0}, {"kind": "launch"}]
    for number, change in enumerate(wrong):
        assert send(click | change | {"id": f"abc-{number + 2}"}) == [3], change
    for commit in (None, [], "select", click, click | {"id": "<script>"}):
        assert send(commit) == [3]
    assert send(click | {"id": "abc-99", "primary": 5, "clicked": [5]}) == [3, 5]
