"""Resizing: pixels of a new grid as mixtures of the old ones.

Every mode works dimension by dimension: a new pixel is a sum of a few old ones, whose
places and weights the host knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tetragrad.core.errors import ShapeError, TetragradError, UnsupportedError
from tetragrad.core.frozen import frozen

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

_NEAREST = ("nearest", "nearest-exact")
_LINEAR = ("linear", "bilinear", "trilinear")
MODES = (*_NEAREST, *_LINEAR, "bicubic", "area")


@frozen
class Grid:
    """How one dimension is resized: its sizes, and the distance of new pixels."""

    count: int
    wanted: int
    step: float
    align_corners: bool

    def places(self) -> np.ndarray:
        """Where the middles of the new pixels lie among the old ones."""
        if self.align_corners:
            step = (self.count - 1) / (self.wanted - 1) if self.wanted > 1 else 0.0
            return np.arange(self.wanted) * step
        return (np.arange(self.wanted) + 0.5) * self.step - 0.5


def resize(
    source: Any,
    size: Any,
    scale_factor: Any,
    mode: str,
    align_corners: bool,
    antialias: bool,
) -> Tensor:
    """Resize all dimensions after the first two."""
    if mode not in MODES:
        raise TetragradError(
            f"there is no interpolation mode {mode!r}",
            hint=f"use one of {', '.join(MODES)}",
        )
    old = source.shape[2:]
    sizes, steps = new_sizes(old, size, scale_factor)
    if mode == "area":
        return _by_cells(source, sizes)
    for number, (count, wanted) in enumerate(zip(old, sizes, strict=True)):
        grid = Grid(count, wanted, steps[number], align_corners)
        dim = 2 + number
        if mode in _NEAREST:
            places = _nearest(grid, exact=mode == "nearest-exact")
            source = source.index_select(dim, source.tensor_class(places))
        elif antialias:
            source = _filtered(source, dim, grid, _kernel(mode))
        else:
            source = _mixed(source, dim, grid, _kernel(mode))
    return source


def new_sizes(
    old: Sequence[int], size: Any, scale_factor: Any
) -> tuple[list[int], list[float]]:
    """The sizes asked for, and how far apart new pixels are among the old ones."""
    if (size is None) == (scale_factor is None):
        raise ShapeError(
            "interpolate() needs either size or scale_factor", hint="pass one of them"
        )
    if size is not None:
        sizes = [size] * len(old) if isinstance(size, int) else list(size)
        return sizes, [
            have / max(want, 1) for have, want in zip(old, sizes, strict=True)
        ]
    is_number = isinstance(scale_factor, int | float)
    factors = [scale_factor] * len(old) if is_number else list(scale_factor)
    sizes = [math.floor(have * by) for have, by in zip(old, factors, strict=True)]
    return sizes, [1 / by for by in factors]


def _by_cells(source: Any, sizes: list[int]) -> Tensor:
    """The means of nearly equal cells."""
    pools = (source.adaptive_avg_pool1d, source.adaptive_avg_pool2d)
    pool = (*pools, source.adaptive_avg_pool3d)[len(sizes) - 1]
    return pool(tuple(sizes))


def _nearest(grid: Grid, *, exact: bool) -> np.ndarray:
    """The old pixel of each new one."""
    shift = 0.5 if exact else 0.0
    places = np.floor((np.arange(grid.wanted) + shift) * grid.step).astype(np.int64)
    return np.clip(places, 0, grid.count - 1)


@frozen
class Kernel:
    """The weight of an old pixel by its distance; 0 from ``reach`` on."""

    reach: int
    weight: Callable[[np.ndarray], np.ndarray]


def _triangle(distance: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1.0 - np.abs(distance))


def _cubic(slope: float) -> Callable[[np.ndarray], np.ndarray]:
    """R. Keys, "Cubic convolution interpolation for image processing" (1981)."""

    def weight(distance: np.ndarray) -> np.ndarray:
        x = np.abs(distance)
        near = ((slope + 2) * x - (slope + 3)) * x * x + 1
        far = ((slope * x - 5 * slope) * x + 8 * slope) * x - 4 * slope
        return np.where(x <= 1, near, np.where(x < 2, far, 0.0))

    return weight


def _kernel(mode: str) -> Kernel:
    if mode == "bicubic":
        return Kernel(2, _cubic(-0.75))
    return Kernel(1, _triangle)


def _mixed(source: Any, dim: int, grid: Grid, kernel: Kernel) -> Any:
    """Sums of the old pixels within reach; beyond the edges stands the edge's pixel."""
    places = grid.places()
    if kernel.reach == 1:
        # A line through the two outermost pixels ends at them.
        places = np.clip(places, 0, grid.count - 1)
    first = np.floor(places).astype(np.int64)
    total: Any = None
    for tap in range(1 - kernel.reach, kernel.reach + 1):
        index = np.clip(first + tap, 0, grid.count - 1)
        weight = kernel.weight(places - (first + tap))
        pixels = source.index_select(dim, source.tensor_class(index))
        term = pixels * _along(source, dim, weight)
        total = term if total is None else total + term
    return total


def _along(source: Any, dim: int, weights: np.ndarray) -> Any:
    shape = [-1 if axis == dim else 1 for axis in range(source.ndim)]
    return source.tensor_class(weights, source.dtype).reshape(shape)


def _filtered(source: Any, dim: int, grid: Grid, kernel: Kernel) -> Any:
    """A kernel as wide as a new pixel, so that small ones see all they cover.

    The weights are a matrix of the host, and add up to one for every new pixel.
    """
    if not source.dtype.is_floating_point:
        raise UnsupportedError(
            f"interpolate() of {source.dtype} with antialias=True",
            hint="convert the image first: x.float()",
        )
    if kernel.reach == 2:
        # Wide kernels are Catmull and Rom's, as image libraries have them.
        kernel = Kernel(2, _cubic(-0.5))
    step = grid.step
    if grid.align_corners:
        # Like PyTorch: the corners' distance, but the places of other grids.
        step = (grid.count - 1) / (grid.wanted - 1) if grid.wanted > 1 else 0.0
    places = (np.arange(grid.wanted) + 0.5) * step - 0.5
    old = np.arange(grid.count)
    distance = (old[None, :] - places[:, None]) / max(step, 1.0)
    weights = kernel.weight(distance)
    weights = weights / weights.sum(1, keepdims=True)
    matrix = source.tensor_class(weights, source.dtype)
    return source.movedim(dim, -1).matmul(matrix.t()).movedim(-1, dim)
