"""Suspects: the examples most likely to carry a wrong label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.arrays import Floats
from zoo.errors import UnknownNameError, UsageError
from zoo.scores.catalog import suspicion, worst_first

__all__ = [
    "planted_errors",
    "ranked_apart",
    "require_columns",
    "score_values",
    "suggested_labels",
    "suspects",
    "suspicion_of",
]


def suspects(scores: pd.DataFrame, n: int) -> pd.DataFrame:
    """The ``n`` examples whose labels are most likely wrong, most suspicious first.

    The order is that of ``zoo.scores.catalog.suspicion`` by label quality; selections and detection
    use the same. An example without a quality (no answer, no label), or whose label every
    classifier gives, is no suspect.

    Args:
        scores: ``scores`` table.
        n: how many, >= 0; fewer come back if there are fewer.

    Returns:
        Those rows of ``scores``, and what ranked them: ``suggested`` (the most-voted class that is
        not the label; null if no other has a vote), ``ranked_x`` and ``ranked_n`` (X over the
        classifiers that label quality is over, and how many these are), ``heldout`` (whether these
        are held out; null where membership is not known). ``planted`` (whether the label is known
        to be wrong; null where the truth is not known) only where some label of the table is known
        to be wrong.

    Raises:
        UsageError: n is negative.
        UnknownNameError: a column is missing.
    """
    if n < 0:
        raise UsageError(
            f"cannot list {n} suspects. Allowed: 0 or more. Ask for as many as you can look at."
        )
    require_columns(scores, "example_id", "label", "label_quality", "x_perplexity")
    suspicious = suspicion_of(scores, "label_quality")
    order = worst_first(
        suspicious,
        score_values(scores, "x_perplexity"),
        scores["example_id"].to_numpy(dtype=np.int64),
    )
    order = order[~np.isnan(suspicious[order]) & (score_values(scores, "x_perplexity")[order] > 0)][
        :n
    ]
    listed = scores.iloc[order].reset_index(drop=True)
    held = (
        score_values(listed, "n_heldout") if "n_heldout" in listed else np.full(len(listed), np.nan)
    )
    use = held > 0
    heldout: Any = pd.array(use.tolist(), dtype="boolean")
    heldout[np.isnan(held)] = pd.NA
    x, n_all = (
        score_values(listed, "x_perplexity"),
        (score_values(listed, "n") if "n" in listed else np.full(len(listed), np.nan)),
    )
    listed = listed.assign(
        suggested=pd.array(suggested_labels(listed).tolist(), dtype="float64").astype("Int64"),
        ranked_x=(
            np.where(use, score_values(listed, "x_heldout"), x) if "x_heldout" in listed else x
        ),
        ranked_n=pd.array(np.where(use, held, n_all), dtype="Int64"),
        heldout=heldout,
    )
    planted = planted_errors(scores)
    if planted is None:
        return listed
    known: Any = pd.array(planted[order].tolist(), dtype="boolean")
    known[np.isnan(score_values(listed, "label_true"))] = pd.NA
    return listed.assign(planted=known)


def suggested_labels(scores: pd.DataFrame) -> Floats:
    """The most-voted class of each example that is not its label, float64 [E]; NaN where no other
    class has a vote."""
    label = score_values(scores, "label")
    top = (
        score_values(scores, "top_confusion")
        if "top_confusion" in scores
        else np.full(len(scores), np.nan)
    )
    found = np.where(top == label, np.nan, top)
    if "top5_x" in scores:
        for row in np.flatnonzero(top == label):
            votes = scores["top5_x"].iloc[row]
            others = (
                [item["class"] for item in votes if item["class"] != label[row]]
                if votes is not None
                else []
            )
            found[row] = others[0] if others else np.nan
    return found


def suspicion_of(scores: pd.DataFrame, name: str) -> Floats:
    """``zoo.scores.catalog.suspicion`` of a scores table, float64 [E]."""
    return suspicion(
        name,
        score_values(scores, name),
        score_values(scores, "n_heldout") if "n_heldout" in scores else None,
    )


def ranked_apart(scores: pd.DataFrame) -> str:
    """A line about the examples that no classifier held out: how they are ranked, apart from the
    others or all of them; empty where there are none, or nothing is known of any."""
    if "n_heldout" not in scores:
        return ""
    held = score_values(scores, "n_heldout")
    defined = ~np.isnan(score_values(scores, "label_quality"))
    inside, outside = int((defined & ~(held > 0)).sum()), int((defined & (held > 0)).sum())
    if inside and not outside and (held == 0).any():
        return (
            f"No example of {inside:,} was held out by a classifier: they are ranked by classifiers"
            " that learned their labels, wrong ones too. Train with --folds 5x2."
        )
    if not inside or not outside:
        return ""
    return (
        f"{inside:,} of {inside + outside:,} examples were held out by no classifier: their label"
        " quality is of classifiers that learned the label, so they are ranked among themselves,"
        " and as large a share of them is suspected as of the others."
    )


def require_columns(scores: pd.DataFrame, *names: str) -> None:
    for name in names:
        if name not in scores:
            raise UnknownNameError(
                "score column",
                name,
                map(str, scores.columns),
                "Pass the scores table of 'zoo score'.",
            )


def score_values(scores: pd.DataFrame, name: str) -> Floats:
    """A column as float64 [E], null as NaN."""
    return scores[name].to_numpy(dtype=np.float64, na_value=np.nan)


def planted_errors(scores: pd.DataFrame) -> NDArray[np.bool_] | None:
    """Which examples carry a planted label error: their true label is known and is another one.

    Args:
        scores: table with ``label`` and, where known, ``label_true``.

    Returns:
        bool [E], or None where no label is known to be wrong: nothing was planted, or nobody knows.
    """
    if "label_true" not in scores:
        return None
    truth = pd.to_numeric(scores["label_true"]).to_numpy(dtype=np.float64, na_value=np.nan)  # [E]
    given = scores["label"].to_numpy(dtype=np.float64)  # [E]
    wrong: NDArray[np.bool_] = np.isfinite(truth) & (truth != given)
    return wrong if wrong.any() else None
