"""Parametrisations of weights: by length and direction, by norm, as rotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tetragrad.core.errors import ShapeError, missing
from tetragrad.nn.module import Module
from tetragrad.nn.utils.parametrize import register_parametrization
from tetragrad.tensor import Tensor
from tetragrad.tensor.modes import no_grad

if TYPE_CHECKING:
    from tetragrad.nn.utils.orthogonal import orthogonal

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


def weight_norm(module: Any, name: str = "weight", dim: int = 0) -> Any:
    """Train a weight as length times direction: w = g·v / ‖v‖; returns the module.

    ``parametrizations.weight.original0`` is g and ``original1`` is v; the norm is taken
    over all dimensions but ``dim``, and over all of them for -1 or None.

    Source: Salimans and Kingma, "Weight normalization", 2016.

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))
    >>> [tuple(entry.shape) for entry in layer.parameters()]
    [(3,), (3, 1), (3, 2)]
    """
    return register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


class _WeightNorm(Module):
    def __init__(self, dim: int | None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, length: Tensor, direction: Tensor) -> Tensor:
        return direction * (length / self.norm(direction))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return self.norm(weight), weight

    def norm(self, direction: Tensor) -> Tensor:
        """‖v‖ over all dimensions but ``dim``, kept for broadcasting."""
        square = direction * direction
        if self.dim is None or self.dim == -1:
            return square.sum().sqrt()
        others = [dim for dim in range(direction.ndim) if dim != self.dim]
        return square.sum(dim=others, keepdim=True).sqrt()


def spectral_norm(
    module: Any,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Any:
    """Divide a weight by its largest singular value; returns the module.

    The value is estimated by power iteration, so many steps at each read while the
    module trains. ``dim`` is the dimension of outputs: 0, but 1 for transposed
    convolutions.

    Source: Miyato et al., "Spectral normalization for generative adversarial networks",
    2018.

    >>> layer = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
    >>> layer = layer.eval()
    >>> bool(tetragrad.linalg.matrix_norm(layer.weight, 2) < 1.01)
    True
    """
    weight = getattr(module, name)
    found = output_dim(module) if dim is None else dim
    made = _SpectralNorm(weight.detach(), n_power_iterations, found, eps)
    return register_parametrization(module, name, made)


def output_dim(module: Any) -> int:
    """The dimension of a layer's weight that counts its outputs."""
    return 1 if "ConvTranspose" in type(module).__name__ else 0


def power_iteration_matrix(weight: Tensor, dim: int) -> Tensor:
    """A weight as a matrix with a row for each entry of a dimension."""
    others = [entry for entry in range(weight.ndim) if entry != dim % weight.ndim]
    return weight.permute(dim % weight.ndim, *others).flatten(1)


def normalized(vector: Tensor, eps: float) -> Tensor:
    """A vector of length 1; a shorter one than ``eps`` is divided by that."""
    return vector / vector.square().sum().sqrt().clamp(min=eps)


class _SpectralNorm(Module):
    def __init__(self, weight: Tensor, steps: int, dim: int, eps: float) -> None:
        super().__init__()
        if steps < 1:
            raise ValueError(f"n_power_iterations is {steps}, and must be positive")
        if not -weight.ndim <= dim < weight.ndim:
            raise ShapeError(f"dim {dim} of a weight of shape {tuple(weight.shape)}")
        self.dim, self.steps, self.eps = dim % weight.ndim, steps, eps
        if weight.ndim > 1:
            with no_grad():
                matrix = power_iteration_matrix(weight, self.dim)
                left = normalized(weight.new_empty(matrix.shape[0]).normal_(), eps)
                right = normalized(weight.new_empty(matrix.shape[1]).normal_(), eps)
            self.register_buffer("_u", left)
            self.register_buffer("_v", right)
            # The estimate is good from the start.
            self.iterate(matrix, 15)

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return normalized(weight, self.eps)
        matrix = power_iteration_matrix(weight, self.dim)
        if self.training:
            self.iterate(matrix.detach(), self.steps)
        left, right = self._u.clone(), self._v.clone()
        return weight / left.dot(matrix @ right)

    def right_inverse(self, value: Tensor) -> Tensor:
        return value

    def iterate(self, matrix: Tensor, steps: int) -> None:
        """Bring both singular vectors closer to those of the largest value."""
        with no_grad():
            left, right = self._u, self._v
            for _ in range(steps):
                left = normalized(matrix @ right, self.eps)
                right = normalized(matrix.T @ left, self.eps)
            self._u.copy_(left)
            self._v.copy_(right)


def __getattr__(name: str) -> Any:
    # Factorisations of matrices are imported when one is first used.
    if name == "orthogonal":
        from tetragrad.nn.utils import orthogonal as module

        return module.orthogonal
    raise missing(name, "tetragrad.nn.utils.parametrizations", __all__)
