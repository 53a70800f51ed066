"""How many labels are wrong: the counts by hand, and whether the interval holds what it should."""

from __future__ import annotations

import numpy as np
import pytest
from factories import UNREADABLE_TRAIN, Tiny

from tools.bench.label_count import coverage, simulated
from zoo.errors import UsageError
from zoo.scores.label_count import confident_joint, count_wrong, mixture, wrong_labels
from zoo.scores.population import choose_population


def test_the_confident_joint_by_hand() -> None:
    """Thresholds are the mean probabilities .7 (of .9, .8, .4) and .575 (of .9, .25): the third of
    the first class is sure to be of the second, the second of the second to be of the first."""
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.1, 0.9], [0.75, 0.25]])
    labels = np.array([0, 0, 0, 1, 1])
    # of class 0: two sure 0, one sure 1 (.6 is above .575); of class 1: one sure 1, one sure 0
    assert confident_joint(p, labels).tolist() == [[2.0, 1.0], [1.0, 1.0]]


def test_a_class_of_which_nothing_is_sure_is_taken_to_be_right() -> None:
    p = np.array([[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.4, 0.3, 0.3]])
    joint = confident_joint(p, np.array([0, 0, 2]))
    assert joint[2].tolist() == [0.0, 0.0, 1.0]
    assert joint.sum() == 3


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_classifiers_without_a_doubt_count_exactly(share: float) -> None:
    """Where they are sure, each label they deny is a wrong one."""
    wrong = round(100 * share)
    own = np.full((1, 100), 1 - 1e-6)
    own[0, :wrong] = 1e-6
    assert mixture(own, 5)[0] == pytest.approx(share, abs=1e-3)


def test_doubt_is_no_error() -> None:
    """Classifiers that waver between two classes, and labels that fall on either: none is wrong.
    The confident joint calls some so."""
    p = np.full((400, 4), 0.0)
    p[:, 0], p[:, 1] = 0.6, 0.4
    labels = (np.arange(400) % 10 >= 6).astype(np.int64)
    found = count_wrong(p[None], np.ones((1, 400), dtype=np.int64), labels, replicates=20)
    assert found.count < 2
    assert found.confident_joint > 100


def test_unknown_labels_and_answers_do_not_count() -> None:
    """Of four examples one has no label, one no held-out answer; with none left it is refused."""
    p = np.array([[[0.9, 0.1]] * 4])
    counts = np.array([[1, 1, 0, 1]])
    found = count_wrong(p, counts, np.array([0, -1, 0, 1]), replicates=2)
    assert (found.examples, found.accuracy, found.chance) == (2, 0.5, 0.5)
    with pytest.raises(UsageError, match="0 examples of 2 classes have held-out answers"):
        count_wrong(p, counts * 0, np.array([0, 0, 0, 1]))


def test_the_interval_holds_the_true_number_where_errors_fall_on_all_classes_alike() -> None:
    """At least 10 of 12 simulated sets. Where they fall on the class that looks alike, the count is
    too low: what the page says."""
    about = {"examples": 400, "classes": 5, "rate": 0.08, "strength": 2.5}
    found = coverage(12, confusing=False, **about)
    assert found["covered"] >= 10 / 12
    assert found["confident_joint"] > found["estimate"]
    alike = coverage(6, confusing=True, **about)
    assert alike["estimate"] < alike["true"]


def test_the_count_depends_on_nothing_but_its_numbers() -> None:
    """The same numbers, the same interval, whatever the order of the examples within a pixel of
    rounding."""
    sums, counts, labels, _ = simulated(
        0, examples=200, classes=4, rate=0.1, strength=2.5, confusing=False
    )
    first, second = (count_wrong(sums, counts, labels, replicates=20) for _ in range(2))
    assert first == second
    turned = count_wrong(sums[:, ::-1], counts[:, ::-1], labels[::-1].copy(), replicates=20)
    assert turned.count == pytest.approx(first.count)


def test_of_a_population_in_the_store(trained: Tiny) -> None:
    """Of the 58 readable examples those that some classifier held out; the count lies within its
    interval."""
    space = trained.workspace
    population = choose_population(space)
    labels = trained.dataset.splits["train"].labels
    found = wrong_labels(space, population, "train", labels)
    assert found is not None
    assert 0 < found.examples <= len(labels) - len(UNREADABLE_TRAIN)
    assert 0 <= found.low <= found.count <= found.high <= found.examples
    assert found.as_json()["strength"] in ("strong", "fair", "weak")
