"""The commands that make a workspace again, read off what it holds: no journal, so that also one
made from Python or long ago can say them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence

import pyarrow.parquet as pq

from zoo.recipes import RECIPES
from zoo.scores.audited import AUDIT
from zoo.spec import Op, Recipe, Training
from zoo.store.commits import Commit
from zoo.store.results import table_names
from zoo.store.selections import digests
from zoo.store.workspace import Workspace

__all__ = ["AD_HOC", "commands_of", "recipe_text", "run_command"]

AD_HOC = "train"
"""Name under which the trainings of 'zoo train --archs' are recorded."""

DRAWS = 10
"""Draws of a random selection where 'zoo select' is not told how many."""

RETRAIN = "retrain"
"""Name under which those of 'zoo retrain' are."""


def run_command(source: str, scale: str) -> str:
    """``zoo run`` of an experiment's name or file."""
    return _line("run", source, "--scale", scale)


def commands_of(workspace: Workspace) -> list[str]:
    """What to type for everything that was made step by step, in order; imported predictions are
    not among them, their files lie elsewhere.

    Each command finds done what is there, so typing them changes nothing.
    """
    plans = sorted(workspace.commits.all("plan").values(), key=lambda commit: commit.created)
    trained = [
        line
        for plan in plans
        if plan.facts["experiment"] in (AD_HOC, AUDIT)
        for line in _train(_specs(plan))
    ]
    arms = [
        (names, options)
        for plan in plans
        if plan.facts["experiment"] == RETRAIN
        for names, options in _arms(workspace, _specs(plan))
    ]
    on = _cleaned_test_sets(workspace) if arms else []
    return list(
        dict.fromkeys(
            [
                *trained,
                *_fill(workspace),
                *_score(workspace),
                *_select(workspace),
                *(_line("retrain", *names, *options) for names, options in arms),
                *(_line("compare", *names, *options, *on) for names, options in arms),
            ]
        )
    )


def _line(*words: str) -> str:
    return shlex.join(["zoo", *words])


def _specs(plan: Commit) -> list[Training]:
    return [Training(**spec) for spec in plan.facts["specs"]]


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


# ---------------------------------------------------------------- trainings


def recipe_text(recipe: Recipe) -> str:
    """A recipe as ``--recipe`` takes it: the name of the nearest and what differs, such as
    ``adam:epochs=4``."""

    def changes(name: str) -> list[str]:
        ours, theirs = recipe.as_json(), RECIPES[name].as_json()
        return [f"{field}={_value(ours[field])}" for field in ours if ours[field] != theirs[field]]

    # A list cannot be written in a command; a value that is not set is so in every recipe of the
    # table.
    fitting = [name for name in RECIPES if RECIPES[name].milestones == recipe.milestones]
    name = min(fitting or RECIPES, key=lambda name: (len(changes(name)), list(RECIPES).index(name)))
    return f"{name}:{','.join(changes(name))}" if changes(name) else name


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _options(trainings: Sequence[Training]) -> list[str]:
    return [
        "--recipe",
        recipe_text(trainings[0].recipe),
        "--seeds",
        ",".join(_unique(str(t.seed) for t in trainings)),
    ]


def _train(trainings: Sequence[Training]) -> list[str]:
    """One command per treatment, and one for all treatments that are shares of the training set
    with the same steps after; of each recipe, input and backbone its own."""
    grids: dict[tuple[bool, str, str, str], list[Training]] = {}
    for training in trainings:
        part = _share(training) or _is_fold(training)
        base = _steps(training.treatment[1:] if part else training.treatment)
        form = _line(*_form(training))
        key = _is_fold(training), base, recipe_text(training.recipe), form
        grids.setdefault(key, []).append(training)
    lines = []
    for (folded, base, _, _), grid in grids.items():
        options = [
            "--data",
            grid[0].dataset.uri,
            "--archs",
            ",".join(_unique(t.arch for t in grid)),
        ]
        fractions = None if folded else _fractions(_unique(_share(t) for t in grid))
        folds = _folds(grid) if folded else None
        # Where there are some replicas of a share, or some folds, only, each is written out.
        whole = (
            [["--folds", folds]]
            if folds
            else [["--fractions", fractions] if fractions != "1" else []]
            if fractions
            else [["--treatment", text] for text in _unique(_steps(t.treatment) for t in grid)]
        )
        rest = [
            *(["--treatment", base] if base and (fractions or folds) else []),
            *_options(grid),
            *_form(grid[0]),
        ]
        lines += [_line("train", *options, *treated, *rest) for treated in whole]
    return lines


def _steps(treatment: Sequence[Op]) -> str:
    """Steps as ``--treatment`` takes them."""
    return "+".join(op.text for op in treatment)


def _form(training: Training) -> list[str]:
    """Snapshots, input size and what makes features, where they are not what is taken without a
    word."""
    snapshots = (
        ["--snapshots", ",".join(map(str, training.snapshots))]
        if training.snapshots != (training.recipe.epochs,)
        else []
    )
    features = ["--features", training.features] if training.features else []
    size = ["--input-size", str(training.input_size)] if training.input_size else []
    return snapshots + size + features


def _share(training: Training) -> str:
    """``0.25/2``: the second quarter; "" where the first step is no share."""
    first = training.treatment[0] if training.treatment else None
    if (
        first is None
        or first.name != "subsample"
        or not {"fraction", "replica"} <= set(first.params)
    ):
        return ""
    if any(value for name, value in first.params.items() if name not in ("fraction", "replica")):
        return ""
    return f"{first.params['fraction']}/{first.params['replica']}"


def _fractions(shares: Sequence[str]) -> str | None:
    """``["0.25/1", "0.25/2", ""]`` -> ``0.25x2,1``; None where the replicas of a share are not 1,
    2, 3, ..."""
    replicas: dict[str, list[int]] = {}
    for share in shares:
        fraction, _, replica = share.partition("/")
        replicas.setdefault(fraction or "1", []).append(int(replica or 0))
    if any(
        found != ([0] if fraction == "1" else list(range(1, len(found) + 1)))
        for fraction, found in replicas.items()
    ):
        return None
    return ",".join(
        fraction if len(found) == 1 else f"{fraction}x{len(found)}"
        for fraction, found in replicas.items()
    )


def _is_fold(training: Training) -> bool:
    return bool(training.treatment) and training.treatment[0].name == "fold"


def _folds(grid: Sequence[Training]) -> str | None:
    """``5x2`` where all folds of all repeats 0, 1, ... are there, each once for every network and
    seed; else None."""
    found = {
        tuple(int(t.treatment[0].params[name]) for name in ("of", "repeat", "index")) for t in grid
    }
    of, repeats = max(of for of, _, _ in found), 1 + max(repeat for _, repeat, _ in found)
    whole = {(of, repeat, index) for repeat in range(repeats) for index in range(of)}
    return f"{of}x{repeats}" if found == whole else None


# ---------------------------------------------------------------- everything after


def _fill(workspace: Workspace) -> list[str]:
    """A fill per data set that has pictures, over the splits that have answers."""
    splits: dict[str, list[str]] = {}
    for commit in workspace.commits.all("answers").values():
        splits.setdefault(str(commit.identity["dataset"]), []).append(str(commit.identity["split"]))
    known = workspace.commits.all("dataset")
    lines = []
    for fingerprint, names in splits.items():
        record = known.get(fingerprint)
        if record is not None and not record.facts.get("imported"):
            lines.append(
                _line(
                    "fill",
                    "--data",
                    str(record.facts["uri"]),
                    "--splits",
                    ",".join(sorted(set(names), key=_train_first)),
                )
            )
    return lines


def _train_first(split: str) -> tuple[bool, str]:
    return split != "train", split


def _score(workspace: Workspace) -> list[str]:
    lines = []
    several = len(workspace.commits.keys("dataset")) > 1
    for name in sorted(table_names(workspace)):
        path = workspace.files.local(f"results/{name}.parquet")
        about = json.loads((pq.read_schema(path).metadata or {}).get(b"zoo", b"{}"))
        if "label" not in about and not name.startswith("scores-"):  # no table of 'zoo score'
            continue
        split = (
            about.get("split") or pq.read_table(path, columns=["split"]).column("split")[0].as_py()
        )
        where = ["--where", about["where"]] if about.get("where") else []
        label = ["--label-column", about["label"]] if about.get("label", "label") != "label" else []
        by_default = name.startswith("scores-") or re.fullmatch(
            rf"subscores-{split}-[0-9a-f]{{8}}", name
        )
        data = ["--data", about["dataset"]] if several and about.get("dataset") else []
        lines.append(
            _line(
                "score",
                "--split",
                split,
                *where,
                *label,
                *data,
                *([] if by_default else ["-o", name]),
            )
        )
    return lines


def _select(workspace: Workspace) -> list[str]:
    lines = []
    several = len(workspace.commits.keys("dataset")) > 1
    for commit in sorted(
        workspace.commits.all("selection").values(), key=lambda commit: commit.created
    ):
        origin = commit.facts["origin"]
        split = ["--split", origin["split"]] if origin.get("split", "train") != "train" else []
        drawn = len(commit.identity.get("draws", {}))
        draws = ["--draws", str(drawn)] if drawn and drawn != DRAWS else []
        data = ["--data", origin["dataset"]] if several and origin.get("dataset") else []
        lines.append(_line("select", *origin["rules"], "-o", commit.key, *split, *data, *draws))
    return lines


def _arms(workspace: Workspace, trainings: Sequence[Training]) -> list[tuple[list[str], list[str]]]:
    """(names of the selections, options) of each architecture that a retraining plan has."""
    names = {
        digest: commit.key
        for commit in workspace.commits.all("selection").values()
        for digest in digests(commit)
    }
    found = []
    for arch in _unique(t.arch for t in trainings):
        group = [t for t in trainings if t.arch == arch]
        manifests = _unique(str(t.param("manifest", "id") or "") for t in group)
        arms = _unique(
            "baseline" if not manifest else names[manifest]
            for manifest in manifests
            if not manifest or manifest in names
        )
        if arms:
            found.append((arms, ["--arch", arch, *_options(group)]))
    return found


def _cleaned_test_sets(workspace: Workspace) -> list[str]:
    """``--on`` of every test set that arms were compared on beside the full one."""
    if "comparisons" not in table_names(workspace):
        return []
    on = (
        pq.read_table(workspace.files.local("results/comparisons.parquet"), columns=["on"])
        .column("on")
        .to_pylist()
    )
    return [
        word
        for rule in _unique(str(text) for text in on)
        if rule != "full"
        for word in ("--on", rule)
    ]
