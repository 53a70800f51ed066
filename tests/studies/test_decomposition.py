"""The experiment decomposition: what it declares, claims that can hold and fail, its figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from zoo.studies.load import judge_of, load
from zoo.studies.populations import MODELS, population
from zoo.studies.results import Results

ARMS = {
    **{name: 0.02 + 0.001 * place for place, name in enumerate(MODELS)},
    **{f"{name}, its wrong labels": 0.015 for name in MODELS},
    **{f"{name}, its right labels": 0.005 + 0.001 * place for place, name in enumerate(MODELS)},
}


@pytest.mark.parametrize("scale", ["smoke", "laptop", "gpu"])
def test_it_adds_arms_to_the_one_population(scale: str) -> None:
    """Its population is that of the other experiments; each model stands whole and in two parts,
    all with the same budget, recipe and seeds."""
    (part,) = load("decomposition", scale).each
    assert part.sweeps == (population(scale),)
    (group,) = part.arm_groups
    assert group.arms[0].name == "baseline"
    assert {arm.name for arm in group.arms} == {
        *("baseline", *ARMS),
        *("random", "all wrong labels", "true labels"),
    }
    assert len(group.retraining.seeds) == (2 if scale == "smoke" else 12)
    rules = {rule.name: [step.text for step in rule.rules] for rule in part.selections}
    for name in MODELS:
        assert rules[f"sym20-{name}"] == [f"below:share={MODELS[name]},thresholds=joint"]
    cleaning = next(p for p in load("cleaning", scale).each if p.name == "cleaning-sym20")
    theirs = {rule.name: rule.rules for rule in cleaning.selections}
    mine = {rule.name: rule.rules for rule in part.selections}
    shared = set(theirs) & set(mine)
    assert {f"sym20-{name}" for name in MODELS} <= shared
    assert all(theirs[name] == mine[name] for name in shared)


def found(gains: dict[str, float]) -> Results:
    """Twelve seeds around each gain; seeds are common to the arms, each with a jitter."""
    draw = np.random.default_rng(0)
    common = draw.normal(0.4, 0.01, 12)
    rows = [
        {
            "part": "sym20",
            "arm_group": "sym20: parts",
            "arm": arm,
            "seed": seed,
            "on": "full",
            "acc1": common[seed] + gain + draw.normal(0, 2e-4),
        }
        for arm, gain in {"baseline": 0.0, **gains}.items()
        for seed in range(12)
    ]
    arms = pd.DataFrame(rows).assign(
        selection=lambda table: table["arm"].where(table["arm"] != "true labels")
    )
    selected = pd.DataFrame(
        {
            "part": "sym20",
            "selection": arm,
            "seed": seed,
            "unique": 200,
            "wrong_left": 10 * place + 2 * (seed % 2),
        }
        for place, arm in enumerate(["baseline", *gains])
        for seed in range(12)
    )
    return Results({"arms": arms, "selected": selected}, scale="tiny", dataset="cifar10")


def verdicts(gains: dict[str, float]) -> dict[str, str]:
    judge = judge_of(load("decomposition", "smoke"))
    assert judge is not None
    table = judge.verdicts(found(gains))
    return dict(zip(table["claim"], table["verdict"], strict=True))


def test_its_claims_can_hold_and_fail() -> None:
    """Parts of 1.5 and .5 of 2 points: all four hold. Turned round: noise harms, easiness gains
    more, and together they are 3 points away."""
    assert set(verdicts(ARMS).values()) == {"holds"}
    turned = verdicts(ARMS | {f"{name}, its wrong labels": -0.02 for name in MODELS})
    for name in MODELS:
        assert turned[f"{name} noise"] == "fails"
        assert turned[f"{name} easiness"] == "holds"
        assert turned[f"{name} more noise"] == "fails"
        assert turned[f"{name} sum"] == "fails"
    harmful = verdicts(ARMS | {f"{name}, its right labels": -0.005 for name in MODELS})
    assert {harmful[f"{name} easiness"] for name in MODELS} == {"fails"}


def test_its_figures() -> None:
    """Each model in three ways; and every arm that there is at the share of wrong labels that it
    was trained on: the baseline's 0 or 2 of 200 are half a per cent, each further arm's 5 more."""
    judge = judge_of(load("decomposition", "smoke"))
    assert judge is not None
    parts, noise = judge.charts(found(ARMS))
    assert len(parts.table) == 3 * len(MODELS)
    assert len(noise.table) == 3 * (1 + len(MODELS))
    of = {series: table["x"].tolist() for series, table in noise.table.groupby("series")}
    assert of["whole"] == pytest.approx([0.5, 5.5, 10.5, 15.5])
    assert of["its right labels"] == pytest.approx([0.5, 35.5, 40.5, 45.5])
