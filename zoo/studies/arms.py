"""Arms of a retraining comparison: the same recipe, steps and seeds on different selections, and
what came out of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.data import Dataset, is_imagenet, real_mask, require_split
from zoo.errors import NotFoundError, UnknownNameError
from zoo.recipes import recipe_text
from zoo.spec import Arm, ArmGroup, Op, Recipe, Sweep, Training, classifier_id, content_id
from zoo.store import datasets, ledger, selections
from zoo.store.answers import list_values, read_answers
from zoo.store.origin import Origin
from zoo.store.results import write_table
from zoo.store.workspace import Workspace
from zoo.studies import compare
from zoo.trainsets import rules

__all__ = [
    "Comparison",
    "Retrainings",
    "TestAnswers",
    "arm_trainings",
    "check_retrained",
    "compare_trainings",
    "equal_steps",
    "equal_steps_sweep",
    "joined",
    "read_test_answers",
    "retrainings_to_plan",
]

Retrainings = Mapping[str, Sequence[Training]]
"""The trainings of each arm of a group, by the arm's name."""


@dataclass(frozen=True)
class Comparison:
    """Tidy tables, each with the group of arms it compares: ``arms`` (one row per arm,
    architecture, seed and test set), ``comparisons`` (per arm, architecture, test set and metric),
    ``similarities`` (per pair of classifiers and measure)."""

    arms: pd.DataFrame
    comparisons: pd.DataFrame
    similarities: pd.DataFrame
    origin: Origin = field(default_factory=Origin)

    def write(self, workspace: Workspace) -> None:
        """Write the three tables to ``results/``, with what they were made from."""
        for name in ("arms", "comparisons", "similarities"):
            write_table(workspace, name, getattr(self, name), self.origin.as_json())


def joined(comparisons: Sequence[Comparison]) -> Comparison:
    """The comparisons of several data sets as one; it says of no single one that it is about it."""
    if len(comparisons) == 1:
        return comparisons[0]
    return Comparison(
        *(
            pd.concat([getattr(each, name) for each in comparisons], ignore_index=True)
            for name in ("arms", "comparisons", "similarities")
        )
    )


def equal_steps(recipe: Recipe, examples: int) -> Recipe:
    """The recipe with a fixed number of optimiser steps per epoch: those of one pass over the whole
    training set."""
    return (
        recipe
        if recipe.steps_per_epoch
        else recipe.replace(steps_per_epoch=max(1, math.ceil(examples / recipe.batch_size)))
    )


def equal_steps_sweep(retraining: Sweep, dataset: Dataset) -> Sweep:
    """The sweep of one arm: every arm takes the optimiser steps of one that has the whole training
    set, by each architecture's recipe."""
    examples = len(dataset.splits["train"])
    return retraining.replace(
        recipe=equal_steps(retraining.recipe, examples),
        recipes={
            arch: equal_steps(recipe, examples) for arch, recipe in retraining.recipes.items()
        },
    )


def arm_trainings(
    workspace: Workspace, group: ArmGroup, dataset: Dataset
) -> dict[str, tuple[Training, ...]]:
    """The trainings of each arm in the order architectures, seeds: one recipe per architecture, the
    same number of optimiser steps in all arms, and for each seed that seed's draw of the arm's
    selection.

    Raises:
        UnknownNameError: for a selection that is not there.
        NotFoundError: if a selection was not drawn for one of the seeds.
        DataError: if the data set has no test split to compare them on.
    """
    require_split(dataset, "test", "retrained arms are compared on it")
    sweep = equal_steps_sweep(group.retraining, dataset)
    jobs = {
        arm.name: [
            job
            for seed in sweep.seeds
            for job in sweep.replace(
                seeds=(seed,),
                treatments=(selections.selection_op(workspace, arm.selection or "baseline", seed),),
            ).expand(dataset.ref)
        ]
        for arm in group.arms
    }
    return {
        name: tuple(sorted(mine, key=lambda job: sweep.archs.index(job.arch)))
        for name, mine in jobs.items()
    }


def retrainings_to_plan(
    workspace: Workspace | None, groups: Sequence[ArmGroup], dataset: Dataset
) -> tuple[list[Training], list[Training]]:
    """The trainings of the arms of some groups, for a plan: those whose selections are there, and
    as many on the whole set for those that are not; each once, however many groups name it."""
    known: dict[str, Training] = {}
    to_come: dict[tuple[str | None, str], Training] = {}
    for group in groups:
        require_split(dataset, "test", "retrained arms are compared on it")
        alone = equal_steps_sweep(group.retraining, dataset).expand(dataset.ref)
        for arm in group.arms:
            try:
                if workspace is None and arm.selection is not None:
                    raise NotFoundError("no workspace")
                mine = (
                    alone
                    if workspace is None
                    else arm_trainings(workspace, group.replace(arms=(arm,)), dataset)[arm.name]
                )
                known |= {job.id: job for job in mine}
            except (NotFoundError, UnknownNameError):
                to_come |= {(arm.selection, job.id): job for job in alone}
    return list(known.values()), list(to_come.values())


def check_retrained(
    workspace: Workspace,
    group: ArmGroup,
    trainings: Retrainings,
    arms: Sequence[Arm],
    *,
    by_each: bool = True,
) -> None:
    """Refuse to compare arms that have no result.

    Args:
        arms: those of the group that must have one.
        by_each: by every architecture of the group; False: by one of them.

    Raises:
        NotFoundError: naming them, and what was retrained in this workspace, as the command line
            takes it.
    """
    sweep = group.retraining
    finals = _finals(workspace, [job for arm in arms for job in trainings[arm.name]])
    there = {
        (arm.name, job.arch) for arm in arms for job in trainings[arm.name] if job.id in finals
    }
    jobs = [job for arm in arms for job in trainings[arm.name]]
    archs = [arch for arch in sweep.archs if any((arm.name, arch) not in there for arm in arms)]
    lacking = [arm.name for arm in arms if any((arm.name, arch) not in there for arch in archs)]
    if lacking and (by_each or any(name not in {arm for arm, _ in there} for name in lacking)):
        asked = (
            f"--arch {','.join(archs)} --recipe {recipe_text(sweep.recipe)} --seeds"
            f" {_numbers(sweep.seeds)}"
        )
        fingerprint = jobs[0].dataset.fingerprint
        known = "; ".join(_retrained(workspace, fingerprint)) or "nothing"
        raise NotFoundError(
            f"no finished retraining of {', '.join(lacking)} by {asked}. Retrained here: {known}. "
            f"Name what is there, or train them with 'zoo retrain {' '.join(lacking)} {asked}'."
        )


def _retrained(workspace: Workspace, fingerprint: str) -> list[str]:
    """What was retrained on a data set, a line for each network and recipe: ``drawn, oracle by
    --arch mlp --recipe adam --seeds 0,1``."""
    names = {"": {"baseline"}}
    for name, commit in workspace.commits.all("selection").items():
        for digest in (commit.identity["manifest"], *commit.identity.get("draws", {}).values()):
            names.setdefault(digest, set()).add(name)
    record = workspace.commits.get("dataset", fingerprint)
    examples = 0 if record is None else int(record.facts["splits"]["train"])
    found: dict[str, tuple[set[str], set[int]]] = {}
    for job, _, role in ledger.planned(workspace).values():
        if (
            role != "retraining"
            or job.dataset.fingerprint != fingerprint
            or not _finals(workspace, [job])
        ):
            continue
        plain = job.recipe.replace(steps_per_epoch=None)
        recipe = plain if equal_steps(plain, examples) == job.recipe else job.recipe
        arms, seeds = found.setdefault(
            f"--arch {job.arch} --recipe {recipe_text(recipe)}", (set(), set())
        )
        arms |= names.get(str(job.param("manifest", "id") or ""), {"a selection replaced since"})
        seeds.add(job.seed)
    return [
        f"{', '.join(sorted(arms))} by {how} --seeds {_numbers(sorted(seeds))}"
        for how, (arms, seeds) in found.items()
    ]


def _numbers(values: Sequence[int]) -> str:
    return ",".join(map(str, values))


def compare_trainings(
    workspace: Workspace,
    trainings: Sequence[tuple[ArmGroup, Retrainings]],
    on: Sequence[Op],
    test_scores: pd.DataFrame | None,
    num_classes: int,
    further: Mapping[str, str] | None = None,
) -> Comparison:
    """Accuracy per arm, architecture and seed on the full and on cleaned test sets, against the
    first arm of its group, and how alike the arms answer. Test pictures that could not be read or
    have no label count for no arm.

    Args:
        trainings: each group with what ``arm_trainings`` made of it. Trainings without a result are
            left out.
        on: selection rules that make cleaned test sets out of ``test_scores`` (the ``scores`` table
            of the test split).
        further: other test sets that the arms have answered, word -> fingerprint of the data set
            whose split test it is; the word is what their rows are ``on``.

    Raises:
        NotFoundError: if the first arm of a group has no finished training, or a cleaned test set
            is asked for without scores.
    """
    finals = _finals(
        workspace, [job for _, arms in trainings for group in arms.values() for job in group]
    )
    for group, arms in trainings:
        check_retrained(workspace, group, arms, group.arms[:1], by_each=False)
    fingerprint = next(
        job.dataset.fingerprint for _, arms in trainings for group in arms.values() for job in group
    )
    answers = TestAnswers.read(
        workspace, fingerprint, sorted({name for name, _ in finals.values()})
    )
    others = {
        word: TestAnswers.read(workspace, other, sorted({name for name, _ in finals.values()}))
        for word, other in (further or {}).items()
    }
    subsets = {op.text: answers.mask(_cleaned(op, test_scores, num_classes)) for op in on}
    real = _real_labels(workspace, fingerprint)
    plain = tuple(compare.metrics_for(num_classes))
    metrics = (*plain, *(() if real is None else ("real",)))
    tables: dict[str, list[pd.DataFrame]] = {"arms": [], "comparisons": [], "similarities": []}
    for group, arms in trainings:
        rows, elsewhere, members = [], [], []
        for arm in group.arms:
            for job in (job for job in arms[arm.name] if job.id in finals):
                name, facts = finals[job.id]
                members.append(((arm.name, job.arch, job.seed), answers.predictions[name]))
                about = {
                    "arm": arm.name,
                    "selection": arm.selection or "baseline",
                    "arch": job.arch,
                    "seed": job.seed,
                }
                about |= {key: facts[key] for key in ("n_train", "n_unique", "steps")}
                measured = compare.evaluate(
                    answers.predictions[name], answers.top5[name], answers.labels, subsets, real
                )
                rows += [
                    {**about, **row}
                    for row in measured[["on", "n", *metrics]].to_dict(orient="records")
                ]
                for word, other in others.items():
                    (row,) = compare.evaluate(
                        other.predictions[name], other.top5[name], other.labels
                    ).to_dict(orient="records")
                    elsewhere.append(
                        about | {key: row[key] for key in ("n", *plain)} | {"on": word}
                    )
        first = group.arms[0].name
        frame = pd.DataFrame(rows)
        compared = compare.compare_arms(frame, first, metrics=metrics)
        if elsewhere:
            more = pd.DataFrame(elsewhere)
            compared = pd.concat(
                [compared, compare.compare_arms(more, first, metrics=plain)], ignore_index=True
            )
            frame = pd.concat([frame, more], ignore_index=True)
        notes = {arm.name: _note(workspace, arm, arms[arm.name]) for arm in group.arms}
        made = {
            "arms": frame,
            "comparisons": compared.assign(note=compared["arm"].map(notes).astype("str")),
            "similarities": _similarities(members, answers.labels),
        }
        for name, table in made.items():
            table.insert(
                0, "arm_group", pd.Series([group.name] * len(table), index=table.index, dtype="str")
            )
            tables[name].append(table)
    origin = Origin(fingerprint, "test", content_id(sorted(name for name, _ in finals.values())))
    return Comparison(
        **{name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()},
        origin=origin,
    )


def _real_labels(workspace: Workspace, fingerprint: str) -> NDArray[np.bool_] | None:
    """ReaL labels of the test split, where the data set is ImageNet, or some of its classes."""
    record = workspace.commits.get("dataset", fingerprint)
    if record is None or not is_imagenet([str(name) for name in record.facts["class_names"]]):
        return None
    keys = datasets.split_table(workspace, record, "test").column("key").to_pylist()
    return real_mask(list(map(str, record.facts["class_names"])), keys)


def _finals(
    workspace: Workspace, jobs: Sequence[Training]
) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """(final classifier, facts of its training) of each finished training, by its id."""
    finals = {}
    for job in jobs:
        commit = workspace.commits.get("training", job.id)
        if commit is not None and commit.facts["status"] == "done":
            finals[job.id] = (classifier_id(job.id, int(commit.facts["epochs"])), commit.facts)
    return finals


def _note(workspace: Workspace, arm: Arm, jobs: Sequence[Training]) -> str:
    """What the arm is, and whether its seeds share one draw of a selection that has a random
    part."""
    if (
        len({job.seed for job in jobs}) < 2
        or arm.selection in (None, "baseline")
        or len({job.treatment_text for job in jobs}) > 1
    ):
        return arm.note
    names = [
        text.partition(":")[0] for text in selections.selection_rules(workspace, str(arm.selection))
    ]
    shared = "one draw of its random part for all seeds" if rules.is_random(names) else ""
    return "; ".join(filter(None, (arm.note, shared)))


def _cleaned(op: Op, test_scores: pd.DataFrame | None, num_classes: int) -> NDArray[np.int64]:
    if test_scores is None:
        raise NotFoundError(
            f"the cleaned test set {op.text!r} needs scores of the test split. Run 'zoo fill"
            " --splits test', then 'zoo score --split test'."
        )
    return rules.build([(op.name, op.params)], test_scores, num_classes=num_classes).example_ids


def read_test_answers(
    workspace: Workspace, jobs: Sequence[Training]
) -> tuple[dict[str, str], TestAnswers]:
    """The final classifier of each finished training, by the training's id, and what they answered
    on the test split.

    Raises:
        NotFoundError: if none has finished.
    """
    finals = {key: name for key, (name, _) in _finals(workspace, jobs).items()}
    if not finals:
        raise NotFoundError("no retraining has finished: there are no answers to look at")
    fingerprint = jobs[0].dataset.fingerprint
    return finals, TestAnswers.read(workspace, fingerprint, sorted(set(finals.values())))


@dataclass(frozen=True)
class TestAnswers:
    """Answers of a few classifiers on the whole test split: by classifier, [E] and [E, 5]; labels
    [E], -1 where unknown."""

    predictions: Mapping[str, NDArray[np.int64]]
    top5: Mapping[str, NDArray[np.int64]]
    labels: NDArray[np.int64]

    @classmethod
    def read(
        cls, workspace: Workspace, fingerprint: str, classifiers: Sequence[str]
    ) -> TestAnswers:
        examples = datasets.examples_frame(workspace, fingerprint)
        labels = (
            examples.loc[examples["split"] == "test", "label"].fillna(-1).to_numpy(dtype=np.int64)
        )
        predictions: dict[str, list[NDArray[np.int64]]] = {name: [] for name in classifiers}
        top5: dict[str, list[NDArray[np.int64]]] = {name: [] for name in classifiers}
        for _, answers in read_answers(
            workspace, fingerprint, "test", classifiers, columns=("prediction", "top5")
        ):
            for name, batch in answers:
                said = (
                    batch.column("prediction")
                    .fill_null(-1)
                    .to_numpy(zero_copy_only=False)
                    .astype(np.int64)
                )
                predictions[name].append(said)
                # An unreadable picture has no top 5; the slots of its null row hold anything.
                top5[name].append(
                    np.where(
                        said[:, None] >= 0, list_values(batch.column("top5")).astype(np.int64), -1
                    )
                )
        return cls(
            {name: np.concatenate(parts) for name, parts in predictions.items()},
            {name: np.concatenate(parts) for name, parts in top5.items()},
            labels,
        )

    def mask(self, example_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        inside = np.zeros(len(self.labels), dtype=bool)
        inside[example_ids] = True
        return inside


def _similarities(
    members: Sequence[tuple[tuple[str, str, int], NDArray[np.int64]]], labels: NDArray[np.int64]
) -> pd.DataFrame:
    """Every ordered pair of classifiers of a group's arms, one row per pair and measure. Two seeds
    of one arm are the control.

    Args:
        members: (arm, architecture, seed) of each classifier and its predictions, int64 [E].
    """
    table = compare.similarity_table(
        {str(number): said for number, (_, said) in enumerate(members)}, labels
    )
    ids = []
    for side in ("a", "b"):
        numbers = table.pop(side).astype("int64")
        for position, (name, kind) in enumerate(
            (("arm", "str"), ("arch", "str"), ("seed", "int64"))
        ):
            ids.append(f"{name}_{side}")
            table[ids[-1]] = pd.Series(
                [members[number][0][position] for number in numbers], dtype=kind
            )
    return table.melt(ids, var_name="measure", value_name="similarity")
