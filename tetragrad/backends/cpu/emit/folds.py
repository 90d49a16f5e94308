"""Folding values into tiles and memory: who meets whom, in which order.

Contributions of one statement to the same place are first combined with each other,
as vectors, then with what is there; lanes are combined last.
"""

from __future__ import annotations

from collections.abc import Sequence

from tetragrad.backends.cpu.emit.addresses import Mask, Split
from tetragrad.backends.cpu.emit.expressions import Expressions
from tetragrad.backends.cpu.emit.memory import Storage
from tetragrad.backends.cpu.emit.scopes import VectorAxis
from tetragrad.backends.cpu.emit.vector import Value, constant
from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.graph import elementwise as op
from tetragrad.graph.reduce import Reduce, Sum
from tetragrad.kernel.affine import Affine
from tetragrad.kernel.expression import Compute
from tetragrad.tile.ir import Fold


@frozen
class Contribution:
    """Factors of one value (two if contracted, else one) and where it goes."""

    factors: tuple[Value, ...]
    form: Affine
    split: Split
    point: tuple[tuple[int, ...], tuple[int, ...]]
    vector: VectorAxis | None

    @property
    def place(self) -> object:
        """Equal for contributions that meet, lane by lane."""
        scalars = tuple((term.value, term.coefficient) for term in self.split.scalars)
        return self.split.constant, scalars, self.split.stride, self.factors[0].lanes


class Folds:
    """Combines values with those in tiles and in memory."""

    def __init__(self, expressions: Expressions) -> None:
        self.builder = expressions.builder
        self.scopes = expressions.scopes
        self.memory = expressions.memory
        self.ops = expressions.ops

    def contribution(
        self,
        kind: type[Reduce],
        form: Affine,
        factors: tuple[Value, ...],
        mask: Mask,
    ) -> Contribution:
        """What the current point adds; the op's identity outside the mask."""
        vector = self.scopes.vector
        lanes = vector.lanes if vector is not None else 1
        factors = tuple(self.builder.broadcast(entry, lanes) for entry in factors)
        if not mask.always:
            value = factors[0] if len(factors) == 1 else self.ops.mul(*factors)
            factors = (self._masked(kind, value, mask),)
        points = self.scopes.points
        point = tuple(points), tuple(points.values())
        return Contribution(factors, form, self.memory.split(form), point, vector)

    def _masked(self, kind: type[Reduce], value: Value, mask: Mask) -> Value:
        identity = constant(kind.identity(value.dtype), value.dtype)
        if mask.never:
            return self.builder.broadcast(identity, value.lanes)
        return self.ops.where(self.memory.condition(mask), value, identity)

    def into_tile(
        self, storage: Storage, kind: type[Reduce], contributions: list[Contribution]
    ) -> None:
        """Fold contributions that meet in one place together."""
        places: dict[object, list[Contribution]] = {}
        for entry in contributions:
            places.setdefault(entry.place, []).append(entry)
        for group in places.values():
            first = group[0]
            # Back at the first point, whose form says where all of them go.
            with (
                self.scopes.lanes_along(first.vector),
                self.scopes.unrolled(*first.point),
            ):
                self._fold_group(storage, kind, group)

    def _fold_group(
        self, storage: Storage, kind: type[Reduce], group: list[Contribution]
    ) -> None:
        form = group[0].form
        if group[0].split.gathered:
            for entry in group:
                value = self._product(entry.factors)
                self.into_memory(storage, form, kind, value, Mask())
            return
        old = self.memory.load(storage, form)
        if group[0].split.is_uniform:
            total = self._total(kind, None, group)
            total = self.ops.combine_lanes(kind, total)
            total = self.ops.combine(kind, old, total)
        else:
            total = self._total(kind, old, group)
        self.memory.store(storage, form, total, Mask())

    def _total(
        self, kind: type[Reduce], start: Value | None, group: list[Contribution]
    ) -> Value:
        """The contributions together; products are chained, values paired."""
        plain = [entry.factors[0] for entry in group if len(entry.factors) == 1]
        total = start
        if plain:
            total = self._paired(kind, plain)
            if start is not None:
                total = self.ops.combine(kind, start, total)
        for entry in group:
            if len(entry.factors) == 2:
                total = self._multiply_add(entry.factors, total)
        assert total is not None
        return total

    def _multiply_add(self, factors: tuple[Value, ...], total: Value | None) -> Value:
        if total is None:
            return self._product(factors)
        lhs, rhs = factors
        return self.ops.fma(lhs, rhs, total)

    def _product(self, factors: tuple[Value, ...]) -> Value:
        return factors[0] if len(factors) == 1 else self.ops.mul(*factors)

    def _paired(self, kind: type[Reduce], values: Sequence[Value]) -> Value:
        """Combine neighbours until one is left: short chains, small errors."""
        while len(values) > 1:
            pairs = [
                self.ops.combine(kind, values[place], values[place + 1])
                for place in range(0, len(values) - 1, 2)
            ]
            values = [*pairs, *values[2 * len(pairs) :]]
        return values[0]

    def into_memory(
        self,
        storage: Storage,
        form: Affine,
        kind: type[Reduce],
        value: Value,
        mask: Mask,
    ) -> None:
        """Combine with what memory holds; lanes may share an address."""
        if mask.never:
            return
        split = self.memory.split(form)
        vector = self.scopes.vector
        lanes = vector.lanes if vector is not None else 1
        value = self.builder.broadcast(value, lanes)
        if split.gathered:
            self._into_each(storage, split, kind, value, mask)
            return
        if split.is_uniform and lanes > 1:
            value = self.ops.combine_lanes(kind, self._masked(kind, value, mask))
            mask = Mask(uniform=mask.uniform)
        old = self.memory.load(storage, form, mask)
        self.memory.store(storage, form, self.ops.combine(kind, old, value), mask)

    def _into_each(
        self,
        storage: Storage,
        split: Split,
        kind: type[Reduce],
        value: Value,
        mask: Mask,
    ) -> None:
        """One lane after the other, since two may have the same address."""
        pointers = self.memory.pointers(storage, split)
        condition = self.builder.broadcast(self.memory.condition(mask), value.lanes)
        for lane in range(value.lanes):
            after = None
            if not mask.always:
                after = self.builder.jump_if(self.builder.lane(condition, lane))
            pointer = self.builder.assign(
                f"extractelement <{value.lanes} x ptr> {pointers}, i64 {lane}"
            )
            old = self.memory.load_at(storage, pointer)
            new = self.ops.combine(kind, old, self.builder.lane(value, lane))
            self.memory.store_at(storage, pointer, new)
            if after is not None:
                self.builder.end_jump(after)


def may_contract(fold: Fold) -> bool:
    """Whether a fold is a sum of products that one instruction can multiply and add."""
    value = fold.value
    return (
        fold.op is Sum
        and isinstance(value, Compute)
        and value.op is op.Mul
        and value.dtype is fold.tile.dtype
        and value.dtype in (dtypes.float32, dtypes.float64)
    )
