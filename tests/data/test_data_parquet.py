"""Parquet in the Hugging Face layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from tests.data.conftest import grey, write_parquet
from zoo.data import Dataset, EncodedSource, decode_examples, open_dataset
from zoo.data.parquet import parquet_at
from zoo.data.parquet_source import ParquetFileAt, ParquetSource, open_at
from zoo.errors import DataError

NAMES = ("ant", "bee", "cow")


def images_of(dataset: Dataset, split: str = "train") -> list[int]:
    """First pixel of every image."""
    ids = np.arange(len(dataset.splits[split]))
    found: list[int] = (
        decode_examples(dataset.splits[split], ids, size=2, channels=1, fit="pad")
        .images[:, 0, 0, 0]
        .tolist()
    )
    return found


def test_a_single_file_is_a_train_split_with_the_class_names_of_its_metadata(
    tmp_path: Path,
) -> None:
    path = write_parquet(tmp_path / "things.parquet", [grey(1), grey(2)], [2, 0], names=NAMES)
    opened = open_dataset(str(path))
    assert (opened.name, opened.form, opened.class_names, opened.channels, opened.native_size) == (
        "things",
        "parquet",
        NAMES,
        1,
        (2, 2),
    )
    assert opened.splits["train"].labels.tolist() == [2, 0]
    assert opened.splits["train"].keys == ["0.png", "1.png"]
    assert opened.splits["train"].labels_true is None
    assert images_of(opened) == [1, 2]


@pytest.mark.parametrize(
    "layout",
    [
        ("train.parquet", "test.parquet"),
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001-0a1b.parquet"),
        ("train/0000.parquet", "test/0000.parquet"),
        ("plain/train/0000.parquet", "plain/test/0000.parquet"),
        ("train.parquet", "validation.parquet"),
        ("Train.parquet", "val-0.parquet"),
    ],
)
def test_splits_are_found_in_file_and_folder_names_and_validation_stands_in_for_test(
    tmp_path: Path, layout: tuple[str, str]
) -> None:
    write_parquet(tmp_path / layout[0], [grey(1), grey(2)], [0, 1], names=NAMES)
    write_parquet(tmp_path / layout[1], [grey(3)], [2], names=NAMES)
    opened = open_dataset(str(tmp_path))
    assert {name: split.labels.tolist() for name, split in opened.splits.items()} == {
        "train": [0, 1],
        "test": [2],
    }
    assert opened.splits["test"].name == "test"


def test_beside_a_test_split_validation_stays(tmp_path: Path) -> None:
    for name in ("train", "test", "valid"):
        write_parquet(tmp_path / f"{name}.parquet", [grey(1)], [0], names=NAMES)
    assert list(open_dataset(str(tmp_path)).splits) == ["train", "test", "validation"]


def test_shards_follow_each_other_in_the_order_of_their_names(tmp_path: Path) -> None:
    for shard, values in ((1, [3, 4]), (0, [1, 2])):
        write_parquet(
            tmp_path / f"train-{shard:05d}-of-00002.parquet",
            [grey(v) for v in values],
            [0, 1],
            names=NAMES,
        )
    assert images_of(open_dataset(str(tmp_path))) == [1, 2, 3, 4]


def test_files_without_a_split_in_their_names_are_train_together(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_parquet(tmp_path / f"{name}.parquet", [grey(1)], [0], names=NAMES)
    assert len(open_dataset(str(tmp_path)).splits["train"]) == 2


def test_label_true_is_read_where_there_is_one(tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "x.parquet", [grey(1)] * 2, [0, 1], names=NAMES, label_true=[2, 1]
    )
    true = open_dataset(str(path)).splits["train"].labels_true
    assert true is not None
    assert true.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        ([7, 3, 7], ("3", "7"), [1, 0, 1]),
        ([10, 2, 2], ("2", "10"), [1, 0, 0]),
        (["cat", "ant", "cat"], ("ant", "cat"), [1, 0, 1]),
        ([1.0, 0.0, 1.0], ("0", "1"), [1, 0, 1]),
    ],
)
def test_without_class_names_the_distinct_labels_are_the_classes(
    tmp_path: Path, labels: Any, names: Any, expected: list[int]
) -> None:
    opened = open_dataset(
        str(write_parquet(tmp_path / "x.parquet", [grey(1)] * 3, labels, metadata=False))
    )
    assert opened.class_names == names
    assert opened.splits["train"].labels.tolist() == expected


def test_class_names_that_are_numbers_are_still_indexed_by_the_labels(tmp_path: Path) -> None:
    opened = open_dataset(
        str(write_parquet(tmp_path / "x.parquet", [grey(1)] * 2, [0, 1], names=("10", "2")))
    )
    assert opened.splits["train"].labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 3, 1], NAMES, r"row 1 has label 3; labels must be 0 to 2"),
        ([0, 1, -1], NAMES, r"row 2 has label -1"),
        ([0, None, 1], NAMES, r"row 1 has no label \(null\)"),
        ([0, None, 1], None, r"row 1 has no label \(null\)"),
        ([0.0, 1.0, 1.5], NAMES, r"row 2 has label 1.5; labels must be integers"),
        ([0.0, float("nan"), 1.0], NAMES, r"row 1 has label nan"),
        ([True, False, True], NAMES, r"row 0 has a label of type bool"),
        (["ant", "dog", "cow"], NAMES, r"row 1 has label 'dog'; class names are ant, bee, cow"),
        ([0, 5, -2], None, r"row 2 has label -2; labels must be 0 or more"),
    ],
)
def test_a_label_that_is_no_class_is_an_error_naming_the_row(
    tmp_path: Path, labels: Any, names: Any, message: str
) -> None:
    path = write_parquet(tmp_path / "x.parquet", [grey(1)] * 3, labels, names=names)
    with pytest.raises(DataError, match=message):
        open_dataset(str(path))


def test_a_hidden_test_split_is_left_out_with_a_note_and_validation_takes_its_place(
    tmp_path: Path,
) -> None:
    for name, labels in (("train", [0, 1]), ("validation", [2, 2]), ("test", [-1, -1])):
        write_parquet(tmp_path / f"{name}.parquet", [grey(1)] * 2, labels, names=NAMES)
    opened = open_dataset(str(tmp_path))
    assert opened.splits["test"].labels.tolist() == [2, 2]
    assert opened.splits["test"].name == "test"
    (note,) = [note for note in opened.notes if note.kind == "hidden labels"]
    assert (note.level, note.text) == (
        "note",
        "test: all labels are -1 (hidden), the split is left out",
    )


def test_other_column_names_are_taken_from_the_metadata(tmp_path: Path) -> None:
    table = pa.table(
        {"img": pa.array([grey(5)], pa.binary()), "fine_label": [1], "coarse_label": [0]}
    )
    pq.write_table(table, tmp_path / "x.parquet")
    opened = open_dataset(str(tmp_path / "x.parquet"))
    assert opened.splits["train"].keys == ["train/00000"]
    assert images_of(opened) == [5]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [1]}, "no image column; its columns are label, looked for image or img"),
        ({"image": [b""]}, "no label column"),
        ({"image": ["text"], "label": [1]}, "column 'image' is string; allowed are binary"),
    ],
)
def test_a_file_of_other_columns_is_an_error_that_lists_them(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=message):
        open_dataset(str(tmp_path / "x.parquet"))


def test_splits_that_name_different_classes_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [grey(1)], [0], names=NAMES)
    write_parquet(tmp_path / "test.parquet", [grey(1)], [0], names=("ant", "bee"))
    with pytest.raises(DataError, match="the splits name different classes"):
        open_dataset(str(tmp_path))


def test_a_missing_image_is_unreadable_and_the_others_stay(tmp_path: Path) -> None:
    opened = open_dataset(
        str(write_parquet(tmp_path / "x.parquet", [grey(4), None, grey(6)], [0, 1, 2], names=NAMES))
    )
    decoded = decode_examples(opened.splits["train"], np.arange(3), size=2, channels=1, fit="pad")
    assert decoded.errors == {1: "empty (0 bytes)"}
    assert decoded.images[:, 0, 0, 0].tolist() == [4, 0, 6]


def test_the_same_rows_in_other_files_and_row_groups_are_the_same_data_set(tmp_path: Path) -> None:
    images, labels = [grey(v) for v in range(6)], [0, 1, 2, 0, 1, 2]
    one = open_dataset(
        str(write_parquet(tmp_path / "one" / "train.parquet", images, labels, names=NAMES))
    )
    write_parquet(
        tmp_path / "two" / "train-0.parquet", images[:4], labels[:4], names=NAMES, row_group_size=3
    )
    write_parquet(
        tmp_path / "two" / "train-1.parquet", images[4:], labels[4:], names=NAMES, row_group_size=1
    )
    assert open_dataset(str(tmp_path / "two")).fingerprint == one.fingerprint


@pytest.mark.parametrize("what", ["image", "label", "label_true", "names"])
def test_any_change_of_content_changes_the_fingerprint(tmp_path: Path, what: str) -> None:
    base: dict[str, Any] = {
        "images": [grey(1), grey(2)],
        "labels": [0, 1],
        "names": NAMES,
        "label_true": [0, 1],
    }
    change: dict[str, dict[str, Any]] = {
        "image": {"images": [grey(1), grey(3)]},
        "label": {"labels": [0, 2]},
        "label_true": {"label_true": [0, 2]},
    }
    other = base | change.get(what, {"names": ("ant", "bee", "dog")})
    prints = {
        open_dataset(str(write_parquet(tmp_path / f"{n}.parquet", **facts))).fingerprint
        for n, facts in (("a", base), ("b", other))
    }
    assert len(prints) == 2


def large_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[ParquetSource, list[tuple[str, int | None]]]:
    """3 files of 6 rows in row groups of 2, too large to hold; and a list that takes what is
    read."""
    files = []
    for shard in range(3):
        path = tmp_path / f"train-{shard}.parquet"
        write_parquet(
            path,
            [grey(shard * 6 + row) for row in range(6)],
            [0] * 6,
            names=NAMES,
            row_group_size=2,
        )
        files.append(open_at(pafs.LocalFileSystem(use_mmap=True), str(path)))
    reads: list[tuple[str, int | None]] = []
    original = ParquetFileAt.read

    def counted(self: ParquetFileAt, columns: list[str], group: int | None = None) -> pa.Table:
        reads.append((Path(self.name).name, group))
        return original(self, columns, group)

    monkeypatch.setattr(ParquetFileAt, "read", counted)
    return ParquetSource(files, "image", "image.bytes", held_bytes=0), reads


def test_a_range_of_a_large_split_reads_only_its_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, reads = large_source(tmp_path, monkeypatch)
    assert source.encoded(np.arange(7, 11)) == [grey(v) for v in range(7, 11)]
    assert reads == [("train-1.parquet", 0), ("train-1.parquet", 1), ("train-1.parquet", 2)]
    assert source.encoded(np.array([10, 11])) == [grey(10), grey(11)]
    assert len(reads) == 3  # the last row group is kept


def test_scattered_ids_of_a_large_split_come_in_the_order_asked_each_row_group_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, reads = large_source(tmp_path, monkeypatch)
    ids = [17, 0, 16, 1, 0]
    assert source.encoded(np.array(ids)) == [grey(v) for v in ids]
    assert reads == [("train-0.parquet", 0), ("train-2.parquet", 2)]


def test_a_large_split_is_fingerprinted_without_reading_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, reads = large_source(tmp_path, monkeypatch)
    assert len(source.content_digest()) == 32
    assert reads == []
    assert isinstance(source, EncodedSource)


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_file_is_an_error_naming_it(tmp_path: Path, damage: str) -> None:
    path = write_parquet(tmp_path / "train.parquet", [grey(1)] * 50, [0] * 50, names=NAMES)
    content = path.read_bytes()
    path.write_bytes(
        {"cut": content[: len(content) // 2], "text": b"PAR1 but not really", "empty": b""}[damage]
    )
    with pytest.raises(DataError, match=r"train\.parquet: not a readable Parquet file"):
        open_dataset(str(tmp_path))


def test_flipped_bytes_are_found_by_the_page_checksums(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    table = pa.table(
        {"image": pa.array([grey(v) for v in range(50)], pa.binary()), "label": [0] * 50}
    )
    pq.write_table(table, path, write_page_checksum=True, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="cannot be read"):
        open_dataset(str(path))


def test_parquet_is_read_from_any_file_system_pyarrow_knows(tmp_path: Path) -> None:
    write_parquet(tmp_path / "bucket" / "set" / "train-0.parquet", [grey(8)], [1], names=NAMES)
    found = parquet_at(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "bucket/set")
    assert found is not None
    assert found.counts == {"train": 1}
    contents = found.read()
    assert contents.splits["train"].labels.tolist() == [1]
    assert (
        parquet_at(pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()), "bucket/none")
        is None
    )
