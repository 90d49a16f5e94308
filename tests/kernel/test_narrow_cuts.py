"""Long elementwise kernels are cut where few values live; what scatters read."""

from __future__ import annotations

import numpy as np

import tetragrad
from tetragrad import Tensor
from tetragrad.core.settings import override, settings
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import device, without_markers
from tetragrad.kernel.expression import Load
from tetragrad.kernel.fusion.fuse import MAXIMUM_INLINE_NODES
from tetragrad.kernel.ir import Mode
from tetragrad.kernel.lowering import Lowered


def steps(x: Tensor, count: int) -> Tensor:
    """A recurrence of three values, with a mask at each step."""
    a, b, c = x, x * 0 + 1, x + 1
    for k in range(1, count):
        following = b + c * k / (a + k)
        is_done = (following - b).abs() < 1e-6 * b.abs()
        a = a.where(is_done, a + 0.5 * following / (following.square() + 1))
        b = b.where(is_done, following * 0.5 + 0.25)
        c = c.where(is_done, (c + 1 / k).sqrt())
    return a + b + c


def kernels(value: Tensor) -> list[Lowered]:
    nodes = without_markers([value.node])
    return list(kernels_of(nodes, device("cpu").target, settings())[1])


def test_each_kernel_hands_few_values_to_the_next() -> None:
    x = Tensor(np.linspace(0.5, 3, 1000, dtype=np.float32))
    found = kernels(steps(x, 60))
    nodes = 60 * 30
    assert len(found) <= 4 * nodes / MAXIMUM_INLINE_NODES
    assert all(len(entry.kernel.outputs) <= 4 for entry in found)
    assert all(len(entry.inputs) <= 4 for entry in found)


def test_a_long_recurrence_has_the_values_of_its_steps() -> None:
    generator = np.random.default_rng(0)
    x = generator.uniform(0.5, 3.0, (7, 50)).astype(np.float32)
    a, b, c = x.astype(np.float64), np.ones(x.shape), x + 1.0
    for k in range(1, 60):
        following = b + c * k / (a + k)
        is_done = np.abs(following - b) < 1e-6 * np.abs(b)
        a = np.where(is_done, a, a + 0.5 * following / (following**2 + 1))
        b = np.where(is_done, b, following * 0.5 + 0.25)
        c = np.where(is_done, c, np.sqrt(c + 1 / k))
    result = steps(Tensor(x), 60)
    np.testing.assert_allclose(result.numpy(), a + b + c, rtol=1e-4)


def test_long_kernels_of_several_outputs_and_reductions() -> None:
    x = Tensor(np.linspace(0.5, 3, 600, dtype=np.float32).reshape(20, 30))
    y = steps(x, 30)
    total = steps(y / y.sum(1, keepdim=True), 30)
    both = tetragrad.stack([total.sum(0), total.amax(0)])
    with override(fuse=False):
        apart = both.numpy()
    again = steps(x, 30)
    again = steps(again / again.sum(1, keepdim=True), 30)
    together = tetragrad.stack([again.sum(0), again.amax(0)])
    np.testing.assert_allclose(together.numpy(), apart, rtol=1e-5)


def test_a_scatter_reads_what_is_costly_from_memory() -> None:
    x = Tensor(np.linspace(-3, 3, 1 << 16, dtype=np.float32))
    place = (x.sigmoid() * 63).floor().long()
    counts = Tensor.zeros(64).scatter_add(0, place, x.abs().log1p())
    (scatter,) = [
        entry
        for entry in kernels(counts)
        if entry.kernel.outputs[0].mode is not Mode.STORE
    ]
    numbers = [slot.numel for slot in scatter.kernel.slots]
    assert sorted(numbers) == [64, x.numel(), x.numel()]
    assert isinstance(scatter.kernel.outputs[0].value, Load)
    expected = np.zeros(64)
    np.add.at(expected, place.numpy(), np.log1p(np.abs(x.numpy().astype(np.float64))))
    np.testing.assert_allclose(counts.numpy(), expected, rtol=1e-4)


def test_a_scatter_does_light_work_by_itself() -> None:
    x = Tensor(np.ones(1 << 16, np.float32)).realize()
    place = Tensor(np.arange(1 << 16) % 64).realize()
    assert len(kernels(Tensor.zeros(64).scatter_add(0, place, x * 2))) == 2
