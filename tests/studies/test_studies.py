"""Study 1 at its smallest, on Ray as a user runs it: counts, invariants, the figures' tables,
verdicts, and nothing to do the second time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.commands import Result, run
from zoo.store.query import query
from zoo.store.schema import SCHEMA
from zoo.store.workspace import Workspace
from zoo.studies.load import judge_of, load

pytestmark = [pytest.mark.ray, pytest.mark.slow]

EXPERIMENTS = ("data_quality_mnist", "data_quality_cifar10")
FIGURES = {
    "data_quality_mnist": (1, 4, 6, 7, 10),
    "data_quality_cifar10": (2, 3, 5, 8, 9, 11, 12),
}
EXTRAS = {
    "data_quality_mnist": ("beyond-ceiling", "matched-harm", "size-power-law"),
    "data_quality_cifar10": (
        "beyond-ceiling",
        "figure-02-classes",
        "figure-03-recall",
        "matched-harm",
        "noise-final-peak",
        "size-power-law",
    ),
}
SEEDS = 2


@pytest.fixture(scope="module", params=EXPERIMENTS)
def study(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Workspace, Result]:
    folder = tmp_path_factory.mktemp(request.param)
    result = run(
        folder, "run", request.param, "--scale", "smoke", "-w", folder / "space", seconds=600
    )
    assert result.code == 0, result
    return request.param, Workspace.open(folder / "space"), result


def outcomes(space: Workspace) -> pd.DataFrame:
    return pq.read_table(space.results / "outcomes.parquet").to_pandas()


def chart(space: Workspace, name: str) -> pd.DataFrame:
    return pd.read_csv(space.figures / f"{name}.csv", keep_default_na=False, na_values=[""])


def test_every_point_has_an_outcome_per_network_and_seed(
    study: tuple[str, Workspace, Result],
) -> None:
    """Rows = points x architectures x seeds; trainings of equal treatment are one; each has the
    outcome its treatment must have."""
    name, space, _ = study
    judge = judge_of(load(name, "smoke"))
    assert judge is not None
    points = [judge.points("smoke", seed) for seed in range(SEEDS)]
    table = outcomes(space)
    archs = table["arch"].nunique()
    assert len(table) == sum(map(len, points)) * archs
    assert table["training_id"].nunique() == len(
        query(space, "select distinct training_id from trainings")
    )
    assert set(table["status"]) <= {"done", "empty"}
    empty = table[table["status"] == "empty"]
    assert set(empty["aspect"]) == ({"delete"} if name == "data_quality_mnist" else set())
    np.testing.assert_allclose(empty["test_acc1"], 0.1)
    done = table[table["status"] == "done"]
    assert done["test_acc1"].between(0, 1).all()
    assert (done["epochs"] >= 1).all()
    assert (done["reached"] == done["stop_reason"].str.contains("reached")).all()


def test_treated_sets_are_what_their_points_say(study: tuple[str, Workspace, Result]) -> None:
    """Sizes and label changes are exact; a deleted class is not among the training labels; the test
    set is whole and clean."""
    name, space, _ = study
    table = outcomes(space).set_index("aspect")
    n = int(table.loc["baseline", "n_train"].iloc[0])
    assert n == {"data_quality_mnist": 600, "data_quality_cifar10": 400}[name]
    deleted = table.loc["delete"]
    assert list(deleted["n_train"]) == [n - round(n * share) for share in deleted["setting"]]
    noisy = table.loc["noise_random"]
    np.testing.assert_allclose(noisy["label_change_rate"], noisy["setting"])
    assert (table.loc["baseline", "label_change_rate"] == 0).all()
    for _, row in table.loc["delete_class"].iterrows():
        commit = space.commits.get("training", row["training_id"])
        assert commit is not None
        counts = commit.facts["class_counts"]
        assert counts[int(row["setting"])] == 0
        assert sum(counts) == row["n_train"] < n
    if name == "data_quality_mnist":
        zeroed = table.loc["noise_to_0"]
        assert (zeroed["label_change_rate"] < zeroed["setting"]).all()
        assert (zeroed["label_change_rate"] > 0.8 * zeroed["setting"]).all()
    answered = query(
        space,
        "select split, count(distinct classifier_id) c, count(*) n from answers group by split",
    ).to_pylist()
    assert [row["split"] for row in answered] == ["test"]
    assert answered[0]["n"] == answered[0]["c"] * 2000


def test_accuracy_of_outcomes_is_that_of_sql(study: tuple[str, Workspace, Result]) -> None:
    """The same number by another way: answers joined with examples."""
    _, space, _ = study
    sql = """
        select c.training_id, avg((a.prediction = e.label)::int) acc from answers a
        join examples e on e.split = a.split and e.example_id = a.example_id
        join classifiers c on c.classifier_id = a.classifier_id group by all
    """
    by_sql = {row["training_id"]: row["acc"] for row in query(space, sql).to_pylist()}
    done = outcomes(space).query("status == 'done'")
    np.testing.assert_allclose(
        done["test_acc1"], [by_sql[name] for name in done["training_id"]], atol=1e-12
    )


def test_every_figure_has_its_files_and_its_table_says_what_was_measured(
    study: tuple[str, Workspace, Result],
) -> None:
    name, space, _ = study
    for stem in (*(f"figure-{number:02d}" for number in FIGURES[name]), *EXTRAS[name]):
        assert (space.figures / f"{stem}.svg").stat().st_size > 2000, stem
        assert (space.figures / f"{stem}.png").stat().st_size > 2000, stem
        table = chart(space, stem)
        assert len(table), stem
        column = "value" if "value" in table else "y"
        assert table[column].notna().all(), stem
        assert table[column].between(-1, 1).all(), stem
    table = outcomes(space)
    if name == "data_quality_mnist":
        drawn = chart(space, "figure-07")
        mean = table[(table["aspect"] == "noise_random") & np.isclose(table["setting"], 0.2)][
            "test_acc1"
        ].mean()
        # in both panels
        assert drawn[(drawn["x"] == 20)]["y"].to_numpy() == pytest.approx([mean, mean])
    else:
        heat = chart(space, "figure-02-classes")
        assert list(heat["row"].unique())[-1] == "another seed"
        assert heat["column"].nunique() == 10
        curves = chart(space, "figure-08")
        assert set(curves["panel"]) == {"train accuracy", "test accuracy"}


def test_claims_about_other_data_are_measured_and_not_judged(
    study: tuple[str, Workspace, Result],
) -> None:
    """At smoke scale the data are Fashion-MNIST: no claim about MNIST or CIFAR-10 holds or fails by
    them, and the title says so."""
    name, space, _ = study
    table = pq.read_table(space.results / "verdicts.parquet").to_pandas()
    assert list(table.columns) == list(SCHEMA["verdicts"])
    assert set(table["verdict"]) == {"not applicable"}
    assert (table["rule"].str.len() > 20).all()
    assert (table["scale"] == "smoke").all()
    wanted = {
        "data_quality_mnist": ("S1.1", "S1.4", "S1.6", "S1.8", "S1.9", "S1.11", "S1.12"),
        "data_quality_cifar10": tuple(
            f"S1.{k}" for k in (2, 3, 4, 5, 7, 10, 11, 13, 14, 15, 16, 17)
        ),
    }[name]
    assert {claim.split()[0] for claim in table["claim"]} == set(wanted)
    assert table["mean"].notna().any()
    about = {"data_quality_mnist": "mnist", "data_quality_cifar10": "cifar10"}[name]
    assert (
        table["note"]
        .str.contains(f"the claim is about {about}, these results are of fashion-mini")
        .all()
    )
    assert (
        f"Fashion-MNIST in place of {'MNIST' if about == 'mnist' else 'CIFAR-10'}"
        in space.report.read_text()
    )


@pytest.mark.parametrize("name", ["outcomes", "verdicts"])
def test_its_tables_are_those_of_the_schema(
    study: tuple[str, Workspace, Result], tmp_path: Path, name: str
) -> None:
    """Same columns and types as the empty table of a new workspace, so that a query works on
    both."""
    _, space, _ = study
    full = query(space, f"describe {name}").to_pylist()
    empty = query(Workspace.open(tmp_path / "new", create=True), f"describe {name}").to_pylist()
    assert [row["column_name"] for row in full] == list(SCHEMA[name])
    assert [(row["column_name"], row["column_type"]) for row in full] == [
        (row["column_name"], row["column_type"]) for row in empty
    ]


def test_the_page_shows_verdicts_and_figures(study: tuple[str, Workspace, Result]) -> None:
    name, space, result = study
    page = space.report.read_text()
    assert f"Report: {space.report}" in result.out
    for number in FIGURES[name]:
        assert f"Figure {number}: " in page
    assert "not applicable" in page
    assert "scale smoke (not the paper" in page


def test_the_second_time_nothing_is_trained_and_the_tables_are_the_same(
    study: tuple[str, Workspace, Result], tmp_path: Path
) -> None:
    name, space, _ = study
    tables = {
        path.name: path.read_bytes()
        for folder in (space.results, space.figures)
        for path in folder.glob("*.csv")
    }
    again = run(
        tmp_path,
        "run",
        name,
        "--scale",
        "smoke",
        "-w",
        space.root,
        "--runner",
        "local",
        seconds=1500,
    )
    assert again.code == 0, again
    assert not [line for line in again.err.splitlines() if line.startswith(("training", "fill"))]
    assert {
        path.name: path.read_bytes()
        for folder in (space.results, space.figures)
        for path in folder.glob("*.csv")
    } == tables
