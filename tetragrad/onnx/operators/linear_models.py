"""Linear regression and classification, of the domain ai.onnx.ml."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tetragrad.onnx.operators.scores import labelled, transformed
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import Host

_DOMAIN = "ai.onnx.ml"


def _products(
    x: Host,
    coefficients: Sequence[float],
    intercepts: Sequence[float] | None,
    count: int,
) -> np.ndarray:
    """x·Wᵀ + b, for so many targets."""
    weights = np.asarray(coefficients, np.float32).reshape(count, -1)
    products = np.atleast_2d(x).astype(np.float32) @ weights.T
    return products if not intercepts else products + np.asarray(intercepts, "f4")


@operator("LinearRegressor", domain=_DOMAIN)
def linear_regressor(
    x: Host,
    *,
    coefficients: Sequence[float],
    intercepts: Sequence[float] | None = None,
    post_transform: str = "NONE",
    targets: int = 1,
) -> Host:
    return transformed(_products(x, coefficients, intercepts, targets), post_transform)


@operator("LinearClassifier", domain=_DOMAIN)
def linear_classifier(
    x: Host,
    *,
    classlabels_ints: Sequence[int] | None = None,
    classlabels_strings: Sequence[str] | None = None,
    coefficients: Sequence[float],
    intercepts: Sequence[float] | None = None,
    multi_class: int = 0,
    post_transform: str = "NONE",
) -> tuple[Host, Host]:
    """The label of the best class, and the scores of all."""
    features = np.atleast_2d(x).shape[1]
    count = len(coefficients) // features
    scores = _products(x, coefficients, intercepts, count)
    labels = classlabels_strings or classlabels_ints or (0, 1)
    if count == 1 and len(labels) == 2:
        # One score says how likely the second class is.
        scores = np.concatenate([-scores, scores], 1)
        if post_transform == "NONE":
            scores[:, 0] = 1 - scores[:, 1]
    best = scores.argmax(1)
    shown = transformed(scores, post_transform)
    return labelled(best, classlabels_ints, classlabels_strings), shown
