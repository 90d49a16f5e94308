"""Text, on the host: joining, splitting, cleaning, counting n-grams."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tetragrad.core.errors import TetragradError
from tetragrad.onnx.registry import operator
from tetragrad.onnx.values import STRING, Host


@operator("StringConcat")
def string_concat(a: Host, b: Host) -> Host:
    return np.asarray(a + b, object)


@operator("RegexFullMatch")
def regex_full_match(x: Host, *, pattern: str) -> Host:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise TetragradError(f"RegexFullMatch by {pattern!r}: {error}") from error
    found = [compiled.fullmatch(text) is not None for text in x.ravel()]
    return np.asarray(found, np.bool_).reshape(x.shape)


@operator("StringSplit")
def string_split(
    x: Host, *, delimiter: str | None = None, maxsplit: int | None = None
) -> tuple[Host, Host]:
    """The parts in a new last dimension, filled up with '', and their numbers."""
    limit = -1 if maxsplit is None else maxsplit
    parts = [text.split(delimiter or None, limit) for text in x.ravel()]
    longest = max(map(len, parts), default=0)
    table = np.full((len(parts), longest), "", object)
    for row, entries in enumerate(parts):
        table[row, : len(entries)] = entries
    counts = np.asarray([len(entries) for entries in parts], np.int64)
    return table.reshape(*x.shape, longest), counts.reshape(x.shape)


@operator("StringNormalizer")
def string_normalizer(
    x: Host,
    *,
    case_change_action: str = "NONE",
    is_case_sensitive: int = 0,
    locale: str = "",
    stopwords: Sequence[str] = (),
) -> Host:
    """Without the stop words, in the case that is asked for."""
    changes: dict[str, Callable[[str], str]] = {
        "NONE": str,
        "LOWER": str.lower,
        "UPPER": str.upper,
    }
    change = changes[case_change_action]
    if is_case_sensitive:
        kept = [text for text in x.ravel() if text not in stopwords]
    else:
        lowered = {word.lower() for word in stopwords}
        kept = [text for text in x.ravel() if text.lower() not in lowered]
    result = np.asarray([change(text) for text in kept] or [""], object)
    return result.reshape(1, -1) if x.ndim == 2 else result


@operator("TfIdfVectorizer")
def tf_idf_vectorizer(
    x: Host,
    *,
    max_gram_length: int,
    max_skip_count: int,
    min_gram_length: int,
    mode: str,
    ngram_counts: Sequence[int],
    ngram_indexes: Sequence[int],
    pool_int64s: Sequence[int] | None = None,
    pool_strings: Sequence[str] | None = None,
    weights: Sequence[float] | None = None,
) -> Host:
    """How often each n-gram of a pool occurs, perhaps weighted."""
    pool: list[Any] = list(pool_int64s or pool_strings or ())
    places = _gram_places(pool, ngram_counts, ngram_indexes)
    rows = x if x.ndim == 2 else x.reshape(1, -1)
    width = max(ngram_indexes, default=-1) + 1
    counts = np.zeros((len(rows), width), np.float32)
    for row, tokens in enumerate(rows):
        tokens = [t if x.dtype == STRING else int(t) for t in tokens]
        lengths = range(min_gram_length, max_gram_length + 1)
        for gram in _grams(tokens, lengths, max_skip_count):
            if gram in places:
                counts[row, places[gram][0]] += 1
    if mode == "IDF":
        counts = np.minimum(counts, 1)
    if mode != "TF" and weights is not None:
        for place, number in places.values():
            counts[:, place] *= weights[number]
    return counts if x.ndim == 2 else counts[0]


def _gram_places(
    pool: list[Any], starts: Sequence[int], indexes: Sequence[int]
) -> dict[tuple[Any, ...], tuple[int, int]]:
    """For each n-gram of the pool its output, and its number.

    ``starts`` says where in the pool the n-grams of each length begin.
    """
    places: dict[tuple[Any, ...], tuple[int, int]] = {}
    bounds = [*starts, len(pool)]
    for length, (first, after) in enumerate(itertools.pairwise(bounds), 1):
        for start in range(first, after, length):
            number = len(places)
            gram = tuple(pool[start : start + length])
            places[gram] = (indexes[number], number)
    return places


def _grams(tokens: list[Any], lengths: range, skips: int) -> list[tuple[Any, ...]]:
    """Every n-gram of the lengths, of tokens up to ``skips`` apart.

    A single token has nothing to skip, and counts once.
    """
    found: list[tuple[Any, ...]] = []
    for length in lengths:
        for skip in range(1 if length == 1 else skips + 1):
            step = skip + 1
            for start in range(len(tokens) - step * (length - 1)):
                stop = start + step * (length - 1) + 1
                found.append(tuple(tokens[start:stop:step]))
    return found
