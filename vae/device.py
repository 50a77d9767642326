"""Where and how numbers are computed: the device, its precision, and random streams that can be cut and taken up again."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import platform
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

Purpose = Literal[
    "order",
    "noise",
    "validation",
    "evaluation",
    "preview",
    "view",
    "subset",
    "refinement",
    "importance",
    "annealing",
    "aggregate",
    "verdict",
    "map",
]
# NOTE: a stream depends on its purpose's place here: new purposes go at the end.
_PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

NICENESS = 10
KEPT_BYTES = 2**30
_MALLOC_OPTIONS = ((-3, "MALLOC_MMAP_THRESHOLD_", 2**25), (-1, "MALLOC_TRIM_THRESHOLD_", KEPT_BYTES))
"""`mallopt`'s number, the variable that says the same, and our value; 32 MiB is the most that the first one takes."""
VALUES_AT_ONCE = 4_000_000
"""Pixel values in one batch, at most: 16 MB as floats, and some tens of times that in a model's layers."""


class DeviceError(ValueError):
    """A device that this machine doesn't have; the message names those it has."""


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; ``auto`` is the first of cuda, mps and cpu that this machine has.

    Raises:
        DeviceError: an unknown device, or one that this machine doesn't have.
    """
    present = ["cpu"]
    if torch.backends.mps.is_available():
        present.insert(0, "mps")
    if torch.cuda.is_available():
        present = ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count())), *present]
    if name == "auto":
        return torch.device(present[0])
    if name not in present:
        raise DeviceError(f"device must be auto or one that this machine has ({', '.join(present)}), got {name!r}")
    return torch.device(name)


def list_devices() -> dict[str, str]:
    """The devices of this machine, the best first: what `choose_device` knows each by, and what it calls itself."""
    best = choose_device()
    found = {}
    if best.type == "cuda":
        found = {f"cuda:{index}": torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
    elif best.type == "mps":
        found = {"mps": f"{platform.machine()} GPU (Metal)"}
    return found | {"cpu": f"{_processor()}, {os.cpu_count() or 1} cores"}


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "CPU"


def bf16_is_fast(device: torch.device) -> bool:
    """Whether mixed precision gains anything there: a GPU with bf16 units, or a CPU with AMX or AVX512-BF16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported())
    return False


def precision_context(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Where a model runs in ``precision``: autocast for ``bf16`` if the device gains by it, else plain fp32."""
    if precision == "bf16" and bf16_is_fast(device):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def keep_freed_memory() -> None:
    """Have the C library keep what a step frees for the next step, up to `KEPT_BYTES`.

    By itself it gives large blocks back, and the kernel clears every page anew when they are asked for again: many thousand
    pages a step, on two cores about a tenth of a training's time. What ``MALLOC_...`` variables of the environment say holds.
    Without glibc nothing is done.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, variable, value in _MALLOC_OPTIONS:
        if variable not in os.environ:
            mallopt(parameter, value)


def give_way() -> None:
    """Let other programs go first: niceness `NICENESS` (where it isn't higher already), and threads for all cores but one.

    To be called before the first computation: on Linux a thread has the niceness of the one that started it.
    """
    os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(max(1, min(torch.get_num_threads(), cores - 1)))


def generator_for(seed: int, purpose: Purpose, counter: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator whose stream is a function of ``(seed, purpose, counter)`` and unrelated to its neighbours'."""
    words = np.random.SeedSequence([seed, _PURPOSES.index(purpose), counter]).generate_state(2, np.uint32)
    return torch.Generator(device).manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)


def to_unit(
    images: UInt8[Tensor, "batch channels height width"], channels_last: bool = False
) -> Float[Tensor, "batch channels height width"]:
    """uint8 images as fp32 in [0, 1], in the memory order asked for."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return images.float().div_(255).contiguous(memory_format=layout)


def images_at_once(most: int, image_shape: tuple[int, ...]) -> int:
    """How many images to work on in one batch where no gradient is taken: ``most``, and fewer the larger they are, because
    what encoder and decoder hold at once grows with the pixels. One at least."""
    return max(1, min(most, VALUES_AT_ONCE // math.prod(image_shape)))
