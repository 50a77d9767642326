"""Directions in latent space: what tells two groups of images apart, how surely, and arithmetic with points.

Arrays in, arrays out. NOTE: as for a map, give these functions active dimensions only: the others carry noise.
``first`` and ``second`` are rows of ``points``; a direction leads from the first group to the second.
scikit-learn is imported when a probe is fitted and never before: it takes a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int64

RESAMPLES = 200
"""How often the groups are drawn anew to see how much a direction varies."""


def mean_difference(
    points: Float[np.ndarray, "n latent"], first: Int64[np.ndarray, " a"], second: Int64[np.ndarray, " b"]
) -> Float64[np.ndarray, " latent"]:
    """The mean of the second group minus the mean of the first; its length is the distance between the two means.

    Raises:
        ValueError: a group that is empty, shares rows with the other or names rows that aren't there, points that aren't
            finite, or means that coincide, so that there is no direction.
    """
    _check(points, first, second, 1)
    difference: np.ndarray = points[second].mean(axis=0, dtype=np.float64) - points[first].mean(axis=0, dtype=np.float64)
    if not difference.any():
        raise ValueError("the two groups have the same mean, so no direction leads from one to the other: choose other groups")
    return difference


def bootstrap_cosines(
    points: Float[np.ndarray, "n latent"],
    first: Int64[np.ndarray, " a"],
    second: Int64[np.ndarray, " b"],
    generator: torch.Generator,
    resamples: int = RESAMPLES,
) -> Float64[np.ndarray, " resamples"]:
    """The cosine between the groups' `mean_difference` and that of each resample (Efron 1979), rising: every group drawn
    anew from itself, with replacement, as large as it is. All near 1: the direction doesn't hang on a few images.

    Raises:
        ValueError: as `mean_difference`, or a group of one image, which has no spread.
    """
    _check(points, first, second, 2)
    whole = mean_difference(points, first, second)
    drawn = _resampled_means(points[second], generator, resamples) - _resampled_means(points[first], generator, resamples)
    lengths = np.linalg.norm(drawn, axis=1) * np.linalg.norm(whole)
    return np.sort(np.clip((drawn @ whole) / np.where(lengths > 0, lengths, 1.0), -1.0, 1.0))


def _resampled_means(
    group: Float[np.ndarray, "n latent"], generator: torch.Generator, resamples: int
) -> Float64[np.ndarray, "resamples latent"]:
    rows = torch.randint(len(group), (resamples, len(group)), generator=generator).numpy()
    weights = np.stack([np.bincount(draw, minlength=len(group)) for draw in rows])
    return np.asarray(weights @ group.astype(np.float64) / len(group))


def project(points: Float[np.ndarray, "n latent"], direction: Float[np.ndarray, " latent"]) -> Float64[np.ndarray, " n"]:
    """Where each point lies along the direction, in latent units: its dot product with the direction's unit vector."""
    return np.asarray(points.astype(np.float64) @ (direction / np.linalg.norm(direction)))


def percentile_along(
    queries: Float[np.ndarray, "m latent"], points: Float[np.ndarray, "n latent"], direction: Float[np.ndarray, " latent"]
) -> Float32[np.ndarray, " m"]:
    """How far along the direction each query lies, as a percentile (0 to 100) of ``points``: 50 is as far as the middle
    one, 100 is farther than all. A tie counts half."""
    return np.asarray(100 * _share_below(project(queries, direction), project(points, direction)), dtype=np.float32)


def _share_below(values: Float64[np.ndarray, " m"], reference: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " m"]:
    ranked = np.sort(reference)
    return np.asarray((np.searchsorted(ranked, values, "left") + np.searchsorted(ranked, values, "right")) / (2 * len(ranked)))


def arithmetic(
    a: Float32[np.ndarray, " latent"], b: Float32[np.ndarray, " latent"], c: Float32[np.ndarray, " latent"]
) -> Float32[np.ndarray, " latent"]:
    """``a - b + c``: what ``b`` becomes ``a`` by, done to ``c`` (Mikolov et al. 2013, there with words).

    Raises:
        ValueError: a point that isn't finite.
    """
    if not (np.isfinite(a).all() and np.isfinite(b).all() and np.isfinite(c).all()):
        raise ValueError("a, b and c must be finite")
    return np.asarray(a - b + c)


# --- how far two groups are apart ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear probe: logistic regression that tells the second group from the first, either group weighted as one."""

    weights: Float64[np.ndarray, " latent"]
    intercept: float

    def probability(self, points: Float[np.ndarray, "n latent"]) -> Float64[np.ndarray, " n"]:
        """``P(second group | z)`` of each point, if both groups were equally frequent."""
        score = points.astype(np.float64) @ self.weights + self.intercept
        return np.asarray(0.5 * (1 + np.tanh(0.5 * score)))


@dataclass(frozen=True)
class Separation:
    """How well two groups are told apart, measured on images that nothing was fitted to. Accuracies are the mean of both
    groups' shares of right answers, so 0.5 is guessing, whatever the groups' sizes."""

    accuracy: float
    """Of one threshold along the mean difference."""
    auc: float
    """The chance that an image of the second group lies farther along the mean difference than one of the first."""
    probe_accuracy: float
    """Of a `Probe`, which may use another direction."""
    tested: tuple[int, int]
    """How many images of each group it was measured on; the other half was fitted to."""


def fit_probe(points: Float[np.ndarray, "n latent"], first: Int64[np.ndarray, " a"], second: Int64[np.ndarray, " b"]) -> Probe:
    """The linear probe of two groups: L2-penalised logistic regression (scikit-learn, C = 1).

    Raises:
        ValueError: as `mean_difference`, or a group of one image.
    """
    _check(points, first, second, 2)
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([first, second])
    fitted = LogisticRegression(class_weight="balanced", max_iter=1000).fit(
        points[rows].astype(np.float64), np.arange(len(rows)) >= len(first)
    )
    return Probe(np.asarray(fitted.coef_[0], dtype=np.float64), float(fitted.intercept_[0]))


def separation(
    points: Float[np.ndarray, "n latent"],
    first: Int64[np.ndarray, " a"],
    second: Int64[np.ndarray, " b"],
    generator: torch.Generator,
) -> Separation:
    """How far the groups are apart. Either group is halved at random: direction, threshold and probe come from one half,
    the numbers from the other.

    Raises:
        ValueError: as `mean_difference`, a group of under 4 images, or halves whose means coincide.
    """
    _check(points, first, second, 4)
    (fit_first, test_first), (fit_second, test_second) = (_halves(group, generator) for group in (first, second))
    direction = mean_difference(points, fit_first, fit_second)
    threshold = best_threshold(project(points[fit_first], direction), project(points[fit_second], direction))
    low, high = project(points[test_first], direction), project(points[test_second], direction)
    probe = fit_probe(points, fit_first, fit_second)
    wrong, right = probe.probability(points[test_first]) > 0.5, probe.probability(points[test_second]) > 0.5
    return Separation(
        accuracy=float(((low <= threshold).mean() + (high > threshold).mean()) / 2),
        auc=float(_share_below(high, low).mean()),
        probe_accuracy=float((1 - wrong.mean() + right.mean()) / 2),
        tested=(len(test_first), len(test_second)),
    )


def best_threshold(low: Float64[np.ndarray, " a"], high: Float64[np.ndarray, " b"]) -> float:
    """Where to cut so that the mean of two shares is largest: of ``low`` at or below the cut, of ``high`` above it. It lies
    half way between two values; of equally good cuts the lowest."""
    values = np.unique(np.concatenate([low, high]))
    cuts = np.concatenate([[values[0] - 1.0], (values[:-1] + values[1:]) / 2])
    below = np.searchsorted(np.sort(low), cuts, "right") / len(low)
    above = 1 - np.searchsorted(np.sort(high), cuts, "right") / len(high)
    return float(cuts[np.argmax(below + above)])


def _halves(group: Int64[np.ndarray, " n"], generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
    mixed = group[torch.randperm(len(group), generator=generator).numpy()]
    middle = (len(mixed) + 1) // 2
    return mixed[:middle], mixed[middle:]


def _check(points: np.ndarray, first: np.ndarray, second: np.ndarray, least: int) -> None:
    for name, group in (("first", first), ("second", second)):
        if len(group) < least:
            needed = "an image" if least == 1 else f"{least} images"
            raise ValueError(f"the {name} group needs at least {needed}, got {len(group)}: choose a larger one")
        if len(np.unique(group)) != len(group) or not 0 <= group.min() <= group.max() < len(points):
            raise ValueError(f"the {name} group must hold different rows from 0 to {len(points) - 1:,}")
        if not np.isfinite(points[group]).all():
            raise ValueError(f"the {name} group holds points that aren't finite")
    shared = np.intersect1d(first, second)
    if len(shared):
        images = "1 image" if len(shared) == 1 else f"{len(shared):,} images"
        raise ValueError(f"the groups share {images}, row {shared[0]} among them: choose groups that share none")
