"""Attention by roles: what the tile program means, and how it is assembled.

None of this needs a GPU; benchmarks/h200_attention.py runs the same kernels on one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tetragrad
from tests.backends.cuda_programs import (
    assembly_report,
    check_products,
    spilled_bytes,
)
from tests.backends.test_cuda_emit import leaf
from tetragrad import Tensor
from tetragrad.backends.cuda.emit.program import emit_program
from tetragrad.backends.cuda.target import SM_80, SM_90A
from tetragrad.core.settings import settings
from tetragrad.engine.realize import read_buffer, without_markers
from tetragrad.kernel.fusion.fuse import fuse
from tetragrad.kernel.lowering import Lowered, lower
from tetragrad.kernel.online_contraction import online_contraction
from tetragrad.tile.ir import Program
from tetragrad.tile.plans.build import Plan, build
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.plans.prepare.even_rows import EvenRows
from tetragrad.tile.plans.prepare.pass_parts import PassParts
from tetragrad.tile.plans.roles.online_roles import OnlineRolePlan
from tetragrad.tile.simulator import run_program
from tetragrad.tile.verify import verify_program

Shape = tuple[int, ...]

SINGLE_QUERY = (1, 2, 1, 40), (1, 2, 77, 40)


def operands(
    queries: Shape, keys: Shape, columns: int, dtype: str = "bfloat16"
) -> tuple[Tensor, Tensor, Tensor]:
    values = (*keys[:-1], columns)
    return (
        leaf(*queries, dtype=dtype),
        leaf(*keys, dtype=dtype),
        leaf(*values, dtype=dtype),
    )


def in_float64(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    allowed: np.ndarray | None = None,
    scale: float | None = None,
) -> np.ndarray:
    q, k, v = (
        entry.float().numpy().astype(np.float64) for entry in (query, key, value)
    )
    if k.ndim > 2 and k.shape[-3] != q.shape[-3]:
        repeats = q.shape[-3] // k.shape[-3]
        k, v = np.repeat(k, repeats, -3), np.repeat(v, repeats, -3)
    scores = q @ k.swapaxes(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if allowed is not None:
        scores = np.where(allowed, scores, -np.inf)
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        return np.asarray(weights / weights.sum(-1, keepdims=True) @ v)


def lowered_whole(tensor: Tensor) -> Lowered:
    """Everything in one kernel, however small it is."""
    (node,) = without_markers([tensor.node])
    return lower([node], set())


def plan_of(tensor: Tensor) -> Plan:
    plan = choose_plan(lowered_whole(tensor).kernel, SM_90A, settings())
    grids = [grid for stage in plan.stages for grid in stage]
    assert any(isinstance(grid, OnlineRolePlan) for grid in grids), plan
    return plan


def program_of(tensor: Tensor, grid: OnlineRolePlan | None = None) -> Program:
    plan = plan_of(tensor) if grid is None else Plan((), ((grid,),))
    return build(lowered_whole(tensor).kernel, plan, SM_90A)


def simulated(tensor: Tensor, grid: OnlineRolePlan | None = None) -> np.ndarray:
    lowered, program = lowered_whole(tensor), program_of(tensor, grid)
    verify_program(program)
    buffers = [read_buffer(entry).reshape(-1).copy() for entry in lowered.inputs]
    buffers.append(np.zeros(tensor.numel(), program.slots[-1].dtype.numpy))
    run_program(program, buffers, [constant.array for constant in lowered.scalars])
    return buffers[-1].astype(np.float64).reshape(tensor.shape)


def assert_close(found: np.ndarray, exact: np.ndarray, dtype: str = "bfloat16") -> None:
    """Within what rounding the weights and the results costs."""
    limit = {"bfloat16": 4e-3, "float16": 5e-4}[dtype]
    error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
    assert error < limit, error


def causal(rows: int, keys: int) -> np.ndarray:
    return np.tri(rows, keys, dtype=bool)


# --- meaning -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(
    ("queries", "keys", "columns"),
    [
        ((2, 70, 64), (2, 70, 64), 64),
        ((1, 130, 40), (1, 300, 40), 72),
        ((2, 20, 16), (2, 33, 16), 8),
        ((1, 64, 128), (1, 64, 128), 128),
    ],
)
def test_sizes(
    queries: Shape, keys: Shape, columns: int, is_causal: bool, dtype: str
) -> None:
    q, k, v = operands(queries, keys, columns, dtype)
    found = simulated(q.scaled_dot_product_attention(k, v, is_causal=is_causal))
    allowed = causal(queries[-2], keys[-2]) if is_causal else None
    assert_close(found, in_float64(q, k, v, allowed=allowed), dtype)


@pytest.mark.parametrize(
    "grid",
    [
        OnlineRolePlan(2, 64, 2, workers=2, piece=32),
        OnlineRolePlan(1, 48, 3, workers=2, piece=64),
        OnlineRolePlan(3, 32, 2),
    ],
)
@pytest.mark.parametrize("is_causal", [False, True])
def test_plans(grid: OnlineRolePlan, is_causal: bool) -> None:
    q, k, v = operands((1, 290, 72), (1, 210, 72), 72)
    found = simulated(q.scaled_dot_product_attention(k, v, is_causal=is_causal), grid)
    allowed = causal(290, 210) if is_causal else None
    assert_close(found, in_float64(q, k, v, allowed=allowed))


def test_grouped_heads_share_keys() -> None:
    q, k, v = operands((1, 4, 40, 64), (1, 2, 50, 64), 64)
    found = simulated(q.scaled_dot_product_attention(k, v, enable_gqa=True))
    assert_close(found, in_float64(q, k, v))


def test_rows_of_a_block_are_the_longest_axis() -> None:
    """Tokens, also where heads that share keys are next to one another in memory."""
    shapes = (1, 70, 4, 16), (1, 2, 40, 16), (1, 2, 40, 16)
    q, k, v = (leaf(*shape, dtype="bfloat16") for shape in shapes)
    allowed = np.arange(40) <= np.arange(70)[:, None] % 40
    query, mask = q.transpose(1, 2), Tensor(allowed).realize()
    result = query.scaled_dot_product_attention(k, v, mask, enable_gqa=True)
    lowered = lowered_whole(result.transpose(1, 2)).kernel
    form = online_contraction(lowered)
    assert form is not None and lowered.axes[form.row] == 70
    found = simulated(result.transpose(1, 2))
    assert_close(found, in_float64(query, k, v, allowed=allowed).swapaxes(1, 2))


@pytest.mark.parametrize("scale", [-0.4, 0.0, 2.5])
def test_scores_may_be_multiplied_by_any_number(scale: float) -> None:
    q, k, v = operands((1, 70, 64), (1, 70, 64), 64)
    found = simulated(q.scaled_dot_product_attention(k, v, is_causal=True, scale=scale))
    exact = in_float64(q, k, v, allowed=causal(70, 70), scale=scale)
    assert_close(found, exact)


def test_a_row_without_keys_is_nan_as_in_the_plain_graph() -> None:
    q, k, v = operands((1, 70, 64), (1, 40, 64), 64)
    allowed = np.arange(70).reshape(-1, 1) + np.zeros((1, 40)) >= 3
    mask = Tensor(allowed).realize()
    found = simulated(q.scaled_dot_product_attention(k, v, attn_mask=mask))
    assert np.isnan(found[0, :3]).all()
    assert_close(found[:, 3:], in_float64(q, k, v)[:, 3:])


def test_a_mask_of_numbers_is_added() -> None:
    q, k, v = operands((1, 70, 64), (1, 40, 64), 64)
    bias = leaf(70, 40)
    found = simulated(q.scaled_dot_product_attention(k, v, attn_mask=bias))
    scores = q.float().numpy() @ k.float().numpy().swapaxes(-1, -2) / 8 + bias.numpy()
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    exact = weights / weights.sum(-1, keepdims=True) @ v.float().numpy()
    assert_close(found, exact)


#: What is done to scores before their softmax, of tensors and of PyTorch's alike.
WRITTEN_OUT: dict[str, Callable[[Any, Any, Any], Any]] = {
    "soft cap": lambda scores, row, key: (scores / 2).tanh() * 2,
    "sliding window": lambda scores, row, key: scores.masked_fill(
        (key > row) | (key < row - 20), float("-inf")
    ),
    "linear biases": lambda scores, row, key: scores - (row - key).abs() * 0.25,
    "prefix": lambda scores, row, key: scores.masked_fill(
        (key > row) & (key > 9), float("-inf")
    ),
    "large negative": lambda scores, row, key: scores + (key > row) * -1e4,
    "both": lambda scores, row, key: ((scores / 2).tanh() * 2).masked_fill(
        key > row, float("-inf")
    ),
}


@pytest.mark.parametrize("shapes", [((1, 2, 70, 40), (1, 2, 133, 40)), SINGLE_QUERY])
@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_plain_graphs(name: str, shapes: tuple[Shape, Shape]) -> None:
    q, k, v = operands(*shapes, 40)
    rows, keys = q.shape[-2], k.shape[-2]
    row, key = Tensor.arange(rows).reshape(-1, 1), Tensor.arange(keys).reshape(1, -1)
    scores = (q.float() @ k.float().transpose(-1, -2)) * 0.2
    weights = WRITTEN_OUT[name](scores, row, key).softmax(-1)
    found = simulated(weights.to(v.dtype) @ v)
    exact = [torch.tensor(tensor.float().numpy()).double() for tensor in (q, k, v)]
    row, key = torch.arange(rows).reshape(-1, 1), torch.arange(keys).reshape(1, -1)
    scores = (exact[0] @ exact[1].transpose(-1, -2)) * 0.2
    weights = WRITTEN_OUT[name](scores, row, key).softmax(-1)
    assert_close(found, (weights @ exact[2]).numpy())


def test_scores_may_be_rounded_on_the_way() -> None:
    """The plain graph of 16-bit floats rounds them, and so does the kernel."""
    q, k, v = operands((1, 70, 64), (1, 90, 64), 64)

    def scores() -> Tensor:
        return (q @ k.transpose(-1, -2)) * 0.125

    rounded = scores().float().numpy().astype(np.float64)
    weights = np.exp(rounded - rounded.max(-1, keepdims=True))
    exact = weights / weights.sum(-1, keepdims=True) @ v.float().numpy()
    assert_close(simulated(scores().softmax(-1) @ v), exact)


@pytest.mark.parametrize(
    ("queries", "keys"),
    [
        # One query, of heads that share keys or not; a few; lengths of no whole parts.
        ((2, 2, 1, 32), (2, 2, 700, 32)),
        ((1, 6, 1, 32), (1, 2, 777, 32)),
        ((1, 4, 3, 40), (1, 2, 640, 40)),
    ],
)
def test_few_queries_are_divided_over_keys(queries: Shape, keys: Shape) -> None:
    q, k, v = operands(queries, keys, 48)
    result = q.scaled_dot_product_attention(k, v, enable_gqa=True)
    (cut,) = plan_of(result).cuts
    assert isinstance(cut, PassParts)
    assert_close(simulated(result), in_float64(q, k, v))


def test_parts_may_leave_some_rows_nothing() -> None:
    """A causal mask ends before some parts begin; others see only some keys."""
    rows, keys = 20, 600
    q, k, v = operands((1, rows, 32), (1, keys, 32), 32)
    allowed = np.arange(keys) < 550 + np.arange(rows).reshape(-1, 1)
    allowed[3, :300] = False
    result = q.scaled_dot_product_attention(k, v, attn_mask=Tensor(allowed).realize())
    assert plan_of(result).cuts == (PassParts(256),)
    assert_close(simulated(result), in_float64(q, k, v, allowed=allowed))
    q, k, v = operands((1, rows, 32), (1, keys, 32), 32)
    allowed = causal(rows, keys)
    found = simulated(q.scaled_dot_product_attention(k, v, is_causal=True))
    assert_close(found, in_float64(q, k, v, allowed=allowed))


@pytest.mark.parametrize("dtype", ["bool", "bfloat16"])
def test_what_is_beside_the_scores_is_brought(dtype: str, tmp_path: Path) -> None:
    q, k, v = operands((2, 140, 32), (2, 160, 32), 32)
    generator = np.random.default_rng(3)
    allowed = generator.random((140, 160)) < 0.6
    is_bool = dtype == "bool"
    mask = Tensor(allowed).realize() if is_bool else leaf(140, 160, dtype=dtype)
    result = q.scaled_dot_product_attention(k, v, attn_mask=mask)
    assert plan_of(result).stages[0][0].brings_beside
    found = simulated(result)
    emitted = emit_program(program_of(result), SM_90A, settings())
    assert "ld.global" not in emitted.text
    assert spilled_bytes(assembly_report(emitted.text, SM_90A, tmp_path)) == 0
    # Read last: what is widened once stays so, and would be read instead.
    added = np.where(allowed, 0.0, -np.inf) if is_bool else mask.float().numpy()
    scores = q.float().numpy() @ k.float().numpy().swapaxes(-1, -2) * 32**-0.5 + added
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    exact = weights / weights.sum(-1, keepdims=True) @ v.float().numpy()
    assert_close(found, exact)


def test_rows_of_a_mask_are_stored_where_they_begin_evenly() -> None:
    q, k, v = operands((8, 400, 32), (8, 405, 32), 32)
    allowed = np.random.default_rng(5).random((400, 405)) < 0.6
    result = q.scaled_dot_product_attention(k, v, attn_mask=Tensor(allowed).realize())
    plan = choose_plan(lowered_whole(result).kernel, SM_90A, settings())
    assert isinstance(plan.cuts[0], EvenRows)
    assert_close(simulated(result), in_float64(q, k, v, allowed=allowed))


# --- text ----------------------------------------------------------------------------


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("features", [64, 128, 256])
def test_products_run_in_the_background(
    features: int, is_causal: bool, tmp_path: Path
) -> None:
    q, k, v = operands((8, 1024, features), (8, 1024, features), features)
    program = program_of(q.scaled_dot_product_attention(k, v, is_causal=is_causal))
    emitted = emit_program(program, SM_90A, settings())
    report = assembly_report(emitted.text, SM_90A, tmp_path)
    assert spilled_bytes(report) == 0, report
    assert "serialized" not in report, report
    # Scores of the first block and of a later one; values in the loop and behind it.
    (grid,) = choose_plan(
        lowered_whole(q.scaled_dot_product_attention(k, v, is_causal=is_causal)).kernel,
        SM_90A,
        settings(),
    ).stages[0]
    products = 2 * (features // 16) + 2 * (grid.keys // 16)
    assert emitted.text.count("wgmma.mma_async") == products
    check_products(emitted.text, tmp_path)
    # Queries, and keys and values twice, in panels of 64 features.
    assert emitted.text.count("cp.async.bulk.tensor") == 5 * (features // 64)


def test_plans_fit_into_shared_memory() -> None:
    for features, keys, masked in (
        (80, 900, False),
        (112, 405, True),
        (192, 900, True),
    ):
        q, k, v = operands((3, 60, features), (3, keys, features), features)
        mask = Tensor(np.ones((60, keys), bool)).realize() if masked else None
        program = program_of(q.scaled_dot_product_attention(k, v, attn_mask=mask))
        launch, *_ = emit_program(program, SM_90A, settings()).launches
        assert launch.shared_bytes <= SM_90A.shared_bytes


@pytest.mark.parametrize("queries", [1, 128])
def test_the_plain_graph_becomes_one_kernel(queries: int) -> None:
    q, k, v = operands((2, 4, queries, 64), (2, 4, 128, 64), 64)
    (node,) = without_markers([q.scaled_dot_product_attention(k, v).node])
    (group,) = fuse([node], SM_90A)
    assert any(reason.startswith("online") for reason in group.reasons)


@pytest.mark.parametrize("target", [SM_80, SM_90A], ids=["sm_80", "sm_90a"])
def test_what_roles_cannot_bring_goes_through_memory(target) -> None:
    """Rows of 18 bytes: the copy engine takes multiples of 16."""
    q, k, v = operands((1, 70, 9), (1, 90, 9), 9)
    lowered = lowered_whole(q.scaled_dot_product_attention(k, v))
    program = build(
        lowered.kernel, choose_plan(lowered.kernel, target, settings()), target
    )
    buffers = [read_buffer(entry).reshape(-1).copy() for entry in lowered.inputs]
    buffers.append(np.zeros(q.numel(), tetragrad.bfloat16.numpy))
    run_program(program, buffers, [constant.array for constant in lowered.scalars])
    found = buffers[-1].astype(np.float64).reshape(q.shape)
    assert_close(found, in_float64(q, k, v))
