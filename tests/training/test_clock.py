"""What trainings take of their process, counted once however many are under way in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from factories import tiny_dataset, training, workspace

from zoo.spec import Training
from zoo.store.workspace import Workspace
from zoo.training import checkpoint
from zoo.training.clock import Clock, Spent
from zoo.training.run import StoppedError, run, run_training

CPU = torch.device("cpu")
SECONDS = ("train_seconds", "cpu_seconds", "steps_cpu_seconds")


class Hands:
    """The clocks' hands: 4 s of the wall for each second of the CPU, as on a busy machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._cpu = 0.0
        monkeypatch.setattr(Clock, "_now", lambda _: (4 * self._cpu, self._cpu))

    def move(self, cpu: float) -> None:
        self._cpu += cpu


def test_each_second_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody: 5 s for nobody. One: 2 s. Two for 6 s: 3 s each, of which 1 s is no step. The first
    leaves; the second has 4 s alone. Together 12 s, four times that by the wall."""
    hands = Hands(monkeypatch)
    clock = Clock()
    hands.move(5)
    one = clock.enter("one")
    hands.move(2)
    two = clock.enter("two")
    hands.move(4)
    with clock.aside():
        hands.move(2)
    spent_one = clock.each().minus(one)
    clock.leave("one")
    hands.move(4)
    spent_two = clock.each().minus(two)
    assert spent_one == Spent(20, 5, 4)
    assert spent_two == Spent(28, 7, 6)
    clock.leave("two")
    hands.move(9)
    assert clock.each().minus(two) == spent_two


def facts(space: Workspace, job: Training) -> dict[str, float]:
    commit = space.commits.get("training", job.id)
    assert commit is not None
    return {name: commit.facts[name] for name in SECONDS if name in commit.facts}


@pytest.mark.parametrize("trainer", ["single", "stacked", "lanes"])
def test_a_batch_takes_what_its_trainings_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainer: str
) -> None:
    """The records of three trainings add up to no more than what the process spent, by each
    trainer, and nobody is left under way."""
    dataset, space = tiny_dataset(tmp_path), workspace(tmp_path)
    batch = [training(dataset, "lenet5", epochs=2, seed=seed) for seed in range(3)]
    spent: list[Clock] = []
    made = Clock.__init__

    def kept(clock: Clock) -> None:
        made(clock)
        spent.append(clock)

    monkeypatch.setattr(Clock, "__init__", kept)
    before = Clock._now()
    assert run(space, batch, device=CPU, on_epoch=lambda *_: None, trainer=trainer) == {}
    after = Clock._now()
    found = [facts(space, job) for job in batch]
    for name, took in zip(
        SECONDS, (a - b for a, b in zip(after, before, strict=True)), strict=False
    ):
        assert 0 < sum(each[name] for each in found) <= took + 1e-3
    assert all(0 < each["steps_cpu_seconds"] < each["cpu_seconds"] for each in found)
    assert all(not clock._under_way for clock in spent)


def test_a_training_that_goes_on_has_what_it_took_before(tmp_path: Path) -> None:
    """Stopped after its first epoch, and again: the record has both attempts' seconds. A state
    written by an older zoo does not know the CPU's: then the record has the wall's alone."""
    dataset = tiny_dataset(tmp_path)
    job = training(dataset, epochs=3)

    def stopped(space: Workspace) -> dict[str, object]:
        epochs: list[int] = []
        with pytest.raises(StoppedError):
            run_training(
                space, job, device=CPU, report=epochs.append, should_stop=lambda: bool(epochs)
            )
        state = checkpoint.load_resume(space.files, job.id)
        assert state is not None
        return state[2]

    space = workspace(tmp_path / "new")
    before = stopped(space)
    run_training(space, job, device=CPU)
    found = facts(space, job)
    assert found["train_seconds"] > before["seconds"]  # type: ignore[operator]
    assert found["cpu_seconds"] > before["cpu_seconds"][0]  # type: ignore[index]
    old = workspace(tmp_path / "old")
    stopped(old)
    epoch, tensors, progress = checkpoint.load_resume(old.files, job.id)  # type: ignore[misc]
    del progress["cpu_seconds"]
    checkpoint.drop_resume(old.files, job.id)
    checkpoint.save_resume(old.files, job.id, epoch, tensors, json.loads(json.dumps(progress)))
    run_training(old, job, device=CPU)
    assert facts(old, job).keys() == {"train_seconds"}
