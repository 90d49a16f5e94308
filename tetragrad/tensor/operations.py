"""Every function that PyTorch has, most of them methods by assignment.

``tetragrad.exp(x)``, also ``exp(input=x)``, is ``x.exp()``. What differs as a function
(its first argument may be a number, or a list of tensors) is written out in the module
of its family, and gathered here.
"""

from __future__ import annotations

from types import FunctionType

from tetragrad.tensor.arithmetic import where
from tetragrad.tensor.complex_numbers import imag, real
from tetragrad.tensor.derived import function_of
from tetragrad.tensor.functions import power as pow
from tetragrad.tensor.joining import (
    block_diag,
    cat,
    hstack,
    meshgrid,
    stack,
    vstack,
)
from tetragrad.tensor.movement import broadcast_tensors
from tetragrad.tensor.promotion import broadcast_shapes
from tetragrad.tensor.special_methods import polygamma
from tetragrad.tensor.tensor import Tensor

concat = concatenate = cat

abs = Tensor.abs
absolute = Tensor.absolute
acos = Tensor.acos
acosh = Tensor.acosh
adaptive_avg_pool1d = Tensor.adaptive_avg_pool1d
adaptive_avg_pool2d = Tensor.adaptive_avg_pool2d
adaptive_avg_pool3d = Tensor.adaptive_avg_pool3d
adaptive_max_pool1d = Tensor.adaptive_max_pool1d
adaptive_max_pool2d = Tensor.adaptive_max_pool2d
adaptive_max_pool3d = Tensor.adaptive_max_pool3d
add = Tensor.add
addbmm = Tensor.addbmm
addcdiv = Tensor.addcdiv
addcmul = Tensor.addcmul
addmm = Tensor.addmm
addmv = Tensor.addmv
addr = Tensor.addr
adjoint = Tensor.adjoint
alias_copy = Tensor.alias_copy
all = Tensor.all
allclose = Tensor.allclose
amax = Tensor.amax
amin = Tensor.amin
aminmax = Tensor.aminmax
angle = Tensor.angle
any = Tensor.any
arange = Tensor.arange
arccos = Tensor.arccos
arccosh = Tensor.arccosh
arcsin = Tensor.arcsin
arcsinh = Tensor.arcsinh
arctan = Tensor.arctan
arctan2 = Tensor.arctan2
arctanh = Tensor.arctanh
argmax = Tensor.argmax
argmin = Tensor.argmin
argsort = Tensor.argsort
argwhere = Tensor.argwhere
asin = Tensor.asin
asinh = Tensor.asinh
atan = Tensor.atan
atan2 = Tensor.atan2
atanh = Tensor.atanh
avg_pool1d = Tensor.avg_pool1d
avg_pool2d = Tensor.avg_pool2d
avg_pool3d = Tensor.avg_pool3d
baddbmm = Tensor.baddbmm
batch_norm = Tensor.batch_norm
bernoulli = Tensor.bernoulli
binary_cross_entropy = Tensor.binary_cross_entropy
binary_cross_entropy_with_logits = Tensor.binary_cross_entropy_with_logits
bincount = Tensor.bincount
bitwise_and = Tensor.bitwise_and
bitwise_left_shift = Tensor.bitwise_left_shift
bitwise_not = Tensor.bitwise_not
bitwise_or = Tensor.bitwise_or
bitwise_right_shift = Tensor.bitwise_right_shift
bitwise_xor = Tensor.bitwise_xor
bmm = Tensor.bmm
broadcast_to = Tensor.broadcast_to
bucketize = Tensor.bucketize
cdist = Tensor.cdist
ceil = Tensor.ceil
celu = Tensor.celu
chunk = Tensor.chunk
clamp = Tensor.clamp
clamp_max = Tensor.clamp_max
clamp_min = Tensor.clamp_min
clip = Tensor.clip
clone = Tensor.clone
conj = Tensor.conj
conj_physical = Tensor.conj_physical
constant_pad_nd = Tensor.constant_pad_nd
conv1d = Tensor.conv1d
conv2d = Tensor.conv2d
conv3d = Tensor.conv3d
conv_transpose1d = Tensor.conv_transpose1d
conv_transpose2d = Tensor.conv_transpose2d
conv_transpose3d = Tensor.conv_transpose3d
copysign = Tensor.copysign
corrcoef = Tensor.corrcoef
cos = Tensor.cos
cosh = Tensor.cosh
cosine_embedding_loss = Tensor.cosine_embedding_loss
cosine_similarity = Tensor.cosine_similarity
count_nonzero = Tensor.count_nonzero
cov = Tensor.cov
cross_entropy = Tensor.cross_entropy
cummax = Tensor.cummax
cummin = Tensor.cummin
cumprod = Tensor.cumprod
cumsum = Tensor.cumsum
cumulative_trapezoid = Tensor.cumulative_trapezoid
deg2rad = Tensor.deg2rad
detach = Tensor.detach
diag = Tensor.diag
diag_embed = Tensor.diag_embed
diagflat = Tensor.diagflat
diagonal = Tensor.diagonal
diagonal_copy = Tensor.diagonal_copy
diagonal_scatter = Tensor.diagonal_scatter
diff = Tensor.diff
digamma = Tensor.digamma
dist = Tensor.dist
div = Tensor.div
divide = Tensor.divide
dot = Tensor.dot
dropout = Tensor.dropout
dsplit = Tensor.dsplit
elu = Tensor.elu
embedding = Tensor.embedding
empty = Tensor.empty
empty_like = Tensor.empty_like
eq = Tensor.eq
equal = Tensor.equal
erf = Tensor.erf
erfc = Tensor.erfc
erfinv = Tensor.erfinv
exp = Tensor.exp
exp2 = Tensor.exp2
expand_copy = Tensor.expand_copy
expm1 = Tensor.expm1
eye = Tensor.eye
fill = Tensor.fill
fix = Tensor.fix
flatten = Tensor.flatten
flip = Tensor.flip
fliplr = Tensor.fliplr
flipud = Tensor.flipud
float_power = Tensor.float_power
floor = Tensor.floor
floor_divide = Tensor.floor_divide
fmax = Tensor.fmax
fmin = Tensor.fmin
fmod = Tensor.fmod
frac = Tensor.frac
frexp = Tensor.frexp
full = Tensor.full
full_like = Tensor.full_like
gather = Tensor.gather
gaussian_nll_loss = Tensor.gaussian_nll_loss
gcd = Tensor.gcd
ge = Tensor.ge
gelu = Tensor.gelu
ger = Tensor.ger
glu = Tensor.glu
gradient = Tensor.gradient
greater = Tensor.greater
greater_equal = Tensor.greater_equal
group_norm = Tensor.group_norm
gt = Tensor.gt
hardshrink = Tensor.hardshrink
hardsigmoid = Tensor.hardsigmoid
hardswish = Tensor.hardswish
hardtanh = Tensor.hardtanh
hash_tensor = Tensor.hash_tensor
heaviside = Tensor.heaviside
hinge_embedding_loss = Tensor.hinge_embedding_loss
histc = Tensor.histc
histogram = Tensor.histogram
histogramdd = Tensor.histogramdd
hsplit = Tensor.hsplit
huber_loss = Tensor.huber_loss
hypot = Tensor.hypot
i0 = Tensor.i0
igamma = Tensor.igamma
igammac = Tensor.igammac
index_add = Tensor.index_add
index_copy = Tensor.index_copy
index_fill = Tensor.index_fill
index_put = Tensor.index_put
index_reduce = Tensor.index_reduce
index_select = Tensor.index_select
inner = Tensor.inner
inner_product = Tensor.inner_product
instance_norm = Tensor.instance_norm
interpolate = Tensor.interpolate
is_complex = Tensor.is_complex
is_conj = Tensor.is_conj
is_floating_point = Tensor.is_floating_point
is_nonzero = Tensor.is_nonzero
is_same_size = Tensor.is_same_size
is_signed = Tensor.is_signed
isclose = Tensor.isclose
isfinite = Tensor.isfinite
isin = Tensor.isin
isinf = Tensor.isinf
isnan = Tensor.isnan
isneginf = Tensor.isneginf
isposinf = Tensor.isposinf
isreal = Tensor.isreal
kl_div = Tensor.kl_div
kthvalue = Tensor.kthvalue
l1_loss = Tensor.l1_loss
layer_norm = Tensor.layer_norm
lcm = Tensor.lcm
ldexp = Tensor.ldexp
le = Tensor.le
leaky_relu = Tensor.leaky_relu
lerp = Tensor.lerp
less = Tensor.less
less_equal = Tensor.less_equal
lgamma = Tensor.lgamma
linear = Tensor.linear
linspace = Tensor.linspace
local_response_norm = Tensor.local_response_norm
log = Tensor.log
log10 = Tensor.log10
log1p = Tensor.log1p
log2 = Tensor.log2
log_sigmoid = Tensor.log_sigmoid
log_softmax = Tensor.log_softmax
logaddexp = Tensor.logaddexp
logaddexp2 = Tensor.logaddexp2
logcumsumexp = Tensor.logcumsumexp
logical_and = Tensor.logical_and
logical_not = Tensor.logical_not
logical_or = Tensor.logical_or
logical_xor = Tensor.logical_xor
logit = Tensor.logit
logsigmoid = Tensor.logsigmoid
logspace = Tensor.logspace
logsumexp = Tensor.logsumexp
lt = Tensor.lt
margin_ranking_loss = Tensor.margin_ranking_loss
masked_fill = Tensor.masked_fill
masked_scatter = Tensor.masked_scatter
masked_select = Tensor.masked_select
matmul = Tensor.matmul
max = Tensor.max
max_pool1d = Tensor.max_pool1d
max_pool2d = Tensor.max_pool2d
max_pool3d = Tensor.max_pool3d
maximum = Tensor.maximum
mean = Tensor.mean
median = Tensor.median
min = Tensor.min
minimum = Tensor.minimum
mish = Tensor.mish
mm = Tensor.mm
mode = Tensor.mode
moveaxis = Tensor.moveaxis
movedim = Tensor.movedim
mse_loss = Tensor.mse_loss
msort = Tensor.msort
mul = Tensor.mul
multinomial = Tensor.multinomial
multiply = Tensor.multiply
mv = Tensor.mv
mvlgamma = Tensor.mvlgamma
nan_to_num = Tensor.nan_to_num
nanmean = Tensor.nanmean
nanmedian = Tensor.nanmedian
nansum = Tensor.nansum
narrow = Tensor.narrow
narrow_copy = Tensor.narrow_copy
ne = Tensor.ne
neg = Tensor.neg
negative = Tensor.negative
nextafter = Tensor.nextafter
nll_loss = Tensor.nll_loss
nonzero = Tensor.nonzero
norm = Tensor.norm
normal = Tensor.normal
normalize = Tensor.normalize
not_equal = Tensor.not_equal
numel = Tensor.numel
one_hot = Tensor.one_hot
ones = Tensor.ones
ones_like = Tensor.ones_like
outer = Tensor.outer
pad = Tensor.pad
pairwise_distance = Tensor.pairwise_distance
permute = Tensor.permute
permute_copy = Tensor.permute_copy
pixel_shuffle = Tensor.pixel_shuffle
pixel_unshuffle = Tensor.pixel_unshuffle
poisson_nll_loss = Tensor.poisson_nll_loss
positive = Tensor.positive
prelu = Tensor.prelu
prod = Tensor.prod
put = Tensor.put
quantile = Tensor.quantile
rad2deg = Tensor.rad2deg
rand = Tensor.rand
rand_like = Tensor.rand_like
randint = Tensor.randint
randint_like = Tensor.randint_like
randn = Tensor.randn
randn_like = Tensor.randn_like
randperm = Tensor.randperm
ravel = Tensor.ravel
reciprocal = Tensor.reciprocal
relu = Tensor.relu
relu6 = Tensor.relu6
remainder = Tensor.remainder
renorm = Tensor.renorm
repeat_interleave = Tensor.repeat_interleave
reshape = Tensor.reshape
resolve_conj = Tensor.resolve_conj
rms_norm = Tensor.rms_norm
roll = Tensor.roll
rot90 = Tensor.rot90
round = Tensor.round
rsqrt = Tensor.rsqrt
rsub = Tensor.rsub
scaled_dot_product_attention = Tensor.scaled_dot_product_attention
scatter = Tensor.scatter
scatter_add = Tensor.scatter_add
scatter_reduce = Tensor.scatter_reduce
searchsorted = Tensor.searchsorted
select = Tensor.select
select_copy = Tensor.select_copy
select_scatter = Tensor.select_scatter
selu = Tensor.selu
sgn = Tensor.sgn
sigmoid = Tensor.sigmoid
sign = Tensor.sign
signbit = Tensor.signbit
silu = Tensor.silu
sin = Tensor.sin
sinc = Tensor.sinc
sinh = Tensor.sinh
slice_scatter = Tensor.slice_scatter
smooth_l1_loss = Tensor.smooth_l1_loss
soft_margin_loss = Tensor.soft_margin_loss
softmax = Tensor.softmax
softmin = Tensor.softmin
softplus = Tensor.softplus
softshrink = Tensor.softshrink
softsign = Tensor.softsign
sort = Tensor.sort
split = Tensor.split
split_copy = Tensor.split_copy
split_with_sizes = Tensor.split_with_sizes
split_with_sizes_copy = Tensor.split_with_sizes_copy
sqrt = Tensor.sqrt
square = Tensor.square
squeeze = Tensor.squeeze
squeeze_copy = Tensor.squeeze_copy
std = Tensor.std
std_mean = Tensor.std_mean
sub = Tensor.sub
subtract = Tensor.subtract
sum = Tensor.sum
swapaxes = Tensor.swapaxes
swapdims = Tensor.swapdims
swish = Tensor.swish
t = Tensor.t
t_copy = Tensor.t_copy
take = Tensor.take
take_along_dim = Tensor.take_along_dim
tan = Tensor.tan
tanh = Tensor.tanh
tanhshrink = Tensor.tanhshrink
tensor_split = Tensor.tensor_split
threshold = Tensor.threshold
tile = Tensor.tile
topk = Tensor.topk
trace = Tensor.trace
transpose = Tensor.transpose
transpose_copy = Tensor.transpose_copy
trapezoid = Tensor.trapezoid
trapz = Tensor.trapz
tril = Tensor.tril
triplet_margin_loss = Tensor.triplet_margin_loss
triu = Tensor.triu
true_divide = Tensor.true_divide
trunc = Tensor.trunc
unbind = Tensor.unbind
unbind_copy = Tensor.unbind_copy
unflatten = Tensor.unflatten
unfold_copy = Tensor.unfold_copy
unique = Tensor.unique
unsafe_chunk = Tensor.unsafe_chunk
unsafe_split = Tensor.unsafe_split
unsqueeze = Tensor.unsqueeze
unsqueeze_copy = Tensor.unsqueeze_copy
var = Tensor.var
var_mean = Tensor.var_mean
vdot = Tensor.vdot
view_copy = Tensor.view_copy
vsplit = Tensor.vsplit
xlogy = Tensor.xlogy
zeros = Tensor.zeros
zeros_like = Tensor.zeros_like
nanquantile = Tensor.nanquantile
unique_consecutive = Tensor.unique_consecutive
nonzero_static = Tensor.nonzero_static
resolve_neg = Tensor.resolve_neg

_NOT_OPERATIONS = ("FunctionType", "Tensor", "annotations", "function_of")

__all__ = sorted(
    name
    for name in globals()
    if not name.startswith("_") and name not in _NOT_OPERATIONS
)

#: Neither what is a function already nor what makes tensors of sizes.
_METHODS = {
    name
    for part in Tensor.__mro__
    for name, value in vars(part).items()
    if isinstance(value, FunctionType)
}

for _name in __all__:
    _function = globals()[_name]
    if _name in _METHODS and _function is getattr(Tensor, _name):
        globals()[_name] = function_of(_function, _name)
