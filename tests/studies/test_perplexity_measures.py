"""The measures of the experiment ``perplexity``: every answer is worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from zoo.errors import UsageError
from zoo.scores.catalog import Listed
from zoo.scores.marginals import ClassConfusion
from zoo.statistics import rank_interval, wilson_interval
from zoo.studies import dependence, perplexity

CLASSES = ("cat", "dog", "ox")


def scored(**columns: Any) -> pd.DataFrame:
    """A scores table of as many examples as the columns have."""
    length = max(len(values) for values in columns.values() if isinstance(values, list))
    return pd.DataFrame({"example_id": range(length), "n": 4, **columns})


# ---------------------------------------------------------------- distributions


def test_ten_equal_bins_of_x_and_c_by_hand() -> None:
    table = scored(x_perplexity=[0.0, 0.05, 0.1, 1.0], c_perplexity=[1.0, 1.4, 2.9, 11.0])
    found = perplexity.distributions({"test": table})
    x, c = (found[found["measure"] == name] for name in ("x", "c"))
    assert x["n"].tolist() == [
        2,
        1,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        1,
    ]  # .1 begins the second, 1 ends the last
    assert x["density"].tolist() == pytest.approx([5, 2.5, 0, 0, 0, 0, 0, 0, 0, 2.5])
    assert c["n"].tolist() == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]  # bins of 1 from 1 to 11
    assert c["low"].tolist() == pytest.approx(range(1, 11))
    assert c["share"].sum() == 1


def test_the_published_distributions_have_the_same_columns_and_bins() -> None:
    found = perplexity.published_distributions()
    table = scored(x_perplexity=[0.5], c_perplexity=[2.0])
    assert list(found) == list(perplexity.distributions({"test": table}))
    sums = found.groupby(["split", "measure"])["share"].sum()
    assert sums["train", "x"] == pytest.approx(0.999)  # digitised
    assert sums["test", "x"] == pytest.approx(1.001)
    c = found[(found["split"] == "test") & (found["measure"] == "c")]
    assert c["high"].tolist() == pytest.approx([4.6, 8.2])  # "first bin [1, 4.6)"


def test_no_scores_no_distribution_but_its_columns() -> None:
    assert list(perplexity.distributions({})) == list(perplexity.published_distributions())


def test_summary_by_hand() -> None:
    table = scored(x_perplexity=[0.0, 0.0, 0.5, 1.0], c_perplexity=[1.0, 2.0, 3.0, np.nan])
    found = perplexity.summary({"train": table}).set_index(["measure", "statistic"])
    assert found.loc[("x", "mean"), "value"] == 0.375
    assert found.loc[("x", "share_of_0"), "value"] == 0.5
    assert found.loc[("x", "share_of_1"), "value"] == 0.25
    assert found.loc[("c", "q50"), "value"] == 2
    assert found.loc[("c", "sd"), "value"] == 1
    assert found.loc[("c", "q50"), "published"] == 1.5589
    assert np.isnan(found.loc[("x", "q50"), "published"])


def test_all_twelve_bins_are_listed_and_what_has_none_is_not_counted() -> None:
    found = perplexity.label_bins({"train": scored(x_bin=["0", "0", "0.9-1", None])})
    assert len(found) == 12
    assert found["n"].tolist() == [2, *[0] * 9, 1, 0]
    assert found["share"].sum() == pytest.approx(1)


def test_a_cell_of_the_joint_density_holds_whole_levels_of_x() -> None:
    table = scored(x_perplexity=[0.0, 0.25, 0.25, 1.0], c_perplexity=[1.0, 4.0, 4.0, 2.1])
    found = perplexity.joint_density(table, bins=2)  # 5 levels of X: 3 to a bin
    assert found["n"].tolist() == [1, 2, 1]
    assert found["x_low"].tolist() == pytest.approx([-0.125, -0.125, 0.625])
    assert found["c_low"].tolist() == pytest.approx([1, 2, 2])  # equal steps of log C
    assert perplexity.joint_density(table.iloc[:0]).empty


# ---------------------------------------------------------------- examples


def test_examples_are_those_nearest_to_the_corners_of_their_own_quarters() -> None:
    table = scored(
        x_perplexity=[1.0, 0.75, 1.0, 0.0, 0.25, np.nan, 1.0],
        c_perplexity=[1.0, 1.0, 4.0, 1.0, 1.0, 4.0, 1.0],
    )
    found = perplexity.corner_examples(table, per_corner=2)
    chosen = {name: rows["row"].tolist() for name, rows in found.groupby("corner", sort=False)}
    # 0 and 6 lie in the corner, the lower id first; nothing is easy to label and ambiguous
    assert chosen == {"mislabelled-looking": [0, 6], "hard": [2], "easy": [3, 4]}


def test_an_example_is_shown_with_label_c_x_and_top_confusion() -> None:
    table = scored(
        x_perplexity=[1.0, 0.0],
        c_perplexity=[1.0, 1.5],
        key=["a.png", "b.png"],
        label=[0, 1],
        label_true=[1, None],
        top_confusion=[1, 1],
        top_confusion_share=[0.75, 1.0],
    )
    found = perplexity.shown_examples(table, CLASSES)
    shown = found[["corner", "key", "label_name", "c", "x", "top_name", "top_share"]]
    assert shown.to_numpy().tolist() == [
        ["mislabelled-looking", "a.png", "cat", 1.0, 1.0, "dog", 0.75],
        ["ambiguous", "b.png", "dog", 1.5, 0.0, "dog", 1.0],  # log 1.5 is over half of log 2
    ]
    assert found["known_error"].tolist() == [True, pd.NA]


def test_confusion_indices_are_shares_of_votes_and_of_bits() -> None:
    table = scored(
        top5_x=[[{"class": 1, "votes": 3}, {"class": 0, "votes": 1}]],
        top5_c=[[{"class": 1, "value": 0.5}]],
    )
    found = perplexity.confusion_lists(table, CLASSES, [0])
    assert found.to_numpy().tolist() == [
        [0, "x", 1, "dog", 0.75],
        [0, "x", 2, "cat", 0.25],
        [0, "c", 1, "dog", 0.5],
    ]
    exact = Listed(np.array([[2, 1, -1]]), np.array([[0.6, 0.5, 0.0]]))
    found = perplexity.confusion_lists(table, CLASSES, [0], exact)
    assert found.loc[found["kind"] == "c", ["class_name", "index"]].to_numpy().tolist() == [
        ["ox", 0.6],
        ["dog", 0.5],
    ]


def test_the_perplexity_of_a_class_is_the_mean_of_its_examples() -> None:
    table = scored(
        label=[0, 0, 2, None],
        x_perplexity=[0.5, 1.0, 0.25, np.nan],
        c_perplexity=[1.0, 2.0, 4.0, 3.0],
        x_heldout=[0.5, np.nan, 0.25, np.nan],
        c_heldout=[1.0, np.nan, 4.0, 3.0],
    )
    found = perplexity.class_perplexity(table, CLASSES)
    assert found["class_name"].tolist() == ["cat", "ox"]
    assert found["n"].tolist() == [2, 1]
    assert found["mean_x"].tolist() == [0.75, 0.25]
    assert found["mean_c"].tolist() == [1.5, 4.0]
    assert found["mean_x_heldout"].tolist() == [0.5, 0.25]


def test_confusion_pairs_by_hand() -> None:
    """Two cats and a dog under four classifiers: one cat is taken for a dog by three of them."""
    table = scored(label=[0, 0, 1], top_confusion=[0, 1, 1])
    votes = np.array([[5, 3, 0], [0, 3, 1], [0, 0, 0]])
    found = perplexity.confusion_pairs(table, CLASSES, ClassConfusion(votes, None))
    assert found[["label_name", "other_name", "n", "share", "x_index"]].to_numpy().tolist() == [
        ["cat", "dog", 1, 0.5, 0.375],
        ["dog", "ox", 0, 0.0, 0.25],
    ]
    assert found["c_index"].isna().all()
    surprise = np.arange(9.0).reshape(3, 3)
    found = perplexity.confusion_pairs(table, CLASSES, ClassConfusion(votes, surprise))
    assert found["c_index"].tolist() == [1, 5]


# ---------------------------------------------------------------- in-sample and held out


def halves() -> pd.DataFrame:
    """Three examples under four classifiers of which half saw the first, all saw the second, none
    the third. Bits of the first: 1 and 1 in-sample, 2 and 2 held out."""
    return scored(
        x_perplexity=[0.5, 0.25, 1.0],
        x_heldout=[1.0, np.nan, 1.0],
        x_insample=[0.0, 0.25, np.nan],
        c_perplexity=[2**1.5, 2.0, 3.0],
        c_heldout=[4.0, np.nan, 3.0],
        n_heldout=[2, 0, 4],
    )


def test_x_and_c_in_sample_and_held_out_are_of_the_same_examples() -> None:
    found = dependence.held_out(halves()).set_index(["measure", "of"])
    assert found["n"].unique().tolist() == [1]
    assert found.loc["x", "mean"].to_dict() == {
        "all": 0.5,
        "in-sample": 0.0,
        "held out": 1.0,
        "gap": 1.0,
    }
    assert found.loc["c", "mean"].to_dict() == pytest.approx(
        {"all": 2**1.5, "in-sample": 2.0, "held out": 4.0, "gap": 1.0}
    )


def test_in_sample_share_by_hand_and_the_expected_one() -> None:
    """Two classifiers of one set of a quarter, two of two halves: an example is in all three with
    probability 1/16."""
    design = pd.DataFrame({"fraction": [0.25, 0.25, 0.5, 0.5], "replica": [1, 1, 1, 2]})
    found = dependence.in_sample(halves(), design).iloc[0]
    assert (found["mean_share"], found["expected"]) == (0.5, 0.375)
    assert (found["min_share"], found["max_share"], found["seen_by_all"]) == (0, 1, 1)
    assert found["expected_seen_by_all"] == 3 / 16


def test_the_paper_s_design_has_55_per_cent_in_sample() -> None:
    """And an example is in all of its ten sets with probability .0824 %."""
    design = pd.DataFrame(
        [(f, r) for f in (0.25, 0.5, 0.75) for r in (1, 2, 3)] + [(1.0, 1)],
        columns=["fraction", "replica"],
    )
    found = dependence.in_sample(halves(), design).iloc[0]
    assert found["expected"] == pytest.approx(0.55)
    assert found["expected_seen_by_all"] / 3 == pytest.approx((0.75 * 0.5 * 0.25) ** 3)


def test_in_sample_shares_are_refused_where_membership_is_not_known() -> None:
    design = pd.DataFrame({"fraction": [0.5], "replica": [1]})
    with pytest.raises(UsageError, match="of 1 of 3 examples it is not known which"):
        dependence.in_sample(halves().assign(n_heldout=[2, None, 4]), design)
    read = dependence.in_sample(halves().assign(n=[4, 4, 0], n_heldout=[2, 0, 0]), design)
    assert read["n"].tolist() == [2]  # an unreadable picture is no example


def test_the_gap_of_each_example_is_held_out_minus_in_sample() -> None:
    table = scored(x_heldout=[1.0, 0.3, 0.5, np.nan], x_insample=[0.0, 0.2, 0.5, 0.1])
    found = dependence.gaps(table)
    assert found["n"].sum() == 3
    # .3 - .2 is .09999... and still begins the bin of .1
    assert found[found["n"] > 0]["low"].tolist() == pytest.approx([0.0, 0.1, 0.9])


# ---------------------------------------------------------------- dependence


def test_main_effects_by_hand() -> None:
    """A balanced design without interaction: what the factors explain adds up to all."""
    table = pd.DataFrame(
        [
            (arch, fraction, epoch, 0.5 + a + f, 1.0 + a)
            for arch, a in (("weak", 0.2), ("strong", -0.2))
            for fraction, f in ((0.25, 0.1), (1.0, -0.1))
            for epoch in (1, 2)
        ],
        columns=["arch", "fraction", "epoch", "error", "entropy"],
    )
    found = dependence.main_effects(table).set_index(["factor", "level"])
    assert found.index.tolist()[:2] == [("arch", "strong"), ("arch", "weak")]  # by X
    assert found.loc[("arch", "weak"), "mean_x"] == pytest.approx(0.7)
    assert found.loc[("arch", "weak"), "mean_c"] == pytest.approx(2**1.2)
    assert found.loc[("fraction", "0.25"), "effect_x"] == pytest.approx(0.1)
    assert found.loc[("epoch", "2"), "effect_x"] == pytest.approx(0)
    shares = found.groupby("factor")["share_x"].first()
    assert shares.to_dict() == pytest.approx({"arch": 0.8, "fraction": 0.2, "epoch": 0.0})
    assert found.groupby("factor")["share_c"].first()["arch"] == pytest.approx(1)


# ---------------------------------------------------------------- agreement


def test_the_fast_mode_has_the_last_snapshot_of_each_training() -> None:
    table = pd.DataFrame(
        {
            "classifier_id": ["a-e2", "a-e10", "b-e10", "b-e2"],
            "training_id": ["a", "a", "b", "b"],
            "epoch": [2, 10, 10, 2],
        }
    )
    assert dependence.last_snapshots(table) == ["a-e10", "b-e10"]


def test_agreement_by_hand() -> None:
    one = scored(
        x_perplexity=[0.0, 0.5, 0.96, 1.0],
        c_perplexity=[1.0, 2.0, 1.5, 3.0],
        top_confusion=[0, 1, 1, 2],
    )
    other = one.assign(
        x_perplexity=[0.0, 0.25, 0.9, 1.0],
        c_perplexity=[1.0, 1.5, 2.0, 3.0],
        top_confusion=[0, 1, 2, 2],
    ).iloc[::-1]  # joined by id, not by place
    found = dependence.agreement(one, other).set_index("measure")["value"]
    assert found["n"] == 4
    assert found["spearman_x"] == 1
    assert found["spearman_c"] == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    assert found["mean_change_x"] == pytest.approx((0.25 + 0.06) / 4)
    assert found["mean_change_c"] == 0.25
    assert found["same_top"] == 0.75
    assert found["overlap_a"] == 0.5
    assert found["overlap_b"] == 0
    with pytest.raises(UsageError, match="share no example"):
        dependence.agreement(one, other.assign(example_id=range(10, 14)))


def test_ranks_agree_where_the_order_is_one_and_disagree_where_it_is_turned_round() -> None:
    rng = np.random.default_rng(0)
    c = rng.random(100)
    one = pd.DataFrame({"example_id": range(100), "c_perplexity": c})
    votes = pd.DataFrame({"example_id": range(100), "entropy": c + rng.normal(0, 0.1, 100)})
    same = dependence.rank_agreement(one, "c_perplexity", votes, "entropy").iloc[0]
    assert same["low"] > 0
    turned = dependence.rank_agreement(
        one, "c_perplexity", votes.assign(entropy=-votes["entropy"]), "entropy"
    ).iloc[0]
    assert turned["high"] < 0
    assert turned["value"] == pytest.approx(-same["value"])
    votes.loc[:9, "entropy"] = np.nan  # nobody voted
    assert dependence.rank_agreement(one, "c_perplexity", votes, "entropy")["n"].tolist() == [90]


def test_the_entropy_of_votes_by_hand() -> None:
    votes = [[10, 0, 0], [5, 5, 0], [1, 1, 2], [0, 0, 0]]
    assert dependence.vote_entropy(np.array(votes))[:3].tolist() == [0, 1, 1.5]
    assert np.isnan(dependence.vote_entropy(np.array(votes))[3])


def test_composites_are_above_both_parents_or_not() -> None:
    pairs = pd.DataFrame(
        {
            "example_id": [0, 1, 2],
            "left": [0, 1, 0],
            "right": [1, 2, 2],
            "kind": ["two classes", "two classes", "one class"],
        }
    )
    composites = scored(c_perplexity=[3.0, 1.9, 4.0])
    parents = scored(c_perplexity=[1.0, 2.0, 1.0])
    found = dependence.composite_shares(composites, parents, pairs).set_index("kind")
    assert found["n_above"].to_dict() == {"one class": 1, "two classes": 1}
    assert found["share"].to_dict() == {"one class": 1.0, "two classes": 0.5}
    assert found.loc["one class", "mean_c_parents"] == 1
    low, high = found.loc["two classes", ["low", "high"]]
    assert (low, high) == pytest.approx(wilson_interval(1, 2))


# ---------------------------------------------------------------- the intervals they use


def test_wilson_s_interval_is_the_published_one() -> None:
    """Newcombe, Stat. Med. 17 (1998) 857, table I, method 3: 81 of 263 and 0 of 20."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert np.isnan(wilson_interval(0, 0)).all()


def test_the_interval_of_a_rank_correlation_holds_zero_in_19_of_20_where_there_is_none() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        _, low, high = rank_interval(rng.random(40), rng.random(40))
        inside += low < 0 < high
    assert 0.92 < inside / 400 < 0.98
    assert rank_interval([1, 2, 3, 4], [1, 2, 3, 4]) == (1.0, 1.0, 1.0)
    assert np.isnan(rank_interval([1, 2, 3], [1, 3, 2])[1])


def test_the_measures_leave_their_input_alone() -> None:
    table = halves()
    before = table.copy()
    dependence.held_out(table)
    dependence.in_sample(table, pd.DataFrame({"fraction": [0.5], "replica": [1]}))
    assert_frame_equal(table, before)
