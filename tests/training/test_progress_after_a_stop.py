"""What is left of trainings that were stopped, or that end before their last epoch: what a plan
counts, and what the bar of the command that goes on shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from factories import tiny_dataset, training, workspace

from zoo import pipeline
from zoo.data import Dataset
from zoo.estimate import estimate, training_images
from zoo.local import LocalRunner
from zoo.progress import Progress, Stage
from zoo.spec import Training
from zoo.store import ledger
from zoo.store.workspace import Workspace
from zoo.training.run import run_training
from zoo.trainsets.treatments import op

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """60 + 30 readable pictures of 3 classes."""
    return tiny_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


class Stopped(Exception):
    """Stands for a kill."""


def stop_after(epoch: int) -> Callable[[int], None]:
    def report(finished: int) -> None:
        if finished == epoch:
            raise Stopped

    return report


class Noting(Progress):
    """Shows nothing and keeps (done, total) of every step of its stages."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.steps: list[tuple[float, float]] = []

    def _update(self, stage: Stage) -> None:
        if stage.done:
            assert stage.total is not None
            self.steps.append((stage.done, stage.total))


def shares(dataset: Dataset, space: Workspace, job: Training) -> list[float]:
    """Of the bar, what each step of training this adds."""
    shown, runner = Noting(), LocalRunner("cpu")
    pipeline.train(space, dataset, "test", "population", [job], lambda: runner, shown)
    done = [part / total for part, total in shown.steps]
    return [after - before for before, after in zip([0.0, *done], done, strict=False)]


def test_what_a_stop_saved_is_not_planned_again_and_is_no_progress(
    tmp_path: Path, dataset: Dataset
) -> None:
    """Stopped behind the state of epoch 2 of 5: a plan has three fifths of its passes and seconds,
    and the bar of the command that goes on goes from nothing to full in three even steps."""
    space, job = workspace(tmp_path), training(dataset, epochs=5, snapshots=(2, 5))
    whole = estimate(space, dataset, [job], ())
    with pytest.raises(Stopped):
        run_training(space, job, device=CPU, report=stop_after(3))
    assert ledger.saved_epochs(space, [job]) == {job.id: 2}
    left = estimate(space, dataset, [job], ())
    assert left.images == whole.images * 3 // 5
    assert left.working == pytest.approx(whole.working * 3 / 5)
    assert shares(dataset, space, job) == pytest.approx([1 / 3] * 3)
    assert ledger.saved_epochs(space, [job]) == {}


def test_a_training_that_starts_over_is_planned_whole(tmp_path: Path, dataset: Dataset) -> None:
    """Twin: stopped behind the state of epoch 2, and asked for a snapshot at epoch 1 as well."""
    space, job = workspace(tmp_path), training(dataset, epochs=4, snapshots=(2, 4))
    with pytest.raises(Stopped):
        run_training(space, job, device=CPU, report=stop_after(3))
    more = job.replace(snapshots=(1, 2, 4))
    assert ledger.saved_epochs(space, [more]) == {}
    assert estimate(space, dataset, [more], ()).images == training_images(more, dataset)
    assert shares(dataset, space, more) == pytest.approx([1 / 4] * 4)


def test_a_training_that_ends_early_leaves_nothing_to_wait_for(
    tmp_path: Path, dataset: Dataset
) -> None:
    """Ended by its training accuracy, what it was not trained for is behind it too, as soon as it
    is committed and no sooner."""
    space = workspace(tmp_path)
    job = training(dataset, "lenet5", epochs=30, stop_train_acc=0.9)
    told: list[int] = []

    def report(epoch: int) -> None:
        told.append(epoch)
        assert (space.commits.get("training", job.id) is not None) == (epoch == 30)

    outcome = run_training(space, job, device=CPU, report=report)
    assert outcome.epochs < 30
    assert told == [*range(1, outcome.epochs), 30]


def test_a_training_without_examples_is_behind_at_once(tmp_path: Path, dataset: Dataset) -> None:
    """All classes deleted: nothing is trained, and nothing is waited for."""
    none = tuple(op("delete_class", label=label) for label in range(3))
    told: list[int] = []
    job = training(dataset, epochs=4, treatment=none)
    assert run_training(workspace(tmp_path), job, device=CPU, report=told.append).status == "empty"
    assert told == [4]
    assert shares(dataset, workspace(tmp_path / "other"), job) == pytest.approx([1])
