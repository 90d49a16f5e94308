"""Ways to choose which elements become zero: at random, the least, or by a mask."""

from __future__ import annotations

from tetragrad.core.errors import ShapeError
from tetragrad.nn.utils.prune.method import BasePruningMethod
from tetragrad.tensor import Tensor


class Identity(BasePruningMethod):
    """Prunes nothing, but makes the mask.

    >>> prune = nn.utils.prune
    >>> prune.identity(nn.Linear(2, 1), "weight").weight_mask.tolist()
    [[1.0, 1.0]]
    """

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return default_mask


class CustomFromMask(BasePruningMethod):
    """Prunes where a mask is zero.

    >>> prune = nn.utils.prune
    >>> layer = prune.custom_from_mask(nn.Linear(2, 1), "bias", Tensor([0.0]))
    >>> layer.bias.item() == 0
    True
    """

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        if self.mask.shape != default_mask.shape:
            raise ShapeError(
                f"a mask of shape {self.mask.shape} for a parameter of shape "
                f"{default_mask.shape}",
                hint="the mask has an element for each of the parameter's",
            )
        return default_mask * self.mask.to(default_mask.dtype)


class _ByAmount(BasePruningMethod):
    """A method that prunes a number of elements or slices, or a share of them."""

    def __init__(self, amount: float) -> None:
        if not isinstance(amount, int | float) or isinstance(amount, bool):
            raise TypeError(f"amount is a number, not {amount!r}")
        if amount < 0 or (isinstance(amount, float) and amount > 1):
            raise ValueError(
                f"amount {amount} is neither a share from 0.0 to 1.0 nor a count"
            )
        self.amount: float = amount

    def count_of(self, size: int) -> int:
        """How many of ``size`` go."""
        if isinstance(self.amount, float):
            return round(self.amount * size)
        if self.amount > size:
            raise ValueError(
                f"amount {self.amount} is more than the {size} that are left\n"
                "hint: a share of what is left is a float from 0.0 to 1.0"
            )
        return int(self.amount)


class RandomUnstructured(_ByAmount):
    """Prunes elements at random.

    >>> method = nn.utils.prune.RandomUnstructured(amount=0.5)
    >>> int((method.prune(Tensor.ones(4)) == 0).sum().item())
    2
    """

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return _without_least(t.rand_like(), self.count_of(t.numel()), default_mask)


class L1Unstructured(_ByAmount):
    """Prunes the elements with the smallest absolute values.

    >>> method = nn.utils.prune.L1Unstructured(amount=0.5)
    >>> method.prune(Tensor([3.0, 1.0, 2.0, -4.0])).tolist()
    [3.0, 0.0, 0.0, -4.0]
    """

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        return _without_least(t.abs(), self.count_of(t.numel()), default_mask)


class RandomStructured(_ByAmount):
    """Prunes whole slices along ``dim`` at random.

    >>> method = nn.utils.prune.RandomStructured(amount=1, dim=0)
    >>> sorted(method.prune(Tensor.ones(2, 2)).tolist())
    [[0.0, 0.0], [1.0, 1.0]]
    """

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, dim: int = -1) -> None:
        super().__init__(amount)
        self.dim = dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        size = _size_along(t, self.dim)
        kept = _without_least(
            t.new_ones(size).rand_like(), self.count_of(size), t.new_ones(size)
        )
        return default_mask * _along(kept, self.dim, t.ndim)


class LnStructured(_ByAmount):
    """Prunes the slices along ``dim`` with the smallest n-norms.

    >>> method = nn.utils.prune.LnStructured(amount=1, n=2, dim=0)
    >>> method.prune(Tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[0.0, 0.0], [3.0, 4.0]]
    """

    PRUNING_TYPE = "structured"

    def __init__(self, amount: float, n: float | str, dim: int = -1) -> None:
        super().__init__(amount)
        self.n = n
        self.dim = dim

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        size = _size_along(t, self.dim)
        others = tuple(dim for dim in range(t.ndim) if dim != self.dim % t.ndim)
        norms = t.norm(p=self.n, dim=others)
        kept = _without_least(norms, self.count_of(size), t.new_ones(size))
        return default_mask * _along(kept, self.dim, t.ndim)


def _without_least(scores: Tensor, count: int, mask: Tensor) -> Tensor:
    """A mask that is also zero at the smallest scores."""
    least = scores.reshape(-1).topk(count, largest=False).indices
    return mask.reshape(-1).index_fill(0, least, 0).reshape(mask.shape)


def _size_along(t: Tensor, dim: int) -> int:
    if t.ndim < 2 or not -t.ndim <= dim < t.ndim:
        raise ShapeError(
            f"slices along dim {dim} of a parameter of shape {t.shape}",
            hint="structured pruning needs a dimension of a matrix, at least; "
            "l1_unstructured prunes single elements",
        )
    return t.shape[dim]


def _along(vector: Tensor, dim: int, ndim: int) -> Tensor:
    """A vector as a tensor that broadcasts along all dimensions but one."""
    shape = [1] * ndim
    shape[dim] = -1
    return vector.reshape(shape)
