"""Commands for one stage each: train, fill, score."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from zoo.cli import complete
from zoo.cli import data as data_commands
from zoo.cli.options import (
    AD_HOC,
    DEFAULT_WORKSPACE,
    STEPS,
    AddressOption,
    CpusOption,
    DataOption,
    FeaturesOption,
    FoldsOption,
    GpusOption,
    JsonOption,
    NewArchsOption,
    OwnDataOption,
    RunnerOption,
    ScaleOption,
    SeveralOption,
    TrainerOption,
    WeightsOption,
    WorkspaceOption,
    features_of,
    listed,
    open_workspace,
    print_frame,
    print_json,
    runner_for,
    sweep_of,
)
from zoo.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(
        rich_help_panel=STEPS,
        cls=data_commands.NamesTreatments,
        epilog=(
            "Example: zoo train --data fashion-mini --archs lenet5,mlp --fractions 0.25x3,1"
            " --epochs 10 --snapshots 5,10"
        ),
    )(train)
    app.command(
        rich_help_panel=STEPS, epilog="Example: zoo fill --splits train,test --keep-logits val"
    )(fill)
    app.command(
        rich_help_panel=STEPS,
        epilog=(
            "Example: zoo score --split test --where \"fraction <= 0.5 and arch not like 'vgg%'\""
            " --json"
        ),
    )(score)


def train(
    experiment: Annotated[
        str | None,
        typer.Argument(
            autocompletion=complete.experiments,
            help="An experiment whose sweep to train, instead of the options below.",
        ),
    ] = None,
    data: DataOption = "fashion-mini",
    archs: NewArchsOption = None,
    fractions: Annotated[
        list[str] | None,
        typer.Option(
            "--fractions",
            help="Shares of the training set; 0.25x3 = three independent quarters. Default 1.",
        ),
    ] = None,
    folds: FoldsOption = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs; default: the recipe's.")
    ] = None,
    snapshots: Annotated[
        list[str] | None,
        typer.Option("--snapshots", help="Epochs that become classifiers. Default: the last."),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            autocompletion=complete.recipes,
            help="Recipe, with changes: adam:lr=0.002. Known: adam, onecycle, sgd, cleaning.",
        ),
    ] = "adam",
    treatment: Annotated[
        str | None,
        typer.Option(
            "--treatment",
            autocompletion=complete.treatments,
            help=(
                "What to do to the training set, steps in order:"
                " label_noise:fraction=0.2+delete_class:label=cat. "
                "With their parameters: zoo data treatments."
            ),
        ),
    ] = None,
    seeds: Annotated[
        list[str] | None, typer.Option("--seeds", help="Seeds, with commas between them.")
    ] = None,
    input_size: Annotated[
        int | None,
        typer.Option("--input-size", min=1, help="Side of the network's input in pixels."),
    ] = None,
    features: FeaturesOption = None,
    weights: WeightsOption = None,
    scale: ScaleOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    runner: RunnerOption = "ray",
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = 0.0,
    trainer: TrainerOption = "auto",
) -> None:
    """Train the classifiers of a sweep that are not there yet."""
    from zoo import pipeline
    from zoo.data import announce_untested
    from zoo.pipeline import check_experiment, planned
    from zoo.progress import Progress, counted
    from zoo.store import ledger

    progress = Progress()
    if experiment is not None:
        from zoo.studies import load as experiments

        if archs:
            raise UsageError(f"train takes an experiment ({experiment!r}) or --archs, not both.")
        spec = experiments.load(experiment, scale)
        check_experiment(spec, workspace)
        with runner_for(runner, address, cpus, gpus, workspace, trainer) as make:
            space = open_workspace(workspace, create=True)
            diverged = pipeline.run(space, spec, make, progress, until="train").diverged
        pipeline.refuse_diverged(diverged)
        return
    if not archs:
        raise UsageError(
            "train needs architectures. Example: zoo train --data fashion-mini --archs lenet5,mlp"
            " --fractions 0.25x3,1"
        )
    sweep = sweep_of(
        archs, fractions, epochs, snapshots, recipe, treatment, seeds, input_size, folds
    )
    made_by = features_of(features, weights, input_size)
    with runner_for(runner, address, cpus, gpus, workspace, trainer) as make:
        dataset, trainings, space = planned(
            data, [pipeline.Grid(sweep, made_by)], workspace, progress
        )
        announce_untested(dataset)
        diverged = pipeline.train(space, dataset, AD_HOC, "population", trainings, make, progress)
    pipeline.refuse_diverged(diverged)
    count = len(ledger.classifiers_of(space, trainings))
    following = f" Next: zoo fill -w {workspace} --data {data}" if count else ""
    print(
        f"{counted(len(trainings), 'training')} done, {counted(count, 'classifier')} in"
        f" {space.location}.{following}"
    )


def fill(
    data: OwnDataOption = None,
    splits: Annotated[
        list[str] | None,
        typer.Option("--splits", help="Splits to fill. Default: train, and test if there is one."),
    ] = None,
    keep_logits: Annotated[
        Literal["none", "val", "all"] | None,
        typer.Option(
            "--keep-logits",
            help=(
                "Keep logits: none, val (all but train), all. Default: all up to 100 classifiers,"
                " else val."
            ),
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--where", help="SQL condition over the classifiers table: fill these alone."),
    ] = None,
    program: Annotated[
        Literal["auto", "single", "lanes"],
        typer.Option(
            "--program",
            help=(
                "Who answers: single (one network after the other), lanes (as many of one"
                " architecture as a vector register of a CPU holds; needs numba). auto: lanes where"
                " they were measured to be faster."
            ),
        ),
    ] = "auto",
    precision: Annotated[
        Literal["fp32", "bf16"],
        typer.Option(
            "--precision",
            help=(
                "In which networks answer: fp32, or bf16: several times as fast of large networks"
                " on a GPU or a CPU with bf16 instructions, while some predictions in a thousand"
                " are other ones. What was answered stays as it is; 'zoo status' counts those in"
                " bf16."
            ),
        ),
    ] = "fp32",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    runner: RunnerOption = "ray",
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = 0.0,
) -> None:
    """Stream the splits through every checkpoint that has no committed answers. One whose outputs
    are not finite is left out for good."""
    import shlex

    from zoo import pipeline
    from zoo.progress import Progress
    from zoo.store.datasets import dataset_of
    from zoo.store.query import classifiers_where

    space = open_workspace(workspace)
    dataset = dataset_of(space, data)
    with runner_for(runner, address, cpus, gpus, workspace) as make:
        chosen = None if where is None else classifiers_where(space, dataset.fingerprint, where)
        pipeline.fill(
            space,
            dataset,
            chosen,
            listed(splits) or [name for name in ("train", "test") if name in dataset.splits],
            keep_logits,
            make,
            Progress(),
            program=None if program == "auto" else program,
            precision=precision,
        )
    some, again = (
        ("", "") if where is None else (f" where {where}", f" --where {shlex.quote(where)}")
    )
    print(
        f"Every classifier of {space.location}{some} has answers. Next: zoo score -w"
        f" {workspace}{again}"
    )


def score(
    split: Annotated[str, typer.Option("--split", help="Split to score.")] = "train",
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            help=(
                "SQL condition over the classifiers table. Default: all that were trained on the"
                " data as given or random parts of it."
            ),
        ),
    ] = None,
    label_column: Annotated[
        str,
        typer.Option(
            "--label-column",
            autocompletion=complete.labels,
            help="label, label_true, or the name of a selection.",
        ),
    ] = "label",
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Name of the table in results/; default scores-SPLIT."),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=0, help="How many suspects to print.")] = 10,
    snapshot: Annotated[
        str | None,
        typer.Option(
            "--snapshot",
            autocompletion=complete.snapshots,
            help="Score the store as it was when this snapshot was made.",
        ),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    data: SeveralOption = None,
    as_json: JsonOption = False,
) -> None:
    """X- and C-perplexity, label quality and confusions of every example, by a population or a part
    of it."""
    from zoo.cli.text import detection_text, suspect_table
    from zoo.progress import Progress, counted
    from zoo.scores import from_store, issues
    from zoo.scores.detection import label_errors
    from zoo.scores.measured import detect
    from zoo.scores.population import choose_population
    from zoo.scores.suspects import ranked_apart, suspects
    from zoo.spec import content_id
    from zoo.store import datasets
    from zoo.store.results import write_scores, write_table

    if output and (
        not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", output) or output.startswith("scores-")
    ):
        raise UsageError(
            f"--output {output!r} names a table in results/: allowed are letters, digits, dots,"
            " dashes and underscores, but not scores-..., which are those of the whole population."
        )
    space = (
        open_workspace(workspace) if snapshot is None else open_workspace(workspace).at(snapshot)
    )
    fingerprint = None if data is None else datasets.dataset_fingerprint(space, data)
    population = choose_population(space, where, dataset=fingerprint, say=Progress().say)
    table = issues.scored(space, population, split, label_column)
    frame = table.to_pandas()
    if output is None and where is None and label_column == "label" and snapshot is None:
        name = write_scores(space, table, population.origin(split), len(population.classifiers))
    else:
        # A name per sub-population and labels: one part of the classifiers never overwrites
        # another's scores.
        name = (
            output or f"subscores-{split}-{content_id([population.id, label_column, snapshot])[:8]}"
        )
        about = {
            "n": len(population.classifiers),
            "where": where,
            "label": label_column,
            "snapshot": snapshot,
        }
        write_table(space, name, table, {**population.origin(split).as_json(), **about})
    if name.startswith("scores-") and split == "train":
        found = detect(space, population, split, frame)
    else:
        found = label_errors(frame, from_store.Probabilities(space, population, split))
    if as_json:
        print_json(
            {
                "schema": 1,
                "table": str(space.results / f"{name}.csv"),
                "split": split,
                "examples": len(frame),
                "classifiers": len(population.classifiers),
                "population": population.id,
                "not_held_out": int(((frame["n_heldout"] == 0) & (frame["n"] > 0)).sum()),
                "mean_x": frame["x_perplexity"].mean(),
                "mean_c": frame["c_perplexity"].mean(),
                "wrong_labels": (
                    None if (wrong := frame["p_wrong"]).isna().all() else float(wrong.sum())
                ),
                "label_issues": int(frame["is_label_issue"].astype("boolean").sum()),
                "detection": json.loads(found.table.to_json(orient="records")),
                "flagged": json.loads(found.flagged.to_json(orient="records")),
                "cleanlab": found.reason or "measured",
                "suspects": json.loads(
                    _named(suspects(frame, top), population.class_names)[
                        [
                            "example_id",
                            "key",
                            "label",
                            "label_name",
                            "top_confusion",
                            "top_confusion_name",
                            "suggested",
                            "suggested_name",
                            "ranked_x",
                            "ranked_n",
                            "heldout",
                            "label_quality",
                            "p_wrong",
                            "expected_precision",
                            "is_label_issue",
                        ]
                    ].to_json(orient="records")
                ),
            }
        )
        return
    print(
        f"{len(frame):,} examples of {split} by"
        f" {counted(len(population.classifiers), 'classifier')}:"
        f" {space.results / f'{name}.csv'}"
    )
    if frame["label"].isna().all():
        print(
            f"No example of {split} has a label: X and all that needs one are null, and there are"
            " no suspects. C and confusions are there."
        )
        return
    if len(found.table):
        print_frame(detection_text(found.table))
        if found.reason:
            print(f"Without cleanlab beside them. {found.reason}")
    for note in (
        from_store.relabelling_note(table),
        ranked_apart(frame),
        issues.no_issues_note(table),
    ):
        if note:
            print(note)
    if top:
        print_frame(suspect_table(suspects(frame, top), population.class_names))


def _named(listed: pd.DataFrame, class_names: Sequence[str]) -> pd.DataFrame:
    """Suspects with the name of the class that is suggested."""
    from zoo.registry import distinct

    names = dict(enumerate(distinct(class_names)))
    return listed.assign(suggested_name=listed["suggested"].map(names))
