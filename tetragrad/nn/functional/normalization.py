"""Normalisations: subtract a mean, divide by a deviation, scale and shift."""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.tensor import Tensor


def layer_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise over the last dimensions, whose sizes are ``normalized_shape``.

    >>> nn.functional.layer_norm(Tensor([[1.0, 3.0]]), 2)
    tensor([[-1.0000,  1.0000]])
    """
    return input.layer_norm(normalized_shape, weight, bias, eps)


def rms_norm(
    input: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """x / √(mean(x²) + eps)·weight over the last dimensions.

    >>> nn.functional.rms_norm(Tensor([[3.0, 3.0]]), 2)
    tensor([[1., 1.]])
    """
    return input.rms_norm(normalized_shape, weight, eps)


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each of ``num_groups`` groups of channels of each sample.

    >>> nn.functional.group_norm(Tensor([[1.0, 3.0, 5.0, 9.0]]), 2)
    tensor([[-1.0000,  1.0000, -1.0000,  1.0000]])
    """
    return input.group_norm(num_groups, weight, bias, eps)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel over the batch, or with the running statistics.

    In training, running statistics move by ``momentum`` towards the batch's.

    >>> batch = Tensor([[1.0], [3.0]])
    >>> nn.functional.batch_norm(batch, None, None, training=True)
    tensor([[-1.0000],
            [ 1.0000]])
    """
    return input.batch_norm(
        running_mean, running_var, weight, bias, training, momentum, eps
    )


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalise each channel of each sample, or with the running statistics.

    >>> nn.functional.instance_norm(Tensor([[[1.0, 3.0]]]))
    tensor([[[-1.0000,  1.0000]]])
    """
    return input.instance_norm(
        running_mean, running_var, weight, bias, use_input_stats, momentum, eps
    )


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha·mean of x² over ``size`` neighbouring channels)^beta.

    >>> nn.functional.local_response_norm(Tensor([[[1.0], [2.0]]]), 2, alpha=2.0)
    tensor([[[0.5946],
             [0.5217]]])
    """
    return input.local_response_norm(size, alpha, beta, k)


def normalize(
    input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12
) -> Tensor:
    """x / max(‖x‖ₚ, eps) along ``dim``.

    >>> nn.functional.normalize(Tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    return input.normalize(p, dim, eps)
