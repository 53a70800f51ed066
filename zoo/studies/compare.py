"""Comparing classifiers and arms: accuracies on full and cleaned splits, similarities, intervals,
convergence of scores.

Shape letters: N classifiers, E examples, K classifiers compared, M classes, D draws.

A prediction of -1 is no answer (unreadable image): such an example is left out, of both sides where
two are compared.

Sources: 0/1 and prediction similarity: "Example perplexity and class label cleaning", section
3.2.2. Its sums run over i = 0..N with a factor 1/N, one term too many; read here as i = 1..N, so
that a classifier's similarity with itself is 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.arrays import Mask
from zoo.errors import UnknownNameError, UsageError
from zoo.statistics import mean_interval, paired_interval, same_length, welch_interval

__all__ = [
    "COMPARISON_COLUMNS",
    "acc1",
    "acc_real",
    "acc_within",
    "compare_arms",
    "evaluate",
    "metrics_for",
    "prediction_similarity",
    "shell_accuracies",
    "similarity_table",
    "zero_one_similarity",
]


# --------------------------------------------------------------------------------------- accuracies


def acc1(predictions: NDArray[Any], labels: NDArray[Any]) -> float:
    """Share of examples whose prediction is the label.

    Args:
        predictions: integer [E], -1 = no answer (left out).
        labels: integer [E], -1 = unknown (left out).

    Returns:
        0..1; NaN if nothing is left.
    """
    predictions, labels = same_length(predictions, labels)
    counted = (predictions >= 0) & (labels >= 0)
    return _share((predictions == labels) & counted, counted)


def acc_within(count: int, top5: NDArray[Any], labels: NDArray[Any]) -> float:
    """Share of examples whose label is among the ``count`` most probable classes (1 by definition
    for M <= count).

    Args:
        count: 1..5.
        top5: integer [E, 5], most probable first, -1 pads; a row of nothing but -1 is no answer
            (left out).
        labels: integer [E], -1 = unknown (left out).

    Returns:
        0..1; NaN if nothing is left.
    """
    top5, labels = np.asarray(top5), np.asarray(labels)
    if top5.ndim != 2 or labels.shape != top5.shape[:1]:
        raise UsageError(
            f"top5 has shape {top5.shape}, labels {labels.shape}. Allowed: [E, 5] and [E]. Pass"
            " answers of the same examples."
        )
    counted = (top5 >= 0).any(axis=1) & (labels >= 0)
    return _share((top5[:, :count] == labels[:, None]).any(axis=1) & counted, counted)


def acc_real(predictions: NDArray[Any], real: Mask) -> float:
    """Share of examples whose prediction is one of their ReaL labels (``zoo.data.real_mask``).

    Args:
        predictions: integer [E], -1 = no answer (left out).
        real: bool [E, M]; an example without any True has no such label (left out).

    Returns:
        0..1; NaN if nothing is left.
    """
    predictions, real = np.asarray(predictions), np.asarray(real, dtype=bool)
    if real.ndim != 2 or predictions.shape != real.shape[:1]:
        raise UsageError(
            f"predictions have shape {predictions.shape}, ReaL labels {real.shape}. Allowed: [E]"
            " and [E, M]. Pass answers of the same examples."
        )
    counted = (predictions >= 0) & real.any(axis=1)
    right = real[np.arange(len(real)), np.maximum(predictions, 0)]
    return _share(right & counted, counted)


def metrics_for(num_classes: int) -> tuple[str, ...]:
    """The accuracies that say something of M classes: acc2 stands beside acc5 below 50, where five
    guesses are many."""
    return ("acc1", "acc2", "acc5") if num_classes < 50 else ("acc1", "acc5")


def evaluate(
    predictions: NDArray[Any],
    top5: NDArray[Any],
    labels: NDArray[Any],
    subsets: Mapping[str, Mask] | None = None,
    real: Mask | None = None,
) -> pd.DataFrame:
    """acc1, acc2 and acc5 of one classifier on the full split and on subsets of it.

    Args:
        predictions, top5, labels: as ``acc1`` and ``acc_within``.
        real: as ``acc_real``, where the examples have ReaL labels.
        subsets: name -> bool [E], such as a cleaned split. ``full`` is always there, first.

    Returns:
        One row per set: on, n (examples counted), acc1, acc2, acc5; with ``real`` also real.

    Raises:
        UsageError: shapes that differ.
    """
    predictions, labels = same_length(predictions, labels)
    top5 = np.asarray(top5)
    rows = []
    for name, mask in {"full": np.ones(len(labels), dtype=bool), **(subsets or {})}.items():
        mask = np.asarray(mask, dtype=bool)
        if mask.shape != labels.shape:
            raise UsageError(
                f"subset {name!r} has shape {mask.shape}. Allowed: {labels.shape}, a bool per"
                " example. Align it by example_id."
            )
        p, t, y = predictions[mask], top5[mask], labels[mask]
        within = {f"acc{count}": acc_within(count, t, y) for count in (2, 5)}
        if real is not None:
            within["real"] = acc_real(p, real[mask])
        rows.append(
            {"on": name, "n": int(((p >= 0) & (y >= 0)).sum()), "acc1": acc1(p, y), **within}
        )
    return pd.DataFrame(rows).astype({"on": "str"})


def shell_accuracies(sizes: Sequence[int], accuracies: Sequence[float]) -> list[float]:
    """Accuracy on the shells between nested subsets, from the accuracies on the subsets alone.

    Stricter cleaning should leave easier examples, so shells should get harder outwards: if the
    outermost is not the hardest, scores and images are misaligned. (That alarm goes off on the
    paper's own table, see docs.)

    Args:
        sizes: examples in each subset, from the whole split inwards: strictly falling.
        accuracies: share of them predicted right, 0..1.

    Returns:
        One number per subset, in the same order: accuracy on what the next subset leaves out; for
            the last, its own.

    Raises:
        UsageError: lengths that differ, or sizes that do not fall.
    """
    if len(sizes) != len(accuracies) or any(inner >= outer for outer, inner in pairwise(sizes)):
        raise UsageError(
            f"sizes {list(sizes)} and {len(accuracies)} accuracies. Allowed: as many of both, sizes"
            " strictly falling. Give nested subsets, the whole split first."
        )
    right = [n * a for n, a in zip(sizes, accuracies, strict=True)] + [0.0]
    inner_sizes = [*sizes[1:], 0]
    return [(right[i] - right[i + 1]) / (sizes[i] - inner_sizes[i]) for i in range(len(sizes))]


def _share(hits: Mask, counted: Mask) -> float:
    n = int(counted.sum())
    return int(hits.sum()) / n if n else float("nan")


# ------------------------------------------------------------------------------------- similarities


def zero_one_similarity(
    predictions_a: NDArray[Any], predictions_b: NDArray[Any], labels: NDArray[Any]
) -> float:
    """Share of examples on which two classifiers are both right or both wrong.

    (1/E) sum_i 1[1[a_i = y_i] = 1[b_i = y_i]]; symmetric, 1 with itself, at most 1 - |acc_a -
    acc_b|.

    Args:
        predictions_a, predictions_b: integer [E], -1 = no answer (left out).
        labels: integer [E], -1 = unknown (left out).

    Returns:
        0..1; NaN if nothing is left.
    """
    a, b, y = same_length(predictions_a, predictions_b, labels)
    counted = (a >= 0) & (b >= 0) & (y >= 0)
    return _share(((a == y) == (b == y)) & counted, counted)


def prediction_similarity(
    predictions_a: NDArray[Any], predictions_b: NDArray[Any], labels: NDArray[Any]
) -> float:
    """Share of examples to which two classifiers give the same class.

    (1/E) sum_i 1[a_i = b_i]; symmetric, 1 with itself, at most the 0/1 similarity, at least (acc_a
    + acc_b - 1 + 0/1 similarity) / 2. These bounds hold because it is taken over the examples that
    the 0/1 similarity counts: those with a label, answered by both.

    Args and Returns as ``zero_one_similarity``.
    """
    a, b, y = same_length(predictions_a, predictions_b, labels)
    counted = (a >= 0) & (b >= 0) & (y >= 0)
    return _share((a == b) & counted, counted)


def similarity_table(predictions: Mapping[str, NDArray[Any]], labels: NDArray[Any]) -> pd.DataFrame:
    """Both similarities of every pair of named classifiers.

    Args:
        predictions: name -> integer [E].
        labels: integer [E].

    Returns:
        One row per ordered pair, the diagonal too (K * K rows): a, b, zero_one, prediction, and
        kappa, the 0/1 similarity beyond what the
        two accuracies alone give: (s - e) / (1 - e) with e = acc_a acc_b + (1 - acc_a)(1 - acc_b);
        NaN where e = 1. Higher accuracy by itself raises zero_one, not kappa.
    """
    arrays = dict(
        zip(predictions, same_length(np.asarray(labels), *predictions.values())[1:], strict=True)
    )
    y = np.asarray(labels)
    rows = []
    for a, of_a in arrays.items():
        for b, of_b in arrays.items():
            both = (of_a >= 0) & (of_b >= 0) & (y >= 0)
            accuracy_a, accuracy_b = (
                _share((of_a == y) & both, both),
                _share((of_b == y) & both, both),
            )
            similar = zero_one_similarity(of_a, of_b, y)
            by_chance = accuracy_a * accuracy_b + (1 - accuracy_a) * (1 - accuracy_b)
            kappa = (similar - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")
            rows.append(
                {
                    "a": a,
                    "b": b,
                    "zero_one": similar,
                    "prediction": prediction_similarity(of_a, of_b, y),
                    "kappa": kappa,
                }
            )
    return pd.DataFrame(rows, columns=["a", "b", "zero_one", "prediction", "kappa"]).astype(
        {"a": "str", "b": "str"}
    )


COMPARISON_COLUMNS: Final = (
    *("arm", "arch", "on", "metric", "mean", "low", "high", "n_seeds"),
    *("delta", "delta_low", "delta_high", "n_pairs", "method"),
)


def compare_arms(
    arms: pd.DataFrame, baseline: str = "baseline", *, metrics: Sequence[str] = ("acc1", "acc5")
) -> pd.DataFrame:
    """Mean of every arm over its seeds, and its difference to the baseline, each architecture by
    itself.

    Where an arm and the baseline have two seeds or more in common, the difference is paired over
    these: what a seed does to both cancels. Otherwise the means are compared as independent samples
    (Welch). ``mean`` is over all seeds of the arm, the difference over ``n_pairs`` of them.

    Args:
        arms: one row per arm, seed and (if there are such columns) architecture and evaluation set:
            arm, seed, the metrics; arch (default ``""``), on (default ``full``), n_train, n_unique,
            steps optional.
        baseline: the arm to compare with.
        metrics: columns to compare.

    Returns:
        One row per architecture, evaluation set, metric and arm, baseline first:
        ``COMPARISON_COLUMNS``. mean, low, high: 95 %, cut at 0 and
        1. delta: arm minus baseline, with its interval; NaN for the baseline itself. n_pairs: seeds
           the difference is paired over, 0 where
        it is not. method: how the difference was taken, and where the arm had another training
            budget than the baseline.

    Raises:
        UnknownNameError: no such baseline or column.
        UsageError: an arm has a seed twice on one evaluation set.
    """
    for column in ("arm", "seed", *metrics):
        if column not in arms:
            raise UnknownNameError("column of the arms table", column, map(str, arms.columns))
    frame = arms.assign(
        **{name: default for name, default in (("arch", ""), ("on", "full")) if name not in arms}
    )
    names = [str(name) for name in frame["arm"].unique()]
    if baseline not in names:
        raise UnknownNameError(
            "arm", baseline, names, "A comparison needs its baseline among the arms."
        )
    twice = frame[frame.duplicated(["arm", "arch", "on", "seed"])]
    if len(twice):
        row = twice.iloc[0]
        raise UsageError(
            f"arm {row['arm']!r} has seed {row['seed']} twice on {row['on']!r}. Allowed: one row"
            " per arm, architecture, seed and evaluation set. Drop the duplicates, or name the"
            " arms apart."
        )
    rows = []
    for (arch, on), there in frame.groupby(["arch", "on"], sort=False):
        groups = {
            str(name): group.set_index("seed") for name, group in there.groupby("arm", sort=False)
        }
        for metric in metrics:
            # stable: the rest in the order given
            for name in sorted(groups, key=lambda name: name != baseline):
                about = {"arm": name, "arch": str(arch), "on": str(on), "metric": metric}
                rows.append(about | _compare_one(groups[name], groups.get(baseline), metric))
                if name == baseline:
                    rows[-1] |= dict.fromkeys(
                        ("delta", "delta_low", "delta_high"), float("nan")
                    ) | {"n_pairs": 0, "method": "baseline"}
    texts = ("arm", "arch", "on", "metric", "method")
    return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS)).astype(dict.fromkeys(texts, "str"))


def _compare_one(arm: pd.DataFrame, baseline: pd.DataFrame | None, metric: str) -> dict[str, Any]:
    """Mean, interval, difference and method of one arm (indexed by seed) against the baseline; None
    = not measured on this set."""
    values = arm[metric].dropna()
    mean, low, high = mean_interval(values.to_numpy(dtype=np.float64))
    # A share lies in [0, 1], whatever an interval of two seeds says.
    facts: dict[str, Any] = {
        "mean": mean,
        "low": max(low, 0.0),
        "high": min(high, 1.0),
        "n_seeds": len(values),
    }
    nothing = dict.fromkeys(("delta", "delta_low", "delta_high"), float("nan"))
    reference = None if baseline is None else baseline[metric].dropna()
    if baseline is None or reference is None or not len(reference) or not len(values):
        return facts | nothing | {"n_pairs": 0, "method": "nothing to compare with"}
    common = values.index.intersection(reference.index)
    if len(common) >= 2 or (len(common) == 1 and min(len(values), len(reference)) == 1):
        delta = paired_interval(
            values.loc[common].to_numpy(dtype=np.float64),
            reference.loc[common].to_numpy(dtype=np.float64),
        )
        pairs, method = (
            len(common),
            (
                f"paired over {len(common)} seeds"
                if len(common) > 1
                else "one common seed: no interval"
            ),
        )
    else:
        delta = welch_interval(
            values.to_numpy(dtype=np.float64), reference.to_numpy(dtype=np.float64)
        )
        pairs, method = 0, "unpaired (Welch)" if not np.isnan(delta[1]) else "one seed: no interval"
    for budget in ("n_train", "steps"):
        if budget in arm and budget in baseline:
            mine, theirs = float(arm[budget].mean()), float(baseline[budget].mean())
            if mine != theirs and not np.isnan(mine) and not np.isnan(theirs):
                method += f"; {budget} {mine:.10g} against {theirs:.10g}"
    cut = (float(np.clip(bound, -1.0, 1.0)) for bound in delta)
    return facts | dict(zip(nothing, cut, strict=True)) | {"n_pairs": pairs, "method": method}
