"""What a device can do, as plain data: code for it can be generated anywhere."""

from __future__ import annotations

from dataclasses import field

from tetragrad.core.dtypes import DType
from tetragrad.core.frozen import frozen


@frozen
class DotStep:
    """An instruction that adds several products to each lane at once.

    ``total[n] += Σ_{i < depth} lhs[i] * rhs[n, i]``, where the elements of a group,
    i = 0 … depth-1, lie next to each other.

    An instruction for whole tiles does that for so many ``rows`` of totals, and for so
    many ``groups`` along the depth, which must lie next to each other in ``lhs``.
    """

    name: str
    lhs: DType
    rhs: DType
    total: DType
    depth: int
    rows: int = 1
    groups: int = 1


@frozen
class Target:
    """The facts that fusion, plans and the cost model use about a device.

    Rates are per second for the whole device, sizes in bytes. A backend fills
    this in; nothing above ``backends`` asks which device it is.
    """

    backend: str
    architecture: str
    units: int = 1
    vector_bytes: int = 16
    registers: int = 16
    shared_bytes: int = 32 * 1024
    cache_bytes: int = 1024 * 1024
    memory_bandwidth: float = 10e9
    arithmetic_rate: float = 50e9
    launch_seconds: float = 1e-6
    #: Elements that make handing out one grid iteration pay; 1: they cost nothing.
    iteration_elements: int = 1 << 13
    #: Independent pieces that a large kernel should have.
    pieces: int = 64
    #: Vectors of a row that stay in registers from one pass over it to the next.
    row_vectors: int = 0
    #: The widest that ``vector_bytes`` may grow to for a long row.
    longest_vector_bytes: int = 0
    #: How many times as long a row may be that several blocks hold together.
    neighbours: int = 1
    #: What neighbouring rows of a tile should be an odd multiple of apart.
    line_bytes: int = 64
    #: What rows of a product's operands are multiples of, and temporaries laid out
    #: for; 0: operands are packed anyway, and temporaries are row-major.
    chunk_bytes: int = 0
    #: Whether one launch can run a program on the pieces of many buffers.
    joins_pieces: bool = False
    #: Instructions for products of narrow dtypes, the fastest first.
    dot_steps: tuple[DotStep, ...] = ()
    features: frozenset[str] = field(default_factory=frozenset)

    @property
    def has_free_iterations(self) -> bool:
        """Whether hardware hands out grid iterations, as many as one likes."""
        return self.iteration_elements <= 1

    @property
    def has_roles(self) -> bool:
        """Whether a matrix unit is fed by roles: some bring, and others multiply.

        They bring operands behind a guard, too, and store blocks of any shape.
        """
        return "wgmma" in self.features

    @property
    def longest_kept_row(self) -> int:
        """Elements of a row that stays in registers from one pass to the next."""
        return self.row_vectors * self.longest_vector_bytes * self.neighbours // 4

    @property
    def chained_bytes(self) -> int:
        """Bytes of a row that kernels joined to one hand on; 0: they are not joined.

        A block holds it twice, as it was and as it becomes, with some gaps.
        """
        return self.shared_bytes * 9 // 20 if self.has_free_iterations else 0

    def vector_lanes(self, itemsize: int) -> int:
        """Elements of this size that one vector register holds."""
        return max(1, self.vector_bytes // itemsize)
