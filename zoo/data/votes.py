"""What several people said that each picture shows, where a data set brings it: counts of votes in
a file in its folder.

``votes-SPLIT.npy``: [E, M], how many people gave class k to picture e, in the order of the split
and of the class list. ``votes-SPLIT.csv``: a column ``key`` and one for each class, by name, a row
for each picture that was voted on. ``cifar10h-counts.npy`` of the CIFAR-10H project is the first
form under its own name, of CIFAR-10's split ``test``.

Votes are nobody's labels: they belong to no fingerprint, nothing is trained on them, and adding a
file changes no id.

Source: Peterson, Battleday, Griffiths & Russakovsky, "Human uncertainty makes classification more
robust" (2019), CIFAR-10H.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Dataset
from zoo.errors import DataError

__all__ = ["files_of_votes", "votes_in"]

_ALSO = {"test": ("cifar10h-counts.npy",)}


def _names(split: str) -> tuple[str, ...]:
    return (f"votes-{split}.npy", f"votes-{split}.csv", *_ALSO.get(split, ()))


def files_of_votes(splits: Iterable[str]) -> frozenset[str]:
    """Names of files that would hold the votes of some splits."""
    return frozenset(name for split in splits for name in _names(split))


def votes_in(folder: Path, dataset: Dataset, split: str) -> NDArray[np.float64] | None:
    """Votes on the pictures of a split, float64 [E, M], rows of zeros where nobody voted; None
    where the folder has no file of them.

    Raises:
        DataError: if the file cannot be read, or is not of this split.
    """
    path = next((folder / name for name in _names(split) if (folder / name).is_file()), None)
    if path is None:
        return None
    shape = (len(dataset.splits[split]), len(dataset.class_names))
    try:
        votes = (
            _by_key(path, dataset, split)
            if path.suffix == ".csv"
            else np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
        )
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"{path}: cannot be read as votes ({str(error)[:200]}). Give counts [E, M] as .npy, or"
            " a CSV file with the column key and one for each class."
        ) from None
    wrong = not np.isfinite(votes).all() or bool((votes < 0).any())
    if votes.shape != shape or wrong:
        said = "a count below 0 or none" if wrong else f"the shape {list(votes.shape)}"
        raise DataError(
            f"{path}: {said}. Allowed: counts from 0 of {shape[0]} pictures and {shape[1]} classes,"
            f" those of the split {split} of {dataset.name}. Correct the file or take it away."
        )
    return votes


def _by_key(path: Path, dataset: Dataset, split: str) -> NDArray[np.float64]:
    """Votes of a CSV file by the pictures' keys."""
    keys = {key: row for row, key in enumerate(dataset.splits[split].keys)}
    votes = np.zeros((len(keys), len(dataset.class_names)))
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        lacking = [n for n in ("key", *dataset.class_names) if n not in (reader.fieldnames or ())]
        if lacking:
            raise ValueError(f"no column {', '.join(lacking[:5])}")
        for row in reader:
            if row["key"] not in keys:
                raise ValueError(f"no picture {row['key']!r} in the split {split}")
            votes[keys[row["key"]]] = [float(row[name]) for name in dataset.class_names]
    return votes
