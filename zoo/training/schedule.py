"""Which examples make up each step, and its learning rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zoo import keyed
from zoo.spec import Recipe

__all__ = ["epoch_batches", "learning_rate", "steps_per_epoch"]


_ONECYCLE_RISE = 0.15


# ---------------------------------------------------------------- order and schedule (no torch)


def steps_per_epoch(n: int, recipe: Recipe) -> int:
    """Optimiser steps of one epoch over n rows."""
    return recipe.steps_per_epoch or len(_cuts(n, recipe.batch_size)) + 1


def epoch_batches(n: int, recipe: Recipe, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Positions (into the n rows) of every batch of an epoch, 1-based.

    The stream of positions is pass after pass, each a permutation keyed by (seed, pass). Without
    ``steps_per_epoch`` an epoch is one pass, its last batch short (a single left-over row joins the
    batch before it: batch normalisation needs two). With it, an epoch is exactly that many full
    batches of the stream, wherever the passes end, so that training sets of different size get the
    same number of steps.
    """
    if recipe.steps_per_epoch is None:
        return np.split(_pass(n, seed, epoch - 1), _cuts(n, recipe.batch_size))
    need = recipe.steps_per_epoch * recipe.batch_size
    start = (epoch - 1) * need
    first, last = start // n, (start + need - 1) // n
    stream = np.concatenate([_pass(n, seed, number) for number in range(first, last + 1)])
    return np.split(stream[start - first * n : start - first * n + need], recipe.steps_per_epoch)


def _cuts(n: int, batch_size: int) -> list[int]:
    cuts = list(range(batch_size, n, batch_size))
    if cuts and n - cuts[-1] == 1:
        cuts.pop()
    return cuts


def _pass(n: int, seed: int, number: int) -> NDArray[np.int64]:
    generator = np.random.Generator(np.random.Philox(key=keyed.key_seed(f"order/{seed}/{number}")))
    return generator.permutation(n).astype(np.int64)


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Learning rate of optimiser step ``step`` (0-based, counted over the whole training)."""
    total = recipe.epochs * steps_per_epoch
    match recipe.schedule:
        case "constant":
            return recipe.lr
        case "cosine":
            return recipe.lr * 0.5 * (1 + float(np.cos(np.pi * step / total)))
        case "step":
            epoch = step // steps_per_epoch
            return recipe.lr * recipe.gamma ** sum(
                epoch >= round(milestone * recipe.epochs) for milestone in recipe.milestones
            )
        case "onecycle":
            rise = max(1.0, _ONECYCLE_RISE * total)
            return recipe.lr * min(1.0, (step + 1) / rise, (total - step) / max(1.0, total - rise))
