"""Frozen dataclasses that cost little to define.

``dataclass`` writes six methods for each class as text and compiles them, which takes
about a millisecond; a compiler made of two hundred such classes would spend a third of
its start on them. Here the methods are shared or made from what Python has, and the
constructor is compiled when the first instance is made. To everything else
(``fields``, ``replace``, ``asdict``, ``match``) such a class is a dataclass.

    @frozen
    class Point:
        x: int
        y: int = 0
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform, overload

Class = TypeVar("Class", bound=type)


@overload
def frozen(cls: Class, /) -> Class: ...


@overload
def frozen(*, slots: bool = False, eq: bool = True) -> Callable[[Class], Class]: ...


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: Any = None, /, *, slots: bool = False, eq: bool = True) -> Any:
    """Make a class a frozen dataclass of its annotated fields.

    Args:
        slots: keep no ``__dict__``; smaller, but without cached properties.
        eq: compare and hash by the fields; otherwise by identity.
    """
    if cls is None:
        return lambda decorated: _freeze(decorated, slots, eq)
    return _freeze(cls, slots, eq)


def _freeze(cls: Any, slots: bool, eq: bool) -> Any:
    own = set(cls.__dict__)
    cls = dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
    compared = tuple(entry.name for entry in fields(cls) if entry.compare)
    methods: dict[str, Any] = {
        "__init__": _first_constructor(cls),
        "__repr__": _text,
        "__reduce__": _reduced,
        "__setattr__": _refuse_setting,
        "__delattr__": _refuse_deleting,
    }
    if eq and "__eq__" not in own:
        methods |= _comparison(compared)
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)
    return cls


def _comparison(names: tuple[str, ...]) -> dict[str, Any]:
    """Equality and hash by the named fields."""
    values: Callable[[Any], Any] = attrgetter(*names) if names else lambda _: ()

    def equal(self: Any, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return bool(values(self) == values(other))

    def hashed(self: Any) -> int:
        return hash(values(self))

    return {"__eq__": equal, "__hash__": hashed}


Instance = TypeVar("Instance")


def replace(instance: Instance, /, **changes: Any) -> Instance:
    """A copy of a frozen instance with other values for some fields.

    What ``dataclasses.replace`` does, in a fifth of its time: the fields are copied
    together, not read one by one and handed to the constructor.
    """
    cls: Any = type(instance)
    names = _names_of(cls)
    if names is None:
        return dataclasses.replace(instance, **changes)  # type: ignore[type-var]
    assert names.issuperset(changes), f"{changes} are not fields of {cls.__name__}"
    made = object.__new__(cls)
    known = instance.__dict__
    # What has been worked out from the fields is not one of them.
    if len(known) > len(names):
        known = {name: known[name] for name in names}
    made.__dict__.update(known, **changes)
    copied: Instance = made
    return copied


@functools.cache
def _names_of(cls: Any) -> frozenset[str] | None:
    """The names of a class's fields; None where setting them is not all there is."""
    if hasattr(cls, "__slots__") or hasattr(cls, "__post_init__"):
        return None
    return frozenset(entry.name for entry in fields(cls))


def _text(self: Any) -> str:
    shown = (entry for entry in fields(self) if entry.repr)
    inside = ", ".join(f"{entry.name}={getattr(self, entry.name)!r}" for entry in shown)
    return f"{type(self).__qualname__}({inside})"


def _reduced(self: Any) -> tuple[Any, ...]:
    """Copied and pickled through the constructor, as nothing can be set later."""
    return type(self), tuple(getattr(self, entry.name) for entry in fields(self))


def _refuse_setting(self: Any, name: str, value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deleting(self: Any, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


# --- constructors -----------------------------------------------------------------


#: So many instances of a class are made without compiling a constructor.
FEW_INSTANCES = 8


def _first_constructor(cls: Any) -> Callable[..., None]:
    """A constructor that makes the real one once there are more than a few instances.

    To compile it takes as long as a hundred instances, and most classes of a compiler
    have fewer in a program.
    """
    instances = 0

    def first(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal instances
        instances += 1
        names, defaults = _plain_fields(cls)
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        values = {**defaults, **given}
        fits = len(values) == len(names) and len(given) == len(args) + len(kwargs)
        if fits and instances <= FEW_INSTANCES:
            object.__setattr__(self, "__dict__", values)
        else:
            cls.__init__ = _constructor(cls)
            cls.__init__(self, *args, **kwargs)

    return first


@functools.cache
def _plain_fields(cls: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Names of all fields and the values of some; none where setting is not all."""
    entries = fields(cls)
    if _names_of(cls) is None or any(
        entry.default_factory is not MISSING for entry in entries
    ):
        return (), {"": None}
    defaults = {
        entry.name: entry.default for entry in entries if entry.default is not MISSING
    }
    return tuple(entry.name for entry in entries), defaults


def _constructor(cls: Any) -> Callable[..., None]:
    """``__init__`` with the fields as parameters."""
    known: dict[str, Any] = {"_set": object.__setattr__, "_missing": MISSING}
    parameters, values = [], {}
    for entry in fields(cls):
        parameters.append(_parameter(entry, known))
        value = entry.name
        if entry.default_factory is not MISSING:
            value = f"_make_{value}() if {value} is _missing else {value}"
        values[entry.name] = value
    if hasattr(cls, "__slots__"):
        body = [f"    _set(self, {name!r}, {value})" for name, value in values.items()]
    else:
        # All at once takes half the time of one after the other.
        items = [f"{name!r}: {value}" for name, value in values.items()]
        body = [f"    _set(self, '__dict__', {{{', '.join(items)}}})"]
    if hasattr(cls, "__post_init__"):
        body.append("    self.__post_init__()")
    head = f"def __init__({', '.join(['self', *parameters])}):"
    exec("\n".join([head, *(body or ["    pass"])]), known)
    constructor: Callable[..., None] = known["__init__"]
    constructor.__qualname__ = f"{cls.__qualname__}.__init__"
    return constructor


def _parameter(entry: Field[Any], known: dict[str, Any]) -> str:
    """A field as a parameter; its default goes among the names that are known."""
    if entry.default_factory is not MISSING:
        known[f"_make_{entry.name}"] = entry.default_factory
        return f"{entry.name}=_missing"
    if entry.default is MISSING:
        return entry.name
    known[f"_default_{entry.name}"] = entry.default
    return f"{entry.name}=_default_{entry.name}"
