"""Loss functions: how far a prediction is from its target.

``reduction`` is 'mean', 'sum' or 'none' everywhere.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

from tetragrad.core.errors import (
    DTypeError,
    IndexingError,
    ShapeError,
    TetragradError,
)
from tetragrad.engine.capture import user_line
from tetragrad.graph.node import Shape
from tetragrad.tensor.arithmetic import where
from tetragrad.tensor.formulas import functions as nodes
from tetragrad.tensor.gathering import known_elements
from tetragrad.tensor.legality import probabilities
from tetragrad.tensor.normalisation import NormalisationMethods

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The losses' mean or sum, or the losses themselves."""
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise TetragradError(
        f"there is no reduction {reduction!r}", hint="use 'mean', 'sum' or 'none'"
    )


def difference_of(loss: str, prediction: LossMethods, target: Tensor) -> Tensor:
    """Prediction less target; warns where one of them is repeated."""
    if prediction.shape != target.shape:
        warnings.warn(
            f"{user_line()}: {loss}() of shape {prediction.shape} with a target of "
            f"shape {target.shape} compares each element of the one with several of "
            "the other: make the shapes equal, with target.reshape() say",
            stacklevel=3,
        )
    return prediction - target


class LossMethods(NormalisationMethods):
    """Methods of a prediction that compare it with its target."""

    __slots__ = ()

    # --- classes ----------------------------------------------------------------------

    def cross_entropy(
        self,
        target: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Tensor:
        """The negative log likelihood of classes, from logits (dimension 1).

        Args:
            target: class numbers, of self's shape without dimension 1; or
                probabilities, of self's shape.
            weight: the weight of each class; the mean is weighted with it too.
            ignore_index: targets with this number count for nothing.
            label_smoothing: the share of the target spread over all classes.

        >>> Tensor([[2.0, 0.0]]).cross_entropy(Tensor([0]))
        tensor(0.1269)
        """
        dim = 0 if self.ndim == 1 else 1
        if not self.dtype.is_floating_point and target.dtype.is_floating_point:
            raise DTypeError(
                f"cross_entropy() of {self.dtype} with a target of {target.dtype}",
                hint="the prediction comes first: cross_entropy(logits, classes)",
            )
        _check_class_weights(self, weight, dim)
        log_probabilities = self.log_softmax(dim)
        if target.dtype.is_floating_point:
            return _soft_cross_entropy(
                log_probabilities, target, weight, dim, reduction, label_smoothing
            )
        if not label_smoothing:
            return log_probabilities.nll_loss(target, weight, ignore_index, reduction)
        return _smoothed_cross_entropy(
            log_probabilities, target, weight, ignore_index, reduction, label_smoothing
        )

    def nll_loss(
        self,
        target: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
    ) -> Tensor:
        """The negative of the log probability that self gives to the target class.

        >>> Tensor([[-0.5, -1.0]]).nll_loss(Tensor([1]))
        tensor(1.)
        """
        dim = 0 if self.ndim == 1 else 1
        _check_class_weights(self, weight, dim)
        _check_classes(self, target, dim, ignore_index)
        counts, safe = _counted(target, ignore_index)
        picked = self.gather(dim, safe.unsqueeze(dim)).squeeze(dim)
        share = counts.to(self.dtype)
        if weight is not None:
            share = share * weight[safe]
        # An ignored target's log probability may be -inf, and 0 * inf is NaN.
        loss = -where(counts, picked * share, 0.0)
        if reduction == "mean":
            return loss.sum() / share.sum()
        return reduced(loss, reduction)

    def binary_cross_entropy(
        self, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
    ) -> Tensor:
        """-(t log x + (1 - t) log(1 - x)) of probabilities; logs are at least -100.

        >>> Tensor([0.5]).binary_cross_entropy(Tensor([1.0]))
        tensor(0.6931)
        """
        _check_alike("binary_cross_entropy()", self, target)
        chances = probabilities(
            self,
            "binary_cross_entropy()",
            "take the sigmoid first, or use binary_cross_entropy_with_logits()",
        )
        log_true = chances.log().clamp(min=-100)
        log_false = (1 - chances).log().clamp(min=-100)
        loss = -(target * log_true + (1 - target) * log_false)
        return reduced(loss if weight is None else loss * weight, reduction)

    def binary_cross_entropy_with_logits(
        self,
        target: Tensor,
        weight: Tensor | None = None,
        pos_weight: Tensor | None = None,
        reduction: str = "mean",
    ) -> Tensor:
        """The binary cross entropy of sigmoid(x), without overflow.

        >>> Tensor([0.0]).binary_cross_entropy_with_logits(Tensor([1.0]))
        tensor(0.6931)
        """
        _check_alike("binary_cross_entropy_with_logits()", self, target)
        positive = (-self).apply_float(nodes.softplus)
        if pos_weight is None:
            loss = (1 - target) * self + positive
        else:
            share = (pos_weight - 1) * target + 1
            loss = (1 - target) * self + share * positive
        return reduced(loss if weight is None else loss * weight, reduction)

    def kl_div(
        self, target: Tensor, reduction: str = "mean", log_target: bool = False
    ) -> Tensor:
        """Σ target * (log(target) - self); self holds log probabilities.

        ``reduction='batchmean'`` divides the sum by the batch size.

        >>> Tensor([-0.5]).kl_div(Tensor([1.0]), "sum")
        tensor(0.5000)
        """
        if log_target:
            loss = target.exp() * (target - self)
        else:
            loss = target.xlogy(target) - target * self
        if reduction == "batchmean":
            return loss.sum() / self.shape[0]
        return reduced(loss, reduction)

    # --- numbers ----------------------------------------------------------------------

    def mse_loss(self, target: Tensor, reduction: str = "mean") -> Tensor:
        """The squared difference.

        >>> Tensor([1.0, 3.0]).mse_loss(Tensor([1.0, 1.0]))
        tensor(2.)
        """
        difference = difference_of("mse_loss", self, target)
        return reduced(difference * difference, reduction)

    def l1_loss(self, target: Tensor, reduction: str = "mean") -> Tensor:
        """The absolute difference.

        >>> Tensor([1.0, 2.0]).l1_loss(Tensor([1.0, 4.0]))
        tensor(1.)
        """
        return reduced(difference_of("l1_loss", self, target).abs(), reduction)

    def smooth_l1_loss(
        self, target: Tensor, reduction: str = "mean", beta: float = 1.0
    ) -> Tensor:
        """Squared below ``beta``, absolute above.

        >>> Tensor([1.0, 2.0]).smooth_l1_loss(Tensor([1.0, 4.0]))
        tensor(0.7500)
        """
        if beta == 0:
            return self.l1_loss(target, reduction)
        difference = difference_of("smooth_l1_loss", self, target)
        size = difference.abs()
        near = difference * difference * (0.5 / beta)
        return reduced(where(size < beta, near, size - 0.5 * beta), reduction)

    def huber_loss(
        self, target: Tensor, reduction: str = "mean", delta: float = 1.0
    ) -> Tensor:
        """Half the square below ``delta``, ``delta`` times the rest above.

        >>> Tensor([1.0, 2.0]).huber_loss(Tensor([1.5, 4.0]))
        tensor(0.8125)
        """
        difference = difference_of("huber_loss", self, target)
        size = difference.abs()
        near = difference * difference * 0.5
        far = (size - 0.5 * delta) * delta
        return reduced(where(size < delta, near, far), reduction)

    def poisson_nll_loss(
        self,
        target: Tensor,
        log_input: bool = True,
        full: bool = False,
        eps: float = 1e-8,
        reduction: str = "mean",
    ) -> Tensor:
        """exp(x) - t * x, or x - t * log(x + eps); ``full`` adds log t!, nearly.

        >>> Tensor([0.0]).poisson_nll_loss(Tensor([2.0]))
        tensor(1.)
        """
        if log_input:
            loss = self.exp() - target * self
        else:
            loss = self - target * (self + eps).log()
        if full:
            # Stirling's approximation of log target!, good above 1.
            large = target.clamp(min=1)
            stirling = large * large.log() - large + 0.5 * (2 * math.pi * large).log()
            loss = loss + where(target > 1, stirling, 0.0)
        return reduced(loss, reduction)

    def gaussian_nll_loss(
        self,
        target: Tensor,
        var: Tensor | float,
        full: bool = False,
        eps: float = 1e-6,
        reduction: str = "mean",
    ) -> Tensor:
        """(log(var) + (x - t)² / var) / 2, with var at least eps.

        ``var`` has the shape of self, or 1 in the last dimension, or lacks it.
        ``full`` adds log(2π) / 2.

        >>> Tensor([1.0]).gaussian_nll_loss(Tensor([3.0]), var=1.0)
        tensor(2.)
        """
        variance = self.full_like(var) if isinstance(var, int | float) else var
        if variance.shape == self.shape[:-1] and variance.shape != self.shape:
            variance = variance.unsqueeze(-1)
        # The limit is not learned: where it holds, var keeps its gradient.
        limited = variance + (variance.clamp(min=eps) - variance).detach()
        difference = self - target
        loss = 0.5 * (limited.log() + difference * difference / limited)
        if full:
            loss = loss + 0.5 * math.log(2 * math.pi)
        return reduced(loss, reduction)

    # --- margins ----------------------------------------------------------------------

    def hinge_embedding_loss(
        self, target: Tensor, margin: float = 1.0, reduction: str = "mean"
    ) -> Tensor:
        """x where the target is 1, max(0, margin - x) where it is -1.

        >>> Tensor([0.25, 0.5]).hinge_embedding_loss(Tensor([1, -1]))
        tensor(0.3750)
        """
        near = where(target != -1, self, 0.0)
        far = where(target != 1, (margin - self).clamp(min=0), 0.0)
        return reduced(near + far, reduction)

    def soft_margin_loss(self, target: Tensor, reduction: str = "mean") -> Tensor:
        """log(1 + exp(-target * x)).

        >>> Tensor([0.0]).soft_margin_loss(Tensor([1.0]))
        tensor(0.6931)
        """
        return reduced((-target * self).apply_float(nodes.softplus), reduction)

    def margin_ranking_loss(
        self,
        other: Tensor,
        target: Tensor,
        margin: float = 0.0,
        reduction: str = "mean",
    ) -> Tensor:
        """max(0, -target * (self - other) + margin).

        >>> Tensor([1.0]).margin_ranking_loss(Tensor([3.0]), Tensor([1.0]))
        tensor(2.)
        """
        return reduced((-target * (self - other) + margin).clamp(min=0), reduction)

    def cosine_embedding_loss(
        self,
        other: Tensor,
        target: Tensor,
        margin: float = 0.0,
        reduction: str = "mean",
    ) -> Tensor:
        """1 - cosine where the target is 1, max(0, cosine - margin) where it is -1.

        >>> x = Tensor([[1.0, 0.0]])
        >>> x.cosine_embedding_loss(Tensor([[3.0, 4.0]]), Tensor([1]))
        tensor(0.4000)
        """
        # Unlike cosine_similarity, a small number is added instead of a limit set.
        eps = 1e-12
        own, others = (self * self).sum(-1) + eps, (other * other).sum(-1) + eps
        cosine = (self * other).sum(-1) / (own * others).sqrt()
        near = where(target == 1, 1 - cosine, 0.0)
        far = where(target == -1, (cosine - margin).clamp(min=0), 0.0)
        return reduced(near + far, reduction)

    def triplet_margin_loss(
        self,
        positive: Tensor,
        negative: Tensor,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        reduction: str = "mean",
    ) -> Tensor:
        """max(0, |anchor - positive| - |anchor - negative| + margin).

        ``swap`` takes |positive - negative| in place of the latter if it is smaller.

        >>> Tensor([[0.0]]).triplet_margin_loss(Tensor([[1.0]]), Tensor([[2.0]]), 3.0)
        tensor(2.)
        """
        near = self.pairwise_distance(positive, p, eps)
        far = self.pairwise_distance(negative, p, eps)
        if swap:
            far = far.minimum(positive.pairwise_distance(negative, p, eps))
        return reduced((near - far + margin).clamp(min=0), reduction)


def _check_alike(name: str, source: LossMethods, target: Tensor) -> None:
    if source.shape != target.shape:
        hint = "both shapes must be equal"
        if name == "cross_entropy()":
            hint += f" for probabilities ({target.dtype}); for classes, target.long()"
        raise ShapeError(
            f"{name} of shape {source.shape} with a target of shape {target.shape}",
            hint=hint,
        )


def _check_class_weights(source: LossMethods, weight: Tensor | None, dim: int) -> None:
    if weight is not None and weight.shape != (source.shape[dim],):
        raise ShapeError(
            f"class weights of shape {weight.shape} for {source.shape[dim]} classes",
            hint=f"give each class one weight: shape {(source.shape[dim],)}",
        )


def _check_classes(
    source: LossMethods, target: Tensor, dim: int, ignore_index: int
) -> None:
    if not target.dtype.is_integer:
        raise DTypeError(
            f"class targets of {target.dtype}", hint="classes are integers: t.long()"
        )
    wanted = source.shape[:dim] + source.shape[dim + 1 :]
    if target.shape != wanted:
        raise ShapeError(
            f"a target of shape {target.shape} for a prediction of shape "
            f"{source.shape}",
            hint=f"class targets have shape {wanted} here"
            + _likely_remedy(source.shape, target.shape, dim),
        )
    known = known_elements(target.node)
    if known is None:
        return
    wrong = ((known < 0) | (known >= source.shape[dim])) & (known != ignore_index)
    if wrong.any():
        raise IndexingError(
            f"a class target of {known[wrong].flat[0]} for {source.shape[dim]} classes",
            hint=f"use 0 to {source.shape[dim] - 1}, or ignore_index={ignore_index}",
        )


def _likely_remedy(source: Shape, target: Shape, dim: int) -> str:
    """What to write if classes come last, or if the target has a dimension too many."""
    if target == source[:-1]:
        return (
            f", as dimension {dim} counts classes; if the last one does, write "
            "prediction.flatten(0, -2) and target.flatten()"
        )
    if target == (*source[:dim], 1, *source[dim + 1 :]):
        return f": write target.squeeze({dim})"
    return ""


def _counted(target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Which targets count, and the targets with 0 in place of those that do not."""
    counts = target != ignore_index
    return counts, where(counts, target, 0)


def _soft_cross_entropy(
    log_probabilities: Tensor,
    target: Tensor,
    weight: Tensor | None,
    dim: int,
    reduction: str,
    smoothing: float,
) -> Tensor:
    _check_alike("cross_entropy()", log_probabilities, target)
    classes = log_probabilities.shape[dim]
    if smoothing:
        target = target * (1 - smoothing) + smoothing / classes
    if weight is not None:
        shape = [classes if axis == dim else 1 for axis in range(target.ndim)]
        target = target * weight.reshape(shape)
    loss = -(log_probabilities * target).sum(dim)
    if reduction == "mean":
        return loss.sum() / max(loss.numel(), 1)
    return reduced(loss, reduction)


def _smoothed_cross_entropy(
    log_probabilities: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    smoothing: float,
) -> Tensor:
    dim = 0 if log_probabilities.ndim == 1 else 1
    hard = log_probabilities.nll_loss(target, weight, ignore_index, "none")
    counts, safe = _counted(target, ignore_index)
    spread = log_probabilities
    classes = spread.shape[dim]
    share = counts.to(spread.dtype)
    if weight is not None:
        shape = [classes if axis == dim else 1 for axis in range(spread.ndim)]
        spread = spread * weight.reshape(shape)
        share = share * weight[safe]
    smooth = where(counts, -spread.sum(dim), 0.0)
    loss = hard * (1 - smoothing) + smooth * (smoothing / classes)
    if reduction == "mean":
        return loss.sum() / share.sum()
    return reduced(loss, reduction)
