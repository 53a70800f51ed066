"""The scores that label_quality is compared with: logarithms and margins, mutual information, the
memorisation gap, and what is worked out from the snapshots of a training; by hand, against plain
numpy on all probabilities, and from a store of small shards.

Letters: N classifiers, E examples, M classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tools.bench.scoring import synthetic_dataset
from zoo.errors import DataError, UsageError
from zoo.scores.accumulate import ScoreAccumulator, ScoreTable, Snapshot, log_shares
from zoo.scores.catalog import FLOOR
from zoo.scores.from_store import score
from zoo.scores.outputs import answers_from_probabilities
from zoo.scores.population import Population
from zoo.spec import classifier_id, training_and_epoch
from zoo.store import answers as store
from zoo.store import datasets
from zoo.store.origin import Origin
from zoo.store.query import query
from zoo.store.results import write_scores
from zoo.store.workspace import Workspace

LN2 = np.log(2.0)


def scored(
    p: NDArray[np.float64],
    labels: NDArray[np.int64],
    seen: NDArray[np.bool_] | None = None,
    snapshots: Sequence[Snapshot | None] | None = None,
    log_prior: NDArray[np.float64] | None = None,
    order: Sequence[int] | None = None,
) -> ScoreTable:
    """Scores of probabilities [N, E, M]; a row of NaN is no answer."""
    total = ScoreAccumulator(np.arange(p.shape[1]), labels, p.shape[2], log_prior=log_prior)
    for member in range(len(p)) if order is None else order:
        total.add_answers(
            answers_from_probabilities(p[member], labels),
            None if seen is None else seen[member],
            None,
            None if snapshots is None else snapshots[member],
        )
    return total.finish()


# ---------------------------------------------------------------- by hand

# Two classifiers on one example of label 0.
P = np.array([[[1 / 2, 1 / 4, 1 / 4]], [[1 / 8, 1 / 2, 3 / 8]]])


def test_margins_and_logarithms_by_hand() -> None:
    """p(label) 1/2 and 1/8, the next class 1/4 and 1/2: margins of 1 and -2 bits, mean -1/2; log2
    p of -1 and -3, mean -2, perplexity 4."""
    s = scored(P, np.array([0]))
    assert s.logit_margin.tolist() == pytest.approx([-0.5 * LN2], abs=1e-6)
    assert s.mean_log_p.tolist() == [-2.0]
    assert s.label_perplexity.tolist() == [4.0]


def test_a_prior_turns_a_margin_by_hand() -> None:
    """Shares 1/2, 1/4, 1/4: ratios 1, 1, 1 (margin 0) and 1/4, 2, 3/2 (margin log2 of 1/8, -3)."""
    s = scored(P, np.array([0]), log_prior=np.log([0.5, 0.25, 0.25]))
    assert s.logit_margin_prior.tolist() == pytest.approx([-1.5 * LN2], abs=1e-6)


def test_the_prior_is_the_share_of_the_given_labels() -> None:
    """Labels 0, 0, 1, unknown: shares 2/3 and 1/3, and class 2, which no example has, is no
    rival: for label 0, p (.3, .1, .6) has the margin log(.3 / (2/3)) - log(.1 / (1/3))."""
    labels = np.array([0, 0, 1, -1])
    assert np.exp(log_shares(labels, 3)).tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    s = scored(np.tile([0.3, 0.1, 0.6], (1, 4, 1)), labels)
    expected = np.log(0.3 / (2 / 3)) - np.log(0.1 / (1 / 3))
    assert s.logit_margin_prior[:2].tolist() == pytest.approx([expected] * 2, abs=1e-3)
    assert np.isnan(s.logit_margin_prior[3])


def test_where_only_one_class_has_examples_there_is_no_rival() -> None:
    """The margin over the prior is its limit, 48 bits, and finite."""
    s = scored(np.array([[[0.1, 0.9]]]), np.array([0]))
    assert s.logit_margin_prior.tolist() == pytest.approx([48 * LN2])


def test_a_probability_of_nought_counts_as_the_floor() -> None:
    """Certain and wrong: -24 bits; certain and right: 24. A certain miss among certain hits is
    bounded."""
    s = scored(np.array([[[1.0, 0.0]], [[0.0, 1.0]]])[[0, 0, 0, 1]], np.array([0]))
    assert s.mean_log_p.tolist() == [-6.0]
    assert s.logit_margin.tolist() == pytest.approx([12 * LN2])
    assert s.label_perplexity.tolist() == [64.0]
    worst = scored(np.array([[[1.0, 0.0]]]), np.array([1]))
    assert worst.mean_log_p.tolist() == [np.log2(FLOOR)] == [-24.0]
    assert worst.logit_margin.tolist() == pytest.approx([-24 * LN2])


def test_mutual_information_by_hand() -> None:
    """Two certain classifiers that contradict each other: one bit. Two that waver alike: none. A
    certain and an even one: mean (3/4, 1/4), .8113 bits, less their mean of 1/2."""
    certain, other, even = [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]
    for pair, bits in (
        ((certain, other), 1.0),
        ((even, even), 0.0),
        ((certain, certain), 0.0),
        ((certain, even), 0.8112781 - 0.5),
    ):
        s = scored(np.array(pair)[:, None], np.array([-1]))
        assert s.mutual_information.tolist() == pytest.approx([bits], abs=1e-6)


def test_the_memorisation_gap_and_data_oob_by_hand() -> None:
    """The classifier that was trained on it gives 1/2, the other 1/8 and another class."""
    s = scored(P, np.array([0]), np.array([[True], [False]]))
    assert s.memorisation_gap.tolist() == pytest.approx([3 / 8])
    assert s.data_oob.tolist() == [0.0]
    assert s.logit_margin_heldout.tolist() == pytest.approx([-2 * LN2], abs=1e-6)
    assert s.mean_log_p_heldout.tolist() == [-3.0]
    back = scored(P, np.array([0]), np.array([[False], [True]]))
    assert back.memorisation_gap.tolist() == pytest.approx([-3 / 8])
    assert back.data_oob.tolist() == [1.0]


# ---------------------------------------------------------------- snapshots of a training

# Five examples of label 0 at four snapshots: right, wrong, right, wrong; always right; never;
# wrong, right, wrong, right; right, right, wrong, wrong.
RIGHT = np.array(["RWRW", "RRRR", "WWWW", "WRWR", "RRWW"])
FORGOTTEN = [2.0, 0.0, 4.0, 1.0, 1.0]
COURSE = np.array([[[0.75, 0.25] if c == "R" else [0.25, 0.75] for c in row] for row in RIGHT])
COURSE = COURSE.transpose(1, 0, 2)  # [4, 5, 2]
FOUR = [Snapshot("a", index, 4) for index in range(4)]
ZEROS, SEEN = np.zeros(5, dtype=np.int64), np.ones((4, 5), dtype=bool)


@pytest.mark.parametrize("order", [*itertools.permutations(range(4))])
def test_forgetting_is_counted_in_the_order_of_epochs(order: tuple[int, ...]) -> None:
    """Whatever the order the snapshots are added in. Never right counts as the four snapshots."""
    s = scored(COURSE, ZEROS, SEEN, FOUR, order=order)
    assert s.forgetting.tolist() == FORGOTTEN
    # R is a margin of log2 3 bits, W of minus that; the mean of four
    share = np.array([(row.count("R") - row.count("W")) / 4 for row in RIGHT])
    np.testing.assert_allclose(s.aum, share * np.log(3), atol=1e-6)
    # 1/4 or 3/4 off in both coordinates, at the first snapshot
    first = np.array([0.25 if row[0] == "R" else 0.75 for row in RIGHT])
    np.testing.assert_allclose(s.el2n, first * 2**0.5, atol=1e-6)


def test_trainings_are_averaged_not_their_snapshots() -> None:
    """One of four snapshots and one of two, which is always right: forgotten half as often."""
    p = np.concatenate([COURSE, np.tile([0.75, 0.25], (2, 5, 1))])
    snapshots = [*FOUR, Snapshot("b", 0, 2), Snapshot("b", 1, 2)]
    s = scored(p, ZEROS, np.ones((6, 5), dtype=bool), snapshots)
    assert s.forgetting.tolist() == [f / 2 for f in FORGOTTEN]
    alone = scored(COURSE, ZEROS, SEEN, FOUR).aum
    np.testing.assert_allclose(s.aum, (alone + np.log(3)) / 2, atol=1e-6)


def test_only_trainings_that_trained_on_an_example_count() -> None:
    """Held out, of unknown membership, without an answer at one snapshot: null; so is a training
    some of whose snapshots are not there, and a snapshot of none."""
    seen = SEEN.astype(np.int8)
    seen[:, 0], seen[:, 1], seen[2, 2] = 0, -1, -1
    p = COURSE.copy()
    p[1, 3] = np.nan
    s = scored(p, ZEROS, seen, FOUR)  # type: ignore[arg-type]
    for name in ("forgetting", "aum", "el2n"):
        values = getattr(s, name)
        assert np.isnan(values[:4]).all()
        assert not np.isnan(values[4])
        for missing in (
            scored(p, ZEROS, None, FOUR),
            scored(p, ZEROS, SEEN, FOUR, order=[0, 1, 3]),
            scored(p, ZEROS, SEEN, [None] * 4),
        ):
            assert np.isnan(getattr(missing, name)).all()


def test_a_snapshot_twice_is_refused() -> None:
    """Before or after its training is complete, and in what is merged; nothing is counted then."""
    for added in ([0, 1, 1], [0, 1, 2, 3, 2]):
        with pytest.raises(DataError, match="snapshot of training a was added twice"):
            scored(COURSE, ZEROS, SEEN, FOUR, order=added)

    def part(members: list[int]) -> ScoreAccumulator:
        total = ScoreAccumulator(np.arange(5), ZEROS, 2)
        for member in members:
            answers = answers_from_probabilities(COURSE[member], ZEROS)
            total.add_answers(answers, SEEN[member], None, FOUR[member])
        return total

    for one, two in (([0, 1], [1]), ([0, 1, 2, 3], [3]), ([0, 1, 2, 3], [0, 1, 2, 3])):
        total = part(one)
        with pytest.raises(DataError, match="added twice"):
            total.merge(part(two))
        assert total.finish().n.tolist() == [len(one)] * 5
    assert part([2, 0]).merge(part([3, 1])).finish().forgetting.tolist() == FORGOTTEN


def test_a_classifiers_id_says_its_training_and_epoch() -> None:
    """An imported classifier's says none, whatever its name."""
    assert training_and_epoch(classifier_id("0123456789abcdef", 12)) == ("0123456789abcdef", 12)
    assert training_and_epoch("net-e0004-0123456789abcdef") is None


# ---------------------------------------------------------------- plain numpy on all probabilities


def reference(
    p: NDArray[np.float64],
    labels: NDArray[np.int64],
    seen: NDArray[np.bool_],
    log_prior: NDArray[np.float64] | None = None,
) -> dict[str, NDArray[np.float64]]:
    """What the definitions say, from all probabilities [N, E, M]; NaN where there is no answer or
    no label."""
    n, examples, classes = p.shape
    own = np.where(labels >= 0, p[:, np.arange(examples), np.maximum(labels, 0)], np.nan)
    mine = np.eye(classes, dtype=bool)[np.maximum(labels, 0)]  # [E, M]
    log = np.log(np.maximum(p, FLOOR))
    log_own = np.log(np.maximum(own, FLOOR))
    shares = np.exp(log_shares(labels, classes) if log_prior is None else log_prior)
    over = np.full(p.shape, -np.inf)
    over[..., shares > 0] = log[..., shares > 0] - np.log(shares[shares > 0])
    margin = log_own - np.where(mine, -np.inf, log).max(axis=2)
    with np.errstate(divide="ignore"):
        prior = log_own - np.log(shares[np.maximum(labels, 0)])
    prior = np.clip(prior - np.where(mine, -np.inf, over).max(axis=2), -48 * LN2, 48 * LN2)
    answered = ~np.isnan(p[..., 0])
    right = np.nanargmax(np.where(np.isnan(p), -1, p), axis=2) == labels

    def mean(values: NDArray[np.float64], which: NDArray[np.bool_]) -> NDArray[np.float64]:
        which = which & answered
        with np.errstate(invalid="ignore"):
            found = np.where(which, values, 0).sum(axis=0) / which.sum(axis=0)
        return np.where(labels >= 0, found, np.nan)

    everyone = np.ones(seen.shape, dtype=bool)
    mean_p = np.where(answered[..., None], p, 0).sum(axis=0) / answered.sum(axis=0)[:, None]
    surprise = -(p * np.log2(np.maximum(p, 1e-300))).sum(axis=2)
    bits = np.where(answered, surprise, 0).sum(axis=0) / answered.sum(axis=0)
    return {
        "logit_margin": mean(margin, everyone),
        "logit_margin_heldout": mean(margin, ~seen),
        "logit_margin_prior": mean(prior, everyone),
        "mean_log_p": mean(log_own / LN2, everyone),
        "mean_log_p_heldout": mean(log_own / LN2, ~seen),
        "label_perplexity": np.exp2(-mean(log_own / LN2, everyone)),
        "mutual_information": -(mean_p * np.log2(np.maximum(mean_p, 1e-300))).sum(axis=1) - bits,
        "memorisation_gap": mean(own, seen) - mean(own, ~seen),
        "data_oob": mean(right * 1.0, ~seen),
        "aum": mean(margin, seen),
        "el2n": mean(np.sqrt(((p - mine) ** 2).sum(axis=2)), seen & (np.arange(n) == 0)[:, None]),
    }


def some(seed: int, classes: int, scale: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Probabilities [5, 30, M] with answers missing, labels with some unknown."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, scale, (5, 30, classes))
    p = np.exp(z - z.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    p[rng.random((5, 30)) < 0.1] = np.nan
    p[0, :3] = np.nan
    return p, rng.integers(-1, classes, 30)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 5]), st.sampled_from([0.5, 2.0, 6.0]))
def test_up_to_five_classes_scores_are_those_of_all_probabilities(
    seed: int, classes: int, scale: float
) -> None:
    """To the precision that answers keep: logarithms 2**-10 where the smaller probability is above
    2**-14 and 2**-24 / p below; bits of the mean .004 log2 M."""
    p, labels = some(seed, classes, scale)
    seen = np.tile(np.random.default_rng(seed).random(30) < 0.6, (5, 1))
    snapshots = [Snapshot("a", index, 5) for index in range(5)]
    s, expected = scored(p, labels, seen, snapshots), reference(p, labels, seen)
    answered = ~np.isnan(p[..., 0])
    # a training counts where it answered at every snapshot
    whole = seen[0] & answered.all(axis=0) & (labels >= 0)
    smallest = np.maximum(np.sort(np.nan_to_num(p, nan=1.0), axis=2)[..., -2].min(axis=0), FLOOR)
    if classes > 2:  # a rival by the prior may be any class
        smallest = np.maximum(np.nan_to_num(p, nan=1.0).min(axis=(0, 2)), FLOOR)
    log = np.maximum(2.0**-10, 2.0**-24 / smallest) + 1e-6
    bounds = {
        **dict.fromkeys(("logit_margin", "logit_margin_heldout", "logit_margin_prior", "aum"), log),
        "mean_log_p": np.full(30, 1e-6),
        "mean_log_p_heldout": np.full(30, 1e-6),
        "label_perplexity": 1e-6 * np.nan_to_num(expected["label_perplexity"]) + 1e-6,
        "mutual_information": np.full(30, 0.004 * np.log2(classes) + 1e-6),
        "memorisation_gap": np.full(30, 1e-6),
        "data_oob": np.full(30, 1e-12),
        "el2n": np.full(30, 2.0**-10),
    }
    for name, bound in bounds.items():
        found, wanted = getattr(s, name), expected[name]
        if name in ("aum", "el2n"):
            wanted = np.where(whole, wanted, np.nan)
        if name == "mutual_information":
            wanted = np.where(answered.any(axis=0), wanted, np.nan)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted), err_msg=name)
        assert (np.nan_to_num(np.abs(found - wanted)) <= bound).all(), name
    right = np.where(answered, p.argmax(axis=2) == labels, False)
    times = (right[:-1] & ~right[1:]).sum(axis=0)
    times = np.where(right.any(axis=0), times, 5)
    np.testing.assert_array_equal(s.forgetting, np.where(whole, times, np.nan))


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(6, 30), st.sampled_from([0.3, 1.0, 3.0]))
def test_above_five_classes_what_is_not_kept_is_bounded(
    seed: int, classes: int, scale: float
) -> None:
    """Mutual information is within R log2(M - 1) + h(R), EL2N below by at most what the rest could
    add, the margin over the prior above by at most what a class outside the five could have; the
    plain margin and log p as before."""
    p, labels = some(seed, classes, scale)
    p = np.nan_to_num(p, nan=1 / classes)
    seen = np.ones((5, 30), dtype=bool)
    # every class has a share: a class without examples is no rival, listed or not
    log_prior = np.log(np.random.default_rng(seed).dirichlet(np.full(classes, 3.0)))
    s = scored(p, labels, seen, [Snapshot("a", index, 5) for index in range(5)], log_prior)
    expected, known = reference(p, labels, seen, log_prior), labels >= 0
    ordered = -np.sort(-p, axis=2)
    rest = ordered[..., 5:].sum(axis=2)  # [N, E]
    share = rest.mean(axis=0)
    h = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    bound = share * np.log2(classes - 1) + h + 0.004 * np.log2(classes)
    assert (np.abs(s.mutual_information - expected["mutual_information"]) <= bound).all()

    low, high = expected["el2n"] - s.el2n, np.sqrt(rest[0] * ordered[0, :, 4]) + 2.0**-10
    assert (low[known] >= -(2.0**-10)).all()
    assert (low[known] <= high[known]).all()

    least = np.exp(log_prior.min())
    over = np.log(np.maximum(ordered[..., 4] / least / np.maximum(ordered[..., 1], FLOOR), 1))
    gap = s.logit_margin_prior - expected["logit_margin_prior"]
    smallest = np.maximum(p.min(axis=(0, 2)), FLOOR)
    log = np.maximum(2.0**-10, 2.0**-24 / smallest) + 1e-6
    assert (gap[known] >= -log[known]).all()
    assert (gap[known] <= (over.mean(axis=0) + log)[known]).all()
    for name in ("logit_margin", "aum"):
        assert (np.abs(getattr(s, name) - expected[name]) <= log)[known].all()
    np.testing.assert_allclose(s.mean_log_p, expected["mean_log_p"], atol=1e-6)


@pytest.mark.parametrize("sure", [1.0, 4.0, 8.0, 9.5, 12.0, 16.0, 20.0])
def test_the_margin_of_logits_is_recovered_from_the_answer(sure: float) -> None:
    """Logits 0 and -sure: for either label the margin is sure or -sure nats, off by no more than
    the module says; past 24 bits it stays there."""
    p = np.array([[[1.0, np.exp(-sure)]]]) / (1 + np.exp(-sure))
    limit = 24 * LN2
    bound = max(2.0**-10, 2.0**-24 / max(p.min(), FLOOR))
    for label, margin in ((0, sure), (1, -sure)):
        found = float(scored(p, np.array([label])).logit_margin[0])
        assert abs(found - np.clip(margin, -limit, limit)) <= bound


# ---------------------------------------------------------------- from a store


def test_a_store_gives_the_scores_of_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards of eight examples, the snapshots of a training in two fills, last epochs first: every
    column as from one block in memory, to the bit. A part of the population has its own
    snapshots."""
    monkeypatch.setattr(store, "SMALL_SHARD", 8)
    space, dataset = Workspace.open(tmp_path, create=True), synthetic_dataset(30, 7)
    datasets.commit_dataset(space, dataset, {})
    labels = dataset.splits["train"].labels
    rng = np.random.default_rng(5)
    names = [
        *(classifier_id("0" * 16, epoch) for epoch in (2, 4, 6)),
        *(classifier_id("1" * 16, epoch) for epoch in (2, 4)),
        classifier_id("2" * 16, 4),
    ]
    p = rng.dirichlet(np.full(7, 0.3), (6, 30))
    seen = (rng.random((3, 30)) < 0.6)[[0, 0, 0, 1, 1, 2]]
    for members in ((2, 4, 5), (0, 1, 3)):
        unit = store.AnswerUnit(
            *(dataset.fingerprint, "train", tuple(names[i] for i in members), 7, "c", False)
        )
        receipts = []
        for shard in store.shards(30, 1):
            part = slice(shard.start, shard.stop)
            own = [answers_from_probabilities(p[i, part], labels[part]) for i in members]
            nothing = np.zeros(shard.stop - shard.start, dtype=bool)
            receipts.append(
                store.write_part(
                    *(space.files, unit, shard, own, nothing, labels[part]),
                    seen[list(members), part],
                    None,
                )
            )
        store.commit_unit(space, unit, 30, 30, receipts)
    record = next(iter(space.commits.all("dataset").values()))

    def of_memory(members: list[int], snapshots: list[Snapshot | None]) -> ScoreTable:
        return scored(p[members], labels, seen[members], snapshots)

    first = [Snapshot("0" * 16, index, 3) for index in range(3)]
    second = [Snapshot("1" * 16, index, 2) for index in range(2)]
    for members, snapshots in (
        ([0, 1, 2, 3, 4, 5], [*first, *second, None]),
        ([0, 2, 4], [Snapshot("0" * 16, 0, 2), Snapshot("0" * 16, 1, 2), None]),
    ):
        population = Population(record, tuple(names[i] for i in members))
        found = score(space, population, "train")
        expected = of_memory(members, snapshots).to_arrow(
            "train", dataset.splits["train"].keys, dataset.class_names
        )
        for name in expected.column_names:
            assert (
                found.column(name).combine_chunks().equals(expected.column(name).combine_chunks())
            ), name
        assert found.column("aum").null_count < 30
    assert population.snapshots == {
        names[0]: Snapshot("0" * 16, 0, 2),
        names[2]: Snapshot("0" * 16, 1, 2),
    }


def test_a_table_of_before_can_be_read_and_says_what_it_lacks(tmp_path: Path) -> None:
    """Scores as an earlier zoo wrote them: their own columns are there, a column added since is
    named with the command that adds it."""
    space = Workspace.open(tmp_path, create=True)
    datasets.commit_dataset(space, synthetic_dataset(2), {})
    fingerprint = next(iter(space.commits.keys("dataset")))
    table = scored(P[:, [0, 0]], np.array([0, 1])).to_arrow("train", ["a", "b"])
    write_scores(space, table.drop_columns(["aum"]), Origin(fingerprint, "train", "p"), 2)
    assert query(space, "select mean_log_p from scores order by 1").column(0).to_pylist()[0] < 0
    with pytest.raises(UsageError, match=r"aum is a column of scores.*with 'zoo score'"):
        query(space, "select aum from scores")
