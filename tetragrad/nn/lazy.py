"""Layers that learn from their first input how many features or channels it has.

Until then their parameters are :class:`UninitializedParameter`; the first call, or a
state dict, gives them a shape, and the call makes the layer an ordinary one.
"""

from __future__ import annotations

from typing import Any, ClassVar

from tetragrad.core.errors import ShapeError
from tetragrad.nn.convolution import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    IntOrSequence,
)
from tetragrad.nn.linear import Linear
from tetragrad.nn.module import Module
from tetragrad.nn.normalization import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)
from tetragrad.nn.parameter import (
    Parameter,
    Uninitialized,
    UninitializedBuffer,
    UninitializedParameter,
)
from tetragrad.tensor import Tensor


class LazyModule(Module):
    """A layer whose sizes come with its first input.

    Give a model one input before its parameters are counted or copied; an optimiser
    may be made earlier.

    >>> model = nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(1))
    >>> model(Tensor.zeros(5, 2)).shape
    (5, 1)
    >>> model[0], model[2].weight.shape
    (Linear(in_features=2, out_features=3, bias=True), (1, 3))
    """

    #: What the layer is after its first call.
    cls_to_become: ClassVar[type[Module]]
    #: The parameters and buffers whose shapes depend on the input.
    names_to_wait: ClassVar[tuple[str, ...]] = ("weight",)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.initialize_parameters(*args, **kwargs)
        self.__class__ = self.cls_to_become  # type: ignore[assignment]
        return self(*args, **kwargs)

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        """Learn the sizes from an input, and draw what no state dict has given."""
        self.learn_size(input)
        waiting = [
            value
            for name in self.names_to_wait
            if isinstance(value := getattr(self, name), Uninitialized)
        ]
        for value in waiting:
            value.materialize(self.shape_of_parameters())
        if waiting:
            self.reset_parameters()

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer waits for the first input.

        >>> nn.LazyLinear(3).has_uninitialized_params()
        True
        """
        values = [getattr(self, name) for name in self.names_to_wait]
        return any(isinstance(value, Uninitialized) for value in values)

    def learn_size(self, input: Tensor) -> None:
        """Set the size that an input tells; every class defines its own."""
        raise NotImplementedError

    def shape_of_parameters(self) -> tuple[int, ...]:
        """The shape of what waited, now that the size is known."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Draw new starting values, if there are any yet."""
        if not self.has_uninitialized_params():
            super().reset_parameters()  # type: ignore[misc]

    def wait(self) -> None:
        """Make the parameters and buffers wait that were made without a size."""
        for name in self.names_to_wait:
            value = getattr(self, name)
            if value is None:
                continue
            place = {"device": value.device, "dtype": value.dtype}
            if isinstance(value, Parameter):
                setattr(self, name, UninitializedParameter(**place))
            else:
                setattr(self, name, UninitializedBuffer(**place))


class LazyLinear(LazyModule, Linear):
    """``Linear`` whose ``in_features`` is the last size of its first input.

    >>> nn.LazyLinear(2)(Tensor.zeros(3, 4)).shape
    (3, 2)
    """

    cls_to_become = Linear

    def __init__(
        self,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(0, out_features, bias, device, dtype)
        self.wait()

    def learn_size(self, input: Tensor) -> None:
        self.in_features = input.shape[-1]

    def shape_of_parameters(self) -> tuple[int, ...]:
        return self.out_features, self.in_features


# --- convolutions ---------------------------------------------------------------------


class _LazyConvolution(LazyModule):
    """What the lazy convolutions share: channels are the first size of a sample."""

    in_channels: int
    out_channels: int
    groups: int
    spatial_dims: ClassVar[int]

    def __init__(
        self,
        out_channels: int,
        kernel_size: IntOrSequence,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(  # type: ignore[call-arg]
            0, out_channels, kernel_size, *args, **kwargs
        )
        self.wait()

    def learn_size(self, input: Tensor) -> None:
        name = type(self).__name__
        if input.ndim not in (self.spatial_dims + 1, self.spatial_dims + 2):
            raise ShapeError(
                f"{name} takes {self.spatial_dims + 2}-d input, or "
                f"{self.spatial_dims + 1}-d for one sample, got shape {input.shape}",
                hint="channels come before the spatial dimensions",
            )
        channels = input.shape[-self.spatial_dims - 1]
        if channels % self.groups:
            raise ShapeError(
                f"the {channels} channels of {name}'s first input cannot be split "
                f"into {self.groups} groups",
                hint="groups must divide the channels",
            )
        self.in_channels = channels

    def shape_of_parameters(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self._weight_shape()
        return shape


class LazyConv1d(_LazyConvolution, Conv1d):
    """``Conv1d`` that takes as many channels as its first input has.

    Arguments: those of ``Conv1d`` without ``in_channels``.

    >>> nn.LazyConv1d(4, 3)(Tensor.zeros(1, 2, 8)).shape
    (1, 4, 6)
    """

    cls_to_become = Conv1d


class LazyConv2d(_LazyConvolution, Conv2d):
    """``Conv2d`` that takes as many channels as its first input has.

    Arguments: those of ``Conv2d`` without ``in_channels``.

    >>> nn.LazyConv2d(4, 3, padding=1)(Tensor.zeros(1, 3, 8, 8)).shape
    (1, 4, 8, 8)
    """

    cls_to_become = Conv2d


class LazyConv3d(_LazyConvolution, Conv3d):
    """``Conv3d`` that takes as many channels as its first input has.

    Arguments: those of ``Conv3d`` without ``in_channels``.

    >>> nn.LazyConv3d(2, 2)(Tensor.zeros(1, 1, 3, 3, 3)).shape
    (1, 2, 2, 2, 2)
    """

    cls_to_become = Conv3d


class LazyConvTranspose1d(_LazyConvolution, ConvTranspose1d):
    """``ConvTranspose1d`` that takes as many channels as its first input has.

    Arguments: those of ``ConvTranspose1d`` without ``in_channels``.

    >>> nn.LazyConvTranspose1d(2, 3, stride=2)(Tensor.zeros(1, 4, 5)).shape
    (1, 2, 11)
    """

    cls_to_become = ConvTranspose1d


class LazyConvTranspose2d(_LazyConvolution, ConvTranspose2d):
    """``ConvTranspose2d`` that takes as many channels as its first input has.

    Arguments: those of ``ConvTranspose2d`` without ``in_channels``.

    >>> nn.LazyConvTranspose2d(2, 2, stride=2)(Tensor.zeros(1, 4, 3, 3)).shape
    (1, 2, 6, 6)
    """

    cls_to_become = ConvTranspose2d


class LazyConvTranspose3d(_LazyConvolution, ConvTranspose3d):
    """``ConvTranspose3d`` that takes as many channels as its first input has.

    Arguments: those of ``ConvTranspose3d`` without ``in_channels``.

    >>> nn.LazyConvTranspose3d(2, 2)(Tensor.zeros(1, 4, 2, 2, 2)).shape
    (1, 2, 3, 3, 3)
    """

    cls_to_become = ConvTranspose3d


# --- normalisation --------------------------------------------------------------------


class _LazyNorm(LazyModule):
    """What the lazy norms share: statistics and weights have one size, the channels."""

    num_features: int
    names_to_wait = ("weight", "bias", "running_mean", "running_var")
    #: Whether inputs of the fewest dimensions have no batch.
    is_unbatched_allowed: ClassVar[bool] = False

    def __init__(
        self,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(  # type: ignore[call-arg]
            0, eps, momentum, affine, track_running_stats, device, dtype, bias=bias
        )
        self.wait()

    def learn_size(self, input: Tensor) -> None:
        self._check_input(input)
        fewest: int = self.input_dims[0]
        unbatched = self.is_unbatched_allowed and input.ndim == fewest
        self.num_features = input.shape[0 if unbatched else 1]

    def shape_of_parameters(self) -> tuple[int, ...]:
        return (self.num_features,)


class LazyBatchNorm1d(_LazyNorm, BatchNorm1d):
    """``BatchNorm1d`` of as many channels as its first input has.

    Arguments: those of ``BatchNorm1d`` without ``num_features``.

    >>> nn.LazyBatchNorm1d()(Tensor.ones(3, 2)).shape
    (3, 2)
    """

    cls_to_become = BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, BatchNorm2d):
    """``BatchNorm2d`` of as many channels as its first input has.

    Arguments: those of ``BatchNorm2d`` without ``num_features``.

    >>> norm = nn.LazyBatchNorm2d()
    >>> _ = norm(Tensor.ones(2, 3, 4, 4))
    >>> norm.weight.shape
    (3,)
    """

    cls_to_become = BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, BatchNorm3d):
    """``BatchNorm3d`` of as many channels as its first input has.

    Arguments: those of ``BatchNorm3d`` without ``num_features``.

    >>> nn.LazyBatchNorm3d()(Tensor.ones(2, 3, 2, 2, 2)).shape
    (2, 3, 2, 2, 2)
    """

    cls_to_become = BatchNorm3d


class LazyInstanceNorm1d(_LazyNorm, InstanceNorm1d):
    """``InstanceNorm1d`` of as many channels as its first input has.

    Arguments: those of ``InstanceNorm1d`` without ``num_features``, but here
    ``affine`` and ``track_running_stats`` are True if they are not given.

    >>> nn.LazyInstanceNorm1d()(Tensor.ones(3, 2, 5)).shape
    (3, 2, 5)
    """

    cls_to_become = InstanceNorm1d
    is_unbatched_allowed = True


class LazyInstanceNorm2d(_LazyNorm, InstanceNorm2d):
    """``InstanceNorm2d`` of as many channels as its first input has.

    Arguments: those of ``InstanceNorm2d`` without ``num_features``, but here
    ``affine`` and ``track_running_stats`` are True if they are not given.

    >>> nn.LazyInstanceNorm2d(affine=True)(Tensor.ones(3, 2, 4, 4)).shape
    (3, 2, 4, 4)
    """

    cls_to_become = InstanceNorm2d
    is_unbatched_allowed = True


class LazyInstanceNorm3d(_LazyNorm, InstanceNorm3d):
    """``InstanceNorm3d`` of as many channels as its first input has.

    Arguments: those of ``InstanceNorm3d`` without ``num_features``, but here
    ``affine`` and ``track_running_stats`` are True if they are not given.

    >>> nn.LazyInstanceNorm3d()(Tensor.ones(3, 2, 2, 2, 2)).shape
    (3, 2, 2, 2, 2)
    """

    cls_to_become = InstanceNorm3d
    is_unbatched_allowed = True
