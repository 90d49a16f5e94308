"""Random numbers of several distributions, and tensors of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tetragrad.core import dtypes
from tetragrad.core.dtypes import DType, part_dtype, to_dtype
from tetragrad.core.errors import DTypeError, ShapeError, TetragradError
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.leaves import constant
from tetragrad.graph.movement import Reshape, Shrink, broadcast_to
from tetragrad.graph.node import Node, Shape, size_of
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.creation import new, new_as
from tetragrad.tensor.generator import Generator, default_generator
from tetragrad.tensor.joining import concatenate_nodes
from tetragrad.tensor.legality import probabilities, weights_to_draw_by
from tetragrad.tensor.movement import sizes_of
from tetragrad.tensor.promotion import default_float
from tetragrad.tensor.sorting import SortingMethods

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

#: So many numbers use one word of their counters, and as many after them the other.
PAIRED = 1024


def _float_dtype(dtype: Any) -> DType:
    wanted = default_float() if dtype is None else to_dtype(dtype)
    if not wanted.is_floating_point:
        raise DTypeError(
            f"random numbers between 0 and 1 as {wanted}", hint="use randint()"
        )
    return wanted


def _drawn(dtype: Any, sizes: tuple[int, ...]) -> tuple[DType, Shape]:
    """The dtype of random numbers, and how many reals they take: two if complex."""
    if dtype is not None and to_dtype(dtype).is_complex:
        return to_dtype(dtype), (*sizes, 2)
    return _float_dtype(dtype), sizes


#: How many random bits a number between 0 and 1 has: all that the dtype keeps exactly.
_FRACTION_BITS = {dtypes.float16: 11, dtypes.bfloat16: 8, dtypes.float32: 24}


def uniform_node(shape: Shape, dtype: DType, generator: Generator | None) -> Node:
    """Numbers from 0 up to, but without, 1."""
    count = size_of(shape)
    source = generator or default_generator()
    if dtype is dtypes.float64:
        first, second = source.words(count)
        high = ops.Cast(ops.Shr(first, full_like(first, 6)), dtype)
        low = ops.Cast(ops.Shr(second, full_like(second, 5)), dtype)
        whole = ops.Add(ops.Mul(high, full_like(high, 2.0**27)), low)
        node: Node = ops.Mul(whole, full_like(whole, 2.0**-53))
    else:
        bits = _FRACTION_BITS[dtype]
        word = _one_word(source, count)
        kept = ops.Shr(word, full_like(word, 32 - bits))
        fraction = ops.Cast(kept, dtypes.float32)
        scaled = ops.Mul(fraction, full_like(fraction, 2.0**-bits))
        node = ops.Cast(scaled, dtype)
    return Reshape(node, shape)


def _one_word(source: Generator, count: int) -> Node:
    """A random word for each of ``count`` numbers.

    A counter gives two: the second half of each group has the second ones of the first
    half, so that neighbours in memory stay neighbours.
    """
    if count <= PAIRED:
        return source.words(count)[0]
    groups = -(-count // (2 * PAIRED))
    shape = (groups, 1, PAIRED)
    halves = [Reshape(word, shape) for word in source.words(groups * PAIRED)]
    return Shrink(
        Reshape(concatenate_nodes(halves, 1), (2 * groups * PAIRED,)), ((0, count),)
    )


def normal_node(shape: Shape, dtype: DType, generator: Generator | None) -> Node:
    """Standard normal numbers (G. Box and M. Muller, 1958)."""
    words = (generator or default_generator()).words(size_of(shape))
    work = dtypes.float64 if dtype is dtypes.float64 else dtypes.float32
    # Half a step is added, so that the logarithm never sees 0.
    chance, turn = (
        ops.Mul(
            ops.Add(ops.Cast(word, work), _number(word, 0.5, work)),
            _number(word, 2.0**-32, work),
        )
        for word in words
    )
    radius = ops.Sqrt(ops.Mul(ops.Log(chance), full_like(chance, -2.0)))
    angle = ops.Mul(turn, full_like(turn, 2 * math.pi))
    return Reshape(ops.Cast(ops.Mul(radius, ops.Cos(angle)), dtype), shape)


def _number(like: Node, value: float, dtype: DType) -> Node:
    return broadcast_to(constant(value, dtype), like.shape)


def integer_node(low: int, high: int, shape: Shape, generator: Any) -> Node:
    """Integers from low up to, but without, high, as int64."""
    first, second = (generator or default_generator()).words(size_of(shape))
    span = high - low
    wide = ops.Cast(first, dtypes.uint64)
    if span <= 1 << 32:
        # The high half of a product is in range and nearly free of bias.
        scaled: Node = ops.Shr(
            ops.Mul(wide, full_like(wide, span)), full_like(wide, 32)
        )
    else:
        both = ops.Or(
            ops.Shl(wide, full_like(wide, 32)), ops.Cast(second, dtypes.uint64)
        )
        scaled = ops.Mod(both, full_like(both, span))
    offset = ops.Cast(scaled, dtypes.int64)
    return Reshape(ops.Add(offset, full_like(offset, low)), shape)


class RandomMethods(SortingMethods):
    """Random tensors, and random changes in place."""

    __slots__ = ()

    @staticmethod
    def rand(
        *size: Any,
        dtype: Any = None,
        generator: Generator | None = None,
        device: Any = None,
        requires_grad: bool = False,
    ) -> Tensor:
        """Numbers evenly distributed from 0 up to, but without, 1.

        >>> Tensor.rand(2, 3).shape
        (2, 3)
        """
        wanted, shape = _drawn(dtype, sizes_of(size))
        node = uniform_node(shape, part_dtype(wanted), generator)
        return new_as(wanted, node, device, requires_grad)

    @staticmethod
    def randn(
        *size: Any,
        dtype: Any = None,
        generator: Generator | None = None,
        device: Any = None,
        requires_grad: bool = False,
    ) -> Tensor:
        """Normally distributed numbers with mean 0 and variance 1.

        >>> Tensor.randn(4).shape
        (4,)
        """
        wanted, shape = _drawn(dtype, sizes_of(size))
        node = normal_node(shape, part_dtype(wanted), generator)
        if wanted.is_complex:
            # The variance of a complex number is the sum of those of its parts.
            node = ops.Mul(node, full_like(node, math.sqrt(0.5)))
        return new_as(wanted, node, device, requires_grad)

    @staticmethod
    def randint(
        low: int,
        high: Any = None,
        size: Sequence[int] | None = None,
        *,
        dtype: Any = None,
        generator: Generator | None = None,
        device: Any = None,
    ) -> Tensor:
        """Integers from ``low`` (0 if left out) up to, but without, ``high``.

        >>> bool((Tensor.randint(3, (100,)) < 3).all())
        True
        """
        if size is None:
            low, high, size = 0, low, high
        if high <= low:
            raise ShapeError(
                f"randint() from {low} up to {high}", hint="high is more than low"
            )
        shape = sizes_of([size] if isinstance(size, int) else size)
        node = integer_node(low, high, shape, generator)
        return new(node, dtypes.int64 if dtype is None else dtype, device)

    @staticmethod
    def randperm(
        n: int, *, dtype: Any = None, generator: Generator | None = None, **_: Any
    ) -> Tensor:
        """The numbers from 0 to n - 1 in random order.

        >>> Tensor.randperm(5).sort().values
        tensor([0, 1, 2, 3, 4])
        """
        if n == 0:
            return TensorBase.tensor_class.zeros(0, dtype=dtypes.int64)
        keys, _second = (generator or default_generator()).words(n)
        order = TensorBase.tensor_class.from_node(keys).argsort()
        return order if dtype is None else order.to(dtype)

    @staticmethod
    def normal(
        mean: Any = 0.0,
        std: Any = 1.0,
        size: Sequence[int] | None = None,
        *,
        dtype: Any = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Normally distributed numbers; mean and std may be tensors.

        >>> Tensor.normal(Tensor([1.0, 100.0]), 0.0)
        tensor([  1., 100.])
        """
        if size is None:
            size = (mean + std * 0).shape
        return RandomMethods.randn(*size, dtype=dtype, generator=generator) * std + mean

    def rand_like(self, *, dtype: Any = None, generator: Any = None) -> Tensor:
        """Numbers between 0 and 1 in the shape and dtype of this tensor.

        >>> Tensor.zeros(2, 3).rand_like().shape
        (2, 3)
        """
        dtype = self.dtype if dtype is None else dtype
        return RandomMethods.rand(self.shape, dtype=dtype, generator=generator)

    def randn_like(self, *, dtype: Any = None, generator: Any = None) -> Tensor:
        """Normal numbers in the shape and dtype of this tensor.

        >>> Tensor.zeros(2, 3).randn_like().shape
        (2, 3)
        """
        dtype = self.dtype if dtype is None else dtype
        return RandomMethods.randn(self.shape, dtype=dtype, generator=generator)

    def randint_like(self, low: int, high: int | None = None, **options: Any) -> Tensor:
        """Integers in the shape and dtype of this tensor.

        >>> bool((Tensor.zeros(8).randint_like(3) < 3).all())
        True
        """
        options.setdefault("dtype", self.dtype)
        if high is None:
            low, high = 0, low
        return RandomMethods.randint(low, high, self.shape, **options)

    def bernoulli(
        self, p: float | None = None, *, generator: Generator | None = None
    ) -> Tensor:
        """1 with the probability that each element (or p) gives, else 0.

        >>> Tensor([0.0, 1.0]).bernoulli()
        tensor([0., 1.])
        """
        dtype = self.dtype if self.dtype.is_floating_point else default_float()
        hint = "write x.clamp(0, 1), or x.sigmoid() of logits"
        chance = (
            p if p is not None else probabilities(self.detach(), "bernoulli()", hint)
        )
        draw = self.rand_like(dtype=dtype, generator=generator)
        return (draw < chance).to(self.dtype)

    def multinomial(
        self,
        num_samples: int,
        replacement: bool = False,
        *,
        generator: Generator | None = None,
    ) -> Tensor:
        """Indices of the last dimension, drawn with the elements as weights.

        >>> Tensor([0.0, 1.0]).multinomial(1)
        tensor([1])
        """
        if self.ndim not in (1, 2) or not self.dtype.is_floating_point:
            raise ShapeError(
                f"multinomial() of shape {self.shape} and {self.dtype}",
                hint="weights are floating-point, in one or two dimensions",
            )
        if not replacement and num_samples > self.shape[-1]:
            raise ShapeError(
                f"multinomial() of {num_samples} out of {self.shape[-1]} "
                "without replacement",
                hint="pass replacement=True",
            )
        weights = weights_to_draw_by(self.detach())
        if not replacement:
            # The k largest of weights that race against each other (Gumbel's trick).
            draw = self.rand_like(generator=generator)
            race = weights.log() - (-(1 - draw).log()).log()
            return race.topk(num_samples).indices
        sums = weights.cumsum(-1)
        shape = (*self.shape[:-1], num_samples)
        draw = RandomMethods.rand(shape, dtype=self.dtype, generator=generator)
        total = sums.narrow(sums.ndim - 1, self.shape[-1] - 1, 1)
        return sums.searchsorted(draw * total, right=True)

    def uniform_(
        self, a: float = 0.0, b: float = 1.0, *, generator: Generator | None = None
    ) -> Tensor:
        """Replace the elements by numbers evenly distributed from a to b.

        >>> bool((Tensor.zeros(8).uniform_(2, 3) >= 2).all())
        True
        """
        return self.copy_(self.rand_like(generator=generator) * (b - a) + a)  # type: ignore[return-value]

    def normal_(
        self, mean: float = 0.0, std: float = 1.0, *, generator: Any = None
    ) -> Tensor:
        """Replace the elements by normally distributed numbers.

        >>> Tensor.zeros(2, 3).normal_().shape
        (2, 3)
        """
        return self.copy_(self.randn_like(generator=generator) * std + mean)  # type: ignore[return-value]

    def bernoulli_(self, p: Any = 0.5, *, generator: Any = None) -> Tensor:
        """Replace the elements by 1 with probability p, else 0.

        >>> Tensor.zeros(3).bernoulli_(1.0)
        tensor([1., 1., 1.])
        """
        draw = RandomMethods.rand(self.shape, generator=generator)
        return self.copy_((draw < p).to(self.dtype))  # type: ignore[return-value]

    def exponential_(self, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
        """Replace the elements by exponentially distributed numbers.

        >>> bool((Tensor.zeros(8).exponential_() >= 0).all())
        True
        """
        draw = 1 - self.rand_like(generator=generator)
        return self.copy_(-draw.log() / lambd)  # type: ignore[return-value]

    def dropout(self, p: float = 0.5, training: bool = True) -> Tensor:
        """In training, zeros with probability p, the rest scaled by 1 / (1 - p).

        >>> Tensor([1.0, 2.0]).dropout(0.5, training=False)
        tensor([1., 2.])
        """
        if not 0 <= p <= 1:
            raise TetragradError(
                f"dropout() with probability {p}", hint="p is between 0 and 1"
            )
        if not training or p == 0:
            return self.alias()
        if p == 1:
            return self * 0.0
        keep = RandomMethods.rand(self.shape) >= p
        return (self * (1.0 / (1.0 - p))).where(keep, 0.0)
