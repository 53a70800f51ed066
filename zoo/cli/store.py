"""Commands that look after the store: fsck, snapshot, gc."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from zoo.errors import UsageError

__all__ = ["register"]


_PANEL = "Look after the store"
WorkspaceOption = Annotated[
    str, typer.Option("--workspace", "-w", envvar="ZOO_WORKSPACE", help="Workspace to look after.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("fsck", rich_help_panel=_PANEL, epilog="Example: zoo fsck --full --repair")(fsck)
    app.command("snapshot", rich_help_panel=_PANEL, epilog="Example: zoo snapshot paper-table-1")(
        snapshot
    )
    app.command("gc", rich_help_panel=_PANEL, epilog="Example: zoo gc --delete")(gc)


def fsck(
    quick: Annotated[
        bool, typer.Option("--quick", help="Records, files, sizes, headers (the default).")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Also the sha256 of every file: finds every flipped bit.")
    ] = False,
    semantic: Annotated[
        bool, typer.Option("--semantic", help="Also what the files say: ids, ranges, accuracy.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Move what is damaged to quarantine/, so that the next run makes it again.",
        ),
    ] = False,
    workspace: WorkspaceOption = "./zoo-workspace",
    as_json: JsonOption = False,
) -> None:
    """Check the store. Exit code 0 clean, 1 something that a rerun makes again, 2 something that
    only you can bring back."""
    from zoo.progress import Progress
    from zoo.store import fsck as checker
    from zoo.store.workspace import Workspace

    if quick + full + semantic > 1:
        raise UsageError(
            "fsck has one depth at a time: --quick, --full (includes quick) or --semantic (includes"
            " full)."
        )
    level: checker.Level = "semantic" if semantic else "full" if full else "quick"
    space = Workspace.open(workspace, verify=False)
    with Progress(quiet=as_json).stage(f"fsck {level}") as bar:

        def on_unit(done: int, total: int) -> None:
            bar.total, bar.done = max(total, 1), done
            bar.advance(0, f"{done} of {total} records")

        findings = checker.check(space, level, on_unit)
    moved = checker.repair(space, findings) if repair and findings else []
    if as_json:
        body = {
            "schema": 1,
            "level": level,
            "findings": [finding.as_json() for finding in findings],
            "moved": moved,
        }
        print(json.dumps(body, indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            print(
                f"{'lost' if finding.lost else 'repairable'}: {finding.kind} {finding.key}:"
                f" {finding.path}: {finding.problem}"
            )
        for path in moved:
            print(f"moved to quarantine/{path}")
        print(
            "clean"
            if not findings
            else f"{len(findings)} findings" + ("" if repair else "; set them aside with --repair")
        )
    if findings:
        raise typer.Exit(2 if any(finding.lost for finding in findings) else 1)


def snapshot(
    name: Annotated[str, typer.Argument(help="Name to give to what is there now.")],
    workspace: WorkspaceOption = "./zoo-workspace",
) -> None:
    """Name the present state of the store, so that a published number can be computed again: zoo
    score --snapshot NAME."""
    from zoo.spec import plain_name
    from zoo.store.workspace import Workspace

    print(f"snapshot {name!r}: {Workspace.open(workspace).snapshot(plain_name(name))} records")


def gc(
    delete: Annotated[
        bool, typer.Option("--delete", help="Really remove; without it, only say what would go.")
    ] = False,
    older_than: Annotated[
        float, typer.Option("--older-than", min=0.0, help="Only files older than so many hours.")
    ] = 24.0,
    workspace: WorkspaceOption = "./zoo-workspace",
    as_json: JsonOption = False,
) -> None:
    """Remove files that no commit names. A dry run unless --delete is given."""
    from zoo.store import gc as collector
    from zoo.store.workspace import Workspace

    space = Workspace.open(workspace)
    seconds = older_than * 3600
    garbage = collector.collect(space, seconds) if delete else collector.find(space, seconds)
    total = sum(item.bytes for item in garbage)
    if as_json:
        items = [
            {"path": item.path, "bytes": item.bytes, "reason": item.reason} for item in garbage
        ]
        print(
            json.dumps(
                {"schema": 1, "deleted": delete, "bytes": total, "files": items},
                indent=2,
                ensure_ascii=False,
            )
        )
        return
    for item in garbage:
        print(f"{item.bytes:>12,}  {item.path}  ({item.reason})")
    print(
        f"{len(garbage)} files, {total / 1e6:.1f} MB"
        f" {'removed' if delete else 'would go; remove them with --delete'}"
    )
