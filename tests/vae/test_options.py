"""The options of a training: each does what it says, is taken up again bit for bit, and leaves what is told the plain ELBO."""

from __future__ import annotations

import dataclasses
import importlib
import json
from typing import Any

import jaxtyping
import pytest
import torch

from vae import (
    Epoch,
    ImageDataset,
    ModelConfig,
    Note,
    Step,
    TrainConfig,
    TrainingState,
    build_model,
    generator_for,
    make_dataset,
    new_state,
    restore_state,
    train,
)
from vae import elbo as elbo_of
from vae.device import to_unit
from vae.train import Means, beta_at, validate

MODEL = ModelConfig(height=8, width=8, latent=3, widths=(4,), blocks=1, hidden=8)
CONFIG = TrainConfig(epochs=3, batch_size=16, learning_rate=1e-2, precision="fp32", weight_decay=0.01)
CPU = torch.device("cpu")
TRAINING = importlib.import_module("vae.train")  # the package's own name `train` is the function

Data = tuple[ImageDataset, ImageDataset]


@pytest.fixture(scope="module")
def data() -> Data:
    noise = torch.Generator().manual_seed(0)
    shapes = torch.rand(3, 1, 8, 8, generator=noise)
    images = (shapes[torch.randint(0, 3, (70,), generator=noise)] * 255).to(torch.uint8).numpy()
    return make_dataset(images[:50]), make_dataset(images[50:])


def state_of(**options: Any) -> TrainingState:
    return new_state(MODEL, dataclasses.replace(CONFIG, **options), CPU)


def ended(state: TrainingState, data: Data) -> list[Any]:
    return list(train(state, *data))


def first_batch(data: Data, seed: int = 0) -> torch.Tensor:
    order = torch.randperm(50, generator=generator_for(seed, "order", 0))
    return to_unit(torch.tensor(data[0].images[order[:16].numpy()]), channels_last=True)


def gradient_after_one_step(data: Data, **options: Any) -> tuple[torch.Tensor, Means]:
    """The gradient that the first step has taken, flat, and what it told."""
    state = state_of(**options)
    event = next(iter(train(state, *data)))
    assert isinstance(event, Step)
    return torch.cat([p.grad.flatten() for p in state.model.parameters() if p.grad is not None]), event.batch


def gradient_of(data: Data, loss: Any) -> torch.Tensor:
    """The gradient by hand: of ``loss(reconstruction, kl per dimension)`` for the first batch and its noise."""
    model = build_model(MODEL, 0).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    x = first_batch(data)
    posterior = model.encode(x)
    terms = elbo_of(posterior, model.decode, model.likelihood, x, generator_for(0, "noise", 0))
    loss(terms.reconstruction, posterior.kl_per_dimension()).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


# --- the objective -------------------------------------------------------------------------------------------------


def test_beta_weighs_the_kl_in_what_is_optimised(data: Data) -> None:
    found, told = gradient_after_one_step(data, beta=4.0)
    expected = gradient_of(data, lambda reconstruction, kl: (4 * kl.sum(dim=1) - reconstruction).mean())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    plain, told_plain = gradient_after_one_step(data)
    assert told == told_plain  # the same weights and noise: the ELBO is the ELBO
    assert not torch.allclose(found, plain, rtol=1e-2)


@pytest.mark.parametrize("free_bits", [0.02, 0.03, 50.0])
def test_free_bits_are_those_of_kingma_et_al(data: Data, free_bits: float) -> None:
    found, told = gradient_after_one_step(data, free_bits=free_bits, beta=2.0)
    counted: list[int] = []

    def loss(reconstruction: torch.Tensor, kl: torch.Tensor) -> torch.Tensor:
        counted.append(int((kl.mean(dim=0) > free_bits).sum()))
        return 2 * kl.mean(dim=0).clamp(min=free_bits).sum() - reconstruction.mean()

    torch.testing.assert_close(found, gradient_of(data, loss), rtol=1e-4, atol=1e-5)
    assert counted == ([0] if free_bits > 1 else [counted[0]])
    assert told == gradient_after_one_step(data)[1]


def test_the_warm_up_rises_from_nothing_and_reaches_its_end(data: Data) -> None:
    config = dataclasses.replace(CONFIG, beta=2.0, warmup_epochs=2, epochs=5)
    betas = [beta_at(config, step, 20) for step in range(20)]
    assert betas[0] == pytest.approx(2 / 8)
    assert betas == sorted(betas)
    assert betas[6] < 2.0
    assert betas[7:] == [2.0] * 13  # 4 steps an epoch: the last step of the second epoch has all of it
    assert {beta_at(CONFIG, step, 12) for step in range(12)} == {1.0}
    told = [event.beta for event in ended(state_of(beta=2.0, warmup_epochs=2), data) if isinstance(event, Epoch)]
    assert told == [1.0, 2.0, 2.0]
    found, _ = gradient_after_one_step(data, beta=2.0, warmup_epochs=2)
    expected = gradient_of(data, lambda reconstruction, kl: (0.25 * kl.sum(dim=1) - reconstruction).mean())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_gradient_is_clipped_to_the_norm_and_told_unclipped(data: Data) -> None:
    plain, _ = gradient_after_one_step(data)
    clipped, _ = gradient_after_one_step(data, clip_norm=0.5)
    assert plain.norm() > 1
    assert clipped.norm() == pytest.approx(0.5, rel=1e-4)
    torch.testing.assert_close(clipped / clipped.norm(), plain / plain.norm())
    untouched, _ = gradient_after_one_step(data, clip_norm=1e6)
    assert torch.equal(untouched, plain)
    state = state_of(epochs=1, clip_norm=0.5)
    (epoch,) = (event for event in ended(state, data) if isinstance(event, Epoch))
    assert epoch.gradient_norm > 0.5


def test_the_norm_told_is_the_mean_over_the_steps(data: Data) -> None:
    state, norms = state_of(epochs=2), []
    for event in train(state, *data):
        if isinstance(event, Step):
            norms.append(float(torch.cat([p.grad.flatten() for p in state.model.parameters() if p.grad is not None]).norm()))
        elif isinstance(event, Epoch):
            assert event.gradient_norm == pytest.approx(sum(norms) / 4, rel=1e-4)
            norms = []


# --- the moving average --------------------------------------------------------------------------------------------


def test_the_moving_average_has_weights_and_buffers_and_is_what_counts(data: Data) -> None:
    state = state_of(ema_decay=0.6, epochs=2)
    names = list(state.model.state_dict())
    average = {name: value.double() for name, value in state.model.state_dict().items()}
    for event in train(state, *data):
        if isinstance(event, Step):
            decay = min(0.6, (1 + event.step) / (10 + event.step))
            for name, value in state.model.state_dict().items():
                average[name] = decay * average[name] + (1 - decay) * value
        else:
            assert event.validation == validate(state, data[1])[0]
    assert state.averaged is not None
    assert any("running_var" in name for name in names)
    for name, value in state.averaged.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, average[name].float(), rtol=1e-4, atol=1e-6)
            assert not torch.equal(value, state.model.state_dict()[name])
        else:
            assert torch.equal(value, state.model.state_dict()[name])
    average_means = validate(state, data[1])[0]
    state.averaged = None
    assert validate(state, data[1])[0] != average_means
    assert {f"average.{name}" for name in names} == {n for n in state_of(ema_decay=0.6).tensors() if n.startswith("average.")}
    assert not any(name.startswith("average.") for name in state_of().tensors())


def test_a_state_without_the_average_that_is_asked_for_is_refused(data: Data) -> None:
    state = state_of()
    next(iter(train(state, *data)))
    asked = dataclasses.replace(CONFIG, ema_decay=0.9)
    with pytest.raises(ValueError, match="the training state does not fit this model"):
        restore_state(MODEL, asked, CPU, state.tensors(), state.progress())


# --- early stopping ------------------------------------------------------------------------------------------------


def test_it_stops_after_so_many_epochs_without_a_better_one(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter([-5.0, -9.0, -4.0, -4.0, -6.0, -1.0])
    monkeypatch.setattr(TRAINING, "validate", lambda *_: (Means(next(told), 0.0, 0.0), torch.zeros(3), torch.zeros(3)))
    state = state_of(epochs=9, patience=2)
    epochs = [event for event in ended(state, data) if isinstance(event, Epoch)]
    assert [epoch.best for epoch in epochs] == [True, False, True, False, False]
    assert [epoch.epochs_since_best for epoch in epochs] == [0, 1, 0, 1, 2]
    progress = json.loads(json.dumps(state.progress()))
    again = restore_state(MODEL, state.config, CPU, state.tensors(), progress)
    assert ended(again, data) == []


# --- what may not be supported -------------------------------------------------------------------------------------


def test_bf16_that_gains_nothing_is_left_and_told(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = state_of(epochs=1)
    ended(plain, data)
    for module in ("vae.train", "vae.device"):
        monkeypatch.setattr(importlib.import_module(module), "bf16_is_fast", lambda device: False)
    state = state_of(epochs=1, precision="bf16")
    notes = [event.text for event in ended(state, data) if isinstance(event, Note)]
    assert notes == ["bf16 gains nothing on this cpu: training in fp32"]
    assert all(torch.equal(value, state.tensors()[name]) for name, value in plain.tensors().items())


def test_a_compiler_that_does_not_work_is_left_and_told(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TRAINING, "COMPILER", "no-such-compiler")
    plain, state = state_of(epochs=1), state_of(epochs=1, compile=True)
    ended(plain, data)
    (note,) = (event.text for event in ended(state, data) if isinstance(event, Note))
    assert note.startswith("torch.compile doesn't work here (")
    assert note.endswith("): training without it")
    assert all(torch.equal(value, state.tensors()[name]) for name, value in plain.tensors().items())


# --- taken up again ------------------------------------------------------------------------------------------------

OPTIONS: list[dict[str, Any]] = [
    {"ema_decay": 0.9},
    {"beta": 3.0, "warmup_epochs": 3, "free_bits": 0.02},
    {"clip_norm": 0.3, "schedule": "constant"},
    {"patience": 1, "ema_decay": 0.5, "learning_rate": 0.3},
    {"precision": "bf16", "ema_decay": 0.99},
]


def assert_cut_is_whole(data: Data, options: dict[str, Any], cut: int) -> TrainingState:
    whole, first = state_of(**options), state_of(**options)
    expected = [event for event in ended(whole, data) if isinstance(event, Epoch)]
    found = []
    for event in train(first, *data):
        if isinstance(event, Epoch):
            found.append(event)
        elif isinstance(event, Step) and event.step == cut:
            break
    progress = json.loads(json.dumps(first.progress()))
    second = restore_state(MODEL, first.config, CPU, first.tensors(), progress)
    found += [event for event in ended(second, data) if isinstance(event, Epoch)]
    timeless = [dataclasses.replace(epoch, seconds=0.0, images_per_second=0.0) for epoch in found]
    assert timeless == [dataclasses.replace(epoch, seconds=0.0, images_per_second=0.0) for epoch in expected]
    assert set(second.tensors()) == set(whole.tensors())
    for name, value in whole.tensors().items():
        assert torch.equal(second.tensors()[name], value), name
    return whole


@pytest.mark.parametrize("cut", [4, 7])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(options))
def test_cut_anywhere_it_ends_in_the_same_bits(data: Data, options: dict[str, Any], cut: int) -> None:
    assert_cut_is_whole(data, options, cut)


# NOTE: torch hides this warning of its own, which it can't where warnings are errors.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_translated_model_takes_the_same_steps_and_can_be_cut(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # a translator reads the functions, not their checks
    monkeypatch.setattr(TRAINING, "COMPILER", "eager")  # translates nothing, but cuts and guards graphs as any would
    calls: list[object] = []
    translate = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *given, **how: (calls.append(given[0]), translate(*given, **how))[1])
    plain, state = state_of(), state_of(compile=True)
    ended(plain, data)
    assert [event for event in ended(state, data) if isinstance(event, Note)] == []
    assert calls[1:] == [state.model.encoder, state.model.decoder]
    assert set(state.tensors()) == set(plain.tensors())
    for name, value in plain.tensors().items():
        torch.testing.assert_close(state.tensors()[name], value)
    assert_cut_is_whole(data, {"compile": True}, 6)


def test_a_state_from_before_these_options_is_taken_up(data: Data) -> None:
    whole, first = state_of(), state_of()
    ended(whole, data)
    for event in train(first, *data):
        if isinstance(event, Step) and event.step == 6:
            break
    older = {name: value for name, value in first.progress().items() if name not in ("norms", "epochs_since_best")}
    second = restore_state(MODEL, CONFIG, CPU, first.tensors(), older)
    ended(second, data)
    assert all(torch.equal(second.tensors()[name], value) for name, value in whole.tensors().items())
