"""What was not read is said, what cannot be trained on is refused: one list of notes per data
set."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.data.conftest import grey, huggingface, write_files, write_parquet
from zoo.data import (
    DATASETS,
    Dataset,
    Form,
    Found,
    check_dataset,
    decode,
    decode_examples,
    open_dataset,
    require_trainable,
)
from zoo.data import files as data_files
from zoo.data.dataset import unique_keys
from zoo.data.notes import Note, Notes, merged
from zoo.data.published import PUBLISHED
from zoo.errors import DataError
from zoo.progress import announce, listening

PETS = ("ant", "bee")


def notes_of(dataset: Dataset, kind: str) -> list[tuple[str, str]]:
    """Level and text of the notes of one kind."""
    return [(note.level, note.text) for note in dataset.notes if note.kind == kind]


def pictures(*places: str, start: int = 1) -> dict[str, bytes]:
    return {place: grey(value) for value, place in enumerate(places, start=start)}


def two_classes(root: Path, **more: bytes) -> Path:
    """A sound image folder: two classes in train and in test."""
    return write_files(
        root, pictures("train/a/1.png", "train/b/1.png", "test/a/2.png", "test/b/2.png") | more
    )


# ---------------------------------------------------------------- links


def test_a_class_that_is_a_link_to_elsewhere_is_a_class(tmp_path: Path) -> None:
    """cat and dog are folders, bird a link out of the set: three classes, nothing to be said."""
    write_files(tmp_path / "elsewhere", pictures("train/x.png", "test/y.png"))
    root = write_files(
        tmp_path / "set",
        pictures(
            "train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/1.png", start=10
        ),
    )
    for split in ("train", "test"):
        (root / split / "bird").symlink_to(tmp_path / "elsewhere" / split)
    opened = open_dataset(str(root))
    assert opened.class_names == ("bird", "cat", "dog")
    assert opened.splits["train"].keys == ["train/bird/x.png", "train/cat/1.png", "train/dog/1.png"]
    assert opened.notes == ()
    assert check_dataset(opened).ok


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("linked", ["files", "classes", "splits"])
def test_a_view_made_of_links_only_is_read_like_the_original(
    tmp_path: Path, linked: str, absolute: bool
) -> None:
    original = two_classes(tmp_path / "original")
    view = tmp_path / "view"
    for file in sorted(original.glob("*/*/*")):
        split, name, _ = file.relative_to(original).parts
        depth = {"files": file, "classes": original / split / name, "splits": original / split}[
            linked
        ]
        link = view / depth.relative_to(original)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(depth if absolute else os.path.relpath(depth, link.parent))
    opened, expected = open_dataset(str(view)), open_dataset(str(original))
    assert opened.fingerprint == expected.fingerprint
    assert opened.splits["train"].keys == expected.splits["train"].keys
    assert opened.notes == ()
    decoded = [
        decode_examples(one.splits["train"], np.arange(2), size=2, channels=1, fit="pad").images
        for one in (opened, expected)
    ]
    assert np.array_equal(*decoded)


def test_pictures_that_links_inside_the_set_lead_to_are_not_left_out(tmp_path: Path) -> None:
    """Of a pool of three, two are linked into classes: the third alone is in no class."""
    root = write_files(
        tmp_path / "set",
        pictures("pool/1.png", "pool/2.png", "pool/3.png", "test/a/8.png", "test/b/9.png"),
    )
    for name, picture in (("a", "1.png"), ("b", "2.png")):
        (root / "train" / name).mkdir(parents=True)
        (root / "train" / name / picture).symlink_to(f"../../pool/{picture}")
    opened = open_dataset(str(root))
    assert notes_of(opened, "left out") == [
        ("warning", "pool/3.png: 1 picture in no split or class that is read; left out")
    ]


@pytest.mark.timeout(300)
def test_links_that_lead_round_in_a_circle_outside_the_set_end(tmp_path: Path) -> None:
    """train/a/out leads away, and from there a link leads back to train/a: its pictures are listed
    once."""
    root = two_classes(tmp_path / "set")
    away = write_files(tmp_path / "away", pictures("x.png", start=50))
    (root / "train/a/out").symlink_to(away)
    (away / "back").symlink_to(root / "train/a")
    opened = open_dataset(str(root))
    assert opened.splits["train"].keys == ["train/a/1.png", "train/a/out/x.png", "train/b/1.png"]
    assert notes_of(opened, "link") == [
        ("note", "train/a/out/back: a folder that is listed by another name already, left out")
    ]
    assert check_dataset(opened).ok


def test_a_folder_linked_twice_into_one_class_is_listed_once_and_that_is_said(
    tmp_path: Path,
) -> None:
    root = two_classes(tmp_path / "set")
    more = write_files(tmp_path / "more", pictures("x.png", start=50))
    for name in ("one", "two"):
        (root / "train/a" / name).symlink_to(more)
    opened = open_dataset(str(root))
    assert opened.splits["train"].keys == ["train/a/1.png", "train/a/one/x.png", "train/b/1.png"]
    assert notes_of(opened, "link") == [
        ("note", "train/a/two: a folder that is listed by another name already, left out")
    ]


@pytest.mark.parametrize("target", ["nowhere", "self"])
def test_a_broken_link_at_any_place_of_the_tree_is_a_warning(tmp_path: Path, target: str) -> None:
    """At the root, beside the classes, among the pictures: a disk that is not mounted must not cost
    a class in silence."""
    root = two_classes(tmp_path / "set")
    places = ("other", "train/bird", "train/a/9.png")
    for place in places:
        (root / place).symlink_to(Path(place).name if target == "self" else root / "nowhere")
    opened = open_dataset(str(root))
    (note,) = [note for note in opened.notes if note.kind == "link"]
    assert (note.level, sorted(note.places)) == ("warning", sorted(places))
    assert not check_dataset(opened).ok


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


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return (
        struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        + array.astype(np.uint8).tobytes()
    )


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


# --------------------------------------------------------------- what training refuses, check names


def one_class(root: Path) -> Path:
    return write_files(root, pictures("train/a/1.png", "train/a/2.png", "test/a/3.png"))


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


# ---------------------------------------------------------------- names


def test_keys_are_unique_and_those_that_were_stay_as_they_are() -> None:
    """'1.png' is borne by three examples, two of one class; '2.png' by one."""
    keys = unique_keys(["1.png", "1.png", "1.png", "2.png"], np.array([0, 1, 1, 1]), ("cat", "dog"))
    assert keys == ["cat/1.png", "dog/1.png#1", "dog/1.png#2", "2.png"]


def test_a_key_made_unique_does_not_take_that_of_another_example() -> None:
    keys = unique_keys(
        ["1.png", "1.png", "cat/1.png", "cat/1.png#0"], np.array([0, 1, 0, 0]), ("cat", "dog")
    )
    assert keys == ["cat/1.png#0#0", "dog/1.png", "cat/1.png#2", "cat/1.png#0"]


def test_base_names_that_occur_in_every_class_become_unique_keys_and_that_is_said(
    tmp_path: Path,
) -> None:
    """15 rows of three classes whose paths are 0.png to 4.png in each."""
    names = ("ant", "bee", "cow")
    labels = [row // 5 for row in range(15)]
    image = pa.StructArray.from_arrays(
        [
            pa.array([grey(v) for v in range(15)], pa.binary()),
            pa.array([f"{row % 5}.png" for row in range(15)]),
        ],
        names=["bytes", "path"],
    )
    for split in ("train", "test"):
        table = pa.table({"image": image, "label": labels}).replace_schema_metadata(
            huggingface(names)
        )
        pq.write_table(table, tmp_path / f"{split}.parquet")
    opened = open_dataset(str(tmp_path))
    assert opened.splits["train"].keys == [f"{name}/{i}.png" for name in names for i in range(5)]
    expected = (
        "train, test: of 15 keys 15 are not unique; they are shown with their class or row, such as"
        " ant/0.png"
    )
    assert notes_of(opened, "equal keys") == [("note", expected)]


def test_two_classes_of_one_name_are_counted_apart_and_named_apart(tmp_path: Path) -> None:
    """crane, tench, crane: of 12 examples, four in each class, all 12 are counted."""
    names = ("crane", "tench", "crane")
    for split in ("train", "test"):
        write_parquet(
            tmp_path / f"{split}.parquet",
            [grey(v) for v in range(12)],
            [v % 3 for v in range(12)],
            names=names,
        )
    opened = open_dataset(str(tmp_path))
    check = check_dataset(opened)
    assert check.splits[0].counts == {"crane (0)": 4, "tench": 4, "crane (2)": 4}
    assert opened.class_names == names
    assert [level for level, _ in notes_of(opened, "equal class names")] == ["note"]


def test_labels_that_are_texts_are_refused_where_two_classes_bear_their_name(
    tmp_path: Path,
) -> None:
    path = write_parquet(
        tmp_path / "train.parquet",
        [grey(1), grey(2)],
        ["tench", "crane"],
        names=("crane", "tench", "crane"),
    )
    with pytest.raises(
        DataError, match=r"label 'crane' is the name of 2 classes\. Write class numbers \(0 to 2\)"
    ):
        open_dataset(str(path))


@pytest.mark.parametrize(("one", "other"), [("Cat", "cat"), ("caf\u00e9", "cafe\u0301")])
def test_class_names_that_differ_only_in_case_or_spelling_are_two_classes_and_that_is_said(
    tmp_path: Path, one: str, other: str
) -> None:
    root = write_files(
        tmp_path,
        pictures(
            *(f"{split}/{name}/1.png" for split in ("train", "test") for name in (one, other))
        ),
    )
    if len(list((root / "train").iterdir())) == 1:
        pytest.skip("this file system takes both names for one")
    opened = open_dataset(str(root))
    assert len(opened.class_names) == 2
    assert [level for level, _ in notes_of(opened, "similar class names")] == ["note"]


def test_unicode_names_are_read_and_control_characters_do_not_reach_a_terminal(
    tmp_path: Path,
) -> None:
    root = write_files(
        two_classes(tmp_path),
        {"train/\u732b \U0001f431/1.png": grey(7), "train/a/x\x1b[2J\n.txt": b"no picture"},
    )
    opened = open_dataset(str(root))
    assert "\u732b \U0001f431" in opened.class_names
    (text,) = [text for _, text in notes_of(opened, "no picture")]
    assert text == "train/a/x\\x1b[2J\\n.txt: not an image file, left out"


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


# ---------------------------------------------------------------- Parquet


def labelled(path: Path, images: list[bytes | None], labels: pa.Array, **columns: Any) -> Path:
    return write_parquet(path, images, labels, **columns)


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        (pa.array([0, 1], pa.int32()), pa.array([1, 0], pa.int64()), PETS),
        (pa.array([0, 1], pa.uint8()), pa.array([1, 0], pa.int16()), PETS),
        (pa.array([0, 1], pa.uint64()), pa.array([1, 0], pa.int64()), PETS),
        (pa.array([0, 1], pa.int64()), pa.array([1.0, 0.0], pa.float32()), PETS),
        (pa.array(["ant", "bee"], pa.string()), pa.array(["bee", "ant"], pa.large_string()), None),
        (
            pa.array(["ant", "bee"], pa.string()).dictionary_encode(),
            pa.array(["bee", "ant"], pa.large_string()),
            None,
        ),
        (pa.array(["ant", "bee"], pa.string()), pa.array(["bee", "ant"], pa.large_string()), PETS),
    ],
)
def test_shards_may_keep_their_labels_in_different_widths(
    tmp_path: Path, first: Any, second: Any, names: Any
) -> None:
    for number, labels in enumerate((first, second)):
        labelled(
            tmp_path / f"train-{number}.parquet",
            [grey(1), grey(2)],
            labels,
            names=names,
            metadata=names is not None,
        )
    opened = open_dataset(str(tmp_path))
    assert opened.splits["train"].labels.tolist() == [0, 1, 1, 0]
    assert opened.class_names == PETS


def test_numbers_in_one_shard_and_texts_in_another_are_refused_with_both_named(
    tmp_path: Path,
) -> None:
    labelled(tmp_path / "train-0.parquet", [grey(1)], pa.array([0]), metadata=False)
    labelled(tmp_path / "train-1.parquet", [grey(1)], pa.array(["ant"]), metadata=False)
    with pytest.raises(
        DataError,
        match=(
            r"train-0.*is int64, .*train-1.*is string; labels of one split are all numbers or all"
            r" texts"
        ),
    ):
        open_dataset(str(tmp_path))


def test_shards_may_keep_paths_in_different_widths(tmp_path: Path) -> None:
    for number, kind in enumerate((pa.string(), pa.large_string())):
        image = pa.StructArray.from_arrays(
            [pa.array([grey(number)], pa.binary()), pa.array([f"{number}.png"], kind)],
            names=["bytes", "path"],
        )
        table = pa.table({"image": image, "label": [number]}).replace_schema_metadata(
            huggingface(PETS)
        )
        pq.write_table(table, tmp_path / f"train-{number}.parquet")
    assert open_dataset(str(tmp_path)).splits["train"].keys == ["0.png", "1.png"]


@pytest.mark.parametrize("statistics", [True, False])
def test_files_of_paths_without_images_are_refused_once_and_before(
    tmp_path: Path, statistics: bool
) -> None:
    image = pa.StructArray.from_arrays(
        [pa.array([None, None], pa.binary()), pa.array(["a/1.png", "b/2.png"])],
        names=["bytes", "path"],
    )
    table = pa.table({"image": image, "label": [0, 1]}).replace_schema_metadata(huggingface(PETS))
    pq.write_table(table, tmp_path / "train.parquet", write_statistics=statistics)
    with pytest.raises(
        DataError,
        match=(
            r"column 'image' holds only paths, such as 'a/1\.png'; allowed is the content of the"
            r" image files"
        ),
    ):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize("statistics", [True, False])
def test_one_image_among_paths_is_enough(tmp_path: Path, statistics: bool) -> None:
    """The twin: the first row group has none, the second has one; the others are unreadable
    examples."""
    image = pa.StructArray.from_arrays(
        [
            pa.array([None, None, None, grey(4)], pa.binary()),
            pa.array([f"{i}.png" for i in range(4)]),
        ],
        names=["bytes", "path"],
    )
    table = pa.table({"image": image, "label": [0, 1, 0, 1]}).replace_schema_metadata(
        huggingface(PETS)
    )
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=2, write_statistics=statistics)
    (train,) = check_dataset(open_dataset(str(tmp_path))).splits
    assert [one.example_id for one in train.unreadable] == [0, 1, 2]


# ---------------------------------------------------------------- the list itself


def test_notes_of_two_readers_are_one_list_with_errors_first() -> None:
    one, two = Notes(), Notes()
    one.add("note", "link", "a", "left out")
    one.add("warning", "x", "b", "gone")
    two.add("note", "link", "a", "left out")
    two.add("note", "link", "c", "left out")
    found = merged(one.all(), two.all(), [Note("error", "no split", "none")])
    assert [(note.level, note.places, note.count) for note in found] == [
        ("error", (), 1),
        ("warning", ("b",), 1),
        ("note", ("a", "c"), 2),
    ]


def test_of_many_places_three_are_shown_a_thousand_kept_and_all_counted() -> None:
    notes = Notes()
    for number in range(1200):
        notes.add("warning", "link", f"{number}", "broken")
    (note,) = notes.all()
    assert note.text == "0, 1, 2 and 1,197 more: broken"
    assert (note.count, len(note.as_json()["places"])) == (1200, 1000)


@pytest.fixture
def heard() -> Iterator[list[str]]:
    lines: list[str] = []
    with listening(lines.append):
        yield lines


def test_opening_a_data_set_tells_its_notes_once_however_often_it_is_opened(
    tmp_path: Path, heard: list[str]
) -> None:
    root = one_class(tmp_path / "set")
    for _ in range(3):
        open_dataset(str(root))
    assert len(heard) == 1
    assert heard[0].startswith("error: set: all 2 training examples are of one class (a)")


def test_each_command_hears_a_subject_once_and_nobody_listening_is_no_fault() -> None:
    first: list[str] = []
    second: list[str] = []
    announce("x", ["nobody hears this"])
    for lines in (first, second):
        with listening(lines.append):
            announce("x", ["one", "two"])
            announce("x", ["again"])
    assert first == second == ["one", "two"]


# ---------------------------------------------------------------- what must not change

ONE = b"not a picture, but bytes that never change"


def folders(root: Path) -> Path:
    names = ("train/10/b.png", "train/2/z/deep.jpg", "test/2/y.png", "test/10/y.png")
    return write_files(
        root,
        {**dict.fromkeys(names, ONE), "train/10/a.png": ONE + b"1", "train/2/README.txt": b"x"},
    )


def flat_folders(root: Path) -> Path:
    return write_files(
        root, {"cat/1.png": ONE, "dog/1.png": ONE + b"22", "dog/caf\u00e9/2.png": ONE}
    )


def parquet(root: Path) -> Path:
    for split, labels in (("train", [0, 1, 2, 1]), ("test", [2, 0])):
        images: list[bytes | None] = [ONE + bytes([i]) for i in range(len(labels))]
        write_parquet(
            root / f"{split}.parquet",
            images,
            labels,
            names=("ant", "bee", "cow"),
            label_true=labels[::-1],
        )
    return root


def wordnet(root: Path) -> Path:
    return write_files(
        root,
        {
            f"{split}/{wnid}/x.JPEG": ONE
            for split in ("train", "val")
            for wnid in ("n01440764", "n01443537")
        },
    )


def idx_files(root: Path) -> Path:
    for prefix, count in (("train", 5), ("t10k", 3)):
        images, labels = np.arange(count * 16).reshape(count, 4, 4) % 251, np.arange(count) % 3
        write_files(
            root,
            {
                f"{prefix}-images-idx3-ubyte": idx(images),
                f"{prefix}-labels-idx1-ubyte": idx(labels),
            },
        )
    return root


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (folders, "2dabc48d2791f960"),
        (flat_folders, "e59889feb0a88244"),
        (parquet, "e31f4cdf37e61b0f"),
        (wordnet, "4acf6f64eec3d001"),
        (idx_files, "70939a15c9e2353f"),
        (lambda _: "fashion-mini", "93ac45f31cb9a730"),
    ],
)
def test_fingerprints_are_those_of_the_version_before(
    tmp_path: Path, make: Any, expected: str
) -> None:
    """Computed by commit 8ec8b82 on the same files: another value would make every training of a
    workspace unknown."""
    assert open_dataset(str(make(tmp_path))).fingerprint == expected


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


SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.skipif(
    not (SHARED / "mnist/train.parquet").is_file(),
    reason="needs Parquet copies of mnist and cifar10 in ../shared/data",
)
@pytest.mark.parametrize(
    ("name", "expected"), [("mnist", "ced6bff42f364936"), ("cifar10", "d29b56c153d4ac41")]
)
def test_fingerprints_of_the_public_copies_are_those_of_the_version_before(
    name: str, expected: str
) -> None:
    opened = open_dataset(str(SHARED / name))
    assert (opened.fingerprint, opened.notes) == (expected, ())


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
