"""Convolution layers over 1, 2 and 3 spatial dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tetragrad.core.errors import ShapeError
from tetragrad.nn import functional as F
from tetragrad.nn.linear import empty_parameter, init_like_linear
from tetragrad.nn.module import Module
from tetragrad.tensor import Tensor

IntOrSequence = int | Sequence[int]

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def to_tuple(value: IntOrSequence, length: int, name: str) -> tuple[int, ...]:
    """One number for every dimension, or the numbers given."""
    if isinstance(value, int):
        return (value,) * length
    numbers = tuple(value)
    if len(numbers) != length:
        raise ShapeError(
            f"{name} needs 1 or {length} numbers, got {numbers}",
            hint="one number counts for all dimensions",
        )
    return numbers


class _Convolution(Module):
    """The arguments and parameters that all six layers share."""

    spatial_dims: ClassVar[int]
    transposed: ClassVar[bool] = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrSequence,
        stride: IntOrSequence,
        padding: IntOrSequence | str,
        dilation: IntOrSequence,
        output_padding: IntOrSequence,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: str | None,
        dtype: Any,
    ) -> None:
        super().__init__()
        dims = self.spatial_dims
        _check_channels(in_channels, out_channels, groups)
        if padding_mode not in _PADDING_MODES:
            raise ValueError(
                f"padding_mode is one of {_PADDING_MODES}, not {padding_mode!r}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = to_tuple(kernel_size, dims, "kernel_size")
        self.stride = to_tuple(stride, dims, "stride")
        self.dilation = to_tuple(dilation, dims, "dilation")
        if min(*self.kernel_size, *self.stride, *self.dilation) < 1:
            raise ShapeError(
                f"a convolution with kernel_size={kernel_size}, stride={stride} and "
                f"dilation={dilation}",
                hint="each of them is 1 or more",
            )
        self.padding = self._check_padding(padding)
        self.output_padding = to_tuple(output_padding, dims, "output_padding")
        self.groups = groups
        self.padding_mode = padding_mode
        self.weight = empty_parameter(*self._weight_shape(), device=device, dtype=dtype)
        self.bias = (
            empty_parameter(out_channels, device=device, dtype=dtype) if bias else None
        )
        self.reset_parameters()

    def _check_padding(self, padding: IntOrSequence | str) -> tuple[int, ...] | str:
        if not isinstance(padding, str):
            return to_tuple(padding, self.spatial_dims, "padding")
        if padding not in ("same", "valid"):
            raise ValueError(f"padding is 'same', 'valid' or numbers, not {padding!r}")
        if padding == "same" and any(step != 1 for step in self.stride):
            raise ValueError(f"padding='same' needs stride 1, got {self.stride}")
        return padding

    def _weight_shape(self) -> tuple[int, ...]:
        if self.transposed:
            first, second = self.in_channels, self.out_channels
        else:
            first, second = self.out_channels, self.in_channels
        return first, second // self.groups, *self.kernel_size

    def reset_parameters(self) -> None:
        """Draw new starting values from U(-1/√fan_in, 1/√fan_in)."""
        init_like_linear(self.weight, self.bias)

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, "
            f"kernel_size={self.kernel_size}, stride={self.stride}"
        )
        if self.padding != (0,) * self.spatial_dims:
            text += f", padding={self.padding!r}"
        if self.dilation != (1,) * self.spatial_dims:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * self.spatial_dims:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode!r}"
        return text


def _check_channels(in_channels: int, out_channels: int, groups: int) -> None:
    if groups <= 0 or in_channels % groups or out_channels % groups:
        raise ShapeError(
            f"{in_channels} input and {out_channels} output channels cannot be "
            f"split into {groups} groups",
            hint="groups must divide both",
        )


class _ForwardConvolution(_Convolution):
    """A convolution: each output is a weighted sum over a window of the input."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrSequence,
        stride: IntOrSequence = 1,
        padding: IntOrSequence | str = 0,
        dilation: IntOrSequence = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0,
            groups, bias, padding_mode, device, dtype,
        )  # fmt: skip

    def _padding_pairs(self) -> list[int]:
        """How much to pad, last dimension first, low side before high side."""
        if self.padding == "valid":
            return [0, 0] * self.spatial_dims
        pairs: list[int] = []
        for dim in reversed(range(self.spatial_dims)):
            if self.padding == "same":
                total = self.dilation[dim] * (self.kernel_size[dim] - 1)
                pairs += [total // 2, total - total // 2]
            else:
                pairs += [int(self.padding[dim])] * 2
        return pairs

    def forward(self, input: Tensor) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._padding_pairs(), mode=self.padding_mode)
            padding = (0,) * self.spatial_dims
        convolve = (F.conv1d, F.conv2d, F.conv3d)[self.spatial_dims - 1]
        return convolve(
            input, self.weight, self.bias, self.stride, padding, self.dilation,
            self.groups,
        )  # fmt: skip


class Conv1d(_ForwardConvolution):
    """Convolution over (batch, channels, length).

    Output length: ⌊(length + 2·padding - dilation·(kernel_size - 1) - 1) / stride⌋ + 1.
    Weight: (out_channels, in_channels / groups, kernel_size).

    >>> nn.Conv1d(2, 4, 3)(Tensor.zeros(1, 2, 8)).shape
    (1, 4, 6)
    """

    spatial_dims = 1


class Conv2d(_ForwardConvolution):
    """Convolution over (batch, channels, height, width).

    Each size becomes ⌊(size + 2·padding - dilation·(kernel_size - 1) - 1) / stride⌋
    + 1.
    Weight: (out_channels, in_channels / groups, kernel height, kernel width).

    >>> nn.Conv2d(3, 8, 3, stride=2, padding=1)(Tensor.zeros(1, 3, 8, 8)).shape
    (1, 8, 4, 4)
    """

    spatial_dims = 2


class Conv3d(_ForwardConvolution):
    """Convolution over (batch, channels, depth, height, width); see Conv2d.

    >>> nn.Conv3d(1, 2, 2)(Tensor.zeros(1, 1, 3, 3, 3)).shape
    (1, 2, 2, 2, 2)
    """

    spatial_dims = 3


class _TransposedConvolution(_Convolution):
    """The gradient of a convolution: each input spreads over a window of the output."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrSequence,
        stride: IntOrSequence = 1,
        padding: IntOrSequence = 0,
        output_padding: IntOrSequence = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrSequence = 1,
        padding_mode: str = "zeros",
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(
                f"a transposed convolution pads with zeros, not {padding_mode!r}"
            )
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation,
            output_padding, groups, bias, padding_mode, device, dtype,
        )  # fmt: skip

    def forward(
        self, input: Tensor, output_size: Sequence[int] | None = None
    ) -> Tensor:
        assert not isinstance(self.padding, str)
        convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[
            self.spatial_dims - 1
        ]
        return convolve(
            input, self.weight, self.bias, self.stride, self.padding,
            self._output_padding_for(input, output_size), self.groups, self.dilation,
        )  # fmt: skip

    def _output_padding_for(
        self, input: Tensor, output_size: Sequence[int] | None
    ) -> tuple[int, ...]:
        """What to add at the end of each dimension to reach the wanted sizes."""
        if output_size is None:
            return self.output_padding
        wanted = tuple(output_size)[-self.spatial_dims :]
        smallest = self._smallest_output(input.shape[-self.spatial_dims :])
        extra = tuple(a - b for a, b in zip(wanted, smallest, strict=True))
        if any(not 0 <= e < step for e, step in zip(extra, self.stride, strict=True)):
            largest = tuple(
                size + step - 1
                for size, step in zip(smallest, self.stride, strict=True)
            )
            raise ShapeError(
                f"output_size {wanted} is not between {smallest} and {largest}, the "
                f"sizes that input sizes {input.shape[-self.spatial_dims :]} can give"
            )
        return extra

    def _smallest_output(self, sizes: Sequence[int]) -> tuple[int, ...]:
        assert not isinstance(self.padding, str)
        return tuple(
            (sizes[dim] - 1) * self.stride[dim]
            - 2 * self.padding[dim]
            + self.dilation[dim] * (self.kernel_size[dim] - 1)
            + 1
            for dim in range(self.spatial_dims)
        )


class ConvTranspose1d(_TransposedConvolution):
    """Transposed convolution over (batch, channels, length); see ConvTranspose2d.

    >>> nn.ConvTranspose1d(4, 2, 3, stride=2)(Tensor.zeros(1, 4, 5)).shape
    (1, 2, 11)
    """

    spatial_dims = 1


class ConvTranspose2d(_TransposedConvolution):
    """Transposed convolution over (batch, channels, height, width).

    Each size becomes (size - 1)·stride - 2·padding + dilation·(kernel_size - 1)
    + output_padding + 1. Weight: (in_channels, out_channels / groups, kernel height,
    kernel width). ``output_size`` in the call chooses among the sizes that the
    convolution would have mapped to the input's.

    >>> nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1)(Tensor.zeros(1, 8, 4, 4)).shape
    (1, 3, 8, 8)
    """

    spatial_dims = 2


class ConvTranspose3d(_TransposedConvolution):
    """Transposed convolution over (batch, channels, depth, height, width).

    >>> nn.ConvTranspose3d(2, 1, 2)(Tensor.zeros(1, 2, 2, 2, 2)).shape
    (1, 1, 3, 3, 3)
    """

    spatial_dims = 3
