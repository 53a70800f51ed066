"""Remove what nothing names: files of writers that were stopped, states of trainings that are done,
diagnosis of failures that were overcome.

Nothing is decided by comparing clocks of hosts: a file's age is measured by the storage's own clock
(``Files.age``). While any command works on the workspace (its heartbeat is fresh, again by the
storage's clock) nothing is removed.

A command may begin while this one is at it. What it makes was not there when the garbage was
listed. What it finds and uses again it touches first, and a file that was touched since it was
listed stays (``Files.discard``). What it had committed and ended before the last look at the
heartbeats is named by a record that is read after that look.
"""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator
from dataclasses import dataclass

from zoo.errors import StoreError
from zoo.store.commits import KINDS
from zoo.store.files import TEMPORARY, attempt_id
from zoo.store.fsck import CONTENT_FOLDERS
from zoo.store.heartbeat import ALIVE, living
from zoo.store.workspace import PROBE, Workspace

__all__ = ["Garbage", "collect", "find"]


@dataclass(frozen=True)
class Garbage:
    """A file that nothing names, and why it is there. ``stamp``: as ``Files.stamp`` when it was
    found."""

    path: str
    bytes: int
    reason: str
    stamp: str


def find(workspace: Workspace, older_than: float = 24 * 3600.0) -> list[Garbage]:
    """Files that nothing names and that are older than so many seconds. Changes nothing.

    Args:
        older_than: seconds; protects files whose commit is about to be made by a writer without a
            heartbeat.
    """
    stamps = {
        path: (stamp, reason)
        for path, reason in _candidates(workspace)
        if (stamp := workspace.files.stamp(path)) is not None
    }
    found = []
    for path, (stamp, reason) in sorted(stamps.items()):
        with contextlib.suppress(FileNotFoundError, StoreError):  # its writer has finished since
            if workspace.files.age(path) >= older_than:
                found.append(Garbage(path, workspace.files.size(path), reason, stamp))
    return found


def collect(workspace: Workspace, older_than: float = 24 * 3600.0) -> list[Garbage]:
    """Remove what ``find`` finds, unless a command is at work on the workspace.

    Returns:
        What was removed: less than was found, if a command has begun to use something meanwhile.

    Raises:
        StoreError: if one is; names it.
    """
    _refuse_while_living(workspace)
    garbage = find(workspace, older_than)
    _refuse_while_living(workspace)
    named = _named(workspace)
    return [
        item
        for item in garbage
        if item.path not in named and workspace.files.discard(item.path, item.stamp)
    ]


def _refuse_while_living(workspace: Workspace) -> None:
    if busy := living(workspace):
        raise StoreError(
            f"{len(busy)} commands are at work on {workspace.location}, such as {busy[0]}. Run 'zoo"
            " gc' when they have ended."
        )


def _named(workspace: Workspace) -> set[str]:
    """Paths of all files that records name, of whatever generation."""
    return {
        ref.path
        for kind in (*KINDS, "snapshot")
        for name in workspace.files.names(f"commits/{kind}")
        for ref in workspace.commits.read_fresh(f"commits/{kind}/{name}").files
    }


def _candidates(workspace: Workspace) -> Iterator[tuple[str, str]]:
    """(path, why it may be garbage) of files of any age."""
    folders = list(_walk(workspace, CONTENT_FOLDERS))
    named = _named(workspace)  # after the listing: what was committed in between is named
    for folder, names in folders:
        for name in names:
            if name.startswith(TEMPORARY):
                yield f"{folder}/{name}", "unfinished"
            elif f"{folder}/{name}" not in named:
                yield f"{folder}/{name}", "no commit names it"
    for folder, names in _walk(workspace, ("attempts", "commits", "figures", "results")):
        yield from (
            (f"{folder}/{name}", "unfinished") for name in names if name.startswith(TEMPORARY)
        )
    for name in workspace.files.names("", temporary=True):
        if name.startswith(TEMPORARY) and not name.startswith(f"{TEMPORARY}{attempt_id()}-"):
            yield name, "unfinished"
    for training_id in workspace.files.names("resume"):
        done = workspace.commits.get("training", training_id) is not None
        for name in workspace.files.names(f"resume/{training_id}", temporary=True):
            if done or name.startswith(TEMPORARY):
                yield (
                    f"resume/{training_id}/{name}",
                    ("its training is done" if done else "unfinished"),
                )
    for name in workspace.files.names("attempts"):
        if (
            name.endswith(".json")
            and workspace.commits.get("training", name.removesuffix(".json")) is not None
        ):
            yield f"attempts/{name}", "the failure was overcome"
        elif ".stopped-" in name:
            if workspace.commits.get("training", name.partition(".")[0]) is not None:
                yield f"attempts/{name}", "its training is done"
        elif name.startswith("tune-"):
            # Of an earlier zoo, which kept Tune's scratch here; whatever host it was on.
            for path in workspace.root.glob(f"attempts/{glob.escape(name)}/**/*"):
                if path.is_file():
                    yield path.relative_to(workspace.root).as_posix(), "scratch of an earlier zoo"
        elif name.endswith(ALIVE) or name.startswith(PROBE):
            yield f"attempts/{name}", "its process is gone"


def _walk(workspace: Workspace, folders: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    """(folder, names of files in it) for these folders and one level below, which is as deep as the
    store goes."""
    for folder in folders:
        names = workspace.files.names(folder, temporary=True)
        inner = [name for name in names if "." not in name]
        yield folder, [name for name in names if "." in name]
        for name in inner:
            yield f"{folder}/{name}", workspace.files.names(f"{folder}/{name}", temporary=True)
