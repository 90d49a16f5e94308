"""Where random numbers come from: a key and a counter, the same on every backend.

A generator's state is a tensor (key, key, calls): the n-th counter of a call gives two
words, threefry(key, (n, calls)), and each call adds one in place, so that a captured
step draws new numbers whenever it is replayed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from tetragrad.core import dtypes
from tetragrad.core.errors import ShapeError
from tetragrad.engine import capture
from tetragrad.graph import elementwise as ops
from tetragrad.graph.elementwise import full_like
from tetragrad.graph.leaves import Iota
from tetragrad.graph.movement import Shrink, broadcast_to
from tetragrad.graph.node import Node
from tetragrad.tensor.base import TensorBase
from tetragrad.tensor.devices import device_name
from tetragrad.tensor.pending import effects
from tetragrad.tensor.threefry import threefry

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor

_WORD = 0xFFFFFFFF

#: How a function that is mapped over a batch draws, while one is.
batch_draws: ContextVar[Callable[[Generator, int], tuple[Node, Node]] | None]
batch_draws = ContextVar("batch_draws", default=None)


class Generator:
    """A stream of random numbers of its own.

    Args:
        device: where the numbers are drawn; a number here is the seed.
        seed: what the stream starts from; left out, another one each time.

    >>> generator = tetragrad.random.Generator(seed=7)
    >>> first = tetragrad.rand(2, generator=generator)
    >>> generator.manual_seed(7).seed
    7
    >>> tetragrad.rand(2, generator=generator).equal(first)
    True
    """

    def __init__(self, device: Any = None, seed: int | None = None) -> None:
        if isinstance(device, int):
            device, seed = None, device
        self.seed = _fresh_seed() if seed is None else seed
        self.state = _initial_state(self.seed)
        effects.add(self.state.storage)
        if device is not None:
            self.move_to(device_name(device))

    def manual_seed(self, seed: int) -> Generator:
        """Start again from a seed; returns the generator."""
        self.seed = seed
        self.state.copy_(_initial_state(seed))
        return self

    def initial_seed(self) -> int:
        """The seed that the generator started from."""
        return self.seed

    def get_state(self) -> Tensor:
        """A copy of the state, for ``set_state``."""
        return self.state.clone().realize()

    def set_state(self, state: Tensor) -> None:
        """Continue from a state that ``get_state`` gave."""
        if state.shape != (3,) or state.dtype is not dtypes.uint32:
            raise ShapeError(
                f"a generator's state of shape {state.shape} and {state.dtype}",
                hint="pass what get_state() returned",
            )
        self.state.copy_(state)

    def move_to(self, device: str) -> None:
        """Keep the state, and so draw, on another device from now on."""
        self.state = TensorBase.tensor_class(self.state.numpy(), device=device)
        effects.add(self.state.storage)

    def words(self, count: int) -> tuple[Node, Node]:
        """Two new random words for each of ``count`` numbers."""
        for_batch = batch_draws.get()
        if for_batch is not None:
            return for_batch(self, count)
        state = self.state.node
        parts = [
            broadcast_to(Shrink(state, ((place, place + 1),)), (count,))
            for place in range(3)
        ]
        drawn = threefry((parts[0], parts[1]), (Iota(count, dtypes.uint32), parts[2]))
        place = Iota(3, dtypes.uint32)
        step = ops.Cast(ops.Eq(place, full_like(place, 2)), dtypes.uint32)
        self.state.write(self.state.result(ops.Add(state, step)))
        return drawn


def _fresh_seed() -> int:
    return int.from_bytes(os.urandom(8), "little")


def _initial_state(seed: int) -> Tensor:
    words = np.array([seed & _WORD, (seed >> 32) & _WORD, 0], np.uint32)
    return TensorBase.tensor_class(words)


_default: Generator | None = None


def default_generator() -> Generator:
    """The generator that is used where none is given.

    It draws on the device where tensors are made by default.

    >>> tetragrad.random.default_generator() is tetragrad.random.default_generator()
    True
    """
    global _default
    if _default is None:
        _default = Generator()
    home = device_name(None)
    # A captured function's state must stay the one that it began with.
    if _default.state.device != home and capture.active() is None:
        _default.move_to(home)
    return _default


def manual_seed(seed: int) -> Generator:
    """Start the default generator from a seed, so that a program repeats itself.

    >>> _ = tetragrad.manual_seed(0)
    >>> first = tetragrad.rand(3)
    >>> _ = tetragrad.manual_seed(0)
    >>> tetragrad.rand(3).equal(first)
    True
    """
    return default_generator().manual_seed(seed)


def get_state() -> Tensor:
    """A copy of the default generator's state.

    >>> state = tetragrad.random.get_state()
    >>> first = tetragrad.rand(2)
    >>> tetragrad.random.set_state(state)
    >>> tetragrad.rand(2).equal(first)
    True
    """
    return default_generator().get_state()


def set_state(state: Tensor) -> None:
    """Continue the default generator from a state.

    >>> tetragrad.random.set_state(tetragrad.random.get_state())
    """
    default_generator().set_state(state)
