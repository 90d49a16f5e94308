"""Derivatives of functions at a point: jacobian, hessian, and products with vectors.

The same as in ``tetragrad.func``, called at once instead of giving functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tetragrad import func as transforms
from tetragrad.autograd.gradients import grad
from tetragrad.func.trees import leaves, mapped
from tetragrad.tensor import Tensor
from tetragrad.tensor.modes import enable_grad

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def jacobian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """All derivatives of a function of one tensor, or of a tuple of them.

    Args:
        func: returns a tensor or a tuple of tensors.
        inputs: a tensor or a tuple of tensors.
        create_graph: keep the result differentiable.
        strict: raise if an output does not depend on an input.
        vectorize: all rows are computed together anyway.
        strategy: 'reverse-mode' or 'forward-mode'.

    >>> tetragrad.autograd.functional.jacobian(lambda x: x * x, Tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise ValueError(
            f"strategy is 'reverse-mode' or 'forward-mode', not {strategy!r}"
        )
    if strict:
        _check_dependence(func, inputs)
    make = transforms.jacrev if strategy == "reverse-mode" else transforms.jacfwd
    return _finished(make(func, _positions(inputs))(*_tuple(inputs)), create_graph)


def hessian(
    func: Callable[..., Any],
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """All second derivatives of a function whose result is one number.

    >>> hessian = tetragrad.autograd.functional.hessian
    >>> hessian(lambda x: (x ** 3).sum(), Tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    if strict:
        _check_dependence(func, inputs)
    is_reverse = outer_jacobian_strategy == "reverse-mode"
    outer = transforms.jacrev if is_reverse else transforms.jacfwd
    positions = _positions(inputs)
    inner = transforms.grad(func, positions)
    return _finished(outer(inner, positions)(*_tuple(inputs)), create_graph)


def vjp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The result of a function, and vᵀ·J.

    >>> vjp = tetragrad.autograd.functional.vjp
    >>> vjp(lambda x: x * x, Tensor([3.0]), Tensor([1.0]))
    (tensor([9.]), tensor([6.]))
    """
    if strict:
        _check_dependence(func, inputs)
    output, pull = transforms.vjp(func, *_tuple(inputs))
    given = mapped(Tensor.ones_like, output) if v is None else v
    found = pull(*_tuple(given))
    found = found if isinstance(inputs, tuple) else found[0]
    return _finished(output, create_graph), _finished(found, create_graph)


def jvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The result of a function, and J·v.

    >>> jvp = tetragrad.autograd.functional.jvp
    >>> jvp(lambda x: x * x, Tensor([3.0]), Tensor([1.0]))
    (tensor([9.]), tensor([6.]))
    """
    given = mapped(Tensor.ones_like, inputs) if v is None else v
    pair = transforms.jvp(func, _tuple(inputs), _tuple(given), strict=strict)
    output, found = (_finished(entry, create_graph) for entry in pair)
    return output, found


def vhp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The result of a function, which is one number, and vᵀ·H.

    >>> vhp = tetragrad.autograd.functional.vhp
    >>> vhp(lambda x: (x ** 3).sum(), Tensor([2.0]), Tensor([1.0]))
    (tensor(8.), tensor([12.]))
    """
    given = mapped(Tensor.ones_like, inputs) if v is None else v
    slopes = transforms.grad_and_value(func, _positions(inputs))
    _, pull, output = transforms.vjp(slopes, *_tuple(inputs), has_aux=True)
    found = pull(*_tuple(given))
    found = found if isinstance(inputs, tuple) else found[0]
    return _finished(output, create_graph), _finished(found, create_graph)


def hvp(
    func: Callable[..., Any],
    inputs: Any,
    v: Any = None,
    create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:
    """The result of a function, which is one number, and H·v: ``vhp``, as H is
    symmetric.

    >>> hvp = tetragrad.autograd.functional.hvp
    >>> hvp(lambda x: (x ** 3).sum(), Tensor([2.0]), Tensor([1.0]))
    (tensor(8.), tensor([12.]))
    """
    return vhp(func, inputs, v, create_graph, strict)


def _tuple(inputs: Any) -> tuple[Any, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)


def _positions(inputs: Any) -> int | tuple[int, ...]:
    return tuple(range(len(inputs))) if isinstance(inputs, tuple) else 0


def _finished(tree: Any, create_graph: bool) -> Any:
    return tree if create_graph else mapped(Tensor.detach, tree)


def _check_dependence(func: Callable[..., Any], inputs: Any) -> None:
    """Raise if some output does not depend on some input."""
    watched = [entry.detach().requires_grad_() for entry in _tuple(inputs)]
    with enable_grad():
        outputs = leaves(func(*watched))
        for output in outputs:
            grad(output.sum(), watched)
