"""The verdicts of a run: the reference they are taken against, made once and kept with it, and how often they are wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from vae.data import ImageDataset
from vae.device import generator_for
from vae.encodings import ACTIVE_VARIANCE
from vae.evaluate import load_run_data
from vae.model import VAE
from vae.probes import PROBES
from vae.runs import Run, RunError
from vae.signals import SIGNALS, Neighbourhood, encode_means, measure
from vae.verdict import UNLIKE, UNUSUAL, Rate, Reference, rate, rate_error

MOST_TRAINING, MOST_JUDGED = 60_000, 10_000
"""How many training images distances are measured to, and how many validation or test images are judged, at most: of larger
splits a part is drawn with a fixed seed."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class VerdictReport:
    """How verdicts do: on the test split, where every flag is a false alarm, and on images of other kinds."""

    test: Rate
    others: tuple[Rate, ...]
    validation_images: int

    def table(self) -> str:
        """The rates as text, those on the test split beside the nominal ones."""
        test, validation = self.test, self.validation_images
        lines = [
            f"share of images flagged, thresholds set on {validation:,} validation images",
            f"  {'':26}{'images':>7}{'unusual or worse':>20}{'unlike anything':>20}",
            f"  {'nominal false-alarm rate':26}{'':7}{100 * UNUSUAL:>18.2f} %{100 * UNLIKE:>18.2f} %",
        ]
        errors = [f"{100 * rate_error(nominal, test.images, validation):.2f}" for nominal in (UNUSUAL, UNLIKE)]
        lines.append(
            f"  {test.name:26}{test.images:>7,}{f'{100 * test.unusual:.2f} ± {errors[0]}':>18} %"
            f"{f'{100 * test.unlike:.2f} ± {errors[1]}':>18} %"
        )
        for other in self.others:
            lines.append(f"  {other.name:26}{other.images:>7,}{100 * other.unusual:>18.1f} %{100 * other.unlike:>18.1f} %")
        note = (
            "± is the standard error expected at the nominal rate: binomial, of the images judged and of the validation images"
        )
        return "\n".join([*lines, note])


def _drawn(count: int, most: int) -> np.ndarray:
    """All rows, or ``most`` of them drawn without replacement; ascending."""
    if count <= most:
        return np.arange(count)
    return np.sort(torch.randperm(count, generator=generator_for(0, "verdict", 1))[:most].numpy())


def make_reference(run: Run, model: VAE, progress: Progress = lambda *_: None) -> Reference:
    """Encode the training images, measure the validation images, and keep both with the run.

    Raises:
        RunError, DataError: the run, or the data it was trained on, can't be used.
        SignalError: the model's answer to a validation image isn't finite.
    """
    training, validation = load_run_data(run, "train"), load_run_data(run, "validation")
    rows = _drawn(len(training), MOST_TRAINING)
    means = encode_means(
        model,
        lambda some: training.rows(rows[some]),
        len(rows),
        lambda done, total: progress("encoding the training images", done, total),
    )
    active = np.flatnonzero(means.astype(np.float64).var(axis=0) > ACTIVE_VARIANCE)
    dimensions = active if len(active) else np.arange(means.shape[1])
    around = Neighbourhood(rows, _halved(means[:, dimensions]), dimensions)
    values = _values(model, validation, around, "measuring the validation images", progress)
    run.save_reference({"rows": rows, "means": around.means.astype(np.float16), "dimensions": dimensions, "validation": values})
    return Reference(around, values)


def _halved(means: np.ndarray) -> np.ndarray:
    """Rounded to half precision, as they are kept: the same distances before and after."""
    return means.astype(np.float16).astype(np.float32)


def load_reference(run: Run) -> Reference:
    """The reference that is kept with a run.

    Raises:
        RunError: there is none, it is cut or foreign, or made from other weights or data.
    """
    arrays = run.load_reference()
    latent = run.config.model.latent
    try:
        rows, means, dimensions, values = (arrays[name] for name in ("rows", "means", "dimensions", "validation"))
        shapes = means.shape == (len(rows), len(dimensions)) and values.ndim == 2 and values.shape[1] == len(SIGNALS)
        kinds = [array.dtype.name for array in (rows, means, dimensions, values)] == ["int64", "float16", "int64", "float32"]
        if not shapes or not kinds or 0 in (*means.shape, *values.shape) or rows.ndim != 1:
            raise ValueError("arrays of other shapes or types than a reference has")
        if not np.isfinite(means).all() or not np.isfinite(values).all():
            raise ValueError("values that are not finite")
        if rows.min() < 0 or dimensions.min() < 0 or dimensions.max() >= latent:
            raise ValueError("rows or dimensions that can't be")
    except (KeyError, ValueError) as error:
        raise RunError(
            f"{run.path / 'reference.npz'}: expected what verdicts are taken against, found {error}: "
            f"remake it with 'python -m vae verdict {run.name}'"
        ) from None
    return Reference(Neighbourhood(rows, means.astype(np.float32), dimensions), values)


def find_reference(run: Run, model: VAE, progress: Progress = lambda *_: None) -> Reference:
    """The reference that is kept with a run, or a new one where there is none that can be used.

    Raises:
        RunError, DataError, SignalError: as `make_reference`.
    """
    try:
        return load_reference(run)
    except RunError:
        return make_reference(run, model, progress)


def report_verdicts(run: Run, model: VAE, progress: Progress = lambda *_: None) -> VerdictReport:
    """The false-alarm rate on the test split, and how many images of each kind in `vae.probes` are flagged.

    Raises:
        RunError, DataError, SignalError: as `make_reference`.
    """
    reference, test = find_reference(run, model, progress), load_run_data(run, "test")
    values = _values(model, test, reference.around, "measuring the test images", progress)
    sample = test.rows(_drawn(len(test), 1000))
    others = []
    for number, (name, make) in enumerate(PROBES.items()):
        progress("measuring other images", number, len(PROBES))
        others.append(rate(name, reference, measure(model, make(sample), reference.around).values))
    return VerdictReport(rate("test images", reference, values), tuple(others), len(reference))


def _values(model: VAE, data: ImageDataset, around: Neighbourhood, stage: str, progress: Progress) -> np.ndarray:
    """The signals of a split, a thousand images at a time: mapped images need not fit into memory."""
    rows, found = _drawn(len(data), MOST_JUDGED), []
    for start in range(0, len(rows), 1000):
        found.append(measure(model, data.rows(rows[start : start + 1000]), around).values)
        progress(stage, min(start + 1000, len(rows)), len(rows))
    return np.concatenate(found)
