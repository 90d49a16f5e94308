"""Triangular systems in blocks, against row-by-row substitution in double precision."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor


def system(size: int, dtype: type, batch: tuple[int, ...] = ()) -> list[np.ndarray]:
    """A matrix whose two triangles are well-conditioned, and a right-hand side."""
    random = np.random.default_rng(size)
    matrix = random.standard_normal((*batch, size, size)) / size**0.5
    matrix += 2 * np.eye(size)
    right = random.standard_normal((*batch, size, 3))
    return [entry.astype(dtype) for entry in (matrix, right)]


@pytest.mark.parametrize("size", [1, 31, 32, 33, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64])
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize("unit", [False, True])
def test_solution(size: int, dtype: type, upper: bool, unit: bool) -> None:
    matrix, right = system(size, dtype, (2,))
    solution = tetragrad.linalg.solve_triangular(
        Tensor(matrix), Tensor(right), upper=upper, unitriangular=unit
    ).numpy()
    used = np.triu(matrix) if upper else np.tril(matrix)
    if unit:
        used[..., range(size), range(size)] = 1
    wide = used.astype(np.complex128)
    wanted = np.linalg.solve(wide, right.astype(np.complex128))
    assert solution.dtype == dtype
    tolerance = 1e-12 if dtype is np.float64 else 1e-4
    np.testing.assert_allclose(solution, wanted, rtol=tolerance, atol=tolerance)


def test_badly_conditioned_blocks_are_substituted() -> None:
    """Ones below a unit diagonal: the inverse grows as 2**n, the solution does not."""
    size = 128
    matrix = np.tril(-np.ones((size, size), np.float32), -1)
    matrix += np.eye(size, dtype=np.float32)
    solution = np.ones((size, 1), np.float32)
    right = matrix @ solution
    found = tetragrad.linalg.solve_triangular(
        Tensor(matrix), Tensor(right), upper=False
    ).numpy()
    np.testing.assert_array_equal(found, solution)


def test_zero_on_the_diagonal_leaves_what_does_not_depend_on_it() -> None:
    matrix, right = system(80, np.float32)
    matrix[50, 50] = 0
    found = tetragrad.linalg.solve_triangular(
        Tensor(matrix), Tensor(right), upper=False
    ).numpy()
    assert np.isfinite(found[:50]).all()
    assert not np.isfinite(found[50:]).any()


def test_the_other_triangle_is_not_read() -> None:
    matrix, right = system(70, np.float64)
    spoiled = np.where(np.tri(70, dtype=bool), matrix, np.nan)
    found = tetragrad.linalg.solve_triangular(
        Tensor(spoiled), Tensor(right), upper=False
    ).numpy()
    np.testing.assert_allclose(np.tril(matrix) @ found, right, rtol=1e-12, atol=1e-12)
