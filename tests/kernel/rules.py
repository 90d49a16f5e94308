"""Check a rewrite: the text it gives, and the same values on random data."""

from __future__ import annotations

import numpy as np

from tetragrad.backends.reference.kernel import Interpreter
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.kernel.affine import Affine, combine
from tetragrad.kernel.expression import Expression, Load, Position
from tetragrad.kernel.ir import Kernel, Output, Slot
from tetragrad.kernel.text import expression_text

#: Slot 0 holds floats, slot 1 indices of which some are out of range.
ELEMENTS = 64
SLOTS = (Slot(dtypes.float32, ELEMENTS), Slot(dtypes.int64, ELEMENTS))


def form(constant: int, *coefficients: int) -> Affine:
    """``form(1, 4, 2)`` is 4*a0 + 2*a1 + 1."""
    return combine(constant, list(enumerate(coefficients)))


def load(*coefficients: int, constant: int = 0, guard: tuple[Affine, ...] = ()) -> Load:
    """A float of slot 0."""
    return Load(0, form(constant, *coefficients), guard, dtypes.float32)


def index(*coefficients: int) -> Load:
    """An integer of slot 1."""
    return Load(1, form(0, *coefficients), (), dtypes.int64)


def position(
    constant: int, *coefficients: int, dtype: DType = dtypes.int64
) -> Position:
    """The value of a form."""
    return Position(form(constant, *coefficients), dtype)


def evaluate(expression: Expression, sizes: tuple[int, ...], seed: int) -> np.ndarray:
    """The expression's values at every point of its free axes."""
    random = np.random.default_rng(seed)
    buffers = [
        random.integers(-4, 5, ELEMENTS).astype(np.float32),
        random.integers(-3, max(sizes) + 3, ELEMENTS),
        np.zeros(ELEMENTS, expression.dtype.numpy),
    ]
    axes = tuple(sorted(expression.free_axes))
    output = Output(2, form(0), expression, axes)
    slots = (*SLOTS, Slot(expression.dtype, ELEMENTS))
    interpreter = Interpreter(Kernel(sizes, slots, (), (output,)), buffers, ())
    _, _, values = interpreter.evaluate(output)
    return values


def check_rule(
    before: Expression, after: Expression, text: str, sizes: tuple[int, ...]
) -> None:
    """``after`` reads as ``text`` and has the values of ``before``."""
    assert expression_text(after) == text
    for seed in range(5):
        full = evaluate(before, sizes, seed)
        changed = np.broadcast_to(evaluate(after, sizes, seed), full.shape)
        np.testing.assert_array_equal(changed, full)
