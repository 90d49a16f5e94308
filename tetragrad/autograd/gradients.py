"""Gradients of several tensors at once, and of a batch of upstream gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tetragrad.core.errors import GradientError
from tetragrad.func.vmapping import vmap
from tetragrad.tensor import Tensor
from tetragrad.tensor import autograd as one

Tensors = Tensor | Sequence[Tensor]


def backward(
    tensors: Tensors,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Add the gradients of several tensors to the ``.grad`` of the leaves they used.

    Args:
        tensors: where the gradients start.
        grad_tensors: an upstream gradient for each; None for one element.
        retain_graph: keep the graph beyond the optimiser's next step.
        create_graph: keep the gradients differentiable.
        inputs: only these tensors collect gradients.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> tetragrad.autograd.backward([x.sum(), (x * x).sum()])
    >>> x.grad
    tensor([3., 5.])
    """
    outputs = _listed(tensors)
    given = [None] * len(outputs) if grad_tensors is None else _listed(grad_tensors)
    if len(given) != len(outputs):
        raise GradientError(
            f"backward() of {len(outputs)} tensors with {len(given)} gradients",
            hint="pass one for each, or None",
        )
    collecting = None if inputs is None else _listed(inputs)
    for output, upstream in zip(outputs, given, strict=True):
        output.backward(upstream, retain_graph, create_graph, collecting)


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    only_inputs: bool = True,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Gradients of the outputs' sum with respect to the inputs; ``.grad`` stays.

    Args:
        outputs: where the gradients start.
        inputs: what they are taken with respect to.
        grad_outputs: an upstream gradient for each output; None for one element.
        retain_graph: graphs here can be used again anyway.
        create_graph: keep the gradients differentiable.
        only_inputs: nothing but True, for programs that say so.
        allow_unused: give None for an input that the outputs do not depend on.
        is_grads_batched: ``grad_outputs`` have one more dimension in front, and so
            have the gradients.
        materialize_grads: give zeros instead of None.

    Raises:
        GradientError: an input that the outputs do not depend on, unless allowed.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> basis = Tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> tetragrad.autograd.grad(x * x, x, basis, is_grads_batched=True)[0]
    tensor([[2., 0.],
            [0., 4.]])
    """
    targets = _listed(inputs)
    if not only_inputs:
        raise GradientError(
            "grad(only_inputs=False)",
            hint="backward() adds gradients to the .grad of all leaves",
        )
    if materialize_grads and allow_unused is False:
        raise GradientError(
            "grad(allow_unused=False, materialize_grads=True)",
            hint="materialize_grads gives zeros for what is unused",
        )
    unused = materialize_grads or bool(allow_unused)
    if is_grads_batched:
        return _batched(outputs, targets, grad_outputs, create_graph)
    found = one.grad(outputs, targets, grad_outputs, retain_graph, create_graph, unused)
    if not materialize_grads:
        return found
    pairs = zip(found, targets, strict=True)
    return tuple(t.zeros_like() if part is None else part for part, t in pairs)


def _batched(
    outputs: Tensors, targets: list[Tensor], grad_outputs: Any, create_graph: bool
) -> tuple[Tensor | None, ...]:
    def rows(*upstream: Tensor) -> tuple[Tensor, ...]:
        found = one.grad(outputs, targets, upstream, None, True, True)
        pairs = zip(found, targets, strict=True)
        return tuple(t.zeros_like() if part is None else part for part, t in pairs)

    found: tuple[Tensor, ...] = vmap(rows)(*_listed(grad_outputs))
    return found if create_graph else tuple(entry.detach() for entry in found)


def _listed(value: Any) -> list[Any]:
    return [value] if isinstance(value, Tensor) else list(value)
