"""Commands that look: query, schema, models, status, report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from zoo.cli import complete
from zoo.cli.options import (
    DEFAULT_WORKSPACE,
    LOOK,
    JsonOption,
    ScaleOption,
    SeveralOption,
    WorkspaceOption,
    open_workspace,
    print_frame,
    print_json,
)

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(
        rich_help_panel=LOOK,
        epilog=(
            'Example: zoo query "select arch, avg(test_acc1) from classifiers group by arch"'
            " --format csv"
        ),
    )(query)
    app.command(rich_help_panel=LOOK, epilog="Example: zoo schema scores")(schema)
    app.command(rich_help_panel=LOOK, epilog="Example: zoo models --json")(models)
    app.command(rich_help_panel=LOOK, epilog="Example: zoo status --json")(status)
    app.command(rich_help_panel=LOOK, epilog="Example: zoo report -w ./zoo-workspace")(report)


# ---------------------------------------------------------------- look


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over the tables of 'zoo schema'.")],
    output_format: Annotated[
        Literal["table", "csv", "json", "parquet"] | None,
        typer.Option("--format", help="How to print it. Default: table."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write instead of stdout; needed for parquet."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the file if there is one.")
    ] = False,
    snapshot: Annotated[
        str | None,
        typer.Option(
            "--snapshot",
            autocompletion=complete.snapshots,
            help="Ask the store as it was when this snapshot was made.",
        ),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """SQL (DuckDB) over everything in the workspace, by table name. Reads only."""
    from zoo.cli.text import check_place, write_result
    from zoo.store.query import hard_limits
    from zoo.store.query import query as run_query

    form = output_format or "table"
    check_place(form, output, replace=replace)
    space = (
        open_workspace(workspace) if snapshot is None else open_workspace(workspace).at(snapshot)
    )

    def say_empty(table: str, command: str) -> None:
        print(f"table {table} holds nothing yet: {command} fills it.", file=sys.stderr, flush=True)

    with hard_limits():
        found = run_query(space, sql, on_empty=say_empty)
    write_result(found, form, output, replace=replace)


def schema(
    table: Annotated[
        str | None, typer.Argument(autocompletion=complete.tables, help="One table; default: all.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Every table and column that queries can use."""
    from zoo.store.schema import schema_text, words

    if as_json:
        print_json({"schema": 1, "tables": words(table)})
    else:
        print(schema_text(table))


def models(as_json: JsonOption = False) -> None:
    """Every architecture that --archs takes, with its size."""
    from zoo.models import MODELS

    rows = [
        {
            "name": m.name,
            "family": m.family,
            "parameters": m.parameters,
            "input": m.default_size or "the data's own",
            "least input": m.min_size,
        }
        for m in MODELS.values()
    ]
    if as_json:
        print_json({"schema": 1, "models": rows})
    else:
        import pandas as pd

        print_frame(pd.DataFrame(rows))


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
    experiment: Annotated[
        str | None,
        typer.Argument(
            autocompletion=complete.experiments,
            help="Experiment to judge by again. Default: as recorded, without its file.",
        ),
    ] = None,
    scale: ScaleOption = None,
    data: SeveralOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Tables and figures of the workspace in one self-contained HTML page, each figure with its
    CSV."""
    from zoo.api import Zoo

    print(Zoo(open_workspace(workspace)).report(experiment, scale, data=data))
