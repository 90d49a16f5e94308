"""A kernel as bytes that are the same in every process: what a disk cache is keyed by.

Pickles would depend on which equal parts happen to be one object, and on Python's
stack: the values of a kernel may be nested more deeply than it allows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from tetragrad.core.dtypes import DType
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Expression, walk
from tetragrad.kernel.ir import Kernel, Mode


def kernel_digest(kernel: Kernel) -> bytes:
    """A digest of everything that a kernel says; equal kernels have equal ones."""
    digest = hashlib.sha256()
    numbers: dict[Expression, int] = {}
    for expression in walk(*_roots(kernel)):
        words = [_spelled(entry, numbers) for entry in expression.arguments]
        digest.update(f"{type(expression).__name__}({','.join(words)});".encode())
        numbers[expression] = len(numbers)
    parts: list[Any] = [kernel.axes, kernel.slots, kernel.scalars, kernel.outputs]
    if kernel.inner:
        parts.append(kernel.inner)
    for part in parts:
        digest.update(f"{_spelled(part, numbers)};".encode())
    return digest.digest()


def _roots(kernel: Kernel) -> Iterator[Expression]:
    """The values of a kernel, and the data that says where they go."""
    for output in kernel.outputs:
        yield output.value
        for form in (output.address, *output.guard):
            yield from (atom for atom, _ in form.terms if isinstance(atom, Expression))


def _spelled(value: Any, numbers: dict[Expression, int]) -> str:
    """One argument as text; expressions are spelled already, and have numbers."""
    match value:
        case Expression():
            return f"%{numbers[value]}"
        case Affine():
            return f"{value.constant}+{_spelled(value.terms, numbers)}"
        case tuple():
            return f"({','.join(_spelled(entry, numbers) for entry in value)})"
        case DType() | Mode():
            return value.name
        case type():
            return value.__qualname__
        case bool() | int() | bytes() | None:
            return repr(value)
    # What remains are the frozen data classes of a kernel, slots and outputs.
    parts = tuple(getattr(value, entry.name) for entry in fields(value))
    return _spelled(parts, numbers)
