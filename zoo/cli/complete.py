"""Values that a shell completes: names of networks, recipes, experiments and their scales, data
sets, selections, rules, tables.

Nothing is imported before a value is asked for. Whatever goes wrong, nothing is offered and nothing
is said: a message would land in the middle of the line being typed. Nothing is run and no other
machine is asked: an experiment's file is read, not imported, and the selections of a workspace in a
bucket are not offered.
"""

from __future__ import annotations

import ast
import contextlib
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import typer

__all__ = [
    "archs",
    "arms",
    "commands",
    "datasets",
    "experiments",
    "labels",
    "recipes",
    "rules",
    "scales",
    "selections",
    "snapshots",
    "tables",
    "treatments",
]

Completer = Callable[[typer.Context, str], list[str]]


def _completer(
    find: Callable[[typer.Context], Iterable[str]], *, several: bool = False
) -> Completer:
    """What typer calls. ``several``: the value is a list with commas, whose last part is completed
    by what is not in it yet."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        before, comma, begun = incomplete.rpartition(",") if several else ("", "", incomplete)
        try:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                found = list(dict.fromkeys(find(ctx)))
        except Exception:  # noqa: BLE001 - see above
            return []
        return [
            f"{before}{comma}{name}"
            for name in found
            if name.startswith(begun) and name not in before.split(",")
        ]

    return complete


def _archs(_: typer.Context) -> Iterable[str]:
    from zoo.models import ALIASES, HEADS, MODELS

    return [*MODELS, *HEADS, *ALIASES]


def _recipes(_: typer.Context) -> Iterable[str]:
    from zoo.recipes import RECIPES

    return RECIPES


def _treatments(_: typer.Context) -> Iterable[str]:
    from zoo.trainsets.treatments import TREATMENTS

    return TREATMENTS


def _rules(_: typer.Context) -> Iterable[str]:
    from zoo.trainsets.rules import RULES

    return RULES


def _tables(_: typer.Context) -> Iterable[str]:
    from zoo.store.schema import TABLES

    return TABLES


def _datasets(_: typer.Context) -> Iterable[str]:
    from zoo.data import list_datasets

    return [row.name for row in list_datasets() if row.problem is None]


def _experiments(_: typer.Context) -> Iterable[str]:
    from zoo.studies.load import names

    return names()


def _scales(ctx: typer.Context) -> Iterable[str]:
    """SCALES of the experiment on the line, as written in its file: a tuple or list of names, or a
    dict by name."""
    from zoo.studies.load import names

    # While the value of the option before the cursor is missing, typer leaves arguments where they
    # are.
    words = [ctx.params.get("experiment"), *ctx.args]
    name = "demo" if ctx.command.name == "demo" else next(word for word in words if word)
    tree = ast.parse((names().get(name) or Path(name)).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "SCALES" for target in targets):
                written = (
                    node.value.keys
                    if isinstance(node.value, ast.Dict)
                    else getattr(node.value, "elts", [])
                )
                return [
                    part.value
                    for part in written
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                ]
    return []


def _records(ctx: typer.Context, kind: str) -> list[str]:
    """Names of records of the workspace on the line, or of the one that is meant without."""
    from zoo.cli.options import DEFAULT_WORKSPACE, open_workspace

    place = ctx.params.get("workspace") or os.environ.get("ZOO_WORKSPACE") or DEFAULT_WORKSPACE
    return [] if "://" in place else list(open_workspace(place).commits.all(kind))


def _selections(ctx: typer.Context) -> Iterable[str]:
    return _records(ctx, "selection")


def _arms(ctx: typer.Context) -> Iterable[str]:
    used = [*(ctx.params.get("names") or ()), *ctx.args]
    return [name for name in ("baseline", *_records(ctx, "selection")) if name not in used]


def _labels(ctx: typer.Context) -> Iterable[str]:
    yield from ("label", "label_true")
    with contextlib.suppress(Exception):
        yield from _records(ctx, "selection")


def _snapshots(ctx: typer.Context) -> Iterable[str]:
    return _records(ctx, "snapshot")


def _commands(ctx: typer.Context) -> Iterable[str]:
    """Names of the commands of the program, or of the group that is on the line."""
    group = ctx.find_root().command
    for word in (*(ctx.params.get("words") or ()), *ctx.args):
        group = getattr(group, "commands", {})[word]
    return getattr(group, "commands", ())


archs = _completer(_archs, several=True)
recipes = _completer(_recipes)
treatments = _completer(_treatments)
rules = _completer(_rules)
tables = _completer(_tables)
datasets = _completer(_datasets)
experiments = _completer(_experiments)
scales = _completer(_scales)
selections = _completer(_selections)
arms = _completer(_arms)
labels = _completer(_labels)
snapshots = _completer(_snapshots)
commands = _completer(_commands)
