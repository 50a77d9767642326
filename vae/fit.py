"""Train a run from first step to map: drives `train`, writes the run's folder, then evaluates it and makes its map."""

from __future__ import annotations

import dataclasses
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import numpy as np
import torch
from jaxtyping import Float32

from vae.config import MapConfig, ModelConfig, TrainConfig
from vae.data import DataError, ImageDataset, Split, load_dataset
from vae.device import generator_for, to_unit
from vae.evaluate import evaluate
from vae.latent import decode_images, sample_prior
from vae.model import VAE, empty_model
from vae.projection import Progress, fit_pca, fit_tsne, fit_umap
from vae.runs import Map, Run, RunConfig, RunError, RunState, Status, create_run, lock_run, open_run
from vae.train import Epoch, Step, TrainingState, new_state, restore_state, train

STATE_SECONDS = 30.0
STATUS_SECONDS = 0.5
PREVIEWS = 16

Event = Step | Epoch | str
"""What `fit` reports: a gradient step, an epoch, or the name of the stage that begins."""


class Stopped(Exception):
    """Training was asked to stop (Ctrl-C, or a termination signal) and has saved its state."""


def fit(
    name: str,
    dataset: str,
    model: ModelConfig,
    config: TrainConfig,
    preset: str,
    device: torch.device,
    report: Callable[[Event], None] = lambda _: None,
) -> Run:
    """Train a new run and finish it with its encodings, evaluation and map.

    Raises:
        RunError: the name is taken or held by another process, or the folder can't be written.
        DataError: the data set can't be read.
        ConfigError: the model would be too large.
        Stopped: it was interrupted; `resume` continues it.
    """
    empty_model(model)  # refused here, it leaves no folder behind
    digests: dict[str, str] = {split: load_dataset(dataset, split).digest for split in _SPLITS}
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    with lock_run(name):
        run = create_run(name, RunConfig(model, config, preset, dataset, digests, versions))
        _train_and_finish(run, device, report)
    return run


def resume(name: str, device: torch.device, report: Callable[[Event], None] = lambda _: None) -> Run:
    """Continue a run from its last saved step, to the result that an uninterrupted training would have had.

    Raises:
        RunError: there is no such run, it is held by another process, or its state can't be used.
        DataError: the data set can't be read, or is no longer the one it was trained on.
        Stopped: it was interrupted again.
    """
    run = open_run(name)
    with lock_run(name):
        _train_and_finish(run, device, report)
    return run


def make_map(run: Run, config: MapConfig, progress: Progress = lambda *_: None) -> Map:
    """Fit a map of a run's test means in their active dimensions, and keep it with the run.

    Args:
        progress: told of UMAP's epochs or t-SNE's iterations; a PCA is done at once.

    Raises:
        RunError: the run has no usable encodings, or too few images or active dimensions for the parameters.
    """
    encodings = run.load_encodings()
    means = encodings.mean[:, encodings.map_dimensions]
    try:
        return run.save_map(_layout(means, config, progress), config)
    except ValueError as error:
        if isinstance(error, RunError):
            raise
        raise RunError(f"{run.path}: {error}") from None


def default_map(run: Run) -> MapConfig:
    """The parameters of a run's first map: the default UMAP, or the PCA where there are too few images for neighbourhoods.

    Raises:
        RunError: the run has no usable encodings.
    """
    return MapConfig() if len(run.load_encodings()) > MapConfig().neighbors else MapConfig(method="pca")


def _layout(means: Float32[np.ndarray, "n used"], config: MapConfig, progress: Progress) -> np.ndarray:
    if config.method == "pca":
        return fit_pca(means, config.components)
    if config.method == "tsne":
        return fit_tsne(means, config.perplexity, config.seed, config.components, progress)
    umap = (config.neighbors, config.min_dist, config.seed, config.metric, config.components)
    return fit_umap(means, *umap, progress)


_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def _train_and_finish(run: Run, device: torch.device, report: Callable[[Event], None]) -> None:
    recorder = _Recorder(run, device)
    try:
        with _stop_on_signal() as stop:
            report("training")
            _train(run, device, recorder, report, stop)
            for stage, work in (
                ("evaluating", lambda: evaluate(run, device=device)),
                ("making the map", lambda: make_map(run, default_map(run))),
            ):
                if stop:
                    raise Stopped
                report(stage)
                run.log(stage)
                work()
        recorder.save("finished")
    except Stopped:
        recorder.save("stopped")
        raise
    except BaseException as error:
        recorder.save("failed", str(error) or type(error).__name__)
        raise


def _train(run: Run, device: torch.device, recorder: _Recorder, report: Callable[[Event], None], stop: list[int]) -> None:
    splits = {split: load_dataset(run.config.dataset, split) for split in _SPLITS}
    for split, data in splits.items():
        if data.digest != run.config.data_digests.get(split):
            raise DataError(
                f"data set {data.name}: its {split} images are not those this run was trained on "
                f"(digest {run.config.data_digests.get(split)}, found {data.digest}): restore them, or start a new run"
            )
    state = _starting_state(run, device)
    run.truncate_metrics(state.epoch)
    recorder.begin(state)
    run.log(f"training on {device} from epoch {state.epoch + 1}, step {state.step + 1}")
    saved = time.monotonic()
    for event in train(state, splits["train"], splits["validation"]):
        if isinstance(event, Epoch):
            _record_epoch(run, state, event, splits["validation"])
        recorder.follow(event)
        report(event)
        if isinstance(event, Epoch) or stop or time.monotonic() - saved > STATE_SECONDS:
            run.save_state(state.tensors(), state.progress())
            saved = time.monotonic()
        if stop:
            run.log(f"stopped after step {state.step}")
            raise Stopped


def _starting_state(run: Run, device: torch.device) -> TrainingState:
    stored = run.load_state()
    if stored is None:
        return new_state(run.config.model, run.config.train, device)
    try:
        return restore_state(run.config.model, run.config.train, device, *stored)
    except ValueError as error:
        raise RunError(f"{run.path / 'state'}: {error}: delete the folder to start over") from None


def _record_epoch(run: Run, state: TrainingState, epoch: Epoch, validation: ImageDataset) -> None:
    run.append_metrics(dataclasses.asdict(epoch))
    run.log(
        f"epoch {epoch.epoch}: -ELBO train {-epoch.train.elbo:.2f}, validation {-epoch.validation.elbo:.2f} nats per image, "
        f"{epoch.active_units} active units, {epoch.images_per_second:,.0f} images/s"
    )
    if epoch.best:
        run.save_weights(state.model)
    run.save_preview(epoch.epoch, *_previews(state.model, validation, state.config.seed))


@torch.no_grad()
def _previews(model: VAE, validation: ImageDataset, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The first validation images decoded from their posterior means, and fixed prior samples decoded; uint8."""
    model.eval()
    device = next(model.parameters()).device
    x = to_unit(torch.tensor(validation.images[:PREVIEWS], device=device))
    prior = sample_prior(PREVIEWS, model.config.latent, generator_for(seed, "preview"))
    both = [np.asarray(model.encode(x).mean.cpu()), np.asarray(prior)]
    first, second = (np.rint(decode_images(model, z) * 255).astype(np.uint8) for z in both)
    return first, second


class _Recorder:
    """Keeps ``status.json`` up to date, at most every `STATUS_SECONDS`."""

    def __init__(self, run: Run, device: torch.device) -> None:
        now = time.time()
        epochs = run.config.train.epochs
        self._run = run
        self._status = Status("running", os.getpid(), now, now, epochs=epochs, device=str(device))
        self._written = -1.0
        self.save("running")

    def begin(self, state: TrainingState) -> None:
        self._status = dataclasses.replace(self._status, epoch=state.epoch, step=state.step)

    def follow(self, event: Step | Epoch) -> None:
        if isinstance(event, Step):
            fields = {"step": event.step, "total_steps": event.total_steps, "epoch": event.epoch - 1}
        else:
            fields = {"epoch": event.epoch}
        self._status = dataclasses.replace(self._status, **fields)  # type: ignore[arg-type]
        if time.monotonic() - self._written > STATUS_SECONDS:
            self.save("running")

    def save(self, state: RunState, error: str | None = None) -> None:
        self._status = dataclasses.replace(self._status, state=state, updated=time.time(), error=error)
        self._run.save_status(self._status)
        self._written = time.monotonic()


@contextmanager
def _stop_on_signal() -> Iterator[list[int]]:
    """A list that is empty until SIGINT or SIGTERM arrives. Outside the main thread signals are left alone."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
