"""Linear algebra: factorisations on the host, everything else as tensor operations.

Every function takes a batch: matrices are the last two dimensions. Gradients are
PyTorch's, written as formulas over tensors beside each function.
"""
