"""Choose the blocks of attention by roles, from what fits and what it then takes.

Times are in cycles of one multiprocessor of NVIDIA's Hopper architecture.
"""

from __future__ import annotations

from collections.abc import Iterator

from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.layout import panel_of
from tetragrad.tile.plans.online_roles import (
    COLUMN_STEP,
    DEPTH_STEP,
    OnlineRolePlan,
    rounded,
)
from tetragrad.tile.plans.online_rows import RowForm, row_form
from tetragrad.tile.plans.roles import MEMBER_ROWS

MEMBERS = (2, 3, 1)
MOST_KEYS = 256
STAGES = 2
BARRIER_BYTES = 2048
#: The most columns of one product.
MOST_COLUMNS = 256

#: Registers of a thread for sums, by members; and what else it needs.
REGISTERS = {1: 240, 2: 240, 3: 160}
OTHER_REGISTERS = 40
FOUR_WARPS = 128

#: What each block of rows takes to begin and end, and each block of keys beside its
#: arithmetic; multiplications and scores that a multiprocessor handles in a cycle.
BLOCK_CYCLES = 3000
TURN_CYCLES = 150
MULTIPLICATIONS_PER_CYCLE = 2048
SCORES_PER_CYCLE = 12


def choose_online_roles(kernel: Kernel, target: Target) -> OnlineRolePlan | None:
    """The cheapest plan, or None where the kernel is not made for roles."""
    if "wgmma" not in target.features:
        return None
    rows = row_form(kernel)
    if rows is None:
        return None
    plans = list(_plans(kernel, rows, target))
    return min(
        plans, key=lambda plan: _cycles(kernel, rows, plan, target), default=None
    )


def _plans(kernel: Kernel, rows: RowForm, target: Target) -> Iterator[OnlineRolePlan]:
    """Every division that fits into registers and shared memory."""
    panel = panel_of(rows.queries.dtype)
    depth = rounded(kernel.axes[rows.depth], panel)
    columns = rounded(kernel.axes[rows.form.column], panel)
    if max(depth, columns) > MOST_COLUMNS:
        return
    step = max(
        DEPTH_STEP, rows.keys.side_step, panel if rows.values.is_deep else DEPTH_STEP
    )
    for members in MEMBERS:
        for keys in range(step, MOST_KEYS + 1, step):
            if keys >= kernel.axes[rows.form.passed] + step:
                continue
            plan = OnlineRolePlan(members, keys, STAGES)
            slots = plan.rows * depth + STAGES * keys * (depth + columns)
            nbytes = slots * rows.queries.dtype.itemsize + BARRIER_BYTES
            if nbytes <= target.shared_bytes and _fits_registers(kernel, rows, plan):
                yield plan


def _fits_registers(kernel: Kernel, rows: RowForm, plan: OnlineRolePlan) -> bool:
    """Whether a thread holds its scores, their weights in pairs, and its totals."""
    columns = rounded(kernel.axes[rows.form.column], COLUMN_STEP)
    held = MEMBER_ROWS * (plan.keys + plan.keys // 2 + columns) // FOUR_WARPS
    return held + OTHER_REGISTERS <= REGISTERS[plan.members]


def _cycles(
    kernel: Kernel, rows: RowForm, plan: OnlineRolePlan, target: Target
) -> float:
    """How long a multiprocessor takes for its share of all blocks."""
    sizes, form = kernel.axes, rows.form
    blocks = -(-sizes[form.row] // plan.rows)
    for axis in form.batch:
        blocks *= sizes[axis]
    depth = rounded(sizes[rows.depth], DEPTH_STEP)
    columns = rounded(sizes[form.column], COLUMN_STEP)
    scores = plan.rows * plan.keys
    multiplying = scores * (depth + columns) / MULTIPLICATIONS_PER_CYCLE
    turn = max(multiplying, scores / SCORES_PER_CYCLE) + TURN_CYCLES
    turns = -(-sizes[form.passed] // plan.keys)
    return -(-blocks // target.units) * (BLOCK_CYCLES + turns * turn)
