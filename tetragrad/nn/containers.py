"""Modules that hold modules or parameters in order or by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, overload

from tetragrad.nn.module import Module
from tetragrad.nn.parameter import Parameter
from tetragrad.tensor import Tensor


def _position(owner: str, index: int, length: int) -> int:
    """A list index, negative ones counted from the end, checked."""
    if not -length <= index < length:
        raise IndexError(f"index {index} is out of range: {owner} has {length} entries")
    return index % length


class _ModuleSequence(Module):
    """What Sequential and ModuleList share: modules named '0', '1', …"""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def _key(self, index: int) -> str:
        position = _position(type(self).__name__, index, len(self))
        return list(self._modules)[position]

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._with_modules(list(self._modules.items())[index])
        return self._modules[self._key(index)]

    def _with_modules(self, named: list[tuple[str, Any]]) -> Self:
        raise NotImplementedError

    def __setitem__(self, index: int, module: Module) -> None:
        self.register_module(self._key(index), module)

    def __delitem__(self, index: int | slice) -> None:
        removed = range(len(self))[index] if isinstance(index, slice) else [index]
        for key in [self._key(position) for position in removed]:
            del self._modules[key]
        self._modules = {str(position): module for position, module in enumerate(self)}

    def append(self, module: Module) -> Self:
        """Add a module at the end; returns self."""
        self.register_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several modules at the end; returns self."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Add a module before the one at ``index``."""
        modules = list(self)
        modules.insert(index, module)
        self._modules = {}
        self.extend(modules)

    def pop(self, index: int = -1) -> Any:
        """Remove a module and return it."""
        module = self[index]
        del self[index]
        return module


class Sequential(_ModuleSequence):
    """Modules called one after another, each on the output of the one before.

    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> model(Tensor.zeros(3, 4)).shape
    (3, 2)
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.register_module(name, module)
        else:
            self.extend(modules)

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input

    def _with_modules(self, named: list[tuple[str, Any]]) -> Self:
        return type(self)(dict(named))


class ModuleList(_ModuleSequence):
    """A list of modules that registers what it holds; it has no ``forward``.

    >>> blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
    >>> [name for name, _ in blocks.named_parameters()]
    ['0.weight', '0.bias', '1.weight', '1.bias']
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def _with_modules(self, named: list[tuple[str, Any]]) -> Self:
        return type(self)(module for _, module in named)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)


class _Dictionary(Module):
    """What ModuleDict and ParameterDict share: a mapping kept in a registry."""

    _registry_name: str

    @property
    def _entries(self) -> dict[str, Any]:
        entries: dict[str, Any] = self.__dict__[self._registry_name]
        return entries

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> Any:
        if name not in self._entries:
            known = ", ".join(self._entries) or "nothing"
            raise KeyError(f"{type(self).__name__} has no {name!r}; it has {known}")
        return self._entries[name]

    def __setitem__(self, name: str, value: Any) -> None:
        raise NotImplementedError

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._entries.keys()

    def values(self) -> Iterable[Any]:
        """What the names stand for."""
        return self._entries.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Pairs of name and value."""
        return self._entries.items()

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a name, or the default."""
        return self._entries.get(name, default)

    def pop(self, name: str) -> Any:
        """Remove a name and return its value."""
        value = self[name]
        del self[name]
        return value

    def clear(self) -> None:
        """Remove everything."""
        self._entries.clear()

    def update(self, entries: Any) -> None:
        """Add the entries of a mapping, or of pairs."""
        for name, value in dict(entries).items():
            self[name] = value


class ModuleDict(_Dictionary):
    """Modules by name; it has no ``forward``.

    >>> heads = nn.ModuleDict({"cat": nn.Linear(4, 2), "dog": nn.Linear(4, 3)})
    >>> sorted(heads)
    ['cat', 'dog']
    """

    _registry_name = "_modules"

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        self.update(modules or {})

    def __setitem__(self, name: str, module: Module) -> None:
        self.register_module(name, module)


class ParameterDict(_Dictionary):
    """Parameters by name; plain tensors are made into parameters.

    >>> nn.ParameterDict({"scale": Tensor([2.0])})["scale"].requires_grad
    True
    """

    _registry_name = "_parameters"

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self.update(parameters or {})

    def __setitem__(self, name: str, value: Any) -> None:
        self.register_parameter(name, _as_parameter(value))


class ParameterList(Module):
    """A list of parameters; plain tensors are made into parameters.

    >>> len(nn.ParameterList([Tensor.zeros(2), Tensor.zeros(3)]))
    2
    """

    def __init__(self, parameters: Iterable[Any] = ()) -> None:
        super().__init__()
        self.extend(parameters)

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Parameter]:
        return iter(self._parameters.values())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return self._parameters[str(_position("ParameterList", index, len(self)))]

    def __setitem__(self, index: int, value: Any) -> None:
        position = _position("ParameterList", index, len(self))
        self.register_parameter(str(position), _as_parameter(value))

    def append(self, value: Any) -> Self:
        """Add a parameter at the end; returns self."""
        self.register_parameter(str(len(self)), _as_parameter(value))
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add several parameters at the end; returns self."""
        for value in values:
            self.append(value)
        return self


def _as_parameter(value: Any) -> Parameter:
    if isinstance(value, Parameter):
        return value
    return Parameter(value if isinstance(value, Tensor) else Tensor(value))
