"""Keys and class names that are equal, similar or odd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.conftest import (
    grey,
    huggingface,
    notes_of,
    pictures,
    two_classes,
    write_files,
    write_parquet,
)
from zoo.data import check_dataset, open_dataset
from zoo.data.dataset import unique_keys
from zoo.errors import DataError


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
