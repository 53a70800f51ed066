"""Everything in a data set's folder is read or named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.conftest import (
    PETS,
    grey,
    notes_of,
    pictures,
    two_classes,
    write_files,
    write_parquet,
)
from zoo.data import check_dataset, open_dataset
from zoo.data import files as data_files
from zoo.errors import DataError

# -------------------------------------------------------- everything in the folder is read or named


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    """vehicles/{bus,car,train}/: three classes, and a word about the third."""
    root = write_files(tmp_path, pictures("bus/1.png", "car/1.png", "train/1.png", "train/2.png"))
    opened = open_dataset(str(root))
    assert opened.class_names == ("bus", "car", "train")
    assert opened.splits["train"].labels.tolist() == [0, 1, 2, 2]
    assert notes_of(opened, "split name") == [
        ("note", "train: holds pictures beside other class folders, so it is read as a class")
    ]
    assert notes_of(opened, "left out") == []


def test_class_folders_beside_a_split_are_left_out_with_a_warning(tmp_path: Path) -> None:
    """{bus,car} beside train/{steam,electric}: half of the pictures are in no split, so the check
    is not ok."""
    root = write_files(
        tmp_path,
        pictures(
            *(
                f"{name}/{i}.png"
                for name in ("bus", "car", "train/steam", "train/electric")
                for i in range(6)
            )
        ),
    )
    opened = open_dataset(str(root))
    assert opened.class_names == ("electric", "steam")
    assert notes_of(opened, "left out") == [
        ("warning", "bus, car: 12 pictures in no split or class that is read; left out")
    ]
    assert not check_dataset(opened).ok


def test_pictures_of_two_splits_without_class_folders_are_no_classes(tmp_path: Path) -> None:
    """train/*.png and test/*.png beside another folder: taking them for classes would train on the
    test set."""
    write_files(tmp_path, pictures("train/1.png", "test/1.png", "extra/1.png"))
    with pytest.raises(DataError, match="no data set of a known form"):
        open_dataset(str(tmp_path))


def test_pictures_beside_class_folders_and_split_folders_are_named(tmp_path: Path) -> None:
    root = write_files(
        two_classes(tmp_path),
        pictures("top.png", "train/loose.png", "unused/deep/er/x.png", start=20),
    )
    opened = open_dataset(str(root))
    (note,) = [note for note in opened.notes if note.kind == "left out"]
    assert (note.level, note.count, sorted(note.places)) == (
        "warning",
        3,
        ["top.png", "train/loose.png", "unused"],
    )


def test_a_table_of_labels_that_is_not_read_is_named_and_a_readme_is_not(tmp_path: Path) -> None:
    write_files(
        two_classes(tmp_path),
        {"labels.csv": b"file,label", "README.md": b"about", "LICENSE": b"mit", "notes.txt": b"x"},
    )
    opened = open_dataset(str(tmp_path))
    assert [(note.level, note.text) for note in opened.notes] == [
        ("note", "labels.csv: no part of a data set of this form, not read")
    ]
    assert check_dataset(opened).ok


@pytest.mark.parametrize("name", ["1.heic", "2.AVIF", "3.svg"])
def test_a_picture_in_a_format_that_is_not_read_is_a_warning(tmp_path: Path, name: str) -> None:
    root = write_files(two_classes(tmp_path), {f"train/a/{name}": b"whatever"})
    opened = open_dataset(str(root))
    assert len(opened.splits["train"]) == 2
    assert notes_of(opened, "other format") == [
        (
            "warning",
            (
                f"train/a/{name}: a picture in a format that is not read, left out. Convert it to"
                " PNG or JPEG"
            ),
        )
    ]
    assert not check_dataset(opened).ok


def test_split_folders_inside_class_folders_are_a_warning(tmp_path: Path) -> None:
    """bus/train and bus/test: read as one class of one split, so the test pictures would be trained
    on."""
    root = write_files(
        tmp_path, pictures("bus/0.png", "bus/train/1.png", "bus/test/2.png", "car/3.png")
    )
    opened = open_dataset(str(root))
    assert [
        level
        for level, text in notes_of(opened, "split name")
        if text.startswith("bus/test, bus/train: ")
    ] == ["warning"]


def test_what_lies_beside_parquet_files_is_named(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", [grey(1), grey(2)], [0, 1], names=PETS)
    write_parquet(tmp_path / "far/too/deep/more.parquet", [grey(1)], [0], names=PETS)
    write_files(tmp_path, pictures("images/1.png", "images/2.png"))
    opened = open_dataset(str(tmp_path))
    assert sorted(notes_of(opened, "left out")) == [
        ("warning", "far: 1 data file in no split or class that is read; left out"),
        ("warning", "images: 2 pictures in no split or class that is read; left out"),
    ]


def test_more_files_than_are_counted_are_said_to_be_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_files, "_MAX_COUNTED", 5)
    write_files(two_classes(tmp_path), pictures(*(f"unused/{i}.png" for i in range(9))))
    assert notes_of(open_dataset(str(tmp_path)), "left out") == [
        ("warning", "unused: more than 5 pictures in no split or class that is read; left out")
    ]


# ---------------------------------------------------------------- system folders, hidden things


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir",
        "__MACOSX",
        "lost+found",
        "$RECYCLE.BIN",
        "#recycle",
        ".thumbnails",
        ".Trash-1000",
        ".@__thumb",
    ],
)
@pytest.mark.parametrize("place", ["train", "train/a", "."])
def test_folders_that_programs_leave_behind_are_passed_over_and_named(
    tmp_path: Path, name: str, place: str
) -> None:
    root = write_files(two_classes(tmp_path), pictures(f"{place}/{name}/thumb.png", start=90))
    opened = open_dataset(str(root))
    assert opened.class_names == ("a", "b")
    assert opened.splits["train"].keys == ["train/a/1.png", "train/b/1.png"]
    relative = f"{place}/{name}".removeprefix("./")
    (note,) = opened.notes
    assert (note.level, note.places, note.kind) == (
        "note",
        (relative,),
        "hidden" if name.startswith(".") else "system folder",
    )
    assert "passed over" in note.text
    assert check_dataset(opened).ok


def test_a_folder_of_class_folders_with_a_system_folder_is_no_imagenet_less(tmp_path: Path) -> None:
    """Two hundred system folders are one note, with three places and a count."""
    names = [f"c{number:03d}" for number in range(6)]
    write_files(tmp_path, pictures(*(f"{s}/{n}/1.png" for s in ("train", "test") for n in names)))
    write_files(tmp_path, pictures(*(f"train/{n}/@eaDir/1.png" for n in names)))
    (note,) = open_dataset(str(tmp_path)).notes
    assert (
        note.text
        == "train/c000/@eaDir, train/c001/@eaDir, train/c002/@eaDir and 3 more: a folder of the"
        " system's own, passed over by its name"
    )


def test_hidden_pictures_are_named_and_hidden_files_of_tools_are_not(tmp_path: Path) -> None:
    write_files(
        two_classes(tmp_path),
        {
            "train/a/._1.png": grey(5),
            "train/a/.DS_Store": b"x",
            ".gitattributes": b"",
            ".git/config": b"",
        },
    )
    opened = open_dataset(str(tmp_path))
    assert [note.text for note in opened.notes] == [
        "train/a/._1.png: hidden (its name starts with a dot), passed over"
    ]
