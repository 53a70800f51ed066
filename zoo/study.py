"""What a study of damaged training sets is made of: its points (one damaged training set each) and their sweeps.

A point is an aspect of data quality ("label_noise"), a setting of it (0.2) and the treatment that makes it. A study trains every point
with several seeds; a seed changes the initial weights, the order of the examples and the draw of the damage, never the images the study
starts from, so that a point and the baseline of the same seed form a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from zoo.spec import Op, Recipe, Sweep, treatment_text

__all__ = ["HEAT_COLUMNS", "LINE_COLUMNS", "VERDICT_COLUMNS", "Chart", "Findings", "Point", "sweeps_of"]


@dataclass(frozen=True)
class Point:
    """One damaged training set of a study.

    Args:
        aspect: the kind of damage, the study's own word, such as ``delete_class``; ``baseline`` = none.
        setting: how much or which: a fraction, a sigma, a class index.
        ops: the treatment.
        other: a second class where the damage has one (relabel c -> other); -1 = none.
        input_size: side of the network's input where it is not the architecture's own rule.
    """

    aspect: str
    setting: float
    ops: tuple[Op, ...]
    other: int = -1
    input_size: int | None = None


def sweeps_of(
    points: Callable[[int], Sequence[Point]],
    *,
    archs: tuple[str, ...],
    seeds: Sequence[int],
    recipe: Recipe,
    recipes: Mapping[str, Recipe] | None = None,
    eval_every: Mapping[str, int] | None = None,
) -> tuple[Sweep, ...]:
    """The sweeps that train every point of every seed.

    Args:
        points: seed -> the points of that repetition, whose damage is drawn by that seed.
        eval_every: aspect -> epochs between test evaluations; other aspects are evaluated at their end only.
    """
    sweeps = []
    for seed in seeds:
        groups: dict[tuple[int, int | None], dict[str, tuple[Op, ...]]] = {}
        for point in points(seed):
            group = groups.setdefault(((eval_every or {}).get(point.aspect, 0), point.input_size), {})
            group[treatment_text(point.ops)] = point.ops
        sweeps += [
            Sweep(
                archs=archs,
                treatments=tuple(treatments.values()),
                recipe=recipe,
                recipes=dict(recipes or {}),
                seeds=(seed,),
                eval_every=every,
                input_size=size,
            )
            for (every, size), treatments in groups.items()
        ]
    return tuple(sweeps)


@dataclass(frozen=True)
class Chart:
    """One figure of a study, ready to be drawn by ``zoo.charts``.

    Args:
        name: file stem, such as ``figure-04``.
        title: heading.
        kind: ``lines`` (curves with bands), ``bars`` (grouped by series), ``heat`` (one matrix per panel).
        table: tidy. ``lines`` and ``bars``: panel, series, x, x_text, y, sd (null = a single value), n (seeds), reference (bool: drawn
            as a dashed line without markers, such as a ceiling). ``heat``: panel, row, column, value, in the order to be shown.
        x_label: what x is, with its unit (``heat``: what the columns are).
        y_label: what y is, with its unit (``heat``: what the rows are).
        caption: what is seen and where it stands in the paper.
        x_scale: ``linear``, ``log``, or ``even``: equal steps in the order of x, labelled by x_text. ``bars`` are always even.
        y_scale: ``linear`` or ``log`` (values of 0 are then not drawn).
        percent: whether the values are fractions to be shown in per cent.
    """

    name: str
    title: str
    kind: Literal["lines", "bars", "heat"]
    table: pd.DataFrame
    x_label: str
    y_label: str
    caption: str
    x_scale: Literal["linear", "log", "even"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    percent: bool = True


LINE_COLUMNS = ("panel", "series", "x", "x_text", "y", "sd", "n", "reference")
HEAT_COLUMNS = ("panel", "row", "column", "value")


@dataclass(frozen=True)
class Findings:
    """What an experiment's own ``findings(outcomes)`` makes of its results: charts in the order to be shown, and the verdict table.

    ``verdicts``: one row per claim with the columns ``VERDICT_COLUMNS``.
    """

    charts: tuple[Chart, ...]
    verdicts: pd.DataFrame


VERDICT_COLUMNS = ("claim", "statement", "published", "measured", "mean", "sd", "n", "scale", "verdict", "rule", "note")
"""Claim's id; its statement; the paper's words or number; measured value as text; its mean and sd over n seeds (null where it is no single
number); scale; holds, fails, undecided or not tested; the rule that decides, fixed before looking; what decided it, or why it is not tested."""
