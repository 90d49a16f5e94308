"""Resize: every mode, each dimension by itself.

Where an output element lies in the input depends on sizes only, so the host works
out which input elements it is made of (its taps) and their weights. A dimension that
is repeated or thinned out by a whole number is movement and costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tetragrad.core.errors import ShapeError, TetragradError
from tetragrad.core.frozen import frozen
from tetragrad.onnx.operators.shape import listed
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import Host
from tetragrad.tensor import Tensor
from tetragrad.tensor.arithmetic import where


@frozen
class Options:
    """The attributes of a Resize."""

    mode: str = "nearest"
    transformation: str = "half_pixel"
    nearest_mode: str = "round_prefer_floor"
    antialias: bool = False
    exclude_outside: bool = False
    cubic_coefficient: float = -0.75


@frozen
class Line:
    """One dimension: its sizes, how much larger it becomes, and its part of the roi."""

    size: int
    wanted: int
    scale: float
    start: float = 0.0
    stop: float = 1.0


@operator("Resize", since=11)
def resize(
    x: Tensor,
    roi: Host | None = None,
    scales: Host | None = None,
    sizes: Host | None = None,
    *,
    antialias: int = 0,
    axes: Sequence[int] | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Tensor:
    dims = [dim % x.ndim for dim in (axes or range(x.ndim))]
    lines = _lines(x, dims, scales, sizes, keep_aspect_ratio_policy)
    options = Options(
        mode,
        coordinate_transformation_mode,
        nearest_mode,
        bool(antialias),
        bool(exclude_outside),
        cubic_coeff_a,
    )
    crops = coordinate_transformation_mode == "tf_crop_and_resize"
    if crops and roi is not None:
        edges = [float(entry) for entry in roi.ravel()]
        for place, dim in enumerate(dims):
            line = lines[dim]
            start, stop = edges[place], edges[place + len(dims)]
            lines[dim] = Line(line.size, line.wanted, line.scale, start, stop)
    result = resized(x, lines, options)
    return _filled_outside(result, lines, extrapolation_value) if crops else result


@operator("Resize", since=10)
def resize_10(x: Tensor, scales: Host, *, mode: str = "nearest") -> Tensor:
    lines = _lines(x, list(range(x.ndim)), scales, None, "stretch")
    return resized(x, lines, Options(mode, "asymmetric", "floor"))


@operator("Upsample", since=7)
def upsample(x: Tensor, scales: Host, *, mode: str = "nearest") -> Tensor:
    return resize_10(x, scales, mode="linear" if mode == "bilinear" else mode)


@operator("Upsample", since=1)
def upsample_1(
    x: Tensor, *, height_scale: float, mode: str = "nearest", width_scale: float
) -> Tensor:
    scales = np.asarray([1.0, 1.0, height_scale, width_scale])
    return upsample(x, scales, mode=mode)


def _lines(
    x: Tensor,
    dims: Sequence[int],
    scales: Host | None,
    sizes: Host | None,
    policy: str,
) -> dict[int, Line]:
    """The dimensions that are resized."""
    if sizes is not None and sizes.size:
        wanted = listed(sizes)
        ratios = [size / x.shape[dim] for dim, size in zip(dims, wanted, strict=True)]
        if policy != "stretch":
            ratio = min(ratios) if policy == "not_larger" else max(ratios)
            ratios = [ratio] * len(dims)
            wanted = [math.floor(x.shape[dim] * ratio + 0.5) for dim in dims]
    elif scales is not None and scales.size:
        ratios = [float(entry) for entry in scales.ravel()]
        wanted = [
            math.floor(x.shape[dim] * ratio)
            for dim, ratio in zip(dims, ratios, strict=True)
        ]
    else:
        raise ShapeError("Resize needs scales or sizes")
    return {
        dim: Line(x.shape[dim], size, ratio)
        for dim, size, ratio in zip(dims, wanted, ratios, strict=True)
    }


def resized(x: Tensor, lines: dict[int, Line], options: Options) -> Tensor:
    """The tensor with each of these dimensions resized."""
    dtype = x.dtype
    if options.mode != "nearest" and not dtype.is_floating_point:
        x = x.float()
    for dim, line in lines.items():
        if line.wanted == line.size and line.scale == 1 and line.start == 0:
            continue
        places = _places(line, options.transformation)
        if options.mode == "nearest":
            x = _picked(x, dim, _nearest(places, line.size, options.nearest_mode))
        else:
            x = _mixed(x, dim, *_taps(places, line, options))
    return x.to(dtype)


def _places(line: Line, transformation: str) -> np.ndarray:
    """Where in the input each output element lies."""
    at = np.arange(line.wanted, dtype=np.float64)
    reach = line.scale * line.size
    match transformation:
        case "asymmetric":
            return at / line.scale
        case "half_pixel":
            return (at + 0.5) / line.scale - 0.5
        case "pytorch_half_pixel":
            return (at + 0.5) / line.scale - 0.5 if line.wanted > 1 else at * 0
        case "tf_half_pixel_for_nn":
            return (at + 0.5) / line.scale
        case "align_corners":
            return at * (line.size - 1) / (reach - 1) if reach != 1 else at * 0
        case "half_pixel_symmetric":
            offset = line.size / 2 * (1 - line.wanted / reach)
            return offset + (at + 0.5) / line.scale - 0.5
        case "tf_crop_and_resize":
            return _cropped(at, line)
    raise TetragradError(f"Resize by coordinates {transformation!r}")


def _cropped(at: np.ndarray, line: Line) -> np.ndarray:
    last = line.size - 1
    if line.wanted == 1:
        return at + (line.start + line.stop) * last / 2
    step = (line.stop - line.start) * last / (line.wanted - 1)
    return line.start * last + at * step


def _nearest(places: np.ndarray, size: int, mode: str) -> np.ndarray:
    """The input element of each output element."""
    # Ratios such as 1/3 are not exact: what is a half up to rounding is a half.
    places = np.round(places, 9)
    match mode:
        case "round_prefer_floor":
            whole = np.ceil(places - 0.5)
        case "round_prefer_ceil":
            whole = np.floor(places + 0.5)
        case "floor":
            whole = np.floor(places)
        case "ceil":
            whole = np.ceil(places)
        case _:
            raise TetragradError(f"Resize with nearest_mode {mode!r}")
    return np.clip(whole.astype(np.int64), 0, size - 1)


def _picked(x: Tensor, dim: int, places: np.ndarray) -> Tensor:
    """Elements of a dimension; by movement if they are repeated evenly."""
    size = x.shape[dim]
    count = len(places)
    if count == size and np.array_equal(places, np.arange(size)):
        return x
    if count and size and count % size == 0:
        times = count // size
        if np.array_equal(places, np.arange(count) // times):
            spread = [*x.shape[: dim + 1], times, *x.shape[dim + 1 :]]
            joined = [*x.shape[:dim], count, *x.shape[dim + 1 :]]
            return x.unsqueeze(dim + 1).expand(spread).reshape(joined)
    return x.index_select(dim, Tensor(places))


def _taps(
    places: np.ndarray, line: Line, options: Options
) -> tuple[np.ndarray, np.ndarray]:
    """For each output element its input elements, and their weights."""
    squeeze = min(line.scale, 1.0) if options.antialias else 1.0
    reach = 1 if options.mode == "linear" else 2
    first = math.floor(-reach / squeeze) + 1
    # A place on an element counts as just before it.
    base = np.ceil(places).astype(np.int64) - 1
    taps = base[:, None] + np.arange(first, 2 - first)
    distance = np.abs(taps - places[:, None]) * squeeze
    if options.mode == "linear":
        weights = np.clip(1 - distance, 0, None)
    elif options.mode == "cubic":
        weights = _cubic(distance, options.cubic_coefficient)
    else:
        raise TetragradError(f"Resize with mode {options.mode!r}")
    if options.antialias:
        weights = weights / weights.sum(1, keepdims=True)
    if options.exclude_outside:
        weights = np.where((taps >= 0) & (taps < line.size), weights, 0)
        weights = weights / weights.sum(1, keepdims=True)
    return np.clip(taps, 0, line.size - 1), weights


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """R. Keys, "Cubic convolution interpolation", 1981, equation (4)."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))


def _mixed(x: Tensor, dim: int, taps: np.ndarray, weights: np.ndarray) -> Tensor:
    """The weighted sum of the taps of each output element."""
    shape = [-1 if axis == dim else 1 for axis in range(x.ndim)]
    result: Tensor | None = None
    for number in range(taps.shape[1]):
        column = weights[:, number]
        if not column.any():
            continue
        weight = Tensor(column.astype(x.dtype.numpy)).reshape(shape)
        part = _picked(x, dim, taps[:, number]) * weight
        result = part if result is None else result + part
    assert result is not None
    return result


def _filled_outside(x: Tensor, lines: dict[int, Line], value: float) -> Tensor:
    """One value wherever a place was outside of the input."""
    for dim, line in lines.items():
        places = _cropped(np.arange(line.wanted, dtype=np.float64), line)
        outside = (places < 0) | (places > line.size - 1)
        if outside.any():
            shape = [-1 if axis == dim else 1 for axis in range(x.ndim)]
            x = where(Tensor(outside).reshape(shape), x.full_like(value), x)
    return x
