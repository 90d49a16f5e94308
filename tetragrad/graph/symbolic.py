"""A graph with symbolic sizes as one that serves every value of its symbols.

Every value is laid out at the maximum of its sizes; what counts is the part from 0 up
to the size, and nobody reads what lies beyond it: a reduction sees its identity
there, a pad its fill. The sizes themselves become values that kernels receive.

    Sum(x[tokens=5, 64], (0,))  ->  Sum(where(position < tokens, x[512, 64], 0), (0,))

So the graph below has plain integers only, and is the same for each value. A graph in
which that does not hold (a size in the middle of a reshape, say) is compiled for the
values it has: ``specialised``. Must run after the markers are gone, before fusion.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from tetragrad.core import dtypes
from tetragrad.core.frozen import frozen
from tetragrad.graph.elementwise import (
    Add,
    And,
    Cast,
    Elementwise,
    Eq,
    IDiv,
    Lt,
    Mod,
    Mul,
    Not,
    Where,
    full_like,
)
from tetragrad.graph.extents import NO_EXTENTS, Extents, layout_shape
from tetragrad.graph.leaves import (
    Buffer,
    Constant,
    Iota,
    SizeValue,
    constant,
    value_of_size,
)
from tetragrad.graph.movement import (
    Expand,
    Flip,
    Kept,
    Pad,
    Permute,
    Reshape,
    Shrink,
    Skew,
    Stride,
    Window,
    broadcast_to,
    constant_of,
)
from tetragrad.graph.node import Node, Shape, size_of, walk
from tetragrad.graph.reduce import Reduce, Sum
from tetragrad.graph.sizes import Size, form_of, forms_in, maximum_of, same_sizes


class FixedSize(Exception):
    """Why a symbolic size must be taken as the value that it has."""


@frozen(slots=True)
class General:
    """The outputs of a graph for all values of its symbols, and what of it counts.

    With a ``reason`` it is for the values that they have now only.
    """

    nodes: list[Node]
    extents: Extents
    reason: str = ""


def general_form(nodes: Sequence[Node]) -> General:
    """The graph for all values of its symbols, if there is one."""
    try:
        return at_maximum(nodes)
    except FixedSize as reason:
        return General(specialised(nodes), NO_EXTENTS, str(reason))


def at_maximum(nodes: Sequence[Node]) -> General:
    """The graph for all values of its symbols; raises FixedSize if there is none."""
    done = _rewritten(nodes, _at_maximum)
    extents: dict[Node, tuple[tuple[int, SizeValue], ...]] = {}
    for node, general in done.items():
        # All of it counts where it says what lies beyond a size, as a mask does, and
        # where it stands for several nodes of the graph.
        needed = () if isinstance(general, Where) else _extent(node.shape)
        if extents.setdefault(general, needed) != needed:
            extents[general] = ()
    kept = {node: needed for node, needed in extents.items() if needed}
    return General([done[node] for node in nodes], kept)


def _extent(shape: Shape) -> tuple[tuple[int, SizeValue], ...]:
    return tuple(
        (dim, value_of_size(size))
        for dim, size in enumerate(shape)
        if isinstance(size, Size)
    )


def specialised(nodes: Sequence[Node]) -> list[Node]:
    """The graph for the values that its symbols have now."""
    done = _rewritten(nodes, _specialised)
    return [done[node] for node in nodes]


Rule = Callable[[Node, tuple[Node, ...]], Node]


def _rewritten(nodes: Sequence[Node], rule: Rule) -> dict[Node, Node]:
    done: dict[Node, Node] = {}
    for node in walk(nodes):
        done[node] = rule(node, tuple(done[source] for source in node.sources))
    return done


# --- for the values they have --------------------------------------------------------


def _specialised(node: Node, sources: tuple[Node, ...]) -> Node:
    if isinstance(node, Buffer):
        cut = tuple((0, int(size)) for size in node.shape)
        return Shrink(_laid_out(node), cut)
    if isinstance(node, SizeValue):
        return constant(node.size, node.dtype)
    remaining = iter(sources)
    arguments = (
        next(remaining) if isinstance(entry, Node) else _plain(entry)
        for entry in node.arguments
    )
    return type(node)(*arguments)


def _plain(value: object) -> object:
    """An argument with plain ints for its sizes."""
    if isinstance(value, tuple):
        return tuple(_plain(entry) for entry in value)
    return int(value) if isinstance(value, Size) else value


def _laid_out(buffer: Buffer) -> Buffer:
    shape = layout_shape(buffer.shape)
    return Buffer(buffer.memory, shape, buffer.dtype, buffer.buffer_device)


# --- for all values --------------------------------------------------------------


@functools.singledispatch
def _at_maximum(node: Node, sources: tuple[Node, ...]) -> Node:
    """The node at the maximum, whatever is beyond the sizes of its sources."""
    if any(forms_in(entry.shape) is not None for entry in (node, *node.sources)):
        name = type(node).__name__
        raise FixedSize(f"{name} has no form for a dimension of symbolic size")
    return node if sources == node.sources else node.replace_sources(sources)


@_at_maximum.register
def _(node: Buffer, sources: tuple[Node, ...]) -> Node:
    return _laid_out(node) if forms_in(node.shape) is not None else node


@_at_maximum.register
def _(node: Iota, sources: tuple[Node, ...]) -> Node:
    return Iota(maximum_of(node.size), node.dtype)


@_at_maximum.register
def _(node: Elementwise, sources: tuple[Node, ...]) -> Node:
    for source in node.sources[1:]:
        _require_same(node, source.shape, node.sources[0].shape)
    return node.replace_sources(sources)


@_at_maximum.register
def _(node: Reduce, sources: tuple[Node, ...]) -> Node:
    """What is beyond the size becomes the identity."""
    (source,) = sources
    identity = constant(node.identity(node.dtype), node.dtype)
    for dim in node.dims:
        size = node.source.shape[dim]
        if isinstance(size, Size):
            source = _reduced_part(source, dim, size, identity)
    return type(node)(source, node.dims)


@_at_maximum.register
def _(node: Permute, sources: tuple[Node, ...]) -> Node:
    return Permute(sources[0], node.order)


@_at_maximum.register
def _(node: Expand, sources: tuple[Node, ...]) -> Node:
    for old, new in zip(node.source.shape, node.shape, strict=True):
        if isinstance(old, Size) and not same_sizes(old, new):
            raise FixedSize(f"{old!r} repeats up to {new!r} because it is 1 now")
    return Expand(sources[0], layout_shape(node.shape))


@_at_maximum.register
def _(node: Kept, sources: tuple[Node, ...]) -> Node:
    return Kept(sources[0])


@_at_maximum.register
def _(node: Reshape, sources: tuple[Node, ...]) -> Node:
    """A symbol may be anything but an inner factor: 0 … size must stay in front.

    Elsewhere each element is looked up.
    """
    old, new = list(node.source.shape), list(node.shape)
    while old or new:
        before, after = _first_group(old, new)
        sizes = {form_of(size_of(before)), form_of(size_of(after))}
        inner = [*before[1:], *after[1:]]
        if len(sizes) > 1 or forms_in(tuple(inner)) is not None:
            return _renumbered(node, sources[0])
    return Reshape(sources[0], layout_shape(node.shape))


def _first_group(old: list[int], new: list[int]) -> tuple[Shape, Shape]:
    """Take the leading dimensions of both with equal products, without ones."""
    before, after = _pop(old), _pop(new)
    while size_of(map(maximum_of, before)) != size_of(map(maximum_of, after)):
        smaller = size_of(map(maximum_of, before)) < size_of(map(maximum_of, after))
        taken = _pop(old) if smaller else _pop(new)
        if not taken:
            return (*before, *old), (*after, *new)
        if smaller:
            before += taken
        else:
            after += taken
    return before, after


def _pop(sizes: list[int]) -> Shape:
    """The next size that counts, as a tuple; () at the end."""
    while sizes:
        size = sizes.pop(0)
        if isinstance(size, Size) or size != 1:
            return (size,)
    return ()


@_at_maximum.register
def _(node: Shrink, sources: tuple[Node, ...]) -> Node:
    """A symbolic start is looked up; a symbolic end reaches up to its maximum."""
    (source,) = sources
    for dim, (start, stop) in enumerate(node.bounds):
        length = stop - start
        if isinstance(start, Size):
            source = _shifted(source, dim, start, maximum_of(length))
            continue
        available = source.shape[dim] - start
        source = _cut(source, dim, start, min(available, maximum_of(length)))
        source = _lengthened(source, dim, maximum_of(length))
    return source


@_at_maximum.register
def _(node: Pad, sources: tuple[Node, ...]) -> Node:
    source, fill = sources
    assert isinstance(fill, Constant)
    for dim, (before, after) in enumerate(node.padding):
        size = node.source.shape[dim]
        if forms_in((before, after, size)) is None:
            source = _padded(source, dim, before, after, fill)
        elif before or after:
            total = maximum_of(before + size + after)
            source = _placed(source, dim, before, total, fill)
            source = _where_inside(source, dim, before, before + size, fill)
    return source


@_at_maximum.register
def _(node: Flip, sources: tuple[Node, ...]) -> Node:
    """The last of a symbolic size comes first: beyond it, all is flipped and moved."""
    (source,) = sources
    flipped: Node = Flip(source, node.dims)
    for dim in node.dims:
        size = node.shape[dim]
        if isinstance(size, Size):
            beyond = size.maximum - size
            flipped = _shifted(flipped, dim, beyond, size.maximum)
    return flipped


@_at_maximum.register
def _(node: Stride, sources: tuple[Node, ...]) -> Node:
    for size, step in zip(node.source.shape, node.steps, strict=True):
        if isinstance(size, Size) and step > 1:
            raise FixedSize(f"every {step}th of {size!r} elements is no symbolic size")
    return Stride(sources[0], node.steps)


@_at_maximum.register
def _(node: Window, sources: tuple[Node, ...]) -> Node:
    size = node.source.shape[node.dim]
    if isinstance(size, Size) and node.stride > 1:
        raise FixedSize(
            f"{size!r} does not give a number of windows {node.stride} apart"
        )
    return Window(sources[0], *node.arguments[1:])


@_at_maximum.register
def _(node: Skew, sources: tuple[Node, ...]) -> Node:
    """Beyond the size there must be zeros, as a skewed view reads there."""
    (source,) = sources
    size = node.source.shape[node.dim]
    if forms_in((node.step, node.start)) is not None:
        raise FixedSize("a skewed view starts at a symbolic size")
    if isinstance(size, Size):
        zero = constant(0, node.dtype)
        source = _where_inside(source, node.dim, 0, size, zero)
    return Skew(source, node.dim, node.step, node.start, maximum_of(node.length))


# --- pieces ---------------------------------------------------------------------


def _require_same(node: Node, first: Shape, second: Shape) -> None:
    for one, other in zip(first, second, strict=True):
        if not same_sizes(one, other):
            name = type(node).__name__.lower()
            raise FixedSize(f"{name} of a size {one!r} and a size {other!r}")


def _value(size: int) -> Node:
    """A size as a value of shape ()."""
    if isinstance(size, Size):
        return value_of_size(size)
    return constant(size, dtypes.int64)


def _positions(shape: Shape, dim: int) -> Node:
    """The index along a dimension, at every element of the shape."""
    alone = tuple(size if axis == dim else 1 for axis, size in enumerate(shape))
    return Expand(Reshape(Iota(shape[dim], dtypes.int64), alone), shape)


def _reduced_part(source: Node, dim: int, size: Size, identity: Constant) -> Node:
    """The source with the identity beyond the size.

    Of a product that is summed, both factors are masked, so that it stays one.
    """
    if isinstance(source, Mul) and not any(identity.bits):
        lhs = _masked_factor(source.lhs, dim, size, identity)
        return Mul(lhs, _masked_factor(source.rhs, dim, size, identity))
    return _where_inside(source, dim, 0, size, identity)


def _masked_factor(factor: Node, dim: int, size: Size, identity: Constant) -> Node:
    """The factor of a product with the identity beyond the size.

    It is masked before it is repeated: what is stored of it is no larger then.
    """
    if isinstance(factor, Expand) and dim not in factor.expanded_dims:
        once = _masked_factor(factor.source, dim, size, identity)
        return Expand(once, factor.shape)
    return _where_inside(factor, dim, 0, size, identity)


def _where_inside(
    source: Node, dim: int, start: int, stop: int, fill: Constant
) -> Node:
    """The source from start to stop along a dimension, the fill elsewhere."""
    shape = source.shape
    position = _positions(shape, dim)
    inside: Node = Lt(position, broadcast_to(_value(stop), shape))
    if isinstance(start, Size) or start:
        before = Lt(position, broadcast_to(_value(start), shape))
        inside = And(Not(before), inside)
    return Where(inside, source, broadcast_to(fill, shape))


def _shifted(source: Node, dim: int, start: int, length: int) -> Node:
    """Element i is the source's start + i, or 0 outside: a gather, four ops wide.

    Σ_j where(j == start + i, source_j, 0) has one term, and lowering looks it up.
    """
    if source.dtype.is_bool:
        number = Cast(source, dtypes.uint8)
        return Cast(_shifted(number, dim, start, length), source.dtype)
    widened = (*source.shape[:dim], length, *source.shape[dim:])
    aligned = Reshape(source, (*source.shape[:dim], 1, *source.shape[dim:]))
    wanted = Add(_positions(widened, dim), broadcast_to(_value(start), widened))
    chosen = Eq(_positions(widened, dim + 1), wanted)
    spread = Expand(aligned, widened)
    zero = full_like(spread, 0)
    found = Sum(Where(chosen, spread, zero), (dim + 1,))
    return Reshape(found, _resized(source.shape, dim, length))


def _renumbered(node: Reshape, source: Node) -> Node:
    """Each element of a reshape by its number in row-major order, in the sizes as is.

    Dimensions at the end that stay what they are are taken along.
    """
    old, new, tail = list(node.source.shape), list(node.shape), 1
    while old and new and same_sizes(old[-1], new[-1]):
        tail *= maximum_of(old.pop())
        new.pop()
    shape = layout_shape(tuple(new))
    number = broadcast_to(_value(0), shape)
    for dim, size in enumerate(new):
        number = Add(Mul(number, _like(number, size)), _positions(shape, dim))
    wanted = broadcast_to(_value(0), shape)
    step = 1
    for dim in reversed(range(len(old))):
        count = _like(number, old[dim])
        place = number if dim == 0 else Mod(number, count)
        wanted = Add(wanted, Mul(place, full_like(number, step)))
        number = IDiv(number, count)
        step *= maximum_of(old[dim])
    found = _looked_up(Reshape(source, (step, tail)), wanted)
    return Reshape(found, layout_shape(node.shape))


def _like(node: Node, size: int) -> Node:
    """A size as a value everywhere in a node's shape."""
    return broadcast_to(_value(size), node.shape)


def _looked_up(rows: Node, wanted: Node) -> Node:
    """The rows with some numbers: Σ_j where(j == number, row_j, 0), four ops wide."""
    if rows.dtype.is_bool:
        return Cast(_looked_up(Cast(rows, dtypes.uint8), wanted), rows.dtype)
    count, length = rows.shape
    shape, dim = (*wanted.shape, count, length), wanted.ndim
    numbers = Expand(Reshape(wanted, (*wanted.shape, 1, 1)), shape)
    chosen = Eq(_positions(shape, dim), numbers)
    spread = broadcast_to(rows, shape)
    found = Sum(Where(chosen, spread, full_like(spread, 0)), (dim,))
    return Reshape(found, (*wanted.shape, length))


def _placed(source: Node, dim: int, before: int, length: int, fill: Constant) -> Node:
    """The source from ``before`` on, in a dimension of a given length."""
    if constant_of(source) is not None:
        return Expand(_cut(source, dim, 0, 1), _resized(source.shape, dim, length))
    if isinstance(before, Size):
        return _shifted(source, dim, -before, length)
    source = _cut(source, dim, 0, min(source.shape[dim], length - before))
    return _padded(source, dim, before, length - before - source.shape[dim], fill)


def _resized(shape: Shape, dim: int, length: int) -> Shape:
    return (*shape[:dim], length, *shape[dim + 1 :])


def _cut(source: Node, dim: int, start: int, length: int) -> Node:
    bounds = [(0, size) for size in source.shape]
    bounds[dim] = (start, start + length)
    return Shrink(source, tuple(bounds))


def _lengthened(source: Node, dim: int, length: int) -> Node:
    """The source up to a longer dimension: what comes after it is never read."""
    zero = constant(0, source.dtype)
    return _padded(source, dim, 0, length - source.shape[dim], zero)


def _padded(source: Node, dim: int, before: int, after: int, fill: Constant) -> Node:
    padding = [(0, 0)] * source.ndim
    padding[dim] = (before, after)
    return Pad(source, tuple(padding), fill)
