"""Where code is being written: the loops around it, and what they already know.

Scopes nest like the loops they stand for. Each owns the lines being written before
its inner loop starts, and remembers the values computed there. An expression is
written in the outermost scope that knows all it depends on, so nothing that is
invariant in a loop is computed inside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tetragrad.backends.cpu.emit.vector import Block, Builder, Value, constant
from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen


@dataclass(eq=False)
class Scope:
    """One loop body (or branch, or statement) and the values known in it.

    A ``guarded`` scope may not run: nothing that touches memory leaves it.
    """

    block: Block
    guarded: bool = False
    known: dict[Hashable, Value] = field(default_factory=dict)


@frozen(slots=True, refuses=False)
class VectorAxis:
    """The axis whose consecutive points are the lanes of a register."""

    axis: int
    start: int
    lanes: int


class Scopes:
    """The stack of scopes, and what each loop axis is at the current point."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.stack = [Scope(builder.block)]
        # Loop axes: their counters, the scope that knows them, and their extents.
        self.counters: dict[int, Value] = {}
        self.levels: dict[int, int] = {}
        self.extents: dict[int, int] = {}
        # Unrolled axes, and the axis of the lanes.
        self.points: dict[int, int] = {}
        self.vector: VectorAxis | None = None
        self._fresh_axes = itertools.count(-1, -1)

    def fresh_axis(self) -> int:
        """A number for an axis of the emitter's own; programs count from 0 up."""
        return next(self._fresh_axes)

    @property
    def depth(self) -> int:
        """The level of the innermost scope."""
        return len(self.stack) - 1

    @property
    def guarded_level(self) -> int:
        """The innermost scope that may not run."""
        for level in range(self.depth, -1, -1):
            if self.stack[level].guarded:
                return level
        return 0

    def level_of(self, axis: int) -> int:
        """The outermost scope that knows the axis; unrolled axes are known always."""
        if axis in self.points or (self.vector and self.vector.axis == axis):
            return 0
        return self.levels[axis]

    def range_of(self, axis: int) -> tuple[int, int]:
        """The smallest and largest value that the axis takes here."""
        if axis in self.points:
            return self.points[axis], self.points[axis]
        if self.vector and self.vector.axis == axis:
            return self.vector.start, self.vector.start + self.vector.lanes - 1
        return 0, self.extents[axis] - 1

    def at_level(self, level: int) -> _AtLevel:
        """Write into an enclosing scope, as if the ones inside were not there."""
        return _AtLevel(self, level)

    @contextmanager
    def statement(self) -> Iterator[None]:
        """A scope for what memory holds at this moment; it ends with the statement."""
        self.stack.append(Scope(self.builder.block))
        try:
            yield
        finally:
            self.stack.pop()

    @contextmanager
    def loop(self, axis: int, extent: int) -> Iterator[None]:
        """The axis counts from 0 to extent - 1; no loop if that is once."""
        if extent == 1:
            with self.unrolled([axis], [0]):
                yield
            return
        self.extents[axis] = extent
        first, last = constant(0, dtypes.int64), constant(extent, dtypes.int64)
        with self.counted(axis, first, last):
            yield

    @contextmanager
    def counted(
        self, axis: int, first: Value, last: Value, step: int = 1
    ) -> Iterator[None]:
        """The axis counts from ``first`` to below ``last``, at least once."""
        builder = self.builder
        outer = builder.block
        header, after = builder.fresh("loop"), builder.fresh("after")
        counter, following = f"%{builder.fresh('i')}", f"%{builder.fresh('i')}"
        inner = Block(header)
        builder.block = inner
        self.stack.append(Scope(inner))
        self.bind(axis, Value(counter, dtypes.int64))
        yield
        builder.line(f"{following} = add nuw nsw i64 {counter}, {step}")
        condition = builder.assign(f"icmp ult i64 {following}, {last.text}")
        builder.line(f"br i1 {condition}, label %{header}, label %{after}")
        self.unbind(axis)
        self.stack.pop()
        arrivals = f"[ {first.text}, %{outer.label} ], [ {following}, %{inner.label} ]"
        outer.lines += [
            f"  br label %{header}",
            f"{header}:",
            f"  {counter} = phi i64 {arrivals}",
            *inner.lines,
            f"{after}:",
        ]
        outer.label = after
        builder.block = outer

    def bind(self, axis: int, counter: Value) -> None:
        """From here on the axis is this value."""
        self.counters[axis] = counter
        self.levels[axis] = self.depth

    def unbind(self, axis: int) -> None:
        """The axis is no longer known."""
        del self.counters[axis], self.levels[axis]

    @contextmanager
    def branch(self, condition: Value) -> Iterator[None]:
        """Code that runs only where the condition holds."""
        builder = self.builder
        outer = builder.block
        inside, after = builder.fresh("then"), builder.fresh("end")
        inner = Block(inside)
        builder.block = inner
        self.stack.append(Scope(inner, guarded=True))
        yield
        self.stack.pop()
        # Spliced in at the end, so that code hoisted meanwhile comes before it.
        outer.lines += [
            f"  br i1 {condition.text}, label %{inside}, label %{after}",
            f"{inside}:",
            *inner.lines,
            f"  br label %{after}",
            f"{after}:",
        ]
        outer.label = after
        builder.block = outer

    def unrolled(self, axes: Sequence[int], point: Sequence[int]) -> _Meanwhile:
        """Each axis is a number that is known now."""
        points = self.points | dict(zip(axes, point, strict=True))
        return _Meanwhile(self, "points", points)

    def lanes_along(self, vector: VectorAxis | None) -> _Meanwhile:
        """The lanes of registers are consecutive points of an axis."""
        return _Meanwhile(self, "vector", vector)

    def recall(self, key: Hashable, level: int) -> Value | None:
        """A value already computed at this level."""
        return self.stack[level].known.get(key)

    def remember(self, key: Hashable, level: int, value: Value) -> Value:
        """Keep a value for the rest of its scope."""
        self.stack[level].known[key] = value
        return value


# Written as classes, because these two are entered for every vector of the text.


class _Meanwhile:
    """A block in which the scopes have another value for one attribute."""

    __slots__ = ("_name", "_outer", "_scopes", "_value")

    def __init__(self, scopes: Scopes, name: str, value: object) -> None:
        self._scopes, self._name, self._value = scopes, name, value

    def __enter__(self) -> None:
        self._outer = getattr(self._scopes, self._name)
        setattr(self._scopes, self._name, self._value)

    def __exit__(self, *_: object) -> None:
        setattr(self._scopes, self._name, self._outer)


class _AtLevel:
    """A block that is written into an enclosing scope."""

    __slots__ = ("_level", "_outer", "_scopes")

    def __init__(self, scopes: Scopes, level: int) -> None:
        self._scopes, self._level = scopes, level

    def __enter__(self) -> None:
        scopes = self._scopes
        self._outer = scopes.stack, scopes.builder.block
        if self._level + 1 < len(scopes.stack):
            scopes.stack = scopes.stack[: self._level + 1]
            scopes.builder.block = scopes.stack[-1].block

    def __exit__(self, *_: object) -> None:
        scopes = self._scopes
        scopes.stack, scopes.builder.block = self._outer


def chunks(start: int, stop: int, lanes: int) -> Iterator[tuple[int, int]]:
    """(first point, lanes) of registers that cover a span: whole ones, then halves.

    >>> list(chunks(0, 39, 16))
    [(0, 16), (16, 16), (32, 4), (36, 2), (38, 1)]
    """
    width = lanes
    while start < stop:
        while start + width > stop:
            width //= 2
        yield start, width
        start += width
