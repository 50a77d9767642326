"""Muon's steps against the singular value decomposition, and against torch's own optimizer for matrices."""

from __future__ import annotations

import pytest
import torch

from vae.muon import ADAM_LENGTH, COEFFICIENTS, MOMENTUM, ROUNDS, Muon, orthogonalised

SHAPES = [(6, 40), (40, 6), (16, 16), (1, 9), (9, 1)]


def random_matrix(shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
def test_each_singular_value_goes_through_the_polynomial_and_the_vectors_stay(shape: tuple[int, int]) -> None:
    matrix = random_matrix(shape)
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    first, third, fifth = COEFFICIENTS
    values = values / values.square().sum().sqrt()
    for _ in range(ROUNDS):
        values = first * values + third * values**3 + fifth * values**5
    assert orthogonalised(matrix).double() == pytest.approx((left * values) @ right, abs=1e-4)


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (12, 48)])
def test_the_singular_values_end_near_one(shape: tuple[int, int]) -> None:
    for seed in range(5):
        spread = torch.logspace(0, -1, shape[1])  # columns of lengths from 1 to a tenth
        values = torch.linalg.svdvals(orthogonalised(random_matrix(shape, seed) * spread))
        assert 0.6 < values.min() <= values.max() < 1.25


def test_neither_scale_nor_sign_nor_a_rotation_of_rows_matters() -> None:
    matrix = random_matrix((6, 40))
    expected = orthogonalised(matrix)
    assert orthogonalised(1e-6 * matrix) == pytest.approx(expected, abs=1e-4)
    assert orthogonalised(-matrix) == pytest.approx(-expected, abs=1e-6)
    rotation, _ = torch.linalg.qr(random_matrix((6, 6), seed=1))
    assert orthogonalised(rotation @ matrix) == pytest.approx(rotation @ expected, abs=1e-4)


def test_nothing_stays_nothing() -> None:
    assert torch.equal(orthogonalised(torch.zeros(3, 5)), torch.zeros(3, 5))


def test_a_matrix_moves_as_with_the_optimizer_of_torch() -> None:
    ours, theirs = (torch.nn.Parameter(random_matrix((8, 24))) for _ in range(2))
    muon = Muon([{"params": [ours], "weight_decay": 0.1}], lr=0.05)
    reference = torch.optim.Muon([theirs], lr=0.05, weight_decay=0.1, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw")
    start = ours.detach().clone()
    for seed in range(1, 6):
        ours.grad = theirs.grad = random_matrix((8, 24), seed)
        muon.step()
        reference.step()
    moved = (ours - start).norm()
    assert (ours - theirs).norm() < 0.02 * moved  # torch rounds to bf16


def test_the_length_of_a_step_is_about_that_of_adam() -> None:
    for shape in ((16, 32, 4, 4), (256, 64)):
        weight = torch.nn.Parameter(torch.zeros(shape))
        muon = Muon([{"params": [weight]}], lr=1.0)
        weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        muon.step()
        length = float(weight.detach().square().mean().sqrt())
        assert length == pytest.approx(ADAM_LENGTH, rel=0.3)  # as the singular values are from 0.7 to 1.2


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_kernel_is_the_matrix_of_its_first_dimension(layout: torch.memory_format) -> None:
    gradient = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    kernel = torch.nn.Parameter(torch.zeros(5, 3, 4, 4).to(memory_format=layout))
    matrix = torch.nn.Parameter(torch.zeros(5, 48))
    kernel.grad, matrix.grad = gradient.to(memory_format=layout), gradient.flatten(1)
    Muon([{"params": [kernel, matrix]}], lr=0.1).step()
    assert kernel.is_contiguous(memory_format=layout)
    assert kernel.detach().flatten(1) == pytest.approx(matrix.detach(), abs=1e-7)


def test_weight_decay_shrinks_and_what_has_no_gradient_stays() -> None:
    decayed, without = torch.nn.Parameter(torch.ones(2, 3)), torch.nn.Parameter(torch.ones(2, 3))
    decayed.grad = torch.zeros(2, 3)
    Muon([{"params": [decayed, without], "weight_decay": 0.5}], lr=0.1).step()
    assert decayed.detach() == pytest.approx(torch.full((2, 3), 0.95))
    assert torch.equal(without.detach(), torch.ones(2, 3))
