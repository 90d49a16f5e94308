"""Sums of products: matrix products, linear layers, outer products.

There is no primitive matrix product. Both operands are given the dimensions
(…, M, N, K), multiplied elementwise, and summed over K, which is last; the compiler
recognises the form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from tetragrad.core.dtypes import accumulation
from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.graph import elementwise as ops
from tetragrad.graph.movement import Permute, Reshape, broadcast_to
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Sum
from tetragrad.tensor.arithmetic import operator
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.complex_numbers import multilinear
from tetragrad.tensor.conversion import ConversionMethods
from tetragrad.tensor.promotion import (
    broadcast_shapes,
    combine,
    common_dtype,
    do_broadcast,
)
from tetragrad.tensor.reductions import drop_dims

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


def matmul_nodes(lhs: Node, rhs: Node) -> Node:
    """(…, M, K) times (…, K, N), both with at least two dimensions.

    Half-width floats are multiplied in float32 and rounded once, after the sum.
    """
    dtype = lhs.dtype
    wide = accumulation(dtype)
    lhs, rhs = ops.Cast(lhs, wide), ops.Cast(rhs, wide)
    *lhs_batch, rows, inner = lhs.shape
    *rhs_batch, rhs_inner, columns = rhs.shape
    assert inner == rhs_inner
    batch = broadcast_shapes(tuple(lhs_batch), tuple(rhs_batch))
    last = rhs.ndim - 1
    turned: Node = Permute(rhs, (*range(last - 1), last, last - 1))
    shape = (*batch, rows, columns, inner)
    lhs = Reshape(lhs, (*lhs_batch, rows, 1, inner))
    turned = Reshape(turned, (*rhs_batch, 1, columns, inner))
    product = ops.Mul(broadcast_to(lhs, shape), broadcast_to(turned, shape))
    total = drop_dims(Sum(product, (len(shape) - 1,)), (len(shape) - 1,))
    return ops.Cast(total, dtype)


def has_complex(*tensors: object) -> bool:
    """Whether all are tensors, and one of them complex."""
    if not all(isinstance(entry, TensorBase) for entry in tensors):
        return False
    return common_dtype(*tensors).is_complex  # type: ignore[arg-type]


def promoted(name: str, *tensors: TensorBase) -> list[Node]:
    """Nodes of one dtype; contractions have no meaning for bools."""
    for tensor in tensors:
        if not isinstance(tensor, TensorBase):
            raise DTypeError(
                f"{name} of {type(tensor).__name__}", hint="pass tensors to it"
            )
    dtype = common_dtype(*tensors)
    if dtype.is_bool:
        raise DTypeError(f"{name} of bools", hint="convert them first, x.float()")
    return [ops.Cast(tensor.node, dtype) for tensor in tensors]


class ContractionMethods(ConversionMethods):
    """Methods that multiply and sum."""

    __slots__ = ()

    def matmul(self, other: TensorBase) -> Tensor:
        """The matrix product over the last two dimensions; the others broadcast.

        A vector on the left is a row, on the right a column; its dimension is
        dropped from the result.

        >>> Tensor([[1, 2], [3, 4]]).matmul(Tensor([1, 1]))
        tensor([3, 7])

        Raises:
            ShapeError: self's last size is not other's last but one.
        """
        if has_complex(self, other):
            return multilinear(ContractionMethods.matmul, self, other)
        lhs, rhs = promoted("matmul()", self, other)
        if not lhs.ndim or not rhs.ndim:
            raise ShapeError(
                f"matmul() of shapes {lhs.shape} and {rhs.shape}: a number has no rows",
                hint="write x * y",
            )
        inner = rhs.shape[-2] if rhs.ndim > 1 else rhs.shape[0]
        if lhs.shape[-1] != inner:
            raise ShapeError(
                f"matmul() of shapes {lhs.shape} and {rhs.shape}: the last size of "
                f"the first ({lhs.shape[-1]}) must be the last but one of the "
                f"second ({inner})",
                hint="transpose one of them with .mT?",
            )
        left = lhs if lhs.ndim > 1 else Reshape(lhs, (1, *lhs.shape))
        right = rhs if rhs.ndim > 1 else Reshape(rhs, (*rhs.shape, 1))
        if not do_broadcast(left.shape[:-2], right.shape[:-2]):
            raise ShapeError(
                f"matmul() of shapes {lhs.shape} and {rhs.shape}: their batches, all "
                "sizes but the last two, do not broadcast",
                hint="sizes of batches must be equal, or 1, counted from the last",
            )
        product = matmul_nodes(left, right)
        shape = list(product.shape)
        if rhs.ndim == 1:
            shape.pop()
        if lhs.ndim == 1:
            shape.pop(-1 if rhs.ndim == 1 else -2)
        return combine(Reshape(product, tuple(shape)), self, other)

    __matmul__ = operator(matmul)

    def __rmatmul__(self, other: Any) -> Tensor:
        return to_tensor(other).matmul(self)

    def mm(self, mat2: TensorBase) -> Tensor:
        """The product of two matrices.

        >>> Tensor([[1, 2]]).mm(Tensor([[3], [4]]))
        tensor([[11]])
        """
        _need_ndim("mm()", self, 2)
        _need_ndim("mm()", mat2, 2)
        return self.matmul(mat2)

    def bmm(self, mat2: TensorBase) -> Tensor:
        """The products of two batches of matrices.

        >>> Tensor.ones(2, 1, 3).bmm(Tensor.ones(2, 3, 1)).shape
        (2, 1, 1)
        """
        _need_ndim("bmm()", self, 3)
        _need_ndim("bmm()", mat2, 3)
        if self.shape[0] != mat2.shape[0]:
            raise ShapeError(
                f"bmm() of shapes {self.shape} and {mat2.shape}: as many matrices of "
                "the one as of the other",
                hint="use matmul(), which broadcasts a batch of one",
            )
        return self.matmul(mat2)

    def mv(self, vec: TensorBase) -> Tensor:
        """A matrix times a vector.

        >>> Tensor([[1, 2], [3, 4]]).mv(Tensor([1, 1]))
        tensor([3, 7])
        """
        _need_ndim("mv()", self, 2)
        _need_ndim("mv()", vec, 1)
        return self.matmul(vec)

    def dot(self, other: TensorBase) -> Tensor:
        """The sum of the products of two vectors.

        >>> Tensor([1, 2]).dot(Tensor([3, 4]))
        tensor(11)
        """
        _need_ndim("dot()", self, 1)
        _need_ndim("dot()", other, 1)
        return self.matmul(other)

    inner_product = dot

    def outer(self, vec2: TensorBase) -> Tensor:
        """Every product of an element of one vector and one of the other.

        >>> Tensor([1, 2]).outer(Tensor([3, 4]))
        tensor([[3, 4],
                [6, 8]])
        """
        _need_ndim("outer()", self, 1)
        _need_ndim("outer()", vec2, 1)
        return self.unsqueeze(1) * vec2

    ger = outer

    def addmm(
        self, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1
    ) -> Tensor:
        """beta * self + alpha * (mat1 @ mat2).

        >>> Tensor([[1]]).addmm(Tensor([[1, 2]]), Tensor([[3], [4]]))
        tensor([[12]])
        """
        return mixed(self, mat1.mm(mat2), beta, alpha)

    def addmv(
        self, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1
    ) -> Tensor:
        """beta * self + alpha * (mat @ vec).

        >>> Tensor([1, 1]).addmv(Tensor([[1, 2], [3, 4]]), Tensor([1, 1]))
        tensor([4, 8])
        """
        return mixed(self, mat.mv(vec), beta, alpha)

    def baddbmm(
        self, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1
    ) -> Tensor:
        """beta * self + alpha * bmm(batch1, batch2).

        >>> Tensor([[[1.0]]]).baddbmm(Tensor.ones(1, 1, 3), Tensor.ones(1, 3, 1))
        tensor([[[4.]]])
        """
        return mixed(self, batch1.bmm(batch2), beta, alpha)

    def linear(self, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """self @ weight.T + bias, for a weight of shape (out, in).

        >>> Tensor([[1.0, 2.0]]).linear(Tensor([[1.0, 1.0]]))
        tensor([[3.]])
        """
        if self.shape[-1:] != weight.shape[-1:]:
            raise ShapeError(
                f"linear() of input {self.shape} with weight {weight.shape}: the "
                f"last sizes differ",
                hint="the weight's shape is (out_features, in_features): the layer "
                f"takes in_features={weight.shape[-1]}",
            )
        product = self.matmul(weight.t())
        return product if bias is None else product + bias


def to_tensor(value: Any) -> Tensor:
    """A tensor as it is, or a new one of a number or an array."""
    if isinstance(value, TensorBase):
        return cast("Tensor", value)
    return TensorBase.tensor_class(value)


def mixed(own: Any, product: Tensor, beta: float, alpha: float) -> Tensor:
    """beta * own + alpha * product, in whole numbers for integers.

    With ``beta`` 0, NaNs of ``own`` do not count.
    """
    scaled = _times(product, alpha)
    if beta == 0:
        return scaled.expand(broadcast_shapes(own.shape, scaled.shape))
    return scaled + _times(own, beta)


def _times(tensor: Any, factor: float) -> Any:
    if factor == 1:
        return tensor
    if tensor.dtype.is_bool:
        return tensor & bool(factor)
    return tensor * (int(factor) if tensor.dtype.is_integer else factor)


def _need_ndim(name: str, tensor: TensorBase, ndim: int) -> None:
    if tensor.ndim != ndim:
        raise ShapeError(
            f"{name} of shape {tensor.shape}: it takes {ndim} dimensions",
            hint="use matmul() for other numbers of dimensions",
        )
