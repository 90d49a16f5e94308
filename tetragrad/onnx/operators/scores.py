"""From scores to probabilities and labels, for the models of ai.onnx.ml."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from tetragrad.core.errors import TetragradError

#: TreeEnsemble numbers the transformations that others call by name.
_NAMES = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


def transformed(scores: np.ndarray, how: str | int) -> np.ndarray:
    """Scores (rows, classes) as a model's ``post_transform`` asks for."""
    name = _NAMES[how] if isinstance(how, int) else how
    match name:
        case "NONE":
            return scores
        case "LOGISTIC":
            return logistic(scores)
        case "SOFTMAX" | "SOFTMAX_ZERO":
            powers = np.exp(scores - scores.max(1, keepdims=True))
            if name == "SOFTMAX_ZERO":
                powers = np.where(scores == 0, 0, powers)
            return powers / powers.sum(1, keepdims=True)
        case "PROBIT":
            return np.vectorize(NormalDist().inv_cdf)(scores)
    raise TetragradError(f"there is no post_transform {name!r}")


def logistic(scores: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(−x)), from the side that does not overflow."""
    powers = np.exp(-np.abs(scores))
    return np.where(scores >= 0, 1, powers) / (1 + powers)


def labelled(
    best: np.ndarray, ints: Sequence[int] | None, strings: Sequence[str] | None
) -> np.ndarray:
    """The labels of classes."""
    if strings:
        return np.asarray(list(strings), object)[best]
    return np.asarray(ints, np.int64)[best]
