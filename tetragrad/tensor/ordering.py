"""How elements are put in order: by counting, by comparing, digit by digit, in blocks.

All of it works on unsigned keys along the last dimension and gives places, not values.
Equal keys keep their order. There is no primitive sort: counts, running sums and one
scatter are sums over selections, which the compiler recognises.
"""

from __future__ import annotations

import math

from tetragrad.core import dtypes
from tetragrad.core.settings import settings
from tetragrad.engine import realize as engine
from tetragrad.graph import elementwise as ops
from tetragrad.graph import movement as graph
from tetragrad.graph import reduce
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.leaves import constant
from tetragrad.graph.movement import broadcast_to
from tetragrad.graph.node import Node
from tetragrad.tensor.cumulative import running
from tetragrad.tensor.gathering import take_along
from tetragrad.tensor.joining import pad_dim
from tetragrad.tensor.reductions import drop_dims, positions
from tetragrad.tensor.scattering import scatter_reduce_nodes

#: Rows up to this length are sorted by counting, if all have no more pairs of
#: elements than this.
COUNTING_LIMIT = 128
COUNTED_PAIRS = 1 << 16

#: So many rows up to this length are sorted by a network, others digit by digit: a
#: network has a kernel for each of its passes, which few rows are not worth.
NETWORK_LIMIT = 1 << 14
NETWORK_ROWS = 16

#: The shortest and the longest row that a network sorts where its kernels hand blocks
#: to one another on a chip; of longer ones, digits have fewer passes.
SHORTEST_CHAIN, LONGEST_CHAINED = 32, 1 << 22

#: Blocks on a chip are not shorter only because there are multiprocessors left.
SHORTEST_BLOCK = 1 << 12

#: A digit has four bits, so that the counts of its values fill one vector.
DIGIT_BITS = 4
DIGIT_VALUES = 1 << DIGIT_BITS

#: Bits of a key and its place that are sorted as 32-bit integers.
NARROW_BITS = 32
#: The bits of the least normal double-precision float.
LEAST_NORMAL = 1 << 52

#: Longer rows are counted in blocks of this many elements, side by side.
COUNTED_TOGETHER = 256

#: The largest are looked for in blocks if there are so many elements for each.
WORTH_BLOCKS = 64

#: Rows up to this length are sorted for one of their elements, if they are many; in
#: longer ones it is looked for bit by bit.
SORTED_FOR_ONE = 64

#: On a chip, blocks of so many elements for each of the largest, and no fewer in all,
#: are sorted, if there are no more elements than this; otherwise blocks are chosen.
SORTED_FOR_EACH, LEAST_SORTED = 4, 1 << 10
MOST_SORTED = 1 << 22

_SIGNED = {8: dtypes.int8, 16: dtypes.int16, 32: dtypes.int32, 64: dtypes.int64}
_UNSIGNED = {8: dtypes.uint8, 16: dtypes.uint16, 32: dtypes.uint32, 64: dtypes.uint64}


def unsigned_key(node: Node) -> Node:
    """An unsigned integer for each value, in the same order; NaN is the largest."""
    key = _signed_key(node)
    if not key.dtype.is_signed:
        return key
    flipped = ops.Xor(key, full_like(key, dtypes.lowest(key.dtype)))
    return ops.Bitcast(flipped, _UNSIGNED[key.dtype.bits])


def _signed_key(node: Node) -> Node:
    """An integer for each value, in the same order; -0 equals 0."""
    if node.dtype.is_bool:
        return ops.Cast(node, dtypes.uint8)
    if not node.dtype.is_floating_point:
        return node
    # Without the sign, bits of floats count upwards; negative ones count backwards.
    bits = ops.Bitcast(node, _SIGNED[node.dtype.bits])
    zero = full_like(bits, 0)
    largest = full_like(bits, dtypes.highest(bits.dtype))
    key = ops.Where(ops.Lt(bits, zero), ops.Xor(bits, largest), bits)
    key = ops.Where(ops.Eq(node, full_like(node, 0)), zero, key)
    return ops.Where(ops.Eq(node, node), key, largest)


def sorted_order(key: Node) -> Node:
    """The places of the keys of the last dimension, smallest first; stable."""
    size, dim = key.shape[-1], key.ndim - 1
    is_chain = _chained_bytes(key) and SHORTEST_CHAIN <= size <= LONGEST_CHAINED
    if not is_chain and size <= COUNTING_LIMIT and key.numel * size <= COUNTED_PAIRS:
        return _order_by_counting(key)
    are_many = size <= NETWORK_LIMIT and key.numel >= size * NETWORK_ROWS
    order = _order_by_network if is_chain or are_many else _order_by_digits
    if key.dtype.bits <= 32:
        return order(key)
    # First by the lower half; the upper half's order then keeps what is equal.
    low = ops.Cast(ops.And(key, full_like(key, (1 << 32) - 1)), dtypes.uint32)
    high = ops.Cast(ops.Shr(key, full_like(key, 32)), dtypes.uint32)
    by_low = order(low)
    by_high = order(take_along(high, by_low, dim))
    return take_along(by_low, by_high, dim)


def _chained_bytes(key: Node) -> int:
    """Bytes of a block that kernels hand to one another on a chip; 0 if they do not."""
    return engine.device(key.device or settings().device).target.chained_bytes


# --- by counting ---------------------------------------------------------------------


def _order_by_counting(key: Node) -> Node:
    """An element's rank is the number of elements that go before it."""
    size, dim = key.shape[-1], key.ndim - 1
    shape = (*key.shape, size)
    own = broadcast_to(graph.Reshape(key, (*key.shape, 1)), shape)
    row = graph.Reshape(key, (*key.shape[:-1], 1, size))
    other = broadcast_to(row, shape)
    own_place = broadcast_to(positions(size, dim, dim + 2, dtypes.int32), shape)
    other_place = broadcast_to(positions(size, dim + 1, dim + 2, dtypes.int32), shape)
    is_tie = ops.And(ops.Eq(other, own), ops.Lt(other_place, own_place))
    goes_before = ops.Or(ops.Lt(other, own), is_tie)
    before = reduce.Sum(ops.Cast(goes_before, dtypes.int32), (dim + 1,))
    rank = graph.Reshape(before, key.shape)
    place = broadcast_to(positions(size, dim, key.ndim), key.shape)
    return scatter_reduce_nodes(reduce.Sum, rank, place, size, dim)


# --- by a network --------------------------------------------------------------------


def _order_by_network(key: Node) -> Node:
    """All rows at once, in blocks that are sorted on a chip where there is one."""
    *batch, size = key.shape
    numbers, places = _numbered(key)
    # Imported here because few programs sort.
    from tetragrad.tensor.sorting_network import sorted_rows

    found = sorted_rows(numbers, _longest_block(numbers))
    order = pad_dim(_places_of(found, places), 1, 0, size - found.shape[1])
    return graph.Reshape(order, (*batch, size))


def _numbered(key: Node) -> tuple[Node, int]:
    """Numbers (rows, power of two) in the order of the keys, and the bits of places.

    Each key has its place below it, which makes all distinct. Narrow ones fit 32 bits.
    Others are compared as floats, whose order is that of their bits, as one comparison
    of floats is cheaper than that of 64 bits in two halves; from the least normal one
    upwards, since nobody is sure to tell the smaller ones apart.
    """
    size = key.shape[-1]
    length = 1 << (size - 1).bit_length()
    key = graph.Reshape(key, (key.numel // size, size))
    key = pad_dim(key, 1, 0, length - size, dtypes.highest(key.dtype))
    bits = length.bit_length() - 1
    is_narrow = key.dtype.bits + bits <= NARROW_BITS
    dtype = dtypes.uint32 if is_narrow else dtypes.uint64
    place = broadcast_to(positions(length, 1, 2, dtype), key.shape)
    above = ops.Shl(ops.Cast(key, dtype), full_like(place, bits))
    numbers: Node = ops.Or(above, place)
    if not is_narrow:
        normal = ops.Add(numbers, full_like(numbers, LEAST_NORMAL))
        numbers = ops.Bitcast(normal, dtypes.float64)
    return numbers, bits


def _places_of(numbers: Node, bits: int) -> Node:
    """The places below the keys of numbers."""
    if numbers.dtype.is_floating_point:
        numbers = ops.Bitcast(numbers, dtypes.uint64)
    places = ops.And(numbers, full_like(numbers, (1 << bits) - 1))
    return ops.Cast(places, dtypes.int64)


def _longest_block(numbers: Node) -> int:
    """The longest block that is sorted on a chip; where there is none, a whole row."""
    longest = _chained_bytes(numbers) // numbers.dtype.itemsize
    if not longest:
        return numbers.shape[-1]
    units = engine.device(numbers.device or settings().device).target.units
    block = 1 << (longest.bit_length() - 1)
    # All multiprocessors, or nearly all, should have one.
    while block > SHORTEST_BLOCK and numbers.numel // block < units * 3 // 4:
        block //= 2
    return block


# --- digit by digit ------------------------------------------------------------------


def _order_by_digits(key: Node) -> Node:
    """A radix sort: stable passes, from the lowest digit to the highest.

    H. H. Seward, "Information sorting in the application of electronic digital
    computers to business operations", 1954. An element is its place above its key in
    one number, from which each pass drops the digit that it has sorted by, so that
    all passes are one kernel and the place is what remains.
    """
    *batch, size = key.shape
    rows = math.prod(batch)
    blocks = max(1, size // COUNTED_TOGETHER)
    length = -(-size // blocks) * blocks
    key = graph.Reshape(key, (rows, size))
    key = pad_dim(key, 1, 0, length - size, dtypes.highest(key.dtype))
    place = positions(length, 1, 2, dtypes.uint64)
    above = ops.Shl(place, full_like(place, key.dtype.bits))
    packed: Node = ops.Or(ops.Cast(key, dtypes.uint64), broadcast_to(above, key.shape))
    # Stored once: the first pass would compute it three times, element by element.
    (packed,) = engine.realize([packed])
    for _ in range(key.dtype.bits // DIGIT_BITS):
        packed = _sorted_by_digit(packed, blocks)
    order: Node = ops.Cast(packed, dtypes.int64)
    order = pad_dim(order, 1, 0, size - length)
    return graph.Reshape(order, (*batch, size))


def _sorted_by_digit(packed: Node, blocks: int) -> Node:
    """Every row of numbers sorted by its lowest digit, which is dropped."""
    rows, length = packed.shape
    within = length // blocks
    shape = (rows, DIGIT_VALUES, blocks, within)
    each: Node = graph.Reshape(packed, (rows, 1, blocks, within))
    each = broadcast_to(each, shape)
    digit: Node = ops.And(each, full_like(each, DIGIT_VALUES - 1))
    values = positions(DIGIT_VALUES, 1, 4, dtypes.int32)
    is_value: Node = ops.Eq(ops.Cast(digit, dtypes.int32), broadcast_to(values, shape))
    is_value = ops.Cast(is_value, dtypes.int32)
    start = broadcast_to(_starts(reduce.Sum(is_value, (3,))), shape)
    behind = ops.Add(start, running(reduce.Sum, is_value, 3))
    target: Node = reduce.Sum(ops.Mul(is_value, behind), (1,))
    target = ops.Sub(target, full_like(target, 1))
    rest = ops.Shr(packed, full_like(packed, DIGIT_BITS))
    target = graph.Reshape(target, packed.shape)
    return scatter_reduce_nodes(reduce.Sum, target, rest, length, 1)


def _starts(counts: Node) -> Node:
    """Where the elements of each block with each digit go; (rows, digits, blocks, 1).

    After all with smaller digits, and those with the same digit in earlier blocks: in
    this order their numbers are one running sum.
    """
    rows, values, blocks, _ = counts.shape
    in_order = graph.Reshape(counts, (rows, values * blocks))
    start = ops.Sub(running(reduce.Sum, in_order, 1), in_order)
    return graph.Reshape(start, counts.shape)


# --- the largest ---------------------------------------------------------------------


def largest_places(key: Node, k: int) -> Node:
    """Where the k largest keys of the last dimension are, the largest first.

    Of equal keys the first are taken. They all lie in the k blocks with the largest
    maxima: any other block's elements come after the k maxima of those.
    """
    size, dim = key.shape[-1], key.ndim - 1
    if k == 1:
        return _largest_place(key)
    least = max(LEAST_SORTED, SORTED_FOR_EACH * k)
    fits = key.dtype.bits <= 32 and least <= _chained_bytes(key) // 8
    if fits and key.numel <= MOST_SORTED:
        return _largest_of_blocks(key, k, 1 << (least - 1).bit_length())
    if size < WORTH_BLOCKS * k:
        return pad_dim(sorted_order(ops.Not(key)), dim, 0, k - size)
    # As many blocks as candidates in the chosen ones.
    length = 1 << round(math.log2(size / k) / 2)
    blocks = -(-size // length)
    batch = key.shape[:-1]
    padded = pad_dim(key, dim, 0, blocks * length - size)
    apart = graph.Reshape(padded, (*batch, blocks, length))
    maxima = drop_dims(reduce.Max(apart, (dim + 1,)), (dim + 1,))
    # Kept, as what follows asks for it again and again.
    (chosen,) = engine.realize([largest_places(maxima, k)])
    # In the order of places, so that of equal candidates the first is found first.
    order = sorted_order(ops.Cast(chosen, dtypes.uint32))
    (chosen,) = engine.realize([take_along(chosen, order, dim)])
    spread = graph.Reshape(chosen, (*batch, k, 1))
    rows = take_along(apart, broadcast_to(spread, (*batch, k, length)), dim)
    (rows,) = engine.realize([graph.Reshape(rows, (*batch, k * length))])
    (found,) = engine.realize([largest_places(rows, k)])
    inside = full_like(found, length)
    block = take_along(chosen, ops.IDiv(found, inside), dim)
    return ops.Add(ops.Mul(block, inside), ops.Mod(found, inside))


def _largest_of_blocks(key: Node, k: int, block: int) -> Node:
    """Blocks are sorted on a chip, and what is first in each one is sorted again."""
    from tetragrad.tensor.sorting_network import as_columns, sorted_columns

    numbers, bits = _numbered(ops.Not(key))
    rows = numbers.shape[0]
    while True:
        length = numbers.shape[1]
        if length <= 2 * block:
            block = 1 << (length - 1).bit_length()
        # What is last in order is never among the first, which are different numbers.
        last = dtypes.highest(numbers.dtype)
        numbers = pad_dim(numbers, 1, 0, -length % block, last)
        columns = sorted_columns(as_columns(numbers, block))
        first = pad_dim(columns, 0, 0, k - block)
        is_done = numbers.shape[1] == block
        numbers = graph.Permute(first, (1, 0))
        numbers = graph.Reshape(numbers, (rows, numbers.numel // rows))
        if is_done:
            return graph.Reshape(_places_of(numbers, bits), (*key.shape[:-1], k))
        numbers = graph.Kept(numbers)


def _largest_place(key: Node) -> Node:
    """The first place at which the largest key stands."""
    size, dim = key.shape[-1], key.ndim - 1
    largest = broadcast_to(reduce.Max(key, (dim,)), key.shape)
    place = broadcast_to(positions(size, dim, key.ndim), key.shape)
    is_largest = ops.Eq(key, largest)
    return reduce.Min(ops.Where(is_largest, place, full_like(place, size)), (dim,))


def kth_largest_key(key: Node, k: int) -> Node:
    """The k-th largest of unsigned keys along the last dimension.

    In long rows the largest threshold that at least k keys reach is built bit by bit,
    from the highest one.
    """
    size, dim = key.shape[-1], key.ndim - 1
    if size <= SORTED_FOR_ONE and key.numel >= size * NETWORK_ROWS:
        place = pad_dim(sorted_order(key), dim, k - size, 1 - k)
        return take_along(key, place, dim)
    threshold = broadcast_to(constant(0, key.dtype), (*key.shape[:-1], 1))
    for bit in reversed(range(key.dtype.bits)):
        candidate = ops.Or(threshold, full_like(threshold, 1 << bit))
        reaches = ops.Not(ops.Lt(key, broadcast_to(candidate, key.shape)))
        count = reduce.Sum(ops.Cast(reaches, dtypes.int64), (dim,))
        is_enough = ops.Not(ops.Lt(count, full_like(count, k)))
        threshold = ops.Where(is_enough, candidate, threshold)
    return threshold
