"""``zoo audit`` on data that leave little to judge: each ends, and says what it could not do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import png
from factories import QUIET, block_pictures

import zoo as library
from zoo import auditing
from zoo.exchange.importing import Request, import_predictions
from zoo.local import LocalRunner
from zoo.scores.audited import facts_of, summary
from zoo.store.workspace import Workspace


def audited(root: Path, classes: dict[str, int], *, alike: bool = False) -> Workspace:
    """Class folders with so many pictures each (all one picture if ``alike``), audited by two small
    networks."""
    images = block_pictures([i % 3 for i in range(sum(classes.values()))], side=12)
    number = 0
    for name, count in classes.items():
        for _ in range(count):
            file = root / "photos" / name / f"{number:02d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(images[0 if alike else number][..., 0]))
            number += 1
    dataset, chosen = auditing.opened(str(root / "photos"), 1.0, 1)
    return auditing.audit_pictures(
        str(root / "w"), str(root / "photos"), dataset, chosen, LocalRunner, QUIET
    )


@pytest.fixture(params=["networks", "hog"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small networks, or what few pictures get where no weights are at hand."""
    few = 0 if request.param == "networks" else 100
    monkeypatch.setattr(auditing, "_FEW_WITHOUT_WEIGHTS", few)
    monkeypatch.setattr(auditing, "at_hand", list)
    monkeypatch.setattr(auditing, "ARCHS", ("softmax", "mlp"))
    monkeypatch.setattr(auditing, "_EPOCHS", (2, 2))
    monkeypatch.setattr(auditing, "_MOST_REPEATS", 2)


@pytest.mark.usefixtures("small")
def test_two_pictures_of_two_classes(tmp_path: Path) -> None:
    """No fold can hold either out: nothing is counted, nothing is flagged, and both are named."""
    space = audited(tmp_path, {"ant": 1, "bee": 1})
    said = summary(space)
    assert "by none: 2" in said
    assert "how many labels are wrong was not estimated: no count of wrong labels: 0 exam" in said
    assert library.open(space.location).scores("train")["is_label_issue"].isna().all()


@pytest.mark.usefixtures("small")
def test_a_class_of_one_example_is_no_part_of_the_ranking_of_the_others(tmp_path: Path) -> None:
    """It has no held-out answer, hence no probability of being wrong and no flag; the others
    have."""
    space = audited(tmp_path, {"ant": 6, "bee": 6, "cat": 1})
    said = summary(space)
    assert "by none: 1" in said
    scores = library.open(space.location).scores("train")
    alone = scores["label_name"] == "cat"
    assert scores.loc[alone, "p_wrong"].isna().all()
    assert scores.loc[~alone, "p_wrong"].notna().all()


@pytest.mark.usefixtures("small")
def test_all_pictures_alike(tmp_path: Path) -> None:
    """One group of twelve under two labels, no near-duplicate beside it, and no trust in the
    order."""
    said = summary(audited(tmp_path, {"ant": 6, "bee": 6}, alike=True))
    assert "the same picture more than once: 1 group, 1 with different labels" in said
    assert "almost the same picture: 0 groups" in said
    assert "too weak to trust the order" in said


@pytest.mark.usefixtures("small")
def test_class_names_that_differ_in_case_alone_stay_two_classes(tmp_path: Path) -> None:
    """In the suspects each is shown as it is written."""
    space = audited(tmp_path, {"Ant": 4, "ant": 4})
    facts = facts_of(space)
    assert facts["classes"] == 2
    pairs = {(row["label_name"], row["suggested_name"]) for row in facts["suspects"]}
    assert pairs <= {("Ant", "ant"), ("ant", "Ant")}


def test_twenty_thousand_classes(tmp_path: Path) -> None:
    """Thirty examples of them, by predictions that are sure: the one label that they deny is the
    suspect, the likeliest to be wrong, and one at most is counted."""
    p = np.full((30, 20_000), 1e-6)
    truth = np.arange(30) * 600
    p[np.arange(30), truth] = 0.98
    labels = truth.copy()
    labels[7] = 19_999
    np.save(tmp_path / "p.npy", p)
    np.save(tmp_path / "labels.npy", labels)
    request = Request((tmp_path / "p.npy",), tmp_path / "labels.npy")
    done = import_predictions(str(tmp_path / "w"), request, QUIET)
    space = Workspace.open(tmp_path / "w")
    auditing.audit_predictions(space, done.split, done.dataset, QUIET)
    facts = facts_of(space)
    assert facts["classes"] == 20_000
    assert [row["key"] for row in facts["suspects"]] == ["7"]
    assert 0.2 < facts["wrong_labels"]["wrong"] < 1.5
    scores = library.open(space.location).scores("train")
    assert scores["p_wrong"].idxmax() == 7
