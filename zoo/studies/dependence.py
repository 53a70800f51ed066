"""What X and C depend on: whether a classifier was trained on the example, its architecture, share
of the training set and epoch, the rest of the population, and the number of things in a picture.

Scores tables and arrays in, small tidy tables out (one row = one fact), as in
``zoo.studies.perplexity``, which has how they are distributed. Letters: N classifiers, E examples,
M classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.arrays import Floats
from zoo.errors import UsageError
from zoo.scores.suspects import score_values
from zoo.statistics import mean_interval, rank_correlation, rank_interval, wilson_interval

__all__ = [
    "agreement",
    "composite_shares",
    "gaps",
    "held_out",
    "in_sample",
    "last_snapshots",
    "main_effects",
    "rank_agreement",
    "vote_entropy",
]


# ---------------------------------------------------------------- in-sample and held out


def in_sample(scores: pd.DataFrame, classifiers: pd.DataFrame) -> pd.DataFrame:
    """How much of a training split's scores is of classifiers that were trained on the example.

    A training set of fraction f holds exactly that share of the examples, so the mean over the
    examples is the mean fraction of the classifiers, and no luck is in it. Which examples are in
    all training sets is luck: independent sets all hold an example with the product of their
    fractions.

    Args:
        classifiers: one row per classifier: fraction (of the training set), replica (which of the
            sets of that fraction).

    Returns:
        One row: n (examples), expected, mean_share, sd_share, min_share, max_share, seen_by_all
        (examples that no classifier held out), expected_seen_by_all.

    Raises:
        UsageError: if it is not known which classifiers saw which examples.
    """
    n, held = score_values(scores, "n"), score_values(scores, "n_heldout")
    scored = n > 0
    n, held = n[scored], held[scored]
    if not len(held) or np.isnan(held).any():
        raise UsageError(
            f"of {int(np.isnan(held).sum())} of {len(held)} examples it is not known which"
            " classifiers were trained on them. Allowed: scores of a training split by classifiers"
            " trained here, or imported with --in-train."
        )
    share = 1 - held / n
    sets = classifiers[["fraction", "replica"]].drop_duplicates()
    return pd.DataFrame(
        [
            {
                "n": len(share),
                "expected": classifiers["fraction"].astype("float64").mean(),
                "mean_share": share.mean(),
                "sd_share": share.std(),
                "min_share": share.min(),
                "max_share": share.max(),
                "seen_by_all": int((held == 0).sum()),
                "expected_seen_by_all": len(share)
                * float(np.prod(sets["fraction"].to_numpy(float))),
            }
        ]
    )


def _bits(scores: pd.DataFrame) -> tuple[Floats, Floats]:
    """Mean entropy over the held-out and over the in-sample classifiers, float64 [E], NaN where
    there are none. The second follows from C over all and over the held-out ones."""
    n, held = score_values(scores, "n"), np.nan_to_num(score_values(scores, "n_heldout"))
    whole, outside = (
        np.log2(score_values(scores, f"c_{name}")) for name in ("perplexity", "heldout")
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        rest = np.where(held > 0, held * np.nan_to_num(outside), 0.0)
        inside = np.where(held < n, np.maximum(n * whole - rest, 0) / (n - held), np.nan)
    return outside, inside


def held_out(scores: pd.DataFrame) -> pd.DataFrame:
    """X and C of the same examples over the classifiers that saw them and over those that did not.

    Only examples with both kinds of classifiers, so that the means are of the same examples.

    Returns:
        measure (x | c), of (all | in-sample | held out | gap), mean, low and high (its 95 %
        interval over the examples), q05 and q95 (percentiles of the examples), n. C is averaged as
        2 ** (mean bits over the examples), its gap is in bits: log2 of the ratio.
    """
    seen, unseen = (score_values(scores, f"x_{name}") for name in ("insample", "heldout"))
    bits_unseen, bits_seen = _bits(scores)
    both = np.isfinite(seen) & np.isfinite(unseen)
    x = {"all": score_values(scores, "x_perplexity"), "in-sample": seen, "held out": unseen}
    bits = {
        "all": np.log2(score_values(scores, "c_perplexity")),
        "in-sample": bits_seen,
        "held out": bits_unseen,
    }
    rows = []
    for measure, parts in (("x", x), ("c", bits)):
        parts["gap"] = parts["held out"] - parts["in-sample"]
        for part, values in parts.items():
            own = values[both]
            found = (
                [*mean_interval(own), *np.percentile(own, (5, 95))] if len(own) else [np.nan] * 5
            )
            if measure == "c" and part != "gap":
                found = np.exp2(found).tolist()
            rows.append((measure, part, *map(float, found), len(own)))
    columns = ["measure", "of", "mean", "low", "high", "q05", "q95", "n"]
    return pd.DataFrame(rows, columns=columns)


def gaps(scores: pd.DataFrame) -> pd.DataFrame:
    """The gap of each example, held-out minus in-sample X, as a histogram of twenty bins on
    [-1, 1]: bin, low, high, n, share. High: the label was learned by heart, nothing else says
    it."""
    gap = score_values(scores, "x_heldout") - score_values(scores, "x_insample")
    gap = gap[np.isfinite(gap)]
    edges = np.round(np.linspace(-1, 1, 21), 10)
    # an exact multiple of a tenth belongs to the bin that it begins, however it was rounded
    n, _ = np.histogram(np.clip(np.round(gap, 12), -1, 1), bins=edges)
    share = n / max(len(gap), 1)
    return pd.DataFrame(
        {"bin": np.arange(20), "low": edges[:-1], "high": edges[1:], "n": n, "share": share}
    )


# ---------------------------------------------------------------- what they depend on


def main_effects(
    classifiers: pd.DataFrame, factors: Sequence[str] = ("arch", "fraction", "epoch")
) -> pd.DataFrame:
    """How the mean of X and C depends on architecture, fraction and epoch.

    Args:
        classifiers: one row per classifier with the factors, ``error`` and ``entropy``
            (``zoo.scores.marginals.classifier_means``).

    Returns:
        One row per level: factor, level (text), n (classifiers), mean_x, mean_c (2 ** mean bits),
        effect_x and effect_bits (minus the mean over all), share_x and share_c (of the variance
        between classifiers, what the factor alone explains: eta squared; the same for all levels of
        a factor). Levels in ascending order; architectures by mean_x.
    """
    bits = classifiers["entropy"].to_numpy(np.float64)
    error = classifiers["error"].to_numpy(np.float64)
    rows = []
    for factor in factors:
        levels = classifiers[factor]
        found = []
        for level in sorted(levels.dropna().unique()):
            own = (levels == level).fillna(value=False).to_numpy(dtype=bool)
            found.append((level, int(own.sum()), error[own].mean(), bits[own].mean()))
        between_x, between_c = (
            sum(n * (value - whole.mean()) ** 2 for _, n, value, whole in part)
            for part in (
                [(k, n, x, error) for k, n, x, _ in found],
                [(k, n, b, bits) for k, n, _, b in found],
            )
        )
        whole_x, whole_c = (float(((v - v.mean()) ** 2).sum()) for v in (error, bits))
        if factor == "arch":
            found.sort(key=lambda row: (row[2], row[0]))
        rows += [
            {
                "factor": factor,
                "level": f"{level:g}" if isinstance(level, float) else str(level),
                "n": n,
                "mean_x": x,
                "mean_c": 2.0**b,
                "effect_x": x - error.mean(),
                "effect_bits": b - bits.mean(),
                "share_x": between_x / whole_x if whole_x else np.nan,
                "share_c": between_c / whole_c if whole_c else np.nan,
            }
            for level, n, x, b in found
        ]
    return pd.DataFrame(rows)


# ---------------------------------------------------------------- agreement


def last_snapshots(classifiers: pd.DataFrame) -> list[str]:
    """The last snapshot of each training: the parent project's "fast mode", a population of one
    classifier per training.

    Args:
        classifiers: columns classifier_id, training_id, epoch.
    """
    of = classifiers["training_id"].fillna(classifiers["classifier_id"])  # imported ones have none
    last = classifiers.sort_values("epoch").groupby(of)["classifier_id"].last()
    return sorted(str(name) for name in last)


def agreement(scores: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """How well two populations agree on the same examples, joined by example id.

    Returns:
        measure, value: ``spearman_x`` and ``spearman_c`` (rank correlation), ``mean_change_x`` and
        ``mean_change_c`` (mean absolute difference), ``same_top`` (share of the examples with the
        same top confusion), ``overlap_a`` and ``overlap_b`` (of the examples in set A, X > .95, and
        B, also C < 2, of either population, the share in both; null where both are empty),
        ``n`` (examples).
    """
    joined = scores.merge(other, on="example_id", suffixes=("", "_other"))
    if not len(joined):
        raise UsageError(
            f"the two populations share no example ({len(scores)} and {len(other)} are scored)."
            " Allowed: scores of the same split. Score both on one split."
        )
    x, c, top = (
        (score_values(joined, name), score_values(joined, f"{name}_other"))
        for name in ("x_perplexity", "c_perplexity", "top_confusion")
    )
    known_x, known_c, known_top = (np.isfinite(a) & np.isfinite(b) for a, b in (x, c, top))
    in_a = [values > 0.95 for values in x]
    in_b = [a & (values < 2) for a, values in zip(in_a, c, strict=True)]
    return pd.DataFrame(
        [
            ("n", float(len(joined))),
            ("spearman_x", _spearman(x[0][known_x], x[1][known_x])),
            ("spearman_c", _spearman(c[0][known_c], c[1][known_c])),
            ("mean_change_x", _mean(np.abs(x[0] - x[1])[known_x])),
            ("mean_change_c", _mean(np.abs(c[0] - c[1])[known_c])),
            ("same_top", _mean((top[0] == top[1])[known_top])),
            ("overlap_a", _overlap(*in_a)),
            ("overlap_b", _overlap(*in_b)),
        ],
        columns=["measure", "value"],
    )


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _spearman(one: Floats, other: Floats) -> float:
    return rank_correlation(one, other) if len(one) else float("nan")


def _overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    either = int((one | other).sum())
    return int((one & other).sum()) / either if either else float("nan")


def rank_agreement(
    scores: pd.DataFrame, column: str, other: pd.DataFrame, other_column: str
) -> pd.DataFrame:
    """Spearman's rank correlation of two columns over the same examples, joined by example id, with
    its 95 % interval: one row of value, low, high, n. Of C and the entropy of human labels, or of C
    by populations trained on clean and on noisy labels (claim S2.11)."""
    joined = scores[["example_id", column]].merge(
        other[["example_id", other_column]], on="example_id", suffixes=("", "_other")
    )
    one, two = (score_values(joined, str(name)) for name in joined.columns[1:3])
    known = np.isfinite(one) & np.isfinite(two)
    value, low, high = rank_interval(one[known], two[known])
    return pd.DataFrame([{"value": value, "low": low, "high": high, "n": int(known.sum())}])


def vote_entropy(votes: NDArray[Any]) -> Floats:
    """Entropy of the labels that people gave each example, in bits, float64 [E]; NaN where nobody
    voted.

    Args:
        votes: integer or float [E, M], how many gave each class.
    """
    votes = np.asarray(votes, dtype=np.float64)
    total = votes.sum(axis=1, keepdims=True)
    p = np.divide(votes, total, out=np.full_like(votes, np.nan), where=total > 0)
    logs = np.log2(p, out=np.zeros_like(p), where=p > 0)
    return np.asarray(-(p * logs).sum(axis=1) + 0.0)


def composite_shares(
    composites: pd.DataFrame, parents: pd.DataFrame, pairs: pd.DataFrame
) -> pd.DataFrame:
    """How often a picture made of halves of two others has a C above both.

    Args:
        composites: scores table of the composites.
        parents: scores table of the pictures they were made of.
        pairs: example_id (of the composite), left, right (example ids of its parents), kind.

    Returns:
        One row per kind: kind, n, n_above, share, low, high (Wilson's 95 % interval), mean_c (of
        the composites, 2 ** mean bits), mean_c_parents.
    """
    c = composites.set_index("example_id")["c_perplexity"]
    of = parents.set_index("example_id")["c_perplexity"]
    table = pairs.assign(
        c=c.reindex(pairs["example_id"]).to_numpy(np.float64),
        left_c=of.reindex(pairs["left"]).to_numpy(np.float64),
        right_c=of.reindex(pairs["right"]).to_numpy(np.float64),
    ).dropna(subset=["c", "left_c", "right_c"])
    rows = []
    for kind, own in table.groupby("kind", sort=True):
        parents_c = own[["left_c", "right_c"]]
        above = int((own["c"] > parents_c.max(axis=1)).sum())
        low, high = wilson_interval(above, len(own))
        rows.append(
            {
                "kind": str(kind),
                "n": len(own),
                "n_above": above,
                "share": above / len(own),
                "low": low,
                "high": high,
                "mean_c": float(np.exp2(np.log2(own["c"]).mean())),
                "mean_c_parents": float(np.exp2(np.log2(parents_c.to_numpy()).mean())),
            }
        )
    columns = ["kind", "n", "n_above", "share", "low", "high", "mean_c", "mean_c_parents"]
    return pd.DataFrame(rows, columns=columns)
