"""What verdicts need beside the run, loaded once for all visitors, and one image looked at with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st
from jaxtyping import Float32, Int64, UInt8

from dashboard.resources import LoadedRun
from vae import DataError, ImageDataset, RunError, generator_for, load_run_data, sample_prior
from vae.judging import find_reference
from vae.signals import Measured, SignalError, measure
from vae.verdict import Reference, Verdict

CLOUD = 100
"""Samples of q(z|x) that are placed on the map."""


@dataclass(frozen=True, eq=False)
class Examined:
    """One image, judged."""

    verdict: Verdict
    measured: Measured
    cloud: Float32[np.ndarray, "samples latent"]
    """`CLOUD` samples of q(z|x), the same whenever the same image is looked at."""
    nearest: Int64[np.ndarray, " count"]
    """The rows of the nearest training images, nearest first."""
    distances: Float32[np.ndarray, " count"]


@dataclass(frozen=True, eq=False)
class Judge:
    """A run's reference, and the training images that it names."""

    reference: Reference
    training: ImageDataset

    def examine(self, loaded: LoadedRun, pixels: UInt8[np.ndarray, "channels height width"]) -> Examined:
        """The verdict on an image of the model's shape, and what is shown beside it.

        Raises:
            SignalError: the model's answer isn't finite.
        """
        with loaded.lock:
            measured = measure(loaded.model, pixels[None], self.reference.around)
        mean, std = measured.mean[0], np.exp(measured.logvar[0] / 2)
        noise = np.asarray(sample_prior(CLOUD, len(mean), generator_for(1, "view")))
        rows, distances = self.reference.around.nearest(measured.mean)
        verdict = self.reference.judge(measured.values[0])
        return Examined(verdict, measured, mean + std * noise, rows[0], distances[0])


def load_judge(loaded: LoadedRun) -> Judge | str:
    """What verdicts of a run need, or a sentence that says why there is none.

    The reference is kept with the run; where it isn't there, or is of other weights, it is made now.
    """
    try:
        return _load(str(loaded.run.path), loaded.weights_digest, loaded)
    except (DataError, RunError, SignalError) as error:
        return f"There can be no verdict: {error}"
    except OSError as error:
        return f"There can be no verdict: {loaded.run.path}: can't be written ({error.strerror})."


@st.cache_resource(
    max_entries=4, show_spinner="Preparing verdicts: measuring the validation images. Once for a run; up to a minute"
)
def _load(path: str, weights: str, _loaded: LoadedRun) -> Judge:
    del path, weights  # the cache's key
    reference = find_reference(_loaded.run, _loaded.model)
    training = load_run_data(_loaded.run, "train")
    if reference.around.rows.max() >= len(training):
        raise RunError(
            f"{_loaded.run.path / 'reference.npz'}: names training images that aren't there: "
            f"remake it with 'python -m vae verdict {_loaded.run.name}'"
        )
    return Judge(reference, training)
