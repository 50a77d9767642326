"""How long a preset trains until the test set's -ELBO is at a level. ``quality.py PRESET SEED`` trains in a process of its own.

The clock runs from the first read of the training images: set-up of data, model and optimizer, every gradient step and the
validation after each epoch. It stands while the test set is scored after each epoch: all 10,000 images in fp32, one sample of
z each, nats summed over pixels, as ``python -m vae evaluate`` does. Nothing is chosen by these numbers.

What level is reached after how many epochs is the recipe's, whatever the machine: that of notes, which takes hours, is kept.
How long its epochs last is measured anew, in turn with the trainings that it is compared with.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from figures import Figure, measured
from results import Results

from vae import PRESETS, Epoch, choose_device, encode_images, keep_freed_memory, load_dataset, new_state, train
from vae.config import ModelConfig, PresetName, TrainConfig, from_json, to_json

LEVEL = 242.0
"""Nats per image, which the notes' recipe reaches near its 36th epoch."""
SEEDS = (0, 1, 2)
NOTES_EPOCHS = PRESETS["notes"].train.epochs
MOST_SECONDS, BEST_LEVEL = 7200.0, 232.5
"""What the preset best should take, and end at."""


@dataclass
class Curve:
    """A training: its configuration, how far it was run and when; of each epoch its seconds and the test's nats after it."""

    recipe: dict[str, Any]
    until: float
    """It was left at this level of the test's -ELBO (0: never)."""
    date: str
    set_up: float = 0.0
    seconds: list[float] = field(default_factory=list)
    nats: list[float] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether the training got as far as it was to be run."""
        return bool(self.nats) and (self.nats[-1] <= self.until or len(self.nats) == self.recipe["train"]["epochs"])

    def epochs_to(self, level: float) -> float:
        """Epochs until the test's -ELBO is at a level, on the straight line between the ends of two epochs; the first epoch
        counts whole.

        NOTE: a curve that falls ever less steeply lies below such lines, so none of these is too few.

        Raises:
            ValueError: it never is.
        """
        before = math.inf
        for epoch, nats in enumerate(self.nats):
            if nats <= level:
                return epoch + (before - level) / (before - nats) if epoch else 1.0
            before = nats
        raise ValueError(
            f"after {len(self.nats)} epochs the test's −ELBO is {min(self.nats, default=math.inf):.2f}, above {level}"
        )

    def time_to(self, level: float) -> float:
        """Seconds until then: so many times the median epoch, so that what else the machine did for a few of them doesn't
        count.

        Raises:
            ValueError: as `epochs_to`.
        """
        return self.set_up + self.epochs_to(level) * statistics.median(self.seconds)

    @property
    def whole(self) -> float:
        """Seconds of all epochs that were run, each taken to be the median one."""
        return self.set_up + len(self.seconds) * statistics.median(self.seconds)


def recipe_of(preset: PresetName, seed: int) -> dict[str, Any]:
    """What decides a curve's course: the preset's configuration, with that seed."""
    chosen = PRESETS[preset]
    return {"model": to_json(chosen.model), "train": to_json(chosen.train) | {"seed": seed}}


def curve_of(preset: PresetName, seed: int, until: float, results: Results) -> Curve:
    """The curve of a training, from ``results`` if the same was run before, else run now and kept there.

    Raises:
        ValueError: the training failed.
    """
    name, recipe = f"{preset}, seed {seed}", recipe_of(preset, seed)
    kept = Curve(**results.curves[name]) if name in results.curves else None
    if kept and kept.is_whole and (_complete(kept.recipe), kept.until) == (recipe, until):
        return dataclasses.replace(kept, recipe=recipe)
    curve = Curve(recipe, until, time.strftime("%Y-%m-%d"))
    for line in _lines(preset, seed, until):
        if "set_up" in line:
            curve.set_up = line["set_up"]
            continue
        curve.seconds.append(line["seconds"])
        curve.nats.append(line["nats"])
        results.curves[name] = dataclasses.asdict(curve)
        print(f"    {name}, epoch {len(curve.nats)}: {sum(curve.seconds):,.1f} s, {curve.nats[-1]:.2f} nats", flush=True)
    if not curve.is_whole:
        raise ValueError(f"the training of {name} ended after {len(curve.nats)} epochs")
    return curve


def _complete(recipe: dict[str, Any]) -> dict[str, Any]:
    """A kept recipe with the default of each field that there wasn't yet."""
    kinds = {"model": ModelConfig, "train": TrainConfig}
    return {part: to_json(from_json(kind, recipe[part])) for part, kind in kinds.items()}


def _lines(preset: str, seed: int, until: float) -> Generator[dict[str, float], None, None]:
    """What `report` prints in a process of its own, as it comes."""
    command = [sys.executable, str(Path(__file__)), preset, str(seed), "--until", str(until)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield from map(json.loads, process.stdout)
        finally:
            process.terminate()


def first_epoch(preset: PresetName, seed: int) -> tuple[float, float]:
    """Seconds of a training's set-up and of its first epoch, measured now."""
    with contextlib.closing(_lines(preset, seed, math.inf)) as lines:
        return next(lines)["set_up"], next(lines)["seconds"]


def report(preset: PresetName, seed: int, until: float) -> Iterator[dict[str, float]]:
    """Train; gives the seconds of the set-up, then of each epoch, with the test's -ELBO after it, until it is at a level."""
    test = load_dataset("fashion-mnist", "test")
    started = time.perf_counter()
    data, held = load_dataset("fashion-mnist", "train"), load_dataset("fashion-mnist", "validation")
    config = dataclasses.replace(PRESETS[preset].train, seed=seed)
    state = new_state(PRESETS[preset].model_for(data.image_shape), config, choose_device())
    yield {"set_up": time.perf_counter() - started}
    started = time.perf_counter()
    for event in train(state, data, held):
        if not isinstance(event, Epoch):
            continue
        seconds = time.perf_counter() - started
        nats = -float(encode_images(state.serving.eval(), test.images).elbo.astype("float64").mean())
        yield {"seconds": seconds, "nats": nats}
        if nats <= until:
            return
        started = time.perf_counter()


def time_to_quality(results: Results) -> list[Figure]:
    """Three trainings of fast, whole, and in turn with them three first epochs of notes, whose course is run once and kept."""
    course = curve_of("notes", 0, LEVEL, results)
    fast, epochs_of_notes = [], []
    for seed in SEEDS:
        epochs_of_notes.append(first_epoch("notes", seed))
        results.curves.pop(f"fast, seed {seed}", None)
        fast.append(curve_of("fast", seed, 0.0, results))
    set_ups, seconds = zip(*epochs_of_notes, strict=True)
    notes = dataclasses.replace(course, set_up=statistics.median(set_ups), seconds=list(seconds))
    all_of_notes = notes.set_up + NOTES_EPOCHS * statistics.median(notes.seconds)
    epochs = statistics.median(curve.epochs_to(LEVEL) for curve in fast)
    return [
        measured(
            f"train `fast` to {LEVEL:g} nats of test −ELBO",
            "s",
            [curve.time_to(LEVEL) for curve in fast],
            "median",
            ("`notes`, as many of its epochs as it takes", [notes.time_to(LEVEL)]),
            target_ratio=100,
            note=f"{epochs:.2f} epochs; `notes`: {notes.epochs_to(LEVEL):.1f} of {statistics.median(seconds):.1f} s, "
            f"its course of {notes.date}",
        ),
        measured(
            "train `fast`, all of it",
            "s",
            [curve.whole for curve in fast],
            "median",
            (f"`notes`, {NOTES_EPOCHS} times its median epoch", [all_of_notes]),
            target_ratio=150,
        ),
        measured("test −ELBO of `fast` after all of it", "nats per image", [curve.nats[-1] for curve in fast]),
    ]


def best(results: Results) -> list[Figure]:
    """One training of the preset best, whole."""
    results.curves.pop("best, seed 0", None)
    curve = curve_of("best", 0, 0.0, results)
    return [
        Figure("train `best`, all of it", "s", curve.whole, target=MOST_SECONDS),
        Figure("test −ELBO of `best` after all of it", "nats per image", curve.nats[-1], target=BEST_LEVEL),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("preset", choices=list(PRESETS))
    parser.add_argument("seed", type=int)
    parser.add_argument("--until", type=float, default=0.0)
    options = parser.parse_args()
    keep_freed_memory()  # as the command line does
    for line in report(options.preset, options.seed, options.until):
        print(json.dumps(line), flush=True)
