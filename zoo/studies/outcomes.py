"""What became of every point of a study: one row per point, architecture and seed, with its answers on the clean test set.

Letters: R rows, T test examples, M classes. Accuracies and recalls are fractions; a *drop* is the baseline's minus the point's, paired by
seed. A training set without an example is no failure: its row says ``empty``, has no classifier and counts as chance, 1 / M.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.data import Dataset
from zoo.errors import NotFoundError
from zoo.scores.from_store import sample_answers
from zoo.scores.population import population_of
from zoo.spec import Experiment, Training, treatment_text
from zoo.store import ledger
from zoo.store.schema import OUTCOME_COLUMNS
from zoo.store.workspace import Workspace
from zoo.studies.points import Point
from zoo.trainsets.treatments import resolved

__all__ = ["Outcomes", "collect"]


@dataclass(frozen=True)
class Outcomes:
    """Results of a study.

    Args:
        table: R rows: aspect, setting, other (of the ``Point``), arch, seed, training_id, treatment, status, stop_reason, epochs, reached
            (whether the training accuracy reached the stop rule), n_train, label_change_rate, train_acc1, test_acc1 (from the answers;
            1 / M where ``empty``, null where ``diverged``).
        predictions: int16 [R, T]; -1 where there is none.
        labels: int64 [T]; -1 = no label.
        curves: training_id, epoch, split (train | test), acc1.
        class_names: M names.
        scale: the experiment's.
        train_size: examples of the data set's training split.
    """

    table: pd.DataFrame
    predictions: NDArray[np.int16]
    labels: NDArray[np.int64]
    curves: pd.DataFrame
    class_names: tuple[str, ...]
    scale: str
    train_size: int

    @property
    def archs(self) -> list[str]:
        return list(dict.fromkeys(self.table["arch"]))

    @property
    def seeds(self) -> list[int]:
        return sorted({int(seed) for seed in self.table["seed"]})

    @property
    def class_shares(self) -> NDArray[np.float64]:
        """Share of each class among the labelled test examples, float64 [M]: what deleting the class costs at least."""
        counts = np.bincount(self.labels[self.labels >= 0], minlength=len(self.class_names))
        return np.asarray(counts / counts.sum(), dtype=np.float64)

    def settings(self, aspect: str) -> list[float]:
        """Settings of an aspect, ascending."""
        return sorted({float(value) for value in self.table.loc[self.table["aspect"] == aspect, "setting"]})

    def changes(self, *aspects: str) -> list[tuple[str, float, int]]:
        """Each (aspect, setting, other) of some aspects once, in the study's order."""
        mine = self.table[self.table["aspect"].isin(aspects)]
        return list(dict.fromkeys(zip(mine["aspect"], mine["setting"].astype(float), mine["other"].astype(int), strict=True)))

    def rows(self, aspect: str, setting: float = 0.0, *, arch: str, other: int | None = None) -> NDArray[np.int64]:
        """Row numbers of one point in the order of ``seeds``, int64 [seeds].

        Raises:
            NotFoundError: if the study has no such point.
        """
        t = self.table
        mask = (t["aspect"] == aspect) & np.isclose(t["setting"].astype(float), setting) & (t["arch"] == arch)
        if np.isinf(setting):
            mask = (t["aspect"] == aspect) & np.isinf(t["setting"].astype(float)) & (t["arch"] == arch)
        if other is not None:
            mask &= t["other"] == other
        found = t[mask].sort_values("seed")
        if list(found["seed"].astype(int)) != self.seeds:
            raise NotFoundError(f"no point {aspect} {setting:g} of {arch} for every seed at scale {self.scale}")
        return found.index.to_numpy(dtype=np.int64)

    def acc(self, aspect: str, setting: float = 0.0, *, arch: str, other: int | None = None) -> NDArray[np.float64]:
        """Test accuracy of one point, float64 [seeds]."""
        return self.table["test_acc1"].to_numpy(dtype=np.float64, na_value=np.nan)[self.rows(aspect, setting, arch=arch, other=other)]

    def drop(
        self, aspect: str, setting: float = 0.0, *, arch: str, other: int | None = None, baseline: tuple[str, float] = ("baseline", 0.0)
    ) -> NDArray[np.float64]:
        """Accuracy of the baseline minus that of the point, paired by seed, float64 [seeds]."""
        return self.acc(baseline[0], baseline[1], arch=arch) - self.acc(aspect, setting, arch=arch, other=other)

    def recalls(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Share of each class's test examples that is predicted right, float64 [rows, M]."""
        hit = self.predictions[rows] == self.labels[None, :]
        return self._per_class(hit)

    def changed(self, rows: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
        """Share of each class's test examples that two classifiers predict differently, row by row, float64 [rows, M]."""
        return self._per_class(self.predictions[rows] != self.predictions[others])

    def _per_class(self, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        known = self.labels >= 0
        one_hot = np.eye(len(self.class_names))[self.labels[known]]
        return np.asarray(mask[:, known].astype(np.float64) @ one_hot / one_hot.sum(axis=0), dtype=np.float64)

    def curve(self, row: int, split: str) -> pd.DataFrame:
        """epoch, acc1 of one row's training on a split."""
        mine = self.curves[(self.curves["training_id"] == self.table.loc[row, "training_id"]) & (self.curves["split"] == split)]
        return mine[["epoch", "acc1"]].sort_values("epoch", ignore_index=True)


def collect(workspace: Workspace, dataset: Dataset, experiment: Experiment, points: Callable[[str, int], Sequence[Point]]) -> Outcomes:
    """Read a study's results from the store.

    Args:
        points: (scale, seed) -> the study's points, as the experiment's file has them.

    Raises:
        NotFoundError: if a training has no committed outcome yet.
        StoreError: if a classifier has no answers on the test split yet.
    """
    trainings = {_key(t): t for sweep in experiment.sweeps for t in resolved(sweep, dataset).expand(dataset.ref)}
    archs = list(dict.fromkeys(t.arch for t in trainings.values()))
    members = ledger.classifiers_of(workspace, trainings.values())
    population = population_of(workspace, dataset.fingerprint, members)
    test = len(dataset.splits["test"])
    _, predicted, _, labels, _ = sample_answers(workspace, population, "test", test)
    # A picture that nobody could read counts for nobody, here as in a comparison of arms.
    labels = np.where((predicted >= 0).any(axis=0), labels, -1)
    of_training = {str(members[name].facts["training_id"]): row for row, name in enumerate(population.classifiers)}
    rows, predictions, curves = [], [], []
    for arch in archs:
        for seed in sorted({t.seed for t in trainings.values()}):
            for point in points(experiment.scale, seed):
                training = trainings[arch, seed, treatment_text(point.ops), point.input_size]
                commit = workspace.commits.get("training", training.id)
                if commit is None:
                    raise NotFoundError(
                        f"training {training.id} ({arch}, {training.treatment_text}, seed {seed}) is not done. "
                        f"Run the same command again to go on."
                    )
                facts = commit.facts
                position = of_training.get(training.id)
                answers = np.full(test, -1, np.int16) if position is None else predicted[position]
                known = labels >= 0
                accuracy = {"done": float(np.mean(answers[known] == labels[known])), "empty": 1 / len(dataset.class_names)}
                train = [m["acc1"] for m in facts["metrics"] if m["split"] == "train"]
                rows.append(
                    {
                        "aspect": point.aspect,
                        "setting": point.setting,
                        "other": point.other,
                        "arch": arch,
                        "seed": seed,
                        "training_id": training.id,
                        "treatment": training.treatment_text,
                        "reached": facts["status"] == "done" and bool(train) and _reached(training, train[-1]),
                        "train_acc1": train[-1] if train else None,
                        "test_acc1": accuracy.get(facts["status"]),
                        **{name: facts.get(name) for name in ("status", "stop_reason", "epochs", "n_train", "label_change_rate")},
                    }
                )
                predictions.append(answers)
                curves += [{"training_id": training.id, **{k: m[k] for k in ("epoch", "split", "acc1")}} for m in facts["metrics"]]
    return Outcomes(
        table=pd.DataFrame({name: pd.array([row.get(name) for row in rows], dtype=kind) for name, kind in OUTCOME_COLUMNS.items()}),  # type: ignore[call-overload]
        predictions=np.stack(predictions),
        labels=labels,
        curves=pd.DataFrame(curves, columns=["training_id", "epoch", "split", "acc1"]).drop_duplicates(ignore_index=True),
        class_names=dataset.class_names,
        scale=experiment.scale,
        train_size=len(dataset.splits["train"]),
    )


def _reached(training: Training, train_acc1: float | None) -> bool:
    target = training.recipe.stop_train_acc
    return target is not None and train_acc1 is not None and train_acc1 >= target


def _key(training: Training) -> tuple[str, int, str, int | None]:
    return training.arch, training.seed, training.treatment_text, training.input_size
