"""How X and C are distributed, over examples and over classes, and which examples lie at the
corners of their plane; what they depend on is in ``zoo.studies.dependence``.

Scores tables and arrays in, small tidy tables out (one row = one fact); nothing is read or drawn
here. A *scores table* has the columns of ``zoo.scores.catalog``. Letters: N classifiers, E
examples, M classes.

Published numbers stand beside the measured ones where there are some, under ``source`` or in a
column ``published``: of the paper "Example perplexity and class label cleaning", digitised from its
figure 1 (about +-.005), and of a later study on the same population of 500 classifiers (its
quantiles of C on the training images). They are of ImageNet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.arrays import Floats, Ints
from zoo.scores.catalog import X_BINS, Listed
from zoo.scores.marginals import ClassConfusion
from zoo.scores.suspects import planted_errors, score_values

__all__ = [
    "CORNERS",
    "PUBLISHED_SHARES",
    "class_perplexity",
    "confusion_lists",
    "confusion_pairs",
    "corner_examples",
    "distributions",
    "joint_density",
    "label_bins",
    "published_distributions",
    "shown_examples",
    "summary",
]


# ---------------------------------------------------------------- distributions (figure 1)

N_BINS: Final = 10
"""The paper's figure 1 has ten equal bins."""

PUBLISHED_SHARES: Final[Mapping[tuple[str, str], tuple[float, ...]]] = {
    ("train", "x"): (0.466, 0.145, 0.098, 0.072, 0.057, 0.047, 0.036, 0.031, 0.031, 0.016),
    ("test", "x"): (0.370, 0.118, 0.081, 0.061, 0.053, 0.049, 0.045, 0.045, 0.053, 0.126),
    ("train", "c"): (0.965, 0.03),
    ("test", "c"): (0.86, 0.10),
}
"""(split, measure) -> share of each of the ten bins, as far as it can be read off figure 1. The
paper's validation set is called ``test``, as ImageNet's is here."""

_PUBLISHED_LARGEST_C: Final = {"train": 51.752, "test": 37.0}

_PUBLISHED: Final[Mapping[tuple[str, str, str], float]] = {
    ("train", "c", "mean"): 2.1746,
    ("train", "c", "sd"): 1.7979,
    ("train", "c", "q25"): 1.1497,
    ("train", "c", "q30"): 1.2091,
    ("train", "c", "q50"): 1.5589,
    ("train", "c", "q75"): 2.4274,
    ("train", "c", "q90"): 3.98,
    ("train", "c", "max"): 51.752,
    ("train", "x", "share_of_0"): 0.063,
}
_QUANTILES: Final = (25, 30, 50, 75, 90)


def distributions(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Histograms of X on [0, 1] and C on [1, max], ten equal bins each, per split. The last bin is
    closed on both sides.

    Source: the paper's figure 1.

    Returns:
        One row per split, measure and bin: split, measure (x | c), bin (0..9), low, high, n, share
            (sums to 1), density (integrates to 1).
    """
    rows: list[pd.DataFrame] = []
    for split, table in scores.items():
        for measure in ("x", "c"):
            values = score_values(table, f"{measure}_perplexity")
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            top = 1.0 if measure == "x" else max(float(values.max()), 1.0 + 1e-6)
            edges = np.linspace(0.0 if measure == "x" else 1.0, top, N_BINS + 1)
            # C comes from a float32 mean and may lie a rounding error below 1.
            counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), bins=edges)
            rows.append(_bins(split, measure, edges, counts, counts / counts.sum()))
    return pd.concat(rows, ignore_index=True) if rows else _bins("", "", np.zeros(1), [], [])


def published_distributions() -> pd.DataFrame:
    """``PUBLISHED_SHARES`` in the form of ``distributions``; ``n`` is null."""
    rows = []
    for (split, measure), shares in PUBLISHED_SHARES.items():
        low, high = (0.0, 1.0) if measure == "x" else (1.0, _PUBLISHED_LARGEST_C[split])
        edges = np.linspace(low, high, N_BINS + 1)[: len(shares) + 1]
        rows.append(_bins(split, measure, edges, [None] * len(shares), shares))
    return pd.concat(rows, ignore_index=True)


def _bins(split: str, measure: str, edges: Floats, n: Any, shares: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "split": pd.array([split] * (len(edges) - 1), dtype="str"),
            "measure": pd.array([measure] * (len(edges) - 1), dtype="str"),
            "bin": np.arange(len(edges) - 1),
            "low": edges[:-1],
            "high": edges[1:],
            "n": pd.array(n, dtype="Int64"),
            "share": np.asarray(shares, dtype=np.float64),
            "density": np.asarray(shares, dtype=np.float64) / np.diff(edges),
        }
    )


def summary(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Mean, sd, quantiles and extremes of X and C per split.

    Returns:
        split, measure (x | c), statistic (mean, sd, q25 ... q90, max; of X also share_of_0 and
        share_of_1), value, published (null where nothing is).
    """
    rows = []
    for split, table in scores.items():
        for measure in ("x", "c"):
            values = score_values(table, f"{measure}_perplexity")
            values = values[np.isfinite(values)]
            if not len(values):
                continue
            found = {"mean": values.mean(), "sd": values.std(ddof=1) if len(values) > 1 else np.nan}
            found |= {f"q{q}": np.percentile(values, q) for q in _QUANTILES}
            found["max"] = values.max()
            if measure == "x":
                found |= {"share_of_0": (values == 0).mean(), "share_of_1": (values == 1).mean()}
            rows += [
                (split, measure, name, float(value), _PUBLISHED.get((split, measure, name)))
                for name, value in found.items()
            ]
    columns = ["split", "measure", "statistic", "value", "published"]
    return pd.DataFrame(rows, columns=columns).astype({"published": "float64"})


def label_bins(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How many examples fall into each of the 12 bins of X (``x_bin``): split, bin, n, share of
    those with a label and an answer. All twelve are listed."""
    rows = []
    for split, table in scores.items():
        counts = table["x_bin"].value_counts()
        n = np.array([int(counts.get(name, 0)) for name in X_BINS])
        share = n / max(int(n.sum()), 1)
        rows.append(pd.DataFrame({"split": split, "bin": list(X_BINS), "n": n, "share": share}))
    return pd.concat(rows, ignore_index=True)


MAX_DENSITY_BINS: Final = 48


def joint_density(scores: pd.DataFrame, bins: int = MAX_DENSITY_BINS) -> pd.DataFrame:
    """Density of examples over X and C: one row per cell that is not empty.

    Bins of X hold whole levels of the N + 1 that X can take, so that no bin is fuller only because
    two levels fall into it; bins of C are equal steps of log C.

    Returns:
        x_low, x_high, c_low, c_high, n.
    """
    x, c = (score_values(scores, f"{name}_perplexity") for name in ("x", "c"))
    known = np.isfinite(x) & np.isfinite(c)
    x, c = np.clip(x[known], 0, 1), np.maximum(c[known], 1.0)
    if not len(x):
        return pd.DataFrame({name: [] for name in ("x_low", "x_high", "c_low", "c_high", "n")})
    levels = max(int(scores["n"].max()), 1) + 1
    per_bin = -(-levels // bins)
    n_x = -(-levels // per_bin)
    x_edges = (np.arange(n_x + 1) * per_bin - 0.5) / (levels - 1)
    x_edges[-1] = 1 + 0.5 / (levels - 1)
    c_edges = np.geomspace(1.0, max(float(c.max()) * (1 + 1e-9), 1.05), bins + 1)
    counts, _, _ = np.histogram2d(x, c, bins=(x_edges, c_edges))
    at_x, at_c = np.nonzero(counts)
    return pd.DataFrame(
        {
            "x_low": x_edges[at_x],
            "x_high": x_edges[at_x + 1],
            "c_low": c_edges[at_c],
            "c_high": c_edges[at_c + 1],
            "n": counts[at_x, at_c].astype(np.int64),
        }
    )


# ---------------------------------------------------------------- examples (figure 2)

CORNERS: Final[Mapping[str, tuple[float, float]]] = {
    "mislabelled-looking": (1, 0),
    "hard": (1, 1),
    "easy": (0, 0),
    "ambiguous": (0, 1),
}
"""Corner of the X-C plane -> (X, log C), both scaled to 0..1 of what was seen."""


def corner_examples(scores: pd.DataFrame, per_corner: int = 1) -> pd.DataFrame:
    """Examples by rule instead of by hand: of each quarter of the X-C plane, those nearest to its
    corner.

    X as it is and log C, divided by the largest log C seen (at least that of two classes: below
    nothing is ambiguous); a quarter is X and scaled log C on their side of .5; nearest in the
    Euclidean sense, ties by lower example id. The paper's figure 2 shows three of these corners:
    low C and high X (minivan, ear), both high (fig), both low (fireboat).

    Returns:
        corner, rank (1..per_corner), row (position in ``scores``); corners in the order of
        ``CORNERS``. A quarter without examples is absent.
    """
    x, c = (score_values(scores, f"{name}_perplexity") for name in ("x", "c"))
    known = np.isfinite(x) & np.isfinite(c)
    log_c = np.log(np.maximum(c, 1.0, where=known, out=np.ones_like(c)))
    log_c /= np.log(max(float(c[known].max(initial=1.0)), 2.0))
    ids = scores["example_id"].to_numpy(np.int64)
    parts = []
    for corner, (at, log_at) in CORNERS.items():
        # Only of its own quarter: among few examples the nearest to "hard" may be an easy one.
        own = np.flatnonzero(known & ((x >= 0.5) == bool(at)) & ((log_c >= 0.5) == bool(log_at)))
        distance = (x[own] - at) ** 2 + (log_c[own] - log_at) ** 2
        nearest = own[np.lexsort((ids[own], distance))][:per_corner]
        ranks = np.arange(1, len(nearest) + 1)
        parts.append(pd.DataFrame({"corner": corner, "rank": ranks, "row": nearest}))
    return pd.concat(parts, ignore_index=True).astype({"corner": "str"})


def shown_examples(
    scores: pd.DataFrame, class_names: Sequence[str], per_corner: int = 4
) -> pd.DataFrame:
    """``corner_examples`` with what the paper's figure 2 says of each: corner, rank, example_id,
    key, label_name, c, x, top_name (top confusion), top_share (its share of the votes),
    known_error (null where the truth is not known)."""
    chosen = corner_examples(scores, per_corner)
    rows = scores.iloc[chosen["row"].to_numpy()].reset_index(drop=True)
    planted = planted_errors(scores)
    wrong: Any = pd.array([None] * len(rows), dtype="boolean")
    if planted is not None:
        known = np.isfinite(score_values(rows, "label_true"))
        wrong[known] = planted[chosen["row"].to_numpy()][known]
    return pd.DataFrame(
        {
            "corner": chosen["corner"],
            "rank": chosen["rank"],
            "example_id": rows["example_id"],
            "key": rows["key"],
            "label_name": _names(class_names, score_values(rows, "label")),
            "c": score_values(rows, "c_perplexity"),
            "x": score_values(rows, "x_perplexity"),
            "top_name": _names(class_names, score_values(rows, "top_confusion")),
            "top_share": score_values(rows, "top_confusion_share"),
            "known_error": wrong,
        }
    )


def confusion_lists(
    scores: pd.DataFrame,
    class_names: Sequence[str],
    rows: Sequence[int] | Ints,
    exact: Listed | None = None,
) -> pd.DataFrame:
    """The top-five confusions of some examples with their indices.

    X-confusion index of a class: its share of the votes. C-confusion index: mean over the
    classifiers of -p log2 p of the class; over all classes these sum to log2 C.

    Args:
        rows: positions in ``scores``.
        exact: ``zoo.scores.from_store.entropy_classes`` of the same examples; None = the lists of
            the scores table, which know each classifier's five most probable classes only.

    Returns:
        example_id, kind (x | c), rank (1..5), class_name, index.
    """
    found = []
    for row in rows:
        example = scores.iloc[row]
        votes = [(item["class"], item["votes"] / example["n"]) for item in example["top5_x"]]
        bits = (
            [(item["class"], item["value"]) for item in example["top5_c"]]
            if exact is None
            else [
                (int(k), float(v))
                for k, v in zip(exact.classes[row], exact.values[row], strict=True)
                if k >= 0
            ]
        )
        found += [
            (int(example["example_id"]), kind, rank, class_names[k], float(index))
            for kind, listed in (("x", votes), ("c", bits))
            for rank, (k, index) in enumerate(listed, 1)
        ]
    return pd.DataFrame(found, columns=["example_id", "kind", "rank", "class_name", "index"])


# ---------------------------------------------------------------- classes


def class_perplexity(scores: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Perplexity of a class: the mean over its examples.

    Returns:
        One row per class that has examples: class, class_name, n, mean_x, mean_c, mean_x_heldout,
        mean_c_heldout (NaN where nothing was held out).
    """
    columns = ("x_perplexity", "c_perplexity", "x_heldout", "c_heldout")
    work = pd.DataFrame({name: score_values(scores, name) for name in columns})
    label = score_values(scores, "label")
    grouped = work[label >= 0].groupby(label[label >= 0])
    table = grouped.mean().rename(columns=lambda name: f"mean_{name.removesuffix('_perplexity')}")
    classes = table.index.to_numpy(np.int64)
    table.insert(0, "n", grouped.size().to_numpy())
    table.insert(0, "class_name", [class_names[k] for k in classes.tolist()])
    table.insert(0, "class", classes)
    return table.reset_index(drop=True)


def confusion_pairs(
    scores: pd.DataFrame, class_names: Sequence[str], confusion: ClassConfusion
) -> pd.DataFrame:
    """Which class the examples of a class are taken for, most frequent first.

    Returns:
        One row per pair of a label and another class that got a vote: label_name, other_name, n
        (examples of the label whose top confusion is the other), share (of the label's examples),
        x_index (share of all answers to them that say the other: the mean X-confusion index),
        c_index (mean C-confusion index of the other; NaN where not all logits were kept).
    """
    label, top = (score_values(scores, name) for name in ("label", "top_confusion"))
    known = (label >= 0) & (top >= 0)
    counts = np.zeros(confusion.votes.shape, dtype=np.int64)
    np.add.at(counts, (label[known].astype(int), top[known].astype(int)), 1)
    votes = confusion.votes
    at_label, at_other = np.nonzero(votes - np.diag(np.diag(votes)))
    n, of = counts[at_label, at_other], np.maximum(counts.sum(axis=1), 1)[at_label]
    index = votes[at_label, at_other] / votes.sum(axis=1)[at_label]
    order = np.lexsort((at_other, at_label, -index, -n))
    return (
        pd.DataFrame(
            {
                "label_name": _names(class_names, at_label),
                "other_name": _names(class_names, at_other),
                "n": n,
                "share": n / of,
                "x_index": index,
                "c_index": (
                    np.nan if confusion.surprise is None else confusion.surprise[at_label, at_other]
                ),
            }
        )
        .iloc[order]
        .reset_index(drop=True)
    )


def _names(class_names: Sequence[str], classes: NDArray[Any]) -> list[str | None]:
    return [class_names[int(k)] if k >= 0 else None for k in classes]
