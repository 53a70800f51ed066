"""What a trainer of many trainings at once is given of each, and must leave of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from zoo.spec import Recipe, Training
from zoo.training.loop import Metrics, Within
from zoo.trainsets.prepare import TrainingData

__all__ = ["Company", "Course", "Outcome", "epoch_result", "moment_names"]

_MOMENTS: Final = {"sgd": ("momentum_buffer",), "adam": ("exp_avg", "exp_avg_sq")}


def moment_names(recipe: Recipe) -> tuple[str, ...]:
    """What torch's optimiser of a recipe keeps for each parameter."""
    return _MOMENTS["sgd" if recipe.optimizer == "sgd" else "adam"]


class Outcome(Protocol):
    """What of a training's outcome is asked for here: epochs that are done."""

    epochs: int


class Course(Protocol):
    """A training under way (``zoo.training.run``), as a trainer of many sees it."""

    training: Training
    data: TrainingData
    model: nn.Module
    optimizer: torch.optim.Optimizer
    within: Within | None

    @property
    def outcome(self) -> Outcome: ...

    def used(self, trainer: str, lanes: int = 1) -> None: ...

    def keep(self, place: Callable[[], Within], *, stop: bool) -> None: ...

    def after(self, epoch: int, metrics: Metrics, diverged: int | None) -> bool: ...


class Company:
    """Trainings that one program holds at once: those that are like the first.

    Args:
        data: of the first.
    """

    def __init__(self, data: TrainingData) -> None:
        self._like = _likeness(data)

    def takes(self, course: Course) -> bool:
        """Whether a training fits: input and classes as the first, pictures in memory, and batches
        that batch normalisation can be made of."""
        data = course.data
        return (
            _likeness(data) == self._like and not data.train_at(1).streamed and len(data.rows) > 1
        )


def _likeness(data: TrainingData) -> tuple[int, int, int]:
    shape = data.preprocessing
    return shape.size, shape.channels, len(data.class_names)


def epoch_result(
    epoch: int, losses: NDArray[np.float32], hits: NDArray[np.int64], seen: int
) -> tuple[int, Metrics, int | None]:
    """(epoch, training metrics, step of divergence or None), as the one training loop gives them.

    Args:
        losses: of the epoch's steps, all of them.
        hits: examples right by their first class, and by their first five, int64 [2].
        seen: examples.
    """
    finite = np.isfinite(losses)
    loss = float(losses.astype(np.float64).mean()) if finite.all() else None
    metrics: Metrics = {
        "epoch": epoch,
        "split": "train",
        "acc1": float(hits[0]) / seen,
        "acc5": float(hits[1]) / seen,
        "loss": loss,
    }
    first = (epoch - 1) * len(losses)
    return epoch, metrics, None if loss is not None else first + int(np.argmin(finite))
