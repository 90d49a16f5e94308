"""hash_tensor: the xor of all elements' 64 bits."""

from __future__ import annotations

import numpy as np
import pytest

from tetragrad import Tensor
from tetragrad.core.errors import DTypeError


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.int64, np.bool_])
@pytest.mark.parametrize("dim", [None, 0, -1, (0, 2)])
def test_is_the_xor_of_the_bits(dtype: type, dim: int | tuple[int, ...] | None) -> None:
    values = (np.random.default_rng(7).standard_normal((3, 4, 5)) * 3).astype(dtype)
    is_float = np.issubdtype(dtype, np.floating)
    wide = values.astype(np.float64 if is_float else np.int64)
    bits = wide.view(np.uint64)
    axes = tuple(range(3)) if dim is None else dim
    wanted = np.bitwise_xor.reduce(bits, axis=axes)
    found = Tensor(values).hash_tensor(dim).numpy()
    assert found.dtype == np.uint64
    np.testing.assert_array_equal(found, wanted)


def test_keeps_dimensions_and_hashes_nothing_to_zero() -> None:
    assert Tensor.ones(2, 3).hash_tensor(1, keepdim=True).shape == (2, 1)
    empty = Tensor.ones(2, 0).hash_tensor(1)
    np.testing.assert_array_equal(empty.numpy(), [0, 0])


def test_other_modes_do_not_exist() -> None:
    with pytest.raises(DTypeError, match="mode=1"):
        Tensor.ones(2).hash_tensor(mode=1)
