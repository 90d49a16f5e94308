"""Ensembles of decision trees, of the domain ai.onnx.ml.

All rows walk down a tree together, one level at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tetragrad.core.errors import TetragradError
from tetragrad.core.frozen import frozen
from tetragrad.onnx.operators.scores import labelled, transformed
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import Host

_DOMAIN = "ai.onnx.ml"

#: How a node compares its feature with its threshold; TreeEnsemble uses the places.
_COMPARISONS: tuple[tuple[str, Any], ...] = (
    ("BRANCH_LEQ", np.less_equal),
    ("BRANCH_LT", np.less),
    ("BRANCH_GTE", np.greater_equal),
    ("BRANCH_GT", np.greater),
    ("BRANCH_EQ", np.equal),
    ("BRANCH_NEQ", np.not_equal),
)
_MEMBER = 6


@frozen
class Forest:
    """The inner nodes of all trees; a negative successor −1−n is leaf n."""

    features: np.ndarray
    thresholds: np.ndarray
    #: The place in ``_COMPARISONS``, or ``_MEMBER``.
    modes: np.ndarray
    #: Whether NaN goes to the true side.
    takes_missing: np.ndarray
    #: The nodes on the false and on the true side: (2, nodes).
    successors: np.ndarray
    roots: Sequence[int]
    members: Mapping[int, set[float]]

    def leaves(self, x: np.ndarray) -> np.ndarray:
        """The leaf that each row reaches in each tree: (rows, trees)."""
        places = np.repeat(np.asarray(self.roots)[None], len(x), 0)
        rows = np.arange(len(x))[:, None]
        for _ in range(len(self.features) + 1):
            if (places < 0).all():
                return -1 - places
            at = np.maximum(places, 0)
            values = x[rows, self.features[at]]
            is_true = self._compared(values, at)
            missing = np.isnan(values) & self.takes_missing[at]
            following = self.successors[(is_true | missing).astype(int), at]
            places = np.where(places < 0, places, following)
        raise TetragradError("trees whose nodes form a cycle")

    def _compared(self, values: np.ndarray, at: np.ndarray) -> np.ndarray:
        modes = self.modes[at]
        is_true = np.zeros(values.shape, bool)
        for number, (_, function) in enumerate(_COMPARISONS):
            if (modes == number).any():
                found = function(values, self.thresholds[at])
                is_true = np.where(modes == number, found, is_true)
        for place in zip(*np.nonzero(modes == _MEMBER), strict=True):
            is_true[place] = float(values[place]) in self.members[int(at[place])]
        return is_true


@frozen
class Votes:
    """What each leaf adds to each target, and whether it says anything about it."""

    weights: np.ndarray
    counts: np.ndarray

    def combined(self, leaves: np.ndarray, how: str | int) -> np.ndarray:
        """Scores (rows, targets) of the leaves that rows have reached."""
        names = ("AVERAGE", "SUM", "MIN", "MAX")
        name = names[how] if isinstance(how, int) else how
        weights, says = self.weights[leaves], self.counts[leaves]
        if name in ("SUM", "AVERAGE"):
            total = np.where(says, weights, 0).sum(1)
            return total / leaves.shape[1] if name == "AVERAGE" else total
        worst = np.inf if name == "MIN" else -np.inf
        filled = np.where(says, weights, worst)
        found = filled.min(1) if name == "MIN" else filled.max(1)
        return np.where(says.any(1), found, 0)


def _votes(
    leaves: int, targets: int, entries: Sequence[tuple[int, int, float]]
) -> Votes:
    """From (leaf, target, weight) to a table."""
    weights = np.zeros((leaves, targets), np.float64)
    counts = np.zeros((leaves, targets), bool)
    for leaf, target, weight in entries:
        weights[leaf, target] += weight
        counts[leaf, target] = True
    return Votes(weights, counts)


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
) -> Host:
    """The leaves that each row reaches in all trees, combined for each target."""
    sides = (
        _successors(nodes_falsenodeids, nodes_falseleafs),
        _successors(nodes_truenodeids, nodes_trueleafs),
    )
    count = len(nodes_featureids)
    forest = Forest(
        np.asarray(nodes_featureids),
        nodes_splits,
        nodes_modes.astype(np.int64),
        np.asarray(nodes_missing_value_tracks_true or (0,) * count, bool),
        np.stack(sides),
        tree_roots,
        _member_sets(nodes_modes, membership_values),
    )
    numbers = range(len(leaf_targetids))
    entries = list(zip(numbers, leaf_targetids, leaf_weights.tolist(), strict=True))
    votes = _votes(len(numbers), n_targets, entries)
    scores = votes.combined(forest.leaves(x), aggregate_function)
    return transformed(scores, post_transform).astype(x.dtype)


def _successors(places: Sequence[int], are_leaves: Sequence[int]) -> np.ndarray:
    found = np.asarray(places)
    return np.where(np.asarray(are_leaves, bool), -1 - found, found)


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


def _listed_forest(nodes: Mapping[str, Any]) -> tuple[Forest, dict[Any, int]]:
    """A forest in the older form: nodes by number of tree and node, leaves among them.

    A leaf keeps the place of its node.
    """
    ids = list(zip(nodes["nodes_treeids"], nodes["nodes_nodeids"], strict=True))
    place_of = {entry: place for place, entry in enumerate(ids)}
    names = [name for name, _ in _COMPARISONS]
    modes = nodes["nodes_modes"]
    is_leaf = np.asarray([mode == "LEAF" for mode in modes])
    sides = []
    for key in ("nodes_falsenodeids", "nodes_truenodeids"):
        reached = [
            place if is_leaf[place] else place_of[tree, following]
            for place, ((tree, _), following) in enumerate(
                zip(ids, nodes[key], strict=True)
            )
        ]
        found = np.asarray(reached)
        sides.append(np.where(is_leaf[found], -1 - found, found))
    roots = [place for place, (tree, _) in enumerate(ids) if _is_first(ids, place)]
    starts = [-1 - place if is_leaf[place] else place for place in roots]
    values = nodes.get("nodes_values_as_tensor")
    thresholds = nodes["nodes_values"] if values is None else values
    tracks = nodes.get("nodes_missing_value_tracks_true") or (0,) * len(ids)
    forest = Forest(
        np.asarray(nodes["nodes_featureids"]),
        np.asarray(thresholds, np.float32 if values is None else values.dtype),
        np.asarray([0 if mode == "LEAF" else names.index(mode) for mode in modes]),
        np.asarray(tracks, bool),
        np.stack(sides),
        starts,
        {},
    )
    return forest, place_of


def _is_first(ids: Sequence[tuple[int, int]], place: int) -> bool:
    """Whether a node is the first of its tree in the list: its root."""
    return place == 0 or ids[place - 1][0] != ids[place][0]


def _listed_scores(
    x: Host, kind: str, targets: int, how: str, nodes: Mapping[str, Any]
) -> np.ndarray:
    """Scores (rows, targets) of a forest in the older form."""
    forest, place_of = _listed_forest(nodes)
    weights = nodes.get(f"{kind}_weights_as_tensor")
    weights = nodes[f"{kind}_weights"] if weights is None else weights.tolist()
    leaves = zip(nodes[f"{kind}_treeids"], nodes[f"{kind}_nodeids"], strict=True)
    entries = [
        (place_of[leaf], target, weight)
        for leaf, target, weight in zip(
            leaves, nodes[f"{kind}_ids"], weights, strict=True
        )
    ]
    votes = _votes(len(place_of), targets, entries)
    scores = votes.combined(forest.leaves(np.atleast_2d(x)), how)
    base = nodes.get("base_values_as_tensor", nodes.get("base_values"))
    return scores if base is None else scores + np.asarray(base)


@operator("TreeEnsembleRegressor", domain=_DOMAIN)
def tree_ensemble_regressor(
    x: Host,
    *,
    aggregate_function: str = "SUM",
    n_targets: int = 1,
    post_transform: str = "NONE",
    **nodes: Any,
) -> Host:
    scores = _listed_scores(x, "target", n_targets, aggregate_function, nodes)
    return transformed(scores, post_transform).astype(np.float32)


@operator("TreeEnsembleClassifier", domain=_DOMAIN)
def tree_ensemble_classifier(
    x: Host,
    *,
    classlabels_int64s: Sequence[int] | None = None,
    classlabels_strings: Sequence[str] | None = None,
    post_transform: str = "NONE",
    **nodes: Any,
) -> tuple[Host, Host]:
    """The label of the best class, and the scores of all."""
    count = len(classlabels_strings or classlabels_int64s or ())
    scores = _listed_scores(x, "class", count, "SUM", nodes)
    if count == 2 and len(set(nodes["class_ids"])) == 1:
        # One score for two classes: a probability if no leaf takes anything away.
        score = scores[:, nodes["class_ids"][0]]
        weights: Any = nodes.get("class_weights_as_tensor", nodes.get("class_weights"))
        is_share = post_transform == "NONE" and np.min(weights) >= 0
        scores = np.stack([1 - score if is_share else -score, score], 1)
    shown = transformed(scores, post_transform).astype(np.float32)
    return labelled(scores.argmax(1), classlabels_int64s, classlabels_strings), shown
