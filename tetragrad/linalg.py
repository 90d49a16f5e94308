"""Linear algebra under PyTorch's names: ``tetragrad.linalg.solve(A, b)``.

>>> A = Tensor([[2.0, 0.0], [0.0, 4.0]])
>>> tetragrad.linalg.solve(A, Tensor([2.0, 2.0]))
tensor([1.0000, 0.5000])
"""

from tetragrad.core.errors import LinAlgError
from tetragrad.tensor.linalg.determinants import det, slogdet
from tetragrad.tensor.linalg.factorisations import (
    cholesky,
    cholesky_ex,
    ldl_factor,
    ldl_factor_ex,
    lu,
    lu_factor,
    lu_factor_ex,
    qr,
)
from tetragrad.tensor.linalg.least_squares import lstsq, pinv
from tetragrad.tensor.linalg.norms import (
    cond,
    matrix_norm,
    matrix_rank,
    norm,
    vector_norm,
)
from tetragrad.tensor.linalg.products import (
    cross,
    diagonal,
    householder_product,
    matmul,
    matrix_exp,
    matrix_power,
    multi_dot,
    tensorinv,
    tensorsolve,
    vander,
    vecdot,
)
from tetragrad.tensor.linalg.solving import (
    inv,
    inv_ex,
    ldl_solve,
    lu_solve,
    solve,
    solve_ex,
    solve_triangular,
)
from tetragrad.tensor.linalg.spectra import (
    eig,
    eigh,
    eigvals,
    eigvalsh,
    svd,
    svdvals,
)

__all__ = [
    "LinAlgError",
    "cholesky",
    "cholesky_ex",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "householder_product",
    "inv",
    "inv_ex",
    "ldl_factor",
    "ldl_factor_ex",
    "ldl_solve",
    "lstsq",
    "lu",
    "lu_factor",
    "lu_factor_ex",
    "lu_solve",
    "matmul",
    "matrix_exp",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "multi_dot",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_ex",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensorinv",
    "tensorsolve",
    "vander",
    "vecdot",
    "vector_norm",
]
