"""A GPU's memory pool, on a driver that counts bytes; none of this needs a GPU."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tetragrad import Tensor
from tetragrad.backends import holdings
from tetragrad.backends.cuda import driver
from tetragrad.backends.cuda.memory import Pool
from tetragrad.core.errors import OutOfMemoryError
from tetragrad.engine import memory
from tetragrad.graph.leaves import Buffer

MEGABYTE = 1 << 20


class Gpu:
    """Memory that is allocated and freed by number, in the driver's place."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.blocks: dict[int, int] = {}

    def call(self, name: str, *arguments: Any, doing: str) -> None:
        if name == "cuMemFree_v2":
            del self.blocks[arguments[0].value]
            return
        assert name == "cuMemAlloc_v2"
        place, size = arguments
        if sum(self.blocks.values()) + size.value > self.total:
            raise OutOfMemoryError(doing)
        address = 4096 * (1 + len(self.blocks) + max(self.blocks, default=0))
        self.blocks[address] = size.value
        place._obj.value = address

    # --- as a context --------------------------------------------------------------

    def use(self) -> None:
        """There is one thread."""

    def synchronize(self) -> None:
        """Nothing is under way."""

    def free_bytes(self) -> tuple[int, int]:
        return self.total - sum(self.blocks.values()), self.total


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    found = Gpu(1000 * MEGABYTE)
    monkeypatch.setattr(driver, "call", found.call)
    return found


def pool_of(gpu: Gpu) -> Pool:
    return Pool(gpu, SimpleNamespace(count=0))  # type: ignore[arg-type]


def tensor_in(pool: Pool, *shape: int) -> Tensor:
    """A tensor whose elements are on the GPU."""
    nbytes = 4 * int(np.prod(shape))
    node = Buffer(pool.allocate(nbytes), shape, Tensor.ones(1).dtype, "cuda")
    return Tensor.from_node(node)


def test_blocks_are_reused_and_given_back_when_memory_is_short(gpu: Gpu) -> None:
    pool = pool_of(gpu)
    first = pool.allocate(600 * MEGABYTE)
    address = first.address
    del first
    assert (pool.used_bytes, pool.idle_bytes) == (0, 640 * MEGABYTE)
    again = pool.allocate(600 * MEGABYTE)
    assert again.address == address
    assert (pool.used_bytes, pool.idle_bytes) == (640 * MEGABYTE, 0)
    del again
    other = pool.allocate(900 * MEGABYTE)
    assert list(gpu.blocks.values()) == [other.nbytes]


def test_cycles_are_collected_before_memory_is_said_to_be_full(gpu: Gpu) -> None:
    pool = pool_of(gpu)
    cycle: list[Any] = [pool.allocate(600 * MEGABYTE)]
    cycle.append(cycle)
    gc.disable()
    try:
        del cycle
        assert pool.allocate(700 * MEGABYTE).nbytes == 704 * MEGABYTE
    finally:
        gc.enable()


def test_the_error_says_what_holds_the_memory(gpu: Gpu) -> None:
    pool = pool_of(gpu)
    large = tensor_in(pool, 256, 1024, 1024 // 4)
    small = [tensor_in(pool, 16, 1024, 1024) for _ in range(3)]
    temporary = pool.allocate(128 * MEGABYTE)
    elsewhere = Tensor.zeros(1000, 1000).realize()
    with pytest.raises(OutOfMemoryError) as caught:
        pool.allocate(768 * MEGABYTE)
    text = str(caught.value)
    assert "805,306,368 bytes asked for on the GPU" in text
    assert "(256, 1024, 256), made at " + __file__ in text
    assert "3 times float32 of shape (16, 1024, 1024)" in text
    assert "134,217,728 bytes: temporaries" in text
    assert "(1000, 1000)" not in text
    assert len([large, small, temporary, elsewhere]) == 4


def test_what_cannot_fit_is_refused_with_its_purpose(gpu: Gpu) -> None:
    pool = pool_of(gpu)
    pool.check_fits(900 * MEGABYTE, "2 results")
    held = pool.allocate(500 * MEGABYTE)
    with pytest.raises(OutOfMemoryError, match="on the GPU, for 2 results; "):
        pool.check_fits(900 * MEGABYTE, "2 results")
    del held
    pool.check_fits(900 * MEGABYTE, "2 results")


def test_what_is_in_use_is_counted_on_all_devices(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_of(gpu)
    monkeypatch.setattr(holdings, "pools", [pool])
    before = memory.allocated_bytes()
    block = pool.allocate(512 * MEGABYTE)
    assert memory.allocated_bytes() == before + 512 * MEGABYTE
    del block
    assert memory.allocated_bytes() == before
    memory.empty_cache()
    assert not gpu.blocks
