"""What a device can do at most, measured by kernels of our own.

Two figures bound every kernel: how many operations a second a device performs when
everything is in its registers and nearest cache, and how many bytes a second it moves
when nothing is. They are measured once, in a fraction of a second, and kept on disk
under the machine's name. Devices with memory of their own have none yet: what their
matrix units can do takes more than a loop of small products.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict

from tetragrad.backends.backend import Device, Executable
from tetragrad.core.dtypes import float32
from tetragrad.core.frozen import frozen
from tetragrad.core.settings import cache_folder, settings
from tetragrad.core.target import Target
from tetragrad.engine.assembly import compile_kernel
from tetragrad.engine.memory import allocate
from tetragrad.kernel.affine import ZERO, axis_form
from tetragrad.kernel.cost import Work
from tetragrad.kernel.expression import Load, literal
from tetragrad.kernel.ir import Kernel, Output, Slot
from tetragrad.tile.ir import (
    Alloc,
    Extent,
    For,
    Grid,
    Map,
    Mma,
    Program,
    Space,
    Store,
    Tile,
    TileLoad,
    row_major,
)

#: Products of small tiles: this deep, this often for each unit.
DEPTH = 128
PRODUCTS = 400
#: Too many bytes for any cache, copied by the units in chunks.
COPIED = 1 << 25
#: The best of this many runs counts.
REPEATS = 3

_known: dict[tuple[str, int], Ceilings | None] = {}


@frozen
class Ceilings:
    """Operations (on float32) and bytes a second, of all units together."""

    operations: float
    nbytes: float

    def share(self, work: Work, seconds: float, itemsize: int = 4) -> float:
        """The shortest time that the work could take, over the time it took."""
        # A vector register holds half as many elements of twice the size.
        arithmetic = work.operations / self.operations * max(itemsize / 4, 1.0)
        shortest = max(arithmetic, work.nbytes / self.nbytes)
        return shortest / max(seconds, 1e-9)


def ceilings(device: Device) -> Ceilings | None:
    """The device's ceilings; None for an interpreter and for a GPU."""
    key = (device.name, settings().threads)
    if key not in _known:
        _known[key] = _read_or_measure(device)
    return _known[key]


def _read_or_measure(device: Device) -> Ceilings | None:
    path = cache_folder() / "ceilings.json"
    name = _name(device)
    entries: dict[str, dict[str, float]] = {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return Ceilings(**entries[name])
    except (OSError, ValueError, KeyError, TypeError):
        measured = measure(device)
    if measured is not None and settings().disk_cache:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({**entries, name: asdict(measured)}), "utf-8")
        except OSError:
            pass  # It is measured again next time.
    return measured


def _name(device: Device) -> str:
    target = device.target
    machine = (platform.node(), device.name, target.architecture, target.vector_bytes)
    return "/".join(map(str, (*machine, f"{_units(target)} units")))


def measure(device: Device) -> Ceilings | None:
    """Run both kernels now, on the host's memory."""
    copy = copy_kernel()
    if device.interpret(copy) is not None or not device.has_host_memory:
        return None
    active = settings()
    program = product_program(device.target)
    text = device.emit(program, active)
    product = device.load(device.assemble(text, program))
    program, text = compile_kernel(copy, device, active)
    copied = device.load(device.assemble(text, program))
    operations = 2 * _units(device.target) * PRODUCTS * DEPTH * _block(device.target)
    return Ceilings(
        operations / _best_time(product, (4 * _block(device.target),)),
        2 * COPIED / _best_time(copied, (COPIED, COPIED)),
    )


def _units(target: Target) -> int:
    return settings().threads or target.units


def _rows_and_columns(target: Target) -> tuple[int, int]:
    """A block of results that fits the registers, with enough chains of products."""
    return (12 if target.registers >= 32 else 6), 2 * target.vector_lanes(4)


def _block(target: Target) -> int:
    rows, columns = _rows_and_columns(target)
    return rows * columns


def copy_kernel() -> Kernel:
    """s1[i] = s0[i], for more elements than any cache holds."""
    count = COPIED // 4
    slot, here = Slot(float32, count), axis_form(0)
    output = Output(1, here, Load(0, here, (), float32), (0,))
    return Kernel((count,), (slot, slot), (), (output,))


def product_program(target: Target) -> Program:
    """Each unit multiplies two small tiles over and over; the last result is stored."""
    rows, columns = _rows_and_columns(target)
    lhs = _tile("lhs", (DEPTH, rows), Space.SHARED)
    rhs = _tile("rhs", (DEPTH, columns), Space.SHARED)
    total = _tile("total", (rows, columns), Space.REGISTER)
    unit, step, depth, row, column = range(5)
    block: tuple[Extent, ...] = ((row, rows), (column, columns))
    place = (axis_form(row), axis_form(column))
    address = place[0].scale(columns) + place[1]
    zero = literal(0.0, float32)
    step_body = (
        Alloc(total),
        Map(block, total, place, zero),
        Mma(total, lhs, rhs, rows, columns, DEPTH, (ZERO, ZERO), (ZERO, ZERO)),
        Store(block, 0, address, TileLoad(total, place)),
    )
    fill = (
        Map((block[0],), lhs, (axis_form(depth), place[0]), zero),
        Map((block[1],), rhs, (axis_form(depth), place[1]), zero),
    )
    body = (
        Alloc(lhs),
        Alloc(rhs),
        For(depth, DEPTH, fill),
        For(step, PRODUCTS, step_body),
    )
    grid = Grid(((unit, _units(target)),), body)
    slots = (Slot(float32, rows * columns),)
    return Program("peak_of_products", slots, (), (), (grid,), frozenset({0}))


def _tile(name: str, shape: tuple[int, int], space: Space) -> Tile:
    return Tile(name, shape, float32, space, row_major(shape))


def _best_time(executable: Executable, sizes: Sequence[int]) -> float:
    """Of some runs on zeroed memory of these sizes in bytes."""
    blocks = [allocate(nbytes) for nbytes in sizes]
    for block in blocks:
        block.data[...] = 0
    addresses = [block.address for block in blocks]
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        executable.launch(addresses)
        times.append(time.perf_counter() - start)
    return min(times)
