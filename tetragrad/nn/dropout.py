"""Layers that zero random elements or channels during training."""

from __future__ import annotations

from tetragrad.nn import functional as F
from tetragrad.nn.module import Module
from tetragrad.tensor import Tensor


class _Dropout(Module):
    """The probability that all of these share."""

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not isinstance(p, int | float) or not 0 <= p <= 1:
            raise ValueError(f"a dropout probability lies in [0, 1], got {p!r}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Zero each element with probability p and divide the others by 1 - p.

    In ``eval()`` the input passes unchanged.

    Source: Srivastava et al., "Dropout", 2014.

    >>> nn.Dropout(0.5).eval()(Tensor([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_Dropout):
    """Zero whole channels of (batch, channels, length) with probability p.

    >>> nn.Dropout1d(1.0)(Tensor.ones(1, 2, 2)).tolist()
    [[[0.0, 0.0], [0.0, 0.0]]]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """Zero whole channels of (batch, channels, height, width) with probability p.

    >>> nn.Dropout2d()(Tensor.ones(1, 2, 4, 4)).shape
    (1, 2, 4, 4)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_Dropout):
    """Zero whole channels of (batch, channels, depth, height, width).

    >>> nn.Dropout3d()(Tensor.ones(1, 2, 2, 2, 2)).shape
    (1, 2, 2, 2, 2)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_Dropout):
    """Dropout that keeps zero mean and unit variance, for networks of SELU.

    Dropped elements become -λα; the result is then scaled and shifted.

    Source: Klambauer et al., "Self-normalizing neural networks", 2017.

    >>> nn.AlphaDropout().eval()(Tensor([1.0])).tolist()
    [1.0]
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.alpha_dropout(input, self.p, self.training, self.inplace)


class FeatureAlphaDropout(_Dropout):
    """:class:`AlphaDropout` that drops whole channels.

    >>> nn.FeatureAlphaDropout()(Tensor.ones(1, 2, 2, 2)).shape
    (1, 2, 2, 2)
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.feature_alpha_dropout(input, self.p, self.training, self.inplace)
