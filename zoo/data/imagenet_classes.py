"""What is known of ImageNet's classes beside their pictures: WordNet ids in the order of the class
numbers, names, and the ReaL labels of the validation set.

All of it comes with timm (``timm/data/_info``); its files are read, timm is not imported. A class
is its number or its WordNet id, never its name: ``crane`` (134, 517) and ``maillot`` (638, 639) are
two classes each.

ReaL: Beyer, Hénaff, Kolesnikov, Zhai, van den Oord 2020, *Are we done with ImageNet?*: for each of
the 50,000 validation pictures the set of classes that people see in it; it is empty for 3,163.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError

__all__ = ["class_titles", "is_imagenet", "real_labels", "real_mask", "wnids"]

_VAL_KEY = re.compile(r"ILSVRC2012_val_(\d{8})", re.IGNORECASE)
_CLASSES, _IMAGES = 1000, 50_000


def _file(name: str) -> str:
    found = importlib.util.find_spec("timm")
    path = Path(str(found.origin)).parent / "data/_info" / name if found and found.origin else None
    try:
        return (path or Path(name)).read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{path or 'timm'}: cannot be read ({error.strerror}), and what ImageNet's classes are"
            " called comes from there. Install timm again."
        ) from None


@functools.cache
def wnids() -> tuple[str, ...]:
    """WordNet ids of classes 0..999: in sorted order, as everywhere."""
    found = tuple(_file("imagenet_synsets.txt").split())
    assert len(found) == _CLASSES
    return found


@functools.cache
def _titles() -> Mapping[str, str]:
    wanted = set(wnids())
    lines = (line.split("\t", 1) for line in _file("imagenet_synset_to_lemma.txt").splitlines())
    return {wnid: text for wnid, text in lines if wnid in wanted}


def is_imagenet(class_names: Sequence[str]) -> bool:
    """Whether all classes of a data set are WordNet ids of ImageNet's 1,000."""
    # Most data sets have other names, and need no file read.
    looks = bool(class_names) and all(re.fullmatch(r"n\d{8}", name) for name in class_names)
    return looks and set(class_names) <= set(wnids())


def class_titles(class_names: Sequence[str]) -> tuple[str, ...] | None:
    """What classes named by WordNet ids are called, such as ``n01440764 tench``: the id first,
    since two may have one name. None where they are not all ImageNet's."""
    if not is_imagenet(class_names):
        return None
    return tuple(f"{name} {_titles()[name].partition(',')[0]}" for name in class_names)


@functools.cache
def real_labels() -> tuple[frozenset[int], ...]:
    """ReaL labels of validation pictures 1..50,000 (at index 0..49,999), as class numbers."""
    found = tuple(map(frozenset, json.loads(_file("imagenet_real_labels.json"))))
    assert len(found) == _IMAGES
    return found


def real_mask(class_names: Sequence[str], keys: Sequence[str]) -> NDArray[np.bool_] | None:
    """Which of a data set's classes are ReaL labels of its validation pictures.

    Args:
        class_names: M WordNet ids, some or all of the 1,000, in the data set's order.
        keys: E keys of a split; the picture's number is taken from the file's name.

    Returns:
        bool [E, M]; a row without any True has no ReaL label (among these classes). None where the
        classes are not ImageNet's, or no key names a validation picture.
    """
    if not is_imagenet(class_names):
        return None
    numbers = [int(match[1]) if (match := _VAL_KEY.search(key)) else 0 for key in keys]
    if not any(1 <= number <= _IMAGES for number in numbers):
        return None
    column = {wnids().index(name): position for position, name in enumerate(class_names)}
    labels, mask = real_labels(), np.zeros((len(keys), len(class_names)), dtype=bool)
    for row, number in enumerate(numbers):
        if 1 <= number <= _IMAGES:
            for label in labels[number - 1] & column.keys():
                mask[row, column[label]] = True
    return mask
