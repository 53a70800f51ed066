"""The populations of study 2: their structure, and what the experiments on top share."""

from __future__ import annotations

import pytest

from zoo.scores.catalog import SINGLE
from zoo.spec import DatasetRef
from zoo.studies.load import load
from zoo.studies.populations import (
    HEADLINE,
    RETRAINED,
    SCALES,
    SCORING,
    Group,
    arms_on,
    budgets,
    data,
    part,
    population,
    retraining,
    single_run,
    words,
)

REF = DatasetRef(uri="x", fingerprint="y")


@pytest.mark.parametrize("scale", ["laptop", "gpu", "paper"])
def test_the_structure_is_the_papers(scale: str) -> None:
    """10 architectures x 10 training sets x 5 snapshots: 100 trainings, 500 classifiers; three
    independent draws of each fraction, so that an example is in 55 % of the training sets on
    average."""
    jobs = population(scale).expand(REF)
    assert len({job.arch for job in jobs}) == 10
    assert len({job.id for job in jobs}) == len(jobs) == 100
    assert sum(len(job.snapshots) for job in jobs) == 500
    fractions = [float(job.param("subsample", "fraction") or 1) for job in jobs]
    assert sum(fractions) / len(fractions) == pytest.approx(0.55)
    assert {fractions.count(f) for f in (0.25, 0.5, 0.75)} == {30}


def test_snapshots_are_spaced_evenly_or_the_last() -> None:
    assert population("laptop").snapshots == (2, 4, 6, 8, 10)
    assert population("laptop", last=True).snapshots == (6, 7, 8, 9, 10)
    assert population("paper").snapshots == (5, 10, 15, 20, 25)


def test_both_readings_are_the_same_trainings() -> None:
    """Other snapshots, no other training."""
    one, other = (population("laptop", last=last).expand(REF) for last in (False, True))
    assert [job.id for job in one] == [job.id for job in other]


@pytest.mark.parametrize("scale", ["laptop", "gpu"])
def test_what_scores_is_never_retrained(scale: str) -> None:
    assert not {RETRAINED[scale], HEADLINE[scale]} & set(SCORING.get(scale, SCORING["laptop"]))


def test_budgets_are_in_the_papers_proportion() -> None:
    """200 and 500 of 1,281: 156 and 390 of 1,000."""
    assert budgets("laptop") == (156, 390)
    assert budgets("paper") == (200, 500)


@pytest.mark.parametrize(("scale", "passes"), [("laptop", 63_488), ("paper", 20_000_000)])
def test_arms_take_the_same_number_of_passes(scale: str, passes: int) -> None:
    """Whatever they hold: steps x batch. The paper's: 40 epochs of 500,000 images."""
    recipe = retraining(scale, "any").recipe
    assert recipe.steps_per_epoch is not None
    assert recipe.steps_per_epoch * recipe.batch_size * recipe.epochs == pytest.approx(passes, 1e-3)


@pytest.mark.parametrize("scale", SCALES)
def test_parts_differ_in_their_labels_alone(scale: str) -> None:
    """Names by study and word, one population for each data set."""
    parts = [part("cleaning", scale, word) for word in words(scale)]
    assert [each.name for each in parts] == [f"cleaning-{word}" for word in words(scale)]
    assert all(each.dataset.startswith(data(scale, "clean")) for each in parts)
    assert all(each.sweeps == parts[0].sweeps for each in parts)


def test_equal_rules_are_one_selection() -> None:
    """Two groups and a selection that others refer to: three chains, of which two arms share one
    and one arm takes the named one; the whole set has no selection."""
    six, three = retraining("laptop", "any"), retraining("laptop", "any", seeds=3)
    made = arms_on(
        "sym20",
        [
            Group("first", {"baseline": "", "strict": "worst:share=0.2"}, six, "all"),
            Group(
                "drawn, 5 per class",
                {
                    "baseline": "per_class:count=5",
                    "strict, 20 %": "worst:like=sym20-strict,by=x",
                    "again": "per_class:count=5",
                },
                three,
                "5",
            ),
        ],
        {"strict": "worst:share=0.2"},
    )
    assert [rule.name for rule in made["selections"]] == [
        "sym20-strict",
        "sym20-baseline-5",
        "sym20-strict-20-5",
    ]
    first, second = made["arm_groups"]
    assert (first.name, second.name) == ("sym20: first", "sym20: drawn, 5 per class")
    assert [arm.selection for arm in first.arms] == [None, "sym20-strict"]
    assert [arm.selection for arm in second.arms] == [
        "sym20-baseline-5",
        "sym20-strict-20-5",
        "sym20-baseline-5",
    ]
    (rule,) = made["selections"][2].rules
    assert rule.params == {"like": "sym20-strict", "by": "x"}
    assert set(three.seeds) < set(six.seeds)


@pytest.mark.parametrize("scale", ["laptop", "gpu"])
def test_every_arm_of_cleaning_has_six_seeds(scale: str) -> None:
    """Grid, rivals, ladders, headline; rivals leave out as many as Model 2."""
    for each in load("cleaning", scale).each:
        assert {len(group.retraining.seeds) for group in each.arm_groups} == {6}
        rules = {rule.name: rule.rules[0] for rule in each.selections}
        rivals = [group for group in each.arm_groups if group.name.endswith("rivals")]
        asked = {
            rules[arm.selection].params.get("by")
            for group in rivals
            for arm in group.arms
            if arm.selection is not None and "like" in rules[arm.selection].params
        }
        assert not rivals or {"small_loss", "confident_issues", "mean_log_p", "x"} < asked
        assert (each.single is not None) == bool(rivals) == (set(SINGLE) < asked)


@pytest.mark.parametrize("scale", ["smoke", "laptop", "gpu"])
def test_the_single_training_is_none_of_the_population(scale: str) -> None:
    """One more, of a network that scores, on the whole set, with every epoch a snapshot."""
    single, many = single_run(scale), population(scale)
    (one,) = single.expand(REF)
    assert one.id not in {training.id for training in many.expand(REF)}
    assert one.arch in many.archs
    assert one.treatment == ()
    assert one.recipe == many.recipe
    assert one.snapshots == tuple(range(1, many.recipe.epochs + 1))
