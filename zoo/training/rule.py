"""The part of the rule by which trainers are chosen that a plan can know. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec

from zoo import models
from zoo.machine import vector_lanes
from zoo.spec import Training

__all__ = [
    "FASTER",
    "FASTER_THAN_SINGLE",
    "LEAST",
    "SETTING",
    "WIDTH",
    "WORTH_SECONDS",
    "lanes_expected",
    "trainer_expected",
]

SETTING = "ZOO_TRAINER"

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
FASTER_THAN_SINGLE: Mapping[str, Mapping[str, float]] = {
    "lanes": FASTER,
    "heads": {"head_softmax": 4.1, "head_mlp": 2.1},
}
"""By trainer, the same of a CPU's core. Heads: 200 at once on 10,000 x 1,280 features
(``python -m tools.bench heads``). ``stacked`` wins nothing on a CPU."""
LEAST = 8
"""Trainings in a batch that fill enough of the lanes."""
WIDTH = 16
"""Lanes the figures were measured with; with fewer they are trained only when asked for."""
WORTH_SECONDS = 60.0
"""Of one core, for the whole batch: below, compiling or loading the kernels takes what is won."""


def lanes_expected(training: Training, count: int, images: int) -> bool:
    """Whether a batch of ``count`` trainings like this one will be trained in lanes on this
    machine's CPU.

    Args:
        images: pictures that the training passes.
    """
    asked, rate = os.environ.get(SETTING), models.model(training.arch).images_per_second
    if asked not in (None, "", "lanes") or find_spec("numba") is None:
        return False
    recipe = training.recipe
    if recipe.precision != "fp32" or recipe.augment == "resized_crop_flip":
        return False
    if training.arch not in FASTER or training.features is not None or rate is None:
        return False
    enough = count >= LEAST and count * images / rate >= WORTH_SECONDS
    return asked == "lanes" or (enough and vector_lanes() >= WIDTH)


def trainer_expected(training: Training, count: int, images: int, *, on_cpu: bool) -> str:
    """Who will train a batch of ``count`` trainings like this one: by name, see
    ``zoo.training.trainers``.

    Args:
        images: pictures that the training passes.
        on_cpu: of this machine; else on a GPU.
    """
    asked, model = os.environ.get(SETTING) or None, models.model(training.arch)
    if model.head:
        together = asked in (None, "heads") and count > 1 and training.recipe.precision == "fp32"
        return "heads" if together else "single"
    if on_cpu and lanes_expected(training, count, images):
        return "lanes"
    small = count > 1 and not on_cpu and not model.build.startswith("timm:")
    stacked = asked == "stacked" or (asked is None and small)
    return "stacked" if stacked and training.recipe.augment != "resized_crop_flip" else "single"
