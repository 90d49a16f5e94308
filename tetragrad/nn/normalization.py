"""Layers that subtract a mean, divide by a deviation, then scale and shift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tetragrad.core import dtypes
from tetragrad.core.errors import ShapeError
from tetragrad.nn import functional as F
from tetragrad.nn.module import Module
from tetragrad.nn.parameter import Parameter
from tetragrad.nn.state_dict import LoadPlan
from tetragrad.tensor import Tensor
from tetragrad.tensor.modes import no_grad


def _ones(*shape: int, device: str | None, dtype: Any) -> Tensor:
    return Tensor.ones(*shape, device=device, dtype=dtype)


def _zeros(*shape: int, device: str | None, dtype: Any) -> Tensor:
    return Tensor.zeros(*shape, device=device, dtype=dtype)


class _FeatureNorm(Module):
    """What batch and instance norms share: weight, bias and running statistics."""

    #: The numbers of dimensions an input may have.
    input_dims: ClassVar[tuple[int, ...]]

    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: str | None,
        dtype: Any,
        bias: bool,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        place = {"device": device, "dtype": dtype}
        self.weight = Parameter(_ones(num_features, **place)) if affine else None
        has_bias = affine and bias
        self.bias = Parameter(_zeros(num_features, **place)) if has_bias else None
        mean = variance = count = None
        if track_running_stats:
            mean = _zeros(num_features, **place)
            variance = _ones(num_features, **place)
            count = _zeros(device=device, dtype=dtypes.int64)
        self.register_buffer("running_mean", mean)
        self.register_buffer("running_var", variance)
        self.register_buffer("num_batches_tracked", count)

    def reset_running_stats(self) -> None:
        """Start again with mean 0 and variance 1."""
        if not self.track_running_stats:
            return
        with no_grad():
            self.running_mean.fill_(0)
            self.running_var.fill_(1)
            self.num_batches_tracked.fill_(0)

    def reset_parameters(self) -> None:
        """Start again with weight 1, bias 0 and fresh running statistics."""
        self.reset_running_stats()
        with no_grad():
            if self.weight is not None:
                self.weight.fill_(1)
            if self.bias is not None:
                self.bias.fill_(0)

    def _plan_load(self, plan: LoadPlan, prefix: str) -> None:
        super()._plan_load(plan, prefix)
        # Checkpoints older than the counter, of 2018, do not have it.
        counter = prefix + "num_batches_tracked"
        if counter in plan.missing:
            plan.missing.remove(counter)

    def _check_input(self, input: Tensor) -> None:
        if input.ndim not in self.input_dims:
            expected = " or ".join(f"{dims}-d" for dims in self.input_dims)
            raise ShapeError(
                f"{type(self).__name__} takes {expected} input, got shape "
                f"{input.shape}",
                hint="add a missing dimension, the batch say, with x.unsqueeze(0)",
            )

    def _averaging_share(self) -> float | Tensor:
        """How much of the new statistics enters the running ones."""
        if self.momentum is not None:
            return self.momentum
        # A tensor, so that a captured step averages over the true count.
        return 1.0 / self.num_batches_tracked.to(self.running_mean.dtype)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_FeatureNorm):
    """y = (x - mean) / √(variance + eps) · weight + bias, a mean for each channel.

    In training the statistics are those of the batch, over all dimensions but the
    channels'; the running ones move by ``momentum`` towards them (towards the plain
    average over all batches if it is None), with the unbiased variance. In ``eval()``
    the running ones are used.

    Source: Ioffe and Szegedy, "Batch normalization", 2015.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype,
            bias,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        self._check_input(input)
        use_batch = self.training or self.running_mean is None
        share: float | Tensor = 0.0
        if self.training and self.track_running_stats:
            with no_grad():
                self.num_batches_tracked.add_(1)
            share = self._averaging_share()
        return F.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias,
            use_batch, share, self.eps,
        )  # fmt: skip


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of (batch, channels) or (batch, channels, length).

    >>> nn.BatchNorm1d(2)(Tensor([[1.0, 5.0], [3.0, 5.0]])).round(decimals=3).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """

    input_dims = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of (batch, channels, height, width).

    >>> nn.BatchNorm2d(3)(Tensor.ones(2, 3, 4, 4)).shape
    (2, 3, 4, 4)
    """

    input_dims = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of (batch, channels, depth, height, width).

    >>> nn.BatchNorm3d(3)(Tensor.ones(2, 3, 2, 2, 2)).shape
    (2, 3, 2, 2, 2)
    """

    input_dims = (5,)


class _InstanceNorm(_FeatureNorm):
    """Like batch normalisation with each sample as a batch of its own.

    Source: Ulyanov et al., "Instance normalization", 2016.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: str | None = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(
            num_features, eps, momentum, affine, track_running_stats, device, dtype,
            bias,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        self._check_input(input)
        unbatched = input.ndim == self.input_dims[0]
        batch = input.unsqueeze(0) if unbatched else input
        output = F.instance_norm(
            batch, self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats,
            0.1 if self.momentum is None else self.momentum, self.eps,
        )  # fmt: skip
        return output.squeeze(0) if unbatched else output


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of (batch, channels, length) or (channels, length).

    >>> nn.InstanceNorm1d(2)(Tensor.ones(3, 2, 5)).shape
    (3, 2, 5)
    """

    input_dims = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of (batch, channels, height, width), or unbatched.

    >>> nn.InstanceNorm2d(2)(Tensor.ones(3, 2, 4, 4)).shape
    (3, 2, 4, 4)
    """

    input_dims = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of (batch, channels, depth, height, width), or unbatched.

    >>> nn.InstanceNorm3d(2)(Tensor.ones(3, 2, 2, 2, 2)).shape
    (3, 2, 2, 2, 2)
    """

    input_dims = (4, 5)


class LayerNorm(Module):
    """y = (x - mean) / √(variance + eps) · weight + bias over the last dimensions.

    ``normalized_shape`` is the shape of those dimensions, and of weight and bias.

    Source: Ba et al., "Layer normalization", 2016.

    >>> nn.LayerNorm(2)(Tensor([[1.0, 3.0]])).round(decimals=3).tolist()
    [[-1.0, 1.0]]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        place = {"device": device, "dtype": dtype}
        has_bias = elementwise_affine and bias
        self.register_parameter("weight", None)
        self.register_parameter("bias", None)
        if elementwise_affine:
            self.weight = Parameter(_ones(*self.normalized_shape, **place))
        if has_bias:
            self.bias = Parameter(_zeros(*self.normalized_shape, **place))

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(
            input, self.normalized_shape, self.weight, self.bias, self.eps
        )

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}"
        )


class RMSNorm(Module):
    """y = x / √(mean(x²) + eps) · weight over the last dimensions.

    ``eps`` is the dtype's machine epsilon if it is None.

    Source: Zhang and Sennrich, "Root mean square layer normalization", 2019.

    >>> nn.RMSNorm(2)(Tensor([[1.0, -1.0]])).round(decimals=3).tolist()
    [[1.0, -1.0]]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self.register_parameter("weight", None)
        if elementwise_affine:
            self.weight = Parameter(
                _ones(*self.normalized_shape, device=device, dtype=dtype)
            )

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(Module):
    """Normalise each of ``num_groups`` groups of channels of each sample.

    Input: (batch, channels, *); weight and bias: (channels).

    Source: Wu and He, "Group normalization", 2018.

    >>> nn.GroupNorm(2, 4)(Tensor.ones(1, 4, 3)).shape
    (1, 4, 3)
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ShapeError(
                f"{num_channels} channels cannot be split into {num_groups} groups",
                hint="num_groups must divide num_channels",
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        place = {"device": device, "dtype": dtype}
        self.weight = Parameter(_ones(num_channels, **place)) if affine else None
        has_bias = affine and bias
        self.bias = Parameter(_zeros(num_channels, **place)) if has_bias else None

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, "
            f"affine={self.affine}"
        )


class LocalResponseNorm(Module):
    """y = x / (k + alpha·mean of x² over ``size`` neighbouring channels)^beta.

    Source: Krizhevsky et al., "ImageNet classification with deep convolutional
    neural networks", 2012.

    >>> nn.LocalResponseNorm(2)(Tensor.ones(1, 4, 3, 3)).shape
    (1, 4, 3, 3)
    """

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
    ) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


def _shape(sizes: int | Sequence[int]) -> tuple[int, ...]:
    return (sizes,) if isinstance(sizes, int) else tuple(sizes)
