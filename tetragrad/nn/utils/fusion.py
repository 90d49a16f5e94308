"""A batch norm that only scales and shifts, put into the layer before it."""

from __future__ import annotations

import copy
from typing import Any

from tetragrad.core.errors import TetragradError
from tetragrad.nn.parameter import Parameter
from tetragrad.tensor import Tensor
from tetragrad.tensor.modes import no_grad


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """One convolution that gives what a convolution and its batch norm give.

    w' = w·g/√(σ² + ε) and b' = (b - μ)·g/√(σ² + ε) + β, in inference mode.

    Args:
        conv: a convolution; it is copied.
        bn: the batch norm after it.
        transpose: whether it is a transposed convolution.

    Raises:
        TetragradError: one of them is in training mode.

    >>> conv, norm = nn.Conv1d(1, 2, 3).eval(), nn.BatchNorm1d(2).eval()
    >>> x = Tensor.ones(1, 1, 5)
    >>> fused = nn.utils.fuse_conv_bn_eval(conv, norm)
    >>> bool(fused(x).allclose(norm(conv(x)), atol=1e-5))
    True
    """
    fused = _copied("fuse_conv_bn_eval", conv, bn)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight,
        fused.bias,
        bn.running_mean,
        bn.running_var,
        bn.eps,
        bn.weight,
        bn.bias,
        transpose,
    )
    return fused


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """One linear layer that gives what a linear layer and its batch norm give.

    >>> linear, norm = nn.Linear(3, 2).eval(), nn.BatchNorm1d(2).eval()
    >>> x = Tensor.ones(4, 3)
    >>> fused = nn.utils.fuse_linear_bn_eval(linear, norm)
    >>> bool(fused(x).allclose(norm(linear(x)), atol=1e-5))
    True
    """
    fused = _copied("fuse_linear_bn_eval", linear, bn)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight,
        fused.bias,
        bn.running_mean,
        bn.running_var,
        bn.eps,
        bn.weight,
        bn.bias,
    )
    return fused


def _copied(name: str, layer: Any, bn: Any) -> Any:
    if layer.training or bn.training:
        raise TetragradError(
            f"{name}() in training mode, where the statistics change",
            hint="call eval() on both modules first",
        )
    if bn.running_mean is None:
        raise TetragradError(
            f"{name}() of a batch norm without running statistics",
            hint="make it with track_running_stats=True",
        )
    return copy.deepcopy(layer)


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """The weight and bias of ``fuse_conv_bn_eval``, from those of both layers.

    >>> weight, one = Tensor([[[2.0]]]), Tensor([1.0])
    >>> fuse = nn.utils.fuse_conv_bn_weights
    >>> fuse(weight, None, one * 0, one, 0.0, one * 3, None)[0].tolist()
    [[[6.0]]]
    """
    with no_grad():
        scale = (bn_rv + bn_eps).rsqrt()
        scale = scale if bn_w is None else scale * bn_w
        shape = [1] * conv_w.ndim
        shape[1 if transpose else 0] = -1
        shift = -bn_rm if conv_b is None else conv_b - bn_rm
        bias = shift * scale
        bias = bias if bn_b is None else bias + bn_b
        weight = conv_w * scale.reshape(shape)
    return (
        Parameter(weight.to(conv_w.dtype), conv_w.requires_grad),
        Parameter(bias.to(conv_w.dtype), conv_w.requires_grad),
    )


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """The weight and bias of ``fuse_linear_bn_eval``, from those of both layers.

    >>> weight, one = Tensor([[2.0]]), Tensor([1.0])
    >>> fuse = nn.utils.fuse_linear_bn_weights
    >>> fuse(weight, one, one * 0, one, 0.0, one * 3, None)[1].tolist()
    [3.0]
    """
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)
