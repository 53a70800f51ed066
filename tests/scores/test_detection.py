"""Scores as detectors of wrong labels: what the measures are, and what tools of the field say about
the same numbers."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import Tiny, trained_workspace
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.commands import done
from zoo.errors import StoreError, UnknownNameError, UsageError
from zoo.report.write import write_report
from zoo.scores import from_store
from zoo.scores.catalog import DETECTORS, SIDES
from zoo.scores.detection import detection_table, intervals, label_errors
from zoo.scores.from_arrays import perplexity
from zoo.scores.population import choose_population
from zoo.scores.suspects import ranked_apart, suggested_labels, suspects, suspicion_of
from zoo.spec import Experiment
from zoo.statistics import auroc, average_precision, midranks
from zoo.store.query import query
from zoo.store.results import read_table
from zoo.store.workspace import Workspace
from zoo.trainsets import rules

NAN = float("nan")
# few distinct values, so that ties are the rule
SCORES = hnp.arrays(np.float64, st.integers(2, 40), elements=st.integers(0, 6).map(lambda i: i / 4))


def scores_frame(**columns: object) -> pd.DataFrame:
    """A scores table of six examples; the labels of 1 and 4 are wrong."""
    base: dict[str, object] = {
        "example_id": [0, 1, 2, 3, 4, 5],
        "label": [0, 1, 2, 0, 1, 2],
        "label_true": [0, 0, 2, 0, 2, 2],
        "x_perplexity": [0.0, 0.9, 0.9, 0.1, 0.8, 0.0],
        "label_quality": [0.9, 0.1, 0.1, 0.8, 0.2, 0.95],
    }
    return pd.DataFrame(base | columns)


def test_midranks_share_the_mean_of_their_ranks() -> None:
    """10, 20, 20, 5 have ranks 2, 3.5, 3.5, 1."""
    assert midranks(np.array([10, 20, 20, 5])).tolist() == [2.0, 3.5, 3.5, 1.0]


def test_auroc_counts_pairs_and_half_the_ties() -> None:
    """Errors .9 and .5, correct .5 and .1: pairs won 1 + 1 + .5 + 1 of 4."""
    assert auroc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])) == 3.5 / 4


def test_average_precision_steps_once_per_distinct_score() -> None:
    """.9 (error): precision 1 at recall 1/2. .5 (error and correct together): 2/3 at recall 1. AP =
    1/2 + 1/2 * 2/3."""
    value = average_precision(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))
    assert value == pytest.approx(0.5 + 0.5 * 2 / 3, abs=1e-15)


@settings(max_examples=100, deadline=None)
@given(st.data(), SCORES)
def test_measures_are_those_of_scikit_learn(data: st.DataObject, suspicion: np.ndarray) -> None:
    """Oracle: roc_auc_score and average_precision_score, ties included."""
    metrics = pytest.importorskip("sklearn.metrics")
    is_error = data.draw(hnp.arrays(bool, len(suspicion)))
    if is_error.all() or not is_error.any():
        assert math.isnan(auroc(suspicion, is_error))
        assert math.isnan(average_precision(suspicion, is_error))
        return
    assert auroc(suspicion, is_error) == pytest.approx(
        metrics.roc_auc_score(is_error, suspicion), abs=1e-12
    )
    assert average_precision(suspicion, is_error) == pytest.approx(
        metrics.average_precision_score(is_error, suspicion), abs=1e-12
    )


@settings(max_examples=50, deadline=None)
@given(SCORES)
def test_midranks_are_those_of_scipy(values: np.ndarray) -> None:
    """Oracle: scipy.stats.rankdata, method average."""
    stats = pytest.importorskip("scipy.stats")
    assert midranks(values).tolist() == stats.rankdata(values).tolist()


def test_detection_table_worked_by_hand() -> None:
    """Errors 1 and 4. Quality orders 1 = 2 (.1), 4 (.2), 3, 0, 5.

    AUROC: error 1 beats 0, 3, 5 and ties with 2; error 4 beats 0, 3, 5: 6.5 of 8. AP: at .1 one of
    two (step 1/2 * 1/2), at .2 two of three (1/2 * 2/3). The two most suspicious are 1 and 2 (ties
    to the lower id): one of two.
    """
    row = detection_table(scores_frame()).set_index("score").loc["label_quality"]
    assert row["auroc"] == 6.5 / 8
    assert row["average_precision"] == pytest.approx(0.25 + 1 / 3)
    assert (row["precision_at_n"], row["recall_at_n"], row["n_errors"]) == (0.5, 0.5, 2)
    assert row["fnr_at_n"] == 0.5
    assert 0 <= row["auroc_low"] < row["auroc"] < row["auroc_high"] <= 1


@pytest.mark.parametrize("levels", [7, 10**6])
def test_the_intervals_are_those_of_drawing_the_examples_again(levels: int) -> None:
    """Oracle: 1,000 samples of the examples with replacement, ties and all. The half widths agree
    within a quarter (of 100 draws a standard deviation is known to 7 %)."""
    rng = np.random.default_rng(3)
    wrong = rng.random(800) < 0.1
    s = np.floor((rng.normal(0, 1, 800) + 1.5 * wrong) * levels) / levels
    found = intervals(s, wrong)
    samples = rng.integers(0, 800, (1000, 800))
    for name, measure in (("auroc", auroc), ("average_precision", average_precision)):
        spread = np.std([measure(s[rows], wrong[rows]) for rows in samples], ddof=1)
        low, high = found[f"{name}_low"], found[f"{name}_high"]
        assert low < measure(s, wrong) < high
        assert (high - low) / 2 == pytest.approx(1.96 * spread, rel=0.25)


def test_a_detector_that_never_errs_has_no_interval_to_speak_of() -> None:
    """All errors before everything else in every draw; without errors there is none."""
    wrong = np.arange(20) < 5
    assert set(intervals(wrong * 1.0, wrong).values()) == {1.0}
    assert np.isnan(list(intervals(np.arange(4.0), np.zeros(4, dtype=bool)).values())).all()


def test_each_score_is_suspicious_on_its_own_side() -> None:
    """High X and C, low quality, margin and p(label) mean trouble: a perfect detector on its side
    has AUROC 1, on the other 0."""
    wrong = np.array([0, 1, 0, 0, 1, 0])
    frame = scores_frame(**{name: wrong * side + 0.0 for name, side in DETECTORS.items()})
    table = detection_table(frame)
    assert table["score"].tolist() == list(DETECTORS)
    for measure in ("auroc", "average_precision", "precision_at_n", "recall_at_n"):
        assert table[measure].tolist() == [1.0] * len(DETECTORS)
    upside_down = detection_table(frame.assign(**{name: -frame[name] for name in DETECTORS}))
    assert upside_down["auroc"].tolist() == [0.0] * len(DETECTORS)


def test_rows_without_the_score_or_the_truth_are_left_out_of_its_row() -> None:
    """x_heldout is null for error 4 and the truth for example 5: one error of five rows is
    measured, and recall is of both errors."""
    frame = scores_frame(
        x_heldout=[0.0, 1.0, 0.5, 0.0, None, 0.0], label_true=[0, 0, 2, 0, 2, None]
    )
    row = detection_table(frame).set_index("score").loc["x_heldout"]
    assert (row["n_errors"], row["precision_at_n"], row["recall_at_n"], row["auroc"]) == (
        1,
        1.0,
        0.5,
        1.0,
    )


@pytest.mark.parametrize("truth", [[0, 1, 2, 0, 1, 2], [1, 2, 0, 1, 2, 0]])
def test_no_errors_or_nothing_else_gives_nan_not_a_crash(truth: list[int]) -> None:
    """Nothing can be said about a detector without both kinds."""
    table = detection_table(scores_frame(label_true=truth))
    assert table[["auroc", "average_precision", "precision_at_n", "recall_at_n"]].isna().all().all()
    assert set(table["n_errors"]) == {0 if truth[0] == 0 else 6}


def test_no_known_truth_gives_no_rows() -> None:
    """A data set without true labels has no detection to report; the columns are there all the
    same."""
    table = detection_table(scores_frame(label_true=[None] * 6))
    assert table.empty
    assert table.columns.tolist() == [
        "score",
        "auroc",
        "average_precision",
        "precision_at_n",
        "recall_at_n",
        "fnr_at_n",
        "n_errors",
        "auroc_low",
        "auroc_high",
        "average_precision_low",
        "average_precision_high",
    ]


def test_label_quality_is_as_good_as_cleanlabs_ensemble_on_planted_errors() -> None:
    """Oracle: cleanlab's ensemble score on the same probabilities. Both find 40 planted errors in
    400; ours is not behind by 0.02 AUROC."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 400)
    labels = truth.copy()
    labels[:40] = (labels[:40] + rng.integers(1, 5, 40)) % 5
    logits = rng.normal(size=(9, 400, 5)) + 2.5 * np.eye(5)[truth]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    ours = perplexity(probabilities, labels)["label_quality"].to_numpy()
    rank = pytest.importorskip("cleanlab.rank")
    theirs = rank.get_label_quality_ensemble_scores(labels, list(probabilities), verbose=False)
    frame = pd.DataFrame(
        {"example_id": np.arange(400), "label": labels, "label_true": truth, "label_quality": ours}
    )
    found = detection_table(frame).iloc[0]
    is_error = labels != truth
    assert found["auroc"] == auroc(-ours, is_error)
    assert found["auroc"] > auroc(-theirs, is_error) - 0.02
    assert found["auroc"] > 0.95


def test_suspects_come_lowest_quality_first() -> None:
    """Quality .1 twice: the higher X, else the lower example_id comes first; planted says whether
    the label is known to be wrong, where any is."""
    listed = suspects(scores_frame(label_true=[0, 0, 2, 0, None, 2]), 3)
    assert listed["example_id"].tolist() == [1, 2, 4]
    assert listed["planted"].tolist() == [True, False, pd.NA]
    assert suspects(scores_frame(x_perplexity=[0, 0.8, 0.9, 0, 0, 0]), 2)[
        "example_id"
    ].tolist() == [2, 1]
    assert "planted" not in suspects(scores_frame().drop(columns="label_true"), 1)
    assert "planted" not in suspects(scores_frame(label_true=scores_frame()["label"]), 1)


def test_an_example_without_quality_is_no_suspect() -> None:
    """Fewer come back than asked for; none if none is asked for."""
    assert len(suspects(scores_frame(label_quality=[NAN, 0.1, NAN, NAN, NAN, NAN]), 4)) == 1
    assert suspects(scores_frame(), 0).empty


def test_an_example_whose_label_everybody_gives_is_no_suspect() -> None:
    """Of six examples the two with X = 0 are not listed, however many are asked for."""
    assert suspects(scores_frame(), 6)["example_id"].tolist() == [1, 2, 4, 3]


MIXED: dict[str, object] = {
    "example_id": range(6),
    "label": [0] * 6,
    "label_true": [0, 1, 0, 1, 0, 0],
    "x_perplexity": [0.1, 0.4, 0.2, 0.9, 0.3, 0.1],
    # Held out of some: 0.9, 0.2 (wrong label), 0.7, 0.6. Learned by all: 0.95 (wrong label), 0.99.
    "label_quality": [0.9, 0.95, 0.7, 0.2, 0.6, 0.99],
    "n": [5] * 6,
    "n_heldout": [2, 0, 1, 2, 3, 0],
    "x_heldout": [0.0, None, 0.0, 1.0, 1 / 3, None],
}


def test_examples_that_nobody_held_out_are_ranked_among_themselves() -> None:
    """Suspicion by hand: of 4 held-out examples the shares less suspicious are 1/8, 3/8, 7/8, 5/8;
    of the 2 others 3/4 and 1/4."""
    frame = pd.DataFrame(MIXED)
    assert suspicion_of(frame, "label_quality").tolist() == [
        1 / 8,
        3 / 4,
        3 / 8,
        7 / 8,
        5 / 8,
        1 / 4,
    ]
    listed = suspects(frame, 6)
    assert listed["example_id"].tolist() == [3, 1, 4, 2, 5, 0]
    assert listed["ranked_x"].tolist() == pytest.approx([1.0, 0.4, 1 / 3, 0.0, 0.1, 0.0])
    assert listed["ranked_n"].tolist() == [2, 5, 3, 1, 5, 2]
    assert listed["heldout"].tolist() == [True, False, True, True, False, True]
    assert ranked_apart(frame).startswith("2 of 6 examples were held out by no classifier")


def test_equal_suspicion_is_cut_by_example_id() -> None:
    """Four examples of one quality and X, two errors: the two lower ids are measured, whatever the
    order of the rows."""
    frame = pd.DataFrame(
        {
            "label": [0] * 4,
            "label_true": [0, 1, 1, 0],
            "x_perplexity": [0.5] * 4,
            "label_quality": [0.5] * 4,
        }
    )
    for ids, precision in (([0, 1, 2, 3], 0.5), ([2, 0, 1, 3], 1.0), ([0, 2, 3, 1], 0.0)):
        assert (
            detection_table(frame.assign(example_id=ids))["precision_at_n"].tolist()
            == [precision] * 2
        )


def test_detection_and_selection_use_the_order_of_suspects() -> None:
    """The two wrong labels come first in that order, so label_quality finds both; the two worst
    that a selection drops are the same."""
    frame = pd.DataFrame(MIXED).assign(c_perplexity=1.0)
    found = detection_table(frame).set_index("score").loc["label_quality"]
    assert (found["auroc"], found["precision_at_n"]) == (1.0, 1.0)
    left = rules.build([("worst", {"share": 1 / 3})], frame, num_classes=2)
    assert sorted(set(range(6)) - set(left.example_ids)) == sorted(suspects(frame, 2)["example_id"])


@pytest.mark.parametrize("n_heldout", [[1] * 6, [0] * 6, [None] * 6])
def test_examples_of_one_sort_are_ranked_by_the_plain_number(n_heldout: list[int | None]) -> None:
    """All held out, none, or nothing known: suspicion is minus the quality, and there is nothing to
    say but that nothing was held out."""
    frame = pd.DataFrame(MIXED | {"n_heldout": n_heldout})
    assert suspicion_of(frame, "label_quality").tolist() == [-0.9, -0.95, -0.7, -0.2, -0.6, -0.99]
    said = "No example of 6 was held out by a classifier" if n_heldout[0] == 0 else ""
    assert ranked_apart(frame)[: len(said) or None] == said


def test_suggested_is_the_most_voted_class_that_is_not_the_label() -> None:
    """Where the label has most votes, the next class; where nobody votes otherwise, nothing."""
    votes = [
        [{"class": 2, "votes": 3}, {"class": 0, "votes": 2}],
        [{"class": 0, "votes": 3}, {"class": 1, "votes": 2}],
        [{"class": 0, "votes": 5}],
    ]
    frame = pd.DataFrame({"label": [0, 0, 0], "top_confusion": [2, 0, 0], "top5_x": votes})
    assert [None if np.isnan(value) else value for value in suggested_labels(frame)] == [
        2.0,
        1.0,
        None,
    ]


def test_refusals_say_what_is_allowed() -> None:
    """A negative number and a table without labels are named."""
    with pytest.raises(UsageError, match=r"cannot list -1 suspects. Allowed: 0 or more"):
        suspects(scores_frame(), -1)
    with pytest.raises(UnknownNameError, match="unknown score column 'label_true'"):
        detection_table(scores_frame().drop(columns="label_true"))


# ---------------------------------------------------------------- beside cleanlab


class Panel:
    """Class probabilities [N, E, M] as members of a population; ``held``: bool [N, E]."""

    def __init__(self, probabilities: np.ndarray, held: np.ndarray | None = None) -> None:
        self.probabilities, self.held = probabilities, held

    @property
    def shape(self) -> tuple[int, int, int]:
        n, e, m = self.probabilities.shape
        return n, e, m

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.probabilities.astype(np.float64))

    def held_out(self) -> np.ndarray:
        return np.ones(self.shape[:2], dtype=bool) if self.held is None else self.held


def panel(held_out: float = 0.5) -> tuple[Panel, np.ndarray, np.ndarray]:
    """(12 classifiers on 300 examples of 4 classes, labels, true labels): 30 labels are wrong; a
    classifier that saw one believes it."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 300)
    labels = truth.copy()
    labels[:30] = (labels[:30] + 1) % 4
    held = rng.random((12, 300)) < held_out
    logits = rng.normal(size=(12, 300, 4)) * 2
    logits[:, np.arange(300), truth] += 1.5
    logits[:, np.arange(300), labels] += np.where(held, 0.0, 4.0)
    e = np.exp(logits)
    return Panel(e / e.sum(axis=2, keepdims=True), held), labels, truth


def panel_scores(members: Panel, labels: np.ndarray, truth: np.ndarray) -> pd.DataFrame:
    frame = perplexity(members.probabilities, labels, kind="probs", in_train=~members.held)
    return frame.reset_index().assign(label_true=truth)


def test_cleanlabs_scores_are_those_of_its_own_functions() -> None:
    """The rows beside ours are what cleanlab gives for the same arrays, measured by the same
    measures; one array is held at a time."""
    rank, flt = pytest.importorskip("cleanlab.rank"), pytest.importorskip("cleanlab.filter")
    members, labels, truth = panel(held_out=0.8)
    is_error = labels != truth
    found = label_errors(panel_scores(members, labels, truth), members)
    assert found.reason == ""
    rows = found.table.set_index("score")
    assert list(rows.index)[-3:] == [
        "cleanlab_ensemble",
        "cleanlab_issues",
        "cleanlab_issues_heldout",
    ]

    ensemble = rank.get_label_quality_ensemble_scores(
        labels, list(members.probabilities), verbose=False
    )
    assert rows.loc["cleanlab_ensemble", "auroc"] == pytest.approx(
        auroc(-ensemble, is_error), abs=1e-12
    )
    assert rows.loc["cleanlab_ensemble", "average_precision"] == pytest.approx(
        average_precision(-ensemble, is_error), abs=1e-12
    )

    held_mean = (members.probabilities * members.held[:, :, None]).sum(axis=0) / members.held.sum(
        axis=0
    )[:, None]
    for name, mean in (
        ("cleanlab_issues", members.probabilities.mean(axis=0)),
        ("cleanlab_issues_heldout", held_mean),
    ):
        flagged = flt.find_label_issues(labels, mean, n_jobs=1)
        line = found.flagged.set_index("score").loc[name]
        assert line["n_flagged"] == flagged.sum()
        assert line["precision"] == pytest.approx(is_error[flagged].mean(), abs=1e-12)
        assert line["recall"] == pytest.approx(flagged[is_error].mean(), abs=1e-12)
        order = flt.find_label_issues(
            labels, mean, n_jobs=1, return_indices_ranked_by="normalized_margin"
        )
        if len(order) >= 30:
            assert rows.loc[name, "precision_at_n"] == pytest.approx(
                is_error[order[:30]].mean(), abs=1e-12
            )
    assert (found.flagged["n_flagged"] > 0).all()


def test_held_out_probabilities_find_what_seen_ones_hide() -> None:
    """Where half of the classifiers have learnt the wrong labels, find_label_issues flags none of
    30 errors by all, most by the held-out ones."""
    pytest.importorskip("cleanlab")
    members, labels, truth = panel()
    flagged = label_errors(panel_scores(members, labels, truth), members).flagged.set_index("score")
    assert flagged.loc["cleanlab_issues", ["n_flagged", "recall"]].tolist() == [0, 0]
    assert np.isnan(flagged.loc["cleanlab_issues", "precision"])
    assert flagged.loc["cleanlab_issues_heldout", "recall"] > 0.6


def test_examples_without_label_answer_or_held_out_classifier_are_left_out() -> None:
    """Example 40 has no label, 41 no answer, 42 was seen by all: cleanlab's rows leave them out,
    the last only where held-out ones count."""
    pytest.importorskip("cleanlab")
    members, labels, truth = panel()
    members.held[:, 42] = False
    scores = panel_scores(members, labels, truth)
    scores["label"] = scores["label"].astype("Int64")
    scores.loc[40, "label"] = pd.NA
    scores.loc[[40, 41], "label_quality"] = NAN
    part = np.delete(np.arange(300), [40, 41])
    fewer = Panel(members.probabilities[:, part], members.held[:, part])
    expected = label_errors(panel_scores(fewer, labels[part], truth[part]), fewer).table.set_index(
        "score"
    )
    found = label_errors(scores, members).table.set_index("score")
    for name in ("cleanlab_ensemble", "cleanlab_issues", "cleanlab_issues_heldout"):
        assert found.loc[name].tolist() == pytest.approx(expected.loc[name].tolist(), abs=1e-12)


class Unkept(Panel):
    def __iter__(self) -> Iterator[np.ndarray]:
        raise StoreError("no logits of c1 on train are kept. Fill with --keep-logits all.")


class Broken(Panel):
    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.probabilities * np.float64(7))


class Huge(Panel):
    @property
    def shape(self) -> tuple[int, int, int]:
        return 12, 10**6, 1000


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (
            Unkept,
            (
                r"^cleanlab needs full probabilities: no logits of c1 on train are kept\. Fill with"
                r" --keep-logits all\.$"
            ),
        ),
        (Broken, r"^cleanlab refuses these probabilities: "),
        (
            Huge,
            (
                r"^12 classifiers x 1,000,000 examples x 1,000 classes are more than 500,000,000"
                r" probabilities, .* with --where\.$"
            ),
        ),
    ],
)
def test_what_cleanlab_cannot_use_leaves_its_rows_out_with_a_reason(
    kind: type[Panel], reason: str
) -> None:
    """Our own rows stay as they are."""
    pytest.importorskip("cleanlab")
    members, labels, truth = panel()
    scores = panel_scores(members, labels, truth)
    found = label_errors(scores, kind(members.probabilities, members.held))
    assert re.search(reason, found.reason)
    pd.testing.assert_frame_equal(found.table, detection_table(scores))
    assert found.flagged.empty


def test_without_cleanlab_the_reason_is_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is optional: nothing fails."""
    members, labels, truth = panel()
    for name in ("cleanlab", "cleanlab.rank", "cleanlab.filter"):
        monkeypatch.setitem(sys.modules, name, None)
    found = label_errors(panel_scores(members, labels, truth), members)
    assert (
        found.reason
        == "cleanlab is not installed. In the clone of zoo: .venv/bin/pip install -e '.[cleanlab]'"
    )
    assert "label_quality" in set(found.table["score"])


def test_scores_of_other_classifiers_are_not_compared() -> None:
    """Scores of 12 classifiers and a population of 11 are two things."""
    members, labels, truth = panel()
    found = label_errors(
        panel_scores(members, labels, truth), Panel(members.probabilities[:11], members.held[:11])
    )
    assert (
        found.reason
        == "The scores are of 12 classifiers, the population has 11 now. Score again with 'zoo"
        " score'."
    )


def test_without_known_truth_there_is_nothing_to_measure() -> None:
    members, labels, truth = panel()
    found = label_errors(panel_scores(members, labels, truth).assign(label_true=NAN), members)
    assert found.table.empty
    assert found.reason == "No true label is known."


def test_the_store_gives_the_probabilities_behind_its_answers(trained: Tiny) -> None:
    """Rows sum to 1; p(label) is the answers' to float16's precision; held out is what the answers
    say; all of it beside cleanlab."""
    pytest.importorskip("cleanlab")
    space = trained.workspace
    population = choose_population(space)
    members = from_store.Probabilities(space, population, "train")
    assert members.shape == (12, 60, 3)
    arrays, held = list(members), members.held_out()
    labels = trained.dataset.splits["train"].labels
    for name, p, mine in zip(population.classifiers, arrays, held, strict=True):
        np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-12)
        sql = (
            f"select example_id, p_label, in_train from answers where classifier_id = '{name}' and"
            " split = 'train' order by 1"
        )
        answers = query(space, sql).to_pandas()
        readable = answers["p_label"].notna().to_numpy()
        np.testing.assert_allclose(
            p[np.arange(60), labels][readable], answers["p_label"][readable], atol=2e-3
        )
        assert mine.tolist() == (~answers["in_train"].astype(bool)).tolist()
    assert not held.all()
    assert held.any()
    found = label_errors(from_store.score(space, population, "train").to_pandas(), members)
    assert found.reason == ""
    assert len(found.table) == len(DETECTORS)


def test_the_command_and_the_report_say_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    """``zoo score --json``, its table and the report hold cleanlab's rows beside ours, and what it
    flags by its own estimate."""
    pytest.importorskip("cleanlab")
    tiny = trained_workspace(tmp_path_factory.mktemp("said"))
    said = json.loads(done("score", "--json", "-w", tiny.root))
    assert [row["score"] for row in said["detection"]] == list(DETECTORS)
    assert {"auroc", "average_precision", "precision_at_n", "recall_at_n", "n_errors"} < set(
        said["detection"][0]
    )
    assert [row["score"] for row in said["flagged"]] == [
        "cleanlab_issues",
        "cleanlab_issues_heldout",
    ]
    assert said["cleanlab"] == "measured"
    assert "cleanlab_ensemble" in done("score", "--top", "0", "-w", tiny.root)
    about = Experiment(
        name="tiny", title="Tiny", scale="smoke", dataset=tiny.dataset.uri, sweeps=()
    )
    page = write_report(tiny.workspace, about, tiny.dataset, {}).read_text(encoding="utf-8")
    assert "cleanlab_issues_heldout" in page
    assert "flagged by cleanlab&#39;s own estimate of their number" in page


def test_detection_is_kept_once_and_that_of_the_train_split_stays(
    trained: Tiny, tmp_path: Path
) -> None:
    """Scoring a part of the population, or another split without truth, leaves the table alone; a
    part's scores overwrite no other part's."""
    w = shutil.copytree(trained.root, tmp_path / "w")
    done("score", "--top", "0", "-w", w)
    space = Workspace.open(w)
    kept = (w / "results" / "detection.csv").read_bytes()
    names = [
        json.loads(done("score", "--where", part, "--json", "-w", w))["table"]
        for part in ("arch = 'softmax'", "arch <> 'softmax'")
    ]
    done("score", "--split", "test", "-w", w)
    assert (w / "results" / "detection.csv").read_bytes() == kept
    assert len(set(names)) == 2
    assert all(Path(name).name.startswith("subscores-train-") for name in names)
    one, two = (pd.read_csv(name)["x_perplexity"].dropna().tolist() for name in names)
    assert one != two
    assert read_table(space, "detection")["score"].tolist()[: len(SIDES)] == list(SIDES)


def test_a_split_without_labels_lists_no_suspects(tmp_path: Path) -> None:
    """All labels unknown: scores have C and confusions, and zoo score says why there is no list."""
    np.save(tmp_path / "net.npy", np.random.default_rng(0).normal(0, 2, (2, 9, 3)))
    np.save(tmp_path / "labels.npy", np.full(9, -1))
    done("import", tmp_path / "net.npy", "--labels", tmp_path / "labels.npy", "-w", tmp_path / "w")
    lines = done("score", "-w", tmp_path / "w").splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("No example of train has a label")


def test_a_report_says_why_cleanlab_is_missing(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own scores are shown, and a sentence."""
    tiny = trained_workspace(tmp_path_factory.mktemp("unsaid"))
    for name in ("cleanlab", "cleanlab.rank", "cleanlab.filter"):
        monkeypatch.setitem(sys.modules, name, None)
    done("score", "--top", "0", "-w", tiny.root)
    kept = read_table(tiny.workspace, "detection")
    about = Experiment(
        name="tiny", title="Tiny", scale="smoke", dataset=tiny.dataset.uri, sweeps=()
    )
    page = write_report(tiny.workspace, about, tiny.dataset, {}).read_text(encoding="utf-8")
    assert kept["score"].tolist() == list(SIDES)
    pd.testing.assert_frame_equal(read_table(tiny.workspace, "detection"), kept)
    assert "cleanlab_ensemble" not in page
    assert "Without cleanlab beside them. cleanlab is not installed" in page
