"""The record of a data set: its examples, its class list, and how users name it. Pictures stay
where they are.

A data set is its fingerprint. A name or a path means what lies there now, which may have changed
since it was recorded: then there are two data sets, nothing of which is mixed, and whoever asks is
told both fingerprints.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zoo.data import Dataset, Split, UnreadableImage, open_dataset
from zoo.errors import DataError, UnknownNameError, UsageError
from zoo.progress import announce
from zoo.registry import distinct
from zoo.store.commits import Commit
from zoo.store.schema import SCHEMA
from zoo.store.workspace import Workspace

__all__ = [
    "called",
    "changed_since",
    "commit_dataset",
    "dataset_fingerprint",
    "dataset_of",
    "described",
    "examples_frame",
    "examples_of",
    "examples_table",
    "int_column",
    "shown_of",
    "split_table",
    "titles",
]


# ---------------------------------------------------------------- names


def titles(workspace: Workspace) -> dict[str, str]:
    """What each data set of a workspace is called, by fingerprint: its name, with the fingerprint
    where several have that name."""
    records = workspace.commits.all("dataset")
    names = collections.Counter(record.facts["name"] for record in records.values())
    return {
        key: str(r.facts["name"]) if names[r.facts["name"]] == 1 else f"{r.facts['name']}@{key}"
        for key, r in records.items()
    }


def called(workspace: Workspace, fingerprint: str) -> str:
    """``name (fingerprint)`` for messages."""
    record = workspace.commits.get("dataset", fingerprint)
    return (
        f"{record.facts['name']} ({fingerprint})"
        if record
        else f"{fingerprint or 'a data set'} (not recorded here)"
    )


def described(workspace: Workspace, fingerprint: str, classifier: str) -> str:
    """A data set by name, fingerprint and class list, and one of its classifiers, for messages."""
    record = workspace.commits.get("dataset", fingerprint)
    if record is None:
        return f"{fingerprint} (not recorded; classifier {classifier})"
    classes = [str(name) for name in record.facts["class_names"]]
    listed = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
    return (
        f"{record.facts['name']} ({fingerprint}; {len(classes)} classes: {listed}; classifier"
        f" {classifier})"
    )


def _meant(workspace: Workspace, name: str) -> dict[str, Commit]:
    """The recorded data sets that a name, title, URI or fingerprint may mean."""
    named = titles(workspace)
    return {
        key: record
        for key, record in workspace.commits.all("dataset").items()
        if name in (key, named[key], record.facts["name"], record.facts["uri"])
    }


def dataset_fingerprint(workspace: Workspace, name: str) -> str:
    """Fingerprint of a data set by the name, URI or fingerprint it is recorded under; else of one
    that can be opened.

    Raises:
        UsageError: if several are recorded under the name (one that has changed since, or imported
            ones of several class lists).
        UnknownNameError: if it is neither recorded nor found.
    """
    found = _meant(workspace, name)
    if len(found) > 1:
        seen = ", ".join(
            f"{key} ({len(record.facts['class_names'])} classes, recorded {record.created})"
            for key, record in found.items()
        )
        raise UsageError(
            f"{len(found)} data sets of {workspace.location} are called {name!r}. Choose one by its"
            f" fingerprint: {seen}."
        )
    return next(iter(found), None) or open_dataset(name).fingerprint


def dataset_of(workspace: Workspace, name: str | None = None, *, imported: bool = False) -> Dataset:
    """The data set named, opened; or the only one that the workspace knows.

    Args:
        name: a recorded fingerprint or title; or a recorded name, or whatever ``open_dataset``
            takes: then what is there now.
        imported: whether it may be one that was imported, which has no pictures.

    Raises:
        UsageError: if none is named and there are several, or none; if several places go by the
            name.
        DataError: if a recorded data set is meant whose data have changed since.
    """
    known = {
        key: record
        for key, record in workspace.commits.all("dataset").items()
        if imported or not record.facts.get("imported")
    }
    if name is None:
        if len(known) != 1:
            names = ", ".join(called(workspace, key) for key in known) or "none"
            kind = "" if imported else " with pictures"
            raise UsageError(
                f"the workspace holds {len(known)} data sets{kind}: {names}. Choose one with"
                " --data, by its name or its fingerprint."
            )
        return _opened_again(workspace, next(iter(known.values())))
    meant = [record for key, record in _meant(workspace, name).items() if key in known]
    places = {str(record.facts["uri"]) for record in meant}
    if not meant:
        return open_dataset(name)
    if len(places) > 1 or (len(meant) > 1 and meant[0].facts.get("imported")):
        dataset_fingerprint(workspace, name)  # refuses, with the fingerprints to choose from
    # A name or path means what is there now; a fingerprint, and what can only be a recorded one,
    # means that.
    if meant[0].facts.get("imported") or name not in (
        meant[0].facts["name"],
        meant[0].facts["uri"],
    ):
        return _opened_again(workspace, meant[0])
    return open_dataset(places.pop())


def _opened_again(workspace: Workspace, record: Commit) -> Dataset:
    if record.facts.get("imported"):
        return _without_pictures(workspace, record)
    dataset = open_dataset(str(record.facts["uri"]))
    if dataset.fingerprint != record.key:
        raise DataError(
            f"data set {record.facts['uri']!r} has changed since it was recorded in"
            f" {workspace.location}: its fingerprint was {record.key}, it is {dataset.fingerprint}"
            " now. Restore the data, or work on what is there now with --data"
            f" {record.facts['uri']} (zoo train first): nothing of the two is mixed."
        )
    return dataset


def shown_of(workspace: Workspace, name: str | None = None) -> Dataset:
    """``dataset_of`` for a page about results: where it cannot be opened any more, what is on
    record of it, without pictures, of form ``gone``.

    Raises:
        UsageError, UnknownNameError, DataError: as ``dataset_of``, but for data that are gone.
    """
    try:
        return dataset_of(workspace, name, imported=True)
    except (UnknownNameError, DataError):
        meant = list(
            (workspace.commits.all("dataset") if name is None else _meant(workspace, name)).values()
        )
        # it is there, and not what it was
        if len(meant) != 1 or _opens(str(meant[0].facts["uri"])):
            raise
    gone = _without_pictures(workspace, meant[0], "gone")
    announce(
        gone.uri,
        [
            (
                f"warning: {gone.name}: {gone.uri} cannot be opened, so what is shown of it is what was"  # noqa: E501
                " recorded, without pictures"
            )
        ],
    )
    return gone


def _opens(uri: str) -> bool:
    try:
        open_dataset(uri)
    except (UnknownNameError, DataError):
        return False
    return True


def changed_since(workspace: Workspace, dataset: Dataset) -> str:
    """A sentence about data that have changed since they were recorded here; empty if they have
    not, or are new."""
    if workspace.commits.get("dataset", dataset.fingerprint) is not None:
        return ""
    before = [
        key
        for key, record in workspace.commits.all("dataset").items()
        if record.facts["uri"] == dataset.uri
    ]
    if not before:
        return ""
    return (
        f"data set {dataset.name} has changed since it was recorded in {workspace.location}: its"
        f" fingerprint was {' and '.join(before)}, it is {dataset.fingerprint} now. What was made"
        " from the one is not used for the other."
    )


# ---------------------------------------------------------------- records


def split_table(workspace: Workspace, record: Commit, split: str) -> pa.Table:
    """What is on record of a split's examples, E rows in the order of their ids; none for a split
    that there is not."""
    return pq.read_table(
        workspace.files.local(record.files[0].path), filters=[("split", "=", split)]
    )


def examples_of(workspace: Workspace, record: Commit, split: str) -> pa.Table:
    """``split_table`` of a split that there must be.

    Raises:
        UnknownNameError: if the data set has no such split.
    """
    table = split_table(workspace, record, split)
    if not table.num_rows:
        raise UnknownNameError("split", split, record.facts["splits"])
    return table


def int_column(table: pa.Table, name: str) -> NDArray[np.int64]:
    """``label`` or ``label_true`` of a split's table, int64 [E], -1 = unknown."""
    values: NDArray[np.int64] = (
        table.column(name)
        .combine_chunks()
        .fill_null(-1)
        .to_numpy(zero_copy_only=False)
        .astype(np.int64)
    )
    return values


def _without_pictures(workspace: Workspace, record: Commit, form: str = "imported") -> Dataset:
    """An imported data set, or one that is gone, as what ``open_dataset`` gives, but without
    pictures."""
    splits = {}
    for split in record.facts["splits"]:
        table = split_table(workspace, record, split)
        truth = int_column(table, "label_true")
        known = truth if (truth >= 0).all() else None
        splits[split] = Split(
            split, int_column(table, "label"), known, table.column("key").to_pylist(), _NoPictures()
        )
    names = tuple(map(str, record.facts["class_names"]))
    return Dataset(
        str(record.facts["uri"]),
        str(record.facts["name"]),
        names,
        splits,
        1,
        None,
        record.key,
        form=form,
    )


class _NoPictures:
    """The image source of imported predictions, and of a data set that is gone."""

    def encoded(self, example_ids: NDArray[np.int64]) -> list[bytes]:
        raise UnreadableImage("there are no pictures")

    def content_digest(self) -> bytes:
        return b""


def commit_dataset(
    workspace: Workspace, dataset: Dataset, unreadable: Mapping[str, Mapping[int, str]]
) -> Commit:
    """Record a data set's examples (ids, keys, labels, what could not be read) and its class list.
    Pictures stay where they are."""
    if (there := workspace.commits.get("dataset", dataset.fingerprint)) is not None:
        return there
    table = pa.concat_tables(
        [
            examples_table(
                s.name,
                s.keys,
                s.labels,
                s.labels_true,
                dataset.class_names,
                unreadable.get(s.name, {}),
            )
            for s in dataset.splits.values()
        ]
    )
    ref = workspace.files.seal(
        "datasets",
        dataset.fingerprint,
        ".parquet",
        lambda path: pq.write_table(table, path, compression="zstd"),
    )
    facts = {
        "name": dataset.name,
        "uri": dataset.uri,
        "class_names": list(dataset.class_names),
        "channels": dataset.channels,
        "splits": {name: len(split) for name, split in dataset.splits.items()},
        **({} if dataset.origin is None else {"prepared_from": dict(dataset.origin)}),
    }
    return workspace.commits.publish(
        "dataset",
        dataset.fingerprint,
        identity={"fingerprint": dataset.fingerprint},
        facts=facts,
        files=[ref],
    )


def examples_table(
    split: str,
    keys: Sequence[str],
    labels: NDArray[np.int64],
    labels_true: NDArray[np.int64] | None,
    class_names: Sequence[str],
    reasons: Mapping[int, str],
) -> pa.Table:
    """What a data set's record says of one split: E rows. ``reasons``: why a picture cannot be
    read, by example id."""
    names = np.array([*distinct(class_names), None], dtype=object)
    return pa.table(
        {
            "split": pa.array([split] * len(keys), pa.string()),
            "example_id": np.arange(len(keys), dtype=np.int64),
            "key": pa.array(list(keys), pa.string()),
            "label": pa.array(labels, pa.int64(), mask=labels < 0),
            "label_true": (
                pa.nulls(len(keys), pa.int64())
                if labels_true is None
                else pa.array(labels_true, pa.int64(), mask=labels_true < 0)
            ),
            "class_name": pa.array(names[labels], pa.string()),
            "error": pa.array(
                [reasons.get(i) for i in range(len(keys))] if reasons else [None] * len(keys),
                pa.string(),
            ),
        }
    )


def examples_frame(workspace: Workspace, fingerprint: str | None = None) -> pd.DataFrame:
    """The ``examples`` table of one data set or of all."""
    named = titles(workspace)
    frames = []
    for key, commit in workspace.commits.all("dataset").items():
        if fingerprint in (None, key):
            frame = pq.read_table(workspace.files.local(commit.files[0].path)).to_pandas()
            frames.append(frame.assign(dataset=named[key]))
    if not frames:
        return SCHEMA["examples"].frame()
    return SCHEMA["examples"].typed(pd.concat(frames, ignore_index=True))
