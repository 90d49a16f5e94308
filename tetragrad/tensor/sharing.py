"""One memory for tensors and other libraries: DLPack both ways, NumPy's interface.

A value of a graph never changes, but another library may write to memory that it
shares. So a tensor that is handed out, and one that is taken in, has a shared storage
(``SharedStorage``): what reads it is computed at once, and every read sees the memory
as it is then.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import ExchangeError, GradientError
from tetragrad.core.settings import settings
from tetragrad.engine import realize as engine
from tetragrad.graph.leaves import Buffer
from tetragrad.graph.movement import Movement, Permute
from tetragrad.graph.node import Node, size_of
from tetragrad.tensor.base import TensorBase, redirect
from tetragrad.tensor.creation import as_pairs
from tetragrad.tensor.devices import device_name
from tetragrad.tensor.dlpack_structures import (
    CUDA_DEVICE,
    HOST_DEVICES,
    VERSION,
    Block,
    Taken,
    capsule_of,
)
from tetragrad.tensor.layout import is_row_major, row_major
from tetragrad.tensor.pending import realize_tensors
from tetragrad.tensor.storage import AS_COMPLEX, Moved, SharedStorage, Storage, View

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class _Kept:
    """Elements by address, with what keeps them: NumPy reads this as an array.

    The owner is the buffer, not only its memory: a captured function writes its next
    results to buffers that nobody holds.
    """

    def __init__(
        self, address: int, nbytes: int, owner: object, *, read_only: bool
    ) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "version": 3,
            "shape": (nbytes,),
            "typestr": "|u1",
            "data": (address, read_only),
        }


def _array_at(block: Block, owner: object) -> np.ndarray:
    """A block of the host's memory as an array; ``owner`` lives as long as it."""
    if 0 in block.shape or not block.address:
        return np.empty(block.shape, block.dtype.numpy)
    steps = [stride * block.dtype.itemsize for stride in block.strides]
    reach = [step * (size - 1) for step, size in zip(steps, block.shape, strict=True)]
    first = sum(min(entry, 0) for entry in reach)
    last = sum(max(entry, 0) for entry in reach) + block.dtype.itemsize
    kept = _Kept(block.address + first, last - first, owner, read_only=block.read_only)
    return np.ndarray(
        block.shape, block.dtype.numpy, np.asarray(kept), -first, tuple(steps)
    )


# --- reading where it lies ------------------------------------------------------------


def host_view(tensor: TensorBase) -> np.ndarray:
    """The elements as an array that shares the tensor's memory and may not be written.

    A buffer can be the value of several tensors. Memory of another device is copied,
    and so is a view that NumPy cannot express with strides.
    """
    buffer = realize_tensors([tensor])[0]
    array = _shown(tensor, buffer, _whole(buffer))
    array.flags.writeable = False
    return array


def _whole(buffer: Buffer) -> np.ndarray:
    """All elements of a buffer, which lives as long as the array."""
    elements = engine.read_buffer(buffer)
    address, nbytes = elements.ctypes.data, elements.nbytes
    if not nbytes:
        return elements.copy()
    kept = _Kept(address, nbytes, (buffer, elements), read_only=False)
    return np.asarray(kept).view(elements.dtype).reshape(elements.shape)


def _shown(tensor: TensorBase, buffer: Buffer, array: np.ndarray) -> np.ndarray:
    """What a tensor shows of the elements of its storage's buffer."""
    node: Node = buffer
    for step in tensor.steps:
        if isinstance(step, Moved):
            node = step.movement.build((node, *step.arguments))
            array = cast(Movement, node).move(array)
    if not tensor.dtype.is_complex:
        return array[...]
    if array.strides[-1] != array.itemsize:
        array = np.ascontiguousarray(array)
    return array.view(tensor.dtype.numpy)[..., 0]


def as_array(tensor: TensorBase, dtype: Any, *, never_copy: bool) -> np.ndarray:
    """The elements for NumPy, shared and not to be written to where that can be.

    Raises:
        ExchangeError: ``never_copy``, and NumPy cannot read them where they lie.
    """
    on_host = engine.device(tensor.device).has_host_memory
    array = host_view(tensor) if on_host else tensor.read()
    converted = array if dtype is None else array.astype(dtype, copy=False)
    is_shared = on_host and np.may_share_memory(converted, array)
    if never_copy and converted.size and not is_shared:
        raise ExchangeError(
            f"an array of a tensor on {tensor.device!r} in {converted.dtype} without "
            "a copy",
            hint="leave copy=False out",
        )
    return converted


def with_arrays(value: Any) -> Any:
    """A function's arguments with arrays in place of tensors, also within lists."""
    if isinstance(value, TensorBase):
        return np.asarray(value)
    if type(value) in (list, tuple):
        return type(value)(with_arrays(entry) for entry in value)
    if type(value) is dict:
        return {name: with_arrays(entry) for name, entry in value.items()}
    return value


def array_interface(tensor: TensorBase) -> dict[str, Any]:
    """NumPy's description of an array in memory that the tensor's buffer keeps.

    Raises:
        AttributeError: there is none; the caller then asks for ``__array__``.
    """
    on = engine.device(tensor.device)
    if not on.has_host_memory or tensor.dtype.numpy.kind == "V":
        raise AttributeError("a tensor without an array interface")
    _check_no_gradient("an array", tensor, "write x.detach().numpy()")
    array = np.ascontiguousarray(host_view(tensor))
    array.flags.writeable = False
    return {
        "version": 3,
        "shape": tensor.shape,
        "typestr": array.dtype.str,
        # The bytes and not their address: they keep the buffer, which the tensor
        # itself lets go when it is written to.
        "data": array.reshape(-1).view(np.uint8),
    }


def _check_no_gradient(what: str, tensor: TensorBase, hint: str) -> None:
    if tensor.requires_grad:
        raise GradientError(
            f"{what} of a tensor that requires a gradient would lose the gradient",
            hint=hint,
        )


# --- handing out ----------------------------------------------------------------------


def dlpack(
    tensor: TensorBase,
    *,
    stream: int | None = None,
    max_version: tuple[int, int] | None = None,
    dl_device: tuple[int, int] | None = None,
    copy: bool | None = None,
) -> object:
    """A DLPack capsule on the tensor's elements: ``Tensor.__dlpack__``."""
    _check_no_gradient("__dlpack__()", tensor, "pass x.detach()")
    on = engine.device(tensor.device)
    wanted = tuple(dl_device or on.dlpack_device)
    versioned = max_version is not None and max_version[0] >= 1
    if stream == -1 or not on.has_host_memory:
        on.synchronize()
    if wanted == on.dlpack_device and not on.has_host_memory:
        block, owner = _device_block(tensor, copy=bool(copy))
    elif on.has_host_memory and wanted[0] in HOST_DEVICES:
        block, owner = _host_block(tensor, copy=copy)
    elif wanted[0] in HOST_DEVICES and copy is not False:
        block, owner = _block_of(tensor.read(), copied=True)
    else:
        raise ExchangeError(
            f"__dlpack__(dl_device={dl_device}, copy={copy}) of a tensor on "
            f"{tensor.device!r}",
            hint="move it first, x.to('cpu')",
        )
    return capsule_of(block, owner, versioned=versioned)


def _host_block(tensor: TensorBase, *, copy: bool | None) -> tuple[Block, object]:
    if copy:
        return _block_of(tensor.read(), copied=True)
    _share(tensor)
    storage = cast(SharedStorage, tensor.storage)
    array = _shown(tensor, cast(Buffer, storage.value), storage.array)
    is_copy = array.size > 0 and not np.may_share_memory(array, storage.array)
    if is_copy and copy is False:
        raise ExchangeError(
            f"__dlpack__(copy=False) of a view of shape {tensor.shape} that strides "
            "cannot express",
            hint="pass copy=None, or x.contiguous()",
        )
    return _block_of(array, copied=is_copy)


def _block_of(array: np.ndarray, *, copied: bool) -> tuple[Block, object]:
    if any(step < 0 for step in array.strides):
        # Most consumers do not take negative strides.
        array, copied = array.copy(), True
    block = Block(
        array.ctypes.data,
        (HOST_DEVICES[0], 0),
        dtypes.from_numpy(array.dtype),
        array.shape,
        tuple(step // array.itemsize for step in array.strides),
        read_only=not array.flags.writeable,
        copied=copied,
    )
    return block, array


def _share(tensor: TensorBase) -> None:
    """Let others write to the tensor's memory: from now on every read looks there.

    What other tensors have as their value stays theirs: if the buffer is not this
    storage's alone, its elements are copied once.
    """
    storage = tensor.storage
    if isinstance(storage, SharedStorage):
        return
    realize_tensors([tensor])
    buffer = storage.value
    if not isinstance(buffer, Buffer) or sys.getrefcount(storage.value) > _ALONE:
        computed = realize_tensors([tensor])[0]
        buffer = engine.from_array(engine.read_buffer(computed), tensor.device)
    redirect(tensor, SharedStorage(_whole(buffer), tensor.device), tensor.steps)


class _Holder:
    """Stands where a storage would, to count what a lone reference counts."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = object()


_ALONE = sys.getrefcount(_Holder().value)


def _device_block(tensor: TensorBase, *, copy: bool) -> tuple[Block, object]:
    """Elements in another device's memory; consumers must not write to them."""
    whole: Any = tensor
    if any(isinstance(step, Moved) for step in tensor.steps):
        whole = whole.clone()
    buffer = realize_tensors([whole])[0]
    if copy:
        buffer = engine.from_array(engine.read_buffer(buffer), tensor.device)
    on = engine.device(tensor.device)
    on.synchronize()
    block = Block(
        buffer.memory.address,
        on.dlpack_device,
        tensor.dtype,
        tensor.shape,
        row_major(tensor.shape),
        copied=copy,
    )
    return block, buffer


# --- taking in ------------------------------------------------------------------------


def take(x: Any, device: Any, copy: bool | None) -> Tensor:
    """A tensor on the memory of another library's array: ``from_dlpack``."""
    target = None if device is None else device_name(device)
    taken = Taken(_capsule_from(x))
    if taken.block.device[0] in HOST_DEVICES:
        made = _from_host(taken, target, copy)
    elif taken.block.device[0] == CUDA_DEVICE:
        made = _from_gpu(taken, copy)
    else:
        raise ExchangeError(
            f"from_dlpack(): memory of DLPack's device type {taken.block.device[0]}",
            hint="move it to the CPU or to CUDA first",
        )
    if target is None or target == made.device:
        return made
    if copy is False:
        raise ExchangeError(
            f"from_dlpack(device={device!r}, copy=False) of memory on {made.device!r}",
            hint="leave copy out",
        )
    return made.to(target)


def _capsule_from(x: Any) -> object:
    """What ``x.__dlpack__`` gives, in the newest version that it knows."""
    if not hasattr(x, "__dlpack__"):
        return x
    options: dict[str, Any] = {"max_version": VERSION}
    if hasattr(x, "__dlpack_device__") and x.__dlpack_device__()[0] == CUDA_DEVICE:
        number = x.__dlpack_device__()[1]
        options["stream"] = engine.device(_gpu_name(number)).dlpack_stream
    try:
        return x.__dlpack__(**options)
    except TypeError:
        options.pop("max_version")
        return x.__dlpack__(**options)


def _gpu_name(number: int) -> str:
    return f"cuda:{number}" if number else "cuda"


def _from_host(taken: Taken, target: str | None, copy: bool | None) -> Tensor:
    array = _array_at(taken.block, taken)
    on = _host_device(target)
    order = _dense_order(array)
    shares = order is not None and on is not None and array.size > 0
    if copy or not shares:
        if copy is False and array.size:
            raise ExchangeError(
                f"from_dlpack(copy=False) of shape {array.shape} with strides "
                f"{taken.block.strides}: its elements have gaps between them",
                hint="leave copy out",
            )
        return TensorBase.tensor_class(array.copy(), device=on)
    assert order is not None and on is not None
    dense = array.transpose(order)
    steps: View = ()
    if taken.block.dtype.is_complex:
        dense, steps = as_pairs(dense), (AS_COMPLEX,)
    made = TensorBase.tensor_class._handle(SharedStorage(dense, on), steps)
    if order == tuple(range(array.ndim)):
        return made
    back = tuple(order.index(dim) for dim in range(array.ndim))
    return made.moved(Permute, back)


def _host_device(target: str | None) -> str | None:
    """The device that uses the host's memory: the one asked for, or the default."""
    for name in (target, settings().device, "cpu"):
        if name is not None and engine.device(name).has_host_memory:
            return name
    return None


def _dense_order(array: np.ndarray) -> tuple[int, ...] | None:
    """The order of dimensions in which the elements lie without gaps, if any."""
    order = sorted(range(array.ndim), key=lambda dim: (-array.strides[dim], dim))
    # Dimensions of size 1 may have any stride, and stay where they are.
    if array.flags.c_contiguous:
        order = list(range(array.ndim))
    return tuple(order) if array.transpose(order).flags.c_contiguous else None


def _from_gpu(taken: Taken, copy: bool | None) -> Tensor:
    """A tensor on another library's GPU memory, which nobody may write to meanwhile."""
    block = taken.block
    if not is_row_major(block.shape, block.strides):
        raise ExchangeError(
            f"from_dlpack() of GPU memory of shape {block.shape} with strides "
            f"{block.strides}",
            hint="make it contiguous in the other library first",
        )
    on = _gpu_name(block.device[1])
    shape, dtype = block.shape, dtypes.part_dtype(block.dtype)
    steps: View = ()
    if block.dtype.is_complex:
        shape, steps = (*shape, 2), (AS_COMPLEX,)
    memory = _Borrowed(block.address, size_of(shape) * dtype.itemsize, taken)
    storage = Storage(Buffer(memory, shape, dtype, on), tracked=False)
    made = TensorBase.tensor_class._handle(storage, steps)
    return made.clone() if copy else made


class _Borrowed:
    """Memory of a GPU that another library lent us."""

    __slots__ = ("__weakref__", "address", "nbytes", "owner")

    def __init__(self, address: int, nbytes: int, owner: object) -> None:
        self.address = address
        self.nbytes = nbytes
        self.owner = owner
