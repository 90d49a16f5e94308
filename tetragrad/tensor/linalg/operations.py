"""The functions of linear algebra that PyTorch has outside of ``linalg`` too."""

from __future__ import annotations

from tetragrad.tensor.linalg.factorisations import geqrf, lu_unpack
from tetragrad.tensor.linalg.methods import LinearAlgebraMethods
from tetragrad.tensor.linalg.products import (
    chain_matmul,
    matrix_exp,
    matrix_power,
)
from tetragrad.tensor.linalg.products import householder_product as orgqr
from tetragrad.tensor.linalg.solving import (
    cholesky_inverse,
    cholesky_solve,
    det,
    logdet,
    slogdet,
    triangular_solve,
)
from tetragrad.tensor.linalg.solving import inv as inverse

cholesky = LinearAlgebraMethods.cholesky
cross = LinearAlgebraMethods.cross
lu_solve = LinearAlgebraMethods.lu_solve
pinverse = LinearAlgebraMethods.pinverse
qr = LinearAlgebraMethods.qr
svd = LinearAlgebraMethods.svd

__all__ = [
    "chain_matmul",
    "cholesky",
    "cholesky_inverse",
    "cholesky_solve",
    "cross",
    "det",
    "geqrf",
    "inverse",
    "logdet",
    "lu_solve",
    "lu_unpack",
    "matrix_exp",
    "matrix_power",
    "orgqr",
    "pinverse",
    "qr",
    "slogdet",
    "svd",
    "triangular_solve",
]
