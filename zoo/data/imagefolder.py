"""Folders of image files, one folder per class: ``split/class/*.ext``, or ``class/*.ext`` (one
split, ``train``).

Class order is the order of the folder names as plain strings ("10" before "2"), over all splits
together, and is stored in the data set's class names. A class folder without images is a class
without examples, which is a warning.

A folder named like a split is one if it holds class folders. One that holds pictures itself, beside
other folders that do, is a class of that name (buses, cars and trains), which is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from zoo.data.dataset import Contents, Found, Split, normalised_splits, split_name
from zoo.data.files import (
    FileSource,
    ImageFile,
    image_files,
    pictures_below,
    printable,
    regular_files,
    subfolders,
)
from zoo.data.notes import Notes
from zoo.errors import DataError

__all__ = ["class_folders", "imagefolder", "read_class_folders", "split_of_files"]

# empty class folders looked into before giving up; the first image found ends the search
_PROBED_CLASSES = 20


def imagefolder(path: Path) -> Found | None:
    """Recognise a folder of class folders. Cheap: looks into the first few class folders only."""
    if not path.is_dir():
        return None
    root = path.resolve()
    folders = _split_folders(root)
    if folders is None:
        return None
    labelled = [
        split for split, folder in folders.items() if subfolders(root / folder, root, Notes())
    ]
    return Found(
        dict.fromkeys(normalised_splits(dict.fromkeys(labelled))),
        partial(read_class_folders, root, folders),
    )


def class_folders(root: Path) -> set[str]:
    """Names of the folders that would be read as classes, of all splits; of the first few that hold
    pictures."""
    found: set[str] = set()
    for folder in (_split_folders(root) or {}).values():
        names = subfolders(root / folder, root, Notes())
        found |= {
            name
            for name in names[:_PROBED_CLASSES]
            if _any_holds_images(root / folder, [name], root)
        }
    return found


def _split_folders(root: Path) -> dict[str, str] | None:
    """Split -> folder under root: those named exactly like splits, or the root itself; None if no
    class folder is found.

    Raises:
        DataError: if two folders stand for the same split (``val`` and ``valid``).
    """
    names = subfolders(root, root, Notes())
    words = {
        folder: split
        for folder in names
        if folder.isalpha() and (split := split_name(folder)) is not None
    }
    if not any(_has_class_folders(root / folder, root) for folder in words):
        others = [name for name in names if name not in words]
        # Two and more folders of pictures with the names of splits are splits without labels, no
        # classes. Beside Parquet files, a folder of pictures is what a page shows of them.
        classes = len(set(words.values())) <= 1 and not regular_files(
            root, Notes(), suffix=".parquet", depth=1
        )
        return {"train": "."} if classes and _any_holds_images(root, others, root) else None
    found: dict[str, str] = {}
    for folder, split in words.items():
        if split in found:
            raise DataError(
                f"{root}: folders {found[split]!r} and {folder!r} both stand for the split"
                f" {split!r}; one folder per split is allowed. Rename or move one of them."
            )
        found[split] = folder
    return found


def _has_class_folders(folder: Path, root: Path) -> bool:
    return _any_holds_images(folder, subfolders(folder, root, Notes()), root)


def _any_holds_images(folder: Path, names: Sequence[str], root: Path) -> bool:
    """Whether one of the first few folders directly holds an image; reads no more than a listing of
    each."""
    return any(
        image_files(folder / name, root, Notes(), deep=False) for name in names[:_PROBED_CLASSES]
    )


def read_class_folders(root: Path, splits: Mapping[str, str]) -> Contents:
    """Read class folders.

    Args:
        root: resolved root of the data set.
        splits: split -> folder relative to root.

    Raises:
        DataError: if no image file is found at all.
    """
    notes, covered = Notes(), set()
    folders = {split: subfolders(root / folder, root, notes) for split, folder in splits.items()}
    for split in [name for name, classes_of_split in folders.items() if not classes_of_split]:
        held = pictures_below(root / splits[split], root, notes)
        reason = (
            "has no class folders, so its images have no labels; left out"
            if held
            else "an empty folder"
        )
        notes.add("warning" if held else "note", "no labels", splits[split], reason)
        covered.add(splits[split])
        del folders[split]
    classes = sorted(set().union(*folders.values()))
    index = {name: position for position, name in enumerate(classes)}
    read: dict[str, Split] = {}
    for split, names in folders.items():
        place = {name: f"{splits[split]}/{name}".removeprefix("./") for name in names}
        per_class = [(index[name], image_files(root / place[name], root, notes)) for name in names]
        read[split] = split_of_files(
            split,
            root,
            [file for _, files in per_class for file in files],
            [label for label, files in per_class for _ in files],
        )
        covered |= set(place.values())
        _note_split_names(place, per_class, notes)
    if not any(len(split) for split in read.values()):
        raise DataError(
            f"{root}: no image file in {len(classes)} class folders. Left out:"
            f" {'; '.join(note.text for note in notes.all()) or 'nothing'}. Put image files into"
            " split/class/ folders."
        )
    named = normalised_splits(read)
    return Contents(
        class_names=tuple(printable(name) for name in classes),
        splits={name: replace(split, name=name) for name, split in named.items()},
        notes=notes.all(),
        covered=frozenset({*covered, *notes.linked}),
    )


def _note_split_names(
    place: Mapping[str, str], per_class: Iterable[tuple[int, Sequence[ImageFile]]], notes: Notes
) -> None:
    """Say where a name of a split was read as a class, or as a part of one."""
    for name, relative in place.items():
        if relative == name and name.isalpha() and split_name(name) is not None:
            notes.add(
                "note",
                "split name",
                printable(name),
                "holds pictures beside other class folders, so it is read as a class",
            )
    for relative, (_, files) in zip(place.values(), per_class, strict=True):
        below = {file.relative[len(relative) + 1 :].partition("/") for file in files}
        for folder in sorted(
            {
                first
                for first, slash, _ in below
                if slash and first.isalpha() and split_name(first) is not None
            }
        ):
            reason = (
                "a folder named like a split inside a class folder; its pictures are read with the"
                " rest of the class"
            )
            notes.add("warning", "split name", printable(f"{relative}/{folder}"), reason)


def split_of_files(
    name: str, root: Path, files: Sequence[ImageFile], labels: Iterable[int]
) -> Split:
    """A split of image files with their labels, in the order given."""
    return Split(
        name=name,
        labels=np.fromiter(labels, dtype=np.int64, count=len(files)),
        labels_true=None,
        keys=[printable(file.relative) for file in files],
        source=FileSource(root, list(files)),
    )
