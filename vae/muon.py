"""Muon: momentum steps whose matrices are made orthogonal (Jordan et al. 2024), for kernels of convolutions too.

torch's own takes matrices only, and rounds them to bf16, which is slow on processors without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic polynomial that takes each singular value near 1, in five rounds."""
ROUNDS = 5
ADAM_LENGTH = 0.2
"""The root mean square of a step's entries at a learning rate of 1. With Adam it is about as much (Liu et al. 2025)."""


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, each step's matrix replaced by `orthogonalised`, with decoupled weight decay. A kernel is the matrix
    of its first dimension against all others."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].mul_(MOMENTUM).add_(parameter.grad)
                matrix = parameter.grad.add(momentum, alpha=MOMENTUM).flatten(1)
                step = orthogonalised(matrix).mul_(ADAM_LENGTH * max(matrix.shape) ** 0.5)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(step.reshape(parameter.shape), alpha=-group["lr"])


def orthogonalised(matrix: Tensor) -> Tensor:
    """``(m, n)`` with every singular value that isn't tiny beside the largest moved to between 0.7 and 1.2, nearly, the
    singular vectors kept; of zeros, zeros.

    NOTE: the Newton-Schulz rounds multiply by polynomials of ``matrix @ matrix.T``, which commute: so they are gathered in the
    shorter of the two dimensions, and the long one is met twice instead of ten times.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp_min(1e-12)
    gram = wide @ wide.T
    product = factor = _polynomial(gram)
    for _ in range(ROUNDS - 1):
        gram = factor @ gram @ factor
        factor = _polynomial(gram)
        product = factor @ product
    result: Tensor = product @ wide
    return result if matrix.shape[0] <= matrix.shape[1] else result.T


def _polynomial(gram: Tensor) -> Tensor:
    """What one round multiplies by, ``(n, n)``."""
    first, third, fifth = COEFFICIENTS
    polynomial = torch.addmm(gram, gram, gram, beta=third, alpha=fifth)
    polynomial.diagonal().add_(first)
    return polynomial
