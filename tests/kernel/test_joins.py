"""The join forms of fusion: which nodes share a kernel, why, and the same values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tetragrad.backends.cuda.target import SM_90A
from tetragrad.core.dtypes import bfloat16
from tetragrad.core.settings import override
from tetragrad.core.target import Target
from tetragrad.engine.realize import without_markers
from tetragrad.graph.node import Node
from tetragrad.kernel.fusion.fuse import fuse
from tetragrad.kernel.lowering import lower
from tetragrad.kernel.naming import kernel_name
from tetragrad.nn.functional import cross_entropy
from tetragrad.tensor import Tensor
from tetragrad.tensor.joining import cat

TARGET = Target("reference", "fixed", vector_bytes=32, cache_bytes=1 << 20)


def values(*shape: int) -> Tensor:
    random = np.random.default_rng(sum(shape))
    return Tensor(random.standard_normal(shape).astype(np.float32), device="reference")


def inline() -> list[Tensor]:
    """Elementwise ops and movement are computed where they are read."""
    x = values(16, 24)
    return [(x * 2.5 + 1.0).transpose(0, 1).exp() - values(24, 16)]


def inline_in_two_readers() -> list[Tensor]:
    """A cheap value is computed again by each reader."""
    x = values(16, 24) + 1.5
    return [x.sum(dim=0), x.amax(dim=1)]


def epilogue() -> list[Tensor]:
    """What follows a contraction element by element happens on its way out."""
    return [(values(16, 32) @ values(32, 24) + values(24)).relu()]


def row() -> list[Tensor]:
    """Reduced rows return to the same rows: one kernel in several passes."""
    return [values(16, 24).softmax(dim=-1)]


def row_of_a_norm() -> list[Tensor]:
    """Two statistics of one row."""
    return [values(16, 24).layer_norm((24,))]


def sibling() -> list[Tensor]:
    """Kernels over the same values become one with several outputs."""
    weight, gradient, moment = values(16, 24), values(24, 16).T, values(16, 24)
    moment = moment * 0.75 + gradient * 0.25
    return [weight - moment * 0.125, moment]


def gather() -> list[Tensor]:
    """Rows of a long table are read where they are: no mask of what is selected."""
    rows = Tensor(np.array([1999, 0, -7, 1024]), device="reference")
    return [values(2000, 8)[rows] + values(4, 8)]


def separate() -> list[Tensor]:
    """Contractions are never joined with one another."""
    hidden = values(16, 32) @ values(32, 24)
    return [hidden @ values(24, 8)]


#: Each kernel by name, with its reasons.
GOLDEN: dict[Callable[[], list[Tensor]], list[tuple[str, ...]]] = {
    inline: [("mul_add_exp_sub_24x16",)],
    inline_in_two_readers: [
        ("add_sum_24x16", "epilogue: sum over (16, 24)"),
        ("add_max_16x24", "epilogue: max over (16, 24)"),
    ],
    epilogue: [
        (
            "mul_contract_add_maximum_16x24x32",
            "epilogue of a contraction over (16, 24, 32)",
        )
    ],
    row: [
        ("max_sub_exp_sum_16x24", "row: sum over (16, 24)", "row: max over (16, 24)")
    ],
    row_of_a_norm: [
        ("sum_div_sub_mul_16x24", "row: sum over (16, 24)", "row: sum over (16, 24)")
    ],
    sibling: [("mul_add_sub_16x24", "sibling: 1 + 1 outputs")],
    gather: [("add_gather_4x8x2000",)],
    separate: [
        ("mul_contract_16x24x32", "epilogue of a contraction over (16, 24, 32)"),
        ("mul_contract_16x8x24", "epilogue of a contraction over (16, 8, 24)"),
    ],
}


def nodes_of(program: Callable[[], list[Tensor]]) -> list[Node]:
    return without_markers([entry.node for entry in program()])


@pytest.mark.parametrize("program", GOLDEN, ids=lambda entry: entry.__name__)
def test_which_nodes_share_a_kernel(program: Callable[[], list[Tensor]]) -> None:
    groups = fuse(nodes_of(program), TARGET)
    in_memory = {root for group in groups for root in group.roots}
    found = [
        (kernel_name(lower(group.roots, in_memory).kernel), *group.reasons)
        for group in groups
    ]
    assert found == GOLDEN[program]


@pytest.mark.parametrize("program", GOLDEN, ids=lambda entry: entry.__name__)
def test_joined_values_are_the_unjoined(program: Callable[[], list[Tensor]]) -> None:
    with override(fuse=True):
        joined = [entry.numpy() for entry in program()]
    with override(fuse=False):
        alone = [entry.numpy() for entry in program()]
    for one, other in zip(joined, alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def halves(*shape: int) -> Tensor:
    return values(*shape).to(bfloat16).realize()


HALF_CHAINS: dict[str, Callable[[], Tensor]] = {
    "epilogue": lambda: (halves(16, 32) @ halves(32, 24)).relu() @ halves(24, 8),
    "row": lambda: (halves(64, 32) @ halves(32, 24)).softmax(-1) @ halves(24, 8),
}


@pytest.mark.parametrize("name", HALF_CHAINS)
def test_nothing_is_stored_wider_than_it_is_known(name: str) -> None:
    """A product widens its operands itself: between two, the narrow values lie."""
    groups = fuse(without_markers([HALF_CHAINS[name]().node]), TARGET)
    assert [root.dtype for group in groups for root in group.roots] == (
        [bfloat16] * len(groups)
    )


def test_a_product_reads_a_concatenation_of_many_parts_from_memory() -> None:
    """Packing would look for each element in every part."""
    weight = values(8, 96)
    for count, kernels in ((2, 1), (6, 2)):
        parts = [values(96 // count, 10 + number)[:, :10] for number in range(count)]
        joined = cat(parts)
        groups = fuse(without_markers([(weight @ joined).node]), TARGET)
        assert len(groups) == kernels


def test_scores_of_many_classes_are_not_stored_once_more() -> None:
    """The loss and its gradient make what they need of the scores as they came."""
    scores = halves(2048, 8192).requires_grad_()
    classes = Tensor(np.arange(2048), device="reference")
    loss = cross_entropy(scores.float(), classes)
    loss.backward()
    assert scores.grad is not None
    groups = fuse(without_markers([loss.node, scores.grad.node]), SM_90A)
    wide = [root for group in groups for root in group.roots if root.numel >= 2048 * 8]
    assert [root.dtype for root in wide] == [bfloat16]
    in_memory = {root for group in groups for root in group.roots}
    assert "gather" in kernel_name(lower(wide, in_memory).kernel), "not added up"


def test_where_an_update_goes_is_told_by_the_kernel_that_makes_it() -> None:
    """A mask from memory would hide that all but a row stays as it was."""
    cache, rows = halves(16, 8, 256, 32), halves(16, 8, 1, 32)
    place = Tensor(np.array([7]), device="reference").realize()
    cache[:, :, place] = rows
    groups = fuse(without_markers([cache.node]), SM_90A)
    assert [root.dtype for group in groups for root in group.roots] == [bfloat16]


@pytest.mark.parametrize("dims", [None, -1, -2])
def test_scores_of_a_sum_of_attention_are_not_stored(dims: int | None) -> None:
    """The sum would else become part of the product that weights are carried in."""
    query, key, value = (values(2, 256, 64).realize() for _ in range(3))
    total = query.scaled_dot_product_attention(key, value).sum(dims)
    stored = fuse(without_markers([total.node]), SM_90A)
    assert max(root.numel for group in stored for root in group.roots) < 2 * 256 * 256


def test_a_sum_over_all_rows_of_a_product_follows_it() -> None:
    product = values(96, 64).realize() @ values(64, 80).realize()
    groups = fuse([product.sum(0).node], SM_90A)
    assert [root.shape for group in groups for root in group.roots] == [(96, 80), (80,)]
