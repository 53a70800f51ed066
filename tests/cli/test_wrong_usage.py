"""What the command line refuses, before anything is made: wrong names and numbers, bad data, bad
places."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import LOCAL
from tests.commands import corners, done, finished, zoo

# ---------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("trian",), "Did you mean 'train'"),
        (("train", "--archs", "lenett5"), "unknown model 'lenett5'. Did you mean 'lenet5'"),
        (("train", "--archs", "mlp", "--data", "fashion-mimi"), "fashion-mini"),
        (
            ("train", "--archs", "mlp", "--recipe", "adm"),
            "unknown recipe 'adm'. Did you mean 'adam'?",
        ),
        (
            ("train", "--archs", "mlp", "--recipe", "adam:ler=1"),
            "unknown recipe field 'ler'. Did you mean 'lr'?",
        ),
        (
            ("train", "--archs", "mlp", "--treatment", "label_nois:fraction=0.1"),
            "Did you mean 'label_noise'",
        ),
        (("train", "--archs", "mlp", "--treatment", "label_noise:frction=0.1"), "fraction"),
        (("train", "demoo"), "unknown experiment 'demoo'. Did you mean 'demo'?"),
        (("run", "demoo"), "unknown experiment 'demoo'. Did you mean 'demo'?"),
        (("run", "demo", "--scale", "smok"), "unknown scale of demo 'smok'. Did you mean 'smoke'?"),
        (("run", "demo", "--until", "scor"), "unknown stage 'scor'. Did you mean 'score'"),
        (("plan", "--archs", "lenett5"), "Did you mean 'lenet5'"),
        (("plan",), "plan needs either an experiment or --archs"),
        (("train",), "train needs architectures"),
        (("train", "demo", "--archs", "mlp"), "not both"),
        (
            ("train", "--archs", "mlp", "--fractions", "0"),
            "fraction '0': allowed are fractions above 0 up to 1",
        ),
        (
            ("train", "--archs", "mlp", "--fractions", "1.5"),
            "fraction '1.5': allowed are fractions above 0 up to 1",
        ),
        (("train", "--archs", "mlp", "--fractions", "nan"), "fraction 'nan': allowed"),
        (
            ("train", "--archs", "mlp", "--fractions", "abc"),
            "fraction 'abc': write 0.25 for a quarter",
        ),
        (("train", "--archs", "mlp", "--fractions", "0.5x"), "fraction '0.5x': write"),
        (("train", "--archs", "mlp", "--fractions", "0.5x0"), "one replica or more"),
        (
            ("train", "--archs", "mlp", "--fractions", "1x3"),
            "the whole set has no independent replicas",
        ),
        (
            ("train", "--archs", "mlp", "--epochs", "3", "--snapshots", "4"),
            "snapshot at epoch 4: the recipe has epochs 1 to 3",
        ),
        (("train", "--archs", "mlp", "--seeds", "a"), "--seeds 'a': allowed are whole numbers"),
        (("train", "--archs", "mlp", "--seeds", "-1"), "seed"),
        (
            ("train", "--archs", "vgg16", "--input-size", "28"),
            "vgg16 needs pictures of at least 32x32 pixels; the input is 28x28",
        ),
        (("train", "--archs", "mlp", "--runner", "slurm"), "--runner"),
        (("schema", "scors"), "unknown table 'scors'. Did you mean 'scores'"),
        (("schema", "scors", "--json"), "unknown table 'scors'. Did you mean 'scores'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_is_refused_by_name_before_anything_is_made(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    """Exit code 2, a message that names the near or the allowed, nothing on stdout, no
    workspace."""
    space = tmp_path / "space"
    options = ("-w", str(space)) if arguments[0] not in ("schema", "trian") else ()
    result = zoo(*arguments, *options)
    assert result.code == 2, result
    assert said in result.err
    assert result.out == ""
    assert "Traceback" not in result.err
    assert not space.exists()


def test_the_same_request_with_right_names_makes_a_workspace(tmp_path: Path, data: Path) -> None:
    """Twin of the refusals: nothing about the form of those commands keeps them from starting."""
    done(
        "train",
        "--archs",
        "mlp",
        "--data",
        data,
        "--epochs",
        1,
        "--fractions",
        "0.5",
        "-w",
        tmp_path / "space",
        *LOCAL,
    )
    assert finished(tmp_path / "space", "training") == 1


# ---------------------------------------------------------------- bad data, bad places


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A path that is not there: exit 1 or 2, the path in the message, no workspace."""
    result = zoo("train", "--archs", "mlp", "--data", tmp_path / "gone", "-w", tmp_path / "space")
    assert result.code in (1, 2)
    assert str(tmp_path / "gone") in result.err
    assert not (tmp_path / "space").exists()


def test_a_label_out_of_range_is_refused_before_training(tmp_path: Path) -> None:
    """Label 7 of four classes is an error of the data, found when it is opened."""
    result = zoo(
        "train",
        "--archs",
        "mlp",
        "--data",
        corners(tmp_path / "d", label=7),
        "-w",
        tmp_path / "space",
        *LOCAL,
    )
    assert result.code == 1
    assert "7" in result.err
    assert not (tmp_path / "space").exists()


def test_a_class_that_does_not_exist_cannot_be_deleted(tmp_path: Path, data: Path) -> None:
    """A treatment that names class 9 of four is refused with the allowed ones."""
    result = zoo(
        "train",
        "--archs",
        "mlp",
        "--data",
        data,
        "--treatment",
        "delete_class:label=9",
        "-w",
        tmp_path / "space",
        *LOCAL,
    )
    assert result.code == 2
    assert "label = 9 is no class of this data set. Allowed: 0 to 3" in result.err
    assert not finished(tmp_path / "space", "training")


def test_a_class_emptied_by_a_treatment_is_an_outcome_with_its_count(
    tmp_path: Path, data: Path
) -> None:
    """Deleting class 3 (south-east, 60 of 240, one wrong label less and one more) is what study RQ1
    asks for: trained, and recorded."""
    space = tmp_path / "space"
    done(
        "train",
        "--archs",
        "mlp",
        "--data",
        data,
        "--treatment",
        "delete_class:label=3",
        "--epochs",
        1,
        "-w",
        space,
        *LOCAL,
    )
    commit = next((space / "commits" / "training").glob("*.json"))
    assert json.loads(commit.read_text())["facts"]["class_counts"] == [60, 60, 60, 0]


def test_an_unreadable_picture_is_left_out_named_and_counted(tmp_path: Path) -> None:
    """One broken picture: said with its key at the start, absent from training, null in the scores,
    the rest goes on."""
    space = tmp_path / "space"
    folder = corners(tmp_path / "d", broken=5)
    result = zoo("train", "--archs", "mlp", "--data", folder, "--epochs", 1, "-w", space, *LOCAL)
    assert result.code == 0
    assert (
        "train: 1 of 240 pictures cannot be read and are left out; first train/00005" in result.err
    )
    done("fill", "-w", space, *LOCAL)
    done("score", "-w", space)
    shown = done("query", "select n_train from trainings", "--format", "csv", "-w", space)
    assert shown.splitlines() == ["n_train", "239"]
    empty = done(
        "query",
        "select example_id from scores where x_perplexity is null",
        "--format",
        "csv",
        "-w",
        space,
    )
    assert empty.splitlines() == ["example_id", "5"]


def test_a_workspace_below_a_file_is_refused_with_the_reason(tmp_path: Path, data: Path) -> None:
    """A folder cannot be made below a regular file: exit 1, the place, no bug report."""
    (tmp_path / "file").write_text("mine")
    result = zoo(
        "train", "--archs", "mlp", "--data", data, "-w", tmp_path / "file" / "space", *LOCAL
    )
    assert result.code == 1
    assert str(tmp_path / "file" / "space") in result.err
    assert "bug" not in result.err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_is_something_else_is_left_alone(tmp_path: Path, data: Path) -> None:
    """A folder with other things in it is no place for a workspace."""
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("dear")
    result = zoo("train", "--archs", "mlp", "--data", data, "-w", tmp_path / "letters", *LOCAL)
    assert result.code == 1
    assert "exists and is not a zoo workspace" in result.err
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["dear.txt"]


def test_a_newer_workspace_is_refused_by_every_command_that_opens_it(tmp_path: Path) -> None:
    """A format that asks for reader 99 is refused with both numbers."""
    from zoo.store.commits import sealed_json

    (tmp_path / "FORMAT.json").write_text(
        sealed_json({"format": "zoo-workspace", "version": 99, "min_reader": 99})
    )
    for arguments in (("status",), ("query", "select 1"), ("train", "--archs", "mlp", *LOCAL)):
        result = zoo(*arguments, "-w", tmp_path)
        assert result.code == 1, arguments
        assert "99" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("fill", *LOCAL),
        ("score",),
        ("report",),
        ("query", "select 1"),
        ("select", "--worst", "0.1", "-o", "a"),
    ],
)
def test_where_there_is_no_workspace_nothing_is_found(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Exit code 4, with the command that would make one; and none is made."""
    result = zoo(*arguments, "-w", tmp_path / "none")
    assert result.code == 4
    assert "no workspace at" in result.err
    assert not (tmp_path / "none").exists()
