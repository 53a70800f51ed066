"""From a workspace to its report: collect the tables, draw, write the page. ``zoo.report.page`` knows nothing of workspaces."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from zoo.data import Dataset
from zoo.data.decode import thumbnails_of
from zoo.errors import DataError, NotFoundError
from zoo.registry import distinct
from zoo.report.draw import Provenance
from zoo.report.page import render
from zoo.report.parts import ReportData
from zoo.scores import population
from zoo.scores.convergence import convergence_table
from zoo.scores.detection import detection_of
from zoo.spec import Experiment
from zoo.store import ledger
from zoo.store.datasets import changed_since
from zoo.store.files import LocalFiles
from zoo.store.results import read_scores, record_run, table_of, write_table
from zoo.store.workspace import Workspace
from zoo.studies.findings import NOTHING_CONCLUDED, Conclusion

__all__ = ["write_report"]


def write_report(
    workspace: Workspace,
    experiment: Experiment,
    dataset: Dataset,
    timings: Mapping[str, float],
    concluded: Conclusion = NOTHING_CONCLUDED,
) -> Path:
    """Write ``report.html`` and ``figures/`` of a workspace. Stages that were not done leave their sections out, with the reason.

    ``timings`` (stage -> seconds of the run that did the work) are kept, so that a report written again says them still.
    """
    if changed := changed_since(workspace, dataset):
        raise DataError(f"{changed} A report is about what was trained on: restore the data, or choose what is on record with --data.")
    timings = record_run(workspace, experiment, timings)
    frame = ledger.classifiers_frame(workspace)
    belongs = frame["training_id"].isin(ledger.trainings_of(workspace, experiment.name))
    here = {k: c for k, c in ledger.population(workspace).items() if c.facts["dataset"] == dataset.fingerprint}
    if not experiment.sweeps:  # what was done step by step: imported classifiers are part of it
        belongs |= frame["classifier_id"].isin([k for k, c in here.items() if c.kind == "member"])
    mine = frame[frame["classifier_id"].isin(list(here)) & belongs]
    tables = {name: table_of(workspace, name, dataset.fingerprint) for name in ("arms", "comparisons", "detection")}
    scores = {}
    for split in dataset.splits:
        with contextlib.suppress(NotFoundError):  # not scored yet: its sections say so
            scores[split] = read_scores(workspace, dataset.fingerprint, split)[0]
    seeds = sorted({int(seed) for seed in frame["seed"]})
    findings = concluded.findings
    provenance = Provenance(
        experiment=experiment.name,
        scale=experiment.scale,
        dataset=dataset.name,
        n_classifiers=len(mine),
        n_examples=sum(len(table) for table in scores.values()),
        seeds=tuple(seeds),
        version=version("classifier-zoo"),
        commit=_checkout(),
    )
    convergence = None
    if "train" in scores and len(mine) > 1:
        members = population.population_of(workspace, dataset.fingerprint, mine["classifier_id"])
        convergence = convergence_table(workspace, members)
        write_table(workspace, "convergence", convergence, members.origin("train").as_json())
    detection, notes = detection_of(workspace, dataset.fingerprint, list(mine["classifier_id"]), scores)
    data = ReportData(
        title=experiment.title,
        experiment=experiment.name,
        scale=experiment.scale,
        provenance=provenance,
        scores=scores,
        population=mine,
        class_names=distinct(dataset.class_names),
        arms=_full_test(tables.get("arms")),
        comparisons=tables.get("comparisons"),
        detection=tables.get("detection") if detection is None else detection,
        detection_notes=notes,
        convergence=convergence,
        verdicts=None if findings is None else findings.verdicts,
        charts=() if findings is None else findings.charts,
        findings_note=concluded.note,
        pictures=None if dataset.form == "imported" else partial(thumbnails_of, dataset),
        timings=timings,
        next_command=experiment.next_command,
        sections=experiment.sections,
    )
    page = render(data, workspace.report)
    if not isinstance(workspace.files, LocalFiles):
        # Drawn in a folder of this machine, then put where the study lives.
        for path in (page, *sorted(workspace.figures.iterdir())):
            workspace.files.replace(path.relative_to(workspace.root).as_posix(), path.read_bytes())
    return page


def _checkout() -> str:
    """Commit of the clone this code runs from, with a mark if it was changed; empty where it is installed."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    git = ["git", "-C", str(root)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - fixed words
        changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True).stdout  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit}, changed" if changed.strip() else commit


def _full_test(arms: pd.DataFrame | None) -> pd.DataFrame | None:
    return None if arms is None else arms[arms["on"] == "full"]
