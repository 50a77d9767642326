"""A verdict on an image: is it like the data that the model was trained on?

Each signal (`vae.signals`) gives a conformal p-value: the share of validation images that are at least as odd. The smallest
of them decides, and what "smallest of seven" is worth is read off the validation images too: the share of them whose own
smallest is as small (Westfall & Young 1993; Vovk, Gammerman & Shafer 2005). That corrects for using several signals, and, as
they go together, costs less than Bonferroni's seven times.

If an image comes from where the validation images came from, the chance that its ``p`` is at most ``a`` is at most ``a``,
whatever the model and the signals are. (The rank of a validation image is taken among the validation images alone. With the
new image among them too it could only grow, and then all would be exchangeable: so ``p`` errs upwards, by ranks of one.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from vae.signals import SIGNALS, Neighbourhood

Level = Literal["none", "like", "unusual", "unlike"]
UNUSUAL, UNLIKE = 0.05, 0.005
"""The nominal false-alarm rates: the share of images like the training data that are called at least "unusual", "unlike"."""
WORDS: dict[Level, str] = {
    "none": "no verdict",
    "like": "like the training data",
    "unusual": "unusual",
    "unlike": "unlike anything it was trained on",
}
Values = Float32[np.ndarray, "n signals"]


@dataclass(frozen=True, eq=False)
class Reference:
    """What verdicts are taken against: the signals of the validation images, and where the training images are encoded."""

    around: Neighbourhood
    validation: Values

    @cached_property
    def _sorted(self) -> Values:
        return np.sort(self.validation, axis=0)

    @cached_property
    def _least(self) -> Int64[np.ndarray, " n"]:
        """The smallest count of each validation image, rising."""
        return np.sort(self._counts(self.validation).min(axis=1))

    def __len__(self) -> int:
        return len(self.validation)

    def _counts(self, values: Values, own: int = 0) -> Int64[np.ndarray, "n signals"]:
        """How many validation images are at least as odd, in each signal; ``own`` is 1 for an image that is none of them.
        Where both sides are odd it is twice the number of the rarer side."""
        ordered = self._sorted
        counts = np.empty(values.shape, dtype=np.int64)
        for column, signal in enumerate(SIGNALS):
            above = len(ordered) - np.searchsorted(ordered[:, column], values[:, column], "left") + own
            below = np.searchsorted(ordered[:, column], values[:, column], "right") + own
            counts[:, column] = 2 * np.minimum(above, below) if signal.two_sided else above
        return counts

    def own_p(self, values: Values) -> Float64[np.ndarray, "n signals"]:
        """The p-value of each signal by itself, uncorrected."""
        return np.minimum(1.0, self._counts(values, 1) / (len(self) + 1))

    def p(self, values: Values) -> Float64[np.ndarray, " n"]:
        """The p-value of all signals together."""
        return self._p_of(self._counts(values, 1).min(axis=1))

    def _p_of(self, smallest: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """The p-value of all signals together, of the smallest count among them."""
        return np.asarray((1 + np.searchsorted(self._least, smallest, "right")) / (len(self) + 1))

    def percentiles(self, values: Values) -> Float64[np.ndarray, "n signals"]:
        """The share of validation images below each value, in percent; a tie counts half."""
        ordered = self._sorted
        columns = [
            np.searchsorted(ordered[:, column], values[:, column], "left")
            + np.searchsorted(ordered[:, column], values[:, column], "right")
            for column in range(values.shape[1])
        ]
        return np.asarray(np.stack(columns, axis=1) * (50.0 / len(self)))

    def judge(self, values: Float32[np.ndarray, " signals"]) -> Verdict:
        """The verdict on one image, from its signals."""
        row = values[None]
        return Verdict(
            values,
            self.percentiles(row)[0],
            self.own_p(row)[0],
            float(self.p(row)[0]),
            self._p_of(np.array([2]))[0],
            len(self),
            int(self.flags(row)[0]),
        )

    def flags(self, values: Values) -> Int64[np.ndarray, " n"]:
        """0, 1 or 2 for each image: like, unusual, unlike."""
        p = self.p(values)
        return np.asarray((p <= UNUSUAL).astype(np.int64) + (p <= UNLIKE))


@dataclass(frozen=True, eq=False)
class Verdict:
    """What is said of an image, and what it rests on. Arrays have an entry for each of `SIGNALS`."""

    values: Float32[np.ndarray, " signals"]
    percentiles: Float64[np.ndarray, " signals"]
    """Among the validation images, 0 to 100."""
    own_p: Float64[np.ndarray, " signals"]
    """The p-value of each signal by itself."""
    p: float
    """That of all together."""
    extreme_p: float
    """What it is for an image that is more extreme in some signal than every validation image: no verdict is surer."""
    images: int
    """How many validation images it was taken against."""
    flag: int

    @property
    def level(self) -> Level:
        """How odd the image is; ``none`` where the validation images are too few to tell."""
        if self.extreme_p > UNUSUAL:
            return "none"
        levels: tuple[Level, ...] = ("like", "unusual", "unlike")
        return levels[self.flag]

    @property
    def words(self) -> str:
        """The level in words."""
        return WORDS[self.level]

    @property
    def deciding(self) -> int:
        """The signal that it rests on: the one with the smallest p-value."""
        return int(np.argmin(self.own_p))

    @property
    def odd(self) -> Bool[np.ndarray, " signals"]:
        """The signals that are out of the ordinary by themselves: p at most `UNUSUAL`."""
        return np.asarray(self.own_p <= UNUSUAL)

    @property
    def sentence(self) -> str:
        """The verdict in one or two plain sentences: the words, the signal it rests on, and whether the others agree."""
        if self.level == "none":
            return (
                f"No verdict: {self.images:,} validation images are too few to tell what is unusual. "
                f"The oddest signal: {self.stands(self.deciding)}."
            )
        together = f"p = {self.p:.2g} for all {len(SIGNALS)} signals together"
        if self.flag == 0:
            odd = [SIGNALS[index].title for index in np.flatnonzero(self.odd)]
            alone = f" By itself, {_listed(odd)} would have raised a false alarm." if odd else ""
            return f"Like the training data: no signal is out of the ordinary ({together}).{alone}"
        calm = [SIGNALS[index].title for index in np.flatnonzero(~self.odd)]
        others = f"The signals disagree: {_listed(calm)} alone would not have told." if calm else "All signals agree."
        if self.p <= self.extreme_p > UNLIKE:
            others += f" More than that can't be told from {self.images:,} validation images."
        return f"{self.words.capitalize()}: {self.stands(self.deciding)} ({together}). {others}"

    def stands(self, index: int) -> str:
        """Where a signal of this image lies among the validation images, in words."""
        signal, percentile = SIGNALS[index], self.percentiles[index]
        share, comparison = (percentile, "higher") if percentile >= 50 else (100 - percentile, "lower")
        of_whom = "any validation image" if share >= 100 else f"{np.floor(share * 10) / 10:g} % of the validation images"
        return f"its {signal.title} ({self.values[index]:.3g} {signal.unit}) is {comparison} than that of {of_whom}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


@dataclass(frozen=True)
class Rate:
    """How many of some images were flagged, beside how many would be expected of images like the training data."""

    name: str
    images: int
    unusual: float
    """The share called "unusual" or worse."""
    unlike: float
    """The share called "unlike anything it was trained on"."""


def rate(name: str, reference: Reference, values: Values) -> Rate:
    """The rates at which images are flagged."""
    flags = reference.flags(values)
    return Rate(name, len(flags), float((flags > 0).mean()), float((flags > 1).mean()))


def rate_error(nominal: float, images: int, validation: int) -> float:
    """The standard error of a false-alarm rate measured on ``images``, with a threshold set on ``validation`` others: the
    binomial error of both, ``sqrt(a (1 - a) (1/m + 1/n))``."""
    return float(np.sqrt(nominal * (1 - nominal) * (1 / images + 1 / validation)))
