"""A single query is a row of one.

    o[b, f] = Σ_k softmax(q[b] · k[b])[k] v[b, k, f]
      ->  o[b, r, f],  q[b, r],  r < 1

Axes of one position disappear from kernels, but a pass over keys is told by its rows:
what its first operands move along and its second ones do not (``online_contraction``).
Where there is no such axis, as in a step that makes one token, it gets one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tetragrad.core.frozen import replace
from tetragrad.kernel.affine import axis_form
from tetragrad.kernel.expression import Expression, Load, walk
from tetragrad.kernel.ir import Kernel, Output
from tetragrad.kernel.online import online_form
from tetragrad.kernel.online import replace as replaced
from tetragrad.kernel.online_contraction import (
    InnerProduct,
    inner_products,
    online_contraction,
    row_of,
)


@functools.lru_cache(maxsize=64)
def with_row(kernel: Kernel) -> Kernel:
    """The kernel with a row of one, if that makes it an online contraction."""
    online = online_form(kernel)
    if online is None:
        return kernel
    inner = inner_products(online, online.axes[-1])
    if not inner or row_of(inner, online.axes, kernel.axes) is not None:
        return kernel
    found = _along_a_row(kernel, inner)
    is_pass = found is not None and online_contraction(found) is not None
    return found if found is not None and is_pass else kernel


def _along_a_row(kernel: Kernel, inner: Sequence[InnerProduct]) -> Kernel | None:
    """All results, and the operands that keys are multiplied by, over one more axis."""
    row = len(kernel.axes)
    moved: dict[Expression, Expression] = {}
    for product in inner:
        queries = _moved(kernel, product.queries, row)
        if queries is None:
            return None
        scores = replaced(product.scores, {product.queries: queries})
        moved[product.scores] = scores
    outputs = tuple(_over(output, moved, row) for output in kernel.outputs)
    return replace(kernel, axes=(*kernel.axes, 1), outputs=outputs)


def _moved(kernel: Kernel, queries: Expression, row: int) -> Expression | None:
    """An operand whose loads move by a whole buffer with each row."""
    loads = [entry for entry in walk(queries) if isinstance(entry, Load)]
    if not loads:
        return None
    moved: dict[Expression, Expression] = {}
    for load in loads:
        distance = axis_form(row).scale(kernel.slots[load.slot].numel)
        address = load.address + distance
        moved[load] = Load(load.slot, address, load.guard, load.dtype)
    return replaced(queries, moved)


def _over(output: Output, moved: dict[Expression, Expression], row: int) -> Output:
    value = replaced(output.value, moved)
    return replace(output, value=value, axes=(*output.axes, row))
