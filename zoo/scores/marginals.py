"""Sums over examples, where scores are sums over classifiers: how often each classifier errs and
how sure it is, and which classes the examples of a class are taken for.

One streaming pass over the answers; memory is a block of examples, a number per classifier and one
per pair of classes. Letters: N classifiers, E examples, M classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from zoo.arrays import Floats, Ints
from zoo.errors import NotFoundError
from zoo.scores.catalog import FIXED_ONE
from zoo.scores.from_store import entropy_sums
from zoo.scores.population import Population
from zoo.store.answers import read_answers
from zoo.store.datasets import examples_of, int_column
from zoo.store.workspace import Workspace

__all__ = ["ClassConfusion", "class_confusion", "classifier_means"]

_PARTS = ("", "_insample", "_heldout")


def classifier_means(workspace: Workspace, population: Population, split: str) -> pd.DataFrame:
    """What each classifier contributes to X and C on a split.

    Returns:
        One row per classifier, in the population's order: classifier_id, n (labelled examples it
        answered), error (share of them it gets wrong: the mean of X is the mean of these), entropy
        (mean bits over what it answered), and the same three with ``_insample`` over the examples
        it was trained on and with ``_heldout`` over the others (NaN where there are none, or it is
        not known which).

    Raises:
        StoreError: if a classifier has no answers on the split.
    """
    labels = int_column(examples_of(workspace, population.dataset, split), "label")
    place = {name: row for row, name in enumerate(population.classifiers)}
    names = [f"{what}{part}" for part in _PARTS for what in ("n", "wrong", "answers", "bits")]
    sums: dict[str, Floats] = {name: np.zeros(len(place)) for name in names}
    columns = ("prediction", "entropy", "in_train")
    for block, answers in read_answers(
        workspace, population.fingerprint, split, population.classifiers, columns
    ):
        own = labels[block.start : block.stop]
        for name, batch in answers:
            prediction, bits = (
                batch.column(column).fill_null(empty).to_numpy(zero_copy_only=False)
                for column, empty in (("prediction", -1), ("entropy", 0.0))
            )
            seen = batch.column("in_train").cast(pa.int8()).fill_null(-1).to_numpy()
            answered = prediction >= 0
            for part, mine in zip(_PARTS, (answered, seen == 1, seen == 0), strict=True):
                rows = answered & mine
                known = rows & (own >= 0)
                for what, value in (
                    ("n", known.sum()),
                    ("wrong", (known & (prediction != own)).sum()),
                    ("answers", rows.sum()),
                    ("bits", bits[rows].sum(dtype=np.float64)),
                ):
                    sums[f"{what}{part}"][place[name]] += value
    table: dict[str, Any] = {"classifier_id": list(place)}
    with np.errstate(invalid="ignore"):
        for part in _PARTS:
            table |= {
                f"n{part}": sums[f"n{part}"].astype(np.int64),
                f"error{part}": sums[f"wrong{part}"] / sums[f"n{part}"],
                f"entropy{part}": sums[f"bits{part}"] / sums[f"answers{part}"],
            }
    return pd.DataFrame(table)


@dataclass(frozen=True)
class ClassConfusion:
    """Which classes a population takes the examples of each class for.

    Attributes:
        votes: int64 [M, M], answers by label (rows) and predicted class (columns).
        surprise: float64 [M, M], mean over the examples of a label of their C-confusion index, the
            mean of -p log2 p of the class; None where not all logits were kept. Rows of labels
            without an example are 0.
    """

    votes: Ints
    surprise: Floats | None


def class_confusion(workspace: Workspace, population: Population, split: str) -> ClassConfusion:
    """The confusions of a population by class, over all examples with a label.

    Raises:
        StoreError: if a classifier has no answers on the split.
    """
    labels = int_column(examples_of(workspace, population.dataset, split), "label")
    classes = len(population.class_names)
    votes = np.zeros((classes, classes), dtype=np.int64)
    for block, answers in read_answers(
        workspace, population.fingerprint, split, population.classifiers, ("prediction",)
    ):
        own = labels[block.start : block.stop]
        for _, batch in answers:
            prediction = batch.column("prediction").fill_null(-1).to_numpy(zero_copy_only=False)
            known = (prediction >= 0) & (own >= 0)
            np.add.at(votes, (own[known], prediction[known]), 1)
    surprise, examples = np.zeros((classes, classes)), np.zeros(classes)
    try:
        for block, total, n in entropy_sums(workspace, population, split):
            own = labels[block.start : block.stop]
            known = (own >= 0) & (n > 0)
            np.add.at(surprise, own[known], total[known] / (n[known, None] * FIXED_ONE))
            np.add.at(examples, own[known], 1)
    except NotFoundError:
        return ClassConfusion(votes, None)
    return ClassConfusion(votes, surprise / np.maximum(examples, 1)[:, None])
