"""How the sizes of one graph follow from those of another: as sums of a few.

    5, 6, 5, 320
    6, 7, 6, 384     ->     n, n + 1, n, 64 n
    7, 8, 7, 448

A size that is the same everywhere is a number. Of the others those that change least
become symbols, unless they are a multiple of a symbol and a number, or the sum of two.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

from tetragrad.core.frozen import frozen

#: Two sizes can follow each other by chance, three hardly.
FEWEST_VALUES = 3
#: Symbols that are looked for.
MOST_SYMBOLS = 3

#: The factors of some symbols, by their places, and a number: n + 2 m + 1.
Form = tuple[tuple[tuple[int, int], ...], int]
#: What a size was in each of the graphs.
Column = tuple[int, ...]


@frozen(slots=True)
class Forms:
    """What every size of a graph is made of.

    ``symbols`` are the positions of the sizes that are symbols themselves.
    """

    all: tuple[Form, ...]
    symbols: tuple[int, ...]


def forms_of(now: tuple[int, ...], seen: Sequence[tuple[int, ...]]) -> Forms | None:
    """What sizes are made of, now and before; None if that cannot be said yet.

    Other programs may be of the same operations, and the last batch of an epoch may be
    shorter: what is looked at are graphs that differ from this one in the same sizes.
    """
    alike: dict[tuple[bool, ...], list[tuple[int, ...]]] = {}
    for entry in seen:
        if entry != now:
            differing = tuple(map(operator.ne, now, entry))
            alike.setdefault(differing, [now]).append(entry)
    for group in sorted(alike.values(), key=len, reverse=True):
        found = _fitted(list(zip(*group, strict=True)))
        if found is not None:
            return found
    return None


def values_of(forms: Forms, sizes: Sequence[int]) -> tuple[int, ...] | None:
    """The values of the symbols in a graph of these sizes; None if one is not so."""
    values = tuple([sizes[position] for position in forms.symbols])
    for (terms, value), size in zip(forms.all, sizes, strict=True):
        for place, factor in terms:
            value += factor * values[place]
        if value != size:
            return None
    return values


def _fitted(columns: Sequence[Column]) -> Forms | None:
    """The forms of all columns in some symbols; None if it would take a guess."""
    known: dict[Column, Form] = {}
    positions: list[int] = []
    symbols: list[Column] = []
    for column in sorted(set(columns), key=_change):
        form = (
            _as_number(column) or _of_one(column, symbols) or _of_two(column, symbols)
        )
        if form is None:
            if len(set(column)) < FEWEST_VALUES or min(column) < 1:
                return None
            form = ((len(symbols), 1),), 0
            positions.append(columns.index(column))
            symbols.append(column)
        known[column] = form
    if len(symbols) > MOST_SYMBOLS:
        return None
    return Forms(tuple([known[column] for column in columns]), tuple(positions))


def _change(column: Column) -> tuple[int, int, int]:
    """Numbers first, then what changes least; of those, sizes rather than places."""
    return max(column) - min(column), -min(min(column), 2), max(column)


def _as_number(column: Column) -> Form | None:
    return ((), column[0]) if len(set(column)) == 1 else None


def _of_one(column: Column, symbols: Sequence[Column]) -> Form | None:
    """The column as a multiple of one symbol and a number."""
    for place, symbol in enumerate(symbols):
        last = next(i for i, value in enumerate(symbol) if value != symbol[0])
        factor, rest = divmod(column[last] - column[0], symbol[last] - symbol[0])
        constant = column[0] - factor * symbol[0]
        if not rest and all(
            value == factor * of + constant
            for value, of in zip(column, symbol, strict=True)
        ):
            return ((place, factor),), constant
    return None


def _of_two(column: Column, symbols: Sequence[Column]) -> Form | None:
    """The column as one symbol and a multiple of an earlier one."""
    for place, symbol in enumerate(symbols):
        without = tuple([value - of for value, of in zip(column, symbol, strict=True)])
        form = _as_number(without) or _of_one(without, symbols[:place])
        if form is not None:
            return (*form[0], (place, 1)), form[1]
    return None
