"""Shift analysis: what can be carried in one pass, and that it gives the value."""

from __future__ import annotations

import numpy as np
import pytest

from tetragrad.backends.reference.kernel import Interpreter
from tetragrad.core import dtypes
from tetragrad.engine.realize import from_array, read_buffer
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as moves
from tetragrad.graph.leaves import Iota
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Max, Sum
from tetragrad.kernel.expression import Expression, walk
from tetragrad.kernel.lowering import Lowered, lower
from tetragrad.kernel.online import Carried, Online, online_form

ROWS, LENGTH, WIDTH = 6, 12, 4


class OnePass(Interpreter):
    """Runs an online form block by block, as a kernel with one pass would."""

    def run(self, online: Online, block: int) -> np.ndarray:
        (axis,) = online.axes
        states = [self.initial(carry) for carry in online.carries]
        for start in range(0, self.sizes[axis], block):
            chosen = slice(start, min(start + block, self.sizes[axis]))
            states = self.advance(online, states, axis, chosen)
        self.after = dict(enumerate(states))
        (result,) = online.results
        return self.value(result)

    def initial(self, carry: object) -> np.ndarray:
        identity = carry.op.identity(carry.dtype)  # type: ignore[attr-defined]
        return np.full((1,) * len(self.sizes), identity, np.float64)

    def advance(
        self, online: Online, states: list[np.ndarray], axis: int, chosen: slice
    ) -> list[np.ndarray]:
        self.before, self.after = dict(enumerate(states)), {}
        for number, carry in enumerate(online.carries):
            running = states[number]
            if carry.correction is not None:
                amount = self.value(carry.correction)
                moved = running * amount if carry.op is Sum else running + amount
                # What has taken in nothing yet is still the identity.
                identity = carry.op.identity(carry.dtype)
                running = np.where(running == identity, identity, moved)
            body = np.moveaxis(self.spread((axis,), self.value(carry.body)), axis, 0)
            taken = np.nan_to_num(body[chosen], nan=0.0, neginf=-np.inf)
            part = np.moveaxis(carry.op.reduce(taken, (0,)), 0, axis)
            joined = carry.op.universal(running, part)
            self.after[number] = joined
        return [self.after[number] for number in range(len(states))]

    def value(self, expression: Expression) -> np.ndarray:
        self.values = {}
        with np.errstate(all="ignore"):
            for entry in walk(expression):
                self.values[entry] = np.asarray(self.compute(entry))
        return self.values[expression]

    def compute(self, expression: Expression) -> np.ndarray:
        if isinstance(expression, Carried):
            states = self.after if expression.after else self.before
            return states[expression.number]
        return super().compute(expression)


def buffer(*shape: int, seed: int = 0) -> Node:
    random = np.random.default_rng(seed + len(shape) * 100 + sum(shape))
    return from_array(random.standard_normal(shape), "reference")


def softmax(scores: Node) -> Node:
    moved = ops.Sub(scores, moves.Expand(Max(scores, (1,)), scores.shape))
    weights = ops.Exp(moved)
    return ops.Div(weights, moves.Expand(Sum(weights, (1,)), scores.shape))


def weighted(weights: Node, values: Node) -> Node:
    """weights @ values, as a product and a sum."""
    shape = (ROWS, WIDTH, LENGTH)
    left = moves.Expand(moves.Reshape(weights, (ROWS, 1, LENGTH)), shape)
    right = moves.Permute(values, (1, 0))
    right = moves.Expand(moves.Reshape(right, (1, WIDTH, LENGTH)), shape)
    return Sum(ops.Mul(left, right), (2,))


def causal(scores: Node) -> Node:
    rows = moves.Reshape(Iota(ROWS, dtypes.int64), (ROWS, 1))
    columns = moves.Reshape(Iota(LENGTH, dtypes.int64), (1, LENGTH))
    later = ops.Lt(
        moves.Expand(rows, scores.shape), moves.Expand(columns, scores.shape)
    )
    return ops.Where(later, ops.full_like(scores, float("-inf")), scores)


def one_pass(node: Node, block: int) -> np.ndarray | None:
    lowered: Lowered = lower([node], set())
    online = online_form(lowered.kernel)
    if online is None:
        return None
    buffers = [read_buffer(entry).reshape(-1) for entry in lowered.inputs]
    buffers.append(np.zeros(node.numel))
    scalars = [constant.array for constant in lowered.scalars]
    value = OnePass(lowered.kernel, buffers, scalars).run(online, block)
    return value.squeeze()


def in_numpy(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True) @ values


@pytest.mark.parametrize("block", [1, 5, 12])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_carried_in_one_pass(block: int, masked: bool) -> None:
    scores, values = buffer(ROWS, LENGTH), buffer(LENGTH, WIDTH)
    scaled = ops.Mul(scores, ops.full_like(scores, 0.35))
    scaled = causal(scaled) if masked else scaled
    found = one_pass(weighted(softmax(scaled), values), block)
    wanted = 0.35 * read_buffer(scores)  # type: ignore[arg-type]
    if masked:
        wanted = np.where(np.tri(ROWS, LENGTH, dtype=bool), wanted, -np.inf)
    assert found is not None
    expected = in_numpy(wanted, read_buffer(values))  # type: ignore[arg-type]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("block", [1, 5, 12])
def test_log_sum_exp_is_carried_in_one_pass(block: int) -> None:
    x = buffer(ROWS, LENGTH)
    largest = Max(x, (1,))
    total = Sum(ops.Exp(ops.Sub(x, moves.Expand(largest, x.shape))), (1,))
    found = one_pass(ops.Add(ops.Log(total), largest), block)
    array = read_buffer(x)  # type: ignore[arg-type]
    assert found is not None
    np.testing.assert_allclose(found, np.log(np.exp(array).sum(1)), rtol=1e-12)


def test_variance_is_refused() -> None:
    x = buffer(ROWS, LENGTH)
    mean = ops.Mul(Sum(x, (1,)), ops.full_like(Sum(x, (1,)), 1 / LENGTH))
    centred = ops.Sub(x, moves.Expand(mean, x.shape))
    assert one_pass(Sum(ops.Mul(centred, centred), (1,)), 4) is None


def test_tanh_of_a_moved_value_is_refused() -> None:
    x = buffer(ROWS, LENGTH)
    moved = ops.Sub(x, moves.Expand(Max(x, (1,)), x.shape))
    assert one_pass(Sum(ops.Tanh(moved), (1,)), 4) is None


def test_a_single_reduction_needs_no_online_form() -> None:
    assert one_pass(Sum(buffer(ROWS, LENGTH), (1,)), 4) is None
