"""Convolutions by roles: boxes over several axes, zeros of the copy engine's own.

Nothing below the graph knows the word; these are sums of products whose operands are
read at sums of places and offsets, inside limits. benchmarks/h200_convolutions.py runs
the same kernels on a GPU.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

import tetragrad
from tests.backends.cuda_programs import (
    assembly_report,
    check_products,
    emitted,
    planned,
    spilled_bytes,
)
from tests.backends.test_cuda_emit import check_meaning, leaf
from tetragrad import Tensor
from tetragrad.backends.cuda.emit.program import emit_program
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.core import dtypes
from tetragrad.core.settings import settings
from tetragrad.graph.leaves import Buffer
from tetragrad.kernel.affine import Affine, axis_form, divide
from tetragrad.tile.plans.build import cut_kernel
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.plans.roles.bulk import dimensions_of
from tetragrad.tile.plans.roles.cells import (
    Cells,
    box_of,
    digits_of,
    flat_position,
    split_radices,
)
from tetragrad.tile.plans.roles.role_plan import RolePlan
from tetragrad.tile.text import program_text

#: Images, channels, side, filters, their side, stride, padding.
Sizes = tuple[int, int, int, int, int, int, int]


def channels_last(*shape: int, make=leaf) -> Tensor:
    """A tensor of (n, c, h, w) that lies in memory as (n, h, w, c)."""
    n, c, h, w = shape
    return make(n, h, w, c).permute(0, 3, 1, 2)


def half(*shape: int) -> Tensor:
    return leaf(*shape, dtype="bfloat16")


def large(*shape: int) -> Tensor:
    """A leaf of which nothing is computed, so that it may be large."""
    return Tensor.from_node(Buffer(object(), shape, dtypes.bfloat16, "cuda"))


def convolution(what: str, sizes: Sizes, make=half) -> Tensor:
    """The result, or the gradient of the input or the weight, channels last."""
    n, c, side, filters, taps, stride, padding = sizes
    x = channels_last(n, c, side, side, make=make)
    weight = channels_last(filters, c, taps, taps, make=make)
    if what != "result":
        x.requires_grad_()
        weight.requires_grad_()
    y = x.conv2d(weight, stride=stride, padding=padding)
    if what == "result":
        return y.permute(0, 2, 3, 1)
    y.backward(channels_last(*y.shape, make=make))
    gradient = (x if what == "input" else weight).grad
    assert gradient is not None
    return gradient.permute(0, 2, 3, 1)


# --- meaning -------------------------------------------------------------------------

SMALL: dict[str, tuple[str, Sizes]] = {
    "padded": ("result", (1, 64, 9, 64, 3, 1, 1)),
    "strided": ("result", (1, 72, 9, 64, 3, 2, 1)),
    "strided points": ("result", (3, 64, 8, 128, 1, 2, 0)),
    "input": ("input", (1, 64, 9, 64, 3, 1, 1)),
    "input strided": ("input", (2, 64, 8, 64, 3, 2, 1)),
    "weight": ("weight", (8, 64, 8, 64, 3, 1, 1)),
    "weight strided": ("weight", (8, 64, 16, 64, 3, 2, 1)),
}


@pytest.mark.parametrize("name", SMALL)
def test_roles_compute_convolutions(name: str) -> None:
    programs = planned([convolution(*SMALL[name]).node], SM_90A)
    assert any("Role(multiply" in program_text(program) for _, program in programs)
    check_meaning(programs, 0)


# --- text ----------------------------------------------------------------------------

LARGE: dict[str, tuple[str, Sizes]] = {
    f"{what} {sizes}": (what, sizes)
    for what, sizes in itertools.product(
        ("result", "input", "weight"),
        (
            (64, 256, 56, 256, 3, 1, 1),
            (64, 64, 56, 64, 3, 1, 1),
            (64, 512, 7, 512, 3, 1, 1),
            (64, 256, 28, 256, 3, 2, 1),
        ),
    )
}


@pytest.mark.parametrize("name", LARGE)
def test_convolutions_assemble(name: str, tmp_path: Path) -> None:
    (program, *_) = emitted(convolution(*LARGE[name], make=large), SM_90A)
    report = assembly_report(program.text, SM_90A, tmp_path)
    assert spilled_bytes(report) == 0, report
    assert "warning" not in report and "serialized" not in report, report
    # No image is unfolded in memory: boxes of it are copied as they are.
    assert re.search(r"cp.async.bulk.tensor.[45]d", program.text)
    assert program.text.count("wgmma.mma_async") >= 8
    check_products(program.text, tmp_path)


def test_a_stride_is_the_copy_engines() -> None:
    """Every other position is a step of the tensor map, not another copy."""
    tensor = convolution("result", (64, 128, 56, 128, 3, 2, 1), make=large)
    ((_, program),) = planned([tensor.node], SM_90A)
    emitted = emit_program(program, SM_90A, settings())
    (launch,) = emitted.launches
    steps = {entry.steps for entry in launch.maps}
    assert (1, 2, 2, 1) in steps


# --- tensors -------------------------------------------------------------------------


def test_guards_say_which_tensor_an_address_walks_through() -> None:
    sizes = (8, 14, 3, 64)
    image, line, tap, channel = map(axis_form, range(4))
    row = line + tap
    address = image.scale(14 * 64) + row.scale(64) + channel + Affine(-64)
    guard = (row.shift(-1), row.scale(-1).shift(14))
    found = {
        (entry.index, entry.size, entry.stride)
        for entry in dimensions_of(address, guard, sizes) or ()
    }
    assert found == {
        (channel, 64, 1),
        (row.shift(-1), 14, 64),
        (image, 8, 14 * 64),
    }


def test_an_address_beside_its_guard_is_no_tensor() -> None:
    i, j = axis_form(0), axis_form(1)
    assert dimensions_of(i.scale(8) + j, (i + j,), (4, 8)) is None


# --- cells ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "extent", "box"),
    [
        ((56, 56, 64), 128, (8, 8, 2)),
        ((28, 28, 64), 128, (4, 4, 8)),
        ((7, 7, 64), 128, (1, 1, 64)),
        ((200,), 128, (128,)),
    ],
)
def test_boxes_leave_little_unused(sizes, extent, box) -> None:
    assert box_of(sizes, extent) == box


def test_boxes_have_results_side_by_side_where_these_are_so_in_memory() -> None:
    assert box_of((14, 14, 64), 192) == (2, 2, 16)
    assert box_of((14, 14, 64), 224, stored=0) == (16, 2, 1)
    assert box_of((28, 28, 64), 224, stored=0) == (32, 1, 1)


def test_parts_of_a_gradient_lie_as_they_are_computed() -> None:
    """With channels first, taps of a filter are next to one another in the result."""
    weight, image = large(256, 256, 3, 3).requires_grad_(), large(64, 256, 14, 14)
    image.conv2d(weight, padding=1).backward(large(64, 256, 14, 14))
    assert weight.grad is not None
    ((kernel, _),) = planned([weight.grad.node], SM_90A)
    plan = choose_plan(kernel, SM_90A, settings())
    (product,) = (
        part
        for part, grids in zip(cut_kernel(kernel, plan.cuts), plan.stages, strict=True)
        if isinstance(grids[0], RolePlan)
    )
    (output,) = product.outputs
    (nearest,) = (axis for axis, step in output.address.terms if step == 1)
    # Channels, not taps.
    assert product.axes[nearest] == 256


def test_every_position_is_in_one_cell() -> None:
    cells = Cells((0, 1), (6, 5), (4, 2), count=2)
    seen = []
    for block, number in itertools.product(range(cells.blocks), range(16)):
        digits = digits_of(Affine(number), cells.radices, 16)
        places = cells.positions(Affine(block), digits, cells.blocks)
        place = tuple(places[axis].constant for axis in (0, 1))
        if all(end.constant >= 0 for end in cells.ends(places)):
            seen.append(place)
    assert sorted(seen) == list(itertools.product(range(6), range(5)))


def test_digits_are_divided_evenly_or_not_at_all() -> None:
    assert split_radices((8, 4, 2), 16) == [(8, 1), (2, 2), (1, 2)]
    assert split_radices((64, 3), 96) is None
    digits = digits_of(Affine(37), (8, 4, 2), 64)
    assert flat_position((8, 4, 2), digits) == Affine(37)


# --- steps that are left out ---------------------------------------------------------


def strided_input_gradient() -> Tensor:
    return convolution("input", (64, 128, 28, 128, 3, 2, 1), make=large)


def test_taps_beyond_an_edge_are_left_out() -> None:
    """Every other line of the gradient has one tap, the others have two."""
    ((kernel, program),) = planned([strided_input_gradient().node], SM_90A)
    text = program_text(program)
    assert text.count("When(") >= 2
    # One kernel, without a remainder in any address: lines are (14, 2).
    assert kernel.axes[1:3] == (14, 2)


def test_no_product_is_under_way_at_a_branch() -> None:
    """Else ptxas moves what reads the sums above the wait for them."""
    (program,) = emitted(strided_input_gradient(), SM_90A)
    is_under_way, branches = False, 0
    for text in program.text.splitlines():
        if "wgmma.commit_group" in text:
            is_under_way = True
        elif "wgmma.wait_group.sync.aligned 0" in text:
            is_under_way = False
        elif text.strip().startswith("@!%p") and " bra " in text:
            branches += 1
            assert not is_under_way
    assert branches >= 2


def test_an_axis_of_two_carries_in_a_division() -> None:
    whole, rest = divide(axis_form(0).scale(2) + axis_form(1).shift(3), 2, (14, 2))
    assert whole == axis_form(0) + axis_form(1).shift(1)
    assert rest == axis_form(1).scale(-1).shift(1)


@pytest.mark.parametrize(
    ("dtype", "low", "kind"), [("int8", -128, "s8"), ("uint8", 0, "u8")]
)
def test_products_of_small_integers_are_exact(dtype: str, low: int, kind: str) -> None:
    draw = np.random.default_rng(0)
    lhs, rhs = (
        Tensor(draw.integers(low, low + 256, (size, 272)))
        .to(getattr(tetragrad, dtype))
        .realize()
        for size in (72, 104)
    )
    product = lhs.to(tetragrad.int32) @ rhs.to(tetragrad.int32).T
    programs = planned([product.node], SM_90A)
    check_meaning(programs, 0)
    text = emit_program(programs[0][1], SM_90A, settings()).text
    assert f"k32.s32.{kind}.{kind}" in text


def test_zeros_between_results_are_written_with_them() -> None:
    """The gradient of every other point: one product, three outputs of zeros."""
    tensor = convolution("input", (2, 64, 8, 64, 1, 2, 0))
    programs = planned([tensor.node], SM_90A)
    ((_, program),) = programs
    text = program_text(program)
    assert text.count("Store(") == 4 and text.count("staged: ") == 1
    check_meaning(programs, 0)
