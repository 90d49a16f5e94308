"""Addresses, loads and stores: affine forms and guards as instructions on memory.

A form's loop counters are added up once per loop level; unrolled points then differ
by a constant. How a vector meets memory depends on how far one lane moves the
address: 0 is a scalar, 1 a plain vector, -1 a reversed one, up to 4 are plain loads
shuffled together, and everything else is a gather or scatter. A load whose guard
fails reads zeros from a constant instead, so that it never needs a branch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tetragrad.backends.cpu import emit_formats as formats
from tetragrad.backends.cpu.emit_operations import Operations
from tetragrad.backends.cpu.emit_scopes import Scopes
from tetragrad.backends.cpu.vector import (
    Builder,
    Value,
    constant,
    constant_lanes,
    mangled,
    memory_dtype,
    register_dtype,
    scalar_type,
    type_of,
    vector_of,
)
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Expression, Guard

#: The constant that guarded loads read where the guard fails, and its size.
ZEROS = "@zeros"
ZEROS_BYTES = 512
_LARGEST_SHUFFLED_STRIDE = 4


@dataclass(frozen=True)
class Storage:
    """Elements in memory: a buffer or a tile.

    ``in_registers`` storage holds values as registers do, so that LLVM can keep
    them there; ``access`` is appended to loads and stores.
    """

    base: str
    dtype: DType
    in_registers: bool = False
    load_access: str = ""
    store_access: str = ""

    @functools.cached_property
    def element(self) -> DType:
        """The dtype by which elements are loaded and stored."""
        if not self.in_registers:
            return memory_dtype(self.dtype)
        return dtypes.uint8 if self.dtype.is_bool else register_dtype(self.dtype)


@dataclass(frozen=True)
class Mask:
    """Where something may happen: if ``uniform`` holds, in the ``lanes`` that do."""

    uniform: Value | None = None
    lanes: Value | None = None
    never: bool = False

    @property
    def always(self) -> bool:
        return self.uniform is None and self.lanes is None and not self.never


@dataclass(frozen=True)
class Term:
    """``coefficient · value`` of an address, known from scope ``level`` on."""

    value: Value
    coefficient: int
    level: int


@dataclass(frozen=True)
class Split:
    """A form at the current point: what is constant, scalar, and different by lane."""

    constant: int
    scalars: tuple[Term, ...]
    stride: int
    gathered: tuple[Term, ...]

    @property
    def is_uniform(self) -> bool:
        """Whether all lanes have one value."""
        return self.stride == 0 and not self.gathered


class Memory:
    """Reads and writes storage at affine addresses."""

    def __init__(self, builder: Builder, scopes: Scopes, ops: Operations) -> None:
        self.builder = builder
        self.scopes = scopes
        self.ops = ops
        # Values of the atoms of the forms in use, and the scopes that know them.
        self.atoms: Mapping[Expression, Value] = {}
        self.atom_levels: Mapping[Expression, int] = {}

    # --- forms -------------------------------------------------------------------

    def split(self, form: Affine) -> Split:
        """Sort a form's terms by how they vary at the current point."""
        scopes = self.scopes
        total, stride = form.constant, 0
        scalars: list[Term] = []
        gathered: list[Term] = []
        for atom, part in form.terms:
            if not isinstance(atom, int):
                value = self.atoms[atom]
                term = Term(value, part, self.atom_levels[atom])
                (gathered if value.lanes > 1 else scalars).append(term)
            elif atom in scopes.points:
                total += part * scopes.points[atom]
            elif scopes.vector and scopes.vector.axis == atom:
                total += part * scopes.vector.start
                stride = part if scopes.vector.lanes > 1 else 0
            else:
                term = Term(scopes.counters[atom], part, scopes.level_of(atom))
                scalars.append(term)
        scalars.sort(key=lambda term: term.level)
        return Split(total, tuple(scalars), stride, tuple(gathered))

    def range_of(self, form: Affine) -> tuple[int, int]:
        """The smallest and largest value of a form at the current point."""
        low = high = form.constant
        for atom, part in form.terms:
            is_axis = isinstance(atom, int)
            first, last = self.scopes.range_of(atom) if is_axis else atom.range
            low += part * (first if part > 0 else last)
            high += part * (last if part > 0 else first)
        return low, high

    def _scalar_sum(self, terms: tuple[Term, ...]) -> tuple[Value, int]:
        """The sum of scalar terms, each prefix computed in the scope that knows it."""
        total, level = constant(0, dtypes.int64), 0
        key: tuple[object, ...] = ("sum",)
        for term in terms:
            key = (*key, term.value.text, term.coefficient)
            level = max(level, term.level)
            found = self.scopes.recall(key, level)
            if found is None:
                with self.scopes.at_level(level):
                    found = self._add_term(total, term)
                self.scopes.remember(key, level, found)
            total = found
        return total, level

    def _add_term(self, total: Value, term: Term) -> Value:
        product = term.value
        if term.coefficient != 1:
            factor = constant(term.coefficient, dtypes.int64)
            product = self.builder.binary("mul", product, factor)
        if total.constant == 0:
            return product
        return self.builder.binary("add", total, product)

    def form_value(self, form: Affine) -> Value:
        """The value of a form, with lanes where they differ; int32 if that holds it."""
        low, high = self.range_of(form)
        is_narrow = low >= -(2**31) and high < 2**31
        dtype = dtypes.int32 if is_narrow else dtypes.int64
        split = self.split(form)
        total, _ = self._scalar_sum(split.scalars)
        total = self.ops.cast(total, dtype) if split.scalars else constant(0, dtype)
        for term in split.gathered:
            wide = self.ops.cast(term.value, dtype)
            part = self.builder.binary("mul", wide, constant(term.coefficient, dtype))
            total = self.builder.binary("add", total, part)
        return self._add_lanes(total, split, dtype)

    def _add_lanes(self, total: Value, split: Split, dtype: DType) -> Value:
        """Add what differs by lane, and the constant."""
        steps = self._lane_steps(split)
        if total.constant is not None:
            return constant_lanes([total.constant + step for step in steps], dtype)
        if steps == [0]:
            return total
        return self.builder.binary("add", total, constant_lanes(steps, dtype))

    def _lane_steps(self, split: Split) -> list[int]:
        lanes = self.scopes.vector.lanes if split.stride and self.scopes.vector else 1
        return [split.constant + split.stride * lane for lane in range(lanes)]

    # --- guards ------------------------------------------------------------------

    def mask(self, guard: Guard) -> Mask:
        """Where all the forms of a guard are at least 0."""
        mask = Mask()
        for form in guard:
            low, high = self.range_of(form)
            if high < 0:
                return Mask(never=True)
            if low < 0:
                mask = self.both(mask, self._holds(form))
        return mask

    def _holds(self, form: Affine) -> Mask:
        split = self.split(form)
        if not split.scalars and not split.gathered:
            places = [step >= 0 for step in self._lane_steps(split)]
            lanes = constant_lanes(places, dtypes.bool_)
            return Mask(lanes=lanes) if any(places) else Mask(never=True)
        value = self.form_value(form)
        zero = constant(0, value.dtype)
        condition = self.builder.compare("icmp sge", value, zero)
        if condition.lanes == 1:
            return Mask(uniform=condition)
        return Mask(lanes=condition)

    def both(self, lhs: Mask, rhs: Mask) -> Mask:
        """Where both masks hold."""
        if lhs.never or rhs.never:
            return Mask(never=True)
        return Mask(
            self._and(lhs.uniform, rhs.uniform), self._and(lhs.lanes, rhs.lanes)
        )

    def _and(self, lhs: Value | None, rhs: Value | None) -> Value | None:
        if lhs is None or rhs is None:
            return lhs or rhs
        return self.builder.binary("and", lhs, rhs)

    def condition(self, mask: Mask) -> Value:
        """The mask as one bool (or one for each lane)."""
        if mask.never:
            return constant(False, dtypes.bool_)
        return self._and(mask.uniform, mask.lanes) or constant(True, dtypes.bool_)

    # --- addresses ---------------------------------------------------------------

    def _pointer(self, storage: Storage, split: Split) -> str:
        """Where the first lane's element is (without gathered terms)."""
        element = scalar_type(storage.element)
        pointer = storage.base
        if split.scalars:
            index, level = self._scalar_sum(split.scalars)
            key = ("pointer", storage.base, element, index.text)
            found = self.scopes.recall(key, level)
            if found is None:
                with self.scopes.at_level(level):
                    text = self.builder.assign(
                        f"getelementptr {element}, ptr {pointer}, i64 {index.text}"
                    )
                found = self.scopes.remember(key, level, Value(text, dtypes.int64))
            pointer = found.text
        return self._moved(pointer, storage, split.constant)

    def _moved(self, pointer: str, storage: Storage, elements: int) -> str:
        if elements == 0:
            return pointer
        element = scalar_type(storage.element)
        return self.builder.assign(
            f"getelementptr {element}, ptr {pointer}, i64 {elements}"
        )

    def pointers(self, storage: Storage, split: Split) -> str:
        """One pointer for each lane."""
        assert self.scopes.vector is not None
        lanes = self.scopes.vector.lanes
        steps = [split.stride * lane for lane in range(lanes)]
        index = constant_lanes(steps, dtypes.int64)
        for term in split.gathered:
            factor = constant(term.coefficient, dtypes.int64)
            part = self.builder.binary("mul", term.value, factor)
            index = self.builder.binary("add", index, part)
        base = self._pointer(storage, split)
        element = scalar_type(storage.element)
        return self.builder.assign(
            f"getelementptr {element}, ptr {base}, {type_of(index)} {index.text}"
        )

    # --- loads -------------------------------------------------------------------

    def load(self, storage: Storage, form: Affine, mask: Mask | None = None) -> Value:
        """The element (or one for each lane) at an address; 0 outside the mask."""
        mask = mask or Mask()
        if mask.never:
            return constant(0, storage.dtype)
        split = self.split(form)
        if split.is_uniform:
            value = self._load_scalar(storage, split, mask)
        elif split.gathered:
            value = self._gather(storage, split, mask)
        elif mask.lanes is not None:
            value = self._load_masked(storage, split, mask)
        else:
            value = self._load_strided(storage, split, mask.uniform)
        return self._from_storage(storage, value)

    def load_at(self, storage: Storage, pointer: str) -> Value:
        """The element that a pointer points to."""
        return self._from_storage(storage, self._read(storage, pointer, 1))

    def _from_storage(self, storage: Storage, value: Value) -> Value:
        if not storage.in_registers:
            return formats.from_memory(self.ops, value, storage.dtype)
        if storage.dtype.is_bool:
            return self.ops.cast(value, dtypes.bool_)
        return value.with_dtype(storage.dtype)

    def _read(self, storage: Storage, pointer: str, lanes: int) -> Value:
        element = storage.element
        text = self.builder.assign(
            f"load {vector_of(scalar_type(element), lanes)}, ptr {pointer}, "
            f"align {element.itemsize}{storage.load_access}"
        )
        return Value(text, element, lanes)

    def _guarded(self, pointer: str, condition: Value | None) -> str:
        """The pointer where the condition holds, else one to zeros."""
        if condition is None:
            return pointer
        return self.builder.assign(
            f"select i1 {condition.text}, ptr {pointer}, ptr {ZEROS}"
        )

    def _load_scalar(self, storage: Storage, split: Split, mask: Mask) -> Value:
        condition = mask.uniform
        if mask.lanes is not None:
            condition = self._and(condition, self.ops.any_lane(mask.lanes))
        pointer = self._guarded(self._pointer(storage, split), condition)
        return self._read(storage, pointer, 1)

    def _load_strided(
        self, storage: Storage, split: Split, condition: Value | None
    ) -> Value:
        assert self.scopes.vector is not None
        lanes, size = self.scopes.vector.lanes, abs(split.stride)
        is_small = size * lanes * storage.element.itemsize <= ZEROS_BYTES
        if size > _LARGEST_SHUFFLED_STRIDE or not is_small:
            return self._gather(storage, split, Mask(uniform=condition))
        # The lane at the lowest address comes first, whichever way the stride goes.
        first = split.constant + min(0, split.stride * (lanes - 1))
        lowest = Split(first, split.scalars, split.stride, ())
        pointer = self._guarded(self._pointer(storage, lowest), condition)
        value = self._read_every(storage, pointer, lanes, size)
        return self.builder.reversed(value) if split.stride < 0 else value

    def _read_every(
        self, storage: Storage, pointer: str, lanes: int, stride: int
    ) -> Value:
        """Every stride-th element, from whole vectors that end with the last one."""
        value = self._read(storage, pointer, lanes)
        last_start = stride * (lanes - 1) + 1 - lanes
        for part in range(1, stride):
            start = min(part * lanes, last_start)
            begin = self._moved(pointer, storage, start)
            rest = self._read(storage, begin, lanes)
            places = []
            for lane in range(lanes):
                place = lane * stride
                if start <= place < start + lanes:
                    places.append(lanes + place - start)
                else:
                    # The first shuffle puts lanes in place; later ones keep them.
                    places.append(place if part == 1 and place < start else lane)
            value = self.builder.shuffle(value, rest, places)
        return value

    def _load_masked(self, storage: Storage, split: Split, mask: Mask) -> Value:
        if abs(split.stride) != 1:
            return self._gather(storage, split, mask)
        assert self.scopes.vector is not None
        lanes, element = self.scopes.vector.lanes, storage.element
        chosen = self.builder.broadcast(self.condition(mask), lanes)
        pointer = self._lowest(storage, split, lanes)
        if split.stride < 0:
            chosen = self.builder.reversed(chosen)
        whole = vector_of(scalar_type(element), lanes)
        function = f"@llvm.masked.load.{mangled(element, lanes)}.p0"
        self.builder.declarations.add(
            f"declare {whole} {function}(ptr, <{lanes} x i1>, {whole})"
        )
        text = self.builder.assign(
            f"call {whole} {function}(ptr align {element.itemsize} {pointer}, "
            f"{type_of(chosen)} {chosen.text}, {whole} zeroinitializer)"
        )
        value = Value(text, element, lanes)
        return self.builder.reversed(value) if split.stride < 0 else value

    def _lowest(self, storage: Storage, split: Split, lanes: int) -> str:
        first = split.constant + min(0, split.stride * (lanes - 1))
        return self._pointer(storage, Split(first, split.scalars, split.stride, ()))

    def _gather(self, storage: Storage, split: Split, mask: Mask) -> Value:
        assert self.scopes.vector is not None
        lanes, element = self.scopes.vector.lanes, storage.element
        chosen = self.builder.broadcast(self.condition(mask), lanes)
        pointers = self.pointers(storage, split)
        whole = vector_of(scalar_type(element), lanes)
        function = f"@llvm.masked.gather.{mangled(element, lanes)}.v{lanes}p0"
        self.builder.declarations.add(
            f"declare {whole} {function}(<{lanes} x ptr>, <{lanes} x i1>, {whole})"
        )
        text = self.builder.assign(
            f"call {whole} {function}(<{lanes} x ptr> align {element.itemsize} "
            f"{pointers}, {type_of(chosen)} {chosen.text}, {whole} zeroinitializer)"
        )
        return Value(text, element, lanes)

    # --- stores ------------------------------------------------------------------

    def store(self, storage: Storage, form: Affine, value: Value, mask: Mask) -> None:
        """Write a value, or one for each lane, where the mask holds."""
        if mask.never:
            return
        split = self.split(form)
        value = self._to_storage(storage, value)
        if split.is_uniform and mask.lanes is None:
            # All lanes write here; the last one stays.
            last = self.builder.lane(value, value.lanes - 1)
            self._where(mask, lambda: self._write(storage, split, last))
            return
        assert self.scopes.vector is not None
        value = self.builder.broadcast(value, self.scopes.vector.lanes)
        if abs(split.stride) == 1 and not split.gathered:
            self._store_vector(storage, split, value, mask)
        else:
            self._scatter(storage, split, value, mask)

    def store_at(self, storage: Storage, pointer: str, value: Value) -> None:
        """Write the element that a pointer points to."""
        self._write_at(storage, pointer, self._to_storage(storage, value))

    def _to_storage(self, storage: Storage, value: Value) -> Value:
        if not storage.in_registers:
            return formats.to_memory(self.ops, value)
        if storage.dtype.is_bool:
            return self.ops.cast(value, dtypes.uint8)
        return value.with_dtype(storage.element)

    def _where(self, mask: Mask, write: Callable[[], None]) -> None:
        if mask.uniform is None:
            write()
            return
        after = self.builder.jump_if(mask.uniform)
        write()
        self.builder.end_jump(after)

    def _write(self, storage: Storage, split: Split, value: Value) -> None:
        pointer = self._pointer(storage, split)
        self._write_at(storage, pointer, value)

    def _write_at(self, storage: Storage, pointer: str, value: Value) -> None:
        self.builder.line(
            f"store {type_of(value)} {value.text}, ptr {pointer}, "
            f"align {storage.element.itemsize}{storage.store_access}"
        )

    def _store_vector(
        self, storage: Storage, split: Split, value: Value, mask: Mask
    ) -> None:
        pointer = self._lowest(storage, split, value.lanes)
        if split.stride < 0:
            value = self.builder.reversed(value)
        if mask.lanes is None:
            self._where(mask, lambda: self._write_at(storage, pointer, value))
            return
        chosen = self.builder.broadcast(self.condition(mask), value.lanes)
        if split.stride < 0:
            chosen = self.builder.reversed(chosen)
        function = f"@llvm.masked.store.{mangled(value.dtype, value.lanes)}.p0"
        self.builder.declarations.add(
            f"declare void {function}({type_of(value)}, ptr, {type_of(chosen)})"
        )
        self.builder.line(
            f"call void {function}({type_of(value)} {value.text}, "
            f"ptr align {value.dtype.itemsize} {pointer}, "
            f"{type_of(chosen)} {chosen.text})"
        )

    def _scatter(
        self, storage: Storage, split: Split, value: Value, mask: Mask
    ) -> None:
        lanes = value.lanes
        chosen = self.builder.broadcast(self.condition(mask), lanes)
        pointers = self.pointers(storage, split)
        function = f"@llvm.masked.scatter.{mangled(value.dtype, lanes)}.v{lanes}p0"
        self.builder.declarations.add(
            f"declare void {function}({type_of(value)}, <{lanes} x ptr>, "
            f"{type_of(chosen)})"
        )
        self.builder.line(
            f"call void {function}({type_of(value)} {value.text}, "
            f"<{lanes} x ptr> align {value.dtype.itemsize} {pointers}, "
            f"{type_of(chosen)} {chosen.text})"
        )
