"""Who trains a batch of trainings that are alike, and the rule by which that is chosen.

``single``: one after the other, by the one training loop (``zoo.training.loop``); the reference.
``lanes``: as many as a vector register holds at once, on one CPU core (``zoo.training.lanes``), the
same computation to float rounding.
``heads``: hundreds of heads on the same features at once (``zoo.training.heads``), likewise.
docs/ARCHITECTURE.md, "Trainers", has the rule in words.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import nn

from zoo import models
from zoo.errors import UsageError
from zoo.spec import Recipe, Training
from zoo.trainsets.prepare import TrainingData

if TYPE_CHECKING:
    from zoo.training.lanes.fit import Lanes

__all__ = [
    "FASTER",
    "MOST_HEADS",
    "TRAINERS",
    "asked",
    "heads_may",
    "lanes_for",
    "lanes_may",
    "versions",
]

TRAINERS = ("single", "lanes", "heads")
MOST_HEADS = 256
"""Heads that are trained at once: more gain nothing, and each holds its state in memory."""
_SETTING = "ZOO_TRAINER"

FASTER: Mapping[str, float] = {
    "softmax": 2.3,
    "lenet5": 2.3,
    "mobilenet_mini": 2.4,
    "resnet_mini": 2.6,
    "inception_mini": 2.6,
    "xception_mini": 2.1,
    "efficientnet_mini": 2.1,
}
"""Architectures that lanes are chosen for: images per second of a core, over those of ``single``,
at 32 x 32 x 3 in batches of 128 with 16 lanes (``python -m tools.bench lanes``). Twofold is asked
for."""
_LEAST = 8
"""Trainings in a batch that fill enough of the lanes."""
_WIDTH = 16
"""Lanes the figures were measured with; with fewer they are trained only when asked for."""
_WORTH_SECONDS = 60.0
"""Of one core, for the whole batch: below, compiling or loading the kernels takes what is won."""
_MOST_BYTES = 4 << 30


def asked(name: str | None) -> str | None:
    """The trainer that is asked for, by name or by ``ZOO_TRAINER``; None = the rule decides.

    Raises:
        UsageError: for a name that is none, or a trainer that is not installed.
    """
    name = name or os.environ.get(_SETTING) or None
    if name is not None and name not in TRAINERS:
        raise UsageError(
            f"{_SETTING}={name}: there is no such trainer. Allowed: {', '.join(TRAINERS)}. Leave it"
            " out, and the fastest that is shown to be equal is taken."
        )
    if name == "lanes" and not _installed():
        raise UsageError(
            f"{_SETTING}=lanes needs numba, which is not installed. Allowed without it: single."
            " Install the extra 'fast': pip install 'classifier-zoo[fast]'."
        )
    return name


def _installed() -> bool:
    return find_spec("numba") is not None


def heads_may(batch: Sequence[Training], asked: str | None) -> bool:
    """Whether a batch is of heads that are trained at once: unless another trainer is asked for,
    two or more in float32."""
    return (
        asked in (None, "heads")
        and len(batch) > 1
        and models.model(batch[0].arch).head
        and batch[0].recipe.precision == "fp32"
    )


def lanes_may(batch: Sequence[Training], device: torch.device, asked: str | None) -> bool:
    """Whether lanes come into question, from what is known before anything is opened."""
    if asked in ("single", "heads") or device.type != "cpu" or not batch or not _installed():
        return False
    if models.model(batch[0].arch).head:
        return False
    recipe = batch[0].recipe
    if recipe.precision != "fp32" or recipe.augment == "resized_crop_flip":
        return False
    return asked == "lanes" or (batch[0].arch in FASTER and len(batch) >= _LEAST)


def lanes_for(
    model: nn.Module, data: TrainingData, training: Training, count: int, asked: str | None
) -> Lanes | str:
    """Lanes for a batch of ``count`` trainings of which this is the first, or why it is trained one
    by one."""
    if data.train_at(1).streamed:
        return "its pictures are not held in memory"
    if asked is None:
        rate = models.model(training.arch).images_per_second
        images = count * training.recipe.epochs * _images(data, training.recipe)
        if count < _LEAST:
            return f"{count} trainings fill too few lanes; {_LEAST} are enough"
        if rate is None or images / rate < _WORTH_SECONDS:
            return f"the batch takes less than {_WORTH_SECONDS:g} s of one core"
    from zoo.training.lanes.fit import Lanes
    from zoo.training.lanes.graph import Unsupported
    from zoo.training.lanes.vectors import LANES

    if asked is None and LANES < _WIDTH:
        return f"this CPU has {LANES} lanes, not {_WIDTH}"
    try:
        lanes = Lanes(model, data, training.recipe, keep=LANES if asked else None)
    except Unsupported as reason:
        return f"{training.arch} has no kernels: {reason}"
    if lanes.bytes > _MOST_BYTES:
        return f"{lanes.bytes:,} bytes would be taken, more than {_MOST_BYTES:,}"
    return lanes


def _images(data: TrainingData, recipe: Recipe) -> int:
    """Pictures of an epoch."""
    if recipe.steps_per_epoch:
        return recipe.steps_per_epoch * recipe.batch_size
    return len(data.rows.example_ids)


def versions(trainer: str) -> dict[str, str]:
    """What else than torch made the steps."""
    if "lanes" not in trainer:
        return {}
    from zoo.training.lanes.vectors import LANES

    return {"numba": version("numba"), "lanes": str(LANES)}
