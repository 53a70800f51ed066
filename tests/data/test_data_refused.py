"""What cannot be trained on is refused in the words of the check; faults of files and folders have
clear outcomes."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import (
    PETS,
    grey,
    notes_of,
    one_class,
    pictures,
    two_classes,
    write_files,
    write_parquet,
)
from zoo.data import DATASETS, Form, Found, check_dataset, decode, open_dataset, require_trainable
from zoo.data import files as data_files
from zoo.errors import DataError

# --------------------------------------------------------------- what training refuses, check names


def no_test(root: Path) -> Path:
    return write_files(root, pictures("a/1.png", "b/2.png"))


def no_train(root: Path) -> Path:
    return write_files(root, pictures("test/a/1.png", "test/b/2.png"))


def empty_test(root: Path) -> Path:
    write_parquet(root / "train.parquet", [grey(1), grey(2)], [0, 1], names=PETS)
    write_parquet(root / "test.parquet", [], np.array([], dtype=np.int64), names=PETS)
    return root


def one_class_of_two(root: Path) -> Path:
    for split in ("train", "test"):
        write_parquet(root / f"{split}.parquet", [grey(1), grey(2)], [1, 1], names=PETS)
    return root


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (one_class, "all 2 training examples are of one class (a), so there is nothing to learn."),
        (
            one_class_of_two,
            "all 2 training examples are of one class (bee), so there is nothing to learn.",
        ),
        (no_train, "has no split 'train'. Its splits: test. Training needs one"),
    ],
)
def test_what_cannot_be_trained_on_is_an_error_of_the_check_and_refused_in_the_same_words(
    tmp_path: Path, make: Any, said: str
) -> None:
    opened = open_dataset(str(make(tmp_path / "set")))
    check = check_dataset(opened)
    assert (check.ok, check.trainable) == (False, False)
    assert any(note.level == "error" and note.text.startswith(said) for note in check.notes), (
        check.notes
    )
    with pytest.raises(DataError) as refused:
        require_trainable(opened)
    assert said in str(refused.value)


def test_without_a_test_split_a_set_is_trained_on_and_that_is_said(tmp_path: Path) -> None:
    """A note; an empty test split may be a mistake, a warning. Neither is refused."""
    said = []
    for make in (no_test, empty_test):
        opened = open_dataset(str(make(tmp_path / make.__name__)))
        require_trainable(opened)
        said.append([(note.level, note.text.partition(".")[0]) for note in opened.notes])
        assert check_dataset(opened).trainable
    assert said == [
        [("note", "has no split 'test'")],
        [("warning", "test: a split without examples")],
    ]


def test_a_sound_set_is_not_refused(tmp_path: Path) -> None:
    """The twin: nothing is said of two classes in train and in test."""
    opened = open_dataset(str(two_classes(tmp_path)))
    require_trainable(opened)
    assert (opened.notes, check_dataset(opened).ok) == ((), True)


def test_a_class_without_training_examples_is_a_warning_by_name(tmp_path: Path) -> None:
    root = two_classes(tmp_path)
    (root / "train/empty").mkdir()
    write_files(root, pictures("test/only-here/1.png", start=40))
    opened = open_dataset(str(root))
    assert notes_of(opened, "empty class") == [
        (
            "warning",
            "empty, only-here: classes without a training example. Add some, or remove the class.",
        )
    ]
    assert not check_dataset(opened).ok
    require_trainable(opened)


def test_a_training_split_of_which_nothing_can_be_decoded_is_an_error_of_the_check(
    tmp_path: Path,
) -> None:
    for split, content in (("train", b"no picture"), ("test", grey(3))):
        write_parquet(tmp_path / f"{split}.parquet", [content, content], [0, 1], names=PETS)
    check = check_dataset(open_dataset(str(tmp_path)))
    assert [note.level for note in check.notes if note.kind == "unreadable"] == ["error"]
    assert not check.trainable


# ---------------------------------------------------------------- faults of the file system


def test_a_folder_without_permission_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For root every folder is readable, so the listing itself is made to fail."""
    root = two_classes(tmp_path)
    write_files(root, pictures("train/c/1.png", start=60))
    original = os.scandir

    def scandir(path: Any) -> Any:
        if str(path).endswith("train/c"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(data_files.os, "scandir", scandir)
    opened = open_dataset(str(root))
    assert notes_of(opened, "unreadable folder") == [
        ("warning", "train/c: cannot be listed (Permission denied), left out")
    ]
    assert not check_dataset(opened).ok


def test_a_root_without_permission_is_one_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = two_classes(tmp_path)

    def scandir(path: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(data_files.os, "scandir", scandir)
    with pytest.raises(
        DataError,
        match=(
            r"no data set of a known form.* In the way: \.: cannot be listed \(Permission denied\)"
        ),
    ):
        open_dataset(str(root))


@pytest.mark.parametrize("step", ["found", "read"])
def test_an_operating_system_error_while_a_set_is_found_or_read_is_a_data_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def broken(path: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(path / "train"))

    found = Found({}, lambda: broken(tmp_path))
    monkeypatch.setitem(
        DATASETS._entries,
        "mnist-idx",
        Form(broken if step == "found" else lambda _: found, "nothing"),
    )
    with pytest.raises(
        DataError, match=r"train: cannot be read \(Permission denied\)\. Make it readable"
    ):
        open_dataset(str(two_classes(tmp_path)))


def test_an_empty_file_with_a_picture_name_is_an_unreadable_example(tmp_path: Path) -> None:
    root = write_files(two_classes(tmp_path), {"train/a/0.png": b""})
    check = check_dataset(open_dataset(str(root)))
    (note,) = [note for note in check.notes if note.kind == "unreadable"]
    assert (note.level, note.places) == ("warning", ("train train/a/0.png",))
    assert not check.ok


# ---------------------------------------------------------------- CIFAR and ImageNet


def test_a_huge_picture_and_formats_of_all_kinds_have_clear_outcomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIF, WEBP, 16-bit PNG and CMYK JPEG are examples; a picture above the cap is named with its
    size, before its pixels are read."""
    buffers = {}
    for name, image, kind in (
        ("a.gif", Image.new("P", (4, 4)), "GIF"),
        ("b.webp", Image.new("RGB", (4, 4), "red"), "WEBP"),
        ("c.png", Image.fromarray(np.full((4, 4), 40000, np.uint16)), "PNG"),
        ("d.jpg", Image.new("CMYK", (4, 4)), "JPEG"),
        ("e.png", Image.new("L", (12, 9)), "PNG"),
    ):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        buffers[f"train/a/{name}"] = buffer.getvalue()
    root = write_files(two_classes(tmp_path), buffers)
    monkeypatch.setattr(decode, "MAX_PIXELS", 100)
    train, _ = check_dataset(open_dataset(str(root))).splits
    assert [(one.key, one.reason) for one in train.unreadable] == [
        ("train/a/e.png", "12 x 9 pixels, more than 100")
    ]
    assert train.examples == 7
