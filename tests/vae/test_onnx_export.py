"""The exported encoder and decoder give what torch gives: to 1e-4, for any batch."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from vae import VAE, ModelConfig, OnnxError, build_model, decoder_onnx, encoder_onnx, generator_for, load_test_data, open_run
from vae.device import to_unit
from vae.onnx_export import OPSET

PLAIN = ModelConfig(
    architecture="plain", channels=1, height=16, width=20, latent=5, widths=(4, 8), blocks=0, hidden=0, likelihood="gaussian"
)
RESIDUAL_RGB = ModelConfig(
    channels=3, height=16, width=8, latent=4, widths=(4, 8), blocks=1, hidden=16, likelihood="continuous-bernoulli"
)


def session(content: bytes) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


def worn_in(config: ModelConfig) -> VAE:
    """A model whose batch normalisation has seen images, so that its statistics aren't 0 and 1."""
    model = build_model(config, 0)
    with torch.no_grad():
        model.decode(model.encode(torch.rand(32, *config.image_shape, generator=generator_for(0, "view"))).mean * 3)
    return model.eval().requires_grad_(False)


def assert_equal(model: VAE, images: torch.Tensor, encoder: bytes, decoder: bytes) -> None:
    encode, decode = session(encoder), session(decoder)
    assert [port.name for port in encode.get_inputs() + encode.get_outputs()] == ["image", "mean", "logvar"]
    assert [port.name for port in decode.get_inputs() + decode.get_outputs()] == ["z", "image"]
    for count in (1, 5):
        x = images[:count]
        posterior = model.encode(x)
        mean, logvar = encode.run(None, {"image": x.numpy()})
        np.testing.assert_allclose(mean, posterior.mean, atol=1e-4, rtol=0)
        np.testing.assert_allclose(logvar, posterior.logvar, atol=1e-4, rtol=0)
        z = posterior.sample(generator_for(0, "view"))
        (decoded,) = decode.run(None, {"z": z.numpy()})
        assert decoded.shape == (count, *model.config.image_shape)
        np.testing.assert_allclose(decoded, model.likelihood.mean(model.decode(z)), atol=1e-4, rtol=0)
        assert 0 <= decoded.min() < decoded.max() <= 1


def test_the_shipped_run() -> None:
    run = open_run("fashion-mnist")
    model, digest = run.load_model(), run.weights_digest()
    files = encoder_onnx(model, run.name, digest), decoder_onnx(model, run.name, digest)
    assert_equal(model, to_unit(torch.tensor(load_test_data(run).images[:5])), *files)
    for content in files:
        proto = onnx.load_from_string(content)
        about = {prop.key: prop.value for prop in proto.metadata_props}
        assert [opset.version for opset in proto.opset_import if opset.domain == ""] == [OPSET]
        assert (about["run"], about["weights_digest"], about["opset"]) == ("fashion-mnist", digest, str(OPSET))
        assert about["input_scaling"].startswith("image in [0, 1]")
        assert json.loads(about["image_shape"]) == [1, 28, 28]


@pytest.mark.parametrize("config", [PLAIN, RESIDUAL_RGB], ids=["plain", "residual, RGB"])
def test_other_models(config: ModelConfig) -> None:
    model = worn_in(config)
    images = torch.rand(5, *config.image_shape, generator=generator_for(1, "view"))
    assert_equal(model, images, encoder_onnx(model), decoder_onnx(model))


def test_without_the_packages_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = r"ONNX needs packages that aren't installed \(onnx, onnxscript\): pip install onnx onnxscript"
    with pytest.raises(OnnxError, match=message):
        encoder_onnx(build_model(PLAIN, 0).eval())
