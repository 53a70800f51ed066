"""``zoo audit``: from pictures, or from predictions, to the labels that are probably wrong, and how
many they are.

A thin line over the pipeline: check the data, train a population on complementary folds, so that
every example is held out equally often, fill, score, count. What is trained follows from the data
and a budget of time by a rule that is written down (``choose``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from zoo.data import Dataset, DatasetCheck, check_dataset, open_dataset, require_trainable
from zoo.data.check import Duplicates, NearDuplicates
from zoo.errors import StoreError, UsageError
from zoo.estimate import PAGE_SECONDS, estimate, feature_seconds, whole_seconds
from zoo.models.at_hand import HOG, at_hand
from zoo.pipeline import Features, Grid, Runner, fill, planned, score_splits, train
from zoo.progress import Progress, counted, duration
from zoo.recipes import parse_recipe
from zoo.registry import distinct
from zoo.scores.audited import AUDIT, FACTS
from zoo.scores.label_count import WrongLabels, wrong_labels
from zoo.scores.population import Population, choose_population, population_of
from zoo.scores.suspects import score_values, suspects
from zoo.spec import Sweep, Training
from zoo.store import ledger
from zoo.store.results import put
from zoo.store.workspace import Workspace
from zoo.trainsets.sweeps import sweep_of

__all__ = [
    "BUDGET",
    "Chosen",
    "audit_pictures",
    "audit_predictions",
    "choose",
    "heads",
    "opened",
]

HEADS: Final = ("head_softmax", "head_mlp")
"""What is trained on features."""

BUDGET: Final = 180.0
"""Seconds of training that are planned where nothing is said."""

ARCHS: Final = ("resnet_mini", "lenet5", "mlp", "nin_mini", "inception_mini", "softmax")
"""In this order, as many as the budget allows, two at least."""

_FOLDS, _REPEATS, _MOST_REPEATS = 5, 2, 10
_LARGEST, _SIDE = 64, 48
_FEW, _FEW_WITHOUT_WEIGHTS = 520, 260
"""Pictures of any size up to which features take the place of networks from scratch, of weights at
hand and of histograms: by a rule written before it was measured (docs/ARCHITECTURE.md, Features;
docs/LOG.md)."""
_MOST_BESIDE: Final = 10_000
"""Pictures up to which heads vote beside networks: the largest number at which nothing was lost; at
50,000 the networks were better alone (docs/LOG.md)."""
_STEPS, _EPOCHS = 1_000, (8, 40)
_RECIPE: Final = "onecycle:lr=0.002"
_DECAY_OF_HEADS: Final = 0.1
"""Features are many and pictures few: heads without weight decay found fewer wrong labels in the
mean, on histograms and on a network's features (docs/LOG.md)."""
_SHOWN = 10
_GROUPS_KEPT = 200
_TOLD = ("unreadable", "duplicates", "near-duplicates", "no test split")
"""Notes of a check that are listed file by file, or do not matter to an audit."""


@dataclass(frozen=True)
class Chosen:
    """What an audit trains: networks on pictures, heads on features, or both. ``seconds``: of
    training, features included, on ``cores``, an estimate; ``why``: the rule, with this data set's
    numbers. ``budget``: the seconds that were allowed. ``most``: with more of them nothing would be
    added."""

    grids: tuple[Grid, ...]
    seconds: float
    why: str
    cores: int = 1
    budget: float = BUDGET
    most: bool = False

    @property
    def backbone(self) -> str | None:
        """What makes the features; None where there are networks only."""
        return next((grid.features.backbone for grid in self.grids if grid.features), None)


def choose(dataset: Dataset, budget: float, cores: int, features: str | None = None) -> Chosen:
    """Networks, heads, input size and epochs for a data set and a budget.

    **Heads on frozen features** where pictures are larger than 64 pixels, or of several sizes, or
    at most 520, and pretrained weights are at hand: softmax regressions and small perceptrons on
    what the network of most multiply-adds makes of them whose pass over all pictures takes no more
    than half of the budget; the cheapest where none does. Five folds, shared out ten times: a
    hundred heads. Where pictures are at most 260 and no weights are at hand, the same on histograms
    of oriented gradients.

    **Networks on pictures** else:

    - Input: the pictures' own size up to 64 pixels, else 48.
    - Epochs: about 1,000 optimiser steps each, at least 8 epochs and at most 40.
    - Five folds, shared out twice: ten trainings of each architecture.
    - Architectures of ``ARCHS`` in their order while the budget lasts, two at least.
    - Beside them, on the same folds, both heads, where pictures are of one size up to 64 pixels and
      at most 10,000: on features of the network at hand of most multiply-adds whose pass leaves
      half of the budget, else on histograms, unless these do not.

    Args:
        budget: seconds of training.
        cores: that work at the same time.
        features: a network of timm whose features are taken whatever the pictures; ``none`` =
            networks on pictures alone; None = by the rule.
    """
    examples = len(dataset.splits["train"])
    large = dataset.native_size is None or max(dataset.native_size) > _LARGEST
    because = "as asked for"
    names = at_hand() if features is None else []
    most = _FEW if names else _FEW_WITHOUT_WEIGHTS
    few = f"pictures are few, {most:,} or less" if examples <= most else ""
    if features is None and (why := "pictures are large" if large else few):
        if names:
            features = _affordable(names, examples, budget, cores)
            because = f"{why} and its weights are at hand; --features none for networks"
        else:
            because = f"{why}, but no pretrained weights are at hand (zoo models fetch)"
            if few:
                features, because = HOG, f"{because}; --features none for networks"
    if features not in (None, "none"):
        return _on_features(dataset, str(features), because, budget, cores)
    sides = dataset.native_size
    own = sides is not None and max(sides) <= _LARGEST
    side = max(sides) if own and sides is not None else _SIDE
    steps = max(1, math.ceil(examples * (1 - 1 / _FOLDS) / parse_recipe(_RECIPE).batch_size))
    epochs = min(max(math.ceil(_STEPS / steps), _EPOCHS[0]), _EPOCHS[1])
    beside = None if large or features == "none" else _beside(dataset, names, budget, cores)

    def sweep(archs: tuple[str, ...]) -> Sweep:
        return sweep_of(
            archs,
            None,
            epochs,
            None,
            _RECIPE,
            None,
            None,
            side,
            [f"{min(_FOLDS, examples)}x{_REPEATS}"],
        )

    def seconds(archs: tuple[str, ...]) -> float:
        jobs = sweep(archs).expand(dataset.ref)
        return whole_seconds(list(jobs), dataset, max(1, cores)) + (beside[1] if beside else 0.0)

    archs: tuple[str, ...] = ARCHS[:2]
    for more in range(3, len(ARCHS) + 1):
        if seconds(ARCHS[:more]) <= budget:
            archs = ARCHS[:more]
    grids = (Grid(sweep(archs)), *([beside[0]] if beside else []))
    why = (
        f"{', '.join(archs)} at {side} x {side} pixels"
        f" ({'their own size' if own else 'larger, or of several sizes'}), {epochs} epochs,"
        f" {_heads_in_words(beside[0]) if beside else ''}on {min(_FOLDS, examples)} folds shared"
        f" out {_REPEATS} times"
    )
    if features is None and large:
        why += f"; {because}"
    return Chosen(grids, seconds(archs), why, cores, budget, archs == ARCHS)


def _cost(
    workspace: Workspace, dataset: Dataset, trainings: Sequence[Training], chosen: Chosen
) -> str:
    """What is missing of an audit, in words: until its page is there, beside the budget."""
    todo = estimate(workspace, dataset, trainings, ("train",), devices=chosen.cores)
    if not todo.seconds:
        return "done before"
    over = (
        f"; the training alone {duration(chosen.seconds)}, more than the budget of"
        f" {duration(chosen.budget)}"
        if chosen.seconds > chosen.budget
        else ""
    )
    seconds = duration(todo.working + PAGE_SECONDS)
    return f"about {seconds} on {counted(chosen.cores, 'core')}, start-up not counted{over}"


def _affordable(names: list[str], examples: int, budget: float, cores: int) -> str:
    """The backbone of most multiply-adds whose features take at most half of a budget, else the
    one of fewest."""
    costs = {name: feature_seconds(name, examples) / max(1, cores) for name in names}
    within = [name for name in names if costs[name] <= budget / 2]
    if within:
        return max(within, key=lambda name: (costs[name], name))
    return min(names, key=lambda name: (costs[name], name))


def heads(examples: int, repeats: int) -> Sweep:
    """Both heads for so many pictures, on folds that are shared out so often: about 250 optimiser
    steps each, at least 8 epochs and at most 40."""
    steps = max(1, math.ceil(examples * (1 - 1 / _FOLDS) / parse_recipe(_RECIPE).batch_size))
    epochs = min(max(math.ceil(_STEPS / 4 / steps), _EPOCHS[0]), _EPOCHS[1])
    shared = [f"{min(_FOLDS, examples)}x{repeats}"]
    recipe = f"{_RECIPE},weight_decay={_DECAY_OF_HEADS}"
    return sweep_of(HEADS, None, epochs, None, recipe, None, None, None, shared)


def _heads_in_words(grid: Grid) -> str:
    assert grid.features is not None, "heads are trained on features"
    return (
        f"and {' and '.join(HEADS)} on features of {grid.features.backbone},"
        f" {grid.sweep.recipe.epochs} epochs, "
    )


def _beside(
    dataset: Dataset, names: list[str], budget: float, cores: int
) -> tuple[Grid, float] | None:
    """Heads that vote beside networks, on the same folds, and their seconds; None where pictures
    are many, or not even those on histograms leave half of the budget."""
    examples = len(dataset.splits["train"])
    if examples > _MOST_BESIDE:
        return None
    sweep = heads(examples, _REPEATS)
    training = whole_seconds(list(sweep.expand(dataset.ref)), dataset, max(1, cores))
    costs = {
        name: feature_seconds(name, examples) / max(1, cores) + training for name in (*names, HOG)
    }
    within = [name for name in costs if costs[name] <= budget / 2]
    if not within:
        return None
    best = max(within, key=lambda name: (name != HOG, costs[name], name))
    return Grid(sweep, Features(best)), costs[best]


def _on_features(
    dataset: Dataset, backbone: str, because: str, budget: float, cores: int
) -> Chosen:
    examples = len(dataset.splits["train"])
    network = feature_seconds(backbone, examples) / max(1, cores)

    def seconds(repeats: int) -> float:
        jobs = heads(examples, repeats).expand(dataset.ref)
        return network + whole_seconds(list(jobs), dataset, max(1, cores))

    repeats = _REPEATS
    while repeats < _MOST_REPEATS and seconds(repeats + 1) <= budget:
        repeats += 1
    sweep = heads(examples, repeats)
    why = (
        f"{' and '.join(HEADS)} on features of {backbone} ({because}), {sweep.recipe.epochs}"
        f" epochs, on {min(_FOLDS, examples)} folds shared out {repeats} times"
    )
    most = repeats == _MOST_REPEATS
    grids = (Grid(sweep, Features(backbone)),)
    return Chosen(grids, seconds(repeats), why, cores, budget, most)


def opened(
    data: str, budget: float, cores: int, features: str | None = None
) -> tuple[Dataset, Chosen]:
    """A data set by name or path, and what to train on it; ``features`` as in ``choose``.

    Raises:
        UnknownNameError, DataError: if it cannot be opened, or nothing can be trained on it.
    """
    dataset = open_dataset(data)
    require_trainable(dataset)
    return dataset, choose(dataset, budget, cores, features)


def audit_pictures(
    location: str,
    data: str,
    dataset: Dataset,
    chosen: Chosen,
    runner: Callable[[], Runner],
    progress: Progress,
) -> Workspace:
    """Check, train, fill and score what is missing of an audit; its results are in the workspace.

    Raises:
        DataError: if nothing can be trained on the data set.
    """
    check = _checked(dataset, progress)
    dataset, trainings, workspace = planned(data, chosen.grids, location, progress)
    cost = _cost(workspace, dataset, trainings, chosen)
    progress.say(f"training {chosen.why}: {cost}")
    train(workspace, dataset, AUDIT, "population", trainings, runner, progress)
    members = ledger.classifiers_of(workspace, trainings)
    fill(workspace, dataset, members, ("train",), "all", runner, progress)
    population = population_of(workspace, dataset.fingerprint, members)
    _conclude(workspace, population, dataset.name, check, chosen.why, progress, chosen=chosen)
    return workspace


def audit_predictions(
    workspace: Workspace,
    split: str,
    name: str,
    progress: Progress,
    pictures: Dataset | None = None,
) -> None:
    """Score imported predictions; nothing is trained. ``pictures``: what they are of, which are
    checked; None = no picture is read."""
    check = None if pictures is None else _checked(pictures, progress)
    population = choose_population(
        workspace,
        "epoch = 0",
        dataset=None if pictures is None else pictures.fingerprint,
        say=progress.say,
    )
    why = "imported"
    _conclude(workspace, population, name, check, why, progress, split)


def _checked(dataset: Dataset, progress: Progress) -> DatasetCheck:
    with progress.stage("checking pictures", sum(map(len, dataset.splits.values()))) as bar:
        seen: dict[str, int] = {}

        def read(split: str, done: int, _: int) -> None:
            bar.advance(done - seen.get(split, 0))
            seen[split] = done

        return check_dataset(dataset, read)


def _conclude(
    workspace: Workspace,
    population: Population,
    name: str,
    check: DatasetCheck | None,
    why: str,
    progress: Progress,
    split: str = "train",
    chosen: Chosen | None = None,
) -> None:
    scores = score_splits(workspace, population, (split,), progress)[split]
    # A picture that nobody could read has no answer, and no part in the count.
    labels = scores["label"].where(scores["n"] > 0).fillna(-1).to_numpy(dtype=np.int64)
    try:
        wrong, reason = wrong_labels(workspace, population, split, labels), ""
    except (StoreError, UsageError) as error:
        wrong, reason = None, str(error)
    body = _facts(scores, population, name, check, why, wrong, reason, split) | _made_on(chosen)
    put(workspace, FACTS, json.dumps(body, ensure_ascii=False).encode())


def _made_on(chosen: Chosen | None) -> dict[str, Any]:
    """What is advised where a population is weak depends on what was trained, if anything."""
    if chosen is None:
        return {"features": None, "most": None}
    return {"features": chosen.backbone or "none", "most": chosen.most}


def _facts(
    scores: pd.DataFrame,
    population: Population,
    name: str,
    check: DatasetCheck | None,
    why: str,
    wrong: WrongLabels | None,
    reason: str,
    split: str,
) -> dict[str, Any]:
    names = distinct(population.class_names)
    held = score_values(scores, "n_heldout")
    known = held[~np.isnan(held) & (score_values(scores, "n") > 0)]  # a damaged one has no answer
    found = suspects(scores, _SHOWN)
    own = {} if check is None else {one.name: one for one in check.splits}
    damaged = [u.key for u in own[split].unreadable] if own else None
    groups = own[split].duplicates if own else ()
    return {
        "schema": 1,
        "data": name,
        "dataset": population.fingerprint,
        "split": split,
        "examples": len(scores),
        "classes": len(names),
        "damaged": damaged,
        "duplicates": None if check is None else len(groups),
        "conflicting": [list(group.keys) for group in groups if group.conflicting],
        "near_duplicates": None if check is None else len(check.near_duplicates),
        "near_conflicting": [
            list(group.keys)
            for group in (check.near_duplicates if check else ())
            if group.conflicting
        ],
        "files": None if check is None else _listed(check, split, names),
        "classifiers": len(population.classifiers),
        "trained": why,
        "heldout_least": int(known[known > 0].min()) if (known > 0).any() else None,
        "not_held_out": int((known == 0).sum()) if len(known) else None,
        "wrong_labels": None if wrong is None else wrong.as_json(),
        "no_count": reason,
        "cuts": _cuts(scores),
        "suspects": [
            {
                "key": str(row["key"]),
                "label_name": names[int(row["label"])],
                "suggested_name": "" if pd.isna(row["suggested"]) else names[int(row["suggested"])],
                "wrong": round(float(row["ranked_x"]) * int(row["ranked_n"])),
                "of": int(row["ranked_n"]),
            }
            for _, row in found.iterrows()
        ],
    }


def _listed(check: DatasetCheck, split: str, names: Sequence[str]) -> dict[str, Any]:
    """Every damaged file with its reason, and groups of equal pictures and of nearly equal ones,
    those of different labels first, at most 200 of each; what else the check has to say."""
    own = {one.name: one for one in check.splits}[split]

    def groups(found: Sequence[Duplicates | NearDuplicates]) -> list[dict[str, Any]]:
        ordered = sorted(found, key=lambda group: not group.conflicting)[:_GROUPS_KEPT]
        return [
            {
                "keys": list(group.keys),
                "label_names": [names[label] for label in group.labels],
                "conflicting": group.conflicting,
            }
            for group in ordered
        ]

    return {
        "damaged": [{"key": one.key, "reason": one.reason} for one in own.unreadable],
        "equal": groups(own.duplicates),
        "nearly": groups(check.near_duplicates),
        "notes": [note.text for note in check.notes if note.kind not in _TOLD],
    }


def _cuts(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """What to expect of the first 10, 20, 50, 100, ... suspects, up to as many as there are flags,
    and of these."""
    flags = int(scores["is_label_issue"].astype("boolean").sum())
    expected = score_values(suspects(scores, len(scores)), "expected_precision")
    steps = [digit * 10**power for power in range(1, 9) for digit in (1, 2, 5)]
    cuts = sorted({*(n for n in steps if n < flags), flags} - {0})
    return [
        {"first": n, "expected_precision": float(expected[n - 1])}
        for n in cuts
        if n <= len(expected) and not math.isnan(expected[n - 1])
    ]
