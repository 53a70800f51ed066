"""``tools.bench.audit``: all ways on one small set, networks at equal image passes; its crops, and
gains by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tools.bench.audit import compared, crops, gains
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
        *(["networks + hog", score] for score in ("label_quality", *rivals)),
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


def test_a_gain_is_the_mean_over_sets_of_the_mean_over_draws() -> None:
    """Two sets of two draws: .1 and .3 gained, then .2 and .2, so .2 [.2, .2], at least .2; other
    orders than label quality do not count, and without networks there is no gain."""
    rows = [
        (set_, draw, way, "label_quality", value)
        for set_, pairs in (("a", ((0.5, 0.6), (0.4, 0.7))), ("b", ((0.1, 0.3), (0.2, 0.4))))
        for draw, pair in enumerate(pairs)
        for way, value in zip(("networks", "hog"), pair, strict=True)
    ]
    columns = ["set", "draw", "way", "score", "average_precision"]
    table = pd.DataFrame([*rows, ("a", 0, "hog", "cv_issues", 0.0)], columns=columns)
    (found,) = gains(table)
    assert found["way"] == "hog"
    assert found["gain"] == "+0.200 [+0.200, +0.200]"
    assert str(found["least"]).startswith("+0.200")
    assert gains(table[table["way"] == "hog"]) == []


def test_crops_are_squares_of_their_own_sizes(tmp_path: Path) -> None:
    """Two of each of nine photographs, 96 to 160 pixels wide, the same again."""
    pytest.importorskip("skimage", reason="the photographs are scikit-image's")
    dataset = open_dataset(crops(tmp_path / "crops", 2))
    assert len(dataset.class_names) == 9
    assert len(dataset.splits["train"]) == 18
    assert dataset.native_size is None
    assert open_dataset(crops(tmp_path / "again", 2)).fingerprint == dataset.fingerprint
