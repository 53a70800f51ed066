"""Scores as detectors of wrong labels, measured as the field measures them.

Shape letters: N classifiers, E examples, M classes. An *error* is an example whose ``label``
    differs from its known ``label_true``. A detector
is a score and the side on which it is suspicious.

Measures: area under the ROC curve; average precision; precision and recall among the n most
    suspicious, n = true number of errors; the share of the errors that these n miss. 95 % intervals
    of the first two are of the examples, given the classifiers: a Poisson bootstrap, value +- 1.96
    standard deviations of 100 draws, cut at 0 and 1.

Detectors are the scores of ``zoo.scores.catalog`` that have a suspicious side, each in the order
that suspects are listed in, and three of cleanlab,
with p_i the class probabilities of classifier i:

===========================  ==========================================================================================================
``cleanlab_ensemble``        cleanlab.rank.get_label_quality_ensemble_scores by its defaults: self-confidence weighted by accuracy. It takes
                             the same classifiers for every example, so also those that were trained on it
``cleanlab_issues``          cleanlab.filter.find_label_issues by its defaults on the mean of all p_i: what it flags comes first, both
                             parts in the order of its normalised margin. In-sample p_i are among them
``cleanlab_issues_heldout``  the same given what ``label_quality`` is given: the mean of the held-out p_i where there are some, else of all, on the
                             same examples, those without held-out ones ranked apart. The row to compare ``label_quality`` with
===========================  ==========================================================================================================

Sources: AUROC = Mann-Whitney U / (errors * correct), ties by midranks (Hanley & McNeil 1982).
    Average precision: mean of precision over
recall steps, one step per distinct score, as scikit-learn. Which measures, and the ensemble score:
Kuan & Mueller, "Model-agnostic label quality scoring" (2022). find_label_issues: Northcutt, Jiang &
Chuang, "Confident learning" (2021).
False negative rate at the noise rate: Pickler, Kamassury & Silva, "Benchmarking noisy label
detection methods" (arXiv 2510.16211).
"""  # noqa: E501

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo import keyed
from zoo.arrays import Floats, Mask
from zoo.errors import StoreError
from zoo.scores.catalog import DETECTORS, worst_first
from zoo.scores.suspects import require_columns, score_values, suspicion_of
from zoo.statistics import auroc, average_precision

__all__ = ["LabelErrors", "Members", "detection_table", "intervals", "label_errors"]


def detection_table(scores: pd.DataFrame) -> pd.DataFrame:
    """How well each score of ``DETECTORS`` finds the examples whose label is known to be wrong.

    A score is measured on the examples that have both it and a known truth (so ``x_heldout`` leaves
    out what every classifier was trained on).

    Args:
        scores: ``scores`` table with ``label``, ``label_true`` and at least one of the scores; one
            row per example.

    Returns:
        One row per score present, in the order of ``DETECTORS``: score, auroc, average_precision,
        precision_at_n (share of errors among the n most suspicious, n = true number of errors
        measured, in the order of suspects), recall_at_n (those found, of all known errors whether
        or not they have the score), fnr_at_n (those missed, of all: 1 - recall), n_errors (the n),
        and the intervals auroc_low, auroc_high, average_precision_low, average_precision_high. All
        measures are NaN where there are no errors or nothing but errors. No rows at all where no
        truth is known.

    Raises:
        UnknownNameError: ``label``, ``label_true`` or ``example_id`` is missing.
    """
    require_columns(scores, "example_id", "label", "label_true")
    label, truth = score_values(scores, "label"), score_values(scores, "label_true")
    known = ~np.isnan(label) & ~np.isnan(truth)
    is_error = known & (label != truth)
    all_errors = int(is_error.sum())
    example_ids = scores["example_id"].to_numpy(dtype=np.int64)
    rows: list[dict[str, Any]] = []
    x = score_values(scores, "x_perplexity") if "x_perplexity" in scores else np.zeros(len(scores))
    for name in DETECTORS:
        if name not in scores:
            continue
        suspicious = suspicion_of(scores, name)
        measured = known & ~np.isnan(suspicious)
        if not measured.any():
            continue
        s, wrong = suspicious[measured], is_error[measured]
        n = int(wrong.sum())
        precision = recall = float("nan")
        if 0 < n < len(wrong):
            most = worst_first(s, x[measured], example_ids[measured])[:n]
            found = int(wrong[most].sum())
            precision, recall = found / n, found / all_errors
        rows.append(
            {
                "score": name,
                "auroc": auroc(s, wrong),
                "average_precision": average_precision(s, wrong),
                "precision_at_n": precision,
                "recall_at_n": recall,
                "fnr_at_n": 1.0 - recall,
                "n_errors": n,
                **intervals(s, wrong),
            }
        )
    columns = {
        "score": "str",
        **dict.fromkeys(("auroc", "average_precision", "precision_at_n", "recall_at_n"), "float64"),
        "fnr_at_n": "float64",
        "n_errors": "int64",
        **dict.fromkeys(_ENDS, "float64"),
    }
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


_ENDS = ("auroc_low", "auroc_high", "average_precision_low", "average_precision_high")
_DRAWS = 100


def intervals(suspicion: Floats, wrong: Mask) -> dict[str, float]:
    """95 % intervals of AUROC and average precision of float [E], bool [E], over the examples.

    A bootstrap in which each example counts Poisson(1) times. Correct examples between two errors
    matter by their number alone, and a sum of Poisson numbers is one: a draw costs as much as
    there are errors, however many the examples. NaN where the measures are.
    """
    if not 0 < wrong.sum() < len(wrong):
        return dict.fromkeys(_ENDS, float("nan"))
    groups, group = np.unique(-suspicion, return_inverse=True)  # ties count as one place
    errors, correct = (
        np.bincount(group[which], minlength=len(groups)) for which in (wrong, ~wrong)
    )
    places = np.flatnonzero(errors)
    through = np.cumsum(correct)[places]
    between = np.diff(through - correct[places], prepend=0) - np.concatenate(
        [[0], correct[places][:-1]]
    )
    rng = np.random.default_rng(keyed.key_seed("detection/bootstrap"))
    k, tied, before = (
        rng.poisson(counts, (_DRAWS, len(places)))
        for counts in (errors[places], correct[places], between)
    )
    after = rng.poisson(correct.sum() - through[-1], (_DRAWS, 1))
    found, passed = np.cumsum(k, axis=1), np.cumsum(before + tied, axis=1)
    total, others = found[:, -1:], passed[:, -1:] + after
    drawn = (total > 0) & (others > 0)
    area = 1 - (k * (passed - tied / 2)).sum(axis=1, keepdims=True) / np.maximum(total * others, 1)
    precision = found / np.maximum(found + passed, 1)
    average = (k * precision).sum(axis=1, keepdims=True) / np.maximum(total, 1)
    ends: dict[str, float] = {}
    for name, values, draws in (
        ("auroc", auroc(suspicion, wrong), area[drawn]),
        ("average_precision", average_precision(suspicion, wrong), average[drawn]),
    ):
        reach = 1.96 * float(draws.std(ddof=1)) if len(draws) > 1 else float("nan")
        ends[f"{name}_low"] = max(values - reach, 0.0) if reach == reach else reach
        ends[f"{name}_high"] = min(values + reach, 1.0) if reach == reach else reach
    return ends


# ---------------------------------------------------------------- beside cleanlab


class Members(Protocol):
    """Class probabilities of a population on a split, one classifier at a time; every pass gives
    the same in the same order."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, E, M)"""

    def __iter__(self) -> Iterator[Floats]:
        """float64 [E, M] per classifier, rows sum to 1, in the order of ``example_id``.

        Raises:
            StoreError: if full probabilities were not kept.
        """

    def held_out(self) -> NDArray[np.bool_]:
        """bool [N, E]: whether the classifier was not trained on the example, as far as is
        known."""


@dataclass(frozen=True)
class LabelErrors:
    """How well label errors are found.

    Args:
        table: ``detection_table``, with cleanlab's rows where they could be computed.
        flagged: what find_label_issues flags by its own estimate of how many there are. One row per
            cleanlab_issues row of ``table``: score, n_flagged (with known truth), precision,
                recall.
        reason: why cleanlab's rows are left out; "" if they are there.
    """

    table: pd.DataFrame
    flagged: pd.DataFrame
    reason: str


def label_errors(scores: pd.DataFrame, members: Members) -> LabelErrors:
    """``detection_table`` and, where the optional package cleanlab is installed and can be used,
    its scores on the same classifiers.

    Args:
        scores: ``scores`` table of one split, sorted by ``example_id`` 0..E-1.
        members: the classifiers it was made from.

    Raises:
        UnknownNameError: if a column is missing.
    """
    require_columns(scores, "n", "label_quality")
    table, flagged = (
        detection_table(scores),
        pd.DataFrame({"score": [], "n_flagged": [], "precision": [], "recall": []}),
    )
    if table.empty:
        return LabelErrors(table, flagged, "No true label is known.")
    classifiers, examples, classes = members.shape
    if int(scores["n"].max()) != classifiers:
        reason = (
            f"The scores are of {int(scores['n'].max())} classifiers, the population has"
            f" {classifiers} now. Score again with 'zoo score'."
        )
        return LabelErrors(table, flagged, reason)
    if classifiers * examples * classes > _MOST_PROBABILITIES:
        reason = (
            f"{classifiers:,} classifiers x {examples:,} examples x {classes:,} classes are more"
            f" than {_MOST_PROBABILITIES:,} probabilities, and cleanlab reads them all. Compare on"
            " fewer classifiers with --where."
        )
        return LabelErrors(table, flagged, reason)
    try:
        quality, flags = _cleanlab(scores, members)
    except ImportError:
        return LabelErrors(
            table,
            flagged,
            "cleanlab is not installed. In the clone of zoo: .venv/bin/pip install -e"
            " '.[cleanlab]'",
        )
    except StoreError as error:
        return LabelErrors(table, flagged, f"cleanlab needs full probabilities: {error}")
    except (ValueError, AssertionError) as error:
        return LabelErrors(table, flagged, f"cleanlab refuses these probabilities: {error}")
    label, truth = score_values(scores, "label"), score_values(scores, "label_true")
    known = ~np.isnan(label) & ~np.isnan(truth)
    is_error = known & (label != truth)
    rows = []
    for name, flag in flags.items():
        count, found = int((flag & known).sum()), int((flag & is_error).sum())
        rows.append(
            {
                "score": name,
                "n_flagged": count,
                "precision": _share(found, count),
                "recall": _share(found, int(is_error.sum())),
            }
        )
    return LabelErrors(detection_table(scores.assign(**quality)), pd.DataFrame(rows), "")


_MOST_PROBABILITIES = 5 * 10**8
"""N x E x M up to which cleanlab is asked: 75 x 5,000 x 10 were measured to take 0.45 s, so this is
about a minute."""


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _cleanlab(
    scores: pd.DataFrame, members: Members
) -> tuple[dict[str, Floats], dict[str, NDArray[np.bool_]]]:
    """(quality by name, float64 [E], low = suspicious, NaN where there is none; flags by name, bool
    [E])."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_ensemble_scores, get_label_quality_scores

    label, answered = (
        score_values(scores, "label"),
        ~np.isnan(score_values(scores, "label_quality")),
    )
    held = members.held_out() & answered
    total, total_held = np.zeros(members.shape[1:]), np.zeros(members.shape[1:])  # [E, M]
    for p, mine in zip(members, held, strict=True):
        total += p
        total_held += p * mine[:, None]
    quality: dict[str, Floats] = {}
    flags: dict[str, NDArray[np.bool_]] = {}
    with warnings.catch_warnings():
        # its advice on too few classifiers or classes is no error of this comparison
        warnings.simplefilter("ignore")
        labels = label[answered].astype(np.int64)
        listed = _OneByOne(lambda: (p[answered] for p in members), members.shape[0])
        quality["cleanlab_ensemble"] = _spread(
            get_label_quality_ensemble_scores(labels, listed, verbose=False), answered
        )
        some = np.asarray(held.any(axis=0))
        for name, summed, count in (
            ("cleanlab_issues", total, np.full(len(label), members.shape[0])),
            (
                "cleanlab_issues_heldout",
                np.where(some[:, None], total_held, total),
                np.where(some, held.sum(axis=0), members.shape[0]),
            ),
        ):
            usable = answered & (count > 0)
            if not usable.any():
                continue
            mean, labels = summed[usable] / count[usable, None], label[usable].astype(np.int64)
            mean /= mean.sum(axis=1, keepdims=True)
            flag = find_label_issues(labels, mean, n_jobs=1)
            margin = get_label_quality_scores(labels, mean, method="normalized_margin")
            quality[name] = _spread(margin - flag, usable)
            flags[name] = usable.copy()
            flags[name][usable] = flag
    return quality, flags


def _spread(values: Floats, where: NDArray[np.bool_]) -> Floats:
    """Values of some examples at their places among all; NaN elsewhere."""
    spread = np.full(len(where), np.nan)
    spread[where] = values
    return spread


class _OneByOne(list[Floats]):
    """A list for those who only go through it: cleanlab wants one of N arrays, and looks at one at
    a time."""

    def __init__(self, make: Callable[[], Iterator[Floats]], length: int) -> None:
        super().__init__()
        self._make, self._length = make, length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Floats]:
        return self._make()
