"""The CTC loss: a sum over all alignments of a target (Graves et al. 2006)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tetragrad.core.errors import ShapeError
from tetragrad.nn.functional.reduction import check_reduction
from tetragrad.tensor import Tensor
from tetragrad.tensor.joining import stack


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int],
    target_lengths: Tensor | Sequence[int],
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log of the probability of a target over all its alignments.

    ``log_probs`` is (time, batch, classes) or (time, classes); ``targets`` is
    (batch, length), or all targets one after another. The mean divides each loss by
    its target's length first. The sum over alignments is the forward recursion of
    Graves et al. 2006, on the target with blanks between and around its labels.

    >>> log_probs = Tensor.zeros(2, 1, 3).log_softmax(2)
    >>> nn.functional.ctc_loss(log_probs, Tensor([[1]]), [2], [1])
    tensor(1.0986)
    """
    check_reduction(reduction)
    unbatched = log_probs.ndim == 2
    scores = log_probs.unsqueeze(1) if unbatched else log_probs
    lengths = _as_vector(target_lengths)
    loss = _alignment_losses(scores, targets, _as_vector(input_lengths), lengths, blank)
    if zero_infinity:
        loss = loss.where(loss != math.inf, 0.0)
    if reduction == "mean":
        return (loss / lengths.clamp(min=1).to(loss.dtype)).mean()
    if reduction == "sum":
        return loss.sum()
    return loss.squeeze(0) if unbatched else loss


def _as_vector(lengths: Tensor | Sequence[int]) -> Tensor:
    tensor = lengths if isinstance(lengths, Tensor) else Tensor(lengths)
    return tensor.reshape(-1)


def _alignment_losses(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int,
) -> Tensor:
    """-log p(target) for each sequence of a batch, shape (batch,).

    ``log_probs`` is (time, batch, classes). The state at position s of the extended
    target (blank, label, blank, label, …, blank) is the log-probability of all
    alignments that end there; each step may stay, move on by one, or by two where
    that skips a blank between different labels.
    """
    times, batch, _ = log_probs.shape
    rows = _target_rows(targets, target_lengths, batch)
    extended = _with_blanks(rows, blank)
    # (time, batch, positions): the score of each position's label at each time.
    index = extended.unsqueeze(0).expand(times, *extended.shape)
    emitted = log_probs.gather(2, index)
    before = extended[:, :-2].pad((2, 0), value=blank)
    can_skip = (extended != blank) & (extended != before)
    position = Tensor.arange(extended.shape[1], device=log_probs.device)
    state = emitted[0].where(position < 2, -math.inf)
    at_end = state
    for time in range(1, times):
        state = emitted[time] + _arrivals(state, can_skip)
        at_end = state.where((input_lengths > time).unsqueeze(1), at_end)
    return -_final(at_end, target_lengths) + _normalisation(log_probs, input_lengths)


def _normalisation(log_probs: Tensor, input_lengths: Tensor) -> Tensor:
    """Zero, whose gradient is each class's probability, for each sequence.

    Log-probabilities cannot change freely: with it, the loss has the same gradient
    towards them as towards the logits they come from (Graves et al. 2006, eq. 16),
    which is also PyTorch's.
    """
    total = log_probs.exp().sum(dim=2)
    time = Tensor.arange(log_probs.shape[0], device=log_probs.device)
    is_read = time.unsqueeze(1) < input_lengths
    return (total - total.detach()).where(is_read, 0.0).sum(dim=0)


def _target_rows(targets: Tensor, lengths: Tensor, batch: int) -> Tensor:
    """Targets as rows, whether they came as rows or one after another."""
    if targets.ndim == 2:
        return targets
    if batch == 1:
        return targets.reshape(1, -1)
    # Reading the lengths is unavoidable: they decide a shape.
    sizes = [int(size) for size in lengths.tolist()]
    if sum(sizes) != targets.shape[0]:
        raise ShapeError(
            f"ctc_loss: the target lengths sum to {sum(sizes)}, but there are "
            f"{targets.shape[0]} targets"
        )
    rows, start = [], 0
    for size in sizes:
        row = targets[start : start + size]
        rows.append(row.pad((0, max(sizes) - size)))
        start += size
    return stack(rows)


def _with_blanks(rows: Tensor, blank: int) -> Tensor:
    """(batch, length) to (batch, 2·length + 1), with blanks in the even places."""
    batch, length = rows.shape
    pairs = stack([rows.full_like(blank), rows], dim=2).reshape(batch, 2 * length)
    return pairs.pad((0, 1), value=blank)


def _arrivals(state: Tensor, can_skip: Tensor) -> Tensor:
    """log Σ exp of the states from which a position can be reached."""
    stay = state
    move = state[:, :-1].pad((1, 0), value=-math.inf)
    skip = state[:, :-2].pad((2, 0), value=-math.inf).where(can_skip, -math.inf)
    return _log_sum_exp(stack([stay, move, skip]))


def _log_sum_exp(terms: Tensor) -> Tensor:
    """log Σ exp over the first dimension; -inf, without NaN gradients, if all are."""
    largest = terms.detach().amax(dim=0)
    shift = largest.where(largest != -math.inf, 0.0)
    total = (terms - shift).exp().sum(dim=0)
    is_possible = total > 0
    return (total.where(is_possible, 1.0).log() + shift).where(is_possible, -math.inf)


def _final(at_end: Tensor, target_lengths: Tensor) -> Tensor:
    """The log-probability in the two last positions, for the states at the end."""
    position = Tensor.arange(at_end.shape[1], device=at_end.device)
    last = 2 * target_lengths.unsqueeze(1)
    is_final = (position == last) | (position == last - 1)
    return _log_sum_exp(at_end.where(is_final, -math.inf).transpose(0, 1))
