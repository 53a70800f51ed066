"""How many classifiers are enough: parts of a population against the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo import keyed
from zoo.arrays import Floats, Ints
from zoo.errors import UsageError
from zoo.scores import from_store
from zoo.scores.catalog import FIXED_ONE, suspicion
from zoo.scores.population import Population
from zoo.statistics import auroc, correlation, midranks
from zoo.store.workspace import Workspace

__all__ = ["convergence", "convergence_table"]


_MAX_EXAMPLES: Final = 5000


# -------------------------------------------------------------------------------------- convergence


def convergence(
    predictions: NDArray[Any],
    entropies: NDArray[Any],
    labels: NDArray[Any],
    *,
    sizes: Sequence[int],
    draws: int = 20,
    key: str,
    labels_true: NDArray[Any] | None = None,
    p_labels: NDArray[Any] | None = None,
    in_train: NDArray[Any] | None = None,
) -> pd.DataFrame:
    """How many classifiers are enough: scores of random sub-populations of n against those of the
    full population.

    Examples without an answer from some classifier, or without a label, are left out; of the rest
    at most 5,000 are taken, by keyed choice. A sub-population is part of the full one, so the
    correlation is 1 at n = N by construction.

    Args:
        predictions: integer [N, E]; may be memory-mapped: it is read row by row.
        entropies: float [N, E] in bits.
        labels: integer [E].
        sizes: sub-population sizes, 1..N each.
        draws: random sub-populations per size.
        key: names the random choices, see ``zoo.keyed``.
        labels_true: integer [E], -1 = unknown. If given, how well the sub-population's
            label_quality finds wrong labels is measured too.
        p_labels: float [N, E]; p(label) for label_quality; without it X alone ranks.
        in_train: bool [N, E]; label_quality is then over the sub-population's held-out classifiers
            where it has some, as in the scores.

    Returns:
        One row per measure and size: measure (``x``, ``c``: Spearman rank correlation of the score
        with the full population's, over the examples; ``auroc``), n, mean over the draws, low and
        high (their 5th and 95th percentile). NaN where all draws are constant.

    Raises:
        UsageError: shapes or sizes that do not fit.
    """
    predictions, entropies, labels = (
        np.asarray(predictions),
        np.asarray(entropies),
        np.asarray(labels),
    )
    _check_population(predictions, entropies, labels, p_labels, in_train, labels_true)
    members = len(predictions)
    wrong_sizes = [n for n in sizes if not 1 <= n <= members]
    if wrong_sizes or draws < 1:
        what = f"sub-populations of {wrong_sizes[0]}" if wrong_sizes else f"{draws} draws"
        raise UsageError(
            f"{what}. Allowed: sizes 1 to {members} (the classifiers there are), 1 draw or more."
            " Choose sizes within it."
        )

    usable = labels >= 0
    for row in predictions:
        usable &= row >= 0
    columns = np.flatnonzero(usable)
    columns = columns[keyed.choose(f"{key}/examples", columns, min(_MAX_EXAMPLES, len(columns)))]
    y = labels[columns]
    wrong = np.stack([row[columns] != y for row in predictions]).astype(np.float64)  # [N, e]
    bits = _fixed_rows(entropies, columns)  # [N, e]
    rank_x, rank_c = midranks(wrong.sum(axis=0)), midranks(bits.sum(axis=0))

    is_error = measured = None
    if labels_true is not None:
        truth = np.asarray(labels_true)[columns]
        measured = truth >= 0
        is_error = truth[measured] != y[measured]
    p = np.zeros_like(wrong) if p_labels is None else _fixed_rows(p_labels, columns)
    held = (
        np.ones_like(wrong)
        if in_train is None
        else np.stack([~np.asarray(row[columns], dtype=bool) for row in in_train]).astype(
            np.float64
        )
    )

    rows = []
    for n in sizes:
        chosen = np.zeros((draws, members))  # [D, N]
        for draw in range(draws):
            chosen[draw, keyed.choose(f"{key}/{n}/{draw}", np.arange(members), n)] = 1.0
        found: dict[str, list[float]] = {
            # ranks of sums are ranks of means
            "x": [correlation(midranks(s), rank_x) for s in chosen @ wrong],
            "c": [correlation(midranks(s), rank_c) for s in chosen @ bits],
        }
        if is_error is not None:
            quality = _quality(chosen, wrong, p, held, n)  # [D, e]
            seen = [None] * draws if in_train is None else list(chosen @ held)
            suspicious = [
                suspicion("label_quality", q, n_heldout)
                for q, n_heldout in zip(quality, seen, strict=True)
            ]
            found["auroc"] = [auroc(s[measured], is_error) for s in suspicious]
        rows += [
            {"measure": measure, "n": int(n), **_band(values)} for measure, values in found.items()
        ]
    table = pd.DataFrame(rows, columns=["measure", "n", "mean", "low", "high"]).astype(
        {"measure": "str"}
    )
    order = {"x": 0, "c": 1, "auroc": 2}
    return table.sort_values(
        "measure", key=lambda column: column.map(order), kind="stable"
    ).reset_index(drop=True)


def _check_population(
    predictions: NDArray[Any],
    entropies: NDArray[Any],
    labels: NDArray[Any],
    p_labels: NDArray[Any] | None,
    in_train: NDArray[Any] | None,
    labels_true: NDArray[Any] | None,
) -> None:
    if predictions.ndim != 2:
        raise UsageError(
            f"predictions have shape {predictions.shape}. Allowed: [N, E]. Stack one row per"
            " classifier."
        )
    for name, array, shape in (
        ("entropies", entropies, predictions.shape),
        ("labels", labels, predictions.shape[1:]),
        ("p_labels", p_labels, predictions.shape),
        ("in_train", in_train, predictions.shape),
        ("labels_true", labels_true, predictions.shape[1:]),
    ):
        if array is not None and np.shape(array) != shape:
            raise UsageError(
                f"{name} have shape {np.shape(array)}. Allowed: {shape}, as the predictions. Pass"
                " the same classifiers and examples."
            )


def _fixed_rows(values: NDArray[Any], columns: Ints) -> Floats:
    """Multiples of 2**-32 as whole float64 numbers below 2**36, [N, e]: a matrix product adds them
    exactly, in any order, up to 2**53."""
    return np.stack(
        [np.rint(np.asarray(row[columns], dtype=np.float64) * FIXED_ONE) for row in values]
    )


def _quality(chosen: Floats, wrong: Floats, p: Floats, held: Floats, n: int) -> Floats:
    """label_quality of each sub-population, [D, e]; see ``zoo.scores.accumulate``. All sums are of
    whole numbers, hence exact."""
    seen = chosen @ held
    use = seen > 0
    count = np.where(use, seen, n)
    misses = np.where(use, chosen @ (wrong * held), chosen @ wrong)
    mean_p = np.where(use, chosen @ (p * held), chosen @ p) / (count * FIXED_ONE)
    quality: Floats = 1.0 - (misses + 1.0 - mean_p) / (count + 1.0)
    return quality


def _band(values: Sequence[float]) -> dict[str, float]:
    x = np.asarray(values)
    x = x[~np.isnan(x)]
    if not len(x):
        return dict.fromkeys(("mean", "low", "high"), float("nan"))
    low, high = np.percentile(x, [5, 95])
    return {"mean": float(x.mean()), "low": float(low), "high": float(high)}


_CONVERGENCE_EXAMPLES = 5000


def convergence_table(workspace: Workspace, population: Population) -> pd.DataFrame:
    """How many classifiers are enough, by random parts of a population: rank correlation of X and C
    with the whole, and where true labels are known, AUROC of label_quality as the scores have it
    (held out where there are such classifiers)."""
    found = from_store.sample_answers(workspace, population, "train", _CONVERGENCE_EXAMPLES)
    total = len(population.classifiers)
    sizes = sorted(
        {
            n
            for n in (1, 2, 3, 5, 8, 12, 20, 30, 50, 75, 100, 150, 200, 300, 400, 500, 1000)
            if n < total
        }
        | {total}
    )
    return convergence(
        found.predictions,
        found.entropies,
        found.labels,
        sizes=sizes,
        key="convergence",
        labels_true=found.labels_true if (found.labels_true >= 0).any() else None,
        p_labels=found.p_labels,
        in_train=found.in_train,
    )
