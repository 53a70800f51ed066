"""Optimiser steps worked by hand: momentum, weight decay, Adam's moments, over two steps, in the
loop's own optimisers."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from zoo.spec import DatasetRef, Preprocessing, Recipe, Training
from zoo.training.loop import fit
from zoo.training.run import optimizer_of
from zoo.trainsets.inputs import Pictures
from zoo.trainsets.on_rows import Rows
from zoo.trainsets.prepare import TrainingData

CPU = torch.device("cpu")


class White:
    """Two white pictures of one pixel."""

    streamed = False

    def gather(self, positions: np.ndarray) -> tuple[np.ndarray, None]:  # type: ignore[type-arg]
        return np.full((len(positions), 1, 1, 1), 255, dtype=np.uint8), None


class Scale(nn.Module):
    """Logits (w, 0) for an input of 1: one number to follow by hand."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([start]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        value = x[:, 0, 0, 0] * self.w
        return torch.stack((value, torch.zeros_like(value)), 1)


def weights_of(recipe: Recipe, start: float) -> list[float]:
    """The weight after each epoch of one step on two pictures of class 0."""
    rows = Rows(np.arange(2), np.zeros(2, dtype=np.int64), np.ones(2, dtype=np.float32), 2)
    pictures: Pictures = White()
    shape = Preprocessing(size=1, channels=1, fit="pad", mean=(0.0,), std=(1.0,))
    data = TrainingData(rows, pictures, pictures, rows.labels, shape, ("a", "b"), rows.labels, {})
    model = Scale(start)
    job = Training(
        arch="softmax", dataset=DatasetRef(uri="none", fingerprint="none"), recipe=recipe
    )

    def run() -> Iterator[float]:
        for _ in fit(model, optimizer_of(model, recipe), data, job, device=CPU):
            yield float(model.w.detach())

    return list(run())


def gradient(w: float) -> float:
    """Of -log p(class 0) with logits (w, 0): p - 1, p = 1 / (1 + e^-w)."""
    return 1 / (1 + math.exp(-w)) - 1


def test_sgd_with_momentum_and_weight_decay_by_hand() -> None:
    """w = 1, lr 0.5, momentum 0.9, decay 0.1. v = 0.9 v + (gradient + 0.1 w), w = w - 0.5 v, twice;
    the first step ends at 1.0844707.

    Gradient at 1: 0.7310586 - 1 = -0.2689414; with decay -0.1689414; w = 1 + 0.0844707. Without
        momentum the second step would end elsewhere.
    """
    recipe = Recipe(optimizer="sgd", lr=0.5, momentum=0.9, weight_decay=0.1, epochs=2, batch_size=2)
    first = 1 + 0.5 * 0.1689414
    v = 0.9 * -0.1689414 + gradient(first) + 0.1 * first
    assert weights_of(recipe, 1.0) == pytest.approx([first, first - 0.5 * v], abs=1e-6)
    assert weights_of(recipe.replace(momentum=0.0), 1.0)[1] == pytest.approx(
        first - 0.5 * (gradient(first) + 0.1 * first), abs=1e-6
    )


def test_adam_adds_weight_decay_to_the_gradient() -> None:
    """w = 3, lr 0.1, decay 0.1: g = -0.0474259 + 0.3 > 0, so the first step of Adam, lr g / |g|,
    goes down to 2.9. Without decay it goes up to 3.1.

    Second step by the formula: m = 0.9 m + 0.1 g, v = 0.999 v + 0.001 g^2, both divided by 1 -
        beta^2.
    """
    recipe = Recipe(optimizer="adam", lr=0.1, weight_decay=0.1, epochs=2, batch_size=2)
    g1 = gradient(3.0) + 0.1 * 3.0
    g2 = gradient(2.9) + 0.1 * 2.9
    m, v = 0.9 * 0.1 * g1 + 0.1 * g2, 0.999 * 0.001 * g1**2 + 0.001 * g2**2
    second = 2.9 - 0.1 * (m / (1 - 0.9**2)) / math.sqrt(v / (1 - 0.999**2))
    assert weights_of(recipe, 3.0) == pytest.approx([2.9, second], abs=1e-5)
    assert weights_of(recipe.replace(weight_decay=0.0), 3.0)[0] == pytest.approx(3.1, abs=1e-5)


def test_adamw_shrinks_the_weight_beside_the_gradient() -> None:
    """w = 3, lr 0.1, decay 0.1: first w (1 - 0.1 * 0.1) = 2.97, then Adam's own step of 0.1 against
    the gradient, which is negative: 3.07."""
    recipe = Recipe(optimizer="adamw", lr=0.1, weight_decay=0.1, epochs=1, batch_size=2)
    assert weights_of(recipe, 3.0) == pytest.approx([3.07], abs=1e-5)
