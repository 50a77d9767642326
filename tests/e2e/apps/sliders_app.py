"""The sliders alone, on a real run, with bad days on demand: buttons, and ``?delay=4,0`` (seconds before each answer).

The run is named by LATENT_TEST_RUN; LATENT_TEST_SHAPE=CxHxW takes an untrained model of that shape instead.
"""

from __future__ import annotations

import gc
import json
import os
import time
from typing import Any

import numpy as np
import streamlit as st

from dashboard.components.latent_sliders import (
    History,
    SlidersCommit,
    build_strips,
    latent_sliders,
    open_dimensions,
    read_commit,
    slider_ranges,
)
from dashboard.resources import SERVING_PRECISION
from vae import (
    VAE,
    Encodings,
    ModelConfig,
    build_model,
    encode_images,
    generator_for,
    load_test_data,
    open_run,
    sample_prior,
    typical_distances,
)

KEY = "sliders"


@st.cache_resource
def load() -> tuple[VAE, Encodings, np.ndarray, np.ndarray | None, np.ndarray]:
    """Model, encodings, images, map coordinates, reference distances."""
    shape = os.environ.get("LATENT_TEST_SHAPE")
    if shape:
        channels, height, width = map(int, shape.split("x"))
        config = ModelConfig(channels=channels, height=height, width=width, latent=12, widths=(8, 8), blocks=0, hidden=16)
        model, coordinates = build_model(config, 0).eval(), None
        images = np.random.default_rng(0).integers(0, 255, (64, *config.image_shape), dtype=np.uint8)
        encodings = encode_images(model, images)
    else:
        run = open_run(os.environ.get("LATENT_TEST_RUN", "fashion-mnist"))
        model, encodings, images = run.load_model(), run.load_encodings(), load_test_data(run).images
        coordinates = run.load_map(run.list_maps()[0]).coordinates
    gc.freeze()  # Streamlit collects garbage after every run: what is loaded once for all need not be looked through again
    used = encodings.map_dimensions
    typical = typical_distances(encodings.mean[:, used], encodings.logvar[:, used], generator_for(0, "view"))
    return model, encodings, images, coordinates, typical


def sample(encodings: Encodings, row: int, from_prior: bool) -> np.ndarray:
    """A point of the prior or of an image's posterior."""
    noise = np.asarray(sample_prior(1, encodings.mean.shape[1], generator_for(int(time.time_ns() % 2**31), "view")))[0]
    return noise if from_prior else encodings.mean[row] + np.exp(encodings.logvar[row] / 2) * noise


def follow(state: dict[str, Any], commit: SlidersCommit, encodings: Encodings) -> None:
    """Do what the person asked for."""
    history: History[np.ndarray] = state["history"]
    here = history.current
    if commit.action == "undo":
        history = history.undo()
    elif commit.action == "redo":
        history = history.redo()
    elif commit.action == "drag":
        history = history.go(commit.moved(here))
    elif commit.action == "reset":
        history = history.go(encodings.mean[state["row"]])
    elif commit.action in ("prior", "posterior"):
        history = history.go(sample(encodings, state["row"], commit.action == "prior"))
    state |= {"history": history, "unfolded": commit.unfolded, "answers": commit.sequence, "commits": state["commits"] + 1}
    state["generation"] += 1


@st.fragment
def sliders() -> None:
    """The component and what it needs around it."""
    model, encodings, images, coordinates, typical = load()
    state = st.session_state["state"]
    state["runs"] += 1
    encoded = encodings.mean[state["row"]]
    commit = read_commit(KEY, state["generation"], *slider_ranges(encodings, state["history"].current, encoded))
    if commit:
        delays = st.query_params.get("delay", "0").split(",")
        time.sleep(float(delays[min(state["commits"], len(delays) - 1)]))
        follow(state, commit, encodings)
    is_old = state.pop("old", False)
    z = state["history"].current if not is_old else np.zeros_like(encoded)
    strips = build_strips(
        model,
        encodings,
        z,
        open_dimensions(encodings, state["unfolded"]),
        generation=state["generation"] - is_old,
        typical=typical,
        encoded=encoded,
        coordinates=coordinates,
        precision=SERVING_PRECISION,
    )
    latent_sliders(
        strips,
        encodings,
        key=KEY,
        instance=state["instance"],
        run="demo",
        subject=f"test image {state['row']}",
        original=images[state["row"]],
        row=state["row"],
        answers=state["answers"],
        can_undo=state["history"].can_undo,
        can_redo=state["history"].can_redo,
    )
    shown = {name: state[name] for name in ("generation", "commits", "runs", "row")}
    st.code(json.dumps(shown | {"z": z.tolist()}), language=None)


def main() -> None:
    """The page."""
    st.set_page_config(layout="wide")
    _, encodings, _, _, _ = load()
    first = {"generation": 1, "commits": 0, "runs": 0, "row": 0, "answers": None, "unfolded": frozenset()}
    first |= {"history": History((encodings.mean[0],)), "instance": f"demo-{time.time_ns()}"}
    state = st.session_state.setdefault("state", first)
    left, right = st.columns([3, 2])
    with left:
        st.text_input("Words")
        if st.button("Next image"):
            row = state["row"] + 1
            state |= {"row": row, "history": History((encodings.mean[row],)), "answers": None}
            state["generation"] += 1
        if st.button("Old strips"):
            state["old"] = True
        if st.button("Stop the server"):
            os._exit(0)
    with right:
        sliders()


main()
