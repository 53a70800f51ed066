"""Shards are the same bytes however their writing was interrupted; what is written beside something
else is refused."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import imagenet_folder, photo

from tests.commands import start, zoo
from tests.data.conftest import content, write_files
from zoo.data import Dataset, open_dataset, prepare, preparing
from zoo.errors import DataError, UsageError

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


# ---------------------------------------------------------------- the command


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
