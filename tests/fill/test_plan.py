"""What a fill has to do: groups, tasks, receipts; going on after a kill; the commit by the driver
alone."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from factories import QUIET, TEST, TRAIN, Tiny, tiny_dataset, training, workspace

import zoo.fill.plan
import zoo.store.answers
from tests.commands import done
from zoo import pipeline
from zoo.data import Dataset
from zoo.errors import NotFoundError, StoreError, UnknownNameError
from zoo.fill.plan import (
    FillBlock,
    FillPlan,
    cells_of,
    decode_block,
    membership,
    plan_fill,
    receipt_from_json,
    receipt_to_json,
)
from zoo.local import LocalRunner
from zoo.store import ledger
from zoo.store.answers import AnswerUnit, answer_parts, logits_of
from zoo.store.commits import Commits
from zoo.store.workspace import Workspace

RUNNER = LocalRunner("cpu")


@pytest.fixture
def unfilled(trained: Tiny, tmp_path: Path) -> Workspace:
    """A copy of the trained workspace without any answers."""
    root = tmp_path / "zoo"
    shutil.copytree(trained.root, root, ignore=shutil.ignore_patterns("answers", "results"))
    return Workspace.open(root)


def plan(
    space: Workspace, dataset: Dataset, splits: tuple[str, ...] = ("train",), keep: str = "all"
) -> FillPlan:
    return plan_fill(space, dataset, ledger.population(space), splits, keep)  # type: ignore[arg-type]


def small_shards(monkeypatch: pytest.MonkeyPatch, size: int = 20) -> None:
    """Shards of 20 examples: three of the training split."""
    monkeypatch.setattr(zoo.store.answers, "SMALL_SHARD", size)


def files_of(space: Workspace, folder: str) -> dict[str, tuple[int, bytes]]:
    """Every file: (inode, bytes). A file that is found again may be touched, which keeps it from
    gc; written again it is another inode."""
    root = space.root / folder
    return {
        p.relative_to(root).as_posix(): (p.stat().st_ino, p.read_bytes())
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


def same_bytes(one: Workspace, other: Workspace) -> bool:
    a, b = (files_of(space, "answers") for space in (one, other))
    return {name: data for name, (_, data) in a.items()} == {
        name: data for name, (_, data) in b.items()
    }


def test_one_unit_per_split_and_input_geometry(unfilled: Workspace, trained: Tiny) -> None:
    """12 classifiers of one geometry: one unit per split with all of them in sorted order, and 12 x
    60 + 12 x 30 cells."""
    found = plan(unfilled, trained.dataset, ("train", "test"))
    assert [(unit.split, len(unit.classifiers)) for unit in found.units] == [
        ("train", 12),
        ("test", 12),
    ]
    assert list(found.units[0].classifiers) == sorted(ledger.population(unfilled))
    assert found.cells == 12 * (TRAIN + TEST)
    assert [cells_of(task) for task in found.tasks] == [12 * TRAIN, 12 * TEST]


def test_another_geometry_is_another_unit(tmp_path: Path) -> None:
    """Inputs of 12 and of 16 pixels: two units, two groups, both committed."""
    dataset, space = tiny_dataset(tmp_path), workspace(tmp_path)
    jobs = [
        training(dataset, "lenet5", epochs=1, input_size=size, snapshots=(1,))
        for size in (None, 16)
    ]
    pipeline.train(space, dataset, "x", "population", jobs, lambda: RUNNER, QUIET)
    found = plan(space, dataset)
    assert [
        (task.geometry.size, len(task.unit.classifiers))
        for task in sorted(found.tasks, key=lambda t: t.geometry.size)
    ] == [
        (12, 1),
        (16, 1),
    ]
    RUNNER.fill(space, found, lambda cells: None)
    assert len(answer_parts(space)) == 2


@pytest.mark.parametrize(
    ("keep", "expected"), [("all", (True, True)), ("val", (False, True)), ("none", (False, False))]
)
def test_logits_are_kept_as_asked(
    unfilled: Workspace, trained: Tiny, keep: str, expected: tuple[bool, bool]
) -> None:
    """all: on both splits; val: on all but train; none: on none."""
    found = plan(unfilled, trained.dataset, ("train", "test"), keep)
    assert tuple(unit.logits for unit in found.units) == expected
    RUNNER.fill(unfilled, found, lambda cells: None)
    name = next(iter(ledger.population(unfilled)))
    for split, kept in zip(("train", "test"), expected, strict=True):
        if kept:
            assert logits_of(unfilled, name, split).shape[1] == 3
        else:
            with pytest.raises(StoreError, match=r"no logits of"):
                logits_of(unfilled, name, split)


def test_groups_are_bounded_by_count_and_by_weight(
    unfilled: Workspace, trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most five to a group: 5 + 5 + 2; or as many as weigh no more than the limit, and one that
    alone exceeds it."""
    monkeypatch.setattr(zoo.fill.plan, "GROUP_CLASSIFIERS", 5)
    assert [len(unit.classifiers) for unit in plan(unfilled, trained.dataset).units] == [5, 5, 2]
    monkeypatch.setattr(zoo.fill.plan, "MOST_WEIGHTS", 1)
    assert [len(unit.classifiers) for unit in plan(unfilled, trained.dataset).units] == [1] * 12


def test_a_group_of_any_size_gives_the_same_answers(
    unfilled: Workspace, trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In groups of one, scores are those of the one group of twelve, bit for bit."""
    from zoo.scores.from_store import score
    from zoo.scores.population import choose_population

    monkeypatch.setattr(zoo.fill.plan, "GROUP_CLASSIFIERS", 1)
    RUNNER.fill(unfilled, plan(unfilled, trained.dataset), lambda cells: None)
    assert len(answer_parts(unfilled)) == 12
    whole = trained.workspace
    assert score(unfilled, choose_population(unfilled), "train").equals(
        score(whole, choose_population(whole), "train")
    )


def test_a_killed_fill_leaves_nothing_visible_and_goes_on(
    unfilled: Workspace, trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after two of three shards: no answers to see; the rerun does one task, keeps the two
    parts, and ends with the same bytes."""
    small_shards(monkeypatch)
    calm = Workspace.open(shutil.copytree(unfilled.root, unfilled.root.with_name("calm")))
    RUNNER.fill(calm, plan(calm, trained.dataset), lambda cells: None)

    class Killed(Exception):
        pass

    done: list[int] = []

    def on_task(cells: int) -> None:
        done.append(cells)
        if len(done) == 2:
            raise Killed

    first = plan(unfilled, trained.dataset)
    assert len(first.tasks) == 3
    with pytest.raises(Killed):
        RUNNER.fill(unfilled, first, on_task)
    assert done == [240, 240]
    assert answer_parts(unfilled) == []
    before = files_of(unfilled, "answers")
    again = plan(unfilled, trained.dataset)
    assert [task.shard.index for task in again.tasks] == [2]
    RUNNER.fill(unfilled, again, lambda cells: None)
    after = files_of(unfilled, "answers")
    assert {name: after[name] for name in before} == before
    assert [len(mine) for _, mine in answer_parts(unfilled)] == [12]
    assert same_bytes(unfilled, calm)


def test_a_fill_killed_just_before_its_commit_is_committed_by_the_plan(
    unfilled: Workspace, trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All parts there, no commit: planning again finds the receipts, commits, and leaves no
    task."""
    monkeypatch.setattr(zoo.fill.plan, "commit_unit", lambda *_: None)
    RUNNER.fill(unfilled, plan(unfilled, trained.dataset), lambda cells: None)
    assert answer_parts(unfilled) == []
    monkeypatch.undo()
    assert plan(unfilled, trained.dataset).tasks == []
    assert [len(mine) for _, mine in answer_parts(unfilled)] == [12]


def test_a_new_classifier_makes_only_its_own_files(trained: Tiny, tmp_path: Path) -> None:
    """A thirteenth: a unit of one; the parts of the twelve keep bytes and times."""
    space = Workspace.open(shutil.copytree(trained.root, tmp_path / "zoo"))
    before = files_of(space, "answers")
    job = training(trained.dataset, "softmax", seed=99, epochs=1, snapshots=(1,))
    pipeline.train(space, trained.dataset, "more", "population", [job], lambda: RUNNER, QUIET)
    found = plan(space, trained.dataset)
    assert [unit.classifiers for unit in found.units] == [(f"{job.id}-e0001",)]
    RUNNER.fill(space, found, lambda cells: None)
    after = files_of(space, "answers")
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2


def test_a_fill_of_everything_plans_what_a_fill_of_everyone_named_plans(
    trained: Tiny, unfilled: Workspace, tmp_path: Path
) -> None:
    """Nothing filled, all filled, and two splits with a unit of one, one of them set aside: the
    same units, in the same order."""
    RUNNER.fill(unfilled, plan(unfilled, trained.dataset, ("test",)), lambda cells: None)
    name = sorted(ledger.population(unfilled))[3]
    alone = {name: ledger.population(unfilled)[name]}
    RUNNER.fill(
        unfilled, plan_fill(unfilled, trained.dataset, alone, ("train",), "all"), lambda cells: None
    )

    def planned(space: Workspace) -> list[AnswerUnit]:
        fresh = Workspace.open(space.root)
        found = plan_fill(fresh, trained.dataset, None, ("train", "test"), None).units
        assert found == plan(fresh, trained.dataset, ("train", "test")).units
        return found

    (unit,) = planned(unfilled)
    assert (unit.split, len(unit.classifiers), name in unit.classifiers) == ("train", 11, False)
    assert planned(trained.workspace) == []
    # The record set aside and its part with it; else the part would be found, and committed anew.
    (record,) = (
        c for c in unfilled.commits.all("answers").values() if c.identity["split"] == "train"
    )
    unfilled.files.move(record.name, f"quarantine/{record.name}")
    shutil.rmtree(unfilled.root / "answers" / record.key)
    (unit,) = planned(unfilled)
    assert (unit.split, len(unit.classifiers)) == ("train", 12)


def test_zoo_fill_reads_the_records_it_needs_and_no_others(
    trained: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thirteenth classifier: of 13 checkpoints and 7 trainings one each; the two units of twelve,
    which no name tells; the new ones."""
    space = Workspace.open(shutil.copytree(trained.root, tmp_path / "zoo"))
    job = training(trained.dataset, "softmax", seed=99, epochs=1, snapshots=(1,))
    pipeline.train(space, trained.dataset, "more", "population", [job], lambda: RUNNER, QUIET)
    read: list[str] = []
    parse = Commits._parse
    monkeypatch.setattr(
        Commits, "_parse", lambda self, name, data: (read.append(name), parse(self, name, data))[1]
    )
    assert "has answers" in done("fill", "-w", space.root, "--runner", "local")
    assert Counter(name.split("/")[1] for name in read) == {
        "dataset": 1,
        "checkpoint": 1,
        "training": 1,
        "plan": 2,
        "answers": 2 + 2,
    }
    assert {
        f"commits/checkpoint/{job.id}-e0001.g0001.json",
        f"commits/training/{job.id}.g0001.json",
    } < set(read)
    read.clear()
    done("fill", "-w", space.root, "--runner", "local")
    # All is filled: the units of one are known by name, and no checkpoint, training or plan is
    #     looked at.
    assert Counter(name.split("/")[1] for name in read) == {"dataset": 1, "answers": 2}


def test_logits_of_large_populations_are_kept_on_the_test_split(
    unfilled: Workspace, trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing said: all logits of twelve where up to twelve are few, those of the test split where
    up to eleven are; a retraining does not count."""
    job = training(trained.dataset, "softmax", seed=99, epochs=1, snapshots=(1,))
    pipeline.train(unfilled, trained.dataset, "arm", "retraining", [job], lambda: RUNNER, QUIET)
    for limit, expected in (
        (12, {("train", True), ("test", True)}),
        (11, {("train", False), ("test", True)}),
    ):
        monkeypatch.setattr(zoo.fill.plan, "_KEEP_ALL_UP_TO", limit)
        found = plan_fill(unfilled, trained.dataset, None, ("train", "test"), None).units
        assert {(unit.split, unit.logits) for unit in found} == expected
        assert {len(unit.classifiers) for unit in found} == {13}


def test_without_a_trained_classifier_there_is_nothing_to_fill(
    trained: Tiny, tmp_path: Path
) -> None:
    """An empty workspace, and one whose training has not ended; a store where all is filled has
    nothing to do, which is no error."""
    space = workspace(tmp_path)
    for classifiers in (None, {}):
        with pytest.raises(
            NotFoundError,
            match=(
                r"^no trained classifier in .* for pictures \(\w+\)\. Train some first\. See zoo"
                r" train --help$"
            ),
        ):
            plan_fill(space, trained.dataset, classifiers, ("train",), None)
    space.commits.publish(
        "checkpoint",
        "ab-e0001",
        identity={},
        facts={"training_id": "ab", "dataset": trained.dataset.fingerprint},
    )
    with pytest.raises(NotFoundError, match="no trained classifier"):
        plan_fill(space, trained.dataset, None, ("train",), None)
    assert plan_fill(trained.workspace, trained.dataset, None, ("train",), None).units == []
    with pytest.raises(NotFoundError, match="no trained classifier"):
        plan_fill(trained.workspace, trained.dataset, {}, ("train",), None)


def test_answers_record_how_the_pictures_were_given(trained: Tiny) -> None:
    """Per classifier of the unit, equal to what its checkpoint records: 12 pixels, grey, padded,
    with statistics."""
    space = trained.workspace
    checkpoints = space.commits.all("checkpoint")
    for commit in space.commits.all("answers").values():
        recorded = commit.facts["preprocessing"]
        assert list(recorded) == sorted(commit.identity["classifiers"])
        assert recorded == {name: checkpoints[name].facts["preprocessing"] for name in recorded}
        for name, given in recorded.items():
            assert (given["size"], given["channels"], given["fit"]) == (12, 1, "pad"), name
            assert len(given["mean"]) == len(given["std"]) == 1


def test_the_driver_commits_with_the_last_receipt(
    unfilled: Workspace, trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Receipts in any order; nothing is visible before the last, and one that comes twice is
    refused."""
    small_shards(monkeypatch)
    from zoo.fill.predict import ShardWorker

    found = plan(unfilled, trained.dataset)
    worker = ShardWorker(unfilled, RUNNER.device)
    receipts = [worker(task, *decode_block(FillBlock((task,)))) for task in found.tasks]
    key = found.units[0].key
    for receipt in receipts[:0:-1]:
        found.receive(key, receipt)
        assert answer_parts(unfilled) == []
    found.receive(key, receipts[0])
    assert len(answer_parts(unfilled)) == 1
    with pytest.raises(StoreError, match="incomplete"):
        found.receive(key, receipts[0])


def test_receipts_and_blocks_travel_as_canonical_json(unfilled: Workspace, trained: Tiny) -> None:
    """There and back without loss, with and without logits."""
    for keep in ("all", "none"):
        found = plan(unfilled, trained.dataset, keep=keep)
        (task,), (block,) = found.tasks, found.blocks()
        assert FillBlock.from_json(block.to_json()) == block == FillBlock((task,))
        assert block.to_json() == json.dumps(
            json.loads(block.to_json()), sort_keys=True, separators=(",", ":")
        )
        RUNNER.fill(unfilled, found, lambda cells: None)
        receipt = found._receipts[task.unit.key][0]
        assert receipt_from_json(receipt_to_json(task.unit, receipt)) == (task.unit.key, receipt)
        shutil.rmtree(unfilled.root / "commits" / "answers")
        unfilled.commits._cache.clear()


def test_a_split_that_does_not_exist_is_refused(unfilled: Workspace, trained: Tiny) -> None:
    with pytest.raises(
        UnknownNameError,
        match=(
            r"^unknown split of pictures 'tset'\. Did you mean 'test'\? .*Choose with --splits\.$"
        ),
    ):
        plan(unfilled, trained.dataset, ("tset",))


def test_classifiers_of_another_data_set_are_left_out(unfilled: Workspace, tmp_path: Path) -> None:
    """Their pictures are others: a fill of this data set has nothing to do for them."""
    other = tiny_dataset(tmp_path / "other", seed=5)
    assert plan(unfilled, other).units == []


def test_membership_is_what_the_trainings_saw(unfilled: Workspace, trained: Tiny) -> None:
    """bool [n] of each classifier on a shard: rows of the record of its training; nothing on the
    test split."""
    train, test = plan(unfilled, trained.dataset, ("train", "test")).tasks
    masks = membership(unfilled, train)
    for row, name in zip(masks, train.unit.classifiers, strict=True):
        np.testing.assert_array_equal(row, ledger.seen_by(unfilled, name.rsplit("-e", 1)[0]))
    assert [int(mask.sum()) for mask in masks if mask is not None].count(58) == 4
    assert not np.stack(membership(unfilled, test)).any()  # type: ignore[arg-type]
