"""The maps of a run: those that are kept, a form for a new one, and how far one is that is being made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import jobs
from dashboard.markdown import plain
from vae import MAP_PARAMETERS, ConfigError, MapConfig, Run, RunError, default_map, open_run
from vae.config import Components, MapMethod, from_json
from vae.jobs import JobError, JobStatus
from vae.projection import LEAST_DIMENSIONS

POLL_SECONDS = 0.5
OnOpen = Callable[[MapConfig], None]

METHODS: dict[MapMethod, str] = {
    "umap": "Keeps neighbours together and groups apart; distances between groups say little.",
    "tsne": "Keeps neighbours together; sizes of groups and distances between them say little. Takes longest.",
    "pca": "The directions of largest variance, seen straight on: distances are true but flattened. Done at once.",
}
METRICS = {
    "euclidean": "Euclidean: the straight line",
    "cosine": "Cosine: the angle at the origin",
    "correlation": "Correlation: the angle, each mean centred on its own average",
}
DIMENSIONS: dict[Components, str] = {2: "2-D", 3: "3-D"}
HELP = {
    "neighbors": "How many nearest images each image is kept close to: few show fine detail, many the broad shape.",
    "min_dist": "How closely points may be packed: small makes tight clumps, large spreads them out.",
    "metric": "What near means between two posterior means.",
    "perplexity": "About how many neighbours count for each image: 5 to 50 are usual.",
    "seed": "The same seed and parameters give the same map.",
    "components": "2-D is the map with lasso, empty-place clicks and cursor. 3-D is to turn, hover and click only.",
}


def map_words(config: MapConfig) -> str:
    """The parameters of a map in words: those that its method uses."""
    return ", ".join([f"{config.title} {DIMENSIONS[config.components]}", *config.parameter_words])


def projection_panel(run: Run, shown: MapConfig | None, on_open: OnOpen) -> None:
    """Draw the panel.

    Args:
        shown: the map that the page shows.
        on_open: called with the parameters of a kept map that was chosen, or has just been made; the page then runs again.
    """
    status = _current(run, on_open)
    _list_kept(run, shown, on_open)
    st.markdown("**New map**")
    if status is not None and status.state == "running":
        _follow(run, on_open, "panel")
        return
    _tell_end(run, status, "panel")
    _form(run, on_open)


def no_map(run: Run, problem: str, on_open: OnOpen) -> None:
    """Draw what stands where the map would: why there is none, and the one button that makes it.

    Args:
        problem: why there is none that fits, as a sentence.
        on_open: called with the parameters of the map when it has been made; the page then runs again.
    """
    status = _current(run, on_open)
    with st.container(border=True):
        st.markdown("**This run has no map to show.**")
        st.text(problem)
        if status is not None and status.state == "running":
            _follow(run, on_open, "empty")
            return
        _tell_end(run, status, "empty")
        try:
            config = default_map(run)
        except RunError as error:
            st.error(plain(str(error)))
            return
        if st.button(f"Make the map: {map_words(config)}", type="primary", key=f"map-empty-{run.name}-make"):
            _open_or_start(run, config, on_open)


# --- the job -------------------------------------------------------------------------------------------------------


def _current(run: Run, on_open: OnOpen) -> JobStatus | None:
    """How far the run's map job is. Where this visit has seen it running and it has ended since, the page runs again, with
    the new map open if there is one."""
    status, seen = jobs.watch(run.maps_folder), f"map-job-{run.name}"
    if status is not None and status.state == "running":
        st.session_state[seen] = True
    elif st.session_state.pop(seen, False):
        st.session_state.pop(f"{seen}-cancelled", None)
        config = _subject(status)
        if status is not None and status.state == "finished" and config is not None:
            on_open(config)
        st.rerun()
    return status


def _subject(status: JobStatus | None) -> MapConfig | None:
    try:
        return from_json(MapConfig, status.subject) if status is not None and status.subject else None
    except ConfigError:
        return None


@st.fragment(run_every=POLL_SECONDS)
def _follow(run: Run, on_open: OnOpen, place: str) -> None:
    status = _current(run, on_open)
    if status is None or status.state != "running":
        st.rerun()
    config, cancelled = _subject(status), f"map-job-{run.name}-cancelled"
    st.markdown("Making a map" if config is None else f"Making {map_words(config)}")
    share = min(status.done / status.total, 1.0) if status.total else 0.0
    st.progress(share, "Cancelling" if st.session_state.get(cancelled) else progress_words(status))
    if st.button("Cancel", key=f"map-{place}-{run.name}-cancel", icon=":material/close:"):
        st.session_state[cancelled] = True
        jobs.stop(run.maps_folder)
    st.caption("It goes on in a process of its own: this page may be left, reloaded or closed.")


def progress_words(status: JobStatus) -> str:
    """How far a running job is, in words: stage, steps, rate and the time left."""
    stage = status.stage[:1].upper() + status.stage[1:]
    if not status.total:
        return stage
    text = f"{stage}: {status.done:,} of {status.total:,} steps"
    left = status.seconds_left
    return text if left is None else f"{text}, {status.rate:,.3g} a second, {duration_words(left)} left"


def duration_words(seconds: float) -> str:
    """A length of time as people say it, rounded up."""
    whole = int(-(-seconds // 1))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02} s"


def _tell_end(run: Run, status: JobStatus | None, place: str) -> None:
    """How the last job ended, if not well, until it is dismissed or the next one begins."""
    if status is None or status.state == "finished":
        return
    if status.state == "failed":
        st.error("The map could not be made.")
        st.text(status.error or "")  # as text: it comes out of a file
    elif status.state == "stopped":
        st.info("The map was cancelled; nothing of it was kept.")
    else:
        st.warning("The last map was not finished: its process was killed, or the machine went down. Start it again.")
    if st.button("Dismiss", key=f"map-{place}-{run.name}-dismiss"):
        jobs.forget(run.maps_folder)
        st.rerun()


def _open_or_start(run: Run, config: MapConfig, on_open: OnOpen) -> None:
    """Open the map of those parameters if it is kept, else start making it; the page runs again."""
    if config in run.list_maps():
        on_open(config)
    else:
        try:
            jobs.start_map(run, config)
        except JobError as error:
            st.error(plain(str(error)))
            return
    st.rerun()


# --- kept maps -----------------------------------------------------------------------------------------------------


def _list_kept(run: Run, shown: MapConfig | None, on_open: OnOpen) -> None:
    st.markdown("**Kept maps**")
    kept = run.list_maps()
    if not kept:
        st.caption("None yet.")
    for config in kept:
        is_shown = config == shown
        label = f"{map_words(config)} (shown)" if is_shown else map_words(config)
        if st.button(label, key=f"map-open-{run.name}-{config}", disabled=is_shown, width="stretch"):
            on_open(config)
            st.rerun()
    old = [config for config in run.list_old_maps() if config not in kept]
    if old:
        st.caption("These belong to other weights or test data than the run has now, so they can't be shown:")
    for config in old:
        if st.button(f"Make anew: {map_words(config)}", key=f"map-anew-{run.name}-{config}", width="stretch"):
            _open_or_start(run, config, on_open)


# --- the form ------------------------------------------------------------------------------------------------------


@st.cache_data(max_entries=16, show_spinner=False)
def _size(path: str, stamp: int) -> tuple[int, int]:
    """How many images a run's maps hold, and in how many dimensions distances are measured."""
    del stamp  # part of the cache's key
    encodings = open_run(Path(path)).load_encodings()
    return len(encodings), len(encodings.map_dimensions)


@st.fragment
def _form(run: Run, on_open: OnOpen) -> None:
    try:
        stamps = [file.stat().st_mtime_ns for file in run.path.glob("*") if file.suffix in (".npz", ".safetensors")]
        count, dimensions = _size(str(run.path), hash(tuple(stamps)))
    except RunError as error:
        st.error(plain(str(error)))
        return
    offered: list[MapMethod] = ["umap", "tsne", "pca"] if count > 4 else ["pca"]
    key = f"map-form-{run.name}"
    last = st.session_state.get(f"{key}-last", MapConfig())  # what was started last stands there again when it has ended
    method = st.radio(
        "Method",
        offered,
        index=offered.index(last.method) if last.method in offered else 0,
        format_func=lambda name: MapConfig(method=name).title,
        horizontal=True,
        key=f"{key}-method",
    )
    st.caption(METHODS[method])
    values = _parameters(method, count, dimensions, last, key)
    components = st.radio(
        "Dimensions",
        list(DIMENSIONS),
        index=list(DIMENSIONS).index(last.components),
        format_func=DIMENSIONS.__getitem__,
        horizontal=True,
        help=HELP["components"],
        key=f"{key}-components",
    )
    try:
        config = MapConfig(method=method, components=components, **values)
    except ConfigError as error:
        st.error(plain(str(error)))
        return
    is_kept = config in run.list_maps()
    label, icon = ("Open, it is kept already", ":material/map:") if is_kept else ("Start", ":material/play_arrow:")
    if st.button(label, type="primary", icon=icon, key=f"{key}-start"):
        st.session_state[f"{key}-last"] = config
        _open_or_start(run, config, on_open)


def _parameters(method: MapMethod, count: int, dimensions: int, last: MapConfig, key: str) -> dict[str, Any]:
    """The widgets of a method's own parameters; what they say."""
    most, values = min(200, count - 1), dict[str, Any]()
    if method == "umap":
        start = min(last.neighbors, most)
        values["neighbors"] = st.number_input("Neighbours", 2, most, start, help=HELP["neighbors"], key=f"{key}-neighbors")
        values["min_dist"] = st.number_input(
            "Minimum distance", 0.0, 0.99, last.min_dist, 0.05, help=HELP["min_dist"], key=f"{key}-min_dist"
        )
        metrics = [name for name in METRICS if LEAST_DIMENSIONS[name] <= dimensions]
        values["metric"] = st.selectbox(
            "Metric",
            metrics,
            index=metrics.index(last.metric) if last.metric in metrics else 0,
            format_func=METRICS.__getitem__,
            help=HELP["metric"],
            key=f"{key}-metric",
        )
    if method == "tsne":
        usual = min(last.perplexity, float(most))
        values["perplexity"] = st.number_input(
            "Perplexity", 1.0, float(most), usual, 1.0, help=HELP["perplexity"], key=f"{key}-perplexity"
        )
    if "seed" in MAP_PARAMETERS[method]:
        values["seed"] = st.number_input("Seed", 0, 2**32 - 1, last.seed, help=HELP["seed"], key=f"{key}-seed")
    return values
