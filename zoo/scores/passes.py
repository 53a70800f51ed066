"""Detection per image pass: what parts of a population find, and what cross-validation of one
architecture finds, against the pictures that training took.

**Which parts.** In draw d the trainings of a population come in the order of
``keyed.uniform(KEY/d)`` of their place among the sorted ids, and the snapshots of each from the
last to the first; a part of n are the first n classifiers. So a part of 1 is the last snapshot of
one training, a part is contained in every larger one of its draw, and snapshots, which cost no
further pass, are taken before another training is.

**What a part costs** are the image passes of the trainings it touches, up to the last snapshot
taken: epochs x training rows. To answer E examples each classifier looks at each of them once
more, forwards only: ``answers`` says how many looks that is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from zoo import keyed
from zoo.arrays import Floats
from zoo.errors import UsageError
from zoo.scores.catalog import DETECTORS
from zoo.scores.confident import label_issues, normalized_margin
from zoo.scores.detection import detection_table
from zoo.scores.population import Population
from zoo.spec import training_and_epoch
from zoo.store.workspace import Workspace

__all__ = ["Part", "Taken", "costs", "cross_validated", "detection_per_pass", "parts"]

COLUMNS = (
    *("score", "n_classifiers", "draw", "image_passes", "answers"),
    *("auroc", "average_precision", "precision_at_n", "n_errors"),
)


@dataclass(frozen=True)
class Taken:
    """A classifier: its training, and the image passes that training had taken at its epoch."""

    training: str
    passes: int


@dataclass(frozen=True)
class Part:
    """A part of a population: so many classifiers of draw ``draw``."""

    draw: int
    classifiers: tuple[str, ...]
    image_passes: int


def costs(workspace: Workspace, population: Population) -> dict[str, Taken]:
    """What each classifier of a population that was trained here cost, by id; imported ones are
    left out, as nothing is known of them."""
    found: dict[str, Taken] = {}
    for name in population.classifiers:
        if (origin := training_and_epoch(name)) is None:
            continue
        outcome = workspace.commits.get("training", origin[0])
        if outcome is not None:
            found[name] = Taken(origin[0], origin[1] * int(outcome.facts["n_train"]))
    return found


def parts(
    population: Mapping[str, Taken], sizes: Sequence[int], draws: int, key: str
) -> list[Part]:
    """The parts of the module's rule, draw by draw; the whole population once.

    Raises:
        UsageError: a size outside 1 to N, or no draw.
    """
    if draws < 1 or any(not 1 <= size <= len(population) for size in sizes):
        raise UsageError(
            f"parts of {list(sizes)} classifiers in {draws} draws. Allowed: 1 to {len(population)}"
            " classifiers, 1 draw or more. Choose sizes within the population."
        )
    snapshots: dict[str, list[str]] = {}
    for name in sorted(population, key=lambda name: (-population[name].passes, name)):
        snapshots.setdefault(population[name].training, []).append(name)
    trainings = sorted(snapshots)
    found = []
    for draw in range(draws):
        places = keyed.uniform(f"{key}/{draw}", np.arange(len(trainings)))[:, 0]
        shuffled = [trainings[place] for place in np.argsort(places, kind="stable")]
        order = [name for training in shuffled for name in snapshots[training]]
        for size in sizes:
            if size == len(population) and draw:
                continue
            names = order[:size]
            last: dict[str, int] = {}
            for name in names:
                taken = population[name]
                last[taken.training] = max(last.get(taken.training, 0), taken.passes)
            found.append(Part(draw, tuple(sorted(names)), sum(last.values())))
    return found


def detection_per_pass(
    scores_of: Callable[[tuple[str, ...]], pd.DataFrame],
    population: Mapping[str, Taken],
    sizes: Sequence[int],
    *,
    draws: int = 5,
    key: str = "detection_per_pass",
) -> pd.DataFrame:
    """How well every detector finds the known label errors, by part of the population.

    Args:
        scores_of: the ``scores`` table of these classifiers, with ``label_true``.
        population: the classifiers by id.
        sizes: of the parts, 1 to N each.

    Returns:
        One row per part and score: score, n_classifiers, draw, image_passes, answers, auroc,
        average_precision, precision_at_n, n_errors (as in ``detection_table``).

    Raises:
        UsageError: as ``parts``.
    """
    rows = []
    for part in parts(population, sizes, draws, key):
        scores = scores_of(part.classifiers)
        rows.append(
            detection_table(scores).assign(
                n_classifiers=len(part.classifiers),
                draw=part.draw,
                image_passes=part.image_passes,
                answers=len(part.classifiers) * len(scores),
            )
        )
    return pd.concat(rows, ignore_index=True)[list(COLUMNS)]


def cross_validated(
    scores: pd.DataFrame, p: Floats, *, classifiers: int, image_passes: int, draw: int = 0
) -> pd.DataFrame:
    """The rows of cleanlab's way for the same table: k-fold cross-validation of one architecture,
    self-confidence and find_label_issues' defaults (flagged first, both parts by normalised
    margin).

    Args:
        scores: ``example_id``, ``label`` and ``label_true`` of the examples.
        p: float64 [E, M], probabilities of each example from the fold that held it out
            (``zoo.scores.confident.out_of_fold``); rows of NaN are left out.
        classifiers, image_passes: what the folds are and cost.
    """
    label = scores["label"].to_numpy(dtype=np.float64, na_value=np.nan)
    usable = ~np.isnan(label) & ~np.isnan(p).any(axis=1)
    labels, known = label[usable].astype(np.int64), p[usable]
    quality = {
        "cv_self_confidence": known[np.arange(len(labels)), labels],
        "cv_issues": normalized_margin(labels, known) - label_issues(labels, known),
    }
    rows = []
    for name, values in quality.items():
        column = np.full(len(label), np.nan)
        column[usable] = values
        # measured in the one order, as a score that is low where it is suspicious
        frame = scores[["example_id", "label", "label_true"]].assign(cleanlab_issues=column)
        rows.append(detection_table(frame).assign(score=name))
    assert DETECTORS["cleanlab_issues"] == -1
    return pd.concat(rows, ignore_index=True).assign(
        n_classifiers=classifiers,
        draw=draw,
        image_passes=image_passes,
        answers=classifiers * len(scores),
    )[list(COLUMNS)]
