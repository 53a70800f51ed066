"""Commands for a cluster: doctor, up, submit, logs, down."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli import complete
from zoo.cli.options import AddressOption, GpusOption, JsonOption, print_json

__all__ = ["register"]

_PANEL = "On a cluster"
FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="The cluster's file, such as cluster.yaml.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(rich_help_panel=_PANEL, epilog="Example: zoo doctor --address auto")(doctor)
    app.command(rich_help_panel=_PANEL, epilog="Example: zoo up cluster.yaml")(up)
    app.command(
        rich_help_panel=_PANEL,
        epilog="Example: zoo submit cluster.yaml run demo -w /shared/space --address auto",
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )(submit)
    app.command(rich_help_panel=_PANEL, epilog="Example: zoo logs cluster.yaml --follow")(logs)
    app.command(rich_help_panel=_PANEL, epilog="Example: zoo down cluster.yaml")(down)


def doctor(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A cluster's file to check as well."),
    ] = None,
    workspace: Annotated[
        str, typer.Option("--workspace", "-w", help="Workspace that every node has to see.")
    ] = "",
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            autocompletion=complete.datasets,
            help="Data set that every node has to read.",
        ),
    ] = None,
    address: AddressOption = None,
    gpus: GpusOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Look for what is in the way of a sweep: of this machine, of a cluster's file, of every node
    of a cluster. Exit code 0: nothing, 1: something, and it is named."""
    from zoo.cluster.doctor import examine

    found = examine(file, workspace, data, address, gpus)
    if as_json:
        print_json({"schema": 1, **found.as_json()})
    else:
        for line in found.lines():
            print(line)
    if found.faults:
        raise typer.Exit(1)


def up(
    file: FileArgument,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Restart one that is up, and all that runs on it."),
    ] = False,
    workspace: Annotated[
        str,
        typer.Option(
            "--workspace",
            "-w",
            help="Where it will work; of an s3:// place, AWS workers get the right to use it.",
        ),
    ] = "",
) -> None:
    """Start a cluster and wait until its nodes answer. One that is up is left as it is."""
    from zoo.cluster.launch import up as start

    there = start(file, restart=restart, workspace=workspace)
    print(
        f"{len(there)} nodes answer: {', '.join(there)}. Next: zoo submit {file} run demo -w"
        f" {workspace or '/a/folder/they/share'} --address auto. It costs what its machines cost"
        f" until: zoo down {file}"
    )


def submit(
    file: FileArgument,
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND...", help="A command of zoo, without 'zoo'.")
    ],
) -> None:
    """Start a command of zoo on the cluster's head. It goes on when this machine is switched
    off."""
    from zoo.cluster.launch import submit as start

    job = start(file, command)
    print(f"{job}: zoo {' '.join(command)}. Follow it: zoo logs {file} {job} --follow")


def logs(
    file: FileArgument,
    job: Annotated[
        str, typer.Argument(metavar="[JOB]", help="A submitted command. Default: the newest.")
    ] = "",
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the command has ended.")
    ] = False,
) -> None:
    """What a submitted command has written. Ends with its exit code, 0 while it runs."""
    from zoo.cluster.launch import logs as look
    from zoo.progress import Progress

    shown = 0
    while True:
        name, text, code = look(file, job)
        print(text[shown:], end="", flush=True)
        job, shown = name, len(text)
        if code is not None or not follow:
            break
        time.sleep(5)
    Progress().say(f"{name}: {'still running' if code is None else f'ended with {code}'}")
    if code:
        raise typer.Exit(code)


def down(file: FileArgument) -> None:
    """End a cluster and make sure that nothing of it is left. The workspace stays."""
    from zoo.cluster.launch import down as end

    end(file)
    print("ended: no process of Ray's and no machine of this cluster is left.")
