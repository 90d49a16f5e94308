"""Products of tiles with ordinary arithmetic: any dtype, any target.

A thread owns some columns of the accumulator and all of its rows. For each step of
the depth it reads its columns of one operand and every row of the other; all threads
read the same rows, which shared memory gives to a whole warp at once.
"""

from __future__ import annotations

from tetragrad.backends.cuda.emit.forms import tile_form
from tetragrad.backends.cuda.emit.ptx import Value, register_class
from tetragrad.backends.cuda.emit.spread import Coordinate, Run, Threads
from tetragrad.backends.cuda.emit.values import Values
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.tile.ir import Mma

# Axes that no program has: the depth, and rows and columns of the accumulator.
_DEPTH, _ROW, _COLUMN = -1, -2, -3
#: Steps of the depth that are written out together.
_DEPTH_UNROLLED = 4
#: Rows that are read at once.
_ROWS_TOGETHER = 4


def multiply(values: Values, threads: Threads, product: Mma) -> None:
    """Add a product to the accumulator's elements that this thread holds."""
    values.extents |= {
        _DEPTH: product.depth,
        _ROW: product.rows,
        _COLUMN: product.columns,
    }
    elements = values.registers[product.accumulator.name]
    builder = values.builder
    carriers = {}
    for key, value in elements.items():
        kind = register_class(value.dtype)
        carriers[key] = builder.register(kind)
        builder.move(carriers[key], kind, value)
        elements[key] = Value(carriers[key], value.dtype)
    step = _DEPTH_UNROLLED
    while product.depth % step:
        step //= 2
    counter, more = builder.register("b32"), builder.register("pred")
    again = builder.label()
    builder.line(f"mov.b32 {counter}, 0")
    builder.place(again)
    with builder.scope():
        for position in range(step):
            _one_step(values, threads, product, Coordinate(counter, position))
    for key, value in elements.items():
        builder.move(carriers[key], register_class(value.dtype), value)
        elements[key] = Value(carriers[key], value.dtype)
    builder.line(f"add.s32 {counter}, {counter}, {step}")
    builder.line(f"setp.lt.s32 {more}, {counter}, {product.depth}")
    builder.line(f"@{more} bra {again}")


def _one_step(
    values: Values, threads: Threads, product: Mma, depth: Coordinate
) -> None:
    """One position of the depth: an outer product."""
    elements = values.registers[product.accumulator.name]
    rows = _rows_at(values, product, depth)
    columns = ((_COLUMN, product.columns),)
    for run in threads.on_lanes(columns):
        run.places[_DEPTH] = depth
        place = (
            product.rhs_offset[0] + axis_form(_DEPTH),
            product.rhs_offset[1] + axis_form(_COLUMN),
        )
        storage = values.storages[product.rhs.name]
        form = tile_form(product.rhs, place)
        lanes = values.at(run).read(storage, form, (), True)
        first = run.places[_COLUMN].offset
        for column, right in enumerate(lanes):
            for row, left in enumerate(rows):
                key = (row, first + column)
                elements[key] = _accumulated(values, left, right, elements[key])


def _rows_at(values: Values, product: Mma, depth: Coordinate) -> list[Value]:
    """All rows of the left operand at one position of the depth."""
    storage = values.storages[product.lhs.name]
    rows: list[Value] = []
    width = _ROWS_TOGETHER
    while product.rows % width:
        width //= 2
    place: tuple[Affine, Affine] = (
        product.lhs_offset[0] + axis_form(_DEPTH),
        product.lhs_offset[1] + axis_form(_ROW),
    )
    form = tile_form(product.lhs, place)
    for first in range(0, product.rows, width):
        places = {_DEPTH: depth, _ROW: Coordinate(None, first)}
        lanes = values.at(Run(places, _ROW, width)).read(storage, form, (), True)
        rows += lanes
    return rows


def _accumulated(values: Values, lhs: Value, rhs: Value, total: Value) -> Value:
    lhs, rhs = (values.ops.cast(side, total.dtype) for side in (lhs, rhs))
    if total.dtype.is_floating_point:
        return values.ops.fma(lhs, rhs, total)
    return values.ops.add(values.ops.mul(lhs, rhs), total)
