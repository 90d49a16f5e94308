"""Gradients of attention by roles: what the programs mean, and how they are assembled.

None of this needs a GPU; benchmarks/h200_attention_gradient.py runs the kernels on one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import tetragrad
from tests.backends.cuda_programs import assembly_report, spilled_bytes
from tests.backends.test_cuda_emit import leaf
from tetragrad import Tensor
from tetragrad.backends.cuda.emit.program import emit_program
from tetragrad.backends.cuda.target import SM_80, SM_90A
from tetragrad.core.settings import settings
from tetragrad.core.target import Target
from tetragrad.engine.realize import read_buffer, without_markers
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.node import Node
from tetragrad.kernel.fusion.fuse import fuse
from tetragrad.kernel.fusion.repeats import lower_groups
from tetragrad.kernel.lowering import Lowered
from tetragrad.tile.plans.build import Plan, build
from tetragrad.tile.plans.choose import choose_plan
from tetragrad.tile.plans.roles.online_roles import OnlineRolePlan
from tetragrad.tile.plans.roles.pass_roles import PassRolePlan
from tetragrad.tile.simulator import run_program
from tetragrad.tile.text import program_text
from tetragrad.tile.verify import verify_program


def training(
    queries: tuple[int, ...], keys: tuple[int, ...], dtype: str, **options: bool
) -> tuple[list[Tensor], list[Node]]:
    """Queries, keys, values, the result's gradient; the result and all gradients."""
    shapes = (queries, keys, keys, queries)
    generator = np.random.default_rng(sum(queries))
    given = [
        Tensor(generator.standard_normal(shape).astype(np.float32))
        .to(getattr(tetragrad, dtype))
        .realize()
        for shape in shapes
    ]
    inputs = [tensor.requires_grad_() for tensor in given[:3]]
    result = inputs[0].scaled_dot_product_attention(*inputs[1:], **options)
    gradients = tetragrad.grad(result, inputs, given[3])
    return given, without_markers([entry.node for entry in (result, *gradients)])


def kernels_of(nodes: list[Node], target: Target = SM_90A) -> list[Lowered]:
    return lower_groups(fuse(nodes, target))


def simulated(nodes: list[Node], sizes: PassRolePlan | None = None) -> list[np.ndarray]:
    """The values of nodes, by running the tile program of every kernel.

    Passes with given statistics have these ``sizes`` instead of the chosen ones.
    """
    memory: dict[Node, np.ndarray] = {}
    for entry in kernels_of(nodes):
        plan = choose_plan(entry.kernel, SM_90A, settings())
        if sizes is not None and isinstance(plan.stages[-1][-1], PassRolePlan):
            plan = Plan((), ((sizes,),))
        program = build(entry.kernel, plan, SM_90A)
        verify_program(program)
        buffers = []
        for node, offset in zip(entry.inputs, entry.offsets, strict=True):
            values = read_buffer(node) if isinstance(node, Buffer) else memory[node]
            buffers.append(values.reshape(-1)[offset:].copy())
        for node in entry.outputs:
            memory[node] = np.zeros(node.numel, node.dtype.numpy)
            buffers.append(memory[node])
        run_program(program, buffers, [scalar.array for scalar in entry.scalars])
    return [memory[node].reshape(node.shape).astype(np.float64) for node in nodes]


def parts_of_a_layer(length: int) -> list[Node]:
    """Attention between thirds of one layer, and its gradient towards the layer."""
    layer = Tensor(np.ones((8, length, 3 * 768), np.float32)).to(tetragrad.bfloat16)
    layer = layer.realize().requires_grad_()
    query, key, value = (
        part.reshape(8, length, 12, 64).transpose(1, 2) for part in layer.chunk(3, -1)
    )
    result = query.scaled_dot_product_attention(key, value)
    (gradient,) = tetragrad.grad(result, [layer], result.detach().realize())
    return without_markers([result.node, gradient.node])


@pytest.mark.parametrize("length", [197, 256])
def test_thirds_of_a_layer_are_read_where_they_are(length: int) -> None:
    """And the scores are made again, though no head's queries are a third of them."""
    kernels = kernels_of(parts_of_a_layer(length))
    for entry in kernels:
        plan = choose_plan(entry.kernel, SM_90A, settings())
        written = sum(node.numel for node in entry.outputs)
        assert written <= 8 * length * 3 * 768
        if any(node.numel == 8 * length * 3 * 768 for node in entry.inputs):
            (grid,) = plan.stages[-1]
            assert isinstance(grid, OnlineRolePlan | PassRolePlan)


@pytest.mark.parametrize(
    ("queries", "keys", "dtype", "options"),
    [
        ((1, 5, 130, 16), (1, 5, 130, 16), "bfloat16", {"is_causal": True}),
        ((1, 5, 100, 24), (1, 5, 150, 24), "float16", {}),
        ((1, 4, 140, 16), (1, 2, 140, 16), "bfloat16", {"enable_gqa": True}),
    ],
)
def test_values(
    queries: tuple[int, ...],
    keys: tuple[int, ...],
    dtype: str,
    options: dict[str, bool],
) -> None:
    given, nodes = training(queries, keys, dtype, **options)
    exact = [
        torch.tensor(tensor.detach().float().numpy().astype(np.float64))
        for tensor in given
    ]
    inputs = [tensor.requires_grad_() for tensor in exact[:3]]
    result = torch.nn.functional.scaled_dot_product_attention(*inputs, **options)
    wanted = [result, *torch.autograd.grad(result, inputs, exact[3])]
    for found, good in zip(simulated(nodes), wanted, strict=True):
        difference = found - good.detach().numpy()
        limit = 1e-3 if dtype == "float16" else 5e-3
        assert np.linalg.norm(difference) < limit * float(good.detach().norm())


@pytest.mark.parametrize(
    "sizes",
    [
        PassRolePlan(2, 32, 2, piece=16, workers=1),
        PassRolePlan(1, 48, 1, workers=3),
        PassRolePlan(2, 64, 3),
    ],
)
def test_sizes_of_passes(sizes: PassRolePlan) -> None:
    shape = (1, 2, 140, 16)
    _, nodes = training(shape, shape, "bfloat16", is_causal=True)
    for found, good in zip(simulated(nodes, sizes), simulated(nodes), strict=True):
        assert np.linalg.norm(found - good) < 1e-2 * np.linalg.norm(good)


def test_keys_that_are_values_arrive_once() -> None:
    shape = (1, 2, 256, 64)
    _, nodes = training(shape, shape, "bfloat16")
    copies = []
    for entry in kernels_of(nodes):
        plan = choose_plan(entry.kernel, SM_90A, settings())
        if isinstance(plan.stages[-1][-1], PassRolePlan):
            text = program_text(build(entry.kernel, plan, SM_90A))
            copies.append(text.count("Copy("))
    # Two of queries, two of keys; the values of each total are some keys. Where rows
    # are keys, the queries' statistics are brought, too.
    assert copies == [4, 6]


def test_products_of_half_width_floats_are_passes_too() -> None:
    """Written by hand: scores, weights and their gradients are rounded once more."""
    tensors = [leaf(1, 2, 256, 64, dtype="bfloat16") for _ in range(4)]
    query, key, value = (tensor.requires_grad_() for tensor in tensors[:3])
    scores = (query @ key.transpose(-1, -2)) * 0.125
    result = scores.softmax(-1) @ value
    gradients = tetragrad.grad(result, [query, key, value], tensors[3])
    nodes = without_markers([entry.node for entry in (result, *gradients)])
    grids = [
        grid
        for entry in kernels_of(nodes)
        for stage in choose_plan(entry.kernel, SM_90A, settings()).stages
        for grid in stage
    ]
    assert sum(isinstance(grid, PassRolePlan) for grid in grids) >= 3
    exact = [
        torch.tensor(tensor.detach().float().numpy().astype(np.float64))
        for tensor in tensors
    ]
    inputs = [tensor.requires_grad_() for tensor in exact[:3]]
    wanted = torch.nn.functional.scaled_dot_product_attention(*inputs)
    goods = [wanted, *torch.autograd.grad(wanted, inputs, exact[3])]
    for found, good in zip(simulated(nodes), goods, strict=True):
        difference = found - good.detach().numpy()
        assert np.linalg.norm(difference) < 2e-2 * float(good.detach().norm())


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("features", [64, 128])
def test_assembled_without_spills(
    features: int, is_causal: bool, tmp_path: Path
) -> None:
    shape = (8, 16, 1024, features)
    _, nodes = training(shape, shape, "bfloat16", is_causal=is_causal)
    grids = []
    for entry in kernels_of(nodes):
        plan = choose_plan(entry.kernel, SM_90A, settings())
        (*_, grid) = plan.stages[-1]
        grids.append(type(grid))
        if not isinstance(grid, PassRolePlan):
            continue
        emitted = emit_program(build(entry.kernel, plan, SM_90A), SM_90A, settings())
        report = assembly_report(emitted.text, SM_90A, tmp_path)
        assert spilled_bytes(report) == 0, report
        assert "serialized" not in report, report
    assert grids.count(PassRolePlan) == 2
    assert grids.count(OnlineRolePlan) == 1


def test_training_takes_four_kernels() -> None:
    """The result with its log-sums, Σ do∘o, and one for queries, one for the others."""
    shape = (2, 2, 256, 64)
    _, nodes = training(shape, shape, "bfloat16", is_causal=True)
    assert len(kernels_of(nodes)) == 4


def test_without_a_unit_for_passes_scores_are_stored() -> None:
    shape = (2, 2, 512, 64)
    _, nodes = training(shape, shape, "bfloat16")
    outputs = [node for entry in kernels_of(nodes, SM_80) for node in entry.outputs]
    assert max(node.numel for node in outputs) == 2 * 2 * 512 * 512
