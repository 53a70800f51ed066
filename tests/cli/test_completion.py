"""Values that a shell completes: the names of what is there, nothing where something is wrong,
nothing heavy loaded for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import typer
from factories import workspace as new_workspace

from tests.commands import ZOO, environment
from tools.make_reference import commands
from zoo.cli import complete
from zoo.models import MODELS
from zoo.recipes import RECIPES
from zoo.trainsets.rules import RULES


def offered(*words: str, **variables: str) -> list[str]:
    """What the shell is given for the last word of a line, by the program in a process of its
    own."""
    line = {
        "COMP_WORDS": "\n".join(["zoo", *words]),
        "COMP_CWORD": str(len(words)),
        "_ZOO_COMPLETE": "complete_bash",
    }
    shell = subprocess.run(
        [str(ZOO)],
        capture_output=True,
        text=True,
        env={**environment(), **line, **variables},
        check=False,
    )
    assert (shell.returncode, shell.stderr) == (0, ""), shell
    return shell.stdout.split()


def line(command: str = "run", *left: str, **params: Any) -> typer.Context:
    """A line as typer has read it so far."""
    found = dict(commands())[f"zoo {command}"]
    return cast("typer.Context", SimpleNamespace(command=found, params=params, args=list(left)))


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A workspace with the selections ``cleaned`` and ``right``."""
    from zoo.manifest import Manifest
    from zoo.store.origin import Origin
    from zoo.store.selections import commit_selection

    space = new_workspace(tmp_path)
    for name in ("cleaned", "right"):
        copies = np.array([1, 1 + len(name)])
        manifest = Manifest(np.arange(2), np.zeros(2, np.int64), copies, np.ones(2, np.float32))
        commit_selection(space, name, manifest, Origin("f" * 16, "train", ""), ["worst:share=0.1"])
    return str(tmp_path / "zoo")


# ---------------------------------------------------------------- through the program


def test_the_shell_is_given_the_selections_of_the_workspace_on_the_line(place: str) -> None:
    """And not again those that are there already."""
    assert offered("retrain", "-w", place, "") == ["baseline", "cleaned", "right"]
    assert offered("compare", "-w", place, "cleaned", "") == ["baseline", "right"]
    assert offered("select", "--random-like", "c", ZOO_WORKSPACE=place) == ["cleaned"]
    assert offered("score", "-w", place, "--label-column", "") == [
        "label",
        "label_true",
        "cleaned",
        "right",
    ]


def test_the_shell_is_given_scales_of_the_experiment_on_the_line() -> None:
    """Wherever the scale is asked for after it; of ``zoo demo``, the demo's."""
    assert offered("run", "demo", "--scale", "") == ["laptop", "smoke"]
    assert offered("plan", "data_quality_mnist", "--scale", "p") == ["paper"]
    assert offered("demo", "--scale", "") == ["laptop", "smoke"]


def test_the_last_part_of_a_list_is_completed() -> None:
    """``lenet5,ml`` -> ``lenet5,mlp``, under both names of the option."""
    assert offered("train", "--archs", "lenet5,ml") == ["lenet5,mlp"]
    assert offered("retrain", "baseline", "--arch", "lenet5,mlp,ml") == []
    assert offered("train", "--archs", "softm") == ["softmax"]


def test_a_wrong_place_or_experiment_offers_nothing_and_says_nothing(tmp_path: Path) -> None:
    """``offered`` refuses any word on stderr."""
    (tmp_path / "broken.py").write_text("SCALES = (")
    assert offered("retrain", "-w", str(tmp_path / "none"), "r") == []
    assert offered("run", str(tmp_path / "broken.py"), "--scale", "") == []
    assert offered("run", "no-such-experiment", "--scale", "") == []
    assert not (tmp_path / "none").exists()


# ---------------------------------------------------------------- the functions


def test_each_kind_of_name_is_offered() -> None:
    """All of it without a beginning; those that begin so, else."""
    assert set(MODELS) <= set(complete.archs(line(), ""))
    assert complete.recipes(line(), "") == list(RECIPES)
    assert complete.recipes(line(), "on") == ["onecycle"]
    assert complete.rules(line(), "") == list(RULES)
    assert "fashion-mini" in complete.datasets(line(), "fash")
    assert complete.experiments(line(), "dem") == ["demo"]
    assert complete.tables(line(), "scor") == ["scores"]
    assert "label_noise" in complete.treatments(line(), "label_n")


def test_scales_are_read_from_a_file_that_is_not_run(tmp_path: Path) -> None:
    """A tuple, a list or a dict; the file would raise."""
    for written in ('("a", "b")', '["a", "b"]', '{"a": 1, "b": 2}'):
        (tmp_path / "mine.py").write_text(f"SCALES = {written}\nraise SystemExit(3)\n")
        assert complete.scales(line("run", experiment=str(tmp_path / "mine.py")), "") == ["a", "b"]


@pytest.mark.parametrize("name", complete.__all__)
def test_a_completer_swallows_every_error(name: str) -> None:
    """Nothing of a line is known: no command, no parameters. What needs none of it still offers its
    names."""
    found = getattr(complete, name)(cast("typer.Context", None), "zzz")
    assert found == []


def test_every_option_and_argument_of_these_names_has_values() -> None:
    """Of all commands; twin: one without a completer is found."""
    wanted = {
        "archs",
        "recipe",
        "scale",
        "experiment",
        "random_like",
        "label_column",
        "selection",
        "treatment",
    }
    # --data that is a path, or free text of another meaning, has none.
    lacking = [
        f"{name} {parameter.name}"
        for name, command in commands()
        for parameter in command.params
        if parameter.name in wanted | {"data"} and parameter._custom_shell_complete is None
    ]
    assert lacking == []
    assert [
        p.name
        for p in dict(commands())["zoo train"].params
        if p._custom_shell_complete is None and p.name == "epochs"
    ] == ["epochs"]


def test_completing_networks_loads_nothing_heavy() -> None:
    """Neither torch nor ray nor pandas."""
    code = (
        "import sys\nfrom zoo.cli.main import app\nimport atexit\natexit.register(lambda:"
        " print(sorted({'torch', 'ray', 'pandas', 'matplotlib', 'timm'} & set(sys.modules)),"
        " file=sys.stderr))\napp(prog_name='zoo')"
    )
    words = {
        "COMP_WORDS": "zoo\ntrain\n--archs\nsoftm",
        "COMP_CWORD": "3",
        "_ZOO_COMPLETE": "complete_bash",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **words},
        check=False,
    )
    assert (done.stdout, done.stderr) == ("softmax\n", "[]\n")
