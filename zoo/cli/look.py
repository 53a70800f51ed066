"""Commands that look at a workspace: query, schema, status, report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from zoo.cli.options import (
    AD_HOC,
    DEFAULT_WORKSPACE,
    LOOK,
    JsonOption,
    ScaleOption,
    SeveralOption,
    WorkspaceOption,
    open_workspace,
    print_json,
)

if TYPE_CHECKING:
    from zoo.data import Dataset
    from zoo.spec import Experiment

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(
        rich_help_panel=LOOK, epilog='Example: zoo query "select arch, avg(test_acc1) from classifiers group by arch" --format csv'
    )(query)
    app.command(rich_help_panel=LOOK, epilog="Example: zoo schema scores")(schema)
    app.command(rich_help_panel=LOOK, epilog="Example: zoo status --json")(status)
    app.command(rich_help_panel=LOOK, epilog="Example: zoo report -w ./zoo-workspace")(report)


# ---------------------------------------------------------------- look


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over the tables of 'zoo schema'.")],
    output_format: Annotated[Literal["table", "csv", "json", "parquet"], typer.Option("--format", help="How to print it.")] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write instead of stdout; needed for parquet.")] = None,
    snapshot: Annotated[str | None, typer.Option("--snapshot", help="Ask the store as it was when this snapshot was made.")] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """SQL (DuckDB) over everything in the workspace, by table name. Reads only."""
    from zoo.cli.text import write_result
    from zoo.store.query import hard_limits
    from zoo.store.query import query as run_query

    space = open_workspace(workspace) if snapshot is None else open_workspace(workspace).at(snapshot)

    def say_empty(table: str, command: str) -> None:
        print(f"table {table} holds nothing yet: {command} fills it.", file=sys.stderr, flush=True)

    with hard_limits():
        found = run_query(space, sql, on_empty=say_empty)
    write_result(found, output_format, output)


def schema(
    table: Annotated[str | None, typer.Argument(help="One table; default: all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Every table and column that queries can use."""
    from zoo.store.schema import schema_text, words

    if as_json:
        print_json({"schema": 1, "tables": words(table)})
    else:
        print(schema_text(table))


def status(workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """What is done, running, failed or still to do."""
    from zoo.cli.text import status_text
    from zoo.store.ledger import status as collect

    found = collect(open_workspace(workspace))
    if as_json:
        print_json({"schema": 1, **found})
    else:
        print(status_text(found))


def report(
    experiment: Annotated[str | None, typer.Argument(help="Experiment to judge by again. Default: as recorded, without its file.")] = None,
    scale: ScaleOption = None,
    data: SeveralOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Tables and figures of the workspace in one self-contained HTML page, each figure with its CSV."""
    from zoo.errors import NotFoundError
    from zoo.report.write import write_report
    from zoo.store import ledger
    from zoo.store.datasets import dataset_of
    from zoo.store.results import recorded_experiment, recorded_run
    from zoo.studies import load as experiments
    from zoo.studies.findings import NOTHING_CONCLUDED, conclude, kept

    space = open_workspace(workspace)
    timings: dict[str, float] = {}
    try:
        name, recorded_scale, timings = recorded_run(space)
    except NotFoundError:
        if experiment is None and not len(ledger.population(space)):
            raise
        name, recorded_scale = AD_HOC, None
    stored = recorded_experiment(space) if experiment is None and scale in (None, recorded_scale) else None
    if experiment is None and name == AD_HOC:
        dataset = dataset_of(space, data, imported=True)
        spec, concluded = _ad_hoc(dataset), NOTHING_CONCLUDED
    elif stored is not None:  # from what is stored: the experiment's file may be elsewhere by now
        spec = stored
        dataset = dataset_of(space, data or spec.dataset, imported=True)
        concluded = kept(space, spec, dataset)
    else:
        spec = experiments.load(experiment or name, scale or (recorded_scale if experiment in (None, name) else None))
        dataset = dataset_of(space, data or spec.dataset, imported=True)
        concluded = conclude(space, spec, dataset)
    print(write_report(space, spec, dataset, timings, concluded))


def _ad_hoc(dataset: Dataset) -> Experiment:
    """What was made step by step, as an experiment to report on."""
    from zoo.spec import Experiment

    return Experiment(name=AD_HOC, title=f"Classifiers of {dataset.name}", scale="ad-hoc", dataset=dataset.uri, sweeps=())
