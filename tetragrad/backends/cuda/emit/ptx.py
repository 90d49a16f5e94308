"""Writes PTX: registers, instructions, and values that are computed only once.

Registers are assigned once, so an instruction's text names its result: where the same
text is asked for again in a scope that still sees the first result, that one is used.
Only the carriers of loops are assigned again, by :meth:`Builder.move`.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType

Number = int | float | bool


class Value:
    """A register or an immediate, and the dtype whose value it holds.

    Narrow integers are held extended to 32 bits, narrow floats as float32, and
    bools as predicates. Never changed once made; written out by hand because every
    line of a kernel makes one.
    """

    __slots__ = ("constant", "dtype", "text")

    def __init__(self, text: str, dtype: DType, constant: Number | None = None) -> None:
        self.text = text
        self.dtype = dtype
        self.constant = constant

    @property
    def name(self) -> tuple[str, DType]:
        """What tells it apart: an immediate's text says what its number is."""
        return self.text, self.dtype

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Value({self.text}, {self.dtype})"


def _register_class(dtype: DType) -> str:
    if dtype.is_bool:
        return "pred"
    if dtype.is_floating_point:
        return "f64" if dtype.bits == 64 else "f32"
    return "b64" if dtype.bits == 64 else "b32"


def _arithmetic_type(dtype: DType) -> str:
    if dtype.is_floating_point:
        return _register_class(dtype)
    width = 64 if dtype.bits == 64 else 32
    return f"s{width}" if dtype.is_signed else f"u{width}"


_CLASSES = {dtype: _register_class(dtype) for dtype in dtypes.ALL}
_TYPES = {dtype: _arithmetic_type(dtype) for dtype in dtypes.ALL}


def register_class(dtype: DType) -> str:
    """The PTX type of the registers that hold a dtype."""
    return _CLASSES[dtype]


def arithmetic_type(dtype: DType) -> str:
    """The type that arithmetic instructions on a dtype are given."""
    return _TYPES[dtype]


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


_Computed = tuple[int, tuple[str, ...]]
"""The part of the text where something is computed, and the registers with it."""


class Builder:
    """The body of one kernel, growing line by line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._all_lines = self.lines
        self._counts = dict.fromkeys(_PREFIXES, 0)
        self._labels = 0
        #: Registers of loops, which instructions may change in place.
        self.changing: set[str] = set()
        # What is computed around this place: the part that it is computed in, and the
        # registers; and for each scope around this place what was known before.
        self._known: dict[object, _Computed] = {}
        self._before: list[list[tuple[object, _Computed | None]]] = []
        # Parts that are written in any order: the first one's number, and their lines.
        self._first_part = 0
        self._parts: list[list[str]] = []
        #: The number of the part that is written now. Parts only know earlier ones.
        self.part = 0

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
        self._all_lines.insert(0, f"\t{text};")

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
        found = self._known.get(key)
        return None if found is None or found[0] > self.part else found[1]

    def remember(self, key: object, registers: Sequence[str]) -> None:
        """Say which registers hold what a key stands for."""
        self._learn(key, tuple(registers))

    def _learn(self, key: object, registers: tuple[str, ...]) -> None:
        if self._before:
            self._before[-1].append((key, self._known.get(key)))
        self._known[key] = self.part, registers

    def assign(self, kind: str, instruction: str, operands: str) -> str:
        """The register with the result of an instruction that only computes."""
        key = (kind, instruction, operands)
        found = self._known.get(key)
        if found is not None and found[0] <= self.part:
            return found[1][0]
        self._counts[kind] = count = self._counts[kind] + 1
        result = f"{_PREFIXES[kind]}{count}"
        self.lines.append(f"\t{instruction} {result}, {operands};")
        if self._before:
            self._before[-1].append((key, found))
        self._known[key] = self.part, (result,)
        return result

    def compute(self, instruction: str, dtype: DType, *operands: Value) -> Value:
        """An instruction on values, whose result has a dtype."""
        texts = ", ".join(
            [
                entry.text if entry.constant is None else self.text(entry)
                for entry in operands
            ]
        )
        return Value(self.assign(_CLASSES[dtype], instruction, texts), dtype)

    def compute_each(
        self,
        instruction: str,
        dtype: DType,
        columns: Sequence[Sequence[Value]],
        parts: Sequence[int],
    ) -> tuple[Value, ...]:
        """An instruction on values side by side, each in its part if there are some."""
        before, results = self.part, []
        kind = _CLASSES[dtype]
        text = self.text
        for place, operands in enumerate(zip(*columns, strict=True)):
            if parts and parts[place] != self.part:
                self.go_to(parts[place])
            texts = [
                entry.text if entry.constant is None else text(entry)
                for entry in operands
            ]
            result = self.assign(kind, instruction, ", ".join(texts))
            results.append(Value(result, dtype))
        if self.part != before:
            self.go_to(before)
        return tuple(results)

    def text(self, value: Value) -> str:
        """A value as an operand; predicates have no immediates."""
        if value.constant is not None and value.dtype.is_bool:
            return self.assign("pred", "setp.ne.u32", f"{int(value.constant)}, 0")
        return value.text

    def move(self, target: str, kind: str, value: Value) -> None:
        """Assign a carrier again."""
        self.line(f"mov.{kind} {target}, {self.text(value)}")

    # --- parts -------------------------------------------------------------------

    def new_part(self) -> int:
        """Begin a part that follows all others, and go on in it; its number."""
        if not self._parts:
            self._first_part = self.part + 1
        self._parts.append([])
        number = self._first_part + len(self._parts) - 1
        self.go_to(number)
        return number

    def go_to(self, part: int) -> None:
        """Go on at the end of a part."""
        self.part = part
        self.lines = self._parts[part - self._first_part]

    def join_parts(self) -> None:
        """Put all parts behind what was written before them, and go on from there."""
        self.lines = self._all_lines
        for lines in self._parts:
            self.lines += lines
        self.part = self._first_part + len(self._parts)
        self._parts = []

    # --- control -----------------------------------------------------------------

    @property
    def is_inside_scope(self) -> bool:
        """Whether the code that is written now may be left out, or run again."""
        return bool(self._before)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """A part of the code whose values are not known behind it."""
        self._before.append([])
        try:
            yield
        finally:
            for key, before in reversed(self._before.pop()):
                if before is None:
                    self._known.pop(key, None)
                else:
                    self._known[key] = before

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
    if type(value) is int and dtype.is_integer:
        return _integer(value, dtype)
    if dtype.is_bool:
        return Value(f"<{bool(value)}>", dtype, bool(value))
    if dtype.is_floating_point:
        text = float64_text if dtype.bits == 64 else float32_text
        return Value(text(float(value)), dtype, float(value))
    return _integer(int(value), dtype)


@functools.lru_cache(maxsize=4096)
def _integer(value: int, dtype: DType) -> Value:
    number = wrapped(value, dtype)
    return Value(str(number), dtype, number)


def wrapped(number: int, dtype: DType) -> int:
    """An integer as a dtype holds it."""
    number &= (1 << dtype.bits) - 1
    if dtype.is_signed and number >> (dtype.bits - 1):
        number -= 1 << dtype.bits
    return number


INDEX = dtypes.int32
WIDE_INDEX = dtypes.int64
