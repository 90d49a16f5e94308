"""Sequences and optionals: Python lists, and values that may be None."""

from __future__ import annotations

from typing import Any

import numpy as np

from tetragrad.core.errors import IndexingError, ShapeError
from tetragrad.onnx.operators.shape import listed, shape_of
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import Host, Value, to_host, to_tensor
from tetragrad.tensor import Tensor
from tetragrad.tensor.joining import cat, stack


@operator("SequenceConstruct")
def sequence_construct(*values: Value) -> Value:
    return list(values)


@operator("SequenceEmpty")
def sequence_empty(*, dtype: int = 1) -> Value:
    return []


@operator("SequenceAt")
def sequence_at(sequence: Value, position: Host) -> Value:
    elements = _list(sequence)
    return elements[_place(position, len(elements), len(elements) - 1)]


@operator("SequenceInsert")
def sequence_insert(
    sequence: Value, value: Value, position: Host | None = None
) -> Value:
    """A new sequence; without a position the value comes last."""
    elements = list(_list(sequence))
    count = len(elements)
    elements.insert(
        count if position is None else _place(position, count, count), value
    )
    return elements


@operator("SequenceErase")
def sequence_erase(sequence: Value, position: Host | None = None) -> Value:
    elements = list(_list(sequence))
    last = len(elements) - 1
    del elements[last if position is None else _place(position, len(elements), last)]
    return elements


@operator("SequenceLength")
def sequence_length(sequence: Value) -> Host:
    return np.asarray(len(_list(sequence)), np.int64)


def _list(sequence: Value) -> list[Any]:
    if not isinstance(sequence, list):
        raise ShapeError(f"a {type(sequence).__name__} where a sequence is expected")
    return sequence


def _place(position: Host, count: int, last: int) -> int:
    place = int(position.item())
    if not -count <= place <= last:
        raise IndexingError(f"place {place} of a sequence with {count} elements")
    return place + count if place < 0 else place


@operator("SplitToSequence")
def split_to_sequence(
    x: Value, split: Host | None = None, *, axis: int = 0, keepdims: int = 1
) -> Value:
    """Parts of one size or of given sizes; without either, slices."""
    length = shape_of(x)[axis]
    if split is None:
        sizes = [1] * length
    elif split.ndim == 0:
        whole, rest = divmod(length, int(split.item()))
        sizes = [int(split.item())] * whole + [rest] * bool(rest)
    else:
        sizes = listed(split)
    parts = _parts(x, sizes, axis)
    if split is None and not keepdims:
        return [part.squeeze(axis) for part in parts]
    return parts


def _parts(x: Value, sizes: list[int], axis: int) -> list[Any]:
    if isinstance(x, np.ndarray):
        return np.split(x, np.cumsum(sizes)[:-1], axis)
    return list(to_tensor(x).split(sizes, axis))


@operator("ConcatFromSequence")
def concat_from_sequence(sequence: Value, *, axis: int, new_axis: int = 0) -> Value:
    elements = _list(sequence)
    if all(isinstance(entry, np.ndarray) for entry in elements):
        join: Any = np.stack if new_axis else np.concatenate
        return join([to_host(entry) for entry in elements], axis)
    tensors: list[Tensor] = [to_tensor(entry) for entry in elements]
    return stack(tensors, axis) if new_axis else cat(tensors, axis)


@operator("Optional")
def optional(value: Value = None, *, type: Any = None) -> Value:
    return value


@operator("OptionalHasElement")
def optional_has_element(value: Value = None) -> Host:
    return np.asarray(value is not None)


@operator("OptionalGetElement")
def optional_get_element(value: Value) -> Value:
    if value is None:
        raise ShapeError("OptionalGetElement of an optional that is empty")
    return value
