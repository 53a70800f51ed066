"""The tables of "Example perplexity and class label cleaning" with this study's numbers beside the
published ones, for its page and its report.

Accuracies are in per cent, as the paper prints them; each of ours is the mean over seeds.
Published curves were read off figures 3 and 4, to about half a point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pandas as pd

from zoo.studies.findings import Chart
from zoo.studies.results import Results

__all__ = ["curve_ends", "second_network", "similarities", "table_1", "tables_2_and_3"]

ARMS: Final = ("baseline", "model-1", "model-2", "model-3")

_TABLE_1: Final = {"model-1": 91.6, "model-2": 80.9, "model-3": 69.2}
"""Per cent of the training set under the thresholds."""

_IMAGES: Final = (50_000, 38_776, 33_324, 28_079)
"""Of the validation set and its cleaned parts."""

_TABLES_2_AND_3: Final = {
    "acc1": (
        (63.40, 66.0, 66.5, 66.38),
        (69.3, 73.0, 74.8, 74.8),
        (75.5, 78.9, 80.6, 81.0),
        (80.3, 83.8, 85.4, 86.4),
    ),
    "acc5": (
        (84.1, 85.2, 84.9, 84.2),
        (88.4, 90.0, 90.8, 90.7),
        (91.4, 92.8, 93.4, 93.5),
        (93.4, 94.4, 95.0, 95.4),
    ),
}
"""Of the four arms there."""

_SECOND: Final = {
    "baseline": (50.1, 73.2),
    "model-1": (53.87, 76.8),
    "mild": (53.79, 76.8),
    "model-2": (54.2, 75.6),
}
"""ResNet-50 on 200 per class: acc1, acc5."""

_CURVE_ENDS: Final = {
    ("train", "acc1"): (84.2, 87.2, 89.1, 91.2),
    ("train", "acc5"): (94.2, 95.3, 96.0, 96.6),
    ("test", "acc1"): (63.4, 66.0, 66.5, 66.4),
    ("test", "acc5"): (84.1, 85.2, 84.9, 84.2),
    ("train", "loss"): (0.69, 0.58, 0.50, 0.39),
}
"""Figures 3 and 4 at their last epoch."""

_SIMILARITIES: Final = {
    "zero_one": (0.8415, 0.8382, 0.8332, 0.8624, 0.8577, 0.8736),
    "prediction": (0.6873, 0.6857, 0.6748, 0.7262, 0.7141, 0.7399),
}
"""Figures 5 and 6: pairs of arms in the order of ``_PAIRS``."""

_PAIRS: Final = tuple((a, b) for number, a in enumerate(ARMS) for b in ARMS[number + 1 :])


def table_1(results: Results, parts: Sequence[str]) -> Chart:
    """What the thresholds keep of the training set: by share and as they stand."""
    rows = []
    for part in parts:
        for row in results.of("thresholds", part).to_dict(orient="records"):
            model, _, literal = str(row["name"]).partition(", ")
            some = pd.notna(row["c"])
            rows.append(
                {
                    "labels": part,
                    "model": model,
                    "thresholds": "the paper's own" if literal else "by share",
                    "largest C kept": f"{row['c']:.2f}" if some else "",
                    "largest X kept": f"{row['x']:.3f}" if some else "",
                    "kept [%]": f"{100 * row['kept']:.1f}",
                    "paper [%]": f"{_TABLE_1[model]:.1f}",
                    "of a class, least to most [%]": (
                        f"{100 * row['smallest_class']:.1f} to {100 * row['largest_class']:.1f}"
                        if some
                        else ""
                    ),
                }
            )
    return _sheet(
        "table-1",
        "Table 1: what the thresholds keep",
        rows,
        "By share: the one quantile q of C and of X that together keep the paper's share of the"
        " training set; the largest values that are kept stand for it. The paper's own numbers (C <"
        " 10, 4, 3 and X < .7, .5, .3) are of 1,000 classes.",
    )


def tables_2_and_3(results: Results, parts: Mapping[str, str]) -> Chart:
    """Every arm on the test set and its cleaned parts.

    Args:
        parts: part -> its arm group.
    """
    rows = []
    for part, group in parts.items():
        sets = results.of("validation", part).sort_values("n", ascending=False)
        for metric, published in _TABLES_2_AND_3.items():
            for (on, n), images, theirs in zip(
                sets[["on", "n"]].itertuples(index=False), _IMAGES, published, strict=False
            ):
                row = {"labels": part, "": metric, "images": f"{n:,} ({images:,})"}
                for arm, one in zip(ARMS, theirs, strict=True):
                    ours = results.accuracy(part, group, arm, metric=metric, on=str(on))
                    row[arm] = _beside(100 * ours.mean(), one)
                rows.append(row)
    return _sheet(
        "tables-2-and-3",
        "Tables 2 and 3: cleaned test sets",
        rows,
        "Per cent, in brackets the paper's. The test set and its parts that the thresholds of"
        " Models 1, 2 and 3 keep, by share.",
    )


def second_network(results: Results, part: str, group: str) -> Chart:
    """The second network on the smaller budget."""
    rows = []
    for arm, published in _SECOND.items():
        row = {"arm": arm}
        for name, theirs in zip(("acc1", "acc5"), published, strict=True):
            ours = 100 * results.accuracy(part, group, arm, metric=name).mean()
            row |= {f"{name} [%]": f"{ours:.1f}", f"paper {name} [%]": f"{theirs:.1f}"}
        rows.append(row)
    return _sheet(
        f"second-network-{part}",
        f"A second network on the smaller budget ({part})",
        rows,
        f"Arms of {group}; the paper's ResNet-50 on 200 per class. Mild: C < 6 and X < .95, here by"
        " the share that they keep.",
    )


def curve_ends(results: Results, parts: Mapping[str, str]) -> Chart:
    """Where the curves of figures 3 and 4 end.

    Args:
        parts: part -> its arm group.
    """
    rows = []
    for part, group in parts.items():
        for (split, metric), published in _CURVE_ENDS.items():
            row = {"labels": part, "": f"{split} {metric}"}
            for arm, theirs in zip(ARMS, published, strict=True):
                curve = results.of("curves", part, arm_group=group, arm=arm, split=split)
                last = curve[curve["epoch"] == curve["epoch"].max()][metric].mean()
                percent = metric != "loss"
                row[arm] = _beside(100 * last if percent else last, theirs, 1 if percent else 2)
            rows.append(row)
    return _sheet(
        "curve-ends",
        "Figures 3 and 4: where the curves end",
        rows,
        "Accuracies in per cent, loss in nats; in brackets the paper's, read off its figures."
        " Training accuracy is the running one of the last epoch, on an arm's own set.",
    )


def similarities(results: Results, parts: Mapping[str, str]) -> Chart:
    """Figures 5 and 6 as numbers.

    Args:
        parts: part -> its arm group.
    """
    rows = []
    for part, group in parts.items():
        table = results.of("similarities", part, arm_group=group)
        means = table.groupby(["measure", "arm_a", "arm_b"])["similarity"].mean()
        for pair, (a, b) in enumerate(_PAIRS):
            row = {"labels": part, "arms": f"{a} and {b}"}
            for measure in ("zero_one", "prediction", "kappa"):
                ours = float(means[measure, a, b])
                theirs = _SIMILARITIES.get(measure)
                row[measure] = f"{ours:.3f}" if theirs is None else _beside(ours, theirs[pair], 3)
            rows.append(row)
    return _sheet(
        "similarities",
        "Figures 5 and 6 as numbers",
        rows,
        "In brackets the paper's. zero_one: both right or both wrong; prediction: the same answer;"
        " kappa: agreement in being right beyond what the two accuracies alone give. Ours between"
        " networks of different seeds.",
    )


def _sheet(name: str, title: str, rows: Sequence[Mapping[str, str]], caption: str) -> Chart:
    return Chart(name, title, "table", pd.DataFrame(rows), "", "", caption)


def _beside(ours: float, theirs: float, digits: int = 1) -> str:
    return f"{ours:.{digits}f} ({theirs:.{digits}f})"
