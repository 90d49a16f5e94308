"""Operations on tensors that the host computes, with gradients that are tensors again.

The values come from NumPy (``tetragrad/graph/host_call.py``). A gradient is a formula
over tensors, of the inputs, the outputs and one upstream gradient for each output, so
it can be differentiated in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tetragrad.core.dtypes import DType
from tetragrad.core.errors import GradientError
from tetragrad.core.frozen import frozen
from tetragrad.graph.host_call import Call, HostFunction, register
from tetragrad.graph.markers import CustomGradient
from tetragrad.graph.node import Node
from tetragrad.graph.samples import depends_on_samples
from tetragrad.tensor.base import TensorBase, wrap, wrap_pairs
from tetragrad.tensor.complex_numbers import view_as_complex
from tetragrad.tensor.modes import enable_grad
from tetragrad.tensor.pending import realize_tensors

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

#: ``formula(call)`` gives the gradient of each input, or None.
Formula = Callable[["Received"], Sequence["Tensor | None"]]

_formulas: dict[str, Formula] = {}


@frozen
class Received:
    """What a gradient formula is given.

    ``upstream`` has an entry for each output: the gradient that arrives there, or
    None. A gradient is linear in them, and arrives one output at a time.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    upstream: tuple[Tensor | None, ...]
    options: tuple[Any, ...]


def define(
    name: str,
    compute: Callable[..., Any],
    describe: Callable[..., Any],
    formula: Formula | None = None,
) -> str:
    """Register a host function with its gradient; returns the name to call it by."""
    register(HostFunction(name, compute, describe))
    if formula is not None:
        _formulas[name] = formula
    return name


def call(name: str, *tensors: Tensor, options: tuple[Any, ...] = ()) -> list[Tensor]:
    """The outputs of a host function, computed when they are first needed."""
    described = Call(
        name,
        options,
        tensors[0].device,
        tuple(tensor.dtype for tensor in tensors),
        tuple(tensor.real_node for tensor in tensors),
    )
    return [
        (wrap_pairs if output.dtype.is_complex else wrap)(node, *tensors)
        for output, node in zip(described.outputs(), _nodes(described), strict=True)
    ]


def call_now(
    name: str, *tensors: Tensor, options: tuple[Any, ...] = ()
) -> list[Tensor]:
    """The same, computed at once: an error is raised where the user's call stands.

    Nothing is lost, as no kernel reaches across a host function.
    """
    outputs = call(name, *tensors, options=options)
    if not depends_on_samples(output.real_node for output in outputs):
        realize_tensors(outputs)
    return outputs


def _nodes(call: Call) -> tuple[Node, ...]:
    """The outputs as nodes; those that are no integers have the formula as gradient."""
    return tuple(
        CustomGradient(node, _Rule(call, position), call.inputs)
        if node.dtype.is_floating_point
        else node
        for position, node in enumerate(call.nodes())
    )


@frozen(slots=True)
class _Rule:
    """The gradient of one output; equal rules are equal, so that nodes are shared."""

    call: Call
    position: int

    def __call__(self, upstream: Node) -> tuple[Node | None, ...]:
        call = self.call
        if call.function not in _formulas:
            raise GradientError(
                f"{call.function}() has no gradient",
                hint="detach() its input, or use another factorisation",
            )
        described = call.outputs()
        arrived: list[Tensor | None] = [None] * len(described)
        arrived[self.position] = _tracked(upstream, described[self.position].dtype)
        received = Received(
            tuple(map(_tracked, call.inputs, call.dtypes)),
            tuple(
                _tracked(node, output.dtype)
                for node, output in zip(_nodes(call), described, strict=True)
            ),
            tuple(arrived),
            call.options,
        )
        with enable_grad():
            gradients = _formulas[call.function](received)
        return tuple(None if entry is None else entry.real_node for entry in gradients)


def _tracked(node: Node, dtype: DType) -> Tensor:
    """A node as a tensor through which gradients flow, for second derivatives."""
    tracked = node.dtype.is_floating_point
    made = TensorBase.tensor_class.from_node(node, tracked=tracked)
    return view_as_complex(made) if dtype.is_complex else made
