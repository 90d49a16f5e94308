"""How far vectors are from one another, or how alike."""

from __future__ import annotations

from tetragrad.core.errors import ShapeError
from tetragrad.tensor import Tensor
from tetragrad.tensor.grids import triu_indices


def cosine_similarity(
    x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8
) -> Tensor:
    """x₁·x₂ / (max(‖x₁‖, eps)·max(‖x₂‖, eps)) along ``dim``.

    >>> nn.functional.cosine_similarity(Tensor([1.0, 0.0]), Tensor([3.0, 4.0]), dim=0)
    tensor(0.6000)
    """
    return x1.cosine_similarity(x2, dim, eps)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """‖x₁ - x₂ + eps‖ₚ along the last dimension.

    >>> nn.functional.pairwise_distance(Tensor([0.0, 0.0]), Tensor([3.0, 4.0]))
    tensor(5.0000)
    """
    return x1.pairwise_distance(x2, p, eps, keepdim)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The distances of all pairs of rows: first with second, first with third, ….

    >>> tetragrad.nn.functional.pdist(Tensor([[0.0], [3.0], [7.0]]))
    tensor([3., 7., 4.])
    """
    if input.ndim != 2:
        raise ShapeError(f"pdist() of shape {input.shape}", hint="it takes a matrix")
    count = input.shape[0]
    first, second = triu_indices(count, count, 1)
    return (input[first] - input[second]).norm(p, -1)
