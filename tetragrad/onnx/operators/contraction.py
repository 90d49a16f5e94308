"""Products of matrices, sums of products, determinants."""

from __future__ import annotations

from tetragrad.core.errors import ShapeError
from tetragrad.onnx.registry import operator
from tetragrad.tensor import Tensor
from tetragrad.tensor.arithmetic import where
from tetragrad.tensor.einsum import einsum


@operator("MatMul")
def matmul(a: Tensor, b: Tensor) -> Tensor:
    return a.matmul(b)


@operator("Gemm")
def gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    broadcast: int = 0,
) -> Tensor:
    a = a.t() if transA else a
    b = b.t() if transB else b
    product = _scaled(a.matmul(b), alpha)
    return product if c is None else product + _scaled(c, beta)


def _scaled(x: Tensor, factor: float) -> Tensor:
    if factor == 1.0:
        return x
    return (x * factor).to(x.dtype)


@operator("Einsum")
def einsum_(*operands: Tensor, equation: str) -> Tensor:
    return einsum(equation.replace(" ", ""), *operands)


@operator("Det")
def determinant(x: Tensor) -> Tensor:
    """The product of the pivots of a Gaussian elimination with row exchanges."""
    *_, rows, columns = x.shape
    if rows != columns:
        raise ShapeError(f"Det of matrices of shape {(rows, columns)}")
    result = Tensor.ones(x.shape[:-2], dtype=x.dtype)
    places = Tensor.arange(rows)
    for number in range(rows):
        column = x[..., number]
        candidates = where(places < number, column.zeros_like() - 1, column.abs())
        pivot = candidates.argmax(-1, keepdim=True)
        # The pivot's row comes to the front; one exchange turns the sign.
        is_pivot = places.eq(pivot)
        own_row = x[..., number, :]
        pivot_row = where(is_pivot.unsqueeze(-1), x, x.zeros_like()).sum(-2)
        x = where(is_pivot.unsqueeze(-1), own_row.unsqueeze(-2), x)
        is_own = places.eq(number).reshape(rows, 1)
        x = where(is_own, pivot_row.unsqueeze(-2), x)
        value = pivot_row[..., number]
        moved = pivot.squeeze(-1).ne(number)
        result = result * where(moved, -value, value)
        factors = x[..., number] / where(value.eq(0), value + 1, value).unsqueeze(-1)
        factors = where(places > number, factors, factors.zeros_like())
        x = x - factors.unsqueeze(-1) * pivot_row.unsqueeze(-2)
    return result
