"""Answers from logits on the fast path equal the reference; a classifier's answers do not depend on
its company."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from factories import UNREADABLE_TEST, UNREADABLE_TRAIN, Tiny
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from zoo import models
from zoo.errors import NotFoundError
from zoo.fill.plan import FillBlock, FillTask, Refusal, decode_block, plan_fill
from zoo.fill.predict import ClassifierGroup, ShardWorker, answers_of
from zoo.scores.outputs import answers_from_logits
from zoo.spec import Preprocessing
from zoo.store import ledger
from zoo.store.answers import Answers, AnswerUnit, read_answers, shards
from zoo.store.workspace import Workspace
from zoo.training.loop import EVALUATION_BATCH
from zoo.training.tensors import normalise
from zoo.trainsets.inputs import Geometry, open_pictures

CPU = torch.device("cpu")


def assert_same(found: Answers, reference: Answers) -> None:
    """Classes exactly; numbers to float32 (of sums of up to 1,000 terms) or to one step of
    float16."""
    for name in ("prediction", "top5", "finite"):
        np.testing.assert_array_equal(getattr(found, name), getattr(reference, name), err_msg=name)
    for name, tolerance in (
        ("p_label", 2e-6),
        ("entropy", 2e-5),
        ("margin", 4e-6),
        ("top5_p", 1e-3),
    ):
        a, b = getattr(found, name), getattr(reference, name)
        assert a.dtype == b.dtype, name
        np.testing.assert_allclose(
            a.astype(np.float64), b.astype(np.float64), atol=tolerance, rtol=0, err_msg=name
        )


def random_logits(
    seed: int, examples: int, classes: int, scale: float = 3.0
) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=(examples, classes)) * scale).astype(np.float32)


def labels_for(seed: int, examples: int, classes: int) -> NDArray[np.int64]:
    """Labels with some unknown ones."""
    return np.random.default_rng(seed).integers(-1, classes, examples)


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 5, 6, 10, 64, 65, 1000])
@pytest.mark.parametrize("scale", [1e-3, 3.0, 1e4])
def test_answers_equal_the_reference(classes: int, scale: float) -> None:
    """For 1 to 1,000 classes and logits near 0, ordinary and +-10,000: the same answers as
    ``answers_from_logits``."""
    logits, labels = random_logits(classes, 200, classes, scale), labels_for(1, 200, classes)
    assert_same(answers_of(logits, labels), answers_from_logits(logits, labels))


@pytest.mark.parametrize("classes", [2, 3, 7, 64, 65, 300])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_ties_go_to_the_lowest_class(classes: int, levels: int) -> None:
    """Logits of one, two or three values: prediction and top 5 follow the class index on either
    side of the switch at 64 classes."""
    logits = np.random.default_rng(classes).integers(0, levels, (300, classes)).astype(np.float32)
    labels = labels_for(2, 300, classes)
    found = answers_of(logits, labels)
    assert_same(found, answers_from_logits(logits, labels))
    order = np.argsort(-logits, axis=1, kind="stable")
    assert found.prediction.tolist() == order[:, 0].tolist()
    kept = min(5, classes)
    assert found.top5[:, :kept].tolist() == order[:, :kept].tolist()


def test_rows_that_are_not_finite_answer_nothing() -> None:
    """NaN, +inf or -inf anywhere in a row: prediction -1, NaN numbers, an empty top 5; other rows
    are untouched."""
    for classes in (3, 100):
        logits = random_logits(0, 6, classes)
        logits[0, 1], logits[2, 0], logits[4, classes - 1], logits[5] = (
            np.nan,
            np.inf,
            -np.inf,
            np.nan,
        )
        labels = np.zeros(6, dtype=np.int64)
        found = answers_of(logits, labels)
        assert found.prediction[[0, 2, 4, 5]].tolist() == [-1] * 4
        assert found.finite.tolist() == [False, True, False, True, False, False]
        assert_same(found, answers_from_logits(logits, labels))


def test_extreme_logits_are_certain() -> None:
    """(10,000, -10,000): entropy 0, not NaN; probability 1 and 0; margin 1 and -1."""
    found = answers_of(np.array([[1e4, -1e4], [1e4, -1e4]], dtype=np.float32), np.array([0, 1]))
    assert found.entropy.tolist() == [0.0, 0.0]
    assert found.p_label.tolist() == [1.0, 0.0]
    assert found.margin.tolist() == [1.0, -1.0]


@given(
    seed=st.integers(0, 10**6),
    examples=st.integers(1, 20),
    classes=st.integers(1, 90),
    scale=st.sampled_from([0.0, 0.1, 5.0, 1e4]),
    grain=st.sampled_from([0.0, 0.5, 2.0]),
)
def test_any_logits_equal_the_reference(
    seed: int, examples: int, classes: int, scale: float, grain: float
) -> None:
    """Whatever the shape, the scale, and how coarse (tied) the values are."""
    logits = random_logits(seed, examples, classes, scale)
    if grain:
        logits = np.round(logits / grain).astype(np.float32) * np.float32(grain)
    labels = labels_for(seed, examples, classes)
    assert_same(answers_of(logits, labels), answers_from_logits(logits, labels))


# ---------------------------------------------------------------- groups


def group_of(archs: list[str], side: int = 12) -> ClassifierGroup:
    """Networks with weights of their own and two kinds of statistics."""
    members = []
    for index, arch in enumerate(archs):
        torch.manual_seed(index)
        network = models.build(arch, num_classes=3, in_channels=1, size=side).eval()
        members.append(
            (
                network,
                Preprocessing(
                    size=side, channels=1, fit="pad", mean=(0.1 * (index % 2),), std=(0.3,)
                ),
            )
        )
    return ClassifierGroup(tuple(members), CPU)


def test_logits_do_not_depend_on_the_rest_of_the_group() -> None:
    """Each member alone, in the group, in the reverse group: the same bits, also where a group
    shares a normalised batch."""
    torch.set_num_threads(1)
    archs = ["lenet5", "softmax", "nin_mini", "lenet5", "resnet8"]
    group = group_of(archs)
    images = np.random.default_rng(0).integers(
        0, 256, (EVALUATION_BATCH + 10, 12, 12, 1), dtype=np.uint8
    )
    together = group.logits(images)
    reverse = ClassifierGroup(group.members[::-1], CPU).logits(images)[::-1]
    for index, member in enumerate(group.members):
        alone = ClassifierGroup((member,), CPU).logits(images)[0]
        np.testing.assert_array_equal(alone, together[index])
        np.testing.assert_array_equal(alone, reverse[index])


def test_a_group_normalises_for_each_member_as_in_training() -> None:
    """Members with other statistics get other inputs: the logits are those of the network on its
    own normalised pictures."""
    group = group_of(["softmax", "softmax"])
    images = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 1), dtype=np.uint8)
    for (network, shape), found in zip(group.members, group.logits(images), strict=True):
        with torch.no_grad():
            expected = network(normalise(torch.from_numpy(images), shape)).numpy()
        np.testing.assert_array_equal(found, expected)
    assert group.members[0][1].mean != group.members[1][1].mean


# ---------------------------------------------------------------- shards


def task_of(tiny: Tiny, split: str, names: list[str]) -> FillTask:
    """The whole split for these classifiers, as a fill would plan it in a workspace without any
    answers."""
    space = tiny.workspace
    classifiers = {
        name: commit for name, commit in ledger.population(space).items() if name in names
    }
    facts = next(iter(classifiers.values())).facts
    p = Preprocessing(**facts["preprocessing"])
    unit = AnswerUnit(
        tiny.dataset.fingerprint, split, tuple(sorted(names)), 3, facts["classes"], True
    )
    shard = shards(len(tiny.dataset.splits[split]), p.size * p.size)[0]
    return FillTask(tiny.dataset.ref, unit, shard, Geometry(p.size, p.channels, p.fit))


def test_a_task_decodes_its_shard(trained: Tiny) -> None:
    """The pictures are those of the split held in memory; unreadable ones are marked and black."""
    task = task_of(trained, "train", list(ledger.population(trained.workspace))[:1])
    images, unreadable = decode_block(FillBlock((task,)))
    held, _ = open_pictures(trained.dataset, "train", task.geometry, None).gather(
        task.shard.example_ids
    )
    np.testing.assert_array_equal(images, held)
    assert np.flatnonzero(unreadable).tolist() == list(UNREADABLE_TRAIN)
    assert not images[list(UNREADABLE_TRAIN)].any()


def test_a_classifiers_answers_are_the_same_alone_and_in_company(
    trained: Tiny, tmp_path: Path
) -> None:
    """The store's answers (made in a group of 12) equal those of a group of one, written elsewhere:
    every column."""
    space = trained.workspace
    for split in ("train", "test"):
        for name in list(ledger.population(space))[:4]:
            task = task_of(trained, split, [name])
            worker = ShardWorker(space, CPU)
            # Only reads from the trained workspace; the part goes to another one.
            worker.workspace = _Elsewhere(space, tmp_path / f"{split}-{name}")  # type: ignore[assignment]
            receipt = worker(task, *decode_block(FillBlock((task,))))
            alone = pq.read_table(worker.workspace.files.path(receipt.answers.path)).to_pydict()
            blocks = [
                batch
                for _, batches in read_answers(space, trained.dataset.fingerprint, split, [name])
                for _, batch in batches
            ]
            assert len(blocks) == 1
            assert blocks[0].to_pydict() == alone
            lost = UNREADABLE_TRAIN if split == "train" else UNREADABLE_TEST
            assert receipt.unreadable == len(lost)
            assert [i for i, p in enumerate(alone["prediction"]) if p is None] == list(lost)


class _Elsewhere:
    """Reads commits (checkpoints, trainings) of one workspace, and reads and writes files where
    told."""

    def __init__(self, space: Workspace, root: Path) -> None:
        self.root, self.commits = space.root, space.commits
        own = Workspace.open(root, create=True).files
        self.files = own
        reader = space.files
        own.read_verified = reader.read_verified  # type: ignore[method-assign]
        written = own.path
        own.path = lambda relative: (
            reader.path(relative) if relative.startswith("trainings/") else written(relative)
        )  # type: ignore[method-assign]


def test_a_classifier_that_is_gone_is_named(trained: Tiny) -> None:
    """Planned, but not in the workspace any more: an error with its id."""
    task = task_of(trained, "train", list(ledger.population(trained.workspace))[:1])
    gone = replace(task, unit=replace(task.unit, classifiers=("feedfeedfeedfeed-e0001",)))
    with pytest.raises(
        NotFoundError,
        match=r"^classifier feedfeedfeedfeed-e0001 is not in .*Train it, or plan the fill again\.$",
    ):
        ShardWorker(trained.workspace, CPU)(gone, *decode_block(FillBlock((task,))))


def test_a_classifier_whose_logits_are_not_finite_is_refused_by_name(
    trained: Tiny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A network that gives NaN on a readable picture leaves no part behind; the refusal names it,
    with how many."""
    task = task_of(trained, "test", list(ledger.population(trained.workspace))[:1])
    logits = ClassifierGroup.logits

    def broken(self: ClassifierGroup, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        found = logits(self, images)
        found[0][3, 1] = np.nan
        return found

    monkeypatch.setattr(ClassifierGroup, "logits", broken)
    worker = ShardWorker(trained.workspace, CPU)
    worker.workspace = _Elsewhere(trained.workspace, tmp_path / "elsewhere")  # type: ignore[assignment]
    refused = worker(task, *decode_block(FillBlock((task,))))
    assert isinstance(refused, Refusal)
    assert refused.reasons == {
        task.unit.classifiers[0]: "its outputs are not finite on 1 of 30 pictures of test"
    }
    assert worker.workspace.files.names(task.unit.folder) == []


def test_nothing_is_planned_for_a_filled_workspace(trained: Tiny) -> None:
    """All twelve have answers on both splits: no task, no cell."""
    space = trained.workspace
    plan = plan_fill(space, trained.dataset, ledger.population(space), ("train", "test"), "all")
    assert (plan.tasks, plan.cells) == ([], 0)
