"""Products under way: the matrix unit works on them while the warps go on.

A product's registers may be touched, and the slots that it reads given back, when it
has finished. Products finish in the order in which they were issued, so waiting for
one is waiting until so many of the later ones are left (PTX ISA, "wgmma.wait_group").
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from tetragrad.backends.cuda.emit.matrix_unit.channels import RingEnd
from tetragrad.backends.cuda.emit.ptx import Builder
from tetragrad.tile.ir import Channel, Mma


@dataclass
class _Product:
    """The register tiles of a product, and the channels to release behind it."""

    tiles: frozenset[str]
    releases: list[str] = field(default_factory=list)


class UnderWay:
    """The products that have been issued and not waited for."""

    def __init__(self, builder: Builder, ends: Mapping[str, RingEnd]) -> None:
        self.builder = builder
        self.ends = ends
        self._products: list[_Product] = []

    def __bool__(self) -> bool:
        return bool(self._products)

    @property
    def releases(self) -> list[list[str]]:
        """What each product will give back."""
        return [list(product.releases) for product in self._products]

    def issued(self, product: Mma) -> None:
        """One more; those before it that hold slots are waited for meanwhile."""
        self._products.append(
            _Product(frozenset({product.accumulator.name, product.lhs.name}))
        )
        *earlier, _ = self._products
        holding = [number for number, entry in enumerate(earlier) if entry.releases]
        self._finish_first(max(holding, default=-1) + 1)

    def release(self, channel: Channel) -> None:
        """Give a slot back: later, if the last product may still read it."""
        end = self.ends[channel.name]
        end.release_later()
        if self._products:
            self._products[-1].releases.append(channel.name)
        else:
            end.release_noted()

    def finish(self, touched: Collection[str] | None = None) -> None:
        """Wait for the products that some tiles belong to, or for all."""
        wanted = [
            number
            for number, product in enumerate(self._products)
            if touched is None or not product.tiles.isdisjoint(touched)
        ]
        self._finish_first(max(wanted, default=-1) + 1)

    def _finish_first(self, count: int) -> None:
        if not count:
            return
        finished, self._products = self._products[:count], self._products[count:]
        left = len(self._products)
        self.builder.line(f"wgmma.wait_group.sync.aligned {left}")
        for product in finished:
            for name in product.releases:
                self.ends[name].release_noted()
