"""Windows summed back into the dimension they were cut from: the adjoint of Window.

    out[p] = Σ source[n, k]        over all n, k with n*stride + k*dilation = p

A sum along a diagonal, which a :class:`Skew` makes a plain one, for each phase of the
stride. So a transposed convolution, or the gradient of a strided one, multiplies and
adds what there is, and no zeros between.
"""

from __future__ import annotations

from math import gcd

from tetragrad.graph.movement import Reshape, Shrink, Skew, Window, dilate, pad
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Sum


def fold(source: Node, dim: int, stride: int, dilation: int, length: int) -> Node:
    """Sum the windows ``dim`` and places ``dim + 1`` into one dimension of ``length``.

    Where stride and dilation have a common divisor, all elements lie on multiples of
    it: they are folded there, and spread apart.
    """
    common = gcd(stride, dilation)
    before, after = source.shape[:dim], source.shape[dim + 2 :]
    if common > 1:
        rows = -(-length // common)
        folded = fold(source, dim, stride // common, dilation // common, rows)
        steps = tuple(common if axis == dim else 1 for axis in range(folded.ndim))
        return dilate(folded, steps, (*before, length, *after))
    if stride == 1:
        skewed = Skew(source, dim, dilation, 0, length)
        return Reshape(Sum(skewed, (dim + 1,)), (*before, length, *after))
    rows = -(-length // stride)
    joined = _phases(source, dim, stride, dilation, rows)
    joined = Reshape(joined, (*before, rows * stride, *after))
    cut = tuple(
        (0, length if axis == dim else size) for axis, size in enumerate(joined.shape)
    )
    return Shrink(joined, cut)


def _phases(source: Node, dim: int, stride: int, dilation: int, rows: int) -> Node:
    """The positions ``stride * row + phase`` as two dimensions.

    With ``inverse * dilation = stride * late + 1``, the places that fall on a phase
    are k = phase * inverse + stride * turn, and so

        n*stride + k*dilation = (n + turn*dilation + phase*late) * stride + phase

    which is one sum along a diagonal for all phases, each moved by some rows.
    """
    inverse = pow(dilation, -1, stride)
    late = (inverse * dilation - 1) // stride
    # Turns before the first place, where phases begin beyond a whole stride.
    lead = inverse * (stride - 1) // stride
    turned = _turns(source, dim + 1, stride, inverse, lead)
    latest = late * (stride - 1)
    start = lead * dilation - latest
    skewed = Skew(turned, dim, dilation, start, rows + latest)
    summed: Node = Sum(skewed, (dim + 1,))
    before, after = source.shape[:dim], source.shape[dim + 2 :]
    summed = Reshape(summed, (*before, rows + latest, stride, *after))
    return Skew(summed, dim, late, latest, rows) if latest else summed


def _turns(source: Node, dim: int, stride: int, inverse: int, lead: int) -> Node:
    """Dimension ``dim`` as two: turns from ``-lead`` on, and phases."""
    size = source.shape[dim]
    turns = lead + (size - 1) // stride + 1
    first = stride * lead
    reach = stride * (turns - 1) + inverse * (stride - 1) + 1
    around = [(0, 0)] * source.ndim
    around[dim] = (first, reach - first - size)
    padded = pad(source, tuple(around), 0)
    if inverse > 1:
        return Window(padded, dim, stride, stride, inverse)
    before, after = source.shape[:dim], source.shape[dim + 1 :]
    return Reshape(padded, (*before, turns, stride, *after))
