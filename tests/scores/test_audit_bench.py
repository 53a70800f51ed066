"""``tools.bench.audit``: both ways on one small set, at equal image passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.bench.audit import compared
from tools.bench.detection import written
from zoo.data import open_dataset


def test_both_ways_see_the_same_errors_at_equal_passes(tmp_path: Path) -> None:
    """120 pictures, 12 of them with a wrong label: 2 networks x 10 trainings x 96 x 4 epochs, and
    five folds of 96 x 16; every measure is a share."""
    base = written(open_dataset("fashion-mini"), tmp_path / "data", 12, unbalanced=False)
    found = compared(base, "symmetric", 0, tmp_path / "w", quick=True)
    assert found[["way", "score"]].to_numpy().tolist() == [
        ["audit", "label_quality"],
        ["five-fold", "cv_self_confidence"],
        ["five-fold", "cv_issues"],
    ]
    assert set(found["n_errors"]) == {12}
    assert found["image_passes"].tolist() == pytest.approx([2 * 10 * 96 * 4] * 3)
    shares = found[["auroc", "average_precision", "precision_at_n"]]
    assert ((shares >= 0) & (shares <= 1)).all(axis=None)
    assert (found["auroc"] > 0.6).all()
