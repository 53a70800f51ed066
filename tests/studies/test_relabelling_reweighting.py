"""The experiments relabelling and reweighting: what they declare at each scale, before anything is
trained, and how their claims are decided."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from zoo.spec import Experiment
from zoo.studies.load import judge_of, load
from zoo.studies.results import Results
from zoo.trainsets.rules import build, parse

SCALES = ("smoke", "laptop", "gpu", "paper")
SEEDS = range(6)


def scores(examples: int = 4000) -> pd.DataFrame:
    """A population's scores of ten classes: X in steps of .002, one in ten labels wrong and of high
    X."""
    rng = np.random.default_rng(1)
    label = np.arange(examples) % 10
    wrong = rng.random(examples) < 0.1
    x = np.where(wrong, 0.8 + 0.2 * rng.random(examples), 0.9 * rng.random(examples) ** 2)
    return pd.DataFrame(
        {
            "example_id": np.arange(examples),
            "label": label,
            "label_true": np.where(wrong, (label + 1) % 10, label),
            "x_perplexity": np.round(x * 500) / 500,
            "c_perplexity": 1 + 3 * rng.random(examples) * (0.2 + x),
            "label_quality": 1 - x,
            "top_confusion": np.where(x > 0.5, (label + 1) % 10, label),
            "top_probability": np.where(x > 0.6, (label + 1) % 10, label),
        }
    )


@pytest.mark.parametrize("name", ["relabelling", "reweighting"])
@pytest.mark.parametrize("scale", SCALES)
def test_every_selection_can_be_made_of_scores(name: str, scale: str) -> None:
    """Each chain of rules, in order, on scores of ten classes; arms refer to selections that are
    declared; no network that scores is retrained (but at the scales smoke and paper)."""
    spec = load(name, scale)
    table = scores(6000)
    for part in spec.each:
        made = {
            rule.name: build(
                [(step.name, step.params) for step in rule.rules], table, num_classes=10
            )
            for rule in part.selections
        }
        wanted = {arm.selection for group in part.arm_groups for arm in group.arms}
        assert wanted - {None} == set(made)
        for group in part.arm_groups:
            scoring = {arch for sweep in part.sweeps for arch in sweep.archs}
            assert scale in ("smoke", "paper") or not scoring & set(group.retraining.archs)


@pytest.mark.parametrize("name", ["relabelling", "reweighting"])
@pytest.mark.parametrize("scale", ["laptop", "gpu"])
def test_arms_that_decide_a_claim_have_six_seeds(name: str, scale: str) -> None:
    """Without the results of the groups of fewer seeds as many claims are measured as with them;
    with theirs alone, none is."""
    spec, found = load(name, scale), judge_of(load(name, scale))
    assert found is not None
    groups = [group for part in spec.each for group in part.arm_groups]
    few = {group.name for group in groups if len(group.retraining.seeds) < 6}
    on = ["full", "keep:set=x >= 0.8"]
    arms = _arms(spec, {}, tuple(on))
    groups_of = pd.concat(arms[arms["on"] == "full"].assign(classes=c) for c in ("easy", "hard"))
    selected = (
        arms.loc[arms["on"] == "full", ["part", "selection", "seed"]]
        .drop_duplicates()
        .assign(relabelled=100)
    )

    def tested(kept: pd.Series) -> set[str]:
        results = Results(
            {
                "arms": arms[kept],
                "class_groups": groups_of[kept.reindex(groups_of.index)],
                "selected": selected,
            },
            scale=scale,
            dataset="cifar10",
        )
        verdicts: pd.DataFrame = found.verdicts(results)
        return set(verdicts.loc[verdicts["verdict"] != "not tested", "claim"])

    everything = pd.Series(data=True, index=arms.index)
    assert tested(~arms["arm_group"].isin(few)) == tested(everything) != set()
    assert tested(arms["arm_group"].isin(few)) == set()


def test_what_the_laptop_retrains_fits_an_evening() -> None:
    """Trainings by experiment, shared ones once: groups of fewer seeds ask for none that larger
    ones do not have, but for their own arms."""
    count = {}
    for name in ("relabelling", "reweighting"):
        runs: set[tuple[str, str | None, int]] = set()
        for part in load(name, "laptop").each:
            for group in part.arm_groups:
                runs |= {
                    (part.name, arm.selection, seed)
                    for arm in group.arms
                    for seed in group.retraining.seeds
                }
        count[name] = len(runs)
    # five arms decide (6 seeds), four stand beside (3), on two parts; the true labels on one
    assert count["relabelling"] == 2 * (5 * 6 + 4 * 3) + 3
    # nine arms, six seeds on clean labels, three on noisy ones
    assert count["reweighting"] == 9 * 6 + 9 * 3


def test_models_4_and_5_change_labels_alone() -> None:
    """Whole set, the same examples, one copy each; set B is part of set A; five times as many are
    five times as many."""
    part = next(p for p in load("relabelling", "laptop").each if p.name.endswith("sym20"))
    table = scores()
    made = {
        rule.name.removeprefix("sym20-"): build(
            [(step.name, step.params) for step in rule.rules], table, num_classes=10
        )
        for rule in part.selections
    }
    changed = {}
    for name, manifest in made.items():
        assert len(manifest) == len(table)
        assert set(manifest.copies) == {1}
        changed[name] = set(np.flatnonzero(manifest.labels != table["label"]))
    assert changed["model-5"] < changed["model-4"]
    assert changed["model-4"] == set(np.flatnonzero(table["x_perplexity"] > 0.95))
    assert len(changed["model-4-x5"]) == 5 * len(changed["model-4"])
    assert changed["model-4"] < changed["model-4-x5"]
    assert changed["true-labels"] == set(np.flatnonzero(table["label"] != table["label_true"]))


def test_pruned_sets_keep_the_class_sizes_and_raw_weights_their_mean() -> None:
    """What is left out is filled up again; weights of mean 1 and raw ones differ by a factor."""
    part = load("reweighting", "laptop").each[0]
    table = scores()
    size = np.bincount(table["label"])
    for rule in part.selections:
        made = build([(step.name, step.params) for step in rule.rules], table, num_classes=10)
        name = rule.name.removeprefix("clean-")
        counts = np.bincount(made.labels, weights=made.copies)
        assert counts.tolist() == size.tolist()
        assert (len(made) < len(table)) == name.startswith(("pruned", "mislabelled"))
        mean = np.average(made.weights, weights=made.copies)
        assert mean > 1.9 if name.endswith("raw") else mean == pytest.approx(1, abs=1e-6)


def test_weights_are_trained_on_by_an_optimiser_that_minds_their_mean() -> None:
    """Adam's steps do not depend on it; every recipe of the weighted arms is SGD."""
    for scale in SCALES:
        for part in load("reweighting", scale).each:
            (group,) = part.arm_groups
            assert group.retraining.recipe.optimizer == "sgd"
            assert group.retraining.recipe.momentum == 0.8


# ---------------------------------------------------------------- claims


def _arms(spec: Experiment, gains: dict[str, float], on: tuple[str, ...]) -> pd.DataFrame:
    """Results of every arm of every part: .5, plus a gain by the arm's name, plus a jitter."""
    rows = []
    for part in spec.each:
        word = part.name.rpartition("-")[2]
        for group in part.arm_groups:
            for number, arm in enumerate(group.arms):
                rows += [
                    {"part": word, "arm_group": group.name, "arm": arm.name, "seed": seed, "on": o}
                    | {"selection": arm.selection or "baseline", "arch": "any"}
                    | {"acc1": 0.5 + gains.get(arm.name, 0.0) + _jitter(number, seed)}
                    for seed in SEEDS
                    for o in on
                ]
    return pd.DataFrame(rows)


def _jitter(number: int, seed: int) -> float:
    return 0.0 if number == 0 else 1e-4 * math.sin(3 * number + seed)


def judge(name: str, scale: str, dataset: str, **tables: pd.DataFrame) -> pd.DataFrame:
    spec_of = load(name, scale)
    found = judge_of(spec_of)
    assert found is not None
    results = Results(tables, scale=scale, dataset=dataset)
    sheets = len(spec_of.each) if "shown" in tables else 0
    assert len(found.charts(results)) == 4 + sheets
    verdicts: pd.DataFrame = found.verdicts(results)
    return verdicts.set_index("claim")["verdict"]


def relabelled(gains: dict[str, float], dataset: str = "cifar10") -> pd.Series:
    """Verdicts where arms gain so much."""
    from zoo.studies.label_errors import judged_sets, shown_sets, target_table

    spec = load("relabelling", "laptop")
    sets = {"A": "x > 0.95", "B": "x > 0.95 and percentile(c) < 63", "A held out": "x > 2"}
    words = [part.name.rpartition("-")[2] for part in spec.each]
    arms = _arms(spec, gains, ("full",))
    selected = pd.DataFrame(
        {"part": part, "selection": name, "seed": seed, "relabelled": 100}
        for part, name in dict.fromkeys(zip(arms["part"], arms["selection"], strict=True))
        for seed in SEEDS
    )
    table = scores()
    shown = shown_sets(table.assign(key="k"), {"A": sets["A"]}, list("abcdefghij"), count=3)
    return judge(
        "relabelling",
        "laptop",
        dataset,
        arms=arms,
        selected=selected,
        judged=pd.concat([judged_sets(table, sets).assign(part=word) for word in words]),
        targets=pd.concat([target_table(table, sets).assign(part=word) for word in words]),
        shown=pd.concat([shown.assign(part=word, picture="") for word in words]),
    )


def test_the_claims_of_relabelling_can_hold_and_fail() -> None:
    """Set A harms and set B does not; then the other way round. All labels of X > .95 are wrong in
    these scores; the set that is empty is not tested."""
    held = relabelled({"model-4": -0.02, "model-4 x10": -0.05, "model-5 x10": -0.01})
    assert held["S2.8 A clean"] == held["S2.8 B clean"] == "holds"
    assert held["S2.8 A slope sym20"] == held["S2.8 B slope sym20"] == "holds"
    assert held["S2.9 clean"] == held["S2.9 A conf20"] == "holds"
    assert held["S2.9 held out sym20"] == "not tested"
    other = relabelled({"model-4": 0.02, "model-5": -0.02, "model-4 x10": 0.05})
    assert other["S2.8 A clean"] == other["S2.8 B clean"] == "fails"
    assert other["S2.8 A slope clean"] == "fails"


def test_other_data_decide_nothing() -> None:
    """On Fashion-MNIST every claim is measured, and not applicable."""
    assert set(relabelled({}, dataset="fashion-mini")) == {"not applicable"}


def reweighted(gains: dict[str, float], hard: float) -> pd.Series:
    from zoo.studies.class_groups import GROUPS, pruned_classes, pruned_shares

    spec = load("reweighting", "laptop")
    arms = _arms(spec, gains, ("full", "keep:set=x >= 0.8"))
    words = [part.name.rpartition("-")[2] for part in spec.each]
    groups = pd.concat(
        [
            arms[arms["on"] == "full"].assign(
                classes=name, acc1=lambda t, n=name: t["acc1"] * (hard if n == "hard" else 1.0)
            )
            for name in GROUPS
        ]
    )
    table = scores()
    taken = [85, 90, 95]
    return judge(
        "reweighting",
        "laptop",
        "cifar10",
        arms=arms,
        class_groups=groups,
        pruned=pd.concat([pruned_shares(table, taken).assign(part=w) for w in words]),
        pruned_classes=pd.concat(
            [pruned_classes(table, list("abcdefghij"), taken).assign(part=w) for w in words]
        ),
    )


def test_the_claims_of_reweighting_can_hold_and_fail() -> None:
    """Pruning loses, weights gain, raw ones as much as those of mean 1; then the other way
    round."""
    weights = {f"{k} weights{raw}": 0.01 for k in "XC" for raw in ("", ", raw")}
    held = reweighted(
        {"pruned 95": -0.01, "pruned 85": -0.02, "mislabelled pruned": 0.01, **weights}, 1.0
    )
    assert set(held) == {"holds"}
    other = reweighted(
        {
            "pruned 95": 0.02,
            "pruned 90": 0.02,
            "pruned 85": 0.02,
            "mislabelled pruned": -0.01,
            "X weights": -0.01,
            "C weights": -0.01,
            "X weights, raw": -0.03,
            "C weights, raw": -0.03,
        },
        1.0,
    )
    assert set(other) == {"fails"}


def test_parse_reads_every_rule_as_it_is_written() -> None:
    """Conditions with >= and percentiles survive the command line's form."""
    (rule,) = parse("keep:set=not (x >= 0.8 and percentile(c) <= 30)")
    assert rule == ("keep", {"set": "not (x >= 0.8 and percentile(c) <= 30)"})
