"""Configurations: every field is checked when it is made, and survives JSON."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from typing import Any

import pytest

from vae.config import MAP_PARAMETERS, PRESETS, ConfigError, MapConfig, ModelConfig, TrainConfig, from_json, to_json

WRONG: list[tuple[type, str, Any]] = [
    *[
        (ModelConfig, name, value)
        for name in ("channels", "height", "width", "latent")
        for value in (0, -1, 1.5, "28", True, 10**9)
    ],
    *[(ModelConfig, name, value) for name in ("blocks", "hidden", "finest") for value in (-1, 2.0, None, 10**6)],
    *[(ModelConfig, "widths", value) for value in ((), (0,), (8, -1), [8], 8, (8.0,), (True,), (4,) * 7, (5000,))],
    *[(ModelConfig, name, "other") for name in ("architecture", "likelihood")],
    *[(TrainConfig, name, value) for name in ("epochs", "batch_size") for value in (0, -3, 1.0, "ten", 10**9)],
    *[(TrainConfig, "learning_rate", value) for value in (0, -1e-3, math.nan, math.inf, "fast", True, 100.0)],
    *[(TrainConfig, "rise", value) for value in (-0.01, 1.01, math.nan, "0.2")],
    *[(TrainConfig, "weight_decay", value) for value in (-1e-9, math.nan, 11.0)],
    *[(TrainConfig, "seed", value) for value in (-1, 2**32, 0.5)],
    *[(TrainConfig, name, "other") for name in ("optimizer", "schedule", "precision")],
    *[(TrainConfig, name, value) for name in ("channels_last", "compile") for value in (1, "yes", None)],
    *[(TrainConfig, name, value) for name in ("beta", "free_bits", "clip_norm") for value in (-0.1, math.nan, math.inf, "1")],
    *[(TrainConfig, "ema_decay", value) for value in (-0.1, 1.0, math.nan, True)],
    *[(TrainConfig, name, value) for name in ("patience", "warmup_epochs") for value in (-1, 1.0, 10**9)],
    (TrainConfig, "warmup_epochs", 11),  # of 10
    *[(TrainConfig, "validation_fraction", value) for value in (0, 1.0, -0.5, math.nan, "half", True)],
    *[(MapConfig, "neighbors", value) for value in (1, 201, 15.0)],
    *[(MapConfig, "min_dist", value) for value in (-0.1, 1.0, math.nan)],
    *[(MapConfig, "method", value) for value in ("tarot", 2, None)],
    *[(MapConfig, "metric", value) for value in ("manhattan", "", None)],
    *[(MapConfig, "components", value) for value in (1, 4, 2.0, True, "2")],
    *[(MapConfig, "perplexity", value) for value in (0.5, 201, math.inf, "30", True)],
    (MapConfig, "seed", -1),
]


@pytest.mark.parametrize(("kind", "field", "value"), WRONG)
def test_a_field_out_of_range_is_named(kind: Any, field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        kind(**{field: value})


def test_no_field_is_unchecked() -> None:
    for kind in (ModelConfig, TrainConfig, MapConfig):
        assert {field.name for field in dataclasses.fields(kind)} == {name for owner, name, _ in WRONG if owner is kind}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"height": 30}, "height must be divisible by 4 .* got 30: resize or pad"),
        ({"width": 30}, "width must be divisible by 4 .* got 30: resize or pad"),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"architecture": "plain", "blocks": 0, "hidden": 0, "widths": (4, 4, 4)}, "the plain architecture has two widths"),
        ({"architecture": "plain", "hidden": 0}, "neither blocks nor hidden"),
        ({"architecture": "plain", "blocks": 0, "hidden": 0, "finest": 4}, "nor finest channels"),
    ],
)
def test_an_architecture_that_does_not_fit_is_refused(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        ModelConfig(**fields)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_survive_json(name: str) -> None:
    preset = PRESETS[name]  # type: ignore[index]
    for config in (preset.model, preset.train):
        assert from_json(type(config), json.loads(json.dumps(to_json(config)))) == config


def test_a_summary_of_a_preset_promises_no_figure_which_other_data_would_not_keep() -> None:
    for preset in PRESETS.values():
        assert not re.search(r"\b\d", preset.summary)
        assert "nats" not in preset.summary


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"MapConfig has the fields .*, got the unknown \['extra'\]"):
        from_json(MapConfig, to_json(MapConfig()) | {"extra": 1})
    with pytest.raises(ConfigError, match="MapConfig needs an object with the fields .* got list"):
        from_json(MapConfig, [])  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [ModelConfig, TrainConfig, MapConfig])
def test_a_field_that_did_not_exist_yet_has_its_default(kind: Any) -> None:
    assert from_json(kind, {}) == kind()
    written = to_json(kind(**{"seed": 5} if kind is not ModelConfig else {"latent": 5}))
    for field in dataclasses.fields(kind):
        older = {name: value for name, value in written.items() if name != field.name}
        assert from_json(kind, older) == dataclasses.replace(from_json(kind, written), **{field.name: field.default})


def test_the_parameters_of_the_first_maps_are_still_read() -> None:
    assert from_json(MapConfig, {"method": "umap", "neighbors": 30, "min_dist": 0.5, "seed": 3}) == MapConfig(
        method="umap", neighbors=30, min_dist=0.5, metric="euclidean", components=2, seed=3
    )
    assert from_json(MapConfig, {"method": "pca", "neighbors": 30, "min_dist": 0.5, "seed": 3}) == MapConfig(method="pca")


@pytest.mark.parametrize("method", ["umap", "tsne", "pca"])
def test_parameters_that_a_method_ignores_do_not_tell_maps_apart(method: Any) -> None:
    others = {"neighbors": 40, "min_dist": 0.7, "metric": "cosine", "perplexity": 12.0, "seed": 9}
    assert {name for used in MAP_PARAMETERS.values() for name in used} == set(others)
    plain = MapConfig(method=method)
    for name, value in others.items():
        changed = MapConfig(method=method, **{name: value})
        assert (changed != plain) == (name in MAP_PARAMETERS[method]), name
        assert getattr(changed, name) == (value if name in MAP_PARAMETERS[method] else getattr(plain, name))
    assert MapConfig(method=method, components=3) != plain


def test_a_whole_number_is_the_same_parameter() -> None:
    assert json.dumps(to_json(MapConfig(min_dist=0))) == json.dumps(to_json(MapConfig(min_dist=0.0)))


def test_values_from_json_are_checked_too() -> None:
    with pytest.raises(ConfigError, match="latent"):
        from_json(ModelConfig, to_json(ModelConfig()) | {"latent": 10**7})


def test_configurations_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().epochs = 3  # type: ignore[misc]


def test_a_preset_takes_the_shape_of_the_images() -> None:
    assert PRESETS["fast"].model_for((3, 32, 40)).image_shape == (3, 32, 40)
    with pytest.raises(ConfigError, match="width must be divisible"):
        PRESETS["fast"].model_for((3, 32, 33))
