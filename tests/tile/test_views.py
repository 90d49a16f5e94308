"""Tiles that are a part of a slot's memory: what they show, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tetragrad.core.dtypes import DType, float32, float64
from tetragrad.core.errors import VerifyError
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.ir import Slot
from tetragrad.tile.in_place import in_place_pairs
from tetragrad.tile.ir import (
    Grid,
    Layout,
    Program,
    Space,
    Statement,
    Store,
    Tile,
    TileLoad,
    View,
)
from tetragrad.tile.simulator import run_program
from tetragrad.tile.text import statement_text
from tetragrad.tile.verify import verify_program

ROW, COLUMN = axis_form(1), axis_form(2)


def columns(dtype: DType = float32) -> Tile:
    """Three columns of a matrix with eight, over two rows."""
    return Tile("columns", (3, 2), dtype, Space.GLOBAL, Layout((1, 8)))


def showing(address: Affine, *more: Statement, dtype: DType = float32) -> Program:
    """Copy what a view shows, for each iteration of the grid."""
    tile = columns(dtype)
    place = axis_form(0).scale(6) + ROW + COLUMN.scale(3)
    value = TileLoad(tile, (ROW, COLUMN))
    body = (View(tile, 0, address), *more, Store(((2, 2), (1, 3)), 1, place, value))
    slots = (Slot(float32, 16), Slot(dtype, 12))
    return Program("p", slots, (), (), (Grid(((0, 2),), body),), frozenset({1}))


def test_a_view_shows_its_place() -> None:
    program = showing(axis_form(0).scale(3))
    verify_program(program)
    matrix, found = np.arange(16, dtype=np.float32), np.zeros(12, np.float32)
    run_program(program, [matrix, found])
    wanted = [matrix.reshape(2, 8)[:, start : start + 3] for start in (0, 3)]
    np.testing.assert_array_equal(found.reshape(2, 2, 3), wanted)


def test_text() -> None:
    text = statement_text(View(columns(), 0, axis_form(0).scale(3)))
    assert text == "View(columns: float32[3, 2], global at s0[3*i0])"


def test_all_of_it_must_exist() -> None:
    with pytest.raises(VerifyError, match="the view columns is indexed below 16"):
        verify_program(showing(axis_form(0).scale(6)))


def test_elements_are_of_one_dtype() -> None:
    with pytest.raises(VerifyError, match="columns shows float32 as float64"):
        verify_program(showing(Affine(0), dtype=float64))


def test_a_view_is_not_of_what_does_not_exist() -> None:
    missing = Tile("missing", (16,), float32, Space.GLOBAL, Layout((1,)))
    view = View(Tile("part", (4,), float32, Space.GLOBAL, Layout((1,))), missing, ROW)
    with pytest.raises(VerifyError, match="tile missing does not exist"):
        verify_program(showing(Affine(0), view))


def test_what_is_shown_is_not_written_over() -> None:
    shown = columns()
    value = TileLoad(shown, (ROW, COLUMN))
    place = ROW + COLUMN.scale(3)
    body = (View(shown, 0, Affine(0)), Store(((2, 2), (1, 3)), 1, place, value))
    slots = (Slot(float32, 16), Slot(float32, 16))
    program = Program("p", slots, (), (), (Grid((), body),), frozenset({1}))
    assert in_place_pairs(program) == ()
