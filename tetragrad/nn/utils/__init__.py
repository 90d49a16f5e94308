"""Helpers around parameters: clipping gradients, vectors, weight normalisation.

``parametrize`` computes parameters from others; ``parametrizations`` has common ways.
``prune`` keeps weights at zero, ``rnn`` packs sequences of different lengths, and
``fusion`` joins layers for inference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from tetragrad.core.errors import GradientError, ShapeError, missing
from tetragrad.nn.utils import parametrizations as parametrizations
from tetragrad.nn.utils import parametrize as parametrize
from tetragrad.tensor import Tensor
from tetragrad.tensor.modes import no_grad

EPS = 1e-6


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    tensors = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [entry.grad for entry in tensors if entry.grad is not None]


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The p-norm of all elements of all tensors together, a 0-d tensor.

    >>> nn.utils.get_total_norm([Tensor([3.0]), Tensor([4.0])]).item()
    5.0
    """
    entries = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    if not entries:
        return Tensor(0.0)
    total = _total_norm([entry.detach() for entry in entries], float(norm_type))
    # Asked only if wanted: it waits for the gradients.
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise GradientError(
            f"the total norm of the gradients is {total.item()}, so they cannot be "
            "clipped",
            hint="lower the learning rate, or pass error_if_nonfinite=False",
        )
    return total


def _total_norm(tensors: list[Tensor], order: float) -> Tensor:
    if order == math.inf:
        total = tensors[0].abs().max()
        for entry in tensors[1:]:
            total = total.maximum(entry.abs().max())
        return total
    powers = [(entry.abs() ** order).sum() for entry in tensors]
    total = powers[0]
    for power in powers[1:]:
        total = total + power
    return total ** (1 / order)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients so that their common norm is at most ``max_norm``.

    g ← g·min(1, max_norm / (norm + 1e-6)); returns the norm before, a 0-d tensor.

    >>> x = Tensor([1.0], requires_grad=True)
    >>> (x * 10).sum().backward()
    >>> nn.utils.clip_grad_norm_([x], max_norm=1.0).item()
    10.0
    >>> round(x.grad.item(), 5)
    1.0
    """
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    with no_grad():
        gradients = _gradients(given)
        total = get_total_norm(gradients, norm_type, error_if_nonfinite)
    clip_grads_with_norm_(given, max_norm, total)
    return total


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    total_norm: Tensor,
    foreach: bool | None = None,
) -> None:
    """Scale all gradients as ``clip_grad_norm_`` does, by a norm that is known.

    >>> x = Tensor([1.0], requires_grad=True)
    >>> (x * 10).sum().backward()
    >>> nn.utils.clip_grads_with_norm_([x], 5.0, Tensor(20.0))
    >>> round(x.grad.item(), 5)
    2.5
    """
    with no_grad():
        factor = (max_norm / (total_norm + EPS)).clamp(max=1.0)
        for gradient in _gradients(parameters):
            gradient.copy_(gradient * factor)


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor],
    clip_value: float,
    foreach: bool | None = None,
) -> None:
    """Move every element of every gradient into [-clip_value, clip_value].

    >>> x = Tensor([1.0], requires_grad=True)
    >>> (x * 10).sum().backward()
    >>> nn.utils.clip_grad_value_([x], 0.5)
    >>> x.grad.tolist()
    [0.5]
    """
    with no_grad():
        for gradient in _gradients(parameters):
            gradient.copy_(gradient.clamp(-clip_value, clip_value))


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of all parameters in one vector.

    >>> nn.utils.parameters_to_vector(nn.Linear(2, 3).parameters()).shape
    (9,)
    """
    from tetragrad.nn.functional import cat

    return cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write the elements of a vector into parameters, one after another.

    >>> layer = nn.Linear(1, 1)
    >>> nn.utils.vector_to_parameters(Tensor([2.0, 3.0]), layer.parameters())
    >>> layer.weight.tolist(), layer.bias.tolist()
    ([[2.0]], [3.0])
    """
    targets = list(parameters)
    needed = sum(target.numel() for target in targets)
    if vec.shape != (needed,):
        raise ShapeError(
            f"the parameters have {needed} elements, the vector has shape {vec.shape}"
        )
    start = 0
    with no_grad():
        for target in targets:
            part = vec.detach()[start : start + target.numel()]
            target.copy_(part.reshape(target.shape))
            start += target.numel()


def skip_init(module_cls: Any, *args: Any, **kwargs: Any) -> Any:
    """A module whose parameters do not matter yet: they are zeros.

    >>> nn.utils.skip_init(nn.Linear, 1, 1).weight.item()
    0.0
    """
    device = kwargs.pop("device", None)
    return module_cls(*args, **kwargs).to_empty(device=device)


#: What is imported when it is first used.
_LATE = {
    "rnn": "rnn",
    "fusion": "fusion",
    "fuse_conv_bn_eval": "fusion",
    "fuse_conv_bn_weights": "fusion",
    "fuse_linear_bn_eval": "fusion",
    "fuse_linear_bn_weights": "fusion",
    "prune": "prune",
    "remove_spectral_norm": "weight_hooks",
    "remove_weight_norm": "weight_hooks",
    "spectral_norm": "weight_hooks",
    "weight_norm": "weight_hooks",
}

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "fuse_conv_bn_eval",
    "fuse_conv_bn_weights",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
    "get_total_norm",
    "parameters_to_vector",
    "parametrizations",
    "parametrize",
    "prune",
    "remove_spectral_norm",
    "remove_weight_norm",
    "rnn",
    "skip_init",
    "spectral_norm",
    "vector_to_parameters",
    "weight_norm",
]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _LATE:
        raise missing(name, "tetragrad.nn.utils", __all__)
    module = importlib.import_module(f"tetragrad.nn.utils.{_LATE[name]}")
    return module if name == _LATE[name] else getattr(module, name)
