"""Random numbers keyed by (key, example_id): the same on any worker, in any order, for any block
size.

A draw is a hash, not a state: splitmix64 of the example id, the draw number and the sha256 of a
readable key. So a subset, a planted label error or a pixel's noise can be recomputed anywhere from
its name alone.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["choose", "integers", "key_seed", "uniform"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


def key_seed(key: str) -> int:
    """A 64-bit seed from a readable key such as ``"subsample/0.25/1"``."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")


def _splitmix64(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * _MIX1
    x = (x ^ (x >> np.uint64(27))) * _MIX2
    mixed: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed


def _bits(key: str, example_ids: NDArray[np.int64], draws: int) -> NDArray[np.uint64]:
    """Raw 64-bit hashes, shape [n, draws]."""
    with np.errstate(over="ignore"):
        base = _splitmix64(np.asarray(example_ids).astype(np.uint64) ^ np.uint64(key_seed(key)))
        return _splitmix64(base[:, None] + np.arange(draws, dtype=np.uint64)[None, :] * _GOLDEN)


def uniform(key: str, example_ids: NDArray[np.int64], draws: int = 1) -> NDArray[np.float64]:
    """Uniform draws in [0, 1), float64 [n, draws], multiples of 2**-53."""
    return (_bits(key, example_ids, draws) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def integers(
    key: str, example_ids: NDArray[np.int64], high: int, draws: int = 1
) -> NDArray[np.int64]:
    """Uniform integers in [0, high), int64 [n, draws]."""
    return np.minimum((uniform(key, example_ids, draws) * high).astype(np.int64), high - 1)


def choose(key: str, example_ids: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Positions (sorted, int64 [count]) of ``count`` of the given examples, uniformly, without
    replacement.

    The same examples are chosen whatever their order: those with the smallest keyed draw, ties by
    example id.
    Nested in ``count``: the choice of 10 is contained in the choice of 20 under the same key.

    Raises:
        ValueError: if ``count`` is negative or exceeds the number of examples.
    """
    example_ids = np.asarray(example_ids, dtype=np.int64)
    if not 0 <= count <= len(example_ids):
        raise ValueError(f"cannot choose {count} of {len(example_ids)} examples")
    order = np.lexsort((example_ids, uniform(key, example_ids)[:, 0]))
    return np.sort(order[:count]).astype(np.int64)
