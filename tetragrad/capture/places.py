"""Places that hold Python values, and one fast function that compares many of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from enum import Enum
from types import MappingProxyType
from typing import Any

import numpy as np

from tetragrad.core.frozen import frozen

#: The comparison with which its function is generated.
WORTH_GENERATING = 3


class Kind(Enum):
    """How a place is read."""

    ITEM = "item"  # owner[key]
    ATTRIBUTE = "attribute"  # owner.key, a slot
    CELL = "cell"  # the content of a closure's cell
    KEYS = "keys"  # the keys of a dict, in order
    SIZE = "size"  # the number of elements
    NAMES = "names"  # which of the names in ``key.used`` a dict has
    CALL = "call"  # what a weak reference or a context variable gives
    CONTENT = "content"  # the elements of an array or a set


@frozen(slots=True)
class Presence:
    """The names that captured code uses, those a dict had of them, and its size."""

    used: frozenset[str]
    present: frozenset[str]
    size: int

    def holds(self, owner: Any) -> bool:
        """Whether the dict still has the same of the names."""
        return bool(self.used & owner.keys() == self.present)


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


MISSING = _Missing()


@frozen(slots=True, eq=False)
class Place:
    """Somewhere that a captured function reads a Python value from."""

    owner: Any
    kind: Kind
    key: Any
    #: What a person calls it, such as ``self.layers[3].scale``.
    name: str

    def read(self) -> Any:
        """What is there now, or MISSING."""
        try:
            return _READERS[self.kind](self.owner, self.key)
        except (LookupError, AttributeError, ValueError):
            return MISSING

    def write(self, value: Any) -> None:
        """Put a value there, as the captured function did."""
        if self.kind is Kind.CELL:
            self.owner.cell_contents = value
        elif self.kind is Kind.ATTRIBUTE:
            setattr(self.owner, self.key, value)
        elif isinstance(self.owner, MappingProxyType):
            raise TypeError(f"{self.name} is an attribute of a class")
        elif value is MISSING:
            del self.owner[self.key]
        else:
            self.owner[self.key] = value


def content_of(owner: Any) -> Any:
    """The elements of an array or a set, to be compared by ==."""
    if isinstance(owner, np.ndarray):
        return owner.shape, owner.dtype.str, owner.tobytes()
    return frozenset(owner)


def item_of(owner: Any, key: Any) -> Any:
    """What a container holds, whatever its class makes of ``owner[key]``."""
    return dict.__getitem__(owner, key) if isinstance(owner, dict) else owner[key]


def call_of(owner: Any) -> Any:
    """What a weak reference points to, or what a context variable holds."""
    return owner.get(MISSING) if isinstance(owner, ContextVar) else owner()


def generator_state(generator: Any) -> Any:
    """The state of a random generator of NumPy's or Python's, to be compared by ==."""
    if isinstance(generator, np.random.Generator):
        return repr(generator.bit_generator.state)
    if isinstance(generator, np.random.RandomState):
        name, words, *rest = generator.get_state(legacy=True)
        return name, np.asarray(words).tobytes(), tuple(rest)
    return generator.getstate()


_READERS: dict[Kind, Callable[[Any, Any], Any]] = {
    Kind.ITEM: lambda owner, key: item_of(owner, key),
    Kind.ATTRIBUTE: getattr,
    Kind.CELL: lambda owner, key: owner.cell_contents,
    Kind.KEYS: lambda owner, key: tuple(owner),
    Kind.SIZE: lambda owner, key: len(owner),
    Kind.NAMES: lambda owner, key: key.holds(owner),
    Kind.CALL: lambda owner, key: call_of(owner),
    Kind.CONTENT: lambda owner, key: content_of(owner),
}

_CONSTANTS = (int, float, complex, str, bytes, bool, type(None), range, Enum)


def is_constant(value: Any) -> bool:
    """Whether a value is compared by what it is, not by which object."""
    return isinstance(value, _CONSTANTS) and not isinstance(value, type)


def is_same(old: Any, new: Any) -> bool:
    """Whether a captured function could not tell two values of a place apart."""
    if old is new:
        return True
    if type(old) is not type(new):
        return False
    if isinstance(old, tuple):
        pairs = zip(old, new, strict=False)
        return len(old) == len(new) and all(is_same(*pair) for pair in pairs)
    if isinstance(old, frozenset):
        return bool(old == new)
    if isinstance(old, float | complex):
        return repr(old) == repr(new)
    return is_constant(old) and bool(old == new)


class Comparison:
    """Compares many places with what they held; fast while they hold the same objects.

    The loop over the places is unrolled into a generated function: a call for each
    place would take four times as long, and this runs before every replay. A large
    model has thousands of places, and compiling that takes as long as running it, so
    it waits until there are more replays than a few.
    """

    def __init__(self, expected: Sequence[tuple[Place, Any]]) -> None:
        self.expected = list(expected)
        self._names: dict[str, Any] = {
            function.__name__: function for function in (content_of, item_of, call_of)
        }
        #: Dicts that are read by names, with their sizes.
        self._named = [place for place, _ in expected if place.kind is Kind.NAMES]
        self._sizes = [place.key.size for place in self._named]
        self._comparisons = 0
        self._is_unchanged: Callable[[], bool] | None = None

    def first_change(self) -> tuple[Place, Any, Any] | None:
        """A place that holds something else, with the old and the new value."""
        self._comparisons += 1
        if self._comparisons == WORTH_GENERATING:
            self._is_unchanged = self._generate()
        try:
            if self._is_unchanged is not None and self._is_unchanged():
                return None
        except (LookupError, AttributeError, ValueError):
            pass
        for number, (place, old) in enumerate(self.expected):
            new = place.read()
            if not is_same(old, new):
                return place, old, new
            if new is not old:
                # Equal, but another object, as numbers are: remember this one.
                self.expected[number] = place, new
                self._remember(number, place, new)
        return None

    def _remember(self, number: int, place: Place, value: Any) -> None:
        # A list of a dict's keys is made faster than a tuple.
        shown = list(value) if place.kind is Kind.KEYS else value
        self._names[f"v{number}"] = shown

    def _generate(self) -> Callable[[], bool]:
        lines = ["def is_unchanged():"]
        if self._named:
            self._names["named"] = [place.owner for place in self._named]
            self._names["sizes"] = self._sizes
            self._names["have_same_names"] = self._have_same_names
            # A dict of the same size is taken to have the same names.
            lines.append(
                "    if [*map(len, named)] != sizes and not have_same_names(): "
                "return False"
            )
        owner: Any = None
        for number, (place, value) in enumerate(self.expected):
            if place.kind is Kind.NAMES:
                continue
            if place.owner is not owner:
                owner = place.owner
                self._names[f"o{number}"] = owner
                lines.append(f"    o = o{number}")
            self._remember(number, place, value)
            self._names[f"k{number}"] = place.key
            lines.append(
                f"    if {self._difference(number, place, value)}: return False"
            )
        lines.append("    return True")
        exec("\n".join(lines), self._names)
        function: Callable[[], bool] = self._names["is_unchanged"]
        return function

    def _have_same_names(self) -> bool:
        """Whether dicts of another size have the same of the names that are used."""
        for number, place in enumerate(self._named):
            size = len(place.owner)
            if size != self._sizes[number]:
                if not place.key.holds(place.owner):
                    return False
                self._sizes[number] = size
        return True

    def _difference(self, number: int, place: Place, value: Any) -> str:
        """The condition under which a place has changed."""
        if value is MISSING and place.kind is Kind.ITEM:
            return f"k{number} in o"
        match place.kind:
            case Kind.KEYS:
                # The items are compared too: of one key there is but one order.
                few = len(value) < 2
                return f"len(o) != {len(value)}" if few else f"[*o] != v{number}"
            case Kind.SIZE:
                return f"len(o) != {value}"
            case Kind.CONTENT:
                return f"content_of(o) != v{number}"
            case Kind.CALL:
                read = "call_of(o)"
            case Kind.CELL:
                read = "o.cell_contents"
            case Kind.ATTRIBUTE:
                read = f"o.{place.key}"
            case Kind.ITEM:
                plain = type(place.key) in (int, str)
                key = repr(place.key) if plain else f"k{number}"
                own = isinstance(place.owner, dict) and type(place.owner) is not dict
                read = f"item_of(o, {key})" if own else f"o[{key}]"
        plain = value is None or value is True or value is False
        return f"{read} is not {value if plain else f'v{number}'}"
