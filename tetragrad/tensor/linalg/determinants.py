"""Determinants; their gradient, the cofactors, exists for singular matrices too."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tetragrad.core.dtypes import part_dtype
from tetragrad.graph.host_call import Operand
from tetragrad.tensor import host
from tetragrad.tensor.complex_numbers import complex
from tetragrad.tensor.host import Received
from tetragrad.tensor.linalg import host_solves as numpy_side
from tetragrad.tensor.linalg.checks import adjoint, check_square

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class SlogdetResult(NamedTuple):
    """The sign of the determinant, and the logarithm of its absolute value."""

    sign: Tensor
    logabsdet: Tensor


def det(A: Tensor) -> Tensor:
    """The determinant; its gradient, the cofactors, exists for singular A too.

    >>> tetragrad.linalg.det(Tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor(8.)
    """
    check_square("det", A)
    return host.call_now(_DET, A)[0]


def slogdet(A: Tensor) -> SlogdetResult:
    """The sign of the determinant, and the logarithm of its absolute value.

    Use it where the determinant itself is too large or too small. For a singular A
    they are 0 and −inf. Gradient of the logarithm: A⁻ᴴ.

    >>> tetragrad.linalg.slogdet(Tensor([[0.0, 1.0], [1.0, 0.0]])).sign
    tensor(-1.)
    """
    check_square("slogdet", A)
    return SlogdetResult(*host.call_now(_SLOGDET, A))


def logdet(A: Tensor) -> Tensor:
    """The logarithm of the determinant; NaN where that is negative.

    >>> tetragrad.logdet(Tensor([[1.0, 0.0], [0.0, 1.0]]))
    tensor(0.)
    """
    sign, logarithm = slogdet(A)
    if A.is_complex():
        return sign.log() + logarithm
    return logarithm.masked_fill(sign < 0, float("nan"))


def _describe_det(matrix: Operand) -> tuple[Operand, ...]:
    return (Operand(matrix.shape[:-2], matrix.dtype),)


def _describe_slogdet(matrix: Operand) -> tuple[Operand, ...]:
    batch = matrix.shape[:-2]
    return Operand(batch, matrix.dtype), Operand(batch, part_dtype(matrix.dtype))


def _describe_cofactors(matrix: Operand) -> tuple[Operand, ...]:
    return (matrix,)


def _det_gradient(call: Received) -> tuple[Tensor | None, ...]:
    upstream = call.upstream[0]
    assert upstream is not None
    cofactors = host.call(_COFACTORS, *call.inputs)[0]
    return (upstream[..., None, None] * cofactors,)


def _cofactors_gradient(call: Received) -> tuple[Tensor | None, ...]:
    """Of det(A) A⁻ᴴ, for an A that is not singular: [⟨C, ∂⟩ A⁻ᴴ − A⁻ᴴ ∂ᴴ C]."""
    A, upstream = call.inputs[0], call.upstream[0]
    assert upstream is not None
    cofactors = call.outputs[0]
    turned = adjoint(host.call("linalg.inv", A)[0])
    share = (cofactors * upstream).sum((-2, -1), keepdim=True)
    return (share * turned - turned @ adjoint(upstream) @ cofactors,)


def _slogdet_gradient(call: Received) -> tuple[Tensor | None, ...]:
    A = call.inputs[0]
    of_sign, of_logarithm = call.upstream
    if of_logarithm is None:
        # A real sign does not change; a complex one is a point of the unit circle.
        if not A.is_complex():
            return (A * 0,)
        assert of_sign is not None
        sign = call.outputs[0]
        turn = (of_sign.conj() * sign).imag
        factor = complex(turn * 0, -turn)
    else:
        factor = of_logarithm
    turned = adjoint(host.call("linalg.inv", A)[0])
    return (factor[..., None, None] * turned,)


_DET = host.define("linalg.det", numpy_side.determinant, _describe_det, _det_gradient)
_COFACTORS = host.define(
    "linalg.cofactors",
    numpy_side.cofactors,
    _describe_cofactors,
    _cofactors_gradient,
)
_SLOGDET = host.define(
    "linalg.slogdet", numpy_side.sign_and_log, _describe_slogdet, _slogdet_gradient
)
