"""Functions that see a module's gradients, on their way into and out of a call.

The graph has a node for each tensor, but a hook wants the gradients of all inputs, or
of all outputs, together. So the tensors pass a gate: each hands its gradient to the
gate, which comes later in the reverse walk than all of them and gives the hook all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tetragrad.core import dtypes
from tetragrad.core.errors import GradientError
from tetragrad.graph.leaves import constant
from tetragrad.graph.markers import CustomGradient, Detached
from tetragrad.graph.node import Node
from tetragrad.nn.hooks import Hooks
from tetragrad.tensor import Tensor
from tetragrad.tensor.hooks import fitted, gradient_tensor
from tetragrad.tensor.modes import enable_grad

#: The gradients of several tensors; None for one that has none.
Gradients = tuple[Tensor | None, ...]


class Passage:
    """One call of a module: what arrives at its outputs, and leaves by its inputs."""

    def __init__(self, module: Any, pre_hooks: Hooks, hooks: Hooks) -> None:
        self.module = module
        self.pre_hooks = pre_hooks
        self.hooks = hooks
        self.arrived: Gradients = ()
        self.inputs = 0

    def enter(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, whose gradients the hooks will see."""
        if not self.hooks.entries:
            return args
        self.inputs = sum(map(_has_gradient, args))
        passed = iter(pass_gate(list(filter(_has_gradient, args)), self._leaving(args)))
        return tuple(next(passed) if _has_gradient(entry) else entry for entry in args)

    def leave(self, output: Any) -> Any:
        """The output, whose gradients the hooks will see first."""
        parts = list(output) if isinstance(output, tuple | list) else [output]
        tensors = [entry for entry in parts if _has_gradient(entry)]
        if not tensors:
            return output
        passed = iter(pass_gate(tensors, self._arriving(parts)))
        parts = [next(passed) if _has_gradient(entry) else entry for entry in parts]
        if not isinstance(output, tuple | list):
            return parts[0]
        if hasattr(output, "_fields"):
            return type(output)(*parts)
        return type(output)(parts)

    def _arriving(self, outputs: list[Any]) -> Callable[[Gradients], Gradients]:
        def see(given: Gradients) -> Gradients:
            arrived = _among_all(given, outputs)
            for hook in self.pre_hooks:
                replaced = hook.function(self.module, arrived)
                arrived = _replaced(arrived, replaced, "pre-hook")
            self.arrived = arrived
            if not self.inputs:
                for hook in self.hooks:
                    hook.function(self.module, (None,), arrived)
            return _of_tensors(arrived, outputs)

        return see

    def _leaving(self, args: tuple[Any, ...]) -> Callable[[Gradients], Gradients]:
        def see(given: Gradients) -> Gradients:
            leaving = _among_all(given, args)
            for hook in self.hooks:
                replaced = hook.function(self.module, leaving, self.arrived)
                leaving = _replaced(leaving, replaced, "hook")
            return _of_tensors(leaving, args)

        return see


def pass_gate(
    tensors: Sequence[Tensor], see: Callable[[Gradients], Gradients]
) -> list[Tensor]:
    """The same tensors; ``see`` is given all of their gradients and gives new ones."""
    if not tensors:
        return []
    arrived: dict[int, Node] = {}

    def open_gate(_: Node) -> tuple[Node | None, ...]:
        given = tuple(
            _gradient(arrived.pop(number, None), tensor)
            for number, tensor in enumerate(tensors)
        )
        with enable_grad():
            seen = see(given)
        return tuple(
            None if entry is None else fitted(entry, tensor)
            for entry, tensor in zip(seen, tensors, strict=True)
        )

    nothing = constant(0.0, dtypes.float32)
    nodes = tuple(tensor.real_node for tensor in tensors)
    gate = CustomGradient(nothing, open_gate, nodes)

    def hand_over(number: int) -> Callable[[Node], tuple[Node]]:
        def rule(upstream: Node) -> tuple[Node]:
            arrived[number] = upstream
            return (nothing,)

        return rule

    return [
        tensor.alike(CustomGradient(Detached(node), hand_over(number), (gate,)))
        for number, (tensor, node) in enumerate(zip(tensors, nodes, strict=True))
    ]


def _gradient(node: Node | None, of: Tensor) -> Tensor | None:
    """A gradient that arrived, differentiable where it depends on a variable."""
    return None if node is None else gradient_tensor(node, node.has_variables, of)


def _has_gradient(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _among_all(given: Gradients, values: Sequence[Any]) -> Gradients:
    """The gradients in the places of their tensors, None in all others."""
    remaining = iter(given)
    return tuple(next(remaining) if _has_gradient(value) else None for value in values)


def _of_tensors(gradients: Gradients, values: Sequence[Any]) -> Gradients:
    """Only the gradients of those values that have one."""
    pairs = zip(gradients, values, strict=True)
    return tuple(gradient for gradient, value in pairs if _has_gradient(value))


def _replaced(gradients: Gradients, replaced: Any, kind: str) -> Gradients:
    """What a hook returned in place of the gradients it was given."""
    if replaced is None:
        return gradients
    listed = replaced if isinstance(replaced, tuple) else (replaced,)
    if len(listed) != len(gradients):
        raise GradientError(
            f"a full backward {kind} returned {len(listed)} gradients; it was given "
            f"{len(gradients)}",
            hint="return as many, or None to leave them as they are",
        )
    return listed
