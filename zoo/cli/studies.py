"""Commands for whole studies: demo, run, plan."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli import complete
from zoo.cli.options import (
    DEFAULT_WORKSPACE,
    STUDIES,
    AddressOption,
    CpusOption,
    FeaturesOption,
    FoldsOption,
    GpusOption,
    JsonOption,
    NewArchsOption,
    RunnerOption,
    ScaleOption,
    TrainerOption,
    WeightsOption,
    WorkspaceOption,
    features_of,
    open_workspace,
    place_of,
    print_json,
    runner_for,
    sweep_of,
    which_of,
)
from zoo.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from zoo.spec import Experiment
    from zoo.store.workspace import Workspace

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command(rich_help_panel=STUDIES, epilog="Example: zoo audit ./photos --budget 10m")(audit)
    app.command(rich_help_panel=STUDIES, epilog="Example: zoo demo -w /tmp/demo")(demo)
    app.command(rich_help_panel=STUDIES, epilog="Example: zoo run demo --until score")(run)
    app.command(
        rich_help_panel=STUDIES, epilog="Example: zoo plan demo --gpu a100 --gpu-price 1.8"
    )(plan)


# ---------------------------------------------------------------- whole studies


def audit(
    data: Annotated[
        list[str] | None,
        typer.Argument(
            autocompletion=complete.datasets,
            help=(
                "Your pictures: class folders, a table of paths and labels, Parquet, or a name."
                " After --predictions: further files of them."
            ),
        ),
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            "--predictions",
            help="Instead of pictures: predictions as for 'zoo import', a file each. Repeatable.",
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="With --predictions: the labels.")
    ] = None,
    pictures: Annotated[
        str | None,
        typer.Option(
            "--pictures",
            help=(
                "With --predictions: the pictures they are of, by class, then file name; rows of a"
                " Parquet file with a column key may come in any order. Their labels are taken."
            ),
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option("--budget", help="How long to train: 90s, 10m, 2h. More time, more networks."),
    ] = "3m",
    features: Annotated[
        str | None,
        typer.Option(
            "--features",
            help=(
                "Heads on features of this pretrained network of timm; hog = on histograms of"
                " oriented gradients, without any weights; none = networks on pictures. Default: by"
                " the pictures, and the weights that are here."
            ),
        ),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    runner: RunnerOption = "ray",
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Which labels of your pictures are probably wrong, and how many: check, train, score, report.
    No test split is needed."""
    from zoo.api import Zoo
    from zoo.auditing import audit_pictures, audit_predictions, opened
    from zoo.data import open_dataset, require_trainable
    from zoo.machine import own_cpus
    from zoo.pipeline import prepare_dataset
    from zoo.progress import Progress
    from zoo.scores.audited import facts_of, summary

    if predictions and all(name.endswith((".npy", ".parquet")) for name in data or ()):
        # --predictions a.npy b.npy: of an option that is repeated the shell's list is the rest
        predictions, data = [*predictions, *map(Path, data or ())], None
    if len(data or ()) != (0 if predictions else 1):
        raise UsageError(
            "audit needs pictures or --predictions, one of them, and pictures of one place."
            " Example: zoo audit ./photos"
        )
    if pictures is not None and not predictions:
        raise UsageError(
            f"--pictures {pictures}: it belongs to --predictions. To train on pictures: zoo audit"
            f" {pictures}"
        )
    progress, seconds = Progress(quiet=as_json), _seconds(budget)
    if predictions:
        from zoo.exchange.importing import Request, import_predictions

        if labels is None and pictures is None:
            raise UsageError(
                "--predictions needs --labels FILE: .npy, .csv, .parquet or .txt; or --pictures"
                " PATH, whose labels are taken."
            )
        request, shown = Request(tuple(predictions), labels), None
        if pictures is not None:
            shown = open_dataset(pictures)
            require_trainable(shown)
            space = open_workspace(workspace, create=True)
            shown = prepare_dataset(space, pictures, (), progress)
            request = Request(tuple(predictions), labels, dataset=shown.name)
        done = import_predictions(workspace, request, progress)
        space = open_workspace(workspace)
        audit_predictions(space, done.split, done.dataset, progress, shown)
    else:
        place = (data or [""])[0]
        cores = 1 if runner == "local" else cpus or own_cpus()
        dataset, chosen = opened(place, seconds, cores, features)
        with runner_for(runner, address, cpus, gpus, workspace) as make:
            space = audit_pictures(workspace, place, dataset, chosen, make, progress)
    facts = facts_of(space)
    with progress.stage("report"):
        page = Zoo(space, facts["dataset"]).report()
    if as_json:
        print_json({**facts, "report": str(page)})
        return
    print(summary(space))
    print(f"\nPage: {page}")
    at = place_of(workspace)
    which = which_of(space, facts["dataset"])
    pictures = "csv -o corrected.csv" if facts["damaged"] is None else "imagefolder -o ./corrected"
    print(
        f"Next: zoo export scores --to decisions -o decisions.csv{which}{at}\n"
        "      (for each suspect that you looked at, fill in: keep, relabel, drop or unsure)\n"
        f"      zoo relabel --from decisions.csv -o corrected{which}{at}\n"
        f"      zoo export selection corrected --to {pictures}{at}"
    )


def _seconds(text: str) -> float:
    """``90s``, ``10m``, ``2h``, or a number of seconds."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh]?)", text.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"--budget {text!r}: write it as 90s, 10m or 2h.")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def demo(
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    scale: ScaleOption = None,
    runner: RunnerOption = "ray",
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = 0.0,
) -> None:
    """The whole loop on embedded pictures in a few minutes: train, fill, score, find planted label
    errors, clean, retrain, report."""
    run("demo", workspace, scale, "report", runner, address, cpus, gpus)


def run(
    experiment: Annotated[
        str,
        typer.Argument(
            autocompletion=complete.experiments,
            help="A name in experiments/, or the path of a file.",
        ),
    ],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    scale: ScaleOption = None,
    until: Annotated[
        str,
        typer.Option(
            help="Last stage to do: train, fill, score, select, retrain, compare, conclude, report."
        ),
    ] = "report",
    runner: RunnerOption = "ray",
    address: AddressOption = None,
    cpus: CpusOption = None,
    gpus: GpusOption = 0.0,
    trainer: TrainerOption = "auto",
    seeds: Annotated[
        list[str] | None,
        typer.Option(
            "--seeds",
            help="Only these of a study's seeds, with commas between them. Default: all.",
        ),
    ] = None,
) -> None:
    """Every stage of an experiment that is not done yet."""
    from zoo import pipeline
    from zoo.cli.text import summary
    from zoo.pipeline import check_experiment
    from zoo.progress import Progress
    from zoo.studies import load as experiments

    spec = _of_seeds(experiments.load(experiment, scale), seeds)
    if until not in pipeline.STAGES:
        raise UnknownNameError("stage", until, pipeline.STAGES)
    check_experiment(spec, workspace)
    progress = Progress()
    with runner_for(runner, address, cpus, gpus, workspace, trainer) as make:
        space = open_workspace(workspace, create=True)
        done = pipeline.run(space, spec, make, progress, until=until)
    if until == "report":
        from zoo.report.write import write_report

        with progress.stage("report"):
            done.report = write_report(
                space,
                spec,
                done.parts[0].dataset,
                progress.timings,
                done.concluded,
                done.measured[0],
            )
    print(summary(space, done, progress.timings))
    pipeline.refuse_diverged(done.diverged)


def _of_seeds(spec: Experiment, seeds: list[str] | None) -> Experiment:
    from zoo.trainsets.sweeps import numbers

    return spec.of_seeds(numbers(seeds, "--seeds")) if seeds else spec


def _last_run(ran: Mapping[str, float], planned: Mapping[str, float], share: float | None) -> str:
    """Each stage by the wall's clock beside its plan, and all that have one together; and which
    share of a core the work had, without which the clock says little."""
    from zoo.progress import duration

    stages = [
        f"{stage} {duration(took)}"
        + (f" (planned {duration(planned[stage])})" if stage in planned else "")
        for stage, took in ran.items()
    ]
    both = ran.keys() & planned.keys()
    took, whole = (sum(of[stage] for stage in both) for of in (ran, planned))
    lines = [
        f"last run      {', '.join(stages)}: the longest of each, by the wall's clock",
        (
            f"              what has a plan took {duration(took)}, planned from nothing"
            f" {duration(whole)}, {100 * (whole / took - 1):+.0f} %"
        ),
    ]
    if share:
        lines.append(
            f"              its workers had {share:.0%} of a core: what compares on a busy machine"
            " are the seconds of 'so far'"
        )
    return "\n".join(f"  {line}" for line in lines)


def plan(
    experiment: Annotated[
        str | None,
        typer.Argument(
            autocompletion=complete.experiments,
            help="A name in experiments/, or the path of a file; or describe a sweep as for train.",
        ),
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    scale: ScaleOption = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", autocompletion=complete.datasets, help="Data set of an ad-hoc sweep."
        ),
    ] = None,
    archs: NewArchsOption = None,
    fractions: Annotated[
        list[str] | None,
        typer.Option("--fractions", help="Training fractions, 0.25x3 = three replicas."),
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
        str, typer.Option("--recipe", autocompletion=complete.recipes, help="Recipe, as for train.")
    ] = "adam",
    seeds: Annotated[
        list[str] | None,
        typer.Option(
            "--seeds",
            help=(
                "Seeds, with commas between them. Default: 0; of an experiment, all that it has."
            ),
        ),
    ] = None,
    features: FeaturesOption = None,
    weights: WeightsOption = None,
    assume: Annotated[
        str | None,
        typer.Option(
            "--assume",
            help=(
                "TRAIN,TEST,CLASSES,SIZE of a data set that is not here, such as"
                " 1281167,50000,1000,400."
            ),
        ),
    ] = None,
    gpu: Annotated[
        str,
        typer.Option(
            "--gpu",
            help="Device to plan for: cpu-core (this machine), rtx3090, rtx5090, a100, h100.",
        ),
    ] = "cpu-core",
    devices: Annotated[int | None, typer.Option(min=1, help="How many of them.")] = None,
    gpu_price: Annotated[
        float | None, typer.Option("--gpu-price", min=0.0, help="Dollars per device hour.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What a study would cost, before anything runs: trainings and classifiers done and missing,
    image passes, hours, dollars, disk."""
    from zoo.data import announce_untested, require_trainable
    from zoo.errors import NotFoundError
    from zoo.estimate import assumed_dataset, busy, total
    from zoo.pipeline import (
        cost_of,
        cost_of_experiment,
        dataset_to_plan,
        on_backbones,
        on_features,
        whole_run,
    )
    from zoo.spec import Experiment
    from zoo.studies import load as experiments

    if experiment is not None and features is not None:
        raise UsageError(
            f"--features {features}: an experiment's sweeps say themselves what they are trained"
            " on. Give --archs head_softmax,head_mlp in place of the experiment."
        )
    if (experiment is None) == (archs is None):
        raise UsageError(
            "plan needs either an experiment or --archs, not both and not neither. Example: zoo"
            " plan demo"
        )
    space: Workspace | None
    try:
        space = open_workspace(workspace)
    except NotFoundError:
        space = None
    spec = None
    if experiment is not None:
        spec, _ = on_backbones(_of_seeds(experiments.load(experiment, scale), seeds), space)
    if spec is None:
        sweep = sweep_of(archs, fractions, epochs, snapshots, recipe, None, seeds, None, folds)
        if (made_by := features_of(features, weights)) is not None:
            sweep, _ = on_features(sweep, workspace, made_by)
        spec = Experiment(
            name="plan",
            title="ad-hoc sweep",
            scale="ad-hoc",
            dataset=data or "fashion-mini",
            sweeps=(sweep,),
            fill_splits=("train", "test"),
        )
        title, keeps = spec.title, False
    else:
        title, keeps = f"{spec.name}, scale {spec.scale}", True
    costs, names, stand_in = [], [], False
    for each in spec.each:
        dataset, instead = (
            (assumed_dataset(assume), False)
            if assume
            else dataset_to_plan(space, data or each.dataset)
        )
        stand_in |= instead
        require_trainable(dataset)
        announce_untested(dataset)
        names.append(dataset.name)
        costs.append(
            cost_of(
                space,
                dataset,
                each.trained,
                each.fill_splits,
                each.arm_groups,
                probes=each.probes if data is None and not assume else (),
                tests=each.tests if data is None and not assume else (),
                keep_logits=each.keep_logits if keeps else None,
                precision=each.fill_precision,
                accelerator=gpu,
                devices=devices,
                price=gpu_price,
            )
        )
    cost, name = total(costs, page=keeps), " and ".join(names)
    ran = None if experiment is None or data or assume else whole_run(space, spec)
    whole = (
        None if ran is None else cost_of_experiment(None, spec, accelerator=gpu, devices=devices)
    )
    share = busy(cost.done)
    if as_json:
        print_json(
            {
                "schema": 1,
                "plan": title,
                "dataset": name,
                "published_shape": stand_in,
                "device": gpu,
                **cost.as_json(),
                "busy": share,
                "run_seconds": ran and sum(ran.values()),
                "run_planned_seconds": whole and whole.seconds,
                "run_stages": ran,
                "run_planned_stages": whole and whole.stages,
            }
        )
    else:
        print(cost.text(title, f"{name} (not here, by its published shape)" if stand_in else name))
        if ran and whole:
            print(_last_run(ran, whole.stages, share))
