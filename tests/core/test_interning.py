"""Equal values are one object for as long as somebody holds it."""

from __future__ import annotations

import gc

from tetragrad.core.interning import Interned


class Value:
    """Something that can be held weakly."""

    def __init__(self, number: int) -> None:
        self.number = number


def test_a_key_has_one_value() -> None:
    table: Interned[Value] = Interned()
    first = table.added("key", Value, 1)
    assert first.number == 1
    assert table.added("key", Value, 2) is first
    assert table.added("other", Value, 1) is not first
    assert table.references["key"]() is first


def test_what_nobody_holds_is_forgotten() -> None:
    table: Interned[Value] = Interned()
    held, dropped = table.added("held", Value, 1), table.added("dropped", Value, 2)
    del dropped
    gc.collect()
    assert table.values() == [held]
    assert list(table.references) == ["held"]


def test_a_new_value_outlives_the_end_of_an_old_one() -> None:
    table: Interned[Value] = Interned()
    old = table.added("key", Value, 1)
    reference = table.references.pop("key")
    new = table.added("key", Value, 1)
    del old
    gc.collect()
    assert reference() is None
    assert table.values() == [new]
