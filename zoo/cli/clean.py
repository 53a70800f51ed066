"""Commands that make selections, retrain on them, and compare."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from zoo.cli import complete
from zoo.cli.options import (
    CLEAN,
    DEFAULT_WORKSPACE,
    AddressOption,
    ArchsOption,
    CpusOption,
    GpusOption,
    JsonOption,
    NameOption,
    OwnDataOption,
    ReplaceOption,
    RunnerOption,
    SeveralOption,
    SplitScores,
    WorkspaceOption,
    after_selection,
    listed,
    open_workspace,
    print_frame,
    print_json,
    runner_for,
    sweep_of,
)
from zoo.errors import UsageError

if TYPE_CHECKING:
    from zoo.spec import ArmGroup
    from zoo.store.workspace import Workspace

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(
        rich_help_panel=CLEAN,
        epilog=("Example: zoo select --joint 0.8 --per-class 400 --resample -o easy"),
    )(select)
    app.command(
        rich_help_panel=CLEAN,
        epilog='Example: zoo relabel --set "x>0.95 and c<2" --to top-confusion -o relabelled',
    )(relabel)
    app.command(rich_help_panel=CLEAN, epilog="Example: zoo weigh --by x -o weighted")(weigh)
    app.command(
        rich_help_panel=CLEAN,
        epilog=(
            "Example: zoo retrain baseline cleaned --arch lenet5 --recipe onecycle --seeds 0,1,2"
        ),
    )(retrain)
    app.command(
        rich_help_panel=CLEAN,
        epilog=(
            "Example: zoo compare baseline cleaned --arch lenet5 --on"
            " below:share=0.78,thresholds=joint"
        ),
    )(compare)


def _make_selection(
    workspace: str,
    name: str,
    rules: str,
    split: str,
    data: str | None,
    replace: bool,
    as_json: bool,
    draws: int = 1,
) -> None:
    from zoo import pipeline
    from zoo.scores.population import choose_population
    from zoo.spec import Op, SelectionRule
    from zoo.store.datasets import dataset_fingerprint
    from zoo.store.results import read_scores
    from zoo.trainsets.rules import parse

    space = open_workspace(workspace)
    population = choose_population(
        space, dataset=None if data is None else dataset_fingerprint(space, data)
    )
    scores, origin = read_scores(space, population.fingerprint, split)
    chain = tuple(Op(name=rule, params=params) for rule, params in parse(rules))
    rule, seeds = (
        SelectionRule(name=name, rules=chain, split=split),
        (range(draws) if draws > 1 else ()),
    )
    summary = pipeline.select(
        space,
        rule,
        scores,
        origin,
        population.class_names,
        population=population,
        seeds=seeds,
        replace=replace,
    )
    if as_json:
        print_json({"schema": 1, "selection": name, "rules": rules, **origin.as_json(), **summary})
    else:
        from zoo.cli.text import summary_text

        print(f"selection {name!r} = {rules}\n{summary_text(summary, population.class_names)}")
        print(f"Next: {after_selection(space, workspace, name, retrains=True)}")


def select(
    rules: Annotated[
        list[str] | None,
        typer.Argument(
            autocompletion=complete.rules,
            help="Rules in order, such as below:c=10,x=0.7 worst:share=0.1; or the options below.",
        ),
    ] = None,
    output: NameOption = "",
    below: Annotated[
        str | None, typer.Option("--below", help="Keep examples under thresholds: c=10,x=0.7")
    ] = None,
    thresholds: Annotated[
        Literal["literal", "marginal"],
        typer.Option(
            "--thresholds",
            help="How to read --below: as C and X; or marginal, as shares of lowest C and of X.",
        ),
    ] = "literal",
    joint: Annotated[
        float | None,
        typer.Option("--joint", help="Keep this share: of lowest C and X together, by one q."),
    ] = None,
    worst: Annotated[
        float | None, typer.Option("--worst", help="Drop this share of lowest label quality.")
    ] = None,
    per_class: Annotated[
        int | None, typer.Option("--per-class", help="Keep so many of each class.")
    ] = None,
    resample: Annotated[
        bool,
        typer.Option("--resample", help="With --per-class: fill up small classes by repetition."),
    ] = False,
    balance: Annotated[
        bool,
        typer.Option("--balance", help="Fill every class up to its original size by repetition."),
    ] = False,
    empty: Annotated[
        Literal["error", "keep", "drop"],
        typer.Option(
            "--empty",
            help=(
                "With --per-class or --balance, a class of which nothing is left: an error, taken"
                " whole, or left out."
            ),
        ),
    ] = "error",
    random_like: Annotated[
        str | None,
        typer.Option(
            "--random-like",
            autocompletion=complete.selections,
            help="Control: as many examples as this selection keeps, at random.",
        ),
    ] = None,
    by_class: Annotated[
        bool, typer.Option("--by-class", help="With --random-like: as many of each class.")
    ] = False,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Key of the random choices of the rules.")
    ] = 0,
    drop: Annotated[
        Path | None,
        typer.Option(
            "--drop",
            help=(
                "All but the examples that a file lists: a key a line, or a table with a column key"
                " or example_id. Takes the place of rules; needs no scores."
            ),
        ),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", help="These alone; the file as for --drop.")
    ] = None,
    draws: Annotated[
        int,
        typer.Option(
            "--draws",
            min=1,
            help=(
                "Draws of the random choices: one for each retraining seed 0, 1, ...; 1 = one for"
                " all seeds."
            ),
        ),
    ] = 10,
    split: SplitScores = "train",
    data: SeveralOption = None,
    replace: ReplaceOption = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Make a manifest of examples to train on."""
    chain = list(rules or [])
    if below:
        chain.append(f"below:{below},thresholds={thresholds}")
    if joint is not None:
        chain.append(f"below:share={joint},thresholds=joint")
    if worst is not None:
        chain.append(f"worst:share={worst}")
    if random_like:
        chain.append(
            f"random_like:name={random_like},seed={seed},per_class={str(by_class).lower()}"
        )
    if per_class is not None:
        chain.append(
            f"per_class:count={per_class},resample={str(resample).lower()},seed={seed},empty={empty}"
        )
    if balance:
        chain.append(f"balance:seed={seed},empty={empty}")
    listed_in = drop or keep
    if listed_in is not None:
        if chain or (drop and keep):
            raise UsageError(
                "select takes --drop FILE, --keep FILE or rules, one of them. Leave the others out."
            )
        from zoo.api import Zoo

        _named(output)
        space = open_workspace(workspace, create=data is not None)
        made = Zoo(space).keep_or_drop(
            output, listed_in, drop=drop is not None, split=split, data=data, replace=replace
        )
        _print_listed(made, output, as_json, space, workspace)
        return
    if not chain:
        raise UsageError("select needs a rule. Example: zoo select --worst 0.05 -o cleaned")
    _named(output)
    _make_selection(workspace, output, "+".join(chain), split, data, replace, as_json, draws)


def relabel(
    condition: Annotated[
        str | None,
        typer.Option("--set", help="Which examples: \"x>0.95 and label=='cat'\"."),
    ] = None,
    decisions: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            help=(
                "What people decided: a CSV, TSV or Parquet file with columns key (or example_id),"
                " decision (keep, relabel, drop, unsure), label, reviewer, time, digest, note."
                " Repeatable."
            ),
        ),
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help=(
                "New label: top-confusion (most votes), top-probability (largest mean probability),"
                " label-true where known (oracle), a selection's labels, or a class by its name or"
                " number."
            ),
        ),
    ] = "top-confusion",
    output: NameOption = "",
    split: SplitScores = "train",
    data: SeveralOption = None,
    replace: ReplaceOption = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Make a manifest with new labels for the examples of a set, or by people's decisions, which
    are stored; all others stay as they are."""
    _named(output)
    if (condition is None) == (not decisions):
        raise UsageError(
            "relabel needs --set or --from, and not both. Example: zoo relabel --from decisions.csv"
            " -o corrected"
        )
    if decisions:
        from zoo.api import Zoo

        space = open_workspace(workspace, create=data is not None)
        made = Zoo(space).decide(output, decisions, split=split, data=data, replace=replace)
        _print_listed(made, output, as_json, space, workspace)
        return
    _make_selection(
        workspace,
        output,
        f"relabel:set={condition},to={to}",
        split,
        data,
        replace,
        as_json,
    )


def _print_listed(
    made: dict[str, Any], name: str, as_json: bool, space: Workspace, workspace: str
) -> None:
    """A selection that was made from a file."""
    if as_json:
        print_json({"schema": 1, "selection": name, **made})
        return
    lists = ("notes", "agreement", "disputed", "remaining")
    print(f"selection {name!r}")
    for key, value in made.items():
        if key not in lists:
            print(f"  {key}: {value}")
    for pair in made.get("agreement", ()):
        worth = "not defined" if pair["kappa"] is None else f"{pair['kappa']:.2f}"
        print(f"  {' and '.join(pair['reviewers'])}: kappa {worth} on {pair['examples']} examples")
    if made.get("disputed"):
        keys = made["disputed"]
        more = f" and {len(keys) - 10} more" if len(keys) > 10 else ""
        print(f"  reviewers differ, so they stay as they are: {', '.join(keys[:10])}{more}")
    for note in made["notes"]:
        print(f"Note: {note}")
    if made.get("remaining"):
        print(f"What is left: {made['remaining']['text']}")
    print(f"Next: {after_selection(space, workspace, name)}")


def weigh(
    by: Annotated[Literal["x", "c"], typer.Option("--by", help="Score that decides the weights.")],
    favour: Annotated[
        Literal["easy", "hard"], typer.Option("--favour", help="Which examples get more.")
    ] = "easy",
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Keep the weights' own mean, which scales the learning rate."),
    ] = False,
    output: NameOption = "",
    split: SplitScores = "train",
    data: SeveralOption = None,
    replace: ReplaceOption = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Make a manifest with a weight per example (mean 1, unless raw)."""
    _named(output)
    settings = f"by={by}{',favour=hard' * (favour == 'hard')}{',raw=true' * raw}"
    _make_selection(workspace, output, f"weigh:{settings}", split, data, replace, as_json)


def _named(output: str) -> None:
    if not output:
        raise UsageError("the selection needs a name. Give one with -o NAME.")


def retrain(
    names: Annotated[
        list[str],
        typer.Argument(
            autocompletion=complete.arms,
            help="Selections; 'baseline' is the training set as it is.",
        ),
    ],
    archs: ArchsOption,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            autocompletion=complete.recipes,
            help="Recipe; every arm gets the same number of optimiser steps.",
        ),
    ] = "adam",
    seeds: Annotated[
        list[str] | None,
        typer.Option("--seeds", help="Seeds, with commas between them. Default 0,1,2."),
    ] = None,
    data: OwnDataOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    runner: RunnerOption = "ray",
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = 0.0,
) -> None:
    """Train the same networks on selections, with the same number of optimiser steps and the same
    seeds."""
    from zoo import pipeline
    from zoo.progress import Progress, counted
    from zoo.store.datasets import dataset_of
    from zoo.studies.arms import arm_trainings

    space, progress = open_workspace(workspace), Progress()
    dataset = dataset_of(space, data)
    group = _group(names, archs, recipe, seeds)
    trainings = [t for mine in arm_trainings(space, group, dataset).values() for t in mine]
    pipeline.prepare_dataset(space, dataset.uri, group.retraining.inputs, progress)
    with runner_for(runner, address, cpus, gpus, workspace) as make:
        diverged = pipeline.train(
            space, dataset, "retrain", "retraining", trainings, make, progress, stage="retraining"
        )
    pipeline.refuse_diverged(diverged)
    options = " ".join(
        [
            "--arch",
            ",".join(group.retraining.archs),
            "--recipe",
            recipe,
            "--seeds",
            ",".join(map(str, group.retraining.seeds)),
        ]
    )
    options += f" --data {data}" if data else ""
    arms = " ".join(arm.name for arm in group.arms)
    print(
        f"{counted(len(trainings), 'training')} of {counted(len(group.arms), 'arm')} done. Next:"
        f" zoo compare {arms} {options} -w {workspace}"
    )


def _group(
    names: Sequence[str], archs: Sequence[str], recipe: str, seeds: list[str] | None
) -> ArmGroup:
    from zoo.spec import Arm, ArmGroup

    sweep = sweep_of(
        list(dict.fromkeys(listed(archs))), None, None, None, recipe, None, seeds or ["0,1,2"], None
    )
    arms = tuple(
        Arm(name=name, selection=None if name == "baseline" else name)
        for name in dict.fromkeys(listed(names))
    )
    return ArmGroup(
        name="arms", arms=arms, retraining=sweep.replace(seeds=tuple(dict.fromkeys(sweep.seeds)))
    )


def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            autocompletion=complete.arms,
            help="Arms to compare; the first is what the others are measured against.",
        ),
    ],
    archs: ArchsOption,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe", autocompletion=complete.recipes, help="Recipe they were retrained with."
        ),
    ] = "adam",
    seeds: Annotated[
        list[str] | None, typer.Option("--seeds", help="Seeds. Default 0,1,2.")
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on",
            autocompletion=complete.rules,
            help="Also on a cleaned test set: a selection rule. Repeatable.",
        ),
    ] = None,
    data: OwnDataOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    runner: RunnerOption = "ray",
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Accuracy of retraining arms on full and cleaned test sets with 95 % intervals, paired by
    seed, and how alike they answer."""
    from zoo import pipeline
    from zoo.progress import Progress
    from zoo.spec import Op
    from zoo.store import ledger
    from zoo.store.datasets import dataset_of
    from zoo.store.results import read_scores
    from zoo.studies.arms import arm_trainings, check_retrained, compare_trainings
    from zoo.trainsets.rules import parse

    space, progress = open_workspace(workspace), Progress(quiet=as_json)
    dataset = dataset_of(space, data)
    group = _group(names, archs, recipe, seeds)
    by_arm = arm_trainings(space, group, dataset)
    check_retrained(space, group, by_arm, group.arms)
    rules = [Op(name=name, params=params) for text in on or () for name, params in parse(text)]
    with runner_for(runner, address, cpus, gpus, workspace) as make:
        finals = ledger.classifiers_of(
            space, [training for mine in by_arm.values() for training in mine]
        )
        pipeline.fill(space, dataset, finals, ("test",), "none", make, progress, stage="evaluation")
    scores = read_scores(space, dataset.fingerprint, "test")[0] if rules else None
    found = compare_trainings(space, [(group, by_arm)], rules, scores, len(dataset.class_names))
    found.write(space)
    if as_json:
        tables = {
            "arms": found.arms,
            "comparisons": found.comparisons,
            "similarities": found.similarities,
        }
        print_json(
            {
                "schema": 1,
                **{
                    name: json.loads(table.to_json(orient="records"))
                    for name, table in tables.items()
                },
            }
        )
    else:
        from zoo.cli.text import comparison_table

        print_frame(comparison_table(found.comparisons))
