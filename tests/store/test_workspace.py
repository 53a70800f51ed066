"""A workspace: made once, verified when opened, never deleted to create."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from zoo.errors import NotFoundError, StoreError, UsageError
from zoo.store.commits import sealed_json
from zoo.store.workspace import MARKER, WORKSPACE_VERSION, Workspace


def test_a_new_workspace_holds_its_format_and_nothing_else(tmp_path: Path) -> None:
    """One file; opened again it is the same place, and the file is not touched."""
    root = tmp_path / "deep" / "zoo"
    Workspace.open(root, create=True)
    assert [path.name for path in root.iterdir()] == [MARKER]
    before = (root / MARKER).stat().st_mtime_ns
    for create in (False, True):
        assert Workspace.open(str(root), create=create).root == root
    assert (root / MARKER).stat().st_mtime_ns == before


def test_an_empty_folder_becomes_a_workspace(tmp_path: Path) -> None:
    assert Workspace.open(tmp_path, create=True).root == tmp_path
    assert (tmp_path / MARKER).exists()


def test_a_place_without_a_workspace_is_not_found(tmp_path: Path) -> None:
    """Asked to open, not to create: nothing is made, and the message says how to."""
    with pytest.raises(
        NotFoundError,
        match=(
            rf"^no workspace at {tmp_path}/none\. Make one with 'zoo demo', 'zoo train' or, .*'zoo"
            r" import'"
        ),
    ):
        Workspace.open(tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", ["folder with files", "file"])
def test_something_else_is_never_taken_over(tmp_path: Path, kind: str) -> None:
    """A folder with other things in it, or a file: refused, untouched."""
    place = tmp_path / "place"
    if kind == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "thesis.tex").write_text("mine")
    with pytest.raises(
        StoreError,
        match=r"place exists and is not a zoo workspace\. Choose a new or an empty folder",
    ):
        Workspace.open(place, create=True)
    assert (place if kind == "file" else place / "thesis.tex").read_text() == "mine"
    assert not (place / MARKER).exists()


def test_a_relative_path_and_the_home_folder_are_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Workspace.open("here", create=True).root == tmp_path / "here"
    assert Workspace.open("~/here").root == tmp_path / "here"


def test_an_unknown_kind_of_place_is_refused() -> None:
    with pytest.raises(UsageError, match=r"^workspace 'ftp://host/x': "):
        Workspace.open("ftp://host/x", create=True)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"not json", b'{"min_reader":"x"}', b"\xff", b"[]"]
)
def test_a_damaged_format_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Neither opened nor made new."""
    Workspace.open(tmp_path, create=True)
    (tmp_path / MARKER).write_bytes(content)
    for create in (False, True):
        with pytest.raises(StoreError, match=MARKER):
            Workspace.open(tmp_path, create=create)
    assert (tmp_path / MARKER).read_bytes() == content


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    """A workspace that says it needs a later reader; one that a later zoo wrote and this one may
    read is fine."""
    body = {
        "format": "zoo-workspace",
        "version": WORKSPACE_VERSION + 5,
        "min_reader": WORKSPACE_VERSION + 1,
    }
    (tmp_path / MARKER).write_text(sealed_json(body))
    with pytest.raises(
        StoreError,
        match=(
            rf"needs a zoo that reads workspace version {WORKSPACE_VERSION + 1}; this one reads"
            rf" {WORKSPACE_VERSION}\. Use a newer"
        ),
    ):
        Workspace.open(tmp_path)
    (tmp_path / MARKER).write_text(sealed_json({**body, "min_reader": WORKSPACE_VERSION}))
    Workspace.open(tmp_path)


def test_the_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    space = Workspace.open(tmp_path, create=True)
    space.check_writable()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != MARKER]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_an_unwritable_place_is_found_before_work_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Forbidden, read-only or full: creating and probing say so with the path."""
    space = Workspace.open(tmp_path / "old", create=True)

    def refuses(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", refuses)
    with pytest.raises(StoreError, match=rf"cannot write {tmp_path}/old/"):
        space.check_writable()
    with pytest.raises(StoreError, match=rf"cannot write {tmp_path}/new/{MARKER}"):
        Workspace.open(tmp_path / "new", create=True)


def test_two_commands_at_once_make_one_workspace(tmp_path: Path) -> None:
    """Twelve threads create the same workspace: all succeed, and the format file is whole."""
    gate, failed = threading.Barrier(12), []

    def create() -> None:
        gate.wait()
        try:
            Workspace.open(tmp_path / "zoo", create=True)
        except StoreError as error:
            failed.append(error)

    threads = [threading.Thread(target=create) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    Workspace.open(tmp_path / "zoo")
    assert [path.name for path in (tmp_path / "zoo").iterdir()] == [MARKER]


def test_every_path_is_inside(tmp_path: Path) -> None:
    space = Workspace.open(tmp_path, create=True)
    assert [
        p.relative_to(tmp_path).as_posix()
        for p in (space.cache, space.results, space.figures, space.report)
    ] == [
        "cache",
        "results",
        "figures",
        "report.html",
    ]
