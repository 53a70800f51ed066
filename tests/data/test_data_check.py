"""check_dataset: counts, unreadable images, duplicates, overlap."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.data.conftest import grey, png, write_parquet
from zoo.data import Contents, Dataset, Split, check_dataset, open_dataset
from zoo.data.check import Duplicates, Overlap, Unreadable
from zoo.data.mnist import ArraySource

NAMES = ("ant", "bee", "cow")


def test_everything_that_is_wrong_is_found(tmp_path: Path) -> None:
    # train: 0 and 2 are the same picture with different labels, 3 and 5 with the same; 4 and 6 are
    #     unreadable; no cow
    images = [grey(1), grey(2), grey(1), grey(3), b"", grey(3), b""]
    write_parquet(
        tmp_path / "train.parquet",
        images,
        [0, 0, 1, 1, 0, 1, 1],
        names=NAMES,
        label_true=[0, 0, 0, 1, 0, 1, 1],
    )
    write_parquet(
        tmp_path / "test.parquet", [grey(2), grey(9, 3, 5), grey(1)], [0, 2, 0], names=NAMES
    )
    check = check_dataset(open_dataset(str(tmp_path)))
    train, test = check.splits
    assert (train.name, train.examples, train.counts, train.empty_classes) == (
        "train",
        7,
        {"ant": 3, "bee": 4, "cow": 0},
        ("cow",),
    )
    assert train.unreadable == (
        Unreadable(4, "4.png", "empty (0 bytes)"),
        Unreadable(6, "6.png", "empty (0 bytes)"),
    )
    assert train.duplicates == (
        Duplicates((0, 2), ("0.png", "2.png"), (0, 1), conflicting=True),
        Duplicates((3, 5), ("3.png", "5.png"), (1, 1), conflicting=False),
    )
    assert train.known_label_errors == 1
    assert train.sizes == {"2 x 2": 5}
    assert (test.empty_classes, test.duplicates, test.known_label_errors) == (("bee",), (), None)
    assert test.sizes == {"2 x 2": 2, "3 x 5": 1}
    assert check.overlap == (
        Overlap("test", (0, 2), (2,), conflicting=True),
        Overlap("test", (1,), (0,), conflicting=False),
    )
    assert not check.ok


def test_a_sound_data_set_is_ok_and_the_result_is_json(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [grey(1), grey(2)], [0, 1], names=("ant", "bee"))
    write_parquet(tmp_path / "test.parquet", [grey(3)], [0], names=("ant", "bee"))
    seen: list[tuple[str, int, int]] = []
    check = check_dataset(open_dataset(str(tmp_path)), lambda *step: seen.append(step))
    assert check.ok
    found = json.loads(json.dumps(check.as_json()))
    assert found["ok"] is True
    assert found["splits"][0]["counts"] == {"ant": 1, "bee": 1}
    assert found["native_size"] == [2, 2]
    assert seen == [("train", 2, 2), ("test", 1, 1)]


def test_arrays_are_compared_by_their_pixels() -> None:
    pixels = np.zeros((3, 2, 2, 1), dtype=np.uint8)
    pixels[1] = 5
    split = Split("train", np.array([0, 1, 1]), None, ["a", "b", "c"], ArraySource(pixels))
    contents = Contents(("x", "y"), {"train": split})
    dataset = Dataset("u", "n", contents.class_names, contents.splits, 1, (2, 2), "0" * 16)
    (train,) = check_dataset(dataset).splits
    assert [pair.example_ids for pair in train.duplicates] == [(0, 2)]
    assert train.sizes == {"2 x 2": 3}


def test_of_many_sizes_the_commonest_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    images = [png(np.zeros((1, width))) for width in range(1, 24)] + [png(np.full((1, 3), 7))]
    write_parquet(tmp_path / "train.parquet", images, [0] * 24, names=("ant",))
    (train,) = check_dataset(open_dataset(str(tmp_path))).splits
    assert len(train.sizes) == 21
    assert train.sizes["1 x 3"] == 2
    assert sum(train.sizes.values()) == 24
