"""One training in several processes, as torchrun starts them: who is who, who takes which rows, and sums over all.

Every process holds the whole model and takes a part of each batch; gradients are summed, so that all make the same step: that
of the whole batch. A process that was started alone is the only one, and then every function here hands back what it is given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor

from vae.device import DeviceError, choose_device


class PeerError(RuntimeError):
    """Another process of the training has ended, so that this one can't go on."""


def rank() -> int:
    """The number of this process, from 0. The first is the one that writes and prints."""
    return dist.get_rank() if dist.is_initialized() else 0


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_world() -> int:
    """How many of them are on this machine and share its memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world() > 1 else 1


@contextmanager
def joined(device: str = "auto") -> Iterator[torch.device]:
    """Meet the other processes that torchrun has started, if it has, and give this one's device: with several processes on
    a machine each its own GPU. They talk over NCCL about what is on GPUs, over gloo about the rest.

    Raises:
        DeviceError: a device that this machine doesn't have, too few GPUs, or a kind that can't be shared out.
    """
    chosen = choose_device(device)
    if not dist.is_torchelastic_launched():
        yield chosen
        return
    number, processes = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    if chosen.type == "cuda" and processes > torch.cuda.device_count():
        raise DeviceError(
            f"{processes} processes need as many GPUs, this machine has {torch.cuda.device_count()}: "
            "lower --nproc-per-node, or say --device cpu"
        )
    if chosen.type == "cuda":
        chosen = torch.device("cuda", number)
        torch.cuda.set_device(chosen)
    elif chosen.type != "cpu" and processes > 1:
        raise DeviceError(f"several processes can train on cuda or cpu, not on {chosen}: say --device cpu")
    dist.init_process_group("cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield chosen
    finally:
        dist.destroy_process_group()


def share(count: int) -> slice:
    """The rows of ``count`` that this process takes: in order of rank, none twice, the parts equal to within one row."""
    whole, rest = divmod(count, world())
    start = rank() * whole + min(rank(), rest)
    return slice(start, start + whole + (rank() < rest))


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over all processes, in one message. They are of one type and on one device.

    Raises:
        PeerError: another process has ended.
    """
    if world() == 1:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    try:
        dist.all_reduce(flat)
    except RuntimeError as error:
        raise PeerError("another process of this training has ended, its own message says why") from error
    for tensor, piece in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(piece.view(tensor.shape))


def gather(own: Shaped[Tensor, "own ..."], count: int) -> Shaped[Tensor, "count ..."]:
    """All ``count`` rows in order, of which each process has those of its `share`."""
    if world() == 1:
        return own
    rows = own.new_zeros(count, *own.shape[1:])
    rows[share(count)] = own
    add_up([rows])
    return rows


def any_of(flag: bool) -> bool:
    """Whether it is true in any of the processes. All must ask."""
    found = torch.tensor(float(flag))
    add_up([found])
    return bool(found)


def wait() -> None:
    """Wait until all processes are here.

    Raises:
        PeerError: one of them has ended.
    """
    add_up([torch.zeros(1)])
