"""Losses: how far an output is from its target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tetragrad.core import dtypes
from tetragrad.core.errors import ShapeError
from tetragrad.nn.functional.activation import logsigmoid
from tetragrad.nn.functional.distance import pairwise_distance
from tetragrad.nn.functional.reduction import obeys_old_options, weighted_loss
from tetragrad.tensor import Tensor
from tetragrad.tensor.derived import function_of
from tetragrad.tensor.losses import reduced

gaussian_nll_loss = function_of(Tensor.gaussian_nll_loss)


def _check_same_shape(name: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        raise ShapeError(
            f"{name} of an input of shape {input.shape} and a target of shape "
            f"{target.shape}",
            hint="give both the same shape, for example with target.reshape(...)",
        )


@obeys_old_options
def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """|input - target|.

    >>> nn.functional.l1_loss(Tensor([1.0, 2.0]), Tensor([1.0, 4.0]))
    tensor(1.)
    """
    return input.l1_loss(target, reduction)


@obeys_old_options
def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """weight * (input - target)²; the mean is over the weights.

    >>> nn.functional.mse_loss(Tensor([1.0, 2.0]), Tensor([1.0, 4.0]))
    tensor(2.)
    """
    if weight is None:
        return input.mse_loss(target, reduction)
    return weighted_loss(input.mse_loss(target, "none"), weight, reduction)


@obeys_old_options
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """d²/(2·beta) where d = |input - target| < beta, else d - beta/2.

    >>> nn.functional.smooth_l1_loss(Tensor([1.0, 2.0]), Tensor([1.0, 4.0]))
    tensor(0.7500)
    """
    return input.smooth_l1_loss(target, reduction, beta)


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """d²/2 where d = |input - target| < delta, else delta·(d - delta/2).

    With a ``weight`` of each element the mean is over the weights.

    >>> nn.functional.huber_loss(Tensor([1.0, 2.0]), Tensor([1.5, 4.0]))
    tensor(0.8125)
    """
    if weight is None:
        return input.huber_loss(target, reduction, delta)
    return weighted_loss(input.huber_loss(target, "none", delta), weight, reduction)


@obeys_old_options
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """-weight[target]·input[target] over dimension 1, for log-probabilities.

    The mean is over the weights of the targets that are not ``ignore_index``.

    >>> nn.functional.nll_loss(Tensor([[-1.0, -2.0]]), Tensor([1]))
    tensor(2.)
    """
    return input.nll_loss(target, weight, ignore_index, reduction)


@obeys_old_options
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(input)[target] over dimension 1.

    ``target`` holds class indices, or probabilities in the input's shape. With
    ``label_smoothing`` ε the target keeps 1 - ε, and all classes share ε.

    >>> nn.functional.cross_entropy(Tensor([[0.0, 0.0]]), Tensor([1]))
    tensor(0.6931)
    """
    return input.cross_entropy(target, weight, ignore_index, reduction, label_smoothing)


@obeys_old_options
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """-(y·log p + (1 - y)·log(1 - p)), with logarithms not below -100.

    >>> nn.functional.binary_cross_entropy(Tensor([0.5]), Tensor([1.0]))
    tensor(0.6931)
    """
    return input.binary_cross_entropy(target, weight, reduction)


@obeys_old_options
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """:func:`binary_cross_entropy` of sigmoid(input), computed without overflow.

    >>> target = Tensor([1.0])
    >>> nn.functional.binary_cross_entropy_with_logits(Tensor([0.0]), target)
    tensor(0.6931)
    """
    return input.binary_cross_entropy_with_logits(target, weight, pos_weight, reduction)


@obeys_old_options
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """target·(log target - input), for an input of log-probabilities.

    >>> nn.functional.kl_div(Tensor([-0.5]), Tensor([1.0]), reduction="sum")
    tensor(0.5000)
    """
    return input.kl_div(target, reduction, log_target)


@obeys_old_options
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: Any = None,
    eps: float = 1e-8,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """exp(input) - target·input, or input - target·log(input + eps).

    >>> nn.functional.poisson_nll_loss(Tensor([0.0]), Tensor([2.0]))
    tensor(1.)
    """
    return input.poisson_nll_loss(target, log_input, full, eps, reduction)


@obeys_old_options
def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """x where y = 1, max(0, margin - x) where y = -1.

    >>> nn.functional.hinge_embedding_loss(Tensor([0.25, 0.5]), Tensor([1, -1]))
    tensor(0.3750)
    """
    return input.hinge_embedding_loss(target, margin, reduction)


@obeys_old_options
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0.0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos(x₁, x₂) where y = 1, max(0, cos(x₁, x₂) - margin) where y = -1.

    >>> one = Tensor([[1.0, 0.0]])
    >>> nn.functional.cosine_embedding_loss(one, Tensor([[3.0, 4.0]]), Tensor([1]))
    tensor(0.4000)
    """
    return input1.cosine_embedding_loss(input2, target, margin, reduction)


@obeys_old_options
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0.0,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -y·(x₁ - x₂) + margin).

    >>> first, second = Tensor([1.0]), Tensor([3.0])
    >>> nn.functional.margin_ranking_loss(first, second, Tensor([1.0]))
    tensor(2.)
    """
    return input1.margin_ranking_loss(input2, target, margin, reduction)


@obeys_old_options
def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + exp(-y·x)).

    >>> nn.functional.soft_margin_loss(Tensor([0.0]), Tensor([1.0]))
    tensor(0.6931)
    """
    return input.soft_margin_loss(target, reduction)


@obeys_old_options
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """Σ over i ≠ y of weight[y]·max(0, margin - x[y] + x[i])^p / classes.

    >>> nn.functional.multi_margin_loss(Tensor([[0.0, 1.0]]), Tensor([0]))
    tensor(1.)
    """
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss has p 1 or 2, not {p}")
    if input.ndim < 2:
        rows = input.reshape(1, -1), target.reshape(1)
        loss = multi_margin_loss(*rows, p, margin, weight, reduction="none")
        return reduced(loss.squeeze(0), reduction)
    index = target.unsqueeze(-1)
    excess = (margin - input.gather(-1, index) + input).clamp(min=0)
    terms = excess if p == 1 else excess * excess
    if weight is not None:
        terms = terms * weight.index_select(0, target.reshape(-1)).reshape(index.shape)
    classes = Tensor.arange(input.shape[-1])
    loss = terms.where(classes != index, 0.0).sum(dim=-1) / input.shape[-1]
    return reduced(loss, reduction)


@obeys_old_options
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """Σ over labels y and others i of max(0, 1 - x[y] + x[i]) / classes.

    >>> scores = Tensor([[0.0, 1.0]])
    >>> nn.functional.multilabel_margin_loss(scores, Tensor([[1, -1]]))
    tensor(0.)
    """
    _check_same_shape("multilabel_margin_loss", input, target)
    if not input.ndim:
        return multilabel_margin_loss(
            input.reshape(1), target.reshape(1), reduction=reduction
        )
    is_listed = (target >= 0).to(dtypes.int64).cumprod(-1) > 0
    index = target.where(is_listed, 0)
    classes = Tensor.arange(input.shape[-1])
    is_label = ((index.unsqueeze(-1) == classes) & is_listed.unsqueeze(-1)).any(dim=-2)
    label_scores = input.gather(-1, index).unsqueeze(-1)
    excess = (1 - label_scores + input.unsqueeze(-2)).clamp(min=0)
    counted = is_listed.unsqueeze(-1) & ~is_label.unsqueeze(-2)
    loss = excess.where(counted, 0.0).sum(dim=(-2, -1)) / input.shape[-1]
    return reduced(loss, reduction)


@obeys_old_options
def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over classes of :func:`binary_cross_entropy_with_logits`.

    >>> logits, labels = Tensor([[0.0]]), Tensor([[1.0]])
    >>> nn.functional.multilabel_soft_margin_loss(logits, labels)
    tensor(0.6931)
    """
    terms = target * logsigmoid(input) + (1 - target) * logsigmoid(-input)
    if weight is not None:
        terms = terms * weight
    return reduced(-terms.mean(dim=-1), reduction)


@obeys_old_options
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, ‖anchor - positive‖ - ‖anchor - negative‖ + margin).

    >>> near, far = Tensor([[1.0]]), Tensor([[2.0]])
    >>> nn.functional.triplet_margin_loss(Tensor([[0.0]]), near, far, margin=3.0)
    tensor(2.)
    """
    return anchor.triplet_margin_loss(
        positive, negative, margin, p, eps, swap, reduction
    )


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """:func:`triplet_margin_loss` with any distance.

    >>> near, far = Tensor([[1.0]]), Tensor([[2.0]])
    >>> anchor = Tensor([[0.0]])
    >>> nn.functional.triplet_margin_with_distance_loss(anchor, near, far)
    tensor(0.)
    """
    distance = distance_function or pairwise_distance
    near = distance(anchor, positive)
    far = distance(anchor, negative)
    if swap:
        far = far.minimum(distance(positive, negative))
    return reduced((near - far + margin).clamp(min=0), reduction)


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """``cross_entropy`` of logits that a linear layer gives.

    The weight has shape (classes, *rest, features); the target then the input's batch
    dimensions and ``rest``. What ``options`` says about parts does not change it.

    >>> weight = Tensor([[2.0], [2.0]])
    >>> nn.functional.linear_cross_entropy(Tensor([[1.0]]), weight, Tensor([0]))
    tensor(0.6931)
    """
    classes, *rest, features = linear_weight.shape
    flat = linear_weight.reshape(-1, features)
    bias = None if linear_bias is None else linear_bias.ravel()
    logits = input.linear(flat, bias)
    shape = (*input.shape[:-1], classes, *rest)
    ignored = -100 if ignore_index is None else ignore_index
    return cross_entropy(
        logits.reshape(shape),
        target,
        weight,
        ignore_index=ignored,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
