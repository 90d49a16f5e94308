"""Factorisations as functions of NumPy arrays: what a host function computes.

Those that NumPy has are called; LU and LDLᵀ are written here. Nothing raises for a
matrix without the factorisation: ``info`` says which step failed, as in LAPACK.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

#: Columns that LU eliminates together, so that most work is a matrix product.
BLOCK = 48

Arrays = tuple[np.ndarray, ...]


def _matrices(batch: np.ndarray) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Each matrix of a batch with its index."""
    for index in np.ndindex(batch.shape[:-2]):
        yield index, batch[index]


def _info(batch: np.ndarray) -> np.ndarray:
    return np.zeros(batch.shape[:-2], np.int32)


# --- Cholesky ------------------------------------------------------------------------


def cholesky(matrix: np.ndarray) -> Arrays:
    """L with A = L Lᴴ, and info: the order of the first minor that is not definite."""
    info = _info(matrix)
    if not matrix.size:
        return matrix.copy(), info
    try:
        return np.linalg.cholesky(matrix), info
    except np.linalg.LinAlgError:
        pass
    factor = np.zeros_like(matrix)
    for index, one in _matrices(matrix):
        order = _definite_order(one)
        info[index] = 0 if order == len(one) else order + 1
        leading = one[:order, :order]
        if order:
            factor[index][:order, :order] = np.linalg.cholesky(leading)
    return factor, info


def _definite_order(matrix: np.ndarray) -> int:
    """The largest leading part that is positive definite: it is halved upon."""
    low, high = 0, len(matrix)
    while low < high:
        middle = (low + high + 1) // 2
        try:
            np.linalg.cholesky(matrix[:middle, :middle])
            low = middle
        except np.linalg.LinAlgError:
            high = middle - 1
    return low


# --- orthogonal factorisations --------------------------------------------------------


def qr(matrix: np.ndarray, mode: str) -> Arrays:
    """Q with orthonormal columns and upper triangular R."""
    *batch, rows, columns = matrix.shape
    inner = min(rows, columns)
    if matrix.size:
        factors = np.linalg.qr(
            matrix, mode="complete" if mode == "complete" else "reduced"
        )
        return np.asarray(factors[0]), np.asarray(factors[1])
    height = rows if mode == "complete" else inner
    unit = np.broadcast_to(
        np.eye(rows, height, dtype=matrix.dtype), (*batch, rows, height)
    )
    return unit.copy(), np.zeros((*batch, height, columns), matrix.dtype)


def householder(matrix: np.ndarray) -> Arrays:
    """R with the reflectors of QR below its diagonal, and their factors (geqrf)."""
    *batch, rows, columns = matrix.shape
    packed = np.empty_like(matrix)
    factors = np.zeros((*batch, min(rows, columns)), matrix.dtype)
    for index, one in _matrices(matrix):
        if one.size:
            turned, factors[index] = np.linalg.qr(one, mode="raw")
            packed[index] = turned.T
    return packed, factors


def svd(matrix: np.ndarray, full_matrices: bool) -> Arrays:
    """U, S (descending) and Vᴴ with A = U diag(S) Vᴴ."""
    if matrix.shape[-1] and matrix.shape[-2]:
        return tuple(np.linalg.svd(matrix, full_matrices=full_matrices))
    *batch, rows, columns = matrix.shape
    real = matrix.real.dtype
    left = np.eye(rows, rows if full_matrices else 0, dtype=matrix.dtype)
    right = np.eye(columns if full_matrices else 0, columns, dtype=matrix.dtype)
    return (
        np.broadcast_to(left, (*batch, *left.shape)).copy(),
        np.zeros((*batch, 0), real),
        np.broadcast_to(right, (*batch, *right.shape)).copy(),
    )


def singular_values(matrix: np.ndarray) -> Arrays:
    """The singular values alone, descending."""
    if not (matrix.shape[-1] and matrix.shape[-2]):
        return (np.zeros((*matrix.shape[:-2], 0), matrix.real.dtype),)
    return (np.linalg.svd(matrix, compute_uv=False),)


def eigh(matrix: np.ndarray, triangle: str) -> Arrays:
    """Ascending eigenvalues and orthonormal eigenvectors of one triangle."""
    if not matrix.size:
        return np.zeros(matrix.shape[:-1], matrix.real.dtype), matrix.copy()
    values, vectors = np.linalg.eigh(matrix, UPLO=triangle)  # type: ignore[call-overload]
    return values, vectors


def eigenvalues(matrix: np.ndarray, triangle: str) -> Arrays:
    """The eigenvalues alone, ascending."""
    if not matrix.size:
        return (np.zeros(matrix.shape[:-1], matrix.real.dtype),)
    return (np.linalg.eigvalsh(matrix, UPLO=triangle),)  # type: ignore[call-overload]


def eig(matrix: np.ndarray) -> Arrays:
    """Eigenvalues and eigenvectors of length 1, as complex numbers."""
    dtype = np.result_type(matrix.dtype, np.complex64)
    if not matrix.size:
        return np.zeros(matrix.shape[:-1], dtype), matrix.astype(dtype)
    values, vectors = np.linalg.eig(matrix)
    return values.astype(dtype), vectors.astype(dtype)


# --- LU -----------------------------------------------------------------------------


def lu(matrix: np.ndarray, pivot: bool) -> Arrays:
    """L and U in one matrix, LAPACK's pivots (from 1), and info: the first zero pivot.

    Elimination with partial pivoting, ``BLOCK`` columns at a time (Golub and Van
    Loan, Matrix Computations, 3.2.11).
    """
    *batch, rows, columns = matrix.shape
    inner = min(rows, columns)
    packed = matrix.copy()
    pivots = np.empty((*batch, inner), np.int32)
    pivots[...] = np.arange(1, inner + 1)
    info = _info(matrix)
    for index, one in _matrices(packed):
        info[index] = _eliminate(one, pivots[index], pivot)
    return packed, pivots, info


def _eliminate(matrix: np.ndarray, pivots: np.ndarray, pivot: bool) -> int:
    """LU of one matrix in place; the number of the first zero pivot, or 0."""
    inner = len(pivots)
    zero_pivot = 0
    for start in range(0, inner, BLOCK):
        stop = min(start + BLOCK, inner)
        for column in range(start, stop):
            if pivot:
                _swap_pivot(matrix, pivots, column)
            if matrix[column, column] == 0:
                zero_pivot = zero_pivot or column + 1
                # With pivots all that is below is zero too. Without, nothing can
                # stand there, and division says so.
                if pivot:
                    continue
            below = matrix[column + 1 :, column]
            below /= matrix[column, column]
            rest = matrix[column + 1 :, column + 1 : stop]
            rest -= np.outer(below, matrix[column, column + 1 : stop])
        right = matrix[start:stop, stop:]
        for row in range(start, stop):
            right[row - start] -= matrix[row, start:row] @ right[: row - start]
        matrix[stop:, stop:] -= matrix[stop:, start:stop] @ right
    return zero_pivot


def _swap_pivot(matrix: np.ndarray, pivots: np.ndarray, column: int) -> None:
    candidates = matrix[column:, column]
    # Of a complex number LAPACK takes this as the size, so that we choose as it does.
    sizes = np.abs(candidates.real) + np.abs(candidates.imag)
    best = column + int(np.argmax(sizes))
    pivots[column] = best + 1
    if best != column:
        matrix[[column, best]] = matrix[[best, column]]


def permutation(pivots: np.ndarray, rows: int) -> Arrays:
    """The order of rows after LAPACK's swaps: A[order] = L U."""
    order = np.empty((*pivots.shape[:-1], rows), np.int64)
    order[...] = np.arange(rows)
    for index in np.ndindex(pivots.shape[:-1]):
        one = order[index]
        for row, other in enumerate(pivots[index] - 1):
            one[row], one[other] = one[other], one[row]
    return (order,)


# --- LDLᵀ ---------------------------------------------------------------------------

#: Bunch and Kaufman's bound on growth, (1 + √17) / 8.
GROWTH = (1 + 17**0.5) / 8


def ldl(matrix: np.ndarray, hermitian: bool) -> Arrays:
    """L and the blocks of D in one lower triangle, pivots as LAPACK's, and info.

    Diagonal pivoting (Bunch and Kaufman 1977, algorithm A): D has blocks of size 1,
    and of size 2 where both pivots are negative.
    """
    packed = np.tril(matrix)
    pivots = np.empty(matrix.shape[:-1], np.int32)
    info = _info(matrix)
    for index, one in _matrices(packed):
        info[index] = _factorise_symmetric(one, pivots[index], hermitian)
    return packed, pivots, info


def _factorise_symmetric(
    matrix: np.ndarray, pivots: np.ndarray, hermitian: bool
) -> int:
    """LDLᵀ of the lower triangle of one matrix in place."""
    turn: Callable[[np.ndarray], np.ndarray] = np.conj if hermitian else np.asarray
    size = len(matrix)
    zero_pivot = 0
    step = 0
    while step < size:
        width, other = _choose_pivot(matrix, step)
        if width == 0:
            zero_pivot = zero_pivot or step + 1
            pivots[step] = step + 1
            step += 1
            continue
        last = step + width - 1
        _swap_symmetric(matrix, last, other, turn)
        if width == 2:
            matrix[[last, other], step] = matrix[[other, last], step]
        _subtract_block(matrix, step, width, turn)
        pivots[step : step + width] = other + 1 if width == 1 else -(other + 1)
        step += width
    return zero_pivot


def _choose_pivot(matrix: np.ndarray, step: int) -> tuple[int, int]:
    """Size of the next block (0: the column is zero), and the row to bring there."""
    below = np.abs(matrix[step + 1 :, step])
    diagonal = abs(matrix[step, step])
    largest = below.max(initial=0)
    if max(diagonal, largest) == 0 or np.isnan(diagonal):
        return 0, step
    if diagonal >= GROWTH * largest:
        return 1, step
    row = step + 1 + int(np.argmax(below))
    across = np.abs(matrix[row, step:row]).max(initial=0)
    across = max(across, np.abs(matrix[row + 1 :, row]).max(initial=0))
    if diagonal * across >= GROWTH * largest * largest:
        return 1, step
    if abs(matrix[row, row]) >= GROWTH * across:
        return 1, row
    return 2, row


def _swap_symmetric(
    matrix: np.ndarray,
    first: int,
    second: int,
    turn: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Exchange two rows and columns of what is still to be factorised."""
    if first == second:
        return
    below = slice(second + 1, None)
    between = slice(first + 1, second)
    matrix[below, [first, second]] = matrix[below, [second, first]]
    row = matrix[second, between].copy()
    matrix[second, between] = turn(matrix[between, first])
    matrix[between, first] = turn(row)
    diagonal = matrix[first, first]
    matrix[first, first] = matrix[second, second]
    matrix[second, second] = diagonal
    matrix[second, first] = turn(matrix[second, first])


def _subtract_block(
    matrix: np.ndarray,
    step: int,
    width: int,
    turn: Callable[[np.ndarray], np.ndarray],
) -> None:
    """Divide a column or two by their block of D, and take them off what remains."""
    stop = step + width
    block = matrix[step:stop, step:stop].copy()
    if width == 2:
        block[0, 1] = turn(block[1:, 0])[0]
    columns = matrix[stop:, step:stop].copy()
    scaled = columns @ np.linalg.inv(block)
    rest = matrix[stop:, stop:]
    rest -= np.tril(scaled @ turn(columns).T)
    matrix[stop:, step:stop] = scaled
