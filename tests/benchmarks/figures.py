"""What every benchmark gives: a `Figure`, a measured value beside its baseline, of the same run, and its target."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Statistic = Literal["once", "median", "p95", "mean", "most"]
"""What a value is of the ``n`` that were measured; ``p95`` is the nearest rank."""


@dataclass(frozen=True)
class Figure:
    """One measured value.

    Raises:
        ValueError: a value that isn't finite, or a baseline, or a target for the ratio to it, of which only a part is given.
    """

    name: str
    unit: str
    value: float
    n: int = 1
    statistic: Statistic = "once"
    baseline: str = ""
    """What it is compared with; measured in the same run, in the same unit, as the same statistic."""
    baseline_value: float | None = None
    better: Literal["lower", "higher"] = "lower"
    """Which values are the better ones: lower for times, higher for rates."""
    target: float | None = None
    """What the value should reach."""
    target_ratio: float | None = None
    """What `ratio` should reach."""
    note: str = ""
    """What one must know to read it."""

    def __post_init__(self) -> None:
        numbers = (self.value, self.baseline_value, self.target, self.target_ratio)
        if not all(number is None or math.isfinite(number) for number in numbers):
            raise ValueError(f"{self.name}: a number isn't finite: {numbers}")
        if bool(self.baseline) != (self.baseline_value is not None) or (self.target_ratio is not None and not self.baseline):
            raise ValueError(f"{self.name}: a baseline needs a name and a value, and a target for the ratio needs a baseline")

    @property
    def ratio(self) -> float | None:
        """How many times better than the baseline: above 1 is better, whichever way the unit counts."""
        if self.baseline_value is None:
            return None
        above, below = (self.baseline_value, self.value) if self.better == "lower" else (self.value, self.baseline_value)
        return above / below if below else None

    @property
    def met(self) -> bool | None:
        """Whether every target is reached; None where there is none."""
        reached = []
        if self.target is not None:
            reached.append(self.value <= self.target if self.better == "lower" else self.value >= self.target)
        if self.target_ratio is not None:
            reached.append(self.ratio is not None and self.ratio >= self.target_ratio)
        return all(reached) if reached else None


def statistic_of(values: Sequence[float], statistic: Statistic) -> float:
    """That statistic of the measured values."""
    if statistic == "p95":
        return sorted(values)[max(0, math.ceil(0.95 * len(values)) - 1)]
    if statistic == "median":
        return float(statistics.median(values))
    if statistic == "mean":
        return statistics.fmean(values)
    if statistic == "once" and len(values) != 1:
        raise ValueError(f"once means one value, got {len(values)}")
    return max(values)


def measured(
    name: str,
    unit: str,
    values: Sequence[float],
    statistic: Statistic = "median",
    beside: tuple[str, Sequence[float]] | None = None,
    **rest: Any,
) -> Figure:
    """The figure of some measured values, ``beside`` the baseline's name and values, of the same run; ``rest`` as `Figure`."""
    if beside:
        rest |= {"baseline": beside[0], "baseline_value": statistic_of(beside[1], statistic)}
    return Figure(name, unit, statistic_of(values, statistic), len(values), statistic, **rest)
