"""The functions of linear algebra that PyTorch has outside of ``linalg`` too."""

from __future__ import annotations

from tetragrad.tensor.linalg.methods import (
    LinearAlgebraMethods,
    chain_matmul,
    lu_unpack,
)

cholesky = LinearAlgebraMethods.cholesky
cholesky_inverse = LinearAlgebraMethods.cholesky_inverse
cholesky_solve = LinearAlgebraMethods.cholesky_solve
cross = LinearAlgebraMethods.cross
det = LinearAlgebraMethods.det
geqrf = LinearAlgebraMethods.geqrf
inverse = LinearAlgebraMethods.inverse
logdet = LinearAlgebraMethods.logdet
lu = LinearAlgebraMethods.lu
lu_solve = LinearAlgebraMethods.lu_solve
matrix_exp = LinearAlgebraMethods.matrix_exp
matrix_power = LinearAlgebraMethods.matrix_power
orgqr = LinearAlgebraMethods.orgqr
ormqr = LinearAlgebraMethods.ormqr
pinverse = LinearAlgebraMethods.pinverse
qr = LinearAlgebraMethods.qr
slogdet = LinearAlgebraMethods.slogdet
svd = LinearAlgebraMethods.svd
triangular_solve = LinearAlgebraMethods.triangular_solve

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
    "lu",
    "lu_solve",
    "lu_unpack",
    "matrix_exp",
    "matrix_power",
    "orgqr",
    "ormqr",
    "pinverse",
    "qr",
    "slogdet",
    "svd",
    "triangular_solve",
]
