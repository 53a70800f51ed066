"""Which commands are at work on a workspace: a file under ``attempts/`` that each keeps fresh.
Diagnosis and protection, never a lock.

A writer holds one from before it looks at what it may use again until its commit is made; ``zoo
gc`` leaves a workspace alone in which one is fresh, by the storage's own clock.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterable, Iterator

from zoo.errors import StoreError
from zoo.store.files import attempt_id
from zoo.store.workspace import Workspace

__all__ = ["ALIVE", "at_work_on", "heartbeat", "living"]

ALIVE = ".alive"
"""Suffix of heartbeat files."""

_BEAT_SECONDS = 30.0
_DEAD_SECONDS = 600.0


@contextlib.contextmanager
def heartbeat(workspace: Workspace, trainings: Iterable[str] = ()) -> Iterator[None]:
    """Say that this process is at work on the workspace, until the block ends.

    Args:
        trainings: ids of the trainings it is to do, for ``zoo status``.
    """
    name, stop = f"attempts/{attempt_id()}{ALIVE}", threading.Event()
    about = json.dumps(sorted(trainings)).encode()

    def beat() -> None:
        while not stop.wait(_BEAT_SECONDS):
            with contextlib.suppress(Exception):  # a full disk is reported by the work itself
                workspace.files.replace(name, about)

    workspace.files.replace(name, about)
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()  # or its last beat could come after the removal
        with contextlib.suppress(Exception):
            workspace.files.remove(name)


def living(workspace: Workspace) -> list[str]:
    """Attempts whose heartbeat is fresh."""
    return [name.removesuffix(ALIVE) for name in _fresh(workspace)]


def at_work_on(workspace: Workspace) -> set[str]:
    """Ids of the trainings that living commands are to do."""
    found: set[str] = set()

    def trainings(name: str) -> list[str]:
        # it has ended since, or an earlier zoo's says nothing
        with contextlib.suppress(StoreError, ValueError, TypeError):
            return list(map(str, json.loads(workspace.files.read(f"attempts/{name}"))))
        return []

    return found.union(*workspace.files.together(trainings, _fresh(workspace)))


def _fresh(workspace: Workspace) -> list[str]:
    def fresh(name: str) -> bool:
        with contextlib.suppress(StoreError, FileNotFoundError):  # its command has ended since
            return workspace.files.age(f"attempts/{name}") < _DEAD_SECONDS
        return False

    names = [name for name in workspace.files.names("attempts") if name.endswith(ALIVE)]
    looked = workspace.files.together(fresh, names)
    return [name for name, is_fresh in zip(names, looked, strict=True) if is_fresh]
