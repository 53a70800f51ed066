"""``tools.bench.many_heads``: what an audit does on features that were put into its workspace."""

from __future__ import annotations

from pathlib import Path

from tools.bench.many_heads import measured


def test_heads_on_given_features_find_the_wrong_labels(tmp_path: Path) -> None:
    """1,000 examples of ten classes that lie well apart, one label in ten wrong: of the hundred
    first suspects more than half are wrong, where a tenth would be by chance. Every stage took
    time, and the process memory."""
    rows, found, most = measured(tmp_path, 1_000, 64, 10, 8)
    assert [row["stage"] for row in rows] == ["train", "fill", "score"]
    assert all(float(row["cpu_seconds"]) > 0 for row in rows)
    assert found > 0.5
    assert most > 1e7
