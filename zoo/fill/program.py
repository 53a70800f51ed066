"""Who answers: which classifiers of a unit a fill takes together, and the rule by which that is
chosen. Loads no torch.

``single``: one network after the other, by torch, as ``zoo.fill.fold`` prepares it.
``lanes``: as many networks of one architecture as a vector register holds, on the same pictures
(``zoo.training.lanes.evaluation``): the same logits to float rounding.
docs/ARCHITECTURE.md, "The fill", has the rule in words.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from zoo import models
from zoo.errors import UsageError
from zoo.machine import vector_lanes
from zoo.store.commits import Commit

__all__ = [
    "FASTER",
    "GAIN",
    "PROGRAMS",
    "SETTING",
    "SINGLE",
    "WIDTH",
    "asked",
    "gain",
    "gain_expected",
    "lanes_of",
]

PROGRAMS = ("single", "lanes")
SETTING = "ZOO_PROGRAM"
FASTER: Mapping[str, float] = {
    "lenet5": 4.0,
    "resnet_mini": 3.2,
    "inception_mini": 2.9,
    "vgg_mini": 2.4,
    "nin_mini": 2.3,
    "densenet_mini": 2.2,
    "resnet20": 1.7,
    "efficientnet_mini": 1.6,
    "mobilenet_mini": 1.6,
    "xception_mini": 1.6,
    "resnet8": 1.5,
}
"""Architectures that lanes are chosen for: logits per second of a core, over those of ``single``,
of 16 networks on the same pictures, 32 x 32 x 3 (``python -m tools.bench together``)."""
SINGLE: Mapping[str, float] = {
    "inception_mini": 2.4,
    "xception_mini": 2.4,
    "nin_mini": 2.2,
    "nin": 1.9,
    "resnet_mini": 1.9,
    "densenet_mini": 1.7,
    "vgg_mini": 1.7,
    "mobilenet_mini": 1.6,
    "efficientnet_mini": 1.4,
    "lenet5": 1.4,
    "resnet8": 1.3,
    "resnet20": 1.2,
}
"""Logits per second of a core by ``single`` (``zoo.fill.fold``), over those of the network as it
was trained, one channel after the other: by the same command."""
GAIN = 1.5
"""How many times as fast the networks of a register have to be together, though lanes are empty."""
WIDTH = 16
"""Lanes the figures were measured with; with fewer they answer only when asked for."""
WORTH_SECONDS = 20.0
"""Of one core by ``single``, for the networks of a unit: below, compiling or loading the kernels
takes what is won."""


def asked(name: str | None) -> str | None:
    """The program that is asked for, by name or by ``ZOO_PROGRAM``; None = the rule decides.

    Raises:
        UsageError: for a name that is none.
    """
    setting = SETTING if name is None else "program"
    name = name or os.environ.get(SETTING) or None
    if name is not None and name not in PROGRAMS:
        raise UsageError(
            f"{setting}={name}: there is no such program. Allowed: {', '.join(PROGRAMS)}. Leave it"
            " out, and lanes answer where they were measured to be faster."
        )
    return name


def lanes_of(
    names: Sequence[str], classifiers: Mapping[str, Commit], examples: int, asked: str | None
) -> tuple[tuple[str, ...], ...]:
    """The classifiers of a unit that may answer in lanes, those that can share a register in one
    group, in order. It follows from the unit and what is asked for alone, so that a rerun and every
    worker do the same.

    Args:
        examples: of the split.
    """
    if asked == "single":
        return ()
    groups: dict[str, list[str]] = {}
    for name in names:
        facts = classifiers[name].facts
        if _own(facts):
            groups.setdefault(f"{facts['arch']} {facts['preprocessing']}", []).append(name)
    found = []
    for group in groups.values():
        arch = classifiers[group[0]].facts["arch"]
        rate = models.model(arch).images_per_second
        whole = _taken(len(group), arch)
        worth = rate is not None and _seconds(arch, whole * examples, rate) >= WORTH_SECONDS
        if asked == "lanes":
            found.append(tuple(group))
        elif arch in FASTER and whole and worth:
            found.append(tuple(group[:whole]))
    return tuple(found)


def gain(arch: str, together: int, alone: int = 0) -> float:
    """How many times as fast as the networks were as they were trained a core answers with those of
    an architecture of which so many answer in lanes, together, and so many do not; empty lanes
    counted.

    Args:
        together, alone: in one unit, one of them at least.
    """
    registers = -(-together // WIDTH)
    seats = registers * WIDTH / FASTER.get(arch, 1.0) + alone
    return SINGLE.get(arch, 1.0) * (together + alone) / seats


def gain_expected(arch: str, count: int, units: int, examples: int) -> float:
    """The same of a fill to come on a CPU like this machine's, of ``count`` networks of an
    architecture that ``units`` units share evenly.

    Args:
        examples: of the split.
    """
    by, rate = asked(None), models.model(arch).images_per_second
    mine = round(count / units)
    able = find_spec("numba") is not None and (by == "lanes" or vector_lanes() >= WIDTH)
    if by == "single" or not able or arch not in FASTER or rate is None:
        return gain(arch, 0, 1)
    whole = mine if by == "lanes" else _taken(mine, arch)
    worth = by == "lanes" or _seconds(arch, whole * examples, rate) >= WORTH_SECONDS
    return gain(arch, whole, mine - whole) if whole and worth else gain(arch, 0, 1)


_FORWARD = 1 / 3
"""Of a training step's time, about what an answer takes of a network as it was trained."""


def _seconds(arch: str, answers: int, rate: float) -> float:
    """Of a core for so many answers by ``single``, of a network that trains at such a rate."""
    return _FORWARD * answers / rate / SINGLE.get(arch, 1.0)


def _taken(count: int, arch: str) -> int:
    """How many of so many networks answer in lanes: of the last register, too few would take as
    long as sixteen."""
    left = count % WIDTH
    return count - left if left * FASTER.get(arch, 0.0) < GAIN * WIDTH else count


def _own(facts: Mapping[str, Any]) -> bool:
    """Whether a classifier is a network of this package on pictures: not a head, no pretrained
    network with outputs of its own."""
    arch = str(facts.get("arch"))
    if "network" in facts or "columns" in facts or arch not in models.MODELS:
        return False
    model = models.model(arch)
    return not model.head and not model.build.startswith("timm:")
