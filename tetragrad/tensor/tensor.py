"""The public Tensor: the handle plus every family of methods."""

from __future__ import annotations

from typing import Any

from tetragrad.core.dtypes import from_numpy, to_dtype
from tetragrad.engine import realize as engine
from tetragrad.graph.node import Node
from tetragrad.tensor import holders
from tetragrad.tensor.autograd import backward
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.creation import CreationMethods, array_of, as_pairs
from tetragrad.tensor.devices import device_name
from tetragrad.tensor.fourier.methods import FrameMethods
from tetragrad.tensor.hooks import (
    register_hook,
    register_post_accumulate_grad_hook,
    retain_grad,
    retains_grad,
)
from tetragrad.tensor.linalg.methods import LinearAlgebraMethods
from tetragrad.tensor.mixed_precision import cast_operands_of
from tetragrad.tensor.promotion import to_node
from tetragrad.tensor.properties import PropertyMethods
from tetragrad.tensor.storage import AS_COMPLEX, Storage, View


class Tensor(PropertyMethods, LinearAlgebraMethods, FrameMethods):
    """An array of one dtype on one device, computed when it is first needed.

    Two or more integers are sizes, as ``empty`` takes them.

    Args:
        data: a number, nested lists of numbers, an array or another tensor; copied.
        dtype: float32 for Python floats, int64 for integers, an array's own
            otherwise.
        device: where the elements live; the default device if left out.
        requires_grad: collect gradients in ``.grad``.

    >>> Tensor([[1, 2], [3, 4]], dtype="float32") * 2
    tensor([[2., 4.],
            [6., 8.]])
    >>> Tensor(2, 3).shape
    (2, 3)
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Any = (),
        *more: Any,
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool = False,
    ) -> Tensor:
        if more and all(isinstance(size, int) for size in (data, *more)):
            data, more = CreationMethods.zeros(data, *more), ()
        options: list[Any] = [dtype, device, requires_grad]
        options[: len(more)] = more
        dtype, device, requires_grad = options
        wanted = None if dtype is None else to_dtype(dtype)
        place = device_name(device)
        if isinstance(data, TensorBase):
            wanted = wanted or data.dtype
            node: Node = to_node(data.detach(), wanted)
        else:
            array = array_of(data, wanted)
            wanted = from_numpy(array.dtype)
            elements = as_pairs(array) if wanted.is_complex else array
            node = engine.from_array(elements, place)
        steps: View = (AS_COMPLEX,) if wanted.is_complex else ()
        made = cls._handle(Storage(node, tracked=False), steps)
        return made.requires_grad_() if requires_grad else made

    backward = backward
    register_hook = register_hook
    register_post_accumulate_grad_hook = register_post_accumulate_grad_hook
    retain_grad = retain_grad
    retains_grad = property(retains_grad)

    def __dir__(self) -> list[str]:
        # Python suggests one of them for a misspelt name, if there are not over 750.
        # (A __getattr__ that did so would make every attribute five times slower.)
        return [name for name in super().__dir__() if not name.startswith("_")]


cast_operands_of(Tensor)
TensorBase.tensor_class = Tensor
holders.register()
