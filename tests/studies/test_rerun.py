"""What a workspace says about how to make it again is true: every command runs, finds everything
done, and changes nothing."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests import commands
from zoo.recipes import RECIPES, parse_recipe
from zoo.spec import Recipe
from zoo.store.workspace import Workspace
from zoo.studies.rerun import commands_of, recipe_text, run_command


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace made step by step: two trainings commands, everything after, a comparison on a
    cleaned test set."""
    folder = tmp_path_factory.mktemp("step by step")
    space, data = folder / "space", commands.corners(folder / "the pictures")
    here = ("-w", space, "--runner", "local")
    commands.done(
        "train",
        "--data",
        data,
        "--archs",
        "mlp",
        "--fractions",
        "0.5x2,1",
        "--recipe",
        "adam:epochs=2",
        "--snapshots",
        "1,2",
        *here,
    )
    commands.done(
        "train",
        "--data",
        data,
        "--archs",
        "mlp",
        "--treatment",
        "label_noise:fraction=0.2,to=random",
        "--epochs",
        "1",
        *here,
    )
    commands.done(
        "train",
        "--data",
        data,
        "--archs",
        "mlp",
        "--treatment",
        "subsample:fraction=0.25,replica=3",
        "--epochs",
        "1",
        *here,
    )
    commands.done("fill", *here)
    commands.done("score", "-w", space)
    commands.done("score", "--split", "test", "-w", space)
    commands.done("score", "--where", "fraction < 1", "-o", "halves", "-w", space)
    commands.done("select", "--worst", "0.1", "-o", "cleaned", "-w", space)
    commands.done("relabel", "--set", "x>0.9 and c<3", "-o", "relabelled", "-w", space)
    both = (
        "baseline",
        "cleaned",
        "--arch",
        "mlp",
        "--recipe",
        "adam:epochs=1",
        "--seeds",
        "0,1",
        *here,
    )
    commands.done("retrain", *both)
    commands.done("compare", *both, "--on", "below:c=10,x=0.7")
    return space


def test_every_command_of_how_to_rerun_runs_and_finds_everything_done(
    stepped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is trained again, no result changes, and the workspace says the same commands
    afterwards."""
    said = commands_of(Workspace.open(stepped))
    before = commands.content(stepped)
    monkeypatch.setenv("ZOO_WORKSPACE", str(stepped))
    for line in said:
        words = shlex.split(line)
        assert words[0] == "zoo"
        runner = (
            ["--runner", "local"] if words[1] in ("train", "fill", "retrain", "compare") else []
        )
        commands.done(*words[1:], *runner)
    after = commands.content(stepped)
    assert {path for path in before if after.get(path) != before[path]} == set()
    # 'zoo fill' answers for the retrained ones too, on the training split.
    assert {path.partition("/")[0] for path in after if path not in before} <= {"answers"}
    assert commands_of(Workspace.open(stepped)) == said


def test_the_commands_are_those_that_were_typed(stepped: Path) -> None:
    """In the order of the data, with the options that matter."""
    said = commands_of(Workspace.open(stepped))
    assert [shlex.split(line)[1] for line in said] == [
        *["train"] * 3,
        "fill",
        *["score"] * 3,
        "select",
        "select",
        "retrain",
        "compare",
    ]
    # Records know the second they were made in; trainings of one second come in any order.
    for options in (
        "--fractions 0.5x2,1 --recipe adam:epochs=2 --seeds 0 --snapshots 1,2",
        "--archs mlp --treatment label_noise:fraction=0.2,seed=0,to=random --recipe adam:epochs=1",
        "--treatment subsample:fraction=0.25,replica=3",
    ):
        assert len([line for line in said[:3] if options in line]) == 1
    assert [line for line in said if "--where" in line and "halves" in line]
    assert said[-1].endswith("--on below:c=10,x=0.7")


def test_a_workspace_without_plans_says_nothing(tmp_path: Path) -> None:
    """Twin: what was not made step by step has no such commands."""
    assert commands_of(Workspace.open(tmp_path / "empty", create=True)) == []


@pytest.mark.parametrize("name", sorted(RECIPES))
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"epochs": 3, "lr": 0.0123, "label_smoothing": 0.1, "channels_last": True},
        {"steps_per_epoch": 7},
    ],
)
def test_a_recipe_written_as_an_option_is_that_recipe(
    name: str, changes: dict[str, object]
) -> None:
    """Every recipe, with fields of every type changed."""
    recipe = RECIPES[name].replace(**changes)
    assert parse_recipe(recipe_text(recipe)) == recipe
    assert recipe_text(RECIPES[name]) == name


def test_an_experiment_is_run_again_by_what_loads_it() -> None:
    """A name, or a path with what a shell needs."""
    assert run_command("demo", "laptop") == "zoo run demo --scale laptop"
    assert shlex.split(run_command("/some where/mine.py", "tiny"))[2] == "/some where/mine.py"
    assert recipe_text(Recipe()) == "adam"
