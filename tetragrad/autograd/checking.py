"""Gradients against differences of values: for functions with rules of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tetragrad.autograd.gradients import grad
from tetragrad.core.errors import TetragradError
from tetragrad.func.trees import leaves
from tetragrad.tensor import Tensor
from tetragrad.tensor.modes import enable_grad, no_grad


class GradcheckError(TetragradError, RuntimeError):
    """A gradient that is not the slope of its function.

    >>> issubclass(tetragrad.autograd.GradcheckError, RuntimeError)
    True
    """


def gradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    **options: Any,
) -> bool:
    """Compare the gradients of a function with central differences of its values.

    Args:
        func: takes tensors, gives one or several.
        inputs: those that require a gradient are checked; they should be float64.
        eps: half the distance between the values.
        atol, rtol: how far gradients may be away.
        raise_exception: raise if one is wrong, instead of giving False.

    Raises:
        GradcheckError: a gradient is wrong, or no input requires one.

    >>> x = Tensor([0.5, 2.0], dtype="float64", requires_grad=True)
    >>> tetragrad.autograd.gradcheck(lambda x: x.sin() * x, (x,))
    True
    """
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    checked = [
        position
        for position, entry in enumerate(given)
        if isinstance(entry, Tensor) and entry.requires_grad
    ]
    if not checked:
        raise GradcheckError(
            "gradcheck() of inputs that do not require a gradient",
            hint="pass float64 tensors with requires_grad=True",
        )
    with enable_grad():
        outputs = [
            entry
            for entry in leaves(func(*given))
            if isinstance(entry, Tensor) and entry.dtype.is_floating_point
        ]
    for position in checked:
        numeric = _differences(func, given, position, eps)
        for number, output in enumerate(outputs):
            rows = _rows(output, given[position])
            if np.allclose(rows, numeric[number], rtol, atol, equal_nan=True):
                continue
            if not raise_exception:
                return False
            raise GradcheckError(
                f"the gradient of output {number} by input {position} is wrong; from "
                f"differences\n{numeric[number]}\nfrom backward\n{rows}",
                hint="if the values are float32, pass float64 ones",
            )
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    grad_outputs: Any = None,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    **options: Any,
) -> bool:
    """``gradcheck`` of the gradients: second derivatives.

    >>> x = Tensor([0.5, 2.0], dtype="float64", requires_grad=True)
    >>> tetragrad.autograd.gradgradcheck(lambda x: x.sin() * x, (x,))
    True
    """
    given = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    with no_grad():
        values = leaves(func(*given))
    # Different upstream gradients, so that mistakes do not cancel.
    upstream = grad_outputs or [value.detach().cos() for value in values]

    def slopes(*values: Any) -> tuple[Tensor | None, ...]:
        with enable_grad():
            watched = [_watched(entry) for entry in values]
            outputs = leaves(func(*watched))
            targets = [entry for entry in watched if _has_gradient(entry)]
            return grad(
                outputs, targets, upstream, create_graph=True, materialize_grads=True
            )

    return gradcheck(slopes, given, eps, atol, rtol)


def _watched(value: Any) -> Any:
    """A value that gradients can be taken by, if it is a floating-point tensor."""
    is_float = isinstance(value, Tensor) and value.dtype.is_floating_point
    if not is_float or value.requires_grad:
        return value
    return value.detach().requires_grad_()


def _has_gradient(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _rows(output: Tensor, by: Tensor) -> np.ndarray:
    """All derivatives of an output by an input, one row for each output element."""
    if not output.requires_grad:
        return np.zeros((output.numel(), by.numel()))
    unit = Tensor.eye(output.numel(), dtype=output.dtype, device=output.device)
    upstream = unit.reshape(output.numel(), *output.shape)
    (found,) = grad(output, by, upstream, is_grads_batched=True)
    assert found is not None
    return found.reshape(output.numel(), by.numel()).numpy(force=True)


def _differences(
    func: Callable[..., Any], given: list[Any], position: int, eps: float
) -> list[np.ndarray]:
    """The same from values, for each output: one column for each input element."""
    start = given[position].detach().numpy()
    columns: list[list[np.ndarray]] = []
    for element in np.ndindex(start.shape):
        ends = []
        for step in (eps, -eps):
            moved = start.copy()
            moved[element] += step
            ends.append(_values(func, given, position, moved))
        columns.append(
            [(above - below) / (2 * eps) for above, below in zip(*ends, strict=True)]
        )
    return [np.stack(parts, 1) for parts in zip(*columns, strict=True)]


def _values(
    func: Callable[..., Any], given: list[Any], position: int, moved: np.ndarray
) -> list[np.ndarray]:
    """The elements of every floating-point output, with one input moved."""
    values = list(given)
    values[position] = Tensor(moved)
    with no_grad():
        outputs = leaves(func(*values))
    return [
        entry.detach().numpy().reshape(-1)
        for entry in outputs
        if isinstance(entry, Tensor) and entry.dtype.is_floating_point
    ]
