"""Linear algebra beside PyTorch: values, dtypes, shapes and gradients."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tensor.comparison import Case, check

torch = pytest.importorskip("torch")

SQUARE = ((4, 4),)
BATCH = ((2, 4, 4),)
TALL = ((2, 5, 3),)
WIDE = ((2, 3, 5),)


def _definite(library: Any, A: Any) -> Any:
    return A @ A.mT + library.eye(A.shape[-1], dtype=A.dtype)


def _symmetric(A: Any) -> Any:
    return A + A.mT


CASES = [
    Case("cholesky", lambda t, A: t.linalg.cholesky(_definite(t, A)), BATCH),
    Case(
        "cholesky upper",
        lambda t, A: t.linalg.cholesky(_definite(t, A), upper=True),
        SQUARE,
    ),
    Case("qr tall", lambda t, A: tuple(t.linalg.qr(A)), TALL),
    Case("qr wide", lambda t, A: tuple(t.linalg.qr(A)), WIDE),
    Case("qr square", lambda t, A: tuple(t.linalg.qr(A, mode="complete")), BATCH),
    Case("svd tall", lambda t, A: tuple(map(abs, t.linalg.svd(A, False))), TALL),
    Case("svd wide", lambda t, A: tuple(map(abs, t.linalg.svd(A, False))), WIDE),
    Case("svdvals", lambda t, A: t.linalg.svdvals(A), TALL),
    Case("eigh", lambda t, A: tuple(map(abs, t.linalg.eigh(_symmetric(A)))), BATCH),
    Case("eigvalsh upper", lambda t, A: t.linalg.eigvalsh(A, "U"), SQUARE),
    Case("lu", lambda t, A: tuple(t.linalg.lu(A)), BATCH),
    Case("lu tall", lambda t, A: tuple(t.linalg.lu(A)), TALL),
    Case("lu wide", lambda t, A: tuple(t.linalg.lu(A)), WIDE),
    Case("lu_factor", lambda t, A: tuple(t.linalg.lu_factor(A)), BATCH),
    Case(
        "lu_solve",
        lambda t, A, B: t.linalg.lu_solve(*t.linalg.lu_factor(A), B),
        ((2, 4, 4), (2, 4, 3)),
    ),
    Case(
        "lu_solve adjoint",
        lambda t, A, B: t.linalg.lu_solve(*t.linalg.lu_factor(A), B, adjoint=True),
        ((4, 4), (4, 3)),
    ),
    Case(
        "lu_solve right",
        lambda t, A, B: t.linalg.lu_solve(*t.linalg.lu_factor(A), B, left=False),
        ((4, 4), (3, 4)),
    ),
    Case("solve", lambda t, A, B: t.linalg.solve(A, B), ((2, 4, 4), (4, 3))),
    Case("solve vector", lambda t, A, B: t.linalg.solve(A, B), ((4, 4), (4,))),
    Case("solve vectors", lambda t, A, B: t.linalg.solve(A, B), ((2, 4, 4), (2, 4))),
    Case(
        "solve right",
        lambda t, A, B: t.linalg.solve(A, B, left=False),
        ((2, 4, 4), (2, 3, 4)),
    ),
    Case("inv", lambda t, A: t.linalg.inv(A), BATCH, scale=10),
    Case("det", lambda t, A: t.linalg.det(A), BATCH),
    Case("slogdet", lambda t, A: tuple(t.linalg.slogdet(A)), BATCH, scale=10),
    Case("logdet", lambda t, A: t.logdet(_definite(t, A)), BATCH),
    Case("pinv tall", lambda t, A: t.linalg.pinv(A), TALL, scale=10),
    Case("pinv wide", lambda t, A: t.linalg.pinv(A), WIDE, scale=10),
    Case(
        "pinv hermitian",
        lambda t, A: t.linalg.pinv(_symmetric(A), hermitian=True),
        SQUARE,
        scale=10,
    ),
    Case(
        "lstsq",
        lambda t, A, B: t.linalg.lstsq(A, B).solution,
        ((2, 5, 3), (2, 5, 2)),
        scale=10,
    ),
    Case(
        "lstsq residuals",
        lambda t, A, B: t.linalg.lstsq(A, B, driver="gelsd").residuals,
        ((5, 3), (5, 2)),
        gradient=False,
    ),
    *[
        Case(
            f"solve_triangular {upper} {unit}",
            lambda t, A, B, upper=upper, unit=unit: t.linalg.solve_triangular(
                A, B, upper=upper, unitriangular=unit
            ),
            ((2, 4, 4), (2, 4, 3)),
            low=0.5,
        )
        for upper in (True, False)
        for unit in (True, False)
    ],
    Case(
        "solve_triangular right",
        lambda t, A, B: t.linalg.solve_triangular(A, B, upper=True, left=False),
        ((4, 4), (3, 4)),
        low=0.5,
    ),
    Case(
        "cholesky_solve",
        lambda t, A, B: t.cholesky_solve(B, t.linalg.cholesky(_definite(t, A))),
        ((4, 4), (4, 2)),
        scale=10,
    ),
    Case(
        "cholesky_inverse",
        lambda t, A: t.cholesky_inverse(t.linalg.cholesky(_definite(t, A))),
        SQUARE,
        scale=10,
    ),
    *[
        Case(
            f"vector_norm {order}",
            lambda t, x, order=order: t.linalg.vector_norm(x, order, dim=-1),
            ((3, 5),),
            low=0.5,
        )
        for order in (2, 3.5, float("inf"), -1)
    ],
    *[
        Case(
            f"matrix_norm {order}",
            lambda t, A, order=order: t.linalg.matrix_norm(A, order),
            TALL,
        )
        for order in ("fro", "nuc", 1, -2, float("inf"))
    ],
    Case(
        "matrix_norm dims",
        lambda t, A: t.linalg.matrix_norm(A, 2, dim=(0, 2), keepdim=True),
        ((3, 2, 4),),
    ),
    Case("norm of matrix", lambda t, A: t.linalg.norm(A, 1), ((3, 4),)),
    Case("norm of vector", lambda t, A: t.linalg.norm(A, 1), ((4,),)),
    *[
        Case(f"cond {p}", lambda t, A, p=p: t.linalg.cond(A, p), SQUARE, scale=20)
        for p in (None, -2, "nuc")
    ],
    # PyTorch cannot differentiate these: it changes the inverse in place.
    *[
        Case(
            f"cond {p}",
            lambda t, A, p=p: t.linalg.cond(A.detach(), p),
            SQUARE,
            gradient=False,
            scale=20,
        )
        for p in ("fro", 1, float("inf"))
    ],
    Case("matrix_power", lambda t, A: t.linalg.matrix_power(A, 5), BATCH, scale=20),
    Case(
        "matrix_power -3", lambda t, A: t.linalg.matrix_power(A, -3), SQUARE, scale=50
    ),
    Case(
        "matrix_power 0",
        lambda t, A: t.linalg.matrix_power(A, 0),
        SQUARE,
        gradient=False,
    ),
    Case("matrix_exp", lambda t, A: t.linalg.matrix_exp(A), BATCH, scale=20),
    Case(
        "matrix_exp large", lambda t, A: t.linalg.matrix_exp(A * 5), SQUARE, scale=1e7
    ),
    Case(
        "multi_dot",
        lambda t, *A: t.linalg.multi_dot(A),
        ((3,), (3, 7), (7, 2), (2, 5)),
        scale=10,
    ),
    Case("cross", lambda t, a, b: t.linalg.cross(a, b, dim=0), ((3, 4), (3, 1))),
    Case("vander", lambda t, x: t.linalg.vander(x, N=4), ((2, 3),), scale=5),
    Case("tensorinv", lambda t, A: t.linalg.tensorinv(A, 1), ((4, 2, 2),), scale=10),
    Case(
        "tensorsolve",
        lambda t, A, B: t.linalg.tensorsolve(A, B),
        ((2, 3, 6), (2, 3)),
        scale=10,
    ),
    Case(
        "householder_product",
        lambda t, A, tau: t.linalg.householder_product(A, tau),
        ((2, 5, 3), (2, 2)),
        scale=20,
    ),
    Case("vecdot", lambda t, x, y: t.linalg.vecdot(x, y, dim=0), ((3, 4), (3, 1))),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_in_torch(case: Case) -> None:
    check(case, "float64")


@pytest.mark.parametrize(
    "name", ["cholesky", "qr tall", "svd tall", "eigh", "lu", "solve"]
)
def test_single_precision(name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    check(
        Case(case.name, case.program, case.shapes, gradient=False, scale=20), "float32"
    )
