"""Gradients of attention: the values, and that no buffer has the scores' size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

import tetragrad
from tetragrad import Tensor
from tetragrad.backends.cpu.compiler import Processor
from tetragrad.backends.cpu.target import make_target
from tetragrad.engine.realize import without_markers
from tetragrad.kernel.fusion.fuse import fuse
from tetragrad.kernel.fusion.groups import Group
from tetragrad.tensor.pending import realize_tensors

WIDE = make_target(Processor("x86_64-unknown-linux-gnu", "", ("+avx512f",)))
#: Long enough that the scores are made again and not stored.
LENGTH = 112
DEPTH = 16
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def random(*shape: int) -> np.ndarray:
    generator = np.random.default_rng(sum(shape) + len(shape))
    return generator.standard_normal(shape).astype(np.float32)


def leaf(*shape: int, dtype: str = "float32", seed: int = 0) -> Tensor:
    generator = np.random.default_rng(seed + sum(shape))
    values = Tensor(generator.standard_normal(shape).astype(np.float32))
    return values.to(getattr(tetragrad, dtype)).realize().requires_grad_()


def leaves(
    queries: Sequence[int], keys: Sequence[int], values: Sequence[int], dtype: str
) -> list[Tensor]:
    shapes = (queries, keys, values)
    return [leaf(*s, dtype=dtype, seed=n) for n, s in enumerate(shapes)]


def in_float64(tensor: Tensor) -> torch.Tensor:
    exact = torch.tensor(tensor.detach().float().numpy().astype(np.float64))
    return exact.requires_grad_()


def check(
    shapes: tuple[Sequence[int], Sequence[int], Sequence[int]],
    *,
    dtype: str = "float32",
    mask: np.ndarray | None = None,
    **options: object,
) -> None:
    """Values and gradients against PyTorch's in float64."""
    ours = leaves(*shapes, dtype)
    theirs = [in_float64(tensor) for tensor in ours]
    masks = (None, None) if mask is None else (Tensor(mask), torch.tensor(mask))
    if mask is not None and mask.dtype != np.bool_:
        masks = (Tensor(mask).requires_grad_(), in_float64(Tensor(mask)))
    found = ours[0].scaled_dot_product_attention(
        ours[1], ours[2], attn_mask=masks[0], **options
    )
    wanted = torch.nn.functional.scaled_dot_product_attention(
        *theirs, attn_mask=masks[1], **options
    )
    if mask is not None and mask.dtype != np.bool_:
        ours, theirs = [*ours, masks[0]], [*theirs, masks[1]]
    upstream = leaf(*found.shape, dtype=dtype, seed=9).detach()
    gradients = tetragrad.grad(found, ours, upstream)
    exact = torch.autograd.grad(wanted, theirs, in_float64(upstream).detach())
    realize_tensors([found, *gradients])
    limit = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}[dtype]
    for one, other in zip([found, *gradients], [wanted, *exact], strict=True):
        difference = one.detach().double().numpy() - other.detach().numpy()
        norm = np.linalg.norm(other.detach().numpy())
        assert np.linalg.norm(difference) < limit * norm


SQUARE = ((2, 3, LENGTH, DEPTH),) * 3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("is_causal", [False, True])
def test_all_dtypes(dtype: str, is_causal: bool) -> None:
    check(SQUARE, dtype=dtype, is_causal=is_causal)


def test_other_lengths_and_columns() -> None:
    check(((6, 100, 16), (6, 130, 16), (6, 130, 24)), scale=0.3)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_grouped_heads(dtype: str) -> None:
    keys = (2, 2, LENGTH, DEPTH)
    shapes = ((2, 4, LENGTH, DEPTH), keys, keys)
    check(shapes, dtype=dtype, enable_gqa=True, is_causal=True)


def test_a_row_of_one_weight_has_no_gradient_of_its_scores() -> None:
    """Few keys, of which one has all the weight, or next to all."""
    draw = np.random.default_rng(5)
    query, key, value = (
        Tensor((60 * draw.standard_normal((4, rows, 8))).astype(np.float32))
        for rows in (3, 6, 6)
    )
    query.requires_grad_()
    mixed = query.scaled_dot_product_attention(key, value)
    upstream = leaf(*mixed.shape, seed=9).detach()
    (gradient,) = tetragrad.grad(mixed, [query], upstream)
    assert np.abs(gradient.numpy()).max() < 1e-9


def test_keys_of_all_batches() -> None:
    keys = (1, 3, LENGTH, DEPTH)
    check(((2, 3, LENGTH, DEPTH), keys, keys))


def test_mask() -> None:
    check(SQUARE, mask=(random(LENGTH, LENGTH) < 0.5) | np.eye(LENGTH, dtype=bool))


def test_bias_with_its_gradient() -> None:
    check(SQUARE, mask=random(3, LENGTH, LENGTH))


def composed(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention with dropout, written out."""
    scores = query @ key.mT * query.shape[-1] ** -0.5
    weights = scores.softmax(-1)
    kept = Tensor.rand(weights.shape) >= 0.25
    return (weights / 0.75).where(kept, 0.0) @ value


def test_dropped_weights_have_no_gradient() -> None:
    found = []
    for attend in (
        lambda q, k, v: q.scaled_dot_product_attention(k, v, dropout_p=0.25),
        composed,
    ):
        tetragrad.manual_seed(3)
        inputs = leaves(*SQUARE, "float32")
        result = attend(*inputs)
        upstream = leaf(*result.shape, seed=9).detach()
        made = [result, *tetragrad.grad(result, inputs, upstream)]
        realize_tensors(made)
        found.append([entry.detach().numpy() for entry in made])
    for one, other in zip(*found, strict=True):
        assert np.linalg.norm(one - other) < 1e-5 * np.linalg.norm(other)


def test_second_derivatives() -> None:
    shape = (2, 7, 4)
    ours = leaves(shape, shape, shape, "float32")
    theirs = [in_float64(tensor) for tensor in ours]
    result = ours[0].scaled_dot_product_attention(*ours[1:], is_causal=True)
    exact = torch.nn.functional.scaled_dot_product_attention(*theirs, is_causal=True)
    first = tetragrad.grad((result**2).sum(), ours, create_graph=True)
    wanted = torch.autograd.grad((exact**2).sum(), theirs, create_graph=True)
    total = sum((entry**2).sum() for entry in first)
    second = tetragrad.grad(total, ours)
    expected = torch.autograd.grad(sum((entry**2).sum() for entry in wanted), theirs)
    for one, other in zip(second, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=2e-4, atol=2e-4)


# --- what is stored ------------------------------------------------------------------


def by_hand(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return (query @ key.mT * 0.3).softmax(-1) @ value


def dropping(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return query.scaled_dot_product_attention(key, value, dropout_p=0.1)


def causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return query.scaled_dot_product_attention(key, value, is_causal=True)


def biased(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    bias = Tensor(random(LENGTH, LENGTH)).realize()
    return query.scaled_dot_product_attention(key, value, attn_mask=bias)


def groups_of(attend: Attend, dtype: str) -> list[Group]:
    inputs = leaves(*SQUARE, dtype)
    result = attend(*inputs)
    upstream = leaf(*result.shape, dtype=dtype, seed=9).detach()
    gradients = tetragrad.grad(result, inputs, upstream)
    nodes = [entry.node for entry in (result, *gradients)]
    return fuse(without_markers(nodes), WIDE)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("attend", [causal, biased, dropping, by_hand])
def test_nothing_of_the_size_of_the_scores_is_stored(
    attend: Attend, dtype: str
) -> None:
    groups = groups_of(attend, dtype)
    sizes = [root.numel for group in groups for root in group.roots]
    assert max(sizes) == 2 * 3 * LENGTH * DEPTH


@pytest.mark.parametrize("total", [Tensor.sum, Tensor.mean])
@pytest.mark.parametrize("attend", [causal, by_hand])
def test_a_gradient_from_a_constant_stores_no_scores(
    attend: Attend, total: Callable[[Tensor], Tensor]
) -> None:
    inputs = leaves(*SQUARE, "float32")
    result = total(attend(*inputs))
    nodes = [entry.node for entry in (result, *tetragrad.grad(result, inputs))]
    groups = fuse(without_markers(nodes), WIDE)
    sizes = [root.numel for group in groups for root in group.roots]
    assert max(sizes) == 2 * 3 * LENGTH * DEPTH


def test_one_kernel_gives_both_gradients_that_share_scores() -> None:
    groups = groups_of(causal, "float32")
    assert sorted(len(group.roots) for group in groups) == [1, 1, 2, 2]
