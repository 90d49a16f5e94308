"""Singular values and eigenvalues with their vectors.

Gradients of vectors exist only where the values they belong to are distinct, here as
with every framework.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from numpy.linalg import LinAlgError as NumPyError

from tetragrad.core.dtypes import complex_dtype, part_dtype
from tetragrad.core.errors import LinAlgError, ShapeError
from tetragrad.graph.host_call import Operand
from tetragrad.tensor import host
from tetragrad.tensor.host import Received
from tetragrad.tensor.linalg import host_factorisations as numpy_side
from tetragrad.tensor.linalg.checks import (
    adjoint,
    check_matrix,
    check_square,
    identity,
)

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class SVDResult(NamedTuple):
    """Left singular vectors, singular values, right singular vectors as rows."""

    U: Tensor
    S: Tensor
    Vh: Tensor


class EighResult(NamedTuple):
    """Ascending eigenvalues, and eigenvectors as columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class EigResult(NamedTuple):
    """Complex eigenvalues, and eigenvectors as columns, in the same order."""

    eigenvalues: Tensor
    eigenvectors: Tensor


# --- singular values -----------------------------------------------------------------


def svd(A: Tensor, full_matrices: bool = True) -> SVDResult:
    """U, S and Vᴴ with A = U diag(S) Vᴴ; S is descending and not negative.

    Gradient: Wan and Zhang (2019), Automatic differentiation for complex valued SVD,
    which for real matrices is Townsend (2016). It needs distinct singular values, and
    of full matrices only the first min(m, n) vectors have one.

    Args:
        A: (…, m, n).
        full_matrices: U of (m, m) and Vᴴ of (n, n), instead of (m, k) and (k, n).

    Raises:
        LinAlgError: the iteration does not converge (A has NaN or infinities).

    >>> tetragrad.linalg.svd(Tensor([[3.0, 0.0], [0.0, 4.0]])).S
    tensor([4., 3.])
    """
    check_matrix("svd", A)
    with _not_converging("svd"):
        U, S, Vh = host.call_now(_SVD, A, options=(bool(full_matrices),))
    return SVDResult(U, S, Vh)


def svdvals(A: Tensor) -> Tensor:
    """The singular values, descending; the gradient is U diag(∂S) Vᴴ.

    >>> tetragrad.linalg.svdvals(Tensor([[0.0, 2.0], [1.0, 0.0]]))
    tensor([2., 1.])
    """
    check_matrix("svdvals", A)
    with _not_converging("svdvals"):
        return host.call_now(_SVDVALS, A)[0]


class _not_converging:
    """Turn NumPy's error into one that says what was asked."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, NumPyError):
            raise LinAlgError(
                f"linalg.{self.name}: the iteration did not converge ({error})",
                hint="look for NaN and infinities in the matrix",
            ) from error


def _describe_svd(matrix: Operand, full: bool) -> tuple[Operand, ...]:
    *batch, rows, columns = matrix.shape
    inner = min(rows, columns)
    left, right = (rows, columns) if full else (inner, inner)
    return (
        Operand((*batch, rows, left), matrix.dtype),
        Operand((*batch, inner), part_dtype(matrix.dtype)),
        Operand((*batch, right, columns), matrix.dtype),
    )


def _describe_svdvals(matrix: Operand) -> tuple[Operand, ...]:
    *batch, rows, columns = matrix.shape
    return (Operand((*batch, min(rows, columns)), part_dtype(matrix.dtype)),)


def _svd_gradient(call: Received) -> tuple[Tensor | None, ...]:
    inner = min(call.inputs[0].shape[-2:])
    U, S, Vh = call.outputs
    of_U, of_S, of_Vh = call.upstream
    # The vectors beyond the singular values are not determined.
    U, Vh = U[..., :inner], Vh[..., :inner, :]
    if of_S is not None:
        return ((U * _row(of_S)) @ Vh,)
    gaps = _gaps(S * S)
    if of_U is not None:
        of_U = of_U[..., :inner]
        turned = adjoint(U) @ of_U
        middle = ((turned - adjoint(turned)) / gaps) * _row(S)
        middle = middle + _phase(turned, S)
        left = U @ middle
        if U.shape[-2] > inner:
            left = left + (of_U - U @ turned) / _row(S)
        return (left @ Vh,)
    assert of_Vh is not None
    of_V = adjoint(of_Vh[..., :inner, :])
    turned = Vh @ of_V
    middle = S.unsqueeze(-1) * ((turned - adjoint(turned)) / gaps)
    right = middle @ Vh
    if Vh.shape[-1] > inner:
        right = right + adjoint(of_V - adjoint(Vh) @ turned) / S.unsqueeze(-1)
    return (U @ right,)


def _phase(turned: Tensor, S: Tensor) -> Tensor:
    """What a complex U contributes on the diagonal; a real one contributes nothing."""
    if not turned.is_complex():
        return turned * 0
    diagonal = turned.diagonal(0, -2, -1)
    return ((diagonal - diagonal.conj()) * 0.5 / S).diag_embed()


def _row(values: Tensor) -> Tensor:
    return values.unsqueeze(-2)


def _gaps(values: Tensor) -> Tensor:
    """values[j] - values[i], with 1 on the diagonal."""
    return _row(values) - values.unsqueeze(-1) + identity(values.shape[-1], values)


def _svdvals_gradient(call: Received) -> tuple[Tensor | None, ...]:
    of_S = call.upstream[0]
    assert of_S is not None
    U, _, Vh = reduced_svd(*call.inputs)
    return ((U * _row(of_S)) @ Vh,)


def reduced_svd(A: Tensor) -> list[Tensor]:
    """U, S and Vᴴ without checks, computed when they are needed: for gradients."""
    return host.call(_SVD, A, options=(False,))


_SVD = host.define("linalg.svd", numpy_side.svd, _describe_svd, _svd_gradient)
_SVDVALS = host.define(
    "linalg.svdvals", numpy_side.singular_values, _describe_svdvals, _svdvals_gradient
)


# --- eigenvectors of symmetric matrices ----------------------------------------------


def eigh(A: Tensor, UPLO: str = "L") -> EighResult:
    """Eigenvalues, ascending, and orthonormal eigenvectors of a symmetric matrix.

    Only one triangle is read, the lower one unless ``UPLO`` is "U". Gradient:
    V (diag(∂Λ) + skew(Vᴴ ∂V) / gaps) Vᴴ (Giles 2008); that of the eigenvectors needs
    distinct eigenvalues.

    Args:
        A: (…, n, n), symmetric or Hermitian.

    Raises:
        LinAlgError: the iteration does not converge.

    >>> tetragrad.linalg.eigh(Tensor([[2.0, 1.0], [1.0, 2.0]])).eigenvalues
    tensor([1., 3.])
    """
    check_square("eigh", A)
    with _not_converging("eigh"):
        values, vectors = host.call_now(_EIGH, A, options=(_triangle(UPLO),))
    return EighResult(values, vectors)


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """The eigenvalues of a symmetric matrix, ascending.

    >>> tetragrad.linalg.eigvalsh(Tensor([[0.0, 1.0], [1.0, 0.0]]))
    tensor([-1.,  1.])
    """
    check_square("eigvalsh", A)
    with _not_converging("eigvalsh"):
        return host.call_now(_EIGVALSH, A, options=(_triangle(UPLO),))[0]


def _triangle(name: str) -> str:
    if str(name).upper() not in ("L", "U"):
        raise ShapeError(f"linalg.eigh(UPLO={name!r})", hint="use 'L' or 'U'")
    return str(name).upper()


def _describe_eigh(matrix: Operand, triangle: str) -> tuple[Operand, ...]:
    return Operand(matrix.shape[:-1], part_dtype(matrix.dtype)), matrix


def _eigh_gradient(call: Received) -> tuple[Tensor | None, ...]:
    values, vectors = call.outputs
    of_values, of_vectors = call.upstream
    if of_values is not None:
        return ((vectors * _row(of_values)) @ adjoint(vectors),)
    assert of_vectors is not None
    turned = adjoint(vectors) @ of_vectors
    # Only what turns the vectors counts: the skew part, which gives a symmetric result.
    middle = (turned - adjoint(turned)) * 0.5 / _gaps(values)
    inside = middle - middle.diagonal(0, -2, -1).diag_embed()
    return (vectors @ inside @ adjoint(vectors),)


def _describe_eigvalsh(matrix: Operand, triangle: str) -> tuple[Operand, ...]:
    return (Operand(matrix.shape[:-1], part_dtype(matrix.dtype)),)


def _eigvalsh_gradient(call: Received) -> tuple[Tensor | None, ...]:
    of_values = call.upstream[0]
    assert of_values is not None
    _, vectors = host.call(_EIGH, *call.inputs, options=call.options)
    return ((vectors * _row(of_values)) @ adjoint(vectors),)


_EIGH = host.define("linalg.eigh", numpy_side.eigh, _describe_eigh, _eigh_gradient)
_EIGVALSH = host.define(
    "linalg.eigvalsh", numpy_side.eigenvalues, _describe_eigvalsh, _eigvalsh_gradient
)


# --- eigenvectors of any matrix ----------------------------------------------------


def eig(A: Tensor) -> EigResult:
    """Eigenvalues and eigenvectors of a square matrix, complex also for a real one.

    The eigenvectors have length 1. The order of the eigenvalues is LAPACK's. Gradient:
    Boeddeker et al. (2017), On the computation of complex-valued gradients with
    application to statistically optimum beamforming.

    Args:
        A: (…, n, n).

    Raises:
        LinAlgError: the iteration does not converge.

    >>> tetragrad.linalg.eig(Tensor([[0.0, 1.0], [-1.0, 0.0]])).eigenvalues
    tensor([0.+1.j, 0.-1.j])
    """
    check_square("eig", A)
    with _not_converging("eig"):
        return EigResult(*host.call_now(_EIG, A))


def eigvals(A: Tensor) -> Tensor:
    """The eigenvalues of a square matrix, complex also for a real one.

    >>> tetragrad.linalg.eigvals(Tensor([[2.0, 1.0], [0.0, 3.0]]))
    tensor([2.+0.j, 3.+0.j])
    """
    return eig(A).eigenvalues


def _describe_eig(matrix: Operand) -> tuple[Operand, ...]:
    dtype = matrix.dtype if matrix.dtype.is_complex else complex_dtype(matrix.dtype)
    return Operand(matrix.shape[:-1], dtype), Operand(matrix.shape, dtype)


def _eig_gradient(call: Received) -> tuple[Tensor | None, ...]:
    A = call.inputs[0]
    values, vectors = call.outputs
    of_values, of_vectors = call.upstream
    turned = adjoint(vectors)
    if of_values is not None:
        middle = of_values.diag_embed()
    else:
        assert of_vectors is not None
        change = turned @ of_vectors
        # The length of each vector is 1, whatever the matrix.
        lengthening = _row(change.diagonal(0, -2, -1).real)
        change = (change - (turned @ vectors) * lengthening) / _gaps(values).conj()
        middle = change - change.diagonal(0, -2, -1).diag_embed()
    gradient = host.call("linalg.solve", turned, middle @ turned)[0]
    return (gradient if A.is_complex() else gradient.real,)


_EIG = host.define("linalg.eig", numpy_side.eig, _describe_eig, _eig_gradient)
