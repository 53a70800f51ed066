"""The only door to storage: every byte of a workspace is written, read and removed through here.

Rules, each from a measured failure (docs/ARCHITECTURE.md, "The store"):

- a file is written under a temporary name *in the same folder*, hashed, fsynced and renamed to a name that contains its hash;
- what makes it visible is a record created if absent (``os.link``), so of two writers exactly one wins;
- nothing that was published is ever written again. Derived tables (``results/``, ``figures/``) are replaced as a whole, atomically.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from zoo.errors import StoreError

__all__ = ["FileRef", "LocalFiles", "attempt_id", "sha256_of"]

_TEMPORARY = ".tmp-"
_ATTEMPT: dict[int, str] = {}


def attempt_id() -> str:
    """Names this process in temporary files and diagnosis: host, pid and a random part. Never used to decide anything."""
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
    """An immutable file of the store: path relative to the workspace, size in bytes, sha256 (hex)."""

    path: str
    bytes: int
    sha256: str

    def as_json(self) -> dict[str, str | int]:
        return asdict(self)


class LocalFiles:
    """Storage on a local or network file system under ``root``. All paths are relative to it, with forward slashes.

    Raises:
        StoreError: when the storage refuses (full, read-only, no permission), naming the path and the free space.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, relative: str) -> Path:
        return self.root / relative

    def exists(self, relative: str) -> bool:
        return self.path(relative).exists()

    def read(self, relative: str) -> bytes:
        with self._storage("read", relative):
            return self.path(relative).read_bytes()

    def read_verified(self, ref: FileRef) -> bytes:
        """Content of a published file, after comparing its size and sha256 with the record.

        Raises:
            StoreError: if the file is missing or differs from its record.
        """
        if not self.exists(ref.path):
            raise StoreError(
                f"{self.path(ref.path)} is missing although a commit names it. Remove nothing by hand; refill with the same command."
            )
        data = self.read(ref.path)
        if len(data) != ref.bytes or hashlib.sha256(data).hexdigest() != ref.sha256:
            raise StoreError(
                f"{self.path(ref.path)} is damaged: {len(data)} bytes with sha256 {hashlib.sha256(data).hexdigest()[:16]}, "
                f"its commit says {ref.bytes} bytes with {ref.sha256[:16]}. Restore the file or move its commit aside and run the command again."
            )
        return data

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted, without temporary files; empty if there is no such folder."""
        try:
            return sorted(path.name for path in self.path(folder).iterdir() if not path.name.startswith(_TEMPORARY))
        except FileNotFoundError:
            return []

    def seal(self, folder: str, stem: str, suffix: str, write: Callable[[Path], None]) -> FileRef:
        """Write an immutable file ``<folder>/<stem>-<sha16><suffix>``; an equal file that is there already is kept as it is.

        Args:
            write: called with the temporary path; must create and close the file.
        """
        where = self.path(folder)
        temporary = where / f"{_TEMPORARY}{attempt_id()}-{secrets.token_hex(4)}{suffix}"
        with self._storage("write", f"{folder}/{stem}{suffix}"):
            where.mkdir(parents=True, exist_ok=True)
            try:
                write(temporary)
                digest = sha256_of(temporary)
                ref = FileRef(f"{folder}/{stem}-{digest[:16]}{suffix}", temporary.stat().st_size, digest)
                final = self.path(ref.path)
                if not (final.exists() and final.stat().st_size == ref.bytes and sha256_of(final) == digest):
                    _fsync(temporary)
                    temporary.replace(final)
                    _fsync(where)
            finally:
                temporary.unlink(missing_ok=True)
        return ref

    def publish(self, relative: str, data: bytes) -> bool:
        """Create a file if absent: True if this call made it visible, False if it was there already (then it is untouched)."""
        final = self.path(relative)
        temporary = final.with_name(f"{_TEMPORARY}{attempt_id()}-{secrets.token_hex(4)}")
        with self._storage("write", relative):
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(data)
                _fsync(temporary)
                try:
                    os.link(temporary, final)
                except FileExistsError:
                    # Over NFS a repeated request may report failure after its own success: then both names are one file.
                    return temporary.stat().st_nlink == 2
                _fsync(final.parent)
                return True
            finally:
                temporary.unlink(missing_ok=True)

    def replace(self, relative: str, data: bytes) -> Path:
        """Write a derived file (table, figure, report) as a whole: readers see the old content or the new, nothing between."""
        final = self.path(relative)
        temporary = final.with_name(f"{_TEMPORARY}{attempt_id()}-{secrets.token_hex(4)}")
        with self._storage("write", relative):
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(data)
                _fsync(temporary)
                temporary.replace(final)
            finally:
                temporary.unlink(missing_ok=True)
        return final

    def remove(self, relative: str) -> None:
        """Remove a scratch file; gone already is fine."""
        with self._storage("remove", relative):
            self.path(relative).unlink(missing_ok=True)

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
            return f"{what} Free space there: {free / 1e6:.1f} MB. Nothing committed is lost: make room and run the same command again."
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"{what} The workspace must be writable: change its permissions or choose another with --workspace DIR."
        return f"{what} Nothing committed is lost: run the same command again once the cause is gone."


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
