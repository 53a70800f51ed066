"""Garbage is collected, and states to resume from are dropped, while others write: nobody loses
what they need.

Each situation is first made by hand, call by call; then many processes meet at random, and some are
killed.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.store.living import UNITS, record
from tests.store.story import tell
from zoo.errors import StoreError
from zoo.store import answers, fsck, gc
from zoo.store.files import LocalFiles
from zoo.store.heartbeat import at_work_on, heartbeat
from zoo.store.workspace import Workspace

ROOT = Path(__file__).parent.parent.parent
DAY = 24 * 3600.0


def old(path: Path) -> None:
    """As if it had been written two days ago."""
    os.utime(path, (time.time() - 2 * DAY,) * 2)


def uncommitted(workspace: Workspace) -> list[Path]:
    """The answers of the story as a fill leaves them that was killed before its commit, two days
    ago."""
    (record,) = (workspace.root / "commits" / "answers").iterdir()
    record.unlink()
    parts = [path for folder in (workspace.root / "answers").iterdir() for path in folder.iterdir()]
    for path in parts:
        old(path)
    return parts


# ---------------------------------------------------------------- garbage, call by call


@pytest.mark.parametrize("times", [1, 99])
def test_a_part_that_is_aside_for_a_moment_is_found(
    told: Workspace, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """A collector has taken it, sees that it was touched and gives it back: between these two it
    cannot be read. Twin: what stays so is an error."""
    parts = uncommitted(told)
    digest, left = LocalFiles.digest, [times]

    def read(files: LocalFiles, relative: str) -> str:
        if left[0]:
            left[0] -= 1
            raise StoreError(f"{relative}: No such file or directory")
        return digest(files, relative)

    monkeypatch.setattr(LocalFiles, "digest", read)
    if times == 1:
        tell(told)
        assert all(path.exists() for path in parts)
    else:
        with pytest.raises(StoreError, match="No such file"):
            tell(told)


def test_parts_that_are_used_again_while_garbage_is_collected_stay(
    told: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fill begins after the garbage was listed, finds the old parts, commits and ends: every part
    is still there, the store is whole."""
    parts = uncommitted(told)
    find = gc.find

    def find_and_then_somebody_fills(workspace: Workspace, older_than: float) -> list[gc.Garbage]:
        found = find(workspace, older_than)
        with heartbeat(Workspace.open(told.root)):
            tell(Workspace.open(told.root))
        return found

    monkeypatch.setattr(gc, "find", find_and_then_somebody_fills)
    assert gc.collect(Workspace.open(told.root)) == []
    assert all(path.exists() for path in parts)
    assert fsck.check(Workspace.open(told.root), "semantic") == []


def test_a_command_that_begins_meanwhile_stops_the_collection(
    told: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heartbeats are looked at again after the listing, whatever was listed."""
    parts = uncommitted(told)
    find, beats = gc.find, heartbeat(told)

    def find_and_then_somebody_comes(workspace: Workspace, older_than: float) -> list[gc.Garbage]:
        beats.__enter__()
        return find(workspace, older_than)

    monkeypatch.setattr(gc, "find", find_and_then_somebody_comes)
    with pytest.raises(StoreError, match="1 commands are at work"):
        gc.collect(told)
    beats.__exit__(None, None, None)
    assert all(path.exists() for path in parts)


def test_what_nobody_uses_again_goes(told: Workspace) -> None:
    """The twin: without a fill in between the same parts are removed."""
    parts = uncommitted(told)
    assert len(gc.collect(told)) == len(parts)
    assert not any(path.exists() for path in parts)


@pytest.mark.parametrize("moment", ["before the rename", "after the rename"])
def test_a_file_touched_at_any_moment_is_not_discarded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Touched before it is taken aside, it comes back; afterwards there is nothing to touch, and
    the toucher is told so."""
    files = LocalFiles(tmp_path)
    ref = files.seal("a", "part", ".bin", lambda path: path.write_bytes(b"content") and None)
    stamp = files.stamp(ref.path)
    assert stamp is not None
    disk = files._disk
    rename, said = disk.rename, []

    def meeting(path: Path, target: Path) -> None:
        if moment == "before the rename":
            said.append(files.touch(ref.path))
        rename(path, target)
        if moment == "after the rename":
            said.append(files.touch(ref.path))

    monkeypatch.setattr(disk, "rename", meeting)
    gone = files.discard(ref.path, stamp)
    assert (said, gone) == ([True], False) if moment == "before the rename" else ([False], True)
    assert files.exists(ref.path) is not gone
    assert files.names("a", temporary=True) == ([] if gone else [ref.path.rpartition("/")[2]])


def test_a_file_sealed_again_while_it_is_discarded_is_there_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same content written again by another process, between taking aside and removing."""
    files = LocalFiles(tmp_path)

    def seal() -> str:
        return files.seal(
            "a", "part", ".bin", lambda path: path.write_bytes(b"content") and None
        ).path

    path = seal()
    stamp = files.stamp(path)
    assert stamp is not None
    rename = files._disk.rename

    def meeting(source: Path, target: Path) -> None:
        rename(source, target)
        monkeypatch.undo()
        seal()

    monkeypatch.setattr(files._disk, "rename", meeting)
    assert files.discard(path, stamp)
    assert files.read(path) == b"content"


def test_a_part_that_is_gone_before_its_commit_is_no_commit(told: Workspace) -> None:
    """Whatever took it away: the unit stays invisible and the next run makes it."""
    (record,) = told.commits.all("answers").values()
    unit = answers.AnswerUnit.from_identity(record.identity)
    cut = answers.shards(record.facts["examples"], 64)
    receipts = [answers.find_receipt(told.files, unit, shard) for shard in cut]
    (told.root / "commits" / "answers" / Path(record.name).name).unlink()
    (told.root / record.files[0].path).unlink()
    with pytest.raises(
        StoreError, match=r"was removed before it was committed\. Run the same command again"
    ):
        answers.commit_unit(
            Workspace.open(told.root),
            unit,
            record.facts["examples"],
            0,
            [r for r in receipts if r is not None],
        )
    tell(Workspace.open(told.root))
    assert fsck.check(Workspace.open(told.root), "semantic") == []


def test_scratch_of_the_dead_is_garbage_everywhere(told: Workspace) -> None:
    """Unfinished files among attempts, at the top and among the states of an unfinished training,
    and probes."""
    paths = [
        "attempts/.tmp-h-1-ab",
        "attempts/.probe-h-1-ab",
        ".tmp-h-1-ab-clock",
        "resume/0123456789abcdef/.tmp-h-1-ab.safetensors",
    ]
    for relative in paths:
        path = told.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        old(path)
    state = told.root / "resume/0123456789abcdef/e0001-0123456789abcdef.safetensors"
    state.write_bytes(b"")
    old(state)
    assert sorted(item.path for item in gc.collect(told)) == sorted(paths)
    assert state.exists()


# ---------------------------------------------------------------- who is at work


def test_a_heartbeat_names_the_trainings_of_its_command(told: Workspace) -> None:
    """While it beats, and no longer; one of an earlier zoo, which is empty, names none."""
    told.files.replace("attempts/host-1-ab.alive", b"")
    with heartbeat(told, ["b", "a"]):
        assert at_work_on(told) == {"a", "b"}
    assert at_work_on(told) == set()


# ---------------------------------------------------------------- under load


_FILLER = """
import os, random, sys, time
from tests.store.living import OLD, UNITS, cut, part, unit
from zoo.store import heartbeat
from zoo.store.answers import commit_unit, find_receipt
from zoo.store.workspace import Workspace
heartbeat._BEAT_SECONDS = 0.05
space = Workspace.open(sys.argv[1])
for number in range(UNITS):
    mine = unit(number)
    if space.commits.get("answers", mine.key) is not None:
        continue
    for shard in cut():  # what a fill leaves that was killed long ago
        if random.random() < 0.7:
            receipt = part(space, mine, shard)
            for ref in (receipt.answers, receipt.logits):
                try:
                    os.utime(space.root / ref.path, (time.time() - OLD,) * 2)
                except FileNotFoundError:
                    pass
    time.sleep(random.random() * 0.03)
    with heartbeat.heartbeat(space):
        receipts = [find_receipt(space.files, mine, shard) or part(space, mine, shard) for shard in cut()]
        time.sleep(random.random() * 0.03)
        commit_unit(space, mine, 40, 40, receipts)
"""  # noqa: E501
_COLLECTOR = """
import sys
from tests.store.living import OLD
from zoo.errors import StoreError
from zoo.store import gc, heartbeat
from zoo.store.workspace import Workspace
heartbeat._DEAD_SECONDS = 0.3
while True:
    try:
        gc.collect(Workspace.open(sys.argv[1]), OLD / 2)
    except StoreError as error:
        if "at work" not in str(error):
            raise
"""
_RESUMER = """
import random, sys
from pathlib import Path
from zoo.training.checkpoint import drop_resume, load_resume, save_resume
from zoo.store.files import LocalFiles
import torch
files = LocalFiles(Path(sys.argv[1]))
for number in range(150):
    for epoch in range(3):
        save_resume(files, "t", epoch, {"w": torch.full((1,), random.random())}, {"epoch": epoch})
        load_resume(files, "t")
    drop_resume(files, "t")
"""


def _together(codes: list[str], endless: int, root: Path, kills: int) -> list[str]:
    """Run programs side by side until all but the last ``endless`` have ended well; ``kills`` times
    one of those is killed and started again.

    Returns:
        What any of them wrote to stderr.
    """
    rng = random.Random(7)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def start(code: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code, str(root)],
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=ROOT,
        )

    running, said = [start(code) for code in codes], []
    try:
        for _ in range(kills):
            time.sleep(rng.uniform(0.5, 2.0))
            index = rng.randrange(len(codes) - endless)
            running[index].kill()
            said.append(running[index].communicate()[1])
            running[index] = start(codes[index])
        said += [process.communicate()[1] for process in running[: len(codes) - endless]]
    finally:
        for process in running:
            process.kill()
    said += [process.communicate()[1] for process in running[len(codes) - endless :]]
    return [text for text in said if text]


def test_fills_that_are_killed_and_a_collector_leave_a_whole_store(tmp_path: Path) -> None:
    """Two fills of the same units, whose attempts never give the same bytes, killed at random, and
    a collector of all that is old.

    Every unit ends whole, of one attempt: answers and logits agree, no file that a record names is
        gone.
    """
    space = Workspace.open(tmp_path / "store", create=True)
    record(space)
    assert _together([_FILLER, _FILLER, _COLLECTOR], 1, space.root, kills=4) == []
    assert len(Workspace.open(space.root).commits.keys("answers")) == UNITS
    assert fsck.check(Workspace.open(space.root), "semantic") == []


def test_processes_on_one_training_do_not_take_each_others_states(tmp_path: Path) -> None:
    """Three processes save, load and drop the states of one training, killed at times: none ends
    with an error."""
    assert _together([_RESUMER] * 3, 0, tmp_path, kills=2) == []
