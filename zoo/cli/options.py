"""What several commands share: options, their parsing, printing, and the runner they ask for."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from zoo.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from zoo.pipeline import Runner
    from zoo.spec import Recipe, Sweep
    from zoo.store.workspace import Workspace

__all__ = [
    "AD_HOC",
    "CLEAN",
    "DEFAULT_WORKSPACE",
    "LOOK",
    "STEPS",
    "STUDIES",
    "AddressOption",
    "CpusOption",
    "DataOption",
    "GpusOption",
    "JsonOption",
    "NameOption",
    "OwnDataOption",
    "ReplaceOption",
    "RunnerOption",
    "ScaleOption",
    "SeveralOption",
    "SplitScores",
    "WorkspaceOption",
    "listed",
    "open_workspace",
    "print_frame",
    "print_json",
    "runner_for",
    "sweep_of",
]


STUDIES, STEPS, CLEAN, LOOK = "Whole studies", "Step by step", "Clean and compare", "Look"
WorkspaceOption = Annotated[
    str, typer.Option("--workspace", "-w", envvar="ZOO_WORKSPACE", help="Folder that holds everything a study makes.")
]
DataOption = Annotated[str, typer.Option("--data", help="Data set: a name (looked up in ZOO_DATA), or a path.")]
SeveralOption = Annotated[str | None, typer.Option("--data", help="Data set by name or fingerprint, where the workspace holds several.")]
OwnDataOption = Annotated[str | None, typer.Option("--data", help="Data set by name, path or fingerprint; default: the workspace's own.")]
RunnerOption = Annotated[Literal["ray", "local"], typer.Option(help="Where to run: Ray, or everything in this process.")]
AddressOption = Annotated[str | None, typer.Option(envvar="RAY_ADDRESS", help="Ray cluster to use; default: one on this machine.")]
CpusOption = Annotated[
    int | None, typer.Option(min=1, help="Workers of a Ray session on this machine. Default: the CPUs that zoo may use.")
]
GpusOption = Annotated[float, typer.Option("--gpus", help="GPU per training: 1, or a part such as 0.25; 0 = CPU.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ScaleOption = Annotated[str | None, typer.Option(help="One of the experiment's scales. Default: its first.")]
DEFAULT_WORKSPACE = "./zoo-workspace"
AD_HOC = "train"
"""Name under which the trainings of 'zoo train --archs' are recorded."""


# ---------------------------------------------------------------- helpers


def listed(values: Sequence[str] | None) -> list[str]:
    """Commas and repetition both make a list."""
    return [part.strip() for value in values or () for part in value.split(",") if part.strip()]


def _numbers(values: Sequence[str] | None, what: str) -> list[int]:
    try:
        return [int(value) for value in listed(values)]
    except ValueError:
        raise UsageError(f"{what} {','.join(values or ())!r}: allowed are whole numbers with commas between them, such as 0,1,2.") from None


def _fractions(values: Sequence[str]) -> list[tuple[float, int]]:
    """``0.25x3,1`` -> [(0.25, 1), (0.25, 2), (0.25, 3), (1.0, 0)]: fraction and replica."""
    found: list[tuple[float, int]] = []
    for text in listed(values):
        number, times, count = text.partition("x")
        try:
            fraction, replicas = float(number), int(count) if times else 1
        except ValueError:
            raise UsageError(f"fraction {text!r}: write 0.25 for a quarter, 0.25x3 for three independent quarters.") from None
        if not 0 < fraction <= 1 or replicas < 1:
            raise UsageError(
                f"fraction {text!r}: allowed are fractions above 0 up to 1, and one replica or more. Example: --fractions 0.25x3,0.5x3,1"
            )
        if fraction == 1 and replicas > 1:
            raise UsageError(f"fraction {text!r}: the whole set has no independent replicas. Write 1, and vary --seeds instead.")
        found += [(fraction, replica) for replica in range(1, replicas + 1)] if fraction < 1 else [(1.0, 0)]
    return found


@contextlib.contextmanager
def runner_for(kind: str, address: str | None, cpus: int | None, gpus: float) -> Iterator[Callable[[], Runner]]:
    """Gives a function that makes the runner when it is first needed; closes it at the end.

    What no machine here can grant is refused on entry, so enter before anything is made.
    """
    made: list[Runner] = []

    def make() -> Runner:
        if not made:
            if kind == "local":
                from zoo.local import LocalRunner

                made.append(LocalRunner(gpus=gpus))
            else:
                from zoo.cluster.runner import RayRunner

                made.append(RayRunner(address, cpus, gpus))
        return made[0]

    if kind == "local" and cpus is not None:
        raise UsageError(f"--cpus {cpus}: --runner local does everything in one process. Leave one of the two out.")
    # Made now where it says now what it cannot have. (The local one loads torch, for which a command with nothing to do need not wait.)
    if kind == "ray" or gpus:
        make()
    try:
        yield make
    finally:
        for runner in made:
            runner.close()


def print_json(value: Any) -> None:
    # An escape of JSON's own where the output cannot hold a letter: one of Python's would not be JSON.
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    print(json.dumps(value, indent=2, ensure_ascii=ascii_only, default=str))


def print_frame(frame: pd.DataFrame, *, as_json: bool = False) -> None:
    if as_json:
        print(frame.to_json(orient="records", indent=2, double_precision=15))
    else:
        from zoo.cli.text import text_table

        print(text_table(frame))


def open_workspace(workspace: str, *, create: bool = False) -> Workspace:
    from zoo.store.workspace import Workspace

    return Workspace.open(workspace, create=create)


# ---------------------------------------------------------------- step by step


def sweep_of(
    archs: list[str] | None,
    fractions: list[str] | None,
    epochs: int | None,
    snapshots: list[str] | None,
    recipe: str,
    treatment: str | None,
    seeds: list[str] | None,
    input_size: int | None,
) -> Sweep:
    from zoo import models
    from zoo.recipes import parse_recipe
    from zoo.spec import Sweep
    from zoo.trainsets.treatments import op, parse

    chosen: Recipe = parse_recipe(recipe)
    if epochs is not None:
        chosen = chosen.replace(epochs=epochs)
    base = parse(treatment) if treatment else ()
    treatments = []
    for fraction, replica in _fractions(fractions or ["1"]):
        subset = (op("subsample", fraction=fraction, replica=replica),) if fraction < 1 else ()
        treatments.append((*subset, *base))
    return Sweep(
        archs=tuple(models.model(arch).name for arch in listed(archs)),
        treatments=tuple(treatments),
        recipe=chosen,
        seeds=tuple(_numbers(seeds, "--seeds") or [0]),
        snapshots=tuple(_numbers(snapshots, "--snapshots")) or None,
        input_size=input_size,
    )


# ---------------------------------------------------------------- clean and compare


SplitScores = Annotated[str, typer.Option("--split", help="Split whose scores the rules read.")]
NameOption = Annotated[str, typer.Option("--output", "-o", help="Name of the selection.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Let the name mean a new manifest.")]
