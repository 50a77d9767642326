"""The options of a configuration are those of its fields, with the ranges of its checks."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from vae.config import PRESETS, ConfigError, ModelConfig, TrainConfig, field_range
from vae.options import Option, list_options


def options(kind: type[ModelConfig | TrainConfig]) -> dict[str, Option]:
    return {option.name: option for option in list_options(kind)}


def test_every_field_but_the_images_shape_is_an_option_with_its_own_help() -> None:
    model, training = options(ModelConfig), options(TrainConfig)
    image = {"channels", "height", "width"}
    assert set(model) == {field.name for field in dataclasses.fields(ModelConfig)} - image
    assert list(training) == [field.name for field in dataclasses.fields(TrainConfig)]
    assert model["latent"].help == "Number of latent dimensions."
    assert training["batch_size"].help.startswith("Images in one gradient step")
    assert all(option.help for option in [*model.values(), *training.values()])
    assert model["latent"].title == "Latent (dimensions)"
    assert training["learning_rate"].title == "Learning rate"
    assert training["epochs"].title == "Epochs"


def test_kinds_come_from_the_types() -> None:
    model, training = options(ModelConfig), options(TrainConfig)
    kinds = {option.name: option.kind for option in [*model.values(), *training.values()]}
    assert kinds["latent"] == kinds["seed"] == "whole"
    assert kinds["learning_rate"] == "number"
    assert kinds["channels_last"] == "switch"
    assert kinds["widths"] == "list"
    assert model["likelihood"].choices == ("bernoulli", "continuous-bernoulli", "gaussian")


@pytest.mark.parametrize("kind", [ModelConfig, TrainConfig])
def test_the_ends_of_a_range_are_allowed_and_what_lies_beyond_is_not(kind: type[ModelConfig | TrainConfig]) -> None:
    numbers = [option for option in list_options(kind) if option.kind in ("whole", "number")]
    assert numbers
    for option in numbers:
        assert option.low is not None, option.name
        assert option.high is not None, option.name
        beyond = 1 if option.kind == "whole" else 1e-9 + abs(option.high) * 0.01
        for value in (option.low - beyond, option.high + beyond):
            with pytest.raises(ConfigError, match=option.name):
                dataclasses.replace(kind(), **{option.name: value})  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class Later(TrainConfig):
    """A configuration with a field that came later."""

    share: float | None = None
    """A share.

    With more to say of it."""

    def __post_init__(self) -> None:
        from vae.config import _check_number

        if self.share is not None:
            _check_number(self, "share", 0.1, 0.9)


def test_a_field_that_comes_later_is_an_option_too() -> None:
    (option,) = (option for option in list_options(Later) if option.name == "share")
    assert option == Option("share", "number", None, "A share.", "", 0.1, 0.9, (), True)
    assert field_range(Later, "learning_rate") is None


def test_a_type_that_no_form_knows_is_told() -> None:
    @dataclasses.dataclass(frozen=True)
    class Odd:
        thing: Any = None

    with pytest.raises(TypeError, match=r"Odd\.thing: no form knows the type"):
        list_options(Odd)  # type: ignore[arg-type]


def test_presets_lie_within_the_ranges() -> None:
    for preset in PRESETS.values():
        for option in list_options(TrainConfig):
            value = getattr(preset.train, option.name)
            if option.kind in ("whole", "number") and value is not None:
                assert option.low is not None
                assert option.high is not None
                assert option.low <= value <= option.high
