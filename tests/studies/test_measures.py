"""Outcomes, measures and claims against answers worked by hand, on a study of two networks' worth
of predictions that fits on a page."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from zoo import statistics
from zoo.errors import NotFoundError
from zoo.store.schema import SCHEMA
from zoo.studies import measures
from zoo.studies.claims import (
    Claim,
    Evidence,
    Finding,
    NotTested,
    above,
    evidence_text,
    points_text,
    verdict_table,
)
from zoo.studies.findings import HEAT_COLUMNS, LINE_COLUMNS
from zoo.studies.outcomes import Outcomes, answers_by_class

# Ten test examples: six of class 0 (cat), four of class 1 (dog); the last has no label and counts
#     nowhere.
LABELS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, -1])
BASELINE_0 = [0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0]  # 5 of 6 cats, 3 of 4 dogs: 0.8
BASELINE_1 = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0]  # 4 of 6, 4 of 4: 0.8
NO_DOGS_0 = [0] * 11  # 6 of 6, 0 of 4: 0.6
NO_DOGS_1 = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]  # 5 of 6, 0 of 4: 0.5
CHANCE = [-1] * 11


def outcomes() -> Outcomes:
    rows = [
        ("baseline", 0.0, 0, "a0", "done", 0.8, 100, BASELINE_0),
        ("delete_class", 1.0, 0, "b0", "done", 0.6, 50, NO_DOGS_0),
        ("delete", 1.0, 0, "c0", "empty", 0.5, 0, CHANCE),
        ("baseline", 0.0, 1, "a1", "done", 0.8, 100, BASELINE_1),
        ("delete_class", 1.0, 1, "b1", "done", 0.5, 50, NO_DOGS_1),
        ("delete", 1.0, 1, "c1", "empty", 0.5, 0, CHANCE),
    ]
    table = pd.DataFrame(
        {
            "aspect": [r[0] for r in rows],
            "setting": [r[1] for r in rows],
            "other": [-1] * len(rows),
            "arch": ["net"] * len(rows),
            "seed": [r[2] for r in rows],
            "training_id": [r[3] for r in rows],
            "status": [r[4] for r in rows],
            "test_acc1": pd.array([r[5] for r in rows], dtype="float64"),
            "n_train": [r[6] for r in rows],
        }
    )
    curves = pd.DataFrame(
        [
            {"training_id": name, "epoch": epoch, "split": "test", "acc1": acc}
            for name, accs in (("a0", [0.2, 0.6, 0.4]), ("a1", [0.4, 0.8]))
            for epoch, acc in enumerate(accs, start=1)
        ]
    )
    known = LABELS >= 0
    answers = {str(r[3]): np.array(r[7])[known] for r in rows if r[4] == "done"}
    return Outcomes(
        table=table,
        by_class=answers_by_class(table, answers, LABELS[known], 2),
        curves=curves,
        class_names=("cat", "dog"),
        class_counts=(6, 4),
        scale="smoke",
        dataset="pets",
        train_size=100,
    )


# ---------------------------------------------------------------- outcomes


def test_accuracy_and_drop_are_paired_by_seed() -> None:
    found = outcomes()
    assert found.seeds == [0, 1]
    assert found.archs == ["net"]
    np.testing.assert_allclose(found.acc("baseline", arch="net"), [0.8, 0.8])
    np.testing.assert_allclose(found.drop("delete_class", 1.0, arch="net"), [0.2, 0.3])


def test_shares_and_recalls_leave_unlabelled_examples_out() -> None:
    found = outcomes()
    np.testing.assert_allclose(found.class_shares, [0.6, 0.4])
    np.testing.assert_allclose(
        found.recalls(found.rows("baseline", arch="net")), [[5 / 6, 3 / 4], [4 / 6, 1]]
    )


def test_changed_counts_differing_predictions_by_true_class() -> None:
    found = outcomes()
    # Seed 0: one cat (1 -> 0) and three dogs; seed 1: one cat (position 4) and four dogs.
    np.testing.assert_allclose(
        found.changed(found.rows("delete_class", 1.0, arch="net")), [[1 / 6, 3 / 4], [1 / 6, 1]]
    )


def test_a_baseline_is_compared_with_those_of_the_other_seeds() -> None:
    """With three seeds: with each of the two others, in the mean; with one seed there is nothing to
    compare with."""
    table = pd.DataFrame(
        {
            "aspect": ["baseline"] * 3,
            "arch": ["net"] * 3,
            "seed": [0, 1, 2],
            "training_id": ["a", "b", "c"],
        }
    )
    answers = {"a": np.array([0, 0]), "b": np.array([0, 1]), "c": np.array([1, 1])}
    found = (
        answers_by_class(table, answers, np.array([0, 0]), 2)
        .query("`class` == 0")
        .set_index("training_id")
    )
    np.testing.assert_allclose(found["changed"], [0.75, 0.5, 0.75])
    np.testing.assert_allclose(found["recall"], [1, 0.5, 0])
    assert answers_by_class(table, {"a": answers["a"]}, np.array([0, 0]), 2)["changed"].isna().all()


def test_a_training_without_answers_has_no_recall() -> None:
    found = outcomes()
    assert np.isnan(found.recalls(found.rows("delete", 1.0, arch="net"))).all()


def test_a_point_that_is_not_there_is_named() -> None:
    with pytest.raises(
        NotFoundError, match=r"no point delete 0\.3 of net for every seed at scale smoke"
    ):
        outcomes().acc("delete", 0.3, arch="net")


def test_infinite_settings_are_found() -> None:
    found = outcomes()
    found.table.loc[found.table["aspect"] == "delete", "setting"] = float("inf")
    np.testing.assert_allclose(found.acc("delete", float("inf"), arch="net"), [0.5, 0.5])


# ---------------------------------------------------------------- measures


def test_beyond_ceiling_is_the_drop_without_the_class_s_own_share() -> None:
    np.testing.assert_allclose(
        measures.beyond_ceiling(outcomes(), "delete_class", 1, arch="net"), [-0.2, -0.1], atol=1e-12
    )


def test_seed_noise_compares_the_baselines() -> None:
    # Positions 4 (cat) and 9 (dog) differ.
    np.testing.assert_allclose(measures.seed_noise(outcomes(), arch="net"), [1 / 6, 1 / 4])


def test_changed_table_ends_with_seed_noise_and_recall_does_not() -> None:
    changes = [("delete_class", 1.0, -1)]
    table = measures.heat(measures.changed_table(outcomes(), changes, arch="net", panel="p"))
    assert list(table.columns) == list(HEAT_COLUMNS)
    assert list(table["row"]) == ["delete dog"] * 2 + ["another seed"] * 2
    np.testing.assert_allclose(table["value"], [1 / 6, 7 / 8, 1 / 6, 1 / 4])
    recall = measures.heat(
        measures.changed_table(outcomes(), changes, arch="net", panel="p", recall=True)
    )
    # Cats: (6 - 5) / 6 and (5 - 4) / 6; dogs: -3/4 and -1.
    np.testing.assert_allclose(recall["value"], [1 / 6, -7 / 8])


def test_value_gives_mean_and_sample_sd() -> None:
    row = measures.value("p", "s", 2.0, [0.1, 0.3, np.nan])
    assert (row["x_text"], row["n"]) == ("2", 2)
    assert row["y"] == pytest.approx(0.2)
    assert row["sd"] == pytest.approx(0.02**0.5)
    assert measures.value("p", "s", 2.0, [0.1], reference=True)["sd"] is None
    assert list(measures.lines([row]).columns) == list(LINE_COLUMNS)


def test_accuracy_line_sorts_by_x_and_puts_the_baseline_where_it_stands() -> None:
    rows = measures.accuracy_line(
        outcomes(), "delete", arch="net", series="s", baseline_at=0.0, x=lambda s: 100 * s
    )
    assert [(row["x"], row["y"]) for row in rows] == [(0.0, pytest.approx(0.8)), (100.0, 0.5)]
    assert (
        measures.accuracy_line(outcomes(), "delete", arch="net", series="s", within=lambda x: x > 1)
        == []
    )


def test_curves_average_the_seeds_that_trained_that_long() -> None:
    rows = [
        row
        for row in measures.curve_table(outcomes(), [("0 %", "baseline", 0.0)], arch="net")
        if row["panel"] == "test accuracy"
    ]
    assert [(row["x"], row["n"]) for row in rows] == [(1.0, 2), (2.0, 2), (3.0, 1)]
    assert [row["y"] for row in rows] == pytest.approx([0.3, 0.7, 0.4])


def test_power_law_recovers_its_parameters() -> None:
    n = np.array([100, 200, 400, 800])
    law = statistics.power_law(n, 3.0 * n**-0.5)
    assert (law.scale, law.exponent, law.r2) == (
        pytest.approx(3.0),
        pytest.approx(0.5),
        pytest.approx(1.0),
    )
    np.testing.assert_allclose(law.at([100, 10_000]), [0.3, 0.03])
    with pytest.raises(ValueError, match="two sizes"):
        statistics.power_law([100, 100], [0.1, 0.2])


def test_power_law_table_leaves_the_empty_training_set_out() -> None:
    rows, law = measures.power_law_table(
        outcomes(), ["delete", "delete_class"], arch="net", series="net"
    )
    assert [row["x"] for row in rows if not row["reference"]] == [50, 100]
    # Errors .2 at 100 and .4, .5 at 50: the mean of the logs at 50 is log sqrt(.2).
    assert law.exponent == pytest.approx(np.log(np.sqrt(0.2) / 0.2) / np.log(2))


def test_rank_correlation_agrees_with_scipy_and_knows_ties() -> None:
    stats = pytest.importorskip("scipy.stats")
    a, b = [1, 2, 2, 4, 5, 5], [3, 1, 4, 4, 9, 2]
    assert statistics.rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert statistics.rank_correlation([1, 2, 3], [10, 100, 1000]) == pytest.approx(1.0)
    assert np.isnan(statistics.rank_correlation([1, 1, 1], [1, 2, 3]))


def test_matched_harm_averages_a_kind_s_points() -> None:
    harm = measures.matched_harm(
        outcomes(), {"both": [("delete_class", 1.0, -1), ("delete", 1.0, -1)]}, arch="net"
    )
    np.testing.assert_allclose(harm["both"], [(0.2 + 0.3) / 2, 0.3])


# ---------------------------------------------------------------- claims


def test_points_text() -> None:
    assert points_text([0.1, 0.2, 0.3]) == "20.0 \u00b1 10.0 points"
    assert points_text([-0.0001, -0.0002]) == "0.0 \u00b1 0.0 points"
    assert points_text([0.905], "share") == "90.5 %"
    assert points_text([0.5, 0.7], "") == "0.60 \u00b1 0.14"


def test_verdict_table_says_what_was_not_tested_and_why() -> None:
    def cannot(_outcomes: Outcomes) -> Finding:
        raise NotTested("only one picture size")

    def drop(found: Outcomes) -> Finding:
        values = found.drop("delete_class", 1.0, arch="net")
        return Finding(above(values, 0.05), values, note="seen")

    table = verdict_table(
        [
            Claim("S1", "it falls", "much", "above 5 points", drop),
            Claim("S2", "sizes", "", "", cannot),
            Claim(
                "S3",
                "absent",
                "",
                "",
                lambda found: Finding(Evidence(0, 1), found.acc("delete", 0.3, arch="net")),
            ),
        ],
        outcomes(),
        about="pets",
    )
    assert list(table.columns) == list(SCHEMA["verdicts"])
    assert list(table["verdict"]) == ["undecided", "not tested", "not tested"]
    assert table.loc[0, "measured"] == "25.0 \u00b1 7.1 points"
    assert (table.loc[0, "mean"], table.loc[0, "n"], table.loc[0, "scale"]) == (
        pytest.approx(0.25),
        2,
        "smoke",
    )
    assert table.loc[1, "note"] == "only one picture size"
    assert pd.isna(table.loc[1, "mean"])
    assert pd.isna(table.loc[1, "measured"])
    assert "no point delete 0.3" in table.loc[2, "note"]


def test_p_is_adjusted_for_the_claims_of_its_number() -> None:
    """Two of S1 (.01 and .02 of holding: .02 for both), one of S2 alone (.03 of failing), and one
    that an interval decided, which has no p and counts for nothing."""

    def claim(name: str, holds: float, fails: float) -> Claim:
        return Claim(name, "", "", "", lambda _: Finding(Evidence(holds, fails), np.array([0.1])))

    table = verdict_table(
        [
            claim("S1 clean", 0.01, 1.0),
            claim("S2", 1.0, 0.03),
            claim("S1 noisy", 0.02, 1.0),
            claim("S1 ranks", 0.0, 1.0),
        ],
        outcomes(),
        about="pets",
    )
    assert table["p"].tolist()[:3] == [0.01, 0.03, 0.02]
    assert table["p_holm"].tolist()[:3] == pytest.approx([0.02, 0.03, 0.02])
    assert table.loc[3, ["p", "p_holm"]].isna().all()
    assert evidence_text(0.01, 0.02) == "p 0.01, adjusted for the claims of its number 0.02."
    assert evidence_text(3e-9, 0.00012) == (
        "p < .0001, adjusted for the claims of its number 0.00012."
    )
    assert evidence_text(None, None) == evidence_text(float("nan"), float("nan")) == ""
