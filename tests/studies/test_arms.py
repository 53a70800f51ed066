"""Arms of a retraining comparison: equal steps, equal seeds, a draw for each seed, and accuracies
counted by hand."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from factories import QUIET, Tiny, manifest, training, workspace
from numpy.typing import NDArray

from zoo import pipeline
from zoo.errors import NotFoundError, UnknownNameError, UsageError
from zoo.local import LocalRunner
from zoo.scores import from_store
from zoo.scores.population import choose_population
from zoo.spec import Arm, ArmGroup, Op, Recipe, SelectionRule, Sweep, Training
from zoo.store import ledger, selections
from zoo.store.answers import read_answers
from zoo.store.origin import Origin
from zoo.store.results import read_table
from zoo.store.schema import SCHEMA
from zoo.store.workspace import Workspace
from zoo.studies.arms import (
    Comparison,
    Retrainings,
    arm_trainings,
    check_retrained,
    compare_trainings,
    equal_steps,
)
from zoo.trainsets.rules import parse

RECIPE = Recipe(lr=0.01, batch_size=16, epochs=2)
SWEEP = Sweep(
    archs=("softmax", "mlp"),
    recipe=RECIPE,
    recipes={"mlp": RECIPE.replace(batch_size=20)},
    seeds=(0, 1),
)
ARMS = (
    Arm(name="baseline", selection=None),
    Arm(name="few", selection="few", note="ten examples"),
    Arm(name="drawn", selection="drawn", note="four of each class"),
    Arm(name="once", selection="once"),
)
GROUP = ArmGroup(name="tiny", arms=ARMS, retraining=SWEEP)


def select(
    space: Workspace,
    name: str,
    text: str,
    scores: pd.DataFrame,
    origin: Origin,
    seeds: Sequence[int] = (),
) -> dict[str, Any]:
    chain = tuple(Op(name=rule, params=params) for rule, params in parse(text))
    return pipeline.select(
        space, SelectionRule(name=name, rules=chain), scores, origin, ["a", "b", "c"], seeds=seeds
    )


@pytest.fixture(scope="module")
def done(trained: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Comparison]:
    """Four arms of two networks and two seeds on a copy of the trained workspace: all rows; ten of
    them, twice each; four of each class, drawn for each seed; and the same rule drawn once."""
    space = Workspace.open(shutil.copytree(trained.root, tmp_path_factory.mktemp("arms") / "zoo"))
    few = manifest(range(10, 20), [i % 3 for i in range(10, 20)], copies=2)
    population = choose_population(space)
    origin = population.origin("train")
    selections.commit_selection(space, "few", few, origin, [])
    of_train, of_test = (
        from_store.score(space, population, split).to_pandas() for split in ("train", "test")
    )
    select(space, "drawn", "per_class:count=4", of_train, origin, seeds=(0, 1))
    select(space, "once", "per_class:count=4", of_train, origin)
    by_arm = arm_trainings(space, GROUP, trained.dataset)
    jobs = [job for group in by_arm.values() for job in group]
    runner = LocalRunner("cpu")
    pipeline.train(space, trained.dataset, "x", "retraining", jobs, lambda: runner, QUIET)
    pipeline.fill(
        space,
        trained.dataset,
        ledger.classifiers_of(space, jobs),
        ("test",),
        "none",
        lambda: runner,
        QUIET,
    )
    cleaned = (
        Op(name="below", params={"c": float(round(of_test["c_perplexity"].median(), 2)), "x": 0.9}),
    )
    return space, compare_trainings(space, [(GROUP, by_arm)], cleaned, of_test, 3)


# ---------------------------------------------------------------- what is trained


@pytest.mark.parametrize(
    ("examples", "batch", "steps"), [(60, 16, 4), (64, 16, 4), (65, 16, 5), (1, 16, 1)]
)
def test_equal_steps_are_those_of_one_pass(examples: int, batch: int, steps: int) -> None:
    """Batches of one pass over the whole training set, the short one counted; a recipe that fixes
    its steps keeps them."""
    recipe = Recipe(batch_size=batch)
    assert equal_steps(recipe, examples).steps_per_epoch == steps
    assert equal_steps(recipe.replace(steps_per_epoch=7), examples).steps_per_epoch == 7


def test_an_architectures_own_recipe_gets_equal_steps_too(
    trained: Tiny, done: tuple[Workspace, Comparison]
) -> None:
    """60 examples: 4 batches of 16 by the sweep's recipe, 3 of 20 by mlp's own, in every arm,
    however small its selection."""
    by_arm = arm_trainings(done[0], GROUP, trained.dataset)
    for group in by_arm.values():
        assert {(job.arch, job.recipe.batch_size, job.recipe.steps_per_epoch) for job in group} == {
            ("softmax", 16, 4),
            ("mlp", 20, 3),
        }
    table = done[1].arms
    assert table.groupby("arch")["steps"].unique().map(list).to_dict() == {
        "softmax": [8],
        "mlp": [6],
    }


@pytest.mark.parametrize("where", ["recipe", "recipes"])
def test_a_recipe_that_stops_by_itself_is_refused(where: str) -> None:
    """The stop rule would end the arm that is easiest to learn first; without it the same group is
    accepted."""
    stopping = RECIPE.replace(stop_train_acc=0.9)
    sweep = (
        SWEEP.replace(recipe=stopping)
        if where == "recipe"
        else SWEEP.replace(recipes={"mlp": stopping})
    )
    with pytest.raises(
        UsageError,
        match=(
            r"stops at training accuracy 0\.9, .* fewer optimiser steps\. Allowed: recipes without"
            r" stop_train_acc"
        ),
    ):
        ArmGroup(name="tiny", arms=ARMS, retraining=sweep)
    assert ArmGroup(name="tiny", arms=ARMS, retraining=sweep.replace(recipe=RECIPE, recipes={}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arms": (ARMS[0], ARMS[1], ARMS[1])}, "arm 'few' is there twice"),
        ({"retraining": SWEEP.replace(seeds=(0, 1, 0))}, "seed 0 is there twice"),
        ({"retraining": SWEEP.replace(archs=("mlp", "mlp"))}, "architecture 'mlp' is there twice"),
        (
            {
                "retraining": SWEEP.replace(
                    treatments=((Op(name="delete_class", params={"label": 1}),),)
                )
            },
            "has the treatment 'delete_class:label=1'",
        ),
    ],
)
def test_what_could_not_be_compared_is_refused_before_it_is_trained(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        GROUP.replace(**changes)


def test_arms_differ_in_their_selection_alone(
    trained: Tiny, done: tuple[Workspace, Comparison]
) -> None:
    """Same networks, recipes and seeds in the same order in all arms; the baseline has no
    treatment, the others their manifests."""
    by_arm = arm_trainings(done[0], GROUP, trained.dataset)
    assert list(by_arm) == ["baseline", "few", "drawn", "once"]
    plans = [[(job.arch, job.seed, job.recipe) for job in group] for group in by_arm.values()]
    assert [(arch, seed) for arch, seed, _ in plans[0]] == [
        ("softmax", 0),
        ("softmax", 1),
        ("mlp", 0),
        ("mlp", 1),
    ]
    assert all(plan == plans[0] for plan in plans)
    assert {job.treatment for job in by_arm["baseline"]} == {()}
    assert {job.treatment[0].name for name in ("few", "drawn", "once") for job in by_arm[name]} == {
        "manifest"
    }


def test_a_seed_redraws_the_random_part_of_a_selection(
    trained: Tiny, done: tuple[Workspace, Comparison]
) -> None:
    """Each seed of the arm trains on a draw of its own, the same for both networks; the selection
    drawn once gives every seed that one."""
    space, _ = done
    by_arm = arm_trainings(space, GROUP, trained.dataset)
    treatments = {(job.arch, job.seed): job.treatment for job in by_arm["drawn"]}
    assert treatments["softmax", 0] != treatments["softmax", 1]
    assert all(
        treatments["softmax", seed]
        == treatments["mlp", seed]
        == selections.selection_op(space, "drawn", seed)
        for seed in (0, 1)
    )
    assert len({job.treatment_text for job in by_arm["once"]}) == 1
    assert by_arm["once"][0].treatment == treatments["softmax", 0]
    for seed in (0, 1):
        assert np.bincount(selections.manifest_named(space, "drawn", seed).labels).tolist() == [
            4,
            4,
            4,
        ]
    assert set(selections.manifest_named(space, "drawn", 0).example_ids) != set(
        selections.manifest_named(space, "drawn", 1).example_ids
    )


def test_a_seed_that_was_not_drawn_is_refused(
    trained: Tiny, done: tuple[Workspace, Comparison]
) -> None:
    sweep = SWEEP.replace(seeds=(0, 5))
    with pytest.raises(
        NotFoundError,
        match=r"selection 'drawn' has no draw for seed 5\. Allowed: seeds 0, 1, .* --draws 6",
    ):
        arm_trainings(done[0], GROUP.replace(retraining=sweep), trained.dataset)
    assert (
        len(
            arm_trainings(done[0], GROUP.replace(arms=ARMS[:2], retraining=sweep), trained.dataset)[
                "few"
            ]
        )
        == 4
    )


def test_an_unknown_selection_is_named(trained: Tiny, done: tuple[Workspace, Comparison]) -> None:
    group = GROUP.replace(arms=(Arm(name="x", selection="fwe"),))
    with pytest.raises(UnknownNameError, match=r"unknown selection 'fwe'\. Did you mean 'few'"):
        arm_trainings(done[0], group, trained.dataset)


# ---------------------------------------------------------------- what came out


def said(space: Workspace, dataset: str, job: Training) -> NDArray[np.int64]:
    """A training's final predictions on the test split, -1 where there is none."""
    ((_, batches),) = read_answers(space, dataset, "test", [f"{job.id}-e0002"])
    return np.array(
        [-1 if p is None else p for p in next(iter(batches))[1].column("prediction").to_pylist()]
    )


def test_every_arm_took_the_same_number_of_steps(done: tuple[Workspace, Comparison]) -> None:
    """Whatever they hold: 58 rows, 20 rows of 10 examples, 12 of 12."""
    counts = done[1].arms.groupby("arm")[["n_train", "n_unique"]].agg(["min", "max"])
    assert counts.loc["baseline"].tolist() == [58, 58, 58, 58]
    assert counts.loc["few"].tolist() == [20, 20, 10, 10]
    assert counts.loc["drawn"].tolist() == [12, 12, 12, 12]


def test_accuracies_are_counted_on_the_answers(
    trained: Tiny, done: tuple[Workspace, Comparison]
) -> None:
    """acc1 of each arm, network and seed on the full test set and on the cleaned one equals a count
    over their readable examples, by example."""
    space, comparison = done
    by_arm = arm_trainings(space, GROUP, trained.dataset)
    labels = trained.dataset.splits["test"].labels
    scores = (
        from_store.score(space, choose_population(space), "test")
        .to_pandas()
        .sort_values("example_id")
    )
    (rule,) = set(comparison.arms["on"]) - {"full"}
    median = float(round(scores["c_perplexity"].median(), 2))
    inside = ((scores["c_perplexity"] < median) & (scores["x_perplexity"] < 0.9)).to_numpy(
        dtype=bool
    )
    assert not inside[: inside.sum()].all(), "a mask that took the first examples would pass"
    table = comparison.arms.set_index(["arm", "arch", "seed", "on"])
    for arm, jobs in by_arm.items():
        for job in jobs:
            found = said(space, trained.dataset.fingerprint, job)
            for on, counted in (("full", found >= 0), (rule, inside & (found >= 0))):
                row = table.loc[(arm, job.arch, job.seed, on)]
                assert row["n"] == counted.sum()
                assert row["acc1"] == pytest.approx(np.mean(found[counted] == labels[counted]))
                assert row["acc5"] == 1.0
    assert (table.xs("full", level="on")["n"] == 29).all()


def test_three_classes_are_compared_by_their_two_first_guesses_too(
    done: tuple[Workspace, Comparison],
) -> None:
    """acc5 of three classes is 1 whatever is learnt; acc2 lies between it and acc1."""
    table = done[1].arms
    assert (table["acc1"] <= table["acc2"]).all()
    assert (table["acc2"] <= table["acc5"]).all()
    assert list(done[1].comparisons["metric"].unique()) == ["acc1", "acc2", "acc5"]


def test_comparisons_are_paired_by_seed_within_each_network(
    done: tuple[Workspace, Comparison],
) -> None:
    """Mean over seeds; delta is the mean of the differences seed by seed, of one network; the first
    arm has none; notes are the arms'."""
    table = done[1].comparisons
    assert list(table.columns) == list(SCHEMA["comparisons"])
    assert set(table["arm_group"]) == {"tiny"}
    rows = table[(table["on"] == "full") & (table["metric"] == "acc1")].set_index(["arch", "arm"])
    assert len(rows) == 2 * 4
    arms = done[1].arms
    for arch in ("softmax", "mlp"):
        mine = arms[(arms["on"] == "full") & (arms["arch"] == arch)]
        full = mine.pivot_table(index="seed", columns="arm", values="acc1")
        for arm in ("few", "drawn"):
            assert rows.loc[(arch, arm), "mean"] == pytest.approx(full[arm].mean())
            assert rows.loc[(arch, arm), "delta"] == pytest.approx(
                (full[arm] - full["baseline"]).mean()
            )
        assert rows.loc[(arch, "few"), "n_seeds"] == rows.loc[(arch, "few"), "n_pairs"] == 2
        assert rows.loc[(arch, "few"), "note"] == "ten examples"
        assert rows.loc[(arch, "few"), "method"] == "paired over 2 seeds; n_train 20 against 58"


def test_an_arm_whose_seeds_share_one_draw_says_so(done: tuple[Workspace, Comparison]) -> None:
    """The rule has a random part, drawn once: its draw is in no interval. An arm drawn for each
    seed, and one without rules, say nothing."""
    notes = done[1].comparisons.set_index("arm")["note"]
    assert set(notes.loc["once"]) == {"one draw of its random part for all seeds"}
    assert set(notes.loc["drawn"]) == {"four of each class"}
    assert set(notes.loc["baseline"]) == {""}


def test_similarities_pair_every_seed_of_every_arm_and_network(
    done: tuple[Workspace, Comparison],
) -> None:
    """Sixteen classifiers: every ordered pair in three measures, in [0, 1] (kappa up to 1); one row
    per pair, by arm, network and seed."""
    table = done[1].similarities
    assert list(table.columns) == list(SCHEMA["similarities"])
    assert len(table) == 16 * 16 * 3
    assert not table.duplicated(
        ["arm_a", "arch_a", "seed_a", "arm_b", "arch_b", "seed_b", "measure"]
    ).any()
    shares = table[table["measure"] != "kappa"]
    assert shares["similarity"].between(0, 1).all()
    same = (
        (table["arm_a"] == table["arm_b"])
        & (table["arch_a"] == table["arch_b"])
        & (table["seed_a"] == table["seed_b"])
    )
    assert (table[same & (table["measure"] == "prediction")]["similarity"] == 1).all()


def test_the_tables_are_written_by_name(done: tuple[Workspace, Comparison]) -> None:
    space, comparison = done
    comparison.write(space)
    for name in ("arms", "comparisons", "similarities"):
        pd.testing.assert_frame_equal(
            read_table(space, name), getattr(comparison, name), check_dtype=False
        )
        assert (space.results / f"{name}.csv").exists()


def test_groups_are_compared_each_with_its_own_first_arm(
    trained: Tiny, done: tuple[Workspace, Comparison]
) -> None:
    """Two groups over one set of trainings: in the second, ``few`` is what ``drawn`` is measured
    against."""
    space, whole = done
    second = ArmGroup(
        name="second", arms=(ARMS[1], ARMS[2]), retraining=SWEEP.replace(archs=("softmax",))
    )
    found = compare_trainings(
        space, [(g, arm_trainings(space, g, trained.dataset)) for g in (GROUP, second)], (), None, 3
    )
    rows = found.comparisons.set_index(["arm_group", "arm", "arch", "metric"])
    assert set(rows.xs("second")["delta"].dropna().index.get_level_values("arm")) == {"drawn"}
    means = whole.comparisons[whole.comparisons["on"] == "full"].set_index(
        ["arm", "arch", "metric"]
    )["mean"]
    difference = means["drawn", "softmax", "acc1"] - means["few", "softmax", "acc1"]
    assert rows.loc[("second", "drawn", "softmax", "acc1"), "delta"] == pytest.approx(difference)
    assert set(found.similarities["arm_group"]) == {"tiny", "second"}


def test_without_a_finished_training_there_is_nothing_to_compare(
    trained: Tiny, tmp_path: Path
) -> None:
    space = workspace(tmp_path)
    by_arm: Retrainings = {"baseline": (training(trained.dataset),)}
    group = GROUP.replace(arms=ARMS[:1])
    with pytest.raises(
        NotFoundError,
        match=(
            r"^no finished retraining of baseline by --arch softmax,mlp .* Retrained here:"
            r" nothing\."
        ),
    ):
        compare_trainings(space, [(group, by_arm)], (), None, 3)


def test_arms_that_are_not_there_are_told_from_those_that_are(
    trained: Tiny, done: tuple[Workspace, Comparison]
) -> None:
    """Asked under another number of epochs: the message names the arms, networks, recipes and seeds
    of this workspace as commands take them."""
    space, _ = done
    other = GROUP.replace(
        retraining=SWEEP.replace(recipe=RECIPE.replace(epochs=5), archs=("softmax",))
    )
    by_arm = arm_trainings(space, other, trained.dataset)
    with pytest.raises(NotFoundError) as found:
        check_retrained(space, other, by_arm, other.arms)
    words = str(found.value)
    assert (
        "no finished retraining of baseline, few, drawn, once by --arch softmax --recipe"
        " adam:lr=0.01,batch_size=16,epochs=5 --seeds 0,1" in words
    )
    assert (
        "baseline, drawn, few, once by --arch softmax --recipe adam:lr=0.01,batch_size=16,epochs=2"
        " --seeds 0,1" in words
    )
    check_retrained(space, GROUP, arm_trainings(space, GROUP, trained.dataset), GROUP.arms)


def test_a_cleaned_test_set_needs_scores(trained: Tiny, done: tuple[Workspace, Comparison]) -> None:
    space, _ = done
    by_arm = arm_trainings(space, GROUP, trained.dataset)
    with pytest.raises(
        NotFoundError,
        match=r"needs scores of the test split\. Run 'zoo fill --splits test', then 'zoo score",
    ):
        compare_trainings(
            space, [(GROUP, by_arm)], (Op(name="below", params={"c": 2.0, "x": 0.9}),), None, 3
        )
