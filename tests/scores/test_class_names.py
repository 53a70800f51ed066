"""Class names stand beside class numbers: in the table, its CSV, queries and JSON."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
from commands import done
from factories import Tiny

from zoo.scores.population import choose_population
from zoo.store.results import read_arrow, write_table
from zoo.store.workspace import Workspace

NAMES = "select example_id, label, label_name, top_confusion, top_confusion_name from scores"


def named(rows: pd.DataFrame, class_names: tuple[str, ...]) -> bool:
    """Whether each name is that of the number beside it."""
    names = dict(enumerate(class_names))
    return all(
        rows[f"{column}_name"].fillna("").tolist() == [names.get(n, "") for n in rows[column]]
        for column in ("label", "top_confusion")
    )


def test_scores_name_their_classes(trained: Tiny, tmp_path: Path) -> None:
    """In the CSV, in exports, queries and suspects; no number stands alone."""
    space = tmp_path / "w"
    shutil.copytree(trained.root, space)
    classes = trained.dataset.class_names
    found = json.loads(done("score", "--json", "-w", space))
    assert named(pd.read_csv(space / "results" / "scores-train.csv"), classes)
    assert named(
        pd.DataFrame(json.loads(done("query", NAMES, "--format", "json", "-w", space))), classes
    )
    for row in found["suspects"]:
        assert row["label_name"] == classes[row["label"]]
        assert row["suggested_name"] == classes[int(row["suggested"])]
    out = tmp_path / "scores.csv"
    done("export", "scores", "--to", "csv", "-o", out, "-w", space)
    assert named(pd.read_csv(out), classes)


def test_scores_of_an_earlier_zoo_are_named_when_they_are_asked_for(
    trained: Tiny, tmp_path: Path
) -> None:
    """The table as it lies there has no names; a query of it does."""
    space = tmp_path / "w"
    shutil.copytree(trained.root, space)
    done("score", "--top", "0", "-w", space)
    workspace = Workspace.open(space)
    old = read_arrow(workspace, "scores-train").drop_columns(["label_name", "top_confusion_name"])
    people = choose_population(workspace)
    about = {"table": "population scores", **people.origin("train").as_json()}
    write_table(workspace, "scores-train", old, about)
    rows = pd.DataFrame(json.loads(done("query", NAMES, "--format", "json", "-w", space)))
    assert named(rows, trained.dataset.class_names)
