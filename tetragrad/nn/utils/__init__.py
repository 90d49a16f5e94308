"""Helpers around parameters: clipping gradients, vectors, weight normalisation.

``parametrize`` computes parameters from others; ``parametrizations`` has common ways.
``rnn`` packs sequences of different lengths, ``fusion`` joins layers for inference.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from tetragrad.core.errors import GradientError, ShapeError, missing
from tetragrad.nn.hooks import RemovableHandle
from tetragrad.nn.module import Module
from tetragrad.nn.parameter import Parameter
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

    >>> from tetragrad import Tensor, nn
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

    >>> from tetragrad import Tensor, nn
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

    >>> from tetragrad import Tensor, nn
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

    >>> from tetragrad import nn
    >>> nn.utils.parameters_to_vector(nn.Linear(2, 3).parameters()).shape
    (9,)
    """
    from tetragrad.nn.functional import cat

    return cat([parameter.reshape(-1) for parameter in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write the elements of a vector into parameters, one after another.

    >>> from tetragrad import Tensor, nn
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


class _WeightNorm:
    """The hook that computes w = g·v / ‖v‖ before every call."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = dim

    def norm(self, direction: Tensor) -> Tensor:
        """‖v‖ over all dimensions but ``dim``, kept for broadcasting."""
        square = direction * direction
        if self.dim is None:
            return square.sum().sqrt()
        kept = self.dim % direction.ndim
        others = [dim for dim in range(direction.ndim) if dim != kept]
        return square.sum(dim=others, keepdim=True).sqrt()

    def __call__(self, module: Module, args: Any) -> None:
        direction = getattr(module, f"{self.name}_v")
        length = getattr(module, f"{self.name}_g")
        weight = length * direction / self.norm(direction)
        object.__setattr__(module, self.name, weight)


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """Train a weight as length times direction: w = g·v / ‖v‖.

    The parameter ``name`` is replaced by ``name_g`` and ``name_v``; the norm is taken
    over all dimensions but ``dim``. Returns the module.

    Source: Salimans and Kingma, "Weight normalization", 2016.

    >>> from tetragrad import nn
    >>> layer = nn.utils.weight_norm(nn.Linear(2, 3))
    >>> [name for name, _ in layer.named_parameters()]
    ['bias', 'weight_g', 'weight_v']
    """
    hook = _WeightNorm(name, dim)
    weight = getattr(module, name)
    del module._parameters[name]
    with no_grad():
        length = hook.norm(weight)
    module.register_parameter(f"{name}_g", Parameter(length.clone()))
    module.register_parameter(f"{name}_v", Parameter(weight.detach().clone()))
    hook(module, ())
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module: Any, name: str = "weight") -> Any:
    """Make the weight an ordinary parameter again; returns the module.

    >>> layer = nn.utils.weight_norm(nn.Linear(2, 3))
    >>> layer = nn.utils.remove_weight_norm(layer)
    >>> sorted(name for name, _ in layer.named_parameters())
    ['bias', 'weight']
    """
    hooks = module._forward_pre_hooks.entries
    numbers = [
        number
        for number, hook in hooks.items()
        if isinstance(hook.function, _WeightNorm) and hook.function.name == name
    ]
    if not numbers:
        raise ValueError(f"{type(module).__name__} has no weight norm of {name!r}")
    with no_grad():
        hooks[numbers[0]].function(module, ())
        weight = getattr(module, name).detach().clone()
    RemovableHandle(module._forward_pre_hooks, numbers[0]).remove()
    del module._parameters[f"{name}_g"], module._parameters[f"{name}_v"]
    delattr(module, name)
    module.register_parameter(name, Parameter(weight))
    return module


#: What is imported when it is first used.
_LATE = {
    "rnn": "rnn",
    "fusion": "fusion",
    "fuse_conv_bn_eval": "fusion",
    "fuse_conv_bn_weights": "fusion",
    "fuse_linear_bn_eval": "fusion",
    "fuse_linear_bn_weights": "fusion",
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
    "remove_weight_norm",
    "rnn",
    "skip_init",
    "vector_to_parameters",
    "weight_norm",
]


def __getattr__(name: str) -> Any:
    import importlib

    if name not in _LATE:
        raise missing(name, "tetragrad.nn.utils", __all__)
    module = importlib.import_module(f"tetragrad.nn.utils.{_LATE[name]}")
    return module if name == _LATE[name] else getattr(module, name)
