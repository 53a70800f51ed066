"""What a trainer of many trainings at once is given of each, and must leave of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import torch
from torch import nn

from zoo.spec import Recipe, Training
from zoo.training.loop import Metrics, Within
from zoo.trainsets.prepare import TrainingData

__all__ = ["Course", "Outcome", "moment_names"]

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

    def used(self, trainer: str) -> None: ...

    def share(self, company: int) -> None: ...

    def keep(self, place: Callable[[], Within], *, stop: bool) -> None: ...

    def after(self, epoch: int, metrics: Metrics, diverged: int | None) -> bool: ...
