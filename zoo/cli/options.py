"""What several commands share: options, their parsing, printing, and the runner they ask for."""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from zoo.cli import complete
from zoo.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from zoo.pipeline import Features, Runner
    from zoo.spec import Sweep
    from zoo.store.workspace import Workspace

__all__ = [
    "AD_HOC",
    "CLEAN",
    "DEFAULT_WORKSPACE",
    "LOOK",
    "STEPS",
    "STUDIES",
    "AddressOption",
    "ArchsOption",
    "CpusOption",
    "DataOption",
    "FeaturesOption",
    "FoldsOption",
    "GpusOption",
    "JsonOption",
    "NameOption",
    "NewArchsOption",
    "OwnDataOption",
    "Program",
    "ReplaceOption",
    "RunnerOption",
    "ScaleOption",
    "SeveralOption",
    "SplitScores",
    "WeightsOption",
    "WorkspaceOption",
    "after_selection",
    "features_of",
    "listed",
    "open_workspace",
    "place_of",
    "print_frame",
    "print_json",
    "runner_for",
    "sweep_of",
    "which_of",
]


STUDIES, STEPS, CLEAN, LOOK = "Whole studies", "Step by step", "Clean and compare", "Look"
WorkspaceOption = Annotated[
    str,
    typer.Option(
        "--workspace",
        "-w",
        envvar="ZOO_WORKSPACE",
        help="Folder that holds everything a study makes.",
    ),
]
DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        autocompletion=complete.datasets,
        help="Data set: a name (looked up in ZOO_DATA), or a path.",
    ),
]
SeveralOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        autocompletion=complete.datasets,
        help="Data set by name or fingerprint, where the workspace holds several.",
    ),
]
OwnDataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        autocompletion=complete.datasets,
        help="Data set by name, path or fingerprint; default: the workspace's own.",
    ),
]
_ARCHS: Any = typer.Option(
    "--archs",
    "--arch",
    autocompletion=complete.archs,
    help="Architectures, with commas between them.",
)
ArchsOption = Annotated[list[str], _ARCHS]
NewArchsOption = Annotated[list[str] | None, _ARCHS]
RunnerOption = Annotated[
    Literal["ray", "local"], typer.Option(help="Where to run: Ray, or everything in this process.")
]
AddressOption = Annotated[
    str | None,
    typer.Option(envvar="RAY_ADDRESS", help="Ray cluster to use; default: one on this machine."),
]
CpusOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Workers of a Ray session on this machine. Default: the CPUs that zoo may use."
    ),
]
FoldsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--folds",
        help=(
            "Leave out one fold after another: 5x2 = five folds, shared out twice, so that every"
            " example is held out twice. Takes the place of --fractions."
        ),
    ),
]
FeaturesOption = Annotated[
    str | None,
    typer.Option(
        "--features",
        help=(
            "Train heads on what a pretrained network of timm makes of the pictures: resnet50,"
            " resnet50.a1_in1k. Its weights have to be here: zoo models fetch. hog = histograms of"
            " oriented gradients, which need none."
        ),
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights", help="With --features: a file of weights, instead of those in a cache."
    ),
]
GpusOption = Annotated[
    float, typer.Option("--gpus", help="GPU per training: 1, or a part such as 0.25; 0 = CPU.")
]
TrainerOption = Annotated[
    Literal["auto", "single", "lanes", "heads", "stacked"],
    typer.Option(
        "--trainer",
        help=(
            "Who makes the steps: single (one after the other), lanes (as many as a vector"
            " register of a CPU holds), heads (of --features), stacked (many as one program, for"
            " GPUs). auto: the fastest that is shown to be equal."
        ),
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ScaleOption = Annotated[
    str | None,
    typer.Option(
        autocompletion=complete.scales, help="One of the experiment's scales. Default: its first."
    ),
]
DEFAULT_WORKSPACE = "./zoo-workspace"
AD_HOC = "train"
"""Name under which the trainings of 'zoo train --archs' are recorded."""


# ---------------------------------------------------------------- JSON, said either way


F = TypeVar("F", bound=Callable[..., Any])


class Program(typer.Typer):
    """A group of commands, each of which takes ``--json`` and ``--format json`` alike where it
    prints JSON; the one it does not declare is hidden."""

    def command(self, *name: Any, **settings: Any) -> Callable[[F], F]:
        add: Callable[[F], F] = super().command(*name, **settings)
        return lambda function: add(_either_way(function))


def _either_way(command: Callable[..., Any]) -> Any:
    """A command with ``as_json`` (``--json``) or ``output_format`` (``--format``) -> the same with
    the other one too."""
    signature = inspect.signature(command, eval_str=True)
    plain = "as_json" in signature.parameters
    if not plain and "output_format" not in signature.parameters:
        return command
    if plain:
        kind: Any = Annotated[
            Literal["table", "json"] | None,
            typer.Option("--format", hidden=True, help="json is the same as --json."),
        ]
        other = inspect.Parameter(
            "output_format", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind
        )
    else:
        kind = Annotated[
            bool, typer.Option("--json", hidden=True, help="The same as --format json.")
        ]
        other = inspect.Parameter(
            "as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind
        )

    @functools.wraps(command)
    def either(*, as_json: bool, output_format: str | None, **options: Any) -> Any:
        if as_json and output_format not in (None, "json"):
            raise UsageError(
                f"--json and --format {output_format} are two forms of output. Give one of them."
            )
        chosen = "json" if as_json else output_format
        return command(
            **options, **({"as_json": chosen == "json"} if plain else {"output_format": chosen})
        )

    made = signature.replace(parameters=[*signature.parameters.values(), other])
    either.__signature__ = made  # type: ignore[attr-defined]
    either.__annotations__ = {
        name: parameter.annotation for name, parameter in made.parameters.items()
    }
    return either


# ---------------------------------------------------------------- helpers


def listed(values: Sequence[str] | None) -> list[str]:
    from zoo.trainsets.sweeps import listed as made

    return made(values)


@contextlib.contextmanager
def runner_for(
    kind: str,
    address: str | None,
    cpus: int | None,
    gpus: float,
    workspace: str,
    trainer: str = "auto",
) -> Iterator[Callable[[], Runner]]:
    """Gives a function that makes the runner when it is first needed; closes it at the end.

    What no machine here can grant is refused on entry, so enter before anything is made.
    """
    made: list[Runner] = []
    asked = None if trainer == "auto" else trainer

    def make() -> Runner:
        if not made:
            if kind == "local":
                from zoo.local import LocalRunner

                made.append(LocalRunner(gpus=gpus, trainer=asked))
            else:
                from zoo.cluster.runner import RayRunner

                made.append(RayRunner(address, cpus, gpus, workspace, asked))
        return made[0]

    if kind == "local" and cpus is not None:
        raise UsageError(
            f"--cpus {cpus}: --runner local does everything in one process. Leave one of the two"
            " out."
        )
    # Made now where it says now what it cannot have. (The local one loads torch, for which a
    # command with nothing to do need not wait.)
    if kind == "ray" or gpus:
        make()
    try:
        yield make
    finally:
        for runner in made:
            runner.close()


def print_json(value: Any) -> None:
    # An escape of JSON's own where the output cannot hold a letter: one of Python's would not be
    # JSON.
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


def place_of(workspace: str) -> str:
    """What leads the next command to a workspace: nothing to the one it takes anyway."""
    return "" if workspace == DEFAULT_WORKSPACE else f" -w {shlex.quote(workspace)}"


def which_of(space: Workspace, fingerprint: str) -> str:
    """What tells the next command which data set of a workspace is meant: nothing where there is
    one."""
    names = {key: str(commit.facts["name"]) for key, commit in space.commits.all("dataset").items()}
    if len(names) < 2:
        return ""
    name = names.get(fingerprint, fingerprint)
    unique = list(names.values()).count(name) == 1
    return f" --data {shlex.quote(name if unique else fingerprint)}"


def after_selection(space: Workspace, workspace: str, name: str, *, retrains: bool = False) -> str:
    """The command that follows a selection: pictures in class folders, or a table where there are
    no pictures; ``retrains``: arms, where there is a test split to compare them on."""
    from zoo.store.selections import selection_origin

    record = space.commits.get("selection", name)
    origin = None if record is None else selection_origin(record)
    data = None if origin is None else space.commits.get("dataset", origin.dataset)
    facts = {} if data is None else data.facts
    at, called = place_of(workspace), shlex.quote(name)
    if retrains and origin is not None and origin.split == "train" and "test" in facts["splits"]:
        which = which_of(space, origin.dataset)
        return f"zoo retrain baseline {called} --arch lenet5 --seeds 0,1,2{which}{at}"
    if facts.get("imported"):
        return f"zoo export selection {called} --to csv -o {called}.csv{at}"
    return f"zoo export selection {called} --to imagefolder -o ./{called}{at}"


def sweep_of(
    archs: list[str] | None,
    fractions: list[str] | None,
    epochs: int | None,
    snapshots: list[str] | None,
    recipe: str,
    treatment: str | None,
    seeds: list[str] | None,
    input_size: int | None,
    folds: list[str] | None = None,
) -> Sweep:
    from zoo.trainsets.sweeps import sweep_of as made

    return made(archs, fractions, epochs, snapshots, recipe, treatment, seeds, input_size, folds)


def features_of(
    features: str | None, weights: Path | None, input_size: int | None = None
) -> Features | None:
    """What --features and --weights name; None where neither is given.

    Raises:
        UsageError: for weights of nothing.
    """
    from zoo.pipeline import Features

    if features is not None:
        return Features(features, weights, input_size)
    if weights is not None:
        raise UsageError(
            f"--weights {weights}: it belongs to --features, which is not given. Name the network"
            " that they are of with --features ARCH."
        )
    return None


# ---------------------------------------------------------------- clean and compare


SplitScores = Annotated[str, typer.Option("--split", help="Split whose scores the rules read.")]
NameOption = Annotated[str, typer.Option("--output", "-o", help="Name of the selection.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Let the name mean a new manifest.")]
