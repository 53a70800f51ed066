"""Blocks of a fill: a picture is decoded once per input size however many groups of classifiers
there are, and nothing of it shows in the answers.

The twelve classifiers of the tiny workspace in groups of five, the training split in shards of 20:
three groups (5, 5, 2) on three shards.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from factories import TEST, TRAIN, Tiny
from numpy.typing import NDArray

import zoo.fill.plan
import zoo.store.answers
from zoo.data import Decoded
from zoo.fill import predict
from zoo.fill.plan import FillBlock, FillPlan, FillTask, decode_block, plan_fill, receipt_from_json
from zoo.fill.predict import ClassifierGroup, ShardWorker
from zoo.local import LocalRunner
from zoo.store import ledger
from zoo.store.answers import answer_parts
from zoo.store.commits import Commit
from zoo.store.workspace import Workspace

RUNNER = LocalRunner("cpu")


def ignore(*_: object) -> None:
    """No progress."""


@pytest.fixture(autouse=True)
def three_groups_on_three_shards(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(zoo.fill.plan, "GROUP_CLASSIFIERS", 5)
    monkeypatch.setattr(zoo.store.answers, "SMALL_SHARD", 20)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def unfilled(trained: Tiny, root: Path) -> Workspace:
    """A copy of the trained workspace without any answers."""
    left_out = shutil.ignore_patterns("answers", "results")
    return Workspace.open(shutil.copytree(trained.root, root, ignore=left_out))


@pytest.fixture
def space(trained: Tiny, tmp_path: Path) -> Workspace:
    return unfilled(trained, tmp_path / "zoo")


def plan(space: Workspace, tiny: Tiny, splits: tuple[str, ...] = ("train",)) -> FillPlan:
    return plan_fill(space, tiny.dataset, ledger.population(space), splits, "all")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, int, int]]:
    """How often each picture is decoded from now on: (split, side, example) -> times."""
    found: Counter[tuple[str, int, int]] = Counter()
    decode = zoo.fill.plan.decode_examples

    def counted(split: object, ids: NDArray[np.int64], *, size: int, **more: object) -> Decoded:
        found.update((split.name, size, int(i)) for i in ids)  # type: ignore[attr-defined]
        return decode(split, ids, size=size, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(zoo.fill.plan, "decode_examples", counted)
    return found


def once(splits: Sequence[tuple[str, int]], times: int = 1) -> dict[tuple[str, int, int], int]:
    return {(split, 12, i): times for split, count in splits for i in range(count)}


def written(space: Workspace) -> dict[str, bytes]:
    root = space.root / "answers"
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*.*"))}


def test_a_fill_decodes_each_picture_once_whatever_the_number_of_groups(
    space: Workspace, trained: Tiny, decoded: Counter[tuple[str, int, int]]
) -> None:
    """Three groups on two splits: each picture once. Twin: task by task, as many times as there
    are groups."""
    both = (("train", TRAIN), ("test", TEST))
    found = plan(space, trained, ("train", "test"))
    assert [len(unit.classifiers) for unit in found.units] == [5, 5, 2] * 2
    RUNNER.fill(space, found, ignore)
    assert decoded == once(both)
    assert sorted(len(mine) for _, mine in answer_parts(space)) == [2, 2, 5, 5, 5, 5]
    decoded.clear()
    for task in found.tasks:
        decode_block(FillBlock((task,)))
    assert decoded == once(both, times=3)


def test_the_cut_does_not_show_in_the_answers(
    space: Workspace, trained: Tiny, tmp_path: Path
) -> None:
    """Files and records of a fill in blocks are those of a fill task by task, byte for byte."""
    RUNNER.fill(space, plan(space, trained), ignore)
    other = unfilled(trained, tmp_path / "other")
    apart, worker = plan(other, trained), ShardWorker(other, RUNNER.device)
    torch.set_num_threads(1)
    for task in apart.tasks:
        apart.receive(task.unit.key, worker(task, *decode_block(FillBlock((task,)))))
    assert written(space) == written(other)
    assert len(written(space)) == 3 * 3 * 2


def loads(monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], list[int]]:
    """Sizes of the groups that are loaded from now on, and the weights held while one is."""
    sizes: list[int] = []
    held: list[int] = []
    load: Callable[..., ClassifierGroup] = ClassifierGroup.load
    worker: list[ShardWorker] = []
    start = ShardWorker.__init__

    def started(self: ShardWorker, *arguments: object) -> None:
        start(self, *arguments)  # type: ignore[arg-type]
        worker.append(self)

    def loaded(files: object, commits: Sequence[Commit], device: torch.device) -> ClassifierGroup:
        sizes.append(len(commits))
        new = sum(commit.files[0].bytes for commit in commits)
        held.append(new + sum(weights for _, weights in worker[-1]._groups.values()))
        return load(files, commits, device)

    monkeypatch.setattr(ShardWorker, "__init__", started)
    monkeypatch.setattr(ClassifierGroup, "load", loaded)
    return sizes, held


def test_groups_that_fit_together_are_loaded_once(
    space: Workspace, trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three groups, three blocks of a shard each: three loads."""
    sizes, _ = loads(monkeypatch)
    found = plan(space, trained)
    assert [len(block.shards) for block in found.blocks()] == [1, 1, 1]
    RUNNER.fill(space, found, ignore)
    assert sizes == [5, 5, 2]


def test_groups_that_do_not_fit_together_pass_over_larger_blocks(
    space: Workspace,
    trained: Tiny,
    monkeypatch: pytest.MonkeyPatch,
    decoded: Counter[tuple[str, int, int]],
) -> None:
    """Room for one group alone and for the pictures of two shards: blocks of two and of one, the
    second backwards, so that its first group is still loaded: 3 + 2 loads, each picture decoded
    once. Never is more held than the room there is."""
    sizes, held = loads(monkeypatch)
    found = plan(space, trained)
    largest = max(
        sum(ledger.population(space)[name].files[0].bytes for name in unit.classifiers)
        for unit in found.units
    )
    for module in (zoo.fill.plan, predict):
        monkeypatch.setattr(module, "MOST_WEIGHTS", largest)
    blocks = found.blocks(held=2 * 20 * 12 * 12)
    assert [[shard.index for shard in block.shards] for block in blocks] == [[0, 1], [2]]
    monkeypatch.setattr(found, "blocks", lambda: blocks)
    RUNNER.fill(space, found, ignore)
    assert sizes == [5, 5, 2, 5, 5]
    assert max(held) <= largest
    assert decoded == once([("train", TRAIN)])
    assert len(answer_parts(space)) == 3


def test_several_workers_share_out_what_is_too_little_for_all(
    space: Workspace, trained: Tiny
) -> None:
    """Three blocks: enough for one worker, not for two (four rows are wanted), so each is shared in
    two; for nine workers the groups of each apart. No task is lost or done twice."""
    found = plan(space, trained)
    for workers, shares in ((1, 1), (2, 2), (9, 3)):
        blocks = found.blocks(workers)
        assert len(blocks) == 3 * shares
        tasks = [(t.unit.key, t.shard.index) for block in blocks for t in block.tasks]
        assert sorted(tasks) == sorted((t.unit.key, t.shard.index) for t in found.tasks)


def test_a_killed_block_goes_on_with_the_groups_that_are_left(
    space: Workspace, trained: Tiny, decoded: Counter[tuple[str, int, int]], tmp_path: Path
) -> None:
    """Stopped after the first shard and one group of the second: the rerun decodes the two shards
    that are left, asks the two other groups about the second, and ends with the same bytes."""

    class Killed(Exception):
        pass

    done: list[int] = []

    def on_task(cells: int) -> None:
        done.append(cells)
        if len(done) == 4:
            raise Killed

    with pytest.raises(Killed):
        RUNNER.fill(space, plan(space, trained), on_task)
    assert answer_parts(space) == []
    decoded.clear()
    again = plan(space, trained)
    assert Counter(task.shard.index for task in again.tasks) == {1: 2, 2: 3}
    RUNNER.fill(space, again, ignore)
    assert decoded == {("train", 12, i): 1 for i in range(20, TRAIN)}
    calm = unfilled(trained, tmp_path / "calm")
    RUNNER.fill(calm, plan(calm, trained), ignore)
    assert written(space) == written(calm)


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_a_row_of_the_pipeline_gives_its_receipts_in_the_blocks_order(
    space: Workspace, trained: Tiny
) -> None:
    """What Ray's tasks run, here without Ray: a receipt for each task as it is done, in the order
    that the row says (a row that is tried again has to give the same ones)."""
    from zoo.cluster.fill import _Classify, _decode

    found = plan(space, trained)
    for block in found.blocks():
        row = _decode({"block": block.to_json()})
        receipts = _Classify(str(space.root), 0.0)(row)
        for task in block.tasks:
            key, receipt = receipt_from_json(next(receipts)["receipt"])
            assert (key, receipt.shard) == (task.unit.key, task.shard.index)
            found.receive(key, receipt)
        assert next(receipts, None) is None
    assert len(answer_parts(space)) == 3


def test_a_node_that_cannot_do_the_work_reads_no_pictures(
    space: Workspace, trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it joined after the work was begun: its row has none, the actor elsewhere reads them,
    and its answers are those of a row with pictures. A probed node, and one that is as the driver
    is, read them."""
    import ray

    from zoo.cluster.fill import _Classify, _decode
    from zoo.cluster.preflight import Gate, Wanted, look

    context = mock.Mock(get_node_id=lambda: "b")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    own = look(None)
    wanted = Wanted("", "", "", {}, 0.0)
    (block, *_) = plan(space, trained).blocks()
    row = {"block": block.to_json()}
    alike = Gate(wanted, own, frozenset({"a"}))
    assert alike.opens()
    whole = _decode(row, alike)
    other = replace(alike, own=replace(own, source="0" * 16))
    assert _decode(row, replace(other, probed=frozenset({"a", "b"}))) == whole
    assert not other.opens()
    empty = _decode(row, other)
    assert empty == {**row, "images": b"", "shape": [-1], "unreadable": b""}
    assert whole["images"]
    actor = _Classify(str(space.root), 0.0)

    def given(row: dict[str, Any]) -> list[object]:
        """What comes back, without how long it took."""
        receipts = [receipt_from_json(str(out["receipt"])) for out in actor(row)]
        return [(unit, replace(receipt, seconds=None)) for unit, receipt in receipts]  # type: ignore[call-arg]

    assert given(empty) == given(whole)


def test_the_pictures_of_a_shard_are_found_in_their_block(space: Workspace, trained: Tiny) -> None:
    """Shards 0 and 2 of one block: the rows of each are those that it decodes alone."""
    tasks: list[FillTask] = [t for t in plan(space, trained).tasks if t.shard.index != 1]
    block = FillBlock(tuple(tasks))
    images, unreadable = decode_block(block)
    assert len(images) == len(unreadable) == 40
    for task in tasks:
        alone, lost = decode_block(FillBlock((task,)))
        np.testing.assert_array_equal(images[block.rows(task.shard)], alone)
        np.testing.assert_array_equal(unreadable[block.rows(task.shard)], lost)
