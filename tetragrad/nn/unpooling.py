"""Layers that undo max pooling, or pool windows of random places."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tetragrad.nn import functional as F
from tetragrad.nn.module import Module
from tetragrad.tensor import Tensor

IntOrSequence = int | Sequence[int]


class _MaxUnpool(Module):
    """Values at the places where max pooling found them; zeros elsewhere.

    Args:
        kernel_size, stride, padding: those of the pooling; the stride is the
            window's size if None.
    """

    #: The number of spatial dimensions.
    rank: ClassVar[int]

    def __init__(
        self,
        kernel_size: IntOrSequence,
        stride: IntOrSequence | None = None,
        padding: IntOrSequence = 0,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding

    def forward(
        self,
        input: Tensor,
        indices: Tensor,
        output_size: Sequence[int] | None = None,
    ) -> Tensor:
        unpool = getattr(F, f"max_unpool{self.rank}d")
        return unpool(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )

    def extra_repr(self) -> str:
        names = ("kernel_size", "stride", "padding")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)


class MaxUnpool1d(_MaxUnpool):
    """Put the values of ``MaxPool1d`` back where its indices say.

    >>> pooled, places = nn.MaxPool1d(2, return_indices=True)(Tensor([[[1.0, 3.0]]]))
    >>> nn.MaxUnpool1d(2)(pooled, places)
    tensor([[[0., 3.]]])
    """

    rank = 1


class MaxUnpool2d(_MaxUnpool):
    """Put the values of ``MaxPool2d`` back where its indices say.

    >>> value, place = nn.MaxPool2d(2, return_indices=True)(Tensor.ones(1, 1, 2, 2))
    >>> nn.MaxUnpool2d(2)(value, place)
    tensor([[[[1., 0.],
              [0., 0.]]]])
    """

    rank = 2


class MaxUnpool3d(_MaxUnpool):
    """Put the values of ``MaxPool3d`` back where its indices say.

    >>> values = Tensor.ones(1, 1, 2, 2, 2)
    >>> value, place = nn.MaxPool3d(2, return_indices=True)(values)
    >>> nn.MaxUnpool3d(2)(value, place).sum()
    tensor(1.)
    """

    rank = 3


class _FractionalMaxPool(Module):
    """The largest element of windows at random places.

    Args:
        kernel_size: size of the window.
        output_size, output_ratio: how many windows, or which share of the input's
            sizes that is.
        return_indices: also return where each maximum was (for unpooling).
    """

    rank: ClassVar[int]

    def __init__(
        self,
        kernel_size: IntOrSequence,
        output_size: IntOrSequence | None = None,
        output_ratio: Any = None,
        return_indices: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.output_size = output_size
        self.output_ratio = output_ratio
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        pool = getattr(F, f"fractional_max_pool{self.rank}d")
        sizes = self.output_size, self.output_ratio
        return pool(input, self.kernel_size, *sizes, self.return_indices)


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest element of windows at random places of an image.

    >>> nn.FractionalMaxPool2d(2, output_ratio=0.5)(Tensor.ones(1, 1, 6, 6)).shape
    (1, 1, 3, 3)
    """

    rank = 2


class FractionalMaxPool3d(_FractionalMaxPool):
    """The largest element of windows at random places of a volume.

    >>> nn.FractionalMaxPool3d(2, output_size=2)(Tensor.ones(1, 4, 4, 4)).shape
    (1, 2, 2, 2)
    """

    rank = 3
