"""Orders of suspicion that take all examples together, or one network alone, and all class
probabilities: worked out when a selection ranks by one of them, and kept in no table.

``zoo.scores.catalog.TOGETHER`` lists them; ``SINGLE`` those of one training beside the population.
Letters: N classifiers, E examples, M classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from zoo.arrays import Floats, Ints, Mask
from zoo.errors import NotFoundError, StoreError, UsageError
from zoo.scores.catalog import FLOOR, SINGLE
from zoo.scores.confident import label_issues, normalized_margin, out_of_fold
from zoo.scores.from_store import Probabilities, score
from zoo.scores.population import Population
from zoo.scores.suspects import score_values
from zoo.store.ledger import classifiers_frame
from zoo.store.workspace import Workspace

__all__ = ["confident_issues", "pooled_log_margin", "with_single", "with_together"]


def with_together(
    workspace: Workspace,
    population: Population,
    split: str,
    scores: pd.DataFrame,
    names: Iterable[str],
) -> pd.DataFrame:
    """A ``scores`` table with further columns to rank by.

    Args:
        scores: of this population and split, a row per example in the order of ``example_id``.
        names: of ``zoo.scores.catalog.TOGETHER``.

    Raises:
        NotFoundError: if some classifier's logits of the split were not kept, or there is no
            network that small loss could be taken of.
        UsageError: if the scores are not of all examples of the split.
    """
    members = Probabilities(workspace, population, split)
    label = score_values(scores, "label")
    ids = score_values(scores, "example_id")
    if not np.array_equal(ids, np.arange(members.shape[1])):
        raise UsageError(
            f"scores of {len(scores)} examples, of {members.shape[1]} in the split {split}."
            " Allowed: all, in their order. Score the split again with 'zoo score'."
        )
    usable = ~np.isnan(label) & (label >= 0) & ~np.isnan(score_values(scores, "x_perplexity"))
    labels = label[usable].astype(np.int64)
    columns = {}
    for name in names:
        try:
            if name == "small_loss":
                found = _small_loss(workspace, members, usable, labels)
            elif name == "pooled_log_margin":
                found = pooled_log_margin(labels, _Rows(members, usable))
            else:
                held = members.held_out()[:, usable]
                found = confident_issues(labels, _Rows(members, usable), held)
        except StoreError as error:
            raise NotFoundError(
                f"no order by {name}: it needs all class probabilities, and {error} Allowed:"
                " populations whose logits of the split were kept. Fill with '--keep-logits all',"
                " or rank by another score."
            ) from None
        columns[name] = np.full(len(label), np.nan)
        columns[name][usable] = found
    return scores.assign(**columns)


@dataclass(frozen=True)
class _Rows:
    """The probabilities of some examples, one classifier at a time, as often as they are asked
    for."""

    members: Probabilities
    usable: Mask

    def __iter__(self) -> Iterator[Floats]:
        return (p[self.usable] for p in self.members)


def confident_issues(labels: Ints, members: Iterable[Floats], held: Mask) -> Floats:
    """Confident learning on the mean of the held-out classifiers' probabilities, where there are
    some, else of all: what it flags comes first, both parts by normalised margin, as cleanlab's
    find_label_issues lists them by its defaults. float64 [E], low = suspicious.

    Args:
        members: probabilities [E, M] of each classifier, readable several times.
        held: bool [N, E], whether the classifier was not trained on the example.
    """
    p = out_of_fold(members, held | ~held.any(axis=0))
    issues: Floats = normalized_margin(labels, p) - label_issues(labels, p)
    return issues


def pooled_log_margin(labels: Ints, members: Iterable[Floats]) -> Floats:
    """Log margin against the label of the classifiers' pooled probabilities, float64 [E], high =
    suspicious.

    Each classifier weighs a = log((1 - d) / d), at least 0, d the share of examples at which it
    differs from the winner of the unweighted mean (one-coin Dawid & Skene, Applied Statistics 28
    (1979) 20). With p(k) the weighted mean and h(k) its mean over the examples that k wins: max
    over k but the label of log(p(k) / h(k)) - log(p(label) / h(label)). So how sure the classifiers
    are of a class when they give it is taken off, without assuming that classes are equally
    frequent, and no label is used but the one judged. p below ``FLOOR`` counts as that; h of a
    class that wins nowhere is 1; d is kept half an example from 0 and 1. Where no classifier agrees
    with the winner more often than not, all weigh the same.

    Args:
        members: probabilities [E, M] of each classifier, readable twice.
    """
    rows = np.arange(len(labels))
    total = _sum(members)
    winner = total.argmax(axis=1)
    pooled: Floats = np.zeros_like(total)
    weights, least = 0.0, 0.5 / max(len(labels), 1)
    for p in members:
        differs = np.clip(np.mean(p.argmax(axis=1) != winner), least, 1 - least)
        weight = max(float(np.log((1 - differs) / differs)), 0.0)
        pooled += weight * p
        weights += weight
    if weights == 0.0:
        pooled = total
    pooled /= pooled.sum(axis=1, keepdims=True)
    won = pooled.argmax(axis=1)
    count = np.bincount(won, minlength=pooled.shape[1])
    sums = np.bincount(won, weights=pooled[rows, won], minlength=pooled.shape[1])
    usual = np.where(count > 0, sums / np.maximum(count, 1), 1.0)
    logs = np.log(np.maximum(pooled, FLOOR)) - np.log(usual)
    own = logs[rows, labels]
    logs[rows, labels] = -np.inf
    margin: Floats = logs.max(axis=1) - own
    return margin


def _sum(members: Iterable[Floats]) -> Floats:
    total: Floats | None = None
    for p in members:
        total = p.copy() if total is None else total + p
    assert total is not None, "no classifier"
    return total


def _small_loss(workspace: Workspace, members: Probabilities, usable: Mask, labels: Ints) -> Floats:
    """Cross-entropy of the label by one network in bits, float64 [E]: of the classifiers that were
    trained on every example, the one of highest test accuracy, early snapshots among them."""
    names = np.array(members.population.classifiers)
    whole = names[~members.held_out()[:, usable].any(axis=1)]
    accuracy = _test_accuracies(workspace, whole)
    if accuracy.empty:
        raise NotFoundError(
            "no order by small_loss: no classifier of the population was trained on every example"
            " and has a test accuracy. Allowed: populations with such a one. Rank by mean_log_p,"
            " the same of all classifiers."
        )
    best = _most_accurate(accuracy)
    alone = replace(members, population=replace(members.population, classifiers=(best,)))
    p = next(iter(alone))
    loss: Floats = -np.log2(np.maximum(p[usable][np.arange(len(labels)), labels], FLOOR))
    return loss


def _test_accuracies(workspace: Workspace, classifiers: Iterable[str]) -> pd.Series:
    """Of those that have one, in the order given."""
    frame = classifiers_frame(workspace).set_index("classifier_id")
    return frame["test_acc1"].reindex(list(classifiers)).dropna()


def _most_accurate(accuracies: pd.Series) -> str:
    """The first of those of highest accuracy."""
    return str(accuracies.index[int(accuracies.to_numpy(dtype=np.float64).argmax())])


# ---------------------------------------------------------------- one training


def with_single(
    workspace: Workspace, single: Population | None, split: str, scores: pd.DataFrame
) -> pd.DataFrame:
    """A ``scores`` table with the columns ``zoo.scores.catalog.SINGLE``: what their sources rank
    by, of one training beside the population.

    Args:
        single: the snapshots of that training, with answers on the split.
        scores: a row per example in the order of ``example_id``.

    Raises:
        NotFoundError: if there is no such training, or it has fewer than two snapshots or no test
            accuracy.
    """
    accuracy = (
        pd.Series(dtype="float64")
        if single is None
        else _test_accuracies(workspace, single.classifiers)
    )
    if single is None or len(single.classifiers) < 2 or accuracy.empty:
        raise NotFoundError(
            f"no order by {', '.join(SINGLE)}: they are of one training of several snapshots and"
            " known test accuracy, and there is none. Allowed: experiments that declare one"
            " (single=). Rank by el2n, forgetting, aum or small_loss, which are of the population's"
            " trainings."
        )
    best = replace(single, classifiers=(_most_accurate(accuracy),))
    course, alone = (score(workspace, each, split).to_pandas() for each in (single, best))
    found = {f"single_{name}": course[name] for name in ("el2n", "forgetting", "aum")}
    columns = found | {"single_loss": -alone["mean_log_p"]}
    return scores.assign(**{name: column.to_numpy() for name, column in columns.items()})
