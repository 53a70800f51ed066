"""Two writers interleaved call by call: a sample of all pairs, and proof that a violation is seen.
``make chaos-store`` runs every pair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store import two_writers
from tests.store.two_writers import MODES, Outcome, beginning, run, sampled
from zoo.store import answers
from zoo.store.files import LocalFiles

SEED, OF_EACH = 20261126, 4


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SMALL_SHARD", "LARGE_SHARD"):
        monkeypatch.setattr(answers, name, getattr(answers, name))
    monkeypatch.setattr(two_writers, "_KNOWN", set())
    two_writers.small_shards()


@pytest.fixture
def place() -> Iterator[Path]:
    with two_writers.scratch() as folder:
        yield Path(folder)


def in_turn(mode: str, i: int, j: int, place: Path) -> Outcome:
    if not (place / mode).exists():
        beginning(place / mode, mode)
    return run(mode, i, j, place / mode, place / "store")


def before(folder: str, kind: str, place: Path, mode: str) -> int:
    """After how many calls one stands before the first call of a kind in a folder."""
    calls = in_turn(mode, 0, 1 << 30, place).other
    return next(
        at for at, (name, path) in enumerate(calls) if name == kind and path.parent.match(folder)
    )


def test_a_sample_of_all_pairs_leaves_a_whole_store() -> None:
    """Four of each mode, as they come; in each both did something or one found all done."""
    seen = set()
    for mode, i, j, found in sampled(SEED, OF_EACH):
        assert found.violations == [], f"--mode {mode} --pair {i},{j}, seed {SEED}"
        assert len(found.first) + len(found.other) > 40
        seen.add(mode)
    assert seen == set(MODES)


def test_a_schedule_is_the_same_whenever_it_is_run(place: Path) -> None:
    """The calls of both, by kind and folder."""
    runs = [in_turn("zombie", 40, 25, place) for _ in range(2)]
    calls = [[(kind, path.parent) for kind, path in (*one.first, *one.other)] for one in runs]
    assert calls[0] == calls[1]
    assert len(runs[0].first) > 40
    assert runs[0].first[:40] != runs[0].other[:40]


def test_a_record_that_is_written_again_is_caught(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store whose records are replaced and not created if absent: a writer that slept while
    another committed changes what that one has committed."""

    def replacing(files: LocalFiles, relative: str, data: bytes) -> bool:
        files.replace(relative, data)
        return True

    j = before("commits/checkpoint", "link", place, "zombie")
    assert in_turn("zombie", 0, j, place).violations == []
    monkeypatch.setattr(LocalFiles, "publish", replacing)
    changed = in_turn("zombie", 0, before("commits/checkpoint", "rename", place, "zombie"), place)
    assert any("was committed and has changed" in problem for problem in changed.violations)


def test_a_record_whose_files_went_before_it_came_is_caught(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer sleeps for two days between its last look and its record; a collector passes. It
    takes its record back and says so; without that second look the store has a hole."""
    j = before("commits/answers", "write", place, "gc")
    found = in_turn("gc", 0, j, place)
    assert found.violations == []
    assert "was removed before it was committed. Run the same command again" in found.said[0]
    monkeypatch.setattr(LocalFiles, "hold", lambda _files, _name: True)
    hole = in_turn("gc", 0, before("commits/answers", "write", place, "gc"), place)
    assert hole.violations
