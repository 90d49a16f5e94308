"""Kernels of partial writes: which points are left, and that they say the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tetragrad import Tensor, no_grad
from tetragrad.backends.reference.kernel import run_kernel
from tetragrad.core.settings import settings
from tetragrad.engine.pipeline import kernels_of
from tetragrad.engine.realize import device, read_buffer, without_markers
from tetragrad.graph.leaves import Buffer
from tetragrad.kernel.ir import Kernel
from tetragrad.kernel.updates import narrowed
from tetragrad.kernel.verify import verify_kernel

SHAPE = (2, 16, 4)


def number(value: int) -> Tensor:
    return Tensor(np.array(value, np.int64)).realize()


def _row(cache: Tensor) -> None:
    cache[:, 5] = Tensor(np.ones((2, 4), np.float32)).realize()


def _rows(cache: Tensor) -> None:
    cache[:, 3:6] = Tensor(np.ones((2, 3, 4), np.float32)).realize()


def _box(cache: Tensor) -> None:
    cache[1:, 2:9, 1:3] = Tensor(np.ones((1, 7, 2), np.float32)).realize()


def _row_at_index(cache: Tensor) -> None:
    cache[:, number(7)] = Tensor(np.ones((2, 4), np.float32)).realize()


def _row_from_the_end(cache: Tensor) -> None:
    cache[:, number(-3)] = Tensor(np.ones((2, 4), np.float32)).realize()


def _copied_row(cache: Tensor) -> None:
    position = number(9).reshape(1)
    cache.index_copy_(1, position, Tensor(np.ones((2, 1, 4), np.float32)).realize())


def kernel_of(
    write: Callable[[Tensor], None],
) -> tuple[Kernel, int, list[np.ndarray]]:
    """The kernel of a write into a cache, the slot of the old cache, and all inputs."""
    cache = Tensor(np.full(SHAPE, 0.5, np.float32)).realize()
    with no_grad():
        write(cache)
    target, active = device("cpu").target, settings()
    _, (lowered,) = kernels_of(without_markers([cache.real_node]), target, active)
    leaves = [entry for entry in lowered.inputs if isinstance(entry, Buffer)]
    inputs = [read_buffer(entry).ravel() for entry in leaves]
    sizes = [entry.size for entry in inputs]
    return lowered.kernel, sizes.index(cache.numel()), inputs


@pytest.mark.parametrize(
    ("write", "points"),
    [
        (_row, (2, 4)),
        (_rows, (2, 3, 4)),
        (_box, (7, 2)),
        (_row_at_index, (2, 4)),
        (_row_from_the_end, (2, 4)),
        (_copied_row, (2, 4)),
    ],
)
def test_a_partial_write_goes_over_what_it_writes(
    write: Callable[[Tensor], None], points: tuple[int, ...]
) -> None:
    kernel, old, inputs = kernel_of(write)
    (output,) = kernel.outputs
    narrow = narrowed(kernel, {output.slot: old})
    assert narrow is not None
    verify_kernel(narrow)
    assert narrow.axes == points
    assert narrow.slots == kernel.slots
    whole, part = np.zeros_like(inputs[old]), inputs[old].copy()
    run_kernel(kernel, [*inputs, whole])
    run_kernel(narrow, [*inputs, part])
    np.testing.assert_array_equal(part, whole)


def test_a_write_of_everything_stays_as_it_is() -> None:
    kernel, old, _ = kernel_of(lambda cache: cache.add_(1.0))  # type: ignore[arg-type]
    assert narrowed(kernel, {kernel.outputs[0].slot: old}) is None


def test_another_old_value_is_not_taken_for_the_outputs() -> None:
    kernel, old, _ = kernel_of(_row)
    assert narrowed(kernel, {kernel.outputs[0].slot: 1 - old}) is None


def test_many_writes_at_one_position_all_say_where() -> None:
    position = number(3).reshape(1).realize()
    caches = [Tensor(np.zeros(SHAPE, np.float32)).realize() for _ in range(20)]
    with no_grad():
        for cache in caches:
            cache[:, position] = Tensor(np.ones((2, 1, 4), np.float32)).realize()
    nodes = without_markers([cache.real_node for cache in caches])
    _, kernels = kernels_of(nodes, device("cpu").target, settings())
    # A mask that is stored for all of them would not tell which rows are left alone.
    assert {node.shape for entry in kernels for node in entry.outputs} == {SHAPE}
