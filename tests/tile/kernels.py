"""Kernels written by hand, and the check that a plan computes what they mean."""

from __future__ import annotations

import numpy as np

from tetragrad.backends.reference.kernel import run_kernel
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.settings import settings
from tetragrad.core.target import Target
from tetragrad.graph import elementwise as ops
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Compute, Expression, Load
from tetragrad.kernel.ir import Kernel, Output, Slot
from tetragrad.tile.plans.build import Plan, build
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.simulator import run_program
from tetragrad.tile.text import program_text
from tetragrad.tile.verify import verify_program

TARGETS = {
    "narrow": Target("cpu", "test", units=2, vector_bytes=16, registers=16),
    "middle": Target("cpu", "test", units=1, vector_bytes=32, registers=16),
    "wide": Target("cpu", "test", units=4, vector_bytes=64, registers=32),
}


def form(constant: int = 0, /, **coefficients: int) -> Affine:
    """``form(2, a0=8, a1=1)`` is 2 + 8*a0 + a1."""
    terms = tuple(
        (int(name[1:]), part) for name, part in sorted(coefficients.items()) if part
    )
    return Affine(constant, terms)


def load(slot: int, address: Affine, dtype: DType = dtypes.float32) -> Expression:
    return Load(slot, address, (), dtype)


def compute(op: type[ops.Elementwise], *inputs: Expression) -> Expression:
    dtype = dtypes.bool_ if op in (ops.Lt, ops.Eq) else inputs[-1].dtype
    return Compute(op, dtype, inputs)


def kernel_of(
    axes: tuple[int, ...], slots: list[tuple[DType, int]], *outputs: Output
) -> Kernel:
    return Kernel(axes, tuple(Slot(*slot) for slot in slots), (), outputs)


def random_buffer(generator: np.random.Generator, slot: Slot) -> np.ndarray:
    if slot.dtype.is_bool:
        return generator.random(slot.numel) < 0.5
    if slot.dtype.is_integer:
        return generator.integers(0, 5, slot.numel).astype(slot.dtype.numpy)
    return generator.standard_normal(slot.numel).astype(slot.dtype.numpy)


def check(
    kernel: Kernel,
    target: Target = TARGETS["narrow"],
    plan: Plan | None = None,
    buffers: dict[int, np.ndarray] | None = None,
    tolerance: float = 2e-5,
) -> Plan:
    """The simulated program computes what the kernel's interpreter does."""
    generator = np.random.default_rng(0)
    inputs = [random_buffer(generator, slot) for slot in kernel.slots]
    for slot, values in (buffers or {}).items():
        inputs[slot] = values
    expected = [values.copy() for values in inputs]
    found = [values.copy() for values in inputs]
    run_kernel(kernel, expected)
    plan = plan or choose_plan(kernel, target, settings())
    program = build(kernel, plan, target)
    verify_program(program)
    assert program_text(program)
    run_program(program, found)
    for slot, wanted, got in zip(kernel.slots, expected, found, strict=True):
        if slot.dtype.is_floating_point:
            limit = max(tolerance, 2.0 ** -{16: 7, 32: 16, 64: 40}[slot.dtype.bits])
            wanted, got = wanted.astype(np.float64), got.astype(np.float64)
            np.testing.assert_allclose(got, wanted, rtol=limit, atol=limit)
        else:
            np.testing.assert_array_equal(got, wanted)
    return plan
