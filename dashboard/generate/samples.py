"""Samples: pictures decoded from the prior."""

from __future__ import annotations

import numpy as np
import streamlit as st

from dashboard.components.picture_grid import picture_grid
from dashboard.generate.downloads import offer_pictures
from dashboard.generate.shared import decoded, keep, open_in_explore, placed, remember, session_key
from dashboard.resources import LoadedRun
from dashboard.state import Visit
from vae import generator_for, sample_prior

MAX_SEED = 2**31 - 1


def samples(loaded: LoadedRun, visit: Visit) -> None:
    """Draw the section."""
    side, seed, temperature = _choices(loaded)
    count = side * side

    def draw() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        noise = np.asarray(sample_prior(count, loaded.latent, generator_for(seed, "view")))
        z = (np.float32(temperature) * noise).astype(np.float32)
        return z, decoded(loaded, z), placed(loaded, None, z, "samples").percentiles

    z, pictures, percentiles = remember(loaded, "samples", (side, seed, temperature), draw)
    spread = "N(0, I)" if temperature == 1 else f"N(0, {temperature:.2f}² I)"
    st.markdown(
        f"**{count} samples**, decoded from z ~ {spread}, seed {seed}. Click one to open it in Explore.",
        help="The percentage under each says how far it is from the encoded images: farther than that share of the model's own "
        "samples of the aggregate posterior. Trust the picture less above 95%.",
    )
    chosen = picture_grid(
        pictures,
        key=session_key(loaded, "samples-grid"),
        label=f"{count} samples of the prior",
        names=[f"Open sample {number} in Explore" for number in range(1, count + 1)],
        captions=[f"off-manifold {value:.0f}%" for value in percentiles],
        columns=side,
        size=min(128, 900 // side),
    )
    captions = [f"sample off-manifold {value:.0f}%" for value in percentiles]
    title = f"{count} samples, z ~ {spread}, seed {seed}; pictures are E[x|z]"
    offer_pictures(loaded, f"samples-seed{seed}", z, captions, title=title, columns=side)
    if chosen is not None:
        open_in_explore(visit, visit.row, z[chosen], "prior")


def _choices(loaded: LoadedRun) -> tuple[int, int, float]:
    side, seed = keep(loaded, "side", 4), keep(loaded, "seed", 0)
    temperature = keep(loaded, "temperature", 1.0)

    def resample() -> None:
        st.session_state[seed] = (st.session_state[seed] + 1) % (MAX_SEED + 1)

    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.number_input("Grid side", 1, 8, step=1, key=side, width=130, help="4 gives 4 × 4 samples.")
        st.number_input("Seed", 0, MAX_SEED, step=1, key=seed, width=150, help="The same seed gives the same samples.")
        st.slider(
            "Temperature",
            0.0,
            2.0,
            step=0.05,
            key=temperature,
            width=240,
            help="Multiplies the prior's standard deviation: 1 is the prior itself; below it samples are more typical and less "
            "varied, above it the reverse.",
        )
        st.button("Resample", on_click=resample, icon=":material/casino:", help="The next seed.")
    return int(st.session_state[side]), int(st.session_state[seed]), float(st.session_state[temperature])
