"""Equal values are one object for as long as somebody holds it."""

from __future__ import annotations

import gc

from tetragrad.core.interning import Interned


class Value:
    """Something that can be held weakly."""


def test_a_key_has_one_value() -> None:
    table: Interned[Value] = Interned()
    first = table.added("key", Value)
    assert table.added("key", Value) is first
    assert table.added("other", Value) is not first
    assert table.references["key"]() is first


def test_what_nobody_holds_is_forgotten() -> None:
    table: Interned[Value] = Interned()
    held, dropped = table.added("held", Value), table.added("dropped", Value)
    del dropped
    gc.collect()
    assert table.values() == [held]
    assert list(table.references) == ["held"]


def test_a_new_value_outlives_the_end_of_an_old_one() -> None:
    table: Interned[Value] = Interned()
    old = table.added("key", Value)
    reference = table.references.pop("key")
    new = table.added("key", Value)
    del old
    gc.collect()
    assert reference() is None
    assert table.values() == [new]
