"""What is derived carries what it was made from, and whoever uses it asks: by hand, on the command
line, with two data sets in one workspace."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from factories import dataset_folder
from typer.testing import CliRunner

from zoo.cli.main import app
from zoo.data import catalog
from zoo.store import fsck
from zoo.store.results import about_table, read_scores, table_names
from zoo.store.workspace import Workspace

pytestmark = pytest.mark.filterwarnings("ignore")

SWEEP = ("--archs", "softmax", "--fractions", "0.5x2", "--epochs", "1", "--runner", "local")
ARM = ("--arch", "softmax", "--recipe", "adam:epochs=1", "--seeds", "0", "--runner", "local")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def done(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, f"{arguments}: {result.output} {result.exception!r}"
    return result.stdout


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code != 0, result.output
    return str(result.exception)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace ``w`` with two data sets, ``a`` and ``b`` beside it, trained and filled, scored
    on both splits."""
    folder = tmp_path_factory.mktemp("two")
    w = folder / "w"
    for name, seed in (("a", 0), ("b", 5)):
        dataset_folder(
            folder / name,
            seed=seed,
            **({"train": [i % 3 for i in range(45)]} if name == "b" else {}),
        )
        done("train", "--data", folder / name, *SWEEP, "-w", w)
        done("fill", "--data", folder / name, "-w", w, "--runner", "local")
    for name in ("a", "b"):
        for split in ("train", "test"):
            done("score", "--split", split, "--data", folder / name, "-w", w, "--top", 0)
    return folder


@pytest.fixture
def copy(two: Path, tmp_path: Path) -> Path:
    return shutil.copytree(two / "w", tmp_path / "w")


def fingerprints(w: Path) -> dict[str, str]:
    return {
        str(record.facts["name"]): key
        for key, record in Workspace.open(w).commits.all("dataset").items()
    }


# ---------------------------------------------------------------- selections


def test_a_selection_of_test_examples_trains_nothing(two: Path, copy: Path) -> None:
    """Refused by name, with both splits and the fingerprint; nothing is planned. One of the train
    split is trained on."""
    a = fingerprints(copy)["a"]
    for split in ("test", "train"):
        done(
            "select",
            "--worst",
            0.1,
            "--split",
            split,
            "-o",
            f"from-{split}",
            "--data",
            two / "a",
            "-w",
            copy,
        )
    said = refused("retrain", "baseline", "from-test", *ARM, "--data", two / "a", "-w", copy)
    assert (
        f"was made from split test of a ({a}); it cannot be used on split train of a ({a})" in said
    )
    assert "retrain" not in json.loads(
        done("query", "select distinct experiments from trainings", "--format", "json", "-w", copy)
    )
    done("retrain", "baseline", "from-train", *ARM, "--data", two / "a", "-w", copy)


def test_a_selection_of_one_data_set_trains_nothing_on_another(two: Path, copy: Path) -> None:
    """Both fingerprints are named."""
    prints = fingerprints(copy)
    done("select", "--worst", 0.1, "-o", "of-a", "--data", two / "a", "-w", copy)
    said = refused("retrain", "of-a", *ARM, "--data", two / "b", "-w", copy)
    assert (
        f"was made from split train of a ({prints['a']}); it cannot be used on split train of b"
        f" ({prints['b']})" in said
    )


@pytest.mark.parametrize(
    "use",
    [
        ("score", "--split", "train", "--label-column", "from-test", "--data"),
        ("score", "--split", "test", "--label-column", "from-train", "--data"),
        ("select", "--random-like", "from-test", "-o", "control", "--data"),
    ],
)
def test_a_selection_of_another_split_is_no_label_and_no_model(
    two: Path, copy: Path, use: tuple[str, ...]
) -> None:
    """Neither as the labels of a score nor as the size of a control."""
    for split in ("test", "train"):
        done(
            "select",
            "--worst",
            0.1,
            "--split",
            split,
            "-o",
            f"from-{split}",
            "--data",
            two / "a",
            "-w",
            copy,
        )
    assert "it cannot be used on split" in refused(*use, two / "a", "-w", copy)


def test_relabelling_and_weighing_choose_a_data_set_too(two: Path, copy: Path) -> None:
    """Without --data the two are named with their fingerprints, which --data takes as well as
    names."""
    prints = fingerprints(copy)
    for command in (
        ("relabel", "--set", "x > 0.9"),
        ("weigh", "--by", "x"),
        ("select", "--worst", 0.1),
    ):
        said = refused(*command, "-o", "mine", "-w", copy)
        assert "choose one with --data" in said
        assert all(key in said for key in prints.values())
        done(*command, "-o", f"{command[0]}-b", "--data", prints["b"], "-w", copy)
    held = pd.DataFrame(
        json.loads(
            done(
                "query",
                "select distinct dataset, split from selections",
                "--format",
                "json",
                "-w",
                copy,
            )
        )
    )
    assert held.values.tolist() == [["b", "train"]]


def test_arms_of_the_second_data_set_are_trained_and_compared(two: Path, copy: Path) -> None:
    """``retrain --data B`` and ``compare --data B`` on full and cleaned test sets; the tables say
    which data set they are of."""
    b = two / "b"
    done("select", "--worst", 0.1, "-o", "of-b", "--data", b, "-w", copy)
    done("retrain", "baseline", "of-b", *ARM, "--data", b, "-w", copy)
    done(
        "compare",
        "baseline",
        "of-b",
        *ARM,
        "--data",
        b,
        "--on",
        "worst:share=0.1,by=label_quality",
        "-w",
        copy,
    )
    space = Workspace.open(copy)
    for name in ("arms", "comparisons", "similarities"):
        about = about_table(space, name)
        assert (about["dataset"], about["split"]) == (fingerprints(copy)["b"], "test")
        assert about["population"]


def test_a_data_set_that_was_never_trained_on_can_be_retrained_on(
    two: Path, copy: Path, tmp_path: Path
) -> None:
    """It is recorded, so that the comparison finds its labels."""
    c = dataset_folder(tmp_path / "c", seed=9)
    done("retrain", "baseline", *ARM, "--data", c, "-w", copy)
    done("compare", "baseline", *ARM, "--data", c, "-w", copy)
    assert "c" in fingerprints(copy)


# ---------------------------------------------------------------- scores


def test_scores_of_two_data_sets_stand_side_by_side(two: Path) -> None:
    """Each is read by data set and split alone; the table has both, told apart by name."""
    space, prints = Workspace.open(two / "w"), fingerprints(two / "w")
    for name, rows in (("a", 60), ("b", 45)):
        frame, origin = read_scores(space, prints[name], "train")
        assert len(frame) == rows
        assert (origin.dataset, origin.split) == (prints[name], "train")
    assert sorted(table_names(space)) == sorted(
        f"scores-{split}-{key}" for split in ("train", "test") for key in prints.values()
    )
    sql = "select dataset, split, count(*) n from scores group by all order by all"
    assert [
        tuple(row.values())
        for row in json.loads(done("query", sql, "--format", "json", "-w", two / "w"))
    ] == [
        ("a", "test", 30),
        ("a", "train", 60),
        ("b", "test", 30),
        ("b", "train", 45),
    ]


def test_a_join_by_data_set_split_and_example_has_a_row_per_example(two: Path) -> None:
    """Scores, answers and examples are told apart by the same three columns."""
    sql = """select count(*) n from scores join examples using (dataset, split, example_id)
             join (select dataset, split, example_id, count(*) answers from answers group by all) using (dataset, split, example_id)"""  # noqa: E501
    assert json.loads(done("query", sql, "--format", "json", "-w", two / "w")) == [{"n": 165}]


def test_a_part_of_the_population_cannot_take_the_name_of_the_whole(two: Path, copy: Path) -> None:
    said = refused(
        "score", "--where", "replica = 1", "-o", "scores-train", "--data", two / "a", "-w", copy
    )
    assert "but not scores-..., which are those of the whole population" in said


def test_a_selection_needs_the_scores_of_its_own_data_set(two: Path, tmp_path: Path) -> None:
    """Where only the other one is scored, that is said, with the command; the scores of the other
    are not taken."""
    w = shutil.copytree(two / "w", tmp_path / "w")
    a, b = fingerprints(w)["a"], fingerprints(w)["b"]
    for path in (w / "results").glob(f"scores-train-{b}.*"):
        path.unlink()
    said = refused("select", "--worst", 0.1, "-o", "mine", "--data", b, "-w", w)
    assert f"no scores of split train of data set {b}" in said
    assert f"of data set {a}" in said
    assert f"zoo score --split train --data {b}" in said


def test_scores_of_an_earlier_zoo_are_known_by_their_keys(two: Path, copy: Path) -> None:
    """Without data set or split in their metadata: the data set whose split has those keys; none
    for a table of a part."""
    space, a = Workspace.open(copy), fingerprints(copy)["a"]
    table = pq.read_table(copy / "results" / f"scores-train-{a}.parquet")
    for path in (copy / "results").glob("scores-*"):
        path.unlink()
    for about, found in (
        ({"population": "p", "n": 2}, True),
        ({"population": "p", "n": 2, "where": "replica = 1"}, False),
    ):
        pq.write_table(
            table.replace_schema_metadata({"zoo": json.dumps(about)}),
            copy / "results" / "scores-train.parquet",
        )
        if found:
            assert read_scores(space, a, "train")[1].population == "p"
        else:
            assert "no scores of split train" in refused(
                "select", "--worst", 0.1, "-o", "mine", "--data", two / "a", "-w", copy
            )


# ---------------------------------------------------------------- snapshots


def test_a_snapshot_answers_with_the_scores_of_then(two: Path, copy: Path) -> None:
    """After more classifiers and another score, the table is today's without --snapshot and that of
    then with it; it is whole for fsck."""
    sql = "select max(n) n from scores where dataset = 'a' and split = 'train'"
    done("snapshot", "then", "-w", copy)
    done("train", "--data", two / "a", *SWEEP[:3], "1", *SWEEP[4:], "-w", copy)
    done("fill", "--data", two / "a", "-w", copy, "--runner", "local")
    done("score", "--data", two / "a", "-w", copy, "--top", 0)

    def asked(*more: str) -> object:
        return json.loads(done("query", sql, "--format", "json", "-w", copy, *more))[0]["n"]

    assert (asked(), asked("--snapshot", "then")) == (3, 2)
    assert fsck.check(Workspace.open(copy), "semantic") == []
    kept = next((copy / "snapshots").iterdir())
    kept.unlink()
    assert [damage.kind for damage in fsck.check(Workspace.open(copy))] == ["snapshot"]


def test_a_snapshot_of_an_earlier_zoo_does_not_answer_with_the_scores_of_today(copy: Path) -> None:
    """It kept no tables: refused with the command that computes them; what is on record is
    answered."""
    space = Workspace.open(copy)
    records = [f"commits/dataset/{name}" for name in space.files.names("commits/dataset")]
    space.commits.publish(
        "snapshot", "old", identity={"records": records}, facts={"count": len(records)}
    )
    said = refused("query", "select * from scores", "--snapshot", "old", "-w", copy)
    assert "kept no derived tables" in said
    assert "zoo score --snapshot old" in said
    done("query", "select count(*) from examples", "--snapshot", "old", "-w", copy)


# ---------------------------------------------------------------- data that have changed


def test_changed_data_are_said_when_they_are_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, with both fingerprints; the report of what was trained before is refused likewise, by
    the experiment's name and alone."""
    folder, w = dataset_folder(tmp_path / "chg"), tmp_path / "w"
    done("train", "--data", folder, *SWEEP, "-w", w)
    (before,) = fingerprints(w).values()
    dataset_folder(folder, train=[(i + 1) % 3 for i in range(60)])
    monkeypatch.setattr(catalog, "_OPENED", {})
    assert f"its fingerprint was {before}" in refused("report", "-w", w)
    first, second = (run("train", "--data", folder, *SWEEP, "-w", w) for _ in range(2))
    assert f"its fingerprint was {before}" in first.stderr
    assert "fingerprint" not in second.stderr


def test_scores_know_the_population_that_made_them(two: Path) -> None:
    """Those of two data sets come from two populations."""
    space, a = Workspace.open(two / "w"), fingerprints(two / "w")["a"]
    whole = read_scores(space, a, "train")[1]
    assert whole.population not in (
        "",
        read_scores(space, fingerprints(two / "w")["b"], "train")[1].population,
    )
    assert np.isfinite(read_scores(space, a, "train")[0]["x_perplexity"]).all()
