"""Train a run from first step to map: drives `train`, writes the run's folder, then evaluates it and makes its map.

Of several processes (`vae.distributed`) all train, and the first alone writes, evaluates and makes the map.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

import vae.distributed as distributed
from vae.config import MapConfig, ModelConfig, TrainConfig, to_json
from vae.curves import Curves, check_tensorboard
from vae.data import ImageDataset, Split, load_dataset
from vae.device import generator_for, to_unit
from vae.encodings import Encodings
from vae.evaluate import evaluate, load_run_data
from vae.files import remove_leftovers
from vae.judging import make_reference
from vae.latent import decode_images, sample_prior
from vae.model import VAE, empty_model
from vae.projection import Progress, comparable, fit_pca, fit_tsne, place
from vae.runs import Map, Run, RunConfig, RunError, RunState, Status, create_run, lock_run, open_run, run_path
from vae.stopping import Stop, stop_on_signal
from vae.train import Epoch, Note, Step, TrainingState, new_state, restore_state, train
from vae.umap import fit_umap

STATE_SECONDS = 30.0
STATUS_SECONDS = 0.5
PLACED_AT_ONCE = 10_000
PREVIEWS = 16

Event = Step | Epoch | Note | str
"""What `fit` reports: a gradient step, an epoch, a note, or the name of the stage that begins."""


class Stopped(Exception):
    """Training was asked to stop (Ctrl-C, or a termination signal); its state is saved."""


def fit(
    name: str,
    dataset: str,
    model: ModelConfig,
    config: TrainConfig,
    preset: str,
    device: torch.device,
    report: Callable[[Event], None] = lambda _: None,
    tensorboard: bool = False,
) -> Run:
    """Train a new run and finish it with its encodings, evaluation and map. ``tensorboard`` adds its curves, in the run's
    folder ``tensorboard/``.

    Raises:
        RunError: the name is taken or held by another process, or the folder can't be written.
        DataError: the data set can't be read.
        ConfigError: the model would be too large.
        CurvesError: TensorBoard isn't installed.
        Stopped: it was interrupted; `resume` continues it.
        PeerError: another process of this training has ended.
    """
    empty_model(model)  # refused here, it leaves no folder behind
    if tensorboard:
        check_tensorboard()
    fraction = config.validation_fraction
    digests: dict[str, str] = {split: load_dataset(dataset, split, fraction).digest for split in _SPLITS}
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    made = RunConfig(model, config, preset, dataset, digests, versions)
    with _held(name), stop_on_signal() as stop:
        with stop.deferred():
            run = Run(run_path(name), made) if distributed.rank() else create_run(name, made)
        _train_and_finish(run, device, report, tensorboard, stop)
    return run


def resume(name: str, device: torch.device, report: Callable[[Event], None] = lambda _: None, tensorboard: bool = False) -> Run:
    """Continue a run from its last saved step, to the result that an uninterrupted training would have had.

    Raises:
        RunError: there is no such run, it can't be resumed, it is held by another process, or its state can't be used.
        DataError: the data set can't be read, or is no longer the one it was trained on.
        CurvesError, Stopped, PeerError: as `fit`.
    """
    run = open_run(name)
    run.check_resumable()
    if tensorboard:
        check_tensorboard()
    with _held(name), stop_on_signal() as stop:
        _train_and_finish(run, device, report, tensorboard, stop)
    return run


def make_map(run: Run, config: MapConfig, progress: Progress = lambda *_: None) -> Map:
    """Fit a map of a run's test means in their active dimensions, and keep it with the run.

    Of more images than `vae.encodings.MOST_COMPARED`, a UMAP or t-SNE is fitted to a part; the others are placed among it.

    Args:
        progress: told of UMAP's epochs or t-SNE's iterations, then of the images placed; a PCA is done at once.

    Raises:
        RunError: the run has no usable encodings, or too few images or active dimensions for the parameters.
    """
    encodings = run.load_encodings()
    part = encodings.reference_means
    try:
        if config.method == "pca" or len(part) == len(encodings):
            return run.save_map(_layout(encodings.map_means, config, progress), config)
        coordinates = _place_others(encodings, _layout(part, config, progress), config, progress)
        return run.save_map(coordinates, config, fitted=len(part))
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


def map_arguments(run: Run, config: MapConfig) -> list[str]:
    """What ``python -m vae`` makes that map of a run by."""
    options = [part for name, value in to_json(config).items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return ["map", str(run.path.resolve()), *options]


def _layout(means: Float32[np.ndarray, "n used"], config: MapConfig, progress: Progress) -> np.ndarray:
    if config.method == "pca":
        return fit_pca(means, config.components)
    if config.method == "tsne":
        return fit_tsne(means, config.perplexity, config.seed, config.components, progress)
    umap = (config.neighbors, config.min_dist, config.seed, config.metric, config.components)
    return fit_umap(means, *umap, progress)


def _place_others(
    encodings: Encodings, layout: Float32[np.ndarray, "part components"], config: MapConfig, progress: Progress
) -> Float32[np.ndarray, "n components"]:
    """The places of all images, of which those of the reference were laid out, by the distance that the layout goes by."""
    part, means = (comparable(config.metric, points) for points in (encodings.reference_means, encodings.map_means))
    places = np.empty((len(means), layout.shape[1]), dtype=np.float32)
    for start in range(0, len(means), PLACED_AT_ONCE):
        progress(start, len(means))
        places[start : start + PLACED_AT_ONCE] = place(means[start : start + PLACED_AT_ONCE], part, layout)
    places[encodings.reference] = layout
    progress(len(means), len(means))
    return places


_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def _held(name: str) -> AbstractContextManager[None]:
    """The run's lock, which the first process holds for all."""
    return contextlib.nullcontext() if distributed.rank() else lock_run(name)


def _train_and_finish(run: Run, device: torch.device, report: Callable[[Event], None], tensorboard: bool, stop: Stop) -> None:
    if distributed.rank():
        _train(run, device, None, stop)
        return
    with stop.deferred():
        remove_leftovers(run.path)
        recorder = _Recorder(run, device, report, tensorboard)
    try:
        stop.check()
        report("training")
        _train(run, device, recorder, stop)
        for stage, work in (
            ("evaluating", lambda: evaluate(run, device=device, progress=stop.check)),
            ("making the map", lambda: make_map(run, default_map(run), stop.check)),
            ("preparing verdicts", lambda: make_reference(run, run.load_model(device))),
        ):
            report(stage)
            run.log(stage)
            work()
            stop.check()
        with stop.deferred():
            recorder.save("finished")
    except (Stopped, KeyboardInterrupt):
        with stop.deferred():
            recorder.save("stopped")
        raise Stopped from None
    except BaseException as error:
        # On a full disk the first complaint is the one to tell.
        with stop.deferred(), contextlib.suppress(OSError):
            recorder.save("failed", str(error) or type(error).__name__)
        raise


def _train(run: Run, device: torch.device, recorder: _Recorder | None, stop: Stop) -> None:
    """The training loop; without a recorder nothing is written. The processes agree after each event whether to stop."""
    distributed.wait()  # for the first, which may find that the run is another's
    splits = {split: load_run_data(run, split) for split in _SPLITS}
    state = _starting_state(run, device)
    with stop.deferred():
        if recorder:
            recorder.begin(state, splits["validation"])
        for event in train(state, splits["train"], splits["validation"]):
            if recorder:
                recorder.follow(event)
            stopping = distributed.any_of(stop.is_asked)
            if stopping:
                stop.obey()
            if recorder and (stopping or isinstance(event, Epoch) or recorder.state_is_old()):
                recorder.save_state()
            if stopping:
                raise Stopped
    if recorder and state.epoch < state.config.epochs:
        run.log(f"stopped early: {state.epochs_since_best} epochs without a better validation ELBO")


def _starting_state(run: Run, device: torch.device) -> TrainingState:
    stored = run.load_state()
    if stored is None:
        return new_state(run.config.model, run.config.train, device)
    try:
        return restore_state(run.config.model, run.config.train, device, *stored)
    except ValueError as error:
        raise RunError(f"{run.path / 'state'}: {error}: delete the folder to start over") from None


@torch.no_grad()
def _previews(model: VAE, validation: ImageDataset, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The first validation images decoded from their posterior means, and fixed prior samples decoded; uint8."""
    model.eval()
    device = next(model.parameters()).device
    x = to_unit(torch.tensor(validation.rows(slice(PREVIEWS)), device=device))
    prior = sample_prior(PREVIEWS, model.config.latent, generator_for(seed, "preview"))
    both = [np.asarray(model.encode(x).mean.cpu()), np.asarray(prior)]
    first, second = (np.rint(decode_images(model, z) * 255).astype(np.uint8) for z in both)
    return first, second


class _Recorder:
    """Writes what happens into the run's folder, ``status.json`` at most every `STATUS_SECONDS`, and reports it."""

    _state: TrainingState
    _validation: ImageDataset
    _curves: Curves | None = None
    _saved: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, run: Run, device: torch.device, report: Callable[[Event], None], tensorboard: bool) -> None:
        now = time.time()
        self._run, self._report, self._tensorboard = run, report, tensorboard
        self._status = Status("running", os.getpid(), now, now, epochs=run.config.train.epochs, device=str(device))
        self._written = self._state_written = -math.inf
        self.save("running")

    def begin(self, state: TrainingState, validation: ImageDataset) -> None:
        """What is followed from here on, from where ``state`` stands."""
        self._state, self._validation = state, validation
        self._saved = {"epoch": state.epoch, "step": state.step}
        self._curves = Curves(self._run.path / "tensorboard", state.step) if self._tensorboard else None
        self._run.truncate_metrics(state.epoch)
        self._status = dataclasses.replace(self._status, **self._saved)
        where = f"{state.device}, one of {distributed.world()} processes," if distributed.world() > 1 else f"{state.device}"
        self._run.log(f"training on {where} from epoch {state.epoch + 1}, step {state.step + 1}")
        self._state_written = time.monotonic()

    def follow(self, event: Step | Epoch | Note) -> None:
        """Record and report one event."""
        if isinstance(event, Step):
            fields: dict[str, Any] = {"step": event.step, "total_steps": event.total_steps, "epoch": event.epoch - 1}
        elif isinstance(event, Epoch):
            self._keep(event)
            fields = {"epoch": event.epoch}
        else:
            self._run.log(event.text)
            fields = {}
        if self._curves and not isinstance(event, Note):
            self._curves.add(event)
        self._status = dataclasses.replace(self._status, **fields)
        if time.monotonic() - self._written > STATUS_SECONDS:
            self.save("running")
        self._report(event)

    def state_is_old(self) -> bool:
        """Whether it is time to save the state within an epoch."""
        return time.monotonic() - self._state_written > STATE_SECONDS

    def save_state(self) -> None:
        """Write all that `resume` needs."""
        self._run.save_state(self._state.tensors(), self._state.progress())
        self._saved = {"epoch": self._state.epoch, "step": self._state.step}
        self._state_written = time.monotonic()

    def save(self, state: RunState, error: str | None = None) -> None:
        """Write ``status.json``; any state but ``running`` is the end."""
        if self._curves and state != "running":
            self._curves.close()
        if state == "stopped":
            self._status = dataclasses.replace(self._status, **self._saved)
            self._run.log(f"stopped; what is saved goes on from step {self._status.step + 1}")
        self._status = dataclasses.replace(self._status, state=state, updated=time.time(), error=error)
        self._run.save_status(self._status)
        self._written = time.monotonic()

    def _keep(self, epoch: Epoch) -> None:
        run, state = self._run, self._state
        run.append_metrics(dataclasses.asdict(epoch))
        run.log(
            f"epoch {epoch.epoch}: -ELBO train {-epoch.train.elbo:.2f}, validation {-epoch.validation.elbo:.2f} nats per "
            f"image, {epoch.active_units} active units, {epoch.images_per_second:,.0f} images/s"
        )
        if epoch.best:
            run.save_weights(state.serving)
        run.save_preview(epoch.epoch, *_previews(state.serving, self._validation, state.config.seed))
