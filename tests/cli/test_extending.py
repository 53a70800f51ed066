"""Commands given again with more to do, and plans that come true."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import LOCAL
from tests.commands import done, files, finished, untouched, zoo


def test_an_extended_grid_trains_only_what_is_new(tmp_path: Path, data: Path) -> None:
    """Another fraction and another architecture add their trainings; what was there keeps its bytes
    and its time."""
    space = tmp_path / "space"
    sweep = ("train", "--data", data, "--epochs", 2, "-w", space, *LOCAL)
    done(*sweep, "--archs", "mlp", "--fractions", "0.5x2")
    first = files(space)
    assert finished(space, "training") == 2
    assert "training: 2 trainings" in zoo(*sweep, "--archs", "mlp", "--fractions", "0.5x3,1").err
    assert finished(space, "training") == 4
    assert (
        "training: 4 trainings"
        in zoo(*sweep, "--archs", "mlp,softmax", "--fractions", "0.5x3,1").err
    )
    assert finished(space, "training") == 8
    assert untouched(first, space)
    again = zoo(*sweep, "--archs", "mlp,softmax", "--fractions", "0.5x3,1")
    assert (again.code, again.err) == (0, "")


def test_a_changed_recipe_is_another_training(tmp_path: Path, data: Path) -> None:
    """lr 0.001 as given by the recipe and by hand is one training; 0.002 is a second."""
    space = tmp_path / "space"
    sweep = ("train", "--data", data, "--archs", "softmax", "--epochs", 1, "-w", space, *LOCAL)
    done(*sweep, "--recipe", "adam")
    done(*sweep, "--recipe", "adam:lr=0.001")
    assert finished(space, "training") == 1
    done(*sweep, "--recipe", "adam:lr=0.002")
    assert finished(space, "training") == 2


def test_a_later_snapshot_of_a_known_training_adds_its_checkpoint(
    tmp_path: Path, data: Path
) -> None:
    """Asking for epoch 1 after epoch 2 is the same training: one more classifier, the first
    untouched."""
    space = tmp_path / "space"
    sweep = ("train", "--data", data, "--archs", "softmax", "--epochs", 2, "-w", space, *LOCAL)
    done(*sweep)
    before = files(space)
    done(*sweep, "--snapshots", "1,2")
    assert (finished(space, "training"), finished(space, "checkpoint")) == (1, 2)
    assert untouched(before, space)


def test_a_plan_touches_nothing_and_comes_true(tmp_path: Path, data: Path) -> None:
    """``zoo plan`` makes no workspace; its counts of trainings, classifiers and image passes are
    what then happens."""
    space = tmp_path / "space"
    sweep = (
        "--data",
        data,
        "--archs",
        "mlp",
        "--fractions",
        "0.5x2,1",
        "--epochs",
        2,
        "--snapshots",
        "1,2",
        "-w",
        space,
    )
    plan = json.loads(done("plan", *sweep, "--json"))
    assert not space.exists()
    assert (plan["trainings"], plan["trainings_done"], plan["classifiers"], plan["images"]) == (
        3,
        0,
        6,
        960,
    )
    result = zoo("train", *sweep, *LOCAL)
    # (120 + 120 + 240 examples) x 2 epochs = 960.
    assert "training: 3 trainings, 960 image passes" in result.err
    before = files(space)
    after = json.loads(done("plan", *sweep, "--json"))
    assert (
        after["trainings"],
        after["trainings_done"],
        after["classifiers_done"],
        after["images"],
    ) == (3, 3, 6, 0)
    assert files(space) == before
    assert finished(space, "checkpoint") == 6
