"""Selections: a name stands for a manifest, and a manifest for examples of one split of one data
set."""

from __future__ import annotations

from pathlib import Path

import factories
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import workspace

from zoo.errors import NotFoundError, UnknownNameError, UsageError
from zoo.manifest import Manifest
from zoo.store.origin import Origin
from zoo.store.selections import (
    check_manifest,
    commit_selection,
    manifest_named,
    manifest_of,
    selection_of,
    selection_op,
    selection_origin,
    selections_frame,
)
from zoo.store.workspace import Workspace
from zoo.trainsets.treatments import op

HERE = Origin("a", "train", "p")


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return workspace(tmp_path)


def manifest(labels: list[int]) -> Manifest:
    return factories.manifest(range(10, 10 + len(labels)), labels)


def commit(
    space: Workspace, name: str, rows: Manifest, origin: Origin = HERE, *, replace: bool = False
) -> None:
    commit_selection(space, name, rows, origin, ["test"], replace=replace)


def test_a_selection_comes_back_as_it_was(space: Workspace) -> None:
    """By name, by content id, and as a treatment; ``baseline`` is the training set as it is."""
    rows = manifest([0, 1, 2])
    commit(space, "mine", rows)
    assert manifest_named(space, "mine").frame().equals(rows.frame())
    assert selection_op(space, "mine") == (op("manifest", id=rows.digest),)
    assert manifest_of(space, rows.digest, dataset="a").labels.tolist() == [0, 1, 2]
    assert selection_op(space, "baseline") == ()
    assert selections_frame(space)["name"].tolist() == ["mine"] * 3


def test_a_name_means_one_manifest_until_it_is_replaced(space: Workspace) -> None:
    """The same again is fine; another under the same name is refused; with replace the name means
    the new one, the old one stays."""
    old, new = manifest([0, 1]), manifest([1, 0])
    commit(space, "mine", old)
    commit(space, "mine", old)
    with pytest.raises(
        UsageError,
        match=(
            r"^selection 'mine' exists and holds other examples, of split train of .*\(2"
            r" rows.*Choose another name with -o, or add"
        ),
    ):
        commit(space, "mine", new)
    assert manifest_named(space, "mine").labels.tolist() == [0, 1]
    commit(space, "mine", new, replace=True)
    assert manifest_named(Workspace.open(space.root), "mine").labels.tolist() == [1, 0]
    assert manifest_of(space, old.digest, dataset="a").labels.tolist() == [0, 1]
    commit(space, "mine", old, replace=True)
    assert manifest_named(Workspace.open(space.root), "mine").labels.tolist() == [0, 1]


def test_equal_content_under_two_names_is_stored_once(space: Workspace) -> None:
    rows = manifest([0, 1])
    commit(space, "one", rows)
    commit(space, "two", rows.take(np.array([1, 0])))
    assert len(space.commits.all("manifest")) == 1
    assert sorted(set(selections_frame(space)["name"])) == ["one", "two"]


def test_an_unknown_selection_lists_those_there_are(space: Workspace) -> None:
    commit(space, "mine", manifest([0]))
    with pytest.raises(
        UnknownNameError,
        match=r"^unknown selection 'yours'\. .*Known: baseline, mine\. Make one with 'zoo select'",
    ):
        selection_op(space, "yours")
    with pytest.raises(NotFoundError, match=r"^no manifest '0000000000000000' in "):
        manifest_of(space, "0" * 16, dataset="a")


# ---------------------------------------------------------------- what it was made from


def record(space: Workspace, *fingerprints: str) -> None:
    """Data sets of these fingerprints, without an example."""
    for key in fingerprints:
        facts = {
            "name": f"set {key}",
            "uri": key,
            "class_names": ["x"],
            "channels": 1,
            "splits": {},
        }
        space.commits.publish("dataset", key, identity={"fingerprint": key}, facts=facts)


@pytest.mark.parametrize(
    ("dataset", "split", "made"),
    [
        ("b", "train", "split train of set a (a)"),
        ("a", "test", "split train of set a (a)"),
        ("b", "test", "split train of set a (a)"),
    ],
)
def test_a_manifest_is_not_used_on_other_examples(
    space: Workspace, dataset: str, split: str, made: str
) -> None:
    """Of another data set or another split: refused with both, by content and by name; where it was
    made, it is used."""
    record(space, "a", "b")
    commit(space, "mine", manifest([0, 1]))
    digest = manifest([0, 1]).digest
    for use in (
        lambda: manifest_of(space, digest, dataset=dataset, split=split),
        lambda: selection_of(space, "mine", dataset=dataset, split=split),
        lambda: check_manifest(space, digest, dataset, split),
    ):
        with pytest.raises(UsageError) as refused:
            use()
        assert (
            f"selection 'mine' (manifest {digest}) was made from {made}; it cannot be used on split"
            f" {split} of set {dataset} ({dataset})" in str(refused.value)
        )
    assert check_manifest(space, digest, "a", "train") == ""
    assert len(selection_of(space, "mine", dataset="a", split="train")) == 2


def test_equal_content_of_two_splits_is_one_manifest_that_both_may_use(space: Workspace) -> None:
    """A manifest is its content; what it was made from is added, whichever comes first, and only
    once."""
    record(space, "a", "b")
    for name, origin in (
        ("one", HERE),
        ("two", Origin("a", "test", "p")),
        ("three", Origin("b", "train", "q")),
        ("one", HERE),
    ):
        commit(space, name, manifest([0, 1]), origin)
    digest = manifest([0, 1]).digest
    assert space.commits.keys("manifest") == {digest: 3}
    for dataset, split in (("a", "train"), ("a", "test"), ("b", "train")):
        assert check_manifest(space, digest, dataset, split) == ""
    with pytest.raises(
        UsageError, match=r"was made from split test of .* and split train of .* and split train of"
    ):
        check_manifest(space, digest, "b", "test")


def test_one_name_does_not_stand_for_the_same_rows_of_two_splits(space: Workspace) -> None:
    """Equal rows of other examples are other content under that name."""
    commit(space, "mine", manifest([0, 1]))
    with pytest.raises(UsageError, match="exists and holds the same rows of split train of"):
        commit(space, "mine", manifest([0, 1]), Origin("a", "test"))
    commit(space, "mine", manifest([0, 1]), Origin("a", "test"), replace=True)
    found = space.commits.get("selection", "mine")
    assert found is not None
    assert selection_origin(found) == Origin("a", "test")


def test_the_table_of_selections_says_what_each_was_made_from(space: Workspace) -> None:
    record(space, "a")
    commit(space, "mine", manifest([0, 1]))
    assert selections_frame(space)[
        ["name", "dataset", "split"]
    ].drop_duplicates().values.tolist() == [["mine", "set a", "train"]]


# ---------------------------------------------------------------- selections of an earlier zoo


def earlier(space: Workspace, name: str, rows: Manifest, split: str = "train") -> str:
    """A selection as a zoo recorded it that knew no data set: the split among the facts, nothing in
    the identity."""
    digest = rows.digest

    def write(path: Path) -> None:
        pq.write_table(pa.Table.from_pandas(rows.frame(), preserve_index=False), path)

    ref = space.files.seal("selections", digest, ".parquet", write)
    space.commits.publish(
        "manifest", digest, identity={"manifest": digest}, facts={"rows": len(rows)}, files=[ref]
    )
    facts = {"rows": len(rows), "origin": {"rules": ["test"], "split": split}}
    space.commits.publish("selection", name, identity={"manifest": digest}, facts=facts)
    return digest


def test_an_earlier_selection_is_of_the_only_data_set(space: Workspace) -> None:
    """Its split is on record and its data set certain: it is used where it fits, without a word,
    and refused elsewhere."""
    record(space, "a")
    train, test = (
        earlier(space, "mine", manifest([0, 1])),
        earlier(space, "theirs", manifest([1, 1]), "test"),
    )
    assert check_manifest(space, train, "a", "train") == ""
    with pytest.raises(
        UsageError, match=r"selection 'theirs' .* was made from split test of set a"
    ):
        check_manifest(space, test, "a", "train")


def test_what_cannot_be_checked_in_an_earlier_selection_is_said(space: Workspace) -> None:
    """Of several data sets nobody knows which it is about: a sentence, no refusal; its split is
    checked all the same."""
    record(space, "a", "b")
    digest = earlier(space, "mine", manifest([0, 1]))
    assert "that it fits set b (b) cannot be checked" in check_manifest(space, digest, "b", "train")
    with pytest.raises(UsageError, match="was made from split train of a data set"):
        check_manifest(space, digest, "b", "test")


def test_an_earlier_selection_made_again_is_recorded_with_its_origin(space: Workspace) -> None:
    """Without --replace, since it holds the same; from then on it is checked, and made a third time
    nothing is written."""
    record(space, "a", "b")
    rows = manifest([0, 1])
    digest = earlier(space, "mine", rows)
    commit(space, "mine", rows)
    commit(space, "mine", rows)
    assert space.commits.keys("selection") == {"mine": 2}
    with pytest.raises(UsageError, match="was made from"):
        check_manifest(Workspace.open(space.root), digest, "b", "test")
