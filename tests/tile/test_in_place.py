"""Which outputs of a tile program may lie where an input does."""

from __future__ import annotations

from tetragrad.core.dtypes import float32, float64
from tetragrad.graph.elementwise import Add
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Compute, Load
from tetragrad.kernel.ir import Mode, Slot
from tetragrad.tile.in_place import in_place_pairs
from tetragrad.tile.ir import (
    Alloc,
    Fold,
    For,
    Grid,
    Layout,
    Program,
    Space,
    Statement,
    Store,
    Tile,
)

ROW, COLUMN = axis_form(0), axis_form(1)
POINT = ROW.scale(8) + COLUMN


def load(slot: int, address: Affine = POINT) -> Load:
    return Load(slot, address, (), float32)


def program(*body: Statement, outputs: int = 1) -> Program:
    slots = (Slot(float32, 64),) * 2 + (Slot(float64, 64),)
    slots += (Slot(float32, 64),) * outputs
    grid = Grid(((0, 8),), (For(1, 8, body),))
    numbers = frozenset(range(3, 3 + outputs))
    return Program("p", slots, (), (), (grid,), numbers)


def store(slot: int, value: object, address: Affine = POINT, **more: object) -> Store:
    return Store((), slot, address, value, **more)  # type: ignore[arg-type]


def test_an_update_of_each_element() -> None:
    value = Compute(Add, float32, (load(0), load(1)))
    assert in_place_pairs(program(store(3, value))) == ((3, 0), (3, 1))


def test_not_where_another_element_is_read() -> None:
    other = load(1, ROW + COLUMN.scale(8))
    value = Compute(Add, float32, (load(0), other))
    assert in_place_pairs(program(store(3, value))) == ((3, 0),)


def test_not_an_input_of_another_dtype() -> None:
    narrow = Load(2, POINT, (), float32)
    assert in_place_pairs(program(store(3, narrow))) == ()


def test_not_what_is_read_after_it_was_written() -> None:
    stores = store(3, load(0)), store(4, load(0))
    assert in_place_pairs(program(*stores, outputs=2)) == ((4, 0),)


def test_not_what_is_written_more_than_once() -> None:
    address = ROW.scale(8)
    assert in_place_pairs(program(store(3, load(0, address), address))) == ()


def test_not_what_is_added_to() -> None:
    added = store(3, load(0), mode=Mode.ADD)
    assert in_place_pairs(program(added)) == ()


def test_not_where_points_overlap() -> None:
    address = ROW.scale(4) + COLUMN
    assert in_place_pairs(program(store(3, load(0, address), address))) == ()


def test_what_is_folded_may_have_been_written_by_another_thread() -> None:
    """A row's sum, and the row made larger: threads fold other elements than theirs."""
    total = Tile("total", (), float32, Space.REGISTER, Layout(()))
    fold = Fold(((1, 8),), total, (), Sum, load(0))
    larger = Store(((1, 8),), 3, POINT, load(0))
    slots = (Slot(float32, 64),) * 4
    grid = Grid(((0, 8),), (Alloc(total), fold, larger))
    summed = Program("p", slots, (), (), (grid,), frozenset({3}))
    assert in_place_pairs(summed) == ((3, 0),)
    assert in_place_pairs(summed, by_threads=True) == ()
