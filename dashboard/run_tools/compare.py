"""Two or more runs beside each other: curves, numbers, spectra, pictures, and two maps with one selection."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.charts import Curve, curves, kl_spectra
from dashboard.components.latent_map import Clear, MapCommit, Select, latent_map
from dashboard.components.picture_grid import picture_grid
from dashboard.markdown import plain
from dashboard.pictures import to_uint8
from dashboard.resources import LoadedRun, ShownMap, find_map, load_run
from vae import DataError, History, MapConfig, RunError, Summary, open_run, read_history
from vae.palette import PETROFF

MAX_RUNS = 6
PICTURES = 12
MAP_HEIGHT = 420
SELECTION = "runs-selection"
"""The session key of the rows that are selected on both maps."""
AXES = {"epochs": "epoch", "time": "minutes of gradient steps"}
TERMS = ("−ELBO", "Reconstruction term, −E[log p(x|z)]", "KL(q(z|x) ‖ p(z))")
SECTIONS = ("Curves", "Numbers", "KL spectra", "Pictures", "Maps")


def compare_runs(rows: list[Summary]) -> None:
    """Draw the choice of runs and the comparison."""
    names = [row.name for row in rows]
    chosen = st.multiselect("Runs to compare", names, key="runs-compared", max_selections=MAX_RUNS, placeholder="Two or more")
    if len(chosen) < 2:
        st.caption(f"Choose two to {MAX_RUNS} runs: their curves, numbers, spectra, pictures and maps then stand side by side.")
        return
    section = st.segmented_control("Compare their", SECTIONS, default="Curves", required=True, key="runs-section")
    if section == "Curves":
        _curves(chosen)
    elif section == "Numbers":
        _numbers([row for name in chosen for row in rows if row.name == name])
    elif section == "KL spectra":
        _spectra(chosen)
    elif section == "Pictures":
        _pictures(chosen)
    else:
        _maps(chosen)


def _histories(names: list[str]) -> dict[str, History]:
    found = {}
    for name in names:
        try:
            history = read_history(open_run(name))
        except RunError as error:
            st.warning(plain(str(error)))
            continue
        if len(history):
            found[name] = history
        else:
            st.caption(f"Run {name} has no finished epoch yet.")
    return found


def _loaded(names: list[str]) -> dict[str, LoadedRun]:
    found = {}
    for name in names:
        try:
            found[name] = load_run(name)
        except (RunError, DataError) as error:
            st.warning(f"Run {name} is left out. {plain(str(error))}")
    return found


# --- numbers -------------------------------------------------------------------------------------------------------


def _curves(names: list[str]) -> None:
    histories = _histories(names)
    if not histories:
        return
    axis = st.segmented_control("Over", list(AXES), default="epochs", required=True, key="runs-axis")
    columns = st.columns(3)
    for term, (column, title) in enumerate(zip(columns, TERMS, strict=True)):
        lines = []
        for number, (name, history) in enumerate(histories.items()):
            x = history.seconds / 60 if axis == "time" else history.epoch.astype(np.float64)
            lines.append(Curve(name, x, history.validation[:, term], PETROFF[number]))
        figure = curves(title, AXES[axis or "epochs"], "nats per image", lines)
        column.plotly_chart(figure, key=f"runs-chart-{term}", config={"displaylogo": False})
    st.caption(
        "On each run's own validation images, after the epoch, one sample of z; lower −ELBO is better. Only runs on the same "
        "data with the same likelihood can be compared in nats. Time is that of gradient steps, on whatever machine it was."
    )


def _numbers(rows: list[Summary]) -> None:
    first = rows[0]
    numbers: dict[str, Callable[[Summary], float | None]] = {
        "−ELBO (nats per image)": lambda row: row.negative_elbo,
        "reconstruction term (nats per image)": lambda row: row.reconstruction,
        "KL (nats per image)": lambda row: row.kl,
        "active units": lambda row: row.active_units,
        "latent dimensions": lambda row: row.latent,
        "parameters": lambda row: row.parameters,
        "epochs": lambda row: row.epoch,
        "size (MB)": lambda row: row.size / 1e6,
    }
    table: dict[str, list[str]] = {"figure": list(numbers)}
    for row in rows:
        table[row.name] = [_text(read(row)) for read in numbers.values()]
    for row in rows[1:]:
        table[f"{row.name} − {first.name}"] = [_difference(read(row), read(first)) for read in numbers.values()]
    right = {name: st.column_config.TextColumn(alignment="right") for name in list(table)[1:]}
    st.dataframe(pd.DataFrame(table), hide_index=True, column_config=right)
    st.caption("Test images, means, one sample of z; the columns with a minus sign are differences from the first run chosen.")
    if len({row.dataset for row in rows}) > 1:
        st.warning("These runs were trained on different data sets, so their nats can't be compared.")


def _text(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _difference(value: float | None, other: float | None) -> str:
    if value is None or other is None:
        return ""
    whole = isinstance(value, int) and isinstance(other, int)
    return (f"{value - other:+,}" if whole else f"{value - other:+,.2f}").replace("-", "−")


def _spectra(names: list[str]) -> None:
    spectra = {name: history.kl_per_dimension[history.best] for name, history in _histories(names).items()}
    if spectra:
        st.plotly_chart(kl_spectra(spectra), key="runs-spectra", config={"displaylogo": False})
        st.caption("KL of each latent dimension on the validation images, at the best epoch of each run, the strongest first.")


# --- pictures and maps ---------------------------------------------------------------------------------------------


def _pictures(names: list[str]) -> None:
    loaded = _loaded(names)
    if not loaded:
        return
    first = next(iter(loaded.values()))
    same = {name: run for name, run in loaded.items() if run.data.digest == first.data.digest}
    for name in loaded.keys() - same.keys():
        st.warning(f"Run {name} is left out: its test images are others than those of {first.run.name}.")
    rows = np.linspace(0, len(first.data) - 1, min(PICTURES, len(first.data))).astype(int)
    images, titles = [first.data.images[rows]], ["original"]
    for name, run in same.items():
        images.append(to_uint8(run.decode(run.encodings.mean[rows])))
        titles.append(f"{name}, −ELBO {-run.encodings.elbo[rows].mean():.1f}")
    picture_grid(
        np.concatenate(images),
        key="runs-pictures",
        label="The same test images, reconstructed by each run",
        names=[f"Test image {row}, {title}" for title in titles for row in rows],
        columns=len(rows),
        row_titles=titles,
        size=84,
    )
    st.caption(
        f"{len(rows)} test images, evenly from the whole test set, each decoded from its posterior mean. −ELBO: mean of these "
        "images, nats, one sample of z."
    )


def _maps(names: list[str]) -> None:
    shown: dict[str, tuple[LoadedRun, ShownMap]] = {}
    for name, run in _loaded(names[:2]).items():
        flat = next((config for config in run.run.list_maps() if config.components == 2), MapConfig())
        found, problem = find_map(run, flat)
        if found is None or not found.is_flat:
            st.warning(f"Run {name} has no flat map. {plain(problem or 'Make one on the page Explore.')}")
        else:
            shown[name] = run, found
    if not shown:
        return
    digests = {run.data.digest for run, _ in shown.values()}
    for column, (name, (run, found)) in zip(st.columns(2), shown.items(), strict=False):
        with column:
            st.markdown(f"**{name}**: {found.map.config.title}")
            _map(name, run, found, linked=len(digests) == 1)
    _selected(next(iter(shown.values()))[0], len(digests) == 1)


def _map(name: str, run: LoadedRun, found: ShownMap, linked: bool) -> None:
    key = SELECTION if linked else f"{SELECTION}-{name}"
    kept: Select | None = st.session_state.get(key)
    if kept is not None and kept.rows and kept.rows[-1] >= len(run.data):
        kept = None
    owner = st.session_state.get(f"{key}-owner")
    # NOTE: a polygon belongs to the map it was drawn on; the other shows the rows inside it.
    selection = kept if kept is None or owner == name else Select(kept.rows, kept.primary, kept.rows)

    def follow(commit: MapCommit) -> None:
        if isinstance(commit, Select):
            st.session_state[key], st.session_state[f"{key}-owner"] = commit, name
        elif isinstance(commit, Clear):
            st.session_state[key] = None

    latent_map(
        found.points, key=f"runs-map-{name}-{run.weights_digest}", selection=selection, height=MAP_HEIGHT, on_commit=follow
    )


def _selected(run: LoadedRun, linked: bool) -> None:
    if not linked:
        st.caption("The two runs have other test images, so a selection on one map stands on that one alone.")
        return
    kept: Select | None = st.session_state.get(SELECTION)
    if kept is None:
        st.caption("Choose images on one map, by clicks or a lasso: the same images light up on the other.")
        return
    st.markdown(f"**{len(kept.rows):,} of {len(run.data):,} test images are selected** on both maps.")
