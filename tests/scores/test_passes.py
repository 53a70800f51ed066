"""Detection per image pass: which parts of a population are drawn and what they cost, and confident
learning against the package cleanlab."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from factories import Tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tools.bench.detection import default_by_rule
from zoo import keyed
from zoo.errors import UsageError
from zoo.scores.confident import confident_joint, label_issues, normalized_margin, out_of_fold
from zoo.scores.from_store import score
from zoo.scores.passes import Taken, costs, cross_validated, detection_per_pass, parts
from zoo.scores.population import choose_population, population_of
from zoo.statistics import auroc

# Two trainings of three snapshots and one of one, 100 passes an epoch.
PEOPLE = {
    **{f"{name}-{epoch}": Taken(name, 100 * epoch) for name in "ab" for epoch in (1, 2, 3)},
    "c-3": Taken("c", 300),
}


def test_a_part_takes_the_snapshots_of_a_training_before_another_training() -> None:
    """In the keyed order of the trainings, last snapshots first; passes are those up to the last
    snapshot taken."""
    for draw in range(4):
        places = keyed.uniform(f"k/{draw}", np.arange(3))[:, 0]
        order = [
            name
            for place in np.argsort(places)
            for name in {0: ["a-3", "a-2", "a-1"], 1: ["b-3", "b-2", "b-1"], 2: ["c-3"]}[place]
        ]
        trainings = [name[0] for name in order]
        for size in range(1, 7):
            part = next(p for p in parts(PEOPLE, [size], 4, "k") if p.draw == draw)
            assert set(part.classifiers) == set(order[:size])
            assert part.image_passes == 300 * len(set(trainings[:size]))


def test_the_whole_population_is_one_part_and_sizes_have_limits() -> None:
    """However many draws; 0 and 8 of 7 are refused."""
    assert [p.draw for p in parts(PEOPLE, [7], 5, "k")] == [0]
    assert len({p.classifiers for p in parts(PEOPLE, [3], 20, "k")}) > 1
    for sizes, draws in (([0], 1), ([8], 1), ([1], 0)):
        with pytest.raises(UsageError, match="Allowed: 1 to 7 classifiers"):
            parts(PEOPLE, sizes, draws, "k")


def test_each_part_is_scored_as_a_population_of_its_own(trained: Tiny) -> None:
    """Against planted truth in the scores of the tiny store: the rows of a part are those of its
    own scores; costs are epochs x rows."""
    space = trained.workspace
    people = choose_population(space)

    def scores_of(names: tuple[str, ...]) -> pd.DataFrame:
        frame = score(space, population_of(space, people.fingerprint, names), "train").to_pandas()
        return frame.assign(label_true=(frame["label"] + (frame["example_id"] % 10 == 0)) % 3)

    taken = costs(space, people)
    # halves of 29 and the whole of 58 readable examples, at epochs 1 and 3
    assert {t.passes for t in taken.values()} == {29, 3 * 29, 58, 3 * 58}
    table = detection_per_pass(scores_of, taken, [1, 3, 12], draws=2)
    sizes = table[["n_classifiers", "draw"]].drop_duplicates().to_numpy().tolist()
    assert sizes == [[1, 0], [3, 0], [12, 0], [1, 1], [3, 1]]
    assert (table["answers"] == 60 * table["n_classifiers"]).all()
    whole = table[(table["n_classifiers"] == 12) & (table["score"] == "mean_p_label")].iloc[0]
    frame = scores_of(people.classifiers).dropna(subset=["mean_p_label"])
    wrong = (frame["label"] != frame["label_true"]).to_numpy()
    assert whole["auroc"] == pytest.approx(auroc(-frame["mean_p_label"].to_numpy(), wrong))
    assert whole["image_passes"] == sum(
        max(t.passes for t in taken.values() if t.training == training)
        for training in {t.training for t in taken.values()}
    )


# ---------------------------------------------------------------- the rule of the default


@pytest.mark.parametrize(
    ("gains", "covered", "chosen"),
    [
        ([0.03, 0.05, 0.04], True, True),
        ([0.03, 0.05, 0.04], False, False),  # not there for every example
        ([0.01, 0.20, -0.01], True, False),  # its interval holds 0
        ([0.10, 0.11, 0.10, 0.11, 0.10, 0.11, 0.10, -0.03], True, False),  # loses in one setting
    ],
)
def test_a_score_becomes_the_default_by_the_rule_alone(
    gains: list[float], covered: bool, chosen: bool
) -> None:
    """Its gain over label_quality is above 0 by its interval, it loses .02 nowhere, it is there
    wherever label_quality is; a smaller gain and a stranger's are passed over."""
    rows = [
        {"setting": at, "score": name, "average_precision": 0.5 + gain, "covered": here}
        for at, value in enumerate(gains)
        for name, gain, here in (
            ("label_quality", 0.0, True),
            ("mean_log_p", value, covered),
            ("mean_p_label", min(value, 0.0), True),
            ("cleanlab_ensemble", 0.3, True),
        )
    ]
    found, _ = default_by_rule(pd.DataFrame(rows))
    assert found == ("mean_log_p" if chosen else "label_quality")


# ---------------------------------------------------------------- confident learning


def noisy(seed: int, examples: int, classes: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, examples)
    z = rng.normal(0, 1.2, (examples, classes))
    z[np.arange(examples), truth] += 2
    p = np.exp(z)
    p /= p.sum(axis=1, keepdims=True)
    labels = np.where(rng.random(examples) < 0.2, rng.integers(0, classes, examples), truth)
    labels[:classes] = np.arange(classes)
    return labels, p


def test_the_confident_joint_by_hand() -> None:
    """Thresholds .7 (mean of .9 and .5) and .8. The first and last two reach their own; the second
    reaches neither. Label 0 has one confident example, which stands for both."""
    labels = np.array([0, 0, 1, 1, 1])
    p = np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.75, 0.25], [0.0, 1.0]])
    p[3] = [0.5, 0.5]
    assert confident_joint(labels, p).tolist() == [[2, 0], [0, 3]]
    p[3] = [0.75, 0.25]  # threshold of 1: (.9 + .25 + 1) / 3 = .717; it reaches .7, class 0
    assert confident_joint(labels, p).tolist() == [[2, 0], [1, 2]]
    assert label_issues(labels, p).tolist() == [False, False, False, True, False]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(40, 300), st.integers(2, 6))
def test_confident_learning_is_cleanlabs(seed: int, examples: int, classes: int) -> None:
    """Oracle: the joint, the flags and the order of find_label_issues by its defaults. Where the
    joint is rounded to whole numbers, a cell may be one more or less than there, and as many flags
    with it."""
    count = pytest.importorskip("cleanlab.count")
    filters = pytest.importorskip("cleanlab.filter")
    rank = pytest.importorskip("cleanlab.rank")
    labels, p = noisy(seed, examples, classes)
    joint, theirs = confident_joint(labels, p), count.compute_confident_joint(labels, p)
    assert joint.sum(axis=1).tolist() == np.bincount(labels).tolist()
    rounded = np.abs(joint - theirs)
    assert rounded.max() <= 1
    flags = filters.find_label_issues(labels, p, n_jobs=1)
    assert (label_issues(labels, p) != flags).sum() <= rounded.sum()
    np.testing.assert_allclose(
        normalized_margin(labels, p),
        rank.get_label_quality_scores(labels, p, method="normalized_margin"),
    )


def test_the_folds_are_put_together() -> None:
    """Two folds: each example from the one that did not train on it; with two, their mean; with
    none, nothing, and it is left out of the rows."""
    members = np.array([[[0.9, 0.1]] * 4, [[0.3, 0.7]] * 4])
    held = np.array([[True, False, True, False], [False, True, True, False]])
    p = out_of_fold(members, held)
    np.testing.assert_allclose(p[:3, 0], [0.9, 0.3, 0.6])
    assert np.isnan(p[3]).all()
    labels, p = noisy(0, 200, 3)
    truth = p.argmax(axis=1)
    p[0] = np.nan
    scores = pd.DataFrame({"example_id": np.arange(200), "label": labels, "label_true": truth})
    table = cross_validated(scores, p, classifiers=5, image_passes=4000).set_index("score")
    own = p[np.arange(200), labels]
    expected = auroc(-own[1:], labels[1:] != truth[1:])
    assert table.loc["cv_self_confidence", "auroc"] == pytest.approx(expected)
    assert table["n_errors"].tolist() == [int((labels[1:] != truth[1:]).sum())] * 2
    assert table["answers"].tolist() == [1000, 1000]
