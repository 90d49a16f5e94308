"""Values of images at places that tensors name: grids and regions of interest."""

from __future__ import annotations

import itertools
import math

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import TetragradError
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import Host
from tetragrad.tensor import Tensor
from tetragrad.tensor.arithmetic import where
from tetragrad.tensor.joining import stack

#: The coefficient of cubic interpolation that PyTorch uses too.
_CUBIC = -0.75


@operator("GridSample", since=20)
def grid_sample(
    x: Tensor,
    grid: Tensor,
    *,
    align_corners: int = 0,
    mode: str = "linear",
    padding_mode: str = "zeros",
) -> Tensor:
    """The input at the places of a grid, which are from -1 to 1; the last index first.

    Args:
        x: (batch, channels, *sizes).
        grid: (batch, *wanted, number of sizes).
    """
    sizes = x.shape[2:]
    places = []
    for dim, size in enumerate(sizes):
        place = grid[..., len(sizes) - 1 - dim]
        if align_corners:
            place = (place + 1) * ((size - 1) / 2)
        else:
            place = ((place + 1) * size - 1) / 2
        places.append(place)
    taps = [_taps(place, mode) for place in places]
    result: Tensor | None = None
    for chosen in itertools.product(*taps):
        part = _values(x, [at for at, _ in chosen], padding_mode, bool(align_corners))
        for _, weight in chosen:
            if weight is not None:
                part = part * weight.unsqueeze(1)
        result = part if result is None else result + part
    assert result is not None
    return result


@operator("GridSample", since=16)
def grid_sample_16(
    x: Tensor,
    grid: Tensor,
    *,
    align_corners: int = 0,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
) -> Tensor:
    names = {"bilinear": "linear", "bicubic": "cubic"}
    return grid_sample(
        x,
        grid,
        align_corners=align_corners,
        mode=names.get(mode, mode),
        padding_mode=padding_mode,
    )


def _taps(place: Tensor, mode: str) -> list[tuple[Tensor, Tensor | None]]:
    """Whole places around a place in one dimension, with their weights."""
    if mode == "nearest":
        return [(place.round(), None)]
    low = place.floor()
    part = place - low
    if mode == "linear":
        return [(low, 1 - part), (low + 1, part)]
    if mode == "cubic":
        return [
            (low + step, _cubic((part - step).abs(), step in (0, 1)))
            for step in (-1, 0, 1, 2)
        ]
    raise TetragradError(f"GridSample with mode {mode!r}")


def _cubic(distance: Tensor, is_near: bool) -> Tensor:
    """R. Keys, "Cubic convolution interpolation", 1981, equation (4)."""
    a = _CUBIC
    if is_near:
        return (distance * (a + 2) - (a + 3)) * distance * distance + 1
    return (((distance - 5) * distance + 8) * distance - 4) * a


def _values(
    x: Tensor, places: list[Tensor], padding: str, align_corners: bool
) -> Tensor:
    """The input at whole places, (batch, channels, *wanted)."""
    sizes = x.shape[2:]
    inside: Tensor | None = None
    flat: Tensor | None = None
    for place, size in zip(places, sizes, strict=True):
        if padding == "reflection":
            place = _reflected(place, size, align_corners)
        elif padding == "zeros":
            fits = (place >= 0).logical_and(place <= size - 1)
            inside = fits if inside is None else inside.logical_and(fits)
        whole = place.clamp(0, size - 1).to(dtypes.int64)
        flat = whole if flat is None else flat * size + whole
    assert flat is not None
    batch, channels = x.shape[:2]
    index = flat.reshape(batch, 1, -1).expand(batch, channels, -1)
    taken = x.reshape(batch, channels, math.prod(sizes)).gather(2, index)
    taken = taken.reshape(batch, channels, *flat.shape[1:])
    if inside is None:
        return taken
    return where(inside.unsqueeze(1), taken, taken.zeros_like())


def _reflected(place: Tensor, size: int, align_corners: bool) -> Tensor:
    """Places outside mirrored at the edges until they are inside."""
    low = 0.0 if align_corners else -0.5
    span = size - 1.0 if align_corners else float(size)
    if span == 0:
        return place.zeros_like()
    distance = (place - low).abs()
    turns = (distance / span).floor()
    rest = distance - turns * span
    is_even = turns.remainder(2).eq(0)
    return where(is_even, rest, span - rest) + low


@operator("RoiAlign")
def roi_align(
    x: Tensor,
    rois: Host,
    batch_indices: Host,
    *,
    coordinate_transformation_mode: str = "half_pixel",
    mode: str = "avg",
    output_height: int = 1,
    output_width: int = 1,
    sampling_ratio: int = 0,
    spatial_scale: float = 1.0,
) -> Tensor:
    """Means or maxima of samples in the cells of regions; the host knows the regions.

    K. He et al., "Mask R-CNN", 2017, section 3.
    """
    shift = 0.5 if coordinate_transformation_mode == "half_pixel" else 0.0
    results = []
    for box, image in zip(rois, batch_indices, strict=True):
        left, top, right, bottom = (float(v) * spatial_scale - shift for v in box)
        height, width = bottom - top, right - left
        if not shift:
            height, width = max(height, 1.0), max(width, 1.0)
        rows = _cell_samples(top, height, output_height, sampling_ratio)
        columns = _cell_samples(left, width, output_width, sampling_ratio)
        samples = _sampled(x[int(image)], rows.ravel(), columns.ravel(), mode)
        cells = samples.reshape(x.shape[1], *rows.shape, *columns.shape)
        is_mean = mode == "avg"
        results.append(cells.mean((2, 4)) if is_mean else cells.amax((2, 4)))
    if not results:
        return Tensor.zeros(0, x.shape[1], output_height, output_width, dtype=x.dtype)
    return stack(results, 0)


def _cell_samples(start: float, length: float, count: int, ratio: int) -> np.ndarray:
    """The places of the samples in each cell of a line: (cells, samples)."""
    cell = length / count
    samples = ratio if ratio > 0 else max(1, math.ceil(cell))
    within = (np.arange(samples) + 0.5) * cell / samples
    return start + np.arange(count)[:, None] * cell + within[None]


def _line_taps(places: np.ndarray, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Two neighbours of each place and their weights; nothing far outside counts."""
    inside = (places >= -1) & (places <= size)
    places = np.clip(places, 0, size - 1)
    low = np.minimum(np.floor(places).astype(np.int64), size - 1)
    high = np.minimum(low + 1, size - 1)
    part = places - low
    return [(low, (1 - part) * inside), (high, part * inside)]


def _sampled(image: Tensor, rows: np.ndarray, columns: np.ndarray, mode: str) -> Tensor:
    """Bilinear values of (channels, height, width) at every row and column.

    The maximum is over the four weighted neighbours, as the standard's tests have it.
    """
    parts = []
    for row, row_weight in _line_taps(rows, image.shape[1]):
        for column, column_weight in _line_taps(columns, image.shape[2]):
            weight = np.outer(row_weight, column_weight).astype(image.dtype.numpy)
            taken = image.index_select(1, Tensor(row)).index_select(2, Tensor(column))
            parts.append(taken * Tensor(weight))
    result = parts[0]
    for part in parts[1:]:
        result = result + part if mode == "avg" else result.maximum(part)
    return result


@operator("NonMaxSuppression")
def non_max_suppression(
    boxes: Host,
    scores: Host,
    max_output_boxes_per_class: Host | None = None,
    iou_threshold: Host | None = None,
    score_threshold: Host | None = None,
    *,
    center_point_box: int = 0,
) -> Host:
    """The best boxes of each class that overlap no better one, on the host."""
    limit = 0 if max_output_boxes_per_class is None else max_output_boxes_per_class
    count = int(np.asarray(limit).ravel()[0])
    overlap = 0.0 if iou_threshold is None else float(iou_threshold.ravel()[0])
    lowest = None if score_threshold is None else float(score_threshold.ravel()[0])
    corners = _corners(boxes, bool(center_point_box))
    found = [
        (batch, kind, box)
        for batch in range(scores.shape[0])
        for kind in range(scores.shape[1])
        for box in _kept(corners[batch], scores[batch, kind], count, overlap, lowest)
    ]
    return np.asarray(found, np.int64).reshape(-1, 3)


def _corners(boxes: np.ndarray, has_centre: bool) -> np.ndarray:
    """Boxes as (first, second) corner with the smaller coordinates first."""
    if has_centre:
        centre, half = boxes[..., :2], boxes[..., 2:] / 2
        return np.concatenate([centre - half, centre + half], -1)
    low = np.minimum(boxes[..., :2], boxes[..., 2:])
    return np.concatenate([low, np.maximum(boxes[..., :2], boxes[..., 2:])], -1)


def _kept(
    boxes: np.ndarray,
    scores: np.ndarray,
    count: int,
    overlap: float,
    lowest: float | None,
) -> list[int]:
    """Boxes of one class in the order of their scores."""
    order = np.argsort(-scores, kind="stable")
    if lowest is not None:
        order = order[scores[order] > lowest]
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept: list[int] = []
    while len(order) and len(kept) < count:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[order, :2])
        high = np.minimum(boxes[best, 2:], boxes[order, 2:])
        common = np.prod(np.clip(high - low, 0, None), axis=1)
        union = area[best] + area[order] - common
        ratio = np.where(union > 0, common / np.where(union > 0, union, 1), 0)
        order = order[ratio <= overlap]
    return kept
