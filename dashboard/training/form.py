"""The form for a new run: made from the fields of the configurations, so that a new field appears by itself."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, TypeVar

import streamlit as st

from dashboard.markdown import plain
from dashboard.training.estimate import EstimateError, Speed, duration_text, earlier_speed, measured_speed
from dashboard.training.process import list_trainings, start_training
from vae import (
    PRESETS,
    ConfigError,
    DataError,
    ModelConfig,
    Option,
    RunError,
    TrainConfig,
    list_datasets,
    list_devices,
    list_options,
    list_runs,
    load_dataset,
    open_run,
    parameter_count,
)
from vae.data import data_root
from vae.jobs import JobError

FROM = "train-settings-from"
"""The session key of the choice whose settings stand in the form."""
WATCHED = "train-watched"
"""The session key of the training that is watched."""
USUAL = "fast"
FEW_STEPS = 100
"""With fewer gradient steps than that, what a preset's model decodes is hardly more than a grey surface."""
_RUN = "run "
Config = TypeVar("Config", ModelConfig, TrainConfig)


@dataclass(frozen=True)
class Base:
    """What stands in the form at first."""

    preset: str
    model: ModelConfig
    train: TrainConfig


def duplicate_settings(run: str) -> None:
    """Have the settings of a run stand in the form when the page Train is opened next."""
    st.session_state[FROM] = f"{_RUN}{run}"
    st.session_state[WATCHED] = None


def train_on(dataset: str) -> None:
    """Have a data set stand in the form, under the usual preset, when the page Train is opened next."""
    st.session_state[FROM] = USUAL
    st.session_state[_dataset_key(USUAL)] = dataset
    st.session_state[WATCHED] = None


@st.fragment
def training_form() -> None:
    """Draw the form; Start begins a training and runs the page again."""
    datasets, devices = list_datasets(), list_devices()
    if not datasets:
        st.info(f"There is no data set under {data_root()}: add images of your own on the page Dataset.")
        return
    bases = [*PRESETS, *(f"{_RUN}{name}" for name in list_runs())]
    if st.session_state.get(FROM) not in bases:
        st.session_state[FROM] = USUAL
    first, second, third = st.columns(3)
    chosen = first.selectbox(
        "Settings",
        bases,
        key=FROM,
        format_func=_base_title,
        help="A preset, complete in itself, or what a run was trained with. Advanced changes single settings of it.",
    )
    if st.session_state.get(_dataset_key(chosen)) not in datasets:  # it has gone, or was never chosen
        st.session_state[_dataset_key(chosen)] = datasets[_at(datasets, _dataset_of(chosen))]
    dataset = second.selectbox(
        "Data set",
        datasets,
        key=_dataset_key(chosen),
        help="A folder under data/.",
    )
    device = third.selectbox(
        "Device", list(devices), format_func=lambda name: devices[name], key="train-device", help="The best one comes first."
    )
    try:
        base = _base(chosen, dataset)
        with st.expander("Advanced: every setting of the model and of the training", icon=":material/tune:"):
            key = f"train-{chosen}-{dataset}"
            st.markdown("**Model**")
            model = _fields(base.model, f"{key}-model")
            st.markdown("**Training**")
            train = _fields(base.train, f"{key}-training")
        _outlook(model, train, device, _training_images(dataset, train.validation_fraction, _stamp(dataset)))
    except (ConfigError, DataError, RunError) as error:
        st.error(plain(str(error)))
        return
    _start(base.preset, dataset, model, train, device)


# --- what stands in it at first ------------------------------------------------------------------------------------


def _base_title(name: str) -> str:
    if name.startswith(_RUN):
        return f"as run {name.removeprefix(_RUN)}"
    return f"{name}: {PRESETS[name].summary}"  # type: ignore[index]


def _base(chosen: str, dataset: str) -> Base:
    shape = _shape(dataset, _stamp(dataset))
    if not chosen.startswith(_RUN):
        preset = PRESETS[chosen]  # type: ignore[index]
        return Base(chosen, preset.model_for(shape), preset.train)
    config = open_run(chosen.removeprefix(_RUN)).config
    channels, height, width = shape
    model = dataclasses.replace(config.model, channels=channels, height=height, width=width)
    return Base(config.preset if config.preset in PRESETS else "fast", model, config.train)


def _dataset_of(chosen: str) -> str:
    try:
        return open_run(chosen.removeprefix(_RUN)).config.dataset if chosen.startswith(_RUN) else "fashion-mnist"
    except RunError:
        return "fashion-mnist"


def _dataset_key(chosen: str) -> str:
    return f"train-{chosen}-dataset"


def _at(values: list[str], value: str) -> int:
    return values.index(value) if value in values else 0


def _stamp(dataset: str) -> tuple[tuple[str, int], ...]:
    """What changes when the files of a data set do."""
    files = sorted([*(data_root() / dataset).rglob("*"), *data_root().glob(f"{dataset}_*.csv")])
    return tuple((str(file), file.stat().st_mtime_ns) for file in files if file.is_file())


@st.cache_data(max_entries=16, show_spinner=False)
def _shape(dataset: str, stamp: tuple[tuple[str, int], ...]) -> tuple[int, int, int]:
    del stamp  # part of the cache's key
    return load_dataset(dataset, "test").image_shape


@st.cache_data(max_entries=16, show_spinner="Reading the data set")
def _training_images(dataset: str, fraction: float | None, stamp: tuple[tuple[str, int], ...]) -> int:
    del stamp
    return len(load_dataset(dataset, "train", fraction))


# --- the settings --------------------------------------------------------------------------------------------------


def _fields(base: Config, key: str) -> Config:
    """A widget for each option of a configuration, and the configuration that they make."""
    columns, values = st.columns(4), dict[str, Any]()
    for number, option in enumerate(list_options(type(base))):
        with columns[number % 4]:
            values[option.name] = _widget(option, getattr(base, option.name), f"{key}-{option.name}")
    return dataclasses.replace(base, **values)


def _widget(option: Option, value: Any, key: str) -> Any:
    text = _help(option)
    if option.kind == "switch":
        return st.selectbox(option.title, [True, False], index=int(not value), format_func=_yes_no, help=text, key=key)
    if option.kind == "choice":
        return st.selectbox(option.title, option.choices, index=option.choices.index(value), help=text, key=key)
    if option.kind == "list":
        return _whole_numbers(
            option, st.text_input(option.title, ", ".join(map(str, value)), max_chars=100, help=text, key=key)
        )
    low, high = option.low, option.high
    if option.kind == "whole":
        least, most = (None if bound is None else int(bound) for bound in (low, high))
        return st.number_input(option.title, least, most, value, 1, help=text, key=key, placeholder="none")
    step = 10.0 ** math.floor(math.log10(abs(value))) if value else 0.1
    return st.number_input(option.title, low, high, value, step, "%.6g", help=text, key=key, placeholder="none")


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _help(option: Option) -> str:
    ends = "" if option.low is None or option.high is None else f" From {_number(option.low)} to {_number(option.high)}."
    return f"{option.help}{ends}" + (" May be left empty." if option.is_optional else "")


def _number(value: float) -> str:
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:g}"


def _whole_numbers(option: Option, text: str) -> tuple[int, ...]:
    parts = text.replace(",", " ").split()
    if not parts or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise ConfigError(f"{option.name} must be whole numbers with commas between them, such as 32, 64, got {text!r}")
    return tuple(map(int, parts))


# --- what to expect, and the start ---------------------------------------------------------------------------------


def _outlook(model: ModelConfig, train: TrainConfig, device: str, count: int) -> None:
    """The number of parameters, and how long it will take."""
    parameters = parameter_count(model)
    speed = earlier_speed(model, train, device)
    key = f"{model}{train}{device}"
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Time it here", icon=":material/timer:", help="Times a few training steps: some seconds of full load."):
            st.session_state["train-timed"] = key
        if st.session_state.get("train-timed") == key:
            try:
                speed = measured_speed(model, train, device)
            except EstimateError as error:
                st.warning(f"The time can't be measured: {error}.")
        st.markdown(_outlook_words(parameters, model, train, count, speed))


def _outlook_words(parameters: int, model: ModelConfig, train: TrainConfig, count: int, speed: Speed | None) -> str:
    channels, height, width = model.image_shape
    steps = -(-count // train.batch_size)
    text = (
        f"**{parameters:,} parameters** for images of {width} × {height} × {channels}; {train.epochs:,} epochs of "
        f"{steps:,} steps on {count:,} training images."
    )
    if steps * train.epochs < FEW_STEPS:
        text += (
            f" **That is {steps * train.epochs:,} gradient steps in all, too few to learn much:** "
            "give it more epochs or a smaller batch size."
        )
    if speed is None:
        return f"{text}  \nNo run has trained this model on this device yet, so its time isn't known: time it."
    epoch = count / speed.images_per_second
    return (
        f"{text}  \nAbout **{duration_text(epoch)} an epoch, {duration_text(epoch * train.epochs)} in total** at "
        f"{speed.images_per_second:,.0f} images/s ({speed.source}). Validation, pictures, evaluation and the map come on top."
    )


def _free_name(preset: str, dataset: str) -> str:
    """A name that no run has."""
    stem = (preset if dataset == "fashion-mnist" else f"{dataset}-{preset}")[:56]
    taken = set(list_trainings())
    return next(
        name for number in range(1, len(taken) + 2) if (name := stem if number == 1 else f"{stem}-{number}") not in taken
    )


def _start(preset: str, dataset: str, model: ModelConfig, train: TrainConfig, device: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        # NOTE: kept under a key, so that a name which another visitor has just taken isn't changed under this one's hands.
        name = st.text_input(
            "Name of the run",
            _free_name(preset, dataset),
            key=f"train-name-{preset}-{dataset}",
            max_chars=64,
            help="Lower-case letters, digits, '.', '_' and '-': its folder under checkpoints/.",
            width=260,
        )
        pressed = st.button("Start training", type="primary", icon=":material/play_arrow:")
    if not pressed:
        return
    try:
        start_training(name, dataset, preset, model, train, device)
    except (JobError, RunError) as error:
        st.error(f"{error}")
        return
    st.session_state[WATCHED] = name
    st.rerun()
