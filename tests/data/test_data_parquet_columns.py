"""Parquet shards whose columns differ, and files of paths without images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.conftest import PETS, grey, huggingface, write_parquet
from zoo.data import check_dataset, open_dataset
from zoo.errors import DataError


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
