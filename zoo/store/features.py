"""Features: what a backbone, a network with pretrained weights and no last layer, makes of every
picture of a split, a vector of D numbers each.

A *backbone* is a record of its own, with its weights beside it: architecture, sha256 of the file
they were read from, and how pictures reach it. Its key is a name and the hash of all that, so that
a training on features says by one word what they are. A *unit* is one backbone on one split, in
parts, as answers are: a part is one shard, whose name carries its hash, so that a run that was
killed finds what it has finished. Float32 as it was computed, in Arrow IPC, mapped and not copied.

Shape letters: E examples of the split, n of a shard, D numbers of a vector.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from zoo.errors import NotFoundError, StoreError
from zoo.spec import Preprocessing, canonical_json, content_id
from zoo.store.answers import Shard, sound_part
from zoo.store.commits import Commit
from zoo.store.files import FileRef, Files
from zoo.store.workspace import Workspace

__all__ = [
    "Backbone",
    "FeatureReceipt",
    "FeatureUnit",
    "backbone_of",
    "backbones",
    "commit_backbone",
    "commit_features",
    "feature_schema",
    "feature_vectors",
    "features_of",
    "find_features",
    "write_features",
]


# ---------------------------------------------------------------- backbones


@dataclass(frozen=True)
class Backbone:
    """What makes features. ``network``: of timm, without tag, or ``hog``. ``outputs``: of the
    weights' own last layer, which is left out; 0 = it has none. ``width``: D. ``weights``: sha256
    of the file they came from, or of the settings of ``hog``.
    ``preprocessing``: how a picture reaches it."""

    network: str
    tag: str | None
    outputs: int
    width: int
    weights: str
    preprocessing: Preprocessing

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "outputs": self.outputs,
            "width": self.width,
            "weights": self.weights,
            "preprocessing": self.preprocessing.as_json(),
        }

    @property
    def key(self) -> str:
        return f"{self.network}-{content_id(self.identity)}"

    @property
    def name(self) -> str:
        return f"{self.network}.{self.tag}" if self.tag else self.network

    @property
    def input(self) -> Preprocessing:
        """How a head's input is made of a picture: the vector as it is."""
        return Preprocessing(
            size=1, channels=self.width, fit="resize", mean=(), std=(), features=self.key
        )


def commit_backbone(
    workspace: Workspace, backbone: Backbone, weights: bytes, provenance: Mapping[str, Any]
) -> Commit:
    """Make a backbone visible; does nothing where it is.

    Args:
        weights: a safetensors file under the network's own names.
        provenance: where they come from.
    """
    there = workspace.commits.get("backbone", backbone.key)
    if there is not None:
        return there
    ref = workspace.files.seal(
        "features/backbones", backbone.key, ".safetensors", lambda path: _written(path, weights)
    )
    return workspace.commits.publish(
        "backbone",
        backbone.key,
        identity=backbone.identity,
        facts={**backbone.identity, "tag": backbone.tag, "provenance": dict(provenance)},
        files=[ref],
    )


def _written(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def backbone_of(workspace: Workspace, key: str) -> tuple[Backbone, Commit]:
    """A backbone by its key.

    Raises:
        NotFoundError: if the workspace has none of that key.
    """
    commit = workspace.commits.get("backbone", key)
    if commit is None:
        raise NotFoundError(
            f"backbone {key} is not in {workspace.location}. Its features cannot be made: train on"
            " features there first, with zoo train --features NAME."
        )
    facts = {**commit.identity, "tag": commit.facts["tag"]}
    return Backbone(**{**facts, "preprocessing": Preprocessing(**facts["preprocessing"])}), commit


def backbones(workspace: Workspace) -> list[Backbone]:
    """All backbones of a workspace, by key."""
    return [backbone_of(workspace, key)[0] for key in sorted(workspace.commits.keys("backbone"))]


# ---------------------------------------------------------------- features


@dataclass(frozen=True)
class FeatureUnit:
    """A backbone on one split of a data set. ``width``: D."""

    dataset: str
    split: str
    backbone: str
    width: int

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "split": self.split,
            "backbone": self.backbone,
            "width": self.width,
        }

    @property
    def key(self) -> str:
        return content_id({"features": self.identity})

    @property
    def folder(self) -> str:
        return f"features/{self.key}"

    @classmethod
    def from_identity(cls, identity: Mapping[str, Any]) -> Self:
        return cls(**identity)


@dataclass(frozen=True)
class FeatureReceipt:
    """What a worker hands back for one shard. ``unreadable``: example ids."""

    shard: int
    rows: int
    unreadable: tuple[int, ...]
    file: FileRef


def feature_schema(unit: FeatureUnit) -> pa.Schema:
    """Schema of a part: example_id, and the vector; null where the picture could not be read."""
    return pa.schema(
        [
            pa.field("example_id", pa.int32(), nullable=False),
            pa.field("features", pa.list_(pa.float32(), unit.width)),
        ],
        metadata={"zoo": canonical_json({"unit": unit.identity})},
    )


def write_features(
    files: Files,
    unit: FeatureUnit,
    shard: Shard,
    vectors: NDArray[np.float32],
    unreadable: NDArray[np.bool_],
) -> FeatureReceipt:
    """Write one part.

    Args:
        vectors: float32 [n, D].
        unreadable: bool [n]; these rows become nulls.

    Raises:
        StoreError: if a vector of a readable picture is not finite.
    """
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1) & ~unreadable)
    if len(bad):
        raise StoreError(
            f"backbone {unit.backbone} gives numbers that are not finite on {len(bad)} pictures of"
            f" {unit.split}, the first with id {shard.start + int(bad[0])}. Choose other weights."
        )
    column = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.reshape(-1)), unit.width, mask=pa.array(unreadable)
    )
    ids = pa.array(shard.example_ids.astype(np.int32))
    schema = feature_schema(unit)

    def write(path: Path) -> None:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_batch(pa.record_batch([ids, column], schema=schema))

    ref = files.seal(unit.folder, shard.stem, ".arrow", write)
    lost = tuple((shard.start + np.flatnonzero(unreadable)).tolist())
    return FeatureReceipt(shard.index, shard.stop - shard.start, lost, ref)


def find_features(files: Files, unit: FeatureUnit, shard: Shard) -> FeatureReceipt | None:
    """The receipt of a shard whose part is there and matches its name's hash; None if it has to be
    done. What is found is touched, so that ``zoo gc`` leaves it to the commit that is to come."""
    for name in files.names(unit.folder):
        if re.fullmatch(rf"{shard.stem}-[0-9a-f]{{16}}\.arrow", name) is None:
            continue
        ref = sound_part(files, f"{unit.folder}/{name}")
        if ref is None:
            continue
        ids, _, unreadable = _part(files, ref)
        return FeatureReceipt(shard.index, len(ids), tuple(ids[unreadable].tolist()), ref)
    return None


def commit_features(
    workspace: Workspace, unit: FeatureUnit, examples: int, receipts: Sequence[FeatureReceipt]
) -> Commit:
    """Check that the receipts are the whole split, then make it visible.

    Raises:
        StoreError: if a shard is missing or doubled, or the rows do not add up; nothing becomes
            visible.
    """
    ordered = sorted(receipts, key=lambda receipt: receipt.shard)
    rows = sum(receipt.rows for receipt in ordered)
    if [receipt.shard for receipt in ordered] != list(range(len(ordered))) or rows != examples:
        raise StoreError(
            f"features of {unit.split} are incomplete: shards {[r.shard for r in ordered]}, {rows}"
            f" rows instead of {examples}. Run the same command again."
        )
    return workspace.commits.publish(
        "features",
        unit.key,
        identity=unit.identity,
        facts={
            "examples": examples,
            "shards": len(ordered),
            "unreadable": [example for receipt in ordered for example in receipt.unreadable],
        },
        files=[receipt.file for receipt in ordered],
    )


def features_of(workspace: Workspace, unit: FeatureUnit) -> Commit | None:
    """The record of a unit; None if it has to be made."""
    return workspace.commits.get("features", unit.key)


def feature_vectors(files: Files, commit: Commit) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(float32 [E, D], bool [E] of the pictures that could not be read) of a committed unit;
    vectors of those are zeros.

    Raises:
        StoreError: if a part does not hold the examples that it should, or a number that is not
            finite.
    """
    unit = FeatureUnit.from_identity(commit.identity)
    examples = int(commit.facts["examples"])
    vectors = np.zeros((examples, unit.width), dtype=np.float32)
    lost = np.zeros(examples, dtype=np.bool_)
    start = 0
    for ref in commit.files:
        ids, values, unreadable = _part(files, ref)
        if (
            not np.array_equal(ids, np.arange(start, start + len(ids)))
            or start + len(ids) > examples
        ):
            raise StoreError(
                f"{files.where(ref.path)} does not hold the examples from {start} on. Set it aside"
                " with 'zoo fsck --semantic --repair' and run the same command again."
            )
        part = vectors[start : start + len(ids)]
        part[...] = values
        part[unreadable] = 0
        lost[ids] = unreadable
        if not np.isfinite(part).all():
            raise StoreError(
                f"{files.where(ref.path)} holds a number that is not finite. Set it aside with 'zoo"
                " fsck --semantic --repair' and run the same command again."
            )
        start += len(ids)
    if start != examples or lost.nonzero()[0].tolist() != list(commit.facts["unreadable"]):
        raise StoreError(
            f"features {commit.key}: {start} examples and {int(lost.sum())} without a picture; the"
            f" record says {examples} and {len(commit.facts['unreadable'])}. Run 'zoo fsck --full'."
        )
    return vectors, lost


def _part(
    files: Files, ref: FileRef
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """(example ids [n], vectors [n, D], bool [n] of those without one), mapped."""
    with pa.memory_map(str(files.local(ref.path))) as source:
        reader = pa.ipc.open_file(source)
        width = json.loads(reader.schema.metadata[b"zoo"])["unit"]["width"]
        batch = reader.get_batch(0)
        ids = batch.column("example_id").to_numpy().astype(np.int64)
        column = batch.column("features")
        unreadable = column.is_null().to_numpy(zero_copy_only=False)
        # ``values`` holds the rows without a vector too; ``flatten`` leaves them out.
        return ids, column.values.to_numpy().reshape(-1, width), unreadable
