"""Operators of PyTorch's list that are not run, and those compared by form only.

A name is excluded if a numerical user does not reach it (a private operator behind a
public function that is in the list), or if what it is about does not exist here by
design: strides of a storage, sparse layouts, kernels of CUDA's own.
"""

from __future__ import annotations

from typing import Any

_STRIDES = "is about the strides of a storage, which tensors here do not have"
_SPARSE = "is about sparse layouts, which do not exist here"
_CUDA = "is a kernel of PyTorch's CUDA backend"


def _behind(public: str) -> str:
    return f"is a private operator behind {public}, whose samples are run"


#: What is not run, with the reason.
EXCLUSIONS: dict[str, str] = {
    "as_strided": _STRIDES,
    "as_strided_copy": _STRIDES,
    "as_strided_scatter": _STRIDES,
    "empty_permuted": _STRIDES,
    "empty_strided": _STRIDES,
    "new_empty_strided": _STRIDES,
    "resize_": "changes the size of a storage, which has one here",
    "resize_as_": "changes the size of a storage, which has one here",
    "sparse.mm": _SPARSE,
    "sparse.sampled_addmm": _SPARSE,
    "to_sparse": _SPARSE,
    "jiterator_2inputs_2outputs": _CUDA,
    "jiterator_4inputs_with_extra_args": _CUDA,
    "jiterator_binary": _CUDA,
    "jiterator_binary_return_by_ref": _CUDA,
    "jiterator_unary": _CUDA,
    "torch._scaled_mm": _CUDA,
    "torch._scaled_mm_v2": _CUDA,
    "torch.ops.aten._efficient_attention_forward": _CUDA,
    "torch.ops.aten._flash_attention_forward": _CUDA,
    "_batch_norm_with_update": _behind("nn.functional.batch_norm"),
    "_chunk_cat": _behind("chunk and cat"),
    "_native_batch_norm_legit": _behind("nn.functional.batch_norm"),
    "_segment_reduce": "is a private prototype; scatter_reduce is run",
    "_softmax_backward_data": _behind("softmax, with its gradient"),
    "_unsafe_masked_index": _behind("__getitem__"),
    "_unsafe_masked_index_put_accumulate": _behind("index_put"),
    "_upsample_bilinear2d_aa": _behind("nn.functional.interpolate"),
    "grid_sampler_2d": _behind("nn.functional.grid_sample"),
    "grid_sampler_3d": _behind("nn.functional.grid_sample"),
    "slice": _behind("__getitem__"),
    "max_pool2d_with_indices_backward": _behind("nn.functional.max_pool2d"),
    "native_batch_norm": _behind("nn.functional.batch_norm"),
    "native_dropout_backward": _behind("nn.functional.dropout"),
    "native_group_norm": _behind("nn.functional.group_norm"),
    "native_layer_norm": _behind("nn.functional.layer_norm"),
    "torch.ops.aten._safe_softmax.default": _behind("softmax"),
    "chalf": "converts to complex numbers of two halves, which NumPy does not have",
}

#: Values are drawn at random, or depend on vectors that are: shape and dtype are
#: compared.
DRAWN = frozenset(
    """
    bernoulli cauchy exponential geometric log_normal multinomial normal rand_like
    randint randint_like randn randn_like uniform nn.functional.alpha_dropout
    nn.functional.dropout nn.functional.dropout2d nn.functional.dropout3d
    nn.functional.feature_alpha_dropout nn.functional.fractional_max_pool2d
    nn.functional.fractional_max_pool3d nn.functional.rrelu
    nn.functional.multi_head_attention_forward pca_lowrank svd_lowrank
    """.split()
)

#: Values are whatever was in memory: shape and dtype are compared.
UNDEFINED = frozenset(["empty", "empty_like", "new_empty"])

#: One result says where values were found, and PyTorch leaves open which of several
#: equal elements that is. The place of ``dim`` among the arguments.
ANY_OF_EQUAL = {
    "argsort": 0,
    "kthvalue": 1,
    "median": 0,
    "mode": 0,
    "nanmedian": 0,
    "sort": 0,
    "topk": 1,
}


def leaves_place_open(name: str, number: int, sample: Any) -> bool:
    """Whether this part of a result may be the index of any of several equal elements.

    It follows the values; ``argsort`` gives nothing else.
    """
    is_place = number == (0 if name == "argsort" else 1)
    return name in ANY_OF_EQUAL and is_place and not sample.kwargs.get("stable")


def is_determined(name: str, sample: Any) -> bool:
    """Whether PyTorch says what the values of a sample's result are."""
    if name in DRAWN or name in UNDEFINED:
        return False
    return not sample.kwargs.get("dropout_p")
