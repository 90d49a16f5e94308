"""The Python values that a captured function depends on.

While the function runs, every function of the user's that is entered adds the names in
its code: the globals, and the attributes and keys. Starting from those globals, from
closures and from arguments, the walk visits every object that the code could reach by
these names, and notes what is there before the code runs. Lists, dicts, sets, data
classes and arrays are noted whole, other objects by the names only, so that a counter
that the captured code never mentions does not matter.

A replay compares all places. Those that the function itself changed are *effects*.
"""

from __future__ import annotations

import functools
import gc
import sys
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import IOBase
from random import Random
from types import (
    CodeType,
    FrameType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import Any

import numpy as np

from tetragrad.capture.code import Names, is_watched, names_of
from tetragrad.capture.observing import observer_of
from tetragrad.capture.opaque import check_call, may_be_opaque
from tetragrad.capture.places import (
    MISSING,
    Kind,
    Place,
    Presence,
    call_of,
    content_of,
    generator_state,
    is_constant,
    is_same,
)
from tetragrad.core.changes import CountedDict
from tetragrad.core.collector import collector_paused
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import CaptureError
from tetragrad.core.frozen import frozen
from tetragrad.engine import capture
from tetragrad.engine.capture import Recorder
from tetragrad.tensor.base import TensorBase

#: A dict's method that names, after the function ran, the keys that it depends on.
KEYS_METHOD = "captured_keys"

_OPAQUE = (GeneratorType, IOBase, threading.local)
_LEAVES = (DType, CodeType)
_CODE = (FunctionType, type, ModuleType)


@frozen(slots=True)
class _Named:
    """A dict that is read by names: of an object, a module or a function."""

    values: dict[str, Any]
    size: int
    name: str
    is_module: bool
    #: The keys whose values do not change without being counted.
    counted: frozenset[str]


def _lies_in_bytes(array: np.ndarray) -> bool:
    """Whether the elements are part of a bytes object, which nobody can change."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, bytes)


#: Places with what they held.
Expected = list[tuple[Place, Any]]


class PythonState:
    """Every place that captured code may read, with what it held at first."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.places: dict[tuple[int, Kind, Any], tuple[Place, Any]] = {}
        self._names: set[str] = set()
        # By identity: a code's own hash is that of its contents.
        self._entered: dict[int, CodeType] = {}
        self._nested: set[CodeType] = set()
        self._is_reflective = False
        # Objects are kept, so that none takes the identity of another.
        self._seen: dict[int, Any] = {}
        self._named: list[_Named] = []
        self._slotted: list[tuple[Any, str]] = []
        self._classes: dict[type, str] = {}
        self._generators: list[tuple[Any, Any, str]] = []
        self._functions: dict[CodeType, list[tuple[FunctionType, str]]] = {}

    # --- while the function runs -----------------------------------------------

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Note what code reads from its first entry on; refuses what cannot be.

        The garbage collector pauses: what others have it call, now or some other
        time, is no part of the function.
        """
        observer = observer_of(self._enter, self._call)
        with collector_paused():
            self.recorder.observer = observer
            observer.start()
            try:
                yield
            finally:
                self.recorder.observer = None
                observer.stop()

    def _call(self, frame: FrameType, function: Any) -> None:
        # Without a recorder the engine is at work, outside of the captured function.
        # That is asked last, as nearly all calls are of no interest anyway.
        if may_be_opaque(function) and capture.active() is not None:
            check_call(self.recorder, frame, function)

    def _enter(self, frame: FrameType) -> None:
        """Take in the names of code that is about to run for the first time."""
        code = frame.f_code
        if id(code) in self._entered or capture.active() is None:
            return
        self._entered[id(code)] = code
        module = frame.f_globals.get("__name__", "")
        if module == "os":
            # Environment variables are read by a method of a mapping.
            mapping = frame.f_locals.get("self")
            self.visit(getattr(mapping, "_data", None), "the environment")
        if not is_watched(module):
            return
        names = names_of(code, module.startswith("tetragrad."))
        self._nested.update(
            entry for entry in code.co_consts if isinstance(entry, CodeType)
        )
        self._add_names(names)
        self._visit_globals(frame.f_globals, names)
        for function, name in self._functions_of(code):
            self._visit_closure(function, name)

    def _functions_of(self, code: CodeType) -> list[tuple[FunctionType, str]]:
        """The functions with this code, even if nothing led to them so far."""
        known = self._functions.get(code, [])
        if known or not code.co_freevars or code in self._nested:
            return known
        found = [
            entry for entry in gc.get_referrers(code) if isinstance(entry, FunctionType)
        ]
        return [(entry, entry.__qualname__) for entry in found]

    def _add_names(self, names: Names) -> None:
        """Look at everything known again, for names that are new."""
        new = names.attributes - self._names
        self._names |= new
        if names.is_reflective and not self._is_reflective:
            self._is_reflective = True
            new = frozenset(self._names)
        if new:
            for owner in list(self._named):
                self._visit_named(owner, new)
            for slotted, name in list(self._slotted):
                self._visit_slots(slotted, new, name)
            for cls, name in list(self._classes.items()):
                self._visit_class_names(cls, new, name)

    def _visit_globals(self, values: dict[str, Any], names: Names) -> None:
        module = values.get("__name__", "")
        for name in names.global_names:
            if name in values:
                if module.startswith("tetragrad.") and isinstance(values[name], _CODE):
                    # Ours stays what it is.
                    self.visit(values[name], name)
                    continue
                self._note(values, Kind.ITEM, name, values[name], name)
            else:
                self._missing_global(values, name, module)
        for name in names.modules:
            if name in sys.modules:
                self.visit(sys.modules[name], name)

    def _missing_global(self, values: dict[str, Any], name: str, module: str) -> None:
        # A builtin may be hidden by a global later, or the global come into being;
        # but not in a module of ours.
        if module.startswith("tetragrad."):
            return
        place = Place(values, Kind.ITEM, name, f"{module}.{name}")
        self.places.setdefault((id(values), Kind.ITEM, name), (place, MISSING))

    # --- the walk --------------------------------------------------------------

    def visit(self, value: Any, name: str) -> None:
        """Note what a value consists of, and go on from there."""
        if is_constant(value) or isinstance(value, _LEAVES) or id(value) in self._seen:
            return
        self._seen[id(value)] = value
        match value:
            case TensorBase():
                # Only a tensor of a user's class can have attributes.
                if type(value).__dictoffset__:
                    self._visit_object(value, name)
            case list() | deque():
                self._visit_sequence(value, name)
            case tuple() | frozenset():
                self._visit_each(value, name)
            case set():
                self._note(value, Kind.CONTENT, None, content_of(value), name)
                self._visit_each(value, name)
            case dict():
                self._visit_dict(value, name)
            case np.ndarray():
                if not _lies_in_bytes(value):
                    content = content_of(value)
                    self._note(value, Kind.CONTENT, None, content, name)
            case np.random.Generator() | np.random.RandomState() | Random():
                self._generators.append((value, generator_state(value), name))
            case FunctionType():
                self._visit_function(value, name)
            case MethodType():
                self.visit(value.__self__, f"{name}.__self__")
                self.visit(value.__func__, name)
            case functools.partial():
                parts = (value.func, value.args, value.keywords)
                self._visit_each(parts, name)
            case staticmethod() | classmethod():
                self.visit(value.__func__, name)
            case property():
                self._visit_each((value.fget, value.fset), name)
            case weakref.ref() | ContextVar():
                self._note(value, Kind.CALL, None, call_of(value), name)
            case ModuleType():
                if is_watched(value.__name__):
                    self._add_named(value.__dict__, name, is_module=True)
            case type():
                self._visit_class(value, name)
            case _:
                self._visit_object(value, name)

    def _visit_each(self, values: Iterable[Any], name: str) -> None:
        for entry in values:
            self.visit(entry, name)

    def _visit_sequence(self, value: Any, name: str) -> None:
        self._note(value, Kind.SIZE, None, len(value), f"the length of {name}")
        for index, entry in enumerate(value):
            self._note(value, Kind.ITEM, index, entry, f"{name}[{index}]")

    def _visit_dict(self, value: dict[Any, Any], name: str) -> None:
        self._note_keys(value, name)
        for key in dict.keys(value):
            shown = repr(key) if is_constant(key) else type(key).__name__
            entry = dict.__getitem__(value, key)
            self._note(value, Kind.ITEM, key, entry, f"{name}[{shown}]")
        if type(value) not in (dict, CountedDict):
            self._visit_object(value, name)

    def _note_keys(self, value: dict[Any, Any], name: str) -> None:
        name = f"the keys of {name}"
        if all(is_constant(key) for key in value):
            self._note(value, Kind.KEYS, None, tuple(value), name)
        else:
            self._note(value, Kind.SIZE, None, len(value), name)

    def _visit_function(self, value: FunctionType, name: str) -> None:
        self._functions.setdefault(value.__code__, []).append((value, name))
        if value.__defaults__:
            name_of_defaults = f"the defaults of {name}"
            self._note(
                value,
                Kind.ATTRIBUTE,
                "__defaults__",
                value.__defaults__,
                name_of_defaults,
            )
        self.visit(value.__kwdefaults__, f"a default of {name}")
        if value.__dict__:
            self._add_named(value.__dict__, name)
        if id(value.__code__) in self._entered:
            self._visit_closure(value, name)

    def _visit_closure(self, function: FunctionType, name: str) -> None:
        cells = function.__closure__ or ()
        for variable, cell in zip(function.__code__.co_freevars, cells, strict=True):
            place = Place(cell, Kind.CELL, None, variable)
            self._note(cell, Kind.CELL, None, place.read(), variable)

    def _visit_class(self, cls: type, name: str) -> None:
        if cls in self._classes or not is_watched(cls.__module__):
            return
        self._classes[cls] = name
        self._visit_class_names(cls, self._names, cls.__name__)
        for base in (*cls.__bases__, type(cls)):
            self._visit_class(base, base.__name__)

    def _visit_class_names(self, cls: type, names: Iterable[str], name: str) -> None:
        values = cls.__dict__
        for entry in values.keys() & set(names):
            key = (id(cls), Kind.ITEM, entry)
            self._note_as(
                key, values, Kind.ITEM, entry, values[entry], f"{name}.{entry}"
            )

    def _visit_object(self, value: Any, name: str) -> None:
        """An instance of a class: its attributes by name."""
        cls = type(value)
        self._check_opaque(value, name)
        self._visit_class(cls, cls.__name__)
        attributes = getattr(value, "__dict__", None)
        if attributes is not None:
            self.visit(attributes.get("captured_function"), name)
            chosen = _whole(value)
            if chosen is None:
                self._add_named(attributes, name, counted=_counted_attributes(cls))
                if hasattr(cls, "__getattr__"):
                    self._add_forwarded(attributes, name)
            else:
                for entry in chosen & attributes.keys():
                    entry_name = f"{name}.{entry}"
                    entry_value = attributes[entry]
                    self._note(attributes, Kind.ITEM, entry, entry_value, entry_name)
        if any("__slots__" in base.__dict__ for base in cls.__mro__):
            self._slotted.append((value, name))
            self._visit_slots(value, self._names, name)

    def _check_opaque(self, value: Any, name: str) -> None:
        cls = type(value)
        # Asked of the class: an instance's own ``__getattr__`` would take its time.
        is_iterator = hasattr(cls, "__next__") and not is_watched(cls.__module__)
        if is_iterator or isinstance(value, _OPAQUE):
            self.recorder.refuse(
                f"{name} is a {type(value).__name__}, whose state cannot be compared,",
                hint="take the next value outside and pass it as an argument",
            )

    def _add_forwarded(self, attributes: dict[str, Any], name: str) -> None:
        """``__getattr__`` usually finds names in a dict among the attributes."""
        for key, entry in list(attributes.items()):
            if type(entry) in (dict, CountedDict) and id(entry) not in self._seen:
                place = Place(attributes, Kind.ITEM, key, f"{name}.{key}")
                identity = (id(attributes), Kind.ITEM, key)
                self.places.setdefault(identity, (place, entry))
                self._add_named(entry, name)

    def _add_named(
        self,
        values: dict[str, Any],
        name: str,
        *,
        is_module: bool = False,
        counted: frozenset[str] = frozenset(),
    ) -> None:
        owner = _Named(values, len(values), name, is_module, counted)
        self._named.append(owner)
        self._visit_named(owner, self._names)

    def _visit_named(self, owner: _Named, names: Iterable[str]) -> None:
        values = owner.values
        everything = self._is_reflective and not owner.is_module
        found = list(values) if everything else values.keys() & set(names)
        for entry in found:
            name = entry if owner.is_module else f"{owner.name}.{entry}"
            self._note(values, Kind.ITEM, entry, values[entry], name)

    def _visit_slots(self, owner: Any, names: Iterable[str], name: str) -> None:
        slots = {
            slot
            for base in type(owner).__mro__
            for slot in _slots_of(base)
            if slot in names or self._is_reflective
        }
        for slot in slots:
            place = Place(owner, Kind.ATTRIBUTE, slot, f"{name}.{slot}")
            self._note(owner, Kind.ATTRIBUTE, slot, place.read(), place.name)

    def _note(self, owner: Any, kind: Kind, key: Any, value: Any, name: str) -> None:
        """Remember what a place holds, if it was not seen before, and go there."""
        self._note_as((id(owner), kind, key), owner, kind, key, value, name)

    def _note_as(
        self, identity: Any, owner: Any, kind: Kind, key: Any, value: Any, name: str
    ) -> None:
        if identity not in self.places:
            self.places[identity] = Place(owner, kind, key, name), value
            if kind in (Kind.ITEM, Kind.ATTRIBUTE, Kind.CELL, Kind.CALL):
                self.visit(value, name)

    # --- afterwards ------------------------------------------------------------

    def check_generators(self) -> None:
        """Raise CaptureError if random numbers were drawn that are not tensors.

        NumPy's functions are not seen when they are called, but they leave a trace.
        """
        for generator, before, name in self._generators:
            if generator_state(generator) != before:
                raise CaptureError(
                    f"random numbers are drawn from {name} inside a captured function",
                    hint="draw them outside, or use tetragrad.rand and its relatives",
                )

    def effects(self) -> list[tuple[Place, Any, Any]]:
        """The places that the function changed, with the old and the new value."""
        changed = []
        for place, old in self.places.values():
            new = place.read()
            if not is_same(old, new):
                changed.append((place, old, new))
        for owner in self._named:
            for entry in owner.values.keys() & self._names:
                if (id(owner.values), Kind.ITEM, entry) not in self.places:
                    name = f"{owner.name}.{entry}"
                    place = Place(owner.values, Kind.ITEM, entry, name)
                    changed.append((place, MISSING, owner.values[entry]))
        return changed

    def expected(self) -> tuple[Expected, Expected]:
        """All places with what they held before the function ran.

        First those to be compared before each replay, then those whose changes are
        counted.
        """
        counted = {
            (id(owner.values), key) for owner in self._named for key in owner.counted
        }
        found: tuple[Expected, Expected] = ([], [])
        for place, value in self._all_expected():
            is_counted = (
                type(place.owner) is CountedDict
                or (id(place.owner), place.key) in counted
                or place.key in _counted_attributes(type(place.owner))
            )
            found[is_counted].append((place, value))
        return found

    def _all_expected(self) -> Expected:
        names = frozenset(self._names)
        presences = []
        for owner in self._named:
            present = frozenset(
                key
                for key in names
                if (id(owner.values), Kind.ITEM, key) in self.places
            )
            presence = Presence(names, present, owner.size)
            name = f"the attributes of {owner.name}"
            presences.append((Place(owner.values, Kind.NAMES, presence, name), True))
        places = (entry for entry in self.places.values() if _is_compared(entry[0]))
        entries = [*places, *presences]
        return sorted(entries, key=lambda entry: id(entry[0].owner))


def _counted_attributes(cls: type) -> frozenset[str]:
    """The attributes that no instance changes without counting it."""
    found: frozenset[str] = getattr(cls, "counted_attributes", frozenset())
    return found


def _whole(value: Any) -> set[str] | None:
    """The attributes to note whatever the code names, or None: only by name."""
    is_data = isinstance(value, SimpleNamespace)
    if is_data or not is_watched(type(value).__module__):
        own = type(value).__module__.startswith("tetragrad.")
        return set() if own else set(getattr(value, "__dict__", {}))
    return None


def _is_compared(place: Place) -> bool:
    """Whether a place matters; some dicts know better than the walk."""
    choose = getattr(place.owner, KEYS_METHOD, None)
    if choose is None or place.kind is not Kind.ITEM:
        return True
    return place.key in choose()


def _slots_of(cls: type) -> tuple[str, ...]:
    slots = cls.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))
