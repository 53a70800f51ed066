"""Confident learning on held-out probabilities of one architecture: what cleanlab does by its
defaults, as a baseline of the same passes.

Northcutt, Jiang & Chuang, "Confident learning: estimating uncertainty in dataset labels" (2021),
sections 3.1 and 3.2; written anew from the paper, and compared with the package cleanlab in
``tests/scores/test_passes.py``. Letters: N classifiers, E examples, M classes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from zoo.arrays import Floats, Ints, Mask

__all__ = ["confident_joint", "label_issues", "normalized_margin", "out_of_fold"]


def out_of_fold(members: Iterable[Floats], held: NDArray[np.bool_]) -> Floats:
    """Mean probabilities of the classifiers that did not train on an example, float64 [E, M]; NaN
    where all of them did.

    Args:
        members: probabilities [E, M] of each classifier.
        held: bool [N, E], whether it did not train on the example.
    """
    total: Floats | None = None
    for p, mine in zip(members, held, strict=True):
        part = np.where(mine[:, None], p, 0.0)
        total = part if total is None else total + part
    count = held.sum(axis=0)[:, None]
    assert total is not None, "no classifier"
    mean: Floats = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def normalized_margin(labels: Ints, p: Floats) -> Floats:
    """(p(label) - largest other p + 1) / 2, float64 [E]; low = suspicious."""
    rows = np.arange(len(labels))
    others = p.copy()
    others[rows, labels] = -np.inf
    margin: Floats = (p[rows, labels] - others.max(axis=1) + 1.0) / 2.0
    return margin


def confident_joint(labels: Ints, p: Floats) -> Ints:
    """How many examples of each given label (row) belong to each class (column), int64 [M, M];
    rows sum to the examples of the label.

    An example is counted under the class whose probability reaches that class's threshold, the
    mean probability that examples of the label k have for k; the most probable of several such.
    """
    classes = p.shape[1]
    counts = np.bincount(labels, minlength=classes)
    own = np.bincount(labels, weights=p[np.arange(len(labels)), labels], minlength=classes)
    # a class nobody has as a label is no class anybody belongs to
    threshold = np.where(counts > 0, own / np.maximum(counts, 1), np.inf)
    reached = p >= threshold - 1e-6
    best = np.where(reached, p, -1.0).argmax(axis=1)
    sure = reached.any(axis=1)
    joint = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(joint, (labels[sure], best[sure]), 1)
    np.fill_diagonal(joint, np.maximum(joint.diagonal(), 1))
    scaled = joint / np.maximum(joint.sum(axis=1, keepdims=True), 1) * counts[:, None]
    return np.stack([_rounded(row, count) for row, count in zip(scaled, counts, strict=True)])


def _rounded(values: Floats, total: int) -> Ints:
    """Whole numbers that sum to ``total``, which the values do: those with the largest remainders
    are rounded up."""
    whole = np.floor(values).astype(np.int64)
    up = np.argsort(whole - values, kind="stable")[: total - int(whole.sum())]
    whole[up] += 1
    return whole


def label_issues(labels: Ints, p: Floats) -> Mask:
    """Which labels are wrong, by the noise rates of the confident joint, bool [E].

    Of the examples with label j, as many as the joint counts under k are flagged for each k: those
    with the largest p(k) - p(j). At least one of a label's own stays, and none whose label is the
    most probable class.
    """
    joint = confident_joint(labels, p)
    flagged = np.zeros(len(labels), dtype=bool)
    for j in range(len(joint)):
        mine = np.flatnonzero(labels == j)
        for k in np.flatnonzero(joint[j]):
            if k == j or not len(mine):
                continue
            lead = p[mine, k] - p[mine, j]
            cut = np.sort(lead)[::-1][min(int(joint[j, k]), len(lead)) - 1]
            flagged[mine[lead >= cut]] = True
    flagged &= p.argmax(axis=1) != labels
    return flagged
