"""Least squares and the pseudo-inverse.

Gradients: Golub and Pereyra (1973), The differentiation of pseudo-inverses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tetragrad.core import dtypes
from tetragrad.core.dtypes import part_dtype
from tetragrad.core.errors import ShapeError
from tetragrad.graph.host_call import Operand
from tetragrad.tensor import host
from tetragrad.tensor.host import Received
from tetragrad.tensor.linalg import host_solves as numpy_side
from tetragrad.tensor.linalg.checks import (
    adjoint,
    broadcast_batch,
    check_matrix,
    check_rows,
    check_same_dtype,
    check_square,
    epsilon,
    is_vector_beside,
)
from tetragrad.tensor.linalg.spectra import reduced_svd

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class LstsqResult(NamedTuple):
    """The solution, the squared distances, the rank and the singular values."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


def lstsq(
    A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None
) -> LstsqResult:
    """The shortest X that minimises ‖A X − B‖.

    Computed from the singular values: those up to ``rcond`` times the largest count
    as zero. The gradient is that of pinv(A) B.

    Args:
        A: (…, m, n).
        B: (…, m, k), or (…, m) for vectors.
        rcond: machine precision times max(m, n) if left out.
        driver: which of LAPACK's functions PyTorch would call. The solution is the
            same; it decides which of the other results are empty, as it does there.

    Returns:
        The solution (…, n, k); the squared distances (…, k), unless the driver is
        "gelsy", the default, or an A is not tall or not of full rank; the rank, unless
        the driver is "gels"; the singular values of "gelsd" and "gelss".

    >>> A = Tensor([[1.0], [1.0]])
    >>> tetragrad.linalg.lstsq(A, Tensor([[1.0], [3.0]])).solution.round(decimals=3)
    tensor([[2.]])
    """
    check_matrix("lstsq", A)
    check_same_dtype("lstsq", A, B)
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise ShapeError(
            f"linalg.lstsq(driver={driver!r})",
            hint="use 'gels', 'gelsy', 'gelsd' or 'gelss', or leave it out",
        )
    is_vector = is_vector_beside(A, B)
    right = B.unsqueeze(-1) if is_vector else B
    check_rows("lstsq", A, right)
    A, right = broadcast_batch(A, right)
    rows, columns = A.shape[-2:]
    limit = epsilon(A) * max(rows, columns) if rcond is None else float(rcond)
    solution, rank, values = host.call_now(_LSTSQ, A, right, options=(limit,))
    residuals = _residuals(A, right, solution, rank, driver or "gelsy")
    if is_vector:
        solution = solution.squeeze(-1)
        residuals = residuals.squeeze(-1) if residuals.ndim > 1 else residuals
    if driver == "gels":
        rank = rank.reshape(-1)[:0]
    if driver not in ("gelsd", "gelss"):
        values = values.reshape(-1)[:0]
    return LstsqResult(solution, residuals, rank, values)


def _residuals(
    A: Tensor, right: Tensor, solution: Tensor, rank: Tensor, driver: str
) -> Tensor:
    rows, columns = A.shape[-2:]
    has_full_rank = bool((rank.read() == columns).all())
    if rows <= columns or driver == "gelsy" or not has_full_rank:
        return solution.abs().reshape(-1)[:0]
    distance = (A @ solution - right).abs()
    return (distance * distance).sum(-2)


def _describe_lstsq(
    matrix: Operand, right: Operand, rcond: float
) -> tuple[Operand, ...]:
    *batch, rows, columns = matrix.shape
    return (
        Operand((*batch, columns, right.shape[-1]), matrix.dtype),
        Operand(tuple(batch), dtypes.int64),
        Operand((*batch, min(rows, columns)), part_dtype(matrix.dtype)),
    )


def _lstsq_gradient(call: Received) -> tuple[Tensor | None, ...]:
    A, B = call.inputs
    of_X, _, of_values = call.upstream
    if of_values is not None:
        U, _, Vh = reduced_svd(A)
        return (U * of_values.unsqueeze(-2)) @ Vh, None
    assert of_X is not None
    inverted = _pinv_node(A, 0.0, call.options[0], False)
    of_inverse = of_X @ adjoint(B)
    return _through_pinv(A, inverted, of_inverse), adjoint(inverted) @ of_X


_LSTSQ = host.define(
    "linalg.lstsq", numpy_side.least_squares, _describe_lstsq, _lstsq_gradient
)


def pinv(
    A: Tensor,
    rcond: Any = None,
    *,
    atol: Any = None,
    rtol: Any = None,
    hermitian: bool = False,
) -> Tensor:
    """Moore and Penrose's inverse, which exists for every matrix.

    Singular values up to max(atol, rtol × the largest) count as zero; rtol is
    machine precision times max(m, n) if neither is given. The gradient holds where
    the rank does not change (Golub and Pereyra 1973).

    >>> tetragrad.linalg.pinv(Tensor([[2.0, 0.0], [0.0, 0.0]]))
    tensor([[0.5000, 0.0000],
            [0.0000, 0.0000]])
    """
    check_matrix("pinv", A)
    if hermitian:
        check_square("pinv", A)
    tolerances = tolerances_of(A, atol, rcond if rtol is None else rtol)
    return host.call_now(_PINV, A, *tolerances, options=(bool(hermitian),))[0]


def tolerances_of(A: Tensor, atol: Any, rtol: Any) -> tuple[Tensor, Tensor]:
    """Absolute and relative tolerance, one for each matrix of the batch."""
    if rtol is None:
        default = 0.0 if _is_positive(atol) else epsilon(A) * max(A.shape[-2:])
    else:
        default = rtol
    return _spread(A, 0.0 if atol is None else atol), _spread(A, default)


def _is_positive(atol: Any) -> bool:
    if atol is None:
        return False
    return bool((atol > 0).read().any()) if hasattr(atol, "read") else atol > 0


def _spread(A: Tensor, value: Any) -> Tensor:
    """A number or a tensor of them, in the batch's shape and A's real dtype."""
    dtype = part_dtype(A.dtype)
    if hasattr(value, "read"):
        return value.detach().to(dtype).expand(*A.shape[:-2])
    return A.tensor_class.full(A.shape[:-2], value, dtype=dtype, device=A.device)


def _describe_pinv(
    matrix: Operand, atol: Operand, rtol: Operand, hermitian: bool
) -> tuple[Operand, ...]:
    *batch, rows, columns = matrix.shape
    return (Operand((*batch, columns, rows), matrix.dtype),)


def _pinv_node(A: Tensor, atol: float, rtol: float, hermitian: bool) -> Tensor:
    tolerances = _spread(A, atol), _spread(A, rtol)
    return host.call(_PINV, A, *tolerances, options=(hermitian,))[0]


def _pinv_gradient(call: Received) -> tuple[Tensor | None, ...]:
    upstream = call.upstream[0]
    assert upstream is not None
    return _through_pinv(call.inputs[0], call.outputs[0], upstream), None, None


def _through_pinv(A: Tensor, inverted: Tensor, upstream: Tensor) -> Tensor:
    """−Pᴴ∂Pᴴ + (I − A P) ∂ᴴ P Pᴴ + Pᴴ P ∂ᴴ (I − P A), for P = pinv(A)."""
    turned, received = adjoint(inverted), adjoint(upstream)
    left = received @ inverted
    left = left - A @ (inverted @ left)
    right = inverted @ received
    right = right - (right @ inverted) @ A
    return left @ turned + turned @ right - turned @ upstream @ turned


_PINV = host.define(
    "linalg.pinv", numpy_side.pseudo_inverse, _describe_pinv, _pinv_gradient
)
