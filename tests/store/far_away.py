"""Storage in memory that counts journeys, as if it were a bucket: a look at an object is one, and
so is a page of 1,000 names; what is asked together takes as long as the longest of it."""

from __future__ import annotations

import hashlib
import itertools
import shutil
import tempfile
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from zoo.errors import StoreError
from zoo.store.files import FileRef, Files, sha256_of
from zoo.store.s3 import SIDE_BY_SIDE
from zoo.store.workspace import MARKER, MARKER_BYTES, Workspace

PAGE = 1000

_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


class FarAway(Files):
    """``journeys``: round trips one after the other, so far. ``side_by_side``: how many are under
    way at once of those that are asked together."""

    def __init__(self, side_by_side: int = SIDE_BY_SIDE) -> None:
        self.objects: dict[str, bytes] = {}
        self.side_by_side, self.journeys = side_by_side, 0
        self._folders: dict[str, set[str]] = defaultdict(set)
        self._copies: Path | None = None

    def put(self, relative: str, data: bytes) -> None:
        self.objects[relative] = data
        parts = relative.split("/")
        for depth in range(len(parts)):
            self._folders["/".join(parts[:depth])].add(parts[depth])

    def where(self, relative: str) -> str:
        return f"far away/{relative}"

    def exists(self, relative: str) -> bool:
        self.journeys += 1
        return relative in self.objects

    def size(self, relative: str) -> int:
        self.journeys += 1
        return len(self.objects[relative])

    def age(self, relative: str) -> float:
        self.journeys += 1
        return 0.0

    def stamp(self, relative: str) -> str | None:
        return "" if self.exists(relative) else None

    def touch(self, relative: str) -> bool:
        return self.exists(relative)

    def hold(self, relative: str) -> bool:
        return self.exists(relative)

    def read(self, relative: str) -> bytes:
        self.journeys += 1
        if relative not in self.objects:
            raise StoreError(f"{relative} does not exist.")
        return self.objects[relative]

    def digest(self, relative: str) -> str:
        return hashlib.sha256(self.read(relative)).hexdigest()

    def local(self, relative: str) -> Path:
        if self._copies is None:
            self._copies = Path(tempfile.mkdtemp())
            weakref.finalize(self, shutil.rmtree, self._copies)
        path = self._copies / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.read(relative))
        return path

    def names(self, folder: str, *, temporary: bool = False) -> list[str]:
        found = sorted(self._folders.get(folder, ()))
        self.journeys += max(1, -(-len(found) // PAGE))
        return found

    def seal(self, folder: str, stem: str, suffix: str, write: Callable[[Path], None]) -> FileRef:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "file"
            write(path)
            ref = FileRef(f"{folder}/{stem}{suffix}", path.stat().st_size, sha256_of(path))
            self.put(ref.path, path.read_bytes())
        self.journeys += 1
        return ref

    def publish(self, relative: str, data: bytes) -> bool:
        if self.exists(relative):
            return False
        self.put(relative, data)
        return True

    def replace(self, relative: str, data: bytes) -> None:
        self.journeys += 1
        self.put(relative, data)

    def remove(self, relative: str) -> None:
        self.journeys += 1
        if self.objects.pop(relative, None) is not None:
            folder, _, name = relative.rpartition("/")
            self._folders[folder].discard(name)

    def discard(self, relative: str, stamp: str) -> bool:
        if self.stamp(relative) != stamp:
            return False
        self.remove(relative)
        return True

    def move(self, relative: str, target: str) -> None:
        self.put(target, self.read(relative))
        self.remove(relative)

    def together(self, call: Callable[[_Item], _Found], items: Iterable[_Item]) -> Iterator[_Found]:
        left = iter(items)
        while group := list(itertools.islice(left, self.side_by_side)):
            begin, longest, found = self.journeys, 0, []
            for item in group:
                before = self.journeys
                found.append(call(item))
                longest = max(longest, self.journeys - before)
            self.journeys = begin + longest
            yield from found


def workspace_on(files: Files, root: Path) -> Workspace:
    """A workspace whose storage is ``files``; ``root`` is its folder of this machine."""
    if not files.exists(MARKER):
        files.publish(MARKER, MARKER_BYTES)
    return Workspace("s3://far/away", root, files)
