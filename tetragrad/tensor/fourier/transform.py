"""The discrete Fourier transform of one dimension, on nodes.

A length that is a product r·m is transformed in two steps (Cooley and Tukey 1965): r
values that stand m apart by a small dense matrix, then, after a factor for each, m
values by the same method. So a transform is a few contractions, with elementwise work
between them. A large prime length becomes a convolution (Bluestein 1970).

Complex values are pairs in a last dimension of 2, as everywhere in the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tetragrad.core.dtypes import complex_dtype
from tetragrad.core.frozen import frozen
from tetragrad.core.settings import settings
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as graph
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.contraction import matmul_nodes
from tetragrad.tensor.fourier import tables
from tetragrad.tensor.joining import pad_dim
from tetragrad.tensor.pairs import split, to_pairs
from tetragrad.tensor.pending import realize_tensors

#: The largest dense matrix of a transform in several steps.
DENSE = 48
#: Up to this many real numbers are transformed by one dense matrix: a step of its own
#: for a small factor costs more in memory than it saves in arithmetic.
DENSE_WHOLE = 128
#: A prime factor up to this one costs less as a dense matrix than as a convolution.
LARGEST_PRIME = 192


@frozen(slots=True)
class Plan:
    """What is asked of a transform: only what is needed is computed.

    ``kept`` is how many of the results are wanted, from the first on.
    """

    size: int
    kept: int
    real_input: bool = False
    real_output: bool = False
    inverse: bool = False


def transform(node: Node, plan: Plan) -> Node:
    """Transform the last dimension (the last but one of pairs); nothing is scaled.

    Args:
        node: (…, size) of real values or (…, size, 2) of pairs.

    Returns:
        (…, kept) or (…, kept, 2).
    """
    if plan.size * (1 if plan.real_input else 2) <= DENSE_WHOLE:
        return _dense(node, plan)
    factors = factors_of(plan.size)
    if max(factors) > LARGEST_PRIME:
        return _bluestein(node, plan)
    return _mixed(node, plan, factors)


def factors_of(size: int) -> list[int]:
    """Factors of a length, each as near to ``DENSE`` as its primes allow."""
    if size <= DENSE:
        return [size]
    groups: list[int] = []
    for prime in reversed(_primes(size)):
        fitting = [
            place for place, group in enumerate(groups) if group * prime <= DENSE
        ]
        if fitting:
            smallest = min(fitting, key=groups.__getitem__)
            groups[smallest] *= prime
        else:
            groups.append(prime)
    return sorted(groups, reverse=True)


def _primes(size: int) -> list[int]:
    """Prime factors, ascending."""
    found = []
    divisor = 2
    while divisor * divisor <= size:
        while size % divisor == 0:
            found.append(divisor)
            size //= divisor
        divisor += 1
    return found + [size] * (size > 1)


def _mixed(node: Node, plan: Plan, factors: list[int]) -> Node:
    if len(factors) == 1:
        return _dense(node, plan)
    rows, rest = factors[0], factors[1:]
    columns = plan.size // rows
    # x[row * columns + column] -> A[column, k]: the matrix runs over the rows.
    part = () if plan.real_input else (2,)
    outer = node.shape[: node.ndim - 1 - len(part)]
    split = graph.Reshape(node, (*outer, rows, columns, *part))
    turned = _exchange(split, len(outer))
    first = Plan(rows, rows, plan.real_input, False, plan.inverse)
    small = _dense(turned, first)
    small = multiply_pairs(small, tables.twiddles, rows, columns, plan.inverse)
    # X[k + rows * l]: for each k the columns are transformed, up to the l needed.
    inner = replace(plan, size=columns, kept=-(-plan.kept // rows), real_input=False)
    spectrum = _mixed(_exchange(small, len(outer)), inner, rest)
    spectrum = _exchange(spectrum, len(outer))
    parts = () if plan.real_output else (2,)
    whole = graph.Reshape(spectrum, (*outer, inner.kept * rows, *parts))
    surplus = inner.kept * rows - plan.kept
    if not surplus:
        return whole
    # Cut out of the product as it is computed, the rest would not be whole rows of it,
    # and the kernel no product: forty times slower.
    realize_tensors([TensorBase.tensor_class.from_node(whole)])
    return pad_dim(whole, len(outer), 0, -surplus)


def _exchange(node: Node, first: int) -> Node:
    """Dimensions ``first`` and the one after it the other way round."""
    order = list(range(node.ndim))
    order[first], order[first + 1] = order[first + 1], order[first]
    return graph.Permute(node, tuple(order))


def _dense(node: Node, plan: Plan) -> Node:
    """One product with the matrix of the transform."""
    part = 1 if plan.real_input else 2
    outer = node.shape[: node.ndim - part]
    vector = graph.Reshape(node, (*outer, plan.size * part))
    if not outer:
        vector = graph.Reshape(vector, (1, vector.shape[-1]))
    matrix = tables.table(
        tables.dense,
        plan.size,
        plan.kept,
        plan.real_input,
        plan.real_output,
        plan.inverse,
        dtype=node.dtype,
        device=_device_of(node),
    )
    rows = 1
    for size in outer:
        rows *= size
    # One product for all rows of the batch: the matrix is packed once.
    product = matmul_nodes(graph.Reshape(vector, (rows, vector.shape[-1])), matrix)
    parts = () if plan.real_output else (2,)
    return graph.Reshape(product, (*outer, plan.kept, *parts))


def multiply_pairs(
    node: Node, make: Callable[..., np.ndarray], *arguments: int | bool
) -> Node:
    """Pairs times a table of complex numbers, which ends in the same dimensions."""
    factors = tables.table(
        tables.pair_factors,
        make,
        *arguments,
        dtype=node.dtype,
        device=_device_of(node),
    )
    straight, crossed = (
        broadcast_to(_entry(factors, place), node.shape) for place in range(2)
    )
    swapped = graph.Flip(node, (node.ndim - 1,))
    return ops.Add(ops.Mul(node, straight), ops.Mul(swapped, crossed))


def _entry(node: Node, place: int) -> Node:
    """One entry of the first dimension."""
    bounds = ((place, place + 1), *((0, size) for size in node.shape[1:]))
    return graph.Reshape(graph.Shrink(node, bounds), node.shape[1:])


def _device_of(node: Node) -> str:
    return node.device or settings().device


def _bluestein(node: Node, plan: Plan) -> Node:
    """2jk = j² + k² - (k - j)²: a convolution with a chirp, between two chirps."""
    if plan.real_input:
        node = to_pairs(node, complex_dtype(node.dtype))
    length = 1 << (2 * plan.size - 2).bit_length()
    chirped = multiply_pairs(node, tables.chirp, plan.size, plan.size, plan.inverse)
    padded = pad_dim(chirped, node.ndim - 2, 0, length - plan.size)
    spectrum = transform(padded, Plan(length, length))
    filtered = multiply_pairs(
        spectrum, tables.chirp_spectrum, plan.size, length, plan.inverse
    )
    back = transform(filtered, Plan(length, plan.kept, inverse=True))
    final = multiply_pairs(back, tables.chirp, plan.size, plan.kept, plan.inverse)
    return split(final).real if plan.real_output else final
