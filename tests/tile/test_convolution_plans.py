"""Plans for convolutions: images read directly, and what products may read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.tile.kernels import TARGETS, check, compute, form, kernel_of, load
from tests.tile.test_contraction import convolution
from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Max, Sum
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Load, Reduction, Select, literal
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.tile import simulator
from tetragrad.tile.plans.build import Plan
from tetragrad.tile.plans.nests.choose_slide import choose_slide, choose_slides
from tetragrad.tile.plans.nests.nest import reductions_of
from tetragrad.tile.plans.nests.slide import find_windowed
from tetragrad.tile.plans.prepare.axes import simplify_axes
from tetragrad.tile.plans.products.choose_contraction import choose_contraction
from tetragrad.tile.plans.products.choose_direct import choose_direct
from tetragrad.tile.plans.products.contraction import Block, hosted_contraction
from tetragrad.tile.plans.products.windows import DirectPlan, Sliding, image_of

FLOAT = dtypes.float32
ALL_TARGETS = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@frozen
class Window:
    """How windows slide along a dimension."""

    size: int
    taps: int
    step: int = 1
    spread: int = 1
    pad: int = 0

    @property
    def count(self) -> int:
        reach = self.spread * (self.taps - 1) + 1
        return (self.size + 2 * self.pad - reach) // self.step + 1

    def position(self, axis: int, tap: int) -> Affine:
        return Affine(-self.pad, ((axis, self.step), (tap, self.spread)))

    def inside(self, axis: int, tap: int) -> tuple[Affine, ...]:
        position = self.position(axis, tap)
        return (position, position.scale(-1).shift(self.size - 1)) if self.pad else ()


def convolve(channels: tuple[int, int], down: Window, along: Window) -> Kernel:
    """Axes (n, cout, oh, ow, cin, kh, kw) of two images."""
    inputs, outputs = channels
    area = down.size * along.size
    row, column = down.position(2, 5), along.position(3, 6)
    guard = down.inside(2, 5) + along.inside(3, 6)
    address = form(a0=inputs * area, a4=area) + row.scale(along.size) + column
    image = Load(0, address, guard, FLOAT)
    if guard:
        image = Select(guard, image, literal(0.0, FLOAT))
    taps = down.taps * along.taps
    weight = load(1, form(a1=inputs * taps, a4=taps, a5=along.taps, a6=1))
    total = Reduction(Sum, (4, 5, 6), compute(ops.Mul, image, weight))
    count = down.count * along.count
    address = form(a0=outputs * count, a1=count, a2=along.count, a3=1)
    output = Output(2, address, total, (0, 1, 2, 3))
    sizes = (2 * inputs * area, inputs * outputs * taps, 2 * outputs * count)
    axes = (2, outputs, down.count, along.count, inputs, down.taps, along.taps)
    return kernel_of(axes, [(FLOAT, size) for size in sizes], output)


def reduce_windows(down: Window, along: Window, *, pool: bool) -> Kernel:
    """Axes (c, oh, ow, kh, kw): the largest of a window, or a filter and a cosine."""
    row, column = down.position(1, 3), along.position(2, 4)
    guard = down.inside(1, 3) + along.inside(2, 4)
    area, taps = down.size * along.size, down.taps * along.taps
    address = form(a0=area) + row.scale(along.size) + column
    image = Load(0, address, guard, FLOAT)
    if guard:
        outside = literal(float("-inf") if pool else 0.0, FLOAT)
        image = Select(guard, image, outside)
    weight = load(1, form(a0=taps, a3=along.taps, a4=1))
    if pool:
        value = Reduction(Max, (3, 4), image)
    else:
        total = Reduction(Sum, (3, 4), compute(ops.Mul, image, weight))
        value = compute(ops.Add, compute(ops.Cos, total), load(1, form(a0=taps)))
    count = down.count * along.count
    output = Output(2, form(a0=count, a1=along.count, a2=1), value, (0, 1, 2))
    sizes = (3 * area, 3 * taps, 3 * count)
    axes = (3, down.count, along.count, down.taps, along.taps)
    return kernel_of(axes, [(FLOAT, size) for size in sizes], output)


def direct_plan(kernel: Kernel, target) -> Plan:
    """The plan that reads the image, whatever the model prefers."""
    simple = simplify_axes(kernel)
    contraction = hosted_contraction(simple)
    for swap in (False, True):
        sides = contraction.swapped() if swap else contraction
        found = choose_direct(simple, sides, target, swap=swap)
        if found is not None:
            return Plan((), ((found[0],),))
    raise AssertionError("no image is found")


@pytest.fixture
def strict_products(monkeypatch):
    """Products refuse elements that nothing has written."""
    read_region = simulator.Simulator.region

    def region(*args):
        elements = read_region(*args)
        assert np.isfinite(elements).all()
        return elements

    monkeypatch.setattr(simulator.Simulator, "region", region)


@ALL_TARGETS
@pytest.mark.parametrize("size", [7, 14])
def test_products_read_what_was_written(target, size, strict_products):
    """Memory may hold subnormal numbers, which take a hundred times as long."""
    kernel = convolution(2, 3, 10, size, pad=1, stride=1)
    check(kernel, target, tolerance=1e-4)


WINDOWS = {
    "plain": (Window(9, 3), Window(10, 3)),
    "padded": (Window(7, 3, pad=1), Window(11, 5, pad=2)),
    "stepping": (Window(9, 3, step=2, pad=1), Window(13, 3, step=2, pad=1)),
    "uneven steps": (Window(8, 5, step=2), Window(17, 7, step=3, pad=3)),
    "dilated": (Window(9, 3, spread=2, pad=2), Window(12, 3, spread=3, pad=3)),
    "dilated steps": (Window(9, 3, spread=3), Window(13, 3, step=2, spread=1)),
    "one dimension": (Window(1, 1), Window(40, 5, pad=2)),
    "tall": (Window(20, 4, pad=1), Window(5, 1)),
    "patches and windows": (Window(6, 2, step=2), Window(9, 3)),
}


@ALL_TARGETS
@pytest.mark.parametrize("name", WINDOWS)
def test_image_is_read_directly(target, name, strict_products):
    kernel = convolve((3, 10), *WINDOWS[name])
    plan = direct_plan(kernel, target)
    check(kernel, target, tolerance=1e-4, plan=plan)


@pytest.mark.parametrize("name", ["padded", "uneven steps", "dilated", "tall"])
@pytest.mark.parametrize("pool", [False, True], ids=["filter", "pool"])
def test_reduced_windows_keep_their_image(name, pool):
    target = TARGETS["wide" if pool else "narrow"]
    kernel = reduce_windows(*WINDOWS[name], pool=pool)
    plan = choose_slide(kernel, (0,), target)
    assert plan is not None
    check(kernel, target, tolerance=1e-4, plan=Plan((), ((plan,),)))


def test_two_filters_of_one_image_each_keep_it():
    """Filters that share a kernel must not be slower than in kernels of their own."""
    kernel = reduce_windows(Window(9, 3, pad=1), Window(20, 3, pad=1), pool=False)
    (output,) = kernel.outputs
    second = replace(
        output, slot=len(kernel.slots), value=compute(ops.Neg, output.value)
    )
    (reduction,) = reductions_of([output])
    twice = compute(ops.Mul, reduction.body, reduction.body)
    other = Reduction(Sum, reduction.axes, twice)
    third = replace(output, slot=len(kernel.slots) + 1, value=other)
    slots = (*kernel.slots, kernel.slots[output.slot], kernel.slots[output.slot])
    target = TARGETS["wide"]
    pair = replace(kernel, slots=slots[:-1], outputs=(output, second))
    assert len(choose_slides(pair, (0, 1), target)) == 1
    apart = replace(kernel, slots=slots, outputs=(output, second, third))
    plans = choose_slides(apart, (0, 1, 2), target)
    assert [plan.outputs for plan in plans] == [(0,), (1,), (2,)]
    check(apart, target, tolerance=1e-4, plan=Plan((), (plans,)))


def test_products_of_two_images_are_one_image():
    """Both move alike, so that their product is computed once for each position."""
    kernel = reduce_windows(Window(9, 3), Window(9, 3), pool=True)
    image = kernel.outputs[0].value.body
    both = compute(ops.Mul, image, Load(1, image.address, (), FLOAT))
    value = Reduction(Sum, (3, 4), both)
    output = replace(kernel.outputs[0], value=value)
    slots = (kernel.slots[0], kernel.slots[0], kernel.slots[2])
    kernel = replace(kernel, slots=slots, outputs=(output,))
    plan = choose_slide(kernel, (0,), TARGETS["wide"])
    assert find_windowed(kernel, (0,), plan.columns).operand is both
    check(kernel, TARGETS["wide"], tolerance=1e-4, plan=Plan((), ((plan,),)))


def test_windows_are_found_in_addresses_and_guards():
    """Without padding only addresses tell which axes slide together."""
    for pad in (0, 1):
        windows = Window(9, 3, step=2, pad=pad), Window(9, 3, spread=2, pad=pad)
        kernel = convolve((3, 10), *windows)
        contraction = hosted_contraction(kernel).swapped()
        block = Block((0, 2, 3), 1, windows[0].count)
        image = image_of(kernel, contraction.rhs, contraction.depth, block)
        assert image.planes == (4,)
        assert image.row == Sliding(2, 5, 2, 1, 3)
        assert image.lane == Sliding(3, 6, 1, 2, 3)


def test_patches_do_not_overlap():
    """A weight's rows could be windows too, but share nothing."""
    kernel = convolve((3, 10), Window(9, 3, step=3), Window(9, 3, step=3))
    contraction = hosted_contraction(kernel)
    for sides in (contraction, contraction.swapped()):
        assert choose_direct(kernel, sides, TARGETS["wide"], swap=False) is None


def filter_gradient(channels: int, results: int, taps: int, size: int) -> Kernel:
    """Axes (cin, kh, kw, cout, n, oh, ow): windows of an image are the rows."""
    count = size - taps + 1
    area, other = size * size, count * count
    image = load(0, form(a0=area, a1=size, a2=1, a4=channels * area, a5=size, a6=1))
    upstream = load(1, form(a3=other, a4=results * other, a5=count, a6=1))
    total = Reduction(Sum, (4, 5, 6), compute(ops.Mul, image, upstream))
    address = form(a0=taps * taps, a1=taps, a2=1, a3=channels * taps * taps)
    output = Output(2, address, total, (0, 1, 2, 3))
    sizes = (4 * channels * area, 4 * results * other, channels * results * taps**2)
    axes = (channels, taps, taps, results, 4, count, count)
    return kernel_of(axes, [(FLOAT, size) for size in sizes], output)


def test_rows_that_are_packed_at_once_lie_in_one_block():
    """A shallower block of the depth lets them, so columns are packed once."""
    kernel = simplify_axes(filter_gradient(32, 32, 5, 24))
    plan = choose_contraction(kernel, hosted_contraction(kernel), TARGETS["middle"])
    rows = plan.rows.size(kernel) * plan.rows.chunks(kernel)
    assert rows == 32 * 5 * 5 and plan.rows.chunks(kernel) == 1
    assert 64 <= plan.depth.size(kernel) < 400


def test_an_operand_that_is_computed_is_read_as_an_image():
    """Packing windows would compute each element for every tap."""
    window = Window(8, 3, pad=1)
    plain = convolve((64, 64), window, window)
    (output,) = plain.outputs
    image, weight = output.value.body.inputs
    moved = Load(0, image.inside.address.shift(64), image.guard, FLOAT)
    other = Select(image.guard, moved, image.outside)
    both = compute(ops.Mul, compute(ops.Add, image, other), other)
    value = Reduction(Sum, (4, 5, 6), compute(ops.Mul, both, weight))
    kernel = simplify_axes(replace(plain, outputs=(replace(output, value=value),)))
    plan = choose_contraction(kernel, hosted_contraction(kernel), TARGETS["wide"])
    assert isinstance(plan, DirectPlan)
