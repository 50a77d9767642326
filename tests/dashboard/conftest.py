"""The app without a browser, on the shipped run or on one that a test brings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit import config
from streamlit.testing.v1 import AppTest

APP = Path(__file__).resolve().parents[2] / "dashboard" / "app.py"


@pytest.fixture(scope="session", autouse=True)
def _let_go_of_what_is_cached() -> Iterator[None]:
    """NOTE: kept between tests: what is cached is read-only, and its keys know the folder and the files it came from."""
    yield
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture(scope="session", autouse=True)
def _an_address() -> None:
    """NOTE: the file beside app.py, which says so, is read by ``streamlit run`` alone."""
    config.set_option("server.address", "127.0.0.1")


@pytest.fixture
def open_app() -> Callable[..., AppTest]:
    """Open the app, with query parameters, on one of its pages."""

    def start(page: str | None = None, **query: str) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=60)
        for name, value in query.items():
            app.query_params[name] = value
        app.run()
        if page:
            app.switch_page(f"views/{page}.py").run()
        return app

    return start
