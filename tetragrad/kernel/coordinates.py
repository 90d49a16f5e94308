"""Where an element of a movement comes from: coordinates as affine forms.

A coordinate is one affine form for each dimension. For a dimension of size 1 its
value does not matter (the index is always 0), so there it carries a *shadow*: the
axis that an Expand dropped. A reduction that finds its dimension's shadow runs over
that same axis, which is how the rows of a softmax become one loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

from tetragrad.core.frozen import frozen
from tetragrad.graph import movement as moves
from tetragrad.graph.node import Shape
from tetragrad.kernel.affine import ZERO, Affine, divide, of_atom
from tetragrad.kernel.expression import Guard, Quotient, Remainder

Coordinates = tuple[Affine, ...]


@frozen(slots=True)
class Origin:
    """The source's coordinates, and the guard outside of which there is no source."""

    coordinates: Coordinates
    guard: Guard = ()


@singledispatch
def origin(
    node: moves.Movement, coordinates: Coordinates, sizes: Sequence[int]
) -> Origin:
    """Where the element of ``node`` at ``coordinates`` comes from."""
    raise AssertionError(f"no coordinates for {node!r}")


@origin.register
def _(node: moves.Permute, coordinates: Coordinates, sizes: Sequence[int]) -> Origin:
    found = [ZERO] * len(coordinates)
    for dim, source_dim in enumerate(node.order):
        found[source_dim] = coordinates[dim]
    return Origin(tuple(found))


@origin.register
def _(node: moves.Expand, coordinates: Coordinates, sizes: Sequence[int]) -> Origin:
    # Dropped coordinates stay as shadows.
    return Origin(coordinates)


@origin.register
def _(node: moves.Shrink, coordinates: Coordinates, sizes: Sequence[int]) -> Origin:
    found = tuple(
        _carried(node, coordinates, dim).shift(start)
        for dim, (start, _) in enumerate(node.bounds)
    )
    return Origin(found)


@origin.register
def _(node: moves.Flip, coordinates: Coordinates, sizes: Sequence[int]) -> Origin:
    found = list(coordinates)
    for dim in node.dims:
        if node.shape[dim] > 1:
            found[dim] = found[dim].scale(-1).shift(node.shape[dim] - 1)
    return Origin(tuple(found))


@origin.register
def _(node: moves.Stride, coordinates: Coordinates, sizes: Sequence[int]) -> Origin:
    found = tuple(
        _carried(node, coordinates, dim).scale(step)
        for dim, step in enumerate(node.steps)
    )
    return Origin(found)


@origin.register
def _(node: moves.Pad, coordinates: Coordinates, sizes: Sequence[int]) -> Origin:
    found: list[Affine] = []
    guard: list[Affine] = []
    for dim, (before, after) in enumerate(node.padding):
        form = coordinates[dim].shift(-before)
        if before:
            guard.append(form)
        if after:
            guard.append(form.scale(-1).shift(node.source.shape[dim] - 1))
        found.append(form)
    return Origin(tuple(found), tuple(guard))


@origin.register
def _(node: moves.Window, coordinates: Coordinates, sizes: Sequence[int]) -> Origin:
    dim = node.dim
    start = _value(node.shape, coordinates, dim).scale(node.stride)
    offset = _value(node.shape, coordinates, dim + 1).scale(node.dilation)
    return Origin((*coordinates[:dim], start + offset, *coordinates[dim + 2 :]))


@origin.register
def _(node: moves.Skew, coordinates: Coordinates, sizes: Sequence[int]) -> Origin:
    dim = node.dim
    lane = _value(node.shape, coordinates, dim + 1)
    place = _value(node.shape, coordinates, dim).shift(node.start)
    place = place - lane.scale(node.step)
    last = node.source.shape[dim] - 1
    guard = (place, place.scale(-1).shift(last))
    return Origin((*coordinates[:dim], place, *coordinates[dim + 1 :]), guard)


def _carried(node: moves.Movement, coordinates: Coordinates, dim: int) -> Affine:
    """The coordinate of a dimension that both sides have: a shadow only stays one
    while the dimension has size 1 on both sides."""
    if node.shape[dim] == 1 and node.sources[0].shape[dim] != 1:
        return ZERO
    return coordinates[dim]


def _value(shape: Shape, coordinates: Coordinates, dim: int) -> Affine:
    """The coordinate as an index: a shadow counts as 0."""
    return coordinates[dim] if shape[dim] > 1 else ZERO


@origin.register
def _(node: moves.Kept, coordinates: Coordinates, sizes: Sequence[int]) -> Origin:
    return Origin(coordinates, ())


@origin.register
def _(node: moves.Reshape, coordinates: Coordinates, sizes: Sequence[int]) -> Origin:
    """Match groups of dimensions with equal products, from the right."""
    old, new = node.source.shape, node.shape
    found = [ZERO] * len(old)
    i, j = len(old) - 1, len(new) - 1
    while i >= 0 or j >= 0:
        if i >= 0 and j >= 0 and old[i] == new[j]:
            found[i] = coordinates[j]
            i, j = i - 1, j - 1
        elif i >= 0 and old[i] == 1:
            i -= 1
        elif j >= 0 and new[j] == 1:
            j -= 1
        else:
            first_i, first_j = _group_start(old, new, i, j)
            group = slice(first_j, j + 1)
            form = linear(new[group], coordinates[group])
            _split(form, old, first_i, i, found, sizes)
            i, j = first_i - 1, first_j - 1
    return Origin(tuple(found))


def _group_start(old: Shape, new: Shape, i: int, j: int) -> tuple[int, int]:
    """Extend both groups to the left until their products agree."""
    old_product, new_product = old[i], new[j]
    while old_product != new_product:
        if old_product < new_product:
            i -= 1
            old_product *= old[i]
        else:
            j -= 1
            new_product *= new[j]
    return i, j


def _split(
    form: Affine,
    shape: Shape,
    first: int,
    last: int,
    found: list[Affine],
    sizes: Sequence[int],
) -> None:
    """Write a linear form as indices into dimensions first … last of a shape."""
    for dim in range(last, first, -1):
        size = shape[dim]
        if size == 1:
            continue
        parts = divide(form, size, sizes)
        if parts is None:
            # The sizes do not nest: an explicit division remains.
            limit = 1
            for outer in range(first, dim):
                limit *= shape[outer]
            quotient = of_atom(Quotient(form, size, limit))
            parts = quotient, of_atom(Remainder(form, size))
        form, found[dim] = parts
    found[first] = form


def linear(shape: Shape, coordinates: Coordinates) -> Affine:
    """The row-major address of an element of an array of this shape."""
    form, stride = ZERO, 1
    for size, coordinate in zip(reversed(shape), reversed(coordinates), strict=True):
        if size != 1:
            form = form + coordinate.scale(stride)
        stride *= size
    return form


def covering_axes(form: Affine, size: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """The axes of a form that takes each of 0 … size-1 once; () if it does not.

    i*4 + j over sizes (3, 4) covers 12: its axes, outer first, are (i, j).
    """
    if form.constant or not form.terms or not form.is_pure():
        return ()
    terms = sorted(form.terms, key=lambda term: -term[1])
    expected = size
    for axis, coefficient in terms:
        if expected % sizes[axis]:
            return ()
        expected //= sizes[axis]
        if coefficient != expected:
            return ()
    return tuple(axis for axis, _ in terms) if expected == 1 else ()
