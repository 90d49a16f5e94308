"""Choose squares of two axes, for what is read along one and stored along another."""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.core.target import Target
from tetragrad.kernel.expression import Load
from tetragrad.kernel.ir import Kernel, combines
from tetragrad.tile.plans.nests.transpose import TransposePlan, crossing_loads
from tetragrad.tile.plans.prepare.cuts import cuttable
from tetragrad.tile.plans.traffic import lane_bytes, points_in

# The least side of a square of positions (16 KiB of float32), and of the smallest that
# is worth one.
SQUARE_SIDE = 64
# Larger squares where they fit this part of the cache, and enough are left.
SHARE_OF_SQUARES = 4
SQUARES_A_UNIT = 4
SHORTEST_SQUARE = 8


def choose_transpose(
    kernel: Kernel, group: tuple[int, ...], target: Target
) -> TransposePlan | None:
    """Squares of two axes, where some load is contiguous along another axis."""
    outputs = [kernel.outputs[number] for number in group]
    axes = outputs[0].axes
    if cuttable(kernel) or combines(outputs):
        return None
    for store_axis in axes:
        if any(entry.address.coefficient(store_axis) != 1 for entry in outputs):
            continue
        for load_axis in axes:
            sizes = (kernel.axes[load_axis], kernel.axes[store_axis])
            if min(sizes) < SHORTEST_SQUARE or load_axis == store_axis:
                continue
            loads = crossing_loads(outputs, load_axis, store_axis)
            if loads:
                return TransposePlan(
                    group,
                    tuple(axis for axis in axes if axis not in (load_axis, store_axis)),
                    load_axis,
                    store_axis,
                    _square_side(kernel, axes, sizes, loads, target),
                    target.vector_lanes(lane_bytes(outputs)),
                    target.line_bytes,
                    target.has_free_iterations,
                )
    return None


def _square_side(
    kernel: Kernel,
    axes: Sequence[int],
    sizes: tuple[int, int],
    loads: Sequence[Load],
    target: Target,
) -> int:
    """The longer the side, the longer the pieces of memory that are read and written.

    Squares stay in a part of the cache, and there are some for each unit.
    """
    side = SQUARE_SIDE
    if target.has_free_iterations:
        # As many bytes of a row, if enough squares are left. What is computed on its
        # way was slower so, in rows that are powers of two apart.
        narrow = max(load.dtype.itemsize for load in loads) <= 2
        enough = points_in(kernel, axes) >= 4 * side**2 * target.units
        copies = all(isinstance(output.value, Load) for output in kernel.outputs)
        return 2 * side if narrow and enough and copies else side
    itemsize = sum(load.dtype.itemsize for load in loads)
    points = points_in(kernel, axes)
    while side < min(sizes):
        longer = 2 * side
        too_large = longer**2 * itemsize > target.cache_bytes // SHARE_OF_SQUARES
        if too_large or points < longer**2 * SQUARES_A_UNIT * target.units:
            break
        side = longer
    return side
