"""Loads and stores: addresses, widths, and the bytes that elements are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tetragrad.backends.cuda.emit import float8, formats, small_integers
from tetragrad.backends.cuda.emit.ptx import (
    WIDE_INDEX,
    Value,
    constant,
    register_class,
)
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import UnsupportedError
from tetragrad.core.frozen import frozen
from tetragrad.kernel.ir import Mode

if TYPE_CHECKING:
    from tetragrad.backends.cuda.emit.forms import Linear
    from tetragrad.backends.cuda.emit.operations import Operations
    from tetragrad.backends.cuda.emit.parking import Parking

#: What one instruction of one thread moves at most.
WIDEST_BYTES = 16
#: Offsets that an instruction's address may contain.
_LARGEST_OFFSET = 1 << 23


@frozen
class Storage:
    """Elements in memory: ``space`` is ``global`` or ``shared``.

    ``base`` is a register with the address of the first element, 64 bits wide in
    global memory and 32 bits in shared.
    """

    base: str
    dtype: DType
    space: str


class Memory:
    """Moves elements between registers and memory."""

    def __init__(self, ops: Operations) -> None:
        self.ops = ops
        self.builder = ops.builder
        #: Whether blocks come while the kernel before may still write what they read.
        #: The cache behind ``ld.global.nc``, which nobody keeps up to date, may then
        #: hold what was there before: PTX allows it for memory that stays as it is for
        #: as long as the kernel runs.
        self.comes_early = False
        #: Where loads of rows that are gone over again find them, if there are any.
        self.parking: Parking | None = None

    def widest(self, storage: Storage, width: int) -> int:
        """How many of so many neighbours one instruction can move."""
        itemsize = storage.dtype.itemsize
        width = min(width, WIDEST_BYTES // itemsize)
        return width if width * itemsize >= 4 or itemsize == 1 else 1

    def address(self, storage: Storage, place: Linear) -> str:
        """An operand for the element at a place."""
        itemsize = storage.dtype.itemsize
        offset = place.offset * itemsize
        base = storage.base
        if place.base is not None:
            base = self._moved(storage, place.base)
        if abs(offset) < _LARGEST_OFFSET:
            return f"[{base}+{offset}]" if offset else f"[{base}]"
        if storage.space == "shared":
            return f"[{self.builder.assign('b32', 'add.s32', f'{base}, {offset}')}]"
        return f"[{self.builder.assign('b64', 'add.s64', f'{base}, {offset}')}]"

    def _moved(self, storage: Storage, index: Value) -> str:
        itemsize = storage.dtype.itemsize
        assign = self.builder.assign
        if storage.space == "shared":
            return assign(
                "b32", "mad.lo.s32", f"{index.text}, {itemsize}, {storage.base}"
            )
        if index.dtype is WIDE_INDEX:
            nbytes = assign("b64", "mul.lo.s64", f"{index.text}, {itemsize}")
        else:
            nbytes = assign("b64", "mul.wide.s32", f"{index.text}, {itemsize}")
        return assign("b64", "add.s64", f"{storage.base}, {nbytes}")

    # --- loads -------------------------------------------------------------------

    def load(
        self,
        storage: Storage,
        place: Linear,
        width: int,
        mask: Value | None,
        changes: bool,
    ) -> tuple[Value, ...]:
        """Neighbouring elements; zeros where the mask does not hold.

        What does not change while the kernel runs is loaded once.
        """
        dtype = storage.dtype
        if mask is not None and mask.constant is not None:
            if not mask.constant:
                return (constant(0, dtype),) * width
            mask = None
        address = self.address(storage, place)
        predicate = "" if mask is None else self.builder.text(mask)
        key = ("load", storage, address, width, predicate)
        if self.parking is not None and width * dtype.itemsize == WIDEST_BYTES:
            if self.parking.is_filling:
                self.parking.fill(key, address, predicate)
                return (constant(0, dtype),) * width
            parked = self.parking.places.get(key)
            if parked is not None:
                near = Storage("", dtype, "shared")
                found = self._load_words(near, parked, width, predicate, changes)
                return self._unpack(found, dtype, width)
        words = None if changes else self.builder.known(key)
        if words is None:
            words = self._load_words(storage, address, width, predicate, changes)
            if not changes:
                self.builder.remember(key, words)
        return self._unpack(words, dtype, width)

    def _load_words(
        self,
        storage: Storage,
        address: str,
        width: int,
        predicate: str,
        changes: bool,
    ) -> tuple[str, ...]:
        kind, count = word_of(storage.dtype, width)
        words = tuple(self.builder.register(kind) for _ in range(count))
        if predicate:
            for word in words:
                self.builder.line(f"mov.{kind} {word}, {_zero(kind)}")
        condition = f"@{predicate} " if predicate else ""
        vector = f".v{count}" if count > 1 else ""
        access = _access(storage.dtype, width, kind)
        is_fixed = storage.space == "global" and not changes and not self.comes_early
        cached = ".nc" if is_fixed else ""
        shown = f"{{{', '.join(words)}}}" if count > 1 else words[0]
        self.builder.line(
            f"{condition}ld.{storage.space}{cached}{vector}.{access} {shown}, {address}"
        )
        return words

    def _unpack(
        self, words: Sequence[str], dtype: DType, width: int
    ) -> tuple[Value, ...]:
        """Elements from the words that were loaded."""
        if dtype.itemsize >= 4:
            return tuple(Value(word, dtype) for word in words)
        if dtype.itemsize == 1:
            return self._unpack_bytes(words, dtype, width)
        if width > 1 and dtype.is_floating_point:
            pairs = [formats.unpacked(self.ops, word, dtype) for word in words]
            return tuple(value for pair in pairs for value in pair)
        halves = list(words)
        if width > 1:
            halves = [
                half for word in words for half in formats.split(self.builder, word)
            ]
        return tuple(self._from_half(half, dtype) for half in halves)

    def _from_half(self, half: str, dtype: DType) -> Value:
        if dtype.is_floating_point:
            return formats.widened(self.ops, half, dtype)
        letter = "s" if dtype.is_signed else "u"
        name = f"cvt.{letter}32.{letter}16"
        return Value(self.builder.assign("b32", name, half), dtype)

    def _unpack_bytes(
        self, words: Sequence[str], dtype: DType, width: int
    ) -> tuple[Value, ...]:
        if dtype.is_floating_point:
            numbers = [
                number
                for word in words
                for number in float8.decoded_word(self.ops, word, dtype)
            ]
            return tuple(numbers[:width])
        if width == 1:
            numbers = [Value(words[0], dtype)]
        else:
            numbers = [
                number
                for word in words
                for number in small_integers.bytes_of_word(
                    self.builder, word, dtype, min(4, width)
                )
            ]
        if not dtype.is_bool:
            return tuple(numbers)
        return tuple(
            Value(
                self.builder.assign("pred", "setp.ne.u32", f"{number.text}, 0"), dtype
            )
            for number in numbers
        )

    # --- stores ------------------------------------------------------------------

    def store(
        self,
        storage: Storage,
        place: Linear,
        values: Sequence[Value],
        mask: Value | None,
    ) -> None:
        """Write neighbouring elements where the mask holds."""
        condition = self._condition(mask)
        if condition is None:
            return
        width, dtype = len(values), storage.dtype
        kind, count = word_of(dtype, width)
        words = self._pack(values, dtype, width)
        vector = f".v{count}" if count > 1 else ""
        access = _access(dtype, width, kind)
        shown = f"{{{', '.join(words)}}}" if count > 1 else words[0]
        address = self.address(storage, place)
        self.builder.line(
            f"{condition}st.{storage.space}{vector}.{access} {address}, {shown}"
        )

    def _condition(self, mask: Value | None) -> str | None:
        """The instruction's predicate; None if it never holds."""
        if mask is None or mask.constant:
            return ""
        return None if mask.constant is not None else f"@{mask.text} "

    def _pack(self, values: Sequence[Value], dtype: DType, width: int) -> list[str]:
        if dtype.itemsize >= 4:
            return [self._plain(value) for value in values]
        if dtype.itemsize == 1:
            return self._pack_bytes(values, dtype)
        if width > 1 and dtype.is_floating_point:
            return [
                formats.packed(self.ops, low, high)
                for low, high in zip(values[::2], values[1::2], strict=True)
            ]
        halves = [self._to_half(value) for value in values]
        if width == 1:
            return halves
        return [
            self.builder.assign("b32", "mov.b32", f"{{{low}, {high}}}")
            for low, high in zip(halves[::2], halves[1::2], strict=True)
        ]

    def _plain(self, value: Value) -> str:
        """A register, for instructions that take no immediates."""
        if value.constant is None:
            return value.text
        kind = register_class(value.dtype)
        return self.builder.assign(kind, f"mov.{kind}", value.text)

    def _to_half(self, value: Value) -> str:
        if value.dtype.is_floating_point:
            return formats.halved(self.ops, value)
        return self.builder.assign("b16", "cvt.u16.u32", self._plain(value))

    def _pack_bytes(self, values: Sequence[Value], dtype: DType) -> list[str]:
        if dtype.is_floating_point:
            if len(values) == 1:
                return [float8.encoded(self.ops, values[0])]
            return float8.encoded_words(self.ops, values)
        numbers = [self._plain(self.ops.cast(value, dtypes.uint8)) for value in values]
        if len(numbers) == 1:
            return numbers
        words = []
        for first in range(0, len(numbers), 4):
            word = numbers[first]
            for place, number in enumerate(numbers[first + 1 : first + 4], 1):
                operands = f"{number}, {word}, {8 * place}, 8"
                word = self.builder.assign("b32", "bfi.b32", operands)
            words.append(word)
        return words

    # --- copies ------------------------------------------------------------------

    def copy(
        self,
        source: Storage,
        source_place: Linear,
        target: Storage,
        target_place: Linear,
        condition: Value | None,
        mask: Value | None,
        nbytes: int = WIDEST_BYTES,
    ) -> None:
        """Copy 16 bytes, or 4, from global to shared memory while the thread goes on.

        Where the condition fails zeros are written; where the mask fails, nothing.
        """
        predicate = self._condition(mask)
        if predicate is None:
            return
        size = ""
        if condition is not None:
            whole = constant(nbytes, dtypes.int32)
            count = self.ops.where(condition, whole, constant(0, dtypes.int32))
            size = f", {count.text}"
        place = self.address(target, target_place)
        start = self.address(source, source_place)
        # Words that lie together are brought to the first-level cache as one line.
        level = "cg" if nbytes == WIDEST_BYTES else "ca"
        name = f"cp.async.{level}.shared.global"
        self.builder.line(f"{predicate}{name} {place}, {start}, {nbytes}{size}")

    # --- combining ---------------------------------------------------------------

    def combine(
        self, storage: Storage, place: Linear, value: Value, mode: Mode, mask: str
    ) -> None:
        """Add a value to what is in memory, or take the larger: all at once."""
        address, dtype = self.address(storage, place), storage.dtype
        if mode is Mode.ADD:
            kind = _ADDED.get(dtype)
            if kind is None:
                raise UnsupportedError(
                    f"adding {dtype} values into one element on CUDA",
                    hint="scatter in float32 and cast the result",
                )
            self._reduce(mask, f"red.{storage.space}.add.{kind}", address, value)
            return
        self._maximum(storage, address, value, mask)

    def _reduce(self, mask: str, name: str, address: str, value: Value) -> None:
        self.builder.line(f"{mask}{name} {address}, {self._plain(value)}")

    def _maximum(self, storage: Storage, address: str, value: Value, mask: str) -> None:
        dtype = storage.dtype
        if dtype.is_integer and dtype.bits >= 32:
            letter = "s" if dtype.is_signed else "u"
            name = f"red.{storage.space}.max.{letter}{dtype.bits}"
            self._reduce(mask, name, address, value)
            return
        if dtype not in (dtypes.float32, dtypes.float64):
            raise UnsupportedError(
                f"the maximum of {dtype} values in one element on CUDA",
                hint="scatter in float32 and cast the result",
            )
        # Positive floats are ordered as integers, negative ones the other way round;
        # between the signs, the one order puts negative numbers first, the other last.
        bits = formats.to_bits(self.ops, value)
        width = dtype.bits
        signed = dtypes.int32 if width == 32 else dtypes.int64
        is_negative = self.ops.lt(Value(bits.text, signed), constant(0, signed))
        for condition, name in (
            (self.ops.invert(is_negative), f"red.{storage.space}.max.s{width}"),
            (is_negative, f"red.{storage.space}.min.u{width}"),
        ):
            inner = condition
            if mask:
                outer = Value(mask.strip().removeprefix("@"), dtypes.bool_)
                inner = self.ops.and_(outer, condition)
            self._reduce(f"@{self.builder.text(inner)} ", name, address, bits)


_ADDED = {
    dtypes.float32: "f32",
    dtypes.float64: "f64",
    dtypes.int32: "u32",
    dtypes.uint32: "u32",
    dtypes.int64: "u64",
    dtypes.uint64: "u64",
}


def word_of(dtype: DType, width: int) -> tuple[str, int]:
    """The registers that so many neighbours travel in: their type and number."""
    nbytes = dtype.itemsize * width
    if dtype.itemsize >= 4:
        return register_class(dtype), width
    if dtype.itemsize == 2 and width == 1:
        return "b16", 1
    return "b32", max(1, nbytes // 4)


def _zero(kind: str) -> str:
    return {"f32": "0f00000000", "f64": "0d0000000000000000"}.get(kind, "0")


def _access(dtype: DType, width: int, kind: str) -> str:
    """What an instruction is told to move: a word's register may hold less."""
    if dtype.itemsize * width == 1:
        return "s8" if dtype.is_signed and dtype.is_integer else "u8"
    return "u16" if dtype.itemsize == 1 and width == 2 else kind
