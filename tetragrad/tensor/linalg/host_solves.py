"""Solutions of linear systems, and functions of matrices, on NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from tetragrad.tensor.linalg.host_triangular import solve_triangular

Arrays = tuple[np.ndarray, ...]


def solve(matrix: np.ndarray, right: np.ndarray) -> Arrays:
    """X with A X = B, and info: nonzero where A is singular."""
    info = np.zeros(matrix.shape[:-2], np.int32)
    if not (matrix.size and right.size):
        return np.zeros(right.shape, matrix.dtype), info
    try:
        return np.linalg.solve(matrix, right), info
    except np.linalg.LinAlgError:
        pass
    solution = np.full(right.shape, np.nan, matrix.dtype)
    for index in np.ndindex(matrix.shape[:-2]):
        try:
            solution[index] = np.linalg.solve(matrix[index], right[index])
        except np.linalg.LinAlgError:
            info[index] = zero_pivot(matrix[index])
    return solution, info


def zero_pivot(matrix: np.ndarray) -> int:
    """Which diagonal element of U is zero, counted from 1, for a singular matrix."""
    from tetragrad.tensor.linalg.host_factorisations import lu

    info = lu(matrix, True)[2]
    return int(info) or len(matrix)


def inverse(matrix: np.ndarray) -> Arrays:
    """The inverse, and info as for ``solve``."""
    unit = np.eye(matrix.shape[-1], dtype=matrix.dtype)
    return solve(matrix, np.broadcast_to(unit, matrix.shape))


def solve_cholesky(factor: np.ndarray, right: np.ndarray, upper: bool) -> Arrays:
    """X with L Lᴴ X = B; with ``upper`` the factor is Lᴴ."""
    turned = np.swapaxes(factor.conj(), -1, -2)
    first, second = (turned, factor) if upper else (factor, turned)
    (between,) = solve_triangular(first, right, False, False)
    return solve_triangular(second, between, True, False)


def solve_ldl(
    packed: np.ndarray, pivots: np.ndarray, right: np.ndarray, hermitian: bool
) -> Arrays:
    """X with L D Lᵀ X = B for the factors of ``ldl`` (Lᴴ if Hermitian)."""
    solution = right.copy()
    for index in np.ndindex(packed.shape[:-2]):
        _solve_one_ldl(packed[index], pivots[index], solution[index], hermitian)
    return (solution,)


def _solve_one_ldl(
    packed: np.ndarray, pivots: np.ndarray, solution: np.ndarray, hermitian: bool
) -> None:
    blocks = _blocks(pivots)
    for start, stop, other in blocks:
        _swap_rows(solution, stop - 1, other)
        solution[stop:] -= packed[stop:, start:stop] @ solution[start:stop]
        block = np.array(packed[start:stop, start:stop])
        if stop - start == 2:
            mirrored = block[1, 0]
            block[0, 1] = mirrored.conj() if hermitian else mirrored
        solution[start:stop] = np.linalg.solve(block, solution[start:stop])
    for start, stop, other in reversed(blocks):
        factor = packed[stop:, start:stop].T
        factor = factor.conj() if hermitian else factor
        solution[start:stop] -= factor @ solution[stop:]
        _swap_rows(solution, stop - 1, other)


def _blocks(pivots: np.ndarray) -> list[tuple[int, int, int]]:
    """Where each block of D starts and stops, and the row that came to its end."""
    found = []
    start = 0
    while start < len(pivots):
        width = 1 if pivots[start] > 0 else 2
        found.append((start, start + width, abs(int(pivots[start])) - 1))
        start += width
    return found


def _swap_rows(matrix: np.ndarray, first: int, second: int) -> None:
    if first != second:
        matrix[[first, second]] = matrix[[second, first]]


def least_squares(matrix: np.ndarray, right: np.ndarray, rcond: float) -> Arrays:
    """The shortest X that minimises ‖A X − B‖, the rank of A, its singular values."""
    from tetragrad.tensor.linalg.host_factorisations import svd

    left, values, right_vectors = svd(matrix, False)
    kept = _kept(values, 0.0, rcond)
    rank = kept.sum(-1).astype(np.int64)
    inverted = np.divide(1, values, out=np.zeros_like(values), where=kept)
    turned = np.swapaxes(left.conj(), -1, -2) @ right
    scaled = inverted[..., None] * turned
    return np.swapaxes(right_vectors.conj(), -1, -2) @ scaled, rank, values


def pseudo_inverse(
    matrix: np.ndarray, atol: np.ndarray, rtol: np.ndarray, hermitian: bool
) -> Arrays:
    """Moore and Penrose's inverse: singular values up to the tolerance count as 0."""
    from tetragrad.tensor.linalg.host_factorisations import eigh, svd

    if hermitian:
        values, left = eigh(matrix, "L")
        right = np.swapaxes(left.conj(), -1, -2)
    else:
        left, values, right = svd(matrix, False)
    kept = _kept(np.abs(values), atol[..., None], rtol[..., None])
    inverted = np.divide(1, values, out=np.zeros_like(values), where=kept)
    columns = np.swapaxes(right.conj(), -1, -2) * inverted[..., None, :]
    return (columns @ np.swapaxes(left.conj(), -1, -2),)


def _kept(values: np.ndarray, atol: Any, rtol: Any) -> np.ndarray:
    """Which singular values are above the tolerance."""
    largest = values.max(-1, keepdims=True, initial=0)
    return values > np.maximum(atol, rtol * largest)


# --- functions of a matrix -----------------------------------------------------------


def determinant(matrix: np.ndarray) -> Arrays:
    """The determinant."""
    return (np.asarray(np.linalg.det(matrix), matrix.dtype),)


def sign_and_log(matrix: np.ndarray) -> Arrays:
    """The sign of the determinant, and the logarithm of its size."""
    sign, logarithm = np.linalg.slogdet(matrix)
    real = matrix.real.dtype
    return np.asarray(sign, matrix.dtype), np.asarray(logarithm, real)


def cofactors(matrix: np.ndarray) -> Arrays:
    """The derivative of the determinant, which exists for singular matrices too.

    With A = U diag(s) Vᴴ it is det(U Vᴴ) U diag(∏ of the other s) Vᴴ, conjugated.
    """
    if not matrix.size:
        return (matrix.copy(),)
    left, values, right = np.linalg.svd(matrix)
    size = matrix.shape[-1]
    others = np.broadcast_to(values[..., None, :], (*values.shape, size)).copy()
    others[..., np.arange(size), np.arange(size)] = 1
    products = others.prod(-1)
    turn = np.linalg.det(left) * np.linalg.det(right)
    cofactor = (left * products[..., None, :]) @ right
    return (np.asarray(turn.conj()[..., None, None] * cofactor, matrix.dtype),)


#: Numerator of the Padé approximant of order 13 to exp, and the norm up to which it
#: is exact to double precision (Higham 2005, The scaling and squaring method).
PADE = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0,
    1187353796428800.0, 129060195264000.0, 10559470521600.0, 670442572800.0,
    33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
PADE_LIMIT = 5.371920351148152


def exponential(matrix: np.ndarray) -> Arrays:
    """exp(A) by scaling, a Padé approximant, and squaring; carried in double."""
    wide = np.result_type(matrix.dtype, np.float64)
    scaled = matrix.astype(wide)
    if not matrix.size:
        return (matrix.copy(),)
    norms = np.abs(scaled).sum(-2).max(-1)
    finite = np.where(np.isfinite(norms), norms, 0)
    squarings = np.ceil(np.log2(np.maximum(finite / PADE_LIMIT, 1))).astype(int)
    scaled = scaled / np.exp2(squarings)[..., None, None]
    scaled[~np.isfinite(norms)] = 0
    result = _pade(scaled)
    for step in range(int(squarings.max())):
        again = squarings > step
        result[again] = result[again] @ result[again]
    result[~np.isfinite(norms)] = np.nan
    return (result.astype(matrix.dtype),)


def _pade(matrix: np.ndarray) -> np.ndarray:
    unit = np.eye(matrix.shape[-1], dtype=matrix.dtype)
    second = matrix @ matrix
    fourth = second @ second
    sixth = second @ fourth
    b = PADE
    odd = sixth @ (b[13] * sixth + b[11] * fourth + b[9] * second)
    odd = matrix @ (odd + b[7] * sixth + b[5] * fourth + b[3] * second + b[1] * unit)
    even = sixth @ (b[12] * sixth + b[10] * fourth + b[8] * second)
    even = even + b[6] * sixth + b[4] * fourth + b[2] * second + b[0] * unit
    return np.linalg.solve(even - odd, even + odd)
