"""The training loop: a generator of `Step` and `Epoch` events over a `TrainingState`. It knows no files.

Every random draw is a function of (seed, purpose, counter), see `generator_for`: the order of the images of
the epoch, the noise of the step. So the state needs no generator of its own, and a training that was cut at any step
goes on exactly as it would have gone on uncut.

In several processes (`vae.distributed`) each takes its rows of every batch, with the noise that these rows have in one process,
and all make the step of the whole batch. Only batch statistics differ: each process normalises its rows by their own, as if
the batch were so small ("ghost" batches, Hoffer et al. 2017), and the running statistics are the mean over the processes,
weighted by their rows. On CPUs and GPUs alike; torch's SyncBatchNorm knows only GPUs.
"""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

import vae.distributed as distributed
from vae.config import ModelConfig, TrainConfig
from vae.data import ImageDataset
from vae.device import bf16_is_fast, generator_for, images_at_once, precision_context, to_unit
from vae.encodings import ACTIVE_VARIANCE
from vae.model import VAE, build_model
from vae.muon import Muon
from vae.objective import elbo_at, kl_beyond
from vae.posterior import Posterior

VALIDATION_BATCH = 1000
MEMORY_SHARE = 0.25
COMPILER = "inductor"
"""What torch.compile translates with."""


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
    """One pass over the training split is done and measured on the validation split (one sample of z per image).

    ``train``, ``validation`` and what is ``best`` are the plain ELBO, whatever is optimised.
    """

    epoch: int
    step: int
    train: Means
    validation: Means
    kl_per_dimension: list[float]
    active_units: int
    learning_rate: float
    """That of the last step."""
    beta: float
    """The weight of the KL term in the last step."""
    gradient_norm: float
    """The mean over the steps, before any clipping."""
    seconds: float
    images_per_second: float
    best: bool
    epochs_since_best: int


@dataclass(frozen=True)
class Note:
    """Something that isn't done as it was asked for, said before the first step: a sentence."""

    text: str


@dataclass
class TrainingState:
    """All that an exact resume needs: `tensors` and `progress` give it out, `restore_state` takes it back.

    ``averaged`` has the moving average of the weights and buffers of ``model``, if ``config.ema_decay`` asks for one. The
    ``optimizers`` stand under the names by which their moments are saved: "optimizer" is Adam, of all parameters, or of those
    that "muon" leaves.
    """

    model: VAE
    averaged: VAE | None
    optimizers: dict[str, torch.optim.Optimizer]
    config: TrainConfig
    device: torch.device
    epoch: int = 0
    step: int = 0
    position: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])
    norms: float = 0.0
    seconds: float = 0.0
    best: float = -math.inf
    epochs_since_best: int = 0

    @property
    def serving(self) -> VAE:
        """The model that is validated and kept: the averaged one, if there is one."""
        return self.averaged or self.model

    @property
    def done(self) -> bool:
        """Whether every epoch is done, or ``config.patience`` is at its end."""
        tired = 0 < self.config.patience <= self.epochs_since_best
        return tired or self.epoch >= self.config.epochs

    def tensors(self) -> dict[str, Tensor]:
        """Weights, buffers, their averages and optimizer moments by name, on the CPU."""
        found = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        if self.averaged is not None:
            found |= {f"average.{name}": value for name, value in self.averaged.state_dict().items()}
        for kind, optimizer in self.optimizers.items():
            for index, slots in optimizer.state_dict()["state"].items():
                found |= {f"{kind}.{index}.{slot}": torch.as_tensor(value) for slot, value in slots.items()}
        return {name: value.detach().cpu().contiguous() for name, value in found.items()}

    def progress(self) -> dict[str, Any]:
        """The position in the training, as JSON values; ``best`` is the best validation ELBO so far (null: none yet)."""
        best = self.best if math.isfinite(self.best) else None
        return {
            "epoch": self.epoch,
            "step": self.step,
            "position": self.position,
            "sums": list(self.sums),
            "norms": self.norms,
            "seconds": self.seconds,
            "best": best,
            "epochs_since_best": self.epochs_since_best,
        }


def learning_rate_at(config: TrainConfig, step: int, total: int) -> float:
    """The learning rate of gradient step ``step`` of ``total``, counted from 0."""
    if config.schedule == "constant":
        return config.learning_rate
    rise = max(1, int(total * config.rise))
    if step < rise:
        return config.learning_rate * 0.5 * (1 - math.cos(math.pi * (step + 1) / rise))
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def beta_at(config: TrainConfig, step: int, total: int) -> float:
    """The weight of the KL term in gradient step ``step`` of ``total``, counted from 0: that of the last step of the
    warm-up is ``config.beta``."""
    warm = config.warmup_epochs * (total // config.epochs)
    return config.beta * min(1.0, (step + 1) / max(1, warm))


def new_state(model_config: ModelConfig, config: TrainConfig, device: torch.device) -> TrainingState:
    """A training that has not begun: weights drawn from the seed, an optimizer without history.

    Raises:
        ConfigError: a model of more than `vae.model.MAX_PARAMETERS` parameters.
    """
    model = build_model(model_config, config.seed)
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    model = model.to(device=device).to(memory_format=layout)  # type: ignore[call-overload]
    decayed = {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": config.weight_decay}
    free = {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0}
    averaged = copy.deepcopy(model).requires_grad_(False).eval() if config.ema_decay else None
    kind, rate = torch.optim.AdamW if config.weight_decay else torch.optim.Adam, config.learning_rate
    optimizers: dict[str, torch.optim.Optimizer]
    if config.optimizer == "muon":
        optimizers = {"optimizer": kind([free], lr=rate, fused=True), "muon": Muon([decayed], lr=rate)}
    else:
        optimizers = {"optimizer": kind([decayed, free], lr=rate, fused=True)}
    return TrainingState(model, averaged, optimizers, config, device)


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
        state.model.load_state_dict(_named("model.", tensors))
        if state.averaged is not None:
            state.averaged.load_state_dict(_named("average.", tensors))
        for kind, optimizer in state.optimizers.items():
            slots: dict[int, dict[str, Tensor]] = {}
            for name, value in _named(f"{kind}.", tensors).items():
                index, slot = name.split(".")
                slots.setdefault(int(index), {})[slot] = value
            optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        state.epoch, state.step, state.position = (int(progress[key]) for key in ("epoch", "step", "position"))
        reconstruction, kl = progress["sums"]
        state.sums = [float(reconstruction), float(kl)]
        state.seconds = float(progress["seconds"])
        state.best = -math.inf if progress["best"] is None else float(progress["best"])
        state.norms = float(progress.get("norms", 0.0))  # states that were written before there were such counts lack them
        state.epochs_since_best = int(progress.get("epochs_since_best", 0))
        _check_moments(state)
        for optimizer in state.optimizers.values():
            _lay_out_moments(optimizer)
    except (KeyError, TypeError, RuntimeError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"the training state does not fit this model: {reason}") from None
    return state


def _named(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _lay_out_moments(optimizer: torch.optim.Optimizer) -> None:
    """Moments in the memory order of their weights, as the optimizer makes them.

    NOTE: the fused optimizer reads weights and moments in the order in which they lie, and rounds by it.
    """
    for parameter, slots in optimizer.state.items():
        for name, moment in slots.items():
            if moment.shape == parameter.shape:
                slots[name] = torch.empty_like(parameter, requires_grad=False).copy_(moment)


def _check_moments(state: TrainingState) -> None:
    """NOTE: torch takes moments of any shape, or none, and would fail steps later or begin them anew."""
    names = {parameter: name for name, parameter in state.model.named_parameters()}
    for kind, optimizer in state.optimizers.items():
        for parameter in chain.from_iterable(group["params"] for group in optimizer.param_groups):
            shape = tuple(parameter.shape)
            expected = {"momentum": shape} if kind == "muon" else {"step": (), "exp_avg": shape, "exp_avg_sq": shape}
            found = {slot: tuple(value.shape) for slot, value in optimizer.state.get(parameter, {}).items()}
            if found != (expected if state.step else {}):
                raise ValueError(f"the optimizer's moments of {names[parameter]} are missing or of another shape")


def train(state: TrainingState, data: ImageDataset, validation: ImageDataset) -> Iterator[Step | Epoch | Note]:
    """Train from where ``state`` stands to the end of its configuration, one event a gradient step, one an epoch.

    The images stay on the device as uint8 (or on the disk, see `_rows_of`) and are shuffled each epoch. What is minimised is
    the batch mean of -ELBO, with the KL term weighted by `beta_at` and counted beyond ``free_bits`` only; what is told is the
    ELBO itself. Whenever an event is out, ``state`` is complete: it can be saved, and the generator closed.

    Raises:
        FloatingPointError: the loss or its gradient is no longer finite.
        DataError: images that stay on the disk have gone from it.
        PeerError: another process of the training has ended.
    """
    config = state.config
    rows_of = _rows_of(data, state.device)
    forward, notes = _forward_of(state)
    yield from notes
    total = math.ceil(len(data) / config.batch_size) * config.epochs
    while not state.done:
        order = torch.randperm(len(data), generator=generator_for(config.seed, "order", state.epoch)).to(state.device)
        state.model.train()
        while state.position < len(data):
            started = time.perf_counter()
            rows = order[state.position : state.position + config.batch_size]
            x = to_unit(rows_of(rows[distributed.share(len(rows))]), config.channels_last)
            batch, norm = _gradient_step(state, forward, x, len(rows), total)
            state.position += len(rows)
            state.step += 1
            state.sums[0] += batch.reconstruction * len(rows)
            state.sums[1] += batch.kl * len(rows)
            state.norms += norm
            state.seconds += time.perf_counter() - started
            yield Step(state.epoch + 1, state.step, total, state.position, len(rows), batch)
        yield _finish_epoch(state, len(data), validation, total)


def _rows_of(data: ImageDataset, device: torch.device) -> Callable[[Tensor], Tensor]:
    """How a batch is had: from a copy of all images on the device, or, where they are memory-mapped and would take more than
    `MEMORY_SHARE` of the memory of this machine or of the GPU, from the disk. The batches are the same. Each process on this
    machine has a copy of its own, all of them together count."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // distributed.local_world()
    if device.type == "cuda":
        memory = min(memory, torch.cuda.get_device_properties(device).total_memory)
    if isinstance(data.images, np.memmap) and data.images.nbytes > MEMORY_SHARE * memory:
        return lambda rows: torch.tensor(data.rows(rows.numpy(force=True)), device=device)
    images = torch.tensor(data.images, device=device)
    return lambda rows: images[rows]


Forward = tuple[Callable[[Tensor], Posterior], Callable[[Tensor], Tensor]]


def _forward_of(state: TrainingState) -> tuple[Forward, list[Note]]:
    """The two halves of the model as the steps call them, and what about them isn't as the configuration asks."""
    model, device, notes = state.model, state.device, []
    if state.config.precision == "bf16" and not bf16_is_fast(device):
        notes.append(Note(f"bf16 gains nothing on this {device.type}: training in fp32"))
    if not state.config.compile:
        return (model.encode, model.decode), notes
    try:
        torch.compile(torch.square, backend=COMPILER)(torch.ones(2, device=device))
    except Exception as error:  # NOTE: no compiler, another operating system, a GPU that is too old: each raises its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return (model.encode, model.decode), [*notes, Note(f"torch.compile doesn't work here ({reason}): training without it")]
    # NOTE: each size of batch is translated for itself, else what a step computes would hang on the sizes before it.
    encoder = torch.compile(model.encoder, dynamic=False, backend=COMPILER)
    decoder = torch.compile(model.decoder, dynamic=False, backend=COMPILER)
    return (lambda x: Posterior(*encoder(x)), decoder), notes


def _gradient_step(state: TrainingState, forward: Forward, x: Tensor, count: int, total: int) -> tuple[Means, float]:
    """One step from this process's rows ``x`` of a batch of ``count``: the means over the batch, and the gradient's norm."""
    config, model = state.config, state.model
    for optimizer in state.optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(config, state.step, total)
        optimizer.zero_grad(set_to_none=True)
    means = _backward(state, forward, x, count, beta_at(config, state.step, total))
    parameters = list(model.parameters())
    if distributed.world() > 1:
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        statistics = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        for buffer in statistics:
            buffer.mul_(len(x) / count)
        distributed.add_up([means, *statistics, *(p.grad for p in parameters if p.grad is not None)])
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    value, reconstruction, kl, length = torch.cat([means, norm[None]]).tolist()
    if not math.isfinite(value) or not math.isfinite(length):
        raise FloatingPointError(
            f"the loss or its gradient is no longer finite at step {state.step + 1} (epoch {state.epoch + 1}): "
            "lower the learning rate"
        )
    if config.clip_norm:
        torch.nn.utils.clip_grads_with_norm_(parameters, config.clip_norm, norm)
    for optimizer in state.optimizers.values():
        optimizer.step()
    _follow(state)
    return Means(value, reconstruction, kl), length


def _backward(state: TrainingState, forward: Forward, x: Tensor, count: int, beta: float) -> Tensor:
    """Add this process's part of the gradient; its part of the batch means of ELBO, reconstruction and KL, ``(3,)``."""
    config, latent = state.config, state.model.config.latent
    encode, decode = forward
    # NOTE: the noise is that of the whole batch, of which this process uses its rows: a row has the same in any process.
    noise = torch.randn(count, latent, generator=generator_for(config.seed, "noise", state.step, state.device), device=x.device)
    part = len(x) / count
    if not len(x):  # fewer rows than processes: there are no batch statistics of nothing
        distributed.add_up([torch.zeros(latent, device=x.device)] if config.free_bits else [])
        return torch.zeros(3, device=x.device)
    with precision_context(config.precision, state.device):
        posterior = encode(x)
        terms = elbo_at(posterior, noise[distributed.share(count)], decode, state.model.likelihood, x)
    kl = terms.kl
    if config.free_bits:
        per_dimension = posterior.kl_per_dimension()
        mean_kl = per_dimension.detach().sum(dim=0) / count
        distributed.add_up([mean_kl])
        kl = kl_beyond(per_dimension, mean_kl, config.free_bits)
    loss = -(terms.reconstruction - beta * kl).mean() * part
    loss.backward()  # type: ignore[no-untyped-call]
    return torch.stack([terms.value.mean(), terms.reconstruction.mean(), terms.kl.mean()]).detach() * part


@torch.no_grad()
def _follow(state: TrainingState) -> None:
    """Let the averages of weights and floating-point buffers follow by a step; other buffers are copied.

    NOTE: the decay of step t is at most (1 + t) / (10 + t), so that the first weights don't linger in a short training.
    """
    if state.averaged is None:
        return
    decay = min(state.config.ema_decay, (2 + state.step) / (11 + state.step))
    averages, values = (list(chain(model.parameters(), model.buffers())) for model in (state.averaged, state.model))
    floating = [number for number, average in enumerate(averages) if average.is_floating_point()]
    follow = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    follow([averages[number] for number in floating], [values[number] for number in floating], 0)
    for average, value in zip(averages, values, strict=True):
        if not average.is_floating_point():
            average.copy_(value)


def _finish_epoch(state: TrainingState, count: int, validation: ImageDataset, total: int) -> Epoch:
    train_means = Means((state.sums[0] - state.sums[1]) / count, state.sums[0] / count, state.sums[1] / count)
    means, kl_per_dimension, variance = validate(state, validation)
    if not math.isfinite(means.elbo):
        raise FloatingPointError(
            f"the validation ELBO is no longer finite after epoch {state.epoch + 1}: lower the learning rate"
        )
    best = means.elbo > state.best
    state.best = max(state.best, means.elbo)
    state.epochs_since_best = 0 if best else state.epochs_since_best + 1
    epoch = Epoch(
        epoch=state.epoch + 1,
        step=state.step,
        train=train_means,
        validation=means,
        kl_per_dimension=kl_per_dimension.tolist(),
        active_units=int((variance > ACTIVE_VARIANCE).sum()),
        learning_rate=learning_rate_at(state.config, state.step - 1, total),
        beta=beta_at(state.config, state.step - 1, total),
        gradient_norm=state.norms / (total // state.config.epochs),
        seconds=state.seconds,
        images_per_second=count / max(state.seconds, 1e-9),
        best=best,
        epochs_since_best=state.epochs_since_best,
    )
    state.epoch += 1
    state.position, state.sums, state.norms, state.seconds = 0, [0.0, 0.0], 0.0, 0.0
    return epoch


@torch.no_grad()
def validate(state: TrainingState, validation: ImageDataset) -> tuple[Means, Tensor, Tensor]:
    """The mean ELBO terms on a split (one sample of z per image, the same noise at every epoch), the mean KL of each
    latent dimension ``(latent,)`` in nats, and the variance of each posterior mean ``(latent,)``."""
    model, latent, device = state.serving.eval(), state.model.config.latent, state.device
    generator = generator_for(state.config.seed, "validation", 0, device)
    reconstruction, kl, means = [], [], []
    batch = images_at_once(VALIDATION_BATCH, validation.image_shape)
    for start in range(0, len(validation), batch):
        count = min(batch, len(validation) - start)
        own = distributed.share(count)
        noise = torch.randn(count, latent, generator=generator, device=device)[own]
        x = torch.tensor(validation.rows(slice(start + own.start, start + own.stop)), device=device)
        x = to_unit(x, state.config.channels_last)
        with precision_context(state.config.precision, device):
            posterior = model.encode(x)
            terms = elbo_at(posterior, noise, model.decode, model.likelihood, x)
        reconstruction.append(distributed.gather(terms.reconstruction.double(), count))
        kl.append(distributed.gather(posterior.kl_per_dimension().double(), count))
        means.append(distributed.gather(posterior.mean.double(), count))
    per_dimension = torch.cat(kl).mean(dim=0)
    first, second = float(torch.cat(reconstruction).mean()), float(per_dimension.sum())
    return Means(first - second, first, second), per_dimension.cpu(), torch.cat(means).var(dim=0, correction=0).cpu()
