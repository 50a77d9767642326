"""More images than the map draws one by one, made so that a test knows where each lies and what it shows."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64, UInt8

COUNT = 120_000
FEW = 20_000
"""Of the second class; the map draws so many one by one."""
ALONE = COUNT - 1
"""The row that stands apart from all others, in a class of its own."""
MIDDLES = ((0.0, 0.0), (8.0, 0.0), (4.0, 4.0))


def crowd() -> tuple[Float32[np.ndarray, "n 2"], UInt8[np.ndarray, "n 1 8 8"], Int64[np.ndarray, " n"]]:
    """Where they lie, what they show (their row, in the first three pixels) and their class."""
    rows = np.arange(COUNT)
    labels = np.where(rows < ALONE, np.where(rows < COUNT - 1 - FEW, 0, 1), 2)
    spread = np.array([1.0, 0.5, 0.0])[labels][:, None]
    places = np.array(MIDDLES)[labels] + spread * np.random.default_rng(0).normal(size=(COUNT, 2))
    images = np.zeros((COUNT, 1, 8, 8), dtype=np.uint8)
    images[:, 0, 0, :3] = np.stack([rows >> 16, rows >> 8 & 255, rows & 255], axis=1)
    return places.astype(np.float32), images, labels.astype(np.int64)
