"""What the options of the model, the weight decay and the seed do in a training: each is seen in its first step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, distributions, nn

from vae import (
    ImageDataset,
    ModelConfig,
    Step,
    TrainConfig,
    TrainingState,
    build_model,
    generator_for,
    make_dataset,
    new_state,
    parameter_count,
    train,
)

MODEL = ModelConfig(height=8, width=8, latent=3, widths=(4,), blocks=1, hidden=8)
CONFIG = TrainConfig(epochs=1, batch_size=16, learning_rate=1e-2, schedule="constant", precision="fp32", channels_last=False)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data() -> ImageDataset:
    noise = torch.Generator().manual_seed(0)
    return make_dataset((torch.rand(50, 1, 8, 8, generator=noise) * 255).to(torch.uint8).numpy())


def one_step(data: ImageDataset, model: ModelConfig = MODEL, **options: Any) -> tuple[TrainingState, Step]:
    state = new_state(model, dataclasses.replace(CONFIG, **options), CPU)
    event = next(iter(train(state, data, data)))
    assert isinstance(event, Step)
    return state, event


# --- the likelihood ------------------------------------------------------------------------------------------------

DENSITIES: dict[str, Callable[[Tensor, Tensor, Any], Tensor]] = {
    "bernoulli": lambda logits, x, _: torch.xlogy(x, torch.sigmoid(logits)) + torch.xlogy(1 - x, torch.sigmoid(-logits)),
    "continuous-bernoulli": lambda logits, x, _: distributions.ContinuousBernoulli(logits=logits).log_prob(x),
    "gaussian": lambda logits, x, own: distributions.Normal(logits, (own.logvar / 2).exp()).log_prob(x),
}


@pytest.mark.parametrize("name", list(DENSITIES))
def test_the_likelihood_is_the_one_that_is_climbed(data: ImageDataset, name: Any) -> None:
    config = dataclasses.replace(MODEL, likelihood=name)
    state, step = one_step(data, config)
    model = build_model(config, 0).train()
    rows = torch.randperm(50, generator=generator_for(0, "order", 0))[:16]
    x = torch.tensor(data.images[rows.numpy()]) / 255
    q = model.encode(x)
    z = q.mean + torch.exp(q.logvar / 2) * torch.randn(16, 3, generator=generator_for(0, "noise", 0))
    reconstruction = DENSITIES[name](model.decode(z), x, model.likelihood).flatten(1).sum(dim=1).mean()
    kl = distributions.kl_divergence(distributions.Normal(q.mean, torch.exp(q.logvar / 2)), distributions.Normal(0.0, 1.0))
    assert step.batch.reconstruction == pytest.approx(reconstruction.item(), rel=1e-4)
    assert step.batch.kl == pytest.approx(kl.sum(dim=1).mean().item(), rel=1e-4)
    (kl.sum(dim=1).mean() - reconstruction).backward()
    for (named, found), expected in zip(state.model.named_parameters(), model.parameters(), strict=True):
        assert found.grad is not None
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-3, atol=1e-3, msg=named)


# --- weight decay --------------------------------------------------------------------------------------------------


def test_weight_decay_takes_its_share_of_matrices_and_kernels_beside_the_gradient(data: ImageDataset) -> None:
    before = build_model(MODEL, 0)
    plain, decayed = one_step(data)[0].model, one_step(data, weight_decay=0.5)[0].model
    for start, free, held in zip(before.parameters(), plain.parameters(), decayed.parameters(), strict=True):
        share = 1e-2 * 0.5 if start.ndim > 1 else 0.0  # learning rate x weight decay (Loshchilov & Hutter 2019)
        torch.testing.assert_close(held - free, -share * start, rtol=1e-4, atol=1e-7)


# --- the seed ------------------------------------------------------------------------------------------------------


def test_a_seed_decides_weights_order_and_noise_and_nothing_else_does(data: ImageDataset) -> None:
    def seen(seed: int) -> tuple[Tensor, Tensor, Tensor]:
        state = new_state(MODEL, dataclasses.replace(CONFIG, seed=seed), CPU)
        start = torch.cat([p.detach().flatten() for p in state.model.parameters()])
        images, latents = [], []
        encode, decode = state.model.encode, state.model.decode
        state.model.encode = lambda x: (images.append(x), encode(x))[1]  # type: ignore[method-assign]
        state.model.decode = lambda z: (latents.append(z.detach()), decode(z))[1]  # type: ignore[method-assign]
        next(iter(train(state, data, data)))
        q = encode(images[0])
        return start, images[0], ((latents[0] - q.mean) / q.std).detach()

    first, again, other = seen(0), seen(0), seen(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.allclose(a, b, atol=1e-3) for a, b in zip(first, other, strict=True))


# --- the size of the model -----------------------------------------------------------------------------------------


def kernels(half: nn.Module) -> list[tuple[int, int]]:
    """Incoming and outgoing channels of each convolution, in the order of the image's way through."""
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    return [(layer.in_channels, layer.out_channels) for layer in half.modules() if isinstance(layer, kinds)]


def test_widths_are_the_channels_of_the_stages_and_blocks_their_depth() -> None:
    shallow = build_model(dataclasses.replace(MODEL, widths=(4, 6), blocks=0), 0)
    assert kernels(shallow.encoder) == [(1, 4), (4, 6)]
    assert kernels(shallow.decoder) == [(6, 4), (4, 1)]
    deep = build_model(dataclasses.replace(MODEL, widths=(4, 6), blocks=2), 0)
    assert kernels(deep.encoder) == [(1, 4), *[(4, 4)] * 4, (4, 6), *[(6, 6)] * 4]
    assert kernels(deep.decoder) == [*[(6, 6)] * 4, (6, 4), *[(4, 4)] * 4, (4, 1)]


@pytest.mark.parametrize("channels", [1, 3])
def test_finest_gives_the_decoder_a_layer_at_the_size_of_the_image(channels: int) -> None:
    config = dataclasses.replace(MODEL, channels=channels, widths=(4, 6), blocks=0, finest=5)
    model = build_model(config, 0)
    assert kernels(model.encoder) == [(channels, 4), (4, 6)]
    assert kernels(model.decoder) == [(6, 4), (4, 5), (5, channels)]
    seen: list[tuple[int, ...]] = []
    model.decoder.features[-1].register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    assert model.decode(torch.zeros(2, 3)).shape == (2, channels, 8, 8)
    assert seen == [(2, 5, 8, 8)]


@pytest.mark.parametrize(("latent", "hidden"), [(1, 1), (3, 8), (17, 5)])
def test_latent_and_hidden_are_the_sizes_of_z_and_of_the_dense_layer(data: ImageDataset, latent: int, hidden: int) -> None:
    config = dataclasses.replace(MODEL, latent=latent, hidden=hidden)
    state, _ = one_step(data, config)
    encoder, decoder = state.model.encoder, state.model.decoder
    sizes = [tuple(layer.weight.shape) for layer in (encoder.mean, encoder.logvar, encoder.dense[0], decoder.dense[0])]
    assert sizes == [(latent, hidden), (latent, hidden), (hidden, 64), (hidden, latent)]
    assert state.model.encode(torch.zeros(2, 1, 8, 8)).mean.shape == (2, latent)
    grown = parameter_count(dataclasses.replace(config, latent=latent + 1)) - parameter_count(config)
    assert grown == 2 * (hidden + 1) + hidden  # a row of both heads with its bias, and a column of the decoder
