"""What users touch: tensors, their methods, gradients. Knows nothing of kernels.

What a tensor is: ``base.py`` (the handle), ``storage.py`` (the value that views
share) and ``pending.py`` (when values run). What it can do is a class of methods for
each family, ``ArithmeticMethods`` in ``arithmetic.py`` for one; ``tensor.py`` puts
them together. Each builds nodes; those of one number's functions are in ``formulas``.

``promotion.py`` says how operands meet, ``autograd.py`` how gradients are asked for,
and ``operations.py`` which methods are functions too. Complex numbers are
``pairs.py`` of real ones.
"""

from tetragrad.tensor.tensor import Tensor

__all__ = ["Tensor"]
