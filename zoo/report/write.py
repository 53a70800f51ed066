"""From a workspace to its report: collect the tables, draw, write the page. ``zoo.report.page``
knows nothing of workspaces."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pandas as pd

from zoo.data import Dataset, class_titles
from zoo.data.decode import previews_of, thumbnails_of
from zoo.errors import DataError, NotFoundError
from zoo.registry import distinct
from zoo.report.draw import Provenance
from zoo.report.page import render
from zoo.report.parts import ReportData
from zoo.scores import population
from zoo.scores.audited import AUDIT, facts_of
from zoo.scores.measured import NOT_MEASURED, Measured, measure
from zoo.spec import Experiment, canonical_json
from zoo.store import ledger
from zoo.store.answers import answered_in
from zoo.store.datasets import changed_since
from zoo.store.files import LocalFiles
from zoo.store.results import (
    EXPERIMENT_FILE,
    csv_text,
    read_scores,
    record_run,
    table_names,
    table_of,
)
from zoo.store.workspace import Workspace
from zoo.studies.findings import NOTHING_CONCLUDED, Conclusion
from zoo.studies.rerun import commands_of, run_command

__all__ = ["write_report"]


def write_report(
    workspace: Workspace,
    experiment: Experiment,
    dataset: Dataset,
    timings: Mapping[str, float],
    concluded: Conclusion = NOTHING_CONCLUDED,
    measured: Measured | None = None,
) -> Path:
    """Write ``report.html`` and ``figures/`` of a workspace. Stages that were not done leave their
    sections out, with the reason.

    Args:
        timings: stage -> seconds of the run that did the work; kept, so that a report written again
            says them still.
        measured: what the scores are worth; None = of a workspace made step by step, whose scores
            are measured first.
    """
    if changed := changed_since(workspace, dataset):
        raise DataError(
            f"{changed} A report is about what was trained on: restore the data, or choose what is"
            " on record with --data."
        )
    frame = ledger.classifiers_frame(workspace)
    by_hand = not any(each.sweeps for each in experiment.each)
    audit = _audit(workspace, dataset) if by_hand else None
    names = [each.name for each in experiment.each] + [AUDIT] * (audit is not None)
    asked = [training for name in names for training in ledger.trainings_of(workspace, name)]
    belongs = frame["training_id"].isin(asked)
    here = {
        k: c
        for k, c in ledger.population(workspace).items()
        if c.facts["dataset"] == dataset.fingerprint
    }
    if by_hand:  # what was done step by step: imported classifiers are part of it
        belongs |= frame["classifier_id"].isin([k for k, c in here.items() if c.kind == "member"])
    mine = frame[frame["classifier_id"].isin(list(here)) & belongs]
    tables = {
        name: table_of(workspace, name, dataset.fingerprint)
        for name in ("arms", "comparisons", "detection")
    }
    scores = {}
    for split in dataset.splits:
        with contextlib.suppress(NotFoundError):  # not scored yet: its sections say so
            scores[split] = read_scores(workspace, dataset.fingerprint, split)[0]
    seeds = sorted({int(seed) for seed in frame.loc[frame["training_id"].notna(), "seed"]})
    findings = concluded.findings
    judges = findings is not None or bool(concluded.note) or "verdicts" in experiment.sections
    provenance = Provenance(
        experiment=experiment.name if audit is None else AUDIT,
        scale=experiment.scale,
        dataset=dataset.name,
        n_classifiers=len(mine),
        n_examples=sum(len(table) for table in scores.values()),
        seeds=tuple(seeds),
        version=version("classifier-zoo"),
        commit=_checkout(),
        reproduces=judges,
        n_in_bf16=len(_in_bf16(workspace, dataset) & set(mine["classifier_id"])),
    )
    if measured is None:
        measured = NOT_MEASURED
        if scores and len(mine):
            measured = measure(
                workspace,
                population.population_of(workspace, dataset.fingerprint, mine["classifier_id"]),
                scores,
            )
    detection = None if measured.detection is None else measured.detection.table
    data = ReportData(
        title=experiment.title if audit is None else f"Audit of {dataset.name}",
        experiment=experiment.name,
        scale=experiment.scale,
        provenance=provenance,
        scores=scores,
        population=mine,
        class_names=class_titles(dataset.class_names) or distinct(dataset.class_names),
        arms=_full_test(tables.get("arms")),
        comparisons=tables.get("comparisons"),
        detection=tables.get("detection") if detection is None else detection,
        detection_notes=measured.notes,
        convergence=measured.convergence,
        verdicts=None if findings is None else findings.verdicts,
        charts=() if findings is None else findings.charts,
        findings_note=concluded.note,
        pictures=None if dataset.form in _WITHOUT_PICTURES else partial(thumbnails_of, dataset),
        previews=None if dataset.form in _WITHOUT_PICTURES else partial(previews_of, dataset),
        no_pictures=_WITHOUT_PICTURES.get(dataset.form, ReportData.no_pictures).format(dataset.uri),
        next_command=experiment.next_command,
        rerun=(
            commands_of(workspace)
            if by_hand
            else (run_command(experiment.source or experiment.name, experiment.scale),)
        ),
        rerun_note=_rerun_note(experiment, mine),
        audit=audit,
        sections=experiment.sections,
    )
    inputs = _digest(
        experiment,
        dataset,
        data,
        [
            (name, workspace.files.read(f"results/{name}.parquet"))
            for name in table_names(workspace)
        ],
    )
    if _is_drawn(workspace, inputs):
        return workspace.report
    page = render(
        dataclasses.replace(data, timings=record_run(workspace, experiment, timings)),
        workspace.report,
    )
    if not isinstance(workspace.files, LocalFiles):
        # Drawn in a folder of this machine, then put where the study lives.
        for path in (page, *sorted(workspace.figures.iterdir())):
            workspace.files.replace(path.relative_to(workspace.root).as_posix(), path.read_bytes())
    drawn = {"inputs": inputs, "figures": sorted(path.name for path in workspace.figures.iterdir())}
    workspace.files.replace(_DRAWN, canonical_json(drawn).encode())
    return page


def _audit(workspace: Workspace, dataset: Dataset) -> dict[str, Any] | None:
    """The facts of the last audit, where it was of these data."""
    with contextlib.suppress(NotFoundError):
        facts = facts_of(workspace)
        if facts.get("dataset") == dataset.fingerprint:  # an earlier zoo did not say which
            return facts
    return None


_WITHOUT_PICTURES: Final = {
    "imported": "predictions were imported without them",
    "gone": "the data are not at {} any more",
}
"""Form of a data set -> why a page has none of its pictures."""

_DRAWN: Final = "results/page.json"
"""What the page that is there was drawn from, and its figures' files."""


def _digest(
    experiment: Experiment, dataset: Dataset, data: ReportData, tables: Sequence[tuple[str, bytes]]
) -> str:
    """Hash of everything a page shows but the times its stages took, and of the program that draws
    it.

    Args:
        tables: name and content of each derived table.
    """
    said = (
        canonical_json(experiment.as_json()),
        dataset.fingerprint,
        repr(data.provenance),
        tuple(data.rerun),
        data.detection_notes,
        data.findings_note,
        data.no_pictures,
        data.audit,
    )
    found = hashlib.sha256(repr(said).encode())
    charts = [
        (repr({**vars(chart), "table": None}), csv_text(chart.table)) for chart in data.charts
    ]
    for text in (csv_text(data.population), *(part for chart in charts for part in chart)):
        found.update(text.encode())
    package = Path(__file__).parents[1]
    program = [
        (path.relative_to(package).as_posix(), path.read_bytes())
        for path in sorted(package.rglob("*"))
        if path.suffix in _PROGRAM
    ]
    for name, content in (*tables, *program):
        found.update(f"{name}\n{hashlib.sha256(content).hexdigest()}\n".encode())
    return found.hexdigest()


_PROGRAM: Final = (".css", ".html", ".js", ".py")


def _is_drawn(workspace: Workspace, inputs: str) -> bool:
    """Whether the page and all its figures are there and were drawn from just these inputs."""
    files = workspace.files
    if not files.exists(_DRAWN) or not files.exists("report.html"):
        return False
    try:
        drawn = json.loads(files.read(_DRAWN))
        return drawn["inputs"] == inputs and all(
            files.exists(f"figures/{name}") for name in drawn["figures"]
        )
    except (ValueError, KeyError, TypeError):
        return False


def _rerun_note(experiment: Experiment, population: pd.DataFrame) -> str:
    if (population["treatment"] == "imported").any():
        return "Imported predictions come back with zoo import and the same files."
    return (
        f"A copy of the experiment's file as it was is {EXPERIMENT_FILE}."
        if experiment.source.endswith(".py")
        else ""
    )


def _in_bf16(workspace: Workspace, dataset: Dataset) -> set[str]:
    """Classifiers that answered on some split of the data in bf16."""
    return {
        name
        for (fingerprint, _, precision), names in answered_in(workspace).items()
        if fingerprint == dataset.fingerprint and precision == "bf16"
        for name in names
    }


def _checkout() -> str:
    """Commit of the clone this code runs from, with a mark if it was changed; empty where it is
    installed."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    git = ["git", "-C", str(root)]
    try:
        commit = subprocess.run(  # noqa: S603 - fixed words
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run(  # noqa: S603 - fixed words
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit}, changed" if changed.strip() else commit


def _full_test(arms: pd.DataFrame | None) -> pd.DataFrame | None:
    return None if arms is None else arms[arms["on"] == "full"]
