"""The Download button beside an image: its pictures, its latent point and its numbers."""

from __future__ import annotations

import numpy as np
import streamlit as st
from jaxtyping import Float32, UInt8

from dashboard.pictures import numbers_json, original_size, point_csv, point_npy, zip_of
from dashboard.resources import Subject


def offer_downloads(
    run: str,
    subject: Subject,
    z: Float32[np.ndarray, " latent"],
    images: dict[str, UInt8[np.ndarray, "channels height width"]],
    steps: dict[str, bytes] | None = None,
) -> None:
    """Draw the button. ``images`` and ``steps`` (finished PNG files) are offered under their names."""
    name = f"{run}-{'picture' if subject.row is None else subject.row}"
    with st.popover("Download", icon=":material/download:"):
        for title, image in images.items():
            st.download_button(f"{title} (PNG)", original_size(image), f"{name}-{title}.png", "image/png", on_click="ignore")
        if steps:
            files = {f"{step}.png": png for step, png in steps.items()}
            st.download_button(
                "all steps (ZIP of PNG)", zip_of(files), f"{name}-steps.zip", "application/zip", on_click="ignore"
            )
        table = point_csv(z, subject.mean, subject.logvar)
        st.download_button("latent point (CSV)", table, f"{name}-z.csv", "text/csv", on_click="ignore")
        st.download_button("latent point (NPY)", point_npy(z), f"{name}-z.npy", on_click="ignore")
        numbers = numbers_json(subject.reconstruction, subject.kl)
        st.download_button("ELBO terms (JSON)", numbers, f"{name}-elbo.json", "application/json", on_click="ignore")
