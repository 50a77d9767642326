"""Explore: the map of the test set, the chosen image and what the model makes of it, a slider for every latent dimension."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dashboard.charts import map_figure
from dashboard.downloads import offer_downloads
from dashboard.pictures import difference, enlarged, to_uint8
from dashboard.resources import LoadedRun, load_run
from dashboard.state import MAX_ABS_Z, Visit, current_visit, fit_to_run, write_url
from vae import generator_for, sample_prior

OPEN_DIMENSIONS = 8
RANGE_STDS = 4.0
ORIGINS = {
    "mean": "the posterior mean of {title}",
    "posterior": "a sample of the posterior of {title}",
    "prior": "a sample of the prior N(0, I)",
    "moved": "a point you moved to",
    "link": "the point of the link",
}


def page() -> None:
    """Draw the page."""
    visit = current_visit()
    if visit is None:
        return
    loaded = load_run(visit.run)
    fit_to_run(visit, loaded)
    while visit.notes:
        st.info(visit.notes.pop(0))
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _map(loaded, visit)
    with right:
        _inspector(loaded, visit)


# --- the map -------------------------------------------------------------------------------------------------------


@st.cache_data(max_entries=8, show_spinner=False)
def _map_figure(weights_digest: str, map_digest: str, _loaded: LoadedRun) -> go.Figure:
    del weights_digest, map_digest  # parts of the cache's key
    if _loaded.map is None:
        raise ValueError("a map figure needs a map")
    return map_figure(_loaded.map.coordinates, _loaded.data, _loaded.encodings.elbo)


def _map(loaded: LoadedRun, visit: Visit) -> None:
    if loaded.map is None:
        st.warning(f"This run has no map to show. {loaded.map_problem}")
        return
    key = f"map-{loaded.weights_digest}"

    def choose() -> None:
        row = selected_row(st.session_state.get(key), len(loaded.data))
        if row is not None:
            visit.select(row)

    config = loaded.map.config
    method = config.method.upper()
    used = len(loaded.encodings.map_dimensions)
    st.markdown(
        f"**{len(loaded.data):,} of {len(loaded.data):,} test images**, {method} of their posterior means "
        f"({used} active dimensions). Click a point to choose its image."
    )
    st.plotly_chart(
        _map_figure(loaded.weights_digest, repr(config), loaded),
        key=key,
        on_select=choose,
        selection_mode="points",
        config={"scrollZoom": True, "displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d"]},
        alt=f"Map of {len(loaded.data):,} test images",
    )
    st.download_button(
        "Map and ELBO terms (CSV)",
        data=lambda: _table(loaded),
        file_name=f"{visit.run}-map.csv",
        mime="text/csv",
        on_click="ignore",
        help="Row, class, map coordinates and ELBO terms (nats, one sample of z) of every test image.",
    )


def selected_row(event: object, count: int) -> int | None:
    """The row that a selection on the map names, or None: what a browser sends is checked like any input."""
    try:
        points = event["selection"]["points"]  # type: ignore[index]
        row = points[0]["customdata"]
        row = row[0] if isinstance(row, (list, tuple)) else row
    except (TypeError, KeyError, IndexError):
        return None
    whole = isinstance(row, int) or (isinstance(row, float) and row.is_integer())  # JavaScript has one kind of number
    return int(row) if whole and not isinstance(row, bool) and 0 <= row < count else None


def _table(loaded: LoadedRun) -> bytes:
    encodings, count = loaded.encodings, len(loaded.data)
    columns: dict[str, object] = {"row": range(count)}
    if loaded.data.labels is not None:
        columns["class"] = [loaded.data.class_name(row) for row in range(count)]
    if loaded.map is not None:
        columns |= {"map_x": loaded.map.coordinates[:, 0], "map_y": loaded.map.coordinates[:, 1]}
    columns |= {"elbo_nats": encodings.elbo, "reconstruction_nats": encodings.reconstruction, "kl_nats": encodings.kl}
    return pd.DataFrame(columns).to_csv(index=False).encode()


# --- the chosen image ----------------------------------------------------------------------------------------------


@st.fragment
def _inspector(loaded: LoadedRun, visit: Visit) -> None:
    _choose_image(loaded, visit)
    subject = visit.subject(loaded)
    point = visit.point(loaded)
    decoded = to_uint8(loaded.decode(point[None])[0])
    apart = difference(subject.pixels, decoded)
    pictures = (
        ("Original", subject.pixels, subject.title),
        ("Decoded", decoded, "what the decoder makes of the point"),
        ("|Difference|", apart, f"mean {apart.mean():.1f} of 255"),
    )
    for column, (title, image, caption) in zip(st.columns(3, gap="small"), pictures, strict=True):
        with column:
            st.image(enlarged(image), caption=f"{title}: {caption}", width="stretch", alt=f"{title}: {subject.title}")
    st.markdown(f"Decoded from **{ORIGINS[visit.origin].format(title=subject.title)}**.")
    elbo = subject.reconstruction - subject.kl
    st.markdown(
        f"−ELBO **{-elbo:.1f}** = reconstruction {-subject.reconstruction:.1f} + KL {subject.kl:.1f}",
        help="Of the image itself, in nats, from one sample of its posterior; lower is better. "
        "reconstruction is −log p(x|z) summed over pixels, KL is from q(z|x) to the prior N(0, I).",
    )
    _actions(loaded, visit)
    if subject.row is None:
        st.caption("The link in the address bar carries the run and the point; your picture itself is not part of it.")
    _sliders(loaded, visit)
    images = {"original": subject.pixels, "decoded": decoded, "difference": apart}
    offer_downloads(visit.run, subject, point, images)
    write_url(visit, loaded)


def _choose_image(loaded: LoadedRun, visit: Visit) -> None:
    last = len(loaded.data) - 1

    def go() -> None:
        visit.select(int(st.session_state["row"]))

    def random() -> None:
        visit.seed += 1
        visit.select(int(np.random.default_rng().integers(last + 1)))

    st.session_state["row"] = visit.row
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.number_input(f"Test image (row 0 to {last})", 0, last, key="row", step=1, on_change=go, width=180)
        st.button("Random image", on_click=random, icon=":material/shuffle:")


def _actions(loaded: LoadedRun, visit: Visit) -> None:
    subject = visit.subject(loaded)
    choices = {"mean": "Posterior mean", "posterior": "Posterior sample"}

    def switch() -> None:
        if st.session_state["reconstruct-from"] == "mean":
            visit.go(None, "mean")
        elif st.session_state["reconstruct-from"] == "posterior":
            visit.seed += 1
            noise = np.asarray(sample_prior(1, loaded.latent, generator_for(visit.seed, "view")))[0]
            visit.go(subject.mean + np.exp(subject.logvar / 2) * noise, "posterior")

    def prior() -> None:
        visit.seed += 1
        visit.go(np.asarray(sample_prior(1, loaded.latent, generator_for(visit.seed, "view")))[0], "prior")

    st.session_state["reconstruct-from"] = visit.origin if visit.origin in choices else None
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.segmented_control(
            "Reconstruct from the",
            list(choices),
            format_func=choices.__getitem__,
            key="reconstruct-from",
            on_change=switch,
            help="The mean of q(z|x), or one sample of it. Choosing again after moving a slider returns there.",
        )
        st.button("Prior sample", on_click=prior, icon=":material/casino:", help="Decode a new z ~ N(0, I).")
        st.button(
            "Reset",
            on_click=visit.reset,
            icon=":material/undo:",
            disabled=visit.origin != "moved",
            help="Undo all moves of the sliders.",
        )


# --- the sliders ---------------------------------------------------------------------------------------------------


def _sliders(loaded: LoadedRun, visit: Visit) -> None:
    encodings = loaded.encodings
    active = encodings.active_dimensions.tolist()
    inactive = [dimension for dimension in encodings.order.tolist() if not encodings.active[dimension]]
    st.markdown("**Latent dimensions**, by KL, the strongest first")
    for dimension in active[:OPEN_DIMENSIONS]:
        _slider(loaded, visit, dimension)
    if active[OPEN_DIMENSIONS:] and st.toggle(f"{len(active) - OPEN_DIMENSIONS} more active dimensions"):
        for dimension in active[OPEN_DIMENSIONS:]:
            _slider(loaded, visit, dimension)
    if inactive and st.toggle(
        f"{len(inactive)} inactive dimensions",
        help="The encoder's mean hardly changes in them from image to image (variance at most 0.01): the model doesn't use "
        "them, and moving them changes next to nothing.",
    ):
        for dimension in inactive:
            _slider(loaded, visit, dimension)


def _slider(loaded: LoadedRun, visit: Visit, dimension: int) -> None:
    encodings, point = loaded.encodings, visit.point(loaded)
    value = float(np.clip(point[dimension], -MAX_ABS_Z, MAX_ABS_Z))
    middle, std = float(encodings.aggregate_mean[dimension]), float(encodings.aggregate_std[dimension])
    low, high = np.floor(min(middle - RANGE_STDS * std, value)), np.ceil(max(middle + RANGE_STDS * std, value))
    key = f"dimension-{dimension}"

    def move() -> None:
        z = visit.point(loaded).copy()
        z[dimension] = float(st.session_state[key])
        visit.move(z)

    st.session_state[key] = round(value, 2)
    st.slider(
        f"Dimension {dimension} (KL {encodings.kl_per_dimension[dimension]:.2f} nats)",
        float(low),
        float(high),
        step=0.01,
        key=key,
        on_change=move,
        help=f"Aggregate posterior: mean {middle:.2f}, standard deviation {std:.2f}.",
    )


if __name__ == "__main__":
    page()
