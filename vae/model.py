"""The VAE: an encoder to q(z|x), a decoder to the parameters of p(x|z), and the likelihood that reads them."""

from __future__ import annotations

import copy
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vae.config import ConfigError, ModelConfig
from vae.likelihood import LIKELIHOODS
from vae.posterior import Posterior

LOGVAR_RANGE = (-14.0, 4.0)
MAX_PARAMETERS = 300_000_000


def bound_logvar(raw: Tensor) -> Tensor:
    """``raw`` held smoothly inside `LOGVAR_RANGE`; the identity to within 2% of a nat between -10 and 0.

    NOTE: an unbounded head can overflow ``exp`` on a few unusual images while the training loss looks fine.
    """
    low, high = LOGVAR_RANGE
    bounded: Tensor = low + F.softplus(high - F.softplus(high - raw) - low)
    return bounded


class ResidualBlock(nn.Module):
    """``x + f(x)``, f two normalised, activated 3x3 convolutions (He et al. 2016, pre-activation)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, width, h, w)`` to the same shape."""
        out: Tensor = self.conv1(F.silu(self.norm1(x)))
        out = self.conv2(F.silu(self.norm2(out)))
        return x + out


class Doubling(nn.ConvTranspose2d):
    """A transposed 4x4 convolution with stride 2 and padding 1: twice the height and the width.

    NOTE: to a picture's one to four channels torch decodes faster by the equal 3x3 convolution that makes the four pixels of
    each pair of rows and columns at once: 2.6 times for one channel, 1.4 for three. With the gradient only one channel gains;
    three take a fifth longer. torch's gradient of the bias is slow, so the other way adds it apart.
    """

    def __init__(self, incoming: int, outgoing: int) -> None:
        super().__init__(incoming, outgoing, 4, stride=2, padding=1)

    def forward(self, x: Tensor, _output_size: list[int] | None = None) -> Tensor:
        """``(batch, incoming, h, w)`` to ``(batch, outgoing, 2h, 2w)``."""
        assert self.bias is not None
        if self.out_channels > 4:
            return F.conv_transpose2d(x, self.weight, stride=2, padding=1).add_(self.bias[:, None, None])
        # An even row of the result is made of a row and the one above it, an odd row of the row and the one below it.
        kernel = _by_parity(_by_parity(self.weight).permute(0, 1, 3, 4, 2)).permute(1, 4, 2, 0, 5, 3)
        kernel = kernel.reshape(4 * self.out_channels, self.in_channels, 3, 3)
        return F.pixel_shuffle(F.conv2d(x, kernel, self.bias.repeat_interleave(4), padding=1), 2)


def _by_parity(taps: Tensor) -> Tensor:
    """The four taps of the last dimension as two of three each, ``(..., 2, 3)``: of the even and of the odd places."""
    return torch.stack([F.pad(taps[..., 1::2].flip(-1), (0, 1)), F.pad(taps[..., 0::2].flip(-1), (1, 0))], dim=-2)


def _plain_features(config: ModelConfig) -> tuple[nn.Sequential, tuple[int, int, int]]:
    first, second = config.widths
    layers = nn.Sequential(nn.Conv2d(config.channels, first, 5), nn.ReLU(), nn.Conv2d(first, second, 3), nn.ReLU())
    return layers, (second, config.height - 6, config.width - 6)


def _residual_features(config: ModelConfig) -> tuple[nn.Sequential, tuple[int, int, int]]:
    layers: list[nn.Module] = []
    incoming = config.channels
    for width in config.widths:
        layers += [nn.Conv2d(incoming, width, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.SiLU()]
        layers += [ResidualBlock(width) for _ in range(config.blocks)]
        incoming = width
    scale = 2 ** len(config.widths)
    return nn.Sequential(*layers), (incoming, config.height // scale, config.width // scale)


class Encoder(nn.Module):
    """Images to the mean and log-variance of q(z|x)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        make = _plain_features if config.architecture == "plain" else _residual_features
        self.features, shape = make(config)
        size = shape[0] * shape[1] * shape[2]
        dense = nn.Sequential(nn.Linear(size, config.hidden), nn.SiLU()) if config.hidden else nn.Identity()
        self.dense = dense
        self.mean = nn.Linear(config.hidden or size, config.latent)
        self.logvar = nn.Linear(config.hidden or size, config.latent)

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch latent"], Float[Tensor, "batch latent"]]:
        """``(mean, logvar)``, both fp32, logvar smoothly bounded."""
        features = self.features(x)
        if features.requires_grad and features.is_contiguous(memory_format=torch.channels_last):
            # NOTE: else the gradient comes back in the other memory order, in which the layers before it are slow.
            features.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
        hidden = self.dense(features.flatten(1))
        return self.mean(hidden).float(), bound_logvar(self.logvar(hidden).float())


class Decoder(nn.Module):
    """Latent points to likelihood parameters (logits), shaped like the image. The mirror of `Encoder`, but for the layer at
    the image's own size that ``config.finest`` asks for."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.architecture == "plain":
            first, second = config.widths
            self.shape = (second, config.height - 6, config.width - 6)
            layers: list[nn.Module] = [nn.ReLU(), nn.ConvTranspose2d(second, first, 3), nn.ReLU()]
            layers += [nn.ConvTranspose2d(first, config.channels, 5)]
        else:
            widths = config.widths[::-1]
            scale = 2 ** len(widths)
            self.shape = (widths[0], config.height // scale, config.width // scale)
            layers = []
            for width, following in zip(widths, (*widths[1:], config.finest or config.channels), strict=True):
                layers += [ResidualBlock(width) for _ in range(config.blocks)]
                layers += [nn.BatchNorm2d(width), nn.SiLU(), Doubling(width, following)]
            if config.finest:
                layers += [nn.BatchNorm2d(config.finest), nn.SiLU(), nn.Conv2d(config.finest, config.channels, 3, padding=1)]
        size = self.shape[0] * self.shape[1] * self.shape[2]
        self.dense = nn.Sequential(nn.Linear(config.latent, config.hidden), nn.SiLU()) if config.hidden else nn.Identity()
        self.unflatten = nn.Linear(config.hidden or config.latent, size)
        self.features = nn.Sequential(*layers)

    def forward(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch channels height width"]:
        """Likelihood parameters, fp32."""
        features = self.unflatten(self.dense(z)).unflatten(1, self.shape)
        if not all(parameter.is_contiguous() for parameter in self.features.parameters()):
            features = features.contiguous(memory_format=torch.channels_last)  # as the kernels are
        logits: Tensor = self.features(features)
        return logits.float()


class VAE(nn.Module):
    """An encoder, a decoder and a likelihood, built from one `ModelConfig` (Kingma & Welling 2014)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.likelihood = LIKELIHOODS[config.likelihood]()

    def encode(self, x: Float[Tensor, "batch channels height width"]) -> Posterior:
        """``q(z|x)`` of images in [0, 1]."""
        mean, logvar = self.encoder(x)
        return Posterior(mean, logvar)

    def decode(self, z: Float[Tensor, "batch latent"]) -> Float[Tensor, "batch channels height width"]:
        """The parameters (logits) of ``p(x|z)``; `Likelihood.mean` makes a picture of them."""
        logits: Tensor = self.decoder(z)
        return logits

    def parameter_count(self) -> int:
        """The number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


class _Affine(nn.Module):
    """What a batch normalisation does in evaluation mode: ``scale * x + shift``, one pair for each channel."""

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
        self.register_buffer("scale", scale[:, None, None])
        self.register_buffer("shift", (norm.bias.detach() - norm.running_mean * scale)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, width, h, w)`` to the same shape."""
        return torch.addcmul(self.shift, x, self.scale)


def frozen_decoder(model: VAE) -> Decoder:
    """A copy of the decoder for many gradient steps in z: that of evaluation mode, the same numbers but for rounding. Without
    the normalisations' bookkeeping a step takes about a tenth less."""
    decoder = copy.deepcopy(model.decoder).requires_grad_(False).eval()
    for module in list(decoder.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, _Affine(child))
    return decoder


def empty_model(config: ModelConfig) -> VAE:
    """The model of a configuration on the ``meta`` device: every name and shape, no memory.

    Raises:
        ConfigError: more than `MAX_PARAMETERS` parameters.
    """
    with torch.device("meta"):
        model = VAE(config)
    count = model.parameter_count()
    if count > MAX_PARAMETERS:
        raise ConfigError(f"the model would have {count:,} parameters, at most {MAX_PARAMETERS:,} are allowed: make it smaller")
    return model


@cache
def parameter_count(config: ModelConfig) -> int:
    """The number of trainable parameters of a configuration's model; nothing is allocated.

    Raises:
        ConfigError: more than `MAX_PARAMETERS`.
    """
    return empty_model(config).parameter_count()


def build_model(config: ModelConfig, seed: int) -> VAE:
    """A new VAE with weights drawn from ``seed``; the caller's random state is left as it was.

    Raises:
        ConfigError: more than `MAX_PARAMETERS` parameters.
    """
    empty_model(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAE(config)
