"""Host functions inside of captured functions: called at every replay."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor, linalg, nn, no_grad, optim
from tetragrad.core.errors import LinAlgError


def positive(seed: int, size: int = 5) -> np.ndarray:
    matrix = np.random.default_rng(seed).standard_normal((2, size, size))
    return (matrix @ matrix.swapaxes(-1, -2) + size * np.eye(size)).astype(np.float32)


def test_kernels_and_host_functions_take_turns() -> None:
    @tetragrad.jit
    def combined(matrix: Tensor, rhs: Tensor) -> tuple[Tensor, Tensor]:
        solution = linalg.solve(matrix * 2, rhs + 1)
        lower = linalg.cholesky(matrix + solution.square().sum() * 0)
        return solution.sum(-1), (lower @ lower.mT).square().sum()

    for seed in range(5):
        matrix = positive(seed)
        rhs = np.random.default_rng(seed + 10).standard_normal((2, 5, 3))
        solution, total = combined(Tensor(matrix), Tensor(rhs.astype(np.float32)))
        expected = np.linalg.solve(matrix * 2.0, rhs + 1).sum(-1)
        np.testing.assert_allclose(solution.numpy(), expected, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(total.item(), np.square(matrix).sum(), rtol=1e-4)
    assert len(combined.captures) == 1


def test_a_host_function_alone_and_first() -> None:
    determinant = tetragrad.jit(linalg.det)
    scaled = tetragrad.jit(lambda matrix: linalg.det(matrix) * 2)
    for seed in range(4):
        matrix = positive(seed)
        expected = np.linalg.det(matrix.astype(np.float64))
        np.testing.assert_allclose(
            determinant(Tensor(matrix)).numpy(), expected, rtol=1e-4
        )
        np.testing.assert_allclose(
            scaled(Tensor(matrix)).numpy(), 2 * expected, rtol=1e-4
        )


def test_a_replay_that_fails_changes_nothing() -> None:
    counter = Tensor([0.0])

    @tetragrad.jit
    @no_grad()
    def counted(matrix: Tensor) -> Tensor:
        counter.add_(1.0)
        return linalg.solve(matrix, matrix)

    matrix = Tensor(positive(0))
    for _ in range(3):
        counted(matrix)
    assert counter.item() == 3.0
    with pytest.raises(LinAlgError, match=r"linalg\.solve"):
        counted(Tensor(np.zeros((2, 5, 5), np.float32)))
    assert counter.item() == 3.0
    np.testing.assert_allclose(counted(matrix).numpy()[1], np.eye(5), atol=1e-5)
    assert counter.item() == 4.0


def test_training_through_a_factorisation() -> None:
    def losses(replayed: bool) -> list[float]:
        weight = nn.Parameter(Tensor(positive(3)))
        optimiser = optim.SGD([weight], lr=0.05)

        def step() -> Tensor:
            loss = -linalg.slogdet(weight).logabsdet.sum() + weight.square().sum() / 9
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            return loss.detach()

        run = tetragrad.jit(step) if replayed else step
        return [run().item() for _ in range(6)]

    found, expected = losses(True), losses(False)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[-1] < found[0]
