"""The in-place forms of functions of each element: ``x.acos_()`` and its like.

The result is converted to the tensor's own dtype, or refused where it does not fit.
"""

from __future__ import annotations

import math
from typing import Any, Self

from tetragrad.core.errors import TetragradError
from tetragrad.tensor.arithmetic import ArithmeticMethods, in_place
from tetragrad.tensor.cumulative import CumulativeMethods
from tetragrad.tensor.functions import FunctionMethods
from tetragrad.tensor.limits import LimitMethods
from tetragrad.tensor.special_methods import SpecialMethods
from tetragrad.tensor.statistics import StatisticsMethods


def _truth_in_place(method: Any) -> Any:
    """A comparison whose result is written as 0 and 1 of the tensor's dtype."""

    def compared(self: Any, other: Any) -> Any:
        return method(self, other).to(self.dtype)

    compared.__name__ = method.__name__
    compared.__qualname__ = method.__qualname__
    changed = in_place(compared)
    changed.__doc__ = f"""``{method.__name__}`` in place, as 0 and 1; returns self.

        >>> Tensor([1, 2]).{method.__name__}_(3).dtype
        int64
        """
    return changed


class ReplacingMethods(SpecialMethods):
    """Methods that write their result over the tensor."""

    __slots__ = ()

    # --- functions --------------------------------------------------------------------

    abs_ = in_place(FunctionMethods.abs)
    acos_ = arccos_ = in_place(FunctionMethods.acos)
    acosh_ = arccosh_ = in_place(FunctionMethods.acosh)
    asin_ = arcsin_ = in_place(FunctionMethods.asin)
    asinh_ = arcsinh_ = in_place(FunctionMethods.asinh)
    atan2_ = arctan2_ = in_place(FunctionMethods.atan2)
    atan_ = arctan_ = in_place(FunctionMethods.atan)
    atanh_ = arctanh_ = in_place(FunctionMethods.atanh)
    copysign_ = in_place(FunctionMethods.copysign)
    cos_ = in_place(FunctionMethods.cos)
    cosh_ = in_place(FunctionMethods.cosh)
    deg2rad_ = in_place(FunctionMethods.deg2rad)
    erf_ = in_place(FunctionMethods.erf)
    erfc_ = in_place(FunctionMethods.erfc)
    erfinv_ = in_place(FunctionMethods.erfinv)
    exp2_ = in_place(FunctionMethods.exp2)
    exp_ = in_place(FunctionMethods.exp)
    expm1_ = in_place(FunctionMethods.expm1)
    float_power_ = in_place(FunctionMethods.float_power)
    heaviside_ = in_place(LimitMethods.heaviside)
    hypot_ = in_place(FunctionMethods.hypot)
    log10_ = in_place(FunctionMethods.log10)
    log1p_ = in_place(FunctionMethods.log1p)
    log2_ = in_place(FunctionMethods.log2)
    log_ = in_place(FunctionMethods.log)
    logit_ = in_place(LimitMethods.logit)
    rad2deg_ = in_place(FunctionMethods.rad2deg)
    reciprocal_ = in_place(FunctionMethods.reciprocal)
    renorm_ = in_place(StatisticsMethods.renorm)
    rsqrt_ = in_place(FunctionMethods.rsqrt)
    sgn_ = in_place(FunctionMethods.sgn)
    sigmoid_ = in_place(FunctionMethods.sigmoid)
    sign_ = in_place(FunctionMethods.sign)
    sin_ = in_place(FunctionMethods.sin)
    sinc_ = in_place(FunctionMethods.sinc)
    sinh_ = in_place(FunctionMethods.sinh)
    sqrt_ = in_place(FunctionMethods.sqrt)
    square_ = in_place(FunctionMethods.square)
    tan_ = in_place(FunctionMethods.tan)
    tanh_ = in_place(FunctionMethods.tanh)
    xlogy_ = in_place(FunctionMethods.xlogy)

    # --- arithmetic -------------------------------------------------------------------

    bitwise_not_ = in_place(ArithmeticMethods.bitwise_not)
    cumprod_ = in_place(CumulativeMethods.cumprod)
    cumsum_ = in_place(CumulativeMethods.cumsum)
    divide_ = true_divide_ = in_place(ArithmeticMethods.div)
    fmod_ = in_place(ArithmeticMethods.fmod)
    logical_xor_ = in_place(ArithmeticMethods.logical_xor)
    multiply_ = in_place(ArithmeticMethods.mul)
    negative_ = in_place(ArithmeticMethods.neg)
    subtract_ = in_place(ArithmeticMethods.sub)

    # --- comparisons ------------------------------------------------------------------

    eq_ = _truth_in_place(ArithmeticMethods.eq)
    ge_ = greater_equal_ = _truth_in_place(ArithmeticMethods.ge)
    gt_ = greater_ = _truth_in_place(ArithmeticMethods.gt)
    le_ = less_equal_ = _truth_in_place(ArithmeticMethods.le)
    lt_ = less_ = _truth_in_place(ArithmeticMethods.lt)
    ne_ = not_equal_ = _truth_in_place(ArithmeticMethods.ne)

    # --- random numbers ---------------------------------------------------------------

    def cauchy_(
        self, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None
    ) -> Self:
        """Fill with numbers of a Cauchy distribution: a tangent of random angles.

        >>> Tensor.zeros(2, 3).cauchy_().shape
        (2, 3)
        """
        turn = self.rand_like(generator=generator) - 0.5
        return self.copy_(median + sigma * (turn * math.pi).tan())

    def geometric_(self, p: float, *, generator: Any = None) -> Self:
        """Fill with the number of trials until the first success of probability p.

        >>> bool((Tensor.zeros(8).geometric_(0.5) >= 1).all())
        True
        """
        if not 0 < p <= 1:
            raise TetragradError(f"geometric_({p})", hint="p is above 0, at most 1")
        if p == 1:
            return self.fill_(1)
        share = 1 - self.float().rand_like(generator=generator)
        trials = (share.log() / math.log1p(-p)).floor() + 1
        return self.copy_(trials.clamp(min=1))

    def log_normal_(
        self, mean: float = 1.0, std: float = 2.0, *, generator: Any = None
    ) -> Self:
        """Fill with numbers whose logarithms are normal with this mean and std.

        >>> bool((Tensor.zeros(8).log_normal_() > 0).all())
        True
        """
        normal = self.randn_like(generator=generator)
        return self.copy_((normal * std + mean).exp())
