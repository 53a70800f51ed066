"""Commands that exchange data with the world outside: import, pretrained and export."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from zoo.cli import complete

__all__ = ["register"]


WorkspaceOption = Annotated[
    str,
    typer.Option(
        "--workspace",
        "-w",
        envvar="ZOO_WORKSPACE",
        help="Folder that holds everything a study makes.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_MOST_LISTED = 20
_IMPORT_EXAMPLE = "Example: zoo import resnet.npy vgg.npy --labels labels.csv --split test"
_PRETRAINED_EXAMPLE = (
    "Example: zoo pretrained resnet50.a1_in1k --data imagenet --weights model.safetensors"
)
_EXPORT_EXAMPLE = "Example: zoo export selection --selection cleaned --to hf -o ./cleaned-dataset"


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command("import", rich_help_panel="Step by step", epilog=_IMPORT_EXAMPLE)(import_)
    app.command("pretrained", rich_help_panel="Step by step", epilog=_PRETRAINED_EXAMPLE)(
        pretrained
    )
    app.command("export", rich_help_panel="Clean and compare", epilog=_EXPORT_EXAMPLE)(export)


def _listed(values: Sequence[str] | None) -> list[str]:
    return [part.strip() for value in values or () for part in value.split(",") if part.strip()]


def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            help=(
                "Predictions: .npy [E, M] or [N, E, M], or .parquet; examples by classes. A file ="
                " a classifier."
            )
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="Labels of the examples: .npy, .csv, .parquet or .txt; -1 = unknown."
        ),
    ] = None,
    label_true: Annotated[
        Path | None, typer.Option("--label-true", help="True labels where they are known.")
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option("--ids", help="Ids or paths of the examples, in the order of the labels."),
    ] = None,
    in_train: Annotated[
        Path | None,
        typer.Option(
            "--in-train",
            help=(
                "What each classifier was trained on: bool [N, E] (.npy), or a .parquet of N"
                " columns."
            ),
        ),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--names", help="Names of the classifiers. Default: after the files."),
    ] = None,
    kind: Annotated[
        Literal["auto", "logits", "probs"],
        typer.Option("--kind", help="What the numbers are. auto: probabilities if rows sum to 1."),
    ] = "auto",
    split: Annotated[str, typer.Option("--split", help="Split that the examples are.")] = "train",
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes",
            help=(
                "Class names in the order of the labels' numbers, one a line. Default: the names of"
                " columns, or 0, 1, ..."
            ),
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            help=(
                "Name of the data set; several imports with one name are splits of one. Default:"
                " imported."
            ),
        ),
    ] = None,
    keep_logits: Annotated[
        Literal["none", "all"],
        typer.Option("--keep-logits", help="Keep logits beside the answers."),
    ] = "all",
    workspace: WorkspaceOption = "./zoo-workspace",
    as_json: JsonOption = False,
) -> None:
    """Make predictions from elsewhere classifiers of the population. No pictures are needed. All is
    checked before anything is written."""
    import sys

    from zoo.exchange.importing import Request, import_predictions
    from zoo.progress import Progress

    request = Request(
        files=tuple(files),
        labels=labels,
        label_true=label_true,
        ids=ids,
        in_train=in_train,
        classes=classes,
        names=tuple(_listed(names)),
        kind=kind,
        split=split,
        dataset=dataset,
        keep_logits=keep_logits == "all",
    )
    done = import_predictions(workspace, request, Progress(quiet=as_json))
    if as_json:
        print(json.dumps({"schema": 1, **done.as_json()}, indent=2, ensure_ascii=False))
        return
    for warning in done.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    # NaN, where no label is known, stays in place
    worst = sorted(done.accuracy.items(), key=lambda item: item[1])
    for key, accuracy in worst[:_MOST_LISTED]:
        print(
            f"{done.classifiers[key]}: accuracy {accuracy:.4f}"
            if accuracy == accuracy
            else f"{done.classifiers[key]}: no label is known"
        )
    if len(worst) > _MOST_LISTED:
        print(
            f'... and {len(worst) - _MOST_LISTED} more up to {worst[-1][1]:.4f}: zoo query "select'
            f' * from classifiers" -w {workspace}'
        )
    for note in done.notes:
        print(f"Note: {note}")
    print(
        f"{len(done.added)} classifiers added ({len(done.classifiers) - len(done.added)} were"
        f" there) with {done.kind} of {done.num_classes} classes on {done.examples:,} examples:"
        f" split {done.split} of data set {done.dataset}. Next: zoo score --split {done.split} -w"
        f" {workspace}"
    )


def pretrained(
    network: Annotated[
        str,
        typer.Argument(help="A network of timm, ARCH or ARCH.TAG, such as resnet50.a1_in1k."),
    ],
    data: Annotated[
        str,
        typer.Option("--data", autocompletion=complete.datasets, help="Data set it is to answer."),
    ],
    weights: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            help=(
                "File of weights (.safetensors, or torch's). Default: what is in the caches of"
                " timm's downloads; nothing is downloaded."
            ),
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="What it is called. Default: ARCH.TAG, or ARCH.pretrained for a file without TAG.",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", help="Where the weights come from, such as an address."),
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Licence of the weights.")
    ] = None,
    pretrained_on: Annotated[
        str | None, typer.Option("--pretrained-on", help="What they were trained on.")
    ] = None,
    in_train: Annotated[
        list[str] | None,
        typer.Option("--in-train", help="Splits it is known to have been trained on."),
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            "--held-out",
            help="Splits it is known not to have seen. Default: not known, so held out of none.",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            "--classes",
            help="Names of its outputs in order, one a line. Default: ImageNet's WordNet ids.",
        ),
    ] = None,
    same_order: Annotated[
        bool,
        typer.Option(
            "--same-order", help="The classes of the data set are its outputs, in their order."
        ),
    ] = False,
    fit: Annotated[
        Literal["crop", "resize"],
        typer.Option("--fit", help="What it is shown: the middle of a picture, or all of it."),
    ] = "crop",
    input_size: Annotated[
        int | None,
        typer.Option("--input-size", min=1, help="Side of its input. Default: timm's."),
    ] = None,
    workspace: WorkspaceOption = "./zoo-workspace",
    as_json: JsonOption = False,
) -> None:
    """Make a network with pretrained weights a classifier of the population. zoo fill asks it like
    the trained ones."""
    from zoo.data import open_dataset
    from zoo.exchange.pretrained import PretrainedRequest, add_pretrained
    from zoo.store.workspace import Workspace

    done = add_pretrained(
        Workspace.open(workspace, create=True),
        open_dataset(data),
        PretrainedRequest(
            network=network,
            weights=weights,
            name=name,
            source=source,
            licence=licence,
            pretrained_on=pretrained_on,
            classes=classes,
            same_order=same_order,
            fit=fit,
            input_size=input_size,
            in_train=tuple(_listed(in_train)),
            held_out=tuple(_listed(held_out)),
        ),
    )
    if as_json:
        body = {"classifier_id": done.classifier_id, "name": done.name, "added": done.added}
        body |= {"provenance": done.record, "notes": list(done.notes)}
        print(json.dumps({"schema": 1, **body}, indent=2, ensure_ascii=False))
        return
    for note in done.notes:
        print(f"Note: {note}")
    about = done.record
    print(
        f"{done.name} ({done.classifier_id}) {'added' if done.added else 'was there'}:"
        f" {about['tensors']} tensors of {about['file']}, sha256 {about['sha256'][:16]}, licence"
        f" {about['licence'] or 'unknown'}, pretrained on {about['pretrained_on'] or 'unknown'}."
        f" Next: zoo fill --data {data} -w {workspace}"
    )


def export(
    what: Annotated[
        Literal["scores", "predictions", "netwise-x", "netwise-c", "selection", "logits"],
        typer.Argument(help="What to export."),
    ],
    to: Annotated[
        Literal[
            "csv",
            "parquet",
            "perplexity",
            "cleanlab",
            "decisions",
            "npy",
            "keep-list",
            "hf",
            "imagefolder",
        ],
        typer.Option(
            "--to",
            help=(
                "Form. Not every form exists of everything; a wrong pair is answered with the"
                " possible ones."
            ),
        ),
    ],
    name: Annotated[
        str | None,
        typer.Argument(
            autocompletion=complete.arms, help="Of a selection: its name, as --selection."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "--out",
            "-o",
            help="File or folder to write. Default for texts (csv and the like): stdout.",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Split. Default: train, or the one a selection was made of."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--where", help="SQL condition over the classifiers table: a sub-population."),
    ] = None,
    selection: Annotated[
        str | None,
        typer.Option(
            "--selection",
            autocompletion=complete.arms,
            help="Name of the selection; 'baseline' is everything.",
        ),
    ] = None,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities",
            help=(
                "With predictions as npy: [N, E, M] from the kept logits, instead of classes"
                " [N, E]."
            ),
        ),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            autocompletion=complete.datasets,
            help="Data set, where the workspace holds several.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--replace", "--force", help="Replace a file, or a folder that an export made."
        ),
    ] = False,
    workspace: WorkspaceOption = "./zoo-workspace",
    as_json: JsonOption = False,
) -> None:
    """Write scores, predictions, logits or a selection for other programs. Written whole or not at
    all."""
    import sys
    from functools import partial

    from zoo.errors import UsageError
    from zoo.exchange import exporting, places
    from zoo.store.workspace import Workspace

    if name is not None and (what != "selection" or selection not in (None, name)):
        raise UsageError(
            f"export {what} {name}: a name belongs to a selection, and to one. Example: zoo export"
            " selection cleaned --to imagefolder -o ./cleaned"
        )
    if as_json and output is None:
        raise UsageError(
            "--json says where something was written; without a place the data itself goes to"
            " stdout. Give one with -o PATH."
        )
    request = places.Request(
        what,
        to,
        output,
        split,
        where,
        selection or name,
        data,
        probabilities,
        force,
        partial(print, file=sys.stderr),
    )
    done = exporting.export(Workspace.open(workspace), request)
    if isinstance(done, str):
        sys.stdout.write(done)
    else:
        print(
            json.dumps(
                {"schema": 1, "what": what, "to": to, "output": str(done)},
                indent=2,
                ensure_ascii=False,
            )
            if as_json
            else done
        )
