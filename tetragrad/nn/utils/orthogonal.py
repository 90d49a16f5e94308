"""Weights whose rows or columns stay orthonormal while they are trained.

A square matrix A with A = -Aᴴ gives an orthogonal one in three ways: its exponential,
Cayley's (I - A/2)⁻¹(I + A/2), and a product of reflections. What is trained is A, so
any step of an optimiser stays among the orthogonal matrices.

Source: Lezcano-Casado and Martínez-Rubio, "Cheap orthogonal constraints in neural
networks", 2019; Lezcano-Casado, "Trivializations for gradient-based optimization on
manifolds", 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tetragrad.core.errors import DTypeError, ShapeError, UnsupportedError
from tetragrad.nn.module import Module
from tetragrad.nn.utils.parametrize import register_parametrization
from tetragrad.tensor import Tensor
from tetragrad.tensor.joining import cat
from tetragrad.tensor.linalg.products import householder_product, matrix_exp
from tetragrad.tensor.linalg.solving import solve


def orthogonal(
    module: Any,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Any:
    """Keep the columns of a weight orthonormal, or the rows of a wide one.

    Returns the module.

    Args:
        module: the layer.
        name: its weight, a matrix or several of them in the last two dimensions.
        orthogonal_map: "matrix_exp", "cayley" or "householder"; the first for square
            and complex matrices and the last for others if it is None.
        use_trivialization: train the difference from the matrix at the start, or from
            the one that was assigned last, which the buffer ``base`` holds. Without it
            only "householder" can begin with a given matrix.

    Raises:
        ShapeError: the weight is no matrix.
        UnsupportedError: a matrix is assigned where no map leads back.

    >>> layer = nn.utils.parametrizations.orthogonal(nn.Linear(3, 4))
    >>> columns = layer.weight.detach()
    >>> bool((columns.mT @ columns).allclose(Tensor.eye(3), atol=1e-5))
    True
    """
    weight = getattr(module, name)
    if weight.ndim < 2:
        raise ShapeError(
            f"an orthogonal {name!r} of shape {weight.shape}",
            hint="only matrices are; the last two dimensions count",
        )
    if orthogonal_map is None:
        is_square = weight.shape[-1] == weight.shape[-2]
        is_exponential = is_square or weight.is_complex()
        orthogonal_map = "matrix_exp" if is_exponential else "householder"
    if orthogonal_map not in _MAPS:
        raise ValueError(
            f"orthogonal_map is one of {', '.join(_MAPS)}, not {orthogonal_map!r}"
        )
    made = _Orthogonal(weight, orthogonal_map, use_trivialization)
    return register_parametrization(module, name, made, unsafe=True)


class _Orthogonal(Module):
    base: Tensor | None

    def __init__(self, weight: Tensor, kind: str, use_base: bool) -> None:
        super().__init__()
        if weight.is_complex() and kind == "householder":
            raise DTypeError(
                f"orthogonal_map 'householder' of a {weight.dtype} weight",
                hint="its product of reflections is real; use 'matrix_exp' or 'cayley'",
            )
        self.shape = tuple(weight.shape)
        self.kind = kind
        if use_base:
            self.register_buffer("base", None)
        self.use_base = use_base

    def forward(self, original: Tensor) -> Tensor:
        is_wide = original.shape[-2] < original.shape[-1]
        tall = original.mT if is_wide else original
        found = _MAPS[self.kind](tall)
        if self.use_base:
            assert self.base is not None
            found = self.base @ found
        return found.mT if is_wide else found

    def right_inverse(self, value: Tensor) -> Tensor:
        if tuple(value.shape) != self.shape:
            raise ShapeError(
                f"an orthogonal weight of shape {self.shape} is given one of shape "
                f"{tuple(value.shape)}"
            )
        is_wide = value.shape[-2] < value.shape[-1]
        tall = value.mT if is_wide else value
        if self.use_base:
            self.base = _completed(tall)
            return _minus_identity(value)
        if self.kind != "householder":
            raise UnsupportedError(
                f"a matrix for the orthogonal_map {self.kind!r} without a base: no "
                "inverse is defined",
                hint="pass use_trivialization=True, or orthogonal_map='householder'",
            )
        reflections = _reflections_of(tall)
        return reflections.mT if is_wide else reflections


# --- maps from any matrix to an orthogonal one ----------------------------------------


def _skew(tall: Tensor) -> Tensor:
    """A square matrix with A = -Aᴴ made of the entries on and below the diagonal."""
    rows, columns = tall.shape[-2:]
    lower = tall.tril()
    if rows != columns:
        lower = cat([lower, lower.new_zeros(*tall.shape[:-1], rows - columns)], -1)
    return lower - lower.mH


def _exponential(tall: Tensor) -> Tensor:
    return matrix_exp(_skew(tall))[..., : tall.shape[-1]]


def _cayley(tall: Tensor) -> Tensor:
    half = _skew(tall) / 2
    identity = _identity_like(half)
    return solve(identity - half, identity + half)[..., : tall.shape[-1]]


def _householder(tall: Tensor) -> Tensor:
    """Reflections below the diagonal, and signs of columns on it."""
    vectors = tall.tril(-1)
    tau = 2 / (1 + vectors.square().sum(-2))
    signs = tall.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)
    return householder_product(vectors, tau) * signs


_MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "matrix_exp": _exponential,
    "cayley": _cayley,
    "householder": _householder,
}


# --- and back -------------------------------------------------------------------------


def _completed(tall: Tensor) -> Tensor:
    """A square orthogonal matrix that begins with the columns of ``tall``."""
    rows, columns = tall.shape[-2:]
    if rows != columns:
        more = tall.new_empty(*tall.shape[:-1], rows - columns).normal_()
        return _orthonormal(cat([tall, more], -1))
    tolerance = 10 * rows * _epsilon(tall)
    wanted = _identity_like(tall).expand(tall.shape)
    is_already = (tall.mH @ tall).allclose(wanted, atol=tolerance)
    return tall.clone() if is_already else _orthonormal(tall)


def _epsilon(tensor: Tensor) -> float:
    from tetragrad.tensor.dtype_limits import finfo

    return finfo(tensor.dtype).eps


def _orthonormal(matrix: Tensor) -> Tensor:
    """The factor Q of QR whose R has a positive diagonal."""
    reflections, tau = matrix.geqrf()
    signs = reflections.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)
    return householder_product(reflections, tau) * signs


def _minus_identity(value: Tensor) -> Tensor:
    """What every map takes to the identity."""
    return -_identity_like(value).expand(value.shape)


def _identity_like(value: Tensor) -> Tensor:
    """Ones on the diagonal of a matrix that need not be square."""
    return Tensor.eye(*value.shape[-2:], dtype=value.dtype, device=value.device)


def _reflections_of(tall: Tensor) -> Tensor:
    """The reflections that give an orthogonal matrix, with signs on the diagonal."""
    reflections, tau = tall.geqrf()
    signs = reflections.diagonal(dim1=-2, dim2=-1).sign()
    # Where there is no reflection, 2 / (1 + 0) would make one, of the sign alone.
    signs = (-signs).where(tau == 0, signs)
    return reflections.tril(-1) + _identity_like(tall) * signs.unsqueeze(-2)
