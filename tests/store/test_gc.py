"""Garbage is what no record names and no living process may still need."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zoo.cli.main import app
from zoo.errors import StoreError
from zoo.store import fsck, gc
from zoo.store.heartbeat import heartbeat, living
from zoo.store.workspace import Workspace

DAY = 24 * 3600.0


def _litter(workspace: Workspace, age: float) -> list[str]:
    """Leftovers of writers that were stopped, ``age`` seconds old."""
    unit = next(iter((workspace.root / "answers").iterdir())).name
    training = next(iter(workspace.commits.all("training")))
    paths = [
        f"answers/{unit}/.tmp-host-1-abcd.parquet",
        f"answers/{unit}/shard-00009-of-00010-0123456789abcdef.parquet",
        "answers/0000000000000000/shard-00000-of-00001-0123456789abcdef.parquet",
        f"resume/{training}/e0001-0123456789abcdef.safetensors",
        f"attempts/{training}.json",
        "commits/plan/.tmp-host-1-ef",
    ]
    for relative in paths:
        path = workspace.root / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
        os.utime(path, (time.time() - age,) * 2)
    return sorted(paths)


def test_only_old_files_that_nothing_names_are_garbage(told: Workspace) -> None:
    """Every kind of leftover is found when it is a day old, none when it is fresh, and nothing that
    a record names ever."""
    assert gc.find(told, 0.0) == []
    paths = _litter(told, 2 * DAY)
    assert [item.path for item in gc.find(told)] == paths
    assert {item.bytes for item in gc.find(told)} == {5}
    assert gc.find(told, 3 * DAY) == []


def test_a_dry_run_removes_nothing_and_delete_removes_just_that(told: Workspace) -> None:
    """The command is a dry run by default; with --delete the leftovers go and the store stays
    whole."""
    paths = _litter(told, 2 * DAY)
    dry = CliRunner().invoke(app, ["gc", "-w", str(told.root)])
    assert dry.exit_code == 0
    assert "6 files" in dry.stdout
    assert all((told.root / path).exists() for path in paths)
    assert CliRunner().invoke(app, ["gc", "--delete", "-w", str(told.root)]).exit_code == 0
    assert not any((told.root / path).exists() for path in paths)
    assert fsck.check(Workspace.open(told.root), "semantic") == []


def test_scratch_and_notes_of_earlier_sweeps_go(told: Workspace) -> None:
    """Tune's scratch of an earlier zoo, whatever host it was on, and the note that a training was
    stopped once that training is done; a note of one that is not done stays."""
    done = next(iter(told.commits.keys("training")))
    for name in ("tune-0123456789ab-1-ff/sweep/state.json", f"{done}.stopped-host-1-aa"):
        (told.root / "attempts" / name).parent.mkdir(parents=True, exist_ok=True)
        (told.root / "attempts" / name).write_bytes(b"")
    (told.root / "attempts" / f"{'0' * 16}.stopped-host-1-aa").write_bytes(b"")
    for path in (told.root / "attempts").rglob("*"):
        os.utime(path, (time.time() - 2 * DAY,) * 2)
    assert {item.path.rpartition("/")[2]: item.reason for item in gc.find(told)} == {
        "state.json": "scratch of an earlier zoo",
        f"{done}.stopped-host-1-aa": "its training is done",
    }


def test_while_a_command_is_at_work_nothing_is_removed(told: Workspace) -> None:
    """A fresh heartbeat protects everything, however old; when it ends, or has grown old,
    collection goes on."""
    paths = _litter(told, 2 * DAY)
    with heartbeat(told), pytest.raises(StoreError, match="1 commands are at work"):
        gc.collect(told)
    assert all((told.root / path).exists() for path in paths)
    dead = told.root / "attempts" / "host-1-dead.alive"
    dead.write_bytes(b"")
    os.utime(dead, (time.time() - 2 * DAY,) * 2)
    assert living(told) == []
    assert len(gc.collect(told)) == len(paths) + 1


def test_the_clock_of_this_host_does_not_matter(
    told: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Age is measured against a file written just now to the same storage: a clock an hour (or a
    year) off changes nothing."""
    _litter(told, 2 * DAY)
    expected = gc.find(told)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 365 * DAY)
    assert gc.find(told) == expected


def test_files_in_unknown_places_are_left_alone(told: Workspace, tmp_path: Path) -> None:
    """A file that is not zoo's, beside zoo's folders, is nobody's garbage."""
    (told.root / "notes.txt").write_text("mine")
    (told.root / "mine").mkdir()
    (told.root / "mine" / "notes.txt").write_text("mine")
    for path in (told.root / "notes.txt", told.root / "mine" / "notes.txt"):
        os.utime(path, (time.time() - 9 * DAY,) * 2)
    assert gc.find(told) == []
