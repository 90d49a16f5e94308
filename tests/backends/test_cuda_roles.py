"""Products by roles: what the tile programs mean, and what is derived from them.

None of this needs a GPU; benchmarks/h200_products.py runs the same kernels on one.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
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
from tetragrad.backends.cuda.emit.matrix_unit.bulk import panels_of
from tetragrad.backends.cuda.emit.matrix_unit.role_registers import (
    COPYING_REGISTERS,
    MOST_REGISTERS,
    REGISTERS,
    divide_registers,
    role_threads,
)
from tetragrad.backends.cuda.emit.matrix_unit.warpgroup import Operand, accumulator_keys
from tetragrad.backends.cuda.emit.program import emit_program
from tetragrad.backends.cuda.emit.ptx import Builder
from tetragrad.backends.cuda.target import SM_90A
from tetragrad.core import dtypes
from tetragrad.core.errors import UnsupportedError
from tetragrad.core.settings import override, settings
from tetragrad.kernel.affine import axis_form
from tetragrad.nn import functional
from tetragrad.tile.ir import (
    Acquire,
    Channel,
    Commit,
    Copy,
    Dimension,
    Grid,
    Program,
    Release,
    Role,
    Space,
    Tile,
    Wait,
)
from tetragrad.tile.layout import offsets, swizzled
from tetragrad.tile.plans.roles import repack
from tetragrad.tile.plans.roles.role_plan import Raster
from tetragrad.tile.text import program_text

#: Few multiprocessors, so that a worker has several blocks also of small products.
FEW_UNITS = replace(SM_90A, units=3)


def product(m: int, n: int, k: int, order: str = "nn", dtype: str = "bfloat16"):
    """A product of leaves, each of which may be stored the other way round."""
    lhs = leaf(m, k, dtype=dtype) if order[0] == "n" else leaf(k, m, dtype=dtype).T
    rhs = leaf(k, n, dtype=dtype) if order[1] == "n" else leaf(n, k, dtype=dtype).T
    return lhs @ rhs


# --- meaning -------------------------------------------------------------------------

PRODUCTS = {
    "nn": lambda: product(200, 136, 72),
    "nt": lambda: product(136, 304, 200, "nt", "float16"),
    "tn": lambda: product(136, 72, 200, "tn"),
    "tt": lambda: product(72, 136, 136, "tt"),
    "linear": lambda: functional.linear(
        leaf(72, 136, dtype="bfloat16"),
        leaf(100, 136, dtype="bfloat16"),
        leaf(100, dtype="bfloat16"),
    ).relu(),
    "batched": lambda: (
        leaf(2, 3, 40, 72, dtype="bfloat16") @ leaf(2, 3, 72, 24, dtype="bfloat16")
        + leaf(2, 3, 40, 24, dtype="bfloat16")
    ),
    "skinny": lambda: product(8, 512, 256, "nt"),
    "deep": lambda: product(16, 64, 8192),
}


@pytest.mark.parametrize("target", [SM_90A, FEW_UNITS], ids=["many", "few"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_roles_compute_products(name: str, target) -> None:
    programs = planned([PRODUCTS[name]().node], target)
    assert any("Role(multiply" in program_text(program) for _, program in programs)
    check_meaning(programs, 0)


@pytest.mark.parametrize("units", [1, 3, 7])
@pytest.mark.parametrize(
    ("rows", "columns", "group"), [(5, 3, 2), (4, 4, 4), (1, 7, 1)]
)
def test_every_block_is_visited_once(units, rows, columns, group) -> None:
    raster = Raster(rows, columns, group, (2, 3))
    row, column, batch = raster.place(axis_form(0))
    forms = (row, column, *batch)
    seen = []
    for number in range(raster.blocks):
        place = tuple(evaluated(form, number) for form in forms)
        if place[0] < rows:
            seen.append(place)
    wanted = itertools.product(range(rows), range(columns), range(2), range(3))
    assert sorted(seen) == list(wanted)


def evaluated(form, number: int) -> int:
    """A form whose only axis stands at a number."""
    total = form.constant
    for atom, factor in form.terms:
        if isinstance(atom, int):
            total += factor * number
            continue
        inner = evaluated(atom.form, number)
        is_quotient = type(atom).__name__ == "Quotient"
        quotient, remainder = divmod(inner, atom.divisor)
        total += factor * (quotient if is_quotient else remainder)
    return total


def eight_bit_product(m: int, n: int, k: int) -> Tensor:
    """Widened operands; the sums are those of float32."""
    lhs, rhs = (leaf(size, k, dtype="float8_e4m3fn") for size in (m, n))
    wide = lhs.to(tetragrad.float32) @ rhs.to(tetragrad.float32).T
    return wide.to(tetragrad.bfloat16)


@pytest.mark.parametrize("columns", [40, 256])
def test_eight_bit_products_are_summed_outside_of_the_unit(columns: int) -> None:
    programs = planned([eight_bit_product(2056, columns, 272).node], SM_90A)
    ((_, program),) = programs
    assert "Fold(accumulator" in program_text(program)
    check_meaning(programs, 0)
    text = emit_program(program, SM_90A, settings()).text
    assert "k32.f32.e4m3.e4m3" in text
    # Every step starts anew, so no product waits for the one before.
    assert "wait_group.sync.aligned 1" not in text


@pytest.mark.parametrize("order", ["nt", "nn"])
def test_float32_uses_the_unit_only_where_that_is_allowed(order) -> None:
    def node():
        return product(72, 40, 200, order, "float32").node

    assert "Role" not in program_text(planned([node()], SM_90A)[-1][1])
    with override(tf32=True):
        programs = planned([node()], SM_90A)
        # The unit ignores digits.
        check_meaning(programs, 0, apart=0.1)
        text = emit_program(programs[-1][1], SM_90A, settings()).text
        assert "k8.f32.tf32.tf32" in text


UNALIGNED = {
    "both": lambda: product(333, 211, 777),
    "both transposed": lambda: product(333, 211, 777, "tt", "float16"),
    "every other row": lambda: (
        leaf(301, 900, dtype="bfloat16")[::2, 1:] @ leaf(899, 136, dtype="bfloat16")
    ),
    "batched": lambda: (
        leaf(3, 70, 531, dtype="bfloat16") @ leaf(531, 177, dtype="bfloat16")
    ),
}


@pytest.mark.parametrize("name", UNALIGNED)
def test_what_the_engine_cannot_bring_is_copied_or_computed(name: str) -> None:
    ((kernel, program),) = planned([UNALIGNED[name]().node], SM_90A)
    assert program.scratch or "Role(fill" in program_text(program)
    assert "Role(multiply" in program_text(program)
    check_meaning([(kernel, program)], 0)


# --- the channel's protocol ----------------------------------------------------------


def protocol_states(depth: int, steps: int, consumers: int) -> int:
    """Walk through every interleaving of one producer and some consumers.

    The rules are those of matrix_unit/channels.py: a barrier has a phase, a wait for
    a parity passes once the phase with that parity is over. Checks that no slot is
    filled while it is read, or read before it is filled, and that nobody is stuck.
    Returns how many states there are.
    """
    # Producer: (steps begun, is filling); consumers: (steps begun, is reading).
    start = ((0, False), ((0, False),) * consumers)
    seen, stack = {start}, [start]
    while stack:
        state = stack.pop()
        following = list(steps_from(state, depth, steps))
        (made, filling), users = state
        finished = made == steps and not filling
        finished = finished and all(user == (steps, False) for user in users)
        assert following or finished, f"stuck in {state}"
        for entry in following:
            check_slots(entry, depth)
            if entry not in seen:
                seen.add(entry)
                stack.append(entry)
    return len(seen)


def passes(phases_over: int, parity: int) -> bool:
    """Whether a wait returns: the current phase has the other parity."""
    return phases_over % 2 != parity


def steps_from(state, depth: int, steps: int):
    """Every state that one move of one role leads to."""
    (made, filling), users = state
    filled = made - filling
    if filling:
        yield (made, False), users
    elif made < steps:
        slot, turn = made % depth, made // depth
        emptied = min(
            (begun - reading - slot + depth - 1) // depth for begun, reading in users
        )
        if passes(emptied, 1 - turn % 2):
            yield (made + 1, True), users
    for number, (begun, reading) in enumerate(users):
        if reading:
            yield (made, filling), replaced(users, number, (begun, False))
        elif begun < steps:
            slot, turn = begun % depth, begun // depth
            full = (filled - slot + depth - 1) // depth
            if passes(full, turn % 2):
                yield (made, filling), replaced(users, number, (begun + 1, True))


def replaced(users, number: int, user):
    return (*users[:number], user, *users[number + 1 :])


def check_slots(state, depth: int) -> None:
    """No slot is read and filled at once, and what is read was filled before."""
    (made, filling), users = state
    for begun, reading in users:
        assert begun <= made - filling, "read before it was filled"
        if reading and filling:
            assert (begun - 1) % depth != (made - 1) % depth, "read while filled"
        assert made - (begun - reading) <= depth, "filled before it was released"


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("consumers", [1, 2, 3])
def test_channels_in_every_interleaving(depth: int, consumers: int) -> None:
    assert protocol_states(depth, 3 * depth + 1, consumers) > depth


# --- layouts -------------------------------------------------------------------------


@pytest.mark.parametrize("contiguous", [0, 1])
@pytest.mark.parametrize("side", [64, 128, 192])
def test_descriptors_reach_what_layouts_say(contiguous: int, side: int) -> None:
    """The matrix unit's addresses, as the PTX ISA gives them, are the tile's own."""
    dtype, depth = dtypes.bfloat16, 64
    layout = swizzled((depth, side), contiguous, dtype)
    tile = Tile("tile", (depth, side), dtype, Space.SHARED, layout)
    operand = Operand(Builder(), tile, "%r0")
    panel_bytes = tile.shape[1 - contiguous] * 128
    for first, position, step in itertools.product((0, 16, 48), (0, 9, 63), (0, 15)):
        start = 16 * operand.depth_units(first)
        if contiguous == 0:
            # Rows of the side; each has 128 bytes of the depth.
            address = start + position * 128 + step * 2
        else:
            address = start + position // 64 * panel_bytes + step * 128
            address += position % 64 * 2
        address ^= (address >> 7 & 7) << 4
        assert address == 2 * offsets(tile, (first + step, position))
    axes = ((1, depth), (2, side))
    inner, outer = (
        axis_form(axis) for axis, _ in (axes if not contiguous else axes[::-1])
    )
    dimensions = (Dimension(inner, 512, 1), Dimension(outer, 512, 512))
    copy = Copy(axes, tile, 0, axis_form(1), dimensions=dimensions)
    assert len(panels_of(copy)) == (1 if contiguous == 0 else side // 64)


def test_a_swizzle_moves_chunks_only_within_their_row() -> None:
    layout = swizzled((64, 16), 0, dtypes.float16)
    tile = Tile("tile", (64, 16), dtypes.float16, Space.SHARED, layout)
    depth, side = np.meshgrid(np.arange(64), np.arange(16), indexing="ij")
    places = offsets(tile, (depth, side))
    assert sorted(places.ravel()) == list(range(64 * 16))
    assert (places // 64 == side).all()
    # Eight rows of one column of chunks lie in different banks.
    assert len({int(place) % 64 // 8 for place in places[0, :8]}) == 8


def test_accumulators_hold_every_result_once() -> None:
    keys = accumulator_keys(128, 24)
    assert len(set(keys)) == len(keys) == 128 * 24 // 128


# --- registers -----------------------------------------------------------------------


def roles_of(members: int) -> tuple[Role, ...]:
    tile = Tile(
        "tile",
        (64, 64),
        dtypes.bfloat16,
        Space.SHARED,
        swizzled((64, 64), 0, dtypes.bfloat16),
    )
    channel = Channel("ring", (tile,), 2)
    copy = Copy(((1, 64), (2, 64)), tile, 0, axis_form(1), (), channel)
    load = Role("load", 4, (Acquire(channel), copy, Commit(channel)))
    multiply = Role("multiply", 4, (Wait(channel), Release(channel)), (0, members))
    return load, multiply


@pytest.mark.parametrize("members", [1, 2, 3])
def test_registers_of_all_roles_fit(members: int) -> None:
    roles = roles_of(members)
    found = divide_registers(roles)
    if found is None:
        assert REGISTERS // role_threads(roles) >= MOST_REGISTERS
        return
    total = 128 * found["load"] + 128 * members * found["multiply"]
    share = REGISTERS // role_threads(roles) // 8 * 8
    # What the kernel starts with is all there is to be divided.
    assert total <= share * role_threads(roles) <= REGISTERS
    assert found["load"] >= COPYING_REGISTERS
    assert found["multiply"] > share


def test_statements_beside_roles_are_refused() -> None:
    ((_, program),) = planned([product(128, 128, 128).node], SM_90A)
    (grid,) = program.body
    assert isinstance(grid, Grid)
    release = Release(Channel("other", (), 1))
    mixed = replace(program, body=(replace(grid, body=(*grid.body, release)),))
    with pytest.raises(UnsupportedError, match="beside roles"):
        emit_program(mixed, SM_90A, settings())


# --- text ----------------------------------------------------------------------------


def buffers(*shapes: tuple[int, ...]) -> list[Tensor]:
    """Leaves of which nothing is computed, so that they may be large."""
    from tetragrad.graph.leaves import Buffer

    nodes = [Buffer(object(), shape, dtypes.bfloat16, "cuda") for shape in shapes]
    return [Tensor.from_node(node) for node in nodes]


def large(order: str) -> Tensor:
    lhs, rhs = buffers((4096, 4096), (4096, 4096))
    return (lhs if order[0] == "n" else lhs.T) @ (rhs if order[1] == "n" else rhs.T)


def with_bias() -> Tensor:
    lhs, rhs, bias = buffers((8192, 4096), (14336, 4096), (14336,))
    return functional.gelu(lhs @ rhs.T + bias)


def ragged() -> Tensor:
    lhs, rhs = buffers((5000, 5000), (5000, 5000))
    return lhs @ rhs


def skinny() -> Tensor:
    lhs, rhs = buffers((16, 4096), (14336, 4096))
    return lhs @ rhs.T


LARGE = {
    "nn": (lambda: large("nn"), (4, 4)),
    "nt": (lambda: large("nt"), (4, 4)),
    "tn": (lambda: large("tn"), (4, 4)),
    "tt": (lambda: large("tt"), (4, 4)),
    "bias gelu": (with_bias, (4, 4)),
    "ragged": (ragged, (4, 4)),
    "skinny": (skinny, (4, 4)),
}


@pytest.mark.parametrize("name", LARGE)
def test_benchmarked_products_assemble(name: str, tmp_path: Path) -> None:
    make, (first, others) = LARGE[name]
    (program,) = emitted(make(), SM_90A)
    report = assembly_report(program.text, SM_90A, tmp_path)
    assert spilled_bytes(report) == 0, report
    # Among others: "wgmma instructions are serialized".
    assert "warning" not in report and "serialized" not in report, report
    # A step of 64 is four instructions, once before the loop and once in it.
    assert program.text.count("wgmma.mma_async") == first + others
    check_products(program.text, tmp_path)
    assert program.text.count("wgmma.wait_group.sync.aligned 1") == 1
    assert program.text.count("cp.async.bulk.tensor") >= 2
    assert program.text.count("setmaxnreg") in (0, 2)
    # What lies badly is copied by a launch before.
    (*_, launch) = program.launches
    assert launch.shared_bytes <= SM_90A.shared_bytes
    assert launch.blocks <= SM_90A.units


def test_every_wait_for_a_barrier_ends() -> None:
    (program,) = emitted(large("nt"), SM_90A)
    waits = program.text.count("mbarrier.try_wait")
    assert waits == program.text.count("\ttrap;") == 3


def test_neighbours_share_what_is_equal() -> None:
    (program,) = emitted(ragged(), SM_90A)
    assert ".reqnctapercluster 2, 1, 1" in program.text
    copies = re.findall(r"cp\.async\.bulk\.tensor\S*", program.text)
    assert sum("multicast" in copy for copy in copies) == 1
    # Each warp tells both neighbours that it has finished with a slot.
    assert "mapa.shared::cluster" in program.text


def test_what_the_engine_cannot_copy_takes_another_way() -> None:
    rows = Tensor(np.arange(96) % 7).realize()
    gathered = leaf(96, 104, dtype="bfloat16")[rows]
    programs = planned([(gathered @ leaf(104, 96, dtype="bfloat16")).node], SM_90A)
    (_, program) = programs[-1]
    assert isinstance(program, Program)
    assert "Role" not in program_text(program)


def relu_product() -> Tensor:
    return leaf(200, 136, dtype="bfloat16").relu() @ leaf(136, 264, dtype="bfloat16")


def quantised_product() -> Tensor:
    weight = (leaf(264, 136) * 40).to(tetragrad.int8).realize()
    scale = leaf(264, 1, dtype="bfloat16")
    wide = weight.to(tetragrad.bfloat16) * scale
    return leaf(200, 136, dtype="bfloat16") @ wide.T


def channels_apart() -> Tensor:
    """A convolution as PyTorch has it: neighbours in a line are next to one another."""
    image = leaf(2, 64, 12, 12, dtype="bfloat16")
    return image.relu().conv2d(leaf(64, 64, 3, 3, dtype="bfloat16"), padding=1)


STORED_FIRST = {
    "computed": relu_product,
    "quantised": quantised_product,
    "channels apart": channels_apart,
}


@pytest.mark.parametrize("name", STORED_FIRST)
def test_what_is_computed_on_the_way_is_stored_first(name: str, monkeypatch) -> None:
    # Also where the product is too small to be worth it.
    monkeypatch.setattr(repack, "WORTHWHILE", 1e6)
    programs = planned([STORED_FIRST[name]().node], SM_90A)
    assert any(
        program.scratch and "Role(multiply" in program_text(program)
        for _, program in programs
    )
    check_meaning(programs, 0)


def test_large_products_store_what_they_compute() -> None:
    """By a kernel of its own: each element is read by many blocks."""
    lhs, rhs = buffers((4096, 4096), (4096, 4096))
    (first, _), (_, program) = planned([(lhs.gelu() @ rhs).node], SM_90A)
    assert not first.reductions and not program.scratch
    assert "Role(multiply" in program_text(program)
