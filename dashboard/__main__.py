"""``python -m dashboard``: start the dashboard, after a look at whether its port is free.

What the first page needs is loaded in a thread meanwhile (`dashboard.preload`), while the browser draws the empty page.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import threading
from pathlib import Path

ADDRESS = "127.0.0.1"
APP = Path(__file__).with_name("app.py")

ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""What the server's libraries are told, where the person who starts it says nothing else.

Threads that wait for others' share of a decode sleep instead of spinning: where visitors, or a training, use the same cores, a
decode takes a third of the time (measured on two cores).
"""


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped. Exit status 2 and a sentence if the port can't be had."""
    parser = argparse.ArgumentParser(prog="python -m dashboard", description="Open Latent Explorer in a browser.")
    parser.add_argument("--port", type=int, default=8501, help="the port on 127.0.0.1 (default: 8501)")
    port = parser.parse_args(arguments).port
    problem = _port_problem(port)
    if problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    print(f"Latent Explorer: http://{ADDRESS}:{port}  (Ctrl-C stops it)", flush=True)
    os.environ.update(ENVIRONMENT | os.environ)
    with contextlib.suppress(OSError):
        APP.with_name("static").mkdir(exist_ok=True)  # Streamlit warns of a folder that only comes with the first page
    from streamlit.web import cli  # before the thread: two threads that import one package's parts can meet half of it

    from dashboard.preload import preload

    threading.Thread(target=preload, name="preload", daemon=True).start()
    cli.main(["run", str(APP), f"--server.port={port}"], prog_name="streamlit")
    return 0  # not reached: the line before ends the process


def _port_problem(port: int) -> str | None:
    if not 1 <= port <= 65_535:
        return f"a port is a number from 1 to 65535, got {port}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            return f"port {port} of {ADDRESS} can't be used ({error.strerror}). Choose another: make app PORT={port + 1}"
    return None


if __name__ == "__main__":
    sys.exit(main())
