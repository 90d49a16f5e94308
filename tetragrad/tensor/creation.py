"""New tensors: from data, filled with a value, or counted.

All are ``Tensor.zeros(...)`` and ``tetragrad.zeros(...)`` alike. Values that follow a
formula take no memory until they are needed as elements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType, to_dtype
from tetragrad.core.errors import DTypeError, ShapeError
from tetragrad.engine import realize as engine
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like as node_like
from tetragrad.graph.leaves import Iota, constant
from tetragrad.graph.movement import Flip, broadcast_to
from tetragrad.graph.node import Node
from tetragrad.graph.transfer import Transfer
from tetragrad.tensor.base import TensorBase, wrap, wrap_pairs
from tetragrad.tensor.devices import device_name
from tetragrad.tensor.movement import sizes_of
from tetragrad.tensor.promotion import (
    PYTHON_DTYPES,
    Real,
    Scalar,
    default_float,
    to_node,
    to_operand,
)
from tetragrad.tensor.storage import AS_COMPLEX, SharedStorage

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


def new(
    node: Node, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """Wrap a node without sources, as the user's options say."""
    if device is not None:
        node = Transfer(node, device_name(device))
    made = TensorBase.tensor_class.from_node(node)
    if dtype is not None:
        made = made.type(dtype)
    return made.requires_grad_() if requires_grad else made


def new_as(dtype: DType, node: Node, device: Any, requires_grad: bool) -> Tensor:
    """Wrap a node without sources in its dtype: pairs, if that is complex."""
    if device is not None:
        node = Transfer(node, device_name(device))
    made = (wrap_pairs if dtype.is_complex else wrap)(node)
    return made.requires_grad_() if requires_grad else made


def array_of(data: Any, dtype: DType | None) -> np.ndarray:
    """A NumPy array of what a user may pass as data, in a dtype we have."""
    if isinstance(data, np.ndarray | np.generic):
        array = np.asarray(data)
    else:
        array = _nested_array(data)
        if dtype is None and _is_python_float(array, data):
            return array.astype(default_float().numpy)
    # Raises for text, dates and the like.
    own = dtypes.from_numpy(array.dtype)
    if dtype is None and own is dtypes.complex128 and not _holds_arrays(data):
        dtype = PYTHON_DTYPES[complex]
    if dtype is None or dtype is own:
        return array
    if dtype.is_complex:
        return array.astype(dtype.numpy)
    if own.is_complex and not dtype.is_bool:
        array = array.real
    if own.is_integer and dtype.is_integer and not _holds_arrays(data):
        _check_range(array, dtype)
    return ops.cast_array(array, dtype)


def _check_range(array: np.ndarray, dtype: DType) -> None:
    """Refuse written numbers that an integer dtype does not hold."""
    limits = np.iinfo(dtype.numpy)
    # As in PyTorch, -1 may be written for the largest unsigned number.
    lowest = limits.min if dtype.is_signed else -limits.max
    outside = array[(array > limits.max) | (array < lowest)]
    if outside.size:
        raise DTypeError(
            f"{outside.flat[0]} as {dtype}, which holds {limits.min} to {limits.max}",
            hint="take a wider dtype; Tensor(x).to(dtype) wraps around on purpose",
        )


def as_pairs(array: np.ndarray) -> np.ndarray:
    """Complex numbers as real ones; shares the memory of an array without gaps."""
    part = dtypes.part_dtype(dtypes.from_numpy(array.dtype)).numpy
    whole = np.ascontiguousarray(array).reshape(-1).view(part)
    return whole.reshape(*array.shape, 2)


def _nested_array(data: Any) -> np.ndarray:
    """Nested sequences of numbers and tensors, as NumPy sees them."""
    if hasattr(data, "__array__") and not isinstance(data, TensorBase):
        return np.asarray(data)
    plain = _without_tensors(data)
    try:
        array = np.array(plain)
    except ValueError as error:
        raise ShapeError(
            "the nested lists are not a rectangle: rows differ in length",
            hint="pad the rows to one length first",
        ) from error
    if array.dtype.kind not in "biufc" and array.dtype.name not in _EXTENDED:
        raise DTypeError(
            f"cannot make a tensor of {type(data).__name__} {_shortened(data)}",
            hint="pass numbers, nested lists of numbers, or an array",
        )
    return array


def _is_python_float(array: np.ndarray, data: Any) -> bool:
    """Whether an array's dtype was NumPy's choice, for Python floats or for nothing."""
    return array.size == 0 or (array.dtype == np.float64 and not _holds_arrays(data))


_EXTENDED = frozenset(dtype.name for dtype in dtypes.ALL)


def _shortened(data: Any) -> str:
    text = repr(data)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _without_tensors(data: Any) -> Any:
    if isinstance(data, TensorBase):
        return data.read()
    if isinstance(data, list | tuple):
        return [_without_tensors(entry) for entry in data]
    return data


def _holds_arrays(data: Any) -> bool:
    if isinstance(data, list | tuple):
        return any(_holds_arrays(entry) for entry in data)
    return isinstance(data, np.ndarray | np.generic | TensorBase)


def tensor(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False
) -> Tensor:
    """A tensor with a copy of numbers, nested lists, an array or another tensor.

    Python floats become float32 and integers int64; arrays keep their dtype.

    >>> tetragrad.tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    return TensorBase.tensor_class(data, dtype, device, requires_grad)


def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of the data; a tensor that fits already is returned as it is.

    >>> x = Tensor([1, 2])
    >>> tetragrad.as_tensor(x) is x
    True
    """
    cls = TensorBase.tensor_class
    wanted = None if dtype is None else to_dtype(dtype)
    if isinstance(data, cls) and wanted in (None, data.dtype):
        return data
    return cls(data, dtype, device)


def from_numpy(array: np.ndarray) -> Tensor:
    """A tensor that shares the array's memory; what reads it is computed at once.

    An array that cannot be shared (its elements have gaps, it may not be written to,
    or the default device has memory of its own) is copied.

    >>> array = np.zeros(2)
    >>> shared = tetragrad.from_numpy(array)
    >>> array[0] = 5
    >>> shared
    tensor([5., 0.], dtype=tetragrad.float64)
    """
    if not isinstance(array, np.ndarray):
        raise DTypeError(
            f"from_numpy() of {type(array).__name__}", hint="use tetragrad.tensor()"
        )
    dtype = dtypes.from_numpy(array.dtype)
    can_share = array.flags.c_contiguous and array.flags.writeable and array.size
    on_host = engine.device(device_name(None)).has_host_memory
    if not (can_share and array.dtype.isnative and on_host):
        return TensorBase.tensor_class(array)
    elements, steps = (
        (as_pairs(array), (AS_COMPLEX,)) if dtype.is_complex else (array, ())
    )
    storage = SharedStorage(elements, device_name(None))
    return TensorBase.tensor_class._handle(storage, steps)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor on the memory of another library's array, which keeps it alive.

    Both sides see what either writes. What reads such a tensor is computed at once,
    as for ``from_numpy``. Elements with gaps between them are copied.

    Args:
        x: an object with ``__dlpack__``, or a capsule.
        device: where the tensor shall be; the array's own device if left out.
        copy: True copies always, False never.

    Raises:
        ExchangeError: the dtype has no equivalent, or ``copy=False`` and it cannot be
            shared.

    >>> array = np.zeros(2, np.float32)
    >>> shared = tetragrad.from_dlpack(array)
    >>> array[0] = 5
    >>> shared
    tensor([5., 0.])
    """
    # Few programs need what speaks the protocol, so it is imported here.
    from tetragrad.tensor.sharing import take

    return take(x, device, copy)


class CreationMethods(TensorBase):
    """Functions that make tensors, as static methods of the class."""

    __slots__ = ()

    @staticmethod
    def full(
        size: Sequence[int],
        fill_value: Scalar,
        *,
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool = False,
    ) -> Tensor:
        """A tensor with one value everywhere.

        >>> Tensor.full((2,), 7)
        tensor([7, 7])
        """
        value = to_operand(fill_value)
        if isinstance(value, TensorBase):
            wanted = value.dtype if dtype is None else to_dtype(dtype)
        else:
            wanted = PYTHON_DTYPES[type(value)] if dtype is None else to_dtype(dtype)
        node = to_node(value, wanted)
        sizes = sizes_of([size] if isinstance(size, int) else size)
        _check_sizes(sizes)
        shape = (*sizes, 2) if wanted.is_complex else sizes
        return new_as(wanted, broadcast_to(node, shape), device, requires_grad)

    @staticmethod
    def zeros(*size: Any, dtype: Any = None, **options: Any) -> Tensor:
        """A tensor of zeros, float32 unless ``dtype`` says otherwise.

        >>> Tensor.zeros(2, 2)
        tensor([[0., 0.],
                [0., 0.]])
        """
        dtype = default_float() if dtype is None else dtype
        return CreationMethods.full(sizes_of(size), 0, dtype=dtype, **options)

    @staticmethod
    def ones(*size: Any, dtype: Any = None, **options: Any) -> Tensor:
        """A tensor of ones, float32 unless ``dtype`` says otherwise.

        >>> Tensor.ones(3)
        tensor([1., 1., 1.])
        """
        dtype = default_float() if dtype is None else dtype
        return CreationMethods.full(sizes_of(size), 1, dtype=dtype, **options)

    @staticmethod
    def empty(*size: Any, dtype: Any = None, **options: Any) -> Tensor:
        """A tensor whose values do not matter; they are zeros.

        >>> Tensor.empty(2)
        tensor([0., 0.])
        """
        return CreationMethods.zeros(*size, dtype=dtype, **options)

    @staticmethod
    def arange(
        start: Real,
        end: Real | None = None,
        step: Real = 1,
        *,
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool = False,
    ) -> Tensor:
        """Numbers from ``start`` (0 if left out) up to ``end``, ``step`` apart.

        >>> Tensor.arange(2, 8, 2)
        tensor([2, 4, 6])
        """
        if end is None:
            start, end = 0, start
        if step == 0 or (end - start) * step < 0:
            raise ShapeError(
                f"arange({start}, {end}, {step}) never arrives",
                hint="give a step that leads from start to end",
            )
        whole = all(isinstance(entry, int) for entry in (start, end, step))
        if dtype is not None and to_dtype(dtype).is_integer:
            start, end, step = int(start), int(end), int(step)
        wanted = (
            to_dtype(dtype) if dtype else dtypes.int64 if whole else default_float()
        )
        count = _count_steps(start, end, step)
        node = _count(count, start, step, wanted)
        return new(node, wanted, device, requires_grad)

    @staticmethod
    def linspace(
        start: float,
        end: float,
        steps: int,
        *,
        dtype: Any = None,
        device: Any = None,
        requires_grad: bool = False,
    ) -> Tensor:
        """``steps`` numbers evenly spaced from ``start`` to ``end``, both included.

        >>> Tensor.linspace(0, 1, 5)
        tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
        """
        wanted = default_float() if dtype is None else to_dtype(dtype)
        work = wanted if wanted.is_floating_point else dtypes.float64
        if wanted.is_integer:
            start, end = int(start), int(end)
        distance = (end - start) / max(steps - 1, 1)
        forward = _count(steps, start, distance, work)
        backward = Flip(_count(steps, end, -distance, work), (0,))
        # Counting from the nearer end hits both ends exactly.
        in_first_half = ops.Lt(
            Iota(steps, dtypes.int64), node_like(Iota(steps, dtypes.int64), steps // 2)
        )
        node = ops.Where(in_first_half, forward, backward) if steps > 1 else forward
        return new(node, wanted, device, requires_grad)

    @staticmethod
    def logspace(
        start: float, end: float, steps: int, base: float = 10.0, **options: Any
    ) -> Tensor:
        """``base`` to the power of evenly spaced exponents.

        >>> Tensor.logspace(0, 2, 3)
        tensor([  1.,  10., 100.])
        """
        dtype = options.pop("dtype", None)
        if dtype is not None and to_dtype(dtype).is_integer:
            start, end = int(start), int(end)
        exponents = CreationMethods.linspace(start, end, steps, dtype=dtypes.float64)
        node = ops.Pow(node_like(exponents.node, base), exponents.node)
        return new(node, default_float() if dtype is None else dtype, **options)

    @staticmethod
    def eye(n: int, m: int | None = None, *, dtype: Any = None, **options: Any) -> Any:
        """Ones on the diagonal, zeros elsewhere.

        >>> Tensor.eye(2)
        tensor([[1., 0.],
                [0., 1.]])
        """
        columns = n if m is None else m
        on_diagonal = ops.Eq(*_row_and_column(n, columns))
        dtype = default_float() if dtype is None else dtype
        return new(on_diagonal, dtype, **options)

    def full_like(
        self, fill_value: Scalar, *, dtype: Any = None, **options: Any
    ) -> Tensor:
        """One value everywhere, in the shape and dtype of this tensor.

        >>> Tensor([1, 2]).full_like(7)
        tensor([7, 7])
        """
        dtype = self.dtype if dtype is None else dtype
        return CreationMethods.full(self.shape, fill_value, dtype=dtype, **options)

    def zeros_like(self, *, dtype: Any = None, **options: Any) -> Tensor:
        """Zeros in the shape and dtype of this tensor.

        >>> Tensor([1, 2]).zeros_like()
        tensor([0, 0])
        """
        return self.full_like(0, dtype=dtype, **options)

    def ones_like(self, *, dtype: Any = None, **options: Any) -> Tensor:
        """Ones in the shape and dtype of this tensor.

        >>> Tensor([1.0, 2.0]).ones_like()
        tensor([1., 1.])
        """
        return self.full_like(1, dtype=dtype, **options)

    def empty_like(self, *, dtype: Any = None, **options: Any) -> Tensor:
        """A tensor of this shape and dtype whose values do not matter.

        >>> Tensor([1.0, 2.0]).empty_like().shape
        (2,)
        """
        return self.full_like(0, dtype=dtype, **options)

    def new_zeros(self, *size: Any, dtype: Any = None, **options: Any) -> Tensor:
        """Zeros of another shape in this tensor's dtype.

        >>> Tensor([1, 2]).new_zeros(3)
        tensor([0, 0, 0])
        """
        dtype = self.dtype if dtype is None else dtype
        return CreationMethods.zeros(*size, dtype=dtype, **options)

    def new_ones(self, *size: Any, dtype: Any = None, **options: Any) -> Tensor:
        """Ones of another shape in this tensor's dtype.

        >>> Tensor([1, 2]).new_ones(3)
        tensor([1, 1, 1])
        """
        dtype = self.dtype if dtype is None else dtype
        return CreationMethods.ones(*size, dtype=dtype, **options)

    def new_empty(self, *size: Any, dtype: Any = None, **options: Any) -> Tensor:
        """A tensor of another shape in this tensor's dtype.

        >>> Tensor([1, 2]).new_empty(3).dtype
        int64
        """
        return self.new_zeros(*size, dtype=dtype, **options)

    def new_full(self, size: Sequence[int], fill_value: Scalar, **options: Any) -> Any:
        """One value in another shape in this tensor's dtype.

        >>> Tensor([1, 2]).new_full((3,), 7)
        tensor([7, 7, 7])
        """
        options.setdefault("dtype", self.dtype)
        return CreationMethods.full(size, fill_value, **options)

    def new(self, *data: Any) -> Tensor:
        """PyTorch's early name for ``new_empty`` of sizes and ``new_tensor`` of data.

        >>> Tensor([1.5]).new(2, 3).shape
        (2, 3)
        """
        if all(isinstance(size, int) for size in data):
            return self.new_empty(*(data or (0,)))
        return self.new_tensor(*data)

    def new_tensor(self, data: Any, **options: Any) -> Tensor:
        """A tensor of the data in this tensor's dtype.

        >>> Tensor([1.5]).new_tensor([1, 2])
        tensor([1., 2.])
        """
        options.setdefault("dtype", self.dtype)
        return tensor(data, **options)


def _check_sizes(sizes: Sequence[int]) -> None:
    if min(sizes, default=0) < 0:
        raise ShapeError(
            f"a tensor of shape {tuple(sizes)}", hint="sizes are 0 or more"
        )


def _count_steps(start: Real, end: Real, step: Real) -> int:
    if isinstance(start, int) and isinstance(end, int) and isinstance(step, int):
        return -((start - end) // step)
    return math.ceil((end - start) / step)


def _count(count: int, start: Scalar, step: Scalar, dtype: DType) -> Node:
    """start, start + step, …: exact for integers, rounded once for floats."""
    index = Iota(count, dtypes.int64)
    if not dtype.is_floating_point:
        is_whole = isinstance(start, int) and isinstance(step, int)
        work = dtypes.int64 if is_whole else dtypes.float64
    else:
        work = dtypes.float64
    scaled = ops.Mul(
        ops.Cast(index, work), broadcast_to(constant(step, work), (count,))
    )
    moved = ops.Add(scaled, broadcast_to(constant(start, work), (count,)))
    return ops.Cast(moved, dtype)


def _row_and_column(rows: int, columns: int) -> tuple[Node, Node]:
    """For each element of a matrix, the number of its row and of its column."""
    from tetragrad.graph.movement import Expand, Reshape

    row = Reshape(Iota(rows, dtypes.int64), (rows, 1))
    column = Reshape(Iota(columns, dtypes.int64), (1, columns))
    return Expand(row, (rows, columns)), Expand(column, (rows, columns))
