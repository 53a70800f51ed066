"""A small story of everything a store holds: data set, plan, checkpoints, trainings, answers and
logits, scores, a selection."""

from __future__ import annotations

import numpy as np
from factories import manifest

from zoo.data import Dataset, Split
from zoo.scores.from_store import score
from zoo.scores.outputs import answers_from_logits
from zoo.scores.population import population_of
from zoo.spec import Recipe, Training, classifier_id, content_id
from zoo.store.answers import (
    AnswerUnit,
    Receipt,
    Shard,
    commit_unit,
    find_receipt,
    shards,
    write_part,
)
from zoo.store.datasets import commit_dataset
from zoo.store.ledger import commit_training, record_plan
from zoo.store.results import write_scores
from zoo.store.selections import commit_selection
from zoo.store.workspace import Workspace

EXAMPLES, CLASSES = 100, 3  # two shards of at most 64, see the tests' small_shards


class _Source:
    def encoded(self, example_ids: np.ndarray) -> list[bytes]:
        return [b""] * len(example_ids)

    def content_digest(self) -> bytes:
        return b""


def _dataset(class_names: tuple[str, ...], keys: list[str]) -> Dataset:
    labels = np.arange(EXAMPLES, dtype=np.int64) % CLASSES
    split = Split("train", labels, None, keys, _Source())
    return Dataset("nowhere", "tiny", class_names, {"train": split}, 1, (8, 8), "0123456789abcdef")


def tell(
    workspace: Workspace,
    class_names: tuple[str, ...] = ("a", "b", "c"),
    keys: list[str] | None = None,
    author: int = 0,
) -> None:
    """What a sweep, a fill, a score and a selection write, in their order, with everything that is
    done already skipped as they do.

    Args:
        author: whoever computes on another kind of machine gets other bytes of weights and answers.
    """
    dataset = _dataset(class_names, keys or [str(i) for i in range(EXAMPLES)])
    commit_dataset(workspace, dataset, {})
    trainings = [
        Training(arch="softmax", dataset=dataset.ref, recipe=Recipe(epochs=1), seed=seed)
        for seed in (0, 1)
    ]
    record_plan(workspace, "story", "population", trainings)
    for training in trainings:
        key = classifier_id(training.id, 1)
        if workspace.commits.get("checkpoint", key) is None:
            weights = f"weights of seed {training.seed}, by {author}".encode()
            ref = workspace.files.seal(
                f"checkpoints/{key[:2]}",
                key,
                ".bin",
                lambda path, data=weights: path.write_bytes(data) and None,
            )
            facts = {
                "training_id": training.id,
                "epoch": 1,
                "train_acc1": 0.5,
                "test_acc1": 0.5,
                "test_acc5": 1.0,
            }
            workspace.commits.publish(
                "checkpoint", key, identity={"training_id": training.id}, facts=facts, files=[ref]
            )
        if workspace.commits.get("training", training.id) is None:
            facts = {
                "status": "done",
                "epochs": 1,
                "metrics": [],
                "stop_reason": "all epochs",
                "steps": 1,
                "train_seconds": 1.0,
            }
            facts |= {"n_train": EXAMPLES, "n_unique": EXAMPLES, "versions": {}}
            commit_training(workspace, training, facts, np.ones(EXAMPLES, dtype=np.uint16))
    names = tuple(sorted(classifier_id(t.id, 1) for t in trainings))
    unit = AnswerUnit(
        dataset.fingerprint, "train", names, CLASSES, content_id(list(dataset.class_names)), True
    )
    if workspace.commits.get("answers", unit.key) is None:
        receipts = [
            find_receipt(workspace.files, unit, shard)
            or _part(workspace, unit, shard, dataset, author)
            for shard in shards(EXAMPLES, 64)
        ]
        commit_unit(workspace, unit, EXAMPLES, EXAMPLES, receipts)
    population = population_of(workspace, dataset.fingerprint, names)
    write_scores(
        workspace, score(workspace, population, "train"), population.origin("train"), len(names)
    )
    commit_selection(
        workspace, "few", manifest(range(10), 0), population.origin("train"), ["by hand"]
    )


def _part(
    workspace: Workspace, unit: AnswerUnit, shard: Shard, dataset: Dataset, author: int
) -> Receipt:
    labels = dataset.splits["train"].labels[shard.start : shard.stop]
    logits = [
        np.random.default_rng([index, shard.index, author])
        .normal(size=(len(labels), CLASSES))
        .astype(np.float32)
        for index in range(len(unit.classifiers))
    ]
    answers = [answers_from_logits(values, labels) for values in logits]
    nothing = np.zeros(len(labels), dtype=bool)
    return write_part(
        workspace.files,
        unit,
        shard,
        answers,
        nothing,
        labels,
        np.zeros((len(answers), len(labels)), dtype=bool),
        logits,
    )
