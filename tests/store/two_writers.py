"""Two writers of one workspace, interleaved at every pair of their storage calls.

Each tells the whole story (``story.tell``) through a door of its own, in a thread that runs only
when it is told to: one makes its first i calls and stands before the next, then the other its first
j. What happens then is the mode:

=========  ========================================================================================
crash      the other dies there; the first goes on to its end
zombie     the first goes on to its end, then the other to its own; they compute other bytes, as
           machines of two kinds do
gc         both have been stopped for two days, and a collector passes; then the other goes on to
           its end, then the first
collector  the other *is* a collector, in a workspace that was left two days ago by a writer that was
           killed before its commits, and stops for two days before its (j+1)-th call while the first
           ends
=========  ========================================================================================

Afterwards nothing half-made is visible, no byte of a file that was committed has changed, each
writer ended well or with a sentence, and the same command again makes the store whole. A schedule
is known by mode and pair, and is the same whenever it is run.

Many pairs are one schedule: a call that nobody else can see the effect of (an fsync, the removal of
one's own unfinished file) commutes with all calls of the other. ``every_pair`` runs one of each
such class. Power is not lost here (``test_fault_programme`` does that), so nothing is synced.
"""  # noqa: E501

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.store.fault_disk import Killed
from tests.store.story import tell
from zoo.errors import StoreError, ZooError
from zoo.store import answers, fsck, gc
from zoo.store.files import TEMPORARY, Disk, LocalFiles
from zoo.store.workspace import MARKER, MARKER_BYTES, Workspace

__all__ = ["MODES", "Outcome", "every_pair", "run", "sampled", "small_shards"]

MODES = ("crash", "zombie", "gc", "collector")
_TWO_DAYS = 2 * 24 * 3600.0
_NEVER = 1 << 30


class TurnsDisk(Disk):
    """Waits before each of its calls until it is told to go on; ``calls`` says what each was."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Path]] = []
        self.until, self.dead = 0, False
        self.go, self.stands = threading.Semaphore(0), threading.Semaphore(0)

    def _turn(self, kind: str, path: Path) -> None:
        while len(self.calls) >= self.until and not self.dead:
            self.stands.release()
            self.go.acquire()
        if self.dead:
            raise Killed
        self.calls.append((kind, path))

    def mkdir(self, folder: Path) -> None:
        if not folder.is_dir():
            self.mkdir(folder.parent)
            self._turn("mkdir", folder)
            folder.mkdir(exist_ok=True)

    def write(self, path: Path, write: Callable[[Path], None]) -> None:
        self._turn("write", path)
        super().write(path, write)

    def sync(self, path: Path) -> None:
        self._turn("sync", path)

    def rename(self, path: Path, target: Path) -> None:
        self._turn("rename", target)
        super().rename(path, target)

    def link(self, path: Path, target: Path) -> None:
        self._turn("link", target)
        super().link(path, target)

    def touch(self, path: Path) -> None:
        self._turn("touch" if path.exists() else "touch nothing", path)
        super().touch(path)

    def unlink(self, path: Path) -> None:
        if self.dead:
            return  # what would have been tidied up stays behind
        self._turn("unlink", path)
        super().unlink(path)


class Process:
    """Somebody at work on a workspace, call by call."""

    def __init__(self, root: Path, work: Callable[[Workspace], object]) -> None:
        self.disk, self.problem, self.ended = TurnsDisk(), "", False

        def body() -> None:
            self.disk.go.acquire()
            try:
                files = LocalFiles(root, self.disk)
                work(Workspace(str(root), root, files))
            except ZooError as error:
                self.problem = str(error)
            except Killed:
                pass
            except Exception as error:
                self.problem = f"TRACEBACK {type(error).__name__}: {error}"
            self.ended = True
            self.disk.stands.release()

        threading.Thread(target=body, daemon=True).start()

    def go(self, until: int = _NEVER) -> None:
        """Go on until so many calls are made, or to the end."""
        self.disk.until = until
        if not self.ended and len(self.disk.calls) < until:
            self.disk.go.release()
            self.disk.stands.acquire()

    def die(self) -> None:
        self.disk.dead = True
        self.go()


@dataclass
class Outcome:
    """What became of one schedule. ``violations`` is empty if all is well."""

    violations: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    first: list[tuple[str, Path]] = field(default_factory=list)
    other: list[tuple[str, Path]] = field(default_factory=list)


def small_shards() -> None:
    """Two shards of a hundred examples: the calls are the same, the bytes fewer."""
    answers.SMALL_SHARD, answers.LARGE_SHARD = 64, 16


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A folder in memory where there is one: a schedule is thousands of small files."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    return tempfile.TemporaryDirectory(prefix="zoo-two-", dir=memory if usable else None)


def beginning(root: Path, mode: str) -> None:
    """The workspace before the first call: empty, or as a writer left it that was killed."""
    LocalFiles(root).publish(MARKER, MARKER_BYTES)
    if mode == "collector":
        tell(Workspace.open(root))
        for record in (root / "commits").glob("[act]*/*.json"):  # answers, checkpoints, trainings
            record.unlink()
        two_days_pass(root)


def two_days_pass(root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime - _TWO_DAYS
            os.utime(path, (then, then))


def run(mode: str, i: int, j: int, start: Path, root: Path) -> Outcome:
    """Run the schedule of a pair in a copy of ``start`` that is made at ``root``."""
    shutil.copytree(start, root)
    first = Process(root, tell)
    author = 1 if mode == "zombie" else 0
    again = functools.partial(tell, author=author)
    other = Process(root, gc.collect if mode == "collector" else again)
    kept = _Kept(root)
    first.go(i)
    other.go(j)
    kept.look()
    if mode == "crash":
        other.die()
        first.go()
    elif mode == "zombie":
        first.go()
        kept.look()
        other.go()
    elif mode == "gc":
        two_days_pass(root)
        gc.collect(Workspace.open(root))
        other.go()
        kept.look()
        first.go()
    else:
        first.go()
        kept.look()
        other.go()
    found = Outcome(said=[p.problem for p in (first, other) if p.problem])
    found.first, found.other = first.disk.calls, other.disk.calls
    found.violations += [problem for problem in found.said if problem.startswith("TRACEBACK")]
    found.violations += kept.changed()
    found.violations += map(str, fsck.check(Workspace.open(root), "full"))
    if not found.violations and _unseen(root):
        try:
            tell(Workspace.open(root))
        except StoreError as error:
            found.violations.append(f"the same command again fails: {error}")
        found.violations += map(str, fsck.check(Workspace.open(root), "semantic"))
        whole = Workspace.open(root)
        if len(whole.commits.keys("answers")) != 1 or len(whole.commits.keys("training")) != 2:
            found.violations.append("the same command again leaves something undone")
    shutil.rmtree(root)
    return found


class _Kept:
    """The files that records named when somebody looked."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: dict[Path, bytes] = {}

    def look(self) -> None:
        space = Workspace.open(self._root)
        for record in (self._root / "commits").glob("*/*.json"):
            self._seen.setdefault(record, record.read_bytes())
            name = record.relative_to(self._root).as_posix()
            for ref in space.commits.read_fresh(name).files:
                path = self._root / ref.path
                if path.exists():  # or fsck says so in the end
                    self._seen.setdefault(path, path.read_bytes())

    def changed(self) -> list[str]:
        return [
            f"{path.relative_to(self._root)} was committed and has changed"
            for path, data in self._seen.items()
            if not path.exists() or path.read_bytes() != data
        ]


_KNOWN: set[str] = set()


def _unseen(root: Path) -> bool:
    """Whether no schedule before has ended with the same files (records: but for who made them
    when), of which it is known what the same command makes."""
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        if not path.name.startswith(TEMPORARY):
            own = b"" if path.suffix == ".json" else path.read_bytes()
            digest.update(f"{path.relative_to(root)} {len(own)}".encode() + own)
    new = digest.hexdigest() not in _KNOWN
    _KNOWN.add(digest.hexdigest())
    return new


# ---------------------------------------------------------------- which schedules


def _public(call: tuple[str, Path], collected: bool) -> bool:
    """Whether others can see that a call was made. A collector sees unfinished files too."""
    kind, path = call
    if kind in ("sync", "mkdir", "touch nothing"):
        return False
    if kind in ("write", "unlink") and path.name.startswith(TEMPORARY):
        return collected and kind == "write"
    return kind != "touch" or collected


def _classes(calls: list[tuple[str, Path]], mode: str) -> list[int]:
    """Of the numbers of calls after which one may stand, one of each class."""
    collected = mode in ("gc", "collector")
    return [0, *(n for n, call in enumerate(calls, 1) if _public(call, collected))]


def _calls_of_a_story(start: Path, root: Path) -> list[tuple[str, Path]]:
    return run("crash", _NEVER, 0, start, root).first


@dataclass
class Row:
    """All schedules of one class of places of the first. ``pairs``: how many (i, j) they stand for;
    ``bad``: j and what was violated."""

    mode: str
    i: int
    pairs: int
    schedules: int
    bad: list[tuple[int, str]]


def _row(job: tuple[str, int, int, str]) -> Row:
    mode, i, alike, start = job
    small_shards()
    with scratch() as folder:
        root = Path(folder) / "store"
        calls = run(mode, i, _NEVER, Path(start), root).other
        places = _classes(calls, mode)
        bad = [
            (j, violation)
            for j in places
            for violation in run(mode, i, j, Path(start), root).violations
        ]
    return Row(mode, i, alike * (len(calls) + 1), len(places), bad)


def every_pair(modes: Sequence[str], jobs: int) -> Iterator[Row]:
    """Every schedule that differs from the others, in so many processes."""
    small_shards()
    with scratch() as folder, multiprocessing.get_context("spawn").Pool(jobs) as pool:
        work = []
        for mode in modes:
            start = Path(folder) / mode
            beginning(start, mode)
            calls = _calls_of_a_story(start, Path(folder) / "store")
            places = [*_classes(calls, mode), len(calls) + 1]
            work += [(mode, i, after - i, str(start)) for i, after in itertools.pairwise(places)]
        yield from pool.imap_unordered(_row, work)


def sampled(seed: int, of_each: int) -> Iterator[tuple[str, int, int, Outcome]]:
    """So many random pairs of each mode, run as they are, without classes."""
    draw = random.Random(seed)
    with scratch() as folder:
        for mode in MODES:
            start, root = Path(folder) / mode, Path(folder) / "store"
            beginning(start, mode)
            first = len(_calls_of_a_story(start, root))
            other = len(run(mode, 0, _NEVER, start, root).other)
            for _ in range(of_each):
                i, j = draw.randint(0, first), draw.randint(0, other)
                yield mode, i, j, run(mode, i, j, start, root)


def main() -> int:
    """``python -m tests.store.two_writers``: all pairs, or one of them with all its calls."""
    parser = argparse.ArgumentParser(description="two writers at every pair of their calls")
    parser.add_argument("--mode", choices=MODES, help="only this one")
    parser.add_argument("--pair", help="only this schedule, as I,J; needs --mode")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    if asked.pair and not asked.mode:
        parser.error("--pair needs --mode")
    return _one(asked.mode, asked.pair) if asked.pair else _all(asked.mode, asked.jobs)


def _one(mode: str, pair: str) -> int:
    i, j = map(int, pair.split(","))
    small_shards()
    with scratch() as folder:
        start = Path(folder) / "start"
        beginning(start, mode)
        found = run(mode, i, j, start, Path(folder) / "store")
    for who, calls, at in (("first", found.first, i), ("other", found.other, j)):
        for number, (kind, path) in enumerate(calls, 1):
            _say(f"{who} {number:4d} {kind:14s}{path.name}{'  <- stands' * (number == at)}")
    _say(*found.said, *found.violations or ["no violation"])
    return bool(found.violations)


def _all(mode: str | None, jobs: int) -> int:
    begun = time.monotonic()
    totals: dict[str, list[int]] = {}
    for row in every_pair(MODES if mode is None else (mode,), jobs):
        total = totals.setdefault(row.mode, [0, 0, 0])
        for place, count in enumerate((row.pairs, row.schedules, len(row.bad))):
            total[place] += count
        for j, violation in row.bad:
            _say(f"VIOLATION --mode {row.mode} --pair {row.i},{j}: {violation}")
    for name, (pairs, schedules, bad) in totals.items():
        _say(f"{name}: {pairs} pairs by {schedules} schedules, {bad} violations")
    _say(f"{time.monotonic() - begun:.0f} s, {jobs} processes")
    return any(bad for _, _, bad in totals.values())


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
