"""Explore as plain widgets would have it: the baseline. One `st.plotly_chart` whose points can be clicked, the image that was
clicked, one `st.slider` for each of eight latent dimensions, and the image that they decode to when one is let go."""

from __future__ import annotations

import gc

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from vae import VAE, Encodings, MapConfig, choose_device, decode_images, load_test_data, open_run


@st.cache_resource
def load() -> tuple[VAE, Encodings, np.ndarray, go.Figure]:
    """Model, encodings, test images, and the map as a chart."""
    run = open_run("fashion-mnist")
    data, places = load_test_data(run), run.load_map(MapConfig()).coordinates
    points = go.Scattergl(x=places[:, 0], y=places[:, 1], mode="markers", marker={"size": 4, "color": data.labels})
    figure = go.Figure(points, {"height": 478, "dragmode": "pan", "margin": {"l": 0, "r": 0, "t": 0, "b": 0}})
    loaded = run.load_model(choose_device()), run.load_encodings(), data.images, figure
    gc.freeze()  # as the app that it is compared with
    return loaded


def picture(pixels: np.ndarray, key: str) -> None:
    """A grey image, found by its key."""
    with st.container(key=key):
        st.image(pixels, width=112)


@st.fragment
def sliders(row: int) -> None:
    """Eight sliders from an image's posterior mean, and what they decode to."""
    model, encodings, _, _ = load()
    z = encodings.mean[row].copy()
    for dimension in encodings.active_dimensions[:8]:
        z[dimension] = st.slider(f"Dimension {dimension}", -5.0, 5.0, float(np.clip(z[dimension], -5, 5)), 0.1)
    picture(np.rint(decode_images(model, z[None])[0, 0] * 255).astype(np.uint8), "decoded")


st.set_page_config(layout="wide")
*_, images, chart = load()
left, right = st.columns([58, 42], gap="small")
with left:
    chosen = st.plotly_chart(chart, key="map", on_select="rerun", selection_mode="points")
clicked = chosen["selection"]["point_indices"]
with right:
    picture(images[clicked[0] if clicked else 0, 0], "original")
    sliders(clicked[0] if clicked else 0)
