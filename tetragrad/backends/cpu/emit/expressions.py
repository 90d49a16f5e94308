"""Expressions at points: each value computed once, in the outermost loop that can.

A statement's expressions are prepared once (in which scope does each belong, and on
which unrolled axes does it depend) and then evaluated point by point. A value is
remembered under its expression and the part of the point that it depends on, so
what unrolled points share is shared.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

from tetragrad.backends.cpu.emit.memory import Memory, Storage
from tetragrad.backends.cpu.emit.operations import Operations
from tetragrad.backends.cpu.emit.scopes import Scopes
from tetragrad.backends.cpu.emit.vector import Builder, Value, constant, lanes_for
from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.errors import UnsupportedError
from tetragrad.core.frozen import frozen
from tetragrad.core.target import DotStep
from tetragrad.kernel.affine import ZERO, Affine
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Guard,
    Indexed,
    Literal,
    Load,
    Position,
    Quotient,
    Reduction,
    Remainder,
    Scalar,
    Scan,
    Select,
    atoms_of,
)
from tetragrad.tile.ir import Tile, TileLoad


@frozen(slots=True, refuses=False)
class Step:
    """An expression, the scope it belongs to, and the known axes it depends on.

    ``form`` is where it is loaded from, if it is.
    """

    expression: Expression
    level: int
    axes: tuple[int, ...]
    form: Affine


@frozen
class Recipe:
    """Expressions in the order to compute them."""

    steps: tuple[Step, ...]
    levels: dict[Expression, int]


class Expressions:
    """Computes expressions with the values that the scopes know."""

    def __init__(
        self,
        builder: Builder,
        scopes: Scopes,
        memory: Memory,
        ops: Operations,
        slots: Sequence[Storage],
        scalars: Sequence[Value],
        written: frozenset[int],
        vector_bytes: int,
        dot_steps: tuple[DotStep, ...] = (),
        accumulators: frozenset[str] = frozenset(),
    ) -> None:
        self.builder = builder
        self.scopes = scopes
        self.memory = memory
        self.ops = ops
        self.slots = slots
        self.scalars = scalars
        self.written = written
        self.vector_bytes = vector_bytes
        self.dot_steps = dot_steps
        # Tiles in registers whose rows are vectors of several registers.
        self.accumulators = accumulators
        self.tiles: dict[str, Storage] = {}
        # The statement's guard over loop axes: its loads obey it too.
        self.guard: Guard = ()
        self.reduce: Callable[[Reduction], Value] = _no_reductions

    def lanes_for(self, values: Iterable[Expression], *others: DType) -> int:
        """Lanes in which a register holds each value that these are made of.

        Indices do not count: they are mostly the same for all lanes.
        """
        dtypes_met = frozenset(others).union(*map(_dtypes_below, values))
        return lanes_for(dtypes_met, self.vector_bytes)

    # --- preparing ---------------------------------------------------------------

    def prepare(self, values: Iterable[Expression], forms: Iterable[Affine]) -> Recipe:
        """Order the expressions below values and forms; say where each belongs."""
        # The walk takes the last root first: a guard's atoms before guarded loads.
        roots = [*values, *atoms_of(forms)]
        levels: dict[Expression, int] = {}
        steps = []
        for expression in outside_reductions(roots):
            level = self._level_of(expression, levels)
            levels[expression] = level
            axes = self._known_axes(expression)
            steps.append(Step(expression, level, axes, _place_of(expression)))
        return Recipe(tuple(steps), levels)

    def _known_axes(self, expression: Expression) -> tuple[int, ...]:
        """Axes that are numbers while the expression is computed, so its key's part."""
        free = expression.free_axes
        is_guarded = self.guard and isinstance(expression, Load)
        if is_guarded and not is_always_there(expression):
            free = free.union(*(form.axes() for form in self.guard))
        levels = self.scopes.levels
        return tuple(sorted([axis for axis in free if axis not in levels]))

    def _level_of(self, expression: Expression, levels: dict[Expression, int]) -> int:
        """The outermost scope in which the expression may be computed."""
        forms = expression.forms
        level = max([levels[child] for child in direct_children(expression)], default=0)
        match expression:
            case TileLoad():
                return self.scopes.depth
            case Load():
                if expression.slot in self.written:
                    return self.scopes.depth
                if is_always_there(expression):
                    return level
                level = max(level, self.scopes.guarded_level)
                forms = (*forms, *self.guard)
            case Reduction():
                return max(level, self._level_of_reduction(expression))
        return max(level, self._level_of_forms(forms, levels))

    def _level_of_forms(
        self, forms: Iterable[Affine], levels: dict[Expression, int]
    ) -> int:
        level = 0
        for form in forms:
            for atom, _ in form.terms:
                if isinstance(atom, int):
                    level = max(level, self.scopes.levels.get(atom, 0))
                else:
                    level = max(level, levels.get(atom, self.scopes.depth))
        return level

    def _level_of_reduction(self, reduction: Reduction) -> int:
        """As for its body; the axes it binds have no level of their own."""
        levels: dict[Expression, int] = {}
        for inner in outside_reductions([reduction.body]):
            levels[inner] = self._level_of(inner, levels)
        return levels[reduction.body]

    # --- evaluating --------------------------------------------------------------

    def evaluate(self, recipe: Recipe) -> dict[Expression, Value]:
        """All values of a recipe at the current point."""
        values: dict[Expression, Value] = {}
        depth = self.scopes.depth
        # Addresses and guards of the statement refer to these afterwards, too.
        self.memory.atoms, self.memory.atom_levels = values, recipe.levels
        points, vector = self.scopes.points, self.scopes.vector
        lane, lanes = None, None
        if vector is not None:
            lane, lanes = vector.axis, ("lanes", vector.start, vector.lanes)
        for step in recipe.steps:
            places = [
                lanes if axis == lane else (axis, points.get(axis))
                for axis in step.axes
            ]
            key = (step.expression, *places)
            known = self.scopes.stack[step.level].known
            found = known.get(key)
            if found is None:
                if step.level == depth:
                    found = self._compute(step, values)
                else:
                    with self.scopes.at_level(step.level):
                        found = self._compute(step, values)
                known[key] = found
            values[step.expression] = found
        return values

    def _compute(self, step: Step, values: dict[Expression, Value]) -> Value:
        expression = step.expression
        match expression:
            case Compute():
                operands = tuple([values[entry] for entry in expression.inputs])
                return self.ops.apply(expression.op, expression.dtype, operands)
            case TileLoad():
                return self.memory.load(self.tiles[expression.tile.name], step.form)
            case Load():
                guard = (
                    ()
                    if is_always_there(expression)
                    else (*expression.guard, *self.guard)
                )
                mask = self.memory.mask(guard)
                return self.memory.load(self.slots[expression.slot], step.form, mask)
            case Literal():
                return constant(expression.value, expression.dtype)
            case Scalar():
                return self.scalars[expression.slot]
            case Position():
                number = self.memory.form_value(expression.form)
                return self.ops.cast(number, expression.dtype)
            case Select():
                return self._select(expression, values)
            case Reduction():
                return self._reduce(expression)
            case Indexed():
                return self.ops.cast(values[expression.value], dtypes.int64)
            case Quotient() | Remainder():
                return self._divide(expression)
            case Scan():
                raise UnsupportedError(
                    "a running reduction (scan) inside a tile expression on the CPU",
                    hint="plan it as a loop that folds into a tile",
                )
        raise UnsupportedError(f"{type(expression).__name__} values on the CPU")

    def _reduce(self, reduction: Reduction) -> Value:
        """Its body has a recipe of its own; ours goes on after it."""
        memory = self.memory
        outer = memory.atoms, memory.atom_levels
        value = self.reduce(reduction)
        memory.atoms, memory.atom_levels = outer
        return value

    def _select(self, select: Select, values: dict[Expression, Value]) -> Value:
        mask = self.memory.mask(select.guard)
        inside, outside = values[select.inside], values[select.outside]
        if mask.always:
            return inside
        if mask.never:
            return outside
        return self.builder.select(self.memory.condition(mask), inside, outside)

    def _divide(self, atom: Quotient | Remainder) -> Value:
        number = self.memory.form_value(atom.form)
        divisor = constant(atom.divisor, number.dtype)
        instruction = "udiv" if isinstance(atom, Quotient) else "urem"
        result = self.builder.binary(instruction, number, divisor)
        return self.ops.cast(result, dtypes.int64)


def tile_form(tile: Tile, indices: tuple[Affine, ...]) -> Affine:
    """Where an element is from the start of its tile."""
    return _place(tile.layout.strides, indices)


@functools.lru_cache(maxsize=1024)
def _place(strides: tuple[int, ...], indices: tuple[Affine, ...]) -> Affine:
    total = Affine(0)
    for index, stride in zip(indices, strides, strict=True):
        total = total + index.scale(stride)
    return total


def _place_of(expression: Expression) -> Affine:
    """Where an expression is loaded from; nothing, if it is not."""
    if isinstance(expression, TileLoad):
        return tile_form(expression.tile, expression.indices)
    address: Affine = expression.address if isinstance(expression, Load) else ZERO
    return address


def direct_children(expression: Expression) -> Sequence[Expression]:
    """What is computed before an expression; a reduction computes its own body."""
    return () if isinstance(expression, Reduction) else expression.children


@functools.lru_cache(maxsize=64)
def _dtypes_below(root: Expression) -> frozenset[DType]:
    """Of all that a value is computed from, but for what addresses are made of."""
    found: set[Expression] = {root}
    stack = [root]
    while stack:
        for operand in stack.pop().operands:
            if operand not in found:
                found.add(operand)
                stack.append(operand)
    return frozenset([entry.dtype for entry in found])


def outside_reductions(roots: Iterable[Expression]) -> Iterator[Expression]:
    """Every expression below the roots once, operands first; reductions are leaves."""
    finished: set[Expression] = set()
    stack = [(root, False) for root in roots]
    while stack:
        expression, expanded = stack.pop()
        if expression in finished:
            continue
        if expanded:
            finished.add(expression)
            yield expression
            continue
        stack.append((expression, True))
        stack += [(child, False) for child in direct_children(expression)]


def _no_reductions(reduction: Reduction) -> Value:
    raise AssertionError(f"nobody computes reductions: {reduction.op.__name__}")


def is_always_there(load: Expression) -> bool:
    """Whether a load reads the same element at every point, wanted or not."""
    return not load.guard and not load.address.terms
