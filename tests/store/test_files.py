"""The only door to storage: sealed files, create-if-absent, whole replacement, and what it says
when storage refuses."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import StoreError
from zoo.store import files as module
from zoo.store.files import FileRef, LocalFiles, attempt_id, sha256_of


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(tmp_path)


def writes(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def all_files(files: LocalFiles) -> list[str]:
    """Every file under the root, temporary ones too."""
    return sorted(
        path.relative_to(files.root).as_posix() for path in files.root.rglob("*") if path.is_file()
    )


# ---------------------------------------------------------------- sealed files


def test_a_sealed_file_is_named_by_its_content(files: LocalFiles) -> None:
    """Folder, stem, first 16 hex digits of the sha256, suffix; size and full hash in the
    reference."""
    digest = hashlib.sha256(b"content").hexdigest()
    ref = files.seal("a/b", "stem", ".bin", writes(b"content"))
    assert ref == FileRef(f"a/b/stem-{digest[:16]}.bin", 7, digest)
    assert all_files(files) == [ref.path]
    assert files.read_verified(ref) == b"content"
    assert sha256_of(files.path(ref.path)) == digest


def test_an_equal_file_is_kept_as_it_is(files: LocalFiles) -> None:
    """Sealing the same content twice keeps the first file, under a new stamp: whoever collects
    garbage sees that it is needed again."""
    first = files.seal("a", "stem", ".bin", writes(b"content"))
    before, stamp = files.path(first.path).stat(), files.stamp(first.path)
    assert files.seal("a", "stem", ".bin", writes(b"content")) == first
    assert files.path(first.path).stat().st_ino == before.st_ino
    assert files.stamp(first.path) != stamp


def test_a_damaged_file_of_the_same_name_is_replaced(files: LocalFiles) -> None:
    """A file that bears the name but not the content (flipped, same size; or cut) is written
    again."""
    ref = files.seal("a", "stem", ".bin", writes(b"content"))
    for damaged in (b"c0ntent", b"con"):
        files.path(ref.path).write_bytes(damaged)
        assert files.seal("a", "stem", ".bin", writes(b"content")) == ref
        assert files.read_verified(ref) == b"content"


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("bug"), KeyboardInterrupt()],
)
def test_a_writer_that_breaks_off_leaves_nothing(files: LocalFiles, error: BaseException) -> None:
    """Whatever goes wrong half-way, no file is left, neither under its name nor under a temporary
    one."""

    def breaks(path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    with pytest.raises(StoreError if isinstance(error, OSError) else type(error)):
        files.seal("a", "stem", ".bin", breaks)
    assert all_files(files) == []


def test_a_temporary_file_is_invisible_while_it_is_written(files: LocalFiles) -> None:
    """Seen from inside the writer: the folder lists nothing, and the temporary file lies in the
    same folder."""
    seen: list[object] = []

    def looks(path: Path) -> None:
        path.write_bytes(b"x")
        seen.extend([files.names("a"), path.parent == files.path("a"), path.suffix])

    files.seal("a", "stem", ".bin", looks)
    assert seen == [[], True, ".bin"]


def test_temporary_files_of_the_dead_are_invisible(files: LocalFiles) -> None:
    """What a killed writer left is not listed."""
    files.seal("a", "stem", ".bin", writes(b"x"))
    files.path("a/.tmp-host-1-dead-beef.bin").write_bytes(b"half")
    assert len(files.names("a")) == 1
    assert files.names("a")[0].startswith("stem-")


def test_a_folder_that_another_process_makes_and_removes_is_made(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when it was to be made, and gone when it was looked at. A file in its place is
    an error."""
    make, met = Path.mkdir, []

    def mkdir(self: Path, *args: int, **kwargs: bool) -> None:
        if not met:
            met.append(self)
            raise FileExistsError(errno.EEXIST, "File exists")
        make(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    files.replace("folder/note", b"here")
    assert met == [files.root / "folder"]
    assert files.read("folder/note") == b"here"
    with pytest.raises(StoreError, match="folder/note"):
        files.replace("folder/note/more", b"nowhere")


def test_names_are_sorted_and_an_absent_folder_is_empty(files: LocalFiles) -> None:
    for name in ("b", "a", "c"):
        files.replace(f"folder/{name}", b"")
    assert files.names("folder") == ["a", "b", "c"]
    assert files.names("nowhere") == []


@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "missing"])
def test_a_published_file_is_verified_when_read(files: LocalFiles, damage: str) -> None:
    """Size and hash are compared with the record; a difference names both, a missing file says what
    to do."""
    ref = files.seal("a", "stem", ".bin", writes(b"content"))
    path = files.path(ref.path)
    if damage == "missing":
        path.unlink()
        with pytest.raises(
            StoreError,
            match=r"stem-.* is missing although a commit names it\. Remove nothing by hand",
        ):
            files.read_verified(ref)
        return
    path.write_bytes({"flipped": b"conTent", "cut": b"cont", "longer": b"content "}[damage])
    with pytest.raises(
        StoreError,
        match=rf"is damaged: \d bytes with sha256 .*its commit says 7 bytes with {ref.sha256[:16]}",
    ):
        files.read_verified(ref)


# ---------------------------------------------------------------- create if absent


def test_publish_creates_once_and_never_overwrites(files: LocalFiles) -> None:
    """The first call makes the file, the second leaves it untouched and says so."""
    assert files.publish("commits/x.json", b"first")
    before = files.path("commits/x.json").stat()
    assert not files.publish("commits/x.json", b"second")
    after = files.path("commits/x.json").stat()
    assert files.read("commits/x.json") == b"first"
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert all_files(files) == ["commits/x.json"]


def test_a_repeated_request_that_had_succeeded_counts_as_success(
    files: LocalFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a network the link may be made and the answer lost; the repeat then fails although this
    call won."""
    link = os.link

    def answer_lost(source: Path, target: Path) -> None:
        link(source, target)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(module.os, "link", answer_lost)
    assert files.publish("x", b"mine")
    assert files.read("x") == b"mine"


def test_of_many_threads_one_publishes(tmp_path: Path) -> None:
    """Sixteen threads at one name, fifty times: one winner each time, and the content is the
    winner's."""
    files = LocalFiles(tmp_path)
    for trial in range(50):
        gate, won = threading.Barrier(16), []

        def race(
            me: int, trial: int = trial, gate: threading.Barrier = gate, won: list[int] = won
        ) -> None:
            gate.wait()
            if files.publish(f"race/{trial}", str(me).encode()):
                won.append(me)

        threads = [threading.Thread(target=race, args=(me,)) for me in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert files.read(f"race/{trial}") == str(won[0]).encode()
    assert files.names("race") == sorted(str(trial) for trial in range(50))
    assert len(all_files(files)) == 50


def _publish_all(root: str, me: int, count: int, gate: object, results: object) -> None:
    files = LocalFiles(Path(root))
    gate.wait()  # type: ignore[attr-defined]
    results.put(
        (me, [trial for trial in range(count) if files.publish(f"race/{trial}", str(me).encode())])
    )  # type: ignore[attr-defined]


def test_of_many_processes_one_publishes(tmp_path: Path) -> None:
    """Four processes at the same hundred names: each name has one winner, whose content it
    holds."""
    context = multiprocessing.get_context("spawn")
    gate, results = context.Barrier(4), context.Queue()
    workers = [
        context.Process(target=_publish_all, args=(str(tmp_path), me, 100, gate, results))
        for me in range(4)
    ]
    for worker in workers:
        worker.start()
    found = dict(results.get(timeout=500) for _ in workers)
    for worker in workers:
        worker.join(timeout=500)
        assert worker.exitcode == 0
    assert sorted(trial for trials in found.values() for trial in trials) == list(range(100))
    files = LocalFiles(tmp_path)
    for me, trials in found.items():
        assert all(files.read(f"race/{trial}") == str(me).encode() for trial in trials)


def test_a_rename_would_not_do(tmp_path: Path) -> None:
    """Twin of the races: publishing by rename lets the second writer overwrite the first, which the
    same check sees."""
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "two").write_bytes(b"2")
    for name in ("one", "two"):
        (tmp_path / name).replace(tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"2"


# ---------------------------------------------------------------- derived files


def test_replace_writes_a_whole_new_file(files: LocalFiles) -> None:
    """A reader that has the old file open keeps reading the old content; the name gives the new."""
    files.replace("results/t.csv", b"old content")
    with files.path("results/t.csv").open("rb") as reader:
        files.replace("results/t.csv", b"new")
        assert reader.read() == b"old content"
    assert files.read("results/t.csv") == b"new"
    assert all_files(files) == ["results/t.csv"]


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_the_last_replacement_counts(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]
) -> None:
    files = LocalFiles(tmp_path_factory.mktemp("files"))
    for content in contents:
        files.replace("x", content)
    assert files.read("x") == contents[-1]


def test_removing_what_is_gone_is_fine(files: LocalFiles) -> None:
    files.replace("scratch/x", b"")
    files.remove("scratch/x")
    files.remove("scratch/x")
    assert not files.exists("scratch/x")


# ---------------------------------------------------------------- storage that refuses


OPERATIONS: dict[str, Callable[[LocalFiles], object]] = {
    "seal": lambda files: files.seal("a", "stem", ".bin", writes(b"content")),
    "publish": lambda files: files.publish("a/x", b"content"),
    "replace": lambda files: files.replace("a/x", b"content"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("call", ["fsync", "write", "rename"])
@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (
            errno.ENOSPC,
            (
                r"No space left on device\. Free space there: [\d.]+ MB\. Nothing committed is"
                r" lost: make room and run"
            ),
        ),
        (errno.EDQUOT, r"Free space there: [\d.]+ MB"),
        (
            errno.EACCES,
            (
                r"Permission denied\. The workspace must be writable: change its permissions or"
                r" choose another with --workspace"
            ),
        ),
        (errno.EROFS, r"The workspace must be writable"),
        (
            errno.EIO,
            r"Nothing committed is lost: run the same command again once the cause is gone",
        ),
    ],
)
def test_storage_that_refuses_is_explained(
    files: LocalFiles,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    call: str,
    number: int,
    advice: str,
) -> None:
    """Full, over quota, forbidden, read-only, broken, at any of the calls: path, cause, what to do;
    and nothing is left behind."""

    def refuses(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    if call == "fsync":
        monkeypatch.setattr(module.os, "fsync", refuses)
    elif call == "write":
        monkeypatch.setattr(Path, "write_bytes", refuses)
    else:
        monkeypatch.setattr(Path, "replace", refuses)
        monkeypatch.setattr(module.os, "link", refuses)
    with pytest.raises(StoreError, match=advice) as caught:
        OPERATIONS[operation](files)
    assert str(caught.value).startswith(f"cannot write {files.root}/a/")
    monkeypatch.undo()
    assert not any(".tmp-" in name for name in all_files(files))
    OPERATIONS[operation](files)
    assert len(all_files(files)) == 1


def test_reading_what_is_not_there_is_explained(files: LocalFiles) -> None:
    with pytest.raises(
        StoreError, match=rf"^cannot read {files.root}/nothing: No such file or directory\."
    ):
        files.read("nothing")


def test_an_attempt_is_named_by_host_and_process() -> None:
    """Stable within a process, with its pid in the middle."""
    assert attempt_id() == attempt_id()
    assert f"-{os.getpid()}-" in attempt_id()
