"""Image files in folders: which files belong to a data set, and reading them by example id.

Rules for a folder somebody downloaded:

- only regular files under the root count. A symbolic link is followed if it ends inside the root; one that leaves it, a broken one, a
  FIFO, a device, a socket or a loop is left out with a warning. A folder reached twice from one class is listed once.
- names starting with a dot are ignored without a word.
- a file with an image suffix is an example, readable or not; any other file is one only if its first bytes are those of an image. So a
  mislabelled text file is reported as unreadable, and a README is not an example.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import UnreadableImage

__all__ = ["FileSource", "ImageFile", "Notes", "image_files", "printable", "read_regular", "regular_files", "subfolders"]

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)
MAX_FILE_BYTES = 256 << 20
"""Larger files are unreadable: no picture under the pixel cap needs that much."""

_NO_FILES = "/"  # a suffix no name has: list folders, without a look at 50,000 files beside them
_MAX_DEPTH = 32
_MAX_WARNINGS = 20
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*")


@dataclass(frozen=True)
class ImageFile:
    """``relative``: path from the data set's root, as the file system spells it, with forward slashes. ``size`` in bytes."""

    relative: str
    size: int


@dataclass
class Notes:
    """Warnings of one listing, the first 20 in full and the rest counted."""

    texts: list[str] = field(default_factory=list)
    left_out: int = 0

    def add(self, text: str) -> None:
        if len(self.texts) < _MAX_WARNINGS:
            self.texts.append(text)
        else:
            self.left_out += 1

    def all(self) -> tuple[str, ...]:
        more = (f"and {self.left_out} more files or folders left out",) if self.left_out else ()
        return (*self.texts, *more)


def printable(path: str) -> str:
    """A path as text that can be written as UTF-8: undecodable bytes become ``\\xNN``. Keys and class names are spelled this way."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _resolved(entry: os.DirEntry[str], root: str, notes: Notes) -> os.stat_result | None:
    """What an entry leads to, or None (with a warning) if that is not allowed."""
    shown = printable(os.path.relpath(entry.path, root))
    try:
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            if os.path.commonpath([root, target]) != root:
                notes.add(f"{shown}: symbolic link that leaves the data set, left out")
                return None
            here = os.path.realpath(entry.path[: -len(entry.name)])
            if os.path.commonpath([target, here]) == target:  # followed, it would list other classes under this one
                notes.add(f"{shown}: symbolic link to a folder it lies in, left out")
                return None
        found = entry.stat()
    except OSError as error:  # broken or circular link, vanished file
        notes.add(f"{shown}: cannot be followed ({error.strerror}), left out")
        return None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        notes.add(f"{shown}: neither a file nor a folder (FIFO, socket or device), left out")
        return None
    return found


def _entries(folder: str, root: str, notes: Notes, suffix: str = "") -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    """Allowed entries of a folder in the order of their names as plain strings; of its files, those with the suffix."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted((entry for entry in listing if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        notes.add(f"{printable(os.path.relpath(folder, root))}: cannot be listed ({error.strerror}), left out")
        return
    for entry in entries:
        # Without a suffix asked for, everything is looked at; with one, 1.3 million other files cost their names only.
        if entry.name.endswith(suffix) or entry.is_dir():
            found = _resolved(entry, root, notes)
            if found is not None:
                yield entry, found


def subfolders(folder: Path, root: Path, notes: Notes) -> list[str]:
    """Names of the folders directly under ``folder``, sorted as plain strings. ``root``: the data set's resolved root."""
    listing = _entries(str(folder), str(root), notes, suffix=_NO_FILES)
    return [entry.name for entry, found in listing if stat.S_ISDIR(found.st_mode)]


def image_files(folder: Path, root: Path, notes: Notes, *, deep: bool = True) -> list[ImageFile]:
    """Image files under ``folder`` (with ``deep``, of all levels), sorted by relative path as plain strings.

    Args:
        folder: where to look; under root.
        root: the data set's root, resolved: links may not leave it, and paths are relative to it.
        notes: takes the warnings.
        deep: False = files directly in the folder only.
    """
    files: list[ImageFile] = []
    for entry, found in _walk(folder, root, notes, _MAX_DEPTH if deep else 0):
        relative = os.path.relpath(entry.path, root)
        if _is_image(entry.path):
            files.append(ImageFile(relative.replace(os.sep, "/"), found.st_size))
        else:
            notes.add(f"{printable(relative)}: not an image file, left out")
    return sorted(files, key=lambda file: file.relative)


def regular_files(root: Path, notes: Notes, *, suffix: str, depth: int) -> list[str]:
    """Paths relative to root, with forward slashes, of the files with a suffix down to a depth, sorted as plain strings."""
    found = _walk(root, root, notes, depth, suffix)
    return sorted(os.path.relpath(entry.path, root).replace(os.sep, "/") for entry, _ in found)


def _walk(folder: Path, root: Path, notes: Notes, depth: int, suffix: str = "") -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    """Regular files below a folder. Deeper than ``depth`` is left out; a folder reached twice is walked once."""
    seen: set[tuple[int, int]] = set()
    waiting = [(str(folder), 0)]
    while waiting:
        current, level = waiting.pop()
        for entry, found in _entries(current, str(root), notes, suffix):
            identity = (found.st_dev, found.st_ino)
            if not stat.S_ISDIR(found.st_mode):
                yield entry, found
            elif level < depth and identity not in seen:
                seen.add(identity)
                waiting.append((entry.path, level + 1))
            elif level >= _MAX_DEPTH:
                notes.add(f"{printable(os.path.relpath(entry.path, root))}: more than {_MAX_DEPTH} folders deep, left out")


def _is_image(path: str) -> bool:
    if "." + path.rpartition(".")[2].lower() in IMAGE_SUFFIXES:
        return True
    try:
        start = read_regular(path, 16)
    except UnreadableImage:
        return False
    return start.startswith(_MAGIC) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


def read_regular(path: str, limit: int | None = None) -> bytes:
    """Content (or the first ``limit`` bytes) of a regular file; never blocks on a FIFO put in its place.

    Raises:
        UnreadableImage: if it is gone, not a regular file, or larger than 256 MB.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise UnreadableImage(f"cannot be opened ({error.strerror})", lasting=False) from None
    try:
        # fdopen refuses a folder, and closes the descriptor in every case.
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise UnreadableImage("not a regular file")
            if limit is None and found.st_size > MAX_FILE_BYTES:
                raise UnreadableImage(f"{found.st_size:,} bytes, more than {MAX_FILE_BYTES:,}")
            return (file.read(limit) if limit is not None else file.readall()) or b""
    except OSError as error:
        raise UnreadableImage(f"cannot be read ({error.strerror})", lasting=False) from None


class FileSource:
    """One image file per example, read when asked for. Holds nothing but the relative paths."""

    def __init__(self, root: Path, files: list[ImageFile]) -> None:
        self._root = str(root)
        self._files = files

    def path(self, example_id: int) -> Path:
        """Where the file of an example is."""
        return Path(self._root) / self._files[example_id].relative

    def encoded(self, example_ids: NDArray[np.int64]) -> list[bytes]:
        return [read_regular(f"{self._root}/{self._files[i].relative}") for i in example_ids.tolist()]

    def content_digest(self) -> bytes:
        """Relative paths and sizes, not contents: 1.3 million files are listed in seconds and read in hours."""
        digest = hashlib.sha256()
        for file in self._files:
            digest.update(os.fsencode(file.relative) + b"\0%d\n" % file.size)
        return digest.digest()
