"""Laws of every score in the catalog, and of the catalog's mechanism: what is added up, and for
whom.

Letters: N classifiers, E examples, M classes.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from zoo.scores.accumulate import ScoreAccumulator, ScoreTable, Snapshot
from zoo.scores.catalog import (
    COURSES,
    DETECTORS,
    SCORES,
    SHORT_NAMES,
    SIDES,
    TERMS,
    Listed,
    Score,
    Sums,
    Term,
)
from zoo.scores.outputs import answers_from_logits, probabilities_of
from zoo.statistics import auroc
from zoo.store.schema import SCHEMA, SCORES_SCHEMA

N, E, M = 7, 40, 4


def logits(seed: int = 0, lean: float = 2.0) -> NDArray[np.float64]:
    """[N, E, M], leaning to class e mod M."""
    values = np.random.default_rng(seed).normal(0, 2, (N, E, M))
    values[:, np.arange(E), np.arange(E) % M] += lean
    return values


# every tenth is wrong
LABELS = np.where(np.arange(E) % 10 == 3, (np.arange(E) + 1) % M, np.arange(E) % M)
# A training of three snapshots, one of two, two of one; the snapshots of a training saw the same.
TRAININGS = [0, 0, 0, 1, 1, 2, 3]
SNAPSHOTS = [
    *(Snapshot("first", index, 3) for index in range(3)),
    *(Snapshot("second", index, 2) for index in range(2)),
    None,
    None,
]
SEEN = (np.random.default_rng(1).random((4, E)) < 0.5)[TRAININGS]


def table(
    order: list[int] | None = None,
    labels: NDArray[np.int64] = LABELS,
    scores: dict[str, Score] | None = None,
) -> ScoreTable:
    total = ScoreAccumulator(np.arange(E), labels, M, SCORES if scores is None else scores)
    for member in order or range(N):
        total.add_answers(
            answers_from_logits(logits()[member], labels),
            SEEN[member],
            probabilities_of(logits()[member], "logits"),
            SNAPSHOTS[member],
        )
    return total.finish()


def parts(column: object) -> list[NDArray[np.float64]]:
    """A column as arrays, a list column as its two."""
    return [
        np.asarray(part, dtype=np.float64)
        for part in (column if isinstance(column, Listed) else (column,))
    ]


@pytest.mark.parametrize("name", SCORES)
def test_a_score_does_not_depend_on_the_order_of_classifiers(name: str) -> None:
    """Backwards, and merged from two halves that share out the snapshots of a training, every
    column is the same to the last bit."""
    whole = table()
    halves = [ScoreAccumulator(np.arange(E), LABELS, M) for _ in range(2)]
    for member in range(N):
        answers = answers_from_logits(logits()[member], LABELS)
        halves[member % 2].add_answers(
            answers,
            SEEN[member],
            probabilities_of(logits()[member], "logits"),
            SNAPSHOTS[member],
        )
    for other in (table([*range(N)][::-1]), halves[1].merge(halves[0]).finish()):
        for one, two in zip(parts(whole.columns[name]), parts(other.columns[name]), strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", SCORES)
def test_a_score_lies_in_the_range_that_its_unit_names(name: str) -> None:
    """'0 to 1' and the like are checked on a population; M stands for the classes, S for the
    snapshots of a training."""
    unit = SCORES[name].unit
    if not unit:
        assert SCORES[name].type != pa.float64(), "a number needs a unit"
        return
    letters = {"M": M, "log2 M": np.log2(M), "S": 3}
    low, high = (float(letters.get(end, end)) for end in unit.split(" to "))
    values = table().columns[name]
    assert np.nanmin(values) >= low
    assert np.nanmax(values) <= high


@pytest.mark.parametrize("name", SCORES)
def test_a_score_reads_no_sum_but_those_it_declares(name: str) -> None:
    """Computed from an accumulator that adds up for it alone, it is the same: what it uses is
    declared."""
    alone, together = table(scores={name: SCORES[name]}), table()
    for one, two in zip(parts(alone.columns[name]), parts(together.columns[name]), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_null_where_what_it_needs_is_not_known(name: str) -> None:
    """Without labels, what needs labels is null everywhere, and nothing else is; without membership
    or answers likewise."""
    score = SCORES[name]
    unlabelled = table(labels=np.full(E, -1)).columns[name]
    bare = ScoreAccumulator(np.arange(E), LABELS, M)
    bare.add_answers(answers_from_logits(logits()[0], LABELS))
    unasked = bare.finish().columns[name]
    for need, column in (
        ("labels", unlabelled),
        ("membership", unasked),
        ("logits", unasked),
        ("snapshots", unasked),
    ):
        values = parts(column)[0]
        null = np.isnan(values) if SCORES[name].type == pa.float64() else values < 0
        if need in score.needs:
            assert null.all(), need
    if not score.needs:
        assert not np.isnan(parts(unasked)[0]).any()
    assert table().to_arrow("train", [str(i) for i in range(E)]).column(name).type == score.type


@pytest.mark.parametrize("name", SIDES)
def test_a_score_with_a_suspicious_side_finds_wrong_labels_on_it(name: str) -> None:
    """Every tenth label is wrong, the classifiers lean to the right ones: on its side every score
    that looks at labels is better than chance."""
    values = SIDES[name] * table().columns[name]
    usable = ~np.isnan(values)
    measured = auroc(values[usable], (np.arange(E) % M != LABELS)[usable])
    assert measured > 0.5 or "labels" not in SCORES[name].needs
    assert DETECTORS[name] == SIDES[name]


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_a_column_in_words(name: str) -> None:
    """zoo schema says its words and unit; the table has its type; a short name leads back to it."""
    score = SCORES[name]
    assert SCHEMA["scores"].columns[name].words == score.text
    assert SCORES_SCHEMA.field(name).type == score.type
    assert score.words
    assert not score.short or SHORT_NAMES[score.short] == name
    for use in score.uses:
        assert use.partition("@")[0] in {"n", *TERMS, *score.terms, *COURSES, *score.courses}


def test_a_score_may_need_all_probabilities() -> None:
    """A term of all M probabilities is summed where they are at hand; one classifier without them
    makes the column null, not wrong."""

    def second(sums: Sums) -> NDArray[np.float64]:
        return sums.mean("second", needs_label=False)

    own = {
        "second": Score(
            second,
            "mean second largest probability",
            uses=("second",),
            needs=frozenset({"logits"}),
            terms={
                "second": Term(
                    lambda given: np.sort(np.asarray(given.probabilities), axis=1)[:, -2]
                )
            },
        )
    }
    p = np.stack([probabilities_of(values, "logits") for values in logits()])
    expected = np.sort(p, axis=2)[:, :, -2].mean(axis=0)
    np.testing.assert_allclose(table(scores=own).second, expected, rtol=0, atol=1e-9)
    total = ScoreAccumulator(np.arange(E), LABELS, M, own)
    total.add_answers(answers_from_logits(logits()[0], LABELS), None, p[0])
    total.add_answers(answers_from_logits(logits()[1], LABELS), None, None)
    assert np.isnan(total.finish().second).all()


# ---------------------------------------------------------------- membership that is not known


def membership(rows: list[list[int] | None]) -> ScoreTable:
    """Classifiers with the class of their number mod 2 on two examples of label 0; in_train per
    classifier: 1, 0, -1, or None."""
    total = ScoreAccumulator(np.arange(2), np.zeros(2, dtype=np.int64), 2)
    for member, row in enumerate(rows):
        p = 0.25 if member % 2 else 0.75
        values = np.log(np.tile([p, 1 - p], (2, 1)))
        total.add_answers(
            answers_from_logits(values, np.zeros(2)), None if row is None else np.array(row)
        )
    return total.finish()


def test_unknown_membership_is_neither_held_out_nor_in_sample() -> None:
    """Of classifiers right, wrong, right, wrong: unknown, held out, trained on, unknown. Only the
    second is held out, only the third in-sample."""
    s = membership([None, [0, 0], [1, -1], [-1, 1]])
    assert s.n.tolist() == [4, 4]
    assert s.n_heldout.tolist() == [1, 1]
    assert s.x_heldout.tolist() == [1.0, 1.0]
    assert s.x_insample.tolist() == [0.0, 1.0]
    assert s.x_perplexity.tolist() == [0.5, 0.5]
    assert s.label_quality.tolist() == pytest.approx([1 - (1 + 1 - 0.25) / 2] * 2)


def test_where_no_membership_is_known_the_count_is_null_and_quality_is_over_all() -> None:
    """n_heldout is null, not 0 and not n; held-out and in-sample scores are null; label quality is
    that of the whole population."""
    s = membership([None, None, [-1, -1]])
    assert s.n_heldout.tolist() == [-1, -1]
    assert np.isnan([s.x_heldout, s.c_heldout, s.x_insample]).all()
    assert s.label_quality.tolist() == pytest.approx(
        [1 - (1 + 1 - (0.75 + 0.25 + 0.75) / 3) / 4] * 2
    )
    assert s.to_arrow("train", ["a", "b"]).column("n_heldout").null_count == 2
    assert membership([[1, 1]]).n_heldout.tolist() == [0, 0]  # known, and none
