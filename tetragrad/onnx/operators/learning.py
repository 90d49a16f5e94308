"""Encoders and scalers of classical machine learning, of the domain ai.onnx.ml."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tetragrad.core.errors import TetragradError
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import STRING, Host, Value, to_host, to_tensor
from tetragrad.tensor import Tensor
from tetragrad.tensor.arithmetic import where
from tetragrad.tensor.joining import cat

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


@operator("CategoryMapper", domain=_DOMAIN)
def category_mapper(
    x: Host,
    *,
    cats_int64s: Sequence[int],
    cats_strings: Sequence[str],
    default_int64: int = -1,
    default_string: str = "_Unused",
) -> Host:
    """Strings become numbers, and numbers strings."""
    return label_encoder(
        x,
        default_int64=default_int64,
        default_string=default_string,
        keys_strings=cats_strings if x.dtype == STRING else None,
        keys_int64s=None if x.dtype == STRING else cats_int64s,
        values_int64s=cats_int64s if x.dtype == STRING else None,
        values_strings=None if x.dtype == STRING else cats_strings,
    )


@operator("OneHotEncoder", domain=_DOMAIN)
def one_hot_encoder(
    x: Host,
    *,
    cats_int64s: Sequence[int] | None = None,
    cats_strings: Sequence[str] | None = None,
    zeros: int = 1,
) -> Host:
    """A new last dimension with a 1 at the element's category."""
    categories = list(cats_strings or cats_int64s or ())
    found = np.stack([x == entry for entry in categories], -1)
    if not zeros and not found.any(-1).all():
        raise TetragradError("OneHotEncoder of a value that is no category")
    return found.astype(np.float32)


@operator("Scaler", domain=_DOMAIN)
def scaler(x: Tensor, *, offset: Sequence[float], scale: Sequence[float]) -> Tensor:
    """(x − offset) · scale; each is one number, or one for each feature."""
    return (x.float() - _row(offset)) * _row(scale)


def _row(numbers: Sequence[float]) -> Tensor:
    """Numbers as a tensor; a single one broadcasts."""
    return to_tensor(np.asarray(numbers, np.float32))


@operator("Normalizer", domain=_DOMAIN)
def normalizer(x: Tensor, *, norm: str = "MAX") -> Tensor:
    """Each row divided by its largest element, or by a norm; rows of zeros stay."""
    numbers = x.float()
    if norm == "MAX":
        size = numbers.amax(-1, keepdim=True)
    elif norm == "L1":
        size = numbers.abs().sum(-1, keepdim=True)
    else:
        size = numbers.square().sum(-1, keepdim=True).sqrt()
    return numbers / where(size.eq(0), size + 1, size)


@operator("Imputer", domain=_DOMAIN)
def imputer(
    x: Tensor,
    *,
    imputed_value_floats: Sequence[float] | None = None,
    imputed_value_int64s: Sequence[int] | None = None,
    replaced_value_float: float = 0.0,
    replaced_value_int64: int = 0,
) -> Tensor:
    """One value, or NaN, replaced by another one for each feature."""
    if x.dtype.is_floating_point:
        is_nan = replaced_value_float != replaced_value_float
        missing = x.isnan() if is_nan else x.eq(replaced_value_float)
        new = np.asarray(imputed_value_floats, x.dtype.numpy)
    else:
        missing = x.eq(replaced_value_int64)
        new = np.asarray(imputed_value_int64s, x.dtype.numpy)
    return where(missing, to_tensor(new), x)


@operator("FeatureVectorizer", domain=_DOMAIN)
def feature_vectorizer(
    *columns: Tensor, inputdimensions: Sequence[int] | None = None
) -> Tensor:
    """The features of all inputs, one beside the other."""
    rows = [entry.reshape(entry.shape[0], -1).float() for entry in columns]
    sizes = inputdimensions or [entry.shape[1] for entry in rows]
    parts = [entry.cut(1, 0, size) for entry, size in zip(rows, sizes, strict=True)]
    return cat(parts, 1)


@operator("ZipMap", domain=_DOMAIN)
def zip_map(
    x: Host,
    *,
    classlabels_int64s: Sequence[int] | None = None,
    classlabels_strings: Sequence[str] | None = None,
) -> Value:
    """For each row a dict from a class to its score."""
    labels = list(classlabels_strings or classlabels_int64s or ())
    rows = x.reshape(-1, len(labels))
    return [dict(zip(labels, map(float, row), strict=True)) for row in rows]


@operator("DictVectorizer", domain=_DOMAIN)
def dict_vectorizer(
    x: Value,
    *,
    int64_vocabulary: Sequence[int] | None = None,
    string_vocabulary: Sequence[str] | None = None,
) -> Host:
    """The values of a dict in the order of a vocabulary; 0 for what it has not."""
    assert isinstance(x, dict)
    vocabulary = list(string_vocabulary or int64_vocabulary or ())
    found = [to_host(x[word]).item() if word in x else 0 for word in vocabulary]
    return np.asarray([found])
