"""All that can be said of how good a run is, in one report: bounds and estimates of log p(x), their gaps, and diagnostics.

Each piece of the long work is kept in the run as it is done, so that an interrupted evaluation goes on where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from vae.annealing import annealed_importance
from vae.config import ConfigError
from vae.data import ImageDataset
from vae.device import Purpose, generator_for, to_unit
from vae.diagnostics import aggregate_draws, mmd_to_prior, round_trip
from vae.encodings import Encodings
from vae.evaluate import encode_images, load_test_data, pixel_entropy
from vae.inference import importance_bound, refine
from vae.model import VAE
from vae.objective import elbo
from vae.runs import Run

Better = Literal["lower", "higher", "near 0", "near 1", ""]
Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, what is done of it, and what there is to do."""
GREY_NOTE = (
    "Bernoulli on grey pixels is a cross-entropy, not a normalised likelihood: comparable with other such figures only, "
    "and never below the entropy floor"
)


@dataclass(frozen=True)
class FullConfig:
    """How many images and draws a full evaluation takes.

    Raises:
        ConfigError: a field is out of range.
    """

    importance_images: int = 1000
    """Images for the importance-weighted bound."""
    importance_samples: int = 1000
    """The largest k of that bound; the powers of ten below it are reported too."""
    annealing_images: int = 100
    """Images for refinement, annealed importance sampling and the gaps (the first of those above)."""
    refinement_steps: int = 200
    """Gradient steps of refining each image's q, at most."""
    elbo_samples: int = 500
    """Fresh draws of z for the ELBOs in the gaps."""
    chains: int = 16
    """Annealing chains for each image."""
    temperatures: int = 50
    """Densities between the refined q and the posterior."""

    def __post_init__(self) -> None:
        limits = {"chains": (2, 10_000), "refinement_steps": (1, 100_000), "importance_samples": (1, 10_000_000)}
        for field in dataclasses.fields(self):
            value, (low, high) = getattr(self, field.name), limits.get(field.name, (1, 1_000_000))
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(f"{field.name} must be a whole number from {low:,} to {high:,}, got {value!r}")

        if self.annealing_images > self.importance_images:
            raise ConfigError(
                "annealing_images must be at most importance_images (they are the first of those), "
                f"got {self.annealing_images:,} and {self.importance_images:,}"
            )

    @property
    def ks(self) -> tuple[int, ...]:
        """1, 10, 100, … below `importance_samples`, and it."""
        powers = [10**power for power in range(8) if 10**power < self.importance_samples]
        return (*powers, self.importance_samples)


@dataclass(frozen=True)
class Figure:
    """One number: a mean over ``images``, each from ``samples`` draws, with the standard error of that mean."""

    name: str
    label: str
    """What it is, with its sign."""
    value: float
    standard_error: float | None
    """Over the images, paired where it is a difference; None where there is none."""
    unit: str
    better: Better
    images: int
    samples: int
    """Draws of z for each image, or chains; 0 where nothing is drawn."""


@dataclass(frozen=True)
class FullReport:
    """A full evaluation of a run on its test split. ``figures`` is the table; the lists are per latent dimension."""

    figures: list[Figure]
    kl_per_dimension: list[float]
    """``KL(q(z_j|x) || N(0, 1))`` in nats, mean over all images."""
    aggregate_mean: list[float]
    """The aggregate posterior's mean; the prior's is 0."""
    aggregate_variance: list[float]
    """The aggregate posterior's variance, ``Var[mean] + E[sigma^2]``; the prior's is 1."""
    config: FullConfig
    seed: int
    split: Literal["test"]
    dataset: str
    likelihood: str
    weights_digest: str
    note: str

    @property
    def setting(self) -> str:
        """What tells this report from others in ``evaluation.json``."""
        return full_setting(self.config, self.seed)

    def __getitem__(self, name: str) -> Figure:
        """The figure of that name.

        Raises:
            KeyError: there is none.
        """
        return {figure.name: figure for figure in self.figures}[name]

    def table(self) -> str:
        """The figures as text, a line each, under one heading."""
        head = (
            f"{self.dataset}, {self.split} split, {self.likelihood} likelihood, weights {self.weights_digest}, seed {self.seed}"
        )
        lines = [head, f"{'':44}{'mean':>11}   {'std. error':10} {'unit':20}{'better':8}{'images':>7}{'draws':>7}"]
        for figure in self.figures:
            error = "" if figure.standard_error is None else f"± {figure.standard_error:.{_digits(figure)}f}"
            value = f"{figure.value:.{_digits(figure)}f}"
            lines.append(
                f"  {figure.label:42}{value:>11}   {error:10} {figure.unit:20}{figure.better:8}"
                f"{figure.images:>7,}{figure.samples or '-':>7}"
            )
        return "\n".join([*lines, *([self.note] if self.note else [])])


def _digits(figure: Figure) -> int:
    return {"nats per image": 2, "dimensions": 0}.get(figure.unit, 4)


def full_setting(config: FullConfig, seed: int) -> str:
    """The key of a full report in ``evaluation.json``."""
    return ",".join(["full", *(f"{name}={value}" for name, value in dataclasses.asdict(config).items()), f"seed={seed}"])


def evaluate_fully(
    run: Run,
    config: FullConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress = lambda *_: None,
) -> FullReport:
    """Measure a run by every estimator and keep the report in it, beside the quick one.

    The images of a part of the test set are drawn without replacement, a function of ``seed``; those of the smaller
    part are the first of the larger. Interrupted, the same call goes on with the piece that it was at.

    Raises:
        RunError, DataError: the run or its data can't be used.
    """
    work = _Work(run, config or FullConfig(), seed, run.load_model(device), load_test_data(run), progress)
    report = work.report()
    run.save_report(report.setting, dataclasses.asdict(report))
    run.forget_pieces(work.key)
    return report


class _Work:
    """One full evaluation: its stages, each cut into pieces of images that are kept in the run when done."""

    def __init__(self, run: Run, config: FullConfig, seed: int, model: VAE, data: ImageDataset, progress: Progress) -> None:
        self.run, self.config, self.seed, self.model, self.data, self.progress = run, config, seed, model, data, progress
        self.device = next(model.parameters()).device
        self.digest = run.weights_digest()
        made_from = [self.digest, data.digest, full_setting(config, seed)]
        self.key = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]
        order = torch.randperm(len(data), generator=generator_for(seed, "subset")).numpy()
        self.many = order[: min(config.importance_images, len(data))]
        self.few = order[: min(config.annealing_images, len(data))]

    def report(self) -> FullReport:
        """All stages, and what they say."""
        encodings = encode_images(
            self.model, self.data.images, seed=self.seed, progress=lambda *done: self.progress("encoding", *done)
        )
        figures = self._on_all_images(encodings)
        bounds = self._pieces("importance", self.many, 50, self._importance)["bound"]
        annealed = self._pieces("annealing", self.few, 10, self._annealing)
        figures += self._importance_figures(bounds)
        figures += self._gap_figures(annealed, bounds[: len(self.few), -1], encodings)
        bernoulli = self.run.config.model.likelihood == "bernoulli"
        return FullReport(
            figures=figures + self._diagnostics(encodings),
            kl_per_dimension=encodings.kl_per_dimension.tolist(),
            aggregate_mean=encodings.aggregate_mean.tolist(),
            aggregate_variance=np.square(encodings.aggregate_std).tolist(),
            config=self.config,
            seed=self.seed,
            split="test",
            dataset=self.data.name,
            likelihood=self.run.config.model.likelihood,
            weights_digest=self.digest,
            note=GREY_NOTE if bernoulli else "",
        )

    # --- stages --------------------------------------------------------------------------------------------------

    def _pieces(
        self, stage: Purpose, rows: Int64[np.ndarray, " n"], size: int, work: Callable[..., dict[str, Tensor]]
    ) -> dict[str, np.ndarray]:
        """The per-image arrays of a stage: each piece read from the run if it is there, else worked out and kept."""
        found = []
        for number, start in enumerate(range(0, len(rows), size)):
            some = rows[start : start + size]
            name = f"{stage}-{number:05d}"
            piece = self.run.load_piece(self.key, name)
            if piece is None or any(len(values) != len(some) for values in piece.values()):

                def show(done: int, total: int, start: int = start, count: int = len(some)) -> None:
                    self.progress(stage, round((start + count * done / total) * 1000), len(rows) * 1000)

                x = to_unit(torch.tensor(self.data.rows(some), device=self.device))
                tensors = work(x, number, show)
                piece = {name: np.asarray(value.double().cpu()) for name, value in tensors.items()}
                self.run.save_piece(self.key, name, piece)
            self.progress(stage, (start + len(some)) * 1000, len(rows) * 1000)
            found.append(piece)
        return {name: np.concatenate([piece[name] for piece in found]) for name in found[0]}

    def _importance(self, x: Tensor, number: int, show: Callable[[int, int], None]) -> dict[str, Tensor]:
        noise = generator_for(self.seed, "importance", number, self.device)
        with torch.no_grad():
            q = self.model.encode(x)
        bound = importance_bound(q, self.model.decode, self.model.likelihood, x, noise, self.config.ks, show)
        return {"bound": bound.value.T}

    def _annealing(self, x: Tensor, number: int, show: Callable[[int, int], None]) -> dict[str, Tensor]:
        model, config = self.model, self.config
        with torch.no_grad():
            q = model.encode(x)
        noise = generator_for(self.seed, "refinement", number, self.device)
        refined = refine(q, model.decode, model.likelihood, x, noise, config.refinement_steps, rate=0.05, every=10).posterior
        with torch.no_grad():
            # The same fresh draws for both, so that the difference carries less of their noise.
            first, second = (
                elbo(
                    part,
                    model.decode,
                    model.likelihood,
                    x,
                    generator_for(self.seed, "evaluation", number + 2**20, self.device),
                    config.elbo_samples,
                ).value
                for part in (q, refined)
            )
        noise = generator_for(self.seed, "annealing", number, self.device)
        found = annealed_importance(
            refined, model.decode, model.likelihood, x, noise, config.chains, config.temperatures, progress=show
        )
        weights = found.normalised_weights[..., None]
        squares = [(weights * ((found.z - part.mean) / part.std).double().square()).sum(dim=0) for part in (q, refined)]
        return {
            "elbo": first,
            "refined": second,
            "evidence": found.log_evidence,
            "error": found.standard_error,
            "squares": squares[0],
            "refined_squares": squares[1],
        }

    # --- figures -------------------------------------------------------------------------------------------------

    def _on_all_images(self, encodings: Encodings) -> list[Figure]:
        nats = "nats per image"
        figures = [
            _mean("elbo", "-ELBO", -encodings.elbo, nats, "lower", 1),
            _mean("reconstruction", "-E_q[log p(x|z)], reconstruction", -encodings.reconstruction, nats, "", 1),
            _mean("kl", "KL(q(z|x) || p(z))", encodings.kl, nats, "", 0),
        ]
        if self.run.config.model.likelihood == "bernoulli":
            figures.append(_mean("entropy_floor", "entropy floor of -log p", pixel_entropy(self.data.images), nats, "", 0))
        return figures

    def _importance_figures(self, bounds: np.ndarray) -> list[Figure]:
        return [
            _mean(f"importance_{k}", f"-log p_k, importance-weighted, k = {k:,}", -bound, "nats per image", "lower", k)
            for k, bound in zip(self.config.ks, bounds.T, strict=True)
        ]

    def _gap_figures(self, found: dict[str, np.ndarray], bound: np.ndarray, encodings: Encodings) -> list[Figure]:
        first, refined, evidence = found["elbo"], found["refined"], found["evidence"]
        draws, chains, nats = self.config.elbo_samples, self.config.chains, "nats per image"
        active = encodings.map_dimensions
        return [
            _mean("few_elbo", "-ELBO of q(z|x), these images", -first, nats, "lower", draws),
            _mean("refined_elbo", "-ELBO of the refined q, these images", -refined, nats, "lower", draws),
            _mean("few_importance", "-log p_k, these images", -bound, nats, "lower", self.config.ks[-1]),
            _mean("annealed", "-log p(x), annealed importance sampling", -evidence, nats, "lower", chains),
            _mean("annealed_error", "  its Monte-Carlo error of one image", found["error"], nats, "near 0", chains),
            _mean("inference_gap", "inference gap: log p(x) - ELBO", evidence - first, nats, "near 0", chains),
            _mean("approximation_gap", "  approximation gap: log p(x) - refined", evidence - refined, nats, "near 0", chains),
            _mean("amortization_gap", "  amortization gap: refined - ELBO", refined - first, nats, "near 0", draws),
            *(
                _mean(name, label, found[key][:, active].mean(axis=1), "posterior var/q var", "near 1", chains)
                for name, label, key in (
                    ("spread", "E_p(z|x)[((z - mean)/std)²], q(z|x)", "squares"),
                    ("refined_spread", "E_p(z|x)[((z - mean)/std)²], refined q", "refined_squares"),
                )
            ),
        ]

    def _diagnostics(self, encodings: Encodings) -> list[Figure]:
        z = aggregate_draws(encodings, self.seed)
        trip, active = round_trip(self.model, self.data.images, encodings, z), encodings.map_dimensions
        residual = np.square(trip.residual[:, active]).mean(axis=1)
        images = len(self.data)
        figures = [
            Figure(
                "active_units",
                "active units: Var[mean] > 0.01",
                float(encodings.active.sum()),
                None,
                "dimensions",
                "",
                images,
                0,
            ),
            _mean("squared_error", "squared error of E[x|z], z ~ q(z|x)", trip.squared_error, "[0, 1]² per pixel", "lower", 1),
            _mean(
                "squared_error_at_mean",
                "squared error of E[x|mean]",
                trip.squared_error_at_mean,
                "[0, 1]² per pixel",
                "lower",
                0,
            ),
            _mean("reencoding", "re-encoded E[x|z]: ((z - mean')/std')²", residual, "q's variances", "near 1", 1),
        ]
        for name, label, values, goal in (
            ("aggregate_mean", "aggregate posterior: |mean|", np.abs(encodings.aggregate_mean[active]), "near 0"),
            ("aggregate_variance", "aggregate posterior: variance", np.square(encodings.aggregate_std[active]), "near 1"),
        ):
            figures.append(Figure(name, label, float(values.mean()), None, "mean, active dims", goal, images, 0))  # type: ignore[arg-type]
        if images > 1:
            distance = mmd_to_prior(torch.tensor(z[:, active]), generator_for(self.seed, "aggregate", 1))
            label = "aggregate posterior to prior: MMD²"
            figures.append(
                Figure("mmd", label, distance.value, distance.standard_error, "kernel in [0, 1]", "near 0", images, 1)
            )
        return figures


def _mean(name: str, label: str, values: np.ndarray, unit: str, better: Better, samples: int) -> Figure:
    exact = np.asarray(values, dtype=np.float64)
    error = float(exact.std(ddof=1) / np.sqrt(len(exact))) if len(exact) > 1 else None
    return Figure(name, label, float(exact.mean()), error, unit, better, len(exact), samples)


def report_from_json(values: dict[str, Any]) -> FullReport:
    """The report whose fields are in ``evaluation.json``.

    Raises:
        TypeError, KeyError: it is a report of another kind.
    """
    figures = [Figure(**figure) for figure in values["figures"]]
    return FullReport(**{**values, "figures": figures, "config": FullConfig(**values["config"])})
