"""The encoder and the decoder as ONNX, for programs that have no torch.

The packages onnx and onnxscript are an extra of this project, imported when a model is written and not before.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vae.model import VAE

OPSET = 18
"""The version of ONNX's operators that the files are written in: the one that torch's exporter is written for."""
PACKAGES = ("onnx", "onnxscript")
INPUT_SCALING = "image in [0, 1], float32: grey or colour values divided by 255"


class OnnxError(ValueError):
    """ONNX can't be written here; the message names the command that mends it."""


class _DecoderMean(nn.Module):
    """z to ``E[x|z]``: the decoder and the likelihood's mean in one."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.decoder, self.likelihood = model.decoder, model.likelihood

    def forward(self, z: Tensor) -> Tensor:
        mean: Tensor = self.likelihood.mean(self.decoder(z))
        return mean


def require_onnx() -> None:
    """Do nothing where the packages are installed.

    Raises:
        OnnxError: one is not.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise OnnxError(f"ONNX needs packages that aren't installed ({', '.join(missing)}): pip install {' '.join(missing)}")


def encoder_onnx(model: VAE, run: str = "", weights_digest: str = "") -> bytes:
    """The encoder: ``image (batch, channels, height, width)`` in [0, 1] to ``mean`` and ``logvar (batch, latent)``.

    Raises:
        OnnxError: the packages aren't installed.
    """
    image = torch.zeros(2, *model.config.image_shape)
    return _export(model.encoder, image, ["image"], ["mean", "logvar"], model, run, weights_digest)


def decoder_onnx(model: VAE, run: str = "", weights_digest: str = "") -> bytes:
    """The decoder through the likelihood's mean: ``z (batch, latent)`` to ``image (batch, channels, height, width)``, which
    is ``E[x|z]`` in [0, 1].

    Raises:
        OnnxError: the packages aren't installed.
    """
    z = torch.zeros(2, model.config.latent)
    return _export(_DecoderMean(model).eval(), z, ["z"], ["image"], model, run, weights_digest)


def _export(
    part: nn.Module, example: Tensor, inputs: list[str], outputs: list[str], model: VAE, run: str, weights_digest: str
) -> bytes:
    require_onnx()
    import onnx

    example = example.to(next(part.parameters()).device)
    with _quiet():
        program = torch.onnx.export(
            part,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    if program is None:
        raise OnnxError("torch's exporter gave no model")
    proto = program.model_proto
    about = {
        "run": run,
        "weights_digest": weights_digest,
        "opset": str(OPSET),
        "input_scaling": INPUT_SCALING,
        "likelihood": model.config.likelihood,
        "latent": str(model.config.latent),
        "image_shape": json.dumps(model.config.image_shape),
    }
    onnx.helper.set_model_props(proto, about)
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString())


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own deprecated calls, and logs that torchvision, which isn't used, is missing."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
