"""A disk that fails, dies or loses power at its N-th call, for the fault programme."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from zoo.store.files import Disk


class Killed(BaseException):
    """The process is gone: nothing it would have done afterwards happens."""


class FaultDisk(Disk):
    """Counts its calls. What happens at call ``at`` is the mode:

    ``fail`` raises ENOSPC once; ``interrupt`` raises as Ctrl-C does, once; ``kill`` dies; ``power``
    dies and loses what was not synced. ``at`` = 0 never fails. A dead disk changes nothing any
    more, whatever is asked of it.
    """

    def __init__(self, mode: str = "fail", at: int = 0) -> None:
        self.mode, self.at, self.calls, self.dead = mode, at, 0, False
        self._unsynced: set[Path] = set()  # files whose content is not on disk
        # (folder, how to undo a name that is not on disk)
        self._entries: list[tuple[Path, Callable[[], None]]] = []

    def _call(self) -> None:
        if self.dead:
            raise Killed
        self.calls += 1
        if self.calls == self.at:
            if self.mode == "fail":
                raise OSError(errno.ENOSPC, "No space left on device")
            if self.mode == "interrupt":
                raise KeyboardInterrupt
            if self.mode == "power":
                self._lose_power()
            self.dead = True
            raise Killed

    def _lose_power(self) -> None:
        for _, undo in reversed(self._entries):
            undo()
        for path in self._unsynced:
            if path.exists():
                os.truncate(path, path.stat().st_size // 2)

    def mkdir(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._call()
        self.mkdir(folder.parent)
        folder.mkdir(exist_ok=True)
        self._entries.append((folder.parent, lambda: shutil.rmtree(folder, ignore_errors=True)))
        self.sync(folder.parent)

    def write(self, path: Path, write: Callable[[Path], None]) -> None:
        self._call()
        write(path)
        self._unsynced.add(path)
        self._entries.append((path.parent, lambda: path.unlink(missing_ok=True)))

    def sync(self, path: Path) -> None:
        self._call()
        super().sync(path)
        if path.is_dir():
            self._entries = [(folder, undo) for folder, undo in self._entries if folder != path]
        else:
            self._unsynced.discard(path)

    def rename(self, path: Path, target: Path) -> None:
        self._call()
        before = target.read_bytes() if target.exists() else None
        super().rename(path, target)
        if path in self._unsynced:
            self._unsynced.discard(path)
            self._unsynced.add(target)

        def undo() -> None:
            if target.exists():
                target.replace(path)
            if before is not None:
                target.write_bytes(before)

        self._entries.append((target.parent, undo))

    def link(self, path: Path, target: Path) -> None:
        self._call()
        super().link(path, target)
        self._entries.append((target.parent, lambda: target.unlink(missing_ok=True)))

    def unlink(self, path: Path) -> None:
        if self.dead:
            return  # what would have been tidied up stays behind
        self._call()
        super().unlink(path)

    def touch(self, path: Path) -> None:
        self._call()
        super().touch(path)
