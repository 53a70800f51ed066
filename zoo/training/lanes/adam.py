"""Adam's step of many networks, to the bit what torch's operations make of it
(``zoo.training.stack``), in three passes over memory where those take ten.

The root is torch's own: of one number in 150 its last bit is not the nearest, and no other
program's is alike. Which of its products and sums torch makes in one instruction depends on how it
was built for a CPU, so what is made here is compared with it first.

Shape letters: k networks, P parameters of one.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.training.lanes.vectors import AVAILABLE, compiled, product_and_sum
from zoo.training.stack import BETA1, BETA2, EPSILON, Pace, adam

__all__ = ["compiled_adam", "is_torchs"]


def compiled_adam(
    values: Tensor, mean: Tensor, square: Tensor, gradient: Tensor, pace: Pace
) -> None:
    """As ``zoo.training.stack.adam``, on a CPU."""
    number = values.numpy().dtype.type
    into = gradient.numpy()
    _moments(
        mean.numpy(), square.numpy(), into, number(1 - BETA1), number(BETA2), number(1 - BETA2)
    )
    torch.sqrt(square, out=gradient)
    along, root = (of[:, 0].contiguous().numpy() for of in (pace.along, pace.root))
    _values(values.numpy(), mean.numpy(), into, along, root, number(EPSILON), number(1))


@functools.cache
def is_torchs(kind: torch.dtype) -> bool:
    """Whether numba is there, and here makes of some thousand numbers what torch makes, after three
    steps, bit for bit."""
    if not AVAILABLE:
        return False
    random = np.random.default_rng(0)
    shape = 3, 5003
    start = [random.standard_normal(shape) / 20, random.standard_normal(shape) / 100]
    start.append(random.random(shape) / 1e4)
    found = []
    for step in (adam, compiled_adam):
        values, mean, square = (torch.tensor(part, dtype=kind) for part in start)
        for number in range(3):
            drawn = np.random.default_rng(number)
            gradient = torch.tensor(drawn.standard_normal(shape) / 100, dtype=kind)
            rate, along, root = torch.tensor(drawn.random((3, shape[0], 1)), dtype=kind)
            step(values, mean, square, gradient, Pace(rate, along / 100, root))
        found.append((values, mean, square))
    return all(map(torch.equal, *found))


@compiled
def _moments(mean: Any, square: Any, gradient: Any, towards: Any, kept: Any, added: Any) -> None:
    for k in range(mean.shape[0]):
        first, second, slope = mean[k], square[k], gradient[k]
        for p in range(len(first)):
            g = slope[p]
            first[p] = product_and_sum(towards, g - first[p], first[p])
            second[p] = product_and_sum(added * g, g, second[p] * kept)


@compiled
def _values(
    values: Any, mean: Any, roots: Any, along: Any, root: Any, epsilon: Any, one: Any
) -> None:
    for k in range(values.shape[0]):
        value, first, below = values[k], mean[k], roots[k]
        rate, weight = along[k], root[k]
        for p in range(len(value)):
            value[p] -= one / (below[p] / weight + epsilon) * first[p] * rate
