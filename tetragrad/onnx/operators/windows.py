"""Where the windows of a convolution or a pooling lie: ONNX's rules for sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from tetragrad.core.errors import ShapeError
from tetragrad.core.frozen import frozen
from tetragrad.tensor import Tensor
from tetragrad.tensor.convolution import windows


class Placement(TypedDict, total=False):
    """The attributes that say where windows lie, whatever is done in them."""

    auto_pad: str
    dilations: Sequence[int] | None
    pads: Sequence[int] | None
    strides: Sequence[int] | None


@frozen
class Windows:
    """Windows over the dimensions after batch and channels."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    #: What is added before and after each dimension.
    pads: tuple[tuple[int, int], ...]
    #: What windows of ``ceil_mode`` reach beyond that.
    extra: tuple[int, ...]

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Everything that is added, also for batch and channels."""
        inner = [
            (before, after + more)
            for (before, after), more in zip(self.pads, self.extra, strict=True)
        ]
        return ((0, 0), (0, 0), *inner)

    @property
    def inner_dims(self) -> tuple[int, ...]:
        """The dimensions of a cut value that lie within windows."""
        return tuple(3 + 2 * number for number in range(len(self.kernel)))

    def cut(self, padded: Tensor) -> Tensor:
        """(batch, channels, n1, k1, n2, k2, …): the windows of a padded value."""
        node = windows(padded.node, 2, self.kernel, self.strides, self.dilations)
        return padded.result(node)


def place_windows(
    sizes: Sequence[int],
    kernel: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
) -> Windows:
    """The windows that a node's attributes describe, for spatial sizes."""
    count = len(sizes)
    by = tuple(strides or (1,) * count)
    apart = tuple(dilations or (1,) * count)
    given = tuple(pads or (0,) * (2 * count))
    lengths = {len(kernel), len(by), len(apart), len(given) // 2}
    if lengths != {count} or min((*by, *apart, *kernel), default=1) < 1:
        raise ShapeError(
            f"windows of {tuple(kernel)}, strides {by}, dilations {apart} and pads "
            f"{given} over {count} dimensions"
        )
    reaches = [step * (size - 1) + 1 for step, size in zip(apart, kernel, strict=True)]
    if auto_pad.startswith("SAME"):
        edges = [
            _same(size, step, reach, auto_pad == "SAME_UPPER")
            for size, step, reach in zip(sizes, by, reaches, strict=True)
        ]
    elif auto_pad == "VALID":
        edges = [(0, 0)] * count
    else:
        edges = list(zip(given[:count], given[count:], strict=True))
    extra = tuple(
        _beyond(size, edge, step, reach) if ceil_mode else 0
        for size, edge, step, reach in zip(sizes, edges, by, reaches, strict=True)
    )
    return Windows(tuple(kernel), by, apart, tuple(edges), extra)


def _same(size: int, step: int, reach: int, is_upper: bool) -> tuple[int, int]:
    """Padding for ceil(size / step) windows; an odd element goes to one side."""
    count = -(-size // step)
    whole = max(0, (count - 1) * step + reach - size)
    less, more = whole // 2, whole - whole // 2
    return (less, more) if is_upper else (more, less)


def _beyond(size: int, edge: tuple[int, int], step: int, reach: int) -> int:
    """How far the last window leaves what is padded, when sizes are rounded up."""
    padded = size + sum(edge)
    count = -(-(padded - reach) // step) + 1
    # A window that would begin in the padding at the end does not count.
    if (count - 1) * step >= size + edge[0]:
        count -= 1
    return max(0, (count - 1) * step + reach - padded)
