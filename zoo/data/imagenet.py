"""ImageNet (ILSVRC2012) in the forms people have it in.

- sorted: ``train/n01440764/*.JPEG`` and ``val/n01440764/*.JPEG``, a folder per WordNet id;
- flat validation: ``val/ILSVRC2012_val_*.JPEG`` (also ``ILSVRC2012_img_val/``) and the development
  kit, somewhere under the root;
- Kaggle: ``ILSVRC/Data/CLS-LOC/{train,val}`` and ``LOC_val_solution.csv``.

Class i is the i-th WordNet id in sorted order, as everywhere (torchvision, timm). The numbers
1..1000 of the development kit's ground truth are ids of its own in another order; they go through
meta.mat to WordNet ids and from there to the class index. The validation set becomes the split
``test``.

Source: readme.txt of ILSVRC2012_devkit_t12 (ground truth, meta.mat).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from zoo.data.dataset import Contents, Found, Split
from zoo.data.files import ImageFile, image_files, printable, subfolders
from zoo.data.imagefolder import read_class_folders, split_of_files
from zoo.data.notes import Notes, merged
from zoo.errors import DataError

__all__ = ["imagenet"]

_WNID = re.compile(r"n\d{8}")
_VAL_NAME = re.compile(r"ILSVRC2012_val_(\d{8})", re.IGNORECASE)
_TEST_NAME = re.compile(r"ILSVRC2012_test_\d{8}", re.IGNORECASE)
_VAL_FOLDERS = ("val", "ILSVRC2012_img_val", "validation")
_TRAIN_FOLDERS = ("train", "ILSVRC2012_img_train")
_IMAGE_ROOTS = (".", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
_KIT_FOLDERS = (".", "data", "*devkit*", "*devkit*/data", "*/*devkit*", "*/*devkit*/data")
_GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_SOLUTION = "LOC_val_solution.csv"
_NO_IMAGES = ("ILSVRC/Annotations", "ILSVRC/ImageSets", "Annotations", "ImageSets")
_UNLABELLED = ("test", "ILSVRC2012_img_test")


def imagenet(path: Path) -> Found | None:
    """Recognise ImageNet: class folders that are WordNet ids, or flat validation images with a
    source of labels."""
    if not path.is_dir():
        return None
    root = path.resolve()
    for images in (root / folder for folder in _IMAGE_ROOTS):
        if not images.is_dir():
            continue
        train = _first(images, _TRAIN_FOLDERS, _has_wnid_folders, root)
        sorted_val = _first(images, _VAL_FOLDERS, _has_wnid_folders, root)
        flat_val = None if sorted_val else _first(images, _VAL_FOLDERS, _has_flat_images, root)
        if train or sorted_val or flat_val:
            folders = {
                split: folder.relative_to(root).as_posix()
                for split, folder in (("train", train), ("test", sorted_val))
                if folder
            }
            counts = dict.fromkeys(
                [
                    split
                    for split, folder in (("train", train), ("test", sorted_val or flat_val))
                    if folder
                ]
            )
            return Found(counts, partial(_read, root, images, folders, flat_val))
    return None


def _first(
    images: Path, names: tuple[str, ...], fits: Callable[[Path, Path], bool], root: Path
) -> Path | None:
    """The first of some folders that exists inside the root and fits."""
    present = set(subfolders(images, root, Notes()))
    return next(
        (images / name for name in names if name in present and fits(images / name, root)), None
    )


def _has_wnid_folders(folder: Path, root: Path) -> bool:
    names = subfolders(folder, root, Notes())
    return bool(names) and all(_WNID.fullmatch(name) for name in names)


def _has_flat_images(folder: Path, _root: Path) -> bool:
    # A plain listing: 50,000 names without looking at each file.
    return any(_VAL_NAME.match(entry.name) for entry in folder.iterdir())


def _read(root: Path, images: Path, folders: Mapping[str, str], flat_val: Path | None) -> Contents:
    """Sorted splits as class folders; the flat validation set by its ground truth, over one common
    class list."""
    found = (
        read_class_folders(root, folders)
        if flat_val is None
        else _with_flat_validation(root, folders, flat_val)
    )
    notes = Notes()
    unlabelled = [
        (images / name).relative_to(root).as_posix()
        for name in _UNLABELLED
        if _has_test_images(images / name)
    ]
    for place in unlabelled:
        notes.add(
            "note",
            "no labels",
            place,
            "ImageNet's own test set, whose labels are not published; left out",
        )
    # Boxes and lists of names: a million small files that are no pictures.
    covered = {
        *(found.covered or ()),
        *unlabelled,
        *(name for name in _NO_IMAGES if (root / name).is_dir()),
    }
    return replace(found, notes=merged(found.notes, notes.all()), covered=frozenset(covered))


def _has_test_images(folder: Path) -> bool:
    return folder.is_dir() and any(_TEST_NAME.match(entry.name) for entry in folder.iterdir())


def _with_flat_validation(root: Path, folders: Mapping[str, str], flat_val: Path) -> Contents:
    labelled = _wnid_of_number(root)
    train = read_class_folders(root, folders) if folders else Contents((), {})
    classes = sorted({*train.class_names, *labelled.classes})
    index = {wnid: position for position, wnid in enumerate(classes)}
    notes = Notes()
    files = image_files(flat_val, root, notes, deep=False)
    splits = {
        name: _relabelled(split, train.class_names, index) for name, split in train.splits.items()
    }
    numbered = [
        (file, match) for file in files if (match := _VAL_NAME.match(Path(file.relative).name))
    ]
    for file in files:
        if not _VAL_NAME.match(Path(file.relative).name):
            notes.add(
                "warning",
                "no labels",
                printable(file.relative),
                "not named like a validation image, so it has no label; left out",
            )
    labels = [index[labelled.wnid(int(match[1]), file)] for file, match in numbered]
    splits["test"] = split_of_files("test", root, [file for file, _ in numbered], labels)
    covered = {*(train.covered or ()), *(file.relative for file in files), *notes.linked}
    return Contents(tuple(classes), splits, merged(train.notes, notes.all()), frozenset(covered))


def _relabelled(split: Split, names: tuple[str, ...], index: Mapping[str, int]) -> Split:
    """The same examples with labels that count in another class list."""
    table = np.array([index[name] for name in names], dtype=np.int64)
    return Split(split.name, table[split.labels], split.labels_true, split.keys, split.source)


@dataclass(frozen=True)
class _ValidationLabels:
    """WordNet id of each validation image by its number (1, 2, ...), all class names, and where
    both come from."""

    wnids: Mapping[int, str]
    classes: frozenset[str]
    origin: Path

    def wnid(self, number: int, file: ImageFile) -> str:
        try:
            return self.wnids[number]
        except KeyError:
            raise DataError(
                f"{file.relative}: no label for validation image {number}; {self.origin} has labels"
                f" for {len(self.wnids)} images. Use the ground truth that belongs to these images,"
                " or remove the image."
            ) from None


def _wnid_of_number(root: Path) -> _ValidationLabels:
    for folder in _KIT_FOLDERS:
        for truth in sorted(root.glob(f"{folder}/{_GROUND_TRUTH}")):
            meta = truth.parent / "meta.mat"
            if meta.is_file():
                return _from_kit(truth, meta)
    solution = root / _SOLUTION
    if solution.is_file():
        return _from_solution(solution)
    raise DataError(
        f"{root}: the validation images are in one folder and nothing says what they show. Looked"
        f" for {_GROUND_TRUTH} with meta.mat in {', '.join(_KIT_FOLDERS)} and for {_SOLUTION}. Put"
        " the development kit beside them, or sort them into class folders."
    )


def _from_kit(truth: Path, meta: Path) -> _ValidationLabels:
    """Development kit: line i is the kit's own id of validation image i; meta.mat says which
    WordNet id that is."""
    leaves = _leaf_synsets(meta)
    wnids: dict[int, str] = {}
    for number, line in enumerate(
        truth.read_text(encoding="ascii", errors="replace").split(), start=1
    ):
        if not line.isdecimal() or int(line) not in leaves:
            raise DataError(
                f"{truth}: line {number} is {line!r}; allowed are the ids {min(leaves)} to"
                f" {max(leaves)} of {meta.name}. Take both files from the same development kit."
            )
        wnids[number] = leaves[int(line)]
    return _ValidationLabels(wnids, frozenset(leaves.values()), truth)


def _leaf_synsets(meta: Path) -> dict[int, str]:
    """ILSVRC2012_ID -> WordNet id of the synsets without children: the 1000 classes. Inner nodes
    (1001 and up) are no labels."""
    from scipy.io import loadmat  # 0.1 s, and needed for this form only

    try:
        table = loadmat(meta, squeeze_me=True, variable_names=["synsets"])["synsets"].reshape(-1)
        leaves = {
            int(row["ILSVRC2012_ID"]): str(row["WNID"])
            for row in table
            if int(row["num_children"]) == 0
        }
    except Exception as error:  # noqa: BLE001  scipy raises by what it stumbles over: ValueError, TypeError, KeyError, struct.error, ...
        raise DataError(
            f"{meta}: cannot be read as the development kit's meta.mat ({type(error).__name__}:"
            f" {error}); it must hold `synsets` with ILSVRC2012_ID, WNID and num_children. Take it"
            " from the ILSVRC2012 development kit (task 1 and 2)."
        ) from None
    if not leaves:
        raise DataError(
            f"{meta}: has no synset without children. Take it from the ILSVRC2012 development kit"
            " (task 1 and 2)."
        )
    return leaves


def _from_solution(solution: Path) -> _ValidationLabels:
    """Kaggle: ``ImageId,PredictionString``; the string starts with the WordNet id, boxes follow."""
    wnids: dict[int, str] = {}
    with solution.open(newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.reader(file), start=1):
            number = _VAL_NAME.match(row[0]) if row else None
            wnid = row[1].split(" ")[0] if len(row) > 1 else ""
            if line == 1 and number is None:
                continue  # header
            if number is None or not _WNID.fullmatch(wnid):
                raise DataError(
                    f"{solution}: line {line} is {','.join(row)[:80]!r}; expected a line such as"
                    " ILSVRC2012_val_00000001,n01751748 ... . Take the file from the competition"
                    " again."
                )
            wnids[int(number[1])] = wnid
    return _ValidationLabels(wnids, frozenset(wnids.values()), solution)
