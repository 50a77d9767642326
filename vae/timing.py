"""How fast a model trains on a device: a few steps, timed. ``python -m vae.timing`` does it in a process of its own.

It reads a JSON object from its input (``model``, ``train``, ``device``) and prints one (``images_per_second`` or ``error``).
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time

import numpy as np
import torch

from vae.config import ConfigError, ModelConfig, TrainConfig, from_json
from vae.data import make_dataset
from vae.device import DeviceError, choose_device
from vae.train import Epoch, new_state, train

SECONDS = 2.0
MAX_BYTES = 2**29


def training_speed(model: ModelConfig, config: TrainConfig, device: torch.device, seconds: float = SECONDS) -> float:
    """Images a second in gradient steps on random images of the model's shape, after a first pass that is not counted.

    Validation, pictures and saving come on top in a real training.

    Raises:
        ConfigError: a model or a batch that is too large.
        FloatingPointError: the loss is no longer finite.
    """
    count = 2 * config.batch_size
    size = count * int(np.prod(model.image_shape))
    if size > MAX_BYTES:
        raise ConfigError(f"batch_size must be smaller to be timed: two batches of these images take {size:,} bytes")
    images = np.random.default_rng(0).integers(0, 256, (count, *model.image_shape), np.uint8)
    endless = dataclasses.replace(config, epochs=100_000)
    state = new_state(model, endless, device)
    done = spent = 0.0
    started = time.perf_counter()
    for event in train(state, make_dataset(images), make_dataset(images[:1].copy())):
        if not isinstance(event, Epoch) or event.epoch == 1:
            continue
        done, spent = done + count, spent + event.seconds
        if time.perf_counter() - started > seconds:
            break
    return done / spent


def main() -> int:
    """Time what the input asks for; 0, or 2 with the reason as ``error``."""
    try:
        asked = json.load(sys.stdin)
        model, config = from_json(ModelConfig, asked["model"]), from_json(TrainConfig, asked["train"])
        answer = {"images_per_second": training_speed(model, config, choose_device(asked["device"]))}
    except (ConfigError, DeviceError, FloatingPointError, MemoryError, RuntimeError) as error:
        print(json.dumps({"error": str(error) or type(error).__name__}))
        return 2
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
