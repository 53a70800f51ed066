"""A data set written once as shards: the same examples, smaller pictures; how they are read; the
command."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import workspace
from PIL import Image

from tests.commands import zoo
from tests.data.conftest import BROKEN, content, encoded, png, write_parquet
from zoo.data import Dataset, decode_examples, decode_image, open_dataset, prepare
from zoo.data.dataset import EncodedSource, UnreadableImage
from zoo.errors import DataError
from zoo.store.datasets import commit_dataset


@pytest.mark.usefixtures("_small_shards")
def test_examples_keys_labels_and_classes_stay(tmp_path: Path, photos: Dataset) -> None:
    """Over several shards; another data set by its fingerprint, that says what it was made from."""
    done = prepare(photos, tmp_path / "p", short_side=50)
    assert (done.examples, done.unreadable, done.shards, done.written) == (15, 1, 5, 5)
    found = open_dataset(str(tmp_path / "p"))
    assert (found.form, found.class_names) == ("prepared", photos.class_names)
    assert list(found.splits) == list(photos.splits)
    for name, split in photos.splits.items():
        assert found.splits[name].keys == split.keys
        assert found.splits[name].labels.tolist() == split.labels.tolist()
        assert found.splits[name].labels_true is None
    assert found.fingerprint != photos.fingerprint
    assert found.origin == {
        "name": "photos",
        "form": "imagenet",
        "fingerprint": photos.fingerprint,
    }
    record = commit_dataset(workspace(tmp_path), found, {})
    assert record.facts["prepared_from"]["fingerprint"] == photos.fingerprint


@pytest.mark.parametrize("side", [50, 60])
def test_pictures_are_what_pillow_makes_of_them(tmp_path: Path, photos: Dataset, side: int) -> None:
    """The shorter side is as asked for, grey stays grey, and the pixels are those of a bicubic
    resize and a JPEG of quality 95."""
    prepare(photos, tmp_path / "p", short_side=side)
    found = open_dataset(str(tmp_path / "p"))
    for before, after in zip(encoded(photos, "train"), encoded(found, "train"), strict=True):
        if isinstance(before, UnreadableImage) or isinstance(after, UnreadableImage):
            continue
        whole = Image.fromarray(decode_image(before, 3))
        scale = side / 75
        size = (round(whole.width * scale), round(whole.height * scale))
        assert min(size) == side
        small, sink = whole.resize(size, Image.Resampling.BICUBIC), io.BytesIO()
        grey = Image.open(io.BytesIO(before)).mode == "L"
        small.convert("L" if grey else "RGB").save(sink, "JPEG", quality=95)
        assert after == sink.getvalue()
        assert (Image.open(io.BytesIO(after)).mode == "L") is grey


def test_small_pictures_keep_their_bytes(tmp_path: Path, photos: Dataset) -> None:
    """Nothing is enlarged: at a shorter side of 75 and above every readable file is as it was."""
    prepare(photos, tmp_path / "p", short_side=75)
    found = open_dataset(str(tmp_path / "p"))
    kept = [after for after in encoded(found, "train") if isinstance(after, bytes)]
    assert kept == [
        before
        for key, before in zip(photos.splits["train"].keys, encoded(photos, "train"), strict=True)
        if key != BROKEN
    ]
    # Twin: one pixel less, and none of them is.
    prepare(photos, tmp_path / "smaller", short_side=74)
    smaller = encoded(open_dataset(str(tmp_path / "smaller")), "train")
    assert not {after for after in smaller if isinstance(after, bytes)} & set(kept)


def test_bare_pixels_lose_nothing(tmp_path: Path, photos: Dataset) -> None:
    """Raw: decoded, the very pixels that the source decodes to."""
    prepare(photos, tmp_path / "p", short_side=75, encoding="raw")
    found = open_dataset(str(tmp_path / "p"))
    for split in photos.splits:
        ids = np.arange(len(photos.splits[split]))
        one, other = (
            decode_examples(d.splits[split], ids, size=64, channels=3, fit="crop")
            for d in (photos, found)
        )
        assert np.array_equal(one.images, other.images)
        assert one.errors == other.errors


def test_an_unreadable_picture_is_kept_as_such(tmp_path: Path, photos: Dataset) -> None:
    """With its reason and in its place; it is said when the data set is opened."""
    prepare(photos, tmp_path / "p", short_side=50)
    found = open_dataset(str(tmp_path / "p"))
    ids = np.arange(9)
    before, after = (
        decode_examples(d.splits["train"], ids, size=32, channels=3, fit="resize").errors
        for d in (photos, found)
    )
    assert before == after
    assert [found.splits["train"].keys[i] for i in after] == [BROKEN]
    assert [note.text for note in found.notes if note.kind == "unreadable"] == [
        "train: 1 of 9 could not be read when it was prepared"
    ]


def test_a_file_that_cannot_be_read_for_now_is_not_written_down_as_unreadable(
    tmp_path: Path, photos: Dataset
) -> None:
    """It would stay so for good. Once it is back, the same call goes on."""
    lost = tmp_path / "photos" / photos.splits["train"].keys[0]
    away = lost.rename(tmp_path / "away")
    with pytest.raises(DataError, match=r"cmyk.JPEG: cannot be opened .*run the same command"):
        prepare(photos, tmp_path / "p", short_side=50)
    away.rename(lost)
    assert prepare(photos, tmp_path / "p", short_side=50).unreadable == 1


def test_true_labels_come_along(tmp_path: Path) -> None:
    """From Parquet too, whose keys are paths in it."""
    pictures = [png(np.full((20, 30), 10 * i)) for i in range(4)]
    for split in ("train", "test"):
        write_parquet(
            tmp_path / f"d/{split}.parquet", pictures, [0, 1, 0, 1], label_true=[0, 1, 1, 1]
        )
    source = open_dataset(str(tmp_path / "d"))
    prepare(source, tmp_path / "p", short_side=10)
    split = open_dataset(str(tmp_path / "p")).splits["train"]
    assert split.labels_true is not None
    assert split.labels_true.tolist() == [0, 1, 1, 1]
    assert split.keys == source.splits["train"].keys


# ---------------------------------------------------------------- reading


@pytest.fixture
def folder(tmp_path: Path, photos: Dataset) -> Path:
    prepare(photos, tmp_path / "p", short_side=50)
    return tmp_path / "p"


def test_shards_can_be_read_without_zoo(folder: Path) -> None:
    """Mapped by any reader of Arrow, and by ranges from the index."""
    ours = encoded(open_dataset(str(folder)), "test")
    (shard,) = folder.glob("test-*.arrow")
    mapped = pa.ipc.open_file(pa.memory_map(str(shard))).read_all().column("image").to_pylist()
    index = pq.read_table(folder / "test.index.parquet").to_pylist()
    data = shard.read_bytes()
    ranges = [data[row["offset"] : row["offset"] + row["bytes"]] for row in index]
    assert ours == mapped == ranges


def test_any_order_and_repeats(folder: Path) -> None:
    source = open_dataset(str(folder)).splits["test"].source
    assert isinstance(source, EncodedSource)
    ids = np.array([5, 0, 3, 3, 5])
    in_order = source.encoded(np.arange(6))
    assert source.encoded(ids) == [in_order[i] for i in ids]


def test_a_flipped_bit_is_found_when_it_is_read(folder: Path) -> None:
    """That picture is unreadable and named; the others are not touched."""
    row = pq.read_table(folder / "test.index.parquet").to_pylist()[3]
    (shard,) = folder.glob("test-*.arrow")
    with shard.open("r+b") as file:
        file.seek(row["offset"] + 100)
        byte = file.read(1)
        file.seek(row["offset"] + 100)
        file.write(bytes([byte[0] ^ 1]))
    found = encoded(open_dataset(str(folder)), "test")
    assert [isinstance(data, UnreadableImage) for data in found] == [i == 3 for i in range(6)]
    assert "are not those that were written" in str(found[3])


def damages(folder: Path) -> Iterator[tuple[str, Any, str]]:
    (shard,) = folder.glob("test-*.arrow")
    index, about = folder / "test.index.parquet", folder / "prepared.json"
    yield "short shard", lambda: os.truncate(shard, 100), "100 bytes instead of"
    yield "no shard", shard.unlink, "No such file"
    yield "index", lambda: index.write_bytes(b"PAR1"), "its content is not what was written"
    yield "manifest", lambda: about.write_text("{}"), "cannot be read"
    newer = json.dumps({**json.loads(about.read_text()), "format": 2})
    yield "newer", lambda: about.write_text(newer), "format 2; this zoo reads 1"


@pytest.mark.parametrize("which", range(5))
def test_a_damaged_folder_is_refused_when_it_is_opened(folder: Path, which: int) -> None:
    _, damage, message = list(damages(folder))[which]
    damage()
    with pytest.raises(DataError, match=message):
        open_dataset(str(folder))


def test_a_damaged_shard_is_written_again(folder: Path, photos: Dataset) -> None:
    """Asking again writes that one alone, with the same bytes."""
    before = content(folder)
    (shard,) = folder.glob("test-*.arrow")
    os.truncate(shard, 100)
    done = prepare(photos, folder, short_side=50)
    assert done.written == 1
    assert content(folder) == before


# ---------------------------------------------------------------- the command


def test_the_command_writes_a_data_set_and_says_what_it_is(
    tmp_path: Path, photos: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = zoo("data", "prepare", "photos", "--short-side", 50, "--workers", 2, "-o", "p")
    assert result.code == 0, result
    fingerprint = open_dataset("p").fingerprint
    assert result.out == (
        f"p: 15 pictures, 1 of them unreadable, in 2 shards (2 written now), fingerprint"
        f" {fingerprint}, prepared from photos ({photos.fingerprint}). Next: zoo train --data p\n"
    )
    again = zoo("data", "prepare", "photos", "--short-side", 50, "-o", "p", "--json")
    body = json.loads(again.out)
    assert (body["written"], body["fingerprint"], body["prepared_from"]) == (
        0,
        fingerprint,
        photos.fingerprint,
    )
