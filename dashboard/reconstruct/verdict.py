"""The verdict on an image: its sentence, the signals behind it, what q(z|x) is unsure of, and the nearest training images."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st
from jaxtyping import UInt8

from dashboard.charts import posterior_cloud
from dashboard.markdown import plain
from dashboard.pictures import enlarged, heat, to_uint8
from dashboard.reconstruct.judge import CLOUD, Examined, Judge
from dashboard.resources import LoadedRun, find_map
from dashboard.state import Visit
from vae.signals import SAMPLES, SIGNALS
from vae.verdict import UNLIKE, UNUSUAL, Verdict

SHOWN_SAMPLES = 15
MOST_SAMPLES = 64
TONES = {"none": st.info, "like": st.success, "unusual": st.warning, "unlike": st.error}
ICONS = {
    "none": ":material/info:",
    "like": ":material/check_circle:",
    "unusual": ":material/help:",
    "unlike": ":material/block:",
}


def show_sentence(verdict: Verdict, pixels: UInt8[np.ndarray, "channels height width"]) -> None:
    """The verdict in words."""
    TONES[verdict.level](verdict.sentence, icon=ICONS[verdict.level])
    if pixels.min() == pixels.max():
        st.caption(
            f"The picture is one even tone ({pixels.min()} of 255): there is nothing on it to reconstruct. One object on a "
            "plain background works best."
        )


def signals_table(verdict: Verdict) -> pd.DataFrame:
    """A row for each signal: value, percentile among the validation images, and its own p-value."""
    return pd.DataFrame(
        {
            "signal": [signal.title for signal in SIGNALS],
            "value": [f"{value:.4g} {signal.unit}" for value, signal in zip(verdict.values, SIGNALS, strict=True)],
            "percentile": np.round(verdict.percentiles, 1),
            "p alone": [f"{p:.2g}" for p in verdict.own_p],
            "odd if": ["too high or too low" if signal.two_sided else "too high" for signal in SIGNALS],
            "what it is": [signal.about for signal in SIGNALS],
        }
    )


def show_signals(verdict: Verdict) -> None:
    """The signals that the verdict rests on."""
    st.markdown(f"**Each signal beside {verdict.images:,} validation images**")
    st.dataframe(
        signals_table(verdict),
        hide_index=True,
        column_config={
            "percentile": st.column_config.ProgressColumn(
                "percentile", min_value=0, max_value=100, format="%.1f", help="The share of validation images below it."
            )
        },
    )
    st.caption(
        f"From {SAMPLES} draws of z, the same for every image. p is corrected for using {len(SIGNALS)} signals: at most "
        f"{100 * UNUSUAL:g} % of images like the training data are called unusual or worse, {100 * UNLIKE:g} % unlike "
        "anything. "
        "A low −ELBO is no sign of health: a blank picture has the lowest of all. "
        "Measured on the test images: `python -m vae verdict` and the run's name."
    )


def show_uncertainty(loaded: LoadedRun, examined: Examined) -> None:
    """Posterior samples, decoded, and where they differ."""
    st.markdown("**What the posterior leaves open**")
    count = st.slider("Posterior samples", 2, MOST_SAMPLES, SHOWN_SAMPLES, key="posterior-samples", width=260)
    decoded = loaded.decode(examined.cloud[:count])
    variance = decoded.var(axis=0, ddof=1, dtype=np.float64).mean(axis=0).astype(np.float32)
    top = max(float(variance.max()), 1e-6)
    left, right = st.columns([3, 1])
    with left, st.container(horizontal=True, gap="small"):
        for number, picture in enumerate(decoded, 1):
            st.image(enlarged(to_uint8(picture)), width=72, alt=f"Posterior sample {number}")
    right.image(
        enlarged(heat(variance, top)),
        width=200,
        caption=f"Variance of {count} samples, per pixel: black 0, pale yellow {top:.2g} (pixels from 0 to 1)",
        alt="Variance image",
    )


def show_cloud(loaded: LoadedRun, visit: Visit, examined: Examined) -> None:
    """The placements of samples of q(z|x) on the map, if there is a flat one."""
    shown, _ = find_map(loaded, visit.map)
    if shown is None or not shown.is_flat:
        st.caption("No flat map is kept with this run, so samples of q(z|x) can't be placed: make one on Explore, under Maps.")
        return
    places = shown.place(np.concatenate([examined.cloud, examined.measured.mean]), loaded.encodings)
    data = loaded.data
    figure = posterior_cloud(shown.map.coordinates, data.labels, data.class_names, places[:-1], places[-1])
    st.plotly_chart(figure, key="posterior-cloud")
    spread = np.sqrt(np.square(places[:-1] - places[:-1].mean(axis=0)).sum(axis=1).mean())
    extent = np.sqrt(np.square(shown.map.coordinates - shown.map.coordinates.mean(axis=0)).sum(axis=1).mean())
    st.caption(
        f"{CLOUD} samples of q(z|x), each placed beside the test images nearest to it: one dot would claim more than the model "
        f"knows. They spread over {100 * spread / extent:.1f} % of the map's own spread. Placement is approximate: far "
        "from all images, as of a picture of another kind, it still lands among some."
    )


def show_nearest(judge: Judge, examined: Examined) -> None:
    """The nearest training images with their distances."""
    around, count = judge.reference.around, len(examined.nearest)
    st.markdown(f"**The {count} nearest training images**")
    with st.container(horizontal=True, gap="small"):
        for row, distance in zip(examined.nearest.tolist(), examined.distances.tolist(), strict=True):
            name = judge.training.class_name(row)
            title = f"{distance:.2f}" + (f" {plain(name)}" if name else "")
            st.image(
                enlarged(judge.training.rows(slice(row, row + 1))[0]), width=84, caption=title, alt=f"Training image {row}"
            )
    st.caption(
        f"Under each, its distance in latent space: between posterior means, in the {len(around.dimensions)} active "
        f"dimensions. Among {len(around.rows):,} training images."
    )
