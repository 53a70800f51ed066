"""Trainings that nobody evaluates or saves, on pictures of noise, for benchmarks of trainers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from zoo import models
from zoo.data import Decoded
from zoo.spec import DatasetRef, Preprocessing, Recipe, Training
from zoo.training.loop import Metrics, Within, fit
from zoo.training.run import optimizer_of
from zoo.trainsets.inputs import MemoryPictures
from zoo.trainsets.on_rows import Rows
from zoo.trainsets.prepare import TrainingData

__all__ = ["BareCourse", "bare", "network", "pictures"]

CLASSES = 10


def network(arch: str, data: TrainingData) -> nn.Module:
    """An untrained network for a training set, by torch's own random numbers."""
    shape = data.preprocessing
    return models.build(
        arch, num_classes=len(data.class_names), in_channels=shape.channels, size=shape.size
    )


class _Done:
    """How far a course is."""

    epochs = 0


class BareCourse:
    """A training of one epoch (``zoo.training.course``)."""

    def __init__(self, training: Training, data: TrainingData, device: torch.device) -> None:
        self.training, self.data, self.device = training, data, device
        self.within: Within | None = None
        self.outcome = _Done()
        torch.manual_seed(training.seed)
        self.model = network(training.arch, data).to(device)
        if training.recipe.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.optimizer = optimizer_of(self.model, training.recipe)

    def used(self, trainer: str, lanes: int = 1) -> None:
        """Nobody asks."""

    def alone(self) -> None:
        """The one training loop."""
        for _ in fit(self.model, self.optimizer, self.data, self.training, device=self.device):
            pass

    def keep(self, place: Callable[[], Within], *, stop: bool) -> None:
        """Nothing is saved."""

    def after(self, epoch: int, metrics: Metrics, diverged: int | None) -> bool:
        return True


def bare(
    arch: str, data: TrainingData, recipe: Recipe, device: torch.device, seed: int = 0
) -> BareCourse:
    """A course of an architecture."""
    ref = DatasetRef(uri="none", fingerprint="none")
    return BareCourse(Training(arch=arch, dataset=ref, recipe=recipe, seed=seed), data, device)


def pictures(count: int, size: int, channels: int) -> TrainingData:
    """Noise and labels, in memory."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    labels = random.integers(0, CLASSES, count)
    rows = Rows(np.arange(count), labels, np.ones(count, dtype=np.float32), CLASSES)
    held = MemoryPictures(Decoded(images, {}))
    shape = Preprocessing(
        size=size,
        channels=channels,
        fit="pad",
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
    )
    names = tuple(str(label) for label in range(CLASSES))
    return TrainingData(rows, held, held, labels, shape, names, labels, {})
