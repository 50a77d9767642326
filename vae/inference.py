"""Inference for single images, the decoder fixed: q refined by gradient ascent (SVI), log p(x) bounded by importance weights.

Everything takes a ``decode`` and a `Likelihood`, as `elbo` does, and gives results per example, in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vae.likelihood import Likelihood
from vae.objective import Decode, Elbo
from vae.posterior import Posterior, gaussian_log_prob, prior_log_prob

PIXELS_AT_ONCE = 400_000
"""Decoded pixels held at one time: 510 images of 28 x 28. It bounds the memory whatever the number of draws."""

Objective = Callable[[Posterior], Elbo]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Trajectory:
    """The path of `refine` or `climb`: q and its ELBO at the recorded steps, the start (step 0) first.

    NOTE: the ELBO along the path is estimated with the same draws of the noise at every point, so that its differences
    can be seen; its level is off by those draws' error. For a figure, estimate `posterior` anew with `vae.elbo`.
    """

    steps: Int64[Tensor, " points"]
    """Gradient steps taken at each point."""
    mean: Float[Tensor, "points batch latent"]
    logvar: Float[Tensor, "points batch latent"]
    reconstruction: Float[Tensor, "points batch"]
    """``E_q[log p(x|z)]`` in nats, summed over pixels."""
    kl: Float[Tensor, "points batch"]
    """``KL(q || p(z))`` in nats, closed form."""
    settled: bool
    """Whether the stopping rule ended the ascent, and not the number of steps."""

    @property
    def elbo(self) -> Float[Tensor, "points batch"]:
        """``reconstruction - kl``, in nats."""
        return self.reconstruction - self.kl

    @property
    def posterior(self) -> Posterior:
        """The last q."""
        return Posterior(self.mean[-1], self.logvar[-1])


@dataclass(frozen=True)
class Waypoint:
    """A recorded point of an ascent, given as soon as it is reached."""

    step: int
    """Gradient steps taken so far; 0 at the start."""
    end: int
    """At which step the ascent will end, by what is known here: the stopping rule may bring it nearer."""
    posterior: Posterior
    terms: Elbo


def standard_posterior(like: Posterior) -> Posterior:
    """The prior N(0, I) as a q of the same shape: where an ascent without an encoder starts."""
    return Posterior(torch.zeros_like(like.mean), torch.zeros_like(like.logvar))


def log_likelihood(
    decode: Decode,
    likelihood: Likelihood,
    x: Float[Tensor, "batch channels height width"],
    z: Float[Tensor, "samples batch latent"],
) -> Float[Tensor, "samples batch"]:
    """``log p(x|z)`` in nats of several z for each image, decoded `PIXELS_AT_ONCE` at a time."""
    samples, batch, latent = z.shape
    points, rows = z.reshape(-1, latent), torch.arange(batch, device=z.device).repeat(samples)
    size = max(1, PIXELS_AT_ONCE // x[0].numel())
    pieces = zip(torch.split(points, size), torch.split(rows, size), strict=True)
    return torch.cat([likelihood.log_prob(decode(piece), x[some]) for piece, some in pieces]).reshape(samples, batch)


def refine(
    start: Posterior,
    decode: Decode,
    likelihood: Likelihood,
    x: Float[Tensor, "batch channels height width"],
    generator: torch.Generator,
    steps: int = 100,
    samples: int = 4,
    rate: float | Sequence[float] = 0.1,
    tolerance: float = 0.1,
    patience: int = 50,
    every: int = 1,
    progress: Progress | None = None,
) -> Trajectory:
    """Climb the ELBO of each image in its own ``(mean, logvar)``: stochastic variational inference (Hoffman et al. 2013).

    ``start`` is the encoder's answer, or the prior (`standard_posterior`). The gradient is that of the closed-form KL and of
    the reconstruction at ``samples`` fresh reparameterized draws a step; the curve uses ``samples`` draws of its own, the
    same at every point. What the ELBO gains from the encoder's start is its amortization gap (Cremer et al. 2018).
    Images don't influence each other, but for the moment when all have settled (see `climb`, which has the other options).

    NOTE: the model must be in evaluation mode, else batch normalisation ties the images of a batch together.
    """
    options = steps, samples, rate, tolerance, patience, every
    return _trajectory(refining(start, decode, likelihood, x, generator, *options), steps, progress)


def refining(
    start: Posterior,
    decode: Decode,
    likelihood: Likelihood,
    x: Float[Tensor, "batch channels height width"],
    generator: torch.Generator,
    steps: int = 100,
    samples: int = 4,
    rate: float | Sequence[float] = 0.1,
    tolerance: float = 0.1,
    patience: int = 50,
    every: int = 1,
) -> Iterator[Waypoint]:
    """`refine`, one recorded point after the other: it works only while the next one is asked for."""
    shape = (_at_least_one("samples", samples), *start.mean.shape)

    def draw() -> Tensor:
        return torch.randn(shape, generator=generator, device=start.mean.device, dtype=start.mean.dtype)

    def terms(q: Posterior, eps: Tensor) -> Elbo:
        return Elbo(log_likelihood(decode, likelihood, x, q.mean + q.std * eps).mean(dim=0), q.kl())

    common = draw()
    yield from _ascend(start, lambda q: terms(q, draw()), lambda q: terms(q, common), steps, rate, tolerance, patience, every)


def climb(
    start: Posterior,
    objective: Objective,
    watch: Objective,
    steps: int = 100,
    rate: float | Sequence[float] = 0.1,
    tolerance: float = 0.1,
    patience: int = 50,
    every: int = 1,
    progress: Progress | None = None,
) -> Trajectory:
    """Adam on ``objective``, recorded by ``watch`` at the start and after every ``every`` steps.

    The rate, one for all images or one for each, is constant, then falls linearly to 0 over the last quarter of ``steps``.
    The fall begins earlier once every image has settled: its best recorded ELBO rose by less than ``tolerance`` nats in the
    last ``patience`` steps. ``progress`` is told of each recorded point.

    Raises:
        FloatingPointError: the ELBO is no longer finite.
        ValueError: ``every`` or ``patience`` is below 1, or there is another number of rates than images.
    """
    return _trajectory(_ascend(start, objective, watch, steps, rate, tolerance, patience, every), steps, progress)


def _ascend(
    start: Posterior,
    objective: Objective,
    watch: Objective,
    steps: int,
    rate: float | Sequence[float],
    tolerance: float,
    patience: int,
    every: int,
) -> Iterator[Waypoint]:
    _at_least_one("every", every)
    fall, end, window = max(1, steps // 4), steps, math.ceil(_at_least_one("patience", patience) / every)
    leaves, rates = _leaves(start, rate)
    # NOTE: a memory of 100 steps for the squares: a start far off has gradients that 1,000 steps wouldn't forget.
    optimizer = torch.optim.Adam([{"params": pair} for pair in leaves], betas=(0.9, 0.99))

    def current() -> Posterior:
        means, logvars = zip(*leaves, strict=True)
        return Posterior(torch.cat(means), torch.cat(logvars))

    def record() -> Waypoint:
        with torch.no_grad():
            q = current()
            terms = watch(q)
        if not bool(torch.isfinite(terms.value).all()):
            raise FloatingPointError(f"the ELBO is no longer finite after {step} steps of refinement: lower the rate")
        return Waypoint(step, end, q, terms)

    step = 0
    point = record()
    best = [point.terms.value]
    yield point
    while step < end:
        for group, most in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = most * min(1.0, (end - step) / fall)
        flat = [leaf for pair in leaves for leaf in pair]
        with torch.enable_grad():
            loss = -objective(current()).value.sum()
            for leaf, gradient in zip(flat, torch.autograd.grad(loss, flat), strict=True):
                leaf.grad = gradient
        optimizer.step()
        step += 1
        if step % every == 0 or step == end:
            point = record()
            best.append(torch.maximum(best[-1], point.terms.value))
            if step + fall < end and len(best) > window and bool((best[-1] - best[-1 - window] < tolerance).all()):
                end = step + fall
            yield point


def _leaves(start: Posterior, rate: float | Sequence[float]) -> tuple[list[list[Tensor]], list[float]]:
    """What is climbed in: one pair of means and logvars with its rate, or one for each image where each has its own rate."""
    batch = len(start.mean)
    rates = [rate] if isinstance(rate, float | int) else list(rate)
    size = batch if len(rates) == 1 else 1
    if len(rates) not in (1, batch):
        raise ValueError(f"one rate, or one for each of {batch} images, is needed, got {len(rates)}")
    pairs = zip(torch.split(start.mean, size), torch.split(start.logvar, size), strict=True)
    return [[value.detach().clone().requires_grad_(True) for value in pair] for pair in pairs], rates


def _trajectory(path: Iterable[Waypoint], steps: int, progress: Progress | None) -> Trajectory:
    points = []
    for point in path:
        points.append(point)
        if progress:
            progress(point.step, point.end)
    return Trajectory(
        steps=torch.tensor([point.step for point in points]),
        mean=torch.stack([point.posterior.mean for point in points]),
        logvar=torch.stack([point.posterior.logvar for point in points]),
        reconstruction=torch.stack([point.terms.reconstruction for point in points]),
        kl=torch.stack([point.terms.kl for point in points]),
        settled=points[-1].step < steps,
    )


@dataclass(frozen=True)
class ImportanceBound:
    """``log p̂_k`` of each image for several k, from the first k of the same draws, in nats."""

    ks: tuple[int, ...]
    value: Float64[Tensor, "ks batch"]
    """Its expectation grows with k, from the ELBO at k = 1 towards log p(x) (Burda et al. 2016)."""
    standard_error: Float64[Tensor, "ks batch"]
    """The Monte-Carlo error of each value, by the spread of its weights (delta method); infinite for one draw."""


@torch.no_grad()
def importance_bound(
    posterior: Posterior,
    decode: Decode,
    likelihood: Likelihood,
    x: Float[Tensor, "batch channels height width"],
    generator: torch.Generator,
    ks: Sequence[int] = (1, 10, 100, 1000),
    progress: Progress | None = None,
) -> ImportanceBound:
    """``log p̂_k(x) = log 1/k sum_i p(x, z_i) / q(z_i|x)``, ``z_i ~ q(z|x)``, for each (rising) k in ``ks``.

    The sums of the weights and of their squares are carried along in log space, so that memory doesn't grow with k.
    """
    if not ks or list(ks) != sorted(set(ks)) or ks[0] < 1:
        raise ValueError(f"ks must be rising whole numbers from 1, got {tuple(ks)}")
    batch = len(posterior.mean)
    sums = torch.full((2, batch), -math.inf, dtype=torch.float64, device=posterior.mean.device)
    size = max(1, PIXELS_AT_ONCE // x.numel())
    done, found = 0, []
    for k in ks:
        while done < k:
            count = min(size, k - done)
            shape = (count, *posterior.mean.shape)
            eps = torch.randn(shape, generator=generator, device=posterior.mean.device, dtype=posterior.mean.dtype)
            z = posterior.mean + posterior.std * eps
            joint = log_likelihood(decode, likelihood, x, z) + prior_log_prob(z)
            weights = (joint - gaussian_log_prob(z, posterior.mean, posterior.logvar)).double()
            sums = torch.logaddexp(sums, torch.stack([weights, 2 * weights]).logsumexp(dim=1))
            done += count
            if progress:
                progress(done, ks[-1])
        found.append((sums[0] - math.log(k), relative_error(sums[0], sums[1], k)))
    values, errors = (torch.stack(part) for part in zip(*found, strict=True))
    return ImportanceBound(tuple(ks), values, errors)


def relative_error(log_sum: Float64[Tensor, " batch"], log_square_sum: Float64[Tensor, " batch"], count: int) -> Tensor:
    """The standard error of a mean of ``count`` weights, relative to it, from the logs of their sum and sum of squares.

    By the delta method it is that of the mean's logarithm: ``sqrt((1/ESS - 1/k) k / (k - 1))``, ``ESS = (sum w)^2 / sum w^2``.
    """
    if count < 2:
        return torch.full_like(log_sum, math.inf)
    return ((torch.exp(log_square_sum - 2 * log_sum) - 1 / count).clamp_min(0) * count / (count - 1)).sqrt()


def _at_least_one(name: str, count: int) -> int:
    if count < 1:
        raise ValueError(f"{name} must be at least 1, got {count}")
    return count
