"""Accuracies, similarities, intervals and convergence: worked by hand, and against the tools of the
field."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from zoo.errors import UnknownNameError, UsageError
from zoo.scores.accumulate import ScoreAccumulator
from zoo.scores.convergence import convergence
from zoo.scores.from_arrays import x_and_c
from zoo.statistics import auroc, mean_interval, paired_interval
from zoo.studies.compare import (
    COMPARISON_COLUMNS,
    acc1,
    acc_within,
    compare_arms,
    evaluate,
    metrics_for,
    prediction_similarity,
    shell_accuracies,
    similarity_table,
    zero_one_similarity,
)

NAN = float("nan")


# --------------------------------------------------------------------------------------- accuracies


def test_acc1_is_the_share_of_right_predictions() -> None:
    """2 of 3 right; an unreadable image (-1) and an unknown label (-1) are not counted."""
    assert acc1(np.array([0, 1, 2, -1, 0]), np.array([0, 1, 0, 0, -1])) == 2 / 3
    assert math.isnan(acc1(np.array([-1]), np.array([0])))


def test_acc5_is_the_share_of_labels_among_the_top_five() -> None:
    """Label in fifth place counts, in sixth not; -1 padding never matches; a row of padding is no
    answer."""
    top5 = np.array(
        [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4], [1, 0, -1, -1, -1], [-1] * 5, [0, 1, -1, -1, -1]]
    )
    assert acc_within(5, top5, np.array([4, 5, 0, 0, -1])) == 2 / 3


def test_acc2_looks_at_the_first_two_guesses_only() -> None:
    """Label first, second, third: two of three."""
    assert acc_within(2, np.array([[0, 1, 2, 3, 4]] * 3), np.array([0, 1, 2])) == 2 / 3


def test_acc5_of_five_classes_is_one() -> None:
    """With M <= 5 every label is among the five."""
    assert acc_within(5, np.array([[1, 0, 2, -1, -1]]), np.array([2])) == 1.0


def test_few_classes_are_also_judged_by_two_guesses() -> None:
    """acc2 stands beside acc5 below 50 classes."""
    assert metrics_for(10) == metrics_for(49) == ("acc1", "acc2", "acc5")
    assert metrics_for(50) == metrics_for(1000) == ("acc1", "acc5")


def test_accuracies_are_those_of_scikit_learn() -> None:
    """Oracle: accuracy_score and top_k_accuracy_score."""
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    values, labels = rng.random((200, 12)), rng.integers(0, 12, 200)
    top5 = np.argsort(-values, axis=1)[:, :5]
    assert acc1(top5[:, 0], labels) == metrics.accuracy_score(labels, top5[:, 0])
    assert acc_within(5, top5, labels) == metrics.top_k_accuracy_score(
        labels, values, k=5, labels=np.arange(12)
    )
    assert acc_within(2, top5, labels) == metrics.top_k_accuracy_score(
        labels, values, k=2, labels=np.arange(12)
    )


def test_evaluate_on_the_full_split_and_on_subsets() -> None:
    """Three of four right in full, both of the cleaned two; n counts what was answered."""
    table = evaluate(
        np.array([0, 1, 2, 0]),
        np.array([[0, 1], [1, 0], [2, 0], [0, 1]]),
        np.array([0, 1, 2, 1]),
        {"clean": np.array([1, 1, 0, 0])},
    )
    assert table.to_dict("list") == {
        "on": ["full", "clean"],
        "n": [4, 2],
        "acc1": [0.75, 1.0],
        "acc2": [1.0, 1.0],
        "acc5": [1.0, 1.0],
    }
    with pytest.raises(UsageError, match=r"subset 'a' has shape \(1,\). Allowed: \(4,\)"):
        evaluate(np.zeros(4, int), np.zeros((4, 5), int), np.zeros(4, int), {"a": np.array([True])})


def test_shells_of_the_published_table_raise_the_alarm() -> None:
    """Golden: from the paper's cleaned rows (80.3, 75.5, 69.3, 63.40 %) the shells score 80.3,
    49.8, 31.4 and 43.0 %: not monotone."""
    shells = shell_accuracies([50000, 38776, 33324, 28079], [0.6340, 0.693, 0.755, 0.803])
    assert [round(100 * a, 1) for a in shells] == [43.0, 31.4, 49.8, 80.3]
    assert sorted(shells) != shells
    with pytest.raises(UsageError, match="sizes strictly falling"):
        shell_accuracies([3, 3], [0.5, 0.5])


# ------------------------------------------------------------------------------------- similarities


def test_similarities_worked_by_hand() -> None:
    """Labels 0 0 0 0; a = 0 0 1 2, b = 0 1 1 1: both right once, both wrong twice, equal twice."""
    y, a, b = np.zeros(4, int), np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])
    assert zero_one_similarity(a, b, y) == 3 / 4
    assert prediction_similarity(a, b, y) == 2 / 4


def test_a_classifier_is_entirely_similar_to_itself() -> None:
    """The paper's sum from i = 0 would give (N + 1) / N; from i = 1 it is 1."""
    a, y = np.array([0, 1, 2]), np.array([0, 0, 0])
    assert zero_one_similarity(a, a, y) == 1.0
    assert prediction_similarity(a, a, y) == 1.0


def test_unanswered_examples_are_left_out_of_both_sides() -> None:
    """Only the first example has both answers and a label."""
    a, b, y = np.array([0, -1, 0, 0]), np.array([0, 0, -1, 1]), np.array([0, 0, 0, -1])
    assert zero_one_similarity(a, b, y) == 1.0
    assert prediction_similarity(a, b, y) == 1.0
    assert math.isnan(prediction_similarity(a, b, np.full(4, -1)))


@settings(max_examples=200, deadline=None)
@given(st.data(), st.integers(1, 30), st.integers(1, 6))
def test_similarity_laws(data: st.DataObject, examples: int, classes: int) -> None:
    """Symmetric; pred <= 0/1 <= 1 - |acc_A - acc_B|; pred >= (acc_A + acc_B - 1 + 0/1) / 2; also
    where labels or answers (-1) are missing."""
    y, a, b = (
        data.draw(hnp.arrays(np.int16, examples, elements=st.integers(-1, classes - 1)))
        for _ in range(3)
    )
    zero_one, prediction = zero_one_similarity(a, b, y), prediction_similarity(a, b, y)
    both = np.where((a >= 0) & (b >= 0), y, -1)  # what the similarities count
    accuracy_a, accuracy_b = acc1(a, both), acc1(b, both)
    if math.isnan(zero_one):
        assert math.isnan(prediction)
        return
    assert zero_one == zero_one_similarity(b, a, y)
    assert prediction == prediction_similarity(b, a, y)
    assert prediction <= zero_one <= 1 - abs(accuracy_a - accuracy_b) + 1e-12
    assert prediction >= (accuracy_a + accuracy_b - 1 + zero_one) / 2 - 1e-12


def test_similarity_table_holds_every_pair() -> None:
    """K * K rows, diagonal 1; kappa is 1 on the diagonal and 0 where agreement is what the
    accuracies give."""
    y = np.zeros(4, int)
    table = similarity_table(
        {"a": np.array([0, 0, 1, 1]), "b": np.array([0, 1, 0, 1])}, y
    ).set_index(["a", "b"])
    assert len(table) == 4
    assert table.loc[("a", "a")].tolist() == [1.0, 1.0, 1.0]
    assert table.loc[("a", "b")].tolist() == [0.5, 0.5, 0.0]
    assert table.loc[("b", "a")].tolist() == table.loc[("a", "b")].tolist()


def test_kappa_of_the_published_heatmap() -> None:
    """Golden: accuracies 63.40 and 66.0 %, 0/1 similarity .8415 give kappa .65: built here from
    10,000 examples."""
    y = np.zeros(10000, int)
    both_right = round(10000 * (0.6340 + 0.66 - 1 + 0.8415) / 2)
    a = np.ones(10000, int)
    b = a.copy()
    a[:6340] = 0
    b[:both_right] = 0
    b[6340 : 6340 + 6600 - both_right] = 0
    row = similarity_table({"base": a, "M1": b}, y).set_index(["a", "b"]).loc[("base", "M1")]
    assert row["zero_one"] == pytest.approx(0.8415, abs=2e-4)
    assert round(row["kappa"], 2) == 0.65


def test_arrays_of_different_examples_are_refused() -> None:
    """Comparing by position needs the same examples."""
    with pytest.raises(
        UsageError,
        match=r"shapes \(2,\), \(3,\), \(2,\)\. Allowed: all \[E\].*Join them by example_id",
    ):
        prediction_similarity(np.zeros(2), np.zeros(3), np.zeros(2))


# ---------------------------------------------------------------------------------------- intervals


def test_mean_interval_worked_by_hand() -> None:
    """1, 2, 3: mean 2, sd 1, t(.975, 2) = 4.3027: 2 +- 4.3027 / sqrt(3) = 2.4841."""
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert (low, high) == (
        pytest.approx(2 - 2.48414, abs=1e-5),
        pytest.approx(2 + 2.48414, abs=1e-5),
    )


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    """Bounds are NaN rather than zero width: one seed says nothing about spread."""
    mean, low, high = mean_interval([0.5])
    assert mean == 0.5
    assert math.isnan(low)
    assert math.isnan(high)
    assert all(map(math.isnan, mean_interval([])))
    assert mean_interval([1.0, NAN, 3.0])[0] == 2.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
def test_mean_interval_is_scipys(values: list[float]) -> None:
    """Oracle: scipy.stats.t.interval around the standard error."""
    stats = pytest.importorskip("scipy.stats")
    _, low, high = mean_interval(values)
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    assert low == pytest.approx(np.mean(values) - half, abs=1e-12)
    assert high == pytest.approx(np.mean(values) + half, abs=1e-12)


def test_pairing_removes_what_a_seed_does_to_both() -> None:
    """Seeds spread by 10 points, the difference is 1 everywhere: the paired interval has no
    width."""
    delta, low, high = paired_interval([0.61, 0.71, 0.81], [0.60, 0.70, 0.80])
    assert delta == pytest.approx(0.01)
    assert high - low < 1e-12
    with pytest.raises(UsageError, match=r"shapes \(1,\), \(2,\)"):
        paired_interval([1.0], [1.0, 2.0])


# --------------------------------------------------------------------------------------------- arms


def arms(**columns: Any) -> pd.DataFrame:
    base: dict[str, Any] = {
        "arm": ["clean"] * 3 + ["baseline"] * 3,
        "selection": ["clean"] * 3 + [None] * 3,
        "seed": [0, 1, 2] * 2,
        "n_train": [1000] * 6,
        "n_unique": [900] * 3 + [1000] * 3,
        "steps": [50] * 6,
        "acc1": [0.62, 0.65, 0.65, 0.60, 0.62, 0.64],
        "acc5": [0.9] * 6,
    }
    return pd.DataFrame(base | columns)


def test_comparisons_worked_by_hand() -> None:
    """Differences .02, .03, .01: mean .02, sd .01, half width 4.3027 * .01 / sqrt(3) = .02484."""
    table = compare_arms(arms())
    assert table.columns.tolist() == list(COMPARISON_COLUMNS)
    assert table[["arm", "metric"]].to_numpy().tolist() == [
        ["baseline", "acc1"],
        ["clean", "acc1"],
        ["baseline", "acc5"],
        ["clean", "acc5"],
    ]
    row = table.iloc[1]
    assert (row["on"], row["n_seeds"], row["method"]) == ("full", 3, "paired over 3 seeds")
    assert row["mean"] == pytest.approx(0.64)
    assert row["delta"] == pytest.approx(0.02)
    assert (row["delta_low"], row["delta_high"]) == (
        pytest.approx(0.02 - 0.02484, abs=1e-5),
        pytest.approx(0.02 + 0.02484, abs=1e-5),
    )


def test_the_baseline_is_not_compared_with_itself() -> None:
    """Its own differences are NaN, its interval is there."""
    row = compare_arms(arms()).iloc[0]
    assert row["method"] == "baseline"
    assert row[["delta", "delta_low", "delta_high"]].isna().all()
    assert row["low"] < row["mean"] < row["high"]


def test_seeds_pair_by_number_not_by_position() -> None:
    """Rows in any order give the same comparison."""
    table = compare_arms(arms().sample(frac=1, random_state=3), metrics=["acc1"])
    expected = compare_arms(arms(), metrics=["acc1"])
    assert table.set_index("arm").loc["clean", "delta_low"] == pytest.approx(
        expected.set_index("arm").loc["clean", "delta_low"]
    )


def test_seeds_without_a_partner_fall_back_to_welch() -> None:
    """Oracle: scipy's Welch interval when no seeds are shared."""
    stats = pytest.importorskip("scipy.stats")
    frame = arms(seed=[0, 1, 2, 7, 8, 9])
    row = compare_arms(frame).iloc[1]
    interval = stats.ttest_ind(
        frame["acc1"][:3], frame["acc1"][3:], equal_var=False
    ).confidence_interval(0.95)
    assert (row["method"], row["n_pairs"]) == ("unpaired (Welch)", 0)
    assert (row["delta_low"], row["delta_high"]) == (
        pytest.approx(interval.low),
        pytest.approx(interval.high),
    )


def test_two_common_seeds_are_paired_and_counted() -> None:
    """Of three seeds two are shared: the mean is over all, the difference over the two."""
    row = compare_arms(arms(seed=[0, 1, 5, 0, 1, 2])).iloc[1]
    assert row["method"] == "paired over 2 seeds"
    assert (row["n_seeds"], row["n_pairs"]) == (3, 2)
    assert row["delta"] == pytest.approx((0.02 + 0.03) / 2)
    assert row["mean"] == pytest.approx(0.64)


def test_one_seed_gives_a_difference_without_interval() -> None:
    """And the method says so."""
    row = compare_arms(arms()[lambda f: f["seed"] == 0]).iloc[1]
    assert row["delta"] == pytest.approx(0.02)
    assert math.isnan(row["delta_low"])
    assert row["method"] == "one common seed: no interval"
    other = compare_arms(arms(seed=[0, 1, 2, 3, 4, 5])[lambda f: f["seed"].isin([0, 3])]).iloc[1]
    assert other["method"] == "one seed: no interval"


def test_another_training_budget_is_said() -> None:
    """Cleaning that also means less data is no fair comparison; the method tells."""
    method = compare_arms(arms(n_train=[800] * 3 + [1000] * 3, steps=[40] * 3 + [50] * 3)).iloc[1][
        "method"
    ]
    assert method == "paired over 3 seeds; n_train 800 against 1000; steps 40 against 50"


def test_evaluation_sets_are_compared_each_by_itself() -> None:
    """A column ``on`` makes one block of rows per set; an arm without a baseline there has no
    difference."""
    frame = pd.concat([arms(on="full"), arms(on="clean", acc1=0.9)[:3]])
    table = compare_arms(frame, metrics=["acc1"])
    assert table["on"].tolist() == ["full", "full", "clean"]
    assert table.iloc[2]["method"] == "nothing to compare with"
    assert math.isnan(table.iloc[2]["delta"])


def test_an_interval_of_a_share_does_not_leave_it() -> None:
    """Two seeds of .9 and 1.0: .95 +- 12.7 * .05 would go from .31 to 1.59; a difference is cut at
    -1 and 1."""
    frame = arms(acc1=[0.9, 1.0, 1.0, 0.0, 0.5, 0.5])[lambda f: f["seed"] < 2]
    row = compare_arms(frame, metrics=["acc1"]).set_index("arm").loc["clean"]
    assert row["mean"] == pytest.approx(0.95)
    assert row["low"] == pytest.approx(0.95 - 12.7062 * 0.05, abs=1e-4)
    assert row["high"] == 1.0
    assert (row["delta_low"], row["delta_high"]) == (-1.0, 1.0)
    assert math.isnan(
        compare_arms(frame[lambda f: f["seed"] == 0], metrics=["acc1"])["low"].iloc[0]
    )


def test_architectures_are_compared_each_by_itself() -> None:
    """The same seed of two networks is no seed twice: mlp's differences are .02, .03, .01, lenet5's
    all .1."""
    lenet5 = arms(arch="lenet5", acc1=[0.8] * 3 + [0.7] * 3)
    table = compare_arms(pd.concat([arms(arch="mlp"), lenet5]), metrics=["acc1"]).set_index(
        ["arch", "arm"]
    )
    assert table["mean"].round(3).to_dict() == {
        ("mlp", "baseline"): 0.62,
        ("mlp", "clean"): 0.64,
        ("lenet5", "baseline"): 0.7,
        ("lenet5", "clean"): 0.8,
    }
    assert table.loc[("mlp", "clean"), "delta"] == pytest.approx(0.02)
    assert table.loc[("lenet5", "clean"), "delta"] == pytest.approx(0.1)


def test_comparisons_refuse_what_they_cannot_pair() -> None:
    """A missing baseline, a seed twice, a missing column."""
    with pytest.raises(UnknownNameError, match=r"unknown arm 'base'. Did you mean 'baseline'"):
        compare_arms(arms(), "base")
    with pytest.raises(
        UsageError, match=r"arm 'clean' has seed 1 twice on 'full'. Allowed: one row per arm"
    ):
        compare_arms(arms(seed=[0, 1, 1, 0, 1, 2]))
    with pytest.raises(UnknownNameError, match="unknown column of the arms table 'acc1'"):
        compare_arms(arms().drop(columns="acc1"))


# -------------------------------------------------------------------------------------- convergence


def answers_of(
    members: int, examples: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions, entropies and labels of a population on examples of varying difficulty."""
    rng = np.random.default_rng(seed)
    difficulty = rng.random(examples)
    predictions = (rng.random((members, examples)) < difficulty).astype(np.int16)
    entropies = (difficulty * rng.random((members, examples)) * 2).astype(np.float32)
    return predictions, entropies, np.zeros(examples, dtype=np.int64)


def test_more_classifiers_agree_more_with_all_of_them() -> None:
    """The mean correlation rises with n and is 1 for the full population; the band holds the mean
    and closes."""
    predictions, entropies, labels = answers_of(40, 300)
    table = convergence(predictions, entropies, labels, sizes=[2, 5, 10, 20, 40], draws=10, key="t")
    assert table.columns.tolist() == ["measure", "n", "mean", "low", "high"]
    assert table["measure"].tolist() == ["x"] * 5 + ["c"] * 5
    for measure in ("x", "c"):
        rows = table[table["measure"] == measure]
        assert rows["mean"].is_monotonic_increasing
        assert rows["mean"].iloc[-1] == pytest.approx(1.0)
        assert (
            (rows["low"] <= rows["mean"] + 1e-12) & (rows["mean"] <= rows["high"] + 1e-12)
        ).all()


def test_the_correlation_is_spearmans() -> None:
    """Oracle: scipy's spearmanr between the scores of the drawn sub-population and those of all,
    for one draw."""
    stats = pytest.importorskip("scipy.stats")
    from zoo import keyed

    predictions, entropies, labels = answers_of(12, 200)
    table = convergence(predictions, entropies, labels, sizes=[4], draws=1, key="k").set_index(
        "measure"
    )
    chosen = keyed.choose("k/4/0", np.arange(12), 4)
    (x, c), (part_x, part_c) = (
        x_and_c(predictions, entropies, labels),
        x_and_c(predictions[chosen], entropies[chosen], labels),
    )
    assert table.loc["x", "mean"] == pytest.approx(stats.spearmanr(part_x, x).statistic, abs=1e-12)
    assert table.loc["c", "mean"] == pytest.approx(stats.spearmanr(part_c, c).statistic, abs=1e-12)


def test_convergence_of_detection_uses_label_quality() -> None:
    """At n = N the AUROC is that of label_quality of the accumulator, held-out classifiers and
    p(label) included."""
    rng = np.random.default_rng(4)
    predictions, entropies, labels = answers_of(9, 120, 4)
    truth = np.where(rng.random(120) < 0.3, 1, 0)
    p, seen = rng.random((9, 120)).astype(np.float32), rng.random((9, 120)) < 0.6
    total = ScoreAccumulator(np.arange(120), labels, 5)
    for i in range(9):
        total.add(
            predictions[i],
            p[i],
            entropies[i],
            np.zeros(120),
            np.full((120, 5), -1),
            np.zeros((120, 5)),
            seen[i],
        )
    quality = total.finish().label_quality
    table = convergence(
        predictions,
        entropies,
        labels,
        sizes=[3, 9],
        draws=3,
        key="a",
        labels_true=truth,
        p_labels=p,
        in_train=seen,
    )
    full = table[(table["measure"] == "auroc") & (table["n"] == 9)].iloc[0]
    assert full["mean"] == pytest.approx(auroc(-quality, truth != labels), abs=1e-12)
    assert full["low"] == full["high"] == pytest.approx(full["mean"])


def test_convergence_is_the_same_for_any_order_of_draws_or_sizes() -> None:
    """Draws are keyed: asking for one size alone gives that row."""
    population = answers_of(10, 50)
    whole = convergence(*population, sizes=[2, 5], draws=4, key="z")
    alone = convergence(*population, sizes=[5], draws=4, key="z")
    pd.testing.assert_frame_equal(whole[whole["n"] == 5].reset_index(drop=True), alone)
    assert not convergence(*population, sizes=[5], draws=4, key="y").equals(alone)


def test_convergence_leaves_out_what_lacks_an_answer_and_caps_the_rest() -> None:
    """Unanswered and unlabelled examples do not count, and 5,000 examples are enough to estimate a
    correlation."""
    predictions, entropies, labels = answers_of(6, 60)
    clean = convergence(predictions, entropies, labels, sizes=[3], draws=3, key="q")
    holes = np.concatenate(
        [predictions, np.full((6, 5), -1, dtype=np.int16), predictions[:, :5]], axis=1
    )
    bits = np.concatenate(
        [entropies, np.full((6, 5), np.nan, dtype=np.float32), entropies[:, :5]], axis=1
    )
    more = convergence(
        holes,
        bits,
        np.concatenate([labels, np.zeros(5, int), np.full(5, -1)]),
        sizes=[3],
        draws=3,
        key="q",
    )
    pd.testing.assert_frame_equal(clean, more)
    large = convergence(*answers_of(4, 6000), sizes=[2], draws=2, key="q")
    assert large["mean"].between(0.2, 1).all()


def test_a_population_that_never_errs_has_no_correlation() -> None:
    """X is 0 everywhere: ranks are constant, the correlation is not defined, and nothing warns."""
    zeros = np.zeros((3, 10), dtype=np.int16)
    table = convergence(
        zeros,
        np.random.default_rng(0).random((3, 10)),
        np.zeros(10, int),
        sizes=[2],
        draws=2,
        key="n",
    ).set_index("measure")
    assert table.loc["x"].drop("n").isna().all()
    assert table.loc["c", "mean"] > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizes": [4]}, ["sub-populations of 4", "1 to 3"]),
        ({"sizes": [0]}, ["sub-populations of 0"]),
        ({"draws": 0}, ["0 draws"]),
        ({"labels": np.zeros(9, int)}, ["labels have shape (9,)", "(10,)"]),
        ({"p_labels": np.zeros((2, 10))}, ["p_labels have shape (2, 10)"]),
        ({"predictions": np.zeros(3, int)}, ["predictions have shape (3,)", "[N, E]"]),
    ],
)
def test_convergence_refuses_sizes_and_shapes_that_do_not_fit(
    changes: dict[str, Any], words: list[str]
) -> None:
    """The message says how many classifiers there are."""
    arguments: dict[str, Any] = {
        "predictions": np.zeros((3, 10), int),
        "entropies": np.zeros((3, 10)),
        "labels": np.zeros(10, int),
        "sizes": [2],
        "key": "k",
    }
    with pytest.raises(UsageError) as error:
        convergence(**(arguments | changes))
    assert all(word in str(error.value) for word in words), str(error.value)
