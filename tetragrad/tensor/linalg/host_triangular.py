"""Triangular systems on NumPy arrays, which NumPy has no routine for.

Small ones are solved row after row. In larger ones the blocks on the diagonal are
inverted, all of them together, and what is left are products of matrices; that is as
exact as substitution where the blocks are well-conditioned, which is looked at.
"""

from __future__ import annotations

import numpy as np

#: Rows of a block on the diagonal; a power of two.
BLOCK = 32
#: The largest condition number of a block whose inverse is used. Single precision is
#: inverted in double, and so has digits to spare.
MOST_CONDITION = {"f": 1e7, "F": 1e7, "d": 1e3, "D": 1e3}


def solve_triangular(
    matrix: np.ndarray, right: np.ndarray, upper: bool, unit_diagonal: bool
) -> tuple[np.ndarray]:
    """X with A X = B, of which A's other triangle is not read.

    A zero on the diagonal divides by zero, as it does in LAPACK.
    """
    if upper:
        # From the other corner it is a lower one.
        turned = matrix[..., ::-1, ::-1], right[..., ::-1, :]
        return (_solve_lower(*turned, unit_diagonal)[..., ::-1, :],)
    return (_solve_lower(matrix, right, unit_diagonal),)


def _solve_lower(
    matrix: np.ndarray, right: np.ndarray, unit_diagonal: bool
) -> np.ndarray:
    if matrix.shape[-1] > BLOCK:
        inverses = _inverses_of_blocks(matrix, unit_diagonal)
        if inverses is not None:
            return _substitute_blocks(matrix, right, inverses)
    return _substitute(matrix, right, unit_diagonal)


def _substitute(
    matrix: np.ndarray, right: np.ndarray, unit_diagonal: bool
) -> np.ndarray:
    """Row after row, with all columns and all of the batch together."""
    solution = right.copy()
    for row in range(matrix.shape[-1]):
        entry = solution[..., row : row + 1, :]
        entry -= matrix[..., row : row + 1, :row] @ solution[..., :row, :]
        if not unit_diagonal:
            entry /= matrix[..., row : row + 1, row : row + 1]
    return solution


def _substitute_blocks(
    matrix: np.ndarray, right: np.ndarray, inverses: np.ndarray
) -> np.ndarray:
    """Block after block: a product with what is known, then one with an inverse."""
    solution = np.empty_like(right)
    size = matrix.shape[-1]
    for number, start in enumerate(range(0, size, BLOCK)):
        stop = min(start + BLOCK, size)
        rest = right[..., start:stop, :]
        if start:
            known = solution[..., :start, :]
            rest = rest - matrix[..., start:stop, :start] @ known
        inverse = inverses[..., number, : stop - start, : stop - start]
        solution[..., start:stop, :] = inverse @ rest
    return solution


def _inverses_of_blocks(matrix: np.ndarray, unit_diagonal: bool) -> np.ndarray | None:
    """The inverses of the blocks on the diagonal; None if one may be inexact."""
    wide = np.result_type(matrix.dtype, np.float64)
    size = matrix.shape[-1]
    count = -(-size // BLOCK)
    blocks = np.zeros((*matrix.shape[:-2], count, BLOCK, BLOCK), wide)
    for number in range(count):
        start, stop = number * BLOCK, min((number + 1) * BLOCK, size)
        whole = blocks[..., number, : stop - start, : stop - start]
        whole[...] = matrix[..., start:stop, start:stop]
    blocks = np.where(np.tri(BLOCK, dtype=bool), blocks, 0)
    diagonal = np.einsum("...ii->...i", blocks)
    if unit_diagonal:
        diagonal[...] = 1
    # The last block is filled up with the unit matrix.
    diagonal[..., -1, size - (count - 1) * BLOCK :] = 1
    inverses = _inverted(blocks)
    condition = _largest_sums(blocks) * _largest_sums(inverses)
    # A comparison with NaN is false.
    is_exact = condition <= MOST_CONDITION[matrix.dtype.char]
    return inverses if is_exact.all() else None


def _inverted(blocks: np.ndarray) -> np.ndarray:
    """Inverses of lower triangular blocks, of which larger parts follow from smaller.

    The inverse of [[A, 0], [B, C]] is [[A⁻¹, 0], [-C⁻¹ B A⁻¹, C⁻¹]].
    """
    inverses = np.zeros_like(blocks)
    np.einsum("...ii->...i", inverses)[...] = 1 / np.einsum("...ii->...i", blocks)
    half = 1
    while half < BLOCK:
        known, given = (
            _diagonal_parts(entry, 2 * half) for entry in (inverses, blocks)
        )
        upper, lower = known[..., :half, :half], known[..., half:, half:]
        known[..., half:, :half] = -(lower @ given[..., half:, :half] @ upper)
        half *= 2
    return inverses


def _diagonal_parts(blocks: np.ndarray, size: int) -> np.ndarray:
    """A view of the parts of a size on the diagonal of each block."""
    count = BLOCK // size
    parts = blocks.reshape(*blocks.shape[:-2], count, size, count, size)
    return np.einsum("...iaib->...iab", parts)


def _largest_sums(blocks: np.ndarray) -> np.ndarray:
    """The largest sum of a column's sizes: a norm of each block."""
    sums: np.ndarray = np.abs(blocks).sum(-2).max(-1)
    return sums
