"""Linear algebra that PyTorch also has as methods of tensors and as plain functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.linalg import factorisations, products, solving
from tetragrad.tensor.linalg.factorisations import QRResult

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class LinearAlgebraMethods(TensorBase):
    """Methods on matrices: the last two dimensions of a tensor."""

    __slots__ = ()

    cholesky_inverse = solving.cholesky_inverse
    cholesky_solve = solving.cholesky_solve
    det = solving.det
    geqrf = factorisations.geqrf
    inverse = solving.inv
    logdet = solving.logdet
    matrix_exp = products.matrix_exp
    matrix_power = products.matrix_power
    orgqr = products.householder_product
    slogdet = solving.slogdet
    triangular_solve = solving.triangular_solve

    def cholesky(self: Any, upper: bool = False) -> Tensor:
        """The lower triangular factor; see ``linalg.cholesky``.

        >>> Tensor([[4.0]]).cholesky()
        tensor([[2.]])
        """
        return factorisations.cholesky(self, upper=upper)

    def qr(self: Any, some: bool = True) -> QRResult:
        """Q and R, reduced if ``some``; see ``linalg.qr``."""
        return factorisations.qr(self, "reduced" if some else "complete")

    def svd(
        self: Any, some: bool = True, compute_uv: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """U, S and V with A = U diag(S) Vᴴ; ``linalg.svd`` gives Vᴴ instead of V.

        Without ``compute_uv`` U and V are zeros.
        """
        U, S, Vh = factorisations.svd(self, full_matrices=not some)
        if not compute_uv:
            rows, columns = self.shape[-2:]
            batch = self.shape[:-2]
            left = self.tensor_class.zeros(*batch, rows, rows, dtype=self.dtype)
            right = self.tensor_class.zeros(*batch, columns, columns, dtype=self.dtype)
            return left, S, right
        V = Vh.mT.conj() if Vh.is_complex() else Vh.mT
        return U, S, V

    def pinverse(self: Any, rcond: float = 1e-15) -> Tensor:
        """Moore and Penrose's inverse; see ``linalg.pinv``."""
        return solving.pinv(self, rcond=rcond)

    def cross(self: Any, other: Tensor, dim: int | None = None) -> Tensor:
        """The vector product along ``dim``, or the first dimension of 3 elements.

        >>> Tensor([1.0, 0.0, 0.0]).cross(Tensor([0.0, 1.0, 0.0]))
        tensor([0., 0., 1.])
        """
        if dim is None:
            threes = [axis for axis, size in enumerate(self.shape) if size == 3]
            dim = threes[0] if threes else -1
        return products.cross(self, other, dim=dim)

    def lu_solve(self: Any, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
        """The X with A X = self, from what ``linalg.lu_factor`` gave for A."""
        return solving.lu_solve(LU_data, LU_pivots, self)
