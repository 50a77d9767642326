"""Kill with -9, at random moments, trainings that a dashboard has started: the training, the dashboard, or both. Then look.

``make soak``. The dashboard's part is played by a process that starts the training as the page Train does
(`dashboard.training.process`) and looks at it twice a second; after a kill another takes its place. However it went, the run
must be told as interrupted, running or finished, end where an uninterrupted training ends, have every epoch once and no
temporary file left.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from kill_training import OPTIONS, digest, finish, main, sandbox

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = """
import sys, time
from dashboard.training import process
from vae import open_run
name = sys.argv[1]
config = open_run("whole").config
status = process.watch_training(name)
try:
    if status is None:
        process.start_training(name, "shapes", "fast", config.model, config.train, "cpu")
    elif status.state in ("interrupted", "stopped"):
        process.resume_training(name, "cpu")
except process.JobError as error:
    print("told:", error, flush=True)
print("started", flush=True)
while (status := process.watch_training(name)) is None or status.state == "running":
    print(status.pid if status else 0, flush=True)
    time.sleep(0.5)
print("ended", status.state, status.error, flush=True)
"""
WHO = ("training", "dashboard", "both")


def dashboard(name: str, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """A process that starts or resumes the training of that name and follows it to its end."""
    with log.open("wb") as file:
        return subprocess.Popen([sys.executable, "-c", DASHBOARD, name], env=environment, stdout=file, stderr=file)


def await_start(process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the dashboard's process has started the training, or ended."""
    while process.poll() is None and b"started" not in log.read_bytes():
        time.sleep(0.02)


def seconds(name: str, environment: dict[str, str], log: Path) -> float:
    """How long a training takes that nobody kills, from the moment it is started."""
    process = dashboard(name, environment, log)
    await_start(process, log)
    started = time.monotonic()
    process.wait(300)
    return time.monotonic() - started


def complaints(name: str, expected: str, epochs: int) -> list[str]:
    """What is wrong with a run that has been taken to its end."""
    from vae import open_run

    run = open_run(name)
    status, told = run.status(), [line["epoch"] for line in run.metrics()]
    left = [
        str(path.relative_to(run.path)) for path in run.path.rglob(".*") if path.name not in (".lock", ".job.lock", ".job.json")
    ]
    found = [] if status is not None and status.state == "finished" else [f"its state is {status and status.state}"]
    found += [] if told == list(range(1, epochs + 1)) else [f"its epochs are {told}"]
    found += [f"left behind: {', '.join(left)}"] if left else []
    return found + ([] if digest(run.path.parent, name) == expected else ["its weights are others"])


def one(name: str, who: str, after: float, environment: dict[str, str], log: Path) -> str:
    """Kill, see what is told, and go on; returns the state that was told after the kill."""
    from dashboard.training.process import watch_training

    first = dashboard(name, environment, log)
    try:
        await_start(first, log)
        time.sleep(after)
        if who != "dashboard":
            pids = [int(word) for word in log.read_bytes().split() if word.isdigit() and int(word) > 1]
            if pids and first.poll() is None:
                os.kill(pids[-1], signal.SIGKILL)
        if who == "training":
            first.wait(300)
    finally:
        first.kill()
        first.wait()
    status = watch_training(name)
    while True:
        dashboard(name, environment, log).wait(300)
        ended = watch_training(name)
        if ended is None or ended.state != "interrupted":
            return status.state if status else "nothing"


def soak(kills: int, seed: int) -> int:
    """Print a line a kill and a summary; how many went wrong."""
    moments, wrong, hits = random.Random(seed), 0, 0
    with sandbox(test=12) as (folder, environment):  # too few for a UMAP, which would take most of the time
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
        environment["OMP_NUM_THREADS"] = "1"  # what is compared adds up in one order, in the background or not
        os.environ |= environment  # this process looks at the runs too
        sys.path.insert(0, str(ROOT))
        root, log = folder / "checkpoints", folder / "log"
        ended, said = finish("whole", environment)
        if not ended:
            print(f"the uninterrupted training failed: {said}")
            return kills
        expected, epochs = digest(root, "whole"), int(OPTIONS[OPTIONS.index("--epochs") + 1])
        length = seconds("paced", environment, log)
        print(f"uninterrupted, from its start: {length:.1f} s", flush=True)
        for number in range(kills):
            name, who, after = f"killed-{number}", WHO[number % 3], moments.uniform(0.0, length)
            told = one(name, who, after, environment, log)
            hits += told in ("interrupted", "running", "nothing")
            found = complaints(name, expected, epochs)
            wrong += bool(found)
            print(f"{who:9} killed after {after:5.1f} s, then told as {told}: {'; '.join(found) or 'whole'}", flush=True)
    print(f"{kills - wrong} passed, {wrong} failed; {hits} kills came before the training's end")
    return wrong


if __name__ == "__main__":
    sys.exit(main(soak, __doc__))
