"""Arms of a retraining comparison: equal steps, equal seeds, and accuracies counted by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factories import QUIET, Tiny, training, workspace

from zoo import pipeline
from zoo.errors import NotFoundError, UnknownNameError
from zoo.local import LocalRunner
from zoo.manifest import manifest_digest
from zoo.scores import from_store, population
from zoo.spec import Arm, Op, Recipe, Sweep
from zoo.store import ledger, selections
from zoo.store.answers import read_answers
from zoo.store.results import read_table
from zoo.store.schema import SCHEMA
from zoo.store.workspace import Workspace
from zoo.studies.arms import Comparison, arm_trainings, compare_trainings, equal_steps

SWEEP = Sweep(archs=("softmax",), recipe=Recipe(lr=0.01, batch_size=16, epochs=2), seeds=(0, 1))
ARMS = (Arm(name="baseline", selection=None), Arm(name="few", selection="few", note="ten examples"))


@pytest.fixture(scope="module")
def done(trained: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Comparison]:
    """Two arms with two seeds each on a copy of the trained workspace: all rows, and ten of them, twice each."""
    space = Workspace.open(shutil.copytree(trained.root, tmp_path_factory.mktemp("arms") / "zoo"))
    few = pd.DataFrame({"example_id": range(10, 20), "label": [i % 3 for i in range(10, 20)], "copies": 2, "weight": 1.0})
    selections.commit_selection(space, "few", few, manifest_digest(few), {})
    by_arm = arm_trainings(space, ARMS, SWEEP, trained.dataset)
    jobs = [job for group in by_arm.values() for job in group]
    runner = LocalRunner("cpu")
    pipeline.train(space, trained.dataset, "x", "retraining", jobs, lambda: runner, QUIET)
    pipeline.fill(space, trained.dataset, ledger.classifiers_of(space, jobs), ("test",), "none", lambda: runner, QUIET)
    scores = from_store.score(space, population.choose_population(space), "test").to_pandas()
    cleaned = (Op(name="below", params={"c": float(round(scores["c_perplexity"].median(), 2)), "x": 0.9}),)
    return space, compare_trainings(space, ARMS, by_arm, cleaned, scores, 3)


@pytest.mark.parametrize(("examples", "batch", "steps"), [(60, 16, 4), (64, 16, 4), (65, 16, 5), (1, 16, 1)])
def test_equal_steps_are_those_of_one_pass(examples: int, batch: int, steps: int) -> None:
    """Batches of one pass over the whole training set, the short one counted; a recipe that fixes its steps keeps them."""
    recipe = Recipe(batch_size=batch)
    assert equal_steps(recipe, examples).steps_per_epoch == steps
    assert equal_steps(recipe.replace(steps_per_epoch=7), examples).steps_per_epoch == 7


def test_arms_differ_in_their_selection_alone(trained: Tiny, done: tuple[Workspace, Comparison]) -> None:
    """Same recipe, seeds and steps in both arms; the baseline has no treatment, the other its manifest."""
    by_arm = arm_trainings(done[0], ARMS, SWEEP, trained.dataset)
    assert [job.seed for job in by_arm["baseline"]] == [job.seed for job in by_arm["few"]] == [0, 1]
    assert {job.recipe for group in by_arm.values() for job in group} == {SWEEP.recipe.replace(steps_per_epoch=4)}
    assert {job.treatment for job in by_arm["baseline"]} == {()}
    assert [job.treatment[0].name for job in by_arm["few"]] == ["manifest", "manifest"]


def test_every_arm_took_the_same_number_of_steps(done: tuple[Workspace, Comparison]) -> None:
    """Two epochs of four steps, on 58 rows and on 20 rows of 10 examples."""
    table = done[1].arms
    assert set(table["steps"]) == {8}
    counts = table.groupby("arm")[["n_train", "n_unique"]].first()
    assert counts.loc["baseline"].tolist() == [58, 58]
    assert counts.loc["few"].tolist() == [20, 10]


def test_accuracies_are_counted_on_the_answers(trained: Tiny, done: tuple[Workspace, Comparison]) -> None:
    """acc1 of each arm and seed on the full test set equals a count over its 29 readable examples; with three classes acc5 is 1."""
    space, comparison = done
    by_arm = arm_trainings(space, ARMS, SWEEP, trained.dataset)
    labels = trained.dataset.splits["test"].labels
    full = comparison.arms[comparison.arms["on"] == "full"].set_index(["arm", "seed"])
    for arm, jobs in by_arm.items():
        for job in jobs:
            name = f"{job.id}-e0002"
            ((_, batches),) = read_answers(space, trained.dataset.fingerprint, "test", [name])
            said = next(iter(batches))[1].column("prediction").to_pylist()
            hits = [p == label for p, label in zip(said, labels, strict=True) if p is not None]
            assert full.loc[(arm, job.seed), "n"] == len(hits) == 29
            assert full.loc[(arm, job.seed), "acc1"] == pytest.approx(np.mean(hits))
            assert full.loc[(arm, job.seed), "acc5"] == 1.0


def test_a_cleaned_test_set_is_a_part_of_the_full_one(done: tuple[Workspace, Comparison]) -> None:
    """Fewer examples, the same for every arm, named by the rule that made it."""
    table = done[1].arms
    counts = table.groupby("on")["n"].agg(["min", "max"])
    assert len(counts) == 2
    assert counts.loc["full"].tolist() == [29, 29]
    (rule,) = set(counts.index) - {"full"}
    assert rule.startswith("below:c=")
    cleaned = counts.loc[rule]
    assert 0 < cleaned["min"] == cleaned["max"] < 29


def test_comparisons_are_paired_by_seed(done: tuple[Workspace, Comparison]) -> None:
    """Mean over seeds; delta is the mean of the differences seed by seed; the first arm has none; notes are the arms'."""
    table = done[1].comparisons
    assert list(table.columns) == list(SCHEMA["comparisons"])
    rows = table[(table["on"] == "full") & (table["metric"] == "acc1")].set_index("arm")
    arms = done[1].arms
    full = arms[arms["on"] == "full"].pivot_table(index="seed", columns="arm", values="acc1")
    assert rows.loc["few", "mean"] == pytest.approx(full["few"].mean())
    assert rows.loc["few", "delta"] == pytest.approx((full["few"] - full["baseline"]).mean())
    assert rows.loc["few", "n_seeds"] == 2
    assert rows.loc["few", "note"] == "ten examples"


def test_similarities_pair_every_seed_of_every_arm(done: tuple[Workspace, Comparison]) -> None:
    """Four classifiers: every pair in three measures, in [0, 1] (kappa up to 1)."""
    table = done[1].similarities
    assert list(table.columns) == list(SCHEMA["similarities"])
    assert set(table["measure"]) >= {"zero_one", "prediction"}
    shares = table[table["measure"] != "kappa"]
    assert shares["similarity"].between(0, 1).all()
    assert set(zip(table["arm_a"], table["seed_a"], strict=True)) <= {(arm, seed) for arm in ("baseline", "few") for seed in (0, 1)}


def test_the_tables_are_written_by_name(done: tuple[Workspace, Comparison]) -> None:
    space, comparison = done
    comparison.write(space)
    for name in ("arms", "comparisons", "similarities"):
        pd.testing.assert_frame_equal(read_table(space, name), getattr(comparison, name), check_dtype=False)
        assert (space.results / f"{name}.csv").exists()


def test_without_a_finished_training_there_is_nothing_to_compare(trained: Tiny, tmp_path: Path) -> None:
    space = workspace(tmp_path)
    by_arm = {"baseline": (training(trained.dataset),)}
    with pytest.raises(NotFoundError, match=r"^none of the arms has a finished training\. Train them with 'zoo retrain'"):
        compare_trainings(space, ARMS[:1], by_arm, (), None, 3)


def test_a_cleaned_test_set_needs_scores(trained: Tiny, done: tuple[Workspace, Comparison]) -> None:
    space, _ = done
    by_arm = arm_trainings(space, ARMS, SWEEP, trained.dataset)
    with pytest.raises(NotFoundError, match=r"needs scores of the test split\. Run 'zoo fill --splits test', then 'zoo score"):
        compare_trainings(space, ARMS, by_arm, (Op(name="below", params={"c": 2.0, "x": 0.9}),), None, 3)


def test_an_unknown_selection_is_named(trained: Tiny, done: tuple[Workspace, Comparison]) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown selection 'fwe'\. Did you mean 'few'"):
        arm_trainings(done[0], (Arm(name="x", selection="fwe"),), SWEEP, trained.dataset)
