"""A fill whose networks answer many at once gives the answers of one network after the other, to
rounding, and says who made them; who does is chosen by a rule.

The twelve classifiers of the tiny workspace: six of softmax, six of nin_mini.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import TRAIN, UNREADABLE_TRAIN, Tiny
from numpy.typing import NDArray

import zoo.fill.plan
import zoo.store.answers
from zoo.errors import UsageError
from zoo.fill import predict, program
from zoo.fill.plan import FillBlock, FillPlan, decode_block, receipt_from_json, receipt_to_json
from zoo.fill.program import asked, lanes_of
from zoo.local import LocalRunner
from zoo.store import ledger
from zoo.store.answers import answer_parts, logits_blocks
from zoo.store.commits import Commit
from zoo.store.fsck import check
from zoo.store.workspace import Workspace

RUNNER = LocalRunner("cpu")

needs_numba = pytest.mark.skipif(
    predict.find_spec("numba") is None, reason="numba (the extra 'fast') is not installed"
)


@pytest.fixture(autouse=True)
def three_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo.store.answers, "SMALL_SHARD", 20)


@pytest.fixture
def copied(trained: Tiny, tmp_path: Path) -> Callable[[str], Workspace]:
    """Copies of the trained workspace without any answers."""
    left_out = shutil.ignore_patterns("answers", "results")

    def copy(name: str) -> Workspace:
        return Workspace.open(shutil.copytree(trained.root, tmp_path / name, ignore=left_out))

    return copy


def plan(space: Workspace, tiny: Tiny, by: str | None) -> FillPlan:
    everyone = ledger.population(space)
    return zoo.fill.plan.plan_fill(space, tiny.dataset, everyone, ("train",), "all", program=by)


def ignore(*_: object) -> None:
    """No progress."""


def stored(space: Workspace) -> dict[str, NDArray[np.float32]]:
    """Logits [E, M] of each classifier on the training split, centred, as they are kept."""
    return {
        name: np.concatenate(logits_blocks(space, name, "train")).astype(np.float32)
        for name in ledger.population(space)
    }


@needs_numba
def test_answers_in_lanes_are_those_of_one_network_after_the_other(
    trained: Tiny, copied: Callable[[str], Workspace]
) -> None:
    """Kept logits within a step of float16; the record names each classifier and its three shards,
    that of the other fill nobody; both are sound."""
    one, many = copied("one"), copied("many")
    for space, by in ((one, "single"), (many, "lanes")):
        found = plan(space, trained, by)
        RUNNER.fill(space, found, ignore)
        assert len(found.in_lanes) == (12 if by == "lanes" else 0)
        assert list(check(space, "semantic")) == []
    (of_one,), (of_many,) = (
        one.commits.all("answers").values(),
        many.commits.all("answers").values(),
    )
    assert of_many.key == of_one.key
    assert of_many.facts["lanes"] == dict.fromkeys(ledger.population(many), 3)
    assert "lanes" not in of_one.facts
    readable = np.setdiff1d(np.arange(TRAIN), UNREADABLE_TRAIN)
    expected, got = stored(one), stored(many)
    for name, values in expected.items():
        np.testing.assert_allclose(got[name][readable], values[readable], atol=1e-2, rtol=2e-3)


@needs_numba
def test_a_classifiers_logits_in_lanes_are_the_same_bits_in_any_unit(
    trained: Tiny, copied: Callable[[str], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Units of twelve and of five: every kept logit is equal."""
    whole, parts = copied("whole"), copied("parts")
    RUNNER.fill(whole, plan(whole, trained, "lanes"), ignore)
    monkeypatch.setattr(zoo.fill.plan, "GROUP_CLASSIFIERS", 5)
    RUNNER.fill(parts, plan(parts, trained, "lanes"), ignore)
    assert sorted(len(names) for _, names in answer_parts(parts)) == [2, 5, 5]
    expected, got = stored(whole), stored(parts)
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name], values)


@needs_numba
def test_a_fill_goes_on_with_what_another_program_has_made(
    trained: Tiny, copied: Callable[[str], Workspace]
) -> None:
    """A shard answered by one network after the other before a kill stays; the record says that
    lanes made two of three. Parts in lanes are found again too, with who made them."""
    space = copied("zoo")
    worker = predict.ShardWorker(space, RUNNER.device)
    first = plan(space, trained, "single").tasks[0]
    worker(first, *decode_block(FillBlock((first,))))
    second = plan(space, trained, "lanes").tasks[0]
    assert second.shard.index == 1
    predict.ShardWorker(space, RUNNER.device)(second, *decode_block(FillBlock((second,))))
    left = plan(space, trained, "lanes")
    assert [task.shard.index for task in left.tasks] == [2]
    RUNNER.fill(space, left, ignore)
    (record,) = space.commits.all("answers").values()
    assert record.facts["lanes"] == dict.fromkeys(ledger.population(space), 2)


@needs_numba
def test_a_worker_without_numba_or_with_narrow_registers_answers_one_by_one(
    trained: Tiny, copied: Callable[[str], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was planned in lanes is answered all the same, and no part says lanes. Narrow registers
    are used where that is asked for."""
    space = copied("zoo")
    task = plan(space, trained, "lanes").tasks[0]
    names, shown = task.unit.classifiers, decode_block(FillBlock((task,)))
    places = [[names.index(name) for name in group] for group in task.lanes]
    group = predict.ClassifierGroup.load(
        space.files, [ledger.population(space)[name] for name in names], RUNNER.device
    )
    monkeypatch.setattr(predict, "WIDTH", 64)
    assert group.in_lanes(places, wanted=False).together == ()
    assert len(group.in_lanes(places, wanted=True).together) == 2
    monkeypatch.setattr(predict, "find_spec", lambda _: None)
    receipt = predict.ShardWorker(space, RUNNER.device)(task, *shown)
    assert not isinstance(receipt, predict.Refusal)
    assert receipt.lanes == ()


def test_blocks_and_receipts_travel_with_their_lanes(
    trained: Tiny, copied: Callable[[str], Workspace]
) -> None:
    space = copied("zoo")
    found = plan(space, trained, "lanes")
    assert [len(group) for group in found.tasks[0].lanes] == [6, 6]
    block = found.blocks()[0]
    assert FillBlock.from_json(block.to_json()) == block
    task = found.tasks[0]
    receipt = predict.ShardWorker(space, RUNNER.device)(task, *decode_block(block))
    assert receipt_from_json(receipt_to_json(task.unit, receipt)) == (task.unit.key, receipt)


# ---------------------------------------------------------------- the rule


def classifiers(*archs: str, **facts: Any) -> Mapping[str, Commit]:
    return {
        f"{i:04d}": Commit(
            "checkpoint",
            f"{i:04d}",
            1,
            {},
            {"arch": arch, "preprocessing": {"size": 28}, **facts},
            (),
        )
        for i, arch in enumerate(archs)
    }


def counts(given: Mapping[str, Commit], examples: int = 10**6, by: str | None = None) -> list[int]:
    return [len(group) for group in lanes_of(list(given), given, examples, by)]


@pytest.fixture
def lenet_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "FASTER", {"lenet5": 4.0})


@pytest.mark.usefixtures("lenet_is_faster")
@pytest.mark.parametrize(
    ("there", "taken"), [(5, []), (6, [6]), (16, [16]), (20, [16]), (22, [22])]
)
def test_lanes_are_chosen_where_enough_of_them_are_filled(there: int, taken: list[int]) -> None:
    """Six, four times as fast as sixteen are, are 1.5 times as fast; also in the last register."""
    assert counts(classifiers(*["lenet5"] * there)) == taken


@pytest.mark.usefixtures("lenet_is_faster")
def test_lanes_are_chosen_for_measured_architectures_and_work_that_pays() -> None:
    sixteen = classifiers(*["lenet5"] * 16, *["mlp"] * 16)
    assert counts(sixteen) == [16]
    assert counts(sixteen, examples=100) == []
    assert counts(sixteen, by="single") == []
    assert counts(sixteen, examples=100, by="lanes") == [16, 16]
    assert counts(classifiers(*["lenet5"] * 16, network="lenet5"), by="lanes") == []
    assert counts(classifiers(*["head_mlp"] * 16), by="lanes") == []


@pytest.mark.usefixtures("lenet_is_faster")
def test_networks_share_a_register_where_they_are_shown_the_same() -> None:
    """Eight with one preprocessing and four with another: the four stay."""
    given = dict(classifiers(*["lenet5"] * 12))
    for name in list(given)[8:]:
        given[name].facts["preprocessing"] = {"size": 32}
    assert counts(given) == [8]
    assert counts(given, by="lanes") == [8, 4]


def test_a_program_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"^program=fast: there is no such program\. Allowed: "):
        asked("fast")
    monkeypatch.setenv("ZOO_PROGRAM", "quick")
    with pytest.raises(UsageError, match=r"^ZOO_PROGRAM=quick: "):
        asked(None)
    monkeypatch.setenv("ZOO_PROGRAM", "lanes")
    assert (asked(None), asked("single")) == ("lanes", "single")
