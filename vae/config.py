"""What a model and a training are made of: frozen dataclasses, every field checked on creation.

A configuration travels with the weights it produced (``config.json`` of a run), so that a model is
rebuilt from its own description and never from a copy of it elsewhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

Architecture = Literal["plain", "residual"]
LikelihoodName = Literal["bernoulli", "continuous-bernoulli", "gaussian"]
OptimizerName = Literal["adam", "muon"]
Schedule = Literal["constant", "one-cycle"]
Precision = Literal["fp32", "bf16"]
PresetName = Literal["notes", "fast", "large", "best"]
MapMethod = Literal["umap", "tsne", "pca"]
Metric = Literal["euclidean", "cosine", "correlation"]
Components = Literal[2, 3]

MAP_PARAMETERS: dict[MapMethod, tuple[str, ...]] = {
    "umap": ("neighbors", "min_dist", "metric", "seed"),
    "tsne": ("perplexity", "seed"),
    "pca": (),
}
"""The fields of `MapConfig` that each method uses, besides ``components``."""
_MAP_TITLES: dict[MapMethod, str] = {"umap": "UMAP", "tsne": "t-SNE", "pca": "PCA"}

MAX_STAGES = 6
INNERMOST = 7
"""A preset adds no stage that would leave fewer pixels a side than this."""

Config = TypeVar("Config", bound="ModelConfig | TrainConfig | MapConfig")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the field, what it may be and what it was."""


_ranges: dict[tuple[type, str], tuple[float, float]] = {}
"""What each number was last checked against: the checks are the one place that knows."""


def _check_whole(owner: object, field: str, low: int, high: int) -> None:
    value = getattr(owner, field)
    _ranges[type(owner), field] = (low, high)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{field} must be a whole number from {low:,} to {high:,}, got {value!r}")


def _check_number(owner: object, field: str, low: float, high: float) -> None:
    value = getattr(owner, field)
    _ranges[type(owner), field] = (low, high)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{field} must be a number, got {value!r}")
    if not math.isfinite(value) or not low <= value <= high:
        raise ConfigError(f"{field} must be from {low:g} to {high:g}, got {value!r}")


def _check_choices(owner: ModelConfig | TrainConfig | MapConfig) -> None:
    for field, hint in get_type_hints(type(owner)).items():
        if get_origin(hint) is Literal:
            choices, value = get_args(hint), getattr(owner, field)
            if not any(type(value) is type(choice) and value == choice for choice in choices):
                raise ConfigError(f"{field} must be one of {', '.join(map(str, choices))}, got {value!r}")


def _near(side: int, step: int) -> int:
    """The size of an import nearest to a side that a model of this step can take: 16 to 128."""
    return min(range(max(16, step), max(128, step) + 1, step), key=lambda size: abs(size - side))


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a VAE. Every size is capped here, before anything is allocated.

    Raises:
        ConfigError: a field is out of range, or the image does not fit the architecture.
    """

    # NOTE: the image's shape comes from the data set, so it is no option of the command line.
    channels: Annotated[int, tyro.conf.Suppress] = 1
    """Image channels (1 grey, 3 RGB)."""
    height: Annotated[int, tyro.conf.Suppress] = 28
    """Image height in pixels."""
    width: Annotated[int, tyro.conf.Suppress] = 28
    """Image width in pixels."""
    latent: int = 64
    """Number of latent dimensions."""
    architecture: Architecture = "residual"
    """plain: the notes' two unpadded convolutions; residual: strided stages with batch normalisation."""
    widths: tuple[int, ...] = (32, 64)
    """Channels of each stage, from the image inward."""
    blocks: int = 1
    """Residual blocks in each stage (residual only; 0 for plain)."""
    hidden: int = 256
    """Units of the dense layer between convolutions and latent (residual only; 0 for plain)."""
    finest: int = 0
    """Channels that the decoder has at the image's own size, before a last convolution (residual only; 0: no such layer)."""
    likelihood: LikelihoodName = "bernoulli"
    """p(x|z)."""

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_whole(self, "channels", 1, 16)
        _check_whole(self, "height", 8, 1024)
        _check_whole(self, "width", 8, 1024)
        _check_whole(self, "latent", 1, 1024)
        _check_whole(self, "blocks", 0, 8)
        _check_whole(self, "hidden", 0, 4096)
        _check_whole(self, "finest", 0, 256)
        if not isinstance(self.widths, tuple) or not 1 <= len(self.widths) <= MAX_STAGES:
            raise ConfigError(f"widths must be a tuple of 1 to {MAX_STAGES} stage widths, got {self.widths!r}")
        for stage in self.widths:
            if isinstance(stage, bool) or not isinstance(stage, int) or not 1 <= stage <= 1024:
                raise ConfigError(f"widths must hold whole numbers from 1 to 1,024, got {self.widths!r}")
        self._check_architecture()

    def _check_architecture(self) -> None:
        if self.architecture == "plain":
            if len(self.widths) != 2 or self.blocks or self.hidden or self.finest:
                raise ConfigError(
                    "the plain architecture has two widths and neither blocks nor hidden units nor finest channels, got "
                    f"widths={self.widths}, blocks={self.blocks}, hidden={self.hidden}, finest={self.finest}"
                )
            return
        if self.hidden < 1:
            raise ConfigError("hidden must be at least 1 for the residual architecture, got 0")
        step = 2 ** len(self.widths)
        for side in ("height", "width"):
            if getattr(self, side) % step:
                raise ConfigError(
                    f"{side} must be divisible by {step} (each of {len(self.widths)} stages halves the image), "
                    f"got {getattr(self, side)}: resize or pad the images, or use fewer stages. An import does that: "
                    f"python -m vae import SOURCE --name NAME --size {_near(getattr(self, side), step)}"
                )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(channels, height, width)``."""
        return (self.channels, self.height, self.width)


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    Raises:
        ConfigError: a field is out of range.
    """

    epochs: int = 10
    """Passes over the training split, at most."""
    batch_size: int = 256
    """Images in one gradient step, over all processes together."""
    optimizer: OptimizerName = "adam"
    """adam (AdamW where weight_decay is above 0), or muon for weight matrices and kernels, with Adam for the rest."""
    learning_rate: float = 3e-3
    """Peak learning rate, of either optimizer."""
    schedule: Schedule = "one-cycle"
    """constant, or one-cycle: a cosine rise to the peak, then a cosine fall to 0 (Smith & Topin 2018)."""
    rise: float = 0.2
    """Share of all steps in which the rate rises (one-cycle only)."""
    weight_decay: float = 0.0
    """Decoupled weight decay of the weight matrices and kernels (not of biases and normalisation)."""
    clip_norm: float = 0.0
    """Scale a longer gradient down to this norm, over all parameters (0: never)."""
    beta: float = 1.0
    """Weight of the KL term in what is optimised (Higgins et al. 2017); what is reported is always the ELBO."""
    warmup_epochs: int = 0
    """Let that weight rise from 0, step by step, to reach beta at the end of so many epochs (Bowman et al. 2016)."""
    free_bits: float = 0.0
    """Nats of KL of each latent dimension, on average over the batch, that cost nothing (Kingma et al. 2016)."""
    ema_decay: float = 0.0
    """Validate and keep a moving average of the weights, of this decay a step, 0.999 say (0: the weights themselves)."""
    patience: int = 0
    """Stop after so many epochs without a better validation ELBO (0: never)."""
    validation_fraction: float | None = None
    """Share of the training images held out; None: a twelfth, or what an import has set apart."""
    precision: Precision = "bf16"
    """bf16: mixed precision where the device is faster with it (likelihood and KL stay in fp32)."""
    channels_last: bool = True
    """Keep images and kernels in channels-last memory order."""
    compile: bool = False
    """Have torch.compile translate the model first, where that works: a minute's wait, for speed on a GPU."""
    seed: int = 0
    """Seeds the initial weights, the order of the images and the noise."""

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_whole(self, "epochs", 1, 100_000)
        _check_whole(self, "batch_size", 1, 65_536)
        _check_number(self, "learning_rate", 1e-8, 10.0)
        _check_number(self, "rise", 0.0, 1.0)
        _check_number(self, "weight_decay", 0.0, 10.0)
        _check_number(self, "clip_norm", 0.0, 1e9)
        _check_number(self, "beta", 0.0, 1000.0)
        _check_whole(self, "warmup_epochs", 0, 100_000)
        _check_number(self, "free_bits", 0.0, 100.0)
        _check_number(self, "ema_decay", 0.0, 0.999999)
        _check_whole(self, "patience", 0, 100_000)
        _check_whole(self, "seed", 0, 2**32 - 1)
        if self.validation_fraction is not None:
            _check_number(self, "validation_fraction", 0.0001, 0.9)
        for field in ("channels_last", "compile"):
            if not isinstance(getattr(self, field), bool):
                raise ConfigError(f"{field} must be true or false, got {getattr(self, field)!r}")
        if self.warmup_epochs > self.epochs:
            raise ConfigError(
                f"warmup_epochs must be at most epochs, {self.epochs:,}, for beta to be reached, got {self.warmup_epochs:,}"
            )


@dataclass(frozen=True)
class MapConfig:
    """How the test means are laid out in two or three dimensions.

    What the method doesn't use (see `MAP_PARAMETERS`) is set back to its default, so that equal maps have equal parameters.

    Raises:
        ConfigError: a field is out of range.
    """

    method: MapMethod = "umap"
    """umap (McInnes et al. 2018), tsne (van der Maaten & Hinton 2008), or pca: the directions of largest variance."""
    neighbors: int = 15
    """Neighbours of each point that UMAP keeps together (umap only)."""
    min_dist: float = 0.1
    """The closest that UMAP packs points (umap only)."""
    metric: Metric = "euclidean"
    """How far apart two posterior means are (umap only)."""
    perplexity: float = 30.0
    """How many neighbours each point has, in effect (tsne only)."""
    components: Components = 2
    """Dimensions of the map: 2 is flat; 3 is to turn and to look at, nothing is placed on it."""
    seed: int = 0
    """Seeds the layout (umap and tsne)."""

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_whole(self, "neighbors", 2, 200)
        _check_number(self, "min_dist", 0.0, 0.99)
        _check_number(self, "perplexity", 1.0, 200.0)
        _check_whole(self, "seed", 0, 2**32 - 1)
        for name in ("min_dist", "perplexity"):  # 0 and 0.0 are one map
            object.__setattr__(self, name, float(getattr(self, name)))
        for field in dataclasses.fields(self):
            if field.name not in ("method", "components", *MAP_PARAMETERS[self.method]):
                object.__setattr__(self, field.name, field.default)

    @property
    def title(self) -> str:
        """The method's name as people write it."""
        return _MAP_TITLES[self.method]

    @property
    def parameter_words(self) -> list[str]:
        """What the method's own parameters are, in words."""
        words = {
            "neighbors": f"{self.neighbors} neighbours",
            "min_dist": f"min. distance {self.min_dist:g}",
            "metric": self.metric,
            "perplexity": f"perplexity {self.perplexity:g}",
            "seed": f"seed {self.seed}",
        }
        return [words[name] for name in MAP_PARAMETERS[self.method]]


def field_range(kind: type[ModelConfig | TrainConfig | MapConfig], field: str) -> tuple[float, float] | None:
    """The least and the greatest value that a number of a configuration may have, both allowed; None where there are none."""
    usual = kind()
    if (kind, field) not in _ranges and getattr(usual, field) is None:
        with contextlib.suppress(ConfigError, TypeError):  # None is not checked against the range, so try a number
            dataclasses.replace(usual, **{field: 0.5})  # type: ignore[arg-type]
    return _ranges.get((kind, field))


def to_json(config: ModelConfig | TrainConfig | MapConfig) -> dict[str, Any]:
    """The fields of a configuration as JSON values."""
    return dataclasses.asdict(config)


def from_json(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """A configuration from JSON values, checked like any other. A field that is missing, as in what was written before
    there was one of that name, has its default.

    Raises:
        ConfigError: an unknown field, or a value out of range.
    """
    fields = {field.name for field in dataclasses.fields(kind)}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{kind.__name__} needs an object with the fields {sorted(fields)}, got {type(values).__name__}")
    unknown = sorted(set(values) - fields)
    if unknown:
        raise ConfigError(f"{kind.__name__} has the fields {sorted(fields)}, got the unknown {unknown}")
    known: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return kind(**known)


@dataclass(frozen=True)
class Preset:
    """A named, complete configuration, for images of any shape."""

    summary: str
    """What it is, in words that hold for any data."""
    model: ModelConfig
    train: TrainConfig

    def model_for(self, image_shape: tuple[int, int, int]) -> ModelConfig:
        """The preset's model for images of ``(channels, height, width)``.

        A residual preset gets more stages for larger images, each of twice the width, while the innermost grid would not
        become smaller than `INNERMOST` and the sides can be halved: 2 stages for 28 (7), 3 for 64 (8), 4 for 128 (8).

        Raises:
            ConfigError: the architecture cannot take such images.
        """
        channels, height, width = image_shape
        widths = self.model.widths
        while self.model.architecture == "residual" and len(widths) < MAX_STAGES:
            step = 2 ** (len(widths) + 1)
            if height % step or width % step or min(height, width) < INNERMOST * step:
                break
            widths = (*widths, 2 * widths[-1])
        return dataclasses.replace(self.model, channels=channels, height=height, width=width, widths=widths)


PRESETS: dict[PresetName, Preset] = {
    "notes": Preset(
        summary="the lecture notes' recipe, unchanged",
        model=ModelConfig(architecture="plain", widths=(16, 64), blocks=0, hidden=0),
        train=TrainConfig(
            epochs=200, batch_size=1024, learning_rate=1e-3, schedule="constant", precision="fp32", channels_last=False
        ),
    ),
    "fast": Preset(
        summary="small and quick, ten epochs",
        model=ModelConfig(widths=(16, 32), blocks=0, hidden=128),
        train=TrainConfig(
            epochs=10, batch_size=256, optimizer="muon", learning_rate=1.5e-2, rise=0.03, weight_decay=0.05, ema_decay=0.99
        ),
    ),
    "large": Preset(
        summary="the shipped run's recipe, forty epochs",
        model=ModelConfig(widths=(32, 64), blocks=0, hidden=256, finest=16),
        train=TrainConfig(
            epochs=40, batch_size=128, optimizer="muon", learning_rate=1e-2, rise=0.03, weight_decay=0.1, ema_decay=0.999
        ),
    ),
    "best": Preset(
        summary="wide and patient, forty epochs",
        model=ModelConfig(widths=(48, 96), blocks=1, hidden=512),
        train=TrainConfig(epochs=40, batch_size=128, learning_rate=5e-3, rise=0.03, weight_decay=0.05, ema_decay=0.999),
    ),
}
