"""The table of each figure: one row, one fact. Draws nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo.scores.suspects import planted_errors, suspects
from zoo.studies.perplexity import corner_examples, distributions, joint_density

__all__ = [
    "COLUMNS",
    "KNOWN",
    "baselines",
    "tabulate_arm_accuracy",
    "tabulate_contact_sheet",
    "tabulate_convergence",
    "tabulate_detection",
    "tabulate_per_class",
    "tabulate_perplexity_histograms",
    "tabulate_population",
    "tabulate_xc_plane",
]


COLUMNS = {
    "perplexity_histograms": ("split", "measure", "bin", "low", "high", "n", "share", "density"),
    "xc_plane": (
        "kind",
        "corner",
        "example_id",
        "label_name",
        "top_name",
        "x",
        "c",
        "x_low",
        "x_high",
        "c_low",
        "c_high",
        "n",
    ),
    "contact_sheet": (
        "rank",
        "example_id",
        "key",
        "label_name",
        "top_name",
        "x",
        "n",
        "heldout",
        "c",
        "label_quality",
    ),
    "per_class": (
        "rank",
        "class",
        "class_name",
        "n",
        "mean_x",
        "mean_c",
        "confused_with",
        "confused_n",
    ),
    "arm_accuracy": (
        "arm",
        "note",
        "on",
        "metric",
        "seed",
        "n_seeds",
        "value",
        "low",
        "high",
        "delta",
        "delta_low",
        "delta_high",
    ),
    "convergence": ("measure", "n", "mean", "low", "high"),
    "population": (
        "arch",
        "fraction",
        "epoch",
        "n",
        "train_acc1",
        "test_acc1",
        "test_acc5",
        "test_low",
        "test_high",
    ),
    "detection": (
        "score",
        "auroc",
        "average_precision",
        "precision_at_n",
        "recall_at_n",
        "fnr_at_n",
        "n_errors",
        "chance",
        "auroc_low",
        "auroc_high",
        "average_precision_low",
        "average_precision_high",
    ),
}
"""figure -> the columns of its table; ``tabulate_NAME`` gives exactly these, and those of ``KNOWN``
where there is something to say in them."""

KNOWN = {
    "xc_plane": ("known_error",),
    "contact_sheet": ("known_error",),
    "per_class": ("n_known_errors", "known_error_share"),
}
"""figure -> the columns that its table has as well where some label is known to be wrong."""

MAX_ERROR_POINTS = 1000  # more circles than this hide the density they lie on


def tabulate_perplexity_histograms(scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """``zoo.studies.perplexity.distributions``."""
    return _stack([distributions(scores)], COLUMNS["perplexity_histograms"])


def tabulate_xc_plane(scores: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Density of examples over X and C, the known label errors as points, and of each quarter the
    example nearest to its corner.

    The bins are those of ``zoo.studies.perplexity.joint_density``, the corners those of its
    ``corner_examples``.

    Returns:
        Rows of three kinds (column ``kind``): ``density`` (x_low, x_high, c_low, c_high, n),
        ``known_error`` (example_id, x, c, names) and ``corner`` (the same with ``corner``). At most
        1000 rows of known errors, evenly thinned; their ``n`` is the number they stand for. Column
        ``known_error`` (null where the truth is not known) only where some label is known to be
        wrong.
    """
    columns = COLUMNS["xc_plane"]
    density = joint_density(scores)
    if density.empty:
        return _stack([], columns)
    parts = [density.assign(kind="density")]
    wrong = planted_errors(scores)
    if wrong is not None:
        columns = (*columns, *KNOWN["xc_plane"])
        placed = np.isfinite(scores[["x_perplexity", "c_perplexity"]].to_numpy(np.float64))
        rows = np.flatnonzero(wrong & placed.all(axis=1))
        shown = rows[:: max(1, -(-len(rows) // MAX_ERROR_POINTS))]
        parts.append(
            _named_points(scores, shown, class_names, wrong).assign(kind="known_error", n=len(rows))
        )
    corners = corner_examples(scores)
    parts.append(
        _named_points(scores, corners["row"].to_numpy(), class_names, wrong).assign(
            kind="corner", corner=corners["corner"], n=1
        )
    )
    return _stack(parts, columns)


def tabulate_contact_sheet(
    scores: pd.DataFrame, class_names: Sequence[str], limit: int = 40
) -> pd.DataFrame:
    """The suspects, in the order of ``zoo.scores.suspects``.

    Returns:
        At most ``limit`` rows: rank (1..), example_id, key, label_name, top_name (the class
        suggested instead; empty if no other has a vote), x and n (X over the classifiers that
        ranked it, and how many), heldout (whether these are held out; null where that is not
        known), c, label_quality; where some label is known to be wrong, known_error (null where the
        truth is not known).
    """
    columns = COLUMNS["contact_sheet"]
    listed = suspects(scores, limit)
    if listed.empty:
        return _stack([], columns)
    table = pd.DataFrame(
        {
            "rank": np.arange(1, len(listed) + 1),
            "example_id": listed["example_id"].to_numpy(np.int64),
            "key": _plain_strings(listed["key"]),
            "label_name": _names(class_names, listed["label"].to_numpy(np.int64)),
            "top_name": _plain_strings(
                listed["suggested"].map(
                    lambda label: _names(class_names, np.array([label]))[0], na_action="ignore"
                )
            ),
            "x": listed["ranked_x"].to_numpy(np.float64),
            "n": listed["ranked_n"].astype("Int64"),
            "heldout": listed["heldout"],
            "c": listed["c_perplexity"].to_numpy(np.float64),
            "label_quality": listed["label_quality"].to_numpy(np.float64),
        }
    )
    if "planted" in listed:
        table, columns = (
            table.assign(known_error=listed["planted"]),
            (
                *columns,
                *KNOWN["contact_sheet"],
            ),
        )
    return _stack([table], columns)


def tabulate_per_class(scores: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """All classes by mean X, worst first.

    Returns:
        One row per class that has examples: rank, class, class_name, n, mean_x, mean_c,
        confused_with (the other class most often voted for an example of this label; empty if
        none), confused_n; n_known_errors and known_error_share where some label is known to be
        wrong.
    """
    columns = COLUMNS["per_class"]
    if scores.empty:
        return _stack([], columns)
    wrong = planted_errors(scores)
    work = pd.DataFrame(
        {
            "class": scores["label"].to_numpy(np.int64),
            "x": scores["x_perplexity"].to_numpy(np.float64),
            "c": scores["c_perplexity"].to_numpy(np.float64),
            "top": scores["top_confusion"].to_numpy(np.float64),
            "wrong": np.zeros(len(scores)) if wrong is None else wrong.astype(np.float64),
        }
    )
    grouped = work.groupby("class", sort=True)
    table = grouped.agg(
        n=("x", "size"), mean_x=("x", "mean"), mean_c=("c", "mean"), n_known_errors=("wrong", "sum")
    ).reset_index()
    others = work[np.isfinite(work["top"]) & (work["top"] != work["class"])]
    votes = others.groupby(["class", "top"]).size().reset_index(name="confused_n")
    votes = votes.sort_values(
        ["class", "confused_n", "top"], ascending=[True, False, True]
    ).drop_duplicates("class")
    table = table.merge(votes, on="class", how="left")
    names = _names(class_names, table["class"].to_numpy(np.int64))
    has_other = np.isfinite(table["top"].to_numpy(np.float64))
    other = _names(
        class_names, np.where(has_other, table["top"].to_numpy(np.float64), 0).astype(np.int64)
    )
    table = table.assign(
        class_name=names,
        confused_with=[name if shown else "" for name, shown in zip(other, has_other, strict=True)],
        confused_n=table["confused_n"].fillna(0).astype(np.int64),
        known_error_share=table["n_known_errors"] / table["n"],
    )
    if wrong is not None:
        columns = (*columns, *KNOWN["per_class"])
    table = table.sort_values(["mean_x", "class"], ascending=[False, True], ignore_index=True)
    return _stack([table.assign(rank=np.arange(1, len(table) + 1))], columns)


def told_apart(table: pd.DataFrame, comparisons: pd.DataFrame) -> pd.DataFrame:
    """A table of arms in which a name is one arm of one network and group: ``cleaned (mlp)`` where
    ``comparisons`` has several of these."""
    several = [
        name
        for name in ("arch", "arm_group")
        if name in comparisons and len(set(comparisons[name])) > 1
    ]
    if not several:
        return table
    more = table[several].astype(str).agg(", ".join, axis=1)
    return table.assign(arm=table["arm"].astype(str) + " (" + more + ")")


def baselines(comparisons: pd.DataFrame) -> dict[str, str]:
    """Which arm each arm is compared with, by their names in ``told_apart``: of its network and
    group, the one called ``baseline``, else the first."""
    keys = [name for name in ("arm_group", "arch") if name in comparisons]
    groups = [mine for _, mine in comparisons.groupby(keys, sort=False)] if keys else [comparisons]
    found: dict[str, str] = {}
    for mine in groups:
        plain, names = (
            [str(name) for name in frame["arm"]] for frame in (mine, told_apart(mine, comparisons))
        )
        first = names[plain.index("baseline") if "baseline" in plain else 0]
        found |= dict.fromkeys(names, first)
    return found


def tabulate_arm_accuracy(
    comparisons: pd.DataFrame, arms: pd.DataFrame | None = None, metric: str = "acc1"
) -> pd.DataFrame:
    """Accuracy of every arm with its interval, its paired difference to the baseline, and the
    single seeds behind both.

    Only the first evaluation set of ``comparisons`` (the full one) is taken; accuracies are
    fractions 0..1.

    Returns:
        arm (see ``told_apart``), note, on, metric, seed (null = the mean over seeds), n_seeds,
        value, low, high, delta, delta_low, delta_high.
    """
    columns = COLUMNS["arm_accuracy"]
    chosen = (
        comparisons[comparisons["metric"].astype(str) == metric]
        if len(comparisons)
        else comparisons
    )
    if chosen.empty:
        return _stack([], columns)
    on = str(chosen["on"].iloc[0])
    means = told_apart(chosen, comparisons)
    means = (
        means[means["on"].astype(str) == on]
        .rename(columns={"mean": "value"})
        .reset_index(drop=True)
    )
    # A t interval of three seeds knows nothing of bounds; accuracies end at 0 and 1.
    means = means.assign(low=means["low"].clip(0, 1), high=means["high"].clip(0, 1))
    parts = [means.assign(note=_plain_strings(means["note"]), seed=np.nan)]
    if arms is not None and len(arms) and metric in arms:
        single = told_apart(arms, comparisons)
        single = single[single["arm"].isin(means["arm"])].drop_duplicates(["arm", "seed"])
        accuracy = single.set_index(["arm", "seed"])[metric]
        value = single[metric].to_numpy(np.float64)
        pairs = pd.MultiIndex.from_arrays(
            [single["arm"].map(baselines(comparisons)), single["seed"]]
        )
        parts.append(
            pd.DataFrame(
                {
                    "arm": single["arm"].to_numpy(),
                    "note": "",
                    "on": on,
                    "metric": metric,
                    "seed": single["seed"].to_numpy(np.float64),
                    "n_seeds": 1,
                    "value": value,
                    "delta": value - accuracy.reindex(pairs).to_numpy(np.float64),
                }
            )
        )
    return _stack(parts, columns)


def tabulate_convergence(convergence: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation with the full population against the number of classifiers: measure, n,
    mean, low, high, sorted."""
    columns = COLUMNS["convergence"]
    if convergence.empty:
        return _stack([], columns)
    return _stack(
        [convergence.sort_values(["measure", "n"], ascending=[False, True], ignore_index=True)],
        columns,
    )


def tabulate_population(population: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy of the classifiers by architecture, training fraction and epoch.

    Returns:
        arch, fraction, epoch, n (classifiers), train_acc1, test_acc1, test_acc5 (means), test_low,
        test_high (range of test_acc1).
    """
    columns = COLUMNS["population"]
    if population.empty:
        return _stack([], columns)
    # A training on all data has fraction 1; an imported classifier may have none, which must not
    # drop it from the table.
    filled = population.assign(
        fraction=population["fraction"].fillna(1.0),
        epoch=population["epoch"].fillna(0),
        arch=population["arch"].astype("string").fillna("unknown"),
    )
    table = (
        filled.groupby(["arch", "fraction", "epoch"], sort=True)
        .agg(
            n=("test_acc1", "size"),
            train_acc1=("train_acc1", "mean"),
            test_acc1=("test_acc1", "mean"),
            test_acc5=("test_acc5", "mean"),
            test_low=("test_acc1", "min"),
            test_high=("test_acc1", "max"),
        )
        .reset_index()
    )
    # The best architecture first: an order that says something, and the same in figure and table.
    best = table.groupby("arch")["test_acc1"].mean()
    table = table.assign(order=-table["arch"].map(best)).sort_values(
        ["order", "arch", "fraction", "epoch"], ignore_index=True
    )
    return _stack([table], columns)


def tabulate_detection(detection: pd.DataFrame, n_examples: int | None = None) -> pd.DataFrame:
    """How well each score finds the known errors, best average precision first.

    Args:
        n_examples: examples that were ranked; gives ``chance`` = n_errors / n_examples, the
            precision of a random order.
    """
    columns = COLUMNS["detection"]
    if detection.empty:
        return _stack([], columns)
    chance = detection["n_errors"] / n_examples if n_examples else np.nan
    table = detection.assign(chance=chance).sort_values(
        ["average_precision", "score"], ascending=[False, True], ignore_index=True
    )
    return _stack([table], columns)


def _finite(series: pd.Series[Any]) -> NDArray[np.float64]:
    values: NDArray[np.float64] = series.to_numpy(dtype=np.float64, na_value=np.nan)
    return values[np.isfinite(values)]


def _names(class_names: Sequence[str], classes: NDArray[np.int64]) -> list[str]:
    """Names of class indices; an index without a name is called "class 12"."""
    known = range(len(class_names))
    return [
        class_names[index] if index in known else f"class {index}" for index in classes.tolist()
    ]


def _plain_strings(series: pd.Series[Any]) -> list[str]:
    return [
        "" if missing else str(value) for value, missing in zip(series, series.isna(), strict=True)
    ]


def _named_points(
    scores: pd.DataFrame,
    rows: NDArray[np.int64],
    class_names: Sequence[str],
    wrong: NDArray[np.bool_] | None,
) -> pd.DataFrame:
    """The examples at positions ``rows`` as tidy rows: example_id, label_name, top_name, x, c, and
    known_error unless ``wrong`` is None."""
    some = scores.iloc[rows]
    points = pd.DataFrame(
        {
            "example_id": some["example_id"].to_numpy(np.int64),
            "label_name": _names(class_names, some["label"].to_numpy(np.int64)),
            "top_name": _names(class_names, some["top_confusion"].to_numpy(np.int64)),
            "x": some["x_perplexity"].to_numpy(np.float64),
            "c": some["c_perplexity"].to_numpy(np.float64),
        }
    )
    if wrong is None:
        return points
    truth = pd.to_numeric(some["label_true"]).to_numpy(dtype=np.float64, na_value=np.nan)
    known: Any = pd.array(wrong[rows].tolist(), dtype="boolean")
    known[~np.isfinite(truth)] = pd.NA
    return points.assign(known_error=known)


def _stack(parts: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    """Parts under each other with exactly these columns, in this order; what a part does not have
    is null."""
    if not parts:
        return pd.DataFrame({name: [] for name in columns})
    whole = pd.concat([part.dropna(axis="columns", how="all") for part in parts], ignore_index=True)
    return whole.reindex(columns=list(columns))
