"""A network whose answers are not finite has no hits and becomes no classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import tiny_dataset, training, workspace
from torch import nn

import zoo.training.loop
import zoo.training.run
from zoo.data import Decoded
from zoo.errors import ZooError
from zoo.spec import Preprocessing, Recipe, classifier_id
from zoo.store import ledger
from zoo.training.loop import evaluate, evaluate_rows
from zoo.training.run import run_training
from zoo.trainsets.inputs import MemoryPictures
from zoo.trainsets.on_rows import Rows
from zoo.trainsets.prepare import TrainingData

CPU = torch.device("cpu")
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_row_with_a_logit_that_is_not_finite_is_a_miss(bad: float) -> None:
    """Four rows of class 0, two of them with one bad logit (their own, another's): two hits, top 1
    and top 5. All bad: none."""
    logits = torch.tensor([[1.0, 0.0], [bad, 0.0], [1.0, bad], [1.0, 0.0]])
    labels = torch.zeros(4, dtype=torch.int64)
    assert zoo.training.loop.top_hits(logits, labels).tolist() == [2, 2]
    assert zoo.training.loop.top_hits(torch.full((4, 7), bad), labels).tolist() == [0, 0]


class Constant(nn.Module):
    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(x), -1)


def data_of(labels: list[int]) -> TrainingData:
    rows = Rows(np.arange(len(labels)), np.array(labels), np.ones(len(labels), dtype=np.float32), 3)
    pictures = MemoryPictures(Decoded(np.zeros((len(labels), 2, 2, 1), dtype=np.uint8), {}))
    shape = Preprocessing(size=2, channels=1, fit="pad", mean=(0.0,), std=(1.0,))
    return TrainingData(
        rows, pictures, pictures, np.array(labels), shape, ("a", "b", "c"), np.array(labels), {}
    )


def test_the_accuracy_of_nan_answers_is_zero() -> None:
    """On the test set and on the training rows; the loss is unknown. Twin: finite answers hit the
    two rows of class 0 of four."""
    data = data_of([0, 1, 0, 2])
    for measure in (evaluate, evaluate_rows):
        bad = measure(Constant([NAN] * 3), data, Recipe(), 1, CPU)
        assert (bad["acc1"], bad["acc5"], bad["loss"]) == (0.0, 0.0, None)
        assert measure(Constant([1.0, 0.0, 0.0]), data, Recipe(), 1, CPU)["acc1"] == 0.5


def break_weights_after(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """The last step of an epoch leaves NaN weights, which no training loss has seen yet."""
    fit = zoo.training.loop.fit

    def patched(model: nn.Module, *args: object, **rest: object):  # type: ignore[no-untyped-def]
        for at, metrics, diverged in fit(model, *args, **rest):  # type: ignore[arg-type]
            if at == epoch:
                with torch.no_grad():
                    next(model.parameters()).fill_(NAN)
            yield at, metrics, diverged

    monkeypatch.setattr(zoo.training.run, "fit", patched)


@pytest.mark.parametrize(
    "labels", [None, [-1] * 9], ids=["labelled test set", "no label in the test set"]
)
def test_a_network_that_blew_up_in_its_last_step_has_diverged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: list[int] | None
) -> None:
    """Finite training losses, NaN weights at the end: diverged, no classifier, accuracy 0, and the
    reason names the epoch."""
    dataset, space = tiny_dataset(tmp_path), workspace(tmp_path)
    if labels is not None:
        unlabelled = replace(
            dataset.splits["test"], labels=np.full(len(dataset.splits["test"]), -1)
        )
        monkeypatch.setitem(dataset.splits, "test", unlabelled)  # type: ignore[arg-type]
        monkeypatch.setattr("zoo.trainsets.prepare.open_verified", lambda ref: dataset)
    job = training(dataset, epochs=2, snapshots=(1, 2))
    ledger.record_plan(space, "test", "population", [job])
    break_weights_after(monkeypatch, 2)
    outcome = run_training(space, job, device=CPU)
    what = (
        "the loss on the test set was not finite" if labels is None else "a weight was not finite"
    )
    assert (outcome.status, outcome.epochs, outcome.stop_reason) == (
        "diverged",
        2,
        f"{what} after epoch 2",
    )
    assert (outcome.metrics[-1]["acc1"], outcome.metrics[-1]["loss"]) == (
        0.0 if labels is None else None,
        None,
    )
    assert sorted(space.commits.all("checkpoint")) == [classifier_id(job.id, 1)]
    assert ledger.population(space) == {}
    assert ledger.missing(space, [job]) == []


def test_a_snapshot_that_is_no_classifier_ends_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN weights after epoch 1 of 3, a snapshot: diverged there, nothing committed as a
    checkpoint."""
    dataset, space = tiny_dataset(tmp_path), workspace(tmp_path)
    break_weights_after(monkeypatch, 1)
    outcome = run_training(space, training(dataset, epochs=3, snapshots=(1, 3)), device=CPU)
    assert (outcome.status, outcome.epochs) == ("diverged", 1)
    assert space.commits.all("checkpoint") == {}


def test_a_later_snapshot_that_is_no_classifier_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Committed as done with its last epoch alone; the first epoch asked for later has a test loss
    that is not finite: said, nothing changed."""
    dataset, space = tiny_dataset(tmp_path), workspace(tmp_path)
    job = training(dataset, epochs=3, snapshots=(3,))
    run_training(space, job, device=CPU)
    before = space.commits.all("checkpoint")
    break_weights_after(monkeypatch, 1)
    with pytest.raises(
        ZooError,
        match=(
            r"snapshot at epoch 1: the loss on the test set was not finite.*Leave epoch 1 out of"
            r" --snapshots"
        ),
    ):
        run_training(space, job.replace(snapshots=(1, 3)), device=CPU)
    assert space.commits.all("checkpoint").keys() == before.keys()
