"""Scores as detectors of wrong labels, measured as the field measures them.

Shape letters: E examples. An *error* is an example whose ``label`` differs from its known ``label_true``. A detector is a score and the
side on which it is suspicious. Measures: area under the ROC curve, average precision, and precision at the true number of errors.

Sources: AUROC = Mann-Whitney U / (errors * correct), ties by midranks (Hanley & McNeil 1982). Average precision: mean of precision over
recall steps, one step per distinct score, as scikit-learn. Which measures: Kuan & Mueller, "Model-agnostic label quality scoring" (2022).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.errors import UnknownNameError, UsageError

__all__ = ["SUSPICIOUS_SIDE", "auroc", "average_precision", "detection_table", "midranks", "suspects"]

Floats = NDArray[np.float64]

SUSPICIOUS_SIDE: Final[dict[str, int]] = {
    "label_quality": -1,
    "x_heldout": +1,
    "x_perplexity": +1,
    "mean_margin": -1,
    "mean_p_label": -1,
    "c_perplexity": +1,
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
