"""Arrays to plotly figures. No Streamlit."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float32

from vae import ImageDataset
from vae.palette import PETROFF as PETROFF
from vae.palette import SYMBOLS


def map_figure(coordinates: Float32[np.ndarray, "n 2"], data: ImageDataset, values: Float32[np.ndarray, " n"]) -> go.Figure:
    """The map as a WebGL scatter plot: coloured by class, or by ``values`` (the ELBO, in nats) in a data set without labels.

    Every point carries its row in ``customdata``; class names stand at the medians of their classes.
    """
    figure = go.Figure()
    size = float(np.clip(400 / np.sqrt(len(coordinates)), 3, 9))
    if data.labels is None:
        marker = {"size": size, "color": values, "colorscale": "Cividis", "colorbar": {"title": "ELBO (nats)"}}
        figure.add_trace(_points(coordinates, np.arange(len(coordinates)), "images", marker))
    else:
        for label, name in enumerate(data.class_names):
            rows = np.flatnonzero(data.labels == label)
            if not len(rows):
                continue
            symbol = SYMBOLS[label // len(PETROFF) % len(SYMBOLS)]
            marker = {"size": size, "color": PETROFF[label % len(PETROFF)], "symbol": symbol, "opacity": 0.75}
            figure.add_trace(_points(coordinates, rows, f"{name} ({len(rows):,})", marker))
            x, y = np.median(coordinates[rows], axis=0)
            label_style = {"bgcolor": "rgba(255, 255, 255, 0.78)", "font": {"color": "#1d2233", "size": 12}, "showarrow": False}
            figure.add_annotation(x=float(x), y=float(y), text=_plain(name), **label_style)
    hidden = {"showticklabels": False, "showgrid": False, "zeroline": False, "title": None}
    figure.update_layout(
        xaxis=hidden,
        yaxis=hidden | {"scaleanchor": "x"},
        height=560,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        legend={"itemsizing": "constant", "orientation": "h", "yanchor": "top", "y": -0.01},
        clickmode="event+select",
        dragmode="pan",
        uirevision="map",
    )
    return figure


def _points(coordinates: np.ndarray, rows: np.ndarray, name: str, marker: dict[str, object]) -> go.Scattergl:
    return go.Scattergl(
        x=coordinates[rows, 0],
        y=coordinates[rows, 1],
        customdata=rows,
        mode="markers",
        marker=marker,
        name=_plain(name),
        hovertemplate="row %{customdata}<extra>%{fullData.name}</extra>",
        selected={"marker": {"opacity": 1.0, "size": 12}},
        unselected={"marker": {"opacity": 0.75}},
    )


def _plain(text: str) -> str:
    """Text that plotly shows as it is: its labels read a little HTML, and class names come from files."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
