"""The largest singular values of a matrix, from products with a few random vectors.

Halko, Martinsson and Tropp (2011), Finding structure with randomness, algorithms 4.4
and 5.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tetragrad.core.errors import ShapeError
from tetragrad.tensor.linalg.checks import adjoint, check_matrix
from tetragrad.tensor.linalg.factorisations import qr
from tetragrad.tensor.linalg.spectra import svd

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


def svd_lowrank(
    A: Tensor, q: int | None = 6, niter: int | None = 2, M: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """U, S and V with A − M ≈ U diag(S) Vᴴ, of rank ``q``.

    Args:
        A: (…, m, n).
        q: how many singular values; somewhat more than the rank of A.
        niter: how often the vectors are multiplied with A Aᴴ, which makes slowly
            decaying singular values distinct.
        M: subtracted from A, for example its mean.

    >>> A = Tensor([[2.0, 0.0], [0.0, 0.0]])
    >>> tetragrad.svd_lowrank(A, q=1)[1]
    tensor([2.])
    """
    check_matrix("svd_lowrank", A)
    count = 6 if q is None else q
    if not 0 < count <= min(A.shape[-2:]):
        raise ShapeError(
            f"svd_lowrank(q={q}) of shape {A.shape}: at most {min(A.shape[-2:])}"
        )
    A = A if M is None else A - M
    is_wide = A.shape[-2] < A.shape[-1]
    tall = adjoint(A) if is_wide else A
    basis = _basis(tall, count, 2 if niter is None else niter)
    small = adjoint(basis) @ tall
    U, S, Vh = svd(small, full_matrices=False)
    left, right = basis @ U, adjoint(Vh)
    return (right, S, left) if is_wide else (left, S, right)


def pca_lowrank(
    A: Tensor, q: int | None = None, center: bool = True, niter: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """The principal components of rows: ``svd_lowrank`` of A without its mean.

    Returns:
        U, S and V: the columns of V are the principal directions, and A V[:, :k] the
        rows in terms of the first k.

    >>> A = Tensor([[1.0, 0.0], [3.0, 0.0]])
    >>> tetragrad.pca_lowrank(A, q=1)[1].round(decimals=4)
    tensor([1.4142])
    """
    check_matrix("pca_lowrank", A)
    count = min(6, *A.shape[-2:]) if q is None else q
    mean = A.mean(-2, keepdim=True) if center else None
    return svd_lowrank(A, count, niter, mean)


def _basis(A: Tensor, count: int, rounds: int) -> Tensor:
    """Orthonormal columns that span nearly all of what A reaches."""
    random = A.tensor_class.randn(
        *A.shape[:-2], A.shape[-1], count, dtype=A.dtype, device=A.device
    )
    columns = qr(A @ random).Q
    for _ in range(rounds):
        columns = qr(adjoint(A) @ columns).Q
        columns = qr(A @ columns).Q
    return columns
