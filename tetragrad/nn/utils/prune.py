"""Pruning: weights that stay zero, by a mask that is applied before every call.

The parameter ``weight`` becomes ``weight_orig`` and a buffer ``weight_mask``; the layer
computes with ``weight``, their product. ``remove`` makes the zeros permanent.

Source: Han et al., "Learning both weights and connections for efficient neural
networks", 2015.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Self

from tetragrad.core.errors import ShapeError
from tetragrad.nn.hooks import RemovableHandle
from tetragrad.nn.module import Module
from tetragrad.nn.parameter import Parameter
from tetragrad.tensor import Tensor
from tetragrad.tensor.joining import cat
from tetragrad.tensor.modes import no_grad

__all__ = [
    "BasePruningMethod",
    "CustomFromMask",
    "Identity",
    "L1Unstructured",
    "LnStructured",
    "PruningContainer",
    "RandomStructured",
    "RandomUnstructured",
    "custom_from_mask",
    "global_unstructured",
    "identity",
    "is_pruned",
    "l1_unstructured",
    "ln_structured",
    "random_structured",
    "random_unstructured",
    "remove",
]


# --- methods --------------------------------------------------------------------------


class BasePruningMethod(ABC):
    """A way to choose what is pruned: a subclass defines ``compute_mask``.

    >>> class Evens(nn.utils.prune.BasePruningMethod):
    ...     PRUNING_TYPE = "unstructured"
    ...     def compute_mask(self, t, default_mask):
    ...         default_mask.view(-1)[::2] = 0
    ...         return default_mask
    >>> layer = Evens.apply(nn.Linear(2, 1), "weight") and None
    """

    #: What a second method may choose from: single elements that are left
    #: ("unstructured"), slices that are left ("structured"), or all ("global").
    PRUNING_TYPE: ClassVar[str]
    _tensor_name: str

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """1 for what stays and 0 for what goes; ``default_mask`` is what went before.

        Args:
            t: how important each element is.
            default_mask: of its shape; to be copied, or changed and returned.
        """

    def __call__(self, module: Module, args: Any) -> None:
        object.__setattr__(module, self._tensor_name, self.apply_mask(module))

    def apply_mask(self, module: Module) -> Tensor:
        """The parameter with zeros where it is pruned."""
        original: Tensor = getattr(module, f"{self._tensor_name}_orig")
        mask: Tensor = getattr(module, f"{self._tensor_name}_mask")
        return mask.to(original.dtype) * original

    def prune(
        self,
        t: Tensor,
        default_mask: Tensor | None = None,
        importance_scores: Tensor | None = None,
    ) -> Tensor:
        """A tensor with zeros where this method prunes; no module changes.

        >>> prune = nn.utils.prune
        >>> prune.L1Unstructured(amount=1).prune(Tensor([3.0, 1.0, -2.0])).tolist()
        [3.0, 0.0, -2.0]
        """
        scores = t if importance_scores is None else importance_scores
        _check_scores(scores, t)
        mask = t.detach().ones_like() if default_mask is None else default_mask
        return t * self.compute_mask(scores.detach(), mask.clone())

    @classmethod
    def apply(
        cls,
        module: Module,
        name: str,
        *args: Any,
        importance_scores: Tensor | None = None,
        **kwargs: Any,
    ) -> Self:
        """Prune a parameter of a module; returns the method that was applied.

        What was pruned before stays so, and the method chooses from what is left.
        """
        method = cls(*args, **kwargs)
        method._tensor_name = name
        earlier = _methods(module).get(name)
        weight = _weight_of(module, name)
        scores = weight if importance_scores is None else importance_scores
        _check_scores(scores, weight)
        with no_grad():
            mask = _next_mask(module, name, earlier, method, scores.detach())
        if earlier is None:
            original = module._parameters[name]
            del module._parameters[name]
            module.register_parameter(f"{name}_orig", original)
        else:
            _unhook(module, earlier)
        module.register_buffer(f"{name}_mask", mask)
        hook = method if earlier is None else _joined(earlier, method)
        hook(module, ())
        module.register_forward_pre_hook(hook)
        return method

    def remove(self, module: Module) -> None:
        """Make the parameter an ordinary one again, which keeps its zeros."""
        name = self._tensor_name
        original: Parameter = getattr(module, f"{name}_orig")
        with no_grad():
            original.copy_(self.apply_mask(module))
        _unhook(module, self)
        del module._parameters[f"{name}_orig"], module._buffers[f"{name}_mask"]
        delattr(module, name)
        module.register_parameter(name, original)


class PruningContainer(BasePruningMethod):
    """Methods that were applied one after another to one parameter.

    >>> prune = nn.utils.prune
    >>> layer = prune.random_unstructured(nn.Linear(4, 4), "weight", amount=4)
    >>> layer = prune.l1_unstructured(layer, "weight", amount=4)
    >>> int(layer.weight_mask.sum().item())
    8
    """

    PRUNING_TYPE = "container"

    def __init__(self, *args: BasePruningMethod) -> None:
        self._methods: tuple[BasePruningMethod, ...] = ()
        for method in args:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        """Apply another method after those that are here."""
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"a {type(method).__name__} is no pruning method")
        name = getattr(self, "_tensor_name", method._tensor_name)
        if method._tensor_name != name:
            raise ValueError(
                f"a method for {method._tensor_name!r} among methods for {name!r}"
            )
        self._tensor_name = name
        self._methods += (method,)

    def __len__(self) -> int:
        return len(self._methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._methods)

    def __getitem__(self, idx: int) -> BasePruningMethod:
        return self._methods[idx]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """What the last method leaves of ``default_mask``."""
        return _restricted(self._methods[-1], t, default_mask)


def _restricted(method: BasePruningMethod, t: Tensor, mask: Tensor) -> Tensor:
    """A method's choice among what a mask has left."""
    if method.PRUNING_TYPE == "global":
        return method.compute_mask(t, mask.clone())
    result = mask.clone()
    place: Any
    if method.PRUNING_TYPE == "unstructured":
        place = mask == 1
    elif method.PRUNING_TYPE == "structured":
        dim = getattr(method, "dim", 0) % t.ndim
        others = tuple(entry for entry in range(t.ndim) if entry != dim)
        is_left = mask.sum(others) != 0
        place = (slice(None),) * dim + (is_left,)
    else:
        raise ValueError(
            f"PRUNING_TYPE {method.PRUNING_TYPE!r} of {type(method).__name__} is "
            "neither 'unstructured', 'structured' nor 'global'"
        )
    result[place] = method.compute_mask(t[place], mask[place])
    return result


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


# --- what a module is pruned by -------------------------------------------------------


def _methods(module: Module) -> dict[str, BasePruningMethod]:
    """The pruning methods of a module, by the name of what they prune."""
    hooks = [hook.function for hook in module._forward_pre_hooks]
    found = [hook for hook in hooks if isinstance(hook, BasePruningMethod)]
    return {method._tensor_name: method for method in found}


def _unhook(module: Module, method: BasePruningMethod) -> None:
    for number, hook in module._forward_pre_hooks.entries.items():
        if hook.function is method:
            RemovableHandle(module._forward_pre_hooks, number).remove()
            return


def _weight_of(module: Module, name: str) -> Tensor:
    known = [entry for entry, value in module._parameters.items() if value is not None]
    if name not in known and name not in _methods(module):
        raise ValueError(
            f"{type(module).__name__} has no parameter {name!r} to prune; it has: "
            f"{', '.join(known) or 'none'}"
        )
    weight: Tensor = getattr(module, name)
    return weight


def _check_scores(scores: Tensor, weight: Tensor) -> None:
    if scores.shape != weight.shape:
        raise ShapeError(
            f"importance_scores of shape {scores.shape} for a parameter of shape "
            f"{weight.shape}",
            hint="give a score for each element",
        )


def _next_mask(
    module: Module,
    name: str,
    earlier: BasePruningMethod | None,
    method: BasePruningMethod,
    scores: Tensor,
) -> Tensor:
    if earlier is None:
        return method.compute_mask(scores, scores.ones_like())
    return _restricted(method, scores, getattr(module, f"{name}_mask"))


def _joined(earlier: BasePruningMethod, method: BasePruningMethod) -> PruningContainer:
    if isinstance(earlier, PruningContainer):
        return PruningContainer(*earlier, method)
    return PruningContainer(earlier, method)


# --- functions ------------------------------------------------------------------------


def identity(module: Any, name: str) -> Any:
    """Give a parameter a mask of ones; returns the module.

    >>> prune = nn.utils.prune
    >>> layer = prune.identity(nn.Linear(2, 1), "weight")
    >>> [name for name, _ in layer.named_parameters()]
    ['bias', 'weight_orig']
    """
    Identity.apply(module, name)
    return module


def random_unstructured(module: Any, name: str, amount: float) -> Any:
    """Prune elements at random: a share (float) or a number (int) of those left.

    >>> layer = nn.utils.prune.random_unstructured(nn.Linear(4, 2), "weight", 0.25)
    >>> int((layer.weight == 0).sum().item())
    2
    """
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(
    module: Any, name: str, amount: float, importance_scores: Tensor | None = None
) -> Any:
    """Prune the smallest elements: a share (float) or a number (int) of those left.

    Args:
        importance_scores: what to rank by, of the parameter's shape, in its place.

    >>> layer = nn.utils.prune.l1_unstructured(nn.Linear(4, 2), "weight", 3)
    >>> int((layer.weight == 0).sum().item())
    3
    """
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Any, name: str, amount: float, dim: int) -> Any:
    """Prune slices along ``dim`` at random: a share (float) or a number (int).

    >>> layer = nn.utils.prune.random_structured(nn.Linear(4, 2), "weight", 1, dim=1)
    >>> int((layer.weight == 0).sum().item())
    2
    """
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Any,
    name: str,
    amount: float,
    n: float | str,
    dim: int,
    importance_scores: Tensor | None = None,
) -> Any:
    """Prune the slices along ``dim`` whose n-norms are smallest.

    >>> layer = nn.utils.prune.ln_structured(nn.Linear(4, 2), "weight", 0.5, n=2, dim=0)
    >>> int((layer.weight == 0).sum().item())
    4
    """
    LnStructured.apply(
        module, name, amount, n, dim, importance_scores=importance_scores
    )
    return module


def custom_from_mask(module: Any, name: str, mask: Tensor) -> Any:
    """Prune where a mask of the parameter's shape is zero; returns the module.

    >>> mask = Tensor([[1.0, 0.0]])
    >>> layer = nn.utils.prune.custom_from_mask(nn.Linear(2, 1), "weight", mask)
    >>> layer.weight[0, 1].item() == 0
    True
    """
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]],
    pruning_method: type[BasePruningMethod],
    importance_scores: dict[tuple[Module, str], Tensor] | None = None,
    **kwargs: Any,
) -> None:
    """Prune several parameters as if they were one.

    Args:
        parameters: pairs of a module and the name of its parameter.
        pruning_method: an unstructured method's class, and ``kwargs`` its arguments.
        importance_scores: what to rank by in place of a parameter.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> prune = nn.utils.prune
    >>> pairs = [(model[0], "weight"), (model[1], "weight")]
    >>> prune.global_unstructured(pairs, prune.L1Unstructured, amount=0.5)
    >>> sum(int((layer.weight == 0).sum().item()) for layer in model)
    4
    """
    pairs = list(parameters)
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            f"{pruning_method.__name__} is {method.PRUNING_TYPE}, and several "
            "parameters have no common dimension\n"
            "hint: use L1Unstructured or RandomUnstructured"
        )
    given = importance_scores or {}
    weights = [_weight_of(module, name).detach() for module, name in pairs]
    scores = [
        given.get(pair, weight).detach()
        for pair, weight in zip(pairs, weights, strict=True)
    ]
    masks = [
        getattr(module, f"{name}_mask", weight.ones_like())
        for (module, name), weight in zip(pairs, weights, strict=True)
    ]
    with no_grad():
        joined_scores, joined_masks = (
            cat([entry.reshape(-1) for entry in entries]) for entries in (scores, masks)
        )
        found = _restricted(method, joined_scores, joined_masks)
    start = 0
    for (module, name), weight in zip(pairs, weights, strict=True):
        part = found[start : start + weight.numel()]
        custom_from_mask(module, name, part.reshape(weight.shape))
        start += weight.numel()


def remove(module: Any, name: str) -> Any:
    """Make a pruned parameter an ordinary one that keeps its zeros.

    >>> prune = nn.utils.prune
    >>> layer = prune.remove(prune.identity(nn.Linear(2, 1), "weight"), "weight")
    >>> sorted(name for name, _ in layer.named_parameters())
    ['bias', 'weight']
    """
    method = _methods(module).get(name)
    if method is None:
        raise ValueError(f"{name!r} of {type(module).__name__} is not pruned")
    method.remove(module)
    return module


def is_pruned(module: Module) -> bool:
    """Whether a parameter of a module, or of one below it, is pruned.

    >>> nn.utils.prune.is_pruned(nn.Linear(2, 1))
    False
    """
    return any(_methods(child) for child in module.modules())
