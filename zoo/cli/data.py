"""Commands about data sets: which there are, whether one is sound, fetch one, write one for reading
at random; what treatments there are, and what one looks like."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer.core

from zoo.cli import complete
from zoo.cli.options import Program
from zoo.errors import UsageError

__all__ = ["NamesTreatments", "register"]


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_SHOW_EXAMPLE = (
    "Example: zoo data show fashion-mini --treatment"
    ' "label_noise:fraction=0.2+gaussian_noise:sigma=16"'
)
_PREPARE_EXAMPLE = (
    "Example: zoo data prepare imagenet --short-side 320 --workers 16 -o ./imagenet-320"
)


def register(app: typer.Typer) -> None:
    """Add the group of commands to the program."""
    group = Program(
        no_args_is_help=True,
        help="What data sets are found where; check, fetch, prepare, treat and look at one.",
    )
    group.command("ls", epilog="Example: zoo data ls --json")(ls)
    group.command("check", epilog="Example: zoo data check ./pictures")(check)
    group.command("show", cls=NamesTreatments, epilog=_SHOW_EXAMPLE)(show)
    group.command("treatments", epilog="Example: zoo data treatments label_noise")(treatments)
    group.command("prepare", epilog=_PREPARE_EXAMPLE)(prepare)
    group.command("fetch", epilog="Example: zoo data fetch mnist --folder ~/data")(fetch)
    app.add_typer(group, name="data", rich_help_panel="Look")


class NamesTreatments(typer.core.TyperCommand):
    """A command whose help names all treatments. They are looked up only when help is asked for:
    their module takes 0.2 s to import."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from zoo.trainsets.treatments import TREATMENTS

        (option,) = (parameter for parameter in self.params if parameter.name == "treatment")
        assert isinstance(option, typer.core.TyperOption)
        words = option.help
        option.help = f"{words} Known: {', '.join(TREATMENTS)}."
        try:
            super().format_help(ctx, formatter)
        finally:
            option.help = words


def _print_json(body: dict[str, Any]) -> None:
    print(json.dumps({"schema": 1, **body}, indent=2, ensure_ascii=False, default=str))


def ls(as_json: JsonOption = False) -> None:
    """Data sets that can be named, and where they were found."""
    from zoo.cli.text import dataset_rows, text_table
    from zoo.data import list_datasets

    rows = dataset_rows(list_datasets())
    if as_json:
        _print_json({"datasets": rows})
    else:
        import pandas as pd

        print(text_table(pd.DataFrame(rows)))


def check(
    name: Annotated[
        str, typer.Argument(autocompletion=complete.datasets, help="Name or path of a data set.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Count classes; find what is not read, unreadable files, duplicates and overlap between
    splits; say whether zoo train takes it.

    Exit code 1 if there is a warning or an error.
    """
    from zoo.data import announce_untested, check_dataset, open_dataset

    dataset = open_dataset(name)
    announce_untested(dataset)
    result = check_dataset(dataset)
    if as_json:
        _print_json(result.as_json())
    else:
        from zoo.cli.text import check_text

        print(check_text(result))
    if not result.ok:
        raise typer.Exit(1)


def show(
    name: Annotated[
        str, typer.Argument(autocompletion=complete.datasets, help="Name or path of a data set.")
    ],
    treatment: Annotated[
        str,
        typer.Option(
            "--treatment",
            autocompletion=complete.treatments,
            help="What to do to it, as for zoo train. With their parameters: zoo data treatments.",
        ),
    ] = "none",
    split: Annotated[
        str, typer.Option("--split", help="Split to treat. A training treats train and no other.")
    ] = "train",
    count: Annotated[int, typer.Option("--count", min=1, max=400, help="How many examples.")] = 24,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Key of the random choice of the examples shown.")
    ] = 0,
    epoch: Annotated[
        int, typer.Option("--epoch", min=1, help="Epoch, for treatments that draw anew in each.")
    ] = 1,
    output: Annotated[Path, typer.Option("--output", "-o", help="PNG file to write.")] = Path(
        "contact-sheet.png"
    ),
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the file if there is one.")
    ] = False,
) -> None:
    """Examples of a data set in one picture; with a treatment, before and after it: pixels, and
    labels where they are changed."""
    from zoo.trainsets.treatments import parse, resolve

    if output.suffix.lower() != ".png":
        raise UsageError(
            f"--output {str(output)!r}: a contact sheet is a PNG file. Write it as"
            f" {output.with_suffix('.png')}."
        )
    if output.exists() and not replace:
        raise UsageError(
            f"--output {str(output)!r}: there is a file of this name. Give another name with -o"
            " FILE.png, or --replace."
        )
    steps = parse(treatment)  # a wrong word is found before the data are read
    from zoo.data import open_dataset
    from zoo.report.sheets import save_sheet
    from zoo.trainsets.sample import sample

    dataset = open_dataset(name)
    found = sample(
        dataset,
        resolve(steps, dataset.class_names),
        split=split,
        count=count,
        seed=seed,
        epoch=epoch,
    )
    print(save_sheet(found, output))


def treatments(
    name: Annotated[
        str | None,
        typer.Argument(
            autocompletion=complete.treatments,
            help="One treatment, with all that is to be said; default: all, in short.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What can be done to a training set: every treatment, how to write it, its parameters."""
    from zoo.trainsets.steps import step_help
    from zoo.trainsets.treatments import TREATMENTS

    chosen = list(TREATMENTS.values()) if name is None else [TREATMENTS[name]]
    if as_json:
        _print_json({"treatments": [treatment.as_json() for treatment in chosen]})
    else:
        print("\n\n".join(step_help(treatment, whole=name is not None) for treatment in chosen))


def prepare(
    name: Annotated[
        str, typer.Argument(autocompletion=complete.datasets, help="Name or path of a data set.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write: new, or one to go on with.")
    ],
    short_side: Annotated[
        int,
        typer.Option(
            "--short-side",
            min=8,
            max=4096,
            help="Pixels; larger pictures are made smaller, none larger.",
        ),
    ] = 320,
    encoding: Annotated[
        Literal["jpeg", "raw"],
        typer.Option(
            "--encoding",
            help="jpeg of quality 95, or raw: bare pixels, about six times the room, no decoding.",
        ),
    ] = "jpeg",
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Threads. Default: the CPUs this process may use."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a data set once in a smaller size, as shards that trainings and fills read at random.

    Stopped at any moment, the same command goes on, and ends with the same bytes. Examples, keys,
    labels and classes stay; pictures that cannot be read stay so, with their reason.
    """
    from zoo.data import open_dataset
    from zoo.data import prepare as write
    from zoo.machine import own_cpus
    from zoo.progress import Progress, counted

    dataset = open_dataset(name)
    again = shlex.join(
        [
            *("zoo", "data", "prepare", name, "--short-side", str(short_side)),
            *("--encoding", encoding, "-o", str(output)),
        ]
    )
    with Progress(quiet=as_json).stage(
        "prepare", sum(len(split) for split in dataset.splits.values())
    ) as bar:
        done = write(
            dataset,
            output,
            short_side=short_side,
            encoding=encoding,
            workers=workers or own_cpus(),
            command=again,
            on_rows=bar.advance,
        )
        bar.text = f"{counted(done.examples, 'picture')}, {done.bytes / 1e6:,.1f} MB"
    prepared = open_dataset(str(output))
    if as_json:
        _print_json(
            {
                **{k: v for k, v in asdict(done).items() if k != "folder"},
                "folder": str(output),
                "fingerprint": prepared.fingerprint,
                "prepared_from": dataset.fingerprint,
            }
        )
        return
    lost = f", {done.unreadable:,} of them unreadable" if done.unreadable else ""
    print(
        f"{output}: {counted(done.examples, 'picture')}{lost}, in {counted(done.shards, 'shard')}"
        f" ({done.written} written now), fingerprint {prepared.fingerprint}, prepared from"
        f" {dataset.name} ({dataset.fingerprint}). Next: zoo train --data {output}"
    )


def fetch(
    name: Annotated[str, typer.Argument(help="mnist or cifar10.")],
    folder: Annotated[
        Path | None,
        typer.Option("--folder", help="Where to put it. Default: the user's data folder."),
    ] = None,
) -> None:
    """Download a data set through torchvision. The only command that downloads anything."""
    from zoo.data import fetch as download
    from zoo.data import search_places

    print(download(name, folder or search_places()[-1]))
