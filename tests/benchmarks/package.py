"""The package alone: reading, encoding, decoding, evaluating, training; where it can be, beside the lecture notes' model."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from figures import Figure, measured
from live import copied_run

from vae import (
    PRESETS,
    VAE,
    RunConfig,
    Step,
    build_model,
    choose_device,
    decode_images,
    encode_images,
    evaluate,
    generator_for,
    load_dataset,
    new_state,
    open_run,
    sample_prior,
    train,
)
from vae.config import PresetName
from vae.device import to_unit
from vae.evaluate import BATCH
from vae.runs import Run, create_run

POINTS = 488  # what a release of a slider on Explore decodes: 8 dimensions of 61 steps


def timed(work: Callable[[], object], repeats: int = 3) -> list[float]:
    """Seconds that some work takes, each time; what is done more than once is done once before, to warm up."""
    if repeats > 1:
        work()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return taken


def package() -> list[Figure]:
    """Reading the data; encoding and evaluating with the shipped model and with the notes'; decoding in one batch."""
    run, device = open_run("fashion-mnist"), choose_device()
    model, test = run.load_model(device), load_dataset("fashion-mnist", "test")
    notes = build_model(PRESETS["notes"].model_for(test.image_shape), 0).to(device).eval()
    z = sample_prior(POINTS, run.config.model.latent, generator_for(0, "view")).numpy()
    alone = timed(lambda: [decode_images(model, z[row : row + 1]) for row in range(POINTS)], 1)
    batch = timed(lambda: decode_images(model, z), 7)
    encoding = timed(lambda: encode_images(model, test.images))
    notes_encoding = timed(lambda: encode_images(notes, test.images), 1)
    posteriors = timed(lambda: _encode(model, test.images, device))
    notes_posteriors = timed(lambda: _encode(notes, test.images, device), 1)
    with copied_run():
        ours, theirs = open_run("fashion-mnist"), _notes_run(run)
        reports = [evaluate(ours, device=device)]
        evaluating, notes_evaluating = timed(lambda: evaluate(ours, device=device)), timed(lambda: evaluate(theirs), 1)
    return [
        measured("read the 55,000 training images", "s", timed(lambda: load_dataset("fashion-mnist", "train"))),
        measured("encode 10,000 images: q(z|x)", "s", posteriors, "median", ("the notes' model", notes_posteriors), target=1.0),
        measured("encode and score 10,000 images: the ELBO too", "s", encoding, "median", ("the notes' model", notes_encoding)),
        measured(f"decode {POINTS} points", "ms", _ms(batch), "median", ("one by one", _ms(alone))),
        measured("evaluate the shipped run, all of it", "s", evaluating, "median", ("the notes' model", notes_evaluating)),
        Figure("the shipped run's −ELBO, 10,000 test images", "nats per image", -reports[0].elbo, 10_000, "mean"),
    ]


@torch.no_grad()
def _encode(model: VAE, images: np.ndarray, device: torch.device) -> None:
    for start in range(0, len(images), BATCH):
        model.encode(to_unit(torch.tensor(images[start : start + BATCH], device=device))).mean.cpu()


def _ms(seconds: list[float]) -> list[float]:
    return [1000 * value for value in seconds]


def _notes_run(shipped: Run) -> Run:
    """A run with the notes' model, its weights as they were drawn: evaluating it takes what evaluating a trained one takes."""
    chosen, own = PRESETS["notes"], shipped.config
    model = chosen.model_for(own.model.image_shape)
    run = create_run("notes", RunConfig(model, chosen.train, "notes", own.dataset, own.data_digests, own.versions))
    run.save_weights(build_model(model, 0))
    return run


def training_rate(preset: PresetName, seconds: float = 5.0) -> float:
    """Images a second of gradient steps on Fashion-MNIST's training split, after three steps to warm up."""
    chosen, data = PRESETS[preset], load_dataset("fashion-mnist", "train")
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
            if time.perf_counter() - started > seconds:
                break
    return images / (time.perf_counter() - started)


def throughput() -> list[Figure]:
    """The preset fast against the preset notes: the pair with the median ratio of three, each measured side by side."""
    pairs = [(training_rate("notes"), training_rate("fast")) for _ in range(3)]
    notes, fast = sorted(pairs, key=lambda pair: pair[1] / pair[0])[1]
    ratios = ", ".join(f"{ours / theirs:.1f}" for theirs, ours in pairs)
    return [
        Figure(
            "train, `fast`",
            "images/s",
            fast,
            3,
            "median",
            "`notes`",
            notes,
            "higher",
            note=f"the ratios of three pairs: {ratios}",
        )
    ]
