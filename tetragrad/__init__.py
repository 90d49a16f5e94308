"""tetragrad: tensors with gradients, compiled from four op types to fused kernels.

>>> from tetragrad import Tensor
>>> x = Tensor([1.0, 2.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
tensor([2., 4.])
"""

from __future__ import annotations

from typing import Any

from tetragrad.core.collector import importing

with importing():
    # The package ``tetragrad.tile`` is bound before the function of that name, which
    # then stays when parts of the package are imported later.
    from tetragrad import tile
    from tetragrad.core.dtypes import (
        DType as dtype,
    )
    from tetragrad.core.dtypes import (
        bfloat16,
        complex64,
        complex128,
        float8_e4m3fn,
        float8_e5m2,
        float16,
        float32,
        float64,
        int8,
        int16,
        int32,
        int64,
        uint8,
        uint16,
        uint32,
        uint64,
    )
    from tetragrad.core.dtypes import (
        bool_ as bool,
    )
    from tetragrad.core.errors import (
        CaptureError,
        DeviceError,
        DTypeError,
        GradientError,
        IndexingError,
        ShapeError,
        TetragradError,
        missing,
    )
    from tetragrad.graph.sizes import Symbol
    from tetragrad.jit import jit
    from tetragrad.tensor import operations
    from tetragrad.tensor.arithmetic import where
    from tetragrad.tensor.autograd import Function, checkpoint, grad
    from tetragrad.tensor.complex_numbers import (
        complex,
        polar,
        view_as_complex,
        view_as_real,
    )
    from tetragrad.tensor.creation import as_tensor, from_dlpack, from_numpy, tensor
    from tetragrad.tensor.devices import (
        DeviceName as device,
    )
    from tetragrad.tensor.devices import (
        get_default_device,
        get_num_threads,
        set_default_device,
        set_num_threads,
    )
    from tetragrad.tensor.generator import Generator, manual_seed
    from tetragrad.tensor.linalg import operations as _matrix_operations
    from tetragrad.tensor.linalg.operations import *  # noqa: F403 (a list, see there)
    from tetragrad.tensor.modes import (
        enable_grad,
        inference_mode,
        is_grad_enabled,
        no_grad,
        set_grad_enabled,
    )
    from tetragrad.tensor.operations import *  # noqa: F403 (a list of names, see there)
    from tetragrad.tensor.tensor import Tensor

__version__ = "0.1.0"

float = float32
double = float64
half = float16
cfloat = complex64
cdouble = complex128
int = int32
long = int64
short = int16

#: Packages that are imported when they are first used.
_PACKAGES = frozenset(
    """
    amp autograd cuda data distributions fft func linalg masked nn onnx optim random
    signal special state utils xp
    """.split()
)

#: Functions whose modules are imported when one of them is first used.
_LATE = {
    name: f"tetragrad.{module}"
    for module, names in {
        "signal.named": """
            bartlett_window blackman_window hamming_window hann_window kaiser_window
        """,
        "tensor.einsum": "einsum kron tensordot",
        "tensor.fourier.frames": "istft stft",
        "tensor.grids": """
            atleast_1d atleast_2d atleast_3d cartesian_prod column_stack combinations
            dstack result_type row_stack scalar_tensor tril_indices triu_indices
            unravel_index vander
        """,
        "tensor.display": "set_printoptions",
        "tensor.dtype_limits": """
            can_cast finfo get_default_dtype iinfo promote_types set_default_dtype
        """,
        "tensor.buffers": "asarray frombuffer is_tensor",
        "tensor.mixed_precision": "autocast get_autocast_dtype is_autocast_enabled",
        "tensor.early_names": """
            BFloat16Tensor BoolTensor ByteTensor CharTensor DoubleTensor FloatTensor
            HalfTensor IntTensor LongTensor ShortTensor set_default_tensor_type
        """,
        "random": "fork_rng get_rng_state initial_seed seed set_rng_state",
        "distributions.draws": "binomial poisson",
        "nn.functional": """
            alpha_dropout bilinear channel_shuffle ctc_loss embedding_bag
            feature_alpha_dropout pdist rrelu
        """,
        "func": "vmap",
        "habits": """
            are_deterministic_algorithms_enabled compile
            get_float32_matmul_precision set_float32_matmul_precision
            use_deterministic_algorithms
        """,
        "state": "load save",
        "tensor.linalg.lowrank": "pca_lowrank svd_lowrank",
        "tensor.rearrange": "rearrange reduce repeat",
    }.items()
    for name in names.split()
}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _PACKAGES:
        return importlib.import_module(f"tetragrad.{name}")
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise missing(name, "tetragrad", [*globals(), *_PACKAGES, *_LATE])


__all__ = [
    *operations.__all__,
    *_LATE,
    *_matrix_operations.__all__,
    "CaptureError",
    "DTypeError",
    "DeviceError",
    "Function",
    "Generator",
    "GradientError",
    "IndexingError",
    "ShapeError",
    "Symbol",
    "Tensor",
    "TetragradError",
    "as_tensor",
    "bfloat16",
    "bool",
    "cdouble",
    "cfloat",
    "checkpoint",
    "complex",
    "complex64",
    "complex128",
    "double",
    "device",
    "dtype",
    "enable_grad",
    "float",
    "float16",
    "float32",
    "float64",
    "float8_e4m3fn",
    "float8_e5m2",
    "from_dlpack",
    "from_numpy",
    "get_default_device",
    "get_num_threads",
    "grad",
    "half",
    "inference_mode",
    "int",
    "int16",
    "int32",
    "int64",
    "int8",
    "is_grad_enabled",
    "jit",
    "long",
    "manual_seed",
    "no_grad",
    "polar",
    "set_default_device",
    "set_grad_enabled",
    "set_num_threads",
    "short",
    "tensor",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
    "view_as_complex",
    "view_as_real",
]
