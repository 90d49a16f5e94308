"""Pruning: weights that stay zero, by a mask that is applied before every call.

The parameter ``weight`` becomes ``weight_orig`` and a buffer ``weight_mask``; the layer
computes with ``weight``, their product. ``remove`` makes the zeros permanent.

Source: Han et al., "Learning both weights and connections for efficient neural
networks", 2015.
"""

from tetragrad.nn.utils.prune.functions import (
    custom_from_mask,
    global_unstructured,
    identity,
    is_pruned,
    l1_unstructured,
    ln_structured,
    random_structured,
    random_unstructured,
    remove,
)
from tetragrad.nn.utils.prune.method import BasePruningMethod, PruningContainer
from tetragrad.nn.utils.prune.methods import (
    CustomFromMask,
    Identity,
    L1Unstructured,
    LnStructured,
    RandomStructured,
    RandomUnstructured,
)

__all__ = [
    "BasePruningMethod",
    "CustomFromMask",
    "Identity",
    "L1Unstructured",
    "LnStructured",
    "PruningContainer",
    "RandomStructured",
    "RandomUnstructured",
    "custom_from_mask",
    "global_unstructured",
    "identity",
    "is_pruned",
    "l1_unstructured",
    "ln_structured",
    "random_structured",
    "random_unstructured",
    "remove",
]
