"""Files of MNIST, CIFAR-10 and ImageNet as they are published, whole and in part."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import grey, idx, notes_of, write_files
from zoo.data import check_dataset, open_dataset
from zoo.data.notes import Note
from zoo.data.published import PUBLISHED

# -------------------------------------------------------- everything in the folder is read or named


def mnist(root: Path, mark: str = "-") -> Path:
    counts = {"train": 6, "t10k": 3}
    images = {
        f"{split}-images{mark}idx3-ubyte": idx(np.arange(n * 4).reshape(n, 2, 2))
        for split, n in counts.items()
    }
    labels = {
        f"{split}-labels{mark}idx1-ubyte": idx(np.arange(n) % 10) for split, n in counts.items()
    }
    return write_files(root, images | labels)


@pytest.mark.parametrize("missing", ["labels-idx1", "images-idx3"])
def test_one_half_of_an_mnist_split_is_a_warning(tmp_path: Path, missing: str) -> None:
    (mnist(tmp_path) / f"t10k-{missing}-ubyte").unlink()
    opened = open_dataset(str(tmp_path))
    there, gone = ("images-idx3", "labels") if "labels" in missing else ("labels-idx1", "images")
    expected = f"t10k-{there}-ubyte: has no file of {gone} beside it; the split 'test' is left out"
    assert notes_of(opened, "missing file") == [("warning", expected)]
    assert not check_dataset(opened).ok


def test_idx_files_may_be_named_with_a_dot(tmp_path: Path) -> None:
    dotted, dashed = (
        open_dataset(str(mnist(tmp_path / "a", "."))),
        open_dataset(str(mnist(tmp_path / "b", "-"))),
    )
    assert (dotted.form, dotted.fingerprint) == ("mnist-idx", dashed.fingerprint)


def test_packed_and_unpacked_idx_files_side_by_side_are_one_set(tmp_path: Path) -> None:
    for file in sorted(mnist(tmp_path).iterdir()):
        (tmp_path / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    assert [
        note
        for note in open_dataset(str(tmp_path)).notes
        if note.level != "warning" or note.kind != "empty class"
    ] == []


# ---------------------------------------------------------------- CIFAR and ImageNet


def cifar(root: Path) -> Path:
    """CIFAR-10 of four pictures a batch."""
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    batches = {
        name: {"data": np.zeros((4, 3072), np.uint8) + i, "labels": [0, 1, 0, 1]}
        for i, name in enumerate(names)
    }
    files = {name: pickle.dumps(batch) for name, batch in batches.items()}
    return write_files(
        root, {**files, "batches.meta": pickle.dumps({"label_names": ["ant", "bee"]})}
    )


def test_a_batch_of_cifar_that_is_missing_is_a_warning(tmp_path: Path) -> None:
    """Four of five batches are a training set of four fifths, which must not pass for the whole."""
    root = cifar(tmp_path / "cifar-10-batches-py")
    (root / "data_batch_3").unlink()
    opened = open_dataset(str(root))
    assert len(opened.splits["train"]) == 16
    assert notes_of(opened, "missing file") == [
        ("warning", "data_batch_3: not there, so its examples are missing. Fetch it again")
    ]
    assert not check_dataset(opened).ok


def test_a_complete_cifar_with_its_archive_and_its_page_has_no_notes(tmp_path: Path) -> None:
    cifar(tmp_path / "cifar-10-batches-py")
    write_files(
        tmp_path,
        {"cifar-10-python.tar.gz": b"archive", "cifar-10-batches-py/readme.html": b"<html>"},
    )
    assert open_dataset(str(tmp_path)).notes == ()


def kaggle(root: Path) -> Path:
    """ImageNet of two classes as Kaggle packs it: training and validation images, test images
    without labels, boxes."""
    images, wnids = "ILSVRC/Data/CLS-LOC", ("n01440764", "n01443537")
    write_files(
        root, {f"{images}/train/{wnid}/{wnid}_1.JPEG": grey(i) for i, wnid in enumerate(wnids)}
    )
    write_files(
        root,
        {f"{images}/val/ILSVRC2012_val_{number:08d}.JPEG": grey(5 + number) for number in (1, 2)},
    )
    write_files(
        root,
        {
            f"{images}/test/ILSVRC2012_test_00000001.JPEG": grey(9),
            "ILSVRC/Annotations/CLS-LOC/val/x.xml": b"<a/>",
        },
    )
    (root / "LOC_val_solution.csv").write_text(
        "ImageId,PredictionString\n"
        + "".join(
            f"ILSVRC2012_val_{number:08d},{wnid} 1 2 3 4 \n"
            for number, wnid in enumerate(wnids, start=1)
        )
    )
    return root


def test_imagenets_own_test_images_are_named_and_are_no_fault(tmp_path: Path) -> None:
    """Nobody outside has their labels, so nothing can be mended: a note, and the check is ok."""
    opened = open_dataset(str(kaggle(tmp_path)))
    assert [note for note in opened.notes if note.kind != "not read"] == [
        Note(
            "note",
            "no labels",
            "ImageNet's own test set, whose labels are not published; left out",
            ("ILSVRC/Data/CLS-LOC/test",),
        )
    ]
    assert check_dataset(opened).ok


def test_a_picture_among_the_validation_images_without_their_number_is_a_warning(
    tmp_path: Path,
) -> None:
    write_files(kaggle(tmp_path), {"ILSVRC/Data/CLS-LOC/val/holiday.JPEG": grey(77)})
    opened = open_dataset(str(tmp_path))
    assert notes_of(opened, "no labels")[0] == (
        "warning",
        (
            "ILSVRC/Data/CLS-LOC/val/holiday.JPEG: not named like a validation image, so it has no"
            " label; left out"
        ),
    )
    assert not check_dataset(opened).ok


def test_published_shapes_are_those_of_their_papers() -> None:
    assert {name: shape.text for name, shape in PUBLISHED.items()} == {
        "cifar10": "50,000 + 10,000 pictures of 32 x 32 pixels, 10 classes",
        "cifar100": "50,000 + 10,000 pictures of 32 x 32 pixels, 100 classes",
        "fashion-mnist": "60,000 + 10,000 pictures of 28 x 28 pixels, 10 classes",
        "imagenet": "1,281,167 + 50,000 pictures of many sizes, 1,000 classes",
        "mnist": "60,000 + 10,000 pictures of 28 x 28 pixels, 10 classes",
    }
    assert {name: shape.channels for name, shape in PUBLISHED.items() if shape.channels == 1} == {
        "fashion-mnist": 1,
        "mnist": 1,
    }
