"""From tensors to other dtypes, devices, NumPy and Python; copies and printing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType, to_dtype
from tetragrad.core.errors import (
    GradientError,
    ShapeError,
    TetragradError,
)
from tetragrad.engine import realize as engine
from tetragrad.graph.elementwise import Bitcast
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.transfer import Transfer
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.creation import CreationMethods
from tetragrad.tensor.devices import device_name
from tetragrad.tensor.promotion import (
    Operand,
    Scalar,
    combine,
    to_node,
    to_operand,
)
from tetragrad.tensor.reductions import ReductionMethods

if TYPE_CHECKING:
    from tetragrad.engine.explain import Explanation
    from tetragrad.tensor.tensor import Tensor


class ConversionMethods(ReductionMethods, CreationMethods):
    """Methods that change what the elements are stored as, or copy them."""

    __slots__ = ()

    # --- dtypes and devices -----------------------------------------------------------

    def type(self, dtype: Any = None) -> Any:
        """The tensor in another dtype; without one, the name of the tensor's type.

        >>> Tensor([1.7]).type(tetragrad.int64)
        tensor([1])
        >>> Tensor([1.7]).type("torch.LongTensor")
        tensor([1])
        """
        if not isinstance(dtype, DType):
            from tetragrad.tensor import early_names  # Few programs need these.

            if dtype is None:
                return early_names.type_name(self.dtype)
            typed = early_names.typed_of(dtype)
            if typed is not None:
                return self.to(dtype=typed.dtype, device=typed.device)
        wanted = to_dtype(dtype)
        if wanted is self.dtype:
            return self
        return combine(to_node(self, wanted), self, dtype=wanted)

    def to(
        self,
        *args: Any,
        dtype: Any = None,
        device: Any = None,
        copy: Any = False,
        **_: Any,
    ) -> Tensor:
        """The tensor in another dtype or on another device, or like another tensor.

        Without ``copy``, a tensor that is so already is returned itself. A first
        positional bool is PyTorch's ``non_blocking``, which changes nothing here, and
        a second one is ``copy``.

        >>> Tensor([1, 2]).to(tetragrad.float32)
        tensor([1., 2.])
        """
        flags = [argument for argument in args if isinstance(argument, bool)]
        copy = copy or flags[1:2] == [True]
        for argument in args:
            if isinstance(argument, TensorBase):
                dtype, device = argument.dtype, argument.device
            elif _is_device(argument):
                device = argument
            elif not isinstance(argument, bool):
                dtype = argument
        moved: Any = self
        if device is not None and device_name(device) != self.device:
            moved = self.alike(Transfer(self.real_node, device_name(device)))
        moved = moved if dtype is None else moved.type(dtype)
        return moved.clone() if copy and moved is self else moved

    def cpu(self) -> Tensor:
        """The tensor on the CPU.

        >>> Tensor([1.0]).cpu().device
        'cpu'
        """
        return self.to("cpu")

    def type_as(self, other: TensorBase) -> Tensor:
        """The tensor in the dtype of another one.

        >>> Tensor([1, 2]).type_as(Tensor([0.5]))
        tensor([1., 2.])
        """
        return self.to(other.dtype)

    def float(self) -> Tensor:
        """The tensor in float32.

        >>> Tensor([1, 2]).float()
        tensor([1., 2.])
        """
        return self.to(dtypes.float32)

    def double(self) -> Tensor:
        """The tensor in float64.

        >>> Tensor([1.0]).double()
        tensor([1.], dtype=tetragrad.float64)
        """
        return self.to(dtypes.float64)

    def cfloat(self) -> Tensor:
        """The tensor in complex64.

        >>> Tensor([1.0]).cfloat()
        tensor([1.+0.j])
        """
        return self.to(dtypes.complex64)

    def cdouble(self) -> Tensor:
        """The tensor in complex128.

        >>> Tensor([1.0]).cdouble()
        tensor([1.+0.j], dtype=tetragrad.complex128)
        """
        return self.to(dtypes.complex128)

    def half(self) -> Tensor:
        """The tensor in float16.

        >>> Tensor([1.0]).half()
        tensor([1.], dtype=tetragrad.float16)
        """
        return self.to(dtypes.float16)

    def bfloat16(self) -> Tensor:
        """The tensor in bfloat16.

        >>> Tensor([1.0]).bfloat16()
        tensor([1.], dtype=tetragrad.bfloat16)
        """
        return self.to(dtypes.bfloat16)

    def int(self) -> Tensor:
        """The tensor in int32; fractions are cut off.

        >>> Tensor([1.7]).int()
        tensor([1], dtype=tetragrad.int32)
        """
        return self.to(dtypes.int32)

    def long(self) -> Tensor:
        """The tensor in int64; fractions are cut off.

        >>> Tensor([1.7]).long()
        tensor([1])
        """
        return self.to(dtypes.int64)

    def short(self) -> Tensor:
        """The tensor in int16.

        >>> Tensor([1]).short()
        tensor([1], dtype=tetragrad.int16)
        """
        return self.to(dtypes.int16)

    def char(self) -> Tensor:
        """The tensor in int8.

        >>> Tensor([1]).char()
        tensor([1], dtype=tetragrad.int8)
        """
        return self.to(dtypes.int8)

    def byte(self) -> Tensor:
        """The tensor in uint8.

        >>> Tensor([1]).byte()
        tensor([1], dtype=tetragrad.uint8)
        """
        return self.to(dtypes.uint8)

    def bool(self) -> Tensor:
        """Where the elements are nonzero.

        >>> Tensor([0, 2]).bool()
        tensor([False,  True])
        """
        return self.to(dtypes.bool_)

    def bitcast(self, dtype: Any) -> Tensor:
        """The same bits read as another dtype of the same width.

        >>> Tensor([1.0]).bitcast(tetragrad.int32)
        tensor([1065353216], dtype=tetragrad.int32)
        """
        return self.result(Bitcast(self.node, to_dtype(dtype)))

    def is_floating_point(self) -> Any:
        """Whether the dtype is one of floating-point numbers.

        >>> Tensor([1.0]).is_floating_point()
        True
        """
        return self.dtype.is_floating_point

    def is_complex(self) -> Any:
        """Whether the dtype is one of complex numbers.

        >>> Tensor([1j]).is_complex()
        True
        """
        return self.dtype.is_complex

    def is_signed(self) -> Any:
        """Whether the dtype has negative numbers.

        >>> Tensor([1], dtype="uint8").is_signed()
        False
        """
        return self.dtype.is_signed

    # --- copies -----------------------------------------------------------------------

    def clone(self) -> Tensor:
        """The same value in a storage of its own; gradients flow through.

        >>> x = Tensor([1.0])
        >>> y = x.clone().add_(1)
        >>> x
        tensor([1.])
        """
        return self.alike(self.real_node)

    def copy_(self, source: Any) -> Self:
        """Replace the elements by those of ``source``, which is broadcast.

        >>> Tensor.zeros(2, 2).assign(Tensor([1.0, 2.0]))
        tensor([[1., 2.],
                [1., 2.]])
        """
        operand = to_operand(source)
        pairs = (2,) if self.dtype.is_complex else ()
        node = broadcast_to(to_node(operand, self.dtype), (*self.shape, *pairs))
        if isinstance(operand, TensorBase) and operand.device != self.device:
            node = Transfer(node, self.device)
        return self.write(combine(node, operand, dtype=self.dtype))

    assign = copy_

    def fill_(self, value: Operand) -> Self:
        """Replace every element by one value.

        >>> Tensor([1, 2]).fill_(7)
        tensor([7, 7])
        """
        return self.copy_(value)

    def zero_(self) -> Self:
        """Replace every element by 0.

        >>> Tensor([1, 2]).zero_()
        tensor([0, 0])
        """
        return self.copy_(0)

    # --- to the host ------------------------------------------------------------------

    def numpy(self, *, force: Any = False) -> np.ndarray:
        """A NumPy array with a copy of the elements.

        Raises:
            GradientError: the tensor requires a gradient (``force=True`` drops it).

        >>> Tensor([1, 2]).numpy()
        array([1, 2])
        """
        if self.requires_grad and not force:
            raise GradientError(
                "numpy() of a tensor that requires a gradient would lose the gradient",
                hint="write x.detach().numpy()",
            )
        return self.read()

    def explain(self, level: str = "") -> Explanation:
        """What becomes of the pending graph at every level; nothing is computed.

        ``level`` is 'graph', 'kernel', 'plan', 'tile', 'text' or 'launch' to see only
        that, or 'all' to see target text in full.

        >>> (Tensor([1.0, 2.0]) + 1).explain("kernel")
        kernel 1 of 1: add_2
          axes a0 < 2
          slots s0: float32[2], s1: float32[2]
          s1[a0] = (s0[a0] + 1.0)
        """
        from tetragrad.engine.explain import explain

        return explain(self.real_node, level)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        from tetragrad.tensor import sharing

        if copy or self.requires_grad:
            array = self.numpy()
            return array if dtype is None else array.astype(dtype, copy=False)
        return sharing.as_array(self, dtype, never_copy=copy is False)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        from tetragrad.tensor import sharing

        return sharing.array_interface(self)

    def __buffer__(self, flags: Any) -> memoryview:
        # Python 3.12's np.asarray would ask for the buffer again.
        return self.__array__().data

    def __array_function__(
        self, function: Any, types: Any, args: Any, kwargs: Any
    ) -> Any:
        from tetragrad.tensor import sharing

        # NumPy would call a method of the same name, with options of its own.
        return function(*sharing.with_arrays(args), **sharing.with_arrays(kwargs))

    def __dlpack__(self, **options: Any) -> object:
        from tetragrad.tensor import sharing

        return sharing.dlpack(self, **options)

    def __dlpack_device__(self) -> tuple[Any, Any]:
        return engine.device(self.device).dlpack_device

    def tolist(self) -> Any:
        """Nested lists of Python numbers; a plain number for a single element.

        >>> Tensor([[1, 2]]).tolist()
        [[1, 2]]
        """
        return _of_plain_numbers(self.read()).tolist()

    def item(self) -> Any:
        """The only element as a Python number.

        >>> Tensor([2.5]).item()
        2.5

        Raises:
            ShapeError: there is not exactly one element.
        """
        if self.numel() != 1:
            raise ShapeError(
                f"item() of shape {self.shape} with {self.numel()} elements",
                hint="pick one element, or use tolist()",
            )
        return _of_plain_numbers(self.read()).item()

    def __float__(self) -> Any:
        return float(self.item())

    def __int__(self) -> Any:
        return int(self.item())

    def __bool__(self) -> Any:
        if self.numel() != 1:
            raise TetragradError(
                f"the truth of a tensor of shape {self.shape} is ambiguous",
                hint="use .any() or .all()",
            )
        return bool(self.item())

    def __index__(self) -> Any:
        if not (self.dtype.is_integer or self.dtype.is_bool):
            raise TypeError(f"a tensor of {self.dtype} cannot be an index")
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __format__(self, spec: str) -> str:
        if self.ndim == 0 and spec:
            return format(self.item(), spec)
        return repr(self)

    def __len__(self) -> Any:
        if not self.ndim:
            raise TypeError("len() of a tensor without dimensions")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.ndim:
            raise TypeError("iteration over a tensor without dimensions")
        return iter(self.unbind())

    def __contains__(self, value: Scalar) -> Any:
        return bool(self.eq(value).read().any())

    def __repr__(self) -> str:
        from tetragrad.tensor.display import describe

        return describe(self)

    # --- pickling ---------------------------------------------------------------------

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        leaf_gradient = self.requires_grad and self.is_leaf
        state = (self.read(), self.dtype, leaf_gradient)
        return _restore, (type(self), *state)

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        if not self.is_leaf:
            raise GradientError(
                "deepcopy of the result of a recorded operation",
                hint="use x.detach().clone()",
            )
        made = _restore_handle(type(self), self.detach().clone(), self.requires_grad)
        if self.grad is not None:
            made.grad = self.grad.detach().clone()
        memo[id(self)] = made
        return made


_PLAIN = frozenset(
    np.dtype(name)
    for name in (
        "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32",
        "int64", "float16", "float32", "float64", "complex64", "complex128",
    )
)  # fmt: skip


def _of_plain_numbers(array: np.ndarray) -> np.ndarray:
    """The same elements, in a dtype of which Python has numbers."""
    return array if array.dtype in _PLAIN else array.astype(np.float64)


def _restore(cls: Any, array: np.ndarray, dtype: DType, requires_grad: Any) -> Any:
    made = TensorBase.tensor_class(array, dtype)
    return _restore_handle(cls, made, requires_grad)


def _restore_handle(cls: Any, source: TensorBase, requires_grad: Any) -> Any:
    """A handle of a subclass too, such as a parameter, on the value of ``source``."""
    made = cls._handle(source.storage, source.steps)
    return made.requires_grad_() if requires_grad else made


def _is_device(value: Any) -> Any:
    if not isinstance(value, str):
        return False
    try:
        to_dtype(value)
    except TetragradError:
        return True
    return False
