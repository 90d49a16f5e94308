"""More products for the CPU benchmark: how operands lie, few rows, batches, dtypes."""

from __future__ import annotations

import itertools
from typing import Any

from cpu_rows import SIDE, Integers, Normal, Row

#: Rows of a product whose other operand is a large matrix.
FEW_ROWS = (1, 2, 4, 8, 16)
TURNED = {"n": False, "t": True}


def product_rows() -> list[Row]:
    """Products beside the plain ones of ``cpu_rows``."""
    found = [
        _transposed(first, second) for first, second in itertools.product("nt", "nt")
    ]
    found += [
        _few_rows(rows, letter) for rows, letter in itertools.product(FEW_ROWS, "nt")
    ]
    found += [_few_rows(1, letter, "bfloat16") for letter in "nt"]
    found += [_batched(64, 64, 64, 64), _batched(96, 128, 64, 128)]
    found += [_half("bfloat16"), _half("float16"), _integers()]
    return found


def _transposed(first: str, second: str) -> Row:
    """A product of matrices of which either may lie the other way."""
    size = 1024

    def multiply(lib: Any, a: Any, b: Any) -> Any:
        return (a.T if TURNED[first] else a) @ (b.T if TURNED[second] else b)

    return Row(
        f"sgemm_{first}{second}_{size}",
        (Normal((size, size)), Normal((size, size))),
        multiply,
        lambda a, b: multiply(None, a, b),
        operations=2 * size**3,
    )


def _few_rows(rows: int, letter: str, dtype: str = "float32") -> Row:
    """A few rows by a large matrix, as a model generates one word after the other."""

    def multiply(lib: Any, a: Any, w: Any) -> Any:
        return a @ (w.T if TURNED[letter] else w)

    itemsize = 4 if dtype == "float32" else 2
    return Row(
        f"few_{rows}x{SIDE}_{letter}_{dtype}",
        (Normal((rows, SIDE)), Normal((SIDE, SIDE))),
        multiply,
        nbytes=SIDE * SIDE * itemsize,
        dtype=dtype,
    )


def _batched(count: int, rows: int, depth: int, columns: int) -> Row:
    return Row(
        f"batched_{count}x{rows}x{depth}x{columns}",
        (Normal((count, rows, depth)), Normal((count, depth, columns))),
        lambda lib, a, b: a @ b,
        lambda a, b: a @ b,
        operations=2 * count * rows * depth * columns,
    )


def _half(dtype: str) -> Row:
    size = 512
    return Row(
        f"product_{dtype}_{size}",
        (Normal((size, size)), Normal((size, size))),
        lambda lib, a, b: a @ b,
        operations=2 * size**3,
        dtype=dtype,
    )


def _integers() -> Row:
    """int8 by int8, summed in int32."""
    size = 512

    def multiply(lib: Any, a: Any, b: Any) -> Any:
        if hasattr(lib, "_int_mm"):
            return lib._int_mm(a, b)
        return a.int() @ b.int()

    return Row(
        f"product_int8_{size}",
        (Integers((size, size), 128), Integers((size, size), 128)),
        multiply,
        operations=2 * size**3,
        dtype="int8",
    )
