"""The operators, one file a family. Importing this package registers all of them."""

from tetragrad.onnx.operators import (
    activations,
    arithmetic,
    contraction,
    convolution,
    formats,
    host,
    indexing,
    normalisation,
    pooling,
    reductions,
    shape,
)
