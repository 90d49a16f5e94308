"""Operands that lie in memory as a micro-kernel reads them, because they were packed.

    y[m, n] = Σ_k x[m, k] * w[k, n]          w is the same at every launch
      ->  packed[n // 48, k, n % 48] = w[k, n]                      once
          y[m, n] = Σ_k x[m, k] * packed[n // 48, k, n % 48]        at every launch

Both are kernels like any other. The second one differs from the original in one load
only, so it takes the same arguments, but for one; what recognises it as packed is its
address. ``set_apart`` in ``tile/plans/choose_kept.py`` makes them.
"""

from __future__ import annotations

from tetragrad.core.frozen import frozen
from tetragrad.graph.elementwise import Cast
from tetragrad.kernel.affine import Affine, of_atom
from tetragrad.kernel.expression import (
    Compute,
    Expression,
    Load,
    Quotient,
    Remainder,
)


@frozen
class KeptPanels:
    """Panels in memory, each in one piece: [panel, depth, position in the panel].

    ``axis`` counts positions of the side, ``width`` of which are in a panel; from one
    panel to the next there are ``apart`` elements. ``rest`` is the part of the address
    that does not depend on the side.
    """

    axis: int
    width: int
    apart: int
    rest: Affine

    @property
    def steps(self) -> int:
        """Steps of the depth from one panel to the next."""
        return self.apart // self.width


def converted_load(value: Expression) -> Load | None:
    """The load that a value is, or that it is converted from.

    A micro-kernel converts elements as it loads them, so narrow ones stay narrow.
    """
    if isinstance(value, Compute) and value.op is Cast:
        (value,) = value.inputs
    return value if isinstance(value, Load) else None


def kept_panels(value: Expression) -> KeptPanels | None:
    """The panels that an operand is read from, if its address says that it is."""
    load = converted_load(value)
    if load is None or load.guard:
        return None
    atoms = {type(atom): (atom, part) for atom, part in load.address.terms}
    if Quotient not in atoms or Remainder not in atoms:
        return None
    (panel, apart), (place, step) = atoms[Quotient], atoms[Remainder]
    if panel.form != place.form or panel.divisor != place.divisor or step != 1:
        return None
    rest = load.address - of_atom(panel).scale(apart) - of_atom(place)
    axes = panel.form.terms
    if not rest.is_pure() or len(axes) != 1 or panel.form.constant or axes[0][1] != 1:
        return None
    axis = axes[0][0]
    if not isinstance(axis, int) or rest.coefficient(axis):
        return None
    return KeptPanels(axis, panel.divisor, apart, rest)
