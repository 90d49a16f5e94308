"""Products of vectors, and batches of products added up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tetragrad.core.errors import ShapeError
from tetragrad.tensor.arithmetic import in_place
from tetragrad.tensor.contraction import ContractionMethods, mixed
from tetragrad.tensor.integers import IntegerMethods

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class ProductMethods(IntegerMethods):
    """Methods that multiply vectors and batches of matrices."""

    __slots__ = ()

    def inner(self, other: Tensor) -> Tensor:
        """Sums of products over both last dimensions; numbers multiply.

        >>> Tensor([1, 2]).inner(Tensor([[3, 4], [5, 6]]))
        tensor([11, 17])
        """
        if not self.ndim or not other.ndim:
            return self * other
        if self.shape[-1] != other.shape[-1]:
            raise ShapeError(
                f"inner() of shapes {self.shape} and {other.shape}",
                hint="the last sizes must be equal",
            )
        rows = self.reshape(-1, self.shape[-1])
        columns = other.reshape(-1, other.shape[-1])
        shape = (*self.shape[:-1], *other.shape[:-1])
        return rows.matmul(columns.t()).reshape(shape)

    def vdot(self, other: Tensor) -> Tensor:
        """The sum of the products of two vectors, the first one conjugated.

        >>> Tensor([1, 2]).vdot(Tensor([3, 4]))
        tensor(11)
        """
        first: Any = self.conj() if self.dtype.is_complex else self
        return first.dot(other)

    def addbmm(
        self, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
    ) -> Tensor:
        """beta * self + alpha * (the sum of all products of the batch).

        >>> Tensor([[1.0]]).addbmm(Tensor.ones(2, 1, 3), Tensor.ones(2, 3, 1))
        tensor([[7.]])
        """
        total = batch1.bmm(batch2).sum(0, dtype=batch1.dtype)
        return mixed(self, total, beta, alpha)

    def addr(
        self, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1
    ) -> Tensor:
        """beta * self + alpha * (the outer product of two vectors).

        >>> Tensor.zeros(2, 2).addr(Tensor([1.0, 2.0]), Tensor([3.0, 4.0]))
        tensor([[3., 4.],
                [6., 8.]])
        """
        return mixed(self, vec1.outer(vec2), beta, alpha)

    addbmm_ = in_place(addbmm)
    addr_ = in_place(addr)
    addmm_ = in_place(ContractionMethods.addmm)
    addmv_ = in_place(ContractionMethods.addmv)
    baddbmm_ = in_place(ContractionMethods.baddbmm)
