"""Activation functions, and the softmax family."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tetragrad.core.dtypes import DType, accumulation, to_dtype
from tetragrad.core.errors import TetragradError
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.node import Node
from tetragrad.tensor.arithmetic import in_place, where
from tetragrad.tensor.axis_names import also_axis
from tetragrad.tensor.formulas import functions as nodes
from tetragrad.tensor.gradient_rules import with_gradient
from tetragrad.tensor.pooling import PoolingMethods
from tetragrad.tensor.promotion import float_dtype, normal_dim

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

# G. Klambauer and others, "Self-Normalizing Neural Networks" (2017).
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


class ActivationMethods(PoolingMethods):
    """Functions that make a network more than linear."""

    __slots__ = ()

    # --- rectifiers -------------------------------------------------------------------

    def relu(self) -> Tensor:
        """max(x, 0).

        >>> Tensor([-1.0, 2.0]).relu()
        tensor([0., 2.])
        """
        return self.result(nodes.relu(self.node))

    def relu6(self) -> Tensor:
        """min(max(x, 0), 6).

        >>> Tensor([-1.0, 2.0, 9.0]).relu6()
        tensor([0., 2., 6.])
        """
        return self.hardtanh(0.0, 6.0)

    def hardtanh(self, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
        """x limited to a range; the gradient at the limits is 0.

        >>> Tensor([-4.0, 0.5, 4.0]).hardtanh()
        tensor([-1.0000,  0.5000,  1.0000])
        """
        if self.dtype.is_integer:
            return self.clamp(int(min_val), int(max_val))
        source = self.node
        low, high = full_like(source, min_val), full_like(source, max_val)
        is_inside = ops.And(ops.Lt(low, source), ops.Lt(source, high))
        value = self.clamp(min_val, max_val).node

        def rule(upstream: Node) -> tuple[Node]:
            return (ops.Where(is_inside, upstream, full_like(upstream, 0)),)

        return self.result(with_gradient(value, (source,), rule))

    def leaky_relu(self, negative_slope: float = 0.01) -> Tensor:
        """x, times ``negative_slope`` below zero.

        >>> Tensor([-1.0, 2.0]).leaky_relu(0.5)
        tensor([-0.5000,  2.0000])
        """
        return where(self > 0, self, self * negative_slope)

    def prelu(self, weight: Tensor) -> Tensor:
        """x, times a learned slope (one, or one a channel) below zero.

        >>> Tensor([-1.0, 2.0]).prelu(Tensor([0.5]))
        tensor([-0.5000,  2.0000])
        """
        if weight.numel() > 1:
            weight = weight.reshape(-1, *(1 for _ in self.shape[2:]))
        elif weight.ndim:
            # One slope broadcasts to any shape, also to that of a number.
            weight = weight.reshape(())
        return where(self > 0, self, self * weight)

    def elu(self, alpha: float = 1.0) -> Tensor:
        """x above zero, alpha * (exp(x) - 1) below.

        >>> Tensor([-1.0, 2.0]).elu()
        tensor([-0.6321,  2.0000])
        """
        # Where the other branch is chosen the exponential must not overflow.
        below = self.clamp(max=0)
        return where(self > 0, self, below.expm1() * alpha)

    def celu(self, alpha: float = 1.0) -> Tensor:
        """x above zero, alpha * (exp(x / alpha) - 1) below.

        >>> Tensor([-1.0, 2.0]).celu(2.0)
        tensor([-0.7869,  2.0000])
        """
        below = self.clamp(max=0)
        return where(self > 0, self, (below / alpha).expm1() * alpha)

    def selu(self) -> Tensor:
        """scale * elu(x, α), with the constants for which activations normalise.

        Source: Klambauer et al., "Self-Normalizing Neural Networks", 2017.

        >>> Tensor([-1.0, 2.0]).selu()
        tensor([-1.1113,  2.1014])
        """
        return self.elu(SELU_ALPHA) * SELU_SCALE

    def threshold(self, threshold: float, value: float) -> Tensor:
        """x above the threshold, else ``value``.

        >>> Tensor([0.5, 2.0]).threshold(1.0, -1.0)
        tensor([-1.,  2.])
        """
        return where(self > threshold, self, value)

    def hardshrink(self, lambd: float = 0.5) -> Tensor:
        """0 where |x| is at most ``lambd``, else x.

        >>> Tensor([-1.0, 0.25]).hardshrink()
        tensor([-1.,  0.])
        """
        return self.masked_fill(self.abs() <= lambd, 0)

    def softshrink(self, lambd: float = 0.5) -> Tensor:
        """x moved towards zero by ``lambd``, and 0 within it.

        >>> Tensor([-1.0, 0.25]).softshrink()
        tensor([-0.5000,  0.0000])
        """
        low = where(self < -lambd, self + lambd, 0.0)
        return where(self > lambd, self - lambd, low)

    # --- smooth -----------------------------------------------------------------------

    def gelu(self, approximate: str = "none") -> Tensor:
        """x times the normal distribution function; 'tanh' for the approximation.

        >>> Tensor([1.0]).gelu()
        tensor([0.8413])
        """
        if approximate == "none":
            return self * 0.5 * (1.0 + (self * math.sqrt(0.5)).erf())
        if approximate == "tanh":
            # D. Hendrycks and K. Gimpel, "Gaussian Error Linear Units" (2016).
            inner = (self + self * self * self * 0.044715) * math.sqrt(2 / math.pi)
            return self * 0.5 * (1.0 + inner.tanh())
        raise TetragradError(
            f"there is no gelu approximation {approximate!r}",
            hint="use 'none' or 'tanh'",
        )

    def silu(self) -> Tensor:
        """x * sigmoid(x).

        >>> Tensor([1.0]).silu()
        tensor([0.7311])
        """
        return self * self.sigmoid()

    swish = silu

    def softplus(self, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
        """log(1 + exp(beta * x)) / beta; x itself where beta * x > threshold.

        >>> Tensor([-1.0, 0.0]).softplus()
        tensor([0.3133, 0.6931])
        """
        scaled = self * beta
        smooth = scaled.apply_float(nodes.softplus) / beta
        return where(scaled > threshold, self, smooth)

    def mish(self) -> Tensor:
        """x * tanh(softplus(x)).

        >>> Tensor([-1.0, 2.0]).mish()
        tensor([-0.3034,  1.9440])
        """
        return self * self.apply_float(nodes.softplus).tanh()

    def logsigmoid(self) -> Tensor:
        """log(sigmoid(x)) without underflow.

        >>> Tensor([0.0]).logsigmoid()
        tensor([-0.6931])
        """
        return -((-self).apply_float(nodes.softplus))

    log_sigmoid = logsigmoid

    def hardsigmoid(self) -> Tensor:
        """x / 6 + 1/2, limited to [0, 1].

        >>> Tensor([-4.0, 0.0, 1.5]).hardsigmoid()
        tensor([0.0000, 0.5000, 0.7500])
        """
        return (self + 3.0).relu6() / 6.0

    def hardswish(self) -> Tensor:
        """x * hardsigmoid(x).

        >>> Tensor([-1.0, 2.0, 4.0]).hardswish()
        tensor([-0.3333,  1.6667,  4.0000])
        """
        return self * self.hardsigmoid()

    def softsign(self) -> Tensor:
        """x / (1 + |x|).

        >>> Tensor([-1.0, 3.0]).softsign()
        tensor([-0.5000,  0.7500])
        """
        return self / (self.abs() + 1.0)

    def tanhshrink(self) -> Tensor:
        """x - tanh(x).

        >>> Tensor([-1.0, 1.0]).tanhshrink()
        tensor([-0.2384,  0.2384])
        """
        return self - self.tanh()

    def glu(self, dim: int = -1) -> Tensor:
        """The first half times the sigmoid of the second half.

        >>> Tensor([1.0, 2.0, 0.0, 0.0]).glu()
        tensor([0.5000, 1.0000])
        """
        first, second = self.chunk(2, dim)
        return first * second.sigmoid()

    # --- softmax ----------------------------------------------------------------------

    @also_axis
    def softmax(self, dim: int | None = None, *, dtype: Any = None) -> Tensor:
        """exp(x) / Σ exp(x) along a dimension, without overflow.

        >>> Tensor([0.0, 0.0]).softmax(0)
        tensor([0.5000, 0.5000])
        """
        dim = _softmax_dim("softmax()", dim, self.ndim)
        source, result_dtype = self._widened(dtype)
        if source.numel() == 0:
            return source.to(result_dtype).clone()
        # The shift cancels exactly, so that no gradient needs to flow through it.
        shifted = source - source.amax(dim, keepdim=True).detach()
        powers = shifted.exp()
        return (powers / powers.sum(dim, keepdim=True)).to(result_dtype)

    def _widened(self, dtype: Any) -> tuple[Tensor, DType]:
        """The tensor in the dtype to compute in, and the dtype of the result."""
        wanted = float_dtype(self) if dtype is None else to_dtype(dtype)
        return self.to(accumulation(wanted)), wanted

    @also_axis
    def log_softmax(self, dim: int | None = None, *, dtype: Any = None) -> Tensor:
        """log(softmax(x)) along a dimension, without underflow.

        >>> Tensor([0.0, 0.0]).log_softmax(0)
        tensor([-0.6931, -0.6931])
        """
        dim = _softmax_dim("log_softmax()", dim, self.ndim)
        source, result_dtype = self._widened(dtype)
        if source.numel() == 0:
            return source.to(result_dtype).clone()
        shifted = source - source.amax(dim, keepdim=True).detach()
        result = shifted - shifted.exp().sum(dim, keepdim=True).log()
        return result.to(result_dtype)

    @also_axis
    def softmin(self, dim: int | None = None) -> Tensor:
        """softmax(-x).

        >>> Tensor([0.0, 1.0]).softmin(0)
        tensor([0.7311, 0.2689])
        """
        return (-self).softmax(dim)

    relu_ = in_place(relu)
    leaky_relu_ = in_place(leaky_relu)
    elu_ = in_place(elu)
    silu_ = in_place(silu)


def _softmax_dim(name: str, dim: int | None, ndim: int) -> int:
    if dim is None:
        raise TetragradError(f"{name} needs a dimension", hint="write dim=-1")
    return normal_dim(dim, ndim)
