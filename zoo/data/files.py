"""Image files in folders: which files belong to a data set, and reading them by example id.

Rules for a folder somebody downloaded:

- symbolic links are followed, wherever they lead, as torchvision and timm do: a data set may be a
  view made of links. A link to a folder it lies in is passed over, and a folder reached twice from
  one class is listed once. A broken link, a FIFO, a device or a socket is left out with a warning.
- folders that programs leave behind (``SYSTEM_FOLDERS``, and names starting with a dot) are passed
  over by name, with a note: the thumbnails in them are no examples.
- a file with an image suffix is an example, readable or not; any other file is one only if its
  first bytes are those of an image. So a mislabelled text file is reported as unreadable, and a
  README is not an example. A picture in a format that is not read is a warning.
- everything else in the folder is named by ``left_out``, a warning where it looks like pictures or
  data.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import UnreadableImage
from zoo.data.notes import Note, Notes

__all__ = [
    "EXPORTED",
    "EXPORTED_ROWS",
    "FileSource",
    "ImageFile",
    "files_of_export",
    "image_files",
    "left_out",
    "pictures_below",
    "printable",
    "read_regular",
    "regular_files",
    "subfolders",
]

EXPORTED: Final = "zoo-export.json"
"""In every folder that ``zoo export`` makes: what it is. Only a folder with this file is ever
replaced."""
EXPORTED_ROWS: Final = "manifest.csv"
"""Beside exported pictures: what each was."""

IMAGE_SUFFIXES = frozenset(
    {
        ".bmp",
        ".gif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    }
)
_CONVERT_TO = ("PNG", "JPEG")

MAX_FILE_BYTES = 256 << 20
"""Larger files are unreadable: no picture under the pixel cap needs that much."""

SYSTEM_FOLDERS = frozenset(
    {
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "__macosx",
        "__pycache__",
        "found.000",
        "lost+found",
        "system volume information",
    }
)
"""Folders of file servers, archivers and file systems, in lower case."""

_TOOL_FOLDERS = frozenset({".cache", ".git", ".github", ".idea", ".venv", ".vscode"})
"""Hidden folders nobody expects to be read; passed over without a word."""

_OTHER_PICTURES = frozenset(
    {
        ".avif",
        ".cr2",
        ".cr3",
        ".dcm",
        ".dng",
        ".eps",
        ".exr",
        ".hdr",
        ".heic",
        ".heif",
        ".ico",
        ".j2k",
        ".jp2",
        ".jxl",
        ".nef",
        ".psd",
    }
    | {".svg", ".tga"}
)
"""Suffixes of pictures in formats that are not read."""

_DATA_FILE = re.compile(
    r"\.parquet$|idx\d-ubyte(\.gz)?$|^data_batch_\d+$|^test_batch$", re.IGNORECASE
)
_DOCUMENTS = re.compile(
    r"\.(cff|html?|md|pdf|rst|txt)$|^(authors|citation|copying|licen[cs]e|notice|readme)\b|^thumbs\.db$|^desktop\.ini$",
    re.I,
)

_NO_FILES = "/"  # a suffix no name has: list folders, without a look at 50,000 files beside them
_MAX_DEPTH = 32
_MAX_COUNTED = 20_000  # files of one folder that is not read; enough to say how many there are
_MAGIC = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
)


@dataclass(frozen=True)
class ImageFile:
    """``relative``: path from the data set's root, as the file system spells it, with forward
    slashes. ``size`` in bytes."""

    relative: str
    size: int


def printable(path: str) -> str:
    """A path as text that can be written as UTF-8: undecodable bytes become ``\\xNN``. Keys and
    class names are spelled this way."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _place(path: str, root: str) -> str:
    """How a note names a path: relative to the data set."""
    return printable(os.path.relpath(path, root).replace(os.sep, "/"))


def _resolved(entry: os.DirEntry[str], root: str, notes: Notes) -> os.stat_result | None:
    """What an entry leads to, or None (with a note) if it leads to nothing that can be read."""
    try:
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            here = os.path.realpath(entry.path[: -len(entry.name)])
            # followed, it would list other classes under this one
            if os.path.commonpath([target, here]) == target:
                notes.add(
                    "note",
                    "link",
                    _place(entry.path, root),
                    "symbolic link to a folder it lies in, left out",
                )
                return None
            if os.path.commonpath([root, target]) == root:
                notes.linked.add(os.path.relpath(target, root).replace(os.sep, "/"))
        found = entry.stat()
    except OSError as error:  # broken or circular link, vanished file
        notes.add(
            "warning",
            "link",
            _place(entry.path, root),
            f"cannot be followed ({error.strerror}), left out",
        )
        return None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        reason = "neither a file nor a folder (FIFO, socket or device), left out"
        notes.add("warning", "special file", _place(entry.path, root), reason)
        return None
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether to look further into an entry; a link that leads in a circle is looked at, so that it
    is named."""
    try:
        return entry.is_dir()
    except OSError:
        return True


def _passed_over(entry: os.DirEntry[str], root: str, notes: Notes) -> bool:
    """Whether a name alone says that this is not part of a data set."""
    if entry.name.lower() in SYSTEM_FOLDERS and _is_folder(entry):
        notes.add(
            "note",
            "system folder",
            _place(entry.path, root),
            "a folder of the system's own, passed over by its name",
        )
        return True
    if not entry.name.startswith("."):
        return False
    if entry.name not in _TOOL_FOLDERS and (
        _suffix(entry.name) in IMAGE_SUFFIXES or _is_folder(entry)
    ):
        notes.add(
            "note",
            "hidden",
            _place(entry.path, root),
            "hidden (its name starts with a dot), passed over",
        )
    return True


def _entries(
    folder: str, root: str, notes: Notes, suffix: str = ""
) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    """Allowed entries of a folder in the order of their names as plain strings; of its files, those
    with the suffix."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        notes.add(
            "warning",
            "unreadable folder",
            _place(folder, root),
            f"cannot be listed ({error.strerror}), left out",
        )
        return
    for entry in entries:
        # Without a suffix asked for, everything is looked at; with one, 1.3 million other files
        # cost their names only.
        if (entry.name.endswith(suffix) or _is_folder(entry)) and not _passed_over(
            entry, root, notes
        ):
            found = _resolved(entry, root, notes)
            if found is not None:
                yield entry, found


def subfolders(folder: Path, root: Path, notes: Notes) -> list[str]:
    """Names of the folders directly under ``folder``, sorted as plain strings. ``root``: the data
    set's resolved root."""
    listing = _entries(str(folder), str(root), notes, suffix=_NO_FILES)
    return [entry.name for entry, found in listing if stat.S_ISDIR(found.st_mode)]


def image_files(folder: Path, root: Path, notes: Notes, *, deep: bool = True) -> list[ImageFile]:
    """Image files under ``folder`` (with ``deep``, of all levels), sorted by relative path as plain
    strings.

    Args:
        folder: where to look; under root.
        root: the data set's root, resolved: paths are relative to it.
        notes: takes what was left out.
        deep: False = files directly in the folder only.
    """
    files: list[ImageFile] = []
    for entry, found in _walk(folder, root, notes, _MAX_DEPTH if deep else 0):
        if _is_image(entry.path):
            files.append(
                ImageFile(os.path.relpath(entry.path, root).replace(os.sep, "/"), found.st_size)
            )
        elif _suffix(entry.name) in _OTHER_PICTURES:
            reason = (
                "a picture in a format that is not read, left out. Convert it to"
                f" {' or '.join(_CONVERT_TO)}"
            )
            notes.add("warning", "other format", _place(entry.path, str(root)), reason)
        else:
            notes.add(
                "note", "no picture", _place(entry.path, str(root)), "not an image file, left out"
            )
    return sorted(files, key=lambda file: file.relative)


def regular_files(root: Path, notes: Notes, *, suffix: str, depth: int) -> list[str]:
    """Paths relative to root, with forward slashes, of the files with a suffix down to a depth,
    sorted as plain strings."""
    found = _walk(root, root, notes, depth, suffix)
    return sorted(os.path.relpath(entry.path, root).replace(os.sep, "/") for entry, _ in found)


def _walk(
    folder: Path, root: Path, notes: Notes, depth: int, suffix: str = ""
) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    """Regular files below a folder. Deeper than ``depth`` is left out; a folder reached twice is
    walked once."""
    # The folders above count as reached: a link may lead back to one of them by a way outside the
    #     data set.
    seen = {
        identity
        for above in (folder, *folder.parents)
        if above.is_relative_to(root) and (identity := _identity(above))
    }
    waiting = [(str(folder), 0)]
    while waiting:
        current, level = waiting.pop()
        for entry, found in _entries(current, str(root), notes, suffix):
            identity = (found.st_dev, found.st_ino)
            if not stat.S_ISDIR(found.st_mode):
                yield entry, found
            elif identity in seen:
                notes.add(
                    "note",
                    "link",
                    _place(entry.path, str(root)),
                    "a folder that is listed by another name already, left out",
                )
            elif level < depth:
                seen.add(identity)
                waiting.append((entry.path, level + 1))
            elif level >= _MAX_DEPTH:
                reason = f"more than {_MAX_DEPTH} folders deep, left out"
                notes.add("warning", "too deep", _place(entry.path, str(root)), reason)


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:  # said where it is listed
        return None
    return found.st_dev, found.st_ino


def pictures_below(folder: Path, root: Path, notes: Notes) -> int:
    """How many image files lie below a folder that is not read; counting stops at 20,000 files."""
    return _inventory(folder, root, notes)["pictures"]


def files_of_export(root: Path) -> frozenset[str]:
    """What ``zoo export`` puts beside the pictures of a folder; none of a folder it did not
    make."""
    made = (root / EXPORTED).is_file()
    return frozenset({EXPORTED, EXPORTED_ROWS} if made else ())


def left_out(root: Path, covered: Collection[str]) -> tuple[Note, ...]:
    """Everything in a data set's folder that no reader has read: pictures and data files as
    warnings, other files as notes.

    Args:
        root: the data set's root, resolved.
        covered: files and folders (with all that is in them) that were read or spoken of, relative
            to root, with forward slashes.
    """
    notes = Notes()
    above = {
        "/".join(path.split("/")[:depth])
        for path in covered
        for depth in range(1, path.count("/") + 1)
    }
    places: dict[str, dict[str, int]] = {"pictures": {}, "data files": {}, "other files": {}}
    waiting = [root]
    while waiting:
        for entry, found in _entries(str(waiting.pop()), str(root), notes):
            relative = os.path.relpath(entry.path, root).replace(os.sep, "/")
            if relative in covered:
                continue
            if stat.S_ISDIR(found.st_mode) and relative in above:
                waiting.append(Path(entry.path))
                continue
            counts = (
                _inventory(Path(entry.path), root, notes)
                if stat.S_ISDIR(found.st_mode)
                else {_sort_of(entry): 1}
            )
            for sort, count in counts.items():
                if count and sort in places:
                    places[sort][printable(relative)] = count
    unread = [_unread(sort, found) for sort, found in places.items() if found]
    return (*unread, *notes.all())


def _unread(sort: str, places: dict[str, int]) -> Note:
    count, shown, more = sum(places.values()), tuple(places)[:1000], max(0, len(places) - 1000)
    if sort == "other files":
        return Note(
            "note", "not read", "no part of a data set of this form, not read", shown, count, more
        )
    many = "more than " if max(places.values()) >= _MAX_COUNTED else ""
    reason = (
        f"{many}{count:,} {sort if count > 1 else sort[:-1]} in no split or class that is read;"
        " left out"
    )
    return Note("warning", "left out", reason, shown, count, more)


def _inventory(folder: Path, root: Path, notes: Notes) -> dict[str, int]:
    """How many files of each sort lie below a folder, by at most 20,000 of them."""
    counts = {"pictures": 0, "data files": 0, "other files": 0, "documents": 0}
    for number, (entry, _) in enumerate(_walk(folder, root, notes, _MAX_DEPTH), start=1):
        counts[_sort_of(entry)] += 1
        if number == _MAX_COUNTED:
            break
    return counts


def _sort_of(entry: os.DirEntry[str]) -> str:
    """``pictures``, ``data files``, ``documents`` (which nobody expects to be read) or ``other
    files``."""
    if _DATA_FILE.search(entry.name):
        return "data files"
    if _DOCUMENTS.search(entry.name):
        return "documents"
    return (
        "pictures"
        if _suffix(entry.name) in _OTHER_PICTURES or _is_image(entry.path)
        else "other files"
    )


def _suffix(name: str) -> str:
    return "." + name.rpartition(".")[2].lower()


def _is_image(path: str) -> bool:
    if _suffix(path) in IMAGE_SUFFIXES:
        return True
    try:
        start = read_regular(path, 16)
    except UnreadableImage:
        return False
    return start.startswith(_MAGIC) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


def read_regular(path: str, limit: int | None = None) -> bytes:
    """Content (or the first ``limit`` bytes) of a regular file; never blocks on a FIFO put in its
    place.

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
        return [
            read_regular(f"{self._root}/{self._files[i].relative}") for i in example_ids.tolist()
        ]

    def content_digest(self) -> bytes:
        """Relative paths and sizes, not contents: 1.3 million files are listed in seconds and read
        in hours."""
        digest = hashlib.sha256()
        for file in self._files:
            digest.update(os.fsencode(file.relative) + b"\0%d\n" % file.size)
        return digest.digest()
