"""What a study finds: charts and verdicts.

``conclude`` is the stage that judges: it collects the outcomes, asks the study's file for its
verdicts (``claims.verdict_table`` decides each claim) and its charts, and stores both. Pages draw
what was concluded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import pandas as pd

from zoo.data import Dataset
from zoo.errors import NotFoundError, StoreError
from zoo.spec import Experiment
from zoo.store.results import about_table, put, read_table, table_names, write_table
from zoo.store.workspace import Workspace
from zoo.studies.load import judge_of
from zoo.studies.outcomes import Outcomes, collect
from zoo.studies.results import Part, Results, gathered

__all__ = [
    "DENSITY_COLUMNS",
    "HEAT_COLUMNS",
    "LINE_COLUMNS",
    "NOTHING_CONCLUDED",
    "PICTURE_COLUMNS",
    "Chart",
    "Conclusion",
    "Findings",
    "conclude",
    "concluded_again",
    "kept",
    "stored_results",
]


@dataclass(frozen=True)
class Chart:
    """One figure of a study, ready to be drawn by ``zoo.report.charts``.

    Args:
        name: file stem, such as ``figure-04``.
        title: heading.
        kind: ``lines`` (curves with bands), ``bars`` (grouped by series), ``heat`` (one matrix per
            panel), ``density`` (how many examples lie in each cell of a plane), ``pictures``
            (examples with a few words below each), ``table`` (words and numbers as texts, no
            picture is drawn).
        table: tidy. ``lines`` and ``bars``: panel, series, x, x_text, y, sd (null = a single
            value), n (seeds), reference (bool: drawn as a dashed line without markers, such as a
                ceiling). ``heat``: panel, row, column, value, in the order to be shown.
            ``density``: panel, x_low, x_high, y_low, y_high, n, a row per cell that is not empty.
            ``pictures``: panel (a row of the figure), picture (PNG in base64), text (its lines).
            ``table``: as it is shown, cells as text.
        x_label: what x is, with its unit (``heat``: what the columns are).
        y_label: what y is, with its unit (``heat``: what the rows are).
        caption: what is seen and where it stands in the paper.
        x_scale: ``linear``, ``log``, or ``even``: equal steps in the order of x, labelled by
            x_text. ``bars`` are always even.
        y_scale: ``linear`` or ``log`` (values of 0 are then not drawn).
        percent: whether the values are fractions to be shown in per cent.
    """

    name: str
    title: str
    kind: Literal["lines", "bars", "heat", "density", "pictures", "table"]
    table: pd.DataFrame
    x_label: str
    y_label: str
    caption: str
    x_scale: Literal["linear", "log", "even"] = "linear"
    y_scale: Literal["linear", "log"] = "linear"
    percent: bool = True


LINE_COLUMNS = ("panel", "series", "x", "x_text", "y", "sd", "n", "reference")
HEAT_COLUMNS = ("panel", "row", "column", "value")
DENSITY_COLUMNS = ("panel", "x_low", "x_high", "y_low", "y_high", "n")
PICTURE_COLUMNS = ("panel", "picture", "text")


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
    """What an experiment concludes; ``findings`` is None where it judges no claims (``note`` is
    empty) or cannot yet (``note`` says why)."""

    findings: Findings | None = None
    note: str = ""


NOTHING_CONCLUDED = Conclusion()


def conclude(workspace: Workspace, experiment: Experiment, parts: Sequence[Part]) -> Conclusion:
    """Judge an experiment's claims by its results and write the tables they are made of (a study of
    damaged sets: ``outcomes``; of scores and arms: those of ``Results``, see ``stored_results``)
    and ``verdicts``. Draws nothing.

    Args:
        parts: of each of the experiment's data sets, what its stages left.
    """
    judge = judge_of(experiment)
    if judge is None:
        return NOTHING_CONCLUDED
    about = _about(experiment, [part.dataset for part in parts])
    tables: dict[str, pd.DataFrame] = {}
    evidence: Outcomes | Results
    try:
        if judge.points is not None:
            evidence = collect(workspace, parts[0].dataset, experiment, judge.points)
            tables["outcomes"] = evidence.table
        else:
            assert judge.measures is not None
            base = experiment.each[0].dataset.partition("+")[0]
            evidence = gathered(parts, judge.measures, scale=experiment.scale, dataset=base)
            about |= {"base": base}
            tables |= {
                f"{_prefix(experiment)}{name}": table for name, table in evidence.tables.items()
            }
        shown = (*judge.tables(evidence), *judge.charts(evidence))
        found = Findings(judge.verdicts(evidence), shown)
    except (NotFoundError, StoreError) as reason:
        return Conclusion(note=str(reason))
    for name, table in (tables | {"verdicts": found.verdicts}).items():
        write_table(workspace, name, table, about)
    put(workspace, _KEPT, _as_json(found, about).encode())
    return Conclusion(found)


_KEPT = "results/findings.json"


def _prefix(experiment: Experiment) -> str:
    return f"study-{experiment.name}-"


def stored_results(workspace: Workspace, experiment: Experiment) -> Results:
    """The tables of a study of scores and arms as ``conclude`` left them in ``results/``, under
    ``study-EXPERIMENT-TABLE``.

    Raises:
        NotFoundError: if there are none of this experiment and scale.
    """
    prefix = _prefix(experiment)
    names = [name for name in table_names(workspace) if name.startswith(prefix)]
    about = {name: about_table(workspace, name) for name in names}
    names = [name for name in names if about[name].get("scale") == experiment.scale]
    if not names:
        raise NotFoundError(
            f"{workspace.location} holds no results of {experiment.name} at scale"
            f" {experiment.scale}. Run 'zoo run {experiment.name} --scale {experiment.scale}'."
        )
    return Results(
        {name.removeprefix(prefix): read_table(workspace, name) for name in names},
        scale=experiment.scale,
        dataset=str(about[names[0]]["base"]),
    )


def concluded_again(workspace: Workspace, experiment: Experiment, dataset: Dataset) -> Conclusion:
    """``conclude`` from what is stored, where that is enough: a study of damaged sets is judged
    again by its file, of any other what it found last is shown."""
    judge = judge_of(experiment)
    if judge is not None and judge.points is not None:
        return conclude(workspace, experiment, [Part("", workspace, experiment, dataset)])
    return kept(workspace, experiment, dataset)


def kept(workspace: Workspace, experiment: Experiment, dataset: Dataset) -> Conclusion:
    """What ``conclude`` found last for this experiment, scale and data (of a study over several
    data sets, its first): to be shown again without the experiment's file."""
    if not workspace.files.exists(_KEPT):
        return NOTHING_CONCLUDED
    body = json.loads(workspace.files.read(_KEPT))
    about = {**body["about"], "dataset": body["about"]["dataset"].partition("+")[0]}
    about.pop("base", None)
    if about != _about(experiment, [dataset]):
        return NOTHING_CONCLUDED
    charts = tuple(
        Chart(**{**chart, "table": pd.DataFrame(chart["table"])}) for chart in body["charts"]
    )
    return Conclusion(Findings(pd.DataFrame(body["verdicts"]), charts))


def _about(experiment: Experiment, data: Sequence[Dataset]) -> dict[str, str]:
    return {
        "experiment": experiment.name,
        "scale": experiment.scale,
        "dataset": "+".join(dataset.fingerprint for dataset in data),
        "split": "test",
    }


def _as_json(found: Findings, about: Mapping[str, str]) -> str:
    """Tables by column. NaN and infinities as Python's own JSON writes and reads them: nobody else
    reads this file."""
    charts = [
        {**{f.name: getattr(chart, f.name) for f in fields(Chart)}, "table": _columns(chart.table)}
        for chart in found.charts
    ]
    return json.dumps({"about": about, "verdicts": _columns(found.verdicts), "charts": charts})


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    return {
        str(name): [None if value is pd.NA else value for value in table[name].tolist()]
        for name in table
    }
