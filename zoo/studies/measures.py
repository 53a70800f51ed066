"""Measures of damage and the tidy tables of their charts, shared by the studies.

Measures are arrays with one number per seed; tables have the columns of
``zoo.studies.findings.Chart``. Accuracies are fractions. A point is named as in
``zoo.studies.points.Point``: aspect and setting; drops are against the baseline of the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from zoo.statistics import PowerLaw, power_law
from zoo.studies.findings import HEAT_COLUMNS, LINE_COLUMNS
from zoo.studies.outcomes import Outcomes

__all__ = [
    "Row",
    "accuracy_line",
    "beyond_ceiling",
    "change_name",
    "changed_table",
    "curve_table",
    "heat",
    "lines",
    "matched_harm",
    "power_law_table",
    "reference_line",
    "seed_noise",
    "size_line",
    "size_of",
    "value",
]


Row = dict[str, Any]
Changes = Sequence[tuple[str, float, int]]


def lines(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as the table of a chart of lines or bars."""
    table = pd.DataFrame(list(rows), columns=list(LINE_COLUMNS))
    return table.astype(
        {"x": "float64", "y": "float64", "sd": "float64", "n": "Int64", "reference": "bool"}
    )


def heat(rows: Iterable[Row]) -> pd.DataFrame:
    """Rows as the table of a heat map."""
    return pd.DataFrame(list(rows), columns=list(HEAT_COLUMNS)).astype({"value": "float64"})


def value(
    panel: str,
    series: str,
    x: float,
    values: ArrayLike,
    *,
    x_text: str = "",
    reference: bool = False,
) -> Row:
    """One point of a line or bar: mean and sd (n - 1) of ``values``, one per seed; NaN are left
    out."""
    y = np.asarray(values, dtype=np.float64).reshape(-1)
    y = y[~np.isnan(y)]
    return {
        "panel": panel,
        "series": series,
        "x": x,
        "x_text": x_text or f"{x:g}",
        "y": float(y.mean()) if len(y) else None,
        "sd": float(y.std(ddof=1)) if len(y) > 1 and not reference else None,
        "n": len(y),
        "reference": reference,
    }


def accuracy_line(
    outcomes: Outcomes,
    aspect: str,
    *,
    arch: str,
    panel: str = "",
    series: str,
    baseline_at: float | None = None,
    within: Callable[[float], bool] = lambda _x: True,
    x: Callable[[float], float] = lambda setting: setting,
) -> list[Row]:
    """Test accuracy against an aspect's setting.

    Args:
        baseline_at: the x at which the undamaged training set stands; None = left out.
        within: which x to keep.
        x: setting -> x.
    """
    rows = (
        []
        if baseline_at is None
        else [value(panel, series, baseline_at, outcomes.acc("baseline", arch=arch))]
    )
    rows += [
        value(panel, series, x(s), outcomes.acc(aspect, s, arch=arch))
        for s in outcomes.settings(aspect)
    ]
    return sorted((row for row in rows if within(row["x"])), key=lambda row: float(row["x"]))


def reference_line(panel: str, series: str, xs: Sequence[float], y: float) -> list[Row]:
    """A level, such as the baseline's accuracy, over all x."""
    return [value(panel, series, x, [y], reference=True) for x in (min(xs), max(xs))]


# ---------------------------------------------------------------- classes


def change_name(outcomes: Outcomes, setting: float, other: int) -> str:
    """``delete cat`` or ``cat → dog``."""
    name = outcomes.class_names[int(setting)]
    return f"{name} \u2192 {outcomes.class_names[other]}" if other >= 0 else f"delete {name}"


def beyond_ceiling(
    outcomes: Outcomes, aspect: str, label: int, *, arch: str, other: int | None = None
) -> NDArray[np.float64]:
    """Drop of accuracy beyond what is lost at least when no example of a class is learned: its
    share of the test set. [seeds]"""
    drop = outcomes.drop(aspect, label, arch=arch, other=other)
    return np.asarray(drop - outcomes.class_shares[label], dtype=np.float64)


def seed_noise(outcomes: Outcomes, *, arch: str) -> NDArray[np.float64]:
    """Share of each class's test examples that two baselines of different seeds predict
    differently, mean over pairs of seeds, [M]."""
    return np.asarray(
        outcomes.changed(outcomes.rows("baseline", arch=arch)).mean(axis=0), dtype=np.float64
    )


def changed_table(
    outcomes: Outcomes, changes: Changes, *, arch: str, panel: str, recall: bool = False
) -> list[Row]:
    """Per change (rows) and true class (columns): share of test examples predicted differently than
    by the baseline of the same seed, mean over seeds; the last row is seed noise. With ``recall``:
    change of the class's recall instead, without that row."""
    rows: list[Row] = []
    for aspect, setting, other in changes:
        mine = outcomes.rows(aspect, setting, arch=arch, other=other)
        shares = (
            outcomes.recalls(mine) - outcomes.recalls(outcomes.rows("baseline", arch=arch))
            if recall
            else outcomes.changed(mine)
        )
        rows += _heat_row(
            outcomes, panel, change_name(outcomes, setting, other), shares.mean(axis=0)
        )
    return (
        rows
        if recall
        else rows + _heat_row(outcomes, panel, "another seed", seed_noise(outcomes, arch=arch))
    )


def _heat_row(outcomes: Outcomes, panel: str, name: str, shares: NDArray[np.float64]) -> list[Row]:
    return [
        {"panel": panel, "row": name, "column": c, "value": v}
        for c, v in zip(outcomes.class_names, shares, strict=True)
    ]


# ---------------------------------------------------------------- harm and size


def matched_harm(
    outcomes: Outcomes, groups: Mapping[str, Changes], *, arch: str
) -> dict[str, NDArray[np.float64]]:
    """Drop of accuracy per kind of damage at one share of affected examples, [seeds] each; a kind
    with several points is their mean."""
    return {
        name: np.mean(
            [
                outcomes.drop(aspect, setting, arch=arch, other=other)
                for aspect, setting, other in points
            ],
            axis=0,
        )
        for name, points in groups.items()
    }


def size_of(outcomes: Outcomes, aspect: str, setting: float, *, arch: str) -> int:
    """Training examples of a point."""
    return int(outcomes.table.loc[outcomes.rows(aspect, setting, arch=arch)[0], "n_train"])


def size_line(outcomes: Outcomes, *, arch: str) -> list[Row]:
    """Test accuracy against the size of the training set: the whole, and what deleting examples at
    random leaves."""
    points = [("baseline", 0.0), *(("delete", share) for share in outcomes.settings("delete"))]
    rows = [
        value("", arch, size_of(outcomes, *point, arch=arch), outcomes.acc(*point, arch=arch))
        for point in points
    ]
    return sorted(rows, key=lambda row: float(row["x"]))


def power_law_table(
    outcomes: Outcomes, aspects: Sequence[str], *, arch: str, series: str
) -> tuple[list[Row], PowerLaw]:
    """Test error against training-set size of the baseline and some aspects (points without an
    example are left out), and the law."""
    by_size: dict[int, NDArray[np.float64]] = {}
    for aspect, setting, _ in [("baseline", 0.0, -1), *outcomes.changes(*aspects)]:
        if size := size_of(outcomes, aspect, setting, arch=arch):
            by_size[size] = 1 - outcomes.acc(aspect, setting, arch=arch)
    sizes = sorted(by_size)
    law = power_law(
        [s for s in sizes for _ in by_size[s]], np.concatenate([by_size[s] for s in sizes])
    )
    rows = [value("", series, size, by_size[size]) for size in sizes]
    name = f"{series}: error = {law.scale:.2f} n^-{law.exponent:.2f}, R\u00b2 = {law.r2:.3f}"
    return rows + [value("", name, size, law.at([size]), reference=True) for size in sizes], law


# ---------------------------------------------------------------- curves


def curve_table(
    outcomes: Outcomes, points: Sequence[tuple[str, str, float]], *, arch: str
) -> list[Row]:
    """Training and test accuracy by epoch, one panel each, mean and sd over the seeds that trained
    that long.

    Args:
        points: (name of the series, aspect, setting).
    """
    rows: list[Row] = []
    for split in ("train", "test"):
        for name, aspect, setting in points:
            curves = [
                outcomes.curve(int(row), split).set_index("epoch")["acc1"]
                for row in outcomes.rows(aspect, setting, arch=arch)
            ]
            joined = pd.concat(curves, axis=1).sort_index()
            rows += [
                value(f"{split} accuracy", name, float(epoch), joined.loc[epoch].to_numpy())
                for epoch in joined.index
            ]
    return rows
