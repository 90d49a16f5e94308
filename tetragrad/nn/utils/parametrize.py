"""Parameters that are computed from others whenever they are read.

A parametrised ``layer.weight`` is no parameter any more: it is what the modules of
``layer.parametrizations.weight`` make of the *original* tensors that are trained.

>>> class Symmetric(nn.Module):
...     def forward(self, x):
...         return x.triu() + x.triu(1).T
>>> layer = nn.Linear(2, 2, bias=False)
>>> layer.weight.data = Tensor([[1.0, 2.0], [3.0, 4.0]])
>>> layer = nn.utils.parametrize.register_parametrization(layer, "weight", Symmetric())
>>> layer.weight.tolist(), [name for name, _ in layer.named_parameters()]
([[1.0, 2.0], [2.0, 4.0]], ['parametrizations.weight.original'])
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from tetragrad.core.errors import ShapeError
from tetragrad.nn.containers import ModuleDict, ModuleList
from tetragrad.nn.module import Module
from tetragrad.nn.parameter import Parameter
from tetragrad.tensor import Tensor
from tetragrad.tensor.modes import no_grad


class _Kept(threading.local):
    """Values computed inside of ``cached()``: by list of parametrisations."""

    def __init__(self) -> None:
        self.depth = 0
        self.values: dict[int, Tensor] = {}


_kept = _Kept()


@contextmanager
def cached() -> Iterator[None]:
    """Compute each parametrised tensor once inside of the ``with`` block.

    >>> with nn.utils.parametrize.cached():
    ...     pass
    """
    _kept.depth += 1
    try:
        yield
    finally:
        _kept.depth -= 1
        if not _kept.depth:
            _kept.values.clear()


class ParametrizationList(ModuleList):
    """The parametrisations of one tensor, and the originals that they begin with.

    ``original`` is the parameter that the first one is given; where its
    ``right_inverse`` gives several tensors, they are ``original0``, ``original1``, …

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> isinstance(
    ...     layer.parametrizations.weight, nn.utils.parametrize.ParametrizationList
    ... )
    True
    """

    def __init__(self, modules: Sequence[Module], value: Tensor) -> None:
        super().__init__(modules)
        is_trained = isinstance(value, Parameter)
        with no_grad():
            originals = _inverse_of(modules, value.detach())
        self.is_tensor = isinstance(originals, Tensor)
        tensors = [originals] if isinstance(originals, Tensor) else list(originals)
        names = self.names_of(len(tensors))
        for name, tensor in zip(names, tensors, strict=True):
            if not is_trained:
                self.register_buffer(name, tensor)
                continue
            made = Parameter(tensor, requires_grad=value.requires_grad)
            self.register_parameter(name, made)
        self.ntensors = len(tensors)

    def names_of(self, count: int) -> list[str]:
        """What the originals are called."""
        if self.is_tensor:
            return ["original"]
        return [f"original{number}" for number in range(count)]

    def originals(self) -> list[Tensor]:
        """The tensors that are trained."""
        return [getattr(self, name) for name in self.names_of(self.ntensors)]

    def right_inverse(self, value: Tensor) -> None:
        """Set the originals to what gives a value, where the modules can tell."""
        with no_grad():
            found = _inverse_of(list(self), value)
            tensors = [found] if isinstance(found, Tensor) else list(found)
            for target, source in zip(self.originals(), tensors, strict=True):
                target.copy_(source)

    def forward(self) -> Tensor:
        """The value that the parametrised name has."""
        if _kept.depth and id(self) in _kept.values:
            return _kept.values[id(self)]
        first, *others = self
        value: Tensor = first(*self.originals())
        for module in others:
            value = module(value)
        if _kept.depth:
            _kept.values[id(self)] = value
        return value


def _inverse_of(modules: Sequence[Module], value: Any) -> Any:
    """What the modules make a value of; modules without an inverse are skipped."""
    for module in reversed(modules):
        inverse = getattr(module, "right_inverse", None)
        value = value if inverse is None else inverse(value)
    return value


def register_parametrization(
    module: Module, tensor_name: str, parametrization: Module, *, unsafe: bool = False
) -> Module:
    """Compute a parameter or buffer of a module by another module; returns the first.

    Args:
        module: what has the tensor; its class becomes a subclass of its own.
        tensor_name: the name of the parameter or buffer.
        parametrization: its ``forward`` gives the value. Its ``right_inverse``, if it
            has one, gives what to begin with, and what an assignment stores.
        unsafe: do not check that shape and dtype stay.

    Raises:
        ShapeError: the value would have another shape or dtype.

    >>> layer = nn.utils.parametrize.register_parametrization(
    ...     nn.Linear(2, 2), "weight", nn.Softplus()
    ... )
    >>> bool((layer.weight > 0).all())
    True
    """
    if is_parametrized(module, tensor_name):
        parametrizations = _list_of(module, tensor_name)
        value = parametrizations()
        parametrizations.append(parametrization)
        with no_grad():
            parametrizations.right_inverse(value.detach())
        return module
    registered = module._parameters.get(tensor_name, module._buffers.get(tensor_name))
    if registered is None:
        raise ValueError(
            f"{type(module).__name__} has no parameter or buffer {tensor_name!r}"
        )
    made = ParametrizationList([parametrization], registered)
    if not unsafe:
        _check(made().detach(), registered, parametrization, tensor_name)
    if not is_parametrized(module):
        _change_class(module)
        module.parametrizations = ModuleDict()
    delattr(module, tensor_name)
    setattr(type(module), tensor_name, _property(tensor_name))
    module.parametrizations[tensor_name] = made
    return module


def _check(value: Tensor, old: Tensor, parametrization: Module, name: str) -> None:
    if value.shape != old.shape or value.dtype != old.dtype:
        raise ShapeError(
            f"{type(parametrization).__name__} makes {value.dtype}{list(value.shape)} "
            f"of {name!r}, which is {old.dtype}{list(old.shape)}",
            hint="keep shape and dtype, or pass unsafe=True",
        )


def _change_class(module: Module) -> None:
    """Give a module a class of its own, on which properties can be defined."""
    cls = type(module)

    def __setattr__(self: Any, name: str, value: Any) -> None:
        if is_parametrized(self, name):
            _list_of(self, name).right_inverse(value)
        else:
            cls.__setattr__(self, name, value)

    def __reduce_ex__(self: Any, protocol: Any) -> NoReturn:
        raise TypeError(
            f"a parametrised {cls.__name__} cannot be pickled\n"
            "hint: save its state_dict()"
        )

    def __deepcopy__(self: Any, memo: dict[int, Any]) -> Any:
        import copy

        copied = object.__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied

    methods = (__setattr__, __reduce_ex__, __deepcopy__)
    body = {method.__name__: method for method in methods}
    module.__class__ = type(f"Parametrized{cls.__name__}", (cls,), body)


def _property(name: str) -> property:
    return property(lambda module: _list_of(module, name)())


def _list_of(module: Any, name: str) -> ParametrizationList:
    found: ParametrizationList = module.parametrizations[name]
    return found


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Whether a module has parametrisations, of a tensor or of any.

    >>> nn.utils.parametrize.is_parametrized(nn.Linear(2, 2))
    False
    """
    found = module.__dict__.get("_modules", {}).get("parametrizations")
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def remove_parametrizations(
    module: Module, tensor_name: str, leave_parametrized: bool = True
) -> Module:
    """Make a tensor an ordinary parameter or buffer again; returns the module.

    Args:
        leave_parametrized: keep the value that was computed, not the original.

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> layer = nn.utils.parametrize.remove_parametrizations(layer, "weight")
    >>> sorted(name for name, _ in layer.named_parameters()), type(layer).__name__
    (['bias', 'weight'], 'Linear')
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"{tensor_name!r} of {type(module).__name__} is ordinary")
    parametrizations = _list_of(module, tensor_name)
    if not leave_parametrized and not parametrizations.is_tensor:
        raise ValueError(
            f"{tensor_name!r} has {parametrizations.ntensors} originals\n"
            "hint: pass leave_parametrized=True"
        )
    first = parametrizations.originals()[0]
    with no_grad():
        value = (parametrizations() if leave_parametrized else first).detach().clone()
    del module.parametrizations[tensor_name]
    delattr(type(module), tensor_name)
    if isinstance(first, Parameter):
        made = Parameter(value, requires_grad=first.requires_grad)
        module.register_parameter(tensor_name, made)
    else:
        module.register_buffer(tensor_name, value)
    if not len(module.parametrizations):
        del module.parametrizations
        module.__class__ = type_before_parametrizations(module)
    return module


def type_before_parametrizations(module: Module) -> type[Any]:
    """The class that a module had before it was parametrised.

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> nn.utils.parametrize.type_before_parametrizations(layer).__name__
    'Linear'
    """
    cls = type(module)
    is_ours = cls.__name__.startswith("Parametrized") and "__reduce_ex__" in vars(cls)
    return cls.__bases__[0] if is_ours else cls
