"""Members of a role that take turns, in the simulator and the verifier."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tile.test_simulator import program, run
from tetragrad.core import dtypes
from tetragrad.core.errors import VerifyError
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Position
from tetragrad.tile.ir import (
    Extent,
    For,
    PassTurn,
    Role,
    Statement,
    Store,
    TakeTurn,
)
from tetragrad.tile.verify import verify_program

MEMBERS = (1, 4)


def member(*body: Statement) -> Role:
    return Role("member", 1, (For(2, 4, body),), MEMBERS)


def store() -> Store:
    """Every member writes its number into the same place, in each of four rounds."""
    number = Position(axis_form(1), dtypes.float32)
    return Store(((3, 4),), 1, Affine(0, ((2, 4), (3, 1))), number)


@pytest.mark.parametrize("seed", range(5))
def test_the_last_member_writes_last(seed: int) -> None:
    made = program(member(TakeTurn(MEMBERS), store(), PassTurn(MEMBERS)))
    verify_program(made)
    np.testing.assert_array_equal(run(made, seed), np.full(16, 3.0))


def test_a_turn_that_is_kept_is_a_deadlock() -> None:
    with pytest.raises(VerifyError, match="deadlock"):
        run(program(member(TakeTurn(MEMBERS), store())))


def test_a_turn_is_taken_before_it_is_passed_on() -> None:
    with pytest.raises(VerifyError, match="passes a turn on that it has not"):
        run(program(member(store(), PassTurn(MEMBERS))))


@pytest.mark.parametrize("members", [(5, 4), (1, 3)])
def test_only_members_take_turns(members: Extent) -> None:
    with pytest.raises(VerifyError, match="take turns"):
        verify_program(program(member(TakeTurn(members), store(), PassTurn(members))))
