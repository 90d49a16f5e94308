"""Every loss against PyTorch in float64: value and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.nn.torch_check import check_layer, random_array
from tetragrad import Tensor, nn

torch = pytest.importorskip("torch")

X = random_array(3, 4)
Y = random_array(3, 4) + random_array(4) * 0.3
P = random_array(3, 4, low=0.05, high=0.95)
LABELS = np.array([2, 0, 3])
SIGNS = np.array([1.0, -1.0, 1.0])
MANY_SIGNS = np.where(random_array(3, 4) > 0, 1.0, -1.0)
IMAGE = random_array(2, 3, 2, 2)
IMAGE_LABELS = np.array([[[0, 2], [1, -100]], [[2, 2], [-100, 0]]])
DISTRIBUTION = np.exp(Y) / np.exp(Y).sum(axis=1, keepdims=True)
LOG_DISTRIBUTION = np.log(DISTRIBUTION)
CLASS_WEIGHT = np.array([0.5, 1.0, 2.0, 0.25])

LOSSES: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
    ("L1Loss", {}, (X, Y)),
    ("MSELoss", {}, (X, Y)),
    ("SmoothL1Loss", {"beta": 0.5}, (X, Y)),
    ("HuberLoss", {"delta": 0.5}, (X, Y)),
    ("CrossEntropyLoss", {}, (X, LABELS)),
    ("CrossEntropyLoss", {"label_smoothing": 0.1}, (X, LABELS)),
    ("CrossEntropyLoss", {"weight": CLASS_WEIGHT, "label_smoothing": 0.2}, (X, LABELS)),
    ("CrossEntropyLoss", {"weight": CLASS_WEIGHT}, (X, DISTRIBUTION)),
    ("CrossEntropyLoss", {"ignore_index": -100}, (IMAGE, IMAGE_LABELS)),
    ("CrossEntropyLoss", {"label_smoothing": 0.1}, (IMAGE, IMAGE_LABELS)),
    ("CrossEntropyLoss", {}, (random_array(4), np.array(1))),
    (
        "NLLLoss",
        {"weight": CLASS_WEIGHT, "ignore_index": 0},
        (LOG_DISTRIBUTION, LABELS),
    ),
    ("NLLLoss", {}, (IMAGE, IMAGE_LABELS)),
    ("BCELoss", {}, (P, P[::-1].copy())),
    ("BCEWithLogitsLoss", {}, (X * 10, P)),
    ("BCEWithLogitsLoss", {"pos_weight": CLASS_WEIGHT}, (X, P)),
    ("KLDivLoss", {}, (LOG_DISTRIBUTION, P)),
    ("KLDivLoss", {"log_target": True}, (LOG_DISTRIBUTION, LOG_DISTRIBUTION * 0.5)),
    ("PoissonNLLLoss", {"full": True}, (X, P * 4)),
    ("PoissonNLLLoss", {"log_input": False}, (P, P * 4)),
    ("GaussianNLLLoss", {"full": True}, (X, Y, P)),
    ("GaussianNLLLoss", {}, (X, Y, P[:, 0].copy())),
    ("HingeEmbeddingLoss", {}, (X, MANY_SIGNS)),
    ("CosineEmbeddingLoss", {"margin": 0.2}, (X, Y, SIGNS)),
    ("MarginRankingLoss", {"margin": 0.3}, (X[:, 0].copy(), Y[:, 0].copy(), SIGNS)),
    ("SoftMarginLoss", {}, (X, MANY_SIGNS)),
    ("MultiMarginLoss", {"p": 2, "weight": CLASS_WEIGHT}, (X, LABELS)),
    ("MultiLabelSoftMarginLoss", {"weight": CLASS_WEIGHT}, (X, (P > 0.5) * 1.0)),
    (
        "MultiLabelMarginLoss",
        {},
        (X, np.array([[1, 3, -1, 0], [0, -1, 2, 1], [3, 2, 1, 0]])),
    ),
    ("TripletMarginLoss", {"swap": True}, (X, Y, X[::-1].copy())),
    ("TripletMarginWithDistanceLoss", {"margin": 2.0}, (X, Y, X[::-1].copy())),
]


def _options(options: dict[str, Any], convert: Any) -> dict[str, Any]:
    return {
        name: convert(value) if isinstance(value, np.ndarray) else value
        for name, value in options.items()
    }


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("case", LOSSES, ids=lambda case: f"{case[0]}{list(case[1])}")
def test_loss(case: Any, reduction: str) -> None:
    name, options, inputs = case
    options = options | {"reduction": reduction}
    theirs = getattr(torch.nn, name)(**_options(options, torch.tensor))
    ours = getattr(nn, name)(**_options(options, Tensor))
    # Targets of some losses have no gradient in PyTorch.
    if name in _WITHOUT_TARGET_GRADIENT:
        ours, theirs = _Fixed(ours, Tensor, inputs[1:]), _TorchFixed(theirs, inputs[1:])
        inputs = inputs[:1]
    check_layer(ours, theirs, *inputs)


_WITHOUT_TARGET_GRADIENT = ("HingeEmbeddingLoss", "SoftMarginLoss")


class _Fixed(nn.Module):
    """A loss with its target given once, as data."""

    def __init__(self, loss: Any, convert: Any, targets: Any) -> None:
        super().__init__()
        self.loss = loss
        self.targets = [convert(target) for target in targets]

    def forward(self, input: Any) -> Any:
        return self.loss(input, *self.targets)


def _TorchFixed(loss: Any, targets: Any) -> Any:
    class Fixed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loss = loss

        def forward(self, input: Any) -> Any:
            return loss(input, *[torch.tensor(target) for target in targets])

    return Fixed()


def test_kl_divergence_of_a_batch() -> None:
    options = {"reduction": "batchmean"}
    check_layer(
        nn.KLDivLoss(**options), torch.nn.KLDivLoss(**options), LOG_DISTRIBUTION, P
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ctc_loss(reduction: str) -> None:
    scores = random_array(5, 2, 4)
    log_probs = scores - np.log(np.exp(scores).sum(axis=2, keepdims=True))
    rows = np.array([[1, 1, 2], [3, 1, 0]])
    inputs, lengths = np.array([5, 4]), np.array([3, 2])
    ours, theirs = (
        nn.CTCLoss(reduction=reduction),
        torch.nn.CTCLoss(reduction=reduction),
    )
    # PyTorch's gradient assumes that log_softmax comes before, so only ours has one.
    value = ours(Tensor(log_probs), Tensor(rows), Tensor(inputs), Tensor(lengths))
    expected = theirs(*map(torch.tensor, (log_probs, rows, inputs, lengths)))
    np.testing.assert_allclose(value.numpy(), expected.numpy(), rtol=1e-9)
    joined = np.array([1, 1, 2, 3, 1])
    value = ours(Tensor(log_probs), Tensor(joined), [5, 4], [3, 2])
    np.testing.assert_allclose(value.numpy(), expected.numpy(), rtol=1e-9)


def test_ctc_loss_gradient_through_log_softmax() -> None:
    scores = random_array(3, 2, 4)
    rows, inputs, lengths = np.array([[1, 1], [3, 1]]), [3, 2], [2, 1]
    mine = Tensor(scores, requires_grad=True)
    nn.CTCLoss()(mine.log_softmax(2), Tensor(rows), inputs, lengths).backward()
    reference = torch.tensor(scores, requires_grad=True)
    loss = torch.nn.CTCLoss()
    loss(reference.log_softmax(2), torch.tensor(rows), inputs, lengths).backward()
    np.testing.assert_allclose(mine.grad.numpy(), reference.grad.numpy(), atol=1e-9)


def test_an_impossible_ctc_target_costs_infinity_or_nothing() -> None:
    log_probs = Tensor(np.log(np.full((1, 1, 3), 1 / 3)), requires_grad=True)
    arguments = (Tensor([[1, 2]]), [1], [2])
    assert nn.CTCLoss()(log_probs, *arguments).item() == np.inf
    loss = nn.CTCLoss(zero_infinity=True)(log_probs, *arguments)
    loss.backward()
    assert loss.item() == 0
    assert not log_probs.grad.numpy().any()


@pytest.mark.parametrize(
    ("old", "reduction"),
    [
        ({"size_average": False}, "sum"),
        ({"reduce": True}, "mean"),
        ({"reduce": False}, "none"),
        ({"size_average": True, "reduce": False}, "none"),
    ],
)
def test_options_from_before_reduction_are_obeyed(
    old: dict[str, bool], reduction: str
) -> None:
    input, target = Tensor([1.0, 2.0]), Tensor([1.0, 4.0])
    expected = nn.functional.mse_loss(input, target, reduction=reduction)
    assert nn.functional.mse_loss(input, target, **old).tolist() == expected.tolist()
    by_place = nn.functional.l1_loss(input, target, *old.values())
    assert by_place.ndim == 0 or reduction == "none"


def test_ctc_gradient_is_that_of_the_logits() -> None:
    scores = np.random.default_rng(1).normal(size=(5, 2, 4))
    mine = Tensor(scores).log_softmax(2).detach().requires_grad_()
    theirs = torch.from_numpy(scores).log_softmax(2).detach().requires_grad_()
    targets, lengths = np.array([[1, 2], [3, 1]]), [5, 4]
    nn.functional.ctc_loss(mine, Tensor(targets), lengths, [2, 1]).backward()
    their_targets = torch.from_numpy(targets)
    torch.nn.functional.ctc_loss(theirs, their_targets, lengths, [2, 1]).backward()
    assert mine.grad is not None
    np.testing.assert_allclose(mine.grad.numpy(), theirs.grad.numpy(), atol=1e-9)


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("margin_ranking_loss", ([1.0, 2.0], [1.0, 2.0], [1.0, -1.0])),
        ("hinge_embedding_loss", ([1.0, 0.5], [-1.0, -1.0])),
        ("cosine_embedding_loss", ([[1.0, 0.0]], [[0.0, 1.0]], [-1.0])),
        ("triplet_margin_loss", ([[0.0]], [[1.0]], [[2.0]])),
    ],
)
def test_gradients_at_the_margin_itself(name: str, inputs: tuple[Any, ...]) -> None:
    mine = [Tensor(entry, requires_grad=True) for entry in inputs[:2]]
    theirs = [torch.tensor(entry, requires_grad=True) for entry in inputs[:2]]
    rest = inputs[2:]
    getattr(nn.functional, name)(*mine, *map(Tensor, rest)).backward()
    their_rest = map(torch.tensor, rest)
    getattr(torch.nn.functional, name)(*theirs, *their_rest).backward()
    for own, their in zip(mine, theirs, strict=True):
        if their.grad is not None:
            assert own.grad is not None
            np.testing.assert_allclose(own.grad.numpy(), their.grad.numpy(), atol=1e-6)


def test_functions_take_inplace_by_place_and_input_by_name() -> None:
    values = Tensor([-1.0, 2.0])
    assert nn.functional.elu(values, 1.0, True) is values
    assert values.tolist() == pytest.approx([np.expm1(-1), 2.0])
    assert nn.functional.relu(input=values).tolist() == [0.0, 2.0]


@pytest.mark.parametrize(
    "name", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"]
)
def test_a_target_of_another_shape_is_warned_of(name: str) -> None:
    loss = getattr(nn.functional, name)
    with pytest.warns(UserWarning, match=rf"{__file__}:\d+: {name}\(\) of shape"):
        loss(Tensor.ones(4, 1), Tensor.ones(4))
