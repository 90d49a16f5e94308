"""A wrong kernel is refused, one test for each thing that can be wrong."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tetragrad.core import dtypes
from tetragrad.core.errors import VerifyError
from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Max, Sum
from tetragrad.kernel.affine import ZERO, Affine, combine, of_atom
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Indexed,
    Load,
    Position,
    Quotient,
    Reduction,
    Remainder,
    Scalar,
    Scan,
    Select,
    anything,
    literal,
)
from tetragrad.kernel.ir import Kernel, Mode, Output, Slot
from tetragrad.kernel.verify import verify_kernel

FLOAT, INT = dtypes.float32, dtypes.int64
ROWS, COLUMNS = 6, 8
ZERO_VALUE = literal(0.0, FLOAT)


def form(constant: int, *coefficients: int) -> Affine:
    return combine(constant, list(enumerate(coefficients)))


HERE = form(0, COLUMNS, 1)


def load(address: Affine = HERE, guard: Guard = (), slot: int = 0) -> Load:
    return Load(slot, address, guard, INT if slot == 1 else FLOAT)


def kernel(
    value: Expression,
    address: Affine = HERE,
    axes: Sequence[int] = (0, 1),
    guard: Guard = (),
    mode: Mode = Mode.STORE,
    sizes: Sequence[int] = (ROWS, COLUMNS),
) -> Kernel:
    """s2[8*a0 + a1] = value, with s0 floats and s1 integers to read."""
    elements = ROWS * COLUMNS
    slots = (Slot(FLOAT, elements), Slot(INT, elements), Slot(FLOAT, elements))
    output = Output(2, address, value, tuple(axes), guard, mode)
    return Kernel(tuple(sizes), slots, (FLOAT,), (output,))


def add(lhs: Expression, rhs: Expression) -> Compute:
    return Compute(ops.Add, lhs.dtype, (lhs, rhs))


INDEX = load(slot=1)
RAW = of_atom(anything(INDEX))
RAW_GUARD = (RAW, RAW.scale(-1).shift(ROWS - 1))
PICKED = of_atom(Indexed(INDEX, 0, ROWS - 1)).scale(COLUMNS) + form(0, 0, 1)
LAST_ROW = form(4, -1)  # a0 <= 4
AS_FLOAT = Compute(ops.Cast, FLOAT, (Position(form(-2, 1), dtypes.uint32),))

GOOD = {
    "elementwise": kernel(add(load(), Scalar(0, FLOAT))),
    "softmax's maximum": kernel(add(load(), Reduction(Max, (1,), load()))),
    "shifted": kernel(
        Select((LAST_ROW,), load(HERE.shift(COLUMNS), (LAST_ROW,)), ZERO_VALUE)
    ),
    "gather": kernel(Select(RAW_GUARD, load(PICKED, RAW_GUARD), ZERO_VALUE)),
    "scatter": kernel(load(), PICKED, guard=RAW_GUARD, mode=Mode.ADD),
    "scan": kernel(Scan(Sum, 1, load(), False)),
    "a position that is negative only where nobody reads it": kernel(
        Select((form(-2, 1),), AS_FLOAT, ZERO_VALUE)
    ),
    "divided": kernel(
        load(of_atom(Quotient(HERE, 5, 10)).scale(4) + of_atom(Remainder(HERE, 5)))
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_sound_kernels_pass(name: str) -> None:
    verify_kernel(GOOD[name])


def two_outputs(first: int, second: int) -> Kernel:
    good = kernel(load())
    outputs = tuple(Output(slot, HERE, load(), (0, 1)) for slot in (first, second))
    return Kernel(good.axes, good.slots, good.scalars, outputs)


WRONG = {
    "axis a1 has size 1: it needs no loop": kernel(load(), sizes=(6, 1)),
    "an output stores to s3; there are 3 slots": two_outputs(2, 3),
    "two outputs store to s2": two_outputs(2, 2),
    "the store to s2 has int64; the slot holds float32": kernel(load(slot=1)),
    "the store to s2 depends on a1, but runs over others": kernel(
        load(), form(0, COLUMNS), axes=(0,)
    ),
    "the store to s2, [a0 + a1], overwrites elements along": kernel(
        load(), form(0, 1, 1)
    ),
    "the store to s2, [a1], overwrites elements along a0": kernel(
        load(), form(0, 0, 1)
    ),
    "address of the store to s2 is < 48": kernel(load(), HERE.shift(1)),
    "uses axis a2; there are 2 axes": kernel(load(form(0, 0, 0, 1))),
    "the guard a0 >= 0 always holds": kernel(load(guard=(form(0, 1),))),
    "the guard a0 - 6 >= 0 never holds": kernel(
        Select((form(-6, 1),), load(), ZERO_VALUE)
    ),
    "repeats a guard": kernel(load(guard=(LAST_ROW, LAST_ROW))),
    "nothing proves that the address of s0[8*a0 + a1 - 1] is >= 0": kernel(
        load(HERE.shift(-1))
    ),
    "nothing proves that the address of s0[8*a0 + a1 + 8] is < 48": kernel(
        load(HERE.shift(COLUMNS))
    ),
    "nothing proves that the address of s0[a1 + 8*<s1[8*a0 + a1]>] is >= 0": kernel(
        load(PICKED)
    ),
    "divides a form >= 0": kernel(load(of_atom(Remainder(form(-1, 1), 5)))),
    "is < 2": kernel(load(of_atom(Quotient(HERE, 5, 2)))),
    "is float32 or int64": kernel(Select((LAST_ROW,), load(), literal(0, INT))),
    "is an index of dtype float32": kernel(load(of_atom(Indexed(load(), 0, 5)))),
    "reads s5; there are 3 slots": kernel(load(slot=5)),
    "has float32; the slot holds int64": kernel(Load(1, HERE, (), FLOAT)),
    "reads a slot that the kernel stores to": kernel(load(slot=2)),
    "c1 does not exist; there are 1 scalars": kernel(Scalar(1, FLOAT)),
    "c0 has int64; float32 is given at launch": kernel(
        Compute(ops.Cast, FLOAT, (Scalar(0, INT),))
    ),
    "counts in float32": kernel(Position(HERE, FLOAT)),
    "(100*a0) is 0 to 500, beyond what int8 holds": kernel(
        Compute(ops.Cast, FLOAT, (Position(form(0, 100), dtypes.int8),))
    ),
    "(a0 - 2) is -2 to 3, beyond what uint32 holds": kernel(
        add(AS_FLOAT, Select((form(-2, 1),), AS_FLOAT, ZERO_VALUE))
    ),
    "runs over no axis, or over one twice": kernel(Reduction(Sum, (1, 1), load())),
    "runs over a7; there are 2 axes": kernel(Reduction(Sum, (7,), load())),
    "add takes 2 values; it is given 1": kernel(Compute(ops.Add, FLOAT, (load(),))),
    "add of float32, int64 is not float32": kernel(
        Compute(ops.Add, FLOAT, (load(), load(slot=1)))
    ),
    "lt of float32, float32 is not float32": kernel(
        Compute(ops.Lt, FLOAT, (load(), load()))
    ),
    "where of float32, float32, float32 is not float32": kernel(
        Compute(ops.Where, FLOAT, (load(), load(), load()))
    ),
    "bitcast of float32 is not int64": kernel(
        Compute(ops.Cast, FLOAT, (Compute(ops.Bitcast, INT, (load(),)),))
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_kernels_are_refused(message: str) -> None:
    with pytest.raises(VerifyError) as caught:
        verify_kernel(WRONG[message])
    assert message in str(caught.value)


def test_nothing_is_stored_at_one_place_by_all_points() -> None:
    with pytest.raises(VerifyError, match="overwrites elements along a0"):
        verify_kernel(kernel(load(), ZERO))
