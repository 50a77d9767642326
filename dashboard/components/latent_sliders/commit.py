"""What the sliders send back: checked like anything that comes from outside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

import numpy as np
from jaxtyping import Float32

from dashboard.components.latent_sliders.strips import GROUPS, Group

Action = Literal["drag", "reset", "prior", "posterior", "undo", "redo", "unfold"]
ACTIONS: tuple[Action, ...] = get_args(Action)
MAX_COUNT = 2**53
"""The largest whole number that a browser counts to exactly."""


@dataclass(frozen=True)
class SlidersCommit:
    """One thing that a person did with the sliders. The page answers it with strips of a higher generation."""

    generation: int
    """The strips it was done on."""
    sequence: int
    """The browser's number for it, to be given back with the answer."""
    action: Action
    changes: dict[int, float] = field(default_factory=dict)
    """For a drag: the new value of each dimension moved since those strips."""
    unfolded: frozenset[Group] = frozenset()
    """The groups of sliders that are open, and so need strips."""

    def moved(self, z: Float32[np.ndarray, " latent"]) -> Float32[np.ndarray, " latent"]:
        """A copy of ``z`` with the changes of a drag."""
        point = z.astype(np.float32)
        for dimension, value in self.changes.items():
            point[dimension] = value
        return point


def parse_commit(
    value: object, generation: int, low: Float32[np.ndarray, " latent"], high: Float32[np.ndarray, " latent"]
) -> SlidersCommit | None:
    """The commit, or None if it isn't one that may be followed: wrong types, a value that isn't finite or lies outside the
    slider's range, an action or a dimension that isn't there, or strips that are no longer the current ones."""
    if not isinstance(value, Mapping) or set(value) != {"generation", "sequence", "action", "changes", "unfolded"}:
        return None
    action, sequence = value["action"], value["sequence"]
    if not _is_count(value["generation"]) or value["generation"] != generation or not _is_count(sequence):
        return None
    if not isinstance(action, str) or action not in ACTIONS:
        return None
    changes, unfolded = _changes(value["changes"], low, high), _groups(value["unfolded"])
    if changes is None or unfolded is None or bool(changes) != (action == "drag"):
        return None
    return SlidersCommit(generation, sequence, action, changes, unfolded)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_COUNT


def _changes(
    value: object, low: Float32[np.ndarray, " latent"], high: Float32[np.ndarray, " latent"]
) -> dict[int, float] | None:
    """``[[dimension, value], ...]`` as a mapping, or None."""
    if not isinstance(value, list) or len(value) > len(low):
        return None
    changes: dict[int, float] = {}
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            return None
        dimension, number = pair
        if not _is_count(dimension) or dimension >= len(low) or dimension in changes:
            return None
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not -MAX_COUNT < number < MAX_COUNT:
            return None
        if not math.isfinite(number) or not low[dimension] <= np.float32(number) <= high[dimension]:
            return None
        changes[dimension] = float(number)
    return changes


def _groups(value: object) -> frozenset[Group] | None:
    if not isinstance(value, list) or len(value) > len(GROUPS) or not all(isinstance(name, str) for name in value):
        return None
    return frozenset(cast("list[Group]", value)) if set(value) <= set(GROUPS) else None
