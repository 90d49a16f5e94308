"""Values that must lie where a function is defined, found out while it is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tetragrad.core.dtypes import int32
from tetragrad.engine.capture import user_line
from tetragrad.graph.markers import Legal

if TYPE_CHECKING:
    from tetragrad.tensor.tensor import Tensor


def probabilities(values: Any, name: str, hint: str) -> Tensor:
    """Values that are an error to use if one is not from 0 to 1."""
    known = values.detach()
    is_wrong = ((known >= 0) & (known <= 1)).logical_not()
    reason = f"{name} of probabilities that are not all from 0 to 1"
    return _unless(values, is_wrong.any(), reason, hint)


def weights_to_draw_by(values: Any) -> Tensor:
    """Values that are an error to use if they are no weights, along the last dimension.

    >>> from tetragrad.tensor.legality import weights_to_draw_by
    >>> weights_to_draw_by(Tensor([0.5, 2.0]))
    tensor([0.5000, 2.0000])
    """
    is_weight = (values >= 0) & (values < float("inf"))
    values = _unless(
        values,
        is_weight.logical_not().any(),
        "multinomial() by weights of which some are negative, infinite or NaN",
        "weights are probabilities, of which the logarithm is no substitute: "
        "x.softmax(-1)",
    )
    return _unless(
        values,
        (values.detach().sum(-1) <= 0).any(),
        "multinomial() by weights that are all 0",
        "give at least one element of each row a weight",
    )


def _unless(values: Any, is_wrong: Any, reason: str, hint: str) -> Tensor:
    """The values, which are an error to use if it is so."""
    worst = is_wrong.type(int32).node
    node = Legal(values.node, worst, 1, reason, user_line(), hint)
    checked: Tensor = values.result(node, values)
    return checked
