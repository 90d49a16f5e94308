"""``state_dict()`` and ``load_state_dict()``: values by dotted name.

The names are PyTorch's, so its checkpoints load without renaming. Loading first
checks every name and shape, and only then changes anything: a failed load leaves
the module as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tetragrad.core.errors import TetragradError, UnsupportedError
from tetragrad.nn.hooks import Hooks
from tetragrad.nn.parameter import Uninitialized, replace_value
from tetragrad.tensor import Tensor
from tetragrad.tensor.modes import no_grad

#: The name, after a module's own, under which its extra state is saved.
EXTRA_STATE = "_extra_state"


class StateDictError(TetragradError, RuntimeError):
    """A state dict that does not fit the module it is loaded into.

    >>> issubclass(nn.StateDictError, tetragrad.TetragradError)
    True
    """


class IncompatibleKeys(NamedTuple):
    """Names that ``load_state_dict(strict=False)`` could not use or find."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not any(self):
            return "<All keys matched successfully>"
        return (
            f"{type(self).__name__}(missing_keys={self.missing_keys}, "
            f"unexpected_keys={self.unexpected_keys})"
        )

    def complaints(self, strict: bool) -> list[str]:
        """One line for each kind of problem, with every name."""
        lines = []
        if strict and self.unexpected_keys:
            lines.append("Unexpected key(s): " + _quoted(self.unexpected_keys))
        if strict and self.missing_keys:
            lines.append("Missing key(s): " + _quoted(self.missing_keys))
        return lines


@dataclass
class LoadPlan:
    """What a load would do, and every reason not to do it."""

    values: dict[str, Any]
    strict: bool
    copies: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    mismatched: list[str] = field(default_factory=list)
    #: Names that a hook found unexpected.
    refused: list[str] = field(default_factory=list)
    extra_states: list[tuple[Any, Any]] = field(default_factory=list)
    post_hooks: list[tuple[Any, Callable[..., Any]]] = field(default_factory=list)

    def add(self, name: str, target: Tensor) -> None:
        """Plan to fill ``target`` from the value called ``name``."""
        if name not in self.values:
            self.missing.append(name)
            return
        self.used.add(name)
        value = as_tensor(name, self.values[name])
        if isinstance(target, Uninitialized):
            # It takes any shape; a value without elements was saved as unknown.
            self.copies += [(target, value)] if value.numel() else []
            return
        # Scalars were saved with one element by old versions of PyTorch.
        if target.ndim == 0 and value.shape == (1,):
            value = value.reshape(())
        if value.shape != target.shape:
            self.mismatched.append(
                f"size mismatch for {name}: the state dict has shape {value.shape}, "
                f"the module has {target.shape}"
            )
            return
        self.copies.append((target, value))

    def add_extra(self, name: str, module: Any) -> None:
        """Plan to give a module its extra state."""
        if name not in self.values:
            self.missing.append(name)
            return
        self.used.add(name)
        self.extra_states.append((module, self.values[name]))

    def call(self, hook: Callable[..., Any], module: Any, prefix: str) -> None:
        """Let a hook change the values before a module looks for its own."""
        unexpected: list[str] = []
        hook(
            module,
            self.values,
            prefix,
            {},
            self.strict,
            self.missing,
            unexpected,
            self.mismatched,
        )
        self.refused += unexpected

    @property
    def unexpected(self) -> list[str]:
        """Names in the state dict that no module asked for."""
        left = [name for name in self.values if name not in self.used]
        return [*left, *self.refused]


class ModuleStateDict:
    """The part of :class:`Module` that saves and loads values."""

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers: set[str]
    _state_dict_hooks: Hooks
    _state_dict_pre_hooks: Hooks
    _load_state_dict_pre_hooks: Hooks
    _load_state_dict_post_hooks: Hooks

    def state_dict(
        self,
        *,
        destination: dict[str, Any] | None = None,
        prefix: str = "",
        keep_vars: bool = False,
    ) -> dict[str, Any]:
        """Every parameter and persistent buffer by dotted name.

        The tensors share their elements with the module, without gradients unless
        ``keep_vars``. They are added to ``destination``, if that is given.

        >>> list(nn.Linear(2, 3).state_dict())
        ['weight', 'bias']
        """
        for hook in self._state_dict_pre_hooks:
            hook.function(self, prefix, keep_vars)
        state = {} if destination is None else destination
        for name, value in self._persistent_values():
            state[prefix + name] = value if keep_vars else value.detach()
        if self._has_extra_state():
            state[prefix + EXTRA_STATE] = self.get_extra_state()
        for name, child in self._modules.items():
            if child is not None:
                child.state_dict(
                    destination=state, prefix=f"{prefix}{name}.", keep_vars=keep_vars
                )
        for hook in self._state_dict_hooks:
            hook.function(self, state, prefix, {})
        return state

    def get_extra_state(self) -> Any:
        """What else ``state_dict()`` should hold, plain values; define it in a
        subclass together with ``set_extra_state``."""
        raise UnsupportedError(
            f"{type(self).__name__} has no extra state",
            hint="define get_extra_state() and set_extra_state(state)",
        )

    def set_extra_state(self, state: Any) -> None:
        """Take back what ``get_extra_state`` gave."""
        raise UnsupportedError(
            f"{type(self).__name__} has no extra state",
            hint="define get_extra_state() and set_extra_state(state)",
        )

    def _has_extra_state(self) -> bool:
        return type(self).get_extra_state is not ModuleStateDict.get_extra_state

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy values into parameters and buffers by name.

        Args:
            state_dict: tensors, NumPy arrays or PyTorch tensors by name.
            strict: raise if names are missing or unexpected.
            assign: take over the values' dtype and device instead of converting.

        Returns:
            The missing and the unexpected names.

        Raises:
            StateDictError: names (if strict) or shapes do not fit; nothing changed.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                "load_state_dict() takes a mapping of names to values, not a "
                f"{type(state_dict).__name__}"
            )
        plan = LoadPlan(dict(state_dict), strict)
        self._plan_load(plan, "")
        keys = IncompatibleKeys(plan.missing, plan.unexpected)
        hooks = plan.post_hooks
        # Hooks may forgive a name, but only after everything that fits was copied.
        unfit = () if hooks else keys.complaints(strict)
        self._complain([*plan.mismatched, *unfit], _remedy(state_dict, plan))
        with no_grad():
            for target, value in plan.copies:
                if isinstance(target, Uninitialized):
                    target.materialize(value.shape)
                if assign:
                    replace_value(target, value)
                else:
                    target.copy_(value)
        for module, state in plan.extra_states:
            module.set_extra_state(state)
        for module, hook in hooks:
            hook(module, keys)
        self._complain(keys.complaints(strict), _remedy(state_dict, plan))
        return keys

    def _complain(self, complaints: list[str], remedy: str) -> None:
        if complaints:
            raise StateDictError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n  "
                + "\n  ".join(complaints),
                hint=remedy,
            )

    def _plan_load(self, plan: LoadPlan, prefix: str) -> None:
        for hook in self._load_state_dict_pre_hooks:
            plan.call(hook.function, self, prefix)
        for name, target in self._persistent_values():
            plan.add(prefix + name, target)
        if self._has_extra_state():
            plan.add_extra(prefix + EXTRA_STATE, self)
        for name, child in self._modules.items():
            if child is not None:
                child._plan_load(plan, f"{prefix}{name}.")
        for hook in self._load_state_dict_post_hooks:
            plan.post_hooks.append((self, hook.function))

    def _persistent_values(self) -> Iterator[tuple[str, Tensor]]:
        """The parameters and persistent buffers of this module alone."""
        for name, value in [*self._parameters.items(), *self._buffers.items()]:
            if value is not None and name not in self._non_persistent_buffers:
                yield name, value


def as_tensor(name: str, value: Any) -> Tensor:
    """A tensor for a tensor, NumPy array, number, list or PyTorch tensor."""
    if isinstance(value, Tensor):
        return value.detach()
    if type(value).__module__.partition(".")[0] == "torch":
        return Tensor(_torch_array(value))
    try:
        return Tensor(value)
    except TypeError as error:
        raise StateDictError(
            f"the value of {name!r} is a {type(value).__name__}, not an array"
        ) from error


def _torch_array(value: Any) -> np.ndarray:
    """The elements of a PyTorch tensor, whatever its dtype, without importing it."""
    plain = value.detach().cpu().contiguous()
    if str(plain.dtype) != "torch.bfloat16":
        array: np.ndarray = plain.numpy()
        return array
    import ml_dtypes

    # NumPy has no bfloat16, so PyTorch refuses; the widening is exact.
    return plain.float().numpy().astype(ml_dtypes.bfloat16)


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _remedy(state_dict: Mapping[str, Any], plan: LoadPlan) -> str:
    """What to write instead: the state may lie deeper, or be of a wrapped module."""
    if plan.mismatched:
        return "make the module with the sizes that the state was saved with"
    missing = set(plan.missing)
    for name, value in state_dict.items():
        if isinstance(value, Mapping) and missing and missing <= set(value):
            return f"the module's state is one entry of it: state_dict[{name!r}]"
    for wrapper in ("module.", "_orig_mod."):
        if missing and missing <= {name.removeprefix(wrapper) for name in state_dict}:
            return (
                "the state is a wrapped module's: write {name.removeprefix("
                f"{wrapper!r}): value for name, value in state_dict.items()}}"
            )
    return "strict=False ignores missing and unexpected names"
