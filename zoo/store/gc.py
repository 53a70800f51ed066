"""Remove what nothing names: files of writers that were stopped, states of trainings that are done, diagnosis of failures that were overcome.

Nothing is decided by comparing clocks of hosts: a file's age is measured by the storage's own clock (``Files.age``). While any command works on the
workspace (its heartbeat is fresh, again by the storage's clock) nothing is removed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from zoo.errors import StoreError
from zoo.store.commits import KINDS
from zoo.store.files import TEMPORARY, FileRef, attempt_id
from zoo.store.fsck import CONTENT_FOLDERS
from zoo.store.workspace import Workspace

__all__ = ["Garbage", "collect", "find", "heartbeat", "living"]

_ALIVE = ".alive"
_BEAT_SECONDS = 30.0
_DEAD_SECONDS = 600.0


@dataclass(frozen=True)
class Garbage:
    """A file that nothing names, and why it is there."""

    path: str
    bytes: int
    reason: str


@contextlib.contextmanager
def heartbeat(workspace: Workspace) -> Iterator[None]:
    """Say that this process is at work on the workspace, until the block ends. Diagnosis and protection from ``zoo gc``, never a lock."""
    name, stop = f"attempts/{attempt_id()}{_ALIVE}", threading.Event()

    def beat() -> None:
        while not stop.wait(_BEAT_SECONDS):
            with contextlib.suppress(Exception):  # a full disk is reported by the work itself
                workspace.files.replace(name, b"")

    workspace.files.replace(name, b"")
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        with contextlib.suppress(Exception):
            workspace.files.remove(name)


def living(workspace: Workspace) -> list[str]:
    """Attempts whose heartbeat is fresh."""
    names = [name for name in workspace.files.names("attempts") if name.endswith(_ALIVE)]
    return [name.removesuffix(_ALIVE) for name in names if workspace.files.age(f"attempts/{name}") < _DEAD_SECONDS]


def find(workspace: Workspace, older_than: float = 24 * 3600.0) -> list[Garbage]:
    """Files that nothing names and that are older than so many seconds. Changes nothing.

    Args:
        older_than: seconds; protects files whose commit is about to be made by a writer without a heartbeat.
    """
    named = {ref.path for kind in KINDS for commit in _all_generations(workspace, kind) for ref in commit}
    candidates: list[tuple[str, str]] = []
    for folder, names in _walk(workspace, CONTENT_FOLDERS):
        for name in names:
            path = f"{folder}/{name}"
            if name.startswith(TEMPORARY):
                candidates.append((path, "unfinished"))
            elif path not in named:
                candidates.append((path, "no commit names it"))
    for folder, names in _walk(workspace, ("commits", "results", "figures")):
        candidates += [(f"{folder}/{name}", "unfinished") for name in names if name.startswith(TEMPORARY)]
    for training_id in workspace.files.names("resume"):
        if workspace.commits.get("training", training_id) is not None:
            candidates += [
                (f"resume/{training_id}/{name}", "its training is done") for name in workspace.files.names(f"resume/{training_id}")
            ]
    for name in workspace.files.names("attempts"):
        if name.endswith(".json") and workspace.commits.get("training", name.removesuffix(".json")) is not None:
            candidates.append((f"attempts/{name}", "the failure was overcome"))
        elif name.endswith(_ALIVE):
            candidates.append((f"attempts/{name}", "its process is gone"))
    return [Garbage(path, workspace.files.size(path), why) for path, why in sorted(candidates) if workspace.files.age(path) >= older_than]


def collect(workspace: Workspace, older_than: float = 24 * 3600.0) -> list[Garbage]:
    """Remove what ``find`` finds, unless a command is at work on the workspace.

    Raises:
        StoreError: if one is; names it.
    """
    if busy := living(workspace):
        raise StoreError(f"{len(busy)} commands are at work on {workspace.location}, such as {busy[0]}. Run 'zoo gc' when they have ended.")
    garbage = find(workspace, older_than)
    for item in garbage:
        workspace.files.remove(item.path)
    return garbage


def _all_generations(workspace: Workspace, kind: str) -> Iterator[list[FileRef]]:
    for name in workspace.files.names(f"commits/{kind}"):
        yield list(workspace.commits.read_fresh(f"commits/{kind}/{name}").files)


def _walk(workspace: Workspace, folders: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """(folder, names of files in it) for these folders and one level below, which is as deep as the store goes."""
    for folder in folders:
        names = workspace.files.names(folder, temporary=True)
        inner = [name for name in names if "." not in name]
        yield folder, [name for name in names if "." in name]
        for name in inner:
            yield f"{folder}/{name}", workspace.files.names(f"{folder}/{name}", temporary=True)
