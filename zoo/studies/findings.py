"""What a study finds: charts and verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from zoo.data import Dataset
from zoo.errors import NotFoundError, StoreError
from zoo.spec import Experiment
from zoo.store.results import write_table
from zoo.store.workspace import Workspace
from zoo.studies.load import judge_of
from zoo.studies.outcomes import collect

__all__ = ["HEAT_COLUMNS", "LINE_COLUMNS", "NOTHING_CONCLUDED", "Chart", "Conclusion", "Findings", "conclude"]


@dataclass(frozen=True)
class Chart:
    """One figure of a study, ready to be drawn by ``zoo.report.charts``.

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
    """What is concluded from a study's results.

    Args:
        verdicts: one row per claim with the columns of the table ``verdicts``.
        charts: in the order to be shown.
    """

    verdicts: pd.DataFrame
    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class Conclusion:
    """What an experiment concludes; ``findings`` is None where it judges no claims (``note`` is empty) or cannot yet (``note`` says why)."""

    findings: Findings | None = None
    note: str = ""


NOTHING_CONCLUDED = Conclusion()


def conclude(workspace: Workspace, experiment: Experiment, dataset: Dataset) -> Conclusion:
    """Judge an experiment's claims by its results and write the tables ``outcomes`` and ``verdicts``. Draws nothing."""
    judge = judge_of(experiment)
    if judge is None:
        return NOTHING_CONCLUDED
    try:
        outcomes = collect(workspace, dataset, experiment, judge.points)
    except (NotFoundError, StoreError) as reason:
        return Conclusion(note=str(reason))
    found = Findings(judge.verdicts(outcomes), judge.charts(outcomes))
    about = {"experiment": experiment.name, "scale": experiment.scale, "dataset": dataset.fingerprint, "split": "test"}
    write_table(workspace, "outcomes", outcomes.table, about)
    write_table(workspace, "verdicts", found.verdicts, about)
    return Conclusion(found)
