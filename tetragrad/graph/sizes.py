"""Sizes that are known only when a graph runs: a sequence's length, a batch's rows.

A :class:`Symbol` names such a size and the most it can be. Bound to a value it gives a
:class:`Size`: an ``int`` that remembers which symbol it came from. Shapes are made of
ints, so a ``Size`` works wherever a size does, and every decision in Python sees the
value. Only the engine looks further: graphs that differ in nothing but what their
symbols are bound to are compiled once (``graph/symbolic.py``).

    tokens = Symbol("tokens", maximum=512)
    cache[:, : tokens.bind(7)]        # shape (heads, tokens=7, 64)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, Self, SupportsIndex, TypeVar

from tetragrad.core.errors import ShapeError
from tetragrad.core.frozen import frozen


@frozen(slots=True)
class Symbol:
    """A size that may differ from run to run, from ``minimum`` to ``maximum``.

    Buffers with such a dimension are laid out at the maximum, so the maximum is what
    the memory is planned for.

    Example:
        >>> from tetragrad import Symbol, Tensor
        >>> tokens = Symbol("tokens", maximum=8)
        >>> [Tensor.ones(8)[: tokens.bind(n)].sum().item() for n in (3, 5)]
        [3.0, 5.0]
    """

    name: str
    maximum: int
    minimum: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.minimum <= self.maximum:
            raise ShapeError(
                f"a symbol from {self.minimum} to {self.maximum}",
                hint="give 1 <= minimum <= maximum",
            )

    def bind(self, value: SupportsIndex) -> Size:
        """This size with a value, for one run.

        Raises:
            ShapeError: if the value is not from minimum to maximum.
        """
        number = value.__index__()
        if not self.minimum <= number <= self.maximum:
            raise ShapeError(
                f"{self.name} cannot be {number}: it is a size from {self.minimum} "
                f"to {self.maximum}",
                hint=f"Symbol({self.name!r}, maximum={max(number, 1)}) allows more",
            )
        Size.in_use = True
        return Size(((Bound(self, number), 1),), 0)


@frozen(slots=True)
class Bound:
    """A symbol and the value it has in this run."""

    symbol: Symbol
    value: int


Terms = tuple[tuple[Bound, int], ...]


class Size(int):
    """``constant + Σ coefficient · symbol``, which has a value in this run.

    Adding, subtracting and scaling by ints stays a ``Size``; so does a division that
    leaves nothing over. Everything else gives a plain ``int``: right for this run,
    but nothing that the next run can share.
    """

    #: Whether any symbol was ever bound: until then nobody needs to look for sizes.
    in_use = False

    terms: Terms
    constant: int

    def __new__(cls, terms: Terms, constant: int) -> Self:
        value = constant + sum(bound.value * factor for bound, factor in terms)
        size = super().__new__(cls, value)
        size.terms = terms
        size.constant = constant
        return size

    @property
    def maximum(self) -> int:
        """The most it can be, whatever its symbols are bound to."""
        return self.constant + sum(
            factor * (bound.symbol.maximum if factor > 0 else bound.symbol.minimum)
            for bound, factor in self.terms
        )

    @property
    def minimum(self) -> int:
        """The least it can be."""
        return self.constant + sum(
            factor * (bound.symbol.minimum if factor > 0 else bound.symbol.maximum)
            for bound, factor in self.terms
        )

    @property
    def form(self) -> tuple[Terms, int]:
        """What tells it from another size of the same value."""
        return self.terms, self.constant

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        terms, constant = form_of(other)
        return _combine((*self.terms, *terms), self.constant + constant)

    __radd__ = __add__

    def __neg__(self) -> int:
        return self * -1

    def __sub__(self, other: Any) -> Any:
        return self + -other if isinstance(other, int) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return -self + other if isinstance(other, int) else NotImplemented

    def __mul__(self, other: Any) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        if isinstance(other, Size):
            return int(self) * int(other)
        scaled = tuple((bound, factor * other) for bound, factor in self.terms)
        return _combine(scaled, self.constant * other)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        if not isinstance(other, int):
            return NotImplemented
        factors = [self.constant, *(factor for _, factor in self.terms)]
        if isinstance(other, Size) or not other or any(f % other for f in factors):
            return int(self) // int(other)
        terms = tuple((bound, factor // other) for bound, factor in self.terms)
        return _combine(terms, self.constant // other)

    def __repr__(self) -> str:
        parts = [_term_text(bound.symbol.name, factor) for bound, factor in self.terms]
        text = "+".join(parts) + (f"{self.constant:+d}" if self.constant else "")
        return f"{text.replace('+-', '-')}={int(self)}"

    def __str__(self) -> str:
        return str(int(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return Size, self.form


def form_of(size: int) -> tuple[Terms, int]:
    """The symbols of a size and the constant beside them."""
    return size.form if isinstance(size, Size) else ((), int(size))


def maximum_of(size: int) -> int:
    """The most that a size can be."""
    return size.maximum if isinstance(size, Size) else size


def forms_in(value: Any) -> Any:
    """The forms of the sizes in (nested) arguments, in their places; None if none.

    A size equals the int of its value, so keys that must tell them apart add this.
    """
    if type(value) is Size:
        return value.form
    if type(value) is not tuple or not _holds_size(value):
        return None
    return tuple(map(forms_in, value))


def _holds_size(values: tuple[Any, ...]) -> bool:
    # Asked for the arguments of every node that is made.
    for value in values:
        kind = type(value)
        if kind is Size or (kind is tuple and _holds_size(value)):
            return True
    return False


def same_sizes(first: Any, second: Any) -> bool:
    """Whether (nested) sizes are equal whatever their symbols are bound to."""
    if first != second:
        return False
    return not Size.in_use or bool(forms_in(first) == forms_in(second))


Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def by_sizes(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Remember what a function of shapes gives, as long as those are plain ints.

    A program has few shapes, and asks about each of them at every step.
    """
    remembered = functools.lru_cache(maxsize=4096)(function)

    @functools.wraps(function)
    def answered(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        # A size equals the int of its value, and must not be taken for it.
        if Size.in_use and _holds_size(args):
            return function(*args, **kwargs)
        return remembered(*args, **kwargs)  # type: ignore[arg-type]

    return answered


def is_one(size: int) -> bool:
    """Whether a dimension has one element, whatever symbols are bound to."""
    return size == 1 and not (Size.in_use and isinstance(size, Size))


def _combine(terms: Terms, constant: int) -> int:
    """A size of these terms; a plain int if none remain."""
    total: dict[Bound, int] = {}
    for bound, factor in terms:
        total[bound] = total.get(bound, 0) + factor
    remaining = tuple(
        (bound, total[bound]) for bound in sorted(total, key=_order) if total[bound]
    )
    return Size(remaining, constant) if remaining else constant


def _order(bound: Bound) -> tuple[Any, ...]:
    return bound.symbol.name, bound.symbol.maximum, bound.symbol.minimum, bound.value


def _term_text(name: str, factor: int) -> str:
    return {1: name, -1: f"-{name}"}.get(factor, f"{factor}*{name}")
