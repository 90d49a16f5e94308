"""Frozen dataclasses that cost little to define.

``dataclass`` writes six methods for each class as text and compiles them, which takes
about a millisecond; a compiler made of two hundred such classes would spend a third of
its start on them. Here the methods are shared or made from what Python has, and the
constructor is made with the first instance, from code that classes of as many fields
share. To everything else (``fields``, ``replace``, ``asdict``, ``match``) such a class
is a dataclass.

    @frozen
    class Point:
        x: int
        y: int = 0
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from types import CodeType, FunctionType
from typing import Any, NoReturn, TypeVar, cast, dataclass_transform, overload

Class = TypeVar("Class", bound=type)


@overload
def frozen(cls: Class, /) -> Class: ...


@overload
def frozen(
    *, slots: bool = False, eq: bool = True, refuses: bool = True
) -> Callable[[Class], Class]: ...


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(
    cls: Any = None,
    /,
    *,
    slots: bool = False,
    eq: bool = True,
    refuses: bool = True,
) -> Any:
    """Make a class a frozen dataclass of its annotated fields.

    Args:
        slots: keep no ``__dict__``; smaller, but without cached properties.
        eq: compare and hash by the fields; otherwise by identity.
        refuses: raise where a field is set or deleted. Otherwise only type checkers
            do, and with slots an instance takes a third of the time: for what is made
            with every instruction.
    """
    if cls is None:
        return lambda decorated: _freeze(decorated, slots, eq, refuses)
    return _freeze(cls, slots, eq, refuses)


def _freeze(cls: Any, slots: bool, eq: bool, refuses: bool) -> Any:
    own = set(cls.__dict__)
    cls = dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
    compared = tuple(entry.name for entry in fields(cls) if entry.compare)
    methods: dict[str, Any] = {
        "__init__": _first_constructor(cls),
        "__repr__": _text,
        "__reduce__": _reduced,
    }
    if refuses:
        methods |= {"__setattr__": _refuse_setting, "__delattr__": _refuse_deleting}
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


def _first_constructor(cls: Any) -> Callable[..., None]:
    """A constructor that makes the real one: many classes never have an instance."""

    def first(self: Any, *args: Any, **kwargs: Any) -> None:
        cls.__init__ = _constructor(cls)
        cls.__init__(self, *args, **kwargs)

    return first


def _constructor(cls: Any) -> Callable[..., None]:
    """``__init__`` with the fields as parameters.

    To compile it takes as long as a hundred instances, and most classes of a compiler
    have fewer in a program. So classes whose fields differ in nothing but their names
    share what was compiled.
    """
    entries = fields(cls)
    places_made = tuple(
        place
        for place, entry in enumerate(entries)
        if entry.default_factory is not MISSING
    )
    has_slots, has_checks = hasattr(cls, "__slots__"), hasattr(cls, "__post_init__")
    refuses = cls.__setattr__ is not object.__setattr__
    code = _compiled(len(entries), places_made, has_slots, refuses, has_checks)
    known = {"_set": object.__setattr__, "_missing": MISSING}
    known |= {_maker(place): entries[place].default_factory for place in places_made}
    constructor: Any = FunctionType(
        _renamed(code, [entry.name for entry in entries]),
        known,
        "__init__",
        _defaults(cls, entries),
    )
    constructor.__qualname__ = f"{cls.__qualname__}.__init__"
    return cast(Callable[..., None], constructor)


def _defaults(cls: Any, entries: Sequence[Field[Any]]) -> tuple[Any, ...]:
    """The values of the last parameters; missing ones are made at each call."""
    optional = [
        entry
        for entry in entries
        if entry.default is not MISSING or entry.default_factory is not MISSING
    ]
    if list(entries[len(entries) - len(optional) :]) != optional:
        raise TypeError(f"{cls.__name__} has a field without default after others")
    return tuple(entry.default for entry in optional)


@functools.cache
def _compiled(
    count: int,
    places_made: tuple[int, ...],
    has_slots: bool,
    refuses: bool,
    has_checks: bool,
) -> CodeType:
    """The code of a constructor of so many fields, with names that stand for theirs."""
    names = [_placeholder(place) for place in range(count)]
    values = list(names)
    for place in places_made:
        name = names[place]
        values[place] = f"{_maker(place)}() if {name} is _missing else {name}"
    pairs = list(zip(names, values, strict=True))
    if not refuses:
        body = [f"    self.{name} = {value}" for name, value in pairs]
    elif has_slots:
        body = [f"    _set(self, {name!r}, {value})" for name, value in pairs]
    else:
        # All at once takes half the time of one after the other.
        items = ", ".join(f"{name!r}: {value}" for name, value in pairs)
        body = [f"    _set(self, '__dict__', {{{items}}})"]
    if has_checks:
        body.append("    self.__post_init__()")
    known: dict[str, Any] = {}
    head = f"def __init__({', '.join(['self', *names])}):"
    exec("\n".join([head, *(body or ["    pass"])]), known)
    code: CodeType = known["__init__"].__code__
    return code


def _placeholder(place: int) -> str:
    return f"_field_{place}"


def _maker(place: int) -> str:
    return f"_make_{place}"


def _renamed(code: CodeType, names: Sequence[str]) -> CodeType:
    """The code of a constructor with the names of a class's fields."""
    own = {_placeholder(place): name for place, name in enumerate(names)}

    def renamed(constant: Any) -> Any:
        if isinstance(constant, tuple):
            return tuple(own.get(name, name) for name in constant)
        return own.get(constant, constant)

    return code.replace(
        co_varnames=("self", *names),
        co_names=tuple(renamed(name) for name in code.co_names),
        co_consts=tuple(renamed(constant) for constant in code.co_consts),
    )
