"""Weights that a hook computes from others before every call of a layer.

The older form of ``parametrizations``, under whose names many checkpoints are saved:
``weight_norm`` keeps ``weight_g`` and ``weight_v``, ``spectral_norm`` ``weight_orig``.
"""

from __future__ import annotations

from typing import Any, TypeVar

from tetragrad.nn.hooks import RemovableHandle
from tetragrad.nn.module import Module
from tetragrad.nn.parameter import Parameter
from tetragrad.nn.utils.parametrizations import (
    normalized,
    output_dim,
    power_iteration_matrix,
)
from tetragrad.tensor import Tensor
from tetragrad.tensor.modes import no_grad


class _WeightHook:
    """What computes ``name`` from other parameters before every call."""

    #: What an error calls it.
    title: str
    name: str

    def __call__(self, module: Module, args: Any) -> None:
        object.__setattr__(module, self.name, self.value(module))

    def value(self, module: Module) -> Tensor:
        """The weight, computed."""
        raise NotImplementedError


Kind = TypeVar("Kind", bound=_WeightHook)


def _taken_off(module: Any, kind: type[Kind], name: str) -> Kind:
    """Remove the hook that computes a weight, and return it."""
    hooks = module._forward_pre_hooks
    for number, entry in hooks.entries.items():
        hook = entry.function
        if isinstance(hook, kind) and hook.name == name:
            RemovableHandle(hooks, number).remove()
            return hook
    raise ValueError(f"{type(module).__name__} has no {kind.title} of {name!r}")


def _make_ordinary(module: Any, name: str, value: Tensor) -> None:
    """A computed weight as a parameter again."""
    delattr(module, name)
    module.register_parameter(name, Parameter(value.detach().clone()))


# --- length times direction -----------------------------------------------------------


class _WeightNorm(_WeightHook):
    """w = g·v / ‖v‖."""

    title = "weight norm"

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

    def value(self, module: Module) -> Tensor:
        direction: Tensor = getattr(module, f"{self.name}_v")
        length: Tensor = getattr(module, f"{self.name}_g")
        return length * direction / self.norm(direction)


def weight_norm(module: Any, name: str = "weight", dim: int | None = 0) -> Any:
    """Train a weight as length times direction: w = g·v / ‖v‖.

    The parameter ``name`` is replaced by ``name_g`` and ``name_v``; the norm is taken
    over all dimensions but ``dim``. Returns the module.

    Source: Salimans and Kingma, "Weight normalization", 2016.

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
    hook = _taken_off(module, _WeightNorm, name)
    with no_grad():
        value = hook.value(module)
    del module._parameters[f"{name}_g"], module._parameters[f"{name}_v"]
    _make_ordinary(module, name, value)
    return module


# --- divided by the largest singular value --------------------------------------------


class _SpectralNorm(_WeightHook):
    """w / σ(w), where σ is followed by power iteration while the layer trains."""

    title = "spectral norm"

    def __init__(self, name: str, steps: int, eps: float, dim: int) -> None:
        self.name = name
        self.steps = steps
        self.eps = eps
        self.dim = dim

    def __call__(self, module: Module, args: Any) -> None:
        if module.training:
            with no_grad():
                self.iterate(module)
        super().__call__(module, args)

    def matrix(self, module: Module) -> Tensor:
        """The original weight with a row for each output."""
        original: Tensor = getattr(module, f"{self.name}_orig")
        return power_iteration_matrix(original, self.dim)

    def iterate(self, module: Module) -> None:
        """Bring both singular vectors closer to those of the largest value."""
        matrix = self.matrix(module)
        kept_left = getattr(module, f"{self.name}_u")
        kept_right = getattr(module, f"{self.name}_v")
        left, right = kept_left, kept_right
        for _ in range(self.steps):
            right = normalized(matrix.T @ left, self.eps)
            left = normalized(matrix @ right, self.eps)
        kept_left.copy_(left)
        kept_right.copy_(right)

    def value(self, module: Module) -> Tensor:
        left = getattr(module, f"{self.name}_u").clone()
        right = getattr(module, f"{self.name}_v").clone()
        original: Tensor = getattr(module, f"{self.name}_orig")
        return original / left.dot(self.matrix(module) @ right)


def spectral_norm(
    module: Any,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Any:
    """Divide a weight by its largest singular value before every call.

    The parameter ``name`` becomes ``name_orig``; the singular vectors are the buffers
    ``name_u`` and ``name_v``, which ``n_power_iterations`` steps of power iteration at
    each call in training keep close. ``dim`` is the dimension of outputs: 0, but 1 for
    transposed convolutions. Returns the module.

    Source: Miyato et al., "Spectral normalization for generative adversarial networks",
    2018.

    >>> layer = nn.utils.spectral_norm(nn.Linear(2, 3))
    >>> list(layer.state_dict())
    ['bias', 'weight_orig', 'weight_u', 'weight_v']
    """
    if n_power_iterations < 1:
        raise ValueError(
            f"n_power_iterations is {n_power_iterations}, and must be positive"
        )
    weight = getattr(module, name)
    found = output_dim(module) if dim is None else dim
    hook = _SpectralNorm(name, n_power_iterations, eps, found)
    with no_grad():
        rows, columns = power_iteration_matrix(weight.detach(), found).shape
        left = normalized(weight.new_empty(rows).normal_(), eps)
        right = normalized(weight.new_empty(columns).normal_(), eps)
    del module._parameters[name]
    module.register_parameter(f"{name}_orig", weight)
    module.register_buffer(f"{name}_u", left)
    module.register_buffer(f"{name}_v", right)
    object.__setattr__(module, name, weight.detach())
    module.register_forward_pre_hook(hook)
    return module


def remove_spectral_norm(module: Any, name: str = "weight") -> Any:
    """Make the divided weight an ordinary parameter; returns the module.

    >>> layer = nn.utils.spectral_norm(nn.Linear(2, 3))
    >>> layer = nn.utils.remove_spectral_norm(layer)
    >>> list(layer.state_dict())
    ['bias', 'weight']
    """
    hook = _taken_off(module, _SpectralNorm, name)
    with no_grad():
        value = hook.value(module)
    del module._parameters[f"{name}_orig"]
    del module._buffers[f"{name}_u"], module._buffers[f"{name}_v"]
    _make_ordinary(module, name, value)
    return module
