"""``python -m dashboard``: start the dashboard, after a look at whether its port is free."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

ADDRESS = "127.0.0.1"
APP = Path(__file__).with_name("app.py")

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "MALLOC_MMAP_THRESHOLD_": str(2**25),
    "MALLOC_TRIM_THRESHOLD_": str(2**27),
}
"""What the server's libraries are told, where the person who starts it says nothing else.

Threads that wait for others' share of a decode sleep instead of spinning: where visitors, or a training, use the same cores, a
decode takes a third of the time. And the C library keeps freed memory (up to 128 MiB) for the next decode, which then needn't
ask the kernel for pages: that takes a third off a decode. Both were measured on two cores; other systems pass over them.
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
    command = [sys.executable, "-m", "streamlit", "run", str(APP), f"--server.port={port}"]
    os.execve(sys.executable, command, ENVIRONMENT | os.environ)
    return 0  # not reached: the server has taken this process over


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
