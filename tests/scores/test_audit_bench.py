"""``tools.bench.audit``: all ways on one small set, networks at equal image passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.bench.audit import compared
from tools.bench.detection import written
from zoo.data import open_dataset


def test_all_ways_see_the_same_errors(tmp_path: Path) -> None:
    """120 pictures, 12 of them with a wrong label: networks at equal image passes (2 networks x 10
    trainings x 96 x 4 epochs, and five folds of 96 x 16), histograms with none; every measure is a
    share."""
    base = written(open_dataset("fashion-mini"), tmp_path / "data", 12, unbalanced=False)
    found = compared(base, "symmetric", 0, tmp_path / "w", quick=True)
    rivals = ["cv_self_confidence", "cv_issues"]
    assert found[["way", "score"]].to_numpy().tolist() == [
        *(["networks", score] for score in ("label_quality", *rivals)),
        *(["hog", score] for score in ("label_quality", *rivals)),
        *(["five-fold", score] for score in rivals),
        *(["classical", score] for score in rivals),
    ]
    assert set(found["n_errors"]) == {12}
    passes = found.groupby("way")["image_passes"].agg(["min", "max"])
    for way in ("networks", "five-fold"):
        assert passes.loc[way].tolist() == pytest.approx([2 * 10 * 96 * 4] * 2)
    for way in ("hog", "classical"):
        assert passes.loc[way].tolist() == [0, 0]
    shares = found[["auroc", "average_precision", "precision_at_n"]]
    assert ((shares >= 0) & (shares <= 1)).all(axis=None)
    assert (found["auroc"] > 0.6).all()
