"""Devices and random streams."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from vae import DeviceError, choose_device, generator_for
from vae.device import VALUES_AT_ONCE, bf16_is_fast, images_at_once, precision_context, to_unit


def test_auto_is_a_device_of_this_machine() -> None:
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device("auto").type == expected
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "", "CPU"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="device must be auto or one that this machine has .*cpu"):
        choose_device(name)


def test_streams_are_reproducible_and_unrelated() -> None:
    def draw(*key: object) -> np.ndarray:
        return torch.randn(4000, generator=generator_for(*key)).numpy()  # type: ignore[arg-type]

    assert np.array_equal(draw(0, "noise", 3), draw(0, "noise", 3))
    streams = [draw(0, "noise", 0), draw(0, "noise", 1), draw(1, "noise", 0), draw(0, "order", 0), draw(0, "noise", 2)]
    correlations = np.corrcoef(streams) - np.eye(len(streams))
    assert np.abs(correlations).max() < 0.06


def test_precision_is_full_where_bf16_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    with precision_context("fp32", cpu):
        assert not torch.is_autocast_enabled("cpu")
    monkeypatch.setattr("vae.device.bf16_is_fast", lambda device: True)
    with precision_context("bf16", cpu):
        assert torch.is_autocast_enabled("cpu")
    monkeypatch.setattr("vae.device.bf16_is_fast", lambda device: False)
    with precision_context("bf16", cpu):
        assert not torch.is_autocast_enabled("cpu")
    assert bf16_is_fast(torch.device("meta")) is False


def test_to_unit_maps_bytes_to_zero_and_one() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).reshape(3, 1, 1, 1)
    assert to_unit(images).flatten().tolist() == pytest.approx([0.0, 0.2, 1.0])
    assert to_unit(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), channels_last=True).is_contiguous(
        memory_format=torch.channels_last
    )


@pytest.mark.parametrize(
    ("most", "shape", "count"),
    [(1000, (1, 28, 28), 1000), (500, (3, 64, 64), 325), (500, (3, 128, 128), 81), (500, (16, 1024, 1024), 1)],
)
def test_fewer_images_at_once_where_they_are_large(most: int, shape: tuple[int, ...], count: int) -> None:
    assert images_at_once(most, shape) == count
    assert count == 1 or count * np.prod(shape) <= VALUES_AT_ONCE


FAULTS = """
import resource, sys, torch
from vae.device import keep_freed_memory
if sys.argv[1] == "keeps":
    keep_freed_memory()
def step():
    return [torch.ones(2_000_000) for _ in range(8)]  # 8 MB each
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_kept_memory_is_not_asked_for_again() -> None:
    def faults(how: str, **environment: str) -> int:
        command = [sys.executable, "-c", FAULTS, how]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        return int(subprocess.run(command, check=True, capture_output=True, env=clean | environment).stdout)

    assert faults("keeps") * 4 < faults("plain")
    assert faults("keeps", MALLOC_MMAP_THRESHOLD_="1000000") * 2 > faults("plain")  # what a person has said holds
