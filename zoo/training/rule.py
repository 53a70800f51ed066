"""The part of the rule by which trainers are chosen that is known before anything is opened: to
a plan, to who hands out batches, and to ``zoo.training.trainers``. Loads no torch."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from importlib.util import find_spec

from zoo import models
from zoo.machine import vector_lanes
from zoo.spec import Training

__all__ = [
    "FASTER",
    "FASTER_THAN_SINGLE",
    "MOST",
    "SETTING",
    "WIDTH",
    "WORTH_SECONDS",
    "heads_may",
    "lanes_expected",
    "lanes_may",
    "least",
    "most",
    "stacked_may",
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
    "nin_mini": 1.7,
    "vgg_mini": 1.7,
    "densenet_mini": 1.4,
}
"""Architectures that lanes are chosen for: images per second of a core, over those of ``single``,
at 32 x 32 x 3 in batches of 128 with 16 lanes (``python -m tools.bench lanes``)."""
FASTER_THAN_SINGLE: Mapping[str, Mapping[str, float]] = {
    "lanes": FASTER,
    "heads": {"head_softmax": 4.1, "head_mlp": 2.1},
}
"""By trainer, the same of a CPU's core. Heads: 200 at once on 10,000 x 1,280 features
(``python -m tools.bench heads``). ``stacked`` wins nothing on a CPU."""
_LEAST = 8
LEAST_STACKED = 2
"""Trainings in a batch that are worth one program on a GPU."""
WIDTH = 16
"""Lanes the figures were measured with; with fewer they are trained only when asked for."""
WORTH_SECONDS = 60.0
"""Of one core, for the whole batch: below, compiling or loading the kernels takes what is won."""
MOST: Mapping[str, int] = {"lanes": WIDTH, "stacked": 32, "heads": 256}
"""Trainings that a trainer holds at once: of the stacked a GPU's cache holds no layer of more, of
heads more gain nothing, and each has its state in memory."""


def most(training: Training, *, on_cpu: bool) -> int:
    """Trainings like this one that are worth a batch, by who may train them."""
    if models.model(training.arch).head:
        return MOST["heads"]
    return MOST["lanes" if on_cpu else "stacked"]


def heads_may(training: Training, count: int, asked: str | None) -> bool:
    """Whether a batch of ``count`` trainings like this one is of heads that are trained at once:
    unless another trainer is asked for, two or more in float32."""
    return (
        asked in (None, "heads")
        and count > 1
        and models.model(training.arch).head
        and training.recipe.precision == "fp32"
    )


def least(arch: str) -> int:
    """Trainings of an architecture that fill enough of the lanes: with fewer, those that are
    empty take what is won."""
    return max(_LEAST, math.ceil(WIDTH / FASTER.get(arch, 1.0)))


def lanes_may(training: Training, count: int, asked: str | None, *, on_cpu: bool) -> bool:
    """Whether lanes come into question."""
    if asked not in (None, "lanes") or not on_cpu or find_spec("numba") is None:
        return False
    if models.model(training.arch).head:
        return False
    recipe = training.recipe
    if recipe.precision != "fp32" or recipe.augment == "resized_crop_flip":
        return False
    return asked == "lanes" or (training.arch in FASTER and count >= least(training.arch))


def stacked_may(training: Training, count: int, asked: str | None, *, on_cpu: bool) -> bool:
    """Whether a batch may be one program: asked for; or on a GPU, two or more trainings of one of
    this package's own networks, which are small. Never on a CPU by itself: it wins nothing there.
    """
    model = models.model(training.arch)
    if asked not in (None, "stacked") or model.head:
        return False
    if training.recipe.augment == "resized_crop_flip":
        return False
    small = not model.build.startswith("timm:")
    return asked == "stacked" or (not on_cpu and count >= LEAST_STACKED and small)


def lanes_expected(training: Training, count: int, images: int) -> bool:
    """Whether a batch of ``count`` trainings like this one will be trained in lanes on this
    machine's CPU.

    Args:
        images: pictures that the training passes.
    """
    asked, rate = os.environ.get(SETTING) or None, models.model(training.arch).images_per_second
    if not lanes_may(training, count, asked, on_cpu=True):
        return False
    if training.arch not in FASTER or rate is None:
        return False
    worth = count * images / rate >= WORTH_SECONDS and vector_lanes() >= WIDTH
    return asked == "lanes" or worth


def trainer_expected(training: Training, count: int, images: int, *, on_cpu: bool) -> str:
    """Who will train a batch of ``count`` trainings like this one: by name, see
    ``zoo.training.trainers``.

    Args:
        images: pictures that the training passes.
        on_cpu: of this machine; else on a GPU.
    """
    asked = os.environ.get(SETTING) or None
    if heads_may(training, count, asked):
        return "heads"
    if on_cpu and lanes_expected(training, count, images):
        return "lanes"
    return "stacked" if stacked_may(training, count, asked, on_cpu=on_cpu) else "single"
