"""The only door to storage: every byte of a workspace is written, read and removed through here.

Rules, each from a measured failure (docs/ARCHITECTURE.md, "The store"):

- a file is written under a temporary name *in the same folder*, hashed, fsynced and renamed to a
  name that contains its hash;
- what makes it visible is a record created if absent (``os.link``), so of two writers exactly one
  wins;
- nothing that was published is ever written again. Derived tables (``results/``, ``figures/``) are
  replaced as a whole, atomically.

``Files`` is what the rest of zoo sees; ``LocalFiles`` keeps a workspace in a folder (local or NFS),
    ``zoo.store.s3.S3Files`` in a bucket.
``Disk`` holds the few calls that change a file system; the fault tests put one in its place that
    fails, or dies, at the N-th call.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from zoo.errors import StoreError

__all__ = ["TEMPORARY", "Disk", "FileRef", "Files", "LocalFiles", "attempt_id", "sha256_of"]

TEMPORARY = ".tmp-"
"""Prefix of unfinished files. Readers and listings pass over them; ``zoo gc`` removes old ones."""

_FOLDER_RETRIES = 8

_ATTEMPT: dict[int, str] = {}

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


def attempt_id() -> str:
    """Names this process in temporary files and diagnosis: host, pid and a random part. Never used
    to decide anything."""
    pid = os.getpid()
    if pid not in _ATTEMPT:
        _ATTEMPT[pid] = f"{socket.gethostname()}-{pid}-{secrets.token_hex(4)}"
    return _ATTEMPT[pid]


def sha256_of(path: Path) -> str:
    """sha256 of a file's content, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class FileRef:
    """An immutable file of the store: path relative to the workspace, size in bytes, sha256
    (hex)."""

    path: str
    bytes: int
    sha256: str

    def as_json(self) -> dict[str, str | int]:
        return asdict(self)


class Files(ABC):
    """Storage of one workspace. All paths are relative to its root, with forward slashes.

    Raises:
        StoreError: when the storage refuses (full, read-only, no permission, out of reach), naming
            the place and what to do.
    """

    @abstractmethod
    def where(self, relative: str) -> str:
        """The full place of a file, for messages."""

    @abstractmethod
    def exists(self, relative: str) -> bool: ...

    @abstractmethod
    def size(self, relative: str) -> int:
        """Bytes of a file that exists."""

    @abstractmethod
    def age(self, relative: str) -> float:
        """Seconds since a file was written, by the storage's own clock (a probe written just now is
        its zero)."""

    @abstractmethod
    def stamp(self, relative: str) -> str | None:
        """When a file was last written or touched, in the storage's own words: equal stamps =
        nobody has touched it since. None if it is gone."""

    @abstractmethod
    def touch(self, relative: str) -> bool:
        """Give a file a new stamp, so that ``discard`` leaves it: a part that is about to be used
        again. False if it is gone."""

    @abstractmethod
    def hold(self, relative: str) -> bool:
        """Whether a file is there that a record names just now. From then on no collector takes it
        away that had listed it before it was named, as far as the storage can promise that."""

    @abstractmethod
    def read(self, relative: str) -> bytes: ...

    @abstractmethod
    def digest(self, relative: str) -> str:
        """sha256 of what the storage holds now (not of a cached copy), hex."""

    @abstractmethod
    def local(self, relative: str) -> Path:
        """A path on this machine with the file's content, to be read or mapped, never written."""

    @abstractmethod
    def names(self, folder: str, *, temporary: bool = False) -> list[str]:
        """Names of the files and folders in a folder, sorted; empty if there is none. Unfinished
        files only if ``temporary``."""

    @abstractmethod
    def seal(self, folder: str, stem: str, suffix: str, write: Callable[[Path], None]) -> FileRef:
        """Write an immutable file ``<folder>/<stem>-<sha16><suffix>``; an equal file that is there
        already is kept, with a new stamp.

        Args:
            write: called with a temporary path; must create and close the file.
        """

    @abstractmethod
    def publish(self, relative: str, data: bytes) -> bool:
        """Create a file if absent: True if this call made it visible, False if it was there already
        (then it is untouched)."""

    @abstractmethod
    def replace(self, relative: str, data: bytes) -> None:
        """Write a derived file (table, figure, report) as a whole: readers see the old content or
        the new, nothing between."""

    @abstractmethod
    def remove(self, relative: str) -> None:
        """Remove a file; gone already is fine."""

    @abstractmethod
    def discard(self, relative: str, stamp: str) -> bool:
        """Remove a file that has still this stamp; False if somebody has touched or removed it
        since, then it is left alone."""

    @abstractmethod
    def move(self, relative: str, target: str) -> None:
        """Move a file aside (to quarantine)."""

    def together(self, call: Callable[[_Item], _Found], items: Iterable[_Item]) -> Iterator[_Found]:
        """What ``call`` gives for each item, in order; ``call`` asks this storage something.

        A storage that is far away is asked side by side, and ahead of the reader. Here: one after
        the other, each when its turn comes.
        """
        return map(call, items)

    def remove_folder(self, folder: str) -> None:
        """Remove the finished files of a folder, and the folder where the storage has such a thing
        and nothing else is in it.

        Unfinished files stay: they may be those of another process, which would break off without
            them.
        """
        for name in self.names(folder):
            self.remove(f"{folder}/{name}")

    def read_verified(self, ref: FileRef) -> bytes:
        """Content of a published file, after comparing its size and sha256 with the record.

        Raises:
            StoreError: if the file is missing or differs from its record.
        """
        if not self.exists(ref.path):
            raise StoreError(
                f"{self.where(ref.path)} is missing although a commit names it. Remove nothing by"
                " hand; 'zoo fsck --repair' makes it be redone."
            )
        data = self.read(ref.path)
        digest = hashlib.sha256(data).hexdigest()
        if len(data) != ref.bytes or digest != ref.sha256:
            raise StoreError(
                f"{self.where(ref.path)} is damaged: {len(data)} bytes with sha256 {digest[:16]},"
                f" its commit says {ref.bytes} bytes with {ref.sha256[:16]}. Restore the file, or"
                " set it aside with 'zoo fsck --repair'."
            )
        return data


class Disk:
    """The calls that change a file system, one method each."""

    def mkdir(self, folder: Path) -> None:
        """Create a folder and its parents; a new name in a folder is durable only once that folder
        is synced."""
        while not folder.is_dir():
            self.mkdir(folder.parent)
            try:
                folder.mkdir(exist_ok=True)
            except FileExistsError:
                # A file, or a link to nothing; or made and removed by another process meanwhile.
                if os.path.lexists(folder) and not folder.is_dir():
                    raise
                continue
            self.sync(folder.parent)

    def write(self, path: Path, write: Callable[[Path], None]) -> None:
        write(path)

    def sync(self, path: Path) -> None:
        """fsync of a file or a folder."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, path: Path, target: Path) -> None:
        path.replace(target)

    def link(self, path: Path, target: Path) -> None:
        os.link(path, target)

    def touch(self, path: Path) -> None:
        """Modified now, by the clock of the file system."""
        os.utime(path)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)


class LocalFiles(Files):
    """A workspace in a folder, local or on a network file system."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root = root
        self._disk = disk or Disk()

    def path(self, relative: str) -> Path:
        return self.root / relative

    def where(self, relative: str) -> str:
        return str(self.path(relative))

    def digest(self, relative: str) -> str:
        with self._storage("read", relative):
            return sha256_of(self.path(relative))

    def local(self, relative: str) -> Path:
        return self.path(relative)

    def exists(self, relative: str) -> bool:
        return self.path(relative).exists()

    def size(self, relative: str) -> int:
        return self.path(relative).stat().st_size

    def age(self, relative: str) -> float:
        probe = self.path(f"{TEMPORARY}{attempt_id()}-clock")
        with self._storage("write", probe.name):
            probe.touch()
            now = probe.stat().st_mtime
            probe.unlink()
        return now - self.path(relative).stat().st_mtime

    def stamp(self, relative: str) -> str | None:
        try:
            found = self.path(relative).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return f"{found.st_ino}-{found.st_mtime_ns}"

    def touch(self, relative: str) -> bool:
        with self._storage("write", relative):
            try:
                before = self.path(relative).stat().st_mtime_ns
                self._disk.touch(self.path(relative))
                # clocks of file systems tick every few milliseconds
                if self.path(relative).stat().st_mtime_ns == before:
                    os.utime(self.path(relative), ns=(before, before + 1))
            except FileNotFoundError:
                return False
        return True

    def hold(self, relative: str) -> bool:
        try:
            return self.touch(relative)
        except StoreError as error:
            if not isinstance(error.__cause__, PermissionError):
                raise
            return self.exists(relative)  # of another user, whose files this one may read

    def read(self, relative: str) -> bytes:
        with self._storage("read", relative):
            return self.path(relative).read_bytes()

    def names(self, folder: str, *, temporary: bool = False) -> list[str]:
        try:
            return sorted(
                path.name
                for path in self.path(folder).iterdir()
                if temporary or not path.name.startswith(TEMPORARY)
            )
        except (FileNotFoundError, NotADirectoryError):
            return []

    def seal(self, folder: str, stem: str, suffix: str, write: Callable[[Path], None]) -> FileRef:
        where = self.path(folder)
        with self._temporary("write", f"{folder}/{stem}{suffix}", where, suffix) as temporary:
            self._write(temporary, write)
            digest = sha256_of(temporary)
            ref = FileRef(
                f"{folder}/{stem}-{digest[:16]}{suffix}", temporary.stat().st_size, digest
            )
            # Touched before it is looked at: from then on no collector takes it away.
            if not (self.touch(ref.path) and self._holds(ref)):
                self._disk.sync(temporary)
                self._disk.rename(temporary, self.path(ref.path))
            # Also for a file that was there: whoever renamed it may not have lived to sync the
            #     folder.
            # a folder of scratch, which another process has removed with all that is in it
            with contextlib.suppress(FileNotFoundError):
                self._disk.sync(where)
        return ref

    def _holds(self, ref: FileRef) -> bool:
        """Whether a file is there with exactly this content."""
        path = self.path(ref.path)
        try:
            return path.stat().st_size == ref.bytes and sha256_of(path) == ref.sha256
        except FileNotFoundError:
            return False

    def _write(self, temporary: Path, write: Callable[[Path], None]) -> None:
        """Write a temporary file; its folder may be gone again, if another process found it empty
        and removed it."""
        for _ in range(_FOLDER_RETRIES):
            try:
                self._disk.write(temporary, write)
            except FileNotFoundError:
                self._disk.mkdir(temporary.parent)
            else:
                return
        self._disk.write(temporary, write)

    def publish(self, relative: str, data: bytes) -> bool:
        final = self.path(relative)
        with self._temporary("write", relative, final.parent) as temporary:
            self._write(temporary, lambda path: _write_bytes(path, data))
            self._disk.sync(temporary)
            try:
                self._disk.link(temporary, final)
                made = True
            except FileExistsError:
                # Over NFS a repeated request may report failure after its own success: then both
                # names are one file.
                made = temporary.stat().st_nlink == 2
            self._disk.sync(final.parent)
            return made

    def replace(self, relative: str, data: bytes) -> None:
        final = self.path(relative)
        with self._temporary("write", relative, final.parent) as temporary:
            self._write(temporary, lambda path: _write_bytes(path, data))
            self._disk.sync(temporary)
            self._disk.rename(temporary, final)

    def remove(self, relative: str) -> None:
        with self._storage("remove", relative):
            self._disk.unlink(self.path(relative))

    def discard(self, relative: str, stamp: str) -> bool:
        path = self.path(relative)
        aside = path.parent / f"{TEMPORARY}{attempt_id()}-{secrets.token_hex(4)}-discarded"
        with self._storage("remove", relative):
            if self.stamp(relative) != stamp:
                return False
            # Taken out of everybody's reach first and looked at again there: whoever touched it in
            # between has it back, whoever comes later does not find it. A stamp survives a rename.
            try:
                self._disk.rename(path, aside)
            except FileNotFoundError:
                return False
            if self.stamp(aside.relative_to(self.root).as_posix()) == stamp:
                self._disk.unlink(aside)
                return True
            # written again meanwhile; a name stands for its content, so that will do
            with contextlib.suppress(FileExistsError):
                self._disk.link(aside, path)
            self._disk.unlink(aside)
            return False

    def move(self, relative: str, target: str) -> None:
        with self._storage("move", relative):
            self._disk.mkdir(self.path(target).parent)
            self._disk.rename(self.path(relative), self.path(target))

    def remove_folder(self, folder: str) -> None:
        super().remove_folder(folder)
        # gone, or not empty because another process writes there
        with contextlib.suppress(OSError):
            self.path(folder).rmdir()

    @contextlib.contextmanager
    def _temporary(
        self, verb: str, relative: str, folder: Path, suffix: str = ""
    ) -> Iterator[Path]:
        """A temporary path in a folder; whatever happens, it is gone afterwards."""
        temporary = folder / f"{TEMPORARY}{attempt_id()}-{secrets.token_hex(4)}{suffix}"
        with self._storage(verb, relative):
            self._disk.mkdir(folder)
            try:
                yield temporary
            finally:
                self._disk.unlink(temporary)

    @contextlib.contextmanager
    def _storage(self, verb: str, relative: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(self._explain(verb, relative, error)) from error

    def _explain(self, verb: str, relative: str, error: OSError) -> str:
        what = f"cannot {verb} {self.path(relative)}: {error.strerror or error}."
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(self.root).free if self.root.exists() else 0
            return (
                f"{what} Free space there: {free / 1e6:.1f} MB. Nothing committed is lost: make"
                " room and run the same command again."
            )
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return (
                f"{what} The workspace must be writable: change its permissions or choose another"
                " with --workspace DIR."
            )
        return (
            f"{what} Nothing committed is lost: run the same command again once the cause is gone."
        )


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)
