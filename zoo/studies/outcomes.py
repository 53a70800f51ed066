"""What became of every point of a study: one row per point, architecture and seed, with its answers
on the clean test set.

Letters: R rows, T test examples (labelled and readable), M classes. Accuracies and recalls are
fractions; a *drop* is the baseline's minus the point's, paired by seed. A training set without an
example is no failure: its row says ``empty``, has no classifier and counts as chance, 1 / M.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.data import Dataset
from zoo.errors import NotFoundError
from zoo.registry import distinct
from zoo.scores.from_store import sample_answers
from zoo.scores.population import population_of
from zoo.spec import Experiment, Training, treatment_text
from zoo.store import ledger
from zoo.store.schema import SCHEMA
from zoo.store.workspace import Workspace
from zoo.studies.points import Point
from zoo.trainsets.treatments import resolved

__all__ = ["Outcomes", "answers_by_class", "collect"]


@dataclass(frozen=True)
class Outcomes:
    """Results of a study: all that its claims and charts are made of, as tables, so that a stored
    study can be judged again.

    Args:
        table: R rows: aspect, setting, other (of the ``Point``), arch, seed, training_id,
            treatment, status, stop_reason, epochs, reached (whether the training accuracy reached
            the stop rule), n_train, label_change_rate, train_acc1, test_acc1 (from the answers; 1 /
            M where ``empty``, null where ``diverged``).
        by_class: one row per training with answers and class: training_id, class (index), recall
            (share of the class's test examples that is predicted right), changed (share predicted
            differently than by the baseline of the same seed; of a baseline itself: than by the
            baselines of the other seeds, mean over them, null where there is one seed). None where
            only ``table`` was stored.
        curves: training_id, epoch, split (as in the table ``metrics``), acc1. None where only
            ``table`` was stored.
        class_names: M names.
        class_counts: labelled test examples of each class, M numbers.
        scale: the experiment's.
        dataset: the data set, as the experiment names it.
        train_size: examples of the data set's training split.
    """

    table: pd.DataFrame
    by_class: pd.DataFrame | None
    curves: pd.DataFrame | None
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    scale: str
    dataset: str
    train_size: int

    @property
    def archs(self) -> list[str]:
        return list(dict.fromkeys(self.table["arch"]))

    @property
    def seeds(self) -> list[int]:
        return sorted({int(seed) for seed in self.table["seed"]})

    @property
    def class_shares(self) -> NDArray[np.float64]:
        """Share of each class among the labelled test examples, float64 [M]: what deleting the
        class costs at least."""
        counts = np.asarray(self.class_counts, dtype=np.float64)
        return np.asarray(counts / counts.sum(), dtype=np.float64)

    def settings(self, aspect: str) -> list[float]:
        """Settings of an aspect, ascending.

        Raises:
            NotFoundError: if the study has no point of it.
        """
        return sorted({setting for _, setting, _ in self.changes(aspect)})

    def changes(self, *aspects: str) -> list[tuple[str, float, int]]:
        """Each (aspect, setting, other) of some aspects once, in the study's order.

        Raises:
            NotFoundError: if the study has no point of them.
        """
        mine = self.table[self.table["aspect"].isin(aspects)]
        if mine.empty:
            raise NotFoundError(f"no point {' or '.join(aspects)} at scale {self.scale}")
        return list(
            dict.fromkeys(
                zip(
                    mine["aspect"],
                    mine["setting"].astype(float),
                    mine["other"].astype(int),
                    strict=True,
                )
            )
        )

    def rows(
        self, aspect: str, setting: float = 0.0, *, arch: str, other: int | None = None
    ) -> NDArray[np.int64]:
        """Row numbers of one point in the order of ``seeds``, int64 [seeds].

        Raises:
            NotFoundError: if the study has no such point.
        """
        mine = self._positions.get((aspect, arch), [])
        found = sorted(
            (seed, row)
            for value, second, seed, row in mine
            if (value == setting or abs(value - setting) < 1e-9) and other in (None, second)
        )
        if [seed for seed, _ in found] != self.seeds:
            raise NotFoundError(
                f"no point {aspect} {setting:g} of {arch} for every seed at scale {self.scale}"
            )
        return np.array([row for _, row in found], dtype=np.int64)

    @cached_property
    def _positions(self) -> dict[tuple[str, str], list[tuple[float, int, int, int]]]:
        """(aspect, arch) -> (setting, other, seed, row)."""
        found: dict[tuple[str, str], list[tuple[float, int, int, int]]] = {}
        columns = [
            list(self.table[name]) for name in ("aspect", "arch", "setting", "other", "seed")
        ]
        for row, (aspect, arch, setting, other, seed) in enumerate(zip(*columns, strict=True)):
            found.setdefault((aspect, arch), []).append(
                (float(setting), int(other), int(seed), row)
            )
        return found

    def acc(
        self, aspect: str, setting: float = 0.0, *, arch: str, other: int | None = None
    ) -> NDArray[np.float64]:
        """Test accuracy of one point, float64 [seeds]."""
        return self.table["test_acc1"].to_numpy(dtype=np.float64, na_value=np.nan)[
            self.rows(aspect, setting, arch=arch, other=other)
        ]

    def drop(
        self,
        aspect: str,
        setting: float = 0.0,
        *,
        arch: str,
        other: int | None = None,
        baseline: tuple[str, float] = ("baseline", 0.0),
    ) -> NDArray[np.float64]:
        """Accuracy of the baseline minus that of the point, paired by seed, float64 [seeds]."""
        return self.acc(baseline[0], baseline[1], arch=arch) - self.acc(
            aspect, setting, arch=arch, other=other
        )

    def recalls(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Share of each class's test examples that is predicted right, float64 [rows, M]; NaN for a
        training without answers.

        Raises:
            NotFoundError: if it was not stored.
        """
        return self._by_class("recall", rows)

    def changed(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Share of each class's test examples predicted differently than by the baseline of the
        same seed, float64 [rows, M]; of a baseline: than by those of other seeds.

        Raises:
            NotFoundError: if it was not stored.
        """
        return self._by_class("changed", rows)

    def _by_class(self, column: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        wide = self._wide[column].reindex(self.table["training_id"].iloc[rows])
        return wide.to_numpy(dtype=np.float64, na_value=np.nan)

    @cached_property
    def _wide(self) -> dict[str, pd.DataFrame]:
        """recall and changed, one row per training and one column per class."""
        table, classes = (
            self._stored(self.by_class, "answers by class"),
            range(len(self.class_names)),
        )
        wide = {
            name: table.pivot_table(
                index="training_id", columns="class", values=name, dropna=False, observed=True
            )
            for name in ("recall", "changed")
        }
        return {name: values.reindex(columns=classes) for name, values in wide.items()}

    def curve(self, row: int, split: str) -> pd.DataFrame:
        """epoch, acc1 of one row's training on a split.

        Raises:
            NotFoundError: if curves were not stored.
        """
        curves = self._stored(self.curves, "accuracies by epoch")
        mine = curves[
            (curves["training_id"] == self.table.loc[row, "training_id"])
            & (curves["split"] == split)
        ]
        return mine[["epoch", "acc1"]].sort_values("epoch", ignore_index=True)

    def common_epochs(
        self, rows: NDArray[np.int64], split: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Accuracy at the epochs at which all of some rows' trainings were evaluated, float64
        [epochs, rows], and each one's last, [rows].

        Raises:
            NotFoundError: if curves were not stored.
        """
        curves = [
            self.curve(int(row), split).set_index("epoch")["acc1"].astype(float) for row in rows
        ]
        return pd.concat(curves, axis=1).dropna().to_numpy(), np.array(
            [curve.iloc[-1] for curve in curves]
        )

    def _stored(self, table: pd.DataFrame | None, what: str) -> pd.DataFrame:
        if table is None:
            raise NotFoundError(
                f"The stored tables lack the {what} of every training; they come with a new run of"
                f" this scale, {self.scale}."
            )
        return table


def collect(
    workspace: Workspace,
    dataset: Dataset,
    experiment: Experiment,
    points: Callable[[str, int], Sequence[Point]],
) -> Outcomes:
    """Read a study's results from the store.

    Args:
        points: (scale, seed) -> the study's points, as the experiment's file has them.

    Raises:
        NotFoundError: if a training has no committed outcome yet.
        StoreError: if a classifier has no answers on the test split yet.
    """
    trainings = {
        _key(t): t
        for sweep in experiment.sweeps
        for t in resolved(sweep, dataset).expand(dataset.ref)
    }
    archs = list(dict.fromkeys(t.arch for t in trainings.values()))
    seeds = sorted({t.seed for t in trainings.values()})
    members = ledger.classifiers_of(workspace, trainings.values())
    population = population_of(workspace, dataset.fingerprint, members)
    answered = sample_answers(workspace, population, "test", len(dataset.splits["test"]))
    predicted, labels = answered.predictions, answered.labels
    # A picture that nobody could answer was not read: it is nobody's mistake.
    counted = (labels >= 0) & (predicted >= 0).any(axis=0)
    predicted, labels = predicted[:, counted], labels[counted]
    answers = {
        str(members[name].facts["training_id"]): predicted[row]
        for row, name in enumerate(population.classifiers)
    }
    rows, curves = [], []
    for arch in archs:
        for seed in seeds:
            for point in points(experiment.scale, seed):
                training = trainings[arch, seed, treatment_text(point.ops), point.input_size]
                commit = workspace.commits.get("training", training.id)
                if commit is None:
                    raise NotFoundError(
                        f"training {training.id} ({arch}, {training.treatment_text}, seed {seed})"
                        " is not done. Run the same command again to go on."
                    )
                facts = commit.facts
                accuracy = {"empty": 1 / len(dataset.class_names)}
                if facts["status"] == "done":
                    accuracy["done"] = float(np.mean(answers[training.id] == labels))
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
                        "reached": (
                            facts["status"] == "done" and facts["stop_reason"] != "all epochs"
                        ),
                        "train_acc1": train[-1] if train else None,
                        "test_acc1": accuracy.get(facts["status"]),
                        **{
                            name: facts.get(name)
                            for name in (
                                "status",
                                "stop_reason",
                                "epochs",
                                "n_train",
                                "label_change_rate",
                            )
                        },
                    }
                )
                curves += [
                    {"training_id": training.id, **{k: m[k] for k in ("epoch", "split", "acc1")}}
                    for m in facts["metrics"]
                ]
    table = SCHEMA["outcomes"].frame(rows)
    classes = len(dataset.class_names)
    return Outcomes(
        table=table,
        by_class=answers_by_class(table, answers, labels, classes),
        curves=pd.DataFrame(
            curves, columns=["training_id", "epoch", "split", "acc1"]
        ).drop_duplicates(ignore_index=True),
        class_names=distinct(dataset.class_names),
        class_counts=tuple(int(n) for n in np.bincount(labels, minlength=classes)),
        scale=experiment.scale,
        dataset=experiment.dataset,
        train_size=len(dataset.splits["train"]),
    )


def answers_by_class(
    table: pd.DataFrame,
    answers: Mapping[str, NDArray[np.integer[Any]]],
    labels: NDArray[np.int64],
    classes: int,
) -> pd.DataFrame:
    """``Outcomes.by_class``.

    Args:
        table: ``Outcomes.table``; its aspect ``baseline`` is what the others are compared with.
        answers: training id -> predicted class of each test example, [T].
        labels: [T], all known.
    """
    columns = [list(table[name]) for name in ("arch", "seed", "training_id")]
    named = list(zip(*columns, strict=True))
    of_seed = {
        (arch, seed): name
        for (arch, seed, name), aspect in zip(named, table["aspect"], strict=True)
        if aspect == "baseline"
    }
    one_hot = np.eye(classes)[labels]  # [T, M]
    counts = one_hot.sum(axis=0)

    def shares(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.asarray(
            np.divide(
                mask.astype(np.float64) @ one_hot,
                counts,
                out=np.full(classes, np.nan),
                where=counts > 0,
            )
        )

    rows = []
    for arch, seed, training_id in dict.fromkeys(named):
        mine = answers.get(training_id)
        if mine is None:
            continue
        own = of_seed[arch, seed]
        others = (
            [own]
            if training_id != own
            else [name for (other, _), name in of_seed.items() if other == arch and name != own]
        )
        others = [name for name in others if name in answers]  # a baseline may have diverged
        changed = (
            np.mean([shares(mine != answers[other]) for other in others], axis=0)
            if others
            else np.full(classes, np.nan)
        )
        rows += [
            {"training_id": training_id, "class": c, "recall": recall, "changed": share}
            for c, (recall, share) in enumerate(zip(shares(mine == labels), changed, strict=True))
        ]
    return pd.DataFrame(rows, columns=["training_id", "class", "recall", "changed"])


def _key(training: Training) -> tuple[str, int, str, int | None]:
    return training.arch, training.seed, training.treatment_text, training.input_size
