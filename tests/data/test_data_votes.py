"""Counts of votes beside a data set: read by position or by key, and no part of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import grey
from zoo.data import open_dataset, votes_of
from zoo.errors import DataError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes with two test pictures each."""
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            for number in (1, 2):
                path = tmp_path / "photos" / split / name / f"{name}{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(grey(40 * number, 4, 4))
    return tmp_path / "photos"


def fresh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder, opened as by a new process."""
    monkeypatch.setattr("zoo.data.catalog._OPENED", {})
    return str(folder)


@pytest.mark.parametrize("name", ["votes-test.npy", "cifar10h-counts.npy"])
def test_votes_by_position(photos: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The same data set with them as without: its fingerprint, its notes. Of the training split
    there are none; a set made by steps on that has those of the test split."""
    before = open_dataset(fresh(photos, monkeypatch))
    assert votes_of(before, "test") is None
    counts = np.array([[50, 0], [25, 25], [1, 3], [0, 0]])
    np.save(photos / name, counts)
    dataset = open_dataset(fresh(photos, monkeypatch))
    assert dataset.fingerprint == before.fingerprint
    assert dataset.notes == before.notes
    found = votes_of(dataset, "test")
    assert found is not None
    assert found.tolist() == counts.tolist()
    assert votes_of(dataset, "train") is None
    derived = votes_of(open_dataset(f"{photos}+take:count=2"), "test")
    assert derived is not None
    assert derived.tolist() == counts.tolist()


def test_votes_by_key(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In any order; a picture that is not named has no votes, and an unknown one is refused."""
    dataset = open_dataset(fresh(photos, monkeypatch))
    first, *_, last = dataset.splits["test"].keys
    file = photos / "votes-test.csv"
    file.write_text(f"dog,key,cat\n3,{last},1\n0,{first},5\n")
    found = votes_of(dataset, "test")
    assert found is not None
    assert found.tolist() == [[5, 0], [0, 0], [0, 0], [1, 3]]
    file.write_text("dog,key,cat\n3,bird.png,1\n")
    with pytest.raises(DataError, match=r"no picture 'bird.png' in the split test"):
        votes_of(dataset, "test")
    file.write_text("dog,key\n3,bird.png\n")
    with pytest.raises(DataError, match="no column cat"):
        votes_of(dataset, "test")


@pytest.mark.parametrize(
    ("counts", "said"),
    [([[1, 2]], r"the shape \[1, 2\]"), ([[1, 2]] * 3 + [[-1, 2]], "a count below 0")],
)
def test_votes_of_something_else_are_refused(
    photos: Path, monkeypatch: pytest.MonkeyPatch, counts: list[list[int]], said: str
) -> None:
    np.save(photos / "votes-test.npy", np.array(counts))
    with pytest.raises(DataError, match=f"{said}.*Allowed: counts from 0 of 4 pictures"):
        votes_of(open_dataset(fresh(photos, monkeypatch)), "test")
