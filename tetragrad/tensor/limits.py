"""Rounding, kinds of numbers, limits and mixtures of each element."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tetragrad.core.dtypes import float_info
from tetragrad.core.errors import TetragradError
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor.arithmetic import in_place, where
from tetragrad.tensor.complex_numbers import ComplexMethods, complex
from tetragrad.tensor.formulas import functions as nodes
from tetragrad.tensor.formulas.arithmetic import minimum_nodes
from tetragrad.tensor.gradient_rules import with_gradient, with_zero_gradient
from tetragrad.tensor.promotion import (
    Operand,
    Scalar,
    common_dtype,
    to_node,
    to_operand,
)

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class LimitMethods(ComplexMethods):
    """Methods that round, classify and bound every element."""

    __slots__ = ()

    # --- rounding ---------------------------------------------------------------------

    def floor(self) -> Tensor:
        """The largest whole number that is not above.

        >>> Tensor([-1.5, 1.5]).floor()
        tensor([-2.,  1.])
        """
        return self._rounded(ops.Floor)

    def ceil(self) -> Tensor:
        """The smallest whole number that is not below.

        >>> Tensor([1.2, -1.2]).ceil()
        tensor([ 2., -1.])
        """
        return self._rounded(nodes.ceil)

    def trunc(self) -> Tensor:
        """The value without its fraction.

        >>> Tensor([1.7, -1.7]).fix()
        tensor([ 1., -1.])
        """
        return self._rounded(ops.Trunc)

    fix = trunc

    def round(self, *, decimals: int = 0) -> Tensor:
        """The nearest whole number; halves go to the even one.

        >>> Tensor([0.5, 1.5, 2.5]).round()
        tensor([0., 2., 2.])
        """
        if not decimals:
            return self._rounded(nodes.round_half_even)
        factor = 10.0**decimals
        return (self * factor)._rounded(nodes.round_half_even) / factor

    def frac(self) -> Tensor:
        """The fraction: x - trunc(x).

        >>> Tensor([-1.5]).frac()
        tensor([-0.5000])
        """
        return self - self.trunc()

    def _rounded(self, function: Callable[[Node], Node]) -> Tensor:
        """Whole numbers are rounded already."""
        if self.dtype.is_complex:
            return self.apply_float(function)
        if not self.dtype.is_floating_point:
            return self.result(self.node)
        source = self.node
        return self.result(with_zero_gradient(function(source), source))

    # --- kinds of numbers -------------------------------------------------------------

    def isnan(self) -> Tensor:
        """Where the value is not a number.

        >>> Tensor([1.0, float('nan')]).isnan()
        tensor([False,  True])
        """
        return self.ne(self)

    def isinf(self) -> Tensor:
        """Where the value is infinite.

        >>> Tensor([1.0, float("inf")]).isinf()
        tensor([False,  True])
        """
        if self.dtype.is_complex:
            return self.real.isinf() | self.imag.isinf()
        if not self.dtype.is_floating_point:
            return self.ne(self)
        return self.abs() == math.inf

    def isposinf(self) -> Tensor:
        """Where the value is positive infinity.

        >>> Tensor([float("-inf"), float("inf")]).isposinf()
        tensor([False,  True])
        """
        return self == math.inf

    def isneginf(self) -> Tensor:
        """Where the value is negative infinity.

        >>> Tensor([float("-inf"), float("inf")]).isneginf()
        tensor([ True, False])
        """
        return self == -math.inf

    def isfinite(self) -> Tensor:
        """Where the value is neither infinite nor NaN.

        >>> Tensor([1.0, float("inf")]).isfinite()
        tensor([ True, False])
        """
        if self.dtype.is_complex:
            return self.real.isfinite() & self.imag.isfinite()
        if not self.dtype.is_floating_point:
            return self.eq(self)
        return self.abs() < math.inf

    def nan_to_num(
        self,
        nan: float = 0.0,
        posinf: float | None = None,
        neginf: float | None = None,
    ) -> Tensor:
        """Numbers in place of NaN and the infinities (by default, the largest).

        >>> Tensor([float('nan'), 1.0]).nan_to_num()
        tensor([0., 1.])
        """
        if self.dtype.is_complex:
            parts = (self.real, self.imag)
            return complex(*(part.nan_to_num(nan, posinf, neginf) for part in parts))
        if not self.dtype.is_floating_point:
            return self.result(self.node)
        largest = float(float_info(self.dtype).max)
        high = largest if posinf is None else posinf
        low = -largest if neginf is None else neginf
        known = self.masked_fill(self.isnan(), nan)
        known = known.masked_fill(self.isposinf(), high)
        return known.masked_fill(self.isneginf(), low)

    def isclose(
        self,
        other: Tensor,
        rtol: float = 1e-5,
        atol: float = 1e-8,
        equal_nan: bool = False,
    ) -> Tensor:
        """Where |self - other| <= atol + rtol * |other|, or both are equal.

        >>> Tensor([1.0, 2.0]).isclose(Tensor([1.0, 2.1]))
        tensor([ True, False])
        """
        if not (self.dtype.is_floating_point or self.dtype.is_complex):
            own: Any = self
            return own.double().isclose(other.double(), rtol, atol)
        near = (self - other).abs() <= other.abs() * rtol + atol
        close = (self == other) | (near & other.isfinite())
        return close | (self.isnan() & other.isnan()) if equal_nan else close

    def allclose(
        self,
        other: Tensor,
        rtol: float = 1e-5,
        atol: float = 1e-8,
        equal_nan: bool = False,
    ) -> bool:
        """Whether all elements are close.

        >>> Tensor([1.0]).allclose(Tensor([1.0 + 1e-7]))
        True
        """
        return bool(self.isclose(other, rtol, atol, equal_nan).read().all())

    def equal(self, other: Tensor) -> bool:
        """Whether both tensors have one shape and equal elements.

        >>> Tensor([1, 2]).equal(Tensor([1, 2]))
        True
        """
        return self.shape == other.shape and bool(self.eq(other).read().all())

    # --- limits and mixtures ----------------------------------------------------------

    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        """Values below ``min`` become ``min``, values above ``max`` become ``max``.

        >>> Tensor([-1, 5, 20]).clamp(0, 10)
        tensor([ 0,  5, 10])
        """
        if min is None and max is None:
            raise TetragradError(
                "clamp() without min and max", hint="give at least one of them"
            )
        bounds = [to_operand(entry) for entry in (min, max) if entry is not None]
        if any(not isinstance(entry, bool | int | float) for entry in bounds):
            result: Any = self if min is None else self.maximum(min)
            return result if max is None else result.minimum(max)
        return _clamp(self, min, max)

    clip = clamp

    def clamp_min(self, min: Operand) -> Tensor:
        """Values below ``min`` become ``min``.

        >>> Tensor([-1, 2]).clamp_min(0)
        tensor([0, 2])
        """
        return self.clamp(min=min)

    def clamp_max(self, max: Operand) -> Tensor:
        """Values above ``max`` become ``max``.

        >>> Tensor([-1, 2]).clamp_max(0)
        tensor([-1,  0])
        """
        return self.clamp(max=max)

    def lerp(self, end: Tensor, weight: Operand) -> Tensor:
        """self + weight * (end - self), exact at both ends.

        >>> Tensor([0.0]).lerp(Tensor([10.0]), 0.25)
        tensor([2.5000])
        """
        span = end - self
        if isinstance(weight, int | float | builtins.complex):
            if abs(weight) < 0.5:
                return self + span * weight
            return end - span * (1 - weight)
        share: Any = weight
        size = share.abs() if share.dtype.is_complex else share
        near_end = end - span * (1 - share)
        return where(size < 0.5, self + span * share, near_end)

    def addcmul(self, tensor1: Tensor, tensor2: Tensor, *, value: Scalar = 1) -> Tensor:
        """self + value * tensor1 * tensor2.

        >>> Tensor([1, 1]).addcmul(Tensor([1, 2]), Tensor([3, 4]))
        tensor([4, 9])
        """
        product = tensor1 * tensor2
        return self + (product if value == 1 else product * value)

    def addcdiv(self, tensor1: Tensor, tensor2: Tensor, *, value: Scalar = 1) -> Tensor:
        """self + value * tensor1 / tensor2.

        >>> Tensor([1.0]).addcdiv(Tensor([1.0]), Tensor([2.0]), value=3)
        tensor([2.5000])
        """
        quotient = tensor1 / tensor2
        return self + (quotient if value == 1 else quotient * value)

    def heaviside(self, values: Tensor) -> Tensor:
        """0 below zero, 1 above, ``values`` at zero.

        >>> Tensor([-1.0, 0.0, 2.0]).heaviside(Tensor(0.5))
        tensor([0.0000, 0.5000, 1.0000])
        """
        above = (self > 0).result(ops.Cast((self > 0).node, self.dtype))
        return where(self == 0, values, above)

    def logit(self, eps: float | None = None) -> Tensor:
        """log(x / (1 - x)); ``eps`` keeps x away from 0 and 1.

        >>> Tensor([0.5, 0.75]).logit()
        tensor([0.0000, 1.0986])
        """
        inside = self if eps is None else self.clamp(eps, 1 - eps)
        return inside.apply_float(
            lambda node: ops.Log(ops.Div(node, ops.Sub(full_like(node, 1), node)))
        )

    floor_ = in_place(floor)
    ceil_ = in_place(ceil)
    round_ = in_place(round)
    trunc_ = in_place(trunc)
    frac_ = in_place(frac)
    nan_to_num_ = in_place(nan_to_num)
    clamp_ = in_place(clamp)
    clip_ = clamp_
    clamp_min_ = in_place(clamp_min)
    clamp_max_ = in_place(clamp_max)
    lerp_ = in_place(lerp)
    addcmul_ = in_place(addcmul)
    addcdiv_ = in_place(addcdiv)


def _clamp(tensor: LimitMethods, low: Any, high: Any) -> Tensor:
    """Clamp to numbers; the gradient passes wherever the value is within them."""
    bounds = [entry for entry in (low, high) if entry is not None]
    dtype = common_dtype(tensor, *bounds)
    source = to_node(tensor, dtype)
    value, inside = source, full_like(ops.Eq(source, source), True)
    if low is not None:
        bound = full_like(source, low)
        value = ops.Maximum(value, bound)
        inside = ops.And(inside, ops.Not(ops.Lt(source, bound)))
    if high is not None:
        bound = full_like(source, high)
        value = minimum_nodes(value, bound)
        inside = ops.And(inside, ops.Not(ops.Lt(bound, source)))

    def rule(upstream: Node) -> tuple[Node]:
        return (ops.Where(inside, upstream, full_like(upstream, 0)),)

    return tensor.result(with_gradient(value, (source,), rule))
