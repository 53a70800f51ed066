"""From a data set to a network's input: the size rule, padding or resizing, statistics, memory or
stream."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from factories import TRAIN, UNREADABLE_TRAIN, dataset_folder, tiny_dataset, write_split

import zoo.trainsets.inputs
from zoo.data import Dataset, open_dataset
from zoo.errors import DataError, UsageError
from zoo.estimate import assumed_dataset
from zoo.spec import DatasetRef
from zoo.trainsets.inputs import (
    Geometry,
    MemoryPictures,
    StreamedPictures,
    geometry,
    open_pictures,
    open_verified,
    preprocessing,
    streams,
)


@pytest.fixture(autouse=True)
def _nothing_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test opens its pictures anew."""
    monkeypatch.setattr(zoo.trainsets.inputs, "_HELD", {})
    zoo.trainsets.inputs._statistics.cache_clear()


def planned(side: int) -> Dataset:
    """A data set of colour pictures of one size, without pictures."""
    return assumed_dataset(f"100,50,10,{side}")


@pytest.mark.parametrize(
    ("arch", "side", "asked", "expected"),
    [
        ("lenet5", 28, None, Geometry(28, 3, "pad")),  # the pictures' own size
        ("lenet5", 28, 32, Geometry(32, 3, "pad")),  # asked for; 4 pixels more: centred on black
        ("lenet5", 28, 36, Geometry(36, 3, "pad")),  # 8 more is still padding
        ("lenet5", 28, 37, Geometry(37, 3, "resize")),  # 9 more is not
        ("lenet5", 28, 20, Geometry(20, 3, "resize")),  # smaller is always resized
        # not blown up to the model's default unless asked
        ("resnet50", 28, None, Geometry(28, 3, "pad")),
        ("resnet50", 28, 64, Geometry(64, 3, "resize")),
        ("resnet50", 500, None, Geometry(224, 3, "resize")),  # the model's default
        ("resnet50", 220, None, Geometry(220, 3, "pad")),
        ("efficientnet_b2", 260, None, Geometry(260, 3, "pad")),
    ],
)
def test_the_size_rule(arch: str, side: int, asked: int | None, expected: Geometry) -> None:
    """Asked for, else the pictures' own where below the model's default, else that; up to 8 pixels
    are padded, all else is resized."""
    assert geometry(planned(side), arch, asked) == expected


def test_a_picture_too_small_for_a_model_is_refused_before_anything_starts() -> None:
    with pytest.raises(
        UsageError, match=r"^lenet5 needs pictures of at least 12x12 pixels; the input is 8x8\."
    ):
        geometry(planned(8), "lenet5", None)


def test_pictures_of_many_sizes_need_a_size(tmp_path: Path) -> None:
    """Without one size of their own and a model without a default: an error that says how to give
    one."""
    write_split(tmp_path / "mixed" / "train-0.parquet", [0, 1, 2], side=12)
    write_split(tmp_path / "mixed" / "train-1.parquet", [0, 1, 2], side=15)
    dataset = open_dataset(str(tmp_path / "mixed"))
    assert dataset.native_size is None
    with pytest.raises(
        UsageError,
        match=(
            r"^mixed: its pictures differ in size and mlp has no default input size\. Give one with"
            r" --input-size"
        ),
    ):
        geometry(dataset, "mlp", None)
    assert geometry(dataset, "mlp", 14) == Geometry(14, 1, "resize")


def test_a_changed_data_set_is_refused(tmp_path: Path) -> None:
    """Planned on other content: both fingerprints and what to do."""
    dataset = tiny_dataset(tmp_path)
    assert open_verified(dataset.ref) is dataset
    with pytest.raises(
        DataError,
        match=(
            rf"its fingerprint is {dataset.fingerprint}, this run was planned on 0000000000000000\."
            r" Restore"
        ),
    ):
        open_verified(DatasetRef(uri=dataset.uri, fingerprint="0" * 16))


def test_statistics_by_hand(tmp_path: Path) -> None:
    """Mean and standard deviation of the readable training pictures in units of 0..1; unreadable
    (black) ones do not count."""
    dataset = tiny_dataset(tmp_path, unreadable_train=UNREADABLE_TRAIN)
    shape = geometry(dataset, "mlp", None)
    found = preprocessing(dataset, shape, None)
    images, _ = open_pictures(dataset, "train", shape, None).gather(
        np.setdiff1d(np.arange(TRAIN), UNREADABLE_TRAIN)
    )
    assert (found.size, found.channels, found.fit) == (12, 1, "pad")
    assert found.mean == pytest.approx((images.mean() / 255,), abs=1e-6)
    assert found.std == pytest.approx((images.std() / 255,), abs=1e-6)


def test_a_constant_channel_is_divided_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No variation, no division by zero."""
    dataset = tiny_dataset(tmp_path)
    monkeypatch.setattr(zoo.trainsets.inputs, "channel_statistics", lambda images: ((0.5,), (0.0,)))
    assert preprocessing(dataset, geometry(dataset, "mlp", None), None).std == (1.0,)


def test_a_training_split_without_a_readable_picture_is_an_error(tmp_path: Path) -> None:
    """Named, with the command that lists them."""
    folder = dataset_folder(tmp_path / "bad", train=[0, 1, 2], unreadable_train=(0, 1, 2))
    dataset = open_dataset(str(folder))
    with pytest.raises(
        DataError,
        match=r"^bad: none of its 3 training pictures can be read\. See why with: zoo data check ",
    ):
        preprocessing(dataset, Geometry(12, 1, "pad"), None)


@pytest.mark.parametrize("cached", [False, True])
def test_small_splits_are_held_and_large_ones_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    """60 pictures of 144 bytes: held up to a limit of 8,640 bytes, streamed beyond it; both give
    the same pictures and marks."""
    dataset = tiny_dataset(tmp_path, unreadable_train=UNREADABLE_TRAIN)
    shape, cache = Geometry(12, 1, "pad"), tmp_path / "cache" if cached else None
    ids = np.array([40, 0, 59, 0, 7])
    monkeypatch.setattr(zoo.trainsets.inputs, "IN_MEMORY_BYTES", TRAIN * 144)
    assert not streams(dataset, "train", shape)
    held = open_pictures(dataset, "train", shape, cache)
    assert open_pictures(dataset, "train", shape, cache) is held
    monkeypatch.setattr(zoo.trainsets.inputs, "IN_MEMORY_BYTES", TRAIN * 144 - 1)
    monkeypatch.setattr(zoo.trainsets.inputs, "_HELD", {})
    assert streams(dataset, "train", shape)
    streamed = open_pictures(dataset, "train", shape, cache)
    assert isinstance(held, MemoryPictures)
    assert isinstance(streamed, StreamedPictures)
    (a, mask_a), (b, mask_b) = held.gather(ids), streamed.gather(ids)
    np.testing.assert_array_equal(a, b)
    assert mask_a is not None
    assert mask_b is not None
    assert mask_a.tolist() == mask_b.tolist() == [True, False, False, False, True]
    assert held.gather(ids[1:4])[1] is streamed.gather(ids[1:4])[1] is None


def test_a_streamed_split_has_its_statistics_from_a_keyed_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most 4,096 pictures are read for them, here 20 of 60, the same ones every time."""
    dataset, shape = tiny_dataset(tmp_path), Geometry(12, 1, "pad")
    whole = preprocessing(dataset, shape, None)
    monkeypatch.setattr(zoo.trainsets.inputs, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(zoo.trainsets.inputs, "_STATISTICS_SAMPLE", 20)
    asked: list[int] = []
    gather = StreamedPictures.gather
    monkeypatch.setattr(
        StreamedPictures, "gather", lambda self, ids: asked.append(len(ids)) or gather(self, ids)
    )
    found = []
    for _ in range(2):
        monkeypatch.setattr(zoo.trainsets.inputs, "_HELD", {})
        zoo.trainsets.inputs._statistics.cache_clear()
        found.append(preprocessing(dataset, shape, None))
    assert asked == [20, 20]
    assert found[0] == found[1]
    assert found[0] != whole
    assert found[0].mean[0] == pytest.approx(whole.mean[0], rel=0.1)


def test_a_split_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """A data set with training pictures alone: an error of ours, not a KeyError."""
    write_split(tmp_path / "alone" / "train.parquet", [0, 1, 2])
    dataset = open_dataset(str(tmp_path / "alone"))
    with pytest.raises(DataError, match=r"^alone has no split 'test'\. Its splits: train\."):
        open_pictures(dataset, "test", Geometry(12, 1, "pad"), None)
