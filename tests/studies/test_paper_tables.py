"""The paper's tables with ours beside them, of the results that are stored beside the study's page;
cells against the tables they come from."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tools.make_study import stored_study, table_rows
from zoo.studies.findings import Chart
from zoo.studies.results import Results

FOLDER = Path(__file__).parents[2] / "docs/studies/example-perplexity/cleaning"


@pytest.fixture(scope="module")
def stored() -> tuple[Results, dict[str, Chart]]:
    study = stored_study(FOLDER)
    assert isinstance(study.evidence, Results)
    return study.evidence, {chart.name: chart for chart in study.charts}


def mean(table: pd.DataFrame, column: str, **where: object) -> float:
    for name, wanted in where.items():
        table = table[table[name] == wanted]
    assert len(table)
    return float(table[column].mean())


def test_cleaned_test_sets_stand_beside_the_paper_s(
    stored: tuple[Results, dict[str, Chart]],
) -> None:
    """Eight rows a part: acc1, then acc5, from the whole set inwards; its strictest set's row."""
    results, sheets = stored
    table = sheets["tables-2-and-3"].table
    assert table["labels"].tolist() == ["clean"] * 8 + ["sym20"] * 8
    strictest = "below:share=0.5616,thresholds=joint"
    ours = mean(
        results["arms"],
        "acc5",
        part="clean",
        arm_group="clean: headline",
        arm="model-3",
        on=strictest,
    )
    row = table.iloc[7]
    assert row["images"] == "5,614 (28,079)"
    assert row["model-3"] == f"{100 * ours:.1f} (95.4)"
    assert table.iloc[0]["baseline"].endswith("(63.4)")


def test_table_1_has_both_readings_of_the_thresholds(
    stored: tuple[Results, dict[str, Chart]],
) -> None:
    table = stored[1]["table-1"].table
    assert len(table) == 3 * 6
    share = table[table["thresholds"] == "by share"]
    assert (share["kept [%]"] == share["paper [%]"]).all()
    own = table[(table["thresholds"] == "the paper's own") & (table["labels"] == "clean")]
    assert own["kept [%]"].tolist() == ["73.9", "38.2", "18.0"]


def test_curves_end_where_their_last_epoch_is(stored: tuple[Results, dict[str, Chart]]) -> None:
    results, sheets = stored
    table = sheets["curve-ends"].table.set_index(["labels", ""])
    ours = mean(
        results["curves"],
        "loss",
        part="sym20",
        arm_group="sym20: headline",
        arm="model-1",
        split="train",
        epoch=16,
    )
    assert table.loc[("sym20", "train loss"), "model-1"] == f"{ours:.2f} (0.58)"


def test_similarities_are_of_pairs_and_kappa_has_no_published_one(
    stored: tuple[Results, dict[str, Chart]],
) -> None:
    results, sheets = stored
    table = sheets["similarities"].table
    assert table["arms"].tolist()[:6] == [
        "baseline and model-1",
        "baseline and model-2",
        "baseline and model-3",
        "model-1 and model-2",
        "model-1 and model-3",
        "model-2 and model-3",
    ]
    ours = mean(
        results["similarities"],
        "similarity",
        part="clean",
        arm_group="clean: headline",
        arm_a="model-2",
        arm_b="model-3",
        measure="prediction",
    )
    assert table.iloc[5]["prediction"] == f"{ours:.3f} (0.740)"
    assert "(" not in "".join(table["kappa"])


def test_the_second_network_has_the_paper_s_four_arms(
    stored: tuple[Results, dict[str, Chart]],
) -> None:
    table = stored[1]["second-network-clean"].table
    assert table["arm"].tolist() == ["baseline", "model-1", "mild", "model-2"]
    assert table["paper acc1 [%]"].tolist() == ["50.1", "53.9", "53.8", "54.2"]


def test_a_table_as_markdown() -> None:
    chart = Chart("t", "Title", "table", pd.DataFrame({"a": ["1", "x|y"]}), "", "", "Said.")
    assert table_rows(chart) == [
        "**Title**",
        "",
        "| a |",
        "|---|",
        "| 1 |",
        "| x\\|y |",
        "",
        "Said.",
    ]
