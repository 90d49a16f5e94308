"""Switches of PyTorch's that programs turn, and what they mean here."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from tetragrad.backends.switches import turn_tf32
from tetragrad.core.settings import settings


def compile(model: Any = None, **options: Any) -> Any:
    """The model as it is: everything is compiled here, when it first runs.

    To skip the Python of a whole training step as well, capture it with ``jit``. The
    options are about how PyTorch compiles, and are ignored.

    >>> model = nn.Linear(2, 1)
    >>> tetragrad.compile(model, fullgraph=True) is model
    True
    """
    if model is not None:
        return model

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    return decorate


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Warn where a program may not give the same bits in every run: on a GPU.

    Sums are cut into parts by their sizes only, whatever the number of threads. But
    what is scattered on a GPU (the gradient of an embedding, ``index_add``) is added in
    the order in which threads come, and no switch changes that.

    >>> with tetragrad.core.settings.override(device="cpu"):
    ...     tetragrad.use_deterministic_algorithms(True)
    """
    if mode and not are_deterministic_algorithms_enabled():
        warnings.warn(
            "what is scattered on a GPU is added up in any order, so its last bits may "
            "differ from run to run; TETRAGRAD_DEVICE=cpu gives the same bits always",
            stacklevel=2,
        )


def are_deterministic_algorithms_enabled() -> bool:
    """Whether programs on the default device give the same bits in every run.

    >>> with tetragrad.core.settings.override(device="cpu"):
    ...     tetragrad.are_deterministic_algorithms_enabled()
    True
    """
    return not settings().device.startswith("cuda")


def set_float32_matmul_precision(precision: str) -> None:
    """Say how exact products of float32 matrices on a GPU are.

    Args:
        precision: "highest" is float32; "high" and "medium" let the matrix unit round
            operands to 11 binary digits (TF32), as the setting ``TETRAGRAD_TF32`` does.

    >>> before = tetragrad.get_float32_matmul_precision()
    >>> tetragrad.set_float32_matmul_precision("high")
    >>> tetragrad.get_float32_matmul_precision()
    'high'
    >>> tetragrad.set_float32_matmul_precision(before)
    """
    if precision not in ("highest", "high", "medium"):
        raise ValueError(
            f"precision is 'highest', 'high' or 'medium', not {precision!r}"
        )
    turn_tf32("products", is_allowed=precision != "highest")


def get_float32_matmul_precision() -> str:
    """How exact products of float32 matrices on a GPU are: "highest" or "high".

    >>> tetragrad.get_float32_matmul_precision()
    'highest'
    """
    return "high" if settings().tf32 else "highest"
