"""The record of a data set, and what a name means where data have changed or several data sets
share a workspace."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories import (
    CLASSES,
    TEST,
    TRAIN,
    UNREADABLE_TEST,
    UNREADABLE_TRAIN,
    dataset_folder,
    tiny_dataset,
    workspace,
)

from zoo.data import Dataset, catalog, open_dataset
from zoo.errors import DataError, NotFoundError, UnknownNameError, UsageError
from zoo.fill.plan import plan_fill
from zoo.store.datasets import (
    changed_since,
    commit_dataset,
    dataset_fingerprint,
    dataset_of,
    examples_frame,
    titles,
)
from zoo.store.workspace import Workspace


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return tiny_dataset(
        tmp_path_factory.mktemp("data"),
        unreadable_train=UNREADABLE_TRAIN,
        unreadable_test=UNREADABLE_TEST,
    )


@pytest.fixture
def changed(
    space: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Dataset, Dataset]:
    """A data set as it was recorded, and what lies in its place now, with one label more."""
    before = tiny_dataset(tmp_path)
    commit_dataset(space, before, {})
    monkeypatch.setattr(catalog, "_OPENED", {})  # as another process finds it
    dataset_folder(tmp_path / "pictures", train=[*(i % 3 for i in range(TRAIN)), 0])
    return before, open_dataset(before.uri)


def test_a_data_set_is_recorded_with_what_cannot_be_read(
    space: Workspace, dataset: Dataset
) -> None:
    """90 rows: ids, keys, labels, class names; three with the reason why there is no picture."""
    commit_dataset(
        space, dataset, {"train": dict.fromkeys(UNREADABLE_TRAIN, "broken"), "test": {11: "gone"}}
    )
    frame = examples_frame(space)
    assert frame.groupby("split").size().to_dict() == {"train": TRAIN, "test": TEST}
    train = frame[frame["split"] == "train"].reset_index(drop=True)
    assert train["example_id"].tolist() == list(range(TRAIN))
    assert train["key"].tolist() == dataset.splits["train"].keys
    assert train["label"].tolist() == dataset.splits["train"].labels.tolist()
    assert train["class_name"].tolist()[:3] == ["class 0", "class 1", "class 2"]
    assert train["label_true"].isna().all()
    assert train.loc[train["error"].notna(), ["example_id", "error"]].values.tolist() == [
        [7, "broken"],
        [40, "broken"],
    ]
    assert set(frame["dataset"]) == {"pictures"}
    (commit,) = space.commits.all("dataset").values()
    assert commit.facts["splits"] == {"train": TRAIN, "test": TEST}
    assert len(commit.facts["class_names"]) == CLASSES


def test_a_data_set_is_recorded_once(space: Workspace, dataset: Dataset) -> None:
    """The second time the first record is returned; another data set is another record, and both
    are in the table."""
    first = commit_dataset(space, dataset, {})
    assert commit_dataset(space, dataset, {"train": {0: "later"}}) == first
    assert len(examples_frame(space, dataset.fingerprint)) == TRAIN + TEST
    assert len(examples_frame(space, "0" * 16)) == 0


# ---------------------------------------------------------------- names


def test_a_data_set_is_chosen_by_name_path_or_fingerprint(
    space: Workspace, dataset: Dataset
) -> None:
    """Where there is one, it needs no name; a name that is nothing is refused."""
    commit_dataset(space, dataset, {})
    for name in (None, "pictures", dataset.uri, dataset.fingerprint):
        assert dataset_of(space, name).fingerprint == dataset.fingerprint
    with pytest.raises(UnknownNameError, match="nonsense"):
        dataset_of(space, "nonsense")


def test_of_two_data_sets_one_has_to_be_chosen(
    space: Workspace, dataset: Dataset, tmp_path: Path
) -> None:
    """Both are named with their fingerprints, and a fingerprint chooses."""
    other = tiny_dataset(tmp_path / "other", seed=5)
    for each in (dataset, other):
        commit_dataset(space, each, {})
    with pytest.raises(
        UsageError, match="the workspace holds 2 data sets with pictures"
    ) as refused:
        dataset_of(space)
    assert dataset.fingerprint in str(refused.value)
    assert other.fingerprint in str(refused.value)
    assert dataset_of(space, other.fingerprint).uri == other.uri


def test_equal_names_are_told_apart_in_tables(
    space: Workspace, dataset: Dataset, tmp_path: Path
) -> None:
    """Two data sets called ``pictures``: each goes by name and fingerprint, in the table of
    examples too; one alone by its name."""
    commit_dataset(space, dataset, {})
    assert titles(space) == {dataset.fingerprint: "pictures"}
    other = tiny_dataset(tmp_path / "other", seed=5)
    commit_dataset(space, other, {})
    names = {key: f"pictures@{key}" for key in (dataset.fingerprint, other.fingerprint)}
    assert titles(space) == names
    assert set(examples_frame(space)["dataset"]) == set(names.values())
    assert dataset_fingerprint(space, names[other.fingerprint]) == other.fingerprint
    assert dataset_of(space, names[other.fingerprint]).uri == other.uri
    with pytest.raises(
        UsageError, match=r"2 data sets of .* are called 'pictures'\. Choose one by its fingerprint"
    ):
        dataset_of(space, "pictures")


# ---------------------------------------------------------------- data that have changed


def test_changed_data_are_said_with_both_fingerprints(
    space: Workspace, changed: tuple[Dataset, Dataset]
) -> None:
    """Until what is there now is recorded too; of data that have not changed, or are new, nothing
    is said."""
    before, now = changed
    said = changed_since(space, now)
    assert f"its fingerprint was {before.fingerprint}, it is {now.fingerprint} now" in said
    assert changed_since(space, before) == ""
    commit_dataset(space, now, {})
    assert changed_since(space, now) == ""


def test_the_recorded_data_set_is_not_what_lies_there_now(
    space: Workspace, changed: tuple[Dataset, Dataset]
) -> None:
    """Asked for by its fingerprint, or as the only one: refused with both fingerprints. By its
    path: what is there now."""
    before, now = changed
    for name in (None, before.fingerprint):
        with pytest.raises(
            DataError,
            match=f"its fingerprint was {before.fingerprint}, it is {now.fingerprint} now",
        ):
            dataset_of(space, name)
    for name in (before.uri, "pictures"):
        assert dataset_of(space, name).fingerprint == now.fingerprint


def test_a_fill_of_changed_data_says_that_they_have_changed(
    space: Workspace, changed: tuple[Dataset, Dataset]
) -> None:
    """And not that no classifier was ever trained."""
    before, now = changed
    with pytest.raises(
        NotFoundError,
        match=f"has changed since it was recorded.*{before.fingerprint}.*{now.fingerprint}",
    ):
        plan_fill(space, now, None, ["train"], None)
    with pytest.raises(NotFoundError, match=r"Train some first\."):
        plan_fill(space, before, None, ["train"], None)


def test_a_name_that_means_two_lists_their_fingerprints(
    space: Workspace, changed: tuple[Dataset, Dataset]
) -> None:
    before, now = changed
    commit_dataset(space, now, {})
    with pytest.raises(
        UsageError,
        match=r"2 data sets of .* are called 'pictures'\. Choose one by its fingerprint: ",
    ) as refused:
        dataset_fingerprint(space, "pictures")
    assert before.fingerprint in str(refused.value)
    assert now.fingerprint in str(refused.value)
