"""What users touch: tensors, their methods, gradients. Knows nothing of kernels."""

from tetragrad.tensor.tensor import Tensor

__all__ = ["Tensor"]
