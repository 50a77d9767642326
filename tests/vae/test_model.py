"""The VAE: its sizes, its shapes, and that layout, batch and seed change nothing they shouldn't."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vae import PRESETS, VAE, ConfigError, ModelConfig, build_model
from vae.model import LOGVAR_RANGE, MAX_PARAMETERS, Doubling, bound_logvar, empty_model, frozen_decoder

PLAIN = ModelConfig(height=16, width=20, latent=5, architecture="plain", widths=(4, 6), blocks=0, hidden=0)
RESIDUAL = ModelConfig(channels=3, height=16, width=24, latent=5, widths=(4, 6, 8), blocks=2, hidden=10, finest=5)


def images(config: ModelConfig, count: int) -> Tensor:
    return torch.rand(count, *config.image_shape, generator=torch.Generator().manual_seed(0))


def test_the_notes_model_has_its_number_of_parameters() -> None:
    assert VAE(PRESETS["notes"].model).parameter_count() == 5_997_825


def test_the_notes_layers_have_no_padding_and_no_stride() -> None:
    model = VAE(PRESETS["notes"].model)
    assert tuple(model.encoder.features(torch.zeros(1, 1, 28, 28)).shape) == (1, 64, 22, 22)
    assert model.decoder.shape == (64, 22, 22)


@pytest.mark.parametrize(
    "config",
    [PLAIN, RESIDUAL, *(PRESETS[name].model_for(shape) for name in PRESETS for shape in ((3, 32, 32), (1, 16, 24)))],
)
def test_shapes(config: ModelConfig) -> None:
    model = build_model(config, 0).eval()
    x = images(config, 3)
    posterior = model.encode(x)
    assert posterior.mean.shape == posterior.logvar.shape == (3, config.latent)
    assert model.decode(posterior.mean).shape == x.shape


def test_logvar_is_bounded_smoothly_and_left_alone_in_between() -> None:
    raw = torch.tensor([-1e6, -10.0, -5.0, 0.0, 3.0, 1e6], dtype=torch.float64)
    bounded = bound_logvar(raw)
    assert float(bounded.min()) >= LOGVAR_RANGE[0] - 1e-6
    assert float(bounded.max()) <= LOGVAR_RANGE[1] + 1e-6
    torch.testing.assert_close(bounded[1:4], raw[1:4], atol=0.02, rtol=0)
    steps = bound_logvar(torch.linspace(-30, 30, 500, dtype=torch.float64)).diff()
    assert bool((steps > 0).all())


def test_extreme_images_give_finite_posteriors() -> None:
    posterior = build_model(PLAIN, 0).requires_grad_(False).encode(torch.full((1, *PLAIN.image_shape), 1e8))
    assert torch.isfinite(posterior.logvar).all()
    assert float(posterior.logvar.max()) <= LOGVAR_RANGE[1] + 1e-6


@pytest.mark.parametrize("config", [PLAIN, RESIDUAL])
def test_channels_last_computes_the_same(config: ModelConfig) -> None:
    model = build_model(config, 0).eval()
    x = images(config, 4)
    plain = model.decode(model.encode(x).mean)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    other = model.decode(model.encode(x.contiguous(memory_format=torch.channels_last)).mean)
    torch.testing.assert_close(other, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("outgoing", [1, 3, 4, 5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_doubling_is_the_transposed_convolution_with_its_gradients(outgoing: int, layout: torch.memory_format) -> None:
    noise = torch.Generator().manual_seed(outgoing)
    doubling = Doubling(6, outgoing).to(memory_format=layout)  # type: ignore[call-overload]
    plain = torch.nn.ConvTranspose2d(6, outgoing, 4, stride=2, padding=1)
    plain.load_state_dict(doubling.state_dict())
    x, direction = torch.randn(2, 6, 3, 5, generator=noise), torch.randn(2, outgoing, 6, 10, generator=noise)
    found = []
    for layer in (doubling, plain):
        given = x.clone(memory_format=layout).requires_grad_()
        result = layer(given)
        found.append([result, *torch.autograd.grad((result * direction).sum(), [given, *layer.parameters()])])
    for value, expected in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-4)


def test_mixed_precision_computes_about_the_same() -> None:
    model = build_model(RESIDUAL, 0)
    x = images(RESIDUAL, 4)
    expected = model.decode(model.encode(x).mean)
    with torch.autocast("cpu", torch.bfloat16):
        posterior = model.encode(x)
        found = model.decode(posterior.mean)
    assert found.dtype == posterior.mean.dtype == torch.float32
    assert 0 < float((found - expected).detach().abs().max()) < 0.1 * float(expected.detach().abs().max())
    found.square().mean().backward()
    gradient = model.decoder.unflatten.weight.grad
    assert gradient is not None
    assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_activations_and_their_gradients_keep_the_memory_order_of_the_kernels(layout: torch.memory_format) -> None:
    model = build_model(RESIDUAL, 0).to(memory_format=layout)  # type: ignore[call-overload]
    seen: list[Tensor] = []

    def watch(_: torch.nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        seen.extend([*given, out])
        given[0].register_hook(seen.append)

    for half in (model.encoder, model.decoder):
        for module in half.features:
            module.register_forward_hook(watch)
    x = images(RESIDUAL, 4).contiguous(memory_format=layout).requires_grad_()
    model.decode(model.encode(x).mean).square().sum().backward()
    assert len(seen) == 3 * (len(model.encoder.features) + len(model.decoder.features))
    assert all(value.is_contiguous(memory_format=layout) for value in seen)


@pytest.mark.parametrize("config", [PLAIN, RESIDUAL])
def test_a_frozen_decoder_is_that_of_evaluation_mode_with_its_gradient(config: ModelConfig) -> None:
    model = build_model(config, 0)
    model.decode(torch.randn(64, 5, generator=torch.Generator().manual_seed(1)))  # running statistics that aren't 0 and 1
    frozen = frozen_decoder(model)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in frozen.modules())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()
    found = []
    for decode in (model.decode, frozen):
        z = torch.randn(4, 5, generator=torch.Generator().manual_seed(2)).requires_grad_(True)
        logits = decode(z)
        found.append((logits.detach(), *torch.autograd.grad(logits.square().sum(), z)))
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_image_is_encoded_alike_alone_and_in_a_batch() -> None:
    model = build_model(RESIDUAL, 0).eval()
    x = images(RESIDUAL, 6)
    torch.testing.assert_close(model.encode(x[2:3]).mean, model.encode(x).mean[2:3], rtol=1e-4, atol=1e-5)


def test_weights_are_a_function_of_the_seed_and_the_callers_stream_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, third = build_model(RESIDUAL, 1), build_model(RESIDUAL, 1), build_model(RESIDUAL, 2)
    assert torch.equal(torch.rand(3), expected)
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)]
    other = [torch.equal(a, b) for a, b in zip(first.parameters(), third.parameters(), strict=True)]
    assert all(same)
    assert not all(other)


def test_a_huge_model_is_refused_before_it_takes_memory() -> None:
    config = ModelConfig(height=1024, width=1024, widths=(1024, 1024), hidden=4096)
    with pytest.raises(ConfigError, match=f"at most {MAX_PARAMETERS:,} are allowed: make it smaller"):
        build_model(config, 0)
    assert all(parameter.is_meta for parameter in empty_model(PLAIN).parameters())
