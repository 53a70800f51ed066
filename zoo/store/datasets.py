"""The record of a data set: its examples and labels; finding it, opening it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from zoo.data import Dataset, Split, UnreadableImage, open_dataset
from zoo.errors import UnknownNameError, UsageError
from zoo.registry import distinct
from zoo.store import selections
from zoo.store.commits import Commit
from zoo.store.schema import EXAMPLE_COLUMNS, frame_of
from zoo.store.workspace import Workspace

__all__ = [
    "commit_dataset",
    "dataset_fingerprint",
    "dataset_of",
    "described",
    "examples_frame",
    "examples_of",
    "examples_table",
    "imported_dataset",
    "int_column",
    "labels_in",
    "split_table",
]


def dataset_of(space: Workspace, data: str | None) -> Dataset:
    """The data set named, or the only one the workspace knows."""
    if data is not None:
        return open_dataset(data)
    # Imported data sets have no pictures to open.
    known = {key: commit for key, commit in space.commits.all("dataset").items() if not commit.facts.get("imported")}
    if len(known) != 1:
        names = ", ".join(str(commit.facts["name"]) for commit in known.values()) or "none"
        raise UsageError(f"the workspace holds {len(known)} data sets with pictures: {names}. Choose one with --data.")
    return open_dataset(next(iter(known.values())).facts["uri"])


def imported_dataset(space: Workspace, uri: str) -> Dataset | None:
    """A data set that was imported, as what ``open_dataset`` gives, but without pictures; None for any other URI."""
    record = next((r for r in space.commits.all("dataset").values() if r.facts.get("imported") and r.facts["uri"] == uri), None)
    if record is None:
        return None
    splits = {}
    for split in record.facts["splits"]:
        table = split_table(space, record, split)
        truth = int_column(table, "label_true")
        known = truth if (truth >= 0).all() else None
        splits[split] = Split(split, int_column(table, "label"), known, table.column("key").to_pylist(), _NoPictures())
    names = tuple(map(str, record.facts["class_names"]))
    return Dataset(uri, str(record.facts["name"]), names, splits, 1, None, record.key, form="imported")


class _NoPictures:
    """The image source of imported predictions."""

    def encoded(self, example_ids: NDArray[np.int64]) -> list[bytes]:
        raise UnreadableImage("imported without pictures")

    def content_digest(self) -> bytes:
        return b""


def split_table(space: Workspace, record: Commit, split: str) -> pa.Table:
    return pq.read_table(space.files.local(record.files[0].path), filters=[("split", "=", split)])


def int_column(table: pa.Table, name: str) -> NDArray[np.int64]:
    values: NDArray[np.int64] = table.column(name).combine_chunks().fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return values


# ---------------------------------------------------------------- data sets


def commit_dataset(workspace: Workspace, dataset: Dataset, unreadable: Mapping[str, Mapping[int, str]]) -> Commit:
    """Record a data set's examples (ids, keys, labels, what could not be read) and its class list. Pictures stay where they are."""
    if (there := workspace.commits.get("dataset", dataset.fingerprint)) is not None:
        return there
    table = pa.concat_tables(
        [
            examples_table(s.name, s.keys, s.labels, s.labels_true, dataset.class_names, unreadable.get(s.name, {}))
            for s in dataset.splits.values()
        ]
    )
    ref = workspace.files.seal("datasets", dataset.fingerprint, ".parquet", lambda path: pq.write_table(table, path, compression="zstd"))
    facts = {
        "name": dataset.name,
        "uri": dataset.uri,
        "class_names": list(dataset.class_names),
        "channels": dataset.channels,
        "splits": {name: len(split) for name, split in dataset.splits.items()},
    }
    return workspace.commits.publish(
        "dataset", dataset.fingerprint, identity={"fingerprint": dataset.fingerprint}, facts=facts, files=[ref]
    )


def examples_table(
    split: str,
    keys: Sequence[str],
    labels: NDArray[np.int64],
    labels_true: NDArray[np.int64] | None,
    class_names: Sequence[str],
    reasons: Mapping[int, str],
) -> pa.Table:
    """What a data set's record says of one split: E rows. ``reasons``: why a picture cannot be read, by example id."""
    names = np.array([*distinct(class_names), None], dtype=object)
    return pa.table(
        {
            "split": pa.array([split] * len(keys), pa.string()),
            "example_id": np.arange(len(keys), dtype=np.int64),
            "key": pa.array(list(keys), pa.string()),
            "label": pa.array(labels, pa.int64(), mask=labels < 0),
            "label_true": pa.nulls(len(keys), pa.int64())
            if labels_true is None
            else pa.array(labels_true, pa.int64(), mask=labels_true < 0),
            "class_name": pa.array(names[labels], pa.string()),
            "error": pa.array([reasons.get(i) for i in range(len(keys))] if reasons else [None] * len(keys), pa.string()),
        }
    )


def examples_frame(workspace: Workspace, fingerprint: str | None = None) -> pd.DataFrame:
    """The ``examples`` table of one data set or of all."""
    frames = []
    for key, commit in workspace.commits.all("dataset").items():
        if fingerprint in (None, key):
            frame = pq.read_table(workspace.files.local(commit.files[0].path)).to_pandas()
            frames.append(frame.assign(dataset=commit.facts["name"]))
    if not frames:
        return frame_of([], EXAMPLE_COLUMNS)
    joined: pd.DataFrame = pd.concat(frames, ignore_index=True)[list(EXAMPLE_COLUMNS)].astype(EXAMPLE_COLUMNS)
    return joined


def dataset_fingerprint(workspace: Workspace, name: str) -> str:
    """Fingerprint of a data set by the name, URI or fingerprint it is recorded under; else of one that can be opened.

    Raises:
        UsageError: if several are recorded under the name (imported ones of several class lists).
        UnknownNameError: if it is neither recorded nor found.
    """
    records = workspace.commits.all("dataset")
    found = [key for key, record in records.items() if name in (key, record.facts["name"], record.facts["uri"])]
    if len(found) > 1:
        seen = ", ".join(f"{key} ({len(records[key].facts['class_names'])} classes)" for key in found)
        raise UsageError(f"{len(found)} data sets of {workspace.location} are called {name!r}. Choose one by its fingerprint: {seen}.")
    return found[0] if found else open_dataset(name).fingerprint


def described(workspace: Workspace, fingerprint: str, classifier: str) -> str:
    """A data set by name, fingerprint and class list, and one of its classifiers, for messages."""
    record = workspace.commits.get("dataset", fingerprint)
    if record is None:
        return f"{fingerprint} (not recorded; classifier {classifier})"
    classes = [str(name) for name in record.facts["class_names"]]
    listed = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
    return f"{record.facts['name']} ({fingerprint}; {len(classes)} classes: {listed}; classifier {classifier})"


def examples_of(workspace: Workspace, record: Commit, split: str) -> pa.Table:
    """What is on record of a data set's examples on a split, E rows.

    Raises:
        UnknownNameError: if the data set has no such split.
    """
    table = pq.read_table(workspace.files.local(record.files[0].path), filters=[("split", "=", split)])
    if not table.num_rows:
        raise UnknownNameError("split", split, record.facts["splits"])
    return table


def labels_in(workspace: Workspace, examples: pa.Table, column: str) -> NDArray[np.int64]:
    """Labels of a split by column: ``label``, ``label_true``, or the name of a selection (its labels where it has the example)."""
    if column in ("label", "label_true"):
        labels: NDArray[np.int64] = examples.column(column).combine_chunks().fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return labels
    manifest = selections.selection_frame(workspace, column)
    labels = np.full(examples.num_rows, -1, dtype=np.int64)
    labels[manifest["example_id"].to_numpy()] = manifest["label"].to_numpy()
    return labels
