"""``make bench``: figures of this machine, each beside a baseline from the same run where there is one to beat."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from live import drags, drags_beside_a_training, maps, seventy_thousand

from vae import (
    PRESETS,
    Epoch,
    Step,
    choose_device,
    decode_images,
    encode_images,
    load_dataset,
    new_state,
    open_run,
    sample_prior,
    train,
)
from vae.device import generator_for
from vae.train import validate

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Figure:
    """One measured figure beside its baseline."""

    what: str
    value: float
    unit: str
    baseline: str = ""
    baseline_value: float | None = None
    ratio: float | None = None


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """The median time of some work, after one call to warm up."""
    work()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def training_rate(preset: str, measured_seconds: float = 8.0) -> float:
    """Images a second of gradient steps on Fashion-MNIST's training split, after three steps to warm up."""
    chosen, data = PRESETS[preset], load_dataset("fashion-mnist", "train")  # type: ignore[index]
    state = new_state(chosen.model_for(data.image_shape), chosen.train, choose_device())
    images = steps = 0
    started = time.perf_counter()
    for event in train(state, data, load_dataset("fashion-mnist", "validation")):
        if not isinstance(event, Step):
            continue
        steps += 1
        if steps == 3:
            images, started = 0, time.perf_counter()
        elif steps > 3:
            images += event.images
            if time.perf_counter() - started > measured_seconds:
                break
    return images / (time.perf_counter() - started)


def throughput() -> list[Figure]:
    """The `fast` preset against the `notes` preset: the pair with the median ratio of three, each measured side by side."""
    pairs = [(training_rate("notes"), training_rate("fast")) for _ in range(3)]
    base, value = sorted(pairs, key=lambda pair: pair[1] / pair[0])[1]
    return [Figure("training, preset fast", value, "images/s", "preset notes", base, value / base)]


def package() -> list[Figure]:
    """Data, encoding, decoding, on the shipped run."""
    run = open_run("fashion-mnist")
    model, test = run.load_model(choose_device()), load_dataset("fashion-mnist", "test")
    z = sample_prior(488, run.config.model.latent, generator_for(0, "view")).numpy()
    single = seconds(lambda: [decode_images(model, z[row : row + 1]) for row in range(61)])
    batch = seconds(lambda: decode_images(model, z))
    return [
        Figure("read the 60,000 training images", seconds(_both_splits, 3) / 2, "s"),
        Figure("encode and score 10,000 images", seconds(lambda: encode_images(model, test.images), 3), "s"),
        Figure("decode 488 points in one batch", 1000 * batch, "ms", "one by one", 1000 * single * 8, single * 8 / batch),
    ]


def _both_splits() -> None:
    load_dataset("fashion-mnist", "train")
    load_dataset("fashion-mnist", "validation")


def start_up() -> list[Figure]:
    """What a fresh process pays before it can do anything."""
    figures = []
    for module in ("vae", "dashboard.views.explore"):
        command = [sys.executable, "-c", f"import {module}"]
        figures.append(Figure(f"import {module}", seconds(lambda c=command: subprocess.run(c, check=True, cwd=ROOT), 3), "s"))  # type: ignore[misc]
    return figures


def quality() -> list[Figure]:
    """`fast` from start to end: its test -ELBO, and the time it took."""
    chosen, data, held = PRESETS["fast"], load_dataset("fashion-mnist", "train"), load_dataset("fashion-mnist", "validation")
    state = new_state(chosen.model_for(data.image_shape), chosen.train, choose_device())
    started = time.perf_counter()
    epochs = [event for event in train(state, data, held) if isinstance(event, Epoch)]
    taken = time.perf_counter() - started
    means = validate(state, load_dataset("fashion-mnist", "test"))[0]
    return [
        Figure(f"preset fast, {len(epochs)} epochs: test -ELBO", -means.elbo, "nats per image"),
        Figure(f"preset fast, {len(epochs)} epochs", taken, "s"),
    ]


def dragging() -> list[Figure]:
    """What a drag and a release on Explore take, beside a plain slider in the same run."""
    seen = drags()
    plain = seen["plain_change_to_image_p95_ms"]
    release = seen["release_to_strips_p95_ms"]
    return [
        Figure(
            "drag: pointer to picture, p95",
            seen["move_to_drawn_p95_ms"],
            "ms",
            "plain slider",
            plain,
            plain / seen["move_to_drawn_p95_ms"],
        ),
        Figure("drag: frames a second", seen["browser_frames_per_second"], "frames/s"),
        Figure("drag: pictures a second", seen["pictures_per_second"], "pictures/s"),
        Figure("drag: messages from the client", seen["client_messages_during_drag"], "messages"),
        Figure("drag: moves of the map's cursor for a picture", seen["cursor_events_per_picture"], "moves"),
        Figure("release to new strips, p50", seen["release_to_strips_p50_ms"], "ms"),
        Figure("release to new strips, p95", release, "ms", "plain slider", plain, plain / release),
    ]


def dragging_beside_a_training() -> list[Figure]:
    """What a drag on Explore loses while a training runs on the same cores; a ratio of 1: nothing."""
    alone, beside = drags_beside_a_training()
    return [
        Figure(f"drag beside a training: {what}", beside[key], unit, "without", alone[key], ratio(beside[key], alone[key]))
        for what, key, unit, ratio in (
            ("frames a second", "browser_frames_per_second", "frames/s", lambda now, then: now / then),
            ("pictures a second", "pictures_per_second", "pictures/s", lambda now, then: now / then),
            ("pointer to picture, p95", "move_to_drawn_p95_ms", "ms", lambda now, then: then / now),
        )
    ]


def pointing() -> list[Figure]:
    """What hovering and clicking on Explore take, with 10,000 images."""
    return [Figure(f"10,000 images: {what}", value, _unit(what)) for what, value in maps().items()]


def pointing_at_many() -> list[Figure]:
    """The same with 70,000."""
    with seventy_thousand() as environment:
        return [Figure(f"70,000 images: {what}", value, _unit(what)) for what, value in maps(environment).items()]


def _unit(what: str) -> str:
    return "bytes" if what.startswith("bytes") else "ms"


SECTIONS = (package, start_up, dragging, dragging_beside_a_training, pointing, throughput)
FULL = (pointing_at_many, quality)


def main() -> int:
    """Measure, print a table, and write it as JSON if asked."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="also train the preset fast to its end, and show 70,000 images")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--only", choices=[section.__name__ for section in (*SECTIONS, *FULL)], help="one section alone")
    options = parser.parse_args()
    sections = [section for section in (*SECTIONS, *FULL) if section.__name__ == options.only] or [
        *SECTIONS,
        *(FULL if options.full else ()),
    ]
    figures = []
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}"
    print(f"{machine}, {time.strftime('%Y-%m-%d')}")
    for section in sections:
        for figure in section():
            beside = f"{figure.baseline}: {figure.baseline_value:,.1f}, ratio {figure.ratio:.1f}" if figure.baseline else ""
            print(f"  {figure.what:48}{figure.value:12,.2f} {figure.unit:16}{beside}", flush=True)
            figures.append(figure)
    if options.json:
        versions = {"python": platform.python_version(), "torch": torch.__version__}
        content = {"date": time.strftime("%Y-%m-%d"), "cpus": os.cpu_count(), "versions": versions}
        options.json.write_text(json.dumps(content | {"figures": [asdict(figure) for figure in figures]}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
