"""Random orders and numbers, the same on every machine and in every version.

NumPy promises a stable stream for its bit generators but not for
``Generator.permutation``, so the permutation is made here: sort positions by random
64-bit keys (Philox: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3").
"""

from __future__ import annotations

import numpy as np

SEED_LIMIT = 2**64


def permutation(length: int, seed: int, epoch: int = 0) -> np.ndarray:
    """The numbers below ``length`` in an order that seed and epoch determine."""
    return np.argsort(_random_keys(length, seed, epoch), kind="stable")


def uniform(length: int, seed: int, epoch: int = 0) -> np.ndarray:
    """Numbers from 0 up to, but without, 1, that seed and epoch determine."""
    return (_random_keys(length, seed, epoch) >> np.uint64(11)) * 2.0**-53


def _random_keys(length: int, seed: int, epoch: int) -> np.ndarray:
    key = np.array([seed % SEED_LIMIT, epoch % SEED_LIMIT], dtype=np.uint64)
    return np.random.Philox(key=key).random_raw(length)
