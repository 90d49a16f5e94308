"""Sequences of different lengths in one batch: padded, or packed step after step.

lengths 3, 1      padded      a b c      packed     a d b c
                              d 0 0                 batch_sizes 2 1 1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from tetragrad.core.errors import ShapeError
from tetragrad.tensor import Tensor
from tetragrad.tensor.joining import cat, stack

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class PackedSequence(NamedTuple):
    """Sequences without padding, the first step of all before the second of any.

    The functions of this module make it; a recurrent layer takes and gives it.

    >>> from tetragrad.nn.utils.rnn import pack_sequence
    >>> packed = pack_sequence([Tensor([[1.0], [2.0]]), Tensor([[3.0]])])
    >>> output, hidden = nn.GRU(1, 4)(packed)
    >>> type(output).__name__, output.data.shape
    ('PackedSequence', (3, 4))
    """

    #: (steps of all sequences, …).
    data: Tensor
    #: How many sequences have a first step, a second, and so on.
    batch_sizes: Tensor
    #: Which sequence comes first, second, … from the longest on; None: they are sorted.
    sorted_indices: Tensor | None = None
    #: The inverse of that order.
    unsorted_indices: Tensor | None = None

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """The same with the data on another device or in another dtype."""
        return self._replace(data=self.data.to(*args, **kwargs))

    def float(self) -> Self:
        """The same with data in float32."""
        return self._replace(data=self.data.float())

    def double(self) -> Self:
        """The same with data in float64."""
        return self._replace(data=self.data.double())

    def cpu(self) -> Self:
        """The same with data on the CPU."""
        return self.to("cpu")


def pad_sequence(
    sequences: Sequence[Tensor] | Tensor,
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Sequences (length, …) as one tensor, filled up to the longest.

    Args:
        sequences: of any lengths, alike in all other dimensions.
        batch_first: give (batch, time, …) instead of (time, batch, …).
        padding_value: what is filled in.
        padding_side: 'right' or 'left'.

    >>> from tetragrad.nn.utils.rnn import pad_sequence
    >>> pad_sequence([Tensor([1, 2, 3]), Tensor([4])], batch_first=True)
    tensor([[1, 2, 3],
            [4, 0, 0]])
    """
    if padding_side not in ("left", "right"):
        raise ValueError(f"padding_side is 'left' or 'right', not {padding_side!r}")
    listed = list(sequences)
    if not listed:
        raise ShapeError("pad_sequence() of no sequences", hint="pass at least one")
    rest = {entry.shape[1:] for entry in listed}
    if len(rest) > 1 or not listed[0].ndim:
        shapes = ", ".join(str(entry.shape) for entry in listed[:4])
        raise ShapeError(
            f"pad_sequence() of shapes {shapes}",
            hint="sequences differ in their first size only",
        )
    longest = max(entry.shape[0] for entry in listed)
    padded = []
    for entry in listed:
        missing = longest - entry.shape[0]
        around = (0, missing) if padding_side == "right" else (missing, 0)
        inner = (0, 0) * (entry.ndim - 1)
        padded.append(entry.pad((*inner, *around), value=padding_value))
    return stack(padded, 0 if batch_first else 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False
) -> list[Tensor]:
    """The sequences in a padded tensor, without their padding.

    >>> from tetragrad.nn.utils.rnn import unpad_sequence
    >>> unpad_sequence(Tensor([[1, 2, 3], [4, 0, 0]]), [3, 1], batch_first=True)
    [tensor([1, 2, 3]), tensor([4])]
    """
    batch = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [batch[row, :length] for row, length in enumerate(_numbers(lengths))]


def pack_padded_sequence(
    input: Tensor,
    lengths: Tensor | Sequence[int],
    batch_first: bool = False,
    enforce_sorted: bool = True,
) -> PackedSequence:
    """A padded tensor (time, batch, …) as a packed sequence.

    Args:
        input: (batch, time, …) if ``batch_first``.
        lengths: how many steps of each sequence count; the host reads them.
        enforce_sorted: raise unless the sequences come from longest to shortest.

    >>> from tetragrad.nn.utils.rnn import pack_padded_sequence
    >>> padded = Tensor([[1, 2, 3], [4, 0, 0]])
    >>> packed = pack_padded_sequence(padded, [3, 1], batch_first=True)
    >>> packed.data, packed.batch_sizes
    (tensor([1, 4, 2, 3]), tensor([2, 1, 1]))
    """
    counts = np.array(_numbers(lengths), np.int64)
    by_time = input.transpose(0, 1) if batch_first else input
    time, batch = by_time.shape[:2]
    fits = counts.shape == (batch,) and batch > 0
    if not fits or counts.min() < 1 or counts.max() > time:
        raise ShapeError(
            f"pack_padded_sequence() of lengths {counts.tolist()} and {batch} "
            f"sequences of {time} steps",
            hint="give each sequence a length from 1 to the number of steps",
        )
    order = None
    if enforce_sorted and (counts[:-1] < counts[1:]).any():
        raise ShapeError(
            f"pack_padded_sequence(enforce_sorted=True) of lengths {counts.tolist()}",
            hint="sort the sequences from longest to shortest, or pass "
            "enforce_sorted=False",
        )
    if not enforce_sorted:
        order = np.argsort(-counts, kind="stable")
    layout = Layout(counts, order)
    return layout.pack(by_time)


def pack_sequence(
    sequences: Sequence[Tensor], enforce_sorted: bool = True
) -> PackedSequence:
    """Sequences of different lengths as a packed sequence.

    >>> from tetragrad.nn.utils.rnn import pack_sequence
    >>> pack_sequence([Tensor([1, 2, 3]), Tensor([4])]).data
    tensor([1, 4, 2, 3])
    """
    lengths = [entry.shape[0] for entry in sequences]
    padded = pad_sequence(sequences)
    return pack_padded_sequence(padded, lengths, enforce_sorted=enforce_sorted)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """A packed sequence as a padded tensor, and the lengths.

    Args:
        sequence: what ``pack_padded_sequence`` or a recurrent layer gave.
        batch_first: give (batch, time, …) instead of (time, batch, …).
        padding_value: what is filled in.
        total_length: fill up to so many steps instead of the longest sequence's.

    >>> from tetragrad.nn.utils.rnn import pack_sequence, pad_packed_sequence
    >>> packed = pack_sequence([Tensor([1, 2, 3]), Tensor([4])])
    >>> padded, lengths = pad_packed_sequence(packed, batch_first=True)
    >>> padded.tolist(), lengths.tolist()
    ([[1, 2, 3], [4, 0, 0]], [3, 1])
    """
    layout = Layout.of(sequence)
    longest = int(layout.lengths.max())
    if total_length is not None and total_length < longest:
        raise ShapeError(
            f"pad_packed_sequence(total_length={total_length}) of a sequence of "
            f"{longest} steps",
            hint="total_length is at least the longest length",
        )
    padded = layout.pad(sequence.data, total_length or longest, padding_value)
    shown = padded.transpose(0, 1) if batch_first else padded
    return shown, Tensor(layout.lengths)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences in a packed one.

    >>> from tetragrad.nn.utils.rnn import pack_sequence, unpack_sequence
    >>> unpack_sequence(pack_sequence([Tensor([1, 2, 3]), Tensor([4])]))
    [tensor([1, 2, 3]), tensor([4])]
    """
    padded, lengths = pad_packed_sequence(packed_sequences)
    return unpad_sequence(padded, lengths)


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The order that undoes another one.

    >>> from tetragrad.nn.utils.rnn import invert_permutation
    >>> invert_permutation(Tensor([2, 0, 1]))
    tensor([1, 2, 0])
    """
    return None if permutation is None else permutation.argsort()


class Layout:
    """Where each step of each sequence is in packed data."""

    def __init__(self, lengths: np.ndarray, order: np.ndarray | None) -> None:
        self.lengths = lengths
        self.order = order
        rows = np.arange(len(lengths)) if order is None else order
        ordered = lengths[rows]
        steps = np.arange(int(lengths.max()))
        #: How many sequences have each step.
        self.batch_sizes = (ordered[:, None] > steps).sum(0)
        self.steps = np.repeat(steps, self.batch_sizes)
        self.rows = np.concatenate([rows[:count] for count in self.batch_sizes])

    @classmethod
    def of(cls, packed: PackedSequence) -> Layout:
        """The layout of a packed sequence; the host reads its sizes."""
        sizes = np.array(_numbers(packed.batch_sizes), np.int64)
        ordered = (sizes[None, :] > np.arange(sizes[0])[:, None]).sum(1)
        if packed.sorted_indices is None:
            return cls(ordered, None)
        order = np.array(_numbers(packed.sorted_indices), np.int64)
        lengths = np.empty_like(ordered)
        lengths[order] = ordered
        return cls(lengths, order)

    def pack(self, by_time: Tensor) -> PackedSequence:
        """The steps that count, of a tensor (time, batch, …)."""
        batch = by_time.shape[1]
        place = Tensor(self.steps * batch + self.rows).to(by_time.device)
        data = by_time.reshape(-1, *by_time.shape[2:])[place]
        if self.order is None:
            return PackedSequence(data, Tensor(self.batch_sizes))
        back = np.argsort(self.order, kind="stable")
        orders = (Tensor(entry).to(by_time.device) for entry in (self.order, back))
        return PackedSequence(data, Tensor(self.batch_sizes), *orders)

    def pad(self, data: Tensor, total: int, value: float) -> Tensor:
        """(time, batch, …) from packed data, with a value where nothing is."""
        batch = len(self.lengths)
        # One row more, of padding, is what all places without a step show.
        padding = data.new_full((1, *data.shape[1:]), value)
        place = np.full((total, batch), len(self.steps), np.int64)
        place[self.steps, self.rows] = np.arange(len(self.steps))
        return cat([data, padding])[Tensor(place).to(data.device)]

    def is_step(self, device: str) -> Tensor:
        """(time, batch, 1): whether a sequence has a step."""
        steps = np.arange(int(self.lengths.max()))
        inside = steps[:, None, None] < self.lengths[None, :, None]
        return Tensor(inside).to(device)


def _numbers(values: Tensor | Sequence[int]) -> list[int]:
    listed = values.tolist() if isinstance(values, Tensor) else list(values)
    return [int(entry) for entry in listed]
