"""Gradients as users ask for them: backward, grad, hooks, functions of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from tetragrad.core.errors import GradientError, ShapeError, UnsupportedError
from tetragrad.graph.elementwise import Add
from tetragrad.graph.gradients import gradients
from tetragrad.graph.leaves import constant
from tetragrad.graph.markers import CustomGradient, Detached, Variable
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node, walk
from tetragrad.tensor.anomalies import check_steps, new_steps
from tetragrad.tensor.base import TensorBase, collectors, wrap, wrap_pairs
from tetragrad.tensor.generator import default_generator
from tetragrad.tensor.hooks import (
    call_after_accumulation,
    fitted,
    gradient_tensor,
    retained,
)
from tetragrad.tensor.modes import enable_grad, no_grad
from tetragrad.tensor.pairs import to_pairs
from tetragrad.tensor.pending import (
    ended_graphs,
    keeps_whole,
    kept_graphs,
    outstanding,
    reverse_passes,
)
from tetragrad.tensor.storage import Collected

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


@keeps_whole
def backward(
    self: TensorBase,
    gradient: TensorBase | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Sequence[TensorBase] | None = None,
) -> None:
    """Add the gradients of this value to the ``.grad`` of every leaf it used.

    Args:
        gradient: the upstream gradient, of this tensor's shape; may be left out for
            a single element, where it is 1.
        retain_graph: keep the graph beyond the optimiser's next step, which ends it
            otherwise; until then it can be used any number of times.
        create_graph: keep the gradients differentiable (second derivatives).
        inputs: only these tensors collect gradients.

    >>> x = Tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """
    output = self.real_node
    upstream = _upstream(self, gradient)
    order = walk([output], stop=_is_without_gradient)
    candidates = order
    if inputs is not None:
        candidates = [entry.real_node for entry in inputs]
    variables = [
        node for node in candidates if isinstance(node, Variable) or node in retained
    ]
    steps = new_steps()
    found = gradients({output: upstream}, variables, order, steps)
    check_steps(steps)
    given = []
    for variable in variables:
        collector = _collector_of(variable)
        if collector is not None and variable in found:
            _accumulate(collector, found[variable], create_graph)
            given.append(cast(TensorBase, collector.grad).storage)
            call_after_accumulation(collector)
    reverse_passes.given[self.storage] = [ref(storage) for storage in given]
    reverse_passes.add([self.storage], given)
    if retain_graph or (retain_graph is None and create_graph):
        kept_graphs.add(self.storage)
    outstanding.add(self.storage)


def _collector_of(node: Node) -> TensorBase | None:
    """The tensor, if it is alive, whose ``.grad`` a node's gradient is added to."""
    if isinstance(node, Variable):
        return collectors.get(node.key)
    return retained[node]()


def _is_without_gradient(node: Node) -> bool:
    return not node.has_variables


def _hides_gradients(node: Node) -> bool:
    return isinstance(node, Detached)


def _upstream(output: TensorBase, gradient: TensorBase | None) -> Node:
    """The gradient that an output starts with."""
    if output.storage in ended_graphs:
        raise GradientError(
            f"backward() again, after the optimiser's step, from the tensor made at "
            f"{output.line}: the weights it was computed with have changed",
            hint="compute it again, or call backward(retain_graph=True) before",
        )
    if not output.requires_grad:
        raise GradientError(
            "backward() from a tensor that does not depend on anything that "
            "requires a gradient",
            hint="set requires_grad=True on the inputs, outside of no_grad()",
        )
    node = output.real_node
    if gradient is not None:
        if gradient.shape != output.shape:
            raise ShapeError(
                f"backward(): the gradient has shape {gradient.shape}, "
                f"the tensor {output.shape}",
                hint="pass a gradient of the tensor's own shape",
            )
        if output.dtype.is_complex and not gradient.dtype.is_complex:
            return to_pairs(gradient.node, output.dtype)
        return gradient.real_node
    if output.dtype.is_complex:
        raise GradientError(
            f"backward() from a tensor of {output.dtype}: a loss is a real number",
            hint="take x.abs() or x.real of it, or pass backward(gradient)",
        )
    if node.numel != 1:
        raise GradientError(
            f"backward() from shape {node.shape}: which of its {node.numel} "
            "elements should be differentiated?",
            hint="reduce it first, x.sum().backward(), or pass backward(gradient)",
        )
    return broadcast_to(constant(1.0, node.dtype), node.shape)


def _accumulate(collector: TensorBase, node: Node, create_graph: bool) -> None:
    known = collector.grad
    if known is not None:
        node = Add(known.real_node, node)
    collector.grad = gradient_tensor(node, create_graph, collector)


def _as_list(value: Any) -> list[Any]:
    return [value] if isinstance(value, TensorBase) else list(value)


@keeps_whole
def grad(
    outputs: TensorBase | Sequence[TensorBase],
    inputs: TensorBase | Sequence[TensorBase],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """Gradients of the outputs' sum with respect to the inputs; ``.grad`` stays.

    >>> x = Tensor([3.0], requires_grad=True)
    >>> tetragrad.grad((x * x).sum(), x)
    (tensor([6.]),)

    Raises:
        GradientError: an input that the outputs do not depend on, unless
            ``allow_unused`` (its gradient is then None).
    """
    results, targets = _as_list(outputs), _as_list(inputs)
    upstreams = [None] * len(results)
    if grad_outputs is not None:
        upstreams = _as_list(grad_outputs)
    starts: dict[Node, Node] = {}
    for output, upstream in zip(results, upstreams, strict=True):
        start = _upstream(output, upstream)
        known = starts.get(output.real_node)
        starts[output.real_node] = start if known is None else Add(known, start)
    known_as = [_nodes_of(target, starts) for target in targets]
    steps = new_steps()
    wanted = [node for nodes in known_as for node in nodes]
    found = gradients(starts, wanted, steps=steps)
    check_steps(steps)
    parts: list[Tensor | None] = []
    for position, target in enumerate(targets):
        node = _sum_of([found[node] for node in known_as[position] if node in found])
        if node is None and not allow_unused:
            raise GradientError(
                f"grad(): the outputs do not depend on input {position} "
                f"of shape {target.shape}",
                hint="pass allow_unused=True to get None for it",
            )
        made = None if node is None else gradient_tensor(node, create_graph, target)
        parts.append(made)
    if not create_graph:
        given = [part.storage for part in parts if part is not None]
        reverse_passes.add([output.storage for output in results], given)
    return tuple(parts)


def _nodes_of(tensor: TensorBase, outputs: Iterable[Node]) -> list[Node]:
    """The nodes that stand for a tensor in a graph: its own, and maybe earlier ones.

    When a leaf's value has run, its node is another one, and that of a view of it as
    well: ``x[0]`` before is not ``x[0]`` after. A leaf's own are known by their key.
    """
    places = [
        position
        for position, step in enumerate(tensor.steps)
        if isinstance(step, Collected)
    ]
    if not places or places[-1] == len(tensor.steps) - 1:
        return [tensor.real_node]
    leaf, after = tensor.steps[places[-1]], tensor.steps[places[-1] + 1 :]
    nodes = [tensor.real_node]
    for node in walk(outputs, stop=_hides_gradients):
        if isinstance(node, Variable) and node.key == cast(Collected, leaf).key:
            for step in after:
                node = step.apply(node)
            nodes.append(node)
    return list(dict.fromkeys(nodes))


def _sum_of(parts: list[Node]) -> Node | None:
    return reduce(Add, parts) if parts else None


class Context:
    """What a function's ``forward`` keeps for its ``backward``."""

    def __init__(self) -> None:
        self._saved: tuple[Any, ...] = ()
        self.needs_input_grad: tuple[bool, ...] = ()
        self.without_gradient: tuple[Any, ...] = ()
        self.materialize_grads = True

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for ``backward``."""
        self._saved = tensors

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors that ``forward`` saved."""
        return self._saved

    def mark_non_differentiable(self, *outputs: Any) -> None:
        """Outputs of ``forward`` that have no gradient."""
        self.without_gradient = outputs

    def set_materialize_grads(self, value: bool) -> None:
        """Whether ``backward`` gets zeros, or else None, where there is no gradient."""
        self.materialize_grads = value

    def mark_dirty(self, *inputs: Any) -> None:
        """An error: a function gives new tensors."""
        raise UnsupportedError(
            "mark_dirty() of inputs that forward() changes in place",
            hint="return new tensors from forward()",
        )


class Function:
    """An operation with a gradient of the user's own.

    >>> class Double(tetragrad.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         return x * 2
    ...     @staticmethod
    ...     def backward(ctx, upstream):
    ...         return upstream * 2
    >>> x = Tensor([1.0], requires_grad=True)
    >>> Double.apply(x).backward()
    >>> x.grad
    tensor([2.])
    """

    @staticmethod
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute the result; gradients are not recorded inside."""
        raise NotImplementedError("a Function needs a static method forward(ctx, ...)")

    #: Given apart from a ``forward`` without a context, ``setup_context(ctx, inputs,
    #: output)`` keeps what ``backward`` needs.
    setup_context: Any = None

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        """One gradient (or None) for each argument of ``forward``."""
        raise NotImplementedError(
            "a Function needs a static method backward(ctx, upstream)"
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run ``forward`` and record the gradient that ``backward`` gives."""
        context = Context()
        context.needs_input_grad = tuple(
            isinstance(entry, TensorBase) and entry.requires_grad for entry in args
        )
        with no_grad():
            if cls.setup_context is None:
                outputs = cls.forward(context, *args, **kwargs)
            else:
                outputs = cls.forward(*args, **kwargs)
                cls.setup_context(context, args, outputs)
        if isinstance(outputs, TensorBase):
            return _with_rule(cls, context, args, [outputs], 0)
        listed = list(outputs)
        return tuple(
            _with_rule(cls, context, args, listed, position)
            for position in range(len(listed))
        )


def _with_rule(
    function: type[Function],
    context: Context,
    args: tuple[Any, ...],
    outputs: list[Any],
    position: int,
) -> Any:
    """One output of a function, with its share of the user's gradient."""
    output = outputs[position]
    tensors = [entry for entry in args if isinstance(entry, TensorBase)]
    if not (output.dtype.is_floating_point or output.dtype.is_complex):
        return output
    if any(output is entry for entry in context.without_gradient):
        return output

    def rule(upstream: Node) -> tuple[Node | None, ...]:
        # A gradient is linear in the upstream ones: the others count as zero here.
        is_filled = context.materialize_grads
        received = [entry.zeros_like() if is_filled else None for entry in outputs]
        received[position] = gradient_tensor(upstream, True, output)
        with enable_grad():
            given = function.backward(context, *received)
        return _input_gradients(function, args, given)

    inputs = tuple(entry.real_node for entry in tensors)
    node = CustomGradient(Detached(output.real_node), rule, inputs)
    wraps = wrap_pairs if output.dtype.is_complex else wrap
    return wraps(node, *tensors)


def _input_gradients(
    function: type[Function], args: tuple[Any, ...], given: Any
) -> tuple[Node | None, ...]:
    """The nodes of what a user's ``backward`` returned, for the tensors only."""
    listed = (given,) if given is None or isinstance(given, TensorBase) else given
    if len(listed) != len(args):
        raise GradientError(
            f"{function.__name__}.backward returned {len(listed)} gradients, "
            f"forward took {len(args)} arguments",
            hint="return one for each argument, None where there is none",
        )
    nodes: list[Node | None] = []
    for value, argument in zip(listed, args, strict=True):
        if not isinstance(argument, TensorBase):
            continue
        if value is not None and value.shape != argument.shape:
            raise GradientError(
                f"{function.__name__}.backward returned a gradient of shape "
                f"{value.shape} for an argument of shape {argument.shape}",
                hint="return a gradient of the argument's shape, or None",
            )
        nodes.append(None if value is None else fitted(value, argument))
    return tuple(nodes)


def checkpoint(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call ``function(*args)`` and keep nothing of it for the backward pass.

    What the gradient needs is computed again, with the same random numbers. Saves
    the memory of a large block for the time of running it twice.

    >>> x = Tensor([2.0], requires_grad=True)
    >>> tetragrad.checkpoint(lambda value: value * value, x).backward()
    >>> x.grad
    tensor([4.])
    """
    for hint in ("use_reentrant", "preserve_rng_state", "determinism_check"):
        kwargs.pop(hint, None)
    random_state = default_generator().state.storage
    drawn_before = random_state.value
    with enable_grad():
        output = function(*args, **kwargs)
    if not isinstance(output, TensorBase):
        raise GradientError(
            f"checkpoint() of a function that returns {type(output).__name__}",
            hint="return one tensor",
        )
    if not output.requires_grad:
        return output
    tensors = [entry for entry in args if isinstance(entry, TensorBase)]
    given = [entry.real_node for entry in tensors]
    hidden = _hidden_inputs(output.real_node, given)

    def rule(upstream: Node) -> tuple[Node | None, ...]:
        # New variables in place of the inputs make this another graph, so that
        # nothing of the first run is kept for it.
        fresh = [_fresh_input(entry) for entry in tensors]
        replacements = iter(fresh)
        inputs = [
            next(replacements) if isinstance(entry, TensorBase) else entry
            for entry in args
        ]
        drawn_after, random_state.value = random_state.value, drawn_before
        try:
            with enable_grad():
                again = function(*inputs, **kwargs)
        finally:
            random_state.value = drawn_after
        targets = [entry.real_node for entry in fresh] + hidden
        found = gradients({again.real_node: upstream}, targets)
        return tuple(found.get(node) for node in targets)

    node = CustomGradient(Detached(output.real_node), rule, (*given, *hidden))
    return output.alike(node)


def _hidden_inputs(output: Node, given: Sequence[Node]) -> list[Node]:
    """Variables that a function used without taking them as arguments: weights."""
    known = set(given)
    reachable = walk(
        [output], stop=lambda node: node in known or _hides_gradients(node)
    )
    return [
        node for node in reachable if isinstance(node, Variable) and node not in known
    ]


def _fresh_input(tensor: TensorBase) -> TensorBase:
    copied = tensor.detach()
    return copied.requires_grad_() if tensor.requires_grad else copied
