"""Jobs in real processes: started, watched, stopped, killed; and what a dashboard finds that was started later."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dashboard import jobs
from vae import DataError, Encodings, MapConfig, Run
from vae.config import to_json
from vae.jobs import LOCK_FILE, STATUS_FILE, JobError, JobStatus, job_status, run_job
from vae.staged import upload_folder

if TYPE_CHECKING:
    from tests.conftest import Workspace

WORK = """
import sys, time
from pathlib import Path
from vae.jobs import run_job
with run_job(Path(sys.argv[1]), {"name": "a test"}) as job:
    job.stage("counting")
    for done in range(10_000):
        job.progress(done, 10_000)
        time.sleep(0.01)
"""
"""Work that takes longer than any test waits."""


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    jobs._started.clear()
    yield
    for process in [*(process for process, _ in jobs._started.values()), *jobs._leaving]:
        process.kill()
        process.wait()
    jobs._started.clear()
    jobs._leaving.clear()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process at work in ``tmp_path`` that the dashboard did not start."""
    with subprocess.Popen([sys.executable, "-c", WORK, str(tmp_path)], stderr=subprocess.DEVNULL) as process:
        yield process
        process.kill()


def until(is_so: Callable[[], object]) -> None:
    """Wait for something that is about to happen."""
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def state(folder: Path) -> str | None:
    status = jobs.watch(folder)
    return status and status.state


def counting(folder: Path) -> bool:
    status = jobs.watch(folder)
    return status is not None and status.done > 0


def test_a_map_from_its_start_to_its_end(tiny_run: Run) -> None:
    config, folder = MapConfig(method="tsne", perplexity=5, seed=1), tiny_run.maps_folder
    assert jobs.watch(folder) is None
    jobs.start_map(tiny_run, config)
    first = jobs.watch(folder)
    assert first is not None
    assert (first.state, first.stage) == ("running", "starting")
    with pytest.raises(JobError, match="another process is at work here: wait for it, or stop it"):
        jobs.start_map(tiny_run, MapConfig(method="pca"))
    until(lambda: state(folder) != "running")
    status = jobs.watch(folder)
    assert status is not None
    assert (status.state, status.pid, status.error) == ("finished", first.pid, None)
    assert (status.subject, status.total) == (to_json(config), 1000)
    assert status.rate > 0
    assert config in tiny_run.list_maps()
    until(lambda: jobs.watch(folder) and jobs._started[folder][0].returncode == 0)  # reaped
    jobs.forget(folder)
    assert jobs.watch(folder) is None


def test_a_job_is_stopped_before_and_after_its_first_word(tiny_run: Run) -> None:
    folder = tiny_run.maps_folder
    before = {file.name for file in folder.iterdir()}
    jobs.start_map(tiny_run, MapConfig(neighbors=5))
    jobs.stop(folder)
    until(lambda: state(folder) != "running")
    assert state(folder) == "stopped"
    one = vars(tiny_run.load_encodings())
    columns = {field.name: np.repeat(one[field.name], 1000, axis=0) for field in dataclasses.fields(Encodings)}
    tiny_run.save_encodings(Encodings(**columns))  # whose map takes seconds
    jobs.start_map(tiny_run, MapConfig(neighbors=5))
    until(lambda: job_status(folder))
    jobs.stop(folder)
    until(lambda: state(folder) != "running")
    assert state(folder) == "stopped"
    assert {file.name for file in folder.iterdir()} == before | {STATUS_FILE, LOCK_FILE, jobs.LOG_FILE}
    assert (folder / jobs.LOG_FILE).read_text().splitlines()[-1] == "stopped; no map was kept"
    assert tiny_run.list_maps() == [MapConfig()]


def test_a_job_that_cannot_be_done_says_why(tiny_run: Run) -> None:
    folder = tiny_run.maps_folder
    jobs.start_map(tiny_run, MapConfig(neighbors=150))
    until(lambda: state(folder) != "running")
    status = jobs.watch(folder)
    assert status is not None
    assert (status.state, status.subject) == ("failed", to_json(MapConfig(neighbors=150)))
    assert status.error == f"{tiny_run.path.resolve()}: a UMAP with 150 neighbours needs more than 150 points, got 24"


def test_a_process_that_ends_before_its_first_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "new"
    jobs.start(["fly"], folder)
    until(lambda: state(folder) != "running")
    status = jobs.watch(folder)
    assert status is not None
    assert status.state == "failed"
    assert status.error is not None
    assert status.error.startswith("expected one of the commands train, ")
    assert status.error.endswith("got 'fly'")
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    jobs.start(["map"], folder)
    until(lambda: state(folder) != "running")
    status = jobs.watch(folder)
    assert status is not None
    wanted = f"the process ended with status 1 before it began: {folder / jobs.LOG_FILE} holds what it printed"
    assert (status.state, status.error) == ("failed", wanted)


def test_a_job_that_someone_else_started_is_seen_and_stopped(tmp_path: Path, worker: subprocess.Popen[bytes]) -> None:
    until(lambda: counting(tmp_path))
    status = jobs.watch(tmp_path)
    assert status is not None
    assert (status.state, status.pid, status.stage, status.total) == ("running", worker.pid, "counting", 10_000)
    assert status.subject == {"name": "a test"}
    assert status.seconds_left == pytest.approx((10_000 - status.done) / status.rate)
    with pytest.raises(JobError, match="another process is at work here"):
        jobs.start(["map"], tmp_path)
    with pytest.raises(JobError, match="another process is at work here"), run_job(tmp_path, {}):
        pass
    jobs.forget(tmp_path)  # not while it runs
    assert state(tmp_path) == "running"
    jobs.stop(tmp_path)
    worker.wait()
    assert state(tmp_path) == "stopped"


def test_a_killed_job_shows_as_interrupted(tmp_path: Path, worker: subprocess.Popen[bytes]) -> None:
    until(lambda: counting(tmp_path))
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert state(tmp_path) == "interrupted"
    jobs.stop(tmp_path)  # nobody is there: nobody is signalled
    assert json.loads((tmp_path / STATUS_FILE).read_text())["state"] == "running"
    with run_job(tmp_path, {}):  # the next one can begin
        assert state(tmp_path) == "running"
    assert state(tmp_path) == "finished"


@pytest.mark.long
def test_an_import_is_found_after_a_restart_and_stopped_or_killed_leaves_nothing(workspace: Workspace) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((300_000, 16, 16), np.uint8))
    folder = upload_folder("own")
    for number, (state_after, end) in enumerate({"stopped": signal.SIGTERM, "interrupted": signal.SIGKILL}.items()):
        jobs.start_import("own", "x.npy", buffer.getbuffer(), 28, False)
        process, _ = jobs._started.pop(folder)  # as after a restart
        jobs._leaving.append(process)
        until(lambda: counting(folder))
        assert list(jobs.imports()) == ["own"]
        with pytest.raises(JobError, match="own: a data set of that name is being imported: wait for it, or cancel it"):
            jobs.start_import("own", "x.npy", b"", None, False)
        if number:
            process.send_signal(end)
        else:
            jobs.stop(folder)
        process.wait()
        assert jobs.imports()["own"].state == state_after
        assert sorted(path.name for path in workspace.data.iterdir()) == [".upload-own", "tiny"]
        assert [path for path in folder.iterdir() if path.is_dir()] == []
    jobs.discard(folder)
    assert jobs.imports() == {}
    assert [path.name for path in workspace.data.iterdir()] == ["tiny"]


def test_an_import_that_cannot_start_leaves_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, reason in (("tiny", "a data set of that name is there already"), ("../x", "a data set is named by")):
        with pytest.raises(DataError, match=reason):
            jobs.start_import(name, "x.npy", b"", None, False)
    assert [path.name for path in workspace.data.iterdir()] == ["tiny"]
    monkeypatch.setattr(sys, "executable", str(workspace.data / "gone"))
    with pytest.raises(JobError, match="a job can't be started"):
        jobs.start_import("own", "x.npy", b"", None, False)
    assert [path for path in upload_folder("own").iterdir() if path.is_dir()] == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(JobError, match="a job can't be started .*: check the disk and its permissions"):
        jobs.start(["map"], blocked / "maps")
    with pytest.raises(JobError, match="can't be written .*: check the disk and its permissions"), run_job(blocked, {}):
        pass


SOUND = {"state": "finished", "pid": 7, "started": 1.0, "updated": 2.0}


@pytest.mark.parametrize(
    "content",
    [
        *["", "[]", "{}", "nul", "[" * 5000],
        *[json.dumps(SOUND | wrong) for wrong in ({"pid": -1}, {"pid": 1}, {"pid": "7"}, {"pid": True}, {"state": "happy"})],
        *[json.dumps(SOUND | wrong) for wrong in ({"total": 1.5}, {"rate": float("inf")}, {"stage": 3}, {"error": []})],
        *[json.dumps(SOUND | wrong) for wrong in ({"subject": []}, {"more": 1}, {"stage": "x" * 2**17})],
    ],
)
def test_a_status_that_makes_no_sense_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / STATUS_FILE).write_text(json.dumps(SOUND))
    assert job_status(tmp_path) == JobStatus("finished", 7, 1.0, 2.0)
    (tmp_path / STATUS_FILE).write_text(content)
    assert job_status(tmp_path) is None


def test_what_fails_within_a_job_is_kept_as_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), run_job(tmp_path, {}):
        raise RuntimeError("the sun was in my eyes")
    status = job_status(tmp_path)
    assert status is not None
    assert (status.state, status.error) == ("failed", "the sun was in my eyes")


def test_a_signal_lost_in_a_library_is_remembered(tmp_path: Path) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt), run_job(tmp_path, {}) as job:  # noqa: PT012 - the loss is the point
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        job.progress(1, 2)
    assert state(tmp_path) == "stopped"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
