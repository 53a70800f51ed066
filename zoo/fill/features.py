"""What has to be done so that a split has its features, and the end of it: as ``zoo.fill.plan`` for
answers. A unit is one backbone on one split; only the driver commits, and only when all receipts
are there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.data import Dataset, decode_examples
from zoo.spec import DatasetRef, canonical_json
from zoo.store.answers import Shard, shards
from zoo.store.features import (
    FeatureReceipt,
    FeatureUnit,
    backbone_of,
    commit_features,
    features_of,
    find_features,
)
from zoo.store.files import FileRef
from zoo.store.workspace import Workspace
from zoo.trainsets.inputs import Geometry, open_verified

__all__ = ["FeaturePlan", "FeatureTask", "decode_pictures"]


@dataclass(frozen=True)
class FeatureTask:
    """One shard for one backbone, as ``zoo.fill.plan.FillTask`` is one for classifiers."""

    dataset: DatasetRef
    unit: FeatureUnit
    shard: Shard
    geometry: Geometry

    @property
    def cells(self) -> int:
        """Pictures of it."""
        return self.shard.stop - self.shard.start

    def to_json(self) -> str:
        return canonical_json(
            {
                "dataset": self.dataset.as_json(),
                "unit": self.unit.identity,
                "shard": asdict(self.shard),
                "geometry": asdict(self.geometry),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> FeatureTask:
        body = json.loads(text)
        return cls(
            DatasetRef(**body["dataset"]),
            FeatureUnit.from_identity(body["unit"]),
            Shard(**body["shard"]),
            Geometry(**body["geometry"]),
        )


class FeaturePlan:
    """The shards whose features are missing; ``tasks`` is the work, give each receipt to
    ``receive``."""

    def __init__(
        self,
        workspace: Workspace,
        dataset: Dataset,
        backbones: Iterable[str],
        splits: Iterable[str],
    ) -> None:
        self._workspace, self._dataset = workspace, dataset
        self._units: dict[str, FeatureUnit] = {}
        self._receipts: dict[str, list[FeatureReceipt]] = {}
        self._shards: dict[str, int] = {}
        self.tasks: list[FeatureTask] = []
        wanted = list(splits)
        for key in sorted(set(backbones)):
            backbone, _ = backbone_of(workspace, key)
            p = backbone.preprocessing
            geometry = Geometry(p.size, p.channels, p.fit)
            for split in wanted:
                unit = FeatureUnit(dataset.fingerprint, split, key, backbone.width)
                if features_of(workspace, unit) is None:
                    self._add(unit, geometry)

    def _add(self, unit: FeatureUnit, geometry: Geometry) -> None:
        cut = shards(len(self._dataset.splits[unit.split]), geometry.bytes_per_example)
        self._units[unit.key], self._receipts[unit.key] = unit, []
        self._shards[unit.key] = len(cut)
        for shard in cut:
            if (found := find_features(self._workspace.files, unit, shard)) is not None:
                self._receipts[unit.key].append(found)
            else:
                self.tasks.append(FeatureTask(self._dataset.ref, unit, shard, geometry))
        self._commit_if_whole(unit.key)

    @property
    def cells(self) -> int:
        """Pictures still to be looked at."""
        return sum(task.cells for task in self.tasks)

    def receive(self, unit_key: str, receipt: FeatureReceipt) -> None:
        """Take a receipt; commits the unit when it was the last one."""
        self._receipts[unit_key].append(receipt)
        self._commit_if_whole(unit_key)

    def _commit_if_whole(self, key: str) -> None:
        unit, receipts = self._units[key], self._receipts[key]
        if len({receipt.shard for receipt in receipts}) == self._shards[key]:
            examples = len(self._dataset.splits[unit.split])
            commit_features(self._workspace, unit, examples, receipts)

    @staticmethod
    def receipt_to_json(unit: FeatureUnit, receipt: FeatureReceipt) -> str:
        return canonical_json({"unit": unit.key, **asdict(receipt)})

    @staticmethod
    def receipt_from_json(text: str) -> tuple[str, FeatureReceipt]:
        body = json.loads(text)
        return body["unit"], FeatureReceipt(
            body["shard"], body["rows"], tuple(body["unreadable"]), FileRef(**body["file"])
        )


def decode_pictures(task: FeatureTask) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Read and decode the pictures of a task: (uint8 [n, S, S, 3], mask [n] of unreadable ones)."""
    dataset, g = open_verified(task.dataset), task.geometry
    ids = task.shard.example_ids
    decoded = decode_examples(
        dataset.splits[task.unit.split], ids, size=g.size, channels=g.channels, fit=g.fit
    )
    return decoded.images, np.isin(ids, list(decoded.errors))
