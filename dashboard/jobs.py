"""Starts, watches and stops ``python -m vae ...`` in processes of their own. No Streamlit.

A job outlives the page, the visitor and the dashboard: what there is to know of it lies in its folder (see `vae.jobs`), where
each tab, and the dashboard after a restart, finds it. Only what happens before a job's first word is known here alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from vae import MapConfig, Run
from vae.data import data_root
from vae.files import is_locked, take_lock
from vae.fit import map_arguments
from vae.jobs import LOCK_FILE, JobError, JobStatus, forget_job, job_status
from vae.pack import check_free
from vae.staged import clear_upload, list_uploads, stage_upload, upload_folder

LOG_FILE = ".job.log"
MAX_LOG_BYTES = 2**16
LEAVING_SECONDS = 5.0
"""How long a process may take to end after its last word, as a rule."""

_guard = threading.RLock()
_started: dict[Path, tuple[subprocess.Popen[bytes], float]] = {}
"""The last process that was started here for a folder, and when."""
_leaving: list[subprocess.Popen[bytes]] = []
"""Processes that have said their last word and are about to end: kept until they can be reaped."""


def start(arguments: Sequence[str], folder: Path) -> None:
    """Start ``python -m vae`` with these arguments; it keeps its status in ``folder`` and prints to a log there.

    Of several dashboards that start one at the same time, one does, and the others are told: the log is a lock, which goes over
    to the process and is let go when that ends.

    Raises:
        JobError: a job is running there, or nothing can be written there.
    """
    command = [sys.executable, "-m", "vae", *arguments]
    taken = JobError(f"{folder}: another process is at work here: wait for it, or stop it")
    with _guard:
        status = watch(folder)
        if is_locked(folder / LOCK_FILE) or (status is not None and status.state == "running"):
            raise taken
        if folder in _started:  # it has said its last word; until it is gone it holds the log
            with contextlib.suppress(subprocess.TimeoutExpired):
                _started[folder][0].wait(LEAVING_SECONDS)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with take_lock(folder / LOG_FILE) as log:
                forget_job(folder)
                log.truncate(0)
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        except BlockingIOError:
            raise taken from None
        except OSError as error:
            raise JobError(f"{folder}: a job can't be started ({error.strerror}): check the disk and its permissions") from None
        _let_go(folder)
        _started[folder] = process, time.time()


def is_held(folder: Path) -> bool:
    """Whether a process that a dashboard, this one or another, has started for a folder is there."""
    return is_locked(folder / LOG_FILE)


def watch(folder: Path) -> JobStatus | None:
    """How far the job of a folder is, or how the last one ended; None if there was none. Reaps what has ended."""
    process, begun = _started.get(folder, (None, 0.0))
    code = None if process is None else process.poll()  # before the status, which is final once the process has ended
    status = job_status(folder)
    if process is None or (status is not None and (status.pid == process.pid or status.state == "running")):
        return status
    if code is None:
        return JobStatus("running", process.pid, begun, time.time(), stage="starting")
    if status is not None and status.started > begun:
        return status  # of a later job, from another process
    if code in (-signal.SIGTERM, -signal.SIGINT, 130):
        return JobStatus("stopped", process.pid, begun, begun)
    return JobStatus("failed", process.pid, begun, begun, error=_complaint(folder, code))


def stop(folder: Path) -> None:
    """Ask the job of a folder to stop. It keeps nothing half-made; where there is none, nothing happens."""
    status = watch(folder)
    if status is not None and status.state == "running":
        with contextlib.suppress(ProcessLookupError):
            os.kill(status.pid, signal.SIGTERM)


def forget(folder: Path) -> None:
    """Take away what is known of a job that has ended."""
    with _guard:
        status = watch(folder)
        if status is not None and status.state != "running":
            _let_go(folder)
            forget_job(folder)


def discard(folder: Path) -> None:
    """Forget a job that has ended, and take its folder away with all that is in it."""
    with _guard:
        status = watch(folder)
        if status is not None and status.state != "running":
            _let_go(folder)
            shutil.rmtree(folder, ignore_errors=True)


def _let_go(folder: Path) -> None:
    if folder in _started:
        _leaving.append(_started.pop(folder)[0])
    _leaving[:] = [process for process in _leaving if process.poll() is None]


def start_map(run: Run, config: MapConfig) -> None:
    """Make a map of a run, in a process of its own; `watch` its ``maps_folder``.

    Raises:
        JobError: a map of this run is being made already, or the folder can't be written.
    """
    start(map_arguments(run, config), run.maps_folder)


def start_import(name: str, file_name: str, content: bytes | memoryview, size: int | None, grey: bool) -> None:
    """Make an upload a data set of that name, in a process of its own; `watch` its `vae.staged.upload_folder`.

    Raises:
        DataError: the name is none, or taken, or the upload can't be written.
        JobError: an upload is imported under that name already.
    """
    check_free(name)
    folder = upload_folder(name)
    options = [*([] if size is None else ["--size", str(size)]), *(["--grey"] if grey else [])]
    with _guard:
        status = watch(folder)
        if status is not None and status.state == "running":
            raise JobError(f"{name}: a data set of that name is being imported: wait for it, or cancel it")
        discard(folder)  # what is known of an earlier one
        path = stage_upload(name, file_name, content)
        try:
            start(["import", str(path), "--name", name, *options], folder)
        except BaseException:
            shutil.rmtree(path.parent, ignore_errors=True)
            raise


def start_import_in_place(name: str) -> None:
    """Pack the folder of that name under ``data/`` where it lies, in a process of its own; `watch` its
    `vae.staged.upload_folder`.

    Raises:
        DataError: it is packed already.
        JobError: it is being packed.
    """
    source = data_root() / name
    check_free(name, source)
    start(["import", str(source), "--name", name], upload_folder(name))


def imports() -> dict[str, JobStatus]:
    """The imports that run or have ended, by the name of the data set. What a killed one left is taken away."""
    found = {}
    for name in list_uploads():
        with _guard:
            status = watch(upload_folder(name))
            if status is None or status.state != "running":
                clear_upload(name, has_ended=status is not None)
        if status is not None:
            found[name] = status
    return found


def _complaint(folder: Path, code: int) -> str:
    """The sentence that a process ended with before it could keep a status."""
    with contextlib.suppress(OSError), (folder / LOG_FILE).open("rb") as log:
        lines = log.read(MAX_LOG_BYTES).decode("utf-8", "replace").splitlines()
        told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        if told:
            return told[-1]
    return f"the process ended with status {code} before it began: {folder / LOG_FILE} holds what it printed"
