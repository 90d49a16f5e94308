"""Convolutions with fewer multiplications: the transforms, and plans that use them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.tile.kernels import TARGETS, check, form, kernel_of, load
from tests.tile.test_convolution_plans import (
    FLOAT,
    Window,
    compute,
    convolve,
    filter_gradient,
    strict_products,
)
from tetragrad.core.settings import override, settings
from tetragrad.graph import elementwise as ops
from tetragrad.graph.reduce import Sum
from tetragrad.kernel.expression import Load, Reduction, Select, literal
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.tile.plans.build import Plan
from tetragrad.tile.plans.choose import choose_plan, choose_stage
from tetragrad.tile.plans.prepare.axes import simplify_axes
from tetragrad.tile.plans.products.choose_winograd import ways_to_transform
from tetragrad.tile.plans.products.choose_winograd_sums import ways_to_sum
from tetragrad.tile.plans.products.contraction import hosted_contraction
from tetragrad.tile.plans.products.winograd import (
    POINT_COUNTS,
    TILES,
    Filters,
    Transform,
)
from tetragrad.tile.plans.products.winograd_sums import WinogradSumsPlan

__all__ = ["strict_products"]

SHAPES = [(tile, points - tile + 1) for points in POINT_COUNTS for tile in TILES]


@pytest.mark.parametrize(("tile", "taps"), SHAPES)
def test_transforms_give_the_convolution(tile, taps):
    """Exactly, in fractions: A((G g) * (B x)) is the sums over all windows."""
    transform = Transform(tile, taps)
    random = np.random.default_rng(tile)
    image = [Fraction(int(value)) for value in random.integers(-9, 9, transform.points)]
    taps_of = [Fraction(int(value)) for value in random.integers(-9, 9, taps)]

    def applied(matrix, values):
        return [sum(map(Fraction.__mul__, row, values)) for row in matrix]

    products = map(
        Fraction.__mul__,
        applied(transform.filters, taps_of),
        applied(transform.image, image),
    )
    found = applied(transform.results, list(products))
    wanted = [
        sum(image[start + place] * taps_of[place] for place in range(taps))
        for start in range(tile)
    ]
    assert found == wanted


def test_what_multiplies_an_image_is_exact():
    """Its rounding would be that of a difference of large numbers."""
    for points in POINT_COUNTS:
        for row in Transform(2, points - 1).image:
            assert all(float(entry) == entry for entry in row)


def plans_of(kernel: Kernel, target) -> list[Plan]:
    """Every way to transform a kernel, with the same blocks for each transform."""
    simple = simplify_axes(kernel)
    contraction = hosted_contraction(simple)
    found = []
    for swap in (False, True):
        sides = contraction.swapped() if swap else contraction
        for filters, plan, _ in ways_to_transform(simple, sides, target, swap=swap):
            first, _ = filters.divide(simple)
            found.append(Plan((filters,), (choose_stage(first, target), (plan,))))
    return found


WINDOWS = {
    "padded": (4, Window(7, 3, pad=1), Window(6, 5, pad=2)),
    "even taps": (8, Window(8, 4, pad=2), Window(5, 2)),
    "dilated lanes": (6, Window(9, 5), Window(8, 3, spread=2, pad=2)),
    "no taps of lanes": (16, Window(9, 3, pad=1), Window(5, 1)),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_tiles_are_multiplied(name, strict_products):
    """Each transform, with blocks of one image and of two."""
    channels, *windows = WINDOWS[name]
    kernel, target = convolve((channels, 9), *windows), TARGETS["middle"]
    plans = plans_of(kernel, target)
    transforms = {plan.stages[1][0].transform for plan in plans}
    assert len(transforms) >= 2
    for number, transform in enumerate(sorted(transforms, key=lambda one: one.tile)):
        blocks = [plan for plan in plans if plan.stages[1][0].transform == transform]
        plan = blocks[-1] if number % 2 else blocks[0]
        check(kernel, target, tolerance=1e-3, plan=plan)


def input_gradient(groups: int) -> Kernel:
    """Axes (g, n, cin, ih, iw, cout, kh, kw): windows of an image read backwards."""
    size, taps, channels = 6, 3, 8
    count = size - taps + 1
    area, other = size * size, count * count
    place = form(a3=1, a6=-1)
    along = form(a4=1, a7=-1)
    guard = tuple(
        bound
        for entry in (place, along)
        for bound in (entry, entry.scale(-1).shift(count - 1))
    )
    address = form(a0=channels * other, a1=groups * channels * other, a5=other)
    address = address + place.scale(count) + along
    upstream = Select(guard, Load(0, address, guard, FLOAT), literal(0.0, FLOAT))
    window = taps * taps
    weight = load(
        1, form(a0=channels**2 * window, a2=window, a5=channels * window, a6=taps, a7=1)
    )
    total = Reduction(Sum, (5, 6, 7), compute(ops.Mul, upstream, weight))
    stored = form(
        a0=channels * area, a1=groups * channels * area, a2=area, a3=size, a4=1
    )
    output = Output(2, stored, total, (0, 1, 2, 3, 4))
    images = 2 * groups * channels
    sizes = (images * other, groups * channels**2 * window, images * area)
    axes = (groups, 2, channels, size, size, channels, taps, taps)
    return kernel_of(axes, [(FLOAT, entry) for entry in sizes], output)


@pytest.mark.parametrize("groups", [1, 3])
def test_gradients_of_images_are_multiplied_in_tiles(groups, strict_products):
    kernel, target = input_gradient(groups), TARGETS["middle"]
    plans = plans_of(kernel, target)
    assert plans
    for plan in plans[:: -(-len(plans) // 2)]:
        check(kernel, target, tolerance=1e-3, plan=plan)


def test_several_images_lie_in_one_block():
    """Vectors run from one to the next where an image is narrow."""
    kernel = simplify_axes(convolve((64, 64), Window(8, 3), Window(8, 3)))
    sides = hosted_contraction(kernel).swapped()
    target = replace(TARGETS["wide"], units=1)
    ways = ways_to_transform(kernel, sides, target, swap=True)
    _, plan, _ = min(ways, key=lambda way: way[2])
    assert plan.images == 2


def sums_of(kernel: Kernel, target) -> list[WinogradSumsPlan]:
    """Every way to sum a filter's gradient in tiles."""
    contraction = hosted_contraction(kernel)
    return [
        plan
        for swap in (False, True)
        for plan, _ in ways_to_sum(
            kernel,
            contraction.swapped() if swap else contraction,
            target,
            swap=swap,
        )
    ]


@pytest.mark.parametrize(
    ("channels", "results", "taps", "size"),
    [(5, 9, 3, 9), (3, 17, 5, 10), (4, 8, 2, 6)],
)
def test_gradients_of_filters_are_summed_in_tiles(
    channels, results, taps, size, strict_products
):
    """Few tiles at a time and many, with all channels and with parts of them."""
    kernel = simplify_axes(filter_gradient(channels, results, taps, size))
    target = TARGETS["middle"]
    plans = sums_of(kernel, target)
    assert len({plan.transform for plan in plans}) >= 2
    for plan in plans[:: -(-len(plans) // 3)]:
        check(kernel, target, tolerance=2e-3, plan=Plan((), ((plan,),)))


def test_the_gradient_of_a_layer_is_summed_in_tiles():
    kernel = filter_gradient(32, 32, 5, 24)
    plan = choose_plan(kernel, TARGETS["wide"], settings())
    grids = [grid for stage in plan.stages for grid in stage]
    assert any(isinstance(grid, WinogradSumsPlan) for grid in grids)


def test_the_model_decides():
    """Deep sums over several rows of taps are worth it; a setting turns it off."""
    window = Window(18, 3, pad=1)
    deep, shallow = (
        convolve((32, 32), window, window),
        convolve((1, 32), window, window),
    )
    stepping = Window(18, 3, step=2)
    target = TARGETS["wide"]

    def is_transformed(kernel: Kernel) -> bool:
        plan = choose_plan(kernel, target, settings())
        return any(isinstance(cut, Filters) for cut in plan.cuts)

    assert is_transformed(deep)
    assert not is_transformed(shallow)
    assert not is_transformed(convolve((32, 32), stepping, stepping))
    with override(winograd=False):
        assert not is_transformed(deep)
