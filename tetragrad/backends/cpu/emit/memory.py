"""Loads and stores: how a vector meets memory depends on how far a lane moves.

    0                scalar, for all lanes
    1, -1            plain vector, reversed
    2 to 4           plain vectors, shuffled together
    anything else    lane by lane, or scatter

A load whose guard fails for all lanes reads zeros from a constant instead, so that it
needs no branch. One that fails for some lanes is masked.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from tetragrad.backends.cpu.emit import formats
from tetragrad.backends.cpu.emit.addresses import ALWAYS, Addresses, Mask, Split
from tetragrad.backends.cpu.emit.interleaved import interleaved
from tetragrad.backends.cpu.emit.operations import Operations
from tetragrad.backends.cpu.emit.scopes import Scopes
from tetragrad.backends.cpu.emit.vector import (
    Builder,
    Value,
    constant,
    constant_lanes,
    mangled,
    memory_dtype,
    register_dtype,
    register_type,
    scalar_type,
    type_of,
    vector_of,
)
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.kernel.affine import Affine

#: The constant that guarded loads read where the guard fails, and its size.
ZEROS = "@zeros"
ZEROS_BYTES = 512
#: A byte that is not 0, which LLVM does not know.
TRUE = "@true"
_LARGEST_SHUFFLED_STRIDE = 4


@frozen
class Storage:
    """Elements in memory: a buffer or a tile.

    ``in_registers`` storage holds values as registers do, so that LLVM can keep
    them there; ``access`` is appended to loads and stores. The scope at ``level``
    knows where the ``base`` is.
    """

    base: str
    dtype: DType
    in_registers: bool = False
    load_access: str = ""
    store_access: str = ""
    level: int = 0

    @functools.cached_property
    def element(self) -> DType:
        """The dtype by which elements are loaded and stored."""
        if not self.in_registers:
            return memory_dtype(self.dtype)
        return dtypes.uint8 if self.dtype.is_bool else register_dtype(self.dtype)

    @functools.cached_property
    def type(self) -> str:
        """LLVM's name for an element's type."""
        return scalar_type(self.element)


class Memory(Addresses):
    """Reads and writes storage at affine addresses."""

    def __init__(self, builder: Builder, scopes: Scopes, ops: Operations) -> None:
        super().__init__(builder, scopes, ops)
        # Elements of slots on the stack that have a name.
        self._registers: dict[tuple[str, int], str] = {}

    # --- pointers ---------------------------------------------------------------

    def pointer(self, storage: Storage, form: Affine) -> str:
        """Where the element of an address is, the first lane's if there are several."""
        return self._pointer(storage, self.split(form))

    def _pointer(self, storage: Storage, split: Split) -> str:
        """Where the first lane's element is (without gathered terms)."""
        element = storage.type
        pointer = storage.base
        if split.scalars:
            index, level = self.scalar_sum(split.scalars)
            level = max(level, storage.level)
            key = ("pointer", storage.base, element, index.text)
            known = self.scopes.stack[level].known
            found = known.get(key)
            if found is None:
                with self.scopes.at_level(level):
                    text = self.builder.assign(
                        f"getelementptr {element}, ptr {pointer}, i64 {index.text}"
                    )
                found = known[key] = Value(text, dtypes.int64)
            pointer = found.text
        return self._moved(pointer, storage, split.constant)

    def _register(self, storage: Storage, place: int) -> str:
        """An element of a slot on the stack, which is named once for all uses."""
        key = (storage.base, place)
        found = self._registers.get(key)
        if found is None:
            with self.scopes.at_level(0):
                found = self.builder.assign(
                    f"getelementptr {storage.type}, ptr {storage.base}, i64 {place}"
                )
            self._registers[key] = found
        return found

    def _moved(self, pointer: str, storage: Storage, elements: int) -> str:
        if elements == 0:
            return pointer
        if storage.in_registers and pointer == storage.base:
            return self._register(storage, elements)
        return self.builder.assign(
            f"getelementptr {storage.type}, ptr {pointer}, i64 {elements}"
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
        return self.builder.assign(
            f"getelementptr {storage.type}, ptr {base}, {type_of(index)} {index.text}"
        )

    # --- loads -------------------------------------------------------------------

    def load(self, storage: Storage, form: Affine, mask: Mask = ALWAYS) -> Value:
        """The element (or one for each lane) at an address; 0 outside the mask."""
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

    def load_at(
        self, storage: Storage, pointer: str, offset: int = 0, lanes: int = 1
    ) -> Value:
        """Neighbouring elements, the first of them so many after a pointer."""
        pointer = self._moved(pointer, storage, offset)
        return self._from_storage(storage, self._read(storage, pointer, lanes))

    def fetch(self, storage: Storage, pointer: str, offset: int) -> None:
        """Bring a line of memory into the second-level cache; it need not exist."""
        pointer = self._moved(pointer, storage, offset)
        self.builder.declarations.add(
            "declare void @llvm.prefetch.p0(ptr, i32 immarg, i32 immarg, i32 immarg)"
        )
        self.builder.line(
            f"call void @llvm.prefetch.p0(ptr {pointer}, i32 0, i32 2, i32 1)"
        )

    def _from_storage(self, storage: Storage, value: Value) -> Value:
        if storage.dtype is storage.element:
            return value
        if not storage.in_registers:
            return formats.from_memory(self.ops, value, storage.dtype)
        if storage.dtype.is_bool:
            return self.ops.cast(value, dtypes.bool_)
        return value.with_dtype(storage.dtype)

    def _read(self, storage: Storage, pointer: str, lanes: int) -> Value:
        element = storage.element
        text = self.builder.assign(
            f"load {register_type(element, lanes)}, ptr {pointer}, "
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
            condition = self.both_hold(condition, self.ops.any_lane(mask.lanes))
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
        pointer = self._guarded(self._lowest(storage, split, lanes), condition)

        def read(start: int) -> Value:
            return self._read(storage, self._moved(pointer, storage, start), lanes)

        value = self._read_every(size, lanes, read)
        return self.builder.reversed(value) if split.stride < 0 else value

    def _read_every(
        self, stride: int, lanes: int, read: Callable[[int], Value]
    ) -> Value:
        """Every stride-th element, from whole vectors that end with the last one.

        ``read`` gives the vector from an element on.
        """
        value = read(0)
        last_start = stride * (lanes - 1) + 1 - lanes
        for part in range(1, stride):
            start = min(part * lanes, last_start)
            places = []
            for lane in range(lanes):
                place = lane * stride
                if start <= place < start + lanes:
                    places.append(lanes + place - start)
                else:
                    # The first shuffle puts lanes in place; later ones keep them.
                    places.append(place if part == 1 and place < start else lane)
            value = self.builder.shuffle(value, read(start), places)
        return value

    def _load_masked(self, storage: Storage, split: Split, mask: Mask) -> Value:
        assert self.scopes.vector is not None
        lanes, stride = self.scopes.vector.lanes, abs(split.stride)
        if stride > 1 and not self._masks_pay(storage.element, stride):
            return self._gather(storage, split, mask)
        chosen = self.builder.broadcast(self.condition(mask), lanes)
        pointer = self._lowest(storage, split, lanes)
        if split.stride < 0:
            chosen = self.builder.reversed(chosen)

        def read(start: int) -> Value:
            moved = self._moved(pointer, storage, start)
            inside = chosen
            if stride > 1:
                inside = self._spread(chosen, stride, start)
            return self._read_where(storage, moved, inside)

        value = self._read_every(stride, lanes, read)
        return self.builder.reversed(value) if split.stride < 0 else value

    def _masks_pay(self, element: DType, stride: int) -> bool:
        """Whether vectors with gaps are read as such: LLVM divides masks it lacks."""
        needed = "avx2" if element.itemsize >= 4 else "avx512bw"
        return stride <= _LARGEST_SHUFFLED_STRIDE and needed in self.ops.features

    def _spread(self, chosen: Value, stride: int, start: int) -> Value:
        """Which elements from a place on are those of chosen lanes."""
        never = Value("zeroinitializer", chosen.dtype, chosen.lanes)
        places = []
        for place in range(start, start + chosen.lanes):
            lane, beside = divmod(place, stride)
            places.append(chosen.lanes if beside else lane)
        return self.builder.shuffle(chosen, never, places)

    def _read_where(self, storage: Storage, pointer: str, chosen: Value) -> Value:
        """Neighbouring elements of the chosen lanes; zeros in the others."""
        lanes, element = chosen.lanes, storage.element
        whole = vector_of(scalar_type(element), lanes)
        function = f"@llvm.masked.load.{mangled(element, lanes)}.p0"
        self.builder.declarations.add(
            f"declare {whole} {function}(ptr, <{lanes} x i1>, {whole})"
        )
        text = self.builder.assign(
            f"call {whole} {function}(ptr align {element.itemsize} {pointer}, "
            f"{type_of(chosen)} {chosen.text}, {whole} zeroinitializer)"
        )
        return Value(text, element, lanes)

    def _lowest(self, storage: Storage, split: Split, lanes: int) -> str:
        if split.stride >= 0:
            return self._pointer(storage, split)
        first = split.constant + split.stride * (lanes - 1)
        return self._pointer(storage, Split(first, split.scalars, split.stride, ()))

    def _gather(self, storage: Storage, split: Split, mask: Mask) -> Value:
        """Lane by lane.

        The processor's own gather is the slower way: since microcode protects it
        against data sampling (CVE-2022-40982), 16 lanes take some hundred cycles.
        """
        assert self.scopes.vector is not None
        lanes, element = self.scopes.vector.lanes, storage.element
        if split.gathered or not mask.always:
            places = self._places(storage, split, mask)
        else:
            base = self._pointer(storage, split)
            places = [
                self._moved(base, storage, split.stride * lane) for lane in range(lanes)
            ]
        whole = vector_of(scalar_type(element), lanes)
        text = "poison"
        for lane, place in enumerate(places):
            value = self._read(storage, place, 1)
            text = self.builder.assign(
                f"insertelement {whole} {text}, {type_of(value)} {value.text}, "
                f"i64 {lane}"
            )
        return Value(text, element, lanes)

    def _places(self, storage: Storage, split: Split, mask: Mask) -> list[str]:
        """Where each lane's element is; lanes outside the mask find a zero."""
        assert self.scopes.vector is not None
        lanes = self.scopes.vector.lanes
        pointers = self.pointers(storage, split)
        if not mask.always:
            chosen = self.builder.broadcast(self.condition(mask), lanes)
            zeros = f"splat (ptr {ZEROS})"
            pointers = self.builder.assign(
                f"select {type_of(chosen)} {chosen.text}, <{lanes} x ptr> {pointers}, "
                f"<{lanes} x ptr> {zeros}"
            )
        return [
            self.builder.assign(
                f"extractelement <{lanes} x ptr> {pointers}, i64 {lane}"
            )
            for lane in range(lanes)
        ]

    # --- stores ------------------------------------------------------------------

    def store(self, storage: Storage, form: Affine, value: Value, mask: Mask) -> None:
        """Write a value, or one for each lane, where the mask holds."""
        if mask.never:
            return
        split = self.split(form)
        value = self.to_storage(storage, value)
        if split.is_uniform and mask.lanes is None:
            # All lanes write here; the last one stays.
            last = self.builder.lane(value, value.lanes - 1)
            # Found before the branch: other stores may begin from the same place.
            pointer = self._pointer(storage, split)
            self._where(mask, lambda: self._write_at(storage, pointer, last))
            return
        assert self.scopes.vector is not None
        value = self.builder.broadcast(value, self.scopes.vector.lanes)
        if abs(split.stride) == 1 and not split.gathered:
            self._store_vector(storage, split, value, mask)
        else:
            self._scatter(storage, split, value, mask)

    def store_interleaved(
        self, storage: Storage, form: Affine, values: Sequence[Value], mask: Mask
    ) -> bool:
        """Write vectors whose lanes take turns in memory, the first one's at ``form``.

        False, and nothing is written, where lanes are not as far apart as that.
        """
        split = self.split(form)
        vector = self.scopes.vector
        if vector is None or vector.lanes == 1 or mask.never:
            return mask.never
        if split.gathered or split.stride != len(values):
            return False
        parts = [
            self.builder.broadcast(self.to_storage(storage, value), vector.lanes)
            for value in values
        ]
        masks: list[Value | None] = [None] * len(parts)
        if mask.lanes is not None:
            chosen = self.builder.broadcast(self.condition(mask), vector.lanes)
            masks = [*interleaved(self.builder, [chosen] * len(parts))]
        start = split.constant
        for whole, lanes in zip(interleaved(self.builder, parts), masks, strict=False):
            place = Split(start, split.scalars, 1, ())
            self._store_vector(storage, place, whole, Mask(mask.uniform, lanes))
            start += whole.lanes
        return True

    def store_at(
        self, storage: Storage, pointer: str, value: Value, offset: int = 0
    ) -> None:
        """Write neighbouring elements, the first of them so many after a pointer."""
        pointer = self._moved(pointer, storage, offset)
        self._write_at(storage, pointer, self.to_storage(storage, value))

    def to_storage(self, storage: Storage, value: Value) -> Value:
        """A value as the elements that a storage holds."""
        if value.dtype is storage.element:
            return value
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
        if mask.lanes is None and mask.uniform is None:
            self._write_at(storage, pointer, value)
            return
        if mask.lanes is None:
            self._where(mask, lambda: self._write_at(storage, pointer, value))
            return
        chosen = self.builder.broadcast(self.condition(mask), value.lanes)
        if split.stride < 0:
            chosen = self.builder.reversed(chosen)
        if value.dtype.is_integer and value.dtype.bits < 64:
            chosen = self._unknown(chosen)
        function = f"@llvm.masked.store.{mangled(value.dtype, value.lanes)}.p0"
        self.builder.declarations.add(
            f"declare void {function}({type_of(value)}, ptr, {type_of(chosen)})"
        )
        self.builder.line(
            f"call void {function}({type_of(value)} {value.text}, "
            f"ptr align {value.dtype.itemsize} {pointer}, "
            f"{type_of(chosen)} {chosen.text})"
        )

    def _unknown(self, mask: Value) -> Value:
        """A mask of which LLVM cannot know that only one lane is set.

        It would make one store of that lane. Where the integers are cut off from wider
        ones, LLVM 22 stores the wider one for AVX-512, over the neighbouring elements.
        """
        true = self.scopes.recall(TRUE, 0)
        if true is None:
            with self.scopes.at_level(0):
                read = self.builder.assign(f"load volatile i8, ptr {TRUE}")
                text = self.builder.assign(f"icmp ne i8 {read}, 0")
            true = self.scopes.remember(TRUE, 0, Value(text, dtypes.bool_))
        return self.builder.binary("and", mask, true)

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
