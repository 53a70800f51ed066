"""From a workspace to its report: collect the tables, draw, write the page. ``zoo.report`` knows nothing of workspaces."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from zoo import compare, ledger, scoring
from zoo.data import Dataset, decode_examples
from zoo.detection import label_errors
from zoo.errors import NotFoundError, StoreError, UsageError
from zoo.experiment import findings_of
from zoo.figures import Provenance
from zoo.outcomes import collect
from zoo.report import ReportData, render
from zoo.results import read_table, table_names, write_table
from zoo.spec import Experiment, canonical_json
from zoo.store.files import LocalFiles
from zoo.study import Findings
from zoo.workspace import Workspace

__all__ = ["convergence_table", "recorded_run", "write_report"]

_CONVERGENCE_EXAMPLES = 5000
_THUMBNAIL = 128


def write_report(workspace: Workspace, experiment: Experiment, dataset: Dataset, timings: Mapping[str, float]) -> Path:
    """Write ``report.html`` and ``figures/`` of a workspace. Stages that were not done leave their sections out, with the reason.

    ``timings`` (stage -> seconds of the run that did the work) are kept, so that a report written again says them still.
    """
    timings = _record_run(workspace, experiment, timings)
    frame = ledger.classifiers_frame(workspace)
    belongs = frame["training_id"].isin(ledger.trainings_of(workspace, experiment.name))
    if not experiment.sweeps:  # what was done step by step: imported classifiers are part of it
        members = [k for k, c in ledger.population(workspace).items() if c.kind == "member" and c.facts["dataset"] == dataset.fingerprint]
        belongs |= frame["classifier_id"].isin(members)
    mine = frame[(frame["role"] == "population") & belongs]
    tables = {name: read_table(workspace, name) for name in table_names(workspace)}
    scores = {split: tables[f"scores-{split}"] for split in dataset.splits if f"scores-{split}" in tables}
    seeds = sorted({int(seed) for seed in frame["seed"]})
    findings, findings_note = _findings(workspace, experiment, dataset)
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
        convergence = convergence_table(workspace, scoring.population_of(workspace, dataset.fingerprint, mine["classifier_id"]))
        write_table(workspace, "convergence", convergence)
    detection, notes = _detection(workspace, dataset.fingerprint, list(mine["classifier_id"]), scores)
    data = ReportData(
        title=experiment.title,
        experiment=experiment.name,
        scale=experiment.scale,
        provenance=provenance,
        scores=scores,
        population=mine,
        class_names=dataset.class_names,
        arms=_full_test(tables.get("arms")),
        comparisons=tables.get("comparisons"),
        detection=tables.get("detection") if detection is None else detection,
        detection_notes=notes,
        convergence=convergence,
        verdicts=None if findings is None else findings.verdicts,
        charts=() if findings is None else findings.charts,
        findings_note=findings_note,
        pictures=None if dataset.form == "imported" else partial(_pictures, dataset),
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


def _findings(workspace: Workspace, experiment: Experiment, dataset: Dataset) -> tuple[Findings | None, str]:
    """What the experiment's own file finds, its tables written; or why it finds nothing yet."""
    hooks = findings_of(experiment)
    if hooks is None:
        return None, ""
    points, find = hooks
    try:
        outcomes = collect(workspace, dataset, experiment, points)
    except (NotFoundError, StoreError) as reason:
        return None, str(reason)
    found: Findings = find(outcomes)
    about = {"experiment": experiment.name, "scale": experiment.scale}
    write_table(workspace, "outcomes", outcomes.table, about)
    write_table(workspace, "verdicts", found.verdicts, about)
    return found, ""


def _checkout() -> str:
    """Commit of the clone this code runs from, with a mark if it was changed; empty where it is installed."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return ""
    git = ["git", "-C", str(root)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 - fixed words
        changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=True).stdout  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit}, changed" if changed.strip() else commit


def _detection(
    workspace: Workspace, fingerprint: str, classifiers: Sequence[str], scores: Mapping[str, pd.DataFrame]
) -> tuple[pd.DataFrame | None, list[str]]:
    """How well label errors are found, on the first split with known truth (train before others), and what is to be said about it."""
    for split in sorted(scores, key=lambda name: name != "train"):
        if len(classifiers) and scores[split]["label_true"].notna().any():
            population = scoring.population_of(workspace, fingerprint, classifiers)
            found = label_errors(scores[split], scoring.Probabilities(workspace, population, split))
            notes = [
                f"{row['score']}: {row['n_flagged']:,.0f} examples flagged by cleanlab's own estimate of their number, precision "
                f"{row['precision']:.3f}, recall {row['recall']:.3f}."
                for row in found.flagged.to_dict(orient="records")
            ]
            return found.table, notes or [f"Without cleanlab beside them. {found.reason}"]
    return None, []


def _full_test(arms: pd.DataFrame | None) -> pd.DataFrame | None:
    return None if arms is None else arms[arms["on"] == "full"]


def _pictures(dataset: Dataset, split: str, example_ids: Sequence[int]) -> NDArray[np.uint8]:
    """Pictures as they are in the data set, [n, H, W, K]; large ones are reduced to thumbnails."""
    side = min(_THUMBNAIL, max(dataset.native_size)) if dataset.native_size else _THUMBNAIL
    ids = np.asarray(example_ids, dtype=np.int64)
    return decode_examples(dataset.splits[split], ids, size=side, channels=dataset.channels, fit="resize").images


def convergence_table(workspace: Workspace, population: scoring.Population) -> pd.DataFrame:
    """How many classifiers are enough: rank correlation of X and C with the full population, for random parts of it."""
    _, predictions, entropies, labels, truth = scoring.sample_answers(workspace, population, "train", _CONVERGENCE_EXAMPLES)
    total = len(population.classifiers)
    sizes = sorted({n for n in (1, 2, 3, 5, 8, 12, 20, 30, 50, 75, 100, 150, 200, 300, 400, 500, 1000) if n < total} | {total})
    return compare.convergence(
        predictions, entropies, labels, sizes=sizes, key="convergence", labels_true=truth if (truth >= 0).all() else None
    )


def _record_run(workspace: Workspace, experiment: Experiment, timings: Mapping[str, float]) -> dict[str, float]:
    """Remember which experiment this workspace's report is about, and the longest time each stage took (a rerun finds most of it done)."""
    known: dict[str, float] = {}
    source = experiment.source or experiment.name
    try:
        name, scale, known = recorded_run(workspace)
        if (name, scale) != (source, experiment.scale):
            known = {}
    except NotFoundError:
        pass
    merged = {stage: max(seconds, known.get(stage, 0.0)) for stage, seconds in {**known, **timings}.items()}
    body = {"experiment": source, "scale": experiment.scale, "timings": merged}
    workspace.files.replace("results/run.json", canonical_json(body).encode())
    return merged


def recorded_run(workspace: Workspace) -> tuple[str, str, dict[str, float]]:
    """(experiment's name or path, scale, seconds per stage) of the run that made this workspace's report.

    Raises:
        NotFoundError: if no report was made yet.
    """
    if not workspace.files.exists("results/run.json"):
        raise NotFoundError(
            f"{workspace.location} has no report yet. Make one with 'zoo run EXPERIMENT', or name its experiment: zoo report EXPERIMENT."
        )
    try:
        body = json.loads(workspace.files.read("results/run.json"))
        return str(body["experiment"]), str(body["scale"]), {str(k): float(v) for k, v in body["timings"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{workspace.results / 'run.json'} is damaged. Name the experiment: zoo report EXPERIMENT.") from None
