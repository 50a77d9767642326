"""What a page without the component does: plain sliders, one image, decoded when a slider is let go. The baseline."""

from __future__ import annotations

import gc
import os

import numpy as np
import streamlit as st

from vae import VAE, Encodings, decode_images, open_run


@st.cache_resource
def load() -> tuple[VAE, Encodings]:
    """Model and encodings."""
    run = open_run(os.environ.get("LATENT_TEST_RUN", "fashion-mnist"))
    loaded = run.load_model(), run.load_encodings()
    gc.freeze()  # as the app that it is compared with
    return loaded


@st.fragment
def sliders() -> None:
    """Eight sliders and the image they decode to."""
    model, encodings = load()
    z = encodings.mean[0].copy()
    for dimension in encodings.active_dimensions[:8]:
        z[dimension] = st.slider(f"Dimension {dimension}", -5.0, 5.0, float(z[dimension]), 0.1)
    image = np.rint(decode_images(model, z[None])[0, 0] * 255).astype(np.uint8)
    st.image(image, width=112)


sliders()
