"""Writes PTX: registers, instructions, and values that are computed only once.

Registers are assigned once, so an instruction's text names its result: where the same
text is asked for again in a scope that still sees the first result, that one is used.
Only the carriers of loops are assigned again, by :meth:`Builder.move`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen

Number = int | float | bool


@frozen
class Value:
    """A register or an immediate, and the dtype whose value it holds.

    Narrow integers are held extended to 32 bits, narrow floats as float32, and
    bools as predicates.
    """

    text: str
    dtype: DType
    constant: Number | None = None


def register_class(dtype: DType) -> str:
    """The PTX type of the registers that hold a dtype."""
    if dtype.is_bool:
        return "pred"
    if dtype.is_floating_point:
        return "f64" if dtype.bits == 64 else "f32"
    return "b64" if dtype.bits == 64 else "b32"


def arithmetic_type(dtype: DType) -> str:
    """The type that arithmetic instructions on a dtype are given."""
    if dtype.is_floating_point:
        return register_class(dtype)
    width = 64 if dtype.bits == 64 else 32
    return f"s{width}" if dtype.is_signed else f"u{width}"


_PREFIXES = {
    "pred": "%p",
    "b16": "%h",
    "b32": "%r",
    "b64": "%d",
    "f32": "%f",
    "f64": "%g",
}


def float32_text(value: float) -> str:
    """An immediate float32, by its bits."""
    return f"0f{struct.unpack('<I', struct.pack('<f', value))[0]:08X}"


def float64_text(value: float) -> str:
    """An immediate float64, by its bits."""
    return f"0d{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


class Builder:
    """The body of one kernel, growing line by line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._counts = dict.fromkeys(_PREFIXES, 0)
        self._labels = 0
        #: Registers of loops, which instructions may change in place.
        self.changing: set[str] = set()
        # What each scope around this place has computed: instruction -> registers.
        self._known: list[dict[object, tuple[str, ...]]] = [{}]

    # --- registers and lines -----------------------------------------------------

    def register(self, kind: str) -> str:
        """A new register of a PTX type."""
        self._counts[kind] += 1
        return f"{_PREFIXES[kind]}{self._counts[kind]}"

    def line(self, text: str) -> None:
        """Append one instruction."""
        self.lines.append(f"\t{text};")

    def first_line(self, text: str) -> None:
        """Put an instruction in front of all others."""
        self.lines.insert(0, f"\t{text};")

    def label(self) -> str:
        """A new name for a place in the code."""
        self._labels += 1
        return f"L{self._labels}"

    def place(self, label: str) -> None:
        """Say that a label is here."""
        self.lines.append(f"{label}:")

    def declarations(self) -> list[str]:
        """The registers in use, as PTX wants them declared."""
        return [
            f"\t.reg .{kind} {_PREFIXES[kind]}<{count + 1}>;"
            for kind, count in self._counts.items()
            if count
        ]

    # --- instructions ------------------------------------------------------------

    def known(self, key: object) -> tuple[str, ...] | None:
        """The registers that hold what a key stands for, where it is computed."""
        for scope in reversed(self._known):
            found = scope.get(key)
            if found is not None:
                return found
        return None

    def remember(self, key: object, registers: Sequence[str]) -> None:
        """Say which registers hold what a key stands for."""
        self._known[-1][key] = tuple(registers)

    def assign(self, kind: str, instruction: str, operands: str) -> str:
        """The register with the result of an instruction that only computes."""
        key = (kind, instruction, operands)
        found = self.known(key)
        if found is not None:
            return found[0]
        result = self.register(kind)
        self.line(f"{instruction} {result}, {operands}")
        self.remember(key, (result,))
        return result

    def compute(self, instruction: str, dtype: DType, *operands: Value) -> Value:
        """An instruction on values, whose result has a dtype."""
        texts = ", ".join(self.text(operand) for operand in operands)
        return Value(self.assign(register_class(dtype), instruction, texts), dtype)

    def text(self, value: Value) -> str:
        """A value as an operand; predicates have no immediates."""
        if value.dtype.is_bool and value.constant is not None:
            return self.assign("pred", "setp.ne.u32", f"{int(value.constant)}, 0")
        return value.text

    def move(self, target: str, kind: str, value: Value) -> None:
        """Assign a carrier again."""
        self.line(f"mov.{kind} {target}, {self.text(value)}")

    # --- control -----------------------------------------------------------------

    @property
    def is_inside_scope(self) -> bool:
        """Whether the code that is written now may be left out, or run again."""
        return len(self._known) > 1

    @contextmanager
    def scope(self) -> Iterator[None]:
        """A part of the code whose values are not known behind it."""
        self._known.append({})
        try:
            yield
        finally:
            self._known.pop()

    @contextmanager
    def only_if(self, predicate: str, *, negated: bool = False) -> Iterator[None]:
        """Code that is jumped over unless a predicate holds."""
        after = self.label()
        self.line(f"@{'' if negated else '!'}{predicate} bra {after}")
        with self.scope():
            yield
        self.place(after)


def constant(value: Number, dtype: DType) -> Value:
    """A number as an immediate operand."""
    if dtype.is_bool:
        return Value(f"<{bool(value)}>", dtype, bool(value))
    if dtype.is_floating_point:
        text = float64_text if dtype.bits == 64 else float32_text
        return Value(text(float(value)), dtype, float(value))
    number = wrapped(int(value), dtype)
    return Value(str(number), dtype, number)


def wrapped(number: int, dtype: DType) -> int:
    """An integer as a dtype holds it."""
    number &= (1 << dtype.bits) - 1
    if dtype.is_signed and number >> (dtype.bits - 1):
        number -= 1 << dtype.bits
    return number


INDEX = dtypes.int32
WIDE_INDEX = dtypes.int64
