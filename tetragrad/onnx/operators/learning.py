"""Classical machine learning, of the domain ai.onnx.ml: encoders and trees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tetragrad.core.errors import TetragradError
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import STRING, Host, Value
from tetragrad.tensor import Tensor

_DOMAIN = "ai.onnx.ml"


@operator("Binarizer", domain=_DOMAIN)
def binarizer(x: Tensor, *, threshold: float = 0.0) -> Tensor:
    return (x > threshold).to(x.dtype)


@operator("LabelEncoder", domain=_DOMAIN)
def label_encoder(
    x: Host,
    *,
    default_float: float = -0.0,
    default_int64: int = -1,
    default_string: str = "_Unused",
    default_tensor: Host | None = None,
    keys_floats: Sequence[float] | None = None,
    keys_int64s: Sequence[int] | None = None,
    keys_strings: Sequence[str] | None = None,
    keys_tensor: Host | None = None,
    values_floats: Sequence[float] | None = None,
    values_int64s: Sequence[int] | None = None,
    values_strings: Sequence[str] | None = None,
    values_tensor: Host | None = None,
) -> Host:
    """Each element replaced by what a table has for it, on the host."""
    keys = _first(keys_tensor, keys_strings, keys_int64s, keys_floats)
    choices: tuple[tuple[Any, Any, Any], ...] = (
        (values_tensor, None, default_tensor),
        (values_strings, STRING, default_string),
        (values_int64s, np.int64, default_int64),
        (values_floats, np.float32, default_float),
    )
    for values, dtype, default in choices:
        if values is None:
            continue
        found_dtype = values.dtype if dtype is None else dtype
        missing = _plain(default)[0] if isinstance(default, np.ndarray) else default
        table = dict(zip(map(_key, _plain(keys)), _plain(values), strict=True))
        found = [table.get(_key(entry), missing) for entry in _plain(x)]
        result = np.empty(len(found), found_dtype)
        result[:] = found
        return result.reshape(x.shape)
    raise TetragradError("a LabelEncoder without values")


def _first(*given: Any) -> Any:
    return next(entry for entry in given if entry is not None)


def _plain(values: Any) -> list[Any]:
    return np.asarray(values, object).ravel().tolist()


def _key(value: Any) -> Any:
    """NaN is a key like others, though it does not equal itself."""
    return "\0nan" if isinstance(value, float) and value != value else value


#: TreeEnsemble's numbers for how a node compares its feature with its threshold.
_COMPARISONS = {
    0: np.less_equal,
    1: np.less,
    2: np.greater_equal,
    3: np.greater,
    4: np.equal,
    5: np.not_equal,
}
_MEMBER = 6


@operator("TreeEnsemble", domain=_DOMAIN)
def tree_ensemble(
    x: Host,
    *,
    aggregate_function: int = 1,
    leaf_targetids: Sequence[int],
    leaf_weights: Host,
    membership_values: Host | None = None,
    n_targets: int = 1,
    nodes_falseleafs: Sequence[int],
    nodes_falsenodeids: Sequence[int],
    nodes_featureids: Sequence[int],
    nodes_hitrates: Host | None = None,
    nodes_missing_value_tracks_true: Sequence[int] | None = None,
    nodes_modes: Host,
    nodes_splits: Host,
    nodes_trueleafs: Sequence[int],
    nodes_truenodeids: Sequence[int],
    post_transform: int = 0,
    tree_roots: Sequence[int],
) -> Value:
    """The leaves that each row reaches in all trees, combined for each target."""
    members = _member_sets(nodes_modes, membership_values)
    found: list[list[list[float]]] = [[[] for _ in range(n_targets)] for _ in x]
    features, sides = (
        np.asarray(nodes_featureids),
        (
            (nodes_falsenodeids, nodes_falseleafs),
            (nodes_truenodeids, nodes_trueleafs),
        ),
    )
    tracks = nodes_missing_value_tracks_true or (0,) * len(features)
    for number, row in enumerate(x):
        for root in tree_roots:
            place = root
            for _ in range(len(features) + 1):
                value = row[features[place]]
                mode = int(nodes_modes[place])
                if mode == _MEMBER:
                    is_true = float(value) in members[place]
                else:
                    is_true = bool(_COMPARISONS[mode](value, nodes_splits[place]))
                if np.isnan(value):
                    is_true = is_true or bool(tracks[place])
                targets, are_leaves = sides[is_true]
                is_leaf, place = are_leaves[place], targets[place]
                if is_leaf:
                    break
            else:
                raise TetragradError("a TreeEnsemble whose nodes form a cycle")
            found[number][leaf_targetids[place]].append(float(leaf_weights[place]))
    scores = np.asarray(
        [[_combined(entries, aggregate_function) for entries in row] for row in found]
    )
    return _transformed(scores.reshape(len(x), n_targets), post_transform).astype(
        x.dtype
    )


def _member_sets(modes: Host, values: Host | None) -> dict[int, set[float]]:
    """For each node that asks for membership its set; NaN stands between sets."""
    sets: list[set[float]] = [set()]
    for value in [] if values is None else values.ravel():
        if np.isnan(value):
            sets.append(set())
        else:
            sets[-1].add(float(value))
    places = [place for place, mode in enumerate(modes) if int(mode) == _MEMBER]
    return dict(zip(places, sets, strict=False))


def _combined(entries: list[float], how: int) -> float:
    if not entries:
        return 0.0
    match how:
        case 0:
            return sum(entries) / len(entries)
        case 1:
            return sum(entries)
        case 2:
            return min(entries)
    return max(entries)


def _transformed(scores: np.ndarray, how: int) -> np.ndarray:
    match how:
        case 0:
            return scores
        case 1 | 3:
            powers = np.exp(scores - scores.max(1, keepdims=True))
            if how == 3:
                powers = np.where(scores == 0, 0, powers)
            return powers / powers.sum(1, keepdims=True)
        case 2:
            return 1 / (1 + np.exp(-scores))
    from statistics import NormalDist

    return np.vectorize(NormalDist().inv_cdf)(scores)
