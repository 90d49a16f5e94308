"""Distances between pairs of vectors, as modules."""

from __future__ import annotations

from tetragrad.nn import functional as F
from tetragrad.nn.module import Module
from tetragrad.tensor import Tensor


class CosineSimilarity(Module):
    """x₁·x₂ / max(‖x₁‖·‖x₂‖, eps) along ``dim``.

    >>> nn.CosineSimilarity(dim=0)(Tensor([3.0, 0.0]), Tensor([1.0, 0.0])).item()
    1.0
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """‖x₁ - x₂ + eps‖ in the p-norm along the last dimension.

    >>> round(nn.PairwiseDistance()(Tensor([[3.0]]), Tensor([[1.0]])).item(), 4)
    2.0
    """

    def __init__(
        self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
    ) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
