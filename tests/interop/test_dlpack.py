"""DLPack both ways: shared memory, lifetimes, both protocols, every dtype."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import tetragrad
from tetragrad import Tensor
from tetragrad.core.errors import ExchangeError
from tetragrad.engine import realize as engine
from tetragrad.tensor import dlpack_structures as structures
from tetragrad.tensor.dlpack_structures import (
    CUDA_DEVICE,
    Block,
    Taken,
    capsule_of,
    lent_count,
)

torch = pytest.importorskip("torch")

DTYPES = (
    "bool uint8 int8 int16 int32 int64 float16 bfloat16 float32 float64 "
    "complex64 complex128"
).split()


class OldProtocol:
    """A producer from before version 1.0: it knows no ``max_version``."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __dlpack__(self, stream: Any = None) -> object:
        return self.tensor.__dlpack__(stream=stream)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.tensor.__dlpack_device__()


def test_torch_writes_what_we_read() -> None:
    mine = Tensor(np.arange(6, dtype=np.float32).reshape(2, 3))
    theirs = torch.from_dlpack(mine)
    theirs[0, 0] = 7
    assert mine.tolist() == [[7, 1, 2], [3, 4, 5]]
    assert (mine * 2).tolist() == [[14, 2, 4], [6, 8, 10]]


def test_we_write_what_torch_reads() -> None:
    mine = Tensor([1.0, 2.0])
    theirs = torch.from_dlpack(mine)
    mine.add_(1)
    mine[0] = 9
    assert theirs.tolist() == [9, 3]


def test_a_clone_is_not_written_to() -> None:
    mine = Tensor([1.0, 2.0])
    copied = mine.clone()
    torch.from_dlpack(mine).zero_()
    assert mine.tolist() == [0, 0]
    assert copied.tolist() == [1, 2]


def test_numpy_shares_the_memory() -> None:
    mine = (Tensor([1.0, 2.0]) + 1).realize()
    array = np.from_dlpack(mine)
    array[0] = 5
    assert mine.tolist() == [5, 3]
    again = np.from_dlpack(mine)
    assert again.ctypes.data == array.ctypes.data


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_goes_both_ways(dtype: str) -> None:
    theirs = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(getattr(torch, dtype))
    mine = tetragrad.from_dlpack(theirs)
    assert mine.dtype.name == dtype
    back = torch.from_dlpack(mine)
    assert back.dtype == theirs.dtype
    assert back.data_ptr() == theirs.data_ptr()
    assert torch.equal(back, theirs)


def test_what_torch_writes_is_seen_at_every_read() -> None:
    theirs = torch.zeros(2, 3)
    mine = tetragrad.from_dlpack(theirs)
    theirs[1, 2] = 4
    assert mine.sum().item() == 4
    theirs[1, 2] = 5
    assert mine.sum().item() == 5
    mine.mul_(2)
    assert theirs[1, 2] == 10


def test_permuted_memory_is_shared() -> None:
    theirs = torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1)
    mine = tetragrad.from_dlpack(theirs)
    assert mine.stride() == theirs.stride()
    theirs[1, 1, 1] = -1
    assert np.array_equal(mine.numpy(), theirs.numpy())


def test_views_are_handed_out_with_strides() -> None:
    mine = Tensor(np.arange(12.0).reshape(3, 4))
    for view in (mine.T, mine[1], mine[:, ::2], mine[1:, 1:3]):
        theirs = torch.from_dlpack(view)
        assert np.array_equal(theirs.numpy(), view.numpy())
    # Most consumers know no negative strides.
    assert torch.from_dlpack(mine.flip(0)).tolist() == mine.flip(0).tolist()


def test_gaps_are_copied_or_refused() -> None:
    theirs = torch.arange(6.0)[::2]
    mine = tetragrad.from_dlpack(theirs)
    theirs[0] = 9
    assert mine.tolist() == [0, 2, 4]
    with pytest.raises(ExchangeError, match="gaps"):
        tetragrad.from_dlpack(theirs, copy=False)


def test_copy_is_obeyed() -> None:
    theirs = torch.zeros(2)
    mine = tetragrad.from_dlpack(theirs, copy=True)
    theirs[0] = 1
    assert mine.tolist() == [0, 0]
    array = np.from_dlpack(mine, copy=True)
    array[0] = 2
    assert mine.tolist() == [0, 0]


def test_memory_that_may_only_be_read() -> None:
    array = np.zeros(2)
    array.flags.writeable = False
    mine = tetragrad.from_dlpack(array)
    assert (mine + 1).tolist() == [1, 1]
    with pytest.raises(ExchangeError, match="reading only"):
        mine.add_(1)


def test_the_protocol_before_versions() -> None:
    mine = Tensor([1.0, 2.0])
    taken = tetragrad.from_dlpack(OldProtocol(mine))
    taken.add_(1)
    assert mine.tolist() == [2, 3]
    assert torch.from_dlpack(mine.__dlpack__()).tolist() == [2, 3]


@pytest.mark.parametrize("version", [None, (1, 0), (1, 1), (2, 0)])
def test_memory_lives_as_long_as_its_consumer(version: Any) -> None:
    gc.collect()
    before = lent_count()
    theirs = torch.from_dlpack(Tensor([1.0, 2.0]).__dlpack__(max_version=version))
    # Blocks of this size would be taken from the pool again.
    others = [Tensor([3.0, 4.0]).realize() for _ in range(8)]
    assert theirs.tolist() == [1, 2]
    assert lent_count() == before + 1
    del theirs, others
    gc.collect()
    assert lent_count() == before


def test_a_capsule_that_nobody_takes_lets_go() -> None:
    gc.collect()
    before = lent_count()
    for version in (None, (1, 0)):
        capsule = Tensor([1.0]).__dlpack__(max_version=version)
        assert lent_count() == before + 1
        del capsule
        assert lent_count() == before


def test_a_capsule_is_taken_once() -> None:
    capsule = Tensor([1.0]).__dlpack__()
    tetragrad.from_dlpack(capsule)
    with pytest.raises(ExchangeError, match="has been used"):
        tetragrad.from_dlpack(capsule)


def test_the_exporter_is_told_when_we_are_done() -> None:
    gc.collect()
    before = lent_count()
    taken = tetragrad.from_dlpack(Tensor([1.0, 2.0]))
    computed = taken * 2
    assert lent_count() == before + 1
    del taken
    gc.collect()
    assert lent_count() == before
    assert computed.tolist() == [2, 4]


def test_empty_and_scalar() -> None:
    assert tetragrad.from_dlpack(torch.zeros(0, 3)).shape == (0, 3)
    assert tetragrad.from_dlpack(torch.tensor(3.0)).item() == 3
    assert torch.from_dlpack(Tensor.zeros(0, 3)).shape == (0, 3)
    assert torch.from_dlpack(Tensor(3.0)).item() == 3


def test_a_gradient_is_not_lost() -> None:
    with pytest.raises(tetragrad.GradientError, match="detach"):
        Tensor([1.0], requires_grad=True).__dlpack__()


def test_elements_without_equivalent() -> None:
    class Lanes:
        def __dlpack__(self, **_: Any) -> object:
            return capsule

    block = Block(64, (1, 0), tetragrad.float32, (1,), (1,))
    capsule = capsule_of(block, None, versioned=True)
    address = structures._pointer(capsule, b"dltensor_versioned")
    managed = structures.CManagedVersioned.from_address(address)
    managed.tensor.dtype.lanes = 4
    with pytest.raises(ExchangeError, match="4 lanes"):
        tetragrad.from_dlpack(Lanes())
    managed.tensor.dtype.lanes = 1
    managed.major = 9
    with pytest.raises(ExchangeError, match=r"DLPack 9\.1"):
        tetragrad.from_dlpack(Lanes())
    assert ctypes.sizeof(structures.CTensor) == 48


def test_an_unknown_device_is_named() -> None:
    block = Block(64, (8, 0), tetragrad.float32, (1,), (1,))
    with pytest.raises(ExchangeError, match="device type 8"):
        tetragrad.from_dlpack(capsule_of(block, None, versioned=True))


def test_shared_arguments_of_captured_functions() -> None:
    @tetragrad.jit
    def double(value: Tensor) -> Tensor:
        return value * 2

    theirs = torch.ones(3)
    mine = tetragrad.from_dlpack(theirs)
    for number in (1, 5, 7):
        theirs[0] = number
        assert double(mine).tolist() == [2 * number, 2, 2]


def test_shared_memory_that_a_captured_function_reads() -> None:
    theirs = torch.ones(2)
    weight = tetragrad.from_dlpack(theirs)

    @tetragrad.jit
    def weigh(value: Tensor) -> Tensor:
        return value * weight

    for number in (1, 5, 7):
        theirs[1] = number
        assert weigh(Tensor([1.0, 2.0])).tolist() == [1, 2 * number]


def test_results_of_a_replay_that_are_handed_out_stay() -> None:
    @tetragrad.jit
    def double(value: Tensor) -> Tensor:
        return value * 2

    kept = [torch.from_dlpack(double(Tensor([float(i)]))) for i in range(6)]
    assert [float(entry) for entry in kept] == [0, 2, 4, 6, 8, 10]
    views = [np.asarray(double(Tensor([float(i)]))) for i in range(6)]
    assert [float(entry[0]) for entry in views] == [0, 2, 4, 6, 8, 10]


def test_handing_out_inside_of_a_captured_function_is_refused() -> None:
    @tetragrad.jit
    def leak(value: Tensor) -> Tensor:
        (value * 2).__dlpack__()
        return value

    with pytest.raises(tetragrad.CaptureError):
        leak(Tensor([1.0]))


class FakeGpu:
    """Stands for a GPU: memory that the host cannot read."""

    dlpack_device = (2, 0)
    dlpack_stream = 77
    has_host_memory = False
    synchronized = 0

    def synchronize(self) -> None:
        self.synchronized += 1


def test_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = FakeGpu()
    monkeypatch.setitem(engine._devices, "cuda", gpu)
    streams = []

    class Producer:
        def __dlpack__(self, stream: Any = None, max_version: Any = None) -> object:
            streams.append(stream)
            block = Block(0x7000, (2, 0), tetragrad.float32, (2, 3), (3, 1))
            return capsule_of(block, self, versioned=True)

        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, 0)

    gc.collect()
    before = lent_count()
    mine = tetragrad.from_dlpack(Producer())
    assert (mine.shape, mine.device) == ((2, 3), "cuda")
    assert streams == [77]
    assert mine.__dlpack_device__() == (2, 0)
    taken = Taken(mine.__dlpack__(max_version=(1, 1)))
    assert gpu.synchronized
    assert (taken.block.address, taken.block.device) == (0x7000, (2, 0))
    del taken, mine
    gc.collect()
    assert lent_count() == before


def test_the_process_ends_well_with_memory_lent() -> None:
    program = (
        "import torch, tetragrad\n"
        "kept = torch.from_dlpack(tetragrad.Tensor([1.0, 2.0]))\n"
        "mine = tetragrad.from_dlpack(torch.ones(3))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_numpy_says_itself_that_it_cannot_read_a_gpus_memory() -> None:
    class OnGpu:
        def __dlpack__(self, **options: Any) -> object:
            block = Block(4096, (CUDA_DEVICE, 0), tetragrad.float32, (2,), (1,))
            return capsule_of(block, self, versioned="max_version" in options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return CUDA_DEVICE, 0

    before = lent_count()
    with pytest.raises((BufferError, RuntimeError), match="Unsupported device"):
        np.from_dlpack(OnGpu())
    assert lent_count() == before
