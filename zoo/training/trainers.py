"""Who trains trainings that are alike, and the rule by which that is chosen: by all of a sweep
(``zoo.training.rule.Whole``), whatever is left of it.

``single``: one after the other, by the one training loop (``zoo.training.loop``); the reference.
``lanes``: as many as a vector register holds at once, on one CPU core (``zoo.training.lanes``), the
same computation to float rounding.
``stacked``: many networks as one program of torch (``zoo.training.stacked``), for GPUs, likewise.
``heads``: hundreds of heads on the same features at once (``zoo.training.heads``), likewise.
docs/ARCHITECTURE.md, "Trainers", has the rule in words.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import nn

from zoo import models
from zoo.errors import UsageError
from zoo.spec import Recipe, Training
from zoo.training import rule
from zoo.training.rule import FASTER, Whole
from zoo.training.rule import SETTING as _SETTING
from zoo.training.rule import WIDTH as _WIDTH
from zoo.trainsets.prepare import TrainingData

if TYPE_CHECKING:
    from zoo.training.course import Course
    from zoo.training.lanes.fit import Lanes
    from zoo.training.stacked import Stacked

__all__ = [
    "FASTER",
    "TRAINERS",
    "asked",
    "check",
    "heads_may",
    "lanes_for",
    "lanes_may",
    "stacked_for",
    "stacked_may",
    "versions",
]

TRAINERS = ("single", "lanes", "heads", "stacked")
_MOST_BYTES = 4 << 30


def asked(name: str | None) -> str | None:
    """The trainer that is asked for, by name or by ``ZOO_TRAINER``; None = the rule decides.

    Raises:
        UsageError: for a name that is none, or a trainer that is not installed.
    """
    setting = _SETTING if name is None else "trainer"
    name = name or os.environ.get(_SETTING) or None
    if name is not None and name not in TRAINERS:
        raise UsageError(
            f"{setting}={name}: there is no such trainer. Allowed: {', '.join(TRAINERS)}. Leave it"
            " out, and the fastest that is shown to be equal is taken."
        )
    if name == "lanes" and not _installed():
        raise UsageError(
            f"{setting}=lanes needs numba, which is not installed. Allowed without it: single."
            " Install the extra 'fast': pip install 'classifier-zoo[fast]'."
        )
    return name


def check(name: str | None, trainings: Sequence[Training], device: str) -> None:
    """Refuse a trainer that was asked for by name (not by the environment, which is a wish) and
    does not cover some of the trainings.

    Args:
        device: kind by torch's name.

    Raises:
        UsageError: naming what it does not cover, and why.
    """
    if asked(name) is None or name in (None, "single"):
        return
    reasons = {t.arch: _uncovered(str(name), t, device) for t in trainings}
    if found := {arch: reason for arch, reason in reasons.items() if reason}:
        raise UsageError(
            f"trainer {name} does not cover {'; '.join(f'{a}: {r}' for a, r in found.items())}."
            " Allowed for these: auto, single. With auto each batch gets the fastest trainer that"
            " is shown to be equal."
        )


def _uncovered(name: str, training: Training, device: str) -> str | None:
    """Why a trainer does not cover a training; None = it does."""
    model, recipe = models.model(training.arch), training.recipe
    if name == "heads":
        return None if model.head else "it is no head; heads are trained with --features"
    if model.head:
        return "heads have a trainer of their own, heads"
    if name == "stacked":
        return _not_stacked(training)
    if device != "cpu":
        return f"lanes are of a CPU, not of {device}"
    if recipe.precision != "fp32":
        return f"precision {recipe.precision}; lanes train in fp32"
    if recipe.augment == "resized_crop_flip":
        return f"augment={recipe.augment}, which takes pictures in their own size"
    from zoo.training.lanes.graph import Unsupported, describe

    size = training.input_size or model.reference_size
    try:
        describe(models.build(training.arch, num_classes=2, in_channels=3, size=size), 3, size)
    except Unsupported as reason:
        return f"{reason} has no kernel"
    return None


def _not_stacked(training: Training) -> str | None:
    if training.recipe.augment == "resized_crop_flip":
        return f"augment={training.recipe.augment}, which takes pictures in their own size"
    from zoo.training.stacked import cost

    size = training.input_size or models.model(training.arch).reference_size
    found = cost(training.arch, 2, 3, size, training.recipe)
    return found if isinstance(found, str) else None


def _installed() -> bool:
    return find_spec("numba") is not None


def heads_may(training: Training, whole: Whole, asked: str | None) -> bool:
    """As ``zoo.training.rule.heads_may``."""
    return rule.heads_may(training, whole, asked)


def lanes_may(training: Training, whole: Whole, device: torch.device, asked: str | None) -> bool:
    """As ``zoo.training.rule.lanes_may``."""
    return rule.lanes_may(training, whole, asked, on_cpu=device.type == "cpu")


def lanes_for(
    model: nn.Module, data: TrainingData, training: Training, whole: Whole, asked: str | None
) -> Lanes | str:
    """Lanes for trainings like this one, or why they are trained one by one."""
    if data.train_at(1).streamed:
        return "its pictures are not held in memory"
    from zoo.training.lanes.fit import Lanes
    from zoo.training.lanes.graph import Unsupported
    from zoo.training.lanes.vectors import LANES

    if asked is None and LANES < _WIDTH:
        return f"this CPU has {LANES} lanes, not {_WIDTH}"
    try:
        each = rule.lanes_each(whole.count, training.recipe.batch_size, LANES)
        lanes = Lanes(model, data, training.recipe, each)
    except Unsupported as reason:
        return f"{training.arch} has no kernels: {reason}"
    if lanes.bytes > _MOST_BYTES:
        return f"{lanes.bytes:,} bytes would be taken, more than {_MOST_BYTES:,}"
    return lanes


def stacked_may(training: Training, whole: Whole, device: torch.device, asked: str | None) -> bool:
    """As ``zoo.training.rule.stacked_may``."""
    return rule.stacked_may(training, whole, asked, on_cpu=device.type == "cpu")


def stacked_for(course: Course, device: torch.device) -> Stacked | str:
    """One program for trainings like this one, or why they are trained one by one."""
    from zoo.training.stacked import Stacked, cost

    training, data = course.training, course.data
    shape = data.preprocessing
    found = cost(training.arch, len(data.class_names), shape.channels, shape.size, training.recipe)
    if isinstance(found, str):
        return f"{training.arch} is no part of one program: {found}"
    if data.train_at(1).streamed:
        return "its pictures are not held in memory"
    return Stacked(data, training.recipe, device, found)


def versions(trainer: str, device: torch.device, recipe: Recipe, lanes: int = 1) -> dict[str, str]:
    """What else than torch made the steps. ``lanes``: of a network."""
    found: dict[str, str] = {}
    if "lanes" in trainer:
        from zoo.training.lanes.vectors import LANES

        found |= {"numba": version("numba"), "lanes": str(LANES)}
        if lanes > 1:
            found["lanes_each"] = str(lanes)
    if "heads" in trainer and "zoo.training.lanes.heads" in sys.modules:
        found |= {"numba": version("numba")}
    if "stacked" in trainer and device.type == "cuda" and recipe.precision == "fp32":
        from zoo.training.stacked import has_kernels

        # Not TF32, which is off: three products of it for one of float32.
        found |= {"triton": version("triton"), "convolutions": "tf32x3"} if has_kernels() else {}
    return found
