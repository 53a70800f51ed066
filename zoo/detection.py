"""Scores as detectors of wrong labels, measured as the field measures them.

Shape letters: N classifiers, E examples, M classes. An *error* is an example whose ``label`` differs from its known ``label_true``. A detector
is a score and the side on which it is suspicious.

Measures: area under the ROC curve; average precision; precision and recall among the n most suspicious, n = true number of errors.

Detectors (``SUSPICIOUS_SIDE``), with p_i the class probabilities of classifier i:

===========================  ==========================================================================================================
``label_quality``            1 - (n X + 1 - mean p(label)) / (n + 1), over held-out classifiers where there are some, else all
``x_perplexity``             X: share of all classifiers whose most probable class is not the label
``x_heldout``                X over those that were not trained on the example
``mean_margin``              mean of p_i(label) - largest other p_i
``mean_p_label``             mean of p_i(label): self-confidence, unweighted
``c_perplexity``             C: 2 ** mean entropy in bits; says hard, not wrong, and stands here for comparison
``cleanlab_ensemble``        cleanlab.rank.get_label_quality_ensemble_scores by its defaults: self-confidence weighted by accuracy
``cleanlab_issues``          cleanlab.filter.find_label_issues by its defaults on the mean of all p_i: what it flags comes first, both
                             parts in the order of its normalised margin
``cleanlab_issues_heldout``  the same on the mean over the classifiers that were not trained on the example
===========================  ==========================================================================================================

Sources: AUROC = Mann-Whitney U / (errors * correct), ties by midranks (Hanley & McNeil 1982). Average precision: mean of precision over
recall steps, one step per distinct score, as scikit-learn. Which measures, and the ensemble score: Kuan & Mueller, "Model-agnostic label quality
scoring" (2022). find_label_issues: Northcutt, Jiang & Chuang, "Confident learning" (2021).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.errors import StoreError, UnknownNameError, UsageError

__all__ = [
    "SUSPICIOUS_SIDE",
    "LabelErrors",
    "Members",
    "auroc",
    "average_precision",
    "detection_table",
    "label_errors",
    "midranks",
    "suspects",
]

Floats = NDArray[np.float64]

SUSPICIOUS_SIDE: Final[dict[str, int]] = {
    "label_quality": -1,
    "x_heldout": +1,
    "x_perplexity": +1,
    "mean_margin": -1,
    "mean_p_label": -1,
    "c_perplexity": +1,
    "cleanlab_ensemble": -1,
    "cleanlab_issues": -1,
    "cleanlab_issues_heldout": -1,
}
"""Scores that are measured as detectors: +1 = high is suspicious, -1 = low is."""


def midranks(values: NDArray[Any]) -> Floats:
    """Ranks 1..E of float [E] in ascending order; equal values share the mean of their ranks. float64 [E], multiples of 1/2."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    middle: Floats = (last - (counts - 1) / 2.0)[inverse]
    return middle


def auroc(suspicion: NDArray[Any], is_error: NDArray[np.bool_]) -> float:
    """Probability that a random error is more suspicious than a random correct example, ties counting a half.

    Args:
        suspicion: float [E], high = suspicious, no NaN.
        is_error: bool [E].

    Returns:
        0..1; NaN if there is no error or nothing but errors.
    """
    is_error = np.asarray(is_error, dtype=bool)
    errors = int(is_error.sum())
    correct = len(is_error) - errors
    if not errors or not correct:
        return float("nan")
    u = midranks(suspicion)[is_error].sum() - errors * (errors + 1) / 2.0
    return float(u / (errors * correct))


def average_precision(suspicion: NDArray[Any], is_error: NDArray[np.bool_]) -> float:
    """Sum over distinct scores, from the most suspicious down, of (step in recall) * precision there; no interpolation.

    Args and NaN as ``auroc``.
    """
    is_error = np.asarray(is_error, dtype=bool)
    errors = int(is_error.sum())
    if not errors or errors == len(is_error):
        return float("nan")
    order = np.argsort(suspicion, kind="stable")[::-1]
    ordered = np.asarray(suspicion)[order]
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # last place of each distinct score: ties form one threshold
    found = np.cumsum(is_error[order])[ends]
    steps = np.diff(found, prepend=0)
    return float(np.sum(steps * (found / (ends + 1))) / errors)


def detection_table(scores: pd.DataFrame) -> pd.DataFrame:
    """How well each score of ``SUSPICIOUS_SIDE`` finds the examples whose label is known to be wrong.

    A score is measured on the examples that have both it and a known truth (so ``x_heldout`` leaves out what every classifier was trained
    on).

    Args:
        scores: ``scores`` table with ``label``, ``label_true`` and at least one of the scores; one row per example.

    Returns:
        One row per score present, in the order of ``SUSPICIOUS_SIDE``: score, auroc, average_precision, precision_at_n (share of errors
        among the n most suspicious, n = true number of errors measured, ties to the lower example_id), recall_at_n (those found, of all
        known errors whether or not they have the score), n_errors (the n). All measures are NaN where there are no errors or nothing but
        errors. No rows at all where no truth is known.

    Raises:
        UnknownNameError: ``label``, ``label_true`` or ``example_id`` is missing.
    """
    _require(scores, "example_id", "label", "label_true")
    label, truth = _numbers(scores, "label"), _numbers(scores, "label_true")
    known = ~np.isnan(label) & ~np.isnan(truth)
    is_error = known & (label != truth)
    all_errors = int(is_error.sum())
    example_ids = scores["example_id"].to_numpy(dtype=np.int64)
    rows: list[dict[str, Any]] = []
    for name, side in SUSPICIOUS_SIDE.items():
        if name not in scores:
            continue
        suspicion = side * _numbers(scores, name)
        measured = known & ~np.isnan(suspicion)
        if not measured.any():
            continue
        s, wrong = suspicion[measured], is_error[measured]
        n = int(wrong.sum())
        precision = recall = float("nan")
        if 0 < n < len(wrong):
            most = np.lexsort((example_ids[measured], -s))[:n]
            found = int(wrong[most].sum())
            precision, recall = found / n, found / all_errors
        rows.append(
            {
                "score": name,
                "auroc": auroc(s, wrong),
                "average_precision": average_precision(s, wrong),
                "precision_at_n": precision,
                "recall_at_n": recall,
                "n_errors": n,
            }
        )
    columns = {
        "score": "str",
        **dict.fromkeys(("auroc", "average_precision", "precision_at_n", "recall_at_n"), "float64"),
        "n_errors": "int64",
    }
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


# ---------------------------------------------------------------- beside cleanlab


class Members(Protocol):
    """Class probabilities of a population on a split, one classifier at a time; every pass gives the same in the same order."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, E, M)"""

    def __iter__(self) -> Iterator[Floats]:
        """float64 [E, M] per classifier, rows sum to 1, in the order of ``example_id``.

        Raises:
            StoreError: if full probabilities were not kept.
        """

    def held_out(self) -> NDArray[np.bool_]:
        """bool [N, E]: whether the classifier was not trained on the example, as far as is known."""


@dataclass(frozen=True)
class LabelErrors:
    """How well label errors are found.

    Args:
        table: ``detection_table``, with cleanlab's rows where they could be computed.
        flagged: what find_label_issues flags by its own estimate of how many there are. One row per cleanlab_issues row of ``table``: score,
            n_flagged (with known truth), precision, recall.
        reason: why cleanlab's rows are left out; "" if they are there.
    """

    table: pd.DataFrame
    flagged: pd.DataFrame
    reason: str


def label_errors(scores: pd.DataFrame, members: Members) -> LabelErrors:
    """``detection_table`` and, where the optional package cleanlab is installed and can be used, its scores on the same classifiers.

    Args:
        scores: ``scores`` table of one split, sorted by ``example_id`` 0..E-1.
        members: the classifiers it was made from.

    Raises:
        UnknownNameError: if a column is missing.
    """
    _require(scores, "n", "label_quality")
    table, flagged = detection_table(scores), pd.DataFrame({"score": [], "n_flagged": [], "precision": [], "recall": []})
    if table.empty:
        return LabelErrors(table, flagged, "No true label is known.")
    classifiers, examples, classes = members.shape
    if int(scores["n"].max()) != classifiers:
        reason = (
            f"The scores are of {int(scores['n'].max())} classifiers, the population has {classifiers} now. Score again with 'zoo score'."
        )
        return LabelErrors(table, flagged, reason)
    if classifiers * examples * classes > _MOST_PROBABILITIES:
        reason = (
            f"{classifiers:,} classifiers x {examples:,} examples x {classes:,} classes are more than {_MOST_PROBABILITIES:,} probabilities, "
            f"and cleanlab reads them all. Compare on fewer classifiers with --where."
        )
        return LabelErrors(table, flagged, reason)
    try:
        quality, flags = _cleanlab(scores, members)
    except ImportError:
        return LabelErrors(table, flagged, "cleanlab is not installed: pip install 'classifier-zoo[cleanlab]'.")
    except StoreError as error:
        return LabelErrors(table, flagged, f"cleanlab needs full probabilities: {error}")
    except (ValueError, AssertionError) as error:
        return LabelErrors(table, flagged, f"cleanlab refuses these probabilities: {error}")
    label, truth = _numbers(scores, "label"), _numbers(scores, "label_true")
    known = ~np.isnan(label) & ~np.isnan(truth)
    is_error = known & (label != truth)
    rows = []
    for name, flag in flags.items():
        count, found = int((flag & known).sum()), int((flag & is_error).sum())
        rows.append({"score": name, "n_flagged": count, "precision": _share(found, count), "recall": _share(found, int(is_error.sum()))})
    return LabelErrors(detection_table(scores.assign(**quality)), pd.DataFrame(rows), "")


_MOST_PROBABILITIES = 5 * 10**8
"""N x E x M up to which cleanlab is asked: 75 x 5,000 x 10 were measured to take 0.45 s, so this is about a minute."""


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _cleanlab(scores: pd.DataFrame, members: Members) -> tuple[dict[str, Floats], dict[str, NDArray[np.bool_]]]:
    """(quality by name, float64 [E], low = suspicious, NaN where there is none; flags by name, bool [E])."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_ensemble_scores, get_label_quality_scores

    label, answered = _numbers(scores, "label"), ~np.isnan(_numbers(scores, "label_quality"))
    held = members.held_out() & answered
    total, total_held = np.zeros(members.shape[1:]), np.zeros(members.shape[1:])  # [E, M]
    for p, mine in zip(members, held, strict=True):
        total += p
        total_held += p * mine[:, None]
    quality: dict[str, Floats] = {}
    flags: dict[str, NDArray[np.bool_]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its advice on too few classifiers or classes is no error of this comparison
        labels = label[answered].astype(np.int64)
        listed = _OneByOne(lambda: (p[answered] for p in members), members.shape[0])
        quality["cleanlab_ensemble"] = _spread(get_label_quality_ensemble_scores(labels, listed, verbose=False), answered)
        for name, summed, count in (
            ("cleanlab_issues", total, np.full(len(label), members.shape[0])),
            ("cleanlab_issues_heldout", total_held, held.sum(axis=0)),
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
    """A list for those who only go through it: cleanlab wants one of N arrays, and looks at one at a time."""

    def __init__(self, make: Callable[[], Iterator[Floats]], length: int) -> None:
        super().__init__()
        self._make, self._length = make, length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Floats]:
        return self._make()


# ---------------------------------------------------------------- suspects


def suspects(scores: pd.DataFrame, n: int) -> pd.DataFrame:
    """The ``n`` examples whose labels are most likely wrong, most suspicious first.

    Order: lowest ``label_quality``, then higher ``x_perplexity``, then lower ``example_id``. Examples without a quality (no answer, no
    label) are no suspects.

    Args:
        scores: ``scores`` table.
        n: how many, >= 0; fewer come back if there are fewer.

    Returns:
        Those rows of ``scores``, and ``planted``: boolean, whether the label is known to be wrong; null where the truth is not known.

    Raises:
        UsageError: n is negative.
        UnknownNameError: a column is missing.
    """
    if n < 0:
        raise UsageError(f"cannot list {n} suspects. Allowed: 0 or more. Ask for as many as you can look at.")
    _require(scores, "example_id", "label", "label_quality", "x_perplexity")
    quality = _numbers(scores, "label_quality")
    order = np.lexsort((scores["example_id"].to_numpy(dtype=np.int64), -_numbers(scores, "x_perplexity"), quality))  # NaN sorts last
    order = order[~np.isnan(quality[order])][:n]
    listed = scores.iloc[order].reset_index(drop=True)
    label = _numbers(listed, "label")
    truth = _numbers(listed, "label_true") if "label_true" in listed else np.full(len(listed), np.nan)
    planted = pd.array(label != truth, dtype="boolean")
    planted[np.isnan(truth)] = pd.NA
    return listed.assign(planted=planted)


def _require(scores: pd.DataFrame, *names: str) -> None:
    for name in names:
        if name not in scores:
            raise UnknownNameError("score column", name, map(str, scores.columns), "Pass the scores table of 'zoo score'.")


def _numbers(scores: pd.DataFrame, name: str) -> Floats:
    """A column as float64 [E], null as NaN."""
    return scores[name].to_numpy(dtype=np.float64, na_value=np.nan)
