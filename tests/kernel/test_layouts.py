"""Temporaries lie in any order without changing a value, and in one that products like.

Random orders test that kernels are right whatever is chosen; small networks test the
choice itself, whose results are compared with those of row-major memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace

import numpy as np
import pytest

from tests.engine.random_graphs import GraphBuilder
from tetragrad import Tensor, nn
from tetragrad.backends.reference.graph import evaluate
from tetragrad.core.settings import override, settings
from tetragrad.core.target import Target
from tetragrad.engine import pipeline, realize
from tetragrad.engine.realize import read_buffer, without_markers
from tetragrad.graph.node import Node
from tetragrad.kernel.layouts import choose as layouts
from tetragrad.kernel.layouts.choose import choose_layouts
from tetragrad.kernel.layouts.orders import Layouts, strides, with_innermost
from tetragrad.kernel.lowering import Lowered

TARGET = Target("test", "none", cache_bytes=1 << 15, chunk_bytes=16)
CHANNELS_LAST = (0, 2, 3, 1)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """What is compiled here is used by no other test, nor the other way round."""
    realize.forget_schedules()
    yield monkeypatch
    realize.forget_schedules()


def random_orders(seed: int) -> Callable[..., Layouts]:
    """Any order for every temporary."""
    random = np.random.default_rng(seed)

    def choose(kernels: Sequence[Lowered], seen: Set[Node], target: Target) -> Layouts:
        nodes = [node for entry in kernels for node in entry.outputs]
        return {
            node: tuple(map(int, random.permutation(node.ndim)))
            for node in nodes
            if node not in seen and node.ndim > 1
        }

    return choose


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "unfused"])
def test_any_order_gives_the_same(
    seed: int, fuse: bool, fresh: pytest.MonkeyPatch
) -> None:
    fresh.setattr(pipeline, "choose_layouts", random_orders(seed))
    outputs = GraphBuilder(seed, "reference").grow(16)
    wanted = evaluate(outputs, read_buffer)
    with override(device="reference", fuse=fuse):
        found = [read_buffer(buffer) for buffer in realize.realize(outputs)]
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)


# --- networks ------------------------------------------------------------------------


class Block(nn.Module):
    """Two convolutions and what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.second(self.norm(self.first(x)).relu()) + x).relu()


def network(channels: int, blocks: int) -> nn.Module:
    """Blocks between a convolution with steps, a pool and a mean."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, stride=2, padding=1),
        nn.MaxPool2d(2),
        *(Block(channels) for _ in range(blocks)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, 5),
    )


def outcome(seed: int, channels: int, blocks: int, side: int) -> list[Tensor]:
    """Answers, the gradient of the images, and those of the weights; pending."""
    random = np.random.default_rng(seed)
    model = network(channels, blocks)
    for parameter in model.parameters():
        values = random.standard_normal(parameter.shape).astype(np.float32)
        parameter.data = Tensor(values / max(1, values[0].size) ** 0.5)
    images = Tensor(
        random.standard_normal((2, side, side, 3)).astype(np.float32),
        requires_grad=True,
    )
    answers = model(images.permute(0, 3, 1, 2))
    answers.square().mean().backward()
    gradients = [entry.grad for entry in model.parameters()]
    return [answers, images.grad, *gradients]


def kernels(
    tensors: Sequence[Tensor], target: Target, seen: Sequence[Node] = ()
) -> tuple[list[Node], list[Lowered]]:
    nodes = without_markers([entry.node for entry in tensors])
    return nodes, pipeline.kernels_of(nodes, target, settings(), seen=seen)[1]


@pytest.fixture
def chosen(fresh: pytest.MonkeyPatch) -> Iterator[list[Layouts]]:
    """Every choice that is made, also for small tensors."""
    made: list[Layouts] = []

    def choose(*arguments: object) -> Layouts:
        made.append(choose_layouts(*arguments))  # type: ignore[arg-type]
        return made[-1]

    fresh.setattr(layouts, "SMALLEST_ELEMENTS", 1)
    fresh.setattr(pipeline, "choose_layouts", choose)
    yield made


@pytest.mark.parametrize(
    ("channels", "blocks", "side"), [(4, 1, 8), (8, 2, 13), (12, 1, 10)]
)
def test_networks_give_the_same(
    channels: int,
    blocks: int,
    side: int,
    chosen: list[Layouts],
    fresh: pytest.MonkeyPatch,
) -> None:
    on = realize.device("reference")
    with override(device="reference"):
        results = []
        for chunk_bytes in (0, 16):
            target = replace(on.target, chunk_bytes=chunk_bytes)
            fresh.setattr(on, "target", target)
            tensors = outcome(0, channels, blocks, side)
            realize.forget_schedules()
            buffers = realize.realize([entry.node for entry in tensors])
            results.append([read_buffer(buffer) for buffer in buffers])
    plain, turned = results
    assert any(chosen)
    for got, want in zip(turned, plain, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_channels_come_last(chosen: list[Layouts]) -> None:
    _, lowered = kernels(outcome(0, 32, 3, 26), TARGET)
    choice = chosen[-1]
    images = [
        node for node in choice if node.ndim == 4 and node.shape[1:] == (32, 6, 6)
    ]
    assert len(images) >= 6
    assert {choice[node] for node in images} == {CHANNELS_LAST}
    written = {node for entry in lowered for node in entry.outputs}
    assert written >= choice.keys()


def test_equal_layers_stay_equal(chosen: list[Layouts]) -> None:
    with_three, with_six = (
        kernels(outcome(0, 32, blocks, 26), TARGET)[1] for blocks in (3, 6)
    )
    distinct = [
        len({entry.kernel for entry in found}) for found in (with_three, with_six)
    ]
    assert all(chosen)
    assert distinct[0] == distinct[1]


def test_what_is_seen_stays(chosen: list[Layouts]) -> None:
    tensors = outcome(0, 32, 2, 26)
    kernels(tensors, TARGET)
    held = list(chosen[-1])[::2]
    nodes, _ = kernels(tensors, TARGET, seen=held)
    assert held
    assert not {*nodes, *held} & chosen[-1].keys()


def test_a_device_that_packs_wants_nothing(chosen: list[Layouts]) -> None:
    kernels(outcome(0, 32, 1, 26), replace(TARGET, chunk_bytes=0))
    assert chosen[-1] == {}


def test_orders() -> None:
    assert with_innermost(4, 1) == CHANNELS_LAST
    assert strides((2, 3, 5, 7), CHANNELS_LAST) == (105, 1, 21, 3)
