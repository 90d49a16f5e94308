"""Expressions in registers: loads, ops and stores, at a run of points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
)
from tetragrad.tile.ir import QuickPower, Tile, TileLoad
from tetragrad.tile.plans.rewrite import walk_until


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
        self._only_rounded: dict[Expression, frozenset[Expression]] = {}
        self._orders: dict[Expression, Sequence[Expression]] = {}
        #: Conditions on this value are known to hold where code is written now.
        self.ample: Expression | None = None

    def at(self, run: Run, guard: Guard = ()) -> Point:
        """A place to evaluate expressions at; loads there obey the guard."""
        return Point(self, run, tuple(form for form in guard if form.is_pure()))

    def holds(self, form: Affine) -> bool:
        """Whether a form is known to be >= 0."""
        if self.ample is not None and any(atom == self.ample for atom, _ in form.terms):
            return True
        return self.extents.range_of(form)[0] >= 0

    def only_rounded(self, root: Expression) -> frozenset[Expression]:
        """The float32 quotients in a value that are only rounded to 16 bits."""
        found = self._only_rounded.get(root)
        if found is None:
            found = self._only_rounded[root] = quotients_only_rounded(root)
        return found

    def order(self, root: Expression) -> Sequence[Expression]:
        """What a value is made of, operands first."""
        found = self._orders.get(root)
        if found is None:
            found = self._orders[root] = walk_until({}, root)
        return found


class Point(Forms):
    """A run of points, and what has been computed there."""

    def __init__(self, values: Values, run: Run, guard: Guard) -> None:
        super().__init__(values, run)
        self.guard = guard
        self._done: dict[Expression, Lanes] = {}
        # Forms at the first element, and the step from there.
        self._constants: dict[Affine, tuple[int, int]] = {}

    # --- expressions -------------------------------------------------------------

    def evaluate(self, root: Expression) -> Lanes:
        """The values of an expression along the run."""
        done = self._done
        if root in done:
            return done[root]
        short = self.values.only_rounded(root)
        for expression in self.values.order(root):
            if expression in done:
                continue
            if expression in short:
                done[expression] = self._short_quotient(expression)
            else:
                done[expression] = _method_of(type(expression))(self, expression)
        return done[root]

    def give(self, expression: Expression, lanes: Lanes) -> None:
        """Say what an expression's values are."""
        self._done[expression] = lanes

    def value(self, root: Expression, element: int) -> Value:
        """The value of an expression at one element of the run, to be kept."""
        lanes = self.evaluate(root)
        return formats.settled(lanes[element % len(lanes)])

    def word(self, root: Expression) -> str:
        """The register with the half-width floats of a run of two."""
        lanes = self.evaluate(root)
        return formats.packed(self.ops, lanes[0], lanes[-1])

    def _elements(self, forms: Sequence[Affine]) -> range:
        """The elements at which something that depends on forms must be computed."""
        return range(self.run.width if any(map(self.varies, forms)) else 1)

    # --- kinds of expressions ------------------------------------------------------

    def _literal(self, expression: Expression) -> Lanes:
        return (constant(expression.value, expression.dtype),)

    def _scalar(self, expression: Expression) -> Lanes:
        return (self.values.scalars[expression.slot],)

    def _position(self, expression: Expression) -> Lanes:
        return tuple(
            self.ops.cast(self.number(expression.form, element), expression.dtype)
            for element in self._elements((expression.form,))
        )

    def _indexed(self, expression: Expression) -> Lanes:
        lanes = self._done[expression.value]
        return tuple(self.ops.cast(entry, WIDE_INDEX) for entry in lanes)

    def _op(self, expression: Expression) -> Lanes:
        sides = at_most_of(expression)
        inputs = [self._done[entry] for entry in sides or expression.inputs]
        width = max(map(len, inputs))
        if sides is not None:
            lhs, rhs = inputs
            return tuple(
                self.ops.at_most(lhs[place % len(lhs)], rhs[place % len(rhs)])
                for place in range(width)
            )
        by_pairs = self.ops.pair_instruction(expression.op, expression.dtype)
        if by_pairs is not None and width % 2 == 0:
            return self._by_pairs(by_pairs, expression.dtype, inputs, width)
        apply, kind, dtype = self.ops.apply, expression.op, expression.dtype
        source = inputs[0][0].dtype
        name = self.ops.exact_instruction(kind, source)
        if name is not None:
            compute = self.builder.compute
            inputs = [
                lanes if len(lanes) == width else lanes * width for lanes in inputs
            ]
            return tuple(
                [compute(name, source, *lane) for lane in zip(*inputs, strict=False)]
            )
        if all(len(lanes) == width for lanes in inputs):
            return tuple(
                apply(kind, dtype, operands) for operands in zip(*inputs, strict=True)
            )
        return tuple(
            apply(kind, dtype, tuple(lanes[element % len(lanes)] for lanes in inputs))
            for element in range(width)
        )

    def _short_quotient(self, expression: Expression) -> Lanes:
        """A quotient or reciprocal whose last digits nobody will see."""
        if expression.op is Reciprocal:
            # Subnormal numbers take longer, if there can be any.
            is_normal = is_at_least_one(expression.inputs[0])
            name = "rcp.approx.ftz.f32" if is_normal else "rcp.approx.f32"
            return tuple(
                self.builder.compute(name, dtypes.float32, value)
                for value in self._done[expression.inputs[0]]
            )
        lhs, rhs = (self._done[entry] for entry in expression.inputs)
        return tuple(
            self.ops.short_quotient(lhs[place % len(lhs)], rhs[place % len(rhs)])
            for place in range(max(len(lhs), len(rhs)))
        )

    def _by_pairs(
        self, instruction: str, dtype: DType, inputs: Sequence[Lanes], width: int
    ) -> Lanes:
        """An op on two neighbours at a time, each rounded as if it were alone."""
        results: list[Value] = []
        for element in range(0, width, 2):
            words = [
                formats.packed(
                    self.ops,
                    lanes[element % len(lanes)],
                    lanes[(element + 1) % len(lanes)],
                )
                for lanes in inputs
            ]
            word = self.builder.assign("b32", instruction, ", ".join(words))
            results += formats.unpacked(self.ops, word, dtype)
        return tuple(results)

    def _select(self, select: Expression) -> Lanes:
        inside, outside = self._done[select.inside], self._done[select.outside]
        if _is_guarded_load(select):
            return inside
        width = max(len(inside), len(outside), len(self._elements(select.guard)))
        results = []
        for element in range(width):
            condition = self.condition(select.guard, element)
            chosen = inside[element % len(inside)]
            other = outside[element % len(outside)]
            if condition is not None:
                chosen = self.ops.where(condition, chosen, other)
            results.append(chosen)
        return tuple(results)

    def _quick_power(self, power: Expression) -> Lanes:
        """One multiplication with an addition, and the GPU's own instruction."""
        inputs = [self._done[entry] for entry in power.operands]
        results = []
        for element in range(max(map(len, inputs))):
            value, factor, addend = (lanes[element % len(lanes)] for lanes in inputs)
            exponent = self.ops.fma(value, factor, addend)
            name = "ex2.approx.ftz.f32"
            results.append(self.builder.compute(name, dtypes.float32, exponent))
        return tuple(results)

    def _divide(self, atom: Expression) -> Lanes:
        instruction = "div" if isinstance(atom, Quotient) else "rem"
        short = division.quotient if instruction == "div" else division.remainder
        results = []
        for element in self._elements((atom.form,)):
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
        guard = (*load.guard, *self.guard)
        storage = self.values.slots[load.slot]
        return self.read(storage, load.address, guard, load.slot in self.values.written)

    def read(
        self, storage: Storage, address: Affine, guard: Guard, changes: bool
    ) -> Lanes:
        """Elements of a buffer or a tile in memory, as wide as can be."""
        memory = self.values.memory
        if not any(map(self.varies, (address, *guard))):
            mask = self.mask(guard)
            return memory.load(storage, self.linear(address), 1, mask, changes)
        width = 1
        if self.moves_by_one(address):
            width = memory.widest(storage, self.even_width(guard, address))
        lanes: list[Value] = []
        for element in range(0, self.run.width, width):
            mask = self.mask(guard, element)
            place = self.linear(address, element)
            lanes += memory.load(storage, place, width, mask, changes)
        return tuple(lanes)

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
            form = tile_form(tile, expression.indices)
            changes = tile.name not in self.values.written_once | self.values.given
            return self.read(storage, form, self.guard, changes)
        elements = self.values.registers[tile.name]
        return tuple(
            elements[self.key(expression.indices, element)]
            for element in self._elements(expression.indices)
        )

    def key(self, indices: Sequence[Affine], element: int) -> tuple[int, ...]:
        """Which of a thread's registers of a tile the indices mean."""
        return tuple([self._constant_part(form, element) for form in indices])

    def _constant_part(self, form: Affine, element: int) -> int:
        """A form at an element, but for what registers say."""
        found = self._constants.get(form)
        if found is None:
            found = self._constants[form] = self._find_constants(form)
        first, step = found
        return first + step * element

    def _find_constants(self, form: Affine) -> tuple[int, int]:
        total, step = form.constant, 0
        for atom, factor in form.terms:
            assert isinstance(atom, int), "a register tile indexed by data"
            total += factor * self._place(atom).offset
            if atom == self.run.lane:
                step += factor
        return total, step

    # --- stores ------------------------------------------------------------------

    def write(
        self, storage: Storage, address: Affine, guard: Guard, lanes: Lanes
    ) -> None:
        """Write a run of values to a buffer or a tile in memory."""
        memory = self.values.memory
        if not any(map(self.varies, (address, *guard))):
            mask = self.mask(guard)
            memory.store(storage, self.linear(address), lanes[-1:], mask)
            return
        width = 1
        if self.moves_by_one(address):
            width = memory.widest(storage, self.even_width(guard, address))
        for element in range(0, self.run.width, width):
            values = tuple(
                lanes[(element + place) % len(lanes)] for place in range(width)
            )
            mask = self.mask(guard, element)
            memory.store(storage, self.linear(address, element), values, mask)


def _is_guarded_load(select: Expression) -> bool:
    """Whether a load has the same guard, outside of which it gives zeros by itself."""
    load, zero = select.inside, literal(0, select.dtype)
    is_load = isinstance(load, Load) and set(select.guard) <= set(load.guard)
    return is_load and select.outside == zero


#: How each kind of expression is computed; what derives from one is, like it.
_METHODS: dict[type[Expression], Callable[[Point, Any], Lanes]] = {
    Literal: Point._literal,
    Scalar: Point._scalar,
    Compute: Point._op,
    Load: Point._load,
    TileLoad: Point._tile_load,
    Position: Point._position,
    Select: Point._select,
    QuickPower: Point._quick_power,
    Quotient: Point._divide,
    Remainder: Point._divide,
    Indexed: Point._indexed,
}


def _method_of(kind: type[Expression]) -> Callable[[Point, Any], Lanes]:
    found = _METHODS.get(kind)
    if found is None:
        known = [base for base in kind.__mro__ if base in _METHODS]
        if not known:
            raise UnsupportedError(f"{kind.__name__} values on CUDA")
        found = _METHODS[kind] = _METHODS[known[0]]
    return found
