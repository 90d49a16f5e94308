"""Activations as functions; those with ``inplace`` can write over their input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tetragrad.tensor import Tensor
from tetragrad.tensor.derived import derived_docstring


def finish(input: Tensor, output: Tensor, inplace: bool) -> Tensor:
    """The output, written over the input if that was asked for."""
    return input.copy_(output) if inplace else output


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0).

    >>> nn.functional.relu(Tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """
    return finish(input, input.relu(), inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6).

    >>> nn.functional.relu6(Tensor([-1.0, 2.0, 9.0]))
    tensor([0., 2., 6.])
    """
    return finish(input, input.relu6(), inplace)


def leaky_relu(
    input: Tensor, negative_slope: float = 0.01, inplace: bool = False
) -> Tensor:
    """x if x > 0, else negative_slope·x.

    >>> nn.functional.leaky_relu(Tensor([-1.0, 2.0]), 0.1)
    tensor([-0.1000,  2.0000])
    """
    return finish(input, input.leaky_relu(negative_slope), inplace)


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


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x if x > 0, else weight·x; one weight, or one for each channel.

    >>> nn.functional.prelu(Tensor([-1.0, 2.0]), Tensor([0.5]))
    tensor([-0.5000,  2.0000])
    """
    return input.prelu(weight)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x if x > 0, else alpha·(exp(x) - 1).

    >>> nn.functional.elu(Tensor([-1.0, 2.0]))
    tensor([-0.6321,  2.0000])
    """
    return finish(input, input.elu(alpha), inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """max(0, x) + min(0, alpha·(exp(x / alpha) - 1)).

    >>> nn.functional.celu(Tensor([-1.0, 2.0]), 2.0)
    tensor([-0.7869,  2.0000])
    """
    return finish(input, input.celu(alpha), inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale·(max(0, x) + min(0, α(exp(x) - 1))) with Klambauer's constants.

    >>> nn.functional.selu(Tensor([-1.0, 2.0]))
    tensor([-1.1113,  2.1014])
    """
    return finish(input, input.selu(), inplace)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x·sigmoid(x).

    >>> nn.functional.silu(Tensor([-1.0, 2.0]))
    tensor([-0.2689,  1.7616])
    """
    return finish(input, input.silu(), inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x·tanh(softplus(x)).

    >>> nn.functional.mish(Tensor([-1.0, 2.0]))
    tensor([-0.3034,  1.9440])
    """
    return finish(input, input.mish(), inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x·min(max(x + 3, 0), 6) / 6.

    >>> nn.functional.hardswish(Tensor([-1.0, 2.0, 4.0]))
    tensor([-0.3333,  1.6667,  4.0000])
    """
    return finish(input, input.hardswish(), inplace)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x + 3, 0), 6) / 6.

    >>> nn.functional.hardsigmoid(Tensor([-4.0, 0.0, 1.5]))
    tensor([0.0000, 0.5000, 0.7500])
    """
    return finish(input, input.hardsigmoid(), inplace)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """min(max(x, min_val), max_val).

    >>> nn.functional.hardtanh(Tensor([-4.0, 0.5, 4.0]))
    tensor([-1.0000,  0.5000,  1.0000])
    """
    return finish(input, input.hardtanh(min_val, max_val), inplace)


def threshold(
    input: Tensor, threshold: float, value: float, inplace: bool = False
) -> Tensor:
    """x if x > threshold, else value.

    >>> nn.functional.threshold(Tensor([0.5, 2.0]), 1.0, -1.0)
    tensor([-1.,  2.])
    """
    return finish(input, input.threshold(threshold, value), inplace)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x), exactly or through tanh.

    >>> nn.functional.gelu(Tensor([-1.0, 2.0]))
    tensor([-0.1587,  1.9545])
    """
    return input.gelu(approximate=approximate)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta·x)) / beta, or x where beta·x > threshold.

    >>> nn.functional.softplus(Tensor([-1.0, 0.0]))
    tensor([0.3133, 0.6931])
    """
    return input.softplus(beta, threshold)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|).

    >>> nn.functional.softsign(Tensor([-1.0, 3.0]))
    tensor([-0.5000,  0.7500])
    """
    return input.softsign()


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x).

    >>> nn.functional.tanhshrink(Tensor([-1.0, 1.0]))
    tensor([-0.2384,  0.2384])
    """
    return input.tanhshrink()


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0.

    >>> nn.functional.hardshrink(Tensor([-1.0, 0.25]))
    tensor([-1.,  0.])
    """
    return input.hardshrink(lambd)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved by lambd towards 0, and 0 where |x| <= lambd.

    >>> nn.functional.softshrink(Tensor([-1.0, 0.25]))
    tensor([-0.5000,  0.0000])
    """
    return input.softshrink(lambd)


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x)).

    >>> nn.functional.sigmoid(Tensor([0.0, 2.0]))
    tensor([0.5000, 0.8808])
    """
    return input.sigmoid()


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent.

    >>> nn.functional.tanh(Tensor([0.0, 1.0]))
    tensor([0.0000, 0.7616])
    """
    return input.tanh()


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)) = min(x, 0) - log(1 + exp(-|x|)).

    >>> nn.functional.logsigmoid(Tensor([0.0, 2.0]))
    tensor([-0.6931, -0.1269])
    """
    return input.logsigmoid()


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a·sigmoid(b), where a and b are the halves along ``dim``.

    >>> nn.functional.glu(Tensor([1.0, 2.0, 0.0, 0.0]))
    tensor([0.5000, 1.0000])
    """
    return input.glu(dim)


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


def _in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The form of an activation that replaces its input's values."""

    def changed(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return input.copy_(function(input, *args, **kwargs))

    changed.__name__ = changed.__qualname__ = f"{function.__name__}_"
    summary = f"``{function.__name__}`` in place; returns the input."
    changed.__doc__ = derived_docstring(summary, function, changed.__name__)
    return changed


celu_ = _in_place(celu)
elu_ = _in_place(elu)
hardtanh_ = _in_place(hardtanh)
leaky_relu_ = _in_place(leaky_relu)
relu_ = _in_place(relu)
rrelu_ = _in_place(rrelu)
selu_ = _in_place(selu)
threshold_ = _in_place(threshold)
