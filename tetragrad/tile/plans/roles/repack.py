"""Store an operand of a product first, as the bulk copy engine likes it.

    y[m, n] = Σ_k x[m, k] * w[k, n]       rows of 777 elements begin anywhere
      ->  scratch[m, k] = x[m, k]         in rows of 832: each begins with a line
          y[m, n] = Σ_k scratch[m, k] * w[k, n]

Also what is computed element by element on the way into a product is stored first, and
what lies with neighbours along an axis that steps cannot follow, as channels that are
far apart. What is stored is the tensor that the operand walks through, each element
once, however many windows it is in. It moves through memory twice more, and pays where
the product reads it often.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen
from tetragrad.core.target import Target
from tetragrad.graph.elementwise import Cast
from tetragrad.kernel.affine import ZERO, Affine, axis_form
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Literal,
    Load,
    Scalar,
    Select,
    walk,
)
from tetragrad.kernel.ir import Kernel, Output, Slot
from tetragrad.tile.ir import Dimension
from tetragrad.tile.plans.prepare.axes import simplify_axes
from tetragrad.tile.plans.prepare.division import Division
from tetragrad.tile.plans.products.choose_contraction import is_for_patches
from tetragrad.tile.plans.products.contraction import Contraction, hosted_contraction
from tetragrad.tile.plans.rewrite import Rewriter
from tetragrad.tile.plans.roles.bulk import dimensions_of
from tetragrad.tile.plans.roles.depth_parts import divided_cycles
from tetragrad.tile.plans.roles.factors import is_zero
from tetragrad.tile.plans.roles.role_cost import (
    LAUNCH_CYCLES,
    LINE_BYTES,
    MEMORY_BYTES_PER_CYCLE,
    MULTIPLICATIONS_PER_CYCLE,
    ordinary_cycles,
)
from tetragrad.tile.plans.roles.ways import multiplied_dtype
from tetragrad.tile.plans.traffic import points_in

#: How much longer a product takes without the bulk copy engine, about, and what each
#: step of so much depth takes however small the block is.
WITHOUT_BULK = 6
STEP_DEPTH, STEP_CYCLES = 64, 2500
#: The gain that is worth a kernel more.
WORTHWHILE = 0.9
#: How often an operand is read for which it is turned around first.
ENOUGH_TO_TURN = 1024
#: Neighbours that make a line that is worth reading.
ENOUGH_NEIGHBOURS = 32


@frozen
class Repack(Division):
    """Store one factor of a product first: 0 for the left one, 1 for the right one.

    As a cut does, it divides a kernel into one that runs first, and the rest. What is
    stored has neighbours along axis ``nearest``, or as it lies.
    """

    factor: int
    nearest: int | None = None

    def divide(self, kernel: Kernel) -> tuple[Kernel, Kernel]:
        """The kernel that stores the operand, and the product that reads it."""
        contraction = hosted_contraction(kernel)
        assert contraction is not None, "a product is repacked"
        tensor = walked_tensor(kernel, contraction, self.factor)
        assert tensor is not None, "an operand that can be stored"
        tensor = _turned(tensor, self.nearest)
        first, rest = _stored(kernel, tensor)
        return simplify_axes(first), simplify_axes(rest)


# --- the tensor that an operand walks through -----------------------------------------


@frozen
class WalkedTensor:
    """A value of a product, and the tensor that it is an element of.

    ``dimensions`` are in the order in which they are to lie, neighbours first.
    """

    value: Expression
    load: Expression
    dimensions: tuple[Dimension, ...]

    @property
    def size(self) -> int:
        """Elements of the tensor."""
        size = 1
        for dimension in self.dimensions:
            size *= dimension.size
        return size


def walked_tensor(
    kernel: Kernel, contraction: Contraction, factor: int
) -> WalkedTensor | None:
    """The tensor behind one factor, if its value depends on places in one alone."""
    value = (contraction.lhs, contraction.rhs)[factor]
    while (isinstance(value, Compute) and value.op is Cast) or (
        isinstance(value, Select) and is_zero(value.outside)
    ):
        inner = value.operands[0]
        if isinstance(value, Compute) and not _widens(inner.dtype, value.dtype):
            break
        value = inner
    entries = walk(value)
    loads = [entry for entry in entries if isinstance(entry, Load)]
    if not loads or any(
        not isinstance(entry, Load | Compute | Literal | Scalar) for entry in entries
    ):
        return None
    load = max(loads, key=lambda entry: len(entry.address.axes()))
    found = dimensions_of(load.address, load.guard, kernel.axes)
    if found is None or value.free_axes != load.free_axes:
        return None
    tensor = WalkedTensor(value, load, _in_order(found))
    is_walked = all(
        _address_in(tensor, entry, kernel.axes) is not None for entry in loads
    )
    return tensor if is_walked else None


def _widens(narrow: DType, wide: DType) -> bool:
    """Whether a cast makes a float wider: the unit multiplies what it was before."""
    return narrow.is_floating_point and narrow.itemsize < wide.itemsize


def _in_order(dimensions: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """Dimensions as they lie already, unless neighbours are not what steps follow.

    Then the nearest that they can follow: channels. Steps of images, which a gradient
    sums over, took twice as long on an H200.
    """
    order = sorted(dimensions, key=lambda entry: entry.stride)
    plain = [
        entry
        for entry in order
        if len(entry.index.terms) == 1 and entry.size >= ENOUGH_NEIGHBOURS
    ]
    if order[0] in plain or not plain:
        return tuple(order)
    nearest = plain[0]
    return (nearest, *(entry for entry in order if entry is not nearest))


def _turned(tensor: WalkedTensor, nearest: int | None) -> WalkedTensor:
    """The tensor with neighbours along an axis, or as it lies."""
    if nearest is None:
        return tensor
    order = sorted(
        tensor.dimensions, key=lambda entry: nearest not in entry.index.axes()
    )
    return replace(tensor, dimensions=tuple(order))


def _address_in(
    tensor: WalkedTensor, load: Expression, sizes: Sequence[int]
) -> Affine | None:
    """A load's address over axes that count the tensor's dimensions."""
    own = dimensions_of(load.address, load.guard, sizes)
    if own is None:
        return None
    address = load.address - _walk(own, [entry.index for entry in own])
    if address.terms:
        return None
    places = []
    for dimension in own:
        for number, other in enumerate(tensor.dimensions):
            shift = dimension.index - other.index
            if not shift.terms:
                places.append(axis_form(number) + shift)
                break
        else:
            return None
    return address + _walk(own, places)


def _walk(dimensions: Sequence[Dimension], indices: Sequence[Affine]) -> Affine:
    """How far indices are from a tensor's start."""
    total = ZERO
    for dimension, index in zip(dimensions, indices, strict=True):
        total = total + index.scale(dimension.stride)
    return total


def _stored(kernel: Kernel, tensor: WalkedTensor) -> tuple[Kernel, Kernel]:
    """The kernel that stores a tensor, and the one that reads what was stored."""
    value = tensor.value
    line = LINE_BYTES // value.dtype.itemsize
    address, place, stride = ZERO, ZERO, 1
    for number, dimension in enumerate(tensor.dimensions):
        address = address + dimension.index.scale(stride)
        place = place + axis_form(number).scale(stride)
        stride *= dimension.size
        if number == 0:
            stride = -(-stride // line) * line
    slot = len(kernel.slots)
    slots = (*kernel.slots, Slot(value.dtype, stride))
    loads: dict[Expression, Expression] = {
        entry: Load(
            entry.slot, _address_in(tensor, entry, kernel.axes), (), entry.dtype
        )
        for entry in walk(value)
        if isinstance(entry, Load)
    }
    sizes = tuple(dimension.size for dimension in tensor.dimensions)
    stored = Output(slot, place, Rewriter({}, loads)(value), tuple(range(len(sizes))))
    first = replace(kernel, axes=sizes, slots=slots, outputs=(stored,))
    reading = Load(slot, address, tensor.load.guard, value.dtype)
    rewriter = Rewriter({}, {value: reading})
    outputs = tuple(
        replace(output, value=rewriter(output.value)) for output in kernel.outputs
    )
    return first, replace(kernel, slots=slots, outputs=outputs)


# --- whether that pays ----------------------------------------------------------------


def choose_repack(kernel: Kernel, target: Target) -> Repack | None:
    """The first factor of a product that should be stored before it is multiplied."""
    if not target.has_free_iterations:
        # A processor packs blocks of its operands while it multiplies.
        return None
    contraction = hosted_contraction(kernel)
    if contraction is None:
        return None
    if target.has_roles:
        found = _choose_for_roles(kernel, contraction, target)
        if found or divided_cycles(kernel, 0, contraction, target) is not None:
            return found
    if is_for_patches(kernel, contraction, target):
        return _choose_turned(kernel, contraction)
    return None


def _choose_for_roles(
    kernel: Kernel, contraction: Contraction, target: Target
) -> Repack | None:
    """The first factor that should be stored as the bulk copy engine likes it."""
    tensors = [walked_tensor(kernel, contraction, factor) for factor in (0, 1)]
    nearest = None
    if multiplied_dtype(contraction, target) is dtypes.float32:
        nearest = _axis_to_lie_along(kernel, contraction, tensors)
    wanted = [
        Repack(factor, nearest)
        for factor, tensor in enumerate(tensors)
        if tensor is not None and not _lies_well(_turned(tensor, nearest))
    ]
    if not wanted:
        return None
    as_is = _cycles_as_is(kernel, contraction, target)
    for cuts in [wanted] if len(wanted) == 1 else [wanted[:1], wanted[1:], wanted]:
        few = all(
            _is_computed_from_little(kernel, contraction, cut.factor) for cut in cuts
        )
        enough = as_is if few else WORTHWHILE * as_is
        if _cycles_stored(kernel, cuts, target) < enough:
            return cuts[0]
    return None


def _axis_to_lie_along(
    kernel: Kernel,
    contraction: Contraction,
    tensors: Sequence[WalkedTensor | None],
) -> int | None:
    """The axis of the depth along which both factors should have neighbours.

    The unit turns around 16-bit operands only. Of the axes that both have, one along
    which one of them lies already, or else the longest.
    """
    strides = {
        axis: [
            entry.stride
            for tensor in tensors
            if tensor is not None
            for entry in tensor.dimensions
            if entry.index.axes() == {axis}
        ]
        for axis in contraction.depth
        if kernel.axes[axis] >= ENOUGH_NEIGHBOURS
    }
    found = [axis for axis, steps in strides.items() if len(steps) == len(tensors)]
    return min(
        found,
        key=lambda axis: (min(strides[axis]) > 1, -kernel.axes[axis]),
        default=None,
    )


def _is_computed_from_little(
    kernel: Kernel, contraction: Contraction, factor: int
) -> bool:
    """Whether each block would compute a small operand again, as weights in half width.

    Beside products of images threads do that more slowly than the model has it:
    ResNet-50's inference took 9.1 ms instead of 7.8.
    """
    tensor = walked_tensor(kernel, contraction, factor)
    if tensor is None or tensor.value is tensor.load:
        return False
    nbytes = tensor.size * tensor.load.dtype.itemsize
    return nbytes < LAUNCH_CYCLES * MEMORY_BYTES_PER_CYCLE


def _choose_turned(kernel: Kernel, contraction: Contraction) -> Repack | None:
    """A factor that should be turned around for ordinary arithmetic.

    Patches read neighbours along the sides, where turning single words on their way
    takes a tenth longer than the whole product.
    """
    sides = (contraction.rows, contraction.columns)
    operands = (contraction.lhs, contraction.rhs)
    for factor, operand in enumerate(operands):
        (side,), (other,) = sides[factor], sides[1 - factor]
        is_read_often = kernel.axes[other] >= ENOUGH_TO_TURN
        is_flat = operand.address.coefficient(side) == 1
        if is_read_often and not is_flat:
            tensor = walked_tensor(kernel, contraction, factor)
            return None if tensor is None else Repack(factor, side)
    return None


def _lies_well(tensor: WalkedTensor) -> bool:
    """Whether it is in memory as it would be stored, each row beginning with a line."""
    if tensor.value is not tensor.load:
        return False
    line = LINE_BYTES // tensor.value.dtype.itemsize
    nearest, *others = tensor.dimensions
    return nearest.stride == 1 and all(entry.stride % line == 0 for entry in others)


def _cycles_stored(kernel: Kernel, cuts: Sequence[Repack], target: Target) -> float:
    """What a product takes with some factors stored first, and storing them."""
    cycles, rest = 0.0, kernel
    for cut in cuts:
        contraction = hosted_contraction(rest)
        if contraction is None:
            return math.inf
        tensor = walked_tensor(rest, contraction, cut.factor)
        if tensor is None:
            return math.inf
        tensor = _turned(tensor, cut.nearest)
        _, rest = _stored(rest, tensor)
        moved = tensor.size * (tensor.value.dtype.itemsize + tensor.load.dtype.itemsize)
        cycles += moved / MEMORY_BYTES_PER_CYCLE + LAUNCH_CYCLES
    rest = simplify_axes(rest)
    after = hosted_contraction(rest)
    found = None if after is None else divided_cycles(rest, 0, after, target)
    return math.inf if found is None else cycles + found[0]


def _cycles_as_is(kernel: Kernel, contraction: Contraction, target: Target) -> float:
    """What the product takes without a copy."""
    found = divided_cycles(kernel, 0, contraction, target)
    if found is not None:
        return found[0]
    if multiplied_dtype(contraction, target) is dtypes.float32:
        return ordinary_cycles(kernel, contraction, target)
    axes = contraction.reduction.free_axes | set(contraction.reduction.axes)
    products = points_in(kernel, axes)
    rate = MULTIPLICATIONS_PER_CYCLE * target.units
    steps = points_in(kernel, contraction.depth) / STEP_DEPTH
    return WITHOUT_BULK * products / rate + steps * STEP_CYCLES + LAUNCH_CYCLES
