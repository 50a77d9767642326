"""What the first visitor of a server would wait for, done before one comes: imports, a run, its map, the first decode."""

from __future__ import annotations

import contextlib
import threading

from streamlit.logger import get_logger

_COMPLAINTS = ("streamlit.runtime.scriptrunner_utils.script_run_context", "streamlit.runtime.caching.cache_data_api")
"""Streamlit's loggers that warn of cached functions outside of a page, and before its server stands."""


def preload() -> None:
    """Load what Explore shows first, into the caches that every visitor shares.

    A run that can't be shown is left for the page to tell. NOTE: the imports stand here because they are the larger part of it.
    """
    own = threading.get_ident()
    for name in _COMPLAINTS:  # a filter, for the server sets its loggers' levels anew when it starts
        get_logger(name).addFilter(lambda record: record.thread != own)
    import dashboard.views.explore as explore
    from dashboard.resources import find_map, load_run
    from dashboard.state import Visit, opening_run
    from vae import DataError, RunError, list_runs

    opening = opening_run(list_runs())
    if opening is None:
        return
    with contextlib.suppress(RunError, DataError):
        loaded = load_run(opening)
        shown, _ = find_map(loaded, None)
        explore.strips_of(loaded, Visit(opening), shown)
