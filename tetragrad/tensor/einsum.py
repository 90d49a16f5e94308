"""Einstein summation: a sum of products, said with a letter for each dimension.

>>> tetragrad.einsum("ij,jk->ik", Tensor([[1, 2]]), Tensor([[3], [4]]))
tensor([[11]])
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tetragrad.core.dtypes import accumulation
from tetragrad.core.errors import ShapeError
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.movement import Permute, Reshape, broadcast_to
from tetragrad.graph.node import Node
from tetragrad.graph.reduce import Sum
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.complex_numbers import multilinear
from tetragrad.tensor.contraction import has_complex, promoted
from tetragrad.tensor.mixed_precision import with_operands_cast
from tetragrad.tensor.promotion import broadcast_nodes, combine, normal_dim
from tetragrad.tensor.reductions import drop_dims, positions

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


class Term:
    """A value whose dimensions have labels, each at most once."""

    def __init__(self, node: Node, labels: tuple[str, ...]) -> None:
        self.node = node
        self.labels = labels

    def size(self, label: str) -> int:
        """The size of the labelled dimension; 1 where there is none."""
        if label not in self.labels:
            return 1
        return self.node.shape[self.labels.index(label)]

    def spread(self, labels: Sequence[str]) -> Node:
        """The value with just these dimensions in this order, size 1 where absent."""
        present = [label for label in labels if label in self.labels]
        order = tuple(self.labels.index(label) for label in present)
        shape = tuple(self.size(label) for label in labels)
        return Reshape(Permute(self.node, order), shape)

    def summed(self, keep: set[str]) -> Term:
        """Without the labels that nobody else needs."""
        gone = tuple(dim for dim, label in enumerate(self.labels) if label not in keep)
        if not gone:
            return self
        kept = tuple(label for label in self.labels if label in keep)
        return Term(drop_dims(Sum(self.node, gone), gone), kept)


@with_operands_cast
def einsum(equation: str, *operands: Any) -> Tensor:
    """Multiply the operands and sum over every label that the output does not have.

    ``...`` stands for any further dimensions, which broadcast. A label repeated
    within one operand takes its diagonal. Without ``->`` the output has the labels
    that occur once, in alphabetical order.

    Raises:
        ShapeError: the equation does not fit the operands.

    >>> tetragrad.einsum("ij,j->i", Tensor([[1, 2], [3, 4]]), Tensor([1, 1]))
    tensor([3, 7])
    """
    tensors = list(operands[0]) if _is_list(operands) else list(operands)
    if has_complex(*tensors):
        return multilinear(functools.partial(einsum, equation), *tensors)
    inputs, output = parse(equation, [tensor.ndim for tensor in tensors])
    nodes = promoted("einsum()", *tensors)
    terms = [_term(node, labels) for node, labels in zip(nodes, inputs, strict=True)]
    _check_sizes(equation, terms)
    return combine(contract(terms, output), *tensors)


def _is_list(operands: tuple[Any, ...]) -> bool:
    return len(operands) == 1 and isinstance(operands[0], list | tuple)


def parse(
    equation: str, ndims: Sequence[int]
) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Labels of each operand and the output; ``...`` is "0", "1", … from the right.

    >>> parse("...i->i...", [3])
    ([('1', '0', 'i')], ('i', '1', '0'))
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(ndims):
        raise ShapeError(
            f"einsum({equation!r}) names {len(parts)} operands and got {len(ndims)}",
            hint="each part between commas names the dimensions of one operand",
        )
    inputs = [
        _labels(part, ndim, equation) for part, ndim in zip(parts, ndims, strict=True)
    ]
    counts = Counter(label for labels in inputs for label in labels)
    dots = sorted((label for label in counts if label.isdigit()), reverse=True)
    if not arrow:
        once = sorted(
            label for label, count in counts.items() if count == 1 and label.isalpha()
        )
        return inputs, (*dots, *once)
    before, ellipsis, after = right.partition("...")
    output = (*before, *(dots if ellipsis else ()), *after)
    unknown = [label for label in output if label not in counts]
    if unknown or len(set(output)) != len(output):
        raise ShapeError(
            f"einsum({equation!r}): the output names {unknown or 'a label twice'}",
            hint="each output label occurs in an operand, and once in the output",
        )
    return inputs, output


def _labels(part: str, ndim: int, equation: str) -> tuple[str, ...]:
    before, ellipsis, after = part.partition("...")
    named = len(before) + len(after)
    if named > ndim or (named < ndim and not ellipsis):
        raise ShapeError(
            f"einsum({equation!r}): {part!r} names {named} dimensions "
            f"of an operand with {ndim}",
            hint="use one letter a dimension, or ... for the rest",
        )
    if not (before + after).isalpha() and before + after:
        raise ShapeError(f"einsum({equation!r}): labels are letters, not {part!r}")
    rest = tuple(str(place) for place in reversed(range(ndim - named)))
    return (*before, *rest, *after)


def _term(node: Node, labels: tuple[str, ...]) -> Term:
    """A labelled operand; repeated labels become diagonals."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            node = _diagonal(node, first, second)
            labels = (*labels[:second], *labels[second + 1 :])
    return Term(node, labels)


def _diagonal(node: Node, first: int, second: int) -> Node:
    """Keep the elements whose two indices are equal; the second dimension goes."""
    row = positions(node.shape[first], first, node.ndim)
    column = positions(node.shape[second], second, node.ndim)
    same = ops.Eq(broadcast_to(row, node.shape), broadcast_to(column, node.shape))
    masked = ops.Where(same, node, full_like(node, 0))
    return drop_dims(Sum(masked, (second,)), (second,))


def _check_sizes(equation: str, terms: list[Term]) -> None:
    sizes: dict[str, int] = {}
    for term in terms:
        for label in term.labels:
            size = term.size(label)
            known = sizes.setdefault(label, size)
            if known == 1:
                sizes[label] = size
            elif size not in (1, known):
                raise ShapeError(
                    f"einsum({equation!r}): dimension {label!r} has {known} elements "
                    f"in one operand and {size} in another"
                )


def contract(terms: list[Term], output: tuple[str, ...]) -> Node:
    """Multiply two terms at a time, in the order that takes the least work.

    Half-width floats are multiplied in float32 and rounded once, after the last sum.
    """
    from tetragrad.tensor.contraction_order import contraction_order

    dtype = terms[0].node.dtype
    wide = accumulation(dtype)
    terms = [Term(ops.Cast(term.node, wide), term.labels) for term in terms]
    labels = [term.labels for term in terms]
    for pair in contraction_order(labels, output, _label_sizes(terms)):
        first, second = pair
        needed = _needed_beside(terms, pair, output)
        joined = _product(terms[first], terms[second], needed)
        terms = [term for place, term in enumerate(terms) if place not in pair]
        terms.append(joined)
    last = terms[0].summed(set(output))
    return ops.Cast(last.spread(output), dtype)


def _needed_beside(
    terms: list[Term], pair: tuple[int, int], output: tuple[str, ...]
) -> set[str]:
    """Labels that something other than the pair still needs."""
    others = [term.labels for place, term in enumerate(terms) if place not in pair]
    return set(output).union(*others)


def _label_sizes(terms: list[Term]) -> dict[str, int]:
    """How many elements each labelled dimension has, where it is not repeated."""
    sizes: dict[str, int] = {}
    for term in terms:
        for label in term.labels:
            sizes[label] = max(term.size(label), sizes.get(label, 1))
    return sizes


def _product(first: Term, second: Term, needed: set[str]) -> Term:
    """The sum of products over labels nobody else needs, which stand last."""
    # A label of one operand alone is summed before, which costs no products.
    first = first.summed(needed | set(second.labels))
    second = second.summed(needed | set(first.labels))
    labels = dict.fromkeys((*first.labels, *second.labels))
    kept = [label for label in labels if label in needed]
    gone = [label for label in labels if label not in needed]
    order = [*kept, *gone]
    product = ops.Mul(*broadcast_nodes(first.spread(order), second.spread(order)))
    dims = tuple(range(len(kept), len(order)))
    reduced = drop_dims(Sum(product, dims), dims) if dims else product
    return Term(reduced, tuple(kept))


@with_operands_cast
def tensordot(a: TensorBase, b: TensorBase, dims: Any = 2) -> Tensor:
    """Sum products over the last dimensions of one and the first of the other.

    ``dims`` is how many, or two lists of dimensions. A dimension of size 1 repeats.

    >>> tetragrad.tensordot(Tensor.ones(2, 3), Tensor.ones(3, 4), dims=1).shape
    (2, 4)
    """
    if has_complex(a, b):
        return multilinear(functools.partial(tensordot, dims=dims), a, b)
    if isinstance(dims, int):
        lhs_dims = list(range(a.ndim - dims, a.ndim))
        rhs_dims = list(range(dims))
    else:
        lhs_dims = [normal_dim(dim, a.ndim) for dim in _listed(dims[0])]
        rhs_dims = [normal_dim(dim, b.ndim) for dim in _listed(dims[1])]
    for left, right in zip(lhs_dims, rhs_dims, strict=True):
        sizes = {a.shape[left], b.shape[right]}
        if len(sizes) == 2 and 1 not in sizes:
            raise ShapeError(
                f"tensordot() of shapes {a.shape} and {b.shape}: dimensions {left} "
                f"and {right} differ in size",
                hint="name pairs of dimensions of equal size",
            )
    lhs_labels = [f"l{dim}" for dim in range(a.ndim)]
    rhs_labels = [f"r{dim}" for dim in range(b.ndim)]
    for left, right in zip(lhs_dims, rhs_dims, strict=True):
        rhs_labels[right] = lhs_labels[left]
    output = tuple(
        label
        for label in (*lhs_labels, *rhs_labels)
        if not (label in lhs_labels and label in rhs_labels)
    )
    lhs, rhs = promoted("tensordot()", a, b)
    terms = [Term(lhs, tuple(lhs_labels)), Term(rhs, tuple(rhs_labels))]
    return combine(contract(terms, output), a, b)


def _listed(dims: Any) -> list[int]:
    return [dims] if isinstance(dims, int) else list(dims)


def kron(a: Tensor, b: Tensor) -> Tensor:
    """The Kronecker product: every element of ``a`` times the whole of ``b``.

    >>> tetragrad.kron(Tensor([1, 2]), Tensor([1, 1]))
    tensor([1, 1, 2, 2])
    """
    ndim = max(a.ndim, b.ndim)
    left = a.reshape((1,) * (ndim - a.ndim) + a.shape)
    right = b.reshape((1,) * (ndim - b.ndim) + b.shape)
    spread_left = [entry for size in left.shape for entry in (size, 1)]
    spread_right = [entry for size in right.shape for entry in (1, size)]
    product = left.reshape(spread_left) * right.reshape(spread_right)
    sizes = [x * y for x, y in zip(left.shape, right.shape, strict=True)]
    return product.reshape(sizes)
