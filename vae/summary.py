"""A run in one row: what it is, how far it is, how good, how large."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vae.config import ConfigError
from vae.history import read_history
from vae.model import parameter_count
from vae.runs import Run, RunError, RunState

REFERENCE = "samples=1,seed=0"
"""The setting of the report that runs are compared by."""


@dataclass(frozen=True)
class Summary:
    """A row of the table of runs."""

    name: str
    state: RunState | None
    """None where it says nothing that can be read."""
    dataset: str
    preset: str
    latent: int
    parameters: int | None
    epoch: int
    epochs: int
    """As many as are asked for."""
    negative_elbo: float | None
    """On the test images, nats per image, mean, one sample of z; None before the evaluation."""
    reconstruction: float | None
    """Its part -E[log p(x|z)]."""
    kl: float | None
    """Its part KL(q(z|x) || p(z))."""
    active_units: int | None
    updated: float
    """Seconds since 1970."""
    size: int
    """Bytes on the disk."""


def summarise(run: Run) -> Summary:
    """The row of a run, as far as its files can be read."""
    status, config = run.status(), run.config
    terms = _terms(run)
    try:
        parameters: int | None = parameter_count(config.model)
    except ConfigError:
        parameters = None
    history = read_history(run)
    files = [path for path in run.path.rglob("*") if path.is_file() and not path.is_symlink()]
    stats = []
    for path in files:
        try:
            stats.append(path.stat())
        except OSError:  # a temporary file that has been moved into its place
            continue
    return Summary(
        name=run.name,
        state=status.state if status else None,
        dataset=config.dataset,
        preset=config.preset,
        latent=config.model.latent,
        parameters=parameters,
        epoch=int(history.epoch[-1]) if len(history) else 0,
        epochs=config.train.epochs,
        negative_elbo=-terms["elbo"] if terms else None,
        reconstruction=-terms["reconstruction"] if terms else None,
        kl=terms["kl"] if terms else None,
        active_units=int(terms["active_units"]) if terms else None,
        updated=status.updated if status else max((stat.st_mtime for stat in stats), default=0.0),
        size=sum(stat.st_size for stat in stats),
    )


def _terms(run: Run) -> dict[str, float]:
    """The numbers of the reference report, if it is there and belongs to the weights that serve; else nothing."""
    try:
        report = run.reports()[REFERENCE]
        if report["weights_digest"] != run.weights_digest():
            return {}
        terms = {name: float(report[name]) for name in ("elbo", "reconstruction", "kl", "active_units")}
    except (RunError, KeyError, TypeError, ValueError, OverflowError):
        return {}
    return terms if all(math.isfinite(value) and abs(value) < 1e300 for value in terms.values()) else {}
