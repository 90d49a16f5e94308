"""The plan of online contractions: one kernel, and the values of the plain graph."""

from __future__ import annotations

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.backends.cpu.compiler import Processor
from tetragrad.backends.cpu.target import make_target
from tetragrad.core.settings import override, settings
from tetragrad.engine.realize import read_buffer, without_markers
from tetragrad.kernel.fusion.fuse import fuse
from tetragrad.kernel.lowering import lower
from tetragrad.tile.plans.build import build
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.plans.online.online import OnlinePlan
from tetragrad.tile.simulator import run_program
from tetragrad.tile.verify import verify_program

WIDE = make_target(Processor("x86_64-unknown-linux-gnu", "", ("+avx512f",)))
NARROW = make_target(Processor("x86_64-unknown-linux-gnu", "", ("+avx2", "+fma")))


def attention(
    queries: Tensor, keys: Tensor, values: Tensor, *, causal: bool = False
) -> Tensor:
    """The plain graph: two products and a softmax."""
    scores = (queries @ keys.transpose(-1, -2)) * queries.shape[-1] ** -0.5
    if causal:
        rows = Tensor.arange(queries.shape[-2]).reshape(-1, 1)
        later = rows < Tensor.arange(keys.shape[-2]).reshape(1, -1)
        scores = scores.masked_fill(later, float("-inf"))
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return (weights / weights.sum(-1, keepdim=True)) @ values


def random(*shape: int) -> Tensor:
    generator = np.random.default_rng(sum(shape))
    return Tensor(generator.standard_normal(shape).astype(np.float32)).realize()


def in_float64(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> np.ndarray:
    queries, keys, values = (entry.numpy().astype(np.float64) for entry in (q, k, v))
    scores = queries @ keys.swapaxes(-1, -2) * queries.shape[-1] ** -0.5
    if causal:
        allowed = np.tri(*scores.shape[-2:], dtype=bool)
        scores = np.where(allowed, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ values


@pytest.mark.parametrize("target", [WIDE, NARROW], ids=["avx512", "avx2"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("rows", "keys", "depth", "columns"),
    [(20, 24, 8, 6), (70, 33, 16, 20), (64, 130, 4, 16), (7, 5, 3, 2)],
)
def test_simulated(
    rows: int, keys: int, depth: int, columns: int, causal: bool, target: object
) -> None:
    q, k, v = random(2, rows, depth), random(2, keys, depth), random(2, keys, columns)
    (node,) = without_markers([attention(q, k, v, causal=causal).node])
    lowered = lower([node], set())
    plan = choose_plan(lowered.kernel, target, settings())
    assert isinstance(plan.stages[0][0], OnlinePlan)
    program = build(lowered.kernel, plan, target)
    verify_program(program)
    buffers = [read_buffer(entry).reshape(-1).copy() for entry in lowered.inputs]
    buffers.append(np.zeros(node.numel, np.float32))
    run_program(program, buffers, [constant.array for constant in lowered.scalars])
    wanted = in_float64(q, k, v, causal=causal)
    np.testing.assert_allclose(buffers[-1].reshape(node.shape), wanted, atol=2e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_on_the_cpu(causal: bool) -> None:
    q, k, v = random(3, 150, 32), random(3, 140, 32), random(3, 140, 40)
    with override(device="cpu"):
        found = attention(q, k, v, causal=causal).numpy()
    np.testing.assert_allclose(found, in_float64(q, k, v, causal=causal), atol=2e-6)


def test_the_plain_graph_becomes_one_kernel() -> None:
    q, k, v = random(3, 150, 32), random(3, 140, 32), random(3, 140, 40)
    (node,) = without_markers([attention(q, k, v, causal=True).node])
    (group,) = fuse([node], WIDE)
    assert any(reason.startswith("online") for reason in group.reasons)


def test_fully_masked_rows_are_nan_as_in_the_plain_graph() -> None:
    q, k, v = random(1, 20, 8), random(1, 40, 8), random(1, 40, 8)
    scores = (q @ k.transpose(-1, -2)).masked_fill(
        Tensor.arange(20).reshape(-1, 1) < 3, float("-inf")
    )
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    found = ((weights / weights.sum(-1, keepdim=True)) @ v).numpy()
    assert np.isnan(found[0, :3]).all()
    assert np.isfinite(found[0, 3:]).all()


def test_nan_reaches_only_its_own_rows() -> None:
    q, k, v = random(1, 20, 8), random(1, 40, 8), random(1, 40, 8)
    broken = q.numpy()
    broken[0, 5] = np.nan
    found = attention(Tensor(broken), k, v).numpy()
    assert np.isnan(found[0, 5]).all()
    assert np.isfinite(np.delete(found[0], 5, 0)).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("causal", [False, True])
def test_half_width_attention_is_one_kernel(dtype: str, causal: bool) -> None:
    q, k, v = (
        random(2, rows, 16).to(getattr(tetragrad, dtype)).realize()
        for rows in (50, 70, 70)
    )
    result = q.scaled_dot_product_attention(k, v, is_causal=causal)
    (node,) = without_markers([result.node])
    (group,) = fuse([node], WIDE)
    assert any(reason.startswith("online") for reason in group.reasons)
    exact = in_float64(q.float(), k.float(), v.float(), causal=causal)
    np.testing.assert_allclose(result.float().numpy(), exact, atol=0.02)
