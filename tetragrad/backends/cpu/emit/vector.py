"""Typed values and the text of LLVM instructions: what every emitter writes with.

A :class:`Value` is one SSA name (or constant) with a dtype and a number of lanes; one
lane is a scalar, more are a vector register. Operands of different lanes meet by
broadcasting the scalar.

Float16, bfloat16 and float8 values are held in float32 registers, always rounded to
their own dtype, because few processors compute in them. Bools are single bits in
registers and bytes in memory.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen

Number = int | float | bool

# Of slots on the stack and the heap: the widest vector, which is a cache line.
_ALIGNMENT = 64


@frozen(slots=True, refuses=False)
class Value:
    """The name of a scalar or vector, or a constant."""

    text: str
    dtype: DType
    lanes: int = 1
    constant: Number | None = None

    def with_dtype(self, dtype: DType) -> Value:
        """The same register, understood as another dtype with the same carrier."""
        assert register_dtype(self.dtype) is register_dtype(dtype)
        return Value(self.text, dtype, self.lanes, self.constant)


@functools.cache
def register_dtype(dtype: DType) -> DType:
    """The dtype whose registers carry values of ``dtype``."""
    if dtype.is_floating_point and dtype.bits < 32:
        return dtypes.float32
    return dtype


@functools.cache
def memory_dtype(dtype: DType) -> DType:
    """The dtype by which bytes of ``dtype`` are loaded and stored."""
    if dtype.is_bool:
        return dtypes.uint8
    if dtype.is_floating_point and dtype.bits < 32:
        return dtypes.uint8 if dtype.bits == 8 else dtypes.uint16
    return dtype


@functools.cache
def scalar_type(dtype: DType) -> str:
    """LLVM's name for one register element of ``dtype``."""
    carrier = register_dtype(dtype)
    if carrier.is_floating_point:
        return "float" if carrier.bits == 32 else "double"
    return "i1" if carrier.is_bool else f"i{carrier.bits}"


def vector_of(element: str, lanes: int) -> str:
    """LLVM's name for ``lanes`` elements of an LLVM type."""
    return element if lanes == 1 else f"<{lanes} x {element}>"


#: Registers that one vector of the text may stand for. LLVM divides vectors that are
#: longer than registers, which takes a fraction of the text that their parts would.
REGISTERS_PER_VECTOR = 4


def lanes_for(widths: Iterable[DType], vector_bytes: int) -> int:
    """Lanes such that a register holds a vector of the widest of some dtypes."""
    widest = max((register_dtype(dtype).itemsize for dtype in widths), default=4)
    return max(1, vector_bytes // widest)


def type_of(value: Value) -> str:
    """LLVM's name for the type of a value."""
    return register_type(value.dtype, value.lanes)


@functools.cache
def register_type(dtype: DType, lanes: int) -> str:
    """LLVM's name for so many register elements of ``dtype``."""
    return vector_of(scalar_type(dtype), lanes)


@functools.cache
def mangled(dtype: DType, lanes: int) -> str:
    """The suffix by which LLVM tells overloads of an intrinsic apart."""
    carrier = register_dtype(dtype)
    letter = "f" if carrier.is_floating_point else "i"
    bits = 1 if carrier.is_bool else carrier.bits
    return f"{letter}{bits}" if lanes == 1 else f"v{lanes}{letter}{bits}"


def constant_text(value: Number, dtype: DType) -> str:
    """A scalar constant in LLVM's spelling; float32 ones must already be rounded."""
    if dtype.is_bool:
        return "true" if value else "false"
    carrier = register_dtype(dtype)
    if carrier.is_floating_point:
        (bits,) = struct.unpack("<Q", struct.pack("<d", float(value)))
        return f"0x{bits:016X}"
    wrapped = int(value) & ((1 << carrier.bits) - 1)
    return str(wrapped)


def constant(value: Number, dtype: DType) -> Value:
    """A constant value, rounded or wrapped to its dtype."""
    return _integer(value, dtype) if type(value) is int else _constant(value, dtype)


@functools.lru_cache(maxsize=1024)
def _integer(value: int, dtype: DType) -> Value:
    return _constant(value, dtype)


def _constant(value: Number, dtype: DType) -> Value:
    if dtype is dtypes.float32:
        value = _round_to_float32(float(value))
    return Value(constant_text(value, dtype), dtype, 1, value)


def _round_to_float32(value: float) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def constant_lanes(values: Sequence[Number], dtype: DType) -> Value:
    """A constant vector (or scalar, for one value)."""
    if len(values) == 1:
        return constant(values[0], dtype)
    element = scalar_type(dtype)
    items = ", ".join(f"{element} {constant_text(value, dtype)}" for value in values)
    return Value(f"<{items}>", dtype, len(values))


def quoted(name: str) -> str:
    """The name of a function, which may hold any printable character."""
    return f'@"{name}"'


def _take_heap(nbytes: int) -> list[str]:
    """``%heap``, aligned, inside the ``%block`` to be freed."""
    return [
        f"  %block = call ptr @malloc(i64 {nbytes + _ALIGNMENT})",
        "  %address = ptrtoint ptr %block to i64",
        f"  %above = add i64 %address, {_ALIGNMENT - 1}",
        f"  %aligned = and i64 %above, {-_ALIGNMENT}",
        "  %heap = inttoptr i64 %aligned to ptr",
    ]


@dataclass(eq=False)
class Block:
    """Lines being written, and the label of the basic block that they end in."""

    label: str
    lines: list[str] = field(default_factory=list)


class Builder:
    """Writes the instructions of one function into the current block.

    ``block`` may be switched to one that encloses the current one: that is how
    loop-invariant instructions are hoisted. One that ``keeps_calls`` leaves calls of
    elementary functions as they are.
    """

    def __init__(self, *, keeps_calls: bool = False) -> None:
        self.keeps_calls = keeps_calls
        self.block = Block("entry")
        self.stack: list[str] = []
        self.heap_bytes = 0
        self.declarations: set[str] = set()
        self.functions: dict[str, str] = {}
        self._count = 0

    def fresh(self, prefix: str = "v") -> str:
        """A name not used before in this function."""
        self._count += 1
        return f"{prefix}{self._count}"

    def line(self, text: str) -> None:
        """Write an instruction without a result."""
        self.block.lines.append(f"  {text}")

    def assign(self, text: str) -> str:
        """Write an instruction; its result's name."""
        self._count += 1
        name = f"%v{self._count}"
        self.block.lines.append(f"  {name} = {text}")
        return name

    def label(self, name: str) -> None:
        """Start a new basic block in the current lines."""
        self.block.lines.append(f"{name}:")
        self.block.label = name

    def jump_if(self, condition: Value) -> str:
        """Run what follows only where the condition holds; the label to end at."""
        inside, after = self.fresh("then"), self.fresh("end")
        self.line(f"br i1 {condition.text}, label %{inside}, label %{after}")
        self.label(inside)
        return after

    def end_jump(self, after: str) -> None:
        """Where the code of a ``jump_if`` rejoins the rest."""
        self.line(f"br label %{after}")
        self.label(after)

    def inlined(
        self, name: str, parameters: str, write: Callable[[Builder], Value]
    ) -> str:
        """A function that LLVM puts in place of its calls; written at its first use.

        What is repeated many times is one line each time then.
        """
        if name not in self.functions:
            inner = Builder()
            inner.functions = self.functions
            result = write(inner)
            lines = [
                f"define internal {type_of(result)} @{name}({parameters}) "
                "alwaysinline #0 {",
                "entry:",
                *inner.stack,
                *inner.block.lines,
                f"  ret {type_of(result)} {result.text}",
                "}",
            ]
            self.functions[name] = "\n".join(lines)
            self.declarations |= inner.declarations
        return f"@{name}"

    def stack_slot(self, element: str, count: int) -> str:
        """Memory of this call of the function, in registers where possible."""
        name = f"%{self.fresh('slot')}"
        self.stack.append(
            f"  {name} = alloca [{count} x {element}], align {_ALIGNMENT}"
        )
        return name

    def heap_slot(self, nbytes: int) -> str:
        """Memory of this call of the function that is too large for a stack."""
        name = f"%{self.fresh('slot')}"
        self.stack.append(
            f"  {name} = getelementptr i8, ptr %heap, i64 {self.heap_bytes}"
        )
        self.heap_bytes += -(-nbytes // _ALIGNMENT) * _ALIGNMENT
        return name

    def function(self, name: str, parameters: str, *, in_place: bool = False) -> str:
        """The finished function; ``in_place`` puts it where it is called."""
        linkage, inlining = ("internal ", "alwaysinline ") if in_place else ("", "")
        head = f"define {linkage}void {quoted(name)}({parameters}) {inlining}#0 {{"
        lines = [head, "entry:"]
        if self.heap_bytes:
            self.declarations |= {"declare ptr @malloc(i64)", "declare void @free(ptr)"}
            lines += _take_heap(self.heap_bytes)
            self.line("call void @free(ptr %block)")
        self.line("ret void")
        return "\n".join([*lines, *self.stack, *self.block.lines, "}"])

    # --- vectors -----------------------------------------------------------------

    def broadcast(self, value: Value, lanes: int) -> Value:
        """The same value in every lane."""
        if value.lanes == lanes:
            return value
        assert value.lanes == 1
        element = scalar_type(value.dtype)
        if value.constant is not None:
            text = f"splat ({element} {value.text})"
            return Value(text, value.dtype, lanes, value.constant)
        whole = vector_of(element, lanes)
        first = self.assign(
            f"insertelement {whole} poison, {element} {value.text}, i64 0"
        )
        text = self.assign(
            f"shufflevector {whole} {first}, {whole} poison, "
            f"<{lanes} x i32> zeroinitializer"
        )
        return Value(text, value.dtype, lanes)

    def alike(self, *values: Value) -> tuple[Value, ...]:
        """The values with scalars broadcast to the widest of them."""
        lanes = [value.lanes for value in values]
        widest = max(lanes)
        if min(lanes) == widest:
            return values
        return tuple([self.broadcast(value, widest) for value in values])

    def shuffle(self, first: Value, second: Value, places: Sequence[int]) -> Value:
        """Choose lanes from the concatenation of two vectors of one type."""
        if len(places) == 1:
            source = first if places[0] < first.lanes else second
            return self.lane(source, places[0] % first.lanes)
        whole = type_of(first)
        items = ", ".join(f"i32 {place}" for place in places)
        text = self.assign(
            f"shufflevector {whole} {first.text}, {whole} {second.text}, "
            f"<{len(places)} x i32> <{items}>"
        )
        return Value(text, first.dtype, len(places))

    def lane(self, value: Value, place: int) -> Value:
        """One lane of a vector as a scalar."""
        if value.lanes == 1:
            return value
        text = self.assign(f"extractelement {type_of(value)} {value.text}, i64 {place}")
        return Value(text, value.dtype)

    def reversed(self, value: Value) -> Value:
        """The lanes in opposite order."""
        if value.lanes == 1:
            return value
        return self.shuffle(value, value, range(value.lanes - 1, -1, -1))

    # --- instructions ------------------------------------------------------------

    def binary(self, instruction: str, lhs: Value, rhs: Value) -> Value:
        """A two-operand instruction whose result has the operands' type."""
        if lhs.lanes != rhs.lanes:
            lhs, rhs = self.alike(lhs, rhs)
        text = self.assign(f"{instruction} {type_of(lhs)} {lhs.text}, {rhs.text}")
        return Value(text, lhs.dtype, lhs.lanes)

    def compare(self, instruction: str, lhs: Value, rhs: Value) -> Value:
        """``icmp`` or ``fcmp`` with its predicate; gives a bool."""
        if lhs.lanes != rhs.lanes:
            lhs, rhs = self.alike(lhs, rhs)
        text = self.assign(f"{instruction} {type_of(lhs)} {lhs.text}, {rhs.text}")
        return Value(text, dtypes.bool_, lhs.lanes)

    def select(self, condition: Value, chosen: Value, otherwise: Value) -> Value:
        """Lane by lane, one of two values."""
        if condition.lanes == 1:
            chosen, otherwise = self.alike(chosen, otherwise)
        else:
            condition, chosen, otherwise = self.alike(condition, chosen, otherwise)
        text = self.assign(
            f"select {type_of(condition)} {condition.text}, "
            f"{type_of(chosen)} {chosen.text}, {type_of(otherwise)} {otherwise.text}"
        )
        return Value(text, chosen.dtype, chosen.lanes)

    def convert(self, instruction: str, value: Value, dtype: DType) -> Value:
        """A conversion instruction between register types."""
        result = register_type(dtype, value.lanes)
        text = self.assign(f"{instruction} {type_of(value)} {value.text} to {result}")
        return Value(text, dtype, value.lanes)

    def call(self, name: str, *operands: Value) -> Value:
        """An intrinsic whose operands and result share one type."""
        operands = self.alike(*operands)
        first = operands[0]
        function = f"@llvm.{name}.{mangled(first.dtype, first.lanes)}"
        return self.call_as(function, first.dtype, first.lanes, operands)

    def call_as(
        self, function: str, dtype: DType, lanes: int, operands: Sequence[Value]
    ) -> Value:
        """Call a function by its full name and declare it."""
        result = register_type(dtype, lanes)
        types = [type_of(entry) for entry in operands]
        self.declarations.add(f"declare {result} {function}({', '.join(types)})")
        typed = zip(types, operands, strict=True)
        arguments = ", ".join([f"{whole} {entry.text}" for whole, entry in typed])
        return Value(
            self.assign(f"call {result} {function}({arguments})"), dtype, lanes
        )
