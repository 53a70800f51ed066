"""``tools.bench.many_heads``: what an audit does on features that were put into its workspace."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tools.bench.many_heads import measured
from zoo.trainsets.inputs import FeatureVectors


def test_heads_on_given_features_find_the_wrong_labels(tmp_path: Path) -> None:
    """1,000 examples of ten classes that lie well apart, one label in ten wrong: of the hundred
    first suspects more than half are wrong, where a tenth would be by chance. Every stage took
    time, and the process memory."""
    rows, found, most = measured(tmp_path, 1_000, 64, 10, 8)
    assert [row["stage"] for row in rows] == ["train", "fill", "score"]
    assert all(float(row["cpu_seconds"]) > 0 for row in rows)
    assert found > 0.5
    assert most > 1e7


def test_statistics_of_features_are_those_of_all_at_once() -> None:
    """100 numbers, more than are taken together, of 37 pictures of which one could not be read:
    bit for bit numpy's over the others; a number that never varies has 1."""
    vectors = np.random.default_rng(0).normal(50, 9, (37, 100)).astype(np.float32)
    vectors[:, 70] = 3
    lost = np.arange(37) == 5
    vectors[lost] = 1e6
    mean, std = FeatureVectors(vectors, lost).statistics
    there = vectors[~lost]
    assert np.array_equal(mean, there.mean(axis=0, dtype=np.float64).astype(np.float32))
    expected = there.std(axis=0, dtype=np.float64).astype(np.float32)
    expected[70] = 1
    assert np.array_equal(std, expected)
