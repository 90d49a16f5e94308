"""Taking arguments and results apart into tensors and a description of the rest.

Two trees with equal descriptions differ in nothing but their tensors, so the
description of the arguments is what a capture is looked up by.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any, cast

import numpy as np

from tetragrad.core.dtypes import DType
from tetragrad.core.errors import CaptureError
from tetragrad.tensor.base import TensorBase

#: Nested tuples: a kind, what belongs to it, and the descriptions of the children.
Description = tuple[Any, ...]

#: The description of a tensor.
TENSOR: Description = ("tensor",)
_EXACT = (bool, int, str, bytes, type(None), DType, type, range, type(...))
_ROUNDED = (float, complex)


class Flattened:
    """A tree taken apart into its tensors, in order, and the description of the rest.

    Args:
        whole: the tree.
        title: what a person calls it.
    """

    def __init__(self, whole: Any, title: str) -> None:
        self.tensors: list[Any] = []
        #: What is neither a tensor, a constant nor a container.
        self.objects: list[Any] = []
        self._whole = whole
        self._title = title
        self.description = self._describe(whole)

    def name_of(self, part: Any) -> str:
        """What a person calls a part, such as ``argument[0]['x']``."""
        named = _named_parts(self._whole, self._title)
        return next(name for entry, name in named if entry is part)

    def _describe(self, value: Any) -> Description:
        """Collect the parts of a value; returns its description.

        What arguments mostly are comes first: this runs before every replay.
        """
        kind = type(value)
        if isinstance(value, TensorBase):
            self.tensors.append(value)
            if not kind.__dictoffset__:
                return TENSOR
            # A tensor of a user's class, whose attributes may be read too.
            self.objects.append(value)
            return (*TENSOR, id(value))
        if kind is tuple or kind is list:
            return (kind, *map(self._describe, value))
        if kind is dict or kind is OrderedDict:
            keys = (tuple(value), tuple(map(type, value)))
            return (kind, keys, *map(self._describe, value.values()))
        if kind in _EXACT or isinstance(value, enum.Enum):
            return ("exact", kind, value)
        if kind in _ROUNDED:
            # repr tells -0.0 from 0.0, and a NaN is equal to itself.
            return ("rounded", kind, repr(value))
        if isinstance(value, np.generic):
            return ("scalar", value.dtype, value.tobytes())
        if isinstance(value, np.ndarray):
            raise CaptureError(
                f"{self.name_of(value)} is a NumPy array of shape {value.shape}: its "
                "values would become part of the capture",
                hint="pass Tensor(array)",
            )
        return self._describe_rarer(value)

    def _describe_rarer(self, value: Any) -> Description:
        kind = type(value)
        parts = [part for _, part in _keyed_parts(value)]
        if kind is slice:
            return ("slice", *map(self._describe, parts))
        if hasattr(kind, "_fields"):
            return (kind, *map(self._describe, parts))
        if _is_data(value):
            return ("dataclass", kind, *map(self._describe, parts))
        self.objects.append(value)
        return ("object", id(value))


def _named_parts(value: Any, name: str) -> Iterator[tuple[Any, str]]:
    """A value and all that it consists of, with what a person calls them."""
    yield value, name
    for key, part in _keyed_parts(value):
        yield from _named_parts(part, f"{name}[{key!r}]")


def _keyed_parts(value: Any) -> Iterable[tuple[Any, Any]]:
    """The parts of a container, with their keys; nothing of what is none of ours."""
    kind = type(value)
    if kind is dict or kind is OrderedDict:
        return cast(Iterable[tuple[Any, Any]], value.items())
    if kind is tuple or kind is list or hasattr(kind, "_fields"):
        return enumerate(value)
    if kind is slice:
        return enumerate((value.start, value.stop, value.step))
    if _is_data(value):
        return [(entry.name, getattr(value, entry.name)) for entry in fields(value)]
    return ()


def _is_data(value: Any) -> bool:
    """Whether it is an instance of a data class, with nothing but its fields."""
    if not is_dataclass(type(value)):
        return False
    attributes = getattr(value, "__dict__", {})
    return len(attributes.keys() - {entry.name for entry in fields(value)}) == 0


def build(description: Description, tensors: Iterator[Any]) -> Any:
    """The tree of a description, around these tensors."""
    kind = description[0]
    if kind == "tensor":
        return next(tensors)
    if kind == "exact":
        return description[2]
    if kind == "rounded":
        return description[1](description[2])
    if kind == "scalar":
        return np.frombuffer(description[2], description[1])[0]
    if kind == "slice":
        return slice(*(build(child, tensors) for child in description[1:]))
    if kind in (dict, OrderedDict):
        children = [build(child, tensors) for child in description[2:]]
        return kind(zip(description[1][0], children, strict=True))
    if kind == "dataclass":
        return _build_dataclass(description, tensors)
    children = [build(child, tensors) for child in description[1:]]
    return kind(*children) if hasattr(kind, "_fields") else kind(children)


def _build_dataclass(description: Description, tensors: Iterator[Any]) -> Any:
    _, cls, *children = description
    made = object.__new__(cls)
    for entry, child in zip(fields(cls), children, strict=True):
        # Past __init__ and past frozen classes: these are the fields it had.
        object.__setattr__(made, entry.name, build(child, tensors))
    return made
