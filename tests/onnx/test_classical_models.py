"""Models of the domain ai.onnx.ml against ONNX Runtime and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("sklearn")

import onnxruntime
from onnx import TensorProto, helper
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeRegressor

from tetragrad import Tensor
from tetragrad.onnx import load

FEATURES, CLASSES = load_iris(return_X_y=True)
X = FEATURES.astype(np.float32)


def classical(
    operator: str, outputs: int = 1, element: int = TensorProto.FLOAT, **attributes: Any
) -> onnx.ModelProto:
    """A model of one node of the domain."""
    names = [f"y{number}" for number in range(outputs)]
    node = helper.make_node(operator, ["x"], names, domain="ai.onnx.ml", **attributes)
    graph = helper.make_graph(
        [node],
        "classical",
        [helper.make_tensor_value_info("x", element, [None, None])],
        [onnx.ValueInfoProto(name=name) for name in names],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def check(proto: onnx.ModelProto, x: np.ndarray) -> list[np.ndarray]:
    """The outputs, which are those of ONNX Runtime."""
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, {"x": x})
    results = load(proto)(x)
    found = [
        entry.numpy() if isinstance(entry, Tensor) else entry
        for entry in (results if isinstance(results, tuple) else (results,))
    ]
    for one, other in zip(found, expected, strict=True):
        if one.dtype == object:
            assert one.tolist() == other.tolist()
        else:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    return found


def tree_nodes(trees: list[Any]) -> dict[str, list[Any]]:
    """scikit-learn's trees as the attributes of a node."""
    nodes: dict[str, list[Any]] = {
        f"nodes_{name}": []
        for name in (
            "treeids nodeids featureids values modes truenodeids falsenodeids".split()
        )
    }
    for number, tree in enumerate(trees):
        for place in range(tree.node_count):
            is_leaf = tree.children_left[place] < 0
            entry = {
                "treeids": number,
                "nodeids": place,
                "featureids": max(int(tree.feature[place]), 0),
                "values": float(tree.threshold[place]),
                "modes": "LEAF" if is_leaf else "BRANCH_LEQ",
                "truenodeids": max(int(tree.children_left[place]), 0),
                "falsenodeids": max(int(tree.children_right[place]), 0),
            }
            for name, value in entry.items():
                nodes[f"nodes_{name}"].append(value)
    return nodes


def leaf_weights(trees: list[Any], kind: str, share: float) -> dict[str, list[Any]]:
    """What the leaves say, as the attributes of a node."""
    names = [f"{kind}_{name}" for name in ("treeids", "nodeids", "ids", "weights")]
    found: dict[str, list[Any]] = {name: [] for name in names}
    for number, tree in enumerate(trees):
        for place in np.flatnonzero(tree.children_left < 0):
            values = tree.value[place][0]
            values = values / values.sum() if kind == "class" else values
            for target, value in enumerate(values):
                row = (number, int(place), target, float(value) * share)
                for name, entry in zip(names, row, strict=True):
                    found[name].append(entry)
    return found


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_a_forest_that_classifies(transform: str) -> None:
    forest = RandomForestClassifier(5, max_depth=4, random_state=0)
    forest.fit(X, CLASSES)
    trees = [entry.tree_ for entry in forest.estimators_]
    proto = classical(
        "TreeEnsembleClassifier",
        2,
        classlabels_int64s=[0, 1, 2],
        post_transform=transform,
        **tree_nodes(trees),
        **leaf_weights(trees, "class", 1 / len(trees)),
    )
    labels, scores = check(proto, X)
    assert (labels == forest.predict(X)).mean() > 0.99
    if transform == "NONE":
        # A feature may lie between a threshold and its rounding to float32.
        assert np.abs(scores - forest.predict_proba(X)).mean() < 1e-3


@pytest.mark.parametrize("combine", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_trees_that_regress(combine: str) -> None:
    trees = [
        DecisionTreeRegressor(max_depth=depth).fit(X[:, :3], X[:, 3]).tree_
        for depth in (1, 3)
    ]
    proto = classical(
        "TreeEnsembleRegressor",
        aggregate_function=combine,
        n_targets=1,
        base_values=[0.25],
        **tree_nodes(trees),
        **leaf_weights(trees, "target", 1.0),
    )
    check(proto, X[:, :3])


@pytest.mark.parametrize("transform", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_a_line_between_classes(transform: str) -> None:
    generator = np.random.default_rng(0)
    proto = classical(
        "LinearClassifier",
        2,
        coefficients=generator.standard_normal(12).tolist(),
        intercepts=[0.5, -1.0, 0.25],
        classlabels_strings=["a", "b", "c"],
        post_transform=transform,
    )
    labels, _ = check(proto, X)
    assert set(labels) <= {"a", "b", "c"}


def test_a_line_through_points() -> None:
    coefficients = np.arange(8, dtype=np.float32).tolist()
    proto = classical(
        "LinearRegressor", coefficients=coefficients, intercepts=[1.0, 2.0], targets=2
    )
    check(proto, X)


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_rows_of_one_size(norm: str) -> None:
    check(classical("Normalizer", norm=norm), X)


def test_features_of_one_scale() -> None:
    check(classical("Scaler", offset=[1.0, 2, 3, 4], scale=[0.5, 1, 2, 4]), X)
    check(classical("Scaler", offset=[1.0], scale=[0.5]), X)


def test_missing_values_are_filled_in() -> None:
    x = X.copy()
    x[::3, 1] = np.nan
    proto = classical(
        "Imputer",
        imputed_value_floats=[1.0, 2.0, 3.0, 4.0],
        replaced_value_float=float("nan"),
    )
    check(proto, x)


def test_categories_become_columns() -> None:
    x = np.array([[1, 3], [2, 1]], np.int64)
    proto = classical("OneHotEncoder", element=TensorProto.INT64, cats_int64s=[1, 2, 3])
    check(proto, x)


def test_scores_with_the_names_of_their_classes() -> None:
    proto = classical("ZipMap", classlabels_strings=["a", "b"])
    x = np.array([[0.25, 0.75], [1, 0]], np.float32)
    assert load(proto)(x) == [{"a": 0.25, "b": 0.75}, {"a": 1.0, "b": 0.0}]
