"""What all ways of pruning share: masks, and the modules that they hang on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Self

from tetragrad.core.errors import ShapeError
from tetragrad.nn.hooks import RemovableHandle
from tetragrad.nn.module import Module
from tetragrad.nn.parameter import Parameter
from tetragrad.tensor import Tensor
from tetragrad.tensor.modes import no_grad


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
        earlier = methods_of(module).get(name)
        weight = weight_of(module, name)
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
        return restricted(self._methods[-1], t, default_mask)


def restricted(method: BasePruningMethod, t: Tensor, mask: Tensor) -> Tensor:
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


# --- what a module is pruned by -------------------------------------------------------


def methods_of(module: Module) -> dict[str, BasePruningMethod]:
    """The pruning methods of a module, by the name of what they prune."""
    hooks = [hook.function for hook in module._forward_pre_hooks]
    found = [hook for hook in hooks if isinstance(hook, BasePruningMethod)]
    return {method._tensor_name: method for method in found}


def _unhook(module: Module, method: BasePruningMethod) -> None:
    for number, hook in module._forward_pre_hooks.entries.items():
        if hook.function is method:
            RemovableHandle(module._forward_pre_hooks, number).remove()
            return


def weight_of(module: Module, name: str) -> Tensor:
    known = [entry for entry, value in module._parameters.items() if value is not None]
    if name not in known and name not in methods_of(module):
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
    return restricted(method, scores, getattr(module, f"{name}_mask"))


def _joined(earlier: BasePruningMethod, method: BasePruningMethod) -> PruningContainer:
    if isinstance(earlier, PruningContainer):
        return PruningContainer(*earlier, method)
    return PruningContainer(earlier, method)
