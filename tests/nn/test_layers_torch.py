"""Every layer against PyTorch in float64: output, gradients, running statistics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.nn.torch_check import check_layer, random_array
from tetragrad import nn

torch = pytest.importorskip("torch")

#: name, constructor arguments, keyword arguments, shapes of the inputs.
LAYERS: list[tuple[str, tuple[Any, ...], dict[str, Any], list[tuple[int, ...]]]] = [
    ("Linear", (3, 4), {}, [(2, 3)]),
    ("Linear", (3, 4), {"bias": False}, [(2, 5, 3)]),
    ("Bilinear", (2, 3, 4), {}, [(5, 2), (5, 3)]),
    ("Identity", (), {}, [(2, 3)]),
    ("Conv1d", (2, 4, 3), {"padding": 1, "stride": 2}, [(2, 2, 7)]),
    ("Conv1d", (2, 4, 3), {"padding": 2, "padding_mode": "circular"}, [(2, 2, 5)]),
    ("Conv2d", (2, 4, 3), {"padding": 1, "groups": 2}, [(2, 2, 5, 4)]),
    ("Conv2d", (2, 3, (3, 2)), {"stride": (2, 1), "dilation": (1, 2)}, [(1, 2, 6, 6)]),
    ("Conv2d", (1, 2, 4), {"padding": "same"}, [(1, 1, 5, 5)]),
    (
        "Conv2d",
        (1, 2, 4),
        {"padding": "same", "padding_mode": "reflect"},
        [(1, 1, 5, 5)],
    ),
    ("Conv2d", (1, 2, 2), {"padding": "valid", "bias": False}, [(1, 3, 3)]),
    (
        "Conv3d",
        (1, 2, 2),
        {"padding": 1, "padding_mode": "replicate"},
        [(1, 1, 3, 3, 3)],
    ),
    ("ConvTranspose1d", (2, 3, 3), {"stride": 2, "output_padding": 1}, [(2, 2, 4)]),
    (
        "ConvTranspose2d",
        (2, 4, 3),
        {"stride": 2, "padding": 1, "groups": 2},
        [(1, 2, 3, 3)],
    ),
    ("ConvTranspose2d", (2, 1, 2), {"dilation": 2}, [(1, 2, 3, 3)]),
    ("ConvTranspose3d", (1, 2, 2), {}, [(1, 1, 2, 2, 2)]),
    ("BatchNorm1d", (3,), {}, [(4, 3)]),
    ("BatchNorm1d", (3,), {"momentum": None}, [(4, 3, 2)]),
    ("BatchNorm2d", (2,), {"affine": False}, [(3, 2, 2, 2)]),
    ("BatchNorm2d", (2,), {"track_running_stats": False}, [(3, 2, 2, 2)]),
    ("BatchNorm3d", (2,), {"eps": 0.1, "momentum": 0.3}, [(2, 2, 2, 1, 2)]),
    ("InstanceNorm1d", (3,), {}, [(2, 3, 4)]),
    ("InstanceNorm1d", (3,), {"affine": True}, [(3, 4)]),
    (
        "InstanceNorm2d",
        (2,),
        {"affine": True, "track_running_stats": True},
        [(3, 2, 2, 3)],
    ),
    ("InstanceNorm3d", (2,), {}, [(2, 2, 2, 1, 2)]),
    ("LayerNorm", (4,), {}, [(2, 3, 4)]),
    ("LayerNorm", ((3, 4),), {"bias": False}, [(2, 3, 4)]),
    ("LayerNorm", (4,), {"elementwise_affine": False}, [(2, 4)]),
    ("RMSNorm", (4,), {}, [(2, 4)]),
    ("RMSNorm", ((3, 4),), {"eps": 0.1}, [(2, 3, 4)]),
    ("GroupNorm", (2, 4), {}, [(2, 4, 3)]),
    ("GroupNorm", (2, 4), {"affine": False}, [(2, 4)]),
    ("LocalResponseNorm", (2,), {"alpha": 0.5}, [(2, 4, 3)]),
    ("LocalResponseNorm", (3,), {"k": 2.0}, [(1, 4, 2, 2)]),
    ("MaxPool1d", (2,), {}, [(1, 2, 6)]),
    ("MaxPool2d", (3,), {"stride": 2, "padding": 1}, [(1, 2, 5, 5)]),
    ("MaxPool2d", (2,), {"ceil_mode": True, "dilation": 2}, [(1, 1, 6, 5)]),
    ("MaxPool2d", (2,), {"return_indices": True}, [(1, 1, 4, 4)]),
    ("MaxPool3d", (2,), {}, [(1, 1, 4, 2, 2)]),
    ("AvgPool1d", (3,), {"stride": 2, "padding": 1}, [(1, 2, 6)]),
    ("AvgPool2d", (3,), {"padding": 1, "count_include_pad": False}, [(1, 1, 5, 5)]),
    ("AvgPool2d", (2,), {"ceil_mode": True}, [(1, 1, 5, 5)]),
    ("AvgPool2d", (2,), {"divisor_override": 3}, [(1, 1, 4, 4)]),
    ("AvgPool3d", (2,), {}, [(1, 1, 2, 4, 2)]),
    ("LPPool1d", (2, 3), {}, [(1, 2, 6)]),
    ("LPPool2d", (2, 2), {"stride": 1}, [(1, 1, 3, 3)]),
    ("AdaptiveAvgPool1d", (3,), {}, [(1, 2, 7)]),
    ("AdaptiveAvgPool2d", ((2, None),), {}, [(1, 2, 5, 3)]),
    ("AdaptiveAvgPool3d", (1,), {}, [(1, 2, 2, 2, 2)]),
    ("AdaptiveMaxPool1d", (3,), {}, [(1, 2, 7)]),
    ("AdaptiveMaxPool2d", ((2, 3),), {}, [(1, 2, 5, 3)]),
    ("AdaptiveMaxPool3d", (1,), {}, [(1, 2, 2, 2, 2)]),
    ("Flatten", (), {}, [(2, 3, 4)]),
    ("Unflatten", (1, (2, 3)), {}, [(2, 6)]),
    ("Unfold", (2,), {"stride": 2, "padding": 1}, [(2, 3, 4, 5)]),
    ("Unfold", ((2, 3),), {"dilation": (2, 1)}, [(1, 2, 5, 5)]),
    ("Fold", ((4, 5), 2), {"stride": 2, "padding": 1}, [(2, 12, 9)]),
    ("Upsample", (), {"scale_factor": 2}, [(1, 2, 3)]),
    ("Upsample", (), {"size": (5, 4), "mode": "bilinear"}, [(1, 1, 3, 3)]),
    ("UpsamplingNearest2d", (), {"scale_factor": 2}, [(1, 1, 2, 2)]),
    ("UpsamplingBilinear2d", (), {"scale_factor": 2}, [(1, 1, 2, 3)]),
    ("PixelShuffle", (2,), {}, [(1, 8, 2, 3)]),
    ("PixelUnshuffle", (2,), {}, [(1, 2, 4, 6)]),
    ("ChannelShuffle", (2,), {}, [(1, 6, 2)]),
    ("ConstantPad1d", ((1, 2), 3.5), {}, [(1, 2, 3)]),
    ("ConstantPad2d", (1, 3.5), {}, [(1, 2, 2, 2)]),
    ("ConstantPad3d", (1, 3.5), {}, [(1, 1, 2, 2, 2)]),
    ("ZeroPad1d", (1,), {}, [(1, 2, 3)]),
    ("ZeroPad2d", ((1, 0, 2, 1),), {}, [(1, 2, 2, 2)]),
    ("ZeroPad3d", (1,), {}, [(1, 1, 2, 2, 2)]),
    ("ReflectionPad1d", (2,), {}, [(1, 2, 4)]),
    ("ReflectionPad2d", ((1, 2, 0, 1),), {}, [(1, 1, 3, 4)]),
    ("ReflectionPad3d", (1,), {}, [(1, 1, 2, 2, 2)]),
    ("ReplicationPad1d", (2,), {}, [(1, 2, 4)]),
    ("ReplicationPad2d", ((1, 2, 0, 1),), {}, [(1, 1, 3, 4)]),
    ("ReplicationPad3d", (1,), {}, [(1, 1, 2, 2, 2)]),
    ("CircularPad1d", (2,), {}, [(1, 2, 4)]),
    ("CircularPad2d", (1,), {}, [(1, 1, 3, 4)]),
    ("CircularPad3d", (1,), {}, [(1, 1, 2, 2, 2)]),
    ("RNN", (3, 4), {}, [(3, 2, 3)]),
    ("RNN", (3, 4), {"nonlinearity": "relu", "num_layers": 2}, [(3, 2, 3), (2, 2, 4)]),
    ("GRU", (3, 4), {"bidirectional": True, "num_layers": 2}, [(2, 1, 3)]),
    ("GRU", (3, 4), {"batch_first": True, "bias": False}, [(2, 2, 3)]),
    ("LSTM", (3, 2), {"bidirectional": True, "batch_first": True}, [(1, 2, 3)]),
    ("LSTM", (3, 4), {"proj_size": 2, "num_layers": 2}, [(2, 2, 3)]),
    ("LSTM", (3, 4), {}, [(2, 3)]),
    ("RNNCell", (3, 4), {}, [(2, 3), (2, 4)]),
    ("RNNCell", (3, 4), {"nonlinearity": "relu"}, [(2, 3)]),
    ("LSTMCell", (3, 4), {"bias": False}, [(2, 3)]),
    ("GRUCell", (3, 4), {}, [(3,)]),
    ("ReLU", (), {}, [(3, 4)]),
    ("ReLU6", (), {}, [(3, 4)]),
    ("LeakyReLU", (0.2,), {}, [(3, 4)]),
    ("PReLU", (), {}, [(3, 4)]),
    ("PReLU", (4,), {"init": 0.1}, [(3, 4, 2)]),
    ("ELU", (1.5,), {}, [(3, 4)]),
    ("CELU", (1.5,), {}, [(3, 4)]),
    ("SELU", (), {}, [(3, 4)]),
    ("GELU", (), {}, [(3, 4)]),
    ("GELU", (), {"approximate": "tanh"}, [(3, 4)]),
    ("SiLU", (), {}, [(3, 4)]),
    ("Mish", (), {}, [(3, 4)]),
    ("Sigmoid", (), {}, [(3, 4)]),
    ("LogSigmoid", (), {}, [(3, 4)]),
    ("Tanh", (), {}, [(3, 4)]),
    ("Softplus", (2.0, 1.5), {}, [(3, 4)]),
    ("Softsign", (), {}, [(3, 4)]),
    ("Tanhshrink", (), {}, [(3, 4)]),
    ("Softshrink", (), {}, [(3, 4)]),
    ("Hardshrink", (), {}, [(3, 4)]),
    ("Hardtanh", (-0.5, 1.0), {}, [(3, 4)]),
    ("Hardswish", (), {}, [(3, 4)]),
    ("Hardsigmoid", (), {}, [(3, 4)]),
    ("Threshold", (0.3, -1.0), {}, [(3, 4)]),
    ("GLU", (), {}, [(3, 4)]),
    ("GLU", (0,), {}, [(4, 3)]),
    ("Softmax", (1,), {}, [(3, 4)]),
    ("LogSoftmax", (0,), {}, [(3, 4)]),
    ("Softmin", (1,), {}, [(3, 4)]),
    ("Softmax2d", (), {}, [(1, 3, 2, 2)]),
    ("CosineSimilarity", (), {}, [(3, 4), (3, 4)]),
    ("PairwiseDistance", (), {"p": 3.0, "keepdim": True}, [(3, 4), (3, 4)]),
]


def _id(case: Any) -> str:
    name, arguments, options, _ = case
    return f"{name}{arguments}{options or ''}"


# PyTorch warns that it copies the input, and multiplies by a sixth in float32.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even")
@pytest.mark.parametrize("case", LAYERS, ids=_id)
def test_layer(case: Any) -> None:
    name, arguments, options, shapes = case
    # Shifted, so that two inputs of one shape differ.
    inputs = [random_array(*shape) + 0.1 * n for n, shape in enumerate(shapes)]
    ours = getattr(nn, name)(*arguments, **options)
    theirs = getattr(torch.nn, name)(*arguments, **options)
    tolerance = 1e-7 if name == "Hardsigmoid" else 1e-9
    check_layer(ours, theirs, *inputs, tolerance=tolerance)


@pytest.mark.parametrize("name", ["BatchNorm1d", "InstanceNorm1d"])
def test_norm_in_eval_uses_running_statistics(name: str) -> None:
    options = {"affine": True, "track_running_stats": True}
    ours, theirs = (
        getattr(nn, name)(3, **options),
        getattr(torch.nn, name)(3, **options),
    )
    with torch.no_grad():
        theirs.running_mean += 0.5
        theirs.running_var *= 2
    check_layer(ours.eval(), theirs.eval(), random_array(2, 3, 4))


def test_transposed_convolution_to_an_output_size() -> None:
    ours = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
    theirs = torch.nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1)
    check_layer(ours, theirs, random_array(1, 2, 3, 3), output_size=[6, 5])


def test_embedding() -> None:
    indices = np.array([[1, 2, 0], [2, 2, 4]])
    for options in ({}, {"padding_idx": 2}, {"scale_grad_by_freq": True}):
        check_layer(
            nn.Embedding(5, 3, **options), torch.nn.Embedding(5, 3, **options), indices
        )


def test_embedding_max_norm_shortens_only_used_rows() -> None:
    weight = random_array(5, 3)
    ours = nn.Embedding.from_pretrained(nn.Parameter(weight), max_norm=1.0)
    theirs = torch.nn.Embedding.from_pretrained(torch.tensor(weight), max_norm=1.0)
    indices = np.array([0, 3])
    ours(nn.Parameter(indices, requires_grad=False))
    theirs(torch.tensor(indices))
    np.testing.assert_allclose(ours.weight.numpy(), theirs.weight.numpy(), rtol=1e-6)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_embedding_bag(mode: str) -> None:
    ours, theirs = (
        nn.EmbeddingBag(6, 2, mode=mode),
        torch.nn.EmbeddingBag(6, 2, mode=mode),
    )
    check_layer(ours, theirs, np.array([[1, 2, 0], [2, 5, 4]]))
    flat, offsets = np.array([1, 2, 0, 5, 4]), np.array([0, 2, 2])
    check_layer(ours, theirs, flat, offsets)


def test_embedding_bag_with_weights_and_padding() -> None:
    options = {"mode": "sum", "padding_idx": 2, "include_last_offset": True}
    ours, theirs = (
        nn.EmbeddingBag(6, 2, **options),
        torch.nn.EmbeddingBag(6, 2, **options),
    )
    flat, offsets = np.array([1, 2, 0, 5, 4]), np.array([0, 3, 5])
    weights = random_array(5)
    check_layer(ours, theirs, flat, offsets, per_sample_weights=weights)


def _mask(rows: int, columns: int) -> np.ndarray:
    return np.triu(np.ones((rows, columns), bool), 1)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False, "batch_first": True},
        {"kdim": 3, "vdim": 5},
        {"add_bias_kv": True, "add_zero_attn": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention(options: dict[str, Any], need_weights: bool) -> None:
    ours = nn.MultiheadAttention(4, 2, **options)
    theirs = torch.nn.MultiheadAttention(4, 2, **options)
    first, second = (2, 3) if options.get("batch_first") else (3, 2)
    query = random_array(first, second, 4)
    key = random_array(first, second, options.get("kdim", 4)) + 0.1
    value = random_array(first, second, options.get("vdim", 4)) + 0.2
    check_layer(ours, theirs, query, key, value, need_weights=need_weights)


def test_multihead_attention_with_masks() -> None:
    ours, theirs = nn.MultiheadAttention(4, 2), torch.nn.MultiheadAttention(4, 2)
    x = random_array(3, 2, 4)
    padding = np.array([[False, False, True], [False, False, False]])
    check_layer(
        ours, theirs, x, x, x, attn_mask=_mask(3, 3), average_attn_weights=False
    )
    check_layer(ours, theirs, x, x, x, key_padding_mask=padding)
    each = np.broadcast_to(_mask(3, 3), (4, 3, 3)).copy()
    check_layer(ours, theirs, x, x, x, attn_mask=each, need_weights=False)
    x = random_array(3, 4)
    check_layer(ours, theirs, x, x, x, key_padding_mask=padding[0])


@pytest.mark.parametrize("norm_first", [False, True])
def test_transformer_layers(norm_first: bool) -> None:
    options = {"dim_feedforward": 5, "dropout": 0.0, "norm_first": norm_first}
    source, target = random_array(3, 2, 4), random_array(2, 2, 4)
    arguments = (4, 2)
    ours = nn.TransformerEncoderLayer(*arguments, activation="gelu", **options)
    theirs = torch.nn.TransformerEncoderLayer(*arguments, activation="gelu", **options)
    check_layer(ours, theirs, source, src_mask=_mask(3, 3))
    ours = nn.TransformerDecoderLayer(*arguments, **options)
    theirs = torch.nn.TransformerDecoderLayer(*arguments, **options)
    check_layer(ours, theirs, target, source)


def test_transformer() -> None:
    options = {
        "num_encoder_layers": 1, "num_decoder_layers": 1, "dim_feedforward": 5,
        "dropout": 0.0, "batch_first": True,
    }  # fmt: skip
    ours, theirs = (
        nn.Transformer(4, 2, **options),
        torch.nn.Transformer(4, 2, **options),
    )
    check_layer(ours, theirs, random_array(1, 3, 4), random_array(1, 2, 4))


def test_weight_norm_keeps_the_output_and_trains_length_and_direction() -> None:
    weight = random_array(3, 2)
    ours, theirs = nn.Linear(2, 3).double(), torch.nn.Linear(2, 3).double()
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(weight))
    with pytest.warns(FutureWarning):
        torch.nn.utils.weight_norm(theirs)
    nn.utils.weight_norm(ours)
    check_layer(ours, theirs, random_array(4, 2))
    nn.utils.remove_weight_norm(ours)
    np.testing.assert_allclose(ours.weight.detach().numpy(), weight)
    assert {name for name, _ in ours.named_parameters()} == {"weight", "bias"}
