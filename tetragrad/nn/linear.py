"""Layers that multiply by a weight matrix."""

from __future__ import annotations

import math
from typing import Any

from tetragrad.nn import functional as F
from tetragrad.nn import init
from tetragrad.nn.module import Module
from tetragrad.nn.parameter import Parameter
from tetragrad.tensor import Tensor


def empty_parameter(*shape: int, device: str | None, dtype: Any) -> Parameter:
    """A parameter whose values an ``init`` function is about to write."""
    return Parameter(Tensor.zeros(*shape, device=device, dtype=dtype))


class Identity(Module):
    """The input, unchanged; any arguments are accepted and ignored.

    >>> nn.Identity(54, unused=0.1)(Tensor([1.0])).tolist()
    [1.0]
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


class Linear(Module):
    """y = x Wᵀ + b, for x of shape (*, in_features).

    Weight: (out_features, in_features); bias: (out_features). Both start as
    U(-1/√in_features, 1/√in_features).

    >>> nn.Linear(4, 2)(Tensor.zeros(3, 4)).shape
    (3, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = empty_parameter(
            out_features, in_features, device=device, dtype=dtype
        )
        self.bias = (
            empty_parameter(out_features, device=device, dtype=dtype) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new starting values."""
        init_like_linear(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


def init_like_linear(weight: Parameter, bias: Parameter | None) -> None:
    """U(-1/√fan_in, 1/√fan_in) for both, which is Kaiming with slope √5."""
    if weight.numel() == 0:
        return
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        fan_in, _ = init.calculate_fan_in_and_fan_out(weight)
        bound = 1 / math.sqrt(fan_in)
        init.uniform_(bias, -bound, bound)


class Bilinear(Module):
    """y[o] = x₁ᵀ W[o] x₂ + b[o], for inputs (*, in1_features), (*, in2_features).

    >>> nn.Bilinear(2, 3, 4)(Tensor.ones(5, 2), Tensor.ones(5, 3)).shape
    (5, 4)
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        shape = out_features, in1_features, in2_features
        self.weight = empty_parameter(*shape, device=device, dtype=dtype)
        self.bias = (
            empty_parameter(out_features, device=device, dtype=dtype) if bias else None
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new starting values from U(-1/√in1_features, 1/√in1_features)."""
        bound = 1 / math.sqrt(self.in1_features)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )
