"""Folders of image files, one folder per class: ``split/class/*.ext``, or ``class/*.ext`` (one split, ``train``).

Class order is the order of the folder names as plain strings ("10" before "2"), over all splits together, and is stored in the data
set's class names. A class folder without images is a class without examples, reported by the check.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from zoo.data.dataset import Contents, Found, Split, normalised_splits, split_name
from zoo.data.files import FileSource, ImageFile, Notes, image_files, printable, subfolders
from zoo.errors import DataError

__all__ = ["imagefolder", "read_class_folders", "split_folders", "split_of_files"]

_PROBED_CLASSES = 20  # empty class folders looked into before giving up; the first image found ends the search


def imagefolder(path: Path) -> Found | None:
    """Recognise a folder of class folders. Cheap: looks into the first few class folders only."""
    if not path.is_dir():
        return None
    root = path.resolve()
    splits = split_folders(root)
    if splits:
        labelled = {split: folder for split, folder in splits.items() if subfolders(root / folder, root, Notes())}
        if any(_has_class_folders(root / folder, root) for folder in labelled.values()):
            return Found(dict.fromkeys(normalised_splits(labelled)), lambda: read_class_folders(root, splits))
        return None
    if _has_class_folders(root, root):
        return Found({"train": None}, lambda: read_class_folders(root, {"train": "."}))
    return None


def split_folders(root: Path) -> dict[str, str]:
    """Split -> folder name, for the folders directly under root that are named exactly like a split.

    Raises:
        DataError: if two folders stand for the same split (``val`` and ``valid``).
    """
    found: dict[str, str] = {}
    for folder in subfolders(root, root, Notes()):
        name = split_name(folder)
        if name is None or not folder.isalpha():
            continue
        if name in found:
            raise DataError(
                f"{root}: folders {found[name]!r} and {folder!r} both stand for the split {name!r}; one folder per split is allowed. "
                f"Rename or move one of them."
            )
        found[name] = folder
    return found


def _has_class_folders(folder: Path, root: Path) -> bool:
    """Whether one of the first few folders directly holds an image; reads no more than a listing of each."""
    notes = Notes()
    return any(image_files(folder / name, root, notes, deep=False) for name in subfolders(folder, root, notes)[:_PROBED_CLASSES])


def read_class_folders(root: Path, splits: Mapping[str, str]) -> Contents:
    """Read class folders.

    Args:
        root: resolved root of the data set.
        splits: split -> folder relative to root.

    Raises:
        DataError: if no image file is found at all.
    """
    notes = Notes()
    folders = {split: subfolders(root / folder, root, notes) for split, folder in splits.items()}
    for split in [name for name, classes_of_split in folders.items() if not classes_of_split]:
        notes.add(f"{splits[split]}: has no class folders, so its images have no labels; left out")
        del folders[split]
    classes = sorted(set().union(*folders.values()))
    index = {name: position for position, name in enumerate(classes)}
    read: dict[str, Split] = {}
    for split, names in folders.items():
        per_class = [(index[name], image_files(root / splits[split] / name, root, notes)) for name in names]
        read[split] = split_of_files(
            split, root, [file for _, files in per_class for file in files], [label for label, files in per_class for _ in files]
        )
    if not any(len(split) for split in read.values()):
        raise DataError(
            f"{root}: no image file in {len(classes)} class folders. Left out: {'; '.join(notes.all()) or 'nothing'}. "
            f"Put regular image files into split/class/ folders (links may not leave the data set)."
        )
    named = normalised_splits(read)
    return Contents(tuple(printable(name) for name in classes), {name: _renamed(split, name) for name, split in named.items()}, notes.all())


def split_of_files(name: str, root: Path, files: Sequence[ImageFile], labels: Iterable[int]) -> Split:
    """A split of image files with their labels, in the order given."""
    return Split(
        name=name,
        labels=np.fromiter(labels, dtype=np.int64, count=len(files)),
        labels_true=None,
        keys=[printable(file.relative) for file in files],
        source=FileSource(root, list(files)),
    )


def _renamed(split: Split, name: str) -> Split:
    return Split(name, split.labels, split.labels_true, split.keys, split.source)
