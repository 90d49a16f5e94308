"""Losses that hold the last layer themselves, for very many classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tetragrad.core.errors import ShapeError
from tetragrad.nn import functional as F
from tetragrad.nn.containers import ModuleList, Sequential
from tetragrad.nn.functional.reduction import check_reduction
from tetragrad.nn.linear import Linear
from tetragrad.nn.module import Module
from tetragrad.tensor import Tensor
from tetragrad.tensor.joining import cat


class ASMoutput(NamedTuple):
    """The log-probability of each target, and the mean loss."""

    output: Tensor
    loss: Tensor


class AdaptiveLogSoftmaxWithLoss(Module):
    """A softmax in two steps: frequent classes first, rare ones in smaller clusters.

    The head has the first ``cutoffs[0]`` classes and one entry for each cluster;
    cluster i has a projection to in_features / div_value^(i+1) features.

    Args:
        in_features: the size of the input.
        n_classes: how many classes there are, most frequent first.
        cutoffs: where clusters begin, in ascending order.
        div_value: how much smaller each next cluster's projection is.
        head_bias: whether the head has a bias.

    Input: (N, in_features) or (in_features,), target: (N,) or (). Returns the
    log-probability of each target and the mean of their negatives. All rows pass all
    clusters, so shapes do not depend on the targets.

    Source: Grave et al., "Efficient softmax approximation for GPUs", 2017.

    >>> loss = nn.AdaptiveLogSoftmaxWithLoss(8, 20, cutoffs=[5, 10])
    >>> result = loss(Tensor.zeros(3, 8), Tensor([0, 7, 19]))
    >>> result.output.shape
    (3,)
    >>> loss.log_prob(Tensor.zeros(3, 8)).shape
    (3, 20)
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        given = list(cutoffs)
        is_ascending = given == sorted(set(given))
        if not given or not is_ascending or given[0] < 1 or given[-1] > n_classes - 1:
            raise ShapeError(
                f"AdaptiveLogSoftmaxWithLoss with cutoffs {given} of {n_classes} "
                "classes",
                hint="cutoffs ascend, from 1 to n_classes - 1 at most",
            )
        place = {"device": device, "dtype": dtype}
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*given, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = given[0]
        self.n_clusters = len(given)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, **place)
        self.tail = ModuleList()
        for number in range(self.n_clusters):
            hidden = int(in_features // div_value ** (number + 1))
            size = self.cutoffs[number + 1] - self.cutoffs[number]
            self.tail.append(
                Sequential(
                    Linear(in_features, hidden, bias=False, **place),
                    Linear(hidden, size, bias=False, **place),
                )
            )

    def reset_parameters(self) -> None:
        """Draw new starting values."""
        self.head.reset_parameters()
        for inner, outer in self.tail:
            inner.reset_parameters()
            outer.reset_parameters()

    def forward(self, input_: Tensor, target_: Tensor) -> ASMoutput:
        """The log-probability of each target, and the mean loss."""
        if input_.ndim not in (1, 2) or target_.shape != input_.shape[:-1]:
            raise ShapeError(
                f"AdaptiveLogSoftmaxWithLoss of input {input_.shape} and target "
                f"{target_.shape}",
                hint="pass (N, in_features) and (N,), or (in_features,) and ()",
            )
        rows, target = input_.reshape(-1, self.in_features), target_.reshape(-1)
        head = self.head(rows).log_softmax(-1)
        # In the head a rare class is the entry of its cluster.
        entry = self._entries(input_.device)[target]
        output = head.gather(1, entry.unsqueeze(1)).squeeze(1)
        for number, cluster in enumerate(self.tail):
            inside = entry == self.shortlist_size + number
            last = self.cutoffs[number + 1] - self.cutoffs[number] - 1
            place = (target - self.cutoffs[number]).clamp(0, last)
            found = cluster(rows).log_softmax(-1).gather(1, place.unsqueeze(1))
            output = output + found.squeeze(1).where(inside, 0.0)
        return ASMoutput(output.reshape(target_.shape), -output.mean())

    def _entries(self, device: str) -> Tensor:
        """Which entry of the head each class belongs to."""
        entries = list(range(self.shortlist_size))
        for number in range(self.n_clusters):
            size = self.cutoffs[number + 1] - self.cutoffs[number]
            entries += [self.shortlist_size + number] * size
        return Tensor(entries).to(device)

    def log_prob(self, input: Tensor) -> Tensor:
        """The log-probabilities of all classes: (N, n_classes)."""
        head = self.head(input).log_softmax(-1)
        parts = [head[..., : self.shortlist_size]]
        for number, cluster in enumerate(self.tail):
            place = self.shortlist_size + number
            inside = cluster(input).log_softmax(-1)
            parts.append(inside + head[..., place : place + 1])
        return cat(parts, -1)

    def predict(self, input: Tensor) -> Tensor:
        """The likeliest class of each row."""
        return self.log_prob(input).argmax(-1)


class LinearCrossEntropyLoss(Module):
    """Cross entropy of the logits that a linear layer of its own gives.

    Input: (N, in_features) or (in_features,), target: (N, \\*out_features) class
    indices, or probabilities (N, num_classes, \\*out_features).

    Args:
        in_features: the size of the input.
        num_classes: how many classes there are.
        out_features: the sizes of further dimensions of the target.
        bias: whether the layer has a bias.
        reduction, weight, ignore_index, label_smoothing: as for CrossEntropyLoss.
        options: how PyTorch divides the work; changes nothing.

    >>> loss = nn.LinearCrossEntropyLoss(4, 3)
    >>> round(loss(Tensor.zeros(2, 4), Tensor([0, 2])).item(), 4)
    1.0986
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: str | None = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: Any = None,
    ) -> None:
        super().__init__()
        self.reduction = check_reduction(reduction)
        self.register_buffer("weight", weight)
        self.num_classes = num_classes
        self.out_features = tuple(out_features)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        rows = num_classes
        for size in self.out_features:
            rows *= size
        self.linear = Linear(in_features, rows, bias=bias, device=device, dtype=dtype)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss, reduced as ``reduction`` says."""
        shape = (self.num_classes, *self.out_features)
        layer = self.linear
        return F.linear_cross_entropy(
            input,
            layer.weight.reshape(*shape, layer.in_features),
            target,
            linear_bias=None if layer.bias is None else layer.bias.reshape(shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )
