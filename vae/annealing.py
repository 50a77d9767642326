"""Annealed importance sampling (Neal 2001): log p(x) of each image by a path from q to the posterior, with HMC transitions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vae.inference import PIXELS_AT_ONCE, Progress, relative_error
from vae.likelihood import Likelihood
from vae.objective import Decode
from vae.posterior import Posterior, gaussian_log_prob, prior_log_prob

TARGET_ACCEPTANCE = 0.7
PILOT_CHAINS = 2


@dataclass(frozen=True)
class Annealed:
    """What annealed importance sampling found of each image, in nats."""

    log_weights: Float64[Tensor, "chains batch"]
    z: Float[Tensor, "chains batch latent"]
    """The chains' ends: under their weights, draws of the posterior p(z|x)."""
    acceptance: Float[Tensor, " batch"]
    """The share of HMC proposals that were accepted."""

    @property
    def log_evidence(self) -> Float64[Tensor, " batch"]:
        """``log 1/C sum_c w_c``: the mean of the weights is unbiased for p(x), so this is below log p(x) on average."""
        return torch.logsumexp(self.log_weights, dim=0) - math.log(len(self.log_weights))

    @property
    def standard_error(self) -> Float64[Tensor, " batch"]:
        """The Monte-Carlo error of `log_evidence`, by the spread of the weights."""
        sums = torch.stack([self.log_weights, 2 * self.log_weights]).logsumexp(dim=1)
        return relative_error(sums[0], sums[1], len(self.log_weights))

    @property
    def normalised_weights(self) -> Float64[Tensor, "chains batch"]:
        """The weights of the chains, summing to 1 for each image."""
        return torch.softmax(self.log_weights, dim=0)


@dataclass(frozen=True)
class _State:
    """Chains in the coordinates ``u = (z - mean) / std`` of the starting q, with what the decoder said there."""

    u: Tensor
    log_likelihood: Tensor
    gradient: Tensor


@dataclass(frozen=True)
class _Path:
    """The densities ``q(z)^(1 - beta) p(x, z)^beta`` of one batch."""

    start: Posterior
    decode: Decode
    likelihood: Likelihood
    x: Tensor

    def state(self, u: Tensor) -> _State:
        """``log p(x|z)`` and its gradient in u, `PIXELS_AT_ONCE` at a time."""
        chains, batch, latent = u.shape
        z = (self.start.mean + self.start.std * u).reshape(-1, latent)
        rows = torch.arange(batch, device=u.device).repeat(chains)
        size = max(1, PIXELS_AT_ONCE // self.x[0].numel())
        values, gradients = [], []
        for points, some in zip(torch.split(z, size), torch.split(rows, size), strict=True):
            with torch.enable_grad():
                points = points.detach().requires_grad_(True)
                value = self.likelihood.log_prob(self.decode(points), self.x[some])
                (gradient,) = torch.autograd.grad(value.sum(), points)
            values.append(value.detach())
            gradients.append(gradient)
        return _State(u, torch.cat(values).reshape(chains, batch), torch.cat(gradients).reshape(u.shape) * self.start.std)

    def log_ratio(self, state: _State) -> Tensor:
        """``log p(x, z) - log q(z)``."""
        z = self.start.mean + self.start.std * state.u
        return state.log_likelihood + prior_log_prob(z) - gaussian_log_prob(z, self.start.mean, self.start.logvar)

    def log_density(self, state: _State, beta: float) -> Tensor:
        """Up to a constant."""
        z = self.start.mean + self.start.std * state.u
        return (1 - beta) * prior_log_prob(state.u) + beta * (state.log_likelihood + prior_log_prob(z))

    def gradient(self, state: _State, beta: float) -> Tensor:
        """That of `log_density` in u."""
        z = self.start.mean + self.start.std * state.u
        return -(1 - beta) * state.u + beta * (state.gradient - self.start.std * z)


@torch.no_grad()
def annealed_importance(
    start: Posterior,
    decode: Decode,
    likelihood: Likelihood,
    x: Float[Tensor, "batch channels height width"],
    generator: torch.Generator,
    chains: int = 16,
    temperatures: int = 100,
    leapfrog: int = 4,
    progress: Progress | None = None,
) -> Annealed:
    """log p(x) by ``chains`` independent chains an image, from ``start`` to p(z|x) over ``temperatures`` densities.

    The path is ``q^(1 - beta) p(x, z)^beta`` (Neal 2001) with the sigmoidal schedule of Wu et al. (2017); each density is
    followed by one HMC transition of ``leapfrog`` steps. The nearer ``start`` is to the posterior, the fewer temperatures
    suffice: take the refined q, or `standard_posterior` for the usual path from the prior. Momenta are scaled by q's
    standard deviations. `PILOT_CHAINS` chains find each image's step size at each temperature; the counted chains
    then use those unchanged, so that the weights stay unbiased.
    """
    if chains < 2 or temperatures < 1 or leapfrog < 1:
        raise ValueError(
            f"chains must be at least 2, temperatures and leapfrog at least 1, got {chains}, {temperatures} and {leapfrog}"
        )
    path, betas = _Path(start, decode, likelihood, x), _schedule(temperatures)
    total = (PILOT_CHAINS + chains) * temperatures

    def counted(before: int, weight: int) -> Callable[[int], None]:
        return lambda done: progress(before + weight * done, total) if progress else None

    first = torch.full((temperatures, len(x)), 0.5, device=x.device, dtype=start.mean.dtype)
    sizes = first.clone()
    _run(path, betas, PILOT_CHAINS, leapfrog, sizes, generator, True, counted(0, PILOT_CHAINS))
    return _run(path, betas, chains, leapfrog, sizes, generator, False, counted(PILOT_CHAINS * temperatures, chains))


def _schedule(temperatures: int) -> list[float]:
    """From 0 to 1 in ``temperatures`` steps, the smallest at both ends (Wu et al. 2017)."""
    raw = torch.sigmoid(torch.linspace(-4, 4, temperatures + 1, dtype=torch.float64))
    scaled: list[float] = ((raw - raw[0]) / (raw[-1] - raw[0])).tolist()
    return scaled


def _run(
    path: _Path,
    betas: list[float],
    chains: int,
    leapfrog: int,
    sizes: Tensor,
    generator: torch.Generator,
    adapt: bool,
    report: Callable[[int], None],
) -> Annealed:
    """All chains along the path. Where ``adapt`` is set, ``sizes`` ``(temperatures, batch)`` is written, else read."""
    state = path.state(_normal((chains, *path.start.mean.shape), path.start.mean, generator))
    weights = torch.zeros(state.u.shape[:2], dtype=torch.float64, device=state.u.device)
    accepted = []
    for index, (before, beta) in enumerate(itertools.pairwise(betas)):
        weights += (beta - before) * path.log_ratio(state).double()
        if index < len(betas) - 2:  # a transition after the last weight would change no weight
            state, probability = _transition(path, state, beta, sizes[index], leapfrog, generator)
            accepted.append(probability.mean(dim=0))
            if adapt:
                sizes[index + 1] = sizes[index] * torch.exp(0.3 * (accepted[-1] - TARGET_ACCEPTANCE))
        report(index + 1)
    acceptance = torch.stack(accepted).mean(dim=0) if accepted else torch.ones_like(state.log_likelihood[0])
    return Annealed(weights, path.start.mean + path.start.std * state.u, acceptance)


def _transition(
    path: _Path, state: _State, beta: float, size: Tensor, leapfrog: int, generator: torch.Generator
) -> tuple[_State, Tensor]:
    """One HMC transition (Neal 2011) and the probabilities ``(chains, batch)`` with which its proposals were accepted."""
    # NOTE: step sizes vary a little, so that no trajectory comes back to where it began.
    step = (size * (0.8 + 0.4 * _uniform(state.log_likelihood, generator)))[..., None]
    momentum = _normal(state.u.shape, state.u, generator)
    energy = path.log_density(state, beta) - 0.5 * momentum.square().sum(dim=-1)
    moved = state
    momentum = momentum + 0.5 * step * path.gradient(moved, beta)
    for number in range(leapfrog):
        moved = path.state(moved.u + step * momentum)
        momentum = momentum + (1.0 if number < leapfrog - 1 else 0.5) * step * path.gradient(moved, beta)
    change = path.log_density(moved, beta) - 0.5 * momentum.square().sum(dim=-1) - energy
    probability = torch.exp(change.clamp_max(0)).nan_to_num(0.0)  # a trajectory that ran off to infinity is refused
    chosen = _uniform(change, generator) < probability
    return (
        _State(
            torch.where(chosen[..., None], moved.u, state.u),
            torch.where(chosen, moved.log_likelihood, state.log_likelihood),
            torch.where(chosen[..., None], moved.gradient, state.gradient),
        ),
        probability,
    )


def _normal(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, device=like.device, dtype=like.dtype)
