"""Networks that answer in bf16: near their answers in float32, in units of their own, and said."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from factories import TRAIN, UNREADABLE_TRAIN, Tiny
from numpy.typing import NDArray

import zoo.fill.plan
import zoo.store.answers
from zoo.cli.text import status_text
from zoo.fill.plan import FillBlock, FillPlan, decode_block, plan_fill
from zoo.fill.predict import ShardWorker
from zoo.local import LocalRunner
from zoo.report import write
from zoo.report.draw import Provenance
from zoo.report.parts import ReportData
from zoo.spec import Experiment, Precision
from zoo.store import ledger
from zoo.store.answers import AnswerUnit, answer_parts, answered, answered_in, logits_blocks
from zoo.store.fsck import check
from zoo.store.workspace import Workspace

RUNNER = LocalRunner("cpu")


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


def plan(space: Workspace, tiny: Tiny, precision: Precision, program: str = "single") -> FillPlan:
    everyone = ledger.population(space)
    return plan_fill(
        space, tiny.dataset, everyone, ("train",), "all", program=program, precision=precision
    )


def ignore(*_: object) -> None:
    """No progress."""


def stored(space: Workspace) -> dict[str, NDArray[np.float32]]:
    """Logits [E, M] of each classifier on the training split, centred, as they are kept."""
    return {
        name: np.concatenate(logits_blocks(space, name, "train")).astype(np.float32)
        for name in ledger.population(space)
    }


def test_answers_in_bf16_are_near_those_in_float32(
    trained: Tiny, copied: Callable[[str], Workspace]
) -> None:
    """Kept logits differ by less than a fiftieth of the largest. Of the six nin_minis some do: they
    were not made in float32; of the six softmax regressions, which are their last layer alone, none
    does. The record says bf16 and nothing of lanes, though those were asked for; the other one
    nothing of either. Both workspaces are sound."""
    exact, half = copied("exact"), copied("half")
    RUNNER.fill(exact, plan(exact, trained, "fp32"), ignore)
    RUNNER.fill(half, plan(half, trained, "bf16", "lanes"), ignore)
    (of_exact,), (of_half,) = (space.commits.all("answers").values() for space in (exact, half))
    assert "precision" not in of_exact.identity
    assert of_half.identity["precision"] == "bf16"
    assert "lanes" not in of_half.facts
    assert of_half.key != of_exact.key
    assert AnswerUnit.from_identity(of_half.identity).precision == "bf16"
    readable = np.setdiff1d(np.arange(TRAIN), UNREADABLE_TRAIN)
    expected, got = stored(exact), stored(half)
    assert len(expected) == 12
    for name, values in expected.items():
        apart = np.abs(got[name][readable] - values[readable]).max()
        assert apart < np.abs(values[readable]).max() / 50
        arch = exact.commits.all("checkpoint")[name].facts["arch"]
        assert (apart > 0) == (arch == "nin_mini")
    assert all(list(check(space, "semantic")) == [] for space in (exact, half))


def test_what_was_answered_in_float32_stays_and_no_unit_is_of_both(
    trained: Tiny, copied: Callable[[str], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard in float32 before a kill is no part of a fill in bf16, by the same worker too; what
    is filled is planned in no precision again, and the status counts those in bf16."""
    space = copied("zoo")
    first = plan(space, trained, "fp32").tasks[0]
    worker = ShardWorker(space, RUNNER.device)
    exact = worker(first, *decode_block(FillBlock((first,))))
    found = plan(space, trained, "bf16")
    assert [task.shard.index for task in found.tasks] == [0, 1, 2]
    block = FillBlock((found.tasks[0],))
    assert FillBlock.from_json(block.to_json()) == block
    half = worker(found.tasks[0], *decode_block(block))
    assert half.answers.sha256 != exact.answers.sha256  # type: ignore[union-attr]
    # Classifier by classifier and split by split, as a store grows: told by a record's name alone.
    monkeypatch.setattr(zoo.fill.plan, "GROUP_CLASSIFIERS", 1)
    RUNNER.fill(space, plan(space, trained, "bf16"), ignore)
    assert len(answer_parts(space)) == 12
    names, data = set(ledger.population(space)), trained.dataset.fingerprint
    fresh = Workspace.open(space.root)
    assert answered(fresh) == {(data, "train"): names, (data, "test"): set()}
    assert answered_in(fresh)[data, "train", "bf16"] == names
    assert answered_in(fresh)[data, "train", "fp32"] == set()
    for precision in ("fp32", "bf16"):
        assert plan(fresh, trained, precision).tasks == []  # type: ignore[arg-type]
    found_status = ledger.status(fresh)
    assert found_status["in_bf16"] == {"train": 12}
    assert "\nin bf16     train 12 of these\n" in status_text(found_status)
    seen: list[Provenance] = []

    def render(data: ReportData, page: Path) -> Path:
        seen.append(data.provenance)
        (page.parent / "figures").mkdir()
        page.write_text("")
        return page

    monkeypatch.setattr(write, "render", render)
    (name,) = {name for name in ("train", "tiny") if ledger.trainings_of(fresh, name)}
    about = Experiment(
        name=name, title="Blocks", scale="tiny", dataset=trained.dataset.uri, sweeps=()
    )
    for place, expected in ((fresh, (12, 12)), (copied("none"), (12, 0))):
        write.write_report(place, about, trained.dataset, {})
        assert (seen[-1].n_classifiers, seen[-1].n_in_bf16) == expected


def test_a_store_in_float32_says_nothing_of_bf16(trained: Tiny) -> None:
    """Twin."""
    found = ledger.status(trained.workspace)
    assert found["in_bf16"] == {}
    assert "bf16" not in status_text(found)
