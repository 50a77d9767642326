"""What a training has measured so far, as arrays: ``metrics.jsonl`` with every number checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from vae.runs import Run

COLLAPSED_KL = 0.1
"""Nats: a model whose KL term is below this on validation images encodes next to nothing."""


@dataclass(frozen=True, eq=False)
class History:
    """The epochs of a run, oldest first. Means in nats per image, of which lower is better; one sample of z."""

    epoch: Int64[np.ndarray, " n"]
    seconds: Float64[np.ndarray, " n"]
    """Since the beginning, in gradient steps alone: validation, pictures and pauses are not in it."""
    train: Float64[np.ndarray, "n 3"]
    """-ELBO, -E[log p(x|z)] and KL on the training images, averaged over the epoch while the weights changed."""
    validation: Float64[np.ndarray, "n 3"]
    """The same on the validation images, after the epoch."""
    kl_per_dimension: Float64[np.ndarray, "n latent"]
    """On the validation images."""
    active_units: Int64[np.ndarray, " n"]
    images_per_second: Float64[np.ndarray, " n"]
    learning_rate: Float64[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.epoch)

    @property
    def best(self) -> int:
        """The index of the epoch with the lowest validation -ELBO, whose weights serve."""
        return int(np.argmin(self.validation[:, 0]))

    @property
    def is_collapsed(self) -> bool:
        """Whether, after the last epoch, the posterior is the prior for every image, or nearly so: KL below `COLLAPSED_KL`
        nats, or no dimension whose posterior mean varies."""
        return len(self) > 0 and bool(self.validation[-1, 2] < COLLAPSED_KL or self.active_units[-1] == 0)


def read_history(run: Run) -> History:
    """The epochs of a run. A line that lacks a number, or has one that isn't finite, is passed over; so is an epoch that comes
    twice."""
    latent, rows = run.config.model.latent, dict[int, list[float]]()
    for line in run.metrics():
        row = _row(line, latent)
        if row is not None:
            rows.setdefault(line["epoch"], row)
    table = np.array([rows[epoch] for epoch in sorted(rows)], np.float64).reshape(len(rows), 10 + latent)
    return History(
        epoch=np.array(sorted(rows), np.int64),
        seconds=np.cumsum(table[:, 0]),
        train=table[:, 1:4],
        validation=table[:, 4:7],
        kl_per_dimension=table[:, 10:],
        active_units=table[:, 7].astype(np.int64),
        images_per_second=table[:, 8],
        learning_rate=table[:, 9],
    )


def _row(line: Mapping[str, Any], latent: int) -> list[float] | None:
    try:
        means = [[-line[split]["elbo"], -line[split]["reconstruction"], line[split]["kl"]] for split in ("train", "validation")]
        numbers = [
            line["seconds"],
            *means[0],
            *means[1],
            line["active_units"],
            line["images_per_second"],
            line["learning_rate"],
        ]
        numbers += line["kl_per_dimension"]
        row = [float(number) for number in numbers]
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    is_sound = all(math.isfinite(number) and abs(number) < 1e300 for number in row)
    return row if is_sound and len(row) == 10 + latent and 0 < line["epoch"] < 2**31 and 0 <= row[7] <= latent else None
