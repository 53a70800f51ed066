"""A host whose clock is an hour off, either way: it decides as every other does, since no decision
compares clocks of hosts. Ages are measured by the clock of the storage."""

from __future__ import annotations

import ast
import datetime
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.store.story import tell
from zoo.data import cache
from zoo.errors import StoreError
from zoo.store import commits, fsck, gc
from zoo.store.heartbeat import heartbeat, living
from zoo.store.workspace import Workspace

ROOT = Path(__file__).parents[2]
HOUR = 3600.0

READERS = {
    "zoo/store/commits.py": "when a record was made, for people",
    "zoo/store/ledger.py": "when a training failed, for people",
    "zoo/exchange/reviews.py": "when somebody decided, where their file does not say it",
}
"""Modules that read this host's wall clock, and what for."""
ORDERED = {
    "zoo/store/workspace.py": "a message",
    "zoo/store/datasets.py": "a message",
    "zoo/store/decisions.py": "what people decided at the same time, by when it was read in",
    "zoo/studies/rerun.py": "the order in which commands are printed that change nothing",
}
"""Modules that look at when records were made, and what for."""


@pytest.fixture(params=[HOUR, -HOUR], ids=["ahead", "behind"])
def skew(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """This process's wall clock is off; that of the file system is not."""
    real, off = time.time, float(request.param)

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
            return datetime.datetime.fromtimestamp(time.time(), tz)

    monkeypatch.setattr(time, "time", lambda: real() + off)
    monkeypatch.setattr(commits, "datetime", SimpleNamespace(datetime=Shifted, UTC=datetime.UTC))
    return off


def wall_clock(text: str) -> bool:
    """Whether a module reads the wall clock of its host."""
    reads = {("time", "time"), ("time", "time_ns")}
    reads |= {(name, word) for name in ("datetime", "date") for word in ("now", "utcnow", "today")}
    return any(
        isinstance(node, ast.Attribute)
        and (getattr(node.value, "id", getattr(node.value, "attr", "")), node.attr) in reads
        for node in ast.walk(ast.parse(text))
    )


def created(text: str) -> bool:
    return any(
        isinstance(node, ast.Attribute) and node.attr == "created"
        for node in ast.walk(ast.parse(text))
    )


def test_a_living_command_is_seen_as_such_and_its_garbage_left_alone(
    told: Workspace, skew: float
) -> None:
    """A heartbeat is fresh and a file just written is young, whatever the host's clock says; what
    has lain for two days is removed."""
    assert abs(time.time() - (told.root / "FORMAT.json").stat().st_mtime) > 0.9 * HOUR
    with heartbeat(told):
        assert len(living(told)) == 1
        with pytest.raises(StoreError, match="1 commands are at work"):
            gc.collect(told)
    young, old = told.root / "checkpoints/young.bin", told.root / "checkpoints/old.bin"
    for path in (young, old):
        path.write_bytes(b"")
    now = young.stat().st_mtime
    os.utime(old, (now - 48 * HOUR,) * 2)
    os.utime(young, (now - 23.5 * HOUR,) * 2)  # an hour more would make it a day old
    assert [item.path for item in gc.collect(told)] == ["checkpoints/old.bin"]


def test_a_story_goes_on_where_a_host_with_another_clock_left_it(
    told: Workspace, skew: float
) -> None:
    """Nothing is done again, and what is made anew is whole."""
    before = {path: path.stat().st_mtime_ns for path in (told.root / "commits").rglob("*.json")}
    tell(Workspace.open(told.root))
    assert {p: p.stat().st_mtime_ns for p in (told.root / "commits").rglob("*.json")} == before
    (record,) = (told.root / "commits/answers").iterdir()
    record.unlink()
    tell(Workspace.open(told.root))
    assert fsck.check(Workspace.open(told.root), "semantic") == []


def test_a_decoding_that_is_at_work_keeps_its_file(tmp_path: Path, skew: float) -> None:
    """In a cache that hosts share: what was touched half an hour ago stays, what was left an hour
    and a half ago goes."""
    for name, minutes in (("alive", 30), ("dead", 90)):
        path = tmp_path / f".tmp-split-{name}"
        path.write_bytes(b"")
        os.utime(path, (path.stat().st_mtime - 60 * minutes,) * 2)
    cache._remove_abandoned(tmp_path, "split")
    assert [path.name for path in tmp_path.iterdir()] == [".tmp-split-alive"]


def test_who_reads_a_clock_is_known() -> None:
    """Every module that does so has its reason above, and nobody compares."""
    texts = {
        path.relative_to(ROOT).as_posix(): path.read_text() for path in ROOT.glob("zoo/**/*.py")
    }
    assert {name for name, text in texts.items() if wall_clock(text)} == READERS.keys()
    assert {name for name, text in texts.items() if created(text)} == ORDERED.keys()


@pytest.mark.parametrize(
    "line", ["time.time() - age", "datetime.datetime.now(UTC)", "datetime.now()", "date.today()"]
)
def test_a_new_reader_would_be_found(line: str) -> None:
    assert wall_clock(f"x = {line}")
    assert not wall_clock("x = time.monotonic() - before")
