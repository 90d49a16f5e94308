"""Choose the blocks of a pass by roles: large ones, if all units have some."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tetragrad.core.target import Target
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.layout import panel_of
from tetragrad.tile.plans.roles.boxes import COLUMN_STEP, DEPTH_STEP, rounded
from tetragrad.tile.plans.roles.choose_online_roles import (
    ALIGNMENT_BYTES,
    BARRIER_BYTES,
    FOUR_WARPS,
    MOST_COLUMNS,
    PIECES,
)
from tetragrad.tile.plans.roles.pass_form import PassForm, pass_form
from tetragrad.tile.plans.roles.pass_roles import PassRolePlan
from tetragrad.tile.plans.roles.role_plan import MEMBER_ROWS, STAGED_PADDING_BYTES

MEMBERS = (2, 1)
MOST_KEYS = 128
#: With two totals, what is loaded for each key takes registers too.
MOST_KEYS_LOADED = 96
STAGES = (2, 1)
#: One iteration a multiprocessor computes all blocks of rows where none takes more
#: turns.
SHORT_TURNS = 8
#: Registers of a thread for what the matrix unit sums; where the last block of keys is
#: not whole, and every key is compared with their number.
SUM_REGISTERS = 192
UNEVEN_SUM_REGISTERS = 160


def choose_pass_roles(kernel: Kernel, target: Target) -> PassRolePlan | None:
    """The plan with the largest blocks, or None where the kernel is none for roles.

    Smaller ones where some multiprocessors would have nothing to do, or where then all
    blocks of keys are whole, and nothing is compared.
    """
    if not target.has_roles:
        return None
    form = pass_form(kernel)
    if form is None:
        return None
    plans = list(_plans(kernel, form, target))
    enough = [plan for plan in plans if plan.blocks(kernel, form.form) >= target.units]
    keys = kernel.axes[form.form.passed]
    found = enough or plans
    even = [plan for plan in found if keys % plan.keys == 0]
    best, plan = (max(some, key=_preference, default=None) for some in (found, even))
    # Small blocks take longer than a few comparisons.
    if best is not None and (plan is None or 4 * plan.keys < 3 * best.keys):
        plan = best
    if plan is None:
        return None
    if keys <= SHORT_TURNS * plan.keys:
        plan = replace(plan, workers=target.units)
    for piece in PIECES:
        staged = replace(plan, piece=piece)
        if _shared_bytes(kernel, form, staged) <= target.shared_bytes:
            return staged
    return plan


def _preference(plan: PassRolePlan) -> tuple[int, int, int]:
    """Scores at once, then rows; a second stage is worth less than both."""
    return plan.rows * plan.keys, plan.rows, plan.stages


def _plans(kernel: Kernel, form: PassForm, target: Target) -> Iterator[PassRolePlan]:
    """Every division that fits into registers and shared memory."""
    widths = [kernel.axes[entry.depth] for entry in form.inner]
    if max(*widths, kernel.axes[form.column]) > MOST_COLUMNS:
        return
    # Weights are multiplied by values whole steps of keys at a time.
    step = max(
        [DEPTH_STEP]
        + [entry.keys.side_step for entry in form.inner]
        + [
            panel_of(entry.values.dtype)
            for entry in form.totals
            if entry.values.is_deep
        ]
    )
    loads = len(form.totals) > 1 and not form.lines
    most = MOST_KEYS_LOADED if loads else MOST_KEYS
    for members in MEMBERS:
        for keys in range(step, most + 1, step):
            for stages in STAGES:
                plan = PassRolePlan(members, keys, stages)
                fits = _shared_bytes(kernel, form, plan) <= target.shared_bytes
                if fits and _fits_registers(kernel, form, plan):
                    yield plan


def _shared_bytes(kernel: Kernel, form: PassForm, plan: PassRolePlan) -> int:
    """What the channels and the staged results take."""
    dtype = form.inner[0].keys.dtype
    panel = panel_of(dtype)
    depths = sum(rounded(kernel.axes[entry.depth], panel) for entry in form.inner)
    brought = sum(entry.shared is None for entry in form.totals)
    columns = brought * rounded(kernel.axes[form.column], panel)
    elements = plan.rows * depths + plan.stages * plan.keys * (depths + columns)
    widest = max(kernel.slots[entry.slot].dtype.itemsize for entry in kernel.outputs)
    pitch = plan.piece * widest + STAGED_PADDING_BYTES
    staged = plan.rows * pitch if plan.piece else 0
    # A line is a tile of its own in each slot.
    staged += len(form.lines) * plan.stages * ALIGNMENT_BYTES
    return elements * dtype.itemsize + staged + BARRIER_BYTES


def _fits_registers(kernel: Kernel, form: PassForm, plan: PassRolePlan) -> bool:
    """Whether a thread holds its scores and its totals; weights replace scores."""
    columns = rounded(kernel.axes[form.column], COLUMN_STEP)
    wide = len(form.inner) * plan.keys + len(form.totals) * columns
    is_whole = kernel.axes[form.form.passed] % plan.keys == 0
    limit = SUM_REGISTERS if is_whole else UNEVEN_SUM_REGISTERS
    return MEMBER_ROWS * wide // FOUR_WARPS <= limit
