"""Workspaces of made-up answers and of records alone, to measure the store and test it at size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.data import Dataset, Split
from zoo.data.dataset import fingerprint
from zoo.data.mnist import ArraySource
from zoo.scores.population import Population
from zoo.spec import Preprocessing, Recipe, Training, classifier_id, content_id
from zoo.store import answers as stored
from zoo.store import datasets, ledger
from zoo.store.answers import Answers, AnswerUnit, Receipt, Shard, commit_unit, shards, write_part
from zoo.store.files import FileRef
from zoo.store.workspace import Workspace

__all__ = [
    "answers_pool",
    "commit_some",
    "dataset_of",
    "filled",
    "first_rows",
    "names_of",
    "population_of",
    "with_members",
]

_GROUP = 125

_POOL = 16

_PREPROCESSING = Preprocessing(size=28, channels=1, fit="pad", mean=(0.5,), std=(0.25,))


def dataset_of(examples: Mapping[str, int], classes: int) -> Dataset:
    """Splits of so many examples; the pictures are one pixel each and nobody looks at them."""
    generator = np.random.default_rng(0)
    splits = {}
    for name, count in examples.items():
        pictures = ArraySource(np.zeros((count, 1, 1, 1), dtype=np.uint8))
        splits[name] = Split(
            name,
            generator.integers(0, classes, count),
            None,
            [f"{name}/{i:08d}" for i in range(count)],
            pictures,
        )
    names = tuple(f"class {i}" for i in range(classes))
    return Dataset("synthetic", "synthetic", names, splits, 1, (1, 1), fingerprint(names, splits))


def answers_pool(classes: int, rows: int) -> list[Answers]:
    """Plausible answers of a few classifiers: five distinct classes, probabilities that fall."""
    generator = np.random.default_rng(1)
    # four steps of at most this stay below M, so the five classes differ
    step = max(1, (classes - 1) // 4)
    found = []
    for _ in range(_POOL):
        first = generator.integers(0, classes, rows)
        steps = np.cumsum(generator.integers(1, step + 1, (rows, 4)), axis=1)
        top5 = np.concatenate([first[:, None], (first[:, None] + steps) % classes], axis=1).astype(
            np.int16
        )
        top5_p = np.sort(generator.dirichlet(np.full(6, 0.5), rows)[:, :5], axis=1)[:, ::-1].astype(
            np.float32
        )
        entropy = generator.uniform(0, np.log2(classes), rows).astype(np.float32)
        margin = top5_p[:, 0] - top5_p[:, 1]
        found.append(
            Answers(
                top5[:, 0],
                top5_p[:, 0],
                entropy,
                margin,
                top5,
                top5_p.astype(np.float16),
                np.ones(rows, dtype=bool),
            )
        )
    return found


def first_rows(answers: Answers, rows: int) -> Answers:
    a = answers
    return Answers(
        a.prediction[:rows],
        a.p_label[:rows],
        a.entropy[:rows],
        a.margin[:rows],
        a.top5[:rows],
        a.top5_p[:rows],
        a.finite[:rows],
    )


def names_of(classifiers: int) -> tuple[str, ...]:
    return tuple(f"{i:016x}-e0001" for i in range(classifiers))


def filled(
    root: Path, dataset: Dataset, classifiers: int, *, logits: NDArray[np.float32] | None = None
) -> Workspace:
    """A workspace with committed answers (and the same logits for everyone) of so many classifiers,
    in groups, shard by shard."""
    workspace = Workspace.open(root, create=True)
    datasets.commit_dataset(workspace, dataset, {})
    classes = len(dataset.class_names)
    pool = answers_pool(classes, stored.SMALL_SHARD)
    names = names_of(classifiers)
    for split in dataset.splits.values():
        for start in range(0, classifiers, _GROUP):
            group = names[start : start + _GROUP]
            unit = AnswerUnit(
                dataset.fingerprint,
                split.name,
                group,
                classes,
                "synthetic",
                logits=logits is not None,
            )
            receipts = [
                _part(workspace, unit, shard, split.labels[shard.start : shard.stop], pool, logits)
                for shard in shards(len(split), 1)
            ]
            commit_unit(workspace, unit, len(split), len(split), receipts)
    return workspace


def _part(
    workspace: Workspace,
    unit: AnswerUnit,
    shard: Shard,
    labels: NDArray[np.int64],
    pool: Sequence[Answers],
    logits: NDArray[np.float32] | None,
) -> Receipt:
    rows, members = len(labels), len(unit.classifiers)
    answers = [first_rows(pool[i % _POOL], rows) for i in range(members)]
    seen = np.arange(rows)[None, :] % 2 == np.arange(members)[:, None] % 2
    kept = None if logits is None else (logits[:rows] for _ in range(members))
    return write_part(
        workspace.files, unit, shard, answers, np.zeros(rows, dtype=bool), labels, seen, kept
    )


def population_of(workspace: Workspace, classifiers: int) -> Population:
    return Population(next(iter(workspace.commits.all("dataset").values())), names_of(classifiers))


def with_members(root: Path, dataset: Dataset, members: int, group: int = 1) -> list[Training]:
    """A workspace of records alone: so many trained and filled classifiers, ``group`` of them at a
    time, and one that is not filled."""
    workspace = Workspace.open(root, create=True)
    datasets.commit_dataset(workspace, dataset, {})
    recipe = Recipe(epochs=1)
    trainings = [
        Training(arch="lenet5", dataset=dataset.ref, recipe=recipe, seed=seed, snapshots=(1,))
        for seed in range(members + 1)
    ]
    ledger.record_plan(workspace, "bench", "population", trainings)
    classes = content_id(list(dataset.class_names))
    for training in trainings:
        name = classifier_id(training.id, 1)
        facts = {
            "training_id": training.id,
            "arch": "lenet5",
            "epoch": 1,
            "dataset": dataset.fingerprint,
            "num_classes": len(dataset.class_names),
            "classes": classes,
            "preprocessing": _PREPROCESSING.as_json(),
            "train_acc1": 0.9,
            "test_acc1": 0.9,
            "test_acc5": 1.0,
        }
        file = FileRef(f"checkpoints/{name}-0123456789abcdef.safetensors", 250_000, "0" * 64)
        workspace.files.replace(file.path, b"")
        workspace.commits.publish(
            "checkpoint", name, identity={"training_id": training.id}, facts=facts, files=[file]
        )
        outcome = {"status": "done", "epochs": 1, "metrics": [], "stop_reason": "all epochs"}
        workspace.commits.publish(
            "training", training.id, identity={"training_id": training.id}, facts=outcome
        )
    for start in range(0, members, group):
        commit_some(
            workspace,
            dataset,
            tuple(
                classifier_id(training.id, 1)
                for training in trainings[start : min(start + group, members)]
            ),
        )
    return trainings


def commit_some(workspace: Workspace, dataset: Dataset, names: tuple[str, ...]) -> None:
    """Commit a fill of some classifiers whose parts are there and hold nothing."""
    split = dataset.splits["train"]
    unit = AnswerUnit(
        dataset.fingerprint,
        "train",
        names,
        len(dataset.class_names),
        content_id(list(dataset.class_names)),
        logits=False,
    )
    receipts = []
    for s in shards(len(split), 1):
        ref = FileRef(f"{unit.folder}/{s.stem}-0123456789abcdef.parquet", 50_000, "0" * 64)
        workspace.files.replace(ref.path, b"")
        receipts.append(
            Receipt(s.index, (s.stop - s.start) * len(names), 0, (0,) * len(names), ref, None)
        )
    commit_unit(
        workspace,
        unit,
        len(split),
        len(split),
        receipts,
        dict.fromkeys(names, _PREPROCESSING.as_json()),
    )
