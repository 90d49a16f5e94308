"""Pooling layers: the maximum or mean of each window of the last dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from tetragrad.nn import functional as F
from tetragrad.nn.module import Module
from tetragrad.tensor import Tensor

IntOrSequence = int | Sequence[int]


class _Pool(Module):
    """A layer that hands its options to one function."""

    _function: ClassVar[Callable[..., Any]]
    #: The attributes that the function gets and ``repr`` shows.
    options: ClassVar[tuple[str, ...]]
    #: Those that ``repr`` does not show.
    _other_options: ClassVar[tuple[str, ...]] = ()

    def forward(self, input: Tensor) -> Any:
        names = (*self.options, *self._other_options)
        return self._function(input, **{name: getattr(self, name) for name in names})

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.options)


class _MaxPool(_Pool):
    """The largest element of each window; windows move by ``stride``.

    Args:
        kernel_size: size of the window.
        stride: step between windows; the window's size if None.
        padding: rows of -inf on both sides, at most half the window.
        dilation: step between the elements of a window.
        return_indices: also return where each maximum was (for unpooling).
        ceil_mode: keep a last window that is only partly inside.
    """

    options = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    _other_options = ("return_indices",)

    def __init__(
        self,
        kernel_size: IntOrSequence,
        stride: IntOrSequence | None = None,
        padding: IntOrSequence = 0,
        dilation: IntOrSequence = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode


class MaxPool1d(_MaxPool):
    """The largest element of each window of (batch, channels, length).

    >>> nn.MaxPool1d(2)(Tensor([[[1.0, 3.0, 2.0, 0.0]]])).tolist()
    [[[3.0, 2.0]]]
    """

    _function = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """The largest element of each window of (batch, channels, height, width).

    >>> nn.MaxPool2d(2)(Tensor.ones(1, 3, 6, 6)).shape
    (1, 3, 3, 3)
    """

    _function = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    """The largest element of each window of (batch, channels, depth, height, width).

    >>> nn.MaxPool3d(2)(Tensor.ones(1, 3, 4, 4, 4)).shape
    (1, 3, 2, 2, 2)
    """

    _function = staticmethod(F.max_pool3d)


class AvgPool1d(_Pool):
    """The mean of each window of (batch, channels, length).

    >>> nn.AvgPool1d(2)(Tensor([[[1.0, 3.0]]])).tolist()
    [[[2.0]]]
    """

    _function = staticmethod(F.avg_pool1d)
    options = (
        "kernel_size", "stride", "padding", "ceil_mode", "count_include_pad",
    )  # fmt: skip

    def __init__(
        self,
        kernel_size: IntOrSequence,
        stride: IntOrSequence | None = None,
        padding: IntOrSequence = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad


class AvgPool2d(AvgPool1d):
    """The mean of each window of (batch, channels, height, width).

    ``divisor_override`` divides the sum by another number than the window's size.

    >>> nn.AvgPool2d(2)(Tensor.ones(1, 1, 4, 4)).tolist()
    [[[[1.0, 1.0], [1.0, 1.0]]]]
    """

    _function = staticmethod(F.avg_pool2d)
    _other_options = ("divisor_override",)

    def __init__(
        self,
        kernel_size: IntOrSequence,
        stride: IntOrSequence | None = None,
        padding: IntOrSequence = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.divisor_override = divisor_override


class AvgPool3d(AvgPool2d):
    """The mean of each window of (batch, channels, depth, height, width).

    >>> nn.AvgPool3d(2)(Tensor.ones(1, 1, 2, 2, 2)).tolist()
    [[[[[1.0]]]]]
    """

    _function = staticmethod(F.avg_pool3d)


class LPPool1d(_Pool):
    """(Σ x^p)^(1/p) over each window of (batch, channels, length).

    >>> nn.LPPool1d(2, 2)(Tensor([[[3.0, 4.0]]])).tolist()
    [[[5.0]]]
    """

    _function = staticmethod(F.lp_pool1d)
    options = ("norm_type", "kernel_size", "stride", "ceil_mode")

    def __init__(
        self,
        norm_type: float,
        kernel_size: IntOrSequence,
        stride: IntOrSequence | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode


class LPPool2d(LPPool1d):
    """(Σ x^p)^(1/p) over each window of (batch, channels, height, width).

    >>> nn.LPPool2d(1, 2)(Tensor.ones(1, 1, 2, 2)).tolist()
    [[[[4.0]]]]
    """

    _function = staticmethod(F.lp_pool2d)


class LPPool3d(LPPool1d):
    """(Σ x^p)^(1/p) over each window of (batch, channels, depth, height, width).

    >>> nn.LPPool3d(2, (1, 1, 2))(Tensor([[[[[3.0, 4.0]]]]]))
    tensor([[[[[5.]]]]])
    """

    _function = staticmethod(F.lp_pool3d)


class _AdaptivePool(_Pool):
    """Windows that split each dimension into a given number of parts.

    Part i of n covers indices ⌊i·size/n⌋ to ⌈(i+1)·size/n⌉ (not included).
    ``output_size`` None keeps a dimension as it is.
    """

    options = ("output_size",)

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size


class AdaptiveAvgPool1d(_AdaptivePool):
    """Means of parts of (batch, channels, length); see :class:`AdaptiveAvgPool2d`.

    >>> nn.AdaptiveAvgPool1d(1)(Tensor([[[1.0, 2.0, 6.0]]])).tolist()
    [[[3.0]]]
    """

    _function = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptivePool):
    """Means of ``output_size`` parts of each of the last two dimensions.

    Part i of n covers indices ⌊i·size/n⌋ to ⌈(i+1)·size/n⌉ (not included).

    >>> nn.AdaptiveAvgPool2d((1, 2))(Tensor.ones(1, 4, 5, 5)).shape
    (1, 4, 1, 2)
    """

    _function = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptivePool):
    """Means of ``output_size`` parts of each of the last three dimensions.

    >>> nn.AdaptiveAvgPool3d(1)(Tensor.ones(1, 4, 2, 2, 2)).shape
    (1, 4, 1, 1, 1)
    """

    _function = staticmethod(F.adaptive_avg_pool3d)


class _AdaptiveMaxPool(_AdaptivePool):
    """Adaptive pooling that can also return where each maximum was."""

    _other_options = ("return_indices",)

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Maxima of parts of (batch, channels, length); see :class:`AdaptiveAvgPool2d`.

    >>> nn.AdaptiveMaxPool1d(1)(Tensor([[[1.0, 2.0, 6.0]]])).tolist()
    [[[6.0]]]
    """

    _function = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Maxima of ``output_size`` parts of each of the last two dimensions.

    >>> nn.AdaptiveMaxPool2d(2)(Tensor.ones(1, 4, 5, 5)).shape
    (1, 4, 2, 2)
    """

    _function = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Maxima of ``output_size`` parts of each of the last three dimensions.

    >>> nn.AdaptiveMaxPool3d(1)(Tensor.ones(1, 4, 2, 2, 2)).shape
    (1, 4, 1, 1, 1)
    """

    _function = staticmethod(F.adaptive_max_pool3d)
