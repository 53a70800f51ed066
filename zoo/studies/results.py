"""What a study of scores and arms found, as small tidy tables: all that its claims and charts are
made of, so that a stored study can be judged again without its workspace.

A study has one part for each of its data sets (clean, with symmetric noise, ...). Of each part the
tables below are read from the store, and the study's file adds its own by ``measures(part)``. In
``Results`` every table has the column ``part`` in front.

Made for every study:

``arms``          arm_group, arm, selection, arch, seed, n_train, n_unique, steps, on, n, acc1,
                  ...: one row per arm, network, seed and test set.
``curves``        arm_group, arm, arch, seed, epoch, split (train: running; test), acc1, acc5,
                  loss; of groups that are evaluated while they train.
``similarities``  arm_group, arm_a, arch_a, seed_a, arm_b, arch_b, measure, similarity: of the
                  network of one seed with those of all other seeds of another arm (or of its own),
                  mean over these.
``selected``      selection, seed, n (copies counted), unique, smallest_class, relabelled, removed,
                  removed_wrong, wrong_left, repaired, broken: what a selection does to the training
                  set, by truth where the data set knows it (null where not).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.data import Dataset
from zoo.errors import NotFoundError
from zoo.manifest import Manifest
from zoo.scores.population import Population
from zoo.spec import ArmGroup, Experiment
from zoo.store import selections
from zoo.store.workspace import Workspace
from zoo.studies.arms import Comparison, Retrainings

__all__ = ["Part", "Probe", "Results", "gathered"]


@dataclass(frozen=True)
class Probe:
    """Another data set that a part's population has answered; ``scores``: by split."""

    dataset: Dataset
    scores: Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Part:
    """One data set of a study after its stages: what ``measures`` may look at.

    Args:
        name: its own word, such as ``sym20``; empty where the study has one data set.
        experiment: its stages.
        scores: by split, the ``scores`` table of its population.
        population: who scored; None where the part has no population.
        groups: its arm groups with their trainings.
        comparison: how the arms did; None where there are none.
        probes: by name, as the experiment asks for them.
    """

    name: str
    workspace: Workspace
    experiment: Experiment
    dataset: Dataset
    scores: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    population: Population | None = None
    groups: Sequence[tuple[ArmGroup, Retrainings]] = ()
    comparison: Comparison | None = None
    probes: Mapping[str, Probe] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """The tables of a study, each with the column ``part``.

    Args:
        tables: by name.
        scale: the experiment's.
        dataset: the data set that its parts are made from, by name.
    """

    tables: Mapping[str, pd.DataFrame]
    scale: str
    dataset: str

    def __getitem__(self, name: str) -> pd.DataFrame:
        """A table.

        Raises:
            NotFoundError: if the study has none of that name.
        """
        if name not in self.tables:
            raise NotFoundError(f"the study has no table {name!r} at scale {self.scale}")
        return self.tables[name]

    def of(self, name: str, part: str, **where: Any) -> pd.DataFrame:
        """The rows of a table that are of a part and have these values.

        Raises:
            NotFoundError: if there are none.
        """
        table = self[name]
        for column, value in {"part": part, **where}.items():
            table = table[table[column] == value]
        if table.empty:
            said = ", ".join(f"{key} {value}" for key, value in where.items())
            raise NotFoundError(f"no {name} of {part or 'the study'} with {said}")
        return table

    def accuracy(
        self, part: str, group: str, arm: str, *, metric: str = "acc1", on: str = "full"
    ) -> pd.Series:
        """One number per seed, by seed (ascending).

        Raises:
            NotFoundError: if the arm has no result.
        """
        mine = self.of("arms", part, arm_group=group, arm=arm, on=on)
        return mine.set_index("seed")[metric].astype("float64").sort_index()

    def gain(
        self,
        part: str,
        group: str,
        arm: str,
        *,
        over: str | None = None,
        metric: str = "acc1",
        on: str = "full",
    ) -> NDArray[np.float64]:
        """Accuracy of an arm minus that of another (default: the group's first), paired by seed,
        float64 [seeds].

        Raises:
            NotFoundError: if one of them has no result.
        """
        if over is None:
            over = str(self.of("arms", part, arm_group=group)["arm"].iloc[0])
        mine, other = (
            self.accuracy(part, group, name, metric=metric, on=on) for name in (arm, over)
        )
        common = mine.index.intersection(other.index)
        if not len(common):
            raise NotFoundError(f"arms {arm} and {over} of {group} have no seed in common")
        found: NDArray[np.float64] = (mine.loc[common] - other.loc[common]).to_numpy()
        return found


def gathered(
    parts: Sequence[Part],
    measures: Callable[[Part], Mapping[str, pd.DataFrame]],
    *,
    scale: str,
    dataset: str,
) -> Results:
    """The tables of a study from its parts."""
    found: dict[str, list[pd.DataFrame]] = {}
    for part in parts:
        for name, table in {**_made(part), **measures(part)}.items():
            named = pd.Series([part.name] * len(table), index=table.index, dtype="str")
            found.setdefault(name, []).append(table.assign(part=named)[["part", *table.columns]])
    return Results(
        {name: pd.concat(tables, ignore_index=True) for name, tables in found.items()},
        scale=scale,
        dataset=dataset,
    )


def _made(part: Part) -> dict[str, pd.DataFrame]:
    """The tables of every study."""
    tables = {"selected": _selected(part)}
    if part.comparison is not None:
        tables |= {
            "arms": part.comparison.arms,
            "similarities": _to_other_seeds(part.comparison.similarities),
        }
        tables["curves"] = _curves(part)
    return {name: table for name, table in tables.items() if len(table)}


def _to_other_seeds(similarities: pd.DataFrame) -> pd.DataFrame:
    """Mean over pairs of different seeds: weights, order and draw of the data are then others."""
    apart = similarities[similarities["seed_a"] != similarities["seed_b"]]
    by = [*("arm_group", "arm_a", "arch_a", "seed_a", "arm_b", "arch_b", "measure")]
    return apart.groupby(by, sort=False)["similarity"].mean().reset_index()


def _curves(part: Part) -> pd.DataFrame:
    """Accuracy and loss by epoch of every retraining that is evaluated on its way."""
    rows: list[dict[str, Any]] = []
    for group, arms in part.groups:
        if not group.retraining.eval_every:
            continue
        for arm in group.arms:
            for job in arms[arm.name]:
                commit = part.workspace.commits.get("training", job.id)
                if commit is None:
                    continue
                about = {
                    "arm_group": group.name,
                    "arm": arm.name,
                    "arch": job.arch,
                    "seed": job.seed,
                }
                rows += [
                    {**about, **{k: m.get(k) for k in ("epoch", "split", "acc1", "acc5", "loss")}}
                    for m in commit.facts["metrics"]
                ]
    return pd.DataFrame(
        rows,
        columns=[
            *("arm_group", "arm", "arch", "seed"),
            *("epoch", "split", "acc1", "acc5", "loss"),
        ],
    )


def _selected(part: Part) -> pd.DataFrame:
    """What each selection of the part's arms does to the training set."""
    train = part.dataset.splits["train"]
    rows = []
    seeds = {
        arm.selection: group.retraining.seeds for group, _ in part.groups for arm in group.arms
    }
    for name in dict.fromkeys(rule.name for rule in part.experiment.selections):
        for seed in seeds.get(name, (0,)):
            manifest = selections.selection_of(
                part.workspace, name, seed=seed, dataset=part.dataset.fingerprint, split="train"
            )
            about = {"selection": name, "seed": seed}
            rows.append(about | selection_facts(manifest, train.labels, train.labels_true))
    return pd.DataFrame(rows)


def selection_facts(
    manifest: Manifest, labels: NDArray[np.int64], truth: NDArray[np.int64] | None
) -> dict[str, Any]:
    """What a selection does to a training set.

    Args:
        labels: int64 [E], the given labels.
        truth: int64 [E], the true ones; None where they are not known.

    Returns:
        n (copies counted), unique, smallest_class (its copies), relabelled, removed; by truth, None
        where it is not known: removed_wrong (removed examples whose given label is wrong),
        wrong_left (kept ones whose label is still wrong), repaired (wrong labels set right), broken
        (right ones set wrong).
    """
    ids = manifest.example_ids
    size = np.bincount(manifest.labels, weights=manifest.copies, minlength=int(labels.max()) + 1)
    gone = np.ones(len(labels), dtype=bool)
    gone[ids] = False
    changed = manifest.labels != labels[ids]
    facts: dict[str, Any] = {
        "n": int(manifest.copies.sum()),
        "unique": len(manifest),
        "smallest_class": int(size.min()),
        "relabelled": int(changed.sum()),
        "removed": int(gone.sum()),
    }
    by_truth = ("removed_wrong", "wrong_left", "repaired", "broken")
    if truth is None:
        return facts | dict.fromkeys(by_truth)
    right_now = manifest.labels == truth[ids]
    right_before = labels[ids] == truth[ids]
    counts = (
        gone & (labels != truth),
        ~right_now,
        right_now & ~right_before,
        right_before & ~right_now,
    )
    return facts | {name: int(mask.sum()) for name, mask in zip(by_truth, counts, strict=True)}
