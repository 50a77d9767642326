"""Several processes, one training: its batches, its noise, its numbers, its files; and how it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.distributed as dist

from vae import DeviceError, ModelConfig, PeerError, Run, TrainConfig, distributed, fit, open_run, resume
from vae.__main__ import main
from vae.config import OptimizerName

MODEL = ModelConfig(height=8, width=8, latent=3, architecture="plain", widths=(3, 4), blocks=0, hidden=0)
CONFIG = TrainConfig(
    epochs=3, batch_size=16, learning_rate=1e-2, precision="fp32", free_bits=0.05, beta=2.0, ema_decay=0.9, clip_norm=5.0
)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def few(workspace: object, tmp_path: Path, write_idx: Callable[[Path, np.ndarray], None]) -> None:
    """12 test images in ``tiny``: too few for a UMAP, which would only take time here. 55 + 5 are for training."""
    for path in (tmp_path / "data" / "tiny").glob("t10k-*"):
        path.unlink()
    images = np.random.default_rng(3).integers(0, 256, (12, 8, 8)).astype(np.uint8)
    write_idx(tmp_path / "data" / "tiny" / "t10k-images-idx3-ubyte", images)


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port"]


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def told(run: Run) -> np.ndarray:
    """The numbers of every epoch, a row each."""
    keys = ("elbo", "reconstruction", "kl")
    lines = run.metrics()
    return np.array(
        [
            [line["epoch"], *(line[s][k] for s in ("train", "validation") for k in keys), line["gradient_norm"], line["beta"]]
            for line in lines
        ]
    )


def assert_the_same_training(one: Run, other: Run) -> None:
    """The same loss curve and the same weights, within what sums in another order can make of floating-point numbers."""
    np.testing.assert_allclose(told(other), told(one), rtol=1e-4)
    states = [safetensors.torch.load_file(run.path / "state" / "state.safetensors") for run in (one, other)]
    weights = [safetensors.torch.load_file(run.path / "weights.safetensors") for run in (one, other)]
    for first, second in (states, weights):
        assert set(first) == set(second)
        for name, value in first.items():
            torch.testing.assert_close(second[name], value, rtol=1e-2, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_alone_everything_is_what_it_is_given() -> None:
    assert (distributed.rank(), distributed.world(), distributed.local_world()) == (0, 1, 1)
    assert distributed.share(7) == slice(0, 7)
    rows = torch.arange(6).reshape(3, 2)
    distributed.add_up([rows])
    assert distributed.gather(rows, 3) is rows
    assert rows.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert (distributed.any_of(True), distributed.any_of(False)) == (True, False)
    with distributed.joined("cpu") as device:
        assert device == CPU
        assert not dist.is_initialized()


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 16])
def test_the_shares_are_all_rows_once_and_in_order(monkeypatch: pytest.MonkeyPatch, count: int, world: int) -> None:
    monkeypatch.setattr(distributed, "world", lambda: world)
    parts = []
    for rank in range(world):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(list(range(count))[distributed.share(count)])
    assert sum(parts, []) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert len(parts[0]) == max(map(len, parts))  # the first is never without rows


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for kind, reason in (("cuda", "2 processes need as many GPUs, this machine has 1"), ("mps", "on cuda or cpu, not on mps")):
        monkeypatch.setattr(distributed, "choose_device", lambda name, kind=kind: torch.device(kind))
        with pytest.raises(DeviceError, match=f"{reason}.*say --device cpu"), distributed.joined():
            pass


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_two_processes_train_what_one_does(optimizer: OptimizerName) -> None:
    """`torchrun`, batches of 16, 16, 16 and 7 images, 5 for validation; every option that sums over the batch."""
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    fit("one", "tiny", MODEL, config, "notes", CPU)
    options: list[str] = []
    for name, value in (dataclasses.asdict(MODEL) | dataclasses.asdict(config)).items():
        if isinstance(value, bool):
            options.append(("--" if value else "--no-") + name.replace("_", "-"))
        elif name not in ("channels", "height", "width"):
            options += ["--" + name.replace("_", "-"), *map(str, value if isinstance(value, tuple) else (value,))]
    command = [*TORCHRUN, free_port(), "-m", "--", "vae", "train", "--run", "two", "--dataset", "tiny", "--device", "cpu"]
    ended = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("run two in ") == 1  # only the first speaks
    run = open_run("two")
    assert_the_same_training(open_run("one"), run)
    assert [line["epoch"] for line in run.metrics()] == [1, 2, 3]
    assert run.reports()
    assert run.list_maps()
    assert "training on cpu, one of 2 processes, from epoch 1, step 1" in (run.path / "train.log").read_text()


STOP = """
import json, os, signal, sys, time
from vae import ModelConfig, Step, Stopped, TrainConfig, distributed, fit
import torch
model, config = map(json.loads, sys.argv[1:])
model["widths"] = tuple(model["widths"])
def report(event):  # only the first process reports
    if isinstance(event, Step) and event.step == 6:
        received, noted = [], signal.getsignal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, lambda *given: (received.append(given), noted(*given)))
        os.kill(os.getppid(), signal.SIGTERM)  # to torchrun, which hands it on to both
        while not received:
            time.sleep(0.01)
with distributed.joined("cpu") as device:
    try:
        fit("stopped", "tiny", ModelConfig(**model), TrainConfig(**config), "notes", device, report)
    except Stopped:
        sys.exit(130)
"""


@pytest.mark.long
def test_a_signal_stops_all_and_another_number_of_processes_goes_on(tmp_path: Path) -> None:
    whole = fit("one", "tiny", MODEL, CONFIG, "notes", CPU)
    (tmp_path / "stop.py").write_text(STOP)
    arguments = [json.dumps(dataclasses.asdict(each)) for each in (MODEL, CONFIG)]
    command = [*TORCHRUN, free_port(), str(tmp_path / "stop.py"), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    run = open_run("stopped")
    status, stored = run.status(), run.load_state()
    assert status is not None
    assert stored is not None
    assert status.state == "stopped", ended.stderr
    assert stored[1]["step"] == 6
    assert not run.is_locked()
    resume("stopped", CPU)
    assert_the_same_training(whole, run)


# --- two processes in a script of their own ------------------------------------------------------------------------


@contextlib.contextmanager
def two(script: Path, code: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes that find each other as those that torchrun starts do, without torchrun to end one for the other."""
    script.write_text(code)
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    shared |= {"TORCHELASTIC_RUN_ID": "x", "OMP_NUM_THREADS": "1"}
    started = []
    try:
        for rank in ("0", "1"):
            environment = os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank}
            started.append(
                subprocess.Popen(
                    [sys.executable, str(script)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
            )
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


SCRIPT = """import json, os, sys
import numpy as np, torch, torch.distributed as dist
from vae import ModelConfig, PeerError, Step, TrainConfig, distributed, fit, generator_for, make_dataset, new_state, train

model = ModelConfig(height=8, width=8, latent=3, widths=(4,), blocks=1, hidden=8)
config = TrainConfig(epochs=1, batch_size=3, precision="fp32", ema_decay=0.9, free_bits=0.01)
images = np.random.default_rng(0).integers(0, 256, (10, 1, 8, 8)).astype(np.uint8)
with distributed.joined("cpu") as device:
    state = new_state(model, config, device)
    first = state.model.encoder.features[0]
    order = torch.randperm(10, generator=generator_for(0, "order", 0))
    whole = torch.tensor(images)[order[:3]].float() / 255
    means = [first(part).mean(dim=(0, 2, 3)).detach() for part in (whole[:2], whole[2:])]
    expected = 0.1 * (2 * means[0] + means[1]) / 3
    shares = []
    for event in train(state, make_dataset(images), make_dataset(images[:1])):
        if not isinstance(event, Step):
            continue
        shares.append(event.images)
        if event.step == 1:
            torch.testing.assert_close(state.model.encoder.features[1].running_mean, expected)
        for name, value in [*state.model.state_dict().items(), *state.averaged.state_dict().items()]:
            assert torch.isfinite(value).all(), name
            if value.is_floating_point():
                both = [torch.empty_like(value) for _ in range(2)]
                dist.all_gather(both, value)
                assert torch.equal(both[0], both[1]), name
    assert shares == [3, 3, 3, 1], shares  # of the last batch the second process has no rows

    # What follows ends the second process in the middle of the second epoch.
    def vanish(state, *arguments):
        if state.step == 5:
            os._exit(9)
        return step(state, *arguments)
    if distributed.rank() == 1:
        step = sys.modules["vae.train"]._gradient_step
        sys.modules["vae.train"]._gradient_step = vanish
    plain = ModelConfig(height=8, width=8, latent=3, architecture="plain", widths=(3, 4), blocks=0, hidden=0)
    try:
        fit("lost", "tiny", plain, TrainConfig(epochs=3, batch_size=16, precision="fp32"), "notes", device)
    except PeerError as error:
        print(error)
"""


@pytest.mark.long
def test_batch_statistics_are_a_weighted_mean_and_a_lost_process_is_told(tmp_path: Path) -> None:
    """Both processes hold the very same weights after every step, an empty share included. When one is gone, the other
    ends with a sentence, and the run can be taken up."""
    with two(tmp_path / "script.py", SCRIPT) as processes:
        said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 9], said
    assert said[0][0].strip() == "another process of this training has ended, its own message says why"
    run = open_run("lost")
    status, stored = run.status(), run.load_state()
    assert status is not None
    assert stored is not None
    assert (status.state, status.error) == ("failed", said[0][0].strip())
    assert stored[1]["epoch"] == 1
    resume("lost", CPU)
    assert [line["epoch"] for line in run.metrics()] == [1, 2, 3]


def test_the_second_process_says_who_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "1")
    assert main(["train", "--run", "x", "--dataset", "gone"]) == 2
    assert capsys.readouterr().err.startswith("error in process 1: ")


def test_a_lost_process_is_a_line_of_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def lost() -> None:
        raise PeerError("another process of this training has ended, its own message says why")

    monkeypatch.setattr(distributed, "wait", lost)
    assert main(["train", "--run", "x", "--dataset", "tiny", "--device", "cpu"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said == ["error: another process of this training has ended, its own message says why"]


def test_a_ctrl_c_at_one_process_is_agreed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked after each event, so that all stop after the same step: here the other process has had the signal."""
    asked: list[bool] = []
    monkeypatch.setattr(distributed, "any_of", lambda flag: (asked.append(flag), len(asked) == 3)[1])
    before = signal.getsignal(signal.SIGINT)
    assert (
        main(["train", "--run", "x", "--dataset", "tiny", "--device", "cpu", "--preset", "notes", "--widths", "3", "4"]) == 130
    )
    assert asked == [False] * 3  # a step, its epoch (all images are one batch), a step
    assert signal.getsignal(signal.SIGINT) == before
    stored = open_run("x").load_state()
    assert stored is not None
    assert stored[1]["step"] == 2
