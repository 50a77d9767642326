"""Stochastic variational inference over a data set: the loop by hand, what it learns, and the run it leaves."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from vae import (
    ConfigError,
    ModelConfig,
    Posterior,
    Run,
    RunError,
    SviConfig,
    SviEpoch,
    build_model,
    elbo,
    fit_svi,
    generator_for,
    load_dataset,
    open_run,
    refine,
    resume,
    train_svi,
)
from vae.__main__ import main
from vae.device import to_unit

MODEL = ModelConfig(channels=1, height=8, width=8, latent=3, widths=(4,), blocks=1, hidden=8)


def garments() -> np.ndarray:
    """Small images: left or right half bright."""
    images = np.random.default_rng(0).integers(0, 40, (30, 1, 8, 8)).astype(np.uint8)
    images[::2, ..., :4] += 180
    images[1::2, ..., 4:] += 180
    return images


def test_one_step_by_hand() -> None:
    images, config = garments()[:5], SviConfig(epochs=1, batch_size=5, svi_steps=3, seed=4)
    model, twin = build_model(MODEL, 0), build_model(MODEL, 0)
    (epoch,) = train_svi(model, images, config)
    order = torch.randperm(5, generator=generator_for(4, "order", 0))
    x = to_unit(torch.tensor(images))[order]
    noise = generator_for(4, "refinement", 0)
    prior = Posterior(torch.zeros(5, 3), torch.zeros(5, 3))
    path = refine(prior, twin.eval().decode, twin.likelihood, x, noise, steps=3, samples=1, rate=0.1, tolerance=0.0, every=3)
    q = path.posterior
    torch.testing.assert_close(epoch.posterior.mean[order], q.mean)
    torch.testing.assert_close(epoch.posterior.logvar[order], q.logvar)
    terms = elbo(q, twin.train().decode, twin.likelihood, x, noise)
    assert epoch.elbo == pytest.approx(terms.value.mean().item(), rel=1e-5)
    assert epoch.elbo == pytest.approx(epoch.reconstruction - epoch.kl)
    decoder = list(twin.decoder.parameters())
    gradients = torch.autograd.grad(-terms.value.mean(), decoder)
    for moved, start, gradient in zip(model.decoder.parameters(), decoder, gradients, strict=True):
        clear = gradient.abs() > 1e-4  # Adam's first step is the rate along the gradient's sign
        torch.testing.assert_close((moved - start)[clear], (-4e-3 * gradient.sign())[clear], rtol=1e-2, atol=1e-5)


@pytest.mark.long
def test_the_decoder_never_sees_the_encoder() -> None:
    first, second = build_model(MODEL, 0), build_model(MODEL, 0)
    second.encoder.load_state_dict(build_model(MODEL, 7).encoder.state_dict())
    config = SviConfig(epochs=2, batch_size=10, svi_steps=2)
    ends = [list(train_svi(model, garments(), config))[-1] for model in (first, second)]
    for one, other in zip(first.decoder.parameters(), second.decoder.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(ends[0].posterior.mean, ends[1].posterior.mean)
    assert ends[0].encoder_elbo != ends[1].encoder_elbo


@pytest.mark.long
def test_it_learns_and_every_image_finds_its_own_q() -> None:
    model = build_model(MODEL, 0)
    epochs = list(train_svi(model, garments(), SviConfig(epochs=20, batch_size=15, svi_steps=12, learning_rate=0.015)))
    assert [epoch.epoch for epoch in epochs] == list(range(1, 21))
    assert epochs[-1].elbo > epochs[0].elbo + 5
    assert epochs[-1].elbo > epochs[-1].encoder_elbo - 0.25
    assert epochs[-1].encoder_elbo > epochs[0].encoder_elbo + 5
    mean = epochs[-1].posterior.mean
    apart = (mean[::2].mean(dim=0) - mean[1::2].mean(dim=0)).abs().max()
    assert apart > 0.5
    assert not model.training


def test_a_loss_that_is_no_longer_finite_is_told() -> None:
    model = build_model(MODEL, 0)
    with torch.no_grad():
        model.encoder.mean.bias.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="no longer finite at step 1: lower its rates"):
        list(train_svi(model, garments(), SviConfig(epochs=1)))


@pytest.mark.parametrize(
    ("field", "value"), [("epochs", 0), ("svi_steps", True), ("seed", -1), ("svi_rate", math.nan), ("learning_rate", 11.0)]
)
def test_a_configuration_out_of_range_is_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{field} must be a "):
        SviConfig(**{field: value})  # type: ignore[arg-type]


def test_it_leaves_a_run_like_any_other(workspace: object) -> None:
    seen: list[SviEpoch] = []
    config = SviConfig(epochs=2, batch_size=16, svi_steps=2)
    run = fit_svi("own", "tiny", MODEL, config, 20, torch.device("cpu"), seen.append)
    assert [epoch.epoch for epoch in seen] == [1, 2]
    assert len(seen[0].posterior.mean) == 20
    status = run.status()
    assert status is not None
    assert (status.state, status.epoch, status.epochs) == ("finished", 2, 2)
    assert len(run.load_encodings()) == 24
    assert run.reports()["samples=1,seed=0"]["examples"] == 24
    assert len(run.list_maps()) == 1
    twin = build_model(MODEL, 0)
    list(train_svi(twin, load_dataset("tiny", "train").images[:20], config))
    # NOTE: the pictures, not the weights: a bias before a batch normalisation has no gradient but round-off.
    z = torch.randn(8, 3, generator=generator_for(0, "view"))
    with torch.no_grad():
        torch.testing.assert_close(open_run("own").load_model().decode(z), twin.decode(z), atol=0.01, rtol=0.01)
        assert (twin.decode(z) - build_model(MODEL, 0).eval().decode(z)).abs().max() > 0.05
    with pytest.raises(RunError, match="a run of that name exists"):
        fit_svi("own", "tiny", MODEL, config, 20, torch.device("cpu"))


def test_an_interruption_keeps_the_last_whole_epoch(workspace: object) -> None:
    def stop(epoch: SviEpoch) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_svi("own", "tiny", MODEL, SviConfig(epochs=2, svi_steps=1), 20, torch.device("cpu"), stop)
    run = open_run("own")
    run.load_model()
    status = run.status()
    assert status is not None
    assert (status.state, status.epoch) == ("stopped", 1)


def test_the_command(tiny_run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["svi", "--run", "own", "--dataset", "tiny", "--epochs", "1", "--images", "12", "--svi-steps", "1"]
    assert main(command) == 0
    printed = capsys.readouterr()
    assert "epoch   1  -ELBO own q" in printed.err
    assert "-ELBO (lower is better)" in printed.out
    for options, reason in (
        (["--images", "0"], "--images must be from 1"),
        (["--epochs", "0"], "epochs must be a whole number"),
        ([], "a run of that name exists"),
    ):
        assert main([*command, *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert reason in line
    assert main(["train", "--run", "own", "--resume"]) == 2
    refusal = "own: it is of another training (svi-1), which isn't resumed: train anew"
    assert refusal in capsys.readouterr().err
    with pytest.raises(RunError, match=re.escape(refusal)):
        resume("own", torch.device("cpu"))
