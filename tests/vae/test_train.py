"""The training loop: it learns, uses every image, and goes on exactly where it was cut."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from vae import (
    Epoch,
    ImageDataset,
    ModelConfig,
    Step,
    TrainConfig,
    TrainingState,
    make_dataset,
    new_state,
    restore_state,
    train,
)
from vae.muon import Muon
from vae.train import Means, learning_rate_at, validate

MODEL = ModelConfig(height=8, width=8, latent=3, widths=(4,), blocks=1, hidden=8)
CONFIG = TrainConfig(epochs=3, batch_size=16, learning_rate=1e-2, precision="fp32", weight_decay=0.01)
MUON = dataclasses.replace(CONFIG, optimizer="muon")
CPU = torch.device("cpu")
with_either_optimizer = pytest.mark.parametrize("config", [CONFIG, MUON], ids=["adam", "muon"])


@pytest.fixture(scope="module")
def data() -> tuple[ImageDataset, ImageDataset]:
    noise = torch.Generator().manual_seed(0)
    shapes = torch.rand(3, 1, 8, 8, generator=noise)
    images = (shapes[torch.randint(0, 3, (70,), generator=noise)] * 255).to(torch.uint8).numpy()
    return make_dataset(images[:50]), make_dataset(images[50:])


def run_to_end(state: TrainingState, data: tuple[ImageDataset, ImageDataset]) -> list[Epoch]:
    return [event for event in train(state, *data) if isinstance(event, Epoch)]


@with_either_optimizer
def test_it_learns(data: tuple[ImageDataset, ImageDataset], config: TrainConfig) -> None:
    epochs = run_to_end(new_state(MODEL, config, CPU), data)
    assert epochs[-1].train.elbo > epochs[0].train.elbo + 1
    for epoch in epochs:
        assert epoch.train.elbo == pytest.approx(epoch.train.reconstruction - epoch.train.kl)
        assert epoch.validation.kl == pytest.approx(sum(epoch.kl_per_dimension))


def test_every_image_is_used_once_an_epoch_and_in_another_order(data: tuple[ImageDataset, ImageDataset]) -> None:
    seen: list[list[int]] = []
    numbered = torch.arange(50, dtype=torch.uint8).reshape(50, 1, 1, 1).expand(50, 1, 8, 8).contiguous().numpy()
    state = new_state(MODEL, CONFIG, CPU)
    encode = state.model.encode

    def watch(x: torch.Tensor) -> Any:
        if state.model.training:
            seen.append((x[:, 0, 0, 0] * 255).round().int().tolist())
        return encode(x)

    state.model.encode = watch  # type: ignore[method-assign]
    steps = [event for event in train(state, make_dataset(numbered), data[1]) if isinstance(event, Step)]
    assert [step.images for step in steps[:4]] == [16, 16, 16, 2]  # the rest of the last batch is not dropped
    epochs = [sum(seen[start : start + 4], []) for start in (0, 4, 8)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("cut", [1, 3, 4, 5, 9, 12])
@with_either_optimizer
def test_cut_anywhere_it_ends_in_the_same_weights(
    data: tuple[ImageDataset, ImageDataset], tmp_path: Path, cut: int, config: TrainConfig
) -> None:
    whole = new_state(MODEL, config, CPU)
    expected = run_to_end(whole, data)
    first = new_state(MODEL, config, CPU)
    found = []
    for event in train(first, *data):
        if isinstance(event, Epoch):
            found.append(event)
        elif event.step == cut:
            break
    safetensors.torch.save_file(first.tensors(), tmp_path / "state")
    progress = json.loads(json.dumps(first.progress()))
    second = restore_state(MODEL, config, CPU, safetensors.torch.load_file(tmp_path / "state"), progress)
    found += run_to_end(second, data)
    for name, value in whole.tensors().items():
        assert torch.equal(second.tensors()[name], value), name
    told = [(epoch.epoch, epoch.train, epoch.validation, epoch.best) for epoch in found]
    assert told == [(epoch.epoch, epoch.train, epoch.validation, epoch.best) for epoch in expected]


def test_cut_between_two_epochs_it_ends_in_the_same_weights(data: tuple[ImageDataset, ImageDataset]) -> None:
    whole, first = new_state(MODEL, CONFIG, CPU), new_state(MODEL, CONFIG, CPU)
    expected = run_to_end(whole, data)
    next(event for event in train(first, *data) if isinstance(event, Epoch))
    second = restore_state(MODEL, CONFIG, CPU, first.tensors(), json.loads(json.dumps(first.progress())))
    rest = run_to_end(second, data)
    assert [(epoch.train, epoch.validation, epoch.best) for epoch in rest] == [
        (epoch.train, epoch.validation, epoch.best) for epoch in expected[1:]
    ]
    assert all(torch.equal(second.tensors()[name], value) for name, value in whole.tensors().items())


def test_the_global_random_stream_is_left_alone(data: tuple[ImageDataset, ImageDataset]) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    run_to_end(new_state(MODEL, CONFIG, CPU), data)
    assert torch.equal(torch.rand(2), expected)


def test_best_is_the_best_on_validation_so_far(
    data: tuple[ImageDataset, ImageDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter([-5.0, -9.0, -7.0, -4.0, -4.0])
    measured = (torch.zeros(3), torch.zeros(3))
    module = importlib.import_module("vae.train")  # the package's own name `train` is the function
    monkeypatch.setattr(module, "validate", lambda state, validation: (Means(next(told), 0.0, 0.0), *measured))
    epochs = run_to_end(new_state(MODEL, dataclasses.replace(CONFIG, epochs=5), CPU), data)
    assert [epoch.best for epoch in epochs] == [True, False, False, True, False]


def test_validation_noise_is_the_same_at_every_epoch(data: tuple[ImageDataset, ImageDataset]) -> None:
    state = new_state(MODEL, CONFIG, CPU)
    assert validate(state, data[1])[0] == validate(state, data[1])[0]


def test_a_loss_that_is_not_finite_stops_the_training(data: tuple[ImageDataset, ImageDataset]) -> None:
    state = new_state(MODEL, CONFIG, CPU)
    with torch.no_grad():
        next(state.model.decoder.parameters()).fill_(math.nan)
    with pytest.raises(FloatingPointError, match=r"no longer finite at step 1 \(epoch 1\): lower the learning rate"):
        run_to_end(state, data)


def test_the_schedule_rises_to_its_peak_and_falls_to_nothing() -> None:
    config = TrainConfig(learning_rate=1e-2, schedule="one-cycle")
    rates = [learning_rate_at(config, step, 100) for step in range(100)]
    assert max(rates) == pytest.approx(1e-2)
    assert rates.index(max(rates)) in (19, 20)
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0 <= rates[-1] < 1e-5
    early = [learning_rate_at(TrainConfig(learning_rate=1e-2, rise=0.03), step, 100) for step in range(100)]
    assert early.index(max(early)) in (2, 3)
    assert early[3:] == sorted(early[3:], reverse=True)
    assert learning_rate_at(TrainConfig(learning_rate=1e-2, rise=0.0), 0, 100) == pytest.approx(1e-2)
    constant = TrainConfig(learning_rate=1e-2, schedule="constant")
    assert {learning_rate_at(constant, step, 100) for step in range(100)} == {1e-2}


@with_either_optimizer
def test_the_optimizers_follow_the_schedule(data: tuple[ImageDataset, ImageDataset], config: TrainConfig) -> None:
    state = new_state(MODEL, config, CPU)
    for event in train(state, *data):
        if isinstance(event, Step):
            rates = {group["lr"] for optimizer in state.optimizers.values() for group in optimizer.param_groups}
            assert rates == {learning_rate_at(CONFIG, event.step - 1, 12)}


@with_either_optimizer
def test_weight_decay_is_for_matrices_and_kernels(config: TrainConfig) -> None:
    state = new_state(MODEL, config, CPU)
    groups = [group for optimizer in state.optimizers.values() for group in optimizer.param_groups]
    assert isinstance(state.optimizers["optimizer"], torch.optim.AdamW)
    for group in groups:
        expected = 0.01 if group["params"][0].ndim > 1 else 0.0
        assert group["weight_decay"] == expected
        assert len({parameter.ndim > 1 for parameter in group["params"]}) == 1
    assert sum(len(group["params"]) for group in groups) == len(list(state.model.parameters()))


def test_muon_is_for_matrices_and_kernels_and_adam_for_the_rest() -> None:
    state = new_state(MODEL, MUON, CPU)
    assert isinstance(state.optimizers["muon"], Muon)
    for name, optimizer in state.optimizers.items():
        assert {parameter.ndim > 1 for group in optimizer.param_groups for parameter in group["params"]} == {name == "muon"}
    assert list(new_state(MODEL, CONFIG, CPU).optimizers) == ["optimizer"]


def test_mixed_precision_learns_the_same_thing(data: tuple[ImageDataset, ImageDataset]) -> None:
    full = run_to_end(new_state(MODEL, CONFIG, CPU), data)[-1].validation.elbo
    mixed = run_to_end(new_state(MODEL, dataclasses.replace(CONFIG, precision="bf16"), CPU), data)[-1].validation.elbo
    assert mixed == pytest.approx(full, abs=1.0)


Parts = tuple[dict[str, torch.Tensor], dict[str, Any]]
MOMENT = "optimizer.0.exp_avg"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda tensors, progress: ({n: v for n, v in tensors.items() if "decoder" not in n}, progress), "loading state_dict"),
        (lambda tensors, progress: (tensors | {"model.encoder.mean.bias": torch.zeros(4)}, progress), "loading state_dict"),
        (lambda tensors, progress: (tensors | {"optimizer.x.exp_avg": torch.zeros(1)}, progress), "invalid literal"),
        (lambda tensors, progress: (tensors | {MOMENT: torch.zeros(2)}, progress), "moments of .* are missing or of another"),
        (lambda tensors, progress: ({n: v for n, v in tensors.items() if n != MOMENT}, progress), "moments of .* are missing"),
        (lambda tensors, progress: ({n: v for n, v in tensors.items() if "optimizer" not in n}, progress), "moments of .*"),
        (lambda tensors, progress: (tensors, {}), "'epoch'"),
        (lambda tensors, progress: (tensors, progress | {"sums": [1.0]}), "not enough values"),
        (lambda tensors, progress: (tensors, progress | {"step": math.inf}), "cannot convert float infinity"),
    ],
)
def test_a_state_of_another_training_is_refused(
    data: tuple[ImageDataset, ImageDataset], spoil: Callable[..., Parts], reason: str
) -> None:
    state = new_state(MODEL, CONFIG, CPU)
    next(iter(train(state, *data)))
    tensors, progress = spoil(state.tensors(), state.progress())
    with pytest.raises(ValueError, match=f"the training state does not fit this model: .*{reason}"):
        restore_state(MODEL, CONFIG, CPU, tensors, progress)


@pytest.mark.parametrize("spoilt", [None, torch.zeros(2)])
def test_a_state_without_momentum_is_refused(data: tuple[ImageDataset, ImageDataset], spoilt: torch.Tensor | None) -> None:
    state = new_state(MODEL, MUON, CPU)
    next(iter(train(state, *data)))
    tensors = {name: value for name, value in state.tensors().items() if name != "muon.0.momentum"}
    if spoilt is not None:
        tensors["muon.0.momentum"] = spoilt
    with pytest.raises(ValueError, match="moments of .* are missing or of another shape"):
        restore_state(MODEL, MUON, CPU, tensors, state.progress())
