"""A place inside a tile program that is being written: what is bound, and how.

A plan's function opens loops; each loop gives a deeper :class:`Scope`, in which more
of the kernel's axes have an affine form over the program's own axes. Expressions are
read at a scope: axes become forms, and reductions that were computed further out
become loads of their tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen, replace
from tetragrad.graph.elementwise import Cast
from tetragrad.kernel.affine import Affine, axis_form
from tetragrad.kernel.expression import Compute, Expression, Guard
from tetragrad.kernel.ir import Kernel
from tetragrad.tile.ir import (
    Extent,
    For,
    Layout,
    Space,
    Statement,
    Tile,
    TileLoad,
    When,
    row_major,
)
from tetragrad.tile.plans.rewrite import Rewriter

Body = Callable[["Scope"], list[Statement]]

# A loop this short is written out, so that its addresses become constants.
LONGEST_UNROLLED = 4


@dataclass
class Builder:
    """Hands out the axes and tile names of one program.

    ``scratch`` are the tiles in device memory that its grids hand to each other.
    """

    kernel: Kernel
    extents: dict[int, int] = field(default_factory=dict)
    tile_counts: dict[str, int] = field(default_factory=dict)
    scratch: list[Tile] = field(default_factory=list)

    def axis(self, extent: int) -> int:
        """A new program axis."""
        axis = len(self.extents)
        self.extents[axis] = extent
        return axis

    def axes(self, shape: Iterable[int]) -> tuple[Extent, ...]:
        """New program axes over a tile of this shape."""
        return tuple((self.axis(size), size) for size in shape)

    def tile(
        self,
        name: str,
        shape: Iterable[int],
        dtype: DType,
        space: Space = Space.REGISTER,
        layout: Layout | None = None,
    ) -> Tile:
        """A new tile; names are numbered where they repeat."""
        count = self.tile_counts.get(name, 0)
        self.tile_counts[name] = count + 1
        shape = tuple(shape)
        unique = name if count == 0 else f"{name}{count + 1}"
        return Tile(unique, shape, dtype, space, layout or row_major(shape))

    def always(self, form: Affine) -> bool:
        """Whether the form is >= 0 wherever the program's axes go."""
        return form.range(self.extents)[0] >= 0  # type: ignore[arg-type]

    def never(self, form: Affine) -> bool:
        """Whether the form is < 0 wherever the program's axes go."""
        return form.range(self.extents)[1] < 0  # type: ignore[arg-type]


@frozen
class Scope:
    """The kernel axes bound so far, the collective axes in force, known values.

    ``collective`` are the axes of the statements to come, ``guard`` the condition
    for their points to exist, ``values`` maps reductions that are already computed
    to loads of their tiles, and ``strip`` is the innermost strip's (vector, lane).
    """

    builder: Builder
    forms: Mapping[int, Affine] = field(default_factory=dict)
    collective: tuple[Extent, ...] = ()
    guard: Guard = ()
    values: Mapping[Expression, Expression] = field(default_factory=dict)
    strip: tuple[Affine, ...] = ()

    def size(self, axis: int) -> int:
        """The number of iterations of a kernel axis."""
        return self.builder.kernel.axes[axis]

    def bind(self, axis: int, form: Affine) -> Scope:
        """The scope in which a kernel axis has this form.

        Values that depend on the axis were computed for another binding of it.
        """
        values = {
            expression: value
            for expression, value in self.values.items()
            if axis not in expression.free_axes
        }
        return replace(self, forms={**self.forms, axis: form}, values=values)

    def with_collective(self, *extents: Extent) -> Scope:
        """The scope with more collective axes, innermost last."""
        return replace(self, collective=(*self.collective, *extents))

    def with_guard(self, *conditions: Affine) -> Scope:
        """The scope with more conditions, without those that always hold."""
        needed = tuple(form for form in conditions if not self.builder.always(form))
        return replace(self, guard=(*self.guard, *needed))

    def with_values(self, values: Mapping[Expression, Expression]) -> Scope:
        """The scope with more expressions already computed."""
        return replace(self, values={**self.values, **values})

    def rewriter(self) -> Rewriter:
        """Reads kernel expressions at this place."""
        return self._rewriter

    @cached_property
    def _rewriter(self) -> Rewriter:
        """One for all readers: it remembers what it has rewritten."""
        return Rewriter(self.forms, self.values, self.guard)

    def value(self, expression: Expression) -> Expression:
        """A kernel expression as it reads at this place."""
        return self._rewriter(expression)

    def collective_axes_of(self, kernel_axes: Iterable[int]) -> tuple[Extent, ...]:
        """The collective axes that forms of some kernel axes depend on."""
        used: set[int] = set()
        for axis in kernel_axes:
            if axis in self.forms:
                used |= self.forms[axis].axes()
        return tuple(extent for extent in self.collective if extent[0] in used)


def indices_of(extents: Iterable[Extent]) -> tuple[Affine, ...]:
    """Index a tile that has one dimension for each of these axes."""
    return tuple(axis_form(axis) for axis, _ in extents)


def load_of(tile: Tile, extents: Iterable[Extent]) -> TileLoad:
    """The element of such a tile as a value."""
    return TileLoad(tile, indices_of(extents))


def shape_of(extents: Iterable[Extent]) -> tuple[int, ...]:
    """The number of iterations of each axis."""
    return tuple(extent for _, extent in extents)


def cast(expression: Expression, dtype: DType) -> Expression:
    """The expression converted to a dtype, if it has another."""
    if expression.dtype is dtype:
        return expression
    return Compute(Cast, dtype, (expression,))


def loop(
    builder: Builder,
    extent: int,
    body: Callable[[Affine], list[Statement]],
    *,
    unroll: bool = False,
) -> list[Statement]:
    """A For over ``extent``, written out where that is asked for and short.

    No loop at all where there is one iteration.
    """
    if extent == 0:
        return []
    if extent == 1:
        return body(Affine(0))
    axis = builder.axis(extent)
    statements = tuple(body(axis_form(axis)))
    return [For(axis, extent, statements, unroll and extent <= LONGEST_UNROLLED)]


def loops(
    builder: Builder, extents: Sequence[int], body: Callable[..., list[Statement]]
) -> list[Statement]:
    """Loops inside one another, the last one innermost."""
    if not extents:
        return body()
    first, *others = extents
    return loop(
        builder, first, lambda form: loops(builder, others, partial(body, form))
    )


@frozen
class Strip:
    """How a kernel axis becomes collective: vectors side by side, lanes in each."""

    axis: int
    lanes: int
    vectors: int = 1

    @property
    def width(self) -> int:
        """Positions that one step covers."""
        return self.lanes * self.vectors

    def bind(self, scope: Scope, start: Affine, count: int) -> Scope:
        """The scope in which the axis covers start … start + count - 1.

        Positions beyond ``count`` are masked by a guard.
        """
        builder = scope.builder
        lane = builder.axis(self.lanes)
        extents: list[Extent] = [(lane, self.lanes)]
        vector_form = Affine(0)
        if self.vectors > 1:
            vector = builder.axis(self.vectors)
            vector_form = axis_form(vector)
            extents.insert(0, (vector, self.vectors))
        position = vector_form.scale(self.lanes) + axis_form(lane)
        bound = scope.bind(self.axis, start + position).with_collective(*extents)
        guarded = bound.with_guard(position.scale(-1).shift(count - 1))
        return replace(guarded, strip=(vector_form, axis_form(lane)))


def fitting_strip(axis: int, size: int, lanes: int, vectors: int) -> Strip:
    """A strip that is not much wider than the axis."""
    while lanes > 1 and lanes // 2 >= size:
        lanes //= 2
    return Strip(axis, lanes, max(1, min(vectors, size // lanes)))


def strips(
    scope: Scope, strip: Strip, start: Affine, count: int, body: Body
) -> list[Statement]:
    """Run the body over ``count`` positions of an axis, a strip at a time.

    For(step over count // width) body       whole strips, without guards
    body with a guard                        what remains, if anything
    """
    steps, rest = divmod(count, strip.width)

    def whole(step: Affine) -> list[Statement]:
        first = start + step.scale(strip.width)
        return body(strip.bind(scope, first, strip.width))

    statements = loop(scope.builder, steps, whole)
    if rest:
        vectors = -(-rest // strip.lanes)
        last = replace(strip, vectors=vectors)
        statements += body(last.bind(scope, start.shift(steps * strip.width), rest))
    return statements


def iterations(scope: Scope, axis: int, body: Body) -> list[Statement]:
    """Run the body for every position of an axis, one at a time."""
    return loop(
        scope.builder, scope.size(axis), lambda form: body(scope.bind(axis, form))
    )


def chunked(
    size: int, chunk: int, index: Affine, body: Callable[[Affine, int], list[Statement]]
) -> list[Statement]:
    """The body for chunk number ``index``: its start, and how many positions it has.

    The last chunk may be shorter, and is then written on its own.
    """
    whole, rest = divmod(size, chunk)
    if rest == 0:
        return body(index.scale(chunk), chunk)
    if whole == 0:
        return body(Affine(0), rest)
    inside = index.scale(-1).shift(whole - 1)
    full = tuple(body(index.scale(chunk), chunk))
    last = tuple(body(Affine(whole * chunk), rest))
    return [When((inside,), full, last)]
