"""Put the results of finished workspaces into a page of docs/studies: verdicts, facts of the run, figures with their CSV.

python -m tools.make_study docs/studies/data-quality.md mnist=WORKSPACE cifar10=WORKSPACE

The page is written by hand; what stands between ``<!-- made: NAME THING -->`` and ``<!-- end -->`` is written here, where NAME is one of the
names given and THING is ``run`` (what was run; the commit from a file ``COMMIT`` in the workspace, if one was put there), ``verdicts``, or the
name of a figure. The figures' files are copied beside the page, into a folder of its name. A figure of the workspace that the page does not
show is an error: nothing is left out by forgetting it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tools.bench.paired import processor
from zoo.data import open_dataset
from zoo.errors import UsageError
from zoo.report.sections import duration_text
from zoo.spec import Experiment
from zoo.store import ledger
from zoo.store.results import recorded_run
from zoo.store.workspace import Workspace
from zoo.studies.findings import Findings
from zoo.studies.load import findings_of, load
from zoo.studies.outcomes import Outcomes, collect

__all__ = ["Study", "filled", "main", "open_study", "verdict_rows"]

_BLOCK = re.compile(r"<!-- made: (\S+) (\S+) -->\n.*?<!-- end -->", re.DOTALL)
_IMAGE_LIMIT = 200_000
"""An SVG larger than this is shown as PNG."""


@dataclass(frozen=True)
class Study:
    """A finished workspace and what its experiment finds in it."""

    workspace: Workspace
    experiment: Experiment
    outcomes: Outcomes
    findings: Findings


def open_study(path: str) -> Study:
    """The study a workspace's last report was about.

    Raises:
        UsageError: if its experiment has no findings.
    """
    workspace = Workspace.open(path)
    name, scale, _ = recorded_run(workspace)
    experiment = load(name, scale)
    hooks = findings_of(experiment)
    if hooks is None:
        raise UsageError(f"{path}: experiment {name} has no findings. Give the workspace of a study that judges claims.")
    outcomes = collect(workspace, open_dataset(experiment.dataset), experiment, hooks[0])
    return Study(workspace, experiment, outcomes, hooks[1](outcomes))


def verdict_rows(verdicts: pd.DataFrame) -> list[str]:
    """The verdict table as Markdown, rules and notes under it as a list."""
    lines = ["| claim | statement | published | measured | verdict |", "|---|---|---|---|---|"]
    rows = verdicts.to_dict(orient="records")
    for row in rows:
        measured = "" if pd.isna(row["measured"]) else row["measured"]
        lines.append(
            f"| {row['claim']} | {_cell(row['statement'])} | {_cell(row['published'])} | {_cell(measured)} | **{row['verdict']}** |"
        )
    lines += ["", "<details><summary>The rules, fixed before looking, and what decided each</summary>", ""]
    for row in rows:
        note = f" *{row['note']}*" if row["note"] else ""
        lines.append(f"- **{row['claim']}**: {row['rule']}{note}")
    return [*lines, "", "</details>"]


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|")


def run_rows(study: Study) -> list[str]:
    """What was run: command, scale, counts, times, machine, versions, as a Markdown list."""
    table, trainings = study.outcomes.table, ledger.trainings_frame(study.workspace)
    once = table.drop_duplicates("training_id")
    sizes = table[table["aspect"] == "baseline"]["n_train"].unique()
    done, reached = once[once["status"] == "done"], once[once["reached"].fillna(value=False)]
    counts = ", ".join(f"{n} {status}" for status, n in once["status"].value_counts().items())
    seconds = float(trainings["train_seconds"].sum())
    images = int((once["epochs"] * once["n_train"]).sum())
    commit = read_commit(study.workspace)
    at = f" at commit {commit}" if commit else ""
    scale = "" if study.experiment.scale == "paper" else f"; scale **{study.experiment.scale}**, not the paper's"
    start = " or ".join(f"{int(n):,}" for n in sizes)
    seeds, archs = ", ".join(map(str, study.outcomes.seeds)), ", ".join(study.outcomes.archs)
    facts = (
        f"Command: `zoo run {study.experiment.name} --scale {study.experiment.scale}`{at}{scale}.",
        (
            f"Training sets start from {start} of {study.outcomes.train_size:,} images; {len(study.outcomes.labels):,} clean test images; "
            f"seeds {seeds}; networks {archs}."
        ),
        (
            f"{len(once)} trainings ({counts}) for {len(table)} points x networks x seeds; {len(reached)} of {len(done)} reached the stop rule, "
            f"the others the epoch cap; {images:,} image passes, {duration_text(seconds)} of training summed over processes."
        ),
        f"Machine that wrote this page: {os.cpu_count()} cores ({processor()}). Versions: {', '.join(sorted(set(trainings['versions'].dropna())))}.",
    )
    return [f"- {fact}" for fact in facts]


def read_commit(workspace: Workspace) -> str:
    """Commit of the code that the study's trainings ran, where it was noted beside the workspace (``COMMIT``), else empty."""
    noted = workspace.root / "COMMIT"
    return noted.read_text().strip() if noted.is_file() else ""


def filled(page: str, studies: dict[str, Study], folder: str) -> str:
    """The page with every block written again.

    Raises:
        UsageError: for a block of an unknown study or figure, or a figure that no block shows.
    """
    shown: dict[str, set[str]] = {name: set() for name in studies}

    def block(match: re.Match[str]) -> str:
        name, thing = match.groups()
        if name not in studies:
            return match.group()
        study = studies[name]
        charts = {chart.name: chart for chart in study.findings.charts}
        if thing in ("run", "verdicts"):
            lines = run_rows(study) if thing == "run" else verdict_rows(study.findings.verdicts)
        elif thing in charts:
            shown[name].add(thing)
            kind = "svg" if (study.workspace.figures / f"{thing}.svg").stat().st_size <= _IMAGE_LIMIT else "png"
            at = f"{folder}/{name}/{thing}"
            lines = [
                f"**{charts[thing].title}**",
                "",
                f"![{charts[thing].title}]({at}.{kind})",
                "",
                f"{charts[thing].caption} [CSV]({at}.csv)",
            ]
        else:
            raise UsageError(f"block {name} {thing}: the study has run, verdicts and {', '.join(charts)}.")
        return "\n".join([f"<!-- made: {name} {thing} -->", *lines, "<!-- end -->"])

    text = _BLOCK.sub(block, page)
    for name, study in studies.items():
        if forgotten := [chart.name for chart in study.findings.charts if chart.name not in shown[name]]:
            raise UsageError(f"the page shows no {', '.join(forgotten)} of {name}. Add a block for each.")
    return text


def main(arguments: Sequence[str]) -> int:
    page, studies = Path(arguments[0]), {name: open_study(path) for name, _, path in (a.partition("=") for a in arguments[1:])}
    text = filled(page.read_text(), studies, page.stem)
    for name, study in studies.items():
        target = page.with_suffix("") / name
        target.mkdir(parents=True, exist_ok=True)
        for chart in study.findings.charts:
            for ending in ("csv", "svg", "png"):
                source = study.workspace.figures / f"{chart.name}.{ending}"
                if ending == "csv" or f"{name}/{chart.name}.{ending}" in text:
                    shutil.copyfile(source, target / source.name)
        for table in ("verdicts", "outcomes"):
            shutil.copyfile(study.workspace.results / f"{table}.csv", target / f"{table}.csv")
    page.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
