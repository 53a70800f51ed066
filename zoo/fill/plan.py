"""What a fill has to do, and the end of it: units, shards, receipts, commits. Where it runs is a
runner's business.

A unit is a group of classifiers of one input geometry on one split. A block is shards of a split
that are decoded once for all groups of a geometry, which pass one after the other. Only the driver
commits, and only when all receipts of a unit are there.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from zoo.data import Dataset, decode_examples
from zoo.errors import DataError, NotFoundError, UnknownNameError
from zoo.fill.program import asked, lanes_of
from zoo.spec import DatasetRef, Precision, Preprocessing, canonical_json, content_id
from zoo.store.answers import (
    PARTS,
    AnswerUnit,
    Receipt,
    Shard,
    answered,
    commit_unit,
    find_receipt,
    shards,
)
from zoo.store.commits import Commit
from zoo.store.datasets import changed_since
from zoo.store.files import FileRef
from zoo.store.ledger import population_size, seen_by, trained
from zoo.store.workspace import Workspace
from zoo.trainsets.inputs import Geometry, open_verified

__all__ = [
    "GROUP_CLASSIFIERS",
    "MOST_WEIGHTS",
    "FillBlock",
    "FillPlan",
    "FillTask",
    "KeepLogits",
    "Refusal",
    "cells_of",
    "decode_block",
    "default_keep_logits",
    "membership",
    "plan_fill",
    "receipt_from_json",
    "receipt_to_json",
]


KeepLogits = Literal["none", "val", "all"]
_KEEP_ALL_UP_TO = 100


def default_keep_logits(classifiers: int) -> KeepLogits:
    """What is kept where nothing is said: all logits of a population of up to 100, else those of
    the test splits."""
    return "all" if classifiers <= _KEEP_ALL_UP_TO else "val"


GROUP_CLASSIFIERS = 128
"""Most classifiers of a unit."""
MOST_WEIGHTS = 4 << 30
"""Bytes of weights of a group, and of all groups that a worker keeps loaded."""
HELD_PICTURES = 128 << 20
HELD_PICTURES_GPU = 512 << 20
"""Bytes of pictures of a block whose groups do not fit in ``MOST_WEIGHTS`` together, so that each
has to load them again. A network at 224 pixels takes some 50 operations per picture for each byte
that is loaded: 512 pictures on a core take hundreds of times as long as the loading; a GPU wants
thousands of them."""


@dataclass(frozen=True)
class FillTask:
    """One shard for one group of classifiers: what has a part and a receipt.

    ``lanes``: groups of these classifiers that answer together (``zoo.fill.program``); ``wanted``:
    on every CPU that has numba, because that was asked for.
    """

    dataset: DatasetRef
    unit: AnswerUnit
    shard: Shard
    geometry: Geometry
    lanes: tuple[tuple[str, ...], ...] = ()
    wanted: bool = False


@dataclass(frozen=True)
class FillBlock:
    """Tasks of one split and geometry whose pictures are decoded together, once. Small enough to be
    a row of a Ray data set.

    ``tasks``: group by group, since a group may have to be loaded. The order is part of the row: a
    row that is tried again gives its receipts in the same order.
    """

    tasks: tuple[FillTask, ...]

    @functools.cached_property
    def shards(self) -> list[Shard]:
        """The shards to decode, in order."""
        return sorted({task.shard for task in self.tasks}, key=lambda shard: shard.index)

    def rows(self, shard: Shard) -> slice:
        """Where the pictures of a shard lie among those of the block."""
        start = sum(s.stop - s.start for s in self.shards if s.index < shard.index)
        return slice(start, start + shard.stop - shard.start)

    def split(self, count: int) -> list[FillBlock]:
        """The same tasks in ``count`` blocks of whole groups, or as many as there are groups."""
        groups: dict[str, list[FillTask]] = {}
        for task in self.tasks:
            groups.setdefault(task.unit.key, []).append(task)
        each = math.ceil(len(groups) / count)
        members = list(groups.values())
        return [
            FillBlock(tuple(task for group in members[i : i + each] for task in group))
            for i in range(0, len(members), each)
        ]

    def to_json(self) -> str:
        shards, units = self.shards, {task.unit.key: task.unit for task in self.tasks}
        positions = {key: i for i, key in enumerate(units)}
        lanes = {task.unit.key: task.lanes for task in self.tasks}
        first = self.tasks[0]
        return canonical_json(
            {
                "dataset": first.dataset.as_json(),
                "geometry": asdict(first.geometry),
                "units": [unit.identity for unit in units.values()],
                "lanes": [lanes[key] for key in units],
                "wanted": first.wanted,
                "shards": [asdict(shard) for shard in shards],
                "tasks": [
                    [positions[task.unit.key], shards.index(task.shard)] for task in self.tasks
                ],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> FillBlock:
        body = json.loads(text)
        dataset, geometry = DatasetRef(**body["dataset"]), Geometry(**body["geometry"])
        units = [AnswerUnit.from_identity(unit) for unit in body["units"]]
        cut = [Shard(**shard) for shard in body["shards"]]
        lanes = [tuple(tuple(group) for group in of) for of in body["lanes"]]
        return cls(
            tuple(
                FillTask(dataset, units[unit], cut[shard], geometry, lanes[unit], body["wanted"])
                for unit, shard in body["tasks"]
            )
        )


def receipt_to_json(unit: AnswerUnit, receipt: Receipt | Refusal) -> str:
    return canonical_json({"unit": unit.key, **asdict(receipt)})


def receipt_from_json(text: str) -> tuple[str, Receipt | Refusal]:
    body = json.loads(text)
    if "reasons" in body:
        return body["unit"], Refusal(body["shard"], body["reasons"])
    answers, logits = (
        None if body[name] is None else FileRef(**body[name]) for name in ("answers", "logits")
    )
    assert answers is not None
    return body["unit"], Receipt(
        body["shard"],
        body["rows"],
        body["unreadable"],
        tuple(body["hits"]),
        answers,
        logits,
        body["seconds"] and tuple(body["seconds"]),
        tuple(body["lanes"]),
    )


@dataclass(frozen=True)
class Refusal:
    """What a worker hands back instead of a receipt where some classifiers of a unit cannot answer:
    id -> reason. No part is written."""

    shard: int
    reasons: Mapping[str, str]


class FillPlan:
    """The units a fill still has to do, with what is finished of them. ``tasks`` is the work, and
    ``blocks`` the same in the order in which it is done; give each receipt to ``receive``. A unit
    of which a classifier is refused is not committed; ``refused`` says which and why, so that the
    others can be planned without it.

    ``preprocessing``: as the checkpoint of each classifier of the units records it; goes into the
        record of their answers.
    ``weights``: bytes of each of these classifiers.
    ``lanes``: unit -> which of its classifiers answer together; ``wanted``: as in ``FillTask``.
    """

    def __init__(
        self,
        workspace: Workspace,
        dataset: Dataset,
        units: Sequence[tuple[AnswerUnit, Geometry]],
        preprocessing: Mapping[str, Mapping[str, Any]],
        weights: Mapping[str, int],
        lanes: Mapping[str, tuple[tuple[str, ...], ...]] | None = None,
        *,
        wanted: bool = False,
    ) -> None:
        self._workspace, self._dataset, self._preprocessing = workspace, dataset, preprocessing
        self._weights = weights
        self._units = {unit.key: unit for unit, _ in units}
        self._receipts: dict[str, list[Receipt]] = {unit.key: [] for unit, _ in units}
        self._shards: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self.tasks: list[FillTask] = []
        begun = set(workspace.files.names(PARTS)) if units else set()
        shown: list[tuple[str, FillTask]] = []
        for (unit, geometry), key in zip(units, self._units, strict=True):
            cut = shards(len(dataset.splits[unit.split]), geometry.bytes_per_example)
            self._shards[key] = len(cut)
            together = (lanes or {}).get(key, ())
            shown += [
                (key, FillTask(dataset.ref, unit, shard, geometry, together, wanted))
                for shard in cut
            ]

        def finished(of: tuple[str, FillTask]) -> Receipt | None:
            # A part finished before a kill is found by its name and hash, and not computed again.
            key, task = of
            return find_receipt(workspace.files, task.unit, task.shard) if key in begun else None

        for (key, task), receipt in zip(
            shown, workspace.files.together(finished, shown), strict=True
        ):
            if receipt is not None:
                self._receipts[key].append(receipt)
            else:
                self.tasks.append(task)
        for key in list(self._units):
            self._commit_if_whole(key)

    @property
    def units(self) -> list[AnswerUnit]:
        return list(self._units.values())

    @property
    def in_lanes(self) -> set[str]:
        """Classifiers of which a part at least was answered in lanes."""
        return {
            name
            for receipts in self._receipts.values()
            for found in receipts
            for name in found.lanes
        }

    @property
    def cells(self) -> int:
        """Classifier-example pairs still to compute."""
        return sum(cells_of(task) for task in self.tasks)

    def blocks(self, workers: int = 1, held: int = HELD_PICTURES) -> list[FillBlock]:
        """The tasks, so cut that each picture is decoded once per geometry whatever the number of
        groups: a shard to a block where all groups fit in ``MOST_WEIGHTS``, else as many shards as
        ``held`` bytes of pictures. Every other block has its groups backwards and so begins with
        those that are loaded.

        Where there would be less than two blocks for each of several workers, the groups of a block
        are shared out and each share decodes it: all workers at work are worth more than the
        decoding of so few pictures.
        """
        tasks: dict[tuple[str, Geometry], dict[int, list[FillTask]]] = {}
        for task in self.tasks:
            group = tasks.setdefault((task.unit.split, task.geometry), {})
            group.setdefault(task.shard.index, []).append(task)
        found: list[FillBlock] = []
        for (split, geometry), by_shard in tasks.items():
            here = {task.unit.key: task.unit for row in by_shard.values() for task in row}
            order = {key: i for i, key in enumerate(here)}
            weights = sum(self._weights[name] for u in here.values() for name in u.classifiers)
            span = 1
            if weights > MOST_WEIGHTS:
                first = shards(len(self._dataset.splits[split]), geometry.bytes_per_example)[0]
                span = held // ((first.stop - first.start) * geometry.bytes_per_example)
                if workers > 1:
                    span = min(span, len(by_shard) // (2 * workers))
            indices, span = sorted(by_shard), max(1, span)
            for number, start in enumerate(range(0, len(indices), span)):
                together = [t for i in indices[start : start + span] for t in by_shard[i]]
                turn = -1 if number % 2 else 1
                together.sort(key=lambda t: turn * order[t.unit.key])
                found.append(FillBlock(tuple(together)))
        if workers > 1 and found and (shares := math.ceil(2 * workers / len(found))) > 1:
            found = [share for block in found for share in block.split(shares)]
        return found

    def receive(self, unit_key: str, receipt: Receipt | Refusal) -> None:
        """Take a receipt; commits the unit when it was the last one."""
        if isinstance(receipt, Refusal):
            # the first reason is as good as a later one
            self.refused = {**receipt.reasons, **self.refused}
            return
        self._receipts[unit_key].append(receipt)
        self._commit_if_whole(unit_key)

    def _commit_if_whole(self, key: str) -> None:
        unit, receipts = self._units[key], self._receipts[key]
        if len({receipt.shard for receipt in receipts}) == self._shards[key]:
            split = self._dataset.splits[unit.split]
            commit_unit(
                self._workspace,
                unit,
                len(split),
                int((split.labels >= 0).sum()),
                receipts,
                self._preprocessing,
            )


def cells_of(task: FillTask) -> int:
    """Classifier-example pairs of a task."""
    return len(task.unit.classifiers) * (task.shard.stop - task.shard.start)


def plan_fill(
    workspace: Workspace,
    dataset: Dataset,
    classifiers: Mapping[str, Commit] | None,
    splits: Iterable[str],
    keep_logits: KeepLogits | None,
    *,
    guests: bool = False,
    program: str | None = None,
    precision: Precision = "fp32",
) -> FillPlan:
    """Group what has no committed answers: by split and input geometry, in sorted order, so that a
    rerun makes the same groups.

    Args:
        classifiers: None = every trained one of the workspace; then nothing is read of those that
            have their answers.
        keep_logits: None = ``default_keep_logits`` of the workspace's population.
        guests: whether classifiers that were trained on another data set with the same class list
            answer this one too; else they are passed over.
        program: who answers, see ``zoo.fill.program``; None = by its rule.
        precision: in which networks on pictures answer; heads do in float32.

    Raises:
        NotFoundError: if there is no classifier at all.
        UnknownNameError: if a split does not exist.
        DataError: if a classifier belongs to another class list.
    """
    splits, by = list(splits), asked(program)
    for split in splits:
        if split not in dataset.splits:
            raise UnknownNameError(
                f"split of {dataset.name}", split, dataset.splits, "Choose with --splits."
            )
    with workspace.commits.listed_once():
        there = answered(workspace)
        known = {name for names in there.values() for name in names}
        done = {split: there.get((dataset.fingerprint, split), set()) for split in splits}
        everyone = classifiers is None
        if classifiers is None:
            # A classifier belongs to one data set: where it has answers on another one and none
            # here, there is nothing to do for it. (Guests answer their own first.)
            at_home = {
                name
                for (fingerprint, _), names in there.items()
                if fingerprint == dataset.fingerprint
                for name in names
            }
            elsewhere = known - at_home
            filled = {name for name in known if all(name in names for names in done.values())}
            classifiers = trained(workspace, dataset.fingerprint, elsewhere | filled)
        if not classifiers and not (everyone and (known or workspace.commits.keys("member"))):
            cause = changed_since(workspace, dataset) or "Train some first."
            raise NotFoundError(
                f"no trained classifier in {workspace.location} for {dataset.name}"
                f" ({dataset.fingerprint}). {cause} See zoo train --help"
            )
        if keep_logits is None and classifiers:
            keep_logits = default_keep_logits(
                population_size(workspace, _KEEP_ALL_UP_TO + 1, known)
            )
    units: list[tuple[AnswerUnit, Geometry]] = []
    for split in splits:
        groups: dict[tuple[Geometry, int, str], list[str]] = {}
        for name, commit in sorted(classifiers.items()):
            facts = commit.facts
            # Imported predictions have no weights: their answers come with 'zoo import'.
            guest = facts["dataset"] != dataset.fingerprint
            if name in done[split] or (guest and not guests) or not commit.files:
                continue
            p = Preprocessing(**facts["preprocessing"])
            groups.setdefault(
                (
                    Geometry(p.size, p.channels, p.fit, p.features),
                    facts["num_classes"],
                    facts["classes"],
                ),
                [],
            ).append(name)
        for (geometry, num_classes, classes), names in sorted(
            groups.items(), key=lambda item: item[1][0]
        ):
            if classes != content_id(list(dataset.class_names)):
                raise DataError(
                    f"classifier {names[0]} knows another class list than {dataset.name}. Fill it"
                    " on the data set it was trained on."
                )
            logits = keep_logits == "all" or (keep_logits == "val" and split != "train")
            units += [
                (
                    AnswerUnit(
                        dataset.fingerprint,
                        split,
                        tuple(group),
                        num_classes,
                        classes,
                        logits,
                        precision=precision if geometry.features is None else "fp32",
                    ),
                    geometry,
                )
                for group in _chunks(names, classifiers)
            ]
    preprocessing = {
        name: classifiers[name].facts["preprocessing"]
        for unit, _ in units
        for name in unit.classifiers
    }
    weights = {name: classifiers[name].files[0].bytes for name in preprocessing}
    lanes = {
        unit.key: lanes_of(unit.classifiers, classifiers, len(dataset.splits[unit.split]), by)
        for unit, _ in units
        if unit.precision == "fp32"
    }
    wanted = by == "lanes"
    return FillPlan(workspace, dataset, units, preprocessing, weights, lanes, wanted=wanted)


def _chunks(names: Sequence[str], classifiers: Mapping[str, Commit]) -> list[list[str]]:
    """Groups of bounded count and bounded weight bytes, in order."""
    groups: list[list[str]] = [[]]
    weight = 0
    for name in names:
        size = classifiers[name].files[0].bytes
        if groups[-1] and (len(groups[-1]) >= GROUP_CLASSIFIERS or weight + size > MOST_WEIGHTS):
            groups.append([])
            weight = 0
        groups[-1].append(name)
        weight += size
    return groups


def decode_block(block: FillBlock) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Read and decode the pictures of a block, its shards one after the other: (uint8 [n, H, W, K],
    mask [n] of unreadable ones). Of heads nothing is decoded, [n, 0]: who asks them reads their
    features."""
    first = block.tasks[0]
    dataset, g = open_verified(first.dataset), first.geometry
    ids = np.concatenate([shard.example_ids for shard in block.shards])
    if g.features is not None:
        return np.empty((len(ids), 0), dtype=np.uint8), np.zeros(len(ids), dtype=np.bool_)
    decoded = decode_examples(
        dataset.splits[first.unit.split], ids, size=g.size, channels=g.channels, fit=g.fit
    )
    return decoded.images, np.isin(ids, list(decoded.errors))


def membership(workspace: Workspace, task: FillTask) -> list[NDArray[np.bool_] | None]:
    """Which examples of a task's shard each of its classifiers was trained on, bool [n] each; none
    away from the training split. Of pretrained weights, what their record says of the split; None =
    unknown."""
    shard, split = task.shard, task.unit.split
    members = workspace.commits.some("member", task.unit.classifiers)
    trained_by = {name: name.rsplit("-e", 1)[0] for name in task.unit.classifiers}
    asked = {trained_by[name]: None for name in trained_by if name not in members}

    def seen(training_id: str) -> NDArray[np.bool_]:
        if split != "train":
            return np.zeros(shard.stop - shard.start, dtype=bool)
        return seen_by(workspace, training_id)[shard.start : shard.stop].copy()

    masks = dict(zip(asked, workspace.files.together(seen, asked), strict=True))

    def said(member: Commit) -> NDArray[np.bool_] | None:
        known = member.facts["in_train"].get(split)
        return None if known is None else np.full(shard.stop - shard.start, bool(known))

    return [
        said(members[name]) if name in members else masks[training_id]
        for name, training_id in trained_by.items()
    ]
