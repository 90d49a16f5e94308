"""How a tensor is printed: as PyTorch prints it.

>>> Tensor([[1.0, -2.5]])
tensor([[ 1.0000, -2.5000]])
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from typing import Any

import numpy as np

from tetragrad.core.frozen import frozen
from tetragrad.core.settings import settings
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.promotion import PYTHON_DTYPES, default_float


@frozen
class PrintOptions:
    """How tensors are printed; tensors above the threshold are summarised."""

    precision: int = 4
    threshold: int = 1000
    edgeitems: int = 3
    linewidth: int = 80
    sci_mode: bool | None = None


#: What ``profile`` names.
PROFILES = {
    "default": PrintOptions(),
    "short": PrintOptions(precision=2, edgeitems=2),
    "full": PrintOptions(threshold=sys.maxsize),
}
_options = PrintOptions()


def set_printoptions(
    precision: int | None = None,
    threshold: int | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Say how tensors are printed from now on; what is None stays as it is.

    Args:
        precision: digits after the point.
        threshold: tensors of more elements are summarised.
        edgeitems: how many at each edge are then shown.
        linewidth: characters of a line.
        profile: "default", "short" or "full", before the others are applied.
        sci_mode: always or never with an exponent; None decides by the elements.

    >>> tetragrad.set_printoptions(precision=2)
    >>> Tensor([1 / 3])
    tensor([0.33])
    >>> tetragrad.set_printoptions(profile="default")
    """
    global _options
    if profile is not None and profile not in PROFILES:
        raise ValueError(f"profile is one of {', '.join(PROFILES)}, not {profile!r}")
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    base = _options if profile is None else PROFILES[profile]
    changed = {name: value for name, value in given.items() if value is not None}
    _options = replace(base, **changed, sci_mode=sci_mode)


def describe(tensor: TensorBase, name: str = "tensor") -> str:
    """The text of ``repr(tensor)``, or of what else shows it under its own name."""
    array = tensor.read()
    indent = len(name) + 1
    body = "[]" if array.size == 0 else _block(array, _formatter(array), indent)
    suffixes = _suffixes(tensor, array)
    last_line = body.rsplit("\n", 1)[-1]
    used = len(last_line) + (indent if "\n" not in body else 0)
    text = f"{name}({body}"
    for suffix in suffixes:
        if used + len(suffix) + 3 > _options.linewidth:
            text += f",\n{' ' * indent}{suffix}"
            used = indent + len(suffix)
        else:
            text += f", {suffix}"
            used += len(suffix) + 2
    return f"{text})"


def _suffixes(tensor: TensorBase, array: np.ndarray) -> list[str]:
    suffixes = []
    if array.size == 0 and array.ndim != 1:
        suffixes.append(f"size={tuple(array.shape)}")
    # What the same literals would give again need not be said.
    is_obvious = tensor.dtype in PYTHON_DTYPES.values()
    if not is_obvious or (array.size == 0 and tensor.dtype is not default_float()):
        suffixes.append(f"dtype=tetragrad.{tensor.dtype}")
    if tensor.device != settings().device:
        suffixes.append(f"device={tensor.device!r}")
    if tensor.requires_grad:
        suffixes.append("requires_grad=True" if tensor.is_leaf else _gradient(tensor))
    return suffixes


def _gradient(tensor: TensorBase) -> str:
    return f"grad_fn=<{type(tensor.node).__name__}>"


def _shown(array: np.ndarray) -> np.ndarray:
    """The elements that will be printed."""
    if array.size <= _options.threshold:
        return array
    edge = _options.edgeitems
    for axis, size in enumerate(array.shape):
        if size > 2 * edge:
            edges = np.r_[0:edge, size - edge : size]
            array = np.take(array, edges, axis=axis)
    return array


class _Formatter:
    """Writes every element of one tensor with the same width and precision."""

    def __init__(self, pattern: str, summarises: bool) -> None:
        self.pattern = pattern
        self.summarises = summarises
        self.width = 0

    def __call__(self, value: Any) -> str:
        return self.text(value).rjust(self.width)

    def text(self, value: Any) -> str:
        if self.pattern == "str":
            return str(value)
        if not math.isfinite(value):
            return str(float(value))
        return format(float(value), self.pattern) + (
            "." if self.pattern == ".0f" else ""
        )


class _ComplexFormatter:
    """Writes both parts of complex numbers, each with a format of its own."""

    def __init__(self, array: np.ndarray) -> None:
        self.real, self.imag = _formatter(array.real), _formatter(array.imag)
        self.summarises = self.real.summarises

    def __call__(self, value: Any) -> str:
        return self._joined(self.real(value.real), self.imag(value.imag))

    def text(self, value: Any) -> str:
        return self._joined(self.real.text(value.real), self.imag.text(value.imag))

    def _joined(self, real: str, imag: str) -> str:
        imag = imag.lstrip()
        return f"{real}{'' if imag.startswith('-') else '+'}{imag}j"


def _formatter(array: np.ndarray) -> Any:
    if array.dtype.kind == "c":
        return _ComplexFormatter(array)
    shown = _shown(array)
    pattern = "str"
    if shown.dtype.kind not in "biu":
        wide = shown.astype(np.float64)
        pattern = _float_pattern(wide[np.isfinite(wide)])
    formatter = _Formatter(pattern, array.size > _options.threshold)
    # Zeros, infinities and NaN are narrow, and may stick out, as in PyTorch.
    is_counted = (shown != 0) & np.isfinite(shown) if pattern != "str" else True
    counted = shown[np.broadcast_to(is_counted, shown.shape)]
    formatter.width = max((len(formatter.text(entry)) for entry in counted), default=0)
    return formatter


def _float_pattern(finite: np.ndarray) -> str:
    nonzero = np.abs(finite[finite != 0])
    if nonzero.size == 0:
        return ".0f"
    low, high = nonzero.min(), nonzero.max()
    is_whole = bool(np.all(finite == np.round(finite)))
    is_wide = high > 1e8 or high / low > (1e8 if is_whole else 1000)
    has_exponent = _options.sci_mode
    if has_exponent is None:
        has_exponent = is_wide or (not is_whole and low < 1e-4)
    if has_exponent:
        return f".{_options.precision}e"
    return ".0f" if is_whole else f".{_options.precision}f"


def _block(array: np.ndarray, write: Any, indent: int) -> str:
    """Nested brackets, one line for each row that fits."""
    if array.ndim == 0:
        return write.text(array.item() if array.dtype.kind in "biu" else array[()])
    parts: list[str] = []
    count, edge = len(array), _options.edgeitems
    summarise = write.summarises and count > 2 * edge
    positions: list[int | None] = list(range(count))
    if summarise:
        positions = [*range(edge), None, *range(count - edge, count)]
    inner = indent + 1
    for position in positions:
        if position is None:
            parts.append("..." if array.ndim > 1 else " ...")
        elif array.ndim == 1:
            parts.append(write(array[position]))
        else:
            parts.append(_block(array[position], write, inner))
    if array.ndim == 1:
        return f"[{_wrapped(parts, inner)}]"
    separator = "," + "\n" * (array.ndim - 1) + " " * inner
    return f"[{separator.join(parts)}]"


def _wrapped(parts: list[str], indent: int) -> str:
    width = max(map(len, parts), default=0) + 2
    # As in PyTorch, the bracket that opens the row is not counted.
    per_line = max(1, (_options.linewidth - indent + 1) // width)
    rows = [parts[start : start + per_line] for start in range(0, len(parts), per_line)]
    return f",\n{' ' * indent}".join(", ".join(row) for row in rows)
