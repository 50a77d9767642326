"""The training loop: a generator of `Step` and `Epoch` events over a `TrainingState`. It knows no files.

Every random draw is a function of (seed, purpose, counter), see `generator_for`: the order of the images of
the epoch, the noise of the step. So the state needs no generator of its own, and a training that was cut at any step
goes on exactly as it would have gone on uncut.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae.config import ModelConfig, TrainConfig
from vae.data import ImageDataset
from vae.device import generator_for, precision_context, to_unit
from vae.encodings import ACTIVE_VARIANCE
from vae.model import VAE, build_model
from vae.objective import elbo

VALIDATION_BATCH = 1000
MEMORY_SHARE = 0.25


@dataclass(frozen=True)
class Means:
    """Mean nats per image over some images: ``elbo = reconstruction - kl``."""

    elbo: float
    reconstruction: float
    kl: float


@dataclass(frozen=True)
class Step:
    """One gradient step is done. ``step`` counts from 1 over the whole training, ``position`` images into the epoch."""

    epoch: int
    step: int
    total_steps: int
    position: int
    images: int
    batch: Means


@dataclass(frozen=True)
class Epoch:
    """One pass over the training split is done and measured on the validation split (one sample of z per image)."""

    epoch: int
    step: int
    train: Means
    validation: Means
    kl_per_dimension: list[float]
    active_units: int
    learning_rate: float
    seconds: float
    images_per_second: float
    best: bool


@dataclass
class TrainingState:
    """All that an exact resume needs: `tensors` and `progress` give it out, `restore_state` takes it back."""

    model: VAE
    optimizer: torch.optim.Optimizer
    config: TrainConfig
    device: torch.device
    epoch: int = 0
    step: int = 0
    position: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])
    seconds: float = 0.0
    best: float = -math.inf

    def tensors(self) -> dict[str, Tensor]:
        """Weights, buffers and optimizer moments by name, on the CPU."""
        found = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
        return {name: value.detach().cpu().contiguous() for name, value in found.items()}

    def progress(self) -> dict[str, Any]:
        """The position in the training, as JSON values; ``best`` is the best validation ELBO so far (null: none yet)."""
        best = self.best if math.isfinite(self.best) else None
        return {
            "epoch": self.epoch,
            "step": self.step,
            "position": self.position,
            "sums": list(self.sums),
            "seconds": self.seconds,
            "best": best,
        }


def learning_rate_at(config: TrainConfig, step: int, total: int) -> float:
    """The learning rate of gradient step ``step`` of ``total``, counted from 0."""
    if config.schedule == "constant":
        return config.learning_rate
    rise = max(1, total // 5)
    if step < rise:
        return config.learning_rate * 0.5 * (1 - math.cos(math.pi * (step + 1) / rise))
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def new_state(model_config: ModelConfig, config: TrainConfig, device: torch.device) -> TrainingState:
    """A training that has not begun: weights drawn from the seed, an optimizer without history.

    Raises:
        ConfigError: a model of more than `vae.model.MAX_PARAMETERS` parameters.
    """
    model = build_model(model_config, config.seed)
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    model = model.to(device=device).to(memory_format=layout)  # type: ignore[call-overload]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    free = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]
    kind = torch.optim.AdamW if config.weight_decay else torch.optim.Adam
    return TrainingState(model, kind(groups, lr=config.learning_rate), config, device)


def restore_state(
    model_config: ModelConfig,
    config: TrainConfig,
    device: torch.device,
    tensors: dict[str, Tensor],
    progress: dict[str, Any],
) -> TrainingState:
    """The training that gave out ``tensors`` and ``progress``, at the same step.

    Raises:
        ValueError: tensors or progress of another model or format.
    """
    state = new_state(model_config, config, device)
    try:
        weights = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        state.model.load_state_dict(weights)
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, slot = name.split(".")
                slots.setdefault(int(index), {})[slot] = value
        state.optimizer.load_state_dict({"state": slots, "param_groups": state.optimizer.state_dict()["param_groups"]})
        state.epoch, state.step, state.position = (int(progress[key]) for key in ("epoch", "step", "position"))
        reconstruction, kl = progress["sums"]
        state.sums = [float(reconstruction), float(kl)]
        state.seconds = float(progress["seconds"])
        state.best = -math.inf if progress["best"] is None else float(progress["best"])
        _check_moments(state)
    except (KeyError, TypeError, RuntimeError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"the training state does not fit this model: {reason}") from None
    return state


def _check_moments(state: TrainingState) -> None:
    """NOTE: torch takes moments of any shape, or none, and would fail steps later or begin them anew."""
    for name, parameter in state.model.named_parameters():
        found = {slot: tuple(value.shape) for slot, value in state.optimizer.state.get(parameter, {}).items()}
        shape = tuple(parameter.shape)
        if found != ({"step": (), "exp_avg": shape, "exp_avg_sq": shape} if state.step else {}):
            raise ValueError(f"the optimizer's moments of {name} are missing or of another shape")


def train(state: TrainingState, data: ImageDataset, validation: ImageDataset) -> Iterator[Step | Epoch]:
    """Train from where ``state`` stands to the end of its configuration, one event a gradient step, one an epoch.

    The images stay on the device as uint8 (or on the disk, see `_rows_of`) and are shuffled each epoch. What is minimised is
    the batch mean of -ELBO.
    Whenever an event is out, ``state`` is complete: it can be saved, and the generator closed.

    Raises:
        FloatingPointError: the loss is no longer finite.
    """
    config, model = state.config, state.model
    rows_of = _rows_of(data, state.device)
    steps_per_epoch = math.ceil(len(data) / config.batch_size)
    total = steps_per_epoch * config.epochs
    while state.epoch < config.epochs:
        order = torch.randperm(len(data), generator=generator_for(config.seed, "order", state.epoch)).to(state.device)
        model.train()
        while state.position < len(data):
            started = time.perf_counter()
            rows = order[state.position : state.position + config.batch_size]
            batch = _gradient_step(state, to_unit(rows_of(rows), config.channels_last), total)
            state.position += len(rows)
            state.step += 1
            state.sums[0] += batch.reconstruction * len(rows)
            state.sums[1] += batch.kl * len(rows)
            state.seconds += time.perf_counter() - started
            yield Step(state.epoch + 1, state.step, total, state.position, len(rows), batch)
        yield _finish_epoch(state, len(data), validation, total)


def _rows_of(data: ImageDataset, device: torch.device) -> Callable[[Tensor], Tensor]:
    """How a batch is had: from a copy of all images on the device, or, where they are memory-mapped and would take more than
    `MEMORY_SHARE` of the memory of this machine or of the GPU, from the disk. The batches are the same."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if device.type == "cuda":
        memory = min(memory, torch.cuda.get_device_properties(device).total_memory)
    if isinstance(data.images, np.memmap) and data.images.nbytes > MEMORY_SHARE * memory:
        return lambda rows: torch.tensor(data.images[rows.numpy(force=True)], device=device)
    images = torch.tensor(data.images, device=device)
    return lambda rows: images[rows]


def _gradient_step(state: TrainingState, x: Tensor, total: int) -> Means:
    config, model = state.config, state.model
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate_at(config, state.step, total)
    noise = generator_for(config.seed, "noise", state.step, state.device)
    with precision_context(config.precision, state.device):
        terms = elbo(model.encode(x), model.decode, model.likelihood, x, noise)
    loss = -terms.value.mean()
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    value, reconstruction, kl = torch.stack([-loss, terms.reconstruction.mean(), terms.kl.mean()]).tolist()
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the loss is no longer finite at step {state.step + 1} (epoch {state.epoch + 1}): lower the learning rate"
        )
    state.optimizer.step()
    return Means(value, reconstruction, kl)


def _finish_epoch(state: TrainingState, count: int, validation: ImageDataset, total: int) -> Epoch:
    train_means = Means((state.sums[0] - state.sums[1]) / count, state.sums[0] / count, state.sums[1] / count)
    means, kl_per_dimension, variance = validate(state, validation)
    if not math.isfinite(means.elbo):
        raise FloatingPointError(
            f"the validation ELBO is no longer finite after epoch {state.epoch + 1}: lower the learning rate"
        )
    best = means.elbo > state.best
    state.best = max(state.best, means.elbo)
    epoch = Epoch(
        epoch=state.epoch + 1,
        step=state.step,
        train=train_means,
        validation=means,
        kl_per_dimension=kl_per_dimension.tolist(),
        active_units=int((variance > ACTIVE_VARIANCE).sum()),
        learning_rate=learning_rate_at(state.config, state.step - 1, total),
        seconds=state.seconds,
        images_per_second=count / max(state.seconds, 1e-9),
        best=best,
    )
    state.epoch += 1
    state.position, state.sums, state.seconds = 0, [0.0, 0.0], 0.0
    return epoch


@torch.no_grad()
def validate(state: TrainingState, validation: ImageDataset) -> tuple[Means, Tensor, Tensor]:
    """The mean ELBO terms on a split (one sample of z per image, the same noise at every epoch), the mean KL of each
    latent dimension ``(latent,)`` in nats, and the variance of each posterior mean ``(latent,)``."""
    model = state.model
    model.eval()
    noise = generator_for(state.config.seed, "validation", 0, state.device)
    reconstruction, kl, means = [], [], []
    for start in range(0, len(validation), VALIDATION_BATCH):
        batch = torch.tensor(validation.images[start : start + VALIDATION_BATCH], device=state.device)
        x = to_unit(batch, state.config.channels_last)
        with precision_context(state.config.precision, state.device):
            posterior = model.encode(x)
            terms = elbo(posterior, model.decode, model.likelihood, x, noise)
        reconstruction.append(terms.reconstruction.double())
        kl.append(posterior.kl_per_dimension().double())
        means.append(posterior.mean.double())
    per_dimension = torch.cat(kl).mean(dim=0)
    first, second = float(torch.cat(reconstruction).mean()), float(per_dimension.sum())
    return Means(first - second, first, second), per_dimension.cpu(), torch.cat(means).var(dim=0, correction=0).cpu()
