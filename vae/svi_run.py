"""A run whose decoder was trained by stochastic variational inference: its folder, evaluation and map."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable

import numpy as np
import torch

from vae.config import ModelConfig, TrainConfig
from vae.data import Split, load_dataset
from vae.evaluate import evaluate
from vae.fit import default_map, make_map
from vae.judging import make_reference
from vae.model import build_model
from vae.runs import Run, RunConfig, Status, create_run, lock_run
from vae.stopping import stop_on_signal
from vae.svi_training import SviConfig, SviEpoch, train_svi

_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def fit_svi(
    name: str,
    dataset: str,
    model_config: ModelConfig,
    config: SviConfig,
    images: int,
    device: torch.device,
    report: Callable[[SviEpoch], None] = lambda _: None,
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Train a new run on the first ``images`` training images by `train_svi`, then evaluate it and make its map.

    Interrupted, it keeps the weights of its last whole epoch; it can't be resumed.

    Raises:
        RunError: the name is taken or held by another process, or the folder can't be written.
        DataError: the data set can't be read.
        ConfigError: the model would be too large.
    """
    model = build_model(model_config, config.seed).to(device)
    splits = {split: load_dataset(dataset, split) for split in _SPLITS}
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    trained = TrainConfig(
        epochs=config.epochs,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        schedule="constant",
        precision="fp32",
        channels_last=False,
        seed=config.seed,
    )
    digests = {str(split): data.digest for split, data in splits.items()}
    started = time.time()
    with lock_run(name), stop_on_signal() as stop:
        run = create_run(name, RunConfig(model_config, trained, f"svi-{config.svi_steps}", dataset, digests, versions))

        def save(state: str, epoch: int, error: str | None = None) -> None:
            fields = {"epoch": epoch, "epochs": config.epochs, "device": str(device), "error": error}
            run.save_status(Status(state, os.getpid(), started, time.time(), **fields))  # type: ignore[arg-type]

        done = 0
        save("running", done)
        try:
            for event in train_svi(model, splits["train"].rows(slice(images)), config, progress):
                done = event.epoch
                run.save_weights(model)
                run.log(
                    f"epoch {done}: -ELBO {-event.elbo:.2f} (own q), {-event.encoder_elbo:.2f} (encoder) nats per image, "
                    f"mean over {min(images, len(splits['train'])):,} training images"
                )
                save("running", done)
                report(event)
            evaluate(run, device=device, progress=stop.check)
            make_map(run, default_map(run), stop.check)
            make_reference(run, run.load_model(device))
            save("finished", done)
        except KeyboardInterrupt:
            save("stopped", done)
            raise
        except BaseException as error:
            save("failed", done, str(error) or type(error).__name__)
            raise
    return run
