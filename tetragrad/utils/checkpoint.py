"""``tetragrad.checkpoint``, where PyTorch has it."""

from tetragrad.tensor.autograd import checkpoint

__all__ = ["checkpoint"]
