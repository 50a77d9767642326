"""How good a run is: the ELBO and its parts on the test set, each number with its unit and its sample count."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from vae.data import DataError, ImageDataset, Split, load_dataset
from vae.device import generator_for, images_at_once, to_unit
from vae.encodings import Encodings
from vae.likelihood import Bernoulli
from vae.model import VAE
from vae.objective import elbo
from vae.runs import Run

BATCH = 500
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Report:
    """One evaluation of a run. Every value is a mean over ``examples``; signs are such that ``elbo = reconstruction - kl``."""

    elbo: float
    """Mean ELBO: higher is better, ``-elbo`` is what is usually tabulated."""
    elbo_standard_error: float
    """The standard error of that mean over the examples."""
    reconstruction: float
    """Mean of ``E_q[log p(x|z)]``, summed over pixels."""
    kl: float
    """Mean of ``KL(q(z|x) || p(z))``, summed over latent dimensions, closed form."""
    kl_per_dimension: list[float]
    """The same for each latent dimension."""
    active_units: int
    """Latent dimensions whose posterior mean has a variance above 0.01."""
    entropy_floor: float | None
    """Mean pixel entropy: ``-elbo`` can't be below it (Bernoulli only, else null)."""
    examples: int
    samples: int
    """Draws of z per example."""
    seed: int
    split: Literal["test"]
    dataset: str
    likelihood: str
    weights_digest: str
    unit: Literal["nats per image"] = "nats per image"

    @property
    def setting(self) -> str:
        """What tells this report from one with other sample counts."""
        return f"samples={self.samples},seed={self.seed}"


@torch.no_grad()
def encode_images(
    model: VAE,
    images: UInt8[np.ndarray, "n channels height width"],
    samples: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Encodings:
    """q(z|x) and the ELBO terms of each image, in fp32, by the model in evaluation mode on the device it is on.

    The noise of ``samples`` draws of z per image is a function of ``seed`` and of how the images are cut into batches, of
    500 or fewer (`images_at_once`): the same images in the same order give the same terms.
    """
    batch = images_at_once(BATCH, images.shape[1:])
    device, latent = next(model.parameters()).device, model.config.latent
    # NOTE: made first, else what stays of each batch keeps the memory around it from being used again.
    shapes = (len(images), latent), (len(images), latent), (len(images),), (len(images),)
    arrays = [np.empty(shape, dtype=np.float32) for shape in shapes]
    for number, start in enumerate(range(0, len(images), batch)):
        x = to_unit(torch.tensor(images[start : start + batch], device=device))
        posterior = model.encode(x)
        noise = generator_for(seed, "evaluation", number, device)
        terms = elbo(posterior, model.decode, model.likelihood, x, noise, samples)
        for array, values in zip(arrays, (posterior.mean, posterior.logvar, terms.reconstruction, terms.kl), strict=True):
            array[start : start + batch] = values.cpu()
        if progress:
            progress(min(start + batch, len(images)), len(images))
    return Encodings(*arrays)


def pixel_entropy(images: UInt8[np.ndarray, "n channels height width"]) -> Float32[np.ndarray, " n"]:
    """The Bernoulli entropy of each image's pixels in nats, summed: the floor of the cross-entropy."""
    count = images_at_once(BATCH, images.shape[1:])
    batches = (torch.tensor(images[start : start + count]) for start in range(0, len(images), count))
    return np.asarray(torch.cat([Bernoulli.entropy(to_unit(batch)) for batch in batches]))


def report_on(run: Run, encodings: Encodings, data: ImageDataset, samples: int, seed: int) -> Report:
    """The means over an encoded test set, accumulated in double precision."""
    values = encodings.elbo.astype(np.float64)
    bernoulli = run.config.model.likelihood == "bernoulli"
    return Report(
        elbo=float(values.mean()),
        elbo_standard_error=float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0,
        reconstruction=float(encodings.reconstruction.astype(np.float64).mean()),
        kl=float(encodings.kl.astype(np.float64).mean()),
        kl_per_dimension=encodings.kl_per_dimension.tolist(),
        active_units=int(encodings.active.sum()),
        entropy_floor=float(pixel_entropy(data.images).astype(np.float64).mean()) if bernoulli else None,
        examples=len(data),
        samples=samples,
        seed=seed,
        split="test",
        dataset=data.name,
        likelihood=run.config.model.likelihood,
        weights_digest=run.weights_digest(),
    )


def load_run_data(run: Run, split: Split) -> ImageDataset:
    """One split as a run was trained on it: its validation split is the one that its weights were chosen by.

    Raises:
        DataError: it isn't there, or isn't the one the run was made with.
    """
    data = load_dataset(run.config.dataset, split, run.config.train.validation_fraction)
    expected = run.config.data_digests.get(split)
    if data.digest != expected:
        raise DataError(
            f"data set {data.name}: its {split} images are not those that run {run.name} was made with "
            f"(digest {expected}, found {data.digest}): restore them, or start a new run"
        )
    return data


def load_test_data(run: Run) -> ImageDataset:
    """The test split that a run is measured on.

    Raises:
        DataError: it isn't there, or isn't the one the run was made with.
    """
    return load_run_data(run, "test")


def evaluate(
    run: Run, samples: int = 1, seed: int = 0, device: torch.device | str = "cpu", progress: Progress | None = None
) -> Report:
    """Measure a run on all its test images and keep the report in it, under its setting.

    With one sample and seed 0 (the reference setting) the encodings are kept too.

    Raises:
        RunError, DataError: the run or its data can't be used.
    """
    data = load_test_data(run)
    encodings = encode_images(run.load_model(device), data.images, samples, seed, progress)
    report = report_on(run, encodings, data, samples, seed)
    if (samples, seed) == (1, 0):
        run.save_encodings(encodings)
    run.save_report(report.setting, dataclasses.asdict(report))
    return report
