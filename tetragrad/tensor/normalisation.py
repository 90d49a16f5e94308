"""Normalisation layers, embedding and distances as functions.

float16 and bfloat16 are computed in float32 and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tetragrad.core import dtypes
from tetragrad.core.dtypes import float_info
from tetragrad.core.errors import DTypeError, ShapeError, TetragradError
from tetragrad.tensor.activations import ActivationMethods
from tetragrad.tensor.axis_names import also_axis
from tetragrad.tensor.promotion import broadcast_shapes
from tetragrad.tensor.standardised import standardised

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class NormalisationMethods(ActivationMethods):
    """Methods that rescale by statistics, look up and compare."""

    __slots__ = ()

    def layer_norm(
        self,
        normalized_shape: int | Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        """Mean 0 and variance 1 over the last dimensions, then weight and bias.

        >>> Tensor([[1.0, 3.0]]).layer_norm(2)
        tensor([[-1.0000,  1.0000]])
        """
        dims = self._last_dims("layer_norm()", normalized_shape)
        wide = self.to(dtypes.accumulation(self.dtype))
        normal = standardised(wide, dims, eps)
        if weight is not None:
            normal = normal * weight
        if bias is not None:
            normal = normal + bias
        return normal.to(self.dtype)

    def rms_norm(
        self,
        normalized_shape: int | Sequence[int],
        weight: Tensor | None = None,
        eps: float | None = None,
    ) -> Tensor:
        """Divided by the root of the mean square over the last dimensions.

        >>> Tensor([[3.0, 4.0]]).rms_norm(2)
        tensor([[0.8485, 1.1314]])
        """
        dims = self._last_dims("rms_norm()", normalized_shape)
        if eps is None:
            eps = _machine_epsilon(self)
        wide = self.to(dtypes.accumulation(self.dtype))
        scale = ((wide * wide).mean(dims, keepdim=True) + eps).rsqrt()
        result = (wide * scale).to(self.dtype)
        return result if weight is None else (result * weight).type(self.dtype)

    def _last_dims(self, name: str, shape: int | Sequence[int]) -> tuple[int, ...]:
        sizes = (shape,) if isinstance(shape, int) else tuple(shape)
        if self.shape[self.ndim - len(sizes) :] != sizes or not sizes:
            raise ShapeError(
                f"{name} over {sizes} of a tensor of shape {self.shape}",
                hint="normalized_shape is the sizes of the last dimensions",
            )
        return tuple(range(self.ndim - len(sizes), self.ndim))

    def group_norm(
        self,
        num_groups: int,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        eps: float = 1e-5,
    ) -> Tensor:
        """Mean 0 and variance 1 over each group of channels (dimension 1).

        >>> Tensor([[1.0, 3.0, 5.0, 9.0]]).group_norm(2)
        tensor([[-1.0000,  1.0000, -1.0000,  1.0000]])
        """
        channels = self.shape[1]
        if num_groups < 1 or channels % num_groups:
            raise ShapeError(
                f"group_norm() of {channels} channels in {num_groups} groups",
                hint="the groups must divide the channels",
            )
        size = math.prod(self.shape[1:]) // num_groups
        grouped = self.reshape(self.shape[0], num_groups, size)
        normal = standardised(grouped, (2,), eps).reshape(self.shape)
        return _scaled_by_channel(normal, weight, bias).type(self.dtype)

    def instance_norm(
        self,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        use_input_stats: bool = True,
        momentum: float | Tensor = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Mean 0 and variance 1 over each channel of each element of the batch.

        >>> Tensor([[[1.0, 3.0]]]).instance_norm()
        tensor([[[-1.0000,  1.0000]]])
        """
        if not use_input_stats:
            return self.batch_norm(running_mean, running_var, weight, bias, eps=eps)
        dims = tuple(range(2, self.ndim))
        if running_mean is not None and running_var is not None:
            source = self.detach()
            mean = source.mean(dims).mean(0)
            var = source.var(dims, correction=1).mean(0)
            _follow(running_mean, mean, momentum)
            _follow(running_var, var, momentum)
        normal = standardised(self, dims, eps)
        return _scaled_by_channel(normal, weight, bias)

    def batch_norm(
        self,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float | Tensor = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Normalised by channel (dimension 1): by the batch's statistics in training,
        when the running ones follow them; by the running ones otherwise.

        A tensor without elements stays as it is, and tells the statistics nothing.

        >>> Tensor([[1.0], [3.0]]).batch_norm(None, None, training=True)
        tensor([[-1.0000],
                [ 1.0000]])
        """
        if self.numel() == 0:
            return self.clone()
        _check_channels(self, running_mean, running_var, weight, bias)
        dims = tuple(dim for dim in range(self.ndim) if dim != 1)
        if not training:
            if running_mean is None or running_var is None:
                raise TetragradError(
                    "batch_norm() without running statistics in evaluation",
                    hint="pass training=True, or running_mean and running_var",
                )
            scale = (running_var + eps).rsqrt()
            normal = (self - _by_channel(running_mean, self.ndim)) * _by_channel(
                scale, self.ndim
            )
            return _scaled_by_channel(normal, weight, bias).type(self.dtype)
        if self._count(dims) < 2:
            raise ShapeError(
                f"batch_norm() in training of shape {self.shape}: one value a channel "
                "has no variance",
                hint="use a larger batch, or eval()",
            )
        if running_mean is not None and running_var is not None:
            source = self.detach().to(dtypes.accumulation(self.dtype))
            _follow(running_mean, source.mean(dims), momentum)
            _follow(running_var, source.var(dims, correction=1), momentum)
        scale = None if weight is None else _by_channel(weight, self.ndim)
        shift = None if bias is None else _by_channel(bias, self.ndim)
        return standardised(self, dims, eps, scale, shift)

    def local_response_norm(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
    ) -> Tensor:
        """Divided by a power of the mean square of neighbouring channels.

        >>> Tensor([[[1.0], [2.0]]]).local_response_norm(2, alpha=2.0)
        tensor([[[0.5946],
                 [0.5217]]])
        """
        if self.numel() == 0:
            return self.clone()
        moved = (self * self).movedim(1, -1)
        padded = moved.pad((size // 2, (size - 1) // 2))
        total = padded.unfold(self.ndim - 1, size, 1).sum(-1).movedim(-1, 1)
        is_float = self.dtype.is_floating_point
        mean = total / size if is_float else total.div(size, rounding_mode="trunc")
        return self / (mean * alpha + k).pow(beta)

    @also_axis
    def normalize(self, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
        """Divided by the p-norm along a dimension, so that it becomes 1.

        >>> Tensor([[3.0, 4.0]]).normalize()
        tensor([[0.6000, 0.8000]])
        """
        return self / self.norm(p, dim, keepdim=True).clamp(min=eps)

    def embedding(self, weight: Tensor, padding_idx: int | None = None) -> Tensor:
        """Rows of a weight by index: self holds integers, any shape.

        >>> Tensor([1, 0]).embedding(Tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([[3., 4.],
                [1., 2.]])
        """
        if not self.dtype.is_integer:
            raise DTypeError(
                f"embedding() of {self.dtype}", hint="indices are integers: x.long()"
            )
        rows = weight[self]
        if padding_idx is None:
            return rows
        is_padding = (self == padding_idx % weight.shape[0]).unsqueeze(-1)
        # The padding's row is used, but not learned.
        return rows.detach().where(is_padding, rows)

    def cosine_similarity(
        self, other: Tensor, dim: int = 1, eps: float = 1e-8
    ) -> Tensor:
        """The cosine of the angle between vectors along a dimension.

        >>> Tensor([[1.0, 0.0]]).cosine_similarity(Tensor([[1.0, 1.0]]))
        tensor([0.7071])
        """
        shape = broadcast_shapes(self.shape, other.shape)
        first, second = self.expand(shape), other.expand(shape)
        lengths = first.norm(2, dim).clamp(min=eps) * second.norm(2, dim).clamp(min=eps)
        return (first * second).sum(dim) / lengths

    def pairwise_distance(
        self, other: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
    ) -> Tensor:
        """The p-norm of the difference along the last dimension.

        >>> Tensor([[0.0, 0.0]]).pairwise_distance(Tensor([[3.0, 4.0]]))
        tensor([5.0000])
        """
        return (self - other + eps).norm(p, -1, keepdim)

    def cdist(
        self,
        other: Tensor,
        p: float = 2.0,
        compute_mode: str = "use_mm_for_euclid_dist_if_necessary",
    ) -> Tensor:
        """All distances between the rows of two (batches of) matrices.

        Differences are taken element by element, whatever ``compute_mode`` says.

        >>> Tensor([[0.0, 0.0]]).cdist(Tensor([[3.0, 4.0]]))
        tensor([[5.]])
        """
        return (self.unsqueeze(-2) - other.unsqueeze(-3)).norm(p, -1)


def _check_channels(source: NormalisationMethods, *given: Tensor | None) -> None:
    """Refuse weights and statistics of another number of channels."""
    channels = source.shape[1] if source.ndim > 1 else None
    for entry in given:
        if entry is not None and entry.shape != (channels,):
            raise ShapeError(
                f"batch_norm() of shape {source.shape} with weights or statistics of "
                f"shape {entry.shape}",
                hint="the input is (batch, channels, *size), the others (channels,)",
            )


def _by_channel(statistic: Tensor, ndim: int) -> Tensor:
    return statistic.reshape(1, -1, *(1 for _ in range(ndim - 2)))


def _scaled_by_channel(
    normal: Tensor, weight: Tensor | None, bias: Tensor | None
) -> Tensor:
    if weight is not None:
        normal = normal * _by_channel(weight, normal.ndim)
    if bias is not None:
        normal = normal + _by_channel(bias, normal.ndim)
    return normal


def _follow(running: Tensor, current: Tensor, momentum: float | Tensor) -> None:
    """Move a running statistic towards the batch's, in place."""
    running.copy_(running.detach() * (1 - momentum) + current * momentum)


def _machine_epsilon(tensor: Any) -> float:
    return float(float_info(tensor.dtype).eps)
