"""The straight line of a study: train -> fill -> score -> select -> retrain -> compare -> report. Knows no torch and no ray.

Every stage asks the store what is missing and does only that, so a stage, and the whole, can be run any number of times. Where trainings
and fills run is behind ``Runner``; ``zoo.local`` and ``zoo.cluster`` each have one, and both run the same bodies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo import compare, ledger, selection
from zoo.data import Dataset, open_dataset
from zoo.detection import detection_table
from zoo.errors import FailedTrainingsError, NotFoundError, UnknownNameError
from zoo.estimate import training_images, training_seconds
from zoo.fill import FillPlan, KeepLogits, plan_fill
from zoo.inputs import MemoryPictures, geometry, open_pictures
from zoo.ledger import Role
from zoo.progress import Progress
from zoo.results import write_table
from zoo.scoring import Population, choose_population, list_values, score
from zoo.spec import Arm, Experiment, Op, Recipe, SelectionRule, Sweep, Training, classifier_id
from zoo.store.answers import read_answers
from zoo.trainset import usable_rows
from zoo.treatments import apply_rows
from zoo.workspace import Workspace

__all__ = [
    "STAGES",
    "Run",
    "Runner",
    "arm_trainings",
    "compare_stage",
    "equal_steps",
    "fill",
    "prepare_dataset",
    "run",
    "score_splits",
    "select",
    "train",
]


class Runner(Protocol):
    """Where the work runs. The bodies are ``zoo.train.run_training`` and ``zoo.predict.ShardWorker`` everywhere."""

    def train(self, workspace: Workspace, trainings: Sequence[Training], costs: Mapping[str, float], on_epoch: Callable[[str, int], None]) -> None:
        """Run trainings; call ``on_epoch(training_id, epochs finished)`` as they go. Returns when each is committed or has failed."""
        ...

    def fill(self, workspace: Workspace, plan: FillPlan, on_task: Callable[[int], None]) -> None:
        """Compute a plan's tasks and hand it the receipts; call ``on_task(cells)`` for each."""
        ...

    def close(self) -> None:
        """Release workers."""
        ...


def prepare_dataset(workspace: Workspace, uri: str, archs: Sequence[str], input_size: int | None, progress: Progress) -> Dataset:
    """Open a data set, check it against the models, decode what is held in memory, record its examples.

    Unreadable pictures are counted and named here, before anything is trained on the rest.
    """
    dataset = open_dataset(uri)
    shapes = {geometry(dataset, arch, input_size) for arch in archs}
    unreadable: dict[str, dict[int, str]] = {}
    for shape in sorted(shapes, key=lambda shape: shape.size):
        for split in dataset.splits:
            pictures = open_pictures(dataset, split, shape, workspace.cache)
            if isinstance(pictures, MemoryPictures):
                unreadable.setdefault(split, {}).update(pictures.decoded.errors)
    ledger.commit_dataset(workspace, dataset, unreadable)
    for split, reasons in unreadable.items():
        if reasons:
            first = min(reasons)
            progress.say(
                f"{dataset.name} {split}: {len(reasons)} of {len(dataset.splits[split])} pictures cannot be read and are left out; "
                f"first {dataset.splits[split].keys[first]}: {reasons[first]}. All of them: zoo query \"select * from examples where error is not null\""
            )
    return dataset


def train(
    workspace: Workspace,
    dataset: Dataset,
    experiment: str,
    role: Role,
    trainings: Sequence[Training],
    runner: Callable[[], Runner],
    progress: Progress,
    *,
    stage: str = "training",
) -> None:
    """Train what is missing of a sweep.

    Args:
        runner: makes (or returns) the runner; not called when nothing is missing.

    Raises:
        FailedTrainingsError: if some trainings failed or diverged; the others are done and committed.
    """
    _check_treatments(workspace, dataset, trainings)
    ledger.record_plan(workspace, experiment, role, trainings)
    todo = ledger.missing(workspace, trainings)
    if todo:
        workspace.check_writable()
        costs = {t.id: max(1e-3, training_seconds(t, dataset)) for t in todo}
        epochs: dict[str, int] = {}
        per_epoch = {t.id: costs[t.id] / t.recipe.epochs for t in todo}
        images = sum(training_images(t, dataset) for t in todo)
        with progress.stage(stage, sum(costs.values())) as bar:

            def on_epoch(training_id: str, epoch: int) -> None:
                gained = epoch - epochs.get(training_id, 0)
                epochs[training_id] = epoch
                bar.advance(per_epoch[training_id] * max(0, gained), f"{len(epochs)} of {len(todo)} trainings begun")

            runner().train(workspace, todo, costs, on_epoch)
            bar.text = f"{len(todo)} trainings, {images:,} image passes"
    _raise_failures(workspace, trainings)


def _check_treatments(workspace: Workspace, dataset: Dataset, trainings: Sequence[Training]) -> None:
    """Apply every treatment's row part once, before anything is trained: a class that does not exist is found now."""
    rows = usable_rows(dataset, {})
    for treatment in {training.treatment_text: training.treatment for training in trainings}.values():
        apply_rows(treatment, rows, manifests=partial(ledger.manifest_of, workspace))


def _raise_failures(workspace: Workspace, trainings: Sequence[Training]) -> None:
    failed = ledger.failures(workspace)
    lines = []
    for training in trainings:
        commit = workspace.commits.get("training", training.id)
        name = f"{training.id} ({training.arch}, {training.treatment_text}, seed {training.seed})"
        if commit is None:
            lines.append(f"{name}: {failed.get(training.id, 'broke off without a word; its worker may have been killed')}")
        elif commit.facts["status"] == "diverged":
            lines.append(f"{name}: diverged, {commit.facts['stop_reason']}")
    if lines:
        shown = "\n  ".join(lines[:10]) + (f"\n  and {len(lines) - 10} more: zoo status" if len(lines) > 10 else "")
        raise FailedTrainingsError(
            f"{len(lines)} of {len(trainings)} trainings have no result:\n  {shown}\n"
            f"The others are done. Run the same command to try again; a diverged training stays diverged: change its recipe."
        )


def fill(
    workspace: Workspace,
    dataset: Dataset,
    splits: Sequence[str],
    keep_logits: KeepLogits,
    runner: Callable[[], Runner],
    progress: Progress,
    *,
    roles: Sequence[Literal["population", "retraining"]] = ("population",),
    stage: str = "fill",
) -> None:
    """Stream splits through every committed classifier that has no answers on them yet.

    Raises:
        NotFoundError: if there is no classifier at all.
    """
    classifiers = {key: commit for role in roles for key, commit in ledger.population(workspace, role).items()}
    if not classifiers:
        raise NotFoundError(f"no trained classifier in {workspace.root}. Train some first: zoo train --help")
    plan = plan_fill(workspace, dataset, classifiers, splits, keep_logits)
    if plan.tasks:
        workspace.check_writable()
        cells = plan.cells
        with progress.stage(stage, cells) as bar:
            runner().fill(workspace, plan, bar.advance)
            bar.text = f"{cells:,} answers of {len({c for u in plan.units for c in u.classifiers})} classifiers on {' and '.join(splits)}"


# ---------------------------------------------------------------- scores, selections, retraining, comparison


def score_splits(workspace: Workspace, population: Population, splits: Sequence[str], progress: Progress) -> dict[str, pd.DataFrame]:
    """Score a population on splits and write ``results/scores-<split>``."""
    tables = {}
    with progress.stage("scoring", len(splits)) as bar:
        for split in splits:
            table = score(workspace, population, split)
            write_table(workspace, f"scores-{split}", table, {"population": population.id, "n": len(population.classifiers)})
            tables[split] = table.to_pandas()
            bar.advance(1, f"{split}: {table.num_rows:,} examples by {len(population.classifiers)} classifiers")
    return tables


def select(
    workspace: Workspace, rule: SelectionRule, scores: pd.DataFrame, num_classes: int, *, replace: bool = False
) -> dict[str, Any]:
    """Apply a chain of rules to scores, store the manifest under its name, and say what it holds."""
    manifest = selection.build(
        [(step.name, step.params) for step in rule.rules],
        scores,
        num_classes=num_classes,
        resolve=partial(ledger.selection_frame, workspace),
    )
    origin = {"rules": [step.text for step in rule.rules], "split": rule.split}
    ledger.commit_selection(workspace, rule.name, manifest, selection.manifest_digest(manifest), origin, replace=replace)
    return selection.manifest_summary(manifest, num_classes=num_classes, scores=scores)


def arm_trainings(workspace: Workspace, arms: Sequence[Arm], retraining: Sweep, dataset: Dataset) -> dict[str, tuple[Training, ...]]:
    """The trainings of each arm: the same recipe and seeds on its selection."""
    return {
        arm.name: retraining.replace(treatments=(ledger.selection_op(workspace, arm.selection or "baseline"),)).expand(dataset.ref)
        for arm in arms
    }


def equal_steps(recipe: Recipe, examples: int) -> Recipe:
    """The recipe with a fixed number of optimiser steps per epoch: those of one pass over the whole training set."""
    return recipe if recipe.steps_per_epoch else recipe.replace(steps_per_epoch=max(1, math.ceil(examples / recipe.batch_size)))


def compare_stage(
    workspace: Workspace,
    arms: Sequence[Arm],
    trainings: Mapping[str, Sequence[Training]],
    on: Sequence[Op],
    test_scores: pd.DataFrame | None,
    class_count: int,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """(arms, comparisons, similarities): accuracy per arm and seed on the full and on cleaned test sets, and how alike the arms answer.

    Args:
        on: selection rules that make cleaned test sets; needs ``test_scores``.
    """
    finals = {
        training.id: classifier_id(training.id, int(commit.facts["epochs"]))
        for group in trainings.values()
        for training in group
        if (commit := workspace.commits.get("training", training.id)) is not None and commit.facts["status"] == "done"
    }
    fingerprint = next(iter(trainings.values()))[0].dataset.fingerprint
    subsets: dict[str, NDArray[np.int64] | None] = {"test": None}
    for rule in on:
        if test_scores is None:
            raise NotFoundError("cleaned test sets need scores of the test split. Run 'zoo fill --splits test' and 'zoo score --split test'.")
        kept = selection.build([(rule.name, rule.params)], test_scores, num_classes=class_count)
        subsets[f"test, {rule.text}"] = kept["example_id"].to_numpy()
    predicted, top5, labels = _test_answers(workspace, fingerprint, sorted(set(finals.values())))
    rows = []
    for arm in arms:
        for training in trainings[arm.name]:
            if training.id not in finals:
                continue
            facts = _facts(workspace, training)
            for name, ids in subsets.items():
                use = labels >= 0 if ids is None else np.isin(np.arange(len(labels)), ids) & (labels >= 0)
                mine, five = predicted[finals[training.id]][use], top5[finals[training.id]][use]
                rows.append(
                    {
                        "arm": arm.name,
                        "selection": arm.selection or "baseline",
                        "on": name,
                        "arch": training.arch,
                        "seed": training.seed,
                        "n_train": facts["n_train"],
                        "n_unique": facts["n_unique"],
                        "steps": facts["steps"],
                        "n_test": int(use.sum()),
                        "acc1": float((mine == labels[use]).mean()) if use.any() else float("nan"),
                        "acc5": float((five == labels[use, None]).any(axis=1).mean()) if use.any() else float("nan"),
                    }
                )
    table = pd.DataFrame(rows)
    if table.empty:
        raise NotFoundError("none of the arms has a finished training. Run 'zoo retrain' first, or see 'zoo status'.")
    notes = {arm.name: arm.note for arm in arms}
    comparisons = pd.concat([compare.compare_arms(group).assign(on=name) for name, group in table.groupby("on", sort=False)], ignore_index=True)
    comparisons["note"] = [notes.get(name, "") for name in comparisons["arm"]]
    return table, comparisons, _similarities(arms, trainings, finals, predicted, labels)


def _facts(workspace: Workspace, training: Training) -> Mapping[str, Any]:
    commit = workspace.commits.get("training", training.id)
    assert commit is not None
    return commit.facts


def _test_answers(
    workspace: Workspace, fingerprint: str, classifiers: Sequence[str]
) -> tuple[dict[str, NDArray[np.int64]], dict[str, NDArray[np.int64]], NDArray[np.int64]]:
    """(predictions [E] by classifier, five most probable classes [E, 5] by classifier, labels [E], -1 where unreadable or unknown)."""
    record = workspace.commits.get("dataset", fingerprint)
    assert record is not None
    examples = ledger.examples_frame(workspace, fingerprint)
    examples = examples[examples["split"] == "test"]
    labels = examples["label"].fillna(-1).to_numpy(dtype=np.int64)
    predicted: dict[str, list[NDArray[np.int64]]] = {name: [] for name in classifiers}
    top5: dict[str, list[NDArray[np.int64]]] = {name: [] for name in classifiers}
    for _, answers in read_answers(workspace, fingerprint, "test", classifiers):
        for name, batch in answers:
            predicted[name].append(batch.column("prediction").fill_null(-1).to_numpy().astype(np.int64))
            top5[name].append(list_values(batch.column("top5")).astype(np.int64))
    joined = {name: np.concatenate(parts) for name, parts in predicted.items()}
    unreadable = np.any([p < 0 for p in joined.values()], axis=0) if joined else np.zeros(len(labels), dtype=bool)
    return joined, {name: np.concatenate(parts) for name, parts in top5.items()}, np.where(unreadable, -1, labels)


def _similarities(
    arms: Sequence[Arm],
    trainings: Mapping[str, Sequence[Training]],
    finals: Mapping[str, str],
    predicted: Mapping[str, NDArray[np.int64]],
    labels: NDArray[np.int64],
) -> pd.DataFrame:
    """Similarity of every two classifiers of the arms: one row per pair (same seed, or two seeds of one arm as the control) and measure."""
    known = labels >= 0
    members = [(arm.name, t.seed, predicted[finals[t.id]][known]) for arm in arms for t in trainings[arm.name] if t.id in finals]
    rows = []
    for index, (arm_a, seed_a, a) in enumerate(members):
        for arm_b, seed_b, b in members[index + 1 :]:
            if seed_a != seed_b and arm_a != arm_b:
                continue
            measures = {"zero_one": compare.zero_one_similarity(a, b, labels[known]), "prediction": compare.prediction_similarity(a, b)}
            rows += [
                {"arm_a": arm_a, "arm_b": arm_b, "seed_a": seed_a, "seed_b": seed_b, "measure": name, "similarity": value}
                for name, value in measures.items()
            ]
    return pd.DataFrame(rows, columns=["arm_a", "arm_b", "seed_a", "seed_b", "measure", "similarity"])


# ---------------------------------------------------------------- a whole experiment


STAGES = ("train", "fill", "score", "select", "retrain", "compare", "report")


@dataclass
class Run:
    """What an experiment has produced so far; ``report`` is the page's path once it is written."""

    experiment: Experiment
    dataset: Dataset
    scores: dict[str, pd.DataFrame] = field(default_factory=dict)
    arms: pd.DataFrame | None = None
    comparisons: pd.DataFrame | None = None
    detection: pd.DataFrame | None = None
    report: Path | None = None


def run(
    workspace: Workspace, experiment: Experiment, runner: Callable[[], Runner], progress: Progress, *, until: str = STAGES[-1]
) -> Run:
    """Every stage of an experiment that is not done yet, up to and including ``until``.

    Raises:
        UnknownNameError: for an unknown stage.
    """
    if until not in STAGES:
        raise UnknownNameError("stage", until, STAGES)
    wanted = STAGES[: STAGES.index(until) + 1]
    archs = sorted({arch for sweep in (*experiment.sweeps, experiment.retraining) if sweep for arch in sweep.archs})
    dataset = prepare_dataset(workspace, experiment.dataset, archs, experiment.sweeps[0].input_size, progress)
    done = Run(experiment, dataset)
    trainings = [training for sweep in experiment.sweeps for training in sweep.expand(dataset.ref)]
    train(workspace, dataset, experiment.name, "population", trainings, runner, progress)
    if "fill" in wanted and experiment.fill_splits:
        fill(workspace, dataset, experiment.fill_splits, experiment.keep_logits, runner, progress)
    if "score" in wanted and experiment.fill_splits:
        done.scores = score_splits(workspace, choose_population(workspace, dataset=dataset.fingerprint), experiment.fill_splits, progress)
        if "train" in done.scores:
            done.detection = detection_table(done.scores["train"])
            write_table(workspace, "detection", done.detection)
    if "select" in wanted:
        for rule in experiment.selections:
            select(workspace, rule, done.scores[rule.split], len(dataset.class_names))
    if "retrain" in wanted and experiment.retraining is not None:
        sweep = experiment.retraining.replace(recipe=equal_steps(experiment.retraining.recipe, len(dataset.splits["train"])))
        by_arm = arm_trainings(workspace, experiment.arms, sweep, dataset)
        everything = [training for group in by_arm.values() for training in group]
        train(workspace, dataset, experiment.name, "retraining", everything, runner, progress, stage="retraining")
        if "compare" in wanted:
            fill(workspace, dataset, ("test",), "none", runner, progress, roles=("retraining",), stage="evaluation")
            tables = compare_stage(workspace, experiment.arms, by_arm, experiment.on, done.scores.get("test"), len(dataset.class_names))
            done.arms, done.comparisons, similarities = tables
            for name, table in (("arms", done.arms), ("comparisons", done.comparisons), ("similarities", similarities)):
                write_table(workspace, name, table)
    return done
