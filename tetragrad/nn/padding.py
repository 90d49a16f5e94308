"""Layers that pad the last dimensions.

``padding`` is one number for all sides, or two numbers a dimension, the last
dimension first: (left, right, top, bottom, front, back).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tetragrad.core.errors import ShapeError
from tetragrad.nn import functional as F
from tetragrad.nn.module import Module
from tetragrad.tensor import Tensor


class _Padding(Module):
    """One padding mode over a fixed number of dimensions."""

    spatial_dims: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        sides = 2 * self.spatial_dims
        amounts = (padding,) * sides if isinstance(padding, int) else tuple(padding)
        if len(amounts) != sides:
            raise ShapeError(
                f"{type(self).__name__} needs 1 or {sides} numbers, got {amounts}",
                hint="one number is for all sides; two are for the last dimension, …",
            )
        self.padding = amounts

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, mode=self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ConstantPad1d(_Padding):
    """Pad the last dimension with ``value``.

    >>> nn.ConstantPad1d(1, 9.0)(Tensor([[1.0, 2.0]])).tolist()
    [[9.0, 1.0, 2.0, 9.0]]
    """

    spatial_dims = 1
    mode = "constant"

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, value=self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad2d(ConstantPad1d):
    """Pad the last two dimensions with ``value``; see :class:`ConstantPad1d`.

    >>> nn.ConstantPad2d(1, 0.5)(Tensor.zeros(1, 1, 1)).shape
    (1, 3, 3)
    """

    spatial_dims = 2


class ConstantPad3d(ConstantPad1d):
    """Pad the last three dimensions with ``value``; see :class:`ConstantPad1d`.

    >>> nn.ConstantPad3d(1, 0.5)(Tensor.zeros(1, 1, 1, 1)).shape
    (1, 3, 3, 3)
    """

    spatial_dims = 3


class ZeroPad1d(_Padding):
    """Pad the last dimension with zeros.

    >>> nn.ZeroPad1d((0, 1))(Tensor([[1.0, 2.0]])).tolist()
    [[1.0, 2.0, 0.0]]
    """

    spatial_dims = 1
    mode = "constant"


class ZeroPad2d(ZeroPad1d):
    """Pad the last two dimensions with zeros; see :class:`ZeroPad1d`.

    >>> nn.ZeroPad2d((0, 1, 0, 0))(Tensor([[[1.0, 2.0]]]))
    tensor([[[1., 2., 0.]]])
    """

    spatial_dims = 2


class ZeroPad3d(ZeroPad1d):
    """Pad the last three dimensions with zeros; see :class:`ZeroPad1d`.

    >>> nn.ZeroPad3d(1)(Tensor.ones(1, 1, 1, 1)).shape
    (1, 3, 3, 3)
    """

    spatial_dims = 3


class ReflectionPad1d(_Padding):
    """Pad the last dimension with its mirror image, without the edge itself.

    >>> nn.ReflectionPad1d(1)(Tensor([[1.0, 2.0, 3.0]])).tolist()
    [[2.0, 1.0, 2.0, 3.0, 2.0]]
    """

    spatial_dims = 1
    mode = "reflect"


class ReflectionPad2d(ReflectionPad1d):
    """Pad the last two dimensions by reflection; see :class:`ReflectionPad1d`.

    >>> nn.ReflectionPad2d((1, 0, 0, 0))(Tensor([[[1.0, 2.0]]]))
    tensor([[[2., 1., 2.]]])
    """

    spatial_dims = 2


class ReflectionPad3d(ReflectionPad1d):
    """Pad the last three dimensions by reflection; see :class:`ReflectionPad1d`.

    >>> nn.ReflectionPad3d((1, 0, 0, 0, 0, 0))(Tensor([[[[1.0, 2.0]]]]))
    tensor([[[[2., 1., 2.]]]])
    """

    spatial_dims = 3


class ReplicationPad1d(_Padding):
    """Pad the last dimension with its edge elements.

    >>> nn.ReplicationPad1d(1)(Tensor([[1.0, 2.0]])).tolist()
    [[1.0, 1.0, 2.0, 2.0]]
    """

    spatial_dims = 1
    mode = "replicate"


class ReplicationPad2d(ReplicationPad1d):
    """Pad the last two dimensions with their edges; see :class:`ReplicationPad1d`.

    >>> nn.ReplicationPad2d((1, 0, 0, 0))(Tensor([[[1.0, 2.0]]]))
    tensor([[[1., 1., 2.]]])
    """

    spatial_dims = 2


class ReplicationPad3d(ReplicationPad1d):
    """Pad the last three dimensions with their edges; see :class:`ReplicationPad1d`.

    >>> nn.ReplicationPad3d((1, 0, 0, 0, 0, 0))(Tensor([[[[1.0, 2.0]]]]))
    tensor([[[[1., 1., 2.]]]])
    """

    spatial_dims = 3


class CircularPad1d(_Padding):
    """Pad the last dimension with elements from its other end.

    >>> nn.CircularPad1d(1)(Tensor([[1.0, 2.0, 3.0]])).tolist()
    [[3.0, 1.0, 2.0, 3.0, 1.0]]
    """

    spatial_dims = 1
    mode = "circular"


class CircularPad2d(CircularPad1d):
    """Pad the last two dimensions from their other ends; see :class:`CircularPad1d`.

    >>> nn.CircularPad2d((1, 0, 0, 0))(Tensor([[[1.0, 2.0]]]))
    tensor([[[2., 1., 2.]]])
    """

    spatial_dims = 2


class CircularPad3d(CircularPad1d):
    """Pad the last three dimensions from their other ends; see CircularPad1d.

    >>> nn.CircularPad3d((1, 0, 0, 0, 0, 0))(Tensor([[[[1.0, 2.0]]]]))
    tensor([[[[2., 1., 2.]]]])
    """

    spatial_dims = 3
