"""What a kernel computes: an interned DAG of loads, scalars, ops and reductions.

Expressions know nothing of buffers or tensors: loads name a slot and an affine
address, so equal computations are one object wherever in the graph they came from.

A guard is a tuple of affine forms that must all be >= 0. A load's guard says when
its address is in range; outside it the load must not touch memory.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.interning import Interned
from tetragrad.graph.elementwise import Elementwise
from tetragrad.graph.node import argument
from tetragrad.graph.reduce import Reduce as GraphReduce
from tetragrad.kernel.affine import Affine

Guard = tuple[Affine, ...]

_interned: Interned[Expression] = Interned()
_known = _interned.references


class Expression:
    """One value of a kernel, as a function of the loop axes."""

    __slots__ = (
        "__weakref__",
        "arguments",
        "children",
        "dtype",
        "free_axes",
        "operands",
    )

    fields: ClassVar[tuple[str, ...]] = ()

    arguments: tuple[Any, ...]
    operands: tuple[Expression, ...]
    children: tuple[Expression, ...]
    dtype: DType
    free_axes: frozenset[int]

    def __init_subclass__(cls) -> None:
        for position, name in enumerate(cls.fields):
            setattr(cls, name, argument(position))

    def __new__(cls, *arguments: Any) -> Self:
        key = (cls, *arguments)
        reference = _known.get(key)
        found = reference() if reference is not None else None
        if found is None:
            found = _interned.added(key, cls._made, arguments)
        return found  # type: ignore[return-value]

    @classmethod
    def _made(cls, arguments: tuple[Any, ...]) -> Expression:
        """An expression that is not in the table yet."""
        made = object.__new__(cls)
        made.arguments = arguments
        made._describe(*arguments)
        made.children = made.operands
        if forms := made.forms:
            made.children += tuple(atoms_of(forms))
        return made

    @property
    def forms(self) -> tuple[Affine, ...]:
        """The affine forms that the expression holds directly."""
        return ()

    def _describe(self, *arguments: Any) -> None:
        """Fill in dtype, operands and free axes."""
        raise NotImplementedError

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), self.arguments)

    def __repr__(self) -> str:
        from tetragrad.kernel.text import expression_text

        return expression_text(self)


def _axes_of(forms: tuple[Affine, ...]) -> set[int]:
    found: set[int] = set()
    for form in forms:
        found |= form.axes()
    return found


class Load(Expression):
    """The element of a slot's buffer at an address, where the guard holds."""

    __slots__ = ()
    fields = ("slot", "address", "guard", "load_dtype")

    def _describe(self, slot: int, address: Affine, guard: Guard, dtype: DType) -> None:
        self.dtype = dtype
        self.operands = ()
        self.free_axes = frozenset(_axes_of((address, *guard)))

    @property
    def forms(self) -> tuple[Affine, ...]:
        return (self.address, *self.guard)


class Literal(Expression):
    """A value that is part of the kernel: 0, ±1, ±inf, NaN, and integers."""

    __slots__ = ()
    fields = ("bits", "literal_dtype")

    def _describe(self, bits: bytes, dtype: DType) -> None:
        self.dtype = dtype
        self.operands = ()
        self.free_axes = frozenset()

    @property
    def value(self) -> Any:
        """The value as a Python number."""
        return np.frombuffer(self.bits, self.dtype.numpy).item()


class Scalar(Expression):
    """A value that is given at launch, so that changing it compiles nothing."""

    __slots__ = ()
    fields = ("slot", "scalar_dtype")

    def _describe(self, slot: int, dtype: DType) -> None:
        self.dtype = dtype
        self.operands = ()
        self.free_axes = frozenset()


class Position(Expression):
    """The value of an affine form, as a number."""

    __slots__ = ()
    fields = ("form", "position_dtype")

    def _describe(self, form: Affine, dtype: DType) -> None:
        self.dtype = dtype
        self.operands = ()
        self.free_axes = frozenset(form.axes())

    @property
    def forms(self) -> tuple[Affine, ...]:
        return (self.form,)


class Compute(Expression):
    """An elementwise op of the graph on values of this kernel."""

    __slots__ = ()
    fields = ("op", "result_dtype", "inputs")

    def _describe(
        self,
        op: type[Elementwise],
        dtype: DType,
        inputs: tuple[Expression, ...],
    ) -> None:
        self.dtype = dtype
        self.operands = inputs
        self.free_axes = frozenset().union(*(entry.free_axes for entry in inputs))


class Select(Expression):
    """``inside`` where the guard holds, else ``outside``."""

    __slots__ = ()
    fields = ("guard", "inside", "outside")

    def _describe(self, guard: Guard, inside: Expression, outside: Expression) -> None:
        self.dtype = inside.dtype
        self.operands = (inside, outside)
        self.free_axes = inside.free_axes | outside.free_axes | _axes_of(guard)

    @property
    def forms(self) -> tuple[Affine, ...]:
        return self.guard


class Reduction(Expression):
    """A reduce op over some axes of the body; those axes are bound here.

    The value is carried in ``accumulator`` (float32 for 16-bit floats) and rounded
    once to ``dtype``.
    """

    __slots__ = ()
    fields = ("op", "axes", "body")

    def _describe(
        self, op: type[GraphReduce], axes: tuple[int, ...], body: Expression
    ) -> None:
        self.dtype = body.dtype
        self.operands = (body,)
        self.free_axes = body.free_axes - set(axes)

    @property
    def accumulator(self) -> DType:
        """The dtype in which the running value is carried."""
        return dtypes.accumulation(self.dtype)


class Scan(Expression):
    """A running reduction: the op over all positions up to and including this one.

    ``axis`` is free: the value at axis = i combines the body at axis = 0 … i, or,
    reversed, at axis = i … size-1.
    """

    __slots__ = ()
    fields = ("op", "axis", "body", "reverse")

    def _describe(
        self, op: type[GraphReduce], axis: int, body: Expression, reverse: bool
    ) -> None:
        self.dtype = body.dtype
        self.operands = (body,)
        self.free_axes = body.free_axes | {axis}

    @property
    def accumulator(self) -> DType:
        """The dtype in which the running value is carried."""
        return dtypes.accumulation(self.dtype)


# --- atoms of addresses ------------------------------------------------------------


class IndexAtom(Expression):
    """An integer inside an address that is not affine in the loop axes."""

    __slots__ = ()

    @property
    def range(self) -> tuple[int, int]:
        """The smallest and largest value it can take."""
        raise NotImplementedError


class Quotient(IndexAtom):
    """form // divisor, for form >= 0: a reshape whose sizes do not nest."""

    __slots__ = ()
    fields = ("form", "divisor", "limit")

    def _describe(self, form: Affine, divisor: int, limit: int) -> None:
        self.dtype = dtypes.int64
        self.operands = ()
        self.free_axes = frozenset(form.axes())

    @property
    def forms(self) -> tuple[Affine, ...]:
        return (self.form,)

    @property
    def range(self) -> tuple[int, int]:
        return 0, self.limit - 1


class Remainder(IndexAtom):
    """form % divisor, for form >= 0: a reshape whose sizes do not nest."""

    __slots__ = ()
    fields = ("form", "divisor")

    def _describe(self, form: Affine, divisor: int) -> None:
        self.dtype = dtypes.int64
        self.operands = ()
        self.free_axes = frozenset(form.axes())

    @property
    def forms(self) -> tuple[Affine, ...]:
        return (self.form,)

    @property
    def range(self) -> tuple[int, int]:
        return 0, self.divisor - 1


class Indexed(IndexAtom):
    """An integer computed from data, known to lie within low … high.

    In an address the limits are those that a guard beside it enforces; in that guard
    itself nothing is known, and they are the limits of the integers (``anything``).
    """

    __slots__ = ()
    fields = ("value", "low", "high")

    def _describe(self, value: Expression, low: int, high: int) -> None:
        self.dtype = dtypes.int64
        self.operands = (value,)
        self.free_axes = value.free_axes

    @property
    def range(self) -> tuple[int, int]:
        return self.low, self.high


class Given(Indexed):
    """An integer that every launch passes: its limits hold everywhere, unguarded."""

    __slots__ = ()


def anything(value: Expression) -> Indexed:
    """An index of which nothing is known yet."""
    return Indexed(value, -(1 << 62), (1 << 62) - 1)


# --- walking -----------------------------------------------------------


def atoms_of(forms: Iterable[Affine]) -> list[Expression]:
    """The expressions inside affine forms."""
    return [
        atom for form in forms for atom, _ in form.terms if not isinstance(atom, int)
    ]


@lru_cache(maxsize=512)
def walk(*roots: Expression) -> Sequence[Expression]:
    """Every expression below the roots once, operands before users.

    Remembered for a while, as each stage of compiling them asks for it.
    """
    return walk_until((), *roots)


def walk_until(stop: Container[Expression], *roots: Expression) -> Sequence[Expression]:
    """``walk``, but not below expressions in ``stop``."""
    entered: set[Expression] = set()
    order: list[Expression] = []
    # The path to where the walk is, with the children that are still to be entered.
    path: list[tuple[Expression, Iterator[Expression]]] = []
    ahead: Iterator[Expression] = iter(roots)
    while True:
        for expression in ahead:
            if expression not in entered:
                entered.add(expression)
                path.append((expression, ahead))
                is_end = expression in stop
                ahead = iter(()) if is_end else reversed(expression.children)
                break
        else:
            if not path:
                return tuple(order)
            expression, ahead = path.pop()
            order.append(expression)


def literal(value: Any, dtype: DType) -> Literal:
    """A literal for a number or an array of shape ()."""
    if type(value) not in (bool, int, float):
        return _new_literal(value, dtype)
    # The text tells -0.0 from 0.0.
    return _literal_of_number(value, repr(value), dtype)


@lru_cache(maxsize=1024, typed=True)
def _literal_of_number(value: Any, text: str, dtype: DType) -> Literal:
    return _new_literal(value, dtype)


def _new_literal(value: Any, dtype: DType) -> Literal:
    with np.errstate(all="ignore"):
        return Literal(np.asarray(value).astype(dtype.numpy).tobytes(), dtype)
