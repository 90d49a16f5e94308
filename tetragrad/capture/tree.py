"""Taking arguments and results apart into tensors and a description of the rest.

Two trees with equal descriptions differ in nothing but their tensors, so the
description of the arguments is what a capture is looked up by.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from tetragrad.core.dtypes import DType
from tetragrad.core.errors import CaptureError
from tetragrad.tensor.base import TensorBase

#: Nested tuples: a kind, what belongs to it, and the descriptions of the children.
Description = tuple[Any, ...]

_TENSOR: Description = ("tensor",)
_EXACT = (bool, int, str, bytes, type(None), DType, type, range, type(...))
_ROUNDED = (float, complex)


class Flattened:
    """The parts of a tree, in order."""

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        #: What is neither a tensor, a constant nor a container, with its path.
        self.objects: list[tuple[Any, str]] = []

    def describe(self, value: Any, *path: Any) -> Description:
        """Collect the parts of a value; returns its description.

        ``path`` is what a person calls the whole, and the keys that lead to this part.
        """
        kind = type(value)
        if isinstance(value, TensorBase):
            self.tensors.append(value)
            if not kind.__dictoffset__:
                return _TENSOR
            # A tensor of a user's class, whose attributes may be read too.
            self.objects.append((value, _text_of(path)))
            return (*_TENSOR, id(value))
        if kind is tuple or kind is list:
            return (kind, *self._children(enumerate(value), path))
        if kind in _EXACT or isinstance(value, enum.Enum):
            return ("exact", kind, value)
        if kind in _ROUNDED:
            # repr tells -0.0 from 0.0, and a NaN is equal to itself.
            return ("rounded", kind, repr(value))
        if isinstance(value, np.generic):
            return ("scalar", value.dtype, value.tobytes())
        if kind is slice:
            parts = (value.start, value.stop, value.step)
            return ("slice", *self._children(enumerate(parts), path))
        if hasattr(kind, "_fields"):
            return (kind, *self._children(enumerate(value), path))
        if kind in (dict, OrderedDict):
            keys = (tuple(value), tuple(map(type, value)))
            return (kind, keys, *self._children(value.items(), path))
        if is_dataclass(kind) and _has_only_fields(value):
            named = (
                (entry.name, getattr(value, entry.name)) for entry in fields(value)
            )
            return ("dataclass", kind, *self._children(named, path))
        if isinstance(value, np.ndarray):
            raise CaptureError(
                f"{_text_of(path)} is a NumPy array of shape {value.shape}: its values "
                "would become part of the capture",
                hint="pass Tensor(array)",
            )
        self.objects.append((value, _text_of(path)))
        return ("object", id(value))

    def _children(self, named: Any, path: tuple[Any, ...]) -> list[Description]:
        return [self.describe(child, *path, key) for key, child in named]


def _text_of(path: tuple[Any, ...]) -> str:
    """What a person calls a part, such as ``argument[0]['x']``."""
    whole, *keys = path
    return str(whole) + "".join(f"[{key!r}]" for key in keys)


def _has_only_fields(value: Any) -> bool:
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
