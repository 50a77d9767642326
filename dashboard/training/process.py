"""Trainings in processes of their own: started, watched, stopped, resumed. No Streamlit.

What there is to know of a training lies in its run (``status.json``, ``.lock``). What is known here alone is a process that
was started and has not had its first word yet, or ended before it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import time
from pathlib import Path

from dashboard import jobs
from vae import ModelConfig, RunError, Status, TrainConfig, list_runs, open_run
from vae.config import to_json
from vae.files import is_locked
from vae.jobs import JobError
from vae.options import list_options
from vae.runs import run_path, runs_root


def start_training(name: str, dataset: str, preset: str, model: ModelConfig, config: TrainConfig, device: str) -> None:
    """Start a new run.

    Raises:
        RunError: a name that isn't one.
        JobError: the name is taken, by a run or by a training that has just been started; or nothing can be written.
    """
    if (run_path(name) / "config.json").exists():
        raise (
            _taken(name)
            if _is_at_work(name)
            else JobError(f"a run named {name} exists: choose another name, or resume that one")
        )
    arguments = ["--dataset", dataset, "--preset", preset, "--device", device]
    for kind in (model, config):
        arguments += _arguments(kind)
    _begin(name, arguments)


def resume_training(name: str, device: str) -> None:
    """Continue a run from its last saved step.

    Raises:
        RunError: there is no such run, or it can't be resumed.
        JobError: it is being trained, or nothing can be written.
    """
    open_run(name).check_resumable()
    _begin(name, ["--resume", "--device", device])


def watch_training(name: str) -> Status | None:
    """How far the training of a run is, or how the last one ended; None where there is nothing to tell. Reaps what ended."""
    job = jobs.watch(_desk(name))  # before the status, which is final once the process has ended
    try:
        status = open_run(name).status()
    except RunError:
        status = None
    had_its_word = status is not None and job is not None and (status.pid == job.pid or status.started > job.started)
    if job is None or had_its_word or (status is not None and status.state == "running"):
        return status
    before = status or Status("new", job.pid, job.started, job.updated)
    if job.state == "running":
        return dataclasses.replace(before, state="running", pid=job.pid, started=job.started, updated=job.started, error=None)
    return dataclasses.replace(before, state="failed", error=job.error) if job.state == "failed" else status


def stop_training(name: str) -> None:
    """Ask a training to save and to stop, which it does at its next step. Where there is none, nothing happens."""
    status = watch_training(name)
    if status is not None and status.state == "running" and status.pid > 1:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(status.pid, signal.SIGTERM)


def list_trainings() -> list[str]:
    """The runs and, before them, what was started and isn't a run yet, or failed to become one."""
    runs = list_runs()
    desks = [path.name for path in sorted(_desk("").glob("*/")) if path.name not in runs]
    return [name for name in desks if watch_training(name) is not None] + runs


def forget_training(name: str) -> None:
    """Take away what is known of a start that came to nothing."""
    jobs.forget(_desk(name))


def _begin(name: str, arguments: list[str]) -> None:
    deadline = time.monotonic() + jobs.LEAVING_SECONDS
    while _is_at_work(name):
        status = watch_training(name)
        if status is None or status.state == "running" or time.monotonic() > deadline:
            raise _taken(name)
        time.sleep(0.05)  # it has said its last word and is about to end
    try:
        jobs.start(["train", "--run", name, *arguments, *_background()], _desk(name))
    except JobError:
        if _is_at_work(name):
            raise _taken(name) from None  # another visitor was a moment earlier
        raise


def _taken(name: str) -> JobError:
    return JobError(f"run {name} is being trained already, perhaps by another visitor: watch it, or choose another name")


def _is_at_work(name: str) -> bool:
    job = jobs.watch(_desk(name))
    is_held = is_locked(run_path(name) / ".lock") or jobs.is_held(_desk(name))
    return is_held or (job is not None and job.state == "running")


def _desk(name: str) -> Path:
    """Where the output of a training's process goes: not into the run, which its process makes."""
    return runs_root() / ".jobs" / name


def _background() -> list[str]:
    """The option by which a training gives way to what people look at, where the command line has it."""
    from vae.__main__ import Train

    return ["--background"] if "background" in {field.name for field in dataclasses.fields(Train)} else []


def _arguments(config: ModelConfig | TrainConfig) -> list[str]:
    """All options of a configuration, as the command line reads them."""
    found, values = list[str](), to_json(config)
    for option in list_options(type(config)):
        name, value = option.name.replace("_", "-"), values[option.name]
        if option.kind == "switch":
            found.append(f"--{name}" if value else f"--no-{name}")
        else:
            found += [f"--{name}", *map(str, value if option.kind == "list" else [value])]
    return found
