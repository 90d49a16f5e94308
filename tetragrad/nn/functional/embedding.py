"""Looking up rows of a matrix by index, alone and in bags."""

from __future__ import annotations

import math

from tetragrad.core.errors import ShapeError, UnsupportedError
from tetragrad.tensor import Tensor
from tetragrad.tensor.modes import no_grad


def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """1 at the index, 0 elsewhere, along a new last dimension.

    >>> nn.functional.one_hot(Tensor([1, 0]), 3)
    tensor([[0, 1, 0],
            [1, 0, 0]])
    """
    return tensor.one_hot(num_classes)


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of the weight: indices of shape (*) give (*, embedding_dim).

    ``padding_idx`` names a row that gets no gradient; ``max_norm`` first shortens the
    rows that are looked up, in place; ``scale_grad_by_freq`` divides a row's
    gradient by how often it is looked up.

    >>> weight = Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> nn.functional.embedding(Tensor([1, 1]), weight)
    tensor([[3., 4.],
            [3., 4.]])
    """
    _check(input, weight, sparse)
    if max_norm is not None:
        _shorten_rows(input, weight, max_norm, norm_type)
    rows = input.embedding(weight, padding_idx)
    if scale_grad_by_freq:
        flat = input.reshape(-1)
        count = (flat.unsqueeze(1) == flat).sum(dim=1).reshape(*input.shape, 1)
        rows = _scale_gradient(rows, 1 / count.to(rows.dtype))
    return rows


def _check(input: Tensor, weight: Tensor, sparse: bool) -> None:
    if sparse:
        raise UnsupportedError(
            "embedding gradients are dense tensors here",
            hint="leave sparse=True out; the result is the same",
        )
    if weight.ndim != 2:
        raise ShapeError(
            f"the embedding weight is a matrix, not {weight.shape}",
            hint="pass one row for each index",
        )


def _scale_gradient(value: Tensor, factor: Tensor) -> Tensor:
    """The value, whose gradient is multiplied on its way back."""
    # Exactly the value: what is added is a difference of equals.
    return value.detach() + (value - value.detach()) * factor


def _shorten_rows(
    input: Tensor, weight: Tensor, max_norm: float, norm_type: float
) -> None:
    """Scale the rows that the input names to a norm of at most ``max_norm``."""
    with no_grad():
        rows = Tensor.arange(weight.shape[0], device=weight.device)
        is_used = (rows.unsqueeze(1) == input.reshape(1, -1)).any(dim=1)
        length = weight.detach().norm(norm_type, dim=1)
        factor = max_norm / (length + 1e-7)
        shorten = is_used & (length > max_norm)
        factor = factor.where(shorten, 1.0).unsqueeze(1)
        weight.copy_(weight.detach() * factor)


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima over bags of rows; see :class:`nn.EmbeddingBag`.

    >>> weight = Tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> nn.functional.embedding_bag(Tensor([[0, 1]]), weight)
    tensor([[2., 3.]])
    """
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"mode is 'sum', 'mean' or 'max', not {mode!r}")
    if per_sample_weights is not None and mode != "sum":
        raise ValueError(f"per_sample_weights need mode='sum', not {mode!r}")
    rows = embedding(
        input, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse
    )
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(-1)
    member = _membership(input, offsets, include_last_offset)
    if padding_idx is not None:
        member = member & (input != padding_idx % weight.shape[0])
    if input.ndim == 1:
        rows = rows.unsqueeze(0)
    return _reduce_bags(rows, member.unsqueeze(-1), mode)


def _membership(
    input: Tensor, offsets: Tensor | None, include_last_offset: bool
) -> Tensor:
    """(bags, positions): whether a position belongs to a bag.

    A 2-d input has one bag for each row, of all its positions.
    """
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError("a 2-d input has its bags in rows, without offsets")
        return input == input
    if input.ndim != 1 or offsets is None:
        raise ShapeError(
            f"embedding_bag takes 2-d input, or 1-d with offsets, got {input.shape}"
        )
    position = Tensor.arange(input.shape[0], device=input.device)
    begun = position >= offsets.unsqueeze(1)
    if include_last_offset:
        return begun[:-1] & ~begun[1:]
    # A bag ends where the next one begins; the last one never does.
    return begun & ~begun[1:].pad((0, 0, 0, 1))


def _reduce_bags(rows: Tensor, member: Tensor, mode: str) -> Tensor:
    """Reduce (bags or 1, positions, features) over the positions in each bag."""
    if mode == "max":
        largest = rows.where(member, -math.inf).amax(dim=1)
        return largest.where(member.any(dim=1), 0.0)
    total = rows.where(member, 0.0).sum(dim=1)
    if mode == "sum":
        return total
    count = member.sum(dim=1).clamp(min=1)
    return total / count.to(rows.dtype)


def bilinear(
    input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """y[o] = x₁ᵀ W[o] x₂ + b[o].

    >>> weight = Tensor([[[1.0], [1.0]]])
    >>> nn.functional.bilinear(Tensor([1.0, 2.0]), Tensor([3.0]), weight)
    tensor([9.])
    """
    outputs, first, second = weight.shape
    if input1.shape[-1] != first or input2.shape[-1] != second:
        raise ShapeError(
            f"bilinear with weight {weight.shape} of inputs {input1.shape} and "
            f"{input2.shape}",
            hint=f"their last dimensions must be {first} and {second}",
        )
    # x₁ with every W[o] at once, as one matrix product.
    left = input1 @ weight.permute(1, 0, 2).reshape(first, outputs * second)
    left = left.reshape(*input1.shape[:-1], outputs, second)
    result = (left * input2.unsqueeze(-2)).sum(dim=-1)
    return result if bias is None else result + bias
