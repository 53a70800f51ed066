"""What X-perplexity, C-perplexity, confusions and label quality are. Letters: N classifiers, E
examples, M classes."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import zoo.scores.accumulate
from zoo.errors import DataError, UsageError
from zoo.scores.accumulate import (
    FIXED_ONE,
    ScoreAccumulator,
    ScoreTable,
    block_rows,
    log_shares,
)
from zoo.scores.catalog import SCORES, X_BINS, Listed
from zoo.scores.from_arrays import perplexity, x_and_c
from zoo.scores.outputs import answers_from_logits, answers_from_probabilities, detect_kind
from zoo.store.answers import Answers
from zoo.store.schema import SCORES_SCHEMA

NAN = float("nan")


def column_bits(table: ScoreTable) -> dict[str, bytes]:
    """Every column as raw bytes: equal means bit-identical, NaN included."""
    columns = {"example_ids": table.example_ids, "labels": table.labels, **table.columns}
    return {
        name: b"".join(part.tobytes() for part in (c if isinstance(c, Listed) else (c,)))
        for name, c in columns.items()
    }


def population(
    seed: int, members: int, examples: int, classes: int, scale: float = 3.0
) -> NDArray[np.float32]:
    """Random logits float32 [N, E, M]."""
    return (np.random.default_rng(seed).normal(size=(members, examples, classes)) * scale).astype(
        np.float32
    )


def accumulate(
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    in_train: NDArray[np.bool_] | None = None,
) -> ScoreAccumulator:
    total = ScoreAccumulator(np.arange(len(labels)), labels, logits.shape[2])
    for i, outputs in enumerate(logits):
        total.add_answers(
            answers_from_logits(outputs, labels), None if in_train is None else in_train[i]
        )
    return total


# ------------------------------------------------------------------------------------------ answers


def test_answers_are_the_softmax_worked_by_hand() -> None:
    """Logits (ln 2, ln 1, ln 1) are probabilities (1/2, 1/4, 1/4): entropy 1/2 * 1 + 2 * 1/4 * 2 =
    1.5 bits."""
    a = answers_from_logits(np.log([[2.0, 1.0, 1.0]]), np.array([1]))
    assert a.prediction.tolist() == [0]
    assert a.p_label.tolist() == [0.25]
    assert a.entropy.tolist() == [1.5]
    assert a.margin.tolist() == [-0.25]
    assert a.top5.tolist() == [[0, 1, 2, -1, -1]]
    assert a.top5_p.tolist() == [[0.5, 0.25, 0.25, 0.0, 0.0]]
    assert a.finite.tolist() == [True]


def test_answers_have_the_declared_types() -> None:
    """Answers are narrow: 20 bytes a cell is what a store of billions of them can afford."""
    a = answers_from_logits(population(0, 1, 4, 7)[0], np.arange(4))
    kinds = {f.name: str(getattr(a, f.name).dtype) for f in dataclasses.fields(Answers)}
    assert kinds == {
        "prediction": "int16",
        "p_label": "float32",
        "entropy": "float32",
        "margin": "float32",
        "top5": "int16",
        "top5_p": "float16",
        "finite": "bool",
    }
    assert len(a) == 4
    assert a.top5.shape == a.top5_p.shape == (4, 5)


def test_ties_go_to_the_lowest_class() -> None:
    """Equal logits: the prediction and the order of the top 5 follow the class index."""
    a = answers_from_logits(np.zeros((1, 7)), np.array([3]))
    assert a.prediction.tolist() == [0]
    assert a.top5.tolist() == [[0, 1, 2, 3, 4]]
    assert a.entropy[0] == np.float32(np.log2(7))
    assert a.margin.tolist() == [0.0]


def test_margin_is_against_the_best_other_class() -> None:
    """p = (.5, .3, .2): the margin is .5 - .3 for label 0, .3 - .5 for label 1, .2 - .5 for label
    2."""
    p = np.tile([0.5, 0.3, 0.2], (3, 1))
    np.testing.assert_allclose(
        answers_from_probabilities(p, np.arange(3)).margin, [0.2, -0.2, -0.3], atol=1e-7
    )


def test_a_certain_classifier_has_no_entropy() -> None:
    """Logits (1000, 0): e**-1000 underflows to 0, and 0 log 0 = 0, not NaN."""
    a = answers_from_logits(np.array([[1000.0, 0.0]]), np.array([1]))
    assert (a.entropy[0], a.p_label[0], a.margin[0]) == (0.0, 0.0, -1.0)


def test_a_row_that_is_not_finite_is_no_answer() -> None:
    """A NaN or an infinity (a diverged network) gives prediction -1 and NaN; the other rows are
    untouched."""
    logits = np.array([[NAN, 0.0], [np.inf, 0.0], [0.0, -np.inf], [0.0, 2.0]])
    a = answers_from_logits(logits, np.array([0, 0, 0, 1]))
    assert a.finite.tolist() == [False, False, False, True]
    assert a.prediction.tolist() == [-1, -1, -1, 1]
    assert a.top5[:3].max() == -1
    assert np.isnan(a.entropy[:3]).all()
    assert np.isnan(a.p_label[:3]).all()
    assert not np.isnan([a.entropy[3], a.p_label[3], a.margin[3]]).any()


def test_an_unknown_label_leaves_what_needs_it_unknown() -> None:
    """Without labels, entropy and top 5 are there; p(label) and the margin are NaN."""
    a = answers_from_logits(np.array([[1.0, 0.0]]))
    assert np.isnan(a.p_label[0])
    assert np.isnan(a.margin[0])
    assert a.entropy[0] > 0


def test_two_classes_are_enough_for_a_margin_and_one_is_not_an_error() -> None:
    """M = 2 pads the top 5 with -1; M = 1 is always certain."""
    assert answers_from_logits(np.array([[0.0, 1.0]]), np.array([1])).top5.tolist() == [
        [1, 0, -1, -1, -1]
    ]
    one = answers_from_logits(np.array([[5.0]]), np.array([0]))
    assert (one.p_label[0], one.margin[0], one.entropy[0]) == (1.0, 1.0, 0.0)


def test_no_examples_give_no_answers() -> None:
    """An empty block is a block."""
    a = answers_from_logits(np.zeros((0, 3)), np.zeros(0, dtype=int))
    assert len(a) == 0
    assert a.top5.shape == (0, 5)


def test_answers_agree_with_torch() -> None:
    """Oracle: torch's log_softmax and Categorical entropy in float64, and its top-k."""
    torch = pytest.importorskip("torch")
    logits = population(1, 1, 300, 40)[0]
    labels = np.random.default_rng(2).integers(0, 40, 300)
    a = answers_from_logits(logits, labels)
    logp = torch.log_softmax(torch.from_numpy(logits).double(), dim=1)
    np.testing.assert_allclose(
        a.entropy,
        torch.distributions.Categorical(logits=logp).entropy().numpy() / math.log(2),
        rtol=1e-6,
    )
    np.testing.assert_allclose(a.p_label, logp.exp().numpy()[np.arange(300), labels], rtol=1e-6)
    assert np.array_equal(a.prediction, logp.argmax(dim=1).numpy())
    assert np.array_equal(a.top5, logp.topk(5, dim=1).indices.numpy())


def test_many_rows_are_the_rows_one_by_one() -> None:
    """Answers are made in blocks of rows; where a block ends must not show."""
    logits = population(3, 1, 500, 1000)[0]
    labels = np.arange(500)
    whole = answers_from_logits(logits, labels)
    for row in (0, 64, 65, 66, 130, 499):
        single = answers_from_logits(logits[row : row + 1], labels[row : row + 1])
        for f in dataclasses.fields(Answers):
            assert np.array_equal(getattr(whole, f.name)[row], getattr(single, f.name)[0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: answers_from_logits(np.zeros((2, 3, 4))),
            ["shape (2, 3, 4)", "Allowed: [E, M]", "zoo.perplexity takes [N, E, M]"],
        ),
        (
            lambda: answers_from_logits(np.zeros((2, 3)), np.array([0, 3])),
            ["label 3 at example 1", "0 to 2", "count from 0"],
        ),
        (lambda: answers_from_logits(np.zeros((2, 3)), np.array([0])), ["(1,)", "(2,)"]),
        (
            lambda: answers_from_logits(np.zeros((1, 3)), np.array([0.5])),
            ["float64", "integers 0 to 2", "indices"],
        ),
        (
            lambda: answers_from_probabilities(np.array([[0.5, 0.5], [0.5, 0.6]])),
            ["row 1", "sum 1.1", "0.001", "answers_from_logits"],
        ),
        (lambda: answers_from_probabilities(np.array([[-0.5, 1.5]])), ["row 0", "-0.5 to 1.5"]),
    ],
)
def test_wrong_arrays_are_refused_with_what_was_seen_and_what_is_allowed(
    call: Any, words: list[str]
) -> None:
    """Each message names the value seen, what is allowed, and what to do."""
    with pytest.raises(UsageError) as error:
        call()
    assert all(word in str(error.value) for word in words), str(error.value)


# ----------------------------------------------------------------------------------- scores by hand


def test_scores_of_four_classifiers_worked_by_hand() -> None:
    """One example, label 2, M = 4; predictions 2, 1, 1, 3; entropies 0, 1, 2, 1 bits; p(label) 1,
    .25, .25, .5.

    X = 3/4. C = 2 ** (4/4) = 2. Mean p = .5. Quality = 1 - (4 * .75 + 1 - .5) / 5 = 1 - 3.5/5 = .3.
    Most-voted class: 1 with 2 of 4 votes.
    """
    total = ScoreAccumulator(np.array([7]), np.array([2]), 4)
    top5 = {2: [2, -1, -1, -1, -1], 1: [1, 2, -1, -1, -1], 3: [3, 2, -1, -1, -1]}
    for prediction, entropy, p in ((2, 0.0, 1.0), (1, 1.0, 0.25), (1, 2.0, 0.25), (3, 1.0, 0.5)):
        top5_p = np.array(
            [[1.0, 0, 0, 0, 0]] if prediction == 2 else [[0.5, p, 0, 0, 0]], dtype=np.float16
        )
        total.add(
            np.array([prediction]),
            np.array([p]),
            np.array([entropy]),
            np.array([p - 0.5]),
            np.array([top5[prediction]]),
            top5_p,
        )
    s = total.finish()
    assert s.n.tolist() == [4]
    assert s.x_perplexity.tolist() == [0.75]
    assert s.c_perplexity.tolist() == [2.0]
    assert s.mean_p_label.tolist() == [0.5]
    assert s.mean_margin.tolist() == [(0.5 - 0.25 - 0.25 + 0) / 4]
    assert s.label_quality[0] == pytest.approx(0.3, abs=1e-15)
    assert X_BINS[s.x_bin[0]] == "0.7-0.8"
    assert (s.top_confusion[0], s.top_confusion_share[0]) == (1, 0.5)
    # class 2 has one vote and probabilities 1 + .25 + .25 + .5, class 3 one vote and .5
    assert s.top5_x.classes.tolist() == [[1, 2, 3, -1, -1]]
    assert s.top5_x.values.tolist() == [[2, 1, 1, 0, 0]]
    # mean -p log2 p: class 2 (0 + .5 + .5 + .5) / 4, class 1 (.5 + .5) / 4, class 3 .5 / 4
    assert s.top5_c.classes.tolist() == [[2, 1, 3, -1, -1]]
    assert s.top5_c.values.tolist() == [[0.375, 0.25, 0.125, 0.0, 0.0]]


def test_c_is_the_geometric_mean_of_two_to_the_entropy() -> None:
    """C = prod(2 ** H_i) ** (1/N), the paper's formula: H = 0 and 3 bits give sqrt(1 * 8)."""
    _, c = x_and_c(np.zeros((2, 1), dtype=int), np.array([[0.0], [3.0]]), np.array([0]))
    assert c[0] == pytest.approx(math.sqrt(8), rel=1e-15)


def test_five_hundred_classifiers_do_not_overflow() -> None:
    """The product of 500 perplexities of 1,000 is 10**1500; the mean of logarithms is not
    bothered."""
    entropies = np.full((500, 1), np.log2(1000.0), dtype=np.float32)
    _, c = x_and_c(np.zeros((500, 1), dtype=np.int16), entropies, np.array([0]))
    assert c[0] == pytest.approx(1000, rel=1e-6)


def test_c_never_exceeds_the_number_of_classes() -> None:
    """float32(log2 M) may lie above log2 M, and 2 to it above M; C of a population of uniform
    answers is M at most all the same."""
    above = [
        classes for classes in range(2, 40) if 2.0 ** float(np.float32(np.log2(classes))) > classes
    ]
    assert above  # without the clip these would be more than M
    for classes in (10, *above):
        s = accumulate(np.zeros((3, 1, classes), dtype=np.float32), np.array([0])).finish()
        assert s.c_perplexity[0] <= classes
        assert s.c_perplexity[0] == pytest.approx(classes, rel=1e-6)


def test_held_out_scores_count_only_classifiers_that_did_not_see_the_example() -> None:
    """Predictions wrong, right, wrong, right; the first two saw example 0, all saw example 1, none
    saw example 2."""
    labels = np.zeros(3, dtype=np.int64)
    seen = np.array(
        [[True, True, False], [True, True, False], [False, True, False], [False, True, False]]
    )
    total = ScoreAccumulator(np.arange(3), labels, 2)
    for i, (prediction, entropy) in enumerate(((1, 1.0), (0, 1.0), (1, 0.5), (0, 0.5))):
        p = np.full(3, 0.25 if prediction else 0.75)
        top5 = np.tile([prediction, 1 - prediction, -1, -1, -1], (3, 1))
        total.add(
            np.full(3, prediction),
            p,
            np.full(3, entropy),
            2 * p - 1,
            top5,
            np.tile([0.75, 0.25, 0, 0, 0], (3, 1)),
            seen[i],
        )
    s = total.finish()
    assert s.n.tolist() == [4, 4, 4]
    assert s.n_heldout.tolist() == [2, 0, 4]
    np.testing.assert_array_equal(s.x_heldout, [0.5, NAN, 0.5])
    np.testing.assert_array_equal(s.x_insample, [0.5, 0.5, NAN])
    np.testing.assert_array_equal(s.c_heldout, [2**0.5, NAN, 2**0.75])
    np.testing.assert_array_equal(s.c_perplexity, [2**0.75] * 3)
    # quality: over the 2 held out (1 - (1 + .5)/3), else over all 4 (1 - (2 + .5)/5)
    np.testing.assert_allclose(s.label_quality, [0.5, 0.5, 0.5])
    assert s.x_perplexity.tolist() == [0.5] * 3


def test_label_quality_uses_the_held_out_classifiers_where_there_are_some() -> None:
    """The one classifier that saw the example is right (memorised); the one that did not is wrong:
    quality says suspicious."""
    labels = np.array([0])
    total = ScoreAccumulator(np.arange(1), labels, 2)
    right, wrong = np.array([[4.0, 0.0]]), np.array([[0.0, 4.0]])
    total.add_answers(answers_from_logits(right, labels), np.array([True]))
    total.add_answers(answers_from_logits(wrong, labels), np.array([False]))
    s = total.finish()
    p = float(answers_from_logits(wrong, labels).p_label[0])
    assert s.label_quality[0] == pytest.approx(1 - (1 + 1 - p) / 2, abs=1e-9)


def test_no_answer_counts_for_nothing() -> None:
    """Example 0 is answered by one of two classifiers, example 1 by none: its scores are undefined,
    not 0 or 1."""
    labels = np.array([0, 0])
    total = ScoreAccumulator(np.arange(2), labels, 3)
    total.add_answers(answers_from_logits(np.array([[0.0, 1.0, 0.0], [NAN, 0.0, 0.0]]), labels))
    total.add_answers(
        answers_from_logits(np.array([[NAN, 0.0, 0.0], [NAN, 0.0, 0.0]]), labels),
        np.array([False, True]),
    )
    s = total.finish()
    assert s.n.tolist() == [1, 0]
    assert s.n_heldout.tolist() == [-1, 0]  # of the one that answered it is not known
    assert s.x_perplexity[0] == 1.0
    for name in (
        "x_perplexity",
        "c_perplexity",
        "x_heldout",
        "c_heldout",
        "mean_p_label",
        "mean_margin",
        "label_quality",
    ):
        assert np.isnan(getattr(s, name)[1]), name
    assert (s.x_bin[1], s.top_confusion[1]) == (-1, -1)
    assert np.isnan(s.top_confusion_share[1])


def test_an_unlabelled_example_still_has_c_and_a_top_confusion() -> None:
    """X, p(label) and quality need a label; entropy and votes do not."""
    s = accumulate(np.array([[[0.0, 2.0, 0.0]]], dtype=np.float32), np.array([-1])).finish()
    assert np.isnan(
        [s.x_perplexity[0], s.mean_p_label[0], s.label_quality[0], s.x_heldout[0]]
    ).all()
    assert s.x_bin[0] == -1
    assert s.c_perplexity[0] > 1
    assert s.top_confusion[0] == 1


def test_top_confusion_ties_go_to_summed_probability_then_to_the_lowest_class() -> None:
    """Example 0: classes 3 and 1 have a vote each, class 3 has more probability. Example 1: equal
    in both, so class 1."""
    total = ScoreAccumulator(np.arange(2), np.zeros(2, dtype=int), 4)
    p = np.array([[0.75, 0.125, 0, 0, 0], [0.75, 0.125, 0, 0, 0]])
    total.add(
        np.array([3, 3]),
        np.zeros(2),
        np.ones(2),
        np.zeros(2),
        np.array([[3, 1, -1, -1, -1]] * 2),
        p,
    )
    q = np.array([[0.625, 0.125, 0, 0, 0], [0.75, 0.125, 0, 0, 0]])
    total.add(
        np.array([1, 1]),
        np.zeros(2),
        np.ones(2),
        np.zeros(2),
        np.array([[1, 3, -1, -1, -1]] * 2),
        q,
    )
    s = total.finish()
    assert s.top_confusion.tolist() == [3, 1]
    assert s.top5_x.classes[:, :2].tolist() == [[3, 1], [1, 3]]


def test_the_most_probable_class_need_not_be_the_most_voted() -> None:
    """Two classifiers vote for class 0 by .4 to .35, one for class 1 by .9: class 0 has two votes
    of three, class 1 has the larger mean. Equal means go to the lowest class."""
    p = np.array([[[0.4, 0.35, 0.25]] * 2, [[0.4, 0.35, 0.25]] * 2, [[0.05, 0.9, 0.05]] * 2])
    p[:, 1] = [[0.2, 0.5, 0.3], [0.2, 0.3, 0.5], [0.2, 0.4, 0.4]]
    frame = perplexity(p, np.array([0, 0]))
    assert frame["top_confusion"].tolist() == [0, 1]
    assert frame["top_probability"].tolist() == [1, 1]


def test_the_most_probable_class_is_that_of_all_probabilities_up_to_five_classes() -> None:
    """Oracle: the largest mean of all probabilities. Of twelve classes the answers keep five, so a
    class may come out that is not the largest, but none that lies further below it than what the
    fives leave out."""
    for classes in (3, 5, 12):
        logits = population(7, 9, 200, classes, scale=1.0).astype(np.float64)
        p = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
        mean, rows = p.mean(axis=0), np.arange(200)
        found = perplexity(p, np.zeros(200, dtype=int))["top_probability"].to_numpy()
        short = mean.max(axis=1) - mean[rows, found]
        left_out = 1 - np.sort(p, axis=2)[:, :, -5:].sum(axis=2).mean(axis=0)
        assert (short <= left_out + 1e-3).all()
        assert (short > 1e-3).any() == (classes == 12)


def test_votes_of_published_rows_give_their_x() -> None:
    """Golden: the parent's table lists X = .492 with 254 votes for the label, .252 with 374, .238
    with 381, of 500 classifiers."""
    for votes, x in ((254, 0.492), (374, 0.252), (381, 0.238)):
        predictions = np.array([0] * votes + [1] * (500 - votes), dtype=np.int16)[:, None]
        got, _ = x_and_c(predictions, np.zeros((500, 1), dtype=np.float32), np.array([0]))
        assert got[0] == x


@pytest.mark.parametrize("n", [1, 3, 7, 10, 30, 100, 500])
def test_x_bins_are_those_of_pandas_cut(n: int) -> None:
    """Oracle: pd.cut, right-closed, between the special bins {0} and {1}, for every X that n
    classifiers can give."""
    wrong = np.arange(n + 1)
    total = ScoreAccumulator(wrong, np.zeros(n + 1, dtype=np.int64), 2)
    zeros, none = np.zeros(n + 1), np.full((n + 1, 5), -1)
    for member in range(n):
        total.add(
            (member < wrong).astype(np.int64), zeros, zeros, zeros, none, np.zeros((n + 1, 5))
        )
    bins = total.finish().x_bin
    inner = pd.cut(wrong / n, [i / 10 for i in range(11)], labels=list(X_BINS[1:11])).astype(str)
    expected = np.where(wrong == 0, "0", np.where(wrong == n, "1", inner))
    assert [X_BINS[b] for b in bins] == expected.tolist()
    assert len(X_BINS) == 12


# --------------------------------------------------------------------------------------------- laws


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.integers(1, 6),
    st.integers(1, 12),
    st.floats(0.01, 60),
)
def test_scores_stay_in_their_ranges(
    seed: int, members: int, examples: int, classes: int, scale: float
) -> None:
    """X, mean p, quality and shares lie in [0, 1], C in [1, M], votes sum to n for M <= 5, whatever
    the logits."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, classes, examples)
    s = accumulate(
        population(seed, members, examples, classes, scale),
        labels,
        rng.random((members, examples)) < 0.5,
    ).finish()
    for name in (
        "x_perplexity",
        "x_heldout",
        "x_insample",
        "mean_p_label",
        "label_quality",
        "top_confusion_share",
    ):
        values = getattr(s, name)
        assert ((values >= 0) & (values <= 1) | np.isnan(values)).all(), name
    for name in ("c_perplexity", "c_heldout"):
        values = getattr(s, name)
        assert ((values >= 1) & (values <= classes) | np.isnan(values)).all(), name
    assert (np.abs(s.mean_margin[labels >= 0]) <= 1).all()
    if classes <= 5:
        assert (s.top5_x.values.sum(axis=1) == members).all()
        # float16 probabilities
        np.testing.assert_allclose(s.top5_c.values.sum(axis=1), np.log2(s.c_perplexity), atol=5e-3)


@settings(max_examples=40, deadline=None)
@given(
    st.data(), st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 7), st.integers(2, 8)
)
def test_order_partition_and_merge_tree_do_not_show_in_a_single_bit(
    data: st.DataObject, seed: int, members: int, examples: int, classes: int
) -> None:
    """Shuffle the classifiers, deal them to three accumulators, merge these in any order: every
    column is bit-identical."""
    rng = np.random.default_rng(seed)
    logits, labels = (
        population(seed, members, examples, classes),
        rng.integers(-1, classes, examples),
    )
    logits[rng.random((members, examples)) < 0.1] = np.nan
    seen = rng.random((members, examples)) < 0.5
    whole = accumulate(logits, labels, seen).finish()

    order = data.draw(st.permutations(range(members)))
    parts = [ScoreAccumulator(np.arange(examples), labels, classes) for _ in range(3)]
    for i in order:
        parts[data.draw(st.integers(0, 2))].add_answers(
            answers_from_logits(logits[i], labels), seen[i]
        )
    a, b, c = data.draw(st.permutations(parts))
    merged = a.merge(b).merge(c) if data.draw(st.booleans()) else c.merge(a.merge(b))
    assert column_bits(merged.finish()) == column_bits(whole)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(0, 2**32 - 1), st.integers(1, 10))
def test_a_subpopulation_is_the_accumulation_of_its_members_alone(
    data: st.DataObject, seed: int, members: int
) -> None:
    """Scores of some classifiers do not depend on which others there are."""
    logits, labels = population(seed, members, 5, 6), np.arange(5)
    chosen = data.draw(st.sets(st.integers(0, members - 1), min_size=1))
    table = perplexity(logits[sorted(chosen)], labels)
    alone = accumulate(logits[sorted(chosen)], labels).finish()
    assert np.array_equal(table["x_perplexity"], alone.x_perplexity)
    assert np.array_equal(table["c_perplexity"], alone.c_perplexity)


@settings(max_examples=30, deadline=None)
@given(st.data(), st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_blocks_of_examples_concatenate_to_the_whole(
    data: st.DataObject, seed: int, examples: int
) -> None:
    """An example's scores depend on nothing but its own answers."""
    logits, labels = (
        population(seed, 4, examples, 6),
        np.random.default_rng(seed).integers(0, 6, examples),
    )
    cut = data.draw(st.integers(0, examples))
    whole = accumulate(logits, labels).finish()
    blocks = []
    for part in (slice(0, cut), slice(cut, examples)):
        total = ScoreAccumulator(
            np.arange(examples)[part], labels[part], 6, log_prior=log_shares(labels, 6)
        )
        for outputs in logits:
            total.add_answers(answers_from_logits(outputs[part], labels[part]))
        blocks.append(total.finish())
    assert column_bits(ScoreTable.concatenate(blocks)) == column_bits(whole)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 600), st.integers(1, 5))
def test_x_and_c_are_the_accumulators_bit_for_bit(seed: int, members: int, examples: int) -> None:
    """The fast path is the same function: also past 255 classifiers, where its 8-bit counters are
    emptied."""
    rng = np.random.default_rng(seed)
    predictions = rng.integers(-1, 5, (members, examples)).astype(np.int16)
    entropies = (rng.random((members, examples)) * np.log2(5)).astype(np.float32)
    entropies[predictions < 0] = np.nan
    labels = rng.integers(-1, 5, examples)
    total = ScoreAccumulator(np.arange(examples), labels, 5)
    zeros, top5 = np.zeros(examples), np.full((examples, 5), -1)
    for prediction, entropy in zip(predictions, entropies, strict=True):
        total.add(prediction, zeros, entropy, zeros, top5, np.zeros((examples, 5)))
    s = total.finish()
    x, c = x_and_c(predictions, entropies, labels)
    assert x.tobytes() == s.x_perplexity.tobytes()
    assert c.tobytes() == s.c_perplexity.tobytes()


def test_fixed_point_is_within_its_stated_error_of_exact_arithmetic() -> None:
    """Against math.fsum of the same float32 entropies: the mean is off by at most 2**-33 bits, as
    the module says."""
    entropies = (np.random.default_rng(0).random((500, 20)) ** 8 * 9.96).astype(np.float32)
    _, c = x_and_c(np.zeros((500, 20), dtype=np.int16), entropies, np.zeros(20, dtype=int))
    exact = [2 ** (math.fsum(map(float, column)) / 500) for column in entropies.T]
    np.testing.assert_allclose(c, exact, rtol=math.log(2) * 2**-33 + 1e-15)
    assert FIXED_ONE == 2.0**32


def test_a_float_sum_would_not_pass_the_order_test() -> None:
    """Twin of the order law: summed as float32, the same entropies give other bits in another
    order. So the law can fail."""
    entropies = np.random.default_rng(0).random((20, 500)).astype(np.float32)
    forwards, backwards = (
        np.cumsum(entropies, axis=1)[:, -1],
        np.cumsum(entropies[:, ::-1], axis=1)[:, -1],
    )
    assert (forwards != backwards).any()


# ----------------------------------------------------------------------------- oracles and the past


def test_scores_agree_with_a_plain_loop() -> None:
    """Oracle: the formulas of the paper written as loops over classifiers and examples."""
    members, examples, classes = 7, 25, 8
    logits, labels = (
        population(5, members, examples, classes),
        np.random.default_rng(5).integers(0, classes, examples),
    )
    s = accumulate(logits, labels).finish()
    for e in range(examples):
        votes, wrong, entropy, surprise = [0] * classes, 0, 0.0, np.zeros(classes)
        for i in range(members):
            z = logits[i, e].astype(float)
            p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
            wrong += int(p.argmax() != labels[e])
            votes[int(p.argmax())] += 1
            entropy -= sum(q * math.log2(q) for q in p)
            for k in np.argsort(-p)[:5]:
                surprise[k] -= p[k] * math.log2(p[k])
        assert s.x_perplexity[e] == wrong / members
        assert s.c_perplexity[e] == pytest.approx(2 ** (entropy / members), rel=1e-6)
        assert votes[s.top_confusion[e]] == max(votes)
        assert s.top5_c.values[e] == pytest.approx(np.sort(surprise / members)[::-1][:5], abs=1e-3)


def test_mean_p_label_and_margin_are_cleanlabs_ensemble_of_one() -> None:
    """Oracle: cleanlab's self-confidence and normalised margin ((p(label) - best other + 1) / 2) of
    a single classifier."""
    rank = pytest.importorskip("cleanlab.rank")
    probabilities = np.random.default_rng(1).dirichlet(np.ones(6), 50)
    labels = np.random.default_rng(2).integers(0, 6, 50)
    table = perplexity(probabilities[None], labels)
    confidence = rank.get_label_quality_scores(labels, probabilities, method="self_confidence")
    margin = rank.get_label_quality_scores(labels, probabilities, method="normalized_margin")
    np.testing.assert_allclose(table["mean_p_label"], confidence, atol=1e-6)
    np.testing.assert_allclose((table["mean_margin"] + 1) / 2, margin, atol=1e-6)


def test_x_is_one_minus_the_mean_accuracy_of_torchmetrics() -> None:
    """Oracle: the mean of X over examples is the mean error of the classifiers."""
    functional = pytest.importorskip("torchmetrics.functional.classification")
    torch = pytest.importorskip("torch")
    logits, labels = population(6, 5, 80, 10), np.random.default_rng(6).integers(0, 10, 80)
    accuracies = [
        float(
            functional.multiclass_accuracy(
                torch.from_numpy(z), torch.from_numpy(labels), num_classes=10, average="micro"
            )
        )
        for z in logits
    ]
    assert perplexity(logits, labels)["x_perplexity"].mean() == pytest.approx(
        1 - np.mean(accuracies), abs=1e-6
    )


def steps(call: Callable[[], object]) -> int:
    """Lines of Python that a call carries out, in whatever module."""
    count = 0

    def trace(frame: object, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


def test_x_and_c_take_no_python_step_per_classifier_and_example() -> None:
    """1,000 classes, 250 classifiers: fewer lines of Python than examples; a loop takes more than
    there are cells."""
    rng = np.random.default_rng(0)
    predictions = rng.integers(0, 1000, (250, 8000)).astype(np.int16)
    entropies = (rng.random((250, 8000)) * 9).astype(np.float32)
    labels = rng.integers(0, 1000, 8000)

    def loop() -> None:
        for e in range(40):
            wrong, bits = 0, 0.0
            for i in range(250):
                wrong += predictions[i, e] != labels[e]
                bits += entropies[i, e]

    assert steps(lambda: x_and_c(predictions, entropies, labels)) < 8000
    assert steps(loop) > 40 * 250


# ---------------------------------------------------------------------- refusals of the accumulator


def one_answer(**changes: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "prediction": np.array([0, 1]),
        "p_label": np.array([0.5, 0.5]),
        "entropy": np.array([1.0, 1.0]),
        "margin": np.array([0.0, 0.0]),
        "top5": np.array([[0, 1, -1, -1, -1]] * 2),
        "top5_p": np.array([[0.5, 0.5, 0, 0, 0]] * 2),
    }
    return answer | changes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prediction": np.array([0])}, ["prediction has shape (1,)", "(2,)"]),
        ({"prediction": np.array([0, 2])}, ["prediction holds 2", "-1 to 1", "zoo fsck"]),
        ({"prediction": np.array([0, -2])}, ["prediction holds -2"]),
        ({"entropy": np.array([1.0, NAN])}, ["entropy holds nan"]),
        ({"entropy": np.array([1.0, 1.5])}, ["entropy holds 1.5"]),
        ({"p_label": np.array([1.5, 0.0])}, ["p_label holds 1.5"]),
        ({"p_label": np.array([NAN, 0.0])}, ["p_label holds nan"]),
        ({"margin": np.array([-2.0, 0.0])}, ["margin holds -2.0"]),
        ({"top5": np.array([[0, 5, -1, -1, -1]] * 2)}, ["top5 holds 5"]),
        ({"top5_p": np.array([[0.5, -0.5, 0, 0, 0]] * 2)}, ["top5_p holds -0.5"]),
        ({"top5_p": np.zeros((2, 4))}, ["top5_p has shape (2, 4)"]),
        ({"in_train": np.array([True])}, ["in_train has shape (1,)"]),
    ],
)
def test_damaged_answers_are_refused_and_nothing_is_counted(
    changes: dict[str, Any], words: list[str]
) -> None:
    """A class out of range would otherwise be counted for the next example; the accumulator is
    unchanged after the refusal."""
    total = ScoreAccumulator(np.arange(2), np.array([0, 1]), 2)
    with pytest.raises(DataError) as error:
        total.add(**one_answer(**changes))
    assert all(word in str(error.value) for word in words), str(error.value)
    assert total.finish().n.tolist() == [0, 0]
    assert total.add(**one_answer()).finish().n.tolist() == [1, 1]


def test_what_a_null_answer_holds_does_not_matter() -> None:
    """Prediction -1 with rubbish beside it is refused nowhere and counted nowhere."""
    total = ScoreAccumulator(np.arange(2), np.array([0, 1]), 2)
    total.add(
        **one_answer(
            prediction=np.array([0, -1]), entropy=np.array([1.0, NAN]), p_label=np.array([0.5, 9.0])
        )
    )
    assert total.finish().n.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("ids", "labels", "classes", "words"),
    [
        ([0, 0], [0, 0], 2, "an id twice"),
        ([0, 1], [0], 2, "Allowed: both [E]"),
        ([0, 1], [0, 2], 2, "labels holds 2"),
        ([0], [0], 40000, "Allowed: 1 to 32767"),
        ([0], [-1], 0, "0 classes"),
    ],
)
def test_blocks_that_make_no_sense_are_refused(
    ids: list[int], labels: list[int], classes: int, words: str
) -> None:
    """Ids are distinct, labels belong to the classes, classes fit the answers' 16 bits."""
    with pytest.raises(DataError, match=words.replace("[", r"\[").replace("]", r"\]")):
        ScoreAccumulator(np.array(ids), np.array(labels), classes)


def test_merging_other_examples_is_refused() -> None:
    """Scores are joined by example, never by position."""
    a, b = (ScoreAccumulator(np.array(ids), np.array([0, 1]), 2) for ids in ([0, 1], [1, 0]))
    with pytest.raises(DataError, match="examples, order, labels and classes must be equal"):
        a.merge(b)


def test_joining_no_blocks_or_blocks_of_other_classes_is_refused() -> None:
    """Scores of different class lists have nothing to do with each other."""
    two, three = (ScoreAccumulator(np.arange(1), np.array([0]), m).finish() for m in (2, 3))
    with pytest.raises(DataError, match=r"2 blocks of scores with \[2, 3\] classes"):
        ScoreTable.concatenate([two, three])
    with pytest.raises(DataError, match="0 blocks"):
        ScoreTable.concatenate([])


def test_a_block_fits_its_memory() -> None:
    """20 bytes per example and class: 256 MiB hold 13,000 examples of 1,000 classes; a block has at
    least one example."""
    assert 12_000 < block_rows(1000) < 14_000
    assert block_rows(1000, memory_bytes=1) == 1


# ---------------------------------------------------------------------------------------- the table


def test_the_arrow_table_has_the_documented_columns_in_order() -> None:
    """Names, order and types of the ``scores`` table are an interface."""
    names = (
        "split example_id key label label_true n x_perplexity c_perplexity n_heldout x_heldout"
        " c_heldout x_insample mean_p_label mean_margin label_quality logit_margin"
        " logit_margin_heldout logit_margin_prior mean_log_p mean_log_p_heldout label_perplexity"
        " mutual_information memorisation_gap data_oob aum forgetting el2n x_bin top_confusion"
        " top_confusion_share top_probability top5_x top5_c label_name top_confusion_name"
        " p_wrong expected_precision is_label_issue"
    )
    table = (
        accumulate(population(0, 2, 3, 4), np.array([0, 1, -1]))
        .finish()
        .to_arrow("train", ["a", "b", "c"])
    )
    assert table.schema.names == names.split()
    assert table.schema.equals(SCORES_SCHEMA)
    assert str(table.schema.field("top5_x").type.value_type) == "struct<class: int32, votes: int64>"
    assert (
        str(table.schema.field("top5_c").type.value_type) == "struct<class: int32, value: double>"
    )


def test_what_is_not_defined_is_null_in_the_table() -> None:
    """Unknown label or truth, no answer, nobody held out: null, never NaN or -1."""
    labels = np.array([0, -1, 1])
    logits = np.array([[[1.0, 0.0], [1.0, 0.0], [NAN, 0.0]]], dtype=np.float32)
    total = ScoreAccumulator(np.array([4, 5, 6]), labels, 2)
    total.add_answers(answers_from_logits(logits[0], labels), np.array([True, False, False]))
    rows = (
        total.finish()
        .to_arrow("test", ["a", "b", "c"], ["cat", "dog"], np.array([1, -1, -1]))
        .to_pylist()
    )
    measured = (
        *("c_perplexity", "mean_p_label", "mean_margin", "label_quality", "top5_c"),
        *("logit_margin", "logit_margin_prior", "mean_log_p", "label_perplexity"),
        "mutual_information",
    )
    assert all(rows[0][name] is not None for name in measured)
    of_all_together = ("p_wrong", "expected_precision", "is_label_issue")
    assert rows[0] | dict.fromkeys(measured) == dict.fromkeys([*SCORES, *of_all_together]) | {
        "split": "test",
        "example_id": 4,
        "key": "a",
        "label": 0,
        "label_true": 1,
        "label_name": "cat",
        "top_confusion_name": "cat",
        "n": 1,
        "x_perplexity": 0.0,
        "n_heldout": 0,
        "x_insample": 0.0,
        "x_bin": "0",
        "top_confusion": 0,
        "top_confusion_share": 1.0,
        "top_probability": 0,
        "top5_x": [{"class": 0, "votes": 1}],
    }
    assert [
        rows[1][k] for k in ("label", "label_true", "x_perplexity", "label_quality", "x_bin")
    ] == [None] * 5
    assert rows[1]["c_heldout"] > 1
    assert [
        rows[2][k]
        for k in (
            *("n", "c_perplexity", "top_confusion", "top_confusion_share", "top_probability"),
            *("top5_x", "top5_c"),
        )
    ] == [0] + [None] * 6
    assert [len(row["top5_c"]) for row in rows[:2]] == [2, 2]


def test_class_names_travel_with_the_table() -> None:
    """They lie in the schema's metadata as JSON; the columns are the same."""
    table = (
        accumulate(population(0, 1, 1, 2), np.array([0]))
        .finish()
        .to_arrow("test", ["a"], ["katt", "hund"])
    )
    assert table.schema.metadata == {b"class_names": b'["katt", "hund"]'}
    assert table.schema.equals(SCORES_SCHEMA, check_metadata=False)


@pytest.mark.parametrize(
    ("keys", "names", "truth", "words"),
    [
        (["a"], None, None, "keys has 1"),
        (["a", "b"], ["x"], None, "class_names has 1"),
        (["a", "b"], None, [0], "label_true has 1"),
    ],
)
def test_columns_of_another_length_are_refused(
    keys: list[str], names: list[str] | None, truth: list[int] | None, words: str
) -> None:
    """Keys, names and truths are those of the scored examples and classes."""
    table = accumulate(population(0, 1, 2, 2), np.array([0, 1])).finish()
    with pytest.raises(DataError, match=words):
        table.to_arrow("test", keys, names, None if truth is None else np.array(truth))


def test_an_empty_split_is_a_table_without_rows() -> None:
    """No examples, no error."""
    table = (
        ScoreAccumulator(np.zeros(0, dtype=int), np.zeros(0, dtype=int), 3)
        .finish()
        .to_arrow("test", [])
    )
    assert isinstance(table, pa.Table)
    assert table.num_rows == 0


# --------------------------------------------------------------------------------------- perplexity


def test_perplexity_of_arrays_worked_by_hand() -> None:
    """Two classifiers, one example, label 1: (.5, .5) predicts 0, (.25, .75) predicts 1. X = 1/2, C
    = 2 ** ((1 + .8113) / 2)."""
    table = perplexity(np.array([[[0.5, 0.5]], [[0.25, 0.75]]]), np.array([1]))
    h = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert table["x_perplexity"].tolist() == [0.5]
    assert table["c_perplexity"][0] == pytest.approx(2 ** ((1 + h) / 2), rel=1e-7)
    assert table["mean_p_label"].tolist() == [0.625]
    assert table["mean_margin"].tolist() == [0.25]
    assert table["x_bin"].tolist() == ["0.4-0.5"]
    assert table.index.name == "example_id"


def test_perplexity_takes_logits_and_probabilities_alike() -> None:
    """The softmax of the logits gives the same table, within the rounding of float32."""
    logits, labels = population(3, 4, 30, 6).astype(np.float64), np.arange(30) % 6
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    a, b = perplexity(logits, labels), perplexity(probabilities, labels)
    assert a.columns.tolist() == b.columns.tolist()
    np.testing.assert_allclose(a["c_perplexity"], b["c_perplexity"], rtol=1e-6)
    assert a["x_perplexity"].tolist() == b["x_perplexity"].tolist()
    assert detect_kind(logits[0]) == "logits"
    assert detect_kind(probabilities[0]) == "probs"
    assert detect_kind(np.log(probabilities[0])) == "logits"
    assert detect_kind(probabilities[0].astype(np.float16)) == "probs"


def test_perplexity_columns_follow_what_is_known() -> None:
    """Without labels only what needs none; with in_train also held-out and in-sample scores."""
    logits = population(0, 3, 4, 5)
    assert perplexity(logits).columns.tolist() == [
        "n",
        "c_perplexity",
        "mutual_information",
        "top_confusion",
        "top_confusion_share",
        "top_probability",
    ]
    seen = np.array([[True] * 4, [False] * 4, [False] * 4])
    table = perplexity(logits, np.zeros(4, dtype=int), in_train=seen)
    assert {
        "n_heldout",
        "x_heldout",
        "c_heldout",
        "x_insample",
        "label_quality",
        "label",
        "x_bin",
    } <= set(table.columns)
    assert table["n_heldout"].tolist() == [2] * 4


def test_perplexity_reads_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 3 examples, a list of arrays instead of one array, a memory map: the same table."""
    logits, labels = population(4, 3, 11, 4), np.arange(11) % 4
    whole = perplexity(logits, labels)
    monkeypatch.setattr(zoo.scores.from_arrays, "block_rows", lambda classes, memory_bytes: 3)
    pd.testing.assert_frame_equal(perplexity(logits, labels), whole)
    pd.testing.assert_frame_equal(perplexity(list(logits), labels), whole)


def test_a_masked_class_has_probability_nought() -> None:
    """A logit of -inf is a probability of 0 (classes masked out), not an error: three classes, one
    masked, the rest even: C = 2."""
    table = perplexity(np.array([[[0.0, -np.inf, 0.0]]]), np.array([2]))
    assert table["c_perplexity"].tolist() == [2.0]
    assert table["mean_p_label"].tolist() == [0.5]


def test_classes_taken_once_even_when_most_are_masked() -> None:
    """Six classes, five at -inf: the top 5 are the one class, then the others from the lowest, each
    once."""
    a = zoo.scores.outputs.answers_of(
        np.array([[-np.inf] * 3 + [0.0] + [-np.inf] * 2]),
        np.array([0]),
        kind="logits",
        finite=np.array([True]),
    )
    assert a.top5.tolist() == [[3, 0, 1, 2, 4]]
    assert a.top5_p.tolist() == [[1.0, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: perplexity(np.zeros(4)),
            ["shape (4,)", "[N, E, M]", "An array [E, M] is one classifier"],
        ),
        (lambda: perplexity(np.zeros((0, 3, 4))), ["shape (0, 3, 4)", "none of them 0"]),
        (
            lambda: perplexity([np.zeros((2, 3)), np.zeros((2, 4))]),
            ["2 arrays of shapes [(2, 3), (2, 4)]"],
        ),
        (lambda: perplexity("file.npy"), ["outputs are a str", "numpy"]),  # type: ignore[arg-type]
        (
            lambda: perplexity(np.zeros((1, 2, 3)), np.array([0, 3])),
            ["label 3 at example 1", "0 to 2"],
        ),
        (
            lambda: perplexity(np.zeros((1, 2, 3)), np.array([0])),
            ["labels have shape (1,)", "(2,)"],
        ),
        (
            lambda: perplexity(np.array([[[0.0, NAN]]])),
            ["classifier 0, example 0", "nan", "without NaN"],
        ),
        (
            lambda: perplexity(np.array([[[0.5, 0.5]], [[NAN, 0.5]]])),
            ["classifier 1, example 0", "nan", "taken as probs"],
        ),
        (
            lambda: perplexity(np.array([[[0.5, 0.5]], [[5.0, 0.5]]])),
            ["classifier 0 gives probs, classifier 1", "kind='logits'"],
        ),
        (
            lambda: perplexity(np.array([[[0.5, 0.6]]]), kind="probs"),
            ["classifier 0, example 0", "sum 1.1", "taken as probs"],
        ),
        (
            lambda: perplexity(np.zeros((1, 1, 2)), kind="odds"),
            ["kind 'odds'", "auto, logits, probs"],
        ),  # type: ignore[arg-type]
        (
            lambda: perplexity(np.zeros((1, 1, 2)), in_train=np.zeros(1)),
            ["in_train has shape (1,)", "(1, 1)"],
        ),
    ],
)
def test_perplexity_refuses_what_it_cannot_mean(call: Any, words: list[str]) -> None:
    """Wrong shapes, labels, kinds and numbers are usage errors with the value seen and what is
    allowed."""
    with pytest.raises(UsageError) as error:
        call()
    assert all(word in str(error.value) for word in words), str(error.value)


def test_logits_that_look_like_probabilities_can_be_said_to_be_logits() -> None:
    """kind='logits' overrides the guess: softmax of (.5, .5) is even, of (.25, .75) is not (.25,
    .75)."""
    values = np.array([[[0.25, 0.75]]])
    assert (
        perplexity(values)["c_perplexity"][0]
        != perplexity(values, kind="logits")["c_perplexity"][0]
    )
