"""Python access: what ``zoo.open`` and ``zoo.perplexity`` promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import TRAIN, UNREADABLE_TRAIN, Tiny

import zoo
from zoo.errors import NotFoundError, StoreError
from zoo.scores import from_store, population
from zoo.store import ledger


@pytest.fixture(scope="module")
def study(trained: Tiny) -> zoo.Study:
    return zoo.open(trained.root)


def test_a_workspace_is_opened_by_path_or_text(trained: Tiny) -> None:
    for location in (trained.root, str(trained.root)):
        assert isinstance(zoo.open(location), zoo.Study)


def test_a_place_without_a_workspace_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no workspace at"):
        zoo.open(tmp_path / "none")
    assert issubclass(NotFoundError, zoo.ZooError)


def test_scores_are_those_of_the_store(study: zoo.Study, trained: Tiny) -> None:
    """A row per example; the whole population by default, a part of it by condition."""
    frame = study.scores("train")
    expected = from_store.score(trained.workspace, population.choose_population(trained.workspace), "train").to_pandas()
    pd.testing.assert_frame_equal(frame, expected)
    assert set(study.scores("train", where="arch = 'softmax'")["n"]) == {0, 6}
    assert len(study.scores("test")) == 30


def test_tables_are_pandas(study: zoo.Study) -> None:
    """12 classifiers, 6 trainings, and any SELECT."""
    assert len(study.classifiers()) == 12
    assert study.trainings()["status"].tolist() == ["done"] * 6
    found = study.query("select arch, count(*) n from classifiers group by arch order by arch")
    assert found.to_dict("list") == {"arch": ["nin_mini", "softmax"], "n": [6, 6]}


def test_logits_are_mapped_and_lead_to_the_same_scores(study: zoo.Study, trained: Tiny) -> None:
    """float16 [E, M] without a copy; ``zoo.perplexity`` on them gives the X of the store."""
    names = study.classifiers()["classifier_id"].tolist()
    kept = [study.logits(name, "train") for name in names]
    assert {(values.dtype.name, values.shape, values.flags.owndata) for values in kept} == {("float16", (TRAIN, 3), False)}
    readable = np.setdiff1d(np.arange(TRAIN), UNREADABLE_TRAIN)
    labels = trained.dataset.splits["train"].labels[readable]
    x = zoo.perplexity(np.stack([v[readable].astype(np.float32) for v in kept]), labels)["x_perplexity"]
    np.testing.assert_array_equal(x, study.scores("train")["x_perplexity"].to_numpy()[readable])


def test_logits_of_an_unknown_classifier_are_an_error(study: zoo.Study) -> None:
    with pytest.raises(StoreError, match=r"^no logits of nonsense on train are kept"):
        study.logits("nonsense", "train")


def test_reading_changes_nothing(study: zoo.Study, trained: Tiny) -> None:
    """All of the above leaves every file of the workspace as it was."""
    before = {path: path.stat().st_mtime_ns for path in trained.root.rglob("*") if path.is_file()}
    study.scores("train")
    study.query("select * from answers")
    study.logits(next(iter(ledger.population(trained.workspace))), "test")
    assert {path: path.stat().st_mtime_ns for path in trained.root.rglob("*") if path.is_file()} == before
