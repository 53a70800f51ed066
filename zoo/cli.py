"""The command line: parse, call, print. Everything heavy is imported inside the command that needs it.

Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished with failed trainings, 4 nothing found,
130 interrupted (the same command goes on; 143 after a SIGTERM).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from zoo.commands import data as data_commands
from zoo.commands import exchange as exchange_commands
from zoo.commands import store as store_commands
from zoo.errors import Interrupted, UnknownNameError, UsageError, ZooError

if TYPE_CHECKING:
    import pandas as pd

    from zoo.data import Dataset
    from zoo.pipeline import Runner
    from zoo.progress import Progress
    from zoo.spec import Arm, Experiment, Recipe, Sweep, Training
    from zoo.workspace import Workspace

__all__ = ["app", "main"]

app = typer.Typer(
    name="zoo",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train a zoo of image classifiers, run a data set through all of them, and read off which examples are hard, ambiguous or mislabelled.",
)

_STUDY, _STEPS, _CLEAN, _LOOK = "Whole studies", "Step by step", "Clean and compare", "Look"
_state: dict[str, bool] = {"debug": False, "terminated": False}

WorkspaceOption = Annotated[
    str, typer.Option("--workspace", "-w", envvar="ZOO_WORKSPACE", help="Folder that holds everything a study makes.")
]
DataOption = Annotated[str, typer.Option("--data", help="Data set: a name (looked up in ZOO_DATA), or a path.")]
RunnerOption = Annotated[Literal["ray", "local"], typer.Option(help="Where to run: Ray, or everything in this process.")]
AddressOption = Annotated[str | None, typer.Option(envvar="RAY_ADDRESS", help="Ray cluster to use; default: one on this machine.")]
CpusOption = Annotated[int | None, typer.Option(min=1, help="Workers of a local Ray session. Default: the cores of this machine.")]
GpusOption = Annotated[float, typer.Option("--gpus", min=0.0, help="GPUs per training, fractions allowed; 0 = CPU.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ScaleOption = Annotated[str | None, typer.Option(help="One of the experiment's scales. Default: its first.")]

_WORKSPACE = "./zoo-workspace"
_AD_HOC = "train"
"""Name under which the trainings of 'zoo train --archs' are recorded."""


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version as installed

        print(installed("classifier-zoo"))
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[  # noqa: ARG001 - its callback has printed it
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    _state["debug"] = debug


# ---------------------------------------------------------------- helpers


def _listed(values: Sequence[str] | None) -> list[str]:
    """Commas and repetition both make a list."""
    return [part.strip() for value in values or () for part in value.split(",") if part.strip()]


def _numbers(values: Sequence[str] | None, what: str) -> list[int]:
    try:
        return [int(value) for value in _listed(values)]
    except ValueError:
        raise UsageError(f"{what} {','.join(values or ())!r}: allowed are whole numbers with commas between them, such as 0,1,2.") from None


def _fractions(values: Sequence[str]) -> list[tuple[float, int]]:
    """``0.25x3,1`` -> [(0.25, 1), (0.25, 2), (0.25, 3), (1.0, 0)]: fraction and replica."""
    found: list[tuple[float, int]] = []
    for text in _listed(values):
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
def _runner(kind: str, address: str | None, cpus: int | None, gpus: float) -> Iterator[Callable[[], Runner]]:
    """Gives a function that starts the runner when it is first needed; closes it at the end."""
    made: list[Runner] = []

    def make() -> Runner:
        if not made:
            if kind == "local":
                from zoo.local import LocalRunner

                made.append(LocalRunner())
            else:
                from zoo.cluster.runner import RayRunner

                made.append(RayRunner(address, cpus, gpus))
        return made[0]

    try:
        yield make
    finally:
        for runner in made:
            runner.close()


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _print_frame(frame: pd.DataFrame, *, as_json: bool = False) -> None:
    if as_json:
        print(frame.to_json(orient="records", indent=2, double_precision=15))
    else:
        from zoo.tables import text_table

        print(text_table(frame))


def _open(workspace: str, *, create: bool = False) -> Workspace:
    from zoo.workspace import Workspace

    return Workspace.open(workspace, create=create)


def _command(*parts: str) -> str:
    return " ".join(["zoo", *parts])


# ---------------------------------------------------------------- whole studies


@app.command(rich_help_panel=_STUDY, epilog="Example: zoo demo -w /tmp/demo")
def demo(
    workspace: WorkspaceOption = _WORKSPACE,
    scale: ScaleOption = None,
    runner: RunnerOption = "ray",
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = 0.0,
) -> None:
    """The whole loop on embedded pictures in a few minutes: train, fill, score, find planted label errors, clean, retrain, report."""
    run("demo", workspace, scale, "report", runner, address, cpus, gpus)


@app.command(rich_help_panel=_STUDY, epilog="Example: zoo run demo --until score")
def run(
    experiment: Annotated[str, typer.Argument(help="A name in experiments/, or the path of a file.")],
    workspace: WorkspaceOption = _WORKSPACE,
    scale: ScaleOption = None,
    until: Annotated[str, typer.Option(help="Last stage to do: train, fill, score, select, retrain, compare, report.")] = "report",
    runner: RunnerOption = "ray",
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = 0.0,
) -> None:
    """Every stage of an experiment that is not done yet."""
    from zoo import experiment as experiments
    from zoo import pipeline
    from zoo.progress import Progress
    from zoo.summary import summary

    spec = experiments.load(experiment, scale)
    if until not in pipeline.STAGES:
        raise UnknownNameError("stage", until, pipeline.STAGES)
    _check_experiment(spec)
    space = _open(workspace, create=True)
    progress = Progress()
    with _runner(runner, address, cpus, gpus) as make:
        done = pipeline.run(space, spec, make, progress, until=until)
    if until == "report":
        from zoo.reporting import write_report

        with progress.stage("report"):
            done.report = write_report(space, spec, done.dataset, progress.timings)
    print(summary(space, done, progress.timings))
    pipeline.refuse_diverged(done.diverged)


@app.command(rich_help_panel=_STUDY, epilog="Example: zoo plan demo --gpu a100 --gpu-price 1.8")
def plan(
    experiment: Annotated[
        str | None, typer.Argument(help="A name in experiments/, or the path of a file; or describe a sweep as for train.")
    ] = None,
    workspace: WorkspaceOption = _WORKSPACE,
    scale: ScaleOption = None,
    data: Annotated[str | None, typer.Option("--data", help="Data set of an ad-hoc sweep.")] = None,
    archs: Annotated[list[str] | None, typer.Option("--archs", help="Architectures.")] = None,
    fractions: Annotated[list[str] | None, typer.Option("--fractions", help="Training fractions, 0.25x3 = three replicas.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs; default: the recipe's.")] = None,
    snapshots: Annotated[list[str] | None, typer.Option("--snapshots", help="Epochs that become classifiers. Default: the last.")] = None,
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe, as for train.")] = "adam",
    seeds: Annotated[list[str] | None, typer.Option("--seeds", help="Seeds, with commas between them. Default 0.")] = None,
    assume: Annotated[
        str | None, typer.Option("--assume", help="TRAIN,TEST,CLASSES,SIZE of a data set that is not here, such as 1281167,50000,1000,400.")
    ] = None,
    gpu: Annotated[str, typer.Option("--gpu", help="Device to plan for: cpu-core (this machine), rtx3090, a100, h100.")] = "cpu-core",
    devices: Annotated[int | None, typer.Option(min=1, help="How many of them.")] = None,
    gpu_price: Annotated[float | None, typer.Option("--gpu-price", min=0.0, help="Dollars per device hour.")] = None,
    as_json: JsonOption = False,
) -> None:
    """What a study would cost, before anything runs: trainings and classifiers done and missing, image passes, hours, dollars, disk."""
    from zoo import experiment as experiments
    from zoo.arms import equal_steps_sweep
    from zoo.data import open_dataset
    from zoo.errors import NotFoundError
    from zoo.estimate import assumed_dataset, estimate
    from zoo.pipeline import resolved

    if (experiment is None) == (archs is None):
        raise UsageError("plan needs either an experiment or --archs, not both and not neither. Example: zoo plan demo")
    space: Workspace | None
    try:
        space = _open(workspace)
    except NotFoundError:
        space = None
    spec = experiments.load(experiment, scale) if experiment is not None else None
    if spec is not None:
        sweeps, splits, name = list(spec.sweeps), spec.fill_splits, spec.dataset
        title = f"{spec.name}, scale {spec.scale}"
    else:
        sweeps, splits, name = (
            [_sweep(archs, fractions, epochs, snapshots, recipe, None, seeds, None)],
            ("train", "test"),
            data or "fashion-mini",
        )
        title = "ad-hoc sweep"
    dataset = assumed_dataset(assume) if assume else open_dataset(data or name)
    trainings = [training for sweep in sweeps for training in resolved(sweep, dataset).expand(dataset.ref)]
    again = equal_steps_sweep(spec.retraining, dataset).expand(dataset.ref) * len(spec.arms) if spec and spec.retraining else ()
    keep = spec.keep_logits if spec else None
    cost = estimate(
        space, dataset, trainings, splits, retrainings=again, keep_logits=keep, accelerator=gpu, devices=devices, price=gpu_price
    )
    if as_json:
        _print_json({"schema": 1, "plan": title, "dataset": dataset.name, "device": gpu, **cost.as_json()})
    else:
        print(cost.text(title, dataset.name))


# ---------------------------------------------------------------- step by step


def _sweep(
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
    from zoo.treatments import op, parse

    chosen: Recipe = parse_recipe(recipe)
    if epochs is not None:
        chosen = chosen.replace(epochs=epochs)
    base = parse(treatment) if treatment else ()
    treatments = []
    for fraction, replica in _fractions(fractions or ["1"]):
        subset = (op("subsample", fraction=fraction, replica=replica),) if fraction < 1 else ()
        treatments.append((*subset, *base))
    return Sweep(
        archs=tuple(models.model(arch).name for arch in _listed(archs)),
        treatments=tuple(treatments),
        recipe=chosen,
        seeds=tuple(_numbers(seeds, "--seeds") or [0]),
        snapshots=tuple(_numbers(snapshots, "--snapshots")) or None,
        input_size=input_size,
    )


@app.command(
    rich_help_panel=_STEPS,
    cls=data_commands.NamesTreatments,
    epilog="Example: zoo train --data fashion-mini --archs lenet5,mlp --fractions 0.25x3,1 --epochs 10 --snapshots 5,10",
)
def train(
    experiment: Annotated[str | None, typer.Argument(help="An experiment whose sweep to train, instead of the options below.")] = None,
    data: DataOption = "fashion-mini",
    archs: Annotated[list[str] | None, typer.Option("--archs", help="Architectures, with commas between them.")] = None,
    fractions: Annotated[
        list[str] | None, typer.Option("--fractions", help="Shares of the training set; 0.25x3 = three independent quarters. Default 1.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs; default: the recipe's.")] = None,
    snapshots: Annotated[list[str] | None, typer.Option("--snapshots", help="Epochs that become classifiers. Default: the last.")] = None,
    recipe: Annotated[
        str, typer.Option("--recipe", help="Recipe, with changes: adam:lr=0.002. Known: adam, onecycle, sgd, cleaning.")
    ] = "adam",
    treatment: Annotated[
        str | None,
        typer.Option(
            "--treatment",
            help="What to do to the training set, steps in order: label_noise:fraction=0.2+delete_class:label=cat. "
            "With their parameters: zoo data treatments.",
        ),
    ] = None,
    seeds: Annotated[list[str] | None, typer.Option("--seeds", help="Seeds, with commas between them.")] = None,
    input_size: Annotated[int | None, typer.Option("--input-size", min=1, help="Side of the network's input in pixels.")] = None,
    scale: ScaleOption = None,
    workspace: WorkspaceOption = _WORKSPACE,
    runner: RunnerOption = "ray",
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = 0.0,
) -> None:
    """Train the classifiers of a sweep that are not there yet."""
    from zoo import ledger, pipeline
    from zoo.progress import Progress

    progress = Progress()
    if experiment is not None:
        from zoo import experiment as experiments

        if archs:
            raise UsageError(f"train takes an experiment ({experiment!r}) or --archs, not both.")
        spec = experiments.load(experiment, scale)
        _check_experiment(spec)
        space = _open(workspace, create=True)
        with _runner(runner, address, cpus, gpus) as make:
            diverged = pipeline.run(space, spec, make, progress, until="train").diverged
        pipeline.refuse_diverged(diverged)
        return
    if not archs:
        raise UsageError("train needs architectures. Example: zoo train --data fashion-mini --archs lenet5,mlp --fractions 0.25x3,1")
    sweep = _sweep(archs, fractions, epochs, snapshots, recipe, treatment, seeds, input_size)
    dataset, trainings, space = _planned(data, sweep, workspace, progress)
    with _runner(runner, address, cpus, gpus) as make:
        diverged = pipeline.train(space, dataset, _AD_HOC, "population", trainings, make, progress)
    pipeline.refuse_diverged(diverged)
    count = len(ledger.classifiers_of(space, trainings))
    following = f" Next: zoo fill -w {workspace} --data {data}" if count else ""
    print(f"{len(trainings)} trainings done, {count} classifiers in {space.location}.{following}")


def _check_experiment(spec: Experiment) -> None:
    """Find a missing data set, an unknown architecture or too small an input before a workspace is made."""
    from zoo.data import open_dataset
    from zoo.inputs import geometry

    dataset = open_dataset(spec.dataset)
    for sweep in (*spec.sweeps, *([spec.retraining] if spec.retraining else [])):
        for arch in sweep.archs:
            geometry(dataset, arch, sweep.input_size)


def _planned(data: str, sweep: Sweep, workspace: str, progress: Progress) -> tuple[Dataset, list[Training], Workspace]:
    """Everything that can be wrong is found here: names, sizes, data; only then a workspace is made."""
    from zoo import pipeline
    from zoo.data import open_dataset
    from zoo.inputs import geometry

    dataset = open_dataset(data)
    for arch in sweep.archs:
        geometry(dataset, arch, sweep.input_size)
    trainings = list(pipeline.resolved(sweep, dataset).expand(dataset.ref))
    space = _open(workspace, create=True)
    pipeline.prepare_dataset(space, data, [(arch, sweep.input_size) for arch in sweep.archs], progress)
    return dataset, trainings, space


def _dataset_of(space: Workspace, data: str | None) -> Dataset:
    """The data set named, or the only one the workspace knows."""
    from zoo.data import open_dataset

    if data is not None:
        return open_dataset(data)
    # Imported data sets have no pictures to open.
    known = {key: commit for key, commit in space.commits.all("dataset").items() if not commit.facts.get("imported")}
    if len(known) != 1:
        names = ", ".join(str(commit.facts["name"]) for commit in known.values()) or "none"
        raise UsageError(f"the workspace holds {len(known)} data sets with pictures: {names}. Choose one with --data.")
    return open_dataset(next(iter(known.values())).facts["uri"])


@app.command(rich_help_panel=_STEPS, epilog="Example: zoo fill --splits train,test --keep-logits val")
def fill(
    data: Annotated[str | None, typer.Option("--data", help="Data set; default: the workspace's own.")] = None,
    splits: Annotated[list[str] | None, typer.Option("--splits", help="Splits to fill. Default: train,test.")] = None,
    keep_logits: Annotated[
        Literal["none", "val", "all"] | None,
        typer.Option("--keep-logits", help="Keep logits: none, val (all but train), all. Default: all up to 100 classifiers, else val."),
    ] = None,
    workspace: WorkspaceOption = _WORKSPACE,
    runner: RunnerOption = "ray",
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = 0.0,
) -> None:
    """Stream the splits through every checkpoint that has no committed answers."""
    from zoo import pipeline
    from zoo.progress import Progress

    space = _open(workspace)
    dataset = _dataset_of(space, data)
    with _runner(runner, address, cpus, gpus) as make:
        pipeline.fill(space, dataset, None, _listed(splits) or ["train", "test"], keep_logits, make, Progress())
    print(f"Every classifier of {space.location} has answers. Next: zoo score -w {workspace}")


@app.command(rich_help_panel=_STEPS, epilog="Example: zoo score --split test --where \"fraction <= 0.5 and arch not like 'vgg%'\" --json")
def score(
    split: Annotated[str, typer.Option("--split", help="Split to score.")] = "train",
    where: Annotated[str | None, typer.Option("--where", help="SQL condition over the classifiers table: a sub-population.")] = None,
    label_column: Annotated[str, typer.Option("--label-column", help="label, label_true, or the name of a selection.")] = "label",
    output: Annotated[str | None, typer.Option("--output", "-o", help="Name of the table in results/; default scores-SPLIT.")] = None,
    top: Annotated[int, typer.Option("--top", min=0, help="How many suspects to print.")] = 10,
    snapshot: Annotated[str | None, typer.Option("--snapshot", help="Score the store as it was when this snapshot was made.")] = None,
    workspace: WorkspaceOption = _WORKSPACE,
    data: Annotated[str | None, typer.Option("--data", help="Data set, where the workspace holds several.")] = None,
    as_json: JsonOption = False,
) -> None:
    """X- and C-perplexity, label quality and confusions of every example, by a population or a part of it."""
    from zoo import scoring
    from zoo.detection import label_errors, suspects
    from zoo.results import write_table
    from zoo.tables import suspect_table

    if output and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", output):
        raise UsageError(f"--output {output!r} names a table in results/: allowed are letters, digits, dots, dashes and underscores.")
    space = _open(workspace) if snapshot is None else _open(workspace).at(snapshot)
    fingerprint = None if data is None else scoring.dataset_fingerprint(space, data)
    population = scoring.choose_population(space, where, dataset=fingerprint)
    table = scoring.score(space, population, split, label_column)
    plain = where is None and label_column == "label" and snapshot is None
    name = output or (f"scores-{split}" if plain else f"subscores-{split}")
    write_table(space, name, table, {"population": population.id, "n": len(population.classifiers), "where": where, "label": label_column})
    frame = table.to_pandas()
    found = label_errors(frame, scoring.Probabilities(space, population, split))
    if as_json:
        _print_json(
            {
                "schema": 1,
                "table": str(space.results / f"{name}.csv"),
                "split": split,
                "examples": len(frame),
                "classifiers": len(population.classifiers),
                "population": population.id,
                "mean_x": frame["x_perplexity"].mean(),
                "mean_c": frame["c_perplexity"].mean(),
                "detection": json.loads(found.table.to_json(orient="records")),
                "flagged": json.loads(found.flagged.to_json(orient="records")),
                "cleanlab": found.reason or "measured",
                "suspects": json.loads(
                    suspects(frame, top)[["example_id", "key", "label", "top_confusion", "label_quality"]].to_json(orient="records")
                ),
            }
        )
        return
    print(f"{len(frame):,} examples of {split} by {len(population.classifiers)} classifiers: {space.results / f'{name}.csv'}")
    if len(found.table):
        _print_frame(found.table)
        if found.reason:
            print(f"Without cleanlab beside them. {found.reason}")
    if top:
        _print_frame(suspect_table(suspects(frame, top), population.class_names))


# ---------------------------------------------------------------- clean and compare


SplitScores = Annotated[str, typer.Option("--split", help="Split whose scores the rules read.")]
NameOption = Annotated[str, typer.Option("--output", "-o", help="Name of the selection.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Let the name mean a new manifest.")]


def _make_selection(space: Workspace, name: str, rules: str, split: str, replace: bool, as_json: bool) -> None:
    from zoo import pipeline, selection
    from zoo.results import read_table
    from zoo.spec import Op, SelectionRule

    scores = read_table(space, f"scores-{split}")
    record = _class_count(space)
    chain = tuple(Op(name=rule, params=params) for rule, params in selection.parse(rules))
    summary = pipeline.select(space, SelectionRule(name=name, rules=chain, split=split), scores, record, replace=replace)
    if as_json:
        _print_json({"schema": 1, "selection": name, "rules": rules, **summary})
    else:
        from zoo.tables import summary_text

        print(f"selection {name!r} = {rules}\n{summary_text(summary)}")
        print(f"Next: zoo retrain baseline {name} --arch lenet5 --seeds 0,1,2 -w {space.location}")


def _class_count(space: Workspace) -> int:
    from zoo.scoring import choose_population

    return len(choose_population(space).class_names)


@app.command(rich_help_panel=_CLEAN, epilog="Example: zoo select --below c=10,x=0.7 --thresholds scaled --per-class 500 --resample -o easy")
def select(
    rules: Annotated[
        list[str] | None, typer.Argument(help="Rules in order, such as below:c=10,x=0.7 worst:share=0.1; or the options below.")
    ] = None,
    output: NameOption = "",
    below: Annotated[str | None, typer.Option("--below", help="Keep examples under thresholds: c=10,x=0.7")] = None,
    thresholds: Annotated[Literal["literal", "scaled", "quantile"], typer.Option("--thresholds", help="How to read --below.")] = "literal",
    quantile: Annotated[str | None, typer.Option("--quantile", help="Keep these shares of lowest C and X: c=0.9,x=0.9")] = None,
    worst: Annotated[float | None, typer.Option("--worst", help="Drop this share of lowest label quality.")] = None,
    per_class: Annotated[int | None, typer.Option("--per-class", help="Keep so many of each class.")] = None,
    resample: Annotated[bool, typer.Option("--resample", help="With --per-class: fill up small classes by repetition.")] = False,
    balance: Annotated[bool, typer.Option("--balance", help="Fill every class up to its original size by repetition.")] = False,
    random_like: Annotated[
        str | None, typer.Option("--random-like", help="Control: as many examples as this selection keeps, at random.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Key of the random choices of the rules.")] = 0,
    split: SplitScores = "train",
    replace: ReplaceOption = False,
    workspace: WorkspaceOption = _WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Make a manifest of examples to train on."""
    chain = list(rules or [])
    if below:
        chain.append(f"below:{below},thresholds={thresholds}")
    if quantile:
        chain.append(f"below:{quantile},thresholds=quantile")
    if worst is not None:
        chain.append(f"worst:share={worst}")
    if random_like:
        chain.append(f"random_like:name={random_like},seed={seed}")
    if per_class is not None:
        chain.append(f"per_class:count={per_class},resample={str(resample).lower()},seed={seed}")
    if balance:
        chain.append("balance")
    if not chain:
        raise UsageError("select needs a rule. Example: zoo select --worst 0.05 -o cleaned")
    _named(output)
    _make_selection(_open(workspace), output, "+".join(chain), split, replace, as_json)


@app.command(rich_help_panel=_CLEAN, epilog='Example: zoo relabel --set "x>0.95 and c<2" --to top-confusion -o relabelled')
def relabel(
    condition: Annotated[str, typer.Option("--set", help='Which examples: "x>0.95 and c<2".')],
    to: Annotated[str, typer.Option("--to", help="New label: top-confusion, or label-true where known (oracle).")] = "top-confusion",
    output: NameOption = "",
    split: SplitScores = "train",
    replace: ReplaceOption = False,
    workspace: WorkspaceOption = _WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Make a manifest with new labels for the examples of a set; all others stay as they are."""
    _named(output)
    _make_selection(_open(workspace), output, f"relabel:set={condition},to={to.replace('-', '_')}", split, replace, as_json)


@app.command(rich_help_panel=_CLEAN, epilog="Example: zoo weigh --by x -o weighted")
def weigh(
    by: Annotated[Literal["x", "c"], typer.Option("--by", help="Score that decides the weights.")],
    output: NameOption = "",
    split: SplitScores = "train",
    replace: ReplaceOption = False,
    workspace: WorkspaceOption = _WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Make a manifest with a weight per example (mean 1)."""
    _named(output)
    _make_selection(_open(workspace), output, f"weigh:by={by}", split, replace, as_json)


def _named(output: str) -> None:
    if not output:
        raise UsageError("the selection needs a name. Give one with -o NAME.")


@app.command(rich_help_panel=_CLEAN, epilog="Example: zoo retrain baseline cleaned --arch lenet5 --recipe onecycle --seeds 0,1,2")
def retrain(
    names: Annotated[list[str], typer.Argument(help="Selections; 'baseline' is the training set as it is.")],
    arch: Annotated[str, typer.Option("--arch", help="Architecture.")],
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe; every arm gets the same number of optimiser steps.")] = "adam",
    seeds: Annotated[list[str] | None, typer.Option("--seeds", help="Seeds, with commas between them. Default 0,1,2.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Data set; default: the workspace's own.")] = None,
    workspace: WorkspaceOption = _WORKSPACE,
    runner: RunnerOption = "ray",
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = 0.0,
) -> None:
    """Train the same network on selections, with the same number of optimiser steps and the same seeds."""
    from zoo import pipeline
    from zoo.arms import arm_trainings
    from zoo.progress import Progress

    space, progress = _open(workspace), Progress()
    dataset = _dataset_of(space, data)
    arms, sweep = _arms(_listed(names)), _sweep([arch], None, None, None, recipe, None, seeds or ["0,1,2"], None)
    trainings = [t for group in arm_trainings(space, arms, sweep, dataset).values() for t in group]
    with _runner(runner, address, cpus, gpus) as make:
        diverged = pipeline.train(space, dataset, "retrain", "retraining", trainings, make, progress, stage="retraining")
    pipeline.refuse_diverged(diverged)
    options = " ".join(["--arch", arch, "--recipe", recipe, "--seeds", ",".join(map(str, sweep.seeds))])
    print(
        f"{len(trainings)} trainings of {len(arms)} arms done. Next: zoo compare {' '.join(a.name for a in arms)} {options} -w {workspace}"
    )


def _arms(names: Sequence[str]) -> list[Arm]:
    from zoo.spec import Arm

    return [Arm(name=name, selection=None if name == "baseline" else name) for name in dict.fromkeys(names)]


@app.command(rich_help_panel=_CLEAN, epilog="Example: zoo compare baseline cleaned --arch lenet5 --on below:c=10,x=0.7,thresholds=scaled")
def compare(
    names: Annotated[list[str], typer.Argument(help="Arms to compare; the first is what the others are measured against.")],
    arch: Annotated[str, typer.Option("--arch", help="Architecture they were retrained with.")],
    recipe: Annotated[str, typer.Option("--recipe", help="Recipe they were retrained with.")] = "adam",
    seeds: Annotated[list[str] | None, typer.Option("--seeds", help="Seeds. Default 0,1,2.")] = None,
    on: Annotated[list[str] | None, typer.Option("--on", help="Also on a cleaned test set: a selection rule. Repeatable.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Data set; default: the workspace's own.")] = None,
    workspace: WorkspaceOption = _WORKSPACE,
    runner: RunnerOption = "ray",
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Accuracy of retraining arms on full and cleaned test sets with 95 % intervals, paired by seed, and how alike they answer."""
    from zoo import ledger, pipeline, selection
    from zoo.arms import arm_trainings, compare_trainings
    from zoo.progress import Progress
    from zoo.results import read_table
    from zoo.spec import Op

    space, progress = _open(workspace), Progress(quiet=as_json)
    dataset = _dataset_of(space, data)
    arms, sweep = _arms(_listed(names)), _sweep([arch], None, None, None, recipe, None, seeds or ["0,1,2"], None)
    by_arm = arm_trainings(space, arms, sweep, dataset)
    rules = [Op(name=name, params=params) for text in on or () for name, params in selection.parse(text)]
    with _runner(runner, address, cpus, gpus) as make:
        finals = ledger.classifiers_of(space, [training for group in by_arm.values() for training in group])
        pipeline.fill(space, dataset, finals, ("test",), "none", make, progress, stage="evaluation")
    scores = read_table(space, "scores-test") if rules else None
    found = compare_trainings(space, arms, by_arm, rules, scores, len(dataset.class_names))
    found.write(space)
    if as_json:
        tables = {"arms": found.arms, "comparisons": found.comparisons, "similarities": found.similarities}
        _print_json({"schema": 1, **{name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}})
    else:
        from zoo.tables import comparison_table

        _print_frame(comparison_table(found.comparisons))


# ---------------------------------------------------------------- look


@app.command(rich_help_panel=_LOOK, epilog='Example: zoo query "select arch, avg(test_acc1) from classifiers group by arch" --format csv')
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over the tables of 'zoo schema'.")],
    output_format: Annotated[Literal["table", "csv", "json", "parquet"], typer.Option("--format", help="How to print it.")] = "table",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write instead of stdout; needed for parquet.")] = None,
    snapshot: Annotated[str | None, typer.Option("--snapshot", help="Ask the store as it was when this snapshot was made.")] = None,
    workspace: WorkspaceOption = _WORKSPACE,
) -> None:
    """SQL (DuckDB) over everything in the workspace, by table name. Reads only."""
    from zoo.store.query import hard_limits
    from zoo.store.query import query as run_query
    from zoo.tables import write_result

    space = _open(workspace) if snapshot is None else _open(workspace).at(snapshot)
    with hard_limits():
        found = run_query(space, sql)
    write_result(found, output_format, output)


@app.command(rich_help_panel=_LOOK, epilog="Example: zoo schema scores")
def schema(
    table: Annotated[str | None, typer.Argument(help="One table; default: all.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Every table and column that queries can use."""
    from zoo.schema import SCHEMA, schema_text

    text = schema_text(table)  # refuses an unknown table
    if as_json:
        _print_json({"schema": 1, "tables": SCHEMA if table is None else {table: SCHEMA[table]}})
    else:
        print(text)


@app.command(rich_help_panel=_LOOK, epilog="Example: zoo status --json")
def status(workspace: WorkspaceOption = _WORKSPACE, as_json: JsonOption = False) -> None:
    """What is done, running, failed or still to do."""
    from zoo.summary import status as collect
    from zoo.summary import status_text

    found = collect(_open(workspace))
    if as_json:
        _print_json({"schema": 1, **found})
    else:
        print(status_text(found))


@app.command(rich_help_panel=_LOOK, epilog="Example: zoo report -w ./zoo-workspace")
def report(
    experiment: Annotated[str | None, typer.Argument(help="Experiment the workspace was made by; default: as recorded.")] = None,
    scale: ScaleOption = None,
    workspace: WorkspaceOption = _WORKSPACE,
) -> None:
    """Tables and figures of the workspace in one self-contained HTML page, each figure with its CSV."""
    from zoo import experiment as experiments
    from zoo import ledger
    from zoo.data import open_dataset
    from zoo.errors import NotFoundError
    from zoo.importing import imported_dataset
    from zoo.reporting import recorded_run, write_report

    space = _open(workspace)
    timings: dict[str, float] = {}
    try:
        name, recorded_scale, timings = recorded_run(space)
    except NotFoundError:
        if experiment is None and not len(ledger.population(space)):
            raise
        name, recorded_scale = _AD_HOC, None
    if experiment is None and name == _AD_HOC:
        spec = _ad_hoc(space)
    else:
        spec = experiments.load(experiment or name, scale or (recorded_scale if experiment in (None, name) else None))
    print(write_report(space, spec, imported_dataset(space, spec.dataset) or open_dataset(spec.dataset), timings))


def _ad_hoc(space: Workspace) -> Experiment:
    """What was made step by step, as an experiment to report on."""
    from zoo.spec import Experiment

    known = space.commits.all("dataset")
    if len(known) != 1:
        names = ", ".join(str(commit.facts["name"]) for commit in known.values())
        raise UsageError(f"the workspace holds {len(known)} data sets: {names}. Name the experiment: zoo report EXPERIMENT.")
    facts = next(iter(known.values())).facts
    return Experiment(name=_AD_HOC, title=f"Classifiers of {facts['name']}", scale="ad-hoc", dataset=str(facts["uri"]), sweeps=())


exchange_commands.register(app)
store_commands.register(app)
data_commands.register(app)


# ---------------------------------------------------------------- entry point


def _on_sigterm(*_: object) -> None:
    # Said and noted at once: whoever terminates may not wait for the way out, and libraries on it turn the exit code into their own.
    _state["terminated"] = True
    _say("terminated. Nothing committed is lost; the same command goes on.")
    raise SystemExit(143)


def main() -> None:
    """Run the command line; turns errors into messages and exit codes."""
    # Our own messages keep a way to the terminal of their own: file descriptor 2 is what Ray's C++ side writes to, see zoo.cluster.session.
    with contextlib.suppress(OSError):
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    signal.signal(signal.SIGTERM, _on_sigterm)
    code = _run()
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    raise SystemExit(143 if _state["terminated"] else code)


def _run() -> int:
    try:
        result = app(standalone_mode=False)
        if result == Interrupted.exit_code:  # what typer makes of a Ctrl-C
            return _interrupted()
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, typer.Abort, Interrupted):
        return _interrupted()
    except typer.TyperException as error:  # wrong usage, in typer's own words
        error.show() if hasattr(error, "show") else _say(str(error))
        return 2
    except ZooError as error:
        _debug()
        _say(f"zoo: {error}")
        return error.exit_code
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the reader of our output has gone; nothing to tell it
        return 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except Exception as error:  # noqa: BLE001 - a bug: one line for the user, the traceback with --debug
        _debug()
        _say(f"zoo: unexpected {type(error).__name__}: {error}\nThis is a bug in zoo. Show where with: zoo --debug ...")
        return 1


def _interrupted() -> int:
    again = " ".join([Path(sys.argv[0]).name, *map(_quoted, sys.argv[1:])])
    _say(f"interrupted. Nothing committed is lost; go on with the same command:\n  {again}")
    return Interrupted.exit_code


def _debug() -> None:
    if _state["debug"]:
        traceback.print_exc()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
