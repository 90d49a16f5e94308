"""Choose the blocks of attention by roles, from what fits and what it then takes.

Times are in cycles of one multiprocessor of NVIDIA's Hopper architecture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean as mean

from tetragrad.core.target import Target
from tetragrad.kernel.affine import axis_form
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.layout import panel_of
from tetragrad.tile.plans.online.online import needed_blocks
from tetragrad.tile.plans.prepare.even_rows import EvenRows
from tetragrad.tile.plans.prepare.pass_parts import PassParts
from tetragrad.tile.plans.products.operands import placed_along
from tetragrad.tile.plans.roles.boxes import COLUMN_STEP, DEPTH_STEP, rounded
from tetragrad.tile.plans.roles.online_roles import OnlineRolePlan
from tetragrad.tile.plans.roles.online_rows import RowForm, loads_beside, row_form
from tetragrad.tile.plans.roles.role_plan import MEMBER_ROWS, STAGED_PADDING_BYTES
from tetragrad.tile.plans.roles.row_blocks import balanced_workers
from tetragrad.tile.plans.scope import Builder, Scope

MEMBERS = (2, 3, 1)
#: So many scores take longer to load a mask for than it takes to store it again.
WORTH_STORING = 1 << 20
MOST_KEYS = 256
STAGES = 2
#: What barriers take at most, and what a channel begins at a multiple of.
BARRIER_BYTES = 2176
ALIGNMENT_BYTES = 1024
#: The most columns of one product.
MOST_COLUMNS = 256
#: Columns of results that are staged at once; 0 stores them as they lie.
PIECES = (64, 32, 16, 0)
#: Registers of a thread for sums, by members; and what else it needs.
REGISTERS = {1: 240, 2: 240, 3: 160}
OTHER_REGISTERS = 40
FOUR_WARPS = 128

#: What each block of rows takes to begin and end, and each block of keys beside its
#: arithmetic; multiplications in a cycle, of which a part is reached, and scores that
#: become weights in a cycle, by members.
BLOCK_CYCLES = 3000
TURN_CYCLES = 400
MULTIPLICATIONS_PER_CYCLE = 2048
REACHED = 0.8
SCORES_PER_CYCLE = {1: 4.0, 2: 7.3, 3: 8.0}
#: What another kernel takes that combines parts of the keys, each part of it, and what
#: parts write and it reads; and keys that the length of a part is a multiple of.
COMBINING_CYCLES = 4000
PART_CYCLES = 40
ELEMENTS_PER_CYCLE = 256
PART_STEP = 64


def choose_online_roles(kernel: Kernel, target: Target) -> OnlineRolePlan | None:
    """The cheapest plan, or None where the kernel is not made for roles."""
    if not target.has_roles:
        return None
    rows = row_form(kernel)
    if rows is None:
        return None
    plans = list(_plans(kernel, rows, target))
    if not plans:
        return None
    # What is beside the scores is loaded a few bytes at a time if it is not brought.
    plans = [plan for plan in plans if plan.brings_beside] or plans
    plan = min(plans, key=lambda plan: _cycles(kernel, rows, plan, target))
    for piece in PIECES:
        staged = replace(plan, piece=piece)
        if _shared_bytes(kernel, rows, staged) <= target.shared_bytes:
            break
    # The next block's queries come before this one has finished with its own.
    workers = _workers(kernel, rows, plan, target)
    ahead = replace(staged, workers=workers, query_stages=2)
    if _shared_bytes(kernel, rows, ahead) <= target.shared_bytes:
        return ahead
    return replace(ahead, query_stages=1)


def choose_even_rows(kernel: Kernel) -> list[EvenRows]:
    """What lies beside the scores in rows that the copy engine cannot bring."""
    rows = row_form(kernel)
    assert rows is not None, "a plan by roles"
    brought = [entry.load for entry in rows.beside]
    scores = (*rows.form.batch, rows.form.row, rows.form.passed)
    if math.prod(kernel.axes[axis] for axis in scores) < WORTH_STORING:
        return []
    return [
        EvenRows(entry.slot, rows.form.passed)
        for entry in loads_beside(rows.form, rows.logits)
        if entry not in brought
        and entry.address.is_pure()
        and entry.address.coefficient(rows.form.passed) == 1
    ]


def choose_pass_parts(
    kernel: Kernel, plan: OnlineRolePlan, target: Target
) -> PassParts | None:
    """In how long parts keys are carried by themselves, if that pays.

    Where blocks of rows are fewer than multiprocessors, parts of the keys occupy the
    others, and another kernel combines them.
    """
    rows = row_form(kernel)
    assert rows is not None, "a plan by roles"
    blocks, turns = plan.blocks(kernel, rows.form), mean(_turns(kernel, rows, plan))
    if blocks >= target.units:
        return None
    turn, size = _turn_cycles(kernel, rows, plan), kernel.axes[rows.form.passed]

    def cycles(parts: int) -> float:
        waves = -(-blocks * parts // target.units)
        alone = waves * (BLOCK_CYCLES + turn * -(-turns // parts))
        return alone + _combining_cycles(kernel, rows, parts)

    best = min(range(1, -(-size // plan.keys) + 1), key=cycles)
    if best == 1:
        return None
    return PassParts(rounded(-(-size // best), PART_STEP))


def _combining_cycles(kernel: Kernel, rows: RowForm, parts: int) -> float:
    """What combining so many parts takes: a launch, and their way through memory."""
    if parts == 1:
        return 0.0
    axes = (*rows.form.batch, rows.form.row, rows.column)
    elements = parts * math.prod(kernel.axes[axis] for axis in axes)
    return COMBINING_CYCLES + PART_CYCLES * parts + elements / ELEMENTS_PER_CYCLE


def _plans(kernel: Kernel, rows: RowForm, target: Target) -> Iterator[OnlineRolePlan]:
    """Every division that fits into registers and shared memory."""
    panel = panel_of(rows.queries.dtype)
    depth, columns = _features(kernel, rows, panel)
    if max(depth, columns) > MOST_COLUMNS:
        return
    values_step = panel if rows.values.is_deep else DEPTH_STEP
    step = max(rows.keys.side_step, values_step)
    panels = [panel_of(entry.dtype) for entry in rows.beside]
    for members in MEMBERS:
        for keys in range(step, MOST_KEYS + 1, step):
            if keys >= kernel.axes[rows.form.passed] + step:
                continue
            is_whole = bool(panels) and all(keys % panel == 0 for panel in panels)
            for brings_beside in {False, is_whole}:
                plan = OnlineRolePlan(members, keys, STAGES)
                plan = replace(plan, brings_beside=brings_beside)
                fits = _shared_bytes(kernel, rows, plan) <= target.shared_bytes
                if fits and _fits_registers(kernel, rows, plan):
                    yield plan


def _features(kernel: Kernel, rows: RowForm, step: int) -> tuple[int, int]:
    """Features of a query and of a value, in whole steps."""
    depth = rounded(kernel.axes[rows.depth], step)
    return depth, rounded(kernel.axes[rows.column], step)


def _shared_bytes(kernel: Kernel, rows: RowForm, plan: OnlineRolePlan) -> int:
    """What the channels and the staged results take."""
    itemsize = rows.queries.dtype.itemsize
    depth, columns = _features(kernel, rows, panel_of(rows.queries.dtype))
    elements = plan.query_stages * plan.rows * depth
    elements += plan.stages * plan.keys * (depth + columns)
    output, _ = rows.main(kernel)
    pitch = plan.piece * kernel.slots[output.slot].dtype.itemsize
    staged = plan.rows * (pitch + STAGED_PADDING_BYTES) if plan.piece else 0
    beside = sum(entry.dtype.itemsize for entry in rows.beside) * plan.brings_beside
    if beside:
        staged += plan.stages * plan.rows * plan.keys * beside + ALIGNMENT_BYTES
    return elements * itemsize + staged + BARRIER_BYTES


def _fits_registers(kernel: Kernel, rows: RowForm, plan: OnlineRolePlan) -> bool:
    """Whether a thread holds its scores, their weights in pairs, and its totals."""
    columns = rounded(kernel.axes[rows.column], COLUMN_STEP)
    held = MEMBER_ROWS * (plan.keys + plan.keys // 2 + columns) // FOUR_WARPS
    return held + OTHER_REGISTERS <= REGISTERS[plan.members]


def _cycles(
    kernel: Kernel, rows: RowForm, plan: OnlineRolePlan, target: Target
) -> float:
    """How long a multiprocessor takes for its share of all blocks."""
    turns, turn = mean(_turns(kernel, rows, plan)), _turn_cycles(kernel, rows, plan)
    shares = max(1.0, plan.blocks(kernel, rows.form) / target.units)
    return shares * (BLOCK_CYCLES + turns * turn)


def _turn_cycles(kernel: Kernel, rows: RowForm, plan: OnlineRolePlan) -> float:
    """How long a multiprocessor takes for a block of rows and one of keys."""
    depth, columns = _features(kernel, rows, COLUMN_STEP)
    scores = plan.rows * plan.keys
    multiplying = scores * (depth + columns) / (MULTIPLICATIONS_PER_CYCLE * REACHED)
    return max(multiplying, scores / SCORES_PER_CYCLE[plan.members]) + TURN_CYCLES


def _workers(
    kernel: Kernel, rows: RowForm, plan: OnlineRolePlan, target: Target
) -> int:
    """How many multiprocessors share the blocks, so that all end at the same time."""
    turn = _turn_cycles(kernel, rows, plan)
    costs = [BLOCK_CYCLES + turn * turns for turns in _turns(kernel, rows, plan)]
    batches = plan.blocks(kernel, rows.form) // len(costs)
    return balanced_workers(costs[::-1], batches, target.units)


def _turns(kernel: Kernel, rows: RowForm, plan: OnlineRolePlan) -> list[int]:
    """Blocks of keys that each block of rows takes in: few, where a mask leaves few."""
    form, builder = rows.form, Builder(kernel)
    chunks = -(-kernel.axes[form.row] // plan.rows)
    most = -(-kernel.axes[form.passed] // plan.keys)
    row, key = builder.axis(chunks), builder.axis(most)
    placed_rows = placed_along(form.row, plan.rows, axis_form(row).scale(plan.rows))
    placed_keys = placed_along(form.passed, plan.keys, axis_form(key).scale(plan.keys))
    limits = [
        needed
        for needed in needed_blocks(form, Scope(builder), placed_rows, placed_keys)
        if needed.coefficient(key) < 0 and needed.axes() <= {row, key}
    ]
    found = []
    for place in range(chunks):
        counts = [
            (needed.constant + needed.coefficient(row) * place)
            // -needed.coefficient(key)
            + 1
            for needed in limits
        ]
        found.append(max(1, min([most, *counts])))
    return found
