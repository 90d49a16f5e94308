"""The workloads of the CPU benchmark: what each computes, in words all libraries share.

A row's function is called with a library (``tetragrad`` or ``torch``, whose names are
the same) and the inputs. JAX has names of its own, so it has a function of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Largest side of the square float32 matrices: 64 MiB, more than the caches hold.
SIDE = 4096
SQUARE_BYTES = SIDE * SIDE * 4


@dataclass(frozen=True)
class Normal:
    """Normally distributed numbers."""

    shape: tuple[int, ...]

    def draw(self, random: np.random.Generator) -> np.ndarray:
        return random.standard_normal(self.shape, dtype=np.float32)


@dataclass(frozen=True)
class Integers:
    """Integers below a limit, such as classes or words."""

    shape: tuple[int, ...]
    limit: int

    def draw(self, random: np.random.Generator) -> np.ndarray:
        return random.integers(0, self.limit, self.shape)


@dataclass(frozen=True)
class Row:
    """One workload: its inputs, and how much it computes and moves.

    What is ``random`` cannot be compared with PyTorch's result. With a ``dtype`` the
    inputs are converted to it first.
    """

    name: str
    inputs: tuple[Normal | Integers, ...]
    function: Callable[..., Any]
    jax: Callable[..., Any] | None = None
    operations: int = 0
    nbytes: int = 0
    random: bool = False
    dtype: str = ""


def rows() -> list[Row]:
    """Every row of one function; training steps and models are in ``cpu_models``."""
    return [
        *_products(),
        *_elementwise(),
        *_reductions(),
        *_convolutions(),
        *_normalisations(),
        *_indexing(),
        *_orders(),
        *_pools(),
    ]


# --- helpers -------------------------------------------------------------------------


def gradients(
    library: Any, function: Callable[..., Any], upstream: Any, *inputs: Any
) -> Any:
    """The gradients of a function's inputs: its forward and its backward pass."""
    leaves = [entry.detach().requires_grad_() for entry in inputs]
    find = library.grad if hasattr(library, "grad") else library.autograd.grad
    return find(function(*leaves), leaves, upstream)


def jax_gradients(function: Callable[..., Any], upstream: Any, *inputs: Any) -> Any:
    """The same for JAX."""
    import jax

    _, pull_back = jax.vjp(function, *inputs)
    return pull_back(upstream)


def _functional(library: Any) -> Any:
    return library.nn.functional


def _square(
    name: str,
    function: Callable[..., Any],
    jax: Callable[..., Any] | None,
    passes: int = 2,
) -> Row:
    """A row on one large matrix, bound by memory."""
    inputs = (Normal((SIDE, SIDE)),)
    return Row(name, inputs, function, jax, nbytes=passes * SQUARE_BYTES)


# --- products ------------------------------------------------------------------------


def _products() -> list[Row]:
    found = [_product(size) for size in (512, 1024, 2048)]
    found += [
        Row(
            "sgemm_bias_gelu_512x768x3072",
            (Normal((512, 768)), Normal((768, 3072)), Normal((3072,))),
            lambda lib, a, w, b: _functional(lib).gelu(a @ w + b, approximate="tanh"),
            lambda a, w, b: _jax_nn().gelu(a @ w + b),
            operations=2 * 512 * 768 * 3072,
        ),
        Row(
            "gemv_4096x4096",
            (Normal((1, SIDE)), Normal((SIDE, SIDE))),
            lambda lib, a, w: a @ w,
            lambda a, w: a @ w,
            nbytes=SQUARE_BYTES,
        ),
        Row(
            "attention_1x12x512x64",
            (Normal((1, 12, 512, 64)),),
            lambda lib, q: _functional(lib).scaled_dot_product_attention(q, q, q),
            _jax_attention,
            operations=4 * 12 * 512 * 512 * 64,
        ),
    ]
    return found


def _product(size: int) -> Row:
    shape = (size, size)
    inputs = (Normal(shape), Normal(shape))
    return Row(
        f"sgemm_{size}",
        inputs,
        lambda lib, a, b: a @ b,
        lambda a, b: a @ b,
        operations=2 * size**3,
    )


def _jax_attention(q: Any) -> Any:
    scores = q @ q.swapaxes(-1, -2) * 0.125
    return _jax_nn().softmax(scores) @ q


def _jax_nn() -> Any:
    import jax

    return jax.nn


# --- elementwise ---------------------------------------------------------------------


def _elementwise() -> list[Row]:
    return [
        _square(
            "gelu_chain_4096",
            lambda lib, x: (
                _functional(lib).gelu(x * 2 + 1, approximate="tanh") * x.sigmoid()
            ),
            lambda x: _jax_nn().gelu(x * 2 + 1) * _jax_nn().sigmoid(x),
        ),
        _square("transpose_4096", lambda lib, x: x.t().contiguous(), lambda x: x.T + 0),
        Row(
            "broadcast_odd_strides",
            (Normal((333, 1, 517)), Normal((1, 97, 1)), Normal((517,))),
            lambda lib, a, b, c: (a * b + c) * b,
            lambda a, b, c: (a * b + c) * b,
            nbytes=4 * 333 * 97 * 517,
        ),
        Row(
            "permuted_add_96x257x511",
            (Normal((96, 257, 511)), Normal((511, 96, 257))),
            lambda lib, a, b: a + b.permute(1, 2, 0),
            lambda a, b: a + b.transpose(1, 2, 0),
            nbytes=3 * 4 * 96 * 257 * 511,
        ),
        Row(
            "dropout_4096",
            (Normal((SIDE, SIDE)),),
            lambda lib, x: _functional(lib).dropout(x, 0.5, training=True),
            nbytes=2 * SQUARE_BYTES,
            random=True,
        ),
    ]


# --- reductions ----------------------------------------------------------------------


def _reductions() -> list[Row]:
    million = (Normal((1 << 20,)),)
    return [
        _square("sum_all_4096", lambda lib, x: x.sum(), lambda x: x.sum(), 1),
        _square("sum_axis0_4096", lambda lib, x: x.sum(0), lambda x: x.sum(0), 1),
        _square(
            "softmax_4096", lambda lib, x: x.softmax(-1), lambda x: _jax_nn().softmax(x)
        ),
        Row(
            "cumsum_1m",
            million,
            lambda lib, x: x.cumsum(0),
            lambda x: x.cumsum(),
            nbytes=8 << 20,
        ),
        _square("cumsum_axis0_4096", lambda lib, x: x.cumsum(0), lambda x: x.cumsum(0)),
        _square("cumsum_axis1_4096", lambda lib, x: x.cumsum(1), lambda x: x.cumsum(1)),
        Row(
            "cross_entropy_512x32000",
            (Normal((512, 32000)), Integers((512,), 32000)),
            lambda lib, x, y: _functional(lib).cross_entropy(x, y),
            _jax_cross_entropy,
            nbytes=512 * 32000 * 4,
        ),
        Row(
            "cross_entropy_backward_512x32000",
            (Normal((512, 32000)), Integers((512,), 32000)),
            lambda lib, x, y: gradients(
                lib, lambda x: _functional(lib).cross_entropy(x, y), None, x
            ),
            lambda x, y: _jax().grad(_jax_cross_entropy)(x, y),
            nbytes=2 * 512 * 32000 * 4,
        ),
    ]


def _jax() -> Any:
    import jax

    return jax


def _jax_cross_entropy(x: Any, y: Any) -> Any:
    chosen = _jax().numpy.take_along_axis(_jax_nn().log_softmax(x), y[:, None], 1)
    return -chosen.mean()


# --- convolutions --------------------------------------------------------------------


def _convolutions() -> list[Row]:
    return [
        _convolution("conv3x3_8x64x56x56", (8, 64, 56, 56), (64, 64, 3, 3), padding=1),
        _convolution("conv1x1_8x256x28x28", (8, 256, 28, 28), (128, 256, 1, 1)),
        _convolution(
            "conv3x3_stride2_8x64x56x56",
            (8, 64, 56, 56),
            (128, 64, 3, 3),
            stride=2,
            padding=1,
        ),
        _convolution(
            "conv7x7_stride2_8x3x224x224",
            (8, 3, 224, 224),
            (64, 3, 7, 7),
            stride=2,
            padding=3,
        ),
        _convolution(
            "conv_depthwise3x3_8x128x56x56",
            (8, 128, 56, 56),
            (128, 1, 3, 3),
            padding=1,
            groups=128,
        ),
        Row(
            "conv_transposed4x4_8x64x28x28",
            (Normal((8, 64, 28, 28)), Normal((64, 32, 4, 4))),
            lambda lib, x, w: _functional(lib).conv_transpose2d(
                x, w, stride=2, padding=1
            ),
            operations=2 * 8 * 64 * 28 * 28 * 32 * 16,
        ),
        Row(
            "conv3x3_backward_8x64x56x56",
            (
                Normal((8, 64, 56, 56)),
                Normal((64, 64, 3, 3)),
                Normal((8, 64, 56, 56)),
            ),
            lambda lib, x, w, g: gradients(
                lib, lambda x, w: _functional(lib).conv2d(x, w, padding=1), g, x, w
            ),
            lambda x, w, g: jax_gradients(
                lambda x, w: _jax_convolution(x, w, 1, 1, 1), g, x, w
            ),
            operations=4 * 8 * 64 * 64 * 9 * 56 * 56,
        ),
    ]


def _convolution(
    name: str,
    image: tuple[int, ...],
    weight: tuple[int, ...],
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
) -> Row:
    side = (image[2] + 2 * padding - weight[2]) // stride + 1
    taps = weight[1] * weight[2] * weight[3]
    return Row(
        name,
        (Normal(image), Normal(weight)),
        lambda lib, x, w: _functional(lib).conv2d(
            x, w, stride=stride, padding=padding, groups=groups
        ),
        lambda x, w: _jax_convolution(x, w, stride, padding, groups),
        operations=2 * image[0] * weight[0] * side * side * taps,
    )


def _jax_convolution(x: Any, w: Any, stride: int, padding: int, groups: int) -> Any:
    return _jax().lax.conv_general_dilated(
        x,
        w,
        (stride, stride),
        [(padding, padding)] * 2,
        feature_group_count=groups,
    )


# --- normalisations ------------------------------------------------------------------


def _normalisations() -> list[Row]:
    matrix, vector = Normal((SIDE, SIDE)), Normal((SIDE,))
    image, channel = Normal((32, 64, 56, 56)), Normal((64,))
    image_bytes = 32 * 64 * 56 * 56 * 4
    return [
        Row(
            "layernorm_4096",
            (matrix,),
            lambda lib, x: _functional(lib).layer_norm(x, (SIDE,)),
            _jax_layer_norm,
            nbytes=2 * SQUARE_BYTES,
        ),
        Row(
            "layernorm_backward_4096",
            (matrix, vector, vector, matrix),
            lambda lib, x, w, b, g: gradients(
                lib, lambda *a: _functional(lib).layer_norm(a[0], (SIDE,), *a[1:]),
                g, x, w, b,
            ),
            lambda x, w, b, g: jax_gradients(
                lambda x, w, b: _jax_layer_norm(x) * w + b, g, x, w, b
            ),
            nbytes=3 * SQUARE_BYTES,
        ),
        Row(
            "batchnorm_32x64x56x56",
            (image, channel, channel),
            lambda lib, x, w, b: _batch_norm(lib, x, w, b),
            _jax_batch_norm,
            nbytes=3 * image_bytes,
        ),
        Row(
            "batchnorm_backward_32x64x56x56",
            (image, channel, channel, image),
            lambda lib, x, w, b, g: gradients(
                lib, lambda *a: _batch_norm(lib, *a), g, x, w, b
            ),
            lambda x, w, b, g: jax_gradients(_jax_batch_norm, g, x, w, b),
            nbytes=6 * image_bytes,
        ),
    ]  # fmt: skip


def _batch_norm(library: Any, x: Any, weight: Any, bias: Any) -> Any:
    return _functional(library).batch_norm(
        x, None, None, weight=weight, bias=bias, training=True
    )


def _jax_layer_norm(x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    variance = x.var(-1, keepdims=True)
    return centred * _jax().lax.rsqrt(variance + 1e-5)


def _jax_batch_norm(x: Any, w: Any, b: Any) -> Any:
    mean = x.mean((0, 2, 3), keepdims=True)
    variance = x.var((0, 2, 3), keepdims=True)
    scale = _jax().lax.rsqrt(variance + 1e-5) * w[:, None, None]
    return (x - mean) * scale + b[:, None, None]


# --- indexing ------------------------------------------------------------------------


def _indexing() -> list[Row]:
    words, table = Integers((8192,), 32000), Normal((32000, 768))
    nbytes = 2 * 8192 * 768 * 4
    return [
        Row(
            "embedding_32000x768",
            (words, table),
            lambda lib, i, w: _functional(lib).embedding(i, w),
            lambda i, w: w[i],
            nbytes=nbytes,
        ),
        Row(
            "embedding_backward_32000x768",
            (words, table, Normal((8192, 768))),
            lambda lib, i, w, g: gradients(
                lib, lambda w: _functional(lib).embedding(i, w), g, w
            ),
            lambda i, w, g: jax_gradients(lambda w: w[i], g, w),
            nbytes=nbytes + 32000 * 768 * 4,
        ),
    ]


# --- orders --------------------------------------------------------------------------


def _orders() -> list[Row]:
    million = (Normal((1 << 20,)),)
    return [
        Row(
            "sort_1m",
            million,
            lambda lib, x: x.sort().values,
            lambda x: _jax().numpy.sort(x),
        ),
        Row(
            "topk100_1m",
            million,
            lambda lib, x: x.topk(100).values,
            lambda x: _jax().lax.top_k(x, 100)[0],
        ),
        Row(
            "sort_1024x1024",
            (Normal((1024, 1024)),),
            lambda lib, x: x.sort(-1).values,
            lambda x: _jax().numpy.sort(x, -1),
        ),
        Row(
            "argmax_4096",
            (Normal((SIDE, SIDE)),),
            lambda lib, x: x.argmax(-1),
            lambda x: x.argmax(-1),
            nbytes=SQUARE_BYTES,
        ),
        Row(
            "multinomial1_32x32000",
            (Normal((32, 32000)),),
            lambda lib, x: x.exp().multinomial(1),
            random=True,
        ),
    ]


# --- pools ---------------------------------------------------------------------------


def _pools() -> list[Row]:
    image = Normal((32, 64, 56, 56))
    pooled = Normal((32, 64, 28, 28))
    image_bytes = 32 * 64 * 56 * 56 * 4
    return [
        Row(
            "maxpool3x3_stride2_32x64x56x56",
            (image,),
            lambda lib, x: _functional(lib).max_pool2d(x, 3, 2, 1),
            _jax_max_pool,
            nbytes=image_bytes * 5 // 4,
        ),
        Row(
            "maxpool3x3_backward_32x64x56x56",
            (image, pooled),
            lambda lib, x, g: gradients(
                lib, lambda x: _functional(lib).max_pool2d(x, 3, 2, 1), g, x
            ),
            lambda x, g: jax_gradients(_jax_max_pool, g, x),
            nbytes=image_bytes * 9 // 4,
        ),
        Row(
            "avgpool2x2_32x64x56x56",
            (image,),
            lambda lib, x: _functional(lib).avg_pool2d(x, 2),
            lambda x: x.reshape(32, 64, 28, 2, 28, 2).mean((3, 5)),
            nbytes=image_bytes * 5 // 4,
        ),
        Row(
            "avgpool2x2_backward_32x64x56x56",
            (image, pooled),
            lambda lib, x, g: gradients(
                lib, lambda x: _functional(lib).avg_pool2d(x, 2), g, x
            ),
            lambda x, g: jax_gradients(
                lambda x: x.reshape(32, 64, 28, 2, 28, 2).mean((3, 5)), g, x
            ),
            nbytes=image_bytes * 5 // 4,
        ),
    ]


def _jax_max_pool(x: Any) -> Any:
    padding = ((0, 0), (0, 0), (1, 1), (1, 1))
    return _jax().lax.reduce_window(
        x, -np.inf, _jax().lax.max, (1, 1, 3, 3), (1, 1, 2, 2), padding
    )
