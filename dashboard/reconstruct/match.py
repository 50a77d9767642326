"""Match: the best point that can be found for an image, and so whether the encoder or the decoder fails on it."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import streamlit as st
from jaxtyping import UInt8

from dashboard.pictures import enlarged, to_uint8
from dashboard.reconstruct.judge import Examined, Judge
from dashboard.resources import LoadedRun
from vae.match import STEPS, Fault, Match, find_match
from vae.signals import SIGNALS
from vae.verdict import UNUSUAL

FOUND = "reconstruct-match"
"""Where the session holds the last match, with the image and weights that it belongs to."""
ERROR = [signal.name for signal in SIGNALS].index("squared_error")
WORDS: dict[Fault, str] = {
    "neither": "Neither fails: the encoder's own point already draws the image as well as validation images are drawn.",
    "encoder": "The encoder fails: there is a point that draws the image well, and the encoder doesn't find it.",
    "decoder": "The decoder fails: no point that was found draws the image as well as validation images are drawn.",
}


@st.fragment
def match_panel(
    loaded: LoadedRun, judge: Judge, examined: Examined, pixels: UInt8[np.ndarray, "channels height width"]
) -> None:
    """Draw the button, and what was found."""
    st.markdown("**Match: is it the encoder or the decoder that fails?**")
    key = (loaded.weights_digest, hashlib.sha256(pixels.tobytes()).hexdigest())
    if st.button("Match", icon=":material/target:", help=f"Optimise z to reconstruct the image: {STEPS} steps from 4 starts."):
        try:
            st.session_state[FOUND] = (key, _search(loaded, judge, examined, pixels))
        except FloatingPointError as error:
            st.error(f"{error}.")
            return
    held = st.session_state.get(FOUND)
    if held is None or held[0] != key:
        st.caption(f"Climbs log p(x|z) in z by {STEPS} gradient steps, with no regard for the prior or the encoder.")
        return
    _show(judge, held[1])


def _search(loaded: LoadedRun, judge: Judge, examined: Examined, pixels: np.ndarray) -> Match:
    mean, around = examined.measured.mean[0], judge.reference.around
    starts = np.stack([mean, *(_near(loaded, judge, row) for row in examined.nearest[:2].tolist()), np.zeros_like(mean)])
    std = np.exp(examined.measured.logvar[0] / 2)
    bar = st.progress(0.0, "Optimising z")

    def decode(z: Any) -> Any:
        with loaded.lock:  # NOTE: held for one step at a time: others go on looking meanwhile
            return loaded.model.decode(z)

    def show(done: int, total: int) -> None:
        if done % 15 == 0:
            bar.progress(done / total, "Optimising z")

    try:
        return find_match(
            decode,
            loaded.model.likelihood,
            pixels,
            starts.astype(np.float32),
            std,
            around.dimensions,
            device=next(loaded.model.parameters()).device,
            progress=show,
        )
    finally:
        bar.empty()


def _near(loaded: LoadedRun, judge: Judge, row: int) -> np.ndarray:
    return np.asarray(loaded.encode(judge.training.rows(slice(row, row + 1))).mean[0])


def _show(judge: Judge, match: Match) -> None:
    validation = judge.reference.validation[:, ERROR]
    limit = float(np.quantile(validation, 1 - UNUSUAL))
    st.markdown(WORDS[match.fault(limit)])
    columns = st.columns(4)
    for column, (title, log_prob, error) in zip(
        columns,
        (
            ("Encoder's mean", match.encoder_log_prob, match.encoder_squared_error),
            ("Best point found", match.log_prob, match.squared_error),
        ),
        strict=False,
    ):
        column.metric(title, f"{-log_prob:.1f} nats", help="−log p(x|z), summed over pixels; lower is better.")
        share = 100 * float((validation < error).mean())
        column.caption(f"squared error {error:.4f} per pixel: above that of {share:.1f} % of validation images")
    columns[2].image(enlarged(to_uint8(match.picture)), width=140, caption="decoded from the best point", alt="Best match")
    columns[3].caption(
        f"The two points lie {match.distance:.1f} standard deviations of q(z|x) apart (root mean square, active dimensions). "
        f"A squared error of at most {limit:.4f} is good enough: the {100 * (1 - UNUSUAL):g}th percentile of the encoder's own "
        "reconstructions of validation images. The search may miss a better point; it never overstates one."
    )
