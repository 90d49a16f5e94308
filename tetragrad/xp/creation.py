"""New arrays: from data, filled with a value, or counted.

Source: "Creation functions" of the Python array API standard 2025.12. Without a dtype,
Python's ints make int64, floats float32 and complex numbers complex64. ``device`` is a
name such as "cpu"; the default device if left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType, part_dtype
from tetragrad.core.errors import (
    DTypeError,
    ExchangeError,
    ShapeError,
    TetragradError,
)
from tetragrad.tensor import Tensor, creation, joining
from tetragrad.xp.array import Array
from tetragrad.xp.base import Scalar, tensor_of, wrap
from tetragrad.xp.kinds import with_scalar

#: Lists and tuples of numbers, lists of these, and so on.
Nested = Any


def asarray(
    obj: Array | Tensor | Scalar | Nested,
    /,
    *,
    dtype: DType | None = None,
    device: str | None = None,
    copy: bool | None = None,
) -> Array:
    """An array of numbers, nested lists, an array of any library, or a tensor.

    With ``copy=True`` the elements are the result's own, with ``copy=False`` they are
    shared; left out, arrays and tensors are shared if dtype and device fit.

    >>> xp.asarray([[1, 2], [3, 4]], dtype=xp.float32)
    Array([[1., 2.],
           [3., 4.]])

    Raises:
        ShapeError: nested lists that are not a rectangle.
        ExchangeError: ``copy=False``, where the elements cannot be shared.
    """
    shared = _shared(obj, copy)
    if shared is None:
        if copy is False:
            raise ExchangeError(
                f"asarray({type(obj).__name__}, copy=False): nothing to share",
                hint="leave copy out",
            )
        return wrap(Tensor(_host_array(obj, dtype), dtype, device))
    fits = dtype in (None, shared.dtype) and device in (None, shared.device)
    if copy is False and not fits:
        raise ExchangeError(
            f"asarray(copy=False) of {shared.dtype} on {shared.device} as {dtype} on "
            f"{device}",
            hint="leave copy out",
        )
    if fits:
        return wrap(shared.clone() if copy else shared.alias())
    return wrap(shared.to(dtype=dtype, device=device))


def _shared(obj: Any, copy: bool | None) -> Tensor | None:
    """A tensor with the object's elements, if it has memory of its own."""
    if isinstance(obj, Array):
        return obj.to_tensor()
    if isinstance(obj, Tensor):
        return obj.detach()
    if isinstance(obj, np.ndarray) and copy is False:
        can_share = obj.flags.c_contiguous and obj.flags.writeable and obj.size
        return creation.from_numpy(obj) if can_share else None
    return None


def _host_array(obj: Any, dtype: DType | None) -> Any:
    """The data as NumPy reads it: in the wanted dtype, where that is exact."""
    data = _without_arrays(obj)
    is_plain = isinstance(data, bool | int | float | complex | list | tuple)
    if dtype is None or not is_plain:
        return _of_default_dtype(data) if is_plain else data
    if isinstance(data, bool | int | float | complex):
        _check_scalar(data, dtype)
    if dtype.is_integer:
        return np.asarray(data, dtype.numpy)
    return data


def _check_scalar(value: Scalar, dtype: DType) -> None:
    """A fraction is no integer, and nothing but a complex dtype holds 1j."""
    is_lossy = isinstance(value, complex) and not dtype.is_complex
    is_lossy = is_lossy or (isinstance(value, float) and dtype.is_integer)
    if is_lossy:
        raise DTypeError(
            f"{value!r} in an array of {dtype}", hint="use a dtype that holds it"
        )


def _of_default_dtype(data: Any) -> np.ndarray:
    """Numbers in the default dtype of the most general of their kinds."""
    array = np.asarray(data)
    if array.size == 0:
        return array.astype(np.float32)
    narrow = {"f": np.float32, "c": np.complex64, "i": np.int64}
    if array.dtype.kind not in "bifc":
        raise DTypeError(
            f"{type(data).__name__} with elements that NumPy reads as {array.dtype}",
            hint="numbers must fit into int64, float32 or complex64; else give a dtype",
        )
    return array.astype(narrow.get(array.dtype.kind, array.dtype))


def _without_arrays(obj: Any) -> Any:
    if isinstance(obj, Array):
        return obj.to_tensor().numpy()
    if isinstance(obj, list | tuple):
        return [_without_arrays(entry) for entry in obj]
    return obj


def from_dlpack(
    x: object, /, *, device: str | None = None, copy: bool | None = None
) -> Array:
    """An array with the elements of any library's array that speaks DLPack.

    >>> xp.from_dlpack(np.asarray([1, 2]))
    Array([1, 2])

    Raises:
        ExchangeError: ``copy=False``, and the elements cannot be shared.
    """
    return wrap(creation.from_dlpack(x, device=device, copy=copy))


def full(
    shape: int | tuple[int, ...],
    fill_value: Scalar,
    *,
    dtype: DType | None = None,
    device: str | None = None,
) -> Array:
    """One value everywhere.

    >>> xp.full((2,), 7)
    Array([7, 7])
    """
    if dtype is not None:
        _check_scalar(fill_value, dtype)
    return wrap(Tensor.full(_sizes(shape), fill_value, dtype=dtype, device=device))


def _sizes(shape: int | Sequence[int]) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def _filled(shape: Any, value: int, dtype: DType | None, device: str | None) -> Array:
    dtype = dtypes.float32 if dtype is None else dtype
    return wrap(Tensor.full(_sizes(shape), value, dtype=dtype, device=device))


def zeros(
    shape: int | tuple[int, ...],
    *,
    dtype: DType | None = None,
    device: str | None = None,
) -> Array:
    """Zeros, of float32 unless ``dtype`` says otherwise.

    >>> xp.zeros(2)
    Array([0., 0.])
    """
    return _filled(shape, 0, dtype, device)


def ones(
    shape: int | tuple[int, ...],
    *,
    dtype: DType | None = None,
    device: str | None = None,
) -> Array:
    """Ones, of float32 unless ``dtype`` says otherwise.

    >>> xp.ones(2, dtype=xp.int64)
    Array([1, 1])
    """
    return _filled(shape, 1, dtype, device)


def empty(
    shape: int | tuple[int, ...],
    *,
    dtype: DType | None = None,
    device: str | None = None,
) -> Array:
    """Elements that do not matter; they are zeros.

    >>> xp.empty((2, 3)).shape
    (2, 3)
    """
    return _filled(shape, 0, dtype, device)


def full_like(
    x: Array,
    /,
    fill_value: Scalar,
    *,
    dtype: DType | None = None,
    device: str | None = None,
) -> Array:
    """One value everywhere, in the shape, dtype and device of x.

    >>> xp.full_like(xp.ones(2), 7)
    Array([7., 7.])
    """
    tensor = tensor_of(x, "full_like")
    if dtype is None:
        with_scalar(tensor.dtype, fill_value)
    return full(
        tensor.shape,
        fill_value,
        dtype=tensor.dtype if dtype is None else dtype,
        device=tensor.device if device is None else device,
    )


def zeros_like(
    x: Array, /, *, dtype: DType | None = None, device: str | None = None
) -> Array:
    """Zeros in the shape, dtype and device of x.

    >>> xp.zeros_like(xp.asarray([1, 2]))
    Array([0, 0])
    """
    return _alike(x, 0, dtype, device)


def ones_like(
    x: Array, /, *, dtype: DType | None = None, device: str | None = None
) -> Array:
    """Ones in the shape, dtype and device of x.

    >>> xp.ones_like(xp.asarray([3, 4]))
    Array([1, 1])
    """
    return _alike(x, 1, dtype, device)


def empty_like(
    x: Array, /, *, dtype: DType | None = None, device: str | None = None
) -> Array:
    """Elements that do not matter, in the shape, dtype and device of x.

    >>> xp.empty_like(xp.ones((2, 3))).shape
    (2, 3)
    """
    return _alike(x, 0, dtype, device)


def _alike(x: Array, value: int, dtype: DType | None, device: str | None) -> Array:
    tensor = tensor_of(x, "zeros_like")
    dtype = tensor.dtype if dtype is None else dtype
    device = tensor.device if device is None else device
    return _filled(tensor.shape, value, dtype, device)


def arange(
    start: int | float,
    /,
    stop: int | float | None = None,
    step: int | float = 1,
    *,
    dtype: DType | None = None,
    device: str | None = None,
) -> Array:
    """Numbers from ``start`` up to ``stop``, ``step`` apart; of real dtypes.

    With one argument, from 0 up to it. Empty, if ``stop`` lies the other way.

    >>> xp.arange(2, 8, 2)
    Array([2, 4, 6])

    Raises:
        ShapeError: the step is 0.
    """
    if stop is None:
        start, stop = 0, start
    if step and (stop - start) * step <= 0:
        is_whole = all(isinstance(entry, int) for entry in (start, stop, step))
        own = dtypes.int64 if is_whole else dtypes.float32
        return empty(0, dtype=own if dtype is None else dtype, device=device)
    return wrap(Tensor.arange(start, stop, step, dtype=dtype, device=device))


def linspace(
    start: Scalar,
    stop: Scalar,
    /,
    num: int,
    *,
    dtype: DType | None = None,
    device: str | None = None,
    endpoint: bool = True,
) -> Array:
    """``num`` numbers evenly spaced from ``start`` to ``stop``; floating-point dtypes.

    Without ``endpoint``, ``stop`` itself is left out.

    >>> xp.linspace(0, 1, 5)
    Array([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    if num < 0:
        raise ShapeError(f"linspace() of {num} numbers", hint="num is 0 or more")
    is_complex = isinstance(start, complex) or isinstance(stop, complex)
    own = dtypes.complex64 if is_complex else dtypes.float32
    dtype = own if dtype is None else dtype
    if dtype.is_complex:
        first, last = complex(start), complex(stop)
        real = _spaced(first.real, last.real, num, part_dtype(dtype), endpoint)
        imag = _spaced(first.imag, last.imag, num, part_dtype(dtype), endpoint)
        found = Tensor.full((), 1j, dtype=dtype) * imag + real
    else:
        found = _spaced(start, stop, num, dtype, endpoint)  # type: ignore[arg-type]
    return wrap(found.to(device=device))


def _spaced(
    start: float, stop: float, num: int, dtype: DType, endpoint: bool
) -> Tensor:
    if not endpoint:
        # One more, which is then left out.
        return Tensor.linspace(start, stop, num + 1, dtype=dtype).cut(0, 0, num)
    return Tensor.linspace(start, stop, num, dtype=dtype)


def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    *,
    k: int = 0,
    dtype: DType | None = None,
    device: str | None = None,
) -> Array:
    """Ones on the k-th diagonal, zeros elsewhere; of float32 unless ``dtype`` is given.

    Diagonals above the main one are positive.

    >>> xp.eye(2, 3, k=1)
    Array([[0., 1., 0.],
           [0., 0., 1.]])
    """
    n_cols = n_rows if n_cols is None else n_cols
    row = Tensor.arange(n_rows).unsqueeze(1)
    column = Tensor.arange(n_cols).unsqueeze(0)
    is_on_diagonal = (column - row).eq(k)
    dtype = dtypes.float32 if dtype is None else dtype
    return wrap(is_on_diagonal.to(dtype=dtype, device=device))


def meshgrid(*arrays: Array, indexing: Literal["xy", "ij"] = "xy") -> tuple[Array, ...]:
    """The coordinates of a grid: one array for each vector, of one dtype.

    With 'xy' the first vector runs along the second axis, with 'ij' along the first.

    >>> x, y = xp.meshgrid(xp.asarray([1, 2]), xp.asarray([3, 4, 5]))
    >>> x.shape
    (3, 2)

    Raises:
        DTypeError: the vectors differ in dtype.
        TetragradError: another ``indexing``.
    """
    if indexing not in ("xy", "ij"):
        raise TetragradError(f"meshgrid(indexing={indexing!r})", hint="'xy' or 'ij'")
    vectors = [tensor_of(entry, "meshgrid") for entry in arrays]
    if len({vector.dtype for vector in vectors}) > 1:
        raise DTypeError(
            f"meshgrid() of {', '.join(str(vector.dtype) for vector in vectors)}",
            hint="convert the vectors to one dtype with xp.astype",
        )
    if not vectors:
        return ()
    grids = joining.meshgrid(vectors, indexing=indexing)
    return tuple(map(wrap, grids))


def tril(x: Array, /, *, k: int = 0) -> Array:
    """The lower triangle of the last two axes, up to diagonal k; zeros above.

    >>> xp.tril(xp.ones((2, 2)))
    Array([[1., 0.],
           [1., 1.]])

    Raises:
        ShapeError: the array has fewer than two axes.
    """
    return wrap(tensor_of(x, "tril").tril(k))


def triu(x: Array, /, *, k: int = 0) -> Array:
    """The upper triangle of the last two axes, from diagonal k on; zeros below.

    >>> xp.triu(xp.ones((2, 2)))
    Array([[1., 1.],
           [0., 1.]])

    Raises:
        ShapeError: the array has fewer than two axes.
    """
    return wrap(tensor_of(x, "triu").triu(k))
