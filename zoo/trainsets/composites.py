"""Pictures made of halves of two others: the left half of one beside the right half of the other.

A question to a population: is C (how many classes it wavers between) larger where a picture shows
two things? Each left half is used twice, once beside a half of another class and once beside a
half of its own class: the second picture has the same seam and shows one thing.

``BASE+composites:count=1000`` is a data set whose one split is ``composites``, made of the base's
``test`` split. The label of a composite is that of its left half. Pictures that differ in size are
made 256 x 256 first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo import keyed
from zoo.data import Dataset, Split, decode_examples, encode_pixels
from zoo.errors import UsageError
from zoo.spec import Op
from zoo.trainsets.steps import Count, Step, Within

__all__ = ["COMPOSITES", "composites_of", "pairs", "pairs_of"]

COMPOSITES = "composites"
"""The step, and the split it makes."""
_SIDE_WITHOUT_A_SIZE = 256
_BLOCK = 512
_KINDS = ("two classes", "one class")


def pairs(labels: NDArray[np.int64], count: int, seed: int) -> pd.DataFrame:
    """Which halves are put together: ``count`` left halves, each beside one of another class and
    one of its own, drawn by example and seed.

    Args:
        labels: int64 [E], -1 = unknown: not used.

    Returns:
        example_id (0..2 count - 1), left, right (example ids of the halves, never the same),
        kind ("two classes" | "one class"); first all of the first kind.

    Raises:
        UsageError: if fewer than ``count`` examples share their class with another.
    """
    order = np.argsort(labels, kind="stable")
    order = order[labels[order] >= 0]
    sizes = np.bincount(labels[order])
    starts = np.cumsum(sizes) - sizes
    usable = np.sort(order[sizes[labels[order]] > 1])
    if not 1 <= count <= len(usable) or (sizes > 0).sum() < 2:
        raise UsageError(
            f"composites: count = {count} is not possible. Allowed: 1 to {len(usable)}, the"
            " examples of classes with at least two of them, of at least two classes. Write it as"
            f" composites:count={min(max(count, 1), max(len(usable), 1))}."
        )
    left = usable[keyed.choose(f"composites/{seed}", usable, count)]
    drawn = keyed.uniform(f"composites/{seed}/right", left, 2)
    size, start = sizes[labels[left]], starts[labels[left]]
    place = np.empty(len(labels), dtype=np.int64)
    place[order] = np.arange(len(order))
    own = start + (drawn[:, 0] * (size - 1)).astype(np.int64)  # of its class, without itself
    own += own >= place[left]
    other = (drawn[:, 1] * (len(order) - size)).astype(np.int64)  # of all without its class
    other += np.where(other >= start, size, 0)
    return pd.DataFrame(
        {
            "example_id": np.arange(2 * count),
            "left": np.tile(left, 2),
            "right": np.concatenate([order[other], order[own]]),
            "kind": np.repeat(_KINDS, count),
        }
    )


@dataclass(frozen=True, eq=False)
class _Halves:
    """Composites of the pictures of a split, as PNG."""

    base: Split
    table: pd.DataFrame
    side: int
    channels: int

    def encoded(self, example_ids: NDArray[np.int64]) -> list[bytes]:
        """A composite of a picture that cannot be read is empty bytes."""
        found: list[bytes] = []
        for start in range(0, len(example_ids), _BLOCK):
            rows = self.table.iloc[example_ids[start : start + _BLOCK]]
            ids = rows[["left", "right"]].to_numpy(np.int64).ravel()  # [2 n]
            read = decode_examples(
                self.base, ids, size=self.side, channels=self.channels, fit="resize"
            )
            unreadable = [
                not read.errors.keys().isdisjoint(pair) for pair in ids.reshape(-1, 2).tolist()
            ]
            halves = read.images[::2].copy()
            halves[:, :, self.side // 2 :] = read.images[1::2, :, self.side // 2 :]
            found += [
                b"" if lost else encode_pixels(picture)
                for picture, lost in zip(halves, unreadable, strict=True)
            ]
        return found

    def content_digest(self) -> bytes:
        parts = np.ascontiguousarray(self.table[["left", "right"]].to_numpy("<i8")).tobytes()
        return hashlib.sha256(self.base.source.content_digest() + parts).digest()


def composites(base: Dataset, *, count: Annotated[int, Within(1)] = 1000, seed: Count = 0) -> Split:
    """Halves of two test pictures side by side: ``count`` of two classes and as many of one."""
    test = base.splits.get("test")
    if test is None:
        raise UsageError(
            f"{base.name}: composites are made of the split test, and it has"
            f" {', '.join(base.splits)}. Leave the step out."
        )
    table = pairs(test.labels, count, seed)
    side = max(base.native_size) if base.native_size else _SIDE_WITHOUT_A_SIZE
    keys = test.keys or [str(i) for i in range(len(test))]
    return Split(
        name=COMPOSITES,
        labels=test.labels[table["left"].to_numpy()],
        labels_true=None,
        keys=[
            f"{keys[left]}|{keys[right]}"
            for left, right in table[["left", "right"]].to_numpy().tolist()
        ],
        source=_Halves(test, table, side, base.channels),
    )


@dataclass(frozen=True)
class _Composites(Step):
    @property
    def function(self) -> Callable[..., Any]:
        return composites


def composites_of(base: Dataset, settings: str) -> tuple[Split, Op]:
    """The split that ``composites:SETTINGS`` makes of a data set, and the step with all its
    parameters.

    Raises:
        UsageError, UnknownNameError: for settings that are not possible, on this data set or at
            all.
    """
    step = _Composites(COMPOSITES)
    params = step.canonical(step.read(settings))
    made: Split = step.function(base, **params)
    return made, Op(name=COMPOSITES, params=params)


def pairs_of(dataset: Dataset) -> pd.DataFrame:
    """The table of ``pairs`` that a data set of composites was made by.

    Raises:
        UsageError: if it is none.
    """
    source: Any = dataset.splits[COMPOSITES].source if COMPOSITES in dataset.splits else None
    if not isinstance(source, _Halves):
        raise UsageError(f"{dataset.name} is no data set of composites. Name one with +composites.")
    return source.table
