"""Pictures that are almost the same: one that was saved again by another program, at another
quality or in another size, brighter or darker, blurred or sharpened.

1. A picture's *hash* are signs of its low frequencies: of the cosine transform of its grey values,
   averaged to 32 x 32 pixels, 63 of the lowest 8 x 8 (the constant left out) and 64 that follow.
   Saving again or resizing turns few of them.
2. *Candidates* are pairs that differ in at most 4 of the first and 10 of the second. The first are
   cut into six blocks; such a pair is equal in two blocks at least, so it is enough to sort by each
   two blocks and to compare neighbours: no picture is compared with all others. At most 256
   neighbours are looked at among equal ones. Where more are so alike, pairs may be missed.
3. A candidate *counts* if the pictures agree themselves: over 32 x 32 pixels a correlation of .995
   in grey, and of .96 in colour, which files keep more coarsely, as they are or after one of them
   was blurred (by a Gaussian of up to 2 of these pixels). Of one picture and itself blurred, the
   cosine transforms differ by one factor for each distance from the constant, so that every width
   is tried without blurring anything. That is the check against pictures that are alike and not the
   same, as digits of one class are (docs/LOG.md).

Flat pictures, and those below 8 pixels, have no hash that means anything, and take no part. Small
pictures that were saved at a low quality, and cut, turned or mirrored ones are not found.

Letters: n, E pictures, H W K height, width, channels, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zoo.arrays import Floats, Ints, Mask

__all__ = ["SIDE", "candidates", "groups", "hashes", "same_picture", "thumbnails"]

SIDE: Final = 32
_FREQUENCIES, _LOW = 12, 8
_FIRST_BITS, _SECOND_BITS = 4, 10
_NEIGHBOURS: Final = 256
_GREY, _COLOUR = 0.995, 0.96
_FLAT: Final = 4.0
"""Standard deviation, in grey values, below which a picture is flat."""
_SMALLEST: Final = 8
"""Side in pixels below which a picture has too few frequencies."""
_PAIRS: Final = 2048
_BLURS: Final = (0.0, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""Standard deviations, in pixels of 32 x 32, by which one of two may have been blurred."""

Hashes = NDArray[np.uint64]


def _averaging(n: int) -> Floats:
    """[32, n]: each row the share that n pixels have in one of 32 equal stretches."""
    edges, pixels = np.linspace(0, n, SIDE + 1), np.arange(n)
    begin = np.maximum(edges[:-1, None], pixels)
    shares = np.clip(np.minimum(edges[1:, None], pixels + 1) - begin, 0, None)
    rows: Floats = shares / shares.sum(axis=1, keepdims=True)
    return rows


def _cosines(n: int) -> NDArray[np.float32]:
    """[12, n]: averaging to 32 pixels, then the lowest rows of the type II cosine transform."""
    phases = np.arange(_FREQUENCIES)[:, None] * (np.arange(SIDE) + 0.5) / SIDE
    return (np.cos(np.pi * phases) @ _averaging(n)).astype(np.float32)


_ROW, _COLUMN = np.indices((_FREQUENCIES, _FREQUENCIES)).reshape(2, -1)
_INNER: Final = np.flatnonzero((np.maximum(_ROW, _COLUMN) < _LOW) & (_ROW + _COLUMN > 0))
_OUTER: Final = np.flatnonzero(np.maximum(_ROW, _COLUMN) >= _LOW)
_NEXT: Final = _OUTER[np.argsort((_ROW + _COLUMN)[_OUTER], kind="stable")][:64]


def hashes(pixels: NDArray[np.uint8]) -> tuple[Hashes, Mask]:
    """Of pictures of one size, uint8 [n, H, W, K]: uint64 [n, 2], and which of them
    mean anything, bool [n]: of pictures that are neither flat nor smaller than 8 pixels."""
    n, height, width, _ = pixels.shape
    grey = pixels.mean(axis=3, dtype=np.float32)  # [n, H, W]
    across = grey.reshape(n * height, width) @ _cosines(width).T  # [n H, 12]
    turned = np.swapaxes(across.reshape(n, height, _FREQUENCIES), 1, 2).reshape(-1, height)
    found = (turned @ _cosines(height).T).reshape(n, -1)  # [n, 144]: by column, then row
    bits = np.zeros((n, 128), dtype=bool)
    bits[:, 1:64], bits[:, 64:] = found[:, _INNER] > 0, found[:, _NEXT] > 0
    packed = np.packbits(bits, axis=1).view(">u8").astype(np.uint64)
    return packed, (grey.std(axis=(1, 2)) >= _FLAT) & (min(height, width) >= _SMALLEST)


def candidates(hashed: Hashes) -> Ints:
    """Pairs of rows of uint64 [E, 2] that may be the same picture, int64 [P, 2], each once and
    ascending."""
    first = hashed[:, 0]
    count = _FIRST_BITS + 2
    edges = np.linspace(0, 63, count + 1).round().astype(int).tolist()
    blocks = [(1 << stop) - (1 << start) for start, stop in pairwise(edges)]
    found = [np.empty((0, 2), dtype=np.int64)]
    for one, other in combinations(blocks, 2):
        key = first & np.uint64(one | other)
        order = np.lexsort((first, key))
        sorted_key, sorted_hash = key[order], hashed[order]
        places = np.arange(len(order))
        for lag in range(1, _NEIGHBOURS + 1):
            places = places[places + lag < len(order)]
            places = places[sorted_key[places] == sorted_key[places + lag]]
            if not len(places):
                break
            differ = np.bitwise_count(sorted_hash[places] ^ sorted_hash[places + lag])
            near = places[(differ[:, 0] <= _FIRST_BITS) & (differ[:, 1] <= _SECOND_BITS)]
            found.append(np.stack([order[near], order[near + lag]], axis=1))
    pairs = np.sort(np.concatenate(found), axis=1)
    unique: Ints = np.unique(pairs, axis=0)
    return unique


def thumbnails(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pictures of one size, uint8 [n, H, W, K], averaged to float32 [n, 32, 32, K]."""
    rows, columns = (_averaging(n).astype(np.float32) for n in pixels.shape[1:3])
    small: NDArray[np.float32] = np.einsum(
        "sh,nhwk,tw->nstk", rows, pixels.astype(np.float32), columns, optimize=True
    )
    return small


def same_picture(one: NDArray[np.float32], other: NDArray[np.float32]) -> Mask:
    """Whether thumbnails [P, 32, 32, K] are of the same picture, pair by pair, bool [P]."""
    return _agree(_spectra(one), _spectra(other))


def _transform() -> NDArray[np.float32]:
    """[32, 32]: the orthonormal type II cosine transform, by frequency, then pixel."""
    numbers = np.arange(SIDE)
    rows = np.cos(np.pi * numbers[:, None] * (numbers + 0.5) / SIDE) * np.sqrt(2 / SIDE)
    rows[0] /= np.sqrt(2)
    found: NDArray[np.float32] = rows.astype(np.float32)
    return found


_COSINES: Final = _transform()
_DISTANCE: Final = np.rint(np.hypot(*np.indices((SIDE, SIDE)))).astype(np.int64).ravel()
"""Of each pair of frequencies from the constant."""
_OUTWARDS: Final = np.argsort(_DISTANCE, kind="stable")
_RINGS: Final = np.flatnonzero(np.diff(_DISTANCE[_OUTWARDS], prepend=-1))
"""Where the pairs of each distance begin, [D]."""
_GAINS: Final = np.exp(
    -(np.outer(_DISTANCE[_OUTWARDS][_RINGS] * np.pi / SIDE, _BLURS) ** 2) / 2
).astype(np.float32)
"""[D, blurs]: what a Gaussian leaves of a frequency, the pictures going on as in a mirror."""


def _spectra(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n, 32, 32, K] -> [n, K, 1024], the cosine transform, from the constant outwards."""
    n, _, _, channels = pictures.shape
    found = np.einsum("us,nstk,vt->nkuv", _COSINES, pictures, _COSINES, optimize=True)
    outwards: NDArray[np.float32] = found.reshape(n, channels, -1)[:, :, _OUTWARDS]
    return outwards


def _agree(one: NDArray[np.float32], other: NDArray[np.float32]) -> Mask:
    """``same_picture`` of spectra."""
    grey = _correlation(*(part.mean(axis=1, keepdims=True) for part in (one, other)))
    same: Mask = (grey >= _GREY) & (_correlation(one, other) >= _COLOUR)
    return same


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of pictures with spectra [P, K, 1024], pair by pair, [P]: the largest over all by how much
    one of them may have been blurred; 0 where one is constant."""
    a, b = one.copy(), other.copy()
    for part in (a, b):
        part[:, :, 0] -= part[:, :, 0].mean(axis=1, keepdims=True)
    both, of_a, of_b = (
        np.add.reduceat((x * y).sum(axis=1), _RINGS, axis=1) for x, y in ((a, b), (a, a), (b, b))
    )  # [P, D]
    shared = both @ _GAINS  # [P, blurs]
    sizes = [
        np.sqrt((blurred @ _GAINS**2) * whole.sum(axis=1, keepdims=True))
        for blurred, whole in ((of_a, of_b), (of_b, of_a))
    ]
    found: NDArray[np.float32] = (shared / np.maximum(np.minimum(*sizes), 1e-6)).max(axis=1)
    return found


def groups(
    hashed: Hashes, usable: Mask, thumbnails_of: Callable[[Ints], NDArray[np.float32]]
) -> list[Ints]:
    """Pictures that are almost the same, two and more together, by their numbers: in the order of
    the first of each. What is alike by way of a third is one group.

    Args:
        hashed: uint64 [E, 2].
        usable: bool [E], which take part.
        thumbnails_of: thumbnails of some pictures, by their numbers.
    """
    numbers = np.flatnonzero(usable)
    pairs = numbers[candidates(hashed[numbers])]
    kept = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(pairs), _PAIRS):
        some = pairs[start : start + _PAIRS]
        read, places = np.unique(some, return_inverse=True)
        spectra, places = _spectra(thumbnails_of(read)), places.reshape(some.shape)
        kept.append(some[_agree(spectra[places[:, 0]], spectra[places[:, 1]])])
    one, other = np.concatenate(kept).T
    from scipy.sparse import coo_array  # not loaded by importing the data layer
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(len(hashed),) * 2)
    _, group = connected_components(graph, directed=False)
    members = np.unique(np.concatenate([one, other]))
    order = members[np.argsort(group[members], kind="stable")]
    starts = np.flatnonzero(np.diff(group[order])) + 1
    found = [part for part in np.split(order, starts) if len(part)]
    return sorted(found, key=lambda part: int(part[0]))
