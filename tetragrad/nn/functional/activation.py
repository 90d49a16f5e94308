"""Activations as functions; those with ``inplace`` can write over their input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tetragrad.tensor import Tensor
from tetragrad.tensor.derived import function_of, function_with_inplace

gelu = function_of(Tensor.gelu)
glu = function_of(Tensor.glu)
hardshrink = function_of(Tensor.hardshrink)
logsigmoid = function_of(Tensor.logsigmoid)
prelu = function_of(Tensor.prelu)
sigmoid = function_of(Tensor.sigmoid)
softplus = function_of(Tensor.softplus)
softshrink = function_of(Tensor.softshrink)
softsign = function_of(Tensor.softsign)
tanh = function_of(Tensor.tanh)
tanhshrink = function_of(Tensor.tanhshrink)

celu = function_with_inplace(Tensor.celu)
elu = function_with_inplace(Tensor.elu)
hardsigmoid = function_with_inplace(Tensor.hardsigmoid)
hardswish = function_with_inplace(Tensor.hardswish)
hardtanh = function_with_inplace(Tensor.hardtanh)
leaky_relu = function_with_inplace(Tensor.leaky_relu)
mish = function_with_inplace(Tensor.mish)
relu = function_with_inplace(Tensor.relu)
relu6 = function_with_inplace(Tensor.relu6)
selu = function_with_inplace(Tensor.selu)
silu = function_with_inplace(Tensor.silu)
threshold = function_with_inplace(Tensor.threshold)


def finish(input: Tensor, output: Tensor, inplace: bool) -> Tensor:
    """The output, written over the input if that was asked for."""
    return input.copy_(output) if inplace else output


def rrelu(
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """Leaky ReLU with a slope drawn from U(lower, upper); their mean in inference.

    >>> nn.functional.rrelu(Tensor([-1.0, 2.0]))
    tensor([-0.2292,  2.0000])
    """
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    slope = lower + (upper - lower) * input.detach().rand_like()
    return finish(input, input.where(input > 0, input * slope), inplace)


def _softmax_dim(ndim: int) -> int:
    """The dimension PyTorch takes if none is named."""
    return 0 if ndim in (0, 1, 3) else 1


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """exp(x) / Σ exp(x) along ``dim``.

    >>> nn.functional.softmax(Tensor([0.0, 0.0]), dim=0)
    tensor([0.5000, 0.5000])
    """
    chosen = _softmax_dim(input.ndim) if dim is None else dim
    return (input if dtype is None else input.to(dtype)).softmax(chosen)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """x - log Σ exp(x) along ``dim``.

    >>> nn.functional.log_softmax(Tensor([0.0, 0.0]), dim=0)
    tensor([-0.6931, -0.6931])
    """
    chosen = _softmax_dim(input.ndim) if dim is None else dim
    return (input if dtype is None else input.to(dtype)).log_softmax(chosen)


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """exp(-x) / Σ exp(-x) along ``dim``.

    >>> nn.functional.softmin(Tensor([0.0, 1.0]), dim=0)
    tensor([0.7311, 0.2689])
    """
    return softmax(-input, dim, dtype=dtype)


def gumbel_softmax(
    logits: Tensor,
    tau: float = 1.0,
    hard: bool = False,
    eps: float = 1e-10,
    dim: int = -1,
) -> Tensor:
    """A random, differentiable draw from the categories that logits describe.

    softmax((logits + g) / tau) with Gumbel noise g; ``hard`` gives the one-hot
    category, with the gradient of the soft draw.

    Source: Jang et al., "Categorical reparameterization with Gumbel-softmax", 2016.

    >>> nn.functional.gumbel_softmax(Tensor([[1.0, 2.0]]), hard=True).sum(-1)
    tensor([1.])
    """
    # 1 - u lies in (0, 1], so that its logarithm is finite.
    exponential = -(1 - logits.detach().rand_like()).log()
    gumbel = -exponential.clamp(min=1e-38).log()
    soft = ((logits + gumbel) / tau).softmax(dim)
    if not hard:
        return soft
    winner = soft.detach().argmax(dim, keepdim=True)
    places = Tensor.arange(logits.shape[dim], device=logits.device)
    trailing = [1] * (logits.ndim - 1 - dim % logits.ndim)
    chosen = (places.reshape(-1, *trailing) == winner).to(logits.dtype)
    return chosen + (soft - soft.detach())


# --- in place -------------------------------------------------------------------------

_IN_PLACE = """``{0}``, written over its input, which it returns.

>>> values = Tensor([-1.0, 0.5])
>>> nn.functional.{0}_(values{1}) is values
True
"""


def _in_place(function: Callable[..., Tensor], example: str = "") -> Any:
    """The form of an activation that replaces its input's values."""

    def changed(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return input.copy_(function(input, *args, **kwargs))

    changed.__name__ = changed.__qualname__ = f"{function.__name__}_"
    changed.__doc__ = _IN_PLACE.format(function.__name__, example)
    return changed


celu_ = _in_place(celu)
elu_ = _in_place(elu)
hardtanh_ = _in_place(hardtanh)
leaky_relu_ = _in_place(leaky_relu)
relu_ = _in_place(relu)
rrelu_ = _in_place(rrelu)
selu_ = _in_place(selu)
threshold_ = _in_place(threshold, ", 1.0, -1.0")
