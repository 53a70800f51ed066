"""The names of the command line: its commands, their options and their help."""

from __future__ import annotations

import pytest
import typer

from tests.commands import Result, zoo
from zoo.cli import main

# Names are part of the interface: a change here is a change for every user's scripts and belongs
#     into the CHANGELOG.
OPTIONS = {
    "audit": (
        "--address --budget --cpus --features --gpus --json --labels --pictures --predictions"
        " --runner --workspace DATA"
    ),
    "demo": "--address --cpus --gpus --runner --scale --workspace",
    "run": (
        "--address --cpus --gpus --runner --scale --seeds --trainer --until --workspace EXPERIMENT"
    ),
    "plan": (
        "--archs --assume --data --devices --epochs --features --folds --fractions --gpu"
        " --gpu-price --json --recipe --scale --seeds --snapshots --weights --workspace EXPERIMENT"
    ),
    "train": (
        "--address --archs --cpus --data --epochs --features --folds --fractions --gpus"
        " --input-size --recipe --runner --scale --seeds --snapshots --trainer --treatment"
        " --weights --workspace EXPERIMENT"
    ),
    "fill": (
        "--address --cpus --data --gpus --keep-logits --precision --program --runner --splits"
        " --where --workspace"
    ),
    "score": ("--data --json --label-column --output --snapshot --split --top --where --workspace"),
    "select": (
        "--balance --below --by-class --data --draws --drop --empty --joint --json --keep"
        " --output --per-class --random-like --replace --resample --seed --split --thresholds"
        " --workspace --worst RULES"
    ),
    "relabel": "--data --from --json --output --replace --set --split --to --workspace",
    "weigh": "--by --data --favour --json --output --raw --replace --split --workspace",
    "retrain": (
        "--address --archs --cpus --data --gpus --recipe --runner --seeds --workspace NAMES"
    ),
    "compare": (
        "--address --archs --cpus --data --gpus --json --on --recipe --runner --seeds"
        " --workspace NAMES"
    ),
    "query": "--format --output --replace --snapshot --workspace SQL",
    "schema": "--json TABLE",
    "models": "--download --json ACTION NAME",
    "status": "--address --json --workspace",
    "report": "--data --scale --workspace EXPERIMENT",
    "import": (
        "--classes --dataset --ids --in-train --json --keep-logits --kind --label-true --labels"
        " --names --split --workspace FILES"
    ),
    "pretrained": (
        "--classes --data --fit --held-out --in-train --input-size --json --licence --name"
        " --pretrained-on --same-order --source --weights --workspace NETWORK"
    ),
    "export": (
        "--data --json --output --probabilities --replace --selection --split --to --where"
        " --workspace NAME WHAT"
    ),
    "fsck": "--full --json --quick --repair --semantic --workspace",
    "snapshot": "--workspace NAME",
    "gc": "--delete --json --older-than --workspace",
    "doctor": "--address --data --gpus --json --workspace FILE",
    "up": "--restart --workspace FILE",
    "submit": "COMMAND FILE",
    "logs": "--follow FILE JOB",
    "down": "FILE",
    "help": "WORDS",
    "data ls": "--json",
    "data check": "--json NAME",
    "data show": "--count --epoch --output --replace --seed --split --treatment NAME",
    "data treatments": "--json NAME",
    "data prepare": "--encoding --json --output --short-side --workers NAME",
    "data fetch": "--folder NAME",
}


def commands() -> dict[str, typer.core.TyperCommand]:
    group = typer.main.get_command(main.app)
    found = {}
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        found |= (
            {f"{name} {key}": value for key, value in inner.items()} if inner else {name: command}
        )
    return found


def names_of(command: typer.core.TyperCommand) -> str:
    shown = [p for p in command.params if p.name != "help" and not getattr(p, "hidden", False)]
    named = [
        max(p.opts, key=len) if p.param_type_name == "option" else str(p.name).upper()
        for p in shown
    ]
    return " ".join(sorted(named))


def test_the_frozen_list_names_every_command_and_option_in_the_order_of_work() -> None:
    """Commands, their order in the help, and their options are exactly those written down here."""
    assert {name: names_of(command) for name, command in commands().items()} == OPTIONS
    assert list(commands()) == list(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_each_help_has_an_example_of_its_own_command(name: str) -> None:
    """Every command's help ends with a line that can be typed."""
    result = zoo(*name.split(), "--help")
    assert result.code == 0
    assert f"Example: zoo {name}" in " ".join(result.out.split())


def test_version_is_the_installed_one() -> None:
    """``--version`` prints one line and needs no command."""
    assert zoo("--version") == Result(0, "0.1.0\n", "")
