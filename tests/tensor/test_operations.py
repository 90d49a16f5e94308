"""Reductions, movement, contraction, layers and losses against PyTorch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import tetragrad
from tests.tensor.comparison import Case, assert_same, check, ours, theirs, torch

SQUARE = ((4, 4),)
CUBE = ((2, 3, 4),)


REDUCTIONS = [
    Case("sum", lambda _, x: x.sum()),
    Case("sum_dim", lambda _, x: x.sum(1), CUBE),
    Case("sum_dims", lambda _, x: x.sum((0, -1)), CUBE),
    Case("sum_keep", lambda _, x: x.sum(dim=1, keepdim=True), CUBE),
    Case("sum_0d", lambda _, x: x.sum(), ((),)),
    Case("sum_0d_dim", lambda _, x: x.sum(0), ((),)),
    Case("sum_empty", lambda _, x: x.sum(0), ((0, 3),)),
    Case("sum_dtype", lambda T, x: x.sum(dtype=T.float64)),
    Case("mean", lambda _, x: x.mean()),
    Case("mean_dim", lambda _, x: x.mean(-1, keepdim=True)),
    Case("mean_empty", lambda _, x: x.mean(0), ((0, 3),), gradient=False),
    Case("prod", lambda _, x: x.prod()),
    Case("prod_dim", lambda _, x: x.prod(1)),
    Case("max", lambda _, x: x.max()),
    Case("max_dim", lambda _, x: x.max(1)),
    Case("min_dim", lambda _, x: x.min(0, keepdim=True)),
    Case("amax", lambda _, x: x.amax((0, 1))),
    Case("amin", lambda _, x: x.amin(1)),
    Case("argmax", lambda _, x: (x.argmax(), x.argmax(1), x.argmin(0, keepdim=True))),
    Case("all_any", lambda _, x: ((x > 0).all(), (x > 0).any(1), (x < 9).all(0))),
    Case("all_empty", lambda _, x: ((x > 0).all(), (x > 0).any()), ((0,),)),
    Case("count_nonzero", lambda _, x: (x.count_nonzero(), (x > 0).count_nonzero(1))),
    Case("var", lambda _, x: x.var()),
    Case("var_dim", lambda _, x: x.var(1, keepdim=True)),
    Case("var_biased", lambda _, x: x.var(1, unbiased=False)),
    Case("var_correction", lambda _, x: x.var(0, correction=0)),
    Case("std", lambda _, x: x.std(1)),
    Case("var_mean", lambda T, x: T.var_mean(x, 1)),
    Case("norm", lambda _, x: x.norm()),
    Case("norm1", lambda _, x: x.norm(1, 1)),
    Case("norm3", lambda _, x: x.norm(3, 1, keepdim=True)),
    Case("norm_inf", lambda _, x: x.norm(float("inf"))),
    Case("logsumexp", lambda _, x: x.logsumexp(1)),
    Case("logsumexp_dims", lambda _, x: x.logsumexp((0, 1), keepdim=True)),
    Case("nansum", lambda _, x: x.nansum(1)),
    Case("median", lambda _, x: x.median(), gradient=False),
    Case("median_dim", lambda _, x: x.median(1)),
    Case("quantile", lambda _, x: x.quantile(0.3, 1)),
    Case("cumsum", lambda _, x: x.cumsum(1)),
    Case("cumprod", lambda _, x: x.cumprod(0)),
    Case("cummax", lambda _, x: x.cummax(1)),
    Case("cummin", lambda _, x: x.cummin(0)),
    Case("logcumsumexp", lambda _, x: x.logcumsumexp(1)),
    Case("diff", lambda _, x: x.diff(dim=1)),
]

MOVEMENT = [
    Case("reshape", lambda _, x: x.reshape(4, -1)),
    Case("view_t", lambda _, x: x.t().reshape(-1)),
    Case("permute", lambda _, x: x.permute(2, 0, 1), CUBE),
    Case("transpose", lambda _, x: x.transpose(0, -1), CUBE),
    Case("T", lambda _, x: x.T),
    Case("mT", lambda _, x: x.mT, CUBE),
    Case("squeeze", lambda _, x: (x.squeeze(), x.squeeze(0), x.squeeze(1)), ((1, 3),)),
    Case("unsqueeze", lambda _, x: (x.unsqueeze(0), x.unsqueeze(-1))),
    Case("flatten", lambda _, x: (x.flatten(), x.flatten(1)), CUBE),
    Case("unflatten", lambda _, x: x.unflatten(1, (2, -1))),
    Case("expand", lambda _, x: x.expand(2, -1, 4), ((3, 1),)),
    Case("repeat", lambda _, x: x.repeat(2, 1, 3)),
    Case("tile", lambda _, x: x.tile(2)),
    Case("repeat_interleave", lambda _, x: x.repeat_interleave(2, 1)),
    Case(
        "repeat_interleave_counts",
        lambda T, x: x.repeat_interleave(T.tensor([1, 0, 2]), 0),
    ),
    Case("cat", lambda T, x, y: T.cat([x, y, x], 1), ((3, 2), (3, 4))),
    Case("cat_empty", lambda T, x, y: T.cat([x, y]), ((0,), (3, 4)), gradient=False),
    Case("stack", lambda T, x, y: T.stack([x, y], -1), ((3, 4), (3, 4))),
    Case("hstack", lambda T, x, y: T.hstack([x, y]), ((3, 2), (3, 4))),
    Case("vstack", lambda T, x, y: T.vstack([x, y]), ((4,), (3, 4))),
    Case("split", lambda _, x: x.split(2, 1), ((2, 5),)),
    Case("split_sizes", lambda _, x: x.split([1, 4], 1), ((2, 5),)),
    Case("chunk", lambda _, x: x.chunk(3), ((7, 2),)),
    Case("tensor_split", lambda _, x: x.tensor_split(3), ((7, 2),)),
    Case("unbind", lambda _, x: x.unbind(1)),
    Case("narrow", lambda _, x: x.narrow(1, 1, 2)),
    Case("flip", lambda _, x: x.flip(0, 1)),
    Case("roll", lambda _, x: (x.roll(1), x.roll(-2, 1), x.roll((1, 2), (0, 1)))),
    Case("rot90", lambda _, x: (x.rot90(), x.rot90(2), x.rot90(3), x.rot90(1, (1, 0)))),
    Case("movedim", lambda _, x: (x.movedim(0, -1), x.movedim((0, 1), (1, 2))), CUBE),
    Case("unfold", lambda _, x: x.unfold(1, 3, 2), ((2, 7),)),
    Case("diagonal", lambda _, x: (x.diagonal(), x.diagonal(1), x.diagonal(-2))),
    Case("diagonal3", lambda _, x: x.diagonal(1, 0, 2), CUBE),
    Case("diag", lambda _, x: x.diag(1), ((3,),)),
    Case("diag_embed", lambda _, x: x.diag_embed(-1)),
    Case("trace", lambda _, x: x.trace()),
    Case("tril", lambda _, x: (x.tril(), x.tril(1), x.triu(-1))),
    Case("pad", lambda T, x: T.nn.functional.pad(x, (1, 2, 0, 1), value=3.0)),
    Case("pad_negative", lambda T, x: T.nn.functional.pad(x, (-1, 2))),
    *[
        Case(
            f"pad_{mode}",
            lambda T, x, m=mode: T.nn.functional.pad(x, (2, 1, 1, 2), mode=m),
            ((1, 2, 4, 5),),
        )
        for mode in ("reflect", "replicate", "circular")
    ],
    Case("broadcast_to", lambda _, x: x.broadcast_to(2, 3, 4)),
    Case("meshgrid", lambda T, x, y: T.meshgrid(x, y, indexing="ij"), ((2,), (3,))),
    Case("meshgrid_xy", lambda T, x, y: T.meshgrid(x, y, indexing="xy"), ((2,), (3,))),
    Case("block_diag", lambda T, x, y: T.block_diag(x, y), ((2, 3), (1, 2))),
    Case("pixel_shuffle", lambda T, x: T.pixel_shuffle(x, 2), ((1, 8, 2, 3),)),
    Case("pixel_unshuffle", lambda T, x: T.pixel_unshuffle(x, 2), ((1, 2, 4, 6),)),
]

INDEX = np.array([[0, 2, 1], [1, 1, 0]])
GATHERING = [
    Case("gather", lambda T, x: x.gather(0, T.tensor(INDEX))),
    Case("gather1", lambda T, x: x.gather(1, T.tensor(INDEX))),
    Case(
        "take_along_dim",
        lambda T, x: x.take_along_dim(T.tensor(INDEX[:1]), 0),
        ((3, 3),),
    ),
    Case("index_select", lambda T, x: x.index_select(1, T.tensor([3, 0, 0]))),
    Case("take", lambda T, x: x.take(T.tensor([[0, 5], [11, 5]]))),
    Case(
        "scatter",
        lambda T, x, y: x.scatter(1, T.tensor([[0, 2, 1]]), y),
        ((3, 4), (1, 3)),
    ),
    Case("scatter_value", lambda T, x: x.scatter(0, T.tensor([[0, 2, 1]]), 7.0)),
    Case(
        "scatter_add",
        lambda T, x, y: x.scatter_add(0, T.tensor(INDEX), y),
        ((3, 4), (2, 3)),
    ),
    *[
        Case(
            f"scatter_{how}",
            lambda T, x, y, h=how: x.scatter_reduce(0, T.tensor(INDEX), y, h),
            ((3, 4), (2, 3)),
            0.5,
            2.0,
        )
        for how in ("sum", "prod", "mean", "amax", "amin")
    ],
    Case(
        "scatter_without_self",
        lambda T, x, y: x.scatter_reduce(
            0, T.tensor(INDEX), y, "sum", include_self=False
        ),
        ((3, 4), (2, 3)),
    ),
    Case(
        "index_add",
        lambda T, x, y: x.index_add(1, T.tensor([0, 0, 2]), y, alpha=2),
        ((3, 4), (3, 3)),
    ),
    Case(
        "index_copy",
        lambda T, x, y: x.index_copy(0, T.tensor([2, 0]), y),
        ((3, 4), (2, 4)),
    ),
    Case("index_fill", lambda T, x: x.index_fill(1, T.tensor([0, 2]), 5.0)),
    Case("masked_select", lambda _, x: x.masked_select(x > 0)),
    Case("nonzero", lambda _, x: (x > 0).nonzero()),
    Case("sort", lambda _, x: x.sort()),
    Case("sort_descending", lambda _, x: x.sort(0, descending=True)),
    Case("argsort", lambda _, x: x.argsort(1)),
    Case("topk", lambda _, x: x.topk(2)),
    Case("topk_smallest", lambda _, x: x.topk(2, 0, largest=False)),
    Case("kthvalue", lambda _, x: x.kthvalue(2)),
    Case("long_sort", lambda _, x: x.sort(), ((2, 2100),)),
    Case("unique", lambda _, x: (x > 0).long().unique(return_counts=True)),
    Case(
        "searchsorted",
        lambda T, x, y: T.searchsorted(x.sort().values, y),
        ((5,), (3, 2)),
    ),
    Case(
        "bucketize",
        lambda T, x, y: T.bucketize(x, y.sort().values, right=True),
        ((5,), (3,)),
    ),
    Case("histc", lambda _, x: x.histc(4, -1, 1), gradient=False),
    Case("isin", lambda T, x: T.isin((x * 3).long(), T.tensor([1, 2]))),
    Case("bincount", lambda T, x: T.bincount((x * 3).long() ** 2), ((7,),)),
    Case("one_hot", lambda T, x: T.nn.functional.one_hot((x * 2).long() ** 2, 17)),
]

CONTRACTIONS = [
    *[
        Case(f"matmul{a}{b}", lambda _, x, y: x @ y, (a, b))
        for a, b in [
            ((3,), (3,)),
            ((2, 3), (3,)),
            ((3,), (3, 4)),
            ((2, 3), (3, 4)),
            ((5, 2, 3), (3,)),
            ((3,), (5, 3, 4)),
            ((5, 2, 3), (3, 4)),
            ((5, 1, 2, 3), (4, 3, 2)),
            ((2, 0), (0, 3)),
            ((0, 3), (3, 2)),
        ]
    ],
    Case("mm", lambda _, x, y: x.mm(y), ((2, 3), (3, 4))),
    Case("bmm", lambda _, x, y: x.bmm(y), ((5, 2, 3), (5, 3, 4))),
    Case("mv", lambda _, x, y: x.mv(y), ((2, 3), (3,))),
    Case("dot", lambda _, x, y: x.dot(y), ((3,), (3,))),
    Case("outer", lambda _, x, y: x.outer(y), ((3,), (4,))),
    Case("addmm", lambda _, x, y, z: x.addmm(y, z, beta=2), ((4,), (2, 3), (3, 4))),
    Case("kron", lambda T, x, y: T.kron(x, y), ((2, 3), (3, 2))),
    Case("tensordot", lambda T, x, y: T.tensordot(x, y, 2), ((2, 3, 4), (3, 4, 5))),
    Case(
        "tensordot_dims",
        lambda T, x, y: T.tensordot(x, y, ([0, 2], [1, 0])),
        ((2, 3, 4), (4, 2, 5)),
    ),
    Case(
        "linear",
        lambda T, x, w, b: T.nn.functional.linear(x, w, b),
        ((2, 3), (4, 3), (4,)),
    ),
    *[
        Case(equation, lambda T, *v, e=equation: T.einsum(e, *v), shapes)
        for equation, shapes in [
            ("ij,jk->ik", ((2, 3), (3, 4))),
            ("ij,jk", ((2, 3), (3, 4))),
            ("bij,bjk->bik", ((2, 3, 4), (2, 4, 5))),
            ("ii->i", SQUARE),
            ("ii", SQUARE),
            ("ij->ji", ((2, 3),)),
            ("ij->", ((2, 3),)),
            ("i,j->ij", ((2,), (3,))),
            ("...ij,...jk->...ik", ((5, 2, 3), (3, 4))),
            ("bhqd,bhkd->bhqk", ((2, 2, 3, 4), (2, 2, 5, 4))),
            ("ij,jk,kl->il", ((2, 3), (3, 4), (4, 2))),
            ("i...->...", ((2, 3, 4),)),
            ("a,ab,b->", ((2,), (2, 3), (3,))),
        ]
    ],
]

LAYERS = [
    *[
        Case(
            f"conv{dims}d-{options}",
            lambda T, x, w, b, n=dims, o=options: getattr(T.nn.functional, f"conv{n}d")(
                x, w, b, **o
            ),
            (x, w, (w[0],)),
            scale=4.0,
        )
        for x, w, options in [
            ((2, 3, 7), (4, 3, 3), {}),
            ((2, 4, 9), (6, 2, 3), {"stride": 2, "padding": 1, "groups": 2}),
            ((1, 3, 6, 7), (4, 3, 3, 2), {"padding": (1, 0)}),
            (
                (1, 3, 8, 7),
                (2, 3, 3, 3),
                {"stride": (2, 3), "dilation": 2, "padding": 2},
            ),
            ((1, 4, 5, 5), (4, 1, 3, 3), {"groups": 4, "padding": "same"}),
            ((1, 2, 5, 4), (3, 2, 2, 2), {"padding": "same", "dilation": 2}),
            ((1, 2, 4, 4, 3), (2, 2, 2, 3, 2), {"padding": 1, "stride": 2}),
        ]
        for dims in [len(x) - 2]
    ],
    *[
        Case(
            f"conv_transpose{dims}d-{options}",
            lambda T, x, w, b, n=dims, o=options: getattr(
                T.nn.functional, f"conv_transpose{n}d"
            )(x, w, b, **o),
            (x, w, (w[1] * options.get("groups", 1),)),
            scale=4.0,
        )
        for x, w, options in [
            ((2, 3, 5), (3, 4, 3), {}),
            ((2, 3, 5), (3, 2, 4), {"stride": 2, "padding": 1, "output_padding": 1}),
            ((1, 4, 3, 4), (4, 2, 3, 2), {"stride": (2, 3), "groups": 2}),
            ((1, 2, 3, 3), (2, 3, 3, 3), {"stride": 2, "dilation": 2, "padding": 1}),
            ((1, 2, 2, 3, 2), (2, 2, 2, 2, 2), {"stride": 2}),
        ]
        for dims in [len(x) - 2]
    ],
    Case(
        "conv_unbatched",
        lambda T, x, w: T.nn.functional.conv2d(x, w),
        ((3, 5, 5), (2, 3, 3, 3)),
        scale=4.0,
    ),
    *[
        Case(
            f"max_pool2d-{args}-{options}",
            lambda T, x, a=args, o=options: T.nn.functional.max_pool2d(x, *a, **o),
            ((2, 2, 7, 8),),
        )
        for args, options in [
            ((2,), {}),
            ((3, 2, 1), {}),
            (((2, 3), 1), {"dilation": 2}),
            ((3, 2), {"ceil_mode": True}),
            ((2, 2, 1), {"ceil_mode": True}),
            ((3, 2, 1), {"return_indices": True}),
        ]
    ],
    *[
        Case(
            f"avg_pool2d-{args}-{options}",
            lambda T, x, a=args, o=options: T.nn.functional.avg_pool2d(x, *a, **o),
            ((2, 2, 7, 8),),
        )
        for args, options in [
            ((2,), {}),
            ((3, 2, 1), {}),
            ((3, 2, 1), {"count_include_pad": False}),
            ((3, 2, 1), {"ceil_mode": True}),
            ((2, 3), {"ceil_mode": True, "count_include_pad": False}),
            ((2,), {"divisor_override": 3}),
        ]
    ],
    Case("max_pool1d", lambda T, x: T.nn.functional.max_pool1d(x, 3, 2, 1), CUBE),
    Case("avg_pool1d", lambda T, x: T.nn.functional.avg_pool1d(x, 2), CUBE),
    Case(
        "max_pool3d", lambda T, x: T.nn.functional.max_pool3d(x, 2), ((1, 2, 4, 4, 4),)
    ),
    Case(
        "avg_pool3d", lambda T, x: T.nn.functional.avg_pool3d(x, 2), ((1, 2, 4, 4, 4),)
    ),
    *[
        Case(
            f"adaptive_{kind}_pool2d-{size}",
            lambda T, x, k=kind, s=size: getattr(
                T.nn.functional, f"adaptive_{k}_pool2d"
            )(x, s),
            ((1, 2, 7, 8),),
        )
        for kind in ("avg", "max")
        for size in (1, 4, (3, 5), (None, 2))
    ],
    Case(
        "adaptive_avg_pool1d",
        lambda T, x: T.nn.functional.adaptive_avg_pool1d(x, 3),
        CUBE,
    ),
    Case("layer_norm", lambda T, x: T.nn.functional.layer_norm(x, (4,)), scale=4.0),
    Case(
        "layer_norm_affine",
        lambda T, x, w, b: T.nn.functional.layer_norm(x, (3, 4), w, b),
        ((2, 3, 4), (3, 4), (3, 4)),
        scale=4.0,
    ),
    Case(
        "rms_norm",
        lambda T, x, w: T.nn.functional.rms_norm(x, (4,), w),
        ((3, 4), (4,)),
        scale=4.0,
    ),
    Case(
        "group_norm",
        lambda T, x, w, b: T.nn.functional.group_norm(x, 2, w, b),
        ((2, 4, 3), (4,), (4,)),
        scale=8.0,
    ),
    Case(
        "instance_norm",
        lambda T, x: T.nn.functional.instance_norm(x),
        ((2, 3, 5),),
        scale=8.0,
    ),
    Case(
        "batch_norm",
        lambda T, x, w, b: T.nn.functional.batch_norm(
            x, x.new_zeros(3), x.new_ones(3), w, b, training=True
        ),
        ((4, 3, 2), (3,), (3,)),
        scale=8.0,
    ),
    Case(
        "batch_norm_eval",
        lambda T, x, w, b: T.nn.functional.batch_norm(
            x, x.new_zeros(3), x.new_ones(3), w, b
        ),
        ((4, 3, 2), (3,), (3,)),
    ),
    Case(
        "local_response_norm",
        lambda T, x: T.nn.functional.local_response_norm(x, 3),
        ((2, 5, 3),),
    ),
    Case("normalize", lambda T, x: T.nn.functional.normalize(x)),
    Case("cosine_similarity", lambda T, x, y: T.cosine_similarity(x, y), ((3, 4),) * 2),
    Case("cdist", lambda T, x, y: T.cdist(x, y), ((3, 4), (5, 4))),
    Case(
        "attention",
        lambda T, q, k, v: T.nn.functional.scaled_dot_product_attention(q, k, v),
        ((2, 3, 4),) * 3,
    ),
    Case(
        "attention_causal",
        lambda T, q, k, v: T.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True
        ),
        ((2, 3, 4), (2, 5, 4), (2, 5, 4)),
    ),
    Case(
        "attention_mask",
        lambda T, q, k, v, m: T.nn.functional.scaled_dot_product_attention(q, k, v, m),
        ((2, 3, 4), (2, 5, 4), (2, 5, 4), (3, 5)),
    ),
    Case(
        "attention_gqa",
        lambda T, q, k, v: T.nn.functional.scaled_dot_product_attention(
            q, k, v, enable_gqa=True
        ),
        ((1, 4, 3, 4), (1, 2, 5, 4), (1, 2, 5, 4)),
    ),
    Case(
        "embedding",
        lambda T, w: T.nn.functional.embedding(T.tensor([[0, 2], [2, 1]]), w),
    ),
    Case(
        "embedding_padding",
        lambda T, w: T.nn.functional.embedding(T.tensor([0, 2, 2]), w, padding_idx=2),
    ),
    *[
        Case(
            f"interpolate-{options}",
            lambda T, x, o=options: T.nn.functional.interpolate(x, **o),
            ((1, 2, 4, 5),),
        )
        for options in [
            {"scale_factor": 2},
            {"size": (3, 7)},
            {"size": (3, 7), "mode": "nearest-exact"},
            {"scale_factor": 2, "mode": "bilinear"},
            {"size": (3, 9), "mode": "bilinear", "align_corners": True},
            {"scale_factor": 1.5, "mode": "bilinear", "align_corners": False},
        ]
    ],
]

CLASSES = np.array([1, 0, 3])
LOSSES = [
    *[
        Case(
            f"cross_entropy-{options}",
            lambda T, x, o=options: T.nn.functional.cross_entropy(
                x, T.tensor(CLASSES), **o
            ),
        )
        for options in [
            {},
            {"reduction": "sum"},
            {"reduction": "none"},
            {"ignore_index": 0},
            {"label_smoothing": 0.1},
            {"label_smoothing": 0.1, "ignore_index": 3, "reduction": "none"},
        ]
    ],
    Case(
        "cross_entropy_weight",
        lambda T, x: T.nn.functional.cross_entropy(
            x, T.tensor(CLASSES), T.tensor([0.1, 0.2, 0.3, 0.4], dtype=x.dtype)
        ),
    ),
    Case(
        "cross_entropy_weight_smoothing",
        lambda T, x: T.nn.functional.cross_entropy(
            x,
            T.tensor(CLASSES),
            T.tensor([0.1, 0.2, 0.3, 0.4], dtype=x.dtype),
            label_smoothing=0.2,
        ),
    ),
    Case(
        "cross_entropy_probabilities",
        lambda T, x, y: T.nn.functional.cross_entropy(x, y.softmax(1)),
        ((3, 4),) * 2,
    ),
    Case(
        "cross_entropy_2d",
        lambda T, x: T.nn.functional.cross_entropy(
            x, T.tensor([[1, 0], [2, 2]]), ignore_index=0
        ),
        ((2, 3, 2),),
    ),
    Case("nll", lambda T, x: T.nn.functional.nll_loss(x, T.tensor(CLASSES))),
    *[
        Case(
            name,
            lambda T, x, y, n=name: getattr(T.nn.functional, n)(x, y),
            ((3, 4),) * 2,
        )
        for name in (
            "mse_loss l1_loss smooth_l1_loss huber_loss poisson_nll_loss "
            "binary_cross_entropy_with_logits"
        ).split()
    ],
    Case(
        "bce",
        lambda T, x, y: T.nn.functional.binary_cross_entropy(x, y),
        ((3, 4),) * 2,
        0.1,
        0.9,
    ),
    Case(
        "bce_pos_weight",
        lambda T, x, y, w: T.nn.functional.binary_cross_entropy_with_logits(
            x, y, pos_weight=w
        ),
        ((3, 4), (3, 4), (4,)),
        0.1,
        0.9,
        gradient=False,
    ),
    Case(
        "kl_batchmean",
        lambda T, x, y: T.nn.functional.kl_div(
            x, y, reduction="batchmean", log_target=True
        ),
        ((3, 4),) * 2,
    ),
    Case(
        "gaussian_nll",
        lambda T, x, y, v: T.nn.functional.gaussian_nll_loss(x, y, v),
        ((3, 4),) * 3,
        0.1,
        2.0,
    ),
    *[
        Case(
            name,
            lambda T, x, n=name: getattr(T.nn.functional, n)(
                x, T.tensor([1.0, -1.0, 1.0, -1.0], dtype=x.dtype)
            ),
        )
        for name in ("hinge_embedding_loss", "soft_margin_loss")
    ],
    Case(
        "cosine_embedding",
        lambda T, x, y: T.nn.functional.cosine_embedding_loss(
            x, y, T.tensor([1, -1, 1]), margin=0.1
        ),
        ((3, 4),) * 2,
    ),
    Case(
        "margin_ranking",
        lambda T, x, y: T.nn.functional.margin_ranking_loss(
            x, y, T.tensor([1, -1, 1]), margin=0.5
        ),
        ((3,),) * 2,
    ),
    Case(
        "triplet",
        lambda T, x, y, z: T.nn.functional.triplet_margin_loss(x, y, z),
        ((3, 4),) * 3,
    ),
]

ALL = [*REDUCTIONS, *MOVEMENT, *GATHERING, *CONTRACTIONS, *LAYERS, *LOSSES]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", ALL, ids=str)
def test_operation(case: Case, dtype: str) -> None:
    check(case, dtype)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", [*REDUCTIONS, *MOVEMENT], ids=str)
def test_operation_in_half_precision(case: Case, dtype: str) -> None:
    if case.name not in NOT_IN_HALF:
        check(case, dtype)


#: PyTorch's own rounding differs (running products), or it refuses the dtype.
NOT_IN_HALF = (
    "quantile", "cumprod", "logcumsumexp", "var", "norm3", "prod", "prod_dim",
    "pad_reflect", "pad_replicate",
)  # fmt: skip


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("case", [*REDUCTIONS[:6], *MOVEMENT], ids=str)
def test_operation_on_integers(case: Case, dtype: str) -> None:
    if (case.name, dtype) not in NOT_OF_INTEGERS:
        check(replace(case, low=0.0, high=20.0), dtype)


#: What PyTorch refuses.
NOT_OF_INTEGERS = (
    ("trace", "bool"),
    ("pad_reflect", "bool"),
    ("pad_replicate", "bool"),
)


TIES = np.array([[1.0, 3.0, 3.0, 0.0], [2.0, 2.0, np.nan, 2.0], [-0.0, 0.0, -1.0, 0.0]])


def test_ties_and_nan() -> None:
    mine, other = ours(TIES, "float32"), theirs(TIES, "float32")
    for program in [
        lambda x: x.max(1),
        lambda x: x.argmax(1),
        lambda x: x.argmin(0),
        lambda x: x.sort(dim=1, stable=True),
        lambda x: x.sort(dim=1, descending=True, stable=True),
        lambda x: x.amax(0),
        lambda x: x.cummax(1),
        lambda x: x.median(1).values,
        lambda x: x.isnan().any(1),
    ]:
        assert_same(program(mine), program(other))


def test_running_statistics_follow_the_batch() -> None:
    array = np.arange(12.0).reshape(4, 3)
    mine = tetragrad.zeros(3), tetragrad.ones(3)
    other = torch.zeros(3), torch.ones(3)
    ours(array, "float32").batch_norm(*mine, training=True)
    torch.nn.functional.batch_norm(theirs(array, "float32"), *other, training=True)
    assert_same(mine, other)
