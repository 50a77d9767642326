"""How long a training will take on this machine: from a run that trained the same model, or from a few steps, timed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import streamlit as st

from vae import ModelConfig, RunError, TrainConfig, list_runs, open_run, read_history
from vae.config import to_json

SPEED_FIELDS = ("batch_size", "optimizer", "precision", "channels_last", "compile", "ema_decay")
"""What changes the speed of a gradient step, of those that there are."""
TIMEOUT = 180


class EstimateError(ValueError):
    """A speed that can't be measured; the message says why."""


@dataclass(frozen=True)
class Speed:
    """Images a second in gradient steps, and where the number comes from, in words."""

    images_per_second: float
    source: str


def earlier_speed(model: ModelConfig, config: TrainConfig, device: str) -> Speed | None:
    """The median speed of the latest run that trained this very model in such batches on a device of that kind."""
    kind = device.partition(":")[0]
    for name in list_runs():
        try:
            run = open_run(name)
        except RunError:
            continue
        status = run.status()
        if run.config.model != model or status is None or status.device.partition(":")[0] != kind:
            continue
        if any(getattr(run.config.train, field, None) != getattr(config, field, None) for field in SPEED_FIELDS):
            continue
        history = read_history(run)
        speed = float(np.median(history.images_per_second)) if len(history) else 0.0
        if speed > 0:
            return Speed(speed, f"run {name} trained the same model on {status.device}, perhaps another machine's")
    return None


@st.cache_data(max_entries=64, show_spinner="Timing a few training steps")
def measured_speed(model: ModelConfig, config: TrainConfig, device: str) -> Speed:
    """Some seconds of training on random images in a process of its own. Kept: asked again, it answers at once.

    Raises:
        EstimateError: it can't be done.
    """
    asked = json.dumps({"model": to_json(model), "train": to_json(config), "device": device})
    command = [sys.executable, "-m", "vae.timing"]
    try:
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        answer = json.loads(done.stdout.strip().splitlines()[-1])
        if "error" in answer:
            raise EstimateError(str(answer["error"]))
        return Speed(float(answer["images_per_second"]), "timed here on random images, just now")
    except subprocess.TimeoutExpired:
        raise EstimateError(f"two batches took more than {TIMEOUT} s") from None
    except (OSError, IndexError, KeyError, ValueError) as error:
        if isinstance(error, EstimateError):
            raise
        raise EstimateError("the process that times ended without an answer, perhaps for want of memory") from None


def duration_text(seconds: float) -> str:
    """A length of time as people say it, rounded up."""
    whole = max(0, int(-(-seconds // 1)))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02} min"
