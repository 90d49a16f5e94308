"""Functions of functions, with the names of ``torch.func``: derivatives, and ``vmap``.

>>> from tetragrad.func import grad, vmap
>>> vmap(grad(lambda x: x ** 3))(Tensor([1.0, 2.0]))
tensor([ 3., 12.])
"""

from __future__ import annotations

from typing import Any

from tetragrad.core.errors import missing
from tetragrad.func.derivatives import (
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    value_and_grad,
    vjp,
)
from tetragrad.func.stateless import functional_call, stack_module_state
from tetragrad.func.vmapping import vmap

__all__ = [
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "stack_module_state",
    "value_and_grad",
    "vjp",
    "vmap",
]


def __getattr__(name: str) -> Any:
    raise missing(name, "tetragrad.func", __all__)
