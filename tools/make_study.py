"""Put the results of studies into a page of docs/studies: verdicts, facts of the run, figures with
their CSV.

    python -m tools.make_study PAGE                           judge again what is stored beside it
    python -m tools.make_study PAGE mnist=SPACE cifar10=SPACE from finished workspaces
    python -m tools.make_study PAGE cleaning=SPACE:laptop     one of a workspace's experiments
    python -m tools.make_study PAGE mnist+=SPACE              its seeds beside those stored

The page is written by hand; what stands between ``<!-- made: NAME THING -->`` and ``<!-- end -->``
is written here, where THING is ``run`` (what was run; the commit from a file ``COMMIT`` in the
workspace, if one was put there), ``verdicts``, ``against:OTHER`` (both studies' verdicts side by
side, in bold where they differ), or the name of a figure. NAME is a folder beside the
page, in a folder of the page's name. It holds ``study.json`` (what was run), ``outcomes.csv``,
``by_class.csv`` and ``curves.csv`` (see
``zoo.studies.outcomes``: all that the rules need, so that anyone can judge again; a claim whose
table is missing is not tested), or, of a study of scores and arms, the tables of
``zoo.studies.results``; ``verdicts.csv`` and the figures. From a workspace all of it is
written, but for the pixels of pictures; without one, ``verdicts.csv``, tables and the blocks
``run`` and ``verdicts``. A figure or a table that the page does not show is an error: nothing is
left out by forgetting it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from tools.bench.paired import processor
from zoo.data import open_dataset
from zoo.errors import UsageError
from zoo.report.charts import save
from zoo.report.draw import Provenance
from zoo.report.sections import duration_text
from zoo.store import ledger
from zoo.store.results import csv_text, recorded_experiment, recorded_run
from zoo.store.workspace import Workspace
from zoo.studies.claims import evidence_text
from zoo.studies.findings import Chart, stored_results
from zoo.studies.load import Judge, judge_of, load
from zoo.studies.outcomes import Outcomes, collect
from zoo.studies.results import Results

__all__ = [
    "Study",
    "against_rows",
    "drawn",
    "filled",
    "main",
    "open_results",
    "open_study",
    "store_tables",
    "stored_study",
    "verdict_rows",
    "with_seeds",
]

_BLOCK = re.compile(r"<!-- made: (\S+) (\S+) -->\n.*?<!-- end -->", re.DOTALL)
_IMAGE_LIMIT = 200_000
"""An SVG larger than this is shown as PNG."""

_AGAINST = "against:"

_PICTURE = "picture"
"""Column of pictures. No table beside a page holds it: pictures are their data set's; the few that
a figure shows are in the figure, their keys in its table."""

_TABLES = ("by_class", "curves")
"""Tables of ``Outcomes`` that a folder may lack."""


@dataclass(frozen=True)
class Study:
    """What a study found, and what was run.

    Args:
        facts: experiment, scale, dataset, commit (of several runs, with commas between them),
            train_seconds, machine, versions; of damaged
            sets: train_size, classes (name -> test examples); of scores and arms: tables (names),
            trained (counts by part and role).
        figures: folder of the figures; None where nothing is to be drawn again.
    """

    facts: dict[str, Any]
    evidence: Outcomes | Results
    verdicts: pd.DataFrame
    charts: tuple[Chart, ...] = ()
    figures: Path | None = None


def open_study(path: str) -> Study:
    """The study a workspace's last report was about.

    Raises:
        UsageError: if its experiment judges no claims.
    """
    workspace = Workspace.open(path)
    name, scale, _ = recorded_run(workspace)
    recorded, experiment = recorded_experiment(workspace), load(name, scale)
    judge = _judge(name, scale)
    assert judge.points is not None
    if recorded is not None:
        experiment = experiment.of_seeds(recorded.seeds)
    outcomes = collect(workspace, open_dataset(experiment.dataset), experiment, judge.points)
    trainings = ledger.trainings_frame(workspace)
    facts = {
        "experiment": experiment.source,
        "scale": experiment.scale,
        "dataset": outcomes.dataset,
        "train_size": outcomes.train_size,
        "classes": dict(zip(outcomes.class_names, outcomes.class_counts, strict=True)),
        "commit": _commit(workspace),
        "train_seconds": round(float(trainings["train_seconds"].sum())),
        "machine": f"{os.cpu_count()} cores ({processor()})",
        "versions": sorted(set(trainings["versions"].dropna())),
    }
    shown = (*judge.tables(outcomes), *judge.charts(outcomes))
    return Study(facts, outcomes, judge.verdicts(outcomes), shown, workspace.figures)


def open_results(path: str, name: str, scale: str) -> Study:
    """A study of scores and arms, as ``zoo run --until conclude`` left it in a workspace; its
    figures are drawn into a new folder.

    Raises:
        NotFoundError: if the workspace holds no results of it.
    """
    workspace = Workspace.open(path)
    experiment = load(name, scale)
    results = stored_results(workspace, experiment)
    judge = _judge(name, scale)
    trainings = ledger.trainings_frame(workspace).set_index("training_id")
    trained, seconds, versions = {}, 0.0, set()
    for part in experiment.each:
        mine = trainings.loc[ledger.trainings_of(workspace, part.name)]
        seconds += float(mine["train_seconds"].sum())
        versions |= set(mine["versions"].dropna())
        trained[part.name.removeprefix(f"{name}-")] = {
            "data": part.dataset,
            **{str(role): int(count) for role, count in mine["role"].value_counts().items()},
        }
    commit = _commit(workspace)
    facts: dict[str, Any] = {
        "experiment": name,
        "scale": scale,
        "dataset": results.dataset,
        "tables": sorted(results.tables),
        "trained": trained,
        "commit": commit,
        "train_seconds": round(seconds),
        "machine": f"{os.cpu_count()} cores ({processor()})",
        "versions": sorted(versions),
    }
    charts = (*judge.tables(results), *judge.charts(results))
    folder = _drawn(
        charts,
        facts,
        sum(len(ledger.trainings_of(workspace, p.name)) for p in experiment.each),
        sorted({int(s) for s in results.tables.get("arms", _NONE).get("seed", ())}),
    )
    return Study(facts, results, judge.verdicts(results), charts, folder)


def _drawn(
    charts: Sequence[Chart], facts: Mapping[str, Any], classifiers: int, seeds: Sequence[int]
) -> Path:
    """A new folder with the figures."""
    folder = Path(tempfile.mkdtemp())
    provenance = Provenance(
        experiment=facts["experiment"],
        scale=facts["scale"],
        dataset=facts["dataset"],
        n_classifiers=classifiers,
        n_examples=0,
        seeds=tuple(seeds),
        version=version("classifier-zoo"),
        commit=facts["commit"],
        reproduces=True,
    )
    for chart in charts:
        if chart.kind != "table":
            save(chart, folder, provenance)
    return folder


_NONE = pd.DataFrame()


def _commit(workspace: Workspace) -> str:
    """The commit that made the results, if it was noted in the workspace."""
    noted = workspace.root / "COMMIT"
    return noted.read_text().strip() if noted.is_file() else ""


def stored_study(folder: Path) -> Study:
    """The study that was stored in a folder beside the page, judged by the rules of today.

    Raises:
        UsageError: if the folder holds none.
    """
    if not (folder / "study.json").is_file():
        raise UsageError(
            f"{folder} holds no study.json. Give the study's workspace: {folder.name}=WORKSPACE."
        )
    facts = json.loads((folder / "study.json").read_text())
    evidence: Outcomes | Results
    if "tables" in facts:
        evidence = Results(
            {name: pd.read_csv(folder / f"table-{name}.csv") for name in facts["tables"]},
            scale=facts["scale"],
            dataset=facts["dataset"],
        )
    else:
        evidence = _stored_outcomes(folder, facts)
    judge = _judge(facts["experiment"], facts["scale"])
    return Study(facts, evidence, judge.verdicts(evidence), tuple(judge.tables(evidence)))


def _stored_outcomes(folder: Path, facts: dict[str, Any]) -> Outcomes:
    whole = {
        name: pd.read_csv(folder / f"{name}.csv") if (folder / f"{name}.csv").is_file() else None
        for name in _TABLES
    }
    table: pd.DataFrame = pd.read_csv(
        folder / "outcomes.csv", dtype={"reached": "boolean", "epochs": "Int64", "n_train": "Int64"}
    )
    return Outcomes(
        table=table,
        class_names=tuple(facts["classes"]),
        class_counts=tuple(facts["classes"].values()),
        scale=facts["scale"],
        dataset=facts["dataset"],
        train_size=facts["train_size"],
        **whole,
    )


_COMMON = ("experiment", "scale", "dataset", "train_size", "classes")
"""Facts that two runs of seeds of one study share."""


def with_seeds(stored: Study, more: Study) -> Study:
    """The stored study with the seeds of a workspace added to it, judged as one. What the
    baselines of two runs answer differently is not known: ``changed`` of a baseline stays that
    of its own run.

    Raises:
        UsageError: if the two are not runs of one study, or share a seed.
    """
    ours, theirs = stored.evidence, more.evidence
    if not (isinstance(ours, Outcomes) and isinstance(theirs, Outcomes)):
        raise UsageError("+= adds seeds to a study of damaged training sets. Give NAME=WORKSPACE.")
    for fact in _COMMON:
        if stored.facts[fact] != more.facts[fact]:
            raise UsageError(
                f"{fact} is {stored.facts[fact]} beside the page and {more.facts[fact]} in the"
                " workspace: they are not of one run of the study. Give NAME=WORKSPACE to put it"
                " in its place."
            )
    if shared := sorted({*ours.seeds} & {*theirs.seeds}):
        raise UsageError(
            f"seed {shared[0]} is in both; each seed counts once. Run others: zoo run"
            f" {stored.facts['experiment']} --seeds."
        )
    table = pd.concat([ours.table, theirs.table], ignore_index=True)
    archs = {arch: place for place, arch in enumerate(ours.archs)}
    order = table.assign(place=table["arch"].map(archs)).sort_values(
        ["place", "seed"], kind="stable"
    )

    evidence = replace(
        ours,
        table=order.drop(columns="place").reset_index(drop=True),
        by_class=_both(ours.by_class, theirs.by_class),
        curves=_both(ours.curves, theirs.curves),
    )
    facts = {
        **stored.facts,
        **{fact: _listed(stored.facts[fact], more.facts[fact]) for fact in ("commit", "machine")},
        "train_seconds": stored.facts["train_seconds"] + more.facts["train_seconds"],
        "versions": sorted({*stored.facts["versions"], *more.facts["versions"]}),
    }
    return Study(facts, evidence, _judge(facts["experiment"], facts["scale"]).verdicts(evidence))


def drawn(study: Study) -> Study:
    """A study of damaged training sets with its figures."""
    assert isinstance(study.evidence, Outcomes)
    judge = _judge(study.facts["experiment"], study.facts["scale"])
    charts = (*judge.tables(study.evidence), *judge.charts(study.evidence))
    trainings, seeds = study.evidence.table["training_id"].nunique(), study.evidence.seeds
    return replace(study, charts=charts, figures=_drawn(charts, study.facts, trainings, seeds))


def _both(one: pd.DataFrame | None, other: pd.DataFrame | None) -> pd.DataFrame | None:
    return None if one is None or other is None else pd.concat([one, other], ignore_index=True)


def _listed(known: str, one: str) -> str:
    """A fact of several runs, each value once."""
    return ", ".join(dict.fromkeys(filter(None, (*known.split(", "), one))))


def store_tables(study: Study, folder: Path) -> None:
    """Write what ``stored_study`` reads."""
    (folder / "study.json").write_text(json.dumps(study.facts, indent=1, ensure_ascii=False) + "\n")
    if isinstance(study.evidence, Results):
        for name, table in study.evidence.tables.items():
            kept = table.drop(columns=_PICTURE, errors="ignore")
            (folder / f"table-{name}.csv").write_text(csv_text(kept, "%.6g"))
        return
    for name, part in {
        "outcomes": study.evidence.table,
        "by_class": study.evidence.by_class,
        "curves": study.evidence.curves,
    }.items():
        if part is not None:
            (folder / f"{name}.csv").write_text(csv_text(part))


def _judge(name: str, scale: str) -> Judge:
    judge = judge_of(load(name, scale))
    if judge is None:
        raise UsageError(f"experiment {name} judges no claims. Give a study that does.")
    return judge


def verdict_rows(verdicts: pd.DataFrame) -> list[str]:
    """The verdict table as Markdown, rules and notes under it as a list."""
    lines = ["| claim | statement | published | measured | verdict |", "|---|---|---|---|---|"]
    rows = verdicts.to_dict(orient="records")
    for row in rows:
        measured = "" if pd.isna(row["measured"]) else row["measured"]
        lines.append(
            f"| {row['claim']} | {_cell(row['statement'])} | {_cell(row['published'])} |"
            f" {_cell(measured)} | **{row['verdict']}** |"
        )
    lines += ["", "<details><summary>The rules, and what decided each</summary>", ""]
    for row in rows:
        said = " ".join(filter(None, (row["note"], evidence_text(row.get("p"), row.get("p_holm")))))
        lines.append(f"- **{row['claim']}**: {row['rule']}{f' *{said}*' if said else ''}")
    said = "Measured: mean over seeds, \u00b1 their standard deviation."
    return [*lines[: 2 + len(rows)], "", said, *lines[2 + len(rows) :], "", "</details>"]


def table_rows(chart: Chart) -> list[str]:
    """A table as Markdown under its title, its caption below."""
    rows = [list(map(str, chart.table.columns)), *chart.table.astype(str).to_numpy().tolist()]
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return [f"**{chart.title}**", "", *lines, "", chart.caption]


def against_rows(first: Study, second: Study) -> list[str]:
    """Claims that both have and the second could test, in its order: measured and verdict at each
    one's scale."""
    scales = [f"{study.facts['scale']}" for study in (first, second)]
    rows = first.verdicts.merge(second.verdicts, on="claim", how="right", suffixes=("", "_second"))
    lines = [
        f"| claim | statement | {scales[0]} | | {scales[1]} | |",
        "|---|---|---|---|---|---|",
    ]
    tested = rows[rows["verdict_second"] != "not tested"].dropna(subset="verdict")
    for row in tested.to_dict(orient="records"):
        found = [
            f"{'' if pd.isna(row[f'measured{end}']) else row[f'measured{end}']} |"
            f" {_bold(row['verdict_second'] != row['verdict'], row[f'verdict{end}'])}"
            for end in ("", "_second")
        ]
        lines.append(f"| {row['claim']} | {_cell(row['statement'])} | {' | '.join(found)} |")
    return lines


def _bold(changed: bool, text: str) -> str:
    return f"**{text}**" if changed else text


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|")


def run_rows(study: Study) -> list[str]:
    """What was run: command, scale, counts, times, machine, versions, as a Markdown list."""
    facts = study.facts
    if isinstance(study.evidence, Results):
        return _results_rows(study)
    table = study.evidence.table
    once = table.drop_duplicates("training_id")
    sizes = table[table["aspect"] == "baseline"]["n_train"].unique()
    done, reached = once[once["status"] == "done"], once[once["reached"].fillna(value=False)]
    counts = ", ".join(f"{n} {status}" for status, n in once["status"].value_counts().items())
    images = int((once["epochs"] * once["n_train"]).sum())
    start = " or ".join(f"{int(n):,}" for n in sizes)
    seeds, archs = ", ".join(map(str, study.evidence.seeds)), ", ".join(study.evidence.archs)
    lines = (
        _command(facts),
        (
            f"Training sets start from {start} of {facts['train_size']:,} images;"
            f" {sum(facts['classes'].values()):,} clean test images; seeds {seeds}; networks"
            f" {archs}."
        ),
        (
            f"{len(once)} trainings ({counts}) for {len(table)} points x networks x seeds;"
            f" {len(reached)} of {len(done)} reached the stop rule, the others the epoch cap;"
            f" {images:,} image passes, {duration_text(facts['train_seconds'])} of training summed"
            " over processes."
        ),
        _made_on(facts),
    )
    return [f"- {line}" for line in lines]


def _command(facts: Mapping[str, Any]) -> str:
    at = f" at commit {facts['commit']}" if facts["commit"] else ""
    scale = "" if facts["scale"] == "paper" else f"; scale **{facts['scale']}**, not the paper's"
    return f"Command: `zoo run {facts['experiment']} --scale {facts['scale']}`{at}{scale}."


def _made_on(facts: Mapping[str, Any]) -> str:
    return (
        f"Machine that wrote this page: {facts['machine']}. Versions:"
        f" {', '.join(facts['versions'])}."
    )


def _results_rows(study: Study) -> list[str]:
    """The same of a study of scores and arms."""
    facts, lines = study.facts, [_command(study.facts)]
    for part, about in facts["trained"].items():
        counts = ", ".join(f"{n} of its {role}" for role, n in about.items() if role != "data")
        lines.append(f"{part}: `{about['data']}`; trainings: {counts}.")
    spent = duration_text(facts["train_seconds"])
    lines += [f"{spent} of training summed over processes.", _made_on(facts)]
    return [f"- {line}" for line in lines]


def filled(page: str, studies: Mapping[str, Study], folder: str) -> str:
    """The page with every block written again; figures only of the studies that have some to draw.

    Raises:
        UsageError: for a block of an unknown study or figure, or a figure that no block shows.
    """
    shown: dict[str, set[str]] = {name: set() for name in studies}

    def block(match: re.Match[str]) -> str:
        name, thing = match.groups()
        if name not in studies:
            raise UsageError(
                f"block {name} {thing}: no study {name}. There are {', '.join(studies)}."
            )
        study = studies[name]
        charts = {chart.name: chart for chart in study.charts}
        if thing in ("run", "verdicts"):
            lines = run_rows(study) if thing == "run" else verdict_rows(study.verdicts)
        elif thing.startswith(_AGAINST):
            if (other := thing.removeprefix(_AGAINST)) not in studies:
                raise UsageError(
                    f"block {name} {thing}: no study {other}. There are {', '.join(studies)}."
                )
            lines = against_rows(studies[other], study)
        elif thing in charts and charts[thing].kind == "table":
            shown[name].add(thing)
            lines = table_rows(charts[thing])
        elif study.figures is None:
            return match.group()
        elif thing in charts:
            shown[name].add(thing)
            kind = (
                "svg" if (study.figures / f"{thing}.svg").stat().st_size <= _IMAGE_LIMIT else "png"
            )
            at = f"{folder}/{name}/{thing}"
            lines = [
                f"**{charts[thing].title}**",
                "",
                f"![{charts[thing].title}]({at}.{kind})",
                "",
                f"{charts[thing].caption} [CSV]({at}.csv)",
            ]
        else:
            raise UsageError(
                f"block {name} {thing}: the study has run, verdicts and {', '.join(charts)}."
            )
        return "\n".join([f"<!-- made: {name} {thing} -->", *lines, "<!-- end -->"])

    text = _BLOCK.sub(block, page)
    for name, study in studies.items():
        if forgotten := [chart.name for chart in study.charts if chart.name not in shown[name]]:
            raise UsageError(
                f"the page shows no {', '.join(forgotten)} of {name}. Add a block for each."
            )
    return text


def _opened(name: str, place: str) -> Study:
    """``WORKSPACE``, or ``WORKSPACE:SCALE`` of the experiment of that name."""
    path, colon, scale = place.rpartition(":")
    return open_results(path, name, scale) if colon else open_study(place)


def _as_kept(study: Study) -> Study:
    """The study judged by its tables as a folder keeps them, to six digits: the same page and
    verdicts, to the byte, as without its workspace."""
    if study.figures is None:
        return study
    with tempfile.TemporaryDirectory() as folder:
        store_tables(study, Path(folder))
        kept = stored_study(Path(folder))
    drawn = [chart for chart in study.charts if chart.kind != "table"]
    return replace(study, verdicts=kept.verdicts, charts=(*kept.charts, *drawn))


def main(arguments: Sequence[str]) -> int:
    page = Path(arguments[0])
    folder = page.with_suffix("")
    workspaces = dict(argument.split("=", 1) for argument in arguments[1:])
    added = {name.removesuffix("+") for name in workspaces if name.endswith("+")}
    workspaces = {name.removesuffix("+"): place for name, place in workspaces.items()}
    names = sorted({name for name, _ in _BLOCK.findall(page.read_text())} | set(workspaces))
    studies = {
        name: _opened(name, workspaces[name]) if name in workspaces else stored_study(folder / name)
        for name in names
    }
    for name in added:
        studies[name] = drawn(with_seeds(stored_study(folder / name), studies[name]))
    studies = {name: _as_kept(study) for name, study in studies.items()}
    text = filled(page.read_text(), studies, page.stem)
    for name, study in studies.items():
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        # What processors differ in is not kept: the last digits of a fitted number, a sum near 0.
        (target / "verdicts.csv").write_text(csv_text(study.verdicts, "%.9f"))
        if study.figures is None:
            continue
        store_tables(study, target)
        for chart in study.charts:
            if chart.kind == "table":
                continue
            for ending in ("csv", "svg", "png"):
                source = study.figures / f"{chart.name}.{ending}"
                if ending == "csv" and _PICTURE in chart.table:
                    kept = chart.table.drop(columns=_PICTURE)
                    (target / source.name).write_text(csv_text(kept))
                elif ending == "csv" or f"{name}/{chart.name}.{ending}" in text:
                    shutil.copyfile(source, target / source.name)
    page.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
