"""The functions of PyTorch's ``nn.functional``, by assignment.

Most are methods of Tensor; the few that take ``inplace`` or have no method are here.
"""

from __future__ import annotations

from tetragrad.tensor.tensor import Tensor

# --- activations ----------------------------------------------------------------------


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0)."""
    return input.relu_() if inplace else input.relu()


def leaky_relu(
    input: Tensor, negative_slope: float = 0.01, inplace: bool = False
) -> Tensor:
    """x, times ``negative_slope`` below zero."""
    result = input.leaky_relu(negative_slope)
    return input.copy_(result) if inplace else result


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    return input.silu_() if inplace else input.silu()


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above zero, alpha * (exp(x) - 1) below."""
    result = input.elu(alpha)
    return input.copy_(result) if inplace else result


def dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """In training, zeros with probability p, the rest scaled by 1 / (1 - p)."""
    result = input.dropout(p, training)
    return input.copy_(result) if inplace else result


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Dropout of whole channels."""
    shape = (*input.shape[:2], *(1 for _ in input.shape[2:]))
    return input * Tensor.ones(shape, dtype=input.dtype).dropout(p, training)


def gumbel_softmax(
    logits: Tensor, tau: float = 1.0, hard: bool = False, dim: int = -1
) -> Tensor:
    """A softmax with noise, so that its largest entry is a random draw.

    With ``hard`` the value is one-hot and the gradient that of the soft one.
    """
    noise = -(-(1 - logits.rand_like()).log()).log()
    soft = ((logits + noise) / tau).softmax(dim)
    if not hard:
        return soft
    index = soft.argmax(dim, keepdim=True)
    one_hot = soft.zeros_like().scatter(dim, index, value=1.0)
    return one_hot - soft.detach() + soft


prelu = Tensor.prelu
celu = Tensor.celu
gelu = Tensor.gelu
glu = Tensor.glu
hardshrink = Tensor.hardshrink
hardsigmoid = Tensor.hardsigmoid
hardswish = Tensor.hardswish
hardtanh = Tensor.hardtanh
log_softmax = Tensor.log_softmax
logsigmoid = Tensor.logsigmoid
mish = Tensor.mish
relu6 = Tensor.relu6
selu = Tensor.selu
sigmoid = Tensor.sigmoid
softmax = Tensor.softmax
softmin = Tensor.softmin
softplus = Tensor.softplus
softshrink = Tensor.softshrink
softsign = Tensor.softsign
tanh = Tensor.tanh
tanhshrink = Tensor.tanhshrink
threshold = Tensor.threshold

# --- layers ---------------------------------------------------------------------------


def bilinear(
    input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """y[o] = Σ x1[i] * weight[o, i, j] * x2[j] + bias[o]."""
    from tetragrad.tensor.einsum import einsum

    product = einsum("...i,oij,...j->...o", input1, weight, input2)
    return product if bias is None else product + bias


linear = Tensor.linear
embedding = Tensor.embedding
one_hot = Tensor.one_hot
scaled_dot_product_attention = Tensor.scaled_dot_product_attention
conv1d = Tensor.conv1d
conv2d = Tensor.conv2d
conv3d = Tensor.conv3d
conv_transpose1d = Tensor.conv_transpose1d
conv_transpose2d = Tensor.conv_transpose2d
conv_transpose3d = Tensor.conv_transpose3d
avg_pool1d = Tensor.avg_pool1d
avg_pool2d = Tensor.avg_pool2d
avg_pool3d = Tensor.avg_pool3d
max_pool1d = Tensor.max_pool1d
max_pool2d = Tensor.max_pool2d
max_pool3d = Tensor.max_pool3d
adaptive_avg_pool1d = Tensor.adaptive_avg_pool1d
adaptive_avg_pool2d = Tensor.adaptive_avg_pool2d
adaptive_avg_pool3d = Tensor.adaptive_avg_pool3d
adaptive_max_pool1d = Tensor.adaptive_max_pool1d
adaptive_max_pool2d = Tensor.adaptive_max_pool2d
adaptive_max_pool3d = Tensor.adaptive_max_pool3d
batch_norm = Tensor.batch_norm
group_norm = Tensor.group_norm
instance_norm = Tensor.instance_norm
layer_norm = Tensor.layer_norm
local_response_norm = Tensor.local_response_norm
normalize = Tensor.normalize
rms_norm = Tensor.rms_norm
interpolate = Tensor.interpolate
pad = Tensor.pad
pixel_shuffle = Tensor.pixel_shuffle
pixel_unshuffle = Tensor.pixel_unshuffle

# --- distances and losses -------------------------------------------------------------

cosine_similarity = Tensor.cosine_similarity
pairwise_distance = Tensor.pairwise_distance
binary_cross_entropy = Tensor.binary_cross_entropy
binary_cross_entropy_with_logits = Tensor.binary_cross_entropy_with_logits
cosine_embedding_loss = Tensor.cosine_embedding_loss
cross_entropy = Tensor.cross_entropy
gaussian_nll_loss = Tensor.gaussian_nll_loss
hinge_embedding_loss = Tensor.hinge_embedding_loss
huber_loss = Tensor.huber_loss
kl_div = Tensor.kl_div
l1_loss = Tensor.l1_loss
margin_ranking_loss = Tensor.margin_ranking_loss
mse_loss = Tensor.mse_loss
nll_loss = Tensor.nll_loss
poisson_nll_loss = Tensor.poisson_nll_loss
smooth_l1_loss = Tensor.smooth_l1_loss
soft_margin_loss = Tensor.soft_margin_loss
triplet_margin_loss = Tensor.triplet_margin_loss
