"""A selection's random part is drawn anew for each seed of a retraining: what a draw is, what arms
of a seed share, how draws are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import workspace

from zoo import pipeline
from zoo.errors import NotFoundError, UsageError
from zoo.manifest import Manifest
from zoo.spec import Op, SelectionRule
from zoo.store import selections
from zoo.store.origin import Origin
from zoo.store.workspace import Workspace
from zoo.trainsets.rules import build, is_random, parse, redrawn


def scores(examples: int = 300, classes: int = 5) -> pd.DataFrame:
    """Scores of a population on examples of unequal classes: class k has about (k + 1) / 15 of
    them."""
    rng = np.random.default_rng(1)
    x = rng.integers(0, 11, examples) / 10
    return pd.DataFrame(
        {
            "example_id": np.arange(examples),
            "label": rng.choice(classes, examples, p=(np.arange(classes) + 1) / 15),
            "x_perplexity": x,
            "c_perplexity": 1 + rng.random(examples),
            "label_quality": 1 - x + rng.random(examples) / 20,
            "top_confusion": rng.integers(0, classes, examples),
        }
    )


def drawn(text: str, draw: int, **more: Any) -> Manifest:
    return build(redrawn(parse(text), draw), scores(), num_classes=5, **more)


def select(
    space: Workspace, name: str, text: str, seeds: tuple[int, ...] = (), *, replace: bool = False
) -> dict[str, Any]:
    rule = SelectionRule(
        name=name, rules=tuple(Op(name=step, params=params) for step, params in parse(text))
    )
    return pipeline.select(
        space,
        rule,
        scores(),
        Origin("data", "train", "population"),
        list("abcde"),
        seeds=seeds,
        replace=replace,
    )


# ---------------------------------------------------------------- rules


def test_a_draw_shifts_the_seeds_of_the_rules_that_have_one() -> None:
    """Draw 0 is the chain as it stands; draw 3 adds 3 to a seed that is given and to one left out;
    other rules stay."""
    chain = parse("worst:share=0.1+random_like:name=x,seed=7+per_class:count=4")
    assert redrawn(chain, 0) == (
        chain[0],
        ("random_like", {"name": "x", "seed": 7}),
        ("per_class", {"count": 4, "seed": 0}),
    )
    assert redrawn(chain, 3) == (
        chain[0],
        ("random_like", {"name": "x", "seed": 10}),
        ("per_class", {"count": 4, "seed": 3}),
    )


@pytest.mark.parametrize(
    ("text", "random"),
    [
        ("worst:share=0.1", False),
        ("oracle+per_class:count=3", True),
        ("balance", True),
        ("random_like:name=x", True),
    ],
)
def test_a_chain_is_random_if_one_of_its_rules_takes_a_seed(text: str, random: bool) -> None:
    assert is_random(name for name, _ in parse(text)) is random


def test_arms_of_a_seed_share_as_many_examples_as_their_rules_allow() -> None:
    """In each draw, what the baseline drew and the cleaning left is drawn by the cleaned arm too;
    two draws differ."""
    kept = set(drawn("worst:share=0.2", 0).example_ids)
    for draw in range(3):
        baseline = set(drawn("per_class:count=12,resample=false", draw).example_ids)
        cleaned = set(drawn("worst:share=0.2+per_class:count=12,resample=false", draw).example_ids)
        assert baseline & kept <= cleaned
        assert len(baseline & cleaned) > 30
        assert baseline != set(drawn("per_class:count=12,resample=false", draw + 1).example_ids)


def test_a_control_matched_by_class_leaves_out_as_many_of_each_class() -> None:
    """Dropping the worst 20 % takes unequal shares of the classes; the control takes the same
    number of each, others."""
    worst = drawn("worst:share=0.2", 0)
    counts = np.bincount(worst.labels, minlength=5)
    whole = np.bincount(scores()["label"], minlength=5)
    assert len(set(np.round(counts / whole, 2))) > 1, "shares that are equal would match by chance"
    for draw in range(3):
        control = drawn("random_like:name=worst,per_class=true", draw, resolve=lambda _: worst)
        assert np.bincount(control.labels, minlength=5).tolist() == counts.tolist()
        assert set(control.example_ids) != set(worst.example_ids)
    unmatched = drawn("random_like:name=worst", 0, resolve=lambda _: worst)
    assert len(unmatched) == len(worst)
    assert np.bincount(unmatched.labels, minlength=5).tolist() != counts.tolist()


def test_the_hardest_are_what_dropping_the_worst_drops() -> None:
    """The two parts are the whole, by classes too, and every example of the harder part has the
    lower quality within its class."""
    for more in ("", ",per_class=true", ",by=x"):
        hard, easy = (
            set(drawn(f"{rule}:share=0.3{more}", 0).example_ids) for rule in ("hardest", "worst")
        )
        assert hard | easy == set(range(300))
        assert not hard & easy
        assert len(hard) == pytest.approx(90, abs=3)
    table = scores().assign(
        hard=lambda t: t["example_id"].isin(
            drawn("hardest:share=0.5,per_class=true", 0).example_ids
        )
    )
    for _, mine in table.groupby("label"):
        assert (
            mine.loc[mine["hard"], "label_quality"].max()
            <= mine.loc[~mine["hard"], "label_quality"].min()
        )


def test_a_class_that_is_filled_up_repeats_other_examples_than_the_next_class() -> None:
    """Two classes of three examples, 300 of each: the draws of one class are not those of the
    other, place by place."""
    table = scores(6).assign(label=[0, 1, 0, 1, 0, 1])
    manifest = (
        build(parse("per_class:count=300,empty=drop"), table, num_classes=5)
        .frame()
        .set_index("example_id")["copies"]
    )
    assert manifest[[0, 2, 4]].sum() == manifest[[1, 3, 5]].sum() == 300
    assert manifest[[0, 2, 4]].tolist() != manifest[[1, 3, 5]].tolist()


# ---------------------------------------------------------------- what is stored


def test_a_selection_with_a_random_part_has_a_manifest_for_each_seed(tmp_path: Path) -> None:
    """Seeds 0 and 4: the treatment of each is the content id of its own draw; without a seed the
    name is draw 0."""
    space = workspace(tmp_path)
    assert select(space, "few", "per_class:count=4", (0, 4))["draws"] == 2
    for seed in (0, 4):
        (op,) = selections.selection_op(space, "few", seed)
        made = drawn("per_class:count=4", seed)
        assert op.params["id"] == made.digest
        assert (
            selections.manifest_named(space, "few", seed).example_ids.tolist()
            == made.example_ids.tolist()
        )
    assert (
        selections.selection_op(space, "few")
        == selections.selection_op(space, "few", 0)
        != selections.selection_op(space, "few", 4)
    )
    with pytest.raises(
        NotFoundError, match=r"selection 'few' has no draw for seed 1\. Allowed: seeds 0, 4,"
    ):
        selections.selection_op(space, "few", 1)


def test_a_selection_without_a_random_part_is_one_manifest_for_all_seeds(tmp_path: Path) -> None:
    """And so is one with a random part that was made without draws, as versions before made
    them."""
    space = workspace(tmp_path)
    assert select(space, "cleaned", "worst:share=0.1", (0, 1, 2))["draws"] == 1
    assert select(space, "once", "per_class:count=4")["draws"] == 1
    for name in ("cleaned", "once"):
        assert (
            selections.selection_op(space, name)
            == selections.selection_op(space, name, 0)
            == selections.selection_op(space, name, 9)
        )
        assert set(space.commits.all("selection")[name].identity) & {"draws"} == set()


def test_a_rule_that_names_a_selection_takes_its_draw_of_the_same_seed(tmp_path: Path) -> None:
    """A control of a drawn selection counts, in each draw, the examples that draw kept."""
    space = workspace(tmp_path)
    select(space, "easy", "worst:share=0.5")
    select(space, "pool", "random_like:name=easy", (0, 1))
    select(space, "control", "random_like:name=pool,per_class=true", (0, 1))
    counts = [
        [
            np.bincount(selections.manifest_named(space, name, seed).labels).tolist()
            for seed in (0, 1)
        ]
        for name in ("pool", "control")
    ]
    assert counts[0] == counts[1]
    assert counts[0][0] != counts[0][1], "draws with equal counts would match by chance"


def test_every_draw_is_in_the_selections_table(tmp_path: Path) -> None:
    space = workspace(tmp_path)
    select(space, "few", "per_class:count=2,resample=false", (0, 1))
    select(space, "cleaned", "worst:share=0.1")
    table = selections.selections_frame(space)
    assert table[table["name"] == "few"].groupby("draw").size().to_dict() == {0: 10, 1: 10}
    cleaned = table[table["name"] == "cleaned"]
    assert len(cleaned) == 270
    assert cleaned["draw"].isna().all()


def test_draws_may_be_added_and_never_change_by_themselves(tmp_path: Path) -> None:
    """More seeds extend the name, fewer leave it as it is; other examples, or draws for a name that
    had one manifest, need replace."""
    space = workspace(tmp_path)
    select(space, "few", "per_class:count=4", (0, 1))
    first = {seed: selections.selection_op(space, "few", seed) for seed in (0, 1)}
    select(space, "few", "per_class:count=4", (0, 1, 2))
    select(space, "few", "per_class:count=4", (1,))
    assert {seed: selections.selection_op(space, "few", seed) for seed in (0, 1)} == first
    assert selections.selection_op(space, "few", 2) not in first.values()
    with pytest.raises(UsageError, match=r"selection 'few' exists and holds other examples"):
        select(space, "few", "per_class:count=5", (0, 1))
    select(space, "few", "per_class:count=5", (0, 1), replace=True)
    assert selections.selection_op(space, "few", 0) not in first.values()

    select(space, "once", "per_class:count=4")
    (one,) = selections.selection_op(space, "once")
    # as when a script of the version before is run again
    select(space, "once", "per_class:count=4", (0, 1))
    assert selections.selection_op(space, "once", 1) == (one,)
    select(space, "once", "per_class:count=4", (0, 1), replace=True)
    assert selections.selection_op(space, "once", 1) != (one,)
