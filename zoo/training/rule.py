"""The part of the rule by which trainers are chosen that is known before anything is opened: to
a plan, to who hands out batches, and to ``zoo.training.trainers``. Loads no torch.

It goes by the whole sweep as it was declared, done or not, and never by what is left or by how many
workers there are: a sweep that was killed and goes on, there or on other hosts, is trained by who
would have trained it undisturbed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from zoo import models
from zoo.machine import vector_lanes
from zoo.spec import Training
from zoo.training.alike import alike, kind

__all__ = [
    "FASTER",
    "FASTER_THAN_SINGLE",
    "LANES_EACH",
    "MOST",
    "SETTING",
    "WIDTH",
    "WORTH_SECONDS",
    "Whole",
    "at_once",
    "heads_may",
    "in_lanes",
    "lanes_each",
    "lanes_may",
    "stacked_may",
    "trainer_expected",
    "wholes",
]

SETTING = "ZOO_TRAINER"

FASTER: Mapping[str, float] = {
    "lenet5": 3.6,
    "resnet_mini": 3.0,
    "inception_mini": 2.9,
    "softmax": 2.8,
    "efficientnet_mini": 2.5,
    "mobilenet_mini": 2.5,
    "nin_mini": 2.5,
    "xception_mini": 2.5,
    "densenet_mini": 2.2,
    "vgg_mini": 1.9,
}
"""Architectures that lanes are chosen for: images per second of a core, over those of ``single``,
at 32 x 32 x 3 in batches of 128, eight networks with two of 16 lanes each (``python -m tools.bench
lanes``)."""
FASTER_THAN_SINGLE: Mapping[str, Mapping[str, float]] = {
    "lanes": FASTER,
    "heads": {"head_softmax": 5.8, "head_mlp": 2.5},
}
"""By trainer, the same of a CPU's core. Heads: 200 at once on 10,000 x 1,280 features
(``python -m tools.bench heads``). ``stacked`` wins nothing on a CPU."""
LEAST_STACKED = 2
"""Trainings that are worth one program on a GPU."""
WIDTH = 16
"""Lanes the figures were measured with; with fewer they are trained only when asked for."""
LANES_EACH = (1, 2, 4, 8, 16)
"""Lanes that a network may have."""
_IMAGES = 4
"""Images that a lane takes at a time (``zoo.training.lanes.kernels.IMAGES``)."""
_STEP_IMAGES, _MOST_IMAGES = 1.5, 64
"""What a step takes whatever its images, as so many images of a lane: weights are read, and their
gradients added up and applied. From 64 images of a lane on more win nothing: what is saved of that
is lost to the memory that maps of more images and networks take (``python -m tools.bench
lanes``)."""
_PROGRAMS = 4
"""Programs that a sweep is made of where it can be, so that as many cores have a part."""
_GAIN = 1.25
"""How many times as fast as ``single`` lanes have to be to be chosen."""
WORTH_SECONDS = 10.0
"""Of one core, for all that are alike: below, loading (compiling, some 10 s, once per machine)
the kernels takes what is won."""
MOST: Mapping[str, int] = {"lanes": WIDTH, "stacked": 32, "heads": 256}
"""Trainings that a trainer holds at once: of the stacked a GPU's cache holds no layer of more, of
heads more gain nothing, and each has its state in memory."""


@dataclass(frozen=True)
class Whole:
    """The trainings of a sweep that are alike, as it was declared, done or not.

    ``count``: how many; ``images``: pictures that all of them pass together.
    """

    count: int
    images: int


def wholes(trainings: Iterable[Training], images: Callable[[Training], int]) -> dict[str, Whole]:
    """What trainers are chosen by, by kind of training (``zoo.training.alike``).

    Args:
        trainings: all of a sweep, done or not.
        images: pictures that a training passes.
    """
    return {
        kind(group[0]): Whole(len(group), sum(map(images, group))) for group in alike(trainings)
    }


def in_lanes(batch: int, each: int) -> float:
    """Images per second of networks with ``each`` lanes that share out batches, over those of lanes
    with 64 images: lanes take images by fours, and a step of a lane takes some time whatever its
    images."""
    images = batch / each
    by_fours = _IMAGES * math.ceil(math.ceil(images) / _IMAGES)
    whole = 1 + _STEP_IMAGES / _MOST_IMAGES
    return images / by_fours * whole / (1 + _STEP_IMAGES / min(images, _MOST_IMAGES))


def _of_register(count: int, each: int, width: int) -> tuple[float, int]:
    """(Share of the lanes that ``count`` networks take, programs they make)."""
    programs = -(-count // (width // each))
    return count * each / (programs * width), programs


def lanes_each(count: int, batch: int, width: int = WIDTH) -> int:
    """Lanes of a network: the most with which ``count`` of them leave few lanes empty, have batches
    that are large enough when they are shared out, and make a program for each of four cores.

    Args:
        count: trainings of the sweep that are alike.
        batch: images of a step.
    """

    def worth(each: int) -> float:
        taken, programs = _of_register(count, each, width)
        return taken * in_lanes(batch, each) * min(1.0, programs / _PROGRAMS)

    return max((each for each in reversed(LANES_EACH) if each <= width), key=worth)


def at_once(
    training: Training, whole: Whole, asked: str | None, *, on_cpu: bool
) -> tuple[int, int]:
    """Of trainings like this one, as many as a worker gets whatever its share of what is left is,
    and as many as are worth a batch. In lanes a few take as long as a full register, and who ends
    early leaves its lanes to another one that is asked for then (``zoo.training.run``)."""
    if models.model(training.arch).head:
        return 1, MOST["heads"]
    if lanes_may(training, whole, asked, on_cpu=on_cpu):
        room = WIDTH // lanes_each(whole.count, training.recipe.batch_size)
        return room, room
    return 1, MOST["lanes" if on_cpu else "stacked"]


def heads_may(training: Training, whole: Whole, asked: str | None) -> bool:
    """Whether trainings like this one are heads that are trained at once: unless another trainer
    is asked for, two or more in float32."""
    return (
        asked in (None, "heads")
        and whole.count > 1
        and models.model(training.arch).head
        and training.recipe.precision == "fp32"
    )


def lanes_may(training: Training, whole: Whole, asked: str | None, *, on_cpu: bool) -> bool:
    """Whether trainings like this one are for lanes, on a CPU like this machine's: asked for; or
    worth compiling for, of an architecture that lanes are shown to be faster for, and so many and
    of such batches that they are."""
    if asked not in (None, "lanes") or not on_cpu or find_spec("numba") is None:
        return False
    if models.model(training.arch).head:
        return False
    recipe = training.recipe
    if recipe.precision != "fp32" or recipe.augment == "resized_crop_flip":
        return False
    if asked == "lanes":
        return True
    rate = models.model(training.arch).images_per_second
    if rate is None or whole.images / rate < WORTH_SECONDS or vector_lanes() < WIDTH:
        return False
    each = lanes_each(whole.count, recipe.batch_size)
    taken, _ = _of_register(whole.count, each, WIDTH)
    gain = FASTER.get(training.arch, 0.0) * taken * in_lanes(recipe.batch_size, each)
    return gain >= _GAIN


def stacked_may(training: Training, whole: Whole, asked: str | None, *, on_cpu: bool) -> bool:
    """Whether trainings like this one may be one program: asked for; or on a GPU, two or more of
    one of this package's own networks, which are small. Never on a CPU by itself: it wins nothing
    there."""
    model = models.model(training.arch)
    if asked not in (None, "stacked") or model.head:
        return False
    if training.recipe.augment == "resized_crop_flip":
        return False
    small = not model.build.startswith("timm:")
    return asked == "stacked" or (not on_cpu and whole.count >= LEAST_STACKED and small)


def trainer_expected(training: Training, whole: Whole, *, on_cpu: bool) -> str:
    """Who will train trainings like this one: by name, see ``zoo.training.trainers``.

    Args:
        on_cpu: of this machine; else on a GPU.
    """
    asked = os.environ.get(SETTING) or None
    if heads_may(training, whole, asked):
        return "heads"
    if training.arch in FASTER and lanes_may(training, whole, asked, on_cpu=on_cpu):
        return "lanes"
    return "stacked" if stacked_may(training, whole, asked, on_cpu=on_cpu) else "single"
