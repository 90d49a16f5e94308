"""Layers that look up rows of a weight matrix by index."""

from __future__ import annotations

from typing import Any

from tetragrad.core.errors import UnsupportedError
from tetragrad.nn import functional as F
from tetragrad.nn import init
from tetragrad.nn.linear import empty_parameter
from tetragrad.nn.module import Module
from tetragrad.nn.parameter import Parameter
from tetragrad.tensor import Tensor
from tetragrad.tensor.modes import no_grad


class _EmbeddingBase(Module):
    """The weight (num_embeddings, embedding_dim) and what is done to its rows."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None,
        max_norm: float | None,
        norm_type: float,
        scale_grad_by_freq: bool,
        sparse: bool,
        weight: Tensor | None,
        device: str | None,
        dtype: Any,
    ) -> None:
        super().__init__()
        if sparse:
            raise UnsupportedError(
                "embedding gradients are dense tensors here",
                hint="leave sparse=True out; the result is the same",
            )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = _row_index(padding_idx, num_embeddings)
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        if weight is not None:
            self.weight = Parameter(weight)
            return
        shape = num_embeddings, embedding_dim
        self.weight = empty_parameter(*shape, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw rows from N(0, 1); the padding row is zero."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            with no_grad():
                self.weight[self.padding_idx].fill_(0)

    @classmethod
    def from_pretrained(
        cls, embeddings: Tensor, freeze: bool = True, **options: Any
    ) -> Any:
        """A layer whose rows are given; frozen unless ``freeze=False``.

        >>> layer = nn.Embedding.from_pretrained(Tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> layer(Tensor([1])).tolist()
        [[3.0, 4.0]]
        """
        create: Any = cls  # the subclasses' parameters, which this class has not
        layer = create(*embeddings.shape, _weight=embeddings, **options)
        layer.weight.requires_grad_(not freeze)
        return layer

    def extra_repr(self) -> str:
        text = f"{self.num_embeddings}, {self.embedding_dim}"
        if self.padding_idx is not None:
            text += f", padding_idx={self.padding_idx}"
        if self.max_norm is not None:
            text += f", max_norm={self.max_norm}"
        return text


class Embedding(_EmbeddingBase):
    """Rows of the weight: indices of shape (*) give (*, embedding_dim).

    The weight starts as N(0, 1). The row ``padding_idx`` starts at zero and never
    gets a gradient.

    >>> nn.Embedding(10, 4)(Tensor([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            num_embeddings, embedding_dim, padding_idx, max_norm, norm_type,
            scale_grad_by_freq, sparse, _weight, device, dtype,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(
            input, self.weight, self.padding_idx, self.max_norm, self.norm_type,
            self.scale_grad_by_freq,
        )  # fmt: skip


class EmbeddingBag(_EmbeddingBase):
    """Sums, means or maxima of the rows of each bag of indices.

    Bags are the rows of a 2-d input, or stretches of a 1-d input that begin at
    ``offsets``. Output: (bags, embedding_dim); an empty bag gives zeros.

    >>> bag = nn.EmbeddingBag.from_pretrained(Tensor([[1.0], [10.0]]), mode="sum")
    >>> bag(Tensor([0, 1, 1]), Tensor([0, 2])).tolist()
    [[11.0], [10.0]]
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            num_embeddings, embedding_dim, padding_idx, max_norm, norm_type,
            scale_grad_by_freq, sparse, _weight, device, dtype,
        )  # fmt: skip
        self.mode = mode
        self.include_last_offset = include_last_offset

    def forward(
        self,
        input: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type,
            self.scale_grad_by_freq, self.mode,
            per_sample_weights=per_sample_weights,
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, mode={self.mode!r}"


def _row_index(index: int | None, rows: int) -> int | None:
    if index is None:
        return None
    if not -rows <= index < rows:
        raise ValueError(f"padding_idx {index} is not a row of {rows} embeddings")
    return index % rows
