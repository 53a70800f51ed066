"""A classifier that cannot answer holds up nobody: it is left out for good, with its reason; the
others of its unit are committed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from factories import QUIET, TEST, TRAIN, UNREADABLE_TEST, UNREADABLE_TRAIN, Tiny
from torch import nn

from tests.commands import done, zoo
from zoo import pipeline
from zoo.errors import NotFoundError
from zoo.fill import predict
from zoo.fill.plan import Refusal, plan_fill, receipt_from_json, receipt_to_json
from zoo.local import LocalRunner
from zoo.scores.from_store import score
from zoo.scores.population import choose_population
from zoo.store import answers, ledger
from zoo.store.answers import answer_parts
from zoo.store.commits import Commit
from zoo.store.files import Files
from zoo.store.workspace import Workspace

RUNNER = LocalRunner("cpu")


@pytest.fixture
def unfilled(trained: Tiny, tmp_path: Path) -> Workspace:
    """A copy of the trained workspace without any answers."""
    root = tmp_path / "zoo"
    shutil.copytree(trained.root, root, ignore=shutil.ignore_patterns("answers", "results"))
    return Workspace.open(root)


class Late(nn.Module):
    """Answers like another network, but with infinities from the second batch of pictures on."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        logits: torch.Tensor = self.network(x)
        return logits if self.calls == 1 else logits / 0


def spoil(
    monkeypatch: pytest.MonkeyPatch, names: set[str], how: Callable[[nn.Module], nn.Module]
) -> None:
    """Networks of these classifiers are damaged when they are loaded."""
    load = predict.load_classifiers

    def loaded(files: Files, commits: Sequence[Commit], device: torch.device) -> object:
        return [
            (how(network) if commit.key in names else network, preprocessing)
            for commit, (network, preprocessing) in zip(
                commits, load(files, commits, device), strict=True
            )
        ]

    monkeypatch.setattr(predict, "load_classifiers", loaded)


def nan(network: nn.Module) -> nn.Module:
    """Every weight is NaN, as after a last step that blew up."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(float("nan"))
    return network


def fill(space: Workspace, tiny: Tiny, names: list[str] | None = None) -> None:
    population = ledger.population(space)
    chosen = None if names is None else {name: population[name] for name in names}
    pipeline.fill(space, tiny.dataset, chosen, ("train", "test"), "all", lambda: RUNNER, QUIET)


@pytest.mark.parametrize("named", [True, False])
def test_the_others_of_its_unit_are_committed(
    unfilled: Workspace, trained: Tiny, monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    """One of twelve is NaN: eleven have answers on both splits, the same as ever; the reason is on
    record; the population has eleven."""
    names = sorted(ledger.population(unfilled))
    bad = names[4]
    spoil(monkeypatch, {bad}, nan)
    fill(unfilled, trained, names if named else None)
    readable = TRAIN - len(UNREADABLE_TRAIN)
    assert ledger.left_out(unfilled) == {
        bad: f"its outputs are not finite on {readable} of {TRAIN} pictures of train"
    }
    assert {commit.identity["split"]: list(mine) for commit, mine in answer_parts(unfilled)} == {
        split: [name for name in names if name != bad] for split in ("train", "test")
    }
    assert sorted(ledger.population(unfilled)) == [name for name in names if name != bad]
    assert ledger.population_size(unfilled, 100) == 11
    found = score(unfilled, choose_population(unfilled), "train")
    whole = trained.workspace
    others = choose_population(whole, f"classifier_id <> '{bad}'")
    assert found.equals(score(whole, others, "train"))


def test_all_are_filled_where_none_is_bad(unfilled: Workspace, trained: Tiny) -> None:
    """Twin: nothing is left out."""
    fill(unfilled, trained)
    assert ledger.left_out(unfilled) == {}
    assert {len(mine) for _, mine in answer_parts(unfilled)} == {12}


def test_a_rerun_does_not_stumble_over_it(
    unfilled: Workspace, trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second fill has nothing to do, the training counts as done, and nothing is trained
    again."""
    bad = sorted(ledger.population(unfilled))[0]
    spoil(monkeypatch, {bad}, nan)
    fill(unfilled, trained)
    assert plan_fill(unfilled, trained.dataset, None, ("train", "test"), "all").tasks == []
    assert ledger.missing(unfilled, trained.trainings) == []
    assert bad not in ledger.classifiers_of(unfilled, trained.trainings)


def test_one_that_goes_bad_in_a_later_shard_is_left_out_as_well(
    unfilled: Workspace, trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three shards the first is well: no part of the unit with the bad one is committed, the
    unit without it is whole."""
    monkeypatch.setattr(answers, "SMALL_SHARD", 20)
    bad = sorted(ledger.population(unfilled))[7]
    spoil(monkeypatch, {bad}, Late)
    fill(unfilled, trained)
    (reason,) = ledger.left_out(unfilled).values()
    assert reason.endswith("of 20 pictures of train")
    assert {len(mine) for _, mine in answer_parts(unfilled)} == {11}


def test_two_bad_ones_are_both_left_out(
    unfilled: Workspace, trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = set(sorted(ledger.population(unfilled))[2:4])
    spoil(monkeypatch, bad, nan)
    fill(unfilled, trained)
    assert ledger.left_out(unfilled).keys() == bad
    assert {len(mine) for _, mine in answer_parts(unfilled)} == {10}


def test_where_all_are_bad_there_is_nothing_to_fill(
    unfilled: Workspace, trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said, once each of them is on record."""
    names = set(ledger.population(unfilled))
    spoil(monkeypatch, names, nan)
    with pytest.raises(NotFoundError, match="no trained classifier"):
        fill(unfilled, trained)
    assert ledger.left_out(unfilled).keys() == names
    assert answer_parts(unfilled) == []


def test_a_refusal_travels_as_canonical_json(unfilled: Workspace, trained: Tiny) -> None:
    task, _ = plan_fill(unfilled, trained.dataset, None, ("train", "test"), "all").tasks
    refusal = Refusal(3, {"a-e0001": "not finite"})
    assert receipt_from_json(receipt_to_json(task.unit, refusal)) == (task.unit.key, refusal)


def test_the_commands_say_it(unfilled: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """``zoo fill`` names it with its reason and ends well; ``zoo status`` goes on naming it; ``zoo
    score`` does not wait for it."""
    bad = sorted(ledger.population(unfilled))[4]
    spoil(monkeypatch, {bad}, nan)
    result = zoo("fill", "-w", unfilled.root, "--runner", "local")
    assert result.code == 0, result
    assert (
        f"classifier {bad} is left out for good: its outputs are not finite on 58 of 60 pictures of"
        " train." in result.err
    )
    status = done("status", "-w", unfilled.root)
    assert (
        f"left out    {bad}: its outputs are not finite on 58 of 60 pictures of train\n" in status
    )
    assert list(json.loads(done("status", "--json", "-w", unfilled.root))["left_out"]) == [bad]
    assert "by 11 classifiers" in done("score", "-w", unfilled.root)
    assert zoo("fsck", "--semantic", "-w", unfilled.root).code == 0


def test_its_record_removed_it_is_asked_again(
    unfilled: Workspace, trained: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left out for good is one record, and what docs/store.md says of it holds."""
    bad = sorted(ledger.population(unfilled))[4]
    with monkeypatch.context() as patch:
        spoil(patch, {bad}, nan)
        fill(unfilled, trained)
    (unfilled.root / "commits" / "unusable" / f"{bad}.g0001.json").unlink()
    fresh = Workspace.open(unfilled.root)
    fill(fresh, trained)
    assert ledger.left_out(fresh) == {}
    assert sum(len(mine) for _, mine in answer_parts(fresh)) == 2 * 12
    assert TEST - len(UNREADABLE_TEST) == 29


def test_fill_where_fills_these_alone(unfilled: Workspace) -> None:
    """A condition over the classifiers table: of twelve, the six of one architecture; the rest at
    the next fill."""
    said = done("fill", "--where", "arch = 'softmax'", "-w", unfilled.root, "--runner", "local")
    assert "where arch = 'softmax' has answers. Next: zoo score" in said
    assert "--where 'arch = '\"'\"'softmax'\"'\"''" in said
    assert {len(mine) for _, mine in answer_parts(Workspace.open(unfilled.root))} == {6}
    done("fill", "-w", unfilled.root, "--runner", "local")
    assert sum(len(mine) for _, mine in answer_parts(Workspace.open(unfilled.root))) == 2 * 12


@pytest.mark.parametrize(
    ("condition", "code", "said"),
    [
        ("arch = 'nin'", 4, "no classifier in"),
        ("arc = 'mlp'", 2, "--where \"arc = 'mlp'\" was refused"),
        ("1; drop table x", 2, "refused"),
    ],
)
def test_a_condition_that_is_wrong_or_holds_for_none_is_refused(
    unfilled: Workspace, condition: str, code: int, said: str
) -> None:
    result = zoo("fill", "--where", condition, "-w", unfilled.root, "--runner", "local")
    assert result.code == code, result
    assert said in result.err
