"""plotly.js, out of the installed plotly package, where Streamlit serves it."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.resources
import os
import tempfile
from pathlib import Path

SERVED = "app/static"


def ensure_plotly_js(folder: Path | None = None) -> str:
    """See to it that ``static/`` beside the app's main script holds plotly.js; returns its address, relative to the app's.

    Does next to nothing where it is there. Several servers may do it at once: each writes a file of its own and moves it
    into place. Static files must be on (``server.enableStaticServing``), or the address answers with an error.

    Args:
        folder: where the main script lies; by default the dashboard's own.

    Raises:
        OSError: it is not there and can't be written.
    """
    name = f"plotly-{_version()}.min.js"
    served = (folder or Path(__file__).resolve().parents[2]) / "static" / name
    source = importlib.resources.files("plotly") / "package_data" / "plotly.min.js"
    if not served.is_file():
        _write(served, source.read_bytes())
    return f"{SERVED}/{name}"


@functools.cache
def _version() -> str:
    return importlib.metadata.version("plotly")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".plotly-", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
