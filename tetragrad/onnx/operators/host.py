"""The operators between a shape and its use, in NumPy.

Exporters spell ``x.reshape(x.shape[0], -1)`` as a chain of operators on vectors of a
few whole numbers. Where the host knows all inputs of such a node it computes the
result at once. Only operators whose results are exact, or rounded correctly, are
here, so it makes no difference where a node is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tetragrad.onnx.operators import shape as shapes
from tetragrad.onnx.operators.formats import cast_array
from tetragrad.onnx.registry import HOST, host
from tetragrad.onnx.values import STRING, Host, Value, element_type
from tetragrad.tensor import Tensor


def _divide(a: Host, b: Host) -> Host:
    """Integers are divided towards zero; by zero, the result is zero."""
    if a.dtype.kind not in "iu":
        return _quiet(np.divide)(a, b)
    safe = np.where(b == 0, 1, b)
    quotient = np.abs(a) // np.abs(safe) * np.sign(a) * np.sign(safe)
    return np.where(b == 0, 0, quotient).astype(a.dtype)


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """Overflow and NaN are results like others."""

    def compute(*arrays: Host, **_: Any) -> Host:
        with np.errstate(all="ignore"):
            return np.asarray(function(*arrays))

    return compute


_PLAIN: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Abs": np.abs,
    "Sqrt": np.sqrt,
    "Floor": np.floor,
    "Ceil": np.ceil,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Xor": np.logical_xor,
    "Not": np.logical_not,
    "Equal": np.equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Where": np.where,
}

for _name, _function in _PLAIN.items():
    HOST[_name] = _quiet(_function)
HOST["Div"] = _divide


@host("Identity")
def identity(x: Host) -> Host:
    return x


@host("Max")
def maximum(*arrays: Host) -> Host:
    return np.asarray(_chained(np.maximum, arrays))


@host("Min")
def minimum(*arrays: Host) -> Host:
    return np.asarray(_chained(np.minimum, arrays))


def _chained(function: Callable[[Any, Any], Any], arrays: Sequence[Host]) -> Any:
    result = arrays[0]
    for entry in arrays[1:]:
        result = function(result, entry)
    return result


@host("Cast")
def cast(x: Host, *, to: int, saturate: int = 1, round_mode: str = "up") -> Host:
    return cast_array(x, element_type(to), bool(saturate), round_mode)


@host("CastLike")
def cast_like(
    x: Host, like: Host, *, saturate: int = 1, round_mode: str = "up"
) -> Host:
    return cast_array(x, like.dtype, bool(saturate), round_mode)


@host("Shape")
def shape(x: Host, *, start: int = 0, end: int | None = None) -> Host:
    return shapes.shape(x, start=start, end=end)


@host("Size")
def size(x: Host) -> Host:
    return shapes.size(x)


@host("Reshape")
def reshape(x: Host, shape: Host, *, allowzero: int = 0) -> Host:
    sizes = shapes.resolved_shape(x.shape, shapes.listed(shape), bool(allowzero))
    return x.reshape(sizes)


@host("Flatten")
def flatten(x: Host, *, axis: int = 1) -> Host:
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))


@host("Transpose")
def transpose(x: Host, *, perm: Sequence[int] | None = None) -> Host:
    return x.transpose(perm)


@host("Squeeze")
def squeeze(x: Host, axes: Host | None = None) -> Host:
    return np.squeeze(x, None if axes is None else tuple(shapes.listed(axes)))


@host("Unsqueeze")
def unsqueeze(x: Host, axes: Host) -> Host:
    return np.expand_dims(x, tuple(shapes.listed(axes)))


@host("Concat")
def concat(*arrays: Host, axis: int = 1) -> Host:
    return np.concatenate(arrays, axis)


@host("Gather")
def gather(x: Host, indices: Host, *, axis: int = 0) -> Host:
    return np.asarray(np.take(x, indices, axis))


@host("GatherElements")
def gather_elements(x: Host, indices: Host, *, axis: int = 0) -> Host:
    return np.take_along_axis(x, indices, axis)


@host("Slice")
def slice_(
    x: Host,
    starts: Host,
    ends: Host,
    axes: Host | None = None,
    steps: Host | None = None,
) -> Host:
    return x[shapes.slices(x.ndim, starts, ends, axes, steps)]


@host("Expand")
def expand(x: Host, shape: Host) -> Value:
    """What would be large is left to the device, where repeating costs nothing."""
    sizes = np.broadcast_shapes(x.shape, tuple(shapes.listed(shape)))
    if x.dtype != STRING and int(np.prod(sizes, dtype=object)) > 4096:
        return Tensor(x).expand(sizes)
    return np.broadcast_to(x, sizes)


@host("Tile")
def tile(x: Host, repeats: Host, axis: Host | None = None) -> Value:
    times = shapes.listed(repeats)
    if axis is not None:
        times = [times[0] if dim == axis.item() else 1 for dim in range(x.ndim)]
    if x.dtype != STRING and int(np.prod(times, dtype=object)) * x.size > 4096:
        return Tensor(x).repeat(*times)
    return np.tile(x, times)


@host("ConstantOfShape")
def constant_of_shape(shape: Host, *, value: Host | None = None) -> Value:
    """A few elements, which may be meant as a shape, stay on the host."""
    filler = np.zeros(1, np.float32) if value is None else value
    sizes = shapes.listed(shape)
    if int(np.prod(sizes, dtype=object)) > 4096:
        return shapes.filled(sizes, filler)
    return np.full(sizes, filler.ravel()[0], filler.dtype)


@host("Range")
def range_(start: Host, limit: Host, delta: Host, *, stash_type: int = 1) -> Value:
    return shapes.host_range(start, limit, delta)


@host("ReduceProd")
def reduce_prod(x: Host, axes: Host | None = None, **options: int) -> Host:
    return _reduced(np.prod, x, axes, **options)


@host("ReduceMax")
def reduce_max(x: Host, axes: Host | None = None, **options: int) -> Host:
    return _reduced(np.max, x, axes, **options)


@host("ReduceMin")
def reduce_min(x: Host, axes: Host | None = None, **options: int) -> Host:
    return _reduced(np.min, x, axes, **options)


def _reduced(
    function: Callable[..., Any],
    x: Host,
    axes: Host | None,
    *,
    keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Host:
    dims = () if axes is None else tuple(shapes.listed(axes))
    if not dims and noop_with_empty_axes:
        return x
    result = function(x, axis=dims or None, keepdims=bool(keepdims))
    return np.asarray(result, x.dtype)


@host("NonZero")
def nonzero(x: Host) -> Host:
    return np.stack(np.nonzero(np.atleast_1d(x))).astype(np.int64)
