"""Normalisations: subtract a mean, divide by a deviation, scale and shift."""

from __future__ import annotations

from tetragrad.tensor import Tensor
from tetragrad.tensor.derived import function_of

batch_norm = function_of(Tensor.batch_norm)
group_norm = function_of(Tensor.group_norm)
instance_norm = function_of(Tensor.instance_norm)
layer_norm = function_of(Tensor.layer_norm)
local_response_norm = function_of(Tensor.local_response_norm)
normalize = function_of(Tensor.normalize)
rms_norm = function_of(Tensor.rms_norm)
