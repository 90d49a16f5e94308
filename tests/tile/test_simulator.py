"""The simulator finds what would go wrong on a device; the printer shows it."""

from __future__ import annotations

import numpy as np
import pytest

from tetragrad.core import dtypes
from tetragrad.core.errors import VerifyError
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import Load, Reduction, literal
from tetragrad.kernel.ir import Slot
from tetragrad.tile.ir import (
    Acquire,
    Alloc,
    Channel,
    Commit,
    Copy,
    Fold,
    For,
    Grid,
    Layout,
    Map,
    Program,
    Release,
    Role,
    Space,
    Store,
    Tile,
    TileLoad,
    Wait,
    When,
)
from tetragrad.tile.simulator import run_program
from tetragrad.tile.text import program_text
from tetragrad.tile.verify import verify_program

FLOAT = dtypes.float32


def tile(name: str, *shape: int, space: Space = Space.SHARED) -> Tile:
    strides = tuple(int(np.prod(shape[dim + 1 :])) for dim in range(len(shape)))
    return Tile(name, shape, FLOAT, space, Layout(strides))


def program(*body, slots=(16, 16)) -> Program:
    grid = Grid(((0, 1),), body)
    return Program(
        "test",
        tuple(Slot(FLOAT, numel) for numel in slots),
        (),
        (),
        (grid,),
        frozenset({1}),
    )


def run(made: Program, seed: int = 0) -> np.ndarray:
    source = np.arange(made.slots[0].numel, dtype=np.float32)
    result = np.zeros(made.slots[1].numel, np.float32)
    run_program(made, [source, result], seed=seed)
    return result


RING = Channel("ring", (tile("stage", 4),), 2)


def producer(*, acquires: bool = True) -> Role:
    """Copies four blocks of four elements into the ring."""
    block = Copy(((2, 4),), RING.tiles[0], 0, Affine(0, ((1, 4), (2, 1))))
    steps = (Acquire(RING), block, Commit(RING)) if acquires else (block,)
    return Role("producer", 1, (For(1, 4, steps),))


def consumer(*, waits: bool = True, releases: bool = True) -> Role:
    """Doubles the blocks."""
    value = TileLoad(RING.tiles[0], (axis_form(4),))
    store = Store(((4, 4),), 1, Affine(0, ((3, 4), (4, 1))), value)
    steps = [store]
    if waits:
        steps.insert(0, Wait(RING))
    if releases:
        steps.append(Release(RING))
    return Role("consumer", 1, (For(3, 4, tuple(steps)),))


@pytest.mark.parametrize("seed", range(5))
def test_roles_hand_over_through_a_channel(seed):
    made = program(producer(), consumer())
    verify_program(made)
    np.testing.assert_array_equal(run(made, seed), np.arange(16))


def test_deadlock_is_reported():
    with pytest.raises(VerifyError, match="deadlock"):
        run(program(producer(), consumer(releases=False)))


def test_use_without_wait_is_reported():
    with pytest.raises(VerifyError, match="without holding a slot"):
        run(program(producer(), consumer(waits=False, releases=False)))


def test_release_without_wait_is_refused():
    with pytest.raises(VerifyError, match="Release of ring without Wait"):
        verify_program(program(producer(), consumer(waits=False)))


def test_tiles_start_as_poison():
    fresh = tile("fresh", 4)
    store = Store(((1, 4),), 1, axis_form(1), TileLoad(fresh, (axis_form(1),)))
    assert np.isnan(run(program(Alloc(fresh), store))[:4]).all()


def test_guarded_load_gives_poison_and_stays_in_range():
    inside = (axis_form(1).shift(-2),)
    value = Load(0, axis_form(1).shift(-2), inside, FLOAT)
    made = program(Store(((1, 4),), 1, axis_form(1), value))
    verify_program(made)
    np.testing.assert_array_equal(run(made)[:4], [np.nan, np.nan, 0, 1])


def test_fold_combines_points_with_equal_indices():
    total = tile("total", space=Space.REGISTER)
    value = Load(0, axis_form(1), (), FLOAT)
    made = program(
        Alloc(total),
        Map((), total, (), literal(0.0, FLOAT)),
        Fold(((1, 16),), total, (), Sum, value),
        Store((), 1, ZERO, TileLoad(total, ())),
    )
    verify_program(made)
    assert run(made)[0] == 120
    assert "Fold(total[] += s0[i1]) over i1 < 16" in program_text(made)


BAD = {
    "goes from 0 to 19": Store(((1, 20),), 1, axis_form(1), literal(0.0, FLOAT)),
    "used outside its loop": Store((), 1, axis_form(7), literal(0.0, FLOAT)),
    "does not exist": Map((), tile("absent", 1), (ZERO,), literal(0.0, FLOAT)),
    "holds float32, not int32": Store((), 1, ZERO, literal(0, dtypes.int32)),
    "is not an output": Store((), 0, ZERO, literal(0.0, FLOAT)),
    "a reduction inside a value": Store(
        (), 1, ZERO, Reduction(Sum, (5,), Load(0, axis_form(5), (), FLOAT))
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_verifier_refuses(message):
    with pytest.raises(VerifyError, match=message):
        verify_program(program(BAD[message]))


def test_conditions_around_an_access_count_as_known():
    """Twenty positions, of which a When lets the first sixteen through."""
    store = Store((), 1, axis_form(1), Load(0, axis_form(1), (), FLOAT))
    guard = (axis_form(1).scale(-1).shift(15),)
    verify_program(program(For(1, 20, (When(guard, (store,)),))))
    with pytest.raises(VerifyError, match="cannot prove"):
        verify_program(program(For(1, 20, (store,))))
