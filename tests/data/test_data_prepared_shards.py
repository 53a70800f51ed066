"""A data set written once as shards: the same examples, smaller pictures, the same bytes however it
was interrupted."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import imagenet_folder, photo, workspace
from PIL import Image

from tests.commands import start, zoo
from tests.data.conftest import png, write_files, write_parquet
from zoo.data import Dataset, decode_examples, decode_image, open_dataset, prepare, preparing
from zoo.data.dataset import EncodedSource, UnreadableImage
from zoo.data.decode import encoded_or_reason
from zoo.errors import DataError, UsageError
from zoo.store.datasets import commit_dataset

BROKEN = "train/n03344393/n03344393_1.JPEG"


@pytest.fixture
def photos(tmp_path: Path) -> Dataset:
    """Three classes, 3 + 2 pictures of 100 x 75 pixels, one of them truncated."""
    return open_dataset(str(imagenet_folder(tmp_path / "photos", truncated=[BROKEN])))


@pytest.fixture
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of 4 pictures in batches of 2, made 2 at a time: 9 + 6 pictures are 3 + 2 shards."""
    monkeypatch.setattr(preparing, "ROWS_PER_SHARD", 4)
    monkeypatch.setattr(preparing, "_ROWS_PER_BATCH", 2)
    monkeypatch.setattr(preparing, "_ROWS_PER_TASK", 2)


def content(folder: Path) -> dict[str, str]:
    """Hash of every file of a folder."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def encoded(dataset: Dataset, split: str) -> list[bytes | UnreadableImage]:
    source = dataset.splits[split].source
    assert isinstance(source, EncodedSource)
    return encoded_or_reason(source, np.arange(len(dataset.splits[split])))


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


# ---------------------------------------------------------------- the same bytes


@pytest.mark.usefixtures("_small_shards")
def test_the_number_of_workers_changes_no_byte(tmp_path: Path, photos: Dataset) -> None:
    for workers in (1, 5):
        prepare(photos, tmp_path / str(workers), short_side=50, workers=workers)
    assert content(tmp_path / "1") == content(tmp_path / "5")


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


STEPS = ("_to_disk", "_sync_folder", "_batch", "_finished", "_index", "_place", "_write")


def dying(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Die before the n-th step that touches the folder, counted over all of them."""
    left = iter(range(after))

    def before(name: str) -> Any:
        whole = getattr(preparing, name)

        def step(*arguments: Any) -> Any:
            if next(left, None) is None:
                raise Killed
            return whole(*arguments)

        return step

    for name in STEPS:
        monkeypatch.setattr(preparing, name, before(name))


@pytest.mark.usefixtures("_small_shards")
def test_killed_anywhere_the_same_call_ends_with_the_same_bytes(
    tmp_path: Path, photos: Dataset
) -> None:
    """Before every single step in turn; until it is finished nobody takes the folder for a data
    set, and what was finished is not written again."""
    calm = tmp_path / "calm"
    prepare(photos, calm, short_side=50)
    steps = 0
    while True:
        folder = tmp_path / f"killed-{steps}"
        with pytest.MonkeyPatch.context() as patched:
            dying(patched, steps)
            try:
                prepare(photos, folder, short_side=50)
                ended = True
            except Killed:
                ended = False
        if not ended and not (folder / "prepared.json").exists():
            with pytest.raises(DataError):
                open_dataset(str(folder))
        there = {path.name for path in folder.glob("*.arrow")}
        done = prepare(photos, folder, short_side=50)
        assert done.written == 5 - len(there)
        assert content(folder) == content(calm)
        if ended:
            break
        steps += 1
    assert steps > 40


@pytest.mark.slow
def test_kill_minus_nine_in_the_middle(tmp_path: Path) -> None:
    """A real process, killed while a shard is being written: the same command goes on from the
    shards there are."""
    rng = np.random.default_rng(0)
    names = [f"{split}/{c}/{i}.jpg" for split in ("train", "test") for c in "ab" for i in range(30)]
    write_files(tmp_path / "photos", {name: photo(rng, (500, 375), 0) for name in names})
    options = ("--short-side", 128, "--workers", 1)
    command = ("data", "prepare", tmp_path / "photos", *options, "-o", tmp_path / "p")
    with start(tmp_path, *command) as running:
        running.wait_for(
            lambda: (
                any(path.stat().st_size for path in (tmp_path / "p").glob(".tmp-test*"))
                or (tmp_path / "p/prepared.json").exists()
            ),
            "a shard of the test split",
        )
        os.kill(running.process.pid, signal.SIGKILL)
        running.finish()
    before = {path.name: path.stat().st_ino for path in (tmp_path / "p").glob("train-*.arrow")}
    with start(tmp_path, *command) as running:
        assert running.finish().code == 0
    after = {path.name: path.stat().st_ino for path in (tmp_path / "p").glob("train-*.arrow")}
    assert before == after != {}
    prepare(open_dataset(str(tmp_path / "photos")), tmp_path / "calm", short_side=128, workers=2)
    assert content(tmp_path / "p") == content(tmp_path / "calm")


# ---------------------------------------------------------------- what is refused


def test_another_request_in_the_same_folder_is_refused(tmp_path: Path, photos: Dataset) -> None:
    """Another size, and another data set, by both fingerprints."""
    prepare(photos, tmp_path / "p", short_side=50)
    with pytest.raises(UsageError, match="short_side 50 there, 60 asked for"):
        prepare(photos, tmp_path / "p", short_side=60)
    other = open_dataset(str(imagenet_folder(tmp_path / "other", val=3)))
    with pytest.raises(
        UsageError, match=f"data set {photos.fingerprint} there, {other.fingerprint} asked for"
    ):
        prepare(other, tmp_path / "p", short_side=50)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, photos: Dataset) -> None:
    write_files(tmp_path, {"mine/letter.txt": b"dear"})
    with pytest.raises(UsageError, match=r"holds other files, such as letter.txt"):
        prepare(photos, tmp_path / "mine", short_side=50)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_there_is_one_writer(tmp_path: Path, photos: Dataset) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another zoo data prepare is writing it"):
            prepare(photos, folder, short_side=50)
    finally:
        os.close(descriptor)
    prepare(photos, folder, short_side=50)  # twin: the lock went with its holder


def test_a_full_disk_is_an_error_that_says_how_to_go_on(
    tmp_path: Path, photos: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "shard")

    with monkeypatch.context() as patched:
        patched.setattr(preparing, "_to_disk", full)
        with pytest.raises(DataError, match=r"No space left on device.*kept: zoo data prepare x"):
            prepare(photos, tmp_path / "p", short_side=50, command="zoo data prepare x")
    assert prepare(photos, tmp_path / "p", short_side=50).examples == 15


def test_bare_arrays_have_nothing_to_prepare(tmp_path: Path, photos: Dataset) -> None:
    class Bare:
        def pixels(self, example_ids: object) -> object:
            raise AssertionError

        def content_digest(self) -> bytes:
            return b""

    from dataclasses import replace

    splits = {name: replace(s, source=Bare()) for name, s in photos.splits.items()}
    with pytest.raises(UsageError, match="nothing to prepare"):
        prepare(replace(photos, splits=splits), tmp_path / "p", short_side=50)


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


def test_an_unfinished_folder_names_the_command_that_goes_on(
    tmp_path: Path, photos: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        dying(patched, 6)
        with pytest.raises(Killed):
            zoo("data", "prepare", "photos", "--short-side", 50, "-o", "p")
    result = zoo("data", "check", "p")
    assert result.code == 1
    command = "zoo data prepare photos --short-side 50 --encoding jpeg -o p"
    assert f"it goes on: {command}" in result.err
    assert zoo(*command.split()[1:]).code == 0
