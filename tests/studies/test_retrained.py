"""Measures of retrained arms, each with an answer worked by hand, and each able to fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import pytest

from zoo.studies import retrained
from zoo.studies.claims import Finding, NotTested, equal
from zoo.studies.nested import rise, shells, validation_rows
from zoo.studies.results import Results
from zoo.studies.similarity import alike_beyond_chance, alike_when_disjoint

SEEDS = range(4)
JITTER = np.array([0.001, -0.001, 0.002, -0.002])


def arms(values: Mapping[str, Sequence[float]], on: str = "full") -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"part": "p", "arm_group": "g", "arm": arm, "seed": s, "on": on, "acc1": v, "acc5": v}
            for arm, mine in values.items()
            for s, v in zip(SEEDS, mine, strict=True)
        ]
    )


def around(**means: float) -> dict[str, Sequence[float]]:
    """Arms with a mean each; seed effects are common, plus a jitter of the arm's own, zero mean."""
    common = np.array([0.0, 0.03, -0.02, -0.01])
    return {
        arm: list(mean + common + np.roll(JITTER, n) / 10)
        for n, (arm, mean) in enumerate(means.items())
    }


def results(**tables: pd.DataFrame) -> Results:
    return Results(tables, scale="tiny", dataset="any")


def verdict(finding: Finding) -> str:
    return finding.evidence.verdict


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.001, -0.001, 0.002, -0.002], "holds"),  # 90 % interval +-.0021, margin .01
        ([0.03, 0.031, 0.029, 0.03], "fails"),
        ([0.03, -0.03, 0.02, -0.02], "undecided"),
        ([0.0, 0.0, 0.0, 0.0], "holds"),
    ],
)
def test_equal_within_a_margin(values: list[float], said: str) -> None:
    assert equal(values, 0.01).verdict == said


def test_equality_is_two_one_sided_tests_at_five_per_cent() -> None:
    """Mean 0, sd .01, n = 4: standard error .005; t(.95, 3) = 2.3534: 90 % interval +-.011767."""
    values = np.array([1, 1, -1, -1]) * 0.01 * np.sqrt(3) / 2
    assert equal(values, 0.01177).verdict == "holds"
    assert equal(values, 0.01176).verdict == "undecided"


def test_gains_of_all_arms() -> None:
    """Means .5, .52, .53: gains of .02 and .03, so above 0 and not above .025 for both."""
    table = results(arms=arms(around(base=0.5, a=0.52, b=0.53)))
    found = retrained.better("p", "g", ("a", "b"))(table)
    assert verdict(found) == "holds"
    assert found.values.mean() == pytest.approx(0.025)
    assert verdict(retrained.better("p", "g", ("a", "b"), least=0.025)(table)) == "fails"
    assert verdict(retrained.better("p", "g", ("b",), least=0.025)(table)) == "holds"


def test_arms_that_gain_too_little_or_no_more_than_another() -> None:
    """Gains of .02 and .03: both under .035, not both under .025; .01 apart."""
    table = results(arms=arms(around(base=0.5, a=0.52, b=0.53)))
    assert verdict(retrained.no_better("p", "g", ("a", "b"), most=0.035)(table)) == "holds"
    found = retrained.no_better("p", "g", ("a", "b"), most=0.025)(table)
    assert verdict(found) == "fails"
    assert found.values.mean() == pytest.approx(0.025)
    found = retrained.as_good("p", "g", {"b": "a"}, 0.015)(table)
    assert verdict(found) == "holds"
    assert found.values.mean() == pytest.approx(0.01)
    assert verdict(retrained.as_good("p", "g", {"b": "a"}, 0.005)(table)) == "fails"


def test_gains_that_add_up_to_another() -> None:
    """Parts of .02 and .01: they add up to .03 and not to .05; the first is ahead of the second,
    not the other way round, and of one as good it is not told."""
    found = results(
        arms=arms(around(base=0.5, whole=0.53, more=0.55, one=0.52, two=0.51, like_one=0.52))
    )
    for arm, said, left in (("whole", "holds", 0.0), ("more", "fails", 0.02)):
        finding = retrained.adds_up("p", "g", arm, ("one", "two"), 0.01)(found)
        assert verdict(finding) == said
        assert finding.values.mean() == pytest.approx(left, abs=1e-12)
    ahead = retrained.ahead("p", "g", "one", "two")(found)
    assert verdict(ahead) == "holds"
    assert ahead.values.mean() == pytest.approx(0.01, abs=1e-12)
    assert "one 2.0" in ahead.note
    assert "two 1.0" in ahead.note
    assert verdict(retrained.ahead("p", "g", "two", "one")(found)) == "fails"
    assert verdict(retrained.ahead("p", "g", "one", "like_one")(found)) == "undecided"


def test_an_arm_that_loses_on_a_test_set_of_its_own() -> None:
    """On the hard ones .2 of .3, on all .6 of .5."""
    parts = [arms(around(base=0.5, a=0.6)), arms(around(base=0.3, a=0.2), on="hard")]
    table = results(arms=pd.concat(parts))
    found = retrained.worse("p", "g", "a", on="hard", beside="base")(table)
    assert verdict(found) == "holds"
    assert found.values.mean() == pytest.approx(-0.1)
    assert found.note.startswith("Base there: 30.0")
    assert verdict(retrained.worse("p", "g", "a", on="full", beside="base")(table)) == "fails"


def test_arms_apart_and_falling() -> None:
    table = results(arms=arms(around(base=0.5, a=0.53, b=0.528, c=0.5)))
    assert verdict(retrained.apart("p", "g", ("a", "b"), 0.01)(table)) == "holds"
    assert verdict(retrained.apart("p", "g", ("a", "b", "c"), 0.01)(table)) == "fails"
    assert verdict(retrained.falling("p", "g", ("a", "c"))(table)) == "holds"
    assert verdict(retrained.falling("p", "g", ("c", "a"))(table)) == "fails"


def test_a_share_of_a_gain() -> None:
    """Gains .03 and .02: two thirds. At least .6 of it, not .9."""
    table = results(arms=arms(around(base=0.5, a=0.53, b=0.52)))
    assert verdict(retrained.same_gain("p", "g", "b", "a", share=0.6)(table)) == "holds"
    assert verdict(retrained.same_gain("p", "g", "b", "a", share=0.9)(table)) == "fails"
    assert verdict(retrained.share_of_best("p", "g", "b", ("a", "b"), share=0.9)(table)) == "fails"


def test_the_share_of_the_best_is_by_resampling_the_seeds() -> None:
    """The best gains .03 at every seed, the other .02 at two and .04 at two. A mean of four draws
    is .027 or more with two or more of .04: 11 of 16 resamples."""
    values = {"base": [0.5] * 4, "a": [0.53] * 4, "b": [0.52, 0.52, 0.54, 0.54]}
    table = results(arms=arms(values))
    found = retrained.share_of_best("p", "g", "b", ("a", "b"), share=0.9)(table)
    assert verdict(found) == "undecided"
    assert found.evidence.holds == pytest.approx(2 * 5 / 16, abs=0.03)
    assert found.evidence.fails == 1.0
    mild = retrained.share_of_best("p", "g", "b", ("a", "b"), share=0.6)(table)
    assert verdict(mild) == "holds"


def test_there_is_no_share_of_no_gain() -> None:
    table = results(arms=arms(around(base=0.5, a=0.499, b=0.48)))
    found = retrained.share_of_best("p", "g", "b", ("a", "b"), share=0.9)(table)
    assert verdict(found) == "undecided"
    assert "not above 0" in found.note


def test_the_first_step_is_the_biggest() -> None:
    """Steps .03, .01, -.02 for the ladder; the other way round .01 is first."""
    ladder = around(a=0.5, b=0.53, c=0.54, d=0.52)
    table = results(arms=arms(ladder))
    found = retrained.first_step_biggest("p", "g", ("a", "b", "c", "d"))(table)
    assert verdict(found) == "holds"
    assert found.values.mean() == pytest.approx(0.02)
    again = retrained.first_step_biggest("p", "g", ("d", "c", "b", "a"))(table)
    assert verdict(again) == "holds"  # .02, -.01, -.03
    assert (
        verdict(retrained.first_step_biggest("p", "g", ("c", "b", "d", "a"))(table)) == "undecided"
    )


def curves(values: Mapping[str, Sequence[float]], split: str = "train") -> pd.DataFrame:
    """One curve per arm, equal for all seeds but for a jitter."""
    return pd.DataFrame(
        [
            {
                "part": "p",
                "arm_group": "g",
                "arm": arm,
                "seed": seed,
                "split": split,
                "epoch": epoch,
                "acc1": v + jitter / 100,
            }
            for arm, mine in values.items()
            for seed, jitter in zip(SEEDS, JITTER, strict=True)
            for epoch, v in enumerate(mine, 1)
        ]
    )


def test_training_accuracies_in_order_after_the_first_epoch() -> None:
    """The first epoch is the other way round and does not count; with one crossing of three epochs
    two thirds are in order."""
    good = {"a": [0.5, 0.6, 0.7, 0.8], "b": [0.4, 0.65, 0.75, 0.85]}
    found = retrained.ordered_while_training("p", "g", ("a", "b"))(results(curves=curves(good)))
    assert verdict(found) == "holds"
    assert found.values.tolist() == [1.0] * 4
    crossing = {**good, "b": [0.4, 0.65, 0.65, 0.85]}
    found = retrained.ordered_while_training("p", "g", ("a", "b"))(results(curves=curves(crossing)))
    assert found.values.tolist() == pytest.approx([2 / 3] * 4)
    assert verdict(found) == "fails"


def test_epochs_to_a_fixed_test_accuracy() -> None:
    """The goal is .9 x .8 = .72: the first arm is there at epoch 4, the other at 2, a third
    never (counts as 5)."""
    table = curves(
        {"a": [0.2, 0.5, 0.6, 0.8], "b": [0.3, 0.75, 0.8, 0.8], "c": [0.1, 0.2, 0.3, 0.4]}, "test"
    )
    tables = results(curves=table, arms=arms(around(a=0.5, b=0.5, c=0.5)))
    found = retrained.steps_to("p", "g", ("b",))(tables)
    assert found.values.tolist() == [2.0] * 4
    assert verdict(found) == "holds"
    found = retrained.steps_to("p", "g", ("c",))(tables)
    assert found.values.tolist() == [-1.0] * 4
    assert "4 trainings never" in found.note
    assert verdict(found) == "fails"


def nested() -> Results:
    """100 test examples, 60 and 30 of them cleaned; accuracies .5, .6, .8 (shells .35, .4, .8)."""
    sets = {"full": (100, 0.5), "mild": (60, 0.6), "strict": (30, 0.8)}
    frames = [arms(around(base=accuracy), on) for on, (_, accuracy) in sets.items()]
    validation = pd.DataFrame(
        [
            {"part": "p", "on": on, "n": n, "kept": n / 100, "population": population}
            for (on, (n, _)), population in zip(sets.items(), (0.5, 0.7, 0.9), strict=True)
        ]
    )
    return results(arms=pd.concat(frames), validation=validation)


def test_accuracy_rises_along_nested_sets_less_than_the_populations() -> None:
    """Steps .1 and .2 of the arm, .2 and .2 of the population: rises, not beyond it."""
    assert verdict(rise("p", "g", ("base",))(nested())) == "holds"
    assert verdict(rise("p", "g", ("base",), beyond=True)(nested())) == "fails"


def test_shells_get_harder_outwards() -> None:
    """(50 - 36) / 40 = .35, (36 - 24) / 30 = .4, 24 / 30 = .8."""
    found = shells("p", "g", ("base",))(nested())
    assert verdict(found) == "holds"
    assert found.values.mean() == pytest.approx(0.8 - 0.35, abs=1e-3)
    assert "35.0, 40.0, 80.0" in found.note


def test_one_test_set_has_no_shells() -> None:
    one = nested()
    tables = {**one.tables, "validation": one.tables["validation"].iloc[:1]}
    with pytest.raises(NotTested, match="nothing is nested"):
        shells("p", "g", ("base",))(Results(tables, scale="tiny", dataset="any"))


def alike(pairs: Mapping[tuple[str, str], float]) -> Results:
    rows = [
        {
            "part": "p",
            "arm_group": "g",
            "measure": "kappa",
            "seed_a": seed,
            "arm_a": x,
            "arm_b": y,
            "similarity": k + jitter,
        }
        for (a, b), k in pairs.items()
        for x, y in {(a, b), (b, a)}
        for seed, jitter in zip(SEEDS, JITTER, strict=True)
    ]
    return results(similarities=pd.DataFrame(rows), arms=arms(around(base=0.5, m1=0.5, m2=0.5)))


def test_cleaned_networks_agree_more_with_each_other() -> None:
    """kappa .7 between the cleaned, .6 and .62 with the baseline: beyond by .09."""
    pairs = {
        ("base", "m1"): 0.6,
        ("base", "m2"): 0.62,
        ("m1", "m2"): 0.7,
        ("base", "base"): 0.61,
        ("m2", "m2"): 0.7,
    }
    found = alike_beyond_chance("p", "g", ("m1", "m2"))(alike(pairs))
    assert verdict(found) == "holds"
    assert found.values.mean() == pytest.approx(0.09)
    assert "Two seeds of base: 0.61" in found.note
    less = alike_beyond_chance("p", "g", ("m1", "m2"))(alike({**pairs, ("m1", "m2"): 0.5}))
    assert verdict(less) == "fails"


def test_networks_of_disjoint_draws() -> None:
    """kappa with the other draw: baseline .5, Model 1 .56, Model 3 .58, so .07 beyond; Model 2 .6
    is told. Where one of them is no more alike than the baseline, it fails; where they share
    examples, nothing is tested. Another arm of the group may share some."""
    kappas = {"baseline": 0.5, "m1": 0.56, "m2": 0.6, "m3": 0.58}

    def table(shared: int = 0, **changed: float) -> Results:
        rows = [
            {"part": "p", "arm": arm, "seed": seed, "shared": shared, "kappa": k + jitter}
            for n, (arm, k) in enumerate({**kappas, **changed}.items())
            for seed, jitter in zip(SEEDS, np.roll(JITTER, n), strict=True)
        ]
        rows += [{**row, "arm": "hardest", "shared": 9} for row in rows if row["arm"] == "m1"]
        return results(disjoint=pd.DataFrame(rows))

    measure = alike_when_disjoint("p", ("m1", "m3"), "baseline", "m2")
    found = measure(table())
    assert verdict(found) == "holds"
    assert found.values.mean() == pytest.approx(0.07)
    assert "m1 0.06" in found.note
    assert "m2, another draw by the same rule, 0.10" in found.note
    assert verdict(measure(table(m3=0.45))) == "fails"
    with pytest.raises(NotTested, match="share up to 3 examples"):
        measure(table(3))


def test_rows_of_charts() -> None:
    """A gain per arm, an arm without a result left out; the population is a reference line."""
    table = nested()
    placed = {"none": (0.0, "nothing"), "base": (1.0, "one")}
    rows = retrained.gain_rows(table, "p", "g", placed, "", "s")
    assert [(row["x"], row["x_text"], row["y"]) for row in rows] == [(1.0, "one", 0.0)]
    (row,) = retrained.gain_rows(table, "p", "g", ["none", "base"], "", "s")
    assert (row["x"], row["x_text"]) == (1.0, "base")
    lines = validation_rows(table, "p", "g", ["base"])
    assert [row["x_text"] for row in lines[:3]] == ["100 %", "60 %", "30 %"]
    assert [row["y"] for row in lines if row["reference"]] == [0.5, 0.7, 0.9]
