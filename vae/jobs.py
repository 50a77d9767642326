"""What long work says of itself while it runs in a process of its own: a status file, and a lock that is held all the while.

Both lie in one folder, in which one job runs at a time. Whoever looks there, from whichever process, sees how far it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal, get_args

from vae.files import is_locked, remove_leftovers, take_lock, write_atomic

STATUS_FILE = ".job.json"
LOCK_FILE = ".job.lock"
MAX_STATUS_BYTES = 2**16
WRITE_SECONDS = 0.25

JobState = Literal["running", "finished", "stopped", "failed", "interrupted"]


class JobError(ValueError):
    """A job that can't begin; the message names the folder and says what to do."""


@dataclass(frozen=True)
class JobStatus:
    """How far a job is. ``started`` and ``updated`` are seconds since 1970.

    ``interrupted`` is a job whose process ended without a word (killed, or the machine went down).
    """

    state: JobState
    pid: int
    started: float
    updated: float
    subject: dict[str, Any] = field(default_factory=dict)
    """What is being made, as JSON values."""
    stage: str = ""
    """What it is doing, in a few words."""
    done: int = 0
    total: int = 0
    """Steps of the stage; 0 where they aren't known."""
    rate: float = 0.0
    """Steps a second, over the whole stage so far."""
    error: str | None = None
    """Why it failed, as a sentence."""

    @property
    def seconds_left(self) -> float | None:
        """How long the rest of the stage takes at this rate, None where that can't be said yet."""
        return (self.total - self.done) / self.rate if self.rate > 0 and self.total else None


def job_status(folder: Path) -> JobStatus | None:
    """The status of the job in a folder, or of the last one; None if there was none or its file can't be read."""
    status = _read(folder)
    for _ in range(2):
        if status is None or status.state != "running" or is_locked(folder / LOCK_FILE):
            return status
        status = _read(folder)  # where the job ended since the first look, this tells how
    return status and dataclasses.replace(status, state="interrupted")


def forget_job(folder: Path) -> None:
    """Take away the status of a job that has ended."""
    if not is_locked(folder / LOCK_FILE):
        (folder / STATUS_FILE).unlink(missing_ok=True)


class Job:
    """The running job, as it is known to itself."""

    def __init__(self, folder: Path, subject: Mapping[str, Any]) -> None:
        now = time.time()
        self._folder = folder
        self._status = JobStatus("running", os.getpid(), now, now, dict(subject), "preparing")
        self._begun = (0, time.monotonic())
        self._written = -math.inf
        self._is_stopping = self._is_over = False
        self._write()

    def stage(self, name: str) -> None:
        """Say what is done from now on."""
        self._status = dataclasses.replace(self._status, stage=name, done=0, total=0, rate=0.0)
        self._write()

    def progress(self, done: int, total: int) -> None:
        """Say how many steps of how many are done. The first time in a stage is where its rate is measured from.

        Raises:
            KeyboardInterrupt: the job was asked to stop.
        """
        if self._is_stopping:
            raise KeyboardInterrupt
        now = time.monotonic()
        is_first = self._status.total == 0
        if is_first:
            self._begun = (done, now)
        first, then = self._begun
        rate = (done - first) / (now - then) if now > then else 0.0
        self._status = dataclasses.replace(self._status, done=done, total=total, rate=rate)
        if is_first or now - self._written > WRITE_SECONDS:
            self._write()

    def _end(self, state: JobState, error: str | None = None) -> None:
        self._is_over = True  # a signal that comes now changes nothing
        self._status = dataclasses.replace(self._status, state=state, error=error)
        self._write()

    def _write(self) -> None:
        self._status = dataclasses.replace(self._status, updated=time.time())
        write_atomic(self._folder / STATUS_FILE, json.dumps(dataclasses.asdict(self._status), allow_nan=False).encode())
        self._written = time.monotonic()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._is_stopping = True  # remembered, because an exception is lost where a library calls back from compiled code
        if not self._is_over:
            raise KeyboardInterrupt


@contextlib.contextmanager
def run_job(folder: Path, subject: Mapping[str, Any]) -> Iterator[Job]:
    """Do in this process (its main thread) what is done within, and keep its status in a folder. SIGTERM and Ctrl-C raise
    `KeyboardInterrupt`.

    Raises:
        JobError: another process is at work in the folder, or it can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = take_lock(folder / LOCK_FILE)
    except BlockingIOError:
        raise JobError(f"{folder}: another process is at work here: wait for it, or stop it") from None
    except OSError as error:
        raise JobError(f"{folder}: can't be written ({error.strerror}): check the disk and its permissions") from None
    with lock:
        remove_leftovers(folder)
        job = Job(folder, subject)
        with _signals(job):
            try:
                yield job
            except KeyboardInterrupt:
                job._end("stopped")
                raise
            except Exception as error:
                with contextlib.suppress(OSError):  # of a full disk, which may be the very error
                    job._end("failed", str(error) or type(error).__name__)
                raise
            job._end("finished")


@contextlib.contextmanager
def _signals(job: Job) -> Iterator[None]:
    before = {number: signal.signal(number, job._stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _read(folder: Path) -> JobStatus | None:
    try:
        with (folder / STATUS_FILE).open("rb") as file:
            status = JobStatus(**json.loads(file.read(MAX_STATUS_BYTES)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    return status if _is_sound(status) else None


def _is_sound(status: JobStatus) -> bool:
    """Whether what was read is of the types and ranges that are written."""
    whole = all(type(value) is int and value >= 0 for value in (status.pid, status.done, status.total)) and status.pid > 1
    numbers = (status.started, status.updated, status.rate)
    real = all(isinstance(value, (int, float)) and math.isfinite(value) for value in numbers)
    texts = isinstance(status.stage, str) and (status.error is None or isinstance(status.error, str))
    return whole and real and texts and isinstance(status.subject, dict) and status.state in get_args(JobState)
