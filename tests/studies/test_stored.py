"""A study that is stored beside its page is judged again from there, by anyone: nothing of a
workspace is needed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tools.make_study import (
    Study,
    against_rows,
    filled,
    main,
    store_tables,
    stored_study,
    with_seeds,
)
from zoo.errors import UsageError
from zoo.studies.load import judge_of, load
from zoo.studies.outcomes import Outcomes

STUDIES = Path(__file__).parents[2] / "docs" / "studies"
PAGE = STUDIES / "data-quality.md"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    shutil.copytree(PAGE.parent, tmp_path / "studies")
    return tmp_path / "studies" / PAGE.name


def files(page: Path) -> dict[str, bytes]:
    return {
        path.relative_to(page.parent).as_posix(): path.read_bytes()
        for path in page.parent.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("name", ["data-quality.md", "example-perplexity.md"])
def test_the_page_and_its_verdicts_are_what_the_rules_of_today_say(page: Path, name: str) -> None:
    """Judging the committed tables again changes no byte of the committed page."""
    page = page.with_name(name)
    before = files(page)
    assert main([str(page)]) == 0
    assert files(page) == before


def test_other_results_give_another_page(page: Path) -> None:
    """The twin: the check above can fail."""
    path = page.with_suffix("") / "mnist" / "outcomes.csv"
    table = pd.read_csv(path)
    table.loc[table["aspect"] == "delete_class", "test_acc1"] = 0.97
    table.to_csv(path, index=False)
    before = page.read_text()
    main([str(page)])
    assert "| S1.1 |" in page.read_text() != before
    assert "**fails** |" in next(
        line for line in page.read_text().splitlines() if line.startswith("| S1.1 |")
    )


def small() -> Outcomes:
    """Two seeds, two classes, four trainings each, with everything that a study stores."""
    table = pd.DataFrame(
        {
            "aspect": ["baseline", "delete_class", "delete_class", "blur"] * 2,
            "setting": [0.0, 0.0, 1.0, float("inf")] * 2,
            "other": -1,
            "arch": "lenet5",
            "seed": [0] * 4 + [1] * 4,
            "training_id": list("abcdefgh"),
            "status": "done",
            "reached": pd.array([True, False] * 4, dtype="boolean"),
            "epochs": pd.array([2] * 8, dtype="Int64"),
            "n_train": pd.array([10] * 8, dtype="Int64"),
            "train_acc1": [1.0, 0.5] * 4,
            "test_acc1": [0.9, 1 / 3, 0.4, 0.1, 0.8, 0.7, 0.35, 0.2],
        }
    )
    answers = {
        "training_id": ["a", "a", "b", "b"],
        "class": [0, 1, 0, 1],
        "recall": [0.1, 2 / 3, 0.3, 0.4],
        "changed": [None, 0.1, 0, 1],
    }
    curves = pd.DataFrame(
        {"training_id": ["a", "a"], "epoch": [1, 2], "split": "test", "acc1": [0.3, 0.9]}
    )
    return Outcomes(
        table, pd.DataFrame(answers), curves, ("cat", "dog"), (4, 6), "laptop", "mnist", 10
    )


def study_of(outcomes: Outcomes) -> Study:
    judge = judge_of(load("data_quality_mnist", "laptop"))
    assert judge is not None
    facts = {
        "experiment": "data_quality_mnist",
        "scale": "laptop",
        "dataset": "mnist",
        "train_size": 10,
        "classes": {"cat": 4, "dog": 6},
        "commit": "",
        "train_seconds": 60,
        "machine": "2 cores",
        "versions": ["v"],
    }
    return Study(facts, outcomes, judge.verdicts(outcomes))


def test_what_is_stored_comes_back_whole(tmp_path: Path) -> None:
    """Every digit of every table, infinities and empty cells too; the verdicts with them."""
    study = study_of(small())
    store_tables(study, tmp_path)
    again = stored_study(tmp_path)
    assert again.facts == study.facts
    # Drops of seed 0: .5667 and .5; of seed 1: .1 and .45.
    assert study.verdicts.set_index("claim").loc["S1.1", "measured"] == "40.4 \u00b1 18.3 points"
    pd.testing.assert_frame_equal(again.verdicts, study.verdicts)
    for name in ("table", "by_class", "curves"):
        pd.testing.assert_frame_equal(
            getattr(again.evidence, name), getattr(study.evidence, name), check_dtype=False
        )
    assert dataclasses.replace(
        again.evidence, table=None, by_class=None, curves=None
    ) == dataclasses.replace(  # type: ignore[arg-type]
        study.evidence,
        table=None,
        by_class=None,
        curves=None,  # type: ignore[arg-type]
    )


def of_seed(seed: int, **facts: object) -> Study:
    """``small`` as one run of that seed."""
    whole, facts = small(), {"commit": f"c{seed}", "versions": [f"v{seed}"]} | facts
    ids = list("abcd" if seed == 0 else "efgh")

    def mine(table: pd.DataFrame | None) -> pd.DataFrame:
        assert table is not None
        return table[table["training_id"].isin(ids)].reset_index(drop=True)

    study = study_of(
        dataclasses.replace(
            whole,
            table=mine(whole.table),
            by_class=mine(whole.by_class),
            curves=mine(whole.curves),
        )
    )
    return dataclasses.replace(study, facts=study.facts | facts)


def test_seeds_of_two_runs_are_one_study() -> None:
    """Whichever came first: the table, the verdicts and the facts of both."""
    both = with_seeds(of_seed(1), of_seed(0))
    assert isinstance(both.evidence, Outcomes)
    pd.testing.assert_frame_equal(both.evidence.table, small().table)
    pd.testing.assert_frame_equal(both.verdicts, study_of(small()).verdicts)
    assert both.evidence.by_class is not None
    assert len(both.evidence.by_class) == 4
    assert {key: both.facts[key] for key in ("commit", "train_seconds", "versions", "machine")} == {
        "commit": "c1, c0",
        "train_seconds": 120,
        "versions": ["v0", "v1"],
        "machine": "2 cores",
    }


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (of_seed(0), "seed 0 is in both; each seed counts once"),
        (of_seed(1, scale="paper"), "scale is laptop beside the page and paper in the workspace"),
    ],
)
def test_what_is_not_of_one_study_is_not_put_together(more: Study, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        with_seeds(of_seed(0), more)


def test_two_scales_stand_side_by_side() -> None:
    """Claims of both; a verdict that the scale changed is bold at both. What one alone has is not
    compared."""
    first, second = study_of(small()), of_seed(0, scale="paper")
    rows = first.verdicts.query("claim in ('S1.1', 'S1.4')")
    lines = against_rows(dataclasses.replace(first, verdicts=rows), second)
    assert lines[0] == "| claim | statement | laptop | | paper | |"
    cells = [line.split(" | ") for line in lines[2:]]
    assert [row[0] for row in cells] == ["| S1.1", "| S1.4"]
    known = {row["claim"]: row["verdict"] for row in rows.to_dict(orient="records")}
    new = second.verdicts.set_index("claim")["verdict"]
    for claim, row in zip(("S1.1", "S1.4"), cells, strict=True):
        bold = "**" if known[claim] != new[claim] else ""
        assert (row[3], row[5].removesuffix(" |")) == (
            f"{bold}{known[claim]}{bold}",
            f"{bold}{new[claim]}{bold}",
        )


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"holds no study\.json\. Give the study's workspace: .*=WORKSPACE"
    ):
        stored_study(tmp_path)


def test_a_block_of_no_study_is_refused() -> None:
    with pytest.raises(UsageError, match="no study other"):
        filled("<!-- made: other run -->\n<!-- end -->", {"mnist": study_of(small())}, "page")


def test_the_committed_facts_name_what_the_tables_hold() -> None:
    """Test counts of MNIST are those of the figure of deleted classes, which was drawn from the run
    itself."""
    folder = PAGE.with_suffix("") / "mnist"
    facts = json.loads((folder / "study.json").read_text())
    drawn = pd.read_csv(folder / "figure-01.csv").query("reference")
    assert sum(facts["classes"].values()) == 10_000
    assert [1 - n / 10_000 for n in facts["classes"].values()] == pytest.approx(list(drawn["y"]))
