"""Losses with a last layer, and layers joined for inference, beside PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.nn.torch_check import check_layer, random_array
from tetragrad import Tensor, nn
from tetragrad.core.errors import IndexingError, ShapeError, TetragradError

torch = pytest.importorskip("torch")

TARGETS = np.array([0, 4, 5, 9, 10, 19])


@pytest.mark.parametrize("bias", [False, True])
def test_adaptive_softmax(bias: bool) -> None:
    make = lambda n: n.AdaptiveLogSoftmaxWithLoss(  # noqa: E731
        8, 20, [5, 10], div_value=2.0, head_bias=bias
    )
    ours, theirs = make(nn), make(torch.nn)
    x = random_array(6, 8)
    check_layer(ours, theirs, x, TARGETS)
    with torch.no_grad():
        wanted = theirs.log_prob(torch.tensor(x)).numpy()
    found = ours.log_prob(Tensor(x)).detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    assert ours.predict(Tensor(x)).tolist() == wanted.argmax(-1).tolist()
    single = ours(Tensor(x[1]), Tensor(4))
    assert single.output.item() == pytest.approx(wanted[1, 4])


def test_mistakes_with_adaptive_softmax() -> None:
    with pytest.raises(ShapeError, match=r"cutoffs \[3, 2\]"):
        nn.AdaptiveLogSoftmaxWithLoss(4, 5, [3, 2])
    loss = nn.AdaptiveLogSoftmaxWithLoss(4, 5, [2])
    with pytest.raises(ShapeError, match=r"target \(2,\)"):
        loss(Tensor.zeros(3, 4), Tensor([0, 1]))
    with pytest.raises(IndexingError, match="index 5 is out of range"):
        loss(Tensor.zeros(1, 4), Tensor([5])).loss.item()


@pytest.mark.parametrize(
    ("options", "target"),
    [
        ({}, np.array([0, 2, 1])),
        ({"bias": True, "reduction": "sum"}, np.array([0, 2, 1])),
        ({"label_smoothing": 0.1, "ignore_index": 2}, np.array([0, 2, 1])),
        ({"out_features": (2,)}, np.array([[0, 1], [2, 2], [1, 0]])),
    ],
    ids=str,
)
def test_linear_cross_entropy(options: dict[str, Any], target: np.ndarray) -> None:
    theirs = torch.nn.LinearCrossEntropyLoss(5, 3, **options)
    check_layer(
        nn.LinearCrossEntropyLoss(5, 3, **options), theirs, random_array(3, 5), target
    )


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("kind", ["conv", "transposed", "linear"])
def test_batch_norms_are_joined(kind: str, affine: bool) -> None:
    layers = {
        "conv": nn.Conv2d(3, 4, 3, bias=affine),
        "transposed": nn.ConvTranspose2d(3, 4, 3),
        "linear": nn.Linear(3, 4),
    }
    layer = layers[kind].double().eval()
    norm = (nn.BatchNorm1d if kind == "linear" else nn.BatchNorm2d)(4, affine=affine)
    norm = norm.double().eval()
    norm.running_mean.copy_(Tensor(random_array(4)))
    norm.running_var.copy_(Tensor(random_array(4, low=0.5)))
    if affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    x = Tensor(random_array(2, 3) if kind == "linear" else random_array(2, 3, 5, 5))
    if kind == "linear":
        fused = nn.utils.fuse_linear_bn_eval(layer, norm)
    else:
        fused = nn.utils.fuse_conv_bn_eval(layer, norm, kind == "transposed")
    wanted = norm(layer(x)).detach().numpy()
    np.testing.assert_allclose(fused(x).detach().numpy(), wanted, rtol=1e-9, atol=1e-9)
    with pytest.raises(TetragradError, match=r"call eval\(\)"):
        nn.utils.fuse_linear_bn_eval(layer, norm.train())


def test_modules_without_values() -> None:
    assert nn.utils.skip_init(nn.Linear, 2, 1, bias=False).weight.tolist() == [[0, 0]]


def test_absent_names_are_suggested() -> None:
    with pytest.raises(AttributeError, match="did you mean 'clip_grad_norm_'"):
        _ = nn.utils.clip_grad_norms
