"""Whatever is read, computed or compared shard by shard is what one shard gives, byte for byte:
fill, membership, scores, held-out masks, arms.

The tiny data set has 60 + 30 examples and fits one shard everywhere else, so an offset that is
forgotten would not be seen. Here the same classifiers answer in shards of 16 (16, 16, 16, 12) and
in one.
"""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from factories import QUIET, Tiny

import zoo as library
from zoo import pipeline
from zoo.local import LocalRunner
from zoo.scores.from_store import Probabilities, sample_answers, score
from zoo.scores.population import Population, choose_population
from zoo.spec import Arm, ArmGroup, Op, Recipe, Sweep
from zoo.store import answers, fsck, ledger
from zoo.store.answers import logits_of, read_answers
from zoo.store.workspace import Workspace
from zoo.studies.arms import Comparison, arm_trainings, compare_trainings
from zoo.training import loop

SHARD = 16
GROUP = ArmGroup(
    name="tiny",
    arms=(Arm(name="one", selection="baseline"), Arm(name="two", selection="baseline")),
    retraining=Sweep(
        archs=("softmax",), recipe=Recipe(lr=0.01, batch_size=16, epochs=2), seeds=(0, 1)
    ),
)


@pytest.fixture(scope="module")
def filled(trained: Tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Workspace]:
    """The trained workspace and two retrainings, filled anew: in one shard a split, and in shards
    of 16."""
    folder = tmp_path_factory.mktemp("shards")
    whole = Workspace.open(shutil.copytree(trained.root, folder / "whole"))
    runner = LocalRunner("cpu")
    jobs = [job for group in arm_trainings(whole, GROUP, trained.dataset).values() for job in group]
    pipeline.train(whole, trained.dataset, "arms", "retraining", jobs, lambda: runner, QUIET)
    for name in ("answers", "commits/answers"):
        shutil.rmtree(whole.root / name)
    shutil.copytree(whole.root, folder / "cut")
    spaces = []
    for name, size in (("whole", 2048), ("cut", SHARD)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(answers, "SMALL_SHARD", size)
            # the same batches in both: a matrix product rounds by its shape
            patch.setattr(loop, "EVALUATION_BATCH", 4)
            space = Workspace.open(folder / name)
            members = ledger.population(space)
            # in two fills, so that answers do not lie in the population's order
            for part in (dict([*members.items()][1::2]), members):
                pipeline.fill(
                    space, trained.dataset, part, ("train", "test"), "all", lambda: runner, QUIET
                )
            pipeline.fill(
                space,
                trained.dataset,
                ledger.classifiers_of(space, jobs),
                ("test",),
                "all",
                lambda: runner,
                QUIET,
            )
        spaces.append(Workspace.open(folder / name))
    return spaces[0], spaces[1]


def population(space: Workspace) -> Population:
    return choose_population(space)


def whole_answers(space: Workspace, split: str) -> dict[str, pa.Table]:
    """Each classifier's answers on a split, its blocks one after the other."""
    found: dict[str, list[pa.RecordBatch]] = {}
    members = population(space)
    for _, batches in read_answers(space, members.fingerprint, split, members.classifiers):
        for name, batch in batches:
            found.setdefault(name, []).append(batch)
    return {name: pa.Table.from_batches(parts).combine_chunks() for name, parts in found.items()}


def test_the_second_store_is_in_four_shards(filled: tuple[Workspace, Workspace]) -> None:
    """The twin of the tests below: they compare one part with four (and two), and both stores are
    sound."""
    counts = [
        sorted({int(c.facts["shards"]) for c in space.commits.all("answers").values()})
        for space in filled
    ]
    assert counts == [[1], [2, 4]]
    assert [fsck.check(space, "semantic") for space in filled] == [[], []]


@pytest.mark.parametrize("split", ["train", "test"])
def test_answers_logits_and_membership_are_those_of_one_shard(
    filled: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch, split: str
) -> None:
    """Every column of every answer, in_train and p(label) among them, and every logit."""
    expected = whole_answers(filled[0], split)
    kept = {name: logits_of(filled[0], name, split) for name in expected}
    monkeypatch.setattr(answers, "SMALL_SHARD", SHARD)
    found = whole_answers(filled[1], split)
    assert found.keys() == expected.keys()
    for name, table in expected.items():
        assert found[name].equals(table), name
        np.testing.assert_array_equal(logits_of(filled[1], name, split), kept[name])
    seen = np.stack([table.column("in_train").to_numpy() for table in expected.values()])
    if split == "train":  # the twin: a mask that did not move with its shard would differ
        assert not np.array_equal(seen[:, :SHARD], seen[:, SHARD : 2 * SHARD])


def test_membership_is_what_the_trainings_saw(
    filled: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """in_train of every shard against the record of each training."""
    monkeypatch.setattr(answers, "SMALL_SHARD", SHARD)
    for name, table in whole_answers(filled[1], "train").items():
        expected = ledger.seen_by(filled[1], name.rsplit("-e", 1)[0])
        np.testing.assert_array_equal(table.column("in_train").to_numpy(), expected)


@pytest.mark.parametrize("labels", ["label", "label_true"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_scores_are_those_of_one_shard(
    filled: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch, split: str, labels: str
) -> None:
    """Every column, true labels and keys among them, by the given labels and by the true ones."""
    if split == "test" and labels == "label_true":
        labels = "label"
    expected = score(filled[0], population(filled[0]), split, labels)
    monkeypatch.setattr(answers, "SMALL_SHARD", SHARD)
    found = score(filled[1], population(filled[1]), split, labels).combine_chunks()
    assert found.equals(expected.combine_chunks(), check_metadata=True)
    if split == "train":
        truth = found.column("label_true").to_numpy()
        assert not np.array_equal(truth[:SHARD], truth[SHARD : 2 * SHARD])


def test_held_out_masks_and_samples_are_those_of_one_shard(
    filled: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cleanlab and the convergence are given: probabilities, masks, and sampled answers in one
    order."""
    wholes = Probabilities(filled[0], population(filled[0]), "train")
    mask, p = wholes.held_out(), list(wholes)
    sample = sample_answers(filled[0], population(filled[0]), "train", 40)
    monkeypatch.setattr(answers, "SMALL_SHARD", SHARD)
    parts = Probabilities(filled[1], population(filled[1]), "train")
    np.testing.assert_array_equal(parts.held_out(), mask)
    assert 0 < mask.sum() < mask.size
    for one, two in zip(parts, p, strict=True):
        np.testing.assert_array_equal(one, two)
    again = sample_answers(filled[1], population(filled[1]), "train", 40)
    for name, values in vars(sample).items():
        np.testing.assert_array_equal(getattr(again, name), values, err_msg=name)


def test_a_sample_is_these_examples_answers(
    filled: tuple[Workspace, Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Predictions and entropies of a sample are those that a query gives for the same ids, in the
    population's and the sample's order."""
    monkeypatch.setattr(answers, "SMALL_SHARD", SHARD)
    members = population(filled[1])
    sample = sample_answers(filled[1], members, "train", 25)
    ids = sample.example_ids
    assert sample.in_train is not None
    frame = (
        library.open(filled[1].root)
        .query("select * from answers where split = 'train'")
        .set_index(["classifier_id", "example_id"])
    )
    assert len(set(ids.tolist())) == 25
    for row, name in enumerate(members.classifiers):
        for column, example in enumerate(ids.tolist()):
            told = frame.loc[(name, example)]
            assert sample.predictions[row, column] == (
                -1 if pd.isna(told["prediction"]) else told["prediction"]
            )
            assert sample.in_train[row, column] == told["in_train"]
            assert sample.entropies[row, column] == (
                0.0 if pd.isna(told["entropy"]) else np.float32(told["entropy"])
            )
    examples = (
        library.open(filled[1].root)
        .query("select * from examples where split = 'train'")
        .set_index("example_id")
    )
    assert sample.labels.tolist() == examples.loc[ids, "label"].tolist()


def compared(space: Workspace, trained: Tiny, scores: pd.DataFrame) -> Comparison:
    jobs = arm_trainings(space, GROUP, trained.dataset)
    return compare_trainings(space, [(GROUP, jobs)], (CLEANED,), scores, 3)


CLEANED = Op(name="below", params={"x": 0.2})


def test_arms_are_compared_as_in_one_shard_and_on_the_examples_of_the_rule(
    filled: tuple[Workspace, Workspace], trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All tables are equal; the accuracy on the cleaned test set is that of a query over just the
    examples that the rule keeps."""
    scores = score(filled[0], population(filled[0]), "test").to_pandas()
    expected = compared(filled[0], trained, scores)
    monkeypatch.setattr(answers, "SMALL_SHARD", SHARD)
    found = compared(filled[1], trained, scores)
    for table in ("arms", "comparisons", "similarities"):
        pd.testing.assert_frame_equal(getattr(found, table), getattr(expected, table))
    kept = scores.loc[scores["x_perplexity"] < 0.2, "example_id"].tolist()
    assert 0 < len(kept) < scores["x_perplexity"].notna().sum()
    assert kept != list(range(len(kept)))  # the twin: they are not the first so many
    (job,) = [
        job for job in arm_trainings(filled[1], GROUP, trained.dataset)["one"] if job.seed == 0
    ]
    frame = library.open(filled[1].root).query(
        "select avg((prediction = label)::int) as a from answers join examples using (split,"
        f" example_id) where split = 'test' and classifier_id like '{job.id}-%' and example_id in"
        f" ({', '.join(map(str, kept))})"
    )
    row = found.arms[
        (found.arms["arm"] == "one")
        & (found.arms["seed"] == 0)
        & (found.arms["on"] == CLEANED.text)
    ].iloc[0]
    assert row["acc1"] == frame["a"][0]
    assert row["n"] == len(kept)
