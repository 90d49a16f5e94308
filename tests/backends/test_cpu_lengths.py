"""What would be long to write is a loop or a call, and means the same."""

from __future__ import annotations

import numpy as np

from tetragrad import Tensor
from tetragrad.backends.cpu.emit.lengths import is_written_out
from tetragrad.backends.cpu.emit.merges import with_short_rows
from tetragrad.core import dtypes
from tetragrad.core.settings import settings
from tetragrad.engine.assembly import compile_kernel
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import device as engine_device
from tetragrad.engine.realize import without_markers
from tetragrad.graph import elementwise as ops
from tetragrad.kernel.affine import axis_form
from tetragrad.kernel.expression import Compute, Expression, Load
from tetragrad.tile.ir import For, Store


def text_of(value: Tensor) -> str:
    """The target text of the only kernel that computes a tensor."""
    device = engine_device("cpu")
    nodes = without_markers([value.node])
    _, (lowered,) = kernels_of(nodes, device.target, settings())
    _, text = compile_kernel(lowered.kernel, device, settings())
    return text


def store(width: int, value: Expression) -> Store:
    """slot1[i] = value, over i < width."""
    return Store(((0, width),), 1, axis_form(0), value)


def loaded(kind: type[ops.Elementwise] | None = None) -> Expression:
    """slot0[i], or a function of it."""
    load = Load(0, axis_form(0), (), dtypes.float32)
    return load if kind is None else Compute(kind, dtypes.float32, (load,))


def test_functions_beside_products_stay_calls():
    generator = np.random.default_rng(0)
    x, w = generator.standard_normal((2, 64, 64)).astype(np.float32)
    beside, alone = (Tensor(x) @ Tensor(w)).exp(), Tensor(x).exp()
    assert "@exp_" in text_of(beside)
    assert ") noinline" in text_of(beside) and ") noinline" not in text_of(alone)
    wanted = np.exp(x.astype(np.float64) @ w)
    np.testing.assert_allclose(beside.numpy(), wanted, rtol=1e-4)


def test_rows_of_functions_become_rows_of_one_vector():
    short = with_short_rows(store(64, loaded(ops.Exp)), 32, new_axis=7)
    assert short.axes == ((7, 2), (0, 32))
    assert short.address == axis_form(7).scale(32) + axis_form(0)
    (load,) = short.value.children
    assert isinstance(load, Load) and load.address == short.address


def test_rows_that_leave_a_rest_stay_whole():
    whole = store(40, loaded(ops.Exp))
    assert with_short_rows(whole, 32, new_axis=7) is whole


def test_short_loops_are_written_out_if_they_ask_for_it():
    body = (store(16, loaded()),)
    assert is_written_out(For(1, 4, body, unroll=True))
    assert not is_written_out(For(1, 4, body))


def test_loops_in_loops_are_not_all_written_out():
    inner = For(1, 4, (store(16, loaded()),), unroll=True)
    middle = For(2, 4, (inner,), unroll=True)
    assert is_written_out(middle)
    assert not is_written_out(For(3, 4, (middle,), unroll=True))


def test_loops_of_functions_are_not_written_out():
    assert not is_written_out(For(1, 4, (store(16, loaded(ops.Exp)),), unroll=True))
