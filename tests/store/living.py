"""Units that several processes fill at once, for the tests of living writers: 40 examples in three
shards, another attempt, other bytes."""

from __future__ import annotations

import numpy as np

from zoo.data import Dataset, Split
from zoo.scores.outputs import answers_from_logits
from zoo.spec import content_id
from zoo.store.answers import AnswerUnit, Receipt, Shard, write_part
from zoo.store.datasets import commit_dataset
from zoo.store.workspace import Workspace

UNITS = 40
OLD = 2 * 24 * 3600.0
EXAMPLES, CLASS_NAMES, FINGERPRINT = 40, ("a", "b", "c"), "0123456789abcdef"


class _NoPictures:
    def encoded(self, example_ids: np.ndarray) -> list[bytes]:
        return [b""] * len(example_ids)

    def content_digest(self) -> bytes:
        return b""


def record(space: Workspace) -> None:
    """Record the data set."""
    split = Split(
        "train",
        np.arange(EXAMPLES, dtype=np.int64) % 3,
        None,
        [str(i) for i in range(EXAMPLES)],
        _NoPictures(),
    )
    commit_dataset(
        space, Dataset("nowhere", "tiny", CLASS_NAMES, {"train": split}, 1, (8, 8), FINGERPRINT), {}
    )


def unit(number: int) -> AnswerUnit:
    return AnswerUnit(
        FINGERPRINT, "train", (f"{number:016x}-e0001",), 3, content_id(list(CLASS_NAMES)), True
    )


def cut() -> list[Shard]:
    """Three shards; readers take it from the records' files how many there are."""
    return [
        Shard(i, 3, start, min(start + 16, EXAMPLES))
        for i, start in enumerate(range(0, EXAMPLES, 16))
    ]


def part(space: Workspace, of: AnswerUnit, shard: Shard) -> Receipt:
    """Answers of a network that nobody will meet again."""
    labels = np.arange(EXAMPLES, dtype=np.int64)[shard.start : shard.stop] % 3
    logits = np.random.default_rng().normal(size=(len(labels), 3)).astype(np.float32)
    given, none = [answers_from_logits(logits, labels)], np.zeros(len(labels), dtype=bool)
    return write_part(space.files, of, shard, given, none, labels, none[None], [logits])
