"""Suspects: the examples most likely to carry a wrong label."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.arrays import Floats
from zoo.errors import UnknownNameError, UsageError

__all__ = ["planted_errors", "require_columns", "score_values", "suspects"]


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
    require_columns(scores, "example_id", "label", "label_quality", "x_perplexity")
    quality = score_values(scores, "label_quality")
    order = np.lexsort((scores["example_id"].to_numpy(dtype=np.int64), -score_values(scores, "x_perplexity"), quality))  # NaN sorts last
    order = order[~np.isnan(quality[order])][:n]
    listed = scores.iloc[order].reset_index(drop=True)
    label = score_values(listed, "label")
    truth = score_values(listed, "label_true") if "label_true" in listed else np.full(len(listed), np.nan)
    planted = pd.array(label != truth, dtype="boolean")
    planted[np.isnan(truth)] = pd.NA
    return listed.assign(planted=planted)


def require_columns(scores: pd.DataFrame, *names: str) -> None:
    for name in names:
        if name not in scores:
            raise UnknownNameError("score column", name, map(str, scores.columns), "Pass the scores table of 'zoo score'.")


def score_values(scores: pd.DataFrame, name: str) -> Floats:
    """A column as float64 [E], null as NaN."""
    return scores[name].to_numpy(dtype=np.float64, na_value=np.nan)


# ---------------------------------------------------------------------------------------------------------------- tidy tables


def planted_errors(scores: pd.DataFrame) -> NDArray[np.bool_] | None:
    """Which examples carry a planted label error: their true label is known and is another one.

    Args:
        scores: table with ``label`` and, where known, ``label_true``.

    Returns:
        bool [E], or None where no true label is known at all.
    """
    if "label_true" not in scores:
        return None
    truth = pd.to_numeric(scores["label_true"]).to_numpy(dtype=np.float64, na_value=np.nan)  # [E]
    if not np.isfinite(truth).any():
        return None
    given = scores["label"].to_numpy(dtype=np.float64)  # [E]
    wrong: NDArray[np.bool_] = np.isfinite(truth) & (truth != given)
    return wrong
