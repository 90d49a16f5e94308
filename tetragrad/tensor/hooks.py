"""Functions of the user's that see gradients, and where else gradients are kept.

A leaf's hooks belong to its key, so that they outlive the values that an optimiser
gives it. Those of an intermediate result mark its next uses; if it has been used
already, they belong to its node in the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary, finalize, ref

from tetragrad.core.errors import GradientError, ShapeError
from tetragrad.graph.gradients import Rule, node_rules, variable_rules
from tetragrad.graph.markers import Detached
from tetragrad.graph.node import Node, has_users
from tetragrad.tensor.base import TensorBase, redirect
from tetragrad.tensor.modes import enable_grad
from tetragrad.tensor.pairs import to_pairs
from tetragrad.tensor.storage import AS_COMPLEX, Collected, Hooked

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

#: Tensors that keep the gradient of a node that others were computed from before.
retained: WeakKeyDictionary[Node, ref[TensorBase]] = WeakKeyDictionary()

#: What is called after a leaf's gradient has been added, by the leaf's key.
_after_accumulation: dict[int, list[Callable[[Any], Any]]] = {}


class HookHandle:
    """What registering a hook returns: ``remove()`` takes the hook away again."""

    def __init__(self, remove: Callable[[], None]) -> None:
        self._remove = remove

    def remove(self) -> None:
        """The hook is not called any more; doing it twice does nothing."""
        self._remove()


def register_hook(self: TensorBase, hook: Callable[[Any], Any]) -> HookHandle:
    """Call ``hook(gradient)`` whenever this tensor's gradient is computed.

    If the hook returns a tensor, that takes the gradient's place. Of a view, only
    uses after it was registered count.

    >>> x = Tensor([1.0], requires_grad=True)
    >>> handle = x.register_hook(lambda gradient: gradient * 10)
    >>> (x * 2).backward()
    >>> x.grad
    tensor([20.])

    Raises:
        GradientError: the tensor does not require a gradient.
    """
    _check_requires_grad(self, "register_hook()")

    def rule(upstream: Node) -> Node:
        with enable_grad():
            replaced = hook(gradient_tensor(upstream, True, self))
        return upstream if replaced is None else _checked(replaced, self)

    key = _leaf_key(self)
    if key is not None:
        return _listed(rule, _rules_of_key(self, key, variable_rules))
    if has_users(self.real_node):
        return _listed(rule, node_rules.setdefault(self.real_node, []))
    known = self.steps[-1] if self.steps else None
    if isinstance(known, Hooked):
        steps = (*self.steps[:-1], Hooked((*known.rules, rule)))
    else:
        steps = (*self.steps, Hooked((rule,)))
    redirect(self, self.storage, steps)
    return HookHandle(lambda: _unhook(self, rule))


def _unhook(tensor: TensorBase, rule: Rule) -> None:
    """Take a rule out of a tensor's steps."""
    steps = tuple(
        Hooked(tuple(entry for entry in step.rules if entry is not rule))
        if isinstance(step, Hooked)
        else step
        for step in tensor.steps
    )
    redirect(tensor, tensor.storage, steps)


def register_post_accumulate_grad_hook(
    self: TensorBase, hook: Callable[[Any], Any]
) -> HookHandle:
    """Call ``hook(tensor)`` after ``backward()`` has added to a leaf's ``.grad``.

    >>> x = Tensor([1.0], requires_grad=True)
    >>> handle = x.register_post_accumulate_grad_hook(lambda leaf: print(leaf.grad))
    >>> (x * 2).backward()
    tensor([2.])

    Raises:
        GradientError: the tensor is not a leaf that requires a gradient.
    """
    key = _leaf_key(self)
    if key is None:
        raise GradientError(
            "register_post_accumulate_grad_hook() on a tensor that is not a leaf "
            "that requires a gradient",
            hint="use register_hook(), whose hook gets the gradient",
        )
    return _listed(hook, _rules_of_key(self, key, _after_accumulation))


def call_after_accumulation(leaf: TensorBase) -> None:
    """Call the hooks of a tensor whose ``.grad`` has been added to."""
    key = _leaf_key(leaf)
    if key is None:
        return
    for hook in tuple(_after_accumulation.get(key, ())):
        hook(leaf)


def retain_grad(self: TensorBase) -> None:
    """Keep the gradient of this intermediate result in ``.grad`` too.

    A leaf does so anyway. Of a view, only uses after this call count.

    >>> x = Tensor([1.0], requires_grad=True)
    >>> y = x * 2
    >>> (y * y).backward(retain_graph=True)
    >>> y.retain_grad()
    >>> (y * y).backward()
    >>> y.grad
    tensor([4.])

    Raises:
        GradientError: the tensor does not require a gradient.
    """
    _check_requires_grad(self, "retain_grad()")
    if any(isinstance(step, Collected) for step in self.steps):
        return
    if has_users(self.real_node):
        retained[self.real_node] = ref(self)
    else:
        self.collect((), is_leaf=False)


def retains_grad(self: TensorBase) -> bool:
    """Whether an intermediate result keeps its gradient: ``retain_grad()``.

    >>> y = Tensor([1.0], requires_grad=True) * 2
    >>> y.retain_grad()
    >>> y.retains_grad
    True
    """
    collects = any(
        isinstance(step, Collected) and not step.is_leaf for step in self.steps
    )
    return collects or self.real_node in retained


def _check_requires_grad(tensor: TensorBase, what: str) -> None:
    if not tensor.requires_grad:
        raise GradientError(
            f"{what} on a tensor that does not require a gradient",
            hint="call x.requires_grad_() first",
        )


def _leaf_key(tensor: TensorBase) -> int | None:
    """What a leaf that collects gradients is known by."""
    if not tensor.is_leaf:
        return None
    keys = [step.key for step in tensor.steps if isinstance(step, Collected)]
    return keys[-1] if keys else None


def _rules_of_key(leaf: TensorBase, key: int, table: dict[int, Any]) -> list[Any]:
    """The hooks of a leaf, which go when it goes."""
    if key not in table:
        table[key] = []
        finalize(leaf, table.pop, key, None)
    return cast(list[Any], table[key])


def _listed(rule: Rule | Callable[[Any], Any], rules: list[Any]) -> HookHandle:
    """Add a rule to a list of them."""
    rules.append(rule)

    def remove() -> None:
        if rule in rules:
            rules.remove(rule)

    return HookHandle(remove)


# --- gradients as tensors -------------------------------------------------------------


def gradient_tensor(node: Node, create_graph: bool, of: TensorBase) -> Tensor:
    """A gradient of a tensor: complex, if the tensor is."""
    cls = TensorBase.tensor_class
    made = cls.from_node(node if create_graph else Detached(node), tracked=create_graph)
    if of.dtype.is_complex:
        made.steps = (AS_COMPLEX,)
    return made


def fitted(gradient: Any, argument: TensorBase) -> Node:
    """The node of a gradient for this argument: pairs, if that is complex."""
    if argument.dtype.is_complex and not gradient.dtype.is_complex:
        return to_pairs(gradient.node, argument.dtype)
    return cast(Node, gradient.real_node)


def _checked(gradient: Any, tensor: TensorBase) -> Node:
    """The node of what a hook returned."""
    if gradient.shape != tensor.shape:
        raise ShapeError(
            f"a hook of a tensor of shape {tensor.shape} returned a gradient of "
            f"shape {gradient.shape}",
            hint="return a gradient of the tensor's shape, or None to leave it",
        )
    return fitted(gradient, tensor)
