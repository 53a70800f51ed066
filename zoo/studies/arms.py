"""Arms of a retraining comparison: the same recipe and seeds on different selections, and what came out of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.data import Dataset
from zoo.errors import NotFoundError
from zoo.spec import Arm, Op, Recipe, Sweep, Training, classifier_id
from zoo.store import datasets, selections
from zoo.store.answers import list_values, read_answers
from zoo.store.results import write_table
from zoo.store.workspace import Workspace
from zoo.studies import compare
from zoo.trainsets import rules

__all__ = ["Comparison", "arm_trainings", "compare_trainings", "equal_steps", "equal_steps_sweep"]


@dataclass(frozen=True)
class Comparison:
    """Tidy tables: ``arms`` (one row per arm, seed and test set), ``comparisons`` (per arm, test set and metric), ``similarities`` (per pair)."""

    arms: pd.DataFrame
    comparisons: pd.DataFrame
    similarities: pd.DataFrame

    def write(self, workspace: Workspace) -> None:
        """Write the three tables to ``results/``."""
        for name in ("arms", "comparisons", "similarities"):
            write_table(workspace, name, getattr(self, name))


def equal_steps(recipe: Recipe, examples: int) -> Recipe:
    """The recipe with a fixed number of optimiser steps per epoch: those of one pass over the whole training set."""
    return recipe if recipe.steps_per_epoch else recipe.replace(steps_per_epoch=max(1, math.ceil(examples / recipe.batch_size)))


def equal_steps_sweep(retraining: Sweep, dataset: Dataset) -> Sweep:
    """The sweep of one arm: every arm takes the optimiser steps of one that has the whole training set."""
    return retraining.replace(recipe=equal_steps(retraining.recipe, len(dataset.splits["train"])))


def arm_trainings(workspace: Workspace, arms: Sequence[Arm], retraining: Sweep, dataset: Dataset) -> dict[str, tuple[Training, ...]]:
    """The trainings of each arm: the same recipe and seeds on its selection, the same number of optimiser steps in all."""
    sweep = equal_steps_sweep(retraining, dataset)
    return {
        arm.name: sweep.replace(treatments=(selections.selection_op(workspace, arm.selection or "baseline"),)).expand(dataset.ref)
        for arm in arms
    }


def compare_trainings(
    workspace: Workspace,
    arms: Sequence[Arm],
    trainings: Mapping[str, Sequence[Training]],
    on: Sequence[Op],
    test_scores: pd.DataFrame | None,
    num_classes: int,
) -> Comparison:
    """Accuracy per arm and seed on the full and on cleaned test sets, against the first arm, and how alike the arms answer.

    Args:
        on: selection rules that make cleaned test sets out of ``test_scores`` (the ``scores`` table of the test split).

    Raises:
        NotFoundError: if no arm has a finished training, or a cleaned test set is asked for without scores.
    """
    finals: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for training in (training for group in trainings.values() for training in group):
        commit = workspace.commits.get("training", training.id)
        if commit is not None and commit.facts["status"] == "done":
            finals[training.id] = (classifier_id(training.id, int(commit.facts["epochs"])), commit.facts)
    if not finals:
        raise NotFoundError("none of the arms has a finished training. Train them with 'zoo retrain'; 'zoo status' says what is there.")
    fingerprint = next(iter(trainings.values()))[0].dataset.fingerprint
    answers = _TestAnswers.read(workspace, fingerprint, sorted({name for name, _ in finals.values()}))
    subsets = {op.text: answers.mask(_cleaned(op, test_scores, num_classes)) for op in on}
    rows, members = [], {}
    for arm in arms:
        for training in trainings[arm.name]:
            if training.id not in finals:
                continue
            name, facts = finals[training.id]
            members[f"{arm.name}/{training.seed}"] = answers.predictions[name]
            about = {"arm": arm.name, "selection": arm.selection or "baseline", "arch": training.arch, "seed": training.seed}
            about |= {key: facts[key] for key in ("n_train", "n_unique", "steps")}
            table = compare.evaluate(answers.predictions[name], answers.top5[name], answers.labels, subsets)
            rows += [{**about, **row} for row in table.to_dict(orient="records")]
    frame = pd.DataFrame(rows)
    comparisons = compare.compare_arms(frame, arms[0].name)
    notes = {arm.name: arm.note for arm in arms if arm.note}
    comparisons["note"] = [notes.get(arm, note) for arm, note in zip(comparisons["arm"], comparisons["note"], strict=True)]
    return Comparison(frame, comparisons, _similarities(members, answers.labels))


def _cleaned(op: Op, test_scores: pd.DataFrame | None, num_classes: int) -> NDArray[np.int64]:
    if test_scores is None:
        raise NotFoundError(
            f"the cleaned test set {op.text!r} needs scores of the test split. Run 'zoo fill --splits test', then 'zoo score --split test'."
        )
    kept: NDArray[np.int64] = rules.build([(op.name, op.params)], test_scores, num_classes=num_classes)["example_id"].to_numpy(np.int64)
    return kept


@dataclass(frozen=True)
class _TestAnswers:
    """Answers of a few classifiers on the whole test split: by classifier, [E] and [E, 5]; labels [E], -1 where unknown."""

    predictions: Mapping[str, NDArray[np.int64]]
    top5: Mapping[str, NDArray[np.int64]]
    labels: NDArray[np.int64]

    @classmethod
    def read(cls, workspace: Workspace, fingerprint: str, classifiers: Sequence[str]) -> _TestAnswers:
        examples = datasets.examples_frame(workspace, fingerprint)
        labels = examples.loc[examples["split"] == "test", "label"].fillna(-1).to_numpy(dtype=np.int64)
        predictions: dict[str, list[NDArray[np.int64]]] = {name: [] for name in classifiers}
        top5: dict[str, list[NDArray[np.int64]]] = {name: [] for name in classifiers}
        for _, answers in read_answers(workspace, fingerprint, "test", classifiers, columns=("prediction", "top5")):
            for name, batch in answers:
                said = batch.column("prediction").fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
                predictions[name].append(said)
                # An unreadable picture has no top 5; the slots of its null row hold anything.
                top5[name].append(np.where(said[:, None] >= 0, list_values(batch.column("top5")).astype(np.int64), -1))
        return cls(
            {name: np.concatenate(parts) for name, parts in predictions.items()},
            {name: np.concatenate(parts) for name, parts in top5.items()},
            labels,
        )

    def mask(self, example_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        inside = np.zeros(len(self.labels), dtype=bool)
        inside[example_ids] = True
        return inside


def _similarities(members: Mapping[str, NDArray[np.int64]], labels: NDArray[np.int64]) -> pd.DataFrame:
    """Every ordered pair of classifiers of the arms, one row per pair and measure. Two seeds of one arm are the control."""
    table = compare.similarity_table(members, labels)
    for side in ("a", "b"):
        table[[f"arm_{side}", f"seed_{side}"]] = table[side].str.rsplit("/", n=1, expand=True)
        table[f"seed_{side}"] = table[f"seed_{side}"].astype("int64")
    ids = ["arm_a", "seed_a", "arm_b", "seed_b"]
    return table.drop(columns=["a", "b"]).melt(ids, var_name="measure", value_name="similarity")
