"""Linear algebra that PyTorch also has as methods of tensors and as plain functions.

The modules that compute it are imported when they are first needed.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from tetragrad.tensor.base import TensorBase

if TYPE_CHECKING:
    from tetragrad.tensor.linalg.determinants import SlogdetResult
    from tetragrad.tensor.linalg.factorisations import LUResult, QRResult
    from tetragrad.tensor.tensor import Tensor


def _factorisations() -> ModuleType:
    from tetragrad.tensor.linalg import factorisations

    return factorisations


def _products() -> ModuleType:
    from tetragrad.tensor.linalg import products

    return products


def _spectra() -> ModuleType:
    from tetragrad.tensor.linalg import spectra

    return spectra


def _determinants() -> ModuleType:
    from tetragrad.tensor.linalg import determinants

    return determinants


def _solving() -> ModuleType:
    from tetragrad.tensor.linalg import solving

    return solving


class LinearAlgebraMethods(TensorBase):
    """Methods on matrices: the last two dimensions of a tensor."""

    __slots__ = ()

    # --- factorisations ---------------------------------------------------------------

    def cholesky(self: Any, upper: bool = False) -> Tensor:
        """The lower triangular factor; see ``linalg.cholesky``.

        >>> Tensor([[4.0]]).cholesky()
        tensor([[2.]])
        """
        return _factorisations().cholesky(self, upper=upper)

    def qr(self: Any, some: bool = True) -> QRResult:
        """Q and R, reduced if ``some``; see ``linalg.qr``.

        >>> Q, R = Tensor([[3.0, 1.0], [0.0, 2.0]]).qr()
        >>> (Q @ R).allclose(Tensor([[3.0, 1.0], [0.0, 2.0]]), atol=1e-6)
        True
        """
        return _factorisations().qr(self, "reduced" if some else "complete")

    def lu(
        self: Any, pivot: bool = True, get_infos: bool = False
    ) -> tuple[Tensor, ...]:
        """L and U in one matrix, the pivots, and infos; see ``linalg.lu_factor_ex``.

        >>> factors, pivots = Tensor([[2.0, 0.0], [0.0, 4.0]]).lu()
        >>> pivots
        tensor([1, 2], dtype=tetragrad.int32)
        """
        packed, pivots, info = _factorisations().lu_factor_ex(self, pivot=pivot)
        return (packed, pivots, info) if get_infos else (packed, pivots)

    def geqrf(self: Any) -> tuple[Tensor, Tensor]:
        """R with the reflectors of QR below its diagonal, and their factors (LAPACK).

        ``orgqr`` makes Q of them.

        >>> R, factors = Tensor([[3.0], [4.0]]).geqrf()
        >>> R[0].abs()
        tensor([5.])
        """
        return _factorisations().geqrf(self)

    def svd(
        self: Any, some: bool = True, compute_uv: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """U, S and V with A = U diag(S) Vᴴ; ``linalg.svd`` gives Vᴴ instead of V.

        Without ``compute_uv`` U and V are zeros.

        >>> U, S, V = Tensor([[3.0, 0.0], [0.0, 4.0]]).svd()
        >>> S
        tensor([4., 3.])
        """
        U, S, Vh = _spectra().svd(self, full_matrices=not some)
        if compute_uv:
            return U, S, Vh.mH
        rows, columns = self.shape[-2:]
        batch = self.shape[:-2]
        left = self.tensor_class.zeros(*batch, rows, rows, dtype=self.dtype)
        right = self.tensor_class.zeros(*batch, columns, columns, dtype=self.dtype)
        return left, S, right

    # --- systems and inverses ---------------------------------------------------------

    def inverse(self: Any) -> Tensor:
        """The inverse of square matrices; see ``linalg.inv``.

        >>> Tensor([[2.0, 0.0], [0.0, 4.0]]).inverse()
        tensor([[0.5000, 0.0000],
                [0.0000, 0.2500]])
        """
        return _solving().inv(self)

    def pinverse(self: Any, rcond: float = 1e-15) -> Tensor:
        """Moore and Penrose's inverse; see ``linalg.pinv``.

        >>> Tensor([[2.0, 0.0], [0.0, 4.0]]).pinverse()
        tensor([[0.5000, 0.0000],
                [0.0000, 0.2500]])
        """
        from tetragrad.tensor.linalg.least_squares import pinv

        return pinv(self, rcond=rcond)

    def cholesky_solve(self: Any, L: Tensor, upper: bool = False) -> Tensor:
        """The X with A X = self, from the Cholesky factor of A.

        >>> Tensor([[4.0]]).cholesky_solve(Tensor([[2.0]]))
        tensor([[1.]])
        """
        return _solving().cholesky_solve(self, L, upper)

    def cholesky_inverse(self: Any, upper: bool = False) -> Tensor:
        """The inverse of A, from its Cholesky factor, which this tensor is.

        >>> Tensor([[2.0, 0.0], [0.0, 4.0]]).cholesky_inverse()
        tensor([[0.2500, 0.0000],
                [0.0000, 0.0625]])
        """
        return _solving().cholesky_inverse(self, upper)

    def triangular_solve(
        self: Any,
        A: Tensor,
        upper: bool = True,
        transpose: bool = False,
        unitriangular: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """The X with A X = self for triangular A, and A; see also ``linalg``.

        >>> A = Tensor([[2.0, 0.0], [0.0, 4.0]])
        >>> Tensor([[2.0], [4.0]]).triangular_solve(A)[0]
        tensor([[1.],
                [1.]])
        """
        return _solving().triangular_solve(self, A, upper, transpose, unitriangular)

    def lu_solve(self: Any, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
        """The X with A X = self, from what ``linalg.lu_factor`` gave for A.

        >>> factors = Tensor([[2.0, 0.0], [0.0, 4.0]]).lu()
        >>> Tensor([[2.0], [4.0]]).lu_solve(*factors)
        tensor([[1.],
                [1.]])
        """
        return _solving().lu_solve(LU_data, LU_pivots, self)

    # --- determinants -----------------------------------------------------------------

    def det(self: Any) -> Tensor:
        """The determinant of square matrices; see ``linalg.det``.

        >>> Tensor([[2.0, 0.0], [0.0, 4.0]]).det()
        tensor(8.)
        """
        return _determinants().det(self)

    def logdet(self: Any) -> Tensor:
        """The logarithm of the determinant; NaN where that is negative.

        >>> Tensor([[1.0, 0.0], [0.0, 1.0]]).logdet()
        tensor(0.)
        """
        return _determinants().logdet(self)

    def slogdet(self: Any) -> SlogdetResult:
        """Sign and logarithm of the determinant; see ``linalg.slogdet``.

        >>> Tensor([[2.0, 0.0], [0.0, 4.0]]).slogdet().logabsdet
        tensor(2.0794)
        """
        return _determinants().slogdet(self)

    # --- products ---------------------------------------------------------------------

    def matrix_power(self: Any, n: int) -> Tensor:
        """Square matrices multiplied n times; see ``linalg.matrix_power``.

        >>> Tensor([[1.0, 1.0], [0.0, 1.0]]).matrix_power(3)
        tensor([[1., 3.],
                [0., 1.]])
        """
        return _products().matrix_power(self, n)

    def matrix_exp(self: Any) -> Tensor:
        """The exponential function of square matrices; see ``linalg.matrix_exp``.

        >>> Tensor([[0.0, 0.0], [0.0, 1.0]]).matrix_exp()
        tensor([[1.0000, 0.0000],
                [0.0000, 2.7183]])
        """
        return _products().matrix_exp(self)

    def orgqr(self: Any, tau: Tensor) -> Tensor:
        """The product of reflectors; see ``linalg.householder_product``.

        >>> reflectors = Tensor([[3.0], [4.0]]).geqrf()
        >>> reflectors[0].orgqr(reflectors[1]).abs()
        tensor([[0.6000],
                [0.8000]])
        """
        return _products().householder_product(self, tau)

    def ormqr(
        self: Any,
        tau: Tensor,
        other: Tensor,
        left: bool = True,
        transpose: bool = False,
    ) -> Tensor:
        """Q times ``other`` for the reflectors of ``geqrf``, which this tensor holds.

        Args:
            left: False multiplies from the right.
            transpose: multiply with Qᴴ.

        >>> R, factors = Tensor([[3.0], [4.0]]).geqrf()
        >>> R.ormqr(factors, Tensor([[1.0], [0.0]])).abs()
        tensor([[0.6000],
                [0.8000]])
        """
        return _products().ormqr(self, tau, other, left, transpose)

    def cross(self: Any, other: Tensor, dim: int | None = None) -> Tensor:
        """The vector product along ``dim``, or the first dimension of 3 elements.

        >>> Tensor([1.0, 0.0, 0.0]).cross(Tensor([0.0, 1.0, 0.0]))
        tensor([0., 0., 1.])
        """
        if dim is None:
            threes = [axis for axis, size in enumerate(self.shape) if size == 3]
            dim = threes[0] if threes else -1
        return _products().cross(self, other, dim=dim)


def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of several matrices in the best order; see ``linalg.multi_dot``.

    >>> tetragrad.chain_matmul(Tensor.ones(2, 3), Tensor.ones(3, 4)).shape
    (2, 4)
    """
    first, *others = matrices
    return _products().multi_dot(matrices) if others else first


def lu_unpack(LU_data: Tensor, LU_pivots: Tensor) -> LUResult:
    """P, L and U with A = P L U, from what ``linalg.lu_factor`` gave for A.

    >>> P, L, U = tetragrad.lu_unpack(*Tensor([[2.0, 0.0], [0.0, 4.0]]).lu())
    >>> U
    tensor([[2., 0.],
            [0., 4.]])
    """
    return _factorisations().lu_unpack(LU_data, LU_pivots)
