"""Pictures beside a table that names them: labels.csv, or any table by its path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import grey, write_files

from zoo.data import Dataset, check_dataset, decode_examples, open_dataset
from zoo.data.notes import judged
from zoo.errors import DataError

VALUES = {"1.png": 10, "2.png": 20, "3.png": 30, "4.png": 40}


def pictures(root: Path, *names: str, folder: str = "images") -> Path:
    """Grey pictures whose value is ten times the number in their name."""
    return write_files(root, {f"{folder}/{name}": grey(VALUES[name]) for name in names or VALUES})


def write(root: Path, name: str, text: str) -> Path:
    (root / name).write_text(text, encoding="utf-8")
    return root


def seen(dataset: Dataset, split: str = "train") -> list[tuple[str, str, int]]:
    """Key, class and grey value of every example."""
    own = dataset.splits[split]
    images = decode_examples(own, np.arange(len(own)), size=2, channels=1, fit="pad").images
    return [
        (key, dataset.class_names[label], int(image[0, 0, 0]))
        for key, label, image in zip(own.keys, own.labels.tolist(), images, strict=True)
    ]


FOUR = [
    ("images/1.png", "cat", 10),
    ("images/3.png", "dog", 30),
    ("images/2.png", "cat", 20),
    ("images/4.png", "dog", 40),
]
PATHS, CLASSES = [key for key, _, _ in FOUR], [name for _, name, _ in FOUR]


def lines(paths: Sequence[str], labels: Sequence[str], between: str = ",") -> str:
    return "".join(f"{path}{between}{label}\n" for path, label in zip(paths, labels, strict=True))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "path,label\n" + lines(PATHS, CLASSES)),
        ("labels.csv", "\ufefffile_name,Class\n" + lines([p[7:] for p in PATHS], CLASSES)),
        ("labels.csv", "label;n;image_id\ncat;7;1\ndog;7;3\ncat;7;2\ndog;7;4\n"),
        ("all.tsv", "filename\ttarget\n" + lines([p[7:] for p in PATHS], CLASSES, "\t")),
        ("all.csv", lines(PATHS, CLASSES)),
        ("all.csv", '"path","label"\r\n' + lines(PATHS, CLASSES).replace("\n", "\r\n")),
    ],
)
def test_a_table_beside_the_pictures_is_the_data_set(tmp_path: Path, name: str, text: str) -> None:
    """Names of columns in any case, any order; with or without folders, suffixes, a header; in the
    order of the rows. The same by the table's own path."""
    root = write(pictures(tmp_path / "pets"), name, text)
    for place in (root, root / name):
        opened = open_dataset(str(place))
        assert (opened.form, opened.class_names, seen(opened)) == ("table", ("cat", "dog"), FOUR)
        assert [note.kind for note in opened.notes] == ["no test split"]
        assert check_dataset(opened).ok


def test_a_parquet_file_of_paths(tmp_path: Path) -> None:
    root = pictures(tmp_path / "pets")
    pq.write_table(pa.table({"path": PATHS, "label": CLASSES}), root / "labels.parquet")
    for place in (root, root / "labels.parquet"):
        assert seen(open_dataset(str(place))) == FOUR


def test_tables_named_like_splits_are_splits_and_prefer_their_own_pictures(tmp_path: Path) -> None:
    """Kaggle's way: train.csv and test.csv, ids without suffix, two pictures of one name."""
    root = pictures(tmp_path / "k", "1.png", "2.png", folder="train")
    write_files(root, {"test/1.png": grey(90)})
    write(root, "train.csv", "id,label\n1,0\n2,1\n")
    write(root, "test.csv", "id,label\n1,1\n")
    write(root, "sample_submission.csv", "id,label\n1,0\n")
    opened = open_dataset(str(root))
    assert seen(opened) == [("train/1.png", "0", 10), ("train/2.png", "1", 20)]
    assert seen(opened, "test") == [("test/1.png", "1", 90)]


def test_a_column_may_say_the_split_and_the_truth(tmp_path: Path) -> None:
    """Numbers are classes in the order of numbers, 2 before 10."""
    text = "path,label,split,label_true\n1.png,10,train,2\n2.png,2,,2\n3.png,2,val,10\n"
    opened = open_dataset(str(write(pictures(tmp_path / "p"), "labels.csv", text)))
    assert opened.class_names == ("2", "10")
    found = {
        name: (
            split.labels.tolist(),
            None if split.labels_true is None else split.labels_true.tolist(),
        )
        for name, split in opened.splits.items()
    }
    assert found == {"train": ([1, 0], [0, 0]), "test": ([0], [1])}


def test_links_and_pictures_elsewhere_are_read(tmp_path: Path) -> None:
    """A link beside the table, an absolute path and one that leads up: three pictures, said of the
    two that lie outside."""
    store = pictures(tmp_path / "store")
    root = tmp_path / "view"
    root.mkdir()
    (root / "a.png").symlink_to(store / "images/1.png")
    text = f"path,label\na.png,x\n{store}/images/2.png,y\n../store/images/3.png,y\n"
    opened = open_dataset(str(write(root, "labels.csv", text)))
    assert [value for _, _, value in seen(opened)] == [10, 20, 30]
    assert "labels.csv: 2 of its pictures lie outside its folder" in opened.notes[-2].text + (
        opened.notes[0].text
    )


def test_what_is_amiss_in_a_table_is_said(tmp_path: Path) -> None:
    """A picture that is not there, one listed twice with two labels, one that no row names."""
    text = "path,label\n1.png,x\n2.png,y\n9.png,x\n2.png,x\n3.png,y\n"
    opened = open_dataset(str(write(pictures(tmp_path / "p"), "labels.csv", text)))
    assert [note.text for note in opened.notes if note.level == "warning"] == [
        "9.png: no such picture (a row of labels.csv), left out",
        "images/2.png: listed more than once, with different labels",
        "images/4.png: 1 picture in no split or class that is read; left out",
    ]
    assert len(opened.splits["train"]) == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label\n1.png,\n2.png,x\n", "labels.csv (train), column label: row 0 has no label"),
        ("path,label,split\n1.png,x,holdout\n", "row 0 has split 'holdout'. Allowed: train, test"),
        ("path,label\n1.png,-1\n2.png,3\n", "row 0 has label -1; labels must be 0 or more"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, text: str, said: str) -> None:
    root = write(pictures(tmp_path / "p"), "labels.csv", text)
    with pytest.raises(DataError) as refused:
        open_dataset(str(root))
    assert said in str(refused.value)


def test_two_tables_are_a_question(tmp_path: Path) -> None:
    root = write(pictures(tmp_path / "p"), "a.csv", "path,label\n1.png,x\n")
    write(root, "b.csv", "path,label\n1.png,y\n")
    with pytest.raises(DataError, match=r"a\.csv, b\.csv are tables of pictures and labels"):
        open_dataset(str(root))


def test_class_folders_are_read_as_before(tmp_path: Path) -> None:
    """A table beside two classes is no data set: folders that were read as classes still are. The
    table's own path is the way to it."""
    root = write_files(tmp_path / "p", {"cat/1.png": grey(1), "dog/2.png": grey(2)})
    write(root, "labels.csv", "path,label\ncat/1.png,wild\ndog/2.png,tame\n")
    assert open_dataset(str(root)).class_names == ("cat", "dog")
    assert open_dataset(str(root / "labels.csv")).class_names == ("tame", "wild")


@pytest.mark.parametrize(
    "text", ["a,b\n1,2\n", "path,label\nnowhere.png,x\n", "path\n1.png\n", "\0"]
)
def test_other_tables_are_no_data_set(tmp_path: Path, text: str) -> None:
    """Without both columns, or without one picture: one class folder remains, as without it."""
    root = write(pictures(tmp_path / "p"), "other.csv", text)
    assert open_dataset(str(root)).form == "imagefolder"


def test_more_classes_than_answers_hold_is_an_error() -> None:
    """32,768 are too many, 32,767 are not."""
    for count, said in ((32_768, ["many classes"]), (32_767, [])):
        names = tuple(map(str, range(count)))
        assert [note.kind for note in judged(names, {}) if note.kind == "many classes"] == said
