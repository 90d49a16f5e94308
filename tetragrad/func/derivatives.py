"""Derivatives of functions, as functions: grad, vjp, jvp, jacobians and hessians.

Each watches its arguments by a variable of its own, so transformations nest; none
touches ``.grad``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tetragrad.core.errors import DTypeError, GradientError, ShapeError
from tetragrad.func.trees import leaves, mapped, rebuilt
from tetragrad.func.vmapping import vmap
from tetragrad.graph import tangents as forward_mode
from tetragrad.graph.elementwise import Add
from tetragrad.graph.gradients import gradients
from tetragrad.graph.markers import Detached, Variable
from tetragrad.graph.node import Node, walk
from tetragrad.tensor import Tensor
from tetragrad.tensor.base import new_key
from tetragrad.tensor.modes import enable_grad, is_grad_enabled
from tetragrad.tensor.pairs import to_pairs
from tetragrad.tensor.storage import AS_COMPLEX

#: A position among the arguments, or several.
Positions = int | tuple[int, ...]


class Watch:
    """Arguments that a function is differentiated by, each behind a new variable."""

    def __init__(self, trees: Any) -> None:
        self.trees = trees
        self.given = leaves(trees)
        for value in self.given:
            _check_floating(value)
        self.nodes: list[Node] = [
            Variable(value.real_node, new_key()) for value in self.given
        ]
        plain = [value.real_node for value in self.given]
        self._plain = dict(zip(self.nodes, plain, strict=True))

    def arguments(self) -> Any:
        """The trees with watched tensors in place of those that were given."""
        pairs = zip(self.nodes, self.given, strict=True)
        watched = [_tensor(node, value, tracked=True) for node, value in pairs]
        return rebuilt(self.trees, iter(watched))

    def released(self, nodes: Sequence[Node], like: Sequence[Tensor]) -> list[Tensor]:
        """Results without our variables: what is left to differentiate is outside."""
        plain = without_variables(nodes, self._plain)
        return [
            _tensor(node, value, tracked=node.has_variables and is_grad_enabled())
            for node, value in zip(plain, like, strict=True)
        ]

    def pulled_back(self, starts: dict[Node, Node]) -> Any:
        """The gradients of the arguments, in their form; zeros where there are none."""
        found = gradients(starts, self.nodes)
        nodes = [
            found[node] if node in found else value.zeros_like().real_node
            for node, value in zip(self.nodes, self.given, strict=True)
        ]
        return rebuilt(self.trees, iter(self.released(nodes, self.given)))


def without_variables(nodes: Sequence[Node], replaced: dict[Node, Node]) -> list[Node]:
    """The same graph with some nodes replaced."""
    known = dict(replaced)
    for node in walk(nodes, stop=replaced.__contains__):
        if node in known:
            continue
        sources = tuple(known.get(source, source) for source in node.sources)
        if sources != node.sources:
            known[node] = node.replace_sources(sources)
    return [known.get(node, node) for node in nodes]


def _tensor(node: Node, like: Tensor, *, tracked: bool) -> Tensor:
    made = Tensor.from_node(node if tracked else Detached(node), tracked=tracked)
    if like.dtype.is_complex:
        made.steps = (AS_COMPLEX,)
    return made


def _check_floating(value: Any) -> None:
    if not isinstance(value, Tensor):
        raise DTypeError(
            f"a derivative by {type(value).__name__} {value!r:.60}",
            hint="differentiate by tensors; argnums says by which arguments",
        )
    if not (value.dtype.is_floating_point or value.dtype.is_complex):
        raise DTypeError(
            f"a derivative by a tensor of {value.dtype}",
            hint="convert it first: x.float()",
        )


def grad(
    func: Callable[..., Any], argnums: Positions = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """The function that gives the gradient of ``func``, whose result is one number.

    Args:
        func: returns a tensor with one element, or that and anything else if
            ``has_aux``.
        argnums: by which positional arguments, which may be nested containers.
        has_aux: also return what ``func`` returned besides: (gradient, aux).

    >>> tetragrad.func.grad(lambda x: (x ** 3).sum())(Tensor([1.0, 2.0]))
    tensor([ 3., 12.])
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


def grad_and_value(
    func: Callable[..., Any], argnums: Positions = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Like ``grad``; the function gives (gradient, value), or (gradient, (value, aux)).

    >>> tetragrad.func.grad_and_value(lambda x: (x ** 3).sum())(Tensor([2.0]))
    (tensor([12.]), tensor(8.))
    """

    @functools.wraps(func)
    def both(*args: Any, **kwargs: Any) -> Any:
        watch, arguments = _watched(args, argnums)
        with enable_grad():
            result = func(*arguments, **kwargs)
            value, aux = _split(result, has_aux)
            _check_number(value)
        found = watch.pulled_back({value.real_node: value.ones_like().real_node})
        (plain,) = watch.released([value.real_node], [value])
        return found, ((plain, _released_tree(watch, aux)) if has_aux else plain)

    return both


def value_and_grad(
    func: Callable[..., Any], argnums: Positions = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """``grad_and_value`` in JAX's order: the function gives (value, gradient).

    >>> tetragrad.func.value_and_grad(lambda x: (x ** 3).sum())(Tensor([2.0]))
    (tensor(8.), tensor([12.]))
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def swapped(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return value, found

    return swapped


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The result of ``func``, and a function from its gradient to the arguments'.

    Returns:
        (result, vjp_fn), or (result, vjp_fn, aux) if ``has_aux``. ``vjp_fn`` takes one
        cotangent for each tensor of the result and gives one gradient for each
        argument: alone for one argument, else a tuple.

    >>> value, pull = tetragrad.func.vjp(lambda x: x * x, Tensor([3.0]))
    >>> value, pull(Tensor([1.0]))
    (tensor([9.]), (tensor([6.]),))
    """
    watch = Watch(primals)
    with enable_grad():
        output, aux = _split(func(*watch.arguments()), has_aux)
    values = _tensors_of(output, "vjp")
    results = watch.released([value.real_node for value in values], values)

    def vjp_fn(*cotangents: Any) -> Any:
        given = leaves(cotangents[0] if len(cotangents) == 1 else cotangents)
        starts = _starts(values, given)
        return watch.pulled_back(starts)

    result = rebuilt(output, iter(results))
    return (result, vjp_fn, _released_tree(watch, aux)) if has_aux else (result, vjp_fn)


def jvp(
    func: Callable[..., Any],
    primals: Sequence[Any],
    tangents: Sequence[Any],
    *,
    strict: bool = False,
    has_aux: bool = False,
) -> Any:
    """The result of ``func``, and how it changes when the arguments change by tangents.

    Args:
        func: takes the primals and returns tensors.
        primals: the arguments.
        tangents: a tensor for each tensor in the arguments, of its shape.
        strict: raise if a result does not depend on the arguments.
        has_aux: ``func`` returns something besides, which comes third.

    >>> jvp = tetragrad.func.jvp
    >>> jvp(lambda x: x * x, (Tensor([3.0]),), (Tensor([1.0]),))
    (tensor([9.]), tensor([6.]))
    """
    watch = Watch(tuple(primals))
    given = leaves(tuple(tangents))
    _check_alike("jvp", watch.given, given)
    with enable_grad():
        output, aux = _split(func(*watch.arguments()), has_aux)
        moved = _pushed_forward(watch, _tensors_of(output, "jvp"), given, strict)
    values = leaves(output)
    results = watch.released([value.real_node for value in values], values)
    pair = rebuilt(output, iter(results)), rebuilt(output, iter(moved))
    return (*pair, _released_tree(watch, aux)) if has_aux else pair


def _pushed_forward(
    watch: Watch, values: list[Tensor], given: list[Tensor], strict: bool
) -> list[Tensor]:
    """The tangents of results, from those of the arguments."""
    pairs = zip(watch.nodes, given, watch.given, strict=True)
    changes = {node: _fitted(tangent, value) for node, tangent, value in pairs}
    found = forward_mode.tangents([value.real_node for value in values], changes)
    if strict and None in found:
        raise GradientError(
            f"jvp(strict=True): result {found.index(None)} does not depend on the "
            "arguments",
            hint="pass strict=False to get zeros for it",
        )
    nodes = [
        value.zeros_like().real_node if node is None else node
        for node, value in zip(found, values, strict=True)
    ]
    return watch.released(nodes, values)


def linearize(
    func: Callable[..., Any], *primals: Any
) -> tuple[Any, Callable[..., Any]]:
    """The result of ``func``, and the linear function from tangents to its change.

    >>> value, push = tetragrad.func.linearize(lambda x: x * x, Tensor([3.0]))
    >>> push(Tensor([1.0])), push(Tensor([2.0]))
    (tensor([6.]), tensor([12.]))
    """
    watch = Watch(primals)
    with enable_grad():
        output = func(*watch.arguments())
    values = _tensors_of(output, "linearize")
    results = watch.released([value.real_node for value in values], values)

    def jvp_fn(*given: Any) -> Any:
        listed = leaves(given)
        _check_alike("linearize", watch.given, listed)
        return rebuilt(output, iter(_pushed_forward(watch, values, listed, False)))

    return rebuilt(output, iter(results)), jvp_fn


def jacrev(
    func: Callable[..., Any],
    argnums: Positions = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """The function that gives all derivatives of ``func``, one row at a time at once.

    The result has, for every result of ``func`` and every argument, the shape of the
    one followed by that of the other. Made of gradients: best where there are fewer
    results than arguments.

    >>> tetragrad.func.jacrev(lambda x: x * x)(Tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    @functools.wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        chosen, call = _by_position(func, args, kwargs, argnums)
        output, pull, *aux = vjp(call, *chosen, has_aux=has_aux)
        values = leaves(output)
        rows = []
        for number, value in enumerate(values):
            basis = _basis(value)
            alone = functools.partial(_pull_one, pull, values, number)
            parts = vmap(alone, chunk_size=chunk_size)(basis)
            parts = mapped(functools.partial(_with_rows, value), parts)
            rows.append(parts if isinstance(argnums, tuple) else parts[0])
        result = rebuilt(output, iter(rows))
        return (result, aux[0]) if has_aux else result

    return jacobian


def _pull_one(pull: Any, values: list[Tensor], number: int, cotangent: Tensor) -> Any:
    """The gradients of one result alone."""
    given = [
        cotangent if position == number else value.zeros_like()
        for position, value in enumerate(values)
    ]
    return pull(*given)


def _with_rows(value: Tensor, part: Tensor) -> Tensor:
    return part.reshape(*value.shape, *part.shape[1:])


def jacfwd(
    func: Callable[..., Any],
    argnums: Positions = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Like ``jacrev``, made of tangents: best where there are fewer arguments.

    >>> tetragrad.func.jacfwd(lambda x: x * x)(Tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """

    @functools.wraps(func)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        chosen, call = _by_position(func, args, kwargs, argnums)
        primals = leaves(chosen)
        columns = []
        for number, primal in enumerate(primals):

            def push(direction: Tensor, number: int = number) -> Any:
                given = [
                    direction if position == number else value.zeros_like()
                    for position, value in enumerate(primals)
                ]
                changes = rebuilt(chosen, iter(given))
                return jvp(call, chosen, changes, has_aux=has_aux)[1]

            mapping = vmap(push, randomness=randomness, chunk_size=chunk_size)
            found = mapping(_basis(primal))
            columns.append(mapped(functools.partial(_with_columns, primal), found))
        result = _by_result(columns, chosen, isinstance(argnums, tuple))
        # What is returned besides is computed apart from the directions.
        return (result, call(*chosen)[1]) if has_aux else result

    return jacobian


def _with_columns(primal: Tensor, part: Tensor) -> Tensor:
    moved = part.movedim(0, -1)
    return moved.reshape(*part.shape[1:], *primal.shape)


def _by_result(columns: list[Any], chosen: Any, is_tuple: bool) -> Any:
    """For every result the derivatives by all arguments, from the other way round."""
    rows = []
    for entries in zip(*map(leaves, columns), strict=True):
        by_argument = rebuilt(chosen, iter(entries))
        rows.append(by_argument if is_tuple else by_argument[0])
    return rebuilt(columns[0], iter(rows))


def hessian(func: Callable[..., Any], argnums: Positions = 0) -> Callable[..., Any]:
    """The function that gives all second derivatives of ``func``.

    Source: forward over reverse, as in Griewank and Walther, "Evaluating
    Derivatives", 2008.

    >>> tetragrad.func.hessian(lambda x: (x ** 3).sum())(Tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)


# --- common pieces --------------------------------------------------------------------


def _by_position(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Any, argnums: Positions
) -> tuple[tuple[Any, ...], Callable[..., Any]]:
    """The arguments at some positions, and ``func`` as a function of those alone."""
    positions = argnums if isinstance(argnums, tuple) else (argnums,)
    for position in positions:
        if not -len(args) <= position < len(args):
            raise GradientError(
                f"argnums={argnums} of a call with {len(args)} positional arguments",
                hint="argnums counts positional arguments from 0",
            )

    def call(*chosen: Any) -> Any:
        whole = list(args)
        for position, value in zip(positions, chosen, strict=True):
            whole[position] = value
        return func(*whole, **kwargs)

    return tuple(args[position] for position in positions), call


def _watched(args: tuple[Any, ...], argnums: Positions) -> tuple[Watch, list[Any]]:
    """Arguments of which some are watched; alone if ``argnums`` is one number."""
    chosen, _ = _by_position(lambda *_: None, args, {}, argnums)
    watch = Watch(chosen if isinstance(argnums, tuple) else chosen[0])
    found = watch.arguments() if isinstance(argnums, tuple) else (watch.arguments(),)
    positions = argnums if isinstance(argnums, tuple) else (argnums,)
    whole = list(args)
    for position, value in zip(positions, found, strict=True):
        whole[position] = value
    return watch, whole


def _split(result: Any, has_aux: bool) -> tuple[Any, Any]:
    if not has_aux:
        return result, None
    if not isinstance(result, tuple) or len(result) != 2:
        raise GradientError(
            f"has_aux=True of a function that returned {type(result).__name__}",
            hint="return a pair: what to differentiate, and anything else",
        )
    return result


def _released_tree(watch: Watch, tree: Any) -> Any:
    """The tensors of a tree without our variables; other things as they are."""
    tensors = [leaf for leaf in leaves(tree) if isinstance(leaf, Tensor)]
    plain = iter(watch.released([value.real_node for value in tensors], tensors))
    return mapped(lambda leaf: next(plain) if isinstance(leaf, Tensor) else leaf, tree)


def _check_number(value: Any) -> None:
    if not isinstance(value, Tensor) or value.numel() != 1 or value.dtype.is_complex:
        shown = value.shape if isinstance(value, Tensor) else type(value).__name__
        raise GradientError(
            f"grad() of a function that returned {shown}",
            hint="return one real number, such as a loss; or use jacrev()",
        )


def _tensors_of(output: Any, name: str) -> list[Tensor]:
    values = leaves(output)
    for value in values:
        if not isinstance(value, Tensor):
            raise GradientError(
                f"{name}() of a function that returned {type(value).__name__}",
                hint="return tensors, nested in tuples, lists and dictionaries",
            )
    return values


def _check_alike(name: str, primals: list[Tensor], given: list[Tensor]) -> None:
    shapes = [value.shape for value in primals], [value.shape for value in given]
    if shapes[0] != shapes[1]:
        raise ShapeError(
            f"{name}(): the arguments have shapes {shapes[0]}, what goes with them "
            f"{shapes[1]}",
            hint="pass one tensor for each, of its shape",
        )


def _starts(values: list[Tensor], given: list[Tensor]) -> dict[Node, Node]:
    """The upstream gradient of each result's node."""
    _check_alike("vjp", values, given)
    starts: dict[Node, Node] = {}
    for value, cotangent in zip(values, given, strict=True):
        node = _fitted(cotangent, value)
        known = starts.get(value.real_node)
        starts[value.real_node] = node if known is None else Add(known, node)
    return starts


def _fitted(given: Tensor, like: Tensor) -> Node:
    """A tangent's node in the dtype of what it goes with."""
    if like.dtype.is_complex and not given.dtype.is_complex:
        return to_pairs(given.node, like.dtype)
    return given.to(like.dtype).real_node


def _basis(value: Tensor) -> Tensor:
    """A unit vector for each element, along a new first dimension."""
    count = value.numel()
    unit = Tensor.eye(count, dtype=value.dtype, device=value.device)
    return unit.reshape(count, *value.shape)
