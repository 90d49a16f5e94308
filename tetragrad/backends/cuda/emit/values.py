"""Expressions in registers: loads, ops and stores, at a run of points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tetragrad.backends.cuda.emit import division, formats
from tetragrad.backends.cuda.emit.access import Memory, Storage
from tetragrad.backends.cuda.emit.comparisons import at_most_of
from tetragrad.backends.cuda.emit.forms import Extents, Forms, Lanes, tile_form
from tetragrad.backends.cuda.emit.operations import Operations
from tetragrad.backends.cuda.emit.ptx import INDEX, WIDE_INDEX, Builder, Value, constant
from tetragrad.backends.cuda.emit.rounding import (
    is_at_least_one,
    quotients_only_rounded,
)
from tetragrad.backends.cuda.emit.spread import Coordinate, Run
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import UnsupportedError
from tetragrad.graph.elementwise import Reciprocal
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Indexed,
    Literal,
    Load,
    Position,
    Quotient,
    Remainder,
    Scalar,
    Select,
    literal,
    walk,
)
from tetragrad.tile.ir import QuickPower, Tile, TileLoad

#: Expressions, operands first, and how each is computed.
Steps = Sequence[tuple[Expression, "Callable[[Points, Any], Lanes]"]]


class Values:
    """Computes expressions; knows where loops stand and where tiles are."""

    def __init__(
        self,
        ops: Operations,
        slots: Sequence[Storage],
        scalars: Sequence[Value],
        written: frozenset[int],
    ) -> None:
        self.ops = ops
        self.builder: Builder = ops.builder
        self.memory = Memory(ops)
        self.slots = slots
        self.scalars = scalars
        self.written = written
        self.extents = Extents()
        self.places: dict[int, Coordinate] = {}
        self.storages: dict[str, Storage] = {}
        # The elements of register tiles that this thread holds, by constant indices.
        self.registers: dict[str, dict[tuple[int, ...], Value]] = {}
        #: Tiles in memory whose elements stay as they are once they are read.
        self.written_once: set[str] = set()
        #: Tiles in device memory that an earlier kernel has written.
        self.given: frozenset[str] = frozenset()
        self._steps: dict[tuple[Expression, ...], Sequence[Steps]] = {}
        self._places: dict[Expression, Affine] = {}
        #: Conditions on this value are known to hold where code is written now.
        self.ample: Expression | None = None

    def at(self, run: Run, guard: Guard = ()) -> Points:
        """A place to evaluate expressions at; loads there obey the guard."""
        return self.along((run,), guard)

    def along(self, runs: Sequence[Run], guard: Guard = ()) -> Points:
        """Runs that are alike, to evaluate expressions at side by side."""
        if guard:
            guard = tuple(form for form in guard if form.is_pure())
        return Points(self, runs, guard)

    def holds(self, form: Affine) -> bool:
        """Whether a form is known to be >= 0."""
        if self.ample is not None and any(atom == self.ample for atom, _ in form.terms):
            return True
        return self.extents.range_of(form)[0] >= 0

    def place(self, load: Expression) -> Affine:
        """Where what is loaded is from the start of its tile."""
        found = self._places.get(load)
        if found is None:
            found = self._places[load] = tile_form(load.tile, load.indices)
        return found

    def steps(self, roots: tuple[Expression, ...]) -> Sequence[Steps]:
        """How to compute some values that one place needs, one after the other."""
        found = self._steps.get(roots)
        if found is None:
            found = self._steps[roots] = _steps_to(roots)
        return found


class Points(Forms):
    """Runs of points, and what has been computed there."""

    def __init__(self, values: Values, runs: Sequence[Run], guard: Guard) -> None:
        super().__init__(values, runs)
        self.guard = guard
        self._done: dict[Expression, Lanes] = {}
        self._constant_parts: dict[tuple[Affine, int], Sequence[int]] = {}

    # --- expressions -------------------------------------------------------------

    def evaluate(self, root: Expression) -> Lanes:
        """The values of an expression along the run."""
        if root not in self._done:
            (steps,) = self.values.steps((root,))
            self._compute(steps)
        return self._done[root]

    def evaluate_each(self, roots: tuple[Expression, ...]) -> Iterator[Lanes]:
        """The values of several expressions, each made when it is asked for."""
        for root, steps in zip(roots, self.values.steps(roots), strict=True):
            self._compute(steps)
            yield self._done[root]

    def _compute(self, steps: Steps) -> None:
        done = self._done
        for expression, compute in steps:
            if expression not in done:
                done[expression] = compute(self, expression)

    def give(self, expression: Expression, lanes: Lanes) -> None:
        """Say what an expression's values are."""
        self._done[expression] = lanes

    def value(self, root: Expression, element: int) -> Value:
        """The value of an expression at one element, to be kept."""
        return formats.settled(self.lane(self.evaluate(root), element))

    def word(self, root: Expression, element: int = 0) -> str:
        """The register with the half-width floats of two neighbours."""
        lanes = self.evaluate(root)
        pair = (self.lane(lanes, element + place) for place in (0, 1))
        return formats.packed(self.ops, *pair)

    # --- kinds of expressions ------------------------------------------------------

    def _literal(self, expression: Expression) -> Lanes:
        return (constant(expression.value, expression.dtype),)

    def _scalar(self, expression: Expression) -> Lanes:
        return (self.values.scalars[expression.slot],)

    def _position(self, expression: Expression) -> Lanes:
        form, dtype = expression.form, expression.dtype
        return tuple(
            [
                self.ops.cast(self.number(form, element), dtype)
                for element in self.at_each(self.elements_of((form,)))
            ]
        )

    def _indexed(self, expression: Expression) -> Lanes:
        return self._each(
            lambda value: self.ops.cast(value, WIDE_INDEX),
            [self._done[expression.value]],
        )

    def _each(self, compute: Callable[..., Value], inputs: Sequence[Lanes]) -> Lanes:
        """Something that is computed from one value of each input, side by side."""
        if self.count == 1 and max(map(len, inputs)) == 1:
            return (compute(*[value for (value,) in inputs]),)
        columns = self.columns(inputs)
        places = self.at_each(len(columns[0]))
        return tuple(
            [
                compute(*lane)
                for lane, _ in zip(zip(*columns, strict=True), places, strict=True)
            ]
        )

    def _op(self, expression: Expression) -> Lanes:
        sides = at_most_of(expression)
        inputs = [self._done[entry] for entry in sides or expression.inputs]
        if sides is not None:
            return self._each(self.ops.at_most, inputs)
        kind, dtype = expression.op, expression.dtype
        by_pairs = self.ops.pair_instruction(kind, dtype)
        if by_pairs is not None and self.width % 2 == 0:
            columns = self.columns(inputs)
            if len(columns[0]) == self.elements:
                return self._by_pairs(by_pairs, dtype, columns)
        source = inputs[0][0].dtype
        name = self.ops.exact_instruction(kind, source)
        if name is not None:
            return self._instructions(name, source, inputs)
        apply = self.ops.apply
        return self._each(lambda *operands: apply(kind, dtype, operands), inputs)

    def _instructions(self, name: str, dtype: DType, inputs: Sequence[Lanes]) -> Lanes:
        """One instruction on all values, side by side."""
        columns = self.columns(inputs)
        parts = self.parts(len(columns[0])) if self.count > 1 else ()
        return self.builder.compute_each(name, dtype, columns, parts)

    def _short_quotient(self, expression: Expression) -> Lanes:
        """A quotient or reciprocal whose last digits nobody will see."""
        inputs = [self._done[entry] for entry in expression.inputs]
        if expression.op is Reciprocal:
            # Subnormal numbers take longer, if there can be any.
            is_normal = is_at_least_one(expression.inputs[0])
            name = "rcp.approx.ftz.f32" if is_normal else "rcp.approx.f32"
            return self._instructions(name, dtypes.float32, inputs)
        return self._each(self.ops.short_quotient, inputs)

    def _by_pairs(
        self, instruction: str, dtype: DType, columns: Sequence[Lanes]
    ) -> Lanes:
        """An op on two neighbours at a time, each rounded as if it were alone."""
        results: list[Value] = []
        for element in self.at_each(self.elements):
            if element % 2:
                continue
            words = [
                formats.packed(self.ops, lanes[element], lanes[element + 1])
                for lanes in columns
            ]
            word = self.builder.assign("b32", instruction, ", ".join(words))
            results += formats.unpacked(self.ops, word, dtype)
        return tuple(results)

    def _select(self, select: Expression) -> Lanes:
        inside, outside = self._done[select.inside], self._done[select.outside]
        if _is_guarded_load(select):
            return inside
        number = max(len(inside), len(outside), self.elements_of(select.guard))
        results = []
        for element in self.at_each(number):
            condition = self.condition(select.guard, element)
            chosen, other = self.lane(inside, element), self.lane(outside, element)
            if condition is not None:
                chosen = self.ops.where(condition, chosen, other)
            results.append(chosen)
        return tuple(results)

    def _quick_power(self, power: Expression) -> Lanes:
        """One multiplication with an addition, and the GPU's own instruction."""

        def compute(value: Value, factor: Value, addend: Value) -> Value:
            exponent = self.ops.fma(value, factor, addend)
            name = "ex2.approx.ftz.f32"
            return self.builder.compute(name, dtypes.float32, exponent)

        return self._each(compute, [self._done[entry] for entry in power.operands])

    def _divide(self, atom: Expression) -> Lanes:
        instruction = "div" if isinstance(atom, Quotient) else "rem"
        short = division.quotient if instruction == "div" else division.remainder
        results = []
        for element in self.at_each(self.elements_of((atom.form,))):
            number = self.number(atom.form, element)
            if number.dtype is INDEX and number.constant is None:
                text = short(self.builder, number.text, atom.divisor)
                results.append(Value(text, INDEX))
                continue
            suffix = "u64" if number.dtype is WIDE_INDEX else "u32"
            divisor = constant(atom.divisor, number.dtype)
            name = f"{instruction}.{suffix}"
            results.append(self.builder.compute(name, number.dtype, number, divisor))
        return tuple(results)

    # --- loads -------------------------------------------------------------------

    def _load(self, load: Expression) -> Lanes:
        guard = load.guard
        if _may_leave(load.address, self.guard):
            guard += self.guard
        storage = self.values.slots[load.slot]
        return self.read(storage, load.address, guard, load.slot in self.values.written)

    def read(
        self, storage: Storage, address: Affine, guard: Guard, changes: bool
    ) -> Lanes:
        """Elements of a buffer or a tile in memory, as wide as can be."""
        memory = self.values.memory
        lanes: list[Value] = []
        if not any(map(self.varies, (address, *guard))):
            for element in self.at_each(self.count):
                mask = self.mask(guard, element)
                place = self.linear(address, element)
                lanes += memory.load(storage, place, 1, mask, changes)
            return tuple(lanes)
        for element, width in self._vectors(storage, address, guard):
            mask = self.mask(guard, element)
            place = self.linear(address, element)
            lanes += memory.load(storage, place, width, mask, changes)
        return tuple(lanes)

    def _vectors(
        self, storage: Storage, address: Affine, guard: Guard
    ) -> Iterator[tuple[int, int]]:
        """The elements that one instruction each begins with, and how many it moves."""
        memory = self.values.memory
        moves_by_one = self.moves_by_one(address)
        for first in self.at_each(self.count):
            width = 1
            if moves_by_one:
                run = self.runs[first // self.width]
                width = memory.widest(storage, self.even_width(guard, address, run))
            for element in range(first, first + self.width, width):
                yield element, width

    def moves_by_one(self, address: Affine) -> bool:
        lane = self.run.lane
        return address.coefficient(lane) == 1 and not any(
            not isinstance(atom, int) and lane in atom.free_axes
            for atom, _ in address.terms
        )

    def _tile_load(self, expression: Expression) -> Lanes:
        tile: Tile = expression.tile
        if tile.name in self.values.storages:
            storage = self.values.storages[tile.name]
            values = self.values
            changes = not (
                tile.name in values.written_once or tile.name in values.given
            )
            return self.read(storage, values.place(expression), self.guard, changes)
        elements = self.values.registers[tile.name]
        keys = self.keys(expression.indices, self.elements_of(expression.indices))
        return tuple([elements[key] for key in keys])

    def key(self, indices: Sequence[Affine], element: int) -> tuple[int, ...]:
        """Which of a thread's registers of a tile the indices mean."""
        return self.keys(indices, self.elements)[element]

    def keys(
        self, indices: Sequence[Affine], number: int | None = None
    ) -> list[tuple[int, ...]]:
        """The same for all elements, or the first one of each run."""
        if number is None:
            number = self.elements
        if not indices:
            return [()] * number
        columns = [self._constants(form, number) for form in indices]
        return list(zip(*columns, strict=True))

    def _constants(self, form: Affine, number: int) -> Sequence[int]:
        """A form at so many elements, but for what registers say."""
        found = self._constant_parts.get((form, number))
        if found is None:
            assert form.is_pure(), "a register tile indexed by data"
            offsets, step = self._offsets(form), form.coefficient(self.run.lane)
            if len(offsets) == 1 and number > 1:
                offsets = [*offsets] * self.count
            if number > self.count:
                inside = [step * place for place in range(self.width)]
                offsets = [start + further for start in offsets for further in inside]
            found = self._constant_parts[form, number] = offsets
        return found

    # --- stores ------------------------------------------------------------------

    def write(
        self, storage: Storage, address: Affine, guard: Guard, lanes: Lanes
    ) -> None:
        """Write values to a buffer or a tile in memory."""
        memory = self.values.memory
        if not any(map(self.varies, (address, *guard))):
            for element in self.at_each(self.count):
                mask, place = self.mask(guard, element), self.linear(address, element)
                last = self.lane(lanes, element + self.width - 1)
                memory.store(storage, place, (last,), mask)
            return
        whole = lanes
        if len(lanes) < self.elements:
            whole = tuple([self.lane(lanes, n) for n in range(self.elements)])
        for element, width in self._vectors(storage, address, guard):
            mask = self.mask(guard, element)
            place = self.linear(address, element)
            memory.store(storage, place, whole[element : element + width], mask)


def _steps_to(roots: tuple[Expression, ...]) -> Sequence[Steps]:
    """What each value needs that those before it have not needed."""
    short = quotients_only_rounded(*roots)
    found: list[Steps] = []
    entries = iter(walk(*roots))
    known: set[Expression] = set()
    for root in roots:
        steps: list[tuple[Expression, Callable[[Points, Any], Lanes]]] = []
        while root not in known:
            entry = next(entries)
            known.add(entry)
            if entry in short:
                steps.append((entry, Points._short_quotient))
            else:
                steps.append((entry, _method_of(type(entry))))
        found.append(steps)
    return found


def _may_leave(address: Affine, guard: Guard) -> bool:
    """Whether an address may be outside of memory where a statement's guard fails.

    Where they have no axis in common, the same address is also met where it holds: one
    value of a row is loaded once, not for each place that the row's end may have.
    """
    axes = address.axes()
    return not address.is_pure() or any(axes & form.axes() for form in guard)


def _is_guarded_load(select: Expression) -> bool:
    """Whether a load has the same guard, outside of which it gives zeros by itself."""
    load, zero = select.inside, literal(0, select.dtype)
    is_load = isinstance(load, Load) and set(select.guard) <= set(load.guard)
    return is_load and select.outside == zero


#: How each kind of expression is computed; what derives from one is, like it.
_METHODS: dict[type[Expression], Callable[[Points, Any], Lanes]] = {
    Literal: Points._literal,
    Scalar: Points._scalar,
    Compute: Points._op,
    Load: Points._load,
    TileLoad: Points._tile_load,
    Position: Points._position,
    Select: Points._select,
    QuickPower: Points._quick_power,
    Quotient: Points._divide,
    Remainder: Points._divide,
    Indexed: Points._indexed,
}


def _method_of(kind: type[Expression]) -> Callable[[Points, Any], Lanes]:
    found = _METHODS.get(kind)
    if found is None:
        known = [base for base in kind.__mro__ if base in _METHODS]
        if not known:
            raise UnsupportedError(f"{kind.__name__} values on CUDA")
        found = _METHODS[kind] = _METHODS[known[0]]
    return found
