"""Strides of views: which element of the storage a view's element is.

Only PyTorch's question "is this a view or a copy?" needs them; the compiler works
out addresses from the movements themselves.
"""

from __future__ import annotations

from tetragrad.graph import movement as graph
from tetragrad.graph.node import Shape, size_of
from tetragrad.tensor.storage import Moved, View


def row_major(shape: Shape) -> Shape:
    """The strides of a contiguous array."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))


def is_row_major(shape: Shape, strides: Shape) -> bool:
    """Whether elements lie in row-major order without gaps."""
    if 0 in shape:
        return True
    expected = row_major(shape)
    return all(
        size == 1 or have == want
        for size, have, want in zip(shape, strides, expected, strict=True)
    )


def strides(shape: Shape, steps: View) -> Shape | None:
    """The strides of a view of a contiguous storage, or None if it has none."""
    known: Shape | None = row_major(shape)
    for step in steps:
        if not isinstance(step, Moved):
            continue
        if known is None:
            return None
        shape, known = _after(shape, known, step)
    return known


def _after(shape: Shape, known: Shape, step: Moved) -> tuple[Shape, Shape | None]:
    """Shape and strides after one movement."""
    movement, arguments = step.movement, step.arguments
    if movement is graph.Reshape:
        (new_shape,) = arguments
        return new_shape, reshaped(shape, known, new_shape)
    if movement is graph.Permute:
        (order,) = arguments
        return tuple(shape[dim] for dim in order), tuple(known[dim] for dim in order)
    if movement is graph.Expand:
        (new_shape,) = arguments
        triples = zip(shape, new_shape, known, strict=True)
        return new_shape, tuple(
            stride if old == new else 0 for old, new, stride in triples
        )
    if movement is graph.Shrink:
        (bounds,) = arguments
        return tuple(stop - start for start, stop in bounds), known
    if movement is graph.Stride:
        (steps,) = arguments
        sizes = tuple(-(-size // by) for size, by in zip(shape, steps, strict=True))
        return sizes, tuple(a * by for a, by in zip(known, steps, strict=True))
    if movement is graph.Flip:
        (dims,) = arguments
        return shape, tuple(
            -stride if dim in dims else stride for dim, stride in enumerate(known)
        )
    if movement is graph.Window:
        dim, size, by, dilation = arguments
        count = (shape[dim] - (size - 1) * dilation - 1) // by + 1
        pair = (known[dim] * by, known[dim] * dilation)
        return (
            (*shape[:dim], count, size, *shape[dim + 1 :]),
            (*known[:dim], *pair, *known[dim + 1 :]),
        )
    raise AssertionError(f"{movement.__name__} is not a view")


def reshaped(shape: Shape, known: Shape, new_shape: Shape) -> Shape | None:
    """Strides under another shape, or None where only a copy can have it."""
    if 0 in shape or size_of(shape) == 1:
        return row_major(new_shape)
    # Walk from the last dimension, one evenly spaced run of old dimensions at a time.
    old = [pair for pair in zip(shape, known, strict=True) if pair[0] != 1]
    result: list[int] = []
    new = len(new_shape) - 1
    while old:
        size, stride = old.pop()
        run, base = size, stride
        while old and old[-1][1] == stride * size:
            size, stride = old.pop()
            run *= size
        covered = 1
        while new >= 0 and (covered < run or new_shape[new] == 1):
            result.append(base * covered)
            covered *= new_shape[new]
            new -= 1
        if covered != run:
            return None
    result.extend(row_major(new_shape)[: new + 1])
    return tuple(reversed(result))
