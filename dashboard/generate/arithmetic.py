"""Arithmetic: a − b + c, with what lies near the result."""

from __future__ import annotations

import numpy as np
import streamlit as st
from jaxtyping import Float32, Int64

from dashboard.components.picture_grid import picture_grid
from dashboard.generate.downloads import offer_pictures
from dashboard.generate.groups import groups_of
from dashboard.generate.shared import decoded, keep, open_in_explore, placed, remember, session_key
from dashboard.resources import LoadedRun
from dashboard.state import Visit
from vae import NEIGHBORS, arithmetic, nearest

IMAGE = "one image"
OPERANDS = {"a": "a", "b": "− b", "c": "+ c"}


def latent_arithmetic(loaded: LoadedRun, visit: Visit) -> None:
    """Draw the section."""
    groups = groups_of(loaded, visit)
    st.markdown(
        "What makes the difference between **b** and **a**, added to **c**. Each is an image's mean or the mean of a group."
    )
    chosen = [
        _operand(loaded, groups, column, *operand)
        for column, operand in zip(st.columns(3, gap="large"), OPERANDS.items(), strict=True)
    ]
    points = [mean for mean, _, _ in chosen]
    rows = {row for _, row, _ in chosen if row is not None}
    titles = [title for _, _, title in chosen]

    def work() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        result = arithmetic(points[0], points[1], points[2])
        z = np.stack([*points, result])
        near, distances = neighbours(loaded, result, rows)
        return z, decoded(loaded, z), placed(loaded, None, z, "means").percentiles, near, distances

    question = tuple(point.tobytes() for point in points)
    z, pictures, percentiles, near, distances = remember(loaded, "arithmetic", question, work)
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown(
            f"**Decoded**; the result is off-manifold {percentiles[3]:.0f}%",
            help="The result is farther from the encoded images than this share of them lies from its own neighbours. "
            "Trust it less above 95%.",
        )
        names = [f"Open {name} in Explore" for name in (*titles, "the result")]
        signs = [f"{sign}: {title}" for sign, title in zip(OPERANDS.values(), titles, strict=True)]
        clicked = picture_grid(
            pictures,
            key=session_key(loaded, "arithmetic-grid"),
            label="Operands and result",
            names=names,
            captions=[*signs, "= result"],
            columns=4,
            size=160,
        )
        offer_pictures(
            loaded,
            "arithmetic",
            z,
            ["a", "b", "c", "a - b + c"],
            title=f"a − b + c: {titles[0]} − {titles[1]} + {titles[2]}",
            columns=4,
        )
    with right:
        st.markdown(
            f"**The {len(near)} nearest test images**, operands left out",
            help="By the Euclidean distance of their means from the result, in the active dimensions.",
        )
        neighbour = picture_grid(
            loaded.data.images[near],
            key=session_key(loaded, "neighbours-grid"),
            label="Nearest test images",
            names=[f"Open {loaded.subject(int(row)).title} in Explore" for row in near],
            captions=[
                f"{loaded.data.class_name(int(row)) or row}, {distance:.2f}"
                for row, distance in zip(near, distances, strict=True)
            ],
            columns=4,
            size=160,
        )
    if clicked is not None:
        row = chosen[clicked][1] if clicked < 3 else chosen[2][1]
        base = visit.row if row is None else row
        open_in_explore(visit, base, None if clicked < 3 and row is not None else z[clicked], "moved")
    if neighbour is not None:
        open_in_explore(visit, int(near[neighbour]), None, "mean")


def _operand(
    loaded: LoadedRun, groups: dict[str, Int64[np.ndarray, " rows"]], column: object, name: str, sign: str
) -> tuple[Float32[np.ndarray, " latent"], int | None, str]:
    """A point, its row if it is an image's, and what it is called."""
    last = len(loaded.data) - 1
    options = [IMAGE, *(f"mean of {group}" for group in groups)]
    kind = keep(loaded, f"kind-{name}", _first_kind(options, name), options)
    row = keep(loaded, f"row-{name}", int(next(iter(groups.values()))[0]) if groups else min("abc".index(name), last))
    with column, st.container(horizontal=True, vertical_alignment="bottom"):  # type: ignore[attr-defined]
        st.selectbox(sign, options, key=kind, width=180)
        if st.session_state[kind] == IMAGE:
            st.number_input(f"Row of {name} (0 to {last})", 0, last, step=1, key=row, width=150)
            chosen = int(st.session_state[row])
            return loaded.encodings.mean[chosen], chosen, loaded.subject(chosen).title
    group = str(st.session_state[kind]).removeprefix("mean of ")
    mean = loaded.encodings.mean[groups[group]].mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean, None, f"mean of {group}"


def _first_kind(options: list[str], name: str) -> str:
    """At first the second group minus the first plus an image of the first: that image as one of the second group."""
    return options[{"a": 2, "b": 1, "c": 0}[name]] if len(options) > 2 else IMAGE


def neighbours(
    loaded: LoadedRun, z: Float32[np.ndarray, " latent"], without: set[int]
) -> tuple[Int64[np.ndarray, " count"], Float32[np.ndarray, " count"]]:
    """The rows of the test images nearest to a point, without some, and their distances in the active dimensions."""
    used, means = loaded.encodings.map_dimensions, loaded.encodings.map_means
    rows, distances = nearest(z[None, used], means, min(NEIGHBORS + len(without), len(means)))
    others = ~np.isin(rows[0], list(without))
    return rows[0][others][:NEIGHBORS], distances[0][others][:NEIGHBORS]
