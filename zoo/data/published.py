"""Shapes of well-known data sets, so that a plan needs no data: how many examples and classes,
which size.

Sources: LeCun et al. 1998 (MNIST), Xiao et al. 2017 (Fashion-MNIST), Krizhevsky 2009 (CIFAR),
Russakovsky et al. 2015, table 2 (ILSVRC2012: 1,281,167 training and 50,000 validation images of
many sizes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset, Split
from zoo.data.mnist import FASHION_CLASS_NAMES
from zoo.errors import UsageError

__all__ = ["PUBLISHED", "Shape", "dataset_of"]


@dataclass(frozen=True)
class Shape:
    """What a plan asks of a data set. ``classes``: their names, or how many. ``size``: (height,
    width), None where pictures differ."""

    train: int
    test: int
    classes: int | tuple[str, ...]
    channels: Literal[1, 3]
    size: tuple[int, int] | None

    @property
    def class_names(self) -> tuple[str, ...]:
        return (
            tuple(map(str, range(self.classes))) if isinstance(self.classes, int) else self.classes
        )

    @property
    def text(self) -> str:
        size = "many sizes" if self.size is None else f"{self.size[0]} x {self.size[1]} pixels"
        return (
            f"{self.train:,} + {self.test:,} pictures of {size}, {len(self.class_names):,} classes"
        )


_CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

PUBLISHED: Mapping[str, Shape] = {
    "cifar10": Shape(50_000, 10_000, _CIFAR10_CLASSES, 3, (32, 32)),
    "cifar100": Shape(50_000, 10_000, 100, 3, (32, 32)),
    "fashion-mnist": Shape(60_000, 10_000, FASHION_CLASS_NAMES, 1, (28, 28)),
    "imagenet": Shape(1_281_167, 50_000, 1000, 3, None),
    "mnist": Shape(60_000, 10_000, 10, 1, (28, 28)),
}


def dataset_of(name: str, shape: Shape) -> Dataset:
    """A data set of this shape without pictures: enough to plan with, and for nothing else. Its
    classes are of equal size."""
    counts = {"train": shape.train, "test": shape.test}
    labels = {
        split: np.arange(count, dtype=np.int64) % len(shape.class_names)
        for split, count in counts.items()
    }
    splits = {
        split: Split(split, values, None, [], _NoPictures()) for split, values in labels.items()
    }
    return Dataset(
        "assumed", name, shape.class_names, splits, shape.channels, shape.size, "assumed"
    )


class _NoPictures:
    """The pictures of a data set that is only planned for."""

    def encoded(self, example_ids: Sequence[int] | NDArray[np.int64]) -> list[bytes]:
        raise UsageError("an assumed data set has no pictures. Name a real one with --data.")

    def content_digest(self) -> bytes:
        return b""
