"""Convolution in any number of dimensions: windows, a product, one sum.

There is no primitive convolution. Padding and ``Window`` are movement, the product
broadcasts, and one sum runs over the channels and the kernel at once. A transposed
convolution is the adjoint: the product comes first, and overlapping windows are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import TYPE_CHECKING, Any

from tetragrad.core.dtypes import accumulation
from tetragrad.core.errors import DTypeError, ShapeError, TetragradError
from tetragrad.graph import elementwise as ops
from tetragrad.graph.folding import fold
from tetragrad.graph.movement import (
    Permute,
    Reshape,
    Shrink,
    Window,
    broadcast_to,
    dilate,
    pad,
)
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Sum
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.indexing import IndexingMethods
from tetragrad.tensor.promotion import combine
from tetragrad.tensor.reductions import drop_dims

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

Sizes = int | Sequence[int]


def spread_sizes(name: str, value: Sizes, count: int) -> tuple[int, ...]:
    """One number for each spatial dimension."""
    if isinstance(value, int):
        return (value,) * count
    sizes = tuple(value)
    if len(sizes) == 1:
        return sizes * count
    if len(sizes) != count:
        raise ShapeError(
            f"{name} {sizes} for {count} spatial dimensions",
            hint="give one number, or one for each dimension",
        )
    return sizes


def windows(
    node: Node,
    first: int,
    sizes: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> Node:
    """Each dimension from ``first`` on becomes two: window number, place within."""
    for number, size in enumerate(sizes):
        dim = first + 2 * number
        node = Window(node, dim, size, strides[number], dilations[number])
    return node


def pad_spatial(
    node: Node, first: int, padding: Sequence[tuple[int, int]], value: Any = 0
) -> Node:
    """Pad the dimensions from ``first`` on."""
    return pad(node, (((0, 0),) * first + tuple(padding)), value)


def convolve(
    source: Node,
    weight: Node,
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int,
) -> Node:
    """Correlate (batch, in, *size) with a weight of (out, in / groups, *kernel).

    Half-width floats are multiplied in float32 and rounded once, after the sum.
    """
    dtype = source.dtype
    wide = accumulation(dtype)
    source, weight = ops.Cast(source, wide), ops.Cast(weight, wide)
    batch, channels = source.shape[:2]
    outputs, inputs, *kernel = weight.shape
    spatial = len(kernel)
    source = pad_spatial(source, 2, padding)
    source = windows(source, 2, kernel, stride, dilation)
    counts = source.shape[2::2]
    # (batch, group, 1, in, n1, k1, …) -> (batch, group, 1, n1, …, in, k1, …)
    apart = (batch, groups, 1, channels // groups, *source.shape[2:])
    source = Reshape(source, apart)
    window_dims = tuple(range(4, 4 + 2 * spatial, 2))
    kernel_dims = tuple(range(5, 5 + 2 * spatial, 2))
    source = Permute(source, (0, 1, 2, *window_dims, 3, *kernel_dims))
    one_each = (1,) * spatial
    per_group = outputs // groups
    weight = Reshape(weight, (1, groups, per_group, *one_each, inputs, *kernel))
    shape = (batch, groups, per_group, *counts, inputs, *kernel)
    product = ops.Mul(broadcast_to(source, shape), broadcast_to(weight, shape))
    dims = tuple(range(3 + spatial, len(shape)))
    total = ops.Cast(Sum(product, dims), dtype)
    return Reshape(total, (batch, outputs, *counts))


def transposed_convolve(
    source: Node,
    weight: Node,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Node:
    """The adjoint of ``convolve``, for a weight of (in, out / groups, *kernel).

    Half-width floats are multiplied and folded in float32, and rounded once.
    """
    wide = accumulation(source.dtype)
    node = _placed_products(ops.Cast(source, wide), ops.Cast(weight, wide), groups)
    counts, kernel = source.shape[2:], weight.shape[2:]
    reaches: list[int] = []
    # Where all elements lie on multiples of a step, they are spread apart in the end.
    steps = [gcd(*both) for both in zip(stride, dilation, strict=True)]
    for number in reversed(range(len(kernel))):
        step = steps[number]
        by, apart = stride[number] // step, dilation[number] // step
        reach = (counts[number] - 1) * by + apart * (kernel[number] - 1) + 1
        reaches.insert(0, (reach - 1) * step + 1 + output_padding[number])
        reach += -(-output_padding[number] // step)
        # Whole strides; what is too much is zero, and cut with the padding.
        node = fold(node, 2 + 2 * number, by, apart, -(-reach // by) * by)
    if max(steps) > 1:
        node = dilate(node, (1, 1, *steps), (*node.shape[:2], *reaches))
    bounds = [(0, size) for size in node.shape[:2]]
    bounds += [
        (edge, reach - edge) for edge, reach in zip(padding, reaches, strict=True)
    ]
    return ops.Cast(Shrink(node, tuple(bounds)), source.dtype)


def _placed_products(source: Node, weight: Node, groups: int) -> Node:
    """What each element of the input adds: (batch, out, n1, k1, n2, k2, …).

    The input channels are summed; they stand last until then.
    """
    batch, channels, *counts = source.shape
    per_group, *kernel = weight.shape[1:]
    inputs = channels // groups
    spatial = len(kernel)
    source = Reshape(source, (batch, groups, inputs, *counts))
    source = Permute(source, (0, 1, *range(3, 3 + spatial), 2))
    source = Reshape(source, (batch, groups, 1, *counts, *(1,) * spatial, inputs))
    weight = Reshape(weight, (groups, inputs, per_group, *kernel))
    weight = Permute(weight, (0, 2, *range(3, 3 + spatial), 1))
    weight = Reshape(weight, (1, groups, per_group, *(1,) * spatial, *kernel, inputs))
    shape = (batch, groups, per_group, *counts, *kernel, inputs)
    product = ops.Mul(broadcast_to(source, shape), broadcast_to(weight, shape))
    last = len(shape) - 1
    node = drop_dims(Sum(product, (last,)), (last,))
    pairs = [dim for place in range(3, 3 + spatial) for dim in (place, place + spatial)]
    node = Permute(node, (0, 1, 2, *pairs))
    return Reshape(node, (batch, groups * per_group, *node.shape[3:]))


def _same_padding(
    stride: Sequence[int], dilation: Sequence[int], kernel: Sequence[int]
) -> list[tuple[int, int]]:
    """Padding that keeps the size; an odd element goes to the end."""
    if any(step != 1 for step in stride):
        raise ShapeError(
            "padding='same' with a stride: the size cannot stay the same",
            hint="give the padding in numbers",
        )
    totals = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    return [(reach // 2, reach - reach // 2) for reach in totals]


def _padding_of(
    padding: Any,
    stride: Sequence[int],
    dilation: Sequence[int],
    kernel: Sequence[int],
) -> list[tuple[int, int]]:
    if padding == "same":
        return _same_padding(stride, dilation, kernel)
    if padding == "valid":
        padding = 0
    if isinstance(padding, str):
        raise TetragradError(
            f"there is no padding {padding!r}", hint="use 'same', 'valid' or numbers"
        )
    return [(edge, edge) for edge in spread_sizes("padding", padding, len(kernel))]


def _check(
    name: str, source: TensorBase, weight: TensorBase, groups: int, inputs: int
) -> None:
    """Raise where input, weight and groups do not fit one another."""
    if source.dtype is not weight.dtype:
        raise DTypeError(
            f"{name} of an input of {source.dtype} and a weight of {weight.dtype}",
            hint="convert one of them first",
        )
    if source.ndim != weight.ndim:
        raise ShapeError(
            f"{name} of an input of shape {source.shape} and a weight of shape "
            f"{weight.shape}: the numbers of dimensions differ",
            hint="the input is (batch, channels, *size); batch may be left out",
        )
    channels = source.shape[1]
    if groups < 1 or channels % groups or inputs != channels:
        raise ShapeError(
            f"{name} of an input of shape {source.shape}, so of {channels} channels, "
            f"a weight of shape {weight.shape} and groups={groups}: the weight takes "
            f"{inputs} channels",
            hint="channels come after the batch here: write x.movedim(-1, 1)"
            if source.shape[-1] == inputs
            else "the input is (batch, channels, *size), see x.movedim(); or make the "
            f"layer with in_channels={channels}",
        )


class ConvolutionMethods(IndexingMethods):
    """Convolutions of one to three spatial dimensions."""

    __slots__ = ()

    def conv1d(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Any = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Tensor:
        """Correlate (batch, in, size) with a weight of (out, in / groups, kernel).

        >>> Tensor([[[1.0, 2.0, 3.0]]]).conv1d(Tensor([[[1.0, 1.0]]]))
        tensor([[[3., 5.]]])
        """
        return _convolution(1, self, weight, bias, stride, padding, dilation, groups)

    def conv2d(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Any = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Tensor:
        """Correlate (batch, in, height, width) with (out, in / groups, *kernel).

        ``padding`` may be 'same' or 'valid'. The batch dimension may be left out.

        >>> Tensor.ones(1, 1, 3, 3).conv2d(Tensor.ones(1, 1, 2, 2))
        tensor([[[[4., 4.],
                  [4., 4.]]]])
        """
        return _convolution(2, self, weight, bias, stride, padding, dilation, groups)

    def conv3d(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Any = 0,
        dilation: Sizes = 1,
        groups: int = 1,
    ) -> Tensor:
        """Correlate (batch, in, depth, height, width) with (out, in / groups, …).

        >>> Tensor.ones(1, 1, 2, 2, 2).conv3d(Tensor.ones(1, 1, 2, 2, 2))
        tensor([[[[[8.]]]]])
        """
        return _convolution(3, self, weight, bias, stride, padding, dilation, groups)

    def conv_transpose1d(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        dilation: Sizes = 1,
    ) -> Tensor:
        """The adjoint of ``conv1d``; the weight is (in, out / groups, kernel).

        >>> Tensor([[[1.0, 2.0]]]).conv_transpose1d(Tensor([[[1.0, 1.0]]]))
        tensor([[[1., 3., 2.]]])
        """
        return _transposed(
            1, self, weight, bias, stride, padding, output_padding, groups, dilation
        )

    def conv_transpose2d(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        dilation: Sizes = 1,
    ) -> Tensor:
        """The adjoint of ``conv2d``; the weight is (in, out / groups, *kernel).

        >>> Tensor.ones(1, 1, 1, 1).conv_transpose2d(Tensor.ones(1, 1, 2, 2))
        tensor([[[[1., 1.],
                  [1., 1.]]]])
        """
        return _transposed(
            2, self, weight, bias, stride, padding, output_padding, groups, dilation
        )

    def conv_transpose3d(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        dilation: Sizes = 1,
    ) -> Tensor:
        """The adjoint of ``conv3d``; the weight is (in, out / groups, *kernel).

        >>> weight = Tensor.ones(1, 1, 2, 2, 2)
        >>> Tensor.ones(1, 1, 1, 1, 1).conv_transpose3d(weight).shape
        (1, 1, 2, 2, 2)
        """
        return _transposed(
            3, self, weight, bias, stride, padding, output_padding, groups, dilation
        )


def _batched(name: str, source: Any, spatial: int) -> tuple[Any, bool]:
    """The input with a batch dimension, and whether one was added."""
    if source.ndim == spatial + 1:
        return source.unsqueeze(0), True
    if source.ndim != spatial + 2:
        raise ShapeError(
            f"{name} of an input of shape {source.shape}",
            hint=f"the input has {spatial + 2} dimensions: batch, channels, sizes",
        )
    return source, False


def _convolution(
    spatial: int,
    source: Any,
    weight: Any,
    bias: Any,
    stride: Sizes,
    padding: Any,
    dilation: Sizes,
    groups: int,
) -> Tensor:
    name = f"conv{spatial}d()"
    batched, was_single = _batched(name, source, spatial)
    inputs = weight.shape[1] * groups if weight.ndim > 1 else 0
    _check(name, batched, weight, groups, inputs)
    if weight.shape[0] % groups:
        raise ShapeError(
            f"{name} with {weight.shape[0]} output channels in {groups} groups",
            hint="the groups must divide the output channels",
        )
    kernel = weight.shape[2:]
    strides = spread_sizes("stride", stride, spatial)
    dilations = spread_sizes("dilation", dilation, spatial)
    edges = _padding_of(padding, strides, dilations, kernel)
    node = convolve(batched.node, weight.node, strides, edges, dilations, groups)
    return _finished(node, source, weight, bias, was_single)


def _transposed(
    spatial: int,
    source: Any,
    weight: Any,
    bias: Any,
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    groups: int,
    dilation: Sizes,
) -> Tensor:
    name = f"conv_transpose{spatial}d()"
    batched, was_single = _batched(name, source, spatial)
    _check(name, batched, weight, groups, weight.shape[0])
    strides = spread_sizes("stride", stride, spatial)
    dilations = spread_sizes("dilation", dilation, spatial)
    extra = spread_sizes("output_padding", output_padding, spatial)
    for more, by, apart in zip(extra, strides, dilations, strict=True):
        if more >= max(by, apart):
            raise ShapeError(
                f"{name} with output_padding {extra}, stride {strides} and dilation "
                f"{dilations}",
                hint="output_padding must be smaller than stride or dilation",
            )
    edges = spread_sizes("padding", padding, spatial)
    node = transposed_convolve(
        batched.node, weight.node, strides, edges, extra, dilations, groups
    )
    return _finished(node, source, weight, bias, was_single)


def _finished(
    node: Node, source: Any, weight: Any, bias: Any, was_single: bool
) -> Tensor:
    """Add the bias, one number a channel, and drop the batch that was added."""
    if bias is not None:
        if bias.shape != node.shape[1:2]:
            raise ShapeError(
                f"a bias of shape {bias.shape} for {node.shape[1]} output channels",
                hint="a bias has one element for each output channel",
            )
        shape = (1, -1, *(1 for _ in node.shape[2:]))
        spread = broadcast_to(bias.reshape(shape).node, node.shape)
        node = ops.Add(node, spread)
    if was_single:
        node = drop_dims(node, (0,))
    return combine(node, source, weight, bias)
