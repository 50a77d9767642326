"""Leaving work when a signal asks for it: at once, at the next good place, or after a while; and what killed writers leave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import vae.stopping
from vae import MapConfig, Run, make_map
from vae.files import remove_leftovers, write_atomic
from vae.stopping import Stop, stop_on_signal

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_work_at_once_and_is_remembered(number: int) -> None:
    before = [signal.getsignal(each) for each in NUMBERS]
    with stop_on_signal() as stop:
        stop.check(1, 2)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
        with pytest.raises(KeyboardInterrupt):  # as if a library had lost the first
            stop.check()
    assert [signal.getsignal(each) for each in NUMBERS] == before


def test_deferred_work_comes_to_a_good_place_or_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    with stop_on_signal() as stop, stop.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.is_asked
        assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= vae.stopping.GRACE_SECONDS
        stop.obey()
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    monkeypatch.setattr(vae.stopping, "GRACE_SECONDS", 0.01)
    with pytest.raises(KeyboardInterrupt), stop_on_signal() as stop, stop.deferred():  # noqa: PT012 - the wait is the point
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


WRITER = """
import os, signal, sys
from pathlib import Path
from vae.files import write_atomic
os.fsync = lambda handle: (print("writing", flush=True), sys.stdin.readline())
write_atomic(Path(sys.argv[1]), b"whole")
"""


def test_what_a_killed_writer_left_is_removed_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    files = [tmp_path / "state" / "state.safetensors", tmp_path / "status.json"]
    kept = [tmp_path / ".lock", tmp_path / ".job.json", tmp_path / ".notes.txt.abcdefgh"]
    for file in kept:
        file.write_text(json.dumps({}))
    command = [sys.executable, "-c", WRITER]
    writers = [subprocess.Popen([*command, str(f)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for f in files]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "writing\n"
    writers[0].kill()
    writers[0].communicate()
    assert len(list((tmp_path / "state").iterdir())) == 1
    remove_leftovers(tmp_path)
    assert list((tmp_path / "state").iterdir()) == []
    writers[1].communicate("\n")
    assert files[1].read_bytes() == b"whole"
    write_atomic(files[0], b"again")
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted([*files, *kept])


def test_a_stop_ends_a_map_between_two_epochs(tiny_run: Run) -> None:
    stop, config = Stop(), MapConfig(seed=1)

    def progress(done: int, total: int) -> None:
        assert done <= 5 < total
        stop.is_asked = done == 5  # as by a signal that a library lost
        stop.check()

    with pytest.raises(KeyboardInterrupt):
        make_map(tiny_run, config, progress)
    assert config not in tiny_run.list_maps()
